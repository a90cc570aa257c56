/*
 * aegis_access.c: scopes against scopes, and the rows of refusals.def. Its
 * invariant: nothing is allowed that was not said; an empty list, an empty
 * scope and a * in the middle of one allow nothing.
 */
#include "aegis_access.h"
#include "aegis_route.h"

#include <string.h>
#include <strings.h>

static const aegis_refusal_def_t  aegis_refusals[] = {
#define AEGIS_REFUSAL(id, name, error, sentence)  { name, AEGIS_E_##error, sentence },
#include "tables/refusals.def"
#undef AEGIS_REFUSAL
};

static const char *const  aegis_event_scopes[] = {
#define AEGIS_EVENT(name, scope, sentence)  scope,
#include "tables/events.def"
#undef AEGIS_EVENT
};


const aegis_refusal_def_t *
aegis_refusal_def(aegis_refusal_t why)
{
    return &aegis_refusals[(unsigned) why < AEGIS_N_REFUSALS ? why : AEGIS_R_NONE];
}


const char *
aegis_event_scope(aegis_event_id_t event)
{
    return (unsigned) event < AEGIS_N_EVENTS ? aegis_event_scopes[event] : "";
}


int
aegis_principal_reserved(aegis_str_t principal)
{
    return principal.len >= 6 && strncasecmp(principal.data, "aegis:", 6) == 0;
}


/* Does scope end in :*, or is it *? Then *ret_len is what stands before the *. */
static int
aegis_scope_wild(const char *scope, size_t len, size_t *ret_len)
{
    if (len == 0 || scope[len - 1] != '*' || (len > 1 && scope[len - 2] != ':')) {
        return 0;
    }

    *ret_len = len - 1;

    return 1;
}


static int
aegis_scope_covers(const char *granted, size_t len, const char *needed, size_t n)
{
    size_t  head;

    if (len == n && memcmp(granted, needed, n) == 0) {
        return 1;
    }

    if (aegis_scope_wild(granted, len, &head)) {
        return n > head && memcmp(granted, needed, head) == 0;
    }

    return n > 1 && aegis_scope_wild(needed, n, &head)
           && len > head && memcmp(granted, needed, head) == 0;
}


int
aegis_scope_allows(aegis_str_t granted, const char *needed)
{
    size_t  i, from, n;

    n = strlen(needed);
    if (granted.data == NULL || n == 0) {
        return 0;
    }

    for (i = 0, from = 0; i <= granted.len; i++) {
        if (i < granted.len && granted.data[i] != ',' && granted.data[i] != ' ') {
            continue;
        }

        if (aegis_scope_covers(granted.data + from, i - from, needed, n)) {
            return 1;
        }

        from = i + 1;
    }

    return 0;
}


int
aegis_scope_known(aegis_str_t scope)
{
    size_t       i;
    const char  *s;

    if (scope.data == NULL || scope.len == 0
        || memchr(scope.data, ',', scope.len) || memchr(scope.data, ' ', scope.len))
    {
        return 0;
    }

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        s = aegis_route(i)->scope;
        if (*s && s[strlen(s) - 1] != '*' && aegis_scope_allows(scope, s)) {
            return 1;
        }
    }

    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        if (aegis_scope_allows(scope, aegis_event_scopes[i])) {
            return 1;
        }
    }

    return 0;
}
