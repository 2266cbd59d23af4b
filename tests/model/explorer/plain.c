/*
 * plain.c - plain memory: races, and what is freed or poisoned.
 *
 * Every plain access of the library and of the scenarios calls a function here, because both are compiled
 * with the compiler's -fsanitize=thread and these are the functions it calls; its run-time library is not
 * linked. Followed are reserved memory, allocated objects and static variables; not stacks.
 *
 * Races are found by clocks, as in E. Pozniansky, A. Schuster, "MultiRace" (2007): for every byte, each thread's last
 * plain read, plain write, atomic read and atomic write. A plain write races with all four, a plain read with
 * either write. Cells of 8 bytes keep them; a mask says which bytes a thread has touched at all.
 *
 * Objects of explore_alloc lie behind the reservations of space.c. Nothing is handed out twice in a run, so who
 * uses what was freed is caught.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define OBJECT_GAP 64
#define CELLS 65536u
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

struct plain {
    char *next_object;
    struct object {
        char *begin, *end;
    } objects[MOST_OBJECTS]; /* not freed */
    unsigned object_count;
    uint32_t run;
    struct cell cells[CELLS];
};

#define plain (engine->plain)

extern char __data_start[], _end[];

void plain_start(void)
{
    plain = calloc(1, sizeof *plain);
    if (plain == NULL)
        abort();
}

void plain_begin_run(void)
{
    plain->run++;
    plain->next_object = SPACE_OBJECTS;
    plain->object_count = 0;
}

void plain_end_run(void)
{
    space_make_zero(SPACE_OBJECTS, (size_t)(plain->next_object - SPACE_OBJECTS));
}

/* ---- cells ---- */

static bool is_followed(const void *address)
{
    return space_contains(address) ||
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

static bool is_in_object(const char *address, size_t size)
{
    for (unsigned i = 0; i < plain->object_count; i++) {
        if (plain->objects[i].begin <= address && address + size <= plain->objects[i].end)
            return true;
    }
    return false;
}

static void check_there(const void *address, size_t size, bool write)
{
    if (!space_contains(address))
        return;
    if ((const char *)address < SPACE_OBJECTS)
        space_check(address, size, write);
    else if (!is_in_object(address, size) && !cell_at((uintptr_t)address & ~(uintptr_t)7)->freed)
        explore_fail("use of memory beyond an object: %p", address);
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
    if (!engine->tracing || !engine->running || !space_contains(address))
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
    if (write && engine->running && engine->scenario->writes_are_steps)
        step(true);
    tell(address, size, write, caller);
    check_there(address, size, write);
    if (write && space_contains(address) && (const char *)address < SPACE_OBJECTS)
        space_check_known(address, size);
    touch_all(address, size, write ? PLAIN_WRITE : PLAIN_READ);
}

void plain_check_atomic(const void *address, size_t size, bool write)
{
    if (!is_followed(address))
        return;
    check_there(address, size, write);
    touch_all(address, size, write ? ATOMIC_WRITE : ATOMIC_READ);
}

/* Whoever used it must be done with it; whoever gets it next begins afresh. */
void plain_taken_away(const void *address, size_t size)
{
    uintptr_t begin = (uintptr_t)address, end = begin + size;
    if (!engine->running)
        return; /* set_up and finish have it to themselves */
    touch_all(address, size, PLAIN_WRITE);
    for (uintptr_t at = begin & ~(uintptr_t)7; at < end; at += 8)
        memset(cell_at(at)->touched, 0, sizeof cell_at(at)->touched);
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
    plain->objects[plain->object_count++] = (struct object){object, object + size};
    return object;
}

void explore_free(void *memory)
{
    for (unsigned i = 0; i < plain->object_count; i++) {
        struct object object = plain->objects[i];
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
    return space_is_empty() ? NULL : "leak: memory is still reserved";
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

void *seam_memmove(void *to, const void *from, size_t size);
void *seam_memmove(void *to, const void *from, size_t size)
{
    plain_access(from, size, false, __builtin_return_address(0));
    plain_access(to, size, true, __builtin_return_address(0));
    return memmove(to, from, size);
}

int seam_memcmp(const void *a, const void *b, size_t size);
int seam_memcmp(const void *a, const void *b, size_t size)
{
    plain_access(a, size, false, __builtin_return_address(0));
    plain_access(b, size, false, __builtin_return_address(0));
    return memcmp(a, b, size);
}

void *seam_memset(void *to, int value, size_t size);
void *seam_memset(void *to, int value, size_t size)
{
    plain_access(to, size, true, __builtin_return_address(0));
    return memset(to, value, size);
}

/* clang's, from 15 on, for copies of structs. */

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    return seam_memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size)
{
    return seam_memmove(to, from, size);
}

void *__tsan_memset(void *to, int value, size_t size);
void *__tsan_memset(void *to, int value, size_t size)
{
    return seam_memset(to, value, size);
}
