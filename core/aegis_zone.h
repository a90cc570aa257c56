/*
 * aegis_zone.h: time zones as data. A shell reads the TZif file of an IANA zone
 * (RFC 9636); the core makes of its bytes a small JSON value that travels with
 * the policy, and says from that what clocks show.
 *
 * A zone: {"offset": seconds east of UTC before the first change,
 *   "changes": [[second since 1970, offset from then on], …],
 *   "rule": POSIX TZ string for all times behind the last change, or ""}
 */
#ifndef AEGIS_ZONE_H
#define AEGIS_ZONE_H

#include "aegis_error.h"

#define AEGIS_ZONE_MAX_CHANGES  400
#define AEGIS_ZONE_MAX_NAME     63
#define AEGIS_ZONE_MAX_FILE     65536

/* A day of the year on which the clock is changed, in one of the three forms of
 * POSIX, and the local second of that day; it may lie outside of the day. */
typedef struct {
    char     form;                  /* M: month, week, weekday · J: 1 to 365 · 0: 0 to 365 */
    int      month;
    int      week;
    int      day;
    int64_t  at;
} aegis_zone_day_t;

typedef struct {
    int64_t           standard;     /* seconds east of UTC */
    int64_t           summer;
    int               has_summer;
    aegis_zone_day_t  from;
    aegis_zone_day_t  to;
} aegis_zone_rule_t;

typedef struct {
    int64_t            offset;
    const json_t      *changes;     /* borrowed; NULL: none */
    int                has_rule;
    aegis_zone_rule_t  rule;
} aegis_zone_t;

/* A name that may be looked up: Area/City, no way out of a folder. */
int aegis_zone_name_valid(const char *name);

/* What a TZif file says from the second since on. SCHEMA when it is none. */
aegis_code_t aegis_zone_read(aegis_str_t tzif, int64_t since, json_t **ret_zone,
    aegis_error_t *err);

/* Adds to err what is wrong with a zone at a JSON pointer. */
void aegis_zone_check(const json_t *zone, const char *at, aegis_error_t *err);

/* A zone that was checked; it borrows from json. */
void aegis_zone_open(const json_t *json, aegis_zone_t *ret_zone);

/* The same clock all the year. */
void aegis_zone_fixed(int64_t offset, aegis_zone_t *ret_zone);

/* Seconds east of UTC at t; *ret_until, when not NULL, is the next change, or
 * INT64_MAX. */
int64_t aegis_zone_offset(const aegis_zone_t *zone, int64_t t, int64_t *ret_until);

/*
 * The first second at which the clock shows local (seconds since 1970 as if the
 * clock were UTC) or more. Of a time that the clock shows twice it is the first
 * one; of a time that it skips, the moment of the skip.
 */
int64_t aegis_zone_first(const aegis_zone_t *zone, int64_t local);

/* For aegis_zone.c, out of aegis_zone_rule.c: 1 when text is a POSIX TZ string. */
int aegis_zone_rule_parse(const char *text, aegis_zone_rule_t *ret_rule);
int64_t aegis_zone_rule_offset(const aegis_zone_rule_t *rule, int64_t t,
    int64_t *ret_until);

#endif
