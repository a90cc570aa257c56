/*
 * ngx_http_aegis_conf.c: the directives that read a file or check a text. All
 * of it happens while the configuration is read, by the master: a mistake is
 * shown by `nginx -t` with its file and line, and no database is needed.
 */
#include "ngx_http_aegis_stats.h"

#include <arpa/inet.h>
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


char *
ngx_http_aegis_conf_cursor(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value, text;
    ngx_http_aegis_srv_conf_t  *scf = conf;

    if (scf->cursor_secret.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_aegis_conf_read(cf, &value[1], &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (text.len && (text.data[text.len - 1] == '\n'
                        || text.data[text.len - 1] == '\r'))
    {
        text.len--;
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


/* host may be an address or the folder of a socket: libpq would look a name up
 * on the event loop, and all requests would wait for the name server. */
static ngx_uint_t
ngx_http_aegis_conf_is_address(const char *hosts)
{
    char         one[64];
    size_t       len;
    const char  *p, *end;

    for (p = hosts; /* void */ ; p = end + 1) {
        end = strchr(p, ',');
        len = end ? (size_t) (end - p) : ngx_strlen(p);

        if (len && *p != '/' && *p != '@') {
            if (len >= sizeof(one)) {
                return 0;
            }

            ngx_memcpy(one, p, len);
            one[len] = '\0';

            if (inet_pton(AF_INET, one, &(struct in_addr) { 0 }) != 1
                && inet_pton(AF_INET6, one, &(struct in6_addr) { 0 }) != 1)
            {
                return 0;
            }
        }

        if (end == NULL) {
            return 1;
        }
    }
}


static ngx_uint_t
ngx_http_aegis_conf_is_port(const char *ports)
{
    size_t       len;
    ngx_int_t    n;
    const char  *p;

    for (p = ports; /* void */ ; p += len + 1) {
        len = strcspn(p, ",");
        n = ngx_atoi((u_char *) p, len);

        if (len && (n < 1 || n > 65535)) {
            return 0;
        }

        if (p[len] == '\0') {
            return 1;
        }
    }
}


/* Settings of ours that a connection string may override. */
static const char *const  ngx_http_aegis_defaults[][2] = {
    { "application_name",    "aegis-gateway" },
    { "client_encoding",     "UTF8" },
    { "gssencmode",          "disable" },
    { "connect_timeout",     "5" },
    { "tcp_user_timeout",    "5000" },
    { "keepalives",          "1" },
    { "keepalives_idle",     "30" },
    { "keepalives_interval", "10" },
    { "keepalives_count",    "3" }
};

#define NGX_HTTP_AEGIS_N_DEFAULTS                                              \
    (sizeof(ngx_http_aegis_defaults) / sizeof(ngx_http_aegis_defaults[0]))


static ngx_int_t
ngx_http_aegis_conf_options(ngx_conf_t *cf, ngx_http_aegis_db_t *db,
    PQconninfoOption *options)
{
    size_t             i, n;
    ngx_str_t          s;
    PQconninfoOption  *o;

    for (n = 0, o = options; o->keyword; o++) {
        n++;
    }

    n += NGX_HTTP_AEGIS_N_DEFAULTS + 1;
    db->names = ngx_pcalloc(cf->pool, n * sizeof(char *));
    db->values = ngx_pcalloc(cf->pool, n * sizeof(char *));
    if (db->names == NULL || db->values == NULL) {
        return NGX_ERROR;
    }

    /* of two with one name, libpq takes the last */
    for (n = 0; n < NGX_HTTP_AEGIS_N_DEFAULTS; n++) {
        db->names[n] = (char *) ngx_http_aegis_defaults[n][0];
        db->values[n] = (char *) ngx_http_aegis_defaults[n][1];
    }

    for (o = options; o->keyword; o++) {
        if (o->val == NULL) {
            continue;
        }

        for (i = 0; i < 2; i++) {
            s.data = (u_char *) (i ? o->val : o->keyword);
            s.len = ngx_strlen(s.data) + 1;
            s.data = ngx_pstrdup(cf->pool, &s);
            if (s.data == NULL) {
                return NGX_ERROR;
            }

            if (i) {
                db->values[n] = (char *) s.data;
            } else {
                db->names[n] = (char *) s.data;
            }
        }

        n++;
    }

    return NGX_OK;
}


char *
ngx_http_aegis_conf_database(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                        *err;
    ngx_int_t                    rc;
    ngx_str_t                   *value;
    const char                  *host, *hostaddr, *port;
    PQconninfoOption            *options, *o;
    ngx_http_aegis_db_t         *db, **slot;
    ngx_http_aegis_srv_conf_t   *scf = conf;
    ngx_http_aegis_main_conf_t  *amcf;

    if (scf->db) {
        return "is duplicate";
    }

    value = cf->args->elts;
    err = NULL;

    options = PQconninfoParse((char *) value[1].data, &err);
    if (options == NULL) {
        /* what libpq says repeats a part of it, which may be the password */
        PQfreemem(err);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
            "aegis_database: this is no connection string of PostgreSQL: write "
            "keyword=value words, a value with blanks in single quotes, or a "
            "postgresql:// URI; psql says more about the same string");
        return NGX_CONF_ERROR;
    }

    host = NULL;
    hostaddr = NULL;
    port = "";

    for (o = options; o->keyword; o++) {
        if (ngx_strcmp(o->keyword, "host") == 0) {
            host = o->val;
        } else if (ngx_strcmp(o->keyword, "hostaddr") == 0) {
            hostaddr = o->val;
        } else if (ngx_strcmp(o->keyword, "port") == 0 && o->val) {
            port = o->val;
        }
    }

    if (!ngx_http_aegis_conf_is_port(port)) {
        PQconninfoFree(options);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_database: the port must be a number up to 65535");
        return NGX_CONF_ERROR;
    }

    if (host && !(hostaddr && *hostaddr) && !ngx_http_aegis_conf_is_address(host)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
            "aegis_database: host=%s is a name, which would be looked up while "
            "requests wait; give hostaddr=, an IP address, or the folder of a "
            "unix socket", host);
        PQconninfoFree(options);
        return NGX_CONF_ERROR;
    }

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aegis_module);

    db = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_db_t));
    slot = ngx_array_push(&amcf->dbs);

    rc = db && slot ? ngx_http_aegis_conf_options(cf, db, options) : NGX_ERROR;

    PQconninfoFree(options);

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    *slot = db;
    db->conf = scf;
    scf->db = db;

    return NGX_CONF_OK;
}
