/*
 * map_churn.c - maps come and go: S6, E1.
 *
 * Places hold maps; most of them share one domain. Threads use whatever map they find, under the
 * read side of the place's lock; now and then one takes the write side, destroys the map there with
 * values live and removals pending, while others are pinned in the same domain through other maps,
 * and puts a new one in. Short-lived threads join in, so that thread numbers are reused while their
 * last holder's slots are still about. Every value must be destroyed once, and no address space may
 * be left behind.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PLACES = 6, OFFERS = 64, MAX_VALUES = 1 << 23 };

struct churn_map {
    struct slotmap *map;
    struct stress_ledger *ledger;
    bool ending; /* guarded by the place's lock: destruction needs no remove any more */
    struct vbuf_atomic_u64 offers[OFFERS];
};

struct place {
    pthread_rwlock_t lock;
    struct churn_map map;
};

struct map_run {
    struct ebr_domain *domain;
    struct stress_ledger values;
    struct place places[PLACES];
    struct vbuf_atomic_u64 maps;
    struct vbuf_atomic_u64 retired;
    struct vbuf_atomic_u64 reclaimed;
};

struct note {
    struct ebr_entry entry;
    struct map_run *run;
};

static void destroy(void *context, void *value)
{
    struct churn_map *map = context;
    struct stress_value *own = value;
    if (map->ending && own->id < map->ledger->room)
        stress_ledger_wanted(map->ledger, own->id);
    stress_destroy_value(map->ledger, value);
}

static bool create(struct map_run *run, struct churn_map *map, struct check_rng *rng)
{
    static const uint32_t few[] = {0, 0, 1, 2};
    struct slotmap_options options = {
        .value_size = sizeof(struct stress_value),
        .max_len = 64 + stress_below(rng, 512),
        .max_limbo = 4096,
        .domain = stress_chance(rng, 4) ? NULL : run->domain,
        .max_threads = few[stress_below(rng, 4)],
        .destroy = destroy,
        .context = map,
    };
    map->ledger = &run->values;
    map->ending = false;
    for (unsigned i = 0; i < OFFERS; i++)
        vbuf_u64_store_relaxed(&map->offers[i], 0);
    vbuf_u64_fetch_add_relaxed(&run->maps, 1);
    return STRESS_CHECK(slotmap_create(&map->map, &options) == VBUF_OK, "create");
}

static void end(struct churn_map *map)
{
    map->ending = true;
    slotmap_destroy(map->map);
    map->map = NULL;
}

/* ---- using a map ---- */

static void remove_value(struct churn_map *map, struct check_rng *rng, slotmap_handle handle)
{
    slotmap_pin(map->map);
    const struct stress_value *value = slotmap_get(map->map, handle);
    if (value != NULL) {
        uint64_t id = value->id;
        if (STRESS_CHECK(id < map->ledger->room && stress_value_intact(value, id),
                         "a handle led to a value that is not whole")) {
            stress_ledger_wanted(map->ledger, id);
            stress_disturb(rng);
            if (slotmap_remove(map->map, handle, NULL) == VBUF_OK)
                stress_ledger_removed(map->ledger, id);
            STRESS_CHECK(stress_value_intact(value, id), "value %" PRIu64 " changed under a pin",
                         id);
        }
    }
    slotmap_unpin(map->map);
}

static void use(struct churn_map *map, struct check_rng *rng)
{
    struct stress_value value;
    slotmap_handle handle;
    for (uint64_t i = stress_below(rng, 64); i > 0 && !stress_failed(); i--) {
        struct vbuf_atomic_u64 *place = &map->offers[stress_below(rng, OFFERS)];
        uint64_t seen = vbuf_u64_load_relaxed(place);
        uint64_t id;
        if (seen != 0 && stress_chance(rng, 2)) {
            remove_value(map, rng, (slotmap_handle){seen});
            continue;
        }
        if (!stress_ledger_draw(map->ledger, &id))
            return;
        stress_value_make(&value, id);
        enum vbuf_status status = slotmap_insert(map->map, &value, &handle);
        if (status != VBUF_OK) {
            STRESS_CHECK(status == VBUF_FULL || status == VBUF_BUSY, "insert says %s",
                         vbuf_status_string(status));
            continue;
        }
        stress_ledger_inserted(map->ledger, id);
        /* What is displaced here stays live until it is found again, or until the map's end. */
        vbuf_u64_cas_acquire(place, &seen, handle.bits);
        stress_disturb(rng);
    }
    if (stress_chance(rng, 16))
        slotmap_collect(map->map);
}

static void use_some(struct map_run *run, struct check_rng *rng)
{
    struct place *place = &run->places[stress_below(rng, PLACES)];
    pthread_rwlock_rdlock(&place->lock);
    use(&place->map, rng);
    pthread_rwlock_unlock(&place->lock);
}

static void replace_some(struct map_run *run, struct check_rng *rng)
{
    struct place *place = &run->places[stress_below(rng, PLACES)];
    /* Destroying a map while pinned in its domain, through another map, is fine. */
    bool pinned = stress_chance(rng, 4);
    pthread_rwlock_wrlock(&place->lock);
    if (pinned)
        ebr_pin(run->domain);
    end(&place->map);
    create(run, &place->map, rng);
    if (pinned)
        ebr_unpin(run->domain);
    pthread_rwlock_unlock(&place->lock);
}

/* A map of one's own, destroyed at once. */
static void live_alone(struct map_run *run, struct check_rng *rng)
{
    struct churn_map own;
    if (!create(run, &own, rng))
        return;
    use(&own, rng);
    use(&own, rng);
    end(&own);
}

static void reclaim_note(struct ebr_entry *entry)
{
    struct note *note = (struct note *)(void *)entry;
    vbuf_u64_fetch_add_relaxed(&note->run->reclaimed, 1);
    free(note);
}

static void retire_note(struct map_run *run)
{
    struct note *note = calloc(1, sizeof *note);
    if (note == NULL)
        abort();
    note->run = run;
    vbuf_u64_fetch_add_relaxed(&run->retired, 1);
    ebr_retire(run->domain, &note->entry, reclaim_note);
}

struct visitor {
    struct map_run *run;
    struct check_rng rng;
};

static void *visit(void *context)
{
    struct visitor *self = context;
    for (unsigned i = 0; i < 4; i++)
        use_some(self->run, &self->rng);
    retire_note(self->run);
    return NULL;
}

static void churn(struct stress_thread *self)
{
    struct map_run *run = self->context;
    struct check_rng *rng = &self->rng;
    uint64_t room = run->values.room - 4096;
    while (stress_going() && vbuf_u64_load_relaxed(&run->values.next) < room) {
        uint64_t draw = stress_below(rng, 64);
        if (draw < 2) {
            replace_some(run, rng);
        } else if (draw < 3) {
            live_alone(run, rng);
        } else if (draw < 5) {
            struct visitor visitor = {run, {check_rng_next(rng)}};
            pthread_t thread;
            stress_spawn(&thread, visit, &visitor);
            pthread_join(thread, NULL);
        } else if (draw < 10) { /* long, over several maps */
            ebr_pin(run->domain);
            use_some(run, rng);
            use_some(run, rng);
            ebr_unpin(run->domain);
        } else {
            use_some(run, rng);
        }
        if (stress_chance(rng, 4))
            retire_note(run);
        stress_count(32);
    }
}

/* ---- the case ---- */

static size_t mappings(void)
{
    size_t count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    if (file == NULL)
        return 0;
    for (int c = getc(file); c != EOF; c = getc(file))
        count += c == '\n';
    fclose(file);
    return count;
}

static void open_run(struct map_run *run, struct check_rng *rng)
{
    *run = (struct map_run){0};
    stress_ledger_open(&run->values, stress_amount(MAX_VALUES, 1 << 17));
    STRESS_CHECK(ebr_domain_create(&run->domain, NULL) == VBUF_OK, "create");
    for (unsigned i = 0; i < PLACES && !stress_failed(); i++) {
        pthread_rwlock_init(&run->places[i].lock, NULL);
        create(run, &run->places[i].map, rng);
    }
}

static void close_run(struct map_run *run)
{
    for (unsigned i = 0; i < PLACES; i++) {
        end(&run->places[i].map);
        pthread_rwlock_destroy(&run->places[i].lock);
    }
    stress_ledger_audit_end(&run->values);
    STRESS_CHECK(ebr_domain_destroy(run->domain) == VBUF_OK, "somebody is still pinned");
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->retired) == vbuf_u64_load_relaxed(&run->reclaimed),
                 "%" PRIu64 " objects retired, %" PRIu64 " reclaimed",
                 vbuf_u64_load_relaxed(&run->retired), vbuf_u64_load_relaxed(&run->reclaimed));
    stress_ledger_close(&run->values);
}

void stress_map_churn(void)
{
    static struct map_run run;
    struct check_rng rng = stress_stream(0);
    size_t before = mappings();
    uint64_t maps = 0;
    uint64_t values = 0;
    do { /* until the time is over: each time, until the ledger is full */
        open_run(&run, &rng);
        if (stress_failed())
            return;
        stress_run(stress_threads(6, 2), churn, &run);
        maps += vbuf_u64_load_relaxed(&run.maps);
        values += vbuf_u64_load_relaxed(&run.values.next);
        close_run(&run);
    } while (stress_going());
    /* A map is several mappings; the threads and the allocator keep some for themselves. */
    size_t after = mappings();
    STRESS_CHECK(STRESS_SANITIZED || after < before + 64 || after < before + maps / 4,
                 "%" PRIu64 " maps have gone; mappings: %zu before, %zu after", maps, before,
                 after);
    stress_note("%" PRIu64 " maps, %.2f M values", maps, (double)values / 1e6);
}
