/*
 * atomic.h - the one place that knows how an atomic is spelled.
 *
 * An atomic is a struct of one field, explicitly aligned: the same layout in C and in C++, on every
 * compiler, and no plain access can slip in unseen. Every operation names its ordering; there is no
 * default. Nothing outside this header names a memory order, and stand-alone fences are fence.h's.
 *
 * The seam: a build that defines VBUF_ATOMIC_SEAM to a header's name (with quotes) gets the five
 * primitives below from that header instead. A schedule explorer takes their place so.
 *
 *     VBUF_ATOMIC_LOAD(pointer, order)                    VBUF_ATOMIC_STORE(pointer, value, order)
 *     VBUF_ATOMIC_FETCH_ADD(pointer, value, order)        VBUF_ATOMIC_EXCHANGE(pointer, value, order)
 *     VBUF_ATOMIC_CAS(pointer, expected_pointer, value, order)      strong; failure loads acquire
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_ATOMIC_H
#define VBUF_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#if defined(VBUF_ATOMIC_SEAM)
#include VBUF_ATOMIC_SEAM
#else
#define VBUF_ATOMIC_LOAD(pointer, order) __atomic_load_n(pointer, order)
#define VBUF_ATOMIC_STORE(pointer, value, order) __atomic_store_n(pointer, value, order)
#define VBUF_ATOMIC_FETCH_ADD(pointer, value, order) __atomic_fetch_add(pointer, value, order)
#define VBUF_ATOMIC_EXCHANGE(pointer, value, order) __atomic_exchange_n(pointer, value, order)
#define VBUF_ATOMIC_CAS(pointer, expected, value, order)                                           \
    __atomic_compare_exchange_n(pointer, expected, value, false, order, __ATOMIC_ACQUIRE)
#endif

/*
 * For every type: load_relaxed, load_acquire, store_relaxed, store_release, exchange_acq_rel,
 * cas_acquire and cas_acq_rel; for the integers also fetch_add_relaxed, fetch_add_acquire,
 * fetch_add_acq_rel and max_release. A cas that fails leaves what it found, loaded with acquire, in
 * *expected. max_release raises the word to `value` at least, and never lowers it.
 */
#define VBUF_DEFINE_ATOMIC(name, type, size)                                                       \
    struct vbuf_atomic_##name {                                                                    \
        type raw __attribute__((aligned(size)));                                                   \
    };                                                                                             \
    static inline type vbuf_##name##_load_relaxed(const struct vbuf_atomic_##name *a)              \
    {                                                                                              \
        return VBUF_ATOMIC_LOAD(&a->raw, __ATOMIC_RELAXED);                                        \
    }                                                                                              \
    static inline type vbuf_##name##_load_acquire(const struct vbuf_atomic_##name *a)              \
    {                                                                                              \
        return VBUF_ATOMIC_LOAD(&a->raw, __ATOMIC_ACQUIRE);                                        \
    }                                                                                              \
    static inline void vbuf_##name##_store_relaxed(struct vbuf_atomic_##name *a, type value)       \
    {                                                                                              \
        VBUF_ATOMIC_STORE(&a->raw, value, __ATOMIC_RELAXED);                                       \
    }                                                                                              \
    static inline void vbuf_##name##_store_release(struct vbuf_atomic_##name *a, type value)       \
    {                                                                                              \
        VBUF_ATOMIC_STORE(&a->raw, value, __ATOMIC_RELEASE);                                       \
    }                                                                                              \
    static inline type vbuf_##name##_exchange_acq_rel(struct vbuf_atomic_##name *a, type value)    \
    {                                                                                              \
        return VBUF_ATOMIC_EXCHANGE(&a->raw, value, __ATOMIC_ACQ_REL);                             \
    }                                                                                              \
    static inline bool vbuf_##name##_cas_acquire(struct vbuf_atomic_##name *a, type *expected,     \
                                                 type value)                                       \
    {                                                                                              \
        return VBUF_ATOMIC_CAS(&a->raw, expected, value, __ATOMIC_ACQUIRE);                        \
    }                                                                                              \
    static inline bool vbuf_##name##_cas_acq_rel(struct vbuf_atomic_##name *a, type *expected,     \
                                                 type value)                                       \
    {                                                                                              \
        return VBUF_ATOMIC_CAS(&a->raw, expected, value, __ATOMIC_ACQ_REL);                        \
    }

/* The arithmetic ones, for the unsigned integers. */
#define VBUF_DEFINE_ATOMIC_COUNT(name, type, size)                                                 \
    VBUF_DEFINE_ATOMIC(name, type, size)                                                           \
    static inline type vbuf_##name##_fetch_add_relaxed(struct vbuf_atomic_##name *a, type value)   \
    {                                                                                              \
        return VBUF_ATOMIC_FETCH_ADD(&a->raw, value, __ATOMIC_RELAXED);                            \
    }                                                                                              \
    static inline type vbuf_##name##_fetch_add_acquire(struct vbuf_atomic_##name *a, type value)   \
    {                                                                                              \
        return VBUF_ATOMIC_FETCH_ADD(&a->raw, value, __ATOMIC_ACQUIRE);                            \
    }                                                                                              \
    static inline type vbuf_##name##_fetch_add_acq_rel(struct vbuf_atomic_##name *a, type value)   \
    {                                                                                              \
        return VBUF_ATOMIC_FETCH_ADD(&a->raw, value, __ATOMIC_ACQ_REL);                            \
    }                                                                                              \
    static inline void vbuf_##name##_max_release(struct vbuf_atomic_##name *a, type value)         \
    {                                                                                              \
        type seen = VBUF_ATOMIC_LOAD(&a->raw, __ATOMIC_RELAXED);                                   \
        while (seen < value && !VBUF_ATOMIC_CAS(&a->raw, &seen, value, __ATOMIC_ACQ_REL)) {        \
        }                                                                                          \
    }

VBUF_DEFINE_ATOMIC_COUNT(u8, uint8_t, 1)
VBUF_DEFINE_ATOMIC_COUNT(u32, uint32_t, 4)
VBUF_DEFINE_ATOMIC_COUNT(u64, uint64_t, 8)
VBUF_DEFINE_ATOMIC(pointer, void *, sizeof(void *))

/*
 * A counter with one writer and any number of readers: an increment is a load and a store, not a
 * read-modify-write. Relaxed loads by its owner always read the owner's own last store.
 */
static inline void vbuf_u64_owner_add_relaxed(struct vbuf_atomic_u64 *a, uint64_t value)
{
    vbuf_u64_store_relaxed(a, vbuf_u64_load_relaxed(a) + value);
}

static inline void vbuf_u64_owner_add_release(struct vbuf_atomic_u64 *a, uint64_t value)
{
    vbuf_u64_store_release(a, vbuf_u64_load_relaxed(a) + value);
}

#endif
