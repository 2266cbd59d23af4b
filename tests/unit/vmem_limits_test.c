/*
 * vmem_limits_test.c - V4 against the system's own limits, without privilege: address space (RLIMIT_AS),
 * memory (RLIMIT_DATA), and the number of mappings (vm.max_map_count).
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
#include "vmem_pages.h"

TEST(vmem_limits, V4_reserve_nomem_when_the_system_has_no_such_range)
{
    struct vmem vm = {.base = &vm, .size = 77};
    uint64_t before = proc_virtual_size();
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, SIZE_MAX / 4, NULL));
    CHECK(errno == ENOMEM || (errno == EINVAL && running_in_valgrind()));
    struct vmem_options options = {.alignment = SIZE_MAX / 4 + 1};
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, vmem_page_size(), &options));
    CHECK_EQ(vm.size, 77);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
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

TEST(vmem_limits, V4_the_systems_limit_on_address_space_makes_reserve_fail)
{
    if (!running_plain())
        SKIP("the address space is not the program's alone");
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

TEST(vmem_limits, V4_the_systems_limit_on_data_makes_commit_fail)
{
    if (!running_plain())
        SKIP("the memory is not the program's alone");
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

TEST(vmem_limits, V4_the_systems_limit_on_mappings_makes_decommit_fail)
{
    char text[32];
    proc_read_text("/proc/sys/vm/max_map_count", text, sizeof text);
    unsigned long most = strtoul(text, NULL, 10);
    if (!running_plain() || most == 0 || most > 140000)
        SKIP("no limit that a test could reach");
    proc_in_child(meet_mapping_limit);
}
