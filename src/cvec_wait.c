/*
 * cvec_wait.c - sleeping until the prefix is long enough, and closing.
 *
 * Who pays. A push does not know whether anybody waits, and must not pay to find out: after its readiness byte it
 * issues the light fence and loads `waiters_`, a word on a line that it has loaded anyway and that
 * changes only when somebody goes to sleep or wakes. The waiter pays:
 *
 *      waiter                                         publisher
 *      waiters_++                                     ready[i] = 1, release
 *   +> value = event                                  -- light fence --
 *   |  wanted_ = min(wanted_, n)                      if (waiters_ == 0) done
 *   |  -- heavy fence --                              -- full fence --
 *   |  prefix >= n?  done: waiters_--                 if (prefix < wanted_) done
 *   +- sleep until event != value                     wanted_ = none; signal event
 *
 * No wake is lost. Take the publishes that complete the prefix. By the first pair of fences each
 * publisher either sees what the waiter wrote before its heavy fence, or has its byte seen by the
 * waiter's look. If the look sees all the bytes the waiter does not sleep. Otherwise some bytes were missed: their
 * publishers see waiters_ and wanted_, and issue the full fence, which orders them among each other.
 * The last of them to do so sees all bytes: theirs, because of their full fences, and those that the
 * look saw, because it comes after. It signals. (Without the full fence two publishers, each with its own byte still
 * in its store buffer, may each find the prefix too short: that was seen, once in 150 tries, on x86.)
 *
 * wanted_ spares a publisher the signal, and everybody the waking, while the prefix is too short for
 * all. The signaller takes it away, for all waiters at once; each registers again when it wakes. One
 * that registers just before it is taken away wakes too: it has read `value` before it registered, so
 * the signal, which comes after the taking, is a change to it. (What is left in wanted_ by a waiter whose time
 * was up costs one needless signal.) A publisher that is stopped between its byte and its signal
 * delays the waiters, though the prefix is whole; nothing else.
 *
 * Where there is no process-wide barrier, or the system refuses it now, the publisher's load may miss
 * the waiter: it sleeps a millisecond at a time, and looks. Publishers pay nothing for it.
 *
 * Closing. The last era, CVEC_CLOSED_ERA, has the index CVEC_MOST_LEN, past every capacity: whoever adds to it
 * has a void ticket, without a look at anything that it does not look at anyway. What was claimed in
 * all must be known from then on, so it is written before, to final_, as a proposal: the CAS of len_
 * that closes expects the very index that was proposed. A proposal is only replaced by one who read it
 * first and then saw a larger index, so once the CAS has succeeded nobody replaces it: who comes
 * later sees the closed era, and who came before would have to have seen an index that would have
 * made the CAS fail. Any number of threads may close; none waits for another.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "cvec_internal.h"
#include "system.h"
#include "wait.h"

#define NOTHING_WANTED UINT64_MAX
#define SLICE_NS INT64_C(1000000)

/* ---- waking ---- */

static void wake_all(struct cvec *vector)
{
    /* Before the signal: see the essay. */
    vbuf_u64_exchange_acq_rel(&vector->wanted_, NOTHING_WANTED);
    vbuf_event_signal(&vector->event_);
}

void cvec_wake_(struct cvec *vector)
{
    vbuf_fence_full(); /* against other publishers: see the essay */
    /* Relaxed, both: the fences order them. Who claims what is still missing looks later than we. */
    uint64_t wanted = vbuf_u64_load_relaxed(&vector->wanted_);
    if (wanted == NOTHING_WANTED || index_of(vbuf_u64_load_relaxed(&vector->len_)) < wanted)
        return;
    if (cvec_len(vector) >= wanted)
        wake_all(vector);
}

/* ---- waiting ---- */

/* VBUF_BUSY: not yet. */
static enum vbuf_status look(struct cvec *vector, size_t count)
{
    if (cvec_len(vector) >= count)
        return VBUF_OK;
    uint64_t seen = vbuf_u64_load_acquire(&vector->len_); /* pairs with cvec_close */
    if (era_of(seen) == CVEC_CLOSED_ERA && claimed_at(vector, seen) < count)
        return VBUF_CLOSED;
    return VBUF_BUSY;
}

static void want(struct cvec *vector, uint64_t count)
{
    uint64_t seen = vbuf_u64_load_relaxed(&vector->wanted_); /* the CAS decides */
    while (count < seen && !vbuf_u64_cas_acq_rel(&vector->wanted_, &seen, count)) {
    }
}

static int64_t deadline_of(int64_t timeout)
{
    if (timeout < 0)
        return VBUF_NO_DEADLINE;
    int64_t now = vbuf_sys_now();
    return timeout < VBUF_NO_DEADLINE - now ? now + timeout : VBUF_NO_DEADLINE;
}

/* One round of the protocol: registers, looks, sleeps. VBUF_BUSY: look again. */
static enum vbuf_status wait_once(struct cvec *vector, size_t count, int64_t deadline)
{
    uint32_t value = vbuf_event_value(&vector->event_);
    enum vbuf_status status = look(vector, count); /* woken for good: register for nothing more */
    if (status != VBUF_BUSY)
        return status;
    want(vector, count);
    bool sure = vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE && vbuf_fence_heavy();
    status = look(vector, count);
    if (status != VBUF_BUSY)
        return status;
    int64_t now = vbuf_sys_now();
    if (now >= deadline)
        return VBUF_TIMEDOUT;
    int64_t until = sure || deadline - now < SLICE_NS ? deadline : now + SLICE_NS;
    vbuf_event_wait(&vector->event_, value, until);
    return VBUF_BUSY;
}

enum vbuf_status cvec_wait(struct cvec *vector, size_t count, int64_t timeout)
{
    if (count > vector->max_len)
        return VBUF_FULL;
    enum vbuf_status status = look(vector, count);
    if (status != VBUF_BUSY)
        return status;
    if (timeout == 0)
        return VBUF_TIMEDOUT;
    int64_t deadline = deadline_of(timeout);
    vbuf_u32_fetch_add_acq_rel(&vector->waiters_, 1); /* before the heavy fence */
    do
        status = wait_once(vector, count, deadline);
    while (status == VBUF_BUSY);
    vbuf_u32_fetch_add_acq_rel(&vector->waiters_, UINT32_MAX);
    return status;
}

enum vbuf_status cvec_cursor_next(struct cvec_cursor *cursor, size_t most, int64_t timeout,
                                  struct cvec_slice *slice)
{
    struct cvec *vector = cursor->vector;
    size_t len = cvec_len(vector);
    if (len <= cursor->next) {
        enum vbuf_status status = cvec_is_closed(vector) ? VBUF_CLOSED : VBUF_FULL;
        if (cursor->next < vector->max_len)
            status = cvec_wait(vector, cursor->next + 1, timeout);
        if (status != VBUF_OK)
            return status;
        len = cvec_len(vector);
    }
    size_t count = len - cursor->next;
    if (most != 0 && count > most)
        count = most;
    slice->data = vector->elements + cursor->next * vector->element_size;
    slice->count = count;
    cursor->next += count;
    return VBUF_OK;
}

/* ---- closing ---- */

bool cvec_is_closed(const struct cvec *vector)
{
    return era_of(vbuf_u64_load_acquire(&vector->len_)) == CVEC_CLOSED_ERA;
}

void cvec_close(struct cvec *vector)
{
    for (;;) {
        /* In this order: a proposal that is older than the index may be replaced. */
        uint64_t proposed = vbuf_u64_load_acquire(&vector->final_);
        uint64_t seen = vbuf_u64_load_acquire(&vector->len_);
        if (era_of(seen) == CVEC_CLOSED_ERA)
            break;
        uint64_t final = claimed_at(vector, seen) + 1;
        if (proposed != final && !vbuf_u64_cas_acq_rel(&vector->final_, &proposed, final))
            continue;
        /* Release: final_ came before; pairs with whoever sees the closed era. */
        if (vbuf_u64_cas_acq_rel(&vector->len_, &seen, ticket_of(CVEC_CLOSED_ERA, CVEC_MOST_LEN)))
            break;
    }
    wake_all(vector);
}
