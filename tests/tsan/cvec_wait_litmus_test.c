/*
 * cvec_wait_litmus_test.c - what waiting, following, closing and appending order, for
 * ThreadSanitizer: elements are plain data, and threads share no other synchronisation, so a missing
 * order is a race that it reports. And, where a fence is what matters, which no detector of races
 * sees: whether a wake is lost.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "cvec/cvec.h"
#include "team.h"
#include "vbuf/fence.h"

#define ELEMENTS BUILD_COUNT(200000u, 40000u)
#define LONG_ENOUGH INT64_C(30000000000)

/* Plain on purpose. All fields follow from `key`. */
struct element {
    uint64_t key;
    uint64_t twice;
};

CVEC_DEFINE(elements, struct element)
CVEC_RAW_DEFINE(cells, struct element)

static struct element element_of(unsigned thread, uint64_t number)
{
    uint64_t key = (uint64_t)thread << 32 | number;
    return (struct element){key, key * 2};
}

static bool is_whole(const struct element *e)
{
    return e->twice == e->key * 2;
}

struct litmus {
    struct elements v;
    struct cells raw;
    struct vbuf_atomic_u64 turn; /* relaxed unless said otherwise: must order nothing */
    struct vbuf_atomic_u64 pushed;
    struct vbuf_atomic_pointer cell;
    size_t rounds;
};

static void setup(struct litmus *l, size_t max_len)
{
    memset(l, 0, sizeof *l);
    struct cvec_options options = {.max_len = max_len};
    CHECK_STATUS(VBUF_OK, elements_create(&l->v, &options));
}

/* C2, C3: who waited reads what it waited for, and takes nothing else to order it. */
static void push_or_wait(void *context, unsigned thread)
{
    struct litmus *l = context;
    const struct element *all = (const struct element *)(const void *)l->v.vector->elements;
    if (thread < 2) {
        for (uint64_t number = 0; number < ELEMENTS; number++) {
            CHECK_STATUS(VBUF_OK, elements_push(&l->v, element_of(thread, number), NULL));
            if (number % 256 == 0)
                sched_yield(); /* or the waiters would sleep only once */
        }
        return;
    }
    size_t step = thread == 2 ? 100 : 777;
    for (size_t seen = 0; seen < 2 * ELEMENTS;) {
        size_t count = seen + step < 2 * ELEMENTS ? seen + step : 2 * ELEMENTS;
        if (!CHECK_STATUS(VBUF_OK, elements_wait(&l->v, count, LONG_ENOUGH)))
            return;
        for (; seen < count; seen++)
            if (!CHECK(is_whole(&all[seen])))
                return;
    }
}

TEST(cvec_wait_litmus, C3_what_was_waited_for_is_whole)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(4, push_or_wait, &l);
    elements_destroy(&l.v);
}

/* A cursor's slices are whole, follow each other, and leave nothing out. */
static void append_or_follow(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        struct elements_appender a;
        CHECK_STATUS(VBUF_OK, elements_appender_create(&a, &l->v, 50));
        for (uint64_t number = 0; number < ELEMENTS; number++)
            CHECK_STATUS(VBUF_OK, elements_appender_push(&a, element_of(0, number)));
        CHECK_STATUS(VBUF_OK, elements_appender_destroy(&a));
        return;
    }
    struct cvec_cursor cursor = {l->v.vector, 0};
    for (uint64_t number = 0; number < ELEMENTS;) {
        struct elements_slice slice = {NULL, 0};
        if (!CHECK_STATUS(VBUF_OK,
                          elements_cursor_next(&cursor, thread == 1 ? 0 : 30, LONG_ENOUGH, &slice)))
            return;
        for (size_t i = 0; i < slice.count; i++, number++)
            if (!CHECK(is_whole(&slice.data[i])) || !CHECK_EQ(slice.data[i].key, number))
                return;
    }
}

TEST(cvec_wait_litmus, C3_a_cursor_gives_whole_elements_in_order)
{
    struct litmus l;
    setup(&l, ELEMENTS);
    team_run(3, append_or_follow, &l);
    elements_destroy(&l.v);
}

/* C4: the index of a push that has returned is handed over; get finds the element at once. */
static void c4_push_or_get(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        for (uint64_t number = 0; number < ELEMENTS; number++) {
            size_t index = SIZE_MAX;
            CHECK_STATUS(VBUF_OK, elements_push(&l->v, element_of(thread, number), &index));
            const struct element *own = elements_get(&l->v, index);
            if (!CHECK(own != NULL && own->key == element_of(thread, number).key))
                return;
            if (thread == 0)
                vbuf_u64_store_release(&l->turn, index + 1); /* the call has returned */
        }
        vbuf_u64_fetch_add_relaxed(&l->pushed, 1);
        return;
    }
    while (vbuf_u64_load_relaxed(&l->pushed) < 2) {
        uint64_t end = vbuf_u64_load_acquire(&l->turn);
        const struct element *e = end == 0 ? NULL : elements_get(&l->v, end - 1);
        if (end != 0 && !CHECK(e != NULL && is_whole(e) && e->key >> 32 == 0))
            return;
    }
}

TEST(cvec_wait_litmus, C4_a_push_that_returned_is_found)
{
    struct litmus l;
    setup(&l, 2 * ELEMENTS);
    team_run(3, c4_push_or_get, &l);
    elements_destroy(&l.v);
}

/* C3: get below a watermark that another thread moved. Peeking at it, relaxed, orders nothing. */
static void push_move_or_get(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        for (uint64_t number = 0; number < ELEMENTS; number++)
            CHECK_STATUS(VBUF_OK, elements_push(&l->v, element_of(0, number), NULL));
        return;
    }
    for (size_t i = 0; i < ELEMENTS; i++) {
        while (vbuf_u64_load_relaxed(&l->v.vector->watermark_) <= i)
            if (thread == 1)
                (void)elements_len(&l->v); /* the only one that looks at readiness bytes */
        const struct element *e = elements_get(&l->v, i);
        if (thread == 2 && !CHECK(e != NULL && is_whole(e)))
            return;
    }
}

TEST(cvec_wait_litmus, C3_get_finds_whole_what_a_moved_watermark_covers)
{
    struct litmus l;
    setup(&l, ELEMENTS);
    team_run(3, push_move_or_get, &l);
    elements_destroy(&l.v);
}

/* ---- wakes ---- */

enum { BATCH = 64 };

static struct litmus_wakes {
    struct elements v[BATCH];
    struct vbuf_atomic_u64 turn, done;
    uint64_t rounds, lost;
} wakes;

static void spin_until(const struct vbuf_atomic_u64 *word, uint64_t value)
{
    for (unsigned round = 0; vbuf_u64_load_acquire(word) < value; round++)
        if (round % 4096 == 4095)
            sched_yield();
}

/* What a waiter for all that is claimed leaves behind before it sleeps; see cvec_wait.c. */
static void register_waiter(struct cvec *vector, uint64_t count)
{
    vbuf_u64_store_release(&vector->wanted_, count);
}

/*
 * Two threads publish the last two elements at once, and one of them must take the wish for them away:
 * who waited would sleep for ever. The waiter is only acted, so that there are many tries a second.
 */
static void publish_at_once(void *context, unsigned thread)
{
    (void)context;
    for (uint64_t round = 0; round < wakes.rounds; round++) {
        if (thread == 0) {
            for (unsigned i = 0; i < BATCH; i++)
                register_waiter(wakes.v[i].vector, 2 * round + 2);
            CHECK(vbuf_fence_heavy());
        }
        for (uint64_t i = 0; i < BATCH; i++) {
            uint64_t turn = round * BATCH + i + 1;
            if (thread == 0)
                vbuf_u64_store_release(&wakes.turn, turn);
            else
                spin_until(&wakes.turn, turn);
            for (volatile uint64_t delay = thread == 0 ? turn * 7 % 97 : 0; delay > 0; delay--) {
            }
            CHECK_STATUS(VBUF_OK, elements_publish(&wakes.v[i], 2 * round + thread, 1));
            if (thread == 1) {
                vbuf_u64_store_release(&wakes.done, turn);
                continue;
            }
            spin_until(&wakes.done, turn);
            wakes.lost += vbuf_u64_load_acquire(&wakes.v[i].vector->wanted_) == 2 * round + 2;
        }
    }
}

TEST(cvec_wait_litmus, two_that_complete_a_prefix_do_not_both_miss_the_waiter)
{
    if (vbuf_fence_kind() != VBUF_FENCE_PROCESS_WIDE)
        SKIP("without a process-wide fence waiters do not rely on wakes");
    memset(&wakes, 0, sizeof wakes);
    wakes.rounds = BUILD_COUNT(2000, 40);
    for (unsigned i = 0; i < BATCH; i++) {
        size_t first;
        struct element *slots = NULL;
        struct cvec_options options = {.max_len = 2 * (size_t)wakes.rounds};
        REQUIRE(elements_create(&wakes.v[i], &options) == VBUF_OK);
        REQUIRE(elements_claim(&wakes.v[i], options.max_len, &first, &slots) == VBUF_OK);
        memset(slots, 0, options.max_len * sizeof *slots);
        vbuf_u32_fetch_add_acq_rel(&wakes.v[i].vector->waiters_, 1);
    }
    team_run(2, publish_at_once, NULL);
    CHECK_EQ(wakes.lost, 0);
    for (unsigned i = 0; i < BATCH; i++)
        elements_destroy(&wakes.v[i]);
}

/* Waiters with different counts and one publisher at a time: each sleeps, and each is woken. */
static void publish_or_sleep(void *context, unsigned thread)
{
    struct litmus *l = context;
    const struct element *all = (const struct element *)(const void *)l->v.vector->elements;
    if (thread > 0) { /* each wants every element, or every third one */
        for (size_t count = thread; count <= l->rounds; count += thread == 1 ? 1 : 3) {
            if (!CHECK_STATUS(VBUF_OK, elements_wait(&l->v, count, LONG_ENOUGH)) ||
                !CHECK(is_whole(&all[count - 1])))
                return;
            vbuf_u64_fetch_add_relaxed(&l->turn, thread == 1);
        }
        return;
    }
    for (size_t number = 0; number < l->rounds; number++) {
        /* Not before one of them asks for it. */
        for (unsigned round = 0; vbuf_u64_load_relaxed(&l->turn) < number; round++)
            if (round > 64)
                sched_yield();
        CHECK_STATUS(VBUF_OK, elements_push(&l->v, element_of(0, number), NULL));
    }
}

TEST(cvec_wait_litmus, each_publish_wakes_who_waits_for_it)
{
    struct litmus l;
    size_t rounds = BUILD_COUNT(20000, 2000);
    setup(&l, rounds);
    l.rounds = rounds;
    team_run(4, publish_or_sleep, &l);
    elements_destroy(&l.v);
}

/* ---- closing ---- */

static void push_close_or_wait(void *context, unsigned thread)
{
    struct litmus *l = context;
    struct cvec *vector = l->v.vector;
    const struct element *all = (const struct element *)(const void *)vector->elements;
    if (thread < 2) {
        uint64_t number = 0;
        enum vbuf_status status;
        while ((status = elements_push(&l->v, element_of(thread, number), NULL)) == VBUF_OK)
            number++;
        CHECK_STATUS(VBUF_CLOSED, status);
        CHECK(cvec_is_closed(vector));
        vbuf_u64_fetch_add_relaxed(&l->pushed, number);
        return;
    }
    if (thread < 4) {
        team_sleep_us((long)(vbuf_u64_load_relaxed(&l->turn) * 37 % 300));
        elements_close(&l->v);
        size_t claimed = elements_claimed(&l->v);
        CHECK_STATUS(VBUF_CLOSED, elements_push(&l->v, element_of(thread, 0), NULL));
        CHECK_EQ(elements_claimed(&l->v), claimed); /* for good */
    } else {
        CHECK_STATUS(VBUF_CLOSED, elements_wait(&l->v, cvec_max_len(vector), LONG_ENOUGH));
    }
    size_t claimed = elements_claimed(&l->v);
    CHECK_STATUS(VBUF_OK, elements_wait(&l->v, claimed, LONG_ENOUGH)); /* what is claimed, comes */
    for (size_t i = 0; i < claimed; i++)
        if (!CHECK(is_whole(&all[i])))
            return;
    CHECK_STATUS(VBUF_CLOSED, elements_wait(&l->v, claimed + 1, LONG_ENOUGH));
}

TEST(cvec_wait_litmus, closing_ends_with_exactly_what_was_claimed)
{
    for (unsigned round = 0; round < BUILD_COUNT(200u, 30u); round++) {
        struct litmus l;
        setup(&l, (size_t)1 << 26);
        vbuf_u64_store_relaxed(&l.turn, round);
        team_run(5, push_close_or_wait, &l);
        CHECK_EQ(elements_claimed(&l.v), vbuf_u64_load_relaxed(&l.pushed));
        elements_destroy(&l.v);
    }
}

/* ---- the raw form ---- */

/* A raw vector publishes nothing: its users do. What it gives is zero, wherever it has grown to. */
static void claim_or_look(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread < 2) {
        for (uint64_t number = 0; number < ELEMENTS; number++) {
            size_t first;
            struct element *slot = NULL;
            if (!CHECK_STATUS(VBUF_OK, cells_claim(&l->raw, 1, &first, &slot)) ||
                !CHECK(slot->key == 0 && slot->twice == 0))
                return;
            *slot = element_of(thread, number + 1);
            vbuf_pointer_store_release(&l->cell, slot); /* the user's own publishing */
        }
        vbuf_u64_fetch_add_relaxed(&l->pushed, 1);
        return;
    }
    while (vbuf_u64_load_relaxed(&l->pushed) < 2) {
        const struct element *e = vbuf_pointer_load_acquire(&l->cell);
        if (e != NULL && !CHECK(e->key != 0 && is_whole(e)))
            return;
    }
}

TEST(cvec_wait_litmus, C1_a_raw_vector_gives_zeroed_elements_once)
{
    struct litmus l;
    memset(&l, 0, sizeof l);
    struct cvec_options options = {.max_len = 2 * ELEMENTS};
    REQUIRE(cells_create(&l.raw, &options) == VBUF_OK);
    team_run(3, claim_or_look, &l);
    CHECK_EQ(cells_len(&l.raw), 2 * ELEMENTS);
    cells_destroy(&l.raw);
}
