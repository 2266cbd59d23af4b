/*
 * support.c - threads, injected delays, and values that know their own content.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

__thread uint64_t stress_destroyed_here;
uint64_t stress_crews;
bool stress_ambushes;

/* ---- delays ---- */

void stress_sleep(int64_t nanoseconds)
{
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

void stress_disturb(struct check_rng *rng)
{
    uint64_t draw = stress_below(rng, 2048);
    if (draw < 16)
        sched_yield();
    else if (draw == 16)
        stress_sleep((int64_t)stress_below(rng, 100000));
}

void stress_delay_stores(struct check_rng *rng)
{
    /* Far more than the caches hold. ThreadSanitizer would see nothing anyway, and needs memory. */
    enum { LINES = STRESS_SANITIZED ? 1 << 12 : 1 << 19, STORES = 48 };
    static struct {
        struct vbuf_atomic_u64 word __attribute__((aligned(64)));
    } cold[LINES];
    for (unsigned i = 0; i < STORES; i++)
        vbuf_u64_store_relaxed(&cold[stress_below(rng, LINES)].word, i);
}

bool stress_wait(unsigned *round)
{
    if (++*round < 64)
        sched_yield();
    else
        stress_sleep(1000000);
    return *round < 64 + 10000;
}

/* ---- threads ---- */

static _Noreturn void out_of(const char *what)
{
    fprintf(stderr, "vbuf_stress: the system has no %s left\n", what);
    _Exit(2);
}

void stress_spawn(pthread_t *handle, void *(*body)(void *), void *context)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (!STRESS_SANITIZED)
        pthread_attr_setstacksize(&attributes, 256 * 1024);
    /* A thread that was just joined may still occupy the system for a moment. */
    unsigned round = 0;
    while (pthread_create(handle, &attributes, body, context) != 0) {
        if (!stress_wait(&round))
            out_of("threads");
    }
    pthread_attr_destroy(&attributes);
}

static void *run_thread(void *argument)
{
    struct stress_thread *self = argument;
    stress_ambush_begin(self->rng.state ^ 1);
    self->body(self);
    stress_ambush_end();
    return NULL;
}

void stress_crew_start(struct stress_crew *crew, unsigned count,
                       void (*body)(struct stress_thread *self), void *context)
{
    /* A case starts its crews from one thread and in one order, so the streams repeat. */
    stress_crews++;
    crew->count = count < STRESS_MAX_THREADS ? count : STRESS_MAX_THREADS;
    for (unsigned i = 0; i < crew->count; i++) {
        struct stress_thread *thread = &crew->threads[i];
        thread->id = i;
        thread->context = context;
        thread->rng = stress_stream(stress_crews << 8 | i);
        thread->body = body;
        stress_spawn(&thread->handle, run_thread, thread);
    }
}

void stress_crew_join(struct stress_crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++)
        pthread_join(crew->threads[i].handle, NULL);
}

void stress_run(unsigned count, void (*body)(struct stress_thread *self), void *context)
{
    struct stress_crew crew;
    stress_crew_start(&crew, count, body, context);
    stress_crew_join(&crew);
}

/* ---- values ---- */

static const uint64_t poison = UINT64_C(0xdeadfeeddeadfeed);

static uint64_t word_of(uint64_t id, unsigned place)
{
    uint64_t z = (id + place + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return z ^ (z >> 31);
}

void stress_value_make(struct stress_value *value, uint64_t id)
{
    value->id = id;
    for (unsigned i = 0; i < 6; i++)
        value->words[i] = word_of(id, i);
    value->end = ~id;
}

/* Not inlined: each call is a fresh look, whatever the compiler knows about the last. */
__attribute__((noinline)) bool stress_value_intact(const struct stress_value *value, uint64_t id)
{
    bool intact = value->id == id && value->end == ~id;
    for (unsigned i = 0; i < 6; i++)
        intact = intact && value->words[i] == word_of(id, i);
    vbuf_fence_light();
    return intact;
}

void stress_value_poison(struct stress_value *value)
{
    value->id = value->end = poison;
    for (unsigned i = 0; i < 6; i++)
        value->words[i] = poison;
}

/* ---- the ledger ---- */

void stress_ledger_open(struct stress_ledger *ledger, uint64_t room)
{
    ledger->lives = calloc(room, sizeof *ledger->lives);
    if (ledger->lives == NULL)
        out_of("memory");
    ledger->room = room;
    vbuf_u64_store_relaxed(&ledger->next, 0);
}

void stress_ledger_close(struct stress_ledger *ledger)
{
    free(ledger->lives);
    ledger->lives = NULL;
}

bool stress_ledger_draw(struct stress_ledger *ledger, uint64_t *id)
{
    *id = vbuf_u64_fetch_add_relaxed(&ledger->next, 1);
    return *id < ledger->room;
}

void stress_ledger_inserted(struct stress_ledger *ledger, uint64_t id)
{
    vbuf_u8_store_relaxed(&ledger->lives[id].inserted, 1);
}

void stress_ledger_wanted(struct stress_ledger *ledger, uint64_t id)
{
    vbuf_u8_store_relaxed(&ledger->lives[id].wanted, 1);
}

void stress_ledger_removed(struct stress_ledger *ledger, uint64_t id)
{
    if (vbuf_u8_fetch_add_relaxed(&ledger->lives[id].removed, 1) != 0)
        stress_fail("value %" PRIu64 " was removed twice", id);
}

void stress_ledger_destroyed(struct stress_ledger *ledger, uint64_t id)
{
    struct stress_life *life = &ledger->lives[id];
    if (vbuf_u8_fetch_add_relaxed(&life->destroyed, 1) != 0)
        stress_fail("value %" PRIu64 " was destroyed twice", id);
    if (vbuf_u8_load_relaxed(&life->wanted) == 0)
        stress_fail("value %" PRIu64 " was destroyed, and nobody had removed it", id);
}

static struct stress_sums audit(struct stress_ledger *ledger, bool ended)
{
    struct stress_sums sums = {0, 0, 0};
    uint64_t next = vbuf_u64_load_relaxed(&ledger->next);
    for (uint64_t id = 0; id < next && id < ledger->room; id++) {
        struct stress_life *life = &ledger->lives[id];
        unsigned inserted = vbuf_u8_load_relaxed(&life->inserted);
        unsigned removed = vbuf_u8_load_relaxed(&life->removed);
        unsigned destroyed = vbuf_u8_load_relaxed(&life->destroyed);
        sums.inserted += inserted;
        sums.removed += removed;
        sums.destroyed += destroyed;
        if (destroyed != (ended ? inserted : removed))
            stress_fail("value %" PRIu64 ": inserted %u, removed %u times, destroyed %u times", id,
                        inserted, removed, destroyed);
    }
    return sums;
}

struct stress_sums stress_ledger_audit(struct stress_ledger *ledger)
{
    return audit(ledger, false);
}

void stress_ledger_audit_end(struct stress_ledger *ledger)
{
    audit(ledger, true);
}

void stress_ledger_ending(struct stress_ledger *ledger)
{
    for (uint64_t id = 0; id < ledger->room; id++)
        stress_ledger_wanted(ledger, id);
}

void stress_destroy_value(void *context, void *value)
{
    struct stress_ledger *ledger = context;
    struct stress_value *own = value;
    uint64_t id = own->id;
    stress_destroyed_here++;
    if (!STRESS_CHECK(id < ledger->room && stress_value_intact(own, id),
                      "a destructor was given a value that is not whole: id %" PRIx64, id))
        return;
    stress_ledger_destroyed(ledger, id);
    stress_value_poison(own);
}

/* ---- what goes into a vector ---- */

bool stress_order_step(struct stress_order *order, uint64_t id)
{
    uint64_t turn = id & ((UINT64_C(1) << 40) - 1);
    unsigned place = (unsigned)(id >> 40) & 0xffff;
    uint64_t *next = &order->next[stress_item_writer(id)];
    if (!STRESS_CHECK(turn == *next,
                      "element %" PRIu64 " is turn %" PRIu64 " of writer %u, after %" PRIu64
                      " turns",
                      order->count, turn, stress_item_writer(id), *next))
        return false;
    if (place > 0 &&
        !STRESS_CHECK(order->count > 0 && order->last == stress_item_id(stress_item_writer(id),
                                                                        place - 1, turn - 1),
                      "element %" PRIu64 " belongs to a run and stands alone", order->count))
        return false;
    (*next)++;
    order->count++;
    order->last = id;
    return true;
}
