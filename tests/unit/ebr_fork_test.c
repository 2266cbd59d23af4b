/*
 * ebr_fork_test.c - a domain in a fork's child (E3).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "ebr_objects.h"
#include "proc.h"
#include "team.h"
#include "vbuf/ebr.h"

/* A domain in which the calling thread, number 1 of the process, has its record. */
static struct ebr_domain *make(uint32_t max_threads)
{
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK,
                 ebr_domain_create(&domain, &(struct ebr_options){.max_threads = max_threads}));
    CHECK_STATUS(VBUF_OK, ebr_attach(domain));
    return domain;
}

/* What is done in a fork's child while another thread of the parent is pinned, for ever there. */
static struct ebr_domain *forked_domain;

static void use_domain_in_child(void)
{
    struct object object = {.destroyed = 0};
    ebr_pin(forked_domain);
    retire(forked_domain, &object);
    ebr_unpin(forked_domain);
    CHECK_EQ(drain(forked_domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_synchronize(forked_domain));
    CHECK_EQ(object.destroyed, 1);
}

TEST(ebr_fork, E3_a_forked_child_is_not_held_by_pins_of_threads_it_has_not)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("its runtime does not like forks of threaded programs");
    for (uint32_t max_threads = 1; max_threads <= 2; max_threads++) {
        struct pinner pinner;
        forked_domain = make(max_threads); /* with 1, the pin is in the shared word */
        pinner_start(&pinner, forked_domain);
        proc_in_child(use_domain_in_child);
        pinner_stop(&pinner);
        CHECK_STATUS(VBUF_OK, ebr_domain_destroy(forked_domain));
    }
}

/* ---- fork: figures, and what a thread without a record had retired ---- */

static struct object left[8], own[256];

static void retire_and_go(void *context, unsigned thread)
{
    (void)context;
    for (unsigned i = 0; i < 4; i++)
        retire(forked_domain, &left[4 * thread + i]);
}

static void compare_figures(void)
{
    struct ebr_report stats = stats_of(forked_domain);
    CHECK_EQ(stats.retired - stats.reclaimed, 0);
}

TEST(ebr_fork, E3_the_figures_of_a_forked_child_agree)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("its runtime does not like forks of threaded programs");
    forked_domain = make(8);
    team_run(2, retire_and_go, NULL);
    for (unsigned i = 0; i < 256; i++) /* full batches: this thread reclaims what those left, too */
        retire(forked_domain, &own[i]);
    drain(forked_domain);
    compare_figures();
    proc_in_child(compare_figures);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(forked_domain));
}

static void reclaim_in_child(void)
{
    CHECK_EQ(drain(forked_domain), 1);
    CHECK_EQ(own[0].destroyed, 1);
}

/* Without a record, and what it retired is in limbo already when it forks. */
static void retire_and_fork(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    CHECK_STATUS(VBUF_FULL, ebr_attach(forked_domain));
    retire(forked_domain, &own[0]);
    ebr_pin(forked_domain);
    CHECK_EQ(ebr_collect(forked_domain), 0);
    ebr_unpin(forked_domain);
    proc_in_child(reclaim_in_child);
}

TEST(ebr_fork, E3_a_forked_child_keeps_what_its_thread_without_a_record_retired)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("its runtime does not like forks of threaded programs");
    forked_domain = make(1);
    own[0].destroyed = 0;
    team_run(1, retire_and_fork, NULL);
    CHECK_EQ(drain(forked_domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(forked_domain));
}

/* ---- fork by a thread that is pinned through the shared word, as others are ---- */

static struct ebr_domain *pinned_domain; /* by others */

static void unpin_and_use_in_child(void)
{
    ebr_unpin(forked_domain);
    CHECK_EQ(stats_of(forked_domain).overflow_pins, 0);
    CHECK_EQ(stats_of(pinned_domain).overflow_pins, 0);
    use_domain_in_child();
    CHECK_STATUS(VBUF_OK, ebr_synchronize(pinned_domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(pinned_domain));
}

static void pin_and_fork(void *context, unsigned thread)
{
    struct pinner pinner;
    (void)context;
    (void)thread;
    ebr_pin(forked_domain);
    pinner_start(&pinner, pinned_domain);
    CHECK_EQ(stats_of(pinned_domain).overflow_pins, pinned_domain == forked_domain ? 2 : 1);
    proc_in_child(unpin_and_use_in_child);
    pinner_stop(&pinner);
    ebr_unpin(forked_domain);
    CHECK_EQ(stats_of(pinned_domain).overflow_pins, 0);
}

TEST(ebr_fork, E3_a_forked_child_that_is_pinned_is_not_held_by_pins_of_others_either)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("its runtime does not like forks of threaded programs");
    forked_domain = pinned_domain = make(1);
    team_run(1, pin_and_fork, NULL);
    pinned_domain = make(1);
    team_run(1, pin_and_fork, NULL);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(pinned_domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(forked_domain));
}

/* ---- fork in a reclaim function ---- */

static pid_t child_of_reclaim;

static void destroy_and_fork(struct ebr_entry *entry)
{
    destroy_object(entry);
    child_of_reclaim = fork();
}

static void retire_several(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    for (unsigned i = 0; i < 7; i++) {
        if (i == 3)
            ebr_retire(forked_domain, &left[i].entry, destroy_and_fork);
        else
            retire(forked_domain, &left[i]);
    }
}

/* Of what an exited thread has left, by the only thread that there is. */
TEST(ebr_fork, E3_a_collect_in_whose_reclaim_function_is_forked_goes_on_in_the_child)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("its runtime does not like forks of threaded programs");
    for (unsigned i = 0; i < 7; i++)
        left[i].destroyed = 0;
    forked_domain = make(8);
    team_run(1, retire_several, NULL);
    child_of_reclaim = -1;
    drain(forked_domain);
    bool whole = child_of_reclaim >= 0;
    for (unsigned i = 0; i < 7; i++)
        whole = whole && left[i].destroyed == 1;
    whole = whole && ebr_domain_destroy(forked_domain) == VBUF_OK;
    if (child_of_reclaim == 0)
        _exit(whole ? 0 : 1);
    CHECK(whole);
    int status = -1;
    CHECK_EQ(waitpid(child_of_reclaim, &status, 0), child_of_reclaim);
    CHECK_EQ(status, 0);
}
