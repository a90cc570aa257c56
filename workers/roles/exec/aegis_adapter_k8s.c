/*
 * aegis_adapter_k8s.c: the actions k8s.*: a rollout restart, a rollback, a
 * scale, a new image, each of one workload, and the wait until it is rolled
 * out. Here: the settings, what may be touched, begin and end of an act. The
 * requests are aegis_k8s_run.c, what they say is core/aegis_kube.h.
 * Invariant: nothing outside of k8s.namespaces is touched, and no image that
 * k8s.images does not list is set; without these lists nothing is.
 */
#include "aegis_k8s.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aegis_http.h"
#include "aegis_json.h"
#include "aegis_time.h"

static struct {
    char     *kubeconfig;
    char     *context;
    char     *account_dir;
    char     *server;
    char     *namespaces;
    char     *images;
    int64_t   replicas_max;
    int64_t   request_ms;
} aegis_k8s_conf;

static void
aegis_k8s_done(void)
{
    free(aegis_k8s_conf.kubeconfig);
    free(aegis_k8s_conf.context);
    free(aegis_k8s_conf.account_dir);
    free(aegis_k8s_conf.server);
    free(aegis_k8s_conf.namespaces);
    free(aegis_k8s_conf.images);
    memset(&aegis_k8s_conf, 0, sizeof(aegis_k8s_conf));
}

/* The next word of a list that blanks separate; 0: there is none. */
static int
aegis_k8s_word(const char **list, char *word, size_t size)
{
    size_t  n;

    *list += strspn(*list, " \t\r\n,");
    n = strcspn(*list, " \t\r\n,");
    if (n == 0) {
        return 0;
    }

    snprintf(word, size, "%.*s", (int) n, *list);
    *list += n;
    return 1;
}

static int
aegis_k8s_configure(const aegis_conf_t *conf, aegis_error_t *err)
{
    char         word[256], path[4096];
    const char  *list, *server;

    list = aegis_conf_str(conf, "k8s.namespaces");
    while (aegis_k8s_word(&list, word, sizeof(word))) {
        if (!aegis_kube_name_valid(word)) {
            (void) aegis_error_set(err, AEGIS_E_SCHEMA,
                                   "k8s.namespaces: \"%.100s\" is no namespace", word);
            return 0;
        }
    }

    server = aegis_conf_str(conf, "k8s.server");
    if (server[0] != '\0' && strncmp(server, "https://", 8) != 0) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "k8s.server: is no https:// address");
        return 0;
    }

    aegis_k8s_metrics();
    aegis_k8s_done();

    /* "" stays "": it means the service account */
    aegis_k8s_conf.kubeconfig = strdup(aegis_conf_str(conf, "k8s.kubeconfig")[0]
                                       ? aegis_conf_path(conf, "k8s.kubeconfig", path) : "");
    aegis_k8s_conf.context = strdup(aegis_conf_str(conf, "k8s.context"));
    aegis_k8s_conf.account_dir = strdup(aegis_conf_path(conf, "k8s.account_dir", path));
    aegis_k8s_conf.server = strdup(server);
    aegis_k8s_conf.namespaces = strdup(aegis_conf_str(conf, "k8s.namespaces"));
    aegis_k8s_conf.images = strdup(aegis_conf_str(conf, "k8s.images"));
    aegis_k8s_conf.replicas_max = aegis_conf_int(conf, "k8s.replicas_max");
    aegis_k8s_conf.request_ms = aegis_conf_int(conf, "k8s.request_timeout_s") * 1000;

    if (!aegis_k8s_conf.kubeconfig || !aegis_k8s_conf.context || !aegis_k8s_conf.account_dir
        || !aegis_k8s_conf.server || !aegis_k8s_conf.namespaces || !aegis_k8s_conf.images)
    {
        aegis_k8s_done();
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return 0;
    }

    return 1;
}

static aegis_kube_verb_t
aegis_k8s_verb(aegis_action_id_t action)
{
    switch (action) {

    case AEGIS_ACTION_k8s_rollback:
        return AEGIS_KUBE_ROLLBACK;

    case AEGIS_ACTION_k8s_scale:
        return AEGIS_KUBE_SCALE;

    case AEGIS_ACTION_k8s_set_image:
        return AEGIS_KUBE_SET_IMAGE;

    default:
        return AEGIS_KUBE_RESTART;
    }
}

static void
aegis_k8s_target(const aegis_act_t *act, char buf[AEGIS_ACT_TARGET])
{
    const char  *kind;

    kind = aegis_act_str(act, "kind");
    snprintf(buf, AEGIS_ACT_TARGET, "k8s:%s/%s/%s", aegis_act_str(act, "namespace"),
             kind ? kind : "deployment", aegis_act_str(act, "name"));
}

static int
aegis_k8s_in_list(const char *list, const char *name)
{
    char  word[256];

    while (aegis_k8s_word(&list, word, sizeof(word))) {
        if (strcmp(word, name) == 0) {
            return 1;
        }
    }

    return 0;
}

/* Is image one of the list's, or of a repository that it names? A name ends at
 * : @ or /, so that shop/web does not stand for shop/web-of-somebody. */
static int
aegis_k8s_image_listed(const char *list, const char *image)
{
    char    word[256];
    size_t  n;

    while (aegis_k8s_word(&list, word, sizeof(word))) {
        n = strlen(word);
        if (strcmp(word, "*") == 0) {
            return 1;
        }
        if (strncmp(image, word, n) == 0
            && (image[n] == '\0' || strchr(":@/", image[n]) || strchr(":@/", word[n - 1])))
        {
            return 1;
        }
    }

    return 0;
}

static int
aegis_k8s_image_valid(const char *image)
{
    size_t  n;

    n = strspn(image, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@-");
    return n > 0 && image[n] == '\0' && strstr(image, "..") == NULL;
}

/* 0: the act has failed, because it may not do this. */
static int
aegis_k8s_allowed(aegis_act_t *act, const aegis_kube_step_t *step)
{
    const char  *image;

    if (!aegis_kube_name_valid(step->ns) || !aegis_kube_name_valid(step->name)) {
        aegis_act_fail(act, 1, "params.%s is no name of Kubernetes",
                       aegis_kube_name_valid(step->ns) ? "name" : "namespace");
        return 0;
    }

    if (!aegis_k8s_in_list(aegis_k8s_conf.namespaces, step->ns)) {
        aegis_act_fail(act, 1, "namespace %s is not in k8s.namespaces", step->ns);
        return 0;
    }

    if (step->verb == AEGIS_KUBE_SCALE
        && aegis_act_int(act, "replicas", 0) > aegis_k8s_conf.replicas_max)
    {
        aegis_act_fail(act, 1, "%lld replicas are more than k8s.replicas_max",
                       (long long) aegis_act_int(act, "replicas", 0));
        return 0;
    }

    if (step->verb == AEGIS_KUBE_SET_IMAGE) {
        image = aegis_act_str(act, "image");
        if (!aegis_k8s_image_valid(image)
            || !aegis_k8s_image_listed(aegis_k8s_conf.images, image))
        {
            aegis_act_fail(act, 1, "image %.150s is not in k8s.images", image);
            return 0;
        }
    }

    return 1;
}

/* The key is the step's and not the attempt's: a second attempt goes on with
 * what the first one has done. */
static void
aegis_k8s_key(const aegis_act_t *act, char key[37])
{
    char         name[128];
    aegis_str_t  s;

    snprintf(name, sizeof(name), "%s:%s:%d", act->exec_id, act->phase, act->step_no);
    s = aegis_view(name);
    aegis_uuid_named(s, key);
}

static void
aegis_k8s_release(aegis_act_t *act)
{
    aegis_k8s_t  *k;

    k = act->self;
    if (k == NULL) {
        return;
    }

    aegis_net_free(k->net);
    aegis_kube_access_free(&k->access);
    json_decref(k->object);
    json_decref(k->history);
    json_decref(k->change.body);
    free(k->kubeconfig);
    free(k->context);
    free(k->account_dir);
    free(k->server);
    free(k);
    act->self = NULL;
}

/* What is left, for who reads that we stopped. */
static void
aegis_k8s_left(const aegis_k8s_t *k, char *out, size_t size)
{
    if (k->doubt) {
        snprintf(out, size, "whether the change came through is not known");
    } else if (!k->applied) {
        snprintf(out, size, "nothing was changed");
    } else {
        snprintf(out, size, "the change is made and goes on by itself: %.150s",
                 k->seen[0] ? k->seen : "nothing seen of it yet");
    }
}

void
aegis_k8s_stopped(aegis_act_t *act)
{
    char          left[AEGIS_KUBE_TEXT];
    aegis_k8s_t  *k;

    k = act->self;
    aegis_k8s_left(k, left, sizeof(left));
    aegis_act_say(act, "stopped waiting: %s", left);

    if (k->doubt) {
        aegis_act_unknown(act, "stopped: %s", left);
    } else {
        aegis_act_fail(act, 0, "stopped: %s", left);
    }
    act->cancelled = 1;
}

void
aegis_k8s_timeout(aegis_act_t *act)
{
    char  left[AEGIS_KUBE_TEXT];

    aegis_k8s_left(act->self, left, sizeof(left));
    aegis_act_fail(act, 0, "timed out after %lld s: %s",
                   (long long) ((act->timeout_ms + 999) / 1000), left);
    act->state = ((aegis_k8s_t *) act->self)->doubt ? AEGIS_ACT_UNKNOWN : AEGIS_ACT_TIMEOUT;
}

/* What the act works with. 0: it has failed. */
static int
aegis_k8s_prepare(aegis_act_t *act, aegis_k8s_t *k)
{
    struct timespec  ts;
    char             second[AEGIS_TIME_LEN + 1];

    k->kubeconfig = strdup(aegis_k8s_conf.kubeconfig);
    k->context = strdup(aegis_k8s_conf.context);
    k->account_dir = strdup(aegis_k8s_conf.account_dir);
    k->server = strdup(aegis_k8s_conf.server);
    k->request_ms = aegis_k8s_conf.request_ms;
    k->net = aegis_net_new();

    if (!k->kubeconfig || !k->context || !k->account_dir || !k->server || !k->net) {
        aegis_act_fail(act, 0, "no memory");
        return 0;
    }

    clock_gettime(CLOCK_REALTIME, &ts);
    k->seed = (unsigned) ts.tv_nsec ^ (unsigned) getpid();

    /* two restarts within a second are two */
    aegis_time_format(ts.tv_sec, second);
    snprintf(k->now, sizeof(k->now), "%.19s.%03dZ", second,
             (int) (ts.tv_nsec / 1000000) % 1000);

    aegis_k8s_key(act, k->key);
    k->step.key = k->key;
    k->step.now = k->now;

    return 1;
}

static void
aegis_k8s_begin(aegis_act_t *act, aegis_k8s_mode_t mode)
{
    aegis_k8s_t        *k;
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_kube_step_t   step;

    if (aegis_k8s_conf.namespaces == NULL) {
        aegis_act_fail(act, 1, "the settings k8s.* are no good: see the log");
        return;
    }

    memset(&step, 0, sizeof(step));
    step.verb = aegis_k8s_verb(act->action);
    step.ns = aegis_act_str(act, "namespace");
    step.name = aegis_act_str(act, "name");
    step.exec_id = act->exec_id;
    step.undo = strcmp(act->phase, "rollback") == 0;
    step.params = act->params;

    if (!aegis_kube_kind(aegis_act_str(act, "kind"), &step.kind)) {
        aegis_act_fail(act, 1, "params.kind is none that can be changed");
        return;
    }
    if (!aegis_k8s_allowed(act, &step)) {
        return;
    }

    k = calloc(1, sizeof(aegis_k8s_t));
    if (k == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return;
    }
    k->step = step;
    k->mode = mode;
    act->self = k;

    if (!aegis_k8s_prepare(act, k)) {
        return;
    }

    if (aegis_kube_access(k->kubeconfig, k->context, k->account_dir, k->server, &k->access,
                          &err) != AEGIS_E_OK)
    {
        aegis_act_fail(act, 0, "%s", err.detail);
        aegis_error_clear(&err);
        return;
    }

    act->state = AEGIS_ACT_RUNNING;
    aegis_k8s_poll(act);
}

static void
aegis_k8s_start(aegis_act_t *act)
{
    aegis_k8s_begin(act, AEGIS_K8S_CHANGE);
}

static void
aegis_k8s_check(aegis_act_t *act)
{
    aegis_k8s_begin(act, AEGIS_K8S_CHECK);
}

static void
aegis_k8s_recover(aegis_act_t *act)
{
    aegis_k8s_begin(act, AEGIS_K8S_RECOVER);
}

const aegis_adapter_t  aegis_adapter_k8s = {
    .name = "k8s",
    .configure = aegis_k8s_configure,
    .done = aegis_k8s_done,
    .target = aegis_k8s_target,
    .check = aegis_k8s_check,
    .start = aegis_k8s_start,
    .poll = aegis_k8s_poll,
    .cancel = aegis_k8s_cancel,
    .recover = aegis_k8s_recover,
    .release = aegis_k8s_release
};
