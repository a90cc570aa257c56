/*
 * aegis_detect_state.c: the state of a series as bytes: a head that names version,
 * size and byte order, the state as it is but for its counts of days, which are two
 * a byte, a checksum: two states with long names have to fit on PostgreSQL's page.
 * Invariant: what comes out of bytes is a state that can be fed, whatever they
 * were; a state of another version, machine or size is no state, and its series
 * learns anew.
 */
#include "aegis_detect.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define AEGIS_STATE_VERSION  3

/* day_n, half_n and week_n, and what comes after them */
#define AEGIS_STATE_COUNTS   offsetof(aegis_detect_t, day_n)
#define AEGIS_STATE_N        (3 * AEGIS_DETECT_SLOTS + AEGIS_DETECT_WEEK)
#define AEGIS_STATE_REST     (AEGIS_STATE_COUNTS + AEGIS_STATE_N)
#define AEGIS_STATE_PACKED   (sizeof(aegis_detect_t) - AEGIS_STATE_N / 2)

typedef struct {
    char      magic[4];
    uint32_t  version;
    uint32_t  size;
    uint32_t  order;        /* of bytes: 1 as this machine has it */
    uint64_t  sum;
} aegis_detect_head_t;

_Static_assert(sizeof(aegis_detect_head_t) + AEGIS_STATE_PACKED <= AEGIS_DETECT_BYTES,
               "a state fits into its limit");
_Static_assert(offsetof(aegis_detect_t, slot) == AEGIS_STATE_REST && AEGIS_STATE_N % 2 == 0,
               "the counts of days are one behind the other");


static uint64_t
aegis_detect_sum(const unsigned char *p, size_t len)
{
    uint64_t  h, word;

    h = 1469598103934665603ULL;

    for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        h = (h ^ word) * 1099511628211ULL;
        h ^= h >> 29;
    }

    for (; len; p++, len--) {
        h = (h ^ *p) * 1099511628211ULL;
    }

    return h;
}


static int
aegis_detect_numbers(const double *v, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            return 0;
        }
    }

    return 1;
}


static int
aegis_detect_floats(const float *v, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (!isfinite((double) v[i])) {
            return 0;
        }
    }

    return 1;
}


static int
aegis_detect_sound(const aegis_detect_t *s)
{
    int                         i;
    const aegis_detect_tail_t  *tail;

    const double  single[] = {
        s->t, s->v, s->raw, s->step, s->begun, s->longest, s->base, s->moves, s->repeats,
        s->whole, s->limit_peak, s->reported_by, s->origin, s->usual, s->quiet, s->loud,
        s->with, s->own, s->lag
    };

    for (i = 0; i < AEGIS_DETECT_TAILS; i++) {
        tail = &s->tail[i];
        if (!aegis_detect_floats(&tail->n, 2) || !aegis_detect_floats(&tail->side[0].k, 3)
            || !aegis_detect_floats(&tail->side[1].k, 3)
            || !aegis_detect_floats(&tail->peak, 1)
            || !aegis_detect_floats(tail->wait, AEGIS_DETECT_WAIT)
            || tail->n < 0 || tail->side[0].k < 0 || tail->side[1].k < 0)
        {
            return 0;
        }
    }

    return s->n >= 0 && s->move_n <= AEGIS_DETECT_MOVES && s->flat_n <= AEGIS_DETECT_RING
           && s->move_at < AEGIS_DETECT_MOVES && s->flat_at < AEGIS_DETECT_RING
           && s->slot[0] < AEGIS_DETECT_SLOTS && s->slot[1] < 2 * AEGIS_DETECT_SLOTS
           && s->slot[2] < AEGIS_DETECT_WEEK
           && s->expert < AEGIS_DETECT_EXPERTS && s->season < AEGIS_DETECT_SEASONS
           && s->counter <= 2 && s->limit <= 2 && s->step >= 0
           && aegis_detect_numbers(single, sizeof(single) / sizeof(single[0]))
           && aegis_detect_floats(s->flat, AEGIS_DETECT_RING)
           && aegis_detect_floats(s->move, AEGIS_DETECT_MOVES)
           && aegis_detect_numbers(s->level, 4)
           && aegis_detect_numbers(s->deviates, AEGIS_DETECT_SEASONS - 1)
           && aegis_detect_numbers(s->error, AEGIS_DETECT_EXPERTS)
           && aegis_detect_floats(s->residual, AEGIS_DETECT_SLOTS)
           && aegis_detect_numbers(s->season_error, AEGIS_DETECT_SEASONS)
           && aegis_detect_floats(s->day, AEGIS_DETECT_SLOTS)
           && aegis_detect_floats(s->half, 2 * AEGIS_DETECT_SLOTS)
           && aegis_detect_floats(s->week, AEGIS_DETECT_WEEK);
}


size_t
aegis_detect_pack(const aegis_detect_t *s, unsigned char *to)
{
    size_t               i;
    unsigned char       *at;
    const unsigned char *from;
    aegis_detect_head_t  head;

    memset(&head, 0, sizeof(head));
    memcpy(head.magic, "ADET", 4);
    head.version = AEGIS_STATE_VERSION;
    head.size = sizeof(*s);
    head.order = 1;

    from = (const unsigned char *) s;
    at = to + sizeof(head);
    memcpy(at, from, AEGIS_STATE_COUNTS);
    at += AEGIS_STATE_COUNTS;
    for (i = AEGIS_STATE_COUNTS; i < AEGIS_STATE_REST; i += 2) {
        *at++ = (unsigned char) ((from[i] & 15) << 4 | (from[i + 1] & 15));
    }
    memcpy(at, from + AEGIS_STATE_REST, sizeof(*s) - AEGIS_STATE_REST);

    head.sum = aegis_detect_sum(to + sizeof(head), AEGIS_STATE_PACKED);
    memcpy(to, &head, sizeof(head));

    return sizeof(head) + AEGIS_STATE_PACKED;
}


int
aegis_detect_unpack(const unsigned char *from, size_t len, aegis_detect_t *ret)
{
    size_t               i;
    unsigned char       *to;
    aegis_detect_head_t  head;

    memset(ret, 0, sizeof(*ret));

    if (from == NULL || len != sizeof(head) + AEGIS_STATE_PACKED) {
        return 0;
    }

    memcpy(&head, from, sizeof(head));

    if (memcmp(head.magic, "ADET", 4) != 0 || head.version != AEGIS_STATE_VERSION
        || head.size != sizeof(*ret) || head.order != 1
        || head.sum != aegis_detect_sum(from + sizeof(head), AEGIS_STATE_PACKED))
    {
        return 0;
    }

    to = (unsigned char *) ret;
    from += sizeof(head);
    memcpy(to, from, AEGIS_STATE_COUNTS);
    from += AEGIS_STATE_COUNTS;
    for (i = AEGIS_STATE_COUNTS; i < AEGIS_STATE_REST; i += 2, from++) {
        to[i] = *from >> 4;
        to[i + 1] = *from & 15;
    }
    memcpy(to + AEGIS_STATE_REST, from, sizeof(*ret) - AEGIS_STATE_REST);

    if (!aegis_detect_sound(ret)) {
        memset(ret, 0, sizeof(*ret));
        return 0;
    }

    return 1;
}
