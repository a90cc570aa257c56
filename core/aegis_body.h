/*
 * aegis_body.h: a request's body, from bytes to a checked object whose fields
 * fill an item's columns (fields.def). 400 for what is not JSON or YAML (syntax,
 * duplicate keys, bad UTF-8, depth over 32, not an object), 422 with JSON
 * pointers for what does not fit the schema.
 */
#ifndef AEGIS_BODY_H
#define AEGIS_BODY_H

#include "aegis_error.h"
#include "aegis_json.h"
#include "aegis_route.h"
#include "aegis_stmt.h"

/* Parse and check a body. */
aegis_code_t aegis_body_parse(aegis_schema_id_t schema, aegis_str_t text,
    json_t **ret_body, aegis_error_t *err);

/* The same for a body in YAML; 0: bodies of this schema may not be YAML
 * (media.def), else how many bytes they may have. */
aegis_code_t aegis_body_parse_yaml(aegis_schema_id_t schema, aegis_str_t text,
    json_t **ret_body, aegis_error_t *err);
size_t aegis_body_yaml_max(aegis_schema_id_t schema);

/*
 * Point item's columns at body's fields. Strings are borrowed from body; what
 * has to be made (tags, labels, meta, integers) is malloc'ed and put into
 * made[], *n_made grows; the caller frees them after the statement was sent.
 * Absent fields get the schema's defaults: kind incident, severity warning,
 * mode auto, tags [], labels {}, reason "", correlation_id "", meta {};
 * others stay as they were.
 */
#define AEGIS_BODY_MAX_MADE  8
aegis_code_t aegis_body_bind(aegis_schema_id_t schema, const json_t *body,
    aegis_item_t *item, char *made[AEGIS_BODY_MAX_MADE], size_t *n_made,
    aegis_error_t *err);

/* The schema as JSON Schema 2020-12, for OpenAPI. New reference. */
json_t *aegis_body_schema(aegis_schema_id_t schema);

#endif
