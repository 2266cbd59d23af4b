/*
 * slotmap_all_guests.c - short lives in the case slotmap-all: threads that exit with limbo and free slots in their
 * hands, threads that sleep on theirs, and up to a thousand small maps that come and go on one domain.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_all.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- threads that come and go ---- */

struct guest {
    struct table_run *run;
    struct check_rng rng;
    uint64_t operations;
};

/* An exit ends a pin, where the thread has a record of its own (E3). */
static void forget_to_unpin(struct table_map *map)
{
    if (ebr_attach(slotmap_domain(map->map)) == VBUF_OK)
        slotmap_pin(map->map);
}

/* Removes less than it takes for its limbo to be handed on, and goes. */
static void *visit(void *context)
{
    struct guest *guest = context;
    struct table_hand hand = {.run = guest->run, .rng = &guest->rng};
    for (uint64_t i = 10 + stress_below(&guest->rng, 100); i > 0 && !stress_failed(); i--)
        table_remove_step(&hand);
    table_finish(&hand);
    if (stress_chance(&guest->rng, 4))
        forget_to_unpin(&guest->run->maps[stress_below(&guest->rng, TABLE_MAPS)]);
    guest->operations = hand.operations;
    return NULL;
}

void table_guest_step(struct table_hand *hand)
{
    if (stress_chance(hand->rng, 100)) {
        struct guest guest = {.run = hand->run, .rng = {check_rng_next(hand->rng)}};
        pthread_t thread;
        stress_spawn(&thread, visit, &guest);
        pthread_join(thread, NULL);
        hand->operations += guest.operations;
    } else if (stress_chance(hand->rng, 200)) {
        /* Asleep on what it has removed, and on free slots that others need. */
        stress_sleep((int64_t)stress_below(hand->rng, 3000000));
    } else {
        table_remove_step(hand);
    }
}

/* ---- small maps ---- */

enum { SMALL_HANDLES = 6, SMALL_LIVES = 3 };

struct small {
    struct table_map base;
    slotmap_handle handles[SMALL_HANDLES]; /* 0: none */
    uint64_t ids[SMALL_HANDLES];
};

struct shelf {
    struct small **maps;
    size_t count, most;
    bool growing;
};

static void open_small(struct table_hand *hand, struct shelf *shelf)
{
    struct small *small = calloc(1, sizeof *small);
    if (small == NULL)
        abort();
    small->base.run = hand->run;
    small->base.number = TABLE_SMALL;
    small->base.max_len = 1 + (size_t)stress_below(hand->rng, SMALL_HANDLES);
    small->base.runs_out = stress_chance(hand->rng, 4);
    if (small->base.runs_out)
        small->base.first_generation = SLOTMAP_LAST_GENERATION - 1 - 8 * SMALL_LIVES;
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = small->base.max_len,
                                      .max_limbo = 64,
                                      .domain = hand->run->domain,
                                      .max_threads = 8,
                                      .first_generation = small->base.first_generation,
                                      .destroy = table_destroy_value,
                                      .on_commit = table_ask,
                                      .context = &small->base};
    enum vbuf_status status = slotmap_create(&small->base.map, &options);
    hand->operations++;
    if (status != VBUF_OK) {
        STRESS_CHECK(status == VBUF_NOMEM, "create says %s", vbuf_status_string(status));
        free(small);
        return;
    }
    vbuf_u64_fetch_add_relaxed(&hand->run->small_maps, 1);
    shelf->maps[shelf->count++] = small;
    if (shelf->count > vbuf_u64_load_relaxed(&hand->run->most_small_maps))
        vbuf_u64_store_relaxed(&hand->run->most_small_maps, shelf->count);
}

/* With values live, and others removed that wait for pins of the shared domain. */
static void close_small(struct table_hand *hand, struct shelf *shelf, size_t which)
{
    struct small *small = shelf->maps[which];
    shelf->maps[which] = shelf->maps[--shelf->count];
    small->base.ending = true;
    slotmap_destroy(small->base.map);
    hand->operations++;
    uint64_t born = vbuf_u64_load_relaxed(&small->base.born);
    uint64_t destroyed = vbuf_u64_load_relaxed(&small->base.destroyed);
    STRESS_CHECK(born == destroyed, "a small map of %" PRIu64 " values destroyed %" PRIu64, born,
                 destroyed);
    free(small);
}

static void use_small(struct table_hand *hand, struct small *small)
{
    uint64_t which = stress_below(hand->rng, SMALL_HANDLES);
    slotmap_handle *handle = &small->handles[which];
    struct stress_value value;
    if (handle->bits == 0) {
        if (!table_insert(hand, &small->base, &small->ids[which], handle))
            handle->bits = 0;
        return;
    }
    uint64_t id = small->ids[which];
    enum vbuf_status status = slotmap_read(small->base.map, *handle, &value);
    if (STRESS_CHECK(status == VBUF_OK, "a small map's value is lost: %s",
                     vbuf_status_string(status)))
        table_check(&small->base, &value, "read from a small map");
    table_wanted(&small->base, id);
    status = slotmap_remove(small->base.map, *handle, NULL);
    if (STRESS_CHECK(status == VBUF_OK, "a small map's value is lost: %s",
                     vbuf_status_string(status)))
        table_removed(&small->base, id);
    STRESS_CHECK(!slotmap_contains(small->base.map, *handle), "%" PRIx64 " resolves", handle->bits);
    handle->bits = 0;
    hand->operations += 3;
}

/* More and more of them, then fewer and fewer. */
static void shelf_step(struct table_hand *hand, struct shelf *shelf)
{
    if (shelf->count == 0)
        shelf->growing = true;
    else if (shelf->count == shelf->most)
        shelf->growing = false;
    bool opens = stress_chance(hand->rng, shelf->growing ? 2 : 12);
    if (opens && shelf->count < shelf->most) {
        open_small(hand, shelf);
    } else if (shelf->count > 0) {
        size_t which = (size_t)stress_below(hand->rng, shelf->count);
        if (stress_chance(hand->rng, shelf->growing ? 32 : 4))
            close_small(hand, shelf, which);
        else
            use_small(hand, shelf->maps[which]);
    }
}

void table_keep_small_maps(struct table_hand *hand)
{
    struct shelf shelf = {.most = (size_t)stress_amount(1000, 60)};
    shelf.maps = calloc(shelf.most, sizeof(struct small *));
    if (shelf.maps == NULL)
        abort();
    while (table_goes_on(hand))
        shelf_step(hand, &shelf);
    while (shelf.count > 0)
        close_small(hand, &shelf, shelf.count - 1);
    free(shelf.maps);
}
