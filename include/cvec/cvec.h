/*
 * cvec.h - a lock-free append-only vector that stays an array.
 *
 * Any number of threads append; any number read. The elements are one plain C array from first to
 * last, at an address that never changes (C1), so a pointer to an element, or to the whole prefix,
 * is valid for the vector's life.
 *
 *   C1 An element's address never changes.
 *   C2 cvec_get(v, i) != NULL: the whole element is visible.
 *   C3 cvec_snapshot is a prefix in which every element is published; it never shrinks.
 *   C4 A push that returns happens before any get that sees it; who pushed index i finds it at once.
 *   C5 A failed push or extend leaves no hole: nothing claimed, nothing lost.
 *   C6 Push is lock-free, get and reading a snapshot are wait-free. A pusher stopped for ever delays no
 *      other pusher and no get; the prefix stops at what it has claimed and not published.
 *
 * Which calls may run at the same time as which:
 *
 *                          push extend   get snapshot len   reserve   stats   destroy
 *     push extend          yes           yes                yes       yes     no
 *     get snapshot len     yes           yes                yes       yes     no
 *     reserve              yes           yes                yes       yes     no
 *
 * The argument for all of it, and the layout, are in cvec.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CVEC_CVEC_H
#define CVEC_CVEC_H

#include <stddef.h>
#include <stdint.h>

#include "../vbuf/atomic.h"
#include "../vbuf/status.h"
#include "../vbuf/vbuf.h"

VBUF_BEGIN_DECLS

struct cvec_options {
    /* Bytes; required, at most 1 MiB. */
    size_t element_size;
    /* A power of two up to the page size that divides the element size; 0: the largest, at most 16. */
    size_t element_align;
    /* Elements; 0: as many as 16 GiB of address space hold. */
    size_t max_len;
    /* Elements committed at creation. */
    size_t initial_capacity;
    /* Asked before memory is committed, and may refuse: then VBUF_NOMEM. May be NULL. */
    vbuf_commit_hook *on_commit;
    /* Handed to on_commit. */
    void *context;
};

struct cvec_report {
    size_t len;             /* elements in the published prefix */
    size_t claimed;         /* handed out so far, published or not */
    size_t capacity;        /* elements that fit without another commit */
    size_t max_len;         /* elements that will ever fit */
    size_t committed_bytes; /* for the header, elements and readiness bytes up to capacity */
    size_t growths;         /* times the capacity grew, for initial_capacity too */
};

/* ---- private: what inlined calls touch ---- */

/* A vector lives at the start of its own reservation. Lines are grouped by who writes them. */
struct cvec {
    /* Fixed at creation. */
    unsigned char *elements;       /* element i at elements + i * element_size */
    struct vbuf_atomic_u8 *ready_; /* element i's readiness byte at ready_[-1 - i] */
    size_t element_size;
    size_t max_len;
    struct vbuf_atomic_u64 *era_capacity_; /* caps[era]: written once, by who opens the era */
    /* Written by growers, read by everybody. Only grows. */
    struct vbuf_atomic_u64 capacity_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Written by readers. Only grows. */
    struct vbuf_atomic_u64 watermark_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Written by every append: {era 16, index 48}. */
    struct vbuf_atomic_u64 len_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Slow path only. growing_ is a courtesy: others let who grows at the moment have a little time. */
    struct vbuf memory_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_atomic_u32 growing_;
};

#define CVEC_INDEX_BITS_ 48
#define CVEC_INDEX_MASK_ ((UINT64_C(1) << CVEC_INDEX_BITS_) - 1)

/* Settles a ticket at or past the capacity its caller knew: VBUF_OK iff index is valid after all. */
VBUF_API enum vbuf_status cvec_settle_ticket_(struct cvec *vector, uint64_t ticket);

/* The contiguous published prefix: `count` elements from `data`. A plain array; never moves. */
struct cvec_slice {
    const void *data;
    size_t count;
};

/*
 * Claims the next index. On VBUF_OK the caller owns elements[*index] until it publishes it.
 */
static inline enum vbuf_status cvec_claim_one_(struct cvec *vector, size_t *index)
{
    for (;;) {
        /* Before the add: a ticket below it is then known to be committed. Pairs with max_release. */
        uint64_t capacity = vbuf_u64_load_acquire(&vector->capacity_);
        /* Acquire pairs with the release that opened the ticket's era. */
        uint64_t ticket = vbuf_u64_fetch_add_acquire(&vector->len_, 1);
        *index = (size_t)(ticket & CVEC_INDEX_MASK_);
        if (VBUF_LIKELY(*index < capacity))
            return VBUF_OK;
        enum vbuf_status status = cvec_settle_ticket_(vector, ticket);
        if (status != VBUF_BUSY) /* busy: the ticket was void, but there is room now */
            return status;
    }
}

/* Publishes element `index`; pairs with the acquires in cvec_get and cvec_snapshot. */
static inline void cvec_publish_one_(struct cvec *vector, size_t index)
{
    vbuf_u8_store_release(vector->ready_ - 1 - (ptrdiff_t)index, 1);
}

/* ---- public ---- */

/*
 * Creates an empty vector.
 * Returns VBUF_INVALID iff vector or options is NULL, element_size is 0 or above 1 MiB, the
 * alignment is not as the options demand, initial_capacity exceeds max_len, or max_len elements
 * overflow the address space or 2^48 - 2^32; VBUF_NOMEM iff address space or the initial memory is
 * refused.
 */
VBUF_API enum vbuf_status cvec_create(struct cvec **vector, const struct cvec_options *options);

/* Gives everything back. Needs exclusive access. NULL does nothing. Elements need no destructor. */
VBUF_API void cvec_destroy(struct cvec *vector);

/*
 * Appends a copy of *element and, unless index is NULL, tells its index. The element is visible to
 * get and snapshot when the call returns, to others as soon as they see it (C4).
 * Returns VBUF_INVALID iff element is NULL; VBUF_FULL iff the vector holds max_len elements;
 * VBUF_NOMEM iff memory to grow is refused. Then nothing was claimed (C5).
 * Any thread. Lock-free. One atomic add, one copy, one byte stored; now and then a commit.
 */
VBUF_API enum vbuf_status cvec_push(struct cvec *vector, const void *element, size_t *index);

/*
 * Appends `count` elements as one contiguous run; *first, unless NULL, is the index of the first.
 * All or nothing. count 0 does nothing and sets *first to the number claimed.
 * Returns VBUF_INVALID iff elements is NULL and count is not 0; VBUF_FULL iff fewer than count fit
 * below max_len; VBUF_NOMEM iff memory to grow is refused. Then nothing was claimed (C5).
 * Any thread. Lock-free. One compare-and-swap for the run.
 */
VBUF_API enum vbuf_status cvec_extend(struct cvec *vector, const void *elements, size_t count,
                                      size_t *first);

/* Where element `index` is. Said not to be NULL, or callers that check would check again. */
static inline void *cvec_at_(const struct cvec *vector, size_t index, size_t element_size)
{
    void *at = vector->elements + index * element_size;
    if (at == NULL)
        __builtin_unreachable();
    return at;
}

/* The slow half of cvec_get: `index` is not below the watermark. */
static inline void *cvec_get_unsettled_(const struct cvec *vector, size_t index,
                                        size_t element_size)
{
    /* Relaxed: the byte decides; the capacity only says whether there is a byte. */
    if (index >= vbuf_u64_load_relaxed(&vector->capacity_))
        return NULL;
    /* Pairs with the release in cvec_publish_one_. */
    if (!vbuf_u8_load_acquire(vector->ready_ - 1 - (ptrdiff_t)index))
        return NULL;
    return cvec_at_(vector, index, element_size);
}

/*
 * Element `index`, or NULL while it is not published; any index is a safe argument. The pointer is
 * valid for the vector's life. What the element holds may be changed by whoever agrees to, with T's
 * own synchronisation.
 * Any thread. Wait-free. One compare and one load below the watermark, two more above.
 */
static inline void *cvec_get(const struct cvec *vector, size_t index)
{
    /* Pairs with the release CAS in cvec_snapshot, which had acquired every byte below. */
    if (VBUF_LIKELY(index < vbuf_u64_load_acquire(&vector->watermark_)))
        return cvec_at_(vector, index, vector->element_size);
    return cvec_get_unsettled_(vector, index, vector->element_size);
}

/*
 * The longest prefix in which every element is published, or nearly: one call looks no further than
 * what was claimed when it began (C3). Moves the watermark that get and later snapshots profit
 * from.
 * Any thread. Wait-free: bounded by what was claimed at the call and not yet below the watermark.
 */
VBUF_API struct cvec_slice cvec_snapshot(struct cvec *vector);

/* The number of elements in cvec_snapshot. Same cost, same ordering. */
VBUF_API size_t cvec_len(struct cvec *vector);

/* Elements handed out so far, published or not. Orders nothing. Wait-free. */
VBUF_API size_t cvec_claimed(const struct cvec *vector);

/* Elements that fit without another commit; never above cvec_max_len. Wait-free. */
VBUF_API size_t cvec_capacity(const struct cvec *vector);

/* Elements that will ever fit. Wait-free. */
VBUF_API size_t cvec_max_len(const struct cvec *vector);

/*
 * Makes the capacity at least `capacity` in all; pushes below it need no commit. Threads that
 * reserve different sizes at once each get what they were promised.
 * Returns VBUF_FULL iff capacity exceeds max_len; VBUF_NOMEM iff memory is refused.
 * Any thread. Lock-free but for the commit.
 */
VBUF_API enum vbuf_status cvec_reserve(struct cvec *vector, size_t capacity);

/* Figures, each correct at some moment during the call. Returns VBUF_INVALID iff stats is NULL. */
VBUF_API enum vbuf_status cvec_stats(struct cvec *vector, struct cvec_report *stats);

/*
 * CVEC_DEFINE(ids, uint64_t) makes a typed vector, all of it inlined:
 *
 *     struct ids { struct cvec *vector; };       struct ids_slice { const uint64_t *data; size_t count; };
 *     ids_create(&v, options)                    options may be NULL; element size and alignment are T's
 *     ids_destroy(&v)  ids_push(&v, value, &i)  ids_extend(&v, values, n, &first)  ids_get(&v, i)
 *     ids_snapshot(&v)  ids_len(&v)  ids_reserve(&v, n)
 *
 * Each is the call of the same name above, with its contract.
 */
#if defined(__cplusplus)
#define CVEC_ALIGNOF_(T) alignof(T)
#else
#define CVEC_ALIGNOF_(T) _Alignof(T)
#endif

#define CVEC_DEFINE(name, T)                                                                       \
    struct name {                                                                                  \
        struct cvec *vector;                                                                       \
    };                                                                                             \
    struct name##_slice {                                                                          \
        const T *data;                                                                             \
        size_t count;                                                                              \
    };                                                                                             \
    VBUF_UNUSED static inline enum vbuf_status name##_create(struct name *v,                       \
                                                             const struct cvec_options *given)     \
    {                                                                                              \
        struct cvec_options options = {0, 0, 0, 0, NULL, NULL};                                    \
        if (given != NULL)                                                                         \
            options = *given;                                                                      \
        options.element_size = sizeof(T);                                                          \
        options.element_align = CVEC_ALIGNOF_(T);                                                  \
        return cvec_create(&v->vector, &options);                                                  \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_destroy(struct name *v)                                  \
    {                                                                                              \
        cvec_destroy(v->vector);                                                                   \
        v->vector = NULL;                                                                          \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_push(struct name *v, T value, size_t *index) \
    {                                                                                              \
        size_t claimed;                                                                            \
        enum vbuf_status status = cvec_claim_one_(v->vector, &claimed);                            \
        if (VBUF_UNLIKELY(status != VBUF_OK))                                                      \
            return status;                                                                         \
        ((T *)(void *)v->vector->elements)[claimed] = value;                                       \
        cvec_publish_one_(v->vector, claimed);                                                     \
        if (index != NULL)                                                                         \
            *index = claimed;                                                                      \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_extend(struct name *v, const T *values,      \
                                                             size_t count, size_t *first)          \
    {                                                                                              \
        return cvec_extend(v->vector, values, count, first);                                       \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_get(const struct name *v, size_t index)                    \
    {                                                                                              \
        if (VBUF_LIKELY(index < vbuf_u64_load_acquire(&v->vector->watermark_)))                    \
            return (T *)cvec_at_(v->vector, index, sizeof(T));                                     \
        return (T *)cvec_get_unsettled_(v->vector, index, sizeof(T));                              \
    }                                                                                              \
    VBUF_UNUSED static inline struct name##_slice name##_snapshot(struct name *v)                  \
    {                                                                                              \
        struct cvec_slice slice = cvec_snapshot(v->vector);                                        \
        struct name##_slice typed = {(const T *)slice.data, slice.count};                          \
        return typed;                                                                              \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_len(struct name *v)                                    \
    {                                                                                              \
        return cvec_len(v->vector);                                                                \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve(struct name *v, size_t capacity)     \
    {                                                                                              \
        return cvec_reserve(v->vector, capacity);                                                  \
    }

VBUF_END_DECLS

#endif
