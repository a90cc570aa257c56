/*
 * aegis_metrics.c: the metrics of a worker process and their text form.
 * Invariant: a metric, once made, stays where it is until the process ends, so
 * that roles keep pointers; the table is bounded, and what does not fit any
 * more is counted in one overflow metric instead of growing or failing.
 * The HTTP side is aegis_metrics_http.c.
 */
#include "aegis_metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AEGIS_METRICS_MAX   512
#define AEGIS_METRICS_SLOTS 1024        /* a power of two, never full */
#define AEGIS_METRIC_BOUNDS 14

typedef enum { AEGIS_COUNTER, AEGIS_GAUGE, AEGIS_HISTOGRAM } aegis_metric_kind_t;

struct aegis_metric_s {
    aegis_metric_kind_t   kind;
    char                  name[96];
    char                  labels[160];
    char                  help[160];
    const double         *bounds;       /* histogram */
    uint64_t              buckets[AEGIS_METRIC_BOUNDS + 1];
    uint64_t              count;
    double                value;        /* value, or a histogram's sum */
};

static pthread_mutex_t  aegis_metrics_mutex = PTHREAD_MUTEX_INITIALIZER;
static aegis_metric_t   aegis_metrics[AEGIS_METRICS_MAX + 1];
static int              aegis_n_metrics;

/* By name and labels: the number of a metric and one, or 0. Roles ask for each by its
 * labels many times a case. */
static uint16_t         aegis_metric_slots[AEGIS_METRICS_SLOTS];

static const double  aegis_metric_seconds[AEGIS_METRIC_BOUNDS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10
};
static const double  aegis_metric_sizes[AEGIS_METRIC_BOUNDS] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536
};

static uint32_t
aegis_metric_hash(uint32_t hash, const char *s)
{
    for ( ; *s; s++) {
        hash = (hash ^ (unsigned char) *s) * 16777619u;
    }

    return hash;
}

static aegis_metric_t *
aegis_metric_get(aegis_metric_kind_t kind, const char *name, const char *labels,
    const char *help)
{
    size_t           n;
    uint32_t         i;
    aegis_metric_t  *m;

    i = aegis_metric_hash(aegis_metric_hash(2166136261u, name), labels);

    pthread_mutex_lock(&aegis_metrics_mutex);

    for ( ; aegis_metric_slots[i % AEGIS_METRICS_SLOTS]; i++) {
        m = &aegis_metrics[aegis_metric_slots[i % AEGIS_METRICS_SLOTS] - 1];
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0) {
            goto done;
        }
    }

    /* the last place is the overflow metric, made when it is needed */
    if (aegis_n_metrics >= AEGIS_METRICS_MAX) {
        m = &aegis_metrics[AEGIS_METRICS_MAX];
        if (m->name[0] == '\0') {
            strcpy(m->name, "aegis_metrics_overflow_total");
            strcpy(m->help, "additions to metrics that did not fit the table");
            m->bounds = aegis_metric_sizes;
        }
        goto done;
    }

    m = &aegis_metrics[aegis_n_metrics++];
    aegis_metric_slots[i % AEGIS_METRICS_SLOTS] = (uint16_t) aegis_n_metrics;
    m->kind = kind;
    snprintf(m->name, sizeof(m->name), "%s", name);
    snprintf(m->labels, sizeof(m->labels), "%s", labels);
    snprintf(m->help, sizeof(m->help), "%s", help);
    n = strlen(name);
    m->bounds = (n > 8 && strcmp(name + n - 8, "_seconds") == 0)
                ? aegis_metric_seconds : aegis_metric_sizes;

done:

    pthread_mutex_unlock(&aegis_metrics_mutex);
    return m;
}

aegis_metric_t *
aegis_counter(const char *name, const char *labels, const char *help)
{
    return aegis_metric_get(AEGIS_COUNTER, name, labels, help);
}

aegis_metric_t *
aegis_gauge(const char *name, const char *labels, const char *help)
{
    return aegis_metric_get(AEGIS_GAUGE, name, labels, help);
}

aegis_metric_t *
aegis_histogram(const char *name, const char *labels, const char *help)
{
    return aegis_metric_get(AEGIS_HISTOGRAM, name, labels, help);
}

void
aegis_metric_add(aegis_metric_t *m, double v)
{
    pthread_mutex_lock(&aegis_metrics_mutex);
    m->value += v;
    pthread_mutex_unlock(&aegis_metrics_mutex);
}

void
aegis_metric_set(aegis_metric_t *m, double v)
{
    pthread_mutex_lock(&aegis_metrics_mutex);
    m->value = v;
    pthread_mutex_unlock(&aegis_metrics_mutex);
}

void
aegis_metric_observe(aegis_metric_t *m, double v)
{
    int  i;

    pthread_mutex_lock(&aegis_metrics_mutex);

    for (i = 0; i < AEGIS_METRIC_BOUNDS && v > m->bounds[i]; i++) { /* void */ }
    m->buckets[i]++;
    m->count++;
    m->value += v;

    pthread_mutex_unlock(&aegis_metrics_mutex);
}

static void
aegis_metric_write(FILE *out, const aegis_metric_t *m)
{
    int          i;
    uint64_t     sum;
    const char  *sep;

    if (m->kind != AEGIS_HISTOGRAM) {
        fprintf(out, m->labels[0] ? "%s{%s} %.15g\n" : "%s%s %.15g\n",
                m->name, m->labels, m->value);
        return;
    }

    sep = m->labels[0] ? "," : "";

    for (i = 0, sum = 0; i < AEGIS_METRIC_BOUNDS; i++) {
        sum += m->buckets[i];
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, m->labels, sep,
                m->bounds[i], (unsigned long long) sum);
    }

    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, m->labels, sep,
            (unsigned long long) m->count);
    fprintf(out, m->labels[0] ? "%s_sum{%s} %.15g\n" : "%s_sum%s %.15g\n",
            m->name, m->labels, m->value);
    fprintf(out, m->labels[0] ? "%s_count{%s} %llu\n" : "%s_count%s %llu\n",
            m->name, m->labels, (unsigned long long) m->count);
}

char *
aegis_metrics_render(size_t *ret_len)
{
    int              i, j;
    FILE            *out;
    char            *text;
    aegis_metric_t  *m;

    static const char *const  types[] = { "counter", "gauge", "histogram" };

    text = NULL;
    out = open_memstream(&text, ret_len);
    if (out == NULL) {
        return NULL;
    }

    fprintf(out, "# HELP aegis_build_info The version of this process.\n"
            "# TYPE aegis_build_info gauge\naegis_build_info{version=\"%s\"} 1\n",
            AEGIS_VERSION);

    pthread_mutex_lock(&aegis_metrics_mutex);

    /* one HELP and TYPE a name, and its label sets together */
    for (i = 0; i <= AEGIS_METRICS_MAX; i++) {
        m = &aegis_metrics[i];

        for (j = 0; j < i && strcmp(aegis_metrics[j].name, m->name) != 0; j++) {
            /* void */
        }
        if (m->name[0] == '\0' || j < i) {
            continue;
        }

        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                types[m->kind]);

        for (j = i; j <= AEGIS_METRICS_MAX; j++) {
            if (strcmp(aegis_metrics[j].name, m->name) == 0) {
                aegis_metric_write(out, &aegis_metrics[j]);
            }
        }
    }

    pthread_mutex_unlock(&aegis_metrics_mutex);

    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }

    return text;
}
