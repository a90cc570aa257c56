/*
 * aegis_ctl_http.c: one HTTPS request to the gateway at a time. The CA is
 * always checked. A request that carries an Idempotency-Key is sent again
 * after a lost connection or a 503, because the key makes that safe; what has
 * none is a read and is repeated too. Everything is bounded by --timeout.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include <curl/curl.h>

#include "aegis_ctl.h"

#define ANSWER_MAX   (16 << 20)
#define ATTEMPTS     4
#define BEARER_MAX   8192            /* of a JWT, as the gateway has it */

typedef struct {
    char    *data;
    size_t   len;
} text_t;


void
aegis_ctl_new_key(char out[37])
{
    unsigned char  r[18];
    size_t         i;

    if (getrandom(r, sizeof(r), 0) != sizeof(r)) {
        abort();                    /* cannot happen for so few bytes */
    }
    for (i = 0; i < sizeof(r); i++) {
        snprintf(out + 2 * i, 3, "%02x", r[i]);
    }
}


const char *
aegis_ctl_escape(const char *s, char *buf, size_t size)
{
    static const char  hex[] = "0123456789ABCDEF";
    size_t             n = 0;

    for (; *s != '\0' && n + 4 < size; s++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *s)) {
            buf[n++] = *s;
        } else {
            buf[n++] = '%';
            buf[n++] = hex[(unsigned char) *s >> 4];
            buf[n++] = hex[(unsigned char) *s & 15];
        }
    }
    buf[n] = '\0';
    return buf;
}


static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
    text_t  *t = arg;
    char    *p;

    if (t->len + size * n > ANSWER_MAX) {
        return 0;
    }
    p = realloc(t->data, t->len + size * n + 1);
    if (p == NULL) {
        return 0;
    }
    t->data = p;
    memcpy(p + t->len, data, size * n);
    t->len += size * n;
    p[t->len] = '\0';
    return size * n;
}


static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
    aegis_ctl_answer_t  *a = arg;

    if (n > 6 && strncasecmp(data, "ETag: ", 6) == 0) {
        snprintf(a->etag, sizeof(a->etag), "%.*s", (int) strcspn(data + 6, "\r\n"), data + 6);
    }
    if (n > 20 && strncasecmp(data, "Idempotent-Replayed:", 20) == 0) {
        a->replayed = 1;
    }
    return size * n;
}


static char *
token(aegis_ctl_t *ctl, char *why, size_t size)
{
    const char  *file = aegis_ctl_opt(ctl, "token-file");
    char        *t;

    if (file != NULL) {
        t = aegis_ctl_read_file(file, NULL);
        if (t == NULL) {
            snprintf(why, size, "cannot read the token file %s: %s", file, strerror(errno));
        }
    } else {
        t = strdup(getenv("AEGIS_TOKEN") != NULL ? getenv("AEGIS_TOKEN") : "");
    }
    if (t != NULL) {
        t[strcspn(t, "\r\n \t")] = '\0';
    }
    return t;
}


static struct curl_slist *
headers(const aegis_ctl_request_t *req, const char *bearer)
{
    struct curl_slist  *h = NULL;
    char                line[BEARER_MAX + 32];

    h = curl_slist_append(h, "Accept: application/json, application/problem+json");
    if (req->body != NULL) {
        h = curl_slist_append(h, "Content-Type: application/json");
    }
    if (bearer[0] != '\0') {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", bearer);
        h = curl_slist_append(h, line);
    }
    if (req->key != NULL) {
        snprintf(line, sizeof(line), "Idempotency-Key: %s", req->key);
        h = curl_slist_append(h, line);
    }
    if (req->if_match != NULL) {
        snprintf(line, sizeof(line), strspn(req->if_match, "0123456789") == strlen(req->if_match)
                 ? "If-Match: \"%s\"" : "If-Match: %s", req->if_match);
        h = curl_slist_append(h, line);
    }
    return h;
}


/* Backoff with jitter before attempt n; at least what Retry-After asked for. */
static void
back_off(int attempt, long retry_after)
{
    struct timespec  ts;
    unsigned char    r = 0;
    long             ms;

    if (getrandom(&r, 1, 0) != 1) {
        r = 128;
    }
    ms = (100L << attempt) * (64 + r) / 192;
    if (retry_after > 0 && retry_after <= 5 && ms < retry_after * 1000) {
        ms = retry_after * 1000 + r;
    }
    ts.tv_sec = ms / 1000;
    ts.tv_nsec = (ms % 1000) * 1000000;
    nanosleep(&ts, NULL);
}


/* What libcurl's words leave to be guessed: where the address and the CA come from. */
static const char *
remedy(CURLcode rc, const char *said)
{
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return "; is nginx up, and is it where --server or AEGIS_URL says?";
    case CURLE_SSL_CACERT_BADFILE:
        return "; --ca or AEGIS_CA names it";
    case CURLE_PEER_FAILED_VERIFICATION:
        return strstr(said, "issuer") != NULL || strstr(said, "self") != NULL
               ? "; --ca or AEGIS_CA names the file with the CA of the gateway's certificate" : "";
    default:
        return "";
    }
}


static int
perform(CURL *curl, aegis_ctl_answer_t *ret, char *why, size_t size, int *ret_again)
{
    text_t      t = { NULL, 0 };
    char        curl_why[CURL_ERROR_SIZE] = "";
    curl_off_t  wait = 0;
    CURLcode    rc;

    memset(ret, 0, sizeof(*ret));
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, curl_why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, ret);

    rc = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (rc != CURLE_OK) {
        if (curl_why[0] == '\0') {
            snprintf(curl_why, sizeof(curl_why), "%s", curl_easy_strerror(rc));
        }
        snprintf(why, size, "%s%s", curl_why, remedy(rc, curl_why));
        free(t.data);
        *ret_again = rc != CURLE_PEER_FAILED_VERIFICATION && rc != CURLE_SSL_CACERT_BADFILE
                     && rc != CURLE_URL_MALFORMAT && rc != CURLE_UNSUPPORTED_PROTOCOL
                     && rc != CURLE_OPERATION_TIMEDOUT && rc != CURLE_WRITE_ERROR;
        return rc == CURLE_OPERATION_TIMEDOUT ? AEGIS_CTL_TIMEOUT : AEGIS_CTL_UNREACHABLE;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait);
    ret->text = t.data != NULL ? t.data : strdup("");
    ret->body = ret->text != NULL ? json_loads(ret->text, JSON_DECODE_ANY, NULL) : NULL;
    *ret_again = ret->status == 503 ? 1 + (int) (wait < 60 ? wait : 60) : 0;
    return AEGIS_CTL_OK;
}


int
aegis_ctl_http(aegis_ctl_t *ctl, const aegis_ctl_request_t *req, aegis_ctl_answer_t *ret,
    char *why, size_t size)
{
    const char         *server = aegis_ctl_opt(ctl, "server"), *ca = aegis_ctl_opt(ctl, "ca");
    struct curl_slist  *list;
    char               *bearer, *body = NULL, url[2048];
    CURL               *curl;
    int64_t             timeout;
    int                 rc, again = 0, attempt;

    memset(ret, 0, sizeof(*ret));
    server = server != NULL ? server : getenv("AEGIS_URL");
    ca = ca != NULL ? ca : getenv("AEGIS_CA");
    timeout = aegis_ctl_opt_int(ctl, "timeout", 10, 1, 86400);
    if (timeout < 0) {
        snprintf(why, size, "--timeout is not valid");
        return AEGIS_CTL_USAGE;
    }
    if (server == NULL || server[0] == '\0') {
        snprintf(why, size, "no gateway: give --server, set AEGIS_URL, or --env-file run/aegis.env");
        return AEGIS_CTL_USAGE;
    }
    bearer = token(ctl, why, size);
    if (bearer == NULL) {
        return AEGIS_CTL_USAGE;
    }
    curl = curl_easy_init();
    if (curl == NULL) {
        free(bearer);
        snprintf(why, size, "no memory");
        return AEGIS_CTL_FAILED;
    }
    snprintf(url, sizeof(url), "%.*s%s", (int) (strlen(server)
             - (server[strlen(server) - 1] == '/')), server, req->path);
    list = headers(req, bearer);
    free(bearer);

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, req->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "aegisctl/" AEGIS_VERSION);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) timeout * 1000);
    if (ca != NULL && ca[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    }
    if (req->body != NULL) {
        body = json_dumps(req->body, JSON_COMPACT);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }

    for (attempt = 0; ; attempt++) {
        rc = perform(curl, ret, why, size, &again);
        if (!again || attempt + 1 == ATTEMPTS) {
            break;
        }
        aegis_ctl_answer_clear(ret);
        back_off(attempt, again - 1);
    }

    free(body);
    curl_slist_free_all(list);
    curl_easy_cleanup(curl);
    return rc;
}


void
aegis_ctl_answer_clear(aegis_ctl_answer_t *a)
{
    json_decref(a->body);
    free(a->text);
    memset(a, 0, sizeof(*a));
}


static void
show_problem(const json_t *p)
{
    static const char *const  hints[] = {
        "current_status", "current_version", "run_state", "allowed_events", "allowed_states",
        "missing", "errors", "instance", NULL
    };
    const json_t             *v;
    char                     *text;
    int                       i;

    for (i = 0; hints[i] != NULL; i++) {
        v = json_object_get(p, hints[i]);
        if (v == NULL) {
            continue;
        }
        text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        fprintf(stderr, "  %s: %s\n", hints[i],
                json_is_string(v) ? json_string_value(v) : text);
        free(text);
    }
}


int
aegis_ctl_judge(aegis_ctl_t *ctl, const aegis_ctl_answer_t *a)
{
    const char                *type, *code, *detail;
    const aegis_error_def_t   *def;

    if (a->status >= 200 && a->status < 300) {
        return AEGIS_CTL_OK;
    }

    type = json_string_value(json_object_get(a->body, "type"));
    if (type == NULL || strncmp(type, "urn:aegis:problem:", 18) != 0) {
        aegis_ctl_say("HTTP %ld, and not in the gateway's words: is --server right?", a->status);
        return AEGIS_CTL_FAILED;
    }
    code = type + 18;
    def = aegis_error_def(AEGIS_E_INTERNAL);
    if (strcmp(aegis_error_by_code(code)->code, code) == 0) {
        def = aegis_error_by_code(code);
    }
    detail = json_string_value(json_object_get(a->body, "detail"));

    if (ctl->json) {
        aegis_ctl_json(a->body);
    }
    aegis_ctl_say("%ld %s: %s%s%s", a->status, code, def->title,
                  detail != NULL && strcmp(detail, def->remedy) != 0 ? ". " : "",
                  detail != NULL && strcmp(detail, def->remedy) != 0 ? detail : "");
    show_problem(a->body);
    fprintf(stderr, "  %s%s\n", def->remedy,
            a->status == 401 ? " It comes from AEGIS_TOKEN or --token-file." : "");

    switch (a->status) {
    case 401:
    case 403:
        return AEGIS_CTL_DENIED;
    case 404:
        return AEGIS_CTL_NOT_FOUND;
    case 502:
    case 503:
    case 504:
        return AEGIS_CTL_UNREACHABLE;
    default:
        return AEGIS_CTL_FAILED;
    }
}
