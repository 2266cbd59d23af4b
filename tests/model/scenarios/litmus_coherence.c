/*
 * litmus_coherence.c - one atomic by itself: its modification order, and read-modify-writes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

/* ---- coherence: one atomic by itself behaves, whatever the orders ---- */

static void put_1(void)
{
    put(&x, 1);
}

static void put_2(void)
{
    put(&x, 2);
}

static void put_1_then_2(void)
{
    put(&x, 1);
    put(&x, 2);
}

static void read_twice(void)
{
    r1 = get(&x);
    r2 = get(&x);
}

static void read_twice_too(void)
{
    r3 = get(&x);
    r4 = get(&x);
}

/* CoRR, CoWW: forbidden is to go back: 1 0, 2 0, 2 1. */
const struct explore_scenario litmus_read_read = {
    .name = "litmus.read-read",
    .checks = "explorer",
    .threads = {put_1_then_2, read_twice},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "0 2", "1 1", "1 2", "2 2"},
};

static void print_agreement(void)
{
    bool first = r1 == 1 && r2 == 2 && r3 == 2 && r4 == 1;
    bool second = r1 == 2 && r2 == 1 && r3 == 1 && r4 == 2;
    bool against_the_end = r1 == 1 && r2 == 2 && get(&x) == 1;
    explore_outcome("%s", first || second || against_the_end ? "disagree" : "agree");
}

/* All threads see one modification order. */
const struct explore_scenario litmus_one_order = {
    .name = "litmus.one-order",
    .checks = "explorer",
    .threads = {put_1, put_2, read_twice, read_twice_too},
    .finish = print_agreement,
    .bounds = {.preemptions = 3, .stale = 4, .reorders = 2, .together = 5},
    .outcomes = {"agree"},
};

static void put_1_read(void)
{
    put(&x, 1);
    r1 = get(&x);
}

/* CoWR: 2 1 is forbidden: reading 2 after having stored 1 puts 2 last. So is 0, from before its own store. */
const struct explore_scenario litmus_write_read = {
    .name = "litmus.write-read",
    .checks = "explorer",
    .threads = {put_1_read, put_2},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"1 1", "1 2", "2 2"},
};

static void read_put_1(void)
{
    r1 = get(&x);
    put(&x, 1);
}

/* CoRW: 2 2 is forbidden: having read 2 its own store comes behind. So is 1, from its own future. */
const struct explore_scenario litmus_read_write = {
    .name = "litmus.read-write",
    .checks = "explorer",
    .threads = {read_put_1, put_2},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "0 2", "2 1"},
};

static void print_x(void)
{
    explore_outcome("%u", get(&x));
}

static void put_3(void)
{
    put(&x, 3);
}

/* CoWW: 1 is forbidden: 2 came behind it, wherever 3 goes. */
const struct explore_scenario litmus_write_write = {
    .name = "litmus.write-write",
    .checks = "explorer",
    .threads = {put_1_then_2, put_3},
    .finish = print_x,
    .bounds = ALL_RUNS,
    .outcomes = {"2", "3"},
};

static void put_1_release_y(void)
{
    put(&x, 1);
    put_release(&y, 1);
}

static void acquire_y_put_2(void)
{
    r1 = get_acquire(&y);
    put(&x, 2);
}

/* 1 1 is forbidden: a store comes behind those that happen before it. */
const struct explore_scenario litmus_store_behind = {
    .name = "litmus.store-behind",
    .checks = "explorer",
    .threads = {put_1_release_y, acquire_y_put_2},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1", "0 2", "1 2"},
};

/* ---- read-modify-write ---- */

static void add_left(void)
{
    r1 = vbuf_u32_fetch_add_relaxed(&x, 1);
}

static void add_right(void)
{
    r2 = vbuf_u32_fetch_add_relaxed(&x, 1);
}

static void print_1_2_x(void)
{
    explore_outcome("%u %u %u", r1, r2, get(&x));
}

/* 0 0 is forbidden: nothing comes between what an addition reads and what it writes. */
const struct explore_scenario litmus_add_add = {
    .name = "litmus.add-add",
    .checks = "explorer",
    .threads = {add_left, add_right},
    .finish = print_1_2_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1 2", "1 0 2"},
};

static void win_left(void)
{
    uint32_t expected = 0;
    r1 = vbuf_u32_cas_acquire(&x, &expected, 1);
}

static void win_right(void)
{
    uint32_t expected = 0;
    r2 = vbuf_u32_cas_acquire(&x, &expected, 2);
}

/* Exactly one wins: 0 0 and 1 1 are forbidden. (A strong exchange that reads 0 succeeds.) */
const struct explore_scenario litmus_cas_cas = {
    .name = "litmus.cas-cas",
    .checks = "explorer",
    .threads = {win_left, win_right},
    .finish = print_1_2_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1 2", "1 0 1"},
};

static void exchange_left(void)
{
    r1 = vbuf_u32_exchange_acq_rel(&x, 1);
}

static void exchange_right(void)
{
    r2 = vbuf_u32_exchange_acq_rel(&x, 2);
}

/* 0 0 and 2 1 are forbidden. */
const struct explore_scenario litmus_exchange_exchange = {
    .name = "litmus.exchange-exchange",
    .checks = "explorer",
    .threads = {exchange_left, exchange_right},
    .finish = print_1_2_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 1 2", "2 0 1"},
};

static void put_5(void)
{
    put(&x, 5);
}

/* 0 6 and 0 1 are forbidden: the store goes behind the addition, or in front of both its halves. */
const struct explore_scenario litmus_add_store = {
    .name = "litmus.add-store",
    .checks = "explorer",
    .threads = {add_left, put_5},
    .finish = print_1_x,
    .bounds = ALL_RUNS,
    .outcomes = {"0 5", "5 6"},
};

static void put_1_behind_release(void)
{
    put(&y, 1);
    put_release(&x, 1);
}

static void cas_fails_read_y(void)
{
    uint32_t expected = 7;
    EXPLORE(!vbuf_u32_cas_acquire(&x, &expected, 8));
    r1 = expected;
    r2 = get(&y);
}

/* 1 0 is forbidden: one that fails is an acquire load; 0 is what it may still find, once 1 is there. */
const struct explore_scenario litmus_cas_fails = {
    .name = "litmus.cas-fails",
    .checks = "explorer",
    .threads = {put_1_behind_release, cas_fails_read_y},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

static void put_x_then_y(void)
{
    put(&x, 1);
    put(&y, 1);
}

static void get_y_cas_fails(void)
{
    uint32_t expected = 7;
    r1 = get(&y);
    EXPLORE(!vbuf_u32_cas_acquire(&x, &expected, 8));
    r2 = expected;
}

static void get_y_add(void)
{
    r1 = get(&y);
    r2 = vbuf_u32_fetch_add_relaxed(&x, 10);
}

/* Nothing is forbidden: in 1 0 the exchange fails on an older value. */
const struct explore_scenario litmus_cas_fails_old = {
    .name = "litmus.cas-fails-old",
    .checks = "explorer",
    .threads = {put_x_then_y, get_y_cas_fails},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* Nor here: a read-modify-write goes in front of a store it does not know. */
const struct explore_scenario litmus_add_old = {
    .name = "litmus.add-old",
    .checks = "explorer",
    .threads = {put_x_then_y, get_y_add},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};
