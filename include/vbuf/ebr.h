/*
 * ebr.h - epoch-based reclamation with free read-side pins.
 *
 * A reader pins a domain while it holds pointers into shared structures. Whoever unlinks an object
 * retires it; the object is destroyed once, after every pin that could have seen it has ended (E1).
 * A pin is a plain store and a compiler barrier; who advances the epoch pays for it with a
 * process-wide barrier (E2). Where the system has none, pins issue a real fence, in the same
 * binary.
 *
 * Who may call what at once: everything but ebr_domain_destroy, which needs exclusive access, may
 * run at any time from any threads. A pin belongs to the thread that took it and must not migrate:
 * with fibres, do not switch while pinned, or pin through readers (ebr_pin_on), which belong to whoever
 * runs the fibre, on whatever thread.
 *
 *                  retire    collect   synchronize   detach        domain_destroy
 *     unpinned     yes       yes       yes           yes           exclusive
 *     pinned       yes       yes (1)   VBUF_BUSY     VBUF_BUSY     never
 *     (1) but what the caller's own pin protects stays.
 *
 * In a fork's child domains go on (E3), for the one thread that there is. What others had retired into batches of
 * their own is abandoned: it may be half-updated; and so is what somebody was just then handing on, of threads without a
 * record. Pins of other threads have ended (where the thread that forked is pinned without a record, others' of that kind
 * end with its last one, in an unpin that takes a lock for once). Those of readers have not, whoever ran their
 * fibres: destroy the ones that are not to go on, or they hold the child's epoch. Where no handlers run (vfork,
 * posix_spawn, a bare system call), nothing of this is done.
 *
 * A stalled reader delays reclamation only: nothing blocks, memory waits, and ebr_stats names it
 * (E4).
 *
 * References: K. Fraser, "Practical lock-freedom" (2004), for epochs; asymmetric fences as in
 * D. Dice, H. Huang, M. Yang, "Asymmetric Dekker synchronization" (2001). The argument is in ebr.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_EBR_H
#define VBUF_EBR_H

#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "fence.h"
#include "status.h"

VBUF_BEGIN_DECLS

struct ebr_domain;

/* Embed one in every object that is to be retired. The library writes it from ebr_retire on. */
struct ebr_entry {
    struct ebr_entry *next;
    void (*reclaim)(struct ebr_entry *entry);
};

struct ebr_report;

struct ebr_options {
    /*
     * 0 means 1024, at most 4095. Threads get the lowest free number of the process at first use
     * and give it back at exit; those numbered up to max_threads have a record of their own. Others
     * pin through a shared word: correct, but slower, and every advance waits for them.
     */
    uint32_t max_threads;
    /* Readers for ebr_pin_on; 0 means 1024, at most 2^20. What is not used costs address space only. */
    uint32_t max_readers;
    /*
     * Told when a pin holds back an epoch that has stood still for stall_limit nanoseconds, and again each time as much
     * more has passed: in the retire, collect or synchronize, on whatever thread, that finds it so. Must not use the domain,
     * but for ebr_stats, nor anything that retires into it. May be NULL.
     */
    void (*on_stall)(void *context, const struct ebr_report *stats);
    void *context;
    int64_t stall_limit; /* 0 means a second */
};

struct ebr_report {
    enum vbuf_fence_kind fence; /* which fence pins and advances use */
    uint64_t epoch;             /* advances by 2; bit 0 is set in full-fence mode */
    uint64_t advances;          /* steps of the epoch */
    uint64_t barriers;          /* heavy barriers issued */
    uint64_t barriers_failed;   /* heavy barriers the system refused: nothing was freed for them */
    uint64_t barrier_ns;        /* nanoseconds spent in heavy barriers */
    uint64_t retired;           /* entries given to ebr_retire */
    uint64_t reclaimed;         /* entries destroyed; the rest waits, or a fork abandoned it */
    uint32_t threads;           /* threads that have a record now */
    uint32_t overflow_pins;     /* pins held now through the shared word */
    uint32_t readers;           /* readers that exist now */
    uint64_t
        stalled_thread; /* system id of the pinned thread furthest behind; 0: none, or a reader */
    const struct ebr_reader *stalled_reader; /* the reader, if it is one */
    uint64_t stalled_epoch;                  /* the epoch the pin is in; 0: nobody is behind */
    int64_t
        stalled_ns; /* how long the epoch has stood still, while such a pin, or one through the shared word, is held */
};

/* ---- the parts of a domain that inlined pins touch; private ---- */

/*
 * A thread's record in a domain. The epoch is one of the two below, or what the outermost pin read
 * of G, which is 2 at least; its owner writes it, advance reads it. Zeroed is unattached, and then
 * both inlined paths go the slow way; so they do in full-fence mode, whose records are never IDLE, and
 * nest differently.
 */
struct ebr_record_ {
    struct vbuf_atomic_u64 epoch;
    uint32_t nest; /* owner only: 0 unattached, else 1 + pins inside the outermost, | EBR_FULL_ */
};
#define EBR_AWAY_ 0 /* unattached, or idle in full-fence mode */
#define EBR_IDLE_ 1
#define EBR_FULL_ UINT32_C(0x80000000)

/* Lines of its own for every record: its owner stores to it at every pin. */
#define EBR_RECORD_STRIDE_ 256

/* A record that belongs to no thread. */
struct ebr_reader {
    struct ebr_record_ record_;
    struct vbuf_atomic_u32 taken_;
};

/*
 * Where record 0 lies in a domain. Never at the beginning of a page: a load whose address ends in the same 12 bits
 * as a store just before it waits for the store, and pins load from where domains and maps begin (measured: a
 * quarter more time for a pin and get).
 */
#define EBR_RECORDS_OFFSET_ (1024 + 128)

/* The first line of struct ebr_domain: read by every pin, written by advance only. */
struct ebr_domain_head_ {
    struct vbuf_atomic_u64 epoch; /* G */
};

/* What a thread keeps for itself. id 0: none, or none left. Initial-exec: one load to reach it. */
struct vbuf_thread_ {
    uint32_t id;
    uint32_t record_;     /* id * EBR_RECORD_STRIDE_: where its record lies among a domain's */
    uint32_t shared_pins; /* pins this thread holds through the shared word of any domain */
    uint32_t reclaiming;  /* it is inside a reclaim function, or a destructor of a map */
    uint32_t hooked;      /* it is inside an on_stall hook, or an on_commit hook of a map */
    uint32_t inherits;    /* in a fork's child: some of its shared_pins are from before */
    const struct ebr_domain *at_shared; /* whose record 0 it is at just now */
};
extern VBUF_API __thread struct vbuf_thread_ vbuf_self_ __attribute__((tls_model("initial-exec")));

VBUF_API void ebr_pin_slow_(struct ebr_domain *domain);
VBUF_API void ebr_unpin_slow_(struct ebr_domain *domain);
VBUF_API void ebr_repin_slow_(struct ebr_domain *domain);
VBUF_API void ebr_pin_on_slow_(struct ebr_domain *domain, struct ebr_record_ *record);
VBUF_API void ebr_unpin_on_slow_(struct ebr_record_ *record);

/* The calling thread's record in the domain. Every number has one: what is not committed reads as zeros. */
static inline struct ebr_record_ *ebr_self_(const struct ebr_domain *domain)
{
    return (struct ebr_record_ *)((uintptr_t)domain + EBR_RECORDS_OFFSET_ + vbuf_self_.record_);
}

/* For unpin: whether an unpin without a pin should be caught. Free where it should not. */
static inline bool ebr_is_pinned_(const struct ebr_record_ *record)
{
#if defined(VBUF_DEBUG)
    return vbuf_u64_load_relaxed(&record->epoch) > EBR_IDLE_;
#else
    (void)record;
    return true;
#endif
}

/* Announces the current epoch; not in full-fence mode. Everything the thread reads after it, it reads inside the pin. */
static inline void ebr_announce_(const struct ebr_domain *domain, struct ebr_record_ *record)
{
    const struct ebr_domain_head_ *head = (const struct ebr_domain_head_ *)domain;
    uint64_t epoch =
        vbuf_u64_load_acquire(&head->epoch); /* pairs with the RMWs of seal and advance */
    /*
     * Release only matters to repin, where it ends the section before; pairs with the acquire scan
     * in advance. For a first pin nothing before it needs ordering.
     */
    vbuf_u64_store_release(&record->epoch, epoch);
    vbuf_fence_light();
}

/* Whether the calling thread can pin by a store: it is attached, not pinned, and not in full-fence mode. */
static inline bool ebr_is_idle_(const struct ebr_record_ *record)
{
    return vbuf_u64_load_relaxed(&record->epoch) == EBR_IDLE_; /* our own */
}

/* Ends the only pin. */
static inline void ebr_make_idle_(struct ebr_record_ *record)
{
    vbuf_u64_store_release(&record->epoch, EBR_IDLE_); /* pairs with the acquire scan in advance */
}

/* ---- public ---- */

/*
 * Creates a domain. `options` may be NULL. Usually one per program, or one per family of
 * structures.
 * Returns VBUF_INVALID iff max_threads exceeds 4095, max_readers 2^20, or stall_limit is negative; VBUF_NOMEM iff address space or memory for its
 * header is refused. Costs a few system calls.
 */
VBUF_API enum vbuf_status ebr_domain_create(struct ebr_domain **domain,
                                            const struct ebr_options *options);

/*
 * Destroys what is still retired, on the calling thread, then the domain. Needs exclusive access;
 * the threads that used it need not have detached or ended. NULL does nothing. The reclaim
 * functions may retire more into the domain.
 * Returns VBUF_BUSY iff a thread or a reader is pinned, and then the domain is as it was.
 */
VBUF_API enum vbuf_status ebr_domain_destroy(struct ebr_domain *domain);

/*
 * Gives the calling thread its record now, so that its first pin need not. Attaching twice is fine.
 * Returns VBUF_FULL iff the thread's number is above max_threads, or the process has none left
 * (4095); VBUF_NOMEM iff memory for the record is refused; VBUF_BUSY iff it has no record yet and
 * holds a pin through the shared word of some domain. Pins work in any case, through the shared
 * word.
 */
VBUF_API enum vbuf_status ebr_attach(struct ebr_domain *domain);

/*
 * Takes the calling thread's record back; what it has retired is left to the others. Implied when
 * the thread exits, which ends its pins too (but those taken through the shared word). Detaching an
 * unattached thread is fine.
 * Returns VBUF_BUSY iff the thread has a record here and is pinned or inside a reclaim function, or has none and
 * holds a shared pin in any domain.
 */
VBUF_API enum vbuf_status ebr_detach(struct ebr_domain *domain);

/*
 * Pins: what was reachable in a structure after this call stays intact until the matching unpin,
 * even if others retire it meanwhile. Nests. Never fails: the first pin attaches, and a thread that
 * gets no record is counted in a shared word.
 * Wait-free, but for the first, and for threads without a record. Costs two loads, a store and no fence; in full-fence mode one
 * fence.
 */
static inline void ebr_pin(struct ebr_domain *domain)
{
    struct ebr_record_ *record = ebr_self_(domain);
    if (VBUF_LIKELY(vbuf_u64_load_relaxed(&record->epoch) == EBR_IDLE_)) /* our own */
        ebr_announce_(domain, record);
    else
        ebr_pin_slow_(domain);
}

/*
 * Ends the innermost pin. Every read the thread made under it happens before whatever is destroyed
 * because of it. Without a matching pin: undefined (asserts with VBUF_DEBUG, where it can tell).
 * Wait-free.
 */
static inline void ebr_unpin(struct ebr_domain *domain)
{
    struct ebr_record_ *record = ebr_self_(domain);
    if (VBUF_LIKELY(record->nest == 1 && ebr_is_pinned_(record)))
        /* Pairs with the acquire scan in advance. */
        vbuf_u64_store_release(&record->epoch, EBR_IDLE_);
    else
        ebr_unpin_slow_(domain);
}

/*
 * Ends the pin and takes a new one in one step, so that a thread pinned for ever (an event loop,
 * once a turn) does not hold reclamation back. Pointers from before are no longer protected. Does
 * nothing under a nested pin, or for a thread without a record. Wait-free.
 */
static inline void ebr_repin(struct ebr_domain *domain)
{
    struct ebr_record_ *record = ebr_self_(domain);
    if (VBUF_LIKELY(record->nest == 1 && vbuf_u64_load_relaxed(&record->epoch) > EBR_IDLE_))
        ebr_announce_(domain, record);
    else
        ebr_repin_slow_(domain);
}

/* ---- readers: pins that belong to no thread ---- */

/*
 * Makes a reader, for a fibre, a task or a request that may go on on another thread while it is pinned. At most one
 * thread uses a reader at a time; who hands it on makes what it did happen before what the next does, as with
 * any data of the fibre.
 * Returns VBUF_INVALID iff reader is NULL; VBUF_FULL iff max_readers exist or are being made; VBUF_NOMEM iff memory for it is
 * refused. Any thread; lock-free.
 */
VBUF_API enum vbuf_status ebr_reader_create(struct ebr_domain *domain, struct ebr_reader **reader);

/* Ends the reader, and its pins. NULL does nothing. Destroying the domain ends all that are left. Lock-free. */
VBUF_API void ebr_reader_destroy(struct ebr_domain *domain, struct ebr_reader *reader);

/*
 * The calling thread's own record as a reader, for its hot loops: ebr_pin_on and ebr_unpin_on then need not look for it
 * each time. The pins are the thread's, nest with those of ebr_pin, and end with it; it is not to be destroyed, nor
 * used by another thread, and is gone when the thread detaches. NULL iff ebr_attach says no. Any thread; wait-free
 * but for the first time.
 */
VBUF_API struct ebr_reader *ebr_thread_reader(struct ebr_domain *domain);

/* Pins, as ebr_pin, through a reader. Nests. The calling thread may do everything, but ebr_synchronize waits for
 * the reader too. Wait-free; two loads and a store. */
static inline void ebr_pin_on(struct ebr_domain *domain, struct ebr_reader *reader)
{
    struct ebr_record_ *record = &reader->record_;
    if (VBUF_LIKELY(vbuf_u64_load_relaxed(&record->epoch) == EBR_IDLE_)) /* our own */
        ebr_announce_(domain, record);
    else
        ebr_pin_on_slow_(domain, record);
}

/* Ends the innermost pin of a reader. Wait-free. */
static inline void ebr_unpin_on(struct ebr_domain *domain, struct ebr_reader *reader)
{
    struct ebr_record_ *record = &reader->record_;
    (void)domain;
    if (VBUF_LIKELY(record->nest == 1))
        vbuf_u64_store_release(&record->epoch, EBR_IDLE_); /* pairs with the scan in advance */
    else
        ebr_unpin_on_slow_(record);
}

/*
 * Hands over an object that no new reader can reach any more. reclaim(entry) runs once, after every
 * pin that could have seen the object has ended: inside some later ebr_retire, ebr_collect,
 * ebr_synchronize or ebr_domain_destroy of this domain, on whichever thread called it. It may
 * retire more, but collect and synchronize do nothing in it, and it must return. Both pointers must be valid; the entry must not be retired twice.
 * Cannot fail. Lock-free. Costs a few nanoseconds, amortised; a barrier now and then, paced so that
 * it stays under about 3 % of the time. At most 128 reclaim functions run inside one call.
 */
VBUF_API void ebr_retire(struct ebr_domain *domain, struct ebr_entry *entry,
                         void (*reclaim)(struct ebr_entry *entry));

/*
 * Tries now, without pacing, to advance the epoch, and destroys what the calling thread and threads
 * that have exited have retired and no pin protects. Returns the number destroyed. Does not wait
 * for anybody; lock-free.
 */
VBUF_API size_t ebr_collect(struct ebr_domain *domain);

/*
 * Waits until every pin held by another thread at the call has ended, then collects. Blocks,
 * politely: it yields, then sleeps.
 * Returns VBUF_BUSY iff the calling thread is pinned (or holds a shared pin in any domain) or inside a
 * reclaim function, or the system has begun to refuse the barrier.
 */
VBUF_API enum vbuf_status ebr_synchronize(struct ebr_domain *domain);

/*
 * Figures, each correct at some moment during the call. Returns VBUF_INVALID iff stats is NULL.
 * Any thread; reads one cache line a thread.
 */
VBUF_API enum vbuf_status ebr_stats(struct ebr_domain *domain, struct ebr_report *stats);

VBUF_END_DECLS

#endif
