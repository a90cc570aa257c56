/*
 * aegis_tracer_send.c: one batch of spans to the collector, by libcurl, in the
 * tracer's thread. This is the only file of trace/ that does I/O.
 *
 * Invariant: it ends. A transfer has a deadline, reads a short answer, follows
 * nobody, and is given up at once when the process is to end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "aegis_tracer_impl.h"

#define AEGIS_TRACER_POST_MS     10000
#define AEGIS_TRACER_CONNECT_MS  3000
#define AEGIS_TRACER_ANSWER_MAX  4096
#define AEGIS_TRACER_AFTER_MAX   30000

struct aegis_tracer_sender_s {
    CURLM              *multi;
    CURL               *curl;
    struct curl_slist  *headers;
    char               *url;
    char               *ca_file;
    char                error[CURL_ERROR_SIZE];
    char                answer[AEGIS_TRACER_ANSWER_MAX];
    size_t              answer_len;
};

/* The beginning is enough: what is not read in full is not JSON, and rejects 0. */
static size_t
aegis_tracer_body(char *data, size_t size, size_t n, void *ctx)
{
    size_t                  room;
    aegis_tracer_sender_t  *s = ctx;

    n *= size;
    room = sizeof(s->answer) - s->answer_len;
    room = n < room ? n : room;
    memcpy(s->answer + s->answer_len, data, room);
    s->answer_len += room;

    return n;
}

static int
aegis_tracer_header(aegis_tracer_sender_t *s, const char *line)
{
    struct curl_slist  *more;

    more = curl_slist_append(s->headers, line);
    s->headers = more ? more : s->headers;
    return more != NULL;
}

static int
aegis_tracer_headers(aegis_tracer_sender_t *s, const char *lines)
{
    int    ok;
    char  *copy, *line, *next, *end;

    /* Expect: 100-continue would cost a round trip */
    ok = aegis_tracer_header(s, "Content-Type: application/json")
         && aegis_tracer_header(s, "Expect:");

    copy = strdup(lines ? lines : "");

    for (line = copy; ok && line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        for (end = line + strlen(line); end > line && (end[-1] == '\r' || end[-1] == ' ');
             end--)
        {
            /* void */
        }
        *end = '\0';

        ok = *line == '\0' || *line == '#' || aegis_tracer_header(s, line);
    }

    ok = ok && copy != NULL;
    free(copy);
    return ok;
}

static int
aegis_tracer_setup(aegis_tracer_sender_t *s)
{
    CURL  *c;

    c = s->curl;

    return curl_easy_setopt(c, CURLOPT_URL, s->url) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK
        && (s->ca_file == NULL || curl_easy_setopt(c, CURLOPT_CAINFO, s->ca_file) == CURLE_OK)
        && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long) AEGIS_TRACER_CONNECT_MS)
           == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_USERAGENT, "OTel-OTLP-Exporter-aegis/" AEGIS_VERSION)
           == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_HTTPHEADER, s->headers) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->error) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, aegis_tracer_body) == CURLE_OK
        && curl_easy_setopt(c, CURLOPT_WRITEDATA, s) == CURLE_OK;
}

aegis_tracer_sender_t *
aegis_tracer_sender_new(const aegis_tracer_conf_t *conf)
{
    aegis_tracer_sender_t  *s;

    s = calloc(1, sizeof(aegis_tracer_sender_t));
    if (s == NULL) {
        return NULL;
    }

    s->multi = curl_multi_init();
    s->curl = curl_easy_init();
    s->url = strdup(conf->url);
    s->ca_file = conf->ca_file && conf->ca_file[0] ? strdup(conf->ca_file) : NULL;

    if (s->multi == NULL || s->curl == NULL || s->url == NULL
        || !aegis_tracer_headers(s, conf->headers) || !aegis_tracer_setup(s))
    {
        aegis_tracer_sender_free(s);
        return NULL;
    }

    return s;
}

void
aegis_tracer_sender_free(aegis_tracer_sender_t *s)
{
    if (s == NULL) {
        return;
    }

    curl_easy_cleanup(s->curl);
    curl_multi_cleanup(s->multi);
    curl_slist_free_all(s->headers);
    free(s->url);
    free(s->ca_file);
    free(s);
}

void
aegis_tracer_sender_wait(aegis_tracer_sender_t *s, int ms)
{
    (void) curl_multi_poll(s->multi, NULL, 0, ms, NULL);
}

void
aegis_tracer_sender_wake(aegis_tracer_sender_t *s)
{
    (void) curl_multi_wakeup(s->multi);
}

static void
aegis_tracer_judge(aegis_tracer_sender_t *s, CURLcode code, aegis_tracer_answer_t *ret)
{
    long        status;
    curl_off_t  after;

    status = 0;
    after = 0;

    if (code != CURLE_OK) {
        ret->again = 1;
        snprintf(ret->detail, sizeof(ret->detail), "%s",
                 s->error[0] ? s->error : curl_easy_strerror(code));
        return;
    }

    (void) curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    (void) curl_easy_getinfo(s->curl, CURLINFO_RETRY_AFTER, &after);

    if (status >= 200 && status < 300) {
        ret->sent = 1;
        ret->rejected = aegis_span_rejected((aegis_str_t) { s->answer_len, s->answer });
        return;
    }

    /* the ones that OTLP/HTTP calls retryable */
    ret->again = status == 429 || status == 502 || status == 503 || status == 504;
    ret->after_ms = after > AEGIS_TRACER_AFTER_MAX / 1000 ? AEGIS_TRACER_AFTER_MAX
                    : (int) after * 1000;
    snprintf(ret->detail, sizeof(ret->detail), "HTTP status %ld", status);
}

void
aegis_tracer_sender_post(aegis_tracer_sender_t *s, const char *body, size_t len,
    int limit_ms, const int *stopping, aegis_tracer_answer_t *ret)
{
    int       running, left;
    CURLMsg  *msg;

    memset(ret, 0, sizeof(*ret));
    s->answer_len = 0;
    s->error[0] = '\0';
    snprintf(ret->detail, sizeof(ret->detail), "given up");

    if (curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, body) != CURLE_OK
        || curl_easy_setopt(s->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) len) != CURLE_OK
        || curl_easy_setopt(s->curl, CURLOPT_TIMEOUT_MS,
                            (long) (limit_ms ? limit_ms : AEGIS_TRACER_POST_MS)) != CURLE_OK
        || curl_multi_add_handle(s->multi, s->curl) != CURLM_OK)
    {
        return;
    }

    for (running = 1; curl_multi_perform(s->multi, &running) == CURLM_OK && running; ) {
        if (stopping != NULL && __atomic_load_n(stopping, __ATOMIC_ACQUIRE)) {
            break;
        }
        if (curl_multi_poll(s->multi, NULL, 0, AEGIS_TRACER_POST_MS, NULL) != CURLM_OK) {
            break;
        }
    }

    while ((msg = curl_multi_info_read(s->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            aegis_tracer_judge(s, msg->data.result, ret);
        }
    }

    (void) curl_multi_remove_handle(s->multi, s->curl);
}
