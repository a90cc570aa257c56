/*
 * aegis_ctl_finding.c: `aegisctl finding`: what the analyst found, and why a
 * finding opened a case or did not.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"
#include "aegis_json.h"

static const aegis_ctl_column_t  list_columns[] = {
    { "finding_id", "FINDING" }, { "at", "AT" }, { "severity", "SEVERITY" },
    { "decision", "DECISION" }, { "rule", "RULE" }, { "case_id", "CASE" },
    { "title", "TITLE" }, { NULL, NULL }
};

static const aegis_ctl_column_t  one_columns[] = {
    { "title", "title" }, { "summary", "summary" }, { "at", "at" }, { "source", "source" },
    { "detector", "detector" }, { "score", "score" }, { "severity", "severity" },
    { "resource", "resource" }, { "metric", "metric" }, { "detail.value", "value" },
    { "detail.expected", "expected" }, { "fingerprint", "fingerprint" },
    { "decision", "decision" }, { "rule", "rule" }, { "reason", "why" },
    { "case_id", "case" }, { "case_status", "case is" }, { "episode", "episode" },
    { "group.findings", "findings of its group" }, { NULL, NULL }
};


static int
finding_list(aegis_ctl_t *ctl)
{
    json_t   *items = json_array(), *all;
    int64_t   max = aegis_ctl_opt_int(ctl, "limit", 100, 1, 100000);
    char      next[512];
    int       rc;

    rc = max < 0 ? AEGIS_CTL_USAGE
         : aegis_ctl_case_pages(ctl, "/finding?", max, items, next, sizeof(next));
    if (rc == AEGIS_CTL_OK && ctl->json) {
        all = json_pack("{s:O, s:s?}", "items", items, "next", next[0] != '\0' ? next : NULL);
        aegis_ctl_json(all);
        json_decref(all);
    } else if (rc == AEGIS_CTL_OK) {
        aegis_ctl_rows(ctl, items, list_columns, "nothing was found");
        if (next[0] != '\0') {
            aegis_ctl_say("there are more: --limit, or --cursor %s", next);
        }
    }
    json_decref(items);
    return rc;
}


static int
finding_explain(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  links[] = { { "ref", "EVIDENCE" }, { "note", "NOTE" },
                                                 { NULL, NULL } };
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    json_t              *evidence;
    char                 path[512], id[256];
    int                  rc;

    snprintf(path, sizeof(path), "/finding/%s", aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    req.path = path;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    if (ctl->json) {
        aegis_ctl_json(a.body);
    } else {
        aegis_ctl_object(ctl, a.body, one_columns);
        evidence = json_object_get(json_object_get(a.body, "detail"), "links");
        if (json_array_size(evidence) > 0) {
            printf("\n");
            aegis_ctl_rows(ctl, evidence, links, "");
        }
    }
    aegis_ctl_answer_clear(&a);
    return rc;
}


static int
finding_run(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = { { "run_id", "run" }, { "state", "state" },
                                                   { NULL, NULL } };
    aegis_ctl_request_t  req = { "POST", "/analyze/run", NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    json_t              *body = json_object();
    char                 key[37];
    int                  rc;

    aegis_ctl_new_key(key);
    req.body = body;
    req.key = key;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    json_decref(body);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    aegis_ctl_object(ctl, a.body, columns);
    aegis_ctl_answer_clear(&a);
    return rc;
}


static const aegis_ctl_option_t  list_options[] = {
    { "limit", 0, "N", "at most so many, 100" },
    { "cursor", 0, "CURSOR", "go on where a list ended" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_finding_commands[] = {
    { "list", "", 0, 0, "what was found, newest first, and what became of it", NULL, list_options,
      finding_list },
    { "explain", "ID", 1, 1, "why a finding opened a case, or did not", NULL, NULL,
      finding_explain },
    { "run", "", 0, 0, "let the analyst look now", NULL, NULL, finding_run },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
