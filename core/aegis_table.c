/*
 * aegis_table.c: the wall printed: SQL rows, a diagram, JSON and reference
 * pages out of core/tables. Declared in aegis_fsm.h. Its invariant: the same
 * tables give the same bytes, so that a stale copy is found by comparing. The
 * pages about other tables than the machine's are in aegis_table_page.c.
 */
#include "aegis_table.h"

#include <string.h>

#include "aegis_error.h"
#include "aegis_event.h"
#include "aegis_fsm.h"


void
aegis_table_markdown(aegis_buf_t *buf, const char *title)
{
    aegis_buf_printf(buf, "<!-- %s -->\n# %s\n", AEGIS_TABLE_GENERATED, title);
}


void
aegis_table_head(aegis_buf_t *buf, const char *const *names)
{
    size_t  i, n;

    aegis_buf_puts(buf, "\n|");

    for (n = 0; names[n]; n++) {
        aegis_buf_printf(buf, " %s |", names[n]);
    }

    aegis_buf_puts(buf, "\n|");

    for (i = 0; i < n; i++) {
        aegis_buf_puts(buf, " --- |");
    }

    aegis_buf_puts(buf, "\n");
}


void
aegis_table_row(aegis_buf_t *buf, const char *const *cells, size_t n)
{
    size_t       i;
    const char  *s;

    aegis_buf_puts(buf, "|");

    for (i = 0; i < n; i++) {
        aegis_buf_puts(buf, " ");

        for (s = cells[i]; *s; s++) {
            if (*s == '|') {
                aegis_buf_puts(buf, "\\");
            }
            aegis_buf_add(buf, s, 1);
        }

        aegis_buf_puts(buf, cells[i][0] ? " |" : "|");
    }

    aegis_buf_puts(buf, "\n");
}


/* A literal of SQL. */
static void
aegis_table_quote(aegis_buf_t *buf, const char *text)
{
    const char  *s;

    aegis_buf_puts(buf, "'");

    for (s = text; *s; s++) {
        if (*s == '\'') {
            aegis_buf_puts(buf, "'");
        }
        aegis_buf_add(buf, s, 1);
    }

    aegis_buf_puts(buf, "'");
}


static void
aegis_table_quotes(aegis_buf_t *buf, const char *const *texts, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        aegis_buf_puts(buf, ", ");
        aegis_table_quote(buf, texts[i]);
    }
}


static void
aegis_table_insert(aegis_buf_t *buf, const char *table, const char *columns)
{
    aegis_buf_printf(buf, "\n    DELETE FROM aegis.%s;\n"
                          "    INSERT INTO aegis.%s (%s) VALUES", table, table, columns);
}


static const char *
aegis_table_comma(size_t i)
{
    return i ? ",\n        (" : "\n        (";
}


static void
aegis_table_sql_states(aegis_buf_t *buf)
{
    unsigned  i;

    aegis_table_insert(buf, "fsm_state", "name, terminal, command, sentence");

    for (i = 0; i < AEGIS_N_STATES; i++) {
        aegis_buf_puts(buf, aegis_table_comma(i));
        aegis_table_quote(buf, aegis_state_name(i));
        aegis_buf_puts(buf, aegis_state_terminal(i) ? ", true" : ", false");
        aegis_table_quotes(buf, (const char *[]) { aegis_state_command(i),
                                                   aegis_state_sentence(i) }, 2);
        aegis_buf_puts(buf, ")");
    }

    aegis_buf_puts(buf, ";\n");
}


static void
aegis_table_sql_transitions(aegis_buf_t *buf)
{
    size_t                     i, n;
    const aegis_transition_t  *t;

    t = aegis_fsm_table(&n);
    aegis_table_insert(buf, "fsm_transition",
        "rule, from_status, event, guard, needs, to_status, command, sentence");

    for (i = 0; i < n; i++) {
        aegis_buf_printf(buf, "%s%d", aegis_table_comma(i), t[i].rule);
        aegis_table_quotes(buf, (const char *[]) { aegis_state_name(t[i].from),
            aegis_event_name(t[i].event), aegis_guard_name(t[i].guard) }, 3);
        aegis_buf_printf(buf, ", %u", aegis_guard_needs(t[i].guard));
        aegis_table_quotes(buf, (const char *[]) { aegis_state_name(t[i].to),
            aegis_state_command(t[i].to), t[i].sentence }, 3);
        aegis_buf_puts(buf, ")");
    }

    aegis_buf_puts(buf, ";\n");
}


static void
aegis_table_sql_facts(aegis_buf_t *buf)
{
    unsigned  bit;

    aegis_table_insert(buf, "fsm_fact", "bit, name, sentence");

    for (bit = 0; aegis_fact_name(bit); bit++) {
        aegis_buf_printf(buf, "%s%u", aegis_table_comma(bit), bit);
        aegis_table_quotes(buf, (const char *[]) { aegis_fact_name(bit),
                                                   aegis_fact_sentence(bit) }, 2);
        aegis_buf_puts(buf, ")");
    }

    aegis_buf_puts(buf, ";\n");
}


static void
aegis_table_sql_errors(aegis_buf_t *buf)
{
    unsigned                  i;
    const aegis_error_def_t  *e;

    aegis_table_insert(buf, "error_def", "code, status, title, remedy");

    for (i = 0; i < AEGIS_N_ERRORS; i++) {
        e = aegis_error_def(i);
        aegis_buf_puts(buf, aegis_table_comma(i));
        aegis_table_quote(buf, e->code);
        aegis_buf_printf(buf, ", %d", e->http);
        aegis_table_quotes(buf, (const char *[]) { e->title, e->remedy }, 2);
        aegis_buf_puts(buf, ")");
    }

    aegis_buf_puts(buf, ";\n");
}


static void
aegis_table_sql_subjects(aegis_buf_t *buf)
{
    size_t                  i, n;
    const aegis_subject_t  *s;

    s = aegis_subjects(&n);
    aegis_table_insert(buf, "subject_def", "subject, stream, on_true, on_false");

    for (i = 0; i < n; i++) {
        aegis_buf_puts(buf, aegis_table_comma(i));
        aegis_table_quote(buf, s[i].subject);
        aegis_table_quotes(buf, (const char *[]) { aegis_stream(s[i].stream)->name,
            s[i].on_true, s[i].on_false }, 3);
        aegis_buf_puts(buf, ")");
    }

    aegis_buf_puts(buf, ";\n");
}


/* One DO block: whoever reads meanwhile sees the old rows or the new ones. */
static void
aegis_table_sql(aegis_buf_t *buf)
{
    aegis_buf_puts(buf, "-- " AEGIS_TABLE_GENERATED "\n"
        "-- The rows that SQL decides with, the same that the core was compiled with.\n"
        "DO $aegis$\nBEGIN");

    aegis_table_sql_states(buf);
    aegis_table_sql_transitions(buf);
    aegis_table_sql_facts(buf);
    aegis_table_sql_errors(buf);
    aegis_table_sql_subjects(buf);

    aegis_buf_puts(buf, "END\n$aegis$;\n");
}


static void
aegis_table_diagram(aegis_buf_t *buf)
{
    size_t                     i, n;
    unsigned                   s;
    const aegis_transition_t  *t;

    aegis_buf_puts(buf, "stateDiagram-v2\n    [*] --> NEW\n");

    t = aegis_fsm_table(&n);

    for (i = 0; i < n; i++) {
        aegis_buf_printf(buf, "    %s --> %s: %s", aegis_state_name(t[i].from),
                         aegis_state_name(t[i].to), aegis_event_name(t[i].event));

        if (aegis_guard_needs(t[i].guard)) {
            aegis_buf_printf(buf, " [%s]", aegis_guard_name(t[i].guard));
        }

        aegis_buf_puts(buf, "\n");
    }

    for (s = 0; s < AEGIS_N_STATES; s++) {
        if (aegis_state_terminal(s)) {
            aegis_buf_printf(buf, "    %s --> [*]\n", aegis_state_name(s));
        }
    }
}


static void
aegis_table_mermaid(aegis_buf_t *buf)
{
    aegis_buf_puts(buf, "%% " AEGIS_TABLE_GENERATED "\n");
    aegis_table_diagram(buf);
}


/* The facts of a mask as "a, b". */
static void
aegis_table_facts(aegis_buf_t *buf, unsigned needs)
{
    unsigned  bit, n;

    for (bit = 0, n = 0; aegis_fact_name(bit); bit++) {
        if (needs & (1u << bit)) {
            aegis_buf_printf(buf, "%s%s", n++ ? ", " : "", aegis_fact_name(bit));
        }
    }
}


static void
aegis_table_page_machine(aegis_buf_t *buf)
{
    size_t                     i, n;
    unsigned                   k;
    const aegis_transition_t  *t;

    aegis_table_markdown(buf, "The state machine of a case");

    aegis_buf_puts(buf, "\n```mermaid\n");
    aegis_table_diagram(buf);
    aegis_buf_puts(buf, "```\n\n## States\n");

    aegis_table_head(buf, (const char *[]) { "state", "terminal",
                                             "command on entry", "meaning", NULL });
    for (k = 0; k < AEGIS_N_STATES; k++) {
        aegis_table_row(buf, (const char *[]) { aegis_state_name(k),
            aegis_state_terminal(k) ? "yes" : "", aegis_state_command(k),
            aegis_state_sentence(k) }, 4);
    }

    aegis_buf_puts(buf, "\n## Events\n");
    aegis_table_head(buf, (const char *[]) { "event", "meaning", NULL });
    for (k = 0; k < AEGIS_N_EVENTS; k++) {
        aegis_table_row(buf, (const char *[]) { aegis_event_name(k),
                                                aegis_event_sentence(k) }, 2);
    }

    aegis_buf_puts(buf, "\n## Guards\n");
    aegis_table_head(buf, (const char *[]) { "guard", "needs", NULL });
    for (k = 0; k < AEGIS_N_GUARDS; k++) {
        aegis_buf_printf(buf, "| %s | ", aegis_guard_name(k));
        aegis_table_facts(buf, aegis_guard_needs(k));
        aegis_buf_puts(buf, " |\n");
    }

    aegis_buf_puts(buf, "\n## Facts\n");
    aegis_table_head(buf, (const char *[]) { "fact", "said when it is missing", NULL });
    for (k = 0; aegis_fact_name(k); k++) {
        aegis_table_row(buf, (const char *[]) { aegis_fact_name(k),
                                                aegis_fact_sentence(k) }, 2);
    }

    aegis_buf_puts(buf, "\n## Transitions\n\nEvery pair that is not here is illegal.\n");
    aegis_table_head(buf, (const char *[]) { "rule", "from", "event", "guard", "to",
                                             "meaning", NULL });
    t = aegis_fsm_table(&n);
    for (i = 0; i < n; i++) {
        aegis_buf_printf(buf, "| %d ", t[i].rule);
        aegis_table_row(buf, (const char *[]) { aegis_state_name(t[i].from),
            aegis_event_name(t[i].event), aegis_guard_name(t[i].guard),
            aegis_state_name(t[i].to), t[i].sentence }, 5);
    }
}


static void
aegis_table_pair(aegis_buf_t *buf, const char *name, const char *value)
{
    aegis_buf_printf(buf, "\"%s\": ", name);
    aegis_buf_json(buf, aegis_view(value));
}


static void
aegis_table_json_names(aegis_buf_t *buf)
{
    unsigned  i;

    aegis_buf_puts(buf, "  \"states\": [");
    for (i = 0; i < AEGIS_N_STATES; i++) {
        aegis_buf_puts(buf, i ? ",\n    {" : "\n    {");
        aegis_table_pair(buf, "name", aegis_state_name(i));
        aegis_buf_printf(buf, ", \"terminal\": %s, ",
                         aegis_state_terminal(i) ? "true" : "false");
        aegis_table_pair(buf, "command", aegis_state_command(i));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "sentence", aegis_state_sentence(i));
        aegis_buf_puts(buf, "}");
    }

    aegis_buf_puts(buf, "\n  ],\n  \"events\": [");
    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        aegis_buf_puts(buf, i ? ",\n    {" : "\n    {");
        aegis_table_pair(buf, "name", aegis_event_name(i));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "sentence", aegis_event_sentence(i));
        aegis_buf_puts(buf, "}");
    }

    aegis_buf_puts(buf, "\n  ],\n  \"facts\": [");
    for (i = 0; aegis_fact_name(i); i++) {
        aegis_buf_printf(buf, "%s{\"bit\": %u, ", i ? ",\n    " : "\n    ", i);
        aegis_table_pair(buf, "name", aegis_fact_name(i));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "sentence", aegis_fact_sentence(i));
        aegis_buf_puts(buf, "}");
    }

    aegis_buf_puts(buf, "\n  ],\n  \"guards\": [");
    for (i = 0; i < AEGIS_N_GUARDS; i++) {
        aegis_buf_puts(buf, i ? ",\n    {" : "\n    {");
        aegis_table_pair(buf, "name", aegis_guard_name(i));
        aegis_buf_printf(buf, ", \"needs\": %u}", aegis_guard_needs(i));
    }
}


static void
aegis_table_json(aegis_buf_t *buf)
{
    size_t                     i, n;
    const aegis_transition_t  *t;

    aegis_buf_puts(buf, "{\n  ");
    aegis_table_pair(buf, "comment", AEGIS_TABLE_GENERATED);
    aegis_buf_puts(buf, ",\n");
    aegis_table_json_names(buf);
    aegis_buf_puts(buf, "\n  ],\n  \"transitions\": [");

    t = aegis_fsm_table(&n);

    for (i = 0; i < n; i++) {
        aegis_buf_printf(buf, "%s{\"rule\": %d, ", i ? ",\n    " : "\n    ", t[i].rule);
        aegis_table_pair(buf, "from", aegis_state_name(t[i].from));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "event", aegis_event_name(t[i].event));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "guard", aegis_guard_name(t[i].guard));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "to", aegis_state_name(t[i].to));
        aegis_buf_puts(buf, ", ");
        aegis_table_pair(buf, "sentence", t[i].sentence);
        aegis_buf_puts(buf, "}");
    }

    aegis_buf_puts(buf, "\n  ]\n}\n");
}


char *
aegis_fsm_dump(const char *form)
{
    size_t       i;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    static const struct {
        const char  *name;
        void       (*write)(aegis_buf_t *buf);
    } forms[] = {
        { "sql",        aegis_table_sql },
        { "mermaid",    aegis_table_mermaid },
        { "markdown",   aegis_table_page_machine },
        { "json",       aegis_table_json },
        { "errors",     aegis_table_page_errors },
        { "routes",     aegis_table_page_routes },
        { "subjects",   aegis_table_page_subjects },
        { "settings",   aegis_table_page_settings },
        { "statements", aegis_table_page_statements },
        { "plan-schema", aegis_table_plan_schema },
        { "openapi-plan", aegis_table_openapi_plan }
    };

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (strcmp(forms[i].name, form) == 0) {
            forms[i].write(&buf);
            return aegis_buf_take(&buf, NULL);
        }
    }

    return NULL;
}
