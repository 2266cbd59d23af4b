/*
 * vbuf.h - a buffer that grows and shrinks in place; a typed vector and an arena on it.
 *
 * Its address never changes: vbuf_init reserves address space for `max` bytes, growth commits more of
 * it and shrinking gives it back. Memory is paid for when it is touched. One thread owns a buffer:
 * every call needs exclusive access, but for vbuf_commit, vbuf_commit_two and vbuf_decommit, which
 * the concurrent containers stand on.
 *
 *     | header |  in use  |   committed, unused   |        reserved        |
 *              data       data + len              data + capacity          data + max
 *
 * Bytes from data + len on are the library's. Writing there without asking (vbuf_resize, vbuf_append,
 * vbuf_alloc) is an error that AddressSanitizer reports, in every program that runs under it, however the library was
 * compiled. In a fork's child a buffer is a copy of its own.
 *
 * Giving memory back. Whatever makes len smaller (truncate, resize, remove, pop, rewind, scope end)
 * gives memory back by itself once the capacity is more than twice what growth would make of len (a
 * page more than len at least), or
 * with linear growth, once more than twice the step is unused; so going to and fro over an edge costs
 * no system calls. With the default growth that is at a quarter of the capacity, down to half. What was
 * reserved (`initial`, vbuf_reserve), and `keep` bytes in any case, stay. A refusal by the system is no
 * failure there: the memory stays. vbuf_clear keeps everything, for a refill that faults nothing in
 * again. vbuf_shrink_to ends all such promises. Memory that a decommit lost (see vmem_lost) is out of the
 * buffer: it cannot grow to there any more (VBUF_NOMEM, errno EFAULT).
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
 * Asked before `bytes` more bytes, a multiple of the page size, are committed, on the thread that
 * needs them; may run on several threads at once. Returns true to allow. May be asked again for bytes
 * it allowed before when two threads raced to commit the same range. Must not call back into the
 * object.
 */
typedef bool vbuf_commit_hook(void *context, size_t bytes);

/*
 * Told that `bytes` bytes which on_commit allowed are in use no more: given back, or refused by the
 * system after all. On the thread that gives them back. Must not call back into the object. What
 * vbuf_commit committed is told by vbuf_decommit only, not when the buffer is destroyed.
 */
typedef void vbuf_decommit_hook(void *context, size_t bytes);

/* How the capacity grows when more is needed than there is. {0}: it doubles. */
struct vbuf_growth {
    uint32_t numerator,
        denominator; /* to capacity * numerator / denominator at least, a ratio above 1 */
    size_t linear;   /* or, if not 0, by so many bytes at least; then the ratio is 0 / 0 */
};

struct vbuf_options {
    size_t max; /* bytes of address space after data; required */
    size_t min; /* accept a smaller max, down to this, when address space is short; 0: do not */
    size_t alignment; /* of data: a power of two; 0 means a page, or with a header 64 */
    size_t header;    /* bytes in front of data, from vbuf_header; committed and zeroed by init */
    size_t initial;   /* bytes to commit in init */
    size_t keep; /* bytes of capacity that never go back by themselves: 1 for as few as possible,
                         SIZE_MAX for all; 0 means VBUF_KEEP */
    struct vbuf_growth growth;
    enum vmem_huge_pages huge_pages; /* these four: see vmem.h */
    enum vmem_charge charge;
    bool readable;
    const char *name;
    vbuf_commit_hook *on_commit;     /* may be NULL */
    vbuf_decommit_hook *on_decommit; /* may be NULL */
    void *context;                   /* handed to both */
};

#define VBUF_KEEP ((size_t)64 << 10)

struct vbuf_scope;

/* Read the fields as you like; only vbuf calls write them. */
struct vbuf {
    unsigned char *data; /* aligned as asked, fixed for the buffer's life */
    size_t len;          /* bytes in use, from data[0] */
    size_t limit_;       /* len may grow to here, and shrink to low_, without a call; see vbuf.c */
    size_t low_;
    size_t used_;    /* bytes from here to the capacity are known to be zero */
    size_t capacity; /* bytes committed from data[0], by the owner's calls */
    size_t max;      /* bytes that will ever fit */
    size_t keep;
    size_t promised_;     /* bytes of capacity that stay as well, until vbuf_shrink_to */
    size_t shrink_below_; /* a len below this gives memory back */
    struct vbuf_growth growth;
    size_t header;
    struct vbuf_scope *scope_; /* the innermost open one */
    struct vmem memory;
    vbuf_commit_hook *on_commit;
    vbuf_decommit_hook *on_decommit;
    void *context;
};

/*
 * Reserves address space; commits what header and initial ask for (or as much of initial as max
 * became, with `min`), asking on_commit once.
 * Returns VBUF_INVALID iff buffer or options is NULL, max is 0, initial or min exceeds max, the alignment is
 * not a power of two, the growth is neither a ratio above 1 nor linear, a vmem option is invalid, or
 * sizes overflow SIZE_MAX; VBUF_UNSUPPORTED as vmem_reserve; VBUF_NOMEM iff the system has no such
 * range, or it or on_commit refuses the memory. Costs vmem_reserve and a system call.
 */
VBUF_API enum vbuf_status vbuf_init(struct vbuf *buffer, const struct vbuf_options *options);

/* Gives everything back. Destroying a zeroed struct, or twice, is fine. */
VBUF_API void vbuf_destroy(struct vbuf *buffer);

/* The header: as many bytes as asked, aligned to 64, less than 64 bytes of gap before data. NULL iff none. */
static inline void *vbuf_header(const struct vbuf *buffer)
{
    if (buffer->header == 0)
        return NULL;
    return buffer->data - vmem_align_up(buffer->header, 64);
}

/*
 * Makes room for at least `capacity` bytes in all, so that len can grow to there without a further
 * commit, also after it has become smaller again, until vbuf_shrink_to. Grows at least as the options say; when that much is refused, by what is needed.
 * Returns VBUF_FULL iff capacity exceeds max; VBUF_NOMEM iff the memory is refused. At most two
 * system calls, none when there is room.
 */
VBUF_API enum vbuf_status vbuf_reserve(struct vbuf *buffer, size_t capacity);

/* The same, growing to whole pages for `capacity` bytes and no further. */
VBUF_API enum vbuf_status vbuf_reserve_exact(struct vbuf *buffer, size_t capacity);

/*
 * Sets len. New bytes read as zero; only those that were in use before cost the writing of it.
 * Returns as vbuf_reserve.
 */
VBUF_API enum vbuf_status vbuf_resize(struct vbuf *buffer, size_t len);

/* Makes len smaller. Returns VBUF_INVALID iff `len` exceeds it. */
VBUF_API enum vbuf_status vbuf_truncate(struct vbuf *buffer, size_t len);

/*
 * Makes len 0 and keeps the memory, until vbuf_shrink_to: a refill costs neither system calls nor
 * faults.
 */
VBUF_API void vbuf_clear(struct vbuf *buffer);

/*
 * Gives back all memory that is neither needed for len bytes nor for `capacity` bytes, whatever `keep`
 * says, and forgets what was reserved beyond that. What is lost on the way (see vmem_lost) counts as given
 * back.
 * Returns VBUF_NOMEM iff the system refuses to take it. At most one system call, and as many as
 * vmem_decommit for advice and name.
 */
VBUF_API enum vbuf_status vbuf_shrink_to(struct vbuf *buffer, size_t capacity);

/*
 * Backs header and capacity with physical memory, now: using them faults no more. Returns as
 * vmem_prefault.
 */
VBUF_API enum vbuf_status vbuf_prefault(struct vbuf *buffer);

static inline enum vbuf_status vbuf_shrink_to_fit(struct vbuf *buffer)
{
    return vbuf_shrink_to(buffer, 0);
}

/*
 * Copies `size` bytes to the end. They may lie in the buffer: it does not move.
 * Returns VBUF_INVALID iff bytes is NULL and size is not 0; otherwise as vbuf_reserve. Amortised cost:
 * the copy.
 */
VBUF_API enum vbuf_status vbuf_append(struct vbuf *buffer, const void *bytes, size_t size);

/*
 * Copies `size` bytes, which must not lie in the buffer, to `offset`; what was there moves up.
 * Returns VBUF_INVALID iff offset exceeds len, or bytes is NULL and size is not 0; otherwise as
 * vbuf_reserve.
 */
VBUF_API enum vbuf_status vbuf_insert(struct vbuf *buffer, size_t offset, const void *bytes,
                                      size_t size);

/* Removes [offset, offset + size); what follows moves down. Returns VBUF_INVALID iff that leaves [0, len). */
VBUF_API enum vbuf_status vbuf_remove(struct vbuf *buffer, size_t offset, size_t size);

/*
 * The arena: memory off the end of the buffer, freed by going back to a mark.
 *
 * vbuf_alloc gives `size` bytes aligned to `align`, a power of two, which may exceed the page. Their
 * content is unspecified; vbuf_alloc_zeroed's is zero, and costs writing only where memory was in use before. The
 * memory stays where it is, and valid, until the buffer's len falls below it. Size 0 gives an aligned
 * address without bytes. Cost: a few instructions, inlined, plus growth.
 * Returns NULL iff align is not a power of two (errno EINVAL), it does not fit into max (errno
 * ENOBUFS), or the memory is refused (errno says why: ENOMEM when by on_commit).
 */
static inline void *vbuf_alloc(struct vbuf *buffer, size_t size, size_t align);
VBUF_API void *vbuf_alloc_zeroed(struct vbuf *buffer, size_t size, size_t align);

/* The same for `count` times `size` bytes; ENOBUFS, too, iff they overflow. */
static inline void *vbuf_alloc_array(struct vbuf *buffer, size_t count, size_t size, size_t align);

/* One T, or NULL. */
#define VBUF_NEW(buffer, T) ((T *)vbuf_alloc((buffer), sizeof(T), VBUF_ALIGNOF_(T)))

/* Where the arena stands: a len. Marks nest by themselves. */
static inline size_t vbuf_mark(const struct vbuf *buffer)
{
    return buffer->len;
}

/* Frees whatever was allocated after the mark. Returns VBUF_INVALID iff the buffer is before it already. */
static inline enum vbuf_status vbuf_rewind(struct vbuf *buffer, size_t mark)
{
    return vbuf_truncate(buffer, mark);
}

/*
 * A scope: a mark that the buffer knows about, so that ending one that has ended is noticed. Lives
 * where the caller puts it, usually on the stack, and must stay there, and not begin again, until it
 * or an outer one has ended.
 */
struct vbuf_scope {
    struct vbuf_scope *outer;
    size_t len;
};

/* Opens `scope` inside those that are open. */
VBUF_API void vbuf_scope_begin(struct vbuf *buffer, struct vbuf_scope *scope);

/*
 * Frees what was allocated since it began, and ends it and every scope inside it.
 * Returns VBUF_INVALID iff it is not open. Cost: the scopes inside.
 */
VBUF_API enum vbuf_status vbuf_scope_end(struct vbuf *buffer, struct vbuf_scope *scope);

/*
 * Commits [offset, offset + length), from data on, for one that keeps a layout of its own in the
 * buffer: asks on_commit, then the system. Does not touch len or capacity. Thread-safe and
 * idempotent; blocks only in the kernel and in the hook. The calls that use len (reserve, resize,
 * append, alloc and the rest) are not for such a buffer, which they would find written where they expect zeros.
 * Returns VBUF_INVALID iff the range leaves the reservation; VBUF_NOMEM iff the hook or the system
 * refuses (errno ENOMEM for the hook).
 */
VBUF_API enum vbuf_status vbuf_commit(struct vbuf *buffer, size_t offset, size_t length);

/*
 * The same for two ranges, the first first; on_commit is asked once, for both. When the second is
 * refused, the first stays committed, but a later call asks on_commit for it again.
 */
VBUF_API enum vbuf_status vbuf_commit_two(struct vbuf *buffer, size_t offset, size_t length,
                                          size_t second_offset, size_t second_length);

/*
 * The other way: gives back the pages that lie wholly inside the range, and tells on_decommit as many bytes as they
 * have, whether they were committed or not. Thread-safe as vbuf_commit.
 * Returns VBUF_INVALID iff the range leaves the reservation or begins below the capacity, which is
 * vbuf_shrink_to's to give back; VBUF_NOMEM as vmem_decommit.
 */
VBUF_API enum vbuf_status vbuf_decommit(struct vbuf *buffer, size_t offset, size_t length);

/* The slow halves of what is inlined: room for `size` more bytes; a smaller len; vbuf_alloc. */
VBUF_API enum vbuf_status vbuf_make_room_(struct vbuf *buffer, size_t size);
VBUF_API void vbuf_drop_to_(struct vbuf *buffer, size_t len);
VBUF_API void *vbuf_alloc_slow_(struct vbuf *buffer, size_t size, size_t align);

static inline void *vbuf_alloc(struct vbuf *buffer, size_t size, size_t align)
{
    unsigned char *end = buffer->data + buffer->len;
    size_t room = buffer->limit_ - buffer->len;
    size_t pad = (size_t)(0 - (uintptr_t)end) & (align - 1);
    if (VBUF_UNLIKELY(align == 0 || (align & (align - 1)) != 0 || pad > room || size > room - pad))
        return vbuf_alloc_slow_(buffer, size, align);
    buffer->len += pad + size;
    return end + pad;
}

static inline void *vbuf_alloc_array(struct vbuf *buffer, size_t count, size_t size, size_t align)
{
    if (VBUF_UNLIKELY(size != 0 && count > SIZE_MAX / size))
        return vbuf_alloc_slow_(buffer, SIZE_MAX, align);
    return vbuf_alloc(buffer, count * size, align);
}

/*
 * VBUF_DEFINE(points, struct point) makes a typed vector with one owner, struct points:
 *
 *     points_init(&v, max_len, options)   room for max_len elements; options may be NULL; their max is
 *                                         ignored, and all their sizes are bytes
 *     points_destroy(&v)
 *     points_push(&v, value)              VBUF_FULL, VBUF_NOMEM
 *     points_pop(&v, &value)              false iff empty; the pointer may be NULL
 *     points_at(&v, i)                    NULL iff there is no such element
 *     points_first(&v)  points_last(&v)   NULL iff empty
 *     points_data(&v)  points_len(&v)  points_capacity(&v)
 *     points_add(&v, n)                   n more, to be written: the first, or NULL as vbuf_alloc
 *     points_extend(&v, values, n)        values may lie in the vector; as vbuf_append
 *     points_insert(&v, i, value)         VBUF_INVALID iff i exceeds len; VBUF_FULL, VBUF_NOMEM
 *     points_remove(&v, i, &value)        VBUF_INVALID iff there is no such element; keeps the order
 *     points_swap_remove(&v, i, &value)   the same; the last element takes its place
 *     points_reserve(&v, n)  points_reserve_exact(&v, n)  points_resize(&v, n)
 *     points_truncate(&v, n)  points_clear(&v)  points_shrink_to_fit(&v)
 *
 * Counts are elements. Each is the vbuf call of the same name, with its contract. v.bytes is the buffer
 * below, for everything else; its len must stay a multiple of sizeof(T). Elements never move but by insert and remove.
 * points_init returns VBUF_INVALID also iff max_len elements overflow SIZE_MAX.
 */
#if defined(__cplusplus)
#define VBUF_ALIGNOF_(T) alignof(T)
#else
#define VBUF_ALIGNOF_(T) _Alignof(T)
#endif

/* Bytes of `count` elements, or SIZE_MAX, which is more than any buffer holds. */
static inline size_t vbuf_bytes_(size_t count, size_t size)
{
    return count > SIZE_MAX / size ? SIZE_MAX : count * size;
}

#define VBUF_DEFINE(name, T)                                                                       \
    struct name {                                                                                  \
        struct vbuf bytes;                                                                         \
    };                                                                                             \
    VBUF_UNUSED static inline enum vbuf_status name##_init(struct name *v, size_t max_len,         \
                                                           const struct vbuf_options *given)       \
    {                                                                                              \
        struct vbuf_options options;                                                               \
        if (given != NULL)                                                                         \
            options = *given;                                                                      \
        else                                                                                       \
            __builtin_memset(&options, 0, sizeof options);                                         \
        if (max_len > SIZE_MAX / sizeof(T))                                                        \
            return VBUF_INVALID;                                                                   \
        options.max = max_len * sizeof(T);                                                         \
        if (VBUF_ALIGNOF_(T) > 64 && options.alignment < VBUF_ALIGNOF_(T) &&                       \
            (options.alignment & (options.alignment - 1)) == 0)                                    \
            options.alignment = VBUF_ALIGNOF_(T);                                                  \
        return vbuf_init(&v->bytes, &options);                                                     \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_destroy(struct name *v)                                  \
    {                                                                                              \
        vbuf_destroy(&v->bytes);                                                                   \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_data(const struct name *v)                                 \
    {                                                                                              \
        return (T *)(void *)v->bytes.data;                                                         \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_len(const struct name *v)                              \
    {                                                                                              \
        return v->bytes.len / sizeof(T);                                                           \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_capacity(const struct name *v)                         \
    {                                                                                              \
        return v->bytes.capacity / sizeof(T);                                                      \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_push(struct name *v, T value)                \
    {                                                                                              \
        size_t len = v->bytes.len, end = len + sizeof(T); /* no overflow: addresses */             \
        if (VBUF_UNLIKELY(end > v->bytes.limit_)) {                                                \
            enum vbuf_status status = vbuf_make_room_(&v->bytes, sizeof(T));                       \
            if (status != VBUF_OK)                                                                 \
                return status;                                                                     \
        }                                                                                          \
        *(T *)(void *)(v->bytes.data + len) = value;                                               \
        v->bytes.len = end;                                                                        \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline bool name##_pop(struct name *v, T *value)                            \
    {                                                                                              \
        size_t len = v->bytes.len;                                                                 \
        if (len == 0)                                                                              \
            return false;                                                                          \
        if (value != NULL)                                                                         \
            *value = *(T *)(void *)(v->bytes.data + len - sizeof(T));                              \
        if (VBUF_UNLIKELY(len > v->bytes.used_ || len - sizeof(T) < v->bytes.low_))                \
            vbuf_drop_to_(&v->bytes, len - sizeof(T));                                             \
        else                                                                                       \
            v->bytes.len = len - sizeof(T);                                                        \
        return true;                                                                               \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_at(const struct name *v, size_t index)                     \
    {                                                                                              \
        return index < name##_len(v) ? name##_data(v) + index : NULL;                              \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_first(const struct name *v)                                \
    {                                                                                              \
        return name##_at(v, 0);                                                                    \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_last(const struct name *v)                                 \
    {                                                                                              \
        return v->bytes.len == 0 ? NULL : name##_data(v) + (name##_len(v) - 1);                    \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_add(struct name *v, size_t count)                          \
    {                                                                                              \
        return (T *)vbuf_alloc_array(&v->bytes, count, sizeof(T), VBUF_ALIGNOF_(T));               \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_extend(struct name *v, T const *values,      \
                                                             size_t count)                         \
    {                                                                                              \
        return vbuf_append(&v->bytes, values, vbuf_bytes_(count, sizeof(T)));                      \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_insert(struct name *v, size_t index,         \
                                                             T value)                              \
    {                                                                                              \
        return vbuf_insert(&v->bytes, vbuf_bytes_(index, sizeof(T)), &value, sizeof(T));           \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_remove(struct name *v, size_t index,         \
                                                             T *value)                             \
    {                                                                                              \
        T *element = name##_at(v, index);                                                          \
        if (element == NULL)                                                                       \
            return VBUF_INVALID;                                                                   \
        if (value != NULL)                                                                         \
            *value = *element;                                                                     \
        return vbuf_remove(&v->bytes, index * sizeof(T), sizeof(T));                               \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_swap_remove(struct name *v, size_t index,    \
                                                                  T *value)                        \
    {                                                                                              \
        T *element = name##_at(v, index);                                                          \
        if (element == NULL)                                                                       \
            return VBUF_INVALID;                                                                   \
        if (value != NULL)                                                                         \
            *value = *element;                                                                     \
        *element = *name##_last(v);                                                                \
        name##_pop(v, NULL);                                                                       \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve(struct name *v, size_t count)        \
    {                                                                                              \
        return vbuf_reserve(&v->bytes, vbuf_bytes_(count, sizeof(T)));                             \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve_exact(struct name *v, size_t count)  \
    {                                                                                              \
        return vbuf_reserve_exact(&v->bytes, vbuf_bytes_(count, sizeof(T)));                       \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_resize(struct name *v, size_t len)           \
    {                                                                                              \
        return vbuf_resize(&v->bytes, vbuf_bytes_(len, sizeof(T)));                                \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_truncate(struct name *v, size_t len)         \
    {                                                                                              \
        return vbuf_truncate(&v->bytes, vbuf_bytes_(len, sizeof(T)));                              \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_clear(struct name *v)                                    \
    {                                                                                              \
        vbuf_clear(&v->bytes);                                                                     \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_shrink_to_fit(struct name *v)                \
    {                                                                                              \
        return vbuf_shrink_to_fit(&v->bytes);                                                      \
    }

VBUF_END_DECLS

#endif
