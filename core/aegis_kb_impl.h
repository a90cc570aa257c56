/*
 * aegis_kb_impl.h: for the files that read documents: how blocks become
 * passages. A reader says headings and blocks in order; the maker closes a
 * passage at a heading or when it is long enough, and splits what is too long.
 */
#ifndef AEGIS_KB_IMPL_H
#define AEGIS_KB_IMPL_H

#include "aegis_buf.h"
#include "aegis_kb.h"

#define AEGIS_KB_LEVELS  6

typedef struct {
    aegis_kb_chunks_t  *out;
    size_t              size;               /* of out->v */
    char                heads[AEGIS_KB_LEVELS][AEGIS_KB_HEADING_MAX + 1];
    aegis_buf_t         text;               /* of the passage that is open */
    size_t              from;
    size_t              to;
    size_t              total;              /* bytes of text that were said */
    aegis_code_t        code;               /* sticks */
} aegis_kb_maker_t;

/* level 1..6; closes the passage. The first one is the title too. */
void aegis_kb_heading(aegis_kb_maker_t *m, int level, aegis_str_t text);

/* Text that was made of [from, to) of the document. exact: it is those bytes, so
 * that its parts have places of their own. */
void aegis_kb_block(aegis_kb_maker_t *m, aegis_str_t text, size_t from, size_t to, int exact);

void aegis_kb_close(aegis_kb_maker_t *m);

/* Blanks in a row become one, none at the ends; at most max bytes. out holds
 * max + 1. */
void aegis_kb_squeeze(aegis_str_t text, char *out, size_t max);

/* One line from *at; the end of it without what ends it. 0: there is none. */
int aegis_kb_line(aegis_str_t body, size_t *at, aegis_str_t *ret_line);
int aegis_kb_blank(aegis_str_t line);

void aegis_kb_read_text(aegis_kb_maker_t *m, aegis_str_t body);
void aegis_kb_read_markdown(aegis_kb_maker_t *m, aegis_str_t body);
void aegis_kb_read_html(aegis_kb_maker_t *m, aegis_str_t body);
void aegis_kb_read_json(aegis_kb_maker_t *m, aegis_str_t body, aegis_error_t *err);

#endif
