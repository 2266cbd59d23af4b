/*
 * vmem.h - raw virtual memory: reserve, commit, decommit, prefault, release.
 *
 * A reservation is a range of addresses and nothing else: no memory, no commit charge (V1).
 * Committing part of it makes that part readable and writable, zeroed, and charged against the
 * system's commit limit; physical pages arrive at first touch, or at once with vmem_prefault (V3).
 * Decommitting gives back both the pages and the charge (V2). Every refusal by the system is a
 * status (V4).
 *
 * Ranges are (offset, length) in bytes from the start of the reservation. Commit and prefault round
 * outward to whole pages, decommit rounds inward.
 *
 * Calls that may overlap: commit, prefault and decommit of one reservation may run at the same time
 * from any threads; a page that is committed and decommitted at once ends as either. Reserve and
 * release need exclusive access. All of them may block in the kernel.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_VMEM_H
#define VBUF_VMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

VBUF_BEGIN_DECLS

/* A reservation. Read the fields as you like; only vmem calls write them. {0} is a valid, empty one. */
struct vmem {
    void *base;  /* page-aligned, or as the options asked; NULL iff size is 0 */
    size_t size; /* bytes, a multiple of the page size */
};

struct vmem_options {
    size_t alignment; /* of base: a power of two; 0 means the page size */
};

/* Facts about this system. */
struct vmem_facts {
    size_t page_size;      /* bytes: the unit of commit and decommit */
    size_t granularity;    /* bytes: the unit of reserve */
    size_t huge_page_size; /* bytes: of a transparent huge page; 0 when there are none */
    bool populate;         /* the system can prefault without touching (MADV_POPULATE_WRITE) */
    unsigned address_bits; /* user address space, such as 47 */
};

/* The page size in bytes, a power of two. Any thread; wait-free. */
VBUF_API size_t vmem_page_size(void);

/* What this system can do. Any thread; cheap after the first call. */
VBUF_API struct vmem_facts vmem_caps(void);

/* `size` rounded to a multiple of `alignment`, a power of two. Rounding up past SIZE_MAX gives 0. */
static inline size_t vmem_align_up(size_t size, size_t alignment)
{
    return (size + (alignment - 1)) & ~(alignment - 1);
}

static inline size_t vmem_align_down(size_t size, size_t alignment)
{
    return size & ~(alignment - 1);
}

/*
 * Reserves at least `size` bytes of address space, rounded up to the granularity, into *vm. Size 0
 * gives the empty reservation. `options` may be NULL.
 * Returns VBUF_INVALID iff the alignment is not a power of two, or size and alignment overflow;
 * VBUF_NOMEM iff the system has no such range to give. Costs one to three system calls.
 */
VBUF_API enum vbuf_status vmem_reserve(struct vmem *vm, size_t size,
                                       const struct vmem_options *options);

/*
 * Makes the pages that [offset, offset + length) touches readable and writable. Pages committed
 * before keep their content; others read as zero. Length 0 does nothing.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the system refuses, and
 * then what was committed before stays committed, with its content.
 */
VBUF_API enum vbuf_status vmem_commit(struct vmem *vm, size_t offset, size_t length);

/*
 * Gives back the pages that lie wholly inside [offset, offset + length), their content and their
 * commit charge; touching them faults until they are committed again. Pages not committed are fine.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the system refuses (it
 * needs a mapping of its own: vm.max_map_count), and then the pages are as they were.
 */
VBUF_API enum vbuf_status vmem_decommit(struct vmem *vm, size_t offset, size_t length);

/*
 * Backs the pages that [offset, offset + length) touches with physical memory, now. They must be
 * committed. Their content stays. May run while other threads write to them.
 * Returns VBUF_INVALID iff the range leaves the reservation, or part of it is not committed and the
 * system can tell; VBUF_NOMEM iff the system has no memory for it: part may then be backed.
 */
VBUF_API enum vbuf_status vmem_prefault(struct vmem *vm, size_t offset, size_t length);

/*
 * How many bytes of the pages that [offset, offset + length) touches are in physical memory.
 * Returns VBUF_INVALID iff the range leaves the reservation or resident is NULL; VBUF_NOMEM iff the
 * system does not tell.
 */
VBUF_API enum vbuf_status vmem_resident(const struct vmem *vm, size_t offset, size_t length,
                                        size_t *resident);

/* Gives the whole reservation back and makes *vm the empty one. Releasing the empty one is fine. */
VBUF_API void vmem_release(struct vmem *vm);

VBUF_END_DECLS

#endif
