/*
 * aegis_zone.c: what the clocks of a time zone show. Its invariants: the offset
 * of a second depends on the zone alone and never on the machine; for every
 * local time there is one first moment, also where the clock skips or repeats.
 * The rule behind the last change is aegis_zone_rule.c.
 */
#include "aegis_zone.h"

#include <string.h>

#include "aegis_check.h"
#include "aegis_json.h"

#define AEGIS_ZONE_HEADER      44
#define AEGIS_ZONE_MOST        93600        /* RFC 9636: less than 26 h */
#define AEGIS_ZONE_MOST_STEPS  16

/* The counts of a TZif header, in its order. */
enum {
    AEGIS_ZONE_ISUT, AEGIS_ZONE_ISSTD, AEGIS_ZONE_LEAP, AEGIS_ZONE_TIME,
    AEGIS_ZONE_TYPE, AEGIS_ZONE_CHAR, AEGIS_ZONE_N_COUNTS
};

static const char *const  aegis_zone_members[] = { "offset", "changes", "rule", NULL };


int
aegis_zone_name_valid(const char *name)
{
    size_t  len;

    len = strlen(name);

    return len > 0 && len <= AEGIS_ZONE_MAX_NAME && name[0] != '/'
           && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                           "0123456789+-_/") == len
           && strstr(name, "//") == NULL && name[len - 1] != '/';
}


static int64_t
aegis_zone_be(const char *p, int size)
{
    int       i;
    uint64_t  v;

    v = (unsigned char) p[0] & 0x80 ? UINT64_MAX : 0;

    for (i = 0; i < size; i++) {
        v = v << 8 | (unsigned char) p[i];
    }

    return (int64_t) v;
}


/* The counts of the header at p. 0: it is none that can be used. */
static int
aegis_zone_header(const char *p, size_t left, int64_t n[AEGIS_ZONE_N_COUNTS])
{
    int  i;

    if (left < AEGIS_ZONE_HEADER || memcmp(p, "TZif", 4) != 0) {
        return 0;
    }

    for (i = 0; i < AEGIS_ZONE_N_COUNTS; i++) {
        n[i] = aegis_zone_be(p + 20 + 4 * i, 4);
        if (n[i] < 0 || n[i] > AEGIS_ZONE_MAX_FILE) {
            return 0;
        }
    }

    /* leap seconds would count what POSIX time does not */
    return n[AEGIS_ZONE_TYPE] > 0 && n[AEGIS_ZONE_LEAP] == 0;
}


static size_t
aegis_zone_size(const int64_t n[AEGIS_ZONE_N_COUNTS], int width)
{
    return (size_t) (n[AEGIS_ZONE_TIME] * (width + 1) + n[AEGIS_ZONE_TYPE] * 6
                     + n[AEGIS_ZONE_CHAR] + n[AEGIS_ZONE_ISSTD] + n[AEGIS_ZONE_ISUT]);
}


/* The block behind a header, without its footer. */
static json_t *
aegis_zone_block(const char *p, const int64_t n[AEGIS_ZONE_N_COUNTS], int width,
    int64_t since)
{
    json_t      *changes;
    int64_t      i, at, offset, before;
    const char  *index, *types;

    index = p + n[AEGIS_ZONE_TIME] * width;
    types = index + n[AEGIS_ZONE_TIME];
    before = aegis_zone_be(types, 4);
    changes = json_array();

    for (i = 0; i < n[AEGIS_ZONE_TIME]; i++) {
        if ((unsigned char) index[i] >= n[AEGIS_ZONE_TYPE]) {
            json_decref(changes);
            return NULL;
        }

        at = aegis_zone_be(p + i * width, width);
        offset = aegis_zone_be(types + 6 * (unsigned char) index[i], 4);

        if (at < since) {
            before = offset;

        } else if (json_array_append_new(changes,
                       json_pack("[I,I]", (json_int_t) at, (json_int_t) offset)) != 0)
        {
            json_decref(changes);
            return NULL;
        }
    }

    return json_pack("{s:I, s:o, s:s}", "offset", (json_int_t) before,
                     "changes", changes, "rule", "");
}


/* The footer is one line between two newlines. */
static int
aegis_zone_footer(const char *p, size_t left, json_t *zone)
{
    const char  *end;

    end = left > 1 && *p == '\n' ? memchr(p + 1, '\n', left - 1) : NULL;

    return end != NULL
           && json_object_set_new(zone, "rule",
                                  json_stringn(p + 1, (size_t) (end - p - 1))) == 0;
}


aegis_code_t
aegis_zone_read(aegis_str_t tzif, int64_t since, json_t **ret_zone, aegis_error_t *err)
{
    int             width;
    size_t          skip;
    json_t         *zone;
    int64_t         n[AEGIS_ZONE_N_COUNTS];
    const char     *p, *end;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    p = tzif.data;
    end = p + tzif.len;
    width = 4;

    if (tzif.len > AEGIS_ZONE_MAX_FILE || !aegis_zone_header(p, tzif.len, n)) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "it is no TZif file without leap"
                               " seconds");
    }

    /* from version 2 on, the same again in 64 bits */
    skip = AEGIS_ZONE_HEADER + aegis_zone_size(n, 4);

    if (p[4] >= '2') {
        if (tzif.len < skip || !aegis_zone_header(p + skip, tzif.len - skip, n)) {
            return aegis_error_set(err, AEGIS_E_SCHEMA, "the TZif file is cut short");
        }
        p += skip;
        width = 8;
    }

    p += AEGIS_ZONE_HEADER;

    if ((size_t) (end - p) < aegis_zone_size(n, width)) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "the TZif file is cut short");
    }

    zone = aegis_zone_block(p, n, width, since);
    p += aegis_zone_size(n, width);

    if (zone == NULL
        || (width == 8 && !aegis_zone_footer(p, (size_t) (end - p), zone)))
    {
        json_decref(zone);
        return aegis_error_set(err, AEGIS_E_SCHEMA, "the TZif file contradicts itself");
    }

    aegis_zone_check(zone, "", &why);

    if (why.code != AEGIS_E_OK) {
        json_decref(zone);
        aegis_error_clear(&why);
        return aegis_error_set(err, AEGIS_E_SCHEMA, "the zone has changes or a rule that"
                               " cannot be used");
    }

    *ret_zone = zone;

    return AEGIS_E_OK;
}


static int
aegis_zone_check_change(const json_t *change, int64_t *last, const char *at,
    aegis_error_t *err)
{
    json_t  *when, *offset;

    when = json_array_get(change, 0);
    offset = json_array_get(change, 1);

    if (json_array_size(change) != 2 || !json_is_integer(when)
        || !json_is_integer(offset) || json_integer_value(when) <= *last
        || json_integer_value(offset) <= -AEGIS_ZONE_MOST
        || json_integer_value(offset) >= AEGIS_ZONE_MOST)
    {
        aegis_error_at(err, at, "must be a later second and an offset");
        return 0;
    }

    *last = json_integer_value(when);

    return 1;
}


void
aegis_zone_check(const json_t *zone, const char *at, aegis_error_t *err)
{
    char                sub[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t              i;
    json_t             *changes;
    int64_t             last;
    const char         *text;
    aegis_zone_rule_t   rule;

    if (!aegis_check_object(zone, aegis_zone_members, at, err)) {
        return;
    }

    aegis_error_pointer(sub, sizeof(sub), at, "offset");
    aegis_check_int(json_object_get(zone, "offset"), 1 - AEGIS_ZONE_MOST,
                    AEGIS_ZONE_MOST - 1, sub, err);

    changes = json_object_get(zone, "changes");
    aegis_error_pointer(sub, sizeof(sub), at, "changes");

    if (aegis_check_array(changes, 0, AEGIS_ZONE_MAX_CHANGES, sub, err)) {
        last = -(INT64_C(1) << 60);

        for (i = 0; i < json_array_size(changes); i++) {
            aegis_error_index(item, sizeof(item), sub, i);
            if (!aegis_zone_check_change(json_array_get(changes, i), &last, item, err)) {
                break;
            }
        }
    }

    text = json_string_value(json_object_get(zone, "rule"));
    aegis_error_pointer(sub, sizeof(sub), at, "rule");

    if (text == NULL || (*text && !aegis_zone_rule_parse(text, &rule))) {
        aegis_error_at(err, sub, "must be a POSIX TZ string or empty");
    }
}


void
aegis_zone_open(const json_t *json, aegis_zone_t *ret_zone)
{
    memset(ret_zone, 0, sizeof(*ret_zone));
    ret_zone->offset = json_integer_value(json_object_get(json, "offset"));
    ret_zone->changes = json_object_get(json, "changes");
    ret_zone->has_rule = aegis_zone_rule_parse(aegis_json_str(json, "rule"),
                                               &ret_zone->rule);
}


void
aegis_zone_fixed(int64_t offset, aegis_zone_t *ret_zone)
{
    memset(ret_zone, 0, sizeof(*ret_zone));
    ret_zone->offset = offset;
}


static int64_t
aegis_zone_change(const aegis_zone_t *zone, size_t i, size_t member)
{
    return json_integer_value(json_array_get(json_array_get(zone->changes, i), member));
}


int64_t
aegis_zone_offset(const aegis_zone_t *zone, int64_t t, int64_t *ret_until)
{
    size_t   n, low, high, mid;
    int64_t  unused;

    ret_until = ret_until ? ret_until : &unused;
    n = json_array_size(zone->changes);

    if (zone->has_rule && (n == 0 || t >= aegis_zone_change(zone, n - 1, 0))) {
        return aegis_zone_rule_offset(&zone->rule, t, ret_until);
    }

    /* the number of changes that are not behind t */
    for (low = 0, high = n; low < high; /* void */ ) {
        mid = (low + high) / 2;

        if (aegis_zone_change(zone, mid, 0) <= t) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }

    *ret_until = low < n ? aegis_zone_change(zone, low, 0) : INT64_MAX;

    return low ? aegis_zone_change(zone, low - 1, 1) : zone->offset;
}


int64_t
aegis_zone_first(const aegis_zone_t *zone, int64_t local)
{
    int      i;
    int64_t  t, offset, until, candidate;

    /* no clock is further from UTC than that */
    t = local - AEGIS_ZONE_MOST;

    for (i = 0; i < AEGIS_ZONE_MOST_STEPS; i++) {
        offset = aegis_zone_offset(zone, t, &until);
        candidate = local - offset > t ? local - offset : t;

        if (candidate < until) {
            return candidate;
        }

        t = until;
    }

    return t;
}
