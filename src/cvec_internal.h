/*
 * cvec_internal.h - what the parts of cvec share: tickets and eras. The essay is in cvec.c.
 *
 *     cvec.c             layout, creation, claiming, publishing, reading
 *     cvec_growth.c      more memory, the next era
 *     cvec_wait.c        waiting, waking, closing, cursors
 *     cvec_appender.c    private blocks in front of cvec_extend
 *     cvec_exclusive.c   what needs exclusive access
 *     cvec_raw.c         the vector without readiness bytes
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_CVEC_INTERNAL_H
#define VBUF_CVEC_INTERNAL_H

#include <assert.h>

#include "cvec/cvec.h"

#if defined(VBUF_DEBUG)
#define DEBUG_ASSERT(condition) assert(condition)
#else
#define DEBUG_ASSERT(condition) ((void)0)
#endif

#define CVEC_ERAS 4096 /* never more, because capacities grow by a 64th at least */
#define CVEC_CLOSED_ERA UINT64_C(0xFFFF)              /* the last one; see cvec_close */
#define CVEC_MOST_LEN (CVEC_INDEX_MASK_ - UINT32_MAX) /* leaves room for void tickets */

static inline uint64_t index_of(uint64_t ticket)
{
    return ticket & CVEC_INDEX_MASK_;
}

static inline uint64_t era_of(uint64_t ticket)
{
    return ticket >> CVEC_INDEX_BITS_;
}

static inline uint64_t ticket_of(uint64_t era, uint64_t index)
{
    return era << CVEC_INDEX_BITS_ | index;
}

/* The capacity of an era that has opened; of the closed one, what was claimed in all. */
static inline uint64_t capacity_of_era(const struct cvec *vector, uint64_t era)
{
    if (era == CVEC_CLOSED_ERA)
        return vbuf_u64_load_acquire(&vector->final_) - 1; /* pairs with the CAS in cvec_close */
    return vbuf_u64_load_acquire(&vector->era_capacity_[era]); /* pairs with the CAS in decide */
}

/* What is claimed when len_ holds `seen`: void tickets are nothing. */
static inline uint64_t claimed_at(const struct cvec *vector, uint64_t seen)
{
    uint64_t capacity = capacity_of_era(vector, era_of(seen));
    return index_of(seen) < capacity ? index_of(seen) : capacity;
}

/* Beginning and end of a call that needs exclusive access: others look, with VBUF_DEBUG. */
static inline void begin_exclusive(struct cvec *vector)
{
    DEBUG_ASSERT(vbuf_u32_exchange_acq_rel(&vector->exclusive_, 1) == 0 && "exclusive access");
    (void)vector;
}

static inline void end_exclusive(struct cvec *vector)
{
    DEBUG_ASSERT(vbuf_u32_exchange_acq_rel(&vector->exclusive_, 0) == 1 && "exclusive access");
    (void)vector;
}

static inline void assert_shared(const struct cvec *vector)
{
    DEBUG_ASSERT(vbuf_u32_load_relaxed(&vector->exclusive_) == 0 &&
                 "exclusive access"); /* a hint */
    (void)vector;
}

/* Claims `count` indices in one step, all or nothing. VBUF_FULL, VBUF_NOMEM, VBUF_CLOSED. */
enum vbuf_status cvec_claim_run(struct cvec *vector, uint64_t count, uint64_t *first);

/* Creates a vector, with readiness bytes or without. */
enum vbuf_status cvec_create_kind(struct cvec **result, const struct cvec_options *options,
                                  bool raw);

/*
 * Brings the vector from `era` to the next, with room for `need` elements if no other thread
 * decides it otherwise: the caller looks again. VBUF_OK: the era after `era` is open, or none will
 * be, because the vector is closed.
 */
enum vbuf_status cvec_grow(struct cvec *vector, uint64_t era, uint64_t need, bool exact);

/* Bytes of whole pages that `capacity` elements, and their readiness bytes, lie in. */
size_t cvec_element_pages(const struct cvec *vector, uint64_t capacity);
size_t cvec_ready_pages(const struct cvec *vector, uint64_t capacity);

/* Elements that fit in the pages that `capacity` elements touch, but never more than max_len. */
uint64_t cvec_fill_pages(const struct cvec *vector, uint64_t capacity);

/* Has the system back some memory past element `end`, where threads extend at once. Nothing fails. */
void cvec_populate_ahead(struct cvec *vector, uint64_t end);

/* Tells the user's hook. */
void cvec_tell_decommitted(struct cvec *vector, size_t bytes);

#endif
