/*
 * ebr_objects.h - something to retire, for the ebr tests: it counts how often it was destroyed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef EBR_OBJECTS_H
#define EBR_OBJECTS_H

#include <string.h>

#include "check.h"
#include "vbuf/ebr.h"

struct object {
    unsigned destroyed; /* before the entry, so that a mistaken cast shows; plain: E1 orders it */
    struct ebr_entry entry;
};

static inline void destroy_object(struct ebr_entry *entry)
{
    struct object *object =
        (struct object *)(void *)((char *)entry - offsetof(struct object, entry));
    object->destroyed++;
}

static inline void retire(struct ebr_domain *domain, struct object *object)
{
    ebr_retire(domain, &object->entry, destroy_object);
}

/* Collects until nothing more can come; how many were destroyed. */
static inline size_t drain(struct ebr_domain *domain)
{
    size_t count = 0;
    for (int i = 0; i < 6; i++)
        count += ebr_collect(domain);
    return count;
}

/* Each field is written. */
static inline struct ebr_report stats_of(struct ebr_domain *domain)
{
    struct ebr_report stats;
    memset(&stats, 0xff, sizeof stats);
    CHECK_STATUS(VBUF_OK, ebr_stats(domain, &stats));
    return stats;
}

#endif
