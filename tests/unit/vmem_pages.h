/*
 * vmem_pages.h - a reservation counted in pages, for the vmem tests.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VMEM_PAGES_H
#define VMEM_PAGES_H

#include <sys/mman.h>

#include "check.h"
#include "proc.h"
#include "vbuf/vmem.h"

/* A reservation of `pages` pages. Huge pages would blur what the tests count. */
static inline struct vmem reserve_pages(size_t pages)
{
    struct vmem vm = {.size = 0};
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, pages * vmem_page_size(), NULL));
    if (pages != 0)
        madvise(vm.base, vm.size, MADV_NOHUGEPAGE);
    return vm;
}

static inline unsigned char *at(const struct vmem *vm, size_t offset)
{
    return (unsigned char *)vm->base + offset;
}

static inline size_t resident(const struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes = SIZE_MAX;
    CHECK_STATUS(VBUF_OK, vmem_resident(vm, offset, length, &bytes));
    return bytes;
}

static inline size_t pages_readable(const struct vmem *vm)
{
    size_t count = 0;
    for (size_t offset = 0; offset < vm->size; offset += vmem_page_size())
        count += proc_is_readable(at(vm, offset));
    return count;
}

#endif
