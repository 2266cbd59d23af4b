/*
 * ebr_internal.h - what containers that keep their own limbo ask of a domain.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_EBR_INTERNAL_H
#define VBUF_EBR_INTERNAL_H

#include "vbuf/ebr.h"

enum ebr_advance {
    EBR_ADVANCED, /* the epoch has moved since the call began, by us or by another */
    EBR_HELD,     /* a pin is behind, or the barrier's pace says: not yet */
    EBR_REFUSED,  /* the system refused the barrier: nothing may be concluded */
};

/* The tag for a batch: call it after the batch's last unlink. A read-modify-write, on purpose. */
static inline uint64_t ebr_seal_tag(struct ebr_domain *domain)
{
    /* Pairs with the acquire of the epoch in a pin: a pin that reads a later epoch sees the unlinks. */
    return vbuf_u64_fetch_add_acq_rel(&((struct ebr_domain_head_ *)domain)->epoch, 0);
}

/* The epoch, for comparing with tags. What every pin that has ended by it did, happens before. */
static inline uint64_t ebr_epoch(struct ebr_domain *domain)
{
    /* Pairs with the CAS in ebr_advance. */
    return vbuf_u64_load_acquire(&((struct ebr_domain_head_ *)domain)->epoch);
}

/* Whether several threads pin this domain: then the epoch's line should be written seldom. A hint. */
bool ebr_is_crowded(struct ebr_domain *domain);

/* Whether the calling thread is pinned, as far as can be told: true also where there are readers, which are anybody's. */
bool ebr_may_be_pinned(const struct ebr_domain *domain);

/* Tries one step. `pressing`: even if a barrier was issued a moment ago. Lock-free. */
enum ebr_advance ebr_advance(struct ebr_domain *domain, bool pressing);

#endif
