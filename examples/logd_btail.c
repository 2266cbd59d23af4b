/*
 * logd_btail.c - BTAIL: clients that wait for records, parked at their worker.
 *
 * BTAIL that finds nothing parks its client: what it waits for is written down, and the worker goes
 * on. Its further commands stay where they are, in the parser or in the socket, until it has its
 * answer; of its socket the worker wants to hear only that it is hung up.
 *
 *      parked ──handle──▶ connection            in the heap by deadline, and in the list of
 *      watcher of a log ──▶ parked ⇄ parked     one watcher: its log's, or, while there is no such
 *      watcher of new keys ──▶ parked           key, that of the list of keys
 *
 * A key that does not exist is not made by waiting for it. When any key is made, those that wait for
 * one look whether it is theirs, and move on to the log.
 *
 * Three things end the waiting, and exactly one of them does. The worker answers, because records
 * came or the time is over; or somebody ends the connection: itself, CLIENT KILL, the idle timer of a
 * client that does not read. A parked client is therefore tied to its connection by a word, `tie`,
 * that each changes by exchange:
 *
 *      SERVED ──park──▶ PARKED ──answer──▶ SERVED
 *                         └──────end─────▶ ENDED      whoever ends a connection sets ENDED
 *
 * If the end finds PARKED, who ended it sends the parked client to its worker as a note, and the
 * worker frees it when that comes, and not before. If the answer finds ENDED it does nothing: the
 * note is coming. If parking finds ENDED the connection had ended in the middle of the command: it is
 * not parked. So nothing is left behind, and nothing freed that a note still names.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_btail.h"

#include <stdlib.h>
#include <string.h>

#include "logd_memory.h"
#include "logd_range.h"

#define LONGEST_NUMBER 32
#define MOST_SECONDS 1e8
#define MOST_PATIENCE_MS 3600000

/* ---- lists ----------------------------------------------------------------------------------- */

static void join(struct worker *worker, struct parked *parked, struct tail_watcher *watcher)
{
    parked->at = watcher;
    parked->next = NULL;
    parked->previous = watcher->last;
    if (watcher->last != NULL)
        watcher->last->next = parked;
    else
        watcher->first = parked;
    watcher->last = parked;
    if (parked->previous == NULL)
        tail_begin(worker, watcher);
}

static void leave(struct parked *parked)
{
    struct tail_watcher *watcher = parked->at;
    if (parked->previous != NULL)
        parked->previous->next = parked->next;
    else
        watcher->first = parked->next;
    if (parked->next != NULL)
        parked->next->previous = parked->previous;
    else
        watcher->last = parked->previous;
    if (watcher->first == NULL)
        tail_end(watcher);
}

/* The length that the tail must have for it. Any new key may be the one. */
static uint64_t length_wanted(const struct parked *parked)
{
    return parked->cursor.vector == NULL ? 1 : (uint64_t)parked->cursor.next + 1;
}

static void forget(struct worker *worker, struct parked *parked)
{
    deadlines_remove(&worker->deadlines, parked);
    memory_free(parked, sizeof(*parked));
    vbuf_u64_owner_add_relaxed(&worker->parked, UINT64_MAX); /* - 1; a figure */
}

/* ---- parking --------------------------------------------------------------------------------- */

/* NULL when there is no memory. */
static struct parked *write_down(const struct command_context *context, struct cvec_cursor cursor,
                                 int64_t deadline)
{
    struct worker *worker = context->worker;
    struct parked *parked = memory_resize(NULL, 0, sizeof(*parked));
    if (parked == NULL)
        return NULL;
    *parked = (struct parked){
        .end.is_end = true,
        .handle = context->self,
        .cursor = cursor,
        .deadline = deadline,
    };
    if (deadlines_add(&worker->deadlines, parked) == VBUF_OK) {
        vbuf_u64_owner_add_relaxed(&worker->parked, 1);
        return parked;
    }
    memory_free(parked, sizeof(*parked));
    return NULL;
}

static enum command_result park(const struct command_context *context, struct log *log,
                                struct cvec_cursor cursor, int64_t deadline)
{
    struct worker *worker = context->worker;
    struct connection *connection = context->connection;
    struct parked *parked = write_down(context, cursor, deadline);
    if (parked == NULL) {
        reply_error(reply_to(context), "OOM no memory to wait");
        return COMMAND_DONE;
    }
    connection->parked = parked;
    /* Release: who ends the connection finds `parked`. Pairs with connection_close. */
    if (vbuf_u32_exchange_acq_rel(&connection->tie, TIE_PARKED) == TIE_ENDED) {
        connection->parked = NULL;
        forget(worker, parked);
        return COMMAND_DONE;
    }
    struct tail *tail = log != NULL ? &log->tail : &worker->server->store.new_keys;
    join(worker, parked, &tail->watchers[worker->number]);
    tail_want(worker, parked->at, length_wanted(parked));
    return COMMAND_PARKED;
}

/* ---- answering ------------------------------------------------------------------------------- */

/* Takes the parked client back; its connection, or NULL if that has ended and a note says so. */
static struct connection *take_back(struct worker *worker, struct parked *parked)
{
    struct connection *connection =
        connection_resolve(worker->server, &worker->counters, parked->handle);
    if (connection == NULL || vbuf_u32_exchange_acq_rel(&connection->tie, TIE_SERVED) == TIE_ENDED)
        return NULL;
    connection->parked = NULL;
    leave(parked);
    forget(worker, parked);
    return connection;
}

/* As many records as a client may leave unread, and there is memory for; at least one, or an error. */
static void reply_records(struct worker *worker, struct connection *connection,
                          struct records_slice slice)
{
    size_t most = worker->server->options.max_output;
    size_t pending = reply_pending(&connection->reply);
    slice.count = range_fitting(&slice, pending < most ? most - pending : 0);
    if (slice.count == 0)
        slice.count = 1;
    while (!range_reply(&connection->reply, &slice, most)) {
        if (slice.count == 1) {
            range_reply_refused(&connection->reply, &slice, most);
            return;
        }
        slice.count = (slice.count + 1) / 2;
    }
}

/* Whether the key that it waits for exists by now: then it moves there. */
static bool find_key(struct worker *worker, struct parked *parked)
{
    const struct connection *connection =
        connection_resolve(worker->server, &worker->counters, parked->handle);
    if (connection == NULL)
        return false;
    /* The command is still the parser's last one. */
    struct log *log = store_find(&worker->server->store, request_argument(&connection->request, 1));
    if (log == NULL)
        return false;
    parked->cursor.vector = log->records.vector;
    leave(parked);
    join(worker, parked, &log->tail.watchers[worker->number]);
    return true;
}

/* Answers it if there are records for it; false: it goes on waiting, and wants to be told. */
static bool answer(struct worker *worker, struct parked *parked)
{
    struct records_slice slice;
    connections_handle handle = parked->handle;
    bool is_there = parked->cursor.vector != NULL || find_key(worker, parked);
    if (!is_there || records_cursor_next(&parked->cursor, 0, 0, &slice) != VBUF_OK) {
        tail_want(worker, parked->at, length_wanted(parked));
        return false;
    }
    struct connection *connection = take_back(worker, parked);
    if (connection != NULL) {
        reply_records(worker, connection, slice);
        worker_resume(worker, connection, handle);
    }
    return true;
}

/*
 * Answers whoever can be, and sees to it that the rest will be. Serving a client may park that client
 * anew, at the end of a list; nothing else in the list comes or goes meanwhile.
 */
static void look_at(struct worker *worker, struct tail_watcher *watcher)
{
    struct parked *next;
    for (struct parked *parked = watcher->first; parked != NULL; parked = next) {
        next = parked->next;
        answer(worker, parked);
    }
}

/* ---- a worker's turn ------------------------------------------------------------------------- */

static void read_notes(struct worker *worker)
{
    struct tail_note *next;
    for (struct tail_note *note = tail_take_notes(worker); note != NULL; note = next) {
        next = note->next;
        if (note->is_end) {
            struct parked *parked = (struct parked *)(void *)note;
            leave(parked);
            forget(worker, parked);
        } else {
            struct tail_watcher *watcher = (struct tail_watcher *)(void *)note;
            watcher->armed = false;
            look_at(worker, watcher);
        }
    }
}

/* Those whose time is over get what has come in the last moment, or nothing. */
static void end_waits(struct worker *worker)
{
    struct parked *parked;
    while ((parked = deadlines_next(&worker->deadlines)) != NULL &&
           parked->deadline <= worker->now) {
        connections_handle handle = parked->handle;
        deadlines_remove(&worker->deadlines, parked);
        if (answer(worker, parked))
            continue;
        struct connection *connection = take_back(worker, parked);
        if (connection == NULL)
            continue;
        reply_nil_array(&connection->reply);
        worker_resume(worker, connection, handle);
    }
}

/* A second look, behind the fence, at what is watched since the last one. */
static void look_at_fresh(struct worker *worker)
{
    bool sure;
    struct tail_watcher *next;
    for (struct tail_watcher *watcher = tail_take_fresh(worker, &sure); watcher != NULL;
         watcher = next) {
        next = watcher->next_fresh;
        watcher->fresh = false;
        look_at(worker, watcher);
        if (!sure && watcher->first != NULL)
            tail_make_fresh(worker, watcher);
    }
    worker->unsure = !sure;
}

void btail_turn(struct worker *worker)
{
    read_notes(worker);
    end_waits(worker);
    look_at_fresh(worker);
}

int btail_patience(const struct worker *worker)
{
    if (tail_is_busy(worker))
        return 0;
    const struct parked *next = deadlines_next(&worker->deadlines);
    int64_t ms = -1;
    if (next != NULL && next->deadline != NO_DEADLINE) {
        int64_t left = next->deadline - now_ns();
        ms = left <= 0 ? 0 : left / 1000000 + 1; /* never early */
        ms = ms > MOST_PATIENCE_MS ? MOST_PATIENCE_MS : ms;
    }
    if (worker->unsure && (ms < 0 || ms > LOGD_LOOK_MS))
        ms = LOGD_LOOK_MS;
    return (int)ms;
}

void btail_drop_all(struct worker *worker)
{
    struct tail_note *next;
    for (struct tail_note *note = tail_take_notes(worker); note != NULL; note = next) {
        next = note->next;
        if (note->is_end)
            forget(worker, (struct parked *)(void *)note);
    }
    struct parked *parked;
    while ((parked = deadlines_next(&worker->deadlines)) != NULL)
        forget(worker, parked);
}

/* ---- the command ----------------------------------------------------------------------------- */

void btail_wake(struct worker *worker, struct log *log, bool made)
{
    if (made && tail_is_watched(&worker->server->store.new_keys))
        tail_wake(&worker->server->store.new_keys, worker, UINT64_MAX);
    if (tail_is_watched(&log->tail))
        tail_wake(&log->tail, worker, records_len(&log->records));
}

/* Seconds such as 1 or 0.25; false for anything else. 0 is 0, and nothing else is. */
static bool text_seconds(struct text text, int64_t *ns)
{
    char copy[LONGEST_NUMBER];
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strspn(copy, "0123456789.") != text.len || strpbrk(copy, "0123456789") == NULL)
        return false;
    char *end;
    double seconds = strtod(copy, &end);
    if (*end != '\0' || !(seconds <= MOST_SECONDS))
        return false;
    *ns = (int64_t)(seconds * 1e9);
    if (*ns == 0 && seconds > 0)
        *ns = 1;
    return true;
}

static bool read_arguments(const struct command_context *context, size_t *index, int64_t *timeout)
{
    struct reply *reply = reply_to(context);
    int64_t number;
    if (argument_at(context, 1).len > LOGD_MAX_KEY) {
        reply_error(reply, "ERR key exceeds %d bytes", LOGD_MAX_KEY);
        return false;
    }
    if (!text_integer(argument_at(context, 2), &number) || number < 0) {
        reply_not_integer(reply);
        return false;
    }
    if (!text_seconds(argument_at(context, 3), timeout)) {
        reply_error(reply, "ERR timeout is not a number of seconds or out of range");
        return false;
    }
    *index = (size_t)number;
    return true;
}

/* BTAIL key index timeout */
enum command_result command_btail(const struct command_context *context)
{
    struct worker *worker = context->worker;
    size_t max_log_len = worker->server->options.max_log_len;
    size_t index;
    int64_t timeout;
    if (!read_arguments(context, &index, &timeout))
        return COMMAND_DONE;
    if (index >= max_log_len) {
        reply_error(reply_to(context), "ERR index exceeds max-log-len (%zu)", max_log_len);
        return COMMAND_DONE;
    }
    struct log *log = store_find(&worker->server->store, argument_at(context, 1));
    struct cvec_cursor cursor = {log == NULL ? NULL : log->records.vector, index};
    struct records_slice slice;
    if (log != NULL && records_cursor_next(&cursor, 0, 0, &slice) == VBUF_OK) {
        reply_records(worker, context->connection, slice);
        return COMMAND_DONE;
    }
    return park(context, log, cursor, timeout == 0 ? NO_DEADLINE : now_ns() + timeout);
}
