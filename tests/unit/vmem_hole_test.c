/*
 * vmem_hole_test.c - V4 where mmap with MAP_FIXED fails with the old mapping gone: decommit closes the
 * hole, or says that nothing happened, or that the range is lost; and what is lost is left alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

#define PAGES 32

/* All committed and filled. */
static struct vmem filled(void)
{
    fault_clear();
    struct vmem vm = reserve_pages(PAGES);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 0x5a, vm.size);
    return vm;
}

static enum vbuf_status commit_pages(struct vmem *vm, size_t first, size_t pages)
{
    return vmem_commit(vm, first * vmem_page_size(), pages * vmem_page_size());
}

static enum vbuf_status decommit_pages(struct vmem *vm, size_t first, size_t pages)
{
    return vmem_decommit(vm, first * vmem_page_size(), pages * vmem_page_size());
}

/* Whether each page of the range is mapped, accessible or not. */
static bool is_mapped(const struct vmem *vm, size_t first, size_t pages)
{
    unsigned char ignored;
    for (size_t p = first; p < first + pages; p++) {
        if (mincore(page_at(vm, p), vmem_page_size(), &ignored) != 0)
            return false;
    }
    return true;
}

/* Decommits with a hole left for good. */
static void lose_pages(struct vmem *vm, size_t first, size_t pages)
{
    fault_leave_holes_from(1, ENOMEM, NULL, NULL);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, decommit_pages(vm, first, pages));
    CHECK_EQ(errno, ENOMEM);
    fault_clear();
    CHECK(!is_mapped(vm, first, pages));
}

/* Somebody else's mapping: pages `first` on of a hole, from its beginning. */
struct foreign {
    size_t first, pages;
    unsigned char *base;
};

static void intrude(void *context, void *hole, size_t length)
{
    struct foreign *foreign = context;
    size_t page = vmem_page_size();
    CHECK((foreign->first + foreign->pages) * page <= length);
    foreign->base =
        mmap((char *)hole + foreign->first * page, foreign->pages * page, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (!CHECK(foreign->base != MAP_FAILED))
        abort();
    memset(foreign->base, 0xf0, foreign->pages * page);
}

static void check_foreign_and_unmap(const struct foreign *foreign)
{
    size_t size = foreign->pages * vmem_page_size();
    for (size_t i = 0; i < size; i++)
        REQUIRE(CHECK_EQ(foreign->base[i], 0xf0));
    munmap(foreign->base, size);
}

TEST(vmem_hole, V4_a_hole_is_closed_and_the_decommit_is_done)
{
    uint64_t before = proc_virtual_size();
    struct vmem vm = filled();
    fault_clear();
    fault_leave_hole_at(1, EAGAIN, NULL, NULL);
    CHECK_STATUS(VBUF_OK, decommit_pages(&vm, 8, 4));
    CHECK_EQ(fault_count(FAULT_MMAP), 2);
    fault_clear();
    CHECK_EQ(vmem_lost(&vm), 0);
    CHECK(is_mapped(&vm, 0, PAGES));
    CHECK_EQ(pages_readable(&vm), PAGES - 4);
    CHECK(pages_hold(&vm, 0, 8, 0x5a) && pages_hold(&vm, 12, PAGES - 12, 0x5a));
    CHECK_STATUS(VBUF_OK, commit_pages(&vm, 8, 4));
    CHECK(pages_hold(&vm, 8, 4, 0));
    vmem_release(&vm);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
}

TEST(vmem_hole, V4_a_closed_hole_has_advice_and_charge_as_before)
{
    struct vmem_options options = {.huge_pages = VMEM_HUGE_PAGES_OFF, .charge = VMEM_UNCHARGED};
    size_t page = vmem_page_size();
    struct vmem vm;
    fault_clear();
    enum vbuf_status status = vmem_reserve(&vm, PAGES * page, &options);
    if (status == VBUF_UNSUPPORTED)
        SKIP("no uncharged memory here");
    REQUIRE(CHECK_STATUS(VBUF_OK, status));
    bool advised = proc_mapping_has_flag(vm.base, "nh");
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    fault_leave_hole_at(1, ENOMEM, NULL, NULL);
    CHECK_STATUS(VBUF_OK, decommit_pages(&vm, 8, 4));
    fault_clear();
    CHECK_EQ(proc_mapping_has_flag(page_at(&vm, 8), "nh"), advised);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK(!proc_mapping_has_flag(page_at(&vm, 8), "ac"));
    CHECK_EQ(proc_count_mappings(vm.base, vm.size), 1);
    vmem_release(&vm);
}

/* No hole: mmap fails as it should, once or for good, and the old mapping is in the way of a new one. */
TEST(vmem_hole, V4_without_a_hole_nothing_happened_and_nothing_is_lost)
{
    uint64_t before = proc_virtual_size();
    struct vmem vm = filled();
    for (int for_good = 0; for_good < 2; for_good++) {
        (for_good ? fault_fail_from : fault_fail_at)(FAULT_MMAP, 1, EAGAIN);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 8, 4));
        CHECK_EQ(errno, EAGAIN);
        fault_clear();
        CHECK_EQ(vmem_lost(&vm), 0);
        CHECK(pages_hold(&vm, 0, PAGES, 0x5a));
    }
    /* Nor is what a kernel makes that takes an address for a hint, if it does not know better. */
    fault_forget_map_flags(MAP_FIXED_NOREPLACE);
    fault_fail_at(FAULT_MMAP, 1, EAGAIN);
    CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 8, 4));
    fault_forget_map_flags(0);
    fault_clear();
    CHECK_EQ(vmem_lost(&vm), 0);
    CHECK(pages_hold(&vm, 0, PAGES, 0x5a));
    CHECK_STATUS(VBUF_OK, decommit_pages(&vm, 8, 4));
    CHECK_EQ(pages_readable(&vm), PAGES - 4);
    vmem_release(&vm);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
}

/* Every call on a range that touches what was lost is refused, and makes no system call. */
static void check_refused(struct vmem *vm, size_t first, size_t pages)
{
    size_t page = vmem_page_size();
    size_t offset = first * page, length = pages * page;
    enum vbuf_status (*const calls[])(struct vmem *, size_t, size_t) = {vmem_commit, vmem_decommit,
                                                                        vmem_prefault};
    fault_clear();
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, calls[c](vm, offset, length));
        CHECK_EQ(errno, EFAULT);
        CHECK_STATUS(VBUF_OK, calls[c](vm, offset, 0)); /* nothing is nothing, there too */
    }
    uint64_t made = 0;
    for (int c = 0; c < FAULT_CALLS; c++)
        made += fault_count((enum fault_call)c);
    CHECK_EQ(made, 0);
}

/* A range works in every way, from zeros to zeros. */
static void check_works(struct vmem *vm, size_t first, size_t pages)
{
    size_t page = vmem_page_size();
    CHECK_STATUS(VBUF_OK, decommit_pages(vm, first, pages));
    CHECK_STATUS(VBUF_OK, commit_pages(vm, first, pages));
    CHECK_STATUS(VBUF_OK, vmem_prefault(vm, first * page, pages * page));
    CHECK(pages_hold(vm, first, pages, 0));
    memset(page_at(vm, first), 0x5a, pages * page);
}

TEST(vmem_hole, V4_a_range_with_a_hole_left_is_lost_and_the_rest_is_not)
{
    size_t page = vmem_page_size();
    struct vmem vm = filled();
    lose_pages(&vm, 8, 4);
    CHECK_EQ(vmem_lost(&vm), 4 * page);
    CHECK(pages_hold(&vm, 0, 8, 0x5a) && pages_hold(&vm, 12, PAGES - 12, 0x5a));
    check_refused(&vm, 8, 4);
    check_refused(&vm, 8, 1);
    check_refused(&vm, 11, 1);
    check_refused(&vm, 7, 2);
    check_refused(&vm, 11, 2);
    check_refused(&vm, 0, PAGES);
    check_works(&vm, 0, 8);
    check_works(&vm, 12, PAGES - 12);
    /* By the pages it comes to: commit and prefault reach outward, decommit inward. */
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 8 * page - 1, 1));
    CHECK_STATUS(VBUF_NOMEM, vmem_commit(&vm, 8 * page - 1, 2));
    CHECK_STATUS(VBUF_NOMEM, vmem_prefault(&vm, 12 * page - 1, 1));
    fault_clear();
    errno = 4242;
    vmem_populate(&vm, 12 * page - 1, 1); /* ignored */
    CHECK(fault_count(FAULT_MADVISE) == 0 && errno == 4242);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 7 * page, 2 * page - 1)); /* page 7 */
    CHECK_EQ(vmem_lost(&vm), 4 * page);
    vmem_release(&vm);
    CHECK(vm.base == NULL && vm.size == 0);
    CHECK_EQ(vmem_lost(&vm), 0);
}

/* One that came at once, into part of the hole; and one that came after the range was lost. */
TEST(vmem_hole, V4_a_foreign_mapping_in_a_hole_survives)
{
    const struct foreign places[] = {{0, 2, NULL}, {3, 2, NULL}, {6, 2, NULL}, {0, 7, NULL}};
    for (size_t i = 0; i < 2 * sizeof places / sizeof *places; i++) {
        struct foreign foreign = places[i / 2];
        uint64_t before = proc_virtual_size();
        struct vmem vm = filled();
        if (i % 2 == 0) {
            fault_leave_hole_at(1, ENOMEM, intrude, &foreign); /* closing it is tried, in vain */
            errno = 0;
            CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 8, 8));
            CHECK_EQ(errno, ENOMEM);
            fault_clear();
        } else {
            lose_pages(&vm, 8, 8);
            intrude(&foreign, page_at(&vm, 8), 8 * vmem_page_size());
        }
        CHECK_EQ(vmem_lost(&vm), 8 * vmem_page_size());
        check_refused(&vm, 8, 8);
        check_works(&vm, 0, 8);
        check_works(&vm, 16, PAGES - 16);
        CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 0, PAGES));
        unsigned char *base = vm.base;
        vmem_release(&vm);
        CHECK(!proc_is_readable(base) && !proc_is_readable(base + 8 * vmem_page_size() - 1));
        CHECK(!proc_is_readable(base + 16 * vmem_page_size()));
        if (running_plain())
            CHECK_EQ(proc_virtual_size() - before, foreign.pages * vmem_page_size());
        check_foreign_and_unmap(&foreign);
        if (running_plain())
            CHECK_EQ(proc_virtual_size(), before);
    }
}

/* One that fills the hole exactly looks like the old mapping. The failing call does not harm it. */
TEST(vmem_hole, V4_a_foreign_mapping_that_fills_the_hole_survives_the_decommit)
{
    struct foreign foreign = {0, 4, NULL};
    struct vmem vm = filled();
    fault_leave_hole_at(1, ENOMEM, intrude, &foreign);
    CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 8, 4));
    fault_clear();
    CHECK(pages_hold(&vm, 8, 4, 0xf0));
    vmem_release(&vm);
}

/* msync that cannot tell is no proof that all is well. */
TEST(vmem_hole, V4_what_cannot_be_told_is_lost)
{
    size_t page = vmem_page_size();
    struct vmem vm = filled();
    fault_fail_from(FAULT_MMAP, 1, EAGAIN);
    fault_fail_from(FAULT_MSYNC, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, decommit_pages(&vm, 8, 4));
    CHECK_EQ(errno, EAGAIN);
    fault_clear();
    CHECK_EQ(vmem_lost(&vm), 4 * page);
    CHECK(pages_hold(&vm, 0, PAGES, 0x5a));
    unsigned char *kept = page_at(&vm, 8);
    vmem_release(&vm);
    CHECK(proc_is_readable(kept) && proc_is_readable(kept + 4 * page - 1));
    CHECK(!proc_is_readable(kept - 1) && !proc_is_readable(kept + 4 * page));
    munmap(kept, 4 * page);
}

/* Between two lost ranges nothing is touched any more, and nothing is given back. */
TEST(vmem_hole, V4_two_lost_ranges_make_one_from_first_to_last)
{
    size_t page = vmem_page_size();
    for (int order = 0; order < 2; order++) {
        struct vmem vm = filled();
        lose_pages(&vm, order == 0 ? 6 : 20, 2);
        CHECK_EQ(vmem_lost(&vm), 2 * page);
        check_works(&vm, 10, 4);
        lose_pages(&vm, order == 0 ? 20 : 6, 2);
        CHECK_EQ(vmem_lost(&vm), 16 * page);
        check_refused(&vm, 10, 4);
        check_refused(&vm, 6, 16);
        check_refused(&vm, 21, 1);
        CHECK(
            pages_hold(&vm, 8, 12, 0x5a)); /* what was committed there is readable, and writable */
        memset(page_at(&vm, 8), 0x3c, 12 * page);
        check_works(&vm, 0, 6);
        check_works(&vm, 22, PAGES - 22);
        lose_pages(&vm, 22, 1); /* and grows by its neighbour */
        CHECK_EQ(vmem_lost(&vm), 17 * page);
        unsigned char *between = page_at(&vm, 8);
        vmem_release(&vm);
        CHECK(proc_is_readable(between) && between[12 * page - 1] == 0x3c);
        CHECK(!proc_is_readable(between - 3 * page) && !proc_is_readable(between + 15 * page));
        munmap(between, 12 * page);
    }
}

TEST(vmem_hole, V4_either_end_or_all_may_be_lost)
{
    static const size_t ranges[][2] = {{0, 4}, {PAGES - 4, 4}, {0, PAGES}};
    size_t page = vmem_page_size();
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        size_t first = ranges[i][0], pages = ranges[i][1];
        uint64_t before = proc_virtual_size();
        struct vmem vm = filled();
        lose_pages(&vm, first, pages);
        CHECK_EQ(vmem_lost(&vm), pages * page);
        check_refused(&vm, first, pages);
        if (first > 0)
            check_works(&vm, 0, first);
        if (first + pages < PAGES)
            check_works(&vm, first + pages, PAGES - first - pages);
        struct foreign foreign = {0, pages, NULL};
        intrude(&foreign, page_at(&vm, first), pages * page);
        vmem_release(&vm);
        check_foreign_and_unmap(&foreign);
        if (running_plain())
            CHECK_EQ(proc_virtual_size(), before);
    }
}

#define LOSERS 4

/* Each thread loses some of its pages, from the first or from the last on; the others' work goes on. */
static void lose_own(void *context, unsigned index)
{
    struct vmem *vm = context;
    for (size_t i = 0; i < 4; i++) {
        size_t p = 4 + 6 * index + (index % 2 == 0 ? i : 3 - i);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, decommit_pages(vm, p, 1));
        CHECK(errno == ENOMEM || errno == EFAULT); /* or it lay between others' losses already */
        CHECK_STATUS(VBUF_NOMEM, commit_pages(vm, p, 1));
        CHECK_EQ(errno, EFAULT);
        CHECK_STATUS(VBUF_OK, commit_pages(vm, 0, 4)); /* never inside */
        CHECK(vmem_lost(vm) >= vmem_page_size());
    }
}

/* Others may have mapped something into the holes by now. */
static void unmap_filled(unsigned char *base, size_t pages)
{
    size_t page = vmem_page_size();
    for (unsigned char *p = base; p < base + pages * page; p += page) {
        if (proc_is_readable(p) && *p == 0x5a)
            munmap(p, page);
    }
}

TEST(vmem_hole, V4_threads_may_lose_ranges_at_the_same_time)
{
    size_t page = vmem_page_size();
    for (int round = 0; round < 20; round++) {
        struct vmem vm = filled();
        fault_leave_holes_from(1, ENOMEM, NULL, NULL);
        team_run(LOSERS, lose_own, &vm);
        fault_clear();
        /* Pages 4 to 25 are the threads'. Of each end's page its own thread alone can lose. */
        CHECK_EQ(vmem_lost(&vm), 22 * page);
        check_refused(&vm, 4, 22);
        check_works(&vm, 0, 4);
        check_works(&vm, 26, PAGES - 26);
        unsigned char *between = page_at(&vm, 4);
        vmem_release(&vm);
        unmap_filled(between, 22);
    }
}
