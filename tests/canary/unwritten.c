/*
 * unwritten.c - a canary for valgrind: a decision by memory that nobody wrote.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

TEST(canary, unwritten)
{
    int *volatile kept = malloc(sizeof(int));
    volatile int *number = kept;
    REQUIRE(number != NULL);
    CHECK(*number == 1 || *number != 1);
    if (*number > 1)
        kept = NULL;
    free((void *)number);
}
