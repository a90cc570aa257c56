/*
 * aegis_librarian_fetch.c: the document behind a URL: whether it may be got, what
 * it is, and its text as UTF-8. Invariant: a URL comes from whoever may write
 * documents, so it is judged like one of a plan: hosts of kb.allow, at addresses of
 * the Internet or of kb.allow_private.
 */
#include "aegis_librarian_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aegis_buf.h"
#include "aegis_json.h"

/* Markdown often comes as plain text: then the name says more. */
static const char *
aegis_librarian_format(const char *type, const char *url)
{
    size_t  n;

    n = strcspn(url, "?#");

    if (strncasecmp(type, "text/html", 9) == 0
        || strncasecmp(type, "application/xhtml+xml", 21) == 0)
    {
        return "html";
    }
    if (strncasecmp(type, "text/markdown", 13) == 0
        || (n > 3 && strncmp(url + n - 3, ".md", 3) == 0))
    {
        return "markdown";
    }
    if (strncasecmp(type, "application/json", 16) == 0) {
        return "json";
    }
    if (type[0] == '\0' || strncasecmp(type, "text/", 5) == 0) {
        return "text";
    }

    return NULL;
}

/* What a database takes: UTF-8 without U+0000. */
static char *
aegis_librarian_utf8(const char *s, size_t len, size_t *ret_len)
{
    char         *text;
    size_t        i, n;
    uint32_t      c;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    for (i = 0; i < len; i += n) {
        n = aegis_utf8_next(s + i, len - i, &c);
        if (n == 0 || c == 0) {
            n = 1;
            aegis_buf_add(&buf, "\xef\xbf\xbd", 3);
        } else {
            aegis_buf_add(&buf, s + i, n);
        }
    }

    aegis_buf_puts(&buf, "");
    text = aegis_buf_take(&buf, ret_len);

    return text;
}

int
aegis_librarian_fetch(const aegis_conf_t *conf, const aegis_allow_t *allow,
    volatile int *stopping, const char *url, aegis_fetched_t *ret, aegis_error_t *err)
{
    char                       why[128], path[4096] = "";
    const char                *format;
    aegis_allow_url_t          u;
    aegis_librarian_call_t     call;
    aegis_librarian_answer_t   answer;

    memset(ret, 0, sizeof(*ret));

    if (!aegis_allow_url(allow, url, &u, why)) {
        ret->final = 1;
        aegis_error_set(err, AEGIS_E_FORBIDDEN, "url: %s", why);
        return 0;
    }

    if (aegis_conf_str(conf, "kb.ca_file")[0]) {
        (void) aegis_conf_path(conf, "kb.ca_file", path);
    }

    memset(&call, 0, sizeof(call));
    call.url = url;
    call.allow = allow;
    call.ca_file = path;
    call.max = (size_t) aegis_conf_int(conf, "kb.fetch_max");
    call.timeout_ms = (long) aegis_conf_int(conf, "kb.fetch_timeout_s") * 1000;
    call.stopping = stopping;

    if (!aegis_librarian_call(&call, &answer, err)) {
        ret->final = answer.refused;
        return 0;
    }

    format = aegis_librarian_format(answer.type, url);

    if (answer.status != 200) {
        ret->final = answer.status < 500 && answer.status != 429 && answer.status != 408;
        aegis_error_set(err, AEGIS_E_BAD_GATEWAY, "the server answered %ld", answer.status);

    } else if (format == NULL) {
        ret->final = 1;
        aegis_error_set(err, AEGIS_E_MEDIA_TYPE, "it is %.60s, which cannot be read", answer.type);

    } else {
        snprintf(ret->format, sizeof(ret->format), "%s", format);
        ret->body = aegis_librarian_utf8(answer.body, answer.len, &ret->len);
        if (ret->body == NULL) {
            aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
    }

    free(answer.body);

    return ret->body != NULL;
}
