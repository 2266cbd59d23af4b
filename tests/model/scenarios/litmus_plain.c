/*
 * litmus_plain.c - what is a data race, and what is not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "litmus.h"

static uint64_t data;

/* ---- a message of plain data ---- */

static void send_release(void)
{
    data = 7;
    put_release(&y, 1);
}

static void send_relaxed(void)
{
    data = 7;
    put(&y, 1);
}

static void receive_acquire(void)
{
    if (get_acquire(&y) == 1)
        EXPLORE(data == 7);
}

static void receive_relaxed(void)
{
    if (get(&y) == 1)
        EXPLORE(data == 7);
}

const struct explore_scenario litmus_data = {
    .name = "litmus.data",
    .checks = "explorer",
    .threads = {send_release, receive_acquire},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

const struct explore_scenario litmus_data_no_release = {
    .name = "litmus.data-no-release",
    .checks = "explorer",
    .threads = {send_relaxed, receive_acquire},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};

const struct explore_scenario litmus_data_no_acquire = {
    .name = "litmus.data-no-acquire",
    .checks = "explorer",
    .threads = {send_release, receive_relaxed},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};

static void send_too_early(void)
{
    put_release(&y, 1);
    data = 7;
}

/* A release publishes what is before it. */
const struct explore_scenario litmus_data_behind_release = {
    .name = "litmus.data-behind-release",
    .checks = "explorer",
    .threads = {send_too_early, receive_acquire},
    .must_fail = "data race",
};

static void add_ten(void)
{
    vbuf_u32_fetch_add_relaxed(&y, 10);
}

static void receive_11(void)
{
    if (get_acquire(&y) == 11)
        EXPLORE(data == 7);
}

/* The release sequence goes on through the addition. */
const struct explore_scenario litmus_data_sequence = {
    .name = "litmus.data-sequence",
    .checks = "explorer",
    .threads = {send_release, add_ten, receive_11},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

/* ---- fences and plain data ---- */

static void send_full(void)
{
    data = 7;
    full();
    put(&y, 1);
}

static void receive_full(void)
{
    if (get(&y) != 1)
        return;
    full();
    EXPLORE(data == 7);
}

static void send_behind_fence(void)
{
    full();
    data = 7;
    put(&y, 1);
}

/* So does a fence: what is between it and the flag is not. */
const struct explore_scenario litmus_data_behind_full = {
    .name = "litmus.data-behind-full",
    .checks = "explorer",
    .threads = {send_behind_fence, receive_full},
    .must_fail = "data race",
};

static void send_light(void)
{
    data = 7;
    light();
    put(&y, 1);
}

static void receive_heavy(void)
{
    if (get(&y) != 1)
        return;
    heavy();
    EXPLORE(data == 7);
}

const struct explore_scenario litmus_data_full = {
    .name = "litmus.data-full",
    .checks = "explorer",
    .threads = {send_full, receive_full},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

/* C11 knows no process-wide barrier: data is not published by one. */
const struct explore_scenario litmus_data_light_heavy = {
    .name = "litmus.data-light-heavy",
    .checks = "explorer",
    .threads = {send_light, receive_heavy},
    .must_fail = "data race",
};

static void enter_left(void)
{
    put(&x, 1);
    full();
    if (get(&y) == 0)
        data = 1;
}

static void enter_right(void)
{
    put(&y, 1);
    full();
    if (get(&x) == 0)
        data = 2;
}

/* At most one gets in, so nothing races though nothing synchronises. */
const struct explore_scenario litmus_data_one_enters = {
    .name = "litmus.data-one-enters",
    .checks = "explorer",
    .threads = {enter_left, enter_right},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

static void leave_left(void)
{
    put(&x, 1);
    full();
    if (get(&y) == 0)
        data = 1;
    put(&x, 0);
}

/* A full fence orders what it stands between, but who enters later must acquire: it does not here. */
const struct explore_scenario litmus_data_leaves_relaxed = {
    .name = "litmus.data-leaves-relaxed",
    .checks = "explorer",
    .threads = {leave_left, enter_right},
    .must_fail = "data race: a plain write by thread 1, and a plain write",
};

/* ---- three threads: each pair must be ordered, not just those next to each other ---- */

static void write_left(void)
{
    data = 1;
    put_release(&x, 1);
}

static void write_middle(void)
{
    if (get_acquire(&x) == 1) {
        data = 2;
        put_release(&y, 1);
    }
}

static void write_right(void)
{
    if (get_acquire(&y) == 1)
        data = 3;
}

const struct explore_scenario litmus_data_passed_on = {
    .name = "litmus.data-passed-on",
    .checks = "explorer",
    .threads = {write_left, write_middle, write_right},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

static void read_left(void)
{
    explore_read(&data, sizeof data); /* the compiler sees no use in it */
}

static void read_middle(void)
{
    explore_read(&data, sizeof data);
    put_release(&y, 1);
}

/* The last read before the write was in order; another thread's, earlier, was not. */
const struct explore_scenario litmus_data_earlier_read = {
    .name = "litmus.data-earlier-read",
    .checks = "explorer",
    .threads = {read_left, read_middle, write_right},
    .must_fail = "data race: a plain read by thread 1, and a plain write",
};
