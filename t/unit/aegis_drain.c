/*
 * aegis_drain.c: unit tests of log templates: what is masked, which lines share a
 * template, that fingerprints stay, and the bounds.
 */
#include "aegis_unit.h"

#include "aegis_drain.h"


static aegis_pattern_t
add(aegis_drain_t *d, const char *line)
{
    aegis_pattern_t  p;

    assert_true(aegis_drain_add(d, aegis_view(line), &p));

    return p;
}


static void
test_masks(void **state)
{
    size_t          i;
    aegis_drain_t  *d;

    static const struct { const char *line, *text; } cases[] = {
        { "user 42 logged in", "user <*> logged in" },
        { "GET /api/users/17?page=3 took 12ms", "GET /api/users/<*>?page=<*> took <*>" },
        { "from 10.0.0.7:8080 id=0195a1c2-7b3e-7c44-9f10-3a5d2e8b6c01",
          "from <*>:<*> id=<*>" },
        { "  tabs\tand   blanks  ", "tabs and blanks" },
        { "", "" },
        { "2026-11-26T05:00:00.123Z ERROR nothing", "<*>:<*>:<*> ERROR nothing" }
    };

    (void) state;

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        d = aegis_drain_new(10);
        assert_string_equal(add(d, cases[i].line).text, cases[i].text);
        aegis_drain_free(d);
    }
}


static void
test_joins(void **state)
{
    char              print[AEGIS_DRAIN_PRINT + 1];
    aegis_drain_t    *d, *again;
    aegis_pattern_t   a, b;

    (void) state;

    d = aegis_drain_new(10);
    a = add(d, "cannot connect to db alpha: timeout");
    memcpy(print, a.fingerprint, sizeof(print));
    b = add(d, "cannot connect to db beta: timeout");
    assert_string_equal(b.fingerprint, print);
    assert_string_equal(b.text, "cannot connect to db <*> timeout");
    b = add(d, "cannot open file");
    assert_string_not_equal(b.fingerprint, print);
    assert_int_equal(aegis_drain_count(d), 2);

    /* what was stored gives the same fingerprint after a restart */
    again = aegis_drain_new(10);
    assert_true(aegis_drain_load(again, print, "cannot connect to db <*> timeout"));
    assert_false(aegis_drain_load(again, print, "cannot connect to db <*> timeout"));
    assert_false(aegis_drain_load(again, "short", "x"));
    assert_string_equal(add(again, "cannot connect to db gamma: timeout").fingerprint, print);
    aegis_drain_free(again);

    /* without it, the same line makes the same one */
    again = aegis_drain_new(10);
    assert_string_equal(add(again, "cannot connect to db alpha: timeout").fingerprint, print);
    aegis_drain_free(again);
    aegis_drain_free(d);
}


static void
test_bounds(void **state)
{
    char            line[5000];
    int             i;
    aegis_drain_t  *d;

    (void) state;

    d = aegis_drain_new(3);
    for (i = 0; i < 50; i++) {
        memset(line, 'a' + i % 26, (size_t) i + 1);
        line[i + 1] = '\0';
        (void) add(d, line);
    }
    assert_string_equal(add(d, "something else").text, "<more>");
    assert_int_equal(aegis_drain_count(d), 4);

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    assert_true(strlen(add(d, line).text) < AEGIS_DRAIN_TEMPLATE);
    for (i = 0; i + 3 < (int) sizeof(line); i += 3) {
        memcpy(line + i, "\xe2\x82\xac", 3);
    }
    aegis_drain_free(d);

    d = aegis_drain_new(3);
    assert_int_equal(strlen(add(d, line).text) % 3, 0);
    aegis_drain_free(d);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("what has digits in it is masked", test_masks),
        AEGIS_TEST("lines that agree share a template, which keeps its fingerprint", test_joins),
        AEGIS_TEST("templates are bounded in number and length", test_bounds)
    };

    return AEGIS_UNIT_RUN(tests);
}
