/*
 * memory_bench.c - what an element costs in physical memory: measured, not computed.
 *
 * The process's resident size before and after filling a container from empty, by single inserts;
 * the difference, divided by n, includes whatever the container needs beside its elements.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "baselines.h"
#include "bench.h"
#include "tbb.h"

/* Bytes resident. From smaps_rollup, which counts pages: the cheaper figures lag behind. */
static double resident(void)
{
    static char buffer[65536]; /* the C library must not allocate between two looks */
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL)
        bench_die("cannot read /proc/self/smaps_rollup");
    setvbuf(file, buffer, _IOFBF, sizeof buffer);
    char line[256];
    double kilobytes = -1;
    while (kilobytes < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Rss:", 4) == 0)
            kilobytes = strtod(line + 4, NULL);
    }
    fclose(file);
    if (kilobytes < 0)
        bench_die("no resident size in /proc/self/smaps_rollup");
    return kilobytes * 1024;
}

/* The resident size to start from; what earlier cases left in the heap is given back first. */
static double resident_before(void)
{
    malloc_trim(0);
    return resident();
}

static double per_element(double before, uint64_t n)
{
    return (resident() - before) / (double)n;
}

static double words_vbuf(uint64_t n)
{
    struct words vector;
    double before = resident_before();
    if (words_create(&vector, NULL) != VBUF_OK)
        bench_die("cannot create a vector");
    for (uint64_t i = 0; i < n; i++) {
        if (words_push(&vector, i, NULL) != VBUF_OK)
            bench_die("cannot fill a vector");
    }
    double bytes = per_element(before, n);
    words_destroy(&vector);
    return bytes;
}

static double words_raw(uint64_t n)
{
    double before = resident_before();
    uint64_t *pages = pages_alloc(n * sizeof *pages);
    memset(pages, 1, n * sizeof *pages);
    double bytes = per_element(before, n);
    pages_free(pages, n * sizeof *pages);
    return bytes;
}

static double words_plain(uint64_t n)
{
    struct plain_vec vec = {0};
    double before = resident_before();
    for (uint64_t i = 0; i < n; i++)
        plain_vec_push(&vec, i);
    double bytes = per_element(before, n);
    free(vec.data);
    return bytes;
}

#if defined(VBUF_BENCH_TBB)
static double words_tbb(uint64_t n)
{
    double before = resident_before();
    void *vector = bench_tbb_create();
    bench_tbb_push(vector, 0, n);
    double bytes = per_element(before, n);
    bench_tbb_destroy(vector);
    return bytes;
}
#endif

static double items_vbuf(uint64_t n)
{
    struct items map;
    double before = resident_before();
    if (items_create(&map, NULL) != VBUF_OK)
        bench_die("cannot create a map");
    for (uint64_t i = 0; i < n; i++) {
        if (items_insert(&map, (struct item){i, i}, NULL) != VBUF_OK)
            bench_die("cannot fill a map");
    }
    double bytes = per_element(before, n);
    items_destroy(&map);
    return bytes;
}

static double items_raw(uint64_t n)
{
    double before = resident_before();
    struct item *pages = pages_alloc(n * sizeof *pages);
    memset(pages, 1, n * sizeof *pages);
    double bytes = per_element(before, n);
    pages_free(pages, n * sizeof *pages);
    return bytes;
}

static double items_plain(uint64_t n)
{
    struct plain_map map = {0};
    double before = resident_before();
    for (uint64_t i = 0; i < n; i++)
        plain_map_insert(&map, (struct item){i, i});
    double bytes = per_element(before, n);
    free(map.slots);
    return bytes;
}

const struct bench_case memory_cases[] = {
    {
        .name = "cvec.memory",
        .operation = "u64",
        .unit = "bytes",
        .memory = "fresh",
        .sizes = {4000000},
        .impls =
            {
                {.name = "vbuf", .max_threads = 1, .bytes = words_vbuf},
                {.name = "raw", .max_threads = 1, .bytes = words_raw},
                {.name = "plain", .max_threads = 1, .bytes = words_plain},
#if defined(VBUF_BENCH_TBB)
                {.name = "tbb", .max_threads = 1, .bytes = words_tbb},
#endif
            },
    },
    {
        .name = "slotmap.memory",
        .operation = "value of 16 bytes",
        .unit = "bytes",
        .memory = "fresh",
        .sizes = {1000000},
        .impls = {{.name = "vbuf", .max_threads = 1, .bytes = items_vbuf},
                  {.name = "raw", .max_threads = 1, .bytes = items_raw},
                  {.name = "plain", .max_threads = 1, .bytes = items_plain}},
    },
    {0},
};
