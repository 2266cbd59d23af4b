/*
 * slotmap_room.c - max_len, exactly: room that owner and takers want at the same time. Never are more than max_len
 * values live; and who has room gets it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static unsigned stayed[EXPLORE_MOST_THREADS + 1];
static struct vbuf_atomic_u64 shown;

static struct slotmap_options lean_options(size_t max_len)
{
    struct slotmap_options options = usual_options();
    options.max_len = max_len;
    options.max_limbo = 16; /* nobody collects */
    options.destroy = NULL;
    return options;
}

/* Inserts a value that stays. */
static enum vbuf_status stay(void)
{
    enum vbuf_status status = slotmap_insert(map, &(struct value){1, 1}, NULL);
    stayed[explore_self()] += status == VBUF_OK;
    return status;
}

static void stay_once(void)
{
    enum vbuf_status status = stay();
    EXPLORE(status == VBUF_OK || status == VBUF_FULL);
}

static void stay_twice(void)
{
    stay_once();
    stay_once();
}

static size_t all_stayed(void)
{
    size_t sum = 0;
    for (unsigned i = 0; i <= EXPLORE_MOST_THREADS; i++)
        sum += stayed[i];
    return sum;
}

/* More wanted to stay than may. */
static void finish_full(void)
{
    EXPLORE(all_stayed() == map_of(map)->max_len);
    EXPLORE(slotmap_len(map) == map_of(map)->max_len);
    EXPLORE(stay() == VBUF_FULL);
    check_slots();
    slotmap_destroy(map);
}

/* ---- an owner with room uses it while it is taken back; the other room is with a thread that sleeps ---- */

static void make_owner(void)
{
    make_map(lean_options(2));
    map_of(map)->chunk = 1 + explore_choose(2); /* the second: a free slot, so inlined calls do */
    act_as(1);
    slotmap_handle handle;
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handle) == VBUF_OK);
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
}

static void set_up_owner(void)
{
    make_owner();
    give_room(3, 1);
    exit_up_to(2);
}

const struct explore_scenario slotmap_room_owner = {
    .name = "slotmap.room-owner",
    .checks = "S5",
    .set_up = set_up_owner,
    .threads = {stay_twice, stay_once},
    .finish = finish_full,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_room_owner_full_fence = {
    .name = "slotmap.room-owner-full-fence",
    .checks = "S5",
    .set_up = set_up_owner,
    .threads = {stay_twice, stay_once},
    .finish = finish_full,
    .full_fence = true,
    NOTHING_FAILS,
};

/* ---- the same, and the owner gets more from elsewhere while the taker looks ---- */

static struct vbuf_atomic_u32 first_is_in, taker_is_through;

static bool room_is_taken(const void *context)
{
    (void)context;
    return part_at(map_of(map), 1)->head.granted.raw == 0 || taker_is_through.raw != 0;
}

/* The second, when a taker that knew nothing of the first has taken the room under it. */
static void stay_twice_later(void)
{
    line_up(2);
    stay_once();
    raise_blindly(&first_is_in);
    explore_wait(room_is_taken, NULL);
    stay_once();
}

static void stay_lined_up(void)
{
    line_up(2);
    stay_once();
}

static void stay_and_tell(void)
{
    line_up(2);
    wait_blindly(&first_is_in);
    stay_once();
    raise_blindly(&taker_is_through);
}

const struct explore_scenario slotmap_room_taker_first = {
    .name = "slotmap.room-taker-first",
    .checks = "S5",
    .set_up = set_up_owner,
    .threads = {stay_twice_later, stay_and_tell},
    .finish = finish_full,
    .bounds = {.failures = EXPLORE_NONE, .preemptions = 1, .reorders = EXPLORE_NONE},
};

/* ---- the same with one insert each: both fit ---- */

static void stay_as_well(void)
{
    line_up(2);
    EXPLORE(stay() == VBUF_OK);
}

const struct explore_scenario slotmap_room_enough = {
    .name = "slotmap.room-enough",
    .checks = "S5",
    .set_up = set_up_owner,
    .threads = {stay_as_well, stay_as_well},
    .finish = finish_full,
    .bounds = {.failures = EXPLORE_NONE, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- one room, its owner, one taker ---- */

static void set_up_pair(void)
{
    make_map(lean_options(1));
    map_of(map)->chunk = 2;
    act_as(1);
    slotmap_handle handle;
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &handle) == VBUF_OK);
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
    act_as(2);
    map_own_part(map_of(map));
    exit_all();
}

const struct explore_scenario slotmap_room_pair = {
    .name = "slotmap.room-pair",
    .checks = "S5",
    .set_up = set_up_pair,
    .threads = {stay_lined_up, stay_lined_up},
    .finish = finish_full,
    NOTHING_FAILS,
};

/* ---- the same; the owner's value is gone again before the taker looks ---- */

static void come_and_go(void)
{
    line_up(2);
    slotmap_handle handle;
    if (slotmap_insert(map, &(struct value){1, 1}, &handle) != VBUF_OK)
        return;
    show(&shown, handle);
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
}

static void stay_and_look(void)
{
    line_up(2);
    if (stay() == VBUF_OK)
        EXPLORE(!slotmap_contains(map, look(&shown)));
}

static void finish_any(void)
{
    if (all_stayed() == 0)
        stay_once();
    finish_full();
}

const struct explore_scenario slotmap_room_gone_again = {
    .name = "slotmap.room-gone-again",
    .checks = "S5",
    .set_up = set_up_pair,
    .threads = {come_and_go, stay_and_look},
    .finish = finish_any,
    .bounds = {.failures = EXPLORE_NONE, .reorders = EXPLORE_NONE, .together = 4},
};

/* ---- two take back from the same, and from each other ---- */

static void set_up_three(void)
{
    make_map(lean_options(2));
    if (explore_choose(2) == 0)
        give_room(1, 2);
    else
        give_room(4, 2);
    exit_up_to(3);
}

const struct explore_scenario slotmap_room_three = {
    .name = "slotmap.room-three",
    .checks = "S5",
    .set_up = set_up_three,
    .threads = {stay_once, stay_once, stay_once},
    .finish = finish_full,
    NOTHING_FAILS,
};

/* ---- several rooms at a time: from the pool, or from a thread that sleeps ---- */

static void set_up_batch(void)
{
    make_map(lean_options(2));
    map_of(map)->room_batch = 2;
    if (explore_choose(2) != 0)
        give_room(3, 2);
    act_as(3);
    exit_up_to(2);
}

/* One of the two rooms is its own, whatever the other does. */
static void stay_for_sure(void)
{
    EXPLORE(stay() == VBUF_OK);
    stay_once();
}

const struct explore_scenario slotmap_room_batch = {
    .name = "slotmap.room-batch",
    .checks = "S5",
    .set_up = set_up_batch,
    .threads = {stay_once, stay_for_sure},
    .finish = finish_full,
    NOTHING_FAILS,
};

/* ---- who gets the room of a removed value does not find that value any more ---- */

static slotmap_handle first;

static void set_up_handover(void)
{
    make_map(lean_options(1));
    act_as(1);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &first) == VBUF_OK);
    exit_all();
}

static void leave(void)
{
    EXPLORE(slotmap_remove(map, first, NULL) == VBUF_OK);
}

static void come(void)
{
    if (stay() == VBUF_OK)
        EXPLORE(!slotmap_contains(map, first));
}

static void come_lined_up(void)
{
    line_up(2);
    come();
}

static void leave_lined_up(void)
{
    line_up(2);
    leave();
}

static void finish_handover(void)
{
    EXPLORE(all_stayed() == slotmap_len(map));
    if (all_stayed() == 0)
        stay_once();
    finish_full();
}

const struct explore_scenario slotmap_room_handover = {
    .name = "slotmap.room-handover",
    .checks = "S5",
    .set_up = set_up_handover,
    .threads = {leave_lined_up, come_lined_up},
    .finish = finish_handover,
    NOTHING_FAILS,
};

/* ---- the same; who removes did not see at first that it has a part: another has made it ---- */

static void set_up_first_call(void)
{
    make_map(lean_options(1));
    act_as(2);
    map_own_part(map_of(map));
    act_as(1);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &first) == VBUF_OK);
    exit_all();
}

static void leave_slowly(void)
{
    line_up(2);
    struct slotmap_slot_ *slot;
    EXPLORE(slotmap_unlink_(map, first.bits, map->slot_size_, SLOTMAP_REMOVED_, &slot) == VBUF_OK);
    slotmap_bury_slow_(map, (uint32_t)first.bits);
}

const struct explore_scenario slotmap_room_first_call = {
    .name = "slotmap.room-first-call",
    .checks = "S5",
    .set_up = set_up_first_call,
    .threads = {leave_slowly, come_lined_up},
    .finish = finish_handover,
    NOTHING_FAILS,
};

/* ---- the same, by the pool: more than a thread should keep ---- */

static void set_up_by_pool(void)
{
    make_map(lean_options(3));
    give_room(1, 3);
    EXPLORE(slotmap_insert(map, &(struct value){1, 1}, &first) == VBUF_OK);
    act_as(2);
    exit_up_to(2);
}

static void leave_by_pool(void)
{
    leave();
    turn_over();
}

static void come_thrice(void)
{
    unsigned count = 0;
    while (count < 3 && stay() == VBUF_OK)
        count++;
    EXPLORE(count >= 2 && (count == 2 || !slotmap_contains(map, first)));
}

static void finish_by_pool(void)
{
    while (all_stayed() < 3)
        EXPLORE(stay() == VBUF_OK);
    finish_full();
}

const struct explore_scenario slotmap_room_by_pool = {
    .name = "slotmap.room-by-pool",
    .checks = "S5",
    .set_up = set_up_by_pool,
    .threads = {leave_by_pool, come_thrice},
    .finish = finish_by_pool,
    NOTHING_FAILS,
};

/* ---- the system refuses the barrier: busy, and no room is lost ---- */

static void stay_or_busy(void)
{
    enum vbuf_status status = stay();
    EXPLORE(status == VBUF_OK || (explore_refusals() != 0 && status != VBUF_FULL));
}

static void finish_refused(void)
{
    while (all_stayed() < 2)
        EXPLORE(stay() == VBUF_OK);
    finish_full();
}

const struct explore_scenario slotmap_room_refused = {
    .name = "slotmap.room-refused",
    .checks = "S5",
    .set_up = set_up_owner,
    .threads = {stay_or_busy, stay_or_busy},
    .finish = finish_refused,
    .barriers_fail = true,
};

/* ---- the same, of one that sleeps: it is not tried again ---- */

static void set_up_refused_once(void)
{
    make_map(lean_options(2));
    give_room(1, 1);
    give_room(2, 1);
    act_as(3);
    EXPLORE(slotmap_reserve(map, 2, false) == VBUF_OK); /* nothing else can be refused */
}

static void stay_unless_refused(void)
{
    vbuf_thread_set_number(3);
    enum vbuf_status status = stay();
    EXPLORE(status == (explore_refusals() != 0 ? VBUF_BUSY : VBUF_OK));
}

const struct explore_scenario slotmap_room_refused_once = {
    .name = "slotmap.room-refused-once",
    .checks = "S5",
    .set_up = set_up_refused_once,
    .threads = {stay_unless_refused},
    .finish = finish_refused,
    .barriers_fail = true,
};
