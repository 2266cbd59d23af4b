/*
 * random.h - the random stream that every implementation of a case draws from, C and C++ alike.
 *
 * xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators,
 * scrambled" (2016). Scaling by multiplication, not division: the draw should cost as little as
 * it can.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BENCH_RANDOM_H
#define BENCH_RANDOM_H

#include <stdint.h>

/* A stream of its own for every thread, the same in every round. */
static inline uint64_t bench_seed(unsigned thread)
{
    return UINT64_C(0x9E3779B97F4A7C15) * (thread + UINT64_C(1));
}

/* A number below n, which is below 2^32. */
static inline uint64_t bench_pick(uint64_t *stream, uint64_t n)
{
    uint64_t x = *stream;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *stream = x;
    return ((x * UINT64_C(0x2545F4914F6CDD1D)) >> 32) * n >> 32;
}

#endif
