/*
 * slotmap_fork_test.c - E3: in a fork's child a map works, whatever the parent's threads were in the middle of. What they
 * had in their hands is abandoned there: every live value is there, none is destroyed twice, max_len values fit, and
 * what the child removes is reclaimed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "slotmap/slotmap.h"

#include <string.h>
#include <unistd.h>

#include "build_kind.h"
#include "check.h"
#include "proc.h"
#include "team.h"

/* A sanitizer's child of a process with threads may not start new ones. */
#define CHILD_HAS_THREADS BUILD_PLAIN
#define MAX_LEN 300
#define THREADS 4

struct value {
    uint64_t magic, number, check;
};

#define ALIVE UINT64_C(0x5ca1ab1e0ddba11)
#define DEAD UINT64_C(0xdeadbea7deadbea7)

static struct slotmap *map; /* proc_in_child's body takes no argument */
static struct vbuf_atomic_u64 destroyed;

static struct value make_value(uint64_t number)
{
    return (struct value){ALIVE, number, ~number};
}

static bool is_whole(const struct value *value)
{
    return value->magic == ALIVE && value->check == ~value->number;
}

/* Twice, or what is no value, is seen here. */
static void destroy_value(void *context, void *memory)
{
    struct value *value = memory;
    (void)context;
    CHECK(is_whole(value));
    value->magic = DEAD;
    vbuf_u64_fetch_add_relaxed(&destroyed, 1);
}

static void make_map(struct slotmap_options options)
{
    options.value_size = sizeof(struct value);
    options.value_align = 8;
    if (options.max_len == 0)
        options.max_len = MAX_LEN;
    vbuf_u64_store_relaxed(&destroyed, 0);
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
}

static slotmap_handle insert(uint64_t number)
{
    struct value value = make_value(number);
    slotmap_handle handle = {0};
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    return handle;
}

static struct slotmap_report stats_of(void)
{
    struct slotmap_report stats;
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    return stats;
}

/* ---- all that a child does ---- */

/* Values that are seen; each must be whole. */
static size_t count_values(bool updatable)
{
    size_t count = 0;
    slotmap_handle handle;
    struct value value;
    slotmap_pin(map);
    struct slotmap_iter iter = slotmap_iter_begin(map);
    for (void *found; (found = slotmap_iter_next(&iter, &handle)) != NULL; count++) {
        if (updatable)
            CHECK_STATUS(VBUF_OK, slotmap_read(map, handle, &value));
        else
            value = *(struct value *)found;
        CHECK(is_whole(&value));
        if (updatable)
            CHECK_STATUS(VBUF_OK, slotmap_write(map, handle, &value)); /* nobody else writes */
    }
    slotmap_unpin(map);
    return count;
}

static void fill(uint64_t number)
{
    struct value value = make_value(number);
    for (size_t len = slotmap_len(map); len < stats_of().max_len; len++)
        REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, NULL)));
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, &value, NULL));
}

static void churn_in_child(void *context, unsigned thread)
{
    (void)context;
    for (uint64_t i = 0; i < 500; i++) {
        struct value value = make_value(thread);
        slotmap_handle handle;
        enum vbuf_status status = slotmap_insert(map, &value, &handle);
        if (status == VBUF_OK)
            CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
        else
            CHECK(status == VBUF_FULL || status == VBUF_BUSY);
    }
}

static void use(bool updatable, bool revivable)
{
    size_t live = count_values(updatable), len = slotmap_len(map);
    REQUIRE(len >= live);
    size_t others = len - live; /* claimed, or invalidated, by threads that are not here */
    CHECK(others <= THREADS);
    struct slotmap_report stats = stats_of();
    CHECK_EQ(stats.len, len);
    CHECK_EQ(stats.inserted - stats.removed, len);
    CHECK_EQ(stats.removed - stats.destroyed, stats.limbo);
    for (int round = 0; round < 3; round++) {
        fill(1000 + (uint64_t)round);
        CHECK_EQ(count_values(updatable), MAX_LEN - others);
        CHECK_EQ(slotmap_clear(map), MAX_LEN - others);
        slotmap_collect(map);
        CHECK_EQ(stats_of().limbo, 0);
        CHECK_EQ(slotmap_len(map), others);
    }
    if (CHILD_HAS_THREADS)
        team_run(2, churn_in_child, NULL);
    slotmap_collect(map);
    fill(2000);
    uint64_t before = vbuf_u64_load_relaxed(&destroyed);
    slotmap_clear(map);
    slotmap_collect(map);
    if (!revivable)
        CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), before + MAX_LEN - others);
    fill(3000);
    before = vbuf_u64_load_relaxed(&destroyed);
    slotmap_destroy(map);
    if (!revivable)
        CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), before + MAX_LEN - others);
}

static void use_plain(void)
{
    use(false, false);
}

static void use_revivable(void)
{
    use(false, true);
}

static void use_updatable(void)
{
    use(true, false);
}

TEST(slotmap_fork, E3_the_child_has_a_copy_of_its_own)
{
    slotmap_handle handles[100];
    make_map((struct slotmap_options){.destroy = destroy_value});
    for (uint64_t i = 0; i < 100; i++)
        handles[i] = insert(i);
    for (uint64_t i = 0; i < 50; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL));
    proc_in_child(use_plain);
    CHECK_EQ(count_values(false), 50);
    CHECK_EQ(stats_of().abandoned, 0);
    CHECK_EQ(slotmap_collect(map), 50);
    slotmap_destroy(map);
    CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), 100);
}

/* All lists are seen, however many: nothing is taken for lost. */
static void find_nothing_lost(void)
{
    CHECK_EQ(stats_of().abandoned, 0);
    CHECK_EQ(stats_of().limbo, 0);
    uint64_t slots = stats_of().slots;
    fill(2);
    CHECK_EQ(stats_of().slots, slots);
    slotmap_destroy(map);
}

TEST(slotmap_fork, E3_the_child_of_a_parent_at_rest_finds_nothing_lost)
{
    make_map((struct slotmap_options){.max_len = 20000});
    fill(1);
    CHECK_EQ(slotmap_clear(map), 20000);
    slotmap_collect(map);
    proc_in_child(find_nothing_lost);
    slotmap_destroy(map);
}

/* ---- a parent with threads ---- */

struct parent {
    struct gate stop;
    void (*child)(void);
    int forks;
    bool updatable, revivable;
};

static struct parent parent;

static void come_and_go(struct check_rng *rng)
{
    struct value value = make_value(check_rng_next(rng) % 1000);
    slotmap_handle handle;
    if (slotmap_insert(map, &value, &handle) != VBUF_OK)
        return;
    if (parent.updatable)
        slotmap_write(map, handle, &value);
    slotmap_remove(map, handle, NULL);
}

static void claim_and_end(struct check_rng *rng)
{
    slotmap_handle handle;
    void *memory;
    bool revived = false;
    if (parent.revivable ? slotmap_revive(map, &handle, &memory, &revived) != VBUF_OK
                         : slotmap_claim(map, &handle, &memory) != VBUF_OK)
        return;
    if (revived)
        CHECK(is_whole(memory));
    *(struct value *)memory = make_value(check_rng_next(rng));
    if (check_rng_next(rng) % 2 == 0)
        slotmap_cancel(map, handle);
    else
        slotmap_publish(map, handle);
}

static void invalidate_and_release(struct check_rng *rng)
{
    struct value value = make_value(check_rng_next(rng) % 1000);
    slotmap_handle handle;
    if (slotmap_insert(map, &value, &handle) == VBUF_OK &&
        slotmap_invalidate(map, handle) == VBUF_OK)
        slotmap_release(map, handle);
}

static void come_and_go_together(struct check_rng *rng)
{
    struct value values[8];
    slotmap_handle handles[8];
    for (size_t i = 0; i < 8; i++)
        values[i] = make_value(check_rng_next(rng) % 1000);
    if (slotmap_insert_many(map, values, 8, handles) != VBUF_OK)
        return;
    for (size_t i = 0; i < 8; i++)
        slotmap_remove(map, handles[i], NULL);
}

static bool is_odd(void *context, slotmap_handle handle, void *memory)
{
    struct value *value = memory;
    (void)context, (void)handle;
    return value->number % 2 != 0;
}

static void churn(unsigned thread)
{
    struct check_rng rng = {check_seed() + thread};
    while (!gate_is_open(&parent.stop)) {
        switch (check_rng_next(&rng) % 16) {
        case 0:
            slotmap_collect(map);
            break;
        case 1:
            claim_and_end(&rng);
            break;
        case 2:
            invalidate_and_release(&rng);
            break;
        case 3:
            slotmap_retain(map, is_odd, NULL);
            break;
        case 4:
            come_and_go_together(&rng);
            break;
        case 5:
            if (slotmap_len(map) < MAX_LEN / 2)
                slotmap_insert(map, &(struct value){ALIVE, thread, ~(uint64_t)thread}, NULL);
            break;
        default:
            come_and_go(&rng);
        }
    }
}

static void churn_or_fork(void *context, unsigned thread)
{
    (void)context;
    if (thread != 0) {
        churn(thread);
        return;
    }
    struct check_rng rng = {check_seed()};
    for (int round = 0; round < parent.forks; round++) {
        team_sleep_us((long)(check_rng_next(&rng) % 400));
        for (int i = 0; i < 20; i++)
            come_and_go(&rng); /* something of its own */
        proc_in_child(parent.child);
    }
    gate_open(&parent.stop);
}

static void fork_while_others_churn(struct slotmap_options options, void (*child)(void))
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    parent = (struct parent){.child = child,
                             .forks = BUILD_COUNT(30, 6),
                             .updatable = options.updatable,
                             .revivable = options.revivable};
    options.destroy = destroy_value;
    make_map(options);
    team_run(THREADS, churn_or_fork, NULL);
    slotmap_clear(map);
    slotmap_collect(map);
    CHECK_EQ(stats_of().abandoned, 0); /* the parent's is untouched */
    fill(1);
    slotmap_destroy(map);
}

TEST(slotmap_fork, E3_the_child_of_a_parent_that_churns)
{
    fork_while_others_churn((struct slotmap_options){.max_threads = 64}, use_plain);
}

TEST(slotmap_fork, E3_the_same_without_parts_of_their_own)
{
    fork_while_others_churn((struct slotmap_options){.max_threads = 1}, use_plain);
}

TEST(slotmap_fork, E3_the_same_with_values_that_are_kept)
{
    fork_while_others_churn((struct slotmap_options){.revivable = true}, use_revivable);
}

TEST(slotmap_fork, E3_the_same_with_values_that_are_written)
{
    fork_while_others_churn((struct slotmap_options){.updatable = true}, use_updatable);
}

TEST(slotmap_fork, E3_the_same_in_a_shared_domain)
{
    struct ebr_domain *domain;
    REQUIRE(CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL)));
    fork_while_others_churn((struct slotmap_options){.domain = domain}, use_plain);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

static void fork_and_use(void)
{
    proc_in_child(use_plain);
    use_plain();
}

TEST(slotmap_fork, E3_the_same_and_its_child)
{
    fork_while_others_churn((struct slotmap_options){.max_threads = 8}, fork_and_use);
}

/* ---- maps come and go ---- */

static void make_and_use(void)
{
    for (int i = 0; i < 3; i++) {
        make_map((struct slotmap_options){.destroy = destroy_value});
        fill(1);
        CHECK_EQ(slotmap_clear(map), MAX_LEN);
        slotmap_collect(map);
        CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), MAX_LEN);
        slotmap_destroy(map);
        CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), MAX_LEN);
    }
}

static void make_and_destroy(void *context, unsigned thread)
{
    if (thread == 0) {
        for (int round = 0; round < parent.forks; round++) {
            team_sleep_us(100 + round * 13);
            proc_in_child(make_and_use);
        }
        gate_open(&parent.stop);
        return;
    }
    (void)context;
    while (!gate_is_open(&parent.stop)) {
        struct slotmap *own[3];
        struct slotmap_options options = {.value_size = 8, .max_len = 100};
        for (int i = 0; i < 3; i++) {
            REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&own[i], &options)));
            CHECK_STATUS(VBUF_OK, slotmap_insert(own[i], &(uint64_t){1}, NULL));
        }
        slotmap_destroy(own[1]);
        slotmap_destroy(own[0]);
        slotmap_destroy(own[2]);
    }
}

TEST(slotmap_fork, E3_while_others_create_and_destroy_maps)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    parent = (struct parent){.forks = BUILD_COUNT(30, 6)};
    team_run(3, make_and_destroy, NULL);
}

/* ---- another thread is stopped where we want it ---- */

static struct gate inside, leave;
static bool stops;

static void stop_here(void)
{
    if (!stops)
        return;
    stops = false; /* once, and the forking thread waits for it */
    gate_open(&inside);
    gate_wait(&leave);
}

static void destroy_and_stop(void *context, void *memory)
{
    destroy_value(context, memory);
    stop_here();
}

static bool commit_and_stop(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    stop_here();
    return true;
}

static slotmap_handle first;

static void *remove_and_collect(void *unused)
{
    (void)unused;
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, first, NULL));
    slotmap_collect(map);
    return NULL;
}

static void *insert_a_lot(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < MAX_LEN / 2; i++)
        insert(i);
    return NULL;
}

/* The slot in its hands is abandoned, and used again; what was in it was destroyed in the parent's time. */
static void use_after_destructor(void)
{
    CHECK_EQ(stats_of().abandoned, 1);
    CHECK_EQ(stats_of().limbo, 1); /* the slot */
    use_plain();
}

static void use_after_commit(void)
{
    CHECK(slotmap_len(map) < MAX_LEN / 2); /* the one being inserted is none */
    use_plain();
}

static void fork_beside(void *(*other)(void *), void (*child)(void))
{
    pthread_t thread;
    inside = leave = (struct gate){{0}};
    stops = true;
    REQUIRE(pthread_create(&thread, NULL, other, NULL) == 0);
    gate_wait(&inside);
    proc_in_child(child);
    gate_open(&leave);
    pthread_join(thread, NULL);
}

TEST(slotmap_fork, E3_another_thread_was_in_a_destructor)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    make_map((struct slotmap_options){.destroy = destroy_and_stop});
    first = insert(1);
    insert(2);
    fork_beside(remove_and_collect, use_after_destructor);
    CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), 1);
    slotmap_destroy(map);
    CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), 2);
}

TEST(slotmap_fork, E3_another_thread_was_at_its_lists)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    make_map((struct slotmap_options){.destroy = destroy_value, .on_commit = commit_and_stop});
    insert(1);
    fork_beside(insert_a_lot, use_after_commit);
    CHECK_EQ(slotmap_len(map), 1 + MAX_LEN / 2);
    slotmap_destroy(map);
}

/* ---- the forking thread is pinned ---- */

static const struct value *looked_at;

static void look_on(void)
{
    for (uint64_t i = 0; i < 1000; i++) {
        struct value value = make_value(i);
        slotmap_handle handle;
        if (slotmap_insert(map, &value, &handle) == VBUF_OK)
            CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    }
    slotmap_collect(map);
    CHECK(is_whole(looked_at) && looked_at->number == 77);
    slotmap_unpin(map);
    use_plain();
}

static void *remove_first(void *unused)
{
    (void)unused;
    CHECK_STATUS(VBUF_OK, slotmap_remove(map, first, NULL));
    slotmap_collect(map);
    stop_here();
    return NULL;
}

TEST(slotmap_fork, E3_S3_what_the_pinned_child_looks_at_stays)
{
    if (BUILD_THREAD_SANITIZER)
        SKIP("ThreadSanitizer reports nothing in the child of a process with threads");
    make_map((struct slotmap_options){.destroy = destroy_value, .max_limbo = 50});
    first = insert(77);
    slotmap_pin(map);
    looked_at = slotmap_get(map, first);
    fork_beside(remove_first, look_on);
    CHECK(is_whole(looked_at));
    slotmap_unpin(map);
    slotmap_destroy(map);
}

/* ---- a fork in a callback: the call goes on in the child ---- */

static bool forks, is_child;

static void fork_once(void)
{
    if (!forks)
        return;
    forks = false;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        is_child = true;
        return;
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void destroy_and_fork(void *context, void *memory)
{
    fork_once();
    destroy_value(context, memory);
}

static bool commit_and_fork(void *context, size_t bytes)
{
    (void)context, (void)bytes;
    fork_once();
    return true;
}

static void work_and_end(void)
{
    slotmap_handle handles[MAX_LEN];
    struct value values[MAX_LEN];
    for (size_t i = 0; i < MAX_LEN; i++)
        values[i] = make_value(i);
    for (size_t i = 0; i < 100; i++)
        handles[i] = insert(i);
    forks = true;
    for (size_t i = 0; i < 100; i++)
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL));
    CHECK_STATUS(VBUF_OK, slotmap_insert_many(map, values, MAX_LEN, handles));
    CHECK_EQ(count_values(false), MAX_LEN);
    CHECK_STATUS(VBUF_FULL, slotmap_insert(map, values, NULL));
    CHECK_EQ(slotmap_clear(map), MAX_LEN);
    slotmap_collect(map);
    CHECK_EQ(stats_of().limbo, 0);
    CHECK_EQ(vbuf_u64_load_relaxed(&destroyed), MAX_LEN + 100);
    slotmap_destroy(map);
    CHECK(!forks);
    if (is_child)
        _exit(check_failures() > 0);
}

TEST(slotmap_fork, E3_a_call_in_whose_destructor_is_forked_goes_on_in_the_child)
{
    make_map((struct slotmap_options){.destroy = destroy_and_fork});
    work_and_end();
}

TEST(slotmap_fork, E3_a_call_in_whose_commit_hook_is_forked_goes_on_in_the_child)
{
    make_map((struct slotmap_options){.destroy = destroy_value, .on_commit = commit_and_fork});
    work_and_end();
}

static void stall_and_fork(void *context, const struct ebr_report *stats)
{
    (void)context, (void)stats;
    fork_once();
}

TEST(slotmap_fork, E3_a_call_in_whose_stall_hook_is_forked_goes_on_in_the_child)
{
    struct ebr_domain *domain;
    struct ebr_reader *reader;
    struct value value = make_value(1);
    slotmap_handle handle;
    struct ebr_options options = {.on_stall = stall_and_fork, .stall_limit = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, &options)));
    make_map((struct slotmap_options){.domain = domain, .max_limbo = 50, .destroy = destroy_value});
    CHECK_STATUS(VBUF_OK, ebr_reader_create(domain, &reader));
    ebr_pin_on(domain, reader);
    while (slotmap_insert(map, &value, &handle) == VBUF_OK) /* until limbo is full */
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
    forks = true;
    while (forks)
        CHECK_STATUS(VBUF_BUSY, slotmap_insert(map, &value, &handle));
    CHECK_EQ(slotmap_len(map), 0);
    ebr_unpin_on(domain, reader);
    slotmap_collect(map);
    fill(2);
    CHECK_EQ(count_values(false), MAX_LEN);
    slotmap_destroy(map);
    ebr_reader_destroy(domain, reader);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
    if (is_child)
        _exit(check_failures() > 0);
}
