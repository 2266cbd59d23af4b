/*
 * ebr_litmus_test.c - a litmus for E1 and E2, for ThreadSanitizer: objects are plain, readers and
 * reclaimers share nothing but the domain and the pointer, so what a pin does not order is a race.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "ebr_cells.h"
#include "team.h"
#include "vbuf/ebr.h"

#define ROUNDS BUILD_COUNT(100000u, 30000u)

struct litmus {
    struct cells cells;
    struct vbuf_atomic_u32 done; /* relaxed: must order nothing */
};

static void setup(struct litmus *l, uint32_t max_threads)
{
    memset(l, 0, sizeof *l);
    cells_create(&l->cells, max_threads);
    CHECK_STATUS(VBUF_OK, ebr_attach(l->cells.domain)); /* takes number 1 */
}

static void replace_rounds(struct litmus *l, unsigned thread)
{
    for (uint64_t i = 0; i < ROUNDS; i++)
        cells_replace(&l->cells, i % CELLS, (uint64_t)thread << 32 | i);
    vbuf_u32_fetch_add_relaxed(&l->done, 1);
}

static bool is_done(struct litmus *l)
{
    return vbuf_u32_load_relaxed(&l->done) != 0;
}

/* Reads under a pin happen before the object is poisoned and freed. */
static void replace_or_pin(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        replace_rounds(l, thread);
        return;
    }
    for (size_t i = 0; !is_done(l); i++) {
        ebr_pin(l->cells.domain);
        CHECK(cells_look(&l->cells, i % CELLS, 1));
        ebr_unpin(l->cells.domain);
    }
}

TEST(ebr_litmus, E1_E2_reads_under_a_pin_happen_before_the_reclaim)
{
    struct litmus l;
    setup(&l, 0);
    team_run(3, replace_or_pin, &l);
    cells_destroy(&l.cells);
}

TEST(ebr_litmus, E1_reads_under_a_shared_pin_happen_before_the_reclaim)
{
    struct litmus l;
    setup(&l, 1); /* the others have no record */
    team_run(3, replace_or_pin, &l);
    cells_destroy(&l.cells);
}

TEST(ebr_litmus, E1_the_two_kinds_of_pins_together)
{
    struct litmus l;
    setup(&l, 2); /* one of the three has a record */
    team_run(3, replace_or_pin, &l);
    cells_destroy(&l.cells);
}

/* What was read before a repin happens before the reclaim too. */
static void replace_or_repin(void *context, unsigned thread)
{
    struct litmus *l = context;
    if (thread == 0) {
        replace_rounds(l, thread);
        return;
    }
    ebr_pin(l->cells.domain);
    for (size_t i = 0; !is_done(l); i++) {
        CHECK(cells_look(&l->cells, i % CELLS, 1));
        ebr_repin(l->cells.domain);
    }
    ebr_unpin(l->cells.domain);
}

TEST(ebr_litmus, E1_reads_before_a_repin_happen_before_the_reclaim)
{
    struct litmus l;
    setup(&l, 0);
    team_run(3, replace_or_repin, &l);
    cells_destroy(&l.cells);
}

/*
 * The same for a reader that looks once and then keeps quiet: no later pin passes on what it read, so
 * the end of this one section must.
 */
enum ending { END_BY_UNPIN, END_BY_REPIN, END_BY_NESTED_UNPIN };

struct quiet {
    struct cells cells;
    enum ending ending;
    struct vbuf_atomic_u32 seen, destroyed; /* relaxed: must order nothing */
};

static void look_once(struct quiet *q)
{
    struct ebr_domain *domain = q->cells.domain;
    ebr_pin(domain);
    if (q->ending == END_BY_NESTED_UNPIN)
        ebr_pin(domain);
    CHECK(cells_look(&q->cells, 0, 1));
    if (q->ending == END_BY_NESTED_UNPIN)
        ebr_unpin(domain);
    if (q->ending != END_BY_REPIN)
        ebr_unpin(domain);
    vbuf_u32_store_relaxed(&q->seen, 1);
    while (vbuf_u32_load_relaxed(&q->destroyed) == 0) {
        if (q->ending == END_BY_REPIN)
            ebr_repin(domain);
        sched_yield();
    }
    if (q->ending == END_BY_REPIN)
        ebr_unpin(domain);
}

static void look_once_or_replace(void *context, unsigned thread)
{
    struct quiet *q = context;
    if (thread == 0) {
        look_once(q);
        return;
    }
    while (vbuf_u32_load_relaxed(&q->seen) == 0)
        sched_yield();
    cells_replace(&q->cells, 0, 2);
    while (vbuf_u64_load_relaxed(&q->cells.destroyed) == 0)
        ebr_collect(q->cells.domain);
    vbuf_u32_store_relaxed(&q->destroyed, 1);
}

static void keep_quiet(enum ending ending, uint32_t max_threads)
{
    for (int round = 0; round < 50; round++) {
        struct quiet q;
        memset(&q, 0, sizeof q);
        q.ending = ending;
        cells_create(&q.cells, max_threads);
        CHECK_STATUS(VBUF_OK, ebr_attach(q.cells.domain)); /* takes number 1 */
        cells_replace(&q.cells, 0, 1);
        team_run(2, look_once_or_replace, &q);
        cells_destroy(&q.cells);
    }
}

TEST(ebr_litmus, E1_the_last_read_before_an_unpin_happens_before_the_reclaim)
{
    keep_quiet(END_BY_UNPIN, 0);
    keep_quiet(END_BY_NESTED_UNPIN, 0);
}

TEST(ebr_litmus, E1_the_last_read_before_a_shared_unpin_happens_before_the_reclaim)
{
    keep_quiet(END_BY_UNPIN, 1);
    keep_quiet(END_BY_NESTED_UNPIN, 1);
}

TEST(ebr_litmus, E1_the_last_read_before_a_repin_happens_before_the_reclaim)
{
    keep_quiet(END_BY_REPIN, 0);
}

/* Reads of a thread that exits pinned happen before the reclaim. */
static void look_and_exit(void *context, unsigned thread)
{
    struct litmus *l = context;
    (void)thread;
    ebr_pin(l->cells.domain);
    for (size_t i = 0; i < CELLS; i++)
        CHECK(cells_look(&l->cells, i, 1));
}

static void *replace_until_done(void *context)
{
    struct litmus *l = context;
    for (uint64_t i = 0; !is_done(l); i++)
        cells_replace(&l->cells, i % CELLS, i);
    return NULL;
}

TEST(ebr_litmus, E1_reads_of_a_thread_that_exits_pinned_happen_before_the_reclaim)
{
    struct litmus l;
    pthread_t writer;
    setup(&l, 0);
    REQUIRE(pthread_create(&writer, NULL, replace_until_done, &l) == 0);
    for (int i = 0; i < 200; i++)
        team_run(2, look_and_exit, &l);
    vbuf_u32_store_relaxed(&l.done, 1);
    pthread_join(writer, NULL);
    cells_destroy(&l.cells);
}

/* Whoever collects destroys what an exited thread retired: its writes happen before. */
static void replace_and_exit(void *context, unsigned thread)
{
    struct litmus *l = context;
    for (uint64_t i = 0; i < 10; i++)
        cells_replace(&l->cells, (thread + i) % CELLS, i);
}

static void *collect_until_done(void *context)
{
    struct litmus *l = context;
    while (!is_done(l))
        ebr_collect(l->cells.domain);
    return NULL;
}

TEST(ebr_litmus, E1_what_an_exited_thread_wrote_happens_before_the_reclaim)
{
    struct litmus l;
    pthread_t collector;
    setup(&l, 0);
    REQUIRE(pthread_create(&collector, NULL, collect_until_done, &l) == 0);
    for (int i = 0; i < 200; i++)
        team_run(2, replace_and_exit, &l);
    vbuf_u32_store_relaxed(&l.done, 1);
    pthread_join(collector, NULL);
    cells_destroy(&l.cells);
}

/*
 * Threads that are done with a domain may exit while it is destroyed: here the first reclaim function
 * of the destroy lets them go, by a relaxed word, and takes its time.
 */
#define LEAVERS 3

struct leaving {
    struct ebr_domain *domain;
    struct vbuf_atomic_u32 next, done, leave;
    struct leaving_object {
        struct ebr_entry entry;
        struct leaving *owner;
        unsigned destroyed;
    } objects[LEAVERS][10];
};

static void destroy_slowly(struct ebr_entry *entry)
{
    struct leaving_object *object = (struct leaving_object *)(void *)entry;
    object->destroyed++;
    if (vbuf_u32_load_relaxed(&object->owner->leave) == 0) {
        vbuf_u32_store_relaxed(&object->owner->leave, 1);
        team_sleep_us(2000);
    }
}

static void *retire_and_leave_when_told(void *context)
{
    struct leaving *l = context;
    uint32_t thread = vbuf_u32_fetch_add_relaxed(&l->next, 1);
    for (int i = 0; i < 10; i++) {
        l->objects[thread][i].owner = l;
        ebr_retire(l->domain, &l->objects[thread][i].entry, destroy_slowly);
    }
    vbuf_u32_fetch_add_acq_rel(&l->done, 1); /* from here on the destroyer has exclusive access */
    while (vbuf_u32_load_relaxed(&l->leave) == 0)
        team_sleep_us(20);
    return NULL;
}

TEST(ebr_litmus, E1_threads_exit_while_a_domain_they_used_is_destroyed)
{
    for (int round = 0; round < 20; round++) {
        struct leaving l;
        pthread_t threads[LEAVERS];
        memset(&l, 0, sizeof l);
        CHECK_STATUS(VBUF_OK, ebr_domain_create(&l.domain, NULL));
        for (int i = 0; i < LEAVERS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, retire_and_leave_when_told, &l) == 0);
        while (vbuf_u32_load_acquire(&l.done) < LEAVERS)
            team_sleep_us(20);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(l.domain));
        for (int i = 0; i < LEAVERS; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < LEAVERS * 10; i++)
            CHECK_EQ(l.objects[i / 10][i % 10].destroyed, 1);
    }
}
