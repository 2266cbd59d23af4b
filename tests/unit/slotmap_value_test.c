/*
 * slotmap_value_test.c - updatable maps: values that are written in place, and read whole (S4).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "check.h"
#include "slotmap/slotmap.h"
#include "team.h"

#define MOST 300

static struct slotmap *make(size_t size, size_t align)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = size,
                                      .value_align = align,
                                      .max_len = 100,
                                      .max_threads = 8,
                                      .updatable = true};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    return map;
}

static void fill(unsigned char *value, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)(seed * 31 + i * 7);
}

TEST(slotmap_value, sizes_that_are_no_multiples_of_a_word)
{
    const struct {
        size_t size, align;
    } shapes[] = {{1, 1},  {2, 2},  {3, 1},   {7, 1},  {8, 8},   {9, 1},
                  {12, 4}, {15, 1}, {16, 16}, {17, 1}, {64, 64}, {255, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t size = shapes[s].size;
        struct slotmap *map = make(size, shapes[s].align);
        unsigned char written[MOST], seen[MOST];
        slotmap_handle handles[50];
        for (unsigned i = 0; i < 50; i++) {
            fill(written, size, i);
            CHECK_STATUS(VBUF_OK, slotmap_insert(map, written, &handles[i]));
        }
        for (unsigned round = 0; round < 5; round++) {
            for (unsigned i = 0; i < 50; i++) {
                memset(seen, 0xEE, sizeof seen);
                CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], seen));
                fill(written, size, i + round * 50);
                REQUIRE(memcmp(written, seen, size) == 0);
                REQUIRE(seen[size] == 0xEE); /* and no more */
                fill(written, size, i + round * 50 + 50);
                CHECK_STATUS(VBUF_OK, slotmap_write(map, handles[i], written));
            }
        }
        slotmap_destroy(map);
    }
}

TEST(slotmap_value, write_says_what_is_wrong)
{
    struct slotmap *map = make(8, 8), *fixed = NULL;
    struct slotmap_options options = {.value_size = 8, .max_len = 10, .max_threads = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&fixed, &options)));
    uint64_t value = 1;
    slotmap_handle handle, other;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    CHECK_STATUS(VBUF_OK, slotmap_insert(fixed, &value, &other));
    CHECK_STATUS(VBUF_INVALID, slotmap_write(map, handle, NULL));
    CHECK_STATUS(VBUF_INVALID, slotmap_write(fixed, other, &value));
    CHECK_STATUS(VBUF_STALE, slotmap_write(map, (slotmap_handle){0}, &value));
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    CHECK_STATUS(VBUF_STALE, slotmap_write(map, handle, &value));
    slotmap_destroy(map);
    slotmap_destroy(fixed);
}

/* Every life begins with its own value, however often the last was written. */
TEST(slotmap_value, a_new_life_begins_with_what_was_inserted)
{
    struct slotmap *map = make(16, 8);
    for (uint64_t life = 0; life < 1000; life++) {
        uint64_t value[2] = {life, ~life}, seen[2];
        slotmap_handle handle;
        CHECK_STATUS(VBUF_OK, slotmap_insert(map, value, &handle));
        for (uint64_t i = 0; i <= life % 3; i++) {
            CHECK_STATUS(VBUF_OK, slotmap_read(map, handle, seen));
            REQUIRE(seen[0] == life + i && seen[1] == ~(life + i));
            value[0] = life + i + 1;
            value[1] = ~value[0];
            CHECK_STATUS(VBUF_OK, slotmap_write(map, handle, value));
        }
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
    slotmap_destroy(map);
}

static uint64_t destroyed_sum;

static void add_destroyed(void *context, void *value)
{
    (void)context;
    destroyed_sum += *(uint64_t *)value;
}

TEST(slotmap_value, the_destructor_and_the_remover_get_what_was_written_last)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8,
                                      .max_len = 10,
                                      .max_threads = 1,
                                      .updatable = true,
                                      .destroy = add_destroyed};
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    destroyed_sum = 0;
    uint64_t value = 1;
    slotmap_handle removed, kept;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &removed));
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &kept));
    value = 100;
    CHECK_STATUS(VBUF_OK, slotmap_write(map, removed, &value));
    value = 1000;
    CHECK_STATUS(VBUF_OK, slotmap_write(map, kept, &value));
    slotmap_pin(map);
    void *last = NULL;
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, removed, &last));
    CHECK_EQ(*(uint64_t *)last, 100);
    CHECK_EQ(slotmap_handle_of(map, last).bits, removed.bits);
    slotmap_unpin(map);
    slotmap_collect(map);
    CHECK_EQ(destroyed_sum, 100);
    slotmap_destroy(map);
    CHECK_EQ(destroyed_sum, 1100);
}

SLOTMAP_DEFINE(fixed_words, uint64_t)

TEST(slotmap_value, the_typed_form_of_values_that_stay_refuses_other_kinds)
{
    struct fixed_words words;
    CHECK_STATUS(VBUF_INVALID,
                 fixed_words_create(&words, &(struct slotmap_options){.updatable = true}));
    CHECK_STATUS(VBUF_INVALID,
                 fixed_words_create(&words, &(struct slotmap_options){.revivable = true}));
}

/* ---- the typed form ---- */

struct point {
    float x, y, z;
};

struct aligned_pair {
    _Alignas(32) uint64_t words[8];
};

SLOTMAP_DEFINE_UPDATABLE(points, struct point)
SLOTMAP_DEFINE_UPDATABLE(pairs, struct aligned_pair)
SLOTMAP_DEFINE_UPDATABLE(flags, uint8_t)

TEST(slotmap_value, the_typed_layout_is_the_untyped_one)
{
    struct points p;
    struct pairs a;
    struct flags f;
    REQUIRE(CHECK_STATUS(VBUF_OK, points_create(&p, NULL)));
    REQUIRE(CHECK_STATUS(VBUF_OK, pairs_create(&a, NULL)));
    REQUIRE(CHECK_STATUS(VBUF_OK, flags_create(&f, NULL)));
    CHECK(p.map->updatable_ && a.map->updatable_ && f.map->updatable_);
    CHECK_EQ(p.map->slot_size_, points_slot_size_);
    CHECK_EQ(p.map->value_offset_, points_value_offset_);
    CHECK_EQ(a.map->slot_size_, pairs_slot_size_);
    CHECK_EQ(a.map->value_offset_, pairs_value_offset_);
    CHECK_EQ(f.map->slot_size_, flags_slot_size_);
    CHECK_EQ(f.map->value_offset_, flags_value_offset_);
    points_destroy(&p);
    pairs_destroy(&a);
    flags_destroy(&f);
    CHECK_STATUS(VBUF_INVALID, points_create(&p, &(struct slotmap_options){.revivable = true}));
}

TEST(slotmap_value, typed_calls_are_the_untyped_ones)
{
    struct points m;
    points_handle handles[20], handle = {0};
    struct point point, untyped;
    REQUIRE(CHECK_STATUS(VBUF_OK, points_create(&m, &(struct slotmap_options){.max_len = 20})));
    for (unsigned life = 0; life < 12; life++) { /* more than there are fresh slots for */
        for (unsigned i = 0; i < 20; i++) {
            float number = (float)(life * 20 + i);
            point = (struct point){number, number + 1, number + 2};
            REQUIRE(CHECK_STATUS(VBUF_OK, points_insert(&m, point, &handles[i])));
        }
        CHECK_STATUS(VBUF_FULL, points_insert(&m, point, NULL));
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < 20; i++) {
                slotmap_handle bits = slotmap_handle_from_u64(handles[i].bits);
                REQUIRE(CHECK_STATUS(VBUF_OK, points_read(&m, handles[i], &point)));
                REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_read(m.map, bits, &untyped)));
                CHECK_EQ(memcmp(&point, &untyped, sizeof point), 0);
                CHECK_EQ((unsigned)point.x, life * 20 + i + round);
                CHECK_EQ((unsigned)point.z, life * 20 + i + 2);
                point.x += 1;
                CHECK_STATUS(VBUF_OK, points_write(&m, handles[i], &point));
            }
        }
        unsigned count = 0;
        points_pin(&m);
        struct slotmap_iter iter = slotmap_iter_begin(m.map);
        for (; points_next(&iter, &handle); count++)
            CHECK(points_contains(&m, handle));
        points_unpin(&m);
        CHECK_EQ(count, 20);
        for (unsigned i = 0; i < 20; i++)
            CHECK_STATUS(VBUF_OK, points_remove(&m, handles[i]));
        CHECK_STATUS(VBUF_STALE, points_read(&m, handles[0], &point));
        CHECK_STATUS(VBUF_STALE, points_write(&m, handles[0], &point));
        CHECK(!points_contains(&m, handles[0]));
        slotmap_collect(m.map);
    }
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(m.map, &stats));
    CHECK(stats.slots < 12 * 20); /* slots lived again, and began anew */
    points_destroy(&m);
}

TEST(slotmap_value, the_typed_form_of_values_that_stay_reads_too)
{
    struct fixed_words m;
    fixed_words_handle handle = {0};
    uint64_t word = 0;
    REQUIRE(CHECK_STATUS(VBUF_OK, fixed_words_create(&m, NULL)));
    REQUIRE(CHECK_STATUS(VBUF_OK, fixed_words_insert(&m, 77, &handle)));
    CHECK_STATUS(VBUF_OK, fixed_words_read(&m, handle, &word));
    CHECK_EQ(word, 77);
    CHECK_STATUS(VBUF_OK, fixed_words_remove(&m, handle));
    CHECK_STATUS(VBUF_STALE, fixed_words_read(&m, handle, &word));
    fixed_words_destroy(&m);
}

/* ---- threads ---- */

struct shared {
    struct slotmap *map;
    slotmap_handle handles[4];
    struct vbuf_atomic_u32 stop;
    struct vbuf_atomic_u64 writes, busy, reads;
};

struct checked {
    uint64_t first, words[5], last;
    unsigned char tail[3];
};

static struct checked checked_of(uint64_t seed)
{
    struct checked value;
    memset(&value, 0, sizeof value);
    value.first = seed;
    for (unsigned i = 0; i < 5; i++)
        value.words[i] = seed * (i + 3);
    value.last = ~seed;
    memset(value.tail, (int)(seed & 0x7f), sizeof value.tail);
    return value;
}

static bool is_whole(const struct checked *value)
{
    struct checked expected = checked_of(value->first);
    return memcmp(&expected, value, sizeof expected) == 0;
}

static void read_or_write(void *context, unsigned thread)
{
    struct shared *s = context;
    for (uint64_t i = 0; i < 20000; i++) {
        slotmap_handle handle = s->handles[i % 4];
        struct checked value;
        if (thread % 2 == 0) {
            if (CHECK_STATUS(VBUF_OK, slotmap_read(s->map, handle, &value)))
                CHECK(is_whole(&value));
            vbuf_u64_fetch_add_relaxed(&s->reads, 1);
            continue;
        }
        value = checked_of(i * 8 + thread);
        enum vbuf_status status = slotmap_write(s->map, handle, &value);
        CHECK(status == VBUF_OK || status == VBUF_BUSY);
        vbuf_u64_fetch_add_relaxed(status == VBUF_OK ? &s->writes : &s->busy, 1);
    }
}

TEST(slotmap_value, S4_reads_are_whole_while_others_write)
{
    struct shared s = {.map = make(sizeof(struct checked), 8)};
    for (unsigned i = 0; i < 4; i++) {
        struct checked value = checked_of(i);
        CHECK_STATUS(VBUF_OK, slotmap_insert(s.map, &value, &s.handles[i]));
    }
    team_run(4, read_or_write, &s);
    CHECK(vbuf_u64_load_relaxed(&s.writes) > 0);
    slotmap_destroy(s.map);
}
