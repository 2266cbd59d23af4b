/*
 * wait_poll.c - an event count for systems where the library knows no call to sleep on a word: a waiter sleeps
 * a millisecond at a time, less at first, and looks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "system.h"
#include "wait.h"

uint32_t vbuf_event_value(const struct vbuf_atomic_u32 *event)
{
    return vbuf_u32_load_acquire(event); /* pairs with the add in vbuf_event_signal */
}

void vbuf_event_wait(struct vbuf_atomic_u32 *event, uint32_t value, int64_t deadline)
{
    for (unsigned round = 0; vbuf_event_value(event) == value && vbuf_sys_now() < deadline; round++)
        vbuf_sys_relax(round);
}

void vbuf_event_signal(struct vbuf_atomic_u32 *event)
{
    vbuf_u32_fetch_add_acq_rel(event, 1); /* pairs with the load in vbuf_event_value */
}
