/*
 * use_after_free.c - a canary for AddressSanitizer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

TEST(canary, use_after_free)
{
    volatile int *number = malloc(sizeof(*number));
    REQUIRE(number != NULL);
    *number = 1;
    free((void *)number);
    CHECK(*number == 1 || *number != 1);
}
