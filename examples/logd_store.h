/*
 * logd_store.h - keys, and the log behind each: any number of threads append and read.
 *
 * A log is a cvec of records, a record a place in some worker's bytes. Both grow in place, so
 * neither a record nor what it points to ever moves: whoever has seen one may read it for the
 * store's life.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_STORE_H
#define LOGD_STORE_H

#include <cvec/cvec.h>
#include <vbuf/atomic.h>
#include <vbuf/vbuf.h>

#include "logd_bytes.h"
#include "logd_tail.h"

/* A record is the text of its bytes: whole when it can be seen, and the same for ever. */
CVEC_DEFINE(records, struct text)

/*
 * Fixed when it is published, but for the records and the tail. Lives in the bytes of the worker that made it.
 */
struct log {
    struct records records;
    struct tail tail; /* who waits for more records; the watchers lie behind the name */
    struct log *next; /* in its bucket */
    uint64_t hash;
    size_t name_len;
    char name[];
};

struct store {
    size_t max_keys;
    size_t max_log_len;
    size_t workers; /* that watch tails */
    size_t buckets; /* a power of two */
    struct vbuf_atomic_pointer *heads;
    struct vbuf_atomic_u64 keys;
    struct tail new_keys; /* who waits for a key that does not exist */
};

/* One thread's way to append: its bytes, to which only it adds. */
struct appender {
    struct store *store;
    struct vbuf bytes;
    struct vbuf_atomic_u64 stored; /* bytes in use; its owner writes, INFO reads */
};

/* VBUF_NOMEM iff there is no memory. */
enum vbuf_status store_init(struct store *store, size_t max_keys, size_t max_log_len,
                            size_t workers);

/* Needs exclusive access, and comes before the appenders are freed: logs live in their bytes. */
void store_destroy(struct store *store);

/* At most max_bytes are stored through it. VBUF_NOMEM iff there is no address space for them. */
enum vbuf_status appender_init(struct appender *appender, struct store *store, size_t max_bytes);
void appender_destroy(struct appender *appender);

/* The log of that name, or NULL. Any thread; lock-free. */
struct log *store_find(const struct store *store, struct text name);

enum append_result {
    APPENDED,
    APPEND_NO_KEY,  /* there are max_keys others */
    APPEND_NO_ROOM, /* the log has no room for the values */
    APPEND_NO_MEMORY,
};

struct appended {
    struct log *log;
    size_t first; /* the index of the first value */
    bool made;    /* the key is new */
};

/*
 * Appends copies of all values, at least one, as consecutive records to the log of that name, which
 * is made if need be. All or nothing: a key that is made appears with its records. The values are
 * scratch: afterwards they may name the stored copies. When several threads race for the last keys,
 * one may be refused a key that another is just making. Any thread; lock-free but for growth.
 */
enum append_result store_append(struct appender *appender, struct text name, struct text *values,
                                size_t count, struct appended *appended);

/* Calls visit for each log, in no order; those made meanwhile may be left out. */
void store_each(const struct store *store, void (*visit)(void *context, struct log *log),
                void *context);

#endif
