/*
 * measure.c - threads, calibration, rounds.
 *
 * The calling thread is thread 0; the others live as long as their cell, asleep at a barrier
 * while something untimed happens. A lap starts behind a second, spinning barrier, which lets
 * threads go within a few hundred nanoseconds of each other, and lasts from the first thread's
 * start to the last one's end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* affinity */
#endif
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vbuf/atomic.h>

struct lane {
    uint64_t sum;
    double start, end; /* nanoseconds */
} BENCH_LINES;

struct team {
    unsigned threads;
    pthread_barrier_t gather;
    /* The lap at hand: written by thread 0 before the barrier; NULL: go home. */
    const struct bench_impl *impl;
    void *state;
    uint64_t ops; /* a thread */
    struct vbuf_atomic_u32 arrived BENCH_LINES;
    struct vbuf_atomic_u32 go;
    struct lane lanes[BENCH_MAX_THREADS];
    pthread_t handles[BENCH_MAX_THREADS];
};

struct member {
    struct team *team;
    unsigned thread;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* All threads leave together; yields where they cannot all run at once. */
static void start_together(struct team *team)
{
    uint32_t round = vbuf_u32_load_relaxed(&team->go); /* moves only once we have arrived */
    if (vbuf_u32_fetch_add_acq_rel(&team->arrived, 1) + 1 == team->threads) {
        vbuf_u32_store_relaxed(&team->arrived, 0);    /* published by the next line */
        vbuf_u32_store_release(&team->go, round + 1); /* pairs with the acquire below */
        return;
    }
    for (unsigned spins = 0; vbuf_u32_load_acquire(&team->go) == round; spins++) {
        if (spins > 1000)
            sched_yield();
    }
}

/* Of several threads, the i-th keeps to the i-th core this process may use, round and round: left
   alone, threads that sleep and wake as often as ours share a core while others idle. */
static void keep_to_core(const struct team *team, unsigned thread)
{
    static cpu_set_t allowed; /* as it was before the first call, which thread 0 makes alone */
    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    cpu_set_t chosen = allowed;
    if (team->threads > 1) {
        CPU_ZERO(&chosen);
        unsigned wanted = thread % (unsigned)CPU_COUNT(&allowed);
        for (unsigned core = 0; core < CPU_SETSIZE; core++) {
            if (CPU_ISSET(core, &allowed) && wanted-- == 0)
                CPU_SET(core, &chosen);
        }
    }
    pthread_setaffinity_np(pthread_self(), sizeof chosen, &chosen);
}

static void run_lane(struct team *team, unsigned thread)
{
    struct lane *lane = &team->lanes[thread];
    const struct bench_impl *impl = team->impl;
    if (impl->prepare_thread != NULL)
        impl->prepare_thread(team->state, thread);
    start_together(team);
    lane->start = now();
    lane->sum = impl->work(team->state, thread, team->ops);
    lane->end = now();
}

static void *member_main(void *argument)
{
    const struct member *member = argument;
    struct team *team = member->team;
    keep_to_core(team, member->thread);
    for (;;) {
        pthread_barrier_wait(&team->gather);
        if (team->impl == NULL)
            return NULL;
        run_lane(team, member->thread);
        pthread_barrier_wait(&team->gather);
    }
}

/* One lap; returns its wall nanoseconds. Lanes hold what each thread computed. */
static double run_lap(struct team *team, const struct bench_impl *impl, void *state, uint64_t ops)
{
    if (impl->prepare != NULL)
        impl->prepare(state);
    team->impl = impl;
    team->state = state;
    team->ops = ops;
    if (team->threads > 1)
        pthread_barrier_wait(&team->gather);
    run_lane(team, 0);
    if (team->threads > 1)
        pthread_barrier_wait(&team->gather);
    double start = team->lanes[0].start, end = team->lanes[0].end;
    for (unsigned i = 1; i < team->threads; i++) {
        start = team->lanes[i].start < start ? team->lanes[i].start : start;
        end = team->lanes[i].end > end ? team->lanes[i].end : end;
    }
    return end - start;
}

static void team_start(struct team *team, struct member *members)
{
    pthread_barrier_init(&team->gather, NULL, team->threads);
    keep_to_core(team, 0);
    for (unsigned i = 1; i < team->threads; i++) {
        members[i] = (struct member){team, i};
        if (pthread_create(&team->handles[i], NULL, member_main, &members[i]) != 0)
            bench_die("cannot start thread %u", i);
    }
}

static void team_end(struct team *team)
{
    team->impl = NULL;
    if (team->threads > 1)
        pthread_barrier_wait(&team->gather);
    for (unsigned i = 1; i < team->threads; i++)
        pthread_join(team->handles[i], NULL);
    pthread_barrier_destroy(&team->gather);
}

/* An implementation in a cell. */
struct entry {
    const struct bench_impl *impl;
    void *state;
    uint64_t ops; /* a thread and lap */
    unsigned laps;
    bool wrong;
    uint64_t expected[BENCH_MAX_THREADS];
    double *samples;
};

static bool lap_is_right(const struct team *team, const struct entry *entry, bool expected_known)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < team->threads; i++) {
        sum += team->lanes[i].sum;
        if (expected_known && team->lanes[i].sum != entry->expected[i])
            return false;
    }
    const struct bench_impl *impl = entry->impl;
    return impl->check == NULL || impl->check(entry->state, team->ops * team->threads, sum);
}

/* A lap that is warm-up and calibration; its result is checked like any other's. */
static double try_lap(struct team *team, struct entry *entry, uint64_t ops)
{
    double elapsed = run_lap(team, entry->impl, entry->state, ops);
    if (!lap_is_right(team, entry, false))
        entry->wrong = true;
    return elapsed > 1 ? elapsed : 1;
}

/* The shortest of three laps, or the first below `enough`: one that was disturbed says nothing. */
static double try_laps(struct team *team, struct entry *entry, uint64_t ops, double enough)
{
    double shortest = try_lap(team, entry, ops);
    for (unsigned i = 1; i < 3 && shortest >= enough; i++) {
        double elapsed = try_lap(team, entry, ops);
        shortest = elapsed < shortest ? elapsed : shortest;
    }
    return shortest;
}

/* Finds how many operations, or laps, make a round. */
static void calibrate(struct team *team, const struct bench_case *of, uint64_t n, double target,
                      struct entry *entry)
{
    uint64_t grain = of->grain != 0 ? of->grain : n;
    entry->laps = 1;
    if (of->lap_is_n) {
        entry->ops = n / team->threads / grain * grain;
        if (entry->ops == 0)
            entry->ops = grain;
        try_lap(team, entry, entry->ops); /* colder than what follows */
        double elapsed = try_laps(team, entry, entry->ops, 0);
        entry->laps = (unsigned)(target / elapsed) + 1;
        return;
    }
    uint64_t ops = grain;
    double elapsed = try_laps(team, entry, ops, target / 2);
    while (elapsed < target / 2) {
        double factor = target / elapsed;
        ops = (uint64_t)((double)ops * (factor < 32 ? factor : 32)) / grain * grain;
        elapsed = try_laps(team, entry, ops, target / 2);
    }
    uint64_t grains = (uint64_t)((double)ops * target / elapsed) / grain;
    entry->ops = (grains != 0 ? grains : 1) * grain;
}

static void run_round(struct team *team, struct entry *entry, unsigned round)
{
    double elapsed = 0;
    for (unsigned lap = 0; lap < entry->laps; lap++) {
        elapsed += run_lap(team, entry->impl, entry->state, entry->ops);
        if (!lap_is_right(team, entry, entry->impl->expect != NULL))
            entry->wrong = true;
    }
    double ops = (double)entry->laps * (double)entry->ops * team->threads;
    entry->samples[round] = elapsed / ops;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_summarise(const double *samples, unsigned count, double *min, double *med, double *max)
{
    double *sorted = bench_alloc(count * sizeof *sorted);
    memcpy(sorted, samples, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    *min = sorted[0];
    *med = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    *max = sorted[count - 1];
    bench_free(sorted);
}

static void add_result(struct bench_results *results, const struct bench_case *of,
                       struct bench_shape shape, const struct entry *entry, unsigned rounds)
{
    results->list = realloc(results->list, (results->count + 1) * sizeof *results->list);
    if (results->list == NULL)
        bench_die("out of memory");
    struct bench_result *result = &results->list[results->count++];
    *result = (struct bench_result){
        .of = of,
        .impl = entry->impl->name,
        .shape = shape,
        .samples = entry->samples,
        .rounds = rounds,
    };
    bench_summarise(entry->samples, rounds, &result->min, &result->med, &result->max);
}

const struct bench_result *bench_find(const struct bench_results *results, const char *name,
                                      uint64_t n, unsigned threads, const char *impl)
{
    for (size_t i = 0; i < results->count; i++) {
        const struct bench_result *result = &results->list[i];
        if (strcmp(result->of->name, name) == 0 && strcmp(result->impl, impl) == 0 &&
            result->shape.n == n && result->shape.threads == threads)
            return result;
    }
    return NULL;
}

/* The implementations that take part in a cell. */
static unsigned choose_entries(const struct bench_case *of, unsigned threads,
                               const struct bench_settings *settings, struct entry *entries)
{
    unsigned count = 0;
    for (unsigned i = 0; i < BENCH_MAX_IMPLS && of->impls[i].name != NULL; i++) {
        unsigned limit = of->impls[i].max_threads;
        if (limit == BENCH_CORES)
            limit = settings->cores;
        if (limit != 0 && threads > limit)
            continue;
        entries[count].impl = &of->impls[i];
        entries[count].samples = bench_alloc(settings->rounds * sizeof(double));
        count++;
    }
    return count;
}

static void measure_time(const struct bench_case *of, struct bench_shape shape,
                         const struct bench_settings *settings, struct entry *entries,
                         unsigned count)
{
    struct member members[BENCH_MAX_THREADS];
    struct team *team = bench_alloc(sizeof *team);
    team->threads = shape.threads;
    /* Where threads take turns on a core, a round must outlast a few turns. */
    double crowd = shape.threads > settings->cores ? 2 : 1;
    double target = settings->round_ns * crowd;
    for (unsigned i = 0; i < count; i++)
        entries[i].state = entries[i].impl->create(&shape);
    team_start(team, members);
    for (unsigned i = 0; i < count; i++) {
        struct entry *entry = &entries[i];
        calibrate(team, of, shape.n, target, entry);
        for (unsigned t = 0; entry->impl->expect != NULL && t < shape.threads; t++)
            entry->expected[t] = entry->impl->expect(entry->state, t, entry->ops);
    }
    for (unsigned round = 0; round < settings->rounds; round++) {
        for (unsigned i = 0; i < count; i++)
            run_round(team, &entries[(round + i) % count], round);
    }
    team_end(team);
    for (unsigned i = 0; i < count; i++)
        entries[i].impl->destroy(entries[i].state);
    bench_free(team);
}

bool bench_measure(const struct bench_case *of, struct bench_shape shape,
                   const struct bench_settings *settings, struct bench_results *results)
{
    struct entry entries[BENCH_MAX_IMPLS] = {0};
    unsigned count = choose_entries(of, shape.threads, settings, entries);
    if (strcmp(of->unit, "bytes") == 0) {
        for (unsigned round = 0; round < settings->rounds; round++) {
            for (unsigned i = 0; i < count; i++)
                entries[i].samples[round] = entries[i].impl->bytes(shape.n);
        }
    } else {
        measure_time(of, shape, settings, entries, count);
    }
    bool right = true;
    for (unsigned i = 0; i < count; i++) {
        add_result(results, of, shape, &entries[i], settings->rounds);
        if (entries[i].wrong) {
            right = false;
            fprintf(stderr, "vbuf_bench: %s, %s, n=%llu, %u threads: wrong result\n", of->name,
                    entries[i].impl->name, (unsigned long long)shape.n, shape.threads);
        }
    }
    return right;
}
