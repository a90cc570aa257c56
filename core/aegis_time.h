/*
 * aegis_time.h: RFC 3339 date-times that PostgreSQL also takes, to and from
 * seconds since 1970. No clock is read here.
 */
#ifndef AEGIS_TIME_H
#define AEGIS_TIME_H

#include "aegis.h"

#define AEGIS_TIME_LEN  20      /* 2026-11-21T07:00:00Z */

/* 1 when s is a date-time of the years 0001 to 9999 with an offset of less
 * than 16 h (what timestamptz can hold); *ret_s is its second, rounded down. */
int aegis_time_parse(aegis_str_t s, int64_t *ret_s);

void aegis_time_format(int64_t s, char out[AEGIS_TIME_LEN + 1]);

/* "+08:00" as seconds; 1 when valid. */
int aegis_time_offset(aegis_str_t s, int64_t *ret_s);

/* Days since 1970-01-01 of a date; the year of a second of UTC. */
int64_t aegis_time_days(int64_t y, int64_t m, int64_t d);
int64_t aegis_time_year(int64_t s);

/* 0 Monday .. 6 Sunday, of a second of UTC (or of a local time's second). */
int aegis_time_weekday(int64_t s);

#endif
