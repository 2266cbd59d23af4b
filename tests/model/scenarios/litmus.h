/*
 * litmus.h - the words of a litmus test: three atomics, and what the threads read.
 *
 * Included once by each litmus*.c, which says what C11 allows. "Forbidden" is by RC11 (O. Lahav et al., "Repairing
 * sequential consistency in C/C++11", 2017), which C20 took over: see memory.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LITMUS_H
#define LITMUS_H

#include "explore.h"
#include "vbuf/atomic.h"
#include "vbuf/fence.h"

/* A litmus test is so small that nothing need be left out. */
#define ALL_RUNS                                                                                   \
    {                                                                                              \
        .preemptions = 20, .stale = 20, .reorders = 20, .together = 60                             \
    }

typedef struct vbuf_atomic_u32 atom;

static __attribute__((unused)) atom x, y, z;
static __attribute__((unused)) uint32_t r1, r2, r3, r4;

static inline void put(atom *to, uint32_t value)
{
    vbuf_u32_store_relaxed(to, value);
}

static inline void put_release(atom *to, uint32_t value)
{
    vbuf_u32_store_release(to, value);
}

static inline uint32_t get(const atom *from)
{
    return vbuf_u32_load_relaxed(from);
}

static inline uint32_t get_acquire(const atom *from)
{
    return vbuf_u32_load_acquire(from);
}

static inline void no_fence(void)
{
}

static inline void full(void)
{
    vbuf_fence_full();
}

static inline void light(void)
{
    vbuf_fence_light();
}

static inline void heavy(void)
{
    EXPLORE(vbuf_fence_heavy());
}

/* For one that either fails or not. */
static inline void print_fine(void)
{
    explore_outcome("fine");
}

static inline void print_1_2(void)
{
    explore_outcome("%u %u", r1, r2);
}

static inline void print_1_2_3(void)
{
    explore_outcome("%u %u %u", r1, r2, r3);
}

static inline void print_1_2_3_4(void)
{
    explore_outcome("%u %u %u %u", r1, r2, r3, r4);
}

static inline void print_1_x(void)
{
    explore_outcome("%u %u", r1, get(&x));
}

static inline void print_x_y(void)
{
    explore_outcome("%u %u", get(&x), get(&y));
}

#endif
