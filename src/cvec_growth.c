/*
 * cvec_growth.c - more memory for a cvec, and the era that opens it.
 *
 * Anybody who finds the vector too small grows it; nobody waits for anybody (C6). Committing is idempotent;
 * caps[e + 1] is decided by a CAS from 0, and the loser goes by the winner's figure, which the winner
 * committed before it wrote it. What the loser committed past it is nobody's: it is told to
 * on_decommit, and the next growth commits, and asks for, it again. The era's opening is a CAS loop on
 * len_ that any of them may finish. `growing_` is a courtesy: everybody calling mprotect at once
 * fights over one kernel lock, so who sees somebody else at it lets it have a moment, and then goes
 * ahead.
 *
 * Populating ahead. When threads extend at once by runs shorter than a page, one of them asks for the pages
 * of the next elements in one call, which costs less than a fault each, and keeps the others out of
 * each other's faults. `populated_` says up to which element somebody has asked, or memory was in use
 * before a truncate; the CAS that raises it picks the one who asks for a range. He asks after he
 * has published, so nobody waits for him, and he may be stopped for ever. What is asked for lies past what
 * was claimed when he looked, and may be claimed, written and published by others while the system works
 * on it: MADV_POPULATE_WRITE makes pages writable as a write fault would, and writes nothing itself. Where
 * the system has no such call nothing is done: touching pages instead would race with those writes. Nor is
 * anything done while the window is short: small vectors do not pay. All of it is below the
 * capacity, so committed; shrinking, which is exclusive, lowers populated_ with the capacity. Once it
 * has begun it goes on until the vector grows: memory that is there hides the collisions that begin it.
 *
 * (One thread alone loses a few per cent by it, until windows are longer than they may be here: measured.)
 *
 * Capacities grow at least by a 64th, whatever was asked, so there are never more than CVEC_ERAS eras:
 * 64 until a 64th is an element, and 1,900 from there to 2^48.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>

#include "cvec_internal.h"
#include "system.h"

#define COURTESY_ROUNDS 8
/* Bytes populated ahead: this share of what is claimed, if it is this much, and no more than that. */
#define AHEAD_SHARE 64
#define AHEAD_LEAST ((uint64_t)16 << 10)
#define AHEAD_MOST ((uint64_t)256 << 10)

size_t cvec_element_pages(const struct cvec *vector, uint64_t capacity)
{
    return vmem_align_up((size_t)capacity * vector->element_size, vector->unit_);
}

size_t cvec_ready_pages(const struct cvec *vector, uint64_t capacity)
{
    return vector->ready_ == NULL ? 0 : vmem_align_up((size_t)capacity, vector->unit_);
}

uint64_t cvec_fill_pages(const struct cvec *vector, uint64_t capacity)
{
    if (capacity >= vector->max_len)
        return vector->max_len;
    uint64_t fits = vector->element_size != 0
                        ? cvec_element_pages(vector, capacity) / vector->element_size
                        : cvec_ready_pages(vector, capacity);
    if (fits < capacity) /* elements of no bytes, in a raw vector */
        fits = capacity;
    return fits < vector->max_len ? fits : vector->max_len;
}

void cvec_tell_decommitted(struct cvec *vector, size_t bytes)
{
    int reason = errno; /* this is what error paths do: keep the reason they return */
    if (vector->memory_.on_decommit != NULL && bytes != 0)
        vector->memory_.on_decommit(vector->memory_.context, bytes);
    errno = reason;
}

/*
 * Commits elements, then readiness bytes, for [from, to): what `from` elements needed is there. In this
 * order because a refusal mostly comes with the larger part, and then leaves nothing behind.
 */
static enum vbuf_status commit_range(struct cvec *vector, uint64_t from, uint64_t to)
{
    size_t base = (size_t)(vector->elements - vector->memory_.data);
    size_t first = cvec_element_pages(vector, from), last = cvec_element_pages(vector, to);
    size_t ready_first = cvec_ready_pages(vector, from), ready_last = cvec_ready_pages(vector, to);
    return vbuf_commit_two(&vector->memory_, base + first, last - first, base - ready_last,
                           ready_last - ready_first);
}

/* Elements that may be populated past the first `end`; 0: none. */
static uint64_t ahead_of(const struct cvec *vector, uint64_t end)
{
    uint64_t bytes = end * vector->element_size / AHEAD_SHARE;
    if (bytes < AHEAD_LEAST || vector->unit_ > vmem_page_size())
        return 0;
    return (bytes < AHEAD_MOST ? bytes : AHEAD_MOST) / vector->element_size;
}

void cvec_populate_ahead(struct cvec *vector, uint64_t end)
{
    uint64_t ahead = ahead_of(vector, end);
    uint64_t seen = vbuf_u64_load_relaxed(&vector->populated_); /* the CAS decides */
    if (ahead == 0 || seen > end + ahead / 2)
        return;
    uint64_t capacity = vbuf_u64_load_acquire(&vector->capacity_); /* below it all is committed */
    uint64_t from = seen > end ? seen : end, to = end + ahead < capacity ? end + ahead : capacity;
    /* Decides who asks, and orders nothing. */
    if (from >= to || !vbuf_u64_cas_acquire(&vector->populated_, &seen, to))
        return;
    struct vmem *memory = &vector->memory_.memory;
    size_t base = (size_t)(vector->elements - vector->memory_.data), count = (size_t)(to - from);
    vmem_populate(memory, base + (size_t)from * vector->element_size, count * vector->element_size);
    if (count >= AHEAD_LEAST) /* readiness bytes: few, unless elements are as small */
        vmem_populate(memory, base - (size_t)to, count);
}

/* What the options make of a capacity. */
static uint64_t grown(const struct cvec *vector, uint64_t capacity)
{
    const struct vbuf_growth *growth = &vector->growth_;
    if (growth->linear != 0)
        return growth->linear < vector->max_len - capacity ? capacity + growth->linear
                                                           : vector->max_len;
    uint64_t whole, part = capacity % growth->denominator * growth->numerator / growth->denominator;
    if (__builtin_mul_overflow(capacity / growth->denominator, growth->numerator, &whole) ||
        __builtin_add_overflow(whole, part, &whole))
        return vector->max_len;
    return whole;
}

/* Commits for a capacity of at least `need`: what the options say, or a 64th more if that is refused. */
static enum vbuf_status commit_more(struct cvec *vector, uint64_t capacity, uint64_t need,
                                    bool exact, uint64_t *committed)
{
    uint64_t little = capacity + capacity / 64 > need ? capacity + capacity / 64 : need;
    uint64_t larger = exact ? little : grown(vector, capacity);
    if (larger > little) {
        *committed = cvec_fill_pages(vector, larger);
        if (commit_range(vector, capacity, *committed) == VBUF_OK)
            return VBUF_OK;
    }
    *committed = cvec_fill_pages(vector, little);
    return commit_range(vector, capacity, *committed);
}

/* A moment for whoever grows already. Gives up soon: it may have been stopped for ever. */
static void let_others_grow(struct cvec *vector, uint64_t era)
{
    for (unsigned round = 0; round < COURTESY_ROUNDS; round++) {
        if (vbuf_u32_load_relaxed(&vector->growing_) == 0 || capacity_of_era(vector, era + 1) != 0)
            return;
        vbuf_sys_relax(round);
    }
}

/* Decides the capacity of the era after `era`: ours, or that of who was faster. */
static enum vbuf_status decide_next_era(struct cvec *vector, uint64_t era, uint64_t need,
                                        bool exact, uint64_t *next)
{
    let_others_grow(vector, era);
    *next = capacity_of_era(vector, era + 1);
    if (*next != 0)
        return VBUF_OK;
    uint64_t committed, capacity = capacity_of_era(vector, era);
    vbuf_u32_fetch_add_relaxed(&vector->growing_, 1); /* relaxed: a courtesy */
    enum vbuf_status status = commit_more(vector, capacity, need, exact, &committed);
    vbuf_u32_fetch_add_relaxed(&vector->growing_, UINT32_MAX);
    if (status != VBUF_OK) {
        *next = capacity_of_era(vector, era + 1); /* another may have got what we did not */
        return *next != 0 ? VBUF_OK : status;
    }
    /* Release: the commit came before; pairs with capacity_of_era. The loser takes the winner's. */
    if (vbuf_u64_cas_acq_rel(&vector->era_capacity_[era + 1], next, committed))
        *next = committed;
    else
        cvec_tell_decommitted(
            vector, cvec_element_pages(vector, committed) - cvec_element_pages(vector, capacity) +
                        cvec_ready_pages(vector, committed) - cvec_ready_pages(vector, capacity));
    return VBUF_OK;
}

/* Opens the era after `era` at the first index that was never valid, unless it is open already. */
static void open_next_era(struct cvec *vector, uint64_t era)
{
    uint64_t capacity = capacity_of_era(vector, era);
    uint64_t seen = vbuf_u64_load_acquire(&vector->len_);
    while (era_of(seen) == era) {
        uint64_t index = index_of(seen) < capacity ? index_of(seen) : capacity;
        /* Pairs with the acquire adds of the tickets of the new era. */
        if (vbuf_u64_cas_acq_rel(&vector->len_, &seen, ticket_of(era + 1, index)))
            return;
    }
}

enum vbuf_status cvec_grow(struct cvec *vector, uint64_t era, uint64_t need, bool exact)
{
    if (need > vector->max_len)
        return VBUF_FULL;
    uint64_t next;
    enum vbuf_status status = decide_next_era(vector, era, need, exact, &next);
    if (status != VBUF_OK)
        return status;
    open_next_era(vector, era);
    /* Only now: an add that comes after a load of it finds the era open. Pairs with claim_one. */
    vbuf_u64_max_release(&vector->capacity_, next);
    return VBUF_OK;
}

static enum vbuf_status reserve(struct cvec *vector, size_t capacity, bool exact)
{
    if (capacity > vector->max_len)
        return VBUF_FULL;
    while (capacity > vbuf_u64_load_acquire(&vector->capacity_)) {
        uint64_t era = era_of(vbuf_u64_load_acquire(&vector->len_));
        if (era == CVEC_CLOSED_ERA)
            return VBUF_CLOSED;
        uint64_t opened = capacity_of_era(vector, era);
        if (opened >= capacity) { /* its grower had not raised the capacity yet */
            vbuf_u64_max_release(&vector->capacity_, opened);
            return VBUF_OK;
        }
        enum vbuf_status status = cvec_grow(vector, era, capacity, exact);
        if (status != VBUF_OK)
            return status;
    }
    return VBUF_OK;
}

enum vbuf_status cvec_reserve(struct cvec *vector, size_t capacity)
{
    return reserve(vector, capacity, false);
}

enum vbuf_status cvec_reserve_exact(struct cvec *vector, size_t capacity)
{
    return reserve(vector, capacity, true);
}
