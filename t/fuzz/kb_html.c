/*
 * kb_html.c: fuzzes the librarian's reader of html: see aegis_fuzz_kb.h for
 * what must hold for the passages of whatever it is given.
 */
#include "aegis_fuzz_kb.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_fuzz_kb(AEGIS_KB_HTML, (aegis_str_t) { size, (const char *) data });

    return 0;
}
