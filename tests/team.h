/*
 * team.h - threads for tests: a team that starts together, gates between two threads, a thread that
 * holds a pin.
 *
 * A gate orders: what came before gate_open happens before what comes after gate_wait. A litmus that
 * looks for missing order must not use one between its two sides.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef TEAM_H
#define TEAM_H

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../src/system.h"
#include "check.h"
#include "vbuf/atomic.h"
#include "vbuf/ebr.h"

typedef void team_work(void *context, unsigned index);

struct team_seat {
    team_work *work;
    void *context;
    unsigned index;
    pthread_barrier_t *start;
};

static inline void *team_sit(void *argument)
{
    struct team_seat *seat = argument;
    pthread_barrier_wait(seat->start);
    seat->work(seat->context, seat->index);
    return NULL;
}

#define TEAM_MOST 64

/* Runs work(context, 0 … threads - 1), a thread each, all starting at once; joins them. */
static inline void team_run(unsigned threads, team_work *work, void *context)
{
    pthread_t handles[TEAM_MOST];
    struct team_seat seats[TEAM_MOST];
    pthread_barrier_t start;
    if (threads > TEAM_MOST || pthread_barrier_init(&start, NULL, threads) != 0)
        abort();
    for (unsigned i = 0; i < threads; i++) {
        seats[i] = (struct team_seat){work, context, i, &start};
        if (pthread_create(&handles[i], NULL, team_sit, &seats[i]) != 0)
            abort(); /* the others wait at the barrier: nothing sensible is left */
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(handles[i], NULL);
    pthread_barrier_destroy(&start);
}

/* Runs work(context, 0) on one thread of its own; joins it. */
static inline void team_run_one(team_work *work, void *context)
{
    team_run(1, work, context);
}

static inline void team_sleep_us(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

struct gate {
    struct vbuf_atomic_u32 open;
};

static inline void gate_open(struct gate *gate)
{
    vbuf_u32_store_release(&gate->open, 1);
}

static inline bool gate_is_open(const struct gate *gate)
{
    return vbuf_u32_load_acquire(&gate->open) != 0;
}

static inline void gate_wait(const struct gate *gate)
{
    for (unsigned round = 0; !gate_is_open(gate); round++) {
        if (round < 100)
            sched_yield();
        else
            team_sleep_us(50);
    }
}

/* A thread that holds one pin of a domain from pinner_start to pinner_stop. */
struct pinner {
    struct ebr_domain *domain;
    struct gate pinned;
    struct gate stop;
    struct gate unpinned;
    struct gate leave;
    uint64_t system_id;
    pthread_t thread;
};

/* The calling thread's number, as stats give it. */
static inline uint64_t team_thread_id(void)
{
#if defined(BUILD_SYSTEM_POSIX)
    return vbuf_sys_thread_id();
#else
    return (uint64_t)syscall(SYS_gettid);
#endif
}

static inline void *pinner_body(void *argument)
{
    struct pinner *pinner = argument;
    pinner->system_id = team_thread_id();
    ebr_pin(pinner->domain);
    gate_open(&pinner->pinned);
    gate_wait(&pinner->stop);
    ebr_unpin(pinner->domain);
    gate_open(&pinner->unpinned);
    gate_wait(&pinner->leave);
    return NULL;
}

static inline void pinner_start(struct pinner *pinner, struct ebr_domain *domain)
{
    *pinner = (struct pinner){.domain = domain};
    if (pthread_create(&pinner->thread, NULL, pinner_body, pinner) != 0)
        abort();
    gate_wait(&pinner->pinned);
}

/* Ends the pin; the thread lives on, attached and unpinned. */
static inline void pinner_unpin(struct pinner *pinner)
{
    gate_open(&pinner->stop);
    gate_wait(&pinner->unpinned);
}

/* Ends the pin, if it has not ended, and the thread. */
static inline void pinner_stop(struct pinner *pinner)
{
    pinner_unpin(pinner);
    gate_open(&pinner->leave);
    pthread_join(pinner->thread, NULL);
}

#endif
