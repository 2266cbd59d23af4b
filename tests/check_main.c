/*
 * check_main.c - the plain runner: every TEST() of the program in one process, in the order written.
 *
 *     program [--list] [--filter TEXT]
 *
 * --filter keeps the tests whose "suite.name" contains TEXT. The last line is `N passed, N failed`,
 * and `, N skipped` if any were. Exit status: 0; 1 when a test failed; 2 when no test was run.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

static struct check_test *first;
static struct check_test **last = &first;

void check_register(struct check_test *test)
{
    *last = test;
    last = &test->next;
}

static bool matches(const struct check_test *test, const char *filter)
{
    char name[256];
    snprintf(name, sizeof(name), "%s.%s", test->suite, test->name);
    return strstr(name, filter) != NULL;
}

/* The name goes out before the test runs: if the process dies, the last line says in which test. */
static enum check_verdict run(const struct check_test *test)
{
    const char *reason;
    printf("%s.%s ", test->suite, test->name);
    fflush(stdout);
    enum check_verdict verdict = check_run(test->body, &reason);
    if (verdict == CHECK_PASSED)
        printf("ok\n");
    else if (verdict == CHECK_SKIPPED)
        printf("skipped: %s\n", reason);
    else
        printf("FAILED\n");
    fflush(stdout);
    return verdict;
}

static int run_all(const char *filter)
{
    unsigned counts[3] = {0, 0, 0};
    for (const struct check_test *test = first; test; test = test->next) {
        if (matches(test, filter))
            counts[run(test)]++;
    }
    printf("%u passed, %u failed", counts[CHECK_PASSED], counts[CHECK_FAILED]);
    if (counts[CHECK_SKIPPED] > 0)
        printf(", %u skipped", counts[CHECK_SKIPPED]);
    printf("\n");
    if (counts[CHECK_FAILED] > 0)
        return 1;
    return counts[CHECK_PASSED] + counts[CHECK_SKIPPED] > 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    const char *filter = "";
    bool list = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            list = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            filter = argv[++i];
        } else {
            fprintf(stderr, "usage: %s [--list] [--filter TEXT]\n", argv[0]);
            return 2;
        }
    }
    if (!list)
        return run_all(filter);
    for (const struct check_test *test = first; test; test = test->next) {
        if (matches(test, filter))
            printf("%s.%s\n", test->suite, test->name);
    }
    return 0;
}
