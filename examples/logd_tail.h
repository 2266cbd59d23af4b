/*
 * logd_tail.h - how who appends tells who waits, without knowing whether anybody does.
 *
 * A tail is a place to wait at: the end of a log, or of the list of all keys. Clients wait there by
 * way of their workers, each of which has a watcher at each tail. Threads other than the worker only
 * take `wanted`, and send notes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_TAIL_H
#define LOGD_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vbuf/atomic.h>
#include <vbuf/fence.h>

struct parked;
struct worker;

/* What a worker is told. Whoever has the right to send it owns it until the worker has taken it. */
struct tail_note {
    struct tail_note *next;
    bool is_end; /* in a struct parked, whose connection has ended; else in a struct tail_watcher */
};

/* One worker's place at one tail. Begins as zeroes. */
struct tail_watcher {
    struct tail_note note; /* first; belongs to who took `wanted`, until the worker has it back */
    /* The shortest length that a client waits for here. 0: none, or taken, and a note is coming. */
    struct vbuf_atomic_u64 wanted;
    /* Its worker only. */
    bool armed; /* wanted was set, and no note has come since */
    bool fresh; /* is on the worker's list of what it must look at after a fence */
    struct tail_watcher *next_fresh;
    struct tail *tail;
    struct parked *first; /* who waits, in the order of their coming */
    struct parked *last;
};

struct tail {
    struct vbuf_atomic_u32 watched; /* by how many workers for somebody: what an append looks at */
    struct tail_watcher *watchers;  /* one for each worker */
};

/* The watchers are zeroed, one for each worker. */
static inline void tail_init(struct tail *tail, struct tail_watcher *watchers, size_t workers)
{
    tail->watchers = watchers;
    for (size_t i = 0; i < workers; i++)
        watchers[i].tail = tail;
}

/*
 * After an append: whether tail_wake must be called. One load; the light side of the fence that a
 * worker issues after it has written `watched` and `wanted` (see logd_tail.c).
 */
static inline bool tail_is_watched(const struct tail *tail)
{
    vbuf_fence_light();
    return vbuf_u32_load_relaxed(&tail->watched) != 0; /* relaxed: the fence orders */
}

/* Tells the workers with a client that waits for `length` or less. Any worker, `self`. */
void tail_wake(struct tail *tail, struct worker *self, uint64_t length);

/* Hands a note to a worker, and wakes it unless it is the caller, `self`; NULL: no worker. */
void tail_send(struct worker *to, struct tail_note *note, struct worker *self);

/* ---- its worker only ------------------------------------------------------------------------- */

/* All notes that have come, latest first. */
struct tail_note *tail_take_notes(struct worker *worker);

/* Whether there is something that must be looked at before the worker may sleep. */
bool tail_is_busy(const struct worker *worker);

/* The first client comes, the last one goes. */
void tail_begin(struct worker *worker, struct tail_watcher *watcher);
void tail_end(struct tail_watcher *watcher);

/* Wants to be told when the tail has `length`; it is then fresh, unless it will be told anyway. */
void tail_want(struct worker *worker, struct tail_watcher *watcher, uint64_t length);

/*
 * Takes all fresh watchers, after a heavy fence; *sure says whether that worked. If not, appends may
 * go unnoticed, and the caller looks again soon.
 */
struct tail_watcher *tail_take_fresh(struct worker *worker, bool *sure);
void tail_make_fresh(struct worker *worker, struct tail_watcher *watcher);

#endif
