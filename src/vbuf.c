/*
 * vbuf.c - a buffer that grows and shrinks in place.
 *
 *      base      data            data + len           data + capacity               data + max
 *      | header   |  in use        |  committed          |  reserved                  |
 *                 |      low_ <=  len  <= limit_
 *                 |                  used_: at and above it all committed bytes are zero
 *
 * Growth multiplies the capacity (or adds to it), so that n bytes appended cost O(log n) system calls.
 * When the larger size is refused, what is needed is tried alone: a buffer near a limit still fills it.
 *
 * Shrinking has hysteresis: growth(x) being the capacity that growth makes out of x, memory is given
 * back when capacity > 2 growth(len), down to growth(len). After a growth from c, c bytes are in use:
 * half of them must go before anything shrinks; after shrinking, growth(len) - len must come before
 * anything grows. So system calls are paid for by a constant share of len each, at any edge.
 *
 * Two marks keep all that out of the inlined calls: len may move between low_ and limit_ without a
 * call. Below low_ memory is to be given back; limit_ is the capacity. Under AddressSanitizer there
 * is no room between the two: every change of len comes here, where the unused tail is poisoned from
 * limit_, which then is len, to the last byte committed. The program may be compiled with
 * AddressSanitizer and the library not, or the other way round: only the library poisons.
 *
 * used_ makes zeroing cheap: memory from the system is zero, and only what was in use since it came
 * need be cleared. It is raised, to whole pages, whenever len falls from above it, and lowered
 * when pages go back.
 *
 * vbuf_commit is the part that containers with a layout of their own stand on. It keeps no state:
 * two threads that commit the same range both succeed, and none waits for the other.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/vbuf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define HEADER_ALIGNMENT 64

/* There iff the program runs under AddressSanitizer. */
void __asan_poison_memory_region(const volatile void *address, size_t size) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *address, size_t size) __attribute__((weak));

static bool is_watched(void)
{
    return __asan_poison_memory_region != NULL;
}

/* Bytes of the data, from offset `begin` to `end`. */
static void poison(const struct vbuf *buffer, size_t begin, size_t end)
{
    if (is_watched() && begin < end)
        __asan_poison_memory_region(buffer->data + begin, end - begin);
}

static void unpoison(const struct vbuf *buffer, size_t begin, size_t end)
{
    if (is_watched() && begin < end)
        __asan_unpoison_memory_region(buffer->data + begin, end - begin);
}

/* ---- sizes ---- */

static size_t at_most(size_t size, size_t limit)
{
    return size < limit ? size : limit;
}

/* Bytes in front of data. */
static size_t prefix_of(const struct vbuf *buffer)
{
    return (size_t)(buffer->data - (unsigned char *)buffer->memory.base);
}

/* Where the pages end that hold `capacity` bytes: an offset from data, past max at the very end. */
static size_t page_end(const struct vbuf *buffer, size_t capacity)
{
    size_t prefix = prefix_of(buffer);
    return vmem_align_up(prefix + capacity, vmem_page_size()) - prefix;
}

/* What growth makes of a capacity; at most max. */
static size_t grown(const struct vbuf *buffer, size_t capacity)
{
    const struct vbuf_growth *growth = &buffer->growth;
    if (growth->linear != 0)
        return capacity > buffer->max - at_most(growth->linear, buffer->max)
                   ? buffer->max
                   : capacity + growth->linear;
    uint64_t rest = capacity % growth->denominator;
    size_t whole, part = (size_t)(rest * growth->numerator / growth->denominator);
    if (__builtin_mul_overflow(capacity / growth->denominator, growth->numerator, &whole) ||
        __builtin_add_overflow(whole, part, &whole))
        return buffer->max;
    return at_most(whole, buffer->max);
}

/* ---- the marks ---- */

/* The largest len at which the capacity is more than growth would twice make of it, and one more. */
static size_t shrink_below(const struct vbuf *buffer)
{
    const struct vbuf_growth *growth = &buffer->growth;
    if (buffer->capacity <= buffer->keep)
        return 0;
    if (growth->linear != 0)
        return buffer->capacity / 2 > growth->linear ? buffer->capacity - 2 * growth->linear : 0;
    uint64_t half = buffer->capacity / 2, numerator = growth->numerator;
    return (size_t)(half / numerator * growth->denominator +
                    half % numerator * growth->denominator / numerator);
}

static void check_invariants(const struct vbuf *buffer)
{
#if defined(VBUF_DEBUG)
    assert(buffer->len <= buffer->limit_ && buffer->limit_ <= buffer->capacity);
    assert(buffer->capacity <= buffer->max && buffer->used_ <= buffer->capacity);
    assert(page_end(buffer, buffer->capacity) <= buffer->memory.size - prefix_of(buffer));
    assert(buffer->capacity == buffer->max ||
           page_end(buffer, buffer->capacity) == buffer->capacity);
#else
    (void)buffer;
#endif
}

/* Ends every call that changed len or the capacity: `open` more bytes than len may be written. */
static void settle(struct vbuf *buffer, size_t open)
{
    if (is_watched()) {
        size_t limit = buffer->len + open;
        unpoison(buffer, buffer->limit_, limit);
        poison(buffer, limit, buffer->limit_);
        buffer->limit_ = limit;
        buffer->low_ = SIZE_MAX;
    } else {
        buffer->limit_ = buffer->capacity;
        buffer->low_ = shrink_below(buffer);
    }
    check_invariants(buffer);
}

/* Before len becomes smaller. */
static void note_used(struct vbuf *buffer)
{
    if (buffer->len > buffer->used_)
        buffer->used_ = at_most(page_end(buffer, buffer->len), buffer->capacity);
}

/* ---- growing and shrinking ---- */

/* Rounds a range of the reservation outward to whole pages; false: it leaves the reservation. */
static bool round_to_pages(const struct vbuf *buffer, size_t *begin, size_t *length)
{
    if (*begin > buffer->memory.size || *length > buffer->memory.size - *begin)
        return false;
    size_t page = vmem_page_size();
    size_t end = vmem_align_up(*begin + *length, page);
    *begin = *length == 0 ? end : vmem_align_down(*begin, page);
    *length = end - *begin;
    return true;
}

/* Asks the hook for both, then the system, the first first. */
static enum vbuf_status commit_ranges(struct vbuf *buffer, size_t begin, size_t length,
                                      size_t second_begin, size_t second_length)
{
    if (!round_to_pages(buffer, &begin, &length) ||
        !round_to_pages(buffer, &second_begin, &second_length))
        return VBUF_INVALID;
    size_t bytes = length + second_length;
    if (bytes == 0)
        return VBUF_OK;
    if (buffer->on_commit != NULL && !buffer->on_commit(buffer->context, bytes)) {
        errno = ENOMEM;
        return VBUF_NOMEM;
    }
    enum vbuf_status status = vmem_commit(&buffer->memory, begin, length);
    if (status == VBUF_OK)
        status = vmem_commit(&buffer->memory, second_begin, second_length);
    if (status != VBUF_OK && buffer->on_decommit != NULL) {
        int reason = errno;
        buffer->on_decommit(buffer->context, bytes);
        errno = reason;
    }
    return status;
}

/* Commits up to `capacity` bytes, rounded up to whole pages but not past max. */
static enum vbuf_status grow_to(struct vbuf *buffer, size_t capacity)
{
    size_t end = page_end(buffer, buffer->capacity), new_end = page_end(buffer, capacity);
    enum vbuf_status status = vbuf_commit(buffer, end, new_end - end);
    if (status != VBUF_OK)
        return status;
    poison(buffer, end, new_end);
    buffer->capacity = at_most(new_end, buffer->max);
    return VBUF_OK;
}

/* Room for `capacity` bytes in all. */
static enum vbuf_status ensure(struct vbuf *buffer, size_t capacity)
{
    if (capacity <= buffer->capacity)
        return VBUF_OK;
    if (capacity > buffer->max)
        return VBUF_FULL;
    size_t larger = grown(buffer, buffer->capacity);
    if (larger > capacity && grow_to(buffer, larger) == VBUF_OK)
        return VBUF_OK;
    return grow_to(buffer, capacity);
}

/* Gives back whole pages above `capacity`, which is len at least. */
static enum vbuf_status give_back(struct vbuf *buffer, size_t capacity)
{
    size_t end = page_end(buffer, buffer->capacity), new_end = page_end(buffer, capacity);
    if (new_end >= end)
        return VBUF_OK;
    enum vbuf_status status =
        vmem_decommit(&buffer->memory, prefix_of(buffer) + new_end, end - new_end);
    if (status != VBUF_OK)
        return status;
    unpoison(buffer, new_end, end); /* other memory may lie there one day */
    buffer->capacity = new_end;
    buffer->limit_ = at_most(buffer->limit_, new_end);
    buffer->used_ = at_most(buffer->used_, new_end);
    if (buffer->on_decommit != NULL)
        buffer->on_decommit(buffer->context, end - new_end);
    return VBUF_OK;
}

/* len becomes smaller, and the capacity, if that is due. */
static void drop_to(struct vbuf *buffer, size_t len)
{
    note_used(buffer);
    buffer->len = len;
    size_t wanted = grown(buffer, len);
    if (wanted < buffer->keep)
        wanted = buffer->keep;
    if (len < shrink_below(buffer))
        give_back(buffer, wanted);
    settle(buffer, 0);
    if (len < buffer->low_ && !is_watched())
        buffer->low_ = len / 2; /* refused, or less than a page: not again at every step */
}

/* ---- init and destroy ---- */

static bool is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static bool is_valid_growth(const struct vbuf_growth *growth)
{
    if (growth->linear != 0 || growth->denominator == 0)
        return growth->numerator == 0 && growth->denominator == 0;
    return growth->numerator > growth->denominator;
}

static bool is_valid_options(const struct vbuf_options *options)
{
    return options->max != 0 && options->initial <= options->max && options->min <= options->max &&
           (options->alignment == 0 || is_power_of_two(options->alignment)) &&
           is_valid_growth(&options->growth);
}

/* Bytes from the base to data: the header's, so that data is aligned. SIZE_MAX: too many. */
static size_t choose_prefix(const struct vbuf_options *options)
{
    size_t unit = options->alignment > HEADER_ALIGNMENT ? options->alignment : HEADER_ALIGNMENT;
    if (options->header > SIZE_MAX - unit)
        return SIZE_MAX;
    return vmem_align_up(options->header, unit);
}

enum vbuf_status vbuf_init(struct vbuf *buffer, const struct vbuf_options *options)
{
    if (buffer == NULL || options == NULL || !is_valid_options(options))
        return VBUF_INVALID;
    size_t prefix = choose_prefix(options);
    if (options->max > SIZE_MAX - prefix)
        return VBUF_INVALID;
    struct vmem_options memory_options = {
        .alignment = options->alignment,
        .min_size = options->min != 0 ? prefix + options->min : 0,
        .huge_pages = options->huge_pages,
        .charge = options->charge,
        .name = options->name,
    };
    struct vmem memory;
    enum vbuf_status status = vmem_reserve(&memory, prefix + options->max, &memory_options);
    if (status != VBUF_OK)
        return status;
    struct vbuf made = {
        .data = (unsigned char *)memory.base + prefix,
        .max = at_most(options->max, memory.size - prefix),
        .keep = options->keep != 0 ? options->keep : VBUF_KEEP,
        .growth = options->growth,
        .header = options->header,
        .memory = memory,
        .on_commit = options->on_commit,
        .on_decommit = options->on_decommit,
        .context = options->context,
    };
    if (made.growth.linear == 0 && made.growth.denominator == 0)
        made.growth = (struct vbuf_growth){.numerator = 2, .denominator = 1};
    made.keep = at_most(made.keep, made.max);
    size_t initial = at_most(options->initial, made.max);
    size_t header = vmem_align_up(options->header, HEADER_ALIGNMENT);
    size_t page = vmem_page_size();
    /* From the header's first page on; the rest of its last page is capacity. */
    size_t begin = vmem_align_down(prefix - header, page), end = prefix + page_end(&made, initial);
    status = commit_ranges(&made, begin, end - begin, 0, 0);
    if (status != VBUF_OK) {
        vmem_release(&made.memory);
        return status;
    }
    made.capacity = at_most(end - prefix, made.max);
    poison(&made, 0, end - prefix);
    settle(&made, 0);
    *buffer = made;
    return VBUF_OK;
}

void vbuf_destroy(struct vbuf *buffer)
{
    if (buffer->memory.size != 0) {
        size_t end = page_end(buffer, buffer->capacity), prefix = prefix_of(buffer);
        size_t header = vmem_align_up(buffer->header, HEADER_ALIGNMENT);
        size_t begin = vmem_align_down(prefix - header, vmem_page_size());
        unpoison(buffer, 0, end);
        vmem_release(&buffer->memory);
        if (buffer->on_decommit != NULL && prefix + end != begin)
            buffer->on_decommit(buffer->context, prefix + end - begin);
    }
    *buffer = (struct vbuf){.data = NULL};
}

/* ---- commit, for other layouts ---- */

enum vbuf_status vbuf_commit_two(struct vbuf *buffer, size_t offset, size_t length,
                                 size_t second_offset, size_t second_length)
{
    size_t prefix = prefix_of(buffer), most = buffer->memory.size - prefix;
    if (offset > most || second_offset > most)
        return VBUF_INVALID;
    return commit_ranges(buffer, prefix + offset, length, prefix + second_offset, second_length);
}

enum vbuf_status vbuf_commit(struct vbuf *buffer, size_t offset, size_t length)
{
    return vbuf_commit_two(buffer, offset, length, 0, 0);
}

/* ---- capacity and len ---- */

enum vbuf_status vbuf_reserve(struct vbuf *buffer, size_t capacity)
{
    enum vbuf_status status = ensure(buffer, capacity);
    settle(buffer, 0);
    return status;
}

enum vbuf_status vbuf_reserve_exact(struct vbuf *buffer, size_t capacity)
{
    if (capacity <= buffer->capacity)
        return VBUF_OK;
    if (capacity > buffer->max)
        return VBUF_FULL;
    enum vbuf_status status = grow_to(buffer, capacity);
    settle(buffer, 0);
    return status;
}

enum vbuf_status vbuf_shrink_to(struct vbuf *buffer, size_t capacity)
{
    if (capacity >= buffer->capacity)
        return VBUF_OK;
    enum vbuf_status status = give_back(buffer, capacity > buffer->len ? capacity : buffer->len);
    settle(buffer, 0);
    return status;
}

enum vbuf_status vbuf_resize(struct vbuf *buffer, size_t len)
{
    if (len <= buffer->len) {
        drop_to(buffer, len);
        return VBUF_OK;
    }
    enum vbuf_status status = ensure(buffer, len);
    size_t old = buffer->len;
    if (status == VBUF_OK)
        buffer->len = len;
    settle(buffer, 0);
    if (status == VBUF_OK && buffer->used_ > old)
        memset(buffer->data + old, 0, at_most(len, buffer->used_) - old);
    return status;
}

enum vbuf_status vbuf_truncate(struct vbuf *buffer, size_t len)
{
    if (len > buffer->len)
        return VBUF_INVALID;
    drop_to(buffer, len);
    return VBUF_OK;
}

void vbuf_drop_to_(struct vbuf *buffer, size_t len)
{
    drop_to(buffer, len);
}

void vbuf_clear(struct vbuf *buffer)
{
    note_used(buffer);
    buffer->len = 0;
    settle(buffer, 0);
}

/* ---- bytes ---- */

enum vbuf_status vbuf_make_room_(struct vbuf *buffer, size_t size)
{
    enum vbuf_status status =
        size > buffer->max - buffer->len ? VBUF_FULL : ensure(buffer, buffer->len + size);
    settle(buffer, status == VBUF_OK ? size : 0);
    return status;
}

enum vbuf_status vbuf_append(struct vbuf *buffer, const void *bytes, size_t size)
{
    if (bytes == NULL && size != 0)
        return VBUF_INVALID;
    enum vbuf_status status = vbuf_make_room_(buffer, size);
    if (status != VBUF_OK || size == 0)
        return status;
    memcpy(buffer->data + buffer->len, bytes, size);
    buffer->len += size;
    return VBUF_OK;
}

enum vbuf_status vbuf_insert(struct vbuf *buffer, size_t offset, const void *bytes, size_t size)
{
    if (offset > buffer->len || (bytes == NULL && size != 0))
        return VBUF_INVALID;
    enum vbuf_status status = vbuf_make_room_(buffer, size);
    if (status != VBUF_OK || size == 0)
        return status;
    unsigned char *place = buffer->data + offset;
    memmove(place + size, place, buffer->len - offset);
    memcpy(place, bytes, size);
    buffer->len += size;
    return VBUF_OK;
}

enum vbuf_status vbuf_remove(struct vbuf *buffer, size_t offset, size_t size)
{
    if (offset > buffer->len || size > buffer->len - offset)
        return VBUF_INVALID;
    unsigned char *place = buffer->data + offset;
    memmove(place, place + size, buffer->len - offset - size);
    drop_to(buffer, buffer->len - size);
    return VBUF_OK;
}

/* ---- the arena ---- */

void *vbuf_alloc_slow_(struct vbuf *buffer, size_t size, size_t align)
{
    if (!is_power_of_two(align)) {
        errno = EINVAL;
        return NULL;
    }
    size_t pad = (size_t)(0 - (uintptr_t)(buffer->data + buffer->len)) & (align - 1);
    size_t room = buffer->max - buffer->len;
    if (pad > room || size > room - pad) {
        errno = ENOBUFS;
        return NULL;
    }
    if (vbuf_make_room_(buffer, pad + size) != VBUF_OK)
        return NULL;
    void *memory = buffer->data + buffer->len + pad;
    buffer->len += pad + size;
    return memory;
}

void *vbuf_alloc_zeroed(struct vbuf *buffer, size_t size, size_t align)
{
    unsigned char *memory = vbuf_alloc(buffer, size, align);
    if (memory == NULL)
        return NULL;
    size_t offset = (size_t)(memory - buffer->data);
    if (buffer->used_ > offset)
        memset(memory, 0, at_most(size, buffer->used_ - offset));
    return memory;
}

void vbuf_scope_begin(struct vbuf *buffer, struct vbuf_scope *scope)
{
    *scope = (struct vbuf_scope){.outer = buffer->scope_, .len = buffer->len};
    buffer->scope_ = scope;
}

enum vbuf_status vbuf_scope_end(struct vbuf *buffer, struct vbuf_scope *scope)
{
    const struct vbuf_scope *open = buffer->scope_;
    while (open != NULL && open != scope)
        open = open->outer;
    if (open == NULL)
        return VBUF_INVALID;
    buffer->scope_ = scope->outer;
    if (buffer->len > scope->len)
        drop_to(buffer, scope->len);
    return VBUF_OK;
}
