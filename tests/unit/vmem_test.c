/*
 * vmem_test.c - raw virtual memory: V1, V2, arguments, rounding, facts. Prefault (V3) and residency are
 * in vmem_prefault_test.c, refusals by the system (V4) in vmem_fault_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <string.h>
#include <sys/mman.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define TIB ((size_t)1 << 40)
#define HUGE_SIZE (BUILD_PLAIN ? 16 * TIB : 64 * GIB)

TEST(vmem, page_size_is_the_systems)
{
    CHECK_EQ(vmem_page_size(), sysconf(_SC_PAGESIZE));
    CHECK_EQ(vmem_page_size() & (vmem_page_size() - 1), 0);
}

TEST(vmem, caps_are_consistent_facts)
{
    struct vmem_facts facts = vmem_caps();
    CHECK_EQ(facts.page_size, vmem_page_size());
    CHECK(facts.granularity >= facts.page_size);
    CHECK_EQ(facts.granularity % facts.page_size, 0);
    CHECK(facts.huge_page_size == 0 || facts.huge_page_size > facts.page_size);
    CHECK_EQ(facts.huge_page_size & (facts.huge_page_size - 1), 0);
    CHECK(facts.address_bits >= 31 && facts.address_bits <= 64);
    CHECK(facts.address_bits == 64 || (uintptr_t)&facts >> facts.address_bits == 0);
#if defined(MADV_POPULATE_WRITE)
    CHECK_EQ(facts.populate, madvise(NULL, 0, MADV_POPULATE_WRITE) == 0);
#endif
    struct vmem_facts again = vmem_caps();
    CHECK_EQ(again.page_size, facts.page_size);
    CHECK_EQ(again.populate, facts.populate);
}

TEST(vmem, align_up_and_down)
{
    CHECK_EQ(vmem_align_up(0, 4096), 0);
    CHECK_EQ(vmem_align_up(1, 4096), 4096);
    CHECK_EQ(vmem_align_up(4096, 4096), 4096);
    CHECK_EQ(vmem_align_up(4097, 4096), 8192);
    CHECK_EQ(vmem_align_up(13, 1), 13);
    CHECK_EQ(vmem_align_up(SIZE_MAX, 4096), 0);
    CHECK_EQ(vmem_align_up(SIZE_MAX - 4095, 4096), SIZE_MAX - 4095);
    CHECK_EQ(vmem_align_up(SIZE_MAX - 4094, 4096), 0);
    CHECK_EQ(vmem_align_down(0, 4096), 0);
    CHECK_EQ(vmem_align_down(4095, 4096), 0);
    CHECK_EQ(vmem_align_down(4096, 4096), 4096);
    CHECK_EQ(vmem_align_down(SIZE_MAX, 4096), SIZE_MAX - 4095);
}

TEST(vmem, reserve_rounds_up_to_the_granularity)
{
    size_t granularity = vmem_caps().granularity;
    size_t sizes[] = {1, granularity - 1, granularity, granularity + 1, 5 * MIB + 123};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct vmem vm;
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, sizes[i], NULL)));
        CHECK(vm.size >= sizes[i] && vm.size - sizes[i] < granularity);
        CHECK_EQ(vm.size % granularity, 0);
        CHECK(vm.base != NULL);
        CHECK_EQ((uintptr_t)vm.base % vmem_page_size(), 0);
        vmem_release(&vm);
    }
}

TEST(vmem, reserve_of_nothing_is_dangling)
{
    struct vmem vm = {.base = &vm, .size = 77};
    size_t bytes = 1;
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 0, NULL));
    CHECK(vm.base != NULL);
    CHECK_EQ((uintptr_t)vm.base % vmem_page_size(), 0);
    CHECK_EQ(vm.size, 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 0));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, 0));
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, 0));
    CHECK_STATUS(VBUF_OK, vmem_resident(&vm, 0, 0, &bytes));
    CHECK_EQ(bytes, 0);
    CHECK_STATUS(VBUF_INVALID, vmem_commit(&vm, 0, 1));
    CHECK_STATUS(VBUF_INVALID, vmem_commit(&vm, 1, 0));
    vmem_release(&vm);
    vmem_release(&vm);
}

TEST(vmem, reserve_is_invalid_iff_alignment_or_size_cannot_be)
{
    struct vmem vm = {.base = &vm, .size = 77};
    size_t bad[] = {3, 6, 4095, 4097, SIZE_MAX, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vmem_options options = {.alignment = bad[i]};
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, 4096, &options));
    }
    struct vmem_options half = {.alignment = SIZE_MAX / 2 + 1};
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, SIZE_MAX / 2 + 2, &half));
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, SIZE_MAX, NULL));
    CHECK(vm.base == &vm); /* outputs are written on VBUF_OK only */
    CHECK_EQ(vm.size, 77);
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(NULL, 4096, NULL));
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        struct vmem_options options = {.alignment = alignment};
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 4096, &options)));
        CHECK_EQ((uintptr_t)vm.base % vmem_page_size(), 0);
        vmem_release(&vm);
    }
}

TEST(vmem, reserve_aligns_and_keeps_no_slack)
{
    for (size_t alignment = 4 * KIB; alignment <= GIB; alignment *= 2) {
        struct vmem_options options = {.alignment = alignment};
        struct vmem vm;
        uint64_t before = proc_virtual_size();
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 3 * MIB, &options)));
        CHECK_EQ((uintptr_t)vm.base % alignment, 0);
        CHECK_EQ(vm.size, 3 * MIB);
        if (BUILD_PLAIN)
            CHECK_EQ(proc_virtual_size() - before, vm.size);
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        *at(&vm, 0) = 1;
        *at(&vm, vm.size - 1) = 1;
        vmem_release(&vm);
        if (BUILD_PLAIN)
            CHECK_EQ(proc_virtual_size(), before);
    }
}

TEST(vmem, release_gives_all_back_and_may_be_repeated)
{
    size_t page = vmem_page_size();
    uint64_t before = proc_virtual_size();
    struct vmem vm = reserve_pages(64);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 8 * page, 3 * page));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 9 * page, page));
    void *base = vm.base;
    vmem_release(&vm);
    CHECK(vm.base == NULL);
    CHECK_EQ(vm.size, 0);
    CHECK(!proc_is_readable((char *)base + 8 * page));
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
    vmem_release(&vm);
    struct vmem empty = {.size = 0};
    vmem_release(&empty);
}

TEST(vmem, V1_a_huge_reservation_costs_neither_memory_nor_charge)
{
    uint64_t resident_before = proc_resident_size();
    uint64_t charged_before = proc_committed_as();
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, HUGE_SIZE, NULL)));
    CHECK(!proc_mapping_has_flag(vm.base, "ac"));
    CHECK(!proc_mapping_has_flag(at(&vm, vm.size - 1), "ac"));
    CHECK(proc_committed_as() < charged_before + HUGE_SIZE / 8); /* the rest is other programs */
    CHECK(proc_resident_size() < resident_before + 16 * MIB);
    CHECK(!proc_is_readable(vm.base));
    /* Using either end costs those pages only. */
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 1));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, vm.size - 1, 1));
    *at(&vm, 0) = 1;
    *at(&vm, vm.size - 1) = 2;
    CHECK(proc_resident_size() < resident_before + 16 * MIB);
    vmem_release(&vm);
}

TEST(vmem, commit_rounds_outward_and_reads_zero)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(8);
    CHECK_EQ(pages_readable(&vm), 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 2 * page - 1, 2)); /* touches pages 1 and 2 */
    CHECK_EQ(pages_readable(&vm), 2);
    CHECK(proc_is_readable(at(&vm, page)));
    CHECK(proc_is_readable(at(&vm, 3 * page - 1)));
    for (size_t i = page; i < 3 * page; i++)
        REQUIRE(*at(&vm, i) == 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 5 * page, 1));
    CHECK_EQ(pages_readable(&vm), 3);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 8 * page - 1, 1)); /* the very last byte */
    CHECK_EQ(pages_readable(&vm), 4);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 4 * page, 0)); /* nothing */
    CHECK_EQ(pages_readable(&vm), 4);
    vmem_release(&vm);
}

TEST(vmem, V1_committing_the_committed_keeps_its_content)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(4);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, page, page));
    memset(at(&vm, page), 0xab, page);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, page, page));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 4 * page));
    for (size_t i = 0; i < 4 * page; i++)
        REQUIRE(*at(&vm, i) == (i / page == 1 ? 0xab : 0));
    vmem_release(&vm);
}

TEST(vmem, decommit_rounds_inward)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(8);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 0xcd, vm.size);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 1, page));        /* no whole page */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page - 1, page)); /* likewise */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page + 1, 0));    /* nothing */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, page - 1));    /* likewise */
    CHECK_EQ(pages_readable(&vm), 8);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page - 1, page + 2)); /* page 1 whole */
    CHECK_EQ(pages_readable(&vm), 7);
    CHECK(!proc_is_readable(at(&vm, page)));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 4 * page + 1, 3 * page)); /* pages 5 and 6 */
    CHECK_EQ(pages_readable(&vm), 5);
    for (size_t p = 0; p < 8; p++) {
        if (p != 1 && p != 5 && p != 6)
            CHECK(*at(&vm, p * page) == 0xcd && *at(&vm, p * page + page - 1) == 0xcd);
    }
    vmem_release(&vm);
}

TEST(vmem, V1_decommitting_the_uncommitted_is_fine)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(8);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 2 * page, 2 * page));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size)); /* mixed */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 2 * page, 2 * page));
    CHECK_EQ(pages_readable(&vm), 0);
    vmem_release(&vm);
}

TEST(vmem, V1_recommitted_memory_reads_zero)
{
    struct vmem vm = reserve_pages(16);
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        for (size_t i = 0; i < vm.size; i++)
            REQUIRE(*at(&vm, i) == 0);
        memset(vm.base, 0xff, vm.size);
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
        CHECK_EQ(pages_readable(&vm), 0);
    }
    vmem_release(&vm);
}

TEST(vmem, V2_decommit_gives_back_pages_and_flagged_charge)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(64);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 16 * page, 32 * page));
    memset(at(&vm, 16 * page), 1, 32 * page);
    CHECK(proc_mapping_has_flag(at(&vm, 16 * page), "ac"));
    CHECK_EQ(resident(&vm, 0, vm.size), 32 * page);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 16 * page, 16 * page));
    CHECK(!proc_mapping_has_flag(at(&vm, 16 * page), "ac"));
    CHECK(!proc_mapping_has_flag(at(&vm, 32 * page - 1), "ac"));
    CHECK(proc_mapping_has_flag(at(&vm, 32 * page), "ac"));
    CHECK_EQ(resident(&vm, 0, vm.size), 16 * page);
    CHECK_EQ(*at(&vm, 32 * page), 1);
    vmem_release(&vm);
}

/* The system-wide figure: noisy, so one clear reading out of ten is enough. */
TEST(vmem, V2_decommit_gives_back_committed_as)
{
    bool seen = false;
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, GIB, NULL)));
    for (int attempt = 0; attempt < 10 && !seen; attempt++) {
        uint64_t reserved = proc_committed_as();
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, GIB)));
        uint64_t committed = proc_committed_as();
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, GIB)));
        uint64_t decommitted = proc_committed_as();
        seen = committed > reserved + GIB / 4 * 3 && decommitted + GIB / 4 * 3 < committed;
    }
    CHECK(seen);
    vmem_release(&vm);
}

typedef enum vbuf_status range_call(struct vmem *vm, size_t offset, size_t length);

static enum vbuf_status call_resident(struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes;
    return vmem_resident(vm, offset, length, &bytes);
}

TEST(vmem, ranges_are_invalid_iff_they_leave_the_reservation)
{
    size_t page = vmem_page_size();
    range_call *calls[] = {vmem_commit, vmem_prefault, vmem_decommit, call_resident};
    struct vmem vm = reserve_pages(4);
    size_t size = vm.size;
    for (size_t c = 0; c < 4; c++) {
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, 0, size + 1));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, 1, size));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, size, 1));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, size + 1, 0));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, SIZE_MAX, 0));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, SIZE_MAX, 1));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, SIZE_MAX, SIZE_MAX));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, 1, SIZE_MAX));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, page, SIZE_MAX - page + 1));
        CHECK_STATUS(VBUF_INVALID, calls[c](&vm, 0, SIZE_MAX));
    }
    CHECK_EQ(pages_readable(&vm), 0);
    for (size_t c = 0; c < 4; c++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, size));
        CHECK_STATUS(VBUF_OK, calls[c](&vm, 0, size));
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, size));
        CHECK_STATUS(VBUF_OK, calls[c](&vm, size - 1, 1));
        CHECK_STATUS(VBUF_OK, calls[c](&vm, size, 0));
    }
    vmem_release(&vm);
}

/* Each thread has pages of its own, and all share the last one, which they commit and decommit at once. */
static void churn_pages(void *context, unsigned index)
{
    size_t page = vmem_page_size();
    struct vmem *vm = context;
    size_t own = index * 8 * page;
    for (int round = 0; round < 200; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(vm, own, 8 * page));
        CHECK_EQ(*at(vm, own + page), 0);
        memset(at(vm, own), 0x5a, 8 * page);
        CHECK_STATUS(VBUF_OK, vmem_prefault(vm, own, 8 * page));
        CHECK_EQ(*at(vm, own + 8 * page - 1), 0x5a);
        CHECK_STATUS(VBUF_OK, vmem_decommit(vm, own, 8 * page));
        CHECK_STATUS(VBUF_OK, vmem_commit(vm, 32 * page, page));
        CHECK_STATUS(VBUF_OK, vmem_decommit(vm, 32 * page, page));
    }
}

TEST(vmem, V1_commit_prefault_and_decommit_may_overlap)
{
    struct vmem vm = reserve_pages(33);
    team_run(4, churn_pages, &vm);
    CHECK_EQ(pages_readable(&vm), 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    for (size_t i = 0; i < vm.size; i++)
        REQUIRE(*at(&vm, i) == 0);
    vmem_release(&vm);
}
