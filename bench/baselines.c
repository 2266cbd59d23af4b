/*
 * baselines.c - the cold halves of what the containers are compared with, and the program's
 * memory.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "baselines.h"

#include <string.h>

#include <vbuf/vmem.h>

void *bench_alloc(size_t size)
{
    size_t rounded = (size + 127) / 128 * 128;
    void *memory = aligned_alloc(128, rounded);
    if (memory == NULL)
        bench_die("out of memory: %zu bytes", size);
    return memset(memory, 0, rounded);
}

void bench_free(void *memory)
{
    free(memory);
}

void *pages_alloc(size_t size)
{
    struct vmem vm;
    if (vmem_reserve(&vm, size, NULL) != VBUF_OK || vmem_commit(&vm, 0, size) != VBUF_OK)
        bench_die("out of memory: %zu bytes", size);
    return vm.base;
}

void pages_free(void *pages, size_t size)
{
    struct vmem vm = {.base = pages, .size = vmem_align_up(size, vmem_page_size())};
    vmem_release(&vm);
}

void pages_touch(void *memory, size_t size)
{
    volatile unsigned char *bytes = memory;
    size_t page = vmem_page_size();
    for (size_t i = 0; i < size; i += page)
        bytes[i] = bytes[i];
    if (size != 0)
        bytes[size - 1] = bytes[size - 1];
}

void plain_vec_grow(struct plain_vec *vec, size_t capacity)
{
    size_t doubled = vec->capacity * 2;
    vec->capacity = capacity > doubled ? capacity : doubled;
    vec->data = realloc(vec->data, vec->capacity * sizeof *vec->data);
    if (vec->data == NULL)
        bench_die("out of memory: an array of %zu", vec->capacity);
}

uint64_t sum_words(const uint64_t *data, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += data[i];
    return sum;
}

void plain_map_grow(struct plain_map *map)
{
    map->capacity = map->capacity != 0 ? map->capacity * 2 : 1024;
    map->slots = realloc(map->slots, map->capacity * sizeof *map->slots);
    if (map->slots == NULL)
        bench_die("out of memory: %u slots", map->capacity);
    if (map->used == 0)
        map->used = 1;
}

void guard_init(struct guard *guard)
{
    pthread_mutex_init(&guard->mutex, NULL);
    pthread_rwlock_init(&guard->rwlock, NULL);
    ck_rwlock_init(&guard->ck_rwlock);
}

void guard_destroy(struct guard *guard)
{
    pthread_rwlock_destroy(&guard->rwlock);
    pthread_mutex_destroy(&guard->mutex);
}
