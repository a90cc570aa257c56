/*
 * aegis_verifier.h: what the files of the verify role share beside the module
 * roles' own: verifications that take time.
 *   aegis_verifier.c       claim, judge, commit; driven by the role's tick
 *   aegis_verifier_http.c  queries to Prometheus, many at once, none waited for
 */
#ifndef AEGIS_VERIFIER_H
#define AEGIS_VERIFIER_H

#include "aegis_module_role.h"
#include "aegis_verify.h"

typedef struct aegis_verifier_s       aegis_verifier_t;
typedef struct aegis_verifier_http_s  aegis_verifier_http_t;

/* A query on its way. answer is set when it is done, and then the owner's. */
typedef struct {
    const aegis_verify_ask_t  *ask;
    json_t                    *answer;
} aegis_verifier_query_t;

aegis_verifier_t *aegis_verifier_new(aegis_worker_t *w, aegis_error_t *err);
void aegis_verifier_free(aegis_verifier_t *v);          /* NULL is fine */
void aegis_verifier_reload(aegis_verifier_t *v, aegis_worker_t *w);

/* Returns the milliseconds after which it wants to run again. */
int aegis_verifier_tick(aegis_verifier_t *v, aegis_worker_t *w);

/* Milliseconds of a clock that only goes forward. */
int64_t aegis_verifier_now(void);

aegis_verifier_http_t *aegis_verifier_http_new(const aegis_conf_t *conf);
void aegis_verifier_http_free(aegis_verifier_http_t *http);

/* Read the settings again; queries on their way end by the old ones. */
void aegis_verifier_http_reload(aegis_verifier_http_t *http, const aegis_conf_t *conf);

/* Begin. What cannot even begin has its answer, an error, at once. query stays
 * where it is until it has its answer or aegis_verifier_http_forget(). */
void aegis_verifier_http_ask(aegis_verifier_http_t *http, const char *tenant,
    aegis_verifier_query_t *query);

/* Go on with all of them, without waiting. The number that still runs. */
size_t aegis_verifier_http_go(aegis_verifier_http_t *http);

void aegis_verifier_http_forget(aegis_verifier_http_t *http, aegis_verifier_query_t *query);

#endif
