/*
 * system.h - every call into the operating system, each by one name.
 *
 * A seam: these are ordinary functions in a file of their own, so a linker can put others in their
 * place (-Wl,--wrap=vbuf_sys_mprotect makes one fail), and a schedule explorer can link its own
 * file instead. Each behaves as the system call it is named after, errno included; but none is a cancellation
 * point: a thread that is cancelled in the middle of a call of ours would leave it half done.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_SYSTEM_H
#define VBUF_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* POSIX has these; system_posix.c holds just them. */

void *vbuf_sys_mmap(void *address, size_t length, int protection, int flags); /* anonymous memory */
int vbuf_sys_munmap(void *address, size_t length);
int vbuf_sys_mprotect(void *address, size_t length, int protection);
int vbuf_sys_msync(void *address, size_t length, int flags);

/* Nanoseconds of a clock that only goes forward. */
int64_t vbuf_sys_now(void);
/* A number for the calling thread that no other living thread has: the system's, where there is one. */
uint64_t vbuf_sys_thread_id(void);
/* Lets others run for a moment: yields when `round` is small, sleeps up to a millisecond later on. */
void vbuf_sys_relax(unsigned round);

/* Linux has these as well. */

int vbuf_sys_madvise(void *address, size_t length, int advice);
int vbuf_sys_mincore(void *address, size_t length, unsigned char *pages);
int vbuf_sys_set_name(void *address, size_t length,
                      const char *name); /* prctl PR_SET_VMA_ANON_NAME */
int vbuf_sys_membarrier(int command);
struct timespec;
/* Sleeps while *word is `expected`, until the deadline of vbuf_sys_now's clock, if there is one. */
long vbuf_sys_futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *deadline);
long vbuf_sys_futex_wake(const uint32_t *word); /* everybody */
int vbuf_sys_open(const char *path);            /* for reading */
long vbuf_sys_read(int file, char *text, size_t size);
int vbuf_sys_close(int file);

#endif
