/*
 * ngx_http_aegis_jwt.h: bearer JWTs at the edge: a source of keys (aegis_jwks),
 * what is asked of a token (aegis_jwt), and one look at the source, which is
 * the only thing that a thread ever touches.
 */
#ifndef NGX_HTTP_AEGIS_JWT_H
#define NGX_HTTP_AEGIS_JWT_H

#include "ngx_http_aegis_module.h"

#include "aegis_jwt.h"

#if !(NGX_THREADS)
#error "JWK sets are fetched in threads: configure nginx --with-threads"
#endif

#define NGX_HTTP_AEGIS_JWKS_ETAG     256
#define NGX_HTTP_AEGIS_JWKS_MAX_SHARED 65536     /* larger texts are not shared */
#define NGX_HTTP_AEGIS_JWKS_UNKNOWN  64         /* kids remembered as unknown */

/* How a look at the source ended; a label of aegis_jwks_fetch_total. */
#define NGX_HTTP_AEGIS_JWKS_RESULTS(X)                                         \
    X(OK, "ok") X(UNCHANGED, "unchanged") X(SHARED, "shared")                  \
    X(UNREACHABLE, "unreachable") X(TIMEOUT, "timeout") X(STATUS, "status")    \
    X(TOO_LARGE, "too-large") X(INVALID, "invalid") X(ABORTED, "aborted")

typedef enum {
#define NGX_HTTP_AEGIS_JWKS_RESULT(id, name)  NGX_HTTP_AEGIS_JWKS_##id,
    NGX_HTTP_AEGIS_JWKS_RESULTS(NGX_HTTP_AEGIS_JWKS_RESULT)
#undef NGX_HTTP_AEGIS_JWKS_RESULT
    NGX_HTTP_AEGIS_JWKS_N_RESULTS
} ngx_http_aegis_jwks_result_t;

/* Which file was read, so that the same one is not read again. */
typedef struct {
    time_t                    mtime;
    long                      nsec;
    off_t                     size;
    ino_t                     ino;
} ngx_http_aegis_jwks_stamp_t;

/* One look. The thread has it from post to the event, the worker otherwise. */
typedef struct {
    /* in; the strings are of the configuration */
    const char               *url;          /* NULL: file is the source */
    const char               *file;
    const char               *ca;           /* NULL: the system's */
    ngx_msec_t                timeout;
    ngx_http_aegis_jwks_stamp_t stamp;      /* in and out */
    char                      etag[NGX_HTTP_AEGIS_JWKS_ETAG];   /* in and out */
    /* out */
    ngx_http_aegis_jwks_result_t result;
    aegis_jwks_t             *keys;         /* OK: new ones */
    char                     *text;         /* OK: malloc'ed; in, of SHARED: to parse */
    size_t                    len;
    time_t                    at;           /* SHARED: when it was fetched */
    char                      error[300];
} ngx_http_aegis_jwks_look_t;

/* What the workers, and those after a reload, share: the last good text. */
typedef struct {
    time_t                    at;           /* 0: none yet */
    size_t                    len;
    char                      etag[NGX_HTTP_AEGIS_JWKS_ETAG];
    char                      text[NGX_HTTP_AEGIS_JWKS_MAX_SHARED];
} ngx_http_aegis_jwks_shared_t;

struct ngx_http_aegis_jwks_s {
    /* configuration */
    ngx_str_t                 source;       /* file or URL, a NUL follows */
    ngx_str_t                 ca;
    unsigned                  is_url:1;
    unsigned                  used:1;       /* a location asks it */
    time_t                    refresh;      /* s */
    time_t                    early;        /* s */
    time_t                    max_stale;    /* s */
    ngx_msec_t                timeout;
    ngx_thread_pool_t        *pool;
    ngx_shm_zone_t           *zone;         /* of a URL */

    /* of this worker */
    aegis_jwks_t             *keys;         /* NULL: none yet */
    ngx_uint_t                generation;   /* of keys */
    time_t                    at;           /* of the last good look */
    ngx_msec_t                looked;       /* when the last look began */
    ngx_uint_t                n_failed;     /* in a row */
    ngx_thread_task_t        *task;
    ngx_event_t               timer;        /* the next look; cancelable */
    uint64_t                  unknown[NGX_HTTP_AEGIS_JWKS_UNKNOWN];
    ngx_uint_t                n_unknown;
    unsigned                  busy:1;       /* task is in the thread's hands */
    unsigned                  stale:1;      /* and this is in the log */
};

struct ngx_http_aegis_jwt_s {
    aegis_jwt_policy_t        policy;
};

/* jwks_fetch.c: in a thread, but for a file at the start. It may take as long as
 * timeout says, and ends at once when the worker is to end. */
void ngx_http_aegis_jwks_look(ngx_http_aegis_jwks_look_t *look);

/* jwks.c */
ngx_int_t ngx_http_aegis_jwks_init_zone(ngx_shm_zone_t *zone, void *data);
/* NULL: there are none that may be used now. */
const aegis_jwks_t *ngx_http_aegis_jwks_keys(ngx_http_aegis_jwks_t *jwks);
/* A token named a kid that is not there: maybe the source has it by now. */
void ngx_http_aegis_jwks_missing(ngx_http_aegis_jwks_t *jwks, const char *kid);

#endif
