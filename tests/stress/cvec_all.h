/*
 * cvec_all.h - what the parts of the case cvec-all share: cvec_all.c has the rounds and their
 * checks, cvec_all_writers.c and cvec_all_readers.c what each thread does in a round.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CVEC_ALL_H
#define CVEC_ALL_H

#include "stress.h"

/* How a round ends. */
enum all_ending {
    OPEN,         /* when all is appended */
    EXACTLY_FULL, /* the same, and that is max_len */
    CLOSED_LATE,  /* closed when all is appended */
    CLOSED_EARLY, /* closed in the middle of it */
    ENDINGS
};

struct all_run {
    struct cvec *vector;
    bool large; /* elements are stress_values, else stress_pairs */
    unsigned threads;
    unsigned writers;
    uint64_t goal;  /* elements each writer appends in a round, unless the vector is closed */
    uint64_t total; /* goal * writers */
    uint64_t seed;

    /* This round's; written before it. */
    enum all_ending ending;
    size_t start; /* elements there at its start */
    uint64_t start_sum;
    size_t close_at;
    struct vbuf_atomic_u32 writing; /* writers that have not finished */
    struct vbuf_atomic_u32 closed;  /* a close has returned */
    struct vbuf_atomic_u64 final;   /* claimed, after it */

    /* Written by the thread of that number. */
    uint64_t added[STRESS_MAX_THREADS]; /* acknowledged in this round */
    uint64_t sums[STRESS_MAX_THREADS];  /* of their ids */

    /* The whole vector's. */
    struct vbuf_atomic_u32 plenty;    /* the hook refuses nothing */
    struct vbuf_atomic_u64 asked;     /* times the hook was called */
    struct vbuf_atomic_u64 committed; /* bytes, by the hooks */
    struct vbuf_atomic_u64 refusals;
    struct vbuf_atomic_u64 sleeps; /* waits that did not return at once, or so */
    struct vbuf_atomic_u64 destroyed;
    struct vbuf_atomic_u64 discarded; /* elements in appenders that a close came before */
    uint64_t acknowledged;
    bool exclusive; /* nobody else is at it */
    const void *destroyed_last;
};

/* What a reader has seen of this round's elements. */
struct all_reader {
    struct all_run *run;
    struct stress_order order;
    uint64_t sum;
    const void *base;
};

enum { ALL_LEAST_THREADS = 8 }; /* so that every role but one is taken */

unsigned all_count_writers(unsigned threads);

/* Who appends. */
void all_write_by_push(struct stress_thread *self);
void all_write_by_extend(struct stress_thread *self);
void all_write_by_appender(struct stress_thread *self);
void all_write_by_claim(struct stress_thread *self);

/* Closes, and says so: nothing may be appended from now on. */
void all_close_and_tell(struct all_run *run);

/* The body of each thread in a round. */
void all_take_part(struct stress_thread *self);

/* Takes a snapshot and walks what is new in it. */
void all_walk_on(struct all_reader *reader);

static inline size_t all_element_size(const struct all_run *run)
{
    return run->large ? sizeof(struct stress_value) : sizeof(struct stress_pair);
}

static inline void all_make(const struct all_run *run, void *element, uint64_t id)
{
    if (run->large)
        stress_value_make(element, id);
    else
        *(struct stress_pair *)element = (struct stress_pair){id, ~id};
}

/* Plain loads: that they are ordered is the library's affair. */
bool all_whole(const struct all_run *run, const void *element, uint64_t *id);

#endif
