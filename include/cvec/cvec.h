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
 *                          push extend   get snapshot   wait     reserve   close   exclusive
 *                          claim         len claimed    cursor             stats   (1)
 *                          publish
 *     push extend …        yes           yes            yes      yes       yes     no
 *     get snapshot …       yes           yes            yes      yes       yes     no
 *     wait cursor          yes           yes            yes      yes       yes     no
 *     reserve              yes           yes            yes      yes       yes     no
 *     close stats          yes           yes            yes      yes       yes     no
 *     (1): push_exclusive, truncate, clear, shrink_to_fit, destroy: with nothing, themselves included
 *
 * An appender, and a cursor, belongs to one thread at a time. In a fork's child everything works;
 * what other threads of the parent had claimed and not published stays unpublished there.
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
#include "../vbuf/fence.h"
#include "../vbuf/status.h"
#include "../vbuf/vbuf.h"

VBUF_BEGIN_DECLS

#define CVEC_MAX_ELEMENT_SIZE ((size_t)1 << 20)
#define CVEC_MAX_ALIGNMENT ((size_t)2 << 20)

struct cvec_options {
    /* Bytes, at most CVEC_MAX_ELEMENT_SIZE. 0: elements of no bytes, which are only counted. */
    size_t element_size;
    /* Of element 0, and of every element iff it divides their size: a power of two up to
     * CVEC_MAX_ALIGNMENT; 0: the largest that divides the size, at most 16. */
    size_t element_align;
    /* Elements; 0: as many as 16 GiB of address space hold. */
    size_t max_len;
    /* Elements committed at creation. */
    size_t initial_capacity;
    /* How the capacity grows; `linear` counts elements. Never by less than a 64th of what there is. */
    struct vbuf_growth growth;
    /* Bytes for the user, zeroed, at cvec_header. */
    size_t header;
    /*
     * Destroys an element: once for each that was published, in cvec_truncate, cvec_clear or
     * cvec_destroy, in the order of their indices; and in cvec_appender_discard. Must not use the
     * vector. May be NULL.
     */
    void (*destroy)(void *context, void *element);
    /* These three: see vmem.h. With huge pages on, growth is by whole ones. */
    enum vmem_huge_pages huge_pages;
    enum vmem_charge charge;
    const char *name;
    /* Asked before memory is committed, and may refuse: then VBUF_NOMEM. May be NULL. */
    vbuf_commit_hook *on_commit;
    /* Told what of it is in use no more, because it was given back, refused after all, or committed by
     * two threads at once. May be NULL. */
    vbuf_decommit_hook *on_decommit;
    /* Handed to destroy, on_commit and on_decommit. */
    void *context;
};

struct cvec_report {
    size_t len;             /* elements in the published prefix */
    size_t claimed;         /* handed out so far, published or not */
    size_t capacity;        /* elements that fit without another commit */
    size_t max_len;         /* elements that will ever fit */
    size_t committed_bytes; /* for the header, elements and readiness bytes up to capacity */
    size_t growths; /* times the capacity grew since creation, or since memory was given back */
    size_t waiters; /* threads in cvec_wait or cvec_cursor_next that found nothing yet; in a
                             * fork's child also those the parent had */
    bool closed;
};

/* ---- private: what inlined calls touch ---- */

/* A vector lives at the start of its own reservation. Lines are grouped by who writes them. */
struct cvec {
    /* Fixed at creation. */
    unsigned char *elements; /* element i at elements + i * element_size */
    struct vbuf_atomic_u8
        *ready_; /* element i's readiness byte at ready_[-1 - i]; NULL: a raw vector */
    size_t element_size;
    size_t max_len;
    size_t element_align_;
    struct vbuf_atomic_u64 *era_capacity_; /* caps[era]: written once, by who opens the era */
    void *header_;
    /* Written by growers, read by everybody. Only grows, exclusive calls aside. */
    struct vbuf_atomic_u64 capacity_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Written by who goes to sleep and wakes, read by who publishes: how many wait. */
    struct vbuf_atomic_u32 waiters_;
    /* Written by readers. Only grows, exclusive calls aside. */
    struct vbuf_atomic_u64 watermark_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Written by every append: {era 16, index 48}. */
    struct vbuf_atomic_u64 len_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    /* Slow path only. growing_ is a courtesy: others let who grows at the moment have a little time. */
    struct vbuf memory_ __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_growth growth_;
    size_t fixed_size_; /* bytes committed in front, at creation */
    size_t unit_;       /* bytes that growth commits a multiple of: a page, or a huge page */
    void (*destroy_)(void *context, void *element);
    struct vbuf_atomic_u32 growing_;
    struct vbuf_atomic_u64 populated_; /* below it nobody asks for pages again; see cvec_growth.c */
    struct vbuf_atomic_u32 event_;     /* what waiters sleep on; see cvec_wait.c */
    struct vbuf_atomic_u64 wanted_;    /* the shortest prefix that a waiter waits for */
    struct vbuf_atomic_u32 exclusive_; /* with VBUF_DEBUG: 1 inside truncate and shrink_to_fit */
    struct vbuf_atomic_u64 final_; /* 1 + what was claimed when the vector closed; see cvec_close */
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

/* Wakes who waits for what is published now. Cold. */
VBUF_API void cvec_wake_(struct cvec *vector);

/* After publishing; the light side of the fence that a waiter issues after it has counted itself. */
static inline void cvec_wake_waiters_(struct cvec *vector)
{
    vbuf_fence_light();
    if (VBUF_UNLIKELY(vbuf_u32_load_relaxed(&vector->waiters_) !=
                      0)) /* relaxed: the fence orders */
        cvec_wake_(vector);
}

/* Publishes element `index`; pairs with the acquires in cvec_get and cvec_snapshot. */
static inline void cvec_publish_one_(struct cvec *vector, size_t index)
{
    vbuf_u8_store_release(vector->ready_ - 1 - (ptrdiff_t)index, 1);
    cvec_wake_waiters_(vector);
}

/* ---- public ---- */

/*
 * Creates an empty vector.
 * Returns VBUF_INVALID iff vector or options is NULL, element_size is above its limit, the alignment
 * is not as the options demand, initial_capacity exceeds max_len, the growth is neither a ratio above
 * 1 nor linear, a vmem option is invalid, or header and max_len elements overflow the address space, or
 * these 2^48 - 2^32;
 * VBUF_UNSUPPORTED as vmem_reserve; VBUF_NOMEM iff address space or the initial memory is refused.
 */
VBUF_API enum vbuf_status cvec_create(struct cvec **vector, const struct cvec_options *options);

/* Destroys what was published and gives everything back. Needs exclusive access. NULL does nothing. */
VBUF_API void cvec_destroy(struct cvec *vector);

/* The user's header: options.header bytes, zeroed at creation, aligned to 64. NULL iff there are none. */
static inline void *cvec_header(const struct cvec *vector)
{
    return vector->header_;
}

/*
 * Appends a copy of *element and, unless index is NULL, tells its index. The element is visible to
 * get and snapshot when the call returns, to others as soon as they see it (C4).
 * Returns VBUF_INVALID iff element is NULL; VBUF_FULL iff the vector holds max_len elements;
 * VBUF_NOMEM iff memory to grow is refused; VBUF_CLOSED iff it is closed. Then nothing was claimed (C5).
 * Any thread. Lock-free. One atomic add, one copy, one byte stored; now and then a commit.
 */
VBUF_API enum vbuf_status cvec_push(struct cvec *vector, const void *element, size_t *index);

/*
 * Appends `count` elements as one contiguous run; *first, unless NULL, is the index of the first.
 * All or nothing. count 0 does nothing and sets *first to the number claimed.
 * Returns VBUF_INVALID iff elements is NULL and count is not 0; VBUF_FULL iff fewer than count fit
 * below max_len; VBUF_NOMEM iff memory to grow is refused; VBUF_CLOSED iff it is closed and count is not
 * 0. Then nothing was claimed (C5).
 * Any thread. Lock-free. One compare-and-swap for the run.
 * Where threads extend at once by less than a page, one may also ask the system for the memory that comes
 * next (vmem_populate): never more than a 64th of what the elements so far take, nor 256 KiB, with its
 * readiness bytes, nor past the capacity. Nothing depends on it. No other call does that, except that
 * appenders flush by this one.
 */
VBUF_API enum vbuf_status cvec_extend(struct cvec *vector, const void *elements, size_t count,
                                      size_t *first);

/*
 * Claims `count` elements, to be built in place: *slots, one run from index *first, is the caller's
 * alone until it publishes them. Their content is unspecified. All or nothing; count 0 claims none.
 * What is claimed must be published: until then the prefix ends before it, for everybody, but no push
 * and no get of others waits for it (C6).
 * Returns as cvec_extend, and VBUF_INVALID iff first or slots is NULL. Any thread; lock-free.
 */
VBUF_API enum vbuf_status cvec_claim(struct cvec *vector, size_t count, size_t *first,
                                     void **slots);

/*
 * Publishes [first, first + count), which the caller claimed: part of a claim or all of it, in any
 * order, once each. What was written to them happens before any get that sees them.
 * Returns VBUF_INVALID iff part of it was never claimed. Any thread; wait-free, but for waking waiters.
 */
VBUF_API enum vbuf_status cvec_publish(struct cvec *vector, size_t first, size_t count);

/* Publishes what push_exclusive wrote. Relaxed: exclusive access orders everything. */
static inline void cvec_publish_exclusive_(struct cvec *vector, uint64_t ticket, size_t index)
{
    vbuf_u8_store_relaxed(vector->ready_ - 1 - (ptrdiff_t)index, 1);
    vbuf_u64_store_relaxed(&vector->len_, ticket + 1);
}

/* Says so, or callers that check would check again. */
static inline void *cvec_not_null_(void *at)
{
    if (at == NULL)
        __builtin_unreachable();
    return at;
}

/* Where element `index` is. */
static inline void *cvec_at_(const struct cvec *vector, size_t index, size_t element_size)
{
    return cvec_not_null_(vector->elements + index * element_size);
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
 * reserve different sizes at once each get what they were promised. Grows at least as the options
 * say; when that much is refused, by what is needed, or a 64th.
 * Returns VBUF_FULL iff capacity exceeds max_len; VBUF_NOMEM iff memory is refused; VBUF_CLOSED iff it
 * is closed and the capacity is smaller.
 * Any thread. Lock-free but for the commit.
 */
VBUF_API enum vbuf_status cvec_reserve(struct cvec *vector, size_t capacity);

/* The same, growing to whole pages for `capacity` elements and no further than a 64th above what there was. */
VBUF_API enum vbuf_status cvec_reserve_exact(struct cvec *vector, size_t capacity);

/* Figures, each correct at some moment during the call. Returns VBUF_INVALID iff stats is NULL. */
VBUF_API enum vbuf_status cvec_stats(struct cvec *vector, struct cvec_report *stats);

/* ---- waiting ---- */

/*
 * Sleeps until the prefix has `count` elements; then all of them happen before its return. `timeout`
 * is nanoseconds, -1 for ever, 0 only looks.
 * Returns VBUF_OK iff the prefix has them; VBUF_TIMEDOUT iff the time is over first; VBUF_CLOSED iff
 * it is closed and fewer were ever claimed; VBUF_FULL iff count exceeds max_len, closed or not.
 * Any thread. Blocks, also while a publisher is stopped between publishing and waking. While nobody
 * waits, waiting costs pushers one load; while somebody does, a fence and a look. A sleeper costs itself a
 * process-wide barrier; where there is none, it sleeps a millisecond at a time instead.
 */
VBUF_API enum vbuf_status cvec_wait(struct cvec *vector, size_t count, int64_t timeout);

/*
 * No more pushes, claims or reserves: they return VBUF_CLOSED from when this returns. What is claimed may still
 * be published. Waiters for what will never come return. Closing again does nothing.
 * Any thread. Lock-free.
 */
VBUF_API void cvec_close(struct cvec *vector);

/* Whether it is closed: then what happened before the close happens before the return. Any thread; wait-free. */
VBUF_API bool cvec_is_closed(const struct cvec *vector);

/* Where one reader stands: everything below `next` it has been given. */
struct cvec_cursor {
    struct cvec *vector;
    size_t next;
};

/*
 * Gives the elements published since last time, at most `most` of them (0: all), as a plain array that never
 * moves, and steps past them; sleeps, as cvec_wait, while there are none.
 * Returns VBUF_OK iff there is at least one; VBUF_TIMEDOUT iff none came in time; VBUF_CLOSED iff the
 * vector is closed and all that was ever claimed was given; VBUF_FULL iff max_len was, and it is not
 * closed. (After cvec_truncate, what takes the place of elements below `next` is not given again.)
 */
VBUF_API enum vbuf_status cvec_cursor_next(struct cvec_cursor *cursor, size_t most, int64_t timeout,
                                           struct cvec_slice *slice);

/* ---- the appender: a thread's private buffer in front of cvec_extend ---- */

/*
 * Elements pushed to an appender reach the vector in blocks, one shared step a block, in the order of
 * the pushes: when the block is full, and when asked. Until then nobody sees them, nor counts them. They are not
 * claimed, so a thread that dies with a half-filled block leaves no hole, and loses them. Read the
 * fields as you like. One thread at a time; the vector must outlive it.
 */
struct cvec_appender {
    struct cvec *vector;
    unsigned char *elements; /* the private buffer, with room for one more than a block */
    size_t count;            /* elements in it */
    size_t block;
    struct vbuf memory_;
};

/*
 * Makes an appender with blocks of `block` elements; 0: as many as fit 4 KiB, but at least 16.
 * Returns VBUF_INVALID iff an argument is NULL or the block exceeds max_len; VBUF_NOMEM iff memory for the block
 * is refused. Costs a reservation.
 */
VBUF_API enum vbuf_status cvec_appender_create(struct cvec_appender *appender, struct cvec *vector,
                                               size_t block);

/*
 * Takes a copy of *element. A block that is full then is flushed; if that fails it stays, and the
 * next push tries again first.
 * Returns VBUF_INVALID iff element is NULL; else as cvec_extend, iff the block was full and could not be
 * flushed: then *element was not taken, and nothing is lost.
 */
VBUF_API enum vbuf_status cvec_appender_push(struct cvec_appender *appender, const void *element);

/*
 * Appends what the block holds, as one run; *first, unless NULL, is its first index. All or nothing: a
 * flush that fails keeps everything for another try. Returns as cvec_extend.
 */
VBUF_API enum vbuf_status cvec_appender_flush(struct cvec_appender *appender, size_t *first);

/* Forgets what the block holds; the vector's destroy is called for each. */
VBUF_API void cvec_appender_discard(struct cvec_appender *appender);

/*
 * Flushes and ends the appender. If the flush fails it returns as that, and the appender is as it was: try again, or
 * discard first. Destroying a zeroed struct, or twice, is fine.
 */
VBUF_API enum vbuf_status cvec_appender_destroy(struct cvec_appender *appender);

/* Flushes a block that is full, or more than that: then, if it cannot, the last element is not taken. */
VBUF_API enum vbuf_status cvec_appender_settle_(struct cvec_appender *appender);

/* ---- exclusive access: no other call on the vector, or a sleeper in one, at the same time ---- */

/* As cvec_push, without an atomic read-modify-write and without waking anybody. */
VBUF_API enum vbuf_status cvec_push_exclusive(struct cvec *vector, const void *element,
                                              size_t *index);

/*
 * Takes every element from index `len` on out: destroys what was published, once each; what was claimed
 * and not published is gone. The memory stays. A closed vector stays closed.
 * Returns VBUF_INVALID iff fewer than len were claimed. Cost: the elements that go.
 */
VBUF_API enum vbuf_status cvec_truncate(struct cvec *vector, size_t len);

static inline void cvec_clear(struct cvec *vector)
{
    (void)cvec_truncate(vector, 0);
}

/*
 * Gives back the memory above what is claimed.
 * Returns VBUF_NOMEM iff the system refuses to take it; then nothing has changed.
 */
VBUF_API enum vbuf_status cvec_shrink_to_fit(struct cvec *vector);

/*
 * CVEC_DEFINE(ids, uint64_t) makes a typed vector, all of it inlined:
 *
 *     struct ids { struct cvec *vector; uint64_t *data; };   struct ids_slice { const uint64_t *data; size_t count; };
 *     ids_create(&v, options)                    options may be NULL; element size and alignment are T's,
 *                                                the alignment more if they ask for more
 *     ids_of(vector)                             the same for a vector of such elements that exists
 *     ids_destroy(&v)  ids_push(&v, value, &i)  ids_extend(&v, values, n, &first)  ids_get(&v, i)
 *     ids_claim(&v, n, &first, &slots)  ids_publish(&v, first, n)
 *     ids_snapshot(&v)  ids_len(&v)  ids_claimed(&v)  ids_capacity(&v)
 *     ids_reserve(&v, n)  ids_reserve_exact(&v, n)
 *     ids_wait(&v, n, timeout)  ids_close(&v)  ids_cursor_next(&cursor, most, timeout, &slice)
 *     ids_push_exclusive(&v, value, &i)  ids_truncate(&v, n)  ids_clear(&v)  ids_shrink_to_fit(&v)
 *
 *     struct ids_appender { struct cvec_appender appender; };
 *     ids_appender_create(&a, &v, block)  ids_appender_push(&a, value)  ids_appender_flush(&a, &first)
 *     ids_appender_discard(&a)  ids_appender_destroy(&a)
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
        T *data; /* element i is data[i] */                                                        \
    };                                                                                             \
    struct name##_slice {                                                                          \
        T const *data;                                                                             \
        size_t count;                                                                              \
    };                                                                                             \
    VBUF_UNUSED static inline enum vbuf_status name##_create(struct name *v,                       \
                                                             const struct cvec_options *given)     \
    {                                                                                              \
        struct cvec_options options;                                                               \
        if (given != NULL)                                                                         \
            options = *given;                                                                      \
        else                                                                                       \
            __builtin_memset(&options, 0, sizeof options);                                         \
        options.element_size = sizeof(T);                                                          \
        if (options.element_align < CVEC_ALIGNOF_(T))                                              \
            options.element_align = CVEC_ALIGNOF_(T);                                              \
        enum vbuf_status status = cvec_create(&v->vector, &options);                               \
        if (status == VBUF_OK)                                                                     \
            v->data = (T *)(void *)v->vector->elements;                                            \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline struct name name##_of(struct cvec *untyped)                          \
    {                                                                                              \
        struct name typed = {untyped, (T *)(void *)untyped->elements};                             \
        return typed;                                                                              \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_destroy(struct name *v)                                  \
    {                                                                                              \
        cvec_destroy(v->vector);                                                                   \
        v->vector = NULL;                                                                          \
        v->data = NULL;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_push(struct name *v, T value, size_t *index) \
    {                                                                                              \
        size_t claimed;                                                                            \
        enum vbuf_status status = cvec_claim_one_(v->vector, &claimed);                            \
        if (VBUF_UNLIKELY(status != VBUF_OK))                                                      \
            return status;                                                                         \
        v->data[claimed] = value;                                                                  \
        cvec_publish_one_(v->vector, claimed);                                                     \
        if (index != NULL)                                                                         \
            *index = claimed;                                                                      \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_extend(struct name *v, T const *values,      \
                                                             size_t count, size_t *first)          \
    {                                                                                              \
        return cvec_extend(v->vector, values, count, first);                                       \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_get(const struct name *v, size_t index)                    \
    {                                                                                              \
        if (VBUF_LIKELY(index < vbuf_u64_load_acquire(&v->vector->watermark_)) ||                  \
            cvec_get_unsettled_(v->vector, index, sizeof(T)) != NULL)                              \
            return (T *)cvec_not_null_(v->data) + index;                                           \
        return NULL;                                                                               \
    }                                                                                              \
    VBUF_UNUSED static inline struct name##_slice name##_snapshot(struct name *v)                  \
    {                                                                                              \
        struct cvec_slice slice = cvec_snapshot(v->vector);                                        \
        struct name##_slice typed = {(T const *)slice.data, slice.count};                          \
        return typed;                                                                              \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_len(struct name *v)                                    \
    {                                                                                              \
        return cvec_len(v->vector);                                                                \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_claim(struct name *v, size_t count,          \
                                                            size_t *first, T **slots)              \
    {                                                                                              \
        void *memory = NULL;                                                                       \
        enum vbuf_status status =                                                                  \
            cvec_claim(v->vector, count, first, slots != NULL ? &memory : NULL);                   \
        if (status == VBUF_OK)                                                                     \
            *slots = (T *)memory;                                                                  \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_publish(struct name *v, size_t first,        \
                                                              size_t count)                        \
    {                                                                                              \
        return cvec_publish(v->vector, first, count);                                              \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_claimed(const struct name *v)                          \
    {                                                                                              \
        return cvec_claimed(v->vector);                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_capacity(const struct name *v)                         \
    {                                                                                              \
        return cvec_capacity(v->vector);                                                           \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve(struct name *v, size_t capacity)     \
    {                                                                                              \
        return cvec_reserve(v->vector, capacity);                                                  \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve_exact(struct name *v,                \
                                                                    size_t capacity)               \
    {                                                                                              \
        return cvec_reserve_exact(v->vector, capacity);                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_wait(struct name *v, size_t count,           \
                                                           int64_t timeout)                        \
    {                                                                                              \
        return cvec_wait(v->vector, count, timeout);                                               \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_close(struct name *v)                                    \
    {                                                                                              \
        cvec_close(v->vector);                                                                     \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_cursor_next(                                 \
        struct cvec_cursor *cursor, size_t most, int64_t timeout, struct name##_slice *slice)      \
    {                                                                                              \
        struct cvec_slice untyped;                                                                 \
        enum vbuf_status status = cvec_cursor_next(cursor, most, timeout, &untyped);               \
        if (status == VBUF_OK) {                                                                   \
            slice->data = (T const *)untyped.data;                                                 \
            slice->count = untyped.count;                                                          \
        }                                                                                          \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_push_exclusive(struct name *v, T value,      \
                                                                     size_t *index)                \
    {                                                                                              \
        uint64_t ticket = vbuf_u64_load_relaxed(&v->vector->len_);                                 \
        size_t claimed = (size_t)(ticket & CVEC_INDEX_MASK_);                                      \
        if (VBUF_UNLIKELY(claimed >= vbuf_u64_load_relaxed(&v->vector->capacity_)))                \
            return cvec_push_exclusive(v->vector, &value, index);                                  \
        v->data[claimed] = value;                                                                  \
        cvec_publish_exclusive_(v->vector, ticket, claimed);                                       \
        if (index != NULL)                                                                         \
            *index = claimed;                                                                      \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_truncate(struct name *v, size_t len)         \
    {                                                                                              \
        return cvec_truncate(v->vector, len);                                                      \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_clear(struct name *v)                                    \
    {                                                                                              \
        cvec_clear(v->vector);                                                                     \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_shrink_to_fit(struct name *v)                \
    {                                                                                              \
        return cvec_shrink_to_fit(v->vector);                                                      \
    }                                                                                              \
    struct name##_appender {                                                                       \
        struct cvec_appender appender;                                                             \
    };                                                                                             \
    VBUF_UNUSED static inline enum vbuf_status name##_appender_create(                             \
        struct name##_appender *a, struct name *v, size_t block)                                   \
    {                                                                                              \
        return cvec_appender_create(&a->appender, v->vector, block);                               \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_appender_push(struct name##_appender *a,     \
                                                                    T value)                       \
    {                                                                                              \
        size_t count = a->appender.count;                                                          \
        ((T *)(void *)a->appender.elements)[count] = value;                                        \
        a->appender.count = count + 1;                                                             \
        if (VBUF_UNLIKELY(count + 1 >= a->appender.block))                                         \
            return cvec_appender_settle_(&a->appender);                                            \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_appender_flush(struct name##_appender *a,    \
                                                                     size_t *first)                \
    {                                                                                              \
        return cvec_appender_flush(&a->appender, first);                                           \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_appender_discard(struct name##_appender *a)              \
    {                                                                                              \
        cvec_appender_discard(&a->appender);                                                       \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_appender_destroy(struct name##_appender *a)  \
    {                                                                                              \
        return cvec_appender_destroy(&a->appender);                                                \
    }

/*
 * The raw vector: no readiness bytes, so an element costs its own size and no more. Elements are
 * claimed, never pushed; they start zeroed, and T publishes itself, by whatever word of its own readers
 * look at, with its own release and acquire. Everything else is as in cvec, claiming included (C1, C5, C6).
 */
struct cvec_raw;

/* As cvec_create; VBUF_INVALID also iff options.destroy is not NULL: the vector cannot know what lives. */
VBUF_API enum vbuf_status cvec_raw_create(struct cvec_raw **raw,
                                          const struct cvec_options *options);
VBUF_API void cvec_raw_destroy(struct cvec_raw *raw);
VBUF_API void *cvec_raw_header(const struct cvec_raw *raw);

/* As cvec_claim; the elements are zero, if nobody writes to what is not claimed. */
VBUF_API enum vbuf_status cvec_raw_claim(struct cvec_raw *raw, size_t count, size_t *first,
                                         void **slots);

/* Element `index`, claimed or not, or NULL iff it is at or past the capacity; zero until someone writes it. */
static inline void *cvec_raw_get(const struct cvec_raw *raw, size_t index)
{
    const struct cvec *vector = (const struct cvec *)(const void *)raw;
    /* Acquire: the memory was committed first. Pairs with the growers' max_release. */
    if (VBUF_UNLIKELY(index >= vbuf_u64_load_acquire(&vector->capacity_)))
        return NULL;
    return cvec_at_(vector, index, vector->element_size);
}

/* Elements claimed so far; orders nothing. */
VBUF_API size_t cvec_raw_len(const struct cvec_raw *raw);
VBUF_API size_t cvec_raw_capacity(const struct cvec_raw *raw);
VBUF_API size_t cvec_raw_max_len(const struct cvec_raw *raw);
VBUF_API enum vbuf_status cvec_raw_reserve(struct cvec_raw *raw, size_t capacity);
VBUF_API enum vbuf_status cvec_raw_reserve_exact(struct cvec_raw *raw, size_t capacity);
VBUF_API void cvec_raw_close(struct cvec_raw *raw);
/* Exclusive access. As of a cvec; what is claimed again is zero again. */
VBUF_API enum vbuf_status cvec_raw_truncate(struct cvec_raw *raw, size_t len);
VBUF_API enum vbuf_status cvec_raw_shrink_to_fit(struct cvec_raw *raw);

/*
 * CVEC_RAW_DEFINE(cells, struct cell) makes a typed raw vector, struct cells: cells_create, cells_destroy,
 * cells_claim(&v, n, &first, &slots), cells_get(&v, i), cells_len, cells_capacity, cells_reserve,
 * cells_close, cells_truncate, cells_shrink_to_fit.
 */
#define CVEC_RAW_DEFINE(name, T)                                                                   \
    struct name {                                                                                  \
        struct cvec_raw *raw;                                                                      \
    };                                                                                             \
    VBUF_UNUSED static inline enum vbuf_status name##_create(struct name *v,                       \
                                                             const struct cvec_options *given)     \
    {                                                                                              \
        struct cvec_options options;                                                               \
        if (given != NULL)                                                                         \
            options = *given;                                                                      \
        else                                                                                       \
            __builtin_memset(&options, 0, sizeof options);                                         \
        options.element_size = sizeof(T);                                                          \
        if (options.element_align < CVEC_ALIGNOF_(T))                                              \
            options.element_align = CVEC_ALIGNOF_(T);                                              \
        return cvec_raw_create(&v->raw, &options);                                                 \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_destroy(struct name *v)                                  \
    {                                                                                              \
        cvec_raw_destroy(v->raw);                                                                  \
        v->raw = NULL;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_claim(struct name *v, size_t count,          \
                                                            size_t *first, T **slots)              \
    {                                                                                              \
        void *memory = NULL;                                                                       \
        enum vbuf_status status =                                                                  \
            cvec_raw_claim(v->raw, count, first, slots != NULL ? &memory : NULL);                  \
        if (status == VBUF_OK)                                                                     \
            *slots = (T *)memory;                                                                  \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline T *name##_get(const struct name *v, size_t index)                    \
    {                                                                                              \
        return (T *)cvec_raw_get(v->raw, index);                                                   \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_len(const struct name *v)                              \
    {                                                                                              \
        return cvec_raw_len(v->raw);                                                               \
    }                                                                                              \
    VBUF_UNUSED static inline size_t name##_capacity(const struct name *v)                         \
    {                                                                                              \
        return cvec_raw_capacity(v->raw);                                                          \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_reserve(struct name *v, size_t capacity)     \
    {                                                                                              \
        return cvec_raw_reserve(v->raw, capacity);                                                 \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_close(struct name *v)                                    \
    {                                                                                              \
        cvec_raw_close(v->raw);                                                                    \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_truncate(struct name *v, size_t len)         \
    {                                                                                              \
        return cvec_raw_truncate(v->raw, len);                                                     \
    }                                                                                              \
    VBUF_UNUSED static inline enum vbuf_status name##_shrink_to_fit(struct name *v)                \
    {                                                                                              \
        return cvec_raw_shrink_to_fit(v->raw);                                                     \
    }

VBUF_END_DECLS

#endif
