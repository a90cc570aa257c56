/*
 * aegis_module_cite.c: what the planner knows from the knowledge base: between load
 * and decision every case of a batch is looked up with one statement, and what is
 * found joins its facts as "knowledge", for the planner's own commands and for cases
 * on their way (aegis_carry_cite()). Invariant: a look-up that fails costs the
 * quotations, never the plan.
 */
#include "aegis_module_role.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_buf.h"
#include "aegis_json.h"
#include "aegis_kb.h"

/* A question costs up to 50 ms where there are many passages; a batch has a
 * statement's time for some, and a plan is wanted within seconds. */
#define AEGIS_MODULE_CITE_GROUP  16
#define AEGIS_MODULE_CITE_MS     5000
#define AEGIS_MODULE_CITE_TRIES  40     /* 25 ms each, for vectors that a model makes */

static aegis_metric_t *
aegis_module_cite_lookups(const char *labels)
{
    return aegis_counter("aegis_knowledge_lookups_total", labels,
                         "times that a planner asked the knowledge base about a case");
}

/* The case's question; NULL: there is nothing to ask, or no memory. */
static char *
aegis_module_cite_question(const json_t *facts)
{
    char           *query, *probe;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    query = aegis_kb_case_query(facts);
    if (query == NULL
        || aegis_kb_probe(aegis_view(query), AEGIS_NO_STR, &probe, &err)
           != AEGIS_E_OK)
    {
        probe = NULL;
    }

    aegis_error_clear(&err);
    free(query);

    return probe;
}

static char *
aegis_module_cite_probe(const aegis_pg_row_t *row)
{
    char           *probe;
    json_t         *facts;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    /* as aegis.plan_facts() says it where there is nothing to quote from */
    if (memmem(row->body.data, row->body.len, "\"quotes\" : false", 16) != NULL) {
        return NULL;
    }

    if (strcmp(row->code, "ok") != 0 || aegis_json_parse(row->body, &facts, &err) != AEGIS_E_OK) {
        aegis_error_clear(&err);
        return NULL;
    }

    probe = aegis_module_cite_question(facts);
    json_decref(facts);

    return probe;
}

/* {...} and [...] to {..., "knowledge": [...]}; frees and replaces *body. */
static void
aegis_module_cite_join(char **body, aegis_str_t *view, aegis_str_t knowledge)
{
    char         *text;
    size_t        len;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    aegis_buf_add(&buf, view->data, view->len - 1);
    aegis_buf_puts(&buf, ",\"knowledge\":");
    aegis_buf_add(&buf, knowledge.data, knowledge.len);
    aegis_buf_puts(&buf, "}");

    text = aegis_buf_take(&buf, &len);
    if (text) {
        free(*body);
        *body = text;
        *view = (aegis_str_t) { len, text };
    }
}

static void
aegis_module_cite_count(aegis_str_t knowledge)
{
    size_t         n;
    json_t        *passages;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    n = 0;
    if (knowledge.len > 2 && aegis_json_parse(knowledge, &passages, &err) == AEGIS_E_OK) {
        n = json_array_size(passages);
        json_decref(passages);
    }

    aegis_metric_add(aegis_module_cite_lookups(n ? "result=\"hit\"" : "result=\"miss\""), 1);
    aegis_metric_add(aegis_counter("aegis_knowledge_citations_total", "",
                                   "passages that plans were given to quote"), (double) n);
    aegis_error_clear(&err);
}

/* The next statement takes the result away that rows point into. 0: no memory. */
static int
aegis_module_cite_keep(aegis_module_cited_t *c, const aegis_pg_row_t *row)
{
    c->row = *row;
    c->body = strndup(row->body.data ? row->body.data : "", row->body.len);
    c->code = strdup(row->code);

    if (c->body == NULL || c->code == NULL) {
        c->row.code = "unavailable";
        c->row.body = aegis_str("{}");
        return 0;
    }

    c->row.body.data = c->body;
    c->row.code = c->code;

    return 1;
}

/* One case that asked the same, in the same tenant; its place, or i. */
static size_t
aegis_module_cite_twin(aegis_module_cited_t *cited, size_t i)
{
    size_t  k;

    for (k = 0; k < i; k++) {
        if (cited[k].probe && cited[k].tenant.len == cited[i].tenant.len
            && memcmp(cited[k].tenant.data, cited[i].tenant.data, cited[i].tenant.len) == 0
            && strcmp(cited[k].probe, cited[i].probe) == 0)
        {
            return k;
        }
    }

    return i;
}

/* Up to AEGIS_MODULE_CITE_GROUP questions with one statement; patient: vectors that are
 * being made are waited for. */
static aegis_code_t
aegis_module_cite_ask(aegis_worker_t *w, aegis_module_cited_t *cited, const size_t *which,
    size_t n, int patient, aegis_error_t *err)
{
    int                    pending, tries;
    size_t                 i;
    aegis_code_t           rc;
    aegis_item_t           items[AEGIS_MODULE_CITE_GROUP];
    struct timespec        pause = { 0, 25000000 };
    const aegis_item_t    *refs[AEGIS_MODULE_CITE_GROUP] = { NULL };
    const aegis_pg_row_t  *found;

    memset(items, 0, sizeof(items));
    for (i = 0; i < n; i++) {
        items[i].v[AEGIS_C_tenant] = cited[which[i]].tenant;
        items[i].v[AEGIS_C_attempt] = aegis_str("0");
        items[i].v[AEGIS_C_probe] = (aegis_str_t) { strlen(cited[which[i]].probe),
                                                    cited[which[i]].probe };
        refs[i] = &items[i];
    }

    for (tries = 0; ; tries++) {
        rc = aegis_pg_run_each(w->pg, AEGIS_STMT_KB_CITE, refs, n, 0, &found, err);

        for (i = 0, pending = 0; rc == AEGIS_E_OK && i < n; i++) {
            pending |= strcmp(found[i].code, "pending") == 0;
        }
        if (!pending || !patient) {
            break;
        }

        /* the librarian is asked for the vectors; without them words do */
        for (i = 0; tries + 1 >= AEGIS_MODULE_CITE_TRIES && i < n; i++) {
            items[i].v[AEGIS_C_attempt] = aegis_str("100");
        }
        nanosleep(&pause, NULL);
    }

    for (i = 0; rc == AEGIS_E_OK && i < n; i++) {
        if (strcmp(found[i].code, "ok") == 0) {
            cited[which[i]].answer = strndup(found[i].body.data, found[i].body.len);
        }
    }

    return rc;
}

static int64_t
aegis_module_cite_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Answers to all questions, as long as there is time. */
static aegis_code_t
aegis_module_cite_all(aegis_worker_t *w, aegis_module_cited_t *cited, size_t n, int ms,
    int patient, aegis_error_t *err)
{
    size_t        i, k, which[AEGIS_MODULE_CITE_GROUP];
    int64_t       deadline;
    aegis_code_t  rc;

    deadline = aegis_module_cite_now() + ms;

    for (i = 0, k = 0, rc = AEGIS_E_OK; i < n && rc == AEGIS_E_OK; i++) {
        if (cited[i].probe && aegis_module_cite_twin(cited, i) == i) {
            which[k++] = i;
        }
        if (k == AEGIS_MODULE_CITE_GROUP || (i + 1 == n && k)) {
            rc = aegis_module_cite_now() < deadline
                 ? aegis_module_cite_ask(w, cited, which, k, patient, err)
                 : aegis_error_set(err, AEGIS_E_DEADLINE, "the look-ups of a batch took too long");
            k = 0;
        }
    }

    return rc;
}

aegis_module_cited_t *
aegis_module_cite(aegis_worker_t *w, const aegis_item_t *const *items,
    const aegis_pg_row_t *rows, size_t n)
{
    char                  *answer;
    size_t                 i;
    aegis_code_t           rc;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_module_cited_t  *cited;

    cited = calloc(n, sizeof(aegis_module_cited_t));
    if (cited == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        cited[i].tenant = items[i]->v[AEGIS_C_tenant];
        if (aegis_module_cite_keep(&cited[i], &rows[i])) {
            cited[i].probe = aegis_module_cite_probe(&cited[i].row);
        }
    }

    rc = aegis_module_cite_all(w, cited, n, AEGIS_MODULE_CITE_MS, 1, &err);

    for (i = 0; i < n; i++) {
        if (cited[i].probe == NULL) {
            continue;
        }
        answer = cited[aegis_module_cite_twin(cited, i)].answer;
        if (answer) {
            aegis_module_cite_count(aegis_view(answer));
            aegis_module_cite_join(&cited[i].body, &cited[i].row.body,
                                   aegis_view(answer));
        } else {
            aegis_metric_add(aegis_module_cite_lookups("result=\"failed\""), 1);
        }
    }

    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "planner", "knowledge.not_asked", "detail", "%s", err.detail,
                  NULL);
    }

    aegis_error_clear(&err);

    return cited;
}

void
aegis_module_cite_facts(aegis_worker_t *w, const aegis_str_t *tenants, json_t *const *facts,
    size_t n, int ms)
{
    char                  *answer;
    size_t                 i;
    json_t                *knowledge;
    aegis_code_t           rc;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_module_cited_t  *cited;

    cited = calloc(n, sizeof(aegis_module_cited_t));
    if (cited == NULL) {
        return;
    }

    for (i = 0; i < n; i++) {
        cited[i].tenant = tenants[i];
        cited[i].probe = aegis_module_cite_question(facts[i]);
    }

    rc = aegis_module_cite_all(w, cited, n, ms, 0, &err);

    for (i = 0; i < n; i++) {
        answer = cited[i].probe ? cited[aegis_module_cite_twin(cited, i)].answer : NULL;
        if (answer && aegis_json_parse(aegis_view(answer), &knowledge, &err) == AEGIS_E_OK) {
            aegis_module_cite_count(aegis_view(answer));
            json_object_set_new(facts[i], "knowledge", knowledge);
        }
    }

    /* for lack of time is nothing to tell: the planner has more of it */
    if (rc != AEGIS_E_OK && rc != AEGIS_E_DEADLINE) {
        aegis_log(AEGIS_LOG_WARN, w->role->name, "knowledge.not_asked", "detail", "%s",
                  err.detail, NULL);
    }

    aegis_error_clear(&err);
    aegis_module_cited_free(cited, n);
}

void
aegis_module_cited_free(aegis_module_cited_t *cited, size_t n)
{
    size_t  i;

    for (i = 0; cited && i < n; i++) {
        free(cited[i].body);
        free(cited[i].code);
        free(cited[i].probe);
        free(cited[i].answer);
    }

    free(cited);
}
