/*
 * aegis_error.h: a refusal as a value: a code of errors.def, a sentence about
 * this occurrence, and JSON pointers when a document is at fault.
 */
#ifndef AEGIS_ERROR_H
#define AEGIS_ERROR_H

#include "aegis.h"

typedef struct {
    aegis_code_t     id;
    const char      *code;          /* "illegal-transition" */
    int              http;
    aegis_verdict_t  verdict;
    const char      *title;
    const char      *remedy;
} aegis_error_def_t;

typedef struct {
    aegis_code_t     code;
    char             detail[256];   /* "" : the table's remedy is said */
    json_t          *errors;        /* array of {pointer, detail}, or NULL */
    json_t          *ext;           /* further members of the problem, or NULL */
} aegis_error_t;

#define AEGIS_ERROR_INIT  { AEGIS_E_OK, "", NULL, NULL }

const aegis_error_def_t *aegis_error_def(aegis_code_t code);

/* The row with this code string; the INTERNAL row when there is none. */
const aegis_error_def_t *aegis_error_by_code(const char *code);

/* Set code and detail (printf, cut at 255 bytes on a UTF-8 boundary); returns
 * code, so that a function can `return aegis_error_set(err, AEGIS_E_X, ...)`. */
aegis_code_t aegis_error_set(aegis_error_t *err, aegis_code_t code,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Add one {pointer, detail} (RFC 6901); sets code to SCHEMA. At most 32 kept. */
void aegis_error_at(aegis_error_t *err, const char *pointer,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* parent/name as a JSON pointer, with ~ and / escaped; cut between characters
 * when out is too small. */
void aegis_error_pointer(char *out, size_t size, const char *parent,
    const char *name);

/* parent/i, an item of an array. */
void aegis_error_index(char *out, size_t size, const char *parent, size_t i);

/* Move what was found into err, which may be NULL, and return its code. err
 * stays as it was when nothing was found. */
aegis_code_t aegis_error_move(aegis_error_t *err, aegis_error_t *found);

/* The problem document (RFC 9457) as malloc'ed text, free() it; NULL: no memory.
 * request_id may be "", and may have the trace id behind a blank. Members: type,
 * title, status, detail, instance, trace_id, then errors and ext. */
char *aegis_error_problem(const aegis_error_t *err, aegis_str_t request_id);

/* Drop what it holds; it can be used again. */
void aegis_error_clear(aegis_error_t *err);

#endif
