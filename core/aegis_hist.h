/*
 * aegis_hist.h: buckets of histograms, whatever protocol they came by: how much a
 * cumulative one grew, and which values a bucket stands for. Buckets are in order,
 * none is empty, and a value equal to an upper edge is in the lower bucket.
 */
#ifndef AEGIS_HIST_H
#define AEGIS_HIST_H

#include <stddef.h>
#include <stdint.h>

#define AEGIS_HIST_BUCKETS  512         /* of one histogram */
#define AEGIS_HIST_VALUES   16          /* that a bucket is made of */

typedef struct {
    double    lo;                       /* -INFINITY: not known */
    double    hi;                       /* INFINITY: not known */
    uint64_t  n;
} aegis_bucket_t;

/* Of n bounds and n + 1 counts; out has room for n + 1. -1: bounds are not finite or
 * do not rise. */
int aegis_hist_explicit(const double *bounds, size_t n, const uint64_t *counts,
    aegis_bucket_t *out);

/* Where bucket i of an exponential histogram begins: 2^(i / 2^scale). */
double aegis_hist_edge(int scale, int64_t i);

/* What came between two states of a cumulative histogram; out has room for n. Narrow
 * buckets may have become wide ones. A state with fewer values has begun again, and
 * all of it is new. -1: the states have other edges. */
int aegis_hist_growth(const aegis_bucket_t *was, size_t n_was, const aegis_bucket_t *now,
    size_t n, aegis_bucket_t *out);

/* The values of a bucket, evenly from edge to edge, and how many are of each; returns
 * how many there are, 0 when no edge is known. */
int aegis_hist_values(const aegis_bucket_t *b, double v[AEGIS_HIST_VALUES],
    uint64_t n[AEGIS_HIST_VALUES]);

#endif
