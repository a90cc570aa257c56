/*
 * ngx_http_aegis_conf_jwt.c: the directives aegis_jwt and aegis_jwks. Like every
 * mistake in a configuration, theirs are shown by `nginx -t`: a key set in a file
 * is read and judged there; a URL is not asked.
 */
#include "ngx_http_aegis_jwt.h"

#define NGX_HTTP_AEGIS_JWT_LEEWAY_MAX  600

/* What a name=value of a directive is written to. */
typedef struct {
    ngx_str_t    name;
    ngx_uint_t   seconds;                   /* else text */
    time_t       least;
    time_t       most;
    void        *to;                        /* time_t or ngx_str_t */
} ngx_http_aegis_param_t;


/* NGX_CONF_ERROR was logged. */
static char *
ngx_http_aegis_conf_param(ngx_conf_t *cf, ngx_str_t *arg, ngx_http_aegis_param_t *p)
{
    time_t     t;
    ngx_str_t  value;

    for ( /* void */ ; p->name.len; p++) {

        if (arg->len <= p->name.len || arg->data[p->name.len] != '='
            || ngx_strncmp(arg->data, p->name.data, p->name.len) != 0)
        {
            continue;
        }

        value.data = arg->data + p->name.len + 1;
        value.len = arg->len - p->name.len - 1;

        if (!p->seconds && value.len) {
            *(ngx_str_t *) p->to = value;
            return NGX_CONF_OK;
        }

        t = p->seconds ? ngx_parse_time(&value, 1) : (time_t) NGX_ERROR;

        if (t == (time_t) NGX_ERROR || t < p->least || t > p->most) {
            break;
        }

        *(time_t *) p->to = t;
        return NGX_CONF_OK;
    }

    if (p->name.len && p->seconds) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": %V is a time"
                           " of %T to %T seconds", arg, &p->name, p->least, p->most);
    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"", arg);
    }

    return NGX_CONF_ERROR;
}


static char *
ngx_http_aegis_conf_algs(ngx_conf_t *cf, ngx_str_t *text, unsigned *ret_algs)
{
    u_char       *p, *last, *end;
    unsigned      algs;
    aegis_jwa_t   alg;
    aegis_str_t   name;

    algs = 0;
    last = text->data + text->len;

    for (p = text->data; p <= last; p = end + 1) {
        end = ngx_strlchr(p, last, ',');
        end = end ? end : last;

        name.data = (char *) p;
        name.len = end - p;
        alg = aegis_jwa_by_name(name);

        if (alg == AEGIS_N_JWAS) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "algs takes RS256, ES256 and EdDSA,"
                               " not \"%*s\"", end - p, p);
            return NGX_CONF_ERROR;
        }

        algs |= 1u << alg;
    }

    *ret_algs = algs;

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_jwt(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    time_t                      leeway = 60;
    ngx_str_t                  *value, issuer, audience;
    ngx_str_t                   algs = ngx_string("RS256,ES256,EdDSA");
    ngx_str_t                   tenant = ngx_string("tenant");
    ngx_str_t                   principal = ngx_string("sub");
    ngx_str_t                   scope = ngx_string("scope");
    ngx_uint_t                  i;
    ngx_http_aegis_jwt_t       *jwt;
    ngx_http_aegis_srv_conf_t  *scf = conf;

    ngx_http_aegis_param_t  params[] = {
        { ngx_string("issuer"), 0, 0, 0, &issuer },
        { ngx_string("audience"), 0, 0, 0, &audience },
        { ngx_string("algs"), 0, 0, 0, &algs },
        { ngx_string("tenant_claim"), 0, 0, 0, &tenant },
        { ngx_string("principal_claim"), 0, 0, 0, &principal },
        { ngx_string("scope_claim"), 0, 0, 0, &scope },
        { ngx_string("leeway"), 1, 0, NGX_HTTP_AEGIS_JWT_LEEWAY_MAX, &leeway },
        { ngx_null_string, 0, 0, 0, NULL }
    };

    if (scf->jwt) {
        return "is duplicate";
    }

    ngx_str_null(&issuer);
    ngx_str_null(&audience);
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_aegis_conf_param(cf, &value[i], params) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (issuer.len == 0 || audience.len == 0) {
        return "needs issuer= and audience=: a token for somebody else is none for us";
    }

    jwt = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_jwt_t));
    if (jwt == NULL) {
        return NGX_CONF_ERROR;
    }

    /* nginx ends each argument with a NUL */
    jwt->policy.issuer = ngx_http_aegis_view(issuer);
    jwt->policy.audience = ngx_http_aegis_view(audience);
    jwt->policy.leeway = leeway;
    jwt->policy.tenant_claim = (char *) tenant.data;
    jwt->policy.principal_claim = (char *) principal.data;
    jwt->policy.scope_claim = (char *) scope.data;

    if (ngx_http_aegis_conf_algs(cf, &algs, &jwt->policy.algs) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    scf->jwt = jwt;

    return NGX_CONF_OK;
}


/* https, a host, and no password that -T would show. */
static ngx_uint_t
ngx_http_aegis_conf_is_https(ngx_str_t *url)
{
    u_char  *p, *last, *end;

    last = url->data + url->len;
    p = url->data + sizeof("https://") - 1;

    for (end = p; end < last && *end != '/' && *end != '?' && *end != '#'; end++) {
        if (*end == '@') {
            return 0;
        }
    }

    if (end == p) {
        return 0;
    }

    for ( /* void */ ; p < last; p++) {
        if (*p <= ' ' || *p > '~') {
            return 0;
        }
    }

    return 1;
}


static char *
ngx_http_aegis_conf_jwks_url(ngx_conf_t *cf, ngx_http_aegis_jwks_t *jwks)
{
    u_char       hash[AEGIS_SHA256_LEN], *p;
    size_t       size;
    ngx_str_t    name;
    aegis_str_t  parts[3];

    if (!ngx_http_aegis_conf_is_https(&jwks->source)) {
        return "takes an https URL without a user name or password in it";
    }

    parts[0] = ngx_http_aegis_view(jwks->source);
    parts[1] = aegis_str("\n");
    parts[2] = ngx_http_aegis_view(jwks->ca);
    aegis_sha256(parts, 3, hash);

    name.len = sizeof("aegis_jwks:") - 1 + 32;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_cpymem(name.data, "aegis_jwks:", sizeof("aegis_jwks:") - 1);
    ngx_hex_dump(p, hash, 16);

    size = sizeof(ngx_http_aegis_jwks_shared_t) + 16 * ngx_pagesize;

    jwks->zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_aegis_module);
    if (jwks->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    jwks->zone->init = ngx_http_aegis_jwks_init_zone;

    return NGX_CONF_OK;
}


static char *
ngx_http_aegis_conf_jwks_file(ngx_conf_t *cf, ngx_http_aegis_jwks_t *jwks)
{
    ngx_http_aegis_jwks_look_t  look;

    if (ngx_conf_full_name(cf->cycle, &jwks->source, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&look, sizeof(look));
    look.file = (char *) jwks->source.data;

    ngx_http_aegis_jwks_look(&look);

    if (look.result != NGX_HTTP_AEGIS_JWKS_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aegis_jwks: \"%V\": %s",
                           &jwks->source, look.error);
        return NGX_CONF_ERROR;
    }

    aegis_jwks_free(look.keys);
    free(look.text);

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_jwks(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    time_t                       timeout = 3;
    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_aegis_jwks_t       *jwks, **slot;
    ngx_http_aegis_srv_conf_t   *scf = conf;
    ngx_http_aegis_main_conf_t  *amcf;

    if (scf->jwks) {
        return "is duplicate";
    }

    value = cf->args->elts;
    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aegis_module);

    jwks = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_jwks_t));
    slot = ngx_array_push(&amcf->jwks);

    if (jwks == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = jwks;
    jwks->source = value[1];
    jwks->is_url = ngx_strstr(jwks->source.data, "://") != NULL;
    jwks->refresh = jwks->is_url ? 300 : 10;
    jwks->early = 10;
    jwks->max_stale = 3600;

    ngx_http_aegis_param_t  params[] = {
        { ngx_string("ca"), 0, 0, 0, &jwks->ca },
        { ngx_string("refresh"), 1, 1, 86400, &jwks->refresh },
        { ngx_string("early"), 1, 1, 3600, &jwks->early },
        { ngx_string("max_stale"), 1, 1, 604800, &jwks->max_stale },
        { ngx_string("timeout"), 1, 1, 30, &timeout },
        { ngx_null_string, 0, 0, 0, NULL }
    };

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_aegis_conf_param(cf, &value[i], params) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (jwks->max_stale < jwks->refresh) {
        return "needs a max_stale that is not less than refresh";
    }

    if (jwks->is_url && ngx_strncmp(jwks->source.data, "https://", 8) != 0) {
        return "takes a file or an https URL";
    }

    if (jwks->ca.len && (!jwks->is_url
                         || ngx_conf_full_name(cf->cycle, &jwks->ca, 1) != NGX_OK))
    {
        return "takes ca= with a URL only";
    }

    jwks->timeout = timeout * 1000;
    jwks->pool = ngx_thread_pool_add(cf, NULL);
    if (jwks->pool == NULL) {
        return NGX_CONF_ERROR;
    }

    scf->jwks = jwks;

    return jwks->is_url ? ngx_http_aegis_conf_jwks_url(cf, jwks)
                        : ngx_http_aegis_conf_jwks_file(cf, jwks);
}


/* "aegis on" in a server with this configuration. */
const char *
ngx_http_aegis_conf_jwt_use(ngx_http_aegis_srv_conf_t *scf)
{
    if ((scf->jwt == NULL) != (scf->jwks == NULL)) {
        return scf->jwt ? "aegis_jwks beside aegis_jwt" : "aegis_jwt beside aegis_jwks";
    }

    if (scf->jwks) {
        scf->jwks->used = 1;
    }

    return NULL;
}
