/*
 * aegis_ctl_case.c: `aegisctl case`: the gateway's case routes by hand. A
 * write gets a random Idempotency-Key unless one is given, and the key is said
 * on stderr when the outcome is not known, so that the same write can be sent
 * again. Following a case as it moves is aegis_ctl_watch.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_ctl_case.h"

static const aegis_ctl_column_t  case_columns[] = {
    { "case_id", "case" }, { "status", "status" }, { "version", "version" },
    { "title", "title" }, { "kind", "kind" }, { "severity", "severity" }, { "mode", "mode" },
    { "tenant", "tenant" }, { "tags", "tags" }, { "labels", "labels" }, { "plan_id", "plan" },
    { "exec_id", "exec" }, { "reason", "reason" }, { "correlation_id", "correlation" },
    { "created_at", "created" }, { "updated_at", "updated" }, { NULL, NULL }
};

static const aegis_ctl_column_t  list_columns[] = {
    { "case_id", "CASE" }, { "status", "STATUS" }, { "version", "V" }, { "kind", "KIND" },
    { "severity", "SEVERITY" }, { "mode", "MODE" }, { "updated_at", "UPDATED" },
    { "title", "TITLE" }, { NULL, NULL }
};

static const aegis_ctl_column_t  timeline_columns[] = {
    { "created_at", "TIME" }, { "version", "V" }, { "from_status", "FROM" },
    { "to_status", "TO" }, { "event", "EVENT" }, { "rule", "RULE" }, { "actor", "ACTOR" },
    { "reason", "REASON" }, { NULL, NULL }
};


int
aegis_ctl_case_send(aegis_ctl_t *ctl, const aegis_ctl_request_t *req, aegis_ctl_answer_t *ret)
{
    char  why[512];
    int   rc;

    rc = aegis_ctl_http(ctl, req, ret, why, sizeof(why));
    if (rc == AEGIS_CTL_OK) {
        rc = aegis_ctl_judge(ctl, ret);
    } else {
        aegis_ctl_say("%s", why);
    }
    if (req->key != NULL && (rc == AEGIS_CTL_UNREACHABLE || rc == AEGIS_CTL_TIMEOUT)) {
        aegis_ctl_say("whether it took effect is not known; to send the same again:"
                      " --idempotency-key %s", req->key);
    }
    if (rc == AEGIS_CTL_OK && ret->body == NULL) {
        aegis_ctl_say("the answer is not JSON");
        rc = AEGIS_CTL_FAILED;
    }
    if (rc != AEGIS_CTL_OK) {
        aegis_ctl_answer_clear(ret);
    } else if (ret->replayed) {
        aegis_ctl_say("this key was used before: its first answer is shown again");
    }
    return rc;
}


static void
set_opt(aegis_ctl_t *ctl, json_t *body, const char *member, const char *option)
{
    const char  *v = aegis_ctl_opt(ctl, option);

    if (v != NULL) {
        json_object_set_new(body, member, json_string(v));
    }
}


static int
tags_and_labels(aegis_ctl_t *ctl, json_t *body)
{
    const char  *v, *eq;
    json_t      *tags = json_array(), *labels = json_object();
    char         name[256];
    int          i, rc = AEGIS_CTL_OK;

    for (i = 0; (v = aegis_ctl_opt_nth(ctl, "tag", i)) != NULL; i++) {
        json_array_append_new(tags, json_string(v));
    }
    for (i = 0; (v = aegis_ctl_opt_nth(ctl, "label", i)) != NULL; i++) {
        eq = strchr(v, '=');
        if (eq == NULL || eq == v || (size_t) (eq - v) >= sizeof(name)) {
            aegis_ctl_say("--label is name=value, not %s", v);
            rc = AEGIS_CTL_USAGE;
            break;
        }
        snprintf(name, sizeof(name), "%.*s", (int) (eq - v), v);
        json_object_set_new(labels, name, json_string(eq + 1));
    }
    if (json_array_size(tags) > 0) {
        json_object_set(body, "tags", tags);
    }
    if (json_object_size(labels) > 0) {
        json_object_set(body, "labels", labels);
    }
    json_decref(tags);
    json_decref(labels);
    return rc;
}


static int
case_create(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "POST", "/case/create", NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *id;
    json_t              *body;
    char                 key[37];
    int                  rc;

    body = json_pack("{s:s}", "title", ctl->args[0]);
    if (body == NULL) {
        aegis_ctl_say("the title is not UTF-8");
        return AEGIS_CTL_USAGE;
    }
    set_opt(ctl, body, "kind", "kind");
    set_opt(ctl, body, "severity", "severity");
    set_opt(ctl, body, "mode", "mode");
    set_opt(ctl, body, "actor", "actor");
    set_opt(ctl, body, "reason", "reason");
    set_opt(ctl, body, "correlation_id", "correlation-id");
    rc = tags_and_labels(ctl, body);

    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_new_key(key);
        req.body = body;
        req.key = aegis_ctl_opt(ctl, "idempotency-key");
        req.key = req.key != NULL ? req.key : key;
        rc = aegis_ctl_case_send(ctl, &req, &a);
    }
    json_decref(body);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }

    id = json_string_value(json_object_get(a.body, "case_id"));
    if (aegis_ctl_opt(ctl, "quiet") != NULL) {
        printf("%s\n", id != NULL ? id : "");
    } else {
        aegis_ctl_object(ctl, a.body, case_columns);
    }
    aegis_ctl_answer_clear(&a);
    return AEGIS_CTL_OK;
}


static int
case_get(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 path[512], id[256];
    int                  rc;

    snprintf(path, sizeof(path), "/case/%s", aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    req.path = path;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_object(ctl, a.body, case_columns);
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


int
aegis_ctl_case_pages(aegis_ctl_t *ctl, const char *path, int64_t max, json_t *items,
    char *next, size_t size)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    const char          *cursor = aegis_ctl_opt(ctl, "cursor");
    char                 url[1500], esc[600];
    int                  rc;

    snprintf(next, size, "%s", cursor != NULL ? cursor : "");
    do {
        snprintf(url, sizeof(url), "%slimit=%d%s%s", path,
                 max - (int64_t) json_array_size(items) < 200
                 ? (int) (max - (int64_t) json_array_size(items)) : 200,
                 next[0] != '\0' ? "&cursor=" : "", aegis_ctl_escape(next, esc, sizeof(esc)));
        req.path = url;
        rc = aegis_ctl_case_send(ctl, &req, &a);
        if (rc != AEGIS_CTL_OK) {
            return rc;
        }
        json_array_extend(items, json_object_get(a.body, "items"));
        cursor = json_string_value(json_object_get(a.body, "next"));
        snprintf(next, size, "%s", cursor != NULL ? cursor : "");
        aegis_ctl_answer_clear(&a);
    } while (next[0] != '\0' && (int64_t) json_array_size(items) < max);
    return AEGIS_CTL_OK;
}


static int
show_pages(aegis_ctl_t *ctl, const char *path, const aegis_ctl_column_t *columns,
    const char *when_empty, int64_t fallback)
{
    json_t   *items = json_array(), *all;
    int64_t   max;
    char      next[512];
    int       rc;

    max = aegis_ctl_opt_int(ctl, "limit", fallback, 1, 100000);
    rc = max < 0 ? AEGIS_CTL_USAGE
         : aegis_ctl_case_pages(ctl, path, max, items, next, sizeof(next));
    if (rc == AEGIS_CTL_OK && ctl->json) {
        all = json_pack("{s:O, s:s?}", "items", items, "next", next[0] != '\0' ? next : NULL);
        aegis_ctl_json(all);
        json_decref(all);
    } else if (rc == AEGIS_CTL_OK) {
        aegis_ctl_rows(ctl, items, columns, when_empty);
        if (next[0] != '\0') {
            aegis_ctl_say("there are more: --limit, or --cursor %s", next);
        }
    }
    json_decref(items);
    return rc;
}


static int
case_list(aegis_ctl_t *ctl)
{
    static const char *const  filters[] = { "status", "tag", "since", "until", NULL };
    const char               *v;
    char                      path[1024] = "/case?", esc[300];
    int                       i;
    size_t                    n;

    for (i = 0; filters[i] != NULL; i++) {
        v = aegis_ctl_opt(ctl, filters[i]);
        if (v != NULL) {
            n = strlen(path);
            snprintf(path + n, sizeof(path) - n, "%s=%s&", filters[i],
                     aegis_ctl_escape(v, esc, sizeof(esc)));
        }
    }
    return show_pages(ctl, path, list_columns, "no cases", 50);
}


static int
case_timeline(aegis_ctl_t *ctl)
{
    char  path[512], id[256];

    snprintf(path, sizeof(path), "/case/%s/timeline?",
             aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    return show_pages(ctl, path, timeline_columns, "nothing happened yet", 1000);
}


static json_t *
transition_body(aegis_ctl_t *ctl)
{
    const char    *v;
    json_t        *body, *meta;
    json_error_t   err;
    int64_t        n;

    body = json_pack("{s:s}", "event", ctl->args[1]);
    set_opt(ctl, body, "actor", "actor");
    set_opt(ctl, body, "reason", "reason");
    set_opt(ctl, body, "correlation_id", "correlation-id");
    n = aegis_ctl_opt_int(ctl, "expected-version", 0, 1, 2147483646);
    if (n < 0) {
        json_decref(body);
        return NULL;
    }
    if (n > 0) {
        json_object_set_new(body, "expected_version", json_integer(n));
    }
    v = aegis_ctl_opt(ctl, "meta");
    if (v != NULL) {
        meta = json_loads(v, JSON_REJECT_DUPLICATES, &err);
        if (!json_is_object(meta)) {
            aegis_ctl_say("--meta is a JSON object%s%s", meta == NULL ? ": " : "",
                          meta == NULL ? err.text : "");
            json_decref(meta);
            json_decref(body);
            return NULL;
        }
        json_object_set_new(body, "meta", meta);
    }
    return body;
}


static int
case_transition(aegis_ctl_t *ctl)
{
    aegis_ctl_request_t  req = { "PATCH", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    json_t              *body;
    char                 key[37], path[512], id[256];
    int                  rc;

    body = transition_body(ctl);
    if (body == NULL) {
        return AEGIS_CTL_USAGE;
    }
    snprintf(path, sizeof(path), "/case/%s/transition",
             aegis_ctl_escape(ctl->args[0], id, sizeof(id)));
    aegis_ctl_new_key(key);
    req.path = path;
    req.body = body;
    req.if_match = aegis_ctl_opt(ctl, "if-match");
    req.key = aegis_ctl_opt(ctl, "idempotency-key");
    req.key = req.key != NULL ? req.key : key;

    rc = aegis_ctl_case_send(ctl, &req, &a);
    json_decref(body);
    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_object(ctl, a.body, case_columns);
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


static const aegis_ctl_option_t  create_options[] = {
    { "kind", 0, "KIND", "incident (default) or change" },
    { "severity", 0, "SEVERITY", "warning is the default" },
    { "mode", 0, "MODE", "auto (default) or manual" },
    { "tag", 't', "TAG", "may be given many times" },
    { "label", 'l', "NAME=VALUE", "may be given many times" },
    { "reason", 0, "TEXT", "why, for the timeline" },
    { "actor", 0, "WHO", "who acts: the token's principal, which needs no saying" },
    { "correlation-id", 0, "ID", "ties the case to something outside" },
    { "idempotency-key", 0, "KEY", "default is a new random one" },
    { "quiet", 'q', NULL, "print only the case id" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  list_options[] = {
    { "status", 0, "STATE", "only cases in this state" },
    { "tag", 't', "TAG", "only cases with this tag" },
    { "since", 0, "TIME", "created at or after, RFC 3339" },
    { "until", 0, "TIME", "created at or before, RFC 3339" },
    { "limit", 0, "N", "at most so many, 50" },
    { "cursor", 0, "CURSOR", "go on where a page ended" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  timeline_options[] = {
    { "limit", 0, "N", "at most so many, 1000" },
    { "cursor", 0, "CURSOR", "go on where a page ended" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  transition_options[] = {
    { "reason", 0, "TEXT", "why, for the timeline" },
    { "actor", 0, "WHO", "who acts: the token's principal, which needs no saying" },
    { "correlation-id", 0, "ID", "ties the event to something outside" },
    { "expected-version", 0, "N", "refuse (409) when the case is at another version" },
    { "if-match", 0, "VERSION", "refuse (412) when the case is at another version" },
    { "meta", 0, "JSON", "an object kept on the timeline; plan_ready reads plan_id" },
    { "idempotency-key", 0, "KEY", "default is a new random one" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  watch_options[] = {
    { "until", 0, "STATE", "stop when it is reached (default: CLOSED or PARKED)" },
    { "for", 0, "SECONDS", "give up after this time, 300" },
    { "interval-ms", 0, "MS", "how often to look, 200" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_case_commands[] = {
    { "create", "<title>", 1, 1, "create a case", NULL, create_options, case_create },
    { "get", "<case-id>", 1, 1, "read a case", NULL, NULL, case_get },
    { "list", "", 0, 0, "list cases, newest first", NULL, list_options, case_list },
    { "timeline", "<case-id>", 1, 1, "what happened to a case, oldest first", NULL,
      timeline_options, case_timeline },
    { "transition", "<case-id> <event>", 2, 2, "send an event to a case",
      "aegisctl fsm show lists the events that are legal in each state.", transition_options,
      case_transition },
    { "watch", "<case-id>", 1, 1, "print each transition as it happens",
      "Exit code 0 when the state is reached, 1 when the case ends in another one that it\n"
      "does not leave by itself, 6 when the time is over. With -o json one object a line.",
      watch_options, aegis_ctl_case_watch },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
