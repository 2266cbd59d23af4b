/*
 * logd_deadline.h - a worker's parked clients, the one whose time is over next first.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_DEADLINE_H
#define LOGD_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

#include <cvec/cvec.h>
#include <vbuf/vbuf.h>

#include "logd_conn.h"
#include "logd_tail.h"

#define NO_DEADLINE INT64_MAX
#define NO_PLACE SIZE_MAX

/* What a blocked client waits for. Its worker's alone, but for the note: see logd_btail.c. */
struct parked {
    struct tail_note end; /* first */
    connections_handle handle;
    struct tail_watcher *at; /* where it waits */
    struct parked *next;     /* there */
    struct parked *previous;
    struct cvec_cursor cursor; /* vector NULL: for the key to be made; next is set */
    int64_t deadline;          /* ns; NO_DEADLINE: none */
    size_t place;              /* in the heap; NO_PLACE: its time was over */
};

/* A heap, in a buffer that grows and shrinks in place. All parked clients are in it. */
VBUF_DEFINE(parked_heap, struct parked *)

/* Room for max_clients. VBUF_NOMEM iff there is no address space. */
enum vbuf_status deadlines_open(struct parked_heap *deadlines, size_t max_clients);

/* VBUF_NOMEM iff memory is refused. Cost: logarithmic, as that of remove. */
enum vbuf_status deadlines_add(struct parked_heap *deadlines, struct parked *parked);

/* Does nothing to one that is not in it. */
void deadlines_remove(struct parked_heap *deadlines, struct parked *parked);

/* The next one; NULL iff there is none. */
static inline struct parked *deadlines_next(const struct parked_heap *deadlines)
{
    struct parked **first = parked_heap_first(deadlines);
    return first == NULL ? NULL : *first;
}

#endif
