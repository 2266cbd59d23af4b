/*
 * textbook_wait.c - waiting: lost wake-ups, deadlocks, livelocks, and waits that end though they look endless.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>

#include "explore.h"
#include "vbuf/atomic.h"
#include "wait.h"

static struct vbuf_atomic_u32 event, flag, other_flag;

static void print_fine(void)
{
    explore_outcome("fine");
}

/* ---- an event ---- */

static void set_and_signal(void)
{
    vbuf_u32_store_release(&flag, 1);
    vbuf_event_signal(&event);
}

static void look_then_sleep(void)
{
    while (vbuf_u32_load_acquire(&flag) == 0)
        vbuf_event_wait(&event, vbuf_event_value(&event), VBUF_NO_DEADLINE);
}

/* The value is taken after the look: a signal between the two is lost. */
const struct explore_scenario textbook_lost_wake_up = {
    .name = "textbook.lost-wake-up",
    .checks = "explorer",
    .threads = {look_then_sleep, set_and_signal},
    .must_fail = "deadlock: thread 1 waits for ever",
};

static void take_value_look_sleep(void)
{
    for (;;) {
        uint32_t value = vbuf_event_value(&event);
        if (vbuf_u32_load_acquire(&flag) != 0)
            return;
        vbuf_event_wait(&event, value, VBUF_NO_DEADLINE);
    }
}

const struct explore_scenario textbook_wake_up = {
    .name = "textbook.wake-up",
    .checks = "explorer",
    .threads = {take_value_look_sleep, set_and_signal, take_value_look_sleep},
    .finish = print_fine,
    .outcomes = {"fine"},
};

static void sleep_once(void)
{
    uint32_t value = vbuf_event_value(&event);
    if (vbuf_u32_load_acquire(&flag) == 0)
        vbuf_event_wait(&event, value, VBUF_NO_DEADLINE);
    EXPLORE(vbuf_u32_load_acquire(&flag) == 1);
}

/* A wait may return early: who wakes has to look again. */
const struct explore_scenario textbook_wakes_early = {
    .name = "textbook.wakes-early",
    .checks = "explorer",
    .threads = {sleep_once, set_and_signal},
    .bounds = {.stale = EXPLORE_NONE},
    .must_fail = "(&flag) == 1",
};

static void signal_then_set(void)
{
    vbuf_event_signal(&event);
    vbuf_u32_store_release(&flag, 1);
}

const struct explore_scenario textbook_signal_early = {
    .name = "textbook.signal-early",
    .checks = "explorer",
    .threads = {take_value_look_sleep, signal_then_set},
    .must_fail = "deadlock: thread 1 waits for ever",
};

/* ---- mutexes ---- */

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static uint64_t counter;

static void lock_both(pthread_mutex_t *a, pthread_mutex_t *b)
{
    pthread_mutex_lock(a);
    pthread_mutex_lock(b);
    counter++;
    pthread_mutex_unlock(b);
    pthread_mutex_unlock(a);
}

static void lock_first_second(void)
{
    lock_both(&first, &second);
}

static void lock_second_first(void)
{
    lock_both(&second, &first);
}

const struct explore_scenario textbook_lock_order = {
    .name = "textbook.lock-order",
    .checks = "explorer",
    .threads = {lock_first_second, lock_second_first},
    .must_fail = "deadlock",
};

static void print_counter(void)
{
    explore_outcome("%u", (unsigned)counter);
}

const struct explore_scenario textbook_lock_in_order = {
    .name = "textbook.lock-in-order",
    .checks = "explorer",
    .threads = {lock_first_second, lock_first_second},
    .finish = print_counter,
    .outcomes = {"2"},
};

/* ---- spinning ---- */

static void spin_until(const struct vbuf_atomic_u32 *what)
{
    while (vbuf_u32_load_acquire(what) == 0)
        explore_yield();
}

static void spin_then_set_other(void)
{
    spin_until(&flag);
    vbuf_u32_store_release(&other_flag, 1);
}

static void spin_then_set_flag(void)
{
    spin_until(&other_flag);
    vbuf_u32_store_release(&flag, 1);
}

const struct explore_scenario textbook_spin_on_each_other = {
    .name = "textbook.spin-on-each-other",
    .checks = "explorer",
    .threads = {spin_then_set_other, spin_then_set_flag},
    .must_fail = "livelock",
};

static void spin_with_store(void)
{
    while (vbuf_u32_load_acquire(&flag) == 0) {
        vbuf_u32_fetch_add_relaxed(&other_flag, 1);
        explore_yield();
    }
}

/* Each does something every time round, but not what the other waits for. */
const struct explore_scenario textbook_livelock = {
    .name = "textbook.livelock",
    .checks = "explorer",
    .threads = {spin_with_store, spin_with_store},
    .must_fail = "livelock",
};

static void spin(void)
{
    spin_until(&flag);
}

static void set_flag(void)
{
    vbuf_u32_store_release(&flag, 1);
}

/* Two that spin do not keep the third from its turn. */
const struct explore_scenario textbook_spin = {
    .name = "textbook.spin",
    .checks = "explorer",
    .threads = {spin, spin, set_flag},
    .finish = print_fine,
    .outcomes = {"fine"},
};

const struct explore_scenario textbook_spin_with_store = {
    .name = "textbook.spin-with-store",
    .checks = "explorer",
    .threads = {spin_with_store, spin_with_store, set_flag},
    .finish = print_fine,
    .bounds = {.together = 1},
    .outcomes = {"fine"},
};

/* ---- time ---- */

static void sleep_then_set_flag(void)
{
    vbuf_event_wait(&event, vbuf_event_value(&event), 2000000000);
    set_flag();
}

/* Time passes while one spins: who sleeps for a while wakes. */
const struct explore_scenario textbook_spin_on_sleeper = {
    .name = "textbook.spin-on-sleeper",
    .checks = "explorer",
    .threads = {spin, sleep_then_set_flag},
    .finish = print_fine,
    .outcomes = {"fine"},
};

static struct vbuf_atomic_u32 place;
static unsigned places[4];

static void sleep_then_take_place(void)
{
    vbuf_event_wait(&event, vbuf_event_value(&event), 2000000000);
    places[explore_self()] = vbuf_u32_fetch_add_relaxed(&place, 1);
}

static void print_places(void)
{
    explore_outcome("%u %u", places[1], places[2]);
}

/* Any sleeper may be the first to wake, without anything odd. */
const struct explore_scenario textbook_sleepers = {
    .name = "textbook.sleepers",
    .checks = "explorer",
    .threads = {sleep_then_take_place, sleep_then_take_place},
    .finish = print_places,
    .bounds = {.preemptions = EXPLORE_NONE, .failures = EXPLORE_NONE},
    .outcomes = {"0 1", "1 0"},
};
