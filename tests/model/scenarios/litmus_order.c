/*
 * litmus_order.c - three and four threads, and shapes with two stores: what is seen where, and in which order.
 *
 * Names are the usual ones of the literature (J. Alglave, L. Maranget, M. Tautschnig, "Herding cats", 2014).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

static void put_x(void)
{
    put(&x, 1);
}

static void put_y(void)
{
    put(&y, 1);
}

/* ---- load buffering ---- */

static void get_x_put_y(void)
{
    r1 = get(&x);
    put(&y, 1);
}

static void get_y_put_x(void)
{
    r2 = get(&y);
    put(&x, 1);
}

/*
 * C11 allows 1 1 as well: each load reads what comes after the other. The explorer does not show it: RC11
 * forbids it, and memory.c says so.
 */
const struct explore_scenario litmus_load_buffering = {
    .name = "litmus.load-buffering",
    .checks = "explorer",
    .threads = {get_x_put_y, get_y_put_x},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0"},
};

/* ---- IRIW: do two readers agree on the order of two writers? ---- */

static void read_x_y(void (*fence)(void))
{
    r1 = get_acquire(&x);
    fence();
    r2 = get_acquire(&y);
}

static void read_y_x(void (*fence)(void))
{
    r3 = get_acquire(&y);
    fence();
    r4 = get_acquire(&x);
}

static void read_x_y_bare(void)
{
    read_x_y(no_fence);
}

static void read_y_x_bare(void)
{
    read_y_x(no_fence);
}

static void read_x_y_full(void)
{
    read_x_y(full);
}

static void read_y_x_full(void)
{
    read_y_x(full);
}

/* Nothing is forbidden: in 1 0 1 0 they do not agree. */
const struct explore_scenario litmus_iriw = {
    .name = "litmus.iriw",
    .checks = "explorer",
    .threads = {put_x, put_y, read_x_y_bare, read_y_x_bare},
    .finish = print_1_2_3_4,
    .bounds = {.preemptions = 3, .stale = 4, .reorders = EXPLORE_NONE, .together = 7},
    .outcomes = {"0 0 0 0", "0 0 0 1", "0 0 1 0", "0 0 1 1", "0 1 0 0", "0 1 0 1", "0 1 1 0",
                 "0 1 1 1", "1 0 0 0", "1 0 0 1", "1 0 1 0", "1 0 1 1", "1 1 0 0", "1 1 0 1",
                 "1 1 1 0", "1 1 1 1"},
};

/* 1 0 1 0 is forbidden: the later of the two fences sees what the earlier one's thread had seen. */
const struct explore_scenario litmus_iriw_full = {
    .name = "litmus.iriw-full",
    .checks = "explorer",
    .threads = {put_x, put_y, read_x_y_full, read_y_x_full},
    .finish = print_1_2_3_4,
    .bounds = {.preemptions = 3, .stale = 4, .reorders = EXPLORE_NONE, .together = 7},
    .outcomes = {"0 0 0 0", "0 0 0 1", "0 0 1 0", "0 0 1 1", "0 1 0 0", "0 1 0 1", "0 1 1 0",
                 "0 1 1 1", "1 0 0 0", "1 0 0 1", "1 0 1 1", "1 1 0 0", "1 1 0 1", "1 1 1 0",
                 "1 1 1 1"},
};

/* ---- RWC: a store seen by one, a store buffered by the other ---- */

static void read_x_fence_y(void)
{
    r1 = get(&x);
    full();
    r2 = get(&y);
}

static void put_y_fence_read_x(void)
{
    put(&y, 1);
    full();
    r3 = get(&x);
}

static void read_x_y_acquire(void)
{
    r1 = get_acquire(&x);
    r2 = get_acquire(&y);
}

static void put_y_read_x(void)
{
    put_release(&y, 1);
    r3 = get_acquire(&x);
}

/* Nothing is forbidden. */
const struct explore_scenario litmus_rwc = {
    .name = "litmus.rwc",
    .checks = "explorer",
    .threads = {put_x, read_x_y_acquire, put_y_read_x},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0 0", "0 0 1", "0 1 0", "0 1 1", "1 0 0", "1 0 1", "1 1 0", "1 1 1"},
};

/* 1 0 0 is forbidden: C11 as of 2011 allowed it, RC11 and C20 do not; a full fence is cumulative. */
const struct explore_scenario litmus_rwc_full = {
    .name = "litmus.rwc-full",
    .checks = "explorer",
    .threads = {put_x, read_x_fence_y, put_y_fence_read_x},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0 0", "0 0 1", "0 1 0", "0 1 1", "1 0 1", "1 1 0", "1 1 1"},
};

/* ---- WRC: a message about what was only read ---- */

static void forward_release(void)
{
    r1 = get(&x);
    if (r1 == 1)
        put_release(&y, 1);
}

static void forward_relaxed(void)
{
    r1 = get(&x);
    if (r1 == 1)
        put(&y, 1);
}

static void receive_acquire(void)
{
    r2 = get_acquire(&y);
    r3 = get(&x);
}

/* 1 1 0 is forbidden: the load of 1 happens before the last load, which may not go back behind it. */
const struct explore_scenario litmus_wrc = {
    .name = "litmus.wrc",
    .checks = "explorer",
    .threads = {put_x, forward_release, receive_acquire},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0 0", "0 0 1", "1 0 0", "1 0 1", "1 1 1"},
};

/* Nothing is forbidden but a flag from nowhere. */
const struct explore_scenario litmus_wrc_relaxed = {
    .name = "litmus.wrc-relaxed",
    .checks = "explorer",
    .threads = {put_x, forward_relaxed, receive_acquire},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0 0", "0 0 1", "1 0 0", "1 0 1", "1 1 0", "1 1 1"},
};

/* ---- ISA2: a message passed on ---- */

static void send_x(void)
{
    put(&x, 1);
    put_release(&y, 1);
}

static void pass_on(void)
{
    r1 = get_acquire(&y);
    put_release(&z, 1);
}

static void receive_z(void)
{
    r2 = get_acquire(&z);
    r3 = get(&x);
}

/* 1 1 0 is forbidden: happens-before is transitive. */
const struct explore_scenario litmus_isa2 = {
    .name = "litmus.isa2",
    .checks = "explorer",
    .threads = {send_x, pass_on, receive_z},
    .finish = print_1_2_3,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0 0", "0 0 1", "0 1 0", "0 1 1", "1 0 0", "1 0 1", "1 1 1"},
};
