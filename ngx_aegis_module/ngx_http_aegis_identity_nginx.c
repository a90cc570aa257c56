/*
 * ngx_http_aegis_identity_nginx.c: who nginx itself found out. A client
 * certificate counts when nginx verified it (ssl_verify_client) and aegis_certs
 * has it; variables count when aegis_trusted_identity names them, which is how
 * auth_request and everything behind it come in.
 *
 * Invariant: nothing that the client merely wrote is believed: a variable that
 * repeats a header, an argument or a cookie is refused by `nginx -t`.
 */
#include "ngx_http_aegis_module.h"

#include <ctype.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define NGX_HTTP_AEGIS_MAX_SCOPES  4096


#if (NGX_HTTP_SSL)

static ngx_http_aegis_entry_t *
ngx_http_aegis_cert_by_hash(ngx_http_aegis_list_t *list, X509 *cert)
{
    u_char        md[EVP_MAX_MD_SIZE], text[7 + 2 * EVP_MAX_MD_SIZE];
    ngx_str_t     name;
    unsigned int  n;

    if (X509_digest(cert, EVP_sha256(), md, &n) != 1) {
        return NULL;
    }

    name.data = text;
    name.len = ngx_hex_dump(ngx_cpymem(text, "sha256:", 7), md, n) - text;

    return ngx_http_aegis_entry(list, name);
}


/* prefix and a text, as an entry's name. */
static ngx_http_aegis_entry_t *
ngx_http_aegis_cert_by_text(ngx_http_aegis_job_t *job, const char *prefix,
    const u_char *text, size_t len)
{
    u_char     *p;
    ngx_str_t   name;

    name.len = ngx_strlen(prefix) + len;
    name.data = ngx_pnalloc(job->pool, name.len);
    if (name.data == NULL) {
        return NULL;
    }

    p = ngx_cpymem(name.data, prefix, ngx_strlen(prefix));
    ngx_memcpy(p, text, len);

    return ngx_http_aegis_entry(job->conf->certs, name);
}


static ngx_http_aegis_entry_t *
ngx_http_aegis_cert_by_uri(ngx_http_aegis_job_t *job, X509 *cert)
{
    int                      i;
    GENERAL_NAME            *one;
    GENERAL_NAMES           *names;
    ngx_http_aegis_entry_t  *e;

    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    e = NULL;

    for (i = 0; e == NULL && i < sk_GENERAL_NAME_num(names); i++) {
        one = sk_GENERAL_NAME_value(names, i);

        if (one->type == GEN_URI) {
            e = ngx_http_aegis_cert_by_text(job, "uri:",
                    ASN1_STRING_get0_data(one->d.uniformResourceIdentifier),
                    ASN1_STRING_length(one->d.uniformResourceIdentifier));
        }
    }

    GENERAL_NAMES_free(names);

    return e;
}


ngx_int_t
ngx_http_aegis_identity_cert(ngx_http_aegis_job_t *job, ngx_str_t token)
{
    X509                    *cert;
    ngx_str_t                text;
    ngx_connection_t        *c;
    ngx_http_aegis_entry_t  *e;

    c = job->r->connection;

    if (job->conf->certs == NULL || c->ssl == NULL
        || ngx_ssl_get_client_verify(c, job->r->pool, &text) != NGX_OK
        || text.len != 7 || ngx_strncmp(text.data, "SUCCESS", 7) != 0)
    {
        return NGX_DECLINED;
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_DECLINED;
    }

    e = ngx_http_aegis_cert_by_hash(job->conf->certs, cert);

    if (e == NULL) {
        e = ngx_http_aegis_cert_by_uri(job, cert);
    }

    X509_free(cert);

    if (e == NULL && ngx_ssl_get_subject_dn(c, job->r->pool, &text) == NGX_OK) {
        e = ngx_http_aegis_cert_by_text(job, "dn:", text.data, text.len);
    }

    if (e == NULL) {
        job->refusal = AEGIS_R_CERT_UNKNOWN;
        return NGX_DECLINED;
    }

    return ngx_http_aegis_identity_entry(job, e);
}

#else

ngx_int_t
ngx_http_aegis_identity_cert(ngx_http_aegis_job_t *job, ngx_str_t token)
{
    return NGX_DECLINED;
}

#endif


ngx_int_t
ngx_http_aegis_identity_trusted(ngx_http_aegis_job_t *job, ngx_str_t token)
{
    ngx_int_t                   rc;
    ngx_str_t                   tenant, principal, scopes;
    ngx_http_aegis_loc_conf_t  *lcf;

    static ngx_str_t  id = ngx_string("trusted");

    lcf = ngx_http_get_module_loc_conf(job->r, ngx_http_aegis_module);

    if (lcf->trusted == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_complex_value(job->r, &lcf->trusted->tenant, &tenant) != NGX_OK
        || ngx_http_complex_value(job->r, &lcf->trusted->principal, &principal)
           != NGX_OK
        || ngx_http_complex_value(job->r, &lcf->trusted->scopes, &scopes) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (principal.len == 0 || tenant.len == 0) {
        return NGX_DECLINED;
    }

    rc = scopes.len <= NGX_HTTP_AEGIS_MAX_SCOPES
         ? ngx_http_aegis_identity_set(job, "trusted", tenant, principal, scopes, id)
         : NGX_DECLINED;

    if (rc == NGX_DECLINED) {
        job->refusal = AEGIS_R_TRUSTED_INVALID;
    }

    return rc;
}


static ngx_uint_t
ngx_http_aegis_trusted_is(ngx_str_t *name, const char *word)
{
    size_t  len;

    len = ngx_strlen(word);

    return name->len >= len && (word[len - 1] == '_' || name->len == len)
           && ngx_strncasecmp(name->data, (u_char *) word, len) == 0;
}


/* The first variable of text that only repeats what the client wrote, or
 * len 0. *n counts the variables. */
static ngx_str_t
ngx_http_aegis_trusted_repeats(ngx_str_t *text, ngx_uint_t *n)
{
    size_t      i, k;
    ngx_str_t   name;

    /* those that end in _ stand for all that begin like it */
    static const char *const  hearsay[] = {
        "http_", "arg_", "cookie_", "proxy_protocol_tlv_", "args", "is_args",
        "query_string", "uri", "document_uri", "request_uri", "request",
        "request_body", "request_filename", "request_method", "host", "content_type",
        "content_length", "remote_user", "remote_passwd", "proxy_add_x_forwarded_for"
    };

    for (i = 0; i < text->len; i++) {
        if (text->data[i] != '$') {
            continue;
        }

        (*n)++;
        i += (i + 1 < text->len && text->data[i + 1] == '{') ? 2 : 1;
        name.data = text->data + i;

        while (i < text->len
               && (text->data[i] == '_' || isalnum(text->data[i])))
        {
            i++;
        }

        name.len = text->data + i - name.data;
        i--;

        for (k = 0; k < sizeof(hearsay) / sizeof(hearsay[0]); k++) {
            if (ngx_http_aegis_trusted_is(&name, hearsay[k])) {
                return name;
            }
        }
    }

    name.len = 0;
    name.data = NULL;

    return name;
}


static ngx_int_t
ngx_http_aegis_trusted_value(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_complex_value_t *cv)
{
    ngx_http_compile_complex_value_t  ccv;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = cv;

    return ngx_http_compile_complex_value(&ccv);
}


char *
ngx_http_aegis_conf_trusted(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value, text, name;
    ngx_uint_t                  i, k, n;
    ngx_http_complex_value_t   *cv[3];
    ngx_http_aegis_loc_conf_t  *lcf = conf;

    static const ngx_str_t  words[] = {
        ngx_string("tenant="), ngx_string("principal="), ngx_string("scopes=")
    };

    if (lcf->trusted) {
        return "is duplicate";
    }

    lcf->trusted = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_trusted_t));
    if (lcf->trusted == NULL) {
        return NGX_CONF_ERROR;
    }

    cv[0] = &lcf->trusted->tenant;
    cv[1] = &lcf->trusted->principal;
    cv[2] = &lcf->trusted->scopes;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        for (k = 0; k < 3; k++) {
            if (value[i].len > words[k].len
                && ngx_strncmp(value[i].data, words[k].data, words[k].len) == 0)
            {
                break;
            }
        }

        if (k == 3 || cv[k]->value.data) {
            return "is tenant=VALUE principal=VALUE scopes=VALUE, each of them once";
        }

        text.data = value[i].data + words[k].len;
        text.len = value[i].len - words[k].len;
        n = 0;
        name = ngx_http_aegis_trusted_repeats(&text, &n);

        if (name.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aegis_trusted_identity: $%V is"
                " what the client wrote, not who it is; use a variable of"
                " auth_request_set", &name);
            return NGX_CONF_ERROR;
        }

        if (k == 1 && n == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aegis_trusted_identity: with a"
                " principal that is no variable everybody would be it");
            return NGX_CONF_ERROR;
        }

        if (ngx_http_aegis_trusted_value(cf, &text, cv[k]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}
