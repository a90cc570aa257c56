/*
 * aegis_failpoint.h: the places of failpoints.def, as they stand in the code:
 *     if (AEGIS_FP(relay_after_fetch, "relay")) { the way of failure }
 * A release has no trace of them: the macro is 0 there. A build with
 * -DAEGIS_FAILPOINTS calls t/failpoint/aegis_failpoint.c, which a test has armed
 * or not; what is to kill or stall does so inside.
 */
#ifndef AEGIS_FAILPOINT_H
#define AEGIS_FAILPOINT_H

#ifdef AEGIS_FAILPOINTS

typedef enum {
#define AEGIS_FAILPOINT(id, name, who, what, sentence)  AEGIS_FP_##id,
#include "tables/failpoints.def"
#undef AEGIS_FAILPOINT
    AEGIS_N_FAILPOINTS
} aegis_failpoint_id_t;

/* who: the role, or "gateway". 1: fail here. */
int aegis_failpoint(aegis_failpoint_id_t id, const char *who);

#define AEGIS_FP(id, who)  aegis_failpoint(AEGIS_FP_##id, who)

#else

#define AEGIS_FP(id, who)  0

#endif

#endif
