/*
 * ebr_threads_test.c - readers and writers at once: E1 under contention, with records and through the
 * shared word, with threads that come and go.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "ebr_cells.h"
#include "ebr_objects.h"
#include "fault.h"
#include "team.h"
#include "vbuf/ebr.h"

#define ROUNDS BUILD_COUNT(100000u, 10000u)

struct scene {
    struct cells cells;
    struct gate done;
};

static void replace_often(struct scene *s, unsigned thread)
{
    struct check_rng rng = {check_seed() + thread};
    for (uint64_t i = 0; i < ROUNDS; i++) {
        cells_replace(&s->cells, check_rng_next(&rng) % CELLS, (uint64_t)thread << 32 | i);
        if (i % 1024 == 0)
            ebr_collect(s->cells.domain);
    }
}

/* Looks under pins of every kind: short, nested, renewed. */
static void look_often(struct scene *s, unsigned thread)
{
    struct check_rng rng = {check_seed() + thread};
    struct ebr_domain *domain = s->cells.domain;
    do {
        uint64_t draw = check_rng_next(&rng);
        size_t cell = draw % CELLS;
        ebr_pin(domain);
        CHECK(cells_look(&s->cells, cell, 4));
        if (draw >> 60 == 0) {
            ebr_pin(domain);
            CHECK(cells_look(&s->cells, (cell + 1) % CELLS, 100));
            ebr_unpin(domain);
            CHECK(cells_look(&s->cells, cell, 1));
        } else if (draw >> 60 == 1) {
            ebr_repin(domain);
            CHECK(cells_look(&s->cells, cell, 10));
        }
        ebr_unpin(domain);
    } while (!gate_is_open(&s->done));
}

static void replace_or_look(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread < 2) {
        replace_often(s, thread);
        gate_open(&s->done);
    } else {
        look_often(s, thread);
    }
}

static void play(uint32_t max_threads)
{
    struct scene s;
    memset(&s, 0, sizeof s);
    cells_create(&s.cells, max_threads);
    CHECK_STATUS(VBUF_OK, ebr_attach(s.cells.domain));
    team_run(4, replace_or_look, &s);
    cells_destroy(&s.cells);
}

TEST(ebr_threads, E1_what_a_pin_protects_stays_intact)
{
    play(0);
}

TEST(ebr_threads, E1_also_when_all_pins_are_in_the_shared_word)
{
    play(1);
}

TEST(ebr_threads, E1_also_when_some_are)
{
    play(3);
}

TEST(ebr_threads, E1_also_while_the_barrier_fails_now_and_then)
{
    fault_clear();
    fault_fail_randomly(FAULT_MEMBARRIER, 300000, check_seed(), EPERM);
    play(0);
    fault_clear();
}

TEST(ebr_threads, stats_add_up)
{
    struct scene s;
    struct ebr_report stats;
    memset(&s, 0, sizeof s);
    cells_create(&s.cells, 0);
    team_run(4, replace_or_look, &s);
    CHECK_STATUS(VBUF_OK, ebr_stats(s.cells.domain, &stats));
    CHECK_EQ(stats.retired, vbuf_u64_load_relaxed(&s.cells.made) - CELLS);
    CHECK_EQ(stats.reclaimed, vbuf_u64_load_relaxed(&s.cells.destroyed));
    CHECK_EQ(stats.threads, 0);
    CHECK_EQ(stats.overflow_pins, 0);
    CHECK_EQ(stats.stalled_thread, 0);
    for (int i = 0; i < 6; i++)
        ebr_collect(s.cells.domain);
    CHECK_STATUS(VBUF_OK, ebr_stats(s.cells.domain, &stats));
    CHECK_EQ(stats.reclaimed, stats.retired);
    CHECK(stats.advances >= 2);
    cells_destroy(&s.cells);
}

/* Threads that live for a few replacements, beside a reader that stays. */
struct brief {
    struct scene *scene;
    unsigned thread;
};

static void replace_a_little(void *context, unsigned index)
{
    struct brief *b = context;
    for (uint64_t i = 0; i < 100; i++) {
        ebr_pin(b->scene->cells.domain);
        cells_replace(&b->scene->cells, (i + index) % CELLS, i);
        CHECK(cells_look(&b->scene->cells, i % CELLS, 2));
        if (i < 99) /* the last pin ends with the thread */
            ebr_unpin(b->scene->cells.domain);
    }
}

static void come_and_go_or_look(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread != 0) {
        look_often(s, thread);
        return;
    }
    for (int i = 0; i < BUILD_COUNT(100, 40); i++)
        team_run(3, replace_a_little, &(struct brief){s, thread});
    gate_open(&s->done);
}

TEST(ebr_threads, E3_threads_come_and_go_and_nothing_leaks)
{
    struct scene s;
    memset(&s, 0, sizeof s);
    cells_create(&s.cells, 8);
    team_run(2, come_and_go_or_look, &s);
    for (int i = 0; i < 6; i++)
        ebr_collect(s.cells.domain);
    struct ebr_report stats;
    CHECK_STATUS(VBUF_OK, ebr_stats(s.cells.domain, &stats));
    CHECK_EQ(stats.retired, stats.reclaimed);
    cells_destroy(&s.cells);
}

/* Domains come and go while threads that used them live on, and while others exit. */
static void use_and_exit(void *context, unsigned index)
{
    struct cells *cells = context;
    for (uint64_t i = 0; i < 10; i++)
        cells_replace(cells, (index + i) % CELLS, i);
}

TEST(ebr_threads, E1_domains_come_and_go_in_any_order)
{
    struct cells cells[4];
    for (uint32_t i = 0; i < 4; i++)
        cells_create(&cells[i], i + 1);
    for (int round = 0; round < 200; round++) {
        struct cells *mine = &cells[round % 4];
        team_run(2, use_and_exit, mine);
        cells_destroy(mine);
        cells_create(mine, (uint32_t)round % 5);
    }
    for (int i = 3; i >= 0; i--)
        cells_destroy(&cells[i]);
}

/*
 * Threads that used a domain need not have ended when it is destroyed: here they say that they are done,
 * and exit before, while and after it is destroyed. What they retired must be destroyed once.
 */
#define PARTING 4

struct parting {
    struct ebr_domain *domain;
    struct object objects[PARTING][10];
    struct vbuf_atomic_u32 next, done;
};

static void *use_say_so_and_exit(void *context)
{
    struct parting *p = context;
    uint32_t thread = vbuf_u32_fetch_add_relaxed(&p->next, 1);
    for (int i = 0; i < 10; i++)
        retire(p->domain, &p->objects[thread][i]);
    vbuf_u32_fetch_add_acq_rel(&p->done, 1);
    return NULL;
}

static void part(unsigned delay)
{
    struct parting p;
    pthread_t threads[PARTING];
    memset(&p, 0, sizeof p);
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&p.domain, NULL));
    for (int i = 0; i < PARTING; i++)
        REQUIRE(pthread_create(&threads[i], NULL, use_say_so_and_exit, &p) == 0);
    while (vbuf_u32_load_acquire(&p.done) < PARTING) {
    }
    for (unsigned i = 0; i < delay; i++)
        vbuf_u32_load_acquire(&p.done);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(p.domain));
    for (int i = 0; i < PARTING; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PARTING * 10; i++)
        REQUIRE(CHECK_EQ(p.objects[i / 10][i % 10].destroyed, 1));
}

TEST(ebr_threads, E1_destroy_while_threads_that_are_done_with_it_exit)
{
    for (unsigned round = 0; round < BUILD_COUNT(500, 200); round++) {
        part(round % 32 * 32);
        REQUIRE(check_failures() == 0);
    }
}

static void synchronize_or_look(void *context, unsigned thread)
{
    struct scene *s = context;
    if (thread != 0) {
        look_often(s, thread);
        return;
    }
    cells_replace(&s->cells, 0, 0);
    for (uint64_t i = 1; i < 300; i++) {
        cells_replace(&s->cells, 0, i);
        CHECK_STATUS(VBUF_OK, ebr_synchronize(s->cells.domain));
        if (!CHECK_EQ(vbuf_u64_load_relaxed(&s->cells.destroyed), i)) /* all but the cell's own */
            break;
    }
    gate_open(&s->done);
}

TEST(ebr_threads, synchronize_leaves_nothing_that_was_retired_before_it)
{
    struct scene s;
    memset(&s, 0, sizeof s);
    cells_create(&s.cells, 0);
    team_run(3, synchronize_or_look, &s);
    cells_destroy(&s.cells);
}
