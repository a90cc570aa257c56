/*
 * aegis_template.c: unit tests of templates: what is refused, where values come
 * from, what the holes become.
 */
#include "aegis_unit.h"

#include "aegis_template.h"

#define HEAD   "'template':'t','version':1,'kind':'change','sentence':'s'"
#define PARAMS                                                                      \
    "'params':{'name':{'type':'string','sentence':'s','required':true,'min':1,"     \
    "'max':8,'pattern':'[a-z]+(-[a-z]+)*'},"                                        \
    "'n':{'type':'integer','sentence':'s','min':-3,'max':9,'default':3},"           \
    "'x':{'type':'number','sentence':'s','min':0,'max':1},"                         \
    "'yes':{'type':'boolean','sentence':'s','default':false},"                      \
    "'list':{'type':'list','sentence':'s','max':3,'pattern':'[a-z]*'},"             \
    "'one':{'type':'string','sentence':'s','enum':['a','b'],'default':'a'}}"
#define ECHO   "'rollback':[{'action':'echo'}],'verify':[{'kind':'exec'}]"
#define PLAN   "'plan':{'title':'t ${name}','steps':[{'action':'echo'}]," ECHO "}"
#define WHOLE  "{" HEAD "," PARAMS ",'examples':[{'name':'web'}]," PLAN "}"


static void
test_check(void **state)
{
    size_t          i;
    json_t         *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *text;
        const char  *pointer;
    } cases[] = {
        { "[]", "" },
        { "{}", "/template" }, { "{}", "/version" }, { "{}", "/kind" }, { "{}", "/plan" },
        { "{}", "/sentence" }, { "{}", "/examples" }, { "{'colour':1}", "/colour" },
        { "{" HEAD ",'examples':[]," PLAN "}", "/examples" },
        { "{" HEAD ",'params':[]," PLAN "}", "/params" },
        { "{'params':{'A':{'type':'string','sentence':'s'}}}", "/params/A" },
        { "{'params':{'1a':{'type':'string','sentence':'s'}}}", "/params/1a" },
        { "{'params':{'a':{'type':'text','sentence':'s'}}}", "/params/a/type" },
        { "{'params':{'a':{'type':'string'}}}", "/params/a/sentence" },
        { "{'params':{'a':{'type':'string','sentence':'s','x':1}}}", "/params/a/x" },
        { "{'params':{'a':{'type':'string','sentence':'s','min':-1}}}", "/params/a/min" },
        { "{'params':{'a':{'type':'string','sentence':'s','max':4001}}}", "/params/a/max" },
        { "{'params':{'a':{'type':'integer','sentence':'s','min':2,'max':1}}}",
          "/params/a/max" },
        { "{'params':{'a':{'type':'boolean','sentence':'s','max':1}}}", "/params/a/max" },
        { "{'params':{'a':{'type':'string','sentence':'s','pattern':'(a'}}}",
          "/params/a/pattern" },
        { "{'params':{'a':{'type':'string','sentence':'s','pattern':'(a)\\\\1'}}}",
          "/params/a/pattern" },
        { "{'params':{'a':{'type':'number','sentence':'s','pattern':'1'}}}",
          "/params/a/pattern" },
        { "{'params':{'a':{'type':'string','sentence':'s','enum':[]}}}", "/params/a/enum" },
        { "{'params':{'a':{'type':'string','sentence':'s','enum':['x',1]}}}",
          "/params/a/enum/1" },
        { "{'params':{'a':{'type':'integer','sentence':'s','default':'1'}}}",
          "/params/a/default" },
        { "{'params':{'a':{'type':'string','sentence':'s','enum':['x'],'default':'y'}}}",
          "/params/a/default" },
        { "{'params':{'a':{'type':'string','sentence':'s','default':'y','required':true}}}",
          "/params/a/required" },
        { "{'plan':{'title':'${none}'}}", "/plan/title" },
        { "{'plan':{'title':'${'}}", "/plan/title" },
        { "{'plan':{'title':'a ${b c} d'}}", "/plan/title" },
        { "{'plan':{'steps':[{'${none}':1}]}}", "/plan/steps/0/${none}" },
        { "{'plan':{'steps':[{'$when':'a'}]}}", "/plan/steps/0/$when" },
        { "{'plan':{'steps':[{'$if':'a'}]}}", "/plan/steps/0/$if" },
        { "{'plan':{'steps':[{'$unless':[]}]}}", "/plan/steps/0/$unless" },
        { "{'plan':{'steps':[{'$unless':[1]}]}}", "/plan/steps/0/$unless" },
        { "{'params':{'l':{'type':'list','sentence':'s'}},'plan':{'title':'a ${l}'}}",
          "/plan/title" }
    };

    template = aegis_unit_json(WHOLE);
    if (aegis_template_prove(template, &err) != AEGIS_E_OK) {
        fail_msg("%s", aegis_json_text(err.errors));
    }
    json_decref(template);

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        template = aegis_unit_json(cases[i].text);
        if (aegis_template_check(template, &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s in %s", cases[i].pointer, cases[i].text);
        }
        aegis_error_clear(&err);
        json_decref(template);
    }
}


/* A template may be right and its examples show that it is not. */
static void
test_prove(void **state)
{
    size_t          i;
    json_t         *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  cases[] = {
        "{" HEAD "," PARAMS ",'examples':[{'name':'web'},{}]," PLAN "}",
        "{" HEAD ",'examples':[{},{'name':'x'}],'plan':{'title':'t','steps':[{'action':"
            "'echo'}]," ECHO "}}",
        "{" HEAD ",'examples':[{},{}],'plan':{'title':'t'}}",
        "{" HEAD ",'examples':[{},{}],'plan':{'steps':[]}}"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        template = aegis_unit_json(cases[i]);
        assert_int_equal(aegis_template_check(template, NULL), AEGIS_E_OK);
        assert_int_equal(aegis_template_prove(template, &err), AEGIS_E_SCHEMA);
        assert_true(aegis_unit_error_at(&err, "/examples/1"));
        aegis_error_clear(&err);
        json_decref(template);
    }
}


static void
test_values(void **state)
{
    size_t          i;
    json_t         *template, *params, *labels, *values, *expected;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *params;
        const char  *labels;
        const char  *values;        /* or where it is refused */
    } cases[] = {
        { "{'name':'web'}", "{}", "{'name':'web','n':3,'yes':false,'one':'a'}" },
        { "{'name':'web','n':9,'x':0.5,'yes':true,'list':['a',''],'one':'b'}", "{}",
          "{'name':'web','n':9,'x':0.5,'yes':true,'list':['a',''],'one':'b'}" },
        { "{}", "{'name':'a-b','n':'-3','x':'1e-1','yes':'yes','list':'a,b','other':'x'}",
          "{'name':'a-b','n':-3,'x':0.1,'yes':true,'list':['a','b'],'one':'a'}" },
        { "{'name':'web','n':1}", "{'name':'other','n':'2'}",
          "{'name':'web','n':1,'yes':false,'one':'a'}" },
        { "{'name':'web','yes':'0'}", "{}", "{'name':'web','n':3,'yes':false,'one':'a'}" },
        { "{}", "{}", "/params/name" },
        { "{'name':''}", "{}", "/params/name" },
        { "{'name':'abcdefghi'}", "{}", "/params/name" },
        { "{'name':'Web'}", "{}", "/params/name" },
        { "{'name':'web\\n'}", "{}", "/params/name" },
        { "{'name':'web; rm -rf /'}", "{}", "/params/name" },
        { "{'name':7}", "{}", "/params/name" },
        { "{'name':'web','n':10}", "{}", "/params/n" },
        { "{'name':'web','n':1.5}", "{}", "/params/n" },
        { "{'name':'web'}", "{'n':'1.5'}", "/labels/n" },
        { "{'name':'web'}", "{'n':'many'}", "/labels/n" },
        { "{'name':'web','x':1.01}", "{}", "/params/x" },
        { "{'name':'web','yes':'maybe'}", "{}", "/params/yes" },
        { "{'name':'web','yes':1}", "{}", "/params/yes" },
        { "{'name':'web','one':'c'}", "{}", "/params/one" },
        { "{'name':'web','list':['a','b','c','d']}", "{}", "/params/list" },
        { "{'name':'web','list':['A']}", "{}", "/params/list/0" },
        { "{'name':'web','list':[1]}", "{}", "/params/list/0" },
        { "{'name':'web','other':1}", "{}", "/params/other" },
        { "{'name':'web','n':null}", "{}", "/params/n" }
    };

    template = aegis_unit_json(WHOLE);

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        params = aegis_unit_json(cases[i].params);
        labels = aegis_unit_json(cases[i].labels);
        values = aegis_template_values(template, params, labels, &err);

        if (cases[i].values[0] == '/') {
            if (!aegis_unit_error_at(&err, cases[i].values)) {
                fail_msg("no error at %s of %s", cases[i].values, cases[i].params);
            }
        } else {
            expected = aegis_unit_json(cases[i].values);
            if (err.code != AEGIS_E_OK || !json_equal(values, expected)) {
                fail_msg("%s became %s", cases[i].params, aegis_json_text(values));
            }
            json_decref(expected);
        }

        aegis_error_clear(&err);
        json_decref(values);
        json_decref(params);
        json_decref(labels);
    }

    json_decref(template);
}


static void
test_fill(void **state)
{
    size_t   i;
    char     text[1024];
    json_t  *template, *values, *facts, *got, *expected;

    static const struct {
        const char  *plan;
        const char  *expected;
    } cases[] = {
        { "{'a':'${n}','b':'${x}','c':'${yes}','d':'${list}','e':'${s}'}",
          "{'a':3,'b':0.25,'c':true,'d':['p','q'],'e':'text'}" },
        { "{'a':'n=${n} x=${x} ${yes}/${no} ${s}${s}'}",
          "{'a':'n=3 x=0.25 true/false texttext'}" },
        { "{'a':'${none}','b':['${none}','${n}'],'c':'[${none}]'}", "{'b':[3],'c':'[]'}" },
        { "{'a':'$${n} $ $n $$ ${n}$'}", "{'a':'${n} $ $n $$ 3$'}" },
        { "{'a':'${hole}'}", "{'a':'${n}'}" },
        { "{'a':'>${hole}<'}", "{'a':'>${n}<'}" },
        { "{'${s}':1,'x-${n}':2}", "{'text':1,'x-3':2}" },
        { "{'a':'${case.title}','b':'${revision}'}", "{'a':'the case','b':2}" },
        { "[{'$if':'yes','a':1},{'$if':'no','a':2},{'$if':'none','a':3},"
          "{'$unless':'yes','a':4},{'$unless':'no','a':5},{'$unless':'none','a':6}]",
          "[{'a':1},{'a':5},{'a':6}]" },
        { "[{'$if':['yes','n'],'a':1},{'$if':['yes','no'],'a':2},"
          "{'$unless':['no','zero'],'a':3},{'$unless':['no','yes'],'a':4},"
          "{'$if':'s','$unless':'empty','a':5},{'$if':'list','$unless':'yes','a':6}]",
          "[{'a':1},{'a':3},{'a':5}]" },
        { "{'a':{'$if':'no','b':1},'c':{'d':{'$if':'yes'}}}", "{'c':{'d':{}}}" },
        { "{'a':null,'b':1.5,'c':false}", "{'a':null,'b':1.5,'c':false}" }
    };

    values = aegis_unit_json("{'n':3,'x':0.25,'yes':true,'no':false,'list':['p','q'],"
                             "'s':'text','empty':'','zero':0,'hole':'${n}'}");
    facts = aegis_unit_json("{'case.title':'the case','revision':2}");

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(text, sizeof(text), "{'plan':%s}", cases[i].plan);
        template = aegis_unit_json(text);
        expected = aegis_unit_json(cases[i].expected);
        got = aegis_template_fill(template, values, facts);

        if (!json_equal(got, expected)) {
            fail_msg("%s became %s", cases[i].plan, aegis_json_text(got));
        }

        json_decref(got);
        json_decref(expected);
        json_decref(template);
    }

    json_decref(values);
    json_decref(facts);
    assert_string_equal(aegis_template_fact(0), "case.id");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("what is wrong with a template is named by its pointer", test_check),
        AEGIS_TEST("examples prove that it becomes a complete plan", test_prove),
        AEGIS_TEST("values come from params, labels and defaults, and fit", test_values),
        AEGIS_TEST("holes are filled with types, and no value is a hole", test_fill)
    };

    return AEGIS_UNIT_RUN(tests);
}
