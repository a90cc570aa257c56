/*
 * aegis_sketch.h: how values are spread, in few bytes that can be added up: a
 * count for each bin, bins by magnitude, each 2 % wider than the last one. A
 * quantile is off by at most 1 % of its value. aegis.sketch_* are the same in SQL.
 */
#ifndef AEGIS_SKETCH_H
#define AEGIS_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#define AEGIS_SKETCH_BIN_LEN  6         /* bytes a bin takes when it is stored */

typedef struct {
    int16_t   bin;
    uint32_t  n;
} aegis_bin_t;

/* The bin of a finite value. */
int16_t aegis_sketch_bin(double v);

/* The value that a bin stands for. */
double aegis_sketch_value(int16_t bin);

/* bins by number, n of them, total counts. 0 < q <= 1. */
double aegis_sketch_quantile(const aegis_bin_t *bins, size_t n, uint64_t total, double q);

/* Write n bins; returns their bytes, n * AEGIS_SKETCH_BIN_LEN. */
size_t aegis_sketch_encode(const aegis_bin_t *bins, size_t n, unsigned char *out);

#endif
