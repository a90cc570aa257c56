/*
 * aegis_fuzz_kb.h: what must hold for the passages of any document: they are not
 * empty, not too long, UTF-8 without control characters, at places inside of it;
 * in formats whose text is kept they are what stands there. Every passage has
 * terms that a database takes, and a vector of length one or zero.
 */
#ifndef AEGIS_FUZZ_KB_H
#define AEGIS_FUZZ_KB_H

#include "aegis_fuzz.h"
#include "aegis_kb.h"


static inline void
aegis_fuzz_kb_terms(aegis_str_t head, aegis_str_t text, size_t max)
{
    char    *terms, *p, *end;
    size_t   n;

    terms = aegis_kb_terms(head, text, max);
    aegis_fuzz_must(terms != NULL);
    aegis_fuzz_must(aegis_fuzz_utf8(aegis_view(terms)));

    for (n = 0, p = terms; *p; p = *end ? end + 1 : end, n++) {
        end = strchr(p, ' ');
        end = end ? end : p + strlen(p);
        aegis_fuzz_must(end > p && end - p <= AEGIS_KB_TOKEN_MAX + 8);
        aegis_fuzz_must(memchr(p, '=', (size_t) (end - p)) == NULL);
        aegis_fuzz_must(memchr(p, '\'', (size_t) (end - p)) == NULL);
        aegis_fuzz_must(memchr(p, '\\', (size_t) (end - p)) == NULL);
    }

    aegis_fuzz_must(n <= max);
    free(terms);
}


static inline void
aegis_fuzz_kb_vector(aegis_str_t head, aegis_str_t text)
{
    float  v[AEGIS_KB_DIMS], length;

    aegis_kb_embed(head, text, v);
    length = aegis_kb_dot(v, v, AEGIS_KB_DIMS);
    aegis_fuzz_must(length == 0 || (length > 0.999f && length < 1.001f));
}


static inline void
aegis_fuzz_kb(aegis_kb_format_t format, aegis_str_t in)
{
    size_t              i;
    aegis_str_t         text, head;
    aegis_code_t        code;
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_kb_chunks_t   chunks;

    code = aegis_kb_split(format, in, &chunks, &err);
    aegis_fuzz_must(aegis_fuzz_utf8(aegis_view(chunks.title))
                    || !aegis_fuzz_utf8(in));
    aegis_fuzz_must(strlen(chunks.title) <= AEGIS_KB_TITLE_MAX);
    aegis_fuzz_must(code != AEGIS_E_OK || chunks.n > 0);

    for (i = 0; i < chunks.n; i++) {
        text = aegis_view(chunks.v[i].text);
        head = aegis_view(chunks.v[i].heading);

        aegis_fuzz_must(text.len > 0 && text.len <= AEGIS_KB_CHUNK_MAX);
        aegis_fuzz_must(head.len <= AEGIS_KB_HEADING_MAX);
        aegis_fuzz_must(aegis_fuzz_utf8(text) && !aegis_utf8_has_control(text.data, text.len));
        aegis_fuzz_must(chunks.v[i].from <= chunks.v[i].to && chunks.v[i].to <= in.len);

        if (i < 8) {
            aegis_fuzz_kb_terms(head, text, AEGIS_KB_CHUNK_TERMS);
            aegis_fuzz_kb_vector(head, text);
        }
    }

    aegis_kb_chunks_free(&chunks);
    aegis_error_clear(&err);
}

#endif
