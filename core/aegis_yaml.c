/*
 * aegis_yaml.c: libyaml's events as a tree, and the tree as JSON. Its
 * invariant: no document can hurt: size, depth, nodes and members are bounded
 * as they come, an alias is refused where it stands, a key stands once in a
 * map, and nothing recurses deeper than AEGIS_YAML_MAX_DEPTH.
 */
#include "aegis_yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "aegis_json.h"

/* A collection that is open; its items move while it grows. */
typedef struct {
    size_t         room;
    char          *key;                 /* of a map: read, its value is to come */
    int            line, column;        /* of key */
    aegis_yaml_t   node;
} aegis_yaml_frame_t;

typedef struct {
    yaml_parser_t        parser;
    yaml_event_t         event;
    aegis_error_t       *err;
    int                  nodes;
    int                  documents;
    size_t               depth;         /* open collections */
    aegis_yaml_frame_t   open[AEGIS_YAML_MAX_DEPTH];
    aegis_yaml_t         root;
} aegis_yaml_in_t;


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
    if (doc) {
        aegis_yaml_drop(doc);
        free(doc);
    }
}


static aegis_code_t
aegis_yaml_refuse(aegis_yaml_in_t *in, const char *what)
{
    return aegis_error_set(in->err, AEGIS_E_MALFORMED_YAML, "%d:%d: %s",
                           (int) in->event.start_mark.line + 1,
                           (int) in->event.start_mark.column + 1, what);
}


static aegis_code_t
aegis_yaml_no_memory(aegis_yaml_in_t *in)
{
    return aegis_error_set(in->err, AEGIS_E_INTERNAL, "no memory");
}


/* The event's scalar as a string of ours. */
static aegis_code_t
aegis_yaml_text(aegis_yaml_in_t *in, char **ret_text)
{
    const char  *s;

    s = (const char *) in->event.data.scalar.value;

    if (memchr(s, '\0', in->event.data.scalar.length)) {
        return aegis_yaml_refuse(in, "a value with a zero byte");
    }

    *ret_text = strndup(s, in->event.data.scalar.length);

    return *ret_text ? AEGIS_E_OK : aegis_yaml_no_memory(in);
}


static aegis_code_t
aegis_yaml_key(aegis_yaml_in_t *in, aegis_yaml_frame_t *f)
{
    size_t         i;
    aegis_code_t   code;

    if (in->event.type != YAML_SCALAR_EVENT) {
        return aegis_yaml_refuse(in, "a key must be a plain name");
    }

    if (f->node.n == AEGIS_YAML_MAX_MEMBERS) {
        return aegis_yaml_refuse(in, "too many members");
    }

    code = aegis_yaml_text(in, &f->key);
    if (code != AEGIS_E_OK) {
        return code;
    }

    for (i = 0; i < f->node.n; i++) {
        if (strcmp(f->node.items[i].key, f->key) == 0) {
            return aegis_yaml_refuse(in, "this key stands here twice");
        }
    }

    f->line = (int) in->event.start_mark.line + 1;
    f->column = (int) in->event.start_mark.column + 1;

    return AEGIS_E_OK;
}


/* Put a whole node where it belongs; it is theirs then. */
static aegis_code_t
aegis_yaml_put(aegis_yaml_in_t *in, aegis_yaml_t *node)
{
    size_t               room;
    aegis_yaml_t        *items;
    aegis_yaml_frame_t  *f;

    if (in->depth == 0) {
        in->root = *node;
        return AEGIS_E_OK;
    }

    f = &in->open[in->depth - 1];

    if (f->node.n == f->room) {
        room = f->room ? 2 * f->room : 8;
        items = realloc(f->node.items, room * sizeof(aegis_yaml_t));
        if (items == NULL) {
            aegis_yaml_drop(node);
            return aegis_yaml_no_memory(in);
        }

        f->node.items = items;
        f->room = room;
    }

    if (f->node.kind == AEGIS_YAML_MAP) {
        node->key = f->key;
        node->line = f->line;
        node->column = f->column;
        f->key = NULL;
    }

    f->node.items[f->node.n++] = *node;

    return AEGIS_E_OK;
}


static aegis_code_t
aegis_yaml_open(aegis_yaml_in_t *in, aegis_yaml_kind_t kind)
{
    aegis_yaml_frame_t  *f;

    if (in->depth == AEGIS_YAML_MAX_DEPTH) {
        return aegis_yaml_refuse(in, "nested too deep");
    }

    f = &in->open[in->depth++];
    memset(f, 0, sizeof(*f));
    f->node.kind = kind;
    f->node.line = (int) in->event.start_mark.line + 1;
    f->node.column = (int) in->event.start_mark.column + 1;

    return AEGIS_E_OK;
}


static aegis_code_t
aegis_yaml_scalar(aegis_yaml_in_t *in)
{
    aegis_yaml_t  node;
    aegis_code_t  code;

    memset(&node, 0, sizeof(node));
    node.line = (int) in->event.start_mark.line + 1;
    node.column = (int) in->event.start_mark.column + 1;
    node.plain = in->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    code = aegis_yaml_text(in, &node.text);

    return code == AEGIS_E_OK ? aegis_yaml_put(in, &node) : code;
}


/* What stands before a node, when it has no place in a document of ours. */
static const char *
aegis_yaml_property(const yaml_event_t *e)
{
    const yaml_char_t  *anchor, *tag;

    anchor = e->type == YAML_SCALAR_EVENT ? e->data.scalar.anchor
             : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.anchor
             : e->type == YAML_MAPPING_START_EVENT ? e->data.mapping_start.anchor : NULL;
    tag = e->type == YAML_SCALAR_EVENT ? e->data.scalar.tag
          : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
          : e->type == YAML_MAPPING_START_EVENT ? e->data.mapping_start.tag : NULL;

    return e->type == YAML_ALIAS_EVENT ? "an alias: write the value out"
           : anchor ? "an anchor: write each value out"
           : tag ? "a tag: quotes make a string" : NULL;
}


static aegis_code_t
aegis_yaml_node(aegis_yaml_in_t *in)
{
    const char          *property;
    aegis_yaml_t         node;
    aegis_yaml_frame_t  *f;

    property = aegis_yaml_property(&in->event);
    if (property) {
        return aegis_yaml_refuse(in, property);
    }

    f = in->depth ? &in->open[in->depth - 1] : NULL;

    if (in->event.type == YAML_SEQUENCE_END_EVENT
        || in->event.type == YAML_MAPPING_END_EVENT)
    {
        node = f->node;
        in->depth--;
        return aegis_yaml_put(in, &node);
    }

    if (++in->nodes > AEGIS_YAML_MAX_NODES) {
        return aegis_yaml_refuse(in, "too many nodes");
    }

    if (f && f->node.kind == AEGIS_YAML_MAP && f->key == NULL) {
        return aegis_yaml_key(in, f);
    }

    return in->event.type == YAML_SCALAR_EVENT ? aegis_yaml_scalar(in)
           : aegis_yaml_open(in, in->event.type == YAML_MAPPING_START_EVENT
                                 ? AEGIS_YAML_MAP : AEGIS_YAML_LIST);
}


static aegis_code_t
aegis_yaml_syntax(aegis_yaml_in_t *in)
{
    if (in->parser.error == YAML_MEMORY_ERROR) {
        return aegis_yaml_no_memory(in);
    }

    return aegis_error_set(in->err, AEGIS_E_MALFORMED_YAML, "%d:%d: %s%s%s",
        (int) in->parser.problem_mark.line + 1,
        (int) in->parser.problem_mark.column + 1,
        in->parser.problem ? in->parser.problem : "not YAML",
        in->parser.context ? " " : "", in->parser.context ? in->parser.context : "");
}


static aegis_code_t
aegis_yaml_events(aegis_yaml_in_t *in)
{
    int           end;
    aegis_code_t  code;

    code = AEGIS_E_OK;
    end = 0;

    while (code == AEGIS_E_OK && !end) {
        if (!yaml_parser_parse(&in->parser, &in->event)) {
            return aegis_yaml_syntax(in);
        }

        switch (in->event.type) {

        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;

        case YAML_STREAM_END_EVENT:
            end = 1;
            break;

        case YAML_DOCUMENT_START_EVENT:
            if (in->documents++) {
                code = aegis_yaml_refuse(in, "more than one document");
            }
            break;

        default:
            code = aegis_yaml_node(in);
            break;
        }

        yaml_event_delete(&in->event);
    }

    return code;
}


/* libyaml compares each %TAG with all before it, and no tag is taken anyway. The
 * line of the first one; 0: there is none. */
static int
aegis_yaml_tag_directive(aegis_str_t text)
{
    int          line;
    size_t       left;
    const char  *p, *next;

    for (p = text.data, left = text.len, line = 1; left >= 4; line++) {
        if (memcmp(p, "%TAG", 4) == 0) {
            return line;
        }

        next = memchr(p, '\n', left);
        if (next == NULL) {
            break;
        }

        left -= (size_t) (next + 1 - p);
        p = next + 1;
    }

    return 0;
}


aegis_code_t
aegis_yaml_parse(aegis_str_t text, aegis_yaml_t **ret_doc, aegis_error_t *err)
{
    int               line;
    aegis_code_t      code;
    aegis_yaml_t     *doc;
    aegis_yaml_in_t   in;

    if (text.len > AEGIS_YAML_MAX_SIZE) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "YAML of more than %d bytes",
                               AEGIS_YAML_MAX_SIZE);
    }

    line = aegis_yaml_tag_directive(text);
    if (line) {
        return aegis_error_set(err, AEGIS_E_MALFORMED_YAML,
                               "%d:1: a %%TAG directive: tags are not taken", line);
    }

    memset(&in, 0, sizeof(in));
    in.err = err;
    doc = calloc(1, sizeof(aegis_yaml_t));

    if (doc == NULL || !yaml_parser_initialize(&in.parser)) {
        free(doc);
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    /* a guess by the first bytes would let UTF-16 in */
    yaml_parser_set_encoding(&in.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&in.parser,
        (const unsigned char *) (text.data ? text.data : ""), text.len);

    code = aegis_yaml_events(&in);
    yaml_parser_delete(&in.parser);

    if (code == AEGIS_E_OK && in.documents == 0) {
        in.root.line = in.root.column = in.root.plain = 1;
        in.root.text = strdup("");
        code = in.root.text ? AEGIS_E_OK : aegis_yaml_no_memory(&in);
    }

    while (in.depth) {
        in.depth--;
        free(in.open[in.depth].key);
        aegis_yaml_drop(&in.open[in.depth].node);
    }

    *doc = in.root;

    if (code != AEGIS_E_OK) {
        aegis_yaml_free(doc);
        return code;
    }

    *ret_doc = doc;

    return AEGIS_E_OK;
}


static json_t *
aegis_yaml_value(const aegis_yaml_t *node)
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


json_t *
aegis_yaml_json(const aegis_yaml_t *doc)
{
    size_t   i;
    json_t  *v, *out;

    if (doc->kind == AEGIS_YAML_SCALAR) {
        return aegis_yaml_value(doc);
    }

    out = doc->kind == AEGIS_YAML_MAP ? json_object() : json_array();

    for (i = 0; out && i < doc->n; i++) {
        v = aegis_yaml_json(&doc->items[i]);

        if (v == NULL
            || (doc->kind == AEGIS_YAML_MAP
                ? json_object_set_new(out, doc->items[i].key, v)
                : json_array_append_new(out, v)) != 0)
        {
            json_decref(out);
            return NULL;
        }
    }

    return out;
}


aegis_code_t
aegis_yaml_to_json(aegis_str_t text, json_t **ret_json, aegis_error_t *err)
{
    json_t        *json;
    aegis_code_t   code;
    aegis_yaml_t  *doc;

    code = aegis_yaml_parse(text, &doc, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    json = aegis_yaml_json(doc);
    aegis_yaml_free(doc);

    if (json == NULL || !aegis_json_numbers(json)) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_E_MALFORMED_YAML,
                               "It has a number that is too large.");
    }

    *ret_json = json;

    return AEGIS_E_OK;
}


/* The child that the first token of a pointer names; *at moves behind it. */
static const aegis_yaml_t *
aegis_yaml_child(const aegis_yaml_t *node, const char **at)
{
    char         token[256];
    size_t       i, n;
    const char  *p;

    n = 0;

    for (p = *at + 1; *p && *p != '/'; p++) {
        if (n + 1 < sizeof(token)) {
            token[n++] = p[0] == '~' && p[1] ? (*++p == '1' ? '/' : '~') : *p;
        }
    }

    token[n] = '\0';
    *at = p;

    if (node->kind == AEGIS_YAML_LIST) {
        i = strtoul(token, NULL, 10);
        return i < node->n ? &node->items[i] : NULL;
    }

    for (i = 0; node->kind == AEGIS_YAML_MAP && i < node->n; i++) {
        if (strcmp(node->items[i].key, token) == 0) {
            return &node->items[i];
        }
    }

    return NULL;
}


void
aegis_yaml_lines(aegis_str_t text, aegis_error_t *err)
{
    char                 said[512];
    size_t               i;
    json_t              *fault;
    const char          *at;
    aegis_yaml_t        *doc;
    const aegis_yaml_t  *node, *next;

    if (json_array_size(err->errors) == 0
        || aegis_yaml_parse(text, &doc, NULL) != AEGIS_E_OK)
    {
        return;
    }

    json_array_foreach(err->errors, i, fault) {
        at = aegis_json_str(fault, "pointer");

        for (node = doc; *at == '/'; node = next) {
            next = aegis_yaml_child(node, &at);
            if (next == NULL) {
                break;
            }
        }

        snprintf(said, sizeof(said), "%.480s (line %d)", aegis_json_str(fault, "detail"),
                 node->line);
        json_object_set_new(fault, "detail", json_string(said));
    }

    aegis_yaml_free(doc);
}
