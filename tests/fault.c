/*
 * fault.c - the wrapped system calls, and the plans that fail them.
 *
 * Each kind of call has a counter, and a plan that is read with the number a call drew. A plan is taken
 * out of force before it is changed and put back last, so no call sees half of one. Sequences do not
 * matter across kinds; acquire and release are for the plan's own fields.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "fault.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "../src/system.h"
#include "vbuf/atomic.h"

enum fault_mode { FAULT_NEVER, FAULT_ONCE, FAULT_FROM, FAULT_RANDOM };

struct fault_plan {
    struct vbuf_atomic_u64 count; /* calls since fault_clear */
    struct vbuf_atomic_u32 mode;  /* an enum fault_mode; written last */
    struct vbuf_atomic_u32 error;
    struct vbuf_atomic_u64 first; /* the count of the first call that the plan concerns */
    struct vbuf_atomic_u64 seed;
    struct vbuf_atomic_u32 per_million;
};

static struct fault_plan plans[FAULT_CALLS];

static struct fault_plan *take_out(enum fault_call call, uint64_t nth, int error)
{
    struct fault_plan *plan = &plans[call];
    vbuf_u32_store_release(&plan->mode, FAULT_NEVER);
    vbuf_u32_store_relaxed(&plan->error, (uint32_t)error);
    vbuf_u64_store_relaxed(&plan->first, vbuf_u64_load_relaxed(&plan->count) + nth);
    return plan;
}

static void put_in_force(struct fault_plan *plan, enum fault_mode mode)
{
    vbuf_u32_store_release(&plan->mode, (uint32_t)mode); /* pairs with the acquire in fails */
}

void fault_clear(void)
{
    for (int i = 0; i < FAULT_CALLS; i++) {
        put_in_force(&plans[i], FAULT_NEVER);
        vbuf_u64_store_relaxed(&plans[i].count, 0);
    }
}

void fault_fail_at(enum fault_call call, uint64_t nth, int error)
{
    put_in_force(take_out(call, nth, error), FAULT_ONCE);
}

void fault_fail_from(enum fault_call call, uint64_t nth, int error)
{
    put_in_force(take_out(call, nth, error), FAULT_FROM);
}

void fault_fail_randomly(enum fault_call call, uint32_t per_million, uint64_t seed, int error)
{
    struct fault_plan *plan = take_out(call, 1, error);
    vbuf_u32_store_relaxed(&plan->per_million, per_million);
    vbuf_u64_store_relaxed(&plan->seed, seed);
    put_in_force(plan, FAULT_RANDOM);
}

uint64_t fault_count(enum fault_call call)
{
    return vbuf_u64_load_relaxed(&plans[call].count);
}

/* Bits that look random, the same for the same number: splitmix64's finisher. */
static uint64_t scramble(uint64_t number)
{
    uint64_t z = (number + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Counts a call; says whether it is to fail, and has set errno then. */
static bool fails(enum fault_call call)
{
    struct fault_plan *plan = &plans[call];
    uint64_t number = vbuf_u64_fetch_add_relaxed(&plan->count, 1) + 1;
    uint32_t mode = vbuf_u32_load_acquire(&plan->mode);
    uint64_t first = vbuf_u64_load_relaxed(&plan->first);
    bool hit = false;
    if (mode == FAULT_ONCE) {
        hit = number == first;
    } else if (mode == FAULT_FROM) {
        hit = number >= first;
    } else if (mode == FAULT_RANDOM) {
        uint64_t draw = scramble(vbuf_u64_load_relaxed(&plan->seed) + scramble(number - first));
        hit = draw % 1000000 < vbuf_u32_load_relaxed(&plan->per_million);
    }
    if (hit)
        errno = (int)vbuf_u32_load_relaxed(&plan->error);
    return hit;
}

/* The linker's names: __wrap_X is called instead of X, and __real_X is X. */
void *__real_vbuf_sys_mmap(void *address, size_t length, int protection, int flags);
int __real_vbuf_sys_munmap(void *address, size_t length);
int __real_vbuf_sys_mprotect(void *address, size_t length, int protection);
/* Not there on every system. */
int __real_vbuf_sys_madvise(void *address, size_t length, int advice) __attribute__((weak));
int __real_vbuf_sys_membarrier(int command) __attribute__((weak));
void *__wrap_vbuf_sys_mmap(void *address, size_t length, int protection, int flags);
int __wrap_vbuf_sys_munmap(void *address, size_t length);
int __wrap_vbuf_sys_mprotect(void *address, size_t length, int protection);
int __wrap_vbuf_sys_madvise(void *address, size_t length, int advice);
int __wrap_vbuf_sys_membarrier(int command);

void *__wrap_vbuf_sys_mmap(void *address, size_t length, int protection, int flags)
{
    if (fails(FAULT_MMAP))
        return MAP_FAILED;
    return __real_vbuf_sys_mmap(address, length, protection, flags);
}

int __wrap_vbuf_sys_munmap(void *address, size_t length)
{
    return fails(FAULT_MUNMAP) ? -1 : __real_vbuf_sys_munmap(address, length);
}

int __wrap_vbuf_sys_mprotect(void *address, size_t length, int protection)
{
    return fails(FAULT_MPROTECT) ? -1 : __real_vbuf_sys_mprotect(address, length, protection);
}

int __wrap_vbuf_sys_madvise(void *address, size_t length, int advice)
{
    return fails(FAULT_MADVISE) ? -1 : __real_vbuf_sys_madvise(address, length, advice);
}

int __wrap_vbuf_sys_membarrier(int command)
{
    return fails(FAULT_MEMBARRIER) ? -1 : __real_vbuf_sys_membarrier(command);
}
