/*
 * aegis_adapter_gateway.c: the actions gateway.shift and gateway.flip: share
 * traffic between upstream groups of an nginx. Here: the settings, what may be
 * shifted, begin and end of an act. The sequence is aegis_gateway_run.c, what
 * is written is core/aegis_split.h.
 * Invariant: no file but <split>.conf and <split>.before of gateway.dir is
 * written, for splits that gateway.splits names; nothing that a plan says
 * becomes a word of a command.
 */
#include "aegis_gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aegis_http.h"
#include "aegis_json.h"

static struct {
    char     *nginx;
    char     *reload;
    char     *dir;
    char     *splits;
    char     *by;
    char     *verify_url;
    int64_t   verify_ms;
} aegis_gateway_conf;

static void
aegis_gateway_done(void)
{
    free(aegis_gateway_conf.nginx);
    free(aegis_gateway_conf.reload);
    free(aegis_gateway_conf.dir);
    free(aegis_gateway_conf.splits);
    free(aegis_gateway_conf.by);
    free(aegis_gateway_conf.verify_url);
    memset(&aegis_gateway_conf, 0, sizeof(aegis_gateway_conf));
}

static int
aegis_gateway_configure(const aegis_conf_t *conf, aegis_error_t *err)
{
    char            path[4096];
    const char     *splits, *by, *url, *dir;
    aegis_split_t   split;

    splits = aegis_conf_str(conf, "gateway.splits");
    by = aegis_conf_str(conf, "gateway.split_by");
    url = aegis_conf_str(conf, "gateway.verify_url");
    dir = aegis_conf_str(conf, "gateway.dir");

    if (!aegis_split_find(splits, NULL, &split, err)) {
        return 0;
    }
    if (!aegis_split_by_valid(by)) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA,
            "gateway.split_by: needs a variable of nginx, and has plain characters alone");
        return 0;
    }
    if (aegis_conf_str(conf, "gateway.nginx")[0] != '/') {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "gateway.nginx: no absolute path");
        return 0;
    }
    if (splits[strspn(splits, " \t\r\n")] != '\0'
        && (dir[0] == '\0' || (strncmp(url, "http://", 7) != 0
                               && strncmp(url, "https://", 8) != 0)))
    {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, dir[0] == '\0'
            ? "gateway.dir: is needed for gateway.splits"
            : "gateway.verify_url: an http address is needed for gateway.splits");
        return 0;
    }

    /* there from the start, so that the first one is an increase */
    aegis_gateway_count("ok", 0);
    aegis_gateway_count("refused", 0);
    aegis_gateway_count("restored", 0);
    aegis_gateway_count("broken", 0);

    aegis_gateway_done();
    aegis_gateway_conf.nginx = strdup(aegis_conf_str(conf, "gateway.nginx"));
    aegis_gateway_conf.reload = strdup(aegis_conf_str(conf, "gateway.reload"));
    aegis_gateway_conf.dir = strdup(dir[0] ? aegis_conf_path(conf, "gateway.dir", path) : "");
    aegis_gateway_conf.splits = strdup(splits);
    aegis_gateway_conf.by = strdup(by);
    aegis_gateway_conf.verify_url = strdup(url);
    aegis_gateway_conf.verify_ms = aegis_conf_int(conf, "gateway.verify_s") * 1000;

    if (!aegis_gateway_conf.nginx || !aegis_gateway_conf.reload || !aegis_gateway_conf.dir
        || !aegis_gateway_conf.splits || !aegis_gateway_conf.by
        || !aegis_gateway_conf.verify_url)
    {
        aegis_gateway_done();
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return 0;
    }

    return 1;
}

static void
aegis_gateway_target(const aegis_act_t *act, char buf[AEGIS_ACT_TARGET])
{
    snprintf(buf, AEGIS_ACT_TARGET, "gateway:%s", aegis_act_str(act, "split"));
}

/* The words of a setting as a command. 0: no memory, or too many. */
static int
aegis_gateway_command(const char *setting, aegis_gateway_command_t *c)
{
    char  *p, *save;

    c->text = strdup(setting);
    if (c->text == NULL) {
        return 0;
    }

    for (p = strtok_r(c->text, " \t", &save); p; p = strtok_r(NULL, " \t", &save)) {
        if (c->n == AEGIS_GATEWAY_ARGS) {
            return 0;
        }
        c->argv[c->n++] = p;
    }
    c->argv[c->n] = NULL;

    return 1;
}

static void
aegis_gateway_release(aegis_act_t *act)
{
    aegis_gateway_t  *g;

    g = act->self;
    if (g == NULL) {
        return;
    }

    aegis_child_free(&g->child);
    aegis_net_free(g->net);
    if (g->lock >= 0) {
        close(g->lock);
    }
    if (g->dir >= 0) {
        close(g->dir);
    }
    json_decref(g->what);
    free(g->nginx.text);
    free(g->reload.text);
    free(g->by);
    free(g->old);
    free(g);
    act->self = NULL;
}

/* What the act works with. 0: it has failed. */
static int
aegis_gateway_prepare(aegis_act_t *act, aegis_gateway_t *g)
{
    char         name[128];
    aegis_str_t  s;

    if (!aegis_gateway_command(aegis_gateway_conf.nginx, &g->nginx)
        || !aegis_gateway_command(aegis_gateway_conf.reload, &g->reload)
        || (g->by = strdup(aegis_gateway_conf.by)) == NULL
        || (g->net = aegis_net_new()) == NULL)
    {
        aegis_act_fail(act, 0, "no memory, or a command of more than %d words",
                       AEGIS_GATEWAY_ARGS);
        return 0;
    }

    snprintf(g->url, sizeof(g->url), "%s%s", aegis_gateway_conf.verify_url, g->split.name);
    g->verify_ms = aegis_gateway_conf.verify_ms;

    /* the step's and not the attempt's: a second attempt goes on with the first */
    snprintf(name, sizeof(name), "%s:%s:%d", act->exec_id, act->phase, act->step_no);
    s = aegis_view(name);
    aegis_uuid_named(s, g->key);

    g->dir = open(aegis_gateway_conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g->lock = g->dir < 0 ? -1 : openat(g->dir, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW
                                                         | O_CLOEXEC, 0600);
    if (g->lock < 0) {
        aegis_act_fail(act, 0, "gateway.dir %.150s: %s", aegis_gateway_conf.dir,
                       strerror(errno));
        return 0;
    }

    return 1;
}

/* The split and its new weights, as far as the parameters say. 0: the act has
 * failed. */
static int
aegis_gateway_wanted(aegis_act_t *act, aegis_gateway_t *g)
{
    int             ok;
    const char     *to;
    json_t         *weights;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    to = aegis_act_str(act, "to");
    weights = json_object_get(act->params, "weights");

    if (weights != NULL && to != NULL) {
        aegis_act_fail(act, 1, "params has both weights and to");
        return 0;
    }
    if (weights == NULL && to == NULL && strcmp(act->phase, "rollback") != 0) {
        aegis_act_fail(act, 1, "params has neither weights nor to");
        return 0;
    }

    ok = aegis_split_find(aegis_gateway_conf.splits, aegis_act_str(act, "split"), &g->split,
                          &err);
    if (ok && to != NULL) {
        ok = aegis_split_all(&g->split, to, g->weights, &err);
    } else if (ok && weights != NULL) {
        ok = aegis_split_weights(&g->split, weights, g->weights, &err);
    }

    if (!ok) {
        aegis_act_fail(act, 1, "%s", err.detail);
        aegis_error_clear(&err);
    }

    return ok;
}

static void
aegis_gateway_begin(aegis_act_t *act, aegis_gateway_mode_t mode)
{
    aegis_gateway_t  *g;

    if (aegis_gateway_conf.splits == NULL) {
        aegis_act_fail(act, 1, "the settings gateway.* are no good: see the log");
        return;
    }

    g = calloc(1, sizeof(aegis_gateway_t));
    if (g == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return;
    }
    g->mode = mode;
    g->dir = g->lock = -1;
    aegis_child_init(&g->child);
    act->self = g;

    if (!aegis_gateway_wanted(act, g) || !aegis_gateway_prepare(act, g)) {
        return;
    }

    act->state = AEGIS_ACT_RUNNING;
    aegis_gateway_poll(act);
}

static void
aegis_gateway_start(aegis_act_t *act)
{
    aegis_gateway_begin(act, AEGIS_GATEWAY_SHIFT);
}

static void
aegis_gateway_check(aegis_act_t *act)
{
    aegis_gateway_begin(act, AEGIS_GATEWAY_CHECK);
}

static void
aegis_gateway_recover(aegis_act_t *act)
{
    aegis_gateway_begin(act, AEGIS_GATEWAY_RECOVER);
}

const aegis_adapter_t  aegis_adapter_gateway = {
    .name = "gateway",
    .configure = aegis_gateway_configure,
    .done = aegis_gateway_done,
    .target = aegis_gateway_target,
    .check = aegis_gateway_check,
    .start = aegis_gateway_start,
    .poll = aegis_gateway_poll,
    .cancel = aegis_gateway_cancel,
    .recover = aegis_gateway_recover,
    .release = aegis_gateway_release
};
