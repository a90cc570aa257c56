/*
 * aegis_ctl_fsm.c: `aegisctl fsm`: the state machine as the core has it, and
 * what a timeline row meant. Everything but `explain --case` works without any
 * server, from the tables that are compiled in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"
#include "aegis_fsm.h"


static json_t *
rule_json(const aegis_transition_t *t)
{
    json_t    *needs = json_array();
    unsigned   bit;

    for (bit = 0; aegis_fact_name(bit) != NULL; bit++) {
        if (aegis_guard_needs(t->guard) & (1u << bit)) {
            json_array_append_new(needs, json_pack("{s:s, s:s}", "fact", aegis_fact_name(bit),
                                                   "detail", aegis_fact_sentence(bit)));
        }
    }
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "rule", t->rule, "from",
        aegis_state_name(t->from), "event", aegis_event_name(t->event), "guard",
        aegis_guard_name(t->guard), "to", aegis_state_name(t->to), "publishes",
        aegis_state_command(t->to), "sentence", t->sentence, "needs", needs);
}


static int
fsm_show(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "rule", "RULE" }, { "from", "FROM" }, { "event", "EVENT" }, { "guard", "GUARD" },
        { "to", "TO" }, { "publishes", "PUBLISHES" }, { "sentence", "SENTENCE" }, { NULL, NULL }
    };
    const aegis_transition_t        *t;
    const char                      *form = aegis_ctl_opt(ctl, "format");
    json_t                          *rows;
    size_t                           i, n;
    char                            *text;

    if (form != NULL && strcmp(form, "table") != 0) {
        text = aegis_fsm_dump(form);
        if (text == NULL) {
            aegis_ctl_say("--format has no form %s; see --help", form);
            return AEGIS_CTL_USAGE;
        }
        fputs(text, stdout);
        free(text);
        return AEGIS_CTL_OK;
    }

    rows = json_array();
    t = aegis_fsm_table(&n);
    for (i = 0; i < n; i++) {
        json_array_append_new(rows, rule_json(&t[i]));
    }
    aegis_ctl_rows(ctl, rows, columns, "no transitions");
    json_decref(rows);
    return AEGIS_CTL_OK;
}


static void
print_rule(aegis_ctl_t *ctl, const aegis_transition_t *t)
{
    unsigned  bit, some = 0;

    printf("%srule %d%s: %s --%s--> %s\n", aegis_ctl_color(ctl, "bold"), t->rule,
           aegis_ctl_color(ctl, "off"), aegis_state_name(t->from), aegis_event_name(t->event),
           aegis_state_name(t->to));
    printf("  means      %s\n", t->sentence);
    printf("  from       %s: %s\n", aegis_state_name(t->from), aegis_state_sentence(t->from));
    printf("  event      %s: %s\n", aegis_event_name(t->event), aegis_event_sentence(t->event));
    printf("  guard      %s", aegis_guard_name(t->guard));
    for (bit = 0; aegis_fact_name(bit) != NULL; bit++) {
        if (aegis_guard_needs(t->guard) & (1u << bit)) {
            printf("%s%s", some++ ? ", and " : ": needs ", aegis_fact_sentence(bit));
        }
    }
    printf("\n  to         %s: %s\n", aegis_state_name(t->to), aegis_state_sentence(t->to));
    if (aegis_state_command(t->to)[0] != '\0') {
        printf("  publishes  evt.case.transition.v1, and %s for a case in mode auto\n",
               aegis_state_command(t->to));
    } else {
        printf("  publishes  evt.case.transition.v1\n");
    }
}


static int
explain_rule(aegis_ctl_t *ctl, const char *text)
{
    const aegis_transition_t  *t = aegis_fsm_rule(atoi(text));
    json_t                    *j;

    if (t == NULL || strspn(text, "0123456789") != strlen(text)) {
        aegis_ctl_say("there is no rule %s; aegisctl fsm show lists them", text);
        return AEGIS_CTL_NOT_FOUND;
    }
    if (ctl->json) {
        j = rule_json(t);
        aegis_ctl_json(j);
        json_decref(j);
    } else {
        print_rule(ctl, t);
    }
    return AEGIS_CTL_OK;
}


static void
print_row(aegis_ctl_t *ctl, const json_t *item)
{
    static const aegis_ctl_column_t  columns[] = {
        { "created_at", "when" }, { "actor", "by" }, { "principal", "authenticated as" },
        { "reason", "reason" }, { "correlation_id", "correlation" }, { "trace_id", "trace" },
        { "meta", "meta" }, { NULL, NULL }
    };
    const aegis_transition_t        *t;
    const char                      *kind;
    char                             buf[1024];
    int                              i;

    kind = json_string_value(json_object_get(item, "kind"));
    t = aegis_fsm_rule((int) json_integer_value(json_object_get(item, "rule")));
    printf("%sversion %s%s: %s", aegis_ctl_color(ctl, "bold"),
           aegis_ctl_cell(item, "version", buf, sizeof(buf)), aegis_ctl_color(ctl, "off"),
           kind != NULL && strcmp(kind, "create") == 0 ? "the case was created"
           : kind != NULL && strcmp(kind, "note") == 0 ? "a fact that moved nothing"
                                                       : "a transition");
    printf("\n");
    for (i = 0; columns[i].key != NULL; i++) {
        printf("  %-17s %s\n", columns[i].title,
               aegis_ctl_cell(item, columns[i].key, buf, sizeof(buf)));
    }
    if (t != NULL) {
        print_rule(ctl, t);
    }
}


static int
explain_case(aegis_ctl_t *ctl, const char *id)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *next;
    json_t              *found, *item;
    size_t               i;
    int64_t              version;
    char                 path[1500], esc[600], cursor[512] = "";
    int                  rc;

    version = aegis_ctl_opt_int(ctl, "version", 0, 1, 2147483647);
    if (version < 0) {
        return AEGIS_CTL_USAGE;
    }
    found = json_array();
    do {
        snprintf(path, sizeof(path), "/case/%s/timeline?limit=200",
                 aegis_ctl_escape(id, esc, sizeof(esc)));
        if (cursor[0] != '\0') {
            strncat(path, "&cursor=", sizeof(path) - strlen(path) - 1);
            strncat(path, aegis_ctl_escape(cursor, esc, sizeof(esc)),
                    sizeof(path) - strlen(path) - 1);
        }
        req.path = path;
        rc = aegis_ctl_case_send(ctl, &req, &a);
        if (rc != AEGIS_CTL_OK) {
            json_decref(found);
            return rc;
        }
        json_array_foreach(json_object_get(a.body, "items"), i, item) {
            if (version == 0
                || json_integer_value(json_object_get(item, "version")) == version)
            {
                json_array_append(found, item);
            }
        }
        next = json_string_value(json_object_get(a.body, "next"));
        snprintf(cursor, sizeof(cursor), "%s", next != NULL ? next : "");
        aegis_ctl_answer_clear(&a);
    } while (cursor[0] != '\0');

    if (ctl->json) {
        aegis_ctl_json(found);
    } else {
        json_array_foreach(found, i, item) {
            print_row(ctl, item);
        }
    }
    if (json_array_size(found) == 0) {
        aegis_ctl_say("the timeline has no version %lld", (long long) version);
        rc = AEGIS_CTL_NOT_FOUND;
    }
    json_decref(found);
    return rc;
}


static int
fsm_explain(aegis_ctl_t *ctl)
{
    const char  *id = aegis_ctl_opt(ctl, "case");

    if ((id != NULL) == (ctl->n_args == 1)) {
        aegis_ctl_say("give a rule's number, or --case <id> [--version <n>]");
        return AEGIS_CTL_USAGE;
    }
    return id != NULL ? explain_case(ctl, id) : explain_rule(ctl, ctl->args[0]);
}


static const aegis_ctl_option_t  show_options[] = {
    { "format", 'f', "FORM", "table (default), mermaid, markdown, json, sql, errors, routes, …" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  explain_options[] = {
    { "case", 0, "CASE-ID", "explain the rows of this case's timeline" },
    { "version", 'v', "N", "only the rows of this case version" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_fsm_commands[] = {
    { "show", "", 0, 0, "the state machine",
      "Other forms, for the reference pages: errors, routes, subjects, settings, statements.",
      show_options, fsm_show },
    { "explain", "[<rule>]", 0, 1, "what a rule, or a row of a timeline, means",
      "  aegisctl fsm explain 410\n"
      "  aegisctl fsm explain --case 0198… --version 5", explain_options, fsm_explain },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
