/*
 * bench.h - the benchmark program's parts, and how a case is described.
 *
 * A case (`slotmap.get`) has sizes and implementations, all in a table. A cell is one case, one
 * size, one number of threads; every implementation of a cell exists at the same time and their
 * rounds are interleaved, each round starting with another one, so that whatever disturbs the
 * machine disturbs all alike. A round lasts long enough for the clock, consists of one or more
 * laps, and gives one sample: wall nanoseconds per operation over all threads together.
 *
 *     main.c      options and the list of cases     measure.c   threads, calibration, rounds
 *     table.c     the table                         json.c      the JSON, facts about the machine
 *     bars.c      the numbers to reach              *_bench.c   the cases
 *     baselines.h what the containers are compared with
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_MAX_THREADS 64
#define BENCH_MAX_IMPLS 8
#define BENCH_MAX_SIZES 2

/* What writers of different threads keep apart. */
#define BENCH_LINES __attribute__((aligned(128)))

/* For a loop that several implementations share: each gets its own copy with the choice folded. */
#define BENCH_INLINE inline __attribute__((always_inline))

struct bench_shape {
    uint64_t n;
    unsigned threads;
};

/* An implementation. State is made and destroyed by the main thread, which is also thread 0. */
struct bench_impl {
    const char *name;
    unsigned max_threads; /* 0: any number; BENCH_CORES: as many as the machine has */
    void *(*create)(const struct bench_shape *shape); /* never NULL; untimed like all but work */
    void (*destroy)(void *state);
    void (*prepare)(void *state); /* before each lap, on thread 0; may be NULL */
    void (*prepare_thread)(void *state, unsigned thread); /* then on each thread; may be NULL */
    uint64_t (*work)(void *state, unsigned thread, uint64_t ops); /* timed; returns a sum */
    /* What work returns for these arguments, every time; may be NULL. */
    uint64_t (*expect)(void *state, unsigned thread, uint64_t ops);
    /* After each lap of `ops` operations in all, with the sum of what work gave; may be NULL. */
    bool (*check)(void *state, uint64_t ops, uint64_t sum);
    /* Instead of all of the above, in a case whose unit is bytes: resident bytes per element. */
    double (*bytes)(uint64_t n);
};

#define BENCH_CORES UINT32_MAX

struct bench_case {
    const char *name;
    const char *operation; /* what one operation is, for people */
    const char *unit;      /* "ns" or "bytes" */
    const char *memory;    /* "fresh": first touched inside the timing; "warmed": before it */
    uint64_t sizes[BENCH_MAX_SIZES]; /* the n's; 0 is none */
    bool lap_is_n;  /* a lap is n operations in all, and a round as many laps as it takes */
    uint64_t grain; /* a thread's operations a lap are a multiple of it; 0: of n */
    struct bench_impl impls[BENCH_MAX_IMPLS];
};

struct bench_result {
    const struct bench_case *of;
    const char *impl;
    struct bench_shape shape;
    double *samples; /* in the order of the rounds */
    unsigned rounds;
    double min, med, max;
};

struct bench_results {
    struct bench_result *list;
    size_t count;
};

struct bench_settings {
    bool quick;
    unsigned rounds;
    double round_ns; /* at least; more where threads share cores */
    unsigned cores;
};

/* The cases, each table ended by a nameless one. */
extern const struct bench_case vmem_cases[];
extern const struct bench_case vbuf_cases[];
extern const struct bench_case cvec_append_cases[];
extern const struct bench_case cvec_read_cases[];
extern const struct bench_case slotmap_read_cases[];
extern const struct bench_case slotmap_update_cases[];
extern const struct bench_case slotmap_cases[];
extern const struct bench_case memory_cases[];

/* measure.c: measures one cell, a result for every implementation. False: one of them is wrong. */
bool bench_measure(const struct bench_case *of, struct bench_shape shape,
                   const struct bench_settings *settings, struct bench_results *results);
void bench_summarise(const double *samples, unsigned count, double *min, double *med, double *max);
const struct bench_result *bench_find(const struct bench_results *results, const char *name,
                                      uint64_t n, unsigned threads, const char *impl);

/* table.c, json.c, bars.c */
void bench_print_table(const struct bench_results *results);
bool bench_write_json(const char *path, const struct bench_results *results,
                      const struct bench_settings *settings);
void bench_print_machine(FILE *file, const struct bench_settings *settings);
bool bench_print_bars(const struct bench_results *results); /* false: a floor was missed */

/* Ends the program, saying why. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);
/* Never NULL; zeroed; aligned for any type of ours. */
void *bench_alloc(size_t size);
void bench_free(void *memory);

#endif
