/*
 * aegis_sensor_ship.c: what the aggregates have leaves the journal: batches of one
 * tenant and dataset become one object, as they came, each behind a line of JSON that
 * says how to read it. Then its locator is written and the batches go, in one
 * transaction.
 * Invariant: a batch leaves the journal when the object is on disk (and asked to be
 * put into the bucket), never before; an object that is made again has another name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aegis_failpoint.h"
#include "aegis_sensor.h"

#define AEGIS_SHIP_COLUMNS  8

typedef struct {
    char      key[300];
    char      path[4600];
    char      seqs[24 * 512];
    int       fd;
    int64_t   bytes;
} aegis_ship_t;

static int
aegis_ship_hex(int fd, const char *hex, int64_t *bytes)
{
    char    block[16384];
    size_t  n;

    hex += hex[0] == '\\' ? 2 : 0;

    for (n = 0; hex[0] && hex[1]; hex += 2) {
        block[n++] = (char) ((((hex[0] & 0xf) + (hex[0] > '9' ? 9 : 0)) << 4)
                             | ((hex[1] & 0xf) + (hex[1] > '9' ? 9 : 0)));
        if (n == sizeof(block) || hex[2] == '\0') {
            if (write(fd, block, n) != (ssize_t) n) {
                return 0;
            }
            *bytes += (int64_t) n;
            n = 0;
        }
    }

    return 1;
}

static void
aegis_ship_folders(const char *path)
{
    char   part[4600], *p;

    (void) snprintf(part, sizeof(part), "%s", path);
    for (p = part + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void) mkdir(part, 0750);
        *p = '/';
    }
}

static int
aegis_ship_sync(aegis_ship_t *s)
{
    int    fd;
    char  *end;

    if (fsync(s->fd) != 0) {
        return 0;
    }

    end = strrchr(s->path, '/');
    *end = '\0';
    fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *end = '/';
    if (fd < 0 || fsync(fd) != 0) {
        (void) close(fd);
        return 0;
    }

    return close(fd) == 0;
}

/* Rows: seq, tenant, dataset, kind, encoding, at (ms), bytes, body. */
static int
aegis_ship_file(aegis_sensor_t *x, aegis_ship_t *s, int rows)
{
    int          i, n;
    char         dir[4096], line[600], tenant[64];
    const char  *p;

    (void) aegis_conf_path(x->w->conf, "exec.object_dir", dir);
    for (i = 0, p = aegis_pg_value(x->w->pg, 0, 1); p[i] && i < 63; i++) {
        tenant[i] = strchr("/.", p[i]) ? '_' : p[i];
    }
    tenant[i] = '\0';

    (void) snprintf(s->key, sizeof(s->key), "telemetry/%s/%s/%.8s/%d-%s-%lld.batches", tenant,
                    aegis_pg_value(x->w->pg, 0, 2), aegis_pg_value(x->w->pg, 0, 8), x->lane,
                    aegis_pg_value(x->w->pg, 0, 0), (long long) x->epoch);
    (void) snprintf(s->path, sizeof(s->path), "%s/%s", dir, s->key);
    aegis_ship_folders(s->path);

    s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (s->fd < 0) {
        return 0;
    }

    for (i = 0, s->seqs[0] = '\0'; i < rows; i++) {
        n = snprintf(line, sizeof(line), "{\"seq\":%s,\"kind\":\"%s\",\"encoding\":\"%s\","
                     "\"at_ms\":%s,\"bytes\":%s}\n",
                     aegis_pg_value(x->w->pg, i, 0), aegis_pg_value(x->w->pg, i, 3),
                     aegis_pg_value(x->w->pg, i, 4), aegis_pg_value(x->w->pg, i, 5),
                     aegis_pg_value(x->w->pg, i, 6));
        if (write(s->fd, line, (size_t) n) != n
            || !aegis_ship_hex(s->fd, aegis_pg_value(x->w->pg, i, 7), &s->bytes)
            || write(s->fd, "\n", 1) != 1)
        {
            return 0;
        }
        s->bytes += n + 1;
        n = (int) strlen(s->seqs);
        (void) snprintf(s->seqs + n, sizeof(s->seqs) - (size_t) n, "%s%s", i ? "," : "{",
                        aegis_pg_value(x->w->pg, i, 0));
    }
    strcat(s->seqs, "}");

    return aegis_ship_sync(s);
}

static aegis_code_t
aegis_ship_settle(aegis_sensor_t *x, aegis_ship_t *s, const char *tenant, const char *dataset,
    const char *from, const char *to, aegis_error_t *err)
{
    int           rows;
    char          lane[16], epoch[24], bytes[24], key[512];
    const char   *params[10];

    aegis_store_key(x->store, s->key, key, sizeof(key));
    (void) snprintf(lane, sizeof(lane), "%d", x->lane);
    (void) snprintf(epoch, sizeof(epoch), "%lld", (long long) x->epoch);
    (void) snprintf(bytes, sizeof(bytes), "%lld", (long long) s->bytes);
    params[0] = lane;
    params[1] = epoch;
    params[2] = s->seqs;
    params[3] = tenant;
    params[4] = dataset;
    params[5] = aegis_store_bucket(x->store);
    params[6] = key;
    params[7] = from;
    params[8] = to;
    params[9] = bytes;

    return aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_SHIPPED, 10, params, &rows, err);
}

int
aegis_sensor_ship(aegis_sensor_t *x)
{
    int             rows, ok;
    char            lane[16], upto[24], tenant[64], dataset[32], from[24], to[24];
    const char     *params[2] = { lane, upto };
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_ship_t   *s;

    (void) aegis_store_turn(x->store);
    (void) snprintf(lane, sizeof(lane), "%d", x->lane);
    (void) snprintf(upto, sizeof(upto), "%llu",
                    (unsigned long long) (x->keep < x->folded ? x->keep : x->folded));

    rows = 0;
    rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_SHIP, 2, params, &rows, &err);
    s = rc == AEGIS_E_OK && rows > 0 ? calloc(1, sizeof(aegis_ship_t)) : NULL;

    if (s) {
        s->fd = -1;
        (void) snprintf(tenant, sizeof(tenant), "%s", aegis_pg_value(x->w->pg, 0, 1));
        (void) snprintf(dataset, sizeof(dataset), "%s", aegis_pg_value(x->w->pg, 0, 2));
        (void) snprintf(from, sizeof(from), "%s", aegis_pg_value(x->w->pg, 0, 5));
        (void) snprintf(to, sizeof(to), "%s", aegis_pg_value(x->w->pg, rows - 1, 5));
        ok = aegis_ship_file(x, s, rows);
        if (!ok) {
            rc = aegis_error_set(&err, AEGIS_E_UNAVAILABLE, "%.400s: %s", s->path, strerror(errno));
        } else if (aegis_store_put(x->store, s->key, s->fd, s->bytes, 1) != 0) {
            rows = 0;                           /* too much waits: later, again */
        } else if (AEGIS_FP(sensor_mid_ship, "sensor")) {
            rc = aegis_error_set(&err, AEGIS_E_UNAVAILABLE, "the locator is refused");
        } else {
            rc = aegis_ship_settle(x, s, tenant, dataset, from, to, &err);
            aegis_metric_add(x->m.objects, rc == AEGIS_E_OK);
        }
        if (s->fd >= 0) {
            (void) close(s->fd);
        }
        free(s);
    }

    if (rc != AEGIS_E_OK) {
        aegis_sensor_trouble(x, "ship-failed", &err);
        rows = 0;
    }
    aegis_error_clear(&err);

    return rows > 0;
}
