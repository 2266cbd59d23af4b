/*
 * atomic_test.c - the atomics: layout, each operation's arithmetic, and that read-modify-writes are one
 * step under contention. What each ordering means is the litmus tests' matter.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/atomic.h"

#include <stddef.h>

#include "build_kind.h"
#include "check.h"
#include "team.h"

/* After a char, so that an atomic without its own alignment would sit at the wrong offset somewhere. */
struct shifted_u64 {
    char before;
    struct vbuf_atomic_u64 atomic;
};

TEST(atomic, layout_is_the_bare_type_aligned_to_its_size)
{
    CHECK_EQ(sizeof(struct vbuf_atomic_u8), 1);
    CHECK_EQ(sizeof(struct vbuf_atomic_u32), 4);
    CHECK_EQ(sizeof(struct vbuf_atomic_u64), 8);
    CHECK_EQ(sizeof(struct vbuf_atomic_pointer), sizeof(void *));
    CHECK_EQ(_Alignof(struct vbuf_atomic_u8), 1);
    CHECK_EQ(_Alignof(struct vbuf_atomic_u32), 4);
    CHECK_EQ(_Alignof(struct vbuf_atomic_u64), 8);
    CHECK_EQ(_Alignof(struct vbuf_atomic_pointer), sizeof(void *));
    CHECK_EQ(offsetof(struct shifted_u64, atomic), 8);
}

/* Wrap-around included: each width must use its own arithmetic. */
#define DEFINE_COUNT_TEST(name, type, most)                                                        \
    TEST(atomic, name##_operations)                                                                \
    {                                                                                              \
        struct vbuf_atomic_##name a = {0};                                                         \
        type expected;                                                                             \
        vbuf_##name##_store_relaxed(&a, 5);                                                        \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 5);                                               \
        vbuf_##name##_store_release(&a, most);                                                     \
        CHECK_EQ(vbuf_##name##_load_acquire(&a), most);                                            \
        CHECK_EQ(vbuf_##name##_exchange_acq_rel(&a, 7), most);                                     \
        CHECK_EQ(vbuf_##name##_fetch_add_relaxed(&a, 1), 7);                                       \
        CHECK_EQ(vbuf_##name##_fetch_add_acquire(&a, 1), 8);                                       \
        CHECK_EQ(vbuf_##name##_fetch_add_acq_rel(&a, 1), 9);                                       \
        CHECK_EQ(vbuf_##name##_fetch_add_acq_rel(&a, most), 10); /* minus 1 */                     \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 9);                                               \
        expected = 8;                                                                              \
        CHECK(!vbuf_##name##_cas_acquire(&a, &expected, 100));                                     \
        CHECK_EQ(expected, 9);                                                                     \
        CHECK(vbuf_##name##_cas_acquire(&a, &expected, 100));                                      \
        CHECK_EQ(expected, 9);                                                                     \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 100);                                             \
        expected = 99;                                                                             \
        CHECK(!vbuf_##name##_cas_acq_rel(&a, &expected, 1));                                       \
        CHECK_EQ(expected, 100);                                                                   \
        CHECK(vbuf_##name##_cas_acq_rel(&a, &expected, 101));                                      \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 101);                                             \
        vbuf_##name##_max_release(&a, 100);                                                        \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 101);                                             \
        vbuf_##name##_max_release(&a, 101);                                                        \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), 101);                                             \
        vbuf_##name##_max_release(&a, most);                                                       \
        CHECK_EQ(vbuf_##name##_load_relaxed(&a), most);                                            \
    }

DEFINE_COUNT_TEST(u8, uint8_t, UINT8_MAX)
DEFINE_COUNT_TEST(u32, uint32_t, UINT32_MAX)
DEFINE_COUNT_TEST(u64, uint64_t, UINT64_MAX)

TEST(atomic, pointer_operations)
{
    int x = 0, y = 0;
    struct vbuf_atomic_pointer a = {NULL};
    void *expected = &y;
    CHECK(vbuf_pointer_load_relaxed(&a) == NULL);
    vbuf_pointer_store_relaxed(&a, &x);
    CHECK(vbuf_pointer_load_acquire(&a) == &x);
    CHECK(!vbuf_pointer_cas_acq_rel(&a, &expected, NULL));
    CHECK(expected == &x);
    CHECK(vbuf_pointer_cas_acquire(&a, &expected, &y));
    CHECK(vbuf_pointer_exchange_acq_rel(&a, NULL) == &y);
    vbuf_pointer_store_release(&a, &y);
    CHECK(vbuf_pointer_load_relaxed(&a) == &y);
}

TEST(atomic, owner_adds)
{
    struct vbuf_atomic_u64 a = {40};
    vbuf_u64_owner_add_relaxed(&a, 1);
    vbuf_u64_owner_add_release(&a, 1);
    CHECK_EQ(vbuf_u64_load_relaxed(&a), 42);
}

/* One field a kind of step; each thread adds its share to each. */
struct contended {
    struct vbuf_atomic_u32 added;
    struct vbuf_atomic_u32 swapped;
    struct vbuf_atomic_u8 small;
    struct vbuf_atomic_u64 highest;
    struct vbuf_atomic_u64 exchanged; /* sum of what exchange handed out */
    struct vbuf_atomic_u64 token;
};

#define CONTENDERS 4
#define ROUNDS 5000

static void contend(void *context, unsigned index)
{
    struct contended *c = context;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        vbuf_u32_fetch_add_relaxed(&c->added, 1);
        vbuf_u8_fetch_add_relaxed(&c->small, 1);
        uint32_t seen = vbuf_u32_load_relaxed(&c->swapped);
        while (!vbuf_u32_cas_acq_rel(&c->swapped, &seen, seen + 1)) {
        }
        vbuf_u64_max_release(&c->highest, (uint64_t)i * CONTENDERS + index);
        uint64_t before =
            vbuf_u64_exchange_acq_rel(&c->token, 1 + (uint64_t)i * CONTENDERS + index);
        vbuf_u64_fetch_add_relaxed(&c->exchanged, before);
    }
}

TEST(atomic, read_modify_writes_lose_nothing_under_contention)
{
    struct contended c = {{0}, {0}, {0}, {0}, {0}, {0}};
    team_run(CONTENDERS, contend, &c);
    uint64_t steps = (uint64_t)CONTENDERS * ROUNDS;
    CHECK_EQ(vbuf_u32_load_relaxed(&c.added), steps);
    CHECK_EQ(vbuf_u32_load_relaxed(&c.swapped), steps);
    CHECK_EQ(vbuf_u8_load_relaxed(&c.small), steps % 256);
    CHECK_EQ(vbuf_u64_load_relaxed(&c.highest), steps - 1);
    /* Every token but the last was handed out once. */
    CHECK_EQ(vbuf_u64_load_relaxed(&c.exchanged) + vbuf_u64_load_relaxed(&c.token),
             steps * (steps + 1) / 2);
}
