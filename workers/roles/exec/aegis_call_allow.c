/*
 * aegis_call_allow.c: who may be called by http.call: hosts of http.allow, at
 * addresses of the Internet or of http.allow_private. What a list means is
 * workers/lib/aegis_allow.c.
 */
#include "aegis_call.h"

#include <stdio.h>
#include <string.h>

static aegis_allow_t  *aegis_call_allowed;

int
aegis_call_allow(const char *hosts, const char *ranges, aegis_error_t *err)
{
    aegis_allow_t  *a;

    a = aegis_allow_new("http.allow", hosts, ranges, err);
    if (a == NULL) {
        return 0;
    }

    aegis_call_allow_free();
    aegis_call_allowed = a;
    return 1;
}

void
aegis_call_allow_free(void)
{
    aegis_allow_free(aegis_call_allowed);
    aegis_call_allowed = NULL;
}

int
aegis_call_url(const char *text, aegis_call_url_t *ret, char why[128])
{
    char  reason[128];

    if (aegis_allow_url(aegis_call_allowed, text, ret, reason)) {
        return 1;
    }

    /* what is wrong with the URL itself is wrong with the parameter */
    if (strncmp(reason, "it ", 3) == 0) {
        snprintf(why, 128, "params.url %.110s", reason + 3);
    } else {
        snprintf(why, 128, "%s", reason);
    }
    return 0;
}

const char *
aegis_call_address(const struct sockaddr *sa, char text[64])
{
    return aegis_allow_address(aegis_call_allowed, sa, text);
}
