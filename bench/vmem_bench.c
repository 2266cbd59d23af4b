/*
 * vmem_bench.c - what commit, decommit and prefault cost, beside the system without us.
 *
 * `raw` is mprotect, mmap, or a write to every page. Every implementation has a reservation of its
 * own, and every lap finds it in the same state, made in the same way. As in a buffer that grows
 * and shrinks by steps, commit goes up, and nobody touches what it gives; decommit comes down, and
 * all of it was written. Neighbours become one mapping each time.
 *
 * `madvise` is the other way to decommit: it gives back the pages but not their commit charge (V2).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* madvise */
#endif
#include <string.h>
#include <sys/mman.h>

#include <vbuf/vmem.h>

#include "bench.h"

#define STEP ((size_t)64 << 10)

struct range {
    struct vmem memory;
};

/* ---- the states that a lap starts from ---- */

static void *range_create(size_t size, enum vmem_huge_pages huge_pages)
{
    struct range *s = bench_alloc(sizeof *s);
    struct vmem_options options = {.huge_pages = huge_pages};
    if (vmem_reserve(&s->memory, size, &options) != VBUF_OK)
        bench_die("cannot reserve %zu bytes", size);
    return s;
}

static void *steps_create(const struct bench_shape *shape)
{
    return range_create(shape->n * STEP, VMEM_HUGE_PAGES_DEFAULT);
}

/* Without huge pages: a page is a page on every machine. */
static void *pages_create(const struct bench_shape *shape)
{
    return range_create(shape->n * vmem_page_size(), VMEM_HUGE_PAGES_OFF);
}

static void range_destroy(void *state)
{
    struct range *s = state;
    vmem_release(&s->memory);
    bench_free(s);
}

static void make_reserved(void *state)
{
    struct range *s = state;
    if (vmem_decommit(&s->memory, 0, s->memory.size) != VBUF_OK)
        bench_die("cannot decommit %zu bytes", s->memory.size);
}

static void make_committed(void *state)
{
    struct range *s = state;
    make_reserved(s);
    if (vmem_commit(&s->memory, 0, s->memory.size) != VBUF_OK)
        bench_die("cannot commit %zu bytes", s->memory.size);
}

static void make_written(void *state)
{
    struct range *s = state;
    make_committed(s);
    memset(s->memory.base, 1, s->memory.size);
}

/* Whether the system's books, where there are any, say so many bytes. */
static bool is_committed(const struct range *s, size_t bytes)
{
    size_t committed = 0;
    enum vbuf_status status = vmem_committed(&s->memory, 0, s->memory.size, &committed);
    return status == VBUF_UNSUPPORTED || (status == VBUF_OK && committed == bytes);
}

static bool is_resident(const struct range *s, size_t bytes)
{
    size_t resident = 0;
    enum vbuf_status status = vmem_resident(&s->memory, 0, s->memory.size, &resident);
    return status == VBUF_UNSUPPORTED || (status == VBUF_OK && resident == bytes);
}

/* ---- commit ---- */

enum means { BY_VBUF, BY_RAW, BY_MADVISE };

/* Each of these returns how many steps, or pages, it did. */
static BENCH_INLINE uint64_t commit_all(struct range *s, uint64_t ops, enum means by)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < ops; i++) {
        char *step = (char *)s->memory.base + i * STEP;
        if (by == BY_VBUF)
            done += vmem_commit(&s->memory, i * STEP, STEP) == VBUF_OK;
        else
            done += mprotect(step, STEP, PROT_READ | PROT_WRITE) == 0;
    }
    return done;
}

static uint64_t commit_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return commit_all(state, ops, BY_VBUF);
}

static uint64_t commit_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return commit_all(state, ops, BY_RAW);
}

static bool commit_check(void *state, uint64_t ops, uint64_t done)
{
    return done == ops && is_committed(state, ops * STEP) && is_resident(state, 0);
}

/* ---- decommit ---- */

static BENCH_INLINE uint64_t decommit_all(struct range *s, uint64_t ops, enum means by)
{
    uint64_t done = 0;
    for (uint64_t i = ops; i-- != 0;) {
        char *step = (char *)s->memory.base + i * STEP;
        if (by == BY_VBUF)
            done += vmem_decommit(&s->memory, i * STEP, STEP) == VBUF_OK;
        else if (by == BY_RAW)
            done +=
                mmap(step, STEP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == step;
        else
            done += madvise(step, STEP, MADV_DONTNEED) == 0 && mprotect(step, STEP, PROT_NONE) == 0;
    }
    return done;
}

static uint64_t decommit_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return decommit_all(state, ops, BY_VBUF);
}

static uint64_t decommit_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return decommit_all(state, ops, BY_RAW);
}

static uint64_t decommit_madvise(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return decommit_all(state, ops, BY_MADVISE);
}

static bool decommit_check(void *state, uint64_t ops, uint64_t done)
{
    return done == ops && is_committed(state, 0) && is_resident(state, 0);
}

/* ---- prefault ---- */

static uint64_t prefault_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    struct range *s = state;
    return vmem_prefault(&s->memory, 0, s->memory.size) == VBUF_OK ? ops : 0;
}

/* Writes without reading first, which would fault twice. */
static uint64_t prefault_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    struct range *s = state;
    volatile char *bytes = s->memory.base;
    size_t page = vmem_page_size();
    for (size_t i = 0; i < s->memory.size; i += page)
        bytes[i] = 0;
    return ops;
}

static bool prefault_check(void *state, uint64_t ops, uint64_t done)
{
    return done == ops && is_resident(state, ops * vmem_page_size());
}

const struct bench_case vmem_cases[] = {
    {
        .name = "vmem.commit",
        .operation = "commit of the next 64 KiB (raw: mprotect)",
        .unit = "ns",
        .memory = "fresh",
        .sizes = {256},
        .lap_is_n = true,
        .impls =
            {
                {"vbuf", 1, steps_create, range_destroy, make_reserved, NULL, commit_vbuf, NULL,
                 commit_check, NULL},
                {"raw", 1, steps_create, range_destroy, make_reserved, NULL, commit_raw, NULL,
                 commit_check, NULL},
            },
    },
    {
        .name = "vmem.decommit",
        .operation = "decommit of the last 64 KiB, written before (raw: mmap)",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {256},
        .lap_is_n = true,
        .impls =
            {
                {"vbuf", 1, steps_create, range_destroy, make_written, NULL, decommit_vbuf, NULL,
                 decommit_check, NULL},
                {"raw", 1, steps_create, range_destroy, make_written, NULL, decommit_raw, NULL,
                 decommit_check, NULL},
                {"madvise", 1, steps_create, range_destroy, make_written, NULL, decommit_madvise,
                 NULL, decommit_check, NULL},
            },
    },
    {
        .name = "vmem.prefault",
        .operation = "page, n of them committed, then one call (raw: a write to each)",
        .unit = "ns",
        .memory = "fresh",
        .sizes = {4096},
        .lap_is_n = true,
        .impls =
            {
                {"vbuf", 1, pages_create, range_destroy, make_committed, NULL, prefault_vbuf, NULL,
                 prefault_check, NULL},
                {"raw", 1, pages_create, range_destroy, make_committed, NULL, prefault_raw, NULL,
                 prefault_check, NULL},
            },
    },
    {0},
};
