/* Latencies in microseconds, counted in 64 steps an octave: a percentile is off by less than 1.6 %, a maximum and a
 * mean are exact. Recording is a few instructions, since it happens once a delivery. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum { HISTOGRAM_SLOTS = 64 * 34 };

struct histogram {
    uint64_t count, sum, max;
    uint64_t slots[HISTOGRAM_SLOTS];
};

static inline void histogram_add(struct histogram *h, int64_t microseconds)
{
    uint64_t value = microseconds < 0 ? 0 : (uint64_t)microseconds;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum += value;
    if (value > 0xffffffff)
        value = 0xffffffff;
    int shift = value < 128 ? 0 : 57 - __builtin_clzll(value); /* leaves 64 ... 127 */
    h->slots[64 * shift + (value >> shift)]++;
}

double histogram_ms(const struct histogram *h, double share); /* the value that this share of the values is not above */
void histogram_merge(struct histogram *to, const struct histogram *from);
void histogram_print(FILE *to, const struct histogram *h);    /* as a JSON object, in milliseconds */

#endif
