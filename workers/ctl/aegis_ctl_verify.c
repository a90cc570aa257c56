/*
 * aegis_ctl_verify.c: `aegisctl verify`: begin a verification, see how far it is,
 * and every number of every evaluation. A line is one check of one evaluation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"

static const aegis_ctl_column_t  verify_columns[] = {
    { "verify_id", "verification" }, { "case_id", "case" }, { "plan_id", "plan" },
    { "state", "state" }, { "outcome", "outcome" }, { "reason", "reason" },
    { "evaluations", "evaluations" }, { "next_at", "next" }, { "deadline_at", "deadline" },
    { "rollback_exec_id", "rollback" }, { "created_by", "by" }, { "created_at", "created" },
    { "finished_at", "finished" }, { NULL, NULL }
};

static const aegis_ctl_column_t  check_columns[] = {
    { "created_at", "TIME" }, { "evaluation", "EVAL" }, { "n", "CHECK" },
    { "check.kind", "KIND" }, { "check.outcome", "OUTCOME" },
    { "check.measured.value", "VALUE" }, { "check.measured.limit", "LIMIT" },
    { "check.measured.samples", "SAMPLES" }, { "check.measured.baseline", "BASELINE" },
    { "check.passed_in_row", "PASSED" }, { "check.failed_in_row", "FAILED" },
    { "check.detail", "DETAIL" }, { NULL, NULL }
};


/* A row for each check of the evaluations. New reference. */
static json_t *
checks_of(const json_t *evaluations)
{
    json_t  *rows = json_array(), *e, *c;
    size_t   i, k;

    json_array_foreach(evaluations, i, e) {
        json_array_foreach(json_object_get(e, "checks"), k, c) {
            json_array_append_new(rows, json_pack("{s:O*, s:O*, s:I, s:O}",
                "created_at", json_object_get(e, "created_at"), "evaluation",
                json_object_get(e, "evaluation"), "n", (json_int_t) k + 1, "check", c));
        }
    }
    return rows;
}


static int
verify_run(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "POST", "/verify/run", NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 key[37];
    json_t              *body;
    int                  rc;

    body = json_pack("{s:s}", "case_id", ctl->args[0]);
    if (body == NULL) {
        aegis_ctl_say("the case id is not UTF-8");
        return AEGIS_CTL_USAGE;
    }
    aegis_ctl_new_key(key);
    req.body = body;
    req.key = aegis_ctl_opt(ctl, "idempotency-key");
    req.key = req.key != NULL ? req.key : key;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    json_decref(body);
    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_object(ctl, a.body, verify_columns);
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


static int
verify_show(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 path[512], id[256];
    json_t              *rows;
    int                  rc;

    snprintf(path, sizeof(path), "/verify/%s", aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    req.path = path;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    aegis_ctl_object(ctl, a.body, verify_columns);
    if (!ctl->json) {
        rows = checks_of(json_object_get(a.body, "checkpoints"));
        printf("\n");
        aegis_ctl_rows(ctl, rows, check_columns, "no evaluation yet");
        json_decref(rows);
    }
    aegis_ctl_answer_clear(&a);
    return AEGIS_CTL_OK;
}


/* Every evaluation of a case, page by page. */
static int
verify_list(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 path[1500], id[256], cursor[600] = "";
    const char          *next;
    json_t              *all = json_array(), *rows;
    int                  rc;

    do {
        snprintf(path, sizeof(path), "/case/%s/verify?limit=200%s%s",
                 aegis_ctl_escape(ctl->args[0], id, sizeof(id)),
                 cursor[0] != '\0' ? "&cursor=" : "", cursor);
        req.path = path;
        rc = aegis_ctl_case_send(ctl, &req, &a);
        if (rc != AEGIS_CTL_OK) {
            json_decref(all);
            return rc;
        }
        json_array_extend(all, json_object_get(a.body, "items"));
        next = json_string_value(json_object_get(a.body, "next"));
        cursor[0] = '\0';
        if (next != NULL) {
            aegis_ctl_escape(next, cursor, sizeof(cursor));
        }
        aegis_ctl_answer_clear(&a);
    } while (cursor[0] != '\0' && json_array_size(all) < 100000);

    if (ctl->json) {
        aegis_ctl_json(all);
    } else {
        rows = checks_of(all);
        aegis_ctl_rows(ctl, rows, check_columns, "the case was never verified");
        json_decref(rows);
    }
    json_decref(all);
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  run_options[] = {
    { "idempotency-key", 0, "KEY", "default is a new random one" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_verify_commands[] = {
    { "run", "<case-id>", 1, 1, "verify the repair of a case",
      "What takes time goes on by itself; verify show says how far it is.", run_options,
      verify_run },
    { "show", "<verify-id>", 1, 1, "how far a verification is, with its newest evaluations",
      NULL, NULL, verify_show },
    { "list", "<case-id>", 1, 1, "every check of every evaluation of a case, oldest first",
      NULL, NULL, verify_list },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
