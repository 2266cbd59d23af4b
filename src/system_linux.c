/*
 * system_linux.c - system.h on Linux.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "system.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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
    return (int)syscall(SYS_msync, address, length, flags);
}

int vbuf_sys_madvise(void *address, size_t length, int advice)
{
    return madvise(address, length, advice);
}

int vbuf_sys_mincore(void *address, size_t length, unsigned char *pages)
{
    return mincore(address, length, pages);
}

int vbuf_sys_set_name(void *address, size_t length, const char *name)
{
#if !defined(PR_SET_VMA)
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
    return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, length, name);
}

int vbuf_sys_open(const char *path)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

long vbuf_sys_read(int file, char *text, size_t size)
{
    return syscall(SYS_read, file, text, size);
}

int vbuf_sys_close(int file)
{
    return (int)syscall(SYS_close, file);
}

int vbuf_sys_membarrier(int command)
{
    return (int)syscall(SYS_membarrier, command, 0, 0);
}

long vbuf_sys_futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *deadline)
{
    return syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, deadline,
                   NULL, FUTEX_BITSET_MATCH_ANY);
}

long vbuf_sys_futex_wake(const uint32_t *word)
{
    return syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

int64_t vbuf_sys_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t vbuf_sys_thread_id(void)
{
    return (uint64_t)syscall(SYS_gettid);
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
