/*
 * aegis_plan_cite.c: what the knowledge base has to say about a plan: passages
 * quoted in its notes, ways back in its rollback_notes, each with the locator that
 * leads to its bytes. Invariant: a quotation changes nothing that is done; what
 * the template says stays, and quotations take the room that is left.
 */
#include "aegis_plan.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_PLAN_NOTES_MAX     4000
#define AEGIS_PLAN_BACK_MAX      2000
#define AEGIS_PLAN_EVIDENCE_MAX  32
#define AEGIS_PLAN_QUOTED        480    /* bytes of a passage in the notes */
#define AEGIS_PLAN_QUOTES        3


/* "[1] Title > Heading (kb:…): text" on a line of its own. */
static void
aegis_plan_quote(aegis_buf_t *buf, size_t nth, const char *title, const json_t *passage)
{
    size_t       i, n;
    const char  *heading, *text;

    heading = aegis_json_str(passage, "heading");
    text = aegis_json_str(passage, "text");
    n = aegis_utf8_cut(text, strlen(text), AEGIS_PLAN_QUOTED);

    aegis_buf_printf(buf, "%s[%zu] %s", buf->len ? "\n" : "", nth, title);
    /* a document often begins with its title as the first heading */
    if (heading[0] && strcmp(heading, title) != 0) {
        aegis_buf_printf(buf, " > %s", strncmp(heading, title, strlen(title)) == 0
                         && strncmp(heading + strlen(title), " > ", 3) == 0
                         ? heading + strlen(title) + 3 : heading);
    }
    aegis_buf_printf(buf, " (%s): ", aegis_json_str(passage, "locator"));

    for (i = 0; i < n; i++) {
        aegis_buf_add(buf, text[i] == '\n' || text[i] == '\t' ? " " : text + i, 1);
    }
    aegis_buf_puts(buf, text[n] ? "\xe2\x80\xa6" : "");
}


/* Steals buf's text. In notes it comes behind what is there. */
static void
aegis_plan_append(json_t *plan, const char *name, const char *head, aegis_buf_t *buf,
    size_t max)
{
    char        *quotes, *text;
    size_t       len, room;
    aegis_buf_t  all = AEGIS_BUF_INIT;
    const char  *own;

    quotes = aegis_buf_take(buf, &len);
    if (quotes == NULL) {
        return;
    }

    own = aegis_json_str(plan, name);
    room = strlen(own) + strlen(head) + 2 < max ? max - strlen(own) - strlen(head) - 2 : 0;

    if (len && room > 80) {
        aegis_buf_printf(&all, "%s%s%s", own, own[0] ? "\n\n" : "", head);
        aegis_buf_add(&all, quotes, aegis_utf8_cut(quotes, len, room));
        text = aegis_buf_take(&all, NULL);
        if (text) {
            json_object_set_new(plan, name, json_string(text));
        }
        free(text);
    }

    free(quotes);
}


/* Passages come from outside: what a plan's texts may not have becomes a blank. */
static json_t *
aegis_plan_clean(const json_t *passage)
{
    char        *text;
    size_t       i;
    json_t      *copy, *value;
    const char  *name;

    copy = json_deep_copy(passage);

    json_object_foreach(copy, name, value) {
        if (json_is_object(value)) {
            json_object_set_new(copy, name, aegis_plan_clean(value));

        } else if (json_is_string(value)
                   && aegis_utf8_has_control(json_string_value(value),
                                             json_string_length(value)))
        {
            text = strdup(json_string_value(value));
            for (i = 0; text && text[i]; i++) {
                if (((unsigned char) text[i] < 0x20 && text[i] != '\n' && text[i] != '\t')
                    || text[i] == 0x7f)
                {
                    text[i] = ' ';
                } else if ((unsigned char) text[i] == 0xc2 && (unsigned char) text[i + 1] < 0xa0) {
                    text[i] = text[i + 1] = ' ';
                }
            }
            json_string_set(value, text ? text : "");
            free(text);
        }
    }

    return copy;
}


void
aegis_plan_cite(json_t *plan, const json_t *knowledge)
{
    char         summary[1001];
    size_t       i, n;
    json_t      *passage, *back, *evidence;
    aegis_buf_t  notes = AEGIS_BUF_INIT, ways = AEGIS_BUF_INIT;
    const char  *title, *text, *url;

    evidence = json_object_get(plan, "evidence");
    if (json_array_size(knowledge) && !json_is_array(evidence)) {
        json_object_set_new(plan, "evidence", json_array());
        evidence = json_object_get(plan, "evidence");
    }

    for (i = 0; i < json_array_size(knowledge) && i < AEGIS_PLAN_QUOTES; i++) {
        passage = aegis_plan_clean(json_array_get(knowledge, i));
        title = aegis_json_str(passage, "title");
        back = json_object_get(passage, "rollback");
        text = aegis_json_str(passage, "text");
        url = aegis_json_str(passage, "url");

        aegis_plan_quote(&notes, i + 1, title, passage);
        if (json_is_object(back)) {
            aegis_plan_quote(&ways, i + 1, title, back);
        }

        if (json_array_size(evidence) < AEGIS_PLAN_EVIDENCE_MAX) {
            n = aegis_utf8_cut(text, strlen(text), sizeof(summary) - 1);
            memcpy(summary, text, n);
            summary[n] = '\0';
            json_array_append_new(evidence, json_pack("{s:s, s:s, s:s, s:[s]}",
                "kind", "passage", "id", aegis_json_str(passage, "locator"), "summary", summary,
                "refs", url[0] ? url : aegis_json_str(passage, "source")));
        }

        json_decref(passage);
    }

    aegis_plan_append(plan, "notes", "From the knowledge base:\n", &notes, AEGIS_PLAN_NOTES_MAX);
    aegis_plan_append(plan, "rollback_notes", "", &ways, AEGIS_PLAN_BACK_MAX);
}
