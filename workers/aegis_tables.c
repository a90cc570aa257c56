/*
 * aegis_tables.c: print what is generated from core/tables on stdout:
 * `aegis-tables <form>`. A program of its own, because it needs the core alone
 * and `make tables` has to run before anything else can be built.
 */
#include <stdio.h>
#include <stdlib.h>

#include "aegis_fsm.h"


int
main(int argc, char **argv)
{
    char  *text;

    if (argc != 2) {
        fprintf(stderr, "usage: aegis-tables sql|mermaid|markdown|json|errors|routes|subjects"
                        "|settings|statements|plan-schema|openapi-plan\n");
        return 2;
    }
    text = aegis_fsm_dump(argv[1]);
    if (text == NULL) {
        fprintf(stderr, "aegis-tables: there is no form %s\n", argv[1]);
        return 2;
    }
    fputs(text, stdout);
    free(text);
    return fflush(stdout) != 0;
}
