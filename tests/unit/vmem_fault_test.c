/*
 * vmem_fault_test.c - V4: every refusal by the system is a status, errno says why, what was committed
 * stays usable, nothing leaks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vmem_pages.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

TEST(vmem_fault, V4_reserve_nomem_when_mmap_fails)
{
    struct vmem vm = {.base = &vm, .size = 77};
    struct vmem_options options = {.alignment = 2 * MIB};
    fault_clear();
    uint64_t before = proc_virtual_size();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, NULL));
    CHECK_EQ(errno, ENOMEM);
    fault_fail_at(FAULT_MMAP, 1, EAGAIN);
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, &options));
    CHECK_EQ(errno, EAGAIN);
    CHECK(vm.base == &vm);
    CHECK_EQ(vm.size, 77);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, NULL));
    vmem_release(&vm);
}

TEST(vmem_fault, V4_reserve_nomem_when_the_system_has_no_such_range)
{
    struct vmem vm = {.base = &vm, .size = 77};
    uint64_t before = proc_virtual_size();
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, SIZE_MAX / 4, NULL));
    CHECK_EQ(errno, ENOMEM);
    struct vmem_options options = {.alignment = SIZE_MAX / 4 + 1};
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, vmem_page_size(), &options));
    CHECK_EQ(vm.size, 77);
    if (BUILD_PLAIN)
        CHECK_EQ(proc_virtual_size(), before);
}

/* The slack in front and behind may stay, but the reservation is whole and aligned. */
TEST(vmem_fault, V4_reserve_survives_a_failing_trim)
{
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct vmem_options options = {.alignment = 64 * MIB};
        struct vmem vm;
        fault_clear();
        fault_fail_at(FAULT_MUNMAP, nth, ENOMEM);
        REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, &options)));
        fault_clear();
        CHECK_EQ((uintptr_t)vm.base % options.alignment, 0);
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
        memset(vm.base, 1, vm.size);
        vmem_release(&vm);
    }
}

TEST(vmem_fault, V4_commit_nomem_keeps_what_was_committed)
{
    struct vmem vm = reserve_pages(8);
    size_t page = vmem_page_size();
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 2 * page));
    memset(vm.base, 0x77, 2 * page);
    int errors[] = {ENOMEM, EAGAIN};
    for (size_t i = 0; i < 2; i++) {
        fault_fail_at(FAULT_MPROTECT, 1, errors[i]);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, vmem_commit(&vm, page, 4 * page));
        CHECK_EQ(errno, errors[i]);
        CHECK_EQ(pages_readable(&vm), 2);
        for (size_t b = 0; b < 2 * page; b++)
            REQUIRE(*at(&vm, b) == 0x77);
        *at(&vm, 2 * page - 1) = 0x77; /* still writable */
    }
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, page, 4 * page));
    CHECK_EQ(pages_readable(&vm), 5);
    CHECK_EQ(*at(&vm, 2 * page - 1), 0x77);
    CHECK_EQ(*at(&vm, 2 * page), 0);
    vmem_release(&vm);
}

TEST(vmem_fault, V4_decommit_nomem_leaves_the_pages_as_they_were)
{
    struct vmem vm = reserve_pages(8);
    size_t page = vmem_page_size();
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 0x66, vm.size);
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(errno, ENOMEM);
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, EAGAIN); /* the retry finds the old mapping in its place */
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(errno, EAGAIN);
    fault_clear();
    for (size_t i = 0; i < vm.size; i++)
        REQUIRE(*at(&vm, i) == 0x66);
    memset(vm.base, 0x55, vm.size); /* still writable */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(pages_readable(&vm), 6);
    vmem_release(&vm);
}

TEST(vmem_fault, V4_prefault_statuses)
{
    if (!vmem_caps().populate)
        SKIP("this kernel has no call to fail");
    struct vmem vm = reserve_pages(8);
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 3, vmem_page_size());
    fault_fail_at(FAULT_MADVISE, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(*at(&vm, 0), 3);
    fault_fail_at(FAULT_MADVISE, 1, EINVAL); /* how the system says: not committed */
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, 0, vm.size));
    fault_fail_at(FAULT_MADVISE, 1, EAGAIN); /* not a refusal: tried again */
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), vm.size);
    CHECK_EQ(*at(&vm, 0), 3);
    vmem_release(&vm);
}

TEST(vmem_fault, release_keeps_errno)
{
    struct vmem vm = reserve_pages(1);
    void *base = vm.base;
    size_t size = vm.size;
    fault_clear();
    fault_fail_at(FAULT_MUNMAP, 1, EINVAL);
    errno = ENOMEM;
    vmem_release(&vm); /* as an error path does */
    CHECK_EQ(errno, ENOMEM);
    CHECK(vm.base == NULL);
    CHECK_EQ(vm.size, 0);
    munmap(base, size);
    fault_clear();
}

static void meet_address_space_limit(void)
{
    struct vmem vm;
    REQUIRE(proc_limit_address_space(proc_virtual_size() + 64 * MIB));
    uint64_t before = proc_virtual_size();
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, GIB, NULL));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(proc_virtual_size(), before);
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 16 * MIB, NULL)));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    *at(&vm, vm.size - 1) = 1;
    vmem_release(&vm);
    REQUIRE(proc_limit_address_space(UINT64_MAX));
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, GIB, NULL));
    vmem_release(&vm);
}

TEST(vmem_fault, V4_the_systems_limit_on_address_space_makes_reserve_fail)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers need the address space");
    proc_in_child(meet_address_space_limit);
}

static void meet_data_limit(void)
{
    struct vmem vm;
    REQUIRE(proc_limit_data(proc_data_size() + 64 * MIB));
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, GIB, NULL))); /* V1: not data */
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, MIB));
    memset(vm.base, 0x42, MIB);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_commit(&vm, 0, GIB));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(*at(&vm, 0), 0x42);
    CHECK_EQ(*at(&vm, MIB - 1), 0x42);
    CHECK(!proc_is_readable(at(&vm, MIB)));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, MIB, MIB)); /* what fits, still fits */
    /* V2: what is given back can be committed again, as often as one likes. */
    for (int round = 0; round < 8; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 512 * MIB, 40 * MIB));
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 512 * MIB, 40 * MIB));
    }
    REQUIRE(proc_limit_data(UINT64_MAX));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, GIB));
    CHECK_EQ(*at(&vm, MIB - 1), 0x42);
    vmem_release(&vm);
}

TEST(vmem_fault, V4_the_systems_limit_on_data_makes_commit_fail)
{
    if (!BUILD_PLAIN)
        SKIP("sanitizers need the memory");
    proc_in_child(meet_data_limit);
}

/* Every second page decommitted is a mapping more, until the system has no more to give. */
static void meet_mapping_limit(void)
{
    size_t pages = 150000, page = vmem_page_size();
    struct vmem vm = reserve_pages(pages);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    enum vbuf_status status = VBUF_OK;
    size_t p = 1;
    for (; p < pages && status == VBUF_OK; p += 2) {
        *at(&vm, p * page) = 7;
        errno = 0;
        status = vmem_decommit(&vm, p * page, page);
    }
    p -= 2;
    REQUIRE(CHECK_STATUS(VBUF_NOMEM, status));
    CHECK_EQ(errno, ENOMEM);
    CHECK(proc_is_readable(at(&vm, p * page)));
    CHECK_EQ(*at(&vm, p * page), 7);
    *at(&vm, p * page) = 8;
    vmem_release(&vm); /* even now */
    vm = reserve_pages(8);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page, page));
    vmem_release(&vm);
}

TEST(vmem_fault, V4_the_systems_limit_on_mappings_makes_decommit_fail)
{
    unsigned most = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (file != NULL) {
        if (fscanf(file, "%u", &most) != 1)
            most = 0;
        fclose(file);
    }
    if (!BUILD_PLAIN || most == 0 || most > 140000)
        SKIP("no limit that a test could reach");
    proc_in_child(meet_mapping_limit);
}
