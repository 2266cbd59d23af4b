/*
 * logd_store.c - keys, and the log behind each.
 *
 * The table of keys is fixed: an array of buckets, each the head of a list that only grows at its
 * head. Logs are never deleted, so a reader follows a list without any protection.
 *
 *      heads[h] ──▶ log "c" ──▶ log "a" ──▶ NULL        new logs enter between heads[h] and "c"
 *
 * Values go into the appending worker's bytes first, then the records that name them into the log,
 * as one run. cvec_extend publishes (C2): who sees a record sees its bytes. If it fails, nobody has
 * seen them, and the bytes are taken back.
 *
 * A new key gets its first records before it enters the table. So there is no moment at which
 * memory could run out with the key made and the records not stored, and no empty log.
 *
 * Two threads that make the same key both search the list, fail, and put theirs in front by CAS.
 * One CAS wins; the other fails, and its thread searches again: only what has come since, down to
 * the head it had seen, can hold the name. The log that it had prepared it takes back, the last bytes
 * of its own; the values, which lie before, it appends to the log that won.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_store.h"

#include <stdlib.h>
#include <string.h>

#include "logd_memory.h"

#define MOST_BUCKETS ((size_t)1 << 20)

/* ---- the table ------------------------------------------------------------------------------- */

static uint64_t hash_of(struct text name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 0x100000001b3u;
    return hash;
}

static struct vbuf_atomic_pointer *bucket_of(const struct store *store, uint64_t hash)
{
    return &store->heads[(hash ^ hash >> 32) & (store->buckets - 1)];
}

/* Searches from `log` on, up to but without `end`. */
static struct log *search(struct log *log, const struct log *end, uint64_t hash, struct text name)
{
    for (; log != end; log = log->next) {
        if (log->hash == hash && log->name_len == name.len &&
            memcmp(log->name, name.data, name.len) == 0)
            return log;
    }
    return NULL;
}

struct log *store_find(const struct store *store, struct text name)
{
    uint64_t hash = hash_of(name);
    /* Acquire pairs with the CAS in insert: the log is whole, and so are those behind it. */
    struct log *head = vbuf_pointer_load_acquire(bucket_of(store, hash));
    return search(head, NULL, hash, name);
}

void store_each(const struct store *store, void (*visit)(void *context, struct log *log),
                void *context)
{
    for (size_t i = 0; i < store->buckets; i++) {
        struct log *log = vbuf_pointer_load_acquire(&store->heads[i]); /* pairs with insert */
        for (; log != NULL; log = log->next)
            visit(context, log);
    }
}

/* ---- new keys -------------------------------------------------------------------------------- */

/* Counts a key in; false when there are max_keys. */
static bool take_key(struct store *store)
{
    /* Relaxed: the count bounds the keys and orders nothing. */
    if (vbuf_u64_fetch_add_relaxed(&store->keys, 1) < store->max_keys)
        return true;
    vbuf_u64_fetch_add_relaxed(&store->keys, UINT64_MAX); /* - 1 */
    return false;
}

static void give_key_back(struct store *store)
{
    vbuf_u64_fetch_add_relaxed(&store->keys, UINT64_MAX); /* - 1; likewise relaxed */
}

/* The worker's bytes were used up to `len`, and are again. Shrinking cannot fail. */
static void rewind_bytes(struct appender *appender, size_t len)
{
    (void)vbuf_resize(&appender->bytes, len);
}

static enum append_result result_of(enum vbuf_status status)
{
    return status == VBUF_OK ? APPENDED : status == VBUF_FULL ? APPEND_NO_ROOM : APPEND_NO_MEMORY;
}

/* Room for a log at the end of the appender's bytes, behind the values: zeroed. NULL if refused. */
static struct log *allocate_log(struct appender *appender, size_t name_len)
{
    struct vbuf *bytes = &appender->bytes;
    size_t workers = appender->store->workers;
    size_t offset = vmem_align_up(bytes->len, _Alignof(struct log));
    size_t size = vmem_align_up(sizeof(struct log) + name_len, _Alignof(struct tail_watcher));
    if (vbuf_resize(bytes, offset + size + workers * sizeof(struct tail_watcher)) != VBUF_OK)
        return NULL;
    struct log *log = (struct log *)(void *)(bytes->data + offset);
    tail_init(&log->tail, (struct tail_watcher *)(void *)(bytes->data + offset + size), workers);
    return log;
}

/* A log with the values in it, not yet in the table. */
static enum append_result prepare(struct appender *appender, struct text name,
                                  const struct text *values, size_t count, struct log **prepared)
{
    struct log *log = allocate_log(appender, name.len);
    if (log == NULL)
        return APPEND_NO_MEMORY;
    struct cvec_options options = {
        .max_len = appender->store->max_log_len,
        .on_commit = memory_commit_stored,
        .on_decommit = memory_decommit_stored,
    };
    if (records_create(&log->records, &options) != VBUF_OK)
        return APPEND_NO_MEMORY;
    enum vbuf_status status = records_extend(&log->records, values, count, NULL);
    if (status != VBUF_OK) {
        records_destroy(&log->records);
        return result_of(status);
    }
    log->hash = hash_of(name);
    log->name_len = name.len;
    memcpy(log->name, name.data, name.len);
    *prepared = log;
    return APPENDED;
}

/* Puts a prepared log in front of its bucket, or finds the one that somebody else put there. */
static struct log *insert(struct vbuf_atomic_pointer *bucket, struct log *log, struct text name)
{
    struct log *searched = NULL;
    void *head = vbuf_pointer_load_acquire(bucket); /* pairs with the CAS below */
    for (;;) {
        struct log *found = search(head, searched, log->hash, name);
        if (found != NULL)
            return found;
        searched = head;
        log->next = head;
        /* Release: the log is whole. Acquire, on failure: so is what is there instead. */
        if (vbuf_pointer_cas_acq_rel(bucket, &head, log))
            return log;
    }
}

/* Appends to a log that is in the table. */
static enum append_result extend(struct log *log, const struct text *values, size_t count,
                                 struct appended *appended)
{
    appended->log = log;
    appended->made = false;
    return result_of(records_extend(&log->records, values, count, &appended->first));
}

/* For a name that is not there, or was not a moment ago; a key is counted in for it. */
static enum append_result append_new(struct appender *appender, struct text name,
                                     const struct text *values, size_t count,
                                     struct appended *appended)
{
    size_t before = appender->bytes.len;
    struct log *prepared;
    enum append_result result = prepare(appender, name, values, count, &prepared);
    if (result != APPENDED)
        return result;
    struct log *log = insert(bucket_of(appender->store, prepared->hash), prepared, name);
    if (log == prepared) {
        *appended = (struct appended){log, 0, true};
        return APPENDED;
    }
    records_destroy(&prepared->records);
    rewind_bytes(appender, before); /* the values lie before that */
    return extend(log, values, count, appended);
}

/* ---- records --------------------------------------------------------------------------------- */

/*
 * Copies the values behind one another into the appender's bytes, and makes them name the copies.
 */
static bool copy_values(struct appender *appender, struct text *values, size_t count)
{
    struct vbuf *bytes = &appender->bytes;
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += values[i].len; /* their sum fits: they all stand in one request */
    size_t end = bytes->len;
    if (vbuf_resize(bytes, end + total) != VBUF_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes->data + end, values[i].data, values[i].len);
        values[i].data = (const char *)bytes->data + end;
        end += values[i].len;
    }
    return true;
}

static enum append_result append(struct appender *appender, struct text name, struct text *values,
                                 size_t count, struct appended *appended)
{
    struct store *store = appender->store;
    if (!copy_values(appender, values, count))
        return APPEND_NO_MEMORY;
    struct log *log = store_find(store, name);
    if (log != NULL)
        return extend(log, values, count, appended);
    if (!take_key(store))
        return APPEND_NO_KEY;
    enum append_result result = append_new(appender, name, values, count, appended);
    if (result != APPENDED || !appended->made)
        give_key_back(store);
    return result;
}

enum append_result store_append(struct appender *appender, struct text name, struct text *values,
                                size_t count, struct appended *appended)
{
    size_t before = appender->bytes.len;
    enum append_result result = append(appender, name, values, count, appended);
    if (result != APPENDED)
        rewind_bytes(appender, before);
    /* Relaxed: a figure for INFO. */
    vbuf_u64_store_relaxed(&appender->stored, appender->bytes.len);
    return result;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static size_t table_size(const struct store *store)
{
    return store->buckets * sizeof(*store->heads) +
           store->workers * sizeof(*store->new_keys.watchers);
}

enum vbuf_status store_init(struct store *store, size_t max_keys, size_t max_log_len,
                            size_t workers)
{
    size_t buckets = 16;
    while (buckets < max_keys && buckets < MOST_BUCKETS)
        buckets *= 2;
    struct store made = {
        .max_keys = max_keys,
        .max_log_len = max_log_len,
        .workers = workers,
        .buckets = buckets,
    };
    if (!memory_take(MEMORY_STORED, table_size(&made)))
        return VBUF_NOMEM;
    made.heads = calloc(buckets, sizeof(*made.heads));
    struct tail_watcher *watchers = calloc(workers, sizeof(*watchers));
    if (made.heads == NULL || watchers == NULL) {
        free(made.heads);
        free(watchers);
        memory_give(MEMORY_STORED, table_size(&made));
        return VBUF_NOMEM;
    }
    tail_init(&made.new_keys, watchers, workers);
    *store = made;
    for (size_t i = 0; i < workers; i++)
        watchers[i].tail = &store->new_keys;
    return VBUF_OK;
}

static void destroy_log(void *context, struct log *log)
{
    (void)context;
    records_destroy(&log->records);
}

void store_destroy(struct store *store)
{
    if (store->heads == NULL)
        return;
    store_each(store, destroy_log, NULL);
    free(store->heads);
    free(store->new_keys.watchers);
    store->heads = NULL;
    memory_give(MEMORY_STORED, table_size(store));
}

enum vbuf_status appender_init(struct appender *appender, struct store *store, size_t max_bytes)
{
    struct vbuf_options options = {
        .max = max_bytes,
        .growth = {5, 4, 0}, /* what a worker has committed and not filled is lost to the others */
        .on_commit = memory_commit_stored,
        .on_decommit = memory_decommit_stored,
    };
    *appender = (struct appender){.store = store};
    return vbuf_init(&appender->bytes, &options);
}

void appender_destroy(struct appender *appender)
{
    vbuf_destroy(&appender->bytes);
}
