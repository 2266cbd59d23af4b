/*
 * limbo.h - what one thread has removed and may not touch yet: batches between unlink and reclaim.
 *
 *      open ──seal──▶ bags[0], bags[1] ──settle──▶ ready ──▶ reclaimed by the owner
 *
 * A batch is sealed with a tag: the epoch, read by a read-modify-write after the batch's LAST
 * unlink. It may be reclaimed once the epoch has reached tag + LIMBO_GRACE, two steps of 2
 * (PROTOCOLS: why two).
 *
 * Two bags are enough. A thread's tags never fall, equal tags share a bag, and when a third tag t
 * arrives the older of two bags has a tag of at most t - 4: the epoch, which is at least t, has
 * passed its grace.
 *
 * Nodes are numbers, 0 is none; how a node names the next is the user's (an index, a pointer), so
 * one piece of code and one argument serve ebr and slotmap. Chains are joined in O(1), never
 * walked. Owner only: nothing here is atomic.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_LIMBO_H
#define VBUF_LIMBO_H

#include <stdbool.h>
#include <stdint.h>

#define LIMBO_GRACE 4

struct limbo_chain {
    uint64_t first; /* 0 iff empty */
    uint64_t last;
    uint64_t count;
};

struct limbo_bag {
    uint64_t tag;
    struct limbo_chain chain;
};

struct limbo {
    struct limbo_bag bags[2]; /* the newer first */
    struct limbo_chain ready; /* grace has passed; oldest first */
};

/* Makes `next` follow `node`. */
typedef void limbo_link(const void *context, uint64_t node, uint64_t next);

/* Appends `from` to `to`, and empties `from`. */
static inline void limbo_join(struct limbo_chain *to, struct limbo_chain *from, limbo_link *link,
                              const void *context)
{
    if (from->first == 0)
        return;
    if (to->first == 0) {
        *to = *from;
    } else {
        link(context, to->last, from->first);
        to->last = from->last;
        to->count += from->count;
    }
    *from = (struct limbo_chain){0, 0, 0};
}

/* Takes the batch in, under its tag, and empties it. */
static inline void limbo_seal(struct limbo *limbo, struct limbo_chain *batch, uint64_t tag,
                              limbo_link *link, const void *context)
{
    struct limbo_bag *bags = limbo->bags;
    if (batch->first == 0)
        return;
    if (bags[0].chain.first != 0 && bags[0].tag != tag) {
        limbo_join(&limbo->ready, &bags[1].chain, link, context); /* its tag is at most tag - 4 */
        bags[1] = bags[0];
        bags[0].chain = (struct limbo_chain){0, 0, 0};
    }
    bags[0].tag = tag;
    limbo_join(&bags[0].chain, batch, link, context);
}

/* Moves what the epoch has passed to ready. */
static inline void limbo_settle(struct limbo *limbo, uint64_t epoch, limbo_link *link,
                                const void *context)
{
    for (int i = 1; i >= 0; i--) {
        if (limbo->bags[i].tag + LIMBO_GRACE <= epoch)
            limbo_join(&limbo->ready, &limbo->bags[i].chain, link, context);
    }
}

/* Empties everything into one chain, for whoever takes over: it must be sealed again. */
static inline struct limbo_chain limbo_take_all(struct limbo *limbo, limbo_link *link,
                                                const void *context)
{
    struct limbo_chain all = limbo->ready;
    limbo->ready = (struct limbo_chain){0, 0, 0};
    limbo_join(&all, &limbo->bags[1].chain, link, context);
    limbo_join(&all, &limbo->bags[0].chain, link, context);
    return all;
}

static inline bool limbo_is_empty(const struct limbo *limbo)
{
    return limbo->bags[0].chain.first == 0 && limbo->bags[1].chain.first == 0 &&
           limbo->ready.first == 0;
}

#endif
