/*
 * slotmap_capacity_test.c - S5: max_len values always fit and never one more, whatever slots and room
 * other threads cache, sleep on or left behind; VBUF_BUSY past max_limbo, and back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define MOST 5000

static struct slotmap *make(size_t max_len, size_t max_limbo, uint32_t max_threads)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = 8, .max_len = max_len, .max_limbo = max_limbo, .max_threads = max_threads};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    return map;
}

static struct slotmap_report stats_of(struct slotmap *map)
{
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    return stats;
}

/* Inserts until max_len live, sees that the next is FULL and that all are there. */
static void fill(struct slotmap *map, slotmap_handle *handles, size_t live, size_t max_len)
{
    for (size_t i = live; i < max_len; i++) {
        uint64_t value = i;
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handles[i])));
    }
    for (int again = 0; again < 3; again++) {
        uint64_t value = 0;
        slotmap_handle none = {77};
        CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, &none));
        CHECK_EQ(none.bits, 77);
    }
    CHECK_EQ(slotmap_len(map), max_len);
    for (size_t i = live; i < max_len; i++) {
        uint64_t value = 0;
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], &value)));
        REQUIRE(value == i);
    }
}

static void empty(struct slotmap *map, slotmap_handle *handles, size_t count)
{
    for (size_t i = 0; i < count; i++)
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL)));
}

static const size_t lens[] = {1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 128, 1000, MOST};
#define LENS (sizeof lens / sizeof *lens)

TEST(slotmap_capacity, S5_one_thread_fills_and_empties_exactly)
{
    static slotmap_handle handles[MOST];
    for (size_t i = 0; i < LENS; i++) {
        struct slotmap *map = make(lens[i], 0, 0);
        for (int round = 0; round < 4; round++) {
            fill(map, handles, 0, lens[i]);
            CHECK_EQ(stats_of(map).len, lens[i]);
            empty(map, handles, lens[i]);
            CHECK_EQ(slotmap_len(map), 0);
        }
        slotmap_destroy(map);
    }
}

TEST(slotmap_capacity, S5_one_place_is_freed_and_taken_at_a_time)
{
    static slotmap_handle handles[MOST];
    for (size_t i = 0; i < LENS; i++) {
        struct slotmap *map = make(lens[i], 1, 1);
        fill(map, handles, 0, lens[i]);
        for (size_t k = 0; k < 1000; k++) {
            uint64_t value = 0;
            CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[k % lens[i]], NULL));
            /* Nobody is pinned: however small max_limbo is, nothing waits for a pin. */
            REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handles[k % lens[i]])));
            REQUIRE(CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL)));
        }
        slotmap_destroy(map);
    }
}

/* Threads that use the map, and then sleep, with whatever they have cached, or exit. */
struct sleepers {
    struct slotmap *map;
    size_t max_len;
    pthread_barrier_t cached;
    pthread_barrier_t woken;
    bool exit;
};

#define SLEEPERS 5

static void cache_and_sleep(struct sleepers *s, unsigned thread)
{
    struct check_rng rng = {check_seed() + thread};
    slotmap_handle held[64];
    size_t count = 0;
    for (int i = 0; i < 3000; i++) {
        uint64_t value = thread;
        if (count < 64 && (count == 0 || check_rng_next(&rng) % 2 == 0)) {
            enum vbuf_status status = slotmap_insert(s->map, &value, &held[count]);
            count += status == VBUF_OK;
            /* Busy: another was stopped while it handed room over. */
            CHECK(status == VBUF_OK || status == VBUF_FULL || status == VBUF_BUSY);
        } else {
            CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, held[--count], NULL));
        }
    }
    while (count > 0)
        CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, held[--count], NULL));
}

static void fill_beside_sleepers(void *context, unsigned thread)
{
    static slotmap_handle handles[MOST];
    struct sleepers *s = context;
    if (thread == 0) {
        pthread_barrier_wait(&s->cached);
        for (int round = 0; round < 2; round++) {
            CHECK_EQ(slotmap_len(s->map), 0);
            fill(s->map, handles, 0, s->max_len);
            empty(s->map, handles, s->max_len);
        }
        pthread_barrier_wait(&s->woken);
        return;
    }
    cache_and_sleep(s, thread);
    pthread_barrier_wait(&s->cached);
    pthread_barrier_wait(&s->woken);
    cache_and_sleep(s, thread); /* and it still works for those that slept */
}

TEST(slotmap_capacity, S5_max_len_fit_beside_sleeping_threads)
{
    for (size_t i = 0; i < LENS; i++) {
        for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
            struct sleepers s = {.map = make(lens[i], 0, max_threads), .max_len = lens[i]};
            pthread_barrier_init(&s.cached, NULL, SLEEPERS);
            pthread_barrier_init(&s.woken, NULL, SLEEPERS);
            team_run(SLEEPERS, fill_beside_sleepers, &s);
            pthread_barrier_destroy(&s.cached);
            pthread_barrier_destroy(&s.woken);
            CHECK_EQ(slotmap_len(s.map), 0);
            slotmap_destroy(s.map);
        }
    }
}

static void cache_and_exit(void *context, unsigned thread)
{
    cache_and_sleep(context, thread);
}

TEST(slotmap_capacity, S5_max_len_fit_after_threads_have_exited)
{
    static slotmap_handle handles[MOST];
    for (size_t i = 0; i < LENS; i++) {
        struct sleepers s = {.map = make(lens[i], 0, 0), .max_len = lens[i]};
        for (int round = 0; round < 3; round++) {
            team_run(SLEEPERS, cache_and_exit, &s);
            fill(s.map, handles, 0, lens[i]);
            empty(s.map, handles, lens[i]);
        }
        slotmap_destroy(s.map);
    }
}

/* Some threads sleep while they hold live values: the rest of max_len fits, exactly. */
struct holders {
    struct slotmap *map;
    size_t max_len, each;
    pthread_barrier_t here;
};

static void hold_or_fill(void *context, unsigned thread)
{
    static slotmap_handle handles[MOST];
    struct holders *h = context;
    slotmap_handle held[100];
    if (thread == 0) {
        pthread_barrier_wait(&h->here);
        fill(h->map, handles, 3 * h->each, h->max_len);
        empty(h->map, handles + 3 * h->each, h->max_len - 3 * h->each);
        pthread_barrier_wait(&h->here);
        return;
    }
    for (size_t i = 0; i < h->each; i++) {
        uint64_t value = i;
        enum vbuf_status status;
        do { /* busy: another was stopped while it handed room over */
            status = slotmap_insert(h->map, &value, &held[i]);
        } while (status == VBUF_BUSY);
        CHECK_STATUS(VBUF_OK, status);
    }
    pthread_barrier_wait(&h->here);
    pthread_barrier_wait(&h->here);
    for (size_t i = 0; i < h->each; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(h->map, held[i], NULL));
}

TEST(slotmap_capacity, S5_the_rest_of_max_len_fits_beside_live_values_of_others)
{
    const size_t eachs[] = {1, 2, 10, 64, 100};
    for (size_t i = 0; i < sizeof eachs / sizeof *eachs; i++) {
        for (size_t more = 0; more < 3; more++) {
            size_t max_len = 3 * eachs[i] + more * 7;
            struct holders h = {.map = make(max_len, 0, 0), .max_len = max_len, .each = eachs[i]};
            pthread_barrier_init(&h.here, NULL, 4);
            team_run(4, hold_or_fill, &h);
            pthread_barrier_destroy(&h.here);
            slotmap_destroy(h.map);
        }
    }
}

/* Never more than max_len live: whoever is let in counts itself before, and out after. */
struct strict {
    struct slotmap *map;
    size_t max_len;
    struct vbuf_atomic_u64 live; /* inserted by now, as seen by those who inserted */
    struct vbuf_atomic_u64 full;
};

static void insert_strictly(void *context, unsigned thread)
{
    struct strict *s = context;
    struct check_rng rng = {check_seed() + thread};
    slotmap_handle held[16];
    size_t count = 0;
    for (int i = 0; i < BUILD_COUNT(30000, 3000); i++) {
        uint64_t value = thread;
        if (count < 16 && check_rng_next(&rng) % 3 != 0) {
            enum vbuf_status status = slotmap_insert(s->map, &value, &held[count]);
            if (status == VBUF_OK) {
                count++;
                CHECK(vbuf_u64_fetch_add_acq_rel(&s->live, 1) < s->max_len);
            } else if (CHECK(status == VBUF_FULL || status == VBUF_BUSY)) {
                vbuf_u64_fetch_add_relaxed(&s->full, 1);
            }
        } else if (count > 0) {
            vbuf_u64_fetch_add_acq_rel(&s->live, UINT64_MAX); /* before the remove lets others in */
            CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, held[--count], NULL));
        }
        CHECK(slotmap_len(s->map) <= s->max_len);
    }
    while (count > 0) {
        vbuf_u64_fetch_add_acq_rel(&s->live, UINT64_MAX);
        CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, held[--count], NULL));
    }
}

TEST(slotmap_capacity, S5_never_more_than_max_len_live_under_contention)
{
    static slotmap_handle handles[MOST];
    const size_t few[] = {1, 2, 5, 10, 15};
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
            struct strict s = {.map = make(few[i], 0, max_threads), .max_len = few[i]};
            team_run(4, insert_strictly, &s);
            CHECK(vbuf_u64_load_relaxed(&s.full) > 0); /* or it was never tight */
            CHECK_EQ(slotmap_len(s.map), 0);
            fill(s.map, handles, 0, few[i]);
            slotmap_destroy(s.map);
        }
    }
}

/* With as many places as threads ask for at most, FULL may never be said. */
static void keep_one(void *context, unsigned thread)
{
    struct slotmap *map = context;
    for (int i = 0; i < BUILD_COUNT(30000, 3000); i++) {
        uint64_t value = thread;
        slotmap_handle handle;
        enum vbuf_status status = slotmap_insert(map, &value, &handle);
        if (status == VBUF_BUSY) /* another was stopped while it handed room over */
            continue;
        if (!CHECK_STATUS(VBUF_OK, status))
            return;
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
}

TEST(slotmap_capacity, S5_insert_is_full_only_if_max_len_are_live_or_being_inserted)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct slotmap *map = make(4, 0, max_threads);
        team_run(4, keep_one, map);
        slotmap_destroy(map);
    }
}

/* Inserts and removes under another thread's pin until insert refuses. */
static size_t fill_limbo(struct slotmap *map, size_t most)
{
    for (size_t i = 0; i < most; i++) {
        uint64_t value = i;
        slotmap_handle handle;
        size_t limbo = stats_of(map).limbo;
        enum vbuf_status status = slotmap_insert(map, &value, &handle);
        if (status != VBUF_OK) {
            CHECK_STATUS(VBUF_BUSY, status);
            CHECK(limbo > stats_of(map).max_limbo); /* iff: not before */
            return i;
        }
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
    return most;
}

TEST(slotmap_capacity, S5_busy_iff_more_than_max_limbo_wait_for_a_pin)
{
    const size_t limbos[] = {1, 20, 64, 1000};
    static slotmap_handle handles[MOST];
    for (size_t i = 0; i < sizeof limbos / sizeof *limbos; i++) {
        struct slotmap *map = make(10, limbos[i], 2);
        struct pinner pinner;
        pinner_start(&pinner, slotmap_domain(map));
        size_t count = fill_limbo(map, 100000);
        CHECK(count > limbos[i]);
        CHECK(count <= limbos[i] + SLOTMAP_BATCH_); /* what the thread had in hand */
        struct slotmap_report stats = stats_of(map);
        CHECK_EQ(stats.limbo, count);
        CHECK_EQ(stats.len, 0); /* the refused insert changed nothing */
        CHECK_EQ(stats.domain.stalled_thread, pinner.system_id); /* S5: stats name the pin */
        uint64_t value = 1;
        for (int again = 0; again < 10; again++)
            CHECK_STATUS(VBUF_BUSY, slotmap_insert(map, &value, NULL));
        pinner_unpin(&pinner);
        fill(map, handles, 0, 10); /* back to normal at once */
        CHECK(stats_of(map).limbo <= limbos[i]);
        pinner_stop(&pinner);
        slotmap_destroy(map);
    }
}

TEST(slotmap_capacity, S5_max_len_fit_while_limbo_is_at_its_limit)
{
    static slotmap_handle handles[MOST];
    const size_t limbos[] = {1, 10, 63, 64, 65, 500};
    for (size_t i = 0; i < sizeof limbos / sizeof *limbos; i++) {
        for (size_t k = 0; k < LENS; k++) {
            struct slotmap *map = make(lens[k], limbos[i], 2);
            struct pinner pinner;
            pinner_start(&pinner, slotmap_domain(map));
            for (size_t waiting = 0; waiting < limbos[i]; waiting++) {
                uint64_t value = 0;
                REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handles[0])));
                REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[0], NULL)));
            }
            CHECK_EQ(stats_of(map).limbo, limbos[i]);
            fill(map, handles, 0, lens[k]);
            pinner_stop(&pinner);
            slotmap_destroy(map);
        }
    }
}
