/*
 * aegis_ctl_watch.c: `aegisctl case watch`: follow a timeline. It asks the
 * gateway for the last page again and again and prints what is new on it; the
 * times are the database's, so what is shown is what happened, not when it was
 * seen. Bounded by --for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"
#include "aegis_fsm.h"

typedef struct {
    aegis_ctl_t  *ctl;
    const char   *until;            /* NULL: CLOSED or PARKED */
    char          id[256];          /* escaped */
    char          cursor[512];      /* of the page that is being read */
    size_t        seen;             /* items of it that were printed */
    double        first_at;         /* of the first row */
    char          status[32];       /* after the last row */
} watch_t;


static double
seconds_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


/* RFC 3339 to seconds; the gateway speaks UTC. */
static double
seconds_of(const char *s)
{
    struct tm  tm;
    double     sec;

    memset(&tm, 0, sizeof(tm));
    if (s == NULL || sscanf(s, "%d-%d-%dT%d:%d:%lf", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                            &tm.tm_hour, &tm.tm_min, &sec) != 6)
    {
        return 0;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (double) timegm(&tm) + sec;
}


static const char *
text_of(const json_t *item, const char *key)
{
    const char  *s = json_string_value(json_object_get(item, key));

    return s != NULL ? s : "";
}


static const char *
status_color(const char *status)
{
    return strcmp(status, "CLOSED") == 0 ? "green" : strcmp(status, "PARKED") == 0 ? "yellow"
                                                                                 : "off";
}


static void
show(watch_t *w, const json_t *item)
{
    const char  *to = text_of(item, "to_status"), *at = text_of(item, "created_at");
    char         rule[32];
    double       t = seconds_of(at);

    if (w->first_at == 0) {
        w->first_at = t;
    }
    snprintf(w->status, sizeof(w->status), "%s", to);
    if (w->ctl->json) {
        json_dumpf(item, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        fflush(stdout);
        return;
    }
    printf("%.12s  %+8.3f s  %-9s %s %s%-9s%s  %-15s %-8s %s%s%s\n",
           strchr(at, 'T') != NULL ? strchr(at, 'T') + 1 : at, t - w->first_at,
           text_of(item, "from_status")[0] != '\0' ? text_of(item, "from_status") : "",
           strcmp(text_of(item, "kind"), "note") == 0 ? "=" : ">",
           aegis_ctl_color(w->ctl, status_color(to)), to, aegis_ctl_color(w->ctl, "off"),
           text_of(item, "event"),
           aegis_ctl_cell(item, "rule", rule, sizeof(rule)), text_of(item, "actor"),
           text_of(item, "reason")[0] != '\0' ? ": " : "", text_of(item, "reason"));
    fflush(stdout);
}


/* Read pages from the current one on and print what is new. */
static int
look(watch_t *w)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *next;
    json_t              *items;
    size_t               n;
    char                 path[1500], esc[600];
    int                  rc, more;

    do {
        snprintf(path, sizeof(path), "/case/%s/timeline?limit=200%s%s", w->id,
                 w->cursor[0] != '\0' ? "&cursor=" : "",
                 aegis_ctl_escape(w->cursor, esc, sizeof(esc)));
        req.path = path;
        rc = aegis_ctl_case_send(w->ctl, &req, &a);
        if (rc != AEGIS_CTL_OK) {
            return rc;
        }
        items = json_object_get(a.body, "items");
        for (n = json_array_size(items); w->seen < n; w->seen++) {
            show(w, json_array_get(items, w->seen));
        }
        next = json_string_value(json_object_get(a.body, "next"));
        more = next != NULL;
        if (more) {
            snprintf(w->cursor, sizeof(w->cursor), "%s", next);
            w->seen = 0;
        }
        aegis_ctl_answer_clear(&a);
    } while (more);
    return AEGIS_CTL_OK;
}


/* 1 when there is nothing more to wait for; *ret_exit says how it ended. */
static int
ended(const watch_t *w, int *ret_exit)
{
    int  rests;

    rests = strcmp(w->status, "CLOSED") == 0 || strcmp(w->status, "PARKED") == 0;
    if (w->until != NULL ? strcmp(w->status, w->until) == 0 : rests) {
        *ret_exit = AEGIS_CTL_OK;
        return 1;
    }
    if (rests) {
        aegis_ctl_say("the case is %s and does not leave that by itself", w->status);
        *ret_exit = AEGIS_CTL_FAILED;
        return 1;
    }
    return 0;
}


int
aegis_ctl_case_watch(aegis_ctl_t *ctl)
{
    struct timespec  ts;
    watch_t          w;
    int64_t          limit, interval;
    double           deadline;
    int              rc;

    memset(&w, 0, sizeof(w));
    w.ctl = ctl;
    w.until = aegis_ctl_opt(ctl, "until");
    aegis_ctl_escape(ctl->args[0], w.id, sizeof(w.id));
    limit = aegis_ctl_opt_int(ctl, "for", 300, 1, 86400);
    interval = aegis_ctl_opt_int(ctl, "interval-ms", 200, 20, 60000);
    if (limit < 0 || interval < 0) {
        return AEGIS_CTL_USAGE;
    }
    if (w.until != NULL
        && aegis_state_by_name(aegis_view(w.until)) == AEGIS_N_STATES)
    {
        aegis_ctl_say("there is no state %s", w.until);
        return AEGIS_CTL_USAGE;
    }

    deadline = seconds_now() + (double) limit;
    for ( ;; ) {
        rc = look(&w);
        if (rc != AEGIS_CTL_OK || ended(&w, &rc)) {
            return rc;
        }
        if (seconds_now() >= deadline) {
            aegis_ctl_say("after %d s the case is still %s", (int) limit, w.status);
            return AEGIS_CTL_TIMEOUT;
        }
        ts.tv_sec = (time_t) (interval / 1000);
        ts.tv_nsec = (long) (interval % 1000) * 1000000;
        nanosleep(&ts, NULL);
    }
}
