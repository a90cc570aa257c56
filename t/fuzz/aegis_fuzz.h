/*
 * aegis_fuzz.h: what the fuzz targets share. A target feeds arbitrary bytes to
 * a parser of the core and checks a property of whatever gets through; the
 * sanitizers watch the rest. Built by `make fuzz` with clang's libFuzzer, seeds
 * in t/data/fuzz/<target>.
 */
#ifndef AEGIS_FUZZ_H
#define AEGIS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aegis.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input. */
#define aegis_fuzz_must(property)                                              \
    do {                                                                       \
        if (!(property)) {                                                     \
            abort();                                                           \
        }                                                                      \
    } while (0)

#endif
