/*
 * aegis_bus_nats.h: what the two NATS files share. Private to them.
 */
#ifndef AEGIS_BUS_NATS_H
#define AEGIS_BUS_NATS_H

#include <nats/nats.h>

#include "aegis_bus.h"

typedef struct {
    natsConnection          *nc;
    jsCtx                   *js;
    natsStatistics          *stats;

    /* publishing */
    natsInbox               *acks_inbox;
    natsSubscription        *acks;
    unsigned                 generation;    /* of the batch: old acks are not ours */

    /* consuming */
    const aegis_consumer_t  *consumer;  /* NULL: only publishes */
    natsSubscription        *sub;
    natsInbox               *inbox;
    char                     next[256]; /* subject of pull requests */
    int                      credit;    /* messages that the server may still send */
    int64_t                  asked_at;
    int                      suspect;   /* a request was lost: is the consumer there? */
    uint64_t                 reconnects;
} aegis_nats_t;

/* Connect; create or check the streams that the routes need, and the consumer. */
aegis_code_t aegis_nats_setup(const aegis_conf_t *conf, const aegis_consumer_t *consumer,
    aegis_nats_t **ret_nats, aegis_error_t *err);
/* Has the consumer seen more than its stream holds? A store that was rolled back
 * leaves it so, and it would pass over all that comes until then. */
int aegis_nats_past(aegis_nats_t *nats, const jsConsumerInfo *info);
void aegis_nats_destroy(aegis_nats_t *nats);

#endif
