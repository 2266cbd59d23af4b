/*
 * system.c - the operating system, the fence and the C library, as the explorer sees them.
 *
 * Pages are small, so that few elements make a vector grow. Any call that may fail is a choice. Sleeping
 * blocks the fibre; the clock moves when somebody looks, or when nothing else can.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "seam_atomic.h"
#include "seam_fence.h"
#include "vbuf/ebr.h"
#include "vbuf/fence.h"
#include "wait.h"

#define PAGE_SIZE 256

static bool fails(void)
{
    if (is_outside() || choose(CHOICE_FAILURE, 2) == 0)
        return false;
    trace(__builtin_return_address(0), "the system refuses");
    errno = ENOMEM;
    engine->refusals++;
    return true;
}

unsigned explore_refusals(void)
{
    return engine->refusals;
}

static void system_call(void *caller, const char *name, const void *address, size_t length)
{
    step(true);
    trace(caller, "%s %p, %zu bytes", name, address, length);
}

#define HERE __builtin_return_address(0)

/* ---- memory ---- */

void *vbuf_sys_mmap(void *address, size_t length, int protection, int flags)
{
    system_call(HERE, "mmap", address, length);
    if (fails())
        return MAP_FAILED;
    if (flags & MAP_FIXED) {
        space_decommit(address, length);
        return address;
    }
    if (flags & MAP_FIXED_NOREPLACE) {
        errno = EEXIST;
        return MAP_FAILED;
    }
    void *fresh = space_reserve(length, protection & PROT_READ);
    if (fresh == NULL)
        errno = ENOMEM;
    return fresh != NULL ? fresh : MAP_FAILED;
}

int vbuf_sys_munmap(void *address, size_t length)
{
    system_call(HERE, "munmap", address, length);
    if (!space_is_reserved(address, length))
        explore_fail("munmap of what is not reserved: %p", address);
    space_release(address, length);
    return 0;
}

int vbuf_sys_mprotect(void *address, size_t length, int protection)
{
    system_call(HERE, "mprotect", address, length);
    if (!space_is_reserved(address, length))
        explore_fail("mprotect of what is not reserved: %p", address);
    if (fails())
        return -1;
    if (protection != PROT_NONE)
        space_commit(address, length);
    return 0;
}

int vbuf_sys_msync(void *address, size_t length, int flags)
{
    (void)flags;
    if (space_is_reserved(address, length))
        return 0;
    errno = ENOMEM;
    return -1;
}

int vbuf_sys_madvise(void *address, size_t length, int advice)
{
    (void)advice;
    if (!is_outside() && length != 0 && !space_is_reserved(address, length))
        explore_fail("madvise of what is not reserved: %p", address);
    return 0;
}

static int not_there(void)
{
    errno = ENOSYS;
    return -1;
}

int vbuf_sys_mincore(void *address, size_t length, unsigned char *pages)
{
    (void)address, (void)length, (void)pages;
    return not_there();
}

int vbuf_sys_set_name(void *address, size_t length, const char *name)
{
    (void)address, (void)length, (void)name;
    return not_there();
}

int vbuf_sys_open(const char *path)
{
    (void)path;
    errno = ENOENT;
    return -1;
}

long vbuf_sys_read(int file, char *text, size_t size)
{
    (void)file, (void)text, (void)size;
    return not_there();
}

int vbuf_sys_close(int file)
{
    (void)file;
    return not_there();
}

int vbuf_sys_membarrier(int command)
{
    (void)command;
    return not_there();
}

long seam_sysconf(int name);
long seam_sysconf(int name)
{
    return name == _SC_PAGESIZE ? PAGE_SIZE : sysconf(name);
}

/* ---- time and threads ---- */

int64_t vbuf_sys_now(void)
{
    return is_outside() ? 0 : ++engine->time;
}

void explore_sleep(int64_t nanoseconds)
{
    engine->time += nanoseconds;
}

uint64_t vbuf_sys_thread_id(void)
{
    return is_outside() ? 1 : 100 + engine->current;
}

void vbuf_sys_relax(unsigned round)
{
    (void)round;
    explore_yield();
}

/* ---- the fence ---- */

enum vbuf_fence_kind vbuf_fence_kind(void)
{
    return !is_outside() && engine->scenario->full_fence ? VBUF_FENCE_FULL
                                                         : VBUF_FENCE_PROCESS_WIDE;
}

bool vbuf_fence_heavy(void)
{
    if (is_outside())
        return true;
    if (vbuf_fence_kind() == VBUF_FENCE_FULL) {
        seam_fence_full();
        return true;
    }
    step(true);
    if (engine->scenario->barriers_fail && fails())
        return false;
    trace(HERE, "heavy fence");
    engine->heavy_fences++;
    memory_heavy_fence();
    return true;
}

unsigned explore_heavy_fences(void)
{
    return engine->heavy_fences;
}

/* ---- wait.h ---- */

uint32_t vbuf_event_value(const struct vbuf_atomic_u32 *event)
{
    return vbuf_u32_load_acquire(event); /* as ck_ec's */
}

struct sleeper {
    const struct vbuf_atomic_u32 *event;
    uint32_t value;
};

static bool has_changed(const void *context)
{
    const struct sleeper *sleeper = context;
    return sleeper->event->raw != sleeper->value; /* the system looks at the word itself */
}

void vbuf_event_wait(struct vbuf_atomic_u32 *event, uint32_t value, int64_t deadline)
{
    step(true);
    if (deadline == VBUF_NO_DEADLINE && choose(CHOICE_FAILURE, 2) != 0) {
        trace(HERE, "wakes early");
        return;
    }
    trace(HERE, "sleeps while %p is %u", (void *)event, value);
    bool woken = block(has_changed, &(struct sleeper){event, value}, deadline != VBUF_NO_DEADLINE);
    if (!woken && deadline != VBUF_NO_DEADLINE && engine->time < deadline)
        engine->time = deadline;
    trace(HERE, woken ? "wakes" : "wakes: its time is up");
}

void vbuf_event_signal(struct vbuf_atomic_u32 *event)
{
    vbuf_u32_fetch_add_acq_rel(event, 1);
}

/* ---- POSIX threads ---- */

static bool is_unlocked(const void *mutex)
{
    return *(const uint32_t *)mutex == 0;
}

int seam_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int seam_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    seam_store(mutex, sizeof(uint32_t), 0, __ATOMIC_RELEASE);
    return 0;
}

int seam_mutex_lock(pthread_mutex_t *mutex);
int seam_mutex_lock(pthread_mutex_t *mutex)
{
    while (seam_exchange(mutex, sizeof(uint32_t), 1, __ATOMIC_ACQ_REL) != 0)
        block(is_unlocked, mutex, false);
    return 0;
}

int seam_mutex_unlock(pthread_mutex_t *mutex);
int seam_mutex_unlock(pthread_mutex_t *mutex)
{
    seam_store(mutex, sizeof(uint32_t), 0, __ATOMIC_RELEASE);
    return 0;
}

/* 0: not begun, 1: under way, 2: done. */
static bool is_done(const void *control)
{
    return *(const uint32_t *)control == 2;
}

int seam_once(pthread_once_t *control, void (*function)(void));
int seam_once(pthread_once_t *control, void (*function)(void))
{
    uint32_t begun = 0;
    if (seam_load(control, sizeof begun, __ATOMIC_ACQUIRE) == 2)
        return 0;
    if (seam_cas(control, sizeof begun, &begun, 1, __ATOMIC_ACQ_REL)) {
        function();
        seam_store(control, sizeof begun, 2, __ATOMIC_RELEASE);
        return 0;
    }
    do {
        block(is_done, control, false);
    } while (seam_load(control, sizeof begun, __ATOMIC_ACQUIRE) != 2);
    return 0;
}

static unsigned early_keys;
static void (*early_destructors[MOST_KEYS])(void *);

int seam_key_create(pthread_key_t *key, void (*destructor)(void *));
int seam_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    if (is_outside()) { /* by a constructor: every run begins with it */
        if (early_keys == MOST_KEYS)
            return EAGAIN;
        *key = early_keys;
        early_destructors[early_keys++] = destructor;
        return 0;
    }
    if (engine->keys == MOST_KEYS)
        return EAGAIN;
    *key = engine->keys;
    engine->destructors[engine->keys++] = destructor;
    return 0;
}

int seam_setspecific(pthread_key_t key, const void *value);
int seam_setspecific(pthread_key_t key, const void *value)
{
    if (fails())
        return ENOMEM;
    engine->fibres[engine->current].values[key] = (void *)(uintptr_t)value;
    return 0;
}

/* As left by constructors, or by calls of a run: static, so each run begins with the former. */
#define MOST_FORK_HANDLERS 8
static struct fork_handlers {
    void (*prepare)(void);
    void (*child)(void);
} fork_handlers[MOST_FORK_HANDLERS];
static unsigned fork_handler_count;

int seam_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int seam_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    (void)parent;
    if (fork_handler_count == MOST_FORK_HANDLERS)
        return ENOMEM;
    fork_handlers[fork_handler_count++] = (struct fork_handlers){prepare, child};
    return 0;
}

void system_before_fork(void)
{
    for (unsigned i = fork_handler_count; i > 0; i--) {
        if (fork_handlers[i - 1].prepare != NULL)
            fork_handlers[i - 1].prepare();
    }
}

void system_after_fork(void)
{
    for (unsigned i = 0; i < fork_handler_count; i++) {
        if (fork_handlers[i].child != NULL)
            fork_handlers[i].child();
    }
}

void system_thread_ends(void)
{
    struct fibre *fibre = &engine->fibres[engine->current];
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < engine->keys; i++) {
            void *value = fibre->values[i];
            fibre->values[i] = NULL;
            if (value != NULL)
                engine->destructors[i](value);
        }
    }
}

void explore_end_thread(void)
{
    for (unsigned i = 0; i < engine->keys; i++)
        engine->destructors[i](&vbuf_self_);
    memset(engine->fibres[engine->current].values, 0, sizeof engine->fibres[0].values);
}

void system_begin_run(void)
{
    engine->keys = early_keys;
    memcpy(engine->destructors, early_destructors, sizeof early_destructors);
}

/* ---- the library's thread-local block ---- */

_Static_assert(sizeof(struct vbuf_thread_) <= sizeof((struct fibre){0}.self), "it fits");

void system_save_self(void *to)
{
    memcpy(to, &vbuf_self_, sizeof vbuf_self_);
}

void system_load_self(const void *from)
{
    memcpy(&vbuf_self_, from, sizeof vbuf_self_);
}

/* An assertion of the library, with VBUF_DEBUG. */
void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
    (void)function;
    explore_fail("%s:%u: %s", file, line, assertion);
}
