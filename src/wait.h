/*
 * wait.h - an event count: threads sleep until it changes, others change it.
 *
 * wait_ck.c implements it with Concurrency Kit's ck_ec; wait_poll.c, where that is not there, by
 * sleeping in short slices. An event is a word that starts as 0; only these calls touch it.
 *
 *      waiter   value = vbuf_event_value(e);  look;  vbuf_event_wait(e, value, deadline);  look again
 *      waker    change what they look at;  vbuf_event_signal(e)
 *
 * A signal after the value was taken ends the wait. What orders the look and the change is the caller's
 * affair: nothing is published through an event.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_WAIT_H
#define VBUF_WAIT_H

#include <stdint.h>

#include "vbuf/atomic.h"

#define VBUF_NO_DEADLINE INT64_MAX

uint32_t vbuf_event_value(const struct vbuf_atomic_u32 *event);

/* Sleeps while the value is `value`, until the deadline, of vbuf_sys_now, at most. May return early. */
void vbuf_event_wait(struct vbuf_atomic_u32 *event, uint32_t value, int64_t deadline);

/* Changes the value and wakes everybody. Costs a system call only if somebody sleeps. */
void vbuf_event_signal(struct vbuf_atomic_u32 *event);

#endif
