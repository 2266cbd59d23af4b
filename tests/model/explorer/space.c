/*
 * space.c - the address space: what is reserved, and what is committed.
 *
 *      256 GiB of address space:   | reservations ... ->            | objects of explore_alloc ... -> |
 *
 * Nothing is handed out twice in a run, so who uses what was released is caught. The memory is real,
 * readable and writable throughout; what is committed is a list.
 *
 * A commit is there for all threads at once, told or not: a processor that comes too early takes a fault, and the
 * system, which knows of the commit by then, lets it try again. Giving back must come after every use.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

#define MOST_RANGES 512

struct range {
    char *begin, *end;
};

struct ranges {
    unsigned count;
    struct range of[MOST_RANGES];
};

struct space {
    struct ranges reserved, committed;
    char *next;
};

#define space (engine->space)

void space_start(void)
{
    space = calloc(1, sizeof *space);
    void *begin = mmap(SPACE, SPACE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (space == NULL || begin != SPACE) {
        perror("explorer: no address space");
        exit(2);
    }
}

void space_begin_run(void)
{
    space->reserved.count = space->committed.count = 0;
    space->next = SPACE;
}

void space_make_zero(char *begin, size_t size)
{
    if (size < (1u << 20) || madvise(begin, size, MADV_DONTNEED) != 0)
        memset(begin, 0, size);
}

void space_end_run(void)
{
    for (unsigned i = 0; i < space->committed.count; i++) {
        struct range range = space->committed.of[i];
        space_make_zero(range.begin, (size_t)(range.end - range.begin));
    }
}

bool space_contains(const void *address)
{
    return (size_t)((const char *)address - SPACE) < SPACE_SIZE;
}

bool space_is_empty(void)
{
    return space->reserved.count == 0;
}

/* ---- ranges ---- */

static void append_range(struct ranges *ranges, struct range range)
{
    if (ranges->count == MOST_RANGES)
        explore_fail("the explorer has no room for more mappings");
    ranges->of[ranges->count++] = range;
}

/* Joins it with those it touches. */
static void add_range(struct ranges *ranges, char *begin, char *end)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        struct range *other = &ranges->of[i];
        if (other->begin <= end && begin <= other->end) {
            begin = other->begin < begin ? other->begin : begin;
            end = other->end > end ? other->end : end;
            *other = ranges->of[--ranges->count];
            i = (unsigned)-1;
        }
    }
    append_range(ranges, (struct range){begin, end});
}

static void append_piece(struct ranges *ranges, char *begin, char *end)
{
    if (begin < end)
        append_range(ranges, (struct range){begin, end});
}

static void remove_range(struct ranges *ranges, char *begin, char *end)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        struct range whole = ranges->of[i];
        if (whole.end <= begin || end <= whole.begin)
            continue;
        ranges->of[i] = ranges->of[--ranges->count];
        append_piece(ranges, whole.begin, begin);
        append_piece(ranges, end, whole.end);
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

/* ---- reserve, commit ---- */

void space_check(const char *address, size_t size)
{
    if (!is_within(&space->committed, address, address + size))
        explore_fail("use of memory that is not committed: %p", (const void *)address);
}

void *space_reserve(size_t size)
{
    if (size > (size_t)(SPACE_OBJECTS - space->next))
        return NULL;
    char *begin = space->next;
    space->next += (size + 0x10ffff) & ~(size_t)0xffff; /* with a gap */
    add_range(&space->reserved, begin, begin + size);
    return begin;
}

bool space_is_reserved(const void *address, size_t size)
{
    return is_within(&space->reserved, address, (const char *)address + size);
}

void space_commit(void *address, size_t size)
{
    add_range(&space->committed, address, (char *)address + size);
}

void space_decommit(void *address, size_t size)
{
    char *begin = address, *end = begin + size;
    memory_forget(address, size);
    for (unsigned i = 0; i < space->committed.count; i++) {
        struct range *range = &space->committed.of[i];
        char *from = range->begin > begin ? range->begin : begin;
        char *to = range->end < end ? range->end : end;
        if (from >= to)
            continue;
        plain_taken_away(from, (size_t)(to - from));
        space_make_zero(from, (size_t)(to - from));
    }
    remove_range(&space->committed, begin, end);
}

void space_release(void *address, size_t size)
{
    space_decommit(address, size);
    remove_range(&space->reserved, address, (char *)address + size);
}
