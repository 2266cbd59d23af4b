/*
 * textbook_vector.c - a vector of four places: check-then-act, and how to claim a place instead.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"

#define CAPACITY 4

static struct vbuf_atomic_u32 length;
static struct vbuf_atomic_u32 written[CAPACITY];
static uint64_t elements[CAPACITY];
static unsigned pushed[EXPLORE_MOST_THREADS + 1];

static void fill_all_but_one(void)
{
    vbuf_u32_store_relaxed(&length, CAPACITY - 1);
    for (uint32_t i = 0; i < CAPACITY - 1; i++) {
        elements[i] = 9;
        vbuf_u32_store_relaxed(&written[i], 1);
    }
}

static void write_element(uint32_t at)
{
    EXPLORE(at < CAPACITY);
    elements[at] = explore_self();
    vbuf_u32_store_release(&written[at], 1);
    pushed[explore_self()]++;
}

static void check_then_add(void)
{
    if (vbuf_u32_load_acquire(&length) < CAPACITY)
        write_element(vbuf_u32_fetch_add_acq_rel(&length, 1));
}

static void check_then_store(void)
{
    uint32_t at = vbuf_u32_load_acquire(&length);
    if (at == CAPACITY)
        return;
    vbuf_u32_store_release(&length, at + 1);
    write_element(at);
}

static void claim(void)
{
    uint32_t at = vbuf_u32_load_relaxed(&length); /* the CAS decides */
    do {
        if (at == CAPACITY)
            return;
    } while (!vbuf_u32_cas_acquire(&length, &at, at + 1));
    write_element(at);
}

static void read_all(void)
{
    for (uint32_t i = 0; i < CAPACITY; i++)
        EXPLORE(vbuf_u32_load_acquire(&written[i]) == 0 || elements[i] != 0);
}

static void read_by_length(void)
{
    uint32_t count = vbuf_u32_load_acquire(&length);
    for (uint32_t i = 0; i < count; i++)
        EXPLORE(elements[i] != 0);
}

static void print_pushed(void)
{
    explore_outcome("%u", pushed[1] + pushed[2]);
}

/* Both see a place left, and both take one. */
const struct explore_scenario textbook_check_then_add = {
    .name = "textbook.check-then-add",
    .checks = "explorer",
    .set_up = fill_all_but_one,
    .threads = {check_then_add, check_then_add},
    .must_fail = "at < CAPACITY",
};

/* Both take the same. */
const struct explore_scenario textbook_check_then_store = {
    .name = "textbook.check-then-store",
    .checks = "explorer",
    .set_up = fill_all_but_one,
    .threads = {check_then_store, check_then_store},
    .must_fail = "data race: a plain write",
};

const struct explore_scenario textbook_claim = {
    .name = "textbook.claim",
    .checks = "explorer",
    .set_up = fill_all_but_one,
    .threads = {claim, claim, read_all},
    .finish = print_pushed,
    .outcomes = {"1"},
};

/* A claimed place is not a written one. */
const struct explore_scenario textbook_read_claimed = {
    .name = "textbook.read-claimed",
    .checks = "explorer",
    .set_up = fill_all_but_one,
    .threads = {claim, read_by_length},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};
