/*
 * entities.c - a table of entities that many threads spawn, despawn, update, and refer to each other by handle.
 *
 *     entities [SECONDS]        one second by default
 *
 * Each worker drives the entities it has spawned: it reads an entity, follows its references to a parent and to a
 * target, hits the target, moves, and writes the entity back. Anybody may despawn anybody: who has been hit often
 * enough goes, whoever drives it. So references go stale all the time, and slots are reused at once; a stale one must be
 * refused, and never lead to who lives in the slot now.
 *
 * What is hit is counted in a side array, by the slot's index, under a pin: as long as we are pinned, the slot that we
 * have found is not reused, so the hit cannot go to a newcomer. The destructor takes the count, when nobody
 * can be pinned there any more. So at the end all must add up: what was written is what the destructors found,
 * and each hit was somebody's. Exit status: 0 iff it does.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <inttypes.h>
#include <pthread.h>
#include <slotmap/slotmap.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    WORKERS = 4,
    DRIVEN = 500,      /* entities that a worker drives */
    NOTICES = 1024,    /* places where entities are to be found */
    FATAL = 3,         /* hits */
    MAX_LEN = 4096,    /* of which WORKERS * DRIVEN are used at most */
    MAX_LIMBO = 65536, /* removed entities that may wait for a pinned thread */
    MAX_INDEX =
        1 << 18 /* more slots than a map of such limits makes; untouched ones cost nothing */
};

/* Who is meant: the handle finds it, the serial number proves that it is the same. */
struct reference {
    slotmap_handle handle;
    uint64_t serial;
};

struct entity {
    uint64_t serial; /* unique, from 1 */
    struct reference parent, target;
    int64_t x, y;
    uint64_t moves;
};

/* Figures that must agree at the end. Relaxed, all of them: they are compared when everybody has gone. */
struct totals {
    atomic_ullong spawned, despawned, destroyed;
    atomic_ullong moved, moved_found; /* by workers; by destructors */
    atomic_ullong hits, hits_found;
    atomic_ullong followed, stale;
    atomic_ullong wrong; /* never */
    atomic_ullong busy;  /* inserts that were refused, because too many removed entities waited */
};

static struct {
    struct slotmap *entities; /* of struct entity; updatable */
    struct totals totals;
    atomic_ullong serials;
    atomic_bool over;
    /* By slot index: hits that the entity there has taken. */
    atomic_uint hits[MAX_INDEX];
    /* References for everybody: each is two words that need not belong together, so both are checked. */
    struct notice {
        _Atomic uint64_t handle, serial;
    } notices[NOTICES];
} world;

struct worker {
    uint64_t random;
    struct reference driven[DRIVEN];
    unsigned count;
    pthread_t thread;
};

static void count(atomic_ullong *figure, uint64_t by)
{
    atomic_fetch_add_explicit(figure, by, memory_order_relaxed);
}

static unsigned long long figure(const atomic_ullong *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static uint64_t draw(struct worker *worker, uint64_t bound)
{
    worker->random = worker->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (worker->random >> 33) % bound;
}

/* ---- references ---- */

/* The entity that is meant, as it is now. False: it is gone. */
static bool follow(struct reference reference, struct entity *entity)
{
    count(&world.totals.followed, 1);
    if (slotmap_read(world.entities, reference.handle, entity) != VBUF_OK) {
        count(&world.totals.stale, 1);
        return false;
    }
    if (entity->serial != reference.serial) /* a handle that names somebody else */
        count(&world.totals.wrong, 1);
    return true;
}

static void put_up(struct worker *worker, struct reference reference)
{
    struct notice *notice = &world.notices[draw(worker, NOTICES)];
    atomic_store_explicit(&notice->handle, reference.handle.bits, memory_order_relaxed);
    atomic_store_explicit(&notice->serial, reference.serial, memory_order_relaxed);
}

/* Somebody, or nobody: the notice may be old, or half of another. Then it is passed over. */
static struct reference find_somebody(struct worker *worker)
{
    struct notice *notice = &world.notices[draw(worker, NOTICES)];
    struct reference somebody = {
        {atomic_load_explicit(&notice->handle, memory_order_relaxed)},
        atomic_load_explicit(&notice->serial, memory_order_relaxed),
    };
    struct entity entity;
    if (slotmap_read(world.entities, somebody.handle, &entity) != VBUF_OK ||
        entity.serial != somebody.serial)
        return (struct reference){{0}, 0}; /* 0 is no handle, and follows to nobody */
    return somebody;
}

/* ---- living and dying ---- */

/* Once for each entity, when nobody can be pinned that has found it. */
static void bury(void *context, void *value)
{
    struct entity *entity = value;
    (void)context;
    uint32_t index = slotmap_handle_index(slotmap_handle_of(world.entities, value));
    count(&world.totals.destroyed, 1);
    count(&world.totals.moved_found, entity->moves);
    /* The slot is about to be reused: the next one there starts without. */
    count(&world.totals.hits_found,
          atomic_exchange_explicit(&world.hits[index], 0, memory_order_relaxed));
}

static void spawn(struct worker *worker)
{
    struct entity entity = {
        .serial = 1 + atomic_fetch_add_explicit(&world.serials, 1, memory_order_relaxed),
        .parent = find_somebody(worker),
        .target = find_somebody(worker),
    };
    struct reference own = {.serial = entity.serial};
    enum vbuf_status status = slotmap_insert(world.entities, &entity, &own.handle);
    if (status == VBUF_BUSY) { /* somebody was stopped while pinned; it can only be waited for */
        count(&world.totals.busy, 1);
        slotmap_collect(world.entities);
        return;
    }
    if (status != VBUF_OK || slotmap_handle_index(own.handle) >= MAX_INDEX) {
        count(&world.totals.wrong, 1);
        return;
    }
    count(&world.totals.spawned, 1);
    worker->driven[worker->count++] = own;
    put_up(worker, own);
}

/* Of all who try, one succeeds; from then on the handle leads nowhere. */
static void despawn(slotmap_handle handle)
{
    if (slotmap_remove(world.entities, handle, NULL) != VBUF_OK)
        return;
    count(&world.totals.despawned, 1);
    if (slotmap_contains(world.entities, handle))
        count(&world.totals.wrong, 1);
}

/* Hits whom the handle means, if it still lives. */
static void hit(slotmap_handle handle)
{
    bool dies = false;
    slotmap_pin(world.entities);
    if (slotmap_contains(world.entities, handle)) {
        /* It may be despawned at this moment, but its slot stays its own until we unpin. */
        atomic_uint *hits = &world.hits[slotmap_handle_index(handle)];
        dies = atomic_fetch_add_explicit(hits, 1, memory_order_relaxed) + 1 >= FATAL;
        count(&world.totals.hits, 1);
    }
    slotmap_unpin(world.entities);
    if (dies)
        despawn(handle);
}

/* ---- a worker's turn ---- */

/* Goes to where its parent is, or to where its target is, or anywhere. */
static void move(struct worker *worker, struct entity *entity)
{
    struct entity other;
    if (follow(entity->target, &other))
        hit(entity->target.handle);
    else
        entity->target = find_somebody(worker);
    if (follow(entity->parent, &other)) {
        entity->x += other.x > entity->x ? 1 : -1;
        entity->y += other.y > entity->y ? 1 : -1;
    } else {
        entity->x += (int64_t)draw(worker, 3) - 1;
        entity->y += (int64_t)draw(worker, 3) - 1;
        entity->parent = find_somebody(worker);
    }
    entity->moves++;
}

/* Only its worker writes an entity, so what it has read is still so when it writes. False: it is gone. */
static bool drive(struct worker *worker, struct reference reference)
{
    struct entity entity;
    if (!follow(reference, &entity))
        return false;
    uint64_t moves = entity.moves;
    move(worker, &entity);
    enum vbuf_status status = slotmap_write(world.entities, reference.handle, &entity);
    if (status == VBUF_OK)
        count(&world.totals.moved, entity.moves - moves);
    else if (status != VBUF_STALE)
        count(&world.totals.wrong, 1);
    return status == VBUF_OK;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load_explicit(&world.over, memory_order_relaxed)) {
        if (worker->count < DRIVEN)
            spawn(worker);
        if (worker->count == 0)
            continue;
        struct reference *driven = &worker->driven[draw(worker, worker->count)];
        if (!drive(worker, *driven))
            *driven = worker->driven[--worker->count]; /* somebody despawned it */
        else if (draw(worker, 64) == 0)
            despawn(driven->handle); /* found to be gone next time */
        else if (draw(worker, 16) == 0)
            put_up(worker, *driven);
    }
    return NULL;
}

/* ---- all of it ---- */

static bool run_workers(double seconds)
{
    static struct worker workers[WORKERS];
    unsigned started = 0;
    while (started < WORKERS) {
        workers[started].random = started + 1;
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0)
            break;
        started++;
    }
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    if (started == WORKERS)
        nanosleep(&time, NULL);
    atomic_store_explicit(&world.over, true, memory_order_relaxed);
    for (unsigned i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    return started == WORKERS;
}

/* Who still lives, met one by one. Nobody else is here any more. */
static size_t count_living(void)
{
    size_t living = 0;
    slotmap_pin(world.entities);
    struct slotmap_iter iter = slotmap_iter_begin(world.entities);
    while (slotmap_iter_next(&iter, NULL) != NULL)
        living++;
    slotmap_unpin(world.entities);
    return living;
}

/* Despawns the rest, and compares. */
static bool adds_up(void)
{
    struct totals *totals = &world.totals;
    size_t living = count_living();
    bool right = living == slotmap_len(world.entities) &&
                 figure(&totals->spawned) == figure(&totals->despawned) + living;
    right = slotmap_clear(world.entities) == living && right;
    slotmap_collect(world.entities);
    right = right && figure(&totals->destroyed) == figure(&totals->spawned) &&
            figure(&totals->moved) == figure(&totals->moved_found) &&
            figure(&totals->hits) == figure(&totals->hits_found) && figure(&totals->wrong) == 0 &&
            figure(&totals->spawned) > 0;
    printf("entities: %llu spawned, %llu despawned, %zu left, %llu destroyed in the end\n",
           figure(&totals->spawned), figure(&totals->despawned), living,
           figure(&totals->destroyed));
    printf("entities: %llu moves written, %llu found; %llu hits, %llu found\n",
           figure(&totals->moved), figure(&totals->moved_found), figure(&totals->hits),
           figure(&totals->hits_found));
    printf("entities: %llu references followed, %llu stale and refused, %llu led to another\n",
           figure(&totals->followed), figure(&totals->stale), figure(&totals->wrong));
    puts(right ? "entities: all adds up" : "entities: WRONG");
    return right;
}

int main(int argc, char **argv)
{
    char *end = "";
    double seconds = argc > 1 ? strtod(argv[1], &end) : 1;
    if (argc > 2 || *end != '\0' || !(seconds > 0 && seconds <= 3600)) {
        fputs("usage: entities [SECONDS]\n", stderr);
        return 2;
    }
    struct slotmap_options options = {.value_size = sizeof(struct entity),
                                      .max_len = MAX_LEN,
                                      .max_limbo = MAX_LIMBO,
                                      .max_threads = WORKERS + 1,
                                      .updatable = true,
                                      .destroy = bury};
    if (slotmap_create(&world.entities, &options) != VBUF_OK) {
        fputs("entities: no memory for the table\n", stderr);
        return 1;
    }
    bool right = run_workers(seconds) && adds_up();
    slotmap_destroy(world.entities);
    return right ? 0 : 1;
}
