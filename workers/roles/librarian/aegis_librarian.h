/*
 * aegis_librarian.h: what the files of the role librarian share: documents that
 * wait are read, split, embedded and stored; closed cases become documents; what
 * lacks the vectors of the embedder in use gets them in the background.
 */
#ifndef AEGIS_LIBRARIAN_H
#define AEGIS_LIBRARIAN_H

#include "aegis_allow.h"
#include "aegis_kb.h"
#include "aegis_role.h"

#define AEGIS_LIBRARIAN_NAME    160
#define AEGIS_LIBRARIAN_BATCH   32      /* texts that an embedder gets at a time */
#define AEGIS_LIBRARIAN_TEXT    4096    /* bytes of one of them */

/* What makes vectors: one interface for the model in this process and the one
 * behind a URL. The built-in one is the core's and is not here. */
typedef struct aegis_embedder_s  aegis_embedder_t;

struct aegis_embedder_s {
    char   name[AEGIS_LIBRARIAN_NAME];  /* of the vectors: another model has another one */
    int    dims;
    void  *data;

    /* n texts to n unit vectors of dims numbers; 0 and err: it cannot now. Waits as
     * long as its own deadline says. */
    int  (*embed)(aegis_embedder_t *e, const aegis_str_t *texts, size_t n, float *out,
                  aegis_error_t *err);
    void (*free)(aegis_embedder_t *e);
};

/* By kb.embedder. OK and NULL: the built-in one. */
aegis_code_t aegis_embedder_new(const aegis_conf_t *conf, volatile int *stopping,
    aegis_embedder_t **ret, aegis_error_t *err);
void aegis_embedder_free(aegis_embedder_t *e);      /* NULL is fine */

aegis_embedder_t *aegis_embedder_http(const aegis_conf_t *conf, volatile int *stopping,
    aegis_error_t *err);
aegis_embedder_t *aegis_embedder_onnx(const aegis_conf_t *conf, aegis_error_t *err);

typedef struct {
    char    *body;                      /* UTF-8, malloc'ed */
    size_t   len;
    char     format[16];
    int      final;                     /* of a failure: no retry helps */
} aegis_fetched_t;

/* Get what is behind a URL. 0 and err when it cannot be had. */
int aegis_librarian_fetch(const aegis_conf_t *conf, const aegis_allow_t *allow,
    volatile int *stopping, const char *url, aegis_fetched_t *ret, aegis_error_t *err);

typedef struct {
    aegis_embedder_t  *embedder;        /* NULL: the built-in one */
    int                ready;           /* the embedder could be made */
    int64_t            embedder_at;     /* when it is tried again */
    int                own_id;          /* of the built-in one's vectors, 0: not wanted */
    int                model_id;        /* of the embedder's, 0: there is none */
    unsigned           session;         /* of the database, in which they were asked */
    int                settled;         /* nothing lacks a vector, nothing is to purge */
    aegis_allow_t     *allow;
    int64_t            lag_at;
    int64_t            cases_at;
    aegis_metric_t    *docs;
    aegis_metric_t    *chunks;
    aegis_metric_t    *queued;
    aegis_metric_t    *oldest;
    aegis_metric_t    *failed;
    aegis_metric_t    *unembedded;
    aegis_metric_t    *stored;
    aegis_metric_t    *refused;
    aegis_metric_t    *embedded;
    aegis_metric_t    *embed_errors;
    aegis_metric_t    *cases;
    aegis_metric_t    *seconds;
} aegis_librarian_t;

/* Read up to limit documents that wait; how many there were, -1: the database is away. */
int aegis_librarian_read(aegis_worker_t *w, int limit, aegis_error_t *err);

/* Vectors of questions that wait for them, when a model makes them; 0: the database is
 * away. */
int aegis_librarian_queries(aegis_worker_t *w, aegis_error_t *err);

/* One batch of passages that lack a vector. 1: there may be more, 0: none; -1. */
int aegis_librarian_reembed(aegis_worker_t *w, aegis_error_t *err);

#endif
