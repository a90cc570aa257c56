/*
 * aegis_conf_yaml.c: YAML files: read whole, and where in them a node stands.
 * Reading the text under limits is core/aegis_yaml.h's.
 */
#include "aegis_conf_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "aegis_json.h"

void
aegis_yaml_where(const char *path, const aegis_yaml_t *node, char *buf)
{
    const char  *p;

    /* a very long path keeps its end: the position is what matters */
    p = strlen(path) > 400 ? path + strlen(path) - 400 : path;
    snprintf(buf, 512, "%s:%d:%d", p, node->line, node->column);
}

/* The bytes of a file, malloc'ed. */
static aegis_code_t
aegis_yaml_bytes(const char *path, char **ret_text, size_t *ret_len, aegis_error_t *err)
{
    FILE         *in;
    char         *text;
    size_t        n;
    struct stat   st;

    in = fopen(path, "re");
    if (in == NULL) {
        return aegis_error_set(err, AEGIS_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }

    if (fstat(fileno(in), &st) != 0 || !S_ISREG(st.st_mode)
        || st.st_size > AEGIS_YAML_MAX_SIZE)
    {
        fclose(in);
        return aegis_error_set(err, AEGIS_E_TOO_LARGE,
                               "%s: not a file of at most 1 MiB", path);
    }

    text = malloc((size_t) st.st_size + 1);
    n = text ? fread(text, 1, (size_t) st.st_size, in) : 0;
    fclose(in);

    if (text == NULL) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    *ret_text = text;
    *ret_len = n;

    return AEGIS_E_OK;
}

aegis_code_t
aegis_yaml_read(const char *path, aegis_yaml_t **ret_doc, aegis_error_t *err)
{
    char           *text;
    size_t          len;
    aegis_code_t    rc;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    text = NULL;
    len = 0;

    rc = aegis_yaml_bytes(path, &text, &len, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    rc = aegis_yaml_parse((aegis_str_t) { len, text }, ret_doc, &why);
    free(text);

    if (rc != AEGIS_E_OK) {
        rc = aegis_error_set(err, AEGIS_E_SCHEMA, "%s:%s", path, why.detail);
        aegis_error_clear(&why);
    }

    return rc;
}

void
aegis_conf_yaml_lines(const char *path, aegis_error_t *err)
{
    char           *text;
    size_t          len;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    text = NULL;
    len = 0;

    if (aegis_yaml_bytes(path, &text, &len, &why) == AEGIS_E_OK) {
        aegis_yaml_lines((aegis_str_t) { len, text }, err);
    }

    aegis_error_clear(&why);
    free(text);
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

    if (out == NULL || !aegis_json_numbers(out)) {
        json_decref(out);
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "%s: too large a number", path);
        return NULL;
    }

    return out;
}
