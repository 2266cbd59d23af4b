/*
 * canary.c - a scenario that fails, to see the program say so. It runs when it is named.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"

static struct vbuf_atomic_u32 counter;

static void nothing(void)
{
}

/* Not an increment: two may read the same. */
static void count_badly(void)
{
    vbuf_u32_store_relaxed(&counter, vbuf_u32_load_relaxed(&counter) + 1);
}

static void finish(void)
{
    EXPLORE(vbuf_u32_load_relaxed(&counter) == 2);
}

const struct explore_scenario canary_lost_update = {
    .name = "canary.lost-update",
    .checks = "canary",
    .set_up = nothing,
    .threads = {count_badly, count_badly},
    .finish = finish,
};
