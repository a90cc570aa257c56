/*
 * aegis_librarian_call.c: one exchange by libcurl. Invariant: when a list says
 * who may be reached, the address is judged as its socket is made, after the name
 * was looked up for the last time, so that no answer of a name server can lead
 * inside.
 */
#include "aegis_librarian_call.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#define AEGIS_LIBRARIAN_CONNECT_MS  5000

typedef struct {
    const aegis_librarian_call_t  *call;
    aegis_librarian_answer_t      *answer;
    size_t                         size;
    int                            full;
    char                           refused[160];
} aegis_librarian_transfer_t;

static size_t
aegis_librarian_take(char *data, size_t size, size_t n, void *user)
{
    char                        *body;
    size_t                       room;
    aegis_librarian_transfer_t  *t;

    t = user;
    n *= size;

    if (t->answer->len + n > t->call->max) {
        t->full = 1;
        return 0;
    }

    if (t->answer->len + n + 1 > t->size) {
        room = t->size ? t->size * 2 : 16384;
        room = room < t->answer->len + n + 1 ? t->answer->len + n + 1 : room;
        body = realloc(t->answer->body, room);
        if (body == NULL) {
            return 0;
        }
        t->answer->body = body;
        t->size = room;
    }

    memcpy(t->answer->body + t->answer->len, data, n);
    t->answer->len += n;
    t->answer->body[t->answer->len] = '\0';

    return n;
}

static curl_socket_t
aegis_librarian_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    char                         text[64];
    const char                  *special;
    aegis_librarian_transfer_t  *t;

    t = user;

    if (t->call->allow) {
        special = aegis_allow_address(t->call->allow, &address->addr, text);
        if (special) {
            snprintf(t->refused, sizeof(t->refused),
                     "%s is a %s address, which kb.allow_private does not allow", text, special);
            return CURL_SOCKET_BAD;
        }
    }

    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int
aegis_librarian_stop(void *user, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
    aegis_librarian_transfer_t  *t;

    t = user;
    return t->call->stopping && *t->call->stopping;
}

static struct curl_slist *
aegis_librarian_headers(const aegis_librarian_call_t *call)
{
    char                buf[4200];
    struct curl_slist  *list;

    list = curl_slist_append(NULL, call->body ? "Content-Type: application/json"
                             : "Accept: text/markdown, text/html, text/plain, application/json");
    list = curl_slist_append(list, "Expect:");
    if (call->token && call->token[0]) {
        snprintf(buf, sizeof(buf), "Authorization: Bearer %.4096s", call->token);
        list = curl_slist_append(list, buf);
    }

    return list;
}

static void
aegis_librarian_options(CURL *e, aegis_librarian_transfer_t *t, struct curl_slist *headers,
    char *error)
{
    const aegis_librarian_call_t  *c;

    c = t->call;
    curl_easy_setopt(e, CURLOPT_URL, c->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long) AEGIS_LIBRARIAN_CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, c->timeout_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, aegis_librarian_take);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, aegis_librarian_stop);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "aegis-librarian/" AEGIS_VERSION);

    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, aegis_librarian_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);

    if (c->ca_file && c->ca_file[0]) {
        curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
    }
    if (c->body) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long) strlen(c->body));
    }
}

int
aegis_librarian_call(const aegis_librarian_call_t *call, aegis_librarian_answer_t *ret,
    aegis_error_t *err)
{
    char                         error[CURL_ERROR_SIZE] = "", *type;
    CURL                        *e;
    CURLcode                     code;
    struct curl_slist           *headers;
    aegis_librarian_transfer_t   t;

    memset(&t, 0, sizeof(t));
    memset(ret, 0, sizeof(*ret));
    t.call = call;
    t.answer = ret;

    e = curl_easy_init();
    headers = aegis_librarian_headers(call);
    if (e == NULL || headers == NULL) {
        curl_slist_free_all(headers);
        curl_easy_cleanup(e);
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "cannot start libcurl");
        return 0;
    }

    aegis_librarian_options(e, &t, headers, error);
    code = curl_easy_perform(e);

    if (code == CURLE_OK) {
        curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &ret->status);
        if (curl_easy_getinfo(e, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type) {
            snprintf(ret->type, sizeof(ret->type), "%s", type);
        }
        if (ret->body == NULL) {
            ret->body = calloc(1, 1);
        }
    } else {
        ret->refused = t.refused[0] || t.full;
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s", t.refused[0] ? t.refused
                        : t.full ? "the answer is too large"
                        : error[0] ? error : curl_easy_strerror(code));
        free(ret->body);
        ret->body = NULL;
    }

    curl_slist_free_all(headers);
    curl_easy_cleanup(e);

    return ret->body != NULL;
}
