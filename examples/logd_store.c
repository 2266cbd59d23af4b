/*
 * logd_store.c - keys, and the log behind each.
 *
 * The table of keys is fixed: an array of buckets, each the head of a list that only grows at its
 * head. Logs are never deleted, so a reader follows a list without any protection.
 *
 *      heads[h] ──▶ log "c" ──▶ log "a" ──▶ NULL        new logs enter between heads[h] and "c"
 *
 * Two threads that make the same key both search the list, fail, and put theirs in front by CAS.
 * One CAS wins; the other fails, and its thread searches again: only what has come since, down to
 * the head it had seen, can hold the name. What it had prepared it takes back: the bytes are its
 * own, and the last ones.
 *
 * Values go into the appending worker's bytes first, then the records that name them into the log,
 * as one run. cvec_extend publishes (C2): who sees a record sees its bytes. If it fails, nobody has
 * seen them, and the bytes are taken back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_store.h"

#include <stdlib.h>
#include <string.h>

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

/* To the user of the store it is all memory, whether the system or max_store set the limit. */
static enum vbuf_status as_memory(enum vbuf_status status)
{
    return status == VBUF_FULL ? VBUF_NOMEM : status;
}

/* A log at the end of the appender's bytes, not yet in the table. */
static enum vbuf_status prepare(struct appender *appender, struct text name, uint64_t hash,
                                struct log **prepared)
{
    struct vbuf *bytes = &appender->bytes;
    size_t offset = vmem_align_up(bytes->len, _Alignof(struct log));
    enum vbuf_status status = vbuf_resize(bytes, offset + sizeof(struct log) + name.len);
    if (status != VBUF_OK)
        return as_memory(status);
    struct log *log = (struct log *)(void *)(bytes->data + offset);
    struct cvec_options options = {.max_len = appender->store->max_log_len};
    status = records_create(&log->records, &options);
    if (status != VBUF_OK)
        return as_memory(status);
    log->hash = hash;
    log->name_len = name.len;
    memcpy(log->name, name.data, name.len);
    *prepared = log;
    return VBUF_OK;
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

/* store_open for a name that is not there, or was not a moment ago; a key is counted in for it. */
static enum vbuf_status open_new(struct appender *appender, struct text name, struct log **log)
{
    size_t before = appender->bytes.len;
    uint64_t hash = hash_of(name);
    struct log *prepared;
    enum vbuf_status status = prepare(appender, name, hash, &prepared);
    if (status != VBUF_OK) {
        rewind_bytes(appender, before);
        return status;
    }
    *log = insert(bucket_of(appender->store, hash), prepared, name);
    if (*log != prepared) {
        records_destroy(&prepared->records);
        rewind_bytes(appender, before);
        give_key_back(appender->store);
    }
    return VBUF_OK;
}

enum vbuf_status store_open(struct appender *appender, struct text name, struct log **log)
{
    struct store *store = appender->store;
    *log = store_find(store, name);
    if (*log != NULL)
        return VBUF_OK;
    if (!take_key(store))
        return VBUF_FULL;
    enum vbuf_status status = open_new(appender, name, log);
    if (status != VBUF_OK)
        give_key_back(store);
    return status;
}

/* ---- records --------------------------------------------------------------------------------- */

/*
 * Copies the values behind one another into the appender's bytes, and makes them name the copies.
 */
static enum vbuf_status copy_values(struct appender *appender, struct text *values, size_t count)
{
    struct vbuf *bytes = &appender->bytes;
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += values[i].len; /* their sum fits: they all stand in one request */
    size_t end = bytes->len;
    enum vbuf_status status = vbuf_resize(bytes, end + total);
    if (status != VBUF_OK)
        return as_memory(status);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes->data + end, values[i].data, values[i].len);
        values[i].data = (const char *)bytes->data + end;
        end += values[i].len;
    }
    return VBUF_OK;
}

enum vbuf_status log_append(struct log *log, struct appender *appender, struct text *values,
                            size_t count, size_t *first)
{
    size_t before = appender->bytes.len;
    enum vbuf_status status = copy_values(appender, values, count);
    if (status == VBUF_OK)
        status = records_extend(&log->records, values, count, first);
    if (status != VBUF_OK)
        rewind_bytes(appender, before);
    /* Relaxed: a figure for INFO. */
    vbuf_u64_store_relaxed(&appender->stored, appender->bytes.len);
    return status;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

enum vbuf_status store_init(struct store *store, size_t max_keys, size_t max_log_len)
{
    size_t buckets = 16;
    while (buckets < max_keys && buckets < MOST_BUCKETS)
        buckets *= 2;
    struct store made = {.max_keys = max_keys, .max_log_len = max_log_len, .buckets = buckets};
    made.heads = calloc(buckets, sizeof(*made.heads));
    if (made.heads == NULL)
        return VBUF_NOMEM;
    *store = made;
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
    store->heads = NULL;
}

enum vbuf_status appender_init(struct appender *appender, struct store *store, size_t max_bytes)
{
    struct vbuf_options options = {.max = max_bytes};
    *appender = (struct appender){.store = store};
    return vbuf_init(&appender->bytes, &options);
}

void appender_destroy(struct appender *appender)
{
    vbuf_destroy(&appender->bytes);
}
