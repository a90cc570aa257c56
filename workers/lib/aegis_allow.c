/*
 * aegis_allow.c: who may be called: hosts of a list, at addresses of the Internet
 * or of ranges that are allowed besides.
 * Invariants: a name is compared as libcurl will use it, after its URL parser, so
 * that no spelling differs between the check and the call; an address is
 * judged when the socket to it is made, and by nothing that was looked up before.
 */
#include "aegis_allow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "aegis_addr.h"

#define AEGIS_ALLOW_HOSTS   256
#define AEGIS_ALLOW_RANGES  64

struct aegis_allow_s {
    aegis_allow_url_t    hosts[AEGIS_ALLOW_HOSTS];    /* "*" and "*.x" stand for more */
    size_t              n_hosts;
    aegis_addr_range_t  ranges[AEGIS_ALLOW_RANGES];
    size_t              n_ranges;
    char                name[64];
};

/* The next word of a list that blanks and commas separate; 0: its end. */
static int
aegis_allow_word(const char **list, char *buf, size_t size)
{
    size_t  n;

    *list += strspn(*list, ", \t");
    n = strcspn(*list, ", \t");
    snprintf(buf, size, "%.*s", (int) n, *list);
    *list += n;

    return n > 0;
}

static int
aegis_allow_range(const char *text, aegis_addr_range_t *r)
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
aegis_allow_host(const char *text, aegis_allow_url_t *h)
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

aegis_allow_t *
aegis_allow_new(const char *name, const char *hosts, const char *ranges, aegis_error_t *err)
{
    char            word[AEGIS_ALLOW_HOST];
    const char     *wrong;
    aegis_allow_t  *a;

    a = calloc(1, sizeof(aegis_allow_t));
    if (a == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return NULL;
    }

    snprintf(a->name, sizeof(a->name), "%s", name);

    wrong = NULL;
    while (wrong == NULL && aegis_allow_word(&hosts, word, sizeof(word))) {
        if (a->n_hosts == AEGIS_ALLOW_HOSTS || !aegis_allow_host(word, &a->hosts[a->n_hosts++])) {
            wrong = "";
        }
    }
    while (wrong == NULL && aegis_allow_word(&ranges, word, sizeof(word))) {
        if (a->n_ranges == AEGIS_ALLOW_RANGES
            || !aegis_allow_range(word, &a->ranges[a->n_ranges++]))
        {
            wrong = "_private";
        }
    }

    if (wrong) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s%s: %s does not fit, or there are too many",
                        name, wrong, word);
        free(a);
        return NULL;
    }

    return a;
}

void
aegis_allow_free(aegis_allow_t *allow)
{
    free(allow);
}

static int
aegis_allow_host_fits(const char *pattern, const char *host)
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
aegis_allow_parse(const char *text, aegis_allow_url_t *u, char why[128])
{
    char   *scheme, *host, *port, *user;
    CURLU  *url;

    url = curl_url();
    scheme = host = port = user = NULL;
    snprintf(why, 128, "it is not a URL that can be called");

    if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK
        && curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK
        && curl_url_get(url, CURLUPART_USER, &user, 0) != CURLUE_OK
        && strlen(host) < AEGIS_ALLOW_HOST)
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
aegis_allow_url(const aegis_allow_t *allow, const char *text, aegis_allow_url_t *u, char why[128])
{
    size_t                   i;
    const char              *p;
    const aegis_allow_url_t  *h;

    for (p = text; *p; p++) {
        if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 127 || *p == '\\') {
            snprintf(why, 128, "it has a character that URLs do not have");
            return 0;
        }
    }

    if (!aegis_allow_parse(text, u, why)) {
        return 0;
    }

    for (i = 0; allow && i < allow->n_hosts; i++) {
        h = &allow->hosts[i];
        if (strcmp(h->scheme, u->scheme) == 0 && h->port == u->port
            && aegis_allow_host_fits(h->host, u->host))
        {
            return 1;
        }
    }

    snprintf(why, 128, "%.24s does not allow %s://%.60s:%u",
             allow ? allow->name : "the configuration", u->scheme, u->host, u->port);
    return 0;
}

const char *
aegis_allow_address(const aegis_allow_t *allow, const struct sockaddr *sa, char text[64])
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

    for (i = 0; allow && i < allow->n_ranges; i++) {
        if (aegis_addr_in(&allow->ranges[i], bytes, len)) {
            return NULL;
        }
    }

    return aegis_addr_special(bytes, len);
}
