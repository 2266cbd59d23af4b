/*
 * ebr_domain.h - a domain and its records, for the two files that make ebr: ebr.c (pins, advance,
 * reclaim) and ebr_domain.c (how threads and domains come and go).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_EBR_DOMAIN_H
#define VBUF_EBR_DOMAIN_H

#include "ebr_internal.h"
#include "limbo.h"
#include "registry.h"
#include "threads.h"
#include "vbuf/vbuf.h"

/* A thread's record; the part that pins touch comes first. */
struct record {
    struct ebr_record_ head;
    /* Written by the owner, read by stats. */
    struct vbuf_atomic_u64 system_id;
    struct vbuf_atomic_u64 retired;
    struct vbuf_atomic_u64 reclaimed;
    /* Owner only; of record 0, which serves all threads without one, whoever has set `taken`. */
    struct limbo_chain open;
    struct limbo limbo;
    struct vbuf_atomic_u32 taken; /* record 0's try-lock; the others have their owner */
};
_Static_assert(sizeof(struct record) <= EBR_RECORD_STRIDE_, "a record fits its stride");

struct ebr_domain {
    /* Read by every pin; written by advance. */
    struct ebr_domain_head_ head;
    /* Written by attach, detach and pins without a record. */
    struct vbuf_atomic_u32 record_limit /* records below are committed; only grows */
        __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_atomic_u32 registered;
    struct vbuf_atomic_u32 shared_pins;
    struct vbuf_atomic_u32 shared_waiting; /* record 0 has something in limbo: a hint */
    struct vbuf_atomic_pointer orphans; /* struct ebr_entry: retired by threads without a record */
    /* Written by advance. */
    struct vbuf_atomic_u64 next_barrier; /* the time the next is due, ns */
    struct vbuf_atomic_u64 barrier_cost; /* a moving average, ns */
    struct vbuf_atomic_u64 advances;
    struct vbuf_atomic_u64 barriers;
    struct vbuf_atomic_u64 barriers_failed;
    struct vbuf_atomic_u64 barrier_ns;
    struct vbuf_atomic_u64 held_since; /* a time by which the epoch was held_epoch, at least */
    struct vbuf_atomic_u64 held_epoch;
    struct vbuf_atomic_u64 stall_told; /* when on_stall was last told */
    /* Readers: made and destroyed by anybody. */
    struct vbuf_atomic_u32 readers;      /* that exist, or are being made */
    struct vbuf_atomic_u32 reader_limit; /* readers below are committed; only grows */
    struct vbuf_atomic_u32 reader_hint;  /* where there may be a free one */
    /* Fixed at creation, but for the list, which has its lock. */
    uint32_t max_threads;
    uint32_t max_readers;
    size_t readers_offset;
    void (*on_stall)(void *context, const struct ebr_report *stats);
    void *context;
    int64_t stall_limit;
    struct vbuf memory;
    struct registry_link link;
    uint32_t inherited_pins; /* shared ones: see ebr_drop_inherited_pins. Of the thread that inherits */
};

_Static_assert(sizeof(struct ebr_domain) <= EBR_RECORDS_OFFSET_, "the records come behind it");

static inline struct record *record_at(const struct ebr_domain *domain, uint32_t number)
{
    return (struct record *)((uintptr_t)domain + EBR_RECORDS_OFFSET_ +
                             (size_t)number * EBR_RECORD_STRIDE_);
}

#define READER_STRIDE 128 /* two lines */
#define READERS_SHIFT 64  /* as with EBR_RECORDS_OFFSET_ */

static inline struct ebr_reader *reader_at(const struct ebr_domain *domain, uint32_t number)
{
    return (struct ebr_reader *)((uintptr_t)domain + domain->readers_offset + READERS_SHIFT +
                                 (size_t)number * READER_STRIDE);
}

static inline uint32_t readers_to_scan(const struct ebr_domain *domain)
{
    return vbuf_u32_load_acquire(&domain->reader_limit); /* pairs with ebr_reader_create */
}

/* The calling thread's record if it is attached. */
static inline struct record *own_record(const struct ebr_domain *domain)
{
    struct ebr_record_ *record = ebr_self_(domain);
    return record->nest != 0 ? (struct record *)(void *)record : NULL;
}

/* Whether the record's holder, who calls, is pinned. */
static inline bool is_pinned(const struct ebr_record_ *own)
{
    return vbuf_u64_load_relaxed(&own->epoch) > EBR_IDLE_;
}

/* Whether pins must issue a full fence. */
static inline bool is_full_fenced(const struct ebr_domain *domain)
{
    return vbuf_u64_load_relaxed(&domain->head.epoch) & 1; /* the bit never changes */
}

/*
 * Makes a record its new holder's, not pinned. Release, for the last holder: what it read under its pins happens
 * before our taking of the record. A scan that reads this store, and no longer the holder's unpin, must have
 * that before it.
 */
static inline void make_idle(const struct ebr_domain *domain, struct ebr_record_ *record)
{
    bool full = is_full_fenced(domain);
    vbuf_u64_store_release(&record->epoch, full ? EBR_AWAY_ : EBR_IDLE_);
    record->nest = full ? EBR_FULL_ | 1 : 1;
}

static inline uint32_t records_to_scan(const struct ebr_domain *domain)
{
    uint32_t limit = vbuf_u32_load_acquire(&domain->record_limit); /* pairs with attach */
    uint32_t used = vbuf_thread_numbers_used();
    return limit < used ? limit : used;
}

static inline void link_entries(const void *context, uint64_t node, uint64_t next)
{
    (void)context;
    ((struct ebr_entry *)(uintptr_t)node)->next = (struct ebr_entry *)(uintptr_t)next;
}

/* Gives a chain to whoever collects next. Lock-free. */
void ebr_push_orphans(struct ebr_domain *domain, struct limbo_chain *chain);

/* Takes all orphans onto an open batch, which is sealed after this. */
void ebr_adopt_orphans(struct ebr_domain *domain, struct limbo_chain *open);

/* In a fork's child, when the thread that forked has ended its last shared pin: so have all from before. */
void ebr_drop_inherited_pins(void);

/* Runs up to `most` reclaim functions of what is ready. They may retire more. */
size_t ebr_reclaim_ready(struct record *record, size_t most);

#endif
