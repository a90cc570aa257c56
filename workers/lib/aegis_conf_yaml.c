/*
 * aegis_conf_yaml.c: YAML through libyaml, as a tree with positions and as
 * JSON.
 * Invariant: no document can hurt: size, depth and nodes are bounded (aliases
 * count each time), a key stands once in a map, and exactly one document is
 * taken.
 */
#include "aegis_conf_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <yaml.h>

#define AEGIS_YAML_SIZE   (1024 * 1024)
#define AEGIS_YAML_DEPTH  32
#define AEGIS_YAML_NODES  20000

typedef struct {
    const char       *path;
    yaml_document_t  *doc;
    aegis_error_t    *err;
    int               nodes;
} aegis_yaml_ctx_t;

void
aegis_yaml_where(const char *path, const aegis_yaml_t *node, char *buf)
{
    const char  *p;

    /* a very long path keeps its end: the position is what matters */
    p = strlen(path) > 400 ? path + strlen(path) - 400 : path;
    snprintf(buf, 512, "%s:%d:%d", p, node->line, node->column);
}

static void
aegis_yaml_drop(aegis_yaml_t *node)
{
    size_t  i;

    for (i = 0; i < node->n; i++) {
        aegis_yaml_drop(&node->items[i]);
    }
    free(node->items);
    free(node->text);
    free(node->key);
}

void
aegis_yaml_free(aegis_yaml_t *doc)
{
    if (doc != NULL) {
        aegis_yaml_drop(doc);
        free(doc);
    }
}

static aegis_code_t
aegis_yaml_refuse(aegis_yaml_ctx_t *ctx, const yaml_node_t *y, const char *what)
{
    return aegis_error_set(ctx->err, AEGIS_E_SCHEMA, "%s:%d:%d: %s", ctx->path,
                           (int) y->start_mark.line + 1,
                           (int) y->start_mark.column + 1, what);
}

static aegis_code_t aegis_yaml_node(aegis_yaml_ctx_t *ctx, int id, int depth,
    aegis_yaml_t *node);

static aegis_code_t
aegis_yaml_map(aegis_yaml_ctx_t *ctx, const yaml_node_t *y, int depth,
    aegis_yaml_t *node)
{
    size_t             i;
    aegis_code_t       rc;
    yaml_node_t       *k;
    aegis_yaml_t      *item;
    yaml_node_pair_t  *p;

    node->kind = AEGIS_YAML_MAP;
    node->items = calloc((size_t) (y->data.mapping.pairs.top
                                   - y->data.mapping.pairs.start) + 1,
                         sizeof(aegis_yaml_t));
    if (node->items == NULL) {
        return aegis_yaml_refuse(ctx, y, "no memory");
    }

    for (p = y->data.mapping.pairs.start; p < y->data.mapping.pairs.top; p++) {
        k = yaml_document_get_node(ctx->doc, p->key);

        if (k == NULL || k->type != YAML_SCALAR_NODE
            || strlen((char *) k->data.scalar.value) != k->data.scalar.length)
        {
            return aegis_yaml_refuse(ctx, k ? k : y, "a key must be a plain name");
        }
        for (i = 0; i < node->n; i++) {
            if (strcmp(node->items[i].key, (char *) k->data.scalar.value) == 0) {
                return aegis_yaml_refuse(ctx, k, "this key stands here twice");
            }
        }

        item = &node->items[node->n++];
        item->key = strdup((char *) k->data.scalar.value);
        if (item->key == NULL) {
            return aegis_yaml_refuse(ctx, k, "no memory");
        }

        rc = aegis_yaml_node(ctx, p->value, depth + 1, item);
        if (rc != AEGIS_E_OK) {
            return rc;
        }

        item->line = (int) k->start_mark.line + 1;
        item->column = (int) k->start_mark.column + 1;
    }

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_yaml_list(aegis_yaml_ctx_t *ctx, const yaml_node_t *y, int depth,
    aegis_yaml_t *node)
{
    aegis_code_t       rc;
    yaml_node_item_t  *p;

    node->kind = AEGIS_YAML_LIST;
    node->items = calloc((size_t) (y->data.sequence.items.top
                                   - y->data.sequence.items.start) + 1,
                         sizeof(aegis_yaml_t));
    if (node->items == NULL) {
        return aegis_yaml_refuse(ctx, y, "no memory");
    }

    for (p = y->data.sequence.items.start; p < y->data.sequence.items.top; p++) {
        rc = aegis_yaml_node(ctx, *p, depth + 1, &node->items[node->n++]);
        if (rc != AEGIS_E_OK) {
            return rc;
        }
    }

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_yaml_node(aegis_yaml_ctx_t *ctx, int id, int depth, aegis_yaml_t *node)
{
    yaml_node_t  *y;

    y = yaml_document_get_node(ctx->doc, id);
    node->line = (int) y->start_mark.line + 1;
    node->column = (int) y->start_mark.column + 1;

    if (depth > AEGIS_YAML_DEPTH) {
        return aegis_yaml_refuse(ctx, y, "nested too deep");
    }
    if (++ctx->nodes > AEGIS_YAML_NODES) {
        return aegis_yaml_refuse(ctx, y, "too many nodes");
    }

    switch (y->type) {

    case YAML_MAPPING_NODE:
        return aegis_yaml_map(ctx, y, depth, node);

    case YAML_SEQUENCE_NODE:
        return aegis_yaml_list(ctx, y, depth, node);

    default:
        node->kind = AEGIS_YAML_SCALAR;
        node->plain = y->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->text = strdup((char *) y->data.scalar.value);
        if (node->text == NULL) {
            return aegis_yaml_refuse(ctx, y, "no memory");
        }
        if (strlen(node->text) != y->data.scalar.length) {
            return aegis_yaml_refuse(ctx, y, "a value with a zero byte");
        }
        return AEGIS_E_OK;
    }
}

static aegis_code_t
aegis_yaml_syntax(const char *path, yaml_parser_t *parser, aegis_error_t *err)
{
    return aegis_error_set(err, AEGIS_E_SCHEMA, "%s:%d:%d: %s%s%s", path,
        (int) parser->problem_mark.line + 1, (int) parser->problem_mark.column + 1,
        parser->problem ? parser->problem : "not YAML",
        parser->context ? " " : "", parser->context ? parser->context : "");
}

/* The one document of an open file. */
static aegis_code_t
aegis_yaml_parse(const char *path, FILE *in, aegis_yaml_t *root, aegis_error_t *err)
{
    int               more;
    yaml_node_t      *top;
    aegis_code_t      rc;
    yaml_parser_t     parser;
    yaml_document_t   doc, next;
    aegis_yaml_ctx_t  ctx;

    if (!yaml_parser_initialize(&parser)) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    yaml_parser_set_input_file(&parser, in);

    if (!yaml_parser_load(&parser, &doc)) {
        rc = aegis_yaml_syntax(path, &parser, err);
        yaml_parser_delete(&parser);
        return rc;
    }

    ctx = (aegis_yaml_ctx_t) { path, &doc, err, 0 };
    top = yaml_document_get_root_node(&doc);

    if (top == NULL) {
        root->kind = AEGIS_YAML_SCALAR;
        root->plain = 1;
        root->line = root->column = 1;
        root->text = strdup("");
        rc = root->text ? AEGIS_E_OK
             : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");

    } else {
        rc = aegis_yaml_node(&ctx, 1, 0, root);

        if (rc == AEGIS_E_OK && !yaml_parser_load(&parser, &next)) {
            rc = aegis_yaml_syntax(path, &parser, err);

        } else if (rc == AEGIS_E_OK) {
            more = yaml_document_get_root_node(&next) != NULL;
            yaml_document_delete(&next);
            if (more) {
                rc = aegis_error_set(err, AEGIS_E_SCHEMA,
                                     "%s: more than one document", path);
            }
        }
    }

    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    return rc;
}

aegis_code_t
aegis_yaml_read(const char *path, aegis_yaml_t **ret_doc, aegis_error_t *err)
{
    FILE          *in;
    aegis_code_t   rc;
    aegis_yaml_t  *root;
    struct stat    st;

    in = fopen(path, "re");
    if (in == NULL) {
        return aegis_error_set(err, AEGIS_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }

    if (fstat(fileno(in), &st) != 0 || !S_ISREG(st.st_mode)
        || st.st_size > AEGIS_YAML_SIZE)
    {
        fclose(in);
        return aegis_error_set(err, AEGIS_E_TOO_LARGE,
                               "%s: not a file of at most 1 MiB", path);
    }

    root = calloc(1, sizeof(aegis_yaml_t));
    rc = root ? aegis_yaml_parse(path, in, root, err)
         : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");

    fclose(in);

    if (rc != AEGIS_E_OK) {
        aegis_yaml_free(root);
        return rc;
    }

    *ret_doc = root;
    return AEGIS_E_OK;
}

/* YAML 1.2 core schema, without octal and hexadecimal numbers. */
static json_t *
aegis_yaml_scalar(const aegis_yaml_t *node)
{
    char        *end;
    double       d;
    long long    i;
    const char  *t;

    t = node->text;

    if (!node->plain) {
        return json_string(t);
    }
    if (t[0] == '\0' || strcmp(t, "~") == 0 || strcmp(t, "null") == 0) {
        return json_null();
    }
    if (strcmp(t, "true") == 0 || strcmp(t, "false") == 0) {
        return json_boolean(t[0] == 't');
    }

    if (t[strspn(t, "+-.0123456789eE")] == '\0' && strpbrk(t, "0123456789")) {
        errno = 0;
        i = strtoll(t, &end, 10);
        if (*end == '\0' && errno == 0) {
            return json_integer(i);
        }
        d = strtod(t, &end);
        if (*end == '\0') {
            return json_real(d);        /* NULL for what JSON cannot hold */
        }
    }

    return json_string(t);
}

static json_t *
aegis_yaml_json(const aegis_yaml_t *node)
{
    size_t   i;
    json_t  *v, *out;

    if (node->kind == AEGIS_YAML_SCALAR) {
        return aegis_yaml_scalar(node);
    }

    out = node->kind == AEGIS_YAML_MAP ? json_object() : json_array();

    for (i = 0; out != NULL && i < node->n; i++) {
        v = aegis_yaml_json(&node->items[i]);
        if (v == NULL
            || (node->kind == AEGIS_YAML_MAP
                ? json_object_set_new(out, node->items[i].key, v)
                : json_array_append_new(out, v)) != 0)
        {
            json_decref(out);
            return NULL;
        }
    }

    return out;
}

json_t *
aegis_conf_yaml_file(const char *path, aegis_error_t *err)
{
    json_t        *out;
    aegis_yaml_t  *doc;

    if (aegis_yaml_read(path, &doc, err) != AEGIS_E_OK) {
        return NULL;
    }

    out = aegis_yaml_json(doc);
    aegis_yaml_free(doc);

    if (out == NULL) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: a value that JSON cannot hold (bad UTF-8 or too large a number)", path);
    }

    return out;
}
