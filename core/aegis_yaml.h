/*
 * aegis_yaml.h: YAML under our limits, wherever it comes from: a tree that
 * remembers where each node stood, and the same as JSON. One document, no
 * anchors, aliases or tags, so that nothing in it is larger than its text.
 */
#ifndef AEGIS_YAML_H
#define AEGIS_YAML_H

#include "aegis_error.h"

#define AEGIS_YAML_MAX_SIZE     (1024 * 1024)   /* bytes */
#define AEGIS_YAML_MAX_DEPTH    32
#define AEGIS_YAML_MAX_NODES    20000
#define AEGIS_YAML_MAX_MEMBERS  512             /* of one map */

typedef enum { AEGIS_YAML_SCALAR, AEGIS_YAML_LIST, AEGIS_YAML_MAP } aegis_yaml_kind_t;

typedef struct aegis_yaml_s  aegis_yaml_t;

struct aegis_yaml_s {
    aegis_yaml_kind_t   kind;
    int                 line, column;   /* from 1; of the key inside a map */
    int                 plain;          /* scalar without quotes: may be a number */
    char               *key;            /* inside a map */
    char               *text;           /* scalar */
    size_t              n;              /* list, map */
    aegis_yaml_t       *items;
};

/* An empty text is an empty plain scalar. MALFORMED_YAML: err says
 * "line:column: what". */
aegis_code_t aegis_yaml_parse(aegis_str_t text, aegis_yaml_t **ret_doc,
    aegis_error_t *err);
void aegis_yaml_free(aegis_yaml_t *doc);                /* NULL is fine */

/* The YAML 1.2 core schema, without octal and hexadecimal numbers. NULL: a
 * value that JSON cannot hold (too large a number), or no memory. */
json_t *aegis_yaml_json(const aegis_yaml_t *doc);

/* Each of err's faults also says on which line of the text its pointer ends, or
 * the nearest that is there: "must be ... (line 12)". */
void aegis_yaml_lines(aegis_str_t text, aegis_error_t *err);

/* Both at once. What comes out could have come through aegis_json_parse(). */
aegis_code_t aegis_yaml_to_json(aegis_str_t text, json_t **ret_json,
    aegis_error_t *err);

#endif
