/*
 * aegis_json.h: JSON under our limits, wherever it comes from, and the few
 * getters and UTF-8 helpers that jansson lacks.
 */
#ifndef AEGIS_JSON_H
#define AEGIS_JSON_H

#include "aegis_buf.h"
#include "aegis_error.h"

#define AEGIS_BODY_MAX_DEPTH  32

/* Parse any JSON object or array of ours or of strangers: no duplicate keys,
 * valid UTF-8 without U+0000, numbers that fit, at most AEGIS_BODY_MAX_DEPTH
 * deep, nothing behind it. MALFORMED_JSON otherwise. */
aegis_code_t aegis_json_parse(aegis_str_t text, json_t **ret_json,
    aegis_error_t *err);

/* Compact text with 15 significant digits (0.2 stays 0.2), malloc'ed. NULL: no
 * memory, or too long or too deep for any of ours. */
char *aegis_json_text(const json_t *json);

/* The same behind what a buffer has. */
void aegis_json_add(aegis_buf_t *buf, const json_t *json);

/* The same with the members of objects in the order of their keys' bytes, and one form
 * of a number: 1.0 and 1e0 are 1. */
char *aegis_json_text_sorted(const json_t *json);

/* 1 when aegis_json_text() would give every number of it back. json is not deep. */
int aegis_json_numbers(const json_t *json);

/* Nesting of arrays and objects; stops counting at limit + 1. */
size_t aegis_json_depth(const json_t *json, size_t limit);

/* A string member, "" when it is absent or something else. Borrowed. */
const char *aegis_json_str(const json_t *object, const char *name);

/* Length of the UTF-8 sequence at s, 0 when there is none; *ret_cp is it. */
size_t aegis_utf8_next(const char *s, size_t len, uint32_t *ret_cp);

/* Number of code points of valid UTF-8. */
size_t aegis_utf8_count(const char *s, size_t len);

/* The longest prefix of at most max bytes that does not split a character. */
size_t aegis_utf8_cut(const char *s, size_t len, size_t max);

/* A control character: C0 but newline and tab, DEL, C1. */
int aegis_utf8_has_control(const char *s, size_t len);

#endif
