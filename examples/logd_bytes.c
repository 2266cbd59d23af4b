/*
 * logd_bytes.c - a growing string of bytes, with one owner.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "logd_memory.h"

#define FIRST_CAPACITY 256
#define DECIMAL_DIGITS 20 /* with a sign: INT64_MIN */

static bool grow(struct bytes *bytes, size_t capacity)
{
    char *data = memory_resize(bytes->data, bytes->capacity, capacity);
    if (data == NULL)
        return false;
    bytes->data = data;
    bytes->capacity = capacity;
    return true;
}

bool bytes_reserve(struct bytes *bytes, size_t more)
{
    if (more <= bytes->capacity - bytes->len)
        return true;
    if (more > SIZE_MAX / 2 - bytes->len)
        return !(bytes->failed = true);
    size_t capacity = bytes->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : bytes->capacity;
    while (capacity - bytes->len < more)
        capacity *= 2;
    if (grow(bytes, capacity) || grow(bytes, bytes->len + more))
        return true;
    return !(bytes->failed = true);
}

bool bytes_append(struct bytes *bytes, const void *data, size_t len)
{
    if (!bytes_reserve(bytes, len))
        return false;
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    return true;
}

bool bytes_append_decimal(struct bytes *bytes, int64_t value)
{
    char digits[DECIMAL_DIGITS];
    char *first = digits + sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--first = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        *--first = '-';
    return bytes_append(bytes, first, (size_t)(digits + sizeof(digits) - first));
}

bool bytes_printf(struct bytes *bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (len < 0 || !bytes_reserve(bytes, (size_t)len + 1))
        return false;
    va_start(arguments, format);
    vsnprintf(bytes->data + bytes->len, (size_t)len + 1, format, arguments);
    va_end(arguments);
    bytes->len += (size_t)len;
    return true;
}

bool bytes_append_printable(struct bytes *bytes, struct text text, size_t most)
{
    size_t len = text.len < most ? text.len : most;
    if (!bytes_reserve(bytes, len))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text.data[i];
        bytes->data[bytes->len++] = c >= ' ' && c <= '~' ? c : '?';
    }
    return true;
}

void bytes_reset(struct bytes *bytes, size_t keep)
{
    if (bytes->capacity > keep)
        bytes_free(bytes);
    bytes->len = 0;
    bytes->failed = false;
}

void bytes_free(struct bytes *bytes)
{
    memory_free(bytes->data, bytes->capacity);
    *bytes = (struct bytes){0};
}
