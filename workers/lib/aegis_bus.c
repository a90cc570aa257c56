/*
 * aegis_bus.c: one bus over the transports that the routes name: opens them
 * lazily, reopens them with backoff, splits what is published by route.
 * Invariant: a transport that is away costs no busy loop and keeps nothing from
 * the other one; a message is settled by the transport that delivered it.
 */
#include "aegis_bus.h"
#include "aegis_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AEGIS_BUS_DELAY_MIN  100
#define AEGIS_BUS_DELAY_MAX  2000
#define AEGIS_BUS_SIDES      2

/* What failed last time is not waited for as long again: the other transport's
 * messages wait meanwhile. */
#define AEGIS_BUS_PROBE_MS   1000

typedef struct {
    const aegis_transport_t  *t;
    void                     *self;         /* NULL: not open */
    int64_t                   retry_at;     /* it rests until then */
    int                       delay;        /* 0: its last use worked */
    char                      why[256];     /* the last failure to open */
} aegis_bus_side_t;

struct aegis_bus_s {
    const aegis_conf_t       *conf;
    const aegis_consumer_t   *consumer;
    aegis_bus_side_t         *in;           /* delivers; NULL without consumer */
    unsigned                  seed;
    aegis_bus_side_t          sides[AEGIS_BUS_SIDES];
};

static int64_t
aegis_bus_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static aegis_bus_side_t *
aegis_bus_side(aegis_bus_t *bus, aegis_str_t subject)
{
    const char  *name;

    name = aegis_conf_transport(bus->conf, subject);
    return &bus->sides[strcmp(name, bus->sides[0].t->name) == 0 ? 0 : 1];
}

/* Configurations are refused when the subjects of a consumer's stream differ
 * in their transport, so any of them says it. */
static aegis_str_t
aegis_bus_subject_of(const aegis_consumer_t *consumer)
{
    size_t                  i, n;
    const aegis_subject_t  *s;

    if (consumer->filter[0]) {
        return aegis_view(consumer->filter);
    }

    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        if (s[i].stream == consumer->stream) {
            return aegis_view(s[i].subject);
        }
    }

    return AEGIS_NO_STR;
}

aegis_bus_t *
aegis_bus_new(const aegis_conf_t *conf, const aegis_consumer_t *consumer)
{
    aegis_bus_t  *bus;

    bus = calloc(1, sizeof(aegis_bus_t));
    if (bus == NULL) {
        return NULL;
    }

    bus->conf = conf;
    bus->consumer = consumer;
    bus->seed = (unsigned) time(NULL) ^ (unsigned) (uintptr_t) bus;
    bus->sides[0].t = &aegis_transport_nats;
    bus->sides[1].t = &aegis_transport_kafka;
    bus->in = consumer ? aegis_bus_side(bus, aegis_bus_subject_of(consumer)) : NULL;
    return bus;
}

static void
aegis_bus_close(aegis_bus_side_t *side)
{
    if (side->self != NULL) {
        side->t->close(side->self);
        side->self = NULL;
    }
}

void
aegis_bus_free(aegis_bus_t *bus)
{
    int  i;

    if (bus == NULL) {
        return;
    }

    for (i = 0; i < AEGIS_BUS_SIDES; i++) {
        aegis_bus_close(&bus->sides[i]);
    }
    free(bus);
}

void
aegis_bus_reload(aegis_bus_t *bus, const aegis_conf_t *conf)
{
    bus->conf = conf;
}

/* Leave it alone for a growing time with jitter. */
static void
aegis_bus_rest(aegis_bus_t *bus, aegis_bus_side_t *side, const char *why)
{
    side->delay = side->delay ? side->delay * 2 : AEGIS_BUS_DELAY_MIN;
    if (side->delay > AEGIS_BUS_DELAY_MAX) {
        side->delay = AEGIS_BUS_DELAY_MAX;
    }
    side->retry_at = aegis_bus_now() + side->delay / 2
                     + rand_r(&bus->seed) % (side->delay / 2 + 1);
    snprintf(side->why, sizeof(side->why), "%s", why);
}

static aegis_code_t
aegis_bus_open(aegis_bus_t *bus, aegis_bus_side_t *side, aegis_error_t *err)
{
    int64_t        now;
    aegis_code_t   rc;

    if (side->self != NULL) {
        return AEGIS_E_OK;
    }

    now = aegis_bus_now();
    if (now < side->retry_at) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s", side->why);
    }

    rc = side->t->open(bus->conf, side == bus->in ? bus->consumer : NULL, &side->self,
                       err);
    if (rc == AEGIS_E_OK) {
        side->delay = 0;
        return AEGIS_E_OK;
    }

    side->self = NULL;
    aegis_bus_rest(bus, side, err->detail);
    if (bus->in == NULL) {          /* the other one goes on, and its caller with it */
        aegis_log(AEGIS_LOG_WARN, "bus", "transport-away", "transport", "%s", side->t->name,
                  "error", "%s", err->detail, NULL);
    }
    return rc == AEGIS_E_BAD_GATEWAY ? AEGIS_E_UNAVAILABLE : rc;
}

/* A self that cannot come back by itself is closed; the next call opens. */
static aegis_code_t
aegis_bus_checked(aegis_bus_side_t *side, aegis_code_t rc)
{
    if (rc != AEGIS_E_BAD_GATEWAY) {
        return rc;
    }

    aegis_bus_close(side);
    return AEGIS_E_UNAVAILABLE;
}

aegis_code_t
aegis_bus_ready(aegis_bus_t *bus, aegis_error_t *err)
{
    int                     open;
    size_t                  i, n;
    aegis_code_t            rc;
    aegis_bus_side_t       *side, *away;
    const aegis_subject_t  *s;

    if (bus->in != NULL) {
        return aegis_bus_open(bus, bus->in, err);
    }

    /* one of the transports that are named is enough to go on with */
    s = aegis_subjects(&n);
    for (i = 0, away = NULL, rc = AEGIS_E_OK, open = 0; i < n; i++) {
        side = aegis_bus_side(bus, aegis_view(s[i].subject));
        if (side == away) {
            continue;
        }
        aegis_error_clear(err);
        rc = aegis_bus_open(bus, side, err);
        open |= rc == AEGIS_E_OK;
        away = rc == AEGIS_E_OK ? away : side;
    }

    return open ? AEGIS_E_OK : rc;
}

int
aegis_bus_rests(const aegis_bus_t *bus, aegis_str_t subject)
{
    const aegis_bus_side_t  *side;

    side = aegis_bus_side((aegis_bus_t *) bus, subject);
    return side->self == NULL || (side->delay && aegis_bus_now() < side->retry_at);
}

/* Publish those of out that this side carries. */
static aegis_code_t
aegis_bus_publish_side(aegis_bus_t *bus, aegis_bus_side_t *side, aegis_bus_out_t *out,
    size_t n, int timeout_ms, aegis_error_t *err)
{
    size_t            i, k, *index;
    aegis_code_t      rc;
    aegis_bus_out_t  *part;

    part = malloc(n * (sizeof(aegis_bus_out_t) + sizeof(size_t)) + 1);
    if (part == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }
    index = (size_t *) (part + n);

    for (i = 0, k = 0; i < n; i++) {
        if (aegis_bus_side(bus, out[i].subject) == side) {
            part[k] = out[i];
            part[k].published = 0;
            index[k++] = i;
        }
    }

    rc = k ? aegis_bus_open(bus, side, err) : AEGIS_E_OK;
    if (rc == AEGIS_E_OK && k) {
        timeout_ms = side->delay && timeout_ms > AEGIS_BUS_PROBE_MS ? AEGIS_BUS_PROBE_MS
                     : timeout_ms;
        rc = aegis_bus_checked(side, side->t->publish(side->self, part, k,
                                                      timeout_ms, err));
        for (i = 0; i < k; i++) {
            out[index[i]].published = part[i].published;
        }
        if (rc == AEGIS_E_OK) {
            side->delay = 0;
        } else {
            aegis_bus_rest(bus, side, err->detail);
        }
    }

    free(part);
    return rc;
}

aegis_code_t
aegis_bus_publish(aegis_bus_t *bus, aegis_bus_out_t *out, size_t n, int timeout_ms,
    aegis_error_t *err)
{
    size_t        i;
    aegis_code_t  rc, one;

    for (i = 0; i < n; i++) {
        out[i].published = 0;
    }

    rc = AEGIS_E_OK;
    for (i = 0; i < AEGIS_BUS_SIDES; i++) {
        one = aegis_bus_publish_side(bus, &bus->sides[i], out, n, timeout_ms, err);
        rc = one != AEGIS_E_OK ? one : rc;
    }

    return rc;
}

aegis_code_t
aegis_bus_fetch(aegis_bus_t *bus, aegis_bus_msg_t *msgs, size_t max, int timeout_ms,
    size_t *ret_n, aegis_error_t *err)
{
    aegis_code_t  rc;

    *ret_n = 0;

    rc = aegis_bus_open(bus, bus->in, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    return aegis_bus_checked(bus->in, bus->in->t->fetch(bus->in->self, msgs, max,
                                                        timeout_ms, ret_n, err));
}

void
aegis_bus_ack(aegis_bus_t *bus, aegis_bus_msg_t *msg)
{
    bus->in->t->ack(bus->in->self, msg);
}

void
aegis_bus_nak(aegis_bus_t *bus, aegis_bus_msg_t *msg, int delay_ms)
{
    bus->in->t->nak(bus->in->self, msg, delay_ms);
}
