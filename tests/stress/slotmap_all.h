/*
 * slotmap_all.h - what the parts of the case slotmap-all share: slotmap_all.c has the rounds and their checks,
 * slotmap_all_lives.c what becomes of each value, slotmap_all_owners.c the threads that insert and remove,
 * slotmap_all_claims.c those that claim, and what is handed from thread to thread, slotmap_all_lookers.c those that look, slotmap_all_guests.c short lives: of threads, and of maps.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SLOTMAP_ALL_H
#define SLOTMAP_ALL_H

#include "stress.h"

enum {
    TABLE_MAPS = 3,
    TABLE_SMALL = TABLE_MAPS + 1, /* the number that all small maps share; others count from 1 */
    TABLE_BOARD = 96,
    TABLE_SIDE = 1 << 16,
    TABLE_LETTERS = 24,
    TABLE_HELD = 6,
    TABLE_ANCHORS = 24,
    TABLE_MOST_MANY = 40,
    TABLE_LEAST_THREADS = 8, /* so that every role is taken */
    TABLE_VERSION_BITS = 16
};

/* What became of the value of one id. Relaxed, all of it: it orders nothing for the library. */
struct table_life {
    struct vbuf_atomic_u8 map;       /* its number */
    struct vbuf_atomic_u8 claimed;   /* by slotmap_claim */
    struct vbuf_atomic_u8 settled;   /* inserts, publishes and cancels that won */
    struct vbuf_atomic_u8 born;      /* it was live */
    struct vbuf_atomic_u8 wanted;    /* somebody is about to remove it */
    struct vbuf_atomic_u8 removed;   /* removes and invalidates that won */
    struct vbuf_atomic_u8 destroyed; /* destructors */
    struct vbuf_atomic_u8 anchor;    /* nobody but its owner may remove it */
    /* Of a value that its owner alone writes: the last version tried, and the last that went in. */
    struct vbuf_atomic_u32 tried;
    struct vbuf_atomic_u32 written;
    struct vbuf_atomic_u64 handle;
};

/* A map and how it is used. Its address is the context of its hooks. */
struct table_map {
    struct slotmap *map;
    struct table_run *run;
    unsigned number;
    /* Fixed at creation. */
    bool updatable;
    bool clears;   /* slotmap_clear is called now and then, so anything may go */
    bool runs_out; /* slots begin near their last generation */
    bool roomy;    /* max_len is more than all threads together can need */
    uint32_t first_generation;
    size_t max_len;
    bool ending; /* nobody else is at it */
    /* Handles to be found by anybody. A handle is just a number: the board orders nothing. */
    struct vbuf_atomic_u64 board[TABLE_BOARD];
    /* By slot index: who has the slot to itself, a claimer or an invalidator. NULL for small maps. */
    struct vbuf_atomic_u64 *side;
    struct vbuf_atomic_u64 born;
    struct vbuf_atomic_u64 cancelled;
    struct vbuf_atomic_u64
        undone; /* values of a failed insert_many, which counts them in and out; at most */
    struct vbuf_atomic_u64 removed;
    struct vbuf_atomic_u64 swept; /* removed by clear and retain */
    struct vbuf_atomic_u64 destroyed;
    struct vbuf_atomic_u64 invalidated;
    struct vbuf_atomic_u64 released;
    struct vbuf_atomic_u64 asked; /* times the hook was called */
};

/* Something for any other thread to finish. */
enum table_letter_kind {
    TABLE_WRITE_AND_PUBLISH, /* a claim, to be written and published */
    TABLE_SETTLE,            /* a claim: the sender races for it with us */
    TABLE_RELEASE,           /* an invalidated value's slot */
    TABLE_RACE_FOR_RELEASE,  /* the same, and the sender races with us */
    TABLE_WALK               /* part of an iteration */
};

struct table_walk {
    struct table_map *map;
    struct vbuf_atomic_u32 *stamps; /* by id: the last walk that met it */
    uint32_t number;
};

struct table_piece {
    struct table_walk *walk;
    struct slotmap_iter iter;
    struct vbuf_atomic_u32 done;
};

struct table_letter {
    struct vbuf_atomic_u32 state; /* empty, in somebody's hands, full */
    enum table_letter_kind kind;
    struct table_map *map;
    slotmap_handle handle;
    uint64_t id;
    void *value;
    struct table_piece *piece;
};

struct table_run {
    unsigned threads;
    struct ebr_domain *domain; /* shared by small maps, and now and then by others */
    struct table_map maps[TABLE_MAPS];
    struct table_letter letters[TABLE_LETTERS];
    struct table_life *lives;
    uint64_t room;               /* ids that threads may draw in this round */
    struct vbuf_atomic_u64 next; /* the next id; may run past room */
    struct vbuf_atomic_u32 working;
    struct vbuf_atomic_u32 plenty; /* no memory is refused */
    struct vbuf_atomic_u32 calm;   /* destructors leave the maps alone */
    struct vbuf_atomic_u64 looks;
    struct vbuf_atomic_u64 walks;
    struct vbuf_atomic_u64 small_maps;
    struct vbuf_atomic_u64 most_small_maps;
    struct vbuf_atomic_u64 refusals;
    struct vbuf_atomic_u64 busy;
    struct vbuf_atomic_u64 writes;
    uint64_t seed;
};

/* A claim not yet published, or a value invalidated and not yet released. */
struct table_held {
    struct table_map *map;
    slotmap_handle handle;
    uint64_t id;
    void *value;
};

/* A value that this thread alone writes. */
struct table_owned {
    struct table_map *map;
    slotmap_handle handle;
    uint64_t id;
    uint32_t version;
};

/* What a thread has in its hands in a round. */
struct table_hand {
    struct table_run *run;
    struct check_rng *rng;
    uint64_t operations, counted, steps;
    uint64_t spare; /* an id drawn and not used */
    bool has_spare;
    struct table_held claims[TABLE_HELD];
    struct table_held invalid[TABLE_HELD];
    struct table_owned owned[TABLE_HELD];
    unsigned claim_count, invalid_count, owned_count;
};

/* ---- slotmap_all_lives.c ---- */

static inline uint64_t table_id_of(const struct stress_value *value)
{
    return value->id >> TABLE_VERSION_BITS;
}

static inline uint32_t table_version_of(const struct stress_value *value)
{
    return (uint32_t)value->id & ((1u << TABLE_VERSION_BITS) - 1);
}

static inline void table_make(struct stress_value *value, uint64_t id, uint32_t version)
{
    stress_value_make(value, id << TABLE_VERSION_BITS | version);
}

/* Whether a value is whole and its id one that belongs to this map; reports it, and where it was seen. */
bool table_check(const struct table_map *map, const struct stress_value *value, const char *where);

/* An id that nobody has used. False: the round is over. */
bool table_draw(struct table_hand *hand, uint64_t *id);
void table_draw_back(struct table_hand *hand, uint64_t id);

/* After the insert, publish or cancel that won. */
void table_born(struct table_map *map, uint64_t id, slotmap_handle handle);
void table_cancelled(struct table_map *map, uint64_t id);
/* Before each try to remove it, and after the one that won (S2). */
void table_wanted(struct table_map *map, uint64_t id);
void table_removed(struct table_map *map, uint64_t id);

/* The hooks. */
void table_destroy_value(void *map, void *value);
bool table_ask(void *map, size_t bytes);

/* With nobody else at it, and nothing in limbo: each life's end, and each handle. */
void table_audit(struct table_map *map);
/* After the end of all maps of a round (S6). */
void table_audit_end(struct table_run *run);

/* ---- slotmap_all_owners.c ---- */

slotmap_handle table_pick(struct table_map *map, struct check_rng *rng);
/* Puts a handle on the board, and removes what it displaces. */
void table_offer(struct table_hand *hand, struct table_map *map, slotmap_handle handle);
/* Inserts a new value. False: there is no room, or no id left. */
bool table_insert(struct table_hand *hand, struct table_map *map, uint64_t *id,
                  slotmap_handle *handle);
/* Whether an insert or a claim may say this. Makes room. */
bool table_refused(struct table_hand *hand, struct table_map *map, enum vbuf_status status);
/* Removes what lives under the handle, if anything does, in one of the ways there are. */
void table_remove(struct table_hand *hand, struct table_map *map, slotmap_handle handle);
/* The same, from a destructor. */
void table_remove_plainly(struct table_map *map, slotmap_handle handle);

void table_insert_step(struct table_hand *hand);
void table_update_step(struct table_hand *hand);
void table_remove_step(struct table_hand *hand);
/* Gives an invalidated slot back; false: somebody else has. */
bool table_release(struct table_hand *hand, struct table_map *map, slotmap_handle handle);
/* One of those that the hand holds. */
void table_release_one(struct table_hand *hand);

/* ---- slotmap_all_claims.c ---- */

/* From here to there nobody else may be given the slot. */
void table_mark_side(struct table_map *map, slotmap_handle handle);
void table_clear_side(struct table_map *map, slotmap_handle handle);
/* The handle does not resolve, in any of the ways there are. */
void table_check_stale(struct table_hand *hand, struct table_map *map, slotmap_handle handle,
                       const char *when);
/* Until somebody has the letter in hand, or for a moment: then both are at it at once. */
void table_await_taker(const struct table_letter *place);
/* Where it lies now, or NULL: there is no room for it. */
const struct table_letter *table_post(struct table_hand *hand, const struct table_letter *letter);
/* Finishes a letter; false: there is none. */
bool table_do_letter(struct table_hand *hand);
void table_claim_step(struct table_hand *hand);
/* Finishes everything that the hand has begun. */
void table_finish(struct table_hand *hand);

/* ---- slotmap_all_lookers.c ---- */

void table_read_step(struct table_hand *hand);
void table_walk_piece(struct table_hand *hand, struct table_piece *piece);
void table_keep_step(struct table_hand *hand);
/* Runs until the workers are through. */
void table_walk(struct table_hand *hand, struct vbuf_atomic_u32 *stamps);

/* ---- slotmap_all_guests.c ---- */

void table_guest_step(struct table_hand *hand);
void table_keep_small_maps(struct table_hand *hand);

/* ---- slotmap_all.c ---- */

/* Whether a worker goes on: also counts its operations. */
bool table_goes_on(struct table_hand *hand);
/* Whether a round goes by, for those who look. */
bool table_goes_by(const struct table_run *run);

#endif
