/*
 * aegis_kube_history.c: the history of a workload, and the way back in it: a
 * Deployment's ReplicaSets, the ControllerRevisions of the others.
 * Invariant: a rollback of a run restores what was there before this run, and
 * changes nothing when the run has changed nothing.
 */
#include "aegis_kube_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_KUBE_HASH       "pod-template-hash"
#define AEGIS_KUBE_REVISION   "deployment.kubernetes.io/revision"
#define AEGIS_KUBE_REVISIONS  "deployment.kubernetes.io/revision-history"

/* What was there before this run: a new reference, {} when nobody knows. */
static json_t *
aegis_kube_before(const aegis_kube_step_t *step, const json_t *object)
{
    json_t        *before;
    aegis_str_t    s;
    const char    *text;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    text = aegis_kube_note(object, AEGIS_KUBE_BEFORE);
    s = aegis_view(text);
    before = NULL;

    if (!aegis_kube_ours(step, object)
        || aegis_json_parse(s, &before, &err) != AEGIS_E_OK)
    {
        before = json_object();
    }

    aegis_error_clear(&err);
    return before;
}

/* The revision of one entry of a history; 0: it is not object's, or has none. */
static json_int_t
aegis_kube_entry(const aegis_kube_step_t *step, const json_t *object, const json_t *entry)
{
    size_t       i;
    json_t      *owners, *o;
    const char  *uid;

    uid = aegis_json_str(json_object_get(object, "metadata"), "uid");
    owners = aegis_kube_meta(entry, "ownerReferences");

    json_array_foreach(owners, i, o) {
        if (json_is_true(json_object_get(o, "controller"))
            && strcmp(aegis_json_str(o, "uid"), uid) == 0)
        {
            return step->kind == AEGIS_KUBE_DEPLOYMENT
                   ? strtoll(aegis_kube_note(entry, AEGIS_KUBE_REVISION), NULL, 10)
                   : json_integer_value(json_object_get(entry, "revision"));
        }
    }

    return 0;
}

/* The entry with the greatest revision below limit. */
static const json_t *
aegis_kube_latest(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, json_int_t limit, json_int_t *ret_revision)
{
    size_t         i;
    json_t        *entry;
    json_int_t     n, best;
    const json_t  *found;

    best = 0;
    found = NULL;

    json_array_foreach(json_object_get(history, "items"), i, entry) {
        n = aegis_kube_entry(step, object, entry);
        if (n > best && n < limit) {
            best = n;
            found = entry;
        }
    }

    *ret_revision = best;
    return found;
}

/* The entry that was called name when it was written down: a Deployment's
 * revisions are renumbered when they are used again, and say what they were. */
static const json_t *
aegis_kube_named(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, const char *name)
{
    size_t   i;
    json_t  *entry;

    json_array_foreach(json_object_get(history, "items"), i, entry) {
        if (aegis_kube_entry(step, object, entry) == 0) {
            continue;
        }

        if (step->kind != AEGIS_KUBE_DEPLOYMENT) {
            if (strcmp(aegis_json_str(json_object_get(entry, "metadata"), "name"), name) == 0)
            {
                return entry;
            }

        } else if (strcmp(aegis_kube_note(entry, AEGIS_KUBE_REVISION), name) == 0
                   || aegis_kube_listed(aegis_kube_note(entry, AEGIS_KUBE_REVISIONS), name,
                                        ','))
        {
            return entry;
        }
    }

    return NULL;
}

const char *
aegis_kube_at(const aegis_kube_step_t *step, const json_t *object, const json_t *history)
{
    json_int_t     n;
    const json_t  *entry;

    switch (step->kind) {

    case AEGIS_KUBE_DEPLOYMENT:
        return aegis_kube_note(object, AEGIS_KUBE_REVISION);

    case AEGIS_KUBE_STATEFULSET:
        return aegis_json_str(json_object_get(object, "status"), "updateRevision");

    default:
        entry = aegis_kube_latest(step, object, history, INT64_MAX, &n);
        return aegis_json_str(json_object_get(entry, "metadata"), "name");
    }
}

/* A Deployment gets the template of a ReplicaSet, all of it: a merge could not
 * take anything away. replicas -1: as they are. */
static void
aegis_kube_restore_deployment(const aegis_kube_step_t *step, const json_t *object,
    const json_t *entry, json_int_t replicas, aegis_kube_change_t *ret)
{
    json_t  *template, *notes, *marks;

    marks = aegis_kube_marks(step, object, NULL);
    notes = json_deep_copy(aegis_kube_meta(object, "annotations"));
    if (notes == NULL) {
        notes = json_object();
    }
    json_object_update(notes, marks);
    json_decref(marks);

    ret->kind = AEGIS_KUBE_PATCH;
    ret->type = AEGIS_KUBE_JSON_PATCH;
    ret->body = json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:o}]",
                          "op", "replace", "path", "/metadata/resourceVersion", "value",
                          aegis_json_str(json_object_get(object, "metadata"),
                                         "resourceVersion"),
                          "op", "add", "path", "/metadata/annotations", "value", notes);

    if (entry != NULL) {
        template = json_deep_copy(json_object_get(json_object_get(entry, "spec"),
                                                  "template"));
        json_object_del(aegis_kube_meta(template, "labels"), AEGIS_KUBE_HASH);
        json_array_append_new(ret->body, json_pack("{s:s, s:s, s:o}", "op", "replace",
                              "path", "/spec/template", "value", template));
    }
    if (replicas >= 0) {
        json_array_append_new(ret->body, json_pack("{s:s, s:s, s:I}", "op", "add",
                              "path", "/spec/replicas", "value", replicas));
    }

    if (ret->body == NULL) {
        aegis_kube_end(ret, AEGIS_KUBE_REFUSED, "no memory");
    }
}

/* The others: a revision is a patch by itself. */
static void
aegis_kube_restore(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, const json_t *entry, json_int_t replicas,
    aegis_kube_change_t *ret)
{
    json_t  *spec;

    if (step->kind == AEGIS_KUBE_DEPLOYMENT) {
        aegis_kube_restore_deployment(step, object, entry, replicas, ret);
        return;
    }

    spec = json_deep_copy(json_object_get(json_object_get(entry, "data"), "spec"));
    if (spec == NULL) {
        spec = json_object();
    }
    if (replicas >= 0) {
        json_object_set_new(spec, "replicas", json_integer(replicas));
    }

    aegis_kube_merge(step, object, history, spec, ret);
}

/* What this run has changed, back. */
static void
aegis_kube_undo(const aegis_kube_step_t *step, const json_t *object, const json_t *history,
    aegis_kube_change_t *ret)
{
    json_t        *before, *n;
    json_int_t     replicas;
    const char    *revision;
    const json_t  *entry;

    if (!aegis_kube_ours(step, object)) {
        aegis_kube_end(ret, AEGIS_KUBE_SAME, "this run has not changed it");
        return;
    }

    before = aegis_kube_before(step, object);
    revision = aegis_json_str(before, "revision");
    n = json_object_get(before, "replicas");
    replicas = json_is_integer(n) && step->kind != AEGIS_KUBE_DAEMONSET
               && json_integer_value(n) != aegis_kube_wanted(object)
               ? json_integer_value(n) : -1;

    entry = aegis_kube_named(step, object, history, revision);
    if (entry == NULL) {
        ret->kind = AEGIS_KUBE_REFUSED;
        aegis_kube_say(ret->text, "revision %.100s, which it had before this"
                 " run, is not in its history any more", revision);
        json_decref(before);
        return;
    }

    if (entry == aegis_kube_named(step, object, history,
                                  aegis_kube_at(step, object, history)))
    {
        entry = NULL;
    }

    aegis_kube_say(ret->text, "back to what it was before this run: revision"
             " %.100s", revision);
    json_decref(before);

    if (entry == NULL && replicas < 0) {
        ret->kind = AEGIS_KUBE_SAME;
        return;
    }

    aegis_kube_restore(step, object, history, entry, replicas, ret);
}

void
aegis_kube_rollback(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret)
{
    char           name[32];
    json_t        *wanted;
    json_int_t     now, to, n;
    const json_t  *entry;

    wanted = json_object_get(step->params, "to_revision");
    if (step->undo && wanted == NULL) {
        aegis_kube_undo(step, object, history, ret);
        return;
    }

    (void) aegis_kube_latest(step, object, history, INT64_MAX, &now);
    to = json_integer_value(wanted);

    if (to == 0) {
        entry = aegis_kube_latest(step, object, history, now, &to);
    } else {
        entry = aegis_kube_latest(step, object, history, to + 1, &n);
        entry = n == to ? entry : NULL;
    }

    if (entry == NULL) {
        snprintf(name, sizeof(name), to ? "revision %lld" : "earlier revision",
                 (long long) to);
        ret->kind = AEGIS_KUBE_REFUSED;
        aegis_kube_say(ret->text, "its history has no %s", name);
        return;
    }

    aegis_kube_say(ret->text, "from revision %lld back to %lld",
             (long long) now, (long long) to);

    if (to == now) {
        ret->kind = AEGIS_KUBE_SAME;
        return;
    }

    aegis_kube_restore(step, object, history, entry, -1, ret);
}
