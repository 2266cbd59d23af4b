/*
 * vbuf_give_back_test.c - what is given back is really gone, by the hooks' books and by the system's;
 * what vbuf_clear keeps; vbuf_shrink_to; and a system that refuses to take memory.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

VBUF_DEFINE(words, uint64_t)

static const struct vbuf_options small_pages = {.max = 16 * MIB, .huge_pages = VMEM_HUGE_PAGES_OFF};

static void fill(struct vbuf *b, size_t len, int value)
{
    CHECK_STATUS(VBUF_OK, vbuf_resize(b, len));
    memset(b->data, value, len);
}

TEST(vbuf_give_back, V2_pages_and_charge_go)
{
    struct books books;
    struct vbuf b = make_vbuf(with_books(small_pages, &books));
    fill(&b, 8 * MIB, 1);
    CHECK(resident_bytes(&b) >= 8 * MIB || running_in_valgrind());
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, MIB));
    CHECK_EQ(b.capacity, 2 * MIB);
    CHECK(resident_bytes(&b) <= 2 * MIB);
    CHECK(!proc_is_readable(b.data + b.capacity));
    CHECK(proc_is_readable(b.data + b.capacity - 1));
    CHECK(is_sound(&b) && is_charged_right(&b));
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0));
    CHECK(resident_bytes(&b) <= VBUF_KEEP);
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
    CHECK_EQ(resident_bytes(&b), 0);
    CHECK_EQ(books.balance, 0);
    CHECK(is_sound(&b) && is_charged_right(&b));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 8 * MIB));
    are_all(&b, 0, 8 * MIB, 0); /* V1: zero again */
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

/* ---- clear ---- */

TEST(vbuf_give_back, clear_keeps_everything)
{
    struct books books;
    struct vbuf b = make_vbuf(with_books(small_pages, &books));
    fill(&b, 8 * MIB, 1);
    unsigned char chunk[4096] = {2};
    fault_clear();
    for (int round = 0; round < 4; round++) {
        long faults = proc_minor_faults();
        faults = proc_minor_faults(); /* twice: the first call may fault itself */
        vbuf_clear(&b);
        CHECK_EQ(b.len, 0);
        CHECK_EQ(b.capacity, 8 * MIB);
        if (round % 2 == 0) {
            while (b.len < 8 * MIB)
                CHECK_STATUS(VBUF_OK, vbuf_append(&b, chunk, sizeof chunk));
        } else {
            CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 8 * MIB));
        }
        if (running_plain())
            CHECK(proc_minor_faults() - faults <= 4); /* of 2,048 pages */
    }
    CHECK_EQ(system_calls(), 0);
    are_all(&b, 0, 8 * MIB, 0);
    vbuf_clear(&b);
    vbuf_clear(&b);
    CHECK_EQ(books.told, 0);
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
    CHECK_EQ(b.capacity, 0);
    CHECK_EQ(books.balance, 0);
    CHECK_EQ(resident_bytes(&b), 0);
    vbuf_destroy(&b);
}

TEST(vbuf_give_back, clear_keeps_everything_for_a_refill_by_push)
{
    struct words v;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_init(&v, MIB, &small_pages)));
    CHECK_STATUS(VBUF_OK, words_resize(&v, MIB));
    memset(words_data(&v), 1, 8 * MIB);
    fault_clear();
    words_clear(&v);
    long faults = proc_minor_faults();
    faults = proc_minor_faults();
    for (size_t i = 0; i < MIB; i++)
        words_push(&v, i);
    if (running_plain())
        CHECK(proc_minor_faults() - faults <= 4);
    CHECK_EQ(system_calls(), 0);
    CHECK_EQ(words_len(&v), MIB);
    words_destroy(&v);
}

/* ---- shrink_to ---- */

TEST(vbuf_give_back, shrink_to_gives_back_all_that_neither_len_nor_capacity_needs)
{
    size_t page = vmem_page_size(), full = 40 * page + 100;
    const size_t headers[] = {0, 1, 5000};
    const size_t lens[] = {0, 1, 3 * page - 1, 3 * page, 3 * page + 1, 39 * page, full};
    const size_t wanted[] = {0, 1, 2 * page, 3 * page + 1, 20 * page, 40 * page, full, SIZE_MAX};
    for (size_t i = 0; i < 3 * 7 * 8; i++) {
        struct books books;
        size_t len = lens[i / 8 % 7], to = wanted[i % 8];
        struct vbuf b = make_vbuf(with_books(
            (struct vbuf_options){.max = full, .header = headers[i / 56], .keep = full}, &books));
        fill(&b, full, 3);
        vbuf_clear(&b);
        fill(&b, len, 4);
        size_t least = whole_pages(&b, to > len ? (to < full ? to : full) : len);
        fault_clear();
        CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, to));
        CHECK_EQ(b.capacity, least); /* whatever keep says */
        CHECK(system_calls() <= 1);
        CHECK_EQ(b.len, len);
        are_all(&b, 0, len, 4);
        uint64_t calls = system_calls();
        CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, to));
        CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, b.capacity));
        CHECK_EQ(system_calls(), calls); /* no larger: without effect */
        REQUIRE(is_sound(&b) && is_charged_right(&b));
        CHECK_STATUS(VBUF_OK, vbuf_resize(&b, full));
        are_all(&b, len, full, 0);
        vbuf_destroy(&b);
        REQUIRE(CHECK_EQ(books.balance, 0));
    }
}

/* ---- refused ---- */

TEST(vbuf_give_back, shrink_to_is_nomem_iff_the_system_refuses)
{
    struct books books;
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 16 * MIB}, &books));
    fill(&b, MIB, 1);
    vbuf_clear(&b);
    fill(&b, 5000, 2);
    struct vbuf before = b;
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vbuf_shrink_to_fit(&b));
    CHECK_EQ(errno, ENOMEM);
    CHECK_STATUS(VBUF_NOMEM, vbuf_shrink_to(&b, 10000));
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to(&b, MIB)); /* nothing to ask for */
    CHECK(b.len == before.len && b.capacity == before.capacity);
    CHECK_EQ(books.told, 0);
    are_all(&b, 0, 5000, 2);
    CHECK(is_sound(&b) && is_charged_right(&b));
    CHECK_STATUS(VBUF_OK,
                 vbuf_resize(&b, MIB)); /* it is still there, and what was used is zeroed */
    are_all(&b, 5000, MIB, 0);
    fault_clear();
    vbuf_clear(&b);
    CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b));
    CHECK_EQ(b.capacity, 0);
    vbuf_destroy(&b);
}

TEST(vbuf_give_back, when_the_system_refuses_len_still_falls_and_the_memory_stays)
{
    struct books books;
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 16 * MIB}, &books));
    fill(&b, MIB, 1);
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 100));
    CHECK_EQ(b.len, 100);
    CHECK_EQ(b.capacity, MIB);
    CHECK_EQ(books.told, 0);
    CHECK(is_sound(&b) && is_charged_right(&b));
    CHECK_STATUS(VBUF_OK, vbuf_remove(&b, 0, 50));
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, 10));
    CHECK_STATUS(VBUF_OK, vbuf_rewind(&b, 5));
    are_all(&b, 0, 5, 1);
    CHECK_STATUS(VBUF_OK, vbuf_resize(&b, MIB));
    are_all(&b, 5, MIB, 0);
    fault_clear();
    CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 0)); /* and now it goes */
    CHECK_EQ(b.capacity, VBUF_KEEP);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

TEST(vbuf_give_back, a_refusal_is_not_met_again_at_every_step)
{
    struct words v;
    REQUIRE(CHECK_STATUS(VBUF_OK, words_init(&v, MIB, NULL)));
    CHECK_STATUS(VBUF_OK, words_resize(&v, 128 * KIB));
    fault_clear();
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    size_t pops = 0;
    while (words_pop(&v, NULL))
        pops++;
    CHECK_EQ(pops, 128 * KIB);
    CHECK_EQ(v.bytes.capacity, MIB);
    CHECK(fault_count(FAULT_MMAP) <= 2 * 20); /* two a refusal, one refusal each half */
    CHECK_STATUS(VBUF_OK, words_resize(&v, 4000));
    while (words_len(&v) >= 8) {
        CHECK_STATUS(VBUF_OK, words_truncate(&v, words_len(&v) - 7));
        CHECK_STATUS(VBUF_OK, words_extend(&v, words_data(&v), 1));
        CHECK_STATUS(VBUF_OK, words_remove(&v, 0, NULL));
    }
    CHECK(fault_count(FAULT_MMAP) <= 4 * 20);
    fault_clear();
    is_sound(&v.bytes);
    words_destroy(&v);
}

/* ---- the hooks' books at every moment ---- */

TEST(vbuf_give_back, the_hooks_books_agree_with_the_systems_at_every_moment)
{
    struct books books;
    struct check_rng rng = {check_seed()};
    struct vbuf b = make_vbuf(with_books(
        (struct vbuf_options){.max = 2 * MIB, .header = 5000, .keep = 1, .initial = 1}, &books));
    fault_clear();
    fault_fail_randomly(FAULT_MPROTECT, 300000, check_seed(), ENOMEM);
    fault_fail_randomly(FAULT_MMAP, 300000, check_seed() + 1, ENOMEM);
    for (int i = 0; i < BUILD_COUNT(3000, 500); i++) {
        size_t size = check_rng_next(&rng) % (UINT64_C(1) << (check_rng_next(&rng) % 22));
        books.spare = check_rng_next(&rng) % 4 == 0 ? check_rng_next(&rng) % MIB : SIZE_MAX;
        switch (check_rng_next(&rng) % 5) {
        case 0:
            vbuf_reserve(&b, size);
            break;
        case 1:
            vbuf_shrink_to(&b, size);
            break;
        case 2:
            vbuf_clear(&b);
            break;
        default:
            vbuf_resize(&b, size);
        }
        REQUIRE(is_sound(&b) && is_charged_right(&b));
    }
    fault_clear();
    CHECK(books.told > 0);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
}

/* ---- a hole ---- */

/* Somebody else's memory, zeros: all of the hole but its last page. */
struct stranger {
    unsigned char *memory;
    size_t size;
};

static void move_in(void *context, void *hole, size_t length)
{
    struct stranger *stranger = context;
    stranger->size = length - vmem_page_size();
    stranger->memory = mmap(hole, stranger->size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(stranger->memory == hole);
}

static void lose_and_refill(bool by_itself)
{
    struct books books;
    struct stranger stranger = {.size = 0};
    unsigned char bytes[1000];
    memset(bytes, 'b', sizeof bytes);
    struct vbuf b = make_vbuf(with_books((struct vbuf_options){.max = 4 * MIB}, &books));
    fill(&b, MIB, 1);
    fault_clear();
    fault_leave_hole_at(1, ENOMEM, move_in, &stranger);
    if (by_itself) {
        CHECK_STATUS(VBUF_OK, vbuf_truncate(&b, 100));
    } else {
        vbuf_clear(&b);
        CHECK_STATUS(VBUF_OK, vbuf_shrink_to_fit(&b)); /* the buffer is rid of it */
    }
    fault_clear();
    CHECK(vmem_lost(&b.memory) > stranger.size);
    if (CHECK(stranger.memory != NULL) && CHECK(b.data + b.capacity <= stranger.memory)) {
        enum vbuf_status status;
        while ((status = vbuf_append(&b, bytes, sizeof bytes)) == VBUF_OK)
            ;
        CHECK_STATUS(VBUF_NOMEM, status);
        CHECK_EQ(errno, EFAULT);
        CHECK(b.data + b.len <= stranger.memory && is_sound(&b));
    }
    for (size_t i = 0; i < stranger.size; i++)
        REQUIRE(stranger.memory[i] == 0);
    vbuf_destroy(&b);
    CHECK_EQ(books.balance, 0);
    CHECK(stranger.memory == NULL || proc_is_readable(stranger.memory)); /* not released, either */
    munmap(stranger.memory, stranger.size);
}

/*
 * A system that takes the old mapping away and then refuses the new one (see vmem_lost): what lay there
 * is not the buffer's any more. Growth into the old capacity would write to it.
 */
TEST(vbuf_give_back, V4_what_is_lost_is_never_used_again)
{
    lose_and_refill(true);
    lose_and_refill(false);
}
