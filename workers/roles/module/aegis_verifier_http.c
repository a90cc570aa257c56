/*
 * aegis_verifier_http.c: queries to Prometheus. Its invariants: the one server
 * of verify.prometheus.url is asked and no other, whatever a plan says: no
 * redirect is followed and no proxy of the environment is used; a query ends
 * within its timeout, an answer within its size; and whatever goes wrong is an
 * answer too, namely the reason why there is none.
 */
#include "aegis_verifier.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "aegis_buf.h"
#include "aegis_check.h"

#define AEGIS_VERIFIER_SECRET  8192

typedef struct aegis_verifier_transfer_s  aegis_verifier_transfer_t;

struct aegis_verifier_transfer_s {
    aegis_verifier_transfer_t  *next;
    aegis_verifier_query_t     *query;      /* NULL: nobody waits for it any more */
    CURL                       *curl;
    struct curl_slist          *headers;
    char                       *fields;
    char                       *body;
    size_t                      len;
    size_t                      max;
    int                         too_long;
    int64_t                     began_at;
};

struct aegis_verifier_http_s {
    CURLM                      *multi;
    aegis_verifier_transfer_t  *transfers;
    char                        url[2048];  /* of query_range; "" : none is configured */
    char                        ca_file[4096];
    char                        tenant_header[128];
    char                       *bearer;
    char                       *password;
    char                        trouble[256];
    long                        timeout_ms;
    size_t                      answer_max;
    aegis_metric_t             *ok;
    aegis_metric_t             *failed;
    aegis_metric_t             *seconds;
};


static void
aegis_verifier_wipe(char **secret)
{
    if (*secret != NULL) {
        explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
    }
}


/* The first line of a file that a setting names; NULL: none is named. */
static char *
aegis_verifier_secret(aegis_verifier_http_t *http, const aegis_conf_t *conf,
    const char *setting)
{
    int      fd;
    char     path[4096], *text;
    ssize_t  n;

    if (aegis_conf_str(conf, setting)[0] == '\0') {
        return NULL;
    }

    text = calloc(1, AEGIS_VERIFIER_SECRET);
    fd = open(aegis_conf_path(conf, setting, path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    n = fd >= 0 && text ? read(fd, text, AEGIS_VERIFIER_SECRET - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }

    if (n > 0) {
        text[strcspn(text, "\r\n")] = '\0';
    }

    if (n <= 0 || text[0] == '\0') {
        snprintf(http->trouble, sizeof(http->trouble), "the file of %s cannot be used",
                 setting);
        aegis_log(AEGIS_LOG_ERROR, "verify", "prometheus.secret", "setting", "%s", setting,
                  NULL);
        aegis_verifier_wipe(&text);
        free(text);
        return NULL;
    }

    return text;
}


void
aegis_verifier_http_reload(aegis_verifier_http_t *http, const aegis_conf_t *conf)
{
    size_t       len;
    const char  *url, *header;

    aegis_verifier_wipe(&http->bearer);
    aegis_verifier_wipe(&http->password);
    http->trouble[0] = http->url[0] = http->ca_file[0] = '\0';

    url = aegis_conf_str(conf, "verify.prometheus.url");
    header = aegis_conf_str(conf, "verify.prometheus.tenant_header");
    http->timeout_ms = (long) aegis_conf_int(conf, "verify.prometheus.timeout_ms");
    http->answer_max = (size_t) aegis_conf_int(conf, "verify.prometheus.answer_max");

    if (url[0] == '\0') {
        snprintf(http->trouble, sizeof(http->trouble), "verify.prometheus.url is not set");
        return;
    }

    len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    snprintf(http->url, sizeof(http->url), "%.*s/api/v1/query_range", (int) len, url);
    snprintf(http->tenant_header, sizeof(http->tenant_header), "%s", header);

    if (aegis_conf_str(conf, "verify.prometheus.ca_file")[0] != '\0') {
        (void) aegis_conf_path(conf, "verify.prometheus.ca_file", http->ca_file);
    }

    http->bearer = aegis_verifier_secret(http, conf, "verify.prometheus.token_file");
    http->password = aegis_verifier_secret(http, conf, "verify.prometheus.password_file");
}


aegis_verifier_http_t *
aegis_verifier_http_new(const aegis_conf_t *conf)
{
    aegis_verifier_http_t  *http;

    http = calloc(1, sizeof(aegis_verifier_http_t));
    if (http == NULL) {
        return NULL;
    }

    /* any number of calls, from any thread, since 7.84 */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK
        || (http->multi = curl_multi_init()) == NULL)
    {
        free(http);
        return NULL;
    }

    curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 16L);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 16L);

    http->ok = aegis_counter("aegis_verify_queries_total", "outcome=\"ok\"",
                             "queries to Prometheus, by outcome");
    http->failed = aegis_counter("aegis_verify_queries_total", "outcome=\"failed\"",
                                 "queries to Prometheus, by outcome");
    http->seconds = aegis_histogram("aegis_verify_query_seconds", "",
                                    "time that a query to Prometheus takes");
    aegis_verifier_http_reload(http, conf);
    return http;
}


static size_t
aegis_verifier_write(char *data, size_t size, size_t n, void *ctx)
{
    char                       *body;
    aegis_verifier_transfer_t  *t;

    t = ctx;
    n *= size;

    if (n > t->max - t->len) {
        t->too_long = 1;
        return 0;
    }

    body = realloc(t->body, t->len + n + 1);
    if (body == NULL) {
        return 0;
    }

    t->body = body;
    memcpy(body + t->len, data, n);
    t->len += n;
    body[t->len] = '\0';
    return n;
}


static void
aegis_verifier_transfer_free(aegis_verifier_http_t *http, aegis_verifier_transfer_t *t)
{
    aegis_verifier_transfer_t  **p;

    for (p = &http->transfers; *p != NULL; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }

    if (t->curl != NULL) {
        curl_multi_remove_handle(http->multi, t->curl);
        curl_easy_cleanup(t->curl);
    }

    curl_slist_free_all(t->headers);
    curl_free(t->fields);
    free(t->body);
    free(t);
}


static json_t *
aegis_verifier_no_answer(const char *what, const char *more)
{
    char  text[256];

    snprintf(text, sizeof(text), "%s%s%.150s", what, more[0] ? ": " : "", more);
    return json_pack("{s:s}", "error", text);
}


static int
aegis_verifier_fields(aegis_verifier_http_t *http, aegis_verifier_transfer_t *t,
    const aegis_verify_ask_t *ask)
{
    char         *query, *text;
    size_t        len;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    query = curl_easy_escape(t->curl, ask->query, 0);
    if (query == NULL) {
        return 0;
    }

    aegis_buf_printf(&buf, "query=%s&start=%.3f&end=%.3f&step=%d&timeout=%lds", query,
                     ask->start, ask->end, ask->step, http->timeout_ms / 1000 + 1);
    curl_free(query);

    text = aegis_buf_take(&buf, &len);
    if (text == NULL) {
        return 0;
    }

    len = curl_easy_setopt(t->curl, CURLOPT_COPYPOSTFIELDS, text) == CURLE_OK;
    free(text);
    return (int) len;
}


static int
aegis_verifier_headers(aegis_verifier_http_t *http, aegis_verifier_transfer_t *t,
    const char *tenant)
{
    char                line[512];
    struct curl_slist  *list;

    if (http->tenant_header[0] == '\0') {
        return 1;
    }

    /* a tenant's name goes into a header only if it can be nothing but one */
    if (!aegis_check_is_word(tenant, 63)) {
        return 0;
    }

    snprintf(line, sizeof(line), "%s: %s", http->tenant_header, tenant);
    list = curl_slist_append(t->headers, line);
    if (list == NULL) {
        return 0;
    }

    t->headers = list;
    return curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, list) == CURLE_OK;
}


static int
aegis_verifier_options(aegis_verifier_http_t *http, aegis_verifier_transfer_t *t)
{
    CURL  *c;

    c = t->curl;

    return curl_easy_setopt(c, CURLOPT_URL, http->url) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, http->timeout_ms) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, http->timeout_ms) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK
        && (http->ca_file[0] == '\0'
            || curl_easy_setopt(c, CURLOPT_CAINFO, http->ca_file) == CURLE_OK)
        && (http->bearer == NULL
            || (curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK
                && curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, http->bearer) == CURLE_OK))
        && (http->bearer != NULL || http->password == NULL
            || (curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK
                && curl_easy_setopt(c, CURLOPT_USERPWD, http->password) == CURLE_OK))
        && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, aegis_verifier_write) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_PRIVATE, t) == CURLE_OK;
}


void
aegis_verifier_http_ask(aegis_verifier_http_t *http, const char *tenant,
    aegis_verifier_query_t *query)
{
    aegis_verifier_transfer_t  *t;

    query->answer = NULL;

    if (http->trouble[0] != '\0') {
        aegis_metric_add(http->failed, 1);
        query->answer = aegis_verifier_no_answer(http->trouble, "");
        return;
    }

    t = calloc(1, sizeof(aegis_verifier_transfer_t));
    if (t == NULL || (t->curl = curl_easy_init()) == NULL) {
        free(t);
        query->answer = aegis_verifier_no_answer("no memory for a query", "");
        return;
    }

    t->query = query;
    t->max = http->answer_max;
    t->began_at = aegis_verifier_now();
    t->next = http->transfers;
    http->transfers = t;

    if (!aegis_verifier_options(http, t) || !aegis_verifier_headers(http, t, tenant)
        || !aegis_verifier_fields(http, t, query->ask)
        || curl_multi_add_handle(http->multi, t->curl) != CURLM_OK)
    {
        aegis_metric_add(http->failed, 1);
        query->answer = aegis_verifier_no_answer("a query could not be made", "");
        aegis_verifier_transfer_free(http, t);
    }
}


static void
aegis_verifier_done(aegis_verifier_http_t *http, aegis_verifier_transfer_t *t, CURLcode rc)
{
    long     status;
    json_t  *answer;

    status = 0;
    (void) curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    aegis_metric_observe(http->seconds,
                         (double) (aegis_verifier_now() - t->began_at) / 1000);

    if (t->query != NULL) {
        if (t->too_long) {
            answer = aegis_verifier_no_answer("the answer of Prometheus is too long", "");
        } else if (rc != CURLE_OK) {
            answer = aegis_verifier_no_answer("Prometheus was not reached",
                                              curl_easy_strerror(rc));
        } else {
            answer = aegis_verify_prom_parse((int) status,
                (aegis_str_t) { t->len, t->body ? t->body : "" }, t->query->ask);
        }

        aegis_metric_add(json_object_get(answer, "error") == NULL && answer != NULL
                         ? http->ok : http->failed, 1);
        t->query->answer = answer ? answer : json_pack("{s:s}", "error", "no memory");
    }

    aegis_verifier_transfer_free(http, t);
}


size_t
aegis_verifier_http_go(aegis_verifier_http_t *http)
{
    int                         running, left;
    CURLMsg                    *msg;
    CURLcode                    rc;
    aegis_verifier_transfer_t  *t;

    running = 0;
    (void) curl_multi_perform(http->multi, &running);

    while ((msg = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE) {
            continue;
        }

        t = NULL;
        rc = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &t);
        aegis_verifier_done(http, t, rc);
    }

    return (size_t) running;
}


void
aegis_verifier_http_forget(aegis_verifier_http_t *http, aegis_verifier_query_t *query)
{
    aegis_verifier_transfer_t  *t, *next;

    for (t = http->transfers; t != NULL; t = next) {
        next = t->next;
        if (t->query == query) {
            aegis_verifier_transfer_free(http, t);
        }
    }
}


void
aegis_verifier_http_free(aegis_verifier_http_t *http)
{
    if (http == NULL) {
        return;
    }

    while (http->transfers != NULL) {
        aegis_verifier_transfer_free(http, http->transfers);
    }

    curl_multi_cleanup(http->multi);
    aegis_verifier_wipe(&http->bearer);
    aegis_verifier_wipe(&http->password);
    free(http);
}
