/*
 * fault.h - makes the library's system calls fail.
 *
 * The linker sends what src/system.h declares through here (-Wl,--wrap=vbuf_sys_mmap and so on). Every
 * call is counted; a call that is to fail never reaches the system and sets errno. One plan per kind of
 * call: a later one replaces the earlier. Any thread; a plan made while others call takes effect
 * somewhere between their calls.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdint.h>

enum fault_call {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MPROTECT,
    FAULT_MADVISE,
    FAULT_MEMBARRIER,
    FAULT_CALLS
};

/* All calls go through again; all counters are 0. */
void fault_clear(void);

/* The nth call from now (1: the next) fails once, with errno `error`. */
void fault_fail_at(enum fault_call call, uint64_t nth, int error);

/* The nth call from now and every later one fail, until fault_clear. */
void fault_fail_from(enum fault_call call, uint64_t nth, int error);

/* Every call fails with this probability. The same seed fails the same calls, counted from now. */
void fault_fail_randomly(enum fault_call call, uint32_t per_million, uint64_t seed, int error);

/* Calls made since fault_clear, failed ones included. */
uint64_t fault_count(enum fault_call call);

#endif
