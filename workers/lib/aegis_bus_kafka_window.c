/*
 * aegis_bus_kafka_window.c: what is between the committed offset and the last
 * message taken of each assigned partition.
 * Invariant: the offset to commit never passes a message that is not done, and
 * a message is not handed out while an earlier one of its key is held. So a
 * message that must wait holds back its own case, and nobody else's.
 */
#include "aegis_bus_kafka.h"

#include <stdlib.h>
#include <string.h>

aegis_kafka_part_t *
aegis_kafka_part(aegis_kafka_t *kafka, const char *topic, int32_t partition)
{
    aegis_kafka_part_t  *p;

    for (p = kafka->parts; p != NULL; p = p->next) {
        if (p->partition == partition && strcmp(p->topic, topic) == 0) {
            return p;
        }
    }

    p = calloc(1, sizeof(aegis_kafka_part_t));
    if (p == NULL) {
        return NULL;
    }

    p->topic = strdup(topic);
    if (p->topic == NULL) {
        free(p);
        return NULL;
    }

    p->partition = partition;
    p->commit = -1;
    p->next = kafka->parts;
    kafka->parts = p;
    return p;
}

void
aegis_kafka_msg_free(aegis_kafka_msg_t *msg)
{
    rd_kafka_message_destroy(msg->m);
    free(msg);
}

/* Forget a partition that is not ours any more. What the role has in its hands
 * stays until it is settled, and then counts for nothing. */
static void
aegis_kafka_part_free(aegis_kafka_part_t *p)
{
    aegis_kafka_msg_t  *msg, *next;

    for (msg = p->first; msg != NULL; msg = next) {
        next = msg->next;
        if (msg->state == AEGIS_KAFKA_OUT) {
            msg->part = NULL;
            msg->next = NULL;
        } else {
            aegis_kafka_msg_free(msg);
        }
    }

    free(p->topic);
    free(p);
}

void
aegis_kafka_parts_drop(aegis_kafka_t *kafka, const rd_kafka_topic_partition_list_t *list)
{
    aegis_kafka_part_t  *p, **at;

    for (at = &kafka->parts; (p = *at) != NULL; ) {
        if (list != NULL
            && rd_kafka_topic_partition_list_find(
                   (rd_kafka_topic_partition_list_t *) list, p->topic, p->partition)
               == NULL)
        {
            at = &p->next;
            continue;
        }
        *at = p->next;
        aegis_kafka_part_free(p);
    }
}

aegis_kafka_msg_t *
aegis_kafka_window_add(aegis_kafka_part_t *part, rd_kafka_message_t *m)
{
    aegis_kafka_msg_t  *msg;

    msg = calloc(1, sizeof(aegis_kafka_msg_t));
    if (msg == NULL) {
        return NULL;
    }

    msg->m = m;
    msg->part = part;
    msg->state = AEGIS_KAFKA_HELD;

    if (part->last != NULL) {
        part->last->next = msg;
    } else {
        part->first = msg;
    }
    part->last = msg;
    part->n++;
    part->n_held++;
    return msg;
}

int
aegis_kafka_window_behind(const aegis_kafka_msg_t *msg)
{
    const aegis_kafka_msg_t  *e;

    if (msg->part->n_held < 2 || msg->m->key == NULL) {
        return 0;
    }

    for (e = msg->part->first; e != msg; e = e->next) {
        if (e->state == AEGIS_KAFKA_HELD && e->m->key_len == msg->m->key_len
            && e->m->key != NULL
            && memcmp(e->m->key, msg->m->key, msg->m->key_len) == 0)
        {
            return 1;
        }
    }

    return 0;
}

void
aegis_kafka_window_trim(aegis_kafka_part_t *part)
{
    aegis_kafka_msg_t  *msg;

    while ((msg = part->first) != NULL && msg->state == AEGIS_KAFKA_DONE) {
        part->commit = msg->m->offset + 1;
        part->first = msg->next;
        if (part->first == NULL) {
            part->last = NULL;
        }
        part->n--;
        aegis_kafka_msg_free(msg);
    }
}
