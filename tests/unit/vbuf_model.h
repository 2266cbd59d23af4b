/*
 * vbuf_model.h - for the tests that compare a buffer with a plain array: the array, the status that a
 * call will return, refusals of memory that come and go, and options chosen at random.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_MODEL_H
#define VBUF_MODEL_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"
#include "vbuf_books.h"

#define MOST ((size_t)200000) /* bytes that any of the buffers has */
#define SCOPES 4

struct model {
    struct check_rng rng;
    struct vbuf *b;
    struct books books;
    unsigned char *bytes; /* what the buffer should hold */
    size_t len;
    size_t promised;
    bool commits_fail, decommits_fail;
    struct vbuf_scope scopes[SCOPES];
    size_t open;                     /* scopes */
    size_t foretold[VBUF_NOMEM + 1]; /* how often each status was */
};

static inline size_t below(struct model *m, size_t limit)
{
    return (size_t)(check_rng_next(&m->rng) % limit);
}

/* Mostly few. */
static inline size_t some_size(struct model *m)
{
    return below(m, below(m, 64) == 0 ? 30000 : 100);
}

/* ---- what is to come ---- */

static inline size_t page_end(const struct vbuf *b, size_t size)
{
    return vmem_align_up(prefix_of(b) + size, vmem_page_size());
}

/* Of a call that needs `capacity` bytes in all. */
static inline enum vbuf_status foretell(struct model *m, size_t capacity)
{
    enum vbuf_status status = VBUF_OK;
    if (capacity > m->b->max) {
        status = VBUF_FULL;
    } else if (capacity > m->b->capacity) {
        size_t bytes = page_end(m->b, capacity) - page_end(m->b, m->b->capacity);
        status = m->commits_fail || bytes > m->books.spare ? VBUF_NOMEM : VBUF_OK;
    }
    m->foretold[status]++;
    return status;
}

/* The same, with the errno of an allocation that fails. */
static inline bool can_alloc(struct model *m, size_t size, int *error)
{
    enum vbuf_status status = foretell(m, m->len + size);
    *error = status == VBUF_FULL ? ENOBUFS : ENOMEM;
    return status == VBUF_OK;
}

static inline void promise(struct model *m, size_t capacity)
{
    m->promised = m->promised > capacity ? m->promised : capacity;
}

/* ---- the world around ---- */

static inline void change_weather(struct model *m)
{
    fault_clear();
    m->commits_fail = m->decommits_fail = false;
    m->books.spare = SIZE_MAX;
    switch (below(m, 8)) {
    case 0:
        m->books.spare = below(m, 2) == 0 ? 0 : below(m, 16) * vmem_page_size();
        break;
    case 1:
        m->commits_fail = true;
        fault_fail_from(FAULT_MPROTECT, 1, ENOMEM);
        break;
    case 2:
        m->decommits_fail = true;
        fault_fail_from(FAULT_MMAP, 1, ENOMEM);
        break;
    default:
        break; /* fine */
    }
}

static inline struct vbuf_options some_options(struct model *m)
{
    static const struct vbuf_growth growths[] = {{0, 0, 0}, {3, 2, 0},    {17, 16, 0},   {10, 1, 0},
                                                 {0, 0, 1}, {0, 0, 5000}, {0, 0, 100000}};
    size_t max = below(m, 4) == 0 ? below(m, 10000) + 12 : MOST - below(m, MOST / 2);
    return (struct vbuf_options){
        .max = max,
        .alignment = below(m, 2) == 0 ? 0 : (size_t)1 << below(m, 16),
        .header = below(m, 2) == 0 ? 0 : below(m, 6000),
        .initial = below(m, 2) == 0 ? 0 : below(m, max + 1),
        .keep = below(m, 2) == 0 ? 0 : below(m, 1 + below(m, 2 * MOST)) + 1,
        .growth = growths[below(m, sizeof growths / sizeof *growths)],
    };
}

/* The buffer has just been made. */
static inline void start_anew(struct model *m, size_t initial)
{
    m->len = 0;
    m->promised = initial;
    m->open = 0;
    memset(m->scopes, 0, sizeof m->scopes);
    m->commits_fail = m->decommits_fail = false;
    m->books.spare = SIZE_MAX;
    if (m->b->header != 0)
        memset(vbuf_header(m->b), 0xee, m->b->header);
}

/* In the books, and the first and the last bytes; or all of them. */
static inline bool agrees(const struct model *m, bool wholly)
{
    const struct vbuf *b = m->b;
    if (!CHECK_EQ(b->len, m->len) || !is_sound(b) || !CHECK(b->capacity >= m->promised))
        return false;
    size_t some = m->len < 16 ? m->len : 16;
    const unsigned char *header = vbuf_header(b);
    if (header != NULL && !CHECK(header[0] == 0xee && header[b->header - 1] == 0xee))
        return false;
    if (wholly)
        return CHECK(memcmp(b->data, m->bytes, m->len) == 0) && is_charged_right(b);
    return CHECK(memcmp(b->data, m->bytes, some) == 0) &&
           CHECK(memcmp(b->data + m->len - some, m->bytes + m->len - some, some) == 0);
}

/* Everything has happened that was to happen. */
static inline bool was_thorough(const struct model *m)
{
    return CHECK(m->foretold[VBUF_FULL] > 0 && m->foretold[VBUF_NOMEM] > 0);
}

static inline size_t rounds(void)
{
    return running_in_valgrind() ? 20000 : BUILD_COUNT(1000000, 200000);
}

#endif
