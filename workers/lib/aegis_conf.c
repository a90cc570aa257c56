/*
 * aegis_conf.c: the settings of settings.def out of a YAML file and the
 * environment, checked.
 * Invariant: a configuration that was loaded is complete and correct: every
 * setting has a value of its type within its limits, and every consumer reads
 * from one transport. What is wrong is said with file:line:column.
 * Reading YAML itself is aegis_conf_yaml.c.
 */
#include "aegis_conf_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_event.h"

typedef enum {
    AEGIS_CONF_STRING, AEGIS_CONF_INT, AEGIS_CONF_SECRET, AEGIS_CONF_ROUTES_T
} aegis_conf_type_t;

#define AEGIS_CONF_T_STRING AEGIS_CONF_STRING
#define AEGIS_CONF_T_INT    AEGIS_CONF_INT
#define AEGIS_CONF_T_SECRET AEGIS_CONF_SECRET
#define AEGIS_CONF_T_ROUTES AEGIS_CONF_ROUTES_T

typedef struct {
    const char         *name;
    aegis_conf_type_t   type;
    const char         *value;          /* default */
    int                 reloadable;
    const char         *help;
} aegis_setting_t;

static const aegis_setting_t  aegis_settings[] = {
#define AEGIS_SETTING(name, type, value, reloadable, help)                     \
    { name, AEGIS_CONF_T_##type, value, reloadable, help },
#include "tables/settings.def"
#undef AEGIS_SETTING
};

#define AEGIS_N_SETTINGS  (sizeof(aegis_settings) / sizeof(aegis_settings[0]))

struct aegis_conf_s {
    char                *path;
    char                *dir;           /* of path, for relative file names */
    char                *values[AEGIS_N_SETTINGS];
    const char          *sources[AEGIS_N_SETTINGS];
    aegis_conf_routes_t  routes;
};

static int
aegis_conf_find(const char *name)
{
    size_t  i;

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        if (strcmp(aegis_settings[i].name, name) == 0) {
            return (int) i;
        }
    }

    return -1;
}

static int
aegis_conf_index(const char *name)
{
    int  i;

    i = aegis_conf_find(name);
    assert(i >= 0);
    return i;
}

/* Is name a group such as bus or bus.nats? */
static int
aegis_conf_group(const char *name)
{
    size_t  i, n;

    n = strlen(name);
    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        if (strncmp(aegis_settings[i].name, name, n) == 0
            && aegis_settings[i].name[n] == '.')
        {
            return 1;
        }
    }

    return 0;
}

static size_t
aegis_conf_distance(const char *a, const char *b)
{
    size_t  i, j, m, up, left, diag, row[64];

    m = strlen(b);
    if (m >= 64) {
        return 64;
    }

    for (j = 0; j <= m; j++) {
        row[j] = j;
    }

    for (i = 0; a[i]; i++) {
        diag = row[0];
        row[0] = i + 1;

        for (j = 0; j < m; j++) {
            up = row[j + 1] + 1;
            left = row[j] + 1;
            diag += (a[i] != b[j]);
            diag = diag < up ? diag : up;
            diag = diag < left ? diag : left;
            up = row[j + 1];
            row[j + 1] = diag;
            diag = up;
        }
    }

    return row[m];
}

static aegis_code_t
aegis_conf_unknown(const char *where, const char *name, aegis_error_t *err)
{
    size_t       i, d, n, best;
    char         part[128], near[128];
    const char  *full;

    best = 64;
    near[0] = '\0';

    /* every setting, and every group on the way to one */
    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        full = aegis_settings[i].name;

        for (n = strcspn(full, "."); ; n += 1 + strcspn(full + n + 1, ".")) {
            snprintf(part, sizeof(part), "%.*s", (int) n, full);
            d = aegis_conf_distance(name, part);
            if (d < best) {
                best = d;
                strcpy(near, part);
            }
            if (full[n] == '\0') {
                break;
            }
        }
    }

    if (best > strlen(name) / 2 + 1) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "%s: unknown setting \"%s\"",
                               where, name);
    }

    return aegis_error_set(err, AEGIS_E_SCHEMA,
        "%s: unknown setting \"%s\"; did you mean \"%s\"?", where, name, near);
}

static aegis_code_t
aegis_conf_no_memory(aegis_error_t *err)
{
    return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
}

/* Check value against the setting's type and limits, and keep a copy. */
static aegis_code_t
aegis_conf_set(aegis_conf_t *conf, int i, const char *value, const char *source,
    const char *where, aegis_error_t *err)
{
    char          *copy;
    aegis_code_t   rc;

    rc = aegis_conf_check(aegis_settings[i].name, aegis_settings[i].type == AEGIS_CONF_INT,
                          value, where, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    copy = strdup(value);
    if (copy == NULL) {
        return aegis_conf_no_memory(err);
    }

    free(conf->values[i]);
    conf->values[i] = copy;
    conf->sources[i] = source;
    return AEGIS_E_OK;
}

/* Walk the document: groups are maps, settings are leaves. */
static aegis_code_t
aegis_conf_walk(aegis_conf_t *conf, const aegis_yaml_t *map, const char *prefix,
    aegis_error_t *err)
{
    int                  k;
    size_t               i;
    char                 name[256], where[512];
    aegis_code_t         rc;
    const aegis_yaml_t  *m;

    for (i = 0; i < map->n; i++) {
        m = &map->items[i];
        snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] ? "." : "", m->key);
        aegis_yaml_where(conf->path, m, where);
        k = aegis_conf_find(name);

        if (k < 0 && aegis_conf_group(name)) {
            if (m->kind == AEGIS_YAML_SCALAR && m->text[0] == '\0') {
                continue;               /* a group with nothing under it */
            }
            if (m->kind != AEGIS_YAML_MAP) {
                return aegis_error_set(err, AEGIS_E_SCHEMA,
                    "%s: %s is a group of settings, not a value", where, name);
            }
            rc = aegis_conf_walk(conf, m, name, err);

        } else if (k < 0) {
            rc = aegis_conf_unknown(where, name, err);

        } else if (aegis_settings[k].type == AEGIS_CONF_ROUTES_T) {
            conf->sources[k] = "file";
            rc = aegis_conf_routes_yaml(&conf->routes, conf->path, m, err);

        } else if (m->kind != AEGIS_YAML_SCALAR) {
            rc = aegis_error_set(err, AEGIS_E_SCHEMA, "%s: %s must be a single value",
                                 where, name);

        } else {
            rc = aegis_conf_set(conf, k, m->text, "file", where, err);
        }

        if (rc != AEGIS_E_OK) {
            return rc;
        }
    }

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_conf_environment(aegis_conf_t *conf, aegis_error_t *err)
{
    char         *p, name[128];
    size_t        i;
    const char   *value;
    aegis_code_t  rc;

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        snprintf(name, sizeof(name), "AEGIS_%s", aegis_settings[i].name);
        for (p = name; *p; p++) {
            *p = (*p == '.') ? '_' : (char) (*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        }

        value = getenv(name);
        if (value == NULL) {
            continue;
        }

        if (aegis_settings[i].type == AEGIS_CONF_ROUTES_T) {
            conf->sources[i] = "environment";
            rc = aegis_conf_routes_env(&conf->routes, value, name, err);
        } else {
            rc = aegis_conf_set(conf, (int) i, value, "environment", name, err);
        }
        if (rc != AEGIS_E_OK) {
            return rc;
        }
    }

    return AEGIS_E_OK;
}

/* What holds between settings. */
static aegis_code_t
aegis_conf_whole(aegis_conf_t *conf, aegis_error_t *err)
{
    size_t                   i, k, n, n_subjects;
    const char              *t, *first, *name;
    const aegis_subject_t   *s;
    const aegis_consumer_t  *c;

    c = aegis_consumers(&n);
    s = aegis_subjects(&n_subjects);

    for (i = 0; i < n; i++) {
        for (k = 0, first = NULL, name = NULL; k < n_subjects; k++) {
            if (s[k].stream != c[i].stream
                || (c[i].filter[0] && strcmp(c[i].filter, s[k].subject) != 0))
            {
                continue;
            }

            t = aegis_conf_transport(conf, (aegis_str_t) { strlen(s[k].subject),
                                                           s[k].subject });
            if (first != NULL && strcmp(t, first) != 0) {
                return aegis_error_set(err, AEGIS_E_SCHEMA,
                    "%s: bus.routes sends %s over %s but %s over %s; the role %s"
                    " reads both and has one subscription: route them the same way",
                    conf->path, name, first, s[k].subject, t, c[i].role);
            }
            first = t;
            name = s[k].subject;
        }
    }

    for (i = 0; i < conf->routes.n; i++) {
        if (conf->routes.items[i].transport[0] == 'k'
            && aegis_conf_str(conf, "bus.kafka.brokers")[0] == '\0')
        {
            return aegis_error_set(err, AEGIS_E_SCHEMA,
                "%s: bus.routes sends %s over kafka, but bus.kafka.brokers is not set",
                conf->path, conf->routes.items[i].match);
        }
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_conf_load(const char *path, aegis_conf_t **ret_conf, aegis_error_t *err)
{
    char          *slash;
    size_t         i;
    aegis_code_t   rc;
    aegis_conf_t  *conf;
    aegis_yaml_t  *doc;

    conf = calloc(1, sizeof(aegis_conf_t));
    if (conf == NULL) {
        return aegis_conf_no_memory(err);
    }

    doc = NULL;
    rc = AEGIS_E_INTERNAL;
    conf->path = strdup(path);
    conf->dir = strdup(path);
    if (conf->path == NULL || conf->dir == NULL) {
        (void) aegis_conf_no_memory(err);
        goto done;
    }

    slash = strrchr(conf->dir, '/');
    if (slash == NULL) {
        strcpy(conf->dir, path[0] ? "." : "");
    } else {
        slash[slash == conf->dir] = '\0';
    }

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        conf->sources[i] = "default";
        conf->values[i] = strdup(aegis_settings[i].value);
        if (conf->values[i] == NULL) {
            (void) aegis_conf_no_memory(err);
            goto done;
        }
    }

    rc = aegis_yaml_read(path, &doc, err);
    if (rc == AEGIS_E_OK && doc->kind != AEGIS_YAML_MAP
        && !(doc->kind == AEGIS_YAML_SCALAR && doc->text[0] == '\0'))
    {
        rc = aegis_error_set(err, AEGIS_E_SCHEMA, "%s:1:1: not a map of settings", path);
    }
    if (rc == AEGIS_E_OK && doc->kind == AEGIS_YAML_MAP) {
        rc = aegis_conf_walk(conf, doc, "", err);
    }
    if (rc == AEGIS_E_OK) {
        rc = aegis_conf_environment(conf, err);
    }
    if (rc == AEGIS_E_OK) {
        rc = aegis_conf_whole(conf, err);
    }

done:

    aegis_yaml_free(doc);
    if (rc != AEGIS_E_OK) {
        aegis_conf_free(conf);
        return rc;
    }

    *ret_conf = conf;
    return AEGIS_E_OK;
}

void
aegis_conf_free(aegis_conf_t *conf)
{
    size_t  i;

    if (conf == NULL) {
        return;
    }

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        free(conf->values[i]);
    }
    aegis_conf_routes_clear(&conf->routes);
    free(conf->path);
    free(conf->dir);
    free(conf);
}

const char *
aegis_conf_str(const aegis_conf_t *conf, const char *name)
{
    return conf->values[aegis_conf_index(name)];
}

int64_t
aegis_conf_int(const aegis_conf_t *conf, const char *name)
{
    return strtoll(conf->values[aegis_conf_index(name)], NULL, 10);
}

const char *
aegis_conf_path(const aegis_conf_t *conf, const char *name, char *buf)
{
    const char  *value;

    value = aegis_conf_str(conf, name);
    if (value[0] == '/' || value[0] == '\0') {
        snprintf(buf, 4096, "%s", value);
    } else {
        snprintf(buf, 4096, "%s/%s", conf->dir, value);
    }

    return buf;
}

const char *
aegis_conf_transport(const aegis_conf_t *conf, aegis_str_t subject)
{
    return aegis_conf_routes_match(&conf->routes, subject);
}

void
aegis_conf_keep(aegis_conf_t *conf, const aegis_conf_t *old, char *buf, size_t size)
{
    int      routes;
    char    *copy;
    size_t   i, n;

    n = 0;
    buf[0] = '\0';

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        routes = aegis_settings[i].type == AEGIS_CONF_ROUTES_T;

        if (aegis_settings[i].reloadable
            || (routes ? aegis_conf_routes_same(&conf->routes, &old->routes)
                : strcmp(conf->values[i], old->values[i]) == 0))
        {
            continue;
        }

        if (n < size) {
            n += (size_t) snprintf(buf + n, size - n, "%s%s", n ? " " : "",
                                   aegis_settings[i].name);
        }

        conf->sources[i] = old->sources[i];
        copy = strdup(old->values[i]);
        if (copy != NULL) {
            free(conf->values[i]);
            conf->values[i] = copy;
        }
        if (routes) {
            (void) aegis_conf_routes_copy(&conf->routes, &old->routes);
        }
    }
}

static void
aegis_conf_print_value(FILE *out, const char *value, aegis_conf_type_t type)
{
    const char  *p;

    if (type == AEGIS_CONF_INT) {
        fprintf(out, "%s", value);
        return;
    }
    if (type == AEGIS_CONF_SECRET && value[0]) {
        fprintf(out, "\"********\"");
        return;
    }

    fputc('"', out);
    for (p = value; *p; p++) {
        if (*p == '"' || *p == '\\') {
            fputc('\\', out);
        }
        if ((unsigned char) *p < 0x20) {
            fprintf(out, "\\x%02x", (unsigned char) *p);
        } else {
            fputc(*p, out);
        }
    }
    fputc('"', out);
}

void
aegis_conf_print(const aegis_conf_t *conf, FILE *out)
{
    size_t                  i, k;
    const aegis_setting_t  *s;

    fprintf(out, "# %s with defaults and environment; a dotted name is the same"
            " as nested maps\n", conf->path);

    for (i = 0; i < AEGIS_N_SETTINGS; i++) {
        s = &aegis_settings[i];
        fprintf(out, "%s:", s->name);

        if (s->type == AEGIS_CONF_ROUTES_T) {
            fprintf(out, conf->routes.n ? "  # %s\n" : " []  # %s\n", conf->sources[i]);
            for (k = 0; k < conf->routes.n; k++) {
                fprintf(out, "  - {match: \"%s\", transport: %s}\n",
                        conf->routes.items[k].match, conf->routes.items[k].transport);
            }
            continue;
        }

        fputc(' ', out);
        aegis_conf_print_value(out, conf->values[i], s->type);
        fprintf(out, "  # %s\n", conf->sources[i]);
    }
}
