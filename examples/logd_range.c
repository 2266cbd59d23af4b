/*
 * logd_range.c - records as replies, within what a client may leave unread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_range.h"

#define ARRAY_HEAD 24 /* bytes of an array's head, at most */

/* Adds up until there are more than `most` bytes; *size is then that many. */
static size_t measure(const struct records_slice *range, size_t most, size_t *size)
{
    size_t i = 0;
    for (*size = ARRAY_HEAD; i < range->count && *size <= most; i++)
        *size += reply_bulk_size(range->data[i].len);
    return *size <= most || i == 0 ? i : i - 1;
}

size_t range_fitting(const struct records_slice *range, size_t most)
{
    size_t size;
    return measure(range, most, &size);
}

bool range_reply(struct reply *reply, const struct records_slice *range, size_t most)
{
    size_t size;
    if (measure(range, most, &size) < range->count || size > most || !reply_reserve(reply, size))
        return false;
    reply_array(reply, range->count);
    for (size_t i = 0; i < range->count; i++)
        reply_bulk(reply, range->data[i].data, range->data[i].len);
    return true;
}

void range_reply_refused(struct reply *reply, const struct records_slice *range, size_t most)
{
    if (range_fitting(range, most) < range->count)
        reply_error(reply, "ERR range exceeds max-output (%zu bytes): ask for less", most);
    else
        reply_error(reply, "OOM no memory for this reply");
}
