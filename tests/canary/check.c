/*
 * check.c - a canary: a check that fails. A runner that calls this a success sees nothing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

TEST(canary, check)
{
    CHECK(1 + 1 == 3);
}
