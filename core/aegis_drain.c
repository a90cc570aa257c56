/*
 * aegis_drain.c: templates of log lines, mined as they come: mask, split into
 * words, look among the templates of as many words that begin alike (a leaf) for
 * the one that agrees most.
 * Invariants: memory is bounded by the number of templates; the time for a line
 * by AEGIS_DRAIN_LEAF comparisons; a fingerprint never changes.
 */
#include "aegis_drain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_hash.h"

#define AEGIS_DRAIN_WORDS   64          /* what follows is cut off */
#define AEGIS_DRAIN_LEAF    64          /* templates that are compared */
#define AEGIS_DRAIN_SLOTS   4096        /* leaves, hashed */
#define AEGIS_DRAIN_MORE    "<more>"
#define AEGIS_DRAIN_ANY     "<*>"

typedef struct aegis_drain_node_s  aegis_drain_node_t;

struct aegis_drain_node_s {
    aegis_drain_node_t  *next;
    uint32_t             leaf;
    unsigned             id;
    unsigned             n;
    char                 fingerprint[AEGIS_DRAIN_PRINT + 1];
    char                *text;          /* words, a blank between them */
};

struct aegis_drain_s {
    unsigned             max;
    unsigned             count;
    aegis_drain_node_t  *slots[AEGIS_DRAIN_SLOTS];
};

typedef struct {
    unsigned     n;
    aegis_str_t  word[AEGIS_DRAIN_WORDS];
} aegis_drain_words_t;


aegis_drain_t *
aegis_drain_new(unsigned max)
{
    aegis_drain_t  *d;

    d = calloc(1, sizeof(aegis_drain_t));
    if (d) {
        d->max = max;
    }

    return d;
}


void
aegis_drain_free(aegis_drain_t *d)
{
    size_t               i;
    aegis_drain_node_t  *node, *next;

    for (i = 0; d && i < AEGIS_DRAIN_SLOTS; i++) {
        for (node = d->slots[i]; node; node = next) {
            next = node->next;
            free(node->text);
            free(node);
        }
    }

    free(d);
}


unsigned
aegis_drain_count(const aegis_drain_t *d)
{
    return d->count;
}


/* A part that varies: letters, digits and what numbers, times and ids have between. */
static int
aegis_drain_part(unsigned char c)
{
    return isalnum(c) || c == '_' || c == '.' || c == '-';
}


/* The line with each part that has a digit as <*>, blanks single. */
static size_t
aegis_drain_mask(aegis_str_t line, char *out, size_t size)
{
    int     digit;
    char    c;
    size_t  i, k, n;

    for (i = 0, n = 0; i < line.len && n + 4 < size; ) {
        c = line.data[i];

        if (!aegis_drain_part((unsigned char) c)) {
            if ((unsigned char) c > ' ' && c != 0x7f) {
                out[n++] = c;
            } else if (n && out[n - 1] != ' ') {
                out[n++] = ' ';
            }
            i++;
            continue;
        }

        for (k = i, digit = 0; k < line.len && aegis_drain_part((unsigned char) line.data[k]); k++) {
            digit |= isdigit((unsigned char) line.data[k]) != 0;
        }

        if (digit) {
            memcpy(out + n, AEGIS_DRAIN_ANY, 3);
            n += 3;
        } else {
            for ( ; i < k && n + 4 < size; i++) {
                out[n++] = line.data[i];
            }
        }
        i = k;
    }

    if (i < line.len) {
        /* not half a character */
        while (n && (out[n - 1] & 0xc0) == 0x80) {
            n--;
        }
        n -= n && (out[n - 1] & 0xc0) == 0xc0;
    }
    while (n && out[n - 1] == ' ') {
        n--;
    }
    out[n] = '\0';

    return n;
}


static void
aegis_drain_split(const char *text, aegis_drain_words_t *w)
{
    const char  *end;

    w->n = 0;

    while (*text && w->n < AEGIS_DRAIN_WORDS) {
        end = strchr(text, ' ');
        end = end ? end : text + strlen(text);
        w->word[w->n++] = (aegis_str_t) { (size_t) (end - text), text };
        text = *end ? end + 1 : end;
    }
}


static int
aegis_drain_same(aegis_str_t a, aegis_str_t b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}


/* Words and beginning, as one number. */
static uint32_t
aegis_drain_leaf(const aegis_drain_words_t *w)
{
    size_t    i;
    uint32_t  h;

    h = 2166136261u ^ w->n;
    for (i = 0; w->n && i < w->word[0].len; i++) {
        h = (h ^ (unsigned char) w->word[0].data[i]) * 16777619u;
    }

    return h ^ h >> 15;
}


/* How many words agree, -1 when they are too few. */
static int
aegis_drain_alike(const aegis_drain_words_t *a, const aegis_drain_words_t *b)
{
    int       same;
    unsigned  i;

    if (a->n != b->n) {
        return -1;
    }

    for (i = 0, same = 0; i < a->n; i++) {
        same += aegis_drain_same(a->word[i], b->word[i]);
    }

    return same * 5 >= (int) a->n * 3 ? same : -1;
}


/* Words that differ become <*>. The text only ever gets shorter or changes one
 * word for three characters, so it is made anew. 0: no memory. */
static int
aegis_drain_join(aegis_drain_node_t *node, const aegis_drain_words_t *t,
    const aegis_drain_words_t *line)
{
    char      text[AEGIS_DRAIN_TEMPLATE * 4], *copy;
    size_t    n;
    unsigned  i;

    for (i = 0, n = 0; i < t->n; i++) {
        if (i) {
            text[n++] = ' ';
        }
        if (aegis_drain_same(t->word[i], line->word[i])) {
            memcpy(text + n, t->word[i].data, t->word[i].len);
            n += t->word[i].len;
        } else {
            memcpy(text + n, AEGIS_DRAIN_ANY, 3);
            n += 3;
        }
    }
    text[n] = '\0';

    copy = strdup(text);
    if (copy == NULL) {
        return 0;
    }

    free(node->text);
    node->text = copy;
    return 1;
}


static aegis_drain_node_t *
aegis_drain_find(aegis_drain_t *d, const aegis_drain_words_t *line, uint32_t leaf,
    int *ret_same, aegis_drain_words_t *ret_words)
{
    int                   same, best;
    unsigned              seen;
    aegis_drain_node_t   *node, *found;
    aegis_drain_words_t   words;

    found = NULL;
    best = -1;
    seen = 0;

    for (node = d->slots[leaf % AEGIS_DRAIN_SLOTS]; node && seen < AEGIS_DRAIN_LEAF;
         node = node->next)
    {
        if (node->leaf != leaf || node->n != line->n) {
            continue;
        }
        seen++;
        aegis_drain_split(node->text, &words);
        same = aegis_drain_alike(&words, line);
        if (same > best) {
            best = same;
            found = node;
            *ret_words = words;
        }
    }

    *ret_same = best;
    return found;
}


static aegis_drain_node_t *
aegis_drain_make(aegis_drain_t *d, const char *text, uint32_t leaf, unsigned n)
{
    aegis_drain_node_t  *node;

    node = calloc(1, sizeof(aegis_drain_node_t));
    if (node == NULL || (node->text = strdup(text)) == NULL) {
        free(node);
        return NULL;
    }

    node->leaf = leaf;
    node->n = n;
    node->id = d->count++;
    node->next = d->slots[leaf % AEGIS_DRAIN_SLOTS];
    d->slots[leaf % AEGIS_DRAIN_SLOTS] = node;

    return node;
}


static void
aegis_drain_print(const char *text, char out[AEGIS_DRAIN_PRINT + 1])
{
    aegis_str_t    part;
    unsigned char  sum[AEGIS_SHA256_LEN];

    part = aegis_view(text);
    aegis_sha256(&part, 1, sum);
    aegis_hex(sum, AEGIS_DRAIN_PRINT / 2, out);
}


int
aegis_drain_add(aegis_drain_t *d, aegis_str_t line, aegis_pattern_t *ret)
{
    int                   same;
    char                  text[AEGIS_DRAIN_TEMPLATE];
    uint32_t              leaf;
    aegis_drain_node_t   *node;
    aegis_drain_words_t   words, t;

    (void) aegis_drain_mask(line, text, sizeof(text));
    aegis_drain_split(text, &words);
    leaf = aegis_drain_leaf(&words);
    node = aegis_drain_find(d, &words, leaf, &same, &t);

    if (node == NULL && d->count >= d->max) {
        memcpy(text, AEGIS_DRAIN_MORE, sizeof(AEGIS_DRAIN_MORE));
        aegis_drain_split(text, &words);
        leaf = aegis_drain_leaf(&words);
        node = aegis_drain_find(d, &words, leaf, &same, &t);
    }

    if (node == NULL) {
        node = aegis_drain_make(d, text, leaf, words.n);
        if (node == NULL) {
            return 0;
        }
        aegis_drain_print(text, node->fingerprint);

    } else if (same < (int) words.n && !aegis_drain_join(node, &t, &words)) {
        return 0;
    }

    memcpy(ret->fingerprint, node->fingerprint, sizeof(ret->fingerprint));
    ret->text = node->text;
    ret->id = node->id;
    return 1;
}


int
aegis_drain_load(aegis_drain_t *d, const char *fingerprint, const char *text)
{
    int                   same;
    uint32_t              leaf;
    aegis_drain_node_t   *node;
    aegis_drain_words_t   words, t;

    if (d->count >= d->max || strlen(fingerprint) != AEGIS_DRAIN_PRINT
        || strlen(text) >= AEGIS_DRAIN_TEMPLATE)
    {
        return 0;
    }

    aegis_drain_split(text, &words);
    leaf = aegis_drain_leaf(&words);
    node = aegis_drain_find(d, &words, leaf, &same, &t);
    if (node && same == (int) words.n) {
        return 0;
    }

    node = aegis_drain_make(d, text, leaf, words.n);
    if (node == NULL) {
        return 0;
    }
    memcpy(node->fingerprint, fingerprint, AEGIS_DRAIN_PRINT + 1);
    return 1;
}
