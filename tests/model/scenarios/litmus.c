/*
 * litmus.c - store buffering: each of two threads stores, and loads what the other stores.
 *
 *      x = 1; fence; r1 = y        y = 1; fence; r2 = x
 *
 * 0 0 is what fences are for: it means that each load came before the other thread's store. Every epoch
 * scheme stands on its being forbidden.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

static void left(void (*fence)(void))
{
    put(&x, 1);
    fence();
    r1 = get(&y);
}

static void right(void (*fence)(void))
{
    put(&y, 1);
    fence();
    r2 = get(&x);
}

static void left_bare(void)
{
    left(no_fence);
}

static void right_bare(void)
{
    right(no_fence);
}

static void left_full(void)
{
    left(full);
}

static void right_full(void)
{
    right(full);
}

static void left_light(void)
{
    left(light);
}

static void right_light(void)
{
    right(light);
}

static void left_heavy(void)
{
    left(heavy);
}

static void right_heavy(void)
{
    right(heavy);
}

/* Nothing is forbidden. */
const struct explore_scenario litmus_store_buffering = {
    .name = "litmus.store-buffering",
    .checks = "explorer",
    .threads = {left_bare, right_bare},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

static void left_release(void)
{
    put_release(&x, 1);
    r1 = get_acquire(&y);
}

static void right_release(void)
{
    put_release(&y, 1);
    r2 = get_acquire(&x);
}

/* Nothing is forbidden: release and acquire do not order a store before a later load. */
const struct explore_scenario litmus_store_buffering_release = {
    .name = "litmus.store-buffering-release",
    .checks = "explorer",
    .threads = {left_release, right_release},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

static void left_exchange(void)
{
    vbuf_u32_exchange_acq_rel(&x, 1);
    r1 = get_acquire(&y);
}

static void right_exchange(void)
{
    vbuf_u32_exchange_acq_rel(&y, 1);
    r2 = get_acquire(&x);
}

/* Nothing is forbidden: a read-modify-write is no fence, whatever x86 makes of it. */
const struct explore_scenario litmus_store_buffering_exchange = {
    .name = "litmus.store-buffering-exchange",
    .checks = "explorer",
    .threads = {left_exchange, right_exchange},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 0 0 is forbidden: of two full fences one comes first, and the thread of the other sees what went before. */
const struct explore_scenario litmus_store_buffering_full = {
    .name = "litmus.store-buffering-full",
    .checks = "explorer",
    .threads = {left_full, right_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "1 0", "1 1"},
};

/* 0 0 is allowed: a fence needs a partner. */
const struct explore_scenario litmus_store_buffering_one_full = {
    .name = "litmus.store-buffering-one-full",
    .checks = "explorer",
    .threads = {left_bare, right_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 0 0 is forbidden: fence.h promises it. */
const struct explore_scenario litmus_store_buffering_light_heavy = {
    .name = "litmus.store-buffering-light-heavy",
    .checks = "explorer",
    .threads = {left_light, right_heavy},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "1 0", "1 1"},
};

/* 0 0 is allowed: light fences order nothing among each other. */
const struct explore_scenario litmus_store_buffering_light_light = {
    .name = "litmus.store-buffering-light-light",
    .checks = "explorer",
    .threads = {left_light, right_light},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 0 0 is allowed: a light fence has no order with a full one. */
const struct explore_scenario litmus_store_buffering_light_full = {
    .name = "litmus.store-buffering-light-full",
    .checks = "explorer",
    .threads = {left_light, right_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 0 0 is forbidden: a heavy fence is a full one. */
const struct explore_scenario litmus_store_buffering_heavy_heavy = {
    .name = "litmus.store-buffering-heavy-heavy",
    .checks = "explorer",
    .threads = {left_heavy, right_heavy},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "1 0", "1 1"},
};

const struct explore_scenario litmus_store_buffering_heavy_full = {
    .name = "litmus.store-buffering-heavy-full",
    .checks = "explorer",
    .threads = {left_heavy, right_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "1 0", "1 1"},
};

/* 0 0 is allowed: without the light fence the compiler may move the load up. */
const struct explore_scenario litmus_store_buffering_bare_heavy = {
    .name = "litmus.store-buffering-bare-heavy",
    .checks = "explorer",
    .threads = {left_bare, right_heavy},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 0 0 is forbidden where all fences are full: the heavy side pairs with the other's full fence. */
const struct explore_scenario litmus_store_buffering_full_mode = {
    .name = "litmus.store-buffering-full-mode",
    .checks = "explorer",
    .threads = {left_full, right_heavy},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .full_fence = true,
    .outcomes = {"0 1", "1 0", "1 1"},
};

static void right_heavy_if_it_can(void)
{
    put(&y, 1);
    r3 = vbuf_fence_heavy();
    r2 = get(&x);
}

/* 0 0 is allowed exactly where the heavy fence was refused: the last number says so. */
const struct explore_scenario litmus_store_buffering_heavy_refused = {
    .name = "litmus.store-buffering-heavy-refused",
    .checks = "explorer",
    .threads = {left_light, right_heavy_if_it_can},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .barriers_fail = true,
    .outcomes = {"0 0 0", "0 1 0", "1 0 0", "1 1 0", "0 1 1", "1 0 1", "1 1 1"},
};
