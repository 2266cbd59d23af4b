/*
 * tbb.h - the loops over oneTBB's concurrent_vector, timed inside tbb.cpp so that it inlines
 * there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BENCH_TBB_H
#define BENCH_TBB_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

void *bench_tbb_create(void);
void bench_tbb_destroy(void *vector);

/* Appends first, first + 1, …; returns the sum of the indices. */
uint64_t bench_tbb_push(void *vector, uint64_t first, uint64_t count);
/* Appends the block again and again, an element at a time, or as one run; returns the sum of the
   indices its first elements got. */
uint64_t bench_tbb_push_blocks(void *vector, const uint64_t *block, uint64_t size, uint64_t blocks);
uint64_t bench_tbb_grow_blocks(void *vector, const uint64_t *block, uint64_t size, uint64_t blocks);

/* Makes room for count elements and touches it; empties the vector, keeping the room. */
void bench_tbb_warm(void *vector, uint64_t count);

/* The sum of `count` elements chosen at random, as bench_pick chooses. */
uint64_t bench_tbb_get(const void *vector, uint64_t seed, uint64_t count);
uint64_t bench_tbb_sum(const void *vector);
uint64_t bench_tbb_len(const void *vector);

#if defined(__cplusplus)
}
#endif

#endif
