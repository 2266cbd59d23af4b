/*
 * main.c - the benchmark program: options, the cases it runs.
 *
 * Exit status: 0; 1 when an implementation computed something wrong, when the JSON could not be
 * written, or, with --bars=strict, when a floor was missed; 2 for wrong arguments.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "bench.h"

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct bench_case *const tables[] = {
    vmem_cases,         vbuf_cases,           cvec_append_cases, cvec_read_cases,
    slotmap_read_cases, slotmap_update_cases, slotmap_cases,     memory_cases,
};

#define MAX_COUNTS 16

enum bars_option { BARS_NO, BARS_SHOW, BARS_STRICT };

struct arguments {
    bool quick, list;
    const char *filter;
    const char *json;
    enum bars_option bars;
    unsigned threads[MAX_COUNTS];
    unsigned thread_counts;
};

static const char usage[] =
    "usage: vbuf_bench [OPTION]...\n"
    "  --quick            shorter rounds and fewer of them: about 20 s\n"
    "  --filter TEXT      only cases with TEXT in their names\n"
    "  --threads 1,2,8    numbers of threads to run with (these are the default)\n"
    "  --json FILE        also write the results to FILE (- is standard output, without the "
    "table)\n"
    "  --bars[=strict]    also compare with the numbers to reach; strict: exit 1 when a floor is "
    "missed\n"
    "  --list             name the cases and their implementations, measure nothing\n";

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "vbuf_bench: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

__attribute__((noreturn)) static void wrong_usage(const char *what, const char *argument)
{
    fprintf(stderr, "vbuf_bench: %s%s\n%s", what, argument, usage);
    exit(2);
}

static void parse_threads(struct arguments *arguments, const char *text)
{
    arguments->thread_counts = 0;
    for (const char *at = text;; at++) {
        char *end;
        unsigned long count = strtoul(at, &end, 10);
        if (end == at || *at < '0' || *at > '9' || count == 0 || count > BENCH_MAX_THREADS ||
            arguments->thread_counts == MAX_COUNTS)
            wrong_usage("--threads takes numbers from 1 to 64, not ", text);
        arguments->threads[arguments->thread_counts++] = (unsigned)count;
        at = end;
        if (*at == '\0')
            return;
        if (*at != ',')
            wrong_usage("--threads takes numbers and commas, not ", text);
    }
}

/* The value in `name VALUE` or `name=VALUE`; NULL if argv[*i] is another option. */
static const char *option_value(int argc, char **argv, int *i, const char *name)
{
    size_t length = strlen(name);
    if (strncmp(argv[*i], name, length) != 0)
        return NULL;
    if (argv[*i][length] == '=')
        return argv[*i] + length + 1;
    if (argv[*i][length] != '\0')
        return NULL;
    if (*i + 1 == argc)
        wrong_usage("a value is missing after ", name);
    return argv[++*i];
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments arguments = {.filter = "", .threads = {1, 2, 8}, .thread_counts = 3};
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--quick") == 0) {
            arguments.quick = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            arguments.list = true;
        } else if (strcmp(argv[i], "--bars") == 0) {
            arguments.bars = BARS_SHOW;
        } else if (strcmp(argv[i], "--bars=strict") == 0) {
            arguments.bars = BARS_STRICT;
        } else if (strcmp(argv[i], "--help") == 0) {
            printf("%s", usage);
            exit(0);
        } else if ((value = option_value(argc, argv, &i, "--filter")) != NULL) {
            arguments.filter = value;
        } else if ((value = option_value(argc, argv, &i, "--json")) != NULL) {
            arguments.json = value;
        } else if ((value = option_value(argc, argv, &i, "--threads")) != NULL) {
            parse_threads(&arguments, value);
        } else {
            wrong_usage("unknown option ", argv[i]);
        }
    }
    return arguments;
}

static void list_cases(const char *filter)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const struct bench_case *of = tables[t]; of->name != NULL; of++) {
            if (strstr(of->name, filter) == NULL)
                continue;
            printf("%-20s", of->name);
            for (unsigned i = 0; i < BENCH_MAX_IMPLS && of->impls[i].name != NULL; i++)
                printf(" %s", of->impls[i].name);
            printf("\n");
        }
    }
}

/* Whether every implementation of the case is for one thread. */
static bool is_for_one_thread(const struct bench_case *of)
{
    for (unsigned i = 0; i < BENCH_MAX_IMPLS && of->impls[i].name != NULL; i++) {
        if (of->impls[i].max_threads != 1)
            return false;
    }
    return true;
}

/* Measures every cell of a case. Numbers of threads are the inner loop: the bars compare them. */
static bool run_case(const struct bench_case *of, const struct arguments *arguments,
                     const struct bench_settings *settings, struct bench_results *results)
{
    bool right = true, terminal = isatty(STDERR_FILENO) != 0;
    for (unsigned s = 0; s < BENCH_MAX_SIZES && of->sizes[s] != 0; s++) {
        for (unsigned t = 0; t < arguments->thread_counts; t++) {
            struct bench_shape shape = {of->sizes[s], arguments->threads[t]};
            if (is_for_one_thread(of)) {
                if (t != 0)
                    break;
                shape.threads = 1;
            }
            if (terminal)
                fprintf(stderr, "\r\033[K%s n=%" PRIu64 ", %u threads", of->name, shape.n,
                        shape.threads);
            right = bench_measure(of, shape, settings, results) && right;
        }
    }
    if (terminal)
        fprintf(stderr, "\r\033[K");
    return right;
}

static void *do_nothing(void *nothing)
{
    return nothing;
}

/* Makes the C library behave the same from the first case to the last. */
static void settle_library(void)
{
    /* A fixed threshold: large blocks always come fresh from the system, and go back there. */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    /* Locks are cheaper in a process that never had a second thread: not one that needs them. */
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        bench_die("cannot start a thread");
}

int main(int argc, char **argv)
{
    struct arguments arguments = parse(argc, argv);
    if (arguments.list) {
        list_cases(arguments.filter);
        return 0;
    }
    settle_library();
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct bench_settings settings = {
        .quick = arguments.quick,
        .rounds = arguments.quick ? 5 : 15,
        .round_ns = arguments.quick ? 5e6 : 10e6,
        .cores = cores > 0 ? (unsigned)cores : 1,
    };
    struct bench_results results = {NULL, 0};
    bool right = true;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const struct bench_case *of = tables[t]; of->name != NULL; of++) {
            if (strstr(of->name, arguments.filter) != NULL)
                right = run_case(of, &arguments, &settings, &results) && right;
        }
    }
    if (results.count == 0)
        wrong_usage("no case has this in its name: ", arguments.filter);
    bool to_stdout = arguments.json != NULL && strcmp(arguments.json, "-") == 0;
    if (!to_stdout) {
        bench_print_machine(stdout, &settings);
        bench_print_table(&results);
    }
    if (arguments.json != NULL)
        right = bench_write_json(arguments.json, &results, &settings) && right;
    if (arguments.bars != BARS_NO && !to_stdout) {
        bool floors_hold = bench_print_bars(&results);
        right = right && (floors_hold || arguments.bars != BARS_STRICT);
    }
    return right ? 0 : 1;
}
