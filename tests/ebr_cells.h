/*
 * ebr_cells.h - a structure for the ebr tests: a few atomic cells, each holding a pointer to a plain,
 * malloced object. Writers put a new object in and retire the old one; readers look at objects under a
 * pin. Destroying poisons an object before it is freed, so a reader that should have been protected
 * sees it, AddressSanitizer sees it, and ThreadSanitizer sees a race.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef EBR_CELLS_H
#define EBR_CELLS_H

#include <stdlib.h>

#include "check.h"
#include "vbuf/atomic.h"
#include "vbuf/ebr.h"

#define CELLS 8
#define CELL_WORDS 6

struct cells;

struct cell_object {
    struct ebr_entry entry;
    struct cells *owner;
    uint64_t words[CELL_WORDS]; /* all alike while it lives; plain on purpose */
};

struct cells {
    struct ebr_domain *domain;
    struct vbuf_atomic_pointer cells[CELLS];
    struct vbuf_atomic_u64 made;
    struct vbuf_atomic_u64 destroyed;
};

static inline void cells_destroy_object(struct ebr_entry *entry)
{
    struct cell_object *object = (struct cell_object *)(void *)entry;
    vbuf_u64_fetch_add_relaxed(&object->owner->destroyed, 1);
    for (uint64_t i = 0; i < CELL_WORDS; i++)
        object->words[i] = UINT64_C(0xdead) + i;
    free(object);
}

/* Puts a new object into the cell and retires the one that was there. */
static inline void cells_replace(struct cells *cells, size_t cell, uint64_t word)
{
    struct cell_object *object = malloc(sizeof *object);
    if (!CHECK(object != NULL))
        return;
    object->owner = cells;
    for (int i = 0; i < CELL_WORDS; i++)
        object->words[i] = word;
    vbuf_u64_fetch_add_relaxed(&cells->made, 1);
    struct cell_object *old = vbuf_pointer_exchange_acq_rel(&cells->cells[cell], object);
    if (old != NULL)
        ebr_retire(cells->domain, &old->entry, cells_destroy_object);
}

/* Whether the object in the cell is whole, looked at `looks` times; the caller is pinned. */
static inline bool cells_look(struct cells *cells, size_t cell, unsigned looks)
{
    const struct cell_object *object = vbuf_pointer_load_acquire(&cells->cells[cell]);
    if (object == NULL)
        return true;
    uint64_t word = object->words[0];
    for (unsigned look = 0; look < looks; look++) {
        for (int i = 0; i < CELL_WORDS; i++) {
            if (object->words[i] != word)
                return false;
        }
    }
    return true;
}

static inline void cells_create(struct cells *cells, uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads};
    for (size_t i = 0; i < CELLS; i++)
        vbuf_pointer_store_relaxed(&cells->cells[i], NULL);
    vbuf_u64_store_relaxed(&cells->made, 0);
    vbuf_u64_store_relaxed(&cells->destroyed, 0);
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&cells->domain, &options));
}

/* Retires what is in the cells, destroys the domain, and sees that all were destroyed once. */
static inline void cells_destroy(struct cells *cells)
{
    for (size_t i = 0; i < CELLS; i++) {
        struct cell_object *old = vbuf_pointer_exchange_acq_rel(&cells->cells[i], NULL);
        if (old != NULL)
            ebr_retire(cells->domain, &old->entry, cells_destroy_object);
    }
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(cells->domain));
    CHECK_EQ(vbuf_u64_load_relaxed(&cells->made), vbuf_u64_load_relaxed(&cells->destroyed));
}

#endif
