/*
 * plain.c - plain memory, and the address space.
 *
 * Every plain access of the library and of the scenarios calls a function here, because both are compiled
 * with the compiler's -fsanitize=thread and these are the functions it calls; its run-time library is not
 * linked. Followed are reserved memory, allocated objects and static variables; not stacks.
 *
 * Races are found by clocks, as in E. Pozniansky, A. Schuster, "MultiRace" (2007): for every byte, each thread's last
 * plain read, plain write, atomic read and atomic write. A plain write races with all four, a plain read with
 * either write. Cells of 8 bytes keep them; a mask says which bytes a thread has touched at all.
 *
 *      256 GiB of address space:   | reservations ... ->            | objects of explore_alloc ... -> |
 *
 * Nothing is handed out twice in a run, so who uses what was released or freed is caught. The memory is real,
 * readable and writable throughout; what is committed is a list.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

#define SPACE ((char *)0x200000000000)
#define SPACE_SIZE ((size_t)256 << 30)
#define OBJECTS (SPACE + ((size_t)240 << 30))
#define OBJECT_GAP 64
#define CELLS 65536u
#define MOST_RANGES 512
#define MOST_OBJECTS 512

enum kind { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE, KINDS };

struct cell {
    uintptr_t address;
    uint32_t run;
    bool freed;
    uint8_t poisoned;          /* bytes */
    uint64_t touched[KINDS];   /* bit 8 i + b: thread i has touched byte b */
    uint32_t ticks[KINDS][64]; /* when last, by the same numbers; not set where the bit is not */
};

struct range {
    char *begin, *end;
};

struct ranges {
    unsigned count;
    struct range of[MOST_RANGES];
};

struct plain {
    struct ranges reserved, committed;
    char *next, *next_object;
    struct range objects[MOST_OBJECTS]; /* not freed */
    unsigned object_count;
    uint32_t run;
    struct cell cells[CELLS];
};

#define plain (engine->plain)

extern char __data_start[], _end[];

void plain_start(void)
{
    plain = calloc(1, sizeof *plain);
    void *space = mmap(SPACE, SPACE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (plain == NULL || space != SPACE) {
        perror("explorer: no address space");
        exit(2);
    }
}

void plain_begin_run(void)
{
    plain->run++;
    plain->reserved.count = plain->committed.count = 0;
    plain->next = SPACE;
    plain->next_object = OBJECTS;
    plain->object_count = 0;
}

static void make_zero(char *begin, size_t size)
{
    if (size < (1u << 20) || madvise(begin, size, MADV_DONTNEED) != 0)
        memset(begin, 0, size);
}

void plain_end_run(void)
{
    for (unsigned i = 0; i < plain->committed.count; i++)
        make_zero(plain->committed.of[i].begin,
                  (size_t)(plain->committed.of[i].end - plain->committed.of[i].begin));
    make_zero(OBJECTS, (size_t)(plain->next_object - OBJECTS));
}

/* ---- ranges ---- */

static void add_range(struct ranges *ranges, char *begin, char *end)
{
    for (unsigned i = 0; i < ranges->count; i++) { /* joins those it touches */
        struct range *other = &ranges->of[i];
        if (other->begin <= end && begin <= other->end) {
            begin = other->begin < begin ? other->begin : begin;
            end = other->end > end ? other->end : end;
            *other = ranges->of[--ranges->count];
            i = (unsigned)-1;
        }
    }
    if (ranges->count == MOST_RANGES)
        explore_fail("the explorer has no room for more mappings");
    ranges->of[ranges->count++] = (struct range){begin, end};
}

static void remove_range(struct ranges *ranges, char *begin, char *end)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        struct range whole = ranges->of[i];
        if (whole.end <= begin || end <= whole.begin)
            continue;
        ranges->of[i--] = ranges->of[--ranges->count];
        if (whole.begin < begin)
            ranges->of[ranges->count++] = (struct range){whole.begin, begin};
        if (end < whole.end)
            ranges->of[ranges->count++] = (struct range){end, whole.end};
        if (ranges->count > MOST_RANGES - 2)
            explore_fail("the explorer has no room for more mappings");
        i = (unsigned)-1;
    }
}

static bool is_within(const struct ranges *ranges, const char *begin, const char *end)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        if (ranges->of[i].begin <= begin && end <= ranges->of[i].end)
            return true;
    }
    return false;
}

/* ---- the address space ---- */

void *space_reserve(size_t size)
{
    if (size > (size_t)(OBJECTS - plain->next))
        return NULL;
    char *begin = plain->next;
    plain->next += (size + 0x10ffff) & ~(size_t)0xffff; /* with a gap */
    add_range(&plain->reserved, begin, begin + size);
    return begin;
}

bool space_is_reserved(const void *address, size_t size)
{
    return is_within(&plain->reserved, address, (const char *)address + size);
}

void space_commit(void *address, size_t size)
{
    add_range(&plain->committed, address, (char *)address + size);
}

void space_decommit(void *address, size_t size)
{
    char *begin = address, *end = begin + size;
    memory_forget(address, size);
    for (unsigned i = 0; i < plain->committed.count; i++) {
        struct range *range = &plain->committed.of[i];
        char *from = range->begin > begin ? range->begin : begin;
        char *to = range->end < end ? range->end : end;
        if (from < to)
            make_zero(from, (size_t)(to - from));
    }
    remove_range(&plain->committed, begin, end);
}

void space_release(void *address, size_t size)
{
    space_decommit(address, size);
    remove_range(&plain->reserved, address, (char *)address + size);
}

/* ---- cells ---- */

static bool is_space(const void *address)
{
    return (size_t)((const char *)address - SPACE) < SPACE_SIZE;
}

static bool is_followed(const void *address)
{
    return is_space(address) ||
           ((const char *)address >= __data_start && (const char *)address < _end);
}

static struct cell *cell_at(uintptr_t address)
{
    uint32_t i = (uint32_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 40) % CELLS;
    for (uint32_t tries = 0; tries < CELLS; tries++, i = (i + 1) % CELLS) {
        struct cell *cell = &plain->cells[i];
        if (cell->run == plain->run && cell->address == address)
            return cell;
        if (cell->run != plain->run) {
            memset(cell, 0, offsetof(struct cell, ticks));
            cell->run = plain->run;
            cell->address = address;
            return cell;
        }
    }
    explore_fail("the explorer has no room for more memory in one run");
}

static void check_there(const void *address, size_t size)
{
    if (is_space(address) && (const char *)address < OBJECTS &&
        !is_within(&plain->committed, address, (const char *)address + size))
        explore_fail("use of memory that is not committed: %p", address);
}

#define EVERY_THREAD UINT64_C(0x0101010101010101)

static void race(const void *address, unsigned thread, enum kind before, enum kind now)
{
    static const char *const names[] = {"a plain read", "a plain write", "an atomic read",
                                        "an atomic write"};
    explore_fail("data race: %s by thread %u, and %s, of %p", names[before], thread, names[now],
                 address);
}

/* Whether two accesses of these kinds race unless one happens before the other. */
static bool conflict(enum kind a, enum kind b)
{
    bool writes = a == PLAIN_WRITE || a == ATOMIC_WRITE || b == PLAIN_WRITE || b == ATOMIC_WRITE;
    return writes && (a <= PLAIN_WRITE || b <= PLAIN_WRITE);
}

static void check_races(const struct cell *cell, uint8_t bytes, enum kind kind, const void *address)
{
    const uint32_t *known = memory_clock()->ticks;
    uint64_t others = ~(UINT64_C(0xff) << 8 * engine->current);
    for (enum kind before = 0; before < KINDS; before++) {
        if (!conflict(before, kind))
            continue;
        uint64_t left = cell->touched[before] & (bytes * EVERY_THREAD) & others;
        for (; left != 0; left &= left - 1) {
            unsigned at = (unsigned)__builtin_ctzll(left);
            if (cell->ticks[before][at] > known[at / 8])
                race(address, at / 8, before, kind);
        }
    }
}

static void note(struct cell *cell, uint8_t bytes, enum kind kind)
{
    unsigned self = engine->current;
    uint32_t tick = memory_clock()->ticks[self];
    if (kind == PLAIN_WRITE) { /* who races with what was before it, races with it */
        for (enum kind before = 0; before < KINDS; before++)
            cell->touched[before] &= ~(bytes * EVERY_THREAD);
    }
    cell->touched[kind] |= (uint64_t)bytes << 8 * self;
    for (unsigned left = bytes; left != 0; left &= left - 1)
        cell->ticks[kind][8 * self + (unsigned)__builtin_ctz(left)] = tick;
}

static void touch(struct cell *cell, uint8_t bytes, enum kind kind, const void *address)
{
    if (cell->freed)
        explore_fail("use after free: %p", address);
    check_races(cell, bytes, kind, address);
    note(cell, bytes, kind);
    if (kind == PLAIN_WRITE || kind == ATOMIC_WRITE)
        cell->poisoned &= (uint8_t)~bytes;
    else if (cell->poisoned & bytes)
        explore_fail("use of what was destroyed: %p", address);
}

/* The bytes of the 8 from `address` on that are in the range. */
static uint8_t mask_of(uintptr_t address, uintptr_t begin, uintptr_t end)
{
    unsigned mask = 0xff;
    if (begin > address)
        mask &= 0xffu << (begin - address);
    if (end < address + 8)
        mask &= 0xffu >> (address + 8 - end);
    return (uint8_t)mask;
}

static void touch_all(const void *address, size_t size, enum kind kind)
{
    uintptr_t begin = (uintptr_t)address, end = begin + size;
    for (uintptr_t at = begin & ~(uintptr_t)7; at < end; at += 8)
        touch(cell_at(at), mask_of(at, begin, end), kind, address);
}

/* In a trace: writes by the threads, and reads of what they have written. */
static void tell(const void *address, size_t size, bool write, void *caller)
{
    if (!engine->tracing || !engine->running || !is_space(address))
        return;
    const struct cell *cell = cell_at((uintptr_t)address & ~(uintptr_t)7);
    bool written = (cell->touched[PLAIN_WRITE] & ~UINT64_C(0xff)) != 0;
    if (write || written)
        trace(caller, "plain %s %p, %zu bytes", write ? "write" : "read", address, size);
}

void plain_access(const void *address, size_t size, bool write, void *caller)
{
    if (engine == NULL || !engine->inside || size == 0 || !is_followed(address))
        return;
    tell(address, size, write, caller);
    check_there(address, size);
    touch_all(address, size, write ? PLAIN_WRITE : PLAIN_READ);
}

void plain_check_atomic(const void *address, size_t size, bool write)
{
    if (!is_followed(address))
        return;
    check_there(address, size);
    touch_all(address, size, write ? ATOMIC_WRITE : ATOMIC_READ);
}

/* ---- for scenarios ---- */

void explore_read(const void *memory, size_t size)
{
    plain_access(memory, size, false, __builtin_return_address(0));
}

void explore_write(void *memory, size_t size)
{
    plain_access(memory, size, true, __builtin_return_address(0));
}

void explore_poison(const void *memory, size_t size)
{
    uintptr_t begin = (uintptr_t)memory, end = begin + size;
    plain_access(memory, size, true,
                 __builtin_return_address(0)); /* whoever reads it still, races */
    for (uintptr_t at = begin & ~(uintptr_t)7; at < end; at += 8)
        cell_at(at)->poisoned |= mask_of(at, begin, end);
}

void *explore_alloc(size_t size)
{
    if (plain->object_count == MOST_OBJECTS)
        explore_fail("the explorer has no room for more objects");
    char *object = plain->next_object;
    plain->next_object += (size + OBJECT_GAP + 15) & ~(size_t)15;
    plain->objects[plain->object_count++] = (struct range){object, object + size};
    return object;
}

void explore_free(void *memory)
{
    for (unsigned i = 0; i < plain->object_count; i++) {
        struct range object = plain->objects[i];
        if (object.begin != memory)
            continue;
        plain_access(memory, (size_t)(object.end - object.begin), true,
                     __builtin_return_address(0));
        for (char *at = object.begin; at < object.end; at += 8)
            cell_at((uintptr_t)at)->freed = true;
        plain->objects[i] = plain->objects[--plain->object_count];
        return;
    }
    explore_fail("freed twice, or never allocated: %p", memory);
}

const char *plain_left_over(void)
{
    if (plain->object_count != 0)
        return "leak: an object was never freed";
    if (plain->reserved.count != 0)
        return "leak: memory is still reserved";
    return NULL;
}

/* ---- what the compiler calls ---- */

#define READ(name, size)                                                                           \
    void __tsan_##name(void *address);                                                             \
    void __tsan_##name(void *address)                                                              \
    {                                                                                              \
        plain_access(address, size, false, __builtin_return_address(0));                           \
    }
#define WRITE(name, size)                                                                          \
    void __tsan_##name(void *address);                                                             \
    void __tsan_##name(void *address)                                                              \
    {                                                                                              \
        plain_access(address, size, true, __builtin_return_address(0));                            \
    }

READ(read1, 1)
READ(read2, 2)
READ(read4, 4)
READ(read8, 8)
READ(read16, 16)
READ(unaligned_read2, 2)
READ(unaligned_read4, 4)
READ(unaligned_read8, 8)
READ(unaligned_read16, 16)
WRITE(write1, 1)
WRITE(write2, 2)
WRITE(write4, 4)
WRITE(write8, 8)
WRITE(write16, 16)
WRITE(unaligned_write2, 2)
WRITE(unaligned_write4, 4)
WRITE(unaligned_write8, 8)
WRITE(unaligned_write16, 16)

void __tsan_read_range(void *address, size_t size);
void __tsan_read_range(void *address, size_t size)
{
    plain_access(address, size, false, __builtin_return_address(0));
}

void __tsan_write_range(void *address, size_t size);
void __tsan_write_range(void *address, size_t size)
{
    plain_access(address, size, true, __builtin_return_address(0));
}

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void *seam_memcpy(void *to, const void *from, size_t size);
void *seam_memcpy(void *to, const void *from, size_t size)
{
    plain_access(from, size, false, __builtin_return_address(0));
    plain_access(to, size, true, __builtin_return_address(0));
    return memcpy(to, from, size);
}

void *seam_memset(void *to, int value, size_t size);
void *seam_memset(void *to, int value, size_t size)
{
    plain_access(to, size, true, __builtin_return_address(0));
    return memset(to, value, size);
}
