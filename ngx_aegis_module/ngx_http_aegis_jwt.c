/*
 * ngx_http_aegis_jwt.c: a method of identity: a bearer JWT. The core judges it;
 * here are the keys and the clock brought to it, and its claims made into who
 * asks. A token that was accepted is known again for a few seconds by its
 * sha256, because a signature costs more than all the rest of a request.
 */
#include "ngx_http_aegis_jwt.h"

#define NGX_HTTP_AEGIS_JWT_SLOTS      512       /* power of two */
#define NGX_HTTP_AEGIS_JWT_TTL        10        /* s */
#define NGX_HTTP_AEGIS_JWT_SCOPES     1024
#define NGX_HTTP_AEGIS_JWT_ID         64

typedef struct {
    u_char                         hash[AEGIS_SHA256_LEN];
    const ngx_http_aegis_jwt_t    *jwt;         /* NULL: empty */
    const ngx_http_aegis_jwks_t   *jwks;
    ngx_uint_t                     generation;
    time_t                         from;
    time_t                         until;
    u_char                         tenant_len;
    u_char                         principal_len;
    u_char                         id_len;
    uint16_t                       scopes_len;
    /* tenant, principal, id, scopes */
    u_char                         text[AEGIS_JWT_MAX_TENANT
                                        + AEGIS_JWT_MAX_PRINCIPAL
                                        + NGX_HTTP_AEGIS_JWT_ID
                                        + NGX_HTTP_AEGIS_JWT_SCOPES];
} ngx_http_aegis_jwt_slot_t;

/* What the claims say, borrowed from them but for the scopes. */
typedef struct {
    ngx_str_t                      tenant;
    ngx_str_t                      principal;
    ngx_str_t                      id;
    ngx_str_t                      scopes;
    u_char                         buf[NGX_HTTP_AEGIS_JWT_SCOPES];
} ngx_http_aegis_jwt_claims_t;

/* of this worker; allocated with the first token */
static ngx_http_aegis_jwt_slot_t  *ngx_http_aegis_jwt_slots;

static const aegis_refusal_t  ngx_http_aegis_jwt_refusals[AEGIS_N_JWT_REASONS] = {
    [AEGIS_JWT_MALFORMED] = AEGIS_R_JWT_MALFORMED,
    [AEGIS_JWT_TOO_LONG] = AEGIS_R_JWT_MALFORMED,
    [AEGIS_JWT_ALGORITHM] = AEGIS_R_JWT_ALGORITHM,
    [AEGIS_JWT_TYPE] = AEGIS_R_JWT_TYPE,
    [AEGIS_JWT_CRITICAL] = AEGIS_R_JWT_CRITICAL,
    [AEGIS_JWT_KID_MISSING] = AEGIS_R_JWT_KID_MISSING,
    [AEGIS_JWT_KID_UNKNOWN] = AEGIS_R_JWT_KID_UNKNOWN,
    [AEGIS_JWT_SIGNATURE] = AEGIS_R_JWT_SIGNATURE,
    [AEGIS_JWT_CLAIMS] = AEGIS_R_JWT_CLAIMS,
    [AEGIS_JWT_EXPIRED] = AEGIS_R_JWT_EXPIRED,
    [AEGIS_JWT_NOT_YET] = AEGIS_R_JWT_NOT_YET,
    [AEGIS_JWT_ISSUER] = AEGIS_R_JWT_ISSUER,
    [AEGIS_JWT_AUDIENCE] = AEGIS_R_JWT_AUDIENCE,
    [AEGIS_JWT_TENANT] = AEGIS_R_JWT_TENANT,
    [AEGIS_JWT_PRINCIPAL] = AEGIS_R_JWT_PRINCIPAL
};


/* Two dots, which no API key of ours has. */
static ngx_uint_t
ngx_http_aegis_jwt_looks_like(ngx_str_t token)
{
    u_char      *p, *last;
    ngx_uint_t   dots;

    last = token.data + token.len;
    dots = 0;

    for (p = token.data; (p = ngx_strlchr(p, last, '.')) != NULL; p++) {
        dots++;
    }

    return dots == 2;
}


static ngx_http_aegis_jwt_slot_t *
ngx_http_aegis_jwt_slot(const u_char *hash)
{
    uint32_t  n;

    if (ngx_http_aegis_jwt_slots == NULL) {
        ngx_http_aegis_jwt_slots = ngx_calloc(NGX_HTTP_AEGIS_JWT_SLOTS
                                              * sizeof(ngx_http_aegis_jwt_slot_t),
                                              ngx_cycle->log);
        if (ngx_http_aegis_jwt_slots == NULL) {
            return NULL;
        }
    }

    ngx_memcpy(&n, hash, sizeof(n));

    return &ngx_http_aegis_jwt_slots[n & (NGX_HTTP_AEGIS_JWT_SLOTS - 1)];
}


static ngx_uint_t
ngx_http_aegis_jwt_known(const ngx_http_aegis_jwt_slot_t *slot, const u_char *hash,
    const ngx_http_aegis_srv_conf_t *conf, ngx_http_aegis_jwt_claims_t *c)
{
    time_t   now;
    u_char  *p;

    now = ngx_time();

    if (slot->jwt != conf->jwt || slot->jwks != conf->jwks
        || slot->generation != conf->jwks->generation
        || now < slot->from || now >= slot->until
        || ngx_memcmp(slot->hash, hash, sizeof(slot->hash)) != 0)
    {
        return 0;
    }

    p = (u_char *) slot->text;
    c->tenant.data = p;
    c->tenant.len = slot->tenant_len;
    p += c->tenant.len;
    c->principal.data = p;
    c->principal.len = slot->principal_len;
    p += c->principal.len;
    c->id.data = p;
    c->id.len = slot->id_len;
    p += c->id.len;
    c->scopes.data = p;
    c->scopes.len = slot->scopes_len;

    return 1;
}


static void
ngx_http_aegis_jwt_keep(ngx_http_aegis_jwt_slot_t *slot, const u_char *hash,
    const ngx_http_aegis_srv_conf_t *conf, const ngx_http_aegis_jwt_claims_t *c,
    int64_t exp)
{
    u_char   *p;
    int64_t   until;

    until = exp + conf->jwt->policy.leeway;

    slot->jwt = conf->jwt;
    slot->jwks = conf->jwks;
    slot->generation = conf->jwks->generation;
    slot->from = ngx_time();
    slot->until = (time_t) ngx_min(until, (int64_t) slot->from + NGX_HTTP_AEGIS_JWT_TTL);
    slot->tenant_len = c->tenant.len;
    slot->principal_len = c->principal.len;
    slot->id_len = c->id.len;
    slot->scopes_len = c->scopes.len;
    ngx_memcpy(slot->hash, hash, sizeof(slot->hash));

    p = ngx_cpymem(slot->text, c->tenant.data, c->tenant.len);
    p = ngx_cpymem(p, c->principal.data, c->principal.len);
    p = ngx_cpymem(p, c->id.data, c->id.len);
    ngx_memcpy(p, c->scopes.data, c->scopes.len);
}


/* Only scopes of the tables are kept; a bare * of an issuer means something, but
 * not to us. 0: there are more than can be kept. */
static ngx_uint_t
ngx_http_aegis_jwt_scopes(const aegis_jwt_t *jwt, ngx_http_aegis_jwt_claims_t *c)
{
    u_char           *p, *last;
    aegis_str_t       scope;
    aegis_jwt_pos_t   pos;

    p = c->buf;
    last = c->buf + sizeof(c->buf);
    ngx_memzero(&pos, sizeof(pos));

    while (aegis_jwt_next_scope(jwt, &pos, &scope)) {

        if (!aegis_scope_known(scope) || ngx_http_aegis_equal(scope, "*")) {
            continue;
        }

        if (scope.len + 1 > (size_t) (last - p)) {
            return 0;
        }

        p = ngx_cpymem(p, scope.data, scope.len);
        *p++ = ' ';
    }

    c->scopes.data = c->buf;
    c->scopes.len = p - c->buf;

    return 1;
}


/* jti names the token in logs, when it can be a name. */
static void
ngx_http_aegis_jwt_claims(const aegis_jwt_t *jwt, ngx_http_aegis_jwt_claims_t *c)
{
    c->tenant.data = (u_char *) jwt->tenant.data;
    c->tenant.len = jwt->tenant.len;
    c->principal.data = (u_char *) jwt->principal.data;
    c->principal.len = jwt->principal.len;
    c->id.data = (u_char *) json_string_value(json_object_get(jwt->claims, "jti"));
    c->id.len = c->id.data ? ngx_strlen(c->id.data) : 0;

    if (c->id.len && !ngx_http_aegis_name_valid(&c->id, NGX_HTTP_AEGIS_JWT_ID)) {
        c->id.len = 0;
    }
}


static ngx_int_t
ngx_http_aegis_jwt_refuse(ngx_http_aegis_job_t *job, aegis_str_t token,
    aegis_jwt_reason_t reason)
{
    char           kid[AEGIS_JWKS_MAX_KID + 1];
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (reason == AEGIS_JWT_INTERNAL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    job->refusal = ngx_http_aegis_jwt_refusals[reason];

    /* it may be a key of another form */
    if (reason == AEGIS_JWT_MALFORMED) {
        return NGX_DECLINED;
    }

    if (reason == AEGIS_JWT_KID_UNKNOWN) {
        aegis_jwt_kid(token, kid);
        ngx_http_aegis_jwks_missing(job->conf->jwks, kid);
    }

    aegis_error_set(&err, AEGIS_E_UNAUTHORIZED, "%s", aegis_jwt_sentence(reason));

    return ngx_http_aegis_refuse(job, job->refusal, err.detail);
}


static ngx_int_t
ngx_http_aegis_jwt_judge(ngx_http_aegis_job_t *job, aegis_str_t token,
    ngx_http_aegis_jwt_slot_t *slot, const u_char *hash)
{
    ngx_int_t                     rc;
    aegis_jwt_t                   jwt;
    const aegis_jwks_t           *keys;
    aegis_jwt_reason_t            reason;
    ngx_http_aegis_jwt_claims_t   c;

    keys = ngx_http_aegis_jwks_keys(job->conf->jwks);
    if (keys == NULL) {
        return ngx_http_aegis_refuse(job, AEGIS_R_JWT_NO_KEYS,
                                     "The keys of the token's issuer are not available.");
    }

    reason = aegis_jwt_verify(token, keys, &job->conf->jwt->policy, ngx_time(), &jwt,
                              NULL);
    if (reason != AEGIS_JWT_OK) {
        return ngx_http_aegis_jwt_refuse(job, token, reason);
    }

    ngx_http_aegis_jwt_claims(&jwt, &c);

    if (!ngx_http_aegis_jwt_scopes(&jwt, &c)) {
        rc = ngx_http_aegis_refuse(job, AEGIS_R_JWT_CLAIMS, "The token has too many scopes.");

    } else {
        if (slot) {
            ngx_http_aegis_jwt_keep(slot, hash, job->conf, &c, jwt.exp);
        }

        rc = ngx_http_aegis_identity_set(job, "jwt", c.tenant, c.principal, c.scopes, c.id);
    }

    aegis_jwt_clear(&jwt);

    return rc;
}


ngx_int_t
ngx_http_aegis_identity_jwt(ngx_http_aegis_job_t *job, ngx_str_t token)
{
    u_char                        hash[AEGIS_SHA256_LEN];
    aegis_str_t                   text;
    ngx_http_aegis_jwt_slot_t    *slot;
    ngx_http_aegis_jwt_claims_t   c;

    if (job->conf->jwt == NULL || !ngx_http_aegis_jwt_looks_like(token)) {
        return NGX_DECLINED;
    }

    text = ngx_http_aegis_view(token);
    aegis_sha256(&text, 1, hash);
    slot = ngx_http_aegis_jwt_slot(hash);

    if (slot && ngx_http_aegis_jwks_keys(job->conf->jwks)
        && ngx_http_aegis_jwt_known(slot, hash, job->conf, &c))
    {
        return ngx_http_aegis_identity_set(job, "jwt", c.tenant, c.principal, c.scopes, c.id);
    }

    return ngx_http_aegis_jwt_judge(job, text, slot, hash);
}
