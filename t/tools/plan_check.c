/*
 * plan_check.c: what the core's checker says of plans: one JSON document a line
 * on stdin; on stdout a line each, "ok" or the pointers at fault with blanks
 * between ("/" for the whole), "-" for what is not JSON. t/05plans.t holds the published schema
 * against it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"


static void
judge(aegis_str_t line)
{
    size_t          i;
    json_t         *plan;
    const char     *at;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_json_parse(line, &plan, NULL) != AEGIS_E_OK) {
        puts("-");
        return;
    }

    if (aegis_plan_check(plan, "", &err) == AEGIS_E_OK) {
        puts("ok");

    } else {
        for (i = 0; i < json_array_size(err.errors); i++) {
            at = aegis_json_str(json_array_get(err.errors, i), "pointer");
            printf("%s%s", i ? " " : "", at[0] ? at : "/");
        }
        puts("");
    }

    aegis_error_clear(&err);
    json_decref(plan);
}


int
main(void)
{
    char     *line;
    size_t    size;
    ssize_t   n;

    line = NULL;
    size = 0;

    while ((n = getline(&line, &size, stdin)) > 0) {
        judge((aegis_str_t) { (size_t) n - (line[n - 1] == '\n'), line });
    }

    free(line);

    return fflush(stdout) != 0;
}
