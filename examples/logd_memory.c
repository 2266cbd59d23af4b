/*
 * logd_memory.c - how much memory logd holds, and that it is no more than it may be.
 *
 * There is one memory, so there is one account of it, as there is one malloc; hooks and buffers
 * anywhere reach it without being handed it. All of it is counting: nothing hangs on the order of
 * these operations but the sums, and each sum is one word. A word is never raised past its limit, not
 * even for a moment: one that is refused disturbs no other.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_memory.h"

#include <errno.h>
#include <stdlib.h>

#include <vbuf/atomic.h>
#include <vbuf/status.h>

#define RESERVE_SHARE 8 /* an eighth is for clients only */

static struct {
    size_t limit;
    struct vbuf_atomic_u64 stored;
    struct vbuf_atomic_u64 all; /* stored, and the clients' */
    struct vbuf_atomic_u64 refused;
} account __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));

void memory_set_limit(size_t bytes)
{
    account.limit = bytes;
}

/* Relaxed would do: a count. */
static bool add_up_to(struct vbuf_atomic_u64 *sum, size_t bytes, size_t most)
{
    uint64_t seen = vbuf_u64_load_relaxed(sum);
    do {
        if (seen > most || bytes > most - seen)
            return false;
    } while (!vbuf_u64_cas_acquire(sum, &seen, seen + bytes));
    return true;
}

static void subtract(struct vbuf_atomic_u64 *sum, size_t bytes)
{
    vbuf_u64_fetch_add_relaxed(sum, 0 - (uint64_t)bytes);
}

static bool refuse(void)
{
    vbuf_u64_fetch_add_relaxed(&account.refused, 1);
    errno = ENOMEM;
    return false;
}

bool memory_take(enum memory_use use, size_t bytes)
{
    size_t most = account.limit == 0 ? SIZE_MAX : account.limit;
    size_t reserve = account.limit / RESERVE_SHARE;
    if (use == MEMORY_STORED && !add_up_to(&account.stored, bytes, most - reserve))
        return refuse();
    if (add_up_to(&account.all, bytes, most))
        return true;
    if (use == MEMORY_STORED)
        subtract(&account.stored, bytes);
    return refuse();
}

void memory_take_anyway(size_t bytes)
{
    vbuf_u64_fetch_add_relaxed(&account.all, bytes);
}

void memory_give(enum memory_use use, size_t bytes)
{
    subtract(&account.all, bytes);
    if (use == MEMORY_STORED)
        subtract(&account.stored, bytes);
}

bool memory_commit_stored(void *context, size_t bytes)
{
    (void)context;
    return memory_take(MEMORY_STORED, bytes);
}

void memory_decommit_stored(void *context, size_t bytes)
{
    (void)context;
    memory_give(MEMORY_STORED, bytes);
}

bool memory_commit_clients(void *context, size_t bytes)
{
    (void)context;
    return memory_take(MEMORY_CLIENTS, bytes);
}

void memory_decommit_clients(void *context, size_t bytes)
{
    (void)context;
    memory_give(MEMORY_CLIENTS, bytes);
}

void *memory_resize(void *block, size_t old_size, size_t size)
{
    size_t more = size > old_size ? size - old_size : 0;
    if (size <= MEMORY_SMALL)
        memory_take_anyway(more);
    else if (!memory_take(MEMORY_CLIENTS, more))
        return NULL;
    void *resized = realloc(block, size);
    if (resized == NULL)
        memory_give(MEMORY_CLIENTS, more);
    else if (size < old_size)
        memory_give(MEMORY_CLIENTS, old_size - size);
    return resized;
}

void memory_free(void *block, size_t size)
{
    if (block == NULL)
        return;
    free(block);
    memory_give(MEMORY_CLIENTS, size);
}

struct memory_report memory_figures(void)
{
    uint64_t all = vbuf_u64_load_relaxed(&account.all);
    uint64_t stored = vbuf_u64_load_relaxed(&account.stored);
    struct memory_report report = {
        .limit = account.limit,
        .used[MEMORY_STORED] = stored,
        .used[MEMORY_CLIENTS] = all > stored ? all - stored : 0,
        .refused = vbuf_u64_load_relaxed(&account.refused),
    };
    return report;
}
