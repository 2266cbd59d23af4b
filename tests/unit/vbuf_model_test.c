/*
 * vbuf_model_test.c - a million calls of the buffer, chosen at random, against a plain array; see
 * vbuf_model.h. The typed vector's are in vbuf_typed_model_test.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "vbuf/vbuf.h"
#include "vbuf_model.h"

/* ---- calls of the buffer ---- */

static void fill_chunk(struct model *m, unsigned char *chunk, size_t size)
{
    unsigned char first = (unsigned char)check_rng_next(&m->rng);
    for (size_t i = 0; i < size; i++)
        chunk[i] = (unsigned char)(first + i * 7) | 1;
}

static void append(struct model *m)
{
    unsigned char chunk[30000];
    size_t size = some_size(m);
    const void *from = chunk;
    if (below(m, 8) == 0) { /* bytes of its own */
        size = size < m->len ? size : m->len;
        from = m->b->data + below(m, m->len - size + 1);
        memcpy(chunk, from, size);
    } else {
        fill_chunk(m, chunk, size);
    }
    enum vbuf_status expected = foretell(m, m->len + size);
    if (CHECK_STATUS(expected, vbuf_append(m->b, from, size)) && expected == VBUF_OK) {
        memcpy(m->bytes + m->len, chunk, size);
        m->len += size;
    }
}

static void insert(struct model *m)
{
    unsigned char chunk[30000];
    size_t size = some_size(m), offset = below(m, m->len + 2);
    fill_chunk(m, chunk, size);
    enum vbuf_status expected = offset > m->len ? VBUF_INVALID : foretell(m, m->len + size);
    if (CHECK_STATUS(expected, vbuf_insert(m->b, offset, chunk, size)) && expected == VBUF_OK) {
        memmove(m->bytes + offset + size, m->bytes + offset, m->len - offset);
        memcpy(m->bytes + offset, chunk, size);
        m->len += size;
    }
}

static void take_out(struct model *m)
{
    size_t size = some_size(m), offset = below(m, m->len + 2);
    bool valid = offset <= m->len && size <= m->len - offset;
    CHECK_STATUS(valid ? VBUF_OK : VBUF_INVALID, vbuf_remove(m->b, offset, size));
    if (valid) {
        memmove(m->bytes + offset, m->bytes + offset + size, m->len - offset - size);
        m->len -= size;
    }
}

static void truncate_it(struct model *m)
{
    size_t to = below(m, 16) == 0 ? below(m, m->len + 2) : m->len - below(m, m->len / 8 + 1);
    bool valid = to <= m->len;
    CHECK_STATUS(valid ? VBUF_OK : VBUF_INVALID,
                 below(m, 2) == 0 ? vbuf_truncate(m->b, to) : vbuf_rewind(m->b, to));
    m->len = valid ? to : m->len;
}

static void resize(struct model *m)
{
    size_t to = below(m, 8) == 0 ? below(m, m->b->max + 100) : m->len + below(m, 500);
    enum vbuf_status expected = foretell(m, to);
    if (CHECK_STATUS(expected, vbuf_resize(m->b, to)) && expected == VBUF_OK) {
        if (to > m->len)
            memset(m->bytes + m->len, 0, to - m->len);
        m->len = to;
    }
}

static void reserve(struct model *m)
{
    size_t capacity = below(m, m->b->max + 100);
    enum vbuf_status expected = foretell(m, capacity);
    bool exact = below(m, 2) == 0;
    CHECK_STATUS(expected,
                 exact ? vbuf_reserve_exact(m->b, capacity) : vbuf_reserve(m->b, capacity));
    if (expected == VBUF_OK)
        promise(m, capacity);
}

static void shrink(struct model *m)
{
    size_t to = below(m, 2) == 0 ? 0 : below(m, m->b->max), capacity = m->b->capacity;
    size_t least = whole_pages(m->b, to > m->len ? to : m->len);
    bool refused = m->decommits_fail && least < capacity;
    CHECK_STATUS(refused ? VBUF_NOMEM : VBUF_OK, vbuf_shrink_to(m->b, to));
    CHECK_EQ(m->b->capacity, least < capacity && !refused ? least : capacity);
    if (!refused && m->promised > to)
        m->promised = to;
}

static void clear(struct model *m)
{
    promise(m, m->b->capacity);
    vbuf_clear(m->b);
    m->len = 0;
}

static void alloc(struct model *m)
{
    size_t size = some_size(m), align = (size_t)1 << below(m, below(m, 16) == 0 ? 14 : 5);
    size_t pad = (size_t)(0 - (uintptr_t)(m->b->data + m->len)) % align;
    int error = 0;
    bool possible = can_alloc(m, pad + size, &error), zeroed = below(m, 2) == 0;
    errno = 0;
    unsigned char *memory =
        zeroed ? vbuf_alloc_zeroed(m->b, size, align) : vbuf_alloc(m->b, size, align);
    if (!CHECK(memory == (possible ? m->b->data + m->len + pad : NULL)) || !possible) {
        CHECK_EQ(errno, error);
        return;
    }
    if (!zeroed)
        fill_chunk(m, memory, size);                     /* else it is compared with zeros */
    memcpy(m->bytes + m->len, m->b->data + m->len, pad); /* anything */
    m->len += pad;
    if (zeroed)
        memset(m->bytes + m->len, 0, size);
    else
        memcpy(m->bytes + m->len, memory, size);
    m->len += size;
}

static void open_or_end_scope(struct model *m)
{
    if (m->open < SCOPES && below(m, 2) == 0) {
        vbuf_scope_begin(m->b, &m->scopes[m->open++]);
        return;
    }
    size_t which = below(m, SCOPES), len = m->scopes[which].len;
    bool valid = which < m->open;
    CHECK_STATUS(valid ? VBUF_OK : VBUF_INVALID, vbuf_scope_end(m->b, &m->scopes[which]));
    if (valid) {
        m->open = which;
        m->len = m->len < len ? m->len : len;
    }
}

/* ---- the test ---- */

static void step(struct model *m)
{
    typedef void call(struct model * m);
    static call *const calls[] = {append, append,   append,           append,      append,
                                  insert, take_out, resize,           truncate_it, alloc,
                                  alloc,  alloc,    open_or_end_scope};
    size_t which = below(m, 400);
    if (which == 0)
        change_weather(m);
    else if (which <= 2)
        shrink(m);
    else if (which == 3)
        reserve(m);
    else if (which == 4)
        clear(m);
    else
        calls[which % (sizeof calls / sizeof *calls)](m);
}

TEST(vbuf_model, a_million_calls_of_the_buffer)
{
    struct vbuf b;
    struct model m = {.rng = {check_seed()}, .b = &b, .bytes = malloc(MOST + 1)};
    REQUIRE(m.bytes != NULL);
    size_t count = rounds();
    for (size_t i = 0; i < count && check_failures() == 0; i++) {
        if (i % 5000 == 0) {
            fault_clear();
            if (i != 0) {
                vbuf_destroy(&b);
                CHECK_EQ(m.books.balance, 0);
            }
            struct vbuf_options options = some_options(&m);
            b = make_vbuf(with_books(options, &m.books));
            start_anew(&m, options.initial);
        }
        step(&m);
        if (!agrees(&m, i % 1000 == 999))
            fprintf(stderr, "after call %zu\n", i);
    }
    was_thorough(&m);
    fault_clear();
    vbuf_destroy(&b);
    free(m.bytes);
}
