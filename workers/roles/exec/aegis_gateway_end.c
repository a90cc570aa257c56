/*
 * aegis_gateway_end.c: how a shift ends: it is seen in force, or the old file
 * goes back, is tested, reloaded and seen in force.
 * Invariants: a shift is done when new connections see its id, several times in
 * a row; one that is not done leaves the file that was there before, and says
 * so when it could not.
 */
#include "aegis_gateway.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_log.h"
#include "aegis_metrics.h"

#define AEGIS_GATEWAY_PAUSE_MS  50
#define AEGIS_GATEWAY_ASK_MS    2000
#define AEGIS_GATEWAY_GOOD      5

void
aegis_gateway_count(const char *outcome, int n)
{
    char  labels[64];

    snprintf(labels, sizeof(labels), "outcome=\"%s\"", outcome);
    aegis_metric_add(aegis_counter("aegis_gateway_shifts_total", labels,
        "Shifts of traffic by outcome: ok; refused: nothing was changed; restored: the old"
        " file is back; broken: it is not, or nginx does not take it."), n);
}

void
aegis_gateway_fail(aegis_act_t *act, const char *outcome, int final, const char *why)
{
    aegis_gateway_t  *g;

    g = act->self;
    aegis_gateway_count(outcome, 1);
    aegis_act_fail(act, final, "%s", why);
    act->cancelled = g->stopping;
    if (g->late && !g->stopping) {
        act->state = AEGIS_ACT_TIMEOUT;
    }
}

static void
aegis_gateway_ok(aegis_act_t *act)
{
    char              text[256];
    json_t           *weights;
    aegis_gateway_t  *g;

    g = act->self;
    aegis_split_text(&g->split, g->weights, text, sizeof(text));
    weights = aegis_split_json(&g->split, g->weights);

    aegis_act_say(act, "split %s: %s", g->split.name, text);
    aegis_gateway_count("ok", 1);
    aegis_act_ok(act);
    act->result = json_pack("{s:s, s:o, s:s}", "split", g->split.name, "weights", weights,
                            "id", g->verified);
}

void
aegis_gateway_back(aegis_act_t *act, const char *why)
{
    aegis_gateway_t  *g;

    g = act->self;

    if (g->why[0] == '\0') {
        snprintf(g->why, sizeof(g->why), "%s", why);
    }
    aegis_act_say(act, "%s: the old file goes back", g->why);

    if (!g->wrote) {
        aegis_gateway_fail(act, "refused", 0, g->why);
        return;
    }

    if (!aegis_gateway_restore(g)) {
        aegis_log(AEGIS_LOG_ERROR, "exec", "gateway.not_restored", "split", "%s",
                  g->split.name, "error", "%s", strerror(errno), NULL);
        aegis_act_say(act, "the old file cannot be put back: %s", strerror(errno));
        aegis_gateway_fail(act, "broken", 1, g->why);
        aegis_act_unknown(act, "%.150s; the old file cannot be put back: see"
                          " gateway.dir/%s.before", g->why, g->split.name);
        return;
    }

    aegis_gateway_go(act, AEGIS_GATEWAY_BACK_TEST);
}

void
aegis_gateway_was_back(aegis_act_t *act, const char *problem)
{
    char              text[256];
    aegis_gateway_t  *g;

    g = act->self;

    if (problem == NULL) {
        snprintf(text, sizeof(text), "%.200s; the old file is back", g->why);
        aegis_gateway_fail(act, "restored", g->reloaded ? 0 : 1, text);
        return;
    }

    aegis_log(AEGIS_LOG_ERROR, "exec", "gateway.not_restored", "split", "%s", g->split.name,
              "error", "%s", problem, NULL);
    aegis_act_say(act, "%s", problem);
    snprintf(text, sizeof(text), "%.110s; the old file is back, but %.110s", g->why, problem);
    aegis_gateway_fail(act, "broken", 1, text);
}

/* One answer more, or the end of the patience with them. */
static void
aegis_gateway_verified(aegis_act_t *act)
{
    char              text[256];
    aegis_gateway_t  *g;

    g = act->self;

    if (g->good >= AEGIS_GATEWAY_GOOD) {
        if (g->at == AEGIS_GATEWAY_VERIFY) {
            aegis_gateway_ok(act);
        } else {
            aegis_gateway_was_back(act, NULL);
        }
        return;
    }

    if (aegis_act_now() < g->until) {
        return;
    }

    if (g->at == AEGIS_GATEWAY_BACK_VERIFY) {
        snprintf(text, sizeof(text), "it is not served: %s", g->seen);
        aegis_gateway_was_back(act, text);
    } else if (g->mode == AEGIS_GATEWAY_RECOVER) {
        aegis_act_unknown(act, "its executor stopped; the file is written and not served");
    } else {
        snprintf(text, sizeof(text), "nginx does not serve it after %lld s: %s",
                 (long long) g->verify_ms / 1000, g->seen);
        aegis_gateway_back(act, text);
    }
}

void
aegis_gateway_ask(aegis_act_t *act)
{
    size_t                len;
    aegis_gateway_t      *g;
    aegis_net_state_t     state;
    aegis_net_trust_t     trust;
    aegis_net_request_t   r;

    g = act->self;
    state = g->busy ? aegis_net_poll(g->net) : AEGIS_NET_IDLE;

    if (state == AEGIS_NET_ANSWER) {
        g->busy = 0;
        if (aegis_net_status(g->net) == 200
            && strstr(aegis_net_body(g->net, &len), g->verified) != NULL)
        {
            g->good++;
        } else {
            g->good = 0;
            snprintf(g->seen, sizeof(g->seen), "%d without its id from gateway.verify_url",
                     aegis_net_status(g->net));
            act->poll_at = aegis_act_now() + AEGIS_GATEWAY_PAUSE_MS;
        }

    } else if (state == AEGIS_NET_BROKEN) {
        g->busy = 0;
        g->good = 0;
        snprintf(g->seen, sizeof(g->seen), "%.150s", aegis_net_error(g->net));
        act->poll_at = aegis_act_now() + AEGIS_GATEWAY_PAUSE_MS;
    }

    aegis_gateway_verified(act);
    if (act->state != AEGIS_ACT_RUNNING || g->busy || act->poll_at > aegis_act_now()
        || (g->at != AEGIS_GATEWAY_VERIFY && g->at != AEGIS_GATEWAY_BACK_VERIFY))
    {
        return;
    }

    memset(&trust, 0, sizeof(trust));
    memset(&r, 0, sizeof(r));
    r.method = "GET";
    r.url = g->url;
    r.plain = 1;
    r.fresh = 1;                        /* old workers keep their connections */
    r.body_max = 65536;
    r.timeout_ms = AEGIS_GATEWAY_ASK_MS;

    if (aegis_net_begin(g->net, &trust, &r)) {
        g->busy = 1;
        (void) aegis_net_poll(g->net);
    } else {
        snprintf(g->seen, sizeof(g->seen), "%.150s", aegis_net_error(g->net));
        act->poll_at = aegis_act_now() + AEGIS_GATEWAY_PAUSE_MS;
    }
}
