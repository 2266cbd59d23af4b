/*
 * vbuf_typed_test.c - VBUF_DEFINE: every call of the typed vector, for element types of several sizes
 * and alignments. One driver for all types goes through a table of the calls.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

/* No type has padding: assignment need not copy that. */
struct colour {
    unsigned char rgb[3];
};
struct triple {
    uint64_t words[3];
};
struct wide {
    _Alignas(128) unsigned char bytes[128];
};

VBUF_DEFINE(octets, uint8_t)
VBUF_DEFINE(words, uint64_t)
VBUF_DEFINE(colours, struct colour)
VBUF_DEFINE(triples, struct triple)
VBUF_DEFINE(wides, struct wide)

/* The calls of one typed vector, which is a struct around a struct vbuf. */
struct calls {
    size_t size, align;
    enum vbuf_status (*init)(struct vbuf *b, size_t max_len, const struct vbuf_options *options);
    void (*destroy)(struct vbuf *b);
    enum vbuf_status (*push)(struct vbuf *b, const void *value);
    bool (*pop)(struct vbuf *b, void *value);
    void *(*at)(const struct vbuf *b, size_t index);
    void *(*first)(const struct vbuf *b);
    void *(*last)(const struct vbuf *b);
    void *(*data)(const struct vbuf *b);
    size_t (*len)(const struct vbuf *b);
    size_t (*capacity)(const struct vbuf *b);
    void *(*add)(struct vbuf *b, size_t count);
    enum vbuf_status (*extend)(struct vbuf *b, const void *values, size_t count);
    enum vbuf_status (*insert)(struct vbuf *b, size_t index, const void *value);
    enum vbuf_status (*remove)(struct vbuf *b, size_t index, void *value);
    enum vbuf_status (*swap_remove)(struct vbuf *b, size_t index, void *value);
    enum vbuf_status (*reserve)(struct vbuf *b, size_t count);
    enum vbuf_status (*reserve_exact)(struct vbuf *b, size_t count);
    enum vbuf_status (*resize)(struct vbuf *b, size_t len);
    enum vbuf_status (*truncate)(struct vbuf *b, size_t len);
    void (*clear)(struct vbuf *b);
    enum vbuf_status (*shrink_to_fit)(struct vbuf *b);
};

/* One line for each call: from the table's form to the typed one. */
#define SELF(name) ((struct name *)(void *)b)
#define CONST_SELF(name) ((const struct name *)(const void *)b)
#define ADAPT(name, result, call, parameters, arguments)                                           \
    static result adapt_##name##_##call parameters                                                 \
    {                                                                                              \
        return name##_##call arguments;                                                            \
    }
#define ADAPT_VOID(name, call)                                                                     \
    static void adapt_##name##_##call(struct vbuf *b)                                              \
    {                                                                                              \
        name##_##call(SELF(name));                                                                 \
    }
#define STATUS enum vbuf_status
#define ADAPT_ALL(name, T)                                                                         \
    ADAPT(name, STATUS, init, (struct vbuf * b, size_t n, const struct vbuf_options *o),           \
          (SELF(name), n, o))                                                                      \
    ADAPT_VOID(name, destroy)                                                                      \
    ADAPT_VOID(name, clear)                                                                        \
    ADAPT(name, STATUS, push, (struct vbuf * b, const void *v), (SELF(name), *(const T *)v))       \
    ADAPT(name, bool, pop, (struct vbuf * b, void *v), (SELF(name), v))                            \
    ADAPT(name, void *, at, (const struct vbuf *b, size_t i), (CONST_SELF(name), i))               \
    ADAPT(name, void *, first, (const struct vbuf *b), (CONST_SELF(name)))                         \
    ADAPT(name, void *, last, (const struct vbuf *b), (CONST_SELF(name)))                          \
    ADAPT(name, void *, data, (const struct vbuf *b), (CONST_SELF(name)))                          \
    ADAPT(name, size_t, len, (const struct vbuf *b), (CONST_SELF(name)))                           \
    ADAPT(name, size_t, capacity, (const struct vbuf *b), (CONST_SELF(name)))                      \
    ADAPT(name, void *, add, (struct vbuf * b, size_t n), (SELF(name), n))                         \
    ADAPT(name, STATUS, extend, (struct vbuf * b, const void *v, size_t n), (SELF(name), v, n))    \
    ADAPT(name, STATUS, insert, (struct vbuf * b, size_t i, const void *v),                        \
          (SELF(name), i, *(const T *)v))                                                          \
    ADAPT(name, STATUS, remove, (struct vbuf * b, size_t i, void *v), (SELF(name), i, v))          \
    ADAPT(name, STATUS, swap_remove, (struct vbuf * b, size_t i, void *v), (SELF(name), i, v))     \
    ADAPT(name, STATUS, reserve, (struct vbuf * b, size_t n), (SELF(name), n))                     \
    ADAPT(name, STATUS, reserve_exact, (struct vbuf * b, size_t n), (SELF(name), n))               \
    ADAPT(name, STATUS, resize, (struct vbuf * b, size_t n), (SELF(name), n))                      \
    ADAPT(name, STATUS, truncate, (struct vbuf * b, size_t n), (SELF(name), n))                    \
    ADAPT(name, STATUS, shrink_to_fit, (struct vbuf * b), (SELF(name)))

ADAPT_ALL(octets, uint8_t)
ADAPT_ALL(words, uint64_t)
ADAPT_ALL(colours, struct colour)
ADAPT_ALL(triples, struct triple)
ADAPT_ALL(wides, struct wide)

#define CALL(name, call) .call = adapt_##name##_##call
#define CALLS(name, T)                                                                             \
    {                                                                                              \
        .size = sizeof(T), .align = _Alignof(T), CALL(name, init), CALL(name, destroy),            \
        CALL(name, push), CALL(name, pop), CALL(name, at), CALL(name, first), CALL(name, last),    \
        CALL(name, data), CALL(name, len), CALL(name, capacity), CALL(name, extend),               \
        CALL(name, add), CALL(name, insert), CALL(name, remove), CALL(name, swap_remove),          \
        CALL(name, reserve), CALL(name, reserve_exact), CALL(name, resize), CALL(name, truncate),  \
        CALL(name, clear), CALL(name, shrink_to_fit)                                               \
    }

static const struct calls all_calls[] = {
    CALLS(octets, uint8_t),        CALLS(words, uint64_t),    CALLS(colours, struct colour),
    CALLS(triples, struct triple), CALLS(wides, struct wide),
};
#define TYPES (sizeof all_calls / sizeof *all_calls)

/* A vector and what it should hold: a number for each element, which all its bytes follow from. */
struct vector {
    const struct calls *calls;
    struct vbuf b;
    size_t len;
    unsigned char numbers[1100];
};

#define MAX_LEN ((size_t)1000)

/* The least count whose bytes wrap to few, where there is one. */
static size_t wrapping_count(size_t size)
{
    return size > 1 ? SIZE_MAX / size + 1 : SIZE_MAX;
}

static void *stamp(struct wide *element, unsigned number)
{
    for (size_t i = 0; i < sizeof element->bytes; i++)
        element->bytes[i] = (unsigned char)(number * 31 + i * 7);
    return element;
}

static bool is_stamped(const void *element, size_t size, unsigned number)
{
    struct wide expected;
    return memcmp(element, stamp(&expected, number), size) == 0;
}

static void make(struct vector *v, const struct calls *calls, size_t max_len)
{
    memset(v, 0, sizeof *v);
    v->calls = calls;
    CHECK_STATUS(VBUF_OK, calls->init(&v->b, max_len, NULL));
}

/* Everything that can be asked. */
static bool agrees(const struct vector *v)
{
    const struct calls *c = v->calls;
    bool right = CHECK_EQ(c->len(&v->b), v->len) && CHECK_EQ(v->b.len, v->len * c->size);
    right = CHECK_EQ(c->capacity(&v->b), v->b.capacity / c->size) && right;
    right = CHECK(c->data(&v->b) == v->b.data && is_sound(&v->b)) && right;
    right = CHECK((c->first(&v->b) == NULL) == (v->len == 0)) && right;
    right = CHECK((c->last(&v->b) == NULL) == (v->len == 0)) && right;
    right = CHECK(c->at(&v->b, v->len) == NULL && c->at(&v->b, SIZE_MAX) == NULL) && right;
    right = CHECK(c->at(&v->b, wrapping_count(c->size)) == NULL) && right;
    for (size_t i = 0; i < v->len && right; i++) {
        unsigned char *element = c->at(&v->b, i);
        right = CHECK(element == v->b.data + i * c->size) &&
                CHECK_EQ((uintptr_t)element % c->align, 0) &&
                CHECK(is_stamped(element, c->size, v->numbers[i])) &&
                (i != 0 || CHECK(c->first(&v->b) == element)) &&
                (i != v->len - 1 || CHECK(c->last(&v->b) == element));
    }
    return right;
}

static void push_some(struct vector *v, size_t count)
{
    for (; count > 0; count--) {
        struct wide element;
        unsigned number = (unsigned)v->len * 13 % 251;
        REQUIRE(CHECK_STATUS(VBUF_OK, v->calls->push(&v->b, stamp(&element, number))));
        v->numbers[v->len++] = (unsigned char)number;
    }
}

TEST(vbuf_typed, push_to_the_last_element_and_pop_to_the_first)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        struct wide element;
        make(&v, &all_calls[t], MAX_LEN);
        CHECK_EQ(v.b.max, MAX_LEN * v.calls->size);
        REQUIRE(agrees(&v));
        CHECK(!v.calls->pop(&v.b, &element)); /* false iff empty */
        CHECK(!v.calls->pop(&v.b, NULL));
        push_some(&v, MAX_LEN);
        REQUIRE(agrees(&v));
        CHECK_STATUS(VBUF_FULL, v.calls->push(&v.b, stamp(&element, 1)));
        REQUIRE(agrees(&v));
        while (v.len > 0) {
            memset(&element, 0, sizeof element);
            REQUIRE(CHECK(v.calls->pop(&v.b, v.len % 3 == 0 ? NULL : &element)));
            v.len--;
            REQUIRE((v.len + 1) % 3 == 0 ||
                    CHECK(is_stamped(&element, v.calls->size, v.numbers[v.len])));
            if (v.len % 50 == 0)
                REQUIRE(agrees(&v));
        }
        CHECK(!v.calls->pop(&v.b, &element));
        v.calls->destroy(&v.b);
        v.calls->destroy(&v.b);
        CHECK(v.b.data == NULL);
    }
}

TEST(vbuf_typed, extend_also_with_its_own_elements)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        make(&v, &all_calls[t], MAX_LEN);
        CHECK_STATUS(VBUF_INVALID, v.calls->extend(&v.b, NULL, 1));
        CHECK_STATUS(VBUF_OK, v.calls->extend(&v.b, NULL, 0));
        push_some(&v, 30);
        CHECK_STATUS(VBUF_FULL, v.calls->extend(&v.b, v.b.data, MAX_LEN - 29));
        REQUIRE(agrees(&v));
        while (v.len < MAX_LEN) {
            size_t count = v.len < MAX_LEN - v.len ? v.len : MAX_LEN - v.len;
            REQUIRE(CHECK_STATUS(VBUF_OK, v.calls->extend(&v.b, v.b.data, count)));
            memcpy(v.numbers + v.len, v.numbers, count);
            v.len += count;
            REQUIRE(agrees(&v));
        }
        CHECK_STATUS(VBUF_FULL, v.calls->extend(&v.b, v.b.data, 1));
        CHECK_STATUS(VBUF_OK, v.calls->extend(&v.b, v.b.data, 0));
        v.calls->destroy(&v.b);
    }
}

TEST(vbuf_typed, add_gives_elements_to_be_written)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        struct wide element;
        make(&v, &all_calls[t], MAX_LEN);
        for (size_t count = 0; v.len + count <= MAX_LEN; count++) {
            unsigned char *added = v.calls->add(&v.b, count);
            REQUIRE(CHECK(added == v.b.data + v.len * v.calls->size));
            for (size_t i = 0; i < count; i++) {
                v.numbers[v.len + i] = (unsigned char)(count + i);
                memcpy(added + i * v.calls->size, stamp(&element, v.numbers[v.len + i]),
                       v.calls->size);
            }
            v.len += count;
            REQUIRE(agrees(&v));
        }
        errno = 0;
        CHECK(v.calls->add(&v.b, MAX_LEN - v.len + 1) == NULL);
        CHECK_EQ(errno, ENOBUFS);
        CHECK(v.calls->add(&v.b, wrapping_count(v.calls->size)) == NULL);
        REQUIRE(agrees(&v));
        v.calls->destroy(&v.b);
    }
}

TEST(vbuf_typed, insert_is_invalid_iff_the_index_exceeds_len)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        struct wide element;
        make(&v, &all_calls[t], 50);
        for (unsigned number = 0; v.len < 50; number++) {
            size_t index = number % 3 == 0 ? 0 : number % 3 == 1 ? v.len : v.len / 2;
            stamp(&element, number);
            CHECK_STATUS(VBUF_INVALID, v.calls->insert(&v.b, v.len + 1, &element));
            REQUIRE(CHECK_STATUS(VBUF_OK, v.calls->insert(&v.b, index, &element)));
            memmove(v.numbers + index + 1, v.numbers + index, v.len - index);
            v.numbers[index] = (unsigned char)number;
            v.len++;
            REQUIRE(agrees(&v));
        }
        CHECK_STATUS(VBUF_FULL, v.calls->insert(&v.b, 0, &element));
        CHECK_STATUS(VBUF_FULL, v.calls->insert(&v.b, 50, &element));
        CHECK_STATUS(VBUF_INVALID, v.calls->insert(&v.b, 51, &element));
        REQUIRE(agrees(&v));
        v.calls->destroy(&v.b);
    }
}

/* At both ends and in the middle, until nothing is left; in order, or by the last element. */
static void remove_all(struct vector *v, bool by_swap)
{
    struct wide element;
    enum vbuf_status (*call)(struct vbuf * b, size_t index, void *value) =
        by_swap ? v->calls->swap_remove : v->calls->remove;
    for (unsigned round = 0; v->len > 0; round++) {
        size_t index = round % 3 == 0 ? 0 : round % 3 == 1 ? v->len - 1 : v->len / 2;
        void *value = round % 5 == 0 ? NULL : &element;
        CHECK_STATUS(VBUF_INVALID, call(&v->b, v->len, &element));
        REQUIRE(CHECK_STATUS(VBUF_OK, call(&v->b, index, value)));
        if (value != NULL)
            CHECK(is_stamped(value, v->calls->size, v->numbers[index]));
        v->len--;
        if (by_swap)
            v->numbers[index] = v->numbers[v->len];
        else
            memmove(v->numbers + index, v->numbers + index + 1, v->len - index);
        REQUIRE(agrees(v));
    }
    CHECK_STATUS(VBUF_INVALID, call(&v->b, 0, &element));
    CHECK_STATUS(VBUF_INVALID, call(&v->b, wrapping_count(v->calls->size), NULL));
}

TEST(vbuf_typed, remove_and_swap_remove_are_invalid_iff_there_is_no_such_element)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        make(&v, &all_calls[t], MAX_LEN);
        push_some(&v, 60);
        remove_all(&v, false);
        push_some(&v, 60);
        remove_all(&v, true);
        v.calls->destroy(&v.b);
    }
}

TEST(vbuf_typed, lengths_and_capacities_are_elements)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        make(&v, &all_calls[t], MAX_LEN);
        size_t size = v.calls->size;
        CHECK_STATUS(VBUF_OK, v.calls->reserve_exact(&v.b, 70));
        CHECK_EQ(v.b.capacity, whole_pages(&v.b, 70 * size));
        CHECK_STATUS(VBUF_OK, v.calls->reserve(&v.b, 500));
        CHECK(v.calls->capacity(&v.b) >= 500);
        CHECK_STATUS(VBUF_FULL, v.calls->reserve(&v.b, MAX_LEN + 1));
        CHECK_STATUS(VBUF_FULL, v.calls->reserve_exact(&v.b, MAX_LEN + 1));
        push_some(&v, 100);
        CHECK_STATUS(VBUF_INVALID, v.calls->truncate(&v.b, 101));
        CHECK_STATUS(VBUF_OK, v.calls->truncate(&v.b, 40));
        v.len = 40;
        REQUIRE(agrees(&v));
        CHECK_STATUS(VBUF_OK, v.calls->resize(&v.b, 300)); /* zeroed, where it was in use too */
        CHECK_EQ(v.calls->len(&v.b), 300);
        are_all(&v.b, 40 * size, 300 * size, 0);
        CHECK_STATUS(VBUF_FULL, v.calls->resize(&v.b, MAX_LEN + 1));
        CHECK_STATUS(VBUF_OK, v.calls->resize(&v.b, 30));
        v.len = 30;
        REQUIRE(agrees(&v));
        CHECK_STATUS(VBUF_OK, v.calls->shrink_to_fit(&v.b));
        CHECK_EQ(v.b.capacity, whole_pages(&v.b, 30 * size));
        REQUIRE(agrees(&v));
        v.calls->clear(&v.b);
        v.len = 0;
        REQUIRE(agrees(&v));
        push_some(&v, MAX_LEN);
        REQUIRE(agrees(&v));
        v.calls->destroy(&v.b);
    }
}

TEST(vbuf_typed, what_was_popped_is_zeroed_again)
{
    for (size_t t = 0; t < TYPES; t++) {
        struct vector v;
        make(&v, &all_calls[t], MAX_LEN);
        for (size_t keep = 0; keep < 400; keep += 57) {
            CHECK_STATUS(VBUF_OK, v.calls->resize(&v.b, 0));
            v.len = 0;
            push_some(&v, 700);
            while (v.len > keep) {
                v.calls->pop(&v.b, NULL);
                v.len--;
            }
            CHECK_STATUS(VBUF_OK, v.calls->resize(&v.b, MAX_LEN));
            REQUIRE(are_all(&v.b, keep * v.calls->size, v.b.len, 0));
        }
        v.calls->destroy(&v.b);
    }
}

TEST(vbuf_typed, init_takes_the_options_but_for_max_and_a_small_alignment)
{
    for (size_t t = 0; t < TYPES; t++) {
        const struct calls *c = &all_calls[t];
        for (size_t alignment = 0; alignment <= 1024; alignment = alignment * 2 + !alignment) {
            struct vbuf b = {.len = 0};
            struct vbuf_options options = {
                .max = 1, .header = 5, .alignment = alignment, .initial = 3 * c->size, .keep = 9};
            REQUIRE(CHECK_STATUS(VBUF_OK, c->init(&b, 7, &options)));
            CHECK_EQ(b.max, 7 * c->size);
            CHECK_EQ(options.max, 1); /* the caller's own */
            CHECK_EQ((uintptr_t)b.data % c->align, 0);
            CHECK_EQ((uintptr_t)b.data % (alignment != 0 ? alignment : 64), 0);
            CHECK(vbuf_header(&b) != NULL && c->capacity(&b) >= 3);
            CHECK_EQ(b.keep, b.max < 9 ? b.max : 9);
            c->destroy(&b);
        }
    }
}

TEST(vbuf_typed, init_is_invalid_also_iff_max_len_overflows)
{
    for (size_t t = 0; t < TYPES; t++) {
        const struct calls *c = &all_calls[t];
        struct vbuf b = {.len = 77};
        CHECK_STATUS(VBUF_INVALID, c->init(&b, SIZE_MAX, NULL));
        CHECK_STATUS(VBUF_INVALID, c->init(&b, SIZE_MAX / c->size, NULL));
        CHECK_STATUS(VBUF_INVALID, c->init(&b, wrapping_count(c->size), NULL));
        CHECK_STATUS(VBUF_INVALID, c->init(&b, 0, NULL));
        CHECK_STATUS(VBUF_INVALID, c->init(&b, 1, &(struct vbuf_options){.alignment = 3}));
        CHECK_STATUS(VBUF_INVALID, c->init(&b, 1, &(struct vbuf_options){.min = c->size + 1}));
        CHECK_EQ(b.len, 77);
    }
}
