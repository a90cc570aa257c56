/*
 * load_work.c: the requests of the load generator, and whether an answer is the
 * right one for its request: not only its status, but the case, its version
 * and its state.
 *
 * Invariant: a case belongs to one connection, so its next version is known,
 * and it is never in flight twice. A case whose answer was lost is in doubt:
 * it may be in either state, and the next answer settles that.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static char *
load_work_line(FILE *f, char *buf, size_t size)
{
    char  *p;

    if (fgets(buf, (int) size, f) == NULL) {
        return NULL;
    }

    p = strchr(buf, '\n');
    if (p == NULL) {
        load_die("a line is too long");
    }

    *p = '\0';
    return buf;
}


static FILE *
load_work_open(const char *name)
{
    FILE  *f;

    f = fopen(name, "r");
    if (f == NULL) {
        load_die("%s: %s", name, strerror(errno));
    }

    return f;
}


static void *
load_work_grow(void *p, size_t n, size_t size)
{
    if (n & (n - 1)) {
        return p;
    }

    p = realloc(p, (n ? n * 2 : 1) * size);
    if (p == NULL) {
        load_die("no memory");
    }

    return p;
}


static void
load_work_cases(load_t *l, const char *name)
{
    int           tenant, version;
    char          line[256], id[40], state[24];
    FILE         *f;
    load_case_t  *k;

    f = load_work_open(name);

    while (load_work_line(f, line, sizeof(line))) {
        if (sscanf(line, "%d %36s %23s %d", &tenant, id, state, &version) != 4
            || tenant < 0 || tenant >= (int) l->n_tokens)
        {
            load_die("%s: not a case: %s", name, line);
        }

        l->cases = load_work_grow(l->cases, l->n_cases, sizeof(load_case_t));
        k = &l->cases[l->n_cases++];
        memset(k, 0, sizeof(*k));
        strcpy(k->id, id);
        k->tenant = tenant;
        k->version = version;
        k->in_analysis = strcmp(state, "ANALYZING") == 0;
    }

    fclose(f);
}


static void
load_work_paths(load_t *l, const char *name)
{
    int           tenant, at;
    char          line[1536];
    FILE         *f;
    load_path_t  *p;

    f = load_work_open(name);

    while (load_work_line(f, line, sizeof(line))) {
        if (sscanf(line, "%d %n", &tenant, &at) != 1 || tenant < 0
            || tenant >= (int) l->n_tokens || line[at] != '/')
        {
            load_die("%s: not a path: %s", name, line);
        }

        l->paths = load_work_grow(l->paths, l->n_paths, sizeof(load_path_t));
        p = &l->paths[l->n_paths++];
        p->tenant = tenant;
        p->path = strdup(line + at);
        if (p->path == NULL) {
            load_die("no memory");
        }
    }

    fclose(f);
}


void
load_work_read(load_t *l, const char *tokens, const char *cases, const char *paths)
{
    char   line[512];
    FILE  *f;

    f = load_work_open(tokens);

    while (load_work_line(f, line, sizeof(line))) {
        if (l->n_tokens == LOAD_MAX_TENANTS) {
            load_die("%s: more than %d lines", tokens, LOAD_MAX_TENANTS);
        }
        l->tokens[l->n_tokens++] = strdup(line);
    }

    fclose(f);

    if (cases) {
        load_work_cases(l, cases);
    }
    if (paths) {
        load_work_paths(l, paths);
    }

    if (l->n_tokens == 0) {
        load_die("no credential");
    }
    if ((l->work == LOAD_TRANSITION || l->work == LOAD_GET)
        && l->n_cases < l->n_conns)
    {
        load_die("there are %zu cases for %u connections", l->n_cases, l->n_conns);
    }
    if (l->work == LOAD_PATHS && l->n_paths == 0) {
        load_die("no path");
    }
}


static int
load_work_head(load_conn_t *c, const char *method, const char *path, unsigned tenant)
{
    return snprintf(c->out, LOAD_OUT, "%s %s HTTP/1.1\r\nHost: localhost\r\n"
                    "Authorization: Bearer %s\r\n", method, path,
                    c->load->tokens[tenant]);
}


static void
load_work_body(load_conn_t *c, int n, const char *body)
{
    load_t  *l = c->load;

    n += snprintf(c->out + n, LOAD_OUT - n,
                  "Idempotency-Key: %s-%u-%llu\r\n"
                  "traceparent: 00-%016llx%016x-%016llx-01\r\n"
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                  l->prefix, c->index, (unsigned long long) c->turn,
                  (unsigned long long) l->sent + 1, c->index + 1,
                  (unsigned long long) c->turn + 1, strlen(body), body);

    if (n >= LOAD_OUT) {
        load_die("a request is longer than %d bytes", LOAD_OUT);
    }

    c->out_len = n;
}


static void
load_work_transition(load_conn_t *c)
{
    int           n;
    char          path[80], body[128];
    load_case_t  *k = c->kase;

    snprintf(path, sizeof(path), "/case/%s/transition", k->id);
    n = load_work_head(c, "PATCH", path, k->tenant);

    if (c->load->if_match && !k->doubt) {
        n += snprintf(c->out + n, LOAD_OUT - n, "If-Match: \"%d\"\r\n", k->version);
    }

    snprintf(body, sizeof(body), "{\"event\":\"%s\",\"reason\":\"measured\"}",
             k->in_analysis ? "force_park" : "start_analysis");
    load_work_body(c, n, body);
}


static void
load_work_create(load_conn_t *c)
{
    char    body[256];
    load_t *l = c->load;

    snprintf(body, sizeof(body), "{\"title\":\"measured %u %llu\",\"mode\":\"manual\","
             "\"tags\":[\"bench\"],\"labels\":{\"service\":\"checkout\",\"env\":\"prod\"}}",
             c->index, (unsigned long long) c->turn);
    load_work_body(c, load_work_head(c, "POST", "/case/create",
                                     (c->index + c->turn) % l->n_tokens), body);
}


/* The tenant of a run is one: that all of its senders meet is what is measured. */
static void
load_work_hint(load_conn_t *c)
{
    char  body[256];

    snprintf(body, sizeof(body), "{\"dataset\":\"logs\",\"bucket\":\"measured\","
             "\"object_key\":\"k/%u/%llu\",\"t_from\":\"2026-11-21T08:00:00Z\","
             "\"t_to\":\"2026-11-21T09:00:00Z\",\"bytes\":4096}",
             c->index, (unsigned long long) c->turn);
    load_work_body(c, load_work_head(c, "POST", "/ingest/hint", 0), body);
}


static void
load_work_get(load_conn_t *c, const char *path, unsigned tenant)
{
    int  n;

    n = load_work_head(c, "GET", path, tenant);
    n += snprintf(c->out + n, LOAD_OUT - n, "\r\n");
    if (n >= LOAD_OUT) {
        load_die("a request is longer than %d bytes", LOAD_OUT);
    }
    c->out_len = n;
}


/* Write the connection's next request. A connection has every n_conns-th case or
 * path, and takes them in turn. */
void
load_work_render(load_conn_t *c)
{
    char          path[80];
    size_t        i;
    load_t       *l = c->load;
    load_path_t  *p;

    if (l->work == LOAD_TRANSITION || l->work == LOAD_GET) {
        i = (l->n_cases - c->index + l->n_conns - 1) / l->n_conns;
        c->kase = &l->cases[c->index + (c->turn % i) * l->n_conns];
    }

    switch (l->work) {

    case LOAD_TRANSITION:
        load_work_transition(c);
        break;

    case LOAD_CREATE:
        load_work_create(c);
        break;

    case LOAD_HINT:
        load_work_hint(c);
        break;

    case LOAD_GET:
        snprintf(path, sizeof(path), "/case/%s", c->kase->id);
        load_work_get(c, path, c->kase->tenant);
        break;

    case LOAD_PATHS:
        p = &l->paths[(c->index + c->turn * l->n_conns) % l->n_paths];
        load_work_get(c, p->path, p->tenant);
        break;
    }

    c->turn++;
}


static load_verdict_e
load_work_wrong(load_conn_t *c, const load_answer_t *a, const char *why)
{
    load_t  *l = c->load;

    if (l->wrong_first[0] == '\0') {
        snprintf(l->wrong_first, sizeof(l->wrong_first), "%s: status %d: %.*s", why,
                 a->status, a->body_len > 180 ? 180 : (int) a->body_len, a->body);
    }

    return LOAD_WRONG;
}


static int
load_work_has(const load_answer_t *a, const char *text)
{
    return memmem(a->body, a->body_len, text, strlen(text)) != NULL;
}


/* No answer, or one that leaves open what became of the request. */
void
load_work_lost(load_conn_t *c)
{
    if (c->load->work == LOAD_TRANSITION && c->kase) {
        c->kase->doubt = 1;
    }
}


static load_verdict_e
load_work_judge_transition(load_conn_t *c, const load_answer_t *a)
{
    load_case_t  *k = c->kase;

    if (a->status == 409 && k->doubt) {
        k->doubt = 0;
        k->in_analysis = !k->in_analysis;
        k->version = 0;
        c->load->settled++;
        return LOAD_REFUSED;
    }

    if (a->status != 200) {
        return load_work_wrong(c, a, "not 200");
    }
    if (!load_work_has(a, k->id)) {
        return load_work_wrong(c, a, "another case");
    }
    if (!load_work_has(a, k->in_analysis ? "\"PARKED\"" : "\"ANALYZING\"")) {
        return load_work_wrong(c, a, "another state");
    }
    if (a->etag < 2 || (k->version && !k->doubt && a->etag != k->version + 1)) {
        return load_work_wrong(c, a, "another version");
    }

    k->doubt = 0;
    k->version = (int) a->etag;
    k->in_analysis = !k->in_analysis;

    return LOAD_GOOD;
}


load_verdict_e
load_work_judge(load_conn_t *c, const load_answer_t *a)
{
    char     title[64];
    load_t  *l = c->load;

    if (l->allowed[a->status]) {
        load_work_lost(c);
        return LOAD_REFUSED;
    }

    switch (l->work) {

    case LOAD_TRANSITION:
        return load_work_judge_transition(c, a);

    case LOAD_CREATE:
        if (a->status != 201 || a->etag != 1) {
            return load_work_wrong(c, a, "not 201 with version 1");
        }
        snprintf(title, sizeof(title), "\"measured %u %llu\"", c->index,
                 (unsigned long long) c->turn - 1);
        return load_work_has(a, title) ? LOAD_GOOD
                                       : load_work_wrong(c, a, "another title");

    case LOAD_HINT:
        snprintf(title, sizeof(title), "\"k/%u/%llu\"", c->index,
                 (unsigned long long) c->turn - 1);
        return a->status == 201 && load_work_has(a, title)
               ? LOAD_GOOD : load_work_wrong(c, a, "not 201 with this key");

    case LOAD_GET:
        if (a->status != 200 || !load_work_has(a, c->kase->id)) {
            return load_work_wrong(c, a, "not this case");
        }
        return a->etag == c->kase->version ? LOAD_GOOD
                                           : load_work_wrong(c, a, "another version");

    default:
        return a->status == 200 && a->body_len > 2 && a->body[0] == '{'
               ? LOAD_GOOD : load_work_wrong(c, a, "not a page");
    }
}
