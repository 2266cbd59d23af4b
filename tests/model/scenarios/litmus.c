/*
 * litmus.c - the explorer's memory model against the outcomes that C11 allows and forbids.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"

static struct vbuf_atomic_u32 x, y;
static uint32_t r1, r2;

static void nothing(void)
{
}

static void print_two(void)
{
    explore_outcome("%u %u", r1, r2);
}

/* ---- store buffering ---- */

static void store_x_load_y(void)
{
    vbuf_u32_store_relaxed(&x, 1);
    r1 = vbuf_u32_load_relaxed(&y);
}

static void store_y_load_x(void)
{
    vbuf_u32_store_relaxed(&y, 1);
    r2 = vbuf_u32_load_relaxed(&x);
}

const struct explore_scenario litmus_store_buffering = {
    .name = "litmus.store-buffering",
    .checks = "explorer",
    .set_up = nothing,
    .threads = {store_x_load_y, store_y_load_x},
    .finish = print_two,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};
