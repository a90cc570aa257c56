/*
 * aegis_verify.c: unit tests of the verifier's judgement: one evaluation over
 * samples, evaluations in a row, and Prometheus' answers taken for what they
 * are. The change lasts from 9000 to 10000; the time is 10600.
 */
#include "aegis_unit.h"

#include "aegis_verify.h"

#define METRIC      "'kind':'metric','resource':'r','metric':'m'"
#define BASE        "'op':'<=','threshold':10,'window_s':300"
#define ERRORS      "'op':'<=','threshold':0.05,'window_s':300,'measure':'error_rate'"

typedef struct {
    const char  *check;
    const char  *measured;              /* {"window", "baseline"} */
    const char  *outcome;
    const char  *detail;                /* how it begins */
} judged_t;


static json_t *
evaluate(const char *check, const char *measured, double now, const char *verify)
{
    char           *text;
    json_t         *facts, *ret;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    assert_true(asprintf(&text, "{'now_s':%.3f,'change':{'from_s':9000,'to_s':10000},"
        "'plan':{'plan':{'steps':[],'verify':[{%s}]}},'measured':[%s],'verify':%s}", now,
        check, measured, verify) > 0);
    facts = aegis_unit_json(text);
    free(text);

    assert_int_equal(aegis_verify_evaluate(facts, &ret, &err), AEGIS_E_OK);
    json_decref(facts);

    return ret;
}


static const json_t *
first(const json_t *ret, const char *of)
{
    return json_array_get(json_object_get(ret, of), 0);
}


static const judged_t  judged[] = {
    /* [t, n, avg, max, p95] */
    { METRIC "," BASE, "{'window':{'points':[[10480,5,10,99,50],[10540,15,2,99,50]]}}",
      "pass", "m avg 4 is <= 10" },
    { METRIC "," BASE ",'agg':'max'", "{'window':{'points':[[10480,5,10,99,50]]}}",
      "failed", "m max 99 is not <= 10" },
    { METRIC "," BASE ",'measure':'p95'", "{'window':{'points':[[10480,1,1,1,5],"
      "[10540,3,1,1,9]]}}", "pass", "m p95 8 is <= 10" },
    { METRIC "," BASE ",'name':'my check'", "{'window':{'points':[[10540,1,1,1,1]]}}",
      "pass", "my check avg 1 is <= 10" },

    /* where the window begins: behind the change and the warm-up */
    { METRIC "," BASE ",'window_s':900", "{'window':{'points':[[9999,9,1,1,1]]}}",
      "inconclusive", "m avg: its window is over in 300 s" },
    { METRIC "," BASE ",'warmup_s':590", "{'window':{'points':[[10540,9,1,1,1]]}}",
      "inconclusive", "m avg: its window is over in 290 s" },
    { METRIC "," BASE ",'warmup_s':700", "{'window':{'points':[[10540,9,1,1,1]]}}",
      "inconclusive", "m avg: its window is over in 400 s" },
    { METRIC "," BASE, "{'window':{'points':[[10299,9,99,1,1],[10540,1,1,1,1]]}}",
      "pass", "m avg 1 is <= 10" },
    { METRIC "," BASE, "{'window':{'points':[[10540,1,1,1,1],[10601,9,99,1,1]]}}",
      "pass", "m avg 1 is <= 10" },

    /* what is no data */
    { METRIC "," BASE, "{'window':{'points':[]}}", "inconclusive",
      "m avg: no samples: no_data says inconclusive" },
    { METRIC "," BASE, "{}", "inconclusive", "m avg: no samples: no_data" },
    { METRIC "," BASE, "null", "inconclusive", "m avg: no samples: no_data" },
    { METRIC "," BASE ",'no_data':'fail'", "{}", "failed",
      "m avg: no samples: no_data says failed" },
    { METRIC "," BASE ",'no_data':'pass'", "{}", "pass",
      "m avg: no samples: no_data says pass" },
    { METRIC "," BASE ",'no_data':'pass','window_s':601", "{}", "inconclusive",
      "m avg: its window is over in 1 s" },
    { METRIC "," BASE ",'no_data':'fail','warmup_s':301", "{}", "inconclusive",
      "m avg: its window is over in 1 s" },
    { METRIC "," BASE ",'no_data':'pass'", "{'window':{'error':'away'}}", "inconclusive",
      "m avg: away" },
    { METRIC "," BASE, "{'window':{'points':[[10540,9,null,1,1]]}}", "inconclusive",
      "m avg: no samples with a value: no_data" },
    { METRIC "," BASE, "{'window':{'points':[[10540,0,1,1,1]]}}", "inconclusive",
      "m avg: no samples" },

    /* too little, too old, strange */
    { METRIC "," BASE ",'min_samples':10", "{'window':{'points':[[10480,4,1,1,1],"
      "[10540,5,1,1,1]]}}", "inconclusive", "m avg: 9 of 10 samples" },
    { METRIC "," BASE ",'no_data':'pass','min_samples':10",
      "{'window':{'points':[[10540,9,1,1,1]]}}", "inconclusive", "m avg: 9 of 10" },
    { METRIC "," BASE, "{'window':{'points':[[10350,9,1,1,1]]}}", "inconclusive",
      "m avg: the newest sample is 190 s old, more than 180" },
    { METRIC "," BASE ",'stale_s':190", "{'window':{'points':[[10350,9,1,1,1]]}}",
      "pass", "m avg 1" },
    { METRIC "," BASE, "{'window':{'points':[[10540,1,'Infinity',1,1]]}}",
      "inconclusive", "m avg: 1 of 1 samples are infinite" },
    { METRIC "," BASE, "{'window':{'points':[[10540,1,'NaN',1,1]]}}", "inconclusive",
      "m avg: no samples with a value" },
    { METRIC "," ERRORS, "{'window':{'points':[[10540,1,5,1,1]]}}", "inconclusive",
      "m avg: 5 to 5 is no ratio of 0 to 1" },
    { METRIC "," ERRORS, "{'window':{'points':[[10540,1,0.05,1,1]]}}", "pass",
      "m avg 0.05 is <= 0.05" },

    /* against the baseline, which ends where the change begins */
    { METRIC "," BASE ",'threshold':1.5,'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'points':[[8900,1,4,1,1]]}}",
      "pass", "m avg 6 is 1.5 times the baseline of 4: <= 1.5" },
    { METRIC "," BASE ",'threshold':1.5,'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,6.1,1,1]]},'baseline':{'points':[[8900,1,4,1,1]]}}",
      "failed", "m avg 6.1 is 1.525 times the baseline of 4: not <= 1.5" },
    { METRIC "," BASE ",'threshold':2,'baseline':{'window_s':600,'compare':'difference'}",
      "{'window':{'points':[[10540,1,6.1,1,1]]},'baseline':{'points':[[8900,1,4,1,1]]}}",
      "failed", "m avg 6.1 is 2.1 above the baseline of 4: not <= 2" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'points':[[8990,1,4,1,1],"
      "[8399,1,4,1,1],[10540,1,6,1,1]]}}", "inconclusive",
      "m avg: baseline: 0 of 1 samples" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio','min_samples':3}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'points':[[8900,2,4,1,1]]}}",
      "inconclusive", "m avg: baseline: 2 of 3 samples" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'error':'away'}}",
      "inconclusive", "m avg: baseline: away" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'points':[[8900,2,0,1,1]]}}",
      "inconclusive", "m avg: baseline: 0 has no ratio; set baseline.floor" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio','floor':1}",
      "{'window':{'points':[[10540,1,6,1,1]]},'baseline':{'points':[[8900,2,0,1,1]]}}",
      "pass", "m avg 6 is 6 times the baseline of 0: <= 10" },
    { METRIC "," BASE ",'baseline':{'window_s':600,'compare':'ratio'}",
      "{'window':{'points':[[10540,1,0,1,1]]},'baseline':{'points':[[8900,2,0,1,1]]}}",
      "pass", "m avg 0 is 1 times the baseline of 0: <= 10" },

    /* burning: both windows have to */
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':600,'factor':2", "{'window':{'points':[[10100,100,0.1,1,1],"
      "[10540,100,0.1,1,1]]}}", "failed", "m budget burns 10 over 600 s and 10 over" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':600,'factor':2", "{'window':{'points':[[10100,100,0.1,1,1],"
      "[10540,100,0.001,1,1]]}}", "pass", "m budget burns 5.05 over 600 s and 0.1" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':600,'factor':2", "{'window':{'points':[[10100,9900,0.001,1,1],"
      "[10540,100,0.1,1,1]]}}", "pass", "m budget burns 0.199 over 600 s and 10" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':600,'factor':2,'measure':'availability'", "{'window':{'points':"
      "[[10540,100,0.9,1,1]]}}", "failed", "m budget burns 10 over" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':600,'factor':2,'stale_s':600", "{'window':{'points':"
      "[[10100,100,0.9,1,1]]}}", "inconclusive", "m budget: no samples in the short" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':601,'factor':2", "{'window':{'points':[[10540,100,0.001,1,1]]}}",
      "inconclusive", "m budget: its window is over in 1 s" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':120,"
      "'long_s':601,'factor':2", "{'window':{'points':[[10540,100,0.1,1,1]]}}",
      "failed", "m budget burns 10" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':0.99,'short_s':601,"
      "'long_s':602,'factor':2", "{'window':{'points':[[10540,100,0.1,1,1]]}}",
      "inconclusive", "m budget: its window is over in 1 s" },
    { "'kind':'metric_burn','resource':'r','metric':'m','slo':1,'short_s':120,"
      "'long_s':600,'factor':2", "{'window':{'points':[[10540,100,0,1,1]]}}", "pass",
      "m budget burns 0" },

    /* of Prometheus' points, [t, n, v], one a step, enough must be there */
    { "'kind':'prometheus','query':'q','step_s':60," BASE, "{'window':{'points':"
      "[[10500,1,1],[10560,1,3]]}}", "inconclusive", "value avg: 2 of 6 points" },
    { "'kind':'prometheus','query':'q','step_s':60,'min_coverage':0.3," BASE,
      "{'window':{'points':[[10500,1,1],[10560,1,3]]}}", "pass", "value avg 2 is" },
    { "'kind':'prometheus','query':'q','step_s':60," BASE, "{'window':{'points':"
      "[[10300,1,1],[10360,1,3],[10420,1,3]]}}", "pass", "value avg 2.33333 is" },
    { "'kind':'prometheus','query':'q','step_s':60,'stale_s':100," BASE, "{'window':"
      "{'points':[[10300,1,1],[10360,1,3],[10420,1,3]]}}", "inconclusive",
      "value avg: the newest sample is 180 s old" }
};


static void
test_judge(void **state)
{
    size_t         i;
    json_t        *ret;
    const char    *outcome, *detail;
    const json_t  *finding;

    for (i = 0; i < AEGIS_UNIT_N(judged); i++) {
        ret = evaluate(judged[i].check, judged[i].measured, 10600, "null");
        finding = first(ret, "checks");
        outcome = aegis_json_str(finding, "outcome");
        detail = aegis_json_str(finding, "detail");

        if (strcmp(outcome, judged[i].outcome) != 0
            || strncmp(detail, judged[i].detail, strlen(judged[i].detail)) != 0)
        {
            fail_msg("%zu: %s, %s", i, outcome, detail);
        }

        json_decref(ret);
    }
}


static void
test_advance(void **state)
{
    int                       n;
    size_t                    i;
    const char               *p;
    aegis_verify_check_t      c;
    aegis_verify_state_t      s;
    aegis_verify_progress_t   progress;

    /* p: pass, f: failed, i: inconclusive, one each 10 s; deadline at 100 s */
    static const struct {
        int                   passes, fails;
        const char           *said;
        int                   after;    /* the decision comes with this one */
        aegis_verify_state_t  state;
    } cases[] = {
        { 1, 1, "p",     1, AEGIS_VERIFY_HOLDS },
        { 1, 1, "f",     1, AEGIS_VERIFY_BROKEN },
        { 1, 1, "iip",   3, AEGIS_VERIFY_HOLDS },
        { 3, 1, "ppp",   3, AEGIS_VERIFY_HOLDS },
        { 3, 1, "ppf",   3, AEGIS_VERIFY_BROKEN },
        { 3, 2, "ppfppp", 6, AEGIS_VERIFY_HOLDS },
        { 2, 2, "pfpff", 5, AEGIS_VERIFY_BROKEN },
        { 2, 2, "pipp",  4, AEGIS_VERIFY_HOLDS },
        { 2, 2, "fif",   3, AEGIS_VERIFY_BROKEN },
        { 1, 1, "iiiiiiiiii", 10, AEGIS_VERIFY_OVERDUE },
        { 2, 2, "pipipipipi", 10, AEGIS_VERIFY_OVERDUE },
        { 2, 3, "pfpfpfpfpf", 10, AEGIS_VERIFY_BROKEN },
        { 2, 2, "fpfpfpfpfp", 10, AEGIS_VERIFY_OVERDUE }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        memset(&c, 0, sizeof(c));
        memset(&progress, 0, sizeof(progress));
        c.passes = cases[i].passes;
        c.fails = cases[i].fails;
        c.deadline_s = 100;
        s = AEGIS_VERIFY_UNDECIDED;

        for (n = 0, p = cases[i].said; *p && s == AEGIS_VERIFY_UNDECIDED; p++) {
            n++;
            s = aegis_verify_advance(&c, &progress, *p == 'p' ? AEGIS_VERIFY_PASS
                    : *p == 'f' ? AEGIS_VERIFY_FAILED : AEGIS_VERIFY_INCONCLUSIVE, n * 10);
        }

        if (s != cases[i].state || n != cases[i].after) {
            fail_msg("%s: state %d after %d", cases[i].said, (int) s, n);
        }
    }
}


/* Nobody passes when all samples failed, whatever the settings are. */
static void
test_never_by_failing(void **state)
{
    int                       passes, fails, i;
    aegis_verify_check_t      c;
    aegis_verify_state_t      s;
    aegis_verify_progress_t   progress;

    for (passes = 1; passes <= 3; passes++) {
        for (fails = 1; fails <= 100; fails += 33) {
            memset(&progress, 0, sizeof(progress));
            memset(&c, 0, sizeof(c));
            c.passes = passes;
            c.fails = fails;
            c.deadline_s = 300;
            s = AEGIS_VERIFY_UNDECIDED;

            for (i = 1; s == AEGIS_VERIFY_UNDECIDED; i++) {
                s = aegis_verify_advance(&c, &progress, AEGIS_VERIFY_FAILED, i * 30);
                assert_true(i < 12);
            }

            assert_int_equal(s, AEGIS_VERIFY_BROKEN);
        }
    }
}


/* From one evaluation to the next: what is remembered, and when it is due. */
static void
test_over_time(void **state)
{
    char     verify[1024], *progress;
    json_t  *ret;

    static const char  check[] = METRIC "," BASE ",'window_s':60,'passes':2,'every_s':20,"
                                 "'deadline_s':100";

    /* when it can be judged at all, it is looked at the next time */
    ret = evaluate(check, "{}", 10010, "null");
    assert_int_equal(json_number_value(json_object_get(ret, "next_s")), 10060);
    json_decref(ret);

    ret = evaluate(check, "{}", 10100, "null");
    assert_string_equal(aegis_json_str(ret, "outcome"), "");
    assert_int_equal(json_number_value(json_object_get(ret, "next_s")), 10102);

    progress = json_dumps(json_object_get(ret, "progress"), JSON_COMPACT);
    snprintf(verify, sizeof(verify), "{'started_s':10100,'progress':%s}", progress);
    free(progress);
    json_decref(ret);

    /* not due: nothing is counted */
    ret = evaluate(check, "{'window':{'points':[[10080,1,1,1,1]]}}", 10101, verify);
    assert_false(json_is_true(json_object_get(first(ret, "checks"), "evaluated")));
    assert_int_equal(json_integer_value(json_object_get(first(ret, "progress"), "passes")), 0);
    json_decref(ret);

    ret = evaluate(check, "{}", 10102, verify);
    assert_int_equal(json_number_value(json_object_get(ret, "next_s")), 10106);
    json_decref(ret);

    ret = evaluate(check, "{'window':{'points':[[10080,1,1,1,1]]}}", 10102, verify);
    assert_string_equal(aegis_json_str(ret, "outcome"), "");
    assert_int_equal(json_number_value(json_object_get(ret, "next_s")), 10122);
    progress = json_dumps(json_object_get(ret, "progress"), JSON_COMPACT);
    snprintf(verify, sizeof(verify), "{'started_s':10100,'progress':%s}", progress);
    free(progress);
    json_decref(ret);

    ret = evaluate(check, "{'window':{'points':[[10080,1,1,1,1]]}}", 10122, verify);
    assert_string_equal(aegis_json_str(ret, "outcome"), "pass");
    assert_string_equal(aegis_json_str(ret, "reason"), "every check holds");
    json_decref(ret);

    /* the last look is at the deadline */
    ret = evaluate(check, "{}", 10199, verify);
    assert_int_equal(json_number_value(json_object_get(ret, "next_s")), 10200);
    json_decref(ret);

    ret = evaluate(check, "{}", 10200, verify);
    assert_string_equal(aegis_json_str(ret, "outcome"), "inconclusive");
    assert_non_null(strstr(aegis_json_str(ret, "reason"),
                           "check 1 is inconclusive after 100 s: m avg: no samples: no_data says"));
    json_decref(ret);
}


static void
test_bounds(void **state)
{
    json_t                *json;
    aegis_verify_check_t   c;

    json = aegis_unit_json("{" METRIC "," BASE "}");
    aegis_verify_check_load(json, &c);
    assert_int_equal(c.every_s, 30);
    assert_int_equal(c.deadline_s, 630);
    assert_int_equal(c.passes, 1);
    assert_int_equal(c.fails, 1);
    assert_int_equal(c.min_samples, 1);
    assert_int_equal(c.no_data, AEGIS_VERIFY_INCONCLUSIVE);
    json_decref(json);

    json = aegis_unit_json("{" METRIC "," BASE ",'every_s':1,'deadline_s':86400}");
    aegis_verify_check_load(json, &c);
    assert_true(c.deadline_s / c.every_s <= AEGIS_VERIFY_MAX_EVALUATIONS);
    json_decref(json);

    json = aegis_unit_json("{'kind':'prometheus','query':'q','op':'<','threshold':1,"
                           "'window_s':86400,'step_s':1,'warmup_s':86400}");
    aegis_verify_check_load(json, &c);
    assert_true(c.window_s / c.step_s < AEGIS_VERIFY_MAX_POINTS);
    assert_int_equal(c.deadline_s, AEGIS_VERIFY_MAX_S);
    json_decref(json);
}


static void
test_prometheus(void **state)
{
    char          *p, *copy;
    size_t         i;
    json_t        *ret;
    char          *got;

    static const aegis_verify_ask_t  ask = { 0, 0, "query", "up", 1000, 1060, 15 };
    static const struct {
        int          status;
        const char  *body;
        const char  *is;                /* how what comes of it begins */
    } cases[] = {
#define OK(result)  "{'status':'success','data':{'resultType':'matrix','result':" result "}}"
#define ONE(values) OK("[{'metric':{},'values':" values "}]")
        { 200, ONE("[[1000,'1'],[1015,'2.5']]"),
          "{'points': [[1000.0, 1, 1.0], [1015.0, 1, 2.5]], 'nan': 0, 'inf': 0}" },
        { 200, ONE("[[1000,'NaN'],[1015,'+Inf'],[1030,'-Inf'],[1045,'1e-3']]"),
          "{'points': [[1045.0, 1, 0.001]], 'nan': 1, 'inf': 2}" },
        { 200, ONE("[]"), "{'points': [], 'nan': 0, 'inf': 0}" },
        { 200, OK("[]"), "{'points': []}" },
        { 200, OK("[{'metric':{},'values':[]},{'metric':{},'values':[]}]"),
          "{'error': '2 series, where one was expected" },
        { 200, ONE("[[1015,'1'],[1000,'2']]"), "{'error': 'Prometheus sent samples out" },
        { 200, ONE("[[1000,'1'],[1000,'2']]"), "{'error': 'Prometheus sent samples out" },
        { 200, ONE("[[900,'1']]"), "{'error': 'Prometheus sent samples out" },
        { 200, ONE("[[1061,'1']]"), "{'error': 'Prometheus sent samples out" },
        { 200, ONE("[[1000,1]]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,'1 ']]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,' 1']]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,'']]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,'0x1']]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,'nan(1)']]"), "{'error': 'Prometheus sent a sample that" },
        { 200, ONE("[['1000','1']]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[[1000,'1',1]]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("[{}]"), "{'error': 'Prometheus sent a sample that is none" },
        { 200, ONE("7"), "{'error': 'Prometheus sent a series that is none" },
        { 200, OK("[{'values':[[1000,'1']]}]"), "{'error': 'Prometheus sent a series" },
        { 200, OK("[{'metric':{},'histograms':[]}]"), "{'error': 'the series is a native" },
        { 200, OK("7"), "{'error': 'Prometheus sent no matrix" },
        { 200, "{'status':'success','data':{'resultType':'vector','result':[]}}",
          "{'error': 'Prometheus sent no matrix" },
        { 200, "{'status':'success'}", "{'error': 'Prometheus sent no matrix" },
        { 200, "{'status':'success','warnings':['a store is away'],'data':{'resultType':"
          "'matrix','result':[]}}", "{'error': 'Prometheus warns: a store is away" },
        { 200, "{'status':'success','warnings':[7],'data':{}}",
          "{'error': 'Prometheus warns: of something" },
        { 200, "{'status':'success','warnings':[],'infos':['x'],'data':{'resultType':"
          "'matrix','result':[]}}", "{'points': []}" },
        { 400, "{'status':'error','errorType':'bad_data','error':'parse\\u0007 it'}",
          "{'error': 'Prometheus refuses the query, bad_data: parse  it" },
        { 400, "{'status':'error','errorType':'nineteen bytes and \xc3\xa4','error':'e'}",
          "{'error': 'Prometheus refuses the query, nineteen bytes and : e" },
        { 503, "{'status':'success'}", "{'error': 'Prometheus answered 503" },
        { 200, "[]", "{'error': 'Prometheus answered 200 with no JSON object" },
        { 302, "<html>", "{'error': 'Prometheus answered 302 with no JSON object" },
        { 200, "", "{'error': 'Prometheus answered 200 with no JSON object" },
        { 200, "{'status':'success','status':'success'}",
          "{'error': 'Prometheus answered 200 with no JSON object" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        copy = strdup(cases[i].body);
        for (p = copy; *p; p++) {
            *p = *p == '\'' ? '"' : *p;
        }

        ret = aegis_verify_prom_parse(cases[i].status, aegis_view(copy), &ask);
        got = json_dumps(ret, JSON_REAL_PRECISION(6));
        for (p = got; *p; p++) {
            *p = *p == '"' ? '\'' : *p;
        }

        if (strncmp(got, cases[i].is, strlen(cases[i].is)) != 0) {
            fail_msg("%zu: %s", i, got);
        }

        free(got);
        free(copy);
        json_decref(ret);
    }
}


/* errors and total become a ratio that knows how many requests it is of. */
static void
test_pair(void **state)
{
    char                 text[1024];
    size_t               i, n;
    json_t              *facts, *ret, *answers[AEGIS_VERIFY_MAX_ASKS];
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_verify_ask_t   asks[AEGIS_VERIFY_MAX_ASKS];

    static const struct {
        const char  *more, *errors, *total, *outcome, *detail;
    } cases[] = {
        { "", "{'points':[[10570,1,1],[10585,1,0]]}", "{'points':[[10570,1,10],[10585,1,30]]}",
          "pass", "error_rate avg 0.025 is <= 0.05" },
        { "", "{'points':[[10585,1,2]]}", "{'points':[[10570,1,10],[10585,1,10]]}",
          "failed", "error_rate avg 0.2 is not <= 0.05" },
        { ",'absent_errors':'zero'", "{'points':[]}", "{'points':[[10570,1,1],[10585,1,1]]}",
          "pass", "error_rate avg 0 is <= 0.05" },
        { "", "{'points':[]}", "{'points':[[10570,1,1],[10585,1,1]]}", "inconclusive",
          "error_rate avg: no samples: no_data" },
        { "", "{'points':[[10570,1,0]]}", "{'points':[[10570,1,0]]}", "inconclusive",
          "error_rate avg: no samples: no_data" },
        { "", "{'points':[[10570,1,1]]}", "{'points':[]}", "inconclusive", "error_rate avg: no" },
        { "", "{'error':'away'}", "{'points':[]}", "inconclusive", "error_rate avg: away" },
        { "", "{'points':[[10570,1,2]]}", "{'points':[[10570,1,1]]}", "inconclusive",
          "error_rate avg: 2 to 2 is no ratio" },
        { ",'min_samples':601", "{'points':[[10570,1,0],[10585,1,0]]}",
          "{'points':[[10570,1,10],[10585,1,30]]}", "inconclusive",
          "error_rate avg: 600 of 601 samples" },
        { ",'measure':'availability','op':'>=','threshold':0.99",
          "{'points':[[10570,1,1],[10585,1,1]]}", "{'points':[[10570,1,10],[10585,1,10]]}",
          "failed", "availability avg 0.9 is not >= 0.99" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(text, sizeof(text), "{'now_s':10600,'change':{'from_s':9000,'to_s':10570},"
            "'plan':{'plan':{'verify':[{'kind':'exec'},{'kind':'prometheus_ratio','errors':'e',"
            "'total':'t','op':'<=','threshold':0.05,'window_s':30,"
            "'stale_s':99,'min_coverage':0.3%s}]}}}",
            cases[i].more);
        facts = aegis_unit_json(text);
        n = aegis_verify_asks(facts, asks);
        assert_int_equal(n, 2);
        assert_string_equal(asks[0].which, "errors");
        assert_string_equal(asks[1].query, "t");
        assert_int_equal(asks[0].check, 1);
        assert_true(asks[0].start == 10570 && asks[0].end == 10600);
        answers[0] = aegis_unit_json(cases[i].errors);
        answers[1] = aegis_unit_json(cases[i].total);
        assert_int_equal(aegis_verify_prom_fill(facts, asks, answers, n, &err), AEGIS_E_OK);
        assert_int_equal(aegis_verify_evaluate(facts, &ret, &err), AEGIS_E_OK);

        if (strcmp(cases[i].outcome, aegis_json_str(json_array_get(
                   json_object_get(ret, "checks"), 1), "outcome")) != 0
            || strncmp(cases[i].detail, aegis_json_str(json_array_get(
                   json_object_get(ret, "checks"), 1), "detail"), strlen(cases[i].detail)) != 0)
        {
            fail_msg("%zu: %s", i, json_dumps(ret, 0));
        }

        json_decref(ret);
        json_decref(facts);
    }
}


static void
test_asks(void **state)
{
    size_t               n;
    json_t              *facts;
    aegis_verify_ask_t   asks[AEGIS_VERIFY_MAX_ASKS];

    facts = aegis_unit_json("{'now_s':10600,'change':{'from_s':9000,'to_s':10000},'plan':"
        "{'plan':{'verify':[{'kind':'prometheus','query':'q','op':'<','threshold':1,"
        "'window_s':300,'baseline':{'window_s':900,'compare':'ratio'}},"
        "{'kind':'prometheus','query':'late','op':'<','threshold':1,'window_s':300,"
        "'warmup_s':601},{'kind':'prometheus','query':'not due','op':'<','threshold':1,"
        "'window_s':300}]}},'verify':{'started_s':10000,'progress':[{'next_s':10600},{},"
        "{'next_s':10601}]}}");
    n = aegis_verify_asks(facts, asks);
    assert_int_equal(n, 2);
    assert_true(asks[0].start == 10300 && asks[0].end == 10600 && !asks[0].baseline);
    assert_true(asks[1].start == 8100 && asks[1].end == 9000 && asks[1].baseline);
    json_decref(facts);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("an evaluation says pass only of what was measured", test_judge),
        AEGIS_TEST("evaluations in a row decide, or the deadline does", test_advance),
        AEGIS_TEST("nothing passes by failing", test_never_by_failing),
        AEGIS_TEST("a verification goes on where it was", test_over_time),
        AEGIS_TEST("every check comes to an end", test_bounds),
        AEGIS_TEST("an answer is one whole series, or a reason", test_prometheus),
        AEGIS_TEST("errors and total are weighed by their requests", test_pair),
        AEGIS_TEST("what is due is asked, of its own time", test_asks)
    };

    return AEGIS_UNIT_RUN(tests);
}
