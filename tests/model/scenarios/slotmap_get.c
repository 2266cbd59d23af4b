/*
 * slotmap_get.c - who looks at a value while others remove it and use its slot again.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle first;
static struct vbuf_atomic_u64 shown;

static void finish(void)
{
    check_all_is_there();
    destroy_map();
}

/* ---- a value got under a pin, its slot removed, reclaimed and used again ---- */

static void set_up_one(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    options.max_limbo = 1;
    make_map(options);
    first = insert(1);
}

static void get_first(void)
{
    slotmap_pin(map);
    const struct value *value = slotmap_get(map, first);
    if (value != NULL) {
        check_value(value, 1);
        slotmap_contains(map, first); /* others may go on in between */
        check_value(value, 1);
    }
    slotmap_unpin(map);
    EXPLORE(value != NULL || !slotmap_contains(map, first));
}

static void replace(void)
{
    take_out(1, first);
    slotmap_collect(map);
    slotmap_handle handle;
    enum vbuf_status status = try_insert(2, &handle);
    EXPLORE(status == VBUF_OK || status == VBUF_BUSY); /* busy: the value is pinned */
    EXPLORE(!slotmap_contains(map, first));
}

const struct explore_scenario slotmap_get_reuse = {
    .name = "slotmap.get-reuse",
    .checks = "S1 S3",
    .set_up = set_up_one,
    .threads = {get_first, replace},
    .finish = finish,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_get_reuse_full_fence = {
    .name = "slotmap.get-reuse-full-fence",
    .checks = "S1 S3",
    .set_up = set_up_one,
    .threads = {get_first, replace},
    .finish = finish,
    .full_fence = true,
    NOTHING_FAILS,
};

/* ---- handles that are passed on without any ordering; what the remover saw, and what it looks at ---- */

static void set_up_two(void)
{
    make_map(usual_options());
}

static void insert_and_show(void)
{
    show(&shown, insert(1));
    insert(2);
}

static void read_shown(void)
{
    slotmap_handle handle = look(&shown);
    struct value value;
    if (slotmap_read(map, handle, &value) == VBUF_OK)
        check_value(&value, 1);
}

static void remove_shown(void)
{
    slotmap_handle handle = look(&shown);
    void *removed_value;
    slotmap_pin(map);
    if (slotmap_remove(map, handle, &removed_value) == VBUF_OK) {
        removed[1] = 1;
        slotmap_collect(map);
        check_value(removed_value, 1); /* our own pin protects it */
        EXPLORE(!slotmap_contains(map, handle));
    }
    slotmap_unpin(map);
}

const struct explore_scenario slotmap_get_shown = {
    .name = "slotmap.get-shown",
    .checks = "S3",
    .set_up = set_up_two,
    .threads = {insert_and_show, read_shown, remove_shown},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- bits that are nobody's handle ---- */

static void get_any_bits(void)
{
    uint64_t index = slotmap_handle_to_u64(first) & UINT32_MAX;
    uint64_t generation = slotmap_handle_to_u64(first) >> 32;
    const uint64_t bits[] = {0,
                             index,                          /* never lived */
                             (generation - 1) << 32 | index, /* vacant before */
                             (generation + 1) << 32 | index, /* vacant after */
                             UINT64_C(1) << 32,              /* slot 0 */
                             UINT64_MAX,
                             UINT64_C(1) << 32 | (slotmap_capacity(map) + 1),
                             generation << 32 | 12};
    slotmap_pin(map);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        EXPLORE(slotmap_get(map, slotmap_handle_from_u64(bits[i])) == NULL);
        EXPLORE(slotmap_remove(map, slotmap_handle_from_u64(bits[i]), NULL) == VBUF_STALE);
    }
    slotmap_unpin(map);
}

static void remove_first(void)
{
    take_out(1, first);
}

const struct explore_scenario slotmap_get_any_bits = {
    .name = "slotmap.get-any-bits",
    .checks = "S1",
    .set_up = set_up_one,
    .threads = {get_any_bits, remove_first},
    .finish = finish,
    NOTHING_FAILS,
};
