/*
 * aegis_kube.h: what is decided about Kubernetes workloads, pure: how far a
 * rollout is, which patch makes a step's change, what a refusal of the API
 * means. Requests are made by workers/roles/exec/aegis_adapter_k8s.c.
 *
 * A change and the mark of its step are one patch, bound to the version of the
 * object that was looked at. So a step is applied once whoever repeats it, and
 * a late request of a lost executor meets a 409. The marks are annotations:
 *   aegis.ops/steps   the last keys of steps, newest first
 *   aegis.ops/run     the run that changed it last
 *   aegis.ops/before  what was there before that run: {"revision","replicas"}
 */
#ifndef AEGIS_KUBE_H
#define AEGIS_KUBE_H

#include "aegis_error.h"

#define AEGIS_KUBE_TEXT   256
#define AEGIS_KUBE_KEYS   8

typedef enum {
    AEGIS_KUBE_DEPLOYMENT,
    AEGIS_KUBE_STATEFULSET,
    AEGIS_KUBE_DAEMONSET
} aegis_kube_kind_t;

typedef enum {
    AEGIS_KUBE_RESTART,
    AEGIS_KUBE_ROLLBACK,
    AEGIS_KUBE_SCALE,
    AEGIS_KUBE_SET_IMAGE
} aegis_kube_verb_t;

typedef enum {
    AEGIS_KUBE_WAIT,
    AEGIS_KUBE_DONE,
    AEGIS_KUBE_FAILED
} aegis_kube_progress_t;

/* A step, as far as it concerns one workload. */
typedef struct {
    aegis_kube_verb_t   verb;
    aegis_kube_kind_t   kind;
    const char         *ns;
    const char         *name;
    const char         *exec_id;
    const char         *key;            /* of the step: the same in each attempt */
    const char         *now;            /* RFC 3339, for restartedAt */
    int                 undo;           /* a step of the plan's rollback */
    const json_t       *params;
} aegis_kube_step_t;

typedef enum {
    AEGIS_KUBE_PATCH,                   /* send it */
    AEGIS_KUBE_APPLIED,                 /* this step has been applied before */
    AEGIS_KUBE_SAME,                    /* it is already as it should be */
    AEGIS_KUBE_UNSETTLED,               /* its controller has not seen the last change */
    AEGIS_KUBE_REFUSED                  /* text says why; trying again is no use */
} aegis_kube_change_kind_t;

typedef struct {
    aegis_kube_change_kind_t   kind;
    const char                *type;    /* Content-Type of the patch */
    json_t                    *body;    /* new reference, of a PATCH alone */
    char                       text[AEGIS_KUBE_TEXT];   /* what it does, or why not */
} aegis_kube_change_t;

/* "deployment" …; 0 when there is no such kind. NULL is a Deployment. */
int aegis_kube_kind(const char *name, aegis_kube_kind_t *ret_kind);
const char *aegis_kube_kind_name(aegis_kube_kind_t kind);
const char *aegis_kube_resource(aegis_kube_kind_t kind);        /* "deployments" */

/* "replicasets" or "controllerrevisions": where a kind's history is kept. */
const char *aegis_kube_history(aegis_kube_kind_t kind);

/* A name that may stand in a path of the API (RFC 1123 subdomain). */
int aegis_kube_name_valid(const char *name);

/* Does this step need the history, beside the workload itself? */
int aegis_kube_needs_history(const aegis_kube_step_t *step, const json_t *object);

/* spec.selector as the query's labelSelector, not escaped, malloc'ed; NULL: it
 * has none, or one that cannot be written. */
char *aegis_kube_selector(const json_t *object);

/*
 * What the step makes of object, as it was read. history: the List of
 * aegis_kube_history(), NULL when it is not needed. NULL memory is REFUSED.
 */
void aegis_kube_change(const aegis_kube_step_t *step, const json_t *object,
    const json_t *history, aegis_kube_change_t *ret);

/* How far the rollout of generation, or a later one, is, with a sentence about
 * it. stale: the time of an exceeded progress deadline that was there before the change and does not
 * count, as aegis_kube_exceeded() says it; "" for none. */
aegis_kube_progress_t aegis_kube_progress(aegis_kube_kind_t kind, const json_t *object,
    json_int_t generation, const char *stale, char text[AEGIS_KUBE_TEXT]);

json_int_t aegis_kube_generation(const json_t *object);

/* When object's progress deadline was exceeded, "" when it was not. Borrowed. */
const char *aegis_kube_exceeded(const json_t *object);

/* Is key among the marks of object? */
int aegis_kube_marked(const json_t *object, const char *key);

/*
 * A refusal (status 400 or more) in words: what is missing, and whom to grant
 * it. verb: get, list or patch; resource: deployments …; name may be NULL.
 * body: the answer's JSON, NULL when it was none.
 */
void aegis_kube_refusal(int status, const char *verb, const char *resource,
    const char *ns, const char *name, const json_t *body, char text[AEGIS_KUBE_TEXT]);

#endif
