/*
 * aegis_gateway_run.c: one shift: look, write, test, reload, verify.
 * Invariants: one shift at a time in a gateway.dir (a lock that a dead process
 * does not keep); what has been written is verified, or goes back
 * (aegis_gateway_end.c).
 */
#include "aegis_gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "aegis_json.h"

#define AEGIS_GATEWAY_DUMP_MAX  (8u << 20)
#define AEGIS_GATEWAY_ERR_MAX   65536
#define AEGIS_GATEWAY_CHILD_MS  10000
#define AEGIS_GATEWAY_LOCK_MS   100

/* The line of nginx that says what is wrong. */
static void
aegis_gateway_emerg(const aegis_child_t *c, char *out, size_t size)
{
    size_t       n;
    const char  *text, *p;

    text = aegis_child_text(c, 1);
    p = strstr(text, "[emerg] ");
    p = p ? p + 8 : text;
    n = strcspn(p, "\n");

    if (c->timed_out) {
        snprintf(out, size, "nginx did not end");
    } else {
        snprintf(out, size, "%.*s", n > 0 ? (int) n : 20, n > 0 ? p : "nginx said nothing");
    }
}

static int
aegis_gateway_run(aegis_act_t *act, const aegis_gateway_command_t *c, const char *more,
    const char *last)
{
    int               i, n;
    char             *argv[AEGIS_GATEWAY_ARGS + 3];
    aegis_gateway_t  *g;

    g = act->self;

    for (i = 0; i < c->n; i++) {
        argv[i] = c->argv[i];
    }
    n = c->n;
    if (more != NULL) {
        argv[n++] = (char *) (uintptr_t) more;
    }
    if (last != NULL) {
        argv[n++] = (char *) (uintptr_t) last;
    }
    argv[n] = NULL;

    return aegis_child_spawn(&g->child, argv, AEGIS_GATEWAY_DUMP_MAX, AEGIS_GATEWAY_ERR_MAX,
                             g->at >= AEGIS_GATEWAY_BACK_TEST ? AEGIS_GATEWAY_BACK_MS
                             : AEGIS_GATEWAY_CHILD_MS);
}

static int
aegis_gateway_same(const aegis_gateway_t *g)
{
    int                     same;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_split_weights_t   now;

    same = aegis_split_weights(&g->split, json_object_get(g->what, "weights"), now, &err)
           && memcmp(now, g->weights, sizeof(now)) == 0
           && aegis_json_str(g->what, "id")[0] != '\0';
    aegis_error_clear(&err);

    return same;
}

/* The new file. 0: the act is over. */
static int
aegis_gateway_write_new(aegis_act_t *act)
{
    int               rc;
    char             *text;
    json_t           *what, *before;
    aegis_gateway_t  *g;

    g = act->self;

    /* what was there before the run, however often the run has shifted */
    before = strcmp(aegis_json_str(g->what, "run"), act->exec_id) == 0
             ? json_object_get(g->what, "before") : json_object_get(g->what, "weights");

    what = json_pack("{s:s, s:s, s:o, s:O?}", "id", g->key, "run", act->exec_id,
                     "weights", aegis_split_json(&g->split, g->weights), "before", before);
    text = what ? aegis_split_render(&g->split, g->weights, g->by, what) : NULL;
    json_decref(what);

    rc = text != NULL && aegis_gateway_write(g, text);
    if (!rc) {
        aegis_gateway_count("refused", 1);
        aegis_act_fail(act, 0, "cannot write to gateway.dir: %s",
                       text ? strerror(errno) : "no memory");
    }

    free(text);
    return rc;
}

void
aegis_gateway_go(aegis_act_t *act, aegis_gateway_at_t at)
{
    int               rc;
    int64_t           ms;
    aegis_gateway_t  *g;

    g = act->self;
    g->at = at;
    rc = 1;

    switch (at) {

    case AEGIS_GATEWAY_RELOAD:
    case AEGIS_GATEWAY_BACK_RELOAD:
        g->reloaded = 1;
        rc = g->reload.n > 0 ? aegis_gateway_run(act, &g->reload, NULL, NULL)
             : aegis_gateway_run(act, &g->nginx, "-s", "reload");
        break;

    case AEGIS_GATEWAY_VERIFY:
    case AEGIS_GATEWAY_BACK_VERIFY:
        ms = at == AEGIS_GATEWAY_VERIFY || g->verify_ms < AEGIS_GATEWAY_BACK_MS
             ? g->verify_ms : AEGIS_GATEWAY_BACK_MS;
        g->until = aegis_act_now() + ms;
        g->good = 0;
        g->busy = 0;
        break;

    default:
        rc = aegis_gateway_run(act, &g->nginx, "-T", NULL);
        break;
    }

    if (rc) {
        return;
    }

    aegis_act_say(act, "cannot run %s: %s", g->nginx.argv[0], strerror(errno));
    if (at == AEGIS_GATEWAY_LOOK) {
        aegis_gateway_fail(act, "refused", 0, "cannot run gateway.nginx");
    } else if (at >= AEGIS_GATEWAY_BACK_TEST) {
        aegis_gateway_was_back(act, "cannot run gateway.nginx");
    } else {
        aegis_gateway_back(act, "cannot run gateway.nginx or gateway.reload");
    }
}

/* nginx -T before anything is changed. */
static void
aegis_gateway_looked(aegis_act_t *act)
{
    int               i;
    char              text[256], emerg[200];
    aegis_gateway_t  *g;

    g = act->self;

    if (g->child.code != 0) {
        aegis_gateway_emerg(&g->child, emerg, sizeof(emerg));
        snprintf(text, sizeof(text), "nginx -t fails before anything was changed: %s", emerg);
        aegis_gateway_fail(act, "refused", 0, text);
        return;
    }

    for (i = 0; i < g->split.n; i++) {
        if (g->weights[i] > 0
            && !aegis_split_upstream(aegis_child_text(&g->child, 0), g->split.group[i]))
        {
            snprintf(text, sizeof(text), "nginx has no upstream %s", g->split.group[i]);
            aegis_gateway_fail(act, "refused", 1, text);
            return;
        }
    }

    aegis_split_text(&g->split, g->weights, text, sizeof(text));

    if (g->mode == AEGIS_GATEWAY_CHECK) {
        aegis_act_say(act, "would shift split %s to %s", g->split.name, text);
        aegis_act_ok(act);
        return;
    }

    if (aegis_gateway_same(g)) {
        aegis_act_say(act, "it has these weights already: %s", text);
        snprintf(g->verified, sizeof(g->verified), "%.36s", aegis_json_str(g->what, "id"));
        aegis_gateway_go(act, AEGIS_GATEWAY_RELOAD);
        return;
    }

    if (aegis_gateway_write_new(act)) {
        g->wrote = 1;
        memcpy(g->verified, g->key, sizeof(g->verified));
        aegis_act_say(act, "wrote %s.conf: %s", g->split.name, text);
        aegis_gateway_go(act, AEGIS_GATEWAY_TEST);
    }
}

/* A program has ended. */
static void
aegis_gateway_ended(aegis_act_t *act)
{
    int               ok;
    char              text[256], emerg[200];
    aegis_gateway_t  *g;

    g = act->self;
    ok = g->child.code == 0 && !g->child.timed_out;
    aegis_gateway_emerg(&g->child, emerg, sizeof(emerg));

    if (!ok && g->child.len[1] > 0) {
        (void) aegis_act_write(act, AEGIS_ERR, aegis_child_text(&g->child, 1),
                               g->child.len[1]);
    }

    switch (g->at) {

    case AEGIS_GATEWAY_LOOK:
        aegis_gateway_looked(act);
        return;

    case AEGIS_GATEWAY_TEST:
        if (!ok) {
            snprintf(text, sizeof(text), "nginx -t: %s", emerg);
            aegis_gateway_back(act, text);
        } else if (strstr(aegis_child_text(&g->child, 0), g->key) == NULL) {
            snprintf(text, sizeof(text), "nginx does not include %s.conf of gateway.dir",
                     g->split.name);
            aegis_gateway_back(act, text);
        } else {
            aegis_gateway_go(act, AEGIS_GATEWAY_RELOAD);
        }
        return;

    case AEGIS_GATEWAY_RELOAD:
        if (ok) {
            aegis_gateway_go(act, AEGIS_GATEWAY_VERIFY);
        } else {
            snprintf(text, sizeof(text), "the reload failed: %s", emerg);
            aegis_gateway_back(act, text);
        }
        return;

    case AEGIS_GATEWAY_BACK_TEST:
        if (!ok) {
            snprintf(text, sizeof(text), "nginx -t fails with it too: %s", emerg);
            aegis_gateway_was_back(act, text);
        } else if (g->reloaded) {
            aegis_gateway_go(act, AEGIS_GATEWAY_BACK_RELOAD);
        } else {
            aegis_gateway_was_back(act, NULL);
        }
        return;

    default:
        if (!ok) {
            snprintf(text, sizeof(text), "its reload failed: %s", emerg);
            aegis_gateway_was_back(act, text);
            return;
        }
        snprintf(g->verified, sizeof(g->verified), "%.36s", aegis_json_str(g->what, "id"));
        if (g->verified[0] == '\0') {
            aegis_gateway_was_back(act, NULL);
        } else {
            aegis_gateway_go(act, AEGIS_GATEWAY_BACK_VERIFY);
        }
    }
}

/* The weights of a rollback that names none: what was there before this run.
 * 0: the act is over. */
static int
aegis_gateway_undo(aegis_act_t *act)
{
    int               ok;
    aegis_gateway_t  *g;
    aegis_error_t     err = AEGIS_ERROR_INIT;

    g = act->self;

    if (strcmp(aegis_json_str(g->what, "run"), act->exec_id) != 0) {
        aegis_act_say(act, "nothing to change: this run has not shifted it");
        aegis_act_ok(act);
        return 0;
    }

    ok = aegis_split_weights(&g->split, json_object_get(g->what, "before"), g->weights, &err);
    if (!ok) {
        aegis_act_fail(act, 1, "what was there before the run is not known: %s", err.detail);
        aegis_error_clear(&err);
    }

    return ok;
}

/* The file as it is, under the lock: where to begin? */
static void
aegis_gateway_locked(aegis_act_t *act)
{
    int               ours;
    aegis_gateway_t  *g;

    g = act->self;

    if (!aegis_gateway_read(act, "conf", &g->old)) {
        return;
    }

    g->what = g->old ? aegis_split_read(g->old) : NULL;
    if (g->old != NULL && g->what == NULL) {
        aegis_act_fail(act, 1, "%s.conf of gateway.dir is not ours: it has no line \"# aegis:"
                       " {}\"", g->split.name);
        return;
    }

    ours = strcmp(aegis_json_str(g->what, "id"), g->key) == 0;
    memcpy(g->verified, g->key, sizeof(g->verified));

    if (g->mode == AEGIS_GATEWAY_RECOVER) {
        if (ours) {
            (void) aegis_split_weights(&g->split, json_object_get(g->what, "weights"),
                                       g->weights, NULL);
            aegis_gateway_go(act, AEGIS_GATEWAY_VERIFY);
        } else {
            aegis_act_unknown(act, "its executor stopped; the file is not of this step");
        }
        return;
    }

    if (ours && g->mode == AEGIS_GATEWAY_SHIFT) {
        aegis_act_say(act, "an attempt before has written it");
        (void) aegis_split_weights(&g->split, json_object_get(g->what, "weights"),
                                   g->weights, NULL);
        free(g->old);
        json_decref(g->what);
        g->what = NULL;
        if (!aegis_gateway_read(act, "before", &g->old)) {
            return;
        }
        g->what = g->old ? aegis_split_read(g->old) : NULL;
        g->wrote = 1;
        aegis_gateway_go(act, AEGIS_GATEWAY_TEST);
        return;
    }

    if (aegis_act_str(act, "to") == NULL && json_object_get(act->params, "weights") == NULL
        && !aegis_gateway_undo(act))
    {
        return;
    }

    aegis_gateway_go(act, AEGIS_GATEWAY_LOOK);
}

static void
aegis_gateway_late(aegis_act_t *act)
{
    char              text[128];
    aegis_gateway_t  *g;

    g = act->self;
    snprintf(text, sizeof(text), "timed out after %lld s",
             (long long) ((act->timeout_ms + 999) / 1000));

    g->late = 1;
    if (g->wrote) {
        aegis_child_free(&g->child);
        aegis_gateway_back(act, text);
    } else {
        aegis_gateway_fail(act, "refused", 0, text);
    }
}

void
aegis_gateway_poll(aegis_act_t *act)
{
    aegis_gateway_t  *g;

    g = act->self;

    if (aegis_act_now() >= act->deadline && !g->stopping && g->at < AEGIS_GATEWAY_BACK_TEST) {
        aegis_gateway_late(act);
        return;
    }

    switch (g->at) {

    case AEGIS_GATEWAY_LOCK:
        if (flock(g->lock, LOCK_EX | LOCK_NB) == 0) {
            aegis_gateway_locked(act);
        } else {
            act->poll_at = aegis_act_now() + AEGIS_GATEWAY_LOCK_MS;
        }
        return;

    case AEGIS_GATEWAY_VERIFY:
    case AEGIS_GATEWAY_BACK_VERIFY:
        aegis_gateway_ask(act);
        return;

    default:
        if (aegis_child_poll(&g->child)) {
            aegis_gateway_ended(act);
        }
    }
}

void
aegis_gateway_cancel(aegis_act_t *act, int now)
{
    aegis_gateway_t  *g;

    g = act->self;

    if (now && g->wrote) {
        aegis_act_unknown(act, "stopped between the write of %s.conf and its verification",
                          g->split.name);
        act->cancelled = 1;
        return;
    }

    if (g->stopping || g->at >= AEGIS_GATEWAY_BACK_TEST) {
        g->stopping = 1;
        return;
    }

    g->stopping = 1;
    if (g->wrote) {
        aegis_child_free(&g->child);
        aegis_gateway_back(act, "stopped");
    } else {
        aegis_gateway_fail(act, "refused", 0, "stopped: nothing was changed");
    }
}
