/*
 * aegis_librarian_onnx.c: an embedder that is a model in this process: an ONNX
 * file run by onnxruntime, which is loaded when kb.embedder asks for it and is no
 * dependency of the program. What is called of it is in its stable C table of
 * functions, by number; see aegis_librarian_onnx.h.
 */
#include "aegis_librarian_onnx.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AEGIS_ONNX_INPUTS  4

typedef struct {
    void                   *library;
    const aegis_ort_api_t  *api;
    void                   *env;
    void                   *options;
    void                   *session;
    void                   *memory;
    aegis_vocab_t          *vocab;
    char                   *inputs[AEGIS_ONNX_INPUTS];
    size_t                  n_inputs;
    size_t                  max_tokens;
    int                     mean;           /* of all tokens, else the first one's vector */
    int64_t                *ids;
    int64_t                *ones;
    int64_t                *zeros;
} aegis_onnx_t;

/* Status NULL: it went well. */
static int
aegis_onnx_ok(const aegis_onnx_t *o, void *status, const char *what, aegis_error_t *err)
{
    if (status == NULL) {
        return 1;
    }

    aegis_error_set(err, AEGIS_E_UNAVAILABLE, "onnxruntime: %s: %.160s", what,
                    o->api->get_error_message(status));
    o->api->release_status(status);

    return 0;
}

static void
aegis_onnx_free(aegis_embedder_t *e)
{
    size_t         i;
    aegis_onnx_t  *o;

    o = e->data;
    if (o != NULL) {
        if (o->api) {
            if (o->session) {
                o->api->release_session(o->session);
            }
            if (o->options) {
                o->api->release_session_options(o->options);
            }
            if (o->memory) {
                o->api->release_memory_info(o->memory);
            }
            if (o->env) {
                o->api->release_env(o->env);
            }
        }
        for (i = 0; i < o->n_inputs; i++) {
            free(o->inputs[i]);
        }
        aegis_vocab_free(o->vocab);
        free(o->ids);
        free(o->ones);
        free(o->zeros);
        /* its threads may still end: the library stays */
        free(o);
    }

    free(e);
}

/* What the model wants to be told: tokens, which of them count, which sentence. */
static int
aegis_onnx_inputs(aegis_onnx_t *o, aegis_error_t *err)
{
    char    *name;
    void    *allocator;
    size_t   i, n;

    if (!aegis_onnx_ok(o, o->api->get_default_allocator(&allocator), "allocator", err)
        || !aegis_onnx_ok(o, o->api->session_input_count(o->session, &n), "inputs", err))
    {
        return 0;
    }

    for (i = 0; i < n && i < AEGIS_ONNX_INPUTS; i++) {
        if (!aegis_onnx_ok(o, o->api->session_input_name(o->session, i, allocator, &name), "input",
                           err))
        {
            return 0;
        }
        o->inputs[o->n_inputs] = strdup(name);
        o->n_inputs += o->inputs[o->n_inputs] != NULL;
        aegis_onnx_ok(o, o->api->allocator_free(allocator, name), "free", err);
    }

    return 1;
}

static int64_t *
aegis_onnx_values(aegis_onnx_t *o, const char *name)
{
    return strstr(name, "mask") ? o->ones : strstr(name, "type") ? o->zeros : o->ids;
}

/* The vector in the model's answer: [1, dims], or [1, tokens, dims]. dims 0: it is
 * found out. */
static int
aegis_onnx_answer(aegis_onnx_t *o, void *value, int *dims, float *out, aegis_error_t *err)
{
    float    *data;
    void     *info;
    size_t    i, k, n, tokens;
    int64_t   shape[4];

    if (!aegis_onnx_ok(o, o->api->tensor_shape(value, &info), "shape", err)) {
        return 0;
    }

    n = 0;
    memset(shape, 0, sizeof(shape));
    i = (size_t) (aegis_onnx_ok(o, o->api->dims_count(info, &n), "shape", err) && n >= 2 && n <= 3
                  && aegis_onnx_ok(o, o->api->dims(info, shape, n), "shape", err));
    o->api->release_shape(info);

    if (i == 0 || shape[n - 1] < 8 || shape[n - 1] > AEGIS_KB_MODEL_DIMS
        || (*dims && shape[n - 1] != *dims)
        || !aegis_onnx_ok(o, o->api->tensor_data(value, (void **) &data), "data", err))
    {
        if (err->code == AEGIS_E_OK) {
            aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the model does not answer with vectors");
        }
        return 0;
    }

    *dims = (int) shape[n - 1];
    if (out == NULL) {
        return 1;
    }

    tokens = n == 3 && o->mean ? (size_t) shape[1] : 1;
    memset(out, 0, (size_t) *dims * sizeof(float));
    for (k = 0; k < tokens; k++) {
        for (i = 0; i < (size_t) *dims; i++) {
            out[i] += data[k * (size_t) *dims + i];
        }
    }

    return aegis_kb_unit(out, (size_t) *dims);
}

static int
aegis_onnx_one(aegis_onnx_t *o, aegis_str_t text, int *dims, float *out, aegis_error_t *err)
{
    int          ok;
    void        *values[AEGIS_ONNX_INPUTS] = { NULL }, *output, *name_allocator;
    char        *output_name;
    size_t       i, n;
    int64_t      shape[2];

    n = aegis_vocab_tokens(o->vocab, text, o->ids, o->max_tokens);
    shape[0] = 1;
    shape[1] = (int64_t) n;
    output = NULL;
    output_name = NULL;

    ok = aegis_onnx_ok(o, o->api->get_default_allocator(&name_allocator), "allocator", err)
         && aegis_onnx_ok(o, o->api->session_output_name(o->session, 0, name_allocator,
                                                         &output_name), "output", err);

    for (i = 0; ok && i < o->n_inputs; i++) {
        ok = aegis_onnx_ok(o, o->api->create_tensor(o->memory,
                               aegis_onnx_values(o, o->inputs[i]), n * sizeof(int64_t), shape, 2,
                               AEGIS_ORT_INT64, &values[i]), "tensor", err);
    }

    ok = ok && aegis_onnx_ok(o, o->api->run(o->session, NULL, (const char *const *) o->inputs,
                                 (const void *const *) values, o->n_inputs,
                                 (const char *const *) &output_name, 1, &output), "run", err)
         && aegis_onnx_answer(o, output, dims, out, err);

    for (i = 0; i < o->n_inputs; i++) {
        if (values[i]) {
            o->api->release_value(values[i]);
        }
    }
    if (output) {
        o->api->release_value(output);
    }
    if (output_name) {
        (void) o->api->allocator_free(name_allocator, output_name);
    }

    return ok;
}

static int
aegis_onnx_embed(aegis_embedder_t *e, const aegis_str_t *texts, size_t n, float *out,
    aegis_error_t *err)
{
    int     dims, ok;
    size_t  i;

    for (i = 0, ok = 1; ok && i < n; i++) {
        dims = e->dims;
        ok = aegis_onnx_one(e->data, texts[i], &dims, out + i * (size_t) e->dims, err);
    }

    return ok;
}

static int
aegis_onnx_load(aegis_onnx_t *o, const char *library, aegis_error_t *err)
{
    const aegis_ort_base_t  *(*base)(void);

    o->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (o->library == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kb.onnx.library: %.200s", dlerror());
        return 0;
    }

    *(void **) &base = dlsym(o->library, "OrtGetApiBase");
    o->api = base ? base()->get_api(AEGIS_ORT_VERSION) : NULL;

    if (o->api == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                        "kb.onnx.library: it is no onnxruntime of 1.%d or later", AEGIS_ORT_VERSION);
    }

    return o->api != NULL;
}

static int
aegis_onnx_session(aegis_onnx_t *o, const char *model, int threads, aegis_error_t *err)
{
    return aegis_onnx_ok(o, o->api->create_env(AEGIS_ORT_WARNING, "aegis", &o->env), "env", err)
           && aegis_onnx_ok(o, o->api->create_session_options(&o->options), "options", err)
           && aegis_onnx_ok(o, o->api->set_intra_threads(o->options, threads), "threads", err)
           && aegis_onnx_ok(o, o->api->create_session(o->env, model, o->options, &o->session),
                            "kb.onnx.model", err)
           && aegis_onnx_ok(o, o->api->create_cpu_memory_info(0, 0, &o->memory), "memory", err)
           && aegis_onnx_inputs(o, err);
}

aegis_embedder_t *
aegis_embedder_onnx(const aegis_conf_t *conf, aegis_error_t *err)
{
    char               model[4096], vocab[4096];
    size_t             i;
    aegis_onnx_t      *o;
    aegis_embedder_t  *e;

    e = calloc(1, sizeof(aegis_embedder_t));
    o = calloc(1, sizeof(aegis_onnx_t));
    if (e == NULL || o == NULL) {
        free(e);
        free(o);
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return NULL;
    }

    e->data = o;
    e->embed = aegis_onnx_embed;
    e->free = aegis_onnx_free;

    (void) aegis_conf_path(conf, "kb.onnx.model", model);
    (void) aegis_conf_path(conf, "kb.onnx.tokenizer", vocab);
    snprintf(e->name, sizeof(e->name), "onnx:%.120s/%s", strrchr(model, '/') ? strrchr(model, '/') + 1
             : model, aegis_conf_str(conf, "kb.onnx.pooling"));

    o->mean = strcmp(aegis_conf_str(conf, "kb.onnx.pooling"), "mean") == 0;
    o->max_tokens = (size_t) aegis_conf_int(conf, "kb.onnx.max_tokens");
    o->ids = calloc(o->max_tokens, sizeof(int64_t));
    o->ones = calloc(o->max_tokens, sizeof(int64_t));
    o->zeros = calloc(o->max_tokens, sizeof(int64_t));
    for (i = 0; o->ones && i < o->max_tokens; i++) {
        o->ones[i] = 1;
    }

    if (o->ids && o->ones && o->zeros) {
        o->vocab = aegis_vocab_load(vocab, err);
    }

    if (o->vocab == NULL || !aegis_onnx_load(o, aegis_conf_str(conf, "kb.onnx.library"), err)
        || !aegis_onnx_session(o, model, (int) aegis_conf_int(conf, "kb.onnx.threads"), err)
        || !aegis_onnx_one(o, aegis_str("dimension"), &e->dims, NULL, err))
    {
        if (err->code == AEGIS_E_OK) {
            aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
        aegis_onnx_free(e);
        return NULL;
    }

    return e;
}
