/*
 * aegis_conf_routes.c: bus.routes, the table that says which transport carries
 * a subject: read from YAML or from the environment, compared, looked up.
 * Invariant: every row's match can match something, and its transport exists.
 */
#include "aegis_conf_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A match is "subject", "prefix.>" or ">"; anything else would match nothing. */
static int
aegis_conf_match_ok(const char *match)
{
    size_t       n;
    const char  *gt;

    n = strlen(match);
    gt = strchr(match, '>');

    return n > 0 && n < 200
           && strspn(match, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "0123456789._->") == n
           && (gt == NULL || (gt == match + n - 1
                              && (gt == match || gt[-1] == '.')));
}

static aegis_code_t
aegis_conf_route_add(aegis_conf_routes_t *routes, const char *match, const char *transport,
    const char *where, aegis_error_t *err)
{
    char  *copy;

    if (!aegis_conf_match_ok(match)) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: match must be a subject, a prefix ending in .> or >, not \"%s\"",
            where, match);
    }
    if (strcmp(transport, "nats") != 0 && strcmp(transport, "kafka") != 0) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: transport must be nats or kafka, not \"%s\"", where, transport);
    }
    if (routes->n == AEGIS_CONF_ROUTES) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "%s: more than %d routes",
                               where, AEGIS_CONF_ROUTES);
    }

    copy = strdup(match);
    if (copy == NULL) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    routes->items[routes->n].match = copy;
    routes->items[routes->n].transport = transport[0] == 'n' ? "nats" : "kafka";
    routes->n++;
    return AEGIS_E_OK;
}

void
aegis_conf_routes_clear(aegis_conf_routes_t *routes)
{
    size_t  i;

    for (i = 0; i < routes->n; i++) {
        free((char *) routes->items[i].match);
    }
    routes->n = 0;
}

aegis_code_t
aegis_conf_routes_yaml(aegis_conf_routes_t *routes, const char *path,
    const aegis_yaml_t *list, aegis_error_t *err)
{
    size_t               i, k;
    char                 where[512];
    aegis_code_t         rc;
    const char          *match, *transport;
    const aegis_yaml_t  *route, *m;

    aegis_yaml_where(path, list, where);
    if (list->kind != AEGIS_YAML_LIST) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: bus.routes must be a list of {match, transport}", where);
    }

    for (i = 0; i < list->n; i++) {
        route = &list->items[i];
        match = transport = NULL;
        aegis_yaml_where(path, route, where);

        for (k = 0; route->kind == AEGIS_YAML_MAP && k < route->n; k++) {
            m = &route->items[k];
            if (m->kind == AEGIS_YAML_SCALAR && strcmp(m->key, "match") == 0) {
                match = m->text;
            } else if (m->kind == AEGIS_YAML_SCALAR
                       && strcmp(m->key, "transport") == 0)
            {
                transport = m->text;
            } else {
                match = NULL;
                break;
            }
        }
        if (match == NULL || transport == NULL) {
            return aegis_error_set(err, AEGIS_E_SCHEMA,
                "%s: a route has exactly match and transport", where);
        }

        rc = aegis_conf_route_add(routes, match, transport, where, err);
        if (rc != AEGIS_E_OK) {
            return rc;
        }
    }

    return AEGIS_E_OK;
}

/* AEGIS_BUS_ROUTES: cmd.>=nats,evt.>=kafka */
aegis_code_t
aegis_conf_routes_env(aegis_conf_routes_t *routes, const char *value, const char *where,
    aegis_error_t *err)
{
    char          *copy, *one, *save, *eq;
    aegis_code_t   rc;

    copy = strdup(value);
    if (copy == NULL) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    rc = AEGIS_E_OK;
    aegis_conf_routes_clear(routes);

    for (one = strtok_r(copy, ", ", &save); one != NULL && rc == AEGIS_E_OK;
         one = strtok_r(NULL, ", ", &save))
    {
        eq = strrchr(one, '=');
        if (eq == NULL) {
            rc = aegis_error_set(err, AEGIS_E_SCHEMA,
                "%s: \"%s\" is not match=transport", where, one);
            break;
        }
        *eq = '\0';
        rc = aegis_conf_route_add(routes, one, eq + 1, where, err);
    }

    free(copy);
    return rc;
}

const char *
aegis_conf_routes_match(const aegis_conf_routes_t *routes, aegis_str_t subject)
{
    size_t       i, n;
    const char  *m;

    for (i = 0; i < routes->n; i++) {
        m = routes->items[i].match;
        n = strlen(m);

        if (m[n - 1] == '>') {
            if (subject.len >= n && memcmp(subject.data, m, n - 1) == 0) {
                return routes->items[i].transport;
            }
        } else if (subject.len == n && memcmp(subject.data, m, n) == 0) {
            return routes->items[i].transport;
        }
    }

    return "nats";
}

int
aegis_conf_routes_same(const aegis_conf_routes_t *a, const aegis_conf_routes_t *b)
{
    size_t  i;

    for (i = 0; i < a->n && i < b->n; i++) {
        if (strcmp(a->items[i].match, b->items[i].match) != 0
            || strcmp(a->items[i].transport, b->items[i].transport) != 0)
        {
            return 0;
        }
    }

    return a->n == b->n;
}

int
aegis_conf_routes_copy(aegis_conf_routes_t *to, const aegis_conf_routes_t *from)
{
    size_t  i;

    aegis_conf_routes_clear(to);

    for (i = 0; i < from->n; i++) {
        to->items[i] = from->items[i];
        to->items[i].match = strdup(from->items[i].match);
        if (to->items[i].match == NULL) {
            return 0;
        }
        to->n++;
    }

    return 1;
}
