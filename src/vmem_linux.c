/*
 * vmem_linux.c - vmem on Linux.
 *
 *   reserve    mmap PROT_NONE: a private mapping that cannot be written is not charged (V1).
 *   commit     mprotect read-write: charges, and fails cleanly when the limit is reached. The mapping is
 *              made without MAP_NORESERVE on purpose: with it mprotect would not charge, and running out
 *              would be a kill instead of a status.
 *   decommit   a fresh PROT_NONE mapping over the range. madvise and mprotect would give back the pages
 *              but not the charge (V2).
 *   prefault   MADV_POPULATE_WRITE (5.14); MADV_WILLNEED does nothing for anonymous memory (V3). On older
 *              kernels a CAS of a byte with itself in every page, which keeps the content whoever
 *              else writes. (Adding 0 would do, but compilers make a load of it.)
 *
 * mmap with MAP_FIXED may fail with the old mapping already gone. The hole would be open to
 * anybody's next mmap, so decommit closes it with a mapping that replaces nothing; when that works,
 * the decommit worked.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system.h"
#include "vbuf/atomic.h"
#include "vmem_os.h"

#if !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif
#if !defined(MAP_FIXED_NOREPLACE)
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static struct vmem_facts facts;
static pthread_once_t facts_once = PTHREAD_ONCE_INIT;

/* The number a one-line file holds, or 0. */
static size_t number_in_file(const char *path)
{
    char text[32];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text);
    close(file);
    size_t number = 0;
    for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        number = number * 10 + (size_t)(text[i] - '0');
    return number;
}

static void find_facts(void)
{
    facts.page_size = (size_t)sysconf(_SC_PAGESIZE);
    facts.granularity = facts.page_size;
    facts.huge_page_size = number_in_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    /* Of no bytes: says whether the kernel knows the advice. */
    facts.populate = vbuf_sys_madvise(NULL, 0, MADV_POPULATE_WRITE) == 0;
    /* The stack lies at the top of what a program may use. */
    facts.address_bits = 64 - (unsigned)__builtin_clzll((uintptr_t) & (char){0});
}

struct vmem_facts vmem_os_facts(void)
{
    pthread_once(&facts_once, find_facts);
    return facts;
}

void *vmem_os_reserve(size_t size, size_t alignment)
{
    size_t slack = alignment - facts.page_size;
    char *start = vbuf_sys_mmap(NULL, size + slack, PROT_NONE, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)start & (alignment - 1));
    if (before != 0)
        vbuf_sys_munmap(start, before);
    if (slack != before)
        vbuf_sys_munmap(start + before + size, slack - before);
    return start + before;
}

bool vmem_os_commit(void *address, size_t size)
{
    return vbuf_sys_mprotect(address, size, PROT_READ | PROT_WRITE) == 0;
}

bool vmem_os_decommit(void *address, size_t size)
{
    if (vbuf_sys_mmap(address, size, PROT_NONE, MAP_FIXED) != MAP_FAILED)
        return true;
    int reason = errno;
    void *closed = vbuf_sys_mmap(address, size, PROT_NONE, MAP_FIXED_NOREPLACE);
    if (closed == address)
        return true;
    if (closed != MAP_FAILED) /* a kernel that does not know the flag takes it for a hint */
        vbuf_sys_munmap(closed, size);
    errno = reason;
    return false;
}

static void touch_each_page(void *address, size_t size)
{
    for (size_t offset = 0; offset < size; offset += facts.page_size) {
        struct vbuf_atomic_u8 *byte = (struct vbuf_atomic_u8 *)((char *)address + offset);
        uint8_t seen = vbuf_u8_load_relaxed(byte); /* the CAS decides */
        vbuf_u8_cas_acquire(byte, &seen, seen);    /* fails only if another has written there */
    }
}

enum vbuf_status vmem_os_prefault(void *address, size_t size)
{
    if (!facts.populate) {
        touch_each_page(address, size);
        return VBUF_OK;
    }
    while (vbuf_sys_madvise(address, size, MADV_POPULATE_WRITE) != 0) {
        if (errno == EAGAIN || errno == EINTR)
            continue;
        return errno == ENOMEM || errno == EHWPOISON ? VBUF_NOMEM : VBUF_INVALID;
    }
    return VBUF_OK;
}

bool vmem_os_resident(void *address, size_t size, size_t *resident)
{
    unsigned char pages[1024];
    size_t count = 0;
    for (size_t offset = 0; offset < size; offset += sizeof pages * facts.page_size) {
        size_t part = size - offset;
        if (part > sizeof pages * facts.page_size)
            part = sizeof pages * facts.page_size;
        if (vbuf_sys_mincore((char *)address + offset, part, pages) != 0)
            return false;
        for (size_t i = 0; i < part / facts.page_size; i++)
            count += pages[i] & 1;
    }
    *resident = count * facts.page_size;
    return true;
}

void vmem_os_release(void *address, size_t size)
{
    /* It may have to split a mapping that the kernel merged, and find no room for another. */
    if (vbuf_sys_munmap(address, size) != 0)
        vmem_os_decommit(address, size);
}
