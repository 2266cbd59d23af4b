/*
 * table.c - the results for people.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "bench.h"

#include <inttypes.h>

/* Enough digits to compare, not more. */
static void print_number(double value)
{
    printf(" %9.*f", value < 10 ? 2 : value < 1000 ? 1 : 0, value);
}

static void print_heading(const struct bench_result *result)
{
    printf("\n%s  n = %" PRIu64 "\n    %s per %s; %s memory\n", result->of->name, result->shape.n,
           result->of->unit, result->of->operation, result->of->memory);
    printf("    %7s  %-12s %9s %9s %9s %9s\n", "threads", "", "min", "median", "max", "/ raw");
}

void bench_print_table(const struct bench_results *results)
{
    for (size_t i = 0; i < results->count; i++) {
        const struct bench_result *result = &results->list[i];
        const struct bench_result *before = i != 0 ? result - 1 : NULL;
        bool new_table =
            before == NULL || before->of != result->of || before->shape.n != result->shape.n;
        if (new_table)
            print_heading(result);
        if (new_table || before->shape.threads != result->shape.threads)
            printf("    %7u  ", result->shape.threads);
        else
            printf("    %7s  ", "");
        printf("%-12s", result->impl);
        print_number(result->min);
        print_number(result->med);
        print_number(result->max);
        const struct bench_result *raw =
            bench_find(results, result->of->name, result->shape.n, result->shape.threads, "raw");
        if (raw != NULL)
            print_number(result->med / raw->med);
        printf("\n");
    }
}
