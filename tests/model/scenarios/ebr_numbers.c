/*
 * ebr_numbers.c - dense thread numbers: one holder at a time, and what is kept under a number goes from holder
 * to holder whole.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>

#include "explore.h"
#include "threads.h"

#define THREADS 3

static unsigned kept[THREADS + 2]; /* by number; plain: a race if holders are not ordered */
static unsigned holders;

static void set_up(void)
{
    EXPLORE(vbuf_thread_number() == 1);
}

/* A number may be refused; then there is none, and it is not lost. */
static void hold(void)
{
    uint32_t number;
    do {
        number = vbuf_thread_number();
    } while (number == 0);
    EXPLORE(number > 1 && number <= THREADS + 1);
    EXPLORE(vbuf_thread_number() == number);
    EXPLORE(vbuf_thread_numbers_used() > number);
    unsigned before = kept[number]++;
    explore_yield();
    EXPLORE(kept[number] == before + 1);
}

static void finish(void)
{
    EXPLORE(vbuf_thread_number() == 1);
    for (unsigned i = 0; i < THREADS + 2; i++)
        holders += kept[i];
    EXPLORE(holders == 2 || holders == THREADS);
}

const struct explore_scenario ebr_numbers_two = {
    .name = "ebr.numbers-two",
    .checks = "E3",
    .set_up = set_up,
    .threads = {hold, hold},
    .finish = finish,
};

const struct explore_scenario ebr_numbers_three = {
    .name = "ebr.numbers-three",
    .checks = "E3",
    .set_up = set_up,
    .threads = {hold, hold, hold},
    .finish = finish,
    .bounds = {.together = 2},
};
