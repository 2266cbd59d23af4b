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

/* ---- values that change; claims; slots that are kept ---- */

#define WORDS 14

struct wide {
    uint64_t key;
    uint64_t words[WORDS]; /* each the key's double */
    uint64_t written;      /* by cells_write, not by an insert */
};

SLOTMAP_DEFINE_UPDATABLE(cells, struct wide)

struct changing {
    struct cells map;
    struct vbuf_atomic_u64 cells[2]; /* handles; relaxed */
    uint64_t beside[2][ROUNDS];      /* plain: writer w's i-th write tells of it */
    struct vbuf_atomic_u32 done;
};

static struct wide wide_of(uint64_t key, bool written)
{
    struct wide wide = {.key = key, .written = written};
    for (int i = 0; i < WORDS; i++)
        wide.words[i] = key * 2;
    return wide;
}

static void check_whole(const struct wide *wide)
{
    for (int i = 0; i < WORDS; i++)
        CHECK_EQ(wide->words[i], wide->key * 2);
}

static void destroy_changing(void *context, void *pointer)
{
    (void)context;
    check_whole(pointer);
    memset(pointer, 0x55, sizeof(struct wide)); /* plain: after the last read and write of it */
}

static void write_changing(struct changing *c, unsigned thread)
{
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t key = (uint64_t)thread << 32 | i;
        struct wide wide = wide_of(key, true);
        c->beside[thread][i] = key + 1;
        cells_handle handle = {vbuf_u64_load_relaxed(&c->cells[i % 2])};
        enum vbuf_status status = cells_write(&c->map, handle, &wide);
        CHECK(status == VBUF_OK || status == VBUF_BUSY || status == VBUF_STALE);
    }
    vbuf_u32_fetch_add_relaxed(&c->done, 1);
}

static void replace_changing(struct changing *c, size_t cell)
{
    struct wide wide = wide_of(1, false);
    cells_handle old = {vbuf_u64_load_relaxed(&c->cells[cell])}, fresh = {0};
    if (cells_insert(&c->map, wide, &fresh) != VBUF_OK)
        return;
    vbuf_u64_store_relaxed(&c->cells[cell], fresh.bits);
    CHECK_STATUS(VBUF_OK, cells_remove(&c->map, old));
}

/* S4: a read value is whole, and what its writer did before happens before the read; whoever removes meanwhile. */
static void s4_write_or_replace_or_read(void *context, unsigned thread)
{
    struct changing *c = context;
    if (thread < 2)
        write_changing(c, thread);
    for (uint64_t i = 0; vbuf_u32_load_relaxed(&c->done) < 2; i++) {
        struct wide wide;
        cells_handle handle = {vbuf_u64_load_relaxed(&c->cells[i % 2])};
        if (thread == 2 && i % 64 == 0)
            replace_changing(c, i / 64 % 2);
        if (cells_read(&c->map, handle, &wide) != VBUF_OK)
            continue;
        check_whole(&wide);
        if (wide.written)
            CHECK_EQ(c->beside[wide.key >> 32][wide.key & UINT32_MAX], wide.key + 1);
    }
}

TEST(slotmap_litmus, S4_a_read_is_whole_and_after_its_write)
{
    static struct changing c;
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        memset(&c, 0, sizeof c);
        struct slotmap_options options = {
            .max_len = 100, .max_threads = max_threads_kinds[kind], .destroy = destroy_changing};
        CHECK_STATUS(VBUF_OK, cells_create(&c.map, &options));
        for (unsigned i = 0; i < 2; i++) {
            cells_handle handle = {0};
            CHECK_STATUS(VBUF_OK, cells_insert(&c.map, wide_of(1, false), &handle));
            vbuf_u64_store_relaxed(&c.cells[i], handle.bits);
        }
        team_run(4, s4_write_or_replace_or_read, &c);
        cells_destroy(&c.map);
    }
}

/* S6: a claimed value is written, published or cancelled by whoever it was handed to. */
static void s6_claim_or_publish(void *context, unsigned thread)
{
    struct litmus *l = context;
    struct slotmap *map = l->table.map;
    for (uint64_t i = 0; thread == 0 && i < ROUNDS; i++) {
        slotmap_handle handle;
        void *value;
        enum vbuf_status status = slotmap_claim(map, &handle, &value);
        CHECK(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
        if (status != VBUF_OK)
            continue;
        *(struct value *)value = (struct value){i, i * 2, 0};
        uint64_t old = vbuf_u64_exchange_acq_rel(&l->cells[i % 4], handle.bits);
        if (old != 0) /* the others have not come by */
            CHECK_STATUS(VBUF_OK, slotmap_cancel(map, slotmap_handle_from_u64(old)));
    }
    if (thread == 0)
        vbuf_u32_store_relaxed(&l->done, 1);
    for (uint64_t i = 0; thread != 0 && !is_done(l); i++) {
        uint64_t taken = vbuf_u64_exchange_acq_rel(&l->cells[i % 4], 0);
        slotmap_handle handle = slotmap_handle_from_u64(taken);
        if (taken == 0)
            continue;
        CHECK(!slotmap_contains(map, handle));
        CHECK_STATUS(VBUF_OK, slotmap_publish(map, handle));
        table_pin(&l->table);
        const struct value *value = slotmap_get(map, handle);
        CHECK(value != NULL && value->twice == value->key * 2);
        table_unpin(&l->table);
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
}

TEST(slotmap_litmus, S6_claims_are_handed_on)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 50, max_threads_kinds[kind], true);
        team_run(3, s6_claim_or_publish, &l);
        for (unsigned i = 0; i < 4; i++) {
            uint64_t left = vbuf_u64_load_relaxed(&l.cells[i]);
            if (left != 0)
                CHECK_STATUS(VBUF_OK, slotmap_cancel(l.table.map, slotmap_handle_from_u64(left)));
        }
        CHECK_EQ(slotmap_len(l.table.map), 0);
        table_destroy(&l.table);
    }
}

/* S6: what is kept beside an invalidated value's slot is the releaser's until its release. */
static uint64_t beside_slots[1 << 20]; /* plain, by slot */

static void s6_insert_or_release(void *context, unsigned thread)
{
    struct litmus *l = context;
    struct slotmap *map = l->table.map;
    for (uint64_t i = 0; i < ROUNDS / 2; i++) {
        table_handle handle = insert(l, (uint64_t)thread << 32 | i);
        if (handle.bits == 0)
            continue;
        slotmap_handle untyped = slotmap_handle_from_u64(handle.bits);
        uint32_t index = slotmap_handle_index(untyped);
        if (!CHECK(index < sizeof beside_slots / sizeof *beside_slots))
            continue;
        beside_slots[index] = handle.bits;
        CHECK_STATUS(VBUF_OK, slotmap_invalidate(map, untyped));
        CHECK(!slotmap_contains(map, untyped));
        if (i % 8 == 0)
            slotmap_collect(map); /* destroyed, and held */
        CHECK_EQ(beside_slots[index], handle.bits);
        CHECK_STATUS(VBUF_OK, slotmap_release(map, untyped));
    }
}

TEST(slotmap_litmus, S6_a_slot_is_kept_until_its_release)
{
    for (int kind = 0; kind < MAX_THREADS_KINDS; kind++) {
        struct litmus l;
        setup(&l, 8, max_threads_kinds[kind], true);
        team_run(3, s6_insert_or_release, &l);
        CHECK_EQ(slotmap_len(l.table.map), 0);
        table_destroy(&l.table);
    }
}
