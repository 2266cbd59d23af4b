/*
 * logd_memory.h - how much memory logd holds, and that it is no more than it may be.
 *
 * Two uses. What is *stored*, logs, records and keys, stays for good. What *clients* need, their
 * requests, replies and places in tables, comes and goes. An eighth of the limit is kept from the
 * store, so that a full one can still be read.
 *
 * The figures are exact for what the containers commit, which their hooks tell, and for the blocks
 * that logd allocates itself. Not in them: stacks, the code, what the C library keeps around blocks.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_MEMORY_H
#define LOGD_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_use { MEMORY_STORED, MEMORY_CLIENTS, MEMORY_USES };

/* A client's block of up to this many bytes is never refused: an answer always gets out. */
#define MEMORY_SMALL ((size_t)16384)

/* Once, before there are threads; 0: no limit. */
void memory_set_limit(size_t bytes);

/*
 * Counts bytes in; false, and nothing is counted, if that would go past the limit. Any thread;
 * lock-free.
 */
bool memory_take(enum memory_use use, size_t bytes);
void memory_give(enum memory_use use, size_t bytes);

/* Counts in what is allocated already, whatever the limit. */
void memory_take_anyway(size_t bytes);

/* For containers: their on_commit and on_decommit. The context is not used. */
bool memory_commit_stored(void *context, size_t bytes);
void memory_decommit_stored(void *context, size_t bytes);
bool memory_commit_clients(void *context, size_t bytes);
void memory_decommit_clients(void *context, size_t bytes);

/*
 * A client's block of `size` bytes in place of one of `old_size`, as realloc; NULL if refused, and
 * then the old one is as it was. Whoever holds a block knows its size.
 */
void *memory_resize(void *block, size_t old_size, size_t size);
void memory_free(void *block, size_t size);

/* Figures, each correct at some moment. */
struct memory_report {
    size_t limit;               /* 0: none */
    uint64_t used[MEMORY_USES]; /* bytes */
    uint64_t refused;           /* how often something was */
};

struct memory_report memory_figures(void);

#endif
