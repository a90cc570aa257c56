/*
 * act.c: one act of one adapter, without a database: what the executor's runner
 * does with it (workers/roles/exec/aegis_adapter.h), on the command line, so
 * that an adapter can be tried against the real thing it acts on.
 *   act --conf F --action A --params JSON [--mode start|check|recover]
 *       [--exec-id U] [--phase step|rollback] [--step N] [--attempt N]
 *       [--timeout-ms N] [--cancel-at TEXT] [--hard] [--die-at TEXT]
 * Prints a JSON object: state, error, final, cancelled, result, stdout, stderr,
 * ms, slowest_ms: the longest that a call of the adapter has taken. Cancels, or
 * dies by SIGKILL, when stdout has TEXT.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#include "aegis_json.h"
#include "aegis_metrics.h"
#include "aegis_sink.h"

static int64_t  slowest;

static int64_t
took(int64_t since)
{
    int64_t  ms;

    ms = aegis_act_now() - since;
    slowest = ms > slowest ? ms : slowest;
    return ms;
}

static json_t *
output(const aegis_act_t *act, aegis_output_t stream)
{
    int      fd;
    char     key[AEGIS_SINK_KEY], buf[65536];
    ssize_t  n;

    aegis_sink_key(act, stream, key);
    fd = openat(act->objects, key, O_RDONLY);
    n = fd < 0 ? 0 : read(fd, buf, sizeof(buf));
    if (fd >= 0) {
        close(fd);
    }

    return json_stringn(buf, n > 0 ? (size_t) n : 0);
}

static int
said(const aegis_act_t *act, const char *text)
{
    int      yes;
    json_t  *out;

    if (text == NULL) {
        return 0;
    }

    out = output(act, AEGIS_OUT);
    yes = strstr(json_string_value(out) ? json_string_value(out) : "", text) != NULL;
    json_decref(out);

    return yes;
}

static const char *
option(int argc, char **argv, const char *name, const char *dflt)
{
    int  i;

    for (i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }

    return dflt;
}

static int
flag(int argc, char **argv, const char *name)
{
    int  i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return 1;
        }
    }

    return 0;
}

static void
fail(const char *what)
{
    fprintf(stderr, "act: %s\n", what);
    exit(2);
}

/* To its end, as the runner would. */
static void
drive(aegis_act_t *act, const char *mode, const char *cancel_at, const char *die_at, int hard)
{
    int      cancelled;
    int64_t  at;

    at = aegis_act_now();
    if (strcmp(mode, "check") == 0) {
        act->adapter->check(act);
    } else if (strcmp(mode, "recover") == 0) {
        act->adapter->recover(act);
    } else {
        act->adapter->start(act);
    }
    took(at);

    for (cancelled = 0; act->state == AEGIS_ACT_RUNNING; ) {
        (void) poll(NULL, 0, 20);

        if (said(act, die_at)) {
            kill(getpid(), SIGKILL);
        }
        if (!cancelled && said(act, cancel_at)) {
            at = aegis_act_now();
            act->adapter->cancel(act, hard);
            took(at);
            cancelled = 1;
            continue;
        }
        if (act->poll_at <= aegis_act_now() || cancelled) {
            at = aegis_act_now();
            act->poll_at = 0;
            act->adapter->poll(act);
            took(at);
        }
        if (aegis_act_now() > act->deadline + AEGIS_ACT_GRACE_MS) {
            fail("the act does not end");
        }
    }
}

int
main(int argc, char **argv)
{
    size_t          i;
    int64_t         began;
    json_t         *out;
    json_t         *params;
    const char     *p;
    aegis_act_t     act;
    aegis_conf_t   *conf;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  states[] = { "RUNNING", "OK", "FAILED", "TIMEOUT", "UNKNOWN" };

    curl_global_init(CURL_GLOBAL_DEFAULT);
    memset(&act, 0, sizeof(act));
    aegis_sink_init(&act);

    if (aegis_conf_load(option(argc, argv, "--conf", ""), &conf, &err) != AEGIS_E_OK) {
        fail(err.detail);
    }
    for (i = 0; aegis_adapter_at(i) != NULL; i++) {
        if (aegis_adapter_at(i)->configure && !aegis_adapter_at(i)->configure(conf, &err)) {
            fail(err.detail);
        }
    }

    p = option(argc, argv, "--params", "{}");
    if (aegis_json_parse((aegis_str_t) { strlen(p), p }, &params, &err) != AEGIS_E_OK) {
        fail("--params is no JSON");
    }

    act.action = aegis_action_find(option(argc, argv, "--action", ""));
    act.adapter = aegis_adapter(act.action);
    if (act.adapter == NULL) {
        fail("--action: nobody does that");
    }
    if (!aegis_action_check(act.action, params, "/params", &err)) {
        p = json_dumps(err.errors, 0);
        fail(p);
    }

    act.conf = conf;
    act.tenant = "default";
    act.case_id = "00000000-0000-4000-8000-000000000001";
    act.exec_id = option(argc, argv, "--exec-id", "00000000-0000-4000-8000-000000000002");
    act.phase = option(argc, argv, "--phase", "step");
    act.step_no = atoi(option(argc, argv, "--step", "1"));
    act.attempt = atoi(option(argc, argv, "--attempt", "1"));
    act.token = "00000000-0000-4000-8000-000000000003";
    act.params = params;
    act.timeout_ms = atoi(option(argc, argv, "--timeout-ms", "60000"));
    act.output_max = 1 << 20;

    p = option(argc, argv, "--objects", ".");
    (void) mkdir(p, 0750);
    act.objects = open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    began = aegis_act_now();
    act.deadline = began + act.timeout_ms;
    drive(&act, option(argc, argv, "--mode", "start"), option(argc, argv, "--cancel-at", NULL),
          option(argc, argv, "--die-at", NULL), flag(argc, argv, "--hard"));

    out = json_pack("{s:s, s:s, s:b, s:b, s:O?, s:o, s:o, s:I, s:I}", "state",
        states[act.state], "error", act.error, "final", act.final, "cancelled", act.cancelled,
        "result", act.result, "stdout", output(&act, AEGIS_OUT), "stderr",
        output(&act, AEGIS_ERR), "ms", (json_int_t) (aegis_act_now() - began), "slowest_ms",
        (json_int_t) slowest);
    json_dumpf(out, stdout, JSON_COMPACT);
    puts("");

    if (flag(argc, argv, "--metrics")) {
        puts(aegis_metrics_render(&i));
    }

    if (act.adapter->release) {
        act.adapter->release(&act);
    }
    aegis_sink_close(&act);
    for (i = 0; aegis_adapter_at(i) != NULL; i++) {
        if (aegis_adapter_at(i)->done) {
            aegis_adapter_at(i)->done();
        }
    }

    json_decref(act.result);
    json_decref(out);
    json_decref(params);
    aegis_conf_free(conf);
    close(act.objects);
    return 0;
}
