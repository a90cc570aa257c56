/*
 * aegis_librarian_http.c: an embedder behind a URL that speaks the protocol of
 * /v1/embeddings: {"model", "input": [...]} to {"data": [{"index", "embedding"}]}.
 * Invariant: an answer that is not one vector for each text, all of the same
 * length and finite, is no answer.
 */
#include "aegis_librarian_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_LIBRARIAN_ANSWER_MAX  (8u << 20)

typedef struct {
    char           url[2048];
    char           model[128];
    char           token[4097];
    char           ca_file[4096];
    long           timeout_ms;
    volatile int  *stopping;
} aegis_librarian_http_t;

static char *
aegis_librarian_http_request(const aegis_librarian_http_t *h, const aegis_str_t *texts, size_t n)
{
    size_t       i;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_buf_puts(&buf, "{\"model\":");
    aegis_buf_json(&buf, aegis_view(h->model));
    aegis_buf_puts(&buf, ",\"encoding_format\":\"float\",\"input\":[");
    for (i = 0; i < n; i++) {
        aegis_buf_puts(&buf, i ? "," : "");
        aegis_buf_json(&buf, texts[i]);
    }
    aegis_buf_puts(&buf, "]}");

    return aegis_buf_take(&buf, NULL);
}

/* One vector; *dims is 0 until the first one says it. */
static int
aegis_librarian_http_vector(const json_t *item, size_t n, int *dims, float **ret)
{
    float      *v;
    size_t      i;
    json_t     *numbers;
    json_int_t  at;

    numbers = json_object_get(item, "embedding");
    at = json_integer_value(json_object_get(item, "index"));

    if (!json_is_array(numbers) || at < 0 || at >= (json_int_t) n
        || (*dims && json_array_size(numbers) != (size_t) *dims)
        || json_array_size(numbers) < 8 || json_array_size(numbers) > AEGIS_KB_MODEL_DIMS)
    {
        return 0;
    }

    if (*dims == 0) {
        *dims = (int) json_array_size(numbers);
        if (*ret == NULL) {
            *ret = calloc(n, (size_t) *dims * sizeof(float));
            if (*ret == NULL) {
                return 0;
            }
        }
    }

    v = *ret + (size_t) at * (size_t) *dims;
    for (i = 0; i < (size_t) *dims; i++) {
        v[i] = (float) json_number_value(json_array_get(numbers, i));
    }

    return aegis_kb_unit(v, (size_t) *dims);
}

/* out NULL: *ret_dims is found out. */
static int
aegis_librarian_http_ask(aegis_librarian_http_t *h, const aegis_str_t *texts, size_t n, float *out,
    int *dims, aegis_error_t *err)
{
    int                        ok;
    char                      *body;
    float                     *v;
    size_t                     i;
    json_t                    *json, *data;
    aegis_librarian_call_t     call;
    aegis_librarian_answer_t   answer;

    body = aegis_librarian_http_request(h, texts, n);
    if (body == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return 0;
    }

    memset(&call, 0, sizeof(call));
    call.url = h->url;
    call.body = body;
    call.token = h->token;
    call.ca_file = h->ca_file;
    call.max = AEGIS_LIBRARIAN_ANSWER_MAX;
    call.timeout_ms = h->timeout_ms;
    call.stopping = h->stopping;

    ok = aegis_librarian_call(&call, &answer, err);
    free(body);
    if (!ok) {
        return 0;
    }

    v = out;
    json = NULL;
    ok = 0;

    if (answer.status != 200) {
        aegis_error_set(err, AEGIS_E_BAD_GATEWAY, "kb.embed.url answered %ld: %.120s",
                        answer.status, answer.body);
    } else if (aegis_json_parse((aegis_str_t) { answer.len, answer.body }, &json, err)
               == AEGIS_E_OK)
    {
        data = json_object_get(json, "data");
        ok = json_array_size(data) == n;
        for (i = 0; ok && i < n; i++) {
            ok = aegis_librarian_http_vector(json_array_get(data, i), n, dims, &v);
        }
        if (!ok) {
            aegis_error_set(err, AEGIS_E_BAD_GATEWAY,
                            "kb.embed.url answered something else than %zu vectors", n);
        }
    }

    if (v != out) {
        free(v);
    }
    json_decref(json);
    free(answer.body);

    return ok;
}

static int
aegis_librarian_http_embed(aegis_embedder_t *e, const aegis_str_t *texts, size_t n, float *out,
    aegis_error_t *err)
{
    int  dims;

    dims = e->dims;
    return aegis_librarian_http_ask(e->data, texts, n, out, &dims, err);
}

static void
aegis_librarian_http_free(aegis_embedder_t *e)
{
    free(e->data);
    free(e);
}

static int
aegis_librarian_http_token(const aegis_conf_t *conf, aegis_librarian_http_t *h, aegis_error_t *err)
{
    char     path[4096];
    FILE    *f;
    size_t   n;

    if (aegis_conf_str(conf, "kb.embed.token_file")[0] == '\0') {
        return 1;
    }

    f = fopen(aegis_conf_path(conf, "kb.embed.token_file", path), "re");
    if (f == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kb.embed.token_file: %.200s cannot be read", path);
        return 0;
    }

    n = fread(h->token, 1, sizeof(h->token) - 1, f);
    fclose(f);
    h->token[n] = '\0';
    h->token[strcspn(h->token, "\r\n")] = '\0';

    return 1;
}

aegis_embedder_t *
aegis_embedder_http(const aegis_conf_t *conf, volatile int *stopping, aegis_error_t *err)
{
    aegis_str_t              probe;
    aegis_embedder_t        *e;
    aegis_librarian_http_t  *h;

    e = calloc(1, sizeof(aegis_embedder_t));
    h = calloc(1, sizeof(aegis_librarian_http_t));
    if (e == NULL || h == NULL) {
        free(e);
        free(h);
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return NULL;
    }

    e->data = h;
    e->embed = aegis_librarian_http_embed;
    e->free = aegis_librarian_http_free;
    h->stopping = stopping;
    h->timeout_ms = (long) aegis_conf_int(conf, "kb.embed.timeout_ms");
    snprintf(h->url, sizeof(h->url), "%s", aegis_conf_str(conf, "kb.embed.url"));
    snprintf(h->model, sizeof(h->model), "%s", aegis_conf_str(conf, "kb.embed.model"));
    snprintf(e->name, sizeof(e->name), "http:%s", h->model);
    if (aegis_conf_str(conf, "kb.embed.ca_file")[0]) {
        (void) aegis_conf_path(conf, "kb.embed.ca_file", h->ca_file);
    }

    /* how long its vectors are is what it answers */
    probe = aegis_str("dimension");

    if (!aegis_librarian_http_token(conf, h, err)
        || !aegis_librarian_http_ask(h, &probe, 1, NULL, &e->dims, err))
    {
        aegis_librarian_http_free(e);
        return NULL;
    }

    return e;
}
