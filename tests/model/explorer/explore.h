/*
 * explore.h - the schedule explorer: what a scenario says, and may ask.
 *
 * A scenario is a few threads of a few calls each. The explorer runs it over and over on fibres of one
 * thread, another way each time: at every atomic operation, fence and system call it decides who
 * goes on, which of the values that C11 allows a load returns, where in the modification order a store goes,
 * and whether a system call fails. The library under it is the real source, compiled with atomic.h's
 * seam, and with the compiler's race instrumentation, which tells of every plain access.
 *
 *      static struct ebr_domain *domain;
 *      static void set_up(void)    { EXPLORE(ebr_domain_create(&domain, NULL) == VBUF_OK); }
 *      static void reader(void)    { ebr_pin(domain); … EXPLORE(value == 7); ebr_unpin(domain); }
 *      static void writer(void)    { … }
 *      static void finish(void)    { EXPLORE(ebr_domain_destroy(domain) == VBUF_OK); }
 *
 *      const struct explore_scenario ebr_example = {
 *          .name = "ebr.example", .checks = "E1",
 *          .set_up = set_up, .threads = {reader, writer}, .finish = finish,
 *      };
 *
 * and a line in scenarios/list.h. set_up runs before the threads, finish after them; static variables
 * have their first values again in every run. What fails a run:
 *
 *   - EXPLORE(condition) that does not hold, or an assertion of the library;
 *   - a data race on plain memory (reserved memory, objects, static variables); giving memory back is a write;
 *   - a use of memory that is not committed, was freed, lies beyond an object, or is poisoned; a second free;
 *   - a deadlock; more steps than a run can need (a livelock); what is still reserved, or allocated, at the end.
 *
 * How it works: memory.c (values), schedule.c (choices), plain.c (races), space.c (pages).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_MOST_THREADS 5
#define EXPLORE_MOST_OUTCOMES 16

/* What a run may have of each; beyond it everything takes its plain course. 0: the default; NONE: none. */
struct explore_bounds {
    unsigned preemptions; /* switches away from a thread that could go on: 2 */
    unsigned stale;       /* loads that return an older value: 2 */
    unsigned reorders;    /* stores that go in front of others: 1 */
    unsigned failures;    /* system calls that fail, waits that end early: 1 */
    unsigned together;    /* all of these: 3 */
};
#define EXPLORE_NONE 1000u

struct explore_scenario {
    const char *name;     /* module.what */
    const char *checks;   /* the guarantees, by number, or what else */
    void (*set_up)(void); /* may be NULL, as finish may */
    void (*threads[EXPLORE_MOST_THREADS])(void);
    void (*finish)(void);
    struct explore_bounds bounds;
    bool full_fence;       /* as where the system has no process-wide barrier */
    bool barriers_fail;    /* a heavy fence may be refused */
    bool writes_are_steps; /* plain ones too: a thread may be stopped between two */
    bool leaks; /* what is left at the end is no failure: a fork's child cannot know all of it */
    bool
        c17_release_sequence; /* a release sequence goes on through the same thread's plain stores */
    /* For litmus tests: every outcome that explore_outcome must report, and none besides. */
    const char *outcomes[EXPLORE_MOST_OUTCOMES];
    /* For tests of the explorer: what it must find; a part of the message. */
    const char *must_fail;
};

/* Fails the run unless the condition holds. */
#define EXPLORE(condition)                                                                         \
    ((condition) ? (void)0 : explore_fail("%s:%d: %s", __FILE__, __LINE__, #condition))
_Noreturn void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What this run came to: once, in finish. */
void explore_outcome(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The calling thread: 0 in set_up and finish, else its place in `threads`, from 1. */
unsigned explore_self(void);

/* One of 0 .. count - 1, each tried. */
unsigned explore_choose(unsigned count);

/* Lets others go on; the thread runs again when another has done something. */
void explore_yield(void);

/* Blocks the thread until ready(context) holds, which looks at memory as it is and orders nothing. */
void explore_wait(bool (*ready)(const void *context), const void *context);

/* Memory that is never used again once freed: a use of it, and a second free, fail the run. */
void *explore_alloc(size_t size);
void explore_free(void *memory);

/* A read of the memory fails the run, until it is written. */
void explore_poison(const void *memory, size_t size);

/* Plain accesses the compiler does not tell of. */
void explore_read(const void *memory, size_t size);
void explore_write(void *memory, size_t size);

/*
 * Forks, and goes on as the child: the other threads stop where they are, for good, and the caller sees all that they have
 * done. The library's handlers run as in a fork's child; the parent is not followed. On one of the threads, not under
 * a lock that the handlers take.
 */
void explore_fork(void);

/* The clock goes forward. */
void explore_sleep(int64_t nanoseconds);

/* In set_up or finish: what a thread's exit does. Whatever it holds by a key of its own is given up. */
void explore_end_thread(void);

/* Bytes of reserved memory that are committed. */
size_t explore_committed(void);

/* How many heavy fences there were so far; and how often the system has refused something. */
unsigned explore_heavy_fences(void);
unsigned explore_refusals(void);

#endif
