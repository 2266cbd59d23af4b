/*
 * engine.h - what the parts of the explorer share.
 *
 *      schedule.c   a run: fibres, choices, the search
 *      memory.c     atomics: what a load may return, where a store may go, what is ordered before what
 *      plain.c      plain memory: races, what is freed, what is poisoned
 *      space.c      the address space: what is reserved and committed
 *      system.c     system.h, wait.h, the fence and the C library, as the explorer sees them
 *      trace.c      a run told step by step
 *      main.c       the program
 *
 * All state lies behind `engine`, in memory of its own: before every run the program's static variables are put
 * back to what they were at start, the library's, the scenario's, and `engine` itself to the same value.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "explore.h"

#define THREADS (EXPLORE_MOST_THREADS + 1) /* 0 is set_up and finish */
#define MOST_LOCATIONS 2048
#define MOST_CHOICES 65536
#define MOST_KEYS 8
#define STACK_SIZE (128 * 1024)

/* ---- memory.c ---- */

/* The newest store that is known, for each location: an index into its modification order, as a time. */
struct view {
    uint32_t times[MOST_LOCATIONS];
};

/* Who has done how much. */
struct clock {
    uint32_t ticks[THREADS];
};

/* What a store, or a fence, passes on. Never changes. */
struct message {
    struct clock clock;
    uint32_t count; /* of times; the others are 0 */
    uint32_t times[];
};

struct thread_memory {
    struct view now;     /* what it must not read behind */
    struct view pending; /* what an acquire fence would add */
    struct clock clock, pending_clock;
    const struct message *released; /* by its last full fence; its relaxed stores pass it on */
    const struct message *light;    /* up to its last light fence */
};

void memory_start(void); /* once */
void memory_begin_run(void);
void memory_start_threads(unsigned count);            /* they know what thread 0 knows */
void memory_join_threads(unsigned count);             /* and the current one what they do */
void memory_forget(const void *address, size_t size); /* the system made it zero, or took it away */
void memory_heavy_fence(void);
/* What happens before what the caller does next: each thread's accesses up to that tick; its own tick. */
const struct clock *memory_clock(void);

/* ---- plain.c ---- */

void plain_start(void); /* once */
void plain_begin_run(void);
void plain_end_run(void);
void plain_access(const void *address, size_t size, bool write, void *caller);
void plain_check_atomic(const void *address, size_t size, bool write);
void plain_taken_away(const void *address, size_t size); /* by the system: as if written */
const char *plain_left_over(void);                       /* NULL: nothing */

/* ---- space.c ---- */

#define SPACE ((char *)0x200000000000)
#define SPACE_SIZE ((size_t)256 << 30)
#define SPACE_OBJECTS (SPACE + ((size_t)240 << 30)) /* plain.c's */

void space_start(void); /* once */
void space_begin_run(void);
void space_end_run(void);
bool space_contains(const void *address);
bool space_is_empty(void); /* nothing is reserved */
void space_check(const char *address, size_t size,
                 bool write); /* fails the run unless it may be used so */
void space_check_known(const char *address,
                       size_t size); /* fails it unless it may be written plainly */
void space_make_zero(char *begin, size_t size);
void *space_reserve(size_t size, bool readable);
bool space_is_reserved(const void *address, size_t size);
void space_release(void *address, size_t size);
void space_commit(void *address, size_t size);
void space_decommit(void *address, size_t size);

/* ---- schedule.c ---- */

enum choice {
    CHOICE_NEXT,    /* who goes on, where the thread cannot */
    CHOICE_PREEMPT, /* 0: the thread itself */
    CHOICE_VALUE,   /* 0: the newest */
    CHOICE_PLACE,   /* 0: at the end */
    CHOICE_FAILURE, /* 0: none */
    CHOICE_FREE,    /* the scenario's */
};

/* One of 0 .. count - 1; 0 where the bounds say so. */
unsigned choose(enum choice kind, unsigned count);

/* Before a step: others may go first. `visible`: what it does can matter to them. */
void step(bool visible);

/* Blocks the thread until ready(context) is true. Where `may_end`, it may be woken without: false. */
bool block(bool (*ready)(const void *context), const void *context, bool may_end);

enum state { STATE_NONE, STATE_READY, STATE_YIELDED, STATE_BLOCKED, STATE_DONE };

struct fibre {
    ucontext_t start;
    jmp_buf resume;
    bool started;
    enum state state;
    bool (*ready)(const void *context);
    const void *context;
    bool may_end, ended_early;
    unsigned char self[64]; /* the library's thread-local block */
    void *values[MOST_KEYS];
    uint32_t priority;
    unsigned yields;         /* in a row, while nobody did anything */
    unsigned ran_since;      /* which threads took a step since its last yield: bits */
    unsigned lets_go_before; /* which are to take one before it goes on */
    char *stack;
};

/* A choice that was offered. */
struct trail_entry {
    uint32_t ordinal; /* of all choices, offered or not */
    uint32_t chosen;
    uint32_t count; /* 0: not known yet */
};

enum search { SEARCH_DEPTH_FIRST, SEARCH_RANDOM, SEARCH_REPLAY };

struct engine {
    const struct explore_scenario *scenario;
    struct explore_bounds bounds;

    /* The run. */
    bool running; /* the threads run, rather than set_up or finish */
    bool inside;  /* a run is under way */
    unsigned current, threads;
    struct fibre fibres[THREADS];
    jmp_buf main; /* where a run ends */
    uint64_t steps;
    bool failed;
    char message[512];
    char outcome[128];
    int64_t time;
    unsigned heavy_fences, refusals;
    unsigned keys;
    void (*destructors[MOST_KEYS])(void *);

    /* Choices. */
    enum search search;
    struct trail_entry trail[MOST_CHOICES];
    uint32_t trail_length, trail_position;
    uint32_t ordinal; /* of the next choice */
    unsigned spent[6], spent_together, together;
    uint64_t random;
    bool unbounded;
    bool cut; /* some choice was not offered, because of the bound on all of them together */
    uint8_t candidates[THREADS]; /* of the last CHOICE_NEXT or CHOICE_PREEMPT */
    uint32_t odd_chance;         /* of 256 */
    uint32_t change_points[8], changes, visible_steps;

    /* Memory. */
    struct thread_memory memory[THREADS];
    struct view sequential; /* what full fences pass on among each other */
    struct view heavy;      /* what heavy fences pass on to light ones */
    struct heap *heap;      /* memory.c's */
    struct plain *plain;    /* plain.c's */
    struct space *space;    /* space.c's */
    uint32_t locations;
    bool fame_grew; /* an atomic turned out to be shared: runs before may have skipped choices */

    /* The trace. */
    bool tracing;
    struct lines *lines;
};

extern struct engine *engine;

/* No run is under way: everything is what it seems. */
static inline bool is_outside(void)
{
    return engine == NULL || !engine->inside;
}

/* ---- trace.c ---- */

void trace_start(void);
/* One line: what the calling thread did, from where. */
void trace(void *caller, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace_print(void);

/* ---- system.c ---- */

void system_save_self(void *to);
void system_load_self(const void *from);
void system_thread_ends(void);
void system_begin_run(void);
void system_before_fork(void);
void system_after_fork(void);

#endif
