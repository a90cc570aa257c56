/*
 * ngx_http_aegis_pg_scout.c: a server that says nothing may be slow, or gone and
 * replaced. While a statement is without its answer for longer than most take,
 * a connection of its own asks the other servers whether one of them takes
 * writes; pg_server.c then leaves the one that was overtaken, whatever it runs.
 *
 * Invariant: silence alone ends nothing. A statement is given up because its time
 * is over, or because another server was promoted.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_SCOUT_MS  500

static void ngx_http_aegis_scout_look(ngx_event_t *ev);


ngx_int_t
ngx_http_aegis_scout_create(ngx_http_aegis_db_t *db, ngx_pool_t *pool)
{
    if (db->n_servers == 1) {
        return NGX_OK;
    }

    db->scout = ngx_http_aegis_lane_create(db, 0, 1, pool);
    if (db->scout == NULL) {
        return NGX_ERROR;
    }

    db->scout->scout = 1;
    db->scout->name = "scout";
    db->scout->wake.handler = ngx_http_aegis_scout_look;
    db->scout->wake.cancelable = 1;

    return NGX_OK;
}


/* A statement is on its way. */
void
ngx_http_aegis_scout_sent(ngx_http_aegis_db_t *db)
{
    if (db->scout && !db->scout->wake.timer_set) {
        ngx_add_timer(&db->scout->wake, NGX_HTTP_AEGIS_SCOUT_MS);
    }
}


/* The time at which the oldest statement that is out was sent, at most oldest. */
static uint64_t
ngx_http_aegis_scout_oldest(ngx_http_aegis_lane_t *lane, uint64_t oldest)
{
    ngx_uint_t            i;
    ngx_http_aegis_pg_t  *pg;

    for (i = 0; i < lane->n_pgs; i++) {
        pg = &lane->pgs[i];

        if (pg->state == NGX_HTTP_AEGIS_PG_BUSY && pg->sent_us < oldest) {
            oldest = pg->sent_us;
        }
    }

    return oldest;
}


static void
ngx_http_aegis_scout_look(ngx_event_t *ev)
{
    uint64_t                now, oldest, age;
    ngx_http_aegis_pg_t    *pg;
    ngx_http_aegis_lane_t  *lane;

    lane = ev->data;
    pg = &lane->pgs[0];

    now = ngx_http_aegis_now_us();
    oldest = ngx_http_aegis_scout_oldest(lane->db->write, now);
    oldest = ngx_http_aegis_scout_oldest(lane->db->read, oldest);

    if (oldest == now) {
        return;
    }

    age = (now - oldest) / 1000;

    if (age < NGX_HTTP_AEGIS_SCOUT_MS) {
        ngx_add_timer(ev, NGX_HTTP_AEGIS_SCOUT_MS - age);
        return;
    }

    if (pg->state == NGX_HTTP_AEGIS_PG_DOWN && !pg->timer.timer_set) {
        pg->server = (lane->db->server + 1) % lane->db->n_servers;
        ngx_http_aegis_pg_start(pg);
    }

    ngx_add_timer(ev, NGX_HTTP_AEGIS_SCOUT_MS);
}
