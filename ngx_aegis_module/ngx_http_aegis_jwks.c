/*
 * ngx_http_aegis_jwks.c: the key set of a worker, and when it looks for a newer
 * one. A look is made by a thread and ends in an event here; requests are judged
 * with what is at hand. The last good text of a URL is shared, so that one
 * worker fetches for all, and workers after a reload have keys from the start.
 *
 * Invariant: keys are replaced between requests, never under one; the timer is
 * cancelable, and nothing here keeps a worker that is to end.
 */
#include "ngx_http_aegis_jwt.h"

#include <curl/curl.h>

static void ngx_http_aegis_jwks_start(ngx_http_aegis_jwks_t *jwks);

static ngx_array_t  *ngx_http_aegis_jwks_list;      /* of this worker's cycle */


ngx_int_t
ngx_http_aegis_jwks_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data == NULL && zone->shm.exists) {
        data = shpool->data;
    }

    if (data == NULL) {
        data = ngx_slab_calloc(shpool, sizeof(ngx_http_aegis_jwks_shared_t));
        shpool->data = data;
    }

    zone->data = data;

    return data ? NGX_OK : NGX_ERROR;
}


/* The shared text when it is newer than ours and not older than max_age; the look
 * then parses it. */
static void
ngx_http_aegis_jwks_borrow(ngx_http_aegis_jwks_t *jwks,
    ngx_http_aegis_jwks_look_t *look, time_t max_age)
{
    ngx_slab_pool_t               *shpool;
    ngx_http_aegis_jwks_shared_t  *shared;

    if (jwks->zone == NULL) {
        return;
    }

    shared = jwks->zone->data;
    shpool = (ngx_slab_pool_t *) jwks->zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    /* of one in the future, after the clock was set back, nothing is believed */
    if (shared->at > jwks->at && shared->at <= ngx_time()
        && shared->at + max_age > ngx_time())
    {
        look->text = malloc(shared->len + 1);

        if (look->text) {
            ngx_memcpy(look->text, shared->text, shared->len);
            ngx_memcpy(look->etag, shared->etag, sizeof(look->etag));
            look->len = shared->len;
            look->at = shared->at;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


static void
ngx_http_aegis_jwks_lend(ngx_http_aegis_jwks_t *jwks,
    ngx_http_aegis_jwks_look_t *look)
{
    ngx_slab_pool_t               *shpool;
    ngx_http_aegis_jwks_shared_t  *shared;

    if (jwks->zone == NULL) {
        return;
    }

    shared = jwks->zone->data;
    shpool = (ngx_slab_pool_t *) jwks->zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    if (look->result == NGX_HTTP_AEGIS_JWKS_UNCHANGED) {
        /* at says that a text is complete; who has none says nothing */
        if (shared->at && ngx_strcmp(shared->etag, look->etag) == 0) {
            shared->at = jwks->at;
        }

    } else if (look->len <= NGX_HTTP_AEGIS_JWKS_MAX_SHARED) {
        shared->at = 0;
        ngx_memcpy(shared->text, look->text, look->len);
        ngx_memcpy(shared->etag, look->etag, sizeof(shared->etag));
        shared->len = look->len;
        shared->at = jwks->at;
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


static void
ngx_http_aegis_jwks_replace(ngx_http_aegis_jwks_t *jwks,
    ngx_http_aegis_jwks_look_t *look)
{
    aegis_jwks_free(jwks->keys);

    jwks->keys = look->keys;
    look->keys = NULL;
    jwks->generation++;
    jwks->n_unknown = 0;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "aegis_jwks: %uz keys of \"%V\", %uz left out",
                  aegis_jwks_count(jwks->keys), &jwks->source,
                  aegis_jwks_left_out(jwks->keys));
}


/* The gauge shows the set that was read well the longest time ago. */
static void
ngx_http_aegis_jwks_age(void)
{
    time_t                   oldest;
    ngx_uint_t               i;
    ngx_http_aegis_jwks_t  **jwks;

    oldest = 0;
    jwks = ngx_http_aegis_jwks_list->elts;

    for (i = 0; i < ngx_http_aegis_jwks_list->nelts; i++) {
        if (jwks[i]->at && (oldest == 0 || jwks[i]->at < oldest)) {
            oldest = jwks[i]->at;
        }
    }

    ngx_http_aegis_stats_jwks_at(oldest);
}


static void
ngx_http_aegis_jwks_took(ngx_http_aegis_jwks_t *jwks,
    ngx_http_aegis_jwks_look_t *look)
{
    ngx_http_aegis_stats_jwks(look->result);

    switch (look->result) {

    case NGX_HTTP_AEGIS_JWKS_OK:
    case NGX_HTTP_AEGIS_JWKS_SHARED:
        ngx_http_aegis_jwks_replace(jwks, look);
        /* fall through */

    case NGX_HTTP_AEGIS_JWKS_UNCHANGED:
        jwks->at = look->result == NGX_HTTP_AEGIS_JWKS_SHARED ? look->at : ngx_time();
        jwks->n_failed = 0;
        jwks->stale = 0;
        ngx_http_aegis_jwks_age();

        if (look->result != NGX_HTTP_AEGIS_JWKS_SHARED) {
            ngx_http_aegis_jwks_lend(jwks, look);
        }
        break;

    case NGX_HTTP_AEGIS_JWKS_ABORTED:
        break;

    default:
        jwks->n_failed++;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aegis_jwks: \"%V\": %s; %s", &jwks->source, look->error,
                      jwks->keys ? "the keys at hand are kept" : "there are no keys yet");
    }

    free(look->text);
    look->text = NULL;
}


/* ms until the next look: refresh, or a back-off from 1 s, both with jitter. */
static ngx_msec_t
ngx_http_aegis_jwks_pause(ngx_http_aegis_jwks_t *jwks)
{
    time_t      left;
    ngx_msec_t  ms;

    if (jwks->n_failed) {
        ms = (ngx_msec_t) 1000 << ngx_min(jwks->n_failed - 1, 6);
        ms = ngx_min(ms, (ngx_msec_t) jwks->refresh * 1000);

    } else {
        left = jwks->at + jwks->refresh - ngx_time();
        left = ngx_max(left, 0);
        ms = (ngx_msec_t) ngx_min(left, jwks->refresh) * 1000;
    }

    /* whoever is first fetches for all */
    return ms - ms / 10 + (ngx_msec_t) ngx_random() % (ms / 10 + 50) + 1;
}


static void
ngx_http_aegis_jwks_again(ngx_http_aegis_jwks_t *jwks)
{
    if (!ngx_exiting && !ngx_terminate && !ngx_quit) {
        ngx_add_timer(&jwks->timer, ngx_http_aegis_jwks_pause(jwks));
    }
}


static void
ngx_http_aegis_jwks_thread(void *data, ngx_log_t *log)
{
    ngx_http_aegis_jwks_look(data);
}


/* The thread's work is done; this runs in the event loop. */
static void
ngx_http_aegis_jwks_done(ngx_event_t *ev)
{
    ngx_http_aegis_jwks_t  *jwks = ev->data;

    jwks->busy = 0;

    ngx_http_aegis_jwks_took(jwks, jwks->task->ctx);
    ngx_http_aegis_jwks_again(jwks);
}


static void
ngx_http_aegis_jwks_start(ngx_http_aegis_jwks_t *jwks)
{
    ngx_http_aegis_jwks_look_t  *look;

    if (jwks->busy || ngx_exiting || ngx_terminate || ngx_quit) {
        return;
    }

    if (jwks->timer.timer_set) {
        ngx_del_timer(&jwks->timer);
    }

    look = jwks->task->ctx;
    jwks->looked = ngx_current_msec;
    ngx_http_aegis_jwks_borrow(jwks, look, jwks->refresh);

    if (ngx_thread_task_post(jwks->pool, jwks->task) != NGX_OK) {
        free(look->text);
        look->text = NULL;
        jwks->n_failed++;
        ngx_http_aegis_jwks_again(jwks);
        return;
    }

    jwks->busy = 1;
}


static void
ngx_http_aegis_jwks_timer(ngx_event_t *ev)
{
    ngx_http_aegis_jwks_start(ev->data);
}


const aegis_jwks_t *
ngx_http_aegis_jwks_keys(ngx_http_aegis_jwks_t *jwks)
{
    if (jwks->keys == NULL) {
        return NULL;
    }

    if (ngx_time() - jwks->at > jwks->max_stale) {
        if (!jwks->stale) {
            jwks->stale = 1;
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "aegis_jwks: the keys of \"%V\" are older than max_stale:"
                          " no JWT is accepted until it can be read again",
                          &jwks->source);
        }
        return NULL;
    }

    return jwks->keys;
}


/* A stranger can name any kid: each is worth one look, and looks keep their
 * distance. */
void
ngx_http_aegis_jwks_missing(ngx_http_aegis_jwks_t *jwks, const char *kid)
{
    uint64_t       hash;
    ngx_uint_t     i;
    aegis_str_t    s;
    unsigned char  out[AEGIS_SHA256_LEN];

    if (jwks->busy || ngx_current_msec - jwks->looked < (ngx_msec_t) jwks->early * 1000) {
        return;
    }

    s.data = kid;
    s.len = ngx_strlen(kid);
    aegis_sha256(&s, 1, out);
    ngx_memcpy(&hash, out, sizeof(hash));

    for (i = 0; i < ngx_min(jwks->n_unknown, NGX_HTTP_AEGIS_JWKS_UNKNOWN); i++) {
        if (jwks->unknown[i] == hash) {
            return;
        }
    }

    jwks->unknown[jwks->n_unknown++ % NGX_HTTP_AEGIS_JWKS_UNKNOWN] = hash;

    ngx_http_aegis_jwks_start(jwks);
}


static ngx_int_t
ngx_http_aegis_jwks_init(ngx_cycle_t *cycle, ngx_http_aegis_jwks_t *jwks)
{
    ngx_http_aegis_jwks_look_t  *look;

    jwks->task = ngx_thread_task_alloc(cycle->pool, sizeof(ngx_http_aegis_jwks_look_t));
    if (jwks->task == NULL) {
        return NGX_ERROR;
    }

    jwks->task->handler = ngx_http_aegis_jwks_thread;
    jwks->task->event.handler = ngx_http_aegis_jwks_done;
    jwks->task->event.data = jwks;

    look = jwks->task->ctx;
    look->timeout = jwks->timeout;
    look->ca = jwks->ca.len ? (char *) jwks->ca.data : NULL;

    if (jwks->is_url) {
        look->url = (char *) jwks->source.data;
    } else {
        look->file = (char *) jwks->source.data;
    }

    jwks->timer.handler = ngx_http_aegis_jwks_timer;
    jwks->timer.data = jwks;
    jwks->timer.log = cycle->log;
    jwks->timer.cancelable = 1;

    /* no request is waiting yet: what is at hand is taken at once, even when it is
     * time to look again */
    ngx_http_aegis_jwks_borrow(jwks, look, jwks->max_stale);

    if (look->text || !jwks->is_url) {
        ngx_http_aegis_jwks_look(look);
        ngx_http_aegis_jwks_took(jwks, look);
        ngx_http_aegis_jwks_again(jwks);

    } else {
        ngx_add_timer(&jwks->timer, 1);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_jwks_init_process(ngx_cycle_t *cycle, ngx_array_t *list)
{
    ngx_uint_t               i;
    ngx_http_aegis_jwks_t  **jwks;

    ngx_http_aegis_jwks_list = list;
    jwks = list->elts;

    for (i = 0; i < list->nelts; i++) {

        if (!jwks[i]->used) {
            continue;
        }

        /* before there are threads; OpenSSL is nginx's already */
        if (jwks[i]->is_url && curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) {
            return NGX_ERROR;
        }

        if (ngx_http_aegis_jwks_init(cycle, jwks[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
