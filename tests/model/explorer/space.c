/*
 * space.c - the address space: what is reserved, and what is committed.
 *
 *      256 GiB of address space:   | reservations ... ->            | objects of explore_alloc ... -> |
 *
 * Nothing is handed out twice in a run, so who uses what was released is caught. The memory is real,
 * readable and writable throughout; what is committed is a list.
 *
 * A commit is there for all threads at once, told or not: a processor that comes too early takes a fault, and the
 * system, which knows of the commit by then, lets it try again, and it reads zeros. But a commit is like a write of
 * zeros: some thread's must happen before every plain write. Giving back must come after every use.
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
#define COMMIT_UNIT 256u
#define COMMITS 4096u

struct range {
    char *begin, *end;
};

struct ranges {
    unsigned count;
    struct range of[MOST_RANGES];
};

/* When each thread committed a part of the address space; none did if it was there before they started. */
struct commit {
    uintptr_t address;
    uint32_t run;
    uint32_t ticks[THREADS];
};

struct space {
    struct ranges reserved, readable, committed;
    char *next;
    uint32_t run;
    struct commit commits[COMMITS];
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
    space->reserved.count = space->readable.count = space->committed.count = 0;
    space->next = SPACE;
    space->run++;
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

/* ---- who committed what ---- */

/* The entry of a part, or the free one where it would be. */
static struct commit *commit_at(uintptr_t address)
{
    uint32_t i = (uint32_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 40) % COMMITS;
    for (uint32_t tries = 0; tries < COMMITS; tries++, i = (i + 1) % COMMITS) {
        struct commit *commit = &space->commits[i];
        if (commit->run != space->run || commit->address == address)
            return commit;
    }
    explore_fail("the explorer has no room for more commits in one run");
}

/* Of a part that is there already it counts too: the system orders the calls. */
static void note_commit(char *begin, char *end)
{
    for (char *at = begin; engine->running && at < end; at += COMMIT_UNIT) {
        struct commit *commit = commit_at((uintptr_t)at);
        if (commit->run != space->run) {
            if (is_within(&space->committed, at, at + 1))
                continue;
            *commit = (struct commit){.address = (uintptr_t)at, .run = space->run};
        }
        uint32_t *tick = &commit->ticks[engine->current];
        *tick = *tick != 0 ? *tick : memory_clock()->ticks[engine->current];
    }
}

/* Whether a commit of the part happens before what the current thread does. */
static bool is_known(uintptr_t address)
{
    const struct commit *commit = commit_at(address);
    const uint32_t *known = memory_clock()->ticks;
    bool any = false;
    for (unsigned i = 0; i < THREADS && commit->run == space->run; i++) {
        if (commit->ticks[i] == 0)
            continue;
        if (i == engine->current || commit->ticks[i] <= known[i])
            return true;
        any = true;
    }
    return !any;
}

void space_check_known(const char *address, size_t size)
{
    uintptr_t end = (uintptr_t)address + size;
    for (uintptr_t at = (uintptr_t)address & ~(uintptr_t)(COMMIT_UNIT - 1); at < end;
         at += COMMIT_UNIT) {
        if (!is_known(at))
            explore_fail("data race: a commit, and a plain write, of %p", (const void *)address);
    }
}

static void forget_commits(const char *begin, const char *end)
{
    for (uint32_t i = 0; engine->running && i < COMMITS; i++) {
        struct commit *commit = &space->commits[i];
        if ((uintptr_t)begin <= commit->address && commit->address < (uintptr_t)end)
            memset(commit->ticks, 0, sizeof commit->ticks);
    }
}

/* ---- reserve, commit ---- */

void space_check(const char *address, size_t size, bool write)
{
    const char *end = address + size;
    if (!is_within(&space->committed, address, end) &&
        (write || !is_within(&space->readable, address, end)))
        explore_fail("use of memory that is not committed: %p", (const void *)address);
}

void *space_reserve(size_t size, bool readable)
{
    if (size > (size_t)(SPACE_OBJECTS - space->next))
        return NULL;
    char *begin = space->next;
    space->next += (size + 0x10ffff) & ~(size_t)0xffff; /* with a gap */
    add_range(&space->reserved, begin, begin + size);
    if (readable)
        add_range(&space->readable, begin, begin + size);
    return begin;
}

bool space_is_reserved(const void *address, size_t size)
{
    return is_within(&space->reserved, address, (const char *)address + size);
}

void space_commit(void *address, size_t size)
{
    note_commit(address, (char *)address + size);
    add_range(&space->committed, address, (char *)address + size);
}

void space_decommit(void *address, size_t size)
{
    char *begin = address, *end = begin + size;
    memory_forget(address, size);
    forget_commits(begin, end);
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

size_t explore_committed(void)
{
    size_t sum = 0;
    for (unsigned i = 0; i < space->committed.count; i++)
        sum += (size_t)(space->committed.of[i].end - space->committed.of[i].begin);
    return sum;
}

void space_release(void *address, size_t size)
{
    space_decommit(address, size);
    remove_range(&space->reserved, address, (char *)address + size);
    remove_range(&space->readable, address, (char *)address + size);
}
