/*
 * leak.c - a canary for LeakSanitizer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

static void *volatile kept;

TEST(canary, leak)
{
    kept = malloc(1234);
    CHECK(kept != NULL);
    kept = NULL; /* the only pointer to it */
}
