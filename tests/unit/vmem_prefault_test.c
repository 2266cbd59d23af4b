/*
 * vmem_prefault_test.c - V3: prefaulted memory is there, its content kept; and what vmem_resident counts.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

TEST(vmem, V3_after_prefault_no_touch_faults)
{
    size_t page = vmem_page_size();
    size_t pages = 4096;
    struct vmem vm = reserve_pages(pages);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), vm.size);
    volatile unsigned char *bytes = vm.base;
    long before = proc_minor_faults();
    before = proc_minor_faults(); /* twice: the first call may fault itself */
    for (size_t i = 0; i < pages; i++)
        bytes[i * page] = 1;
    long faults = proc_minor_faults() - before;
    if (running_plain()) /* else the touches fault in other memory too */
        CHECK(faults <= 4);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    vmem_release(&vm);
}

TEST(vmem, V3_prefault_keeps_content_and_rounds_outward)
{
    size_t page = vmem_page_size();
    struct vmem vm = reserve_pages(16);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    for (size_t p = 0; p < 16; p += 3)
        memset(at(&vm, p * page), (int)p + 1, page);
    CHECK_EQ(resident(&vm, 0, vm.size), 6 * page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 2 * page - 1, 2)); /* pages 1 and 2 */
    CHECK_EQ(resident(&vm, 0, vm.size), 8 * page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 4 * page, 0)); /* nothing */
    CHECK_EQ(resident(&vm, 0, vm.size), 8 * page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), vm.size);
    for (size_t i = 0; i < vm.size; i++)
        REQUIRE(*at(&vm, i) == (i / page % 3 == 0 ? i / page + 1 : 0));
    vmem_release(&vm);
}

TEST(vmem, prefault_of_the_uncommitted_is_invalid_where_the_system_can_tell)
{
    size_t page = vmem_page_size();
    if (!vmem_caps().populate)
        SKIP("this kernel cannot tell");
    struct vmem vm = reserve_pages(8);
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, 0, page));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 2 * page, 2 * page));
    memset(at(&vm, 2 * page), 9, 2 * page);
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, 2 * page, 3 * page));
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 2 * page, 2 * page));
    CHECK_EQ(*at(&vm, 4 * page - 1), 9);
    vmem_release(&vm);
}

TEST(vmem, populate_is_prefault_without_a_word)
{
    size_t page = vmem_page_size();
    if (!vmem_caps().populate)
        SKIP("this kernel cannot");
    struct vmem vm = reserve_pages(16);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 8 * page));
    memset(at(&vm, page), 9, page);
    vmem_populate(&vm, 2 * page - 1, 2); /* pages 1 and 2 */
    CHECK_EQ(resident(&vm, 0, vm.size), 2 * page);
    errno = 4242;
    vmem_populate(&vm, 4 * page, 0); /* these ask for nothing */
    vmem_populate(&vm, 0, vm.size + 1);
    vmem_populate(&vm, SIZE_MAX, 2);
    CHECK_EQ(resident(&vm, 0, vm.size), 2 * page);
    vmem_populate(&vm, 8 * page, page); /* not committed: it stays so */
    CHECK_EQ(errno, 4242);
    CHECK_EQ(resident(&vm, 8 * page, 8 * page), 0);
    CHECK(!proc_is_readable(at(&vm, 8 * page)));
    vmem_populate(&vm, 0, 8 * page);
    CHECK_EQ(resident(&vm, 0, vm.size), 8 * page);
    for (size_t i = 0; i < 8 * page; i++)
        REQUIRE(*at(&vm, i) == (i / page == 1 ? 9 : 0));
    vmem_release(&vm);
}

TEST(vmem, resident_counts_touched_pages_and_rounds_outward)
{
    size_t page = vmem_page_size();
    if (!on_linux())
        SKIP("no books");
    struct vmem vm = reserve_pages(3000); /* more than one batch of the system call */
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    size_t touched = 0;
    for (size_t p = 0; p < 3000; p += 7, touched++)
        *at(&vm, p * page + 5) = 1;
    CHECK_EQ(resident(&vm, 0, vm.size), touched * page);
    CHECK_EQ(resident(&vm, 7 * page, 1), page);
    CHECK_EQ(resident(&vm, 8 * page, 1), 0);
    CHECK_EQ(resident(&vm, 7 * page + 1, 7 * page), 2 * page); /* pages 7 to 14 */
    CHECK_EQ(resident(&vm, 7 * page, 0), 0);
    CHECK_STATUS(VBUF_INVALID, vmem_resident(&vm, 0, page, NULL));
    vmem_release(&vm);
}

/* Counters on every page; a writer for half of them while the other thread prefaults all, again. */
struct prefaulted {
    struct vmem vm;
    struct gate done;
};

static void write_or_prefault(void *context, unsigned index)
{
    struct prefaulted *p = context;
    if (index == 0) {
        for (size_t offset = 0; offset < p->vm.size; offset += 64)
            *at(&p->vm, offset) = (unsigned char)(offset / 64 % 251 + 1);
        gate_open(&p->done);
        return;
    }
    do {
        CHECK_STATUS(VBUF_OK, vmem_prefault(&p->vm, 0, p->vm.size));
    } while (!gate_is_open(&p->done));
}

TEST(vmem, V3_prefault_may_run_while_others_write)
{
    struct prefaulted p = {.vm = reserve_pages(1024)};
    CHECK_STATUS(VBUF_OK, vmem_commit(&p.vm, 0, p.vm.size));
    team_run(2, write_or_prefault, &p);
    for (size_t offset = 0; offset < p.vm.size; offset += 64)
        REQUIRE(*at(&p.vm, offset) == offset / 64 % 251 + 1);
    vmem_release(&p.vm);
}
