/*
 * litmus_message.c - message passing: one thread stores data and then a flag, another loads the flag and
 * then the data.
 *
 *      x = 1; y = 1        r1 = y; r2 = x
 *
 * 1 0 is the stale message: the flag was seen, the data not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

static void send(void (*fence)(void), void (*put_flag)(atom *to, uint32_t value))
{
    put(&x, 1);
    fence();
    put_flag(&y, 1);
}

static void receive(uint32_t (*get_flag)(const atom *from), void (*fence)(void))
{
    r1 = get_flag(&y);
    fence();
    r2 = get(&x);
}

static void send_relaxed(void)
{
    send(no_fence, put);
}

static void receive_relaxed(void)
{
    receive(get, no_fence);
}

static void send_release(void)
{
    send(no_fence, put_release);
}

static void receive_acquire(void)
{
    receive(get_acquire, no_fence);
}

static void send_full(void)
{
    send(full, put);
}

static void receive_full(void)
{
    receive(get, full);
}

/* Nothing is forbidden. */
const struct explore_scenario litmus_message = {
    .name = "litmus.message",
    .checks = "explorer",
    .threads = {send_relaxed, receive_relaxed},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* Nothing is forbidden: a release without an acquire is half a hand-over. */
const struct explore_scenario litmus_message_no_acquire = {
    .name = "litmus.message-no-acquire",
    .checks = "explorer",
    .threads = {send_release, receive_relaxed},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

const struct explore_scenario litmus_message_no_release = {
    .name = "litmus.message-no-release",
    .checks = "explorer",
    .threads = {send_relaxed, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* 1 0 is forbidden: the acquire reads the release, so x = 1 happens before the load of x. */
const struct explore_scenario litmus_message_release = {
    .name = "litmus.message-release",
    .checks = "explorer",
    .threads = {send_release, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

/* 1 0 is forbidden: the fences synchronise, through the relaxed flag. */
const struct explore_scenario litmus_message_full = {
    .name = "litmus.message-full",
    .checks = "explorer",
    .threads = {send_full, receive_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

/* 1 0 is forbidden: a fence on one side does with an order on the other's access. */
const struct explore_scenario litmus_message_full_acquire = {
    .name = "litmus.message-full-acquire",
    .checks = "explorer",
    .threads = {send_full, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

const struct explore_scenario litmus_message_release_full = {
    .name = "litmus.message-release-full",
    .checks = "explorer",
    .threads = {send_release, receive_full},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

static void send_light(void)
{
    send(light, put);
}

static void receive_light(void)
{
    receive(get, light);
}

static void send_heavy(void)
{
    send(heavy, put);
}

static void receive_heavy(void)
{
    receive(get, heavy);
}

/* 1 0 is forbidden: the light fence came first, and the heavy one brings what was before it. */
const struct explore_scenario litmus_message_light_heavy = {
    .name = "litmus.message-light-heavy",
    .checks = "explorer",
    .threads = {send_light, receive_heavy},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

/* 1 0 is forbidden: the heavy fence came first, and the light one takes what was before it. */
const struct explore_scenario litmus_message_heavy_light = {
    .name = "litmus.message-heavy-light",
    .checks = "explorer",
    .threads = {send_heavy, receive_light},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1"},
};

/* Nothing is forbidden: light fences cost nothing and do nothing by themselves. */
const struct explore_scenario litmus_message_light_light = {
    .name = "litmus.message-light-light",
    .checks = "explorer",
    .threads = {send_light, receive_light},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 0", "1 1"},
};

/* ---- release sequences ---- */

static void add_ten(void)
{
    vbuf_u32_fetch_add_relaxed(&y, 10);
}

/*
 * 11 0 is forbidden, as 1 0 is: the third thread's read-modify-write, relaxed as it is, goes on with the release
 * sequence of y = 1. (10 0 is allowed: the addition came first, and releases nothing.)
 */
const struct explore_scenario litmus_sequence_add = {
    .name = "litmus.sequence-add",
    .checks = "explorer",
    .threads = {send_release, add_ten, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1", "10 0", "10 1", "11 1"},
};

/* 11 0 is forbidden here too: the sequence begins at the store behind the fence. */
const struct explore_scenario litmus_sequence_full_add = {
    .name = "litmus.sequence-full-add",
    .checks = "explorer",
    .threads = {send_full, add_ten, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1", "10 0", "10 1", "11 1"},
};

static void send_twice(void)
{
    put(&x, 1);
    put_release(&y, 1);
    put(&y, 2);
}

/* 2 0 is allowed by C20: a plain relaxed store ends the release sequence. */
const struct explore_scenario litmus_sequence_store = {
    .name = "litmus.sequence-store",
    .checks = "explorer",
    .threads = {send_twice, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .outcomes = {"0 0", "0 1", "1 1", "2 0", "2 1"},
};

/* 2 0 is forbidden by C17: the same thread's stores go on with its release sequence. */
const struct explore_scenario litmus_sequence_store_c17 = {
    .name = "litmus.sequence-store-c17",
    .checks = "explorer",
    .threads = {send_twice, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .c17_release_sequence = true,
    .outcomes = {"0 0", "0 1", "1 1", "2 1"},
};

static void send_and_wait(void)
{
    put(&x, 1);
    put_release(&y, 1);
    if (get(&y) == 11) /* the addition stands right behind */
        put(&y, 20);
}

/* 20 0 is forbidden by C17: the other's read-modify-write between does not end the sequence. */
const struct explore_scenario litmus_sequence_add_store_c17 = {
    .name = "litmus.sequence-add-store-c17",
    .checks = "explorer",
    .threads = {send_and_wait, add_ten, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .c17_release_sequence = true,
    .outcomes = {"0 0", "0 1", "1 1", "10 0", "10 1", "11 1", "20 1"},
};

static void add_ten_and_store(void)
{
    if (vbuf_u32_fetch_add_relaxed(&y, 10) == 1)
        put(&y, 20);
}

/* 20 0 is allowed even by C17: the sequence is the first thread's, the store is not. */
const struct explore_scenario litmus_sequence_foreign_c17 = {
    .name = "litmus.sequence-foreign-c17",
    .checks = "explorer",
    .threads = {send_release, add_ten_and_store, receive_acquire},
    .finish = print_1_2,
    .bounds = ALL_RUNS,
    .c17_release_sequence = true,
    .outcomes = {"0 0", "0 1", "1 1", "10 0", "10 1", "11 1", "20 0", "20 1"},
};
