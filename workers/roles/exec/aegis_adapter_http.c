/*
 * aegis_adapter_http.c: the action `http.call`: one request to a host of
 * http.allow. Its answer's body is the step's stdout, its status decides.
 * Invariants: one name look-up and one connection a call, to an address that was
 * judged when its socket was made; no redirect is followed, no proxy used, no
 * credential sent but the signature; a request that may have arrived, and whose
 * answer did not, is UNKNOWN unless its method only reads.
 */
#include "aegis_call.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "aegis_json.h"

#define AEGIS_HTTP_CONNECT_MS  10000
#define AEGIS_HTTP_TEXT        256

typedef struct {
    CURL               *easy;
    int                 over;           /* the multi handle has let go of it */
    CURLcode            code;
    int                 check;          /* connect, and send nothing */
    int                 full;           /* the answer had more than is kept */
    char                refused[96];    /* the address that was not connected to */
    char                address[64];    /* the one that was */
    char                error[CURL_ERROR_SIZE];
    char                location[AEGIS_HTTP_TEXT];
    struct curl_slist  *headers;
    char               *body;
    aegis_act_t        *act;
} aegis_http_call_t;

static CURLM  *aegis_http_multi;

static int
aegis_http_configure(const aegis_conf_t *conf, aegis_error_t *err)
{
    char  path[4096] = "";

    if (aegis_http_multi == NULL) {
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK
            || (aegis_http_multi = curl_multi_init()) == NULL)
        {
            aegis_error_set(err, AEGIS_E_UNAVAILABLE, "cannot start libcurl");
            return 0;
        }
    }

    if (aegis_conf_str(conf, "http.secret_file")[0]) {
        (void) aegis_conf_path(conf, "http.secret_file", path);
    }

    return aegis_call_allow(aegis_conf_str(conf, "http.allow"),
                            aegis_conf_str(conf, "http.allow_private"), err)
           && aegis_call_secrets(path, err);
}

static void
aegis_http_done(void)
{
    if (aegis_http_multi) {
        curl_multi_cleanup(aegis_http_multi);
        aegis_http_multi = NULL;
    }
    aegis_call_allow_free();
    aegis_call_secrets_free();
}

static void
aegis_http_target(const aegis_act_t *act, char buf[AEGIS_ACT_TARGET])
{
    char              why[128];
    aegis_call_url_t  u;

    buf[0] = '\0';
    if (aegis_call_url(aegis_act_str(act, "url"), &u, why)) {
        snprintf(buf, AEGIS_ACT_TARGET, "http:%.150s:%u", u.host, u.port);
    }
}

/* --- libcurl's calls */

static curl_socket_t
aegis_http_socket(void *data, curlsocktype purpose, struct curl_sockaddr *a)
{
    char                text[64];
    const char         *kind;
    aegis_http_call_t  *c;

    c = data;
    kind = purpose == CURLSOCKTYPE_IPCXN ? aegis_call_address(&a->addr, text) : "no Internet";
    if (kind) {
        snprintf(c->refused, sizeof(c->refused), "%.63s is a %s address", text, kind);
        return CURL_SOCKET_BAD;
    }

    snprintf(c->address, sizeof(c->address), "%.63s", text);
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t
aegis_http_body(char *data, size_t size, size_t n, void *self)
{
    aegis_http_call_t  *c;

    c = self;
    (void) aegis_act_write(c->act, AEGIS_OUT, data, size * n);

    /* what is not kept is not waited for either */
    c->full = c->act->sink[AEGIS_OUT].lost > 0;
    return c->full ? 0 : size * n;
}

static size_t
aegis_http_header(char *data, size_t size, size_t n, void *self)
{
    size_t              len;
    aegis_http_call_t  *c;

    c = self;
    len = size * n;
    if (len > 9 && strncasecmp(data, "location:", 9) == 0) {
        for (data += 9, len -= 9; len > 0 && *data == ' '; data++, len--) {
            continue;
        }
        while (len > 0 && (data[len - 1] == '\r' || data[len - 1] == '\n')) {
            len--;
        }
        snprintf(c->location, sizeof(c->location), "%.*s",
                 (int) (len < 200 ? len : 200), data);
    }

    return size * n;
}

/* --- what is sent */

static void
aegis_http_add(void *data, const char *line)
{
    aegis_http_call_t  *c;

    c = data;
    c->headers = curl_slist_append(c->headers, line);
}

/* Headers that frame the request, name the host or are the signature are ours. */
static int
aegis_http_header_fits(const char *name, const char *value)
{
    size_t       i;
    const char  *p;

    static const char *const  ours[] = { "host", "content-length", "transfer-encoding",
        "connection", "expect", "te", "trailer", "upgrade", "keep-alive", "webhook-id",
        "webhook-timestamp", "webhook-signature" };

    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strcasecmp(name, ours[i]) == 0) {
            return 0;
        }
    }

    for (p = name; *p; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')
              || *p == '-' || *p == '_'))
        {
            return 0;
        }
    }

    for (i = 0; value[i]; i++) {
        if ((unsigned char) value[i] < ' ' || value[i] == 127) {
            return 0;
        }
    }

    return p > name && strncasecmp(name, "proxy-", 6) != 0;
}

/* Headers and body of the parameters; 0: act has failed. */
static int
aegis_http_content(aegis_act_t *act, aegis_http_call_t *c)
{
    char           line[2048], id[128];
    void          *iter;
    json_t        *headers, *json;
    aegis_str_t    body;
    const char    *name, *value;

    headers = json_object_get(act->params, "headers");
    for (iter = json_object_iter(headers); iter; iter = json_object_iter_next(headers, iter)) {
        name = json_object_iter_key(iter);
        value = json_string_value(json_object_iter_value(iter));
        if (!aegis_http_header_fits(name, value)
            || (size_t) snprintf(line, sizeof(line), "%s: %s", name, value) >= sizeof(line))
        {
            aegis_act_fail(act, 1, "params.headers/%.60s cannot be sent", name);
            return 0;
        }
        aegis_http_add(c, line);
    }

    json = json_object_get(act->params, "json");
    value = aegis_act_str(act, "body");
    if (json && value) {
        aegis_act_fail(act, 1, "params.body and params.json exclude each other");
        return 0;
    }

    c->body = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : strdup(value ? value : "");
    if (c->body == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return 0;
    }
    if (json) {
        aegis_http_add(c, "Content-Type: application/json");
    }
    aegis_http_add(c, "Expect:");

    if (aegis_act_bool(act, "sign")) {
        /* of the step, not of the attempt: who has seen it knows it again */
        snprintf(id, sizeof(id), "msg_%s_%s_%d", act->exec_id, act->phase, act->step_no);
        body = aegis_view(c->body);
        if (!aegis_call_sign(id, (int64_t) time(NULL), body, aegis_http_add, c)) {
            aegis_act_fail(act, 1, "params.sign needs http.secret_file");
            return 0;
        }
    }

    return 1;
}

static const char *
aegis_http_method(const aegis_act_t *act)
{
    const char  *method;

    method = aegis_act_str(act, "method");
    return method ? method : "GET";
}

static int
aegis_http_reads(const aegis_act_t *act)
{
    return strcmp(aegis_http_method(act), "GET") == 0
           || strcmp(aegis_http_method(act), "HEAD") == 0;
}

static void
aegis_http_options(aegis_act_t *act, aegis_http_call_t *c)
{
    char         ca[4096];
    CURL        *e;
    size_t       len;
    const char  *method;

    e = c->easy;
    method = aegis_http_method(act);
    len = strlen(c->body);

    curl_easy_setopt(e, CURLOPT_URL, aegis_act_str(act, "url"));
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, aegis_http_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long) AEGIS_HTTP_CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) act->timeout_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "aegis");
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);

    if (aegis_conf_str(act->conf, "http.ca_file")[0]) {
        curl_easy_setopt(e, CURLOPT_CAINFO, aegis_conf_path(act->conf, "http.ca_file", ca));
    }
    if (c->check) {
        curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
        return;
    }

    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, aegis_http_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, aegis_http_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);

    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
        return;
    }
    if (len > 0 || !aegis_http_reads(act)) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body);
    }
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
}

static void
aegis_http_begin(aegis_act_t *act, int check)
{
    char                why[128];
    aegis_call_url_t    u;
    aegis_http_call_t  *c;

    if (!aegis_call_url(aegis_act_str(act, "url"), &u, why)) {
        aegis_act_fail(act, 1, "%s", why);
        return;
    }

    c = calloc(1, sizeof(aegis_http_call_t));
    if (c == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return;
    }
    act->self = c;
    c->act = act;
    c->check = check;

    if (!aegis_http_content(act, c)) {
        return;
    }

    c->easy = curl_easy_init();
    if (c->easy == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return;
    }

    aegis_http_options(act, c);
    if (curl_multi_add_handle(aegis_http_multi, c->easy) != CURLM_OK) {
        c->over = 1;
        aegis_act_fail(act, 0, "libcurl does not take the call");
    }
}

static void
aegis_http_start(aegis_act_t *act)
{
    aegis_http_begin(act, 0);
}

static void
aegis_http_check(aegis_act_t *act)
{
    aegis_http_begin(act, 1);
}

/* --- what came of it */

static void
aegis_http_answered(aegis_act_t *act, aegis_http_call_t *c, long status)
{
    int64_t  want;

    act->result = json_pack("{s:I, s:s}", "status", (json_int_t) status, "address", c->address);
    want = aegis_act_int(act, "expect", 0);

    if (want ? status == want : status >= 200 && status < 300) {
        aegis_act_ok(act);
    } else if (c->location[0]) {
        aegis_act_fail(act, 1, "answered %ld: redirects to %.120s, which is not followed", status,
                       c->location);
    } else {
        aegis_act_fail(act, status >= 400 && status < 500 && status != 408 && status != 429,
                       "answered %ld", status);
    }
}

static void
aegis_http_over(aegis_act_t *act, aegis_http_call_t *c)
{
    long         status, sent;
    const char  *why;

    status = sent = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &sent);
    why = c->error[0] ? c->error : curl_easy_strerror(c->code);

    if (c->refused[0] && c->address[0] == '\0') {
        aegis_act_fail(act, 1, "%s: not called", c->refused);

    } else if (c->check && c->code == CURLE_OK) {
        aegis_act_say(act, "would send %s, to %s", aegis_http_method(act), c->address);
        aegis_act_ok(act);

    } else if (status > 0 && (c->code == CURLE_OK || (c->code == CURLE_WRITE_ERROR && c->full))) {
        aegis_http_answered(act, c, status);

    } else if (sent == 0 || aegis_http_reads(act)) {
        aegis_act_fail(act, 0, "%.200s", why);
        if (c->code == CURLE_OPERATION_TIMEDOUT && aegis_act_now() >= act->deadline) {
            act->state = AEGIS_ACT_TIMEOUT;
        }

    } else {
        aegis_act_unknown(act, "sent, and no answer: %.180s", why);
    }
}

static void
aegis_http_poll(aegis_act_t *act)
{
    int                 left;
    CURLMsg            *m;
    aegis_http_call_t  *c;

    (void) curl_multi_perform(aegis_http_multi, &left);

    while ((m = curl_multi_info_read(aegis_http_multi, &left)) != NULL) {
        if (m->msg == CURLMSG_DONE) {
            c = NULL;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **) &c);
            c->code = m->data.result;
            c->over = 1;
            curl_multi_remove_handle(aegis_http_multi, m->easy_handle);
        }
    }

    c = act->self;
    if (c->over) {
        aegis_http_over(act, c);
    }
}

static void
aegis_http_cancel(aegis_act_t *act, int now)
{
    long                sent;
    aegis_http_call_t  *c;

    c = act->self;
    sent = 0;
    curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &sent);

    if (sent > 0 && !aegis_http_reads(act)) {
        aegis_act_unknown(act, "sent, and ended before its answer came");
    } else {
        aegis_act_fail(act, 0, "stopped");
        act->cancelled = 1;
    }
}

static void
aegis_http_release(aegis_act_t *act)
{
    aegis_http_call_t  *c;

    c = act->self;
    if (c == NULL) {
        return;
    }

    if (c->easy) {
        if (!c->over) {
            curl_multi_remove_handle(aegis_http_multi, c->easy);
        }
        curl_easy_cleanup(c->easy);
    }

    curl_slist_free_all(c->headers);
    free(c->body);
    free(c);
    act->self = NULL;
}

const aegis_adapter_t  aegis_adapter_http = {
    .name = "http",
    .limit = "http.per_host",
    .configure = aegis_http_configure,
    .done = aegis_http_done,
    .target = aegis_http_target,
    .check = aegis_http_check,
    .start = aegis_http_start,
    .poll = aegis_http_poll,
    .cancel = aegis_http_cancel,
    .release = aegis_http_release
};
