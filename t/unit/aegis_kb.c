/*
 * aegis_kb.c: unit tests of the librarian's core: which tokens a text has, which
 * texts are near each other, where documents are split, what a question becomes.
 */
#include "aegis_unit.h"

#include "aegis_kb.h"
#include "aegis_kb_impl.h"


static aegis_str_t
view(const char *s)
{
    return aegis_view(s);
}


static void
test_terms(void **state)
{
    char    *terms;
    size_t   i;

    static const struct {
        const char  *text, *terms;
    } cases[] = {
        { "", "" }, { "the of and", "" }, { "Database DATABASES database", "databas" },
        { "restarted restarting restarts", "restart" }, { "policies", "policy" },
        { "error_rate > 0.5", "error rate 0 5" }, { "磁盘写满", "磁盘 盘写 写满" }, { "满", "满" },
        { "Redis内存OOM", "redis 内存 oom" }, { "ＲＥＤＩＳ", "redis" }, { "Ошибка ошибка", "ошибка" },
        { "caf\xc3\x89 caf\xc3\xa9", "caf\xc3\xa9" }, { "a\xff" "b \x01 c", "b c" },
        { "x\xe7\xa3", "x" }, { "日本 日本", "日本" }, { "running runs", "run" }, { "status class", "status class" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        terms = aegis_kb_terms(AEGIS_NO_STR, view(cases[i].text), 64);
        assert_string_equal(terms, cases[i].terms);
        free(terms);
    }

    terms = aegis_kb_terms(view("one two"), view("three four"), 3);
    assert_string_equal(terms, "one two thre");
    free(terms);
}


static float
near(const char *a, const char *b)
{
    float  x[AEGIS_KB_DIMS], y[AEGIS_KB_DIMS];

    aegis_kb_embed(AEGIS_NO_STR, view(a), x);
    aegis_kb_embed(AEGIS_NO_STR, view(b), y);

    return aegis_kb_dot(x, y, AEGIS_KB_DIMS);
}


static void
test_embed(void **state)
{
    float  v[AEGIS_KB_DIMS];

    aegis_kb_embed(AEGIS_NO_STR, view("..."), v);
    assert_true(aegis_kb_dot(v, v, AEGIS_KB_DIMS) == 0);
    assert_true(near("disk is full", "disk is full") > 0.999f);
    assert_true(near("disk is full", "the disks are full") > 0.8f);
    assert_true(near("certificate expired", "cretificate expired") > 0.5f);
    assert_true(near("certificate expired", "consumer lag grows") < 0.3f);
    assert_true(near("磁盘写满了", "磁盘被写满") > 0.5f);
    assert_true(near("磁盘写满了", "证书已经过期") < 0.3f);
}


static void
split(aegis_kb_format_t format, const char *body, aegis_kb_chunks_t *chunks)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (aegis_kb_split(format, view(body), chunks, &err) != AEGIS_E_OK) {
        fail_msg("is not read: %s: %s", err.detail, body);
    }
}


static void
test_split(void **state)
{
    size_t             i, k;
    aegis_kb_chunks_t  c;

    static const struct {
        aegis_kb_format_t  format;
        const char        *body, *title, *chunks[4][2];
    } cases[] = {
        { AEGIS_KB_MARKDOWN, "# A\n\nx\n\n## B ##\ny\nz\n\n# C\nw\n", "A",
          { { "A", "x" }, { "A > B", "y\nz" }, { "C", "w" } } },
        { AEGIS_KB_MARKDOWN, "A\n=\n", "", { { "", "A\n=" } } },
        { AEGIS_KB_MARKDOWN, "A\n==\nx\n\nB\n---\ny", "A", { { "A", "x" }, { "A > B", "y" } } },
        { AEGIS_KB_MARKDOWN, "```\n# no\n\n```\n", "", { { "", "```\n# no\n\n```" } } },
        { AEGIS_KB_MARKDOWN, "---\ntitle: T\n---\n#hash\n", "T", { { "", "#hash" } } },
        { AEGIS_KB_MARKDOWN, "# Only\n", "Only", { { "Only", "Only" } } },
        { AEGIS_KB_HTML, "<title>T</title><h1>A &lt; B</h1>\n<p>x\n y<p>z<script>q</script>", "T",
          { { "A < B", "x y\nz" } } },
        { AEGIS_KB_HTML, "1 < 2 & 3 &amp; &bogus; &#65;<b>b</b>", "", { { "", "1 < 2 & 3 & &bogus; Ab" } } },
        { AEGIS_KB_HTML, "<pre>a\n  b</pre><script>never ends", "", { { "", "a\n  b" } } },
        { AEGIS_KB_TEXT, "First\nline\n\nmore", "First", { { "", "First\nline\n\nmore" } } },
        { AEGIS_KB_JSON, "{\"name\":\"N\",\"a\":{\"b\":[1,2]},\"c\":[{\"d\":true}]}", "N",
          { { "", "name: N\n\na.b: 1, 2\n\nc.d: true" } } },
        { AEGIS_KB_JSON, "[1,\"x\"]", "", { { "", "1, x" } } }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        split(cases[i].format, cases[i].body, &c);
        assert_string_equal(c.title, cases[i].title);
        for (k = 0; k < c.n && k < 4 && cases[i].chunks[k][0]; k++) {
            assert_string_equal(c.v[k].heading, cases[i].chunks[k][0]);
            assert_string_equal(c.v[k].text, cases[i].chunks[k][1]);
        }
        assert_int_equal(c.n, k);
        assert_true(k == 4 || cases[i].chunks[k][0] == NULL);
        aegis_kb_chunks_free(&c);
    }
}


static void
test_long(void **state)
{
    char               *body;
    size_t              i, at;
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_kb_chunks_t   c;

    body = malloc(200001);
    for (i = 0; i < 200000; i += 20) {
        memcpy(body + i, i % 300 ? "a sentence of words " : "it ends here. And so\n", 20);
    }
    body[200000] = '\0';

    split(AEGIS_KB_TEXT, body, &c);
    for (at = 0, i = 0; i < c.n; i++) {
        assert_true(strlen(c.v[i].text) <= AEGIS_KB_CHUNK_MAX);
        assert_true(c.v[i].from >= at && c.v[i].to > c.v[i].from);
        assert_memory_equal(body + c.v[i].from + strspn(body + c.v[i].from, " \n"), c.v[i].text, 20);
        at = c.v[i].from;
    }
    assert_true(c.n > 150 && c.n < 500);
    aegis_kb_chunks_free(&c);

    assert_int_equal(aegis_kb_split(AEGIS_KB_TEXT, (aegis_str_t) { AEGIS_KB_BODY_MAX + 1, body }, &c,
                                    &err), AEGIS_E_TOO_LARGE);
    assert_int_equal(aegis_kb_split(AEGIS_KB_TEXT, view(" \n\n "), &c, &err), AEGIS_E_SCHEMA);
    assert_int_equal(aegis_kb_split(AEGIS_KB_JSON, view("{"), &c, &err), AEGIS_E_MALFORMED_JSON);
    aegis_kb_chunks_free(&c);
    aegis_error_clear(&err);
    free(body);
}


static void
test_squeeze(void **state)
{
    char    out[16];
    size_t  i;

    static const struct {
        const char  *text;
        size_t       max;
        const char  *out;
    } cases[] = {
        { "  a \n\t b  ", 15, "a b" }, { "", 15, "" }, { "abcdef", 3, "abc" }, { "ab cd", 3, "ab" },
        { "磁盘满", 7, "磁盘" }, { "磁盘满", 9, "磁盘满" }, { "a磁", 3, "a" }, { "a磁", 4, "a磁" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        aegis_kb_squeeze(view(cases[i].text), out, cases[i].max);
        assert_string_equal(out, cases[i].out);
    }
}


static void
test_probe(void **state)
{
    char           *probe, *query;
    size_t          i;
    json_t         *json, *one;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  bad[] = {
        "x", "lang", "lang:", ":x", "colour:red", "label.:x", "lang:a,,tag:b"
    };

    assert_int_equal(aegis_kb_probe(view("Disk full?"), view("lang:en,label.a:b:c"), &probe, &err),
                     AEGIS_E_OK);
    assert_int_equal(aegis_json_parse(view(probe), &json, &err), AEGIS_E_OK);
    assert_string_equal(aegis_json_str(json, "terms"), "disk full");
    assert_string_equal(json_string_value(json_array_get(json_object_get(json, "facets"), 1)),
                        "label.a=b:c");
    one = json_array_get(json_object_get(json, "probes"), 0);
    assert_string_equal(aegis_json_str(one, "embedder"), AEGIS_KB_EMBEDDER);
    assert_int_equal(json_string_length(json_object_get(one, "signs")), AEGIS_KB_DIMS);
    json_decref(json);
    free(probe);

    for (i = 0; i < AEGIS_UNIT_N(bad); i++) {
        if (aegis_kb_probe(view("x"), view(bad[i]), &probe, &err) != AEGIS_E_BAD_REQUEST) {
            fail_msg("was taken: %s", bad[i]);
        }
        aegis_error_clear(&err);
    }

    json = json_pack("{s:{s:s, s:{s:s, s:s}, s:[s]}, s:{s:[{s:s}]}}", "case", "title", "It is slow",
        "labels", "service", "checkout", "env", "prod", "tags", "db", "planning", "evidence",
        "title", "latency up");
    query = aegis_kb_case_query(json);
    assert_string_equal(query, "It is slow\ncheckout\ndb\nlatency up");
    free(query);
    json_decref(json);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("forms of a word are one term, Chinese becomes pairs", test_terms),
        AEGIS_TEST("what is written alike is near, other things are not", test_embed),
        AEGIS_TEST("documents are split where their structure allows", test_split),
        AEGIS_TEST("long text is split between sentences, at places that are its own", test_long),
        AEGIS_TEST("a title is one line, and ends between characters", test_squeeze),
        AEGIS_TEST("a question becomes terms, a vector and facets; a case is one", test_probe)
    };

    return AEGIS_UNIT_RUN(tests);
}
