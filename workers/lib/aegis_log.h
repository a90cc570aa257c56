/*
 * aegis_log.h: the workers' only logger: one JSON object a line on stderr:
 * ts, level, role, event, then the pairs. Secrets never come here.
 */
#ifndef AEGIS_LOG_H
#define AEGIS_LOG_H

typedef enum { AEGIS_LOG_ERROR, AEGIS_LOG_WARN, AEGIS_LOG_INFO, AEGIS_LOG_DEBUG } aegis_log_level_t;

void aegis_log_level(aegis_log_level_t level);
int aegis_log_level_by_name(const char *name);      /* -1: unknown */

/*
 * aegis_log(AEGIS_LOG_INFO, "relay", "published", "n", "%d", n, "case_id", "%s", id, NULL):
 * event is a stable name; then key, printf format, its one argument, …, NULL.
 * Formats: exactly one of %s %d %u %ld %lld %zu %.3f. The same (role, event) is written at most 10 times
 * a second, the rest is counted and said with "suppressed".
 */
void aegis_log(aegis_log_level_t level, const char *role, const char *event, ...);

#endif
