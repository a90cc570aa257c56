/*
 * aegis_check.h: the schema rules that bodies, plans and policies share. Each
 * looks at one value and adds what is wrong with it to err at a JSON pointer;
 * 1 when nothing is. A NULL value is one that is absent: it is wrong.
 */
#ifndef AEGIS_CHECK_H
#define AEGIS_CHECK_H

#include "aegis_error.h"

#define AEGIS_CHECK_POINTER  256

/* Strings of least to most characters without control characters. */
int aegis_check_string(const json_t *value, size_t least, size_t most,
    const char *pointer, aegis_error_t *err);

/* One of the strings in values, which ends with NULL. */
int aegis_check_enum(const json_t *value, const char *const *values,
    const char *pointer, aegis_error_t *err);

int aegis_check_int(const json_t *value, json_int_t least, json_int_t most,
    const char *pointer, aegis_error_t *err);

int aegis_check_number(const json_t *value, double least, double most,
    const char *pointer, aegis_error_t *err);

int aegis_check_bool(const json_t *value, const char *pointer, aegis_error_t *err);

/* A date-time of RFC 3339; and that one member is not before another. */
void aegis_check_time(const json_t *value, const char *pointer, aegis_error_t *err);
void aegis_check_span(const json_t *object, const char *from, const char *to,
    aegis_error_t *err);

/* An object without other members than names, which ends with NULL. */
int aegis_check_object(const json_t *value, const char *const *names,
    const char *pointer, aegis_error_t *err);

/* An array of least to most items. */
int aegis_check_array(const json_t *value, size_t least, size_t most,
    const char *pointer, aegis_error_t *err);

/* 1 to most characters of A-Z a-z 0-9 _ . - that do not start with a dot. */
int aegis_check_word(const json_t *value, size_t most, const char *pointer,
    aegis_error_t *err);

/* The same for text. */
int aegis_check_is_word(const char *s, size_t most);

#endif
