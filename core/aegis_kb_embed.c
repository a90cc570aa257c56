/*
 * aegis_kb_embed.c: the built-in embedder: words, pairs, single characters and
 * three letters of a word, each hashed to one number of the vector and a sign.
 * Texts that share them point the same way; nothing else does. What it does is
 * part of the stored vectors' meaning: a change needs a new AEGIS_KB_EMBEDDER.
 */
#include "aegis_kb.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"

#define AEGIS_KB_WEIGHT_WORD  1.0f
#define AEGIS_KB_WEIGHT_PART  0.35f     /* three letters, or one character of a pair */

typedef struct {
    float  *v;
    float   weight;
} aegis_kb_sum_t;


static void
aegis_kb_feature(const aegis_kb_sum_t *sum, char kind, const char *s, size_t len, float weight)
{
    size_t    i;
    uint64_t  h;

    h = (14695981039346656037u ^ (unsigned char) kind) * 1099511628211u;
    for (i = 0; i < len; i++) {
        h = (h ^ (unsigned char) s[i]) * 1099511628211u;
    }
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 32;

    sum->v[(h >> 1) % AEGIS_KB_DIMS] += (h & 1) ? weight * sum->weight : -weight * sum->weight;
}


static int
aegis_kb_add(void *data, const aegis_kb_token_t *token)
{
    char                   padded[AEGIS_KB_TOKEN_MAX + 16];
    size_t                 i, len;
    const aegis_kb_sum_t  *sum;

    sum = data;

    if (token->kind == AEGIS_KB_CHAR) {
        aegis_kb_feature(sum, 'c', token->text, token->len,
                         token->alone ? AEGIS_KB_WEIGHT_WORD : AEGIS_KB_WEIGHT_PART);
        return 1;
    }

    aegis_kb_feature(sum, 'w', token->text, token->len, AEGIS_KB_WEIGHT_WORD);

    if (token->kind == AEGIS_KB_WORD && token->len >= 4) {
        padded[0] = '^';
        memcpy(padded + 1, token->text, token->len);
        padded[token->len + 1] = '$';
        len = token->len + 2;

        for (i = 0; i + 3 <= len; i++) {
            aegis_kb_feature(sum, 't', padded + i, 3, AEGIS_KB_WEIGHT_PART);
        }
    }

    return 1;
}


/* Newton's; the core links no mathematics. */
static float
aegis_kb_root(float x)
{
    int     i;
    double  r;

    if (!(x > 0)) {
        return 0;
    }

    r = x > 1 ? x : 1;
    for (i = 0; i < 64; i++) {
        r = (r + x / r) / 2;
        if (r * r - x < 1e-9 * x) {
            break;
        }
    }

    return (float) r;
}


float
aegis_kb_dot(const float *a, const float *b, size_t n)
{
    size_t  i;
    float   sum;

    for (sum = 0, i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }

    return sum;
}


int
aegis_kb_unit(float *v, size_t n)
{
    size_t  i;
    float   len;

    len = aegis_kb_root(aegis_kb_dot(v, v, n));
    if (!(len > 0) || len > 1e18f) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        v[i] /= len;
    }

    return 1;
}


void
aegis_kb_embed(aegis_str_t head, aegis_str_t text, float v[AEGIS_KB_DIMS])
{
    size_t          i;
    aegis_kb_sum_t  sum;

    memset(v, 0, AEGIS_KB_DIMS * sizeof(float));

    sum.v = v;
    sum.weight = 2;
    aegis_kb_tokens(head, aegis_kb_add, &sum);
    sum.weight = 1;
    aegis_kb_tokens(text, aegis_kb_add, &sum);

    /* what is there ten times does not say ten times as much */
    for (i = 0; i < AEGIS_KB_DIMS; i++) {
        v[i] = v[i] < 0 ? -aegis_kb_root(-v[i]) : aegis_kb_root(v[i]);
    }

    (void) aegis_kb_unit(v, AEGIS_KB_DIMS);
}


char *
aegis_kb_vector_text(const float *v, size_t n)
{
    size_t       i;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_buf_add(&buf, "{", 1);
    for (i = 0; i < n; i++) {
        if (i) {
            aegis_buf_add(&buf, ",", 1);
        }
        if (v[i] == 0) {
            aegis_buf_add(&buf, "0", 1);
        } else {
            aegis_buf_printf(&buf, "%.4g", (double) v[i]);
        }
    }
    aegis_buf_add(&buf, "}", 1);

    return aegis_buf_take(&buf, NULL);
}


char *
aegis_kb_signs(const float *v, size_t n)
{
    char    *bits;
    size_t   i;

    bits = malloc(n + 1);
    if (bits == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        bits[i] = v[i] > 0 ? '1' : '0';
    }
    bits[n] = '\0';

    return bits;
}


char *
aegis_kb_mask(const float *v, size_t n)
{
    char    *bits;
    size_t   i;

    bits = malloc(n + 1);
    if (bits == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        bits[i] = v[i] != 0 ? '1' : '0';
    }
    bits[n] = '\0';

    return bits;
}
