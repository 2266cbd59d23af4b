/*
 * seam_atomic.h - atomic.h's primitives, redirected to the explorer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SEAM_ATOMIC_H
#define SEAM_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t seam_load(const void *address, size_t size, int order);
void seam_store(void *address, size_t size, uint64_t value, int order);
uint64_t seam_fetch_add(void *address, size_t size, uint64_t value, int order);
uint64_t seam_exchange(void *address, size_t size, uint64_t value, int order);
/* Strong; `expected` points to a value of the same size. */
bool seam_cas(void *address, size_t size, void *expected, uint64_t value, int order);

#define SEAM_VALUE(value) ((uint64_t)(uintptr_t)(value))
#define SEAM_TYPED(pointer, call) ((__typeof__(*(pointer)))(uintptr_t)(call))

#define VBUF_ATOMIC_LOAD(pointer, order)                                                           \
    SEAM_TYPED(pointer, seam_load(pointer, sizeof *(pointer), order))
#define VBUF_ATOMIC_STORE(pointer, value, order)                                                   \
    seam_store(pointer, sizeof *(pointer), SEAM_VALUE(value), order)
#define VBUF_ATOMIC_FETCH_ADD(pointer, value, order)                                               \
    SEAM_TYPED(pointer, seam_fetch_add(pointer, sizeof *(pointer), SEAM_VALUE(value), order))
#define VBUF_ATOMIC_EXCHANGE(pointer, value, order)                                                \
    SEAM_TYPED(pointer, seam_exchange(pointer, sizeof *(pointer), SEAM_VALUE(value), order))
#define VBUF_ATOMIC_CAS(pointer, expected, value, order)                                           \
    seam_cas(pointer, sizeof *(pointer), expected, SEAM_VALUE(value), order)

#endif
