/*
 * aegis_librarian_vocab.c: WordPiece, the tokenizer of BERT's family: text in lower
 * case, every Chinese character and every sign a word of its own, words split into
 * the longest pieces that the vocabulary has. Accents are kept: models of English
 * and Chinese lose nothing by that.
 */
#include "aegis_librarian_onnx.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_VOCAB_WORD      64        /* bytes of a word that is looked up */

struct aegis_vocab_s {
    json_t   *ids;                      /* token: number */
    int64_t   first;                    /* [CLS] */
    int64_t   last;                     /* [SEP] */
    int64_t   unknown;                  /* [UNK] */
};

aegis_vocab_t *
aegis_vocab_load(const char *path, aegis_error_t *err)
{
    json_t         *json, *ids;
    json_error_t    why;
    aegis_vocab_t  *v;

    json = json_load_file(path, 0, &why);
    ids = json_object_get(json_object_get(json, "model"), "vocab");
    v = calloc(1, sizeof(aegis_vocab_t));

    if (v == NULL || !json_is_object(ids) || !json_is_integer(json_object_get(ids, "[CLS]"))
        || !json_is_integer(json_object_get(ids, "[SEP]"))
        || !json_is_integer(json_object_get(ids, "[UNK]")))
    {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                        "kb.onnx.tokenizer: %.160s is no tokenizer.json with a WordPiece vocabulary",
                        path);
        json_decref(json);
        free(v);
        return NULL;
    }

    v->ids = json_incref(ids);
    v->first = json_integer_value(json_object_get(ids, "[CLS]"));
    v->last = json_integer_value(json_object_get(ids, "[SEP]"));
    v->unknown = json_integer_value(json_object_get(ids, "[UNK]"));
    json_decref(json);

    return v;
}

void
aegis_vocab_free(aegis_vocab_t *vocab)
{
    if (vocab != NULL) {
        json_decref(vocab->ids);
        free(vocab);
    }
}

/* The pieces of one word; a word with a piece that is not known is unknown. */
static size_t
aegis_vocab_word(const aegis_vocab_t *v, const char *word, size_t len, int64_t *ids, size_t max)
{
    char     piece[AEGIS_VOCAB_WORD + 3];
    size_t   at, n, count;
    json_t  *id;

    for (at = 0, count = 0; at < len && count < max; at += n) {
        for (n = len - at, id = NULL; n > 0; n--) {
            if (at + n < len && ((unsigned char) word[at + n] & 0xc0) == 0x80) {
                continue;               /* within a character */
            }
            memcpy(piece, "##", 2);
            memcpy(piece + (at ? 2 : 0), word + at, n);
            piece[n + (at ? 2 : 0)] = '\0';
            id = json_object_get(v->ids, piece);
            if (id) {
                break;
            }
        }
        if (id == NULL) {
            ids[0] = v->unknown;
            return 1;
        }
        ids[count++] = json_integer_value(id);
    }

    return count;
}

/* A character that is a word by itself. */
static int
aegis_vocab_single(uint32_t c)
{
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96)
           || (c >= 123 && c <= 126) || (c >= 0x2010 && c <= 0x2027) || (c >= 0x3000 && c <= 0x303f)
           || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff)
           || (c >= 0xf900 && c <= 0xfaff) || (c >= 0xff00 && c <= 0xff0f)
           || (c >= 0xff1a && c <= 0xff20) || (c >= 0x20000 && c <= 0x3ffff);
}

size_t
aegis_vocab_tokens(const aegis_vocab_t *v, aegis_str_t text, int64_t *ids, size_t max)
{
    char      word[AEGIS_VOCAB_WORD];
    size_t    i, n, len, count, room;
    uint32_t  c;

    ids[0] = v->first;
    count = 1;
    room = max - 1;

    for (i = 0, len = 0; i <= text.len && count < room; i += n) {
        n = i < text.len ? aegis_utf8_next(text.data + i, text.len - i, &c) : 1;
        if (n == 0 || i == text.len) {
            n = 1;
            c = ' ';
        }

        if (c > ' ' && !aegis_vocab_single(c) && len + n <= sizeof(word)) {
            memcpy(word + len, text.data + i, n);
            if (n == 1 && c >= 'A' && c <= 'Z') {
                word[len] = (char) (c + 0x20);
            }
            len += n;
            continue;
        }

        if (len) {
            count += aegis_vocab_word(v, word, len, ids + count, room - count);
            len = 0;
        }
        if (aegis_vocab_single(c) && count < room) {
            count += aegis_vocab_word(v, text.data + i, n, ids + count, room - count);
        } else if (c > ' ' && n <= sizeof(word)) {
            memcpy(word, text.data + i, n);
            len = n;
        }
    }

    ids[count++] = v->last;

    return count;
}
