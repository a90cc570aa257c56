/*
 * ngx_http_aegis_identity.c: who asks. A bearer token is known by its sha256
 * alone; every key is compared, each in constant time, so that neither a near
 * miss nor a position in the file shows in the time taken.
 */
#include "ngx_http_aegis_module.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define NGX_HTTP_AEGIS_MAX_TOKEN  4096


static ngx_int_t
ngx_http_aegis_identity_refuse(ngx_http_aegis_job_t *job, ngx_uint_t sent)
{
    ngx_str_t         value;
    static ngx_str_t  ask = ngx_string("Bearer realm=\"aegis\"");
    static ngx_str_t  bad = ngx_string("Bearer realm=\"aegis\", error=\"invalid_token\"");

    value = sent ? bad : ask;

    if (ngx_http_aegis_add_header(job->r, "WWW-Authenticate", value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    aegis_error_set(&job->err, AEGIS_E_UNAUTHORIZED, "%s", "");

    return NGX_ERROR;
}


static const ngx_http_aegis_key_t *
ngx_http_aegis_identity_find(ngx_array_t *keys, u_char *token, size_t len)
{
    u_char                       hash[SHA256_DIGEST_LENGTH];
    ngx_uint_t                   i;
    ngx_http_aegis_key_t        *key;
    const ngx_http_aegis_key_t  *found;

    SHA256(token, len, hash);

    found = NULL;
    key = keys->elts;

    for (i = 0; i < keys->nelts; i++) {
        if (CRYPTO_memcmp(hash, key[i].hash, sizeof(hash)) == 0) {
            found = &key[i];
        }
    }

    return found;
}


/* scopes is ",a,b,"; "*" stands for all of them. */
static ngx_uint_t
ngx_http_aegis_identity_may(const ngx_http_aegis_key_t *key, const char *scope)
{
    size_t   len;
    u_char  *p, *last;

    len = ngx_strlen(scope);
    p = key->scopes.data;
    last = p + key->scopes.len;

    for (p++; p < last; p++) {
        if (p[0] == '*' && p[1] == ',') {
            return 1;
        }

        if ((size_t) (last - p) > len && ngx_strncmp(p, scope, len) == 0
            && p[len] == ',')
        {
            return 1;
        }

        while (p < last && *p != ',') {
            p++;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_aegis_step_identity(ngx_http_aegis_job_t *job)
{
    u_char                   *p, *last;
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_AUTHORIZATION];

    if (h->n == 0) {
        return ngx_http_aegis_identity_refuse(job, 0);
    }

    if (h->n > 1) {
        aegis_error_set(&job->err, AEGIS_E_BAD_REQUEST,
                        "There is more than one Authorization header.");
        return NGX_ERROR;
    }

    p = h->value.data;
    last = p + h->value.len;

    if (h->value.len < sizeof("Bearer ")
        || ngx_strncasecmp(p, (u_char *) "Bearer ", sizeof("Bearer ") - 1) != 0)
    {
        return ngx_http_aegis_identity_refuse(job, 0);
    }

    for (p += sizeof("Bearer ") - 1; p < last && *p == ' '; p++) { /* void */ }

    if (p == last || last - p > NGX_HTTP_AEGIS_MAX_TOKEN) {
        return ngx_http_aegis_identity_refuse(job, 1);
    }

    job->key = ngx_http_aegis_identity_find(job->conf->keys, p, last - p);

    if (job->key == NULL) {
        return ngx_http_aegis_identity_refuse(job, 1);
    }

    if (!ngx_http_aegis_identity_may(job->key, job->route->scope)) {
        aegis_error_set(&job->err, AEGIS_E_FORBIDDEN,
                        "The credential lacks the scope %s.", job->route->scope);
        return NGX_ERROR;
    }

    return NGX_OK;
}
