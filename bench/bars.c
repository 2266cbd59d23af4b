/*
 * bars.c - the numbers to reach, each a ratio of two results of this run.
 *
 * A ratio is taken per round, of two samples measured one after the other, and then summarised; a
 * bar is met iff the median is on its right side. Two results with different numbers of threads
 * come from different cells, whose rounds are minutes apart at worst: those ratios are as noisy
 * as they look.
 *
 * Bars on memory leave 0.1 bytes for what does not grow with n. A floor must hold; a goal is what
 * the design aims at. A bar never justifies weakening a guarantee.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "bench.h"

#include <inttypes.h>

enum bar_kind { AT_MOST, AT_LEAST };

struct side {
    unsigned threads;
    const char *impl; /* NULL: nothing */
};

struct bar {
    bool floor;
    const char *name;
    uint64_t n;
    const char *what;
    struct side left, right; /* left / right; without a right one, left alone */
    double less;             /* subtracted from left first */
    enum bar_kind kind;
    double limit;
};

static const struct bar bars[] = {
    {true, "slotmap.get", 1000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.5},
    {true, "slotmap.churn", 1000, "rwlock / vbuf", {2, "rwlock"}, {2, "vbuf"}, 0, AT_LEAST, 5},
    {true, "cvec.sum", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.2},

    {false, "slotmap.get", 1000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.2},
    {false, "slotmap.get", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.8},
    {false, "slotmap.get", 1000, "kept / raw", {1, "vbuf_reader"}, {1, "raw"}, 0, AT_MOST, 1.2},
    {false, "slotmap.get", 1000000, "kept / raw", {1, "vbuf_reader"}, {1, "raw"}, 0, AT_MOST, 1.8},
    {false, "slotmap.read", 1000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.3},
    {false, "slotmap.read", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 2},
    {false, "slotmap.churn", 1000, "time / plain", {1, "vbuf"}, {1, "plain"}, 0, AT_MOST, 1.4},
    {false, "slotmap.churn", 1000, "time / cas", {1, "vbuf"}, {1, "plain_cas"}, 0, AT_MOST, 1.4},
    {false, "slotmap.churn", 1000, "1 / 2 threads", {1, "vbuf"}, {2, "vbuf"}, 0, AT_LEAST, 1.6},
    {false, "slotmap.churn", 1000, "rwlock / vbuf", {2, "rwlock"}, {2, "vbuf"}, 0, AT_LEAST, 10},
    {false, "slotmap.churn", 1000, "2 / 8 threads", {2, "vbuf"}, {8, "vbuf"}, 0, AT_LEAST, 0.5},
    {false, "slotmap.iterate", 100000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.5},
    {false, "slotmap.memory", 1000000, "beyond 16", {1, "vbuf"}, {0, NULL}, 16, AT_MOST, 8.1},
    {false, "vbuf.push", 1000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.1},
    {false, "vbuf.push", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.1},
    {false, "cvec.push", 250000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.25},
    {false, "cvec.push", 250000, "time / raw", {2, "vbuf"}, {2, "raw"}, 0, AT_MOST, 1.25},
    {false, "cvec.append", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.3},
    {false, "cvec.append", 1000000, "tbb / vbuf", {2, "tbb"}, {2, "vbuf"}, 0, AT_LEAST, 10},
    {false, "cvec.extend64", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.3},
    {false, "cvec.extend64", 1000000, "tbb / vbuf", {2, "tbb"}, {2, "vbuf"}, 0, AT_LEAST, 10},
    {false, "cvec.sum", 1000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.1},
    {false, "cvec.get", 4000000, "time / raw", {1, "vbuf"}, {1, "raw"}, 0, AT_MOST, 1.15},
    {false, "cvec.memory", 4000000, "bytes", {1, "vbuf"}, {0, NULL}, 0, AT_MOST, 9.1},
};

static const struct bench_result *find_side(const struct bench_results *results,
                                            const struct bar *bar, const struct side *side)
{
    return bench_find(results, bar->name, bar->n, side->threads, side->impl);
}

/* The ratio in every round. False: this run did not measure it. */
static bool measure_bar(const struct bench_results *results, const struct bar *bar, double *min,
                        double *med, double *max)
{
    const struct bench_result *left = find_side(results, bar, &bar->left), *right = NULL;
    if (bar->right.impl != NULL)
        right = find_side(results, bar, &bar->right);
    if (left == NULL || (right == NULL && bar->right.impl != NULL))
        return false;
    double *ratios = bench_alloc(left->rounds * sizeof *ratios);
    for (unsigned i = 0; i < left->rounds; i++)
        ratios[i] = (left->samples[i] - bar->less) / (right != NULL ? right->samples[i] : 1);
    bench_summarise(ratios, left->rounds, min, med, max);
    bench_free(ratios);
    return true;
}

bool bench_print_bars(const struct bench_results *results)
{
    bool floors_hold = true;
    printf("\n%-6s %-16s %8s %8s  %-14s %8s  %8s %8s %8s\n", "", "", "n", "threads", "ratio", "bar",
           "min", "median", "max");
    for (size_t i = 0; i < sizeof bars / sizeof *bars; i++) {
        const struct bar *bar = &bars[i];
        double min, med, max;
        printf("%-6s %-16s %8" PRIu64 " %8u  %-14s %s %5.4g", bar->floor ? "floor" : "goal",
               bar->name, bar->n, bar->left.threads, bar->what,
               bar->kind == AT_MOST ? "<=" : ">=", bar->limit);
        if (!measure_bar(results, bar, &min, &med, &max)) {
            printf("  not measured\n");
            continue;
        }
        bool met = bar->kind == AT_MOST ? med <= bar->limit : med >= bar->limit;
        floors_hold = floors_hold && (met || !bar->floor);
        printf("  %8.2f %8.2f %8.2f  %s\n", min, med, max, met ? "met" : "MISSED");
    }
    return floors_hold;
}
