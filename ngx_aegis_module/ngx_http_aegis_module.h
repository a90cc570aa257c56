/*
 * ngx_http_aegis_module.h: the structures of the edge. Read this first: for
 * each field it says who sets and who reads it.
 *
 * One invariant holds everywhere: a job (one request) owns its memory and
 * outlives r when its statement is already on the wire; job->r is NULL from the
 * moment the client's request is gone. PGresult never leaves the two pg
 * files but as row views that are valid during the call that passes them.
 */
#ifndef NGX_HTTP_AEGIS_MODULE_H
#define NGX_HTTP_AEGIS_MODULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <libpq-fe.h>

#include "aegis.h"
#include "aegis_access.h"
#include "aegis_body.h"
#include "aegis_case.h"
#include "aegis_error.h"
#include "aegis_failpoint.h"
#include "aegis_fsm.h"
#include "aegis_hash.h"
#include "aegis_http.h"
#include "aegis_kb.h"
#include "aegis_module.h"
#include "aegis_plan_diff.h"
#include "aegis_query.h"
#include "aegis_route.h"
#include "aegis_stmt.h"
#include "aegis_time.h"

#define NGX_HTTP_AEGIS_MAX_CONNINFO  80
#define NGX_HTTP_AEGIS_MAX_GROUP   128
#define NGX_HTTP_AEGIS_MAX_CONNS   32
#define NGX_HTTP_AEGIS_MAX_TENANT    63
#define NGX_HTTP_AEGIS_MAX_PRINCIPAL 128
#define NGX_HTTP_AEGIS_MAX_BODY    (1024 * 1024)
#define NGX_HTTP_AEGIS_MAX_PENDING 40
#define NGX_HTTP_AEGIS_PENDING_MS  25
#define NGX_HTTP_AEGIS_UNIT_BYTES  (1024 * 1024)   /* a group stops growing here */

typedef struct ngx_http_aegis_db_s    ngx_http_aegis_db_t;
typedef struct ngx_http_aegis_lane_s  ngx_http_aegis_lane_t;
typedef struct ngx_http_aegis_pg_s    ngx_http_aegis_pg_t;
typedef struct ngx_http_aegis_job_s   ngx_http_aegis_job_t;
typedef struct ngx_http_aegis_jwt_s   ngx_http_aegis_jwt_t;     /* jwt.h */
typedef struct ngx_http_aegis_jwks_s  ngx_http_aegis_jwks_t;
typedef struct ngx_http_aegis_quota_s ngx_http_aegis_quota_t;
typedef struct ngx_http_aegis_otel_s  ngx_http_aegis_otel_t;     /* otel.h */

/* --- configuration: written while the configuration is read, then constant */

/* Who asks, whatever the credential: of the configuration, or the job's own. */
typedef struct {
    ngx_str_t                 tenant;
    ngx_str_t                 principal;    /* a NUL follows */
    ngx_str_t                 scopes;       /* between commas or blanks */
    ngx_str_t                 id;           /* which credential; nothing secret */
    const char               *method;       /* key, jwt, mtls, trusted */
} ngx_http_aegis_who_t;

/* A line of aegis_keys or aegis_certs. */
typedef struct {
    ngx_str_node_t            node;         /* by id, by hash alone, by sha256:, uri:, dn: */
    u_char                    hash[32];     /* of keys: sha256 of the secret */
    time_t                    not_before;   /* 0: no such bound */
    time_t                    not_after;
    ngx_http_aegis_who_t      who;
} ngx_http_aegis_entry_t;

typedef struct {
    ngx_rbtree_t              tree;         /* of entries */
    ngx_rbtree_node_t         sentinel;
} ngx_http_aegis_list_t;

typedef struct {
    ngx_str_t                 body;
    ngx_str_t                 etag;         /* with its quotes */
} ngx_http_aegis_file_t;

typedef struct {
    const char               *path;         /* a template of routes.def */
    ngx_str_t                 since;        /* Deprecation, RFC 9745 */
    ngx_str_t                 sunset;       /* Sunset, RFC 8594; may be empty */
    ngx_str_t                 link;         /* Link's value, up to {id} */
    ngx_str_t                 rest;         /* behind {id}; data NULL: no {id} */
} ngx_http_aegis_deprecated_t;

typedef struct {
    ngx_array_t               dbs;          /* ngx_http_aegis_db_t * */
    ngx_array_t               jwks;         /* ngx_http_aegis_jwks_t * */
    ngx_shm_zone_t           *zone;         /* the shared counters */
    ngx_int_t                 request_id;   /* index of $request_id */
    ngx_http_aegis_otel_t    *otel;         /* aegis_otel; NULL: none */
} ngx_http_aegis_main_conf_t;

typedef struct {
    ngx_http_aegis_db_t      *db;           /* own, or the http level's */
    ngx_http_aegis_list_t    *keys;
    ngx_http_aegis_jwt_t     *jwt;          /* what is asked of tokens */
    ngx_http_aegis_jwks_t    *jwks;         /* their issuer's keys */
    ngx_http_aegis_list_t    *certs;
    ngx_str_t                 password;     /* of aegis_database_password_file */
    u_char                   *password_in;  /* where that stands */
    ngx_uint_t                password_line;
    ngx_str_t                 cursor_secret;
    ngx_http_aegis_file_t    *openapi;
    ngx_uint_t                connections;
    ngx_uint_t                read_connections;
    ngx_uint_t                queue;
    ngx_uint_t                group;
    ngx_msec_t                timeout;
    u_char                   *file;         /* where one of the numbers is set */
    ngx_uint_t                line;         /* 0: none is, here */
} ngx_http_aegis_srv_conf_t;

typedef struct {
    ngx_http_complex_value_t  tenant;
    ngx_http_complex_value_t  principal;
    ngx_http_complex_value_t  scopes;
} ngx_http_aegis_trusted_t;

typedef struct {
    ngx_flag_t                enable;
    u_char                   *file;         /* where "aegis on" is */
    ngx_uint_t                line;
    unsigned                  problem:1;    /* aegis_problem */
    ngx_flag_t                require_if_match;
    ngx_flag_t                strict_key;   /* Idempotency-Key must be quoted */
    ngx_array_t              *origins;      /* ngx_str_t: CORS is for these */
    ngx_array_t              *deprecated;   /* ngx_http_aegis_deprecated_t */
    ngx_http_aegis_trusted_t *trusted;
    ngx_http_aegis_quota_t   *quota;
} ngx_http_aegis_loc_conf_t;

/* --- the database side, one per worker process */

typedef struct {
    int                       status;
    aegis_str_t               code;
    int64_t                   version;      /* 0: the answer names none */
    aegis_str_t               body;
    aegis_str_t               extra;        /* data NULL: SQL NULL */
} ngx_http_aegis_row_t;

/* What is sent at once: one statement over n jobs. */
typedef struct {
    ngx_uint_t                n;
    ngx_uint_t                alone;        /* its item may wait for a lock */
    size_t                    bytes;
    ngx_http_aegis_job_t     *jobs[NGX_HTTP_AEGIS_MAX_GROUP];
} ngx_http_aegis_unit_t;

typedef enum {
    NGX_HTTP_AEGIS_PG_DOWN = 0,             /* timer: the next attempt */
    NGX_HTTP_AEGIS_PG_CONNECT,              /* timer: connect timeout */
    NGX_HTTP_AEGIS_PG_SETUP,                /* settings and PREPAREs; same timer */
    NGX_HTTP_AEGIS_PG_IDLE,                 /* no timer; c->idle */
    NGX_HTTP_AEGIS_PG_BUSY,                 /* timer: the query's, not cancelable */
    NGX_HTTP_AEGIS_PG_STATES
} ngx_http_aegis_pg_state_t;

struct ngx_http_aegis_pg_s {
    ngx_http_aegis_lane_t    *lane;
    ngx_http_aegis_pg_state_t state;        /* set by pg.c's set_state() alone */
    PGconn                   *conn;
    ngx_connection_t         *c;            /* a fake one around PQsocket() */
    PGresult                 *res;          /* of the running unit, until the end */
    ngx_event_t               timer;
    ngx_msec_t                backoff;      /* 0 after a statement worked */
    ngx_http_aegis_unit_t     unit;         /* valid while BUSY */
    uint64_t                  sent_us;
    char                     *buf;          /* encoded parameters */
    size_t                    buf_size;
    char                     *text;         /* of the cases that it answered last */
    size_t                    text_size;
    ngx_uint_t                server;       /* of db->servers: where it goes */
    ngx_uint_t                asked;        /* servers that failed in this round */
    ngx_uint_t                timeline;     /* of the server, 0: not asked */
    unsigned                  flushed:1;    /* every byte of the unit has left */
    unsigned                  hung:1;       /* it is given up for its silence */
    unsigned                  warned:1;     /* this outage is in the log */
};

struct ngx_http_aegis_lane_s {
    ngx_http_aegis_db_t      *db;
    const char               *name;
    unsigned                  write:1;
    unsigned                  scout:1;      /* carries no jobs: it looks for a server */
    unsigned                  unprepared:1; /* the last PREPAREs were refused */
    ngx_http_aegis_pg_t      *pgs;
    ngx_uint_t                n_pgs;
    ngx_uint_t                n_up;         /* IDLE or BUSY */
    ngx_uint_t                n_alone;      /* BUSY with an alone unit */
    ngx_msec_t                down_since;   /* valid while n_up is 0 */
    ngx_queue_t               queue;        /* jobs in arrival order */
    ngx_uint_t                n_queued;
    ngx_uint_t                crowd;        /* waiting and out at once, lately at most */
    ngx_uint_t                share;        /* of them, a unit's */
    uint64_t                  ended_us;     /* when one was last answered, */
    uint64_t                  took_us;      /* and how long it was out */
    ngx_event_t               post;         /* dispatch after this round of events */
    ngx_event_t               wake;         /* a delayed job may go now */
    ngx_msec_t                notified;     /* when the relay was last woken */
    time_t                    full_at;      /* when a full queue was last logged */
    struct ngx_http_aegis_mark_s *marks;    /* keys and cases met in the scan mark_gen */
    ngx_uint_t                marks_mask;
    uint32_t                  mark_gen;
};

typedef struct {
    char                     *host;         /* NULL: libpq's default */
    char                     *hostaddr;
    char                     *port;
} ngx_http_aegis_server_t;

struct ngx_http_aegis_db_s {
    ngx_http_aegis_srv_conf_t *conf;        /* numbers, read after the merge */
    unsigned                  used:1;       /* a location asks it: connect */
    char                    **names;        /* of PQconnectStartParams, */
    char                    **values;       /* without what names a server */
    ngx_http_aegis_server_t  *servers;
    ngx_uint_t                n_servers;    /* at least 1 */
    ngx_msec_t                connect_timeout;  /* for one of several servers */
    ngx_uint_t                server;       /* that answered last */
    uint64_t                  system;       /* the cluster, when there are several */
    ngx_uint_t                timeline;     /* the highest that was seen of it */
    unsigned                  with_password:1;
    ngx_http_aegis_lane_t    *write;        /* NULL outside a worker */
    ngx_http_aegis_lane_t    *read;
    ngx_http_aegis_lane_t    *scout;        /* NULL: there is one server */
    struct ngx_http_aegis_watch_s *watch;   /* what /readyz answers from */
};

/* --- one request */

enum {
    NGX_HTTP_AEGIS_H_AUTHORIZATION,
    NGX_HTTP_AEGIS_H_KEY,
    NGX_HTTP_AEGIS_H_IF_MATCH,
    NGX_HTTP_AEGIS_H_NONE_MATCH,
    NGX_HTTP_AEGIS_H_TYPE,
    NGX_HTTP_AEGIS_H_ENCODING,
    NGX_HTTP_AEGIS_H_ACCEPT,
    NGX_HTTP_AEGIS_H_TRACEPARENT,
    NGX_HTTP_AEGIS_H_TRACESTATE,
    NGX_HTTP_AEGIS_H_ORIGIN,
    NGX_HTTP_AEGIS_H_PREFLIGHT,
    NGX_HTTP_AEGIS_N_HEADERS
};

typedef struct {
    ngx_str_t                 value;        /* of the first line */
    ngx_uint_t                n;            /* lines */
} ngx_http_aegis_header_t;

typedef struct {
    ngx_uint_t                status;
    ngx_str_t                 body;
    unsigned                  problem:1;
    unsigned                  text:2;       /* 1: Prometheus text, 2: OpenMetrics */
    unsigned                  cacheable:1;  /* may be compressed and kept */
} ngx_http_aegis_reply_t;

typedef enum {
    NGX_HTTP_AEGIS_PHASE_RUN = 0,           /* the route's own statement */
    NGX_HTTP_AEGIS_PHASE_LOAD,              /* MODULE: facts are on their way */
    NGX_HTTP_AEGIS_PHASE_CITE,              /* planner: so is what it may quote */
    NGX_HTTP_AEGIS_PHASE_COMMIT,            /* MODULE: the decision is */
    NGX_HTTP_AEGIS_PHASE_PROBE              /* MODULE: refused; is the key known? */
} ngx_http_aegis_phase_t;

struct ngx_http_aegis_job_s {
    ngx_pool_t               *pool;         /* holds this struct */
    ngx_http_request_t       *r;            /* NULL: nobody waits for the answer */
    const ngx_http_request_t *owner;        /* whose job it is: compared, not read */
    ngx_http_aegis_srv_conf_t *conf;
    ngx_uint_t                step;
    uint64_t                  start_us;

    const aegis_route_t      *route;        /* NULL until the route step */
    aegis_str_t               id;           /* {id} of the path, lower case */
    const ngx_http_aegis_who_t *who;        /* who asks; NULL until it is known */
    aegis_refusal_t           refusal;      /* why who asks was refused */
    const char               *allow;        /* Allow, when it was sent */
    ngx_uint_t                retry_after;  /* seconds; 0: by the error's code */
    ngx_http_aegis_header_t   headers[NGX_HTTP_AEGIS_N_HEADERS];
    ngx_http_event_handler_pt body_handler; /* nginx's, while the body arrives */
    json_t                   *body;
    aegis_item_t              item;
    char                     *made[AEGIS_BODY_MAX_MADE];
    size_t                    n_made;
    aegis_str_t               filters;      /* PAGE: what the cursor is bound to */
    ngx_str_t                 query;        /* PAGE: the same as a query string */
    json_t                   *facts;        /* MODULE: loaded */
    int64_t                   version;      /* MODULE: of the case that they are about */
    char                     *doc;          /* MODULE: decided */
    ngx_http_aegis_phase_t    phase;
    ngx_uint_t                n_decided;
    const char               *idempotency;  /* for the log: new, replay, ... */

    aegis_error_t             err;          /* set when a step returns NGX_ERROR */
    ngx_http_aegis_reply_t    reply;

    /* the queue's */
    ngx_http_aegis_lane_t    *lane;
    aegis_stmt_id_t           stmt;
    aegis_sql_id_t            sql;          /* of a probe, when stmt is NONE */
    void                    (*probe)(ngx_http_aegis_job_t *job);
    const ngx_http_aegis_row_t *row;        /* during resume: the answer */
    ngx_queue_t               link;
    ngx_event_t               timer;        /* deadline while queued */
    ngx_msec_t                deadline;
    ngx_msec_t                not_before;   /* valid when delayed */
    uint64_t                  key_id;       /* hashes: whose turn, see queue.c */
    uint64_t                  case_id;
    size_t                    bytes;
    uint64_t                  queued_us;    /* when it was put into the queue */
    uint64_t                  queue_us;     /* time spent there */
    uint64_t                  db_us;        /* time spent in statements */
    ngx_uint_t                n_busy;
    ngx_uint_t                n_pending;    /* times that the librarian was waited for */
    ngx_uint_t                n_lost;       /* > 0 on a write: outcome unknown */
    ngx_uint_t                n_retried;
    unsigned                  queued:1;
    unsigned                  in_flight:1;
    unsigned                  alone:1;      /* no neighbours, it may wait for locks */
    unsigned                  delayed:1;
    unsigned                  timed:1;      /* deadline is set */

    unsigned                  held:1;       /* r->main->count was raised for us */
    unsigned                  body_read:1;
    unsigned                  yaml:1;           /* the body is, not JSON */
    unsigned                  released:1;   /* r->pool is gone */
    unsigned                  replayed:1;   /* the answer is the stored one */
    unsigned                  counted:1;
    unsigned                  traced:1;     /* it has a span, whose id is in trace */

    char                      idem_key[AEGIS_KEY_MAX + 1];
    size_t                    idem_len;
    char                      hash[AEGIS_HASH_MAX];
    char                      trace[AEGIS_TRACEPARENT_LEN + 1];   /* "": not yet */
    char                      parent[16];   /* of the request's span; valid when traced */
    aegis_str_t               context;      /* trace, and the tracestate behind it */
    char                      uuid[AEGIS_UUID_LEN + 1];     /* of what is made */
    char                      if_match[512];
    u_char                    id_buf[AEGIS_UUID_LEN];
    u_char                    request_id[64 + 1 + 32];  /* and the trace id */
    size_t                    request_id_len;
};

extern ngx_module_t  ngx_http_aegis_module;
uint64_t ngx_http_aegis_now_us(void);

/* trace.c: n bytes, at most 64, for ids that must not meet; not for secrets. */
ngx_int_t ngx_http_aegis_random(u_char *out, size_t n);
ngx_http_variable_value_t *ngx_http_aegis_request_id(ngx_http_request_t *r, ngx_uint_t i);

/* conf.c: directives that read files or check text; conf_keys.c: who may come
 * in; conf_db.c: the database */
ngx_int_t ngx_http_aegis_conf_read(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text);
ngx_int_t ngx_http_aegis_conf_secret(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text);
char *ngx_http_aegis_conf_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_problem(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_database(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_certs(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_trusted(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_password(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_http_aegis_conf_passwords(ngx_http_aegis_main_conf_t *amcf);
char *ngx_http_aegis_conf_cursor(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_openapi(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* request.c */
ngx_int_t ngx_http_aegis_handler(ngx_http_request_t *r);
ngx_http_aegis_job_t *ngx_http_aegis_job_create(ngx_http_request_t *r);
ngx_http_aegis_job_t *ngx_http_aegis_job_of(ngx_http_request_t *r);
void ngx_http_aegis_job_free(ngx_http_aegis_job_t *job);
/* The queue's answer: row, or NULL with job->err set. May free job. */
void ngx_http_aegis_job_resume(ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row);
void ngx_http_aegis_body_ready(ngx_http_request_t *r);
ngx_int_t ngx_http_aegis_log(ngx_http_request_t *r);

/* route.c: look at the request's headers */
ngx_int_t ngx_http_aegis_headers_in(ngx_http_aegis_job_t *job);

/* trace.c: job->trace, job->context and the trace id in job->request_id, once */
ngx_int_t ngx_http_aegis_trace(ngx_http_aegis_job_t *job);

/* otel.c */
char *ngx_http_aegis_conf_otel(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_aegis_otel_postconf(ngx_conf_t *cf);
ngx_int_t ngx_http_aegis_otel_start(ngx_cycle_t *cycle, ngx_http_aegis_main_conf_t *amcf);
void ngx_http_aegis_otel_stop(void);
/* The span of a request that was answered, which took us microseconds. */
void ngx_http_aegis_otel_request(ngx_http_aegis_job_t *job, ngx_http_request_t *r,
    uint64_t us);

/* headers.c: what every answer carries beside its own: Vary, traceparent, CORS */
ngx_int_t ngx_http_aegis_headers_out(ngx_http_aegis_job_t *job);
/* Link to the description of Idempotency-Key. */
ngx_int_t ngx_http_aegis_describe_key(ngx_http_aegis_job_t *job);

/* quota.c, headers_conf.c */
char *ngx_http_aegis_conf_quota(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_cors(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_deprecated(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* The steps: NGX_OK: next; NGX_DONE: job->reply is set; NGX_AGAIN: parked, the
 * same step is entered again; NGX_ERROR: job->err is set; else nginx's status. */
ngx_int_t ngx_http_aegis_step_route(ngx_http_aegis_job_t *job);     /* route.c */
ngx_int_t ngx_http_aegis_step_room(ngx_http_aegis_job_t *job);      /* queue.c */
ngx_int_t ngx_http_aegis_step_quota(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_media(ngx_http_aegis_job_t *job);     /* route.c */
ngx_int_t ngx_http_aegis_step_identity(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_precond(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_query(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_body(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_item(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_step_statement(ngx_http_aegis_job_t *job);

/* identity.c. set: copies who asks into the job's memory; NGX_DECLINED when a name
 * cannot be one. refuse: counts, tells how to come in, returns NGX_ERROR. */
ngx_int_t ngx_http_aegis_identity_set(ngx_http_aegis_job_t *job, const char *method,
    ngx_str_t tenant, ngx_str_t principal, ngx_str_t scopes, ngx_str_t id);
ngx_int_t ngx_http_aegis_refuse(ngx_http_aegis_job_t *job, aegis_refusal_t why,
    const char *detail);
ngx_int_t ngx_http_aegis_identity_body(ngx_http_aegis_job_t *job);
/* It is this one, when its time is now. */
ngx_int_t ngx_http_aegis_identity_entry(ngx_http_aegis_job_t *job,
    ngx_http_aegis_entry_t *e);
/* identity_nginx.c: methods of identity.c's table */
ngx_int_t ngx_http_aegis_identity_cert(ngx_http_aegis_job_t *job, ngx_str_t token);
ngx_int_t ngx_http_aegis_identity_trusted(ngx_http_aegis_job_t *job, ngx_str_t token);
/* A request may repeat its tenant: NGX_OK when it is the credential's. */
ngx_int_t ngx_http_aegis_identity_tenant(ngx_http_aegis_job_t *job,
    const char *tenant, size_t len);
ngx_uint_t ngx_http_aegis_name_valid(ngx_str_t *s, size_t max);
ngx_uint_t ngx_http_aegis_key_id_char(u_char c);
ngx_http_aegis_entry_t *ngx_http_aegis_entry(ngx_http_aegis_list_t *list, ngx_str_t name);

/* conf_jwt.c, jwt.c, jwks.c. use: NULL, or what "aegis on" needs as well. */
char *ngx_http_aegis_conf_jwt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_aegis_conf_jwks(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
const char *ngx_http_aegis_conf_jwt_use(ngx_http_aegis_srv_conf_t *scf);
ngx_int_t ngx_http_aegis_identity_jwt(ngx_http_aegis_job_t *job, ngx_str_t token);
ngx_int_t ngx_http_aegis_jwks_init_process(ngx_cycle_t *cycle, ngx_array_t *list);

/* What a read is bound to: its syntax (precond.c); by its tag (item.c) */
ngx_int_t ngx_http_aegis_precond_conditions(ngx_http_aegis_job_t *job,
    ngx_http_aegis_loc_conf_t *lcf);
ngx_int_t ngx_http_aegis_item_conditions(ngx_http_aegis_job_t *job, ngx_str_t *tag);

/* query.c: {"items":..,"next":..} and Link */
ngx_int_t ngx_http_aegis_page(ngx_http_aegis_job_t *job, ngx_str_t items,
    aegis_str_t extra);

/* decide.c: MODULE's part of the statement step */
ngx_int_t ngx_http_aegis_decide(ngx_http_aegis_job_t *job);

/* local.c: LOCAL routes */
ngx_int_t ngx_http_aegis_local(ngx_http_aegis_job_t *job);

/* queue.c */
ngx_http_aegis_lane_t *ngx_http_aegis_lane_create(ngx_http_aegis_db_t *db,
    ngx_uint_t write, ngx_uint_t n, ngx_pool_t *pool);
/* NGX_AGAIN: queued; NGX_ERROR: job->err is set. */
ngx_int_t ngx_http_aegis_queue_push(ngx_http_aegis_lane_t *lane,
    ngx_http_aegis_job_t *job);
void ngx_http_aegis_queue_insert(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job,
    ngx_uint_t head);
void ngx_http_aegis_queue_drop(ngx_http_aegis_job_t *job);
/* Send what waits: now, or after this round of events. */
void ngx_http_aegis_queue_dispatch(ngx_http_aegis_lane_t *lane);
void ngx_http_aegis_queue_kick(ngx_http_aegis_lane_t *lane);

/* outcome.c: how a unit, or a job that was never sent, ended */
void ngx_http_aegis_outcome_done(ngx_http_aegis_pg_t *pg,
    ngx_http_aegis_unit_t *unit, const ngx_http_aegis_row_t *rows);
void ngx_http_aegis_outcome_error(ngx_http_aegis_pg_t *pg,
    ngx_http_aegis_unit_t *unit, const char *sqlstate, const char *message);
void ngx_http_aegis_outcome_lost(ngx_http_aegis_pg_t *pg,
    ngx_http_aegis_unit_t *unit, ngx_uint_t sent);
void ngx_http_aegis_outcome_fail(ngx_http_aegis_job_t *job, aegis_code_t code,
    const char *detail);

/* pg.c */
void ngx_http_aegis_pg_start(ngx_http_aegis_pg_t *pg);
void ngx_http_aegis_pg_stop(ngx_http_aegis_pg_t *pg);       /* at the worker's end */
void ngx_http_aegis_pg_recycle(ngx_http_aegis_pg_t *pg, const char *why);
ngx_uint_t ngx_http_aegis_pg_needs(ngx_http_aegis_lane_t *lane, const aegis_stmt_t *stmt);

/* pg_server.c: one of several servers */
const char *ngx_http_aegis_pg_server_sql(ngx_http_aegis_db_t *db);
PGconn *ngx_http_aegis_pg_server_connect(ngx_http_aegis_pg_t *pg);
ngx_msec_t ngx_http_aegis_pg_server_next(ngx_http_aegis_pg_t *pg,
    ngx_uint_t was_up, ngx_uint_t hung);
ngx_int_t ngx_http_aegis_pg_server_judge(ngx_http_aegis_pg_t *pg, PGresult *res);
void ngx_http_aegis_pg_server_up(ngx_http_aegis_pg_t *pg);
void ngx_http_aegis_pg_server_stay(ngx_http_aegis_pg_t *pg);
void ngx_http_aegis_pg_server_check(ngx_http_aegis_db_t *db);

/* pg_scout.c: is another server the one by now? */
ngx_int_t ngx_http_aegis_scout_create(ngx_http_aegis_db_t *db, ngx_pool_t *pool);
void ngx_http_aegis_scout_sent(ngx_http_aegis_db_t *db);
void ngx_http_aegis_pg_fail(ngx_http_aegis_pg_t *pg, const char *why);
void ngx_http_aegis_pg_end(ngx_http_aegis_pg_t *pg);        /* it is free now */
void ngx_http_aegis_pg_set_state(ngx_http_aegis_pg_t *pg,
    ngx_http_aegis_pg_state_t state);
ngx_int_t ngx_http_aegis_pg_flush(ngx_http_aegis_pg_t *pg);

/* pg_unit.c */
u_char *ngx_http_aegis_pg_line(u_char *text, size_t size, const char *message);
void ngx_http_aegis_pg_send(ngx_http_aegis_pg_t *pg);       /* pg->unit is set */
void ngx_http_aegis_pg_read(ngx_http_aegis_pg_t *pg);

/* watch.c: the background look at the database */
ngx_int_t ngx_http_aegis_watch_start(ngx_http_aegis_db_t *db, ngx_pool_t *pool);
/* NULL: ready; else the reason. */
const char *ngx_http_aegis_watch_reason(ngx_http_aegis_db_t *db);

/* reply.c: the only place that sends */
ngx_int_t ngx_http_aegis_reply(ngx_http_aegis_job_t *job);
ngx_int_t ngx_http_aegis_reply_error(ngx_http_aegis_job_t *job);
void ngx_http_aegis_discard(ngx_http_request_t *r);
ngx_int_t ngx_http_aegis_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t value);
ngx_int_t ngx_http_aegis_copy_reply(ngx_http_aegis_job_t *job, aegis_str_t body);

/* problem.c: nginx's own errors as problem documents */
ngx_int_t ngx_http_aegis_problem_handler(ngx_http_request_t *r);
/* From here on nginx's error log shows no query. */
ngx_int_t ngx_http_aegis_problem_hide(ngx_http_request_t *r);
ngx_int_t ngx_http_aegis_problem_phase(ngx_http_request_t *r);

/* stats.c: counters in the shared zone; metrics.c: their text */
ngx_int_t ngx_http_aegis_stats_init_zone(ngx_shm_zone_t *zone, void *data);
void ngx_http_aegis_stats_attach(ngx_shm_zone_t *zone);
void ngx_http_aegis_stats_request(const aegis_route_t *route,
    ngx_http_request_t *r, uint64_t us);
void ngx_http_aegis_stats_outcome(const ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row);
void ngx_http_aegis_stats_group(ngx_uint_t n);
void ngx_http_aegis_stats_rejected(void);
void ngx_http_aegis_stats_refused(aegis_refusal_t why);
void ngx_http_aegis_stats_jwks(ngx_uint_t result);
void ngx_http_aegis_stats_jwks_at(time_t at);
void ngx_http_aegis_stats_conn(ngx_int_t from, ngx_int_t to);
void ngx_http_aegis_stats_queued(ngx_int_t delta);
ngx_uint_t ngx_http_aegis_stats_lag_turn(void);
ngx_uint_t ngx_http_aegis_stats_timeline(uint64_t system, ngx_uint_t timeline);
void ngx_http_aegis_stats_lag(uint64_t pending, double oldest_s);
aegis_str_t ngx_http_aegis_stats_secret(void);
char *ngx_http_aegis_metrics_text(ngx_uint_t open, size_t *ret_len);

/* variables.c */
ngx_int_t ngx_http_aegis_variables_add(ngx_conf_t *cf);
static ngx_inline aegis_str_t
ngx_http_aegis_view(ngx_str_t s)
{
    aegis_str_t  v;

    v.len = s.len;
    v.data = (const char *) s.data;

    return v;
}

static ngx_inline void
ngx_http_aegis_sha256(ngx_str_t s, u_char out[AEGIS_SHA256_LEN])
{
    aegis_str_t  part = ngx_http_aegis_view(s);

    aegis_sha256(&part, 1, out);
}

static ngx_inline aegis_str_t
ngx_http_aegis_cview(const char *s)
{
    aegis_str_t  v;

    v.len = s ? strlen(s) : 0;
    v.data = s;

    return v;
}

static ngx_inline ngx_uint_t
ngx_http_aegis_equal(aegis_str_t s, const char *text)
{
    return s.len == ngx_strlen(text) && ngx_memcmp(s.data, text, s.len) == 0;
}

#endif
