/*
 * vmem.h - raw virtual memory: reserve, commit, decommit, prefault, release.
 *
 * A reservation is a range of addresses and nothing else: no memory, no commit charge (V1).
 * Committing part of it makes that part readable and writable, zeroed, and charged against the
 * system's commit limit; physical pages arrive at first touch, or at once with vmem_prefault (V3).
 * Decommitting gives back both the pages and the charge (V2). Every refusal by the system is a
 * status (V4).
 *
 * Ranges are (offset, length) in bytes from the start of the reservation. Commit, prefault,
 * vmem_resident and vmem_committed round outward to whole pages, decommit rounds inward.
 *
 * Calls that may overlap: all but reserve and release may run at the same time from any threads on
 * one reservation; a page that is committed and decommitted at once ends as either, and what
 * vmem_resident and vmem_committed tell of it is either. Reserve and release need exclusive access.
 * All of them may block in the kernel.
 *
 * After fork the child has a copy: its own pages, committed and written apart from the parent's.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_VMEM_H
#define VBUF_VMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "status.h"

VBUF_BEGIN_DECLS

enum vmem_huge_pages {
    VMEM_HUGE_PAGES_DEFAULT, /* as the system does without being told */
    VMEM_HUGE_PAGES_ON,      /* advised: quicker to fault and to reach, by the huge page */
    VMEM_HUGE_PAGES_OFF,     /* advised against: memory use is by the page */
};

enum vmem_charge {
    VMEM_CHARGED, /* commit charges; how much the system then refuses is its overcommit mode's affair */
    VMEM_UNCHARGED, /* commit charges nothing; running out of memory may be a kill instead of a status */
};

/* How the system keeps its books: /proc/sys/vm/overcommit_memory. */
enum vmem_overcommit {
    VMEM_OVERCOMMIT_UNKNOWN,
    VMEM_OVERCOMMIT_HEURISTIC, /* refuses what obviously cannot be */
    VMEM_OVERCOMMIT_ALWAYS,    /* refuses nothing */
    VMEM_OVERCOMMIT_NEVER,     /* refuses what goes past the limit; knows no uncharged memory */
};

#define VMEM_NAME_MAX 79 /* characters in a name */

/* What kind of reservation. {0} is the default of all. */
struct vmem_options {
    size_t
        alignment; /* of base: a power of two; at least the page size, and the huge page size where
                         huge pages are on and one fits, whatever is asked */
    size_t
        min_size; /* bytes: what the system cannot give may be smaller, down to this; 0: may not */
    enum vmem_huge_pages huge_pages;
    enum vmem_charge charge;
    bool readable; /* what is not committed reads as zeros, still uncharged, instead of trapping */
    const char *name; /* shown by the system, in /proc/self/maps as [anon:name]; 1 to VMEM_NAME_MAX
                         printable characters other than \ ` $ [ ]. NULL: none. Not copied: it stays
                         valid until the reservation is released */
};

/* A reservation. Read the fields as you like; only vmem calls write them. {0} is a valid one, of size 0. */
struct vmem {
    void *base;                                       /* page-aligned, or as the options asked */
    size_t size;                                      /* bytes, a multiple of the page size */
    struct vmem_options options;                      /* as given */
    struct vbuf_atomic_u64 lost_from_end_, lost_end_; /* only grow; see vmem.c */
};

/* Facts about this system. */
struct vmem_facts {
    size_t page_size;   /* bytes: the unit of commit and decommit */
    size_t granularity; /* bytes: the unit of reserve */
    size_t
        huge_page_size; /* bytes: of a transparent huge page; 0 when there are none, or never any */
    bool populate;      /* the system can prefault without touching (MADV_POPULATE_WRITE) */
    bool names;         /* the system can name a reservation */
    enum vmem_overcommit overcommit;
    unsigned address_bits; /* user address space, such as 47 */
};

/* The page size in bytes, a power of two. Any thread; wait-free after the first call. */
VBUF_API size_t vmem_page_size(void);

/*
 * What this system can do, as found at the first call (what it could not tell then, for lack of file
 * descriptors, is 0 and is looked for again). Any thread; cheap after that.
 */
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
 * A reservation of size 0 whose base is not NULL and aligned to `alignment`, a power of two. Every
 * call takes it, with ranges of length 0; releasing it gives nothing back, because it holds nothing.
 */
static inline struct vmem vmem_dangling(size_t alignment)
{
    struct vmem vm = {(void *)alignment,
                      0,
                      {alignment, 0, VMEM_HUGE_PAGES_DEFAULT, VMEM_CHARGED, false, NULL},
                      {0},
                      {0}};
    return vm;
}

/*
 * Reserves at least `size` bytes of address space, rounded up to the granularity, into *vm. Size 0
 * gives the dangling reservation. `options` may be NULL. With options.min_size, and a refusal of
 * `size`, reserves less: within an eighth of the most that the system gives, and
 * at least min_size; vm->size tells.
 * Returns VBUF_INVALID iff vm is NULL, the alignment is not a power of two, min_size exceeds size,
 * the name has a wrong length or character, an enumeration has no such value, or size and alignment
 * overflow; VBUF_UNSUPPORTED iff the system has no names, no huge pages to be on, or no uncharged
 * memory (in strict overcommit mode, and where the system does not tell the mode); VBUF_NOMEM iff it
 * has no such range to give, or cannot tell for now whether it supports the options. Costs one to some
 * 200 system calls: one to ten, depending on the options, unless space is short.
 */
VBUF_API enum vbuf_status vmem_reserve(struct vmem *vm, size_t size,
                                       const struct vmem_options *options);

/*
 * Makes the pages that [offset, offset + length) touches readable and writable. Pages committed
 * before keep their content; others read as zero. Length 0 does nothing. One system call.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the system refuses, and
 * then what was committed before stays committed, with its content; or iff the range touches what
 * was lost (see vmem_lost; errno is EFAULT).
 */
VBUF_API enum vbuf_status vmem_commit(struct vmem *vm, size_t offset, size_t length);

/*
 * Gives back the pages that lie wholly inside [offset, offset + length), their content and their
 * commit charge; touching them faults until they are committed again. Pages not committed are fine.
 * Advice and name stay; should the system refuse just that, the pages go without. One system call,
 * and one each for advice and name.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the system refuses (it
 * may need a mapping of its own: vm.max_map_count), and then the pages are as they were, unless
 * vmem_lost says that they are lost; or iff the range touches what was lost (errno is EFAULT).
 */
VBUF_API enum vbuf_status vmem_decommit(struct vmem *vm, size_t offset, size_t length);

/*
 * Backs the pages that [offset, offset + length) touches with physical memory, now. They must be
 * committed. Their content stays. May run while other threads write to them.
 * Returns VBUF_INVALID iff the range leaves the reservation, or part of it is not committed and the
 * system can tell; VBUF_NOMEM iff the system has no memory for it: part may then be backed; or iff
 * the range touches what was lost (errno is EFAULT).
 */
VBUF_API enum vbuf_status vmem_prefault(struct vmem *vm, size_t offset, size_t length);

/*
 * Advises the system to back the pages that [offset, offset + length) touches, in one call, where it has
 * one for that (vmem_caps().populate); elsewhere does nothing. A refusal is not told, nor tried again; part
 * may then be backed. Content, errno and what is committed stay as they are. May run while other threads
 * read and write there. A range that leaves the reservation, or touches what was lost, is ignored.
 */
VBUF_API void vmem_populate(struct vmem *vm, size_t offset, size_t length);

/*
 * How many bytes of the pages that [offset, offset + length) touches are in physical memory. Costs a
 * system call for each 1,024 pages.
 * Returns VBUF_INVALID iff the range leaves the reservation or resident is NULL; VBUF_UNSUPPORTED iff
 * the system has no means to tell; VBUF_NOMEM iff it refuses.
 */
VBUF_API enum vbuf_status vmem_resident(const struct vmem *vm, size_t offset, size_t length,
                                        size_t *resident);

/*
 * How many bytes of the pages that [offset, offset + length) touches are committed, from the
 * system's books: on Linux /proc/self/maps, so the cost grows with the mappings of the process.
 * Returns VBUF_INVALID iff the range leaves the reservation or committed is NULL; VBUF_UNSUPPORTED
 * iff the system has no means to tell (/proc is not there); VBUF_NOMEM iff it refuses for now (file
 * descriptors are short).
 */
VBUF_API enum vbuf_status vmem_committed(const struct vmem *vm, size_t offset, size_t length,
                                         size_t *committed);

/*
 * Bytes of the reservation that are out of use. Where the system takes the old mapping of a
 * decommit away, then fails to make the new one, and refuses to close the hole, another mapping of
 * the program may come to lie there: the library then neither uses nor gives back anything from the
 * first to the last byte of all such ranges. 0 in all but theory. Any thread; wait-free.
 */
VBUF_API size_t vmem_lost(const struct vmem *vm);

/*
 * Gives the whole reservation back and makes *vm {0}. Releasing {0} is fine. Where the system has no
 * mapping left for that (vm.max_map_count), it gets the pages, but may keep the address space, and at
 * worst the charge; with no more than POSIX it may keep all of it.
 */
VBUF_API void vmem_release(struct vmem *vm);

VBUF_END_DECLS

#endif
