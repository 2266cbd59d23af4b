/*
 * system_posix.c - system.h with nothing but POSIX.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _DEFAULT_SOURCE /* a C library older than POSIX.1-2024 hides MAP_ANONYMOUS without it */
#include "system.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

void *vbuf_sys_mmap(void *address, size_t length, int protection, int flags)
{
    return mmap(address, length, protection, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int vbuf_sys_munmap(void *address, size_t length)
{
    return munmap(address, length);
}

int vbuf_sys_mprotect(void *address, size_t length, int protection)
{
    return mprotect(address, length, protection);
}

int vbuf_sys_msync(void *address, size_t length, int flags)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    int result = msync(address, length, flags);
    pthread_setcancelstate(state, NULL);
    return result;
}

int64_t vbuf_sys_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* POSIX numbers no threads; a thread's own variables have an address of their own. */
uint64_t vbuf_sys_thread_id(void)
{
    static __thread char here;
    return (uintptr_t)&here;
}

void vbuf_sys_relax(unsigned round)
{
    if (round < 16) {
        sched_yield();
        return;
    }
    unsigned doublings = round - 16 < 10 ? round - 16 : 10;
    struct timespec pause = {.tv_nsec = 1000L << doublings}; /* 1 us up to 1 ms */
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    nanosleep(&pause, NULL);
    pthread_setcancelstate(state, NULL);
}
