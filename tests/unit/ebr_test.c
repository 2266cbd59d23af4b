/*
 * ebr_test.c - epoch reclamation: what pins hold back and what they do not (E1), nesting, repin,
 * synchronize, destroy, stats. Threads without a record and thread exit are in ebr_attach_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/ebr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ebr_objects.h"
#include "fault.h"
#include "team.h"

static struct ebr_domain *make(void)
{
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL));
    return domain;
}

TEST(ebr, create_is_invalid_iff_max_threads_is_too_large)
{
    struct ebr_domain *unset = (struct ebr_domain *)(void *)&unset, *domain = unset;
    CHECK_STATUS(VBUF_INVALID,
                 ebr_domain_create(&domain, &(struct ebr_options){.max_threads = 4096}));
    CHECK_STATUS(VBUF_INVALID,
                 ebr_domain_create(&domain, &(struct ebr_options){.max_threads = UINT32_MAX}));
    CHECK_STATUS(VBUF_INVALID, ebr_domain_create(NULL, NULL));
    CHECK(domain == unset);
    const uint32_t good[] = {0, 1, 2, 1024, 4095};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ebr_options options = {.max_threads = good[i]};
        REQUIRE(CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, &options)));
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    }
    REQUIRE(CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL)));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(NULL));
}

TEST(ebr, create_is_nomem_iff_memory_is_refused)
{
    struct ebr_domain *unset = (struct ebr_domain *)(void *)&unset, *domain = unset;
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, ebr_domain_create(&domain, NULL));
    CHECK_EQ(errno, ENOMEM);
    fault_fail_at(FAULT_MPROTECT, 1, EAGAIN);
    CHECK_STATUS(VBUF_NOMEM, ebr_domain_create(&domain, NULL));
    CHECK_EQ(errno, EAGAIN);
    CHECK(domain == unset);
    fault_clear();
    REQUIRE(CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL)));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, E1_what_is_retired_is_destroyed_once)
{
    struct ebr_domain *domain = make();
    struct object objects[1000] = {{.destroyed = 0}};
    size_t returned = 0;
    for (int i = 0; i < 1000; i++)
        retire(domain, &objects[i]);
    for (int i = 0; i < 8; i++)
        returned += ebr_collect(domain);
    for (int i = 0; i < 1000; i++)
        REQUIRE(CHECK_EQ(objects[i].destroyed, 1));
    CHECK(returned > 0 && returned <= 1000); /* retire may have done some */
    CHECK_EQ(stats_of(domain).reclaimed, 1000);
    CHECK_EQ(ebr_collect(domain), 0);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    for (int i = 0; i < 1000; i++)
        REQUIRE(CHECK_EQ(objects[i].destroyed, 1));
}

TEST(ebr, collect_returns_how_many_it_destroyed)
{
    struct ebr_domain *domain = make();
    struct object objects[10] = {{.destroyed = 0}};
    CHECK_EQ(ebr_collect(domain), 0);
    for (int i = 0; i < 10; i++)
        retire(domain, &objects[i]);
    CHECK_EQ(drain(domain), 10);
    CHECK_EQ(drain(domain), 0);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, E1_another_threads_pin_holds_back_what_it_could_have_seen)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    struct pinner pinner;
    pinner_start(&pinner, domain);
    retire(domain, &object);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(ebr_collect(domain), 0);
    CHECK_EQ(object.destroyed, 0);
    pinner_unpin(&pinner);
    CHECK_EQ(drain(domain), 1);
    CHECK_EQ(object.destroyed, 1);
    pinner_stop(&pinner);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_EQ(object.destroyed, 1);
}

TEST(ebr, E1_ones_own_pin_holds_back_too)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    ebr_pin(domain);
    retire(domain, &object);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(ebr_collect(domain), 0);
    CHECK_EQ(object.destroyed, 0);
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 1);
    CHECK_EQ(object.destroyed, 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, pins_nest_and_the_outermost_counts)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    for (int depth = 0; depth < 5; depth++)
        ebr_pin(domain);
    retire(domain, &object);
    for (int depth = 0; depth < 4; depth++) {
        ebr_unpin(domain);
        CHECK_EQ(drain(domain), 0);
    }
    ebr_pin(domain); /* and back in: still the same section */
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 0);
    CHECK_EQ(object.destroyed, 0);
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, repin_lets_go_of_what_was_protected)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    ebr_repin(domain); /* not attached: nothing */
    ebr_pin(domain);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    size_t count = 0;
    for (int turn = 0; turn < 8; turn++) { /* an event loop that never unpins */
        ebr_repin(domain);
        count += ebr_collect(domain);
    }
    CHECK_EQ(count, 1);
    CHECK_EQ(object.destroyed, 1);
    ebr_unpin(domain);
    ebr_repin(domain); /* not pinned: nothing */
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, repin_does_nothing_under_a_nested_pin)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    ebr_pin(domain);
    ebr_pin(domain);
    retire(domain, &object);
    for (int turn = 0; turn < 8; turn++) {
        ebr_repin(domain);
        CHECK_EQ(ebr_collect(domain), 0);
    }
    CHECK_EQ(object.destroyed, 0);
    ebr_unpin(domain);
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, repin_keeps_the_pin)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    ebr_pin(domain);
    ebr_repin(domain);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(domain));
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_EQ(object.destroyed, 1);
}

TEST(ebr, synchronize_is_busy_under_a_pin)
{
    struct ebr_domain *domain = make();
    CHECK_STATUS(VBUF_OK, ebr_synchronize(domain));
    ebr_pin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(domain));
    ebr_pin(domain);
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(domain));
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK, ebr_synchronize(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

struct waiter {
    struct ebr_domain *domain;
    struct object object;
    struct gate returned;
    enum vbuf_status status;
};

static void synchronize(void *context, unsigned index)
{
    struct waiter *w = context;
    (void)index;
    retire(w->domain, &w->object);
    w->status = ebr_synchronize(w->domain);
    gate_open(&w->returned);
}

static void *synchronize_thread(void *context)
{
    synchronize(context, 0);
    return NULL;
}

TEST(ebr, synchronize_waits_for_pins_and_collects)
{
    struct ebr_domain *domain = make();
    struct waiter w = {.domain = domain};
    struct pinner pinner;
    pthread_t thread;
    pinner_start(&pinner, domain);
    REQUIRE(pthread_create(&thread, NULL, synchronize_thread, &w) == 0);
    team_sleep_us(30000);
    CHECK(!gate_is_open(&w.returned));
    pinner_unpin(&pinner);
    pthread_join(thread, NULL);
    CHECK_STATUS(VBUF_OK, w.status);
    CHECK_EQ(w.object.destroyed, 1);
    pinner_stop(&pinner);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

/* Pins taken during the call cannot protect what was retired before it: they hold nothing back. */
TEST(ebr, synchronize_destroys_what_was_retired_before_it_in_spite_of_later_pins)
{
    struct ebr_domain *domain = make();
    struct waiter w = {.domain = domain};
    struct pinner early, late;
    pthread_t thread;
    pinner_start(&early, domain);
    uint64_t epoch = stats_of(domain).epoch;
    REQUIRE(pthread_create(&thread, NULL, synchronize_thread, &w) == 0);
    while (stats_of(domain).epoch == epoch) /* one step, then the early pin is in the way */
        team_sleep_us(100);
    pinner_start(&late, domain);
    pinner_unpin(&early);
    pthread_join(thread, NULL);
    CHECK_STATUS(VBUF_OK, w.status);
    CHECK_EQ(w.object.destroyed, 1);
    pinner_stop(&early);
    pinner_stop(&late);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_EQ(w.object.destroyed, 1);
}

TEST(ebr, E4_a_refused_barrier_frees_nothing_and_makes_synchronize_busy)
{
    if (vbuf_fence_kind() != VBUF_FENCE_PROCESS_WIDE)
        SKIP("no barrier to refuse");
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    struct pinner pinner;
    pinner_start(&pinner, domain);
    pinner_unpin(&pinner); /* attached: the barrier cannot be skipped */
    fault_clear();
    fault_fail_from(FAULT_MEMBARRIER, 1, EPERM);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    CHECK_STATUS(VBUF_BUSY, ebr_synchronize(domain));
    CHECK_EQ(object.destroyed, 0);
    CHECK(stats_of(domain).barriers_failed > 0);
    fault_clear();
    CHECK_STATUS(VBUF_OK, ebr_synchronize(domain));
    CHECK_EQ(object.destroyed, 1);
    pinner_stop(&pinner);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

/* Each reclaim retires the next, down the chain. */
struct link {
    struct ebr_entry entry;
    struct ebr_domain *domain;
    struct link *next;
    unsigned destroyed;
};

static void destroy_link(struct ebr_entry *entry)
{
    struct link *link = (struct link *)(void *)entry;
    link->destroyed++;
    if (link->next != NULL)
        ebr_retire(link->domain, &link->next->entry, destroy_link);
}

static void retire_chain(struct ebr_domain *domain, struct link *links, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        links[i] = (struct link){.domain = domain, .next = i + 1 < count ? &links[i + 1] : NULL};
    }
    ebr_retire(domain, &links[0].entry, destroy_link);
}

TEST(ebr, reclaim_functions_may_retire_more)
{
    struct ebr_domain *domain = make();
    struct link links[300];
    retire_chain(domain, links, 300);
    for (int i = 0; i < 300 * 4; i++)
        ebr_collect(domain);
    for (int i = 0; i < 300; i++)
        REQUIRE(CHECK_EQ(links[i].destroyed, 1));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, E1_destroy_destroys_all_and_what_that_retires)
{
    struct ebr_domain *domain = make();
    struct link links[300];
    struct object objects[100] = {{.destroyed = 0}};
    for (int i = 0; i < 100; i++)
        retire(domain, &objects[i]);
    retire_chain(domain, links, 300);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    for (int i = 0; i < 100; i++)
        REQUIRE(CHECK_EQ(objects[i].destroyed, 1));
    for (int i = 0; i < 300; i++)
        REQUIRE(CHECK_EQ(links[i].destroyed, 1));
}

TEST(ebr, destroy_is_busy_iff_a_thread_is_pinned)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    struct pinner pinner;
    retire(domain, &object);
    ebr_pin(domain);
    CHECK_STATUS(VBUF_BUSY, ebr_domain_destroy(domain));
    ebr_unpin(domain);
    pinner_start(&pinner, domain);
    CHECK_STATUS(VBUF_BUSY, ebr_domain_destroy(domain));
    CHECK_EQ(object.destroyed, 0); /* as it was */
    pinner_unpin(&pinner);
    ebr_pin(domain); /* and usable */
    ebr_unpin(domain);
    CHECK_STATUS(VBUF_OK,
                 ebr_domain_destroy(domain)); /* the other thread is still there, attached */
    CHECK_EQ(object.destroyed, 1);
    pinner_stop(&pinner);
}

TEST(ebr, domains_do_not_know_of_each_other)
{
    struct ebr_domain *domains[3] = {make(), make(), make()};
    struct object objects[3] = {{.destroyed = 0}};
    ebr_pin(domains[0]);
    ebr_pin(domains[1]);
    ebr_pin(domains[0]);
    for (int i = 0; i < 3; i++)
        retire(domains[i], &objects[i]);
    CHECK_EQ(drain(domains[2]), 1); /* nobody has pinned that one */
    ebr_unpin(domains[0]);
    CHECK_EQ(drain(domains[0]), 0);
    ebr_unpin(domains[1]);
    CHECK_EQ(drain(domains[1]), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domains[1])); /* in any order */
    CHECK_EQ(drain(domains[0]), 0);
    ebr_unpin(domains[0]);
    CHECK_EQ(drain(domains[0]), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domains[0]));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domains[2]));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(objects[i].destroyed, 1);
}

TEST(ebr, stats_of_a_quiet_domain)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    CHECK_STATUS(VBUF_INVALID, ebr_stats(domain, NULL));
    struct ebr_report stats = stats_of(domain);
    CHECK_EQ(stats.fence, vbuf_fence_kind());
    CHECK_EQ(stats.epoch & 1, vbuf_fence_kind() == VBUF_FENCE_FULL);
    CHECK_EQ(stats.retired, 0);
    CHECK_EQ(stats.reclaimed, 0);
    CHECK_EQ(stats.advances, 0);
    CHECK_EQ(stats.threads, 0);
    CHECK_EQ(stats.overflow_pins, 0);
    CHECK_EQ(stats.stalled_thread, 0);
    uint64_t epoch = stats.epoch;
    retire(domain, &object);
    stats = stats_of(domain);
    CHECK_EQ(stats.retired, 1);
    CHECK_EQ(stats.reclaimed, 0);
    CHECK_EQ(stats.threads, 1);
    drain(domain);
    stats = stats_of(domain);
    CHECK_EQ(stats.reclaimed, 1);
    CHECK(stats.advances > 0);
    CHECK_EQ(stats.epoch, epoch + 2 * stats.advances);
    CHECK_EQ(stats.barriers_failed, 0);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr, E4_stats_name_the_thread_that_stalls)
{
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    struct pinner stalled, late;
    pinner_start(&stalled, domain);
    uint64_t epoch = stats_of(domain).epoch;
    CHECK_EQ(stats_of(domain).stalled_thread, 0); /* pinned, but not behind */
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    pinner_start(&late, domain); /* pinned in the newer epoch: further ahead */
    struct ebr_report stats = stats_of(domain);
    CHECK_EQ(stats.stalled_thread, stalled.system_id);
    CHECK_EQ(stats.stalled_epoch, epoch);
    CHECK(stats.epoch > epoch);
    CHECK_EQ(stats.threads, 3);
    CHECK_EQ(stats.retired - stats.reclaimed, 1);
    pinner_stop(&stalled);
    CHECK(stats_of(domain).stalled_thread != stalled.system_id);
    pinner_stop(&late);
    drain(domain);
    stats = stats_of(domain);
    CHECK_EQ(stats.stalled_thread, 0);
    CHECK_EQ(stats.threads, 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    CHECK_EQ(object.destroyed, 1);
}

TEST(ebr, E2_a_pin_issues_no_barrier_and_an_advance_among_others_does)
{
    if (vbuf_fence_kind() != VBUF_FENCE_PROCESS_WIDE)
        SKIP("no barrier to count");
    struct ebr_domain *domain = make();
    struct object object = {.destroyed = 0};
    struct pinner pinner;
    pinner_start(&pinner, domain);
    pinner_unpin(&pinner);
    fault_clear();
    for (int i = 0; i < 1000; i++) {
        ebr_pin(domain);
        ebr_unpin(domain);
    }
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), 0);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 1);
    CHECK(fault_count(FAULT_MEMBARRIER) >= 2); /* a step each */
    struct ebr_report stats = stats_of(domain);
    CHECK_EQ(stats.barriers, fault_count(FAULT_MEMBARRIER));
    CHECK(stats.barrier_ns > 0);
    pinner_stop(&pinner);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}
