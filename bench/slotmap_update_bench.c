/*
 * slotmap_update_bench.c - reading values that may be written.
 *
 *   slotmap.read        a copy of a value of an updatable map, drawn at random
 *
 * `raw` copies the first copies of the same slots, which nobody has written since; `vbuf_still` reads the same values from
 * a map that is not updatable. The locks stand around a plain_map.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "baselines.h"
#include "bench.h"
#include "random.h"

/* As an updatable map lays it out. */
struct cell_slot {
    uint32_t generation, link;
    uint64_t sequence;
    struct item copies[2];
};

static struct cell_table {
    unsigned users;
    struct cells map;
    struct items still;
    struct plain_map plain;
    cells_handle *handles; /* item i's; in the other maps the same bits: checked */
    uint64_t n;
    struct cell_slot *slots;
    struct guard guard;
} cell_table;

static void *cells_open(const struct bench_shape *shape)
{
    struct cell_table *t = &cell_table;
    if (t->users++ != 0)
        return t;
    t->n = shape->n;
    t->plain = (struct plain_map){0};
    if (cells_create(&t->map, NULL) != VBUF_OK || items_create(&t->still, NULL) != VBUF_OK)
        bench_die("cannot create a map");
    t->handles = bench_alloc(t->n * sizeof *t->handles);
    for (uint64_t i = 0; i < t->n; i++) {
        items_handle still;
        if (cells_insert(&t->map, item_at(i), &t->handles[i]) != VBUF_OK ||
            items_insert(&t->still, item_at(i), &still) != VBUF_OK)
            bench_die("cannot fill a map");
        if (plain_map_insert(&t->plain, item_at(i)) != t->handles[i].bits ||
            still.bits != t->handles[i].bits)
            bench_die("the maps give different handles");
    }
    t->slots = (struct cell_slot *)(void *)slotmap_slot_at_(t->map.map, 0, cells_slot_size_);
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->slots[(uint32_t)t->handles[i].bits].copies[0].a != item_at(i).a)
            bench_die("slots are not laid out as the baselines expect");
    }
    guard_init(&t->guard);
    return t;
}

static void cells_close(void *state)
{
    struct cell_table *t = state;
    if (--t->users != 0)
        return;
    cells_destroy(&t->map);
    items_destroy(&t->still);
    free(t->plain.slots);
    bench_free(t->handles);
    guard_destroy(&t->guard);
}

enum cell_reader { READ_VBUF, READ_STILL, READ_RAW, READ_PLAIN };

/* Copies it whole: volatile, or only the sum would be formed. */
static BENCH_INLINE uint64_t keep_item(struct item item)
{
    __asm__ volatile("" : "+r"(item.a), "+r"(item.b));
    return item.a + item.b;
}

static BENCH_INLINE uint64_t read_one(struct cell_table *t, struct cells *map, struct items *still,
                                      struct cell_slot *slots, cells_handle handle,
                                      enum cell_reader by, enum guard_kind guard)
{
    struct item item = {0, 0};
    if (by == READ_VBUF) {
        cells_read(map, handle, &item);
    } else if (by == READ_STILL) {
        items_read(still, (items_handle){handle.bits}, &item);
    } else if (by == READ_RAW) {
        item = slots[(uint32_t)handle.bits].copies[0];
    } else {
        guard_read(&t->guard, guard);
        item = *plain_map_get(&t->plain, handle.bits);
        guard_read_end(&t->guard, guard);
    }
    return keep_item(item);
}

static BENCH_INLINE uint64_t read_drawn(struct cell_table *t, unsigned thread, uint64_t ops,
                                        enum cell_reader by, enum guard_kind guard)
{
    struct cells map = t->map;
    struct items still = t->still;
    const cells_handle *handles = t->handles;
    uint64_t n = t->n, stream = bench_seed(thread), sum = 0;
    for (uint64_t i = 0; i < ops; i++)
        sum += read_one(t, &map, &still, t->slots, handles[bench_pick(&stream, n)], by, guard);
    return sum;
}

static uint64_t read_expect(void *state, unsigned thread, uint64_t ops)
{
    const struct cell_table *t = state;
    uint64_t stream = bench_seed(thread), sum = 0;
    for (uint64_t i = 0; i < ops; i++) {
        struct item item = item_at(bench_pick(&stream, t->n));
        sum += item.a + item.b;
    }
    return sum;
}

static uint64_t read_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return read_drawn(state, thread, ops, READ_VBUF, GUARD_NONE);
}

static uint64_t read_still(void *state, unsigned thread, uint64_t ops)
{
    return read_drawn(state, thread, ops, READ_STILL, GUARD_NONE);
}

static uint64_t read_raw(void *state, unsigned thread, uint64_t ops)
{
    return read_drawn(state, thread, ops, READ_RAW, GUARD_NONE);
}

static uint64_t read_mutex(void *state, unsigned thread, uint64_t ops)
{
    return read_drawn(state, thread, ops, READ_PLAIN, GUARD_MUTEX);
}

static uint64_t read_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return read_drawn(state, thread, ops, READ_PLAIN, GUARD_RWLOCK);
}

#define READ_CELLS(name, threads, work)                                                            \
    {                                                                                              \
        name, threads, cells_open, cells_close, NULL, NULL, work, read_expect, NULL, NULL          \
    }

const struct bench_case slotmap_update_cases[] = {
    {
        .name = "slotmap.read",
        .operation = "read of a random value of an updatable map, which pins by itself",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {1000, 1000000},
        .grain = 1,
        .impls = {READ_CELLS("vbuf", 0, read_vbuf), READ_CELLS("raw", 0, read_raw),
                  READ_CELLS("vbuf_still", 0, read_still), READ_CELLS("mutex", 0, read_mutex),
                  READ_CELLS("rwlock", 0, read_rwlock)},
    },
    {0},
};
