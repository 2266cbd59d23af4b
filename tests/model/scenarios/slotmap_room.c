/*
 * slotmap_room.c - max_len, exactly: room that is taken back from threads that run, sleep, or are gone.
 *
 * Two things are checked. Never more than max_len: a thread counts its value before its remove and after its
 * insert, and nobody sees more than max_len of another's handles resolve. VBUF_FULL only if max_len: a thread
 * whose insert was refused was not alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static struct vbuf_atomic_u32 live;     /* surely */
static struct vbuf_atomic_u64 activity; /* {sections begun or ended 32, under way 32} */
static struct vbuf_atomic_u64 shown[EXPLORE_MOST_THREADS + 1];

static struct slotmap_options lean_options(size_t max_len)
{
    struct slotmap_options options = usual_options();
    options.max_len = max_len;
    options.max_limbo = 16; /* nobody collects */
    options.max_threads = 3;
    options.destroy = NULL;
    return options;
}

/* How many others' values this thread still finds; looked at one after the other. */
static size_t count_others(void)
{
    size_t count = 0;
    for (unsigned i = 1; i <= EXPLORE_MOST_THREADS; i++)
        count += i != explore_self() && slotmap_contains(map, look(&shown[i]));
    return count;
}

/* Inserts, looks, removes. False: full. */
static bool come_and_go(void)
{
    uint64_t before = vbuf_u64_fetch_add_acq_rel(&activity, (UINT64_C(1) << 32) + 1);
    struct value value = {1, 1};
    slotmap_handle handle;
    enum vbuf_status status = slotmap_insert(map, &value, &handle);
    if (status == VBUF_OK) {
        uint32_t others = vbuf_u32_fetch_add_relaxed(&live, 1);
        EXPLORE(others < map_of(map)->max_len);
        EXPLORE(map_of(map)->max_len != 1 || count_others() == 0);
        show(&shown[explore_self()], handle);
        vbuf_u32_fetch_add_relaxed(&live, UINT32_MAX); /* minus 1 */
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
    } else {
        uint64_t after = vbuf_u64_fetch_add_acq_rel(&activity, 0);
        EXPLORE(status == VBUF_FULL);
        bool alone = (uint32_t)before < map_of(map)->max_len && before >> 32 == (after >> 32) - 1;
        EXPLORE(!alone);
    }
    vbuf_u64_fetch_add_acq_rel(&activity, (UINT64_C(1) << 32) - 1);
    return status == VBUF_OK;
}

static void once(void)
{
    come_and_go();
}

static void twice(void)
{
    come_and_go();
    come_and_go();
}

static void finish(void)
{
    EXPLORE(slotmap_len(map) == 0);
    slotmap_handle handles[3];
    for (size_t i = 0; i < map_of(map)->max_len; i++)
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[i]) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    slotmap_destroy(map);
}

/* Has each of the numbers hold a room, unused. */
static void spread_room(uint32_t numbers)
{
    slotmap_handle handles[3];
    for (uint32_t i = 1; i <= numbers; i++) {
        act_as(i);
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[i - 1]) == VBUF_OK);
    }
    for (uint32_t i = 1; i <= numbers; i++) {
        act_as(i);
        EXPLORE(slotmap_remove(map, handles[i - 1], NULL) == VBUF_OK);
    }
    exit_all();
}

/* ---- one room ---- */

static void set_up_one(void)
{
    make_map(lean_options(1));
}

const struct explore_scenario slotmap_room_one = {
    .name = "slotmap.room-one",
    .checks = "S5",
    .set_up = set_up_one,
    .threads = {twice, once},
    .finish = finish,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_room_one_full_fence = {
    .name = "slotmap.room-one-full-fence",
    .checks = "S5",
    .set_up = set_up_one,
    .threads = {twice, once},
    .finish = finish,
    .full_fence = true,
    NOTHING_FAILS,
};

/* ---- two rooms, three threads ---- */

static void set_up_two(void)
{
    make_map(lean_options(2));
    spread_room(2);
}

const struct explore_scenario slotmap_room_two = {
    .name = "slotmap.room-two",
    .checks = "S5",
    .set_up = set_up_two,
    .threads = {once, once, once},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- all room is with a thread that sleeps, and two others want one each: both must get it ---- */

static void set_up_asleep(void)
{
    make_map(lean_options(2));
    slotmap_handle handles[2];
    for (int i = 0; i < 2; i++)
        EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handles[i]) == VBUF_OK);
    for (int i = 0; i < 2; i++)
        EXPLORE(slotmap_remove(map, handles[i], NULL) == VBUF_OK);
}

static void come_and_stay(void)
{
    slotmap_handle handle;
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handle) == VBUF_OK);
    show(&shown[explore_self()], handle);
}

static void finish_stayed(void)
{
    EXPLORE(slotmap_len(map) == 2);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, NULL) == VBUF_FULL);
    for (int i = 1; i <= 2; i++)
        EXPLORE(slotmap_remove(map, look(&shown[i]), NULL) == VBUF_OK);
    finish();
}

const struct explore_scenario slotmap_room_asleep = {
    .name = "slotmap.room-asleep",
    .checks = "S5",
    .set_up = set_up_asleep,
    .threads = {come_and_stay, come_and_stay},
    .finish = finish_stayed,
    NOTHING_FAILS,
};

/* ---- more room than a thread should have goes to the pool ---- */

static void set_up_surplus(void)
{
    make_map(lean_options(3));
}

static void give_surplus(void)
{
    slotmap_handle handles[3];
    int count = 0;
    while (count < 3 && slotmap_insert(map, &(struct value){1, 1}, &handles[count]) == VBUF_OK)
        count++;
    if (count > 0)
        show(&shown[explore_self()], handles[count - 1]);
    for (int i = 0; i < count; i++)
        EXPLORE(slotmap_remove(map, handles[i], NULL) == VBUF_OK);
    turn_over();
}

static void fill(void)
{
    int count = 0;
    slotmap_handle handles[3];
    while (count < 3 && slotmap_insert(map, &(struct value){1, 1}, &handles[count]) == VBUF_OK) {
        count++;
        EXPLORE(count_others() + (size_t)count <= 3);
    }
    for (int i = 0; i < count; i++)
        EXPLORE(slotmap_remove(map, handles[i], NULL) == VBUF_OK);
}

const struct explore_scenario slotmap_room_surplus = {
    .name = "slotmap.room-surplus",
    .checks = "S5",
    .set_up = set_up_surplus,
    .threads = {give_surplus, fill},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- the system refuses the barrier: busy, and nothing is lost ---- */

static void insert_or_busy(void)
{
    slotmap_handle handle;
    enum vbuf_status status = slotmap_insert(map, &(struct value){1, 1}, &handle);
    EXPLORE(status == VBUF_OK || status == VBUF_BUSY || status == VBUF_NOMEM);
    if (status == VBUF_OK)
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
}

const struct explore_scenario slotmap_room_refused = {
    .name = "slotmap.room-refused",
    .checks = "S5",
    .set_up = set_up_two,
    .threads = {insert_or_busy, insert_or_busy},
    .finish = finish,
    .barriers_fail = true,
};
