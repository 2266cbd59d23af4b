/*
 * slotmap_sleepers_test.c - threads that used a map and now sleep: what they removed is destroyed by
 * others (S9), and holds nothing back (S5).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define SLEEPERS 4
#define MOST 1000

struct scene {
    struct slotmap *map;
    size_t max_len, removes;
    bool pinned; /* they sleep under a pin */
    pthread_barrier_t here;
    struct vbuf_atomic_u64 destroyed;
    struct slotmap_report stats;
};

static void count_destroyed(void *context, void *value)
{
    struct scene *s = context;
    CHECK_EQ(*(uint64_t *)value, 42);
    vbuf_u64_fetch_add_relaxed(&s->destroyed, 1);
}

static void setup(struct scene *s, size_t max_len, size_t max_limbo, uint32_t max_threads)
{
    struct slotmap_options options = {.value_size = 8,
                                      .max_len = max_len,
                                      .max_limbo = max_limbo,
                                      .max_threads = max_threads,
                                      .destroy = count_destroyed,
                                      .context = s};
    memset(s, 0, sizeof *s);
    s->max_len = max_len;
    pthread_barrier_init(&s->here, NULL, SLEEPERS + 1);
    CHECK_STATUS(VBUF_OK, slotmap_create(&s->map, &options));
    CHECK_STATUS(VBUF_OK, ebr_attach(slotmap_domain(s->map))); /* takes number 1 */
}

static uint64_t destroyed(struct scene *s)
{
    return vbuf_u64_load_relaxed(&s->destroyed);
}

static enum vbuf_status insert(struct scene *s, slotmap_handle *handle)
{
    uint64_t value = 42;
    return slotmap_insert(s->map, &value, handle);
}

static void insert_and_remove(struct scene *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        slotmap_handle handle;
        enum vbuf_status status;
        do { /* busy: another was stopped in the middle of something */
            status = insert(s, &handle);
        } while (status == VBUF_BUSY);
        if (CHECK_STATUS(VBUF_OK, status))
            CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, handle, NULL));
    }
}

static void sleep_after_removing(struct scene *s)
{
    if (s->pinned)
        slotmap_pin(s->map);
    insert_and_remove(s, s->removes);
    pthread_barrier_wait(&s->here); /* asleep … */
    pthread_barrier_wait(&s->here); /* … until here */
    if (s->pinned)
        slotmap_unpin(s->map);
    pthread_barrier_wait(&s->here);
    pthread_barrier_wait(&s->here);
    insert_and_remove(s, s->removes); /* it works on, whatever was taken from it */
}

static void collect_beside_sleepers(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread != 0) {
        sleep_after_removing(s);
        return;
    }
    uint64_t all = SLEEPERS * s->removes;
    pthread_barrier_wait(&s->here);
    slotmap_collect(s->map);
    CHECK_EQ(destroyed(s), s->pinned ? 0 : all); /* S3: their pins protect */
    pthread_barrier_wait(&s->here);
    pthread_barrier_wait(&s->here); /* all are unpinned, and asleep again */
    slotmap_collect(s->map);
    CHECK_EQ(destroyed(s), all);
    CHECK_STATUS(VBUF_OK, slotmap_stats(s->map, &s->stats));
    CHECK_EQ(s->stats.limbo, 0);
    CHECK_EQ(s->stats.destroyed, all);
    pthread_barrier_wait(&s->here);
}

static void finish(struct scene *s)
{
    slotmap_collect(s->map);
    CHECK_STATUS(VBUF_OK, slotmap_stats(s->map, &s->stats));
    CHECK_EQ(s->stats.destroyed, s->stats.removed);
    CHECK_EQ(s->stats.limbo, 0);
    slotmap_destroy(s->map);
    CHECK_EQ(destroyed(s), s->stats.inserted);
    pthread_barrier_destroy(&s->here);
}

static const size_t removes[] = {1, 10, 63, 64, 65, 300, 2000};
#define REMOVES (sizeof removes / sizeof *removes)

TEST(slotmap_sleepers, S9_collect_destroys_what_sleeping_threads_removed)
{
    for (size_t i = 0; i < REMOVES; i++) {
        for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
            struct scene s;
            setup(&s, MOST, 0, max_threads);
            s.removes = removes[i];
            team_run(SLEEPERS + 1, collect_beside_sleepers, &s);
            finish(&s);
        }
    }
}

TEST(slotmap_sleepers, S3_S9_collect_leaves_what_sleeping_pins_protect)
{
    for (size_t i = 0; i < REMOVES; i++) {
        for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
            struct scene s;
            setup(&s, MOST, 1000000, max_threads);
            s.removes = removes[i];
            s.pinned = true;
            team_run(SLEEPERS + 1, collect_beside_sleepers, &s);
            finish(&s);
        }
    }
}

/* max_limbo is tiny, sleepers have removed more than that, and nobody is pinned: nothing waits. */
static void fill_beside_sleepers(void *context, unsigned thread)
{
    struct scene *s = context;
    slotmap_handle handles[MOST];
    if (thread != 0) {
        insert_and_remove(s, s->removes);
        pthread_barrier_wait(&s->here);
        pthread_barrier_wait(&s->here);
        return;
    }
    pthread_barrier_wait(&s->here);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < s->max_len; i++)
            CHECK_STATUS(VBUF_OK, insert(s, &handles[i])); /* no REQUIRE: the others wait */
        CHECK_STATUS(VBUF_FULL, insert(s, NULL));
        for (size_t i = 0; i < s->max_len; i++)
            CHECK_STATUS(VBUF_OK, slotmap_remove(s->map, handles[i], NULL));
    }
    pthread_barrier_wait(&s->here);
}

TEST(slotmap_sleepers, S5_what_sleepers_removed_is_not_in_the_way)
{
    const size_t lens[] = {5, 64, 100, MOST};
    for (size_t i = 0; i < REMOVES; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct scene s;
            setup(&s, lens[k], 1, k % 2 == 0 ? 9 : 3);
            s.removes = removes[i];
            team_run(SLEEPERS + 1, fill_beside_sleepers, &s);
            finish(&s);
        }
    }
}

/* Owners at work while others collect all the time, and take their lists from them now and then. */
static void work_or_collect(void *context, unsigned thread)
{
    struct scene *s = context;
    for (int i = 0; i < BUILD_COUNT(300, 60); i++) {
        if (thread >= 3) {
            slotmap_collect(s->map);
            continue;
        }
        insert_and_remove(s, 100);
        if (i % 10 == (int)thread)
            team_sleep_us(200);
    }
}

TEST(slotmap_sleepers, S6_S9_collectors_and_owners_at_once)
{
    for (uint32_t max_threads = 1; max_threads <= 9; max_threads += 4) {
        struct scene s;
        setup(&s, MOST, 0, max_threads);
        team_run(SLEEPERS + 1, work_or_collect, &s);
        CHECK_STATUS(VBUF_OK, slotmap_stats(s.map, &s.stats));
        CHECK_EQ(s.stats.inserted, s.stats.removed);
        CHECK_EQ(s.stats.len, 0);
        finish(&s);
    }
}
