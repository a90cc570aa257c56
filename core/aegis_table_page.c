/*
 * aegis_table_page.c: reference pages in markdown, one for each table that a
 * person looks up: errors, routes with their bodies, subjects with streams and
 * consumers, settings, statements; and the schema of plans. The machine's page is in
 * aegis_table.c.
 */
#include "aegis_table.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_access.h"
#include "aegis_error.h"
#include "aegis_event.h"
#include "aegis_fsm.h"
#include "aegis_plan.h"
#include "aegis_route.h"
#include "aegis_stmt.h"


void
aegis_table_page_errors(aegis_buf_t *buf)
{
    unsigned                    i;
    const aegis_error_def_t    *e;
    const aegis_refusal_def_t  *r;

    static const char *const  verdicts[] = { "ack", "retry", "dead letter" };

    aegis_table_markdown(buf, "Errors");
    aegis_buf_puts(buf, "\nThe `type` of a problem document is `urn:aegis:problem:<code>`."
                        " The last column is what a worker does with a message that"
                        " ends so.\n");
    aegis_table_head(buf, (const char *[]) { "code", "status", "title", "what to do",
                                             "on the bus", NULL });

    for (i = AEGIS_E_OK + 1; i < AEGIS_N_ERRORS; i++) {
        e = aegis_error_def(i);
        aegis_buf_printf(buf, "| `%s` | %d ", e->code, e->http);
        aegis_table_row(buf, (const char *[]) { e->title, e->remedy,
                                                verdicts[e->verdict] }, 3);
    }

    aegis_buf_puts(buf, "\n## Refusals of who asks\n\nThe reason is in"
                        " `$aegis_refusal` and counted in `aegis_auth_refused_total`;"
                        " the client is told the code.\n");
    aegis_table_head(buf, (const char *[]) { "reason", "code", "status", "meaning",
                                             NULL });

    for (i = AEGIS_R_NONE + 1; i < AEGIS_N_REFUSALS; i++) {
        r = aegis_refusal_def(i);
        e = aegis_error_def(r->code);
        aegis_buf_printf(buf, "| `%s` | `%s` | %d ", r->name, e->code, e->http);
        aegis_table_row(buf, (const char *[]) { r->sentence }, 1);
    }
}


static const struct {
    aegis_schema_id_t  schema;
    const char        *name;
    const char        *type;
    int                required;
    const char        *limit;
} aegis_table_fields[] = {
#define AEGIS_FIELD(schema, name, type, required, limit, column)               \
    { AEGIS_SCHEMA_##schema, #name, #type, required, #limit },
#include "tables/fields.def"
#undef AEGIS_FIELD
};


static void
aegis_table_fields_of(aegis_buf_t *buf, const aegis_route_t *r)
{
    size_t  i;

    aegis_buf_printf(buf, "\n## Body of `%s`\n", r->path);
    aegis_table_head(buf, (const char *[]) { "field", "type", "required", "limit",
                                             NULL });

    for (i = 0; i < sizeof(aegis_table_fields) / sizeof(aegis_table_fields[0]); i++) {
        if (aegis_table_fields[i].schema != r->schema) {
            continue;
        }

        aegis_table_row(buf, (const char *[]) { aegis_table_fields[i].name,
            aegis_table_fields[i].type, aegis_table_fields[i].required ? "yes" : "",
            strcmp(aegis_table_fields[i].limit, "0") ? aegis_table_fields[i].limit : ""
            }, 4);
    }
}


void
aegis_table_page_routes(aegis_buf_t *buf)
{
    unsigned              i;
    const aegis_route_t  *r;

    static const char *const  methods[] = { "GET", "POST", "PATCH", "DELETE" };

    aegis_table_markdown(buf, "Routes");
    aegis_table_head(buf, (const char *[]) { "method", "path", "scope", "does", NULL });

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        r = aegis_route(i);
        aegis_buf_printf(buf, "| %s | `%s` ", methods[r->method], r->path);
        aegis_table_row(buf, (const char *[]) { r->scope, r->sentence }, 2);
    }

    aegis_buf_puts(buf, "\n## Events of `/case/{id}/transition`\n");
    aegis_table_head(buf, (const char *[]) { "event", "scope", "means", NULL });

    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        aegis_table_row(buf, (const char *[]) { aegis_event_name(i),
            aegis_event_scope(i), aegis_event_sentence(i) }, 3);
    }

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        r = aegis_route(i);

        if (r->schema != AEGIS_SCHEMA_none) {
            aegis_table_fields_of(buf, r);
        }
    }
}


void
aegis_table_page_subjects(aegis_buf_t *buf)
{
    size_t                   i, n;
    const aegis_stream_t    *st;
    const aegis_subject_t   *s;
    const aegis_consumer_t  *c;

    aegis_table_markdown(buf, "Subjects");
    aegis_table_head(buf, (const char *[]) { "subject", "stream", "from", "to",
        "fires", "or, when refused", "meaning", NULL });

    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        aegis_table_row(buf, (const char *[]) { s[i].subject,
            aegis_stream(s[i].stream)->name, s[i].producer, s[i].consumer, s[i].on_true,
            s[i].on_false, s[i].sentence }, 7);
    }

    aegis_buf_puts(buf, "\n## Streams\n");
    aegis_table_head(buf, (const char *[]) { "stream", "subjects", "max age, s",
                                             "max MiB", NULL });
    for (i = 0; i < AEGIS_N_STREAMS; i++) {
        st = aegis_stream((aegis_stream_id_t) i);
        aegis_buf_printf(buf, "| %s | %s | %lld | %lld |\n", st->name, st->subjects,
                         (long long) st->max_age_s, (long long) st->max_mib);
    }

    aegis_buf_puts(buf, "\n## Consumers\n");
    aegis_table_head(buf, (const char *[]) { "durable", "role", "stream", "filter",
                                             "ack wait, s", "max unacked", NULL });
    c = aegis_consumers(&n);
    for (i = 0; i < n; i++) {
        aegis_buf_printf(buf, "| %s | %s | %s | %s | %d | %d |\n", c[i].durable,
            c[i].role, aegis_stream(c[i].stream)->name,
            c[i].filter[0] ? c[i].filter : "all", c[i].ack_wait_s, c[i].max_unacked);
    }
}


void
aegis_table_page_settings(aegis_buf_t *buf)
{
    size_t  i;

    static const struct {
        const char  *name;
        const char  *type;
        const char  *value;
        int          reload;
        const char  *help;
    } settings[] = {
#define AEGIS_SETTING(name, type, value, reload, help)                         \
        { name, #type, value, reload, help },
#include "tables/settings.def"
#undef AEGIS_SETTING
    };

    aegis_table_markdown(buf, "Settings");
    aegis_buf_puts(buf, "\nOf the workers' `conf/aegis.yaml`. The environment overrides"
        " each: `AEGIS_` + the name in upper case with `_` for `.`. Those that can be"
        " reloaded change on SIGHUP.\n");
    aegis_table_head(buf, (const char *[]) { "setting", "type", "default", "reload",
                                             "meaning", NULL });

    for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        aegis_table_row(buf, (const char *[]) { settings[i].name, settings[i].type,
            settings[i].value, settings[i].reload ? "yes" : "", settings[i].help }, 5);
    }
}


void
aegis_table_page_statements(aegis_buf_t *buf)
{
    int                  k;
    unsigned             i;
    const aegis_stmt_t  *s;

    static const char *const  kinds[] = { "read", "write", "write, may wake the relay",
                                          "read, columns of the case" };

    aegis_table_markdown(buf, "Statements");
    aegis_buf_puts(buf, "\nEach takes arrays of items, a column a parameter, and returns"
        " a row an item: `ord, status, code, version, body, extra`. What reads a case returns"
        " columns of its row, of which `core/aegis_case.c` makes the body, and no row for"
        " what is not there.\n");
    aegis_table_head(buf, (const char *[]) { "function", "kind", "columns", NULL });

    for (i = 0; i < AEGIS_N_STMTS; i++) {
        s = aegis_stmt(i);
        aegis_buf_printf(buf, "| `aegis.%s` | %s |", s->name, kinds[s->kind]);

        for (k = 0; k < s->n_columns; k++) {
            aegis_buf_printf(buf, "%s%s", k ? ", " : " ",
                             aegis_column_name(s->columns[k]));
        }

        aegis_buf_puts(buf, " |\n");
    }

    aegis_buf_puts(buf, "\n## Statements of another shape\n");
    aegis_table_head(buf, (const char *[]) { "name", "parameters", "text", NULL });

    for (i = 0; i < AEGIS_N_SQLS; i++) {
        aegis_buf_printf(buf, "| %s | %d ", aegis_sql_name(i), aegis_sql_n_params(i));
        aegis_table_row(buf, (const char *[]) { aegis_sql_text(i) }, 1);
    }
}


void
aegis_table_plan_schema(aegis_buf_t *buf)
{
    char    *text;
    json_t  *schema;

    schema = aegis_plan_schema();
    text = json_dumps(schema, JSON_INDENT(2));

    aegis_buf_puts(buf, text ? text : "");
    aegis_buf_puts(buf, "\n");

    free(text);
    json_decref(schema);
}


/* The value as it stands within "schemas" of docs/openapi.json: indented, and
 * with its references changed to where OpenAPI has them. */
static void
aegis_table_openapi_value(aegis_buf_t *buf, const json_t *value)
{
    char    *text, *p, *ref;
    size_t   skip;

    text = json_dumps(value, JSON_INDENT(2));
    skip = strlen("#/$defs/");

    for (p = text; p && *p; p++) {
        ref = strncmp(p, "#/$defs/", skip) == 0 ? p + skip : NULL;

        if (ref) {
            aegis_buf_printf(buf, "#/components/schemas/Plan%c", *ref & ~0x20);
            p = ref;

        } else {
            aegis_buf_add(buf, p, 1);
            aegis_buf_puts(buf, *p == '\n' ? "      " : "");
        }
    }

    free(text);
}


void
aegis_table_openapi_plan(aegis_buf_t *buf)
{
    size_t       i;
    json_t      *schema, *defs, *def;
    const char  *name;

    static const char *const  standalone[] =
        { "$schema", "$id", "title", "$comment", "$defs" };

    schema = aegis_plan_schema();
    defs = json_incref(json_object_get(schema, "$defs"));

    for (i = 0; i < sizeof(standalone) / sizeof(standalone[0]); i++) {
        json_object_del(schema, standalone[i]);
    }

    aegis_buf_puts(buf, "      \"Plan\": ");
    aegis_table_openapi_value(buf, schema);

    json_object_foreach(defs, name, def) {
        aegis_buf_printf(buf, ",\n      \"Plan%c%s\": ", name[0] & ~0x20, name + 1);
        aegis_table_openapi_value(buf, def);
    }

    aegis_buf_puts(buf, ",\n");
    json_decref(defs);
    json_decref(schema);
}
