/*
 * registry.h - all objects of one kind that the process has: a list under a lock, whole for a fork's child at any time.
 *
 * A fork takes no lock: what waited for one in a handler could be what its holder waits for (another library's
 * handler, with that one's lock held). So the child may find the list in the middle of a change, and its lock taken by a thread
 * that it has not. Each change shows by one store, after all that it needs: the chain of `next` is whole at any time, with
 * the object or without. `back` is for removing alone, and can be made anew.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_REGISTRY_H
#define VBUF_REGISTRY_H

#include <pthread.h>

#include "vbuf/atomic.h"

struct registry_link {
    struct vbuf_atomic_pointer next; /* struct registry_link, or NULL */
    struct vbuf_atomic_pointer back; /* the pointer that points here */
};

struct registry {
    pthread_mutex_t lock;
    struct vbuf_atomic_pointer first;
};
#define REGISTRY_EMPTY                                                                             \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER                                                          \
    }

/* Relaxed, all of it: for who has the lock, or is the only thread of a fork's child. */
static inline struct registry_link *registry_first(const struct registry *registry)
{
    return (struct registry_link *)vbuf_pointer_load_relaxed(&registry->first);
}

static inline struct registry_link *registry_next(const struct registry_link *link)
{
    return (struct registry_link *)vbuf_pointer_load_relaxed(&link->next);
}

/* Has `link` follow what `from` is in; and that one shows by the release of this. */
static inline void registry_follow(struct vbuf_atomic_pointer *from, struct registry_link *link)
{
    if (link != NULL)
        vbuf_pointer_store_relaxed(&link->back, from);
    vbuf_pointer_store_release(from, link);
}

static inline void registry_add(struct registry *registry, struct registry_link *link)
{
    pthread_mutex_lock(&registry->lock);
    registry_follow(&link->next, registry_first(registry));
    registry_follow(&registry->first, link);
    pthread_mutex_unlock(&registry->lock);
}

static inline void registry_remove(struct registry *registry, struct registry_link *link)
{
    pthread_mutex_lock(&registry->lock);
    registry_follow((struct vbuf_atomic_pointer *)vbuf_pointer_load_relaxed(&link->back),
                    registry_next(link));
    pthread_mutex_unlock(&registry->lock);
}

/* In a fork's child, before anything else. */
static inline void registry_heal(struct registry *registry)
{
    pthread_mutex_init(&registry->lock, NULL);
    struct vbuf_atomic_pointer *from = &registry->first;
    for (struct registry_link *link = registry_first(registry); link != NULL;
         link = registry_next(link)) {
        vbuf_pointer_store_relaxed(&link->back, from);
        from = &link->next;
    }
}

#endif
