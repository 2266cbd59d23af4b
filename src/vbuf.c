/*
 * vbuf.c - a buffer that grows in place.
 *
 *      data            data + len           data + capacity               data + max
 *      |  in use        |  committed          |  reserved                  |
 *
 * Growth at least doubles the capacity, so that n bytes appended cost O(log n) system calls. When
 * the doubled size is refused, what is needed is tried alone: a buffer near a limit still fills it.
 *
 * vbuf_commit is the part that containers with a layout of their own stand on. It keeps no state:
 * two threads that commit the same range both succeed, and none waits for the other.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/vbuf.h"

#include <errno.h>
#include <string.h>

enum vbuf_status vbuf_init(struct vbuf *buffer, const struct vbuf_options *options)
{
    if (buffer == NULL || options == NULL || options->max == 0)
        return VBUF_INVALID;
    struct vmem_options memory_options = {.alignment = options->alignment};
    struct vmem memory;
    enum vbuf_status status = vmem_reserve(&memory, options->max, &memory_options);
    if (status != VBUF_OK)
        return status;
    *buffer = (struct vbuf){
        .data = memory.base,
        .max = options->max,
        .memory = memory,
        .on_commit = options->on_commit,
        .context = options->context,
    };
    return VBUF_OK;
}

void vbuf_destroy(struct vbuf *buffer)
{
    vmem_release(&buffer->memory);
    *buffer = (struct vbuf){.data = NULL};
}

enum vbuf_status vbuf_commit(struct vbuf *buffer, size_t offset, size_t length)
{
    return vbuf_commit_two(buffer, offset, length, 0, 0);
}

/* Rounds a range outward to whole pages; false: it leaves the reservation. */
static bool round_to_pages(const struct vbuf *buffer, size_t *offset, size_t *length)
{
    if (*offset > buffer->memory.size || *length > buffer->memory.size - *offset)
        return false;
    size_t page = vmem_page_size();
    size_t end = vmem_align_up(*offset + *length, page);
    *offset = *length == 0 ? end : vmem_align_down(*offset, page);
    *length = end - *offset;
    return true;
}

enum vbuf_status vbuf_commit_two(struct vbuf *buffer, size_t offset, size_t length,
                                 size_t second_offset, size_t second_length)
{
    if (!round_to_pages(buffer, &offset, &length) ||
        !round_to_pages(buffer, &second_offset, &second_length))
        return VBUF_INVALID;
    size_t bytes = length + second_length;
    if (buffer->on_commit != NULL && bytes != 0 && !buffer->on_commit(buffer->context, bytes)) {
        errno = ENOMEM;
        return VBUF_NOMEM;
    }
    enum vbuf_status status = vmem_commit(&buffer->memory, offset, length);
    if (status == VBUF_OK)
        status = vmem_commit(&buffer->memory, second_offset, second_length);
    return status;
}

/* Commits up to `capacity` bytes, rounded up to whole pages but not past max. */
static enum vbuf_status grow_to(struct vbuf *buffer, size_t capacity)
{
    capacity = vmem_align_up(capacity, vmem_page_size());
    if (capacity > buffer->max || capacity == 0)
        capacity = buffer->max;
    enum vbuf_status status = vbuf_commit(buffer, buffer->capacity, capacity - buffer->capacity);
    if (status == VBUF_OK)
        buffer->capacity = capacity;
    return status;
}

enum vbuf_status vbuf_reserve(struct vbuf *buffer, size_t capacity)
{
    if (capacity <= buffer->capacity)
        return VBUF_OK;
    if (capacity > buffer->max)
        return VBUF_FULL;
    size_t doubled = buffer->capacity > buffer->max / 2 ? buffer->max : buffer->capacity * 2;
    if (doubled > capacity && grow_to(buffer, doubled) == VBUF_OK)
        return VBUF_OK;
    return grow_to(buffer, capacity);
}

enum vbuf_status vbuf_resize(struct vbuf *buffer, size_t len)
{
    enum vbuf_status status = vbuf_reserve(buffer, len);
    if (status == VBUF_OK)
        buffer->len = len;
    return status;
}

enum vbuf_status vbuf_append(struct vbuf *buffer, const void *bytes, size_t size)
{
    if (bytes == NULL && size != 0)
        return VBUF_INVALID;
    if (size > buffer->max - buffer->len)
        return VBUF_FULL;
    enum vbuf_status status = vbuf_reserve(buffer, buffer->len + size);
    if (status != VBUF_OK || size == 0)
        return status;
    memcpy(buffer->data + buffer->len, bytes, size);
    buffer->len += size;
    return VBUF_OK;
}
