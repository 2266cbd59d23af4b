/*
 * memory.c - what C11 lets an atomic do.
 *
 * A view machine, as in Kang, Hur, Lahav, Vafeiadis, Dreyer, "A promising semantics for relaxed-memory
 * concurrency" (2017), without its promises: RC11, load buffering aside, which no order used here
 * is meant to allow. (An execution where a load reads a store that its own thread's later store led
 * to is not explored: `po ∪ rf` has no cycle.)
 *
 * Each location has its stores in modification order, each with a time. A thread has a view: for every
 * location the time that it must not read behind. A load may return any store at or after it, and
 * moves the view there (coherence). A store goes to the end or, rarely, in front of stores that its thread
 * does not know of. A read-modify-write reads a store and goes right behind it; nothing ever goes between.
 *
 *      mo of x:    0 ──▶ 1 ──▶ (rmw) 2      ──▶ 5          thread A's view of x: 1
 *                  ^ too old for A    ^ nothing goes here
 *
 *   release   the store carries a message: the thread's view, and its clock.
 *   acquire   the load takes over the message of the store it reads.
 *   relaxed   the load keeps the message for a later full fence. A relaxed store carries what the thread's last
 *             full fence had; a read-modify-write also carries on the message of what it reads (release
 *             sequence).
 *   full      a fence that is acquire and release, and takes and gives a view that all full fences share.
 *   light     leaves the thread's view where a heavy fence finds it; takes what heavy fences have left.
 *   heavy     is a full fence, takes what every thread has left at its last light fence, and leaves its view for
 *             the light fences to come. So for each pair of a light and a heavy fence, what came
 *             before one is seen after the other, whichever was first: less than membarrier does, and all that
 *             may be relied on, since a compiler moves accesses where no light fence stops it.
 *
 * C17's release sequences also go on through relaxed stores of the same thread; C20's do not. A program right
 * under C20 is right under C17, so that is the default, and the other an option.
 *
 * The clocks are for races on plain memory: they go with messages only, never with fences alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "seam_atomic.h"
#include "seam_fence.h"

#define TIME_STEP 4096u
#define HASH_SIZE 8192u
#define ARENA_SIZE ((size_t)256 << 20)
#define FAME_SIZE 8192u

struct store {
    uint32_t time;
    bool followed; /* by a read-modify-write */
    uint64_t value;
    const struct message *message;
    const struct message **sequences; /* C17: the part of it from each thread's release sequence */
};

struct location {
    uintptr_t address;
    uint32_t size;
    uint32_t count, room;
    struct store *stores; /* in modification order */
    struct fame *fame;
};

/* Which threads have touched a location in any run so far: one alone needs no choices. */
struct fame {
    uintptr_t address;
    uint16_t touched, written;
};

struct heap {
    struct location locations[MOST_LOCATIONS];
    struct {
        uint32_t run, index;
    } hash[HASH_SIZE];
    uint32_t run;
    struct fame fame[FAME_SIZE];
    const struct explore_scenario *fame_of;
    size_t used;
    _Alignas(16) char arena[ARENA_SIZE];
};

#define heap (engine->heap)

static void *take(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (heap->used + size > ARENA_SIZE)
        explore_fail("the explorer is out of memory: too long a run");
    void *memory = heap->arena + heap->used;
    heap->used += size;
    return memory;
}

static struct thread_memory *own(void)
{
    return &engine->memory[engine->current];
}

/* ---- views ---- */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void view_join(struct view *to, const uint32_t *times, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        to->times[i] = larger(to->times[i], times[i]);
}

static void clock_join(struct clock *to, const struct clock *from)
{
    for (unsigned i = 0; i < THREADS; i++)
        to->ticks[i] = larger(to->ticks[i], from->ticks[i]);
}

static struct message *message_of(const struct view *view, const struct clock *clock)
{
    uint32_t count = engine->locations;
    struct message *message = take(sizeof *message + count * sizeof(uint32_t));
    message->clock = *clock;
    message->count = count;
    memcpy(message->times, view->times, count * sizeof(uint32_t));
    return message;
}

static const struct message *message_join(const struct message *a, const struct message *b)
{
    if (a == NULL || b == NULL || a == b)
        return a != NULL ? a : b;
    if (a->count < b->count) {
        const struct message *c = a;
        a = b;
        b = c;
    }
    struct message *both = take(sizeof *both + a->count * sizeof(uint32_t));
    memcpy(both, a, sizeof *both + a->count * sizeof(uint32_t));
    clock_join(&both->clock, &b->clock);
    for (uint32_t i = 0; i < b->count; i++)
        both->times[i] = larger(both->times[i], b->times[i]);
    return both;
}

/* What was done before is done: later accesses of the thread are later than the messages it sent. */
static void tick(void)
{
    own()->clock.ticks[engine->current]++;
}

const struct clock *memory_clock(void)
{
    return &own()->clock;
}

/* ---- locations ---- */

static uint64_t read_memory(const void *address, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, address, size);
    return value;
}

static struct fame *fame_of(uintptr_t address)
{
    uint32_t i = (uint32_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % FAME_SIZE;
    for (uint32_t tries = 0; tries < FAME_SIZE; tries++, i = (i + 1) % FAME_SIZE) {
        if (heap->fame[i].address == address)
            return &heap->fame[i];
        if (heap->fame[i].address == 0) {
            heap->fame[i].address = address;
            return &heap->fame[i];
        }
    }
    explore_fail("the explorer has no room for more atomics");
}

static void begin_order(struct location *location, uint64_t value, uint32_t time)
{
    location->count = 1;
    location->stores[0] = (struct store){.time = time, .value = value};
}

static struct location *location_at(const void *pointer, size_t size)
{
    uintptr_t address = (uintptr_t)pointer;
    uint32_t i = (uint32_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % HASH_SIZE;
    for (; heap->hash[i].run == heap->run; i = (i + 1) % HASH_SIZE) {
        struct location *found = &heap->locations[heap->hash[i].index];
        if (found->address != address)
            continue;
        if (found->size != size)
            explore_fail("an atomic of %u bytes is used as one of %zu", found->size, size);
        return found;
    }
    if (engine->locations == MOST_LOCATIONS)
        explore_fail("the explorer has no room for more atomics in one run");
    heap->hash[i].run = heap->run;
    heap->hash[i].index = engine->locations;
    struct location *location = &heap->locations[engine->locations++];
    *location = (struct location){.address = address, .size = (uint32_t)size, .room = 8};
    location->stores = take(location->room * sizeof(struct store));
    location->fame = fame_of(address);
    begin_order(location, read_memory(pointer, size), 0);
    return location;
}

static uint32_t number_of(const struct location *location)
{
    return (uint32_t)(location - heap->locations);
}

/* An access begins: is there such memory, and was it written plainly meanwhile? */
static struct location *look_up(const void *pointer, size_t size, bool reads)
{
    plain_check_atomic(pointer, size, !reads);
    struct location *location = location_at(pointer, size);
    struct store *last = &location->stores[location->count - 1];
    uint64_t value = read_memory(pointer, size);
    if (value != last->value) /* by who had it to itself: plain_check_atomic saw no race */
        begin_order(location, value, last->time + TIME_STEP);
    return location;
}

void memory_forget(const void *address, size_t size)
{
    for (uint32_t i = 0; i < engine->locations; i++) {
        struct location *location = &heap->locations[i];
        if (location->address - (uintptr_t)address < size)
            begin_order(location, 0, location->stores[location->count - 1].time + TIME_STEP);
    }
}

static void note_access(struct location *location, bool write)
{
    if (!engine->running)
        return;
    struct fame *fame = location->fame;
    uint16_t bit = (uint16_t)(1u << engine->current);
    uint16_t touched = fame->touched | bit, written = write ? fame->written | bit : fame->written;
    bool was_shared = (fame->touched & (fame->touched - 1)) != 0 && fame->written != 0;
    bool is_shared = (touched & (touched - 1)) != 0 && written != 0;
    if (is_shared && !was_shared)
        engine->fame_grew = true;
    fame->touched = touched;
    fame->written = written;
}

static bool is_shared(const struct location *location)
{
    const struct fame *fame = location->fame;
    return (fame->touched & (fame->touched - 1)) != 0 && fame->written != 0;
}

/* What comes before every atomic access: the choice of who goes first. */
static struct location *begin_access(const void *pointer, size_t size, bool reads, bool writes)
{
    if (engine->running) {
        struct location *location = location_at(pointer, size);
        note_access(location, writes);
        step(is_shared(location));
    }
    return look_up(pointer, size, reads);
}

/* ---- reading ---- */

static bool is_acquire(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL;
}

static bool is_release(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL;
}

static void refuse_seq_cst(int order)
{
    if (order == __ATOMIC_SEQ_CST)
        explore_fail("the explorer does not know sequentially consistent accesses");
}

/* The first store that the thread may still read. */
static uint32_t oldest_readable(const struct location *location)
{
    uint32_t time = own()->now.times[number_of(location)];
    uint32_t i = location->count - 1;
    while (i > 0 && location->stores[i].time > time)
        i--;
    return i;
}

/* The store was read. */
static void take_in(const struct location *location, const struct store *store, int order)
{
    struct thread_memory *self = own();
    uint32_t number = number_of(location);
    self->now.times[number] = larger(self->now.times[number], store->time);
    if (store->message == NULL)
        return;
    struct view *view = is_acquire(order) ? &self->now : &self->pending;
    struct clock *clock = is_acquire(order) ? &self->clock : &self->pending_clock;
    view_join(view, store->message->times, store->message->count);
    clock_join(clock, &store->message->clock);
}

/* ---- writing ---- */

static struct store *insert(struct location *location, uint32_t position)
{
    if (location->count == location->room) {
        struct store *stores = take(2 * location->room * sizeof *stores);
        memcpy(stores, location->stores, location->count * sizeof *stores);
        location->stores = stores;
        location->room *= 2;
    }
    struct store *stores = location->stores;
    uint32_t before = stores[position - 1].time;
    uint32_t time = before + TIME_STEP;
    if (position < location->count)
        time = before + (stores[position].time - before) / 2;
    memmove(&stores[position + 1], &stores[position],
            (location->count - position) * sizeof *stores);
    location->count++;
    stores[position] = (struct store){.time = time};
    return &stores[position];
}

/* Whether a store may go in front of the one at `position`. */
static bool fits(const struct location *location, uint32_t position)
{
    const struct store *before = &location->stores[position - 1];
    return !before->followed && location->stores[position].time - before->time >= 2;
}

/*
 * C17's release sequences: each goes on through read-modify-writes, and its thread's own stores. So what a store
 * carries is kept apart by the thread that released it.
 */
static void carry_on_c17(struct store *store, const struct store *before, bool modifies)
{
    unsigned self = engine->current;
    store->sequences = take(THREADS * sizeof *store->sequences);
    for (unsigned i = 0; i < THREADS; i++) {
        bool goes_on = before->sequences != NULL && (modifies || i == self);
        store->sequences[i] = goes_on ? before->sequences[i] : NULL;
    }
    store->sequences[self] = message_join(store->message, store->sequences[self]);
    for (unsigned i = 0; i < THREADS; i++)
        store->message = message_join(store->message, store->sequences[i]);
}

/* Stores `value` at a place in the modification order. */
static void put(struct location *location, uint32_t position, uint64_t value, int order,
                bool modifies)
{
    struct thread_memory *self = own();
    struct store *store = insert(location, position);
    const struct store *before = store - 1;
    store->value = value;
    self->now.times[number_of(location)] = store->time;
    store->message = is_release(order) ? message_of(&self->now, &self->clock) : self->released;
    if (engine->scenario->c17_release_sequence)
        carry_on_c17(store, before, modifies);
    else if (modifies)
        store->message = message_join(store->message, before->message);
    if (is_release(order))
        tick();
    if (position + 1 == location->count)
        memcpy((void *)location->address, &value, location->size);
}

/* ---- the primitives ---- */

static const char *order_name(int order)
{
    switch (order) {
    case __ATOMIC_RELAXED:
        return "relaxed";
    case __ATOMIC_ACQUIRE:
        return "acquire";
    case __ATOMIC_RELEASE:
        return "release";
    default:
        return "acq_rel";
    }
}

#define HERE __builtin_return_address(0)

static const char *age(uint32_t index, const struct location *location)
{
    return index + 1 == location->count ? "" : "  (not the newest)";
}

uint64_t seam_load(const void *address, size_t size, int order)
{
    if (is_outside())
        return read_memory(address, size);
    refuse_seq_cst(order);
    struct location *location = begin_access(address, size, true, false);
    uint32_t newest = location->count - 1;
    uint32_t index = newest - choose(CHOICE_VALUE, location->count - oldest_readable(location));
    struct store store = location->stores[index];
    take_in(location, &store, order);
    trace(HERE, "load %s %p = %llx%s", order_name(order), address, (unsigned long long)store.value,
          age(index, location));
    return store.value;
}

/* The places where a store by this thread may go, from the end: 0 is the end. */
static uint32_t choose_place(const struct location *location)
{
    uint32_t places[16], count = 1;
    places[0] = location->count;
    for (uint32_t i = location->count - 1; i > oldest_readable(location) && count < 16; i--) {
        if (fits(location, i))
            places[count++] = i;
    }
    return places[choose(CHOICE_PLACE, count)];
}

void seam_store(void *address, size_t size, uint64_t value, int order)
{
    if (is_outside()) {
        memcpy(address, &value, size);
        return;
    }
    refuse_seq_cst(order);
    struct location *location = begin_access(address, size, false, true);
    uint32_t position = choose_place(location);
    const char *place = position == location->count ? "" : "  (in front of newer ones)";
    trace(HERE, "store %s %p = %llx%s", order_name(order), address, (unsigned long long)value,
          place);
    put(location, position, value, order, false);
}

/* Which store a read-modify-write reads: one that no other follows. */
static uint32_t choose_read(const struct location *location)
{
    uint32_t reads[16], count = 1;
    reads[0] = location->count - 1;
    for (uint32_t i = location->count - 1; i-- > oldest_readable(location) && count < 16;) {
        if (fits(location, i + 1))
            reads[count++] = i;
    }
    return reads[choose(CHOICE_PLACE, count)];
}

static void modify(struct location *location, uint32_t index, uint64_t value, int order)
{
    struct store read = location->stores[index];
    plain_check_atomic((void *)location->address, location->size, true);
    take_in(location, &read, order);
    location->stores[index].followed = true;
    put(location, index + 1, value, order, true);
}

static uint64_t cut_to(uint64_t value, size_t size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << size * 8) - 1);
}

uint64_t seam_fetch_add(void *address, size_t size, uint64_t value, int order)
{
    if (is_outside()) {
        uint64_t old = read_memory(address, size), sum = old + value;
        memcpy(address, &sum, size);
        return old;
    }
    refuse_seq_cst(order);
    struct location *location = begin_access(address, size, true, true);
    uint32_t index = choose_read(location);
    uint64_t old = location->stores[index].value, sum = cut_to(old + value, size);
    trace(HERE, "add %s %p: %llx to %llx%s", order_name(order), address, (unsigned long long)old,
          (unsigned long long)sum, age(index, location));
    modify(location, index, sum, order);
    return old;
}

uint64_t seam_exchange(void *address, size_t size, uint64_t value, int order)
{
    if (is_outside()) {
        uint64_t old = read_memory(address, size);
        memcpy(address, &value, size);
        return old;
    }
    refuse_seq_cst(order);
    struct location *location = begin_access(address, size, true, true);
    uint32_t index = choose_read(location);
    uint64_t old = location->stores[index].value;
    trace(HERE, "exchange %s %p: %llx for %llx%s", order_name(order), address,
          (unsigned long long)old, (unsigned long long)value, age(index, location));
    modify(location, index, value, order);
    return old;
}

bool seam_cas(void *address, size_t size, void *expected, uint64_t value, int order)
{
    uint64_t want = read_memory(expected, size);
    if (is_outside()) {
        uint64_t old = read_memory(address, size);
        memcpy(old == want ? address : expected, old == want ? &value : &old, size);
        return old == want;
    }
    refuse_seq_cst(order);
    struct location *location = begin_access(address, size, true, true);
    /* It reads the newest; or an older one, and then fails, or goes behind that if nothing else does. */
    uint32_t reads[16], count = 1, newest = location->count - 1;
    reads[0] = newest;
    for (uint32_t i = newest; i-- > oldest_readable(location) && count < 16;) {
        if (location->stores[i].value != want || fits(location, i + 1))
            reads[count++] = i;
    }
    uint32_t index = reads[choose(CHOICE_VALUE, count)];
    struct store read = location->stores[index];
    if (read.value != want) {
        trace(HERE, "cas fails %p: %llx, not %llx%s", address, (unsigned long long)read.value,
              (unsigned long long)want, age(index, location));
        take_in(location, &read, __ATOMIC_ACQUIRE);
        memcpy(expected, &read.value, size);
        return false;
    }
    trace(HERE, "cas %s %p: %llx to %llx%s", order_name(order), address, (unsigned long long)want,
          (unsigned long long)value, age(index, location));
    modify(location, index, value, order);
    return true;
}

/* ---- fences ---- */

static void fence_full(void)
{
    struct thread_memory *self = own();
    uint32_t count = engine->locations;
    view_join(&self->now, self->pending.times, count);
    clock_join(&self->clock, &self->pending_clock);
    view_join(&self->now, engine->sequential.times, count);
    memcpy(engine->sequential.times, self->now.times, count * sizeof(uint32_t));
    self->released = message_of(&self->now, &self->clock);
    tick();
}

void seam_fence_full(void)
{
    if (is_outside())
        return;
    step(true);
    trace(HERE, "full fence");
    fence_full();
}

void seam_fence_light(void)
{
    if (is_outside())
        return;
    step(true);
    trace(HERE, "light fence");
    struct thread_memory *self = own();
    view_join(&self->now, engine->heavy.times, engine->locations);
    self->light = message_of(&self->now, &self->clock);
}

void memory_heavy_fence(void)
{
    struct thread_memory *self = own();
    fence_full();
    for (unsigned i = 0; i < THREADS; i++) {
        const struct message *light = engine->memory[i].light;
        if (light != NULL)
            view_join(&self->now, light->times, light->count);
    }
    view_join(&self->now, engine->heavy.times, engine->locations);
    memcpy(engine->heavy.times, self->now.times, engine->locations * sizeof(uint32_t));
    fence_full();
}

/* ---- runs ---- */

void memory_start(void)
{
    heap = calloc(1, sizeof *heap);
    if (heap == NULL)
        abort();
}

void memory_begin_run(void)
{
    if (heap->fame_of != engine->scenario) {
        memset(heap->fame, 0, sizeof heap->fame);
        heap->fame_of = engine->scenario;
    }
    uint32_t count = engine->locations;
    for (unsigned i = 0; i < THREADS; i++) {
        struct thread_memory *thread = &engine->memory[i];
        memset(thread->now.times, 0, count * sizeof(uint32_t));
        memset(thread->pending.times, 0, count * sizeof(uint32_t));
        memset(&thread->clock, 0, sizeof thread->clock);
        memset(&thread->pending_clock, 0, sizeof thread->pending_clock);
        thread->clock.ticks[i] = 1;
        thread->released = thread->light = NULL;
    }
    memset(engine->sequential.times, 0, count * sizeof(uint32_t));
    memset(engine->heavy.times, 0, count * sizeof(uint32_t));
    engine->locations = 0;
    heap->used = 0;
    heap->run++;
}

void memory_start_threads(unsigned count)
{
    const struct thread_memory *from = &engine->memory[0];
    for (unsigned i = 1; i <= count; i++) {
        struct thread_memory *to = &engine->memory[i];
        view_join(&to->now, from->now.times, engine->locations);
        clock_join(&to->clock, &from->clock);
    }
    engine->memory[0].clock.ticks[0]++;
}

void memory_join_threads(unsigned count)
{
    struct thread_memory *to = own();
    for (unsigned i = 1; i <= count; i++) {
        view_join(&to->now, engine->memory[i].now.times, engine->locations);
        clock_join(&to->clock, &engine->memory[i].clock);
    }
    /* What nobody has read is there all the same: joining waits for the stores too. */
    for (uint32_t i = 0; i < engine->locations; i++)
        to->now.times[i] = heap->locations[i].stores[heap->locations[i].count - 1].time;
}
