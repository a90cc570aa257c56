/*
 * aegis_plan_diff.c: the difference of two JSON documents. Its invariant: the
 * operations are true in their order, so arrays lose items from their end and
 * gain them there; what is equal before and behind a change is not named.
 */
#include "aegis_plan_diff.h"

#include <string.h>

#include "aegis_check.h"

#define AEGIS_PLAN_DIFF_INDEX  24       /* "/" and an index */

static void aegis_plan_diff_value(json_t *ops, const char *at, const json_t *was,
    const json_t *is);


static void
aegis_plan_diff_op(json_t *ops, const char *op, const char *at, const json_t *was,
    const json_t *is)
{
    json_t  *o;

    o = json_pack("{s:s, s:s}", "op", op, "path", at);

    if (is) {
        json_object_set(o, "value", (json_t *) is);
    }

    if (was) {
        json_object_set(o, "was", (json_t *) was);
    }

    json_array_append_new(ops, o);
}


/* Whether the pointers to all members fit into their buffer, so that none is cut. */
static int
aegis_plan_diff_fits(const char *at, const json_t *object)
{
    void        *iter;
    size_t       len;
    json_t      *o = (json_t *) object;
    const char  *s;

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        len = strlen(at) + 2;

        for (s = json_object_iter_key(iter); *s; s++) {
            len += *s == '~' || *s == '/' ? 2 : 1;
        }

        if (len > AEGIS_CHECK_POINTER) {
            return 0;
        }
    }

    return 1;
}


static void
aegis_plan_diff_object(json_t *ops, const char *at, const json_t *was, const json_t *is)
{
    char         sub[AEGIS_CHECK_POINTER];
    void        *iter;
    json_t      *a = (json_t *) was, *b = (json_t *) is, *other;
    const char  *name;

    for (iter = json_object_iter(a); iter; iter = json_object_iter_next(a, iter)) {
        name = json_object_iter_key(iter);
        other = json_object_get(is, name);
        aegis_error_pointer(sub, sizeof(sub), at, name);

        if (other) {
            aegis_plan_diff_value(ops, sub, json_object_iter_value(iter), other);
        } else {
            aegis_plan_diff_op(ops, "remove", sub, json_object_iter_value(iter), NULL);
        }
    }

    for (iter = json_object_iter(b); iter; iter = json_object_iter_next(b, iter)) {
        name = json_object_iter_key(iter);

        if (json_object_get(was, name) == NULL) {
            aegis_error_pointer(sub, sizeof(sub), at, name);
            aegis_plan_diff_op(ops, "add", sub, NULL, json_object_iter_value(iter));
        }
    }
}


/* Items that are equal at both ends stay; between them position by position. */
static void
aegis_plan_diff_array(json_t *ops, const char *at, const json_t *was, const json_t *is)
{
    char    sub[AEGIS_CHECK_POINTER];
    size_t  i, a, b, head, tail;

    a = json_array_size(was);
    b = json_array_size(is);

    for (head = 0; head < a && head < b
                   && json_equal(json_array_get(was, head), json_array_get(is, head));
         head++)
    {
        /* void */
    }

    for (tail = 0; head + tail < a && head + tail < b
                   && json_equal(json_array_get(was, a - 1 - tail),
                                 json_array_get(is, b - 1 - tail));
         tail++)
    {
        /* void */
    }

    for (i = head; i < a - tail && i < b - tail; i++) {
        aegis_error_index(sub, sizeof(sub), at, i);
        aegis_plan_diff_value(ops, sub, json_array_get(was, i), json_array_get(is, i));
    }

    for (i = a - tail; i > b - tail && i > head; i--) {
        aegis_error_index(sub, sizeof(sub), at, i - 1);
        aegis_plan_diff_op(ops, "remove", sub, json_array_get(was, i - 1), NULL);
    }

    for (i = a - tail > head ? a - tail : head; i < b - tail; i++) {
        aegis_error_index(sub, sizeof(sub), at, i);
        aegis_plan_diff_op(ops, "add", sub, NULL, json_array_get(is, i));
    }
}


static void
aegis_plan_diff_value(json_t *ops, const char *at, const json_t *was, const json_t *is)
{
    if (json_equal(was, is)) {
        return;
    }

    if (json_is_object(was) && json_is_object(is)
        && aegis_plan_diff_fits(at, was) && aegis_plan_diff_fits(at, is))
    {
        aegis_plan_diff_object(ops, at, was, is);

    } else if (json_is_array(was) && json_is_array(is)
               && strlen(at) + AEGIS_PLAN_DIFF_INDEX <= AEGIS_CHECK_POINTER)
    {
        aegis_plan_diff_array(ops, at, was, is);

    } else {
        aegis_plan_diff_op(ops, "replace", at, was, is);
    }
}


json_t *
aegis_plan_diff(const json_t *was, const json_t *is)
{
    json_t  *ops;

    ops = json_array();
    aegis_plan_diff_value(ops, "", was, is);

    return ops;
}


void
aegis_plan_diff_pair(json_t *pair)
{
    json_object_set_new(pair, "operations",
                        aegis_plan_diff(json_object_get(pair, "was"),
                                        json_object_get(pair, "is")));
    json_object_del(pair, "was");
    json_object_del(pair, "is");
}
