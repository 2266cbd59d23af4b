/*
 * fence_posix.c - POSIX has no process-wide barrier: readers issue a real fence.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/fence.h"

enum vbuf_fence_kind vbuf_fence_kind(void)
{
    return VBUF_FENCE_FULL;
}

bool vbuf_fence_heavy(void)
{
    vbuf_fence_full();
    return true;
}
