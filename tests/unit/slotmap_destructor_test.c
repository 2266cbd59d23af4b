/*
 * slotmap_destructor_test.c - S6: every inserted value is destroyed exactly once, when no pin can see it
 * any more, whoever removed it and however its thread and its map ended.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/slotmap_internal.h"
#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define VALUES 4000

/* Each value names its own count of destructions. */
struct ledger {
    struct slotmap *map;
    struct vbuf_atomic_u32 destroyed[VALUES];
    slotmap_handle handles[VALUES];
    struct vbuf_atomic_u32 next;
};

struct value {
    uint64_t magic;
    uint32_t number;
    uint32_t check;
};

#define MAGIC UINT64_C(0x5ca1ab1e0ddba11)

static void destroy_value(void *context, void *pointer)
{
    struct ledger *ledger = context;
    struct value *value = pointer;
    if (!CHECK(value->magic == MAGIC && value->number < VALUES && value->check == ~value->number))
        return;
    vbuf_u32_fetch_add_relaxed(&ledger->destroyed[value->number], 1);
}

static void setup(struct ledger *ledger, const struct slotmap_options *given)
{
    struct slotmap_options options = *given;
    memset(ledger, 0, sizeof *ledger);
    options.value_size = sizeof(struct value);
    options.context = ledger;
    if (options.destroy == NULL)
        options.destroy = destroy_value;
    if (options.max_len == 0)
        options.max_len = VALUES;
    CHECK_STATUS(VBUF_OK, slotmap_create(&ledger->map, &options));
}

static void insert(struct ledger *ledger, uint32_t number)
{
    struct value value = {MAGIC, number, ~number};
    CHECK_STATUS(VBUF_OK, slotmap_insert(ledger->map, &value, &ledger->handles[number]));
}

static void delete (struct ledger *ledger, uint32_t number)
{
    CHECK_STATUS(VBUF_OK, slotmap_remove(ledger->map, ledger->handles[number], NULL));
}

/* Values from … to - 1 were each destroyed `times` times. */
static void check_destroyed(const struct ledger *ledger, uint32_t from, uint32_t to, uint32_t times)
{
    for (uint32_t i = from; i < to; i++)
        REQUIRE(CHECK_EQ(vbuf_u32_load_relaxed(&ledger->destroyed[i]), times));
}

static struct ledger ledger;

TEST(slotmap_destructor, S6_a_removed_value_is_destroyed_once)
{
    setup(&ledger, &(struct slotmap_options){.max_threads = 2});
    for (uint32_t i = 0; i < VALUES; i++)
        insert(&ledger, i);
    for (uint32_t i = 0; i < VALUES / 2; i++)
        delete (&ledger, i);
    slotmap_collect(ledger.map);
    check_destroyed(&ledger, 0, VALUES / 2, 1);
    check_destroyed(&ledger, VALUES / 2, VALUES, 0);
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, VALUES, 1); /* with the map, the rest */
}

TEST(slotmap_destructor, S6_destroy_of_the_map_destroys_live_and_removed)
{
    const uint32_t removed[] = {0, 1, 63, 64, 65, 200, VALUES};
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        setup(&ledger, &(struct slotmap_options){.max_threads = 2});
        for (uint32_t k = 0; k < VALUES; k++)
            insert(&ledger, k);
        for (uint32_t k = 0; k < removed[i]; k++)
            delete (&ledger, k);
        slotmap_destroy(ledger.map); /* with removals pending */
        check_destroyed(&ledger, 0, VALUES, 1);
    }
}

TEST(slotmap_destructor, S3_S6_not_while_a_pin_can_see_it)
{
    struct pinner pinner;
    setup(&ledger, &(struct slotmap_options){.max_threads = 4});
    for (uint32_t i = 0; i < 1000; i++)
        insert(&ledger, i);
    pinner_start(&pinner, slotmap_domain(ledger.map));
    for (uint32_t i = 0; i < 1000; i++)
        delete (&ledger, i);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(slotmap_collect(ledger.map), 0);
    for (uint32_t i = 1000; i < 2000; i++) /* nor does an insert get there first */
        insert(&ledger, i);
    check_destroyed(&ledger, 0, 2000, 0);
    pinner_unpin(&pinner);
    slotmap_collect(ledger.map);
    check_destroyed(&ledger, 0, 1000, 1);
    check_destroyed(&ledger, 1000, 2000, 0);
    pinner_stop(&pinner);
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, 2000, 1);
}

TEST(slotmap_destructor, collect_destroys_all_that_may_go_and_says_how_many)
{
    setup(&ledger, &(struct slotmap_options){.max_threads = 1});
    for (uint32_t i = 0; i < VALUES; i++)
        insert(&ledger, i);
    slotmap_pin(ledger.map);
    for (uint32_t i = 0; i < 3000; i++)
        delete (&ledger, i);
    slotmap_unpin(ledger.map);
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
    uint64_t before = stats.destroyed;
    CHECK_EQ(slotmap_collect(ledger.map), 3000 - before); /* not just 64 */
    CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
    CHECK_EQ(stats.destroyed, 3000);
    CHECK_EQ(stats.limbo, 0);
    CHECK_EQ(slotmap_collect(ledger.map), 0);
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, VALUES, 1);
}

static void insert_and_remove_some(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    for (int i = 0; i < 500; i++) {
        uint32_t number = vbuf_u32_fetch_add_relaxed(&ledger.next, 1);
        insert(&ledger, number);
        if (i % 4 != 0)
            delete (&ledger, number);
    }
}

TEST(slotmap_destructor, S6_thread_exit_strands_nothing)
{
    for (uint32_t max_threads = 1; max_threads <= 5; max_threads += 2) {
        setup(&ledger, &(struct slotmap_options){.max_threads = max_threads});
        for (int i = 0; i < 2; i++)
            team_run(4, insert_and_remove_some, NULL);
        CHECK_EQ(slotmap_len(ledger.map), 1000);
        slotmap_collect(ledger.map); /* also what exited threads have removed */
        struct slotmap_report stats;
        CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
        CHECK_EQ(stats.destroyed, 3000);
        CHECK_EQ(stats.limbo, 0);
        slotmap_destroy(ledger.map);
        check_destroyed(&ledger, 0, VALUES, 1);
    }
}

static void *leave_by_exit(void *context)
{
    insert_and_remove_some(context, 0);
    slotmap_pin(ledger.map);
    pthread_exit(NULL);
}

static void *leave_by_cancellation(void *context)
{
    insert_and_remove_some(context, 0);
    slotmap_pin(ledger.map);
    while (pause() != 0) { /* a cancellation point */
    }
    return NULL;
}

TEST(slotmap_destructor, S6_threads_may_leave_by_pthread_exit_or_be_cancelled)
{
    struct slotmap_report stats;
    setup(&ledger, &(struct slotmap_options){.max_threads = 3});
    for (int i = 0; i < 8; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, i & 1 ? leave_by_cancellation : leave_by_exit,
                               NULL) == 0);
        while (vbuf_u32_load_acquire(&ledger.next) < 500 * ((uint32_t)i + 1))
            team_sleep_us(1000);
        if (i & 1)
            pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    CHECK_EQ(slotmap_len(ledger.map), 1000);
    slotmap_collect(ledger.map); /* their pins have ended with them */
    CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
    CHECK_EQ(stats.destroyed, 3000);
    CHECK_EQ(stats.limbo, 0);
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, VALUES, 1);
}

TEST(slotmap_destructor, S6_map_destroy_finds_what_exited_threads_left)
{
    for (uint32_t max_threads = 1; max_threads <= 5; max_threads += 2) {
        setup(&ledger, &(struct slotmap_options){.max_threads = max_threads});
        for (int i = 0; i < 2; i++)
            team_run(4, insert_and_remove_some, NULL);
        slotmap_destroy(ledger.map);
        check_destroyed(&ledger, 0, VALUES, 1);
    }
}

/* A destructor that inserts a successor and removes a neighbour. */
static unsigned nested, deepest;

static void destroy_and_use_the_map(void *context, void *pointer)
{
    struct ledger *l = context;
    uint32_t number = ((struct value *)pointer)->number;
    deepest = ++nested > deepest ? nested : deepest;
    destroy_value(context, pointer);
    uint32_t successor = number + 1000;
    if (l->map != NULL && number < 1000 && successor < VALUES) {
        insert(l, successor);
        uint64_t copy[2];
        CHECK_STATUS(VBUF_STALE, slotmap_read(l->map, l->handles[number], copy));
        CHECK_STATUS(VBUF_OK, slotmap_read(l->map, l->handles[successor], copy));
        delete (l, successor);
        slotmap_collect(l->map); /* inside a destructor: nothing */
    }
    nested--;
}

static void churn_with_destructors(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    nested = deepest = 0;
    for (uint32_t i = 0; i < 1000; i++)
        insert(&ledger, i);
    for (uint32_t i = 0; i < 1000; i++)
        delete (&ledger, i);
    for (int i = 0; i < 10; i++)
        slotmap_collect(ledger.map);
}

TEST(slotmap_destructor, S6_a_destructor_may_use_the_map)
{
    for (int shared = 0; shared < 2; shared++) {
        setup(&ledger,
              &(struct slotmap_options){.max_threads = 1, .destroy = destroy_and_use_the_map});
        uint64_t value[2] = {0};
        CHECK_STATUS(VBUF_STALE, slotmap_read(ledger.map, (slotmap_handle){0}, value));
        if (shared)
            team_run_one(churn_with_destructors, NULL); /* on a thread without lists of its own */
        else
            churn_with_destructors(NULL, 0);
        for (int i = 0; i < 10; i++)
            slotmap_collect(ledger.map);
        check_destroyed(&ledger, 0, 2000, 1);
        CHECK(deepest <= 2);
        struct slotmap *map = ledger.map;
        ledger.map = NULL;
        slotmap_destroy(map);
        check_destroyed(&ledger, 0, 2000, 1);
    }
}

/* Destructors inside the present outermost call; each may remove the next value. */
static __thread unsigned in_call, depth, most_depth;

static void destroy_and_remove_next(void *context, void *pointer)
{
    struct ledger *l = context;
    uint32_t number = ((struct value *)pointer)->number;
    in_call++;
    most_depth = ++depth > most_depth ? depth : most_depth;
    destroy_value(context, pointer);
    if (l->map != NULL && number + 64 < VALUES)
        delete (l, number + 64);
    depth--;
}

static void remove_in_chains(void *context, unsigned thread)
{
    unsigned most = 0;
    (void)context;
    (void)thread;
    most_depth = 0;
    for (uint32_t i = 0; i < VALUES; i++)
        insert(&ledger, i);
    for (uint32_t i = 0; i < 64; i++) { /* each starts a chain */
        in_call = 0;
        delete (&ledger, i);
        most = in_call > most ? in_call : most;
    }
    for (int i = 0; i < 2000; i++) {
        struct value value = {MAGIC, VALUES - 1, ~(uint32_t)(VALUES - 1)}; /* starts no chain */
        slotmap_handle handle;
        in_call = 0;
        enum vbuf_status status = slotmap_insert(ledger.map, &value, &handle);
        most = in_call > most ? in_call : most;
        if (status != VBUF_OK)
            break; /* still full: enough of it */
        in_call = 0;
        slotmap_remove(ledger.map, handle, NULL);
        vbuf_u32_fetch_add_relaxed(&ledger.next, 1);
        most = in_call > most ? in_call : most;
    }
    CHECK(most <= 128);
    CHECK(most_depth <= 2);
}

TEST(slotmap_destructor, S6_at_most_128_destructors_run_inside_an_insert_or_remove)
{
    for (int shared = 0; shared < 2; shared++) {
        setup(&ledger, &(struct slotmap_options){.max_threads = 1,
                                                 .destroy = destroy_and_remove_next,
                                                 .max_len = VALUES + 10});
        CHECK_STATUS(VBUF_OK, ebr_attach(slotmap_domain(ledger.map))); /* takes number 1 */
        if (shared)
            team_run_one(remove_in_chains, NULL);
        else
            remove_in_chains(NULL, 0);
        struct slotmap *map = ledger.map;
        ledger.map = NULL;
        slotmap_destroy(map);
        check_destroyed(&ledger, 0, VALUES - 1, 1);
        CHECK_EQ(vbuf_u32_load_relaxed(&ledger.destroyed[VALUES - 1]),
                 1 + vbuf_u32_load_relaxed(&ledger.next));
    }
}

/* Several maps on one domain, made and destroyed in any order with removals pending. */
/* The destructor of a map that is used under a lock, which it takes itself. */
static bool locked;

static void destroy_unlocked(void *context, void *pointer)
{
    CHECK(!locked);
    destroy_value(context, pointer);
}

TEST(slotmap_destructor, S6_destructors_run_in_collect_only_where_that_is_asked_for)
{
    struct slotmap_report stats;
    setup(&ledger, &(struct slotmap_options){.max_threads = 2,
                                             .max_limbo = 700,
                                             .destroy = destroy_unlocked,
                                             .destroy_in_collect = true});
    locked = true;
    uint32_t next = 0;
    enum vbuf_status status = VBUF_OK;
    while (next < VALUES) { /* a live value or two, the rest removed */
        struct value value = {MAGIC, next, ~next};
        status = slotmap_insert(ledger.map, &value, &ledger.handles[next]);
        if (status != VBUF_OK)
            break;
        delete (&ledger, next++);
    }
    CHECK_STATUS(VBUF_BUSY, status); /* max_limbo is reached */
    CHECK(next > 700 && next < VALUES);
    CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
    CHECK_EQ(stats.limbo, next);
    check_destroyed(&ledger, 0, next, 0);
    locked = false;
    CHECK_EQ(slotmap_collect(ledger.map), next);
    check_destroyed(&ledger, 0, next, 1);
    locked = true;
    insert(&ledger, next);
    insert(&ledger, next + 1);
    delete (&ledger, next);
    CHECK_STATUS(VBUF_OK, slotmap_stats(ledger.map, &stats));
    CHECK_EQ(stats.limbo, 1);
    locked = false;
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, next + 2, 1);
}

TEST(slotmap_destructor, destructors_in_collect_and_revivals_exclude_each_other)
{
    struct slotmap *map;
    struct slotmap_options options = {
        .value_size = 8, .revivable = true, .destroy_in_collect = true};
    CHECK_STATUS(VBUF_INVALID, slotmap_create(&map, &options));
}

TEST(slotmap_destructor, S6_maps_that_share_a_domain_come_and_go_in_any_order)
{
    static struct ledger ledgers[4];
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    struct slotmap_options options = {.domain = domain, .max_threads = 2};
    struct check_rng rng = {check_seed()};
    for (int i = 0; i < 4; i++)
        setup(&ledgers[i], &options);
    for (int round = 0; round < 200; round++) {
        struct ledger *l = &ledgers[check_rng_next(&rng) % 4];
        uint32_t from = vbuf_u32_load_relaxed(&l->next), to = from + 150;
        if (to <= VALUES) {
            for (uint32_t i = from; i < to; i++)
                insert(l, i);
            for (uint32_t i = from; i < to - 10; i++)
                delete (l, i);
            vbuf_u32_store_relaxed(&l->next, to);
            if (round % 5 != 0)
                continue;
            from = to;
        }
        slotmap_destroy(l->map);
        check_destroyed(l, 0, from, 1);
        setup(l, &options);
    }
    for (int i = 0; i < 4; i++) {
        slotmap_destroy(ledgers[i].map);
        check_destroyed(&ledgers[i], 0, vbuf_u32_load_relaxed(&ledgers[i].next), 1);
    }
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(slotmap_destructor, without_a_destructor_values_are_counted_all_the_same)
{
    struct slotmap *map = NULL;
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK,
                 slotmap_create(&map, &(struct slotmap_options){.value_size = 4, .max_len = 1000}));
    for (uint32_t i = 0; i < 1000; i++) {
        slotmap_handle handle;
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, &i, &handle));
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
    slotmap_collect(map);
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_EQ(stats.destroyed, 1000);
    slotmap_destroy(map);
}

/*
 * What a fork's child may find: the owner of a part was cut off in the middle of a call, when a chain had been joined to
 * another, and not yet emptied; or the taker of an idle one was.
 */
static void destroy_map_cut_off(bool taker)
{
    setup(&ledger, &(struct slotmap_options){.max_threads = 2});
    for (uint32_t i = 0; i < 3; i++)
        insert(&ledger, i);
    slotmap_pin(ledger.map);
    delete (&ledger, 0);
    delete (&ledger, 1);
    slotmap_collect(ledger.map); /* seals them */
    slotmap_unpin(ledger.map);
    struct part *part = part_at(map_of(ledger.map), vbuf_self_.id);
    CHECK(part->limbo.bags[0].chain.count == 2);
    part->limbo.ready = part->limbo.bags[0].chain;
    if (taker)
        vbuf_u64_store_relaxed(&part->head.frozen, 2 | SLOTMAP_TAKING_);
    else
        vbuf_u32_store_relaxed(&part->head.busy, 1);
    slotmap_destroy(ledger.map);
    check_destroyed(&ledger, 0, 2, 0); /* abandoned */
    check_destroyed(&ledger, 2, 3, 1);
}

TEST(slotmap_destructor, E3_what_a_fork_cut_off_is_abandoned_not_destroyed_twice)
{
    destroy_map_cut_off(false);
    destroy_map_cut_off(true);
}
