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
 * The exception is what was lost (see vmem_lost): one range, from the first byte ever lost to the
 * last, kept as two words that only grow, so that threads which lose ranges at the same time need no
 * lock either. The lower end is kept as its distance from the end of the reservation: nothing lost
 * is then all zeros. Relaxed is enough for both: the thread that lost a range has written both when
 * its call returns, and nobody else has a right to the range before that synchronises with it.
 *
 * LeakSanitizer does not look into memory it did not hand out: it would report whatever a user
 * keeps alive only through a container. Reservations are registered with it; it reads their
 * readable part.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/vmem.h"

#include <errno.h>
#include <string.h>

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

/* ---- what was lost ---- */

static size_t lost_begin(const struct vmem *vm)
{
    return vm->size - (size_t)vbuf_u64_load_relaxed(&vm->lost_from_end_); /* see the essay */
}

static size_t lost_end(const struct vmem *vm)
{
    return (size_t)vbuf_u64_load_relaxed(&vm->lost_end_); /* see the essay */
}

static void lose(struct vmem *vm, size_t offset, size_t length)
{
    vbuf_u64_max_release(&vm->lost_end_, offset + length);
    vbuf_u64_max_release(&vm->lost_from_end_, vm->size - offset);
}

size_t vmem_lost(const struct vmem *vm)
{
    size_t begin = lost_begin(vm), end = lost_end(vm);
    return begin < end ? end - begin : 0;
}

/* A range that is not empty; sets errno. */
static bool range_is_lost(const struct vmem *vm, size_t offset, size_t length)
{
    if (VBUF_LIKELY(lost_end(vm) <= offset || lost_begin(vm) >= offset + length))
        return false;
    errno = EFAULT;
    return true;
}

/* ---- public ---- */

size_t vmem_page_size(void)
{
    return vmem_os_page_size();
}

struct vmem_facts vmem_caps(void)
{
    return vmem_os_facts();
}

static bool is_valid_name(const char *name)
{
    size_t length = 0;
    for (; name[length] != '\0'; length++) {
        char c = name[length];
        if (length == VMEM_NAME_MAX || c < ' ' || c > '~' || strchr("\\`$[]", c) != NULL)
            return false;
    }
    return length != 0;
}

static bool is_valid_options(const struct vmem_options *options, size_t size)
{
    return (options->alignment == 0 || is_power_of_two(options->alignment)) &&
           options->min_size <= size && (unsigned)options->huge_pages <= VMEM_HUGE_PAGES_OFF &&
           (unsigned)options->charge <= VMEM_UNCHARGED &&
           (options->name == NULL || is_valid_name(options->name));
}

static size_t choose_alignment(const struct vmem_options *options, const struct vmem_facts *facts,
                               size_t size)
{
    size_t least = facts->page_size;
    if (options->huge_pages == VMEM_HUGE_PAGES_ON && facts->huge_page_size > least &&
        size >= facts->huge_page_size)
        least = facts->huge_page_size;
    return options->alignment > least ? options->alignment : least;
}

/* Tries *size, then less and less down to options->min_size, if there is one. */
static enum vbuf_status reserve_some(size_t *size, size_t alignment, const struct vmem_facts *facts,
                                     const struct vmem_options *options, void **base)
{
    size_t least = options->min_size == 0 ? *size : options->min_size;
    least = vmem_align_up(least, facts->granularity);
    for (;;) {
        enum vbuf_status status = vmem_os_reserve(*size, alignment, options, base);
        if (status != VBUF_NOMEM || *size <= least)
            return status;
        size_t less = vmem_align_down(*size - *size / 8, facts->granularity);
        less = less < *size ? less : *size - facts->granularity;
        *size = less > least ? less : least;
    }
}

enum vbuf_status vmem_reserve(struct vmem *vm, size_t size, const struct vmem_options *options)
{
    static const struct vmem_options defaults = {.alignment = 0};
    if (options == NULL)
        options = &defaults;
    if (vm == NULL || !is_valid_options(options, size))
        return VBUF_INVALID;
    struct vmem_facts facts = vmem_caps();
    if (size > SIZE_MAX - facts.granularity)
        return VBUF_INVALID;
    size = vmem_align_up(size, facts.granularity);
    size_t alignment = choose_alignment(options, &facts, size);
    if (alignment > SIZE_MAX - size)
        return VBUF_INVALID;
    enum vbuf_status supported = vmem_os_supports(options);
    if (supported != VBUF_OK)
        return supported;
    void *base = vmem_dangling(alignment).base;
    if (size != 0) {
        enum vbuf_status status = reserve_some(&size, alignment, &facts, options, &base);
        if (status != VBUF_OK)
            return status;
        add_leak_root(base, size);
    }
    *vm = (struct vmem){.base = base, .size = size, .options = *options};
    return VBUF_OK;
}

enum vbuf_status vmem_commit(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length))
        return VBUF_INVALID;
    if (length == 0)
        return VBUF_OK;
    round_outward(&offset, &length);
    if (range_is_lost(vm, offset, length))
        return VBUF_NOMEM;
    return vmem_os_commit((char *)vm->base + offset, length);
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
    length = end - offset;
    if (range_is_lost(vm, offset, length))
        return VBUF_NOMEM;
    bool lost = false;
    enum vbuf_status status =
        vmem_os_decommit((char *)vm->base + offset, length, &vm->options, &lost);
    if (lost)
        lose(vm, offset, length);
    return status;
}

enum vbuf_status vmem_prefault(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length))
        return VBUF_INVALID;
    if (length == 0)
        return VBUF_OK;
    round_outward(&offset, &length);
    if (range_is_lost(vm, offset, length))
        return VBUF_NOMEM;
    return vmem_os_prefault((char *)vm->base + offset, length);
}

void vmem_populate(struct vmem *vm, size_t offset, size_t length)
{
    if (!range_is_inside(vm, offset, length) || length == 0)
        return;
    int reason = errno; /* it is advice: the caller never learns of a failure */
    round_outward(&offset, &length);
    if (!range_is_lost(vm, offset, length))
        vmem_os_populate((char *)vm->base + offset, length);
    errno = reason;
}

void vmem_touch(void *address, size_t size, size_t page)
{
    for (size_t offset = 0; offset < size; offset += page) {
        struct vbuf_atomic_u8 *byte = (struct vbuf_atomic_u8 *)((char *)address + offset);
        uint8_t seen = 0; /* right for a fresh page: a look at it first would be a fault more */
        if (!vbuf_u8_cas_acquire(byte, &seen, seen))
            vbuf_u8_cas_acquire(byte, &seen, seen); /* fails only if another has written there */
    }
}

enum vbuf_status vmem_resident(const struct vmem *vm, size_t offset, size_t length,
                               size_t *resident)
{
    if (!range_is_inside(vm, offset, length) || resident == NULL)
        return VBUF_INVALID;
    size_t bytes = 0;
    if (length != 0) {
        round_outward(&offset, &length);
        enum vbuf_status status = vmem_os_resident((char *)vm->base + offset, length, &bytes);
        if (status != VBUF_OK)
            return status;
    }
    *resident = bytes;
    return VBUF_OK;
}

enum vbuf_status vmem_committed(const struct vmem *vm, size_t offset, size_t length,
                                size_t *committed)
{
    if (!range_is_inside(vm, offset, length) || committed == NULL)
        return VBUF_INVALID;
    size_t bytes = 0;
    if (length != 0) {
        round_outward(&offset, &length);
        enum vbuf_status status = vmem_os_committed((char *)vm->base + offset, length, &bytes);
        if (status != VBUF_OK)
            return status;
    }
    *committed = bytes;
    return VBUF_OK;
}

static void release_part(struct vmem *vm, size_t begin, size_t end)
{
    if (begin < end)
        vmem_os_release((char *)vm->base + begin, end - begin);
}

void vmem_release(struct vmem *vm)
{
    if (vm->size != 0) {
        int reason = errno; /* releasing is what error paths do: keep the reason they return */
        remove_leak_root(vm->base, vm->size);
        if (vmem_lost(vm) == 0) {
            release_part(vm, 0, vm->size);
        } else {
            release_part(vm, 0, lost_begin(vm));
            release_part(vm, lost_end(vm), vm->size);
        }
        errno = reason;
    }
    *vm = (struct vmem){.base = NULL, .size = 0};
}
