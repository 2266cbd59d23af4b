/*
 * slotmap_layout_test.c - value sizes and alignments, and the typed form.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "slotmap/slotmap.h"

/* Every byte differs from its neighbours and from those of other values. */
static void make_value(unsigned char *bytes, size_t size, size_t number)
{
    for (size_t b = 0; b < size; b++)
        bytes[b] = (unsigned char)(number * 37 + b * 11 + (b >> 8));
}

static size_t natural_alignment(size_t size)
{
    size_t align = 1;
    while (align < 16 && size % (align * 2) == 0)
        align *= 2;
    return align;
}

/* Fills a map to max_len, removes and inserts again, and looks at every byte and address. */
static void fill_and_churn(size_t size, size_t align, size_t max_len)
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {
        .value_size = size, .value_align = align, .max_len = max_len, .max_threads = 2};
    slotmap_handle *handles = calloc(max_len, sizeof *handles);
    unsigned char *bytes = malloc(size);
    size_t wanted = align != 0 ? align : natural_alignment(size);
    REQUIRE(handles != NULL && bytes != NULL);
    REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)));
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < max_len; i++) {
            make_value(bytes, size, round * max_len + i);
            REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_insert(map, bytes, &handles[i])));
        }
        CHECK_STATUS(VBUF_FULL, slotmap_insert(map, bytes, NULL));
        for (size_t i = 0; i < max_len; i++) {
            slotmap_pin(map);
            const unsigned char *value = slotmap_get(map, handles[i]);
            make_value(bytes, size, round * max_len + i);
            REQUIRE(value != NULL && memcmp(value, bytes, size) == 0);
            REQUIRE((uintptr_t)value % wanted == 0);
            slotmap_unpin(map);
            memset(bytes, 0, size);
            REQUIRE(CHECK_STATUS(VBUF_OK, slotmap_read(map, handles[i], bytes)));
            CHECK_STATUS(VBUF_OK, slotmap_remove(map, handles[i], NULL));
        }
        slotmap_collect(map);
    }
    slotmap_destroy(map);
    free(handles);
    free(bytes);
}

TEST(slotmap_layout, every_value_size)
{
    const size_t sizes[] = {1,  2,  3,  4,  5,   6,    7,    8,    12,
                            16, 20, 24, 48, 100, 1000, 4095, 4096, 4097};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        fill_and_churn(sizes[i], 0, 200);
}

TEST(slotmap_layout, the_largest_value)
{
    fill_and_churn((size_t)1 << 20, 0, 3);
    fill_and_churn(((size_t)1 << 20) - 1, 1, 2);
}

TEST(slotmap_layout, every_alignment_up_to_the_page)
{
    for (size_t align = 1; align <= vmem_page_size(); align *= 2) {
        fill_and_churn(align, align, 65);
        fill_and_churn(3 * align, align, 65);
    }
}

struct user {
    uint32_t id;
    char name[20];
};

struct wide {
    _Alignas(16) uint64_t words[16]; /* more, and gcc has notes on the calling convention */
};

SLOTMAP_DEFINE(users, struct user)
SLOTMAP_DEFINE(wides, struct wide)
SLOTMAP_DEFINE(bytes, uint8_t)

/* The typed form computes the layout on its own: it must be the library's. */
TEST(slotmap_layout, typed_layout_is_the_untyped_one)
{
    struct users u;
    struct wides w;
    struct bytes b;
    REQUIRE(CHECK_STATUS(VBUF_OK, users_create(&u, NULL)));
    REQUIRE(CHECK_STATUS(VBUF_OK, wides_create(&w, NULL)));
    REQUIRE(CHECK_STATUS(VBUF_OK, bytes_create(&b, NULL)));
    CHECK_EQ(u.map->slot_size_, users_slot_size_);
    CHECK_EQ(u.map->value_offset_, users_value_offset_);
    CHECK_EQ(w.map->slot_size_, wides_slot_size_);
    CHECK_EQ(w.map->value_offset_, wides_value_offset_);
    CHECK_EQ(b.map->slot_size_, bytes_slot_size_);
    CHECK_EQ(b.map->value_offset_, bytes_value_offset_);
    users_destroy(&u);
    wides_destroy(&w);
    bytes_destroy(&b);
    CHECK(u.map == NULL);
    users_destroy(&u); /* of none: nothing */
}

TEST(slotmap_layout, typed_calls_are_the_untyped_ones)
{
    struct users m;
    struct slotmap_options options = {.max_len = 100, .value_size = 1, .value_align = 1};
    REQUIRE(CHECK_STATUS(VBUF_OK, users_create(&m, &options)));
    users_handle handles[100];
    for (uint32_t i = 0; i < 100; i++) {
        struct user user = {.id = i, .name = "somebody"};
        REQUIRE(CHECK_STATUS(VBUF_OK, users_insert(&m, user, &handles[i])));
    }
    CHECK_STATUS(VBUF_FULL, users_insert(&m, (struct user){.id = 100}, NULL));
    users_pin(&m);
    for (uint32_t i = 0; i < 100; i++) {
        struct user *user = users_get(&m, handles[i]);
        REQUIRE(user != NULL && user->id == i && strcmp(user->name, "somebody") == 0);
        /* The untyped calls find the same. */
        CHECK(slotmap_get(m.map, slotmap_handle_from_u64(handles[i].bits)) == user);
    }
    CHECK_STATUS(VBUF_OK, users_remove(&m, handles[7]));
    CHECK_STATUS(VBUF_STALE, users_remove(&m, handles[7]));
    CHECK(users_get(&m, handles[7]) == NULL);
    CHECK(!users_contains(&m, handles[7]));
    CHECK(users_contains(&m, handles[8]));
    CHECK(users_get(&m, (users_handle){UINT64_MAX}) == NULL);
    unsigned count = 0;
    struct slotmap_iter iter = slotmap_iter_begin(m.map);
    users_handle handle;
    for (struct user *user; (user = users_next(&iter, &handle)) != NULL; count++)
        CHECK_EQ(handle.bits, handles[user->id].bits);
    CHECK_EQ(count, 99);
    CHECK(users_next(&iter, NULL) == NULL);
    users_unpin(&m);
    CHECK_EQ(slotmap_len(m.map), 99);
    users_destroy(&m);
    CHECK_STATUS(VBUF_INVALID, users_create(&m, &(struct slotmap_options){.max_threads = 5000}));
}

TEST(slotmap_layout, typed_values_are_aligned)
{
    struct wides m;
    wides_handle handle = {0};
    REQUIRE(CHECK_STATUS(VBUF_OK, wides_create(&m, &(struct slotmap_options){.max_len = 10})));
    for (uint64_t i = 0; i < 10; i++) {
        CHECK_STATUS(VBUF_OK, wides_insert(&m, (struct wide){{i, i + 1}}, &handle));
        wides_pin(&m);
        CHECK_EQ((uintptr_t)wides_get(&m, handle) % 16, 0);
        CHECK_EQ(wides_get(&m, handle)->words[1], i + 1);
        wides_unpin(&m);
        CHECK(wides_contains(&m, handle));
    }
    CHECK_STATUS(VBUF_OK, wides_remove(&m, handle));
    struct slotmap_iter iter = slotmap_iter_begin(m.map);
    wides_pin(&m);
    CHECK(wides_next(&iter, &handle) != NULL);
    wides_unpin(&m);
    wides_destroy(&m);
}

TEST(slotmap_layout, typed_values_may_be_a_byte)
{
    struct bytes m;
    bytes_handle handles[256];
    REQUIRE(CHECK_STATUS(VBUF_OK, bytes_create(&m, &(struct slotmap_options){.max_len = 256})));
    for (unsigned i = 0; i < 256; i++)
        CHECK_STATUS(VBUF_OK, bytes_insert(&m, (uint8_t)i, &handles[i]));
    bytes_pin(&m);
    for (unsigned i = 0; i < 256; i++)
        CHECK(bytes_contains(&m, handles[i]) && *bytes_get(&m, handles[i]) == i);
    struct slotmap_iter iter = slotmap_iter_begin(m.map);
    bytes_handle handle;
    CHECK(bytes_next(&iter, &handle) != NULL);
    bytes_unpin(&m);
    for (unsigned i = 0; i < 256; i++)
        CHECK_STATUS(VBUF_OK, bytes_remove(&m, handles[i]));
    bytes_destroy(&m);
}
