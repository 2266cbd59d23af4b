/*
 * fence_test.c - the asymmetric fence: which kind, and what the heavy side returns. Whether it orders is
 * for the model and for the stress tests: no check of one run can tell.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/fence.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "fault.h"
#include "team.h"

/* What the system offers, asked directly: commands as a bit mask, or -1. */
static long membarrier_commands(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
}

TEST(fence, kind_is_process_wide_iff_the_system_has_the_barrier)
{
    long commands = membarrier_commands();
    bool offered = commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
#if defined(BUILD_SYSTEM_POSIX)
    offered = false; /* POSIX knows no such call */
#endif
    CHECK_EQ(vbuf_fence_kind(), offered ? VBUF_FENCE_PROCESS_WIDE : VBUF_FENCE_FULL);
}

static void note_kind(void *context, unsigned index)
{
    ((enum vbuf_fence_kind *)context)[index] = vbuf_fence_kind();
}

TEST(fence, kind_never_changes)
{
    enum vbuf_fence_kind seen[4] = {(enum vbuf_fence_kind)0};
    enum vbuf_fence_kind kind = vbuf_fence_kind();
    fault_clear();
    fault_fail_from(FAULT_MEMBARRIER, 1, ENOSYS);
    team_run(4, note_kind, seen);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(seen[i], kind);
    vbuf_fence_heavy();
    CHECK_EQ(vbuf_fence_kind(), kind);
    fault_clear();
}

TEST(fence, kind_is_chosen_before_main)
{
    fault_clear();
    vbuf_fence_kind();
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), 0);
}

static void fence_often(void *context, unsigned index)
{
    (void)context;
    (void)index;
    for (int i = 0; i < 100; i++)
        CHECK(vbuf_fence_heavy());
}

TEST(fence, heavy_is_true_when_issued)
{
    fault_clear();
    CHECK(vbuf_fence_heavy());
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE);
    team_run(4, fence_often, NULL);
}

TEST(fence, heavy_is_false_iff_the_system_refuses)
{
    bool process_wide = vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE;
    fault_clear();
    fault_fail_at(FAULT_MEMBARRIER, 2, EPERM);
    CHECK(vbuf_fence_heavy());
    CHECK_EQ(vbuf_fence_heavy(), !process_wide); /* a full fence asks nobody */
    CHECK(vbuf_fence_heavy());
    fault_fail_from(FAULT_MEMBARRIER, 1, ENOSYS);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(vbuf_fence_heavy(), !process_wide);
    fault_clear();
    CHECK(vbuf_fence_heavy());
}

TEST(fence, light_sides_cost_no_system_call)
{
    fault_clear();
    vbuf_fence_light();
    vbuf_fence_full();
    CHECK_EQ(fault_count(FAULT_MEMBARRIER), 0);
}
