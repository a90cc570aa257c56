/*
 * aegis_net.c: libcurl's multi interface behind a small door. A multi of its
 * own for each act: nothing is shared, so that freeing it ends all of it, and a
 * connection is used again only by the act that made it.
 * Invariants: no call waits; a transfer has a deadline and a limit of bytes.
 */
#include "aegis_net.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct aegis_net_s {
    CURLM              *multi;
    CURL               *easy;
    struct curl_slist  *headers;
    char               *sent_body;
    aegis_net_state_t   state;

    char               *body;
    size_t              len;
    size_t              size;
    size_t              max;
    int                 too_large;
    int                 untrusted;

    int                 status;
    int                 sent;
    int64_t             retry_after_ms;
    int64_t             elapsed_ms;
    char                error[CURL_ERROR_SIZE + 64];
    char                curl_error[CURL_ERROR_SIZE];
};

aegis_net_t *
aegis_net_new(void)
{
    aegis_net_t  *net;

    net = calloc(1, sizeof(aegis_net_t));
    if (net == NULL) {
        return NULL;
    }

    net->multi = curl_multi_init();
    if (net->multi == NULL) {
        free(net);
        return NULL;
    }

    (void) curl_multi_setopt(net->multi, CURLMOPT_MAXCONNECTS, 1L);
    return net;
}

/* The transfer, not the connection. */
static void
aegis_net_drop(aegis_net_t *net)
{
    if (net->easy != NULL) {
        (void) curl_multi_remove_handle(net->multi, net->easy);
        curl_easy_cleanup(net->easy);
        net->easy = NULL;
    }

    curl_slist_free_all(net->headers);
    net->headers = NULL;
    free(net->sent_body);
    net->sent_body = NULL;
}

void
aegis_net_free(aegis_net_t *net)
{
    if (net == NULL) {
        return;
    }

    aegis_net_drop(net);
    (void) curl_multi_cleanup(net->multi);
    free(net->body);
    free(net);
}

static size_t
aegis_net_write(char *data, size_t one, size_t n, void *arg)
{
    char         *body;
    size_t        size;
    aegis_net_t  *net;

    net = arg;
    n *= one;

    if (net->len + n > net->max) {
        net->too_large = 1;
        return 0;
    }

    if (net->len + n + 1 > net->size) {
        for (size = net->size ? net->size : 4096; size < net->len + n + 1; size *= 2) {
            continue;
        }
        body = realloc(net->body, size);
        if (body == NULL) {
            return 0;
        }
        net->body = body;
        net->size = size;
    }

    memcpy(net->body + net->len, data, n);
    net->len += n;
    net->body[net->len] = '\0';

    return n;
}

static CURLcode
aegis_net_blob(CURL *e, CURLoption option, const char *text)
{
    struct curl_blob  blob;

    if (text == NULL) {
        return CURLE_OK;
    }

    blob.data = (void *) (uintptr_t) text;
    blob.len = strlen(text);
    blob.flags = CURL_BLOB_COPY;

    return curl_easy_setopt(e, option, &blob);
}

static CURLcode
aegis_net_trust(CURL *e, const aegis_net_trust_t *trust)
{
    CURLcode  rc;

    rc = curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    rc = rc ? rc : aegis_net_blob(e, CURLOPT_CAINFO_BLOB, trust->ca);
    rc = rc ? rc : aegis_net_blob(e, CURLOPT_SSLCERT_BLOB, trust->cert);
    rc = rc ? rc : aegis_net_blob(e, CURLOPT_SSLKEY_BLOB, trust->key);

    if (trust->token != NULL) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_XOAUTH2_BEARER, trust->token);
    }

    return rc;
}

static int
aegis_net_header(aegis_net_t *net, const char *name, const char *value)
{
    char                line[256];
    struct curl_slist  *headers;

    snprintf(line, sizeof(line), "%s: %s", name, value);
    headers = curl_slist_append(net->headers, line);
    if (headers == NULL) {
        return 0;
    }

    net->headers = headers;
    return 1;
}

static CURLcode
aegis_net_options(aegis_net_t *net, const aegis_net_request_t *r)
{
    CURL      *e;
    CURLcode   rc;

    e = net->easy;

    rc = curl_easy_setopt(e, CURLOPT_URL, r->url);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, r->plain ? "https,http" : "https");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_PROXY, "");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* giving up does not wait for a name server */
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_USERAGENT, "aegis");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, NULL);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) r->timeout_ms);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, aegis_net_write);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEDATA, net);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_ERRORBUFFER, net->curl_error);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPHEADER, net->headers);

    if (r->fresh) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    }
    if (net->sent_body != NULL) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_POSTFIELDS, net->sent_body);
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
                                        (curl_off_t) strlen(net->sent_body));
    }

    return rc;
}

int
aegis_net_begin(aegis_net_t *net, const aegis_net_trust_t *trust,
    const aegis_net_request_t *r)
{
    int       ok;
    CURLcode  rc;

    aegis_net_drop(net);
    net->state = AEGIS_NET_IDLE;
    net->len = 0;
    net->max = r->body_max;
    net->too_large = 0;
    net->untrusted = 0;
    net->status = 0;
    net->sent = 0;
    net->retry_after_ms = 0;
    net->elapsed_ms = 0;
    net->curl_error[0] = '\0';

    net->easy = curl_easy_init();
    ok = net->easy != NULL && aegis_net_header(net, "Accept", "application/json");

    if (ok && r->body != NULL) {
        /* a body that waits for 100 Continue costs a second where nobody answers it */
        net->sent_body = strdup(r->body);
        ok = net->sent_body != NULL && aegis_net_header(net, "Content-Type", r->type)
             && aegis_net_header(net, "Expect", "");
    }

    rc = ok ? aegis_net_options(net, r) : CURLE_OUT_OF_MEMORY;
    rc = rc ? rc : aegis_net_trust(net->easy, trust);
    if (rc == CURLE_OK && curl_multi_add_handle(net->multi, net->easy) != CURLM_OK) {
        rc = CURLE_OUT_OF_MEMORY;
    }

    if (rc != CURLE_OK) {
        snprintf(net->error, sizeof(net->error), "cannot make the request: %s",
                 net->curl_error[0] ? net->curl_error : curl_easy_strerror(rc));
        if (net->easy != NULL) {
            curl_easy_cleanup(net->easy);
            net->easy = NULL;
        }
        net->state = AEGIS_NET_BROKEN;
        return 0;
    }

    net->state = AEGIS_NET_BUSY;
    return 1;
}

/* The transfer is over: keep what is asked for later. */
static void
aegis_net_end(aegis_net_t *net, CURLcode rc)
{
    long        status, request;
    curl_off_t  after, total;

    status = request = 0;
    after = total = 0;

    (void) curl_easy_getinfo(net->easy, CURLINFO_RESPONSE_CODE, &status);
    (void) curl_easy_getinfo(net->easy, CURLINFO_REQUEST_SIZE, &request);
    (void) curl_easy_getinfo(net->easy, CURLINFO_RETRY_AFTER, &after);
    (void) curl_easy_getinfo(net->easy, CURLINFO_TOTAL_TIME_T, &total);

    net->status = (int) status;
    net->sent = request > 0;
    net->retry_after_ms = after > 0 && after < 86400 ? (int64_t) after * 1000 : 0;
    net->elapsed_ms = (int64_t) total / 1000;

    if (rc == CURLE_OK) {
        net->state = AEGIS_NET_ANSWER;

    } else {
        net->state = AEGIS_NET_BROKEN;
        net->untrusted = rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE
                         || rc == CURLE_SSL_CERTPROBLEM;
        if (net->too_large) {
            snprintf(net->error, sizeof(net->error), "the answer has more than %zu bytes",
                     net->max);
        } else {
            snprintf(net->error, sizeof(net->error), "%s", net->curl_error[0]
                     ? net->curl_error : curl_easy_strerror(rc));
        }
    }

    aegis_net_drop(net);
}

aegis_net_state_t
aegis_net_poll(aegis_net_t *net)
{
    int        running, left;
    CURLMsg   *msg;

    if (net->state != AEGIS_NET_BUSY) {
        return net->state;
    }

    if (curl_multi_perform(net->multi, &running) != CURLM_OK) {
        aegis_net_end(net, CURLE_RECV_ERROR);
        return net->state;
    }

    while ((msg = curl_multi_info_read(net->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            aegis_net_end(net, msg->data.result);
            break;
        }
    }

    return net->state;
}

int
aegis_net_status(const aegis_net_t *net)
{
    return net->status;
}

const char *
aegis_net_body(const aegis_net_t *net, size_t *ret_len)
{
    *ret_len = net->len;
    return net->body && net->len > 0 ? net->body : "";
}

int64_t
aegis_net_retry_after_ms(const aegis_net_t *net)
{
    return net->retry_after_ms;
}

int64_t
aegis_net_elapsed_ms(const aegis_net_t *net)
{
    return net->elapsed_ms;
}

const char *
aegis_net_error(const aegis_net_t *net)
{
    return net->error;
}

int
aegis_net_untrusted(const aegis_net_t *net)
{
    return net->untrusted;
}

int
aegis_net_sent(const aegis_net_t *net)
{
    return net->sent;
}
