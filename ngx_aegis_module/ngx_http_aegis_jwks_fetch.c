/*
 * ngx_http_aegis_jwks_fetch.c: one look at the source of a key set, made in a
 * thread. This is the only file that calls libcurl, and it touches nothing but
 * the look it was given: no pool, no log, no configuration.
 *
 * Invariant: it ends. A transfer has a deadline and a largest size, follows
 * nobody, and is given up as soon as the worker is to end, because nginx waits
 * for its threads.
 */
#include "ngx_http_aegis_jwt.h"

#include <curl/curl.h>

#define NGX_HTTP_AEGIS_JWKS_SLICE_MS  50

typedef struct {
    ngx_http_aegis_jwks_look_t  *look;
    char                        *text;
    size_t                       len;
    char                         etag[NGX_HTTP_AEGIS_JWKS_ETAG];
    unsigned                     too_large:1;
    char                         error[CURL_ERROR_SIZE];
} ngx_http_aegis_jwks_transfer_t;


static void
ngx_http_aegis_jwks_end(ngx_http_aegis_jwks_look_t *look,
    ngx_http_aegis_jwks_result_t result, const char *fmt, ...)
{
    va_list  args;

    look->result = result;

    va_start(args, fmt);
    (void) vsnprintf(look->error, sizeof(look->error), fmt, args);
    va_end(args);
}


/* text is now the look's, whatever is in it. */
static void
ngx_http_aegis_jwks_take(ngx_http_aegis_jwks_look_t *look, char *text, size_t len)
{
    aegis_str_t    s;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    s.len = len;
    s.data = text;

    if (aegis_jwks_parse(s, &look->keys, &err) != AEGIS_E_OK) {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_INVALID, "%s", err.detail);
        aegis_error_clear(&err);
        look->keys = NULL;
        free(text);
        return;
    }

    look->text = text;
    look->len = len;
    ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_OK, "%s", "");
}


static size_t
ngx_http_aegis_jwks_body(char *data, size_t size, size_t n, void *ctx)
{
    char                            *text;
    ngx_http_aegis_jwks_transfer_t  *t = ctx;

    n *= size;

    if (t->len + n > AEGIS_JWKS_MAX_TEXT) {
        t->too_large = 1;
        return 0;
    }

    text = realloc(t->text, t->len + n + 1);
    if (text == NULL) {
        return 0;
    }

    memcpy(text + t->len, data, n);
    t->text = text;
    t->len += n;

    return n;
}


static size_t
ngx_http_aegis_jwks_header(char *data, size_t size, size_t n, void *ctx)
{
    size_t                           len;
    ngx_http_aegis_jwks_transfer_t  *t = ctx;

    n *= size;
    len = n;

    if (len > 5 && strncasecmp(data, "etag:", 5) == 0) {
        for (data += 5, len -= 5; len && (*data == ' ' || *data == '\t'); data++) {
            len--;
        }

        while (len && (data[len - 1] == '\r' || data[len - 1] == '\n'
                       || data[len - 1] == ' '))
        {
            len--;
        }

        /* it is sent back in a header of ours */
        if (len < sizeof(t->etag) && memchr(data, '\r', len) == NULL
            && memchr(data, '\n', len) == NULL && memchr(data, '\0', len) == NULL)
        {
            memcpy(t->etag, data, len);
            t->etag[len] = '\0';
        }
    }

    return n;
}


static ngx_uint_t
ngx_http_aegis_jwks_setup(CURL *curl, ngx_http_aegis_jwks_transfer_t *t,
    struct curl_slist **headers)
{
    char                         line[NGX_HTTP_AEGIS_JWKS_ETAG + 32];
    struct curl_slist           *more;
    ngx_http_aegis_jwks_look_t  *look;

    look = t->look;

    *headers = curl_slist_append(NULL, "Accept: application/jwk-set+json, application/json");

    if (*headers && look->etag[0]) {
        (void) snprintf(line, sizeof(line), "If-None-Match: %s", look->etag);
        more = curl_slist_append(*headers, line);
        *headers = more ? more : *headers;
    }

    return *headers
        && curl_easy_setopt(curl, CURLOPT_URL, look->url) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK
        && (look->ca == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, look->ca) == CURLE_OK)
        && curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) look->timeout) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long) AEGIS_JWKS_MAX_TEXT) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_USERAGENT, "aegis-gateway/" AEGIS_VERSION) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->error) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, ngx_http_aegis_jwks_header) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_HEADERDATA, t) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ngx_http_aegis_jwks_body) == CURLE_OK
        && curl_easy_setopt(curl, CURLOPT_WRITEDATA, t) == CURLE_OK;
}


/* In slices, because a thread that waits for a server holds the worker's end up.
 * 0: given up. */
static ngx_uint_t
ngx_http_aegis_jwks_run(CURLM *multi, CURLcode *ret_code)
{
    int       running, left;
    CURLMsg  *msg;

    running = 1;
    *ret_code = CURLE_FAILED_INIT;

    while (curl_multi_perform(multi, &running) == CURLM_OK && running) {

        if (ngx_quit || ngx_terminate || ngx_exiting) {
            return 0;
        }

        if (curl_multi_poll(multi, NULL, 0, NGX_HTTP_AEGIS_JWKS_SLICE_MS, NULL)
            != CURLM_OK)
        {
            return 1;
        }
    }

    msg = curl_multi_info_read(multi, &left);

    if (msg && msg->msg == CURLMSG_DONE) {
        *ret_code = msg->data.result;
    }

    return 1;
}


static void
ngx_http_aegis_jwks_judge(CURL *curl, ngx_http_aegis_jwks_transfer_t *t, CURLcode code)
{
    long                         status;
    ngx_http_aegis_jwks_look_t  *look;

    look = t->look;
    status = 0;
    (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);

    if (t->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_TOO_LARGE,
                                "it is larger than %d bytes", AEGIS_JWKS_MAX_TEXT);

    } else if (code != CURLE_OK) {
        ngx_http_aegis_jwks_end(look, code == CURLE_OPERATION_TIMEDOUT
                                      ? NGX_HTTP_AEGIS_JWKS_TIMEOUT
                                      : NGX_HTTP_AEGIS_JWKS_UNREACHABLE, "%s",
                                t->error[0] ? t->error : curl_easy_strerror(code));

    } else if (status == NGX_HTTP_NOT_MODIFIED && look->etag[0]) {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_UNCHANGED, "%s", "");

    } else if (status != NGX_HTTP_OK) {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_STATUS, "HTTP status %ld", status);

    } else {
        ngx_http_aegis_jwks_take(look, t->text, t->len);
        t->text = NULL;

        /* the tag of what cannot be used must not be answered with 304 */
        if (look->result == NGX_HTTP_AEGIS_JWKS_OK) {
            memcpy(look->etag, t->etag, sizeof(look->etag));
        }
    }
}


static void
ngx_http_aegis_jwks_fetch(ngx_http_aegis_jwks_look_t *look)
{
    CURL                            *curl;
    CURLM                           *multi;
    CURLcode                         code;
    struct curl_slist               *headers;
    ngx_http_aegis_jwks_transfer_t   t;

    memset(&t, 0, sizeof(t));
    t.look = look;
    headers = NULL;

    curl = curl_easy_init();
    multi = curl_multi_init();

    if (curl == NULL || multi == NULL || !ngx_http_aegis_jwks_setup(curl, &t, &headers)
        || curl_multi_add_handle(multi, curl) != CURLM_OK)
    {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_UNREACHABLE,
                                "libcurl cannot be set up");

    } else {
        if (ngx_http_aegis_jwks_run(multi, &code)) {
            ngx_http_aegis_jwks_judge(curl, &t, code);

        } else {
            /* a look-up of the name may still run in a thread of libcurl's */
            (void) curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
            ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_ABORTED, "%s", "");
        }

        (void) curl_multi_remove_handle(multi, curl);
    }

    curl_easy_cleanup(curl);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    free(t.text);
}


static void
ngx_http_aegis_jwks_read(ngx_http_aegis_jwks_look_t *look)
{
    char             *text;
    ssize_t           n;
    ngx_fd_t          fd;
    ngx_file_info_t   fi;

    fd = ngx_open_file(look->file, NGX_FILE_RDONLY | NGX_FILE_NONBLOCK, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE || ngx_fd_info(fd, &fi) == NGX_FILE_ERROR
        || !ngx_is_file(&fi))
    {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_UNREACHABLE,
                                "it cannot be opened as a file");
        goto done;
    }

    if (look->stamp.ino == fi.st_ino && look->stamp.size == fi.st_size
        && look->stamp.mtime == fi.st_mtim.tv_sec
        && look->stamp.nsec == fi.st_mtim.tv_nsec)
    {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_UNCHANGED, "%s", "");
        goto done;
    }

    if (fi.st_size > AEGIS_JWKS_MAX_TEXT) {
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_TOO_LARGE,
                                "it is larger than %d bytes", AEGIS_JWKS_MAX_TEXT);
        goto done;
    }

    text = malloc(fi.st_size + 1);
    n = text ? read(fd, text, fi.st_size) : -1;

    if (n != fi.st_size) {
        free(text);
        ngx_http_aegis_jwks_end(look, NGX_HTTP_AEGIS_JWKS_UNREACHABLE, "it cannot be read");
        goto done;
    }

    ngx_http_aegis_jwks_take(look, text, n);

    if (look->result == NGX_HTTP_AEGIS_JWKS_OK) {
        look->stamp.ino = fi.st_ino;
        look->stamp.size = fi.st_size;
        look->stamp.mtime = fi.st_mtim.tv_sec;
        look->stamp.nsec = fi.st_mtim.tv_nsec;
    }

done:

    if (fd != NGX_INVALID_FILE) {
        ngx_close_file(fd);
    }
}


void
ngx_http_aegis_jwks_look(ngx_http_aegis_jwks_look_t *look)
{
    char  *text;

    look->keys = NULL;

    if (look->text) {
        /* another worker has fetched it */
        text = look->text;
        look->text = NULL;
        ngx_http_aegis_jwks_take(look, text, look->len);

        if (look->result == NGX_HTTP_AEGIS_JWKS_OK) {
            look->result = NGX_HTTP_AEGIS_JWKS_SHARED;
        }

    } else if (look->url) {
        ngx_http_aegis_jwks_fetch(look);

    } else {
        ngx_http_aegis_jwks_read(look);
    }
}
