/*
 * aegis_metrics.h: counters, gauges and histograms of a worker process and the
 * small HTTP server that shows them (/metrics, /healthz). Thread-safe; a
 * metric is made once with a fixed label set and then only added to.
 */
#ifndef AEGIS_METRICS_H
#define AEGIS_METRICS_H

#include "aegis_error.h"

typedef struct aegis_metric_s  aegis_metric_t;

/* labels: a literal such as role="relay", or "". The same (name, labels) gives
 * the same metric. Never NULL: at the limit of 512 a shared overflow one.
 * A histogram whose name ends in _seconds has buckets of time, else of sizes. */
aegis_metric_t *aegis_counter(const char *name, const char *labels, const char *help);
aegis_metric_t *aegis_gauge(const char *name, const char *labels, const char *help);
aegis_metric_t *aegis_histogram(const char *name, const char *labels, const char *help);

void aegis_metric_add(aegis_metric_t *m, double v);         /* counter */
void aegis_metric_set(aegis_metric_t *m, double v);         /* gauge */
void aegis_metric_observe(aegis_metric_t *m, double v);     /* histogram */

/* All of them as Prometheus text 0.0.4, malloc'ed; NULL: no memory. */
char *aegis_metrics_render(size_t *ret_len);

/* Serve on "host:port" from a thread of its own; port 0: do nothing. */
aegis_code_t aegis_metrics_listen(const char *address, aegis_error_t *err);
void aegis_metrics_stop(void);

/* What /healthz asks: 1 well, 0 not, with a reason in buf. Without one /healthz
 * says that the process is alive. Set before aegis_metrics_listen(). */
void aegis_metrics_health(int (*health)(char *buf, size_t size));

#endif
