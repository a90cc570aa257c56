/*
 * aegis_kb_json.c: JSON to blocks: a line "a.b: value" for each value, a block
 * for each member or item of the outermost value. Places inside the document are
 * not known: every passage is said to be of all of it.
 */
#include "aegis_kb_impl.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_KB_PATH_MAX  200

static void aegis_kb_json_value(aegis_buf_t *buf, const json_t *value, const char *path,
    int depth);


static void
aegis_kb_json_scalar(aegis_buf_t *buf, const json_t *value)
{
    char  *text;

    if (json_is_string(value)) {
        aegis_buf_add(buf, json_string_value(value), json_string_length(value));
        return;
    }

    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    aegis_buf_puts(buf, text ? text : "");
    free(text);
}


static int
aegis_kb_json_flat(const json_t *array)
{
    size_t   i;
    json_t  *item;

    json_array_foreach(array, i, item) {
        if (json_is_object(item) || json_is_array(item)) {
            return 0;
        }
    }

    return 1;
}


static void
aegis_kb_json_array(aegis_buf_t *buf, const json_t *array, const char *path, int depth)
{
    size_t   i;
    json_t  *item;

    if (!aegis_kb_json_flat(array)) {
        json_array_foreach(array, i, item) {
            aegis_kb_json_value(buf, item, path, depth + 1);
        }
        return;
    }

    if (path[0]) {
        aegis_buf_printf(buf, "%s: ", path);
    }
    json_array_foreach(array, i, item) {
        aegis_buf_puts(buf, i ? ", " : "");
        aegis_kb_json_scalar(buf, item);
    }
    aegis_buf_puts(buf, "\n");
}


static void
aegis_kb_json_value(aegis_buf_t *buf, const json_t *value, const char *path, int depth)
{
    char         deeper[AEGIS_KB_PATH_MAX + 1];
    json_t      *member;
    const char  *name;

    if (buf->len > AEGIS_BUF_MAX / 2 || depth > AEGIS_BODY_MAX_DEPTH) {
        buf->failed = 1;
        return;
    }

    if (json_is_array(value)) {
        aegis_kb_json_array(buf, value, path, depth);
        return;
    }

    if (!json_is_object(value)) {
        if (path[0]) {
            aegis_buf_printf(buf, "%s: ", path);
        }
        aegis_kb_json_scalar(buf, value);
        aegis_buf_puts(buf, "\n");
        return;
    }

    json_object_foreach((json_t *) value, name, member) {
        snprintf(deeper, sizeof(deeper), "%.*s%s%.*s", AEGIS_KB_PATH_MAX / 2, path,
                 path[0] ? "." : "", AEGIS_KB_PATH_MAX / 2 - 1, name);
        aegis_kb_json_value(buf, member, deeper, depth + 1);
    }
}


static void
aegis_kb_json_block(aegis_kb_maker_t *m, const json_t *value, const char *path, size_t len)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_kb_json_value(&buf, value, path, 0);

    if (buf.failed) {
        m->code = AEGIS_E_TOO_LARGE;
    } else if (buf.len) {
        aegis_kb_block(m, (aegis_str_t) { buf.len, buf.data }, 0, len, 0);
    }

    free(buf.data);
}


void
aegis_kb_read_json(aegis_kb_maker_t *m, aegis_str_t body, aegis_error_t *err)
{
    char         cut[AEGIS_KB_PATH_MAX + 1];
    size_t       i;
    json_t      *json, *member;
    const char  *name, *title;

    if (aegis_json_parse(body, &json, err) != AEGIS_E_OK) {
        return;
    }

    title = aegis_json_str(json, "title");
    title = title[0] ? title : aegis_json_str(json, "name");
    aegis_kb_squeeze(aegis_view(title), m->out->title, AEGIS_KB_TITLE_MAX);

    if (json_is_array(json)) {
        if (aegis_kb_json_flat(json)) {
            aegis_kb_json_block(m, json, "", body.len);
        } else {
            json_array_foreach(json, i, member) {
                aegis_kb_json_block(m, member, "", body.len);
            }
        }

    } else {
        json_object_foreach(json, name, member) {
            snprintf(cut, sizeof(cut), "%.*s", AEGIS_KB_PATH_MAX, name);
            aegis_kb_json_block(m, member, cut, body.len);
        }
    }

    json_decref(json);
}
