/*
 * ebr_fork.c - a domain in a fork's child (E3): what the child's thread had retired is reclaimed once, nobody's pin that is
 * not there holds anything, the figures are those of what is there.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "ebr_domain.h"
#include "ebr_objects.h"

#define OBJECTS 16

/* What fails is not the matter; and the parent's other threads are not followed. */
#define CHILD .bounds = {.failures = EXPLORE_NONE}, .leaks = true

static struct counted {
    struct ebr_entry entry;
    unsigned retired, reclaimed;
} objects[OBJECTS];

static struct ebr_domain *domain, *other_domain;
static uint32_t numbers[3];
static struct ebr_reader *kept;
static bool is_child;

static void reclaim(struct ebr_entry *entry)
{
    struct counted *object = (struct counted *)(void *)entry;
    EXPLORE(object->retired == 1 && object->reclaimed == 0);
    object->reclaimed = 1;
}

static void retire(unsigned i)
{
    EXPLORE(objects[i].retired == 0);
    objects[i].retired = 1;
    ebr_retire(domain, &objects[i].entry, reclaim);
}

static struct ebr_report stats_now(void)
{
    struct ebr_report stats;
    EXPLORE(ebr_stats(domain, &stats) == VBUF_OK);
    return stats;
}

/* Three threads, each of which has retired something. */
static void set_up_for(uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads, .max_readers = 2};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    for (unsigned i = 0; i < 3; i++) {
        vbuf_thread_set_number(0);
        ebr_attach(domain);
        numbers[i] = vbuf_thread_number();
        retire(i);
    }
    vbuf_thread_set_number(0);
}

static void set_up(void)
{
    set_up_for(8);
}

/* Number 1 alone has a record. */
static void set_up_shared(void)
{
    set_up_for(1);
}

static void churn(void)
{
    be_thread(numbers[1]);
    retire(4);
    ebr_collect(domain);
    ebr_pin(domain);
    retire(5);
    ebr_unpin(domain);
    ebr_detach(domain);
    retire(6);
    ebr_collect(domain);
}

static void churn_and_exit(void)
{
    be_thread(numbers[2]);
    ebr_pin(domain);
    retire(7);
    ebr_collect(domain);
    ebr_unpin(domain);
    explore_end_thread();
}

/* All of it works; what the calling thread has retired is reclaimed, if it has a record. */
static void use(bool attached)
{
    is_child = true;
    struct ebr_report stats = stats_now();
    EXPLORE(stats.overflow_pins == 0 && stats.retired >= stats.reclaimed);
    EXPLORE(stats.threads == attached);
    retire(10);
    ebr_pin(domain);
    retire(11);
    ebr_unpin(domain);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
    ebr_collect(domain);
    EXPLORE(objects[10].reclaimed == 1 && objects[11].reclaimed == 1);
    EXPLORE(!attached || (objects[0].reclaimed == 1 && objects[3].reclaimed == 1));
    uint32_t number = vbuf_self_.id; /* and a new thread */
    vbuf_thread_set_number(0);
    ebr_pin(domain);
    retire(12);
    ebr_unpin(domain);
    explore_end_thread();
    vbuf_thread_set_number(number);
    EXPLORE(ebr_synchronize(domain) == VBUF_OK);
    ebr_collect(domain);
    EXPLORE(objects[12].reclaimed == 1);
}

static void fork_and_use(void)
{
    be_thread(numbers[0]);
    retire(3);
    explore_fork();
    use(true);
    explore_fork();
    for (unsigned i = 10; i < 13; i++)
        objects[i].retired = objects[i].reclaimed = 0;
    use(true);
}

static void finish(void)
{
    EXPLORE(is_child);
    EXPLORE(ebr_domain_destroy(domain) == VBUF_OK);
}

const struct explore_scenario ebr_fork_churn = {
    .name = "ebr.fork-churn",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {churn, churn_and_exit, fork_and_use},
    .finish = finish,
    CHILD,
};

/* Another is stopped between any two of its stores. */
const struct explore_scenario ebr_fork_halves = {
    .name = "ebr.fork-halves",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {churn, fork_and_use},
    .finish = finish,
    .writes_are_steps = true,
    CHILD,
};

/* ---- what the child's own pin protects stays, and goes when it ends ---- */

static void fork_pinned(void)
{
    be_thread(numbers[0]);
    ebr_pin(domain);
    retire(3);
    explore_fork();
    for (unsigned i = 0; i < 4; i++)
        ebr_collect(domain);
    EXPLORE(objects[3].reclaimed == 0);
    ebr_unpin(domain);
    use(true);
}

const struct explore_scenario ebr_fork_pinned = {
    .name = "ebr.fork-pinned",
    .checks = "E1 E3",
    .set_up = set_up,
    .threads = {churn, churn_and_exit, fork_pinned},
    .finish = finish,
    CHILD,
};

/* ---- pins in the shared word: the child's thread's own, in several domains, and those of others ---- */

static void set_up_pins(void)
{
    set_up_shared();
    EXPLORE(ebr_domain_create(&other_domain, &(struct ebr_options){.max_threads = 1}) == VBUF_OK);
}

static void pin_both(void)
{
    be_thread(numbers[2]);
    ebr_pin(domain);
    ebr_pin(other_domain);
    ebr_unpin(domain);
    ebr_unpin(other_domain);
}

static uint32_t pins_in(struct ebr_domain *which)
{
    struct ebr_report stats;
    EXPLORE(ebr_stats(which, &stats) == VBUF_OK);
    return stats.overflow_pins;
}

/* Another of the child's, which pins before the first has ended its pins. */
static void pin_as_another(void)
{
    struct vbuf_thread_ self = vbuf_self_;
    vbuf_self_ = (struct vbuf_thread_){0};
    vbuf_thread_set_number(numbers[2]);
    ebr_pin(domain);
    vbuf_self_ = self;
}

static void unpin_as_another(void)
{
    struct vbuf_thread_ self = vbuf_self_;
    vbuf_self_ = (struct vbuf_thread_){0};
    vbuf_thread_set_number(numbers[2]);
    vbuf_self_.shared_pins = 1;
    ebr_unpin(domain);
    vbuf_self_ = self;
}

static void fork_with_pins(void)
{
    be_thread(numbers[1]);
    ebr_pin(domain);
    unsigned both = explore_choose(2);
    if (both != 0)
        ebr_pin(other_domain);
    explore_fork();
    ebr_pin(other_domain);
    EXPLORE(pins_in(domain) >= 1 && pins_in(other_domain) >= 1 + both);
    pin_as_another();
    ebr_unpin(domain);
    EXPLORE(pins_in(other_domain) >= 1 + both);
    ebr_unpin(other_domain);
    if (both != 0)
        ebr_unpin(other_domain);
    EXPLORE(pins_in(domain) == 1 && pins_in(other_domain) == 0);
    unpin_as_another();
    use(false);
    EXPLORE(ebr_domain_destroy(other_domain) == VBUF_OK);
}

const struct explore_scenario ebr_fork_shared_pins = {
    .name = "ebr.fork-shared-pins",
    .checks = "E1 E3",
    .set_up = set_up_pins,
    .threads = {pin_both, fork_with_pins},
    .finish = finish,
    CHILD,
};

/* ---- without a record: others at the shared one ---- */

static void churn_shared(void)
{
    be_thread(numbers[2]);
    retire(4);
    ebr_collect(domain);
    ebr_pin(domain);
    retire(5);
    ebr_unpin(domain);
    ebr_collect(domain);
}

static void fork_shared(void)
{
    be_thread(numbers[1]);
    if (explore_choose(2) != 0)
        ebr_collect(domain);
    explore_fork();
    use(false);
}

const struct explore_scenario ebr_fork_shared = {
    .name = "ebr.fork-shared",
    .checks = "E1 E3",
    .set_up = set_up_shared,
    .threads = {churn_shared, fork_shared},
    .finish = finish,
    .writes_are_steps = true,
    CHILD,
};

/* ---- in a reclaim function that is run from the shared record ---- */

static void fork_in_reclaim(struct ebr_entry *entry)
{
    reclaim(entry);
    explore_fork();
}

static void set_up_exited(void)
{
    EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK);
    ebr_attach(domain);
    for (unsigned i = 0; i < 3; i++)
        retire(i);
    objects[3].retired = 1;
    ebr_retire(domain, &objects[3].entry, fork_in_reclaim);
    for (unsigned i = 4; i < 7; i++)
        retire(i);
    ebr_detach(domain);
}

static void collect_and_fork(void)
{
    ebr_collect(domain);
    ebr_collect(domain);
    for (unsigned i = 0; i < 7; i++)
        EXPLORE(objects[i].reclaimed == 1);
    is_child = true;
}

const struct explore_scenario ebr_fork_in_reclaim = {
    .name = "ebr.fork-in-reclaim",
    .checks = "E1 E3",
    .set_up = set_up_exited,
    .threads = {collect_and_fork},
    .finish = finish,
    CHILD,
};

/* The same after it was at another domain's in between, in on_stall. */
static unsigned stalls;

static void use_other_domain(void *context, const struct ebr_report *stats)
{
    (void)context, (void)stats;
    stalls++;
    ebr_collect(other_domain);
}

/* Goes on as the thread with this number, whatever the last one holds. */
static void switch_to(uint32_t number)
{
    while (vbuf_thread_numbers_used() <= number) {
        vbuf_thread_set_number(0);
        vbuf_thread_number();
    }
    vbuf_thread_set_number(number);
}

static void set_up_two(void)
{
    struct ebr_options options = {.max_threads = 1, .on_stall = use_other_domain, .stall_limit = 1};
    EXPLORE(ebr_domain_create(&domain, &options) == VBUF_OK);
    EXPLORE(ebr_domain_create(&other_domain, NULL) == VBUF_OK);
    switch_to(1);
    ebr_pin(domain);
    switch_to(2);
    objects[1].retired = 1;
    ebr_retire(domain, &objects[1].entry, fork_in_reclaim);
    retire(2);
    ebr_collect(domain); /* sealed, and one step taken */
    switch_to(1);
    ebr_unpin(domain);
    ebr_pin(domain);
}

static void collect_beside_pin(void)
{
    switch_to(2);
    ebr_detach(other_domain); /* by the shared record there, too */
    stalls = 0;
    ebr_collect(domain); /* another step, and then it is held */
    EXPLORE(stalls != 0 && objects[1].reclaimed == 1 && objects[2].reclaimed == 1);
    is_child = true;
    switch_to(1);
    ebr_unpin(domain);
}

const struct explore_scenario ebr_fork_in_reclaim_of_two = {
    .name = "ebr.fork-in-reclaim-of-two",
    .checks = "E3",
    .set_up = set_up_two,
    .threads = {collect_beside_pin},
    .finish = finish,
    CHILD,
};

/* ---- readers go on, and their places are counted ---- */

static void set_up_readers(void)
{
    set_up();
    EXPLORE(ebr_reader_create(domain, &kept) == VBUF_OK);
}

static void make_readers(void)
{
    struct ebr_reader *reader;
    be_thread(numbers[1]);
    for (unsigned i = 0; i < 2; i++) {
        if (ebr_reader_create(domain, &reader) == VBUF_OK)
            ebr_reader_destroy(domain, reader);
    }
}

static void fork_with_readers(void)
{
    be_thread(numbers[0]);
    retire(3);
    explore_fork();
    struct ebr_report stats = stats_now();
    EXPLORE(stats.threads == 1 && stats.readers >= 1);
    struct ebr_reader *made[2];
    unsigned count = 0;
    while (count < 2 && ebr_reader_create(domain, &made[count]) == VBUF_OK)
        EXPLORE(made[count++] != kept);
    EXPLORE(count + stats.readers == 2);
    for (unsigned i = 0; i < count; i++)
        ebr_reader_destroy(domain, made[i]);
    ebr_reader_destroy(domain, kept);
    EXPLORE(stats_now().threads == 1);
    use(true);
}

const struct explore_scenario ebr_fork_readers = {
    .name = "ebr.fork-readers",
    .checks = "E1 E3",
    .set_up = set_up_readers,
    .threads = {make_readers, fork_with_readers},
    .finish = finish,
    .writes_are_steps = true,
    CHILD,
};
