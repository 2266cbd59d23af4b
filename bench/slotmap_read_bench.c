/*
 * slotmap_read_bench.c - looking values up by handle, and walking over all of them.
 *
 *   slotmap.get         a pin per get; the handle is drawn at random inside the loop, by all alike
 *   slotmap.get_list    a pin per get; the handles come from a list in random order. Nothing is
 *                       left around the get, which makes this the harshest ratio there is
 *   slotmap.get_pinned  one pin around all gets
 *   slotmap.iterate     visit every value, under one pin
 *
 * `vbuf_reader` pins through ebr_thread_reader: the thread's record, found once instead of at every pin.
 * All implementations but the locked ones look at the same slots of the same map. `raw` indexes
 * them by the handle's index, without pin, bounds or generation; `ck_epoch` makes all of our
 * checks under a section of Concurrency Kit's. The locks stand around a plain_map.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <ck_epoch.h>

#include "baselines.h"
#include "bench.h"
#include "random.h"

/* As long as this the list is at least, so that no branch predictor learns it. */
#define LIST_MIN 4096

/* What a cell's implementations share: made by the first, destroyed by the last. */
static struct table {
    unsigned users;
    struct items map;
    struct plain_map plain;
    items_handle *handles; /* item i's, in both maps: checked */
    uint64_t n;
    items_handle *list; /* random handles */
    uint64_t list_len;
    struct plain_slot *slots; /* our slots, as raw sees them: slot i is slots[i] */
    uint32_t first;           /* the values are in slots [first, first + n) */
    struct guard guard;
    ck_epoch_t epoch BENCH_LINES;
    struct {
        ck_epoch_record_t record BENCH_LINES;
    } records[BENCH_MAX_THREADS];
} table;

/* Finds where raw may look, from two addresses, and checks that it is right for all. */
static void find_slots(struct table *t)
{
    items_pin(&t->map);
    for (uint64_t i = 0; i < t->n; i++) {
        const unsigned char *value = (const unsigned char *)items_get(&t->map, t->handles[i]);
        uint64_t index = (uint32_t)t->handles[i].bits;
        if (i == 0) {
            t->slots = (struct plain_slot *)(void *)((uintptr_t)value -
                                                     offsetof(struct plain_slot, value)) -
                       index;
            t->first = (uint32_t)index;
        }
        if (value != (const unsigned char *)&t->slots[index].value || index != t->first + i)
            bench_die("slots are not laid out as the baselines expect");
    }
    items_unpin(&t->map);
}

static void fill(struct table *t)
{
    t->handles = bench_alloc(t->n * sizeof *t->handles);
    for (uint64_t i = 0; i < t->n; i++) {
        if (items_insert(&t->map, item_at(i), &t->handles[i]) != VBUF_OK)
            bench_die("cannot fill a map");
        if (plain_map_insert(&t->plain, item_at(i)) != t->handles[i].bits)
            bench_die("the plain map gives other handles");
    }
    t->list_len = t->n > LIST_MIN ? t->n : LIST_MIN;
    t->list = bench_alloc(t->list_len * sizeof *t->list);
    uint64_t stream = bench_seed(BENCH_MAX_THREADS);
    for (uint64_t i = 0; i < t->list_len; i++)
        t->list[i] = t->handles[bench_pick(&stream, t->n)];
}

static void *table_open(const struct bench_shape *shape)
{
    struct table *t = &table;
    if (t->users++ != 0)
        return t;
    t->n = shape->n;
    t->plain = (struct plain_map){0};
    if (items_create(&t->map, NULL) != VBUF_OK)
        bench_die("cannot create a map");
    fill(t);
    find_slots(t);
    guard_init(&t->guard);
    ck_epoch_init(&t->epoch);
    for (unsigned i = 0; i < shape->threads; i++)
        ck_epoch_register(&t->epoch, &t->records[i].record, NULL);
    return t;
}

static void table_close(void *state)
{
    struct table *t = state;
    if (--t->users != 0)
        return;
    items_destroy(&t->map);
    free(t->plain.slots);
    bench_free(t->handles);
    bench_free(t->list);
    guard_destroy(&t->guard);
}

/* ---- the loops ---- */

static struct ebr_reader *own_reader(const struct table *t)
{
    struct ebr_reader *reader = ebr_thread_reader(slotmap_domain(t->map.map));
    if (reader == NULL)
        bench_die("a thread has no record");
    return reader;
}

enum reader { BY_VBUF, BY_READER, BY_VBUF_PINNED, BY_RAW, BY_CK_EPOCH, BY_PLAIN };

static BENCH_INLINE uint64_t item_sum(const struct item *item)
{
    return item != NULL ? item->a + item->b : 0;
}

static BENCH_INLINE uint64_t get_one(struct table *t, struct items *map, struct plain_slot *slots,
                                     ck_epoch_record_t *record, struct ebr_reader *reader,
                                     items_handle handle, enum reader by, enum guard_kind guard)
{
    uint64_t sum;
    switch (by) {
    case BY_READER:
        slotmap_pin_on(map->map, reader);
        sum = item_sum(items_get(map, handle));
        slotmap_unpin_on(map->map, reader);
        return sum;
    case BY_VBUF:
        items_pin(map);
        sum = item_sum(items_get(map, handle));
        items_unpin(map);
        return sum;
    case BY_VBUF_PINNED:
        return item_sum(items_get(map, handle));
    case BY_RAW:
        return slots[(uint32_t)handle.bits].value.a + slots[(uint32_t)handle.bits].value.b;
    case BY_CK_EPOCH:
        ck_epoch_begin(record, NULL);
        sum = item_sum(items_get(map, handle));
        ck_epoch_end(record, NULL);
        return sum;
    default:
        guard_read(&t->guard, guard);
        sum = item_sum(plain_map_get(&t->plain, handle.bits));
        guard_read_end(&t->guard, guard);
        return sum;
    }
}

/* Gets the value of a handle drawn at random, ops times; returns what the values add up to. */
static BENCH_INLINE uint64_t get_drawn(struct table *t, unsigned thread, uint64_t ops,
                                       enum reader by, enum guard_kind guard)
{
    struct items map = t->map;
    struct plain_slot *slots = t->slots;
    ck_epoch_record_t *record = &t->records[thread].record;
    struct ebr_reader *reader = by == BY_READER ? own_reader(t) : NULL;
    const items_handle *handles = t->handles;
    uint64_t n = t->n, stream = bench_seed(thread), sum = 0;
    if (by == BY_VBUF_PINNED)
        items_pin(&map);
    for (uint64_t i = 0; i < ops; i++)
        sum += get_one(t, &map, slots, record, reader, handles[bench_pick(&stream, n)], by, guard);
    if (by == BY_VBUF_PINNED)
        items_unpin(&map);
    return sum;
}

/* The same for the handles of the list, round and round. Threads start at different places. */
static BENCH_INLINE uint64_t get_listed(struct table *t, unsigned thread, uint64_t ops,
                                        enum reader by, enum guard_kind guard)
{
    struct items map = t->map;
    struct plain_slot *slots = t->slots;
    ck_epoch_record_t *record = &t->records[thread].record;
    struct ebr_reader *reader = by == BY_READER ? own_reader(t) : NULL;
    const items_handle *list_end = t->list + t->list_len;
    const items_handle *next = t->list + t->list_len / BENCH_MAX_THREADS * thread;
    uint64_t sum = 0;
    while (ops != 0) {
        const items_handle *end = (uint64_t)(list_end - next) < ops ? list_end : next + ops;
        ops -= (uint64_t)(end - next);
        for (; next != end; next++)
            sum += get_one(t, &map, slots, record, reader, *next, by, guard);
        next = t->list;
    }
    return sum;
}

static uint64_t get_expect(void *state, unsigned thread, uint64_t ops)
{
    const struct table *t = state;
    uint64_t stream = bench_seed(thread), sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        struct item item = item_at(bench_pick(&stream, t->n));
        sum += item.a + item.b;
    }
    return sum;
}

static uint64_t list_expect(void *state, unsigned thread, uint64_t ops)
{
    const struct table *t = state;
    uint64_t at = t->list_len / BENCH_MAX_THREADS * thread, sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        const struct item *item = plain_map_get(&t->plain, t->list[at].bits);
        sum += item->a + item->b;
        if (++at == t->list_len)
            at = 0;
    }
    return sum;
}

/* ---- its instances ---- */

static uint64_t get_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t get_reader(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_READER, GUARD_NONE);
}

static uint64_t get_vbuf_pinned(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_VBUF_PINNED, GUARD_NONE);
}

static uint64_t get_raw(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t get_ck_epoch(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_CK_EPOCH, GUARD_NONE);
}

static uint64_t get_plain(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

static uint64_t get_mutex(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_PLAIN, GUARD_MUTEX);
}

static uint64_t get_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_PLAIN, GUARD_RWLOCK);
}

static uint64_t get_ck_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return get_drawn(state, thread, ops, BY_PLAIN, GUARD_CK_RWLOCK);
}

static uint64_t list_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return get_listed(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t list_raw(void *state, unsigned thread, uint64_t ops)
{
    return get_listed(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t list_ck_epoch(void *state, unsigned thread, uint64_t ops)
{
    return get_listed(state, thread, ops, BY_CK_EPOCH, GUARD_NONE);
}

static uint64_t list_plain(void *state, unsigned thread, uint64_t ops)
{
    return get_listed(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

/* ---- walking ---- */

static uint64_t iterate_vbuf(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    struct table *t = state;
    uint64_t sum = 0;
    for (uint64_t left = ops / t->n; left != 0; left--) {
        items_pin(&t->map);
        struct slotmap_iter iter = slotmap_iter_begin(t->map.map);
        for (const struct item *item; (item = items_next(&iter, NULL)) != NULL;)
            sum += item->a + item->b;
        items_unpin(&t->map);
    }
    return sum;
}

static uint64_t iterate_raw(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    const struct table *t = state;
    uint64_t sum = 0;
    for (uint64_t left = ops / t->n; left != 0; left--) {
        const struct plain_slot *slot = t->slots + t->first, *end = slot + t->n;
        __asm__ volatile("" : "+r"(slot)); /* or the compiler walks once and multiplies */
        for (; slot != end; slot++)
            sum += slot->value.a + slot->value.b;
    }
    return sum;
}

static BENCH_INLINE uint64_t iterate_plain_map(struct table *t, uint64_t ops, enum guard_kind guard)
{
    uint64_t sum = 0;
    for (uint64_t left = ops / t->n; left != 0; left--) {
        guard_read(&t->guard, guard);
        const struct plain_slot *slots = t->plain.slots;
        __asm__ volatile("" : "+r"(slots)); /* as above */
        for (uint32_t i = 1; i < t->plain.used; i++) {
            if (slots[i].generation & 1)
                sum += slots[i].value.a + slots[i].value.b;
        }
        guard_read_end(&t->guard, guard);
    }
    return sum;
}

static uint64_t iterate_plain(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return iterate_plain_map(state, ops, GUARD_NONE);
}

static uint64_t iterate_rwlock(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    return iterate_plain_map(state, ops, GUARD_RWLOCK);
}

static uint64_t iterate_expect(void *state, unsigned thread, uint64_t ops)
{
    (void)thread;
    const struct table *t = state;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < t->n; i++)
        sum += item_at(i).a + item_at(i).b;
    return ops / t->n * sum;
}

#define READ(name, threads, work, expect)                                                          \
    {                                                                                              \
        name, threads, table_open, table_close, NULL, NULL, work, expect, NULL, NULL               \
    }

const struct bench_case slotmap_read_cases[] = {
    {
        .name = "slotmap.get",
        .operation = "get of a random value, under a pin of its own",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000, 1000000},
        .grain = 1,
        .impls = {READ("vbuf", 0, get_vbuf, get_expect), READ("raw", 0, get_raw, get_expect),
                  READ("vbuf_reader", 0, get_reader, get_expect),
                  READ("ck_epoch", 0, get_ck_epoch, get_expect),
                  READ("plain", 1, get_plain, get_expect), READ("mutex", 0, get_mutex, get_expect),
                  READ("rwlock", 0, get_rwlock, get_expect),
                  READ("ck_rwlock", BENCH_CORES, get_ck_rwlock, get_expect)},
    },
    {
        .name = "slotmap.get_list",
        .operation = "get, under a pin of its own, handles in a list in random order",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000, 1000000},
        .grain = 1,
        .impls = {READ("vbuf", 0, list_vbuf, list_expect), READ("raw", 0, list_raw, list_expect),
                  READ("ck_epoch", 0, list_ck_epoch, list_expect),
                  READ("plain", 1, list_plain, list_expect)},
    },
    {
        .name = "slotmap.get_pinned",
        .operation = "get of a random value, one pin around all",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000, 1000000},
        .grain = 1,
        .impls = {READ("vbuf", 0, get_vbuf_pinned, get_expect), READ("raw", 0, get_raw, get_expect),
                  READ("plain", 1, get_plain, get_expect)},
    },
    {
        .name = "slotmap.iterate",
        .operation = "value visited",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {100000},
        .grain = 0,
        .impls = {READ("vbuf", 0, iterate_vbuf, iterate_expect),
                  READ("raw", 0, iterate_raw, iterate_expect),
                  READ("plain", 1, iterate_plain, iterate_expect),
                  READ("rwlock", 0, iterate_rwlock, iterate_expect)},
    },
    {0},
};
