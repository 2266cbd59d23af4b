/*
 * cvec_litmus_test.c - one litmus for each guarantee of cvec, for ThreadSanitizer: elements are plain
 * data, threads share no other synchronisation, so a missing order is a race that it reports.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "team.h"

#define ELEMENTS BUILD_COUNT(200000u, 50000u)

/* Plain on purpose. All fields follow from `key`. */
struct element {
    uint64_t key;
    uint64_t twice;
    uint32_t thread;
    uint32_t low;
};

CVEC_DEFINE(elements, struct element)

static struct element element_of(unsigned thread, uint64_t number)
{
    uint64_t key = (uint64_t)thread << 32 | number;
    return (struct element){key, key * 2, thread, (uint32_t)number};
}

static bool is_whole(const struct element *e)
{
    return e->twice == e->key * 2 && e->thread == e->key >> 32 && e->low == (uint32_t)e->key;
}

struct litmus {
    struct elements v;
    struct vbuf_atomic_u32 refuse; /* relaxed: must order nothing */
    struct vbuf_atomic_u32 done;   /* likewise */
};

static bool allow_or_refuse(void *context, size_t bytes)
{
    struct litmus *l = context;
    (void)bytes;
    return vbuf_u32_load_relaxed(&l->refuse) % 3 != 1;
}

static void setup(struct litmus *l, size_t max_len)
{
    memset(l, 0, sizeof *l);
    struct cvec_options options = {.max_len = max_len, .on_commit = allow_or_refuse, .context = l};
    CHECK_STATUS(VBUF_OK, elements_create(&l->v, &options));
    CHECK_STATUS(VBUF_OK, elements_reserve(&l->v, 0));
}

static void push_all(struct litmus *l, unsigned thread)
{
    for (uint64_t number = 0; number < ELEMENTS;) {
        enum vbuf_status status = elements_push(&l->v, element_of(thread, number), NULL);
        number += status == VBUF_OK;
        if (status != VBUF_OK && !CHECK_STATUS(VBUF_NOMEM, status))
            return;
    }
}

/* C2: who gets an element sees all of it, wherever the watermark is. */
static void c2_push_or_get(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        push_all(l, thread);
        return;
    }
    for (size_t i = 0; i < 2 * ELEMENTS;) {
        const struct element *e = elements_get(&l->v, i);
        if (e == NULL)
            continue; /* nobody moves the watermark here: readiness alone */
        if (!CHECK(is_whole(e)))
            return;
        i++;
    }
}

TEST(cvec_litmus, C2_what_get_finds_is_whole)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(3, c2_push_or_get, &l);
    CHECK_EQ(elements_len(&l.v), 2 * ELEMENTS);
    elements_destroy(&l.v);
}

/* C1: pointers taken early are read while the vector grows underneath. */
static void c1_push_or_hold(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        push_all(l, thread);
        vbuf_u32_fetch_add_relaxed(&l->done, 1);
        return;
    }
    const struct element *first;
    do {
        first = elements_get(&l->v, 0);
    } while (first == NULL);
    struct element copy = *first;
    while (vbuf_u32_load_relaxed(&l->done) < 2) {
        CHECK(elements_get(&l->v, 0) == first);
        CHECK(memcmp(first, &copy, sizeof copy) == 0);
    }
}

TEST(cvec_litmus, C1_an_address_holds_while_the_vector_grows)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(3, c1_push_or_hold, &l);
    elements_destroy(&l.v);
}

/* C3: a snapshot is whole; and who reads below a watermark that another moved, sees whole elements. */
static void c3_push_or_read(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        push_all(l, thread);
        return;
    }
    for (size_t seen = 0; seen < ELEMENTS;) {
        struct elements_slice all;
        if (thread == 1) {
            all = elements_snapshot(&l->v); /* the only one that acquires readiness bytes */
        } else {
            all.data = (const struct element *)(const void *)l->v.vector->elements;
            all.count = (size_t)vbuf_u64_load_acquire(&l->v.vector->watermark_);
        }
        CHECK(all.count >= seen);
        for (; seen < all.count; seen++) {
            if (!CHECK(is_whole(all.data + seen)))
                return;
        }
    }
}

TEST(cvec_litmus, C3_a_snapshot_is_whole_and_passes_on_what_it_saw)
{
    struct litmus l;
    setup(&l, ELEMENTS);
    team_run(3, c3_push_or_read, &l);
    elements_destroy(&l.v);
}

/* C5: pushes and extends fail all the time, and no reader meets an element that nobody wrote. */
static void c5_push_refuse_or_read(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        while (vbuf_u32_load_relaxed(&l->done) < 2) {
            vbuf_u32_fetch_add_relaxed(&l->refuse, 1);
            team_sleep_us(20);
        }
        vbuf_u32_store_relaxed(&l->refuse, 0);
        return;
    }
    if (thread < 3) {
        push_all(l, thread);
        vbuf_u32_fetch_add_relaxed(&l->done, 1);
        return;
    }
    for (size_t seen = 0; seen < 2 * ELEMENTS;) {
        struct elements_slice all = elements_snapshot(&l->v);
        for (; seen < all.count; seen++) {
            if (!CHECK(is_whole(all.data + seen)))
                return;
        }
    }
}

TEST(cvec_litmus, C5_failed_pushes_leave_no_hole)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(4, c5_push_refuse_or_read, &l);
    CHECK_EQ(cvec_claimed(l.v.vector), 2 * ELEMENTS);
    elements_destroy(&l.v);
}

/* C6: elements claimed early and written late: neighbours are pushed and got meanwhile. */
static void c6_push_late_or_get(void *context, unsigned thread)
{
    struct litmus *l = context;
    size_t held[16], count = 0;
    if (thread == 2) {
        for (size_t i = 0; i < 2 * ELEMENTS; i++) {
            const struct element *e = elements_get(&l->v, i);
            CHECK(e == NULL || is_whole(e));
        }
        return;
    }
    for (uint64_t number = 0; number < ELEMENTS; number++) {
        if (!CHECK_STATUS(VBUF_OK, cvec_claim_one_(l->v.vector, &held[count++])))
            return;
        if (count < 16 && number + 1 < ELEMENTS)
            continue;
        while (count > 0) { /* the newest first */
            struct element *e = (struct element *)(void *)l->v.vector->elements + held[--count];
            *e = element_of(thread, number);
            cvec_publish_one_(l->v.vector, held[count]);
        }
    }
}

TEST(cvec_litmus, C6_who_is_late_delays_nobody_and_is_seen_whole)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(3, c6_push_late_or_get, &l);
    struct elements_slice all = elements_snapshot(&l.v);
    CHECK_EQ(all.count, 2 * ELEMENTS);
    for (size_t i = 0; i < all.count; i++)
        REQUIRE(is_whole(all.data + i));
    elements_destroy(&l.v);
}

/* extend publishes a run: each of it whole, in any order of looking. */
static void extend_or_get_backwards(void *context, unsigned thread)
{
    struct litmus *l = context;
    struct element run[16];
    if (thread == 0) {
        for (uint64_t number = 0; number < ELEMENTS; number += 16) {
            for (uint64_t i = 0; i < 16; i++)
                run[i] = element_of(0, number + i);
            if (!CHECK_STATUS(VBUF_OK, elements_extend(&l->v, run, 16, NULL)))
                return;
        }
        vbuf_u32_store_relaxed(&l->done, 1);
        return;
    }
    while (vbuf_u32_load_relaxed(&l->done) == 0) {
        size_t claimed = cvec_claimed(l->v.vector);
        for (size_t i = claimed; i-- > 0 && i + 100 > claimed;) {
            const struct element *e = elements_get(&l->v, i);
            if (e != NULL && (!CHECK(is_whole(e)) || !CHECK_EQ(e->low, i)))
                return;
        }
    }
}

TEST(cvec_litmus, C2_each_element_of_a_run_is_whole)
{
    struct litmus l;
    setup(&l, ELEMENTS + 16);
    team_run(3, extend_or_get_backwards, &l);
    elements_destroy(&l.v);
}
