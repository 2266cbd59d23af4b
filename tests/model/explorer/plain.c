/*
 * plain.c - plain memory, and the address space.
 *
 * Every plain access of the library and of the scenarios calls a function here, because both are compiled
 * with the compiler's -fsanitize=thread and these are the functions it calls; its run-time library is not
 * linked. Followed are reserved memory, allocated objects and static variables; not stacks.
 *
 * Races are found by clocks, as in C. Flanagan, S. Freund, "FastTrack" (2009), on cells of 4 bytes with a mask
 * of the bytes concerned: the last write, and each thread's last read. (Of two writes to different bytes
 * of a cell only the later is remembered: fields of one or two bytes may hide each other.) An atomic access counts as a read: it races with a plain write.
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
#define CELL 4u
#define CELLS 131072u
#define MOST_RANGES 512
#define MOST_OBJECTS 512

struct cell {
    uintptr_t address;
    uint32_t run;
    uint8_t write_thread, write_bytes;
    uint8_t poisoned; /* bytes */
    bool freed;
    uint32_t write_tick;
    uint32_t read_ticks[THREADS];
    uint8_t read_bytes[THREADS];
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
            memset(cell, 0, sizeof *cell);
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

static void check_write(const struct cell *cell, uint8_t bytes, const void *address, bool write)
{
    if (cell->freed)
        explore_fail("use after free: %p", address);
    if ((cell->write_bytes & bytes) && !memory_happens_before(cell->write_thread, cell->write_tick))
        explore_fail("data race: a plain write by thread %u, and a %s, of %p", cell->write_thread,
                     write ? "write" : "read", address);
}

static void check_reads(const struct cell *cell, uint8_t bytes, const void *address)
{
    for (unsigned i = 0; i < THREADS; i++) {
        if ((cell->read_bytes[i] & bytes) && !memory_happens_before(i, cell->read_ticks[i]))
            explore_fail("data race: a read by thread %u, and a plain write, of %p", i, address);
    }
}

static void note_read(struct cell *cell, uint8_t bytes)
{
    uint32_t tick = memory_tick();
    unsigned self = engine->current;
    cell->read_bytes[self] =
        cell->read_ticks[self] == tick ? cell->read_bytes[self] | bytes : bytes;
    cell->read_ticks[self] = tick;
}

/* The bytes of the cell at `address` that are in the range. */
static uint8_t mask_of(uintptr_t address, uintptr_t begin, uintptr_t end)
{
    const unsigned all = (1u << CELL) - 1;
    unsigned mask = all;
    if (begin > address)
        mask &= all << (begin - address);
    if (end < address + CELL)
        mask &= all >> (address + CELL - end);
    return (uint8_t)mask;
}

/* In a trace: writes by the threads, and reads of what they have written. */
static void tell(const void *address, size_t size, bool write, void *caller)
{
    if (!engine->tracing || !engine->running || !is_space(address))
        return;
    if (write || cell_at((uintptr_t)address & ~(uintptr_t)(CELL - 1))->write_thread != 0)
        trace(caller, "plain %s %p, %zu bytes", write ? "write" : "read", address, size);
}

void plain_access(const void *address, size_t size, bool write, void *caller)
{
    if (engine == NULL || !engine->inside || size == 0 || !is_followed(address))
        return;
    tell(address, size, write, caller);
    check_there(address, size);
    uintptr_t begin = (uintptr_t)address, end = begin + size;
    for (uintptr_t at = begin & ~(uintptr_t)(CELL - 1); at < end; at += CELL) {
        struct cell *cell = cell_at(at);
        uint8_t bytes = mask_of(at, begin, end);
        check_write(cell, bytes, address, write);
        if (!write) {
            if (cell->poisoned & bytes)
                explore_fail("use of what was destroyed: %p", address);
            note_read(cell, bytes);
            continue;
        }
        check_reads(cell, bytes, address);
        cell->poisoned &= (uint8_t)~bytes;
        cell->write_thread = (uint8_t)engine->current;
        cell->write_tick = memory_tick();
        cell->write_bytes = bytes;
    }
}

void plain_check_atomic(const void *address, size_t size)
{
    if (!is_followed(address))
        return;
    check_there(address, size);
    uintptr_t begin = (uintptr_t)address, end = begin + size;
    for (uintptr_t at = begin & ~(uintptr_t)(CELL - 1); at < end; at += CELL) {
        struct cell *cell = cell_at(at);
        uint8_t bytes = mask_of(at, begin, end);
        check_write(cell, bytes, address, false);
        note_read(cell, bytes);
    }
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
    for (uintptr_t at = begin & ~(uintptr_t)(CELL - 1); at < end; at += CELL)
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
        for (char *at = object.begin; at < object.end; at += CELL)
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
