/*
 * vbuf_books.h - for the vbuf tests: a hook pair that keeps accounts, what must hold of a buffer after
 * every call, and counts of what a call has cost. Wants _GNU_SOURCE.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_BOOKS_H
#define VBUF_BOOKS_H

#include <string.h>
#include <sys/mman.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What the hooks were told. */
struct books {
    size_t balance;  /* bytes allowed, less bytes told to be in use no more */
    size_t spare;    /* bytes that may still be allowed */
    unsigned asked;  /* times */
    unsigned told;   /* times */
    size_t question; /* bytes asked for last */
    size_t answer;   /* bytes told of last */
};

static inline bool books_commit(void *context, size_t bytes)
{
    struct books *books = context;
    CHECK(bytes != 0 && bytes % vmem_page_size() == 0);
    books->asked++;
    books->question = bytes;
    if (bytes > books->spare)
        return false;
    books->spare -= bytes;
    books->balance += bytes;
    return true;
}

static inline void books_decommit(void *context, size_t bytes)
{
    struct books *books = context;
    CHECK(bytes != 0 && bytes % vmem_page_size() == 0);
    CHECK(bytes <= books->balance);
    books->told++;
    books->answer = bytes;
    books->spare += bytes < SIZE_MAX - books->spare ? bytes : SIZE_MAX - books->spare;
    books->balance -= bytes;
}

/* The options with these books; they allow everything. */
static inline struct vbuf_options with_books(struct vbuf_options options, struct books *books)
{
    *books = (struct books){.spare = SIZE_MAX};
    options.on_commit = books_commit;
    options.on_decommit = books_decommit;
    options.context = books;
    return options;
}

/* Zeroed when init fails, which has failed the test. */
static inline struct vbuf make_vbuf(struct vbuf_options options)
{
    struct vbuf buffer;
    memset(&buffer, 0, sizeof buffer);
    CHECK_STATUS(VBUF_OK, vbuf_init(&buffer, &options));
    return buffer;
}

/* Bytes from the base to data. */
static inline size_t prefix_of(const struct vbuf *b)
{
    return (size_t)(b->data - (unsigned char *)b->memory.base);
}

/* What the capacity becomes when `bytes` are to fit, and no more than whole pages. */
static inline size_t whole_pages(const struct vbuf *b, size_t bytes)
{
    size_t prefix = prefix_of(b);
    size_t end = vmem_align_up(prefix + bytes, vmem_page_size()) - prefix;
    return end < b->max ? end : b->max;
}

/* The bytes of the pages that hold the header and the capacity. */
static inline size_t pages_held(const struct vbuf *b)
{
    size_t prefix = prefix_of(b);
    size_t begin = prefix - vmem_align_up(b->header, 64);
    return vmem_align_up(prefix + b->capacity, vmem_page_size()) -
           vmem_align_down(begin, vmem_page_size());
}

/* What holds after every call, whatever it returned. Cheap. */
static inline bool is_sound(const struct vbuf *b)
{
    bool sound = CHECK(b->len <= b->capacity && b->capacity <= b->max && b->keep <= b->max &&
                       b->shrink_below_ <= b->capacity && b->promised_ <= b->capacity);
    sound = CHECK(b->capacity == b->max || whole_pages(b, b->capacity) == b->capacity) && sound;
    /* What the inlined calls go by: see vbuf.c. */
    if (BUILD_ADDRESS_SANITIZER)
        sound = CHECK(b->limit_ == b->len && b->low_ == SIZE_MAX) && sound;
    else
        sound = CHECK(b->limit_ == b->capacity && b->low_ == b->shrink_below_) && sound;
    if (b->on_decommit == books_decommit) {
        const struct books *books = b->context;
        sound = CHECK_EQ(books->balance, pages_held(b)) && sound;
    }
    return sound;
}

/* The same from the system's books, where it keeps any: it walks all mappings. */
static inline bool is_charged_right(const struct vbuf *b)
{
    size_t committed;
    enum vbuf_status status = vmem_committed(&b->memory, 0, b->memory.size, &committed);
    if (status == VBUF_UNSUPPORTED)
        return true;
    return CHECK_STATUS(VBUF_OK, status) && CHECK_EQ(committed, pages_held(b));
}

/* The index of the first byte of [begin, end) that is not `value`, or end. */
static inline size_t first_other(const struct vbuf *b, size_t begin, size_t end, int value)
{
    const unsigned char *bytes = b->data;
    while (begin < end && bytes[begin] == value)
        begin++;
    return begin;
}

/* Whether the bytes [begin, end) all are `value`. */
static inline bool are_all(const struct vbuf *b, size_t begin, size_t end, int value)
{
    return CHECK_EQ(first_other(b, begin, end, value), end);
}

/* Calls of the library to the system that get or give memory, since fault_clear. */
static inline uint64_t system_calls(void)
{
    return fault_count(FAULT_MMAP) + fault_count(FAULT_MUNMAP) + fault_count(FAULT_MPROTECT) +
           fault_count(FAULT_MADVISE);
}

/* Bytes of the reservation in physical memory; asked of the kernel, so that every build can. */
static inline size_t resident_bytes(const struct vbuf *b)
{
    size_t page = vmem_page_size(), count = 0;
    unsigned char pages[1024];
    for (size_t offset = 0; offset < b->memory.size; offset += sizeof pages * page) {
        size_t length = b->memory.size - offset;
        if (length > sizeof pages * page)
            length = sizeof pages * page;
        if (!CHECK(mincore((char *)b->memory.base + offset, length, pages) == 0))
            return SIZE_MAX;
        for (size_t i = 0; i < length / page; i++)
            count += pages[i] & 1;
    }
    return count * page;
}

#endif
