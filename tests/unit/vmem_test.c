/*
 * vmem_test.c - raw virtual memory: what commit and decommit do (V1), arguments, rounding, facts.
 *
 * Elsewhere: vmem_options_test.c and vmem_worlds_test.c the options; vmem_books_test.c memory and charge
 * (V1, V2) by the system's books; vmem_prefault_test.c and vmem_touch_test.c V3; vmem_fault_test.c and
 * vmem_hole_test.c V4; vmem_mappings_test.c the kernel's mappings; vmem_process_test.c fork and dump.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "check.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

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
    CHECK_EQ(facts.populate, on_linux() && madvise(NULL, 0, MADV_POPULATE_WRITE) == 0);
#endif
    struct vmem_facts again = vmem_caps();
    CHECK_EQ(again.page_size, facts.page_size);
    CHECK_EQ(again.populate, facts.populate);
    CHECK_EQ(again.names, facts.names);
    CHECK_EQ(again.overcommit, facts.overcommit);
}

/* Read again, by other means. */
TEST(vmem, caps_are_what_the_system_says)
{
    struct vmem_facts facts = vmem_caps();
    char text[64];
    if (!on_linux()) {
        CHECK(facts.huge_page_size == 0 && !facts.names && !facts.populate);
        CHECK_EQ(facts.overcommit, VMEM_OVERCOMMIT_UNKNOWN);
        return;
    }
    proc_read_text("/proc/sys/vm/overcommit_memory", text, sizeof text);
    enum vmem_overcommit modes[] = {VMEM_OVERCOMMIT_HEURISTIC, VMEM_OVERCOMMIT_ALWAYS,
                                    VMEM_OVERCOMMIT_NEVER};
    CHECK_EQ(facts.overcommit,
             text[0] >= '0' && text[0] <= '2' ? modes[text[0] - '0'] : VMEM_OVERCOMMIT_UNKNOWN);
    proc_read_text("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    bool never = strstr(text, "[never]") != NULL;
    proc_read_text("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof text);
    CHECK_EQ(facts.huge_page_size, never ? 0 : strtoul(text, NULL, 10));
    char *own = mmap(NULL, facts.page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(facts.names, prctl(0x53564d41, 0, own, facts.page_size, "own") == 0); /* PR_SET_VMA */
    munmap(own, facts.page_size);
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
    bytes = 1;
    CHECK_STATUS(VBUF_OK, vmem_committed(&vm, 0, 0, &bytes));
    CHECK_EQ(bytes, 0);
    CHECK_EQ(vmem_lost(&vm), 0);
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

TEST(vmem, reserve_is_invalid_iff_sizes_overflow)
{
    size_t granularity = vmem_caps().granularity;
    struct vmem vm = {.base = &vm, .size = 77};
    size_t too_large[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - granularity + 1,
                          SIZE_MAX - granularity};
    for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++) {
        struct vmem_options smaller = {.min_size = 1}, same = {.min_size = too_large[i]};
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, too_large[i], NULL));
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, too_large[i], &smaller));
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, too_large[i], &same));
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, 4096, &same)); /* more than the size */
    }
    /* The sum of size and alignment is what is held against SIZE_MAX. */
    size_t half = SIZE_MAX / 2 + 1;
    struct vmem_options aligned = {.alignment = half};
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, half + 1, &aligned));
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, half, &aligned));
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, half - granularity, &aligned));
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, granularity, &aligned));
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, half, NULL));
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, SIZE_MAX - 2 * granularity + 1, NULL));
    CHECK(vm.base == &vm);
    CHECK_EQ(vm.size, 77);
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
        if (running_plain())
            CHECK_EQ(proc_virtual_size() - before, vm.size);
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        *at(&vm, 0) = 1;
        *at(&vm, vm.size - 1) = 1;
        vmem_release(&vm);
        if (running_plain())
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
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
    vmem_release(&vm);
    struct vmem empty = {.size = 0};
    vmem_release(&empty);
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

typedef enum vbuf_status range_call(struct vmem *vm, size_t offset, size_t length);

/* A valid range is all right here, too, where there are no books. */
static enum vbuf_status call_resident(struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes = 1;
    enum vbuf_status status = vmem_resident(vm, offset, length, &bytes);
    CHECK(status == VBUF_OK ? bytes != 1 : bytes == 1); /* written on VBUF_OK only */
    return status == VBUF_UNSUPPORTED && !on_linux() ? VBUF_OK : status;
}

static enum vbuf_status call_committed(struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes = 1;
    enum vbuf_status status = vmem_committed(vm, offset, length, &bytes);
    CHECK(status == VBUF_OK ? bytes != 1 : bytes == 1);
    return status == VBUF_UNSUPPORTED && !on_linux() ? VBUF_OK : status;
}

static range_call *const range_calls[] = {vmem_commit, vmem_prefault, vmem_decommit, call_resident,
                                          call_committed};
#define RANGE_CALLS (sizeof range_calls / sizeof *range_calls)

TEST(vmem, ranges_are_invalid_iff_they_leave_the_reservation)
{
    struct vmem vm = reserve_pages(4);
    size_t size = vm.size;
    for (size_t c = 0; c < RANGE_CALLS; c++) {
        CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, 0, size + 1));
        CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, 1, size));
        CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, size, 1));
        CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, size + 1, 0));
        CHECK_STATUS(VBUF_INVALID, range_calls[c](NULL, 0, 0));
    }
    CHECK_EQ(pages_readable(&vm), 0);
    for (size_t c = 0; c < RANGE_CALLS; c++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, size));
        CHECK_STATUS(VBUF_OK, range_calls[c](&vm, 0, size));
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, size));
        CHECK_STATUS(VBUF_OK, range_calls[c](&vm, size - 1, 1));
        CHECK_STATUS(VBUF_OK, range_calls[c](&vm, size, 0));
    }
    vmem_release(&vm);
}

/* Sums that overflow must not come out as a range inside. */
TEST(vmem, ranges_that_overflow_are_invalid)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(4);
    size_t base = (size_t)(uintptr_t)vm.base;
    size_t far[] = {SIZE_MAX,
                    SIZE_MAX - 1,
                    SIZE_MAX - page + 1,
                    SIZE_MAX - page,
                    SIZE_MAX - vm.size + 1,
                    SIZE_MAX / 2 + 1,
                    SIZE_MAX / 2,
                    0 - base,
                    0 - base + page};
    size_t near[] = {0, 1, page - 1, page, vm.size - 1, vm.size};
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 0x7e, vm.size);
    for (size_t c = 0; c < RANGE_CALLS; c++) {
        for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
            for (size_t k = 0; k < sizeof near / sizeof *near; k++) {
                CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, far[i], near[k]));
                CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, near[k], far[i]));
            }
            for (size_t k = 0; k < sizeof far / sizeof *far; k++)
                CHECK_STATUS(VBUF_INVALID, range_calls[c](&vm, far[i], far[k]));
        }
    }
    CHECK(pages_hold(&vm, 0, 4, 0x7e));
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
