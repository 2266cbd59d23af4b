/*
 * slotmap_misuse_test.c - misuse that a build with VBUF_DEBUG catches; elsewhere there is nothing to see.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "slotmap/slotmap.h"

#if defined(VBUF_DEBUG)
#define CAUGHT true
#else
#define CAUGHT false
#endif

/* Whether the misuse ends a process by an assertion. */
static bool is_caught(void (*misuse)(struct slotmap *map, slotmap_handle handle))
{
    struct slotmap *map = NULL;
    struct slotmap_options options = {.value_size = 8, .max_len = 10, .max_threads = 1};
    uint64_t value = 1;
    slotmap_handle handle = {0};
    CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options));
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, &handle));
    pid_t child = fork();
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr); /* what the assertion says */
        signal(SIGABRT, SIG_DFL);
        misuse(map, handle);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    slotmap_destroy(map);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void get_unpinned(struct slotmap *map, slotmap_handle handle)
{
    (void)slotmap_get(map, handle);
}

static void get_after_unpin(struct slotmap *map, slotmap_handle handle)
{
    slotmap_pin(map);
    (void)slotmap_get(map, handle);
    slotmap_unpin(map);
    (void)slotmap_get(map, handle);
}

static void get_pinned(struct slotmap *map, slotmap_handle handle)
{
    slotmap_pin(map);
    (void)slotmap_get(map, handle);
    slotmap_unpin(map);
}

static void unpin_twice(struct slotmap *map, slotmap_handle handle)
{
    get_pinned(map, handle);
    slotmap_unpin(map);
}

TEST(slotmap_misuse, a_debug_build_catches_it_and_no_other_pays)
{
    CHECK_EQ(is_caught(get_unpinned), CAUGHT);
    CHECK_EQ(is_caught(get_after_unpin), CAUGHT);
    CHECK_EQ(is_caught(unpin_twice), CAUGHT);
    CHECK(!is_caught(get_pinned));
}
