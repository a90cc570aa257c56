/*
 * aegis_kube_access.h: how the executor reaches the Kubernetes API and who it
 * is there: out of a kubeconfig, or of the folder that a pod's service account
 * is mounted at. Read anew for each act and after each 401, because tokens
 * and certificates are replaced while we run.
 */
#ifndef AEGIS_KUBE_ACCESS_H
#define AEGIS_KUBE_ACCESS_H

#include "aegis_error.h"
#include "aegis_net.h"

#define AEGIS_KUBE_SERVER  512

typedef struct {
    char   server[AEGIS_KUBE_SERVER];   /* https://host:port, without a / behind */
    char  *ca;                          /* PEM, or NULL: the system's */
    char  *cert;
    char  *key;
    char  *token;
} aegis_kube_access_t;

/*
 * kubeconfig "": the service account in folder; server "": what the
 * environment of a pod says. context "": the kubeconfig's current one.
 */
aegis_code_t aegis_kube_access(const char *kubeconfig, const char *context,
    const char *folder, const char *server, aegis_kube_access_t *ret, aegis_error_t *err);

/* The secrets are wiped. */
void aegis_kube_access_free(aegis_kube_access_t *access);

/* Borrowed from access. */
aegis_net_trust_t aegis_kube_trust(const aegis_kube_access_t *access);

#endif
