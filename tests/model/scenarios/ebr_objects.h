/*
 * ebr_objects.h - what the ebr scenarios retire: objects whose use after reclaim the explorer sees.
 *
 * A place holds a pointer to an object, set before the threads start. It is read and cleared relaxed, so
 * all that keeps a reader from what is reclaimed is the domain.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef EBR_OBJECTS_H
#define EBR_OBJECTS_H

#include "explore.h"
#include "threads.h"
#include "vbuf/ebr.h"

#define OBJECT_VALUE 7
#define TRIES 3 /* of who waits for the epoch: others may be done, and it where it is */

struct object {
    struct ebr_entry entry; /* first: an entry is the object */
    uint64_t value;
};

static inline struct object *make_object(void)
{
    struct object *object = explore_alloc(sizeof *object);
    object->value = OBJECT_VALUE;
    return object;
}

static inline void free_object(struct ebr_entry *entry)
{
    explore_free((struct object *)(void *)entry);
}

/* Fills a place; for set_up. */
static inline void place_object(struct vbuf_atomic_pointer *place)
{
    vbuf_pointer_store_relaxed(place, make_object());
}

/* Looks at what is in the place, after others have had their turn; the caller is pinned. */
static inline void look(const struct vbuf_atomic_pointer *place)
{
    const struct object *object = vbuf_pointer_load_relaxed(place);
    if (object == NULL)
        return;
    explore_yield();
    EXPLORE(object->value == OBJECT_VALUE);
}

static inline void look_pinned(struct ebr_domain *domain, const struct vbuf_atomic_pointer *place)
{
    ebr_pin(domain);
    look(place);
    ebr_unpin(domain);
}

/* Empties a place, which only the caller does. */
static inline struct object *unlink_object(struct vbuf_atomic_pointer *place)
{
    struct object *object = vbuf_pointer_load_relaxed(place);
    vbuf_pointer_store_relaxed(place, NULL);
    return object;
}

static inline void unlink_and_retire(struct ebr_domain *domain, struct vbuf_atomic_pointer *place)
{
    ebr_retire(domain, &unlink_object(place)->entry, free_object);
}

/*
 * For set_up: a number with a record of the domain, for a thread to be, by be_thread, from its first step on.
 * So that how it got there is no part of the run; nor is its end.
 */
static inline uint32_t attach_a_thread(struct ebr_domain *domain)
{
    vbuf_thread_set_number(0);
    EXPLORE(ebr_attach(domain) == VBUF_OK);
    uint32_t number = vbuf_self_.id;
    vbuf_thread_set_number(0);
    return number;
}

static inline void be_thread(uint32_t number)
{
    vbuf_thread_set_number(number);
}

/* For finish: what no thread has removed is freed, then the domain is destroyed. */
static inline void clear_and_destroy(struct ebr_domain *domain, struct vbuf_atomic_pointer *places,
                                     unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct object *object = unlink_object(&places[i]);
        if (object != NULL)
            explore_free(object);
    }
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

#endif
