/*
 * commit_fail.c - C5 and S6 without memory: what fails has claimed nothing, and work goes on later.
 *
 * Threads append to a vector, or insert into a map, while memory is refused: by the system calls,
 * made to fail through fault.h; by the on_commit hook; or by the kernel, under RLIMIT_DATA in a
 * child process. Either at random, and the threads try again; or as a drought: from some moment on
 * every commit fails, until each thread has met it. Then all stop, and what is there must be
 * exactly what was appended: no hole, nothing half-claimed, nothing lost. Memory is given back, and
 * all must finish.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vbuf/vmem.h>

#include "fault.h"

enum weather { SEAM_RANDOM, SEAM_DROUGHT, HOOK_RANDOM, HOOK_DROUGHT, LIMIT_DROUGHT };
enum { WEATHERS = LIMIT_DROUGHT, MOST_THREADS = 32, LONGEST_RUN = 32 };

struct memory_run {
    enum weather weather;
    unsigned threads;
    uint64_t goal;       /* elements or values a thread adds */
    struct cvec *vector; /* one of the two */
    struct slotmap *map;
    uint64_t seed;
    uint64_t allowed;                /* commits the hook allows before the drought */
    struct vbuf_atomic_u64 asked;    /* commits the hook was asked for */
    struct vbuf_atomic_u32 plenty;   /* the drought is over */
    struct vbuf_atomic_u64 refusals; /* VBUF_NOMEM seen */
    struct vbuf_atomic_u64 destroyed;
    uint64_t added[MOST_THREADS]; /* each written by its thread */
    slotmap_handle *handles[MOST_THREADS];
    pthread_barrier_t start;
    pthread_barrier_t drought;
};

static bool is_drought(const struct memory_run *run)
{
    return run->weather == SEAM_DROUGHT || run->weather == HOOK_DROUGHT ||
           run->weather == LIMIT_DROUGHT;
}

/* ---- the weather ---- */

static bool ask(void *context, size_t bytes)
{
    (void)bytes;
    struct memory_run *run = context;
    uint64_t turn = vbuf_u64_fetch_add_relaxed(&run->asked, 1);
    if (vbuf_u32_load_relaxed(&run->plenty))
        return true;
    if (run->weather == HOOK_DROUGHT)
        return turn < run->allowed;
    struct check_rng rng = {run->seed + turn};
    return run->weather != HOOK_RANDOM || !stress_chance(&rng, 2);
}

static struct rlimit limit_before;

/* This process's data, in bytes: what RLIMIT_DATA limits. */
static rlim_t data_now(void)
{
    char line[128];
    unsigned long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmData: %lu", &kilobytes) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    return (rlim_t)kilobytes * 1024;
}

static void set_limit(rlim_t room)
{
    struct rlimit limit;
    getrlimit(RLIMIT_DATA, &limit_before);
    limit = limit_before;
    limit.rlim_cur = data_now() + room;
    setrlimit(RLIMIT_DATA, &limit);
}

/* After the object was created and its threads started. */
static void begin_weather(struct memory_run *run, struct check_rng *rng)
{
    uint32_t odds = (uint32_t)stress_below(rng, 800000);
    uint64_t from = 1 + stress_below(rng, 12);
    vbuf_u32_store_relaxed(&run->plenty, 0);
    vbuf_u64_store_relaxed(&run->asked, 0);
    switch (run->weather) {
    case SEAM_RANDOM:
        fault_fail_randomly(FAULT_MPROTECT, odds, check_rng_next(rng), ENOMEM);
        fault_fail_randomly(FAULT_MMAP, odds, check_rng_next(rng), ENOMEM);
        break;
    case SEAM_DROUGHT:
        fault_fail_from(FAULT_MPROTECT, from, ENOMEM);
        fault_fail_from(FAULT_MMAP, 1, ENOMEM);
        break;
    case LIMIT_DROUGHT:
        set_limit((rlim_t)4 << 20);
        break;
    default:
        run->allowed = from;
    }
}

static void end_weather(struct memory_run *run)
{
    fault_clear();
    vbuf_u32_store_relaxed(&run->plenty, 1);
    if (run->weather == LIMIT_DROUGHT)
        setrlimit(RLIMIT_DATA, &limit_before);
}

/* ---- the work ---- */

static void destroy(void *context, void *value)
{
    struct memory_run *run = context;
    struct stress_value *own = value;
    STRESS_CHECK(stress_value_intact(own, own->id), "value %" PRIx64 " was not whole at its end",
                 own->id);
    stress_value_poison(own);
    vbuf_u64_fetch_add_relaxed(&run->destroyed, 1);
}

static enum vbuf_status append(struct memory_run *run, unsigned self, uint64_t turn, size_t count)
{
    struct stress_value elements[LONGEST_RUN];
    for (size_t i = 0; i < count; i++)
        stress_value_make(&elements[i], stress_item_id(self, i, turn + i));
    return count == 1 ? cvec_push(run->vector, elements, NULL)
                      : cvec_extend(run->vector, elements, count, NULL);
}

static enum vbuf_status insert(struct memory_run *run, unsigned self, uint64_t turn)
{
    struct stress_value value;
    stress_value_make(&value, stress_item_id(self, 0, turn));
    return slotmap_insert(run->map, &value, &run->handles[self][turn]);
}

/* Adds until the goal is reached, or, in a drought, until memory is refused. */
static void add(struct memory_run *run, struct stress_thread *self, bool stop_at_refusal)
{
    uint64_t *added = &run->added[self->id];
    unsigned refused = 0;
    while (*added < run->goal && !stress_failed()) {
        size_t count = run->vector != NULL && stress_chance(&self->rng, 4)
                           ? 1 + stress_below(&self->rng, LONGEST_RUN)
                           : 1;
        if (count > run->goal - *added)
            count = (size_t)(run->goal - *added);
        errno = 0;
        enum vbuf_status status = run->vector != NULL ? append(run, self->id, *added, count)
                                                      : insert(run, self->id, *added);
        if (status == VBUF_OK) {
            *added += count;
            stress_count(count);
            stress_disturb(&self->rng);
            continue;
        }
        if (!STRESS_CHECK(status == VBUF_NOMEM, "out of memory, and the call says %s",
                          vbuf_status_string(status)))
            return;
        STRESS_CHECK(errno == ENOMEM, "out of memory, and errno is %d", errno);
        STRESS_CHECK(!vbuf_u32_load_relaxed(&run->plenty),
                     "memory is back, and the call says nomem");
        vbuf_u64_fetch_add_relaxed(&run->refusals, 1);
        if (stop_at_refusal && ++refused > 4) /* a few times, to be sure that nothing comes of it */
            return;
        if (!stop_at_refusal && !stress_wait(&refused))
            stress_fail("no memory for ten seconds, and some is given");
    }
}

static void work(struct stress_thread *self)
{
    struct memory_run *run = self->context;
    pthread_barrier_wait(&run->start);
    if (is_drought(run)) {
        add(run, self, true);
        pthread_barrier_wait(&run->drought); /* main looks at what is there */
        pthread_barrier_wait(&run->drought); /* and memory is back */
    }
    add(run, self, false);
}

/* ---- the checks, with everybody stopped ---- */

static uint64_t added_by_all(const struct memory_run *run)
{
    uint64_t added = 0;
    for (unsigned i = 0; i < run->threads; i++)
        added += run->added[i];
    return added;
}

static void check_vector(struct memory_run *run)
{
    struct cvec_slice slice = cvec_snapshot(run->vector);
    const struct stress_value *elements = slice.data;
    uint64_t added = added_by_all(run);
    struct stress_order order = {{0}, 0, 0};
    STRESS_CHECK(slice.count == added && cvec_claimed(run->vector) == added,
                 "a hole: appended %" PRIu64 ", claimed %zu, published %zu", added,
                 cvec_claimed(run->vector), slice.count);
    for (size_t i = 0; i < slice.count && !stress_failed(); i++) {
        STRESS_CHECK(stress_value_intact(&elements[i], elements[i].id), "element %zu is not whole",
                     i);
        stress_order_step(&order, elements[i].id);
    }
    STRESS_CHECK(cvec_get(run->vector, slice.count) == NULL, "an element nobody pushed");
}

static void check_map(struct memory_run *run)
{
    uint64_t added = added_by_all(run);
    struct slotmap_report stats;
    slotmap_stats(run->map, &stats);
    STRESS_CHECK(stats.len == added && stats.inserted == added,
                 "inserted %" PRIu64 ", and there are %zu", added, stats.len);
    slotmap_pin(run->map);
    for (unsigned i = 0; i < run->threads; i++) {
        for (uint64_t turn = 0; turn < run->added[i] && !stress_failed(); turn++) {
            const struct stress_value *value = slotmap_get(run->map, run->handles[i][turn]);
            STRESS_CHECK(value != NULL && stress_value_intact(value, stress_item_id(i, 0, turn)),
                         "value %" PRIu64 " of thread %u was lost", turn, i);
        }
    }
    slotmap_unpin(run->map);
}

static void check(struct memory_run *run)
{
    if (run->vector != NULL)
        check_vector(run);
    else
        check_map(run);
}

/* ---- a round ---- */

static bool create(struct memory_run *run, struct check_rng *rng, bool vector)
{
    if (vector) {
        struct cvec_options options = {.element_size = sizeof(struct stress_value),
                                       .max_len = (size_t)run->goal * run->threads,
                                       .on_commit = ask,
                                       .context = run};
        return STRESS_CHECK(cvec_create(&run->vector, &options) == VBUF_OK, "create");
    }
    struct slotmap_options options = {.value_size = sizeof(struct stress_value),
                                      .max_len = (size_t)run->goal * run->threads,
                                      .max_threads = stress_chance(rng, 4) ? 2 : 0,
                                      .on_commit = ask,
                                      .destroy = destroy,
                                      .context = run};
    for (unsigned i = 0; i < run->threads; i++) {
        run->handles[i] = calloc(run->goal, sizeof *run->handles[i]);
        if (run->handles[i] == NULL)
            abort();
    }
    return STRESS_CHECK(slotmap_create(&run->map, &options) == VBUF_OK, "create");
}

static void destroy_all(struct memory_run *run)
{
    uint64_t added = added_by_all(run);
    bool had_map = run->map != NULL;
    cvec_destroy(run->vector);
    slotmap_destroy(run->map);
    if (had_map)
        STRESS_CHECK(vbuf_u64_load_relaxed(&run->destroyed) == added,
                     "inserted %" PRIu64 ", destroyed %" PRIu64, added,
                     vbuf_u64_load_relaxed(&run->destroyed));
    for (unsigned i = 0; i < run->threads; i++)
        free(run->handles[i]);
}

/* The number of times memory was refused. */
static uint64_t one_round(struct check_rng *rng, enum weather weather, bool vector, uint64_t goal)
{
    static struct memory_run run;
    static struct stress_crew crew;
    run = (struct memory_run){.weather = weather, .goal = goal, .seed = check_rng_next(rng)};
    run.threads = stress_threads(2 + (unsigned)stress_below(rng, 5), 1);
    if (run.threads > MOST_THREADS)
        run.threads = MOST_THREADS;
    vbuf_u32_store_relaxed(&run.plenty, 1);
    if (!create(&run, rng, vector))
        return 0;
    pthread_barrier_init(&run.start, NULL, run.threads + 1);
    pthread_barrier_init(&run.drought, NULL, run.threads + 1);
    stress_crew_start(&crew, run.threads, work, &run);
    begin_weather(&run, rng);
    pthread_barrier_wait(&run.start);
    if (is_drought(&run)) {
        pthread_barrier_wait(&run.drought);
        if (!stress_failed())
            check(&run);
        end_weather(&run);
        pthread_barrier_wait(&run.drought);
    }
    stress_crew_join(&crew);
    end_weather(&run);
    if (!stress_failed()) {
        STRESS_CHECK(added_by_all(&run) == run.goal * run.threads, "not all work was done");
        check(&run);
    }
    pthread_barrier_destroy(&run.start);
    pthread_barrier_destroy(&run.drought);
    destroy_all(&run);
    return vbuf_u64_load_relaxed(&run.refusals);
}

/* ---- RLIMIT_DATA ---- */

enum { NOT_ENFORCED = 77 };

static bool limit_is_enforced(void)
{
    struct vmem vm = {.size = 0};
    if (vmem_reserve(&vm, (size_t)64 << 20, NULL) != VBUF_OK)
        return false;
    set_limit((rlim_t)4 << 20);
    bool enforced = vmem_commit(&vm, 0, vm.size) == VBUF_NOMEM;
    setrlimit(RLIMIT_DATA, &limit_before);
    vmem_release(&vm);
    return enforced;
}

static _Noreturn void run_child(struct check_rng *rng)
{
    if (!limit_is_enforced())
        _exit(NOT_ENFORCED);
    uint64_t goal = ((uint64_t)8 << 20) / sizeof(struct stress_value); /* for each thread */
    for (unsigned i = 0; i < 2 && !stress_failed(); i++)
        STRESS_CHECK(one_round(rng, LIMIT_DROUGHT, i == 0, goal) > 0,
                     "RLIMIT_DATA refused nothing");
    fflush(NULL);
    _exit(stress_failed() ? 1 : 0);
}

static void part_limit(struct check_rng *rng)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        run_child(rng);
    if (!STRESS_CHECK(child > 0, "fork: %s", strerror(errno)))
        return;
    int status = 0;
    for (unsigned round = 0; waitpid(child, &status, WNOHANG) == 0; round++) {
        if (round == 6000) { /* a minute; it needs one second */
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            stress_fail("the child under RLIMIT_DATA hangs");
            return;
        }
        stress_count(1);
        stress_sleep(10000000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ENFORCED)
        stress_note("RLIMIT_DATA is not enforced here");
    else if (STRESS_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                          "the child under RLIMIT_DATA failed: wait status %d", status))
        stress_note("RLIMIT_DATA survived");
}

void stress_commit_fail(void)
{
    struct check_rng rng = stress_stream(0);
    uint64_t refusals = 0;
    uint64_t rounds = 0;
    fault_clear();
    /* A sanitizer needs data of its own, and cannot be refused. */
    if (!STRESS_SANITIZED)
        part_limit(&rng);
    do {
        uint64_t goal = 1 + stress_below(&rng, stress_chance(&rng, 4) ? 20000 : 1000);
        refusals +=
            one_round(&rng, (enum weather)(rounds % WEATHERS), rounds / WEATHERS % 2 == 0, goal);
        rounds++;
    } while (stress_going() || (rounds < 2 * WEATHERS && !stress_failed()));
    STRESS_CHECK(stress_failed() || refusals > 0, "nothing was refused");
    stress_note("%" PRIu64 " rounds, %" PRIu64 " refusals", rounds, refusals);
}
