/*
 * ebr_filter_test.c - a program that forbids itself the barrier while it runs (E4): a seccomp filter for membarrier,
 * installed for all threads when domains, maps, pins and limbo exist already. Nothing may be freed for a barrier
 * that was refused, stats must say so, and nothing may block.
 *
 * Each test forks, as a filter is for good. Where there is no barrier to refuse, or no filter to be had, the same must
 * end as if nothing had happened.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "ebr_objects.h"
#include "slotmap/slotmap.h"
#include "team.h"
#include "vbuf/fence.h"

/* From now on membarrier fails with EPERM, on all threads. False: the system has no such filters. */
static bool forbid_membarrier(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

/* Runs it in a process of its own; whether its checks held. */
static void run_apart(void (*test)(void))
{
    pid_t child = fork();
    if (!CHECK(child >= 0))
        return;
    if (child == 0) {
        unsigned before = check_failures();
        test();
        _exit(check_failures() != before);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void retire_and_collect(void)
{
    struct ebr_domain *domain;
    struct object before = {.destroyed = 0}, after = {.destroyed = 0};
    struct pinner pinner;
    if (!CHECK_STATUS(VBUF_OK, ebr_domain_create(&domain, NULL)))
        return;
    pinner_start(&pinner, domain);
    retire(domain, &before);
    bool refused = forbid_membarrier() && vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE;
    retire(domain, &after);
    CHECK_EQ(drain(domain), 0); /* there is a pin */
    pinner_unpin(&pinner);      /* it stays attached: the barrier cannot be spared */
    CHECK_EQ(drain(domain), refused ? 0 : 2);
    CHECK_STATUS(refused ? VBUF_BUSY : VBUF_OK, ebr_synchronize(domain));
    CHECK_EQ(before.destroyed + after.destroyed, refused ? 0u : 2u);
    CHECK_EQ(stats_of(domain).barriers_failed != 0, refused);
    CHECK_EQ(stats_of(domain).retired - stats_of(domain).reclaimed, refused ? 2 : 0);
    pinner_stop(&pinner); /* now nobody else is there, and no barrier needed */
    drain(domain);
    CHECK_EQ(before.destroyed, 1);
    CHECK_EQ(after.destroyed, 1);
    CHECK_STATUS(VBUF_OK, ebr_domain_destroy(domain));
}

TEST(ebr_filter, E4_a_filter_installed_at_run_time_frees_nothing)
{
    run_apart(retire_and_collect);
}

#define LIMBO 300

static unsigned destroyed;

static void count_destroyed(void *context, void *value)
{
    (void)context;
    CHECK_EQ(*(uint64_t *)value % 3, 1);
    *(uint64_t *)value = 0;
    destroyed++;
}

static void churn(void)
{
    struct slotmap *map;
    struct slotmap_options options = {.value_size = sizeof(uint64_t),
                                      .max_len = 10,
                                      .max_limbo = LIMBO,
                                      .max_threads = 4,
                                      .destroy = count_destroyed};
    struct slotmap_report stats;
    struct pinner pinner;
    if (!CHECK_STATUS(VBUF_OK, slotmap_create(&map, &options)))
        return;
    pinner_start(&pinner, slotmap_domain(map));
    pinner_unpin(&pinner); /* attached, and in nobody's way but for the barrier */
    bool refused = forbid_membarrier() && vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE;
    enum vbuf_status status = VBUF_OK;
    unsigned inserted = 0;
    for (; inserted < 20 * LIMBO && status == VBUF_OK; inserted++) {
        uint64_t value = 3 * (uint64_t)inserted + 1;
        slotmap_handle handle;
        status = slotmap_insert(map, &value, &handle);
        if (status != VBUF_OK)
            break;
        CHECK_STATUS(VBUF_OK, slotmap_remove(map, handle, NULL));
        CHECK(!slotmap_contains(map, handle));
    }
    CHECK_STATUS(VBUF_OK, slotmap_stats(map, &stats));
    CHECK_STATUS(refused ? VBUF_BUSY : VBUF_OK, status);
    CHECK_EQ(stats.domain.barriers_failed != 0, refused);
    CHECK(!refused || (destroyed == 0 && stats.limbo > LIMBO && stats.limbo == inserted));
    pinner_stop(&pinner);
    slotmap_collect(map);
    CHECK_EQ(destroyed, inserted);
    uint64_t value = 1;
    CHECK_STATUS(VBUF_OK, slotmap_insert(map, &value, NULL));
    slotmap_destroy(map);
    CHECK_EQ(destroyed, inserted + 1);
}

TEST(ebr_filter, E4_a_map_says_busy_and_works_again_when_no_barrier_is_needed)
{
    run_apart(churn);
}
