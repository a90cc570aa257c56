/*
 * aegis_ctl_plan.c: `aegisctl plan`: check and render work offline, with the code
 * that the planner and the gateway run; list and get read stored plans, diff
 * compares two, stored ones or files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aegis_conf.h"
#include "aegis_ctl_case.h"
#include "aegis_plan.h"
#include "aegis_plan_diff.h"
#include "aegis_template.h"


/* What is wrong with a file, a line each on stderr. */
static void
complain(const char *path, const aegis_error_t *err)
{
    json_t  *e;
    size_t   i;

    if (json_array_size(err->errors) == 0) {
        aegis_ctl_say("%s%s%s", strncmp(err->detail, path, strlen(path)) == 0 ? "" : path,
                      strncmp(err->detail, path, strlen(path)) == 0 ? "" : ": ", err->detail);
    }
    json_array_foreach(err->errors, i, e) {
        aegis_ctl_say("%s: %s: %s", path, json_string_value(json_object_get(e, "pointer")),
                      json_string_value(json_object_get(e, "detail")));
    }
}


/* A plan or template, YAML or JSON, which is YAML for this purpose. */
static json_t *
load(const char *path)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *value;

    value = aegis_conf_yaml_file(path, &err);
    if (value == NULL) {
        complain(path, &err);
    }
    aegis_error_clear(&err);
    return value;
}


/* 0.3 as 0.3. */
static void
show(const json_t *plan)
{
    char  *text;

    text = json_dumps(plan, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    puts(text != NULL ? text : "");
    free(text);
}


static const char *
hash_of(const json_t *plan, char hash[65])
{
    aegis_plan_hash(plan, hash);
    return hash;
}


static json_t *
check_one(const char *path, int *ret_ok)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *value, *missing, *row;
    char            hash[65];
    int             template;

    *ret_ok = 0;
    value = load(path);
    if (value == NULL) {
        return json_pack("{s:s, s:s, s:b}", "file", path, "kind", "unreadable", "ok", 0);
    }
    template = json_object_get(value, "template") != NULL;
    missing = template ? json_array() : aegis_plan_missing(value);
    if ((template ? aegis_template_prove(value, &err) : aegis_plan_check(value, "", &err))
        == AEGIS_E_OK)
    {
        *ret_ok = 1;
    } else {
        aegis_conf_yaml_lines(path, &err);
        complain(path, &err);
    }
    row = json_pack("{s:s, s:s, s:b, s:b, s:o, s:s}", "file", path,
                    "kind", template ? "template" : "plan", "ok", *ret_ok,
                    "complete", json_array_size(missing) == 0, "missing", missing,
                    "hash", *ret_ok ? hash_of(value, hash) : "");
    aegis_error_clear(&err);
    json_decref(value);
    return row;
}


static int
plan_check(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "file", "file" }, { "kind", "kind" }, { "ok", "ok" }, { "missing", "missing" },
        { NULL, NULL }
    };
    json_t                          *rows, *row;
    int                              i, ok, all;

    rows = json_array();
    for (i = 0, all = 1; i < ctl->n_args; i++) {
        row = check_one(ctl->args[i], &ok);
        all = all && ok;
        json_array_append_new(rows, row);
    }
    aegis_ctl_rows(ctl, rows, columns, "");
    json_decref(rows);
    return all ? AEGIS_CTL_OK : AEGIS_CTL_FAILED;
}


/* NAME=VALUE options as an object; a value that is JSON is taken as such when typed. */
static json_t *
pairs(aegis_ctl_t *ctl, const char *option, int typed)
{
    const char  *v, *eq;
    json_t      *all, *value;
    char         name[64];
    int          i;

    all = json_object();
    for (i = 0; (v = aegis_ctl_opt_nth(ctl, option, i)) != NULL; i++) {
        eq = strchr(v, '=');
        if (eq == NULL || eq == v || (size_t) (eq - v) >= sizeof(name)) {
            aegis_ctl_say("--%s is NAME=VALUE, not %s", option, v);
            json_decref(all);
            return NULL;
        }
        snprintf(name, sizeof(name), "%.*s", (int) (eq - v), v);
        value = typed && (eq[1] == '[' || eq[1] == '{')
                ? json_loads(eq + 1, JSON_REJECT_DUPLICATES, NULL) : json_string(eq + 1);
        if (value == NULL) {
            aegis_ctl_say("--%s %s: not JSON, or not UTF-8", option, name);
            json_decref(all);
            return NULL;
        }
        json_object_set_new(all, name, value);
    }
    return all;
}


/* The file of a template: as it is named, else <name>.yaml of the folder. */
static json_t *
find_template(aegis_ctl_t *ctl, aegis_error_t *err)
{
    const char  *dir, *name;
    char         path[4096];

    name = ctl->args[0];
    dir = aegis_ctl_opt(ctl, "templates");
    if (strchr(name, '/') != NULL || strstr(name, ".yaml") != NULL) {
        return aegis_conf_template_file(name, err);
    }
    snprintf(path, sizeof(path), "%s/%s.yaml", dir != NULL ? dir : access("conf/plans", R_OK) == 0
             ? "conf/plans" : "/etc/aegis/plans", name);
    return aegis_conf_template_file(path, err);
}


static int
render(aegis_ctl_t *ctl, const json_t *template, const json_t *params, const json_t *labels)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    const char     *title;
    json_t         *c, *plan, *missing;
    char            hash[65];
    int             rc;

    title = aegis_ctl_opt(ctl, "title");
    c = json_pack("{s:s, s:O, s:s, s:O}", "title", title != NULL ? title : "a case", "kind",
                  json_object_get(template, "kind"), "severity", "warning", "labels", labels);
    rc = AEGIS_CTL_FAILED;
    if (aegis_plan_build(template, c, params, NULL, &plan, &err) == AEGIS_E_OK) {
        missing = aegis_plan_missing(plan);
        show(plan);
        aegis_ctl_say("%s, hash %s", json_array_size(missing) == 0 ? "complete" : "incomplete",
                      hash_of(plan, hash));
        json_decref(missing);
        json_decref(plan);
        rc = AEGIS_CTL_OK;
    } else {
        complain(ctl->args[0], &err);
    }
    aegis_error_clear(&err);
    json_decref(c);
    return rc;
}


static int
plan_render(aegis_ctl_t *ctl)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *template, *params, *labels;
    int             rc;

    template = find_template(ctl, &err);
    if (template == NULL) {
        rc = err.code == AEGIS_E_NOT_FOUND ? AEGIS_CTL_NOT_FOUND : AEGIS_CTL_FAILED;
        aegis_ctl_say("%s", err.detail);
        aegis_error_clear(&err);
        return rc;
    }
    params = pairs(ctl, "param", 1);
    labels = params != NULL ? pairs(ctl, "label", 0) : NULL;
    rc = labels != NULL ? render(ctl, template, params, labels) : AEGIS_CTL_USAGE;
    json_decref(labels);
    json_decref(params);
    json_decref(template);
    return rc;
}


/* Ask for path, which holds the escaped id and more. */
static int
plan_send(aegis_ctl_t *ctl, const char *path, const char *id, const char *more,
    json_t **ret_body)
{
    aegis_ctl_request_t  req = { "GET", NULL, NULL, NULL, NULL };
    aegis_ctl_answer_t   a;
    char                 full[1500], esc[300];
    int                  rc;

    snprintf(full, sizeof(full), "%s%s%s", path, aegis_ctl_escape(id, esc, sizeof(esc)), more);
    req.path = full;
    rc = aegis_ctl_case_send(ctl, &req, &a);
    if (rc == AEGIS_CTL_OK) {
        *ret_body = json_incref(a.body);
        aegis_ctl_answer_clear(&a);
    }
    return rc;
}


static int
plan_get(aegis_ctl_t *ctl)
{
    json_t  *plan;
    int      rc;

    rc = plan_send(ctl, "/plan/", ctl->args[0], "", &plan);
    if (rc == AEGIS_CTL_OK) {
        show(plan);
        json_decref(plan);
    }
    return rc;
}


/* A file that is there, else a stored plan. */
static int
either(aegis_ctl_t *ctl, const char *name, json_t **ret_plan)
{
    json_t  *stored;
    int      rc;

    if (access(name, R_OK) == 0) {
        *ret_plan = load(name);
        return *ret_plan != NULL ? AEGIS_CTL_OK : AEGIS_CTL_FAILED;
    }
    rc = plan_send(ctl, "/plan/", name, "", &stored);
    if (rc == AEGIS_CTL_OK) {
        *ret_plan = json_incref(json_object_get(stored, "plan"));
        json_decref(stored);
    }
    return rc;
}


/* The server's difference to the revision before. */
static int
plan_since(aegis_ctl_t *ctl, const aegis_ctl_column_t *columns)
{
    json_t  *diff;
    int      rc;

    rc = plan_send(ctl, "/plan/", ctl->args[0], "/diff", &diff);
    if (rc == AEGIS_CTL_OK) {
        aegis_ctl_rows(ctl, json_object_get(diff, "operations"), columns, "no difference");
        json_decref(diff);
    }
    return rc;
}


static int
plan_diff(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "op", "op" }, { "path", "path" }, { "was", "was" }, { "value", "is" }, { NULL, NULL }
    };
    json_t                          *was, *is, *ops;
    int                              rc;

    if (ctl->n_args == 1) {
        return plan_since(ctl, columns);
    }
    is = NULL;
    rc = either(ctl, ctl->args[0], &was);
    if (rc != AEGIS_CTL_OK) {
        return rc;
    }
    rc = either(ctl, ctl->args[1], &is);
    if (rc == AEGIS_CTL_OK) {
        ops = aegis_plan_diff(was, is);
        aegis_ctl_rows(ctl, ops, columns, "no difference");
        json_decref(ops);
    }
    json_decref(was);
    json_decref(is);
    return rc;
}


static int
plan_list(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "revision", "revision" }, { "plan_id", "plan" }, { "current", "current" },
        { "template", "template" }, { "risk_score", "risk" }, { "missing", "missing" },
        { "created_by", "by" }, { "created_at", "at" }, { NULL, NULL }
    };
    char                             more[700] = "/plan?limit=200", cursor[600];
    json_t                          *page, *all = json_array();
    const char                      *next;
    int                              rc;

    do {
        rc = plan_send(ctl, "/case/", ctl->args[0], more, &page);
        if (rc != AEGIS_CTL_OK) {
            json_decref(all);
            return rc;
        }
        json_array_extend(all, json_object_get(page, "items"));
        next = json_string_value(json_object_get(page, "next"));
        more[0] = '\0';
        if (next != NULL) {
            snprintf(more, sizeof(more), "/plan?limit=200&cursor=%s",
                     aegis_ctl_escape(next, cursor, sizeof(cursor)));
        }
        json_decref(page);
    } while (more[0] != '\0' && json_array_size(all) < 100000);

    aegis_ctl_rows(ctl, all, columns, "the case has no plan");
    json_decref(all);
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  render_options[] = {
    { "param", 'p', "NAME=VALUE", "a parameter; may be given many times" },
    { "label", 'l', "NAME=VALUE", "a label of the case; may be given many times" },
    { "title", 0, "TEXT", "of the case" },
    { "templates", 0, "DIR", "where templates are (conf/plans, else /etc/aegis/plans)" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_plan_commands[] = {
    { "check", "<file>...", 1, AEGIS_CTL_MAX_ARGS, "check plans and templates, offline",
      "YAML or JSON. A template is built with each of its examples. Exit code 0 when all are\n"
      "right; an incomplete plan is right, and what it lacks is said.", NULL, plan_check },
    { "render", "<template>", 1, 1, "the plan that a template becomes, offline",
      "A file, or a name in the folder of templates. The plan is printed as JSON.",
      render_options, plan_render },
    { "list", "<case-id>", 1, 1, "the revisions of a case's plan, oldest first", NULL, NULL,
      plan_list },
    { "get", "<plan-id>", 1, 1, "read a stored plan", NULL, NULL, plan_get },
    { "diff", "<plan-id|file> [<plan-id|file>]", 1, 2, "what changed from one plan to another",
      "With -o json a JSON Patch (RFC 6902) that leads from the first to the second. A plan\n"
      "alone is compared with the revision before it.", NULL, plan_diff },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
