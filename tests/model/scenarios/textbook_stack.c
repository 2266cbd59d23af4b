/*
 * textbook_stack.c - Treiber's stack of nodes that are used again: the ABA problem, and its cure by a tag.
 *
 * One thread reads that the first node is A and the next is B, and sleeps. Another pops A, pops B, and pushes A back.
 * The first node is A again, so the first thread's CAS succeeds, and makes B, which is not in the
 * stack, its head. With a tag in the word that every pop changes it fails.
 *
 *      head   | tag: 32 | node: 32 |      node 0: none
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"

#define NODES 3

static struct vbuf_atomic_u64 head;
static struct vbuf_atomic_u32 next[NODES + 1];
static unsigned taken[NODES + 1]; /* plain: one thread at a time has a node */
static uint64_t tag_step;

static uint64_t pack(uint64_t tag, uint32_t node)
{
    return tag << 32 | node;
}

static void push(uint32_t node)
{
    taken[node]--;
    uint64_t seen = vbuf_u64_load_relaxed(&head); /* the CAS decides */
    do {
        vbuf_u32_store_relaxed(&next[node], (uint32_t)seen);
    } while (!vbuf_u64_cas_acq_rel(&head, &seen, pack(seen >> 32, node)));
}

static uint32_t pop(void)
{
    uint64_t seen = vbuf_u64_load_acquire(&head);
    while ((uint32_t)seen != 0) {
        uint32_t node = (uint32_t)seen, behind = vbuf_u32_load_relaxed(&next[node]);
        if (vbuf_u64_cas_acq_rel(&head, &seen, pack((seen >> 32) + tag_step, behind))) {
            taken[node]++;
            return node;
        }
    }
    return 0;
}

static void fill(void)
{
    for (uint32_t node = NODES; node > 0; node--) {
        taken[node] = 1;
        push(node);
    }
}

static void fill_tagged(void)
{
    tag_step = 1;
    fill();
}

static void pop_one(void)
{
    pop();
}

static void pop_two_push_one(void)
{
    uint32_t first = pop();
    pop();
    if (first != 0)
        push(first);
}

static void finish(void)
{
    for (uint32_t node = (uint32_t)vbuf_u64_load_relaxed(&head); node != 0;
         node = vbuf_u32_load_relaxed(&next[node])) {
        taken[node]++;
        EXPLORE(taken[node] == 1); /* in the stack, or in one thread's hands */
    }
    for (uint32_t node = 1; node <= NODES; node++)
        EXPLORE(taken[node] == 1);
    explore_outcome("fine");
}

const struct explore_scenario textbook_stack_aba = {
    .name = "textbook.stack-aba",
    .checks = "explorer",
    .set_up = fill,
    .threads = {pop_one, pop_two_push_one},
    .finish = finish,
    .must_fail = "taken[node] == 1",
};

const struct explore_scenario textbook_stack_tag = {
    .name = "textbook.stack-tag",
    .checks = "explorer",
    .set_up = fill_tagged,
    .threads = {pop_one, pop_two_push_one},
    .finish = finish,
    .outcomes = {"fine"},
};
