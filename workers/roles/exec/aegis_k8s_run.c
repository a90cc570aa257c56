/*
 * aegis_k8s_run.c: one act of the k8s adapter: read the workload, write the
 * change, watch it being rolled out. Each call goes on as far as it can
 * without waiting.
 * Invariants: no patch is sent again before the workload has been read again,
 * so that its mark says whether the last one came through; a refusal that
 * will not change is final and says what is missing; what can pass is tried
 * again with a growing delay, or the one that the API asks for.
 */
#include "aegis_k8s.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "aegis_json.h"
#include "aegis_metrics.h"

#define AEGIS_K8S_TRIES         6       /* before the change; after it until the deadline */
#define AEGIS_K8S_CONFLICTS     20
#define AEGIS_K8S_BACKOFF_MS    250
#define AEGIS_K8S_BACKOFF_MAX   30000
#define AEGIS_K8S_AFTER_MAX     120000  /* Retry-After that is believed */
#define AEGIS_K8S_WATCH_MS      150
#define AEGIS_K8S_WATCH_MAX     3000
#define AEGIS_K8S_SETTLE_MS     30000   /* for a controller to see a change */
#define AEGIS_K8S_STALE_MS      30000   /* an old exceeded deadline is overlooked */
#define AEGIS_K8S_OBJECT_MAX    (4u << 20)
#define AEGIS_K8S_HISTORY_MAX   (16u << 20)
#define AEGIS_K8S_URL           2048

static int64_t
aegis_k8s_jitter(aegis_k8s_t *k, int64_t ms)
{
    return ms - ms / 4 + rand_r(&k->seed) % (ms / 2 + 1);
}

static void
aegis_k8s_later(aegis_act_t *act, int64_t ms)
{
    aegis_k8s_t  *k;

    k = act->self;
    k->next_at = aegis_act_now() + aegis_k8s_jitter(k, ms);
    act->poll_at = k->next_at < act->deadline ? k->next_at : act->deadline;
}

static const char *
aegis_k8s_method(const aegis_k8s_t *k)
{
    return k->at == AEGIS_K8S_WRITE ? "patch" : k->at == AEGIS_K8S_HISTORY ? "list" : "get";
}

static aegis_metric_t *
aegis_k8s_counter(const char *verb, const char *code)
{
    char  labels[64];

    snprintf(labels, sizeof(labels), "verb=\"%s\",code=\"%s\"", verb, code);
    return aegis_counter("aegis_k8s_requests_total", labels,
        "Requests to the Kubernetes API by outcome; none: no answer came.");
}

void
aegis_k8s_metrics(void)
{
    int  i;

    static const char *const  verbs[] = { "get", "list", "patch" };

    for (i = 0; i < 3; i++) {
        (void) aegis_k8s_counter(verbs[i], "401");
        (void) aegis_k8s_counter(verbs[i], "403");
    }
}

/* One counter a verb and outcome: few, whatever the API answers. */
static void
aegis_k8s_count(const aegis_k8s_t *k, int status)
{
    char  code[8];

    snprintf(code, sizeof(code), status == 0 ? "none" : status < 300 ? "2xx"
             : status == 401 || status == 403 || status == 404 || status == 409
               || status == 429 ? "%d" : status < 500 ? "4xx" : "5xx", status);

    aegis_metric_add(aegis_k8s_counter(aegis_k8s_method(k), code), 1);
    aegis_metric_observe(aegis_histogram("aegis_k8s_request_seconds", "",
        "Time to an answer of the Kubernetes API."),
        (double) aegis_net_elapsed_ms(k->net) / 1000);
}

/* A failure that may pass: again later, or it is one of the step. */
static void
aegis_k8s_again(aegis_act_t *act, const char *why)
{
    int64_t       ms;
    aegis_k8s_t  *k;

    k = act->self;
    k->tries++;

    if (k->stopping) {
        aegis_k8s_stopped(act);
        return;
    }

    if (k->at != AEGIS_K8S_WATCH && k->tries > AEGIS_K8S_TRIES) {
        if (k->doubt) {
            aegis_act_unknown(act, "%s, and whether the change came through is not known",
                              why);
        } else {
            aegis_act_fail(act, 0, "%s (%d times)", why, k->tries);
        }
        return;
    }

    aegis_act_say(act, "%s: again in a moment", why);

    ms = aegis_net_retry_after_ms(k->net);
    if (ms > 0) {
        ms = ms < AEGIS_K8S_AFTER_MAX ? ms : AEGIS_K8S_AFTER_MAX;
        ms += ms / 3;                   /* with the jitter not before it was allowed */
    } else {
        ms = AEGIS_K8S_BACKOFF_MS << (k->tries < 8 ? k->tries - 1 : 7);
        ms = ms < AEGIS_K8S_BACKOFF_MAX ? ms : AEGIS_K8S_BACKOFF_MAX;
    }

    if (k->at != AEGIS_K8S_WATCH) {
        k->at = AEGIS_K8S_READ;
    }
    aegis_k8s_later(act, ms);
}

static int
aegis_k8s_url(aegis_k8s_t *k, char url[AEGIS_K8S_URL])
{
    int    n;
    char  *selector, *escaped;

    if (k->at != AEGIS_K8S_HISTORY) {
        n = snprintf(url, AEGIS_K8S_URL, "%s/apis/apps/v1/namespaces/%s/%s/%s%s%s",
                     k->access.server, k->step.ns, aegis_kube_resource(k->step.kind),
                     k->step.name, k->at == AEGIS_K8S_WRITE ? "?fieldManager=aegis" : "",
                     k->at == AEGIS_K8S_WRITE && k->mode == AEGIS_K8S_CHECK
                     ? "&dryRun=All" : "");
        return n < AEGIS_K8S_URL;
    }

    selector = aegis_kube_selector(k->object);
    escaped = selector ? curl_easy_escape(NULL, selector, 0) : NULL;
    free(selector);

    n = snprintf(url, AEGIS_K8S_URL, "%s/apis/apps/v1/namespaces/%s/%s?limit=500"
                 "&labelSelector=%s", k->access.server, k->step.ns,
                 aegis_kube_history(k->step.kind), escaped ? escaped : "");
    n = escaped == NULL ? AEGIS_K8S_URL : n;
    curl_free(escaped);

    return n < AEGIS_K8S_URL;
}

static void
aegis_k8s_send(aegis_act_t *act)
{
    char                  url[AEGIS_K8S_URL], *body;
    int64_t               left;
    aegis_k8s_t          *k;
    aegis_net_trust_t     trust;
    aegis_net_request_t   r;

    k = act->self;
    memset(&r, 0, sizeof(r));

    if (!aegis_k8s_url(k, url)) {
        aegis_act_fail(act, 1, "its selector cannot be asked for");
        return;
    }

    left = act->deadline - aegis_act_now();
    body = NULL;

    r.url = url;
    r.method = k->at == AEGIS_K8S_WRITE ? "PATCH" : "GET";
    r.body_max = k->at == AEGIS_K8S_HISTORY ? AEGIS_K8S_HISTORY_MAX : AEGIS_K8S_OBJECT_MAX;
    r.timeout_ms = left > 0 && left < k->request_ms ? left : k->request_ms;

    if (k->at == AEGIS_K8S_WRITE) {
        body = aegis_json_text(k->change.body);
        r.body = body;
        r.type = k->change.type;
        if (body == NULL) {
            aegis_act_fail(act, 0, "no memory");
            return;
        }
    }

    trust = aegis_kube_trust(&k->access);
    if (aegis_net_begin(k->net, &trust, &r)) {
        k->busy = 1;
        k->doubt = k->at == AEGIS_K8S_WRITE && k->mode == AEGIS_K8S_CHANGE ? 1 : k->doubt;
        act->poll_at = 0;
    } else {
        aegis_act_fail(act, 1, "%s", aegis_net_error(k->net));
    }

    free(body);
}

/* The last look at the workload, as the act's result. */
static void
aegis_k8s_result(aegis_act_t *act)
{
    aegis_k8s_t   *k;
    const json_t  *meta;

    k = act->self;
    meta = json_object_get(k->object, "metadata");

    act->result = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}",
        "kind", aegis_kube_kind_name(k->step.kind), "namespace", k->step.ns,
        "name", k->step.name, "change", k->change.text, "generation",
        json_integer_value(json_object_get(meta, "generation")), "rollout", k->seen);
}

static void
aegis_k8s_watched(aegis_act_t *act)
{
    int            n;
    int64_t        ms;
    char           text[AEGIS_KUBE_TEXT];
    aegis_k8s_t   *k;
    const char    *uid;

    k = act->self;
    uid = aegis_json_str(json_object_get(k->object, "metadata"), "uid");

    if (strcmp(uid, k->uid) != 0) {
        aegis_act_fail(act, 1, "the %s was deleted and made anew meanwhile",
                       aegis_kube_kind_name(k->step.kind));
        return;
    }

    if (k->stale[0] != '\0' && aegis_act_now() - k->applied_at > AEGIS_K8S_STALE_MS) {
        k->stale[0] = '\0';
    }

    n = aegis_kube_progress(k->step.kind, k->object, k->generation, k->stale, text);
    if (strcmp(text, k->seen) != 0) {
        memcpy(k->seen, text, sizeof(k->seen));
        aegis_act_say(act, "%s", text);
        k->polls = 0;
    }

    if (n == AEGIS_KUBE_DONE) {
        aegis_act_ok(act);
        aegis_k8s_result(act);

    } else if (n == AEGIS_KUBE_FAILED) {
        aegis_act_fail(act, 1, "%s", text);
        aegis_k8s_result(act);

    } else {
        ms = AEGIS_K8S_WATCH_MS * (1 + k->polls++);
        aegis_k8s_later(act, ms < AEGIS_K8S_WATCH_MAX ? ms : AEGIS_K8S_WATCH_MAX);
    }
}

/* The change is made, by us or by an attempt before: wait for the rollout. */
static void
aegis_k8s_watch(aegis_act_t *act)
{
    aegis_k8s_t  *k;

    k = act->self;
    k->at = AEGIS_K8S_WATCH;
    k->applied_at = aegis_act_now();
    k->generation = aegis_kube_generation(k->object);
    k->polls = 0;
    snprintf(k->uid, sizeof(k->uid), "%s",
             aegis_json_str(json_object_get(k->object, "metadata"), "uid"));

    aegis_k8s_watched(act);
}

static void
aegis_k8s_unsettled(aegis_act_t *act)
{
    int64_t       now;
    aegis_k8s_t  *k;

    k = act->self;
    now = aegis_act_now();
    k->unsettled_at = k->unsettled_at ? k->unsettled_at : now;

    if (now - k->unsettled_at > AEGIS_K8S_SETTLE_MS) {
        aegis_act_fail(act, 0, "%s for %d s: does the controller manager run?",
                       k->change.text, AEGIS_K8S_SETTLE_MS / 1000);
        return;
    }

    k->at = AEGIS_K8S_READ;
    aegis_k8s_later(act, AEGIS_K8S_WATCH_MS);
}

/* The workload, and its history when it is needed, are read: what now? */
static void
aegis_k8s_decide(aegis_act_t *act)
{
    aegis_k8s_t  *k;

    k = act->self;

    if (k->mode == AEGIS_K8S_RECOVER && !aegis_kube_marked(k->object, k->key)) {
        aegis_act_unknown(act, "its executor stopped; no change of this step is there");
        return;
    }

    json_decref(k->change.body);
    aegis_kube_change(&k->step, k->object, k->history, &k->change);

    switch (k->change.kind) {

    case AEGIS_KUBE_PATCH:
        snprintf(k->stale, sizeof(k->stale), "%s", aegis_kube_exceeded(k->object));
        k->at = AEGIS_K8S_WRITE;
        aegis_k8s_send(act);
        return;

    case AEGIS_KUBE_APPLIED:
        aegis_act_say(act, "%s", k->change.text);
        k->applied = 1;
        break;

    case AEGIS_KUBE_SAME:
        aegis_act_say(act, "nothing to change: %s", k->change.text);
        if (k->mode == AEGIS_K8S_CHECK || k->step.undo) {
            aegis_act_ok(act);
            aegis_k8s_result(act);
            return;
        }
        break;

    case AEGIS_KUBE_UNSETTLED:
        aegis_k8s_unsettled(act);
        return;

    default:
        aegis_act_fail(act, 1, "%s %s: %s", aegis_kube_kind_name(k->step.kind), k->step.name,
                       k->change.text);
        return;
    }

    aegis_k8s_watch(act);
}

static void
aegis_k8s_take(json_t **place, json_t *json)
{
    json_decref(*place);
    *place = json;
}

/* A 2xx with a document. */
static void
aegis_k8s_success(aegis_act_t *act, json_t *body)
{
    aegis_k8s_t  *k;

    k = act->self;
    k->tries = 0;
    k->renewed = 0;

    switch (k->at) {

    case AEGIS_K8S_READ:
        aegis_k8s_take(&k->object, body);
        aegis_k8s_take(&k->history, NULL);
        k->doubt = 0;
        if (k->stopping) {
            k->applied = aegis_kube_marked(k->object, k->key);
            aegis_k8s_stopped(act);
        } else if (aegis_kube_needs_history(&k->step, k->object)) {
            k->at = AEGIS_K8S_HISTORY;
            aegis_k8s_send(act);
        } else {
            aegis_k8s_decide(act);
        }
        return;

    case AEGIS_K8S_HISTORY:
        aegis_k8s_take(&k->history, body);
        if (aegis_json_str(json_object_get(body, "metadata"), "continue")[0] != '\0') {
            aegis_act_fail(act, 1, "it has more than 500 revisions");
            return;
        }
        aegis_k8s_decide(act);
        return;

    case AEGIS_K8S_WRITE:
        k->doubt = 0;
        if (k->mode == AEGIS_K8S_CHECK) {
            json_decref(body);
            aegis_act_say(act, "would be changed: %s", k->change.text);
            aegis_act_ok(act);
            aegis_k8s_result(act);
            return;
        }
        aegis_k8s_take(&k->object, body);
        k->applied = 1;
        aegis_act_say(act, "%s %s: %s", aegis_kube_kind_name(k->step.kind), k->step.name,
                      k->change.text);
        if (k->stopping) {
            aegis_k8s_stopped(act);
        } else {
            aegis_k8s_watch(act);
        }
        return;

    default:
        aegis_k8s_take(&k->object, body);
        aegis_k8s_watched(act);
    }
}

/* 401: the token may have been replaced since it was read. 1: tried again. */
static int
aegis_k8s_renew(aegis_act_t *act)
{
    aegis_k8s_t          *k;
    aegis_error_t         err = AEGIS_ERROR_INIT;
    aegis_kube_access_t   access;

    k = act->self;
    if (k->renewed) {
        return 0;
    }
    k->renewed = 1;

    if (aegis_kube_access(k->kubeconfig, k->context, k->account_dir, k->server, &access,
                          &err) != AEGIS_E_OK)
    {
        aegis_error_clear(&err);
        return 0;
    }

    aegis_kube_access_free(&k->access);
    k->access = access;
    k->at = k->at == AEGIS_K8S_WATCH ? AEGIS_K8S_WATCH : AEGIS_K8S_READ;
    k->doubt = 0;
    aegis_k8s_later(act, AEGIS_K8S_BACKOFF_MS);

    return 1;
}

/* Any answer but a success. */
static void
aegis_k8s_refused(aegis_act_t *act, int status, const json_t *body)
{
    char          text[AEGIS_KUBE_TEXT];
    const char   *resource;
    aegis_k8s_t  *k;

    k = act->self;
    resource = k->at == AEGIS_K8S_HISTORY ? aegis_kube_history(k->step.kind)
               : aegis_kube_resource(k->step.kind);

    aegis_kube_refusal(status, aegis_k8s_method(k), resource, k->step.ns,
                       k->at == AEGIS_K8S_HISTORY ? NULL : k->step.name, body, text);

    if (status == 401 && !k->stopping && aegis_k8s_renew(act)) {
        return;
    }

    /* an answer of a gateway says nothing about what is behind it */
    if (status < 500) {
        k->doubt = 0;
    }

    if (status == 409 && k->at == AEGIS_K8S_WRITE && !k->stopping) {
        if (++k->conflicts > AEGIS_K8S_CONFLICTS) {
            aegis_act_fail(act, 0, "409 %d times: somebody changes it all the time",
                           k->conflicts);
            return;
        }
        k->at = AEGIS_K8S_READ;
        aegis_k8s_later(act, AEGIS_K8S_BACKOFF_MS << (k->conflicts < 5 ? k->conflicts - 1 : 4));
        return;
    }

    if (status == 429 || status >= 500 || status == 409 || status == 408) {
        aegis_k8s_again(act, text);
        return;
    }

    if (k->stopping) {
        aegis_k8s_stopped(act);
        return;
    }

    aegis_act_fail(act, 1, "%s", text);
}

static void
aegis_k8s_answer(aegis_act_t *act)
{
    int            status;
    size_t         len;
    json_t        *body;
    const char    *text;
    aegis_k8s_t   *k;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    k = act->self;
    status = aegis_net_status(k->net);
    text = aegis_net_body(k->net, &len);
    body = NULL;

    aegis_k8s_count(k, status);

    (void) aegis_json_parse((aegis_str_t) { len, text }, &body, &err);
    aegis_error_clear(&err);

    if (status < 200 || status > 299) {
        aegis_k8s_refused(act, status, body);
        json_decref(body);

    } else if (!json_is_object(json_object_get(body, "metadata"))) {
        json_decref(body);
        aegis_k8s_again(act, "the answer is no object of Kubernetes");

    } else {
        aegis_k8s_success(act, body);
    }
}

void
aegis_k8s_poll(aegis_act_t *act)
{
    aegis_k8s_t        *k;
    aegis_net_state_t   state;

    k = act->self;

    if (k->busy) {
        state = aegis_net_poll(k->net);

        if (state == AEGIS_NET_ANSWER) {
            k->busy = 0;
            aegis_k8s_answer(act);

        } else if (state == AEGIS_NET_BROKEN) {
            k->busy = 0;
            aegis_k8s_count(k, 0);
            if (k->at == AEGIS_K8S_WRITE && !aegis_net_sent(k->net)) {
                k->doubt = 0;
            }
            if (aegis_net_untrusted(k->net) && !k->doubt) {
                aegis_act_fail(act, 1, "%s", aegis_net_error(k->net));
            } else {
                aegis_k8s_again(act, aegis_net_error(k->net));
            }
        }
    }

    if (act->state != AEGIS_ACT_RUNNING || (k->busy && k->at == AEGIS_K8S_WRITE)) {
        return;
    }

    if (aegis_act_now() >= act->deadline) {
        aegis_k8s_timeout(act);

    } else if (!k->busy && aegis_act_now() >= k->next_at) {
        aegis_k8s_send(act);
    }
}

void
aegis_k8s_cancel(aegis_act_t *act, int now)
{
    aegis_k8s_t  *k;

    k = act->self;

    /* a patch that is out: its answer says whether it came through */
    if (k->busy && k->at == AEGIS_K8S_WRITE && !now) {
        k->stopping = 1;
        return;
    }

    aegis_k8s_stopped(act);
}
