/*
 * aegis_kb_text.c: text to tokens. Words are folded and lose their endings;
 * scripts that are written without blanks (Chinese, Japanese, Korean) become
 * pairs of neighbours, which needs no dictionary. The same text gives the same
 * tokens in a document and in a question: that is all that search relies on.
 */
#include "aegis_kb.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_KB_SET  4096              /* slots; more than twice the terms of a passage */

typedef struct {
    aegis_kb_token_pt   token;
    void               *data;
    aegis_kb_token_t    word;           /* being collected */
    aegis_kb_token_t    last;           /* the CHAR before, len 0: none */
    int                 run;            /* CHARs in this run */
    int                 over;
} aegis_kb_reader_t;

typedef struct {
    aegis_buf_t  buf;
    size_t       n;
    size_t       max;
    uint32_t     seen[AEGIS_KB_SET];    /* hashes, 0: free */
} aegis_kb_set_t;

/* Folded and sorted; what says nothing about a text. */
static const char *const  aegis_kb_stops[] = {
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but",
    "by", "can", "did", "do", "does", "for", "from", "had", "has", "have", "how", "i", "if",
    "in", "into", "is", "it", "its", "may", "more", "my", "no", "not", "of", "on", "or",
    "our", "so", "such", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "while",
    "who", "why", "will", "with", "you", "your"
};


static uint32_t
aegis_kb_fold(uint32_t c)
{
    if (c >= 0xff01 && c <= 0xff5e) {
        c -= 0xfee0;                    /* full width */
    }

    if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7)
        || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
    {
        return c + 0x20;
    }

    if (c >= 0x400 && c <= 0x40f) {
        return c + 0x50;
    }

    return c >= 0x100 && c <= 0x137 ? c | 1 : c;
}


static int
aegis_kb_is_dense(uint32_t c)
{
    return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x4dbf)
           || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3)
           || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}


static int
aegis_kb_is_word(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
           || (c >= 0xdf && c < 0x2000 && c != 0xf7);
}


static void
aegis_kb_put(aegis_kb_token_t *t, uint32_t c)
{
    char  *p;

    p = t->text + t->len;

    if (c < 0x80) {
        *p++ = (char) c;
    } else if (c < 0x800) {
        *p++ = (char) (0xc0 | c >> 6);
        *p++ = (char) (0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *p++ = (char) (0xe0 | c >> 12);
        *p++ = (char) (0x80 | (c >> 6 & 0x3f));
        *p++ = (char) (0x80 | (c & 0x3f));
    } else {
        *p++ = (char) (0xf0 | c >> 18);
        *p++ = (char) (0x80 | (c >> 12 & 0x3f));
        *p++ = (char) (0x80 | (c >> 6 & 0x3f));
        *p++ = (char) (0x80 | (c & 0x3f));
    }

    *p = '\0';
    t->len = (size_t) (p - t->text);
}


static int
aegis_kb_ends(const aegis_kb_token_t *t, const char *tail)
{
    size_t  n;

    n = strlen(tail);

    return t->len > n && memcmp(t->text + t->len - n, tail, n) == 0;
}


static void
aegis_kb_drop(aegis_kb_token_t *t, size_t n)
{
    t->len -= n;
    t->text[t->len] = '\0';
}


/* English endings, coarsely: what counts is that forms of one word meet. */
static void
aegis_kb_stem(aegis_kb_token_t *t)
{
    size_t  len;

    if (t->len < 4 || strspn(t->text, "abcdefghijklmnopqrstuvwxyz") != t->len) {
        return;
    }

    if (aegis_kb_ends(t, "ies") && t->len > 4) {
        aegis_kb_drop(t, 3);
        aegis_kb_put(t, 'y');
    } else if (aegis_kb_ends(t, "sses") || aegis_kb_ends(t, "xes") || aegis_kb_ends(t, "ches")
               || aegis_kb_ends(t, "shes"))
    {
        aegis_kb_drop(t, 2);
    } else if (aegis_kb_ends(t, "s") && !aegis_kb_ends(t, "ss") && !aegis_kb_ends(t, "us")
               && !aegis_kb_ends(t, "is"))
    {
        aegis_kb_drop(t, 1);
    }

    len = t->len;
    if (len >= 7 && aegis_kb_ends(t, "ing")) {
        aegis_kb_drop(t, 3);
    } else if (len >= 6 && aegis_kb_ends(t, "ed")) {
        aegis_kb_drop(t, 2);
    }

    if (t->len < len && t->len >= 4 && t->text[t->len - 1] == t->text[t->len - 2]
        && strchr("bdgmnprt", t->text[t->len - 1]))
    {
        aegis_kb_drop(t, 1);
    }

    if (t->len >= 5 && t->text[t->len - 1] == 'e') {
        aegis_kb_drop(t, 1);
    }
}


static int
aegis_kb_stop(const char *word)
{
    int     c;
    size_t  low, high, mid;

    low = 0;
    high = sizeof(aegis_kb_stops) / sizeof(aegis_kb_stops[0]);

    while (low < high) {
        mid = (low + high) / 2;
        c = strcmp(word, aegis_kb_stops[mid]);
        if (c == 0) {
            return 1;
        }
        if (c < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }

    return 0;
}


static void
aegis_kb_say(aegis_kb_reader_t *r, const aegis_kb_token_t *t)
{
    r->over = r->over || !r->token(r->data, t);
}


static void
aegis_kb_word_end(aegis_kb_reader_t *r)
{
    if (r->word.len && !aegis_kb_stop(r->word.text)) {
        aegis_kb_stem(&r->word);
        aegis_kb_say(r, &r->word);
    }

    r->word.len = 0;
    r->word.text[0] = '\0';
}


/* The last CHAR of a run is said when it is known whether it stands alone. */
static void
aegis_kb_run_end(aegis_kb_reader_t *r)
{
    if (r->run) {
        r->last.alone = r->run == 1;
        aegis_kb_say(r, &r->last);
    }

    r->run = 0;
}


static void
aegis_kb_dense(aegis_kb_reader_t *r, uint32_t c)
{
    aegis_kb_token_t  pair;

    if (r->run) {
        r->last.alone = 0;
        aegis_kb_say(r, &r->last);

        pair = r->last;
        pair.kind = AEGIS_KB_PAIR;
        aegis_kb_put(&pair, c);
        aegis_kb_say(r, &pair);
    }

    r->run = r->run < 2 ? r->run + 1 : 2;
    r->last.kind = AEGIS_KB_CHAR;
    r->last.len = 0;
    aegis_kb_put(&r->last, c);
}


void
aegis_kb_tokens(aegis_str_t text, aegis_kb_token_pt token, void *data)
{
    size_t             i, n;
    uint32_t           c;
    aegis_kb_reader_t  r;

    memset(&r, 0, sizeof(r));
    r.token = token;
    r.data = data;
    r.word.kind = AEGIS_KB_WORD;

    for (i = 0; i < text.len && !r.over; i += n) {
        n = aegis_utf8_next(text.data + i, text.len - i, &c);
        if (n == 0) {
            n = 1;
            c = ' ';
        }

        c = aegis_kb_fold(c);

        if (aegis_kb_is_dense(c)) {
            aegis_kb_word_end(&r);
            aegis_kb_dense(&r, c);
            continue;
        }

        aegis_kb_run_end(&r);

        if (!aegis_kb_is_word(c)) {
            aegis_kb_word_end(&r);
            continue;
        }

        if (r.word.len + 4 > AEGIS_KB_TOKEN_MAX) {
            aegis_kb_word_end(&r);
        }

        aegis_kb_put(&r.word, c);
    }

    if (!r.over) {
        aegis_kb_run_end(&r);
        aegis_kb_word_end(&r);
    }
}


static int
aegis_kb_term(void *data, const aegis_kb_token_t *token)
{
    size_t           i;
    uint32_t         h;
    aegis_kb_set_t  *set;

    set = data;

    if (token->kind == AEGIS_KB_CHAR && !token->alone) {
        return 1;
    }

    for (h = 2166136261u, i = 0; i < token->len; i++) {
        h = (h ^ (unsigned char) token->text[i]) * 16777619u;
    }
    h = h ? h : 1;

    for (i = h % AEGIS_KB_SET; set->seen[i]; i = (i + 1) % AEGIS_KB_SET) {
        if (set->seen[i] == h) {
            return 1;
        }
    }

    set->seen[i] = h;
    if (set->n++) {
        aegis_buf_add(&set->buf, " ", 1);
    }
    aegis_buf_add(&set->buf, token->text, token->len);

    return set->n < set->max;
}


char *
aegis_kb_terms(aegis_str_t head, aegis_str_t text, size_t max)
{
    char            *terms;
    aegis_kb_set_t  *set;

    set = calloc(1, sizeof(aegis_kb_set_t));
    if (set == NULL) {
        return NULL;
    }

    set->max = max < AEGIS_KB_CHUNK_TERMS ? max : AEGIS_KB_CHUNK_TERMS;
    aegis_buf_puts(&set->buf, "");

    aegis_kb_tokens(head, aegis_kb_term, set);
    if (set->n < set->max) {
        aegis_kb_tokens(text, aegis_kb_term, set);
    }

    terms = aegis_buf_take(&set->buf, NULL);
    free(set);

    return terms;
}
