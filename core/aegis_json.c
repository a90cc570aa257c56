/*
 * aegis_json.c: one door for JSON. Its invariant: what comes through can be
 * stored by PostgreSQL as json and jsonb (no U+0000, no lone surrogate) and
 * walked by recursion without looking at the depth again.
 */
#include "aegis_json.h"

#include <math.h>
#include <string.h>

/* The largest number that 15 digits still write as one that can be read. */
#define AEGIS_JSON_MAX_NUMBER  1.79769313486231e308


int
aegis_json_numbers(const json_t *json)
{
    size_t   i;
    void    *iter;
    json_t  *o = (json_t *) json;

    if (json_is_real(json)) {
        return fabs(json_real_value(json)) <= AEGIS_JSON_MAX_NUMBER;
    }

    for (i = 0; i < json_array_size(json); i++) {
        if (!aegis_json_numbers(json_array_get(json, i))) {
            return 0;
        }
    }

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        if (!aegis_json_numbers(json_object_iter_value(iter))) {
            return 0;
        }
    }

    return 1;
}


aegis_code_t
aegis_json_parse(aegis_str_t text, json_t **ret_json, aegis_error_t *err)
{
    json_t        *json;
    json_error_t   error;

    if (text.data == NULL || text.len == 0) {
        return aegis_error_set(err, AEGIS_E_MALFORMED_JSON, "There is no document.");
    }

    /* jansson overlooks one behind a number */
    if (memchr(text.data, '\0', text.len)) {
        return aegis_error_set(err, AEGIS_E_MALFORMED_JSON, "It has a NUL byte.");
    }

    json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);

    if (json == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }

        return aegis_error_set(err, AEGIS_E_MALFORMED_JSON,
            "Line %d, column %d: %s.", error.line, error.column, error.text);
    }

    if (aegis_json_depth(json, AEGIS_BODY_MAX_DEPTH) > AEGIS_BODY_MAX_DEPTH) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_E_MALFORMED_JSON,
            "It is nested more than %d deep.", AEGIS_BODY_MAX_DEPTH);
    }

    if (!aegis_json_numbers(json)) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_E_MALFORMED_JSON,
                               "It has a number that is too large.");
    }

    *ret_json = json;

    return AEGIS_E_OK;
}


size_t
aegis_json_depth(const json_t *json, size_t limit)
{
    size_t       i, depth, deepest;
    void        *iter;
    json_t      *o;

    if (!json_is_object(json) && !json_is_array(json)) {
        return 0;
    }

    if (limit == 0) {
        return 1;
    }

    deepest = 0;

    if (json_is_array(json)) {
        for (i = 0; i < json_array_size(json) && deepest < limit; i++) {
            depth = aegis_json_depth(json_array_get(json, i), limit - 1);
            deepest = depth > deepest ? depth : deepest;
        }

    } else {
        o = (json_t *) json;
        for (iter = json_object_iter(o); iter && deepest < limit;
             iter = json_object_iter_next(o, iter))
        {
            depth = aegis_json_depth(json_object_iter_value(iter), limit - 1);
            deepest = depth > deepest ? depth : deepest;
        }
    }

    return deepest + 1;
}


const char *
aegis_json_str(const json_t *object, const char *name)
{
    const char  *s;

    s = json_string_value(json_object_get(object, name));

    return s ? s : "";
}


size_t
aegis_utf8_next(const char *s, size_t len, uint32_t *ret_cp)
{
    size_t                n, i;
    uint32_t              cp;
    const unsigned char  *u = (const unsigned char *) s;

    static const uint32_t  least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    if (len == 0) {
        return 0;
    }

    if (u[0] < 0x80) {
        *ret_cp = u[0];
        return 1;
    }

    if (u[0] >= 0xc2 && u[0] <= 0xdf) {
        n = 2;
        cp = u[0] & 0x1f;

    } else if ((u[0] & 0xf0) == 0xe0) {
        n = 3;
        cp = u[0] & 0x0f;

    } else if (u[0] >= 0xf0 && u[0] <= 0xf4) {
        n = 4;
        cp = u[0] & 0x07;

    } else {
        return 0;
    }

    if (len < n) {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) {
            return 0;
        }
        cp = (cp << 6) | (u[i] & 0x3f);
    }

    if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
        return 0;
    }

    *ret_cp = cp;

    return n;
}


size_t
aegis_utf8_count(const char *s, size_t len)
{
    size_t  i, n;

    n = 0;
    for (i = 0; i < len; i++) {
        n += ((unsigned char) s[i] & 0xc0) != 0x80;
    }

    return n;
}


size_t
aegis_utf8_cut(const char *s, size_t len, size_t max)
{
    if (len <= max) {
        return len;
    }

    while (max > 0 && ((unsigned char) s[max] & 0xc0) == 0x80) {
        max--;
    }

    return max;
}


int
aegis_utf8_has_control(const char *s, size_t len)
{
    size_t                i;
    const unsigned char  *u = (const unsigned char *) s;

    for (i = 0; i < len; i++) {
        if ((u[i] < 0x20 && u[i] != '\n' && u[i] != '\t') || u[i] == 0x7f) {
            return 1;
        }

        /* U+0080 .. U+009F is C2 80 .. C2 9F */
        if (u[i] == 0xc2 && i + 1 < len && u[i + 1] < 0xa0) {
            return 1;
        }
    }

    return 0;
}
