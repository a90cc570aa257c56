/*
 * ngx_http_aegis_conf_keys.c: the files that say who may come in, one line for
 * each: API keys (aegis_keys), client certificates (aegis_certs). Every mistake
 * is shown by `nginx -t` with the file and the line, and without the words of
 * the line: a key that was put where its hash belongs must not go to a log.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_MIN_ID  3
#define NGX_HTTP_AEGIS_MAX_ID  24

typedef struct {
    ngx_conf_t              *cf;
    ngx_str_t                directive;
    ngx_str_t                file;
    ngx_uint_t               line;
    u_char                  *pos;
    u_char                  *last;
    ngx_http_aegis_list_t   *list;
} ngx_http_aegis_line_t;

typedef char *(*ngx_http_aegis_line_pt)(ngx_http_aegis_line_t *l);


static char * ngx_cdecl
ngx_http_aegis_line_wrong(ngx_http_aegis_line_t *l, const char *fmt, ...)
{
    u_char    text[256], *p;
    va_list   args;

    va_start(args, fmt);
    p = ngx_vslprintf(text, text + sizeof(text), fmt, args);
    va_end(args);

    ngx_conf_log_error(NGX_LOG_EMERG, l->cf, 0, "%V: %V:%ui: %*s", &l->directive,
                       &l->file, l->line, (size_t) (p - text), text);

    return NGX_CONF_ERROR;
}


/* One word; 0 when there is no more. Blanks between double quotes belong to it,
 * a quote after a backslash does not end it. */
static ngx_uint_t
ngx_http_aegis_line_word(ngx_http_aegis_line_t *l, ngx_str_t *word)
{
    u_char      *p, *to;
    ngx_uint_t   quoted;

    for (p = l->pos; p < l->last && (*p == ' ' || *p == '\t' || *p == '\r'); p++) {
        /* void */
    }

    word->data = to = p;
    quoted = 0;

    for ( /* void */ ; p < l->last; p++) {
        if (!quoted && (*p == ' ' || *p == '\t' || *p == '\r')) {
            break;
        }

        if (*p == '"' && (p == word->data || p[-1] != '\\')) {
            quoted = !quoted;
            continue;
        }

        *to++ = *p;
    }

    word->len = to - word->data;
    l->pos = p;

    return word->len != 0;
}


static ngx_int_t
ngx_http_aegis_line_hash(ngx_str_t *hex, u_char hash[32])
{
    ngx_int_t   b;
    ngx_uint_t  i;

    if (hex->len != 64) {
        return NGX_ERROR;
    }

    for (i = 0; i < 32; i++) {
        b = ngx_hextoi(hex->data + 2 * i, 2);
        if (b == NGX_ERROR) {
            return NGX_ERROR;
        }
        hash[i] = (u_char) b;
    }

    return NGX_OK;
}


static char *
ngx_http_aegis_line_scopes(ngx_http_aegis_line_t *l, ngx_str_t *word)
{
    u_char      *p, *last, *end;
    size_t       i;
    aegis_str_t  scope;

    last = word->data + word->len;

    for (p = word->data; p <= last; p = end + 1) {
        end = ngx_strlchr(p, last, ',');
        if (end == NULL) {
            end = last;
        }

        scope.data = (const char *) p;
        scope.len = end - p;

        if (aegis_scope_known(scope)) {
            continue;
        }

        for (i = 0; i < scope.len; i++) {
            if (strchr("abcdefghijklmnopqrstuvwxyz_:*", scope.data[i]) == NULL) {
                break;
            }
        }

        if (scope.len == 0 || i < scope.len || scope.len > 64) {
            return ngx_http_aegis_line_wrong(l, "scopes are words joined by colons, and"
                                             " commas without blanks between them");
        }

        return ngx_http_aegis_line_wrong(l, "there is no scope \"%*s\"; docs/generated/"
                                         "routes.md lists them", scope.len, scope.data);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_aegis_line_time(ngx_http_aegis_line_t *l, ngx_str_t *value, const char *name,
    time_t *to)
{
    int64_t  s;

    if (*to) {
        return ngx_http_aegis_line_wrong(l, "%s is there twice", name);
    }

    if (!aegis_time_parse(ngx_http_aegis_view(*value), &s) || s <= 0) {
        return ngx_http_aegis_line_wrong(l, "%s is not an RFC 3339 time like"
                                         " 2026-11-21T07:00:00Z", name);
    }

    *to = (time_t) s;

    return NGX_CONF_OK;
}


/* not_before=, not_after= behind the scopes. */
static char *
ngx_http_aegis_line_times(ngx_http_aegis_line_t *l, ngx_http_aegis_entry_t *e)
{
    char       *rv;
    size_t      len;
    ngx_str_t   word, value;

    while (ngx_http_aegis_line_word(l, &word)) {

        if (word.len > 11 && ngx_strncmp(word.data, "not_before=", 11) == 0) {
            len = 11;
        } else if (word.len > 10 && ngx_strncmp(word.data, "not_after=", 10) == 0) {
            len = 10;
        } else {
            return ngx_http_aegis_line_wrong(l, "behind the scopes there may be"
                                             " not_before=TIME and not_after=TIME only");
        }

        value.data = word.data + len;
        value.len = word.len - len;

        rv = len == 11
             ? ngx_http_aegis_line_time(l, &value, "not_before", &e->not_before)
             : ngx_http_aegis_line_time(l, &value, "not_after", &e->not_after);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (e->not_before && e->not_after && e->not_before >= e->not_after) {
        return ngx_http_aegis_line_wrong(l, "not_after is not after not_before");
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_aegis_line_copy(ngx_http_aegis_line_t *l, ngx_str_t *to, ngx_str_t *from)
{
    to->len = from->len;
    to->data = ngx_pcalloc(l->cf->pool, from->len + 1);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(to->data, from->data, from->len);

    return NGX_OK;
}


/* <tenant> <principal> <scopes> [times], and the entry into the list as name. */
static char *
ngx_http_aegis_line_who(ngx_http_aegis_line_t *l, ngx_http_aegis_entry_t *e,
    ngx_str_t *name, const char *form)
{
    char       *rv;
    ngx_str_t   tenant, principal, scopes;

    if (!ngx_http_aegis_line_word(l, &tenant)
        || !ngx_http_aegis_line_word(l, &principal)
        || !ngx_http_aegis_line_word(l, &scopes))
    {
        return ngx_http_aegis_line_wrong(l, "a line is %s <tenant> <principal>"
                   " <scope>[,<scope>...] [not_before=TIME] [not_after=TIME]", form);
    }

    if (!ngx_http_aegis_name_valid(&tenant, NGX_HTTP_AEGIS_MAX_TENANT)
        || !ngx_http_aegis_name_valid(&principal, NGX_HTTP_AEGIS_MAX_PRINCIPAL))
    {
        return ngx_http_aegis_line_wrong(l, "a tenant has at most 63, a principal at"
                                         " most 128 characters, printable ASCII");
    }

    if (aegis_principal_reserved(ngx_http_aegis_view(principal))) {
        return ngx_http_aegis_line_wrong(l, "a principal that begins with aegis: would be"
                                         " taken for a worker");
    }

    rv = ngx_http_aegis_line_scopes(l, &scopes);
    if (rv == NGX_CONF_OK) {
        rv = ngx_http_aegis_line_times(l, e);
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_aegis_entry(l->list, *name)) {
        return ngx_http_aegis_line_wrong(l, "this one is there twice");
    }

    if (ngx_http_aegis_line_copy(l, &e->node.str, name) != NGX_OK
        || ngx_http_aegis_line_copy(l, &e->who.tenant, &tenant) != NGX_OK
        || ngx_http_aegis_line_copy(l, &e->who.principal, &principal) != NGX_OK
        || ngx_http_aegis_line_copy(l, &e->who.scopes, &scopes) != NGX_OK)
    {
        return ngx_http_aegis_line_wrong(l, "no memory");
    }

    e->node.node.key = ngx_murmur_hash2(name->data, name->len);
    ngx_rbtree_insert(&l->list->tree, &e->node.node);

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_aegis_line_is_id(ngx_str_t *id)
{
    size_t  i;

    for (i = 0; i < id->len; i++) {
        if (!ngx_http_aegis_key_id_char(id->data[i])) {
            return 0;
        }
    }

    return id->len >= NGX_HTTP_AEGIS_MIN_ID && id->len <= NGX_HTTP_AEGIS_MAX_ID;
}


/* A key by its id; or by its hash alone, which is what a token has that is not
 * of the form aegis_<id>_<secret>. */
static char *
ngx_http_aegis_line_key(ngx_http_aegis_line_t *l)
{
    char                    *rv;
    ngx_str_t                id, hash, name;
    ngx_http_aegis_entry_t  *e;

    static const char  form[] = "<id> <sha256 of the secret, hex>";

    e = ngx_pcalloc(l->cf->pool, sizeof(ngx_http_aegis_entry_t));
    if (e == NULL) {
        return ngx_http_aegis_line_wrong(l, "no memory");
    }

    ngx_http_aegis_line_word(l, &id);
    e->who.method = "key";

    if (id.len == 64 && ngx_http_aegis_line_hash(&id, e->hash) == NGX_OK) {
        name.data = e->hash;
        name.len = sizeof(e->hash);
        rv = ngx_http_aegis_line_who(l, e, &name, "<sha256 of the token, hex>");

        /* the first digits tell keys apart in a log, and betray nothing */
        e->who.id.data = id.data;
        e->who.id.len = 12;

        return rv;
    }

    if (id.len > 6 && ngx_strncmp(id.data, "aegis_", 6) == 0) {
        return ngx_http_aegis_line_wrong(l, "here stands a token; `aegisctl key hash`"
                                         " makes the line for it");
    }

    if (!ngx_http_aegis_line_is_id(&id)) {
        return ngx_http_aegis_line_wrong(l, "an id is 3 to 24 of a-z, 0-9 and -, or the"
                                         " line begins with 64 hex digits");
    }

    if (!ngx_http_aegis_line_word(l, &hash)
        || ngx_http_aegis_line_hash(&hash, e->hash) != NGX_OK)
    {
        return ngx_http_aegis_line_wrong(l, "behind the id there must be the sha256 of"
                                         " the secret, 64 hex digits");
    }

    rv = ngx_http_aegis_line_who(l, e, &id, form);
    e->who.id = e->node.str;

    return rv;
}


/* sha256:<fingerprint, with or without colons>, uri:<a URI of the certificate's
 * alternative names>, dn:"<subject as of RFC 2253>". */
static char *
ngx_http_aegis_line_cert(ngx_http_aegis_line_t *l)
{
    char                    *rv;
    size_t                   i;
    u_char                  *p;
    ngx_str_t                name, hex;
    ngx_http_aegis_entry_t  *e;

    e = ngx_pcalloc(l->cf->pool, sizeof(ngx_http_aegis_entry_t));
    if (e == NULL) {
        return ngx_http_aegis_line_wrong(l, "no memory");
    }

    ngx_http_aegis_line_word(l, &name);
    e->who.method = "mtls";

    if (name.len > 7 && ngx_strncmp(name.data, "sha256:", 7) == 0) {
        p = name.data + 7;

        for (i = 7; i < name.len; i++) {
            if (name.data[i] != ':') {
                *p++ = ngx_tolower(name.data[i]);
            }
        }

        name.len = p - name.data;
        hex.data = name.data + 7;
        hex.len = name.len - 7;

        if (ngx_http_aegis_line_hash(&hex, e->hash) != NGX_OK) {
            return ngx_http_aegis_line_wrong(l, "sha256: is followed by the 64 hex"
                                             " digits of the certificate's fingerprint");
        }

    } else if (!(name.len > 4 && ngx_strncmp(name.data, "uri:", 4) == 0)
               && !(name.len > 3 && ngx_strncmp(name.data, "dn:", 3) == 0))
    {
        return ngx_http_aegis_line_wrong(l, "a line begins with sha256:<fingerprint>,"
                                         " uri:<name> or dn:\"<subject>\"");
    }

    rv = ngx_http_aegis_line_who(l, e, &name, "<certificate>");

    e->who.id = e->node.str;
    e->who.id.len = ngx_min(e->who.id.len, 128);

    return rv;
}


static char *
ngx_http_aegis_lines(ngx_conf_t *cf, ngx_http_aegis_list_t **list,
    ngx_http_aegis_line_pt one)
{
    u_char                 *p, *end, *last;
    ngx_str_t              *value, text;
    ngx_http_aegis_line_t   l;

    if (*list) {
        return "is duplicate";
    }

    value = cf->args->elts;

    *list = ngx_palloc(cf->pool, sizeof(ngx_http_aegis_list_t));
    if (*list == NULL || ngx_http_aegis_conf_read(cf, &value[1], &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_rbtree_init(&(*list)->tree, &(*list)->sentinel, ngx_str_rbtree_insert_value);

    l.cf = cf;
    l.directive = value[0];
    l.file = value[1];
    l.line = 0;
    l.list = *list;

    last = text.data + text.len;

    for (p = text.data; p < last; p = end + 1) {
        l.line++;

        end = ngx_strlchr(p, last, '\n');
        if (end == NULL) {
            end = last;
        }

        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) {
            p++;
        }

        if (p == end || *p == '#') {
            continue;
        }

        l.pos = p;
        l.last = end;

        if (one(&l) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aegis_srv_conf_t  *scf = conf;

    return ngx_http_aegis_lines(cf, &scf->keys, ngx_http_aegis_line_key);
}


char *
ngx_http_aegis_conf_certs(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_aegis_srv_conf_t  *scf = conf;

    return ngx_http_aegis_lines(cf, &scf->certs, ngx_http_aegis_line_cert);
}
