/*
 * fault.h - makes the library's system calls fail, and the system say what a test wants to hear.
 *
 * The linker sends what src/system.h declares through here (-Wl,--wrap=vbuf_sys_mmap and so on). Every
 * call is counted; a call that is to fail never reaches the system and sets errno. One plan per kind of
 * call: a later one replaces the earlier. Any thread; a plan made while others call takes effect
 * somewhere between their calls.
 *
 * Pretences are another matter: the library asks for most facts once in a process, so they are made
 * before its first call, while nobody calls, and outlive fault_clear.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_call {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MPROTECT,
    FAULT_MADVISE,
    FAULT_MEMBARRIER,
    FAULT_MSYNC,
    FAULT_MINCORE,
    FAULT_SET_NAME,
    FAULT_OPEN,
    FAULT_READ,
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

/* Whether the library was built for a system that has this call. */
bool fault_has_call(enum fault_call call);

/* ---- holes ---- */

/* Another thread of the program, as it were: it may map something into the hole. */
typedef void fault_intruder(void *context, void *hole, size_t length);

/*
 * fault_fail_at and fault_fail_from for mmap, where a call with MAP_FIXED fails as badly as a system
 * may let it: the old mapping is gone. `intruder` (may be NULL) is called before the failing call
 * returns, on its thread. Only to be planned while nobody calls.
 */
void fault_leave_hole_at(uint64_t nth, int error, fault_intruder *intruder, void *context);
void fault_leave_holes_from(uint64_t nth, int error, fault_intruder *intruder, void *context);

/* ---- pretences ---- */

/* mmap does not know these flags, as a kernel older than they are; 0: it knows all. */
void fault_forget_map_flags(int flags);

/* The system can name memory. It notes the names instead of setting them. */
void fault_pretend_names(void);

struct fault_naming {
    void *address;
    size_t length;
    char name[96]; /* "" for no name */
};

/* How many were noted, and one of them. fault_forget_namings starts anew. */
size_t fault_naming_count(void);
struct fault_naming fault_naming(size_t index);
void fault_forget_namings(void);

/*
 * Files whose path begins with `path` hold `text`, less than 4 KiB of it; or are not there if it is
 * NULL. The latest that fits counts. The strings are not copied.
 */
void fault_pretend_file(const char *path, const char *text);
void fault_pretend_no_files(void); /* all are as they are */

/* A read gives at most so many bytes; 0: what it gives. */
void fault_shorten_reads(size_t most);

#endif
