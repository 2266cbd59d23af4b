/*
 * ebr.pml: a spin model of the epoch protocol (guarantees E1 and E2). tests/model/spin/run.sh runs it.
 *
 * Two readers pin, find an object through a shared pointer P, look at it twice and unpin; a remover
 * unlinks two objects, seals them as one batch, steps the epoch and reclaims; a collector (a second
 * remover under TWO_REMOVERS) steps the epoch, too. Readers attach late and detach; ids are reused.
 *
 *
 * The memory
 *
 * Not one value per location, but the list of its messages: all that was ever stored there, oldest
 * first. A thread's view says for each location which message it may no longer read past. So:
 *
 *     a load        takes any message from the view onward: it may be stale
 *     an acquire    also takes over the view that the message carries
 *     a release     leaves the writer's view in the message
 *     a relaxed     store carries what the same thread's last release to that location carried
 *                   (C11's release sequence); relaxed loads take over nothing
 *     an RMW        takes the newest message and passes on what that one carried
 *     fence_sc()    exchanges views with one global view
 *     heavy()       interrupts each other thread at one point of its program, in any order, and
 *                   exchanges views with it there
 *     light()       only keeps the program in order, which a model does anyway
 *
 * That is C11 without reads from the future, and it contains the reordering that matters. A pin's
 * store that sits in a store buffer is a message of `e` that no remover must see yet; a reader's
 * load that runs ahead of its pin's store is a load of P that returns an old message. An interrupt
 * that drains the buffer makes the message known to the remover; one that falls between the pin's
 * load of G and its store finds nothing to drain, and the remover steps on.
 *
 * The model's memory is even weaker than C11, which only makes a pass say more: P carries no order
 * at all (relaxed RMW, relaxed loads), nor does high_water; readers pass on what they did, never
 * what they heard from others; removers forget between two steps what they read of the records; a
 * thread that has not attached is not interrupted.
 *
 * Two assertions. A look at an object finds it not reclaimed. And reclaiming needs every look that
 * has happened to happen before it: the remover's view counts each reader's looks (`deref`), as a
 * race detector would. The second is what catches a missing release or acquire; the first, what
 * reads too late.
 *
 *
 * The argument of the protocol, step by step
 *
 * A section is pinned at e and holds X; U is X's unlink, t its batch's tag.
 *
 * 1. e > t. SEAL is an RMW on G after the last UNLINK, and g_p[] carries P's version along G's
 *    messages; PIN_LOAD takes it over and P_LOAD cannot return X. TAG_PLAIN_LOAD, TAG_EARLY,
 *    SEAL_RELAXED and PIN_RELAXED each cut this, and must fail.
 * 2. e <= t. PIN_LOAD may return any old epoch; its store comes any time later. The step from t+1
 *    to t+2 loads G (so it knows U), then heavy() passes U to each reader: a section whose barrier
 *    comes later sees U. LIGHT_ONLY weakens heavy() to exactly this use: what a reader did before
 *    its last light() becomes known, and what heavy() brings takes effect at its next one.
 *    NO_HEAVY and GRACE_ONE_STEP (t+1 would do) must fail.
 * 3. Otherwise heavy() has made the store known: `e` in the remover's view; the scan takes that
 *    message or a later one, and e != t+1 stops it. A later message carries the looks of the
 *    section, by its release unpin or by the release sequence behind that. UNPIN_RELAXED,
 *    SCAN_RELAXED, ADVANCE_RELAXED and RECLAIM_RELAXED (who reclaims need not be who stepped) must
 *    fail; so must NESTED_REPIN, where an inner pin replaces the outer epoch.
 * 4. Registration. A reader raises high_water, then adds itself to `registered`; a remover tests
 *    that by an RMW and skips heavy() when alone: who attaches later has acquired U.
 *    REGISTERED_PLAIN_LOAD and COUNTS_RELAXED must fail.
 * 5. A detached reader's id is taken over with all it did. ID_RELAXED must fail.
 * Fence mode: G is odd, pin() fences, advance() fences in place of heavy(). Either fence left out
 * (NO_PIN_FENCE; NO_HEAVY) must fail.
 *
 *
 * What the model found, beyond the protocol as first written down
 *
 * - attach must store_rel(e, 0) (or the first pin must release). A new owner's relaxed store does
 *   not continue the release sequence of the old owner's unpin; a scan that reads it has not
 *   acquired the old owner's looks. ATTACH_WITHOUT_RELEASE must fail. Hardware we know of orders
 *   this all the same; C11 does not.
 * - The second half of point 3 is C11's release sequence, which C++20 shortened to RMWs:
 *   RELEASE_SEQUENCE_CXX20 must fail. A pin inlined into C++20 owes its correctness to the machine.
 * - G must not start at 0, which in a record means unpinned. EPOCH_ZERO must fail.
 * - Threads without a record. A pin that counts itself into `overflow` by an RMW and a fence,
 *   tested by a plain load after the barrier, is unsound where the barrier is skipped, since such
 *   a thread is not registered: OVERFLOW_AS_WRITTEN must fail; with ALWAYS_HEAVY it passes. Sound
 *   and cheaper (OVERFLOW_READER): pin and unpin are acq_rel RMWs without a fence, and the stepper
 *   tests by fetch_add(overflow, 0, acq_rel) after its load of G. A pin before that RMW is counted
 *   or has passed on its looks; a pin after it has acquired U. A plain load there
 *   (OVERFLOW_PLAIN_LOAD) must fail.
 * - A stepper that is not attached itself is alone when `registered` is 0, not 1.
 *   UNATTACHED_REMOVER passes with that test, UNATTACHED_MISCOUNTED must fail without.
 * - high_water need not be read after heavy(), only after the RMW on `registered`, which has
 *   acquired it: HIGH_WATER_BEFORE_HEAVY passes, HIGH_WATER_BEFORE_TEST must fail.
 * - heavy() must reach threads that have detached since the test: HEAVY_SPARES_DETACHED must fail.
 *   A process-wide barrier does; signalling the registered threads would not.
 * - A repin (REPIN: unpin and pin in one store) must release: REPIN_RELAXED must fail.
 *
 *
 * What is left out
 *
 * Refusals: where advance() would give up and try again, the model waits at that place, keeping
 * less order than a retry; the cheap refusals only refuse more. heavy() that fails: nothing
 * happens then. Removers that are pinned, fork, lists taken over from other threads, destructors.
 * G never wraps. Removers are not interrupted by each other's heavy(): nothing rests on it.
 *
 * To keep the search small, steps that no other thread can tell apart are one step: loads of a
 * remover move to its next store, since its view is its own; the second look moves to the unpin,
 * since what is reclaimed stays so; a detach follows its unpin at once. A detached or sealed thing
 * is reset. And what another run does better is left out: of several messages with the same value
 * the oldest is read, as it brings the smallest view; no section is followed that can no longer
 * find a doomed object, as it could only hold up the removers. EVERY_MESSAGE undoes this last
 * paragraph's second half, and is a check on it.
 *
 * Sizes: STEPS of the epoch, SECTIONS0 and SECTIONS1 of the readers, COLLECTORS (1 or 0).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef STEPS
#define STEPS 2
#endif
#ifndef COLLECTORS
#define COLLECTORS 1
#endif
#ifndef SECTIONS0
#define SECTIONS0 1
#endif
#ifndef SECTIONS1
#define SECTIONS1 2
#endif

/* These break what lets the search leave sections out: see the end of the essay. */
#if defined(ATTACH_WITHOUT_RELEASE) || defined(RELEASE_SEQUENCE_CXX20) || defined(REPIN_RELAXED)
#define EVERY_MESSAGE
#endif

#ifdef FENCE_MODE
#define FIRST_EPOCH 3
#elif defined(EPOCH_ZERO)
#define FIRST_EPOCH 0
#else
#define FIRST_EPOCH 2
#endif
#define LAST_EPOCH (FIRST_EPOCH + 2 * STEPS)

#ifdef GRACE_ONE_STEP
#define GRACE 2
#else
#define GRACE 4
#endif

#ifdef TWO_REMOVERS
#define BATCH(who) (who == REMOVER -> 2 : 1)
#define OBJECTS 3
#else
#define BATCH(who) (who == REMOVER -> 2 : 0)
#define OBJECTS 2
#endif

#ifdef UNATTACHED_REMOVER
#define SELF (me == REMOVER -> 0 : 1)
#define ATTACHED_AT_START 0
#elif defined(UNATTACHED_MISCOUNTED)
#define SELF 1
#define ATTACHED_AT_START 0
#else
#define SELF 1
#define ATTACHED_AT_START 1
#endif

#ifdef OVERFLOW_READER
#define NO_RECORD (me == 1)
#else
#define NO_RECORD false
#endif

#if defined(OVERFLOW_PLAIN_LOAD) || defined(OVERFLOW_AS_WRITTEN)
#define OVERFLOW_HISTORY 1
#else
#define OVERFLOW_HISTORY 0
#endif
#ifdef REGISTERED_PLAIN_LOAD
#define REGISTERED_HISTORY 1
#else
#define REGISTERED_HISTORY 0
#endif

#define G_MESSAGES (STEPS + 3)
#if SECTIONS0 + SECTIONS1 > 2 || defined(NESTED_REPIN)
#define LONG_SCAN
#define E_MESSAGES 9
#else
#define E_MESSAGES 7
#endif
#if OVERFLOW_HISTORY || REGISTERED_HISTORY
#define COUNT_MESSAGES 6
#else
#define COUNT_MESSAGES 1
#endif

#define REMOVER 2 /* readers are 0 and 1, removers 2 and 3 */
#define NONE 15   /* no object */
#define DEAF 255  /* the view of a reader that has ended: nothing is news to it */
#define raise(a, b) a = ((a) > (b) -> (a) : (b))

#ifdef TRACE
#define say(...) printf(__VA_ARGS__)
#else
#define say(...) skip
#endif

/* ---- The memory: the messages of each location, oldest first ---- */

/* Something of each reader. */
typedef pair {
    byte by[2]
}

/* The newest message known of each location, and how many looks of each reader. */
typedef view {
    byte g;
    byte p;
    byte count; /* of `registered` or `overflow`, whichever a variant loads plainly */
    byte high;
    byte e[2];
    byte deref[2]
}

/* G: of the views that its messages carry, what anyone uses. */
byte g_value[G_MESSAGES] = FIRST_EPOCH;
byte g_p[G_MESSAGES];
pair g_deref[G_MESSAGES];
byte g_last;

/* P: message i is object i, unlinked by message i + 1. */
byte p_last;

/* high_water: message i is i. */
byte high_last;

/* The records: e's messages, of their views the looks, and who has the id. */
typedef record {
    byte value[E_MESSAGES];
    pair deref[E_MESSAGES];
    byte last;
    bool taken;
    pair given /* the view left behind in the id */
}
record rec[2];

/* Written by RMWs only: one message is enough unless a variant loads it plainly. */
typedef counter {
    byte value[COUNT_MESSAGES];
    view seen[COUNT_MESSAGES];
    byte last
}
counter registered;
counter overflow;

/* The view that sequentially consistent fences exchange. */
view fence;

/* ---- The threads ---- */

view known[4];
#define MY known[me]
view sent[2]; /* a remover's view when its barrier began */
#define MINE sent[me - REMOVER]
bool arrived[2]; /* heavy() reaches it */
bool looking[2]; /* between its pin's load of G and its load of P */
#ifdef LIGHT_ONLY
view at_light[2]; /* a reader's view at its last light barrier */
view pending[2];  /* what has reached it since */
#endif

bool reclaimed[OBJECTS + 1];
pair last_deref[OBJECTS + 1];
bool settled; /* all is reclaimed: no more steps */

/* ---- Views ---- */

/* What readers take over. */
inline hear(a, b)
{
    raise(a.g, b.g);
    raise(a.p, b.p)
}

/* What readers pass on. Removers do both. */
inline tell(a, b)
{
    raise(a.count, b.count);
    raise(a.high, b.high);
    raise(a.e[0], b.e[0]);
    raise(a.e[1], b.e[1]);
    raise(a.deref[0], b.deref[0]);
    raise(a.deref[1], b.deref[1])
}

inline forget(a)
{
    a.g = 0;
    a.p = 0;
    a.count = 0;
    a.high = 0;
    a.e[0] = 0;
    a.e[1] = 0;
    a.deref[0] = 0;
    a.deref[1] = 0
}

/* fetch_add(c, delta, acq_rel) */
inline count_add(c, delta, history)
{
    if
    :: history ->
        c.value[c.last + 1] = c.value[c.last];
        hear(c.seen[c.last + 1], c.seen[c.last]);
        tell(c.seen[c.last + 1], c.seen[c.last]);
        c.last++;
        MY.count = c.last
    :: else
    fi;
    c.value[c.last] = c.value[c.last] + delta;
#ifdef COUNTS_RELAXED
    skip
#else
    hear(MY, c.seen[c.last]);
    if
    :: me < REMOVER -> tell(c.seen[c.last], MY)
    :: else ->
        tell(MY, c.seen[c.last]);
        hear(c.seen[c.last], MY)
    fi
#endif
}

inline fence_sc()
{
    hear(MY, fence);
    if
    :: me < REMOVER -> tell(fence, MY)
    :: else ->
        tell(MY, fence);
        hear(fence, MY)
    fi
}

inline light()
{
#ifdef LIGHT_ONLY
    hear(MY, pending[me]);
    forget(pending[me]);
    tell(at_light[me], MY)
#else
    skip
#endif
}

/* One reader's part in heavy(). */
inline interrupt(r)
{
    if
    :: arrived[r] ->
        say("remover %d interrupts reader %d\n", me, r);
#ifdef LIGHT_ONLY
        tell(MY, at_light[r]);
        hear(pending[r], MINE)
#else
        tell(MY, known[r]);
        hear(known[r], MINE)
#endif
    :: else
    fi
}

/* ---- G ---- */

#define EACH_G(option) option(0) option(1) option(2) option(3) option(4) EACH_G_MORE(option)
#if STEPS > 2
#define EACH_G_MORE(option) option(5)
#else
#define EACH_G_MORE(option)
#endif
#define G_READABLE(i) (i >= MY.g && i <= g_last)
#ifdef EVERY_MESSAGE
#define G_OLDEST(i) true
#else
/* of its value */
#define G_OLDEST(i) (i == MY.g || g_value[i - (i > 0)] != g_value[i])
#endif

/* The rest of load_acq(G), once message i is chosen. */
inline g_acquire(i)
{
    raise(MY.p, g_p[i]);
    if
    :: me >= REMOVER ->
        raise(MY.deref[0], g_deref[i].by[0]);
        raise(MY.deref[1], g_deref[i].by[1])
    :: else
    fi
}

/* fetch_add and CAS on G, acq_rel. */
inline g_rmw(to, releases)
{
    g_acquire(g_last);
    g_value[g_last + 1] = to;
    g_p[g_last + 1] = g_p[g_last];
    g_deref[g_last + 1].by[0] = g_deref[g_last].by[0];
    g_deref[g_last + 1].by[1] = g_deref[g_last].by[1];
    g_last++;
    MY.g = g_last;
    if
    :: releases ->
        g_p[g_last] = MY.p;
        g_deref[g_last].by[0] = MY.deref[0];
        g_deref[g_last].by[1] = MY.deref[1]
    :: else
    fi
}

/* ---- Readers ---- */

#ifdef UNPIN_RELAXED
#define UNPIN_RELEASES false
#else
#define UNPIN_RELEASES true
#endif
#ifdef REPIN
#ifdef REPIN_RELAXED
#define REPIN_RELEASES false
#else
#define REPIN_RELEASES (n > 0)
#endif
#else
#define REPIN_RELEASES false
#endif
#ifdef RELEASE_SEQUENCE_CXX20
#define IN_SEQUENCE false
#else
#define IN_SEQUENCE !foreign
#endif
#ifdef PIN_RELAXED
#define PIN_ACQUIRE(i) skip
#else
#define PIN_ACQUIRE(i) g_acquire(i)
#endif
/* This section may still find a doomed object (or holds one and pins again). */
#ifdef EVERY_MESSAGE
#define HOPE(version) true
#elif defined(PIN_RELAXED)
#define HOPE(version) (x != NONE || MY.p < OBJECTS)
#else
#define HOPE(version) (x != NONE || MY.p < OBJECTS && version < OBJECTS)
#endif

/* store(rec[r].e, to); `foreign`: the message before is another thread's. */
inline e_store(to, releases)
{
    rec[r].last++;
    MY.e[r] = rec[r].last;
    rec[r].value[rec[r].last] = to;
    if
    :: releases ->
        rec[r].deref[rec[r].last].by[0] = MY.deref[0];
        rec[r].deref[rec[r].last].by[1] = MY.deref[1];
        foreign = false
    :: else ->
        if
        :: IN_SEQUENCE ->
            rec[r].deref[rec[r].last].by[0] = rec[r].deref[rec[r].last - 1].by[0];
            rec[r].deref[rec[r].last].by[1] = rec[r].deref[rec[r].last - 1].by[1]
        :: else
        fi
    fi
}

inline attach(id)
{
    r = id;
    rec[r].taken = true;
#ifndef ID_RELAXED
    raise(MY.deref[0], rec[r].given.by[0]);
    raise(MY.deref[1], rec[r].given.by[1]);
#endif
#ifdef ATTACH_WITHOUT_RELEASE
    foreign = true;
#else
    e_store(0, true);
#endif
    raise(high_last, id + 1);
    MY.high = id + 1;
    count_add(registered, 1, REGISTERED_HISTORY);
    arrived[me] = true;
    say("reader %d attaches with id %d\n", me, r)
}

inline detach()
{
    count_add(registered, -1, REGISTERED_HISTORY);
    if
    :: !arrived[1 - me] ->
        rec[r].given.by[0] = MY.deref[0];
        rec[r].given.by[1] = MY.deref[1]
    :: else
    fi;
    rec[r].taken = false;
#ifdef HEAVY_SPARES_DETACHED
    arrived[me] = false;
#endif
    say("reader %d detaches\n", me)
}

#define PIN_LOAD(i) \
    :: d_step { \
        G_READABLE(i) && G_OLDEST(i) && HOPE(g_p[i]) -> \
            MY.g = i; \
            PIN_ACQUIRE(i); \
            epoch = g_value[i]; \
            looking[me] = (x == NONE); \
            say("reader %d pins: loads %d from G\n", me, epoch) \
    }

inline pin_record()
{
    if
    EACH_G(PIN_LOAD)
    fi;
    d_step {
        e_store(epoch, REPIN_RELEASES);
        say("reader %d pins: stores %d\n", me, epoch);
        epoch = 0;
#ifndef FENCE_MODE
        light()
#endif
    }
#if defined(FENCE_MODE) && !defined(NO_PIN_FENCE)
    d_step { fence_sc() }
#endif
}

inline pin_without_record()
{
    d_step {
        HOPE(overflow.seen[overflow.last].p) ->
            count_add(overflow, 1, OVERFLOW_HISTORY);
            say("reader %d pins by the overflow word\n", me)
    }
#ifdef OVERFLOW_AS_WRITTEN
    d_step { fence_sc() }
#endif
}

#ifdef NESTED_REPIN
#define OUTERMOST true
#else
#define OUTERMOST (nest == 0)
#endif

inline pin()
{
    if
    :: NO_RECORD && nest == 0 -> pin_without_record()
    :: !NO_RECORD && OUTERMOST -> pin_record()
    :: else
    fi;
    nest++
}

#define P_LOAD(i) \
    :: d_step { \
        i >= MY.p && i <= p_last -> \
            MY.p = i; \
            x = i; \
            looking[me] = false; \
            say("reader %d finds object %d\n", me, x); \
            assert(!reclaimed[x]) \
    }

/* The second look, and unpin. */
inline leave()
{
    say("reader %d looks at object %d again and unpins\n", me, x);
    assert(!reclaimed[x]);
    nest--;
    MY.deref[me]++;
    last_deref[x].by[me] = MY.deref[me];
    x = NONE;
    if
    :: NO_RECORD -> count_add(overflow, -1, OVERFLOW_HISTORY)
#ifdef REPIN
    :: !NO_RECORD && n + 1 < sections -> skip
    :: !NO_RECORD && n + 1 == sections -> e_store(0, UNPIN_RELEASES)
#else
    :: else -> e_store(0, UNPIN_RELEASES)
#endif
    fi
}

/* Ids are dense. */
#define USED_BEFORE(id) (rec[id].taken || rec[id].last > 0)

proctype reader(byte me; byte sections)
{
    byte r, n, nest, epoch, x = NONE;
    bool foreign;

    if
    :: d_step { sections > 0 && !NO_RECORD && !rec[0].taken -> attach(0) }
    :: d_step { sections > 0 && !NO_RECORD && !rec[1].taken && USED_BEFORE(0) -> attach(1) }
    :: sections > 0 && NO_RECORD
    fi;
    do
    :: pin();
       if
       P_LOAD(0) P_LOAD(1)
#if OBJECTS > 2 || defined(EVERY_MESSAGE)
       P_LOAD(2)
#endif
#if OBJECTS > 2 && defined(EVERY_MESSAGE)
       P_LOAD(3)
#endif
       fi;
       if
       :: me == 1 && n == 0 -> pin(); nest-- /* a nested pin */
       :: else
       fi;
       if
       :: d_step { n + 1 < sections -> leave(); n++ }
       :: d_step {
#ifdef REPIN
            n + 1 == sections ->
#endif
            leave();
            if
            :: NO_RECORD
            :: else -> detach()
            fi;
            r = 0;
            n = 0;
            MY.g = DEAF;
            MY.p = DEAF
          }
          break
       fi
    od
}

/* ---- Removers ---- */

#ifdef SCAN_RELAXED
#define SCAN_ACQUIRE(i, j) skip
#else
#define SCAN_ACQUIRE(i, j) \
    raise(MY.deref[0], rec[i].deref[j].by[0]); \
    raise(MY.deref[1], rec[i].deref[j].by[1])
#endif
#ifdef RECLAIM_RELAXED
#define RECLAIM_ACQUIRE(i) skip
#else
#define RECLAIM_ACQUIRE(i) g_acquire(i)
#endif
#ifdef SEAL_RELAXED
#define SEAL_RELEASES false
#else
#define SEAL_RELEASES true
#endif
#ifdef ADVANCE_RELAXED
#define ADVANCE_RELEASES false
#else
#define ADVANCE_RELEASES true
#endif

/* Interrupting r leaves its section a doomed object to find. */
#if defined(LIGHT_ONLY) || defined(EVERY_MESSAGE)
#define LEAVES_HOPE(r) true
#else
#define LEAVES_HOPE(r) (!looking[r] || MINE.p < OBJECTS)
#endif

inline heavy()
{
    if
    :: d_step { LEAVES_HOPE(0) -> interrupt(0) };
       d_step { LEAVES_HOPE(1) -> interrupt(1); forget(MINE) }
    :: d_step { LEAVES_HOPE(1) -> interrupt(1) };
       d_step { LEAVES_HOPE(0) -> interrupt(0); forget(MINE) }
    fi
}

#if defined(HIGH_WATER_BEFORE_TEST) || defined(HIGH_WATER_BEFORE_HEAVY)
#define HIGH n
#else
#define HIGH MY.high
#endif

#ifdef ALWAYS_HEAVY
#define SKIPS false
#else
#define SKIPS true
#endif

/* fetch_add(registered, 0, acq_rel) > 1; the collector's first time also registers it. */
inline test_registered()
{
#ifdef HIGH_WATER_BEFORE_TEST
    n = MY.high;
#endif
#ifndef REGISTERED_PLAIN_LOAD
    count_add(registered, (first -> 1 : 0), false);
    first = false;
    alone = SKIPS && (registered.value[0] <= SELF);
    if
    :: !alone -> hear(MINE, MY)
    :: else
    fi;
#endif
#ifdef HIGH_WATER_BEFORE_HEAVY
    n = MY.high;
#endif
#ifdef OVERFLOW_AS_WRITTEN
    if
    :: !alone -> fence_sc()
    :: else
    fi;
#endif
    skip
}

#define STEP_LOAD(i) \
    :: d_step { \
        G_READABLE(i) && G_OLDEST(i) && !settled && \
        g_value[i] == g_value[g_last] && g_value[i] < LAST_EPOCH -> \
            MY.g = i; \
            g_acquire(i); \
            g = g_value[i]; \
            test_registered(); \
            say("remover %d loads %d from G, alone: %d\n", me, g, alone) \
    }

/* A plain load of a counter. */
#define COUNT_LOAD(c, i, test) \
    :: d_step { \
        i >= MY.count && i <= c.last && test(c.value[i]) -> \
            MY.count = i; \
            hear(MY, c.seen[i]); \
            tell(MY, c.seen[i]); \
            alone = (c.value[i] <= 1); \
            hear(MINE, MY) \
    }
#define EACH_COUNT(c, test) \
    COUNT_LOAD(c, 0, test) COUNT_LOAD(c, 1, test) COUNT_LOAD(c, 2, test) \
    COUNT_LOAD(c, 3, test) COUNT_LOAD(c, 4, test) COUNT_LOAD(c, 5, test)
#define ANY_COUNT(count) true
#define NOBODY(count) (count == 0)

/* load_acq(rec[i].e) may return message j, and does not stop the step. */
#define CAN(i, j) \
    (j >= MY.e[i] && j <= rec[i].last && (rec[i].value[j] == 0 || rec[i].value[j] == g))
#define CAN_7(i) \
    (CAN(i, 0) || CAN(i, 1) || CAN(i, 2) || CAN(i, 3) || CAN(i, 4) || CAN(i, 5) || CAN(i, 6))
#ifdef LONG_SCAN
#define CAN_ANY(i) (HIGH <= i || CAN_7(i) || CAN(i, 7) || CAN(i, 8))
#define SCAN_MORE(i) SCAN_LOAD(i, 7) SCAN_LOAD(i, 8)
#else
#define CAN_ANY(i) (HIGH <= i || CAN_7(i))
#define SCAN_MORE(i)
#endif

#define SCAN_LOAD(i, j) :: d_step { HIGH > i && CAN(i, j) -> MY.e[i] = j; SCAN_ACQUIRE(i, j) }
#define SCAN_EVERY(i) \
    if \
    :: HIGH <= i \
    SCAN_LOAD(i, 0) SCAN_LOAD(i, 1) SCAN_LOAD(i, 2) SCAN_LOAD(i, 3) \
    SCAN_LOAD(i, 4) SCAN_LOAD(i, 5) SCAN_LOAD(i, 6) SCAN_MORE(i) \
    fi

inline scan_oldest(i)
{
    if
    :: HIGH > i ->
        j = MY.e[i];
        do
        :: CAN(i, j) -> break
        :: else -> j++
        od;
        SCAN_ACQUIRE(i, j);
        j = 0
    :: else
    fi
}

inline advance()
{
    if
    EACH_G(STEP_LOAD)
    fi;
#ifdef REGISTERED_PLAIN_LOAD
    if
    EACH_COUNT(registered, ANY_COUNT)
    fi;
#endif
#ifndef NO_HEAVY
    if
    :: alone -> alone = false
    :: else ->
#ifdef FENCE_MODE
       d_step { fence_sc(); forget(MINE) }
#else
       heavy()
#endif
    fi;
#endif
#if OVERFLOW_HISTORY
    if
    EACH_COUNT(overflow, NOBODY)
    fi;
    alone = false;
#elif defined(OVERFLOW_READER)
    d_step { overflow.value[0] == 0 -> count_add(overflow, 0, false) }
#endif
#ifdef EVERY_MESSAGE
    SCAN_EVERY(0);
    SCAN_EVERY(1);
#endif
    d_step {
        g_value[g_last] == g && CAN_ANY(0) && CAN_ANY(1) ->
#ifndef EVERY_MESSAGE
            scan_oldest(0);
            scan_oldest(1);
#endif
            g_rmw(g + 2, ADVANCE_RELEASES);
            say("remover %d steps from %d\n", me, g);
            forget(MINE);
            MY.high = 0;
            MY.e[0] = 0;
            MY.e[1] = 0;
            alone = false;
            g = 0;
            n = 0
    }
}

#define UNLINK(object) \
    d_step { \
        object = p_last; \
        p_last++; \
        MY.p = p_last; \
        say("remover %d unlinks object %d\n", me, object) \
    }
#define SEAL \
    d_step { \
        g_rmw(g_value[g_last], SEAL_RELEASES); \
        tag = g_value[g_last]; \
        say("remover %d seals with tag %d\n", me, tag) \
    }
#define TAG_LOAD(i) \
    :: d_step { G_READABLE(i) && G_OLDEST(i) -> MY.g = i; g_acquire(i); tag = g_value[i] }

inline reclaim(object)
{
    assert(!reclaimed[object]);
    assert(last_deref[object].by[0] <= MY.deref[0] && last_deref[object].by[1] <= MY.deref[1]);
    last_deref[object].by[0] = 0;
    last_deref[object].by[1] = 0;
    reclaimed[object] = true
}

#define DUE(i) (g_value[i] >= tag + GRACE)
#define RECLAIM(i) \
    :: d_step { \
        x != NONE && G_READABLE(i) && DUE(i) && (i == MY.g || !DUE(i - (i > 0))) -> \
            MY.g = i; \
            RECLAIM_ACQUIRE(i); \
            say("remover %d reclaims its batch\n", me); \
            reclaim(x); \
            if \
            :: y != NONE -> reclaim(y) \
            :: else \
            fi; \
            x = NONE; \
            y = NONE; \
            settled = (OBJECTS == 2) \
    }

proctype remover(byte me; bool first)
{
    byte g, n, j, tag, x = NONE, y = NONE;
    bool alone;

    if
    :: first && (BATCH(me) > 0 || REGISTERED_HISTORY) ->
       d_step { count_add(registered, 1, REGISTERED_HISTORY); first = false }
    :: else
    fi;
    if
    :: BATCH(me) > 0 ->
       UNLINK(x);
#ifdef TAG_EARLY
       SEAL;
#endif
       if
       :: BATCH(me) > 1 -> UNLINK(y)
       :: else
       fi;
#if defined(TAG_PLAIN_LOAD)
       if
       EACH_G(TAG_LOAD)
       fi
#elif !defined(TAG_EARLY)
       SEAL
#endif
    :: else
    fi;
    do
    :: advance()
    EACH_G(RECLAIM)
    od
}

init {
    atomic {
        registered.value[0] = ATTACHED_AT_START;
        run reader(0, SECTIONS0);
        run reader(1, SECTIONS1);
        run remover(2, false);
#if COLLECTORS
        run remover(3, true)
#endif
        skip
    }
}
