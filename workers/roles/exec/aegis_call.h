/*
 * aegis_call.h: what the files of the action `http.call` share: who may be
 * called, at which addresses, and how a call is signed.
 */
#ifndef AEGIS_CALL_H
#define AEGIS_CALL_H

#include <sys/socket.h>

#include "aegis_adapter.h"
#include "aegis_allow.h"
#include "aegis_buf.h"

#define AEGIS_CALL_HOST  AEGIS_ALLOW_HOST

typedef aegis_allow_url_t  aegis_call_url_t;

/* Take over http.allow and http.allow_private. 0 and err: what is there is no
 * list of hosts, or of ranges, and the old ones stay. */
int aegis_call_allow(const char *hosts, const char *ranges, aegis_error_t *err);
void aegis_call_allow_free(void);

/* The parts of a URL; 0: it is none that may be called, and why says so. */
int aegis_call_url(const char *text, aegis_call_url_t *ret, char why[128]);

/* NULL when one may connect to it, else what kind of address it is. text is it as
 * a person reads it. */
const char *aegis_call_address(const struct sockaddr *sa, char text[64]);

/* Take over the secrets of http.secret_file ("" for none). */
int aegis_call_secrets(const char *path, aegis_error_t *err);
void aegis_call_secrets_free(void);

/* The headers of Standard Webhooks, one line each; 0: there is no secret. */
int aegis_call_sign(const char *id, int64_t timestamp, aegis_str_t body,
    void (*add)(void *data, const char *line), void *data);

#endif
