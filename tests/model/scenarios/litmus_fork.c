/*
 * litmus_fork.c - what a fork's child sees of another thread: what it has done, in its order, up to where it stopped.
 *
 *      x = 1; y = 1        fork; r1 = y; r2 = x; r3 = y
 *
 * However relaxed the stores, the second is not there without the first; nothing old is read; nothing comes later; and
 * what the thread had written plainly is the child's.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

static uint32_t plain;

static void store_both(void)
{
    plain = 1;
    put(&x, 1);
    put(&y, 1);
}

static void fork_and_load(void)
{
    explore_fork();
    EXPLORE(plain <= 1);
    plain = 2;
    r1 = get(&y);
    r2 = get(&x);
    r3 = get(&y);
}

static void tell(void)
{
    explore_outcome("%u %u %u", r1, r2, r3);
}

const struct explore_scenario litmus_fork = {
    .name = "litmus.fork",
    .checks = "explorer",
    .threads = {store_both, fork_and_load},
    .finish = tell,
    .outcomes = {"0 0 0", "0 1 0", "1 1 1"},
    .bounds = ALL_RUNS,
};
