/*
 * slotmap_litmus_test.c - one litmus for each guarantee of the slot map, for ThreadSanitizer: values are
 * plain data, threads share nothing but the map and relaxed words, so a missing order is a race that it
 * reports.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define ROUNDS BUILD_COUNT(60000u, 20000u)
#define CELLS 16
#define MAX_THREADS_KINDS 3

/* With lists for all threads; for some; for none but the main thread. */
static const uint32_t max_threads_kinds[MAX_THREADS_KINDS] = {0, 3, 1};

/* Plain on purpose. */
struct value {
    uint64_t key;
    uint64_t twice;
    uint64_t touched; /* written by who removes or destroys it */
};

SLOTMAP_DEFINE(table, struct value)

struct litmus {
    struct table table;
    struct vbuf_atomic_u64 cells[CELLS]; /* handles; relaxed: they order nothing */
    struct vbuf_atomic_u32 done;
    struct vbuf_atomic_u64 inserted, destroyed;
    uint64_t wins[CELLS]; /* plain: written by who wins a remove */
};

static void destroy_value(void *context, void *pointer)
{
    struct litmus *l = context;
    struct value *value = pointer;
    CHECK_EQ(value->twice, value->key * 2);
    value->key = UINT64_C(0xdead); /* poison: a reader that could still see it would race */
    value->twice = 0;
    value->touched++;
    vbuf_u64_fetch_add_relaxed(&l->destroyed, 1);
}

static void setup(struct litmus *l, size_t max_len, uint32_t max_threads, bool destructor)
{
    struct slotmap_options options = {.max_len = max_len, .max_threads = max_threads, .context = l};
    memset(l, 0, sizeof *l);
    options.destroy = destructor ? destroy_value : NULL;
    CHECK_STATUS(VBUF_OK, table_create(&l->table, &options));
    CHECK_STATUS(VBUF_OK, ebr_attach(slotmap_domain(l->table.map))); /* takes number 1 */
    CHECK(!table_contains(&l->table, (table_handle){0}));
}

static table_handle insert(struct litmus *l, uint64_t key)
{
    table_handle handle = {0};
    enum vbuf_status status = table_insert(&l->table, (struct value){key, key * 2, 0}, &handle);
    if (status == VBUF_OK)
        vbuf_u64_fetch_add_relaxed(&l->inserted, 1);
    else
        CHECK(status == VBUF_FULL || status == VBUF_BUSY);
    return handle;
}

/* Puts a fresh value's handle into the cell, and removes what was there. */
static void replace(struct litmus *l, size_t cell, uint64_t key)
{
    table_handle fresh = insert(l, key);
    if (fresh.bits == 0)
        return;
    /* The exchange orders handles with each other; the values, readers find by relaxed loads. */
    uint64_t old = vbuf_u64_exchange_acq_rel(&l->cells[cell], fresh.bits);
    if (old != 0)
        CHECK_STATUS(VBUF_OK, table_remove(&l->table, (table_handle){old}));
}

static bool is_done(const struct litmus *l)
{
    return vbuf_u32_load_relaxed(&l->done) != 0;
}

/* S3: reads under a pin happen before the slot is written again; publish happens before get. */
static void s3_churn_or_look(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        for (uint64_t i = 0; i < ROUNDS; i++)
            replace(l, i % CELLS, (uint64_t)thread << 32 | i);
        vbuf_u32_fetch_add_relaxed(&l->done, 1);
        return;
    }
    for (size_t i = 0; !is_done(l); i++) {
        table_pin(&l->table);
        table_handle handle = {vbuf_u64_load_relaxed(&l->cells[i % CELLS])};
        const struct value *value = table_get(&l->table, handle);
        if (value != NULL) {
            uint64_t key = value->key;
            for (int look = 0; look < 8; look++)
                CHECK(value->key == key && value->twice == key * 2);
        }
        table_unpin(&l->table);
    }
}

TEST(slotmap_litmus, S3_a_value_stays_intact_under_a_pin)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 200, max_threads_kinds[kind], false);
        team_run(3, s3_churn_or_look, &l);
        table_destroy(&l.table);
    }
}

/* S6: the destructor writes into the value: after every read under a pin, and once. */
TEST(slotmap_litmus, S6_reads_happen_before_the_destructor)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 200, max_threads_kinds[kind], true);
        team_run(3, s3_churn_or_look, &l);
        table_destroy(&l.table);
        CHECK_EQ(vbuf_u64_load_relaxed(&l.inserted), vbuf_u64_load_relaxed(&l.destroyed));
    }
}

/* S6: values left behind by threads that exit are destroyed by others, ordered after their writes. */
static void s6_churn_and_exit(void *context, unsigned thread)
{
    struct litmus *l = context;
    for (uint64_t i = 0; i < 50; i++)
        replace(l, (i + thread) % CELLS, i);
}

static void *collect_until_done(void *context)
{
    struct litmus *l = context;
    while (!is_done(l))
        slotmap_collect(l->table.map);
    return NULL;
}

TEST(slotmap_litmus, S6_what_exited_threads_left_is_destroyed_in_order)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        pthread_t collector;
        setup(&l, 200, max_threads_kinds[kind], true);
        REQUIRE(pthread_create(&collector, NULL, collect_until_done, &l) == 0);
        for (int i = 0; i < 100; i++)
            team_run(2, s6_churn_and_exit, &l);
        vbuf_u32_store_relaxed(&l.done, 1);
        pthread_join(collector, NULL);
        table_destroy(&l.table);
        CHECK_EQ(vbuf_u64_load_relaxed(&l.inserted), vbuf_u64_load_relaxed(&l.destroyed));
    }
}

/* S9: collectors take lists from threads that nap, and from threads that do not. */
static void s9_churn_or_collect(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread >= 2) {
        while (vbuf_u32_load_relaxed(&l->done) < 2)
            slotmap_collect(l->table.map);
        return;
    }
    for (uint64_t i = 0; i < ROUNDS / 4; i++) {
        replace(l, i % CELLS, (uint64_t)thread << 32 | i);
        if (i % 1000 == 0)
            team_sleep_us(100);
    }
    vbuf_u32_fetch_add_relaxed(&l->done, 1);
}

TEST(slotmap_litmus, S9_lists_change_hands)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 200, max_threads_kinds[kind], true);
        team_run(4, s9_churn_or_collect, &l);
        table_destroy(&l.table);
        CHECK_EQ(vbuf_u64_load_relaxed(&l.inserted), vbuf_u64_load_relaxed(&l.destroyed));
    }
}

/* S2: who wins a remove owns what belongs to the handle: a plain counter, and the value itself. */
static void s2_race_to_remove(void *context, unsigned thread)
{
    struct litmus *l = context;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        size_t cell = i % CELLS;
        uint64_t bits = vbuf_u64_load_relaxed(&l->cells[cell]);
        slotmap_handle handle = slotmap_handle_from_u64(bits);
        void *pointer = NULL;
        table_pin(&l->table);
        if (slotmap_remove(l->table.map, handle, &pointer) == VBUF_OK) {
            struct value *value = pointer;
            CHECK_EQ(value->touched, 0);
            value->touched = thread + 1; /* two winners would race here */
            l->wins[cell]++;             /* and here: the next is inserted after this */
            table_handle next = insert(l, i);
            vbuf_u64_store_relaxed(&l->cells[cell], next.bits); /* the map orders, not this */
        }
        table_unpin(&l->table);
    }
}

TEST(slotmap_litmus, S2_exactly_one_remove_wins)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 100000, max_threads_kinds[kind], false);
        for (size_t i = 0; i < CELLS; i++)
            vbuf_u64_store_relaxed(&l.cells[i], insert(&l, i).bits);
        team_run(3, s2_race_to_remove, &l);
        uint64_t wins = 0;
        for (size_t i = 0; i < CELLS; i++)
            wins += l.wins[i];
        struct slotmap_report stats;
        CHECK_STATUS(VBUF_OK, slotmap_stats(l.table.map, &stats));
        CHECK_EQ(stats.removed, wins);
        table_destroy(&l.table);
    }
}

/* S1: old handles, tried while their slots live again: what resolved would be read racily. */
static void s1_churn_or_try_stale(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        for (uint64_t i = 0; i < ROUNDS; i++) {
            table_handle handle = insert(l, i);
            if (handle.bits == 0)
                continue;
            CHECK_STATUS(VBUF_OK, table_remove(&l->table, handle));
            vbuf_u64_store_release(&l->cells[i % CELLS], handle.bits); /* removed before told */
        }
        vbuf_u32_store_relaxed(&l->done, 1);
        return;
    }
    for (size_t i = 0; !is_done(l); i++) {
        table_handle handle = {vbuf_u64_load_acquire(&l->cells[i % CELLS])};
        table_pin(&l->table);
        CHECK(table_get(&l->table, handle) == NULL);
        CHECK_STATUS(VBUF_STALE, table_remove(&l->table, handle));
        table_unpin(&l->table);
    }
}

TEST(slotmap_litmus, S1_a_stale_handle_never_resolves)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 2, max_threads_kinds[kind], false);
        team_run(3, s1_churn_or_try_stale, &l);
        table_destroy(&l.table);
    }
}

/* S5: few places, many takers; room and slots change hands all the time, values stay whole. */
static void s5_fight_for_room(void *context, unsigned thread)
{
    struct litmus *l = context;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        table_handle handle = insert(l, (uint64_t)thread << 32 | i);
        if (handle.bits == 0)
            continue;
        table_pin(&l->table);
        struct value *value = table_get(&l->table, handle);
        CHECK(value != NULL);
        CHECK_EQ(value->key, (uint64_t)thread << 32 | i);
        value->touched++; /* nobody else has the handle */
        table_unpin(&l->table);
        CHECK_STATUS(VBUF_OK, table_remove(&l->table, handle));
    }
}

TEST(slotmap_litmus, S5_room_changes_hands)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 2, max_threads_kinds[kind], false);
        team_run(4, s5_fight_for_room, &l);
        CHECK_EQ(slotmap_len(l.table.map), 0);
        for (uint64_t i = 0; i < 2; i++)
            CHECK(insert(&l, i).bits != 0);
        CHECK_EQ(insert(&l, 3).bits, 0);
        table_destroy(&l.table);
    }
}

/* S7: iteration reads whole values beside inserts and removes. */
static void s7_churn_or_iterate(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        for (uint64_t i = 0; i < ROUNDS / 4; i++)
            replace(l, i % CELLS, (uint64_t)thread << 32 | i);
        vbuf_u32_fetch_add_relaxed(&l->done, 1);
        return;
    }
    while (!is_done(l)) {
        table_pin(&l->table);
        struct slotmap_iter iter = slotmap_iter_begin(l->table.map);
        for (struct value *value; (value = table_next(&iter, NULL)) != NULL;)
            CHECK_EQ(value->twice, value->key * 2);
        table_unpin(&l->table);
    }
}

TEST(slotmap_litmus, S7_iteration_reads_whole_values)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 200, max_threads_kinds[kind], true);
        team_run(3, s7_churn_or_iterate, &l);
        table_destroy(&l.table);
    }
}
