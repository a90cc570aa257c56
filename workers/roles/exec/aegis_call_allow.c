/*
 * aegis_call_allow.c: who may be called: hosts of http.allow, at addresses of the
 * Internet or of http.allow_private.
 * Invariants: a name is compared as libcurl will use it, after its URL parser, so
 * that no spelling differs between the check and the call; an address is
 * judged when the socket to it is made, and by nothing that was looked up before.
 */
#include "aegis_call.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "aegis_addr.h"

#define AEGIS_CALL_HOSTS   256
#define AEGIS_CALL_RANGES  64

typedef struct {
    aegis_call_url_t    hosts[AEGIS_CALL_HOSTS];    /* "*" and "*.x" stand for more */
    size_t              n_hosts;
    aegis_addr_range_t  ranges[AEGIS_CALL_RANGES];
    size_t              n_ranges;
} aegis_call_allowed_t;

static aegis_call_allowed_t  *aegis_call_allowed;

/* The next word of a list that blanks and commas separate; 0: its end. */
static int
aegis_call_word(const char **list, char *buf, size_t size)
{
    size_t  n;

    *list += strspn(*list, ", \t");
    n = strcspn(*list, ", \t");
    snprintf(buf, size, "%.*s", (int) n, *list);
    *list += n;

    return n > 0;
}

static int
aegis_call_range(const char *text, aegis_addr_range_t *r)
{
    char  copy[64], *slash, *end;
    long  bits;

    memset(r, 0, sizeof(*r));
    snprintf(copy, sizeof(copy), "%.63s", text);
    slash = strchr(copy, '/');
    if (slash) {
        *slash++ = '\0';
    }

    if (inet_pton(AF_INET, copy, r->bytes) == 1) {
        r->len = 4;
    } else if (inet_pton(AF_INET6, copy, r->bytes) == 1) {
        r->len = 16;
    } else {
        return 0;
    }

    bits = slash ? strtol(slash, &end, 10) : r->len * 8;
    r->bits = (int) bits;
    return slash == NULL || (end != slash && *end == '\0' && bits >= 0 && bits <= r->len * 8);
}

/* "host", "https://host:8443", "http://host", "*.example.com", "*" */
static int
aegis_call_host(const char *text, aegis_call_url_t *h)
{
    char        *colon, *end;
    long         port;
    const char  *host;

    host = strstr(text, "://");
    snprintf(h->scheme, sizeof(h->scheme), "%.*s",
             host && host - text < 7 ? (int) (host - text) : 5, host ? text : "https");
    if (strcmp(h->scheme, "http") != 0 && strcmp(h->scheme, "https") != 0) {
        return 0;
    }

    snprintf(h->host, sizeof(h->host), "%s", host ? host + 3 : text);
    h->port = strcmp(h->scheme, "http") == 0 ? 80 : 443;

    /* an IPv6 address has its port behind the bracket */
    colon = strrchr(h->host, ':');
    if (colon && (h->host[0] != '[' || colon[-1] == ']')) {
        *colon = '\0';
        port = strtol(colon + 1, &end, 10);
        if (*end != '\0' || port < 1 || port > 65535) {
            return 0;
        }
        h->port = (unsigned) port;
    }

    return h->host[0] != '\0' && strpbrk(h->host, "/@?#\\") == NULL;
}

int
aegis_call_allow(const char *hosts, const char *ranges, aegis_error_t *err)
{
    char                   word[AEGIS_CALL_HOST];
    const char            *wrong;
    aegis_call_allowed_t  *a;

    a = calloc(1, sizeof(aegis_call_allowed_t));
    if (a == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return 0;
    }

    wrong = NULL;
    while (wrong == NULL && aegis_call_word(&hosts, word, sizeof(word))) {
        if (a->n_hosts == AEGIS_CALL_HOSTS || !aegis_call_host(word, &a->hosts[a->n_hosts++])) {
            wrong = "http.allow";
        }
    }
    while (wrong == NULL && aegis_call_word(&ranges, word, sizeof(word))) {
        if (a->n_ranges == AEGIS_CALL_RANGES
            || !aegis_call_range(word, &a->ranges[a->n_ranges++]))
        {
            wrong = "http.allow_private";
        }
    }

    if (wrong) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s: %s does not fit, or there are too many",
                        wrong, word);
        free(a);
        return 0;
    }

    aegis_call_allow_free();
    aegis_call_allowed = a;
    return 1;
}

void
aegis_call_allow_free(void)
{
    free(aegis_call_allowed);
    aegis_call_allowed = NULL;
}

static int
aegis_call_host_fits(const char *pattern, const char *host)
{
    size_t  n, len;

    if (strcmp(pattern, "*") == 0) {
        return 1;
    }
    if (strncmp(pattern, "*.", 2) != 0) {
        return strcasecmp(pattern, host) == 0;
    }

    /* of a subdomain, not of the domain itself */
    n = strlen(pattern) - 1;
    len = strlen(host);
    return len > n && strcasecmp(host + len - n, pattern + 1) == 0;
}

/* The parts of a URL by libcurl's own parser. */
static int
aegis_call_parse(const char *text, aegis_call_url_t *u, char why[128])
{
    char   *scheme, *host, *port, *user;
    CURLU  *url;

    url = curl_url();
    scheme = host = port = user = NULL;
    snprintf(why, 128, "params.url is not a URL that can be called");

    if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK
        && curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK
        && curl_url_get(url, CURLUPART_USER, &user, 0) != CURLUE_OK
        && strlen(host) < AEGIS_CALL_HOST)
    {
        why[0] = '\0';
        snprintf(u->scheme, sizeof(u->scheme), "%s", scheme);
        snprintf(u->host, sizeof(u->host), "%s", host);
        u->port = (unsigned) strtoul(port, NULL, 10);
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(url);

    return why[0] == '\0';
}

int
aegis_call_url(const char *text, aegis_call_url_t *u, char why[128])
{
    size_t                   i;
    const char              *p;
    const aegis_call_url_t  *h;

    for (p = text; *p; p++) {
        if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 127 || *p == '\\') {
            snprintf(why, 128, "params.url has a character that URLs do not have");
            return 0;
        }
    }

    if (!aegis_call_parse(text, u, why)) {
        return 0;
    }

    for (i = 0; aegis_call_allowed && i < aegis_call_allowed->n_hosts; i++) {
        h = &aegis_call_allowed->hosts[i];
        if (strcmp(h->scheme, u->scheme) == 0 && h->port == u->port
            && aegis_call_host_fits(h->host, u->host))
        {
            return 1;
        }
    }

    snprintf(why, 128, "http.allow does not allow %s://%.60s:%u", u->scheme, u->host, u->port);
    return 0;
}

const char *
aegis_call_address(const struct sockaddr *sa, char text[64])
{
    int                         len;
    size_t                      i;
    const unsigned char        *bytes;
    const struct sockaddr_in   *in;
    const struct sockaddr_in6  *in6;

    if (sa->sa_family == AF_INET) {
        in = (const struct sockaddr_in *) (const void *) sa;
        bytes = (const unsigned char *) &in->sin_addr;
        len = 4;
    } else if (sa->sa_family == AF_INET6) {
        in6 = (const struct sockaddr_in6 *) (const void *) sa;
        bytes = (const unsigned char *) &in6->sin6_addr;
        len = 16;
    } else {
        snprintf(text, 64, "?");
        return "no Internet";
    }

    (void) inet_ntop(sa->sa_family, bytes, text, 64);

    for (i = 0; aegis_call_allowed && i < aegis_call_allowed->n_ranges; i++) {
        if (aegis_addr_in(&aegis_call_allowed->ranges[i], bytes, len)) {
            return NULL;
        }
    }

    return aegis_addr_special(bytes, len);
}
