/*
 * aegis_store.c: puts that wait and puts under way, over one curl multi handle.
 * S3 is PUT with AWS SigV4, which libcurl makes; the body's sha256, which S3
 * wants in a header, is ours.
 * Invariants: nothing here waits; at most AEGIS_STORE_ACTIVE transfers and
 * AEGIS_STORE_QUEUE objects at a time; one object has one transfer at a time, so
 * that an older state never overwrites a newer one.
 */
#include "aegis_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/evp.h>

#include "aegis_hash.h"
#include "aegis_log.h"
#include "aegis_metrics.h"

#define AEGIS_STORE_ACTIVE       8
#define AEGIS_STORE_QUEUE        1024
#define AEGIS_STORE_KEY          256
#define AEGIS_STORE_CONNECT_MS   5000
#define AEGIS_STORE_TIMEOUT_MS   60000
#define AEGIS_STORE_BACKOFF_MS   500
#define AEGIS_STORE_BACKOFF_MAX  30000
#define AEGIS_STORE_ANSWER       512

typedef struct {
    char                key[AEGIS_STORE_KEY];
    int                 fd;
    int64_t             size;
    int                 last;
    int                 tries;
    int64_t             since;          /* of the last put, for giving up */
    int64_t             next_at;        /* after a failure; 0: at once */

    /* under way */
    CURL               *easy;           /* NULL: it waits */
    int64_t             sending;        /* bytes of this transfer */
    int64_t             at;
    int                 sending_last;
    struct curl_slist  *headers;
    char                url[1024];
    char                answer[AEGIS_STORE_ANSWER];
    size_t              answer_len;
} aegis_store_object_t;

struct aegis_store_s {
    int                    s3;
    char                   bucket[128];
    char                   endpoint[512];
    char                   prefix[128];
    char                   sigv4[128];
    char                   ca_file[4096];
    char                  *userpwd;
    int64_t                give_up_ms;
    aegis_store_done_t     done;
    void                  *data;
    CURLM                 *multi;
    size_t                 active;
    aegis_store_object_t  *v[AEGIS_STORE_QUEUE];
    size_t                 n;
    unsigned               seed;
};

static int64_t
aegis_store_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* "access:secret" out of a file of one line. */
static char *
aegis_store_secret(const char *path)
{
    int      fd;
    char     buf[1024], *p;
    ssize_t  n;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return NULL;
    }

    buf[n] = '\0';
    buf[strcspn(buf, "\r\n")] = '\0';
    p = strchr(buf, ':') ? strdup(buf) : NULL;
    explicit_bzero(buf, sizeof(buf));

    return p;
}

static aegis_code_t
aegis_store_s3(aegis_store_t *s, const aegis_conf_t *conf, aegis_error_t *err)
{
    char    path[4096];
    size_t  len;

    snprintf(s->bucket, sizeof(s->bucket), "%s", aegis_conf_str(conf, "store.s3.bucket"));
    snprintf(s->endpoint, sizeof(s->endpoint), "%s", aegis_conf_str(conf, "store.s3.endpoint"));
    snprintf(s->prefix, sizeof(s->prefix), "%s", aegis_conf_str(conf, "store.s3.prefix"));
    snprintf(s->sigv4, sizeof(s->sigv4), "aws:amz:%s:s3", aegis_conf_str(conf, "store.s3.region"));
    if (aegis_conf_str(conf, "store.s3.ca_file")[0]) {
        (void) aegis_conf_path(conf, "store.s3.ca_file", s->ca_file);
    }

    for (len = strlen(s->endpoint); len > 0 && s->endpoint[len - 1] == '/'; len--) {
        s->endpoint[len - 1] = '\0';
    }
    if (s->bucket[0] == '\0' || s->endpoint[0] == '\0') {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "store.kind s3 needs store.s3.endpoint and store.s3.bucket");
    }

    (void) aegis_conf_path(conf, "store.s3.credentials_file", path);
    s->userpwd = aegis_store_secret(path);
    if (s->userpwd == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "store.s3.credentials_file: %s has no line <access key>:<secret key>", path);
    }

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK
        || (s->multi = curl_multi_init()) == NULL)
    {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "cannot start libcurl");
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_store_open(const aegis_conf_t *conf, aegis_store_done_t done, void *data,
    aegis_store_t **ret_store, aegis_error_t *err)
{
    aegis_code_t     rc;
    const char      *kind;
    aegis_store_t   *s;

    kind = aegis_conf_str(conf, "store.kind");
    s = calloc(1, sizeof(aegis_store_t));
    if (s == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    s->done = done;
    s->data = data;
    s->seed = (unsigned) aegis_store_now() ^ (unsigned) getpid();
    s->give_up_ms = aegis_conf_int(conf, "store.s3.give_up_s") * 1000;
    s->s3 = strcmp(kind, "s3") == 0;
    snprintf(s->bucket, sizeof(s->bucket), "file");

    if (!s->s3 && strcmp(kind, "file") != 0) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "store.kind is neither file nor s3");
    } else {
        rc = s->s3 ? aegis_store_s3(s, conf, err) : AEGIS_E_OK;
    }

    if (rc != AEGIS_E_OK) {
        aegis_store_close(s);
        return rc;
    }

    *ret_store = s;
    return AEGIS_E_OK;
}

static void
aegis_store_detach(aegis_store_t *s, aegis_store_object_t *o)
{
    if (o->easy == NULL) {
        return;
    }

    curl_multi_remove_handle(s->multi, o->easy);
    curl_easy_cleanup(o->easy);
    curl_slist_free_all(o->headers);
    o->easy = NULL;
    o->headers = NULL;
    s->active--;
}

static void
aegis_store_drop(aegis_store_t *s, size_t i)
{
    aegis_store_object_t  *o;

    o = s->v[i];
    aegis_store_detach(s, o);
    close(o->fd);
    free(o);
    s->v[i] = s->v[--s->n];
}

void
aegis_store_close(aegis_store_t *s)
{
    if (s == NULL) {
        return;
    }

    while (s->n > 0) {
        aegis_store_drop(s, s->n - 1);
    }

    if (s->multi) {
        curl_multi_cleanup(s->multi);
    }
    if (s->userpwd) {
        explicit_bzero(s->userpwd, strlen(s->userpwd));
    }
    free(s->userpwd);
    free(s);
}

const char *
aegis_store_bucket(const aegis_store_t *s)
{
    return s->bucket;
}

void
aegis_store_key(const aegis_store_t *s, const char *key, char *buf, size_t size)
{
    snprintf(buf, size, "%s%s", s->prefix, key);
}

int
aegis_store_put(aegis_store_t *s, const char *key, int fd, int64_t size, int last)
{
    int                    copy;
    size_t                 i;
    aegis_store_object_t  *o;

    if (!s->s3) {
        if (last && s->done) {
            s->done(s->data, key, 1);
        }
        return 0;
    }

    for (i = 0; i < s->n && strcmp(s->v[i]->key, key) != 0; i++) {
        continue;
    }

    if (i == s->n) {
        if (s->n == AEGIS_STORE_QUEUE || (!last && s->n > AEGIS_STORE_QUEUE / 2)) {
            return -1;
        }
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        o = copy < 0 ? NULL : calloc(1, sizeof(aegis_store_object_t));
        if (o == NULL) {
            if (copy >= 0) {
                close(copy);
            }
            return -1;
        }
        snprintf(o->key, sizeof(o->key), "%s", key);
        o->fd = copy;
        s->v[s->n++] = o;
    }

    o = s->v[i];
    o->size = size;
    if (last && !o->last) {
        o->last = 1;
        o->tries = 0;
        o->next_at = 0;
        o->since = aegis_store_now();
    }

    return 0;
}

static size_t
aegis_store_read(char *buf, size_t size, size_t n, void *data)
{
    size_t                 want;
    ssize_t                got;
    aegis_store_object_t  *o;

    o = data;
    want = size * n;
    if ((int64_t) want > o->sending - o->at) {
        want = (size_t) (o->sending - o->at);
    }
    if (want == 0) {
        return 0;
    }

    got = pread(o->fd, buf, want, (off_t) o->at);
    if (got <= 0) {
        return CURL_READFUNC_ABORT;
    }

    o->at += got;
    return (size_t) got;
}

static int
aegis_store_seek(void *data, curl_off_t offset, int origin)
{
    if (origin != SEEK_SET) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    ((aegis_store_object_t *) data)->at = offset;
    return CURL_SEEKFUNC_OK;
}

static size_t
aegis_store_answer(char *buf, size_t size, size_t n, void *data)
{
    size_t                 keep;
    aegis_store_object_t  *o;

    o = data;
    keep = AEGIS_STORE_ANSWER - 1 - o->answer_len;
    keep = size * n < keep ? size * n : keep;
    memcpy(o->answer + o->answer_len, buf, keep);
    o->answer_len += keep;
    o->answer[o->answer_len] = '\0';

    return size * n;
}

/* x-amz-content-sha256 of the first size bytes; 0: they cannot be read. */
static int
aegis_store_hash(const aegis_store_object_t *o, char header[128])
{
    int             ok;
    char            buf[16384], hex[65];
    int64_t         at;
    ssize_t         n;
    EVP_MD_CTX     *ctx;
    unsigned char   digest[AEGIS_SHA256_LEN];

    ctx = EVP_MD_CTX_new();
    ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

    for (at = 0; ok && at < o->sending; at += n) {
        n = o->sending - at < (int64_t) sizeof(buf) ? (ssize_t) (o->sending - at)
                                                    : (ssize_t) sizeof(buf);
        n = pread(o->fd, buf, (size_t) n, (off_t) at);
        ok = n > 0 && EVP_DigestUpdate(ctx, buf, (size_t) n);
    }

    ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL);
    EVP_MD_CTX_free(ctx);
    if (ok) {
        aegis_hex(digest, sizeof(digest), hex);
        snprintf(header, 128, "x-amz-content-sha256: %s", hex);
    }

    return ok;
}

static void
aegis_store_options(aegis_store_t *s, aegis_store_object_t *o, CURL *e)
{
    snprintf(o->url, sizeof(o->url), "%s/%s/%s%s", s->endpoint, s->bucket, s->prefix, o->key);

    curl_easy_setopt(e, CURLOPT_URL, o->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t) o->sending);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, aegis_store_read);
    curl_easy_setopt(e, CURLOPT_READDATA, o);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, aegis_store_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, o);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, aegis_store_answer);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, o);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, o->headers);
    curl_easy_setopt(e, CURLOPT_AWS_SIGV4, s->sigv4);
    curl_easy_setopt(e, CURLOPT_USERPWD, s->userpwd);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long) AEGIS_STORE_CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) AEGIS_STORE_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_PRIVATE, o);
    if (s->ca_file[0]) {
        curl_easy_setopt(e, CURLOPT_CAINFO, s->ca_file);
    }
}

static void
aegis_store_start(aegis_store_t *s, aegis_store_object_t *o)
{
    char   header[128];
    CURL  *e;

    o->sending = o->size;
    o->sending_last = o->last;
    o->at = 0;
    o->answer_len = 0;
    o->answer[0] = '\0';

    if (!aegis_store_hash(o, header)) {
        o->next_at = aegis_store_now() + AEGIS_STORE_BACKOFF_MS;
        o->tries++;
        return;
    }

    e = curl_easy_init();
    if (e == NULL) {
        return;
    }

    o->headers = curl_slist_append(NULL, header);
    o->headers = curl_slist_append(o->headers, "Content-Type: text/plain; charset=utf-8");
    o->headers = curl_slist_append(o->headers, "Expect:");
    aegis_store_options(s, o, e);
    o->easy = e;
    s->active++;

    if (curl_multi_add_handle(s->multi, e) != CURLM_OK) {
        aegis_store_detach(s, o);
        o->next_at = aegis_store_now() + AEGIS_STORE_BACKOFF_MS;
    }
}

static void
aegis_store_failed(aegis_store_t *s, aegis_store_object_t *o, const char *why, long status)
{
    int64_t  ms;

    ms = (int64_t) AEGIS_STORE_BACKOFF_MS << (o->tries < 6 ? o->tries : 6);
    ms = ms < AEGIS_STORE_BACKOFF_MAX ? ms : AEGIS_STORE_BACKOFF_MAX;
    o->tries++;
    o->next_at = aegis_store_now() + ms - ms / 4 + rand_r(&s->seed) % (ms / 2 + 1);

    aegis_metric_add(aegis_counter("aegis_store_puts_total", "outcome=\"failed\"",
                                   "objects put into the object store, by outcome"), 1);
    aegis_log(AEGIS_LOG_WARN, "store", "put.failed", "key", "%s", o->key, "status", "%ld", status,
              "detail", "%.200s", why, "tries", "%d", o->tries, NULL);
}

/* What became of the transfers that are over. */
static void
aegis_store_reap(aegis_store_t *s)
{
    int                    left, ok;
    long                   status;
    CURLMsg               *m;
    CURLcode               code;
    aegis_store_object_t  *o;

    while ((m = curl_multi_info_read(s->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE) {
            continue;
        }

        code = m->data.result;
        status = 0;
        o = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **) &o);
        curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        aegis_store_detach(s, o);

        ok = code == CURLE_OK && status >= 200 && status < 300;
        if (!ok) {
            aegis_store_failed(s, o, code != CURLE_OK ? curl_easy_strerror(code) : o->answer,
                               status);
            continue;
        }

        o->tries = 0;
        o->next_at = 0;
        aegis_metric_add(aegis_counter("aegis_store_puts_total", "outcome=\"ok\"",
                                       "objects put into the object store, by outcome"), 1);
        if (o->sending == o->size && o->sending_last == o->last) {
            o->size = -1;               /* nothing is newer than what is stored */
        }
    }
}

size_t
aegis_store_turn(aegis_store_t *s)
{
    int                    running;
    size_t                 i;
    int64_t                now;
    aegis_store_object_t  *o;

    if (s->n == 0) {
        return 0;
    }

    now = aegis_store_now();
    (void) curl_multi_perform(s->multi, &running);
    aegis_store_reap(s);

    for (i = 0; i < s->n; ) {
        o = s->v[i];
        if (o->easy) {
            i++;

        } else if (o->size < 0 || (o->last && o->tries > 0 && now > o->since + s->give_up_ms)) {
            if (o->last && s->done) {
                s->done(s->data, o->key, o->size < 0);
            }
            aegis_store_drop(s, i);

        } else {
            if (s->active < AEGIS_STORE_ACTIVE && now >= o->next_at) {
                aegis_store_start(s, o);
            }
            i++;
        }
    }

    if (s->active > 0) {
        (void) curl_multi_perform(s->multi, &running);
    }

    return s->n;
}
