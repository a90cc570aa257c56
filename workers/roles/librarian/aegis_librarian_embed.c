/*
 * aegis_librarian_embed.c: which embedder the settings name, and the background
 * work that a change of it means: passages get the new vectors while searches go
 * on with the old ones; when none is missing the database switches, and the old
 * vectors are forgotten in steps.
 */
#include "aegis_librarian.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"

aegis_code_t
aegis_embedder_new(const aegis_conf_t *conf, volatile int *stopping, aegis_embedder_t **ret,
    aegis_error_t *err)
{
    const char  *kind;

    kind = aegis_conf_str(conf, "kb.embedder");

    if (strcmp(kind, "builtin") == 0) {
        *ret = NULL;
        return AEGIS_E_OK;
    }

    if (strcmp(kind, "http") == 0) {
        *ret = aegis_embedder_http(conf, stopping, err);
    } else {
        *ret = aegis_embedder_onnx(conf, err);
    }

    return *ret ? AEGIS_E_OK : err->code;
}

void
aegis_embedder_free(aegis_embedder_t *e)
{
    if (e != NULL) {
        e->free(e);
    }
}

/* Vectors of the passages in the result, as what aegis.kb_embedded() takes. */
static char *
aegis_librarian_vectors(aegis_worker_t *w, int n, aegis_error_t *err)
{
    char               *texts[AEGIS_LIBRARIAN_BATCH], *vector, *signs;
    float              *all, *v;
    size_t              dims;
    int                 i, ok;
    aegis_buf_t         buf = AEGIS_BUF_INIT;
    aegis_str_t         views[AEGIS_LIBRARIAN_BATCH], head, body;
    aegis_librarian_t  *l;

    l = w->data;
    dims = l->embedder ? (size_t) l->embedder->dims : AEGIS_KB_DIMS;
    all = calloc((size_t) n, dims * sizeof(float));
    ok = all != NULL;

    for (i = 0; i < n; i++) {
        head = (aegis_str_t) { strlen(aegis_pg_value(w->pg, i, 2)), aegis_pg_value(w->pg, i, 2) };
        body = (aegis_str_t) { strlen(aegis_pg_value(w->pg, i, 3)), aegis_pg_value(w->pg, i, 3) };
        texts[i] = malloc(head.len + body.len + 2);
        ok = ok && texts[i] != NULL;

        if (texts[i]) {
            views[i].data = texts[i];
            views[i].len = (size_t) sprintf(texts[i], "%s\n%s", head.data, body.data);
        }
        if (ok && l->embedder == NULL) {
            aegis_kb_embed(head, body, all + (size_t) i * dims);
        }
    }

    if (!ok) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    } else if (l->embedder) {
        ok = l->embedder->embed(l->embedder, views, (size_t) n, all, err);
    }

    aegis_buf_puts(&buf, "[");
    for (i = 0; ok && i < n; i++) {
        v = all + (size_t) i * dims;
        vector = aegis_kb_vector_text(v, dims);
        signs = aegis_kb_signs(v, dims);
        buf.failed |= vector == NULL || signs == NULL;
        aegis_buf_printf(&buf, "%s{\"chunk_id\":%s,\"signs\":\"", i ? "," : "",
                         aegis_pg_value(w->pg, i, 1));
        aegis_buf_puts(&buf, signs ? signs : "");
        aegis_buf_puts(&buf, "\",\"vector\":\"");
        aegis_buf_puts(&buf, vector ? vector : "");
        aegis_buf_puts(&buf, "\"}");
        free(vector);
        free(signs);
    }
    aegis_buf_puts(&buf, "]");

    for (i = 0; i < n; i++) {
        free(texts[i]);
    }
    free(all);
    if (!ok) {
        free(buf.data);
        return NULL;
    }

    return aegis_buf_take(&buf, NULL);
}

/* Questions' vectors as what aegis.kb_query_put() takes; NULL: the model cannot now. */
static char *
aegis_librarian_answers(aegis_worker_t *w, int n, aegis_error_t *err)
{
    char               *vector;
    float              *all;
    int                 i, ok;
    size_t              dims;
    aegis_buf_t         buf = AEGIS_BUF_INIT;
    aegis_str_t         texts[AEGIS_LIBRARIAN_BATCH];
    aegis_librarian_t  *l;

    l = w->data;
    dims = (size_t) l->embedder->dims;

    for (i = 0; i < n; i++) {
        texts[i].data = aegis_pg_value(w->pg, i, 2);
        texts[i].len = strlen(texts[i].data);
    }

    all = calloc((size_t) n, dims * sizeof(float));
    ok = all && l->embedder->embed(l->embedder, texts, (size_t) n, all, err);

    aegis_buf_puts(&buf, "[");
    for (i = 0; ok && i < n; i++) {
        vector = aegis_kb_vector_text(all + (size_t) i * dims, dims);
        aegis_buf_puts(&buf, i ? ",{\"tenant\":" : "{\"tenant\":");
        aegis_buf_json(&buf, (aegis_str_t) { strlen(aegis_pg_value(w->pg, i, 0)),
                                             aegis_pg_value(w->pg, i, 0) });
        aegis_buf_printf(&buf, ",\"hash\":\"%s\",\"vector\":\"", aegis_pg_value(w->pg, i, 1));
        aegis_buf_puts(&buf, vector ? vector : "");
        aegis_buf_puts(&buf, "\"}");
        buf.failed |= vector == NULL;
        free(vector);
    }
    aegis_buf_puts(&buf, "]");
    free(all);

    if (!ok) {
        free(buf.data);
        return NULL;
    }

    return aegis_buf_take(&buf, NULL);
}

int
aegis_librarian_queries(aegis_worker_t *w, aegis_error_t *err)
{
    int                 n, ok;
    char                number[16], limit[16], *answers;
    const char         *params[2];
    aegis_error_t       why = AEGIS_ERROR_INIT;
    aegis_librarian_t  *l;

    l = w->data;
    if (!l->ready || l->embedder == NULL || l->model_id == 0) {
        return 1;
    }

    snprintf(number, sizeof(number), "%d", l->model_id);
    snprintf(limit, sizeof(limit), "%d", AEGIS_LIBRARIAN_BATCH);
    params[0] = number;
    params[1] = limit;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_KB_QUERIES, 2, params, &n, err) != AEGIS_E_OK) {
        return 0;
    }

    answers = n ? aegis_librarian_answers(w, n, &why) : NULL;
    aegis_pg_clear(w->pg);

    if (n && answers == NULL) {
        aegis_metric_add(l->embed_errors, 1);
        aegis_log(AEGIS_LOG_WARN, "librarian", "query.not_embedded", "detail", "%s", why.detail,
                  NULL);
        aegis_error_clear(&why);
    }
    if (answers == NULL) {
        return 1;
    }

    params[1] = answers;
    ok = aegis_pg_sql(w->pg, AEGIS_SQL_KB_QUERY_PUT, 2, params, &n, err) == AEGIS_E_OK;
    aegis_pg_clear(w->pg);
    free(answers);

    return ok;
}

/* Nothing lacks a vector: switch, and forget. */
static int
aegis_librarian_switch(aegis_worker_t *w, const char *id, aegis_error_t *err)
{
    int                 n;
    const char         *params[1], *said;
    aegis_librarian_t  *l;

    l = w->data;
    params[0] = id;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_KB_SWITCH, 1, params, &n, err) != AEGIS_E_OK) {
        return -1;
    }

    said = aegis_pg_value(w->pg, 0, 0);
    l->settled = strcmp(said, "active") == 0;
    aegis_pg_clear(w->pg);

    return !l->settled;
}

int
aegis_librarian_reembed(aegis_worker_t *w, aegis_error_t *err)
{
    int                 n, id, rc;
    char                number[16], limit[16], *vectors;
    const char         *params[2];
    aegis_librarian_t  *l;

    l = w->data;
    id = l->embedder ? l->model_id : l->own_id;

    if (!l->ready || l->settled || id == 0) {
        return 0;
    }

    snprintf(number, sizeof(number), "%d", id);
    snprintf(limit, sizeof(limit), "%d", AEGIS_LIBRARIAN_BATCH);
    params[0] = number;
    params[1] = limit;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_KB_UNEMBEDDED, 2, params, &n, err) != AEGIS_E_OK) {
        return -1;
    }

    if (n == 0) {
        aegis_pg_clear(w->pg);
        return aegis_librarian_switch(w, number, err);
    }

    vectors = aegis_librarian_vectors(w, n, err);
    aegis_pg_clear(w->pg);

    if (vectors == NULL) {
        aegis_metric_add(l->embed_errors, 1);
        return -1;
    }

    params[1] = vectors;
    rc = aegis_pg_sql(w->pg, AEGIS_SQL_KB_EMBEDDED, 2, params, &n, err) == AEGIS_E_OK ? 1 : -1;
    aegis_pg_clear(w->pg);
    free(vectors);

    if (rc == 1) {
        aegis_metric_add(l->embedded, AEGIS_LIBRARIAN_BATCH);
    }

    return rc;
}
