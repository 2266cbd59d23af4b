/*
 * paused_publisher.c - C6: who is stopped between claim and publish delays nobody but the prefix.
 *
 * First a claimer that claims and then does nothing for a second. Meanwhile others push and find
 * their own elements, thousands of them, some get what is past the claim, the prefix ends before it, and
 * who waits for more sleeps. When it publishes, the prefix is whole at once and the waiters return.
 *
 * Then pushers that a signal stops at any instruction of a push, growth included, again and again:
 * each stop lasts until the others have pushed thousands more. ThreadSanitizer holds signals back
 * until a system call, so there the second part is left out.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum {
    LONGEST_CLAIM = 8,
    PUSHERS = 2,
    MOST_VICTIMS = 2,
    MOST_PUSHES = 1 << 22,
    MOST_BETWEEN = 50000
};

struct paused_run {
    struct stress_pairs v;
    uint64_t least;                   /* pushes that must be done while somebody is stopped */
    struct vbuf_atomic_u64 pushed;    /* relaxed, here and below: they order nothing */
    struct vbuf_atomic_u64 got;       /* elements past the claim that others have got */
    struct vbuf_atomic_u64 woken;     /* waiters for what is not published that have returned */
    struct vbuf_atomic_u64 allowed;   /* pushes; past them pushers idle, or memory would run out */
    struct vbuf_atomic_u32 over;      /* pushers stop */
    struct vbuf_atomic_u32 published; /* about to be; nobody may have returned before */
    size_t hole;                      /* first claimed index; written before the threads start */
    size_t hole_count;
    uint64_t added[STRESS_MAX_THREADS];
};

static struct stress_pair pair_of(unsigned writer, size_t place, uint64_t turn)
{
    uint64_t id = stress_item_id(writer, place, turn);
    return (struct stress_pair){id, ~id};
}

static __attribute__((noinline)) bool whole(const struct stress_pair *pair)
{
    return pair->complement == ~pair->id;
}

static bool create(struct paused_run *run)
{
    /* Small steps: growth is part of what must go on. */
    struct cvec_options options = {.max_len = (size_t)MOST_PUSHES * 2,
                                   .growth = {.numerator = 9, .denominator = 8}};
    *run = (struct paused_run){.least = stress_amount(50000, 4000)};
    vbuf_u64_store_relaxed(&run->allowed, MOST_PUSHES);
    return STRESS_CHECK(stress_pairs_create(&run->v, &options) == VBUF_OK, "create");
}

static bool push_one(struct paused_run *run, unsigned writer)
{
    uint64_t turn = run->added[writer];
    size_t index = 0;
    enum vbuf_status status = stress_pairs_push(&run->v, pair_of(writer, 0, turn), &index);
    if (!STRESS_CHECK(status == VBUF_OK, "push says %s", vbuf_status_string(status)))
        return false;
    const struct stress_pair *own = stress_pairs_get(&run->v, index);
    STRESS_CHECK(own != NULL && own->id == stress_item_id(writer, 0, turn) && whole(own),
                 "element %zu is not found by who pushed it", index);
    run->added[writer] = turn + 1;
    vbuf_u64_fetch_add_relaxed(&run->pushed, 1);
    return true;
}

static void push_on(struct stress_thread *self)
{
    struct paused_run *run = self->context;
    while (!vbuf_u32_load_relaxed(&run->over) && !stress_failed()) {
        if (vbuf_u64_load_relaxed(&run->pushed) < vbuf_u64_load_relaxed(&run->allowed))
            push_one(run, self->id);
        else
            stress_sleep(100000);
    }
}

/* Everybody's elements, once each and in order. */
static void check_whole(struct paused_run *run, unsigned writers)
{
    static struct stress_order order;
    order = (struct stress_order){.count = 0};
    struct stress_pairs_slice all = stress_pairs_snapshot(&run->v);
    uint64_t added = 0;
    for (unsigned i = 0; i < writers; i++)
        added += run->added[i];
    STRESS_CHECK(all.count == added && stress_pairs_claimed(&run->v) == added,
                 "pushed %" PRIu64 ", claimed %zu, published %zu", added,
                 stress_pairs_claimed(&run->v), all.count);
    for (size_t i = 0; i < all.count && !stress_failed(); i++)
        if (STRESS_CHECK(whole(&all.data[i]), "element %zu is not whole", i))
            stress_order_step(&order, all.data[i].id);
}

/* ---- a claimer that takes its time ---- */

enum { CLAIMER = PUSHERS, GETTER, SLEEPER, FAR_SLEEPER, TAIL, SHORT_SLEEPER, TAKE_PART };

/* What is past the claim can be got all the time; the prefix ends at it. */
static void get_past_hole(struct paused_run *run)
{
    while (!vbuf_u32_load_relaxed(&run->over) && !stress_failed()) {
        size_t claimed = stress_pairs_claimed(&run->v), end = run->hole + run->hole_count;
        uint64_t got = 0;
        for (size_t i = claimed; i-- > end && i + 100 > claimed;) {
            const struct stress_pair *pair = stress_pairs_get(&run->v, i);
            got += pair != NULL && STRESS_CHECK(whole(pair), "element %zu is not whole", i);
        }
        vbuf_u64_fetch_add_relaxed(&run->got, got);
        const struct stress_pair *hole = stress_pairs_get(&run->v, run->hole);
        size_t len = stress_pairs_len(&run->v);
        if (!vbuf_u32_load_relaxed(&run->published)) /* read last: it was so all along */
            STRESS_CHECK(hole == NULL && len == run->hole,
                         "a prefix of %zu, and element %zu is not published", len, run->hole);
    }
}

static void sleep_until(struct paused_run *run, size_t count)
{
    enum vbuf_status status = stress_pairs_wait(&run->v, count, -1);
    STRESS_CHECK(vbuf_u32_load_relaxed(&run->published), "waited for %zu, and woke too early",
                 count);
    const struct stress_pair *elements = (const void *)run->v.vector->elements;
    STRESS_CHECK(status == VBUF_OK && whole(&elements[count - 1]), "waiting for %zu says %s", count,
                 vbuf_status_string(status));
    vbuf_u64_fetch_add_relaxed(&run->woken, 1);
}

static void sleep_in_vain(struct paused_run *run)
{
    enum vbuf_status status = stress_pairs_wait(&run->v, run->hole + 1, 10000000);
    if (!vbuf_u32_load_relaxed(&run->published))
        STRESS_CHECK(status == VBUF_TIMEDOUT, "waiting says %s", vbuf_status_string(status));
}

/* A cursor stands at the claim, and goes on behind it without a gap. */
static void follow(struct paused_run *run)
{
    struct cvec_cursor cursor = {run->v.vector, 0};
    struct stress_pairs_slice slice;
    while (cursor.next < run->hole + run->hole_count && !stress_failed()) {
        size_t next = cursor.next;
        enum vbuf_status status = stress_pairs_cursor_next(&cursor, 0, -1, &slice);
        if (!vbuf_u32_load_relaxed(&run->published))
            STRESS_CHECK(cursor.next <= run->hole, "a cursor went past %zu to %zu", run->hole,
                         cursor.next);
        STRESS_CHECK(status == VBUF_OK && slice.data == stress_pairs_get(&run->v, next),
                     "a cursor says %s", vbuf_status_string(status));
    }
    vbuf_u64_fetch_add_relaxed(&run->woken, 1);
}

/* For the time, and until the others have done enough. */
static void pause_for(struct paused_run *run, int64_t pause)
{
    uint64_t before = vbuf_u64_load_relaxed(&run->pushed);
    int64_t until = stress_now() + pause;
    unsigned round = 0;
    while (stress_now() < until)
        stress_sleep(1000000);
    while (vbuf_u64_load_relaxed(&run->pushed) - before < run->least ||
           vbuf_u64_load_relaxed(&run->got) < run->least / 4) {
        if (stress_failed())
            return;
        if (!stress_wait(&round)) {
            stress_fail("somebody is stopped: %" PRIu64 " pushed, %" PRIu64 " got",
                        vbuf_u64_load_relaxed(&run->pushed) - before,
                        vbuf_u64_load_relaxed(&run->got));
            return;
        }
    }
}

static void publish_late(struct paused_run *run, struct check_rng *rng)
{
    pause_for(run, stress.brief ? 200000000 : 1000000000);
    STRESS_CHECK(vbuf_u64_load_relaxed(&run->woken) == 0, "woken before the publish");
    struct stress_pair *slots = (struct stress_pair *)(void *)run->v.vector->elements + run->hole;
    for (size_t i = 0; i < run->hole_count; i++)
        slots[i] = pair_of(CLAIMER, i, i);
    vbuf_u32_store_relaxed(&run->published, 1);
    size_t cut = stress_chance(rng, 2) ? 0 : (size_t)stress_below(rng, run->hole_count);
    enum vbuf_status late = VBUF_OK;
    enum vbuf_status status = stress_pairs_publish(&run->v, run->hole + cut, run->hole_count - cut);
    if (cut > 0)
        late = stress_pairs_publish(&run->v, run->hole, cut);
    STRESS_CHECK(status == VBUF_OK && late == VBUF_OK, "publish says %s",
                 vbuf_status_string(status != VBUF_OK ? status : late));
    run->added[CLAIMER] = run->hole_count;
    STRESS_CHECK(stress_pairs_len(&run->v) >= run->hole + run->hole_count,
                 "published, and the prefix is %zu", stress_pairs_len(&run->v));
    unsigned round = 0;
    while (vbuf_u64_load_relaxed(&run->woken) < 3 && !stress_failed())
        if (!stress_wait(&round))
            stress_fail("published, and %" PRIu64 " of 3 waiters have returned",
                        vbuf_u64_load_relaxed(&run->woken));
    vbuf_u32_store_relaxed(&run->over, 1);
}

static void take_part(struct stress_thread *self)
{
    struct paused_run *run = self->context;
    switch (self->id) {
    case CLAIMER:
        publish_late(run, &self->rng);
        break;
    case GETTER:
        get_past_hole(run);
        break;
    case SLEEPER:
        sleep_until(run, run->hole + 1);
        break;
    case FAR_SLEEPER:
        sleep_until(run, run->hole + run->least);
        break;
    case TAIL:
        follow(run);
        break;
    case SHORT_SLEEPER:
        sleep_in_vain(run);
        break;
    default:
        push_on(self);
    }
}

static void late_claimer(struct check_rng *rng, uint64_t *pushed)
{
    static struct paused_run run;
    if (!create(&run))
        return;
    for (uint64_t before = stress_below(rng, 3000); before > 0; before--)
        push_one(&run, TAKE_PART);
    void *slots;
    run.hole_count = 1 + (size_t)stress_below(rng, LONGEST_CLAIM);
    struct cvec *vector = run.v.vector;
    STRESS_CHECK(cvec_claim(vector, run.hole_count, &run.hole, &slots) == VBUF_OK, "claim");
    vbuf_u64_store_relaxed(&run.pushed, 0);
    stress_run(TAKE_PART, take_part, &run);
    if (!stress_failed())
        check_whole(&run, TAKE_PART + 1);
    *pushed += vbuf_u64_load_relaxed(&run.pushed);
    stress_count(vbuf_u64_load_relaxed(&run.pushed));
    stress_pairs_destroy(&run.v);
}

/* ---- pushers that a signal stops ---- */

static struct vbuf_atomic_u32 stopped; /* victims inside the handler */
static struct vbuf_atomic_u32 held;    /* they stay there */

static void stop_here(int signal)
{
    (void)signal;
    int error = errno;
    vbuf_u32_fetch_add_relaxed(&stopped, 1);
    while (vbuf_u32_load_relaxed(&held))
        stress_sleep(100000);
    vbuf_u32_fetch_add_relaxed(&stopped, UINT32_MAX);
    errno = error;
}

/* Lets that many more be pushed from now on, or so. */
static uint64_t allow(struct paused_run *run, uint64_t more)
{
    uint64_t pushed = vbuf_u64_load_relaxed(&run->pushed);
    vbuf_u64_store_relaxed(&run->allowed, pushed + more);
    return pushed;
}

/* Stops the victims somewhere, and lets them go when the others have pushed enough. */
static void stop_once(struct paused_run *run, struct stress_crew *victims, struct check_rng *rng)
{
    unsigned round = 0;
    allow(run, MOST_BETWEEN);
    stress_sleep((int64_t)stress_below(rng, 500000));
    vbuf_u32_store_relaxed(&held, 1);
    for (unsigned i = 0; i < victims->count; i++)
        pthread_kill(victims->threads[i].handle, SIGUSR1);
    while (vbuf_u32_load_relaxed(&stopped) < victims->count && !stress_failed())
        if (!stress_wait(&round))
            stress_fail("a signal stops nobody");
    /* Only the others push now. Enough to grow a few times, whatever the victims were at. */
    uint64_t before = allow(run, 2 * run->least);
    for (round = 0; vbuf_u64_load_relaxed(&run->pushed) - before < run->least && !stress_failed();)
        if (!stress_wait(&round))
            stress_fail("%u pushers are stopped, and the others push no more", victims->count);
    vbuf_u32_store_relaxed(&held, 0);
    for (round = 0; vbuf_u32_load_relaxed(&stopped) > 0 && !stress_failed();)
        if (!stress_wait(&round))
            stress_fail("a pusher stays stopped");
}

static uint64_t stopped_pushers(struct check_rng *rng, uint64_t *pushed)
{
    static struct paused_run run;
    static struct stress_crew crew, victims;
    uint64_t stops = 0;
    if (!create(&run))
        return 0;
    run.least = stress_amount(20000, 2000);
    /* The victims have the last numbers, and the first ones in their own crew. */
    stress_crew_start(&crew, MOST_VICTIMS + PUSHERS, push_on, &run);
    victims.count = 1 + (unsigned)stress_below(rng, MOST_VICTIMS);
    for (unsigned i = 0; i < victims.count; i++)
        victims.threads[i] = crew.threads[PUSHERS + i];
    uint64_t most = stress_amount(100, 5);
    while (stops < most && stress_going() &&
           vbuf_u64_load_relaxed(&run.pushed) + 2 * run.least + MOST_BETWEEN < MOST_PUSHES) {
        stop_once(&run, &victims, rng);
        stress_count(run.least);
        stops++;
    }
    vbuf_u32_store_relaxed(&run.over, 1);
    vbuf_u32_store_relaxed(&held, 0);
    stress_crew_join(&crew);
    if (!stress_failed())
        check_whole(&run, crew.count);
    *pushed += vbuf_u64_load_relaxed(&run.pushed);
    stress_pairs_destroy(&run.v);
    return stops;
}

static void install_handler(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = stop_here;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
}

void stress_paused_publisher(void)
{
    struct check_rng rng = stress_stream(0);
    uint64_t rounds = 0, stops = 0, pushed = 0;
    install_handler();
    stress_ambushes = false; /* this case stops threads itself */
    do {
        late_claimer(&rng, &pushed);
        rounds++;
        if (STRESS_TSAN)
            continue;
        stops += stopped_pushers(&rng, &pushed);
    } while (stress_going());
    stress_note("%" PRIu64 " late claims, %" PRIu64 " pushers stopped, %.1f M pushes meanwhile",
                rounds, stops, (double)pushed / 1e6);
}
