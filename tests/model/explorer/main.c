/*
 * main.c - vbuf_model: the scenarios, one after another, or one by name.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "schedule.h"

#define SCENARIO(name) extern const struct explore_scenario name;
#include "../scenarios/list.h"
#undef SCENARIO

#define SCENARIO(name) &name,
static const struct explore_scenario *const scenarios[] = {
#include "../scenarios/list.h"
};
#undef SCENARIO
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

static struct {
    struct search_limits limits;
    const char *filter, *trail;
    bool exact, list, quiet;
    unsigned jobs;
} options = {.limits = {.seconds = 2.5, .seed = 1, .random_runs = UINT64_MAX}, .jobs = 2};

static const char usage[] =
    "usage: vbuf_model [OPTION…] [FILTER]\n"
    "  FILTER           scenarios whose name begins with it\n"
    "  --scenario NAME  this one\n"
    "  --seconds S      at most so long for a scenario (default 2.5)\n"
    "  --quick          1 second\n"
    "  --seed N         of the first random run (default 1)\n"
    "  --runs N         random runs at most\n"
    "  --random         random runs only\n"
    "  --trail TRAIL    repeats a run and tells it step by step (with --scenario)\n"
    "  --jobs N         processes (default 2)\n"
    "  --quiet          prints failures only\n"
    "  --list           names the scenarios\n";

static bool is_selected(const struct explore_scenario *scenario)
{
    bool canary = strncmp(scenario->name, "canary.", 7) == 0;
    if (options.filter == NULL)
        return !canary;
    return options.exact ? strcmp(scenario->name, options.filter) == 0
                         : strncmp(scenario->name, options.filter, strlen(options.filter)) == 0;
}

/* ---- one scenario ---- */

/* A crash is a failure with a trail like any other. */
static void crashed(int signal)
{
    printf("FAILED  %s: %s\n  trail: ", search_scenario()->name, strsignal(signal));
    trail_print(stdout);
    fflush(stdout);
    _exit(1);
}

static void catch_crashes(void)
{
    void *stack = malloc(65536);
    if (stack != NULL)
        sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = 65536}, NULL);
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
}

static bool has_outcome(const struct search_result *result, const char *outcome)
{
    for (unsigned i = 0; i < result->outcome_count; i++) {
        if (strcmp(result->outcomes[i], outcome) == 0)
            return true;
    }
    return false;
}

static bool is_listed(const struct explore_scenario *scenario, const char *outcome)
{
    for (unsigned i = 0; i < EXPLORE_MOST_OUTCOMES && scenario->outcomes[i] != NULL; i++) {
        if (strcmp(scenario->outcomes[i], outcome) == 0)
            return true;
    }
    return false;
}

/* Whether a litmus test came to what it lists, no more and no less. */
static bool outcomes_match(const struct explore_scenario *scenario,
                           const struct search_result *result)
{
    bool match = true;
    if (scenario->outcomes[0] == NULL)
        return true;
    for (unsigned i = 0; i < EXPLORE_MOST_OUTCOMES && scenario->outcomes[i] != NULL; i++) {
        if (has_outcome(result, scenario->outcomes[i]))
            continue;
        printf("  %s: allowed, but never seen: %s\n", scenario->name, scenario->outcomes[i]);
        match = false;
    }
    for (unsigned i = 0; i < result->outcome_count; i++) {
        if (is_listed(scenario, result->outcomes[i]))
            continue;
        printf("  %s: forbidden, but seen: %s\n", scenario->name, result->outcomes[i]);
        match = false;
    }
    return match;
}

static void tell_failure(const struct explore_scenario *scenario,
                         const struct search_result *result)
{
    printf("  %s\n", result->message);
    printf("  again: vbuf_model --scenario %s --trail ", scenario->name);
    trail_print(stdout);
    trail_tell();
}

/* Prints its line; whether it came to what it should. */
static bool check(const struct explore_scenario *scenario)
{
    struct search_result result;
    search(scenario, &options.limits, &result);
    bool expected = scenario->must_fail != NULL;
    bool passed = result.failed == expected && outcomes_match(scenario, &result);
    if (expected && result.failed && strstr(result.message, scenario->must_fail) == NULL)
        passed = false;
    char extent[64];
    if (expected && result.failed)
        snprintf(extent, sizeof extent, "found, as it must be");
    else if (result.exhausted)
        snprintf(extent, sizeof extent, "all within the bounds");
    else if (result.rounds != 0)
        snprintf(extent, sizeof extent, "all with %u odd choices, and more", result.rounds - 1);
    else
        snprintf(extent, sizeof extent, "some");
    if (!passed || !options.quiet)
        printf("%-7s %-34s %-10s %9" PRIu64 " runs, %7" PRIu64 " at random, %5" PRIu64
               " steps, %5.1f s  %s\n",
               passed ? "passed" : "FAILED", scenario->name, scenario->checks, result.runs,
               result.random_runs, result.most_steps, result.seconds, extent);
    if (!passed && result.failed)
        tell_failure(scenario, &result);
    else if (!passed && expected)
        printf("  not found: %s\n", scenario->must_fail);
    fflush(stdout);
    return passed;
}

/* ---- all of them, in processes of their own ---- */

static void wait_for_one(unsigned *passed, unsigned *failed)
{
    int status;
    if (wait(&status) < 0)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        ++*passed;
    else
        ++*failed;
}

static int check_all(void)
{
    unsigned passed = 0, failed = 0, active = 0;
    setvbuf(stdout, NULL, _IOFBF, 1 << 20); /* a scenario's lines stay together */
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (!is_selected(scenarios[i]))
            continue;
        if (active == options.jobs) {
            wait_for_one(&passed, &failed);
            active--;
        }
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            _exit(check(scenarios[i]) ? 0 : 1);
        active += child > 0;
        failed += child < 0;
    }
    for (; active > 0; active--)
        wait_for_one(&passed, &failed);
    printf("%u passed, %u failed\n", passed, failed);
    if (passed + failed == 0)
        return 2; /* no such scenario */
    return failed == 0 ? 0 : 1;
}

static int repeat_trail(void)
{
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (!is_selected(scenarios[i]))
            continue;
        if (!trail_replay(scenarios[i], options.trail)) {
            fprintf(stderr, "vbuf_model: not a trail: %s\n", options.trail);
            return 2;
        }
        trail_tell();
        return 0;
    }
    fprintf(stderr, "vbuf_model: --trail needs --scenario NAME\n");
    return 2;
}

static void list_all(void)
{
    for (size_t i = 0; i < SCENARIOS; i++)
        printf("%-34s %s\n", scenarios[i]->name, scenarios[i]->checks);
}

static void read_options(int argc, char **argv)
{
    enum { SCENARIO_NAME = 256, SECONDS, QUICK, SEED, RUNS, RANDOM, TRAIL, JOBS, QUIET, LIST };
    static const struct option names[] = {{"scenario", 1, NULL, SCENARIO_NAME},
                                          {"seconds", 1, NULL, SECONDS},
                                          {"quick", 0, NULL, QUICK},
                                          {"seed", 1, NULL, SEED},
                                          {"runs", 1, NULL, RUNS},
                                          {"random", 0, NULL, RANDOM},
                                          {"trail", 1, NULL, TRAIL},
                                          {"jobs", 1, NULL, JOBS},
                                          {"quiet", 0, NULL, QUIET},
                                          {"list", 0, NULL, LIST},
                                          {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case SCENARIO_NAME:
            options.filter = optarg;
            options.exact = true;
            break;
        case SECONDS:
            options.limits.seconds = strtod(optarg, NULL);
            break;
        case QUICK:
            options.limits.seconds = 1;
            break;
        case SEED:
            options.limits.seed = strtoull(optarg, NULL, 0);
            break;
        case RUNS:
            options.limits.random_runs = strtoull(optarg, NULL, 0);
            break;
        case RANDOM:
            options.limits.only_random = true;
            break;
        case TRAIL:
            options.trail = optarg;
            break;
        case JOBS:
            options.jobs = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case QUIET:
            options.quiet = true;
            break;
        case LIST:
            options.list = true;
            break;
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind < argc)
        options.filter = argv[optind];
    if (options.jobs == 0)
        options.jobs = 1;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (options.list) {
        list_all();
        return 0;
    }
    catch_crashes();
    search_start(); /* the options, too, are static, and stay */
    return options.trail != NULL ? repeat_trail() : check_all();
}
