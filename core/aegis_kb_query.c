/*
 * aegis_kb_query.c: questions. A question becomes a probe, the JSON text that
 * aegis.kb_search() takes: its terms, its vector with signs and mask, and the
 * facets that a passage must have. What a planner asks about a case is made here
 * too. Invariant: a probe is small and bounded, whatever was asked.
 */
#include "aegis_kb.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_KB_FACET_MAX  400         /* bytes; aegis.kb_facets() cuts there too */

static const char *const  aegis_kb_filters[] = {
    "lang", "category", "tag", "source"
};


static int
aegis_kb_filter_known(const char *name, size_t len)
{
    size_t  i;

    for (i = 0; i < sizeof(aegis_kb_filters) / sizeof(char *); i++) {
        if (strlen(aegis_kb_filters[i]) == len && memcmp(aegis_kb_filters[i], name, len) == 0) {
            return 1;
        }
    }

    return len > 6 && memcmp(name, "label.", 6) == 0;
}


/* "lang:zh,tag:redis" to ["lang=zh","tag=redis"]. */
static aegis_code_t
aegis_kb_facets(aegis_str_t filter, json_t *facets, aegis_error_t *err)
{
    char         facet[AEGIS_KB_FACET_MAX + 1];
    size_t       len, cut;
    const char  *p, *end, *last, *colon;

    last = filter.len ? filter.data + filter.len : filter.data;

    for (p = filter.data; p < last; p = end + 1) {
        end = memchr(p, ',', (size_t) (last - p));
        end = end ? end : last;
        colon = memchr(p, ':', (size_t) (end - p));

        if (colon == NULL || colon + 1 == end
            || !aegis_kb_filter_known(p, (size_t) (colon - p)))
        {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST,
                "The query parameter filter has %.*s; it takes name:value pairs of lang, "
                "category, tag, source and label.<name>.",
                (int) ((size_t) (end - p) < 64 ? (size_t) (end - p) : 64), p);
        }

        if (json_array_size(facets) == AEGIS_KB_FACETS_MAX) {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST,
                                   "The query parameter filter has more than %d pairs.",
                                   AEGIS_KB_FACETS_MAX);
        }

        len = (size_t) (end - p);
        cut = aegis_utf8_cut(p, len, AEGIS_KB_FACET_MAX);
        memcpy(facet, p, cut);
        facet[colon - p < AEGIS_KB_FACET_MAX ? colon - p : 0] = '=';
        json_array_append_new(facets, json_stringn(facet, cut));
    }

    return AEGIS_E_OK;
}


static void
aegis_kb_probe_vector(aegis_buf_t *buf, const char *embedder, const float *v, size_t n)
{
    char  *vector, *signs, *mask;

    vector = aegis_kb_vector_text(v, n);
    signs = aegis_kb_signs(v, n);
    mask = aegis_kb_mask(v, n);

    if (vector && signs && mask) {
        aegis_buf_puts(buf, "{\"embedder\":");
        aegis_buf_json(buf, aegis_view(embedder));
        aegis_buf_printf(buf, ",\"dims\":%zu,\"vector\":\"", n);
        aegis_buf_puts(buf, vector);
        aegis_buf_puts(buf, "\",\"signs\":\"");
        aegis_buf_puts(buf, signs);
        aegis_buf_puts(buf, "\",\"mask\":\"");
        aegis_buf_puts(buf, mask);
        aegis_buf_puts(buf, "\"}");
    } else {
        buf->failed = 1;
    }

    free(vector);
    free(signs);
    free(mask);
}


aegis_code_t
aegis_kb_probe(aegis_str_t query, aegis_str_t filter, char **ret_probe, aegis_error_t *err)
{
    char          *terms, *text;
    float          own[AEGIS_KB_DIMS];
    json_t        *facets;
    aegis_buf_t    buf = AEGIS_BUF_INIT;
    aegis_code_t   code;

    query.len = aegis_utf8_cut(query.data, query.len, AEGIS_KB_QUERY_MAX);

    facets = json_array();
    code = aegis_kb_facets(filter, facets, err);
    if (code != AEGIS_E_OK) {
        json_decref(facets);
        return code;
    }

    terms = aegis_kb_terms(AEGIS_NO_STR, query, AEGIS_KB_QUERY_TERMS);
    text = json_dumps(facets, JSON_COMPACT);
    json_decref(facets);
    aegis_kb_embed(AEGIS_NO_STR, query, own);

    aegis_buf_puts(&buf, "{\"text\":");
    aegis_buf_json(&buf, query);
    aegis_buf_puts(&buf, ",\"terms\":");
    aegis_buf_json(&buf, aegis_view(terms ? terms : ""));
    aegis_buf_puts(&buf, ",\"facets\":");
    aegis_buf_puts(&buf, text ? text : "[]");
    aegis_buf_puts(&buf, ",\"probes\":[");
    aegis_kb_probe_vector(&buf, AEGIS_KB_EMBEDDER, own, AEGIS_KB_DIMS);
    aegis_buf_puts(&buf, "]}");

    buf.failed |= terms == NULL || text == NULL;
    free(terms);
    free(text);

    *ret_probe = aegis_buf_take(&buf, NULL);

    return *ret_probe ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
}


char *
aegis_kb_case_query(const json_t *facts)
{
    size_t       i;
    json_t      *c, *labels, *tags, *evidence, *value;
    aegis_buf_t  buf = AEGIS_BUF_INIT;
    const char  *name;

    c = json_object_get(facts, "case");
    labels = json_object_get(c, "labels");
    tags = json_object_get(c, "tags");
    evidence = json_object_get(json_object_get(facts, "planning"), "evidence");

    aegis_buf_puts(&buf, aegis_json_str(c, "title"));

    /* what it is about; where it runs says nothing about what to do */
    json_object_foreach(labels, name, value) {
        if (json_is_string(value) && (strcmp(name, "service") == 0 || strcmp(name, "symptom") == 0
                || strcmp(name, "metric") == 0 || strcmp(name, "component") == 0))
        {
            aegis_buf_printf(&buf, "\n%s", json_string_value(value));
        }
    }

    for (i = 0; i < json_array_size(tags); i++) {
        value = json_array_get(tags, i);
        aegis_buf_printf(&buf, "\n%s", json_is_string(value) ? json_string_value(value) : "");
    }

    for (i = 0; i < json_array_size(evidence) && buf.len < AEGIS_KB_QUERY_MAX; i++) {
        value = json_array_get(evidence, i);
        aegis_buf_printf(&buf, "\n%s", aegis_json_str(value, "title"));
    }

    return aegis_buf_take(&buf, NULL);
}
