/*
 * aegis_window.h: change windows and freezes of a policy on the clock of a time
 * zone. Ends are exclusive.
 *
 * Window: {"days": ["mon",…], "from": "22:00", "to": "06:00"}; over midnight it
 * belongs to the day on which it opens. Freeze: {"from": "2026-12-20",
 * "to": "2027-01-03T12:00"}: dates (their first moment) or local times.
 */
#ifndef AEGIS_WINDOW_H
#define AEGIS_WINDOW_H

#include "aegis_error.h"
#include "aegis_zone.h"

/* "09:30" as seconds of the day, "24:00" is its end; -1 when it is none. */
int64_t aegis_window_clock(const char *s);

/* A date or a local time without seconds; 1 when it is one. */
int aegis_window_date(const char *s, int64_t *ret_local);

/* Seconds that a window is still open at now, 0 when it is closed; then
 * *ret_opens is when it opens next, 0 when that is more than a week away. */
int64_t aegis_window_left(const json_t *window, const aegis_zone_t *zone, int64_t now,
    int64_t *ret_opens);

/* The seconds in which a freeze holds. */
void aegis_window_freeze(const json_t *freeze, const aegis_zone_t *zone,
    int64_t *ret_from, int64_t *ret_to);

/* Add to err what is wrong with the members of a rule at a JSON pointer. */
void aegis_window_check(const json_t *window, const char *at, aegis_error_t *err);
void aegis_window_check_freeze(const json_t *freeze, const char *at, aegis_error_t *err);

#endif
