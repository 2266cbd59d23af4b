/*
 * vbuf_typed_model_test.c - a million calls of a typed vector, chosen at random, against a plain array;
 * see vbuf_model.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "check.h"
#include "vbuf_model.h"

struct record {
    uint32_t words[3]; /* 12 bytes: pages do not hold a whole number of them */
};

VBUF_DEFINE(records, struct record)

#define SIZE sizeof(struct record)

/* The vector beside the model, whose b is v->bytes and whose len is bytes, too. */
struct typed_model {
    struct model m;
    struct records v;
};

static size_t count_of(const struct typed_model *t)
{
    return t->m.len / SIZE;
}

static struct record *model_at(const struct typed_model *t, size_t index)
{
    return (struct record *)(void *)t->m.bytes + index;
}

static struct record some_record(struct typed_model *t)
{
    uint32_t word = (uint32_t)check_rng_next(&t->m.rng);
    return (struct record){{word, word * 3, ~word}};
}

static bool is_equal(const struct record *a, const struct record *b)
{
    return memcmp(a, b, SIZE) == 0;
}

static void push(struct typed_model *t)
{
    struct record value = some_record(t);
    enum vbuf_status expected = foretell(&t->m, t->m.len + SIZE);
    if (CHECK_STATUS(expected, records_push(&t->v, value)) && expected == VBUF_OK) {
        *model_at(t, count_of(t)) = value;
        t->m.len += SIZE;
    }
}

static void pop(struct typed_model *t)
{
    struct record value;
    bool any = t->m.len != 0;
    if (CHECK(records_pop(&t->v, &value) == any) && any) {
        t->m.len -= SIZE;
        CHECK(is_equal(&value, model_at(t, count_of(t))));
    }
}

static void extend(struct typed_model *t)
{
    size_t count = some_size(&t->m) / SIZE;
    count = count < count_of(t) ? count : count_of(t); /* its own */
    size_t from = below(&t->m, count_of(t) - count + 1);
    enum vbuf_status expected = foretell(&t->m, t->m.len + count * SIZE);
    if (CHECK_STATUS(expected, records_extend(&t->v, records_data(&t->v) + from, count)) &&
        expected == VBUF_OK) {
        memcpy(model_at(t, count_of(t)), model_at(t, from), count * SIZE);
        t->m.len += count * SIZE;
    }
}

static void add(struct typed_model *t)
{
    int error;
    size_t count = below(&t->m, 10);
    bool possible = can_alloc(&t->m, count * SIZE, &error);
    struct record *added = records_add(&t->v, count);
    if (!CHECK((added != NULL) == possible) || !possible) {
        CHECK_EQ(errno, error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        added[i] = some_record(t);
        *model_at(t, count_of(t)) = added[i];
        t->m.len += SIZE;
    }
}

static void insert(struct typed_model *t)
{
    struct record value = some_record(t);
    size_t index = below(&t->m, count_of(t) + 2);
    enum vbuf_status expected =
        index > count_of(t) ? VBUF_INVALID : foretell(&t->m, t->m.len + SIZE);
    if (CHECK_STATUS(expected, records_insert(&t->v, index, value)) && expected == VBUF_OK) {
        memmove(model_at(t, index + 1), model_at(t, index), t->m.len - index * SIZE);
        *model_at(t, index) = value;
        t->m.len += SIZE;
    }
}

static void take_out(struct typed_model *t)
{
    struct record value;
    size_t index = below(&t->m, count_of(t) + 2);
    bool valid = index < count_of(t), by_swap = below(&t->m, 2) == 0;
    CHECK_STATUS(valid ? VBUF_OK : VBUF_INVALID, by_swap ? records_swap_remove(&t->v, index, &value)
                                                         : records_remove(&t->v, index, &value));
    if (!valid)
        return;
    CHECK(is_equal(&value, model_at(t, index)));
    t->m.len -= SIZE;
    if (by_swap)
        *model_at(t, index) = *model_at(t, count_of(t));
    else
        memmove(model_at(t, index), model_at(t, index + 1), t->m.len - index * SIZE);
}

static void look(struct typed_model *t)
{
    size_t index = below(&t->m, count_of(t) + 2);
    const struct record *element = records_at(&t->v, index);
    CHECK((element != NULL) == (index < count_of(t)));
    CHECK(element == NULL || is_equal(element, model_at(t, index)));
    CHECK((records_first(&t->v) != NULL) == (t->m.len != 0));
    element = records_last(&t->v);
    CHECK((element != NULL) == (t->m.len != 0));
    CHECK(element == NULL || is_equal(element, model_at(t, count_of(t) - 1)));
}

static void truncate_it(struct typed_model *t)
{
    struct model *m = &t->m;
    size_t less = below(m, 16) == 0 ? below(m, count_of(t) + 1) : below(m, count_of(t) / 8 + 1);
    CHECK_STATUS(VBUF_INVALID, records_truncate(&t->v, count_of(t) + 1));
    CHECK_STATUS(VBUF_OK, records_truncate(&t->v, count_of(t) - less));
    m->len -= less * SIZE;
}

static void resize(struct typed_model *t)
{
    struct model *m = &t->m;
    size_t to = below(m, 4) == 0 ? below(m, MOST / SIZE) : count_of(t) + below(m, 100);
    enum vbuf_status expected = foretell(m, to * SIZE);
    if (CHECK_STATUS(expected, records_resize(&t->v, to)) && expected == VBUF_OK) {
        if (to > count_of(t))
            memset(m->bytes + m->len, 0, to * SIZE - m->len);
        m->len = to * SIZE;
    }
}

static void reserve(struct typed_model *t)
{
    size_t count = below(&t->m, MOST / SIZE);
    enum vbuf_status expected = foretell(&t->m, count * SIZE);
    bool exact = below(&t->m, 2) == 0;
    CHECK_STATUS(expected,
                 exact ? records_reserve_exact(&t->v, count) : records_reserve(&t->v, count));
    if (expected == VBUF_OK)
        promise(&t->m, count * SIZE);
}

static void clear_or_shrink(struct typed_model *t)
{
    if (below(&t->m, 3) == 0) {
        promise(&t->m, t->v.bytes.capacity);
        records_clear(&t->v);
        t->m.len = 0;
        return;
    }
    bool refused = t->m.decommits_fail && whole_pages(&t->v.bytes, t->m.len) < t->v.bytes.capacity;
    CHECK_STATUS(refused ? VBUF_NOMEM : VBUF_OK, records_shrink_to_fit(&t->v));
    if (!refused)
        t->m.promised = 0;
}

static void step(struct typed_model *t)
{
    typedef void call(struct typed_model * t);
    static call *const calls[] = {push, push, push, push,   push,     pop,  pop,
                                  pop,  add,  add,  insert, take_out, look, extend};
    size_t which = below(&t->m, 400);
    if (which == 0)
        change_weather(&t->m);
    else if (which <= 2)
        clear_or_shrink(t);
    else if (which == 3)
        reserve(t);
    else if (which <= 8)
        truncate_it(t);
    else if (which <= 10)
        resize(t);
    else
        calls[which % (sizeof calls / sizeof *calls)](t);
}

static void make_another(struct typed_model *t)
{
    struct vbuf_options options = with_books(some_options(&t->m), &t->m.books);
    size_t max_len = options.max / SIZE;
    if (options.initial > max_len * SIZE)
        options.initial = max_len * SIZE;
    CHECK_STATUS(VBUF_OK, records_init(&t->v, max_len, &options));
    t->m.b = &t->v.bytes;
    start_anew(&t->m, options.initial);
}

TEST(vbuf_model, a_million_calls_of_a_typed_vector)
{
    struct typed_model t = {.m = {.rng = {check_seed()}, .bytes = malloc(MOST + SIZE)}};
    REQUIRE(t.m.bytes != NULL);
    size_t count = rounds();
    for (size_t i = 0; i < count && check_failures() == 0; i++) {
        if (i % 5000 == 0) {
            fault_clear();
            records_destroy(&t.v);
            CHECK_EQ(t.m.books.balance, 0);
            make_another(&t);
        }
        step(&t);
        CHECK_EQ(records_len(&t.v), count_of(&t));
        if (!agrees(&t.m, i % 1000 == 999))
            fprintf(stderr, "after call %zu\n", i);
    }
    was_thorough(&t.m);
    fault_clear();
    records_destroy(&t.v);
    free(t.m.bytes);
}
