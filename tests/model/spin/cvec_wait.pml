/*
 * cvec_wait.pml: a spin model of how a cvec's waiters sleep and are woken (src/cvec_wait.c). run.sh runs it.
 *
 * Two publishers publish elements 0 and 1, in any order; two waiters sleep, the first until there are
 * FIRST_WANTS elements (with GIVES_UP its time may be up whenever it sleeps), the second until there are
 * two. When nothing can move any more, each must have returned: assert(returned == MUST_RETURN). With
 * STOPPED nobody publishes element 1, and who wants one element must return all the same.
 *
 *      waiter                                         publisher
 *      waiters_++                                     ready[i] = 1, release
 *   +> value = event                                  -- light fence --
 *   |  wanted_ = min(wanted_, n)                      if (waiters_ == 0) done
 *   |  -- heavy fence --                              -- full fence --
 *   |  prefix >= n?  done: waiters_--                 if (prefix < wanted_) done
 *   +- sleep until event != value                     wanted_ = none; signal event
 *
 * The memory is that of ebr.pml: each location is the list of its messages, oldest first; a thread's
 * view says which message of each it may no longer read past, so any load may be stale; a release
 * leaves the writer's view in its message, an acquire takes it over, a read-modify-write takes the
 * newest message and passes on what that one carried. A store that sits in a store buffer is a message
 * that nobody must see yet. A full fence exchanges views with one global view. The heavy fence is a
 * full fence of the waiter, then one of each publisher, at any point of its program and in any order,
 * then one of the waiter again. The light fence only keeps the program in order, which a model does
 * anyway.
 *
 * What it says, by what must fail:
 *
 *   NO_HEAVY            a waiter without its fence, which a publisher overlooks
 *   NO_PUBLISHER_FENCE  no full fence before a publisher's look at the prefix. Two publishers, each with its
 *                       byte still in its store buffer, both find the prefix too short: nobody signals.
 *   RMW_FOR_FENCE       an acq_rel read-modify-write of wanted_ in its place: enough on x86, not in C11
 *   VALUE_LATE          the event's value is read after registering: a signal between them is missed
 *   COUNT_LATE          waiters_ is raised after the heavy fence
 *   WANT_LATE           wanted_ is lowered after the heavy fence
 *   REGISTER_ONCE       who woke too early does not put its count into wanted_ again
 *   TAKE_LATE           wanted_ is taken away after the signal: with it goes the wish of who woke at once
 *   WANT_LARGEST        wanted_ keeps the largest count: who wants less sleeps on (with STOPPED)
 *   WAKE_ONE            a signal wakes one sleeper
 *   NO_LOOK             no look between registering and sleeping
 *   EVENT_RELAXED       the event's value is read without acquire: an old wish hides that it was taken
 *   SIGNAL_RELAXED      the same from the other side
 *   COUNT_FIRST_ONLY    who gives up sets the number of waiters to none
 * And what must pass: TAKE_RELAXED, the taking without order, since the signal behind it releases it;
 * FENCE_FIRST, the publisher's fence before its loads, which is stronger.
 *
 * Steps that no other thread can tell apart are one: a waiter's steps that only add to what others may
 * overlook anyway move to its next step, its own two fences to those that it has others issue, and a
 * load to the store that it leads to. The event's value is never read late: that would only end
 * the sleep at once.
 *
 * Left out: the watermark, which only says again what a byte said; the index in len_ that a publisher compares
 * with wanted_ first: who reads an old one, here reads an old byte; deadlines other than giving up;
 * closing, which wakes whoever sleeps; the heavy fence that fails, where waiters do not rely on wakes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef FIRST_WANTS
#define FIRST_WANTS 1
#endif
#ifndef GIVES_UP
#define GIVES_UP false
#endif
#ifdef STOPPED
#define MUST_RETURN 1
#else
#define MUST_RETURN WAITERS
#endif
#define NOTHING 3 /* wanted_ when nobody wants */
#define MESSAGES 12
#define raise(a, b) a = ((a) > (b) -> (a) : (b))

#ifdef TRACE
#define say(...) printf(__VA_ARGS__)
#else
#define say(...) skip
#endif

/* ---- the memory ---- */

typedef view {
    byte bytes;  /* bit i: readiness byte i is known to be set */
    byte count;  /* messages of waiters_ and wanted_ */
    byte wanted
}

typedef message {
    byte value;
    view seen
}

typedef location {
    message at[MESSAGES];
    byte last
}

location waiters;
location wanted;
byte event; /* only its newest message is read */
view event_seen;
bool stored[2]; /* the readiness bytes */
view byte_seen[2];
view fence;
view known[4]; /* publishers are 0 and 1, waiters 2 and 3 */
bool asleep[2];
bool gone[4]; /* nothing is news to it */
byte returned;

#define MY known[me]

inline join(x, y)
{
    x.bytes = x.bytes | y.bytes;
    raise(x.count, y.count);
    raise(x.wanted, y.wanted)
}

inline clear(x)
{
    x.bytes = 0;
    x.count = 0;
    x.wanted = 0
}

/* A read-modify-write; what it replaces is in place.at[place.last - 1]. */
inline rmw(place, mine, to, acquires, releases)
{
    d_step {
    assert(place.last + 1 < MESSAGES);
    place.last++;
    place.at[place.last].value = to;
    join(place.at[place.last].seen, place.at[place.last - 1].seen);
    if
    :: acquires -> join(MY, place.at[place.last].seen)
    :: else
    fi;
    mine = place.last;
    if
    :: releases -> join(place.at[place.last].seen, MY)
    :: else
    fi;
    clear(place.at[place.last - 1].seen) /* whoever loads it loads it relaxed */
    }
}

#define NEWEST(place) place.at[place.last].value

inline full_fence(who)
{
    d_step {
        if
        :: gone[who] -> fence.bytes = fence.bytes | known[who].bytes
        :: else ->
            join(known[who], fence);
            join(fence, known[who])
        fi
    }
}

/* cvec_len: of each byte the old value is read, or the new one. */
inline look(prefix)
{
    if
    :: d_step {
        stored[0] && stored[1] ->
            join(MY, byte_seen[0]);
            join(MY, byte_seen[1]);
            prefix = 2
       }
    :: d_step { stored[0] && !(MY.bytes & 2) -> join(MY, byte_seen[0]); prefix = 1 }
    :: d_step { !(MY.bytes & 1) -> prefix = 0 }
    fi
}

/* ---- publishers ---- */

#ifdef TAKE_RELAXED
#define TAKES_IN_ORDER false
#else
#define TAKES_IN_ORDER true
#endif
#ifdef SIGNAL_RELAXED
#define SIGNAL_IN_ORDER false
#else
#define SIGNAL_IN_ORDER true
#endif
#ifdef EVENT_RELAXED
#define EVENT_IN_ORDER false
#else
#define EVENT_IN_ORDER true
#endif

inline signal()
{
    d_step {
        event++;
        join(MY, event_seen);
        if
        :: SIGNAL_IN_ORDER -> join(event_seen, MY)
        :: else
        fi;
#ifdef WAKE_ONE
        if
        :: asleep[0] -> asleep[0] = false
        :: else -> asleep[1] = false
        fi;
#else
        asleep[0] = false;
        asleep[1] = false;
#endif
        say("publisher %d signals\n", me)
    }
}

inline take()
{
    rmw(wanted, MY.wanted, NOTHING, TAKES_IN_ORDER, TAKES_IN_ORDER);
    say("publisher %d takes the wish away\n", me)
}

/* Of several messages with one value the oldest is read, as it binds least. */
#define LOAD(place, mine, i) \
    :: i >= mine && i <= place.last && (i == mine || place.at[i - (i > 0)].value != place.at[i].value) -> \
        mine = i; got = place.at[i].value
/* A relaxed load: any message that is not too old. */
#define LOAD_ANY(place, mine) \
    if \
    LOAD(place, mine, 0) LOAD(place, mine, 1) LOAD(place, mine, 2) LOAD(place, mine, 3) \
    LOAD(place, mine, 4) LOAD(place, mine, 5) LOAD(place, mine, 6) LOAD(place, mine, 7) \
    LOAD(place, mine, 8) LOAD(place, mine, 9) LOAD(place, mine, 10) LOAD(place, mine, 11) \
    fi

proctype publisher(byte me)
{
    byte got, prefix;

    d_step {
        MY.bytes = MY.bytes | (1 << me);
        join(byte_seen[me], MY);
        stored[me] = true;
        say("publisher %d publishes\n", me)
    }
#ifdef FENCE_FIRST
    full_fence(me);
#endif
    atomic {
        LOAD_ANY(waiters, MY.count);
        say("publisher %d: %d wait\n", me, got);
        if
        :: got == 0 -> goto done
        :: else
        fi;
        got = 0
    }
#if !defined(NO_PUBLISHER_FENCE) && !defined(RMW_FOR_FENCE) && !defined(FENCE_FIRST)
    full_fence(me);
#endif
    atomic {
#ifdef RMW_FOR_FENCE
        got = NEWEST(wanted);
        rmw(wanted, MY.wanted, got, true, true);
#else
        LOAD_ANY(wanted, MY.wanted);
#endif
        say("publisher %d: wanted %d\n", me, got);
        if
        :: got == NOTHING -> goto done
        :: else
        fi;
        look(prefix);
        say("publisher %d: prefix %d\n", me, prefix);
        if
        :: prefix < got -> goto done
        :: else
        fi;
#ifndef TAKE_LATE
        take()
#endif
    }
    signal();
#ifdef TAKE_LATE
    take();
#endif
done: skip;
    d_step {
        got = 0;
        prefix = 0;
        gone[me] = true;
        MY.count = 0;
        MY.wanted = 0
    }
}

/* ---- waiters ---- */

inline count_in()
{
    rmw(waiters, MY.count, NEWEST(waiters) + 1, true, true)
}

inline count_out()
{
#ifdef COUNT_FIRST_ONLY
    rmw(waiters, MY.count, 0, true, true);
#else
    rmw(waiters, MY.count, NEWEST(waiters) - 1, true, true);
#endif
    returned++;
    say("waiter %d returns\n", me)
}

inline read_event()
{
    d_step {
        value = event;
        if
        :: EVENT_IN_ORDER -> join(MY, event_seen)
        :: else
        fi;
        say("waiter %d: event %d\n", me, value)
    }
}

#ifdef WANT_LARGEST
#define IS_BETTER(old) (n > old || old == NOTHING)
#else
#define IS_BETTER(old) (n < old)
#endif

/* A load that is not better ends it; else the CAS, whose failure leaves the newest value. */
inline want()
{
    LOAD_ANY(wanted, MY.wanted);
    if
    :: IS_BETTER(got) && IS_BETTER(NEWEST(wanted)) ->
        rmw(wanted, MY.wanted, n, true, true);
        say("waiter %d wants %d\n", me, n)
    :: d_step {
        IS_BETTER(got) && !IS_BETTER(NEWEST(wanted)) ->
            join(MY, wanted.at[wanted.last].seen);
            MY.wanted = wanted.last
       }
    :: else
    fi;
    got = 0
}

/* In two steps: the waiter's own fences happen with those of the others. */
inline heavy(then_look)
{
    bool swap;
    atomic {
        if
        :: swap = false
        :: swap = true
        fi;
#ifndef NO_HEAVY
        full_fence(me);
        full_fence((swap -> 1 : 0))
#endif
    }
    atomic {
#ifndef NO_HEAVY
        full_fence((swap -> 0 : 1));
        full_fence(me);
        say("waiter %d: the heavy fence is over\n", me);
#endif
        swap = false;
        if
        :: then_look -> look(prefix); say("waiter %d: prefix %d\n", me, prefix)
        :: else
        fi
    }
}

#ifdef NO_LOOK
#define LOOKS false
#else
#define LOOKS true
#endif

proctype waiter(byte me; byte n; bool may_give_up)
{
    byte value, prefix, got;
    bool registered;

    atomic {
        look(prefix);
        if
        :: prefix >= n -> returned++; goto returns
        :: else
        fi;
#ifndef COUNT_LATE
        count_in();
#endif
#ifndef VALUE_LATE
        read_event()
#endif
    }
    do
    :: true ->
#ifdef REGISTER_ONCE
        atomic {
            if
            :: !registered -> want(); registered = true
            :: else
            fi
        }
#elif !defined(WANT_LATE)
        atomic { want() }
#endif
#ifdef VALUE_LATE
        atomic { read_event() }
#endif
#ifdef COUNT_LATE
        heavy(true);
        atomic {
            if
            :: !registered -> count_in(); registered = true
            :: else
            fi
        }
#elif defined(WANT_LATE)
        heavy(true);
        atomic { want() }
#else
        heavy(LOOKS);
#endif
        if
        :: prefix >= n -> break
        :: else
        fi;
        atomic {
            if
            :: event == value -> asleep[me - 2] = true; say("waiter %d sleeps\n", me)
            :: else
            fi
        }
        atomic {
            if
            :: !asleep[me - 2]
            :: may_give_up -> asleep[me - 2] = false; break
            fi;
#ifdef NO_LOOK
            look(prefix);
            if
            :: prefix >= n -> break
            :: else
            fi;
#endif
#ifndef VALUE_LATE
            read_event()
#endif
        }
    od;
    atomic { count_out() }
returns: skip;
    d_step {
        value = 0;
        prefix = 0;
        registered = false;
        clear(MY)
    }
}

init {
    atomic {
        wanted.at[0].value = NOTHING;
        run publisher(0);
#ifndef STOPPED
        run publisher(1);
#endif
#if WAITERS > 1
        run waiter(2, FIRST_WANTS, GIVES_UP);
#endif
        run waiter(3, 2, false)
    }
    atomic {
        timeout;
        say("nothing moves: %d waiters have returned\n", returned);
        assert(returned == MUST_RETURN)
    }
}
