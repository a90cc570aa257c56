/*
 * aegis_module_analyze.c: the analyst, in its smallest form. It sums up what
 * was measured on the case's resource in the last minutes and links to the
 * rows. Its invariant: it says what is there and judges nothing, so that a
 * case is never stuck for lack of numbers.
 */
#include "aegis_module.h"

#include <stdlib.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_MODULE_ANALYZE_NAMED  5
#define AEGIS_MODULE_ANALYZE_MAX    1000


static void
aegis_module_analyze_value(aegis_buf_t *buf, const json_t *metric, const char *name)
{
    json_t  *value;

    value = json_object_get(metric, name);

    if (json_is_number(value)) {
        aegis_buf_printf(buf, " %s %.6g", name, json_number_value(value));
    }
}


/* One sentence for a person. New reference. */
static json_t *
aegis_module_analyze_summary(const char *resource, const json_t *metrics)
{
    char         *text;
    size_t        i, n, len;
    json_t       *m, *summary;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    n = json_array_size(metrics);

    if (resource[0] == '\0') {
        aegis_buf_puts(&buf, "the case names no resource, so no metric is known");

    } else if (n == 0) {
        aegis_buf_printf(&buf, "no metric of %s is known for the last 15 minutes",
                         resource);
    } else {
        aegis_buf_printf(&buf, "%s in the last 15 minutes", resource);
    }

    for (i = 0; i < n && i < AEGIS_MODULE_ANALYZE_NAMED; i++) {
        m = json_array_get(metrics, i);

        aegis_buf_printf(&buf, "%s %s", i ? ";" : ":", aegis_json_str(m, "metric"));
        aegis_module_analyze_value(&buf, m, "avg");
        aegis_module_analyze_value(&buf, m, "max");
        aegis_module_analyze_value(&buf, m, "p95");
    }

    if (n > i && i) {
        aegis_buf_printf(&buf, "; and %zu more", n - i);
    }

    text = aegis_buf_take(&buf, &len);
    if (text == NULL) {
        return NULL;
    }

    summary = json_stringn(text, aegis_utf8_cut(text, len, AEGIS_MODULE_ANALYZE_MAX));
    free(text);

    return summary;
}


static json_t *
aegis_module_analyze_links(const json_t *metrics, const aegis_module_ctx_t *ctx)
{
    char         *ref;
    size_t        i;
    json_t       *m, *links;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    links = json_array();

    for (i = 0; i < json_array_size(metrics); i++) {
        m = json_array_get(metrics, i);

        aegis_buf_printf(&buf, "metric_1m:%s/%s@%s/%s", aegis_json_str(m, "resource"),
                         aegis_json_str(m, "metric"), aegis_json_str(m, "from"),
                         aegis_json_str(m, "to"));
        ref = aegis_buf_take(&buf, NULL);

        if (ref == NULL) {
            json_decref(links);
            return NULL;
        }

        json_array_append_new(links, json_pack("{s:s, s:i, s:s, s:s}",
            "event_id", ctx->id, "link_no", (int) i + 1, "ref", ref,
            "note", aegis_json_str(m, "metric")));
        free(ref);
    }

    return links;
}


aegis_code_t
aegis_module_analyze(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t      *c, *labels, *metrics, *summary, *links, *artefact, *data, *body;
    const char  *resource, *severity;

    c = json_object_get(facts, "case");
    labels = json_object_get(c, "labels");
    metrics = json_object_get(facts, "metrics");
    resource = aegis_json_str(labels, "resource");
    severity = aegis_json_str(c, "severity");

    summary = aegis_module_analyze_summary(resource, metrics);
    links = aegis_module_analyze_links(metrics, ctx);

    artefact = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}",
        "event_id", ctx->id, "severity", severity[0] ? severity : "warning",
        "kind", json_array_size(metrics) ? "metrics" : "no-data",
        "title", aegis_json_str(c, "title"), "summary", summary,
        "labels", labels ? json_incref(labels) : json_object());

    if (artefact == NULL || links == NULL) {
        json_decref(artefact);
        json_decref(links);
        return aegis_error_set(err, AEGIS_E_INTERNAL,
                               "the finding could not be written down");
    }

    data = aegis_module_data(facts, ctx);
    json_object_update(data, artefact);
    json_object_set(data, "links", links);

    body = aegis_module_is_command(request) ? NULL
           : json_pack("{s:s}", "case_id", aegis_json_str(c, "case_id"));
    json_object_update(body, artefact);
    json_object_set(body, "links", links);

    return aegis_module_document("event_envelope", artefact, links,
                                 "evt.analysis.findings.v1", "findings", ctx, data,
                                 body, ret_doc, err);
}
