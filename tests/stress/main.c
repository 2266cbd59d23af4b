/*
 * main.c - the stress program: options, the table of cases, the watchdog.
 *
 *     vbuf_stress --case NAME [--seconds N] [--threads N] [--seed N] [--tries N] [--short]
 *                 [--expect-fence full|process-wide]
 *     vbuf_stress --list
 *
 * NAME is a case or `all`. The seed is printed first; giving it again repeats every thread's random
 * stream, though not the system's schedule. One line a case; the last line is `N passed, N failed`.
 * Exit status: 0; 1 when a case failed; 2 for a command line that makes no sense; 3 when a case
 * hung; 77 when nothing could be run here.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct stress_case {
    const char *name;
    const char *about;
    void (*run)(void);
    bool hidden;    /* fails on purpose; `all` and --list leave it out */
    double seconds; /* without --seconds and --short; 0: five */
};

static const struct stress_case cases[] = {
    {"stale", "removed handles against slots that are reused all the time (S1)", stress_stale,
     false, 0},
    {"thread-churn", "threads come and go, inserting and removing (S2 S6 E1 E3)",
     stress_thread_churn, false, 0},
    {"pinned-value", "values looked at again and again under pins (S3)", stress_pinned_value, false,
     0},
    {"fence-fallback", "everything at once, with whichever fence there is (E2)",
     stress_fence_fallback, false, 0},
    {"commit-fail", "memory refused in the middle of pushes and inserts (C5 S6)",
     stress_commit_fail, false, 0},
    {"cvec-mixed", "push, extend, reserve, get, snapshot at once (C1-C6)", stress_cvec_mixed, false,
     0},
    {"cvec-all", "all that a vector does, memory refused, closed or not (C1-C6)", stress_cvec_all,
     false, 0},
    {"slotmap-all", "all that a slot map does, memory refused, small maps beside it (S1-S9)",
     stress_slotmap_all, false, 0},
    {"pinned-reader", "a reader stays pinned, and nobody waits for it (E4 S3 S5)",
     stress_pinned_reader, false, 10},
    {"paused-publisher", "claimers stopped before they publish (C6)", stress_paused_publisher,
     false, 0},
    {"capacity", "many threads at the limit of a tiny map (S5 S9)", stress_capacity, false, 0},
    {"ebr-objects", "pins, nested, repeated, too many, against retire (E1 E3)", stress_ebr_objects,
     false, 0},
    {"hand-over", "slots go from threads that insert to threads that remove (S1 S2 S6)",
     stress_hand_over, false, 0},
    {"map-churn", "maps come and go on one domain (S6 E1)", stress_map_churn, false, 0},
    {"canary", "fails: looks at a value after its unpin", stress_canary, true, 0},
    {"canary-hang", "fails: waits for ever", stress_canary_hang, true, 0},
};

enum { CASES = sizeof cases / sizeof cases[0], REPORTS = 10 };

struct stress_settings stress;

/* The case that runs. What is not atomic is the main thread's. */
static struct {
    struct vbuf_atomic_pointer name; /* the case's */
    struct vbuf_atomic_u64 deadline;
    struct vbuf_atomic_u64 patience; /* nanoseconds without progress that are a hang */
    struct vbuf_atomic_u64 operations;
    struct vbuf_atomic_u64 goal_start, goal; /* operations to come, and from where; 0: unknown */
    struct vbuf_atomic_u32 failures;
    const char *skipped;
    char note[512];
} current;

static struct {
    struct vbuf_atomic_u32 passed, failed, skipped;
} totals;

static bool on_terminal;

static const char *case_name(void)
{
    return vbuf_pointer_load_acquire(&current.name); /* pairs with the store in run_case */
}

int64_t stress_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void stress_part(double share)
{
    int64_t length = (int64_t)(stress.seconds * share * 1e9);
    vbuf_u64_store_relaxed(&current.deadline, (uint64_t)(stress_now() + length));
}

bool stress_failed(void)
{
    return vbuf_u32_load_relaxed(&current.failures) > 0;
}

bool stress_going(void)
{
    return !stress_failed() && stress_now() < (int64_t)vbuf_u64_load_relaxed(&current.deadline);
}

bool stress_fail(const char *format, ...)
{
    uint32_t before = vbuf_u32_fetch_add_relaxed(&current.failures, 1);
    if (before >= REPORTS) /* one broken invariant breaks a million times */
        return false;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s%s: broken: %s (--case %s --seed %" PRIu64 ")\n", on_terminal ? "\r" : "",
            case_name(), text, case_name(), stress.seed);
    return false;
}

void stress_note(const char *format, ...)
{
    size_t used = strlen(current.note);
    if (used > 0 && used + 2 < sizeof current.note) {
        strcpy(current.note + used, ", ");
        used += 2;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(current.note + used, sizeof current.note - used, format, arguments);
    va_end(arguments);
}

void stress_count(uint64_t operations)
{
    vbuf_u64_fetch_add_relaxed(&current.operations, operations);
}

void stress_goal(uint64_t operations)
{
    /* Relaxed: a figure on a terminal. */
    vbuf_u64_store_relaxed(&current.goal_start, vbuf_u64_load_relaxed(&current.operations));
    vbuf_u64_store_relaxed(&current.goal, operations);
}

void stress_skip(const char *reason)
{
    current.skipped = reason;
}

void stress_patience(double seconds)
{
    vbuf_u64_store_relaxed(&current.patience, (uint64_t)(seconds * 1e9));
}

uint64_t stress_amount(uint64_t full, uint64_t least)
{
    uint64_t amount = full;
    if (STRESS_SANITIZED)
        amount /= 10;
    if (stress.brief)
        amount /= STRESS_SANITIZED ? 10 : 50;
    return amount < least ? least : amount;
}

unsigned stress_threads(unsigned usual, unsigned least)
{
    unsigned count = stress.threads > 0 ? stress.threads : usual;
    return count < least ? least : count;
}

struct check_rng stress_stream(uint64_t number)
{
    /* The case's name is part of it: a case alone has the streams it has in `all`. */
    struct check_rng rng = {stress.seed};
    for (const char *c = case_name(); *c != '\0'; c++)
        rng.state = check_rng_next(&rng) ^ (unsigned char)*c;
    rng.state = check_rng_next(&rng) ^ number;
    rng.state = check_rng_next(&rng);
    return rng;
}

static void print_totals(void)
{
    uint32_t skipped = vbuf_u32_load_relaxed(&totals.skipped);
    printf("%" PRIu32 " passed, %" PRIu32 " failed", vbuf_u32_load_relaxed(&totals.passed),
           vbuf_u32_load_relaxed(&totals.failed));
    if (skipped > 0)
        printf(", %" PRIu32 " skipped", skipped);
    printf("\n");
}

/* ---- the watchdog ---- */

static void show_progress(uint64_t operations)
{
    uint64_t goal = vbuf_u64_load_relaxed(&current.goal);
    uint64_t start = vbuf_u64_load_relaxed(&current.goal_start);
    if (goal != 0)
        fprintf(stderr, "\r  %.1f M of %.1f M operations ", (double)(operations - start) / 1e6,
                (double)goal / 1e6);
    else
        fprintf(stderr, "\r  %.1f M operations ", (double)operations / 1e6);
}

static void *watch(void *unused)
{
    (void)unused;
    uint64_t seen = 0;
    int64_t since = stress_now();
    for (;;) {
        stress_sleep(200000000);
        uint64_t operations = vbuf_u64_load_relaxed(&current.operations);
        int64_t now = stress_now();
        if (on_terminal)
            show_progress(operations);
        if (operations != seen) {
            seen = operations;
            since = now;
        }
        if (now - since > (int64_t)vbuf_u64_load_relaxed(&current.patience)) {
            stress_fail("no progress for %.0f s: it hangs", (double)(now - since) / 1e9);
            vbuf_u32_fetch_add_relaxed(&totals.failed, 1);
            print_totals();
            fflush(stdout);
            _exit(3);
        }
    }
    return NULL;
}

static void start_watch(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch, NULL) != 0) {
        fprintf(stderr, "vbuf_stress: no thread for the watchdog\n");
        exit(2);
    }
    pthread_detach(thread);
}

/* ---- running ---- */

static void run_case(const struct stress_case *which)
{
    int64_t started = stress_now();
    /* Release: the table is constant; this is for the watchdog. */
    vbuf_pointer_store_release(&current.name, (void *)(uintptr_t)which->name);
    current.skipped = NULL;
    current.note[0] = '\0';
    stress_crews = 0;
    stress_ambushes = !STRESS_TSAN;
    vbuf_u32_store_relaxed(&current.failures, 0);
    vbuf_u64_store_relaxed(&current.goal, 0);
    stress_patience(STRESS_SANITIZED ? 120 : 60);
    stress.seconds = stress.asked_seconds;
    if (stress.seconds <= 0)
        stress.seconds = stress.brief ? 1.5 : which->seconds > 0 ? which->seconds : 5;
    stress_count(1); /* the watchdog counts from here */
    uint64_t before = vbuf_u64_load_relaxed(&current.operations);
    stress_part(1);
    which->run();
    double seconds = (double)(stress_now() - started) / 1e9;
    double millions = (double)(vbuf_u64_load_relaxed(&current.operations) - before) / 1e6;
    const char *verdict = "passed";
    if (stress_failed()) {
        verdict = "FAILED";
        vbuf_u32_fetch_add_relaxed(&totals.failed, 1);
    } else if (current.skipped != NULL) {
        printf("%-16s skipped: %s\n", which->name, current.skipped);
        vbuf_u32_fetch_add_relaxed(&totals.skipped, 1);
        return;
    } else {
        vbuf_u32_fetch_add_relaxed(&totals.passed, 1);
    }
    printf("%s%-16s %s %5.1f s %8.2f M operations%s%s\n", on_terminal ? "\r" : "", which->name,
           verdict, seconds, millions, current.note[0] != '\0' ? ": " : "", current.note);
}

static int run_cases(const char *name)
{
    bool all = strcmp(name, "all") == 0;
    for (size_t i = 0; i < CASES; i++) {
        if (all ? !cases[i].hidden : strcmp(name, cases[i].name) == 0)
            run_case(&cases[i]);
    }
    print_totals();
    if (vbuf_u32_load_relaxed(&totals.failed) > 0)
        return 1;
    return vbuf_u32_load_relaxed(&totals.passed) > 0 ? 0 : 77;
}

static bool known(const char *name)
{
    for (size_t i = 0; i < CASES; i++) {
        if (strcmp(name, cases[i].name) == 0)
            return true;
    }
    return strcmp(name, "all") == 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: vbuf_stress --case NAME|all [--seconds N] [--threads N] [--seed N]\n"
                    "           [--tries N] [--short] [--expect-fence full|process-wide]\n"
                    "       vbuf_stress --list\n");
    return 2;
}

static int list(void)
{
    for (size_t i = 0; i < CASES; i++) {
        if (!cases[i].hidden)
            printf("%-16s %s\n", cases[i].name, cases[i].about);
    }
    return 0;
}

/* A number from 1 to `most`, and nothing after it. */
static bool read_number(const char *text, uint64_t most, uint64_t *number)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *number = strtoull(text, &end, 0);
    return *end == '\0' && *number > 0 && *number <= most;
}

static bool read_option(const char *option, const char *value)
{
    uint64_t number = 0;
    char *end;
    if (strcmp(option, "--seconds") == 0) {
        stress.asked_seconds = strtod(value, &end);
        return end != value && *end == '\0' && stress.asked_seconds > 0 &&
               stress.asked_seconds < 1e6;
    }
    if (strcmp(option, "--expect-fence") == 0) {
        if (strcmp(value, "full") == 0)
            stress.fence = VBUF_FENCE_FULL;
        else if (strcmp(value, "process-wide") == 0)
            stress.fence = VBUF_FENCE_PROCESS_WIDE;
        return stress.fence != 0;
    }
    if (strcmp(option, "--threads") == 0 && read_number(value, STRESS_MAX_THREADS, &number))
        stress.threads = (unsigned)number;
    else if (strcmp(option, "--seed") == 0 && read_number(value, UINT64_MAX, &number))
        stress.seed = number;
    else if (strcmp(option, "--tries") == 0 && read_number(value, UINT64_MAX, &number))
        stress.tries = number;
    return number > 0;
}

int main(int argc, char **argv)
{
    const char *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            return list();
        if (strcmp(argv[i], "--short") == 0) {
            stress.brief = true;
        } else if (i + 1 == argc) {
            return usage();
        } else if (strcmp(argv[i], "--case") == 0) {
            name = argv[++i];
        } else {
            if (!read_option(argv[i], argv[i + 1]))
                return usage();
            i++;
        }
    }
    if (name == NULL || !known(name))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    on_terminal = isatty(STDERR_FILENO) == 1;
    if (stress.seed == 0) {
        struct check_rng rng = {(uint64_t)stress_now() ^ (uint64_t)getpid() << 40};
        stress.seed = (check_rng_next(&rng) >> 24) | 1; /* short enough to type; not 0 */
    }
    printf("seed %" PRIu64 " (--seed %" PRIu64 " repeats it)\n", stress.seed, stress.seed);
    start_watch();
    return run_cases(name);
}
