/*
 * slotmap_threads_test.c - many threads on one map: S1, S2, S3 and S7 under contention, with lists of
 * their own and without. S5 is in slotmap_capacity_test.c; what TSan must see is in tests/tsan.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define THREADS 4
#define ROUNDS BUILD_COUNT(40000u, 4000u)

/* Plain on purpose; all words follow from the first. */
struct value {
    uint64_t key;
    uint64_t words[5];
};

SLOTMAP_DEFINE(table, struct value)

static struct value value_of_key(uint64_t key)
{
    struct value value = {.key = key};
    for (uint64_t i = 0; i < 5; i++)
        value.words[i] = key * (i + 3);
    return value;
}

static bool is_whole(const struct value *value)
{
    for (uint64_t i = 0; i < 5; i++) {
        if (value->words[i] != value->key * (i + 3))
            return false;
    }
    return true;
}

#define CELLS 64

struct scene {
    struct table table;
    struct vbuf_atomic_u64 cells[CELLS]; /* handles that threads race for */
    struct vbuf_atomic_u64 inserted, removed;
    struct gate done;
    pthread_barrier_t round;
    struct vbuf_atomic_u32 go, wins;
    struct vbuf_atomic_u64 handle;
    bool exit_pinned;
};

static void setup(struct scene *s, size_t max_len, uint32_t max_threads)
{
    memset(s, 0, sizeof *s);
    struct slotmap_options options = {.max_len = max_len, .max_threads = max_threads};
    CHECK_STATUS(VBUF_OK, table_create(&s->table, &options));
    pthread_barrier_init(&s->round, NULL, THREADS);
}

static void finish(struct scene *s)
{
    struct slotmap_report stats;
    CHECK_EQ(slotmap_len(s->table.map),
             vbuf_u64_load_relaxed(&s->inserted) - vbuf_u64_load_relaxed(&s->removed));
    slotmap_collect(s->table.map);
    CHECK_STATUS(VBUF_OK, slotmap_stats(s->table.map, &stats));
    CHECK_EQ(stats.inserted, vbuf_u64_load_relaxed(&s->inserted));
    CHECK_EQ(stats.removed, vbuf_u64_load_relaxed(&s->removed));
    CHECK_EQ(stats.limbo, 0);
    pthread_barrier_destroy(&s->round);
    table_destroy(&s->table);
}

/*
 * All threads remove the same handles, in the same order, at the same time. They start a round by
 * spinning: a barrier would wake them one after the other.
 */
static void race_to_remove(void *context, unsigned thread)
{
    struct scene *s = context;
    for (uint32_t i = 1; i <= BUILD_COUNT(2000u, 200u); i++) {
        if (thread == 0) {
            for (uint32_t k = 0; k < CELLS; k++) {
                table_handle handle = {0};
                CHECK_STATUS(VBUF_OK, table_insert(&s->table, value_of_key(k), &handle));
                vbuf_u64_store_relaxed(&s->cells[k], handle.bits);
            }
            vbuf_u32_store_relaxed(&s->wins, 0);
            vbuf_u64_fetch_add_relaxed(&s->inserted, CELLS);
            vbuf_u32_store_release(&s->go, i);
        }
        for (unsigned spin = 0; vbuf_u32_load_acquire(&s->go) != i; spin++) {
            if (spin % 1024 == 1023)
                sched_yield();
        }
        for (uint32_t k = 0; k < CELLS; k++) {
            table_handle handle = {vbuf_u64_load_relaxed(&s->cells[k])};
            enum vbuf_status status = table_remove(&s->table, handle);
            if (status == VBUF_OK)
                vbuf_u32_fetch_add_relaxed(&s->wins, 1);
            else
                CHECK_STATUS(VBUF_STALE, status);
            CHECK(!table_contains(&s->table, handle)); /* whoever won */
        }
        pthread_barrier_wait(&s->round);
        if (thread == 0) {
            CHECK_EQ(vbuf_u32_load_relaxed(&s->wins), CELLS);
            vbuf_u64_fetch_add_relaxed(&s->removed, CELLS);
        }
    }
}

TEST(slotmap_threads, S2_of_racing_removes_exactly_one_wins)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct scene s;
        setup(&s, CELLS, max_threads);
        team_run(THREADS, race_to_remove, &s);
        finish(&s);
    }
}

/* Replaces the value in a random cell; the handle that was there is removed by whoever took it out. */
static void replace(struct scene *s, uint64_t draw, uint64_t key)
{
    table_handle handle = {0};
    if (!CHECK_STATUS(VBUF_OK, table_insert(&s->table, value_of_key(key), &handle)))
        return;
    vbuf_u64_fetch_add_relaxed(&s->inserted, 1);
    uint64_t old = vbuf_u64_exchange_acq_rel(&s->cells[draw % CELLS], handle.bits);
    if (old != 0) {
        CHECK_STATUS(VBUF_OK, table_remove(&s->table, (table_handle){old}));
        vbuf_u64_fetch_add_relaxed(&s->removed, 1);
        CHECK_STATUS(VBUF_STALE, table_remove(&s->table, (table_handle){old}));
    }
}

/* Gets values and looks at them for a while under one pin, then reads copies. */
static void look(struct scene *s, uint64_t draw)
{
    table_handle handle = {vbuf_u64_load_acquire(&s->cells[draw % CELLS])};
    struct value copy;
    table_pin(&s->table);
    const struct value *value = table_get(&s->table, handle);
    if (value != NULL) {
        uint64_t key = value->key;
        for (uint64_t i = 0; i <= (draw >> 32) % 64; i++)
            CHECK(is_whole(value) && value->key == key); /* S3 */
    }
    table_unpin(&s->table);
    slotmap_handle untyped = slotmap_handle_from_u64(handle.bits);
    if (slotmap_read(s->table.map, untyped, &copy) == VBUF_OK)
        CHECK(is_whole(&copy));
    else
        CHECK(!table_contains(&s->table, handle)); /* S1: stale once is stale for ever */
}

static void replace_and_look(void *context, unsigned thread)
{
    struct scene *s = context;
    struct check_rng rng = {check_seed() + thread};
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t draw = check_rng_next(&rng);
        if (draw >> 62 == 0)
            replace(s, draw, (uint64_t)thread << 32 | i);
        else
            look(s, draw);
    }
}

TEST(slotmap_threads, S1_S3_values_stay_intact_under_pins_while_others_churn)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct scene s;
        setup(&s, 1000, max_threads);
        team_run(THREADS, replace_and_look, &s);
        finish(&s);
    }
}

/* Handles that were removed are tried again and again by others. */
static void collect_stale(void *context, unsigned thread)
{
    struct scene *s = context;
    table_handle stale[200];
    for (uint64_t i = 0; i < ROUNDS; i++) {
        table_handle handle = {0};
        if (!CHECK_STATUS(VBUF_OK, table_insert(&s->table, value_of_key(thread), &handle)))
            return;
        CHECK(table_contains(&s->table, handle)); /* one's own at once */
        CHECK_STATUS(VBUF_OK, table_remove(&s->table, handle));
        stale[i % 200] = handle;
        table_handle tried = stale[i * 7 % (i < 200 ? i + 1 : 200)];
        CHECK(!table_contains(&s->table, tried));
        CHECK_STATUS(VBUF_STALE, table_remove(&s->table, tried));
    }
    vbuf_u64_fetch_add_relaxed(&s->inserted, ROUNDS);
    vbuf_u64_fetch_add_relaxed(&s->removed, ROUNDS);
}

TEST(slotmap_threads, S1_stale_handles_never_resolve_while_slots_are_reused)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct scene s;
        setup(&s, 8, max_threads);
        team_run(THREADS, collect_stale, &s);
        finish(&s);
    }
}

#define STABLE 500

/* Iterates while others churn: what was live throughout is seen once, nothing twice. */
static void iterate_once(struct scene *s)
{
    unsigned char seen[STABLE] = {0};
    static __thread uint64_t met[4000];
    size_t count = 0;
    table_handle handle;
    table_pin(&s->table);
    struct slotmap_iter iter = slotmap_iter_begin(s->table.map);
    for (struct value *value; (value = table_next(&iter, &handle)) != NULL;) {
        CHECK(is_whole(value));
        if (value->key < STABLE)
            seen[value->key]++;
        if (count < 4000)
            met[count++] = slotmap_handle_index(slotmap_handle_from_u64(handle.bits));
    }
    table_unpin(&s->table);
    for (int i = 0; i < STABLE; i++)
        CHECK_EQ(seen[i], 1);
    for (size_t i = 1; i < count; i++)
        CHECK(met[i] > met[i - 1]); /* no slot twice */
}

static void churn_or_iterate(void *context, unsigned thread)
{
    struct scene *s = context;
    struct check_rng rng = {check_seed() + thread};
    if (thread >= 2) {
        do {
            iterate_once(s);
        } while (!gate_is_open(&s->done));
        return;
    }
    for (uint64_t i = 0; i < ROUNDS / 4; i++)
        replace(s, check_rng_next(&rng), STABLE + ((uint64_t)thread << 32 | i));
    gate_open(&s->done);
}

TEST(slotmap_threads, S7_iteration_beside_churn)
{
    struct scene s;
    setup(&s, 2000, 0);
    for (uint64_t key = 0; key < STABLE; key++)
        CHECK_STATUS(VBUF_OK, table_insert(&s.table, value_of_key(key), NULL));
    vbuf_u64_fetch_add_relaxed(&s.inserted, STABLE);
    team_run(THREADS, churn_or_iterate, &s);
    finish(&s);
}

/* Threads in generations: each lives for a few calls, more of them than numbers. */
static void live_shortly(void *context, unsigned thread)
{
    struct scene *s = context;
    struct check_rng rng = {check_seed() + vbuf_u64_fetch_add_relaxed(&s->handle, 1)};
    (void)thread;
    for (uint64_t i = 0; i < 100; i++) {
        replace(s, check_rng_next(&rng), i);
        look(s, check_rng_next(&rng));
    }
    if (s->exit_pinned)
        table_pin(&s->table); /* ends with the thread */
}

TEST(slotmap_threads, S6_threads_come_and_go)
{
    const uint32_t limits[] = {1, 2, 4, 0};
    for (size_t k = 0; k < 4; k++) {
        struct scene s;
        setup(&s, 1000, limits[k]);
        CHECK_STATUS(VBUF_OK, ebr_attach(slotmap_domain(s.table.map))); /* takes number 1 */
        s.exit_pinned = limits[k] == 0 || limits[k] == 4; /* a shared pin would stay */
        for (int i = 0; i < BUILD_COUNT(200, 50); i++)
            team_run(3, live_shortly, &s);
        finish(&s);
    }
}

/* Two maps on one domain, used by all threads at once, one replaced by a new one between rounds. */
struct pair {
    struct scene scenes[2];
};

static void use_both(void *context, unsigned thread)
{
    struct pair *p = context;
    struct check_rng rng = {check_seed() + thread};
    for (uint64_t i = 0; i < 500; i++) {
        uint64_t draw = check_rng_next(&rng);
        replace(&p->scenes[i % 2], draw, i);
        look(&p->scenes[(i + 1) % 2], draw);
    }
}

static void make_on(struct scene *s, struct ebr_domain *domain)
{
    struct slotmap_options options = {.max_len = 1000, .domain = domain};
    memset(s, 0, sizeof *s);
    CHECK_STATUS(VBUF_OK, table_create(&s->table, &options));
}

TEST(slotmap_threads, S3_maps_on_a_shared_domain)
{
    struct ebr_domain *domain = NULL;
    struct pair p;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    make_on(&p.scenes[0], domain);
    make_on(&p.scenes[1], domain);
    for (int round = 0; round < 20; round++) {
        team_run(THREADS, use_both, &p);
        table_destroy(&p.scenes[round % 2].table); /* with removals pending */
        make_on(&p.scenes[round % 2], domain);
    }
    table_destroy(&p.scenes[0].table);
    table_destroy(&p.scenes[1].table);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}
