/*
 * shift.c - a canary for UndefinedBehaviorSanitizer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

TEST(canary, shift)
{
    volatile int distance = 40;
    volatile int shifted = 1 << distance;
    CHECK(shifted == 0 || shifted != 0);
}
