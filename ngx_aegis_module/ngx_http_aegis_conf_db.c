/*
 * ngx_http_aegis_conf_db.c: aegis_database and its password. libpq reads the
 * connection string while the configuration is read; what would block the event
 * loop later (a name to look up) is refused here, and what it says about a wrong
 * string is not repeated, since the string may hold a password.
 */
#include "ngx_http_aegis_module.h"

#include <arpa/inet.h>


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

/* Several servers: the one that takes writes, and soon the next one when one
 * does not answer. */
#define NGX_HTTP_AEGIS_NEXT_TIMEOUT   1000

#define NGX_HTTP_AEGIS_N_DEFAULTS                                              \
    (sizeof(ngx_http_aegis_defaults) / sizeof(ngx_http_aegis_defaults[0]))


static ngx_uint_t
ngx_http_aegis_conf_count(const char *list)
{
    ngx_uint_t  n;

    for (n = 1; list && *list; list++) {
        n += (*list == ',');
    }

    return n;
}


/* The i-th of a list, the only one of a list of one, NULL: none. */
static ngx_int_t
ngx_http_aegis_conf_nth(ngx_conf_t *cf, const char *list, ngx_uint_t i, char **ret_s)
{
    size_t  len;
    char   *s;

    *ret_s = NULL;

    if (list == NULL) {
        return NGX_OK;
    }

    for (i = ngx_http_aegis_conf_count(list) == 1 ? 0 : i; i; i--) {
        list += strcspn(list, ",");
        list += (*list == ',');
    }

    len = strcspn(list, ",");
    if (len == 0) {
        return NGX_OK;
    }

    s = ngx_pcalloc(cf->pool, len + 1);
    if (s == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(s, list, len);
    *ret_s = s;

    return NGX_OK;
}


static const char *
ngx_http_aegis_conf_option(PQconninfoOption *o, const char *keyword)
{
    for ( /* void */ ; o->keyword; o++) {
        if (ngx_strcmp(o->keyword, keyword) == 0) {
            return o->val;
        }
    }

    return NULL;
}


/* As libpq counts them: hostaddr's list, else host's. */
static ngx_int_t
ngx_http_aegis_conf_servers(ngx_conf_t *cf, ngx_http_aegis_db_t *db,
    PQconninfoOption *options)
{
    ngx_int_t                 seconds;
    ngx_uint_t                i, n, n_ports;
    const char               *host, *hostaddr, *port, *timeout;
    ngx_http_aegis_server_t  *server;

    host = ngx_http_aegis_conf_option(options, "host");
    hostaddr = ngx_http_aegis_conf_option(options, "hostaddr");
    port = ngx_http_aegis_conf_option(options, "port");
    timeout = ngx_http_aegis_conf_option(options, "connect_timeout");

    n = ngx_http_aegis_conf_count(hostaddr && *hostaddr ? hostaddr : host);
    n_ports = ngx_http_aegis_conf_count(port);

    if ((n_ports > 1 && n_ports != n)
        || (hostaddr && *hostaddr && host && ngx_http_aegis_conf_count(host) != n))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "aegis_database: %ui servers, and"
                           " another number of names or ports", n);
        return NGX_ERROR;
    }

    db->servers = ngx_pcalloc(cf->pool, n * sizeof(ngx_http_aegis_server_t));
    if (db->servers == NULL) {
        return NGX_ERROR;
    }

    db->n_servers = n;
    seconds = timeout ? ngx_atoi((u_char *) timeout, ngx_strlen(timeout)) : 0;
    db->connect_timeout = seconds > 0 ? (ngx_msec_t) seconds * 1000
                                      : NGX_HTTP_AEGIS_NEXT_TIMEOUT;

    for (i = 0; i < n; i++) {
        server = &db->servers[i];

        if (ngx_http_aegis_conf_nth(cf, host, i, &server->host) != NGX_OK
            || ngx_http_aegis_conf_nth(cf, hostaddr, i, &server->hostaddr) != NGX_OK
            || ngx_http_aegis_conf_nth(cf, port, i, &server->port) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_aegis_conf_names_server(const char *keyword)
{
    return ngx_strcmp(keyword, "host") == 0 || ngx_strcmp(keyword, "hostaddr") == 0
           || ngx_strcmp(keyword, "port") == 0;
}


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

    /* the password of a file, the session that is asked for, the end */
    n += NGX_HTTP_AEGIS_N_DEFAULTS + 3;

    if (n > NGX_HTTP_AEGIS_MAX_CONNINFO - 4) {
        return NGX_ERROR;
    }

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

    if (db->n_servers > 1) {
        db->names[n] = "target_session_attrs";
        db->values[n++] = "read-write";
    }

    for (o = options; o->keyword; o++) {
        if (o->val == NULL || ngx_http_aegis_conf_names_server(o->keyword)) {
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


/* 1 when there is a password; NGX_ERROR, after a message, when it cannot be used. */
static ngx_int_t
ngx_http_aegis_conf_check(ngx_conf_t *cf, PQconninfoOption *o)
{
    const char  *host, *hostaddr, *port, *password;

    host = NULL;
    hostaddr = NULL;
    port = "";
    password = NULL;

    for ( /* void */ ; o->keyword; o++) {
        if (ngx_strcmp(o->keyword, "host") == 0) {
            host = o->val;
        } else if (ngx_strcmp(o->keyword, "hostaddr") == 0) {
            hostaddr = o->val;
        } else if (ngx_strcmp(o->keyword, "port") == 0 && o->val) {
            port = o->val;
        } else if (ngx_strcmp(o->keyword, "password") == 0) {
            password = o->val;
        }
    }

    if (!ngx_http_aegis_conf_is_port(port)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_database: the port must be a number up to 65535");
        return NGX_ERROR;
    }

    if (host && !(hostaddr && *hostaddr) && !ngx_http_aegis_conf_is_address(host)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
            "aegis_database: host=%s is a name, which would be looked up while "
            "requests wait; give hostaddr=, an IP address, or the folder of a "
            "unix socket", host);
        return NGX_ERROR;
    }

    if (password) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "aegis_database: nginx -T shows this"
                           " password; aegis_database_password_file hides it");
    }

    return password != NULL;
}


char *
ngx_http_aegis_conf_database(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                        *err;
    ngx_int_t                    rc, with_password;
    ngx_str_t                   *value;
    PQconninfoOption            *options;
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

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aegis_module);

    db = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_db_t));
    slot = ngx_array_push(&amcf->dbs);
    with_password = ngx_http_aegis_conf_check(cf, options);

    rc = db && slot && with_password != NGX_ERROR
         && ngx_http_aegis_conf_servers(cf, db, options) == NGX_OK
         ? ngx_http_aegis_conf_options(cf, db, options) : NGX_ERROR;

    PQconninfoFree(options);

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (with_password && scf->password.data) {
        return "has a password, and aegis_database_password_file another";
    }

    *slot = db;
    db->conf = scf;
    db->with_password = with_password;
    scf->db = db;

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_password(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value, text;
    ngx_http_aegis_srv_conf_t  *scf = conf;

    if (scf->password.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_aegis_conf_secret(cf, &value[1], &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (scf->db && scf->db->with_password) {
        return "and a password in aegis_database are one too many";
    }

    if (text.len == 0 || strcspn((char *) text.data, "\r\n") != text.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "aegis_database_password_file: \"%V\" does not hold one"
                           " line with the password", &value[1]);
        return NGX_CONF_ERROR;
    }

    scf->password = text;
    scf->password_in = cf->conf_file->file.name.data;
    scf->password_line = cf->conf_file->line;

    return NGX_CONF_OK;
}


/* After all of the configuration is read, in whatever order it was. */
void
ngx_http_aegis_conf_passwords(ngx_http_aegis_main_conf_t *amcf)
{
    ngx_uint_t             i, k;
    ngx_http_aegis_db_t  **db;

    db = amcf->dbs.elts;

    for (i = 0; i < amcf->dbs.nelts; i++) {
        if (db[i]->conf->password.data == NULL) {
            continue;
        }

        for (k = 0; db[i]->names[k]; k++) { /* void */ }

        db[i]->names[k] = "password";
        db[i]->values[k] = (char *) db[i]->conf->password.data;
    }
}
