/*
 * slotmap_commit.c - growth by several threads, with memory that may be refused at any point.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];

/* ---- a hook that refuses: some commits in a row, or all large ones ---- */

static unsigned commits, refused_from, refused_to;
static size_t refused_size = SIZE_MAX;

static bool is_allowed(void *context, size_t bytes)
{
    (void)context;
    unsigned number = commits++;
    return (number < 2 || bytes < refused_size) && (number < refused_from || number >= refused_to);
}

/* Few slots to a page, so that every insert makes the map grow. */
static void set_up(void)
{
    struct slotmap_options options = usual_options();
    options.value_align = 128;
    options.value_size = 128;
    options.max_len = 3;
    make_map(options);
    map_of(map)->chunk = 1;
}

static void set_up_hook(void)
{
    struct slotmap_options options = usual_options();
    options.value_align = 128;
    options.value_size = 128;
    options.max_len = 3;
    options.on_commit = is_allowed;
    make_map(options);
    map_of(map)->chunk = 1;
    commits = 0;
    unsigned choice = explore_choose(6);
    if (choice == 0) {
        refused_size = 257;
    } else {
        refused_from = choice - 1;
        refused_to = refused_from + 4;
    }
}

static void insert_some(void)
{
    struct {
        struct value value;
        char rest[128 - sizeof(struct value)];
    } whole = {0};
    for (unsigned i = 0; i < 2; i++) {
        unsigned number = 8 * explore_self() + i;
        whole.value = (struct value){number, number};
        enum vbuf_status status = slotmap_insert(map, &whole, &handles[number]);
        EXPLORE(status == VBUF_OK || status == VBUF_NOMEM || status == VBUF_FULL);
        EXPLORE(status != VBUF_NOMEM || refused_to != 0 || explore_refusals() != 0);
        if (status != VBUF_OK)
            continue;
        inserted[number] = 1;
        slotmap_pin(map);
        check_value(slotmap_get(map, handles[number]), number);
        slotmap_unpin(map);
    }
}

static void finish(void)
{
    size_t count = 0;
    refused_to = 0;
    for (unsigned i = 0; i < MOST_VALUES; i++) {
        count += inserted[i];
        EXPLORE(slotmap_contains(map, handles[i]) == (inserted[i] != 0));
    }
    EXPLORE(slotmap_len(map) == count);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    slotmap_pin(map);
    while (slotmap_iter_next(&iter, NULL) != NULL)
        count--;
    slotmap_unpin(map);
    EXPLORE(count == 0);
    unsigned char value[128] = {0};
    while (slotmap_len(map) < 3)
        EXPLORE(slotmap_insert(map, value, NULL) == VBUF_OK);
    EXPLORE(slotmap_insert(map, value, NULL) == VBUF_FULL);
    map_of(map)->destroy = NULL;
    slotmap_destroy(map);
}

const struct explore_scenario slotmap_commit_refused = {
    .name = "slotmap.commit-refused",
    .checks = "S5",
    .set_up = set_up,
    .threads = {insert_some, insert_some},
    .finish = finish,
    .bounds = {.failures = 2},
};

const struct explore_scenario slotmap_commit_race = {
    .name = "slotmap.commit-race",
    .checks = "S5",
    .set_up = set_up,
    .threads = {insert_some, insert_some},
    .finish = finish,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_commit_hook = {
    .name = "slotmap.commit-hook",
    .checks = "S5",
    .set_up = set_up_hook,
    .threads = {insert_some},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- growth that comes late, and then is refused: what others have grown stays in sight ---- */

static unsigned commits_of_first;

static bool is_allowed_once(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    return vbuf_self_.id != 1 || commits_of_first++ == 0;
}

static void set_up_late(void)
{
    struct slotmap_options options = usual_options();
    options.value_align = 128;
    options.value_size = 128;
    options.max_len = 3;
    options.on_commit = is_allowed_once;
    make_map(options);
    map_of(map)->chunk = 1;
    give_room(1, 1);
    give_room(2, 2);
    exit_all();
    commits_of_first = 0;
}

static void insert_large(unsigned number)
{
    uint64_t value[16] = {number, number};
    enum vbuf_status status = slotmap_insert(map, value, &handles[number]);
    EXPLORE(status == VBUF_OK || (status == VBUF_NOMEM && vbuf_self_.id == 1));
    inserted[number] = status == VBUF_OK;
}

static void grow_late(void)
{
    line_up(2);
    insert_large(1);
}

static void grow_twice(void)
{
    line_up(2);
    insert_large(2);
    insert_large(3);
}

static void finish_late(void)
{
    commits_of_first = 0;
    map_of(map)->memory.on_commit = NULL;
    finish();
}

const struct explore_scenario slotmap_commit_late = {
    .name = "slotmap.commit-late",
    .checks = "S5",
    .set_up = set_up_late,
    .threads = {grow_late, grow_twice},
    .finish = finish_late,
    NOTHING_FAILS,
};
