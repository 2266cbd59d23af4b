/*
 * vmem_pages.h - a reservation counted in pages, for the vmem tests.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VMEM_PAGES_H
#define VMEM_PAGES_H

#include <sys/mman.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vbuf/vmem.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define TIB ((size_t)1 << 40)

/* The library stands on Linux, not on POSIX alone: it has books, advice and names, if the kernel has. */
static inline bool on_linux(void)
{
    return fault_has_call(FAULT_MINCORE);
}

/* A reservation of `pages` pages. Huge pages would blur what the tests count. */
static inline struct vmem reserve_pages(size_t pages)
{
    struct vmem vm = {.size = 0};
    struct vmem_options options = {.huge_pages = VMEM_HUGE_PAGES_OFF};
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, pages * vmem_page_size(), &options));
    if (pages != 0) /* again, where the library knows no advice */
        madvise(vm.base, vm.size, MADV_NOHUGEPAGE);
    return vm;
}

static inline unsigned char *at(const struct vmem *vm, size_t offset)
{
    return (unsigned char *)vm->base + offset;
}

static inline unsigned char *page_at(const struct vmem *vm, size_t page)
{
    return at(vm, page * vmem_page_size());
}

/* As vmem_resident says, or, where that is not supported, as the kernel tells the test. */
static inline size_t resident(const struct vmem *vm, size_t offset, size_t length)
{
    size_t bytes = SIZE_MAX, page = vmem_page_size();
    enum vbuf_status status = vmem_resident(vm, offset, length, &bytes);
    if (status == VBUF_UNSUPPORTED && length != 0) {
        size_t first = vmem_align_down(offset, page);
        bytes = proc_resident_bytes(at(vm, first), vmem_align_up(offset + length, page) - first);
    } else {
        CHECK_STATUS(VBUF_OK, status);
    }
    return bytes;
}

static inline size_t pages_readable(const struct vmem *vm)
{
    size_t count = 0;
    for (size_t offset = 0; offset < vm->size; offset += vmem_page_size())
        count += proc_is_readable(at(vm, offset));
    return count;
}

/* Every byte of `pages` pages from `first` on is `byte`. */
static inline bool pages_hold(const struct vmem *vm, size_t first, size_t pages, unsigned char byte)
{
    size_t end = (first + pages) * vmem_page_size();
    for (size_t i = first * vmem_page_size(); i < end; i++) {
        if (*at(vm, i) != byte)
            return false;
    }
    return true;
}

#endif
