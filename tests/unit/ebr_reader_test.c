/*
 * ebr_reader_test.c - pins that belong to no thread, and who is told of a stalled one (E4).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "ebr_objects.h"
#include "fault.h"
#include "team.h"
#include "vbuf/ebr.h"

static struct ebr_domain *make(const struct ebr_options *options)
{
    struct ebr_domain *domain = NULL;
    CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, options));
    return domain;
}

static struct ebr_reader *make_reader(struct ebr_domain *domain)
{
    struct ebr_reader *reader = NULL;
    CHECK_STATUS(VBUF_OK, ebr_reader_create(domain, &reader));
    return reader;
}

TEST(ebr_reader, E1_a_pinned_reader_protects_whatever_thread_it_is_on)
{
    struct ebr_domain *domain = make(NULL);
    struct ebr_reader *reader = make_reader(domain);
    struct object object = {0};
    ebr_pin_on(domain, reader);
    ebr_pin_on(domain, reader);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    ebr_unpin_on(domain, reader);
    CHECK_EQ(drain(domain), 0); /* nested */
    CHECK_STATUS(VBUF_BUSY, ebr_domain_destroy(domain));
    ebr_unpin_on(domain, reader);
    CHECK_EQ(drain(domain), 1);
    CHECK_EQ(object.destroyed, 1);
    ebr_reader_destroy(domain, reader);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_reader, E1_a_threads_own_record_is_a_reader_of_the_thread)
{
    struct ebr_domain *domain = make(NULL);
    struct ebr_reader *own = ebr_thread_reader(domain);
    struct object object = {0};
    REQUIRE(own != NULL);
    CHECK(ebr_thread_reader(domain) == own);
    CHECK_EQ(stats_of(domain).threads, 1);
    CHECK_EQ(stats_of(domain).readers, 0);
    ebr_pin_on(domain, own);
    ebr_pin(domain); /* nests */
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    ebr_unpin_on(domain, own);
    CHECK_EQ(drain(domain), 0);
    CHECK_STATUS(VBUF_BUSY, ebr_detach(domain));
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_detach(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

static void find_no_record(void *domain, unsigned index)
{
    (void)index;
    CHECK(ebr_thread_reader(domain) == NULL); /* its number is above max_threads */
    ebr_pin(domain);
    CHECK(ebr_thread_reader(domain) == NULL);
    ebr_unpin(domain);
}

TEST(ebr_reader, there_is_no_thread_reader_iff_attach_says_no)
{
    struct ebr_domain *domain = make(&(struct ebr_options){.max_threads = 1});
    CHECK(ebr_thread_reader(domain) != NULL); /* the first thread has number 1 */
    team_run_one(find_no_record, domain);
    CHECK_EQ(stats_of(domain).threads, 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_reader, destroying_a_reader_ends_its_pins)
{
    struct ebr_domain *domain = make(NULL);
    struct ebr_reader *reader = make_reader(domain);
    struct object object = {0};
    ebr_pin_on(domain, reader);
    ebr_pin_on(domain, reader);
    retire(domain, &object);
    CHECK_EQ(drain(domain), 0);
    ebr_reader_destroy(domain, reader);
    ebr_reader_destroy(domain, NULL);
    CHECK_EQ(drain(domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_reader, there_are_as_many_as_the_options_say)
{
    struct ebr_domain *domain = make(&(struct ebr_options){.max_readers = 100});
    struct ebr_reader *readers[100], *more = NULL;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 100; i++) {
            readers[i] = make_reader(domain);
            for (unsigned j = 0; j < i; j++)
                REQUIRE(readers[i] != readers[j]);
        }
        CHECK_STATUS(VBUF_FULL, ebr_reader_create(domain, &more));
        CHECK_EQ(stats_of(domain).readers, 100);
        ebr_reader_destroy(domain, readers[37]);
        CHECK(make_reader(domain) == readers[37]); /* the one that is free */
        for (unsigned i = 0; i < 100; i++)
            ebr_reader_destroy(domain, readers[i]);
        CHECK_EQ(stats_of(domain).readers, 0);
        CHECK_EQ(stats_of(domain).threads, 0);
    }
    CHECK_STATUS(VBUF_INVALID, ebr_reader_create(domain, NULL));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    const struct ebr_options bad[] = {{.max_readers = (UINT32_C(1) << 20) + 1},
                                      {.stall_limit = -1}};
    for (unsigned i = 0; i < 2; i++)
        CHECK_STATUS(VBUF_INVALID, ebr_domain_create(&domain, &bad[i]));
}

TEST(ebr_reader, V4_a_refused_commit_is_a_status)
{
    struct ebr_domain *domain = make(&(struct ebr_options){.max_readers = 1});
    struct ebr_reader *reader = NULL;
    fault_clear();
    fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, ebr_reader_create(domain, &reader));
    CHECK(reader == NULL);
    fault_clear();
    ebr_reader_destroy(domain, make_reader(domain));
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

/* ---- a reader that goes from thread to thread ---- */

struct relay {
    struct ebr_domain *domain;
    struct ebr_reader *reader;
    struct vbuf_atomic_pointer place;
    struct vbuf_atomic_u32 turn;
};

struct cell {
    uint64_t value;
    struct ebr_entry entry;
};

static void free_cell(struct ebr_entry *entry)
{
    struct cell *cell = (struct cell *)(void *)((char *)entry - offsetof(struct cell, entry));
    cell->value = 0;
    free(cell);
}

static struct cell *new_cell(void)
{
    struct cell *cell = calloc(1, sizeof *cell);
    if (cell == NULL)
        abort();
    cell->value = 42;
    return cell;
}

/* Threads 0 and 1 hand a pinned reader to and fro; thread 2 replaces what they hold. */
static void hand_over(void *context, unsigned thread)
{
    struct relay *r = context;
    const uint32_t rounds = 20000;
    static struct cell *held;
    if (thread == 2) {
        for (uint32_t i = 0; i < rounds; i++) {
            struct cell *old = vbuf_pointer_exchange_acq_rel(&r->place, new_cell());
            ebr_retire(r->domain, &old->entry, free_cell);
        }
        return;
    }
    for (uint32_t i = thread; i < rounds; i += 2) {
        while (vbuf_u32_load_acquire(&r->turn) != i)
            sched_yield();
        if (i % 4 == 0) {
            ebr_pin_on(r->domain, r->reader);
            held = vbuf_pointer_load_acquire(&r->place);
        }
        CHECK_EQ(held->value, 42);
        if (i % 4 == 3)
            ebr_unpin_on(r->domain, r->reader);
        vbuf_u32_store_release(&r->turn, i + 1);
    }
}

TEST(ebr_reader, E1_a_pin_goes_with_its_reader_to_another_thread)
{
    struct relay relay = {.domain = make(NULL)};
    relay.reader = make_reader(relay.domain);
    vbuf_pointer_store_release(&relay.place, new_cell());
    team_run(3, hand_over, &relay);
    ebr_reader_destroy(relay.domain, relay.reader);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(relay.domain));
    free(vbuf_pointer_load_acquire(&relay.place));
}

/* ---- stalls ---- */

struct told {
    unsigned count;
    struct ebr_report last;
};

static void tell(void *context, const struct ebr_report *stats)
{
    struct told *told = context;
    told->count++;
    told->last = *stats;
}

TEST(ebr_reader, E4_a_stalled_pin_is_told_of)
{
    struct told told = {0};
    struct ebr_domain *domain =
        make(&(struct ebr_options){.on_stall = tell, .context = &told, .stall_limit = 2000000});
    struct ebr_reader *reader = make_reader(domain);
    struct object objects[2] = {{0}};
    retire(domain, &objects[0]);
    CHECK_EQ(drain(domain), 1); /* nobody is behind */
    CHECK_EQ(told.count, 0);
    ebr_pin_on(domain, reader);
    retire(domain, &objects[1]);
    for (int i = 0; i < 3; i++) {
        drain(domain);
        team_sleep_us(3000);
    }
    drain(domain);
    CHECK(told.count >= 1 && told.count <= 4);
    CHECK(told.last.stalled_reader == reader);
    CHECK_EQ(told.last.stalled_thread, 0);
    CHECK(told.last.stalled_ns >= 2000000);
    CHECK_EQ(told.last.retired - told.last.reclaimed, 1);
    unsigned count = told.count;
    ebr_unpin_on(domain, reader);
    CHECK_EQ(drain(domain), 1);
    team_sleep_us(3000);
    drain(domain);
    CHECK_EQ(told.count, count);
    CHECK_EQ(stats_of(domain).stalled_ns, 0);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_reader, E4_stats_name_a_thread_that_stalls_and_for_how_long)
{
    struct ebr_domain *domain = make(NULL);
    struct object object = {0};
    ebr_pin(domain);
    retire(domain, &object);
    drain(domain);
    team_sleep_us(2000);
    struct ebr_report stats = stats_of(domain);
    CHECK_EQ(stats.stalled_thread, vbuf_sys_thread_id());
    CHECK(stats.stalled_reader == NULL);
    CHECK(stats.stalled_ns >= 2000000);
    ebr_unpin(domain);
    CHECK_EQ(drain(domain), 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}
