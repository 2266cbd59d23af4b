/*
 * schedule.c - a run, and the search through all runs.
 *
 * A run is a sequence of choices: who takes the next step, which store a load reads, whether a call
 * fails. Everything else follows from them, so the choices are the run: its trail. Where a thread could go on,
 * going on is choice 0; the newest store, the end of the order and success are 0 too. Anything else costs one
 * of a bound (M. Musuvathi, S. Qadeer, "Iterative context bounding", 2007): most faults need
 * one or two odd choices, whatever the length of the run.
 *
 * Depth first, in rounds that allow 0, 1, 2 … odd choices together, so what is found first is simple. A round
 * that ends without having left anything out has seen every run within the bounds. Then at
 * random, without bounds but with few odd choices a run: priorities and change points as in PCT (S. Burckhardt
 * et al., "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).
 *
 * A step that only one thread ever makes anything of needs no choice: an atomic that no other thread has
 * touched in any run yet. When one turns out to be shared, runs before may have skipped something, and the
 * round is repeated.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "schedule.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"

#define RUN_LIMIT 20000
#define IDLE_YIELDS 200
#define PATIENCE 16

struct engine *engine;

extern char __data_start[], _end[];

/* The static variables as they were at start; behind the engine, so it stays. */
static char *saved_statics;

/* ---- random numbers: splitmix64 ---- */

static uint64_t next_random(void)
{
    uint64_t z = (engine->random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint32_t random_below(uint32_t count)
{
    return (uint32_t)(next_random() % count);
}

/* ---- choices ---- */

static bool is_odd(enum choice kind)
{
    return kind != CHOICE_NEXT && kind != CHOICE_FREE;
}

static unsigned bound_of(enum choice kind)
{
    const struct explore_bounds *bounds = &engine->bounds;
    switch (kind) {
    case CHOICE_PREEMPT:
        return bounds->preemptions;
    case CHOICE_VALUE:
        return bounds->stale;
    case CHOICE_PLACE:
        return bounds->reorders;
    default:
        return bounds->failures;
    }
}

/* Whether anything but 0 may be chosen now. */
static bool is_offered(enum choice kind)
{
    if (!is_odd(kind))
        return true;
    if (!engine->running || bound_of(kind) == 0)
        return false;
    if (engine->unbounded)
        return true;
    if (engine->spent[kind] >= bound_of(kind))
        return false;
    if (engine->spent_together < engine->together)
        return true;
    engine->cut = true;
    return false;
}

static unsigned random_choice(enum choice kind, unsigned count)
{
    if (kind == CHOICE_FREE)
        return random_below(count);
    if (kind == CHOICE_NEXT || kind == CHOICE_PREEMPT) {
        unsigned best = 0;
        for (unsigned i = 1; i < count; i++) {
            if (engine->fibres[engine->candidates[i]].priority >
                engine->fibres[engine->candidates[best]].priority)
                best = i;
        }
        return best;
    }
    uint32_t chance = kind == CHOICE_FAILURE ? 16 : engine->odd_chance;
    if (random_below(256) >= chance)
        return 0;
    return 1 + random_below(count - 1);
}

static void cannot_repeat(void)
{
    explore_fail("the run cannot be repeated: something in it is not the explorer's to decide");
}

/* What the trail says about this choice; one that it does not know is 0. */
static unsigned follow_trail(uint32_t ordinal, unsigned count)
{
    struct trail_entry *entry = &engine->trail[engine->trail_position];
    if (ordinal < entry->ordinal)
        return 0; /* new, because an atomic has turned out to be shared: the round is repeated */
    if (entry->count == 0)
        entry->count = count; /* replayed: only what was chosen is known */
    if (ordinal != entry->ordinal || entry->count != count || entry->chosen >= count)
        cannot_repeat();
    engine->trail_position++;
    return entry->chosen;
}

static unsigned extend_trail(enum choice kind, uint32_t ordinal, unsigned count)
{
    if (engine->search == SEARCH_REPLAY)
        return 0;
    if (engine->trail_length == MOST_CHOICES)
        explore_fail("a run with too many choices for the explorer");
    unsigned chosen = engine->search == SEARCH_RANDOM ? random_choice(kind, count) : 0;
    engine->trail[engine->trail_length++] =
        (struct trail_entry){.ordinal = ordinal, .chosen = chosen, .count = count};
    engine->trail_position++;
    return chosen;
}

unsigned choose(enum choice kind, unsigned count)
{
    uint32_t ordinal = engine->ordinal++;
    bool is_new = engine->trail_position == engine->trail_length;
    if (!is_new && engine->trail[engine->trail_position].ordinal < ordinal)
        cannot_repeat();
    if (count <= 1 || !is_offered(kind))
        return 0;
    unsigned chosen = is_new ? extend_trail(kind, ordinal, count) : follow_trail(ordinal, count);
    if (chosen != 0 && is_odd(kind)) {
        engine->spent[kind]++;
        engine->spent_together++;
    }
    return chosen;
}

unsigned explore_choose(unsigned count)
{
    return choose(CHOICE_FREE, count);
}

/* ---- fibres ---- */

static void enter(unsigned next)
{
    struct fibre *fibre = &engine->fibres[next];
    engine->current = next;
    system_load_self(fibre->self);
    if (fibre->started)
        _longjmp(fibre->resume, 1);
    fibre->started = true;
    setcontext(&fibre->start);
    abort(); /* setcontext does not return */
}

static void switch_to(unsigned next)
{
    struct fibre *fibre = &engine->fibres[engine->current];
    if (next == engine->current)
        return;
    system_save_self(fibre->self);
    if (_setjmp(fibre->resume) == 0)
        enter(next);
}

/* A look at memory as it is: no access of anybody's. */
static bool is_met(bool (*ready)(const void *context), const void *context)
{
    engine->inside = false;
    bool met = ready(context);
    engine->inside = true;
    return met;
}

static bool can_run(const struct fibre *fibre)
{
    return fibre->state == STATE_READY ||
           (fibre->state == STATE_BLOCKED && is_met(fibre->ready, fibre->context));
}

/*
 * Who yields again lets go first whoever could have run since it last yielded, and did not (M. Musuvathi, S. Qadeer,
 * "Fair stateless model checking", 2008). So threads that spin never keep the one they wait for from its turn, and a
 * run that never ends is a livelock.
 */
static void note_yield(struct fibre *self)
{
    unsigned others = 0;
    for (unsigned i = 1; i <= engine->threads; i++) {
        const struct fibre *fibre = &engine->fibres[i];
        if (fibre != self && (fibre->state == STATE_YIELDED || can_run(fibre)))
            others |= 1u << i;
    }
    self->lets_go_before |= others & ~self->ran_since;
    self->ran_since = 0;
}

static void note_turn(void)
{
    unsigned bit = 1u << engine->current;
    for (unsigned i = 1; i <= engine->threads; i++) {
        engine->fibres[i].ran_since |= bit;
        engine->fibres[i].lets_go_before &= ~bit;
    }
}

static bool must_let_others_go(const struct fibre *fibre)
{
    for (unsigned i = 1; i <= engine->threads; i++) {
        if ((fibre->lets_go_before >> i & 1) && can_run(&engine->fibres[i]))
            return true;
    }
    return false;
}

/* Adds those that can go on, but for the current thread. */
static void add_candidates(unsigned *count)
{
    for (unsigned i = 1; i <= engine->threads; i++) {
        const struct fibre *fibre = &engine->fibres[i];
        if (i != engine->current && can_run(fibre) && !must_let_others_go(fibre))
            engine->candidates[(*count)++] = (uint8_t)i;
    }
}

static void add_yielded(unsigned *count)
{
    for (unsigned i = 1; i <= engine->threads; i++) {
        if (i != engine->current && engine->fibres[i].state == STATE_YIELDED)
            engine->candidates[(*count)++] = (uint8_t)i;
    }
}

/* Wakes, before its time, a thread that sleeps with one: nothing else can happen. */
static bool let_time_pass(void)
{
    unsigned count = 0;
    for (unsigned i = 1; i <= engine->threads; i++) {
        if (engine->fibres[i].state == STATE_BLOCKED && engine->fibres[i].may_end)
            engine->candidates[count++] = (uint8_t)i;
    }
    if (count == 0)
        return false;
    struct fibre *fibre = &engine->fibres[engine->candidates[choose(CHOICE_NEXT, count)]];
    fibre->ended_early = true;
    fibre->state = STATE_READY;
    engine->time += 1000000000;
    return true;
}

/* The current thread cannot go on. */
static void go_elsewhere(void)
{
    for (;;) {
        unsigned count = 0;
        add_candidates(&count);
        if (count == 0)
            add_yielded(&count);
        if (count == 0 && engine->fibres[engine->current].state == STATE_YIELDED)
            engine->candidates[count++] = (uint8_t)engine->current;
        if (count != 0) {
            unsigned next = engine->candidates[choose(CHOICE_NEXT, count)];
            engine->fibres[next].state = STATE_READY;
            switch_to(next);
            return;
        }
        struct fibre *self = &engine->fibres[engine->current];
        if (!let_time_pass())
            break;
        if (self->state == STATE_READY)
            return;
    }
    for (unsigned i = 1; i <= engine->threads; i++) {
        if (engine->fibres[i].state != STATE_DONE)
            explore_fail("deadlock: thread %u waits for ever", i);
    }
    _longjmp(engine->main, 1);
}

static void wake_yielded(void)
{
    for (unsigned i = 1; i <= engine->threads; i++) {
        if (i != engine->current && engine->fibres[i].state == STATE_YIELDED) {
            engine->fibres[i].state = STATE_READY;
            engine->fibres[i].yields = 0;
        }
    }
}

/* In a random run: here the thread that is ahead falls behind all others. */
static void pass_change_point(void)
{
    engine->visible_steps++;
    for (uint32_t i = 0; i < engine->changes; i++) {
        if (engine->change_points[i] == engine->visible_steps)
            engine->fibres[engine->current].priority = i;
    }
}

void step(bool visible)
{
    if (!engine->running)
        return;
    if (++engine->steps > RUN_LIMIT)
        explore_fail("livelock: more than %d steps", RUN_LIMIT);
    note_turn();
    wake_yielded();
    if (!visible && engine->search != SEARCH_REPLAY) { /* whose trail may know better */
        engine->ordinal++;
        return;
    }
    pass_change_point();
    engine->candidates[0] = (uint8_t)engine->current;
    unsigned count = 1;
    add_candidates(&count);
    unsigned next = engine->candidates[choose(CHOICE_PREEMPT, count)];
    engine->fibres[next].state = STATE_READY;
    switch_to(next);
}

void explore_yield(void)
{
    if (!engine->running)
        return;
    struct fibre *self = &engine->fibres[engine->current];
    note_turn();
    if (++self->yields > IDLE_YIELDS)
        explore_fail("deadlock: thread %u waits for what nobody will do", engine->current);
    engine->time += 1000000 * (int64_t)self->yields; /* the faster, the longer nothing happens */
    if (self->yields % PATIENCE == 0)
        let_time_pass();
    note_yield(self);
    self->state = STATE_YIELDED;
    self->priority = engine->search == SEARCH_RANDOM && self->priority > 0 ? self->priority - 1 : 0;
    go_elsewhere();
}

bool block(bool (*ready)(const void *context), const void *context, bool may_end)
{
    if (is_met(ready, context))
        return true;
    if (!engine->running)
        explore_fail("deadlock: set_up or finish waits for ever");
    struct fibre *self = &engine->fibres[engine->current];
    if (may_end && choose(CHOICE_FAILURE, 2) != 0) {
        step(true);
        return false;
    }
    self->ready = ready;
    self->context = context;
    self->may_end = may_end;
    self->ended_early = false;
    self->state = STATE_BLOCKED;
    go_elsewhere();
    return !self->ended_early;
}

void explore_wait(bool (*ready)(const void *context), const void *context)
{
    block(ready, context, false);
}

void explore_fork(void)
{
    system_before_fork();
    step(true);
    for (unsigned i = 1; i <= engine->threads; i++) {
        if (i != engine->current)
            engine->fibres[i].state = STATE_DONE;
    }
    memory_join_threads(engine->threads);
    trace(__builtin_return_address(0), "is a fork's child");
    system_after_fork();
}

static void fibre_main(void)
{
    engine->scenario->threads[engine->current - 1]();
    system_thread_ends();
    engine->fibres[engine->current].state = STATE_DONE;
    wake_yielded();
    go_elsewhere();
    abort();
}

/* ---- a run ---- */

void explore_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(engine->message, sizeof engine->message, format, arguments);
    va_end(arguments);
    engine->failed = true;
    if (!engine->inside) {
        fprintf(stderr, "explorer: %s\n", engine->message);
        exit(2);
    }
    trace(__builtin_return_address(0), "FAILS: %s", engine->message);
    _longjmp(engine->main, 2);
}

void explore_outcome(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(engine->outcome, sizeof engine->outcome, format, arguments);
    va_end(arguments);
}

unsigned explore_self(void)
{
    return engine->running ? engine->current : 0;
}

static void begin_run(void)
{
    memcpy(__data_start, saved_statics, (size_t)(_end - __data_start));
    engine->running = engine->failed = false;
    engine->current = 0;
    engine->steps = 0;
    engine->message[0] = engine->outcome[0] = '\0';
    engine->time = 1000000000;
    engine->heavy_fences = engine->refusals = 0;
    engine->trail_position = engine->ordinal = 0;
    memset(engine->spent, 0, sizeof engine->spent);
    engine->spent_together = 0;
    engine->visible_steps = 0;
    engine->threads = 0;
    while (engine->threads < EXPLORE_MOST_THREADS &&
           engine->scenario->threads[engine->threads] != NULL)
        engine->threads++;
    for (unsigned i = 0; i < THREADS; i++) {
        struct fibre *fibre = &engine->fibres[i];
        fibre->started = false;
        fibre->state = i != 0 && i <= engine->threads ? STATE_READY : STATE_NONE;
        fibre->yields = 0;
        fibre->ran_since = ~0u;
        fibre->lets_go_before = 0;
        fibre->may_end = false;
        memset(fibre->self, 0, sizeof fibre->self);
        memset(fibre->values, 0, sizeof fibre->values);
        makecontext(&fibre->start, fibre_main, 0);
    }
    system_load_self(engine->fibres[0].self);
    memory_begin_run();
    plain_begin_run();
    space_begin_run();
    system_begin_run();
    engine->inside = true;
}

static void start_threads(void)
{
    memory_start_threads(engine->threads);
    system_save_self(engine->fibres[0].self);
    engine->running = true;
    unsigned count = 0;
    for (unsigned i = 1; i <= engine->threads; i++)
        engine->candidates[count++] = (uint8_t)i;
    enter(engine->candidates[choose(CHOICE_NEXT, count)]);
}

static void finish_run(void)
{
    engine->running = false;
    engine->current = 0;
    system_load_self(engine->fibres[0].self);
    memory_join_threads(engine->threads);
    if (engine->scenario->finish != NULL)
        engine->scenario->finish();
    system_thread_ends();
    const char *left = engine->scenario->leaks ? NULL : plain_left_over();
    if (left != NULL)
        explore_fail("%s", left);
}

static void run(void)
{
    begin_run();
    switch (_setjmp(engine->main)) {
    case 0:
        if (engine->scenario->set_up != NULL)
            engine->scenario->set_up();
        start_threads();
        abort(); /* it goes on in `case 1` */
    case 1:
        finish_run();
        break;
    default:
        break;
    }
    engine->running = engine->inside = false;
    plain_end_run();
    space_end_run();
}

/* ---- the search ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* whatever else the machine does */
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The next trail in depth-first order; false: there is none. */
static bool advance_trail(void)
{
    struct trail_entry *trail = engine->trail;
    uint32_t length = engine->trail_length;
    while (length > 0 && trail[length - 1].chosen + 1 >= trail[length - 1].count)
        length--;
    engine->trail_length = length;
    if (length == 0)
        return false;
    trail[length - 1].chosen++;
    return true;
}

static void note_outcome(struct search_result *result)
{
    if (engine->outcome[0] == '\0')
        return;
    for (unsigned i = 0; i < result->outcome_count; i++) {
        if (strcmp(result->outcomes[i], engine->outcome) == 0)
            return;
    }
    if (result->outcome_count <= EXPLORE_MOST_OUTCOMES)
        strcpy(result->outcomes[result->outcome_count++], engine->outcome);
}

/* One run, noted. False: it failed. */
static bool try_run(struct search_result *result)
{
    run();
    result->runs++;
    if (engine->steps > result->most_steps)
        result->most_steps = engine->steps;
    note_outcome(result);
    return !engine->failed;
}

/* All runs with at most `together` odd choices. False: one failed, or time is up. */
static bool search_round(unsigned together, double until, struct search_result *result)
{
    engine->search = SEARCH_DEPTH_FIRST;
    engine->unbounded = false;
    engine->together = together;
    do {
        engine->cut = engine->fame_grew = false;
        engine->trail_length = 0;
        do {
            if (!try_run(result) || now() > until)
                return false;
        } while (advance_trail());
    } while (engine->fame_grew);
    return true;
}

static void search_depth_first(double until, struct search_result *result)
{
    for (unsigned together = 0; together <= engine->bounds.together; together++) {
        if (!search_round(together, until, result))
            return;
        result->rounds = together + 1;
        if (!engine->cut)
            break;
    }
    result->exhausted = true;
}

static void begin_random_run(uint64_t seed, uint32_t expected)
{
    engine->search = SEARCH_RANDOM;
    engine->unbounded = true;
    engine->trail_length = 0;
    engine->random = seed;
    static const uint32_t chances[] = {0, 4, 16, 64};
    engine->odd_chance = chances[random_below(4)];
    engine->changes = random_below(5);
    for (uint32_t i = 0; i < engine->changes; i++)
        engine->change_points[i] = 1 + random_below(expected != 0 ? expected : 1);
    for (unsigned i = 1; i < THREADS; i++)
        engine->fibres[i].priority = 8 + random_below(1u << 20);
}

static void search_random(double until, uint64_t seed, uint64_t most, struct search_result *result)
{
    uint32_t expected = engine->visible_steps;
    for (uint64_t i = 0; i < most && now() < until; i++) {
        result->seed = seed + i;
        begin_random_run(result->seed, expected);
        result->random_runs++;
        if (!try_run(result))
            return;
        if (engine->visible_steps > expected)
            expected = engine->visible_steps;
    }
}

static unsigned bound(unsigned given, unsigned usual)
{
    return given == 0 ? usual : given == EXPLORE_NONE ? 0 : given;
}

static void choose_scenario(const struct explore_scenario *scenario)
{
    const struct explore_bounds *given = &scenario->bounds;
    engine->scenario = scenario;
    engine->bounds = (struct explore_bounds){
        .preemptions = bound(given->preemptions, 2),
        .stale = bound(given->stale, 2),
        .reorders = bound(given->reorders, 1),
        .failures = bound(given->failures, 1),
        .together = bound(given->together, 3),
    };
}

void search(const struct explore_scenario *scenario, const struct search_limits *limits,
            struct search_result *result)
{
    memset(result, 0, sizeof *result);
    choose_scenario(scenario);
    double begin = now();
    if (limits->only_random)
        result->exhausted = false;
    else
        search_depth_first(begin + limits->seconds * 0.7, result);
    bool litmus = scenario->outcomes[0] != NULL && result->exhausted;
    if (!engine->failed && !litmus)
        search_random(begin + limits->seconds * (result->exhausted ? 0.3 : 1), limits->seed,
                      limits->random_runs, result);
    result->failed = engine->failed;
    result->seconds = now() - begin;
    memcpy(result->message, engine->message, sizeof result->message);
}

const struct explore_scenario *search_scenario(void)
{
    return engine->scenario;
}

/* ---- trails ---- */

/* `b` and the bound, or `r` for a random run; then the choices that were not 0, by their ordinals. */
void trail_print(FILE *to)
{
    fprintf(to, "%s%u", engine->unbounded ? "r" : "b", engine->together);
    for (uint32_t i = 0; i < engine->trail_length; i++) {
        if (engine->trail[i].chosen != 0)
            fprintf(to, ",%u:%u", engine->trail[i].ordinal, engine->trail[i].chosen);
    }
    fprintf(to, "\n");
}

static bool read_trail(const char *text)
{
    if (text[0] != 'r' && text[0] != 'b')
        return false;
    engine->unbounded = text[0] == 'r';
    char *rest;
    engine->together = (unsigned)strtoul(text + 1, &rest, 10);
    engine->trail_length = 0;
    while (*rest == ',' && engine->trail_length < MOST_CHOICES) {
        struct trail_entry *entry = &engine->trail[engine->trail_length++];
        *entry = (struct trail_entry){.ordinal = (uint32_t)strtoul(rest + 1, &rest, 10)};
        if (*rest != ':')
            return false;
        entry->chosen = (uint32_t)strtoul(rest + 1, &rest, 10);
    }
    return *rest == '\0';
}

bool trail_replay(const struct explore_scenario *scenario, const char *trail)
{
    choose_scenario(scenario);
    engine->search = SEARCH_REPLAY;
    if (!read_trail(trail))
        return false;
    engine->tracing = true;
    trace_start();
    run();
    engine->tracing = false;
    return true;
}

/* Runs the trail of the last run again, and tells it. */
void trail_tell(void)
{
    engine->search = SEARCH_REPLAY;
    engine->tracing = true;
    trace_start();
    run();
    engine->tracing = false;
    trace_print();
}

void search_start(void)
{
    engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        abort();
    memory_start();
    plain_start();
    space_start();
    for (unsigned i = 0; i < THREADS; i++) {
        struct fibre *fibre = &engine->fibres[i];
        fibre->stack = malloc(STACK_SIZE);
        if (fibre->stack == NULL || getcontext(&fibre->start) != 0)
            abort();
        fibre->start.uc_stack.ss_sp = fibre->stack;
        fibre->start.uc_stack.ss_size = STACK_SIZE;
    }
    size_t size = (size_t)(_end - __data_start);
    saved_statics = malloc(size);
    if (saved_statics == NULL)
        abort();
    memcpy(saved_statics, __data_start, size);
}
