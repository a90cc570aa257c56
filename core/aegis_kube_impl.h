/*
 * aegis_kube_impl.h: what the files of aegis_kube share.
 */
#ifndef AEGIS_KUBE_IMPL_H
#define AEGIS_KUBE_IMPL_H

#include "aegis_kube.h"

#define AEGIS_KUBE_STEPS   "aegis.ops/steps"
#define AEGIS_KUBE_RUN     "aegis.ops/run"
#define AEGIS_KUBE_BEFORE  "aegis.ops/before"

#define AEGIS_KUBE_JSON_PATCH  "application/json-patch+json"

/* printf, cut between characters. */
void aegis_kube_say(char text[AEGIS_KUBE_TEXT], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A member of metadata; an annotation, "" when it is not there. */
json_t *aegis_kube_meta(const json_t *object, const char *name);
const char *aegis_kube_note(const json_t *object, const char *name);

/* spec.replicas, 1 when it is absent as the API has it. */
json_int_t aegis_kube_wanted(const json_t *object);

/* Is word one of list's, which are separated by sep? */
int aegis_kube_listed(const char *list, const char *word, char sep);

/* Has this run changed the workload, and no other run since? */
int aegis_kube_ours(const aegis_kube_step_t *step, const json_t *object);

/* The revision that object is at, by a name that history keeps. */
const char *aegis_kube_at(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history);

/* The marks of this step, as annotations: a new reference. */
json_t *aegis_kube_marks(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history);

void aegis_kube_end(aegis_kube_change_t *ret, aegis_kube_change_kind_t kind,
    const char *text);

/* A strategic merge of spec, which it takes, with the marks. */
void aegis_kube_merge(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, json_t *spec, aegis_kube_change_t *ret);

void aegis_kube_rollback(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret);

#endif
