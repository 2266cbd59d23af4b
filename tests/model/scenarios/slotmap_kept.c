/*
 * slotmap_kept.c - a value that a reader holds throughout, while others do all they can to destroy it: what it
 * was removed into is sealed by another, taken over, collected.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle first, second;
static struct vbuf_atomic_u32 held, gone, collected, advanced;

static void hold_until_collected(void)
{
    slotmap_pin(map);
    const struct value *value = slotmap_get(map, first);
    raise_flag(&held);
    wait_for_flag(&collected, 1);
    if (value != NULL)
        check_value(value, 1);
    slotmap_unpin(map);
}

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* ---- sealed by its remover, who then sleeps; another collects ---- */

static void set_up(void)
{
    make_map(usual_options());
    act_as(2);
    first = insert(1);
}

static void remove_and_seal(void)
{
    wait_for_flag(&held, 1);
    take_out(1, first);
    turn_over();
    raise_flag(&gone);
}

static void collect_twice(void)
{
    wait_for_flag(&gone, 1);
    slotmap_collect(map);
    slotmap_collect(map);
    EXPLORE(destroyed[1] == 0);
    raise_flag(&collected);
}

const struct explore_scenario slotmap_kept_sealed = {
    .name = "slotmap.kept-sealed",
    .checks = "S3",
    .set_up = set_up,
    .threads = {hold_until_collected, remove_and_seal, collect_twice},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- left with the orphans, because the shared part is in use by who collects just now ---- */

static void set_up_orphan(void)
{
    struct slotmap_options options = usual_options();
    EXPLORE(ebr_domain_create(&options.domain, NULL) == VBUF_OK);
    options.max_threads = 1;
    options.max_limbo = 4;
    make_map(options);
    act_as(1); /* the only one with a part */
    first = insert(1);
    second = insert(2);
    act_as(2);
    take_out(2, second);
}

static void advance_and_remove(void)
{
    ebr_advance(map->domain_, true);
    raise_flag(&advanced);
    wait_for_flag(&held, 1);
    take_out(1, first);
}

static void hold_advanced(void)
{
    wait_for_flag(&advanced, 1);
    hold_until_collected();
}

static void collect_meanwhile(void)
{
    slotmap_collect(map);
    raise_flag(&collected);
}

static void finish_orphan(void)
{
    struct ebr_domain *domain = map->domain_;
    finish();
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

const struct explore_scenario slotmap_kept_orphan = {
    .name = "slotmap.kept-orphan",
    .checks = "S3",
    .set_up = set_up_orphan,
    .threads = {collect_meanwhile, advance_and_remove, hold_advanced},
    .finish = finish_orphan,
    NOTHING_FAILS,
};
