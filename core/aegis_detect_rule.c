/*
 * aegis_detect_rule.c: what people may say about series: detectors.yaml, and what
 * holds where they say nothing.
 * Invariant: rules only narrow what is looked at and set limits; a file with a
 * complaint is refused whole, so that a typing error never silences a series.
 */
#include "aegis_detect.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_yaml.h"

#define AEGIS_RULE_MAX    256
#define AEGIS_RULE_NAMES  32            /* patterns of one member */
#define AEGIS_RULE_LABELS 16
#define AEGIS_RULE_GLOB   200           /* characters of a pattern */

struct aegis_detect_rules_s {
    json_t  *doc;
};

static const char *const  aegis_rule_top[] = { "version", "defaults", "rules", NULL };
static const char *const  aegis_rule_sources[] = { "metric", "call", "log", NULL };
static const char *const  aegis_rule_directions[] = { "up", "down", "both", NULL };
static const char *const  aegis_rule_stats[] = { "avg", "max", "p95", NULL };
static const char *const  aegis_rule_severities[] =
    { "info", "warning", "error", "critical", NULL };
static const char *const  aegis_rule_kinds[] = {
#define X(name, sentence)  #name,
    AEGIS_DETECT_KINDS(X)
#undef X
    NULL
};

/* Members that set something; those that only select come after them. */
static const char *const  aegis_rule_members[] = {
    "score", "min_samples", "direction", "floor", "floor_ratio", "min_change",
    "clear_samples", "rearm", "missing_s", "above", "above_clear", "below", "below_clear",
    "for_samples", "off", "ignore", "opens", "severity", "stat", "labels",
    "name", "source", "metric", "resource", NULL
};

static const struct {
    const char  *name;
    double       least, most;
} aegis_rule_numbers[] = {
    { "score", 2, AEGIS_DETECT_MAX }, { "floor", 0, 1e30 }, { "floor_ratio", 0, 100 },
    { "min_change", 0, 1000 }, { "rearm", 1, 1000 },
    { "above", -1e30, 1e30 }, { "above_clear", -1e30, 1e30 },
    { "below", -1e30, 1e30 }, { "below_clear", -1e30, 1e30 }
};

static const struct {
    const char  *name;
    int          least, most;
} aegis_rule_ints[] = {
    { "min_samples", 2, 100000 }, { "clear_samples", 1, 10000 },
    { "missing_s", 0, 604800 }, { "for_samples", 1, 1000 }
};

/* What is known about names that everybody uses alike. */
static const struct {
    const char  *source, *metric;
    int          direction;
    double       floor;
} aegis_rule_known[] = {
    { "call", "err_rate", 1, 0.01 }, { "call", "p50", 1, 2 }, { "call", "p95", 1, 5 },
    { "log", "*", 1, 1 },
    { "metric", "*err*", 1, 0 }, { "metric", "*fail*", 1, 0 },
    { "metric", "*5xx*", 1, 0 }, { "metric", "*timeout*", 1, 0 },
    { "metric", "*latency*", 1, 0 }, { "metric", "*duration*", 1, 0 },
    { "metric", "*restart*", 1, 0 }, { "metric", "*queue*", 1, 0 },
    { "metric", "*success*", -1, 0 }, { "metric", "*availab*", -1, 0 }
};


/* * any characters, ? any one; without case for ASCII. */
static int
aegis_detect_glob(const char *glob, const char *text)
{
    const char  *star, *mark;

    star = NULL;
    mark = text;

    while (*text) {
        if (*glob == '*') {
            star = glob++;
            mark = text;

        } else if (*glob && (*glob == '?' || strncasecmp(glob, text, 1) == 0)) {
            glob++;
            text++;

        } else if (star) {
            glob = star + 1;
            text = ++mark;

        } else {
            return 0;
        }
    }

    while (*glob == '*') {
        glob++;
    }

    return *glob == '\0';
}


/* An absent member selects everything. */
static int
aegis_detect_selects(const json_t *rule, const char *member, const char *text)
{
    size_t   i;
    json_t  *value;

    value = json_object_get(rule, member);

    if (json_is_string(value)) {
        return aegis_detect_glob(json_string_value(value), text);
    }

    for (i = 0; i < json_array_size(value); i++) {
        if (aegis_detect_glob(json_string_value(json_array_get(value, i)), text)) {
            return 1;
        }
    }

    return value == NULL;
}


/* --- check */

static void
aegis_detect_check_names(const json_t *value, const char *const *words, const char *at,
    aegis_error_t *err)
{
    char    item[AEGIS_CHECK_POINTER];
    size_t  i;

    if (!json_is_array(value)) {
        (void) (words ? aegis_check_enum(value, words, at, err)
                : aegis_check_string(value, 1, AEGIS_RULE_GLOB, at, err));
        return;
    }

    if (!aegis_check_array(value, 1, AEGIS_RULE_NAMES, at, err)) {
        return;
    }

    for (i = 0; i < json_array_size(value); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        (void) (words ? aegis_check_enum(json_array_get(value, i), words, item, err)
                : aegis_check_string(json_array_get(value, i), 1, AEGIS_RULE_GLOB, item, err));
    }
}


static const json_t *
aegis_detect_member(const json_t *rule, const char *at, const char *name, char *sub,
    size_t size)
{
    aegis_error_pointer(sub, size, at, name);

    return json_object_get(rule, name);
}


/* What a case may have: strings of up to 512 under words. */
static void
aegis_detect_check_labels(const json_t *labels, const char *at, aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    json_t      *value;
    const char  *name;

    if (!json_is_object(labels) || json_object_size(labels) > AEGIS_RULE_LABELS) {
        aegis_error_at(err, at, "must be an object of at most %d labels", AEGIS_RULE_LABELS);
        return;
    }

    json_object_foreach((json_t *) labels, name, value) {
        aegis_error_pointer(sub, sizeof(sub), at, name);
        if (!aegis_check_is_word(name, 63)) {
            aegis_error_at(err, sub, "is not a label's name");
        }
        aegis_check_string(value, 0, 512, sub, err);
    }
}


/* A limit and where it clears: the second lies inside of the first. */
static void
aegis_detect_check_limit(const json_t *rule, const char *name, const char *clear,
    int sign, const char *at, aegis_error_t *err)
{
    char           sub[AEGIS_CHECK_POINTER];
    const json_t  *limit, *inside;

    limit = json_object_get(rule, name);
    inside = aegis_detect_member(rule, at, clear, sub, sizeof(sub));

    if (inside && !limit) {
        aegis_error_at(err, sub, "needs %s", name);

    } else if (json_is_number(inside) && json_is_number(limit)
               && sign * json_number_value(inside) > sign * json_number_value(limit))
    {
        aegis_error_at(err, sub, "must not be beyond %s", name);
    }
}


static void
aegis_detect_check_rule(const json_t *rule, int selects, const char *at,
    aegis_error_t *err)
{
    char           sub[AEGIS_CHECK_POINTER];
    size_t         i;
    const char    *name;
    const json_t  *value;

    if (!aegis_check_object(rule, aegis_rule_members, at, err)) {
        return;
    }

    for (i = 0; i < sizeof(aegis_rule_numbers) / sizeof(aegis_rule_numbers[0]); i++) {
        value = aegis_detect_member(rule, at, aegis_rule_numbers[i].name, sub, sizeof(sub));
        if (value) {
            aegis_check_number(value, aegis_rule_numbers[i].least,
                               aegis_rule_numbers[i].most, sub, err);
        }
    }

    for (i = 0; i < sizeof(aegis_rule_ints) / sizeof(aegis_rule_ints[0]); i++) {
        value = aegis_detect_member(rule, at, aegis_rule_ints[i].name, sub, sizeof(sub));
        if (value) {
            aegis_check_int(value, aegis_rule_ints[i].least, aegis_rule_ints[i].most, sub,
                            err);
        }
    }

    static const struct {
        const char         *name;
        const char *const  *words;
        int                 selects;
    } words[] = {
        { "direction", aegis_rule_directions, 0 }, { "off", aegis_rule_kinds, 0 },
        { "severity", aegis_rule_severities, 0 }, { "stat", aegis_rule_stats, 0 },
        { "source", aegis_rule_sources, 1 }, { "metric", NULL, 1 }, { "resource", NULL, 1 },
        { "name", NULL, 1 }
    };

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        value = aegis_detect_member(rule, at, words[i].name, sub, sizeof(sub));
        name = words[i].name;

        if (value && words[i].selects && !selects) {
            aegis_error_at(err, sub, "selects series, which defaults do not");

        } else if (value && json_is_array(value) && !words[i].selects
                   && strcmp(name, "off") != 0)
        {
            aegis_error_at(err, sub, "must be one word");

        } else if (value) {
            aegis_detect_check_names(value, words[i].words, sub, err);
        }
    }

    for (i = 0; i < 2; i++) {
        value = aegis_detect_member(rule, at, i ? "opens" : "ignore", sub, sizeof(sub));
        if (value) {
            aegis_check_bool(value, sub, err);
        }
    }

    value = aegis_detect_member(rule, at, "labels", sub, sizeof(sub));
    if (value) {
        aegis_detect_check_labels(value, sub, err);
    }

    aegis_detect_check_limit(rule, "above", "above_clear", 1, at, err);
    aegis_detect_check_limit(rule, "below", "below_clear", -1, at, err);
}


static void
aegis_detect_check(const json_t *doc, aegis_error_t *err)
{
    char     at[AEGIS_CHECK_POINTER];
    size_t   i;
    json_t  *value;

    if (!aegis_check_object(doc, aegis_rule_top, "", err)) {
        return;
    }

    aegis_check_int(json_object_get(doc, "version"), 1, 1, "/version", err);

    if ((value = json_object_get(doc, "defaults")) != NULL) {
        aegis_detect_check_rule(value, 0, "/defaults", err);
    }

    value = json_object_get(doc, "rules");
    if (value && aegis_check_array(value, 0, AEGIS_RULE_MAX, "/rules", err)) {
        for (i = 0; i < json_array_size(value); i++) {
            aegis_error_index(at, sizeof(at), "/rules", i);
            aegis_detect_check_rule(json_array_get(value, i), 1, at, err);
        }
    }
}


aegis_code_t
aegis_detect_rules_parse(aegis_str_t yaml, aegis_detect_rules_t **ret,
    aegis_error_t *err)
{
    json_t         *doc;
    aegis_code_t    rc;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    rc = aegis_yaml_to_json(yaml, &doc, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    aegis_detect_check(doc, &found);
    aegis_yaml_lines(yaml, &found);
    rc = aegis_error_move(err, &found);

    if (rc == AEGIS_E_OK) {
        *ret = malloc(sizeof(**ret));
        if (*ret) {
            (*ret)->doc = doc;
            return AEGIS_E_OK;
        }
        rc = aegis_error_set(err, AEGIS_E_INTERNAL, "no memory for the rules");
    }

    json_decref(doc);

    return rc;
}


void
aegis_detect_rules_free(aegis_detect_rules_t *rules)
{
    if (rules) {
        json_decref(rules->doc);
        free(rules);
    }
}


size_t
aegis_detect_rules_count(const aegis_detect_rules_t *rules)
{
    return rules ? json_array_size(json_object_get(rules->doc, "rules")) : 0;
}


/* --- use */

void
aegis_detect_rule_init(aegis_detect_rule_t *rule)
{
    memset(rule, 0, sizeof(*rule));
    rule->min_samples = 60;
    rule->clear_samples = 15;
    rule->rearm = 1.5;
    rule->for_samples = 1;
    rule->opens = 1;
}


static void
aegis_detect_number(const json_t *rule, const char *name, double *ret)
{
    json_t  *value;

    value = json_object_get(rule, name);
    *ret = json_is_number(value) ? json_number_value(value) : *ret;
}


static void
aegis_detect_int(const json_t *rule, const char *name, int *ret)
{
    json_t  *value;

    value = json_object_get(rule, name);
    *ret = json_is_integer(value) ? (int) json_integer_value(value) : *ret;
}


static int
aegis_detect_word(const json_t *rule, const char *name, const char *const *words)
{
    int          i;
    const char  *word;

    word = aegis_json_str(rule, name);

    for (i = 0; words[i]; i++) {
        if (strcmp(word, words[i]) == 0) {
            return i;
        }
    }

    return -1;
}


static unsigned
aegis_detect_off(const json_t *value)
{
    int       i;
    size_t    k;
    unsigned  off;

    for (i = 0, off = 0; i < AEGIS_DETECT_N_KINDS; i++) {
        if (json_is_string(value)) {
            off |= strcmp(json_string_value(value), aegis_rule_kinds[i]) == 0 ? 1u << i : 0;
        }
        for (k = 0; k < json_array_size(value); k++) {
            off |= strcmp(json_string_value(json_array_get(value, k)), aegis_rule_kinds[i])
                   == 0 ? 1u << i : 0;
        }
    }

    return off;
}


static void
aegis_detect_apply(const json_t *rule, aegis_detect_rule_t *ret)
{
    int      i;
    json_t  *value;

    aegis_detect_number(rule, "score", &ret->score);
    aegis_detect_number(rule, "floor", &ret->floor);
    aegis_detect_number(rule, "floor_ratio", &ret->floor_ratio);
    aegis_detect_number(rule, "min_change", &ret->min_change);
    aegis_detect_number(rule, "rearm", &ret->rearm);
    aegis_detect_int(rule, "min_samples", &ret->min_samples);
    aegis_detect_int(rule, "clear_samples", &ret->clear_samples);
    aegis_detect_int(rule, "missing_s", &ret->missing_s);
    aegis_detect_int(rule, "for_samples", &ret->for_samples);

    if (json_object_get(rule, "above")) {
        ret->has_above = 1;
        aegis_detect_number(rule, "above", &ret->above);
        ret->above_clear = ret->above;
        aegis_detect_number(rule, "above_clear", &ret->above_clear);
    }

    if (json_object_get(rule, "below")) {
        ret->has_below = 1;
        aegis_detect_number(rule, "below", &ret->below);
        ret->below_clear = ret->below;
        aegis_detect_number(rule, "below_clear", &ret->below_clear);
    }

    i = aegis_detect_word(rule, "direction", aegis_rule_directions);
    ret->direction = i < 0 ? ret->direction : i == 0 ? 1 : i == 1 ? -1 : 0;
    i = aegis_detect_word(rule, "stat", aegis_rule_stats);
    ret->stat = i < 0 ? ret->stat : (aegis_detect_stat_t) i;
    i = aegis_detect_word(rule, "severity", aegis_rule_severities);
    if (i >= 0) {
        strncpy(ret->severity, aegis_rule_severities[i], sizeof(ret->severity) - 1);
    }

    if ((value = json_object_get(rule, "labels")) != NULL) {
        ret->labels = value;
    }
    if ((value = json_object_get(rule, "off")) != NULL) {
        ret->off = aegis_detect_off(value);
    }
    if ((value = json_object_get(rule, "ignore")) != NULL) {
        ret->ignore = json_is_true(value);
    }
    if ((value = json_object_get(rule, "opens")) != NULL) {
        ret->opens = json_is_true(value);
    }
}


void
aegis_detect_rules_find(const aegis_detect_rules_t *rules, const char *source,
    const char *resource, const char *metric, aegis_detect_rule_t *ret)
{
    size_t   i;
    json_t  *list, *rule;

    aegis_detect_rule_init(ret);

    for (i = 0; i < sizeof(aegis_rule_known) / sizeof(aegis_rule_known[0]); i++) {
        if (strcmp(source, aegis_rule_known[i].source) == 0
            && aegis_detect_glob(aegis_rule_known[i].metric, metric))
        {
            ret->direction = aegis_rule_known[i].direction;
            ret->floor = aegis_rule_known[i].floor;
        }
    }

    if (rules == NULL) {
        return;
    }

    aegis_detect_apply(json_object_get(rules->doc, "defaults"), ret);
    list = json_object_get(rules->doc, "rules");

    for (i = 0; i < json_array_size(list); i++) {
        rule = json_array_get(list, i);
        if (aegis_detect_selects(rule, "source", source)
            && aegis_detect_selects(rule, "metric", metric)
            && aegis_detect_selects(rule, "resource", resource))
        {
            aegis_detect_apply(rule, ret);
        }
    }
}
