/*
 * aegis_fuzz.h: what the fuzz targets share. A target feeds arbitrary bytes to
 * a parser of the core and checks a property of whatever gets through; the
 * sanitizers watch the rest. `make fuzz` builds it with clang's libFuzzer, `make
 * replays` with replay.c, which runs the kept corpus in t/data/fuzz/<target>.
 */
#ifndef AEGIS_FUZZ_H
#define AEGIS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_error.h"
#include "aegis_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input; the line says which did not. */
#define aegis_fuzz_must(property)                                              \
    do {                                                                       \
        if (!(property)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #property);     \
            abort();                                                           \
        }                                                                      \
    } while (0)


static inline int
aegis_fuzz_same(aegis_str_t a, aegis_str_t b)
{
    return a.len == b.len && (a.data == NULL) == (b.data == NULL)
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static inline int
aegis_fuzz_is(aegis_str_t s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}


static inline int
aegis_fuzz_utf8(aegis_str_t s)
{
    size_t    i, n;
    uint32_t  cp;

    for (i = 0; i < s.len; i += n) {
        n = aegis_utf8_next(s.data + i, s.len - i, &cp);
        if (n == 0) {
            return 0;
        }
    }

    return 1;
}


/* What stands before the first c; rest becomes what stands behind it. */
static inline aegis_str_t
aegis_fuzz_until(aegis_str_t *rest, char c)
{
    aegis_str_t  head = *rest;
    const char  *at;

    at = rest->len ? memchr(rest->data, c, rest->len) : NULL;

    if (at == NULL) {
        rest->data += rest->len;
        rest->len = 0;
        return head;
    }

    head.len = (size_t) (at - head.data);
    rest->len -= head.len + 1;
    rest->data = at + 1;

    return head;
}


/* Before, s and behind in one allocation of just their size, so that a byte read
 * too far is seen. free() its data. */
static inline aegis_str_t
aegis_fuzz_join(const char *before, aegis_str_t s, const char *behind)
{
    char    *p;
    size_t   a, b;

    a = strlen(before);
    b = strlen(behind);
    p = malloc(a + s.len + b ? a + s.len + b : 1);
    aegis_fuzz_must(p != NULL);

    memcpy(p, before, a);
    if (s.len) {
        memcpy(p + a, s.data, s.len);
    }
    memcpy(p + a + s.len, behind, b);

    return (aegis_str_t) { a + s.len + b, p };
}


static inline char
aegis_fuzz_turn(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? (char) (c ^ 0x20) : c;
}


/* The same with every letter in its other case. free() its data. */
static inline aegis_str_t
aegis_fuzz_turned(aegis_str_t s)
{
    char    *p;
    size_t   i;

    s = aegis_fuzz_join("", s, "");
    p = (char *) s.data;

    for (i = 0; i < s.len; i++) {
        p[i] = aegis_fuzz_turn(p[i]);
    }

    return s;
}


/* A refusal can be shown: its document is JSON in UTF-8 with what clients count
 * on. Clears err. */
static inline void
aegis_fuzz_refused(aegis_error_t *err, aegis_code_t code)
{
    char           *text;
    size_t          i;
    json_t         *problem, *errors;
    const char     *pointer;
    aegis_error_t   bad = AEGIS_ERROR_INIT;

    aegis_fuzz_must(code != AEGIS_E_OK && err->code == code);
    aegis_fuzz_must(aegis_error_def(code)->http >= 400
                    && aegis_error_def(code)->http <= 599);

    text = aegis_error_problem(err, aegis_str("fuzz"));
    aegis_fuzz_must(text != NULL);
    aegis_fuzz_must(aegis_json_parse(aegis_view(text), &problem, &bad)
                    == AEGIS_E_OK);
    aegis_fuzz_must(json_integer_value(json_object_get(problem, "status"))
                    == aegis_error_def(code)->http);
    aegis_fuzz_must(aegis_json_str(problem, "detail")[0] != '\0');

    errors = json_object_get(problem, "errors");
    aegis_fuzz_must((code == AEGIS_E_SCHEMA) == (json_array_size(errors) > 0));
    aegis_fuzz_must(json_array_size(errors) <= 32);

    for (i = 0; i < json_array_size(errors); i++) {
        pointer = aegis_json_str(json_array_get(errors, i), "pointer");
        aegis_fuzz_must(pointer[0] == '/' || pointer[0] == '\0');
        aegis_fuzz_must(aegis_json_str(json_array_get(errors, i), "detail")[0]);
    }

    json_decref(problem);
    free(text);
    aegis_error_clear(err);
}

#endif
