/*
 * embed.c: the librarian's embedder as a program, for make onnx-test: `embed
 * <aegis.yaml>` reads a text a line and writes its name and dimensions, and then
 * the cosine of every text with the first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_librarian.h"


int
main(int argc, char **argv)
{
    char               line[4096];
    float             *first, *v;
    volatile int       stopping = 0;
    aegis_str_t        text;
    aegis_conf_t      *conf;
    aegis_error_t      err = AEGIS_ERROR_INIT;
    aegis_embedder_t  *e;

    if (argc != 2 || aegis_conf_load(argv[1], &conf, &err) != AEGIS_E_OK
        || aegis_embedder_new(conf, &stopping, &e, &err) != AEGIS_E_OK || e == NULL)
    {
        fprintf(stderr, "embed: %s\n", err.detail[0] ? err.detail : "usage: embed <aegis.yaml>");
        return 1;
    }

    printf("%s %d\n", e->name, e->dims);
    first = calloc((size_t) e->dims, sizeof(float));
    v = calloc((size_t) e->dims, sizeof(float));

    for (int n = 0; first && v && fgets(line, sizeof(line), stdin); n++) {
        text = (aegis_str_t) { strcspn(line, "\n"), line };
        if (!e->embed(e, &text, 1, n ? v : first, &err)) {
            fprintf(stderr, "embed: %s\n", err.detail);
            return 1;
        }
        if (n) {
            printf("%.4f %.*s\n", (double) aegis_kb_dot(first, v, (size_t) e->dims),
                   (int) text.len, text.data);
        }
    }

    free(first);
    free(v);
    aegis_embedder_free(e);
    aegis_conf_free(conf);
    return 0;
}
