/*
 * fence_linux.c - the process-wide barrier on Linux: membarrier's private expedited command.
 *
 * The kernel interrupts every processor that runs a thread of this process and has it issue a full
 * fence; threads that do not run passed one when they were switched out. So each other thread
 * passes a full fence at one point between two of its instructions, and a compiler barrier there is
 * as good as a fence.
 *
 * The kind is chosen once, in a constructor: registering is quick while there is one thread (12 ms
 * were measured with many), and no pin can come before. Where the call is unknown or filtered,
 * QUERY returns -1, which read as a bit mask would mean that everything is supported.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <linux/membarrier.h>
#include <pthread.h>

#include "system.h"
#include "vbuf/fence.h"

static enum vbuf_fence_kind kind;
static pthread_once_t kind_once = PTHREAD_ONCE_INIT;

static void choose_kind(void)
{
    int commands = vbuf_sys_membarrier(MEMBARRIER_CMD_QUERY);
    kind = VBUF_FENCE_FULL;
    if (commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) &&
        vbuf_sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0)
        kind = VBUF_FENCE_PROCESS_WIDE;
}

enum vbuf_fence_kind vbuf_fence_kind(void)
{
    pthread_once(&kind_once, choose_kind);
    return kind;
}

__attribute__((constructor)) static void choose_kind_early(void)
{
    vbuf_fence_kind();
}

bool vbuf_fence_heavy(void)
{
    if (vbuf_fence_kind() == VBUF_FENCE_FULL) {
        vbuf_fence_full();
        return true;
    }
    return vbuf_sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}
