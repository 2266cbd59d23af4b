/*
 * vbuf_options_test.c - what vbuf_init is told: which options are invalid, growth, the header, the
 * alignment, what is committed at once, a smaller max, and the options that are vmem's.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

static void check_init(enum vbuf_status expected, struct vbuf_options options)
{
    struct vbuf b = {.len = 77};
    CHECK_STATUS(expected, vbuf_init(&b, &options));
    if (expected == VBUF_OK)
        vbuf_destroy(&b);
    else
        CHECK_EQ(b.len, 77);
}

TEST(vbuf_options, init_is_invalid_iff_a_size_exceeds_max)
{
    check_init(VBUF_INVALID, (struct vbuf_options){.max = 100, .initial = 101});
    check_init(VBUF_INVALID, (struct vbuf_options){.max = 100, .min = 101});
    check_init(VBUF_OK, (struct vbuf_options){.max = 100, .initial = 100, .min = 100});
    check_init(VBUF_OK, (struct vbuf_options){.max = 100, .initial = 1, .min = 1, .header = 9});
    check_init(VBUF_OK, (struct vbuf_options){.max = 100, .keep = 1000, .header = 1000});
    check_init(VBUF_INVALID, (struct vbuf_options){.max = 0, .header = 64});
}

TEST(vbuf_options, init_is_invalid_iff_the_alignment_is_no_power_of_two)
{
    for (size_t alignment = 1; alignment <= 4100; alignment++) {
        bool power = (alignment & (alignment - 1)) == 0;
        check_init(power ? VBUF_OK : VBUF_INVALID,
                   (struct vbuf_options){.max = 100, .alignment = alignment, .header = 8});
    }
    check_init(VBUF_INVALID, (struct vbuf_options){.max = 100, .alignment = 3 * MIB});
    check_init(VBUF_OK, (struct vbuf_options){.max = 100, .alignment = 4 * MIB});
}

static void check_growth(enum vbuf_status expected, struct vbuf_growth growth)
{
    check_init(expected, (struct vbuf_options){.max = MIB, .growth = growth});
}

TEST(vbuf_options, init_is_invalid_iff_the_growth_is_neither_a_ratio_above_1_nor_linear)
{
    check_growth(VBUF_INVALID, (struct vbuf_growth){1, 1, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){1, 2, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){0, 1, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){2, 0, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){UINT32_MAX, UINT32_MAX, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){UINT32_MAX - 1, UINT32_MAX, 0});
    check_growth(VBUF_INVALID, (struct vbuf_growth){2, 1, 1});
    check_growth(VBUF_INVALID, (struct vbuf_growth){2, 0, 1});
    check_growth(VBUF_INVALID, (struct vbuf_growth){0, 1, 1});
    check_growth(VBUF_OK, (struct vbuf_growth){0, 0, 0});
    check_growth(VBUF_OK, (struct vbuf_growth){0, 0, 1});
    check_growth(VBUF_OK, (struct vbuf_growth){0, 0, SIZE_MAX});
    check_growth(VBUF_OK, (struct vbuf_growth){2, 1, 0});
    check_growth(VBUF_OK, (struct vbuf_growth){UINT32_MAX, UINT32_MAX - 1, 0});
    check_growth(VBUF_OK, (struct vbuf_growth){UINT32_MAX, 1, 0});
}

/* ---- growth ---- */

/* (With a large denominator the remainder of the division matters.) */
static const struct vbuf_growth growths[] = {
    {0, 0, 0},
    {3, 2, 0},
    {17, 16, 0},
    {10, 1, 0},
    {2000003, 1000001, 0},
    {UINT32_MAX, UINT32_MAX - 1, 0},
    {UINT32_MAX, 1, 0},
    {0, 0, 1},
    {0, 0, 4096},
    {0, 0, 100000},
    {0, 0, SIZE_MAX},
};
#define GROWTHS (sizeof growths / sizeof *growths)

/* The capacity that is to come of `capacity` when `needed` bytes are: whole pages, at most max. */
static size_t grown(const struct vbuf *b, struct vbuf_growth growth, size_t needed)
{
    __extension__ typedef unsigned __int128 wide;
    if (growth.linear == 0 && growth.denominator == 0)
        growth = (struct vbuf_growth){2, 1, 0};
    wide larger = growth.linear != 0 ? (wide)b->capacity + growth.linear
                                     : (wide)b->capacity * growth.numerator / growth.denominator;
    if (larger < needed)
        larger = needed;
    return whole_pages(b, larger < b->max ? (size_t)larger : b->max);
}

static void grow_to_the_end(struct vbuf_growth growth, size_t max, size_t header)
{
    struct books books;
    struct vbuf b = make_vbuf(
        with_books((struct vbuf_options){.max = max, .growth = growth, .header = header}, &books));
    struct check_rng rng = {check_seed()};
    while (b.capacity < max) {
        size_t least = b.capacity + 1, needed = least;
        if (check_rng_next(&rng) % 4 == 0)
            needed += check_rng_next(&rng) % (max - b.capacity);
        size_t expected = grown(&b, growth, needed);
        fault_clear();
        REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, needed)));
        REQUIRE(CHECK_EQ(b.capacity, expected));
        CHECK_EQ(system_calls(), 1);
        REQUIRE(is_sound(&b));
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, needed));
        CHECK_EQ(system_calls(), 1); /* none when there is room */
    }
    CHECK_EQ(b.capacity, max);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, max));
    memset(b.data, 1, max);
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, max + 1));
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_options, growth_is_as_asked_to_whole_pages_and_never_above_max)
{
    const size_t maxima[] = {1, 4095, 4096, 4097, 100003, MIB, MIB + 1};
    for (size_t g = 0; g < GROWTHS; g++) {
        for (size_t m = 0; m < sizeof maxima / sizeof *maxima; m++) {
            grow_to_the_end(growths[g], maxima[m], 0);
            grow_to_the_end(growths[g], maxima[m], 100);
        }
    }
}

TEST(vbuf_options, growth_that_overflows_goes_to_max)
{
    size_t gib = 1024 * MIB;
    if (!running_plain() || sizeof(size_t) < 8)
        SKIP("so much is not to be had beside shadow memory");
    struct vbuf b;
    struct vbuf_options options = {.max = 9 * gib, .growth = {UINT32_C(1) << 31, 1, 0}};
    options.charge = VMEM_UNCHARGED;
    if (vbuf_init(&b, &options) == VBUF_UNSUPPORTED)
        SKIP("the system has no uncharged memory");
    enum vbuf_status status = vbuf_reserve_exact(&b, 8 * gib);
    if (status == VBUF_OK && CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 8 * gib + 1)))
        CHECK_EQ(b.capacity, 9 * gib); /* 2^31 times 2^33 wraps to 0 */
    vbuf_destroy(&b);
}

TEST(vbuf_options, growth_falls_back_to_what_is_needed)
{
    size_t page = vmem_page_size();
    for (size_t g = 0; g < GROWTHS; g++) {
        struct books books;
        struct vbuf_options options = {.max = 4096 * page, .growth = growths[g]};
        struct vbuf b = make_vbuf(with_books(options, &books));
        CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(&b, 300 * page));
        size_t larger = grown(&b, growths[g], 300 * page + 1);
        CHECK(larger >= 301 * page);
        books.spare = page;
        books.asked = 0;
        CHECK_STATUS(VBUF_OK, vbuf_reserve(&b, 300 * page + 1));
        CHECK_EQ(b.capacity, 301 * page);
        CHECK_EQ(books.asked, larger > 301 * page ? 2 : 1);
        CHECK_STATUS(VBUF_NOMEM, vbuf_reserve(&b, 301 * page + 1));
        CHECK_EQ(b.capacity, 301 * page);
        vbuf_destroy(&b);
    }
}

TEST(vbuf_options, reserve_exact_takes_whole_pages_and_no_more)
{
    size_t page = vmem_page_size();
    const size_t headers[] = {0, 1, 64, 5000};
    for (size_t g = 0; g < GROWTHS; g++) {
        for (size_t h = 0; h < 4; h++) {
            struct vbuf_options options = {
                .max = 64 * page + 100, .growth = growths[g], .header = headers[h]};
            struct vbuf b = make_vbuf(options);
            for (size_t capacity = 0; capacity <= b.max; capacity += page / 2 + 1) {
                size_t expected = whole_pages(&b, capacity);
                if (expected < b.capacity)
                    expected = b.capacity;
                REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(&b, capacity)));
                REQUIRE(CHECK_EQ(b.capacity, expected));
            }
            CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(&b, b.max));
            CHECK_EQ(b.capacity, b.max);
            CHECK_STATUS(VBUF_FULL, vbuf_reserve_exact(&b, b.max + 1));
            CHECK_STATUS(VBUF_OK, vbuf_reserve_exact(&b, 1)); /* never shrinks */
            CHECK_EQ(b.capacity, b.max);
            is_sound(&b);
            vbuf_destroy(&b);
        }
    }
}

/* ---- header, alignment, initial ---- */

static const size_t header_sizes[] = {0, 1, 63, 64, 65, 4095, 4096, 5000};
static const size_t alignments[] = {0, 1, 16, 64, 128, 4096, 2 * MIB};

static void check_layout(const struct vbuf *b, const struct vbuf_options *options)
{
    size_t least = options->header != 0 ? 64 : vmem_page_size();
    CHECK_EQ((uintptr_t)b->data % least, 0);
    CHECK_EQ((uintptr_t)b->data % (options->alignment != 0 ? options->alignment : 1), 0);
    CHECK(prefix_of(b) + b->max <= b->memory.size);
    unsigned char *header = vbuf_header(b);
    CHECK_EQ(header == NULL, options->header == 0);
    if (header == NULL)
        return;
    CHECK_EQ((uintptr_t)header % 64, 0);
    CHECK(header >= (unsigned char *)b->memory.base);
    CHECK(header + options->header <= b->data);
    CHECK((size_t)(b->data - header) - options->header < 64);
    for (size_t i = 0; i < options->header; i++)
        REQUIRE(header[i] == 0);
}

static bool header_is(const struct vbuf *b, int value)
{
    const unsigned char *header = vbuf_header(b);
    for (size_t i = 0; i < b->header; i++) {
        if (!CHECK_EQ(header[i], value))
            return false;
    }
    return true;
}

/* The header and the data do not know of each other, whatever is done to either. */
static void use_beside_header(struct vbuf *b)
{
    const unsigned char *data = b->data;
    if (b->header != 0)
        memset(vbuf_header(b), 0xee, b->header);
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, b->max));
    are_all(b, 0, b->max, 0);
    memset(b->data, 0x11, b->max);
    header_is(b, 0xee);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(b, 1));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(b));
    header_is(b, 0xee);
    if (b->header != 0)
        memset(vbuf_header(b), 0xdd, b->header);
    are_all(b, 0, 1, 0x11);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(b, 0));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(b));
    CHECK_EQ(b->capacity, whole_pages(b, 0)); /* what shares the header's last page */
    header_is(b, 0xdd);
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, b->max));
    are_all(b, 0, b->max, 0);
    CHECK(b->data == data);
}

static void check_combination(size_t header, size_t alignment, size_t initial, size_t max)
{
    struct books books;
    struct vbuf_options options = with_books(
        (struct vbuf_options){
            .max = max, .header = header, .alignment = alignment, .initial = initial, .keep = 1},
        &books);
    fault_clear();
    struct vbuf b = make_vbuf(options);
    bool commits = header != 0 || initial != 0;
    CHECK_EQ(books.asked, commits);
    CHECK_EQ(fault_count(FAULT_MPROTECT), commits);
    CHECK(system_calls() <= 4);
    CHECK_EQ(b.max, max);
    CHECK_EQ(b.capacity, whole_pages(&b, initial));
    check_layout(&b, &options);
    REQUIRE(is_sound(&b) && is_charged_right(&b));
    fault_clear();
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, initial));
    CHECK_EQ(system_calls(), 0); /* it is there already */
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 0));
    use_beside_header(&b);
    REQUIRE(is_sound(&b) && is_charged_right(&b));
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_options, header_alignment_and_initial_in_every_combination)
{
    for (size_t h = 0; h < sizeof header_sizes / sizeof *header_sizes; h++) {
        for (size_t a = 0; a < sizeof alignments / sizeof *alignments; a++) {
            const size_t max = 3 * vmem_page_size() + 100;
            const size_t initials[] = {0, 1, 5000, max};
            for (size_t i = 0; i < 4; i++)
                check_combination(header_sizes[h], alignments[a], initials[i], max);
            check_combination(header_sizes[h], alignments[a], 1, 1);
            if (check_failures() != 0)
                return;
        }
    }
}

/* ---- min ---- */

/* Bytes that a reservation can have, to the MiB. */
static size_t address_space_left(void)
{
    size_t most = 0;
    for (size_t step = 1024 * MIB; step >= MIB; step /= 2) {
        struct vmem vm;
        if (vmem_reserve(&vm, most + step, NULL) == VBUF_OK) {
            most += step;
            vmem_release(&vm);
        }
    }
    return most;
}

static void be_short_of_address_space(void)
{
    struct vbuf b = {.len = 77};
    struct vbuf_options options = {.max = 8192 * MIB, .header = 5000};
    REQUIRE(proc_limit_address_space(proc_virtual_size() + 512 * MIB));
    size_t left = address_space_left();
    CHECK_STATUS(VBUF_NOMEM, vbuf_init(&b, &options)); /* no min: all or nothing */
    options.min = left + 2 * MIB;
    CHECK_STATUS(VBUF_NOMEM, vbuf_init(&b, &options));
    CHECK_EQ(b.len, 77);
    options.min = 16 * MIB;
    REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options)));
    CHECK(b.max >= 16 * MIB && b.max <= left);
    CHECK(b.max >= left - left / 8 - MIB);
    CHECK_EQ(prefix_of(&b) + b.max, b.memory.size);
    CHECK_STATUS(VBUF_FULL, vbuf_reserve(&b, b.max + 1));
    CHECK_STATUS(VBUF_OK, vbuf_commit(&b, b.max - 1, 1));
    b.data[b.max - 1] = 1;
    vbuf_destroy(&b);
    options.min = left - 2 * MIB; /* nearly all there is */
    REQUIRE(CHECK_STATUS(VBUF_OK, vbuf_init(&b, &options)));
    CHECK(b.max >= options.min);
    vbuf_destroy(&b);
}

TEST(vbuf_options, min_accepts_a_smaller_max_when_address_space_is_short)
{
    if (!running_plain())
        SKIP("the address space holds more than the program");
    proc_in_child(be_short_of_address_space);
}

TEST(vbuf_options, min_changes_nothing_while_there_is_address_space)
{
    struct vbuf b = make_vbuf((struct vbuf_options){.max = 64 * MIB + 5, .min = 1});
    CHECK_EQ(b.max, 64 * MIB + 5);
    vbuf_destroy(&b);
}

/* ---- vmem's options ---- */

/* vbuf_init says what vmem_reserve says of the same options. */
static void check_like_vmem(struct vmem_options given)
{
    struct vmem vm;
    enum vbuf_status expected = vmem_reserve(&vm, 4 * MIB, &given);
    if (expected == VBUF_OK)
        vmem_release(&vm);
    check_init(expected, (struct vbuf_options){.max = 4 * MIB,
                                               .alignment = given.alignment,
                                               .huge_pages = given.huge_pages,
                                               .charge = given.charge,
                                               .name = given.name});
}

TEST(vbuf_options, vmem_options_are_refused_as_vmem_refuses_them)
{
    char long_name[VMEM_NAME_MAX + 2];
    memset(long_name, 'n', sizeof long_name);
    long_name[VMEM_NAME_MAX + 1] = '\0';
    const struct vbuf_options invalid[] = {{.max = MIB, .name = ""},
                                           {.max = MIB, .name = "a[b"},
                                           {.max = MIB, .name = "tab\there"},
                                           {.max = MIB, .name = long_name},
                                           {.max = MIB, .huge_pages = (enum vmem_huge_pages)3},
                                           {.max = MIB, .charge = (enum vmem_charge)2}};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        check_init(VBUF_INVALID, invalid[i]);
    check_like_vmem((struct vmem_options){.name = "vbuf test"});
    check_like_vmem((struct vmem_options){.name = long_name + 1});
    for (int huge = 0; huge <= VMEM_HUGE_PAGES_OFF; huge++)
        check_like_vmem((struct vmem_options){.huge_pages = (enum vmem_huge_pages)huge});
    check_like_vmem((struct vmem_options){.charge = VMEM_UNCHARGED});
    if (vmem_caps().huge_page_size == 0)
        check_init(VBUF_UNSUPPORTED,
                   (struct vbuf_options){.max = MIB, .huge_pages = VMEM_HUGE_PAGES_ON});
    if (!vmem_caps().names)
        check_init(VBUF_UNSUPPORTED, (struct vbuf_options){.max = MIB, .name = "a"});
}

TEST(vbuf_options, the_name_is_shown)
{
    if (!vmem_caps().names)
        SKIP("the system has no names");
    struct vbuf b = make_vbuf((struct vbuf_options){.max = MIB, .name = "vbuf-options-test"});
    FILE *file = fopen("/proc/self/maps", "r");
    REQUIRE(file != NULL);
    char line[1024];
    bool shown = false;
    while (fgets(line, sizeof line, file) != NULL)
        shown = shown || strstr(line, "[anon:vbuf-options-test]") != NULL;
    fclose(file);
    CHECK(shown);
    vbuf_destroy(&b);
}

TEST(vbuf_options, huge_pages_are_advised)
{
    size_t huge = vmem_caps().huge_page_size;
    if (huge == 0 || !running_plain())
        SKIP("the system has no huge pages, or does not tell");
    struct vbuf_options options = {.max = 2 * huge, .huge_pages = VMEM_HUGE_PAGES_ON, .initial = 1};
    struct vbuf b = make_vbuf(options);
    CHECK_EQ((uintptr_t)b.data % huge, 0);
    CHECK(proc_mapping_has_flag(b.data, "hg"));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b)); /* given back, and taken again */
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "x", 1));
    CHECK(proc_mapping_has_flag(b.data, "hg"));
    vbuf_destroy(&b);
    options.huge_pages = VMEM_HUGE_PAGES_OFF;
    b = make_vbuf(options);
    CHECK(proc_mapping_has_flag(b.data, "nh"));
    vbuf_destroy(&b);
}

TEST(vbuf_options, uncharged_memory_is_not_charged)
{
    struct vbuf b = {.len = 0};
    struct vbuf_options options = {.max = MIB, .initial = 1, .charge = VMEM_UNCHARGED};
    if (!running_plain() || vbuf_init(&b, &options) == VBUF_UNSUPPORTED)
        SKIP("the system has no uncharged memory, or does not tell");
    CHECK(!proc_mapping_has_flag(b.data, "ac"));
    CHECK_STATUS(VBUF_OK, vbuf_append(&b, "abc", 3));
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
    CHECK_EQ(b.capacity, 0);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    are_all(&b, 0, MIB, 0);
    vbuf_destroy(&b);
    options.charge = VMEM_CHARGED;
    b = make_vbuf(options);
    CHECK(proc_mapping_has_flag(b.data, "ac"));
    vbuf_destroy(&b);
}
