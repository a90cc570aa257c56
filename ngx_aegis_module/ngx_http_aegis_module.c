/*
 * ngx_http_aegis_module.c: the directives, their inheritance, and what a
 * worker starts and stops. A database is only ever connected to in a worker,
 * so that `nginx -t` and a start need none.
 */
#include "ngx_http_aegis_module.h"

#include <time.h>

static char *ngx_http_aegis_conf_number(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_aegis_conf_least(ngx_conf_t *cf, void *post, void *data);
static ngx_int_t ngx_http_aegis_preconf(ngx_conf_t *cf);
static ngx_int_t ngx_http_aegis_postconf(ngx_conf_t *cf);
static void *ngx_http_aegis_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_aegis_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_aegis_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_aegis_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child);
static void *ngx_http_aegis_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_aegis_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
static ngx_int_t ngx_http_aegis_init_process(ngx_cycle_t *cycle);
static void ngx_http_aegis_exit_process(ngx_cycle_t *cycle);

static ngx_conf_num_bounds_t  ngx_http_aegis_connections_bounds = {
    ngx_conf_check_num_bounds, 1, NGX_HTTP_AEGIS_MAX_CONNS
};

static ngx_conf_num_bounds_t  ngx_http_aegis_group_bounds = {
    ngx_conf_check_num_bounds, 1, NGX_HTTP_AEGIS_MAX_GROUP
};

static ngx_conf_num_bounds_t  ngx_http_aegis_queue_bounds = {
    ngx_conf_check_num_bounds, 1, 65535
};

static ngx_conf_post_t  ngx_http_aegis_timeout_post = {
    ngx_http_aegis_conf_least
};

#define NGX_HTTP_AEGIS_SRV  NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1

#define NGX_HTTP_AEGIS_LOC  NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF

static ngx_command_t  ngx_http_aegis_commands[] = {

    { ngx_string("aegis"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_aegis_conf_on,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aegis_loc_conf_t, enable),
      NULL },

    { ngx_string("aegis_problem"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_aegis_conf_problem,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_database"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_database,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_keys"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_keys,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_jwt"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_1MORE,
      ngx_http_aegis_conf_jwt,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_jwks"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_1MORE,
      ngx_http_aegis_conf_jwks,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_certs"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_certs,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_trusted_identity"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE3,
      ngx_http_aegis_conf_trusted,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_database_password_file"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_password,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_cursor_secret"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_cursor,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_openapi"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_openapi,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_connections"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_number,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_aegis_srv_conf_t, connections),
      &ngx_http_aegis_connections_bounds },

    { ngx_string("aegis_read_connections"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_number,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_aegis_srv_conf_t, read_connections),
      &ngx_http_aegis_connections_bounds },

    { ngx_string("aegis_queue"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_number,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_aegis_srv_conf_t, queue),
      &ngx_http_aegis_queue_bounds },

    { ngx_string("aegis_group"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_number,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_aegis_srv_conf_t, group),
      &ngx_http_aegis_group_bounds },

    { ngx_string("aegis_timeout"),
      NGX_HTTP_AEGIS_SRV,
      ngx_http_aegis_conf_number,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_aegis_srv_conf_t, timeout),
      &ngx_http_aegis_timeout_post },

    { ngx_string("aegis_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_aegis_conf_zone,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_otel"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_aegis_conf_otel,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_require_if_match"),
      NGX_HTTP_AEGIS_LOC|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aegis_loc_conf_t, require_if_match),
      NULL },

    { ngx_string("aegis_strict_idempotency_key"),
      NGX_HTTP_AEGIS_LOC|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_aegis_loc_conf_t, strict_key),
      NULL },

    { ngx_string("aegis_cors_origin"),
      NGX_HTTP_AEGIS_LOC|NGX_CONF_1MORE,
      ngx_http_aegis_conf_cors,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_deprecated"),
      NGX_HTTP_AEGIS_LOC|NGX_CONF_2MORE,
      ngx_http_aegis_conf_deprecated,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("aegis_quota"),
      NGX_HTTP_AEGIS_LOC|NGX_CONF_TAKE12,
      ngx_http_aegis_conf_quota,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

      ngx_null_command
};

static ngx_http_module_t  ngx_http_aegis_module_ctx = {
    ngx_http_aegis_preconf,
    ngx_http_aegis_postconf,
    ngx_http_aegis_create_main_conf,
    ngx_http_aegis_init_main_conf,
    ngx_http_aegis_create_srv_conf,
    ngx_http_aegis_merge_srv_conf,
    ngx_http_aegis_create_loc_conf,
    ngx_http_aegis_merge_loc_conf
};

ngx_module_t  ngx_http_aegis_module = {
    NGX_MODULE_V1,
    &ngx_http_aegis_module_ctx,
    ngx_http_aegis_commands,
    NGX_HTTP_MODULE,
    NULL,                               /* init master */
    NULL,                               /* init module */
    ngx_http_aegis_init_process,
    NULL,                               /* init thread */
    NULL,                               /* exit thread */
    ngx_http_aegis_exit_process,
    NULL,                               /* exit master */
    NGX_MODULE_V1_PADDING
};


uint64_t
ngx_http_aegis_now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/* The numbers of a database; where they are is kept, because whether they have
 * a database is only known when all has been read. */
static char *
ngx_http_aegis_conf_number(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aegis_srv_conf_t  *scf = conf;

    scf->file = cf->conf_file->file.name.data;
    scf->line = cf->conf_file->line;

    return cmd->offset == offsetof(ngx_http_aegis_srv_conf_t, timeout)
           ? ngx_conf_set_msec_slot(cf, cmd, conf)
           : ngx_conf_set_num_slot(cf, cmd, conf);
}


static char *
ngx_http_aegis_conf_least(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *ms = data;

    return *ms < 100 ? "must be at least 100ms" : NGX_CONF_OK;
}


static ngx_int_t
ngx_http_aegis_preconf(ngx_conf_t *cf)
{
    return ngx_http_aegis_variables_add(cf);
}


static void *
ngx_http_aegis_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_aegis_main_conf_t  *amcf;

    amcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_main_conf_t));

    if (amcf == NULL
        || ngx_array_init(&amcf->dbs, cf->pool, 1, sizeof(ngx_http_aegis_db_t *))
           != NGX_OK
        || ngx_array_init(&amcf->jwks, cf->pool, 1, sizeof(ngx_http_aegis_jwks_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return amcf;
}


static char *
ngx_http_aegis_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_str_t                    name = ngx_string("request_id");
    ngx_str_t                    zone = ngx_string("aegis");
    ngx_http_aegis_srv_conf_t   *prev;
    ngx_http_aegis_main_conf_t  *amcf = conf;

    /* the http level is nobody's child, and its database is used with these */
    prev = ngx_http_conf_get_module_srv_conf(cf, ngx_http_aegis_module);
    ngx_conf_init_uint_value(prev->connections, 2);
    ngx_conf_init_uint_value(prev->read_connections, 2);
    ngx_conf_init_uint_value(prev->queue, 1024);
    ngx_conf_init_uint_value(prev->group, 32);
    ngx_conf_init_msec_value(prev->timeout, 5000);

    amcf->request_id = ngx_http_get_variable_index(cf, &name);
    if (amcf->request_id == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (amcf->zone == NULL) {
        amcf->zone = ngx_shared_memory_add(cf, &zone, 256 * 1024,
                                           &ngx_http_aegis_module);
        if (amcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }

        amcf->zone->init = ngx_http_aegis_stats_init_zone;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_aegis_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_aegis_srv_conf_t  *scf;

    scf = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_srv_conf_t));
    if (scf == NULL) {
        return NULL;
    }

    scf->connections = NGX_CONF_UNSET_UINT;
    scf->read_connections = NGX_CONF_UNSET_UINT;
    scf->queue = NGX_CONF_UNSET_UINT;
    scf->group = NGX_CONF_UNSET_UINT;
    scf->timeout = NGX_CONF_UNSET_MSEC;

    return scf;
}


static char *
ngx_http_aegis_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_aegis_srv_conf_t  *prev = parent;
    ngx_http_aegis_srv_conf_t  *conf = child;

    if (conf->line && conf->db == NULL && prev->db) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the numbers of a database have no effect beside another's: "
                      "put them where aegis_database is, or aegis_database here, "
                      "in %s:%ui", conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    ngx_conf_merge_uint_value(conf->connections, prev->connections, 2);
    ngx_conf_merge_uint_value(conf->read_connections, prev->read_connections, 2);
    ngx_conf_merge_uint_value(conf->queue, prev->queue, 1024);
    ngx_conf_merge_uint_value(conf->group, prev->group, 32);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 5000);
    ngx_conf_merge_str_value(conf->cursor_secret, prev->cursor_secret, "");

    if (prev->password.data && prev->db == NULL) {
        conf = prev;
    }

    if (conf->password.data && conf->db == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "aegis_database_password_file has no"
                      " aegis_database on its level, in %s:%ui", conf->password_in,
                      conf->password_line);
        return NGX_CONF_ERROR;
    }

    if (conf->db == NULL) {
        conf->db = prev->db;
    }

    if (conf->keys == NULL) {
        conf->keys = prev->keys;
    }

    if (conf->jwt == NULL) {
        conf->jwt = prev->jwt;
    }

    if (conf->jwks == NULL) {
        conf->jwks = prev->jwks;
    }

    if (conf->certs == NULL) {
        conf->certs = prev->certs;
    }

    if (conf->openapi == NULL) {
        conf->openapi = prev->openapi;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_aegis_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_aegis_loc_conf_t  *lcf;

    lcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_loc_conf_t));
    if (lcf == NULL) {
        return NULL;
    }

    lcf->enable = NGX_CONF_UNSET;
    lcf->require_if_match = NGX_CONF_UNSET;
    lcf->strict_key = NGX_CONF_UNSET;
    lcf->origins = NGX_CONF_UNSET_PTR;
    lcf->deprecated = NGX_CONF_UNSET_PTR;
    lcf->quota = NGX_CONF_UNSET_PTR;

    return lcf;
}


static char *
ngx_http_aegis_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    const char                 *missing;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_aegis_srv_conf_t  *scf;
    ngx_http_aegis_loc_conf_t  *prev = parent;
    ngx_http_aegis_loc_conf_t  *conf = child;

    ngx_conf_merge_value(conf->require_if_match, prev->require_if_match, 0);
    ngx_conf_merge_value(conf->strict_key, prev->strict_key, 0);
    ngx_conf_merge_ptr_value(conf->origins, prev->origins, NULL);
    ngx_conf_merge_ptr_value(conf->deprecated, prev->deprecated, NULL);
    ngx_conf_merge_ptr_value(conf->quota, prev->quota, NULL);

    if (conf->trusted == NULL) {
        conf->trusted = prev->trusted;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* the handler is the location's own, so the flag is not inherited, but by what
     * is a part of it: limit_except and if */
    if (clcf->noname && clcf->handler == NULL && prev->enable == 1) {
        clcf->handler = ngx_http_aegis_handler;
    }

    ngx_conf_init_value(conf->enable, 0);

    if (!conf->enable) {
        return NGX_CONF_OK;
    }

    scf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_aegis_module);

    missing = scf->db == NULL ? "aegis_database"
              : scf->keys || scf->jwt || scf->certs || conf->trusted
                ? ngx_http_aegis_conf_jwt_use(scf)
                : "aegis_keys, aegis_jwt, aegis_certs or aegis_trusted_identity";

    if (missing) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"aegis on\" needs %s in its server or in http, in %s:%ui",
                      missing, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    scf->db->used = 1;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_aegis_postconf(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_aegis_log;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_aegis_problem_phase;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_aegis_problem_hide;

    ngx_http_aegis_conf_passwords(
        ngx_http_conf_get_module_main_conf(cf, ngx_http_aegis_module));

    return ngx_http_aegis_otel_postconf(cf);
}


static ngx_int_t
ngx_http_aegis_start_db(ngx_cycle_t *cycle, ngx_http_aegis_db_t *db)
{
    ngx_uint_t  i;

    db->write = ngx_http_aegis_lane_create(db, 1, db->conf->connections, cycle->pool);
    db->read = ngx_http_aegis_lane_create(db, 0, db->conf->read_connections,
                                          cycle->pool);

    if (db->write == NULL || db->read == NULL
        || ngx_http_aegis_scout_create(db, cycle->pool) != NGX_OK
        || ngx_http_aegis_watch_start(db, cycle->pool) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < db->write->n_pgs; i++) {
        ngx_http_aegis_stats_conn(-1, NGX_HTTP_AEGIS_PG_DOWN);
        ngx_http_aegis_pg_start(&db->write->pgs[i]);
    }

    for (i = 0; i < db->read->n_pgs; i++) {
        ngx_http_aegis_stats_conn(-1, NGX_HTTP_AEGIS_PG_DOWN);
        ngx_http_aegis_pg_start(&db->read->pgs[i]);
    }

    return NGX_OK;
}


static ngx_http_aegis_main_conf_t *
ngx_http_aegis_main_conf(ngx_cycle_t *cycle)
{
    /* cache manager and loader are not for requests */
    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE) {
        return NULL;
    }

    return ngx_http_cycle_get_module_main_conf(cycle, ngx_http_aegis_module);
}


static ngx_int_t
ngx_http_aegis_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i;
    ngx_http_aegis_db_t        **db;
    ngx_http_aegis_main_conf_t  *amcf;

    amcf = ngx_http_aegis_main_conf(cycle);
    if (amcf == NULL) {
        return NGX_OK;
    }

    ngx_http_aegis_stats_attach(amcf->zone);

    if (ngx_http_aegis_otel_start(cycle, amcf) != NGX_OK) {
        return NGX_ERROR;
    }

    db = amcf->dbs.elts;
    for (i = 0; i < amcf->dbs.nelts; i++) {
        if (db[i]->used && ngx_http_aegis_start_db(cycle, db[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_aegis_jwks_init_process(cycle, &amcf->jwks);
}


static void
ngx_http_aegis_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i, k;
    ngx_http_aegis_db_t        **db;
    ngx_http_aegis_main_conf_t  *amcf;

    amcf = ngx_http_aegis_main_conf(cycle);
    if (amcf == NULL) {
        return;
    }

    ngx_http_aegis_otel_stop();

    db = amcf->dbs.elts;
    for (i = 0; i < amcf->dbs.nelts; i++) {
        for (k = 0; db[i]->write && k < db[i]->write->n_pgs; k++) {
            ngx_http_aegis_pg_stop(&db[i]->write->pgs[k]);
        }

        for (k = 0; db[i]->read && k < db[i]->read->n_pgs; k++) {
            ngx_http_aegis_pg_stop(&db[i]->read->pgs[k]);
        }

        if (db[i]->scout) {
            ngx_http_aegis_pg_stop(&db[i]->scout->pgs[0]);
        }
    }
}
