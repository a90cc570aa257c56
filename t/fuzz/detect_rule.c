/*
 * detect_rule.c: fuzzes detectors.yaml. What is refused says why; what is taken
 * gives every series numbers inside of their limits.
 */
#include "aegis_fuzz.h"

#include <math.h>

#include "aegis_detect.h"


static void
look(const aegis_detect_rules_t *rules, const char *source, const char *metric)
{
    aegis_detect_rule_t  r;

    aegis_detect_rules_find(rules, source, "urn:k8s:svc:shop/cart", metric, &r);
    aegis_fuzz_must(r.score == 0 || (r.score >= 2 && r.score <= AEGIS_DETECT_MAX));
    aegis_fuzz_must(r.min_samples >= 2 && r.clear_samples >= 1 && r.for_samples >= 1);
    aegis_fuzz_must(r.rearm >= 1 && r.floor >= 0 && r.floor_ratio >= 0 && r.min_change >= 0);
    aegis_fuzz_must(r.direction >= -1 && r.direction <= 1 && r.missing_s >= 0);
    aegis_fuzz_must(r.stat <= AEGIS_DETECT_P95 && r.off < 1u << AEGIS_DETECT_N_KINDS);
    aegis_fuzz_must(memchr(r.severity, '\0', sizeof(r.severity)) != NULL);
    aegis_fuzz_must(isfinite(r.above) && isfinite(r.below));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_code_t           code;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_detect_rules_t  *rules;

    code = aegis_detect_rules_parse((aegis_str_t) { size, (const char *) data }, &rules, &err);

    if (code == AEGIS_E_OK) {
        look(rules, "metric", "http_errors_total");
        look(rules, "call", "err_rate");
        look(rules, "log", "");
        aegis_detect_rules_free(rules);

    } else {
        aegis_fuzz_must(err.code == code);
        aegis_fuzz_must(err.detail[0] || json_array_size(err.errors) > 0);
        aegis_error_clear(&err);
    }

    return 0;
}
