/*
 * ebr_numbers.c - dense thread numbers: one holder at a time, and what is kept under a number goes from holder
 * to holder whole.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>

#include "explore.h"
#include "threads.h"

#define MOST 4

static unsigned kept[MOST + 1]; /* by number; plain: a race if holders are not ordered */
static unsigned holders, most;  /* numbers that there should be */

static void set_up_two(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    most = 3;
}

static void set_up_three(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    most = MOST;
}

/* A number may be refused; then there is none, and it is not lost. */
static void hold(void)
{
    uint32_t number;
    do {
        number = vbuf_thread_number();
    } while (number == 0);
    EXPLORE(number > 1 && number <= most);
    EXPLORE(vbuf_thread_number() == number);
    EXPLORE(vbuf_thread_numbers_used() > number);
    unsigned before = kept[number]++;
    explore_yield();
    EXPLORE(kept[number] == before + 1);
}

static void finish(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    for (unsigned i = 0; i < MOST + 1; i++)
        holders += kept[i];
    EXPLORE(holders == most - 1);
}

const struct explore_scenario ebr_numbers_two = {
    .name = "ebr.numbers-two",
    .checks = "E3",
    .set_up = set_up_two,
    .threads = {hold, hold},
    .finish = finish,
};

const struct explore_scenario ebr_numbers_three = {
    .name = "ebr.numbers-three",
    .checks = "E3",
    .set_up = set_up_three,
    .threads = {hold, hold, hold},
    .finish = finish,
    .bounds = {.together = 2},
};
