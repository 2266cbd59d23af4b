/*
 * stress.h - what the stress cases share.
 *
 * A case is a function that runs many threads against the library for a while and checks invariants
 * along the way and at the end. It calls stress_fail for what it finds broken, and returns soon
 * after: stress_going() turns false then. A case that makes no progress is ended by the watchdog in
 * main.c.
 *
 * Forced rare paths: sizes are tiny, every thread has a random stream of its own, and
 * stress_disturb gives the processor away at random moments, because two cores alone interleave too
 * little.
 *
 * The cases pass nothing between threads with more ordering than the contract under test asks of
 * its users: an acquire too many here would hide from ThreadSanitizer a release too few in the
 * library.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef STRESS_H
#define STRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cvec/cvec.h>
#include <slotmap/slotmap.h>
#include <vbuf/atomic.h>
#include <vbuf/fence.h>
#include <vbuf/status.h>

#include "check.h"

/* Sanitizers make everything several times slower: such a build runs smaller sizes. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define STRESS_SANITIZED 1
#endif
#endif
#if !defined(STRESS_SANITIZED)
#define STRESS_SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__)
#define STRESS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRESS_TSAN 1
#endif
#endif
#if !defined(STRESS_TSAN)
#define STRESS_TSAN 0
#endif

/* The command line; all but `seconds` is fixed before the first case. */
struct stress_settings {
    uint64_t seed;
    uint64_t tries;       /* 0: each case's own number */
    double asked_seconds; /* 0: each case's own */
    double seconds;       /* for the cases that run by time: this one's */
    unsigned threads;     /* 0: each case's own number */
    bool brief;           /* sizes for the everyday test run */
    int fence;            /* the enum vbuf_fence_kind to expect; 0: find out */
};

extern struct stress_settings stress;

/* ---- time, failures, words ---- */

/* Gives the case, or its next part, this share of its seconds from now on. */
void stress_part(double share);

/* Whether to go on: the part's time is not over, and nothing has failed. */
bool stress_going(void);

/* Whether something has failed in this case. */
bool stress_failed(void);

/* Reports what broke, and the seed. Any thread. Always false, so that it can end a condition. */
bool stress_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline bool stress_fine(void)
{
    return true;
}

/* True iff the condition holds; the rest is what stress_fail says otherwise. */
#define STRESS_CHECK(condition, ...) ((condition) ? stress_fine() : stress_fail(__VA_ARGS__))

/* Adds to the line that tells the case's result. The case's own thread only. */
void stress_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Counts operations done. It is what the watchdog looks at, so only threads that end by themselves
 * call it: one that runs until others are done would hide that they hang.
 */
void stress_count(uint64_t operations);

/* So many operations are to be counted from now on: shown on a terminal. */
void stress_goal(uint64_t operations);

/* The case cannot run here. */
void stress_skip(const char *reason);

/* `full` when unhurried, less in a brief run and less again under a sanitizer; at least `least`. */
uint64_t stress_amount(uint64_t full, uint64_t least);

/* The number of threads: --threads, or `usual`; at least `least`. */
unsigned stress_threads(unsigned usual, unsigned least);

int64_t stress_now(void);

/* Makes a hang show after this many seconds without progress. */
void stress_patience(double seconds);

/* ---- chance ---- */

/* Stream `number` of this case and seed. */
struct check_rng stress_stream(uint64_t number);

/* 0 .. bound - 1. */
static inline uint64_t stress_below(struct check_rng *rng, uint64_t bound)
{
    return ((check_rng_next(rng) >> 32) * bound) >> 32;
}

/* Whether the threads of crews are stopped at any instruction by signals: see ambush.c. */
extern bool stress_ambushes;

void stress_ambush_begin(uint64_t seed);
void stress_ambush_end(void);

/* True once in `odds`. */
static inline bool stress_chance(struct check_rng *rng, uint64_t odds)
{
    return stress_below(rng, odds) == 0;
}

/* Once in a while gives the processor away, now and then for up to a tenth of a millisecond. */
void stress_disturb(struct check_rng *rng);

void stress_sleep(int64_t nanoseconds);

/*
 * Fills the processor's store buffer with stores to cold lines, so that the next store is seen late
 * by others. Where the library relies on a heavy fence for that, a missing one shows.
 */
void stress_delay_stores(struct check_rng *rng);

/*
 * For loops that wait until something that must happen has: `round` starts at 0. False after about
 * ten seconds: then it is time to report.
 */
bool stress_wait(unsigned *round);

/* ---- threads ---- */

enum { STRESS_MAX_THREADS = 256 };

/* Crews started in this case so far: each has streams of its own. */
extern uint64_t stress_crews;

struct stress_thread {
    unsigned id; /* 0 .. count - 1 in its crew */
    void *context;
    struct check_rng rng;
    void (*body)(struct stress_thread *self);
    pthread_t handle;
};

/* Threads started together. */
struct stress_crew {
    unsigned count;
    struct stress_thread threads[STRESS_MAX_THREADS];
};

void stress_crew_start(struct stress_crew *crew, unsigned count,
                       void (*body)(struct stress_thread *self), void *context);
void stress_crew_join(struct stress_crew *crew);

/* Starts and joins. */
void stress_run(unsigned count, void (*body)(struct stress_thread *self), void *context);

/*
 * One thread, with a small stack where sanitizers do not need a large one. Never fails: ends the
 * run.
 */
void stress_spawn(pthread_t *handle, void *(*body)(void *), void *context);

/* ---- values ---- */

/* A value whose every word follows from its id: any change shows. */
struct stress_value {
    uint64_t id;
    uint64_t words[6];
    uint64_t end;
};

void stress_value_make(struct stress_value *value, uint64_t id);
bool stress_value_intact(const struct stress_value *value, uint64_t id);
/* What a destructor does: nobody may look any more. */
void stress_value_poison(struct stress_value *value);

/*
 * A ledger: what became of every value, by id. All of it relaxed, so that it orders nothing for the
 * library; what it reads must be ordered by the library itself.
 */
struct stress_life {
    struct vbuf_atomic_u8 inserted;
    struct vbuf_atomic_u8 wanted; /* somebody is about to remove it */
    struct vbuf_atomic_u8 removed;
    struct vbuf_atomic_u8 destroyed;
};

struct stress_ledger {
    struct stress_life *lives;
    uint64_t room;
    struct vbuf_atomic_u64 next; /* the next id; may run past room */
};

struct stress_sums {
    uint64_t inserted;
    uint64_t removed;
    uint64_t destroyed;
};

void stress_ledger_open(struct stress_ledger *ledger, uint64_t room);
void stress_ledger_close(struct stress_ledger *ledger);
/* False when the ledger is full. */
bool stress_ledger_draw(struct stress_ledger *ledger, uint64_t *id);
void stress_ledger_inserted(struct stress_ledger *ledger, uint64_t id);
/* Before each try to remove it. */
void stress_ledger_wanted(struct stress_ledger *ledger, uint64_t id);
/* After the remove that won: a second one is a failure (S2). */
void stress_ledger_removed(struct stress_ledger *ledger, uint64_t id);
/* From the destructor: a second one, or one that nobody asked for, is a failure (S6). */
void stress_ledger_destroyed(struct stress_ledger *ledger, uint64_t id);
/* With nobody else at it: reports what was removed and not destroyed, and adds up. */
struct stress_sums stress_ledger_audit(struct stress_ledger *ledger);
/* After the map's end: what was inserted and not destroyed is reported as well. */
void stress_ledger_audit_end(struct stress_ledger *ledger);

/* From now on destruction needs no remove: a map is about to be destroyed. */
void stress_ledger_ending(struct stress_ledger *ledger);

/*
 * A map's destructor; its context is the ledger. Checks the value, tells the ledger, poisons the
 * value.
 */
void stress_destroy_value(void *ledger, void *value);

/* How many destructors this thread has run: at most 128 may run inside one insert or remove. */
extern __thread uint64_t stress_destroyed_here;

/* ---- what goes into a vector ---- */

/* An element's id: its writer's number, its place in the run it was appended with, its turn. */
static inline uint64_t stress_item_id(unsigned writer, size_t place, uint64_t turn)
{
    return (uint64_t)writer << 56 | (uint64_t)place << 40 | turn;
}

static inline unsigned stress_item_writer(uint64_t id)
{
    return (unsigned)(id >> 56);
}

/* A small element; a stress_value is a large one. */
struct stress_pair {
    uint64_t id;
    uint64_t complement;
};

/* The typed forms, whose code is all inlined. */
CVEC_DEFINE(stress_pairs, struct stress_pair)
SLOTMAP_DEFINE(stress_values, struct stress_value)

/* What has been seen of a vector, walking it from its start. {0} is the start. */
struct stress_order {
    uint64_t next[STRESS_MAX_THREADS]; /* each writer's next turn */
    uint64_t last;                     /* the id before */
    uint64_t count;
};

/*
 * The next element: checks that it is its writer's next, so that a whole walk has seen every
 * element exactly once and in order, and that runs are contiguous.
 */
bool stress_order_step(struct stress_order *order, uint64_t id);

/* ---- the cases ---- */

void stress_stale(void);
void stress_thread_churn(void);
void stress_pinned_value(void);
void stress_fence_fallback(void);
void stress_commit_fail(void);
void stress_cvec_mixed(void);
void stress_cvec_all(void);
void stress_slotmap_all(void);
void stress_pinned_reader(void);
void stress_paused_publisher(void);
void stress_capacity(void);
void stress_ebr_objects(void);
void stress_map_churn(void);
void stress_hand_over(void);
void stress_canary(void);
void stress_canary_hang(void);

#endif
