/*
 * aegis_kube.c: how far a rollout is, and what a refusal of the Kubernetes API
 * means. Invariant: nothing is done before the controller has seen the
 * object's last change (observedGeneration), and text of the API is bounded
 * and free of control characters before it goes anywhere. The patches are in
 * aegis_kube_change.c.
 */
#include "aegis_kube_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_KUBE_NAME_MAX  253

static const struct {
    const char  *name;
    const char  *resource;
    const char  *history;
} aegis_kube_kinds[] = {
    { "deployment",  "deployments",  "replicasets" },
    { "statefulset", "statefulsets", "controllerrevisions" },
    { "daemonset",   "daemonsets",   "controllerrevisions" }
};

int
aegis_kube_kind(const char *name, aegis_kube_kind_t *ret_kind)
{
    int  i;

    for (i = 0; i < 3; i++) {
        if (name == NULL || strcmp(aegis_kube_kinds[i].name, name) == 0) {
            *ret_kind = (aegis_kube_kind_t) i;
            return 1;
        }
    }

    return 0;
}

const char *
aegis_kube_kind_name(aegis_kube_kind_t kind)
{
    return aegis_kube_kinds[kind].name;
}

const char *
aegis_kube_resource(aegis_kube_kind_t kind)
{
    return aegis_kube_kinds[kind].resource;
}

const char *
aegis_kube_history(aegis_kube_kind_t kind)
{
    return aegis_kube_kinds[kind].history;
}

static int
aegis_kube_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int
aegis_kube_name_valid(const char *name)
{
    size_t  i, n;

    n = name ? strlen(name) : 0;
    if (n == 0 || n > AEGIS_KUBE_NAME_MAX || !aegis_kube_alnum(name[n - 1])) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (!aegis_kube_alnum(name[i])
            && (i == 0 || (name[i] != '-' && name[i] != '.')
                || (name[i] == '.' && !aegis_kube_alnum(name[i - 1]))))
        {
            return 0;
        }
    }

    return 1;
}

/* A member of a member; a count that the API leaves out is 0. */
static json_int_t
aegis_kube_int(const json_t *object, const char *part, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(object, part), name));
}

void
aegis_kube_say(char text[AEGIS_KUBE_TEXT], const char *fmt, ...)
{
    char     whole[AEGIS_KUBE_TEXT * 4];
    size_t   len;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(whole, sizeof(whole), fmt, args);
    va_end(args);

    len = aegis_utf8_cut(whole, strlen(whole), AEGIS_KUBE_TEXT - 1);
    memcpy(text, whole, len);
    text[len] = '\0';
}

/* The condition of this type; NULL: there is none. */
static const json_t *
aegis_kube_condition(const json_t *object, const char *type)
{
    size_t   i;
    json_t  *all, *c;

    all = json_object_get(json_object_get(object, "status"), "conditions");

    json_array_foreach(all, i, c) {
        if (strcmp(aegis_json_str(c, "type"), type) == 0) {
            return c;
        }
    }

    return NULL;
}

/* Text of strangers, on one line and within size. */
static void
aegis_kube_plain(char *out, size_t size, const char *text)
{
    size_t  i, len;

    len = aegis_utf8_cut(text, strlen(text), size - 1);
    memcpy(out, text, len);
    out[len] = '\0';

    for (i = 0; i < len; i++) {
        if ((unsigned char) out[i] < 0x20 || out[i] == 0x7f) {
            out[i] = ' ';
        }
    }
}

const char *
aegis_kube_exceeded(const json_t *object)
{
    const json_t  *c;

    c = aegis_kube_condition(object, "Progressing");

    return strcmp(aegis_json_str(c, "reason"), "ProgressDeadlineExceeded") == 0
           ? aegis_json_str(c, "lastUpdateTime") : "";
}

static aegis_kube_progress_t
aegis_kube_progress_deployment(const json_t *object, const char *stale,
    char text[AEGIS_KUBE_TEXT])
{
    char           why[160];
    json_int_t     want, updated, total, available;
    const json_t  *c;

    want = aegis_kube_wanted(object);
    total = aegis_kube_int(object, "status", "replicas");
    updated = aegis_kube_int(object, "status", "updatedReplicas");
    available = aegis_kube_int(object, "status", "availableReplicas");

    aegis_kube_say(text, "%lld of %lld pods updated, %lld available, %lld old",
             (long long) updated, (long long) want, (long long) available,
             (long long) (total > updated ? total - updated : 0));

    c = aegis_kube_condition(object, "Progressing");
    if (strcmp(aegis_json_str(c, "reason"), "ProgressDeadlineExceeded") == 0
        && (stale[0] == '\0' || strcmp(aegis_json_str(c, "lastUpdateTime"), stale) != 0))
    {
        aegis_kube_plain(why, sizeof(why), aegis_json_str(c, "message"));
        aegis_kube_say(text, "progressDeadlineExceeded: %s (%lld of %lld updated,"
                 " %lld available)", why, (long long) updated, (long long) want,
                 (long long) available);
        return AEGIS_KUBE_FAILED;
    }

    return updated == want && total == updated && available >= want
           ? AEGIS_KUBE_DONE : AEGIS_KUBE_WAIT;
}

static aegis_kube_progress_t
aegis_kube_progress_statefulset(const json_t *object, char text[AEGIS_KUBE_TEXT])
{
    json_int_t     want, updated, ready, total, partition;
    const json_t  *spec, *status;

    spec = json_object_get(object, "spec");
    status = json_object_get(object, "status");
    want = aegis_kube_wanted(object);
    total = aegis_kube_int(object, "status", "replicas");
    updated = aegis_kube_int(object, "status", "updatedReplicas");
    ready = aegis_kube_int(object, "status", "readyReplicas");
    partition = aegis_kube_int(json_object_get(spec, "updateStrategy"), "rollingUpdate",
                               "partition");

    aegis_kube_say(text, "%lld of %lld pods updated, %lld ready",
             (long long) updated, (long long) want, (long long) ready);

    if (total != want || ready < want) {
        return AEGIS_KUBE_WAIT;
    }

    if (partition > 0) {
        return updated >= want - partition ? AEGIS_KUBE_DONE : AEGIS_KUBE_WAIT;
    }

    return strcmp(aegis_json_str(status, "updateRevision"),
                  aegis_json_str(status, "currentRevision")) == 0
           ? AEGIS_KUBE_DONE : AEGIS_KUBE_WAIT;
}

static aegis_kube_progress_t
aegis_kube_progress_daemonset(const json_t *object, char text[AEGIS_KUBE_TEXT])
{
    json_int_t  want, updated, available;

    want = aegis_kube_int(object, "status", "desiredNumberScheduled");
    updated = aegis_kube_int(object, "status", "updatedNumberScheduled");
    available = aegis_kube_int(object, "status", "numberAvailable");

    aegis_kube_say(text, "%lld of %lld pods updated, %lld available",
             (long long) updated, (long long) want, (long long) available);

    return updated >= want && available >= want ? AEGIS_KUBE_DONE : AEGIS_KUBE_WAIT;
}

json_int_t
aegis_kube_generation(const json_t *object)
{
    return aegis_kube_int(object, "metadata", "generation");
}

aegis_kube_progress_t
aegis_kube_progress(aegis_kube_kind_t kind, const json_t *object, json_int_t generation,
    const char *stale, char text[AEGIS_KUBE_TEXT])
{
    if (aegis_kube_int(object, "status", "observedGeneration") < generation) {
        aegis_kube_say(text, "its controller has not seen generation %lld yet",
                       (long long) generation);
        return AEGIS_KUBE_WAIT;
    }

    switch (kind) {

    case AEGIS_KUBE_STATEFULSET:
        return aegis_kube_progress_statefulset(object, text);

    case AEGIS_KUBE_DAEMONSET:
        return aegis_kube_progress_daemonset(object, text);

    default:
        return aegis_kube_progress_deployment(object, stale, text);
    }
}

/* key=value of matchLabels, and the set-based rest. */
char *
aegis_kube_selector(const json_t *object)
{
    size_t        i, k;
    json_t       *selector, *e, *v, *values, *labels;
    const char   *name, *op;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    selector = json_object_get(json_object_get(object, "spec"), "selector");
    labels = json_object_get(selector, "matchLabels");

    json_object_foreach(labels, name, v) {
        aegis_buf_printf(&buf, "%s%s=%s", buf.len ? "," : "", name,
                         json_is_string(v) ? json_string_value(v) : "");
    }

    json_array_foreach(json_object_get(selector, "matchExpressions"), i, e) {
        op = aegis_json_str(e, "operator");
        name = aegis_json_str(e, "key");
        values = json_object_get(e, "values");

        if (strcmp(op, "Exists") == 0 || strcmp(op, "DoesNotExist") == 0) {
            aegis_buf_printf(&buf, "%s%s%s", buf.len ? "," : "", op[0] == 'D' ? "!" : "",
                             name);
            continue;
        }

        aegis_buf_printf(&buf, "%s%s %s (", buf.len ? "," : "", name,
                         strcmp(op, "In") == 0 ? "in" : "notin");
        json_array_foreach(values, k, v) {
            aegis_buf_printf(&buf, "%s%s", k ? "," : "",
                             json_is_string(v) ? json_string_value(v) : "");
        }
        aegis_buf_puts(&buf, ")");
    }

    return buf.len == 0 ? NULL : aegis_buf_take(&buf, NULL);
}

/* Who we are, as the API's message names us: User "…". */
static void
aegis_kube_user(const char *message, char *out, size_t size)
{
    size_t       n;
    const char  *p, *end;

    p = strstr(message, "User \"");
    end = p ? strchr(p + 6, '"') : NULL;

    if (end == NULL || (n = (size_t) (end - p - 6)) >= size) {
        snprintf(out, size, "its user");
        return;
    }

    memcpy(out, p + 6, n);
    out[n] = '\0';
}

void
aegis_kube_refusal(int status, const char *verb, const char *resource, const char *ns,
    const char *name, const json_t *body, char text[AEGIS_KUBE_TEXT])
{
    char  what[AEGIS_KUBE_TEXT], message[AEGIS_KUBE_TEXT], user[96];
    int   ours;

    aegis_kube_plain(message, sizeof(message), aegis_json_str(body, "message"));
    snprintf(what, sizeof(what), "%.20s%s%.100s", resource, name ? " " : "",
             name ? name : "");
    ours = strcmp(aegis_json_str(body, "kind"), "Status") == 0;

    if (!ours && status == 404) {
        aegis_kube_say(text, "404: nothing at this address serves apps/v1; is it"
                 " the Kubernetes API?");

    } else if (status == 401) {
        aegis_kube_say(text, "401: the Kubernetes API does not know our"
                 " credential: is the token expired, or the client certificate signed by"
                 " another CA?");

    } else if (status == 403 && strstr(message, " cannot ") != NULL) {
        aegis_kube_user(message, user, sizeof(user));
        aegis_kube_say(text, "403: grant the verb \"%s\" on apps/%s in namespace"
                 " %.63s to %s", verb, resource, ns, user);

    } else if (status == 404) {
        aegis_kube_say(text, "404: namespace %.63s has no %s", ns, what);

    } else {
        aegis_kube_say(text, "%d at %s of %s: %.150s", status, verb, what,
                 message[0] ? message : "no reason given");
    }
}
