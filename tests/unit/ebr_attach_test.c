/*
 * ebr_attach_test.c - records: attach and detach, threads that get none, thread exit (E3).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "ebr_objects.h"
#include "fault.h"
#include "team.h"
#include "vbuf/ebr.h"

/* A domain in which the calling thread, number 1 of the process, has its record. */
static struct ebr_domain *make(uint32_t max_threads)
{
    struct ebr_domain *domain = NULL;
    fault_clear();
    struct ebr_options options = {.max_threads = max_threads};
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, &options));
    CHECK_STATUS(VBUF_OK, ebr_attach(domain));
    return domain;
}

/* What a reclaim function was told. */
struct leaver_entry {
    struct ebr_entry entry;
    struct ebr_domain *domain;
    enum vbuf_status status;
};

TEST(ebr_attach, attach_and_detach_may_be_repeated)
{
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    CHECK_STATUS(VBUF_OK, ebr_detach(domain)); /* not attached */
    CHECK_EQ(stats_of(domain).threads, 0);
    CHECK_STATUS(VBUF_OK, ebr_attach(domain));
    CHECK_STATUS(VBUF_OK, ebr_attach(domain));
    CHECK_EQ(stats_of(domain).threads, 1);
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    CHECK_EQ(stats_of(domain).threads, 0);
    ebr_pin(domain); /* the first pin attaches */
    CHECK_EQ(stats_of(domain).threads, 1);
    CHECK_EQ(stats_of(domain).overflow_pins, 0);
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_attach, detach_is_busy_iff_pinned)
{
    struct ebr_domain *domain = make(0), *other = make(0);
    ebr_pin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_detach(domain));
    ebr_pin(domain);
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_detach(domain));
    CHECK_STATUS(VBUF_OK, ebr_detach(other)); /* that one is not pinned */
    CHECK_EQ(stats_of(domain).threads, 1);
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(other));
}

static void detach_in_reclaim(struct ebr_entry *entry)
{
    struct leaver_entry *e = (struct leaver_entry *)(void *)entry;
    e->status = ebr_detach(e->domain);
}

TEST(ebr_attach, detach_is_busy_inside_a_reclaim_function)
{
    struct leaver_entry e = {.domain = make(0)};
    ebr_retire(e.domain, &e.entry, detach_in_reclaim);
    CHECK_EQ(drain(e.domain), 1);
    CHECK_STATUS(VBUF_BUSY, e.status);
    CHECK_STATUS(VBUF_OK, ebr_detach(e.domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(e.domain));
}

TEST(ebr_attach, E3_what_a_detached_thread_had_retired_is_left_to_others)
{
    struct ebr_domain *domain = make(0);
    struct object objects[200] = {{.destroyed = 0}};
    for (int i = 0; i < 200; i++)
        retire(domain, &objects[i]);
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    drain(domain); /* without a record of our own */
    for (int i = 0; i < 200; i++)
        REQUIRE(CHECK_EQ(objects[i].destroyed, 1));
    CHECK_EQ(stats_of(domain).retired, 200);
    CHECK_EQ(stats_of(domain).reclaimed, 200);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

/* What a thread beyond max_threads finds. */
struct beyond {
    struct ebr_domain *domain;
    struct object objects[300];
};

static void use_without_a_record(void *context, unsigned index)
{
    struct beyond *b = context;
    (void)index;
    CHECK_STATUS(VBUF_FULL, ebr_attach(b->domain));
    CHECK_STATUS(VBUF_FULL, ebr_attach(b->domain));
    CHECK_STATUS(VBUF_OK, ebr_synchronize(b->domain));
    ebr_pin(b->domain);
    ebr_pin(b->domain);
    CHECK_EQ(stats_of(b->domain).overflow_pins, 2);
    CHECK_EQ(stats_of(b->domain).threads, 1);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(b->domain));
    ebr_repin(b->domain); /* nothing */
    ebr_unpin(b->domain);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(b->domain));
    retire(b->domain, &b->objects[0]);
    CHECK_EQ(drain(b->domain), 0); /* its own pin holds */
    ebr_unpin(b->domain);
    CHECK_EQ(stats_of(b->domain).overflow_pins, 0);
    CHECK_EQ(drain(b->domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_synchronize(b->domain));
    for (int i = 1; i < 300; i++)
        retire(b->domain, &b->objects[i]);
}

TEST(ebr_attach, full_iff_above_max_threads_and_all_works_through_the_shared_word)
{
    struct beyond b = {.domain = make(1)};
    team_run_one(use_without_a_record, &b);
    drain(b.domain);
    for (int i = 0; i < 300; i++)
        REQUIRE(CHECK_EQ(b.objects[i].destroyed, 1));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(b.domain));
}

TEST(ebr_attach, E1_a_pin_through_the_shared_word_protects)
{
    struct ebr_domain *domain = make(1);
    struct object object = {.destroyed = 0};
    struct pinner pinner;
    pinner_start(&pinner, domain);
    CHECK_EQ(stats_of(domain).overflow_pins, 1);
    retire(domain, &object);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(ebr_collect(domain), 0);
    CHECK_STATUS(VBUF_BUSY, ebr_domain_destroy(domain));
    CHECK_EQ(object.destroyed, 0);
    pinner_unpin(&pinner);
    CHECK_EQ(drain(domain), 1);
    CHECK_EQ(object.destroyed, 1);
    pinner_stop(&pinner);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

static void detach_under_a_shared_pin(void *context, unsigned index)
{
    struct ebr_domain *domain = context;
    (void)index;
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    ebr_pin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_detach(domain));
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
}

TEST(ebr_attach, detach_is_busy_under_a_shared_pin_too)
{
    struct ebr_domain *domain = make(1);
    team_run_one(detach_under_a_shared_pin, domain);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

/* With a shared pin in one domain, the thread gets no record in another until that has ended. */
static void attach_under_a_shared_pin(void *context, unsigned index)
{
    struct ebr_domain **domains = context; /* the first has no record for this thread */
    struct object object = {.destroyed = 0};
    (void)index;
    ebr_pin(domains[0]);
    CHECK_STATUS(VBUF_BUSY, ebr_attach(domains[1]));
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(domains[1]));
    CHECK_STATUS(VBUF_BUSY, ebr_detach(domains[1]));
    ebr_pin(domains[1]); /* works, through the shared word */
    CHECK_EQ(stats_of(domains[1]).overflow_pins, 1);
    retire(domains[1], &object);
    ebr_unpin(domains[0]); /* in any order */
    CHECK_EQ(drain(domains[1]), 0);
    CHECK_EQ(stats_of(domains[0]).overflow_pins, 0);
    ebr_unpin(domains[1]);
    CHECK_EQ(stats_of(domains[1]).overflow_pins, 0);
    CHECK_STATUS(VBUF_OK, ebr_attach(domains[1]));
    CHECK_EQ(drain(domains[1]), 1);
    ebr_pin(domains[0]);
    CHECK_STATUS(VBUF_OK, ebr_attach(domains[1])); /* has one already */
    CHECK_STATUS(VBUF_OK, ebr_detach(domains[1])); /* is not pinned there */
    ebr_unpin(domains[0]);
}

TEST(ebr_attach, attach_is_busy_under_a_shared_pin_of_any_domain)
{
    struct ebr_domain *domains[2] = {make(1), make(2)};
    team_run_one(attach_under_a_shared_pin, domains);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domains[0]));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domains[1]));
}

/*
 * Nobody collects: what is retired must go all the same, by later retires, whoever calls them. Advances
 * are paced by time, so the retires are spread over some.
 */
#define MANY 20000
#define BATCH 200

struct many {
    struct ebr_domain *domain;
    struct object *objects;
    int retired;
};

static void retire_until_some_are_reclaimed(void *context, unsigned index)
{
    struct many *m = context;
    (void)index;
    while (m->retired < MANY && stats_of(m->domain).reclaimed == 0) {
        for (int i = 0; i < BATCH; i++)
            retire(m->domain, &m->objects[m->retired++]);
        team_sleep_us(1000);
    }
}

TEST(ebr_attach, E3_retire_alone_reclaims_with_and_without_a_record)
{
    for (uint32_t max_threads = 1; max_threads <= 2; max_threads++) {
        struct many m = {make(max_threads), calloc(MANY, sizeof *m.objects), 0};
        REQUIRE(m.objects != NULL);
        team_run_one(retire_until_some_are_reclaimed, &m);
        struct ebr_report stats = stats_of(m.domain);
        CHECK_EQ(stats.retired, m.retired);
        CHECK(stats.reclaimed > 0);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(m.domain));
        for (int i = 0; i < m.retired; i++)
            REQUIRE(CHECK_EQ(m.objects[i].destroyed, 1));
        free(m.objects);
    }
}

/* Reclaim functions that ran inside the present outermost call of ebr_retire, and how deep. */
static __thread unsigned ran, depth, deepest;

struct endless {
    struct ebr_entry entry;
    struct ebr_domain *domain;
    unsigned lives;
};

static void destroy_and_retire_again(struct ebr_entry *entry)
{
    struct endless *e = (struct endless *)(void *)entry;
    ran++;
    depth++;
    deepest = depth > deepest ? depth : deepest;
    if (--e->lives > 0)
        ebr_retire(e->domain, &e->entry, destroy_and_retire_again);
    depth--;
}

#define ENDLESS 3000

static void retire_what_retires_again(void *context, unsigned index)
{
    struct many *m = context;
    struct endless *all = (struct endless *)(void *)m->objects;
    (void)index;
    unsigned most = 0;
    deepest = 0;
    for (int i = 0; i < ENDLESS; i++) {
        all[i] = (struct endless){.domain = m->domain, .lives = 20};
        ran = 0;
        ebr_retire(m->domain, &all[i].entry, destroy_and_retire_again);
        most = ran > most ? ran : most;
    }
    CHECK(most <= 128); /* the header's bound, a call */
    CHECK(deepest <= 2);
}

TEST(ebr_attach, retire_runs_at_most_128_reclaim_functions_with_and_without_a_record)
{
    for (uint32_t max_threads = 1; max_threads <= 2; max_threads++) {
        struct endless *all = calloc(ENDLESS, sizeof *all);
        struct many m = {make(max_threads), (struct object *)(void *)all, 0};
        REQUIRE(all != NULL);
        team_run_one(retire_what_retires_again, &m);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(m.domain));
        for (int i = 0; i < ENDLESS; i++)
            REQUIRE(CHECK_EQ(all[i].lives, 0));
        free(all);
    }
}

#define CROWD 40

struct crowd {
    struct ebr_domain *domain;
    pthread_barrier_t here;
    struct vbuf_atomic_u32 ok, full, nomem;
    struct object object;
    pthread_mutex_t leave; /* held while they are to stay */
    struct vbuf_atomic_u32 pinned;
};

static void attach_in_a_crowd(struct crowd *c)
{
    enum vbuf_status status = ebr_attach(c->domain);
    vbuf_u32_fetch_add_relaxed(status == VBUF_OK     ? &c->ok
                               : status == VBUF_FULL ? &c->full
                                                     : &c->nomem,
                               1);
    CHECK(status == VBUF_OK || status == VBUF_FULL || (status == VBUF_NOMEM && errno == ENOMEM));
    ebr_pin(c->domain);
    vbuf_u32_fetch_add_acq_rel(&c->pinned, 1);
}

static void attach_refused(void *context, unsigned index)
{
    struct crowd *c = context;
    attach_in_a_crowd(c);
    pthread_barrier_wait(&c->here);
    if (index == 0) { /* all are pinned, most through the shared word */
        retire(c->domain, &c->object);
        CHECK_EQ(drain(c->domain), 0);
        CHECK_EQ(c->object.destroyed, 0);
    }
    pthread_barrier_wait(&c->here);
    ebr_unpin(c->domain);
    pthread_barrier_wait(&c->here);
    if (index == 0) {
        fault_clear(); /* memory is back */
        CHECK_STATUS(VBUF_OK, ebr_synchronize(c->domain));
        CHECK_EQ(c->object.destroyed, 1);
    }
    pthread_barrier_wait(&c->here);
    CHECK_STATUS(VBUF_OK, ebr_attach(c->domain));
}

TEST(ebr_attach, nomem_iff_memory_for_the_record_is_refused_and_pins_protect_still)
{
    struct crowd c = {.domain = make(0)};
    pthread_barrier_init(&c.here, NULL, CROWD);
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    team_run(CROWD, attach_refused, &c);
    CHECK(vbuf_u32_load_relaxed(&c.nomem) > 0);
    CHECK_EQ(vbuf_u32_load_relaxed(&c.full), 0);
    CHECK_EQ(stats_of(c.domain).overflow_pins, 0);
    pthread_barrier_destroy(&c.here);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(c.domain));
    CHECK_EQ(c.object.destroyed, 1);
}

static void *attach_and_stay(void *context)
{
    struct crowd *c = context;
    attach_in_a_crowd(c);
    pthread_mutex_lock(&c->leave);
    pthread_mutex_unlock(&c->leave);
    ebr_unpin(c->domain);
    return NULL;
}

#define PROCESS_CROWD 4100

TEST(ebr_attach, full_iff_the_process_has_no_number_left)
{
    static pthread_t threads[PROCESS_CROWD];
    pthread_attr_t small;
    struct crowd c = {.domain = make(4095)};
    if (!BUILD_PLAIN)
        SKIP("too many threads for a sanitizer");
    pthread_mutex_init(&c.leave, NULL);
    pthread_mutex_lock(&c.leave);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, (size_t)128 << 10);
    unsigned started = 0;
    while (started < PROCESS_CROWD &&
           pthread_create(&threads[started], &small, attach_and_stay, &c) == 0)
        started++;
    while (vbuf_u32_load_acquire(&c.pinned) < started)
        team_sleep_us(1000);
    if (started == PROCESS_CROWD) {
        CHECK_EQ(vbuf_u32_load_relaxed(&c.ok), 4094); /* and this thread */
        CHECK_EQ(vbuf_u32_load_relaxed(&c.full), PROCESS_CROWD - 4094);
        CHECK_EQ(stats_of(c.domain).threads, 4095);
        CHECK_EQ(stats_of(c.domain).overflow_pins, PROCESS_CROWD - 4094);
    }
    retire(c.domain, &c.object);
    CHECK_EQ(drain(c.domain), 0);
    pthread_mutex_unlock(&c.leave);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(stats_of(c.domain).threads, 1); /* all numbers are back */
    CHECK_EQ(drain(c.domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(c.domain));
    if (started < PROCESS_CROWD)
        SKIP("the system allows fewer threads");
}

/* A thread that retires, and pins if told to, and exits so. */
struct leaver {
    struct ebr_domain *domain;
    struct object objects[100];
    bool pinned;
};

static void retire_and_leave(void *context, unsigned index)
{
    struct leaver *l = context;
    (void)index;
    if (l->pinned) {
        ebr_pin(l->domain);
        ebr_pin(l->domain);
    }
    for (int i = 0; i < 100; i++)
        retire(l->domain, &l->objects[i]);
}

TEST(ebr_attach, E3_a_thread_that_exits_leaks_nothing_even_pinned)
{
    for (int pinned = 0; pinned < 2; pinned++) {
        struct leaver l = {.domain = make(0), .pinned = pinned};
        team_run_one(retire_and_leave, &l);
        CHECK_EQ(stats_of(l.domain).threads, 1);
        drain(l.domain); /* its pins have ended with it */
        for (int i = 0; i < 100; i++)
            REQUIRE(CHECK_EQ(l.objects[i].destroyed, 1));
        CHECK_EQ(stats_of(l.domain).stalled_thread, 0);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(l.domain));
    }
}

/* Every way there is to end a thread from inside, or from outside. */
static void *leave_by_exit(void *context)
{
    retire_and_leave(context, 0);
    pthread_exit(NULL);
}

static void *leave_by_cancellation(void *context)
{
    retire_and_leave(context, 0);
    while (pause() != 0) { /* a cancellation point */
    }
    return NULL;
}

TEST(ebr_attach, E3_a_thread_may_leave_by_pthread_exit_or_be_cancelled)
{
    for (int kind = 0; kind < 4; kind++) {
        struct leaver l = {.domain = make(0), .pinned = kind & 1};
        pthread_t thread;
        void *(*leave)(void *) = kind & 2 ? leave_by_cancellation : leave_by_exit;
        REQUIRE(pthread_create(&thread, NULL, leave, &l) == 0);
        if (kind & 2)
            pthread_cancel(thread); /* it retires first, or not: that is not a cancellation point */
        pthread_join(thread, NULL);
        drain(l.domain);
        for (int i = 0; i < 100; i++)
            REQUIRE(CHECK_EQ(l.objects[i].destroyed, l.objects[99].destroyed));
        if (!(kind & 2))
            CHECK_EQ(l.objects[99].destroyed, 1);
        CHECK_EQ(stats_of(l.domain).threads, 1);
        CHECK_EQ(stats_of(l.domain).retired, stats_of(l.domain).reclaimed);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(l.domain));
    }
}

static struct vbuf_atomic_u32 waits_began, waits_ended;

static void *wait_for_grace(void *domain)
{
    vbuf_u32_fetch_add_relaxed(&waits_began, 1);
    CHECK_STATUS(VBUF_OK, ebr_synchronize(domain));
    vbuf_u32_fetch_add_relaxed(&waits_ended, 1);
    pthread_testcancel();
    return NULL;
}

TEST(ebr_attach, no_call_is_a_cancellation_point)
{
    struct ebr_domain *domain = make(0);
    pthread_t thread;
    void *result = NULL;
    ebr_pin(domain);
    REQUIRE(pthread_create(&thread, NULL, wait_for_grace, domain) == 0);
    while (vbuf_u32_load_relaxed(&waits_began) == 0)
        team_sleep_us(1000);
    team_sleep_us(20000); /* by now it sleeps between its looks */
    pthread_cancel(thread);
    team_sleep_us(20000);
    ebr_unpin(domain);
    pthread_join(thread, &result);
    CHECK_EQ(vbuf_u32_load_relaxed(&waits_ended), 1);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_attach, E1_destroy_destroys_what_exited_threads_retired)
{
    struct leaver l = {.domain = make(0)};
    team_run_one(retire_and_leave, &l);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(l.domain));
    for (int i = 0; i < 100; i++)
        REQUIRE(CHECK_EQ(l.objects[i].destroyed, 1));
}

static void attach_for_a_moment(void *context, unsigned index)
{
    (void)index;
    CHECK_STATUS(VBUF_OK, ebr_attach(context));
    ebr_pin(context);
    ebr_unpin(context);
}

TEST(ebr_attach, numbers_of_exited_threads_are_used_again)
{
    struct ebr_domain *domain = make(4);
    for (int i = 0; i < BUILD_COUNT(1000, 200); i++) {
        team_run(3, attach_for_a_moment, domain); /* with this thread, never more than 4 */
        REQUIRE(check_failures() == 0);
    }
    CHECK_EQ(stats_of(domain).threads, 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}
