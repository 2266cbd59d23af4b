/*
 * vmem_touch_test.c - prefault on a kernel that lacks MADV_POPULATE_WRITE: pages are touched instead.
 *
 * A program of its own, because the system is asked once: every test makes it say no first.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

static void ask_an_old_kernel(void)
{
    fault_fail_from(FAULT_MADVISE, 1, EINVAL);
    CHECK(!vmem_caps().populate);
}

TEST(vmem_touch, caps_say_that_the_system_cannot_populate)
{
    ask_an_old_kernel();
    CHECK(vmem_caps().page_size > 0);
}

TEST(vmem_touch, V3_prefault_prefaults_without_the_systems_help)
{
    ask_an_old_kernel();
    struct vmem vm = reserve_pages(256);
    size_t page = vmem_page_size();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    memset(at(&vm, 10 * page), 0xee, page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, page + 1, 100 * page)); /* pages 1 to 101 */
    CHECK_EQ(resident(&vm, 0, vm.size), 101 * page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), vm.size);
    for (size_t i = 0; i < vm.size; i++)
        REQUIRE(*at(&vm, i) == (i / page == 10 ? 0xee : 0));
    vmem_release(&vm);
}

/* Reading first would find the page of zeros, and writing then fault again. */
TEST(vmem_touch, V3_touching_faults_once_a_page)
{
    ask_an_old_kernel();
    if (!running_plain())
        SKIP("not only the touched pages fault");
    long pages = 2048, least = LONG_MAX;
    struct vmem vm = reserve_pages((size_t)pages);
    for (int attempt = 0; attempt < 10 && least > pages; attempt++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        long before = proc_minor_faults();
        CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
        long faults = proc_minor_faults() - before;
        least = faults < least ? faults : least;
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    }
    CHECK(least <= pages + 8);
    vmem_release(&vm);
}

TEST(vmem_touch, populate_does_nothing)
{
    ask_an_old_kernel();
    struct vmem vm = reserve_pages(8);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    fault_clear();
    vmem_populate(&vm, 0, vm.size);
    CHECK_EQ(resident(&vm, 0, vm.size), 0);
    CHECK_EQ(fault_count(FAULT_MADVISE), 0);
    vmem_release(&vm);
}

/* Counters on every page, counted up by one thread while the other prefaults: none may be lost. */
struct counted {
    struct vmem vm;
    struct gate done;
};

#define COUNTED_ROUNDS 200

static void count_or_prefault(void *context, unsigned index)
{
    struct counted *c = context;
    size_t page = vmem_page_size();
    if (index == 0) {
        for (int round = 0; round < COUNTED_ROUNDS; round++) {
            for (size_t offset = 0; offset < c->vm.size; offset += page)
                vbuf_u32_fetch_add_relaxed((struct vbuf_atomic_u32 *)(void *)at(&c->vm, offset), 1);
        }
        gate_open(&c->done);
        return;
    }
    do {
        CHECK_STATUS(VBUF_OK, vmem_prefault(&c->vm, 0, c->vm.size));
    } while (!gate_is_open(&c->done));
}

TEST(vmem_touch, V3_touching_loses_no_write_of_others)
{
    ask_an_old_kernel();
    struct counted c = {.vm = reserve_pages(64)};
    CHECK_STATUS(VBUF_OK, vmem_commit(&c.vm, 0, c.vm.size));
    team_run(2, count_or_prefault, &c);
    for (size_t offset = 0; offset < c.vm.size; offset += vmem_page_size()) {
        struct vbuf_atomic_u32 *counter = (struct vbuf_atomic_u32 *)(void *)at(&c.vm, offset);
        REQUIRE(CHECK_EQ(vbuf_u32_load_relaxed(counter), COUNTED_ROUNDS));
    }
    vmem_release(&c.vm);
}

TEST(vmem_touch, prefault_arguments_are_checked_all_the_same)
{
    ask_an_old_kernel();
    struct vmem vm = reserve_pages(2);
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, 0, vm.size + 1));
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, SIZE_MAX, 1));
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, 0)); /* nothing is committed, nothing is touched */
    vmem_release(&vm);
}
