/*
 * aegis_librarian.c: the role librarian: a tick looks at what waits: documents
 * first, then closed cases, then passages that lack a vector. Invariant: whatever
 * it dies of, what it had taken is taken again after its lease; nothing that was
 * searchable stops being so while it works.
 */
#include "aegis_librarian.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AEGIS_LIBRARIAN_IDLE_MS      1000
#define AEGIS_LIBRARIAN_RETRY_MS     2000
#define AEGIS_LIBRARIAN_LAG_MS       5000
#define AEGIS_LIBRARIAN_CASES_MS     1000
#define AEGIS_LIBRARIAN_EMBEDDER_MS  15000
#define AEGIS_LIBRARIAN_DOCS         8
#define AEGIS_LIBRARIAN_CASES        16

static int64_t
aegis_librarian_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
aegis_librarian_metrics(aegis_librarian_t *l)
{
    l->docs = aegis_gauge("aegis_knowledge_documents", "", "documents in the knowledge base");
    l->chunks = aegis_gauge("aegis_knowledge_chunks", "", "passages that can be found");
    l->queued = aegis_gauge("aegis_knowledge_queued", "", "documents that wait to be read");
    l->oldest = aegis_gauge("aegis_knowledge_queued_oldest_seconds", "",
                            "how long the first of them has waited");
    l->failed = aegis_gauge("aegis_knowledge_failed", "", "documents that could not be read");
    l->unembedded = aegis_gauge("aegis_knowledge_unembedded", "",
                                "passages that lack a vector of a new embedder");
    l->stored = aegis_counter("aegis_knowledge_read_total", "result=\"ok\"", "documents that were read");
    l->refused = aegis_counter("aegis_knowledge_read_total", "result=\"failed\"",
                               "documents that were read");
    l->embedded = aegis_counter("aegis_knowledge_embedded_total", "",
                                "vectors that were made for passages that lacked them");
    l->embed_errors = aegis_counter("aegis_knowledge_embed_errors_total", "",
                                    "times that the embedder of kb.embedder failed");
    l->cases = aegis_counter("aegis_knowledge_cases_total", "", "closed cases that were looked at");
    l->seconds = aegis_histogram("aegis_knowledge_read_seconds", "", "time that a document takes");
}

static aegis_allow_t *
aegis_librarian_allow(const aegis_conf_t *conf, aegis_error_t *err)
{
    return aegis_allow_new("kb.allow", aegis_conf_str(conf, "kb.allow"),
                           aegis_conf_str(conf, "kb.allow_private"), err);
}

static void
aegis_librarian_done(aegis_worker_t *w)
{
    aegis_librarian_t  *l;

    l = w->data;
    if (l != NULL) {
        aegis_embedder_free(l->embedder);
        aegis_allow_free(l->allow);
        free(l);
    }

    w->data = NULL;
}

/* Called again after a failure. */
static aegis_code_t
aegis_librarian_init(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_librarian_t  *l;

    aegis_librarian_done(w);

    l = calloc(1, sizeof(aegis_librarian_t));
    if (l == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    w->data = l;
    aegis_librarian_metrics(l);
    l->allow = aegis_librarian_allow(w->conf, err);

    return l->allow ? AEGIS_E_OK : err->code;
}

/* A bad list leaves the old one; the embedder is made anew. */
static void
aegis_librarian_reload(aegis_worker_t *w)
{
    aegis_allow_t      *allow;
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_librarian_t  *l;

    l = w->data;
    allow = aegis_librarian_allow(w->conf, &err);

    if (allow) {
        aegis_allow_free(l->allow);
        l->allow = allow;
    } else {
        aegis_log(AEGIS_LOG_ERROR, "librarian", "allow.refused", "detail", "%s", err.detail, NULL);
    }

    aegis_embedder_free(l->embedder);
    l->embedder = NULL;
    l->ready = 0;
    l->embedder_at = 0;
    l->session = 0;
    l->settled = 0;
    aegis_error_clear(&err);
}

static void
aegis_librarian_trouble(const char *event, aegis_error_t *err)
{
    aegis_log(AEGIS_LOG_WARN, "librarian", event, "code", "%s", aegis_error_def(err->code)->code,
              "detail", "%s", err->detail, NULL);
    aegis_error_clear(err);
}

/* Make the embedder that the settings name. Without it passages are found by words and
 * by the vectors that they have. */
static void
aegis_librarian_embedder(aegis_worker_t *w, int64_t now)
{
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_librarian_t  *l;

    l = w->data;
    if (l->ready || now < l->embedder_at) {
        return;
    }

    l->embedder_at = now + AEGIS_LIBRARIAN_EMBEDDER_MS;

    if (aegis_embedder_new(w->conf, w->stopping, &l->embedder, &err) != AEGIS_E_OK) {
        aegis_metric_add(l->embed_errors, 1);
        aegis_librarian_trouble("embedder.not_ready", &err);
        return;
    }

    l->ready = 1;
    l->session = 0;
    aegis_log(AEGIS_LOG_INFO, "librarian", "embedder", "name", "%s",
              l->embedder ? l->embedder->name : AEGIS_KB_EMBEDDER, NULL);
}

/* Whose vectors are wanted. */
static aegis_code_t
aegis_librarian_wanted(aegis_worker_t *w, aegis_error_t *err)
{
    int                 i, n;
    char                dims[16];
    const char         *params[2], *name;
    aegis_code_t        rc;
    aegis_librarian_t  *l;

    l = w->data;
    rc = aegis_pg_ready(w->pg, err);
    if (rc != AEGIS_E_OK || (l->session == aegis_pg_session(w->pg) && l->settled)) {
        return rc;
    }

    /* an embedder that is not there yet changes nothing: new documents get the
     * built-in one's vectors */
    name = l->ready && l->embedder ? l->embedder->name : AEGIS_KB_EMBEDDER;
    snprintf(dims, sizeof(dims), "%d", l->ready && l->embedder ? l->embedder->dims
                                                               : AEGIS_KB_DIMS);
    if (!l->ready && l->session) {
        return AEGIS_E_OK;
    }

    params[0] = name;
    params[1] = dims;

    rc = aegis_pg_sql(w->pg, l->ready ? AEGIS_SQL_KB_EMBEDDER : AEGIS_SQL_KB_EMBEDDERS,
                      l->ready ? 2 : 0, params, &n, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    l->own_id = l->model_id = 0;
    for (i = 0; i < n; i++) {
        if (strcmp(aegis_pg_value(w->pg, i, 1), AEGIS_KB_EMBEDDER) == 0) {
            l->own_id = atoi(aegis_pg_value(w->pg, i, 0));
        } else if (strcmp(aegis_pg_value(w->pg, i, 1), name) == 0) {
            l->model_id = atoi(aegis_pg_value(w->pg, i, 0));
        }
    }

    aegis_pg_clear(w->pg);
    l->session = aegis_pg_session(w->pg);

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_librarian_lag(aegis_worker_t *w, int64_t now, aegis_error_t *err)
{
    int                 i, n;
    aegis_code_t        rc;
    aegis_librarian_t  *l;

    l = w->data;
    if (now < l->lag_at) {
        return AEGIS_E_OK;
    }

    l->lag_at = now + AEGIS_LIBRARIAN_LAG_MS;
    rc = aegis_pg_sql(w->pg, AEGIS_SQL_KB_LAG, 0, NULL, &n, err);

    if (rc == AEGIS_E_OK && n == 1) {
        aegis_metric_t  *gauges[6] = {
            l->docs, l->chunks, l->queued, l->oldest, l->failed, l->unembedded
        };

        for (i = 0; i < 6; i++) {
            aegis_metric_set(gauges[i], strtod(aegis_pg_value(w->pg, 0, i), NULL));
        }
    }

    aegis_pg_clear(w->pg);
    return rc;
}

/* Cases that were closed; how many were looked at. */
static int
aegis_librarian_cases(aegis_worker_t *w, int64_t now, aegis_error_t *err)
{
    int                 n, done;
    char                limit[16];
    const char         *params[1];
    aegis_librarian_t  *l;

    l = w->data;
    if (now < l->cases_at || aegis_conf_int(w->conf, "kb.cases") == 0) {
        return 0;
    }

    snprintf(limit, sizeof(limit), "%d", AEGIS_LIBRARIAN_CASES);
    params[0] = limit;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_KB_CASES, 1, params, &n, err) != AEGIS_E_OK) {
        return -1;
    }

    done = atoi(aegis_pg_value(w->pg, 0, 0));
    aegis_pg_clear(w->pg);
    aegis_metric_add(l->cases, done);
    l->cases_at = now + AEGIS_LIBRARIAN_CASES_MS;

    return done;
}

static int
aegis_librarian_tick(aegis_worker_t *w)
{
    int                 read, cases, more;
    int64_t             now;
    aegis_error_t       err = AEGIS_ERROR_INIT;

    now = aegis_librarian_now();
    read = cases = more = 0;

    aegis_librarian_embedder(w, now);

    if (aegis_librarian_wanted(w, &err) != AEGIS_E_OK
        || aegis_librarian_lag(w, now, &err) != AEGIS_E_OK
        || !aegis_librarian_queries(w, &err)
        || (read = aegis_librarian_read(w, AEGIS_LIBRARIAN_DOCS, &err)) < 0
        || (cases = aegis_librarian_cases(w, now, &err)) < 0
        || (more = aegis_librarian_reembed(w, &err)) < 0)
    {
        aegis_librarian_trouble("round.failed", &err);
        return AEGIS_LIBRARIAN_RETRY_MS;
    }

    if (read || more) {
        return 0;
    }

    return cases ? 50 : AEGIS_LIBRARIAN_IDLE_MS;
}

const aegis_role_t  aegis_role_librarian = {
    .name = "librarian",
    .sentence = "reads documents and closed cases into the knowledge base",
    .init = aegis_librarian_init,
    .tick = aegis_librarian_tick,
    .reload = aegis_librarian_reload,
    .done = aegis_librarian_done,
    .listen = "aegis_kb"
};
