/*
 * aegis_pool.h: memory for JSON, kept by each thread for its next document.
 */
#ifndef AEGIS_POOL_H
#define AEGIS_POOL_H

#include <stddef.h>

/* From now on jansson's memory comes from here. Before the first thread, and once.
 * Under a sanitizer it does nothing: there each piece is to be malloc's own. */
void aegis_pool_json(void);

/* For the unit test: what jansson is given. */
void *aegis_pool_take(size_t size);
void aegis_pool_give(void *p);
size_t aegis_pool_held(void);           /* bytes that this thread keeps */

#endif
