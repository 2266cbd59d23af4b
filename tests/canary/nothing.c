/*
 * nothing.c - a canary: a test that passes, run under a filter that matches nothing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

TEST(canary, nothing)
{
    CHECK(true);
}
