/*
 * check.c - the counters and the reports behind check.h.
 *
 * The counters are process-wide and atomic: a check may fail on any thread. Relaxed is enough, since
 * the runner reads them after the test has joined its threads. A report is one write to stderr, so
 * that those of two threads do not mix.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned failures;
static const char *skip_reason;

__attribute__((format(printf, 3, 4))) static bool fail(const char *file, int line,
                                                       const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
    return false;
}

bool check_that(bool holds, const char *expression, const char *file, int line)
{
    return holds || fail(file, line, "%s", expression);
}

bool check_equal(struct check_integer a, struct check_integer b, const char *expression,
                 const char *file, int line)
{
    if (a.magnitude == b.magnitude && a.negative == b.negative)
        return true;
    return fail(file, line, "%s: %s%" PRIuMAX " and %s%" PRIuMAX, expression, a.negative ? "-" : "",
                a.magnitude, b.negative ? "-" : "", b.magnitude);
}

bool check_status(enum vbuf_status expected, enum vbuf_status actual, const char *expression,
                  const char *file, int line)
{
    if (expected == actual)
        return true;
    return fail(file, line, "%s is %s (%d), not %s (%d)", expression, vbuf_status_string(actual),
                (int)actual, vbuf_status_string(expected), (int)expected);
}

bool check_string(const char *expected, const char *actual, const char *expression,
                  const char *file, int line)
{
    if (expected == actual || (expected && actual && strcmp(expected, actual) == 0))
        return true;
    return fail(file, line, "%s is \"%s\", not \"%s\"", expression, actual ? actual : "(null)",
                expected ? expected : "(null)");
}

void check_skip(const char *reason)
{
    skip_reason = reason;
}

unsigned check_failures(void)
{
    return __atomic_load_n(&failures, __ATOMIC_RELAXED);
}

uint64_t check_seed(void)
{
    static uint64_t seed;
    uint64_t known = __atomic_load_n(&seed, __ATOMIC_RELAXED);
    if (known)
        return known;
    const char *given = getenv("CHECK_SEED");
    uint64_t chosen = given ? strtoull(given, NULL, 0) : 0;
    if (chosen == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        struct check_rng rng = {(uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec};
        chosen = check_rng_next(&rng) | 1; /* 0 means none chosen */
    }
    /* One thread's choice stands; the others take it. */
    if (!__atomic_compare_exchange_n(&seed, &known, chosen, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return known;
    fprintf(stderr, "seed %" PRIu64 " (CHECK_SEED=%" PRIu64 " repeats it)\n", chosen, chosen);
    return chosen;
}

enum check_verdict check_run(void (*body)(void), const char **reason)
{
    __atomic_store_n(&failures, 0, __ATOMIC_RELAXED);
    skip_reason = NULL;
    body();
    *reason = skip_reason;
    if (check_failures() > 0)
        return CHECK_FAILED;
    return skip_reason ? CHECK_SKIPPED : CHECK_PASSED;
}

#ifndef CHECK_PLAIN

void check_run_in_criterion(void (*body)(void))
{
    const char *reason;
    switch (check_run(body, &reason)) {
    case CHECK_PASSED:
        break;
    case CHECK_FAILED:
        cr_assert(false, "failed checks: %u", check_failures());
        break;
    case CHECK_SKIPPED:
        cr_skip_test("%s", reason);
        break;
    }
}

#endif
