/*
 * slotmap_fork.c - E3: a fork's child, whose parent's other threads were stopped anywhere. There every slot is
 * somewhere once, the figures are those of what is there, max_len values fit, what the child removes is reclaimed, and no
 * value is destroyed twice.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "slotmap_scenario.h"

static slotmap_handle handles[MOST_VALUES];
static bool is_child;

/* Where a thread may be stopped in a destructor: before the value is gone, and after. */
static struct vbuf_atomic_u32 destructors;

static void destroy_slowly(void *context, void *memory)
{
    raise_blindly(&destructors);
    destroy_value(context, memory);
    raise_blindly(&destructors);
}

static struct slotmap_options fork_options(void)
{
    struct slotmap_options options = usual_options();
    options.destroy = destroy_slowly;
    return options;
}

/* Unless another thread was faster. */
static void remove_if_there(uint64_t number)
{
    if (slotmap_remove(map, handles[number], NULL) == VBUF_OK)
        removed[number] = 1;
}

static void come_and_go(uint64_t number)
{
    if (try_insert(number, &handles[number]) == VBUF_OK)
        take_out(number, handles[number]);
}

static void collect(void)
{
    slotmap_collect(map);
}

/* ---- what must hold in the child ---- */

/* Slots that count as live, by their words. */
static size_t count_in_use(void)
{
    size_t count = 0;
    for (uint32_t i = 1; i < vbuf_u32_load_relaxed(&map_of(map)->made); i++) {
        enum slotmap_state_ state =
            state_of(vbuf_u32_load_relaxed(&slot_at(map_of(map), i)->generation));
        count += is_in_use(state) || state == SLOTMAP_INVALIDATED_;
    }
    return count;
}

static uint64_t count_list(uint32_t index)
{
    uint64_t count = 0;
    for (; index != 0; index = link_of(map_of(map), index)) {
        uint32_t generation = vbuf_u32_load_relaxed(&slot_at(map_of(map), index)->generation);
        count += state_of(generation) != SLOTMAP_INVALIDATED_;
    }
    return count;
}

static uint64_t count_limbo(void)
{
    uint64_t count = count_list(vbuf_u32_load_relaxed(&map_of(map)->orphans));
    for (uint32_t i = 0; i <= vbuf_u32_load_relaxed(&map->thread_limit_); i++) {
        const struct part *part = part_at(map_of(map), i);
        count += count_list(part->head.open_first);
        count += count_list((uint32_t)part->limbo.bags[0].chain.first);
        count += count_list((uint32_t)part->limbo.bags[1].chain.first);
        count += count_list((uint32_t)part->limbo.ready.first);
    }
    return count;
}

static uint64_t count_dropped(void)
{
    uint64_t count = 0;
    for (uint32_t i = 1; i < vbuf_u32_load_relaxed(&map_of(map)->made); i++) {
        uint32_t generation = vbuf_u32_load_relaxed(&slot_at(map_of(map), i)->generation);
        count += generation > SLOTMAP_LAST_GENERATION && state_of(generation) != SLOTMAP_HELD_;
    }
    return count;
}

/* Room is where it can be had: max_len in all. */
static void check_room(void)
{
    uint64_t room = vbuf_u64_load_relaxed(&map_of(map)->pool);
    for (uint32_t i = 0; i <= vbuf_u32_load_relaxed(&map->thread_limit_); i++) {
        const struct slotmap_thread_ *thread = &part_at(map_of(map), i)->head;
        uint64_t granted = vbuf_u64_load_relaxed(&thread->granted);
        EXPLORE((int64_t)(granted + vbuf_u64_load_relaxed(&thread->removed) -
                          vbuf_u64_load_relaxed(&thread->inserted)) >= 0);
        room += granted;
    }
    EXPLORE(room == map_of(map)->max_len);
}

static struct slotmap_report stats_now(void)
{
    struct slotmap_report stats;
    EXPLORE(slotmap_stats(map, &stats) == VBUF_OK);
    return stats;
}

static void check_stats(void)
{
    struct slotmap_report stats = stats_now();
    EXPLORE(stats.len == count_in_use() && slotmap_len(map) == stats.len);
    EXPLORE(stats.inserted - stats.removed == stats.len);
    EXPLORE(stats.removed - stats.destroyed == stats.limbo);
    EXPLORE(stats.limbo == count_limbo());
}

static void check_whole(void)
{
    check_slots();
    check_stats();
    check_room();
}

/* Values that the child can see, each once and whole; how many. */
static size_t check_values(bool *lives)
{
    size_t count = 0;
    slotmap_handle handle;
    struct value *value;
    slotmap_pin(map);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    while ((value = slotmap_iter_next(&iter, &handle)) != NULL) {
        EXPLORE(value->number < MOST_VALUES && value->copy == value->number);
        EXPLORE(!lives[value->number] && destroyed[value->number] == 0);
        lives[value->number] = true;
        handles[value->number] = handle;
        count++;
    }
    slotmap_unpin(map);
    return count;
}

/* As many values fit as there is room for; from this number down. */
static uint64_t fill(uint64_t number)
{
    for (size_t len = slotmap_len(map); len < map_of(map)->max_len; len++, number--)
        handles[number] = insert(number);
    EXPLORE(try_insert(number, NULL) == VBUF_FULL);
    return number;
}

/* All of it works. What is claimed or invalidated, and in nobody's hands, stays so. */
static void use_everything(void)
{
    bool lives[MOST_VALUES] = {false};
    is_child = true;
    check_whole();
    size_t live = check_values(lives), others = slotmap_len(map) - live;
    uint64_t last = MOST_VALUES - 1, next = fill(last);
    check_whole();
    for (uint64_t i = 0; i < MOST_VALUES; i++) {
        if (lives[i] || i > next)
            take_out(i, handles[i]);
    }
    collect();
    for (uint64_t i = 0; i < MOST_VALUES; i++)
        EXPLORE(!(lives[i] || i > next) || map_of(map)->revivable || destroyed[i] == 1);
    EXPLORE(stats_now().limbo == 0 && slotmap_len(map) == others);
    check_whole();
    fill(next);
    check_whole();
}

static void fork_and_use(void)
{
    explore_fork();
    use_everything();
}

static void finish(void)
{
    bool lives[MOST_VALUES] = {false};
    EXPLORE(is_child);
    check_values(lives);
    slotmap_destroy(map);
    for (unsigned i = 0; i < MOST_VALUES; i++)
        EXPLORE(!lives[i] || destroyed[i] == 1);
}

/* ---- threads that insert, remove, reclaim, take over; and one that sleeps ---- */

/* Number 1 and 2 have something on each list, and are gone; 3 sleeps with a removed value. */
static void set_up(void)
{
    struct slotmap_options options = fork_options();
    options.max_len = 4;
    options.max_limbo = 4;
    make_map(options);
    for (unsigned i = 1; i <= 3; i++) {
        act_as(i);
        handles[i] = insert(i);
        handles[i + 3] = insert(i + 3);
        take_out(i, handles[i]);
        if (i == 1) {
            turn_over();
            take_out(4, handles[4]);
        }
    }
    exit_up_to(2);
}

static void churn(void)
{
    come_and_go(10 + explore_self());
    turn_over();
    remove_if_there(5);
    come_and_go(20 + explore_self());
}

const struct explore_scenario slotmap_fork_churn = {
    .name = "slotmap.fork-churn",
    .checks = "E3 S5 S6",
    .set_up = set_up,
    .threads = {churn, collect, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* Stopped between two plain writes: half-updated lists. */
const struct explore_scenario slotmap_fork_halves = {
    .name = "slotmap.fork-halves",
    .checks = "E3 S5 S6",
    .set_up = set_up,
    .threads = {churn, fork_and_use},
    .finish = finish,
    .writes_are_steps = true,
    NOTHING_FAILS,
};

/* The same of who takes lists over. */
const struct explore_scenario slotmap_fork_half_taken = {
    .name = "slotmap.fork-half-taken",
    .checks = "E3 S5 S6",
    .set_up = set_up,
    .threads = {collect, fork_and_use},
    .finish = finish,
    .writes_are_steps = true,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_fork_collectors = {
    .name = "slotmap.fork-collectors",
    .checks = "E3 S5 S6",
    .set_up = set_up,
    .threads = {collect, collect, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- the same, and the system has no memory for the child ---- */

/* There are chunks, and number 3 has left something with the orphans: its lists were being taken over. */
static void set_up_refused(void)
{
    set_up();
    vbuf_thread_set_number(3);
    collect();
    struct part *part = part_at(map_of(map), 3);
    vbuf_u64_store_relaxed(&part->head.frozen, 2 | SLOTMAP_TAKING_);
    take_out(6, handles[6]);
    vbuf_u64_store_relaxed(&part->head.frozen, 0);
    take_out(5, handles[5]);
    vbuf_thread_set_number(0);
}

static void finish_refused(void)
{
    EXPLORE(is_child);
    slotmap_destroy(map);
}

static void fork_without_memory(void)
{
    unsigned before = explore_refusals();
    explore_fork();
    if (explore_refusals() == before)
        return use_everything();
    is_child = true;
    check_whole();
    bool lives[MOST_VALUES] = {false};
    check_values(lives);
}

const struct explore_scenario slotmap_fork_refused = {
    .name = "slotmap.fork-refused",
    .checks = "E3 S6",
    .set_up = set_up_refused,
    .threads = {churn, fork_without_memory},
    .finish = finish_refused,
};

/* ---- the forking thread's own lists were being taken over ---- */

/* The number, and lists, of the thread that forks, whose lists have something on them. */
static void fork_as_three(void)
{
    vbuf_thread_set_number(3);
    explore_fork();
    use_everything();
}

static void collect_twice(void)
{
    collect();
    collect();
}

const struct explore_scenario slotmap_fork_own = {
    .name = "slotmap.fork-own",
    .checks = "E3 S5 S6 S9",
    .set_up = set_up,
    .threads = {collect_twice, fork_as_three},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- who sleeps keeps what it has: nobody is at its lists ---- */

static void churn_a_little(void)
{
    come_and_go(10);
}

static void fork_and_collect(void)
{
    explore_fork();
    is_child = true;
    check_whole();
    collect();
    EXPLORE(destroyed[3] == 1);
    check_whole();
}

const struct explore_scenario slotmap_fork_sleeper = {
    .name = "slotmap.fork-sleeper",
    .checks = "E3 S9",
    .set_up = set_up,
    .threads = {churn_a_little, fork_and_collect},
    .finish = finish,
    NOTHING_FAILS,
};

/* The same, and what it has waits in both bags. */
static void set_up_bags(void)
{
    struct slotmap_options options = fork_options();
    options.max_len = 3;
    options.max_limbo = 3;
    make_map(options);
    act_as(1);
    for (unsigned i = 2; i <= 3; i++)
        handles[i] = insert(i);
    slotmap_pin(map); /* so that the epoch takes one step, and no more */
    for (unsigned i = 2; i <= 3; i++) {
        take_out(i, handles[i]);
        turn_over();
    }
    slotmap_unpin(map);
    EXPLORE(part_at(map_of(map), 1)->limbo.bags[1].chain.count == 1);
}

const struct explore_scenario slotmap_fork_bags = {
    .name = "slotmap.fork-bags",
    .checks = "E3 S9",
    .set_up = set_up_bags,
    .threads = {churn_a_little, fork_and_collect},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- room was on its way ---- */

static void set_up_room(void)
{
    struct slotmap_options options = fork_options();
    options.max_len = 3;
    make_map(options);
    map_of(map)->room_batch = 1 + explore_choose(2);
    give_room(3, 1 + explore_choose(2));
    handles[3] = insert(3);
    exit_up_to(2);
}

static void insert_two(void)
{
    try_insert(10 + explore_self(), NULL);
    try_insert(20 + explore_self(), NULL);
    room_share_surplus(map_of(map), map_own_part(map_of(map)));
}

static void come_and_go_as_three(void)
{
    vbuf_thread_set_number(3);
    remove_if_there(3);
    come_and_go(13);
}

const struct explore_scenario slotmap_fork_room = {
    .name = "slotmap.fork-room",
    .checks = "E3 S5",
    .set_up = set_up_room,
    .threads = {insert_two, come_and_go_as_three, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* More than a thread may keep goes to the pool. */
static void set_up_surplus(void)
{
    struct slotmap_options options = fork_options();
    options.max_len = 4;
    make_map(options);
    give_room(1, 4);
    exit_up_to(1);
}

static void share_surplus(void)
{
    room_share_surplus(map_of(map), map_own_part(map_of(map)));
}

const struct explore_scenario slotmap_fork_surplus = {
    .name = "slotmap.fork-surplus",
    .checks = "E3 S5",
    .set_up = set_up_surplus,
    .threads = {share_surplus, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- threads without a part of their own ---- */

static void set_up_shared(void)
{
    struct slotmap_options options = fork_options();
    options.max_len = 3;
    options.max_threads = 1;
    make_map(options);
    act_as(1);
    for (unsigned i = 1; i <= 3; i++)
        handles[i] = insert(i);
    take_out(1, handles[1]);
    act_as(2);
    take_out(2, handles[2]);
}

static void churn_shared(void)
{
    come_and_go(10 + explore_self());
    turn_over();
    remove_if_there(3);
}

const struct explore_scenario slotmap_fork_shared = {
    .name = "slotmap.fork-shared",
    .checks = "E3 S5 S6",
    .set_up = set_up_shared,
    .threads = {churn_shared, churn_shared, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a pin of the forking thread goes on: what was removed under it stays as it was ---- */

static void set_up_pinned(void)
{
    make_map(fork_options());
    act_as(1);
    handles[1] = insert(1);
    exit_up_to(1);
}

static void remove_one(void)
{
    take_out(1, handles[1]);
    come_and_go(10);
}

static void fork_pinned(void)
{
    slotmap_pin(map);
    const struct value *value = slotmap_get(map, handles[1]);
    explore_fork();
    for (unsigned i = 20; i < 24; i++) {
        enum vbuf_status status = try_insert(i, &handles[i]);
        EXPLORE(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
        if (status == VBUF_OK)
            take_out(i, handles[i]);
    }
    collect();
    if (value != NULL)
        check_value(value, 1);
    slotmap_unpin(map);
    use_everything();
}

const struct explore_scenario slotmap_fork_pinned = {
    .name = "slotmap.fork-pinned",
    .checks = "E3 S3",
    .set_up = set_up_pinned,
    .threads = {remove_one, fork_pinned},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- claims, and several at a time ---- */

static struct vbuf_atomic_u64 claimed;

static void claim_and_end(void)
{
    slotmap_handle handle;
    void *memory;
    if (slotmap_claim(map, &handle, &memory) != VBUF_OK)
        return;
    *(struct value *)memory = (struct value){10, 10};
    show(&claimed, handle);
    inserted[10] = 1;
    EXPLORE(slotmap_publish(map, handle) == VBUF_OK);
    if (slotmap_claim(map, &handle, &memory) == VBUF_OK)
        EXPLORE(slotmap_cancel(map, handle) == VBUF_OK);
}

/* Whoever has the handle may still publish. */
static void fork_and_publish(void)
{
    explore_fork();
    slotmap_handle handle = look(&claimed);
    if (handle.bits != 0) {
        EXPLORE(slotmap_contains(map, handle) || slotmap_publish(map, handle) == VBUF_OK);
        EXPLORE(slotmap_contains(map, handle));
    }
    use_everything();
}

static void insert_many(void)
{
    struct value values[] = {{10, 10}, {11, 11}, {12, 12}};
    slotmap_insert_many(map, values, 3, NULL);
    slotmap_insert_many(map, values + 2, 1, NULL);
}

/* Somebody has had a number before. */
static void set_up_claims(void)
{
    make_map(fork_options());
    act_as(1);
    exit_up_to(1);
}

const struct explore_scenario slotmap_fork_claims = {
    .name = "slotmap.fork-claims",
    .checks = "E3 S6",
    .set_up = set_up_claims,
    .threads = {claim_and_end, fork_and_publish},
    .finish = finish,
    NOTHING_FAILS,
};

const struct explore_scenario slotmap_fork_many = {
    .name = "slotmap.fork-many",
    .checks = "E3 S6",
    .set_up = set_up_claims,
    .threads = {insert_many, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- values whose slots wait for their release ---- */

static bool released;

static void set_up_held(void)
{
    struct slotmap_options options = fork_options();
    options.revivable = explore_choose(2) != 0;
    make_map(options);
    handles[1] = insert(1);
    handles[2] = insert(2);
    EXPLORE(slotmap_invalidate(map, handles[2]) == VBUF_OK);
}

static void invalidate_and_release(void)
{
    EXPLORE(slotmap_invalidate(map, handles[1]) == VBUF_OK);
    EXPLORE(slotmap_release(map, handles[1]) == VBUF_OK);
    released = true;
}

/* The release of one that was invalidated, and not released, works; its slot is then whose turn it is. */
static void fork_and_release(void)
{
    explore_fork();
    check_whole();
    size_t before = slotmap_len(map);
    EXPLORE(slotmap_release(map, handles[2]) == VBUF_OK);
    if (!slotmap_contains(map, handles[1]))
        before -= slotmap_release(map, handles[1]) == VBUF_OK;
    EXPLORE(slotmap_len(map) == before - 1);
    use_everything();
}

const struct explore_scenario slotmap_fork_held = {
    .name = "slotmap.fork-held",
    .checks = "E3 S6",
    .set_up = set_up_held,
    .threads = {invalidate_and_release, collect, fork_and_release},
    .finish = finish,
    NOTHING_FAILS,
};

/* The child releases when all that was in limbo is gone. */
static void fork_and_release_late(void)
{
    explore_fork();
    collect();
    fork_and_release();
}

const struct explore_scenario slotmap_fork_held_late = {
    .name = "slotmap.fork-held-late",
    .checks = "E3 S6",
    .set_up = set_up_held,
    .threads = {collect, fork_and_release_late},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- values that are kept until their slot is used again ---- */

static void set_up_revive(void)
{
    struct slotmap_options options = fork_options();
    options.revivable = true;
    make_map(options);
    handles[1] = insert(1);
    handles[2] = insert(2);
    take_out(1, handles[1]);
    collect();
    handles[3] = insert(3);
    take_out(2, handles[2]);
}

static void replace(void)
{
    come_and_go(10);
    come_and_go(11);
}

const struct explore_scenario slotmap_fork_revive = {
    .name = "slotmap.fork-revive",
    .checks = "E3 S6",
    .set_up = set_up_revive,
    .threads = {replace, collect, fork_and_use},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- values that are written in place ---- */

static void set_up_write(void)
{
    struct slotmap_options options = fork_options();
    options.updatable = true;
    make_map(options);
    handles[1] = insert(1);
}

static void write_it(void)
{
    for (uint64_t i = 2; i < 4; i++)
        slotmap_write(map, handles[1], &(struct value){i, i});
}

static void fork_and_write(void)
{
    explore_fork();
    struct value value;
    EXPLORE(slotmap_read(map, handles[1], &value) == VBUF_OK);
    EXPLORE(value.number >= 1 && value.number < 4 && value.copy == value.number);
    for (uint64_t i = 1; i < 4; i++) {
        value = (struct value){i, i};
        EXPLORE(slotmap_write(map, handles[1], &value) == VBUF_OK);
        EXPLORE(slotmap_read(map, handles[1], &value) == VBUF_OK);
        check_value(&value, i);
    }
    check_whole();
    is_child = true;
}

static void finish_written(void)
{
    EXPLORE(is_child);
    slotmap_destroy(map);
    EXPLORE(destroyed[3] == 1);
}

const struct explore_scenario slotmap_fork_write = {
    .name = "slotmap.fork-write",
    .checks = "E3 S4",
    .set_up = set_up_write,
    .threads = {write_it, fork_and_write},
    .finish = finish_written,
    NOTHING_FAILS,
};

/* ---- slots that were found lost are not what max_limbo is for: nobody has removed anything ---- */

static void set_up_limbo_with(bool in_collect)
{
    struct slotmap_options options = usual_options();
    options.max_len = 8; /* so many slots are made at a time */
    options.max_limbo = 2;
    options.destroy_in_collect = in_collect;
    make_map(options);
    act_as(1);
    map_own_part(map_of(map));
}

static void set_up_limbo(void)
{
    set_up_limbo_with(false);
}

static void set_up_limbo_in_collect(void)
{
    set_up_limbo_with(true);
}

static void insert_as_first(void)
{
    vbuf_thread_set_number(1);
    insert(10);
    insert(11);
}

static void fork_and_insert(void)
{
    slotmap_pin(map);
    explore_fork();
    is_child = true;
    insert(20);
    slotmap_unpin(map);
    use_everything();
}

static void fork_and_insert_unpinned(void)
{
    explore_fork();
    is_child = true;
    insert(20);
    use_everything();
}

const struct explore_scenario slotmap_fork_limbo = {
    .name = "slotmap.fork-limbo",
    .checks = "E3 S5",
    .set_up = set_up_limbo,
    .threads = {insert_as_first, fork_and_insert},
    .finish = finish,
    .leaks = true,
    NOTHING_FAILS,
};

/* Their slots come back by slotmap_collect only. */
const struct explore_scenario slotmap_fork_limbo_in_collect = {
    .name = "slotmap.fork-limbo-in-collect",
    .checks = "E3 S5",
    .set_up = set_up_limbo_in_collect,
    .threads = {insert_as_first, fork_and_insert_unpinned},
    .finish = finish,
    .leaks = true,
    NOTHING_FAILS,
};

/* ---- two inserts have taken what a sleeper had ready, as much as they destroy; each is in its destructor ---- */

static struct vbuf_atomic_u32 in_destructor, forked;

static void destroy_and_stop(void *context, void *memory)
{
    destroy_value(context, memory);
    if (is_child || explore_self() == 0 || explore_self() > 2)
        return;
    raise_blindly(&in_destructor);
    wait_blindly(&forked);
}

static void set_up_taking_with(uint32_t max_threads)
{
    struct slotmap_options options = usual_options();
    options.max_len = 10;
    options.max_limbo = 6;
    options.max_threads = max_threads;
    make_map(options);
    map_of(map)->destroys_a_call = 0;
    map_of(map)->chunk = 1;
    act_as(1);
    for (unsigned i = 1; i <= 6; i++)
        handles[i] = insert(i);
    for (unsigned i = 1; i <= 6; i++)
        take_out(i, handles[i]);
    make_ready();
    turn_over();
    map_of(map)->slots = vbuf_u32_load_relaxed(&map_of(map)->made);
    map_of(map)->destroys_a_call = 2;
    map_of(map)->destroy = destroy_and_stop;
    for (uint32_t number = 3; number > 1; number--) {
        act_as(number);
        map_own_part(map_of(map));
    }
}

static void set_up_taking(void)
{
    set_up_taking_with(4);
}

static void set_up_taking_shared(void)
{
    set_up_taking_with(1);
}

static void insert_second(void)
{
    vbuf_thread_set_number(2);
    try_insert(10, NULL);
    raise_blindly(&in_destructor);
}

static void insert_third(void)
{
    vbuf_thread_set_number(3);
    wait_for_flag(&in_destructor, 1);
    try_insert(11, NULL);
    raise_blindly(&in_destructor);
}

static void fork_beside_both(void)
{
    vbuf_thread_set_number(1);
    wait_for_flag(&in_destructor, 2);
    explore_fork();
    is_child = true;
    map_of(map)->slots = 32;
    check_stats();
    use_everything();
}

const struct explore_scenario slotmap_fork_taking = {
    .name = "slotmap.fork-taking",
    .checks = "E3 S6",
    .set_up = set_up_taking,
    .threads = {insert_second, insert_third, fork_beside_both},
    .finish = finish,
    .leaks = true,
    NOTHING_FAILS,
};

/* Without parts of their own: from the same list, onto the same. */
const struct explore_scenario slotmap_fork_taking_shared = {
    .name = "slotmap.fork-taking-shared",
    .checks = "E3 S6",
    .set_up = set_up_taking_shared,
    .threads = {insert_second, insert_third, fork_beside_both},
    .finish = finish,
    .leaks = true,
    NOTHING_FAILS,
};

/* ---- slots out of service that still have their last value, in a revivable map ---- */

static void use_up_and_fork(void)
{
    for (unsigned i = 1; stats_now().exhausted < 2; i++) {
        take_out(i, insert(i));
        collect();
    }
    uint64_t exhausted = stats_now().exhausted;
    explore_fork();
    is_child = true;
    check_stats();
    EXPLORE(stats_now().exhausted == exhausted && stats_now().abandoned == 0);
}

static void set_up_dropped(void)
{
    struct slotmap_options options = usual_options();
    options.max_len = 1;
    options.max_limbo = 1;
    options.max_threads = 1;
    options.revivable = true;
    options.first_generation = SLOTMAP_LAST_GENERATION - SLOTMAP_LIVE_ - 16;
    make_map(options);
}

const struct explore_scenario slotmap_fork_dropped = {
    .name = "slotmap.fork-dropped",
    .checks = "E3 S6",
    .set_up = set_up_dropped,
    .threads = {use_up_and_fork},
    .finish = destroy_map,
    NOTHING_FAILS,
};

/* ---- slots in their last life ---- */

static void set_up_last(void)
{
    struct slotmap_options options = fork_options();
    options.first_generation = SLOTMAP_LAST_GENERATION - SLOTMAP_LIVE_ - 16;
    make_map(options);
    act_as(1);
    for (unsigned i = 1; i <= 3; i++) {
        handles[i] = insert(i);
        take_out(i, handles[i]);
        if (i == 2)
            collect();
    }
    exit_up_to(1);
}

static void use_up(void)
{
    come_and_go(10);
    turn_over();
    come_and_go(11);
}

static void fork_and_count(void)
{
    explore_fork();
    is_child = true;
    check_whole();
    collect();
    check_whole();
    /* Until none is left: that is FULL, not BUSY. */
    enum vbuf_status status;
    for (;;) {
        slotmap_handle handle;
        status = slotmap_insert(map, &(struct value){0, 0}, &handle);
        if (status != VBUF_OK)
            break;
        EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
        collect();
        destroyed[0] = 0;
    }
    EXPLORE(status == VBUF_FULL);
    EXPLORE(stats_now().exhausted == count_dropped());
    EXPLORE(stats_now().exhausted + slotmap_len(map) == stats_now().slots);
}

const struct explore_scenario slotmap_fork_last = {
    .name = "slotmap.fork-last",
    .checks = "E3 S1",
    .set_up = set_up_last,
    .threads = {use_up, collect, fork_and_count},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- maps come and go meanwhile ---- */

static struct slotmap *make_another(void)
{
    struct slotmap *other;
    struct slotmap_options options = usual_options();
    options.destroy = NULL;
    EXPLORE(slotmap_create(&other, &options) == VBUF_OK);
    EXPLORE(slotmap_insert(other, &(struct value){0, 0}, NULL) == VBUF_OK);
    return other;
}

static struct slotmap *older, *middle, *newest;

static void set_up_maps(void)
{
    older = make_another();
    set_up_claims();
    newest = make_another();
}

static void make_and_destroy(void)
{
    come_and_go(10);
    struct slotmap *others[] = {make_another(), newest, older};
    for (unsigned i = 0; i < 3; i++)
        slotmap_destroy(others[i]);
}

static void fork_and_make(void)
{
    struct slotmap *own = make_another();
    explore_fork();
    slotmap_destroy(own);
    slotmap_destroy(make_another());
    explore_fork();
    use_everything();
}

const struct explore_scenario slotmap_fork_maps = {
    .name = "slotmap.fork-maps",
    .checks = "E3",
    .set_up = set_up_maps,
    .threads = {make_and_destroy, fork_and_make},
    .finish = finish,
    .leaks = true,
    NOTHING_FAILS,
};

/* One that lies between two others. */
static void set_up_list(void)
{
    older = make_another();
    middle = make_another();
    set_up_claims();
}

static void make_and_destroy_middle(void)
{
    make_another();
    slotmap_destroy(middle);
}

static void fork_and_destroy(void)
{
    explore_fork();
    slotmap_destroy(older);
    explore_fork();
    use_everything();
}

const struct explore_scenario slotmap_fork_list = {
    .name = "slotmap.fork-list",
    .checks = "E3",
    .set_up = set_up_list,
    .threads = {make_and_destroy_middle, fork_and_destroy},
    .finish = finish,
    .writes_are_steps = true,
    .leaks = true,
    NOTHING_FAILS,
};

/* One is being made while another is in use: that is in the list too. */
static void make_only(void)
{
    make_another();
}

static void use_shortly(void)
{
    come_and_go(10);
}

const struct explore_scenario slotmap_fork_making = {
    .name = "slotmap.fork-making",
    .checks = "E3",
    .set_up = set_up_claims,
    .threads = {make_only, use_shortly, fork_and_use},
    .finish = finish,
    .leaks = true,
    .bounds = {.failures = EXPLORE_NONE, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- forks of forks ---- */

static void fork_again(void)
{
    explore_fork();
    uint64_t abandoned = stats_now().abandoned;
    explore_fork();
    EXPLORE(stats_now().abandoned == abandoned); /* those are in limbo */
    use_everything();
}

const struct explore_scenario slotmap_fork_again = {
    .name = "slotmap.fork-again",
    .checks = "E3",
    .set_up = set_up,
    .threads = {churn, fork_again},
    .finish = finish,
    NOTHING_FAILS,
};

/* ---- a fork inside a destructor: the call goes on in the child, with what it has in its hands ---- */

static void destroy_and_fork(void *context, void *memory)
{
    destroy_value(context, memory);
    if (explore_self() != 2 || is_child)
        return;
    is_child = true;
    explore_fork();
}

static void set_up_inside(void)
{
    struct slotmap_options options = fork_options();
    options.destroy = destroy_and_fork;
    options.max_len = 3;
    make_map(options);
    act_as(1);
    handles[1] = insert(1);
    take_out(1, handles[1]);
    act_as(2);
}

static void insert_and_see(void)
{
    struct value values[] = {{20, 20}, {21, 21}};
    slotmap_handle ours[2];
    vbuf_thread_set_number(1);
    while (!is_child)
        turn_over();
    enum vbuf_status status = slotmap_insert_many(map, values, 2, ours);
    if (status != VBUF_OK)
        return;
    EXPLORE(slotmap_handle_index(ours[0]) != slotmap_handle_index(ours[1]));
    slotmap_handle more;
    if (try_insert(22, &more) == VBUF_OK)
        EXPLORE(slotmap_handle_index(more) != slotmap_handle_index(ours[0]) &&
                slotmap_handle_index(more) != slotmap_handle_index(ours[1]));
    EXPLORE(slotmap_contains(map, ours[0]) && slotmap_contains(map, ours[1]));
}

const struct explore_scenario slotmap_fork_inside = {
    .name = "slotmap.fork-inside",
    .checks = "E3",
    .set_up = set_up_inside,
    .threads = {churn_a_little, insert_and_see},
    .finish = finish,
    NOTHING_FAILS,
};
