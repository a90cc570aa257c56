/*
 * aegis_module_plan.c: unit tests of the planner's decision: what it proposes, of
 * which params, and what it says when there is no plan.
 */
#include "aegis_module_unit.h"


/* What aegis.plan_facts says beside next_revision and evidence. */
#define TEMPLATE                                                                     \
    "'template':{'name':'incident','body':{'kind':'incident','params':{'risk':{'type':"  \
    "'number','min':0,'max':1,'default':0.2,'sentence':'s'}},'plan':{'title':'t',"        \
    "'risk_score':'${risk}','env':'dev','steps':[{'action':'echo'}],'rollback':[{'action':'echo'}],"   \
    "'verify':[{'kind':'exec'}]}}}"


static void
test_plan(void **state)
{
    json_t         *doc, *art, *body;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    doc = run(AEGIS_MODULE_plan,
              facts("", ",'planning':{'next_revision':3,'evidence':[]," TEMPLATE "}"),
              "{'params':{'risk':0.1}}", AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    body = json_object_get(doc, "body");

    assert_string_equal(aegis_json_str(doc, "table"), "plan_proposed");
    assert_string_equal(aegis_json_str(doc, "subject"), "evt.plan.proposed.v1");
    assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":proposed");
    assert_string_equal(aegis_json_str(art, "plan_id"), ID);
    assert_string_equal(aegis_json_str(art, "template"), "incident");
    assert_int_equal(json_integer_value(json_object_get(art, "revision")), 3);
    assert_true(json_is_true(json_object_get(art, "complete")));
    assert_int_equal(strlen(aegis_json_str(art, "hash")), 64);
    assert_true(json_equal(json_object_get(art, "plan"), json_object_get(body, "plan")));
    assert_true(json_equal(json_object_get(art, "plan"),
                json_object_get(json_object_get(doc, "data"), "plan")));
    assert_string_equal(aegis_json_str(body, "created_by"), "me");
    assert_string_equal(aegis_json_str(body, "case_id"), CASE);
    assert_true(json_number_value(json_object_get(art, "risk_score")) == 0.1);
    assert_true(json_number_value(json_object_get(json_object_get(art, "params"), "risk"))
                == 0.1);
    json_decref(doc);

    /* the params of the revision before hold when nobody says other ones */
    doc = run(AEGIS_MODULE_plan, facts("", ",'planning':{'next_revision':4,'last':{"
              "'template':'incident','params':{'risk':0.4}}," TEMPLATE "}"),
              "{'case_version':4}", AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    assert_true(json_number_value(json_object_get(art, "risk_score")) == 0.4);
    json_decref(doc);

    doc = run(AEGIS_MODULE_plan, facts("", ",'planning':{'next_revision':4,'last':{"
              "'template':'other','params':{'risk':0.4}}," TEMPLATE "}"),
              "{'case_version':4}", AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    assert_true(json_number_value(json_object_get(art, "risk_score")) == 0.2);
    json_decref(doc);

    /* a plan by hand that is not complete is proposed; the guard stops it */
    doc = run(AEGIS_MODULE_plan, facts("'env':'prod'", ",'planning':{'next_revision':1}"),
              "{'plan':{'title':'by hand','steps':[{'action':'echo'}]}}", AEGIS_E_OK,
              &err);
    art = json_object_get(doc, "artefact");
    assert_true(json_is_false(json_object_get(art, "complete")));
    assert_int_equal(json_array_size(json_object_get(art, "missing")), 2);
    assert_string_equal(aegis_json_str(art, "template"), "");
    assert_string_equal(aegis_json_str(json_object_get(art, "plan"), "env"), "prod");
    json_decref(doc);
}


static void
test_plan_fails(void **state)
{
    json_t         *doc;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    run(AEGIS_MODULE_plan, facts("", ",'planning':{'next_revision':1,'template':{'name':"
        "'x','names':'change, incident'}}"), "{'template':'x'}", AEGIS_E_SCHEMA, &err);
    assert_true(aegis_unit_error_at(&err, "/template"));
    aegis_error_clear(&err);

    run(AEGIS_MODULE_plan, facts("", ",'planning':{'next_revision':1}"),
        "{'plan':{'title':'x','steps':[{}]}}", AEGIS_E_SCHEMA, &err);
    assert_true(aegis_unit_error_at(&err, "/plan/steps/0/action"));
    aegis_error_clear(&err);

    doc = run(AEGIS_MODULE_plan, facts("'risk':'high'",
              ",'planning':{'next_revision':1," TEMPLATE "}"),
              "{'case_version':4}", AEGIS_E_OK, &err);
    assert_string_equal(aegis_json_str(doc, "table"), "");
    assert_string_equal(aegis_json_str(doc, "subject"), "evt.plan.failed.v1");
    assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":failed");
    assert_string_equal(aegis_json_str(json_object_get(doc, "data"), "reason"),
                        "no plan could be made: /labels/risk must be a number from 0 to 1");
    json_decref(doc);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("the planner proposes a plan, complete or not", test_plan),
        AEGIS_TEST("a plan that cannot be made is an error to a person, a fact to the bus",
                   test_plan_fails)
    };

    return AEGIS_UNIT_RUN(tests);
}
