/*
 * aegis_kube.c: unit tests of what is decided about workloads: how far a
 * rollout is, the patch of each action, the marks that make it happen once,
 * refusals in words.
 */
#include "aegis_unit.h"

#include "aegis_kube.h"
#include "aegis_kube_impl.h"

#define RUN    "11111111-1111-4111-8111-111111111111"
#define KEY    "22222222-2222-8222-8222-222222222222"
#define META   "'metadata':{'name':'web','uid':'u','resourceVersion':'7','generation':2"
#define POD    "'template':{'metadata':{'labels':{'app':'web'}},'spec':{'containers':"          \
               "[{'name':'c','image':'i:1'}]}}"
#define SPEC   "'spec':{'replicas':3,'selector':{'matchLabels':{'app':'web'}}," POD "}"
#define SEEN   "'status':{'observedGeneration':2}"


static json_t *
changed(aegis_kube_step_t *step, const char *params, const char *object, const char *history,
    aegis_kube_change_t *ret)
{
    json_t  *p, *o, *h;

    p = aegis_unit_json(params);
    o = aegis_unit_json(object);
    h = history ? aegis_unit_json(history) : NULL;

    step->ns = "shop";
    step->name = "web";
    step->exec_id = RUN;
    step->key = KEY;
    step->now = "2026-11-26T00:00:00.000Z";
    step->params = p;
    aegis_kube_change(step, o, h, ret);
    step->params = NULL;

    json_decref(p);
    json_decref(h);
    return o;
}


/* params on a Deployment: the kind of change, and the patch as text. */
static void
is_change(aegis_kube_verb_t verb, const char *params, const char *object,
    const char *history, aegis_kube_change_kind_t kind, const char *body)
{
    json_t               *o, *want;
    aegis_kube_step_t     step = { .verb = verb };
    aegis_kube_change_t   c;

    o = changed(&step, params, object, history, &c);
    if (c.kind != kind) {
        fail_msg("%d, not %d: %s (%s)", c.kind, kind, object, c.text);
    }
    if (body != NULL) {
        want = aegis_unit_json(body);
        if (!json_equal(c.body, want)) {
            fail_msg("the patch is %s", json_dumps(c.body, JSON_SORT_KEYS));
        }
        json_decref(want);
    }
    json_decref(c.body);
    json_decref(o);
}


#define MARKS  "'metadata':{'resourceVersion':'7','annotations':{'aegis.ops/steps':'" KEY "',"  \
               "'aegis.ops/run':'" RUN "','aegis.ops/before':'{\\'revision\\':\\'\\',"          \
               "\\'replicas\\':3}'}}"

static void
test_change(void **state)
{
    is_change(AEGIS_KUBE_RESTART, "{}", "{" META "}," SPEC "," SEEN "}", NULL, AEGIS_KUBE_PATCH,
        "{" MARKS ",'spec':{'template':{'metadata':{'annotations':"
        "{'kubectl.kubernetes.io/restartedAt':'2026-11-26T00:00:00.000Z'}}}}}");
    is_change(AEGIS_KUBE_SCALE, "{'replicas':5}", "{" META "}," SPEC "," SEEN "}", NULL,
        AEGIS_KUBE_PATCH, "{" MARKS ",'spec':{'replicas':5}}");
    is_change(AEGIS_KUBE_SCALE, "{'replicas':3}", "{" META "}," SPEC "," SEEN "}", NULL,
        AEGIS_KUBE_SAME, NULL);
    is_change(AEGIS_KUBE_SET_IMAGE, "{'image':'i:2'}", "{" META "}," SPEC "," SEEN "}", NULL,
        AEGIS_KUBE_PATCH, "{" MARKS ",'spec':{'template':{'spec':{'containers':"
        "[{'name':'c','image':'i:2'}]}}}}");
    is_change(AEGIS_KUBE_SET_IMAGE, "{'image':'i:1','container':'c'}",
        "{" META "}," SPEC "," SEEN "}", NULL, AEGIS_KUBE_SAME, NULL);

    /* a merge would make a container that is not there */
    is_change(AEGIS_KUBE_SET_IMAGE, "{'image':'i:2','container':'d'}",
        "{" META "}," SPEC "," SEEN "}", NULL, AEGIS_KUBE_REFUSED, NULL);
    is_change(AEGIS_KUBE_RESTART, "{}", "{" META "}," SPEC ",'status':{'observedGeneration':1}}",
        NULL, AEGIS_KUBE_UNSETTLED, NULL);
    is_change(AEGIS_KUBE_RESTART, "{}", "{" META ",'deletionTimestamp':'t'}," SPEC "," SEEN "}",
        NULL, AEGIS_KUBE_REFUSED, NULL);
    is_change(AEGIS_KUBE_RESTART, "{}", "{" META "},'spec':{'paused':true}," SEEN "}",
        NULL, AEGIS_KUBE_REFUSED, NULL);
    is_change(AEGIS_KUBE_SCALE, "{'replicas':5}", "{" META "},'spec':{'paused':true}," SEEN "}",
        NULL, AEGIS_KUBE_PATCH, NULL);
}


static void
test_marks(void **state)
{
    int                   i;
    char                  key[37], *steps;
    json_t               *o, *notes;
    aegis_kube_step_t     step = { .verb = AEGIS_KUBE_RESTART };
    aegis_kube_change_t   c;

    is_change(AEGIS_KUBE_RESTART, "{}", "{" META ",'annotations':{'aegis.ops/steps':'x " KEY
        " y'}}," SPEC "," SEEN "}", NULL, AEGIS_KUBE_APPLIED, NULL);
    is_change(AEGIS_KUBE_RESTART, "{}", "{" META ",'annotations':{'aegis.ops/steps':'x" KEY
        " y'}}," SPEC "," SEEN "}", NULL, AEGIS_KUBE_PATCH, NULL);

    /* the last eight keys stay, the newest in front; a run's first look stays */
    o = changed(&step, "{}", "{" META ",'annotations':{'aegis.ops/run':'" RUN "',"
        "'aegis.ops/before':'{}','aegis.ops/steps':'1 2 3 4 5 6 7 8 9'}}," SPEC "," SEEN "}",
        NULL, &c);
    notes = json_object_get(json_object_get(c.body, "metadata"), "annotations");
    assert_string_equal(aegis_json_str(notes, "aegis.ops/steps"), KEY " 1 2 3 4 5 6 7");
    assert_null(json_object_get(notes, "aegis.ops/before"));
    json_decref(c.body);
    json_decref(o);

    /* what strangers write there does no harm */
    steps = calloc(1, 20001);
    memset(steps, 'k', 20000);
    o = json_pack("{s:{s:s,s:{s:s}}}", "metadata", "resourceVersion", "1", "annotations",
                  "aegis.ops/steps", steps);
    step.key = KEY;
    notes = aegis_kube_marks(&step, o, NULL);
    assert_string_equal(aegis_json_str(notes, "aegis.ops/steps"), KEY);
    json_decref(notes);
    json_decref(o);
    free(steps);

    for (i = 0; i < 36; i++) {
        key[i] = 'a';
    }
    key[36] = '\0';
    assert_int_equal(aegis_kube_listed(key, "aa", ' '), 0);
    assert_int_equal(aegis_kube_listed("", "", ' '), 0);
    assert_int_equal(aegis_kube_listed("1,2,13", "3", ','), 0);
    assert_int_equal(aegis_kube_listed("1,2,13", "13", ','), 1);
}


#define RS(n, more, image)  "{'metadata':{'name':'web-" n "','ownerReferences':[{'controller':" \
    "true,'uid':'u'}],'annotations':{'deployment.kubernetes.io/revision':'" n "'" more "}},"    \
    "'spec':{'template':{'metadata':{'labels':{'app':'web','pod-template-hash':'h'}},"          \
    "'spec':{'containers':[{'name':'c','image':'" image "'}]}}}}"
#define HISTORY  "{'items':[" RS("2", "", "i:2") "," RS("3", "", "i:3") "," \
    RS("4", ",'deployment.kubernetes.io/revision-history':'1'", "i:1") ",{'metadata':"          \
    "{'ownerReferences':[{'controller':true,'uid':'other'}],'annotations':"                     \
    "{'deployment.kubernetes.io/revision':'9'}}}]}"
#define AT4  "{" META ",'annotations':{'deployment.kubernetes.io/revision':'4'}}," SPEC "," SEEN "}"

/* The image that a rollback's patch sets, "" when there is no patch. */
static const char *
image_of(const aegis_kube_change_t *c)
{
    const json_t  *t;

    t = json_object_get(json_array_get(c->body, 2), "value");
    if (json_object_get(json_object_get(json_object_get(t, "metadata"), "labels"),
                        "pod-template-hash") != NULL)
    {
        return "the hash is left";
    }

    t = json_array_get(json_object_get(json_object_get(t, "spec"), "containers"), 0);
    return aegis_json_str(t, "image");
}

static void
test_rollback(void **state)
{
    size_t                i;
    json_t               *o;
    aegis_kube_step_t     step;
    aegis_kube_change_t   c;

    static const struct {
        const char                *params;
        int                        undo;
        const char                *object;
        aegis_kube_change_kind_t   kind;
        const char                *image;
    } cases[] = {
        { "{}", 0, AT4, AEGIS_KUBE_PATCH, "i:3" },
        { "{'to_revision':2}", 0, AT4, AEGIS_KUBE_PATCH, "i:2" },
        { "{'to_revision':4}", 0, AT4, AEGIS_KUBE_SAME, "" },
        { "{'to_revision':9}", 0, AT4, AEGIS_KUBE_REFUSED, "" },
        { "{'to_revision':1}", 0, AT4, AEGIS_KUBE_REFUSED, "" },
        /* in a rollback: nothing when the run has changed nothing */
        { "{}", 1, AT4, AEGIS_KUBE_SAME, "" },
        { "{}", 1, "{" META ",'annotations':{'deployment.kubernetes.io/revision':'4',"
          "'aegis.ops/run':'" RUN "','aegis.ops/before':'{\\'revision\\':\\'2\\',"
          "\\'replicas\\':3}'}}," SPEC "," SEEN "}", AEGIS_KUBE_PATCH, "i:2" },
        /* renumbered since: what was revision 1 is 4 now, where it is */
        { "{}", 1, "{" META ",'annotations':{'deployment.kubernetes.io/revision':'4',"
          "'aegis.ops/run':'" RUN "','aegis.ops/before':'{\\'revision\\':\\'1\\',"
          "\\'replicas\\':3}'}}," SPEC "," SEEN "}", AEGIS_KUBE_SAME, "" },
        { "{}", 1, "{" META ",'annotations':{'deployment.kubernetes.io/revision':'4',"
          "'aegis.ops/run':'" RUN "','aegis.ops/before':'{\\'revision\\':\\'8\\',"
          "\\'replicas\\':3}'}}," SPEC "," SEEN "}", AEGIS_KUBE_REFUSED, "" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        memset(&step, 0, sizeof(step));
        step.verb = AEGIS_KUBE_ROLLBACK;
        step.undo = cases[i].undo;
        o = changed(&step, cases[i].params, cases[i].object, HISTORY, &c);
        if (c.kind != cases[i].kind || strcmp(image_of(&c), cases[i].image) != 0) {
            fail_msg("case %zu: %d, %s (%s)", i, c.kind, image_of(&c), c.text);
        }
        json_decref(c.body);
        json_decref(o);
    }

    /* the replicas alone */
    memset(&step, 0, sizeof(step));
    step.verb = AEGIS_KUBE_ROLLBACK;
    step.undo = 1;
    o = changed(&step, "{}", "{" META ",'annotations':{'deployment.kubernetes.io/revision':'4',"
        "'aegis.ops/run':'" RUN "','aegis.ops/before':'{\\'revision\\':\\'4\\',"
        "\\'replicas\\':1}'}}," SPEC "," SEEN "}", HISTORY, &c);
    assert_int_equal(json_array_size(c.body), 3);
    assert_string_equal(aegis_json_str(json_array_get(c.body, 2), "path"), "/spec/replicas");
    json_decref(c.body);
    json_decref(o);
}


#define ST(more)  "{'metadata':{'generation':2},'spec':{'replicas':3},'status':"               \
                  "{'observedGeneration':2" more "}}"

static void
test_progress(void **state)
{
    size_t   i;
    char     text[AEGIS_KUBE_TEXT];
    json_t  *o;

    static const struct {
        aegis_kube_kind_t       kind;
        const char             *object;
        const char             *stale;
        aegis_kube_progress_t   want;
    } cases[] = {
        { AEGIS_KUBE_DEPLOYMENT, ST(",'replicas':3,'updatedReplicas':3,'availableReplicas':3"),
          "", AEGIS_KUBE_DONE },
        { AEGIS_KUBE_DEPLOYMENT, ST(",'replicas':4,'updatedReplicas':3,'availableReplicas':3"),
          "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DEPLOYMENT, ST(",'replicas':3,'updatedReplicas':3,'availableReplicas':2"),
          "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DEPLOYMENT, ST(",'replicas':5,'updatedReplicas':5,'availableReplicas':5"),
          "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DEPLOYMENT, ST(""), "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DEPLOYMENT, "{'metadata':{'generation':1},'spec':{'replicas':0},'status':"
          "{'observedGeneration':1}}", "", AEGIS_KUBE_DONE },
        /* what is observed is of another generation */
        { AEGIS_KUBE_DEPLOYMENT, "{'metadata':{'generation':3},'spec':{'replicas':3},'status':"
          "{'observedGeneration':2,'replicas':3,'updatedReplicas':3,'availableReplicas':3}}",
          "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DEPLOYMENT, ST(",'conditions':[{'type':'Progressing','lastUpdateTime':'t',"
          "'reason':'ProgressDeadlineExceeded','message':'m'}]"), "", AEGIS_KUBE_FAILED },
        { AEGIS_KUBE_DEPLOYMENT, ST(",'conditions':[{'type':'Progressing','lastUpdateTime':'t',"
          "'reason':'ProgressDeadlineExceeded','message':'m'}]"), "t", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_STATEFULSET, ST(",'replicas':3,'readyReplicas':3,'updatedReplicas':3,"
          "'currentRevision':'b','updateRevision':'b'"), "", AEGIS_KUBE_DONE },
        { AEGIS_KUBE_STATEFULSET, ST(",'replicas':3,'readyReplicas':3,'updatedReplicas':2,"
          "'currentRevision':'a','updateRevision':'b'"), "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_STATEFULSET, ST(",'replicas':3,'readyReplicas':2,'updatedReplicas':3,"
          "'currentRevision':'b','updateRevision':'b'"), "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_STATEFULSET, "{'metadata':{'generation':1},'spec':{'replicas':3,"
          "'updateStrategy':{'rollingUpdate':{'partition':2}}},'status':{'observedGeneration':1,"
          "'replicas':3,'readyReplicas':3,'updatedReplicas':1,'currentRevision':'a',"
          "'updateRevision':'b'}}", "", AEGIS_KUBE_DONE },
        { AEGIS_KUBE_DAEMONSET, ST(",'desiredNumberScheduled':2,'updatedNumberScheduled':2,"
          "'numberAvailable':2"), "", AEGIS_KUBE_DONE },
        { AEGIS_KUBE_DAEMONSET, ST(",'desiredNumberScheduled':2,'updatedNumberScheduled':2,"
          "'numberAvailable':1"), "", AEGIS_KUBE_WAIT },
        { AEGIS_KUBE_DAEMONSET, ST(",'desiredNumberScheduled':2,'updatedNumberScheduled':1,"
          "'numberAvailable':2"), "", AEGIS_KUBE_WAIT }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        o = aegis_unit_json(cases[i].object);
        if (aegis_kube_progress(cases[i].kind, o, aegis_kube_generation(o), cases[i].stale,
                                text) != cases[i].want) {
            fail_msg("case %zu: %s", i, text);
        }
        json_decref(o);
    }
}


static void
test_refusal(void **state)
{
    size_t   i;
    char     text[AEGIS_KUBE_TEXT];
    json_t  *body;

    static const struct {
        int          status;
        const char  *body;
        const char  *has;
    } cases[] = {
        { 403, "{'kind':'Status','message':'deployments.apps `web` is forbidden: User "
          "\\'system:serviceaccount:ops:aegis\\' cannot patch resource'}",
          "grant the verb \"patch\" on apps/deployments in namespace shop to"
          " system:serviceaccount:ops:aegis" },
        { 403, "{'kind':'Status','message':'exceeded quota'}", "exceeded quota" },
        { 404, "{'kind':'Status','message':'x'}", "namespace shop has no deployments web" },
        { 404, "null", "is it the Kubernetes API" },
        { 401, "null", "does not know our credential" },
        { 422, "{'kind':'Status','message':'a\\nb'}", "a b" },
        { 500, "null", "no reason given" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        body = aegis_unit_json(cases[i].body);
        aegis_kube_refusal(cases[i].status, "patch", "deployments", "shop", "web", body, text);
        if (strstr(text, cases[i].has) == NULL) {
            fail_msg("case %zu: %s", i, text);
        }
        json_decref(body);
    }
}


static void
test_names(void **state)
{
    size_t             i;
    char              *text;
    json_t            *o;
    aegis_kube_kind_t  kind;

    static const char *const  good[] = { "a", "web-1", "a.b", "0" };
    static const char *const  bad[] = { "", "-a", "a-", "A", "a_b", "a..b", "..", "a/b", "a b",
                                        ".a", "a.", "\xc3\xa9" };

    for (i = 0; i < AEGIS_UNIT_N(good); i++) {
        assert_int_equal(aegis_kube_name_valid(good[i]), 1);
    }
    for (i = 0; i < AEGIS_UNIT_N(bad); i++) {
        if (aegis_kube_name_valid(bad[i])) {
            fail_msg("was taken: %s", bad[i]);
        }
    }
    assert_int_equal(aegis_kube_name_valid(NULL), 0);
    assert_int_equal(aegis_kube_kind("job", &kind), 0);
    assert_int_equal(aegis_kube_kind(NULL, &kind), 1);
    assert_string_equal(aegis_kube_resource(kind), "deployments");

    o = aegis_unit_json("{'spec':{'selector':{'matchLabels':{'a':'b'},'matchExpressions':["
        "{'key':'t','operator':'In','values':['x','y']},{'key':'z','operator':'Exists'},"
        "{'key':'w','operator':'DoesNotExist'},{'key':'v','operator':'NotIn','values':['q']}]}}}");
    text = aegis_kube_selector(o);
    assert_string_equal(text, "a=b,t in (x,y),z,!w,v notin (q)");
    free(text);
    json_decref(o);

    o = json_object();
    assert_null(aegis_kube_selector(o));
    json_decref(o);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("an action is one patch, bound to what was looked at", test_change),
        AEGIS_TEST("a step is known by its key, and marks stay few", test_marks),
        AEGIS_TEST("a rollback finds its revision, and changes nothing of others", test_rollback),
        AEGIS_TEST("a rollout is done when all is updated and available", test_progress),
        AEGIS_TEST("a refusal says what is missing", test_refusal),
        AEGIS_TEST("names, kinds and selectors", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
