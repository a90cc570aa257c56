/*
 * aegis_http_header.c: If-Match, If-None-Match, Accept and Content-Type, as
 * RFC 9110 has them. Its invariant: a header that is not well-formed is never
 * taken for a condition that holds. Declared in aegis_http.h.
 */
#include "aegis_http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define AEGIS_HTTP_MAX_DIGITS  10

/* A place in a comma separated list. */
typedef struct {
    const char  *p;
    const char  *end;
} aegis_http_list_t;


static void
aegis_http_ows(aegis_http_list_t *l)
{
    while (l->p < l->end && (*l->p == ' ' || *l->p == '\t')) {
        l->p++;
    }
}


/*
 * The next entity tag of a list: 1 and its opaque part, 0 at the end, -1 when
 * it is malformed. Empty list elements are skipped (RFC 9110 5.6.1.2).
 */
static int
aegis_http_etag(aegis_http_list_t *l, int *ret_weak, aegis_str_t *ret_tag)
{
    unsigned char  c;

    for ( ;; ) {
        aegis_http_ows(l);
        if (l->p == l->end) {
            return 0;
        }
        if (*l->p != ',') {
            break;
        }
        l->p++;
    }

    *ret_weak = 0;

    if (l->end - l->p >= 2 && l->p[0] == 'W' && l->p[1] == '/') {
        *ret_weak = 1;
        l->p += 2;
    }

    if (l->p == l->end || *l->p != '"') {
        return -1;
    }

    ret_tag->data = ++l->p;

    for ( ;; l->p++) {
        if (l->p == l->end) {
            return -1;
        }

        c = (unsigned char) *l->p;

        if (c == '"') {
            break;
        }

        if (c < 0x21 || c == 0x7f) {
            return -1;
        }
    }

    ret_tag->len = (size_t) (l->p - ret_tag->data);
    l->p++;

    aegis_http_ows(l);

    return l->p == l->end || *l->p == ',' ? 1 : -1;
}


static int
aegis_http_star(aegis_str_t header)
{
    aegis_http_list_t  l = { header.data, header.data + header.len };

    aegis_http_ows(&l);
    if (l.p == l.end || *l.p != '*') {
        return 0;
    }

    l.p++;
    aegis_http_ows(&l);

    return l.p == l.end;
}


/* The opaque part of a tag that we could have sent. */
static int
aegis_http_is_version(aegis_str_t tag)
{
    size_t  i;

    if (tag.len == 0 || tag.len > AEGIS_HTTP_MAX_DIGITS || tag.data[0] == '0') {
        return 0;
    }

    for (i = 0; i < tag.len; i++) {
        if (tag.data[i] < '0' || tag.data[i] > '9') {
            return 0;
        }
    }

    return 1;
}


/* The tags of a list that are versions, as "3,5"; "*" for a star. */
static aegis_code_t
aegis_http_versions(aegis_str_t header, int weak_too, char *out, size_t size)
{
    int                rc, weak;
    size_t             n;
    aegis_str_t        tag;
    aegis_http_list_t  l;

    if (size < 2) {
        return AEGIS_E_PRECOND_INVALID;
    }

    if (aegis_http_star(header)) {
        memcpy(out, "*", 2);
        return AEGIS_E_OK;
    }

    l.p = header.data;
    l.end = header.data + header.len;
    n = 0;

    while ((rc = aegis_http_etag(&l, &weak, &tag)) == 1) {

        if ((weak && !weak_too) || !aegis_http_is_version(tag)) {
            continue;
        }

        if (n + (n != 0) + tag.len + 1 > size) {
            return AEGIS_E_PRECOND_INVALID;
        }

        if (n) {
            out[n++] = ',';
        }

        memcpy(out + n, tag.data, tag.len);
        n += tag.len;
    }

    if (rc == -1) {
        return AEGIS_E_PRECOND_INVALID;
    }

    out[n] = '\0';

    return AEGIS_E_OK;
}


/* Is the number of len digits at p in a list of ours? */
static int
aegis_http_listed(const char *list, const char *p, size_t len)
{
    size_t  n;

    for ( ;; list += n + 1) {
        n = strcspn(list, ",");

        if (n == len && memcmp(list, p, len) == 0) {
            return 1;
        }

        if (list[n] == '\0') {
            return 0;
        }
    }
}


/* Write what is in list and not in without, or all of it with a "!" before each;
 * 0 when it has no room. */
static int
aegis_http_select(const char *list, const char *without, const char *before,
    char *out, size_t size)
{
    int     k;
    size_t  n, len;

    if (size == 0) {
        return 0;
    }

    out[0] = '\0';

    for (n = 0; *list; list += len + (list[len] == ',')) {
        len = strcspn(list, ",");

        if (without && aegis_http_listed(without, list, len)) {
            continue;
        }

        k = snprintf(out + n, size - n, "%s%s%.*s", n ? "," : "", before, (int) len,
                     list);
        if (k < 0 || (size_t) k >= size - n) {
            return 0;
        }

        n += (size_t) k;
    }

    return 1;
}


aegis_code_t
aegis_http_condition(aegis_str_t if_match, aegis_str_t none_match, char *out,
    size_t size)
{
    char          match[512], none[512];
    aegis_code_t  code;

    memcpy(match, "*", 2);
    memcpy(none, "", 1);

    code = if_match.data ? aegis_http_versions(if_match, 0, match, sizeof(match))
                         : AEGIS_E_OK;

    if (code == AEGIS_E_OK && none_match.data) {
        code = aegis_http_versions(none_match, 1, none, sizeof(none));
    }

    if (code != AEGIS_E_OK) {
        return code;
    }

    if (strcmp(none, "*") == 0) {
        /* what exists matches a star */
        match[0] = none[0] = '\0';
    }

    if (strcmp(match, "*") == 0 && none[0]) {
        return aegis_http_select(none, NULL, "!", out, size)
               ? AEGIS_E_OK : AEGIS_E_PRECOND_INVALID;
    }

    return aegis_http_select(match, none, "", out, size)
           ? AEGIS_E_OK : AEGIS_E_PRECOND_INVALID;
}


int
aegis_http_etag_match(aegis_str_t header, aegis_str_t tag, int weak)
{
    int                rc, is_weak, found;
    aegis_str_t        one;
    aegis_http_list_t  l;

    if (header.data == NULL) {
        return 0;
    }

    if (aegis_http_star(header)) {
        return 1;
    }

    l.p = header.data;
    l.end = header.data + header.len;
    found = 0;

    while ((rc = aegis_http_etag(&l, &is_weak, &one)) == 1) {
        found |= (weak || !is_weak) && one.len == tag.len
                 && memcmp(one.data, tag.data, tag.len) == 0;
    }

    return rc == -1 ? -1 : found;
}


static int
aegis_http_is_tchar(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
           || (c && strchr("!#$%&'*+-.^_`|~", c));
}


static aegis_str_t
aegis_http_token(aegis_http_list_t *l)
{
    aegis_str_t  t;

    for (t.data = l->p; l->p < l->end && aegis_http_is_tchar(*l->p); l->p++) {
        /* void */
    }

    t.len = (size_t) (l->p - t.data);

    return t;
}


static int
aegis_http_token_is(aegis_str_t t, const char *name)
{
    return t.len == strlen(name) && strncasecmp(t.data, name, t.len) == 0;
}


/*
 * The next ";name=value": 1, 0 when there is none, -1 when it is malformed. A
 * quoted value comes without its quotes (an escape in it stays).
 */
static int
aegis_http_param(aegis_http_list_t *l, aegis_str_t *name, aegis_str_t *value)
{
    for ( ;; ) {
        aegis_http_ows(l);
        if (l->p == l->end || *l->p != ';') {
            return 0;
        }

        l->p++;
        aegis_http_ows(l);

        if (l->p < l->end && *l->p != ';' && *l->p != ',') {
            break;
        }
    }

    *name = aegis_http_token(l);

    if (name->len == 0 || l->p == l->end || *l->p != '=') {
        return -1;
    }

    l->p++;

    if (l->p == l->end || *l->p != '"') {
        *value = aegis_http_token(l);
        return value->len ? 1 : -1;
    }

    for (value->data = ++l->p; l->p < l->end && *l->p != '"'; l->p++) {
        if (*l->p == '\\' && ++l->p == l->end) {
            return -1;
        }
    }

    if (l->p == l->end) {
        return -1;
    }

    value->len = (size_t) (l->p - value->data);
    l->p++;

    return 1;
}


/* A qvalue in thousandths; -1 when it is none. */
static int
aegis_http_qvalue(aegis_str_t s)
{
    int     q, unit;
    size_t  i;

    if (s.len == 0 || s.len > 5 || (s.data[0] != '0' && s.data[0] != '1')
        || (s.len > 1 && s.data[1] != '.'))
    {
        return -1;
    }

    q = (s.data[0] - '0') * 1000;

    for (i = 2, unit = 100; i < s.len; i++, unit /= 10) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return -1;
        }
        q += (s.data[i] - '0') * unit;
    }

    return q <= 1000 ? q : -1;
}


/* One media range and its quality: 1, 0 at the end, -1 to skip the element. */
static int
aegis_http_range(aegis_http_list_t *l, aegis_str_t *type, aegis_str_t *subtype, int *q)
{
    int          rc;
    aegis_str_t  name, value;

    while (l->p < l->end && (*l->p == ' ' || *l->p == '\t' || *l->p == ',')) {
        l->p++;
    }

    if (l->p == l->end) {
        return 0;
    }

    *q = 1000;
    *type = aegis_http_token(l);

    if (type->len == 0 || l->p == l->end || *l->p != '/') {
        return -1;
    }

    l->p++;
    *subtype = aegis_http_token(l);

    if (subtype->len == 0) {
        return -1;
    }

    while ((rc = aegis_http_param(l, &name, &value)) == 1) {
        if (aegis_http_token_is(name, "q")) {
            *q = aegis_http_qvalue(value);
        }
    }

    if (rc == -1 || *q == -1 || (l->p < l->end && *l->p != ',')) {
        return -1;
    }

    return 1;
}


int
aegis_http_accepts_json(aegis_str_t accept)
{
    int                rc, q, n, rank, i;
    aegis_str_t        type, subtype;
    aegis_http_list_t  l;

    static const char *const  ours[] = { "json", "problem+json" };

    /* by type: how specific the best range was, and its quality */
    int  best[2] = { 0, 0 }, quality[2] = { 0, 0 };

    if (accept.data == NULL) {
        return 1;
    }

    l.p = accept.data;
    l.end = accept.data + accept.len;

    for (n = 0; (rc = aegis_http_range(&l, &type, &subtype, &q)) != 0; n++) {

        if (rc == -1) {
            while (l.p < l.end && *l.p != ',') {
                l.p++;
            }
            continue;
        }

        for (i = 0; i < 2; i++) {
            rank = aegis_http_token_is(type, "application")
                   ? aegis_http_token_is(subtype, ours[i]) ? 3
                     : aegis_http_token_is(subtype, "*") ? 2 : 0
                   : aegis_http_token_is(type, "*")
                     && aegis_http_token_is(subtype, "*") ? 1 : 0;

            if (rank && rank >= best[i]) {
                quality[i] = rank == best[i] && quality[i] > q ? quality[i] : q;
                best[i] = rank;
            }
        }
    }

    /* an empty Accept says nothing */
    return n == 0 || quality[0] > 0 || quality[1] > 0;
}


int
aegis_http_accepts_openmetrics(aegis_str_t accept)
{
    int                rc, q, open, plain;
    aegis_str_t        type, subtype;
    aegis_http_list_t  l = { accept.data, accept.data + accept.len };

    open = 0;
    plain = 0;

    while (accept.data && (rc = aegis_http_range(&l, &type, &subtype, &q)) != 0) {

        if (rc == -1) {
            while (l.p < l.end && *l.p != ',') {
                l.p++;
            }

        } else if (aegis_http_token_is(type, "application")
                   && aegis_http_token_is(subtype, "openmetrics-text"))
        {
            open = q > open ? q : open;

        } else if (aegis_http_token_is(type, "text")
                   && aegis_http_token_is(subtype, "plain"))
        {
            plain = q > plain ? q : plain;
        }
    }

    return open > 0 && open >= plain;
}


static int
aegis_http_is_application(aegis_str_t content_type, const char *ours)
{
    int                rc;
    aegis_str_t        type, subtype, name, value;
    aegis_http_list_t  l;

    if (content_type.data == NULL) {
        return 0;
    }

    l.p = content_type.data;
    l.end = content_type.data + content_type.len;

    aegis_http_ows(&l);
    type = aegis_http_token(&l);

    if (!aegis_http_token_is(type, "application") || l.p == l.end || *l.p != '/') {
        return 0;
    }

    l.p++;
    subtype = aegis_http_token(&l);

    if (!aegis_http_token_is(subtype, ours)) {
        return 0;
    }

    while ((rc = aegis_http_param(&l, &name, &value)) == 1) {
        if (!aegis_http_token_is(name, "charset") || !aegis_http_token_is(value, "utf-8"))
        {
            return 0;
        }
    }

    return rc == 0 && l.p == l.end;
}


int
aegis_http_is_json(aegis_str_t content_type)
{
    return aegis_http_is_application(content_type, "json");
}


int
aegis_http_is_yaml(aegis_str_t content_type)
{
    return aegis_http_is_application(content_type, "yaml");
}
