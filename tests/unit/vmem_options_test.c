/*
 * vmem_options_test.c - what vmem_reserve is asked for: alignment, smaller sizes, huge pages, charge,
 * names; each with what it does, what decommit leaves of it, and each status. Systems that lack one or
 * the other are in vmem_worlds_test.c.
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
#include "vmem_pages.h"

/* ---- alignment ---- */

TEST(vmem_options, alignment_above_the_page_and_the_huge_page)
{
    size_t huge = vmem_caps().huge_page_size != 0 ? vmem_caps().huge_page_size : 2 * MIB;
    size_t alignments[] = {1, vmem_page_size(), 2 * vmem_page_size(), huge, 2 * huge, 8 * huge};
    size_t sizes[] = {1, vmem_page_size(), 3 * MIB + 1, huge};
    for (size_t a = 0; a < sizeof alignments / sizeof *alignments; a++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            struct vmem_options options = {.alignment = alignments[a]};
            uint64_t before = proc_virtual_size();
            struct vmem vm;
            REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, sizes[s], &options)));
            CHECK_EQ((uintptr_t)vm.base % alignments[a], 0);
            CHECK_EQ((uintptr_t)vm.base % vmem_page_size(), 0);
            CHECK_EQ(vm.size, vmem_align_up(sizes[s], vmem_caps().granularity));
            CHECK_EQ(vm.options.alignment, alignments[a]);
            if (running_plain())
                CHECK_EQ(proc_virtual_size() - before, vm.size);
            vmem_release(&vm);
        }
    }
}

TEST(vmem_options, options_are_kept_as_given)
{
    struct vmem_options options = {
        .alignment = 8 * MIB, .min_size = MIB, .huge_pages = VMEM_HUGE_PAGES_OFF};
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 3 * MIB, &options)));
    CHECK_EQ(vm.options.alignment, 8 * MIB);
    CHECK_EQ(vm.options.min_size, MIB);
    CHECK_EQ(vm.options.huge_pages, VMEM_HUGE_PAGES_OFF);
    CHECK_EQ(vm.options.charge, VMEM_CHARGED);
    CHECK(vm.options.name == NULL);
    CHECK_EQ(vm.size, 3 * MIB); /* enough address space: nothing less */
    vmem_release(&vm);
}

TEST(vmem_options, enumerations_out_of_range_are_invalid)
{
    const int none[] = {3, 4, 255, -1, INT32_MIN, INT32_MAX};
    struct vmem vm = {.size = 77};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct vmem_options huge = {.huge_pages = (enum vmem_huge_pages)none[i]};
        struct vmem_options charge = {.charge = (enum vmem_charge)(none[i] == 3 ? 2 : none[i])};
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, MIB, &huge));
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, 0, &huge));
        CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, MIB, &charge));
    }
    CHECK_EQ(vm.size, 77);
}

TEST(vmem_options, dangling_is_a_reservation_of_nothing)
{
    for (size_t alignment = 1; alignment != 0; alignment *= 2) {
        struct vmem vm = vmem_dangling(alignment);
        size_t bytes = 1;
        CHECK_EQ((uintptr_t)vm.base, alignment);
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
        CHECK_STATUS(VBUF_INVALID, vmem_decommit(&vm, 1, 0));
        CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, SIZE_MAX, 0));
        CHECK_STATUS(VBUF_INVALID, vmem_commit(&vm, 0, SIZE_MAX));
        fault_clear();
        vmem_release(&vm);
        CHECK_EQ(fault_count(FAULT_MUNMAP), 0);
        CHECK(vm.base == NULL);
    }
}

/* A reservation of size 0 is the dangling one, as aligned as any other. */
TEST(vmem_options, reserving_nothing_with_an_alignment)
{
    struct vmem_options options = {.alignment = 64 * MIB};
    struct vmem vm;
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 0, &options));
    CHECK(vm.base != NULL);
    CHECK_EQ((uintptr_t)vm.base % (64 * MIB), 0);
    CHECK_EQ(vm.size, 0);
    CHECK_EQ(fault_count(FAULT_MMAP), 0);
    vmem_release(&vm);
    options = (struct vmem_options){.min_size = 1};
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, 0, &options));
}

/* ---- smaller sizes ---- */

/* The largest reservation that the system gives, with this alignment. */
static size_t most_that_fits(size_t alignment)
{
    struct vmem_options options = {.alignment = alignment};
    size_t page = vmem_page_size(), fits = 0, does_not = GIB / page;
    while (does_not - fits > 1) {
        size_t pages = fits + (does_not - fits) / 2;
        struct vmem vm;
        if (vmem_reserve(&vm, pages * page, &options) == VBUF_OK) {
            vmem_release(&vm);
            fits = pages;
        } else {
            does_not = pages;
        }
    }
    return fits * page;
}

static void reserve_with_little_space(size_t alignment)
{
    size_t page = vmem_page_size(), most = most_that_fits(alignment);
    size_t least[] = {1, page, most / 2, most - most / 8, most - page, most};
    for (size_t i = 0; i < sizeof least / sizeof *least; i++) {
        for (size_t size = GIB; size > most; size -= (size - most) / 2 + page - 1) {
            struct vmem_options options = {.alignment = alignment, .min_size = least[i]};
            struct vmem vm;
            size = vmem_align_down(size, page);
            if (size <= most)
                break;
            REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, size, &options)));
            CHECK(vm.size <= most && vm.size >= most - most / 8 && vm.size >= least[i]);
            CHECK_EQ(vm.size % vmem_caps().granularity, 0);
            CHECK(alignment == 0 || (uintptr_t)vm.base % alignment == 0);
            CHECK_STATUS(VBUF_OK, vmem_commit(&vm, vm.size - 1, 1));
            *at(&vm, vm.size - 1) = 1;
            CHECK_STATUS(VBUF_INVALID, vmem_commit(&vm, vm.size, 1));
            vmem_release(&vm);
        }
    }
    /* All of it where it fits; none where not even the least does. */
    struct vmem vm = {.size = 77};
    struct vmem_options fits = {.alignment = alignment, .min_size = page};
    struct vmem_options too_much = {.alignment = alignment, .min_size = most + 1};
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, GIB, &too_much));
    CHECK_EQ(errno, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, most + page, &too_much));
    CHECK_EQ(vm.size, 77);
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, most, &fits)));
    CHECK_EQ(vm.size, most);
    vmem_release(&vm);
}

static void meet_little_space(void)
{
    struct vmem_options bad = {.min_size = 2 * MIB + 1};
    struct vmem vm;
    uint64_t limit = proc_virtual_size() + 64 * MIB + 5 * vmem_page_size();
    REQUIRE(proc_limit_address_space(limit));
    uint64_t before = proc_virtual_size();
    reserve_with_little_space(0);
    reserve_with_little_space(8 * MIB);
    CHECK_STATUS(VBUF_INVALID, vmem_reserve(&vm, 2 * MIB, &bad));
    CHECK_EQ(proc_virtual_size(), before);
    REQUIRE(proc_limit_address_space(UINT64_MAX));
}

TEST(vmem_options, V4_min_size_takes_what_a_limit_on_address_space_leaves)
{
    if (!running_plain())
        SKIP("the address space is not the program's alone");
    (void)vmem_caps();
    proc_in_child(meet_little_space);
}

/* The same search where the system refuses everything: it ends, and soon. */
TEST(vmem_options, V4_min_size_gives_up_after_some_200_calls)
{
    size_t size = (size_t)1 << (vmem_caps().address_bits - 1);
    struct vmem_options options = {.min_size = 1};
    struct vmem vm;
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, size, &options));
    CHECK(fault_count(FAULT_MMAP) > 2 && fault_count(FAULT_MMAP) <= 220);
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    options.min_size = size;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, size, &options));
    CHECK_EQ(fault_count(FAULT_MMAP), 1);
    fault_clear();
}

/* ---- huge pages ---- */

static void check_advice(const struct vmem *vm, const char *flag, bool there)
{
    for (size_t offset = 0; offset < vm->size; offset += vm->size / 16)
        CHECK_EQ(proc_mapping_has_flag(at(vm, offset), flag), there);
}

/* Advice stays through commit, decommit and commit again. */
static void check_advice_stays(struct vmem *vm, const char *flag, bool there)
{
    check_advice(vm, flag, there);
    CHECK_STATUS(VBUF_OK, vmem_commit(vm, 0, vm->size));
    check_advice(vm, flag, there);
    CHECK_STATUS(VBUF_OK, vmem_decommit(vm, vm->size / 4, vm->size / 2));
    check_advice(vm, flag, there);
    CHECK_STATUS(VBUF_OK, vmem_commit(vm, 0, vm->size));
    check_advice(vm, flag, there);
}

TEST(vmem_options, huge_pages_on_are_advised_and_stay_so)
{
    size_t huge = vmem_caps().huge_page_size;
    struct vmem_options options = {.huge_pages = VMEM_HUGE_PAGES_ON};
    struct vmem vm;
    if (huge == 0) {
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_reserve(&vm, MIB, &options));
        SKIP("there are no huge pages");
    }
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 8 * huge, &options)));
    CHECK_EQ((uintptr_t)vm.base % huge, 0);
    check_advice_stays(&vm, "hg", true);
    check_advice(&vm, "nh", false);
    vmem_release(&vm);
    /* One that holds no huge page need not lie so. */
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, vmem_page_size(), &options)));
    CHECK(proc_mapping_has_flag(vm.base, "hg"));
    vmem_release(&vm);
    options.alignment = 4 * huge;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, huge, &options)));
    CHECK_EQ((uintptr_t)vm.base % (4 * huge), 0);
    vmem_release(&vm);
}

TEST(vmem_options, huge_pages_on_come_when_written)
{
    size_t huge = vmem_caps().huge_page_size;
    struct vmem_options options = {.huge_pages = VMEM_HUGE_PAGES_ON};
    struct vmem vm;
    if (huge == 0 || huge > 4 * MIB)
        SKIP("there are no huge pages, or they are too large to be had");
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 8 * huge, &options)));
    size_t come = 0;
    for (int round = 0; round < 2; round++) { /* the second on recommitted memory */
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        memset(vm.base, 1, vm.size);
        come += proc_mapping_figure(vm.base, "AnonHugePages:") != 0;
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    }
    vmem_release(&vm);
    if (come == 0)
        SKIP("the system has none to give now");
    CHECK_EQ(come, 2);
}

TEST(vmem_options, huge_pages_off_are_advised_against_and_stay_so)
{
    size_t huge = vmem_caps().huge_page_size != 0 ? vmem_caps().huge_page_size : 2 * MIB;
    struct vmem_options options = {.huge_pages = VMEM_HUGE_PAGES_OFF};
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 8 * huge, &options)));
    if (!on_linux() || !proc_mapping_has_flag(vm.base, "nh")) {
        CHECK(!on_linux() || vmem_caps().huge_page_size == 0);
        vmem_release(&vm);
        SKIP("there is no such advice");
    }
    check_advice_stays(&vm, "nh", true);
    for (size_t offset = 0; offset < vm.size; offset += vmem_page_size())
        *at(&vm, offset) = 1;
    CHECK_EQ(proc_mapping_figure(vm.base, "AnonHugePages:"), 0);
    vmem_release(&vm);
}

TEST(vmem_options, huge_pages_by_default_are_nobodys_business)
{
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 8 * MIB, NULL)));
    fault_clear();
    check_advice_stays(&vm, "hg", false);
    check_advice(&vm, "nh", false);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    vmem_release(&vm);
}

/* ---- charge ---- */

/* The charge of the whole system: noisy, so one clear reading out of ten is enough. */
static bool reads_committed_as(struct vmem *vm, bool charged)
{
    for (int attempt = 0; attempt < 10; attempt++) {
        uint64_t before = proc_committed_as();
        CHECK_STATUS(VBUF_OK, vmem_commit(vm, 0, vm->size));
        uint64_t committed = proc_committed_as();
        CHECK_STATUS(VBUF_OK, vmem_decommit(vm, 0, vm->size));
        bool grew = committed > before + vm->size / 4 * 3;
        bool stayed = committed < before + vm->size / 4;
        if (charged ? grew : stayed)
            return true;
    }
    return false;
}

TEST(vmem_options, uncharged_memory_is_not_charged)
{
    struct vmem_options options = {.charge = VMEM_UNCHARGED};
    struct vmem vm;
    enum vmem_overcommit mode = vmem_caps().overcommit;
    if (mode == VMEM_OVERCOMMIT_UNKNOWN || mode == VMEM_OVERCOMMIT_NEVER) {
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_reserve(&vm, MIB, &options));
        SKIP("there is no uncharged memory");
    }
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, GIB, &options)));
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, MIB, 4 * MIB));
        CHECK(!proc_mapping_has_flag(at(&vm, MIB), "ac"));
        for (size_t i = MIB; i < 5 * MIB; i++)
            REQUIRE(*at(&vm, i) == 0);
        memset(at(&vm, MIB), 0xee, 4 * MIB);
        CHECK(resident(&vm, MIB, 4 * MIB) == 4 * MIB);
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, MIB, 4 * MIB));
        CHECK_EQ(resident(&vm, MIB, 4 * MIB), 0);
        CHECK(!proc_is_readable(at(&vm, MIB)) && !proc_is_readable(at(&vm, 5 * MIB - 1)));
    }
    CHECK(reads_committed_as(&vm, false));
    vmem_release(&vm);
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, GIB, NULL)));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, MIB, MIB));
    CHECK(proc_mapping_has_flag(at(&vm, MIB), "ac")); /* by default it is */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK(reads_committed_as(&vm, true));
    vmem_release(&vm);
}

/* ---- names ---- */

/* What a valid name comes to here. */
static enum vbuf_status named_status(void)
{
    return vmem_caps().names ? VBUF_OK : VBUF_UNSUPPORTED;
}

static void try_name(const char *name, enum vbuf_status expected)
{
    struct vmem_options options = {.name = name};
    struct vmem vm = {.size = 77};
    if (!CHECK_STATUS(expected, vmem_reserve(&vm, MIB, &options)))
        fprintf(stderr, "  of \"%s\"\n", name);
    if (expected != VBUF_OK) {
        CHECK_EQ(vm.size, 77);
        return;
    }
    CHECK(vm.options.name == name);
    vmem_release(&vm);
}

TEST(vmem_options, names_are_1_to_79_printable_characters)
{
    char name[VMEM_NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    CHECK_EQ(VMEM_NAME_MAX, 79);
    name[VMEM_NAME_MAX + 1] = '\0';
    try_name(name, VBUF_INVALID); /* 80 */
    name[VMEM_NAME_MAX] = '\0';
    try_name(name, named_status()); /* 79 */
    try_name("", VBUF_INVALID);
    try_name("a", named_status());
    for (int c = 1; c < 256; c++) {
        bool bad = c < ' ' || c > '~' || strchr("\\`$[]", c) != NULL;
        char text[3][4] = {{(char)c, 0, 0, 0}, {'a', (char)c, 0, 0}, {'a', (char)c, 'b', 0}};
        for (int i = 0; i < 3; i++)
            try_name(text[i], bad ? VBUF_INVALID : named_status());
    }
}

TEST(vmem_options, names_show_in_the_systems_books_and_stay)
{
    struct vmem_options options = {.name = "vbuf: a test's"};
    const char *shown = "[anon:vbuf: a test's]";
    struct vmem vm;
    if (!vmem_caps().names)
        SKIP("the system has no names");
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 8 * MIB, &options)));
    CHECK_EQ(proc_named_bytes(vm.base, vm.size, shown), vm.size);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, MIB, 4 * MIB));
    CHECK_EQ(proc_named_bytes(vm.base, vm.size, shown), vm.size);
    memset(at(&vm, MIB), 1, 4 * MIB);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 2 * MIB, MIB));
    CHECK_EQ(proc_named_bytes(vm.base, vm.size, shown), vm.size);
    CHECK_EQ(proc_count_mappings(vm.base, vm.size), 5);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK_EQ(proc_named_bytes(vm.base, vm.size, shown), vm.size);
    CHECK_EQ(proc_count_mappings(vm.base, vm.size), 1);
    vmem_release(&vm);
}

/* ---- readable ---- */

TEST(vmem_options, V1_readable_memory_reads_as_zeros_without_a_charge_until_it_is_committed)
{
    size_t page = vmem_page_size(), committed = 1;
    struct vmem_options options = {.readable = true};
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 64 * page, &options)));
    CHECK(pages_hold(&vm, 0, 64, 0));
    CHECK(!proc_mapping_has_flag(vm.base, "ac"));
    CHECK(!proc_mapping_has_flag(vm.base, "wr"));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 16 * page, 8 * page));
    memset(page_at(&vm, 16), 7, 8 * page);
    CHECK(pages_hold(&vm, 0, 16, 0) && pages_hold(&vm, 16, 8, 7) && pages_hold(&vm, 24, 40, 0));
    enum vbuf_status known = vmem_committed(&vm, 0, vm.size, &committed);
    CHECK(known == VBUF_UNSUPPORTED || (known == VBUF_OK && committed == 8 * page));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 16 * page, 4 * page));
    CHECK(pages_hold(&vm, 0, 20, 0) && pages_hold(&vm, 20, 4, 7) && pages_hold(&vm, 24, 40, 0));
    CHECK(!proc_mapping_has_flag(page_at(&vm, 16), "wr"));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK(pages_hold(&vm, 0, 64, 0));
    vmem_release(&vm);
}
