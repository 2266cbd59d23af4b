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
 * Shrinking has hysteresis: growth(x) being the capacity that growth makes out of x, and a page more
 * than x at least, memory is given back when capacity > 2 growth(len) (with linear growth by n: when
 * capacity > len + 2n), down to growth(len). So after a growth len must fall by a constant share, or a page,
 * before anything shrinks; after shrinking it must rise by growth(len) - len before anything grows: at
 * no edge do system calls come with every step. What was reserved, or is kept by a clear, is promised:
 * it stays until vbuf_shrink_to. A refusal by the system is not asked for again until len has halved.
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

static size_t at_least(size_t size, size_t limit)
{
    return size > limit ? size : limit;
}

/* The sum, or max if that is less. */
static size_t plus(const struct vbuf *buffer, size_t size, size_t more)
{
    return more < buffer->max - size ? size + more : buffer->max;
}

/* Where the header's first page begins, or data, if there is none: an offset in the reservation. */
static size_t committed_begin(const struct vbuf *buffer)
{
    size_t header = vmem_align_up(buffer->header, HEADER_ALIGNMENT);
    return vmem_align_down(prefix_of(buffer) - header, vmem_page_size());
}

/* What growth makes of a capacity; at most max. */
static size_t grown(const struct vbuf *buffer, size_t capacity)
{
    const struct vbuf_growth *growth = &buffer->growth;
    if (growth->linear != 0)
        return plus(buffer, capacity, growth->linear);
    uint64_t rest = capacity % growth->denominator;
    size_t whole, part = (size_t)(rest * growth->numerator / growth->denominator);
    if (__builtin_mul_overflow(capacity / growth->denominator, growth->numerator, &whole) ||
        __builtin_add_overflow(whole, part, &whole))
        return buffer->max;
    return at_most(whole, buffer->max);
}

/* ---- the marks ---- */

/* What stays, however small len is. */
static size_t kept(const struct vbuf *buffer)
{
    return at_least(buffer->keep, buffer->promised_);
}

/* What to shrink to. A page at least stays free, because growth is by the page at least. */
static size_t shrink_target(const struct vbuf *buffer)
{
    size_t target =
        at_least(grown(buffer, buffer->len), plus(buffer, buffer->len, vmem_page_size()));
    return at_least(target, kept(buffer));
}

/* Memory is to be given back at a len below this: see the essay. */
static size_t shrink_below(const struct vbuf *buffer)
{
    const struct vbuf_growth *growth = &buffer->growth;
    size_t capacity = buffer->capacity, page = vmem_page_size();
    if (page_end(buffer, kept(buffer)) >= page_end(buffer, capacity))
        return 0;
    if (growth->linear != 0) {
        size_t step = at_least(growth->linear, page);
        return capacity / 2 > step ? capacity - 2 * step : 0;
    }
    uint64_t half = capacity / 2, numerator = growth->numerator;
    uint64_t below =
        half / numerator * growth->denominator + half % numerator * growth->denominator / numerator;
    return half > page ? at_most((size_t)below, half - page) : 0;
}

/* The capacity has changed, or what is kept of it. */
static void set_capacity(struct vbuf *buffer, size_t capacity)
{
    buffer->capacity = capacity;
    buffer->shrink_below_ = shrink_below(buffer);
}

static void check_invariants(const struct vbuf *buffer)
{
    (void)buffer;
#if defined(VBUF_DEBUG)
    assert(buffer->len <= buffer->limit_ && buffer->limit_ <= buffer->capacity);
    assert(buffer->capacity <= buffer->max && buffer->used_ <= buffer->capacity);
    assert(page_end(buffer, buffer->capacity) <= buffer->memory.size - prefix_of(buffer));
    assert(buffer->capacity == buffer->max ||
           page_end(buffer, buffer->capacity) == buffer->capacity);
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
        buffer->low_ = buffer->shrink_below_;
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
    set_capacity(buffer, at_most(new_end, buffer->max));
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

/*
 * Gives back whole pages above `capacity`, which is len at least. What is lost on the way (vmem_lost)
 * is given back as far as the buffer is concerned: it never touches it again, and never gets it again.
 */
static enum vbuf_status give_back(struct vbuf *buffer, size_t capacity)
{
    size_t end = page_end(buffer, buffer->capacity), new_end = page_end(buffer, capacity);
    if (new_end >= end)
        return VBUF_OK;
    size_t lost = vmem_lost(&buffer->memory);
    enum vbuf_status status =
        vmem_decommit(&buffer->memory, prefix_of(buffer) + new_end, end - new_end);
    if (status != VBUF_OK && vmem_lost(&buffer->memory) == lost)
        return status;
    unpoison(buffer, new_end, end); /* other memory may lie there one day */
    set_capacity(buffer, new_end);
    buffer->limit_ = at_most(buffer->limit_, new_end);
    buffer->used_ = at_most(buffer->used_, new_end);
    if (buffer->on_decommit != NULL)
        buffer->on_decommit(buffer->context, end - new_end);
    return VBUF_OK;
}

/* len becomes smaller, and the capacity, if that is due. */
static void drop_to(struct vbuf *buffer, size_t len)
{
    if (len == buffer->len)
        return;
    note_used(buffer);
    buffer->len = len;
    if (len < buffer->shrink_below_ && give_back(buffer, shrink_target(buffer)) != VBUF_OK)
        buffer->shrink_below_ = len / 2; /* not again at every step */
    settle(buffer, 0);
}

/* `capacity` bytes are to stay, until vbuf_shrink_to. */
static void promise(struct vbuf *buffer, size_t capacity)
{
    if (capacity <= buffer->promised_)
        return;
    buffer->promised_ = capacity;
    buffer->shrink_below_ = shrink_below(buffer);
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
        .readable = options->readable,
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
    /* From the header's first page on; the rest of its last page is capacity. */
    size_t begin = committed_begin(&made), end = prefix + page_end(&made, initial);
    status = commit_ranges(&made, begin, end - begin, 0, 0);
    if (status != VBUF_OK) {
        vmem_release(&made.memory);
        return status;
    }
    made.promised_ = initial;
    set_capacity(&made, at_most(end - prefix, made.max));
    poison(&made, 0, end - prefix);
    settle(&made, 0);
    *buffer = made;
    return VBUF_OK;
}

void vbuf_destroy(struct vbuf *buffer)
{
    if (buffer->memory.size != 0) {
        size_t end = page_end(buffer, buffer->capacity), prefix = prefix_of(buffer);
        size_t begin = committed_begin(buffer);
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
    enum vbuf_status status =
        commit_ranges(buffer, prefix + offset, length, prefix + second_offset, second_length);
    if (status == VBUF_OK && is_watched()) { /* the header's last page is poisoned */
        size_t end = page_end(buffer, buffer->capacity);
        unpoison(buffer, offset, at_most(offset + length, end));
        unpoison(buffer, second_offset, at_most(second_offset + second_length, end));
    }
    return status;
}

enum vbuf_status vbuf_commit(struct vbuf *buffer, size_t offset, size_t length)
{
    return vbuf_commit_two(buffer, offset, length, 0, 0);
}

enum vbuf_status vbuf_decommit(struct vbuf *buffer, size_t offset, size_t length)
{
    size_t prefix = prefix_of(buffer), most = buffer->memory.size - prefix;
    if (offset > most || length > most - offset || offset < buffer->capacity)
        return VBUF_INVALID;
    size_t page = vmem_page_size();
    size_t begin = vmem_align_up(prefix + offset, page);
    size_t end = vmem_align_down(prefix + offset + length, page);
    if (begin >= end)
        return VBUF_OK;
    enum vbuf_status status = vmem_decommit(&buffer->memory, begin, end - begin);
    if (status == VBUF_OK && buffer->on_decommit != NULL)
        buffer->on_decommit(buffer->context, end - begin);
    return status;
}

/* ---- capacity and len ---- */

enum vbuf_status vbuf_reserve(struct vbuf *buffer, size_t capacity)
{
    enum vbuf_status status = ensure(buffer, capacity);
    if (status == VBUF_OK)
        promise(buffer, capacity);
    settle(buffer, 0);
    return status;
}

enum vbuf_status vbuf_reserve_exact(struct vbuf *buffer, size_t capacity)
{
    if (capacity > buffer->max)
        return VBUF_FULL;
    enum vbuf_status status = capacity <= buffer->capacity ? VBUF_OK : grow_to(buffer, capacity);
    if (status == VBUF_OK)
        promise(buffer, capacity);
    settle(buffer, 0);
    return status;
}

enum vbuf_status vbuf_shrink_to(struct vbuf *buffer, size_t capacity)
{
    enum vbuf_status status = VBUF_OK;
    if (capacity < buffer->capacity)
        status = give_back(buffer, at_least(capacity, buffer->len));
    if (status == VBUF_OK) {
        buffer->promised_ = at_most(buffer->promised_, capacity);
        buffer->shrink_below_ = shrink_below(buffer);
    }
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
    promise(buffer, buffer->capacity);
    settle(buffer, 0);
}

enum vbuf_status vbuf_prefault(struct vbuf *buffer)
{
    size_t begin = committed_begin(buffer), end = page_end(buffer, buffer->capacity);
    unpoison(buffer, buffer->limit_, end); /* it may have to touch each page */
    enum vbuf_status status =
        vmem_prefault(&buffer->memory, begin, prefix_of(buffer) + end - begin);
    poison(buffer, buffer->limit_, end);
    return status;
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
#if defined(VBUF_DEBUG)
    for (const struct vbuf_scope *open = buffer->scope_; open != NULL; open = open->outer)
        assert(open != scope && "a scope begins again only after it has ended");
#endif
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
