/*
 * aegis_allow.h: who may be called when somebody else names the URL: hosts that
 * the configuration lists, at addresses that the Internet routes or that the
 * configuration allows besides. What calls asks twice: about the URL before, and
 * about the address when the socket to it is made.
 */
#ifndef AEGIS_ALLOW_H
#define AEGIS_ALLOW_H

#include <sys/socket.h>

#include "aegis_error.h"

#define AEGIS_ALLOW_HOST  256

typedef struct aegis_allow_s  aegis_allow_t;

typedef struct {
    char      scheme[8];                /* http, https */
    char      host[AEGIS_ALLOW_HOST];   /* as libcurl reads it: 127.1 is 127.0.0.1 */
    unsigned  port;
} aegis_allow_url_t;

/* Lists as the settings have them; name is the first one's, the second's is it with
 * _private behind. NULL and err: what is there is no list of hosts, or of ranges. */
aegis_allow_t *aegis_allow_new(const char *name, const char *hosts, const char *ranges,
    aegis_error_t *err);
void aegis_allow_free(aegis_allow_t *allow);        /* NULL is fine */

/* The parts of a URL; 0: it is none that may be called, and why says so. allow NULL:
 * none may. */
int aegis_allow_url(const aegis_allow_t *allow, const char *text, aegis_allow_url_t *ret,
    char why[128]);

/* NULL when one may connect to it, else what kind of address it is. text is it as
 * a person reads it. */
const char *aegis_allow_address(const aegis_allow_t *allow, const struct sockaddr *sa,
    char text[64]);

#endif
