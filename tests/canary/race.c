/*
 * race.c - a canary for ThreadSanitizer: two threads, one int, no order between them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <pthread.h>

static int counter;

static void *count(void *unused)
{
    (void)unused;
    counter++;
    return NULL;
}

TEST(canary, race)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, count, NULL) == 0);
    counter++;
    pthread_join(thread, NULL);
    CHECK(counter > 0);
}
