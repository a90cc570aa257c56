/*
 * aegis_ctl_config.c: `aegisctl config check`: the workers' YAML and the files
 * that it names, with the same readers that the workers use, before a restart
 * finds out. The doctor asks the same here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aegis_ctl_doctor.h"
#include "aegis_policy_file.h"


/* What a file's reader says begins with its path, and where is that already. */
static void
complain(json_t *problems, const char *where, const char *what)
{
    char    at[4096 + 32];
    size_t  n = strlen(where);

    if (strncmp(what, where, n) == 0 && what[n] == ':') {
        n += 1 + strspn(what + n + 1, "0123456789:");
        snprintf(at, sizeof(at), "%.*s", (int) (n - (what[n - 1] == ':')), what);
        where = at;
        what += n + strspn(what + n, " ");
    }
    json_array_append_new(problems, json_pack("{s:s, s:s}", "where", where, "problem", what));
}


static void
check_policy(const aegis_conf_t *conf, json_t *problems)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *policy, *e;
    size_t          i;
    char            path[4096], line[512];

    aegis_conf_path(conf, "gate.policy_file", path);
    policy = NULL;
    if (aegis_policy_file(path, &policy, &err) != AEGIS_E_OK) {
        if (err.detail[0] != '\0') {
            complain(problems, path, err.detail);
        }
        json_array_foreach(err.errors, i, e) {
            snprintf(line, sizeof(line), "%s: %s",
                     json_string_value(json_object_get(e, "pointer")),
                     json_string_value(json_object_get(e, "detail")));
            complain(problems, path, line);
        }
    }
    json_decref(policy);
    aegis_error_clear(&err);
}


static void
check_templates(const aegis_conf_t *conf, json_t *problems)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *set;
    char            path[4096];

    set = aegis_conf_templates(aegis_conf_path(conf, "plan.template_dir", path), &err);
    if (set == NULL) {
        complain(problems, path, err.detail);
    }
    json_decref(set);
    aegis_error_clear(&err);
}


static void
check_detectors(const aegis_conf_t *conf, json_t *problems)
{
    aegis_detect_rules_t  *rules;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    char                   path[4096];

    aegis_conf_path(conf, "analyze.rules_file", path);
    if (aegis_conf_detectors(conf, &rules, &err) != AEGIS_E_OK) {
        complain(problems, path, err.detail);
    }
    aegis_detect_rules_free(rules);
    aegis_error_clear(&err);
}


static void
check_folder(const aegis_conf_t *conf, const char *name, int mode, json_t *problems)
{
    struct stat  st;
    char         path[4096], line[256];

    aegis_conf_path(conf, name, path);
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        snprintf(line, sizeof(line), "%s names no folder", name);
        complain(problems, path, line);
    } else if (access(path, mode) != 0) {
        snprintf(line, sizeof(line), "%s: this user may not %s there", name,
                 mode & W_OK ? "write" : "read");
        complain(problems, path, line);
    }
}


static void
check_bus(const aegis_conf_t *conf, json_t *problems)
{
    static const aegis_str_t  subjects[] = {
        aegis_str("evt.case.transition.v1"), aegis_str("evt.case.created.v1"),
        aegis_str("cmd.exec.run")
    };
    size_t                    i;

    for (i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        if (strcmp(aegis_conf_transport(conf, subjects[i]), "kafka") == 0
            && aegis_conf_str(conf, "bus.kafka.brokers")[0] == '\0')
        {
            complain(problems, "bus.kafka.brokers",
                     "bus.routes sends subjects to kafka, but no brokers are named");
            return;
        }
    }
}


json_t *
aegis_ctl_config_problems(const char *path, aegis_conf_t **ret_conf)
{
    aegis_conf_t   *conf = NULL;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *problems = json_array();

    if (aegis_conf_load(path, &conf, &err) != AEGIS_E_OK) {
        complain(problems, path, err.detail);
    } else {
        if (aegis_conf_str(conf, "database.url")[0] == '\0') {
            complain(problems, path, "database.url is not set (nor AEGIS_DATABASE_URL)");
        }
        check_bus(conf, problems);
        check_policy(conf, problems);
        check_templates(conf, problems);
        check_detectors(conf, problems);
        check_folder(conf, "exec.script_dir", R_OK | X_OK, problems);
    }
    aegis_error_clear(&err);
    *ret_conf = conf;
    return problems;
}


static int
config_check(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "where", "WHERE" }, { "problem", "PROBLEM" }, { NULL, NULL }
    };
    const char                      *path = aegis_ctl_opt(ctl, "config");
    aegis_conf_t                    *conf;
    json_t                          *problems;
    int                              rc;

    if (path == NULL) {
        path = getenv("AEGIS_CONF") != NULL ? getenv("AEGIS_CONF") : "/etc/aegis/aegis.yaml";
    }
    problems = aegis_ctl_config_problems(path, &conf);
    if (conf != NULL && aegis_ctl_opt(ctl, "show") != NULL && !ctl->json) {
        aegis_conf_print(conf, stdout);
    }
    rc = json_array_size(problems) == 0 ? AEGIS_CTL_OK : AEGIS_CTL_FAILED;
    if (rc != AEGIS_CTL_OK || ctl->json) {
        aegis_ctl_rows(ctl, problems, columns, "");
    } else {
        printf("%s is in order\n", path);
    }
    aegis_conf_free(conf);
    json_decref(problems);
    return rc;
}


static const aegis_ctl_option_t  check_options[] = {
    { "config", 'c', "FILE", "the YAML (AEGIS_CONF, /etc/aegis/aegis.yaml)" },
    { "show", 0, NULL, "print the effective settings, secrets masked" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_config_commands[] = {
    { "check", "", 0, 0, "check the workers' YAML, the policy, the rules and the folders it names",
      "Reads the same environment overrides as the workers (AEGIS_DATABASE_URL…).",
      check_options, config_check },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
