/*
 * litmus_bytes.c - races and the layout of memory: neighbours, copies, atomics accessed plainly.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "litmus.h"

/* ---- neighbours ---- */

static struct {
    uint32_t first, second;
    uint8_t bytes[4];
} parts;

static void write_first(void)
{
    parts.first = 1;
}

static void write_second(void)
{
    parts.second = 1;
}

static void write_bytes(void)
{
    parts.bytes[explore_self() - 1] = 1;
}

/* Different bytes of one word are different objects. */
const struct explore_scenario litmus_neighbours = {
    .name = "litmus.neighbours",
    .checks = "explorer",
    .threads = {write_first, write_second},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

const struct explore_scenario litmus_neighbour_bytes = {
    .name = "litmus.neighbour-bytes",
    .checks = "explorer",
    .threads = {write_bytes, write_bytes, write_bytes},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

static void write_both(void)
{
    parts.first = 1;
    parts.second = 1;
    put(&y, 1);
}

static void read_first(void)
{
    if (get(&y) == 1)
        r1 = parts.first;
}

/* The write of the neighbour does not cover up the first one. */
const struct explore_scenario litmus_write_covered = {
    .name = "litmus.write-covered",
    .checks = "explorer",
    .threads = {write_both, read_first},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};

static void read_both(void)
{
    explore_read(&parts.first, sizeof parts.first); /* the compiler would read both at once */
    put_release(&x, 1);
    explore_read(&parts.second, sizeof parts.second);
    put(&y, 1);
}

static void write_first_later(void)
{
    if (get(&y) == 1)
        parts.first = 1;
}

/* Nor does a read, later on. */
const struct explore_scenario litmus_read_covered = {
    .name = "litmus.read-covered",
    .checks = "explorer",
    .threads = {read_both, write_first_later},
    .must_fail = "data race: a plain read by thread 1, and a plain write",
};

static void write_first_send_second(void)
{
    parts.first = 1;
    put_release(&y, 1);
    parts.second = 1;
}

static void receive_first(void)
{
    if (get_acquire(&y) == 1)
        parts.first = 2;
}

/* A later write, of the neighbour, is not published, and need not be. */
const struct explore_scenario litmus_neighbour_later = {
    .name = "litmus.neighbour-later",
    .checks = "explorer",
    .threads = {write_first_send_second, receive_first},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

/* ---- copies ---- */

static struct {
    uint64_t words[5];
} whole, copy;

static void write_last_word(void)
{
    whole.words[4] = 1;
    put(&y, 1);
}

static void copy_whole(void)
{
    if (get(&y) == 1)
        copy = whole;
}

static void move_whole(void)
{
    if (get(&y) == 1)
        memmove(&copy, &whole, sizeof whole);
}

static void compare_whole(void)
{
    if (get(&y) == 1)
        r1 = memcmp(&copy, &whole, sizeof whole) == 0;
}

/* clang before 15 does not tell of the copy of a struct: there, such a race is missed. */
#if defined(__clang_major__) && __clang_major__ < 15
#define COPY_RACE NULL
#else
#define COPY_RACE "data race: a plain write by thread 1, and a plain read"
#endif

/* A copy reads every byte. */
const struct explore_scenario litmus_copy = {
    .name = "litmus.copy",
    .checks = "explorer",
    .threads = {write_last_word, copy_whole},
    .must_fail = COPY_RACE,
};

const struct explore_scenario litmus_copy_move = {
    .name = "litmus.copy-move",
    .checks = "explorer",
    .threads = {write_last_word, move_whole},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};

const struct explore_scenario litmus_copy_compare = {
    .name = "litmus.copy-compare",
    .checks = "explorer",
    .threads = {write_last_word, compare_whole},
    .must_fail = "data race: a plain write by thread 1, and a plain read",
};

/* ---- an atomic accessed plainly ---- */

static void read_x_plainly(void)
{
    r1 = x.raw;
}

static void write_x_plainly(void)
{
    x.raw = 1;
}

static void get_x(void)
{
    r2 = get(&x);
}

static void put_x(void)
{
    put(&x, 2);
}

static void add_x(void)
{
    vbuf_u32_fetch_add_relaxed(&x, 1);
}

static void cas_x_fails(void)
{
    uint32_t expected = 7;
    vbuf_u32_cas_acquire(&x, &expected, 8);
}

const struct explore_scenario litmus_plain_write_get = {
    .name = "litmus.plain-write-get",
    .checks = "explorer",
    .threads = {get_x, write_x_plainly},
    .must_fail = "data race: an atomic read by thread 1, and a plain write",
};

const struct explore_scenario litmus_plain_read_put = {
    .name = "litmus.plain-read-put",
    .checks = "explorer",
    .threads = {put_x, read_x_plainly},
    .must_fail = "data race: an atomic write by thread 1, and a plain read",
};

const struct explore_scenario litmus_plain_read_add = {
    .name = "litmus.plain-read-add",
    .checks = "explorer",
    .threads = {read_x_plainly, add_x},
    .must_fail = "data race: a plain read by thread 1, and an atomic write",
};

/* Reads do not race, and an exchange that fails is one. */
const struct explore_scenario litmus_plain_read_get = {
    .name = "litmus.plain-read-get",
    .checks = "explorer",
    .threads = {read_x_plainly, get_x, cas_x_fails},
    .finish = print_fine,
    .bounds = ALL_RUNS,
    .outcomes = {"fine"},
};

static void renew_x(void)
{
    put(&x, 1);
    put(&x, 2);
    x.raw = 3; /* nobody else has it yet */
    put_release(&y, 1);
}

static void get_renewed(void)
{
    r1 = get_acquire(&y) == 1 ? get(&x) : 3;
}

static void print_1(void)
{
    explore_outcome("%u", r1);
}

/* What was stored before an atomic was initialised again is never read. */
const struct explore_scenario litmus_renewed = {
    .name = "litmus.renewed",
    .checks = "explorer",
    .threads = {renew_x, get_renewed},
    .finish = print_1,
    .bounds = ALL_RUNS,
    .outcomes = {"3"},
};
