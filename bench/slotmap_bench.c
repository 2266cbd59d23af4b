/*
 * slotmap_bench.c - inserting and churning.
 *
 *   slotmap.insert   n values, on slots used before; the removals between laps are not timed
 *   slotmap.churn    every thread has 1,000 live values of its own: remove the oldest, insert one
 *
 * `raw` writes to slots of the same layout without looking for a free one, without generations to
 * check and without anybody else: the stores that an insert and a remove cannot do without. `plain_cas` is `plain`,
 * whose remove makes the one compare-and-swap that decides between racing removes, and nothing else.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "baselines.h"
#include "bench.h"

#define WINDOW 1000

enum changer { BY_VBUF, BY_RAW, BY_PLAIN, BY_PLAIN_CAS };

/* What a thread has inserted, oldest at `oldest` where it is a window. */
struct hand {
    uint64_t *handles;
    uint64_t count;
    uint64_t oldest;
} BENCH_LINES;

struct state {
    struct bench_shape shape;
    uint64_t per_thread; /* handles a hand holds */
    struct items map;
    struct plain_slot *slots; /* raw: thread t's begin at t * per_thread */
    struct guard guard BENCH_LINES;
    struct plain_map plain BENCH_LINES;
    struct hand hands[BENCH_MAX_THREADS];
};

static struct item item_of(uint64_t i)
{
    return (struct item){i, ~i};
}

/* ---- state ---- */

static struct state *state_create(const struct bench_shape *shape, uint64_t per_thread)
{
    struct state *s = bench_alloc(sizeof *s);
    s->shape = *shape;
    s->per_thread = per_thread;
    guard_init(&s->guard);
    for (unsigned t = 0; t < shape->threads; t++)
        s->hands[t].handles = bench_alloc(per_thread * sizeof(uint64_t));
    return s;
}

static void *with_map(struct state *s)
{
    if (items_create(&s->map, NULL) != VBUF_OK)
        bench_die("cannot create a map");
    return s;
}

static void *with_slots(struct state *s)
{
    s->slots = bench_alloc(s->per_thread * s->shape.threads * sizeof *s->slots);
    return s;
}

static void state_destroy(void *state)
{
    struct state *s = state;
    if (s->map.map != NULL)
        items_destroy(&s->map);
    bench_free(s->slots);
    free(s->plain.slots);
    for (unsigned t = 0; t < s->shape.threads; t++)
        bench_free(s->hands[t].handles);
    guard_destroy(&s->guard);
    bench_free(s);
}

/* Whether the map holds as many values as the hands say. */
static bool len_is_right(const struct state *s)
{
    uint64_t expected = 0;
    for (unsigned t = 0; t < s->shape.threads; t++)
        expected += s->hands[t].count;
    if (s->slots != NULL)
        return true; /* raw counts nothing */
    return (s->map.map != NULL ? slotmap_len(s->map.map) : s->plain.len) == expected;
}

/* ---- one insert, one remove ---- */

static BENCH_INLINE bool insert_one(struct state *s, struct items *map, struct plain_slot *slot,
                                    uint64_t number, uint64_t *handle, enum changer by,
                                    enum guard_kind guard)
{
    if (by == BY_VBUF) {
        items_handle typed;
        if (VBUF_UNLIKELY(items_insert(map, item_of(number), &typed) != VBUF_OK))
            return false;
        *handle = typed.bits;
    } else if (by == BY_RAW) {
        slot->value = item_of(number);
        slot->generation++;
        *handle = (uint64_t)slot->generation << 32 | number;
    } else {
        guard_write(&s->guard, guard);
        *handle = plain_map_insert(&s->plain, item_of(number));
        guard_write_end(&s->guard, guard);
    }
    return true;
}

static BENCH_INLINE bool remove_one(struct state *s, struct items *map, struct plain_slot *slot,
                                    uint64_t handle, enum changer by, enum guard_kind guard)
{
    if (by == BY_VBUF) {
        items_handle typed = {handle};
        return items_remove(map, typed) == VBUF_OK;
    }
    if (by == BY_RAW) {
        slot->generation++;
        return true;
    }
    if (by == BY_PLAIN_CAS)
        return plain_map_remove_cas(&s->plain, handle);
    guard_write(&s->guard, guard);
    bool removed = plain_map_remove(&s->plain, handle);
    guard_write_end(&s->guard, guard);
    return removed;
}

static uint64_t all_expect(void *state, unsigned thread, uint64_t ops)
{
    (void)state;
    (void)thread;
    return ops;
}

static bool len_check(void *state, uint64_t ops, uint64_t sum)
{
    return ops == sum && len_is_right(state);
}

/* ---- insert ---- */

static void *insert_create(const struct bench_shape *shape)
{
    return state_create(shape, shape->n / shape->threads + 1);
}

static void *insert_create_vbuf(const struct bench_shape *shape)
{
    return with_map(insert_create(shape));
}

static void *insert_create_raw(const struct bench_shape *shape)
{
    return with_slots(insert_create(shape));
}

/* Each thread removes what it inserted, so that it has slots to insert into; the last one first. */
static void empty_hand_vbuf(void *state, unsigned thread)
{
    struct state *s = state;
    struct hand *hand = &s->hands[thread];
    while (hand->count != 0) {
        items_handle handle = {hand->handles[--hand->count]};
        if (items_remove(&s->map, handle) != VBUF_OK)
            bench_die("a value is gone");
    }
    slotmap_collect(s->map.map);
}

static void empty_hands_plain(void *state)
{
    struct state *s = state;
    for (unsigned t = 0; t < s->shape.threads; t++) {
        struct hand *hand = &s->hands[t];
        while (hand->count != 0) {
            if (!plain_map_remove(&s->plain, hand->handles[--hand->count]))
                bench_die("a value is gone");
        }
    }
}

/* Returns how many inserts went well. */
static BENCH_INLINE uint64_t insert_all(struct state *s, unsigned thread, uint64_t ops,
                                        enum changer by, enum guard_kind guard)
{
    struct items map = s->map;
    struct hand *hand = &s->hands[thread];
    struct plain_slot *slots = by == BY_RAW ? s->slots + thread * s->per_thread : NULL;
    uint64_t *handles = hand->handles, done = 0;
    while (done < ops) {
        struct plain_slot *slot = by == BY_RAW ? slots + done : NULL;
        if (!insert_one(s, &map, slot, done, &handles[done], by, guard))
            break;
        done++;
    }
    hand->count = done;
    return done;
}

static uint64_t insert_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return insert_all(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t insert_raw(void *state, unsigned thread, uint64_t ops)
{
    return insert_all(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t insert_plain(void *state, unsigned thread, uint64_t ops)
{
    return insert_all(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

static uint64_t insert_mutex(void *state, unsigned thread, uint64_t ops)
{
    return insert_all(state, thread, ops, BY_PLAIN, GUARD_MUTEX);
}

static uint64_t insert_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return insert_all(state, thread, ops, BY_PLAIN, GUARD_RWLOCK);
}

/* ---- churn ---- */

static void *churn_create(const struct bench_shape *shape)
{
    return state_create(shape, WINDOW);
}

static void *churn_create_vbuf(const struct bench_shape *shape)
{
    return with_map(churn_create(shape));
}

static void *churn_create_raw(const struct bench_shape *shape)
{
    return with_slots(churn_create(shape));
}

/* Each thread fills its own window, once. */
static void fill_window(void *state, unsigned thread)
{
    struct state *s = state;
    struct hand *hand = &s->hands[thread];
    enum changer by = s->map.map != NULL ? BY_VBUF : s->slots != NULL ? BY_RAW : BY_PLAIN;
    while (hand->count < WINDOW) {
        struct plain_slot *slot = by == BY_RAW ? s->slots + thread * WINDOW + hand->count : NULL;
        if (!insert_one(s, &s->map, slot, hand->count, &hand->handles[hand->count], by,
                        GUARD_MUTEX))
            bench_die("cannot fill a window");
        hand->count++;
    }
}

/* Returns how many removes and inserts went well, both. */
static BENCH_INLINE uint64_t churn_all(struct state *s, unsigned thread, uint64_t ops,
                                       enum changer by, enum guard_kind guard)
{
    struct items map = s->map;
    struct hand *hand = &s->hands[thread];
    struct plain_slot *slots = by == BY_RAW ? s->slots + thread * WINDOW : NULL;
    uint64_t *handles = hand->handles, oldest = hand->oldest, good = 0;
    for (uint64_t i = 0; i < ops; i++) {
        struct plain_slot *slot = by == BY_RAW ? slots + oldest : NULL;
        bool removed = remove_one(s, &map, slot, handles[oldest], by, guard);
        bool inserted = insert_one(s, &map, slot, i, &handles[oldest], by, guard);
        good += removed && inserted;
        if (++oldest == WINDOW)
            oldest = 0;
    }
    hand->oldest = oldest;
    return good;
}

static uint64_t churn_vbuf(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_VBUF, GUARD_NONE);
}

static uint64_t churn_raw(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_RAW, GUARD_NONE);
}

static uint64_t churn_plain(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_PLAIN, GUARD_NONE);
}

static uint64_t churn_plain_cas(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_PLAIN_CAS, GUARD_NONE);
}

static uint64_t churn_mutex(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_PLAIN, GUARD_MUTEX);
}

static uint64_t churn_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_PLAIN, GUARD_RWLOCK);
}

static uint64_t churn_ck_rwlock(void *state, unsigned thread, uint64_t ops)
{
    return churn_all(state, thread, ops, BY_PLAIN, GUARD_CK_RWLOCK);
}

#define INSERT(name, threads, create, prepare, prepare_thread, work)                               \
    {                                                                                              \
        name, threads, create, state_destroy, prepare, prepare_thread, work, all_expect,           \
            len_check, NULL                                                                        \
    }
#define CHURN(name, threads, create, work)                                                         \
    {                                                                                              \
        name, threads, create, state_destroy, NULL, fill_window, work, all_expect, len_check, NULL \
    }

const struct bench_case slotmap_cases[] = {
    {
        .name = "slotmap.insert",
        .operation = "insert",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {250000},
        .lap_is_n = true,
        .grain = 1,
        .impls = {INSERT("vbuf", 0, insert_create_vbuf, NULL, empty_hand_vbuf, insert_vbuf),
                  INSERT("raw", 0, insert_create_raw, NULL, NULL, insert_raw),
                  INSERT("plain", 1, insert_create, empty_hands_plain, NULL, insert_plain),
                  INSERT("mutex", 0, insert_create, empty_hands_plain, NULL, insert_mutex),
                  INSERT("rwlock", 0, insert_create, empty_hands_plain, NULL, insert_rwlock)},
    },
    {
        .name = "slotmap.churn",
        .operation = "remove of the oldest and insert, 1,000 live values a thread",
        .unit = "ns",
        .memory = "warmed",
        .sizes = {WINDOW},
        .grain = 1,
        .impls = {CHURN("vbuf", 0, churn_create_vbuf, churn_vbuf),
                  CHURN("raw", 0, churn_create_raw, churn_raw),
                  CHURN("plain", 1, churn_create, churn_plain),
                  CHURN("plain_cas", 1, churn_create, churn_plain_cas),
                  CHURN("mutex", 0, churn_create, churn_mutex),
                  CHURN("rwlock", 0, churn_create, churn_rwlock),
                  CHURN("ck_rwlock", BENCH_CORES, churn_create, churn_ck_rwlock)},
    },
    {0},
};
