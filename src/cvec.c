/*
 * cvec.c - a lock-free append-only vector that stays an array.
 *
 *      header        capacities      readiness bytes, downward     elements, upward
 *      | struct cvec | era 0, 1, … | … free … | r2 | r1 | r0 || e0 | e1 | e2 | … free … |
 *                                                             ^ base, page-aligned
 *
 * One reservation. Element i is at base + i * size for ever (C1); its readiness byte is at base - 1
 * - i. Both sides are committed up to the capacity, and what is committed stays committed.
 *
 * Claiming. `len` packs {era 16, index 48}. A push adds 1 to it and so holds a ticket {e, i}.
 * Within era e the capacity is caps[e], fixed before the era opens: a ticket with i < caps[e] is
 * valid, and element i is the pusher's; any other is void and means nothing. Growth commits memory,
 * writes caps[e + 1] once, then opens the next era with one CAS that sets the index to min(index,
 * caps[e]): the first index that was never valid. So the valid tickets of all eras together cover
 * 0, 1, 2, … once each, in order, and a push that cannot grow has claimed nothing (C5). When growth
 * fails, the void tickets are folded back to caps[e], so that a vector that is full for long does
 * not count its index out of its 48 bits.
 *
 *      era 0, capacity 4:  t0 t1 t2 t3 (t4) (t5)      t4 and t5 are void: their pushers grow, or fail
 *      era 1, capacity 8:              t4 t5 t6 …     starts at min(6, 4) = 4
 *
 * The common push does not look at eras. It reads `capacity` before it adds; capacity is raised to
 * caps[e] after era e opens, so the add comes after that opening in the order of `len`, the
 * ticket's era is e or later, and eras only get larger capacities: an index below what was read is
 * valid and committed.
 *
 * Growing. Anybody who finds the vector too small grows it; nobody waits for anybody (C6).
 * Committing is idempotent; caps[e + 1] is decided by a CAS from 0, and the loser goes by the
 * winner's figure, which the winner committed before it wrote it (what the loser committed past it,
 * the next growth commits again, for nothing). The era's opening is a CAS loop on `len` that any of
 * them may finish. `growing` is a courtesy: everybody calling mprotect at once fights over one
 * kernel lock, so who sees somebody else at it lets it have a moment, and then goes ahead.
 * Capacities grow at least by a 64th, so there are never more than ERAS eras.
 *
 * Publishing. The readiness byte is stored with release after the element is written, and loaded
 * with acquire by get: who sees the byte sees the element (C2). A get below the watermark needs no
 * byte: who moved the watermark had acquired every byte below it, and its release passes them on
 * (C3). The watermark is moved by those who read, never by those who push. A pusher raises
 * `capacity` above its index before it returns, if it was not above already, so that its own get,
 * or one that happens after it, looks at the byte (C4).
 *
 * A pusher stopped between claim and publish delays no push and no get; the prefix ends at its
 * element.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec/cvec.h"

#include <string.h>

#include "system.h"

#define ERAS 4096
#define MAX_ELEMENT_SIZE ((size_t)1 << 20)
#define DEFAULT_ADDRESS_SPACE (SIZE_MAX > UINT32_MAX ? (size_t)(UINT64_C(16) << 30) : SIZE_MAX / 16)
#define MAX_LEN (CVEC_INDEX_MASK_ - UINT32_MAX) /* leaves room for void tickets */
#define COURTESY_ROUNDS 8

static uint64_t index_of(uint64_t ticket)
{
    return ticket & CVEC_INDEX_MASK_;
}

static uint64_t era_of(uint64_t ticket)
{
    return ticket >> CVEC_INDEX_BITS_;
}

static uint64_t ticket_of(uint64_t era, uint64_t index)
{
    return era << CVEC_INDEX_BITS_ | index;
}

/* The capacity of an era that has opened. */
static uint64_t capacity_of_era(const struct cvec *vector, uint64_t era)
{
    return vbuf_u64_load_acquire(&vector->era_capacity_[era]); /* pairs with the CAS in decide */
}

/* ---- growth ---- */

/* Elements that fit in the pages that `capacity` elements touch, but never more than max_len. */
static uint64_t fill_pages(const struct cvec *vector, uint64_t capacity)
{
    if (capacity >= vector->max_len)
        return vector->max_len;
    size_t bytes = vmem_align_up((size_t)capacity * vector->element_size, vmem_page_size());
    uint64_t fits = bytes / vector->element_size;
    return fits < vector->max_len ? fits : vector->max_len;
}

/*
 * Commits elements, then readiness bytes, for [from, to): what `from` elements needed is there. In this
 * order because a refusal mostly comes with the larger part, and then leaves nothing behind.
 */
static enum vbuf_status commit_range(struct cvec *vector, uint64_t from, uint64_t to)
{
    size_t page = vmem_page_size();
    size_t base = (size_t)(vector->elements - vector->memory_.data);
    size_t first = vmem_align_up((size_t)from * vector->element_size, page);
    size_t last = vmem_align_up((size_t)to * vector->element_size, page);
    size_t ready_first = vmem_align_up((size_t)from, page);
    size_t ready_last = vmem_align_up((size_t)to, page);
    return vbuf_commit_two(&vector->memory_, base + first, last - first, base - ready_last,
                           ready_last - ready_first);
}

/* Commits for a capacity of at least `need`: doubled if possible, a 64th more if that is refused. */
static enum vbuf_status commit_more(struct cvec *vector, uint64_t capacity, uint64_t need,
                                    uint64_t *committed)
{
    uint64_t doubled = capacity * 2 > need ? capacity * 2 : need;
    *committed = fill_pages(vector, doubled);
    enum vbuf_status status = commit_range(vector, capacity, *committed);
    if (status == VBUF_OK)
        return VBUF_OK;
    uint64_t little = capacity + capacity / 64 > need ? capacity + capacity / 64 : need;
    *committed = fill_pages(vector, little);
    return commit_range(vector, capacity, *committed);
}

/* A moment for whoever grows already. Gives up soon: it may have been stopped for ever. */
static void let_others_grow(struct cvec *vector, uint64_t era)
{
    for (unsigned round = 0; round < COURTESY_ROUNDS; round++) {
        if (vbuf_u32_load_relaxed(&vector->growing_) == 0 || capacity_of_era(vector, era + 1) != 0)
            return;
        vbuf_sys_relax(round);
    }
}

/* Decides the capacity of the era after `era`: ours, or that of who was faster. 0: no memory. */
static enum vbuf_status decide_next_era(struct cvec *vector, uint64_t era, uint64_t need,
                                        uint64_t *next)
{
    let_others_grow(vector, era);
    *next = capacity_of_era(vector, era + 1);
    if (*next != 0)
        return VBUF_OK;
    uint64_t committed;
    vbuf_u32_fetch_add_relaxed(&vector->growing_, 1); /* relaxed: a courtesy */
    enum vbuf_status status = commit_more(vector, capacity_of_era(vector, era), need, &committed);
    vbuf_u32_fetch_add_relaxed(&vector->growing_, UINT32_MAX);
    if (status != VBUF_OK) {
        *next = capacity_of_era(vector, era + 1); /* another may have got what we did not */
        return *next != 0 ? VBUF_OK : status;
    }
    /* Release: the commit came before; pairs with capacity_of_era. The loser takes the winner's. */
    if (vbuf_u64_cas_acq_rel(&vector->era_capacity_[era + 1], next, committed))
        *next = committed;
    return VBUF_OK;
}

/* Opens the era after `era` at the first index that was never valid, unless it is open already. */
static void open_next_era(struct cvec *vector, uint64_t era)
{
    uint64_t capacity = capacity_of_era(vector, era);
    uint64_t seen = vbuf_u64_load_acquire(&vector->len_);
    while (era_of(seen) == era) {
        uint64_t index = index_of(seen) < capacity ? index_of(seen) : capacity;
        /* Pairs with the acquire adds of the tickets of the new era. */
        if (vbuf_u64_cas_acq_rel(&vector->len_, &seen, ticket_of(era + 1, index)))
            return;
    }
}

/*
 * Brings the vector from `era` to the next, with room for `need` elements if no other thread
 * decides it otherwise: the caller looks again. VBUF_OK: the era after `era` is open.
 */
static enum vbuf_status grow(struct cvec *vector, uint64_t era, uint64_t need)
{
    if (need > vector->max_len)
        return VBUF_FULL;
    uint64_t next;
    enum vbuf_status status = decide_next_era(vector, era, need, &next);
    if (status != VBUF_OK)
        return status;
    open_next_era(vector, era);
    /* Only now: an add that comes after a load of it finds the era open. Pairs with claim_one. */
    vbuf_u64_max_release(&vector->capacity_, next);
    return VBUF_OK;
}

/* ---- claiming ---- */

/* Takes the void tickets of an era that could not be followed by another back out of the index. */
static void fold_void_tickets(struct cvec *vector, uint64_t era)
{
    uint64_t capacity = capacity_of_era(vector, era);
    uint64_t seen = vbuf_u64_load_relaxed(&vector->len_); /* the CAS decides */
    while (era_of(seen) == era && index_of(seen) > capacity &&
           !vbuf_u64_cas_acq_rel(&vector->len_, &seen, ticket_of(era, capacity))) {
    }
}

enum vbuf_status cvec_settle_ticket_(struct cvec *vector, uint64_t ticket)
{
    uint64_t era = era_of(ticket);
    uint64_t capacity = capacity_of_era(vector, era);
    if (index_of(ticket) < capacity) {
        /* Valid; the growers had not raised it yet. Before we return: C4. */
        vbuf_u64_max_release(&vector->capacity_, capacity);
        return VBUF_OK;
    }
    enum vbuf_status status = grow(vector, era, capacity + 1);
    if (status == VBUF_OK)
        return VBUF_BUSY; /* there is room: take another ticket */
    fold_void_tickets(vector, era);
    return status;
}

/* Claims `count` indices in one step, all or nothing. */
static enum vbuf_status claim_run(struct cvec *vector, uint64_t count, uint64_t *first)
{
    for (;;) {
        uint64_t seen = vbuf_u64_load_acquire(&vector->len_);
        uint64_t capacity = capacity_of_era(vector, era_of(seen));
        uint64_t index = index_of(seen) < capacity ? index_of(seen) : capacity;
        if (count > vector->max_len - index)
            return VBUF_FULL;
        if (index_of(seen) > capacity || index + count > capacity) {
            enum vbuf_status status = grow(vector, era_of(seen), index + count);
            if (status != VBUF_OK)
                return status;
            continue;
        }
        /* Acquire pairs with the opening of the era. */
        if (vbuf_u64_cas_acq_rel(&vector->len_, &seen, seen + count)) {
            if (index + count > vbuf_u64_load_acquire(&vector->capacity_))
                vbuf_u64_max_release(&vector->capacity_, capacity); /* as in settle_ticket */
            *first = index;
            return VBUF_OK;
        }
    }
}

/* ---- public ---- */

static bool is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

/* The alignment to use, or 0 when the options cannot be right. */
static size_t check_alignment(const struct cvec_options *options)
{
    size_t size = options->element_size;
    size_t align = options->element_align;
    if (align == 0) {
        align = size & (~size + 1); /* the largest power of two that divides it */
        return align < 16 ? align : 16;
    }
    return is_power_of_two(align) && align <= vmem_page_size() && size % align == 0 ? align : 0;
}

/* Bytes before the elements: header, capacities, readiness bytes. */
static size_t space_before(size_t max_len)
{
    size_t page = vmem_page_size();
    return vmem_align_up(sizeof(struct cvec), page) + vmem_align_up(ERAS * sizeof(uint64_t), page) +
           vmem_align_up(max_len, page);
}

enum vbuf_status cvec_create(struct cvec **result, const struct cvec_options *options)
{
    if (result == NULL || options == NULL || options->element_size == 0 ||
        options->element_size > MAX_ELEMENT_SIZE || check_alignment(options) == 0)
        return VBUF_INVALID;
    size_t size = options->element_size;
    size_t max_len = options->max_len != 0 ? options->max_len : DEFAULT_ADDRESS_SPACE / (size + 1);
    if (max_len > MAX_LEN || max_len > (SIZE_MAX / 2) / (size + 1) ||
        options->initial_capacity > max_len)
        return VBUF_INVALID;
    size_t before = space_before(max_len);
    struct vbuf memory;
    enum vbuf_status status = vbuf_init(&memory, &(struct vbuf_options){
                                                     .max = before + max_len * size,
                                                     .on_commit = options->on_commit,
                                                     .context = options->context,
                                                 });
    if (status != VBUF_OK)
        return status;
    size_t fixed = space_before(0);
    status = vbuf_commit(&memory, 0, fixed);
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    struct cvec *vector = (struct cvec *)(void *)memory.data;
    vector->elements = memory.data + before;
    vector->ready_ = (struct vbuf_atomic_u8 *)(memory.data + before);
    vector->element_size = size;
    vector->max_len = max_len;
    vector->era_capacity_ =
        (struct vbuf_atomic_u64 *)(void *)(memory.data +
                                           vmem_align_up(sizeof(struct cvec), vmem_page_size()));
    vector->memory_ = memory;
    status = cvec_reserve(vector, options->initial_capacity);
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    *result = vector;
    return VBUF_OK;
}

void cvec_destroy(struct cvec *vector)
{
    if (vector == NULL)
        return;
    struct vbuf memory = vector->memory_; /* the vector lies in what is given back */
    vbuf_destroy(&memory);
}

enum vbuf_status cvec_push(struct cvec *vector, const void *element, size_t *index)
{
    if (element == NULL)
        return VBUF_INVALID;
    size_t claimed;
    enum vbuf_status status = cvec_claim_one_(vector, &claimed);
    if (status != VBUF_OK)
        return status;
    memcpy(vector->elements + claimed * vector->element_size, element, vector->element_size);
    cvec_publish_one_(vector, claimed);
    if (index != NULL)
        *index = claimed;
    return VBUF_OK;
}

enum vbuf_status cvec_extend(struct cvec *vector, const void *elements, size_t count, size_t *first)
{
    if (elements == NULL && count != 0)
        return VBUF_INVALID;
    uint64_t index = cvec_claimed(vector);
    if (count != 0) {
        enum vbuf_status status = claim_run(vector, count, &index);
        if (status != VBUF_OK)
            return status;
        memcpy(vector->elements + (size_t)index * vector->element_size, elements,
               count * vector->element_size);
        for (size_t i = 0; i < count; i++)
            cvec_publish_one_(vector, (size_t)index + i);
    }
    if (first != NULL)
        *first = (size_t)index;
    return VBUF_OK;
}

struct cvec_slice cvec_snapshot(struct cvec *vector)
{
    uint64_t begin = vbuf_u64_load_acquire(&vector->watermark_); /* pairs with the max below */
    uint64_t end = vbuf_u64_load_relaxed(&vector->capacity_);    /* relaxed: the bytes decide */
    uint64_t claimed = index_of(vbuf_u64_load_relaxed(&vector->len_));
    if (end > claimed)
        end = claimed;
    uint64_t n = begin;
    /* Pairs with the release in cvec_publish_one_. A byte at a time: a wider load would be a race. */
    while (n < end && vbuf_u8_load_acquire(vector->ready_ - 1 - (ptrdiff_t)n))
        n++;
    if (n > begin)
        vbuf_u64_max_release(&vector->watermark_, n); /* passes on every byte below n */
    struct cvec_slice slice = {vector->elements, (size_t)n};
    return slice;
}

size_t cvec_len(struct cvec *vector)
{
    return cvec_snapshot(vector).count;
}

size_t cvec_claimed(const struct cvec *vector)
{
    uint64_t seen = vbuf_u64_load_acquire(&vector->len_); /* pairs with the opening of its era */
    uint64_t capacity = capacity_of_era(vector, era_of(seen));
    return (size_t)(index_of(seen) < capacity ? index_of(seen) : capacity);
}

size_t cvec_capacity(const struct cvec *vector)
{
    return (size_t)vbuf_u64_load_relaxed(&vector->capacity_); /* a figure */
}

size_t cvec_max_len(const struct cvec *vector)
{
    return vector->max_len;
}

enum vbuf_status cvec_reserve(struct cvec *vector, size_t capacity)
{
    if (capacity > vector->max_len)
        return VBUF_FULL;
    while (capacity > vbuf_u64_load_acquire(&vector->capacity_)) {
        uint64_t era = era_of(vbuf_u64_load_acquire(&vector->len_));
        uint64_t opened = capacity_of_era(vector, era);
        if (opened >= capacity) { /* its grower had not raised the capacity yet */
            vbuf_u64_max_release(&vector->capacity_, opened);
            return VBUF_OK;
        }
        enum vbuf_status status = grow(vector, era, capacity);
        if (status != VBUF_OK)
            return status;
    }
    return VBUF_OK;
}

enum vbuf_status cvec_stats(struct cvec *vector, struct cvec_report *stats)
{
    if (stats == NULL)
        return VBUF_INVALID;
    size_t capacity = cvec_capacity(vector);
    size_t page = vmem_page_size();
    *stats = (struct cvec_report){
        .len = cvec_len(vector),
        .claimed = cvec_claimed(vector),
        .capacity = capacity,
        .max_len = vector->max_len,
        .committed_bytes = space_before(0) + vmem_align_up(capacity, page) +
                           vmem_align_up(capacity * vector->element_size, page),
        .growths = (size_t)era_of(vbuf_u64_load_relaxed(&vector->len_)), /* a figure */
    };
    return VBUF_OK;
}
