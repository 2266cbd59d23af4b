/*
 * litmus_stores.c - the modification orders of two atomics: shapes that need a store in front of others.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

/* ---- 2+2W: two atomics, stored in opposite orders ---- */

static void put_x_y(void)
{
    put(&x, 1);
    put(&y, 2);
}

static void put_y_x(void)
{
    put(&y, 1);
    put(&x, 2);
}

static void put_x_y_release(void)
{
    put_release(&x, 1);
    put_release(&y, 2);
}

static void put_y_x_release(void)
{
    put_release(&y, 1);
    put_release(&x, 2);
}

static void put_x_y_full(void)
{
    put(&x, 1);
    full();
    put(&y, 2);
}

static void put_y_x_full(void)
{
    put(&y, 1);
    full();
    put(&x, 2);
}

/* Nothing is forbidden: in 1 1 each thread's second store goes in front of the other's first. */
const struct explore_scenario litmus_two_two = {
    .name = "litmus.two-two",
    .checks = "explorer",
    .threads = {put_x_y, put_y_x},
    .finish = print_x_y,
    .bounds = ALL_RUNS,
    .outcomes = {"1 1", "1 2", "2 1", "2 2"},
};

/* Nobody acquires, so releases change nothing. */
const struct explore_scenario litmus_two_two_release = {
    .name = "litmus.two-two-release",
    .checks = "explorer",
    .threads = {put_x_y_release, put_y_x_release},
    .finish = print_x_y,
    .bounds = ALL_RUNS,
    .outcomes = {"1 1", "1 2", "2 1", "2 2"},
};

/* 1 1 is forbidden: the later fence's store comes behind what the earlier one's thread had stored. */
const struct explore_scenario litmus_two_two_full = {
    .name = "litmus.two-two-full",
    .checks = "explorer",
    .threads = {put_x_y_full, put_y_x_full},
    .finish = print_x_y,
    .bounds = ALL_RUNS,
    .outcomes = {"1 2", "2 1", "2 2"},
};

/* ---- S: a store in front of what was heard of ---- */

static void put_2_y(void)
{
    put(&x, 2);
    put(&y, 1);
}

static void get_y_put_1(void)
{
    r1 = get(&y);
    put(&x, 1);
}

static void put_2_y_release(void)
{
    put(&x, 2);
    put_release(&y, 1);
}

static void get_y_acquire_put_1(void)
{
    r1 = get_acquire(&y);
    put(&x, 1);
}

/* Nothing is forbidden. */
const struct explore_scenario litmus_s = {
    .name = "litmus.s",
    .checks = "explorer",
    .threads = {put_2_y, get_y_put_1},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "0 2", "1 1", "1 2"},
};

/* 1 2 is forbidden: x = 2 happens before x = 1. */
const struct explore_scenario litmus_s_release = {
    .name = "litmus.s-release",
    .checks = "explorer",
    .threads = {put_2_y_release, get_y_acquire_put_1},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "0 2", "1 1"},
};

/* ---- R: a store behind, and a load that has not heard ---- */

static void put_x_y_1(void (*fence)(void))
{
    put(&x, 1);
    fence();
    put_release(&y, 1);
}

static void put_y_2_get_x(void (*fence)(void))
{
    put_release(&y, 2);
    fence();
    r1 = get_acquire(&x);
}

static void put_x_y_1_bare(void)
{
    put_x_y_1(no_fence);
}

static void put_y_2_get_x_bare(void)
{
    put_y_2_get_x(no_fence);
}

static void put_x_y_1_full(void)
{
    put_x_y_1(full);
}

static void put_y_2_get_x_full(void)
{
    put_y_2_get_x(full);
}

static void print_1_y(void)
{
    explore_outcome("%u %u", r1, get(&y));
}

/* Nothing is forbidden. */
const struct explore_scenario litmus_r = {
    .name = "litmus.r",
    .checks = "explorer",
    .threads = {put_x_y_1_bare, put_y_2_get_x_bare},
    .finish = print_1_y,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "0 2", "1 1", "1 2"},
};

/* 0 2 is forbidden: y = 2 behind y = 1 puts the second fence behind the first, which knew x. */
const struct explore_scenario litmus_r_full = {
    .name = "litmus.r-full",
    .checks = "explorer",
    .threads = {put_x_y_1_full, put_y_2_get_x_full},
    .finish = print_1_y,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "1 1", "1 2"},
};
