/*
 * check.h - one way to write a test, two ways to run it.
 *
 *     TEST(cvec, push_reports_its_index)
 *     {
 *         struct cvec v;
 *         REQUIRE(cvec_create(&v, &options) == VBUF_OK);
 *         CHECK_EQ(cvec_len(&v), 0);
 *         cvec_destroy(&v);
 *     }
 *
 * Without CHECK_PLAIN a test is a Criterion test: a process each, a crash costs that test only. With
 * CHECK_PLAIN it is an entry of the list that check_main.c runs in one process: the form for
 * ThreadSanitizer (under which Criterion does not start), fork, valgrind and emulated targets.
 *
 * A failed check is counted and reported; it never jumps, so it may happen on any thread, in either
 * form, and the test goes on. A REQUIRE leaves the function it stands in, which must return void. A
 * test has failed when a check has failed by the time its body returns: join your threads first. What
 * a forked child counts stays in the child: hand it over in the exit status (check_failures()).
 *
 * Every macro evaluates its arguments once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vbuf/status.h>

/* True iff the condition holds; counts and reports a failure otherwise. */
#define CHECK(condition) check_that((condition) ? true : false, #condition, __FILE__, __LINE__)

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!CHECK(condition))                                                                     \
            return;                                                                                \
    } while (0)

/* Integers of any two types, compared by value: -1 is not UINT64_MAX. Both are printed. */
#define CHECK_EQ(a, b)                                                                             \
    check_equal(CHECK_INTEGER(a), CHECK_INTEGER(b), #a " == " #b, __FILE__, __LINE__)

/* A status; both are printed by name. */
#define CHECK_STATUS(expected, expression)                                                         \
    check_status((expected), (expression), #expression, __FILE__, __LINE__)

/* Two strings, either of which may be NULL; both are printed. */
#define CHECK_STR(expected, actual) check_string((expected), (actual), #actual, __FILE__, __LINE__)

/* Leaves the test, which then counts as skipped unless a check has failed already. */
#define SKIP(reason)                                                                               \
    do {                                                                                           \
        check_skip(reason);                                                                        \
        return;                                                                                    \
    } while (0)

/* An integer with its sign kept apart: negative values as their distance below zero. */
struct check_integer {
    uintmax_t magnitude;
    bool negative;
};

/* `+ 0` promotes: small types, bit-fields and bool to int, an enumeration to its integer. */
#define CHECK_INTEGER(x)                                                                           \
    (_Generic((x) + 0, int                                                                         \
              : check_signed, long                                                                 \
              : check_signed, long long                                                            \
              : check_signed, default                                                              \
              : check_unsigned)(x))

static inline struct check_integer check_signed(intmax_t value)
{
    struct check_integer integer = {(uintmax_t)value, value < 0};
    if (integer.negative)
        integer.magnitude = 0 - integer.magnitude;
    return integer;
}

static inline struct check_integer check_unsigned(uintmax_t value)
{
    struct check_integer integer = {value, false};
    return integer;
}

bool check_that(bool holds, const char *expression, const char *file, int line);
bool check_equal(struct check_integer a, struct check_integer b, const char *expression,
                 const char *file, int line);
bool check_status(enum vbuf_status expected, enum vbuf_status actual, const char *expression,
                  const char *file, int line);
bool check_string(const char *expected, const char *actual, const char *expression,
                  const char *file, int line);
void check_skip(const char *reason);

/* Failed checks so far in this test. */
unsigned check_failures(void);

/*
 * Random numbers: splitmix64. Any seed will do; give each thread a generator of its own, seeded with
 * check_seed() and something of the thread's.
 */
struct check_rng {
    uint64_t state;
};

static inline uint64_t check_rng_next(struct check_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The seed of this run: $CHECK_SEED, else taken from the clock; printed when first asked for. */
uint64_t check_seed(void);

/* What the two runners need. */

enum check_verdict { CHECK_PASSED, CHECK_FAILED, CHECK_SKIPPED };

/* Runs one body with the counters at zero. *reason is why it was skipped, if it was. */
enum check_verdict check_run(void (*body)(void), const char **reason);

#ifdef CHECK_PLAIN

struct check_test {
    const char *suite;
    const char *name;
    void (*body)(void);
    struct check_test *next;
};

void check_register(struct check_test *test);

#define TEST(suite, name)                                                                          \
    static void check_body_##suite##_##name(void);                                                 \
    __attribute__((constructor)) static void check_register_##suite##_##name(void)                 \
    {                                                                                              \
        static struct check_test test = {#suite, #name, check_body_##suite##_##name, NULL};        \
        check_register(&test);                                                                     \
    }                                                                                              \
    static void check_body_##suite##_##name(void)

#else

#include <criterion/criterion.h>

void check_run_in_criterion(void (*body)(void));

#define TEST(suite, name)                                                                          \
    static void check_body_##suite##_##name(void);                                                 \
    Test(suite, name)                                                                              \
    {                                                                                              \
        check_run_in_criterion(check_body_##suite##_##name);                                       \
    }                                                                                              \
    static void check_body_##suite##_##name(void)

#endif
#endif
