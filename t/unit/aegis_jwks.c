/*
 * aegis_jwks.c: unit tests of key sets: which keys are taken, which sets are
 * refused, look-up, and signatures of the RFCs. The cases are data, made with
 * openssl by t/data/jwt/make.pl.
 */
#include "aegis_jwt_data.h"

#include "aegis_b64url.h"
#include "aegis_jwk.h"
#include "aegis_jwks.h"


static void
test_sets(void **state)
{
    size_t           i;
    json_t          *data, *one, *list, *text;
    aegis_code_t     code;
    aegis_jwks_t    *keys;
    aegis_error_t    err = AEGIS_ERROR_INIT;

    data = aegis_jwt_data();
    list = json_object_get(data, "key_sets");
    assert_true(json_array_size(list) > 60);

    json_array_foreach(list, i, one) {
        keys = NULL;
        text = json_object_get(one, "text");
        code = aegis_jwks_parse((aegis_str_t) { json_string_length(text),
                                                json_string_value(text) }, &keys, &err);

        if (json_integer_value(json_object_get(one, "taken")) == 0) {
            if (code == AEGIS_E_OK || keys || err.detail[0] == '\0') {
                fail_msg("%s: it was not refused", aegis_json_str(one, "name"));
            }

        } else if (code != AEGIS_E_OK
                   || (json_int_t) aegis_jwks_count(keys)
                      != json_integer_value(json_object_get(one, "taken"))
                   || (json_int_t) aegis_jwks_left_out(keys)
                      != json_integer_value(json_object_get(one, "left_out")))
        {
            fail_msg("%s: %s", aegis_json_str(one, "name"),
                     code != AEGIS_E_OK ? err.detail : "other numbers of keys");
        }

        aegis_jwks_free(keys);
        aegis_error_clear(&err);
    }

    json_decref(data);
}


static void
test_size(void **state)
{
    char          *big;
    aegis_jwks_t  *keys = NULL;

    big = malloc(AEGIS_JWKS_MAX_TEXT + 1);
    assert_non_null(big);
    memset(big, ' ', AEGIS_JWKS_MAX_TEXT + 1);

    assert_int_equal(aegis_jwks_parse((aegis_str_t) { AEGIS_JWKS_MAX_TEXT + 1, big }, &keys,
                                      NULL), AEGIS_E_TOO_LARGE);
    assert_int_equal(aegis_jwks_parse((aegis_str_t) { AEGIS_JWKS_MAX_TEXT, big }, &keys,
                                      NULL), AEGIS_E_MALFORMED_JSON);
    assert_int_equal(aegis_jwks_parse(AEGIS_NO_STR, &keys, NULL), AEGIS_E_MALFORMED_JSON);
    assert_null(keys);
    aegis_jwks_free(NULL);
    free(big);
}


static void
test_find(void **state)
{
    char               *text;
    json_t             *data, *all, *bare;
    aegis_jwks_t       *keys;
    const aegis_jwk_t  *key, *same;

    data = aegis_jwt_data();
    all = json_object_get(json_object_get(data, "sets"), "all");
    bare = json_object_get(json_object_get(data, "sets"), "bare");

    text = json_dumps(all, 0);
    assert_int_equal(aegis_jwks_parse(aegis_view(text), &keys, NULL), AEGIS_E_OK);
    free(text);

    key = NULL;
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_ES256, aegis_str("es-1"), &key),
                     AEGIS_JWK_FOUND);
    assert_non_null(key);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_ES256, AEGIS_NO_STR, &same),
                     AEGIS_JWK_FOUND);
    assert_ptr_equal(key, same);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_RS256, aegis_str("es-1"), &key),
                     AEGIS_JWK_OTHER_ALG);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_ES256, aegis_str("es-"), &key),
                     AEGIS_JWK_UNKNOWN);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_ES256, aegis_str(""), &key),
                     AEGIS_JWK_UNKNOWN);
    /* there are two RSA keys */
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_RS256, AEGIS_NO_STR, &key),
                     AEGIS_JWK_AMBIGUOUS);
    assert_ptr_equal(key, same);
    aegis_jwks_free(keys);

    text = json_dumps(bare, 0);
    assert_int_equal(aegis_jwks_parse(aegis_view(text), &keys, NULL), AEGIS_E_OK);
    free(text);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_EDDSA, AEGIS_NO_STR, &key), AEGIS_JWK_FOUND);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_EDDSA, aegis_str("x"), &key),
                     AEGIS_JWK_UNKNOWN);
    assert_int_equal(aegis_jwks_find(keys, AEGIS_JWA_ES256, AEGIS_NO_STR, &key),
                     AEGIS_JWK_AMBIGUOUS);
    aegis_jwks_free(keys);
    json_decref(data);
}


/* RFC 7515 appendix A.2 and A.3, RFC 8037 appendix A.4: key, input, signature. */
static const struct {
    aegis_jwa_t   alg;
    const char   *jwk;
    const char   *input;
    const char   *sig;
} rfcs[] = {
    { AEGIS_JWA_RS256,
      "{'kty':'RSA','e':'AQAB','n':'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"
      "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGz"
      "jb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3"
      "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp"
      "oQ'}",
      "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
      "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
      "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W"
      "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMH"
      "lb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
      "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw" },
    { AEGIS_JWA_ES256,
      "{'kty':'EC','crv':'P-256','x':'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',"
      "'y':'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0'}",
      "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
      "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
      "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
    { AEGIS_JWA_EDDSA,
      "{'kty':'OKP','crv':'Ed25519','x':'11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'}",
      "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" }
};


static void
test_rfcs(void **state)
{
    char                *text;
    size_t               i, n;
    json_t              *jwk, *set;
    aegis_str_t          input;
    aegis_jwks_t        *keys;
    unsigned char        sig[1024];
    const aegis_jwk_t   *key;

    for (i = 0; i < AEGIS_UNIT_N(rfcs); i++) {
        jwk = aegis_unit_json(rfcs[i].jwk);
        set = json_pack("{s:[o]}", "keys", jwk);
        text = json_dumps(set, 0);
        json_decref(set);

        assert_int_equal(aegis_jwks_parse(aegis_view(text), &keys, NULL), AEGIS_E_OK);
        free(text);
        assert_int_equal(aegis_jwks_find(keys, rfcs[i].alg, AEGIS_NO_STR, &key),
                         AEGIS_JWK_FOUND);
        assert_true(aegis_b64url_decode(aegis_view(rfcs[i].sig), sig, sizeof(sig), &n));

        input = aegis_view(rfcs[i].input);
        assert_true(aegis_jwk_verify(key, input, sig, n));

        input.len--;
        assert_false(aegis_jwk_verify(key, input, sig, n));
        input.len++;
        sig[n / 2] ^= 1;
        assert_false(aegis_jwk_verify(key, input, sig, n));
        assert_false(aegis_jwk_verify(key, input, sig, 0));

        aegis_jwks_free(keys);
    }
}


static void
test_names(void **state)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_JWAS; i++) {
        assert_int_equal(aegis_jwa_by_name(aegis_view(aegis_jwa_name(i))), i);
    }

    assert_int_equal(aegis_jwa_by_name(aegis_str("none")), AEGIS_N_JWAS);
    assert_int_equal(aegis_jwa_by_name(aegis_str("HS256")), AEGIS_N_JWAS);
    assert_int_equal(aegis_jwa_by_name(AEGIS_NO_STR), AEGIS_N_JWAS);
    assert_string_equal(aegis_jwa_name(AEGIS_N_JWAS), "");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("keys that fit are taken, others left out, doubtful sets refused", test_sets),
        AEGIS_TEST("a set has a largest size", test_size),
        AEGIS_TEST("a key is found by algorithm and kid", test_find),
        AEGIS_TEST("the signatures of RFC 7515 and RFC 8037 hold, and nothing near", test_rfcs),
        AEGIS_TEST("there are three algorithms, and none is not one", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
