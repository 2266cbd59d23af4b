/* ebr.pml: a spin model of the epoch protocol. ESSAY */

#ifndef STEPS
#define STEPS 2
#endif
#ifndef SECTIONS0
#define SECTIONS0 1
#endif
#ifndef SECTIONS1
#define SECTIONS1 2
#endif

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

#define REMOVER 2
#define NONE 15
#define DEAF 255
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define raise(a, b) a = MAX(a, b)

#ifdef TRACE
#define say(...) printf(__VA_ARGS__)
#else
#define say(...) skip
#endif

/* ---- Locations: the messages of each, oldest first ---- */

typedef pair {
    byte by[2]
}

typedef view {
    byte g;
    byte p;
    byte count;
    byte high;
    byte e[2];
    byte deref[2]
}

byte g_value[G_MESSAGES] = FIRST_EPOCH;
byte g_p[G_MESSAGES];
pair g_deref[G_MESSAGES];
byte g_last;

byte p_last;
byte high_last;

typedef record {
    byte value[E_MESSAGES];
    pair deref[E_MESSAGES];
    byte last;
    bool taken;
    pair given
}
record rec[2];

typedef counter {
    byte value[COUNT_MESSAGES];
    view seen[COUNT_MESSAGES];
    byte last
}
counter registered;
counter overflow;

view fence;

view known[4];
#define MY known[me]
view sent[2];
#define MINE sent[me - REMOVER]
bool attached[2];
bool looking[2];
#ifdef LIGHT_ONLY
view at_light[2];
view pending[2];
#endif

bool reclaimed[OBJECTS + 1];
pair last_deref[OBJECTS + 1];
bool settled;

/* ---- Views ---- */

inline hear(a, b)
{
    raise(a.g, b.g);
    raise(a.p, b.p)
}

inline tell(a, b)
{
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

/* One other thread's part in heavy() */
inline interrupt(r)
{
    if
    :: attached[r] ->
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
#define G_OLDEST(i) (i == MY.g || g_value[i - (i > 0)] != g_value[i])
#endif

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
#ifdef EVERY_MESSAGE
#define HOPE(version) true
#elif defined(PIN_RELAXED)
#define HOPE(version) (x != NONE || MY.p < OBJECTS)
#else
#define HOPE(version) (x != NONE || MY.p < OBJECTS && version < OBJECTS)
#endif

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
    raise(high_last, r + 1);
    MY.high = r + 1;
    count_add(registered, 1, REGISTERED_HISTORY);
    attached[me] = true;
    say("reader %d attaches with id %d\n", me, r)
}

inline detach()
{
    count_add(registered, -1, REGISTERED_HISTORY);
    if
    :: !attached[1 - me] ->
        rec[r].given.by[0] = MY.deref[0];
        rec[r].given.by[1] = MY.deref[1]
    :: else
    fi;
    rec[r].taken = false;
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

/* r->nest++ == 0 */
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

proctype reader(byte me; byte sections)
{
    byte r, n, nest, epoch, x = NONE;
    bool foreign;

    if
    :: d_step { sections > 0 && !NO_RECORD && !rec[0].taken -> attach(0) }
    :: d_step { sections > 0 && !NO_RECORD && !rec[1].taken && rec[0].last + rec[0].taken > 0 -> attach(1) }
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
       :: me == 1 && n == 0 -> pin(); nest--
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
#define SCAN_ACQUIRE(i, j) raise(MY.deref[0], rec[i].deref[j].by[0]); raise(MY.deref[1], rec[i].deref[j].by[1])
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

/* heavy() skips nobody... */
#if defined(LIGHT_ONLY) || defined(EVERY_MESSAGE)
#define SPARES(r) true
#else
#define SPARES(r) (!looking[r] || MINE.p < OBJECTS)
#endif

inline heavy()
{
    if
    :: d_step { SPARES(0) -> interrupt(0) };
       d_step { SPARES(1) -> interrupt(1); forget(MINE); say("remover %d: heavy barrier done\n", me) }
    :: d_step { SPARES(1) -> interrupt(1) };
       d_step { SPARES(0) -> interrupt(0); forget(MINE); say("remover %d: heavy barrier done\n", me) }
    fi
}

#if defined(HIGH_WATER_BEFORE_TEST) || defined(HIGH_WATER_BEFORE_HEAVY)
#define HIGH n
#else
#define HIGH MY.high
#endif

inline test_registered()
{
#ifdef HIGH_WATER_BEFORE_TEST
    n = MY.high;
#endif
#ifndef REGISTERED_PLAIN_LOAD
    count_add(registered, (first -> 1 : 0), false);
    first = false;
    alone = (registered.value[0] <= SELF);
    if
    :: !alone -> hear(MINE, MY)
    :: else
    fi;
#endif
#ifdef HIGH_WATER_BEFORE_HEAVY
    n = MY.high;
#endif
    skip
}

#define STEP_LOAD(i) \
    :: d_step { \
        G_READABLE(i) && G_OLDEST(i) && g_value[i] == g_value[g_last] && g_value[i] < LAST_EPOCH && !settled -> \
            MY.g = i; \
            g_acquire(i); \
            g = g_value[i]; \
            test_registered(); \
            say("remover %d would step from %d, alone %d\n", me, g, alone) \
    }

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

#define CAN(i, j) (j >= MY.e[i] && j <= rec[i].last && (rec[i].value[j] == 0 || rec[i].value[j] == g))
#define CAN_7(i) (CAN(i, 0) || CAN(i, 1) || CAN(i, 2) || CAN(i, 3) || CAN(i, 4) || CAN(i, 5) || CAN(i, 6))
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
#define TAG_LOAD(i) :: d_step { G_READABLE(i) && G_OLDEST(i) -> MY.g = i; g_acquire(i); tag = g_value[i] }

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
        run remover(3, true)
    }
}
