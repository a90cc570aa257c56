/*
 * aegis_kb.h: the librarian's decisions as pure functions: text to tokens, text
 * to a vector, a document to passages, a question to what is looked for. The
 * built-in embedder is lexical: it hashes words and characters, so it finds what
 * is written alike, in Chinese and English, and knows nothing of meaning. Every
 * function is linear in its input and bounded by the limits below.
 */
#ifndef AEGIS_KB_H
#define AEGIS_KB_H

#include "aegis_error.h"

#define AEGIS_KB_EMBEDDER      "builtin/1"      /* changes with what a vector is made of */
#define AEGIS_KB_DIMS          384
#define AEGIS_KB_MODEL_DIMS    2048             /* of any other embedder */

#define AEGIS_KB_BODY_MAX      (1u << 20)       /* bytes of a document */
#define AEGIS_KB_CHUNKS_MAX    4096             /* passages of one */
#define AEGIS_KB_CHUNK_TARGET  800              /* bytes: a passage is closed after it */
#define AEGIS_KB_CHUNK_MAX     1600             /* and never longer */
#define AEGIS_KB_HEADING_MAX   240              /* bytes of the headings above a passage */
#define AEGIS_KB_TITLE_MAX     200              /* bytes */

#define AEGIS_KB_QUERY_MAX     1024             /* bytes of a question that are looked at */
#define AEGIS_KB_QUERY_TERMS   32
#define AEGIS_KB_CHUNK_TERMS   1024
#define AEGIS_KB_FACETS_MAX    16
#define AEGIS_KB_TOKEN_MAX     48               /* bytes */
#define AEGIS_KB_TOPK          8
#define AEGIS_KB_TOPK_MAX      50

typedef enum {
    AEGIS_KB_WORD,                  /* folded and without its ending */
    AEGIS_KB_PAIR,                  /* two neighbours of a script without blanks */
    AEGIS_KB_CHAR                   /* one of them; a term only when it stands alone */
} aegis_kb_token_kind_t;

typedef struct {
    aegis_kb_token_kind_t  kind;
    int                    alone;   /* of a CHAR: it has no neighbour */
    size_t                 len;
    char                   text[AEGIS_KB_TOKEN_MAX + 8];
} aegis_kb_token_t;

/* 0: enough, stop. */
typedef int (*aegis_kb_token_pt)(void *data, const aegis_kb_token_t *token);

/* The tokens of text, in order; bytes that are not UTF-8 separate. */
void aegis_kb_tokens(aegis_str_t text, aegis_kb_token_pt token, void *data);

/* The distinct terms of head and text, at most max, separated by blanks, for
 * full text search. malloc'ed; NULL: no memory. */
char *aegis_kb_terms(aegis_str_t head, aegis_str_t text, size_t max);

/* A unit vector of head (which counts twice) and text; all zero when they have
 * no token. */
void aegis_kb_embed(aegis_str_t head, aegis_str_t text, float v[AEGIS_KB_DIMS]);

float aegis_kb_dot(const float *a, const float *b, size_t n);

/* Make v a unit vector; 0: it is zero or not finite. */
int aegis_kb_unit(float *v, size_t n);

/* {0.1,0,...}; and a bit for each number: whether it is positive, whether it
 * says anything. malloc'ed; NULL: no memory. */
char *aegis_kb_vector_text(const float *v, size_t n);
char *aegis_kb_signs(const float *v, size_t n);
char *aegis_kb_mask(const float *v, size_t n);

typedef enum {
    AEGIS_KB_MARKDOWN, AEGIS_KB_HTML, AEGIS_KB_TEXT, AEGIS_KB_JSON,
    AEGIS_KB_N_FORMATS
} aegis_kb_format_t;

/* N_FORMATS: no such format. */
aegis_kb_format_t aegis_kb_format(const char *name);

typedef struct {
    char    *heading;               /* "Redis > Memory", "" above the first */
    char    *text;
    size_t   from;                  /* bytes of the document that it was made of */
    size_t   to;
} aegis_kb_chunk_t;

typedef struct {
    char               title[AEGIS_KB_TITLE_MAX + 1];   /* "" when there is none */
    aegis_kb_chunk_t  *v;
    size_t             n;
} aegis_kb_chunks_t;

/*
 * Split a document where its structure allows. TOO_LARGE: too many bytes or
 * passages; MALFORMED_JSON; SCHEMA: nothing in it can be read. Free it whatever
 * is returned.
 */
aegis_code_t aegis_kb_split(aegis_kb_format_t format, aegis_str_t body,
    aegis_kb_chunks_t *ret, aegis_error_t *err);
void aegis_kb_chunks_free(aegis_kb_chunks_t *chunks);

/*
 * A question as what aegis.kb_search() takes: terms, the built-in vector and facets
 * in one JSON text. filter: name:value pairs with commas between them (lang, category,
 * tag, source, label.<name>), "" for none; BAD_REQUEST names what is wrong with it.
 * malloc'ed.
 */
aegis_code_t aegis_kb_probe(aegis_str_t query, aegis_str_t filter, char **ret_probe,
    aegis_error_t *err);

/* What a planner asks about a case, out of what module_load said. malloc'ed. */
char *aegis_kb_case_query(const json_t *facts);

#endif
