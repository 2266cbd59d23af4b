/*
 * slotmap_walk.c - what goes through all of a map: clear, retain; handles from pointers; room made in advance.
 *
 * Clear and retain are an iteration and a remove for each value, under the pin of their own: they need no more than
 * any other caller, and others go on meanwhile.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_internal.h"
#include "threads.h"

slotmap_handle slotmap_handle_of(const struct slotmap *map, const void *value)
{
    size_t offset = (uintptr_t)value - (uintptr_t)map - SLOTMAP_SLOTS_OFFSET_;
    uint32_t index = (uint32_t)(offset / map->slot_size_);
    const struct slotmap_slot_ *slot = slotmap_slot_at_(map, index, map->slot_size_);
    /* Relaxed: the caller knows the value; who sees it sees the generation. */
    uint32_t generation = vbuf_u32_load_relaxed(&slot->generation);
    return slotmap_handle_from_u64((uint64_t)with_state(generation, SLOTMAP_LIVE_) << 32 | index);
}

size_t slotmap_retain(struct slotmap *map,
                      bool (*keep)(void *context, slotmap_handle handle, void *value),
                      void *context)
{
    size_t removed = 0;
    slotmap_handle handle;
    void *value;
    slotmap_pin(map);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    while ((value = slotmap_iter_next(&iter, &handle)) != NULL) {
        if (!keep(context, handle, value) && slotmap_remove(map, handle, NULL) == VBUF_OK)
            removed++;
    }
    slotmap_unpin(map);
    return removed;
}

size_t slotmap_clear(struct slotmap *map)
{
    size_t removed = 0;
    slotmap_handle handle;
    struct slotmap_iter iter = slotmap_iter_begin(map);
    /* Unpinned: nobody looks at the values, and what we remove need not wait for us. */
    while (slotmap_iter_next(&iter, &handle) != NULL)
        removed += slotmap_remove(map, handle, NULL) == VBUF_OK;
    return removed;
}

enum vbuf_status slotmap_reserve(struct slotmap *handle, size_t count, bool prefault)
{
    struct map *map = map_of(handle);
    enum vbuf_status status = slots_reserve(map, count, prefault);
    if (status != VBUF_OK)
        return status;
    /* What a thread needs of its own, too. It does without where it gets none, and then commits nothing either. */
    uint32_t number = vbuf_thread_number();
    bool refused = number != 0 && number <= map->max_threads && is_shared(map, map_own_part(map));
    return refused || ebr_attach(map->head.domain_) == VBUF_NOMEM ? VBUF_NOMEM : VBUF_OK;
}
