/*
 * aegis_store.h: the object store: a folder on this machine, or a bucket that
 * speaks S3. What is stored is a file that its writer may still add to: the
 * first bytes of it are put again and again until it is complete, because S3
 * cannot append. With store.kind file the folder is the store, and putting is
 * nothing but saying so.
 */
#ifndef AEGIS_STORE_H
#define AEGIS_STORE_H

#include "aegis_conf.h"

typedef struct aegis_store_s  aegis_store_t;

/* A last put is over; ok 0: it was given up and the file is the only copy. */
typedef void (*aegis_store_done_t)(void *data, const char *key, int ok);

/* By the settings store.*; they need a restart. done may be NULL. */
aegis_code_t aegis_store_open(const aegis_conf_t *conf, aegis_store_done_t done, void *data,
    aegis_store_t **ret_store, aegis_error_t *err);

/* Forgets what still waits. */
void aegis_store_close(aegis_store_t *store);

/* "file", or the bucket's name: oo_locator.bucket. */
const char *aegis_store_bucket(const aegis_store_t *store);

/* The key of an object of ours: with store.s3.prefix before it. */
void aegis_store_key(const aegis_store_t *store, const char *key, char *buf, size_t size);

/*
 * Put the first size bytes of fd (which is dup'ed) as key. An earlier put of the
 * same key that has not begun yet is replaced. last: the file is complete, and
 * the put is tried again with backoff until store.s3.give_up_s have passed.
 * -1: too much waits already; put it later.
 */
int aegis_store_put(aegis_store_t *store, const char *key, int fd, int64_t size, int last);

/* Move on; never waits. Returns how many objects are not stored yet. */
size_t aegis_store_turn(aegis_store_t *store);

#endif
