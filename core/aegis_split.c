/*
 * aegis_split.c: splits of traffic as nginx's split_clients.
 * Invariants: what is rendered consists of names and numbers that were checked
 * here, so that no parameter is ever read by nginx as configuration; weights
 * are whole hundredths and 100 percent together.
 */
#include "aegis_split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_SPLIT_MARK  "# aegis: "

static int
aegis_split_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
           || c == '_';
}

/* A name becomes part of a variable's; a group may have dots and dashes. */
static int
aegis_split_name_valid(const char *s, size_t n, int group)
{
    size_t  i;

    if (n == 0 || n >= AEGIS_SPLIT_NAME) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (!aegis_split_letter(s[i])
            && !(group && i > 0 && (s[i] == '-' || s[i] == '.')))
        {
            return 0;
        }
    }

    return 1;
}

/* "name=group,group" of n bytes. 0: it is not well made. */
static int
aegis_split_parse(const char *s, size_t n, aegis_split_t *split)
{
    size_t       len;
    const char  *p, *end;

    memset(split, 0, sizeof(*split));
    end = s + n;
    p = memchr(s, '=', n);

    if (p == NULL || !aegis_split_name_valid(s, (size_t) (p - s), 0)) {
        return 0;
    }
    memcpy(split->name, s, (size_t) (p - s));

    for (p++; ; p += len + 1) {
        for (len = 0; p + len < end && p[len] != ','; len++) {
            continue;
        }
        if (split->n == AEGIS_SPLIT_GROUPS || !aegis_split_name_valid(p, len, 1)) {
            return 0;
        }
        memcpy(split->group[split->n++], p, len);
        if (p + len == end) {
            return split->n >= 2;
        }
    }
}

int
aegis_split_find(const char *list, const char *name, aegis_split_t *ret, aegis_error_t *err)
{
    size_t         n;
    aegis_split_t  split;

    for ( ;; list += n) {
        list += strspn(list, " \t\r\n");
        n = strcspn(list, " \t\r\n");
        if (n == 0) {
            break;
        }

        if (!aegis_split_parse(list, n, &split)) {
            (void) aegis_error_set(err, AEGIS_E_SCHEMA, "\"%.*s\" is not name=group,group",
                                   n < 100 ? (int) n : 100, list);
            return 0;
        }

        if (name != NULL && strcmp(split.name, name) == 0) {
            *ret = split;
            return 1;
        }
    }

    if (name != NULL) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "%.100s is not in gateway.splits", name);
    }

    return name == NULL;
}

static int
aegis_split_index(const aegis_split_t *split, const char *group, aegis_error_t *err)
{
    int  i;

    for (i = 0; i < split->n; i++) {
        if (strcmp(split->group[i], group) == 0) {
            return i;
        }
    }

    (void) aegis_error_set(err, AEGIS_E_SCHEMA, "%.100s is no group of split %s", group,
                           split->name);
    return -1;
}

int
aegis_split_weights(const aegis_split_t *split, const json_t *object,
    aegis_split_weights_t ret, aegis_error_t *err)
{
    int                     i, sum;
    double                  v;
    json_t                 *value;
    const char             *name;
    aegis_split_weights_t   w;

    memset(w, 0, sizeof(w));
    sum = 0;

    json_object_foreach((json_t *) object, name, value) {
        i = aegis_split_index(split, name, err);
        if (i < 0) {
            return 0;
        }

        v = json_number_value(value) * 100;
        if (!json_is_number(value) || !(v >= 0 && v <= AEGIS_SPLIT_WHOLE)
            || fabs(v - (double) (int) (v + 0.5)) > 1e-6)
        {
            (void) aegis_error_set(err, AEGIS_E_SCHEMA,
                "the weight of %s is no percentage from 0 to 100 with up to two decimals",
                split->group[i]);
            return 0;
        }

        w[i] = (int) (v + 0.5);
        sum += w[i];
    }

    if (sum != AEGIS_SPLIT_WHOLE) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "the weights are %d.%02d percent"
                               " together, not 100", sum / 100, sum % 100);
        return 0;
    }

    memcpy(ret, w, sizeof(w));
    return 1;
}

int
aegis_split_all(const aegis_split_t *split, const char *group, aegis_split_weights_t ret,
    aegis_error_t *err)
{
    int  i;

    i = aegis_split_index(split, group, err);
    if (i < 0) {
        return 0;
    }

    memset(ret, 0, sizeof(aegis_split_weights_t));
    ret[i] = AEGIS_SPLIT_WHOLE;
    return 1;
}

json_t *
aegis_split_json(const aegis_split_t *split, const aegis_split_weights_t weights)
{
    int      i;
    json_t  *object;

    object = json_object();

    for (i = 0; i < split->n; i++) {
        json_object_set_new(object, split->group[i], weights[i] % 100 == 0
                            ? json_integer(weights[i] / 100)
                            : json_real((double) weights[i] / 100));
    }

    return object;
}

void
aegis_split_text(const aegis_split_t *split, const aegis_split_weights_t weights, char *out,
    size_t size)
{
    int     i;
    size_t  n;

    for (i = 0, n = 0, out[0] = '\0'; i < split->n && n < size; i++) {
        n += (size_t) snprintf(out + n, size - n, "%s%s %.4g", i ? ", " : "", split->group[i],
                               (double) weights[i] / 100);
    }
}

char *
aegis_split_render(const aegis_split_t *split, const aegis_split_weights_t weights,
    const char *by, const json_t *what)
{
    int           i, last;
    char         *text;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    text = aegis_json_text(what);
    if (text == NULL) {
        return NULL;
    }

    aegis_buf_puts(&buf, "# Written by Aegis, and written again at the next shift.\n");
    aegis_buf_printf(&buf, AEGIS_SPLIT_MARK "%s\n", text);
    free(text);

    for (i = 0, last = 0; i < split->n; i++) {
        last = weights[i] > 0 ? i : last;
    }

    aegis_buf_printf(&buf, "split_clients \"%s\" $gateway_%s {\n", by, split->name);
    for (i = 0; i < last; i++) {
        /* nginx takes no 0% */
        if (weights[i] > 0) {
            aegis_buf_printf(&buf, "    %d.%02d%%  %s;\n", weights[i] / 100, weights[i] % 100,
                             split->group[i]);
        }
    }
    aegis_buf_printf(&buf, "    *  %s;\n}\n", split->group[last]);

    aegis_buf_printf(&buf, "map $server_port $gateway_%s_id {\n    default \"%s\";\n}\n",
                     split->name, aegis_json_str(what, "id"));

    return aegis_buf_take(&buf, NULL);
}

json_t *
aegis_split_read(const char *text)
{
    json_t         *what;
    size_t          len;
    const char     *p;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    p = strncmp(text, AEGIS_SPLIT_MARK, sizeof(AEGIS_SPLIT_MARK) - 1) == 0 ? text
        : strstr(text, "\n" AEGIS_SPLIT_MARK);
    if (p == NULL) {
        return NULL;
    }

    p += *p == '\n';
    p += sizeof(AEGIS_SPLIT_MARK) - 1;
    len = strcspn(p, "\n");
    what = NULL;

    (void) aegis_json_parse((aegis_str_t) { len, p }, &what, &err);
    aegis_error_clear(&err);

    if (!json_is_object(what)) {
        json_decref(what);
        return NULL;
    }

    return what;
}

int
aegis_split_by_valid(const char *by)
{
    size_t  i;

    for (i = 0; by[i]; i++) {
        if (!aegis_split_letter(by[i]) && !strchr("${}:.-", by[i])) {
            return 0;
        }
    }

    return i > 0 && i < 200 && strchr(by, '$') != NULL;
}

/* The next word of nginx's configuration at p: *ret_len of it. NULL: the end.
 * Braces and semicolons are words; comments are none. */
static const char *
aegis_split_token(const char *p, size_t *ret_len)
{
    const char  *s;

    for ( ;; ) {
        p += strspn(p, " \t\r\n");
        if (*p != '#') {
            break;
        }
        p += strcspn(p, "\n");
    }

    if (*p == '\0') {
        return NULL;
    }

    if (*p == '"' || *p == '\'') {
        for (s = p + 1; *s && *s != *p; s++) {
            s += s[0] == '\\' && s[1] != '\0';
        }
        *ret_len = (size_t) (s - p) + (*s != '\0');
        return p;
    }

    if (strchr("{};", *p)) {
        *ret_len = 1;
        return p;
    }

    for (s = p; *s && !strchr(" \t\r\n;{}", *s); s++) {
        /* ${name} is no block */
        if (s[0] == '$' && s[1] == '{') {
            s += strcspn(s, "}");
            s -= *s == '\0';
        } else {
            s += s[0] == '\\' && s[1] != '\0';
        }
    }
    *ret_len = (size_t) (s - p);
    return p;
}

int
aegis_split_upstream(const char *dump, const char *name)
{
    int          at;
    size_t       n, len;
    const char  *p;

    n = strlen(name);

    /* at: 0 a directive begins, 1 behind "upstream", 2 behind its name, 3 within */
    for (p = dump, at = 0; (p = aegis_split_token(p, &len)) != NULL; p += len) {
        if (at == 2 && *p == '{') {
            return 1;
        }

        if (len == 1 && strchr("{};", *p)) {
            at = 0;
        } else if (at == 0) {
            at = len == 8 && memcmp(p, "upstream", 8) == 0 ? 1 : 3;
        } else {
            at = at == 1 && len == n && memcmp(p, name, n) == 0 ? 2 : 3;
        }
    }

    return 0;
}
