/*
 * logd_tail.c - how who appends tells who waits, without knowing whether anybody does.
 *
 * This is cvec's own waiting (cvec_wait.c) once more, but for workers, which must not sleep on one
 * log: they sleep in epoll_wait, and are woken by their eventfd.
 *
 *      worker                                    who appends
 *      watched++   at its first client here      publish the records
 *      wanted = shortest length wanted           -- light fence --
 *      -- heavy fence, once a turn --            if (watched == 0) done
 *      the log is long enough?  answer           for each worker: length < wanted?  done
 *      sleep in epoll_wait                       take wanted; send its watcher as a note
 *
 * Who pays. An append to a log that nobody waits for costs a load of `watched`, a word beside what
 * it has read anyway, and no system call; the worker pays with a process-wide barrier, one for all
 * that it has parked in a turn.
 *
 * No append is missed. The light fence before the load of `watched` and the heavy fence after the
 * store of it are the two sides of vbuf/fence.h: either the appender sees watched and wanted, or the
 * worker sees its records when it looks. If several appends complete the length together, the last
 * of those that the worker did not see finds the log long enough, and sends. Where there is no
 * process-wide barrier, or the system refuses it, appenders do not fence instead: then the watcher
 * stays fresh, and the worker looks at it every LOGD_LOOK_MS.
 *
 * One note for each watcher. `wanted` is taken by exchange, so one appender of all gets it, and with
 * it the right to send the note; the worker sets it again only when it has the note back. Until then
 * it is `armed`, and may only lower what is there: by CAS, which fails if it has been taken, and then
 * a note is on its way. What is left in `wanted` by a client that has gone costs one needless note.
 *
 * A client that another thread ends is a note as well: logd_btail.c says who may send that.
 *
 * Notes are a stack: pushed by CAS, taken whole by exchange, so there is no ABA. Who pushes onto an
 * empty one writes the eventfd; whoever comes before the worker has taken it need not: one push or a
 * hundred cost a worker one wake. A worker that tells itself does not sleep before it has looked.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_tail.h"

#include "logd.h"

/* ---- telling --------------------------------------------------------------------------------- */

void tail_send(struct worker *to, struct tail_note *note, struct worker *self)
{
    void *head = vbuf_pointer_load_relaxed(&to->notes); /* relaxed: the CAS decides */
    do {
        note->next = head;
    } while (!vbuf_pointer_cas_acq_rel(&to->notes, &head, note)); /* pairs with take_notes */
    if (head == NULL && to != self) {
        worker_wake(to);
        if (self != NULL)
            count(&self->counters, COUNT_TAIL_WAKES);
    }
}

void tail_wake(struct tail *tail, struct worker *self, uint64_t length)
{
    for (size_t i = 0; i < self->server->options.workers; i++) {
        struct tail_watcher *watcher = &tail->watchers[i];
        uint64_t wanted = vbuf_u64_load_relaxed(&watcher->wanted); /* relaxed: the fence orders */
        if (wanted == 0 || length < wanted)
            continue;
        /* Acquire: the note is as the worker left it. Pairs with the release in tail_want. */
        if (vbuf_u64_exchange_acq_rel(&watcher->wanted, 0) != 0)
            tail_send(&self->server->workers[i], &watcher->note, self);
    }
}

/* ---- being told ------------------------------------------------------------------------------ */

struct tail_note *tail_take_notes(struct worker *worker)
{
    if (vbuf_pointer_load_relaxed(&worker->notes) == NULL) /* relaxed: a hint */
        return NULL;
    /* Pairs with the CAS in tail_send: what came before the note is seen. */
    return vbuf_pointer_exchange_acq_rel(&worker->notes, NULL);
}

bool tail_is_busy(const struct worker *worker)
{
    /* Relaxed: what others send comes with a wake; what the worker itself sent it sees. */
    if (vbuf_pointer_load_relaxed(&worker->notes) != NULL)
        return true;
    return worker->fresh != NULL && !worker->unsure;
}

void tail_make_fresh(struct worker *worker, struct tail_watcher *watcher)
{
    if (watcher->fresh)
        return;
    watcher->fresh = true;
    watcher->next_fresh = worker->fresh;
    worker->fresh = watcher;
}

struct tail_watcher *tail_take_fresh(struct worker *worker, bool *sure)
{
    struct tail_watcher *fresh = worker->fresh;
    *sure = true;
    worker->fresh = NULL;
    if (fresh != NULL)
        *sure = vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE && vbuf_fence_heavy();
    return fresh;
}

/* Relaxed, both: the heavy fence that follows orders the one, and the other may come late. */
void tail_begin(struct worker *worker, struct tail_watcher *watcher)
{
    vbuf_u32_fetch_add_relaxed(&watcher->tail->watched, 1);
    tail_make_fresh(worker, watcher);
}

void tail_end(struct tail_watcher *watcher)
{
    vbuf_u32_fetch_add_relaxed(&watcher->tail->watched, UINT32_MAX); /* - 1 */
}

void tail_want(struct worker *worker, struct tail_watcher *watcher, uint64_t length)
{
    uint64_t seen = vbuf_u64_load_relaxed(&watcher->wanted);
    if (!watcher->armed) {
        watcher->armed = true;
        vbuf_u64_store_release(&watcher->wanted, length); /* pairs with the taking in tail_wake */
        tail_make_fresh(worker, watcher);
        return;
    }
    while (seen != 0 && length < seen) {
        if (vbuf_u64_cas_acq_rel(&watcher->wanted, &seen, length)) { /* likewise */
            tail_make_fresh(worker, watcher);
            return;
        }
    }
}
