/*
 * aegis_librarian_onnx.h: what the embedder by ONNX uses of onnxruntime: the
 * functions of its C table that we call, at their places. The table only ever
 * grows at its end, so these places hold for every version from 1.12 on. Every
 * function but the release ones returns NULL, or a status to be released. And the
 * tokenizer of the model: WordPiece, by the vocabulary of its tokenizer.json.
 */
#ifndef AEGIS_LIBRARIAN_ONNX_H
#define AEGIS_LIBRARIAN_ONNX_H

#include "aegis_librarian.h"

#define AEGIS_ORT_VERSION  12
#define AEGIS_ORT_WARNING  2
#define AEGIS_ORT_INT64    7

typedef struct {
    void  *unused_0[2];
    const char *(*get_error_message)(const void *status);
    void *(*create_env)(int level, const char *id, void **ret);
    void  *unused_4[3];
    void *(*create_session)(const void *env, const char *path, const void *options, void **ret);
    void  *unused_8[1];
    void *(*run)(void *session, const void *options, const char *const *inputs,
        const void *const *values, size_t n, const char *const *outputs, size_t n_outputs, void **ret);
    void *(*create_session_options)(void **ret);
    void  *unused_11[13];
    void *(*set_intra_threads)(void *options, int n);
    void  *unused_25[5];
    void *(*session_input_count)(const void *session, size_t *ret);
    void  *unused_31[5];
    void *(*session_input_name)(const void *session, size_t i, void *allocator, char **ret);
    void *(*session_output_name)(const void *session, size_t i, void *allocator, char **ret);
    void  *unused_38[11];
    void *(*create_tensor)(const void *memory, void *data, size_t len, const int64_t *shape,
        size_t n, int type, void **ret);
    void  *unused_50[1];
    void *(*tensor_data)(void *value, void **ret);
    void  *unused_52[9];
    void *(*dims_count)(const void *info, size_t *ret);
    void *(*dims)(const void *info, int64_t *ret, size_t n);
    void  *unused_63[2];
    void *(*tensor_shape)(const void *value, void **ret);
    void  *unused_66[3];
    void *(*create_cpu_memory_info)(int allocator, int type, void **ret);
    void  *unused_70[6];
    void *(*allocator_free)(void *allocator, void *p);
    void  *unused_77[1];
    void *(*get_default_allocator)(void **ret);
    void  *unused_79[13];
    void  (*release_env)(void *env);
    void  (*release_status)(void *status);
    void  (*release_memory_info)(void *info);
    void  (*release_session)(void *session);
    void  (*release_value)(void *value);
    void  *unused_97[2];
    void  (*release_shape)(void *info);
    void  (*release_session_options)(void *options);
} aegis_ort_api_t;

typedef struct {
    const aegis_ort_api_t  *(*get_api)(uint32_t version);
    const char             *(*get_version)(void);
} aegis_ort_base_t;

typedef struct aegis_vocab_s  aegis_vocab_t;

/* Of a tokenizer.json with a WordPiece vocabulary. NULL and err on failure. */
aegis_vocab_t *aegis_vocab_load(const char *path, aegis_error_t *err);
void aegis_vocab_free(aegis_vocab_t *vocab);        /* NULL is fine */

/* The tokens of text between the two that every text has; at most max, at least 2. */
size_t aegis_vocab_tokens(const aegis_vocab_t *vocab, aegis_str_t text, int64_t *ids, size_t max);

#endif
