/*
 * thread_check.c - a canary: a check that fails on a thread other than the test's own.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <pthread.h>

static void *fail(void *unused)
{
    (void)unused;
    CHECK_EQ(-1, UINT64_MAX);
    return NULL;
}

TEST(canary, thread_check)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fail, NULL) == 0);
    pthread_join(thread, NULL);
}
