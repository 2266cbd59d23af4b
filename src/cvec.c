/*
 * cvec.c - a lock-free append-only vector that stays an array.
 *
 *      front                                    readiness bytes, downward   elements, upward
 *      | struct cvec | user's header | era 0, … | … free … | r2 | r1 | r0 || e0 | e1 | … free … |
 *                                                                          ^ base, aligned
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
 * Growing is in cvec_growth.c, waiting and closing in cvec_wait.c. Closing opens a last era whose
 * index is past every capacity, so that all its tickets are void.
 *
 * Publishing. The readiness byte is stored with release after the element is written, and loaded
 * with acquire by get: who sees the byte sees the element (C2). A get below the watermark needs no
 * byte: who moved the watermark had acquired every byte below it, and its release passes them on
 * (C3). The watermark is moved by those who read; by those who push only while somebody waits. A pusher raises
 * `capacity` above its index before it returns, if it was not above already, so that its own get,
 * or one that happens after it, looks at the byte (C4).
 *
 * A pusher stopped between claim and publish delays no push and no get; the prefix ends at its
 * element.
 *
 * Extending is bound by the page faults of fresh memory. Threads that extend by less than a page at once
 * meet in every page, and the fault of one holds up the other: then a thread, after it has published, has
 * the system back some memory ahead of all of them. See cvec_growth.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_internal.h"

#include <string.h>

#define DEFAULT_ADDRESS_SPACE (SIZE_MAX > UINT32_MAX ? (size_t)(UINT64_C(16) << 30) : SIZE_MAX / 16)
#define HEADER_ALIGNMENT 64
#define COPY_PIECE ((size_t)1024) /* bytes; both: see copy_run */
#define COPY_WHOLE ((size_t)256 << 10)

/* ---- claiming ---- */

/* Takes the void tickets of an era that could not be followed by another back out of the index. */
static void fold_void_tickets(struct cvec *vector, uint64_t era, uint64_t to)
{
    uint64_t seen = vbuf_u64_load_relaxed(&vector->len_); /* the CAS decides */
    while (era_of(seen) == era && index_of(seen) > to &&
           !vbuf_u64_cas_acq_rel(&vector->len_, &seen, ticket_of(era, to))) {
    }
}

enum vbuf_status cvec_settle_ticket_(struct cvec *vector, uint64_t ticket)
{
    assert_shared(vector);
    uint64_t era = era_of(ticket);
    if (era == CVEC_CLOSED_ERA) {
        fold_void_tickets(vector, era, CVEC_MOST_LEN);
        return VBUF_CLOSED;
    }
    uint64_t capacity = capacity_of_era(vector, era);
    if (index_of(ticket) < capacity) {
        /* Valid; the growers had not raised it yet. Before we return: C4. */
        vbuf_u64_max_release(&vector->capacity_, capacity);
        return VBUF_OK;
    }
    enum vbuf_status status = cvec_grow(vector, era, capacity + 1, false);
    if (status == VBUF_OK)
        return VBUF_BUSY; /* there is room: take another ticket */
    fold_void_tickets(vector, era, capacity);
    return status;
}

enum vbuf_status cvec_claim_run(struct cvec *vector, uint64_t count, uint64_t *first)
{
    assert_shared(vector);
    for (;;) {
        uint64_t seen = vbuf_u64_load_acquire(&vector->len_);
        if (era_of(seen) == CVEC_CLOSED_ERA)
            return VBUF_CLOSED;
        uint64_t capacity = capacity_of_era(vector, era_of(seen));
        uint64_t index = index_of(seen) < capacity ? index_of(seen) : capacity;
        if (count > vector->max_len - index)
            return VBUF_FULL;
        if (index_of(seen) > capacity || index + count > capacity) {
            enum vbuf_status status = cvec_grow(vector, era_of(seen), index + count, false);
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

/* ---- creation ---- */

static bool is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

/* The alignment to use, or 0 when the options cannot be right. */
static size_t choose_alignment(const struct cvec_options *options)
{
    size_t size = options->element_size;
    size_t align = options->element_align;
    if (align == 0 && size == 0)
        return 1;
    if (align == 0) {
        align = size & (~size + 1); /* the largest power of two that divides it */
        return align < 16 ? align : 16;
    }
    return is_power_of_two(align) && align <= CVEC_MAX_ALIGNMENT ? align : 0;
}

static bool is_valid_growth(const struct vbuf_growth *growth)
{
    if (growth->linear != 0 || growth->denominator == 0)
        return growth->numerator == 0 && growth->denominator == 0;
    return growth->numerator > growth->denominator;
}

/* Where things lie: offsets in the reservation, of which the base is aligned to `alignment`. */
struct layout {
    size_t max_len;
    size_t unit;      /* of growth: a page, or a huge page */
    size_t alignment; /* of the reservation and of the first element */
    size_t header;
    size_t eras;
    size_t fixed; /* end of what is committed in front */
    size_t elements;
    size_t size;
};

static bool plan_layout(struct layout *plan, const struct cvec_options *options, bool raw)
{
    size_t page = vmem_page_size(), align = choose_alignment(options);
    size_t size = options->element_size, each = size + !raw;
    if (align == 0 || size > CVEC_MAX_ELEMENT_SIZE || options->header > SIZE_MAX / 8)
        return false;
    size_t most = DEFAULT_ADDRESS_SPACE / (each != 0 ? each : 1);
    plan->max_len = options->max_len != 0 ? options->max_len : most;
    if (plan->max_len > CVEC_MOST_LEN || (each != 0 && plan->max_len > SIZE_MAX / 4 / each))
        return false;
    plan->unit = page;
    if (options->huge_pages == VMEM_HUGE_PAGES_ON && vmem_caps().huge_page_size > page)
        plan->unit = vmem_caps().huge_page_size;
    plan->alignment = align > plan->unit ? align : plan->unit;
    plan->header = vmem_align_up(sizeof(struct cvec), HEADER_ALIGNMENT);
    plan->eras = vmem_align_up(plan->header + options->header, page);
    plan->fixed = plan->eras + vmem_align_up(CVEC_ERAS * sizeof(uint64_t), page);
    /* Whole units on both sides: growth commits no less. */
    size_t ready = raw ? 0 : vmem_align_up(plan->max_len, plan->unit);
    plan->elements = vmem_align_up(plan->fixed + ready, plan->alignment);
    plan->size = plan->elements + vmem_align_up(plan->max_len * size, plan->unit);
    return true;
}

/* Fills in what never changes. The rest is zero, which is right for most. */
static struct cvec *set_up(struct vbuf *memory, const struct layout *plan,
                           const struct cvec_options *options, bool raw)
{
    struct cvec *vector = (struct cvec *)(void *)memory->data;
    vector->elements = memory->data + plan->elements;
    vector->ready_ = raw ? NULL : (struct vbuf_atomic_u8 *)(memory->data + plan->elements);
    vector->element_size = options->element_size;
    vector->element_align_ = choose_alignment(options);
    vector->max_len = plan->max_len;
    vector->era_capacity_ = (struct vbuf_atomic_u64 *)(void *)(memory->data + plan->eras);
    vector->header_ = options->header != 0 ? memory->data + plan->header : NULL;
    vector->growth_ = options->growth;
    if (options->growth.linear == 0 && options->growth.denominator == 0)
        vector->growth_ = (struct vbuf_growth){.numerator = 2, .denominator = 1};
    vector->fixed_size_ = plan->fixed;
    vector->unit_ = plan->unit;
    vector->destroy_ = options->destroy;
    vector->memory_ = *memory;
    vbuf_u64_store_relaxed(&vector->wanted_, UINT64_MAX); /* nobody knows the vector yet */
    return vector;
}

/* Without destroying elements. */
static void give_all_back(struct cvec *vector)
{
    struct vbuf memory = vector->memory_; /* the vector lies in what is given back */
    size_t capacity = cvec_capacity(vector);
    size_t bytes = vector->fixed_size_ + cvec_element_pages(vector, capacity) +
                   cvec_ready_pages(vector, capacity);
    cvec_tell_decommitted(vector, bytes);
    vbuf_destroy(&memory);
}

enum vbuf_status cvec_create_kind(struct cvec **result, const struct cvec_options *options,
                                  bool raw)
{
    struct layout plan;
    if (result == NULL || options == NULL || !is_valid_growth(&options->growth) ||
        !plan_layout(&plan, options, raw) || options->initial_capacity > plan.max_len)
        return VBUF_INVALID;
    struct vbuf memory;
    enum vbuf_status status = vbuf_init(&memory, &(struct vbuf_options){
                                                     .max = plan.size,
                                                     .alignment = plan.alignment,
                                                     .huge_pages = options->huge_pages,
                                                     .charge = options->charge,
                                                     .name = options->name,
                                                     .on_commit = options->on_commit,
                                                     .on_decommit = options->on_decommit,
                                                     .context = options->context,
                                                 });
    if (status != VBUF_OK)
        return status;
    status = vbuf_commit(&memory, 0, plan.fixed);
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    struct cvec *vector = set_up(&memory, &plan, options, raw);
    status = cvec_reserve(vector, options->initial_capacity);
    if (status != VBUF_OK) {
        give_all_back(vector);
        return status;
    }
    *result = vector;
    return VBUF_OK;
}

enum vbuf_status cvec_create(struct cvec **result, const struct cvec_options *options)
{
    return cvec_create_kind(result, options, false);
}

void cvec_destroy(struct cvec *vector)
{
    if (vector == NULL)
        return;
    if (vector->destroy_ != NULL)
        (void)cvec_truncate(vector, 0);
    give_all_back(vector);
}

/* ---- appending ---- */

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

/* `ready` is the element's readiness byte. Pairs with the acquires in cvec_get and cvec_snapshot. */
static inline void set_ready(struct vbuf_atomic_u8 *ready)
{
    DEBUG_ASSERT(vbuf_u8_load_relaxed(ready) == 0 && "published once"); /* relaxed: ours */
    vbuf_u8_store_release(ready, 1);
}

/* Eight a turn, written out: compilers do not unroll atomic stores. */
static void publish_run(struct cvec *vector, size_t first, size_t count)
{
    struct vbuf_atomic_u8 *ready = vector->ready_ - (ptrdiff_t)first; /* downward from here */
    for (; count >= 8; count -= 8, ready -= 8) {
        set_ready(ready - 1);
        set_ready(ready - 2);
        set_ready(ready - 3);
        set_ready(ready - 4);
        set_ready(ready - 5);
        set_ready(ready - 6);
        set_ready(ready - 7);
        set_ready(ready - 8);
    }
    for (; count != 0; count--)
        set_ready(--ready);
    cvec_wake_waiters_(vector);
}

/*
 * Piece by piece, each published once it is copied. For more than 2 KiB memcpy may use the processor's string
 * move, and that is slow where a page is touched first: it faults half-way and starts again. A run so
 * long that it comes from memory, not from a cache, is copied whole: there memcpy's ways win.
 */
static void copy_run(struct cvec *vector, size_t first, const void *elements, size_t count)
{
    size_t size = vector->element_size, most = count;
    if (count * size > COPY_PIECE && count * size < COPY_WHOLE)
        most = size < COPY_PIECE ? COPY_PIECE / size : 1;
    const unsigned char *from = elements;
    while (count != 0) {
        size_t part = count < most ? count : most;
        memcpy(vector->elements + first * size, from, part * size);
        publish_run(vector, first, part);
        first += part;
        from += part * size;
        count -= part;
    }
}

enum vbuf_status cvec_claim(struct cvec *vector, size_t count, size_t *first, void **slots)
{
    if (first == NULL || slots == NULL)
        return VBUF_INVALID;
    uint64_t index = cvec_claimed(vector);
    if (count != 0) {
        enum vbuf_status status = cvec_claim_run(vector, count, &index);
        if (status != VBUF_OK)
            return status;
    }
    *first = (size_t)index;
    *slots = vector->elements + (size_t)index * vector->element_size;
    return VBUF_OK;
}

enum vbuf_status cvec_publish(struct cvec *vector, size_t first, size_t count)
{
    assert_shared(vector);
    size_t claimed = cvec_claimed(vector);
    if (first > claimed || count > claimed - first)
        return VBUF_INVALID;
    if (count != 0)
        publish_run(vector, first, count);
    return VBUF_OK;
}

/*
 * After a short run that is the first in a page: whether threads extend at once, or did so that memory is
 * populated ahead already. Relaxed, both: a hint.
 */
static bool shares_pages(const struct cvec *vector, uint64_t first, uint64_t count)
{
    uint64_t size = vector->element_size, begin = first * size, end = (first + count) * size;
    if (end - begin >= vector->unit_ || ((begin - 1) ^ (end - 1)) < vector->unit_)
        return false;
    return index_of(vbuf_u64_load_relaxed(&vector->len_)) != first + count ||
           first + count < vbuf_u64_load_relaxed(&vector->populated_);
}

enum vbuf_status cvec_extend(struct cvec *vector, const void *elements, size_t count, size_t *first)
{
    if (elements == NULL && count != 0)
        return VBUF_INVALID;
    uint64_t index;
    if (count == 0) {
        index = cvec_claimed(vector);
    } else {
        enum vbuf_status status = cvec_claim_run(vector, count, &index);
        if (status != VBUF_OK)
            return status;
        copy_run(vector, (size_t)index, elements, count);
        if (shares_pages(vector, index, count))
            cvec_populate_ahead(vector, index + count);
    }
    if (first != NULL)
        *first = (size_t)index;
    return VBUF_OK;
}

/* ---- reading ---- */

struct cvec_slice cvec_snapshot(struct cvec *vector)
{
    assert_shared(vector);
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
    /* Acquire pairs with the opening of its era. */
    return (size_t)claimed_at(vector, vbuf_u64_load_acquire(&vector->len_));
}

size_t cvec_capacity(const struct cvec *vector)
{
    return (size_t)vbuf_u64_load_relaxed(&vector->capacity_); /* a figure */
}

size_t cvec_max_len(const struct cvec *vector)
{
    return vector->max_len;
}

/* A closed vector no longer says how many eras it had: count those that were decided. */
static size_t count_growths(const struct cvec *vector, uint64_t era)
{
    if (era != CVEC_CLOSED_ERA)
        return (size_t)era;
    size_t growths = 0;
    while (growths + 1 < CVEC_ERAS && capacity_of_era(vector, growths + 1) != 0)
        growths++;
    return growths;
}

enum vbuf_status cvec_stats(struct cvec *vector, struct cvec_report *stats)
{
    if (stats == NULL)
        return VBUF_INVALID;
    size_t capacity = cvec_capacity(vector);
    uint64_t era = era_of(vbuf_u64_load_relaxed(&vector->len_)); /* a figure */
    *stats = (struct cvec_report){
        .len = cvec_len(vector),
        .claimed = cvec_claimed(vector),
        .capacity = capacity,
        .max_len = vector->max_len,
        .committed_bytes = vector->fixed_size_ + cvec_element_pages(vector, capacity) +
                           cvec_ready_pages(vector, capacity),
        .growths = count_growths(vector, era),
        .waiters = vbuf_u32_load_relaxed(&vector->waiters_), /* a figure */
        .closed = era == CVEC_CLOSED_ERA,
    };
    return VBUF_OK;
}
