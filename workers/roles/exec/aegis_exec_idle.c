/*
 * aegis_exec_idle.c: a whole run of steps that change nothing outside (`echo`), made at
 * once for a case that another role of this process carries on. Its rows are that
 * role's to write, with what moves the case.
 * Invariant: only runs that ended well and left no file are made so; any other is made
 * again as a run of its own, which for such steps is the same as making it once.
 */
#include "aegis_exec.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

/* What a step says is kept in memory: aegis_sink.c. */
#define AEGIS_EXEC_IDLE_TEXT  1024

static size_t
aegis_exec_idle_text(const json_t *params)
{
    size_t       n;
    json_t      *v;
    const char  *key;

    n = 0;
    json_object_foreach((json_t *) params, key, v) {
        n += json_is_string(v) ? json_string_length(v) : 0;
    }

    return n;
}

/* Are all steps such? */
static int
aegis_exec_idle_all(const json_t *plan)
{
    size_t                  i;
    const json_t           *steps, *step;
    const aegis_adapter_t  *adapter;

    steps = json_object_get(plan, "steps");

    for (i = 0; i < json_array_size(steps); i++) {
        step = json_array_get(steps, i);
        adapter = aegis_adapter(aegis_action_find(aegis_json_str(step, "action")));
        if (adapter == NULL || !adapter->idle || json_object_get(step, "target")
            || aegis_exec_idle_text(json_object_get(step, "params")) > AEGIS_EXEC_IDLE_TEXT)
        {
            return 0;
        }
    }

    return i > 0;
}

/* One attempt as a row; its output is JSON as text. */
static json_t *
aegis_exec_idle_row(const aegis_exec_made_t *made, int step_no, int attempt)
{
    json_t  *row;

    row = json_pack("{s:s, s:i, s:i, s:s, s:s, s:b, s:s, s:s, s:b}",
        "phase", made->phase, "step_no", step_no, "attempt", attempt,
        "action", made->action, "state", made->state, "retry_safe", made->retry_safe,
        "token", made->token, "error", made->error, "final", made->final);
    if (row && made->has_exit) {
        json_object_set_new(row, "exit_code", json_integer(atoi(made->exit_text)));
    }
    if (row && made->output) {
        json_object_set_new(row, "output", json_string(made->output));
    }
    if (row && made->result) {
        json_object_set_new(row, "result", json_loads(made->result, 0, NULL));
    }

    return row;
}

json_t *
aegis_exec_idle(const aegis_carry_run_t *of)
{
    int                stop;
    json_t            *rows;
    size_t             i;
    aegis_exec_t       x;
    aegis_worker_t     w;
    aegis_exec_run_t  *run;

    if (!aegis_exec_idle_all(of->plan)) {
        return NULL;
    }

    stop = 0;
    memset(&x, 0, sizeof(x));
    memset(&w, 0, sizeof(w));
    x.objects = -1;                     /* no file can be made */
    x.seconds = aegis_histogram("aegis_exec_step_seconds", "",
                                "time from a step's start to its recorded end");
    w.conf = of->conf;
    w.stopping = &stop;
    w.data = &x;

    run = aegis_exec_run_of(of->tenant, of->case_id, of->exec_id, 1, of->traceparent,
                            json_pack("{s:O}", "plan", of->plan));
    if (run == NULL) {
        return NULL;
    }

    run->lease_until = INT64_MAX;
    aegis_exec_span_run(run, of->traceparent);
    while (run->at != AEGIS_RUN_FINISH && aegis_exec_run_go(&w, run, aegis_act_now())) {
        /* void */
    }

    rows = NULL;
    if (run->at == AEGIS_RUN_FINISH && strcmp(run->state, "DONE") == 0) {
        rows = json_array();
        for (i = 0; i < run->n_made; i++) {
            json_array_append_new(rows, aegis_exec_idle_row(&run->made[i],
                atoi(run->made[i].step_text), atoi(run->made[i].attempt_text)));
        }
        aegis_exec_span_end(run);
    }

    aegis_exec_run_free(run);
    return rows;
}
