/*
 * aegis_table.h: what aegis_table.c and aegis_table_page.c share: the parts of
 * a markdown page, and one writer for each page of a table. The door to all of
 * it is aegis_fsm_dump() in aegis_fsm.h.
 */
#ifndef AEGIS_TABLE_H
#define AEGIS_TABLE_H

#include "aegis_buf.h"

#define AEGIS_TABLE_GENERATED                                                  \
    "Generated from core/tables by `make tables`; do not edit."

/* The first line and the title of a page. */
void aegis_table_markdown(aegis_buf_t *buf, const char *title);

/* The head of a table; names ends with NULL. */
void aegis_table_head(aegis_buf_t *buf, const char *const *names);

/* n cells, with | escaped. */
void aegis_table_row(aegis_buf_t *buf, const char *const *cells, size_t n);

void aegis_table_page_errors(aegis_buf_t *buf);
void aegis_table_page_routes(aegis_buf_t *buf);
void aegis_table_page_subjects(aegis_buf_t *buf);
void aegis_table_page_settings(aegis_buf_t *buf);
void aegis_table_page_statements(aegis_buf_t *buf);
void aegis_table_plan_schema(aegis_buf_t *buf);

/* The schemas Plan… of docs/openapi.json, as text between two of its members. */
void aegis_table_openapi_plan(aegis_buf_t *buf);

#endif
