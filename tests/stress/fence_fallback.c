/*
 * fence_fallback.c - E2: everything at once, with whichever fence the process has.
 *
 * Sessions live in a slot map, every handle that was ever issued is in a vector, and a
 * configuration is swapped and retired: all in one domain, all looked at under one pin. Run it by
 * itself, and under
 *
 *     strace -f -e trace=membarrier -e inject=membarrier:error=ENOSYS
 *
 * (fence_fallback.sh does), where pins must fall back to a full fence. The case asks the system
 * itself what there is, and statistics must agree. With a process-wide fence there is a second
 * part: the system begins to refuse the barrier in the middle. Then nothing may be freed any more,
 * nothing may break, and when the barrier is back, what waits is freed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"

enum { SESSIONS = 1024, RECENT = 2048, MOST_RETIRED = 10000 };
enum { LOG = 1 << 23, LOG_END = LOG - 64 * STRESS_MAX_THREADS };

struct configuration {
    struct ebr_entry entry;
    struct mixed_run *run;
    struct stress_value value;
};

struct mixed_run {
    struct ebr_domain *domain;
    struct stress_values sessions;
    struct cvec *log; /* of session handles */
    struct vbuf_atomic_pointer configuration;
    struct vbuf_atomic_u32 stop;
    struct vbuf_atomic_u64 serial;
    struct vbuf_atomic_u64 opened;
    struct vbuf_atomic_u64 closed;
    struct vbuf_atomic_u64 ended; /* sessions destroyed */
    struct vbuf_atomic_u64 made;  /* configurations */
    struct vbuf_atomic_u64 freed;
};

static enum vbuf_fence_kind system_fence(void)
{
    long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    bool offered = commands >= 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
    return offered ? VBUF_FENCE_PROCESS_WIDE : VBUF_FENCE_FULL;
}

static const char *fence_name(enum vbuf_fence_kind kind)
{
    return kind == VBUF_FENCE_FULL ? "full" : "process-wide";
}

static void check_fence(struct mixed_run *run, enum vbuf_fence_kind expected)
{
    struct ebr_report stats;
    struct slotmap_report map;
    ebr_stats(run->domain, &stats);
    slotmap_stats(run->sessions.map, &map);
    STRESS_CHECK(
        vbuf_fence_kind() == expected && stats.fence == expected && map.domain.fence == expected,
        "the fence is %s, but the process says %s, the domain %s, the map %s", fence_name(expected),
        fence_name(vbuf_fence_kind()), fence_name(stats.fence), fence_name(map.domain.fence));
    STRESS_CHECK((stats.epoch & 1) == (expected == VBUF_FENCE_FULL),
                 "epoch %" PRIu64 " does not say that the fence is %s", stats.epoch,
                 fence_name(expected));
}

/* ---- what happens ---- */

static void end_session(void *context, void *value)
{
    struct mixed_run *run = context;
    struct stress_value *own = value;
    STRESS_CHECK(stress_value_intact(own, own->id), "session %" PRIx64 " was not whole at its end",
                 own->id);
    stress_value_poison(own);
    vbuf_u64_fetch_add_relaxed(&run->ended, 1);
}

static void free_configuration(struct ebr_entry *entry)
{
    struct configuration *old = (struct configuration *)(void *)entry;
    vbuf_u64_fetch_add_relaxed(&old->run->freed, 1);
    stress_value_poison(&old->value);
    free(old);
}

static struct configuration *configure(struct mixed_run *run)
{
    struct configuration *new = calloc(1, sizeof *new);
    if (new == NULL)
        abort();
    new->run = run;
    stress_value_make(&new->value, vbuf_u64_fetch_add_relaxed(&run->made, 1));
    return vbuf_pointer_exchange_acq_rel(&run->configuration, new);
}

/* A handle out of the log: one of the newest, or any. */
static stress_values_handle recall(struct mixed_run *run, struct check_rng *rng)
{
    stress_values_handle handle = {0};
    struct cvec_slice log = cvec_snapshot(run->log);
    if (log.count == 0)
        return handle;
    uint64_t range = log.count < RECENT || stress_chance(rng, 8) ? log.count : RECENT;
    handle.bits = ((const uint64_t *)log.data)[log.count - 1 - stress_below(rng, range)];
    return handle;
}

static void close_session(struct mixed_run *run, struct check_rng *rng)
{
    enum vbuf_status status = stress_values_remove(&run->sessions, recall(run, rng));
    if (status == VBUF_OK)
        vbuf_u64_fetch_add_relaxed(&run->closed, 1);
    else
        STRESS_CHECK(status == VBUF_STALE, "remove says %s", vbuf_status_string(status));
}

static void open_session(struct mixed_run *run, struct check_rng *rng)
{
    struct stress_value value;
    stress_values_handle handle;
    stress_value_make(&value, vbuf_u64_fetch_add_relaxed(&run->serial, 1));
    enum vbuf_status status = stress_values_insert(&run->sessions, value, &handle);
    if (status == VBUF_OK) {
        vbuf_u64_fetch_add_relaxed(&run->opened, 1);
        STRESS_CHECK(cvec_push(run->log, &handle.bits, NULL) == VBUF_OK, "the log refuses");
        return;
    }
    STRESS_CHECK(status == VBUF_FULL || status == VBUF_BUSY, "insert says %s",
                 vbuf_status_string(status));
    for (unsigned i = 0; i < 32; i++)
        close_session(run, rng);
    if (status == VBUF_BUSY)
        sched_yield();
}

static void look(struct mixed_run *run, struct check_rng *rng)
{
    ebr_pin(run->domain);
    const struct configuration *used = vbuf_pointer_load_acquire(&run->configuration);
    const struct stress_value *session = stress_values_get(&run->sessions, recall(run, rng));
    uint64_t used_id = used->value.id;
    uint64_t session_id = session != NULL ? session->id : 0;
    for (unsigned i = 0; i < 3; i++) {
        STRESS_CHECK(stress_value_intact(&used->value, used_id),
                     "configuration %" PRIu64 " changed under a pin", used_id);
        if (session != NULL)
            STRESS_CHECK(stress_value_intact(session, session_id),
                         "session %" PRIu64 " changed under a pin", session_id);
        stress_disturb(rng);
    }
    ebr_unpin(run->domain);
}

static void reconfigure(struct mixed_run *run)
{
    if (vbuf_u64_load_relaxed(&run->made) - vbuf_u64_load_relaxed(&run->freed) < MOST_RETIRED)
        ebr_retire(run->domain, &configure(run)->entry, free_configuration);
}

static void serve(struct stress_thread *self)
{
    struct mixed_run *run = self->context;
    ebr_attach(run->domain);
    while (!vbuf_u32_load_relaxed(&run->stop) && !stress_failed() &&
           cvec_claimed(run->log) < LOG_END) {
        for (unsigned i = 0; i < 64; i++) {
            uint64_t draw = stress_below(&self->rng, 64);
            if (draw < 20)
                open_session(run, &self->rng);
            else if (draw < 38)
                close_session(run, &self->rng);
            else if (draw < 62)
                look(run, &self->rng);
            else if (draw < 63)
                reconfigure(run);
            else if (stress_chance(&self->rng, 8))
                slotmap_collect(run->sessions.map);
        }
        stress_count(64);
    }
}

/* ---- the barrier refused ---- */

static uint64_t epoch_of(struct mixed_run *run, uint64_t *refused)
{
    struct ebr_report stats;
    ebr_stats(run->domain, &stats);
    *refused = stats.barriers_failed;
    return stats.epoch;
}

/* While others work, the system refuses the barrier for a while. */
static void refuse_barrier(struct mixed_run *run, unsigned threads, int64_t length)
{
    uint64_t refused;
    fault_fail_from(FAULT_MEMBARRIER, 1, EPERM);
    stress_sleep(length / 4);
    uint64_t before = epoch_of(run, &refused);
    stress_sleep(length);
    uint64_t after = epoch_of(run, &refused);
    /* Each thread may have been in the middle of a step whose barrier it had got. */
    STRESS_CHECK(after - before <= 2 * (uint64_t)threads,
                 "no barrier, and the epoch went from %" PRIu64 " to %" PRIu64, before, after);
    STRESS_CHECK(refused > 0, "refused barriers are not counted");
    fault_clear();
    for (unsigned round = 0; epoch_of(run, &refused) <= after && !stress_failed();) {
        ebr_collect(run->domain);
        if (!stress_wait(&round))
            stress_fail("the barrier is back, and the epoch stays");
    }
    stress_note("%" PRIu64 " barriers refused", refused);
}

/* ---- the case ---- */

static bool open_run(struct mixed_run *run)
{
    struct slotmap_options sessions = {.max_len = SESSIONS, .destroy = end_session, .context = run};
    struct cvec_options log = {.element_size = sizeof(uint64_t), .max_len = LOG};
    *run = (struct mixed_run){0};
    if (!STRESS_CHECK(ebr_domain_create(&run->domain, NULL) == VBUF_OK, "create"))
        return false;
    sessions.domain = run->domain;
    configure(run);
    return STRESS_CHECK(stress_values_create(&run->sessions, &sessions) == VBUF_OK, "create") &&
           STRESS_CHECK(cvec_create(&run->log, &log) == VBUF_OK, "create");
}

static void close_run(struct mixed_run *run)
{
    uint64_t opened = vbuf_u64_load_relaxed(&run->opened);
    uint64_t closed = vbuf_u64_load_relaxed(&run->closed);
    struct slotmap_report stats;
    slotmap_collect(run->sessions.map);
    slotmap_stats(run->sessions.map, &stats);
    STRESS_CHECK(stats.len == opened - closed, "%zu sessions, should be %" PRIu64, stats.len,
                 opened - closed);
    STRESS_CHECK(stats.limbo == 0 && vbuf_u64_load_relaxed(&run->ended) == closed,
                 "%" PRIu64 " closed, %" PRIu64 " ended, %zu in limbo", closed,
                 vbuf_u64_load_relaxed(&run->ended), stats.limbo);
    STRESS_CHECK(cvec_len(run->log) == opened, "%" PRIu64 " opened, %zu in the log", opened,
                 cvec_len(run->log));
    stress_values_destroy(&run->sessions);
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->ended) == opened,
                 "%" PRIu64 " opened, %" PRIu64 " ended", opened,
                 vbuf_u64_load_relaxed(&run->ended));
    struct configuration *last = vbuf_pointer_exchange_acq_rel(&run->configuration, NULL);
    ebr_retire(run->domain, &last->entry, free_configuration);
    STRESS_CHECK(ebr_domain_destroy(run->domain) == VBUF_OK, "somebody is still pinned");
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->made) == vbuf_u64_load_relaxed(&run->freed),
                 "%" PRIu64 " configurations made, %" PRIu64 " freed",
                 vbuf_u64_load_relaxed(&run->made), vbuf_u64_load_relaxed(&run->freed));
    cvec_destroy(run->log);
}

/* One domain's life: until the part's time is over, or the log is full. */
static void run_mixed(enum vbuf_fence_kind expected, int64_t refuse)
{
    static struct mixed_run run;
    static struct stress_crew crew;
    unsigned threads = stress_threads(6, 2);
    if (!open_run(&run))
        return;
    stress_crew_start(&crew, threads, serve, &run);
    if (refuse > 0) {
        stress_sleep(refuse);
        refuse_barrier(&run, threads, refuse);
    }
    while (stress_going() && cvec_claimed(run.log) < LOG_END) {
        check_fence(&run, expected);
        stress_sleep(10000000);
    }
    vbuf_u32_store_relaxed(&run.stop, 1);
    stress_crew_join(&crew);
    check_fence(&run, expected);
    close_run(&run);
}

void stress_fence_fallback(void)
{
    enum vbuf_fence_kind expected =
        stress.fence != 0 ? (enum vbuf_fence_kind)stress.fence : system_fence();
    stress_note("%s fence", fence_name(expected));
    stress_ambushes = stress_ambushes && expected == VBUF_FENCE_PROCESS_WIDE; /* else: strace */
    fault_clear();
    if (expected == VBUF_FENCE_PROCESS_WIDE)
        stress_part(0.6);
    do {
        run_mixed(expected, 0);
    } while (stress_going());
    if (expected == VBUF_FENCE_PROCESS_WIDE && !stress_failed()) {
        stress_part(0.4);
        run_mixed(expected, (int64_t)(stress.seconds * 0.1e9));
    }
}
