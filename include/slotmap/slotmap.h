/*
 * slotmap.h - a lock-free generational slot map: entity and handle tables for many threads.
 *
 * Insert a value, get a 64-bit handle; the handle finds the value, in O(1) and without waiting,
 * until the value is removed, and nothing ever after (S1). Values do not move. Memory grows in
 * place.
 *
 *   S1 A stale handle never resolves. Never: a slot whose generations are used up leaves service.
 *   S2 Of any number of racing removes of one handle, exactly one wins.
 *   S3 A value got under a pin stays intact until unpin.
 *   S4 slotmap_read returns a value that one insert or write put there whole, never a mix. A writer stopped
 *      half-way blocks no reader; a second writer of the same value gets VBUF_BUSY.
 *   S5 max_len live values always fit, whatever slots other threads cache or left behind, as long as at
 *      most max_limbo removed values wait for readers. VBUF_FULL means max_len.
 *   S6 Every published value is destroyed exactly once: after its remove, or with the map. A cancelled one
 *      never, and its handle never resolves.
 *   S7 Iteration visits every value that was live throughout exactly once, and none twice.
 *   S8 get, contains, and read on a map that is not updatable are wait-free; read on an updatable map, insert
 *      and remove are lock-free (commits aside).
 *   S9 slotmap_collect, from any thread, destroys everything removed before it that no pin protects,
 *      also what a thread removed that now sleeps.
 *
 * Which calls may run at the same time as which:
 *
 *                          get contains next   insert   remove   collect   len stats   destroy
 *     get contains next    yes                 yes      yes (1)  yes       yes         no
 *     insert               yes                 yes      yes      yes       yes         no
 *     remove               yes (1)             yes      yes      yes       yes         no
 *     (1) what get or next returned stays readable until the caller unpins (S3).
 *
 * claim, publish, cancel, insert_many and reserve go with everything that insert goes with; invalidate,
 * release, clear and retain with everything that remove does; read and write with everything that get does.
 *
 * A thread that inserts, removes or collects needs no pin; a thread that looks at a value needs
 * one. What a pinned thread removes cannot be reused before it unpins.
 *
 * In a fork's child every map works, whatever the parent's other threads were in the middle of (E3): every live value is
 * there; what they were inserting is not, nor is what they were removing; what they had claimed stays claimed, until who
 * has the handle publishes or cancels it. Removed values that they had in their hands are abandoned, not
 * destroyed there; stats.abandoned counts their slots, which are used again. For this, fork looks at every slot in the
 * child (about 10 ms for a million): to start another program, posix_spawn does without. A fork inside a callback (destroy,
 * on_commit, a domain's on_stall or reclaim function), or a signal handler that has interrupted a call, finds its own
 * thread in the middle of something as well, and repairs no map (the handler's: not rightly): its child should do no more
 * than exec or _exit, unless the parent had but one thread. No lock of ours is held across a fork, so handlers of
 * pthread_atfork may use maps. Those registered before ours, by an earlier constructor, must leave them alone in the child:
 * they come before the repair, and to create or destroy one might wait for a thread that is not there. Numbers of
 * such threads stay taken.
 *
 * Values are changed in place only under T's own synchronisation, or before anybody has the handle.
 * The argument for all of it, and the layout, are in slotmap.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SLOTMAP_SLOTMAP_H
#define SLOTMAP_SLOTMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../vbuf/atomic.h"
#include "../vbuf/ebr.h"
#include "../vbuf/status.h"
#include "../vbuf/vbuf.h"

VBUF_BEGIN_DECLS

/* {generation 32, index 32}. 0 is no handle. Copy it, store it, send it: it is just a number. */
typedef struct slotmap_handle {
    uint64_t bits;
} slotmap_handle;

struct slotmap_options {
    /* Bytes; required, at most 1 MiB. */
    size_t value_size;
    /* A power of two up to the page size that divides the value size; 0: the largest, at most 16. */
    size_t value_align;
    /* Live values; 0: 2^24, or what 16 GiB of address space hold. */
    size_t max_len;
    /* Removed values that may wait for readers; 0: max_len / 2, but at least 2^17 and at most 2^24, or
     * what 16 GiB of address space hold. */
    size_t max_limbo;
    /* A shared domain, which must outlive the map; NULL: the map makes its own. */
    struct ebr_domain *domain;
    /* Threads with lists of their own, counted as in ebr_options; 0: 1024, at most 4095. Others work
     * through shared words: correct, but slower. */
    uint32_t max_threads;
    /* For tests: slots start as if they had lived an eighth of this many lives: a multiple of 8 below
     * SLOTMAP_LAST_GENERATION - 8; 0 is the start. */
    uint32_t first_generation;
    /*
     * Not 0: slots start at generations spread by it, so that a handle of another map, or of an earlier run, is
     * caught with high probability; no more than that. Costs at most half a slot's lives.
     */
    uint32_t generation_seed;
    /*
     * Removed values are kept for slotmap_revive: destroyed when their slot is inserted into, or with the map; not by
     * slotmap_collect (S9), and not in limbo. (So the destructor must not insert: each insert may run another.)
     */
    bool revivable;
    /* Values may be changed by slotmap_write, and are then read by slotmap_read alone: they are kept twice. */
    bool updatable;
    /*
     * Destroys a value: once, after its remove and after every pin that could see it has ended,
     * inside some insert, remove or collect on any thread, at most 128 in one insert or remove; or
     * in slotmap_destroy. It may use the map, but in slotmap_destroy. It must return: a thread that ends in it
     * loses values that it was to destroy. (Where threads are cancelled, it holds cancellation off.) May be NULL.
     */
    void (*destroy)(void *context, void *value);
    /*
     * The destructor runs in slotmap_collect and slotmap_destroy only: for one that takes a lock under which others
     * insert and remove. Somebody must collect, then: what is removed counts against max_limbo until it is
     * destroyed. Not in a revivable map, where it is inserts that destroy.
     */
    bool destroy_in_collect;
    /* Asked before memory is committed, and may refuse: then VBUF_NOMEM (a thread for which a part is
     * refused shares one). Must not use the map. May be NULL. */
    vbuf_commit_hook *on_commit;
    /* Handed to destroy and on_commit. */
    void *context;
};

/* The last generation a slot can live in: 2^29 - 1 lives a slot. */
#define SLOTMAP_LAST_GENERATION UINT32_C(0xFFFFFFF9)

struct slotmap_report {
    size_t len;       /* live values */
    size_t max_len;   /* live values that always fit */
    size_t capacity;  /* slots that fit without another commit */
    size_t slots;     /* slots made so far: live, free, waiting or out of service */
    size_t max_slots; /* slots there can be: slotmap_handle_index is never more, for side arrays */
    size_t limbo;     /* removed, waiting for readers or for their destructor */
    size_t max_limbo; /* what limbo may reach before insert says VBUF_BUSY */
    size_t exhausted; /* slots out of service: their generations are used up */
    uint64_t
        abandoned; /* in a fork's child: slots found in the hands of threads it has not, and used again */
    size_t committed_bytes; /* memory committed for slots and bookkeeping */
    uint64_t inserted;      /* since creation; claims count, ended as they may */
    uint64_t removed;       /* since creation; a cancel counts, and a release, not its invalidate */
    uint64_t destroyed;     /* of those removed: whose time came, with or without a destructor */
    struct ebr_report domain; /* of its own or the shared domain: names a stalled pin */
};

/* ---- private: what inlined calls touch ---- */

/* What a generation's last three bits say; the others count lives. See the essay in slotmap.c. */
enum slotmap_state_ {
    SLOTMAP_UNUSED_ = 0,
    SLOTMAP_LIVE_ = 1,
    SLOTMAP_REMOVED_ = 2,     /* waits, or is vacant */
    SLOTMAP_CLAIMED_ = 3,     /* a handle is out, but does not resolve yet */
    SLOTMAP_CANCELLED_ = 4,   /* waits, or is vacant; there is no value */
    SLOTMAP_INVALIDATED_ = 5, /* waits; is not vacant before its release */
    SLOTMAP_HELD_ = 6         /* destroyed; is not vacant before its release */
};
#define SLOTMAP_STATE_ 7u

/* In front of every value. */
struct slotmap_slot_ {
    struct vbuf_atomic_u32 generation;
    struct vbuf_atomic_u32 link; /* the next slot of the list this one is on; 0 is none */
};

/* A thread's part of a map, found by its dense id. */
struct slotmap_thread_ {
    /* Set by the owner while it is at its lists; read by who wants to take them over. */
    struct vbuf_atomic_u32 busy;
    /* Set by who wants to take the lists over: its token, or that and SLOTMAP_TAKING_. 0: nobody. */
    struct vbuf_atomic_u64 frozen;
    /* The lists: of whoever is busy, or has them frozen and found nobody busy. */
    uint32_t free;       /* head of the free list */
    uint32_t open_first; /* the open batch of removed slots: newest, oldest, how many */
    uint32_t open_last;
    uint32_t open_count;
    /* Written by the owner; read by anybody who counts. */
    struct vbuf_atomic_u64 inserted;
    struct vbuf_atomic_u64 removed;
    /* Written by the owner and by who takes unused room back: room granted to this thread. */
    struct vbuf_atomic_u64 granted;
};

struct slotmap {
    /* Fixed at creation. */
    struct ebr_domain *domain_;
    size_t slot_size_;
    size_t value_offset_;
    size_t value_size_;
    bool full_fence_; /* the light side of the fence must be a full one */
    bool apart_;      /* slots are larger than SLOTMAP_DEFINE thinks: updatable, or revivable */
    bool updatable_;
    uint8_t index_bits_; /* of a handle, that slots need; 32 at most */
    /* Written by growers, read by everybody. Only grow. */
    struct vbuf_atomic_u32 slot_limit_;   /* slots below are committed */
    struct vbuf_atomic_u32 thread_limit_; /* ids from 1 up to it have a committed part */
};

/*
 * Where the threads' parts and the slots lie in a map: fixed, so that no pointer has to be loaded. For parts see
 * EBR_RECORDS_OFFSET_; slots are aligned to any page there is. What lies in between is address space only.
 */
#define SLOTMAP_THREADS_OFFSET_ (1024 + 128)
#define SLOTMAP_THREAD_STRIDE_ 256
#define SLOTMAP_SLOTS_OFFSET_ ((size_t)2 << 20)
#define SLOTMAP_BATCH_ 64
#define SLOTMAP_TAKING_ 1

struct slotmap_claim_ {
    struct slotmap_slot_ *slot;
    uint32_t index;
    uint32_t live; /* the generation it will live in */
};

VBUF_API enum vbuf_status slotmap_claim_slow_(struct slotmap *map, struct slotmap_claim_ *claim);
VBUF_API void slotmap_turn_over_(struct slotmap *map, struct slotmap_thread_ *thread);
VBUF_API void slotmap_bury_slow_(struct slotmap *map,
                                 uint32_t index); /* without a part: counts too */
VBUF_API void slotmap_bury_frozen_(struct slotmap *map, struct slotmap_thread_ *thread,
                                   uint32_t index);
/* Copies a value of an updatable map that a look has found in the middle of writes. Pinned. */
VBUF_API void slotmap_copy_again_(struct slotmap *map, const struct slotmap_slot_ *slot, void *to);

/* Asserts, where misuse is looked for, that the caller is pinned, as far as can be told: readers are anybody's. */
#if defined(VBUF_DEBUG)
VBUF_API void slotmap_assert_pinned_(const struct slotmap *map);
#define SLOTMAP_ASSERT_PINNED_(map) slotmap_assert_pinned_(map)
#else
#define SLOTMAP_ASSERT_PINNED_(map) ((void)0)
#endif

/* In front of an updatable value's two copies. See slotmap_value.c. */
struct slotmap_updatable_slot_ {
    struct slotmap_slot_ head;
    struct vbuf_atomic_u64 sequence; /* writes, and whether one is under way */
};
#define SLOTMAP_WRITING_ 1u
#define SLOTMAP_NEXT_ 2u

/* The calling thread's part; false when it has none yet, or gets none. */
VBUF_ALWAYS_INLINE bool slotmap_thread_of_(const struct slotmap *map,
                                           struct slotmap_thread_ **thread)
{
    uint32_t id = vbuf_self_.id; /* 0, no id, wraps to the largest number */
    /* Acquire: the part may have been committed by another thread, along with its own. Pairs with commit_part. */
    if (VBUF_UNLIKELY(id - 1 >= vbuf_u32_load_acquire(&map->thread_limit_)))
        return false;
    *thread = (struct slotmap_thread_ *)((uintptr_t)map + SLOTMAP_THREADS_OFFSET_ +
                                         (size_t)id * SLOTMAP_THREAD_STRIDE_);
    return true;
}

static inline struct slotmap_slot_ *slotmap_slot_at_(const struct slotmap *map, uint32_t index,
                                                     size_t slot_size)
{
    return (struct slotmap_slot_ *)((uintptr_t)map + SLOTMAP_SLOTS_OFFSET_ + index * slot_size);
}

/* The slot that lives under exactly these bits; false: none does. Any bits are safe. */
VBUF_ALWAYS_INLINE bool slotmap_find_(const struct slotmap *map, uint64_t bits, size_t slot_size,
                                      struct slotmap_slot_ **slot)
{
    uint32_t index = (uint32_t)bits;
    uint32_t generation = (uint32_t)(bits >> 32);
    /* Acquire pairs with the release in growth: below the limit is committed. */
    if (VBUF_UNLIKELY(index >= vbuf_u32_load_acquire(&map->slot_limit_)))
        return false;
    *slot = slotmap_slot_at_(map, index, slot_size);
    /* Acquire pairs with the release in slotmap_publish_: the value is whole. */
    return VBUF_LIKELY(vbuf_u32_load_acquire(&(*slot)->generation) == generation) &&
           VBUF_LIKELY((generation & SLOTMAP_STATE_) == SLOTMAP_LIVE_);
}

/*
 * Begins to use the thread's lists; false: somebody wants to take them over, and they must be left
 * alone (slotmap_limbo.c can still insist). Owner and taker are a pair over the asymmetric fence: store busy, light fence, load
 * frozen here; store frozen, heavy fence, load busy there (take_over in slotmap_limbo.c).
 */
VBUF_ALWAYS_INLINE bool slotmap_enter_(const struct slotmap *map, struct slotmap_thread_ *thread)
{
    vbuf_u32_store_relaxed(&thread->busy, 1); /* relaxed: the fence orders it */
    if (map->full_fence_)
        vbuf_fence_full();
    else
        vbuf_fence_light();
    /* Pairs with the taker's release when it is through. */
    return VBUF_LIKELY(vbuf_u64_load_acquire(&thread->frozen) == 0);
}

static inline void slotmap_leave_(struct slotmap_thread_ *thread)
{
    vbuf_u32_store_release(&thread->busy, 0); /* pairs with the taker's acquire of busy */
}

/* The generation that a vacant slot lives in next. */
static inline uint32_t slotmap_next_life_(uint32_t generation)
{
    return (generation | SLOTMAP_STATE_) + 1 + SLOTMAP_LIVE_;
}

/* The slow way, into a claim of its own: the caller's then stays in registers on the way that is fast. */
static inline enum vbuf_status slotmap_claim_otherwise_(struct slotmap *map,
                                                        struct slotmap_claim_ *claim)
{
    struct slotmap_claim_ taken = {NULL, 0, 0};
    enum vbuf_status status = slotmap_claim_slow_(map, &taken);
    *claim = taken;
    return status;
}

/*
 * Takes a vacant slot for the calling thread: its own until it publishes it. Room for it is taken out
 * of what the thread was granted, by counting it in; others may be taking unused room back meanwhile.
 * The fence in slotmap_enter_ is this pair's light side as well: store inserted, light fence, load
 * granted here; CAS granted, heavy fence, load inserted there (take_back in slotmap_room.c).
 */
VBUF_ALWAYS_INLINE enum vbuf_status slotmap_claim_slot_(struct slotmap *map, size_t slot_size,
                                                        struct slotmap_claim_ *claim)
{
    struct slotmap_thread_ *thread;
    if (VBUF_UNLIKELY(!slotmap_thread_of_(map, &thread)))
        return slotmap_claim_otherwise_(map, claim);
    uint64_t inserted = vbuf_u64_load_relaxed(&thread->inserted) + 1; /* our own */
    vbuf_u64_store_release(&thread->inserted, inserted);
    if (slotmap_enter_(map, thread)) {
        uint64_t room = vbuf_u64_load_acquire(&thread->granted) + /* pairs with take_back's CAS */
                        vbuf_u64_load_relaxed(&thread->removed);  /* our own */
        claim->index = thread->free;
        if (VBUF_LIKELY((int64_t)(room - inserted) >= 0 && claim->index != 0)) {
            claim->slot = slotmap_slot_at_(map, claim->index, slot_size);
            /* Relaxed: a vacant slot is written by whoever holds it, and that is us. */
            uint32_t generation = vbuf_u32_load_relaxed(&claim->slot->generation);
            claim->live = slotmap_next_life_(generation);
            if (VBUF_LIKELY(generation < SLOTMAP_LAST_GENERATION)) {
                uint32_t next = vbuf_u32_load_relaxed(&claim->slot->link); /* likewise ours */
                thread->free = next;
                slotmap_leave_(thread);
                /* The next insert's slot was in limbo for long: it is not in the cache. */
                __builtin_prefetch(slotmap_slot_at_(map, next, slot_size), 1);
                return VBUF_OK;
            }
        }
    }
    slotmap_leave_(thread);
    vbuf_u64_store_release(&thread->inserted, inserted - 1);
    return slotmap_claim_otherwise_(map, claim);
}

/* Makes a claimed slot, its value written, live; gives its handle's bits. */
VBUF_ALWAYS_INLINE uint64_t slotmap_publish_(const struct slotmap_claim_ *claim)
{
    /* Pairs with the acquire in slotmap_find_. */
    vbuf_u32_store_release(&claim->slot->generation, claim->live);
    return (uint64_t)claim->live << 32 | claim->index;
}

/* Unlinks what lives under these bits: VBUF_OK for exactly one caller a life (S2). */
VBUF_ALWAYS_INLINE enum vbuf_status slotmap_unlink_(struct slotmap *map, uint64_t bits,
                                                    size_t slot_size, enum slotmap_state_ state,
                                                    struct slotmap_slot_ **unlinked)
{
    struct slotmap_slot_ *slot;
    if (!slotmap_find_(map, bits, slot_size, &slot))
        return VBUF_STALE;
    uint32_t live = (uint32_t)(bits >> 32);
    /* Release: what we did with the value is done; acquire: we may read it. Pairs with itself. */
    if (!vbuf_u32_cas_acq_rel(&slot->generation, &live, live - SLOTMAP_LIVE_ + (uint32_t)state))
        return VBUF_STALE;
    *unlinked = slot;
    return VBUF_OK;
}

/* Puts an unlinked slot on a thread's open batch; true: it is time to turn over. Entered. */
VBUF_ALWAYS_INLINE bool slotmap_bury_into_(struct slotmap_thread_ *thread,
                                           struct slotmap_slot_ *slot, uint32_t index)
{
    /* Relaxed: the slot belongs to the batch until it is reclaimed. */
    vbuf_u32_store_relaxed(&slot->link, thread->open_first);
    if (thread->open_first == 0)
        thread->open_last = index;
    thread->open_first = index;
    return ++thread->open_count % SLOTMAP_BATCH_ == 0;
}

/* Hands an unlinked slot to limbo. */
VBUF_ALWAYS_INLINE void slotmap_bury_(struct slotmap *map, struct slotmap_slot_ *slot,
                                      uint32_t index)
{
    struct slotmap_thread_ *thread;
    if (VBUF_UNLIKELY(!slotmap_thread_of_(map, &thread))) {
        slotmap_bury_slow_(map, index);
        return;
    }
    /* Release: the room counts as free only after the unlink; pairs with who counts, acquiring. */
    vbuf_u64_owner_add_release(&thread->removed, 1);
    bool entered = slotmap_enter_(map, thread);
    bool due = entered && slotmap_bury_into_(thread, slot, index);
    slotmap_leave_(thread);
    if (VBUF_UNLIKELY(!entered))
        slotmap_bury_frozen_(map, thread, index);
    if (VBUF_UNLIKELY(due))
        slotmap_turn_over_(map, thread);
}

/* The copy that is current at this state of the sequence. */
static inline struct vbuf_atomic_u64 *slotmap_copy_of_(const struct slotmap_slot_ *slot,
                                                       size_t value_offset, size_t copy_size,
                                                       uint64_t sequence)
{
    size_t current = sequence / SLOTMAP_NEXT_ % 2;
    return (struct vbuf_atomic_u64 *)((uintptr_t)slot + value_offset + current * copy_size);
}

/* Word by word: pairs with write_words. */
static inline void slotmap_read_words_(const struct vbuf_atomic_u64 *from, unsigned char *to,
                                       size_t size)
{
    for (; size >= sizeof(uint64_t); from++, to += sizeof(uint64_t), size -= sizeof(uint64_t)) {
        uint64_t word = vbuf_u64_load_acquire(from);
        memcpy(to, &word, sizeof word);
    }
    if (size != 0) { /* the last word is padded */
        uint64_t word = vbuf_u64_load_acquire(from);
        memcpy(to, &word, size);
    }
}

/* Whether a copy that was current at `before` may have been written by the time of `after`. */
static inline bool slotmap_was_overtaken_(uint64_t before, uint64_t after)
{
    return after != before && after - (before & ~(uint64_t)SLOTMAP_WRITING_) > SLOTMAP_NEXT_;
}

/* Before the first value is written to a vacant slot: nobody is left of its last life. */
static inline void slotmap_begin_updatable_(struct slotmap_slot_ *slot)
{
    /* Relaxed: the slot is ours. */
    vbuf_u64_store_relaxed(&((struct slotmap_updatable_slot_ *)(void *)slot)->sequence, 0);
}

/* Copies a value that may be written meanwhile: whole (S4). */
VBUF_ALWAYS_INLINE void slotmap_copy_out_(const struct slotmap_slot_ *slot, size_t value_offset,
                                          size_t copy_size, size_t size, void *to)
{
    const struct vbuf_atomic_u64 *sequence =
        &((const struct slotmap_updatable_slot_ *)(const void *)slot)->sequence;
    uint64_t after = vbuf_u64_load_acquire(sequence); /* pairs with the unlock in write_slot */
    uint64_t before;
    do {
        before = after;
        slotmap_read_words_(slotmap_copy_of_(slot, value_offset, copy_size, before),
                            (unsigned char *)to, size);
        /* After the words, which were acquired; acquire, in case it is the next `before`. */
        after = vbuf_u64_load_acquire(sequence);
    } while (VBUF_UNLIKELY(slotmap_was_overtaken_(before, after)));
}

/* The same once: false iff another write has begun meanwhile, or ended, and the value may be of two. */
VBUF_ALWAYS_INLINE bool slotmap_copy_once_(const struct slotmap_slot_ *slot, size_t value_offset,
                                           size_t copy_size, size_t size, void *to)
{
    const struct vbuf_atomic_u64 *sequence =
        &((const struct slotmap_updatable_slot_ *)(const void *)slot)->sequence;
    uint64_t before = vbuf_u64_load_acquire(sequence); /* pairs with the unlock in write_slot */
    slotmap_read_words_(slotmap_copy_of_(slot, value_offset, copy_size, before),
                        (unsigned char *)to, size);
    /* Relaxed: after the words, which were acquired. */
    return vbuf_u64_load_relaxed(sequence) == before;
}

/* ---- public ---- */

/*
 * Creates an empty map.
 * Returns VBUF_INVALID iff map or options is NULL, value_size is 0 or above 1 MiB, the alignment is
 * not as the options demand, max_threads exceeds 4095, first_generation is not a multiple of 8, or too large,
 * or given beside generation_seed, or the map is revivable and destroy_in_collect, or the
 * slots that max_len, max_limbo and the threads' caches need are more than 2^32 - 1 or overflow the
 * address space; VBUF_NOMEM iff address space or memory for bookkeeping is refused.
 */
VBUF_API enum vbuf_status slotmap_create(struct slotmap **map,
                                         const struct slotmap_options *options);

/*
 * Destroys every value, live or removed, that was not yet destroyed, then the map. Needs exclusive
 * access, and that nobody, the caller included, is pinned in the map's own domain. The destructor
 * must not use the map any more. NULL does nothing.
 */
VBUF_API void slotmap_destroy(struct slotmap *map);

/* Pins and unpins the map's domain: see ebr_pin. Nests. Wait-free; no fence. */
static inline void slotmap_pin(struct slotmap *map)
{
    ebr_pin(map->domain_);
}

static inline void slotmap_unpin(struct slotmap *map)
{
    ebr_unpin(map->domain_);
}

/* The same through a reader of the map's domain, for fibres: see ebr_reader_create. */
static inline void slotmap_pin_on(struct slotmap *map, struct ebr_reader *reader)
{
    ebr_pin_on(map->domain_, reader);
}

static inline void slotmap_unpin_on(struct slotmap *map, struct ebr_reader *reader)
{
    ebr_unpin_on(map->domain_, reader);
}

/* The map's domain: its own, or the one given at creation. */
static inline struct ebr_domain *slotmap_domain(const struct slotmap *map)
{
    return map->domain_;
}

/* The handle as a number and back; any number is a safe handle. */
static inline uint64_t slotmap_handle_to_u64(slotmap_handle handle)
{
    return handle.bits;
}

static inline slotmap_handle slotmap_handle_from_u64(uint64_t bits)
{
    slotmap_handle handle = {bits};
    return handle;
}

/*
 * Tags: bits of the index that max_len leaves unused are the user's. A tagged handle is a number to keep; it resolves
 * nothing before its tag is taken off. The tag must be below 2^slotmap_tag_bits(map). All wait-free.
 */
VBUF_API unsigned slotmap_tag_bits(const struct slotmap *map);

static inline slotmap_handle slotmap_with_tag(const struct slotmap *map, slotmap_handle handle,
                                              uint32_t tag)
{
    slotmap_handle tagged = {handle.bits | (uint64_t)tag << map->index_bits_};
    return tagged;
}

static inline uint32_t slotmap_tag(const struct slotmap *map, slotmap_handle handle)
{
    return (uint32_t)((handle.bits & UINT32_MAX) >> map->index_bits_);
}

static inline slotmap_handle slotmap_without_tag(const struct slotmap *map, slotmap_handle handle)
{
    slotmap_handle plain = {handle.bits ^ (uint64_t)slotmap_tag(map, handle) << map->index_bits_};
    return plain;
}

/* The handle's slot number, from 1 up: for side arrays. Two live handles never share one. */
static inline uint32_t slotmap_handle_index(slotmap_handle handle)
{
    return (uint32_t)handle.bits;
}

/*
 * Inserts a copy of *value. `handle` may be NULL.
 * Returns VBUF_INVALID iff value is NULL; VBUF_FULL iff max_len values are live, being inserted or
 * being removed, or every slot that could hold another is out of service; VBUF_BUSY iff fewer are, but there is no
 * slot to be had: more than max_limbo removed values wait, for a pin to end (stats name it) or for a destructor, or
 * another thread was stopped in the middle of a call with what this one needs, or the system has begun
 * to refuse the barrier: trying again later can succeed; VBUF_NOMEM iff memory to grow is refused. Then
 * nothing changed, but that limbo may have been collected.
 * Any thread, pinned or not. Waits for nobody, but that a thread that finds another stopped in the
 * middle of handing room over gives it some 40 milliseconds before it says VBUF_BUSY. Costs a few plain loads and
 * stores, the copy, and a share of an exchange per 64; now and then a commit. What went into the value
 * happens before any get that finds it.
 */
VBUF_API enum vbuf_status slotmap_insert(struct slotmap *map, const void *value,
                                         slotmap_handle *handle);

/*
 * The value that lives under `handle`, or NULL. The caller must be pinned; the pointer is valid
 * until it unpins. Any 64 bits are a safe argument. In an updatable map the pointer says only that a value lives:
 * read it by slotmap_read.
 * Any pinned thread. Wait-free: two loads and two compares.
 */
static inline void *slotmap_get(const struct slotmap *map, slotmap_handle handle)
{
    struct slotmap_slot_ *slot;
    SLOTMAP_ASSERT_PINNED_(map);
    if (!slotmap_find_(map, handle.bits, map->slot_size_, &slot))
        return NULL;
    return (unsigned char *)slot + map->value_offset_;
}

/* Whether a value lives under `handle` now. Needs no pin. Wait-free. */
static inline bool slotmap_contains(const struct slotmap *map, slotmap_handle handle)
{
    struct slotmap_slot_ *slot;
    return slotmap_find_(map, handle.bits, map->slot_size_, &slot);
}

/*
 * Copies the value that lives under `handle` to *value; pins by itself.
 * Returns VBUF_INVALID iff value is NULL; VBUF_STALE iff no value lives there. Wait-free; on an updatable map
 * lock-free: it starts again when two writes of the value overtake it. What it returns one insert or write put
 * there whole (S4).
 */
VBUF_API enum vbuf_status slotmap_read(struct slotmap *map, slotmap_handle handle, void *value);

/*
 * Removes the value that lives under `handle`: from now on the handle never resolves. Its
 * destructor runs once no pin can see it. A pinned caller may ask for the value and read it until
 * it unpins; `value` may be NULL.
 * Returns VBUF_STALE iff nothing lives under the handle, or another remove won.
 * Any thread, pinned or not. Lock-free. One compare-and-swap, and a share of an exchange per 64.
 */
VBUF_API enum vbuf_status slotmap_remove(struct slotmap *map, slotmap_handle handle, void **value);

/* ---- in two steps ---- */

/*
 * Takes a slot whose handle is known before its value: write the value, then publish, from this thread or
 * another that it is handed to; or cancel. Until it is published the handle does not resolve. A claim counts as
 * live (slotmap_len, max_len), and what is claimed must be published or cancelled. Fresh memory: *value holds
 * anything.
 * Returns VBUF_INVALID iff handle or value is NULL; otherwise as slotmap_insert.
 */
VBUF_API enum vbuf_status slotmap_claim(struct slotmap *map, slotmap_handle *handle, void **value);

/*
 * As slotmap_claim, but hands back what the slot held before, where that is still there: *revived says so. The old value
 * is the caller's then: it is not destroyed, unless it is published again. Only where the map is `revivable`.
 * Returns VBUF_INVALID iff handle, value or revived is NULL, or the map is not revivable; otherwise as slotmap_insert.
 */
VBUF_API enum vbuf_status slotmap_revive(struct slotmap *map, slotmap_handle *handle, void **value,
                                         bool *revived);

/*
 * Makes a claimed value live: what was written to it happens before any get that finds it.
 * Returns VBUF_STALE iff nothing is claimed under the handle (any more). Wait-free.
 */
VBUF_API enum vbuf_status slotmap_publish(struct slotmap *map, slotmap_handle handle);

/*
 * Gives a claim up: its handle never resolves, and nothing is destroyed. The slot waits out a grace period, and
 * counts as removed.
 * Returns VBUF_STALE iff nothing is claimed under the handle (any more). Lock-free.
 */
VBUF_API enum vbuf_status slotmap_cancel(struct slotmap *map, slotmap_handle handle);

/*
 * Inserts copies of `count` values that lie one behind the other: all of them or none. Each becomes live by
 * itself, in order. `handles` takes as many handles, or is NULL.
 * Returns VBUF_INVALID iff values is NULL and count is not 0; otherwise as slotmap_insert, and then
 * nothing was inserted; but slots that were claimed for it wait in limbo, as cancelled ones.
 */
VBUF_API enum vbuf_status slotmap_insert_many(struct slotmap *map, const void *values, size_t count,
                                              slotmap_handle *handles);

/*
 * Removes the value but keeps its slot: the handle never resolves again, the value is destroyed as after
 * slotmap_remove, but the slot, and its index, serve nobody else before slotmap_release: for side arrays
 * that others still look at. Until then it counts as live (slotmap_len, max_len).
 * Returns VBUF_STALE iff nothing lives under the handle. Lock-free.
 */
VBUF_API enum vbuf_status slotmap_invalidate(struct slotmap *map, slotmap_handle handle);

/*
 * Gives back the slot of an invalidated value, which may still wait for its destructor.
 * Returns VBUF_STALE iff the handle is not of an invalidated value, or it was released already: of racing
 * releases one wins. Lock-free.
 */
VBUF_API enum vbuf_status slotmap_release(struct slotmap *map, slotmap_handle handle);

/* ---- values that change ---- */

/*
 * Replaces the value that lives under `handle` by a copy of *value; only where the map is `updatable`. Pins by
 * itself.
 * Returns VBUF_INVALID iff value is NULL or the map is not updatable; VBUF_STALE iff nothing lives there;
 * VBUF_BUSY iff another write of the same value is under way, which may have been stopped: nothing changed.
 * Lock-free. A read that returns the value happens after the write (S4). Who removes the value and asks for it, is
 * handed what the last write that returned VBUF_OK put there; so is its destructor.
 */
VBUF_API enum vbuf_status slotmap_write(struct slotmap *map, slotmap_handle handle,
                                        const void *value);

/* ---- all of them ---- */

/* The handle of the value that `value`, from get, next or claim, points to. The caller is pinned, or knows otherwise
 * that it lives; any other pointer gives nonsense. Wait-free. */
VBUF_API slotmap_handle slotmap_handle_of(const struct slotmap *map, const void *value);

/*
 * Commits memory, so that the calling thread's next `count` inserts make no system call if no other thread inserts
 * meanwhile and nobody is pinned for long. With `prefault`, their pages are there as well.
 * Returns VBUF_FULL iff count is above max_len; VBUF_NOMEM iff memory is refused.
 */
VBUF_API enum vbuf_status slotmap_reserve(struct slotmap *map, size_t count, bool prefault);

/*
 * Removes every value that is live at the call and still live when it comes to it; others go on meanwhile. How many
 * it removed. Lock-free.
 */
VBUF_API size_t slotmap_clear(struct slotmap *map);

/*
 * Removes those for which keep(context, handle, value) says false. `keep` runs on the calling thread, which is pinned
 * meanwhile; it may use the map. How many it removed.
 */
VBUF_API size_t slotmap_retain(struct slotmap *map,
                               bool (*keep)(void *context, slotmap_handle handle, void *value),
                               void *context);

/* Live values; exact when nobody inserts or removes meanwhile. Reads one line a thread. */
VBUF_API size_t slotmap_len(const struct slotmap *map);

/* Slots that fit without another commit. Wait-free. */
VBUF_API size_t slotmap_capacity(const struct slotmap *map);

/* Figures, each correct at some moment during the call. Returns VBUF_INVALID iff stats is NULL. */
VBUF_API enum vbuf_status slotmap_stats(struct slotmap *map, struct slotmap_report *stats);

/*
 * Takes over what every thread that is not in the middle of a call has removed, asleep and exited
 * threads included, advances the epoch as far as it goes now, and destroys what no pin protects: all
 * of it, not just 128. Returns how many it took out of limbo. Most of what destructors remove meanwhile
 * is left to a later call. Threads that collect at once share the work, an insert that finds no slot among them: what
 * one of them still has in its hands when the other returns, it destroys before it returns itself. Inside a destructor,
 * or a reclaim function of ebr, it destroys nothing.
 * A thread in the middle of a call keeps what it has; it is looked at again, three times at most, with a yield before
 * each. One that is just taking over as well, or is at the lists that threads without a part share, is waited for, up to
 * some 10 milliseconds: beyond that it counts as stopped, and what it has in its hands is left to a later call.
 * Any thread. Lock-free. Four heavy fences, and two looks at every thread's part; as much again for each time.
 */
VBUF_API size_t slotmap_collect(struct slotmap *map);

/* An iteration. Keep it on the stack; nothing to release. */
struct slotmap_iter {
    struct slotmap *map;
    struct slotmap_slot_ *slot_; /* the next slot to look at */
    uint32_t index;              /* its number */
    uint32_t end;
};

/* Starts an iteration over what is live now. Sees what the calling thread has inserted. Wait-free. */
VBUF_API struct slotmap_iter slotmap_iter_begin(struct slotmap *map);

/*
 * Cuts the second half of what is left off an iteration, for another thread; false: too little is left. Both
 * together visit what the whole would have (S7).
 */
static inline bool slotmap_iter_split(struct slotmap_iter *iter, struct slotmap_iter *other)
{
    if (iter->end - iter->index < 2)
        return false;
    *other = *iter;
    other->index = iter->index + (iter->end - iter->index) / 2;
    other->slot_ = slotmap_slot_at_(iter->map, other->index, iter->map->slot_size_);
    iter->end = other->index;
    return true;
}

VBUF_ALWAYS_INLINE void *slotmap_iter_next_(struct slotmap_iter *iter, uint64_t *bits,
                                            size_t slot_size, size_t value_offset)
{
    while (iter->index < iter->end) {
        uint32_t index = iter->index++;
        struct slotmap_slot_ *slot = iter->slot_;
        iter->slot_ = (struct slotmap_slot_ *)(void *)((unsigned char *)slot + slot_size);
        /* Pairs with slotmap_publish_. */
        uint32_t generation = vbuf_u32_load_acquire(&slot->generation);
        if ((generation & SLOTMAP_STATE_) != SLOTMAP_LIVE_)
            continue;
        *bits = (uint64_t)generation << 32 | index;
        return (unsigned char *)slot + value_offset;
    }
    return NULL;
}

/*
 * The next live value, or NULL at the end; its handle in *handle, which may be NULL. The caller must be
 * pinned; the pointer is valid until it unpins. Unpinning between calls is fine. With exclusive access to the map no
 * pin is needed, and whatever is found may be changed.
 * Values inserted or removed meanwhile may be visited or not; none is visited twice (S7).
 * Any thread. Wait-free: bounded by the slots made so far.
 */
static inline void *slotmap_iter_next(struct slotmap_iter *iter, slotmap_handle *handle)
{
    uint64_t bits;
    void *value = slotmap_iter_next_(iter, &bits, iter->map->slot_size_, iter->map->value_offset_);
    if (value != NULL && handle != NULL)
        handle->bits = bits;
    return value;
}

/*
 * SLOTMAP_DEFINE(users, struct user) makes a typed map with a handle type of its own, inlined:
 *
 *     struct users { struct slotmap *map; struct ebr_domain *domain; };
 *     typedef struct { uint64_t bits; } users_handle;
 *     users_create(&m, options)                  options may be NULL; value size and alignment are T's
 *     users_of(map)                              the same for a map of such values that exists
 *     users_destroy(&m)  users_pin(&m)  users_unpin(&m)  users_insert(&m, value, &h)
 *     users_get(&m, h)  users_read(&m, h, &value)  users_contains(&m, h)  users_remove(&m, h)
 *     users_next(&iter, &h)
 *
 * SLOTMAP_DEFINE_UPDATABLE(users, struct user) makes an updatable one: it has users_write(&m, h, &value); it has no
 * users_get, and users_next says whether there is another, but not where.
 *
 * Each is the call of the same name above, with its contract; users_remove gives no value, and create says
 * VBUF_INVALID also iff the options ask for a map of another kind. The rest (len, stats, collect, iter_begin) is called
 * on m.map.
 */
#if defined(__cplusplus)
#define SLOTMAP_ALIGNOF_(T) alignof(T)
#else
#define SLOTMAP_ALIGNOF_(T) _Alignof(T)
#endif

/* The layout of a slot: {generation, link}, padding, value, padding; at least 4 bytes of value. */
#define SLOTMAP_VALUE_OFFSET_(align) ((size_t)(align) > 8 ? (size_t)(align) : (size_t)8)
#define SLOTMAP_SLOT_SIZE_(size, align)                                                            \
    ((SLOTMAP_VALUE_OFFSET_(align) + ((size_t)(size) < 4 ? 4 : (size_t)(size)) +                   \
      ((size_t)(align) > 4 ? (size_t)(align) : 4) - 1) &                                           \
     ~(((size_t)(align) > 4 ? (size_t)(align) : (size_t)4) - 1))

/* Of an updatable one: {generation, link}, sequence, padding, copy, copy; each copy padded to words and its alignment. */
#define SLOTMAP_COPIES_OFFSET_(align) ((size_t)(align) > 16 ? (size_t)(align) : (size_t)16)
#define SLOTMAP_COPY_SIZE_(size, align)                                                            \
    (((size_t)(size) + SLOTMAP_VALUE_OFFSET_(align) - 1) & ~(SLOTMAP_VALUE_OFFSET_(align) - 1))
#define SLOTMAP_UPDATABLE_SIZE_(size, align)                                                       \
    (SLOTMAP_COPIES_OFFSET_(align) + 2 * SLOTMAP_COPY_SIZE_(size, align))

/* What both kinds have. */
#define SLOTMAP_DEFINE_COMMON_(name, T, is_updatable)                                              \
    struct name {                                                                                  \
        struct slotmap *map;                                                                       \
        struct ebr_domain *domain; /* the map's */                                                 \
    };                                                                                             \
    typedef struct {                                                                               \
        uint64_t bits;                                                                             \
    } name##_handle;                                                                               \
    VBUF_UNUSED static inline enum vbuf_status name##_create(struct name *m,                       \
                                                             const struct slotmap_options *given)  \
    {                                                                                              \
        struct slotmap_options options;                                                            \
        memset(&options, 0, sizeof options);                                                       \
        if (given != NULL)                                                                         \
            options = *given;                                                                      \
        options.value_size = sizeof(T);                                                            \
        options.value_align = SLOTMAP_ALIGNOF_(T);                                                 \
        if ((options.updatable && !(is_updatable)) || options.revivable) /* other slots */         \
            return VBUF_INVALID;                                                                   \
        options.updatable = (is_updatable);                                                        \
        enum vbuf_status status = slotmap_create(&m->map, &options);                               \
        if (status == VBUF_OK)                                                                     \
            m->domain = slotmap_domain(m->map);                                                    \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED static inline struct name name##_of(struct slotmap *untyped)                       \
    {                                                                                              \
        struct name typed = {untyped, slotmap_domain(untyped)};                                    \
        return typed;                                                                              \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_destroy(struct name *m)                                  \
    {                                                                                              \
        slotmap_destroy(m->map);                                                                   \
        m->map = NULL;                                                                             \
        m->domain = NULL;                                                                          \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_pin(struct name *m)                                      \
    {                                                                                              \
        ebr_pin(m->domain);                                                                        \
    }                                                                                              \
    VBUF_UNUSED static inline void name##_unpin(struct name *m)                                    \
    {                                                                                              \
        ebr_unpin(m->domain);                                                                      \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE enum vbuf_status name##_insert(struct name *m, T value,         \
                                                                  name##_handle *handle)           \
    {                                                                                              \
        struct slotmap_claim_ claim;                                                               \
        enum vbuf_status status = slotmap_claim_slot_(m->map, name##_slot_size_, &claim);          \
        if (VBUF_UNLIKELY(status != VBUF_OK))                                                      \
            return status;                                                                         \
        if (is_updatable)                                                                          \
            slotmap_begin_updatable_(claim.slot);                                                  \
        *(T *)(void *)((unsigned char *)claim.slot + name##_value_offset_) = value;                \
        uint64_t bits = slotmap_publish_(&claim);                                                  \
        if (handle != NULL)                                                                        \
            handle->bits = bits;                                                                   \
        return VBUF_OK;                                                                            \
    }                                                                                              \
    /* The slow ways go by a copy, so that *value can be in registers on the other. */             \
    VBUF_UNUSED static inline enum vbuf_status name##_read_otherwise_(                             \
        struct name *m, name##_handle handle, T *value)                                            \
    {                                                                                              \
        T copy;                                                                                    \
        enum vbuf_status status =                                                                  \
            slotmap_read(m->map, slotmap_handle_from_u64(handle.bits), &copy);                     \
        if (status == VBUF_OK)                                                                     \
            *value = copy;                                                                         \
        return status;                                                                             \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE enum vbuf_status name##_read(struct name *m,                    \
                                                                name##_handle handle, T *value)    \
    {                                                                                              \
        struct slotmap_slot_ *slot;                                                                \
        struct ebr_record_ *record = ebr_self_(m->domain);                                         \
        if (VBUF_UNLIKELY(!ebr_is_idle_(record)))                                                  \
            return name##_read_otherwise_(m, handle, value);                                       \
        ebr_announce_(m->domain, record);                                                          \
        bool found = slotmap_find_(m->map, handle.bits, name##_slot_size_, &slot);                 \
        if (VBUF_LIKELY(found) && (is_updatable)) {                                                \
            if (VBUF_UNLIKELY(!slotmap_copy_once_(slot, name##_value_offset_, name##_copy_size_,   \
                                                  sizeof(T), value))) {                            \
                T copy;                                                                            \
                slotmap_copy_again_(m->map, slot, &copy);                                          \
                *value = copy;                                                                     \
            }                                                                                      \
        } else if (VBUF_LIKELY(found)) {                                                           \
            *value = *(const T *)(const void *)((unsigned char *)slot + name##_value_offset_);     \
        }                                                                                          \
        ebr_make_idle_(record);                                                                    \
        return VBUF_LIKELY(found) ? VBUF_OK : VBUF_STALE;                                          \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE bool name##_contains(const struct name *m,                      \
                                                        name##_handle handle)                      \
    {                                                                                              \
        struct slotmap_slot_ *slot;                                                                \
        return slotmap_find_(m->map, handle.bits, name##_slot_size_, &slot);                       \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE enum vbuf_status name##_remove(struct name *m,                  \
                                                                  name##_handle handle)            \
    {                                                                                              \
        struct slotmap_slot_ *slot;                                                                \
        enum vbuf_status status =                                                                  \
            slotmap_unlink_(m->map, handle.bits, name##_slot_size_, SLOTMAP_REMOVED_, &slot);      \
        if (VBUF_LIKELY(status == VBUF_OK))                                                        \
            slotmap_bury_(m->map, slot, (uint32_t)handle.bits);                                    \
        return status;                                                                             \
    }

#define SLOTMAP_DEFINE(name, T)                                                                    \
    enum {                                                                                         \
        name##_value_offset_ = SLOTMAP_VALUE_OFFSET_(SLOTMAP_ALIGNOF_(T)),                         \
        name##_copy_size_ = 0, /* there is one */                                                  \
        name##_slot_size_ = SLOTMAP_SLOT_SIZE_(sizeof(T), SLOTMAP_ALIGNOF_(T))                     \
    };                                                                                             \
    SLOTMAP_DEFINE_COMMON_(name, T, false)                                                         \
    VBUF_UNUSED VBUF_ALWAYS_INLINE T *name##_get(const struct name *m, name##_handle handle)       \
    {                                                                                              \
        struct slotmap_slot_ *slot;                                                                \
        SLOTMAP_ASSERT_PINNED_(m->map);                                                            \
        if (!slotmap_find_(m->map, handle.bits, name##_slot_size_, &slot))                         \
            return NULL;                                                                           \
        return (T *)(void *)((unsigned char *)slot + name##_value_offset_);                        \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE T *name##_next(struct slotmap_iter *iter,                       \
                                                  name##_handle *handle)                           \
    {                                                                                              \
        uint64_t bits;                                                                             \
        T *value = (T *)slotmap_iter_next_(iter, &bits, name##_slot_size_, name##_value_offset_);  \
        if (value != NULL && handle != NULL)                                                       \
            handle->bits = bits;                                                                   \
        return value;                                                                              \
    }

#define SLOTMAP_DEFINE_UPDATABLE(name, T)                                                          \
    enum {                                                                                         \
        name##_value_offset_ = SLOTMAP_COPIES_OFFSET_(SLOTMAP_ALIGNOF_(T)),                        \
        name##_copy_size_ = SLOTMAP_COPY_SIZE_(sizeof(T), SLOTMAP_ALIGNOF_(T)),                    \
        name##_slot_size_ = SLOTMAP_UPDATABLE_SIZE_(sizeof(T), SLOTMAP_ALIGNOF_(T))                \
    };                                                                                             \
    SLOTMAP_DEFINE_COMMON_(name, T, true)                                                          \
    VBUF_UNUSED static inline enum vbuf_status name##_write(struct name *m, name##_handle handle,  \
                                                            const T *value)                        \
    {                                                                                              \
        return slotmap_write(m->map, slotmap_handle_from_u64(handle.bits), value);                 \
    }                                                                                              \
    VBUF_UNUSED VBUF_ALWAYS_INLINE bool name##_next(struct slotmap_iter *iter,                     \
                                                    name##_handle *handle)                         \
    {                                                                                              \
        uint64_t bits;                                                                             \
        bool found =                                                                               \
            slotmap_iter_next_(iter, &bits, name##_slot_size_, name##_value_offset_) != NULL;      \
        if (found && handle != NULL)                                                               \
            handle->bits = bits;                                                                   \
        return found;                                                                              \
    }

VBUF_END_DECLS

#endif
