/*
 * cvec_all_writers.c - the threads of the case cvec-all that append: by push, extend, appender, and by
 * claims that are published late, in pieces and out of order.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_all.h"

#include <inttypes.h>
#include <string.h>

enum { LONGEST_RUN = 100, MOST_HELD = 8 };

/* Not inlined: a fresh look each time. */
__attribute__((noinline)) bool all_whole(const struct all_run *run, const void *element,
                                         uint64_t *id)
{
    const struct stress_pair *pair = element;
    *id = pair->id;
    return run->large ? stress_value_intact(element, *id) : pair->complement == ~pair->id;
}

/* ---- writers ---- */

/* Claimed and not published. */
struct held {
    size_t first, count, published; /* the last `published` of them are */
    unsigned char *slots;
    uint64_t turn;
};

struct writer {
    struct all_run *run;
    struct stress_thread *self;
    struct check_rng *rng;
    uint64_t turn; /* elements made so far */
    uint64_t sum;  /* of their ids */
    uint64_t counted;
    unsigned refused;
    struct held held[MOST_HELD];
    unsigned holding;
    struct cvec_appender appender;
    unsigned char *elements; /* room for LONGEST_RUN */
};

static void make(struct writer *writer, void *element, size_t place, uint64_t turn)
{
    uint64_t id = stress_item_id(writer->self->id, place, turn);
    all_make(writer->run, element, id);
    writer->sum += id;
}

/* What was appended is found at once, where it belongs (C4). */
static void find_own(struct writer *writer, size_t index, size_t place, uint64_t turn)
{
    uint64_t id;
    const void *element = cvec_get(writer->run->vector, index);
    if (STRESS_CHECK(element != NULL, "element %zu is not found by its own thread", index))
        STRESS_CHECK(all_whole(writer->run, element, &id) &&
                         id == stress_item_id(writer->self->id, place, turn),
                     "element %zu is not what was written", index);
}

/* A run's length: short at times, and not past the goal. */
static size_t some_count(struct writer *writer, size_t most)
{
    size_t count = 1 + (size_t)stress_below(writer->rng, most);
    uint64_t left = writer->run->goal - writer->turn;
    return count < left ? count : (size_t)left;
}

static enum vbuf_status push(struct writer *writer)
{
    struct all_run *run = writer->run;
    struct stress_pairs view = stress_pairs_of(run->vector);
    uint64_t before = writer->sum;
    size_t index = 0;
    make(writer, writer->elements, 0, writer->turn);
    enum vbuf_status status =
        !run->large && stress_chance(writer->rng, 2)
            ? stress_pairs_push(&view, *(struct stress_pair *)(void *)writer->elements, &index)
            : cvec_push(run->vector, writer->elements, &index);
    if (status == VBUF_OK)
        find_own(writer, index, 0, writer->turn++);
    else
        writer->sum = before;
    return status;
}

static enum vbuf_status extend(struct writer *writer)
{
    size_t count = some_count(writer, LONGEST_RUN), first = 0;
    uint64_t before = writer->sum;
    for (size_t i = 0; i < count; i++)
        make(writer, writer->elements + i * all_element_size(writer->run), i, writer->turn + i);
    enum vbuf_status status = cvec_extend(writer->run->vector, writer->elements, count, &first);
    if (status == VBUF_OK) {
        find_own(writer, first + count - 1, count - 1, writer->turn + count - 1);
        writer->turn += count;
    } else {
        writer->sum = before;
    }
    return status;
}

/* The elements that a block lost to a close do not count. */
static void discard(struct writer *writer)
{
    struct cvec_appender *appender = &writer->appender;
    for (size_t i = 0; i < appender->count; i++) {
        uint64_t id = 0;
        const void *element = appender->elements + i * all_element_size(writer->run);
        STRESS_CHECK(all_whole(writer->run, element, &id), "a block forgot element %zu", i);
        writer->sum -= id;
    }
    writer->turn -= appender->count;
    vbuf_u64_fetch_add_relaxed(&writer->run->discarded, appender->count);
    cvec_appender_discard(appender);
}

static enum vbuf_status append(struct writer *writer)
{
    struct cvec_appender *appender = &writer->appender;
    enum vbuf_status status = VBUF_OK;
    if (appender->vector == NULL) {
        size_t most = writer->run->goal < 200 ? (size_t)writer->run->goal : 200;
        status = cvec_appender_create(appender, writer->run->vector,
                                      (size_t)stress_below(writer->rng, most + 1));
        if (status == VBUF_OK && appender->block > UINT16_MAX)
            stress_fail("a block of %zu", appender->block);
        return status;
    }
    if (stress_chance(writer->rng, 300)) {
        size_t first = 0, count = appender->count;
        status = cvec_appender_flush(appender, &first);
        if (status == VBUF_OK && count > 0)
            find_own(writer, first + count - 1, count - 1, writer->turn - 1);
        return status;
    }
    uint64_t before = writer->sum;
    size_t place = appender->count == appender->block ? 0 : appender->count;
    make(writer, writer->elements, place, writer->turn);
    status = cvec_appender_push(appender, writer->elements);
    if (status == VBUF_OK)
        writer->turn++;
    else
        writer->sum = before;
    return status;
}

/* Publishes some of what one claim still holds, from its end. */
static void publish_some(struct writer *writer, struct held *held)
{
    size_t size = all_element_size(writer->run), left = held->count - held->published;
    size_t some = 1 + (size_t)stress_below(writer->rng, left);
    for (size_t i = left - some; i < left; i++)
        make(writer, held->slots + i * size, i, held->turn + i);
    enum vbuf_status status = cvec_publish(writer->run->vector, held->first + left - some, some);
    STRESS_CHECK(status == VBUF_OK, "publish says %s", vbuf_status_string(status));
    find_own(writer, held->first + left - 1, left - 1, held->turn + left - 1);
    held->published += some;
    if (held->published == held->count)
        *held = writer->held[--writer->holding];
}

static enum vbuf_status claim(struct writer *writer)
{
    if (writer->holding == MOST_HELD || (writer->holding > 0 && stress_chance(writer->rng, 2))) {
        publish_some(writer, &writer->held[stress_below(writer->rng, writer->holding)]);
        return VBUF_OK;
    }
    struct held held = {.count = some_count(writer, stress_chance(writer->rng, 4) ? 64 : 4),
                        .turn = writer->turn};
    void *slots;
    enum vbuf_status status = cvec_claim(writer->run->vector, held.count, &held.first, &slots);
    if (status != VBUF_OK)
        return status;
    held.slots = slots;
    writer->held[writer->holding++] = held;
    writer->turn += held.count;
    return VBUF_OK;
}

/* Whether to go on after a step that ended so. */
static bool goes_on(struct writer *writer, enum vbuf_status status)
{
    struct all_run *run = writer->run;
    if (status == VBUF_OK) {
        writer->refused = 0;
        stress_disturb(writer->rng);
        if (writer->turn - writer->counted >= 1024) {
            stress_count(writer->turn - writer->counted);
            writer->counted = writer->turn;
        }
        return true;
    }
    if (status == VBUF_CLOSED)
        return !STRESS_CHECK(run->ending == CLOSED_EARLY && cvec_is_closed(run->vector),
                             "closed, and nobody closes");
    if (!STRESS_CHECK(status == VBUF_NOMEM, "appending says %s", vbuf_status_string(status)))
        return false;
    return stress_wait(&writer->refused) || stress_fail("no memory for ten seconds");
}

void all_close_and_tell(struct all_run *run)
{
    cvec_close(run->vector);
    size_t claimed = cvec_claimed(run->vector);
    uint64_t before = 0;
    if (!vbuf_u64_cas_acq_rel(&run->final, &before, claimed))
        STRESS_CHECK(before == claimed, "closed at %" PRIu64 ", and %zu are claimed", before,
                     claimed);
    vbuf_u32_store_release(&run->closed, 1); /* pairs with the acquire in write_all */
}

static void end_appender(struct writer *writer)
{
    while (writer->appender.vector != NULL && !stress_failed()) {
        enum vbuf_status status = cvec_appender_destroy(&writer->appender);
        if (status != VBUF_OK && !goes_on(writer, status))
            discard(writer);
    }
}

static void write_all(struct stress_thread *self, enum vbuf_status (*step)(struct writer *))
{
    struct all_run *run = self->context;
    struct stress_value elements[LONGEST_RUN];
    struct writer writer = {.run = run, .self = self, .rng = &self->rng};
    writer.elements = (unsigned char *)elements;
    while (writer.turn < run->goal && !stress_failed()) {
        bool closed = vbuf_u32_load_acquire(&run->closed) != 0;
        uint64_t turn = writer.turn;
        enum vbuf_status status = step(&writer);
        if (closed && step != append)
            STRESS_CHECK(writer.turn == turn, "appended to a closed vector");
        if (!goes_on(&writer, status))
            break;
    }
    while (writer.holding > 0 && !stress_failed())
        publish_some(&writer, &writer.held[stress_below(writer.rng, writer.holding)]);
    end_appender(&writer);
    run->added[self->id] = writer.turn;
    run->sums[self->id] = writer.sum;
    if (vbuf_u32_fetch_add_relaxed(&run->writing, UINT32_MAX) == 1 && run->ending >= CLOSED_LATE)
        all_close_and_tell(run);
}

void all_write_by_push(struct stress_thread *self)
{
    write_all(self, push);
}

void all_write_by_extend(struct stress_thread *self)
{
    write_all(self, extend);
}

void all_write_by_appender(struct stress_thread *self)
{
    write_all(self, append);
}

void all_write_by_claim(struct stress_thread *self)
{
    write_all(self, claim);
}
