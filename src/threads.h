/*
 * threads.h - dense thread numbers.
 *
 * A thread gets the lowest free number of the process when it first needs one, from 1 up, and gives
 * it back when it exits. Whatever is kept per thread (a record in a domain, lists in a map) is
 * indexed by that number, so no thread-local storage names a domain or a map, and they may come and
 * go in any order.
 *
 * A number is an ownership: its holder is the owner of what is kept under it, from the moment that it
 * takes the number, and sees everything that the last holder did there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_THREADS_H
#define VBUF_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "vbuf/ebr.h"

#define VBUF_THREAD_NUMBERS 4096 /* 0 is nobody's */

/* The calling thread's number, taken now if it has none; 0 iff none is left. Never blocks. */
uint32_t vbuf_thread_number(void);

/* For tests as well: what the calling thread keeps of its number. */
static inline void vbuf_thread_set_number(uint32_t number)
{
    vbuf_self_.id = number;
    vbuf_self_.record_ = number * EBR_RECORD_STRIDE_;
}

/* One more than the highest number ever held: what a scan over threads must cover. */
uint32_t vbuf_thread_numbers_used(void);

/* Has hook(number) run on every thread that exits, before its number is given back. Set once. */
void vbuf_thread_on_exit(void (*hook)(uint32_t number));

#endif
