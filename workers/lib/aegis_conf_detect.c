/*
 * aegis_conf_detect.c: analyze.rules_file as rules. Its invariant: a file that is
 * named has to be there and whole; only the default's place may be empty, because
 * without rules everything is learned. What rules mean is core/aegis_detect.h.
 */
#include "aegis_conf_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AEGIS_CONF_DETECTORS      "detectors.yaml"    /* need not be there */
#define AEGIS_CONF_DETECTORS_MAX  (1024 * 1024)

aegis_code_t
aegis_conf_detectors(const aegis_conf_t *conf, aegis_detect_rules_t **ret,
    aegis_error_t *err)
{
    char            path[4096], *text;
    FILE           *in;
    size_t          n;
    const char     *name;
    aegis_code_t    rc;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    *ret = NULL;
    name = aegis_conf_str(conf, "analyze.rules_file");
    if (name[0] == '\0') {
        return AEGIS_E_OK;
    }

    aegis_conf_path(conf, "analyze.rules_file", path);
    in = fopen(path, "rbe");
    if (in == NULL) {
        return errno == ENOENT && strcmp(name, AEGIS_CONF_DETECTORS) == 0 ? AEGIS_E_OK
               : aegis_error_set(err, AEGIS_E_SCHEMA, "analyze.rules_file: %s: %s", path,
                                 strerror(errno));
    }

    text = malloc(AEGIS_CONF_DETECTORS_MAX + 1);
    n = text ? fread(text, 1, AEGIS_CONF_DETECTORS_MAX + 1, in) : 0;
    fclose(in);
    rc = aegis_detect_rules_parse((aegis_str_t) { n, text ? text : "" }, ret, &why);
    free(text);

    return rc == AEGIS_E_OK ? rc : aegis_conf_refuse(path, &why, err);
}
