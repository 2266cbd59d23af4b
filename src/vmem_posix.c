/*
 * vmem_posix.c - vmem with nothing but what POSIX has (POSIX.1-2024, for MAP_ANONYMOUS).
 *
 *   reserve    mmap PROT_NONE. Whether that is charged is the system's affair; most do not.
 *   commit     mprotect read-write.
 *   decommit   a fresh PROT_NONE mapping over the range: the one form that gives back pages, charge
 *              and content at once by what the standard says about MAP_FIXED.
 *   prefault   a CAS of a byte with itself in every page, which keeps the content whoever else writes.
 *
 * POSIX has no advice about huge pages, no names, no uncharged memory, and no books to ask: those
 * are VBUF_UNSUPPORTED. It does allow mmap with MAP_FIXED to fail with the old mapping gone. The hole is
 * closed by asking for the address without MAP_FIXED: a system that finds it free gives it. When it
 * does not, msync tells whether the whole range is mapped, which is the old mapping, unchanged; or
 * the range is lost.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _DEFAULT_SOURCE /* a C library older than the standard hides MAP_ANONYMOUS without it */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system.h"
#include "vmem_os.h"

size_t vmem_os_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

struct vmem_facts vmem_os_facts(void)
{
    size_t page = vmem_os_page_size();
    return (struct vmem_facts){
        .page_size = page,
        .granularity = page,
        .overcommit = VMEM_OVERCOMMIT_UNKNOWN,
        /* The stack lies near the top of what a program may use, unless it is a fibre's. */
        .address_bits = 64 - (unsigned)__builtin_clzll((uintptr_t) & (char){0}),
    };
}

enum vbuf_status vmem_os_supports(const struct vmem_options *options)
{
    bool plain = options->name == NULL && options->huge_pages != VMEM_HUGE_PAGES_ON &&
                 options->charge == VMEM_CHARGED;
    return plain ? VBUF_OK : VBUF_UNSUPPORTED;
}

/* Of what is not committed. */
static int protection(const struct vmem_options *options)
{
    return options->readable ? PROT_READ : PROT_NONE;
}

/* Cuts [start, start + size + slack) down to an aligned range of `size` bytes, or gives it all back. */
static void *trim(char *start, size_t size, size_t slack, size_t alignment)
{
    size_t before = (size_t)(-(uintptr_t)start & (alignment - 1)), after = slack - before;
    if ((before == 0 || vbuf_sys_munmap(start, before) == 0) &&
        (after == 0 || vbuf_sys_munmap(start + before + size, after) == 0))
        return start + before;
    int reason = errno; /* it would have to split a mapping that the system joined with another */
    vbuf_sys_munmap(start, size + slack);
    errno = reason;
    return NULL;
}

enum vbuf_status vmem_os_reserve(size_t size, size_t alignment, const struct vmem_options *options,
                                 void **base)
{
    size_t slack = alignment - vmem_os_page_size();
    char *start = vbuf_sys_mmap(NULL, size + slack, protection(options), 0);
    if (start == MAP_FAILED)
        return VBUF_NOMEM;
    *base = trim(start, size, slack, alignment);
    return *base != NULL ? VBUF_OK : VBUF_NOMEM;
}

enum vbuf_status vmem_os_commit(void *address, size_t size)
{
    return vbuf_sys_mprotect(address, size, PROT_READ | PROT_WRITE) == 0 ? VBUF_OK : VBUF_NOMEM;
}

/* Maps the range afresh if the system finds it free. */
static bool close_hole(void *address, size_t size, const struct vmem_options *options)
{
    void *closed = vbuf_sys_mmap(address, size, protection(options), 0);
    if (closed != MAP_FAILED && closed != address)
        vbuf_sys_munmap(closed, size);
    return closed == address;
}

enum vbuf_status vmem_os_decommit(void *address, size_t size, const struct vmem_options *options,
                                  bool *lost)
{
    if (vbuf_sys_mmap(address, size, protection(options), MAP_FIXED) != MAP_FAILED)
        return VBUF_OK;
    int reason = errno;
    if (close_hole(address, size, options))
        return VBUF_OK;
    *lost = vbuf_sys_msync(address, size, MS_ASYNC) != 0; /* ENOMEM: not mapped throughout */
    errno = reason;
    return VBUF_NOMEM;
}

enum vbuf_status vmem_os_prefault(void *address, size_t size)
{
    vmem_touch(address, size, vmem_os_page_size());
    return VBUF_OK;
}

void vmem_os_populate(void *address, size_t size)
{
    (void)address, (void)size; /* POSIX has no such advice */
}

enum vbuf_status vmem_os_resident(void *address, size_t size, size_t *resident)
{
    (void)address, (void)size, (void)resident;
    return VBUF_UNSUPPORTED;
}

enum vbuf_status vmem_os_committed(void *address, size_t size, size_t *committed)
{
    (void)address, (void)size, (void)committed;
    return VBUF_UNSUPPORTED;
}

void vmem_os_release(void *address, size_t size)
{
    static const struct vmem_options plain = {.alignment = 0};
    bool lost = false;
    if (vbuf_sys_munmap(address, size) != 0)
        vmem_os_decommit(address, size, &plain, &lost);
}
