/*
 * vmem_books_test.c - memory and charge as the system keeps account of them: V1, V2 and V3 in its
 * figures; and vmem_resident and vmem_committed, which read them, against a model.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vmem_pages.h"

/* ---- V1 to V3 ---- */

/* As much as ThreadSanitizer and valgrind take, where they are. */
static size_t huge_size(void)
{
    if (running_in_valgrind())
        return 16 * GIB;
    return BUILD_PLAIN ? 16 * TIB : 64 * GIB;
}

/* What a sanitizer's bookkeeping may add to the process. */
static size_t slack(void)
{
    return running_plain() ? MIB : 16 * MIB;
}

TEST(vmem_books, V1_a_huge_reservation_costs_neither_memory_nor_charge)
{
    uint64_t resident_before = proc_resident_size();
    uint64_t charged_before = proc_committed_as();
    struct vmem vm;
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, huge_size(), NULL)));
    CHECK(!proc_mapping_has_flag(vm.base, "ac"));
    CHECK(!proc_mapping_has_flag(at(&vm, vm.size - 1), "ac"));
    CHECK(proc_committed_as() < charged_before + vm.size / 8); /* the rest is other programs */
    CHECK(proc_resident_size() < resident_before + slack());
    CHECK_EQ(proc_mapping_figure(vm.base, "Rss:"), 0);
    CHECK(!proc_is_readable(vm.base));
    /* Using either end costs those pages only. */
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 1));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, vm.size - 1, 1));
    *at(&vm, 0) = 1;
    *at(&vm, vm.size - 1) = 2;
    CHECK_EQ(proc_mapping_figure(at(&vm, vm.size / 2), "Rss:"), 0);
    CHECK_EQ(proc_resident_bytes(vm.base, 64 * vmem_page_size()), vmem_page_size());
    CHECK(proc_resident_size() < resident_before + slack());
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK_EQ(proc_mapping_figure(vm.base, "Rss:"), 0);
    vmem_release(&vm);
}

TEST(vmem_books, V2_decommit_gives_back_pages_and_flagged_charge)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(64);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 16 * page, 32 * page));
    memset(page_at(&vm, 16), 1, 32 * page);
    CHECK(proc_mapping_has_flag(page_at(&vm, 16), "ac"));
    CHECK_EQ(resident(&vm, 0, vm.size), 32 * page);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 16 * page, 16 * page));
    CHECK(!proc_mapping_has_flag(page_at(&vm, 16), "ac"));
    CHECK(!proc_mapping_has_flag(page_at(&vm, 32) - 1, "ac"));
    CHECK(proc_mapping_has_flag(page_at(&vm, 32), "ac"));
    CHECK_EQ(resident(&vm, 0, vm.size), 16 * page);
    CHECK_EQ(proc_resident_bytes(vm.base, vm.size), 16 * page);
    CHECK(pages_hold(&vm, 32, 16, 1));
    vmem_release(&vm);
}

/* The system-wide figure: noisy, so one clear reading out of ten is enough. */
TEST(vmem_books, V2_decommit_gives_back_committed_as)
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
        seen = committed > reserved + GIB / 4 * 3 && decommitted + GIB / 4 * 3 < committed &&
               decommitted < reserved + GIB / 8;
    }
    CHECK(seen);
    vmem_release(&vm);
}

TEST(vmem_books, V2_the_process_is_as_small_after_decommit_as_before)
{
    size_t size = BUILD_COUNT(128, 32) * MIB;
    struct vmem vm = reserve_pages(size / vmem_page_size());
    uint64_t before = proc_resident_size();
    for (int round = 0; round < 3; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, size));
        for (size_t offset = 0; offset < size; offset += vmem_page_size())
            *at(&vm, offset) = 1;
        CHECK(proc_resident_size() > before + size - slack());
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, size));
        CHECK(BUILD_THREAD_SANITIZER ||
              proc_resident_size() < before + slack()); /* its shadow stays */
        CHECK_EQ(proc_resident_bytes(vm.base, size), 0);
    }
    vmem_release(&vm);
}

/* Faults of writing to each page, once. */
static long faults_of_touching(struct vmem *vm)
{
    volatile unsigned char *bytes = vm->base;
    size_t page = vmem_page_size();
    long before = proc_minor_faults();
    before = proc_minor_faults(); /* twice: the first call may fault itself */
    for (size_t offset = 0; offset < vm->size; offset += page)
        bytes[offset] = 1;
    return proc_minor_faults() - before;
}

/* The kernel may take a page away at any moment, so one reading of none out of ten is enough. */
TEST(vmem_books, V3_no_minor_fault_after_prefault)
{
    if (!running_plain())
        SKIP("not only the touched pages fault");
    size_t pages = 2048;
    struct vmem vm = reserve_pages(pages);
    long least = LONG_MAX;
    for (int attempt = 0; attempt < 10 && least != 0; attempt++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
        long faults = faults_of_touching(&vm);
        least = faults < least ? faults : least;
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    }
    CHECK_EQ(least, 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK(faults_of_touching(&vm) >= (long)pages); /* so the figure can tell */
    vmem_release(&vm);
}

/* ---- vmem_resident and vmem_committed ---- */

TEST(vmem_books, without_books_they_are_unsupported)
{
    struct vmem vm = reserve_pages(2);
    size_t bytes = 77;
    if (on_linux()) {
        fault_clear();
        fault_fail_at(FAULT_MINCORE, 1, ENOSYS);
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_resident(&vm, 0, 1, &bytes));
        fault_fail_at(FAULT_MINCORE, 1, EPERM);
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_resident(&vm, 0, 1, &bytes));
        fault_fail_at(FAULT_OPEN, 1, ENOENT);
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_committed(&vm, 0, 1, &bytes));
        fault_clear();
    } else {
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_resident(&vm, 0, 1, &bytes));
        CHECK_STATUS(VBUF_UNSUPPORTED, vmem_committed(&vm, 0, 1, &bytes));
    }
    CHECK_STATUS(VBUF_INVALID, vmem_resident(&vm, 0, 1, NULL));
    CHECK_STATUS(VBUF_INVALID, vmem_committed(&vm, 0, 1, NULL));
    CHECK_STATUS(VBUF_INVALID, vmem_resident(&vm, 0, 0, NULL));
    CHECK_STATUS(VBUF_INVALID, vmem_committed(&vm, 0, 0, NULL));
    CHECK_EQ(bytes, 77); /* written on VBUF_OK only */
    vmem_release(&vm);
}

static size_t committed(const struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, vmem_committed(vm, offset, length, &bytes));
    return bytes;
}

TEST(vmem_books, both_round_outward)
{
    size_t page = vmem_page_size();
    if (!on_linux())
        SKIP("no books");
    struct vmem vm = reserve_pages(8);
    CHECK_EQ(committed(&vm, 0, vm.size), 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 2 * page, 3 * page));
    *page_at(&vm, 3) = 1;
    CHECK_EQ(committed(&vm, 0, vm.size), 3 * page);
    CHECK_EQ(committed(&vm, 2 * page, 1), page);
    CHECK_EQ(committed(&vm, 3 * page - 1, 2), 2 * page);
    CHECK_EQ(committed(&vm, 2 * page - 1, 1), 0);
    CHECK_EQ(committed(&vm, 5 * page - 1, 2), page);
    CHECK_EQ(committed(&vm, 3 * page, 0), 0);
    CHECK_EQ(resident(&vm, 3 * page - 1, 1), 0);
    CHECK_EQ(resident(&vm, 3 * page - 1, 2), page);
    CHECK_EQ(resident(&vm, 4 * page - 1, 1), page);
    CHECK_EQ(resident(&vm, 3 * page + 1, 0), 0);
    vmem_release(&vm);
}

#define MODEL_PAGES 2500 /* more than two of the system's batches */

struct model {
    struct vmem vm;
    struct check_rng rng;
    bool committed[MODEL_PAGES], written[MODEL_PAGES];
};

static size_t below(struct model *m, size_t limit)
{
    return (size_t)(check_rng_next(&m->rng) % limit);
}

/* A range in bytes, often of few pages, seldom on their borders. */
static void draw_range(struct model *m, size_t *offset, size_t *length)
{
    size_t page = vmem_page_size();
    size_t most = below(m, 4) == 0 ? m->vm.size : 40 * page;
    *offset = below(m, m->vm.size + 1);
    *length = below(m, most + 1);
    if (below(m, 3) == 0)
        *offset = vmem_align_down(*offset, page);
    if (*length > m->vm.size - *offset)
        *length = m->vm.size - *offset;
}

static void change(struct model *m)
{
    size_t page = vmem_page_size(), offset, length;
    draw_range(m, &offset, &length);
    size_t first = offset / page, end = vmem_align_up(offset + length, page) / page;
    switch (below(m, 3)) {
    case 0:
        CHECK_STATUS(VBUF_OK, vmem_commit(&m->vm, offset, length));
        for (size_t p = first; p < end && length != 0; p++)
            m->committed[p] = true;
        break;
    case 1:
        CHECK_STATUS(VBUF_OK, vmem_decommit(&m->vm, offset, length));
        first = vmem_align_up(offset, page) / page;
        end = (offset + length) / page;
        for (size_t p = first; p < end; p++)
            m->committed[p] = m->written[p] = false;
        break;
    default:
        for (size_t p = first; p < end; p += 1 + below(m, 5)) {
            if (m->committed[p]) {
                *page_at(&m->vm, p) = 1;
                m->written[p] = true;
            }
        }
    }
}

static void compare(struct model *m)
{
    size_t page = vmem_page_size(), offset, length, is_committed = 0, is_written = 0;
    draw_range(m, &offset, &length);
    size_t end = length == 0 ? 0 : vmem_align_up(offset + length, page) / page;
    for (size_t p = offset / page; p < end; p++) {
        is_committed += m->committed[p];
        is_written += m->written[p];
    }
    CHECK_EQ(committed(&m->vm, offset, length), is_committed * page);
    CHECK_EQ(resident(&m->vm, offset, length), is_written * page);
}

TEST(vmem_books, both_agree_with_a_model)
{
    static struct model m;
    if (!on_linux())
        SKIP("no books");
    memset(&m, 0, sizeof m);
    m.rng.state = check_seed();
    m.vm = reserve_pages(MODEL_PAGES);
    for (int step = 0; step < BUILD_COUNT(3000, 1000) && check_failures() == 0; step++) {
        change(&m);
        compare(&m);
    }
    CHECK_STATUS(VBUF_OK, vmem_decommit(&m.vm, 0, m.vm.size));
    CHECK_EQ(committed(&m.vm, 0, m.vm.size), 0);
    CHECK_EQ(resident(&m.vm, 0, m.vm.size), 0);
    vmem_release(&m.vm);
}

/* The books in an unusual hand, read in pieces of any length. */
TEST(vmem_books, committed_reads_the_mappings_as_they_are_written)
{
    char text[4096];
    size_t page = vmem_page_size(), pieces[] = {0, 1, 2, 7, 64}, bytes = 77;
    if (!on_linux())
        SKIP("no books");
    struct vmem vm = reserve_pages(16);
    uintptr_t b = (uintptr_t)vm.base, p = page;
    snprintf(
        text, sizeof text,
        "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0\n"
        "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0                          [anon:rw-p]\n"
        "%" PRIxPTR "-%" PRIxPTR " rwxp 00000000 00:00 0\n"
        "%" PRIxPTR "-%" PRIxPTR " r--p 0000f000 08:01 12345   /a path/with rw-p 0-ffff in it\n"
        "%" PRIxPTR "-%" PRIxPTR " -w-p 00000000 00:00 0\n"
        "%" PRIxPTR "-%" PRIxPTR " ---p 00000000 00:00 0\n"
        "%" PRIxPTR "-%" PRIxPTR " rw-s 00000000 00:00 0\n"
        "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0\n"
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
        (uintptr_t)0x1000, b, b + p, b + 3 * p, b + 3 * p, b + 4 * p, b + 4 * p, b + 5 * p,
        b + 5 * p, b + 6 * p, b + 6 * p, b + 7 * p, b + 7 * p, b + 9 * p, b + 10 * p, b + 20 * p);
    fault_clear();
    fault_pretend_file("/proc/self/maps", text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        fault_shorten_reads(pieces[i]);
        CHECK_EQ(committed(&vm, 0, vm.size), 11 * page);
        CHECK_EQ(committed(&vm, 0, page), 0);
        CHECK_EQ(committed(&vm, 2 * page, page), page);
        CHECK_EQ(committed(&vm, 2 * page, 2 * page), 2 * page);
        CHECK_EQ(committed(&vm, 4 * page, 3 * page), 0);
        CHECK_EQ(committed(&vm, 15 * page, page), page);
    }
    int file = proc_next_file();
    fault_shorten_reads(64);
    fault_fail_at(FAULT_READ, 3, EIO); /* half-way is not good enough */
    CHECK_STATUS(VBUF_UNSUPPORTED, vmem_committed(&vm, 0, vm.size, &bytes));
    CHECK_EQ(bytes, 77);
    CHECK_EQ(proc_next_file(), file);
    fault_shorten_reads(0);
    fault_clear();
    fault_pretend_no_files();
    CHECK_EQ(committed(&vm, 0, vm.size), 0);
    vmem_release(&vm);
}
