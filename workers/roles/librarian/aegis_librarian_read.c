/*
 * aegis_librarian_read.c: a document from what was put in to passages with terms
 * and vectors, and passages that lack a vector. Invariant: a document that cannot
 * be read says why in its row and stops no other; a model that fails leaves
 * passages that are found by words at once and by meaning later.
 */
#include "aegis_librarian.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_buf.h"
#include "aegis_failpoint.h"
#include "aegis_json.h"

#define AEGIS_LIBRARIAN_LEASE_S  120

/* A claimed document; the row's values are copied, the result goes with the next
 * statement. */
typedef struct {
    char  *tenant;
    char  *doc_id;
    char  *version;
    char  *format;
    char  *title;
    char  *url;
    char  *body;                        /* NULL: behind url */
} aegis_librarian_doc_t;

static aegis_str_t
aegis_librarian_view(const char *s)
{
    return (aegis_str_t) { s ? strlen(s) : 0, s ? s : "" };
}

static void
aegis_librarian_vector(aegis_buf_t *buf, const char *id, long long value, const float *v,
    size_t n)
{
    char  *vector, *signs;

    vector = aegis_kb_vector_text(v, n);
    signs = aegis_kb_signs(v, n);
    buf->failed |= vector == NULL || signs == NULL;

    aegis_buf_printf(buf, "{\"%s\":%lld,\"signs\":\"", id, value);
    aegis_buf_puts(buf, signs ? signs : "");
    aegis_buf_puts(buf, "\",\"vector\":\"");
    aegis_buf_puts(buf, vector ? vector : "");
    aegis_buf_puts(buf, "\"}");

    free(vector);
    free(signs);
}

/* What a passage is found by besides its text. malloc'ed. */
static char *
aegis_librarian_head(const char *title, const char *heading)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_buf_puts(&buf, title);
    if (heading[0]) {
        aegis_buf_puts(&buf, " > ");
        aegis_buf_puts(&buf, heading);
    }

    return aegis_buf_take(&buf, NULL);
}

/* One text for a model: where it stands and what it says. malloc'ed. */
static char *
aegis_librarian_text(const char *head, const char *body)
{
    size_t       len;
    char        *text;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_buf_puts(&buf, head);
    aegis_buf_puts(&buf, "\n");
    aegis_buf_puts(&buf, body);
    text = aegis_buf_take(&buf, &len);

    if (text) {
        text[aegis_utf8_cut(text, len, AEGIS_LIBRARIAN_TEXT)] = '\0';
    }

    return text;
}

/* Vectors of all passages by the model, in batches; NULL: it cannot now. */
static float *
aegis_librarian_model(aegis_librarian_t *l, const aegis_kb_chunks_t *chunks, const char *title)
{
    int            ok;
    char          *texts[AEGIS_LIBRARIAN_BATCH], *head;
    float         *all;
    size_t         i, k, n;
    aegis_str_t    views[AEGIS_LIBRARIAN_BATCH];
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (l->embedder == NULL || l->model_id == 0) {
        return NULL;
    }

    all = calloc(chunks->n, (size_t) l->embedder->dims * sizeof(float));

    for (ok = all != NULL, i = 0; ok && i < chunks->n; i += n) {
        n = chunks->n - i < AEGIS_LIBRARIAN_BATCH ? chunks->n - i : AEGIS_LIBRARIAN_BATCH;

        for (k = 0; k < n; k++) {
            head = aegis_librarian_head(title, chunks->v[i + k].heading);
            texts[k] = head ? aegis_librarian_text(head, chunks->v[i + k].text) : NULL;
            views[k] = aegis_librarian_view(texts[k]);
            free(head);
        }

        ok = l->embedder->embed(l->embedder, views, n, all + i * (size_t) l->embedder->dims, &err);

        for (k = 0; k < n; k++) {
            free(texts[k]);
        }
    }

    if (!ok) {
        aegis_metric_add(l->embed_errors, 1);
        aegis_log(AEGIS_LOG_WARN, "librarian", "embed.failed", "detail", "%s", err.detail, NULL);
        aegis_error_clear(&err);
        l->settled = 0;
        free(all);
        all = NULL;
    }

    return all;
}

/* What aegis.kb_store() takes. malloc'ed; NULL: too large, or no memory. */
static char *
aegis_librarian_passages(aegis_librarian_t *l, const aegis_kb_chunks_t *chunks,
    const char *title, const char *format)
{
    char                    *head, *terms, *heads;
    float                   *model, own[AEGIS_KB_DIMS];
    size_t                   i;
    aegis_buf_t              buf = AEGIS_BUF_INIT;
    const aegis_kb_chunk_t  *c;

    model = aegis_librarian_model(l, chunks, title);

    aegis_buf_puts(&buf, "{\"title\":");
    aegis_buf_json(&buf, aegis_librarian_view(title));
    aegis_buf_puts(&buf, ",\"format\":");
    aegis_buf_json(&buf, aegis_librarian_view(format));
    aegis_buf_puts(&buf, ",\"chunks\":[");

    for (i = 0; i < chunks->n && !buf.failed; i++) {
        c = &chunks->v[i];
        head = aegis_librarian_head(title, c->heading);
        heads = aegis_kb_terms(aegis_librarian_view(head), AEGIS_NO_STR, 128);
        terms = aegis_kb_terms(aegis_librarian_view(head), aegis_librarian_view(c->text),
                               AEGIS_KB_CHUNK_TERMS);

        aegis_buf_puts(&buf, i ? ",{\"heading\":" : "{\"heading\":");
        aegis_buf_json(&buf, aegis_librarian_view(c->heading));
        aegis_buf_puts(&buf, ",\"text\":");
        aegis_buf_json(&buf, aegis_librarian_view(c->text));
        aegis_buf_printf(&buf, ",\"from\":%zu,\"to\":%zu,\"heads\":", c->from, c->to);
        aegis_buf_json(&buf, aegis_librarian_view(heads));
        aegis_buf_puts(&buf, ",\"terms\":");
        aegis_buf_json(&buf, aegis_librarian_view(terms));
        aegis_buf_puts(&buf, ",\"vectors\":[");

        if (l->own_id) {
            aegis_kb_embed(aegis_librarian_view(head), aegis_librarian_view(c->text), own);
            aegis_librarian_vector(&buf, "embedder", l->own_id, own, AEGIS_KB_DIMS);
        }
        if (model) {
            aegis_buf_puts(&buf, l->own_id ? "," : "");
            aegis_librarian_vector(&buf, "embedder", l->model_id,
                                   model + i * (size_t) l->embedder->dims,
                                   (size_t) l->embedder->dims);
        }

        aegis_buf_puts(&buf, "]}");
        buf.failed |= head == NULL || heads == NULL || terms == NULL;
        free(head);
        free(heads);
        free(terms);
    }

    aegis_buf_puts(&buf, "]}");
    free(model);

    return aegis_buf_take(&buf, NULL);
}

static aegis_code_t
aegis_librarian_fail(aegis_worker_t *w, const aegis_librarian_doc_t *d, const char *why,
    int final, aegis_error_t *err)
{
    int                 n;
    const char         *params[5];
    aegis_code_t        rc;
    aegis_librarian_t  *l;

    l = w->data;
    params[0] = d->tenant;
    params[1] = d->doc_id;
    params[2] = d->version;
    params[3] = why;
    params[4] = final ? "true" : "false";

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_KB_FAIL, 5, params, &n, err);
    aegis_metric_add(l->refused, 1);
    aegis_log(AEGIS_LOG_WARN, "librarian", "document.not_read", "doc_id", "%s", d->doc_id,
              "tenant", "%s", d->tenant, "detail", "%s", why,
              "state", "%s", rc == AEGIS_E_OK && n == 1 ? aegis_pg_value(w->pg, 0, 0) : "?", NULL);
    aegis_pg_clear(w->pg);

    return rc;
}

static aegis_code_t
aegis_librarian_store(aegis_worker_t *w, const aegis_librarian_doc_t *d, const char *fetched,
    const char *passages, aegis_error_t *err)
{
    int            n;
    char           why[256];
    const char    *params[5];
    aegis_code_t   rc;

    params[0] = d->tenant;
    params[1] = d->doc_id;
    params[2] = d->version;
    params[3] = fetched;
    params[4] = passages;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_KB_STORE, 5, params, &n, err);
    if (rc == AEGIS_E_OK && AEGIS_FP(kb_after_store, "librarian")) {
        rc = aegis_error_set(err, AEGIS_E_UNKNOWN_OUTCOME, "the answer is lost");
    }

    if (rc == AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_INFO, "librarian", "document.read", "doc_id", "%s", d->doc_id,
                  "tenant", "%s", d->tenant, "version", "%s", d->version,
                  "result", "%s", aegis_pg_value(w->pg, 0, 0), NULL);
        aegis_metric_add(((aegis_librarian_t *) w->data)->stored, 1);
    }

    aegis_pg_clear(w->pg);

    /* what the database does not take it will not take the next time either */
    if (rc == AEGIS_E_INTERNAL) {
        snprintf(why, sizeof(why), "it could not be stored: %.200s", err->detail);
        aegis_error_clear(err);
        rc = aegis_librarian_fail(w, d, why, 0, err);
    }

    return rc;
}

static aegis_code_t
aegis_librarian_document(aegis_worker_t *w, aegis_librarian_doc_t *d, aegis_error_t *err)
{
    int                 final;
    char               *passages;
    const char         *body, *title, *format;
    aegis_code_t        rc;
    aegis_error_t       why = AEGIS_ERROR_INIT;
    aegis_fetched_t     got;
    aegis_kb_chunks_t   chunks;
    aegis_librarian_t  *l;

    l = w->data;
    memset(&got, 0, sizeof(got));
    body = d->body;
    format = d->format;

    if (body == NULL) {
        if (!aegis_librarian_fetch(w->conf, l->allow, w->stopping, d->url, &got, &why)) {
            rc = aegis_librarian_fail(w, d, why.detail, got.final, err);
            aegis_error_clear(&why);
            return rc;
        }
        body = got.body;
        format = format[0] ? format : got.format;
    }

    rc = aegis_kb_split(aegis_kb_format(format), aegis_librarian_view(body), &chunks, &why);
    passages = NULL;
    final = 1;

    if (rc == AEGIS_E_OK) {
        title = d->title[0] ? d->title : chunks.title;
        passages = aegis_librarian_passages(l, &chunks, title, format);
        if (passages == NULL) {
            rc = aegis_error_set(&why, AEGIS_E_TOO_LARGE, "its passages are too large");
        }
    } else {
        final = rc != AEGIS_E_UNAVAILABLE;
    }

    rc = rc == AEGIS_E_OK ? aegis_librarian_store(w, d, got.body, passages, err)
         : aegis_librarian_fail(w, d, why.detail[0] ? why.detail : aegis_error_def(rc)->title,
                                final, err);

    aegis_kb_chunks_free(&chunks);
    aegis_error_clear(&why);
    free(passages);
    free(got.body);

    return rc;
}

static char *
aegis_librarian_copy(aegis_worker_t *w, int row, int column)
{
    const char  *value;

    value = aegis_pg_value(w->pg, row, column);
    return value ? strdup(value) : NULL;
}

int
aegis_librarian_read(aegis_worker_t *w, int limit, aegis_error_t *err)
{
    int                     i, n;
    char                    number[16], lease[16];
    const char             *params[3];
    aegis_code_t            rc;
    struct timespec         t0, t1;
    aegis_librarian_t      *l;
    aegis_librarian_doc_t  *docs, *d;

    l = w->data;
    snprintf(number, sizeof(number), "%d", limit);
    snprintf(lease, sizeof(lease), "%d", AEGIS_LIBRARIAN_LEASE_S);
    params[0] = w->owner;
    params[1] = number;
    params[2] = lease;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_KB_CLAIM, 3, params, &n, err) != AEGIS_E_OK) {
        return -1;
    }

    if (n > 0 && AEGIS_FP(kb_after_claim, "librarian")) {
        aegis_pg_clear(w->pg);
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the documents are lost");
        return -1;
    }

    docs = calloc((size_t) n + 1, sizeof(aegis_librarian_doc_t));
    for (i = 0; docs != NULL && i < n; i++) {
        d = &docs[i];
        d->tenant = aegis_librarian_copy(w, i, 0);
        d->doc_id = aegis_librarian_copy(w, i, 1);
        d->version = aegis_librarian_copy(w, i, 2);
        d->format = aegis_librarian_copy(w, i, 4);
        d->title = aegis_librarian_copy(w, i, 5);
        d->url = aegis_librarian_copy(w, i, 6);
        d->body = aegis_librarian_copy(w, i, 7);
    }
    aegis_pg_clear(w->pg);

    for (i = 0, rc = AEGIS_E_OK; docs != NULL && i < n; i++) {
        d = &docs[i];
        clock_gettime(CLOCK_MONOTONIC, &t0);

        /* what is left when it has to stop comes again after the lease */
        if (rc == AEGIS_E_OK && !*w->stopping && d->tenant && d->doc_id && d->version
            && d->format && d->title && d->url)
        {
            /* somebody may be waiting for an answer */
            rc = aegis_librarian_queries(w, err) ? aegis_librarian_document(w, d, err)
                                                 : err->code;
            clock_gettime(CLOCK_MONOTONIC, &t1);
            aegis_metric_observe(l->seconds, (double) (t1.tv_sec - t0.tv_sec)
                                             + (double) (t1.tv_nsec - t0.tv_nsec) / 1e9);
        }

        free(d->tenant);
        free(d->doc_id);
        free(d->version);
        free(d->format);
        free(d->title);
        free(d->url);
        free(d->body);
    }

    free(docs);

    return rc == AEGIS_E_OK ? n : -1;
}
