/*
 * aegis_pg.c: one PostgreSQL connection of a worker: connecting, waiting for
 * an answer, LISTEN and its notifications.
 * Invariant: no wait is without a deadline: a server that hangs is a lost
 * connection. Statements are aegis_pg_run.c, batches aegis_pg_each.c.
 */
#include "aegis_pg_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_log.h"

/* Longer than statement_timeout, so that it only ends what hangs. */
#define AEGIS_PG_DEADLINE_MS  15000
#define AEGIS_PG_NOTIFY_MS    5

int64_t
aegis_pg_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

aegis_pg_t *
aegis_pg_new(const char *url, const char *name)
{
    aegis_pg_t  *pg;

    pg = calloc(1, sizeof(aegis_pg_t));
    if (pg == NULL) {
        return NULL;
    }

    pg->url = strdup(url);
    pg->name = strdup(name);
    if (pg->url == NULL || pg->name == NULL) {
        aegis_pg_free(pg);
        return NULL;
    }

    pg->seed = (unsigned) time(NULL) ^ (unsigned) (uintptr_t) pg;
    return pg;
}

void
aegis_pg_free(aegis_pg_t *pg)
{
    if (pg == NULL) {
        return;
    }

    aegis_pg_clear(pg);
    PQfinish(pg->conn);
    free(pg->rows);
    free(pg->params);
    free(pg->url);
    free(pg->name);
    free(pg->channel);
    free(pg);
}

void
aegis_pg_clear(aegis_pg_t *pg)
{
    int  i;

    for (i = 0; i < pg->n_held; i++) {
        PQclear(pg->held[i]);
    }
    pg->n_held = 0;
    pg->result = NULL;
}

void
aegis_pg_drop(aegis_pg_t *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
    memset(pg->prepared, 0, sizeof(pg->prepared));
    memset(pg->sql_prepared, 0, sizeof(pg->sql_prepared));
}

int
aegis_pg_connected(const aegis_pg_t *pg)
{
    return pg->conn != NULL && PQstatus(pg->conn) == CONNECTION_OK;
}

unsigned
aegis_pg_session(const aegis_pg_t *pg)
{
    return pg->session;
}

aegis_code_t
aegis_pg_error(aegis_pg_t *pg, aegis_code_t code, const char *text, aegis_error_t *err)
{
    char    line[240];
    size_t  i, n;

    text = text && text[0] ? text : "connection lost";

    for (i = 0, n = 0; text[i] && n < sizeof(line) - 1; i++) {
        if ((unsigned char) text[i] > ' ') {
            line[n++] = text[i];
        } else if (n && line[n - 1] != ' ') {
            line[n++] = ' ';
        }
    }
    line[n && line[n - 1] == ' ' ? n - 1 : n] = '\0';

    return aegis_error_set(err, code, "database: %s", line);
}

/* Wait for the next result until the deadline. NULL with *lost 0 means that
 * the command is over. */
static PGresult *
aegis_pg_next(aegis_pg_t *pg, int64_t deadline, int *lost)
{
    int            rc, flush;
    int64_t        left;
    struct pollfd  p;

    *lost = 0;

    for ( ;; ) {
        flush = PQflush(pg->conn);
        if (flush < 0) {
            break;
        }
        if (flush == 0 && !PQisBusy(pg->conn)) {
            return PQgetResult(pg->conn);
        }

        left = deadline - aegis_pg_now();
        if (left <= 0) {
            *lost = 1;
            return NULL;
        }

        p.fd = PQsocket(pg->conn);
        p.events = POLLIN | (flush ? POLLOUT : 0);
        rc = poll(&p, 1, (int) left);
        if (rc < 0 && errno != EINTR) {
            break;
        }
        if (rc > 0 && !PQconsumeInput(pg->conn)) {
            break;
        }
    }

    *lost = 1;
    return NULL;
}

PGresult *
aegis_pg_wait_result(aegis_pg_t *pg, aegis_error_t *err)
{
    int        lost;
    int64_t    deadline;
    PGresult  *res, *next;

    deadline = aegis_pg_now() + AEGIS_PG_DEADLINE_MS;
    res = aegis_pg_next(pg, deadline, &lost);

    while (!lost && (next = aegis_pg_next(pg, deadline, &lost)) != NULL) {
        PQclear(res);
        res = next;
    }

    if (lost || res == NULL || PQstatus(pg->conn) != CONNECTION_OK) {
        (void) aegis_pg_error(pg, AEGIS_E_UNKNOWN_OUTCOME,
            aegis_pg_now() >= deadline ? "no answer within the deadline"
            : PQerrorMessage(pg->conn), err);
        PQclear(res);
        aegis_pg_drop(pg);
        return NULL;
    }

    return res;
}

/* A command without an answer of interest. */
static aegis_code_t
aegis_pg_command(aegis_pg_t *pg, const char *sql, aegis_error_t *err)
{
    PGresult      *res;
    aegis_code_t   rc;

    if (!PQsendQuery(pg->conn, sql)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQerrorMessage(pg->conn), err);
        aegis_pg_drop(pg);
        return rc;
    }

    res = aegis_pg_wait_result(pg, err);
    if (res == NULL) {
        err->code = AEGIS_E_UNAVAILABLE;
        return AEGIS_E_UNAVAILABLE;
    }

    rc = AEGIS_E_OK;
    if (PQresultStatus(res) != PGRES_COMMAND_OK
        && PQresultStatus(res) != PGRES_TUPLES_OK)
    {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQresultErrorMessage(res), err);
        aegis_pg_drop(pg);
    }

    PQclear(res);
    return rc;
}

/* The server's notices and warnings: not on stderr, where log lines go. */
static void
aegis_pg_notice(void *arg, const char *text)
{
    aegis_pg_t     *pg;
    aegis_error_t   line = AEGIS_ERROR_INIT;

    pg = arg;
    (void) aegis_pg_error(pg, AEGIS_E_OK, text, &line);
    aegis_log(AEGIS_LOG_DEBUG, pg->name, "database-notice", "text", "%s", line.detail,
              NULL);
    aegis_error_clear(&line);
}

static aegis_code_t
aegis_pg_listen_now(aegis_pg_t *pg, aegis_error_t *err)
{
    char  *name, sql[128];

    name = PQescapeIdentifier(pg->conn, pg->channel, strlen(pg->channel));
    if (name == NULL) {
        return aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQerrorMessage(pg->conn), err);
    }

    snprintf(sql, sizeof(sql), "LISTEN %s", name);
    PQfreemem(name);
    return aegis_pg_command(pg, sql, err);
}

aegis_code_t
aegis_pg_ready(aegis_pg_t *pg, aegis_error_t *err)
{
    aegis_code_t  rc;

    if (aegis_pg_connected(pg) && !aegis_pg_overtaken(pg)) {
        return AEGIS_E_OK;
    }

    aegis_pg_drop(pg);
    if (pg->in_tx) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                               "the connection was lost with its transaction");
    }

    rc = aegis_pg_connect(pg, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    (void) PQsetNoticeProcessor(pg->conn, aegis_pg_notice, pg);
    pg->session++;

    /* A worker has other messages to go on with: it waits for a locked row
     * much shorter than a request does, and comes back to it. */
    rc = aegis_pg_command(pg,
        "SELECT set_config('timezone', 'UTC', false),"
        " set_config('statement_timeout', CASE current_setting('statement_timeout')"
        " WHEN '0' THEN '10s' ELSE current_setting('statement_timeout') END, false),"
        " set_config('lock_timeout', '300ms', false)", err);

    if (rc == AEGIS_E_OK && pg->channel != NULL) {
        rc = aegis_pg_listen_now(pg, err);
    }

    return rc;
}

void
aegis_pg_listen(aegis_pg_t *pg, const char *channel)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    free(pg->channel);
    pg->channel = strdup(channel);

    /* a failure drops the connection, and the next one listens */
    if (pg->channel != NULL && aegis_pg_connected(pg)) {
        (void) aegis_pg_listen_now(pg, &err);
        aegis_error_clear(&err);
    }
}

/* What this connection said itself is no news to its role. */
static int
aegis_pg_notified(aegis_pg_t *pg)
{
    int        n;
    PGnotify  *note;

    for (n = 0; (note = PQnotifies(pg->conn)) != NULL; ) {
        n |= note->be_pid != PQbackendPID(pg->conn);
        PQfreemem(note);
    }

    return n;
}

int
aegis_pg_wait(aegis_pg_t *pg, int other_fd, int timeout_ms)
{
    int            rc;
    int64_t        deadline, left;
    struct pollfd  p[2];

    if (!aegis_pg_connected(pg)) {
        return -1;
    }
    if (aegis_pg_notified(pg)) {
        return 1;
    }

    deadline = aegis_pg_now() + timeout_ms;

    for ( ;; ) {
        left = deadline - aegis_pg_now();
        p[0].fd = PQsocket(pg->conn);
        p[0].events = POLLIN;
        p[1].fd = other_fd;
        p[1].events = POLLIN;
        p[0].revents = p[1].revents = 0;

        rc = poll(p, 2, left > 0 ? (int) left : 0);

        if (rc > 0 && p[0].revents) {
            if (!PQconsumeInput(pg->conn) || PQstatus(pg->conn) != CONNECTION_OK) {
                aegis_pg_drop(pg);
                return -1;
            }
            if (aegis_pg_notified(pg)) {
                return 1;
            }
        }
        if (rc == 0 || (rc < 0 && errno != EINTR) || (rc > 0 && p[1].revents)) {
            return 0;
        }
        if (aegis_pg_now() >= deadline) {
            return 0;
        }
    }
}

int
aegis_pg_notify_due(aegis_pg_t *pg)
{
    int64_t  now;

    now = aegis_pg_now();
    if (now - pg->notified_at < AEGIS_PG_NOTIFY_MS) {
        return 0;
    }

    pg->notified_at = now;
    return 1;
}
