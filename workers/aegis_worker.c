/*
 * aegis_worker.c: the worker process: `aegis-worker [options] <role>…|all`.
 * Invariant: signals are seen here and nowhere else; a stop settles what was
 * taken and ends within a bounded time; a configuration that cannot be loaded
 * never replaces one that could. A role's thread is workers/lib/aegis_loop.c.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "aegis_loop.h"
#include "aegis_otel.h"
#include "aegis_policy_file.h"
#include "aegis_pool.h"

#define AEGIS_WORKER_ROLES     16
#define AEGIS_WORKER_STOP_MS   20000
#define AEGIS_WORKER_SILENCE   120000
#define AEGIS_WORKER_TELL_MS   2000

enum { AEGIS_EXIT_OK = 0, AEGIS_EXIT_RUN = 1, AEGIS_EXIT_USAGE = 2,
       AEGIS_EXIT_CONF = 3, AEGIS_EXIT_FORCED = 4 };

static const aegis_role_t *const  aegis_worker_roles[] = {
    &aegis_role_relay, &aegis_role_fsm, &aegis_role_analyst, &aegis_role_planner,
    &aegis_role_gate, &aegis_role_exec, &aegis_role_verify, &aegis_role_sensor,
    &aegis_role_librarian
};

#define AEGIS_WORKER_N \
    ((int) (sizeof(aegis_worker_roles) / sizeof(aegis_worker_roles[0])))

typedef struct {
    const char          *path;
    int                  check;
    int                  print;
    const aegis_role_t  *roles[AEGIS_WORKER_ROLES];
    int                  n;
} aegis_worker_args_t;

static aegis_loop_t  *aegis_worker_loops[AEGIS_WORKER_ROLES];
static int            aegis_worker_n_loops;     /* atomic: /healthz reads it too */

static void
aegis_worker_help(FILE *out)
{
    int  i;

    fprintf(out,
        "usage: aegis-worker [options] <role>... | all\n"
        "\n"
        "Runs the roles, a thread each, until SIGTERM or SIGINT.\n"
        "\n"
        "roles:\n");
    for (i = 0; i < AEGIS_WORKER_N; i++) {
        fprintf(out, "  %-9s %s\n", aegis_worker_roles[i]->name,
                aegis_worker_roles[i]->sentence);
    }
    fprintf(out,
        "  all       all of them\n"
        "\n"
        "options:\n"
        "  -c, --config <file>   settings (default conf/aegis.yaml); each can be\n"
        "                        overridden by AEGIS_ + its name in upper case, . as _\n"
        "      --check           check the settings and the files they name, then exit\n"
        "      --print-effective print the settings in force, secrets masked, then exit\n"
        "  -h, --help            this text\n"
        "  -V, --version         the version\n"
        "\n"
        "signals:\n"
        "  SIGTERM, SIGINT  finish what was taken, acknowledge it, exit (again: at once)\n"
        "  SIGHUP           load the settings again; a bad file changes nothing\n"
        "\n"
        "exit codes:\n"
        "  0  stopped cleanly, or the check passed\n"
        "  1  could not start or go on (port in use, no threads)\n"
        "  2  wrong usage\n"
        "  3  the settings cannot be read or are wrong\n"
        "  4  stopped, but a role did not finish within %d s\n",
        AEGIS_WORKER_STOP_MS / 1000);
}

static int
aegis_worker_usage(const char *what, const char *arg)
{
    fprintf(stderr, "aegis-worker: %s%s%s\nTry aegis-worker --help.\n", what,
            arg[0] ? ": " : "", arg);
    return AEGIS_EXIT_USAGE;
}

/* Add a role once. 0: no such role. */
static int
aegis_worker_add(aegis_worker_args_t *args, const char *name)
{
    int  i, k, all, found;

    all = strcmp(name, "all") == 0;

    for (i = 0, found = 0; i < AEGIS_WORKER_N; i++) {
        if (!all && strcmp(aegis_worker_roles[i]->name, name) != 0) {
            continue;
        }
        found = 1;
        for (k = 0; k < args->n && args->roles[k] != aegis_worker_roles[i]; k++) {
            /* void */
        }
        if (k == args->n) {
            args->roles[args->n++] = aegis_worker_roles[i];
        }
    }

    return found;
}

/* -1: go on; else the exit code. */
static int
aegis_worker_parse(int argc, char **argv, aegis_worker_args_t *args)
{
    int  c;

    static const struct option  options[] = {
        { "config",          required_argument, NULL, 'c' },
        { "check",           no_argument,       NULL, 'k' },
        { "print-effective", no_argument,       NULL, 'p' },
        { "help",            no_argument,       NULL, 'h' },
        { "version",         no_argument,       NULL, 'V' },
        { NULL, 0, NULL, 0 }
    };

    opterr = 0;
    args->path = "conf/aegis.yaml";

    while ((c = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (c) {

        case 'c':
            args->path = optarg;
            break;

        case 'k':
            args->check = 1;
            break;

        case 'p':
            args->print = 1;
            break;

        case 'h':
            aegis_worker_help(stdout);
            return AEGIS_EXIT_OK;

        case 'V':
            printf("aegis-worker %s\n", AEGIS_VERSION);
            return AEGIS_EXIT_OK;

        default:
            return aegis_worker_usage("no such option, or its value is missing",
                                      argv[optind - 1]);
        }
    }

    for ( ; optind < argc; optind++) {
        if (!aegis_worker_add(args, argv[optind])) {
            return aegis_worker_usage("no such role", argv[optind]);
        }
    }

    if (args->n == 0 && !args->check && !args->print) {
        return aegis_worker_usage("name a role, or all", "");
    }

    return -1;
}

/* The policy file, when the gatekeeper is to run. */
static aegis_code_t
aegis_worker_policy(const aegis_conf_t *conf, aegis_error_t *err)
{
    char           path[4096];
    json_t        *policy;
    aegis_code_t   rc;

    rc = aegis_policy_file(aegis_conf_path(conf, "gate.policy_file", path), &policy, err);

    if (rc == AEGIS_E_OK) {
        json_decref(policy);

    } else if (err->errors) {
        snprintf(err->detail, sizeof(err->detail), "%.200s is not a policy", path);
    }

    return rc;
}

/* The templates, when the planner is to run. */
static aegis_code_t
aegis_worker_templates(const aegis_conf_t *conf, aegis_error_t *err)
{
    char     path[4096];
    json_t  *set;

    set = aegis_conf_templates(aegis_conf_path(conf, "plan.template_dir", path), err);
    json_decref(set);

    return set ? AEGIS_E_OK : err->code;
}

/* The rules of the detectors, when the analyst is to run. */
static aegis_code_t
aegis_worker_detectors(const aegis_conf_t *conf, aegis_error_t *err)
{
    aegis_code_t           rc;
    aegis_detect_rules_t  *rules;

    rc = aegis_conf_detectors(conf, &rules, err);
    aegis_detect_rules_free(rules);

    return rc;
}

/* What must be there for these roles to run. On a reload policy, templates and rules
 * are their roles' own: a bad one is refused there, the settings are taken all the same. */
static aegis_code_t
aegis_worker_verify(const aegis_worker_args_t *args, const aegis_conf_t *conf, int reload,
    aegis_error_t *err)
{
    int                         i, n;
    char                        path[4096];
    aegis_code_t                rc;
    const aegis_role_t *const  *roles;

    if (aegis_conf_str(conf, "database.url")[0] == '\0') {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: database.url is not set (or AEGIS_DATABASE_URL)", args->path);
    }

    roles = args->n ? args->roles : aegis_worker_roles;
    n = args->n ? args->n : AEGIS_WORKER_N;

    rc = aegis_otel_check(conf, err);

    for (i = 0; i < n && rc == AEGIS_E_OK; i++) {
        if (roles[i] == &aegis_role_gate) {
            rc = reload ? AEGIS_E_OK : aegis_worker_policy(conf, err);

        } else if (roles[i] == &aegis_role_planner) {
            rc = reload ? AEGIS_E_OK : aegis_worker_templates(conf, err);

        } else if (roles[i] == &aegis_role_analyst) {
            rc = reload ? AEGIS_E_OK : aegis_worker_detectors(conf, err);

        } else if (roles[i] == &aegis_role_exec) {
            (void) aegis_conf_path(conf, "exec.script_dir", path);
            if (access(path, R_OK | X_OK) != 0) {
                rc = aegis_error_set(err, AEGIS_E_SCHEMA, "exec.script_dir: %s: %s",
                                     path, strerror(errno));
            }
        }
    }

    return rc;
}

/* A refusal as people read it: the detail, then the JSON pointers if any. */
static void
aegis_worker_complain(aegis_error_t *err)
{
    size_t   i;
    json_t  *e;

    fprintf(stderr, "aegis-worker: %s\n", err->detail[0] ? err->detail
            : aegis_error_def(err->code)->title);
    json_array_foreach(err->errors, i, e) {
        fprintf(stderr, "aegis-worker:   %s: %s\n",
                json_string_value(json_object_get(e, "pointer")),
                json_string_value(json_object_get(e, "detail")));
    }
    aegis_error_clear(err);
}

static void
aegis_worker_log_level(const aegis_conf_t *conf)
{
    aegis_log_level((aegis_log_level_t)
                    aegis_log_level_by_name(aegis_conf_str(conf, "log.level")));
}

static aegis_metric_t *
aegis_worker_reload_metric(void)
{
    return aegis_gauge("aegis_config_last_reload_successful", "",
                       "1 when the settings in force are those of the file.");
}

static void
aegis_worker_reload(const aegis_worker_args_t *args)
{
    char             kept[1024];
    aegis_conf_t    *conf;
    aegis_code_t     rc;
    aegis_error_t    err = AEGIS_ERROR_INIT;
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
                      (long long) ts.tv_sec * 1000000 + ts.tv_nsec / 1000);

    rc = aegis_conf_load(args->path, &conf, &err);
    if (rc == AEGIS_E_OK) {
        rc = aegis_worker_verify(args, conf, 1, &err);
        if (rc != AEGIS_E_OK) {
            aegis_conf_free(conf);
        }
    }

    if (rc == AEGIS_E_OK) {
        aegis_conf_keep(conf, aegis_loop_conf_current(), kept, sizeof(kept));
        if (kept[0]) {
            aegis_log(AEGIS_LOG_WARN, "worker", "reload-needs-restart",
                      "settings", "%s", kept, NULL);
        }
        aegis_worker_log_level(conf);
        rc = aegis_loop_conf(conf, &err);
    }

    aegis_metric_set(aegis_worker_reload_metric(), rc == AEGIS_E_OK);
    if (rc == AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_INFO, "worker", "reloaded", "file", "%s", args->path, NULL);
    } else {
        aegis_metric_add(aegis_loop_reloads("refused"), 1);
        aegis_log(AEGIS_LOG_ERROR, "worker", "reload-refused", "error", "%s",
                  err.detail[0] ? err.detail : aegis_error_def(rc)->title, NULL);
    }

    aegis_error_clear(&err);
    (void) sd_notify(0, "READY=1");
}

/* /healthz and the watchdog: has a role stopped moving? */
static int
aegis_worker_health(char *buf, size_t size)
{
    int  i, n;

    n = __atomic_load_n(&aegis_worker_n_loops, __ATOMIC_ACQUIRE);

    for (i = 0; i < n; i++) {
        if (aegis_loop_silence(aegis_worker_loops[i]) > AEGIS_WORKER_SILENCE) {
            snprintf(buf, size, "role %s has not moved for %d s\n",
                     aegis_loop_role(aegis_worker_loops[i]),
                     AEGIS_WORKER_SILENCE / 1000);
            return 0;
        }
    }

    return 1;
}

/* Wait for signals until one says stop. */
static void
aegis_worker_serve(const aegis_worker_args_t *args, const sigset_t *set)
{
    int              sig;
    char             reason[256];
    int64_t          every;
    uint64_t         usec;
    struct timespec  ts;

    /* half of the watchdog's time, at most a second late to anything */
    every = sd_watchdog_enabled(0, &usec) > 0 ? (int64_t) (usec / 2000) : 60000;
    every = aegis_otel_on() && every > AEGIS_WORKER_TELL_MS ? AEGIS_WORKER_TELL_MS : every;
    ts.tv_sec = (time_t) (every / 1000);
    ts.tv_nsec = (long) (every % 1000) * 1000000;

    for ( ;; ) {
        sig = sigtimedwait(set, NULL, &ts);
        aegis_otel_tell();

        if (sig == SIGHUP) {
            aegis_worker_reload(args);
        } else if (sig == SIGTERM || sig == SIGINT) {
            aegis_log(AEGIS_LOG_INFO, "worker", "stopping", "signal", "%d", sig, NULL);
            return;
        }

        if (aegis_worker_health(reason, sizeof(reason))) {
            (void) sd_notify(0, "WATCHDOG=1");
        } else {
            aegis_log(AEGIS_LOG_ERROR, "worker", "unhealthy", "reason", "%s", reason,
                      NULL);
        }
    }
}

static int
aegis_worker_stop(const sigset_t *set)
{
    int              i, forced;
    int64_t          deadline;
    struct timespec  zero = { 0, 0 };

    (void) sd_notify(0, "STOPPING=1");
    aegis_metrics_stop();               /* before the loops that it asks about go */
    aegis_loop_stop_all();
    deadline = aegis_loop_now() + AEGIS_WORKER_STOP_MS;

    for (i = 0, forced = 0; i < aegis_worker_n_loops && !forced; ) {
        if (aegis_loop_join(aegis_worker_loops[i], aegis_loop_now() + 100)) {
            i++;
            continue;
        }
        /* a second signal means at once; so does the deadline */
        forced = aegis_loop_now() >= deadline || sigtimedwait(set, NULL, &zero) > 0;
    }

    if (forced) {
        aegis_log(AEGIS_LOG_ERROR, "worker", "stop-forced", "role", "%s",
                  aegis_loop_role(aegis_worker_loops[i]), NULL);
        _exit(AEGIS_EXIT_FORCED);
    }

    aegis_otel_stop();
    aegis_log(AEGIS_LOG_INFO, "worker", "stopped", NULL);
    return AEGIS_EXIT_OK;
}

static int
aegis_worker_run(const aegis_worker_args_t *args, aegis_conf_t *conf)
{
    int            i;
    sigset_t       set;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    /* before the first thread: all of them inherit this mask */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void) pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void) signal(SIGPIPE, SIG_IGN);

    aegis_worker_log_level(conf);
    if (aegis_loop_conf(conf, &err) != AEGIS_E_OK) {
        aegis_worker_complain(&err);
        return AEGIS_EXIT_RUN;
    }

    aegis_metric_set(aegis_worker_reload_metric(), 1);
    aegis_metric_add(aegis_loop_reloads("taken"), 0);
    aegis_metric_add(aegis_loop_reloads("refused"), 0);
    aegis_metrics_health(aegis_worker_health);

    if (aegis_otel_start(conf, &err) != AEGIS_E_OK
        || aegis_metrics_listen(aegis_conf_str(conf, "metrics.listen"), &err)
           != AEGIS_E_OK)
    {
        aegis_worker_complain(&err);
        return AEGIS_EXIT_RUN;
    }

    for (i = 0; i < args->n; i++) {
        if (aegis_loop_start(args->roles[i], &aegis_worker_loops[i], &err)
            != AEGIS_E_OK)
        {
            aegis_worker_complain(&err);
            return AEGIS_EXIT_RUN;      /* the process ends with its threads */
        }
        __atomic_store_n(&aegis_worker_n_loops, i + 1, __ATOMIC_RELEASE);
    }

    (void) sd_notifyf(0, "READY=1\nSTATUS=%d roles", args->n);
    aegis_worker_serve(args, &set);
    return aegis_worker_stop(&set);
}

int
main(int argc, char **argv)
{
    int                   rc;
    aegis_code_t          code;
    aegis_conf_t         *conf;
    aegis_error_t         err = AEGIS_ERROR_INIT;
    aegis_worker_args_t   args;

    aegis_pool_json();
    memset(&args, 0, sizeof(args));
    rc = aegis_worker_parse(argc, argv, &args);
    if (rc >= 0) {
        return rc;
    }

    code = aegis_conf_load(args.path, &conf, &err);
    if (code == AEGIS_E_OK && (args.check || !args.print)) {
        code = aegis_worker_verify(&args, conf, 0, &err);
        if (code != AEGIS_E_OK) {
            aegis_conf_free(conf);
        }
    }
    if (code != AEGIS_E_OK) {
        aegis_worker_complain(&err);
        return AEGIS_EXIT_CONF;
    }

    if (args.print) {
        aegis_conf_print(conf, stdout);
    }
    if (args.check) {
        fprintf(stderr, "aegis-worker: %s is fine\n", args.path);
    }
    if (args.check || args.print) {
        aegis_conf_free(conf);
        return AEGIS_EXIT_OK;
    }

    return aegis_worker_run(&args, conf);
}
