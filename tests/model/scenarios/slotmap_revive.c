/*
 * slotmap_revive.c - maps that keep what was removed: each value is destroyed once, or handed over once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle first;

static void make_revivable(bool updatable)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    options.revivable = true;
    options.updatable = updatable;
    make_map(options);
    map_of(map)->chunk = 2; /* no more slots than there are values */
}

/* ---- released while it is destroyed: it is not there to be revived, nor to be destroyed again ---- */

static void set_up_one(void)
{
    make_revivable(false);
    first = insert(1);
}

static void invalidate_first(void)
{
    EXPLORE(slotmap_invalidate(map, first) == VBUF_OK);
    slotmap_collect(map);
}

static void release_first(void)
{
    removed[1] = slotmap_release(map, first) == VBUF_OK;
}

static void finish_released(void)
{
    EXPLORE(removed[1] != 0 || slotmap_release(map, first) == VBUF_OK);
    slotmap_collect(map);
    EXPLORE(slotmap_len(map) == 0);
    destroy_map();
}

const struct explore_scenario slotmap_revive_released = {
    .name = "slotmap.revive-released",
    .checks = "S6",
    .set_up = set_up_one,
    .threads = {invalidate_first, release_first},
    .finish = finish_released,
    NOTHING_FAILS,
};

/* ---- kept values, for who revives and who does not ---- */

/* 1, which was overwritten by 3 where that can be, and 2 are removed, and their slots vacant. */
static void set_up_kept_in(bool updatable)
{
    make_revivable(updatable);
    act_as(1);
    first = insert(1);
    slotmap_handle second = insert(2);
    if (updatable) {
        EXPLORE(slotmap_write(map, first, &(struct value){3, 3}) == VBUF_OK);
        inserted[1] = 0;
        inserted[3] = 1;
    }
    EXPLORE(slotmap_remove(map, first, NULL) == VBUF_OK);
    EXPLORE(slotmap_remove(map, second, NULL) == VBUF_OK);
    slotmap_collect(map);
    EXPLORE(destroyed[1] + destroyed[2] + destroyed[3] == 0);
    exit_all();
}

static void set_up_kept(void)
{
    set_up_kept_in(false);
}

static void set_up_kept_updatable(void)
{
    set_up_kept_in(true);
}

static void publish_number(slotmap_handle handle, struct value *memory, uint64_t number)
{
    struct value value;
    EXPLORE(slotmap_read(map, handle, &value) == VBUF_STALE);
    EXPLORE(slotmap_handle_of(map, memory).bits == handle.bits);
    *memory = (struct value){number, number};
    EXPLORE(slotmap_publish(map, handle) == VBUF_OK);
    inserted[number] = 1;
    EXPLORE(slotmap_read(map, handle, &value) == VBUF_OK);
    check_value(&value, number);
}

static void revive_one(void)
{
    uint64_t number = 8 * explore_self();
    slotmap_handle handle;
    void *value;
    bool revived;
    if (slotmap_revive(map, &handle, &value, &revived) != VBUF_OK)
        return;
    if (revived) {
        uint64_t old = ((struct value *)value)->number;
        EXPLORE(old < MOST_VALUES && inserted[old] == 1);
        destroy_value(NULL, value); /* ours */
    }
    publish_number(handle, value, number);
}

static void claim_one(void)
{
    slotmap_handle handle;
    void *value;
    if (slotmap_claim(map, &handle, &value) == VBUF_OK)
        publish_number(handle, value, 8 * explore_self());
}

static void take_one(void)
{
    if (explore_choose(2) == 0)
        revive_one();
    else
        claim_one();
}

static void insert_one(uint64_t number)
{
    struct value value;
    slotmap_handle handle;
    if (try_insert(number, &handle) != VBUF_OK)
        return;
    EXPLORE(slotmap_read(map, handle, &value) == VBUF_OK);
    check_value(&value, number);
}

static void insert_two(uint64_t number)
{
    struct value values[2] = {{number, number}, {number + 1, number + 1}};
    slotmap_handle handles[2];
    if (slotmap_insert_many(map, values, 2, handles) != VBUF_OK)
        return;
    inserted[number] = inserted[number + 1] = 1;
    EXPLORE(slotmap_read(map, handles[1], values) == VBUF_OK);
    check_value(values, number + 1);
}

/* What revives, and what does not, first or second. */
static void use_all(void)
{
    uint64_t number = 8 * explore_self() + 1;
    unsigned order = explore_choose(2);
    take_one();
    if (order == 0)
        insert_two(number);
    insert_one(number + 2);
    if (order == 1)
        insert_two(number);
}

const struct explore_scenario slotmap_revive_kept = {
    .name = "slotmap.revive-kept",
    .checks = "S6",
    .set_up = set_up_kept,
    .threads = {use_all, take_one},
    .finish = destroy_map,
    .bounds = {.failures = EXPLORE_NONE, .together = 2},
};

const struct explore_scenario slotmap_revive_updatable = {
    .name = "slotmap.revive-updatable",
    .checks = "S4 S6",
    .set_up = set_up_kept_updatable,
    .threads = {use_all, take_one},
    .finish = destroy_map,
    .bounds = {.failures = EXPLORE_NONE, .together = 2},
};

/* ---- what was revived and given up is not there to be revived again ---- */

static void revive_twice(void)
{
    for (unsigned round = 0; round < 2; round++) {
        slotmap_handle handles[2];
        for (unsigned i = 0; i < 2; i++) {
            void *value;
            bool revived;
            EXPLORE(slotmap_revive(map, &handles[i], &value, &revived) == VBUF_OK);
            EXPLORE(revived == (round == 0));
            if (revived)
                destroy_value(NULL, value); /* ours */
            else
                publish_number(handles[i], value, 8 + i);
        }
        for (unsigned i = 0; i < 2 && round == 0; i++)
            EXPLORE(slotmap_cancel(map, handles[i]) == VBUF_OK);
        slotmap_collect(map);
    }
}

const struct explore_scenario slotmap_revive_cancelled = {
    .name = "slotmap.revive-cancelled",
    .checks = "S4 S6",
    .set_up = set_up_kept_updatable,
    .threads = {revive_twice},
    .finish = destroy_map,
    NOTHING_FAILS,
};

/* ---- a writer that finds its value removed leaves it to be written by who revives it ---- */

static void set_up_written(void)
{
    make_revivable(true);
    first = insert(1);
}

/* Whose value is overwritten is not there to be destroyed. */
static enum vbuf_status overwrite(slotmap_handle handle, uint64_t old, uint64_t number)
{
    enum vbuf_status status = slotmap_write(map, handle, &(struct value){number, number});
    inserted[old] -= status == VBUF_OK;
    inserted[number] += status == VBUF_OK;
    return status;
}

static void write_first(void)
{
    enum vbuf_status status = overwrite(first, 1, 3);
    EXPLORE(status == VBUF_OK || status == VBUF_STALE);
}

static void remove_first(void)
{
    EXPLORE(slotmap_remove(map, first, NULL) == VBUF_OK);
}

static void finish_written(void)
{
    slotmap_collect(map);
    bool revived = false;
    for (unsigned i = 8; !revived; i++) {
        slotmap_handle handle;
        void *value;
        EXPLORE(slotmap_revive(map, &handle, &value, &revived) == VBUF_OK);
        uint64_t old = i;
        if (revived)
            old = ((struct value *)value)->number;
        else
            *(struct value *)value = (struct value){i, i};
        inserted[old] = 1;
        EXPLORE(slotmap_publish(map, handle) == VBUF_OK);
        EXPLORE(overwrite(handle, old, i + 8) == VBUF_OK);
    }
    destroy_map();
}

const struct explore_scenario slotmap_revive_written = {
    .name = "slotmap.revive-written",
    .checks = "S4 S6",
    .set_up = set_up_written,
    .threads = {write_first, remove_first},
    .finish = finish_written,
    NOTHING_FAILS,
};

/* ---- a destructor inside an insert collects nothing, as inside a collect ---- */

static void destroy_and_collect(void *context, void *memory)
{
    uint64_t number = ((struct value *)memory)->number;
    destroy_value(context, memory);
    if (number == 2)
        EXPLORE(slotmap_collect(map) == 0);
}

static void insert_into_kept(void)
{
    slotmap_handle second = insert(2);
    first = insert(1);
    EXPLORE(slotmap_remove(map, second, NULL) == VBUF_OK);
    slotmap_collect(map); /* the second is kept */
    EXPLORE(slotmap_invalidate(map, first) == VBUF_OK);
    for (unsigned i = 8; destroyed[2] == 0; i++)
        insert(i);
    EXPLORE(destroyed[1] == 0);
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 1 && slotmap_release(map, first) == VBUF_OK);
}

static void set_up_collecting(void)
{
    make_revivable(false);
    map_of(map)->destroy = destroy_and_collect;
}

static void finish_collecting(void)
{
    map_of(map)->destroy = destroy_value;
    destroy_map();
}

const struct explore_scenario slotmap_revive_inside = {
    .name = "slotmap.revive-inside",
    .checks = "S6",
    .set_up = set_up_collecting,
    .threads = {insert_into_kept},
    .finish = finish_collecting,
    NOTHING_FAILS,
};

/* ---- kept values wait for no destructor: an insert has their slots, also inside a reclaim function of ebr ---- */

static struct ebr_entry retired;

static void insert_inside(struct ebr_entry *entry)
{
    EXPLORE(entry == &retired);
    insert(3);
}

static void reclaim_and_insert(void)
{
    slotmap_handle one = insert(1), two = insert(2);
    EXPLORE(slotmap_remove(map, one, NULL) == VBUF_OK);
    EXPLORE(slotmap_remove(map, two, NULL) == VBUF_OK);
    ebr_retire(map->domain_, &retired, insert_inside);
    EXPLORE(ebr_collect(map->domain_) == 1 && inserted[3] == 1);
}

static void set_up_reclaim(void)
{
    make_revivable(false);
    map_of(map)->max_limbo = 1;
}

const struct explore_scenario slotmap_revive_reclaim = {
    .name = "slotmap.revive-reclaim",
    .checks = "S5",
    .set_up = set_up_reclaim,
    .threads = {reclaim_and_insert},
    .finish = destroy_map,
    NOTHING_FAILS,
};
