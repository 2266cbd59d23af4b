/*
 * vbuf.h - a buffer of bytes that grows in place.
 *
 * Its address never changes: vbuf_init reserves address space for `max` bytes, and growth commits
 * more of it. Memory is paid for when it is touched. One thread owns a buffer: every call but
 * vbuf_commit needs exclusive access. vbuf_commit is what the concurrent containers stand on.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_VBUF_H
#define VBUF_VBUF_H

#include <stddef.h>

#include "status.h"
#include "vmem.h"

VBUF_BEGIN_DECLS

/*
 * Asked before `bytes` more bytes, a multiple of the page size, are committed, on the thread that needs them; may run on several
 * threads at once. Returns true to allow. May be asked again for bytes it allowed before, when the
 * system then refused them, or when two threads raced to commit the same range. Must not call back
 * into the object.
 */
typedef bool vbuf_commit_hook(void *context, size_t bytes);

struct vbuf_options {
    size_t max;                  /* bytes of address space; required */
    size_t alignment;            /* of the base: a power of two; 0 means the page size */
    vbuf_commit_hook *on_commit; /* may be NULL */
    void *context;               /* handed to on_commit */
};

/* Read the fields as you like; only vbuf calls write them. */
struct vbuf {
    unsigned char *data; /* the base: page-aligned, fixed for the buffer's life */
    size_t len;          /* bytes in use, from data[0]; owner only */
    size_t capacity;     /* bytes committed from data[0], by the owner's calls; owner only */
    size_t max;          /* bytes that will ever fit */
    struct vmem memory;
    vbuf_commit_hook *on_commit;
    void *context;
};

/*
 * Reserves address space; commits nothing.
 * Returns VBUF_INVALID iff buffer or options is NULL, max is 0, the alignment is not a power of two, or
 * they overflow SIZE_MAX; VBUF_NOMEM iff the system has no such range. Costs one to three system calls.
 */
VBUF_API enum vbuf_status vbuf_init(struct vbuf *buffer, const struct vbuf_options *options);

/* Gives everything back. Destroying a zeroed struct, or twice, is fine. */
VBUF_API void vbuf_destroy(struct vbuf *buffer);

/*
 * Makes room for at least `capacity` bytes in all, so that the owner can fill them without a
 * further commit. Grows at least by doubling; when that much is refused, by what is needed.
 * Returns VBUF_FULL iff capacity exceeds max; VBUF_NOMEM iff the memory is refused.
 */
VBUF_API enum vbuf_status vbuf_reserve(struct vbuf *buffer, size_t capacity);

/*
 * Sets len. New bytes read as zero where they were never used before; bytes used before keep their
 * old content. Shrinking gives no memory back.
 * Returns as vbuf_reserve.
 */
VBUF_API enum vbuf_status vbuf_resize(struct vbuf *buffer, size_t len);

/*
 * Copies `size` bytes to the end. `bytes` may be NULL iff size is 0; else VBUF_INVALID.
 * Otherwise returns as vbuf_reserve. Amortised cost: the copy.
 */
VBUF_API enum vbuf_status vbuf_append(struct vbuf *buffer, const void *bytes, size_t size);

/*
 * Commits [offset, offset + length) for a container that keeps its own layout in the buffer: asks
 * on_commit, then the system. Does not touch len or capacity. Thread-safe and idempotent; blocks
 * only in the kernel and in the hook.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the hook or the system
 * refuses (errno ENOMEM for the hook).
 */
VBUF_API enum vbuf_status vbuf_commit(struct vbuf *buffer, size_t offset, size_t length);

/*
 * The same for two ranges, the first first; on_commit is asked once, for both. When the second is
 * refused, the first stays committed.
 */
VBUF_API enum vbuf_status vbuf_commit_two(struct vbuf *buffer, size_t offset, size_t length,
                                          size_t second_offset, size_t second_length);

VBUF_END_DECLS

#endif
