/*
 * replay.c: runs a fuzz target over the files that are named, one after the other,
 * in place of libFuzzer: for compilers that have none, and for the kept corpus.
 * Each input is alone in an allocation of its size. Says how many were run.
 */
#include "aegis_fuzz.h"


static int
replay(const char *name)
{
    FILE     *f;
    size_t    n;
    uint8_t  *data;

    static uint8_t  buf[1024 * 1024];

    f = fopen(name, "rb");
    if (f == NULL) {
        perror(name);
        return 0;
    }

    n = fread(buf, 1, sizeof(buf), f);
    fclose(f);

    data = malloc(n ? n : 1);
    if (data == NULL) {
        return 0;
    }
    memcpy(data, buf, n);

    /* the last line of a target that fails names the input */
    fprintf(stderr, "%s\n", name);
    LLVMFuzzerTestOneInput(data, n);
    free(data);

    return 1;
}


int
main(int argc, char **argv)
{
    int  i;

    for (i = 1; i < argc; i++) {
        if (!replay(argv[i])) {
            return 1;
        }
    }

    printf("%d inputs\n", argc - 1);

    return argc > 1 ? 0 : 1;
}
