/*
 * slotmap_many.c - many inserted at once, all or none; and calls that go through all there is.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static void set_up(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 4;
    options.max_limbo = 8;
    make_map(options);
    insert(1);
}

static void insert_three(void)
{
    uint64_t number = 8 * explore_self();
    struct value values[3] = {{number, number}, {number + 1, number + 1}, {number + 2, number + 2}};
    slotmap_handle handles[3];
    enum vbuf_status status = slotmap_insert_many(map, values, 3, handles);
    EXPLORE(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
    for (unsigned i = 0; i < 3 && status == VBUF_OK; i++) {
        struct value value = {number + i, number + i};
        status = slotmap_read(map, handles[i], &value);
        EXPLORE(status == VBUF_OK || status == VBUF_STALE);
        check_value(&value, number + i);
        inserted[number + i] = 1;
        status = VBUF_OK;
    }
}

/* ---- removed as soon as it is there ---- */

static bool keep_odd(void *context, slotmap_handle handle, void *memory)
{
    const struct value *value = memory;
    unsigned *dropped = context;
    EXPLORE(value->number < MOST_VALUES && value->copy == value->number);
    EXPLORE(slotmap_handle_of(map, value).bits == handle.bits);
    if (value->number % 2 != 0)
        return true;
    removed[value->number]++;
    ++*dropped;
    return false;
}

static void retain_odd(void)
{
    unsigned dropped = 0;
    size_t count = slotmap_retain(map, keep_odd, &dropped);
    EXPLORE(count == dropped); /* nobody else removes */
}

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

const struct explore_scenario slotmap_many_retained = {
    .name = "slotmap.many-retained",
    .checks = "S3 S6 S7",
    .set_up = set_up,
    .threads = {insert_three, retain_odd},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- two, of which one fits: the other leaves nothing ---- */

static void finish_full(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < MOST_VALUES; i++)
        count += inserted[i] != 0;
    EXPLORE(slotmap_len(map) == count && (count == 1 || count == 4));
    slotmap_collect(map);
    check_slots();
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    EXPLORE(stats.limbo == 0 && stats.inserted - stats.removed == count);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    for (unsigned i = 0; i < count; i++)
        EXPLORE(slotmap_iter_next(&iter, NULL) != NULL);
    EXPLORE(slotmap_iter_next(&iter, NULL) == NULL);
    destroy_map();
}

const struct explore_scenario slotmap_many_full = {
    .name = "slotmap.many-full",
    .checks = "S5 S6",
    .set_up = set_up,
    .threads = {insert_three, insert_three},
    .finish = finish_full,
    .bounds = {.failures = EXPLORE_NONE, .together = 2},
};

/* ---- two clear at the same time ---- */

static size_t cleared[EXPLORE_MOST_THREADS + 1];

static void clear(void)
{
    cleared[explore_self()] = slotmap_clear(map);
}

static void set_up_two(void)
{
    set_up();
    insert(2);
}

static void finish_cleared(void)
{
    EXPLORE(cleared[1] + cleared[2] == 2 && slotmap_len(map) == 0);
    removed[1] = removed[2] = 1;
    finish();
}

const struct explore_scenario slotmap_many_cleared = {
    .name = "slotmap.many-cleared",
    .checks = "S2 S6",
    .set_up = set_up_two,
    .threads = {clear, clear},
    .finish = finish_cleared,
    NOTHING_FAILS,
};

/* ---- one goes through all, and another removes what it looks at ---- */

static slotmap_handle second;

static bool keep_no_even(void *context, slotmap_handle handle, void *memory)
{
    uint64_t number = ((struct value *)memory)->number;
    (void)context;
    slotmap_contains(map, handle); /* others may go on in between */
    check_value(memory, number);
    return number % 2 != 0;
}

static void retain_no_even(void)
{
    cleared[1] = slotmap_retain(map, keep_no_even, NULL);
}

static void remove_second(void)
{
    cleared[2] = slotmap_remove(map, second, NULL) == VBUF_OK;
    slotmap_collect(map);
}

static void set_up_second(void)
{
    set_up();
    second = insert(2);
}

static void finish_raced(void)
{
    EXPLORE(cleared[1] + cleared[2] == 1 && slotmap_len(map) == 1);
    removed[2] = 1;
    finish();
}

const struct explore_scenario slotmap_many_raced = {
    .name = "slotmap.many-raced",
    .checks = "S2 S3",
    .set_up = set_up_second,
    .threads = {retain_no_even, remove_second},
    .finish = finish_raced,
    NOTHING_FAILS,
};

/* ---- what is reserved is there, whatever the system refuses from then on ---- */

static void set_up_large(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 300; /* more than a page of slots */
    options.max_limbo = 300;
    options.destroy = NULL;
    make_map(options);
}

static void reserve_and_insert(void)
{
    bool prefault = explore_choose(2) != 0;
    EXPLORE(slotmap_reserve(map, 301, prefault) == VBUF_FULL);
    if (vbuf_thread_number() == 0) /* it will try again */
        return;
    enum vbuf_status status = slotmap_reserve(map, 200, prefault);
    EXPLORE(status == VBUF_OK || (status == VBUF_NOMEM && explore_refusals() != 0));
    if (status != VBUF_OK)
        return;
    size_t committed = explore_committed();
    unsigned refusals = explore_refusals();
    for (unsigned i = 0; i < 200; i++)
        EXPLORE(slotmap_insert(map, &(struct value){i, i}, NULL) == VBUF_OK);
    slotmap_pin(map);
    slotmap_unpin(map);
    EXPLORE(explore_committed() == committed && explore_refusals() == refusals);
}

static void destroy_large(void)
{
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_many_reserved = {
    .name = "slotmap.many-reserved",
    .checks = "S5",
    .set_up = set_up_large,
    .threads = {reserve_and_insert},
    .finish = destroy_large,
};
