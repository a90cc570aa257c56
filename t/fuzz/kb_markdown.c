/*
 * kb_markdown.c: fuzzes the librarian's reader of markdown: see aegis_fuzz_kb.h for
 * what must hold for the passages of whatever it is given.
 */
#include "aegis_fuzz_kb.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_fuzz_kb(AEGIS_KB_MARKDOWN, (aegis_str_t) { size, (const char *) data });

    return 0;
}
