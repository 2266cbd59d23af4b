/*
 * vmem.c - reservations: arguments checked, ranges rounded, the rest is the system's file.
 *
 *      base                                                          base + size
 *      |  committed  |     reserved     |  committed  |   reserved   |
 *      |  rw, charged|  none, free      |  rw, charged|  none, free  |
 *
 * A page is committed or it is not; there is no further state, here or in the library. Which pages
 * are is the system's knowledge alone, so commit and decommit are idempotent and need no lock of
 * ours. Every check is written so that no sum can overflow before it is compared.
 *
 * LeakSanitizer does not look into memory it did not hand out: it would report whatever a user
 * keeps alive only through a container. Reservations are registered with it; it reads their
 * readable part.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/vmem.h"

#include <errno.h>

#include "vmem_os.h"

/* There iff the program runs under LeakSanitizer. */
void __lsan_register_root_region(const void *address, size_t size) __attribute__((weak));
void __lsan_unregister_root_region(const void *address, size_t size) __attribute__((weak));

static void add_leak_root(const void *address, size_t size)
{
    if (__lsan_register_root_region != NULL)
        __lsan_register_root_region(address, size);
}

static void remove_leak_root(const void *address, size_t size)
{
    if (__lsan_unregister_root_region != NULL)
        __lsan_unregister_root_region(address, size);
}

static bool is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static bool range_is_inside(const struct vmem *vm, size_t offset, size_t length)
{
    return vm != NULL && offset <= vm->size && length <= vm->size - offset;
}

/* The pages a range touches. The reservation ends on a page, so rounding up stays inside it. */
static void round_outward(size_t *offset, size_t *length)
{
    size_t page = vmem_page_size();
    size_t end = vmem_align_up(*offset + *length, page);
    *offset = vmem_align_down(*offset, page);
    *length = end - *offset;
}

size_t vmem_page_size(void)
{
    return vmem_caps().page_size;
}

struct vmem_facts vmem_caps(void)
{
    return vmem_os_facts();
}

enum vbuf_status vmem_reserve(struct vmem *vm, size_t size, const struct vmem_options *options)
{
    if (vm == NULL)
        return VBUF_INVALID;
    struct vmem_facts facts = vmem_caps();
    size_t alignment = options != NULL && options->alignment != 0 ? options->alignment : 1;
    if (!is_power_of_two(alignment) || size > SIZE_MAX - facts.granularity)
        return VBUF_INVALID;
    size = vmem_align_up(size, facts.granularity);
    if (alignment > SIZE_MAX - size)
        return VBUF_INVALID;
    void *base = NULL;
    if (size != 0) {
        base = vmem_os_reserve(size, alignment > facts.page_size ? alignment : facts.page_size);
        if (base == NULL)
            return VBUF_NOMEM;
        add_leak_root(base, size);
    }
    *vm = (struct vmem){.base = base, .size = size};
    return VBUF_OK;
}

enum vbuf_status vmem_commit(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length))
        return VBUF_INVALID;
    if (length == 0)
        return VBUF_OK;
    round_outward(&offset, &length);
    return vmem_os_commit((char *)vm->base + offset, length) ? VBUF_OK : VBUF_NOMEM;
}

enum vbuf_status vmem_decommit(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length))
        return VBUF_INVALID;
    size_t page = vmem_page_size();
    size_t end = vmem_align_down(offset + length, page);
    offset = vmem_align_up(offset, page);
    if (offset >= end)
        return VBUF_OK;
    return vmem_os_decommit((char *)vm->base + offset, end - offset) ? VBUF_OK : VBUF_NOMEM;
}

enum vbuf_status vmem_prefault(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length))
        return VBUF_INVALID;
    if (length == 0)
        return VBUF_OK;
    round_outward(&offset, &length);
    return vmem_os_prefault((char *)vm->base + offset, length);
}

enum vbuf_status vmem_resident(const struct vmem *vm, size_t offset, size_t length,
                               size_t *resident)
{
    if (!range_is_inside(vm, offset, length) || resident == NULL)
        return VBUF_INVALID;
    size_t bytes = 0;
    if (length != 0) {
        round_outward(&offset, &length);
        if (!vmem_os_resident((char *)vm->base + offset, length, &bytes))
            return VBUF_NOMEM;
    }
    *resident = bytes;
    return VBUF_OK;
}

void vmem_release(struct vmem *vm)
{
    if (vm->size != 0) {
        int reason = errno; /* releasing is what error paths do: keep the reason they return */
        remove_leak_root(vm->base, vm->size);
        vmem_os_release(vm->base, vm->size);
        errno = reason;
    }
    *vm = (struct vmem){.base = NULL, .size = 0};
}
