/*
 * textbook_lock.c - Peterson's lock, a sequence lock, double-checked initialisation: with and without their orders.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>

#include "explore.h"
#include "vbuf/atomic.h"
#include "vbuf/fence.h"

static void print_fine(void)
{
    explore_outcome("fine");
}

static void no_fence(void)
{
}

static void full(void)
{
    vbuf_fence_full();
}

/* ---- Peterson's lock ---- */

static struct vbuf_atomic_u32 wants[3], turn; /* whose turn it is to wait */
static uint64_t counter;

static void set_turn(uint32_t self)
{
    vbuf_u32_store_relaxed(&turn, self);
}

static void exchange_turn(uint32_t self)
{
    vbuf_u32_exchange_acq_rel(&turn, self);
}

static void enter_and_leave(void (*before)(void), void (*take_turn)(uint32_t), void (*after)(void))
{
    uint32_t self = explore_self(), other = 3 - self;
    vbuf_u32_store_relaxed(&wants[self], 1);
    before();
    take_turn(self);
    after();
    while (vbuf_u32_load_acquire(&wants[other]) != 0 && vbuf_u32_load_acquire(&turn) == self)
        explore_yield();
    counter++;
    vbuf_u32_store_release(&wants[self], 0);
}

static void print_counter(void)
{
    explore_outcome("%u", (unsigned)counter);
}

static void peterson_bare(void)
{
    enter_and_leave(no_fence, set_turn, no_fence);
}

static void peterson_one_fence(void)
{
    enter_and_leave(no_fence, set_turn, full);
}

static void peterson_full(void)
{
    enter_and_leave(full, set_turn, full);
}

static void peterson_exchange(void)
{
    enter_and_leave(no_fence, exchange_turn, no_fence);
}

/* Both enter: each load came before the other's stores. */
const struct explore_scenario textbook_peterson_bare = {
    .name = "textbook.peterson-bare",
    .checks = "explorer",
    .threads = {peterson_bare, peterson_bare},
    .must_fail = "data race",
};

/*
 * One fence, before the loads, is not enough, though it looks like store buffering: the store to `turn` of the thread
 * whose fence is second may go in front of the other's, and then that thread thinks the other waits.
 */
const struct explore_scenario textbook_peterson_one_fence = {
    .name = "textbook.peterson-one-fence",
    .checks = "explorer",
    .threads = {peterson_one_fence, peterson_one_fence},
    .must_fail = "data race",
};

const struct explore_scenario textbook_peterson_full = {
    .name = "textbook.peterson-full",
    .checks = "explorer",
    .threads = {peterson_full, peterson_full},
    .finish = print_counter,
    .outcomes = {"2"},
};

/* No fence at all: who exchanges second has acquired what the first released (A. Williams, 2008). */
const struct explore_scenario textbook_peterson_exchange = {
    .name = "textbook.peterson-exchange",
    .checks = "explorer",
    .threads = {peterson_exchange, peterson_exchange},
    .finish = print_counter,
    .outcomes = {"2"},
};

/* ---- a sequence lock: two words that belong together ---- */

static struct vbuf_atomic_u32 sequence, one, two;

static void write_pair(void (*fence)(void))
{
    vbuf_u32_store_relaxed(&sequence, 1);
    fence();
    vbuf_u32_store_relaxed(&one, 7);
    vbuf_u32_store_relaxed(&two, 7);
    vbuf_u32_store_release(&sequence, 2);
}

static void read_pair(uint32_t (*begin)(const struct vbuf_atomic_u32 *), void (*fence)(void))
{
    uint32_t before = begin(&sequence);
    uint32_t a = vbuf_u32_load_relaxed(&one), b = vbuf_u32_load_relaxed(&two);
    fence();
    if (before % 2 == 0 && vbuf_u32_load_relaxed(&sequence) == before)
        EXPLORE(a == b);
}

static void write_sequence(void)
{
    write_pair(full);
}

static void write_without_fence(void)
{
    write_pair(no_fence);
}

static void read_sequence(void)
{
    read_pair(vbuf_u32_load_acquire, full);
}

static void read_begin_relaxed(void)
{
    read_pair(vbuf_u32_load_relaxed, full);
}

static void read_without_fence(void)
{
    read_pair(vbuf_u32_load_acquire, no_fence);
}

const struct explore_scenario textbook_seqlock = {
    .name = "textbook.seqlock",
    .checks = "explorer",
    .threads = {write_sequence, read_sequence},
    .finish = print_fine,
    .bounds = {.preemptions = 4, .stale = 4, .reorders = 2, .together = 8},
    .outcomes = {"fine"},
};

/* 2 is read, and one of the words is still old. */
const struct explore_scenario textbook_seqlock_no_acquire = {
    .name = "textbook.seqlock-no-acquire",
    .checks = "explorer",
    .threads = {write_sequence, read_begin_relaxed},
    .must_fail = "a == b",
};

/* The second look at the sequence comes before the words are read. */
const struct explore_scenario textbook_seqlock_no_read_fence = {
    .name = "textbook.seqlock-no-read-fence",
    .checks = "explorer",
    .threads = {write_sequence, read_without_fence},
    .must_fail = "a == b",
};

/* A new word is read, and the sequence does not say yet that it is being written. */
const struct explore_scenario textbook_seqlock_no_write_fence = {
    .name = "textbook.seqlock-no-write-fence",
    .checks = "explorer",
    .threads = {write_without_fence, read_sequence},
    .must_fail = "a == b",
};

/* ---- double-checked initialisation ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vbuf_atomic_u32 ready;
static uint64_t object, made;

static void use_object(uint32_t (*look)(const struct vbuf_atomic_u32 *))
{
    if (look(&ready) == 0) {
        pthread_mutex_lock(&mutex);
        if (vbuf_u32_load_relaxed(&ready) == 0) { /* the mutex orders it */
            object = 7;
            made++;
            vbuf_u32_store_release(&ready, 1);
        }
        pthread_mutex_unlock(&mutex);
    }
    EXPLORE(object == 7);
}

static void use_acquire(void)
{
    use_object(vbuf_u32_load_acquire);
}

static void use_relaxed(void)
{
    use_object(vbuf_u32_load_relaxed);
}

static void print_made(void)
{
    explore_outcome("%u", (unsigned)made);
}

const struct explore_scenario textbook_double_checked = {
    .name = "textbook.double-checked",
    .checks = "explorer",
    .threads = {use_acquire, use_acquire, use_acquire},
    .finish = print_made,
    .outcomes = {"1"},
};

const struct explore_scenario textbook_double_checked_relaxed = {
    .name = "textbook.double-checked-relaxed",
    .checks = "explorer",
    .threads = {use_relaxed, use_relaxed},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};
