/*
 * aegis_buf.h: text that grows while it is made. A failed allocation or a text
 * over the limit sticks: later calls do nothing and aegis_buf_take() says NULL,
 * so that a writer checks once, at the end.
 */
#ifndef AEGIS_BUF_H
#define AEGIS_BUF_H

#include "aegis.h"

#define AEGIS_BUF_MAX  (16u << 20)

typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
    int      failed;
} aegis_buf_t;

#define AEGIS_BUF_INIT  { NULL, 0, 0, 0 }

void aegis_buf_add(aegis_buf_t *buf, const char *data, size_t len);

/* A place for n bytes behind the text, for who writes in small pieces and then adds what
 * he has written to len; NULL: it has failed. */
char *aegis_buf_place(aegis_buf_t *buf, size_t n);

void aegis_buf_puts(aegis_buf_t *buf, const char *text);
void aegis_buf_printf(aegis_buf_t *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void aegis_buf_json(aegis_buf_t *buf, aegis_str_t s);

/* The same without the quotes. */
void aegis_buf_json_chars(aegis_buf_t *buf, aegis_str_t s);

/* The text, NUL-terminated, to be freed by the caller; buf is empty again.
 * NULL: it could not be made. ret_len may be NULL. */
char *aegis_buf_take(aegis_buf_t *buf, size_t *ret_len);

#endif
