/*
 * cvec_typed_test.c - the typed form: each call is the untyped one, for numbers, records and pointers.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"

struct record {
    uint32_t key;
    _Alignas(16) unsigned char bytes[40];
};

CVEC_DEFINE(ids, uint64_t)
CVEC_DEFINE(records, struct record)
CVEC_DEFINE(flags, uint8_t)
CVEC_DEFINE(names, char *)

TEST(cvec_typed, typed_calls_are_the_untyped_ones)
{
    struct ids v;
    size_t index = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, ids_create(&v, NULL))); /* options may be NULL */
    CHECK_EQ(v.vector->element_size, sizeof(uint64_t));
    CHECK(ids_get(&v, 0) == NULL);
    for (uint64_t i = 0; i < 5000; i++) {
        REQUIRE(CHECK_STATUS(VBUF_OK, ids_push(&v, i * 3, &index)));
        REQUIRE(index == i);
        REQUIRE(*ids_get(&v, i) == i * 3);
    }
    const uint64_t more[] = {1, 2, 3};
    CHECK_STATUS(VBUF_OK, ids_extend(&v, more, 3, &index));
    CHECK_EQ(index, 5000);
    CHECK_STATUS(VBUF_OK, ids_push(&v, 9, NULL));
    CHECK_EQ(ids_len(&v), 5004);
    struct ids_slice all = ids_snapshot(&v);
    CHECK_EQ(all.count, 5004);
    CHECK_EQ(all.data[4999], 4999 * 3);
    CHECK_EQ(all.data[5002], 3);
    CHECK(ids_get(&v, 5003) == all.data + 5003); /* below the watermark */
    CHECK(ids_get(&v, 5004) == NULL);
    CHECK(ids_get(&v, SIZE_MAX) == NULL);
    CHECK_STATUS(VBUF_OK, ids_reserve(&v, 100000));
    CHECK(cvec_capacity(v.vector) >= 100000);
    ids_destroy(&v);
    CHECK(v.vector == NULL);
    ids_destroy(&v);
}

TEST(cvec_typed, typed_options_are_taken_but_for_size_and_alignment)
{
    struct records v;
    struct cvec_options options = {
        .element_size = 1, .element_align = 1, .max_len = 10, .initial_capacity = 4};
    REQUIRE(CHECK_STATUS(VBUF_OK, records_create(&v, &options)));
    CHECK_EQ(v.vector->element_size, sizeof(struct record));
    CHECK_EQ(cvec_max_len(v.vector), 10);
    CHECK(cvec_capacity(v.vector) >= 4);
    for (uint32_t i = 0; i < 10; i++) {
        struct record r = {.key = i};
        memset(r.bytes, (int)i, sizeof r.bytes);
        CHECK_STATUS(VBUF_OK, records_push(&v, r, NULL));
        CHECK_EQ((uintptr_t)records_get(&v, i) % _Alignof(struct record), 0);
    }
    CHECK_STATUS(VBUF_FULL, records_push(&v, (struct record){.key = 11}, NULL));
    CHECK_STATUS(VBUF_FULL, records_extend(&v, records_get(&v, 0), 1, NULL));
    CHECK_STATUS(VBUF_FULL, records_reserve(&v, 11));
    CHECK_EQ(records_len(&v), 10);
    CHECK(records_snapshot(&v).data == records_get(&v, 0));
    for (uint32_t i = 0; i < 10; i++) {
        CHECK_EQ(records_get(&v, i)->key, i);
        CHECK_EQ(records_get(&v, i)->bytes[39], i);
    }
    records_destroy(&v);
    CHECK_STATUS(VBUF_INVALID, records_create(&v, &(struct cvec_options){.max_len = SIZE_MAX}));
}

TEST(cvec_typed, a_got_element_may_be_changed_in_place)
{
    struct flags v;
    REQUIRE(CHECK_STATUS(VBUF_OK, flags_create(&v, NULL)));
    CHECK_STATUS(VBUF_OK, flags_reserve(&v, 3));
    CHECK_STATUS(VBUF_OK, flags_push(&v, 1, NULL));
    CHECK_STATUS(VBUF_OK, flags_extend(&v, (const uint8_t[]){2, 3}, 2, NULL));
    *flags_get(&v, 0) = 7;
    CHECK_EQ(*flags_get(&v, 0), 7);
    CHECK_EQ(flags_snapshot(&v).data[0], 7);
    CHECK_EQ(flags_len(&v), 3);
    flags_destroy(&v);
}

TEST(cvec_typed, alignment_is_the_types_or_more)
{
    struct records v;
    for (size_t align = 0; align <= CVEC_MAX_ALIGNMENT; align = align == 0 ? 1 : align * 8) {
        struct cvec_options options = {.element_align = align, .max_len = 10};
        REQUIRE(CHECK_STATUS(VBUF_OK, records_create(&v, &options)));
        CHECK_STATUS(VBUF_OK, records_push(&v, (struct record){.key = 1}, NULL));
        CHECK_STATUS(VBUF_OK, records_push(&v, (struct record){.key = 2}, NULL));
        CHECK_EQ((uintptr_t)records_get(&v, 0) % (align != 0 ? align : 1), 0);
        CHECK_EQ((uintptr_t)records_get(&v, 1) % _Alignof(struct record), 0);
        records_destroy(&v);
    }
}

/* T may be a pointer: what may not be changed through a slice is the pointer, not what it points to. */
TEST(cvec_typed, pointers)
{
    struct names v;
    char texts[3][8] = {"zero", "one", "two"};
    char *values[] = {texts[0], texts[1]}, **slots = NULL;
    size_t index = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, names_create(&v, NULL)));
    CHECK_STATUS(VBUF_OK, names_extend(&v, values, 2, &index));
    CHECK_EQ(index, 0);
    CHECK_STATUS(VBUF_OK, names_push(&v, texts[2], &index));
    CHECK_EQ(index, 2);
    CHECK_STATUS(VBUF_OK, names_claim(&v, 1, &index, &slots));
    *slots = NULL;
    CHECK_STATUS(VBUF_OK, names_publish(&v, index, 1));
    CHECK_EQ(names_len(&v), 4);
    for (size_t i = 0; i < 3; i++)
        CHECK(*names_get(&v, i) == texts[i] && names_snapshot(&v).data[i] == texts[i]);
    CHECK(*names_get(&v, 3) == NULL);
    struct cvec_cursor cursor = {v.vector, 1};
    struct names_slice slice = {NULL, 0};
    CHECK_STATUS(VBUF_OK, names_cursor_next(&cursor, 2, 0, &slice));
    CHECK(slice.count == 2 && slice.data[1] == texts[2]);
    bool is_array_of_t = _Generic(slice.data, char *const * : true, default : false);
    CHECK(is_array_of_t);
    CHECK_STATUS(VBUF_OK, names_push_exclusive(&v, texts[0], NULL));
    struct names_appender a;
    REQUIRE(CHECK_STATUS(VBUF_OK, names_appender_create(&a, &v, 2)));
    CHECK_STATUS(VBUF_OK, names_appender_push(&a, texts[1]));
    CHECK_STATUS(VBUF_OK, names_appender_push(&a, texts[2]));
    CHECK_EQ(names_len(&v), 7);
    CHECK(*names_get(&v, 6) == texts[2]);
    CHECK_STATUS(VBUF_OK, names_appender_destroy(&a));
    names_destroy(&v);
}

/* What is not called in the other files. */
TEST(cvec_typed, records_in_every_way)
{
    struct records v;
    struct record r = {.key = 0}, *slots = NULL;
    struct records_appender a;
    struct records_slice slice = {NULL, 0};
    struct cvec_cursor cursor = {NULL, 0};
    size_t index = SIZE_MAX;
    REQUIRE(CHECK_STATUS(VBUF_OK, records_create(&v, NULL)));
    CHECK_STATUS(VBUF_OK, records_reserve_exact(&v, 100));
    CHECK(records_capacity(&v) >= 100);
    CHECK_STATUS(VBUF_OK, records_claim(&v, 2, &index, &slots));
    slots[0] = r;
    slots[1] = (struct record){.key = 1};
    CHECK_EQ(records_claimed(&v), 2);
    CHECK_STATUS(VBUF_TIMEDOUT, records_wait(&v, 1, 0));
    CHECK_STATUS(VBUF_OK, records_publish(&v, 0, 2));
    CHECK_STATUS(VBUF_OK, records_wait(&v, 2, -1));
    CHECK_STATUS(VBUF_OK, records_push_exclusive(&v, (struct record){.key = 2}, &index));
    CHECK_EQ(index, 2);
    REQUIRE(CHECK_STATUS(VBUF_OK, records_appender_create(&a, &v, 3)));
    for (r.key = 3; r.key < 8; r.key++)
        CHECK_STATUS(VBUF_OK, records_appender_push(&a, r));
    CHECK_STATUS(VBUF_OK, records_appender_flush(&a, &index));
    CHECK_EQ(index, 6);
    CHECK_STATUS(VBUF_OK, records_appender_push(&a, r));
    records_appender_discard(&a);
    CHECK_STATUS(VBUF_OK, records_appender_destroy(&a));
    cursor.vector = v.vector;
    CHECK_STATUS(VBUF_OK, records_cursor_next(&cursor, 0, -1, &slice));
    REQUIRE(CHECK_EQ(slice.count, 8));
    for (uint32_t i = 0; i < 8; i++)
        CHECK_EQ(slice.data[i].key, i);
    CHECK_STATUS(VBUF_OK, records_truncate(&v, 5));
    CHECK_STATUS(VBUF_OK, records_shrink_to_fit(&v));
    CHECK_EQ(records_len(&v), 5);
    records_clear(&v);
    CHECK_EQ(records_len(&v), 0);
    records_close(&v);
    CHECK_STATUS(VBUF_CLOSED, records_push(&v, r, NULL));
    CHECK_STATUS(VBUF_CLOSED, records_wait(&v, 1, -1));
    records_destroy(&v);
}
