/*
 * aegis_ctl_gate.c: `aegisctl gate`: what waits for people, and their voices. A
 * voice names the plan by its hash: the one of --plan-hash, else of the plan that
 * is shown before it is sent, so that nobody approves what came in between.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_approval.h"
#include "aegis_ctl.h"
#include "aegis_ctl_case.h"
#include "aegis_json.h"

static const aegis_ctl_column_t  waiting_columns[] = {
    { "case_id", "CASE" }, { "kind", "KIND" }, { "plan.env", "ENV" },
    { "plan.risk_score", "RISK" }, { "request.rule", "RULE" }, { "asks", "ASKS" },
    { "state", "SO FAR" }, { "request.expires_at", "EXPIRES" }, { "title", "TITLE" },
    { NULL, NULL }
};

static const aegis_ctl_column_t  request_columns[] = {
    { "state", "state" }, { "plan_id", "plan" }, { "plan_hash", "plan hash" },
    { "rule", "rule" }, { "asks", "asks" }, { "so_far", "so far" },
    { "proposers", "proposed by" }, { "asked_at", "asked" }, { "expires_at", "expires" },
    { NULL, NULL }
};

static const aegis_ctl_column_t  decision_columns[] = {
    { "created_at", "TIME" }, { "version", "V" }, { "verdict", "VERDICT" },
    { "source", "BY" }, { "rule", "RULE" }, { "reason", "REASON" }, { NULL, NULL }
};

static const aegis_ctl_column_t  counted_columns[] = {
    { "case_id", "case" }, { "verdict", "verdict" }, { "rule", "rule" },
    { "so_far", "so far" }, { "expires_at", "expires" }, { NULL, NULL }
};

static const aegis_ctl_column_t  decided_columns[] = {
    { "case_id", "case" }, { "verdict", "verdict" }, { "rule", "rule" },
    { "reason", "reason" }, { "not_after", "holds until" }, { "decision_id", "decision" },
    { NULL, NULL }
};


/* "asks" and, under name, how far it is, for people to read. */
static void
describe(json_t *to, const json_t *request, const char *name)
{
    char      text[200], all[512];
    size_t    i;
    json_t   *needs = json_object_get(request, "needs");

    all[0] = '\0';
    for (i = 0; i < json_array_size(needs); i++) {
        aegis_approval_text(json_array_get(needs, i), text, sizeof(text));
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " and " : "", text);
    }
    json_object_set_new(to, "asks", json_string(all));
    aegis_approval_state(needs, json_object_get(request, "votes"), text, sizeof(text));
    json_object_set_new(to, name, json_string(text));
}


static int
gate_list(aegis_ctl_t *ctl)
{
    json_t   *items = json_array(), *item, *all;
    size_t    i;
    int64_t   max = aegis_ctl_opt_int(ctl, "limit", 100, 1, 100000);
    char      next[512];
    int       rc;

    rc = max < 0 ? AEGIS_CTL_USAGE
         : aegis_ctl_case_pages(ctl, "/gate/waiting?", max, items, next, sizeof(next));
    if (rc == AEGIS_CTL_OK && ctl->json) {
        all = json_pack("{s:O, s:s?}", "items", items, "next",
                        next[0] != '\0' ? next : NULL);
        aegis_ctl_json(all);
        json_decref(all);
    } else if (rc == AEGIS_CTL_OK) {
        json_array_foreach(items, i, item) {
            describe(item, json_object_get(item, "request"), "state");
        }
        aegis_ctl_rows(ctl, items, waiting_columns, "nothing waits for approval");
        if (next[0] != '\0') {
            aegis_ctl_say("there are more: --limit, or --cursor %s", next);
        }
    }
    json_decref(items);
    return rc;
}


/* GET /gate/{id} of the first argument. */
static int
read_gate(aegis_ctl_t *ctl, aegis_ctl_answer_t *a)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    char                 path[512], id[256];

    snprintf(path, sizeof(path), "/gate/%s", aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    req.path = path;
    return aegis_ctl_case_send(ctl, &req, a);
}


static int
gate_show(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  voices[] = {
        { "at", "TIME" }, { "principal", "WHO" }, { "verdict", "SAYS" },
        { "counts", "COUNTS FOR" }, { "comment", "WHY" }, { NULL, NULL }
    };
    aegis_ctl_answer_t  a;
    json_t             *waits;
    int                 rc;

    rc = read_gate(ctl, &a);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    if (ctl->json) {
        aegis_ctl_json(a.body);
    } else {
        waits = json_object_get(a.body, "waiting");
        if (json_is_object(waits)) {
            describe(waits, waits, "so_far");
            aegis_ctl_object(ctl, waits, request_columns);
            if (json_array_size(json_object_get(waits, "votes")) > 0) {
                printf("\n");
                aegis_ctl_rows(ctl, json_object_get(waits, "votes"), voices, "");
            }
            printf("\n");
        }
        aegis_ctl_rows(ctl, json_object_get(a.body, "decisions"), decision_columns,
                       "the gate has decided nothing on this case");
    }
    aegis_ctl_answer_clear(&a);
    return rc;
}


/* The hash of the plan that waits, after it was shown. */
static int
waiting_hash(aegis_ctl_t *ctl, char hash[65])
{
    aegis_ctl_answer_t  a;
    json_t             *waits;
    char                asks[512];
    int                 rc;

    rc = read_gate(ctl, &a);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    waits = json_object_get(a.body, "waiting");
    if (!json_is_object(waits)) {
        aegis_ctl_say("the case does not wait for approval; aegisctl gate show %s",
                      ctl->args[0]);
        rc = AEGIS_CTL_FAILED;
    } else {
        describe(waits, waits, "so_far");
        snprintf(hash, 65, "%s", aegis_json_str(waits, "plan_hash"));
        aegis_ctl_say("plan %s, hash %.12s…, asks %s", aegis_json_str(waits, "plan_id"), hash,
                      aegis_ctl_cell(waits, "asks", asks, sizeof(asks)));
    }
    aegis_ctl_answer_clear(&a);
    return rc;
}


static int
voice(aegis_ctl_t *ctl, const char *path)
{
    aegis_ctl_request_t  req = { "POST", path, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *given = aegis_ctl_opt(ctl, "plan-hash");
    const char          *comment = aegis_ctl_opt(ctl, "comment");
    json_t              *body;
    char                 key[37], hash[65];
    int                  rc;

    snprintf(hash, sizeof(hash), "%s", given != NULL ? given : "");
    rc = given != NULL ? AEGIS_CTL_OK : waiting_hash(ctl, hash);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }

    body = json_pack("{s:s, s:s, s:s}", "case_id", ctl->args[0], "plan_hash", hash,
                     "comment", comment != NULL ? comment : "");
    if (body == NULL) {
        aegis_ctl_say("the comment is not UTF-8");
        return AEGIS_CTL_USAGE;
    }
    aegis_ctl_new_key(key);
    req.body = body;
    req.key = aegis_ctl_opt(ctl, "idempotency-key");
    req.key = req.key != NULL ? req.key : key;

    rc = aegis_ctl_case_send(ctl, &req, &a);
    json_decref(body);
    if (rc == AEGIS_CTL_OK) {
        if (json_object_get(a.body, "needs") == NULL) {
            aegis_ctl_object(ctl, a.body, decided_columns);
        } else {
            if (!ctl->json) {
                describe(a.body, a.body, "so_far");
            }
            aegis_ctl_object(ctl, a.body, counted_columns);
        }
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


static int
gate_approve(aegis_ctl_t *ctl)
{
    return voice(ctl, "/gate/approve");
}


static int
gate_deny(aegis_ctl_t *ctl)
{
    return voice(ctl, "/gate/deny");
}


static const aegis_ctl_option_t  list_options[] = {
    { "limit", 0, "N", "at most so many, 100" },
    { "cursor", 0, "CURSOR", "go on where a page ended" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  voice_options[] = {
    { "plan-hash", 0, "HASH", "the plan that is meant; default is the one that waits" },
    { "comment", 0, "TEXT", "why, for the timeline" },
    { "idempotency-key", 0, "KEY", "default is a new random one" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_gate_commands[] = {
    { "list", "", 0, 0, "what waits for approval, oldest first", NULL, list_options, gate_list },
    { "show", "<case-id>", 1, 1, "what waits of a case, and what the gate decided", NULL, NULL,
      gate_show },
    { "approve", "<case-id>", 1, 1, "approve the plan that waits",
      "Your voice counts once, and not at all when you proposed the plan. The last voice\n"
      "that is needed decides, by the policy of that moment.", voice_options, gate_approve },
    { "deny", "<case-id>", 1, 1, "deny the plan that waits; the case is parked", NULL,
      voice_options, gate_deny },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
