/*
 * cvec_exclusive.c - what needs a cvec to itself: pushing without an atomic step, truncating, giving
 * memory back.
 *
 * Nobody else is inside a call, and whoever enters one later synchronises with us, so plain order is
 * enough and no ticket, void or valid, is out. What has to be left behind is a state that the
 * concurrent calls could have made: readiness bytes, the watermark and len_ agree, caps[e] is the capacity
 * of the era in len_, and capacity_ is the same.
 *
 * Shrinking starts over with era 0: eras do not run out, however often a vector grows and shrinks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_internal.h"

#include <string.h>

enum vbuf_status cvec_push_exclusive(struct cvec *vector, const void *element, size_t *index)
{
    if (element == NULL)
        return VBUF_INVALID;
    uint64_t ticket = vbuf_u64_load_relaxed(&vector->len_); /* exclusive access, here and below */
    uint64_t claimed = index_of(ticket);
    if (claimed >= cvec_capacity(vector)) { /* full, or void tickets, or closed */
        enum vbuf_status status = cvec_claim_run(vector, 1, &claimed);
        if (status != VBUF_OK)
            return status;
        ticket = vbuf_u64_load_relaxed(&vector->len_) - 1;
    }
    memcpy(vector->elements + (size_t)claimed * vector->element_size, element,
           vector->element_size);
    cvec_publish_exclusive_(vector, ticket, (size_t)claimed);
    if (index != NULL)
        *index = (size_t)claimed;
    return VBUF_OK;
}

/* Elements [len, claimed) go: those that were published are destroyed. */
static void take_out(struct cvec *vector, size_t len, size_t claimed)
{
    if (vector->destroy_ == NULL) {
        memset(vector->ready_ - claimed, 0, claimed - len);
        return;
    }
    for (size_t i = len; i < claimed; i++) {
        struct vbuf_atomic_u8 *ready = vector->ready_ - 1 - (ptrdiff_t)i;
        if (vbuf_u8_load_relaxed(ready) == 0)
            continue;
        vbuf_u8_store_relaxed(ready, 0);
        if (vector->destroy_ != NULL)
            vector->destroy_(vector->memory_.context, vector->elements + i * vector->element_size);
    }
}

enum vbuf_status cvec_truncate(struct cvec *vector, size_t len)
{
    size_t claimed = cvec_claimed(vector);
    if (len > claimed)
        return VBUF_INVALID;
    begin_exclusive(vector);
    if (vector->ready_ != NULL)
        take_out(vector, len, claimed);
    else
        memset(vector->elements + len * vector->element_size, 0,
               (claimed - len) * vector->element_size);
    if (vbuf_u64_load_relaxed(&vector->populated_) < claimed) /* the pages stay */
        vbuf_u64_store_relaxed(&vector->populated_, claimed);
    uint64_t era = era_of(vbuf_u64_load_relaxed(&vector->len_));
    if (era == CVEC_CLOSED_ERA)
        vbuf_u64_store_relaxed(&vector->final_, len + 1);
    else {
        vbuf_u64_store_relaxed(&vector->len_, ticket_of(era, len));
        vbuf_u64_store_relaxed(&vector->final_, 0); /* a proposal that a fork cut off is void */
    }
    if (vbuf_u64_load_relaxed(&vector->watermark_) > len)
        vbuf_u64_store_relaxed(&vector->watermark_, len);
    end_exclusive(vector);
    return VBUF_OK;
}

/* Gives back what lies past `capacity` on both sides, racing growers' surplus included. */
static enum vbuf_status decommit_past(struct cvec *vector, uint64_t capacity)
{
    struct vmem *memory = &vector->memory_.memory;
    size_t lost = vmem_lost(memory);
    size_t base = (size_t)(vector->elements - vector->memory_.data);
    size_t end = base + cvec_element_pages(vector, capacity);
    enum vbuf_status status = vmem_decommit(memory, end, memory->size - end);
    if (status != VBUF_OK && vmem_lost(memory) == lost)
        return status;
    /* (What is lost is given back as far as we are concerned: it is never used again, nor got again.) */
    /* Should this be refused, some zeroed bytes stay committed, which harms nobody. */
    size_t ready_end = base - cvec_ready_pages(vector, capacity);
    (void)vmem_decommit(memory, vector->fixed_size_, ready_end - vector->fixed_size_);
    return VBUF_OK;
}

enum vbuf_status cvec_shrink_to_fit(struct cvec *vector)
{
    uint64_t seen = vbuf_u64_load_relaxed(&vector->len_);
    uint64_t claimed = claimed_at(vector, seen), old = cvec_capacity(vector);
    uint64_t capacity = claimed != 0 ? cvec_fill_pages(vector, claimed) : 0;
    if (capacity >= old)
        return VBUF_OK;
    begin_exclusive(vector);
    enum vbuf_status status = decommit_past(vector, capacity);
    if (status != VBUF_OK) {
        end_exclusive(vector);
        return status;
    }
    for (size_t era = 0; era < CVEC_ERAS && (era == 0 || capacity_of_era(vector, era) != 0); era++)
        vbuf_u64_store_relaxed(&vector->era_capacity_[era], era == 0 ? capacity : 0);
    if (era_of(seen) != CVEC_CLOSED_ERA)
        vbuf_u64_store_relaxed(&vector->len_, ticket_of(0, claimed));
    vbuf_u64_store_relaxed(&vector->capacity_, capacity);
    if (vbuf_u64_load_relaxed(&vector->populated_) > capacity)
        vbuf_u64_store_relaxed(&vector->populated_, capacity); /* what is past it has gone */
    cvec_tell_decommitted(vector,
                          cvec_element_pages(vector, old) - cvec_element_pages(vector, capacity) +
                              cvec_ready_pages(vector, old) - cvec_ready_pages(vector, capacity));
    end_exclusive(vector);
    return VBUF_OK;
}
