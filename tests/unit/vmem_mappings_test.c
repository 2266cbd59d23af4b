/*
 * vmem_mappings_test.c - how many mappings the kernel keeps for a reservation: one for each run of
 * committed and each run of uncommitted pages, however it came about, unless pages were written.
 *
 * What is written has an owner in the kernel (anon_vma). A fresh neighbour joins it; two runs that were
 * written before they met are not joined, and stay two mappings until decommitted.
 *
 * A page at either end of the reservation is never committed: what lies next to it, of whomever, cannot
 * be joined with what the tests look at.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <string.h>

#include "check.h"
#include "proc.h"
#include "vmem_pages.h"

#define PAGES 64

/* What is tested is tested with each of these. */
static const struct vmem_options kinds[] = {
    {.alignment = 0},
    {.huge_pages = VMEM_HUGE_PAGES_OFF},
    {.huge_pages = VMEM_HUGE_PAGES_ON},
    {.charge = VMEM_UNCHARGED},
    {.huge_pages = VMEM_HUGE_PAGES_ON, .charge = VMEM_UNCHARGED},
    {.name = "many"},
    {.huge_pages = VMEM_HUGE_PAGES_OFF, .name = "many"},
};

static unsigned char *inner(const struct vmem *vm, size_t page)
{
    return page_at(vm, page + 1);
}

static size_t mappings(const struct vmem *vm)
{
    return proc_count_mappings(inner(vm, 0), PAGES * vmem_page_size());
}

static void commit_pages(struct vmem *vm, size_t first, size_t pages)
{
    size_t page = vmem_page_size();
    CHECK_STATUS(VBUF_OK, vmem_commit(vm, (first + 1) * page, pages * page));
}

static void decommit_pages(struct vmem *vm, size_t first, size_t pages)
{
    size_t page = vmem_page_size();
    CHECK_STATUS(VBUF_OK, vmem_decommit(vm, (first + 1) * page, pages * page));
}

static void write_pages(struct vmem *vm, size_t first, size_t pages)
{
    for (size_t p = first; p < first + pages; p++)
        *inner(vm, p) = 1;
}

/* Runs a test on each kind that there is; it begins and ends with one mapping. */
static void with_each_kind(void (*test)(struct vmem *vm))
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        unsigned failures = check_failures();
        struct vmem vm;
        enum vbuf_status status = vmem_reserve(&vm, (PAGES + 2) * vmem_page_size(), &kinds[k]);
        if (status == VBUF_UNSUPPORTED)
            continue;
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        CHECK_EQ(mappings(&vm), 1);
        test(&vm);
        decommit_pages(&vm, 0, PAGES);
        CHECK_EQ(mappings(&vm), 1);
        vmem_release(&vm);
        if (check_failures() != failures)
            fprintf(stderr, "  with options %zu\n", k);
    }
}

static void grow_and_shrink(struct vmem *vm)
{
    for (size_t p = 0; p < PAGES; p++) {
        commit_pages(vm, p, 1);
        write_pages(vm, p, 1);
        CHECK_EQ(mappings(vm), p == PAGES - 1 ? 1 : 2);
    }
    for (size_t p = PAGES; p-- > 0;) {
        decommit_pages(vm, p, 1);
        CHECK_EQ(mappings(vm), p == 0 ? 1 : 2);
    }
}

TEST(vmem_mappings, growth_and_shrinking_at_the_end_never_split)
{
    with_each_kind(grow_and_shrink);
}

static void grow_down(struct vmem *vm)
{
    for (size_t p = PAGES; p-- > 0;) {
        commit_pages(vm, p, 1);
        write_pages(vm, p, 1);
        CHECK_EQ(mappings(vm), p == 0 ? 1 : 2);
    }
    for (size_t p = 0; p < PAGES; p++) {
        decommit_pages(vm, p, 1);
        CHECK_EQ(mappings(vm), p == PAGES - 1 ? 1 : 2);
    }
}

TEST(vmem_mappings, nor_do_they_at_the_beginning)
{
    with_each_kind(grow_down);
}

/* The two sides of the gap were one when they were written: they have the same owner. */
static void punch_and_mend(struct vmem *vm)
{
    commit_pages(vm, 0, PAGES);
    write_pages(vm, 0, PAGES);
    CHECK_EQ(mappings(vm), 1);
    for (size_t p = 8; p < 24; p += 4) {
        decommit_pages(vm, p, 3);
        CHECK_EQ(mappings(vm), 3);
        commit_pages(vm, p, 3);
        CHECK_EQ(mappings(vm), 1);
        write_pages(vm, p, 3);
        CHECK_EQ(mappings(vm), 1);
    }
}

TEST(vmem_mappings, a_gap_that_is_committed_again_leaves_no_seam)
{
    with_each_kind(punch_and_mend);
}

static void alternate(struct vmem *vm)
{
    for (size_t p = 0; p < PAGES; p += 2)
        commit_pages(vm, p, 1);
    CHECK_EQ(mappings(vm), PAGES);
    commit_pages(vm, 0, PAGES);
    CHECK_EQ(mappings(vm), 1);
    for (size_t p = 0; p < PAGES; p += 2)
        decommit_pages(vm, p, 1);
    CHECK_EQ(mappings(vm), PAGES);
    for (size_t p = 1; p < PAGES; p += 2)
        decommit_pages(vm, p, 1);
    CHECK_EQ(mappings(vm), 1);
}

TEST(vmem_mappings, every_second_page_and_then_all)
{
    with_each_kind(alternate);
}

static void alternate_written(struct vmem *vm)
{
    for (size_t p = 0; p < PAGES; p += 2) {
        commit_pages(vm, p, 1);
        write_pages(vm, p, 1);
    }
    CHECK_EQ(mappings(vm), PAGES);
    for (size_t p = 1; p < PAGES; p += 2)
        commit_pages(vm, p, 1);
    CHECK(mappings(vm) <= PAGES / 2); /* each gap joined one side at least */
    decommit_pages(vm, PAGES / 4, PAGES / 2);
    CHECK(mappings(vm) <= PAGES / 4 + 1);
}

TEST(vmem_mappings, runs_written_before_they_met_are_a_mapping_each_at_most)
{
    with_each_kind(alternate_written);
}

/* ---- random patterns ---- */

struct pattern {
    bool committed[PAGES];
    bool owned
        [PAGES]; /* of a run that was written to, here or, before a decommit, elsewhere in it */
};

static size_t runs(const struct pattern *pattern)
{
    size_t count = 1;
    for (size_t p = 1; p < PAGES; p++)
        count += pattern->committed[p] != pattern->committed[p - 1];
    return count;
}

/* Where the run of committed pages that holds `page` begins and ends. */
static void find_run(const struct pattern *pattern, size_t page, size_t *begin, size_t *end)
{
    *begin = *end = page;
    while (*begin > 0 && pattern->committed[*begin - 1])
        --*begin;
    while (*end < PAGES && pattern->committed[*end])
        ++*end;
}

static void own_run(struct pattern *pattern, size_t page)
{
    size_t begin, end;
    find_run(pattern, page, &begin, &end);
    for (size_t p = begin; p < end; p++)
        pattern->owned[p] = true;
}

/* Returns how many seams this may leave: one for each gap that comes to lie between two owners. */
static size_t commit_pattern(struct pattern *pattern, size_t first, size_t pages)
{
    size_t begin, end, seams = 0;
    bool committed_before[PAGES], left = false;
    memcpy(committed_before, pattern->committed, sizeof committed_before);
    for (size_t p = first; p < first + pages; p++)
        pattern->committed[p] = true;
    find_run(pattern, first, &begin, &end);
    for (size_t p = begin; p < end; p++) {
        bool after_gap = p > begin && !committed_before[p - 1] && committed_before[p];
        seams += after_gap && left && pattern->owned[p];
        left = left || pattern->owned[p];
    }
    if (left)
        own_run(pattern, first);
    return seams;
}

static size_t change(struct vmem *vm, struct pattern *pattern, struct check_rng *rng)
{
    size_t first = (size_t)(check_rng_next(rng) % PAGES);
    size_t pages = (size_t)(check_rng_next(rng) % 8 + 1);
    pages = first + pages > PAGES ? PAGES - first : pages;
    if (check_rng_next(rng) % 2 == 0) {
        commit_pages(vm, first, pages);
        return commit_pattern(pattern, first, pages);
    }
    decommit_pages(vm, first, pages);
    for (size_t p = first; p < first + pages; p++)
        pattern->committed[p] = pattern->owned[p] = false;
    return 0;
}

/* Unwritten, the least: exactly the runs. Written, some more for each time that two sides met. */
static void commit_at_random(struct vmem *vm, bool writes)
{
    struct check_rng rng = {check_seed() + writes};
    for (int round = 0; round < BUILD_COUNT(20, 5); round++) {
        struct pattern pattern = {{false}, {false}};
        size_t seams = 0;
        for (int step = 0; step < 30 && check_failures() == 0; step++) {
            seams += change(vm, &pattern, &rng);
            size_t p = (size_t)(check_rng_next(&rng) % PAGES);
            if (writes && pattern.committed[p]) {
                write_pages(vm, p, 1);
                own_run(&pattern, p);
            }
            if (writes)
                CHECK(mappings(vm) >= runs(&pattern) && mappings(vm) <= runs(&pattern) + seams);
            else
                CHECK_EQ(mappings(vm), runs(&pattern));
        }
        decommit_pages(vm, 0, PAGES);
        CHECK_EQ(mappings(vm), 1);
    }
}

static void commit_at_random_unwritten(struct vmem *vm)
{
    commit_at_random(vm, false);
}

static void commit_at_random_written(struct vmem *vm)
{
    commit_at_random(vm, true);
}

TEST(vmem_mappings, at_random_a_mapping_a_run)
{
    with_each_kind(commit_at_random_unwritten);
}

TEST(vmem_mappings, at_random_and_written_a_seam_at_most_where_two_runs_met)
{
    with_each_kind(commit_at_random_written);
}

/* ---- prefault ---- */

static void prefault_in_parts(struct vmem *vm)
{
    size_t page = vmem_page_size();
    commit_pages(vm, 8, 40);
    CHECK_EQ(mappings(vm), 3);
    for (size_t p = 8; p < 48; p += 7)
        CHECK_STATUS(VBUF_OK, vmem_prefault(vm, (p + 1) * page, page));
    CHECK_EQ(mappings(vm), 3);
    CHECK_STATUS(VBUF_OK, vmem_prefault(vm, 9 * page, 40 * page));
    CHECK_EQ(mappings(vm), 3);
}

TEST(vmem_mappings, prefault_splits_nothing)
{
    with_each_kind(prefault_in_parts);
}
