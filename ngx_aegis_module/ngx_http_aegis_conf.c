/*
 * ngx_http_aegis_conf.c: the directives that read a file or check a text. All
 * of it happens while the configuration is read, by the master: a mistake is
 * shown by `nginx -t` with its file and line, and no database is needed.
 */
#include "ngx_http_aegis_stats.h"

#include <openssl/sha.h>

#define NGX_HTTP_AEGIS_MAX_FILE  (4 * 1024 * 1024)


ngx_int_t
ngx_http_aegis_conf_read(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    off_t            size;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_int_t        rc;
    ngx_file_info_t  fi;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "cannot open \"%V\"", name);
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "cannot read \"%V\"", name);
        goto done;
    }

    size = ngx_file_size(&fi);
    if (size > NGX_HTTP_AEGIS_MAX_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" is larger than 4 MiB", name);
        goto done;
    }

    text->data = ngx_pnalloc(cf->pool, size + 1);
    if (text->data == NULL) {
        goto done;
    }

    n = ngx_read_fd(fd, text->data, size);
    if (n != size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "cannot read \"%V\"", name);
        goto done;
    }

    text->data[n] = '\0';
    text->len = n;
    rc = NGX_OK;

done:

    ngx_close_file(fd);

    return rc;
}


static void
ngx_http_aegis_conf_forget(void *data)
{
    ngx_str_t  *text = data;

    explicit_bzero(text->data, text->len);
}


/* A file's one line; its bytes do not outlive the configuration. */
ngx_int_t
ngx_http_aegis_conf_secret(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_str_t));

    if (cln == NULL || ngx_http_aegis_conf_read(cf, name, text) != NGX_OK) {
        return NGX_ERROR;
    }

    *(ngx_str_t *) cln->data = *text;
    cln->handler = ngx_http_aegis_conf_forget;

    while (text->len && (text->data[text->len - 1] == '\n'
                         || text->data[text->len - 1] == '\r'))
    {
        text->data[--text->len] = '\0';
    }

    return NGX_OK;
}


char *
ngx_http_aegis_conf_cursor(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value, text;
    ngx_http_aegis_srv_conf_t  *scf = conf;

    if (scf->cursor_secret.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_aegis_conf_secret(cf, &value[1], &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (text.len < 16) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_cursor_secret: \"%V\" holds less than 16 bytes",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    scf->cursor_secret = text;

    return NGX_CONF_OK;
}


/* It is shown to everybody: a file that was named by mistake must not be. */
static ngx_int_t
ngx_http_aegis_conf_is_openapi(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    json_t        *doc;
    ngx_int_t      rc;
    json_error_t   err;

    doc = json_loadb((char *) text->data, text->len, 0, &err);
    if (doc == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_openapi: %V:%d: this is no JSON; is it the right file?",
                           name, err.line);
        return NGX_ERROR;
    }

    rc = json_is_string(json_object_get(doc, "openapi")) ? NGX_OK : NGX_ERROR;
    json_decref(doc);

    if (rc != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_openapi: \"%V\" is no OpenAPI description; it is "
                           "docs/openapi.json that belongs here", name);
    }

    return rc;
}


char *
ngx_http_aegis_conf_openapi(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                      hash[SHA256_DIGEST_LENGTH], *p;
    ngx_str_t                  *value;
    ngx_http_aegis_file_t      *file;
    ngx_http_aegis_srv_conf_t  *scf = conf;

    if (scf->openapi) {
        return "is duplicate";
    }

    value = cf->args->elts;

    file = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_file_t));
    p = ngx_pnalloc(cf->pool, 35);

    if (file == NULL || p == NULL
        || ngx_http_aegis_conf_read(cf, &value[1], &file->body) != NGX_OK
        || ngx_http_aegis_conf_is_openapi(cf, &value[1], &file->body) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    SHA256(file->body.data, file->body.len, hash);

    file->etag.data = p;
    *p++ = '"';
    p = ngx_hex_dump(p, hash, 16);
    *p++ = '"';
    *p = '\0';
    file->etag.len = p - file->etag.data;

    scf->openapi = file;

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                      *p;
    ssize_t                      size;
    ngx_str_t                   *value, name, s;
    ngx_http_aegis_main_conf_t  *amcf = conf;

    if (amcf->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    p = ngx_strlchr(value[1].data, value[1].data + value[1].len, ':');
    if (p == NULL || p == value[1].data) {
        return "must be <name>:<size>, such as aegis:256k";
    }

    name.data = value[1].data;
    name.len = p - name.data;
    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);
    if (size == NGX_ERROR || size < NGX_HTTP_AEGIS_ZONE_MIN) {
        return "needs a size of at least 128k, such as aegis:256k";
    }

    amcf->zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_aegis_module);
    if (amcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    amcf->zone->init = ngx_http_aegis_stats_init_zone;

    return NGX_CONF_OK;
}


/* Of two that would answer a location nginx takes the last, and says nothing. */
static char *
ngx_http_aegis_conf_answer(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "is in a location that another directive (proxy_pass, "
               "aegis_problem, ...) answers already";
    }

    clcf->handler = handler;

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                       *rv;
    ngx_http_aegis_loc_conf_t  *lcf = conf;

    rv = ngx_conf_set_flag_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK || !lcf->enable) {
        return rv;
    }

    lcf->file = cf->conf_file->file.name.data;
    lcf->line = cf->conf_file->line;

    return ngx_http_aegis_conf_answer(cf, ngx_http_aegis_handler);
}


char *
ngx_http_aegis_conf_problem(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_aegis_loc_conf_t  *lcf = conf;

    if (lcf->problem) {
        return "is duplicate";
    }

    lcf->problem = 1;

    /* a body that was too large is so here too, when it comes by HTTP/2: it is
     * thrown away, but nginx looks at its length again */
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    if (clcf->client_max_body_size == NGX_CONF_UNSET) {
        clcf->client_max_body_size = 0;
    }

    return ngx_http_aegis_conf_answer(cf, ngx_http_aegis_problem_handler);
}
