/*
 * aegis_unit.h: what the unit tests share: cmocka with its headers, a test's
 * name as a sentence that is true when it passes, JSON with ' for ".
 * CMOCKA_MESSAGE_OUTPUT=TAP makes a binary speak TAP; one group a binary,
 * because cmocka prints one plan for each group.
 */
#ifndef AEGIS_UNIT_H
#define AEGIS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "aegis_json.h"

#define AEGIS_UNIT_N(table)  (sizeof(table) / sizeof((table)[0]))

#define AEGIS_TEST(sentence, function)  { sentence, function, NULL, NULL, NULL }

#define AEGIS_UNIT_RUN(tests)                                                  \
    _cmocka_run_group_tests(__FILE__, tests, AEGIS_UNIT_N(tests), NULL, NULL)


/* Any JSON value, written with ' instead of ". */
static inline json_t *
aegis_unit_json(const char *text)
{
    char          *p, *copy;
    json_t        *json;
    json_error_t   error;

    copy = strdup(text);
    assert_non_null(copy);

    for (p = copy; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }

    json = json_loads(copy, JSON_DECODE_ANY, &error);
    if (json == NULL) {
        fail_msg("%s: %s", error.text, copy);
    }

    free(copy);

    return json;
}


/* Is there an error at this pointer? */
static inline int
aegis_unit_error_at(const aegis_error_t *err, const char *pointer)
{
    size_t  i;

    for (i = 0; i < json_array_size(err->errors); i++) {
        if (strcmp(aegis_json_str(json_array_get(err->errors, i), "pointer"), pointer)
            == 0)
        {
            return 1;
        }
    }

    return 0;
}

#endif
