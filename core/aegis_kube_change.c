/*
 * aegis_kube_change.c: the patch that makes a step's change to a workload.
 * Invariants: every patch names the resourceVersion that was looked at and
 * carries the step's key, so that it is applied once; a container that is not
 * there is never made. The way back is aegis_kube_history.c.
 */
#include "aegis_kube_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_KUBE_RESTARTED  "kubectl.kubernetes.io/restartedAt"
#define AEGIS_KUBE_STRATEGIC  "application/strategic-merge-patch+json"

json_t *
aegis_kube_meta(const json_t *object, const char *name)
{
    return json_object_get(json_object_get(object, "metadata"), name);
}

const char *
aegis_kube_note(const json_t *object, const char *name)
{
    return aegis_json_str(aegis_kube_meta(object, "annotations"), name);
}

int
aegis_kube_listed(const char *list, const char *word, char sep)
{
    size_t       n;
    const char  *p;

    n = strlen(word);

    for (p = list; n > 0 && (p = strstr(p, word)) != NULL; p += n) {
        if ((p == list || p[-1] == sep) && (p[n] == sep || p[n] == '\0')) {
            return 1;
        }
    }

    return 0;
}

int
aegis_kube_marked(const json_t *object, const char *key)
{
    return aegis_kube_listed(aegis_kube_note(object, AEGIS_KUBE_STEPS), key, ' ');
}

int
aegis_kube_ours(const aegis_kube_step_t *step, const json_t *object)
{
    return strcmp(aegis_kube_note(object, AEGIS_KUBE_RUN), step->exec_id) == 0;
}

json_int_t
aegis_kube_wanted(const json_t *object)
{
    json_t  *n;

    n = json_object_get(json_object_get(object, "spec"), "replicas");
    return json_is_integer(n) ? json_integer_value(n) : 1;
}

int
aegis_kube_needs_history(const aegis_kube_step_t *step, const json_t *object)
{
    if (aegis_kube_marked(object, step->key)) {
        return 0;
    }

    if (step->verb == AEGIS_KUBE_ROLLBACK) {
        return !step->undo || aegis_kube_ours(step, object);
    }

    /* it is the only kind that does not say which revision it is at */
    return step->kind == AEGIS_KUBE_DAEMONSET && !aegis_kube_ours(step, object);
}

/* The newest key in front; the oldest, and what is no key, are dropped. */
static void
aegis_kube_keys(const char *old, const char *key, char *out, size_t size)
{
    int     n;
    size_t  len, used;

    used = (size_t) snprintf(out, size, "%.64s", key);

    for (n = 1; *old && n < AEGIS_KUBE_KEYS; old += len + (old[len] == ' ')) {
        len = strcspn(old, " ");
        if (len > 0 && len <= 64 && used + len + 2 <= size) {
            used += (size_t) snprintf(out + used, size - used, " %.*s", (int) len, old);
            n++;
        }
    }
}

json_t *
aegis_kube_marks(const aegis_kube_step_t *step, const json_t *object, const json_t *history)
{
    char     keys[(64 + 1) * AEGIS_KUBE_KEYS], *text;
    json_t  *before, *marks;

    aegis_kube_keys(aegis_kube_note(object, AEGIS_KUBE_STEPS), step->key, keys, sizeof(keys));

    marks = json_pack("{s:s, s:s}", AEGIS_KUBE_STEPS, keys, AEGIS_KUBE_RUN, step->exec_id);

    if (!aegis_kube_ours(step, object)) {
        before = json_pack("{s:s, s:I}", "revision", aegis_kube_at(step, object, history),
                           "replicas", aegis_kube_wanted(object));
        text = aegis_json_text(before);
        json_object_set_new(marks, AEGIS_KUBE_BEFORE, json_string(text ? text : "{}"));
        free(text);
        json_decref(before);
    }

    return marks;
}

void
aegis_kube_end(aegis_kube_change_t *ret, aegis_kube_change_kind_t kind, const char *text)
{
    ret->kind = kind;
    ret->body = NULL;
    aegis_kube_say(ret->text, "%s", text);
}

void
aegis_kube_merge(const aegis_kube_step_t *step, const json_t *object, const json_t *history,
    json_t *spec, aegis_kube_change_t *ret)
{
    ret->type = AEGIS_KUBE_STRATEGIC;
    ret->body = json_pack("{s:{s:s, s:o}, s:o}", "metadata", "resourceVersion",
                          aegis_json_str(json_object_get(object, "metadata"),
                                         "resourceVersion"),
                          "annotations", aegis_kube_marks(step, object, history),
                          "spec", spec);
    if (ret->body == NULL) {
        aegis_kube_end(ret, AEGIS_KUBE_REFUSED, "no memory");
    } else {
        ret->kind = AEGIS_KUBE_PATCH;
    }
}

static void
aegis_kube_restart(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret)
{
    aegis_kube_say(ret->text, "restarts its pods");
    aegis_kube_merge(step, object, history,
                     json_pack("{s:{s:{s:{s:s}}}}", "template", "metadata", "annotations",
                               AEGIS_KUBE_RESTARTED, step->now), ret);
}

static void
aegis_kube_scale(const aegis_kube_step_t *step, const json_t *object, const json_t *history,
    aegis_kube_change_t *ret)
{
    json_int_t  from, to;

    if (step->kind == AEGIS_KUBE_DAEMONSET) {
        aegis_kube_end(ret, AEGIS_KUBE_REFUSED, "a daemonset has no replicas to set");
        return;
    }

    from = aegis_kube_wanted(object);
    to = json_integer_value(json_object_get(step->params, "replicas"));
    aegis_kube_say(ret->text, "replicas from %lld to %lld", (long long) from,
             (long long) to);

    if (from == to) {
        ret->kind = AEGIS_KUBE_SAME;
        return;
    }

    aegis_kube_merge(step, object, history, json_pack("{s:I}", "replicas", to), ret);
}

/* The container of this name ("": the only one) in list, containers or
 * initContainers of a pod template. */
static const json_t *
aegis_kube_container(const json_t *object, const char *list, const char *name)
{
    size_t   i;
    json_t  *all, *c;

    all = json_object_get(object, "spec");
    all = json_object_get(json_object_get(all, "template"), "spec");
    all = json_object_get(all, list);

    if (name[0] == '\0') {
        return json_array_size(all) == 1 ? json_array_get(all, 0) : NULL;
    }

    json_array_foreach(all, i, c) {
        if (strcmp(aegis_json_str(c, "name"), name) == 0) {
            return c;
        }
    }

    return NULL;
}

static void
aegis_kube_set_image(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret)
{
    const char    *name, *image, *list;
    const json_t  *c;

    name = aegis_json_str(step->params, "container");
    image = aegis_json_str(step->params, "image");

    list = "containers";
    c = aegis_kube_container(object, list, name);
    if (c == NULL && name[0] != '\0') {
        list = "initContainers";
        c = aegis_kube_container(object, list, name);
    }

    if (c == NULL) {
        ret->kind = AEGIS_KUBE_REFUSED;
        aegis_kube_say(ret->text, name[0] ? "it has no container %.100s"
                 : "it has several containers: params.container has to name one", name);
        return;
    }

    aegis_kube_say(ret->text, "image of %.63s from %.80s to %.80s",
             aegis_json_str(c, "name"), aegis_json_str(c, "image"), image);

    if (strcmp(aegis_json_str(c, "image"), image) == 0) {
        ret->kind = AEGIS_KUBE_SAME;
        return;
    }

    aegis_kube_merge(step, object, history,
                     json_pack("{s:{s:{s:[{s:s, s:s}]}}}", "template", "spec", list,
                               "name", aegis_json_str(c, "name"), "image", image), ret);
}

/* What nobody can change now; NULL: it can be. */
static const char *
aegis_kube_barred(const aegis_kube_step_t *step, const json_t *object)
{
    const json_t  *spec;

    spec = json_object_get(object, "spec");

    if (aegis_kube_meta(object, "deletionTimestamp") != NULL) {
        return "it is being deleted";
    }

    if (step->verb == AEGIS_KUBE_SCALE) {
        return NULL;
    }

    if (step->kind == AEGIS_KUBE_DEPLOYMENT) {
        return json_is_true(json_object_get(spec, "paused"))
               ? "its rollout is paused: resume it first" : NULL;
    }

    return strcmp(aegis_json_str(json_object_get(spec, "updateStrategy"), "type"),
                  "OnDelete") == 0
           ? "its updateStrategy is OnDelete: its pods would stay as they are" : NULL;
}

void
aegis_kube_change(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret)
{
    const char    *barred;
    const json_t  *seen;

    static void (*const  verbs[])(const aegis_kube_step_t *, const json_t *,
        const json_t *, aegis_kube_change_t *) =
    {
        aegis_kube_restart, aegis_kube_rollback, aegis_kube_scale, aegis_kube_set_image
    };

    memset(ret, 0, sizeof(*ret));

    if (aegis_kube_marked(object, step->key)) {
        aegis_kube_end(ret, AEGIS_KUBE_APPLIED, "this step has been applied before");
        return;
    }

    barred = aegis_kube_barred(step, object);
    if (barred != NULL) {
        aegis_kube_end(ret, AEGIS_KUBE_REFUSED, barred);
        return;
    }

    seen = json_object_get(json_object_get(object, "status"), "observedGeneration");
    if (json_integer_value(seen) < json_integer_value(aegis_kube_meta(object, "generation"))) {
        aegis_kube_end(ret, AEGIS_KUBE_UNSETTLED,
                          "its controller has not seen its last change");
        return;
    }

    verbs[step->verb](step, object, history, ret);
}
