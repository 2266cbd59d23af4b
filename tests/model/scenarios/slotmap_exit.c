/*
 * slotmap_exit.c - threads that exit with slots in limbo and on their lists, and who inherits them; two maps on
 * one domain; maps destroyed with all of that pending.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

static void set_up(void)
{
    make_map(usual_options());
}

/* The second finds the number of the first free, or takes one of its own. */
static void come_and_exit(void)
{
    unsigned number = 8 * explore_self();
    handles[number] = insert(number);
    take_out(number, handles[number]);
    turn_over();
}

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

const struct explore_scenario slotmap_exit_inherit = {
    .name = "slotmap.exit-inherit",
    .checks = "S5 S6",
    .set_up = set_up,
    .threads = {come_and_exit, come_and_exit},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- destroyed as it is: in open batches, bags, ready, with the orphans, live ---- */

static void set_up_pending(void)
{
    struct slotmap_options options = usual_options();
    options.max_threads = 2;
    options.max_len = 3;
    options.max_limbo = 8;
    make_map(options);
}

static void leave_much_behind(void)
{
    unsigned number = 8 * explore_self();
    handles[number] = insert(number);
    take_out(number, handles[number]);
    turn_over();
    enum vbuf_status status = try_insert(number + 1, &handles[number + 1]);
    EXPLORE(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
    if (status == VBUF_OK && explore_self() == 1)
        take_out(number + 1, handles[number + 1]);
}

static void destroy_as_it_is(void)
{
    check_figures();
    destroy_map();
}

const struct explore_scenario slotmap_exit_destroy = {
    .name = "slotmap.exit-destroy",
    .checks = "S6",
    .set_up = set_up_pending,
    .threads = {leave_much_behind, leave_much_behind, leave_much_behind},
    .finish = destroy_as_it_is,
    NOTHING_FAILS,
};

/* ---- two maps on one domain: a pin of one holds back the other ---- */

static struct slotmap *other_map;
static struct ebr_domain *domain;
static slotmap_handle other;
static unsigned others_destroyed;

static void destroy_other(void *context, void *memory)
{
    (void)context;
    struct value *value = memory;
    check_value(value, 7);
    others_destroyed++;
    explore_poison(value, sizeof *value);
}

static void set_up_domain(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    struct slotmap_options options = usual_options();
    options.domain = domain;
    make_map(options);
    options.destroy = destroy_other;
    EXPLORE(slotmap_create(&other_map, &options) == VBUF_OK);
    handles[1] = insert(1);
    EXPLORE(slotmap_insert(other_map, &(struct value){7, 7}, &other) == VBUF_OK);
}

static void read_both(void)
{
    ebr_pin(domain);
    const struct value *value = slotmap_get(map, handles[1]);
    const struct value *second = slotmap_get(other_map, other);
    if (value != NULL)
        check_value(value, 1);
    if (second != NULL)
        check_value(second, 7);
    ebr_unpin(domain);
}

static void remove_both(void)
{
    take_out(1, handles[1]);
    EXPLORE(slotmap_remove(other_map, other, NULL) == VBUF_OK);
    slotmap_collect(map);
    slotmap_collect(other_map);
}

static void finish_domain(void)
{
    destroy_map();
    slotmap_destroy(other_map);
    EXPLORE(others_destroyed == 1);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

const struct explore_scenario slotmap_exit_two_maps = {
    .name = "slotmap.exit-two-maps",
    .checks = "S3 S6",
    .set_up = set_up_domain,
    .threads = {read_both, remove_both},
    .finish = finish_domain,
    NOTHING_FAILS,
};

/* ---- destructors that use the map ---- */

static unsigned depth[EXPLORE_MOST_THREADS + 1];

static void destroy_and_remove(void *context, void *memory)
{
    uint64_t number = ((struct value *)memory)->number;
    EXPLORE(depth[explore_self()]++ == 0); /* never one inside the other */
    destroy_value(context, memory);
    if (number == 1) {
        take_out(2, handles[2]);
        EXPLORE(slotmap_collect(map) == 0);
        handles[3] = insert(3);
    }
    depth[explore_self()]--;
}

static void set_up_destructor(void)
{
    struct slotmap_options options = usual_options();
    options.destroy = destroy_and_remove;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
    exit_all();
}

static void collect_all(void)
{
    slotmap_collect(map);
}

static void turn_over_thrice(void)
{
    for (int i = 0; i < 3; i++)
        turn_over();
}

static void finish_destructor(void)
{
    slotmap_collect(map);
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 1 && destroyed[2] == 1);
    finish();
}

const struct explore_scenario slotmap_exit_destructor = {
    .name = "slotmap.exit-destructor",
    .checks = "S6",
    .set_up = set_up_destructor,
    .threads = {turn_over_thrice, collect_all},
    .finish = finish_destructor,
    .bounds = {.failures = EXPLORE_NONE, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};
