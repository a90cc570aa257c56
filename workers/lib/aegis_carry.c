/*
 * aegis_carry.c: what carries cases on in the transaction that moved them.
 * Invariant: whether a case moves is decided by SQL (aegis.case_advance), once; a
 * case that is not carried on here has its command in the outbox when this commits.
 */
#include "aegis_carry.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_fsm.h"
#include "aegis_gate.h"
#include "aegis_http.h"
#include "aegis_json.h"
#include "aegis_move.h"
#include "aegis_otel.h"
#include "aegis_policy.h"
#include "aegis_tracer.h"

/* One case at one module. */
typedef struct {
    aegis_carried_t     *c;
    char                *doc;           /* malloc'ed */
    char                 version[12];
    uint64_t             begun_ns;      /* since 1970; 0: nobody traces */
    aegis_carry_said_t   said;
    aegis_item_t         item;
} aegis_carry_work_t;

/* What is large, seldom changes and goes into each decision: a thread keeps what it
 * has read, by its hash, and says so to module_load. */
typedef struct {
    char     hash[AEGIS_CARRY_KEPT][65];
    json_t  *body[AEGIS_CARRY_KEPT];
    int      checked[AEGIS_CARRY_KEPT]; /* of a policy: it is valid */
    size_t   next;
} aegis_carry_kept_t;

static unsigned        aegis_carry_mask;
static aegis_carry_idle_pt  aegis_carry_make;
static aegis_carry_cite_pt  aegis_carry_asked;
static pthread_key_t   aegis_carry_key;
static pthread_once_t  aegis_carry_once = PTHREAD_ONCE_INIT;

static void
aegis_carry_kept_free(void *arg)
{
    size_t               i;
    aegis_carry_kept_t  *kept;

    kept = arg;
    for (i = 0; i < AEGIS_CARRY_KEPT; i++) {
        json_decref(kept->body[i]);
    }
    free(kept);
}

static void
aegis_carry_kept_key(void)
{
    (void) pthread_key_create(&aegis_carry_key, aegis_carry_kept_free);
}

/* NULL: no memory, nothing is kept. */
static aegis_carry_kept_t *
aegis_carry_kept(void)
{
    aegis_carry_kept_t  *kept;

    (void) pthread_once(&aegis_carry_once, aegis_carry_kept_key);
    kept = pthread_getspecific(aegis_carry_key);
    if (kept == NULL) {
        kept = calloc(1, sizeof(*kept));
        if (kept && pthread_setspecific(aegis_carry_key, kept) != 0) {
            free(kept);
            kept = NULL;
        }
    }

    return kept;
}

int
aegis_carry_whole(json_t *o)
{
    size_t               i;
    json_t              *body;
    const char          *hash;
    aegis_carry_kept_t  *kept;

    kept = aegis_carry_kept();
    hash = aegis_json_str(o, "hash");
    body = json_object_get(o, "body");

    if (kept == NULL || hash[0] == '\0' || strlen(hash) > 64) {
        return 1;
    }

    for (i = 0; i < AEGIS_CARRY_KEPT && strcmp(kept->hash[i], hash) != 0; i++) { /* void */ }

    if (i < AEGIS_CARRY_KEPT) {
        return json_is_object(body) || json_object_set(o, "body", kept->body[i]) == 0;
    }
    if (!json_is_object(body)) {
        return 0;
    }

    i = kept->next;
    kept->next = (i + 1) % AEGIS_CARRY_KEPT;
    json_decref(kept->body[i]);
    kept->body[i] = json_incref(body);
    snprintf(kept->hash[i], sizeof(kept->hash[i]), "%s", hash);
    kept->checked[i] = 0;
    return 1;
}

void
aegis_carry_checked(json_t *policy)
{
    size_t               i;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_carry_kept_t  *kept;

    kept = aegis_carry_kept();
    for (i = 0; kept && i < AEGIS_CARRY_KEPT; i++) {
        if (kept->body[i] && kept->body[i] == json_object_get(policy, "body")) {
            kept->checked[i] = kept->checked[i]
                               || aegis_policy_check(kept->body[i], &err) == AEGIS_E_OK;
            if (kept->checked[i]) {
                (void) json_object_set_new(policy, "checked", json_true());
            }
            aegis_error_clear(&err);
        }
    }
}

void
aegis_carry_offer(unsigned bit, int ready)
{
    if (ready) {
        (void) __atomic_or_fetch(&aegis_carry_mask, bit, __ATOMIC_RELAXED);
    } else {
        (void) __atomic_and_fetch(&aegis_carry_mask, ~bit, __ATOMIC_RELAXED);
    }
}

void
aegis_carry_offer_idle(aegis_carry_idle_pt make)
{
    __atomic_store_n(&aegis_carry_make, make, __ATOMIC_RELEASE);
}

json_t *
aegis_carry_idle(const aegis_carry_run_t *run)
{
    aegis_carry_idle_pt  make;

    make = __atomic_load_n(&aegis_carry_make, __ATOMIC_ACQUIRE);
    return make ? make(run) : NULL;
}

void
aegis_carry_offer_cite(aegis_carry_cite_pt ask)
{
    __atomic_store_n(&aegis_carry_asked, ask, __ATOMIC_RELEASE);
}

void
aegis_carry_cite(aegis_worker_t *w, const aegis_str_t *tenants, json_t *const *facts,
    size_t n, int ms)
{
    aegis_carry_cite_pt  ask;

    ask = __atomic_load_n(&aegis_carry_asked, __ATOMIC_ACQUIRE);
    if (ask) {
        ask(w, tenants, facts, n, ms);
    }
}

unsigned
aegis_carry_offered(void)
{
    return __atomic_load_n(&aegis_carry_mask, __ATOMIC_RELAXED);
}

void
aegis_carry_uuid(char out[AEGIS_UUID_LEN + 1])
{
    unsigned char    random[10];
    struct timespec  ts;

    /* up to 256 bytes never fail and never come short once seeded */
    while (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random)) {
        continue;
    }

    clock_gettime(CLOCK_REALTIME, &ts);
    aegis_uuid_v7((uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000, random,
                  out);
}

void
aegis_carry_count_command(const char *role, const char *code)
{
    char  labels[96];

    snprintf(labels, sizeof(labels), "role=\"%s\",code=\"%s\"", role, code);
    aegis_metric_add(aegis_counter("aegis_module_commands_total", labels,
                                   "commands that a module role settled, by outcome"), 1);
}

void
aegis_carry_count_verdict(const char *verdict)
{
    char  labels[64];

    if (verdict[0] == '\0') {
        return;
    }

    snprintf(labels, sizeof(labels), "verdict=\"%s\"", verdict);
    aegis_metric_add(aegis_counter("aegis_gate_decisions_total", labels,
                                   "decisions that the gate role stored, by verdict"), 1);
}

void
aegis_carry_count_move(aegis_state_t from, aegis_state_t to, const char *event)
{
    char  labels[160];

    snprintf(labels, sizeof(labels), "from=\"%s\",to=\"%s\",event=\"%s\"",
             aegis_state_name(from), aegis_state_name(to), event);
    aegis_metric_add(aegis_counter("case_transition_total", labels,
                                   "Transitions committed."), 1);
}

aegis_code_t
aegis_carry_begin(aegis_worker_t *w, unsigned here, aegis_error_t *err)
{
    int                    i;
    char                   text[256];
    size_t                 n;
    const aegis_module_t  *m;

    for (i = 0, n = 0; (m = aegis_module(i)) != NULL; i++) {
        if (m->command[0] && (here & AEGIS_CARRY_BIT(i))) {
            n += (size_t) snprintf(text + n, sizeof(text) - n, "%s ", m->command);
        }
    }
    (void) snprintf(text + n, sizeof(text) - n, "%s",
                    here & AEGIS_CARRY_EXEC ? "cmd.exec.run" : "");

    return aegis_pg_begin(w->pg, text, err);
}

void
aegis_carry_move(json_t *doc)
{
    json_t      *move;
    const char  *subject;

    subject = aegis_json_str(doc, "subject");
    move = subject[0] ? aegis_move(aegis_view(subject), json_object_get(doc, "data"))
           : NULL;
    if (move) {
        (void) json_object_set_new(doc, "move", move);
    }
}

aegis_code_t
aegis_carry_document(const aegis_module_t *module, json_t *facts, const json_t *request,
    const char *actor, const char *correlation, json_t *earlier, json_t **ret_doc,
    aegis_carry_said_t *said, aegis_error_t *err)
{
    char                 id[AEGIS_UUID_LEN + 1];
    json_t              *doc;
    aegis_code_t         rc;
    aegis_module_ctx_t   ctx;

    aegis_carry_uuid(id);
    ctx.id = id;
    ctx.actor = actor;
    ctx.correlation_id = correlation;
    ctx.scopes = NULL;

    if (earlier) {
        aegis_gate_earlier(facts, earlier);
    }

    rc = module->decide(facts, request, &ctx, &doc, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    if (earlier) {
        aegis_gate_made(facts, doc, earlier);
    }

    aegis_carry_move(doc);
    (void) json_object_del(doc, "body");            /* a command's answer is not shown */
    snprintf(said->event, sizeof(said->event), "%.31s",
             aegis_json_str(json_object_get(doc, "move"), "event"));
    snprintf(said->verdict, sizeof(said->verdict), "%.15s",
             aegis_json_str(json_object_get(doc, "artefact"), "verdict"));
    *ret_doc = doc;
    return AEGIS_E_OK;
}

aegis_code_t
aegis_carry_decide(const aegis_module_t *module, json_t *facts, const json_t *request,
    const char *actor, const char *correlation, json_t *earlier, char **ret_doc,
    aegis_carry_said_t *said, aegis_error_t *err)
{
    json_t        *doc;
    aegis_code_t   rc;

    rc = aegis_carry_document(module, facts, request, actor, correlation, earlier, &doc,
                              said, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    *ret_doc = aegis_json_text(doc);
    json_decref(doc);

    return *ret_doc ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for the document");
}

/* The facts of one case are loaded: decide. 0: its command goes to its role. */
static int
aegis_carry_one(const aegis_module_t *m, const char *actor, aegis_carry_work_t *k,
    const aegis_pg_row_t *row, json_t *earlier)
{
    char           *correlation;
    json_t         *facts, *request;
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (strcmp(row->code, "ok") != 0 || row->version != k->c->version
        || aegis_json_parse(row->body, &facts, &err) != AEGIS_E_OK)
    {
        aegis_error_clear(&err);
        return 0;
    }

    /* to look something up for the plan takes its time, and a case is held here */
    if (json_is_true(json_object_get(json_object_get(facts, "planning"), "quotes"))) {
        json_decref(facts);
        return 0;
    }

    if (!aegis_carry_whole(json_object_get(facts, "policy"))
        || !aegis_carry_whole(json_object_get(json_object_get(facts, "planning"), "template")))
    {
        json_decref(facts);
        return 0;
    }

    request = json_pack("{s:i}", "case_version", k->c->version);
    correlation = strndup(k->c->correlation_id.data ? k->c->correlation_id.data : "",
                          k->c->correlation_id.len);

    rc = request && correlation
         ? aegis_carry_decide(m, facts, request, actor, correlation, earlier, &k->doc,
                              &k->said, &err)
         : AEGIS_E_UNAVAILABLE;

    free(correlation);
    json_decref(request);
    json_decref(facts);
    aegis_error_clear(&err);
    return rc == AEGIS_E_OK;
}

void
aegis_carry_asks(const char *module, char text[AEGIS_CARRY_ASKS])
{
    size_t               i, n;
    aegis_carry_kept_t  *kept;

    kept = aegis_carry_kept();
    n = (size_t) snprintf(text, AEGIS_CARRY_ASKS, "%s:", module);
    for (i = 0; kept && i < AEGIS_CARRY_KEPT && n < AEGIS_CARRY_ASKS; i++) {
        n += (size_t) snprintf(text + n, AEGIS_CARRY_ASKS - n, "%s", kept->hash[i]);
    }
}

static void
aegis_carry_fill(const aegis_module_t *m, const char *asks, const char *actor,
    const char *durable, aegis_carry_work_t *k)
{
    aegis_str_t  *v;

    memset(&k->item, 0, sizeof(k->item));
    k->begun_ns = aegis_carry_clock();
    snprintf(k->version, sizeof(k->version), "%d", k->c->version);
    v = k->item.v;
    v[AEGIS_C_module] = aegis_view(asks);
    v[AEGIS_C_tenant] = k->c->tenant;
    v[AEGIS_C_case_id] = k->c->case_id;
    v[AEGIS_C_principal] = aegis_view(actor);
    v[AEGIS_C_actor] = v[AEGIS_C_principal];
    v[AEGIS_C_consumer] = aegis_view(durable);
    v[AEGIS_C_states] = aegis_view(m->states);
    v[AEGIS_C_for_version] = aegis_view(k->version);
    v[AEGIS_C_traceparent] = k->c->traceparent;
}

uint64_t
aegis_carry_clock(void)
{
    return aegis_otel_on() ? aegis_tracer_now() : 0;
}

void
aegis_carry_span(const aegis_module_t *m, const aegis_carried_t *c, uint64_t begun_ns,
    const char *event)
{
    aegis_span_t  span;

    if (begun_ns == 0 || c->traceparent.len == 0
        || !aegis_otel_begin(&span, c->traceparent, AEGIS_SPAN_INTERNAL, NULL, "carry %s",
                             m->command))
    {
        return;
    }

    span.start_ns = begun_ns;
    aegis_span_str(&span, "aegis.role", aegis_view(m->role));
    aegis_span_str(&span, "aegis.tenant", c->tenant);
    aegis_span_str(&span, "aegis.case_id", c->case_id);
    aegis_span_str(&span, "aegis.event", aegis_view(event));
    aegis_otel_end(&span, NULL);
}

/* What the commit says of one case. */
static void
aegis_carry_moved(const aegis_module_t *m, aegis_carry_work_t *k, const aegis_pg_row_t *row)
{
    aegis_state_t  to;

    if (strcmp(row->code, "ok") != 0) {
        k->c->left = 1;
        return;
    }

    to = aegis_state_by_name(row->body);
    if (row->version != k->c->version && to != AEGIS_N_STATES) {
        aegis_carry_count_move(k->c->state, to, k->said.event);
        k->c->state = to;
        k->c->version = row->version;
    } else {
        k->c->state = AEGIS_N_STATES;   /* people are asked, or the bus goes on */
    }
    aegis_carry_count_command(m->role, row->code);
    aegis_carry_count_verdict(k->said.verdict);
    aegis_carry_span(m, k->c, k->begun_ns, k->said.event);
}

/* The cases that wait for this module: load, decide, commit. */
static aegis_code_t
aegis_carry_module(aegis_worker_t *w, const aegis_module_t *m, aegis_carry_work_t *works,
    size_t n, aegis_pg_row_t *rows, aegis_error_t *err)
{
    char                 actor[40], asks[AEGIS_CARRY_ASKS];
    size_t               i, left;
    json_t              *earlier;
    aegis_code_t         rc;
    aegis_carry_work_t  *k;
    const aegis_item_t  *items[AEGIS_CARRY_MAX];

    snprintf(actor, sizeof(actor), "aegis:%s", m->role);
    aegis_carry_asks(m->name, asks);

    for (i = 0; i < n; i++) {
        aegis_carry_fill(m, asks, actor, aegis_consumer_of(m->role)->durable, &works[i]);
        items[i] = &works[i].item;
    }

    rc = aegis_pg_run_more(w->pg, AEGIS_STMT_MODULE_LOAD, items, n, 0, rows, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    earlier = m->id == AEGIS_MODULE_gate ? json_array() : NULL;

    for (i = 0, left = 0; i < n; i++) {
        if (aegis_carry_one(m, actor, &works[i], &rows[i], earlier)) {
            k = &works[left];
            *k = works[i];
            k->item.v[AEGIS_C_for_version] = aegis_view(k->version);
            k->item.v[AEGIS_C_doc] = aegis_view(k->doc);
            items[left++] = &k->item;
        } else {
            works[i].c->left = 1;
        }
    }

    json_decref(earlier);
    if (AEGIS_FP(module_after_load, m->role)) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the decisions are lost");
    }
    if (rc == AEGIS_E_OK && left > 0) {
        rc = aegis_pg_run_more(w->pg, AEGIS_STMT_MODULE_COMMIT, items, left, 0, rows, err);
    }

    for (i = 0; i < left; i++) {
        if (rc == AEGIS_E_OK) {
            aegis_carry_moved(m, &works[i], &rows[i]);
        }
        free(works[i].doc);
    }

    return rc;
}

/* Publish the commands of those that have left the way. */
static aegis_code_t
aegis_carry_ask(aegis_worker_t *w, aegis_carried_t *cases, size_t n,
    aegis_carry_work_t *works, aegis_pg_row_t *rows, aegis_error_t *err)
{
    size_t               i, k;
    const aegis_item_t  *items[AEGIS_CARRY_MAX];

    for (i = 0, k = 0; i < n; i++) {
        if (cases[i].left) {
            memset(&works[k].item, 0, sizeof(aegis_item_t));
            works[k].item.v[AEGIS_C_tenant] = cases[i].tenant;
            works[k].item.v[AEGIS_C_case_id] = cases[i].case_id;
            works[k].item.v[AEGIS_C_traceparent] = cases[i].traceparent;
            items[k] = &works[k].item;
            k++;
        }
    }

    return k ? aegis_pg_run_more(w->pg, AEGIS_STMT_CASE_ASK, items, k, 0, rows, err)
           : AEGIS_E_OK;
}

aegis_code_t
aegis_carry(aegis_worker_t *w, unsigned here, aegis_carried_t *cases, size_t n,
    aegis_error_t *err)
{
    int                    i;
    size_t                 k, waiting;
    aegis_code_t           rc;
    aegis_pg_row_t        *rows;
    aegis_carry_work_t    *works;
    const aegis_module_t  *m;

    works = calloc(n, sizeof(aegis_carry_work_t));
    rows = calloc(n, sizeof(aegis_pg_row_t));
    rc = works && rows ? AEGIS_E_OK
         : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");

    /* modules.def has them in the order in which a case comes to them */
    for (i = 0; rc == AEGIS_E_OK && (m = aegis_module(i)) != NULL; i++) {
        if (m->command[0] == '\0' || (here & AEGIS_CARRY_BIT(i)) == 0) {
            continue;
        }

        for (k = 0, waiting = 0; k < n; k++) {
            if (!cases[k].left && cases[k].state != AEGIS_N_STATES
                && strcmp(aegis_state_command(cases[k].state), m->command) == 0)
            {
                memset(&works[waiting], 0, sizeof(works[waiting]));
                works[waiting++].c = &cases[k];
            }
        }

        rc = waiting ? aegis_carry_module(w, m, works, waiting, rows, err) : rc;
    }

    rc = rc == AEGIS_E_OK ? aegis_carry_ask(w, cases, n, works, rows, err) : rc;

    free(rows);
    free(works);
    return rc;
}
