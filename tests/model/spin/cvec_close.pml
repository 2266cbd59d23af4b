/*
 * cvec_close.pml: a spin model of how a cvec hands out indices, grows and closes (src/cvec.c,
 * src/cvec_growth.c, cvec_close). run.sh runs it.
 *
 * len_ is {era, index}. Pushers add 1 to it and settle what they got; an extender claims a run by CAS; a
 * reserver opens an era that nobody needs yet; closers propose a final figure, then open the last era,
 * whose index is past every capacity. Growth may be refused at any time: void tickets are folded
 * back then. Each load, store and read-modify-write is a step of its own.
 *
 * Each index is claimed once (assert in claim), none after the close, none past final_, and final_
 * does not change any more (asserts beside them); when all have finished, what was claimed is exactly
 * [0, final), or [0, claimed) where nobody closes (assert in init). Who has claimed an index finds
 * capacity_ above it (C4).
 *
 * Memory is sequentially consistent here: who acquires what is in the comments of the code and for
 * ThreadSanitizer. What must fail, one thing changed each:
 *
 *   LEN_FIRST          a closer reads len_ before the proposal that it may replace
 *   PROPOSE_BLINDLY    it stores its proposal instead of a CAS from what it read
 *   PROPOSE_LATE       it writes final_ after the close
 *   PROPOSE_RAW        it proposes the index with its void tickets
 *   CLOSE_ANY_INDEX    the CAS that closes expects whatever index there is
 *   CLOSE_LOW          the last era goes on at the index of the one before
 *   FOLD_ANY_ERA       folding does not look at the era
 *   OPEN_AT_INDEX      the next era starts at the index, void tickets included
 *   OPEN_AT_CAPACITY   it starts at the capacity, claimed or not
 *   OPEN_TWICE         it is opened by a CAS that does not look at the era
 *   CAPACITY_EARLY     capacity_ is raised before the era opens
 *   CAPACITY_LATE      a pusher reads capacity_ after its add
 *   SETTLE_BY_CURRENT  a ticket is settled by the capacity of the era that is open now
 *   DECIDE_TWICE       the capacity of an era is stored by each who grew
 *   RUN_PAST           a run is claimed without a look at the capacity
 *   SETTLE_WITHOUT_RAISE, RUN_WITHOUT_RAISE
 *                      who claims does not raise capacity_ above its index
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef PUSHERS
#define PUSHERS 2
#endif
#ifndef PUSHES
#define PUSHES 2
#endif
#ifndef CLOSERS
#define CLOSERS 2
#endif
#ifndef EXTENDERS
#define EXTENDERS 0
#endif
#ifndef RESERVERS
#define RESERVERS 0
#endif

#define MOST 6    /* max_len */
#define CLOSED 7  /* the last era */
#define BEYOND 16 /* its index */

#ifdef TRACE
#define say(...) printf(__VA_ARGS__)
#else
#define say(...) skip
#endif

byte era;
byte index;         /* len_ */
byte caps[8] = 0;   /* by era; 0: not decided */
byte capacity;      /* capacity_ */
byte final;         /* final_ */
bool claimed[MOST]; /* ghosts, from here on */
bool closed;
byte running;

/* `i` is the caller's; `late`: its ticket was taken after the close. */
inline claim(i, late)
{
    say("%d claims %d\n", _pid, i);
    assert(i < MOST && !claimed[i] && !late);
    assert(!closed || i + 1 < final);
    claimed[i] = true
}

#define FEWER(i, j) ((i) < (j) -> (i) : (j))
#define CLAIMED_AT(e, i) FEWER(i, caps[e])

/* ---- growth ---- */

/* To `most`: what is folded goes on from there. */
inline fold(mine, most)
{
    seen_era = era;
    seen = index;
    do
#ifdef FOLD_ANY_ERA
    :: !(seen > most) -> break
    :: seen > most ->
#else
    :: !(seen_era == mine && seen > most) -> break
    :: seen_era == mine && seen > most ->
#endif
        atomic {
            if
            :: era == seen_era && index == seen -> index = most; break
            :: else -> seen_era = era; seen = index
            fi
        }
    od
}

inline open_next(mine)
{
    seen_era = era;
    seen = index;
    do
#ifdef OPEN_TWICE
    :: seen_era == CLOSED -> break
    :: seen_era != CLOSED ->
#else
    :: seen_era != mine -> break
    :: seen_era == mine ->
#endif
        atomic {
            if
            :: era == seen_era && index == seen ->
                era = mine + 1;
#if defined(OPEN_AT_INDEX)
                index = seen;
#elif defined(OPEN_AT_CAPACITY)
                index = caps[mine];
#else
                index = CLAIMED_AT(mine, seen);
#endif
                say("%d opens era %d at %d\n", _pid, era, index);
                break
            :: else -> seen_era = era; seen = index
            fi
        }
    od
}

/* From era `of` to the next. `refused`: it is not to be. */
inline grow(mine, need)
{
    refused = false;
    larger = caps[mine + 1];
    if
    :: need > MOST -> refused = true
    :: need <= MOST && larger != 0
    :: need <= MOST && larger == 0 ->
        if
        :: larger = need
        :: need + 1 <= MOST -> larger = need + 1 /* as the options say */
        :: refused = true
        fi;
        atomic {
            if
            :: refused && caps[mine + 1] != 0 -> larger = caps[mine + 1]; refused = false
            :: refused && caps[mine + 1] == 0
#ifdef DECIDE_TWICE
            :: !refused -> caps[mine + 1] = larger
#else
            :: !refused && caps[mine + 1] == 0 -> caps[mine + 1] = larger
            :: !refused && caps[mine + 1] != 0 -> larger = caps[mine + 1]
#endif
            fi
        }
    fi;
    if
    :: refused
    :: else ->
#ifdef CAPACITY_EARLY
        capacity = (capacity < larger -> larger : capacity);
        open_next(mine);
#else
        open_next(mine);
        capacity = (capacity < larger -> larger : capacity);
#endif
    fi;
    larger = 0
}

/* ---- who claims ---- */

/* One push; `refused` when there is no index for it. */
inline push()
{
    do
    :: true ->
#ifndef CAPACITY_LATE
        known = capacity;
#endif
        atomic {
            mine = era;
            i = index;
            late = closed;
            index++;
            assert(index < 200)
        }
#ifdef CAPACITY_LATE
        known = capacity;
#endif
        if
        :: i < known -> atomic { claim(i, late); break }
        :: i >= known && mine == CLOSED -> fold(CLOSED, BEYOND); refused = true; break
        :: i >= known && mine != CLOSED ->
#ifdef SETTLE_BY_CURRENT
            mine = (era == CLOSED -> mine : era);
#endif
            if
            :: i < caps[mine] -> atomic {
#ifndef SETTLE_WITHOUT_RAISE
                capacity = (capacity < caps[mine] -> caps[mine] : capacity);
#endif
                claim(i, late);
                break
               }
            :: else
            fi;
            grow(mine, caps[mine] + 1);
            if
            :: refused -> fold(mine, caps[mine]); break
            :: else
            fi
        fi
    od;
    assert(refused || i < capacity); /* or its own get would not look (C4) */
    i = 0;
    mine = 0;
    known = 0;
    seen = 0;
    seen_era = 0;
    late = false
}

proctype pusher()
{
    byte mine, i, known, seen, seen_era, larger, n;
    bool refused, late;

    do
    :: n < PUSHES && !refused -> push(); n++
    :: else -> break
    od;
    running--
}

/* A run of two, all or nothing. */
proctype extender()
{
    byte mine, i, seen, seen_era, larger;
    bool refused, late;

    do
    :: true ->
        atomic { mine = era; seen = index; late = closed }
        if
        :: mine == CLOSED -> break
        :: else
        fi;
        i = CLAIMED_AT(mine, seen);
        if
        :: i + 2 > MOST -> break
#ifdef RUN_PAST
        :: i + 2 <= MOST ->
#else
        :: i + 2 <= MOST && (seen > caps[mine] || i + 2 > caps[mine]) ->
            grow(mine, i + 2);
            if
            :: refused -> break
            :: else
            fi
        :: i + 2 <= MOST && !(seen > caps[mine] || i + 2 > caps[mine]) ->
#endif
            atomic {
                if
                :: era == mine && index == seen ->
                    index = index + 2;
                    claim(i, closed);
                    claim(i + 1, closed);
#ifndef RUN_WITHOUT_RAISE
                    capacity = (capacity < caps[mine] -> caps[mine] : capacity);
#endif
                    assert(i + 1 < capacity);
                    break
                :: else
                fi
            }
        fi
    od;
    running--
}

/* Opens one era more, full or not. */
proctype reserver()
{
    byte mine, seen, seen_era, larger, room;
    bool refused;

    mine = era;
    if
    :: mine == CLOSED
    :: mine != CLOSED -> room = FEWER(caps[mine] + 1, MOST); grow(mine, room)
    fi;
    running--
}

/* ---- closing ---- */

inline propose(figure)
{
    assert(!closed);
    final = figure;
    say("%d proposes %d\n", _pid, figure - 1)
}

inline close_at(e, i)
{
    atomic {
#ifdef CLOSE_ANY_INDEX
        if
        :: era == e ->
#else
        if
        :: era == e && index == i ->
#endif
            era = CLOSED;
#ifndef CLOSE_LOW
            index = BEYOND;
#endif
            closed = true;
            done = true;
            say("%d closes, final %d\n", _pid, final - 1)
        :: else
        fi
    }
}

proctype closer()
{
    byte old, mine, i, figure;
    bool done;

    do
    :: done -> break
    :: !done ->
#ifndef LEN_FIRST
        old = final;
#endif
        atomic { mine = era; i = index }
#ifdef LEN_FIRST
        old = final;
#endif
        if
        :: mine == CLOSED -> break
        :: else
        fi;
#ifdef PROPOSE_RAW
        figure = i + 1;
#else
        figure = CLAIMED_AT(mine, i) + 1;
#endif
#ifdef PROPOSE_LATE
        close_at(mine, i);
        if
        :: done -> final = figure
        :: else
        fi
#else
        atomic {
            if
            :: old == figure
#ifdef PROPOSE_BLINDLY
            :: old != figure -> propose(figure)
#else
            :: old != figure && final == old -> propose(figure)
            :: old != figure && final != old -> goto again
#endif
            fi
        }
        close_at(mine, i);
#endif
again:  skip
    od;
    /* Returned: whatever is claimed from now on is too late. */
    assert(closed && final > 0);
    old = final;
    assert(era == CLOSED && final == old);
    running--
}

init {
    byte i, n, end;
    atomic {
        caps[0] = 1;
        capacity = 1;
        running = PUSHERS + EXTENDERS + RESERVERS + CLOSERS;
        do
        :: n < PUSHERS -> run pusher(); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < CLOSERS -> run closer(); n++
        :: else -> break
        od;
#if EXTENDERS
        run extender();
#endif
#if RESERVERS
        run reserver();
#endif
        n = 0
    }
    d_step {
        running == 0 ->
            end = (closed -> final - 1 : CLAIMED_AT(era, index));
            do
            :: i < MOST -> assert(claimed[i] == (i < end)); i++
            :: else -> break
            od
    }
}
