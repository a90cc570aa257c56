/*
 * aegis_resource.c: of whom telemetry speaks: the URN that labels of Prometheus,
 * Loki and Kubernetes, or attributes of an OpenTelemetry resource, name.
 * The first rule whose labels are all there wins; what they say is left out of the
 * labels that are kept.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_signal.h"

typedef struct {
    const char  *prefix;
    const char  *first;                 /* after it a slash, when there is a second */
    const char  *second;
} aegis_resource_rule_t;

static const aegis_resource_rule_t  aegis_resource_rules[] = {
    { "",             "aegis_resource",     NULL },
    { "urn:k8s:svc:", "k8s.namespace.name", "service.name" },
    { "urn:k8s:svc:", "k8s.namespace.name", "k8s.deployment.name" },
    { "urn:k8s:pod:", "k8s.namespace.name", "k8s.pod.name" },
    { "urn:svc:",     "service.namespace",  "service.name" },
    { "urn:svc:",     "service.name",       NULL },
    { "urn:k8s:node:", "k8s.node.name",     NULL },
    { "urn:host:",    "host.name",          NULL },
    { "urn:k8s:svc:", "namespace",          "service" },
    { "urn:k8s:svc:", "namespace",          "deployment" },
    { "urn:k8s:svc:", "namespace",          "app" },
    { "urn:k8s:pod:", "namespace",          "pod" },
    { "urn:svc:",     "service_namespace",  "service_name" },
    { "urn:svc:",     "service_name",       NULL },
    { "urn:svc:",     "service",            NULL },
    { "urn:k8s:node:", "node",              NULL },
    { "urn:svc:",     "app",                NULL },
    { "urn:job:",     "job",                "instance" },
    { "urn:job:",     "job",                NULL },
    { "urn:host:",    "host",               NULL },
    { "urn:host:",    "instance",           NULL }
};

#define AEGIS_RESOURCE_RULES \
    (sizeof(aegis_resource_rules) / sizeof(aegis_resource_rules[0]))
#define AEGIS_RESOURCE_MAX  512

static int
aegis_resource_find(const aegis_label_t *labels, unsigned n, const char *name)
{
    size_t    len;
    unsigned  i;

    len = strlen(name);

    for (i = 0; i < n && i < AEGIS_LABELS_MAX; i++) {
        if (labels[i].name.len == len && labels[i].value.len
            && memcmp(labels[i].name.data, name, len) == 0)
        {
            return (int) i;
        }
    }

    return -1;
}

aegis_str_t
aegis_resource_of(aegis_arena_t *arena, const aegis_label_t *labels, unsigned n,
    uint64_t *ret_used)
{
    int                           a, b, len;
    char                          urn[AEGIS_RESOURCE_MAX], *copy;
    size_t                        i;
    const aegis_resource_rule_t  *r;

    *ret_used = 0;

    for (i = 0; i < AEGIS_RESOURCE_RULES; i++) {
        r = &aegis_resource_rules[i];
        a = aegis_resource_find(labels, n, r->first);
        b = a < 0 || r->second == NULL ? -1 : aegis_resource_find(labels, n, r->second);
        if (a < 0 || (r->second && b < 0)) {
            continue;
        }

        len = snprintf(urn, sizeof(urn), "%s%.*s%s%.*s", r->prefix,
                       (int) labels[a].value.len, labels[a].value.data, b < 0 ? "" : "/",
                       b < 0 ? 0 : (int) labels[b].value.len, b < 0 ? "" : labels[b].value.data);
        len = len < (int) sizeof(urn) ? len : (int) sizeof(urn) - 1;
        aegis_clean(urn, (size_t) len);
        copy = aegis_arena_copy(arena, urn, (size_t) len);
        if (copy == NULL) {
            return AEGIS_NO_STR;
        }
        *ret_used = 1ULL << a | (b < 0 ? 0 : 1ULL << b);
        return (aegis_str_t) { (size_t) len, copy };
    }

    return aegis_view("urn:aegis:unknown");
}
