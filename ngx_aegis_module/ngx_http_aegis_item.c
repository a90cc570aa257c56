/*
 * ngx_http_aegis_item.c: a request as an item of its statement, and the
 * statement's row as the reply. The row is copied: it lives in the PGresult.
 */
#include "ngx_http_aegis_module.h"


#define NGX_HTTP_AEGIS_TAG_BYTES  16        /* of the hash; more than a version */


static ngx_int_t
ngx_http_aegis_item_uuid(ngx_http_aegis_job_t *job)
{
    ngx_time_t     *tp;
    unsigned char   random[10];

    if (ngx_http_aegis_random(random, sizeof(random)) != NGX_OK) {
        return NGX_ERROR;
    }

    tp = ngx_timeofday();
    aegis_uuid_v7((uint64_t) tp->sec * 1000 + tp->msec, random, job->uuid);

    return NGX_OK;
}


/* What a write makes gets the job's new id. */
static void
ngx_http_aegis_item_new(ngx_http_aegis_job_t *job)
{
    ngx_uint_t  column;

    switch (job->route->stmt) {

    case AEGIS_STMT_CASE_CREATE:
        column = AEGIS_C_case_id;
        break;

    case AEGIS_STMT_EXEC_ACCEPT:
        column = AEGIS_C_exec_id;
        break;

    case AEGIS_STMT_INGEST_HINT:
        column = AEGIS_C_locator_id;
        break;

    case AEGIS_STMT_KB_INGEST:
        column = AEGIS_C_doc_id;
        break;

    case AEGIS_STMT_ANALYZE_ASK:
        column = AEGIS_C_run_id;
        break;

    default:
        return;
    }

    job->item.v[column] = ngx_http_aegis_cview(job->uuid);
}


ngx_int_t
ngx_http_aegis_step_item(ngx_http_aegis_job_t *job)
{
    aegis_code_t          code;
    aegis_item_t         *item;
    const aegis_route_t  *route;

    item = &job->item;
    route = job->route;

    item->v[AEGIS_C_tenant] = ngx_http_aegis_view(job->who->tenant);
    item->v[AEGIS_C_principal] = ngx_http_aegis_view(job->who->principal);
    item->v[AEGIS_C_traceparent] = job->context;
    item->v[AEGIS_C_request_id].data = (char *) job->request_id;
    item->v[AEGIS_C_request_id].len = job->request_id_len;

    switch (route->kind) {

    case AEGIS_KIND_READ_PLAN:
    case AEGIS_KIND_READ_DIFF:
        item->v[AEGIS_C_plan_id] = job->id;
        return NGX_OK;

    case AEGIS_KIND_READ_EXEC:
        item->v[AEGIS_C_exec_id] = job->id;
        return NGX_OK;

    case AEGIS_KIND_READ_VERIFY:
        item->v[AEGIS_C_verify_id] = job->id;
        return NGX_OK;

    case AEGIS_KIND_READ_DOC:
        item->v[AEGIS_C_doc_id] = job->id;
        return NGX_OK;

    case AEGIS_KIND_SEARCH:
    case AEGIS_KIND_WHO:
        return NGX_OK;

    case AEGIS_KIND_READ_FINDING:
        item->v[AEGIS_C_finding_id] = job->id;
        return NGX_OK;

    case AEGIS_KIND_READ:
    case AEGIS_KIND_PAGE:
        item->v[AEGIS_C_case_id] = job->id;
        return NGX_OK;

    default:
        break;
    }

    item->v[AEGIS_C_key].data = job->idem_key;
    item->v[AEGIS_C_key].len = job->idem_len;

    if (route->schema == AEGIS_SCHEMA_none) {
        /* nothing but its target says what is asked */
        aegis_http_fingerprint(ngx_http_aegis_view(job->r->method_name),
                               ngx_http_aegis_cview(route->path), job->id, AEGIS_NO_STR,
                               job->hash);
    }

    item->v[AEGIS_C_hash] = ngx_http_aegis_cview(job->hash);
    item->v[AEGIS_C_actor] = item->v[AEGIS_C_principal];

    if (job->id.data) {
        item->v[route->stmt == AEGIS_STMT_EXEC_CANCEL ? AEGIS_C_exec_id
                : route->stmt == AEGIS_STMT_KB_DELETE ? AEGIS_C_doc_id
                : AEGIS_C_case_id] = job->id;
    }

    code = aegis_body_bind(route->schema, job->body, item, job->made, &job->n_made,
                           &job->err);
    if (code != AEGIS_E_OK) {
        job->err.code = code;
        return NGX_ERROR;
    }

    if (ngx_http_aegis_item_uuid(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_aegis_item_new(job);

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_item_location(ngx_http_aegis_job_t *job, aegis_str_t extra)
{
    u_char      *p;
    ngx_str_t    value;
    const char  *prefix;

    switch (job->route->id) {

    case AEGIS_ROUTE_CASE_CREATE:
        prefix = "/case/";
        break;

    case AEGIS_ROUTE_PLAN_GENERATE:
        prefix = "/plan/";
        break;

    case AEGIS_ROUTE_EXEC_RUN:
        prefix = "/adapter/exec/";
        break;

    case AEGIS_ROUTE_VERIFY_RUN:
        prefix = "/verify/";
        break;

    case AEGIS_ROUTE_KB_INGEST:
        prefix = "/kb/doc/";
        break;

    default:
        return NGX_OK;
    }

    if (extra.len == 0 || job->reply.status >= NGX_HTTP_SPECIAL_RESPONSE) {
        return NGX_OK;
    }

    p = ngx_pnalloc(job->r->pool, ngx_strlen(prefix) + extra.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "%s%*s", prefix, extra.len, extra.data) - p;

    return ngx_http_aegis_add_header(job->r, "Location", value);
}


/*
 * The entity tag of the answer. A case has its version, which If-Match of a
 * transition names as well; what else can be read has a hash of its bytes.
 */
static ngx_int_t
ngx_http_aegis_item_etag(ngx_http_aegis_job_t *job, int64_t version, ngx_str_t *tag)
{
    u_char     *p;
    u_char      hash[AEGIS_SHA256_LEN];
    ngx_int_t   rc;

    tag->len = 0;

    p = ngx_pnalloc(job->r->pool, 2 * NGX_HTTP_AEGIS_TAG_BYTES + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    tag->data = p;
    *p++ = '"';

    switch (job->route->id) {

    case AEGIS_ROUTE_CASE_CREATE:
    case AEGIS_ROUTE_CASE_GET:
    case AEGIS_ROUTE_CASE_TRANSITION:

        if (version <= 0) {
            return NGX_OK;
        }

        p = ngx_sprintf(p, "%L", version);
        break;

    default:

        if (job->route->method != AEGIS_GET || job->reply.status != NGX_HTTP_OK) {
            return NGX_OK;
        }

        ngx_http_aegis_sha256(job->reply.body, hash);
        p = ngx_hex_dump(p, hash, NGX_HTTP_AEGIS_TAG_BYTES);
    }

    *p++ = '"';
    tag->len = p - tag->data;

    rc = ngx_http_aegis_add_header(job->r, "ETag", *tag);

    tag->data++;
    tag->len -= 2;

    return rc;
}


/* The conditions of a read, by our own rule: RFC 9110 13.2.2. */
ngx_int_t
ngx_http_aegis_item_conditions(ngx_http_aegis_job_t *job, ngx_str_t *tag)
{
    ngx_http_aegis_header_t  *match, *none;

    match = &job->headers[NGX_HTTP_AEGIS_H_IF_MATCH];
    none = &job->headers[NGX_HTTP_AEGIS_H_NONE_MATCH];

    if (match->n && aegis_http_etag_match(ngx_http_aegis_view(match->value),
                                          ngx_http_aegis_view(*tag), 0) != 1)
    {
        aegis_error_set(&job->err, AEGIS_E_VERSION_MISMATCH,
                        "The representation is \"%.*s\" now.", (int) tag->len,
                        tag->data);
        return NGX_ERROR;
    }

    if (none->n && aegis_http_etag_match(ngx_http_aegis_view(none->value),
                                         ngx_http_aegis_view(*tag), 1) == 1)
    {
        job->reply.status = NGX_HTTP_NOT_MODIFIED;
        job->reply.body.len = 0;
    }

    return NGX_OK;
}


/* What became of the key, for the access log and the reply's headers. */
static void
ngx_http_aegis_item_key(ngx_http_aegis_job_t *job)
{
    size_t  i;

    static const struct {
        const char  *code;
        const char  *means;
    } keys[] = {
        { "replay",                    "replay" },
        { "idempotency-key-reused",    "mismatch" },
        { "idempotency-key-in-flight", "conflict" }
    };

    if (job->idem_len == 0) {
        return;
    }

    job->idempotency = "new";

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (ngx_http_aegis_equal(job->row->code, keys[i].code)) {
            job->idempotency = keys[i].means;
            job->replayed = (i == 0);
        }
    }
}


static ngx_int_t
ngx_http_aegis_item_key_headers(ngx_http_aegis_job_t *job)
{
    ngx_int_t  rc;
    ngx_str_t  yes = ngx_string("true"), one = ngx_string("1");

    rc = NGX_OK;

    if (job->replayed) {
        rc = ngx_http_aegis_add_header(job->r, "Idempotent-Replayed", yes);

    } else if (job->idempotency && ngx_strcmp(job->idempotency, "new") != 0) {
        rc = ngx_http_aegis_describe_key(job);

        if (rc == NGX_OK && ngx_strcmp(job->idempotency, "conflict") == 0) {
            rc = ngx_http_aegis_add_header(job->r, "Retry-After", one);
        }
    }

    return rc == NGX_OK ? NGX_DONE : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* Two plans are answered with their difference. */
static ngx_int_t
ngx_http_aegis_item_diff(ngx_http_aegis_job_t *job, aegis_str_t plans)
{
    char       *text;
    json_t     *pair;
    ngx_int_t   rc;

    if (aegis_json_parse(plans, &pair, &job->err) != AEGIS_E_OK) {
        aegis_error_clear(&job->err);
        return NGX_ERROR;
    }

    aegis_plan_diff_pair(pair);
    text = aegis_json_text(pair);
    json_decref(pair);

    rc = text ? ngx_http_aegis_copy_reply(job, ngx_http_aegis_cview(text)) : NGX_ERROR;
    free(text);

    return rc;
}


static ngx_int_t
ngx_http_aegis_item_reply(ngx_http_aegis_job_t *job)
{
    ngx_int_t                    rc;
    ngx_str_t                    items, tag;
    const ngx_http_aegis_row_t  *row;

    row = job->row;

    if (row->body.data == NULL && ngx_http_aegis_equal(row->code, "not-found")) {
        aegis_error_set(&job->err, AEGIS_E_NOT_FOUND, "%s", "");
        return NGX_ERROR;
    }

    ngx_http_aegis_item_key(job);
    job->reply.status = row->status;
    job->reply.problem = row->status >= NGX_HTTP_BAD_REQUEST;

    if (row->status < 200 || row->status > 599 || row->body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (row->status == NGX_HTTP_OK && job->route->kind == AEGIS_KIND_PAGE) {
        items.data = (u_char *) row->body.data;
        items.len = row->body.len;

        rc = ngx_http_aegis_page(job, items, row->extra);

    } else if (row->status == NGX_HTTP_OK && job->route->kind == AEGIS_KIND_READ_DIFF) {
        rc = ngx_http_aegis_item_diff(job, row->body);

    } else {
        rc = ngx_http_aegis_copy_reply(job, row->body);
    }

    if (rc != NGX_OK
        || ngx_http_aegis_item_etag(job, row->version, &tag) != NGX_OK
        || ngx_http_aegis_item_location(job, row->extra) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (row->status == NGX_HTTP_OK && job->route->method == AEGIS_GET) {
        rc = ngx_http_aegis_item_conditions(job, &tag);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_http_aegis_item_key_headers(job);
}


/* For auth_request in front of what nginx only passes on. */
static ngx_int_t
ngx_http_aegis_item_who(ngx_http_aegis_job_t *job)
{
    char         *text;
    json_t       *who;
    ngx_int_t     rc;
    aegis_str_t   body;

    who = json_pack("{s:s%, s:s%}",
                    "tenant", (char *) job->who->tenant.data, job->who->tenant.len,
                    "principal", (char *) job->who->principal.data, job->who->principal.len);
    text = who ? json_dumps(who, JSON_COMPACT) : NULL;
    json_decref(who);
    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = text;
    body.len = ngx_strlen(text);
    rc = ngx_http_aegis_copy_reply(job, body);
    free(text);
    job->reply.status = NGX_HTTP_OK;

    return rc == NGX_OK ? NGX_DONE : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* Into the queue the first time, out of it with the row the second. */
ngx_int_t
ngx_http_aegis_step_statement(ngx_http_aegis_job_t *job)
{
    ngx_int_t             rc;
    ngx_http_request_t   *r;
    const aegis_route_t  *route;

    r = job->r;
    route = job->route;

    if (job->row == NULL && job->err.code != AEGIS_E_OK) {
        /* the queue gave it up */
        return NGX_ERROR;
    }

    if (route->kind == AEGIS_KIND_WHO) {
        return ngx_http_aegis_item_who(job);
    }

    if (route->kind == AEGIS_KIND_MODULE) {
        rc = ngx_http_aegis_decide(job);

    } else if (job->row == NULL) {
        job->stmt = route->stmt;
        rc = ngx_http_aegis_queue_push(route->kind == AEGIS_KIND_WRITE
                                       ? job->conf->db->write
                                       : job->conf->db->read, job);
    } else {
        rc = NGX_OK;
    }

    if (rc == NGX_AGAIN) {
        /* a client that leaves takes its waiting request with it */
        r->read_event_handler = ngx_http_test_reading;
        job->row = NULL;

        if (!job->held) {
            job->held = 1;
            r->main->count++;
        }

        return NGX_AGAIN;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_aegis_item_reply(job);
    job->row = NULL;

    return rc;
}
