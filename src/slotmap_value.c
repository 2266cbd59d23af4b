/*
 * slotmap_value.c - values that are written in place (S4).
 *
 *      | generation, link | sequence | … | copy 0 | copy 1 |
 *
 * A sequence word {writes 62, current 1, writing 1}: counted so that `current` is the last bit of the number of
 * writes. A writer locks the word by making it odd, writes the copy that is not current, and unlocks it with
 * the next number, which makes that copy current. So a writer stopped half-way has touched nothing that a reader
 * looks at; and a second one finds the word odd: VBUF_BUSY.
 *
 *      4n     copy 0 is current        write: 4n -> 4n + 1, copy 1, -> 4n + 2
 *      4n + 2 copy 1 is current               4n + 2 -> 4n + 3, copy 0, -> 4n + 4
 *
 * A reader takes the word, copies what is current, and takes the word again. The copy it read is written by
 * the second write from there on, so it starts again iff that has begun: the word has gone up by 3 or more, or by 2
 * from an odd one. Words of the value move by acquire loads and release stores: a reader that has read
 * one from a later write has acquired that write's lock, and sees the sequence moved.
 *
 * The value's life. Readers and writers are pinned, so the slot is not reused under them, and an insert has both copies
 * to itself. A writer that finds the slot removed once it has locked it, goes away again. Who removes a value and wants
 * to read it (value_now) takes the sequence by a read-modify-write: a writer that locks after that has acquired
 * the remove, and goes away. From one that has locked before, it takes the lock away: two numbers on, with the same
 * copy current. That writer's unlock fails, so its write was none. So what the remover is handed does not change, and
 * is what the last write that was one put there. (Every change of the word is a read-modify-write, so that who locks
 * next still reads from the remover's: a plain store would end that release sequence. The explorer saw it.)
 *
 * The word is one of its own: sharing the link's would corrupt limbo when a writer wakes after a remove.
 *
 * Reading is inlined, in slotmap.h. What a typed map inlines pins where that is a store, and copies once; it goes on here
 * where there was more to do. Measured at a thousand values, 16 bytes each, in time of copying from the slots: 1.68 before, by a pin
 * that nests and a loop, 1.45 after; at a million 2.1 and 1.9.
 *
 * References: two copies and a counter are L. Lamport, "Concurrent reading and writing" (1977), by way of
 * Linux' seqcount_latch.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "slotmap_internal.h"

#define WRITING SLOTMAP_WRITING_
#define NEXT SLOTMAP_NEXT_

static struct vbuf_atomic_u64 *sequence_of(const struct slotmap_slot_ *slot)
{
    return &((struct slotmap_updatable_slot_ *)(uintptr_t)slot)->sequence;
}

static struct vbuf_atomic_u64 *copy_of(const struct map *map, const struct slotmap_slot_ *slot,
                                       uint64_t sequence)
{
    return slotmap_copy_of_(slot, map->head.value_offset_, map->copy_size, sequence);
}

void value_begin(struct map *map, struct slotmap_slot_ *slot)
{
    /* Relaxed: ours. */
    if (map->revivable && map->destroy != NULL &&
        state_of(vbuf_u32_load_relaxed(&slot->generation)) == SLOTMAP_REMOVED_) {
        vbuf_self_.reclaiming++;
        map->destroy(map->context, value_now(map, slot));
        vbuf_self_.reclaiming--;
    }
    if (map->head.updatable_)
        slotmap_begin_updatable_(slot);
}

void slotmap_copy_again_(struct slotmap *map, const struct slotmap_slot_ *slot, void *to)
{
    slotmap_copy_out_(slot, map->value_offset_, map_of(map)->copy_size, map->value_size_, to);
}

void *value_now(const struct map *map, struct slotmap_slot_ *slot)
{
    if (!map->head.updatable_)
        return value_of(map, slot);
    struct vbuf_atomic_u64 *sequence = sequence_of(slot);
    uint64_t now, seen = vbuf_u64_load_relaxed(sequence); /* the CAS decides */
    do {
        now = seen & WRITING ? seen - WRITING + 2 * NEXT : seen;
        /* An RMW, always: whoever locks after it sees that the value is removed. Pairs with the lock in write_slot. */
    } while (!vbuf_u64_cas_acq_rel(sequence, &seen, now));
    return copy_of(map, slot, now);
}

void value_take_lock_away(struct slotmap_slot_ *slot)
{
    struct vbuf_atomic_u64 *sequence = sequence_of(slot);
    uint64_t seen = vbuf_u64_load_relaxed(sequence); /* relaxed: nobody else runs */
    if (seen & WRITING)
        vbuf_u64_store_relaxed(sequence, seen - WRITING);
}

/* ---- writing ---- */

static void write_words(struct vbuf_atomic_u64 *to, const unsigned char *from, size_t size)
{
    for (; size >= sizeof(uint64_t); from += sizeof(uint64_t), to++, size -= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, from, sizeof word);
        /* Pairs with slotmap_read_words_: who reads it sees the lock. */
        vbuf_u64_store_release(to, word);
    }
    if (size != 0) {
        uint64_t word = 0;
        memcpy(&word, from, size);
        vbuf_u64_store_release(to, word);
    }
}

static enum vbuf_status write_slot(const struct map *map, struct slotmap_slot_ *slot, uint32_t live,
                                   const void *value)
{
    struct vbuf_atomic_u64 *sequence = sequence_of(slot);
    uint64_t seen = vbuf_u64_load_relaxed(sequence); /* the CAS decides */
    do {
        if (seen & WRITING)
            return VBUF_BUSY;
        /* Acquire pairs with value_now. Not release: the words that follow are released, and pass it on. */
    } while (!vbuf_u64_cas_acquire(sequence, &seen, seen + WRITING));
    uint64_t locked = seen + WRITING;
    /* Relaxed: who locks after value_now has acquired the remove, and reads nothing older. */
    if (vbuf_u32_load_relaxed(&slot->generation) != live) {
        vbuf_u64_cas_acquire(sequence, &locked, seen); /* nothing was written: nothing to pass on */
        return VBUF_STALE;
    }
    write_words(copy_of(map, slot, seen + NEXT), value, map->head.value_size_);
    /* Release pairs with slotmap_copy_out_. Fails iff a remover has taken the lock away. */
    return vbuf_u64_cas_acq_rel(sequence, &locked, seen + NEXT) ? VBUF_OK : VBUF_STALE;
}

enum vbuf_status slotmap_write(struct slotmap *map, slotmap_handle handle, const void *value)
{
    if (value == NULL || !map->updatable_)
        return VBUF_INVALID;
    slotmap_pin(map);
    struct slotmap_slot_ *slot;
    enum vbuf_status status = VBUF_STALE;
    if (slotmap_find_(map, handle.bits, map->slot_size_, &slot))
        status = write_slot(map_of(map), slot, (uint32_t)(handle.bits >> 32), value);
    slotmap_unpin(map);
    return status;
}
