/*
 * cvec_raw.c - a cvec without readiness bytes: claims and memory are as there, publishing is the user's.
 *
 * It is a struct cvec whose ready_ is NULL; none of the calls that look at readiness bytes is offered.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_internal.h"

static struct cvec *vector_of(const struct cvec_raw *raw)
{
    return (struct cvec *)(uintptr_t)raw;
}

enum vbuf_status cvec_raw_create(struct cvec_raw **raw, const struct cvec_options *options)
{
    if (raw == NULL || options == NULL || options->destroy != NULL)
        return VBUF_INVALID;
    struct cvec *vector;
    enum vbuf_status status = cvec_create_kind(&vector, options, true);
    if (status == VBUF_OK)
        *raw = (struct cvec_raw *)(void *)vector;
    return status;
}

void cvec_raw_destroy(struct cvec_raw *raw)
{
    cvec_destroy(vector_of(raw));
}

void *cvec_raw_header(const struct cvec_raw *raw)
{
    return cvec_header(vector_of(raw));
}

enum vbuf_status cvec_raw_claim(struct cvec_raw *raw, size_t count, size_t *first, void **slots)
{
    return cvec_claim(vector_of(raw), count, first, slots);
}

size_t cvec_raw_len(const struct cvec_raw *raw)
{
    return cvec_claimed(vector_of(raw));
}

size_t cvec_raw_capacity(const struct cvec_raw *raw)
{
    return cvec_capacity(vector_of(raw));
}

size_t cvec_raw_max_len(const struct cvec_raw *raw)
{
    return cvec_max_len(vector_of(raw));
}

enum vbuf_status cvec_raw_reserve(struct cvec_raw *raw, size_t capacity)
{
    return cvec_reserve(vector_of(raw), capacity);
}

enum vbuf_status cvec_raw_reserve_exact(struct cvec_raw *raw, size_t capacity)
{
    return cvec_reserve_exact(vector_of(raw), capacity);
}

void cvec_raw_close(struct cvec_raw *raw)
{
    cvec_close(vector_of(raw));
}

enum vbuf_status cvec_raw_truncate(struct cvec_raw *raw, size_t len)
{
    return cvec_truncate(vector_of(raw), len);
}

enum vbuf_status cvec_raw_shrink_to_fit(struct cvec_raw *raw)
{
    return cvec_shrink_to_fit(vector_of(raw));
}
