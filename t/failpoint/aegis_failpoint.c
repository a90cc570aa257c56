/*
 * aegis_failpoint.c: what a failpoint does in a build that has them. All
 * processes of an installation share one file, which AEGIS_FAILPOINTS names and
 * t/lib/Aegis/Failpoint.pm makes: a slot a point says who is to do what at the
 * how manieth time, and counts.
 * Invariant: what is armed for one hit is done by one process, once, however
 * many reach it together; nothing armed costs one addition.
 */
#include "aegis_failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { NOTHING, KILL, STALL, FAIL };

/* Failpoint.pm packs the same. */
typedef struct {
    char      name[32];
    char      who[16];          /* "": anybody */
    int32_t   what;
    int32_t   nth;              /* 1: the next one; 0: each */
    int32_t   ms;               /* of a stall */
    uint32_t  hits;
    uint32_t  fired;
    int32_t   unused[11];
} aegis_failpoint_slot_t;

static aegis_failpoint_slot_t  *aegis_failpoint_slots;

static const char *const  aegis_failpoint_names[] = {
#define AEGIS_FAILPOINT(id, name, who, what, sentence)  name,
#include "tables/failpoints.def"
#undef AEGIS_FAILPOINT
};

/* When the program or the module is loaded: nginx empties the environment of
 * its workers, but they inherit what is mapped. */
__attribute__((constructor)) static void
aegis_failpoint_map(void)
{
    int          fd, i;
    void        *p;
    size_t       size;
    const char  *file;

    file = getenv("AEGIS_FAILPOINTS");
    size = AEGIS_N_FAILPOINTS * sizeof(aegis_failpoint_slot_t);
    fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }

    p = lseek(fd, 0, SEEK_END) == (off_t) size
        ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    if (p == MAP_FAILED) {
        return;
    }

    aegis_failpoint_slots = p;
    for (i = 0; i < AEGIS_N_FAILPOINTS; i++) {
        if (strcmp(aegis_failpoint_slots[i].name, aegis_failpoint_names[i]) != 0) {
            aegis_failpoint_slots = NULL;       /* of another build */
            return;
        }
    }
}

static void
aegis_failpoint_stall(int ms)
{
    struct timespec  ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = (long) (ms % 1000) * 1000000;
    while (nanosleep(&ts, &ts) != 0) { /* a signal */ }
}

int
aegis_failpoint(aegis_failpoint_id_t id, const char *who)
{
    int                      what;
    aegis_failpoint_slot_t  *s;

    if (aegis_failpoint_slots == NULL) {
        return 0;
    }

    s = &aegis_failpoint_slots[id];
    if (s->who[0] && strcmp(s->who, who) != 0) {
        return 0;
    }

    __atomic_add_fetch(&s->hits, 1, __ATOMIC_RELAXED);
    what = __atomic_load_n(&s->what, __ATOMIC_ACQUIRE);
    if (what == NOTHING) {
        return 0;
    }

    if (s->nth > 0) {
        if (__atomic_sub_fetch(&s->nth, 1, __ATOMIC_ACQ_REL) != 0) {
            return 0;
        }
        what = __atomic_exchange_n(&s->what, NOTHING, __ATOMIC_ACQ_REL);
    }

    __atomic_add_fetch(&s->fired, 1, __ATOMIC_RELEASE);
    if (what == KILL) {
        kill(getpid(), SIGKILL);
        for ( ;; ) { pause(); }
    }
    if (what == STALL) {
        aegis_failpoint_stall(s->ms);
    }

    return what == FAIL;
}
