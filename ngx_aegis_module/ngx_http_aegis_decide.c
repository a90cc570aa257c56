/*
 * ngx_http_aegis_decide.c: the routes of the modules: load the facts, let the
 * core decide, commit for the version that was loaded. When the case moved in
 * between, all of it again.
 *
 * Invariant: a known key wins over whatever the module would say today. The
 * commit looks the key up first, so a refusal goes through it as well: as a
 * document of its own when the key is to remember it, or as a probe for version
 * 0, which no case has, when it depends on the request alone.
 */
#include "ngx_http_aegis_module.h"

/* people who decide on one plan at the same moment make way for each other */
#define NGX_HTTP_AEGIS_MAX_DECIDED  16


static ngx_int_t
ngx_http_aegis_decide_load(ngx_http_aegis_job_t *job)
{
    job->phase = NGX_HTTP_AEGIS_PHASE_LOAD;
    job->stmt = AEGIS_STMT_MODULE_LOAD;
    job->item.v[AEGIS_C_module] =
        ngx_http_aegis_cview(aegis_module(job->route->module)->name);

    return ngx_http_aegis_queue_push(job->conf->db->read, job);
}


static ngx_int_t
ngx_http_aegis_decide_commit(ngx_http_aegis_job_t *job, int64_t version, char *doc,
    ngx_http_aegis_phase_t phase)
{
    u_char  *p;

    p = ngx_pnalloc(job->pool, NGX_INT64_LEN);
    if (p == NULL || doc == NULL) {
        free(doc);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    free(job->doc);
    job->doc = doc;

    job->item.v[AEGIS_C_doc] = ngx_http_aegis_cview(doc);
    job->item.v[AEGIS_C_for_version].data = (char *) p;
    job->item.v[AEGIS_C_for_version].len = ngx_sprintf(p, "%L", version) - p;
    job->item.v[AEGIS_C_states] =
        ngx_http_aegis_cview(aegis_module(job->route->module)->states);

    job->phase = phase;
    job->stmt = AEGIS_STMT_MODULE_COMMIT;

    return ngx_http_aegis_queue_push(job->conf->db->write, job);
}


/* The refusals that aegis.remember() keeps under the key. */
static ngx_uint_t
ngx_http_aegis_decide_remembered(aegis_code_t code)
{
    return code == AEGIS_E_GUARD || code == AEGIS_E_WRONG_STATE
           || code == AEGIS_E_EXISTS || code == AEGIS_E_ILLEGAL
           || code == AEGIS_E_NOT_APPROVER || code == AEGIS_E_NOT_WAITING
           || code == AEGIS_E_PLAN_CHANGED
           || code == AEGIS_E_VERSION_CONFLICT || code == AEGIS_E_VERSION_MISMATCH;
}


static char *
ngx_http_aegis_decide_refusal(ngx_http_aegis_job_t *job)
{
    char    *problem, *doc;
    u_char  *p;
    size_t   len;

    problem = aegis_error_problem(&job->err, job->item.v[AEGIS_C_request_id]);
    if (problem == NULL) {
        return NULL;
    }

    len = ngx_strlen(problem) + 64;
    doc = malloc(len);

    if (doc) {
        p = ngx_snprintf((u_char *) doc, len - 1,
                         "{\"table\":\"\",\"status\":%d,\"body\":%s}",
                         aegis_error_def(job->err.code)->http, problem);
        *p = '\0';
    }

    free(problem);

    return doc;
}


static ngx_int_t
ngx_http_aegis_decide_run(ngx_http_aegis_job_t *job)
{
    json_t              *doc;
    int64_t              version;
    ngx_int_t            rc;
    aegis_code_t         code;
    aegis_module_ctx_t   ctx;

    version = job->version;

    ctx.id = job->uuid;
    ctx.actor = (char *) job->who->principal.data;
    ctx.correlation_id = job->item.v[AEGIS_C_correlation_id].data;
    ctx.scopes = (char *) job->who->scopes.data;

    doc = NULL;
    code = aegis_module(job->route->module)->decide(job->facts, job->body, &ctx,
                                                    &doc, &job->err);

    if (code == AEGIS_E_OK) {
        job->n_decided++;
        rc = ngx_http_aegis_decide_commit(job, version, aegis_json_text(doc),
                                          NGX_HTTP_AEGIS_PHASE_COMMIT);
        json_decref(doc);
        return rc;
    }

    job->err.code = code;

    if (aegis_error_def(code)->http >= 500) {
        return NGX_ERROR;
    }

    if (ngx_http_aegis_decide_remembered(code)) {
        job->n_decided++;
        return ngx_http_aegis_decide_commit(job, version,
                                            ngx_http_aegis_decide_refusal(job),
                                            NGX_HTTP_AEGIS_PHASE_COMMIT);
    }

    return ngx_http_aegis_decide_commit(job, 0, strdup("{\"table\":\"\"}"),
                                        NGX_HTTP_AEGIS_PHASE_PROBE);
}


/* A planner asks the knowledge base about the case first. Of a plan that somebody
 * wrote nothing is asked; a question that cannot be made costs the quotations. */
static ngx_int_t
ngx_http_aegis_decide_cite(ngx_http_aegis_job_t *job)
{
    char           *query, *probe;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (job->route->module != AEGIS_MODULE_plan || json_object_get(job->body, "plan")) {
        return ngx_http_aegis_decide_run(job);
    }

    query = aegis_kb_case_query(job->facts);
    code = query ? aegis_kb_probe(ngx_http_aegis_cview(query), AEGIS_NO_STR, &probe, &err)
                 : AEGIS_E_UNAVAILABLE;
    free(query);

    if (code != AEGIS_E_OK) {
        aegis_error_clear(&err);
        return ngx_http_aegis_decide_run(job);
    }

    free(job->doc);
    job->doc = probe;
    job->item.v[AEGIS_C_attempt] = aegis_str("100");     /* a person waits: words will do */
    job->item.v[AEGIS_C_probe] = ngx_http_aegis_cview(probe);
    job->phase = NGX_HTTP_AEGIS_PHASE_CITE;
    job->stmt = AEGIS_STMT_KB_CITE;

    return ngx_http_aegis_queue_push(job->conf->db->read, job);
}


static ngx_int_t
ngx_http_aegis_decide_loaded(ngx_http_aegis_job_t *job)
{
    json_decref(job->facts);
    job->facts = NULL;
    job->version = job->row->version;

    if (aegis_json_parse(job->row->body, &job->facts, &job->err) != AEGIS_E_OK) {
        aegis_error_clear(&job->err);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_aegis_decide_cite(job);
}


static ngx_int_t
ngx_http_aegis_decide_cited(ngx_http_aegis_job_t *job)
{
    json_t         *passages;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (ngx_http_aegis_equal(job->row->code, "ok")
        && aegis_json_parse(job->row->body, &passages, &err) == AEGIS_E_OK)
    {
        json_object_set_new(job->facts, "knowledge", passages);
    }

    aegis_error_clear(&err);

    return ngx_http_aegis_decide_run(job);
}


ngx_int_t
ngx_http_aegis_decide(ngx_http_aegis_job_t *job)
{
    if (job->row == NULL) {
        return ngx_http_aegis_decide_load(job);
    }

    switch (job->phase) {

    case NGX_HTTP_AEGIS_PHASE_LOAD:
        if (ngx_http_aegis_equal(job->row->code, "ok")) {
            return ngx_http_aegis_decide_loaded(job);
        }

        /* no such case: a replay, or the same said by the commit */
        return ngx_http_aegis_decide_commit(job, 0, strdup("{\"table\":\"\"}"),
                                            NGX_HTTP_AEGIS_PHASE_PROBE);

    case NGX_HTTP_AEGIS_PHASE_CITE:
        return ngx_http_aegis_decide_cited(job);

    case NGX_HTTP_AEGIS_PHASE_PROBE:
        if (ngx_http_aegis_equal(job->row->code, "again")) {
            /* the key is new: our refusal stands */
            if (job->err.code == AEGIS_E_OK) {
                aegis_error_set(&job->err, AEGIS_E_NOT_FOUND, "%s", "");
            }
            return NGX_ERROR;
        }

        break;

    default:
        if (ngx_http_aegis_equal(job->row->code, "again")) {
            aegis_error_clear(&job->err);

            if (job->n_decided < NGX_HTTP_AEGIS_MAX_DECIDED) {
                return ngx_http_aegis_decide_load(job);
            }

            aegis_error_set(&job->err, AEGIS_E_BUSY, "%s", "");
            return NGX_ERROR;
        }

        break;
    }

    aegis_error_clear(&job->err);

    return NGX_OK;
}
