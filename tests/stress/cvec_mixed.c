/*
 * cvec_mixed.c - C1 to C6: everything a vector does, at once.
 *
 * Each round has a vector of its own, with elements of 16 or 64 bytes, a max_len that is enough,
 * exactly enough or too small, and often an on_commit hook that refuses large steps, so that it
 * grows in many small ones: each is an era in which claims can go wrong. Writers push, extend and
 * reserve; readers walk, look at the newest element and ask for what is not there. An element says
 * who wrote it, when, and in which run, so one walk at the end shows whether each is there once,
 * whole, and in order.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>

enum { LONGEST_RUN = 128, LARGE_STEP = 12 * 4096 };

struct vector_run {
    struct cvec *vector;
    bool large;
    bool passing; /* indices and lengths are handed from thread to thread */
    unsigned writers;
    uint64_t goal; /* elements a writer appends, if they fit */
    struct vbuf_atomic_u32 writing;
    struct vbuf_atomic_u32 commits;
    struct vbuf_atomic_u64 longest;                    /* a snapshot's count */
    struct vbuf_atomic_u64 newest[STRESS_MAX_THREADS]; /* a writer's last index, plus 1 */
    struct vbuf_atomic_u64 appended;
    struct vbuf_atomic_u64 full;
    struct vbuf_atomic_u64 nomem;
};

/* Three out of four large steps are refused: then the vector tries a small one. */
static bool refuse_large_steps(void *context, size_t bytes)
{
    struct vector_run *run = context;
    return bytes <= LARGE_STEP || vbuf_u32_fetch_add_relaxed(&run->commits, 1) % 4 == 3;
}

static size_t element_size(const struct vector_run *run)
{
    return run->large ? sizeof(struct stress_value) : sizeof(struct stress_pair);
}

static void make(const struct vector_run *run, void *element, uint64_t id)
{
    if (run->large)
        stress_value_make(element, id);
    else
        *(struct stress_pair *)element = (struct stress_pair){id, ~id};
}

/* Not inlined: a fresh look each time. */
static __attribute__((noinline)) bool whole(const struct vector_run *run, const void *element,
                                            uint64_t *id)
{
    const struct stress_pair *pair = element;
    *id = pair->id;
    return run->large ? stress_value_intact(element, *id) : pair->complement == ~pair->id;
}

static const void *address(const struct vector_run *run, const void *base, size_t index)
{
    return (const char *)base + index * element_size(run);
}

/* ---- writers ---- */

/* What was appended is found at once, where it belongs (C4). */
static void find_own(struct vector_run *run, size_t index, uint64_t wanted)
{
    uint64_t id;
    const void *element = cvec_get(run->vector, index);
    if (STRESS_CHECK(element != NULL, "element %zu was pushed and is not found by its pusher",
                     index))
        STRESS_CHECK(whole(run, element, &id) && id == wanted,
                     "element %zu is not what its pusher wrote", index);
}

/* Full or out of memory: is it true? Claims only grow, so what holds now, held then or later. */
static void check_refusal(struct vector_run *run, enum vbuf_status status, size_t count)
{
    if (status == VBUF_NOMEM) {
        vbuf_u64_fetch_add_relaxed(&run->nomem, 1);
        return;
    }
    if (!STRESS_CHECK(status == VBUF_FULL, "appending says %s", vbuf_status_string(status)))
        return;
    size_t claimed = cvec_claimed(run->vector);
    size_t most = cvec_max_len(run->vector);
    STRESS_CHECK(claimed + count > most, "full, and %zu more fit: %zu of %zu are claimed", count,
                 claimed, most);
    vbuf_u64_fetch_add_relaxed(&run->full, 1);
}

static enum vbuf_status push_one(struct vector_run *run, uint64_t id, bool typed, size_t *index)
{
    if (typed && !run->large) {
        struct stress_pairs view = stress_pairs_of(run->vector);
        return stress_pairs_push(&view, (struct stress_pair){id, ~id}, index);
    }
    struct stress_value element;
    make(run, &element, id);
    return cvec_push(run->vector, &element, index);
}

static enum vbuf_status extend_many(struct vector_run *run, unsigned writer, uint64_t turn,
                                    size_t count, size_t *first)
{
    struct stress_value elements[LONGEST_RUN];
    for (size_t i = 0; i < count; i++)
        make(run, (char *)elements + i * element_size(run), stress_item_id(writer, i, turn + i));
    return cvec_extend(run->vector, elements, count, first);
}

static void reserve_some(struct vector_run *run, struct check_rng *rng)
{
    size_t most = cvec_max_len(run->vector);
    size_t capacity = cvec_capacity(run->vector) + stress_below(rng, 4096);
    enum vbuf_status status = cvec_reserve(run->vector, capacity);
    if (status == VBUF_OK)
        STRESS_CHECK(cvec_capacity(run->vector) >= capacity,
                     "reserved %zu, and the capacity is %zu", capacity, cvec_capacity(run->vector));
    else
        STRESS_CHECK(status == VBUF_NOMEM || (status == VBUF_FULL && capacity > most),
                     "reserve of %zu, max_len %zu, says %s", capacity, most,
                     vbuf_status_string(status));
}

static void write_elements(struct stress_thread *self)
{
    struct vector_run *run = self->context;
    struct check_rng *rng = &self->rng;
    uint64_t turn = 0;
    unsigned refused = 0;
    uint64_t counted = 0;
    while (turn < run->goal && !stress_failed()) {
        size_t count = 1;
        size_t index;
        enum vbuf_status status;
        if (stress_chance(rng, 8)) {
            count = 1 + stress_below(rng, LONGEST_RUN);
            if (count > run->goal - turn)
                count = (size_t)(run->goal - turn);
            status = extend_many(run, self->id, turn, count, &index);
        } else {
            status =
                push_one(run, stress_item_id(self->id, 0, turn), stress_chance(rng, 2), &index);
        }
        if (status != VBUF_OK) {
            check_refusal(run, status, count);
            if (status == VBUF_FULL && count == 1)
                break;
            if (status == VBUF_NOMEM && !stress_wait(&refused))
                stress_fail("no memory for ten seconds, and the hook gives some");
            continue;
        }
        refused = 0;
        find_own(run, index + count - 1,
                 stress_item_id(self->id, count > 1 ? count - 1 : 0, turn + count - 1));
        turn += count;
        if (run->passing) /* release: whoever takes the index, the push has returned (C4) */
            vbuf_u64_store_release(&run->newest[self->id], index + count);
        if (stress_chance(rng, 4096))
            reserve_some(run, rng);
        stress_disturb(rng);
        if (turn - counted >= 1024) {
            stress_count(turn - counted);
            counted = turn;
        }
    }
    vbuf_u64_fetch_add_relaxed(&run->appended, turn);
    vbuf_u32_fetch_add_relaxed(&run->writing, UINT32_MAX);
}

/* ---- readers ---- */

struct reader {
    struct vector_run *run;
    struct stress_order order; /* of the prefix seen so far */
    const void *base;
};

/* Takes a snapshot and walks what is new in it. */
static void walk_on(struct reader *reader)
{
    struct vector_run *run = reader->run;
    /* Acquire: a snapshot of that length has been returned already (C3: it never shrinks). */
    uint64_t before = run->passing ? vbuf_u64_load_acquire(&run->longest) : 0;
    struct cvec_slice slice = cvec_snapshot(run->vector);
    STRESS_CHECK(slice.count >= before && slice.count >= reader->order.count,
                 "the prefix shrank to %zu", slice.count);
    STRESS_CHECK(reader->base == NULL || slice.data == reader->base, "the elements moved");
    STRESS_CHECK(slice.count <= cvec_max_len(run->vector), "a prefix of %zu", slice.count);
    reader->base = slice.data;
    while (reader->order.count < slice.count && !stress_failed()) {
        size_t index = (size_t)reader->order.count;
        uint64_t id;
        if (!STRESS_CHECK(whole(run, address(run, slice.data, index), &id),
                          "element %zu is in the prefix of %zu and not whole", index, slice.count))
            return;
        stress_order_step(&reader->order, id);
    }
    if (run->passing) {
        uint64_t seen = vbuf_u64_load_relaxed(&run->longest);
        while (seen < slice.count && !vbuf_u64_cas_acq_rel(&run->longest, &seen, slice.count)) {
        }
    }
}

/* The newest claims, as soon as they are published: what get gives is whole (C2). */
static void look_at_tail(struct reader *reader)
{
    struct vector_run *run = reader->run;
    size_t claimed = cvec_claimed(run->vector);
    STRESS_CHECK(claimed <= cvec_max_len(run->vector), "%zu are claimed", claimed);
    for (size_t back = 0; back < 8 && back < claimed; back++) {
        size_t index = claimed - 1 - back;
        uint64_t id;
        const void *element = cvec_get(run->vector, index);
        if (element != NULL && STRESS_CHECK(whole(run, element, &id),
                                            "get gave element %zu before it was whole", index))
            STRESS_CHECK(stress_item_writer(id) < run->writers, "element %zu is nobody's", index);
    }
}

static void look_at_newest(struct reader *reader, struct check_rng *rng)
{
    struct vector_run *run = reader->run;
    unsigned writer = (unsigned)stress_below(rng, run->writers);
    uint64_t end = vbuf_u64_load_acquire(&run->newest[writer]);
    if (end == 0)
        return;
    uint64_t id;
    const void *element = cvec_get(run->vector, end - 1);
    if (STRESS_CHECK(element != NULL, "the push of element %" PRIu64 " has returned: get is NULL",
                     end - 1))
        STRESS_CHECK(whole(run, element, &id) && stress_item_writer(id) == writer,
                     "element %" PRIu64 " is not its writer's", end - 1);
}

/* What is not there is NULL, whatever the index. */
static void look_past_end(struct reader *reader, struct check_rng *rng)
{
    size_t most = cvec_max_len(reader->run->vector);
    size_t index = (size_t)(check_rng_next(rng) >> stress_below(rng, 64));
    if (index >= most)
        STRESS_CHECK(cvec_get(reader->run->vector, index) == NULL, "get(%zu), max_len %zu", index,
                     most);
    STRESS_CHECK(cvec_get(reader->run->vector, most) == NULL, "get(max_len) is not NULL");
}

static void read_elements(struct stress_thread *self)
{
    struct reader reader = {.run = self->context};
    /*
     * Looking at the tail orders everything below it: one reader must rely on the watermark alone.
     */
    bool only_walks = self->id % 2 == 0;
    while (vbuf_u32_load_relaxed(&reader.run->writing) > 0 && !stress_failed()) {
        if (only_walks || stress_chance(&self->rng, 8))
            walk_on(&reader);
        if (!only_walks)
            look_at_tail(&reader);
        if (reader.run->passing)
            look_at_newest(&reader, &self->rng);
        look_past_end(&reader, &self->rng);
        stress_disturb(&self->rng);
    }
    walk_on(&reader);
}

static void read_or_write(struct stress_thread *self)
{
    struct vector_run *run = self->context;
    if (self->id < run->writers)
        write_elements(self);
    else
        read_elements(self);
}

/* ---- a round ---- */

/* With nobody else at it. */
static void check_all(struct vector_run *run)
{
    struct reader reader = {.run = run};
    struct cvec_report stats;
    uint64_t appended = vbuf_u64_load_relaxed(&run->appended);
    walk_on(&reader);
    cvec_stats(run->vector, &stats);
    STRESS_CHECK(
        reader.order.count == appended && stats.claimed == appended && stats.len == appended,
        "appended %" PRIu64 ", claimed %zu, published %zu", appended, stats.claimed, stats.len);
    STRESS_CHECK(stats.capacity <= stats.max_len, "capacity %zu, max_len %zu", stats.capacity,
                 stats.max_len);
    if (run->goal * run->writers <= stats.max_len)
        STRESS_CHECK(vbuf_u64_load_relaxed(&run->full) == 0, "full, and there is room for all");
    else
        STRESS_CHECK(appended == stats.max_len, "appended %" PRIu64 " and then full, max_len %zu",
                     appended, stats.max_len);
}

static uint64_t one_vector(struct check_rng *rng, unsigned threads, uint64_t *growths)
{
    static struct vector_run run;
    run = (struct vector_run){.large = stress_chance(rng, 2),
                              .passing = stress_chance(rng, 2),
                              .writers = threads - threads / 3};
    run.goal = 1 + stress_below(rng, stress_amount(100000, 10000));
    uint64_t wanted = run.goal * run.writers;
    size_t max_len = (size_t)wanted;
    if (stress_chance(rng, 3))
        max_len = 1 + (size_t)stress_below(rng, wanted);
    else if (stress_chance(rng, 2))
        max_len = (size_t)wanted * 2;
    struct cvec_options options = {.element_size = element_size(&run),
                                   .max_len = max_len,
                                   .initial_capacity = (size_t)stress_below(rng, 8),
                                   .on_commit = stress_chance(rng, 3) ? NULL : refuse_large_steps,
                                   .context = &run};
    if (options.initial_capacity > max_len)
        options.initial_capacity = max_len;
    vbuf_u32_store_relaxed(&run.writing, run.writers);
    if (!STRESS_CHECK(cvec_create(&run.vector, &options) == VBUF_OK, "create"))
        return 0;
    stress_run(threads, read_or_write, &run);
    if (!stress_failed())
        check_all(&run);
    struct cvec_report stats;
    cvec_stats(run.vector, &stats);
    *growths += stats.growths;
    cvec_destroy(run.vector);
    return vbuf_u64_load_relaxed(&run.appended);
}

void stress_cvec_mixed(void)
{
    struct check_rng rng = stress_stream(0);
    unsigned threads = stress_threads(6, 2);
    uint64_t appended = 0;
    uint64_t growths = 0;
    uint64_t vectors = 0;
    do {
        appended += one_vector(&rng, threads, &growths);
        vectors++;
    } while (stress_going());
    stress_note("%" PRIu64 " vectors, %.1f M elements, grown %" PRIu64 " times", vectors,
                (double)appended / 1e6, growths);
}
