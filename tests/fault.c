/*
 * fault.c - the wrapped system calls, the plans that fail them, and what they pretend.
 *
 * Each kind of call has a counter, and a plan that is read with the number a call drew. A plan is taken
 * out of force before it is changed and put back last, so no call sees half of one. Sequences do not
 * matter across kinds; acquire and release are for the plan's own fields.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../src/system.h"
#include "build_kind.h"
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

/* The plan for mmap leaves holes. The other two are read only while it does. */
static struct vbuf_atomic_u32 leaves_holes;
static fault_intruder *hole_intruder;
static void *hole_context;

static struct fault_plan *take_out(enum fault_call call, uint64_t nth, int error)
{
    struct fault_plan *plan = &plans[call];
    vbuf_u32_store_release(&plan->mode, FAULT_NEVER);
    if (call == FAULT_MMAP)
        vbuf_u32_store_relaxed(&leaves_holes, false);
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

static void leave_holes(uint64_t nth, int error, fault_intruder *intruder, void *context,
                        enum fault_mode mode)
{
    struct fault_plan *plan = take_out(FAULT_MMAP, nth, error);
    hole_intruder = intruder;
    hole_context = context;
    vbuf_u32_store_relaxed(&leaves_holes, true);
    put_in_force(plan, mode);
}

void fault_leave_hole_at(uint64_t nth, int error, fault_intruder *intruder, void *context)
{
    leave_holes(nth, error, intruder, context, FAULT_ONCE);
}

void fault_leave_holes_from(uint64_t nth, int error, fault_intruder *intruder, void *context)
{
    leave_holes(nth, error, intruder, context, FAULT_FROM);
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

/* ---- pretences: written while nobody calls ---- */

static int forgotten_map_flags;

void fault_forget_map_flags(int flags)
{
    forgotten_map_flags = flags;
}

#define NAMINGS_MOST 256

static bool has_pretended_names;
static struct fault_naming namings[NAMINGS_MOST];
static struct vbuf_atomic_u64 naming_count;

void fault_pretend_names(void)
{
    has_pretended_names = true;
}

size_t fault_naming_count(void)
{
    return (size_t)vbuf_u64_load_relaxed(&naming_count);
}

struct fault_naming fault_naming(size_t index)
{
    return namings[index];
}

void fault_forget_namings(void)
{
    vbuf_u64_store_relaxed(&naming_count, 0);
}

static void note_naming(void *address, size_t length, const char *name)
{
    uint64_t index = vbuf_u64_fetch_add_relaxed(&naming_count, 1);
    if (index >= NAMINGS_MOST)
        abort(); /* a test that makes so many looks at none */
    namings[index] = (struct fault_naming){.address = address, .length = length};
    if (name != NULL)
        strncpy(namings[index].name, name, sizeof namings[index].name - 1);
}

struct pretended_file {
    const char *path;
    const char *text;
};

#define FILES_MOST 64

static struct pretended_file files[FILES_MOST];
static size_t file_count;
static size_t most_to_read;

void fault_pretend_file(const char *path, const char *text)
{
    if (file_count == FILES_MOST)
        abort();
    files[file_count++] = (struct pretended_file){path, text};
}

void fault_pretend_no_files(void)
{
    file_count = 0;
}

void fault_shorten_reads(size_t most)
{
    most_to_read = most;
}

/* A pipe with the text in it reads and closes as a file does. */
static int open_text(const char *text)
{
    int ends[2];
    size_t length = strlen(text);
    if (pipe(ends) != 0)
        abort();
    if (length > 4096 || write(ends[1], text, length) != (ssize_t)length)
        abort();
    close(ends[1]);
    return ends[0];
}

/* ---- the calls ---- */

/* The linker's names: __wrap_X is called instead of X, and __real_X is X. */
void *__real_vbuf_sys_mmap(void *address, size_t length, int protection, int flags);
int __real_vbuf_sys_munmap(void *address, size_t length);
int __real_vbuf_sys_mprotect(void *address, size_t length, int protection);
int __real_vbuf_sys_msync(void *address, size_t length, int flags);
/* Not there on every system. */
int __real_vbuf_sys_madvise(void *address, size_t length, int advice) __attribute__((weak));
int __real_vbuf_sys_membarrier(int command) __attribute__((weak));
int __real_vbuf_sys_mincore(void *address, size_t length, unsigned char *pages)
    __attribute__((weak));
int __real_vbuf_sys_set_name(void *address, size_t length, const char *name) __attribute__((weak));
int __real_vbuf_sys_open(const char *path) __attribute__((weak));
long __real_vbuf_sys_read(int file, char *text, size_t size) __attribute__((weak));
void *__wrap_vbuf_sys_mmap(void *address, size_t length, int protection, int flags);
int __wrap_vbuf_sys_munmap(void *address, size_t length);
int __wrap_vbuf_sys_mprotect(void *address, size_t length, int protection);
int __wrap_vbuf_sys_madvise(void *address, size_t length, int advice);
int __wrap_vbuf_sys_membarrier(int command);
int __wrap_vbuf_sys_msync(void *address, size_t length, int flags);
int __wrap_vbuf_sys_mincore(void *address, size_t length, unsigned char *pages);
int __wrap_vbuf_sys_set_name(void *address, size_t length, const char *name);
int __wrap_vbuf_sys_open(const char *path);
long __wrap_vbuf_sys_read(int file, char *text, size_t size);

bool fault_has_call(enum fault_call call)
{
    switch (call) {
    case FAULT_MADVISE:
        return __real_vbuf_sys_madvise != NULL;
    case FAULT_MEMBARRIER:
        return __real_vbuf_sys_membarrier != NULL;
    case FAULT_MINCORE:
        return __real_vbuf_sys_mincore != NULL;
    case FAULT_SET_NAME:
        return __real_vbuf_sys_set_name != NULL;
    case FAULT_OPEN:
        return __real_vbuf_sys_open != NULL;
    case FAULT_READ:
        return __real_vbuf_sys_read != NULL;
    default: /* POSIX has the others */
        return call < FAULT_CALLS;
    }
}

/* Keeps errno: it is the failing call's. */
static void leave_hole(void *address, size_t length)
{
    int error = errno;
    if (__real_vbuf_sys_munmap(address, length) != 0)
        abort();
    if (hole_intruder != NULL)
        hole_intruder(hole_context, address, length);
    errno = error;
}

void *__wrap_vbuf_sys_mmap(void *address, size_t length, int protection, int flags)
{
    if (!fails(FAULT_MMAP))
        return __real_vbuf_sys_mmap(address, length, protection, flags & ~forgotten_map_flags);
    if ((flags & MAP_FIXED) != 0 && vbuf_u32_load_relaxed(&leaves_holes)) /* after fails' acquire */
        leave_hole(address, length);
    return MAP_FAILED;
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

/* For valgrind, which reports msync of memory without access. This tells the same, on Linux. */
static int sync_nothing(char *address, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char ignored;
    for (size_t offset = 0; offset < length; offset += page) {
        if (mincore(address + offset, page, &ignored) != 0)
            return -1;
    }
    return 0;
}

int __wrap_vbuf_sys_msync(void *address, size_t length, int flags)
{
    if (fails(FAULT_MSYNC))
        return -1;
    if (running_in_valgrind())
        return sync_nothing(address, length);
    return __real_vbuf_sys_msync(address, length, flags);
}

int __wrap_vbuf_sys_mincore(void *address, size_t length, unsigned char *pages)
{
    return fails(FAULT_MINCORE) ? -1 : __real_vbuf_sys_mincore(address, length, pages);
}

int __wrap_vbuf_sys_set_name(void *address, size_t length, const char *name)
{
    if (fails(FAULT_SET_NAME))
        return -1;
    if (!has_pretended_names)
        return __real_vbuf_sys_set_name(address, length, name);
    if (length != 0) /* else it is the question whether there are names */
        note_naming(address, length, name);
    return 0;
}

int __wrap_vbuf_sys_open(const char *path)
{
    if (fails(FAULT_OPEN))
        return -1;
    for (size_t i = file_count; i-- > 0;) {
        if (strncmp(path, files[i].path, strlen(files[i].path)) != 0)
            continue;
        if (files[i].text != NULL)
            return open_text(files[i].text);
        errno = ENOENT;
        return -1;
    }
    return __real_vbuf_sys_open(path);
}

long __wrap_vbuf_sys_read(int file, char *text, size_t size)
{
    if (fails(FAULT_READ))
        return -1;
    if (most_to_read != 0 && most_to_read < size)
        size = most_to_read;
    return __real_vbuf_sys_read(file, text, size);
}
