/*
 * vbuf_commit.c - threads that commit ranges of one reservation that overlap, one of them perhaps in vain.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/vbuf.h"

static struct vbuf memory;

static void set_up(void)
{
    EXPLORE(vbuf_init(&memory, &(struct vbuf_options){.max = 4096}) == VBUF_OK);
}

/* Commits, and uses only what it was given. */
static void commit(size_t begin, size_t length)
{
    enum vbuf_status status = vbuf_commit_two(&memory, begin, length, begin + 1024, length);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
    if (status != VBUF_OK)
        return;
    size_t own = begin + (explore_self() - 1) * 8;
    EXPLORE(memory.data[own] == 0 && memory.data[own + 1024] == 0);
    memory.data[own] = 1;
    memory.data[own + 1024] = 1;
    for (size_t at = begin; at < begin + length; at += 256)
        EXPLORE(memory.data[at + 64] == 0 && memory.data[at + 1024 + 64] == 0);
}

static void commit_low(void)
{
    commit(0, 512);
}

static void commit_middle(void)
{
    commit(256, 512);
}

static void commit_high(void)
{
    commit(256, 256);
}

static void finish(void)
{
    vbuf_destroy(&memory);
}

const struct explore_scenario vbuf_commit_overlap = {
    .name = "vbuf.commit-overlap",
    .checks = "V1 V4",
    .set_up = set_up,
    .threads = {commit_low, commit_middle, commit_high},
    .finish = finish,
    .bounds = {.failures = 2},
};
