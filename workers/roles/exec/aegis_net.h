/*
 * aegis_net.h: one HTTP exchange at a time that never blocks: begun, polled,
 * over by its deadline. The connection is kept for the next one. No redirect,
 * no proxy of the environment, no body beyond its limit; TLS is verified.
 * For hosts that the configuration names; hosts that plans name are the http
 * adapter's to judge.
 */
#ifndef AEGIS_NET_H
#define AEGIS_NET_H

#include <stddef.h>
#include <stdint.h>

typedef struct aegis_net_s  aegis_net_t;

/* Who we are and whom we believe; each may be NULL. PEM texts. */
typedef struct {
    const char  *ca;                    /* NULL: the system's */
    const char  *cert;
    const char  *key;
    const char  *token;                 /* bearer */
} aegis_net_trust_t;

typedef struct {
    const char  *method;                /* GET, PATCH */
    const char  *url;                   /* https; http only with plain */
    int          plain;
    const char  *type;                  /* of body */
    const char  *body;                  /* NULL: none; copied */
    size_t       body_max;              /* of the answer */
    int64_t      timeout_ms;            /* connect included */
    int          fresh;                 /* on a connection of its own */
} aegis_net_request_t;

typedef enum { AEGIS_NET_IDLE, AEGIS_NET_BUSY, AEGIS_NET_ANSWER, AEGIS_NET_BROKEN } aegis_net_state_t;

/* NULL: no memory. */
aegis_net_t *aegis_net_new(void);
void aegis_net_free(aegis_net_t *net);

/* Begin; what was there of another exchange is dropped. 0: error says why. */
int aegis_net_begin(aegis_net_t *net, const aegis_net_trust_t *trust,
    const aegis_net_request_t *request);

/* Go on: BUSY, ANSWER (any status) or BROKEN (error says why). */
aegis_net_state_t aegis_net_poll(aegis_net_t *net);

/* Of an ANSWER, valid until the next begin. The body ends with a NUL. */
int aegis_net_status(const aegis_net_t *net);
const char *aegis_net_body(const aegis_net_t *net, size_t *ret_len);
int64_t aegis_net_retry_after_ms(const aegis_net_t *net);      /* 0: not said */
int64_t aegis_net_elapsed_ms(const aegis_net_t *net);

/* Of a BROKEN one. untrusted: a certificate or key is no good, theirs or ours.
 * sent: the request may have reached the other side. */
const char *aegis_net_error(const aegis_net_t *net);
int aegis_net_untrusted(const aegis_net_t *net);
int aegis_net_sent(const aegis_net_t *net);

#endif
