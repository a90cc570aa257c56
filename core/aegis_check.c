/*
 * aegis_check.c: schema rules. Its invariant: a rule that answers 0 has added
 * at least one error (or err holds as many as it keeps).
 */
#include "aegis_check.h"

#include <stdio.h>
#include <string.h>

#include "aegis_time.h"

#include "aegis_json.h"


int
aegis_check_string(const json_t *value, size_t least, size_t most,
    const char *pointer, aegis_error_t *err)
{
    size_t       n, len;
    const char  *s;

    s = json_string_value(value);

    if (s == NULL) {
        aegis_error_at(err, pointer, "must be a string");
        return 0;
    }

    len = json_string_length(value);
    n = aegis_utf8_count(s, len);

    if (n < least || n > most) {
        aegis_error_at(err, pointer, "must have %zu to %zu characters", least, most);
        return 0;
    }

    if (aegis_utf8_has_control(s, len)) {
        aegis_error_at(err, pointer,
            "must not have control characters but newline and tab");
        return 0;
    }

    return 1;
}


int
aegis_check_enum(const json_t *value, const char *const *values,
    const char *pointer, aegis_error_t *err)
{
    char         list[256];
    size_t       n;
    const char  *s, *const *v;

    s = json_string_value(value);

    for (v = values; s && *v; v++) {
        if (strcmp(*v, s) == 0) {
            return 1;
        }
    }

    list[0] = '\0';

    for (v = values, n = 0; *v && n < sizeof(list); v++) {
        n += (size_t) snprintf(list + n, sizeof(list) - n, "%s%s",
                               v == values ? "" : ", ", *v);
    }

    aegis_error_at(err, pointer, "must be one of %s", list);

    return 0;
}


int
aegis_check_int(const json_t *value, json_int_t least, json_int_t most,
    const char *pointer, aegis_error_t *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < least
        || json_integer_value(value) > most)
    {
        aegis_error_at(err, pointer, least == most ? "must be %lld"
                       : "must be an integer from %lld to %lld",
                       (long long) least, (long long) most);
        return 0;
    }

    return 1;
}


int
aegis_check_number(const json_t *value, double least, double most,
    const char *pointer, aegis_error_t *err)
{
    if (!json_is_number(value) || json_number_value(value) < least
        || json_number_value(value) > most)
    {
        aegis_error_at(err, pointer, "must be a number from %.15g to %.15g", least,
                       most);
        return 0;
    }

    return 1;
}


int
aegis_check_bool(const json_t *value, const char *pointer, aegis_error_t *err)
{
    if (!json_is_boolean(value)) {
        aegis_error_at(err, pointer, "must be true or false");
        return 0;
    }

    return 1;
}


int
aegis_check_object(const json_t *value, const char *const *names,
    const char *pointer, aegis_error_t *err)
{
    int                 ok;
    char                at[AEGIS_CHECK_POINTER];
    void               *iter;
    json_t             *object = (json_t *) value;
    const char *const  *n;

    if (!json_is_object(value)) {
        aegis_error_at(err, pointer, "must be an object");
        return 0;
    }

    ok = 1;

    for (iter = json_object_iter(object); iter;
         iter = json_object_iter_next(object, iter))
    {
        for (n = names; *n && strcmp(*n, json_object_iter_key(iter)) != 0; n++) {
            /* void */
        }

        if (*n == NULL) {
            aegis_error_pointer(at, sizeof(at), pointer, json_object_iter_key(iter));
            aegis_error_at(err, at, "is not a member of this object");
            ok = 0;
        }
    }

    return ok;
}


int
aegis_check_array(const json_t *value, size_t least, size_t most,
    const char *pointer, aegis_error_t *err)
{
    if (!json_is_array(value) || json_array_size(value) < least
        || json_array_size(value) > most)
    {
        aegis_error_at(err, pointer, "must be an array of %zu to %zu items", least,
                       most);
        return 0;
    }

    return 1;
}


int
aegis_check_is_word(const char *s, size_t most)
{
    size_t  n;

    if (s == NULL) {
        return 0;
    }

    n = strlen(s);

    return n >= 1 && n <= most && s[0] != '.'
           && strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789_.-") == n;
}


int
aegis_check_word(const json_t *value, size_t most, const char *pointer,
    aegis_error_t *err)
{
    if (!aegis_check_is_word(json_string_value(value), most)) {
        aegis_error_at(err, pointer,
            "must be 1 to %zu of A-Z a-z 0-9 _ . - and not start with a dot", most);
        return 0;
    }

    return 1;
}


static int
aegis_check_seconds(const json_t *value, int64_t *ret_s)
{
    return aegis_time_parse((aegis_str_t) { json_string_length(value),
                                            json_string_value(value) }, ret_s);
}


void
aegis_check_time(const json_t *value, const char *pointer, aegis_error_t *err)
{
    int64_t  s;

    if (!aegis_check_seconds(value, &s)) {
        aegis_error_at(err, pointer, "must be a date-time of RFC 3339");
    }
}


void
aegis_check_span(const json_t *object, const char *from, const char *to, aegis_error_t *err)
{
    char     pointer[AEGIS_CHECK_POINTER];
    int64_t  f, t;

    if (aegis_check_seconds(json_object_get(object, from), &f)
        && aegis_check_seconds(json_object_get(object, to), &t) && t < f)
    {
        aegis_error_pointer(pointer, sizeof(pointer), "", to);
        aegis_error_at(err, pointer, "must not be before the other end");
    }
}
