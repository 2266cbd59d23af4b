/*
 * cvec_fixture.h - what the tests of cvec share: a vector of numbers, books on its memory, a destructor
 * that keeps a list.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CVEC_FIXTURE_H
#define CVEC_FIXTURE_H

#include <string.h>
#include <time.h>

#include "check.h"
#include "cvec/cvec.h"

/* Long enough to catch a hang, whatever else the machine does. */
#define A_LONG_TIME INT64_C(30000000000)

CVEC_DEFINE(words, uint64_t)

/* What the hooks were asked for and told, in bytes; and what destroy was called with. */
struct books {
    struct vbuf_atomic_u32 refuse;
    struct vbuf_atomic_u64 asked; /* and granted */
    struct vbuf_atomic_u64 told;
    size_t destroyed; /* these four: one thread only */
    size_t in_sweep;  /* of them, since the test set it to 0 */
    uint64_t last_destroyed;
    bool out_of_order;
};

static inline bool books_ask(void *context, size_t bytes)
{
    struct books *books = context;
    if (vbuf_u32_load_acquire(&books->refuse) != 0)
        return false;
    vbuf_u64_fetch_add_relaxed(&books->asked, bytes);
    return true;
}

static inline void books_tell(void *context, size_t bytes)
{
    struct books *books = context;
    vbuf_u64_fetch_add_relaxed(&books->told, bytes);
}

static inline void books_refuse(struct books *books, bool refuse)
{
    vbuf_u32_store_release(&books->refuse, refuse);
}

/* Bytes in use, as the hooks know it. */
static inline uint64_t books_balance(const struct books *books)
{
    return vbuf_u64_load_relaxed(&books->asked) - vbuf_u64_load_relaxed(&books->told);
}

/* A destructor of numbers that are to go in rising order. */
static inline void books_destroy(void *context, void *element)
{
    struct books *books = context;
    uint64_t value;
    memcpy(&value, element, sizeof value);
    if (books->in_sweep != 0 && value <= books->last_destroyed)
        books->out_of_order = true;
    books->last_destroyed = value;
    books->destroyed++;
    books->in_sweep++;
}

static inline struct cvec_options books_options(struct books *books, size_t max_len)
{
    return (struct cvec_options){.max_len = max_len,
                                 .element_size = sizeof(uint64_t),
                                 .destroy = books_destroy,
                                 .on_commit = books_ask,
                                 .on_decommit = books_tell,
                                 .context = books};
}

/* A vector of numbers with books, which start empty. */
static inline struct cvec *books_make(struct books *books, size_t max_len)
{
    struct cvec *v = NULL;
    struct cvec_options options = books_options(books, max_len);
    memset(books, 0, sizeof *books);
    CHECK_STATUS(VBUF_OK, cvec_create(&v, &options));
    return v;
}

/* A vector of numbers. */
static inline struct words make_words(size_t max_len)
{
    struct words v = {NULL, NULL};
    CHECK_STATUS(VBUF_OK, words_create(&v, &(struct cvec_options){.max_len = max_len}));
    return v;
}

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * Waits for ever, as far as the caller is concerned: a wake that is lost fails the test instead of
 * hanging it. (A waiter whose time is up looks once more, so the status alone would not tell.)
 */
static inline enum vbuf_status wait_for_wake(struct cvec *v, size_t count)
{
    int64_t begin = now_ns();
    enum vbuf_status status = cvec_wait(v, count, A_LONG_TIME);
    CHECK(now_ns() - begin < A_LONG_TIME);
    return status;
}

static inline struct cvec_report report_of(struct cvec *v)
{
    struct cvec_report report = {0};
    CHECK_STATUS(VBUF_OK, cvec_stats(v, &report));
    return report;
}

/* At a quiet moment the books say what stats say. */
static inline void check_books(struct cvec *v, const struct books *books)
{
    CHECK_EQ(books_balance(books), report_of(v).committed_bytes);
}

/* Pushes the numbers [from, to), which are their indices as well. */
static inline void push_numbers(struct cvec *v, uint64_t from, uint64_t to)
{
    for (uint64_t value = from; value < to; value++) {
        size_t index = SIZE_MAX;
        if (!CHECK_STATUS(VBUF_OK, cvec_push(v, &value, &index)) || !CHECK_EQ(index, value))
            return;
    }
}

/* The prefix is the numbers [0, count), by snapshot and by get, and nothing is behind it. */
static inline void check_numbers(struct cvec *v, size_t count)
{
    struct cvec_slice all = cvec_snapshot(v);
    const uint64_t *numbers = all.data;
    REQUIRE(CHECK_EQ(all.count, count));
    for (size_t i = 0; i < count; i++)
        REQUIRE(numbers[i] == i && cvec_get(v, i) == numbers + i);
    CHECK(cvec_get(v, count) == NULL);
}

#endif
