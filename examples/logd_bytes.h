/*
 * logd_bytes.h - a growing string of bytes, with one owner.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_BYTES_H
#define LOGD_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Somebody else's bytes: not terminated, and any of them may be 0. */
struct text {
    const char *data;
    size_t len;
};

/* {0} is a valid, empty one. */
struct bytes {
    char *data;
    size_t len;
    size_t capacity;
    bool failed; /* memory ran out: what should have been appended is missing */
};

/* Makes room for `more` bytes; false, and failed is set, when there is no memory. */
bool bytes_reserve(struct bytes *bytes, size_t more);

bool bytes_append(struct bytes *bytes, const void *data, size_t len);
bool bytes_append_decimal(struct bytes *bytes, int64_t value);

__attribute__((format(printf, 2, 3))) bool bytes_printf(struct bytes *bytes, const char *format,
                                                        ...);

/* As printable ASCII: every other byte becomes '?', and at most `most` bytes are taken. */
bool bytes_append_printable(struct bytes *bytes, struct text text, size_t most);

/* Empties it, and gives the memory back if it had grown beyond `keep` bytes. */
void bytes_reset(struct bytes *bytes, size_t keep);

void bytes_free(struct bytes *bytes);

#endif
