/*
 * ebr_objects.c - E1 and E3: what is retired is reclaimed once, after every pin that could see it.
 *
 * A board of pointers that writers swap, and a stack that is popped by a plain CAS, which is only
 * right because a popped node comes back no sooner than every pin has ended. Readers hold short,
 * nested and renewed pins; some threads exit pinned; once with records for all, once with fewer
 * records than threads. Reclaiming poisons and frees: AddressSanitizer sees a late look, and so
 * does the object itself.
 *
 * The last part is for the heavy barrier alone. A reader fills its processor's store buffer before
 * each pin, so that the pin's store becomes visible late, while a writer swaps, retires and
 * collects as fast as it can. Without the barrier the writer overtakes the pin.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

enum { BOARD = 16, MOST_WAITING = 20000 };

struct object {
    struct ebr_entry entry;
    struct ebr_entry second; /* some are retired twice over: reclaim may retire */
    struct object_run *run;
    struct object *next; /* in the stack */
    bool twice;
    struct stress_value value;
};

struct object_run {
    struct ebr_domain *domain;
    bool few; /* fewer records than threads */
    struct vbuf_atomic_pointer board[BOARD];
    struct vbuf_atomic_pointer stack;
    struct vbuf_atomic_u64 serial;
    struct vbuf_atomic_u64 made;
    struct vbuf_atomic_u64 freed;
    struct vbuf_atomic_u64 pushed; /* sums of ids */
    struct vbuf_atomic_u64 popped;
};

static __thread uint64_t reclaimed_here;

static void finish(struct object *object)
{
    struct object_run *run = object->run;
    STRESS_CHECK(stress_value_intact(&object->value, object->value.id),
                 "object %" PRIx64 " is reclaimed and not whole: twice?", object->value.id);
    stress_value_poison(&object->value);
    vbuf_u64_fetch_add_relaxed(&run->freed, 1);
    free(object);
}

static void reclaim_second(struct ebr_entry *entry)
{
    reclaimed_here++;
    finish((struct object *)(void *)((char *)entry - offsetof(struct object, second)));
}

static void reclaim(struct ebr_entry *entry)
{
    struct object *object = (struct object *)(void *)entry;
    reclaimed_here++;
    if (object->twice)
        ebr_retire(object->run->domain, &object->second, reclaim_second);
    else
        finish(object);
}

static struct object *make_object(struct object_run *run)
{
    struct object *object = calloc(1, sizeof *object);
    if (object == NULL)
        abort();
    object->run = run;
    uint64_t id = vbuf_u64_fetch_add_relaxed(&run->serial, 1) + 1;
    object->twice = id % 16 == 0;
    stress_value_make(&object->value, id);
    vbuf_u64_fetch_add_relaxed(&run->made, 1);
    return object;
}

static void retire(struct object_run *run, struct object *object)
{
    uint64_t before = reclaimed_here;
    ebr_retire(run->domain, &object->entry, reclaim);
    STRESS_CHECK(reclaimed_here - before <= 128, "one retire ran %" PRIu64 " reclaim functions",
                 reclaimed_here - before);
}

/* Too many wait for stalled pins: memory is finite here. */
static bool too_many(struct object_run *run)
{
    return vbuf_u64_load_relaxed(&run->made) - vbuf_u64_load_relaxed(&run->freed) > MOST_WAITING;
}

static struct object *swap(struct object_run *run, struct check_rng *rng)
{
    struct object *object = make_object(run);
    /* Release: the object is whole before it can be found; pairs with the load in look. */
    return vbuf_pointer_exchange_acq_rel(&run->board[stress_below(rng, BOARD)], object);
}

/* Takes an object off the board and looks at it; the caller is pinned. */
static void look(struct object_run *run, struct check_rng *rng, unsigned looks)
{
    struct object *object = vbuf_pointer_load_acquire(&run->board[stress_below(rng, BOARD)]);
    uint64_t id = object->value.id;
    for (unsigned i = 0; i < looks; i++) {
        if (!STRESS_CHECK(stress_value_intact(&object->value, id),
                          "object %" PRIx64 " changed under a pin", id))
            return;
        stress_disturb(rng);
    }
}

/* ---- roles ---- */

static void do_swap(struct object_run *run, struct check_rng *rng)
{
    if (too_many(run)) {
        ebr_collect(run->domain);
        sched_yield();
        return;
    }
    bool pinned = stress_chance(rng, 4);
    if (pinned)
        ebr_pin(run->domain);
    struct object *old = swap(run, rng);
    uint64_t id = old->value.id;
    retire(run, old);
    if (pinned) { /* what a pinned thread retires stays for as long */
        STRESS_CHECK(stress_value_intact(&old->value, id),
                     "object %" PRIx64 " was reclaimed under its retirer's pin", id);
        ebr_unpin(run->domain);
    }
    if (stress_chance(rng, 64))
        ebr_collect(run->domain);
}

/* Waits for the readers itself, and then needs nobody's permission. */
static void do_synchronize(struct object_run *run, struct check_rng *rng)
{
    struct object *old = swap(run, rng);
    enum vbuf_status status = ebr_synchronize(run->domain);
    STRESS_CHECK(status == VBUF_OK, "synchronize says %s", vbuf_status_string(status));
    finish(old);
    stress_sleep(200000);
}

static struct object *hold(struct object_run *run, struct check_rng *rng, uint64_t *id)
{
    struct object *object = vbuf_pointer_load_acquire(&run->board[stress_below(rng, BOARD)]);
    *id = object->value.id;
    return object;
}

static void do_read(struct object_run *run, struct check_rng *rng)
{
    uint64_t id;
    ebr_pin(run->domain);
    struct object *held = hold(run, rng, &id);
    look(run, rng, 2);
    for (uint64_t i = stress_below(rng, 8); i > 0; i--) {
        ebr_pin(run->domain);
        look(run, rng, 4);
        ebr_repin(run->domain); /* nested: must change nothing */
        stress_disturb(rng);
        ebr_unpin(run->domain);
        STRESS_CHECK(stress_value_intact(&held->value, id),
                     "object %" PRIx64 " changed under an outer pin", id);
    }
    ebr_unpin(run->domain);
}

/* An event loop: pinned for ever, renewed once a turn. */
static void do_repin(struct object_run *run, struct check_rng *rng)
{
    ebr_pin(run->domain);
    for (unsigned i = 0; i < 64 && !stress_failed(); i++) {
        look(run, rng, 3);
        ebr_repin(run->domain);
    }
    ebr_unpin(run->domain);
}

static void do_push(struct object_run *run)
{
    struct object *object = make_object(run);
    vbuf_u64_fetch_add_relaxed(&run->pushed, object->value.id);
    void *top = vbuf_pointer_load_relaxed(&run->stack); /* the CAS decides */
    do {
        object->next = top;
        /* Release: pairs with the acquire in do_pop. */
    } while (!vbuf_pointer_cas_acq_rel(&run->stack, &top, object));
}

static bool do_pop(struct object_run *run, struct check_rng *rng)
{
    ebr_pin(run->domain);
    struct object *top = vbuf_pointer_load_acquire(&run->stack);
    void *seen;
    do {
        if (top == NULL)
            break;
        struct object *next = top->next;
        stress_disturb(rng); /* the moment in which a reused node would be mistaken */
        seen = top;
        if (vbuf_pointer_cas_acq_rel(&run->stack, &seen, next))
            break;
        top = seen;
    } while (true);
    if (top != NULL) {
        STRESS_CHECK(stress_value_intact(&top->value, top->value.id),
                     "popped %" PRIx64 " is not whole", top->value.id);
        vbuf_u64_fetch_add_relaxed(&run->popped, top->value.id);
        retire(run, top);
    }
    ebr_unpin(run->domain);
    return top != NULL;
}

static void do_stack(struct object_run *run, struct check_rng *rng)
{
    if (too_many(run))
        sched_yield();
    else if (stress_chance(rng, 2))
        do_push(run);
    else
        do_pop(run, rng);
}

struct visitor {
    struct object_run *run;
    struct check_rng rng;
};

/* Comes, does a little of everything, and exits, perhaps pinned. */
static void *visit(void *context)
{
    struct visitor *self = context;
    struct object_run *run = self->run;
    for (unsigned i = 0; i < 8; i++) {
        do_read(run, &self->rng);
        do_stack(run, &self->rng);
        do_swap(run, &self->rng);
    }
    /* With a record, exit ends its pins. */
    if (stress_chance(&self->rng, 2) && ebr_attach(run->domain) == VBUF_OK) {
        ebr_pin(run->domain);
        look(run, &self->rng, 1);
    }
    return NULL;
}

static void do_visits(struct object_run *run, struct check_rng *rng)
{
    enum { VISITORS = 4 };
    struct visitor visitors[VISITORS];
    pthread_t handles[VISITORS];
    for (unsigned i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){run, {check_rng_next(rng)}};
        stress_spawn(&handles[i], visit, &visitors[i]);
    }
    for (unsigned i = 0; i < VISITORS; i++)
        pthread_join(handles[i], NULL);
}

static void do_role(struct stress_thread *self)
{
    struct object_run *run = self->context;
    while (stress_going()) {
        for (unsigned i = 0; i < 16; i++) {
            switch (self->id % 8) {
            case 0:
            case 6:
                do_swap(run, &self->rng);
                break;
            case 2:
            case 7:
                do_stack(run, &self->rng);
                break;
            case 3:
                do_repin(run, &self->rng);
                break;
            case 4:
                do_synchronize(run, &self->rng);
                break;
            case 5:
                do_visits(run, &self->rng);
                break;
            default:
                do_read(run, &self->rng);
            }
            if (!stress_going())
                break;
        }
        stress_count(16);
    }
}

/* ---- a run ---- */

static bool open_run(struct object_run *run, uint32_t max_threads)
{
    struct ebr_options options = {.max_threads = max_threads};
    *run = (struct object_run){.few = max_threads != 0};
    if (!STRESS_CHECK(ebr_domain_create(&run->domain, &options) == VBUF_OK, "create"))
        return false;
    for (unsigned i = 0; i < BOARD; i++)
        vbuf_pointer_store_release(&run->board[i], make_object(run));
    return true;
}

static void close_run(struct object_run *run)
{
    struct check_rng rng = stress_stream(9);
    while (do_pop(run, &rng)) {
    }
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->pushed) == vbuf_u64_load_relaxed(&run->popped),
                 "what came off the stack is not what went on");
    for (unsigned i = 0; i < BOARD; i++)
        retire(run, vbuf_pointer_exchange_acq_rel(&run->board[i], NULL));
    /* Each round takes what the one before retired. */
    for (unsigned i = 0; i < 4; i++)
        ebr_collect(run->domain);
    struct ebr_report stats;
    ebr_stats(run->domain, &stats);
    STRESS_CHECK(stats.retired == stats.reclaimed,
                 "%" PRIu64 " retired, %" PRIu64 " reclaimed, and nobody is here", stats.retired,
                 stats.reclaimed);
    STRESS_CHECK(stats.overflow_pins == 0 && stats.threads <= 1,
                 "%" PRIu32 " threads and %" PRIu32 " shared pins are left of those that exited",
                 stats.threads, stats.overflow_pins);
    STRESS_CHECK(stats.fence == vbuf_fence_kind(), "the domain does not use the process's fence");
    STRESS_CHECK(ebr_domain_destroy(run->domain) == VBUF_OK, "somebody is still pinned");
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->made) == vbuf_u64_load_relaxed(&run->freed),
                 "%" PRIu64 " made, %" PRIu64 " freed", vbuf_u64_load_relaxed(&run->made),
                 vbuf_u64_load_relaxed(&run->freed));
    stress_note("%.2f M reclaimed in %" PRIu64 " epochs",
                (double)vbuf_u64_load_relaxed(&run->freed) / 1e6, stats.advances);
}

static void part_roles(uint32_t max_threads, double share)
{
    static struct object_run run;
    if (!open_run(&run, max_threads))
        return;
    stress_part(share);
    stress_run(stress_threads(8, 2), do_role, &run);
    close_run(&run);
}

/* ---- the late store ---- */

static void pin_late(struct stress_thread *self)
{
    struct object_run *run = self->context;
    while (stress_going()) {
        for (unsigned i = 0; i < 256; i++) {
            stress_delay_stores(&self->rng);
            ebr_pin(run->domain);
            struct object *object = vbuf_pointer_load_acquire(&run->board[0]);
            uint64_t id = object->value.id;
            for (unsigned j = 0; j < 16; j++) {
                if (!STRESS_CHECK(stress_value_intact(&object->value, id),
                                  "object %" PRIx64 " changed under a pin whose store came late",
                                  id))
                    break;
            }
            ebr_unpin(run->domain);
        }
        stress_count(256);
    }
}

static void swap_at_once(struct stress_thread *self)
{
    struct object_run *run = self->context;
    while (stress_going()) {
        for (unsigned i = 0; i < 256; i++) {
            struct object *object = make_object(run);
            object->twice = false;
            retire(run, vbuf_pointer_exchange_acq_rel(&run->board[0], object));
            ebr_collect(run->domain);
        }
        stress_count(256);
    }
}

static void part_late_store(double share)
{
    static struct object_run run;
    static struct stress_crew swapping;
    if (!open_run(&run, 0))
        return;
    stress_part(share);
    stress_ambushes = false; /* both must run all the time, side by side */
    stress_crew_start(&swapping, 1, swap_at_once, &run);
    stress_run(1, pin_late, &run);
    stress_crew_join(&swapping);
    close_run(&run);
}

void stress_ebr_objects(void)
{
    part_roles(0, 0.4);
    if (!stress_failed())
        part_roles(3, 0.3);
    if (!stress_failed())
        part_late_store(0.3);
}
