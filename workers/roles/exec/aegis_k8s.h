/*
 * aegis_k8s.h: what the two files of the k8s adapter share:
 *   aegis_adapter_k8s.c  settings, what may be touched, begin and end of an act
 *   aegis_k8s_run.c      one act as a sequence of requests that never block
 */
#ifndef AEGIS_K8S_H
#define AEGIS_K8S_H

#include "aegis_adapter.h"
#include "aegis_kube.h"
#include "aegis_kube_access.h"

typedef enum {
    AEGIS_K8S_READ,                     /* the workload, before the change */
    AEGIS_K8S_HISTORY,                  /* its revisions */
    AEGIS_K8S_WRITE,                    /* the patch */
    AEGIS_K8S_WATCH                     /* the workload, until it is rolled out */
} aegis_k8s_at_t;

typedef enum {
    AEGIS_K8S_CHANGE,
    AEGIS_K8S_CHECK,                    /* all of it, but the API keeps nothing */
    AEGIS_K8S_RECOVER                   /* change nothing, wait for what was changed */
} aegis_k8s_mode_t;

typedef struct {
    aegis_kube_step_t     step;
    aegis_k8s_mode_t      mode;
    aegis_k8s_at_t        at;
    char                  key[37];
    char                  now[32];

    /* settings, as they were when the act began */
    char                 *kubeconfig;
    char                 *context;
    char                 *account_dir;
    char                 *server;
    int64_t               request_ms;

    aegis_kube_access_t   access;
    aegis_net_t          *net;
    int                   busy;         /* a request is out */
    int                   renewed;      /* the credential was read again after a 401 */
    int64_t               next_at;      /* no request before */
    int                   tries;        /* failed ones in a row */
    int                   conflicts;
    int                   polls;        /* in WATCH */
    int64_t               unsettled_at; /* since when, 0: it is not */
    unsigned              seed;

    json_t               *object;
    json_t               *history;
    aegis_kube_change_t   change;
    int                   doubt;        /* a patch may have been applied unseen */
    int                   applied;      /* its mark is on the object */
    int                   stopping;     /* cancel() came while a patch was out */
    int64_t               applied_at;
    json_int_t            generation;   /* that has to be rolled out */
    char                  uid[64];
    char                  stale[40];    /* of aegis_kube_progress() */
    char                  seen[AEGIS_KUBE_TEXT];
} aegis_k8s_t;

/* The counters that an alert looks at, from the start. */
void aegis_k8s_metrics(void);

/* The act ends, and says what is left. */
void aegis_k8s_stopped(aegis_act_t *act);
void aegis_k8s_timeout(aegis_act_t *act);

void aegis_k8s_poll(aegis_act_t *act);
void aegis_k8s_cancel(aegis_act_t *act, int now);

#endif
