/*
 * aegis_log.c: the one logger of the workers: a JSON object a line on stderr,
 * written with one write(2), so that lines of threads and processes never mix.
 * Invariant: a line is valid JSON whatever the values hold, and a repeating
 * event cannot flood: ten a second, the rest is counted.
 */
#include "aegis_log.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AEGIS_LOG_LINE     4096
#define AEGIS_LOG_TAIL     64       /* kept free for closing the line */
#define AEGIS_LOG_PAIRS    24
#define AEGIS_LOG_A_SECOND 10
#define AEGIS_LOG_EVENTS   256

typedef struct {
    char      name[64];             /* role, a blank, event */
    time_t    second;
    int       n;                    /* written in that second */
    long      suppressed;           /* since the last one written */
} aegis_log_rate_t;

typedef struct {
    char      data[AEGIS_LOG_LINE];
    size_t    len;
} aegis_log_line_t;

static pthread_mutex_t      aegis_log_mutex = PTHREAD_MUTEX_INITIALIZER;
static int                  aegis_log_threshold = AEGIS_LOG_INFO;
static aegis_log_rate_t     aegis_log_rates[AEGIS_LOG_EVENTS];

static const char *const    aegis_log_names[] = { "error", "warn", "info",
                                                  "debug" };

void
aegis_log_level(aegis_log_level_t level)
{
    __atomic_store_n(&aegis_log_threshold, (int) level, __ATOMIC_RELAXED);
}

int
aegis_log_level_by_name(const char *name)
{
    int  i;

    for (i = 0; i <= AEGIS_LOG_DEBUG; i++) {
        if (strcmp(name, aegis_log_names[i]) == 0) {
            return i;
        }
    }

    return -1;
}

static void
aegis_log_raw(aegis_log_line_t *line, const char *text)
{
    size_t  n, room;

    n = strlen(text);
    room = (line->len < AEGIS_LOG_LINE - AEGIS_LOG_TAIL)
           ? AEGIS_LOG_LINE - AEGIS_LOG_TAIL - line->len : 0;
    if (n > room) {
        n = room;
    }
    memcpy(line->data + line->len, text, n);
    line->len += n;
}

/* Length of the UTF-8 sequence at p, 0 when it is none: such a byte becomes
 * a question mark, because a log line must stay readable for every parser. */
static int
aegis_log_utf8(const unsigned char *p)
{
    int  i, n;

    if (p[0] < 0x80) {
        return 1;
    }

    n = (p[0] >= 0xc2 && p[0] <= 0xdf) ? 2
        : (p[0] >= 0xe0 && p[0] <= 0xef) ? 3
        : (p[0] >= 0xf0 && p[0] <= 0xf4) ? 4 : 0;

    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
    {
        return 0;
    }

    return n;
}

static void
aegis_log_string(aegis_log_line_t *line, const char *text)
{
    int                   n;
    char                  esc[8];
    const unsigned char  *p;

    if (text == NULL) {
        aegis_log_raw(line, "null");
        return;
    }

    aegis_log_raw(line, "\"");

    for (p = (const unsigned char *) text; *p; p += n) {
        n = aegis_log_utf8(p);

        if (line->len + 8 > AEGIS_LOG_LINE - AEGIS_LOG_TAIL) {
            break;
        }
        if (n == 0) {
            n = 1;
            line->data[line->len++] = '?';
        } else if (*p == '"' || *p == '\\') {
            line->data[line->len++] = '\\';
            line->data[line->len++] = (char) *p;
        } else if (*p < 0x20 || *p == 0x7f) {
            snprintf(esc, sizeof(esc), "\\u%04x", *p);
            aegis_log_raw(line, esc);
        } else {
            memcpy(line->data + line->len, p, (size_t) n);
            line->len += (size_t) n;
        }
    }

    /* a value that was cut is closed: this byte is out of the kept tail */
    line->data[line->len++] = '"';
}

/* One value by its format; numbers are JSON numbers. 0: stop reading pairs. */
static int
aegis_log_value(aegis_log_line_t *line, const char *fmt, va_list *args)
{
    char    buf[64];
    size_t  n;
    double  d;

    n = strlen(fmt);
    buf[0] = '\0';

    if (strcmp(fmt, "%s") == 0) {
        aegis_log_string(line, va_arg(*args, const char *));
        return 1;
    }

    if (strcmp(fmt, "%lld") == 0) {
        snprintf(buf, sizeof(buf), "%lld", va_arg(*args, long long));
    } else if (strcmp(fmt, "%ld") == 0) {
        snprintf(buf, sizeof(buf), "%ld", va_arg(*args, long));
    } else if (strcmp(fmt, "%zu") == 0) {
        snprintf(buf, sizeof(buf), "%zu", va_arg(*args, size_t));
    } else if (strcmp(fmt, "%u") == 0) {
        snprintf(buf, sizeof(buf), "%u", va_arg(*args, unsigned));
    } else if (strcmp(fmt, "%d") == 0) {
        snprintf(buf, sizeof(buf), "%d", va_arg(*args, int));
    } else if (n > 1 && fmt[0] == '%' && fmt[n - 1] == 'f') {
        d = va_arg(*args, double);
        snprintf(buf, sizeof(buf), "%.3f", isfinite(d) ? d : 0.0);
    } else {
        /* not one of ours: what follows cannot be read safely any more */
        aegis_log_string(line, "bad log format");
        return 0;
    }

    aegis_log_raw(line, buf);
    return 1;
}

/* Whether this event may be written now; how many were not since the last. */
static int
aegis_log_admit(const char *role, const char *event, time_t now, long *suppressed)
{
    int                i, oldest;
    char               name[64];
    aegis_log_rate_t  *r;

    snprintf(name, sizeof(name), "%s %s", role, event);
    oldest = 0;

    for (i = 0; i < AEGIS_LOG_EVENTS; i++) {
        r = &aegis_log_rates[i];
        if (r->name[0] == '\0' || strcmp(r->name, name) == 0) {
            break;
        }
        if (r->second < aegis_log_rates[oldest].second) {
            oldest = i;
        }
    }

    r = &aegis_log_rates[i < AEGIS_LOG_EVENTS ? i : oldest];

    if (strcmp(r->name, name) != 0) {
        memset(r, 0, sizeof(*r));
        strcpy(r->name, name);
    }

    if (r->second != now) {
        r->second = now;
        r->n = 0;
    }

    if (r->n >= AEGIS_LOG_A_SECOND) {
        r->suppressed++;
        return 0;
    }

    r->n++;
    *suppressed = r->suppressed;
    r->suppressed = 0;
    return 1;
}

void
aegis_log(aegis_log_level_t level, const char *role, const char *event, ...)
{
    int               i;
    long              suppressed;
    char              buf[128], when[32];
    ssize_t           rc;
    va_list           args;
    struct tm         tm;
    const char       *key, *fmt;
    struct timespec   ts;
    aegis_log_line_t  line;

    if ((int) level > __atomic_load_n(&aegis_log_threshold, __ATOMIC_RELAXED)) {
        return;
    }

    clock_gettime(CLOCK_REALTIME, &ts);
    suppressed = 0;

    pthread_mutex_lock(&aegis_log_mutex);
    i = aegis_log_admit(role, event, ts.tv_sec, &suppressed);
    pthread_mutex_unlock(&aegis_log_mutex);

    if (!i) {
        return;
    }

    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, sizeof(buf), "{\"ts\":\"%s.%06ldZ\",\"level\":\"%s\",\"role\":",
             when, ts.tv_nsec / 1000, aegis_log_names[level]);

    line.len = 0;
    aegis_log_raw(&line, buf);
    aegis_log_string(&line, role);
    aegis_log_raw(&line, ",\"event\":");
    aegis_log_string(&line, event);

    va_start(args, event);

    for (i = 0; i < AEGIS_LOG_PAIRS; i++) {
        key = va_arg(args, const char *);
        if (key == NULL) {
            break;
        }
        fmt = va_arg(args, const char *);
        if (line.len > AEGIS_LOG_LINE - 512) {
            break;
        }
        aegis_log_raw(&line, ",");
        aegis_log_string(&line, key);
        aegis_log_raw(&line, ":");
        if (!aegis_log_value(&line, fmt, &args)) {
            break;
        }
    }

    va_end(args);

    i = snprintf(line.data + line.len, AEGIS_LOG_LINE - line.len,
                 suppressed ? ",\"suppressed\":%ld}\n" : "}\n", suppressed);
    line.len += (size_t) i;

    rc = write(STDERR_FILENO, line.data, line.len);
    (void) rc;
}
