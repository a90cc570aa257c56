/*
 * ngx_http_aegis_identity.c: who asks, whatever the credential. One table of
 * methods is walked in order; the first that knows who it is ends the walk, and
 * when none does the request is refused. What the body may say about who asks
 * is judged here too.
 *
 * Invariant: nothing is allowed that a method did not say, and every refusal
 * has a reason of core/tables/refusals.def, which is counted once.
 */
#include "ngx_http_aegis_module.h"

#include <openssl/crypto.h>

#define NGX_HTTP_AEGIS_MAX_TOKEN  8192
#define NGX_HTTP_AEGIS_SECRET     43        /* 256 bits in base64url */

static ngx_int_t ngx_http_aegis_identity_key(ngx_http_aegis_job_t *job,
    ngx_str_t token);

/* NGX_OK: job->who is set; NGX_DECLINED: not a credential of this kind, or one
 * that is not known (then job->refusal says so, and the next may know it);
 * NGX_ERROR: refused; NGX_AGAIN: parked, the step is entered again. */
typedef ngx_int_t (*ngx_http_aegis_method_pt)(ngx_http_aegis_job_t *job,
    ngx_str_t token);

static const ngx_http_aegis_method_pt  ngx_http_aegis_identity_methods[] = {
    ngx_http_aegis_identity_cert,
    ngx_http_aegis_identity_jwt,
    ngx_http_aegis_identity_key,
    ngx_http_aegis_identity_trusted
};

#define NGX_HTTP_AEGIS_N_METHODS_OF_IDENTITY                                   \
    (sizeof(ngx_http_aegis_identity_methods)                                   \
     / sizeof(ngx_http_aegis_identity_methods[0]))


ngx_uint_t
ngx_http_aegis_name_valid(ngx_str_t *s, size_t max)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (s->data[i] <= ' ' || s->data[i] > '~') {
            return 0;
        }
    }

    return s->len != 0 && s->len <= max;
}


ngx_uint_t
ngx_http_aegis_key_id_char(u_char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}


ngx_http_aegis_entry_t *
ngx_http_aegis_entry(ngx_http_aegis_list_t *list, ngx_str_t name)
{
    return (ngx_http_aegis_entry_t *)
           ngx_str_rbtree_lookup(&list->tree, &name,
                                 ngx_murmur_hash2(name.data, name.len));
}


/* RFC 6750 §3: how to come in, and what was wrong with what was sent. */
static ngx_int_t
ngx_http_aegis_identity_challenge(ngx_http_aegis_job_t *job, const char *scope)
{
    u_char     *p;
    ngx_str_t   value;

    static ngx_str_t  ask = ngx_string("Bearer realm=\"aegis\"");
    static ngx_str_t  bad = ngx_string("Bearer realm=\"aegis\", error=\"invalid_token\"");
    static ngx_str_t  few = ngx_string("Bearer realm=\"aegis\","
                                       " error=\"insufficient_scope\", scope=\"\"");

    if (scope) {
        p = ngx_pnalloc(job->r->pool, few.len + ngx_strlen(scope));
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        p = ngx_cpymem(p, few.data, few.len - 1);
        value.len = ngx_sprintf(p, "%s\"", scope) - value.data;

    } else if (job->refusal == AEGIS_R_MISSING || job->refusal == AEGIS_R_MALFORMED
               || job->refusal == AEGIS_R_CERT_UNKNOWN)
    {
        value = ask;

    } else {
        value = bad;
    }

    return ngx_http_aegis_add_header(job->r, "WWW-Authenticate", value);
}


ngx_int_t
ngx_http_aegis_refuse(ngx_http_aegis_job_t *job, aegis_refusal_t why,
    const char *detail)
{
    const aegis_refusal_def_t  *def;

    def = aegis_refusal_def(why);

    job->refusal = why;
    job->who = NULL;
    ngx_http_aegis_stats_refused(why);

    aegis_error_set(&job->err, def->code, "%s", detail);

    if (def->code == AEGIS_E_UNAUTHORIZED
        && ngx_http_aegis_identity_challenge(job, NULL) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_ERROR;
}


/* Who asks is known, and may not do this: the audit says who it was. */
static ngx_int_t
ngx_http_aegis_identity_forbid(ngx_http_aegis_job_t *job, aegis_refusal_t why,
    const char *scope, const char *detail)
{
    job->refusal = why;
    ngx_http_aegis_stats_refused(why);

    if (scope == NULL) {
        aegis_error_set(&job->err, aegis_refusal_def(why)->code, "%s", detail);
        return NGX_ERROR;
    }

    aegis_error_set(&job->err, AEGIS_E_FORBIDDEN, "The credential lacks the scope %s.",
                    scope);

    return ngx_http_aegis_identity_challenge(job, scope) == NGX_OK
           ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_aegis_identity_tenant(ngx_http_aegis_job_t *job, const char *tenant,
    size_t len)
{
    if (len == job->who->tenant.len
        && ngx_memcmp(tenant, job->who->tenant.data, len) == 0)
    {
        return NGX_OK;
    }

    return ngx_http_aegis_identity_forbid(job, AEGIS_R_TENANT, NULL,
                                          "The credential is for another tenant.");
}


ngx_int_t
ngx_http_aegis_identity_set(ngx_http_aegis_job_t *job, const char *method,
    ngx_str_t tenant, ngx_str_t principal, ngx_str_t scopes, ngx_str_t id)
{
    u_char                *p;
    ngx_http_aegis_who_t  *who;

    if (!ngx_http_aegis_name_valid(&tenant, NGX_HTTP_AEGIS_MAX_TENANT)
        || !ngx_http_aegis_name_valid(&principal, NGX_HTTP_AEGIS_MAX_PRINCIPAL)
        || aegis_principal_reserved(ngx_http_aegis_view(principal)))
    {
        return NGX_DECLINED;
    }

    who = ngx_pcalloc(job->pool, sizeof(ngx_http_aegis_who_t) + tenant.len
                                 + principal.len + scopes.len + id.len + 4);
    if (who == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = (u_char *) who + sizeof(ngx_http_aegis_who_t);

    who->method = method;

    who->tenant.data = p;
    who->tenant.len = tenant.len;
    p = ngx_cpymem(p, tenant.data, tenant.len) + 1;

    who->principal.data = p;
    who->principal.len = principal.len;
    p = ngx_cpymem(p, principal.data, principal.len) + 1;

    who->scopes.data = p;
    who->scopes.len = scopes.len;
    p = ngx_cpymem(p, scopes.data, scopes.len) + 1;

    who->id.data = p;
    who->id.len = id.len;
    ngx_memcpy(p, id.data, id.len);

    job->who = who;

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_identity_entry(ngx_http_aegis_job_t *job, ngx_http_aegis_entry_t *e)
{
    if (e->not_before && ngx_time() < e->not_before) {
        return ngx_http_aegis_refuse(job, AEGIS_R_EARLY, "");
    }

    if (e->not_after && ngx_time() >= e->not_after) {
        return ngx_http_aegis_refuse(job, AEGIS_R_EXPIRED, "");
    }

    job->who = &e->who;

    return NGX_OK;
}


/* aegis_<id>_<secret>; the secret may have a _ of its own. */
static ngx_uint_t
ngx_http_aegis_identity_parts(ngx_str_t token, ngx_str_t *id, ngx_str_t *secret)
{
    size_t  i;
    u_char  c;

    if (token.len < sizeof("aegis_") - 1 + 1 + 1 + NGX_HTTP_AEGIS_SECRET
        || ngx_strncmp(token.data, "aegis_", 6) != 0
        || token.data[token.len - NGX_HTTP_AEGIS_SECRET - 1] != '_')
    {
        return 0;
    }

    id->data = token.data + 6;
    id->len = token.len - 6 - NGX_HTTP_AEGIS_SECRET - 1;
    secret->data = id->data + id->len + 1;
    secret->len = NGX_HTTP_AEGIS_SECRET;

    for (i = 0; i < id->len; i++) {
        if (!ngx_http_aegis_key_id_char(id->data[i])) {
            return 0;
        }
    }

    for (i = 0; i < secret->len; i++) {
        c = secret->data[i] | 0x20;
        if (!(c >= 'a' && c <= 'z') && !(secret->data[i] >= '0' && secret->data[i] <= '9')
            && secret->data[i] != '-' && secret->data[i] != '_')
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_aegis_identity_key(ngx_http_aegis_job_t *job, ngx_str_t token)
{
    u_char                   hash[AEGIS_SHA256_LEN];
    ngx_str_t                name, secret;
    ngx_uint_t               same;
    ngx_http_aegis_entry_t  *e;

    static const u_char  nobody[AEGIS_SHA256_LEN];

    if (token.len == 0 || job->conf->keys == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_aegis_identity_parts(token, &name, &secret)) {
        ngx_http_aegis_sha256(secret, hash);

    } else {
        ngx_http_aegis_sha256(token, hash);
        name.data = hash;
        name.len = sizeof(hash);
    }

    e = ngx_http_aegis_entry(job->conf->keys, name);
    same = CRYPTO_memcmp(hash, e ? e->hash : nobody, sizeof(hash)) == 0;

    if (e == NULL || !same) {
        job->refusal = AEGIS_R_KEY_UNKNOWN;
        return NGX_DECLINED;
    }

    return ngx_http_aegis_identity_entry(job, e);
}


/* The one token of Authorization; len 0 when there is none of ours. */
static ngx_int_t
ngx_http_aegis_identity_bearer(ngx_http_aegis_job_t *job, ngx_str_t *token)
{
    u_char                   *p, *last;
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_AUTHORIZATION];
    token->len = 0;
    token->data = NULL;

    if (h->n == 0) {
        return NGX_OK;
    }

    if (h->n > 1) {
        return ngx_http_aegis_refuse(job, AEGIS_R_DOUBLED,
                                     "There is more than one Authorization header.");
    }

    job->refusal = AEGIS_R_MALFORMED;

    p = h->value.data;
    last = p + h->value.len;

    if (h->value.len < sizeof("Bearer ")
        || ngx_strncasecmp(p, (u_char *) "Bearer ", sizeof("Bearer ") - 1) != 0)
    {
        return NGX_OK;
    }

    for (p += sizeof("Bearer ") - 1; p < last && *p == ' '; p++) { /* void */ }

    if (p < last && last - p <= NGX_HTTP_AEGIS_MAX_TOKEN) {
        token->data = p;
        token->len = last - p;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_step_identity(ngx_http_aegis_job_t *job)
{
    ngx_int_t   rc;
    ngx_str_t   token;
    ngx_uint_t  i;

    rc = ngx_http_aegis_identity_bearer(job, &token);

    for (i = 0; rc == NGX_OK && i < NGX_HTTP_AEGIS_N_METHODS_OF_IDENTITY; i++) {
        rc = ngx_http_aegis_identity_methods[i](job, token);

        if (rc == NGX_OK) {
            break;
        }

        if (rc == NGX_DECLINED) {
            rc = NGX_OK;
        }
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (job->who == NULL) {
        return ngx_http_aegis_refuse(job, job->refusal ? job->refusal : AEGIS_R_MISSING,
                                     "");
    }

    job->refusal = AEGIS_R_NONE;

    if (!aegis_scope_allows(ngx_http_aegis_view(job->who->scopes), job->route->scope)) {
        return ngx_http_aegis_identity_forbid(job, AEGIS_R_SCOPE, job->route->scope,
                                              NULL);
    }

    return NGX_OK;
}


/* What only the body says: its tenant and its actor may repeat the credential's,
 * not change them, and an event has a scope of its own. */
ngx_int_t
ngx_http_aegis_identity_body(ngx_http_aegis_job_t *job)
{
    json_t            *v;
    const char        *scope;
    const ngx_str_t   *principal;

    v = json_object_get(job->body, "tenant");

    if (v && ngx_http_aegis_identity_tenant(job, json_string_value(v),
                                            json_string_length(v)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    v = json_object_get(job->body, "actor");
    principal = &job->who->principal;

    if (v && (json_string_length(v) != principal->len
              || ngx_memcmp(json_string_value(v), principal->data, principal->len)))
    {
        return ngx_http_aegis_identity_forbid(job, AEGIS_R_ACTOR, NULL,
            "The actor is who authenticated; the body names somebody else.");
    }

    v = json_object_get(job->body, "event");

    if (job->route->id != AEGIS_ROUTE_CASE_TRANSITION || v == NULL) {
        return NGX_OK;
    }

    scope = aegis_event_scope(aegis_event_by_name(
                                  ngx_http_aegis_cview(json_string_value(v))));

    return aegis_scope_allows(ngx_http_aegis_view(job->who->scopes), scope)
           ? NGX_OK
           : ngx_http_aegis_identity_forbid(job, AEGIS_R_EVENT_SCOPE, scope, NULL);
}
