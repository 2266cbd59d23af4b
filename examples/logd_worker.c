/*
 * logd_worker.c - the workers: each waits for events on its connections, and serves them.
 *
 * A turn: sleep in epoll_wait, unpinned; pin; serve what came, resolving each handle; answer parked
 * clients; unpin; collect. A sleeping worker so never holds back the end of a connection, and inside a turn nothing
 * that it has resolved goes away.
 *
 * Serving is bounded: one read of LOGD_INPUT bytes, the commands that are then whole, one attempt
 * to send. Epoll is level-triggered and reports again what is left.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "logd_btail.h"

#define EVENTS_A_TURN 64
#define LINGERING_AT_ONCE 32 /* collect at once when that many wait: it costs a barrier or two */

/* ---- one connection -------------------------------------------------------------------------- */

/* It can read nothing more; what it is still owed goes out first. */
static void begin_closing(struct connection *connection, enum close_reason reason)
{
    if (connection->closing)
        return;
    connection->closing = true;
    connection->reason = reason;
}

/* Reads once. False iff the connection is broken: then it ends at once. */
static bool receive(struct worker *worker, struct connection *connection)
{
    ssize_t n = recv(connection->fd, worker->input, sizeof(worker->input), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    if (n == 0) {
        begin_closing(connection, CLOSED_BY_CLIENT);
        return true;
    }
    if (!request_feed(&connection->request, worker->input, (size_t)n)) {
        reply_error(&connection->reply, "OOM no memory for this request");
        begin_closing(connection, CLOSED_FOR_MEMORY);
    }
    return true;
}

static void end_of_input(struct worker *worker, struct connection *connection,
                         enum request_state state)
{
    if (state == REQUEST_MALFORMED && !connection->closing) {
        count(&worker->counters, COUNT_PROTOCOL_ERRORS);
        reply_error(&connection->reply, "ERR Protocol error: %s", connection->request.error);
        begin_closing(connection, CLOSED_FOR_PROTOCOL);
    } else if (state == REQUEST_NOMEM) {
        reply_error(&connection->reply, "OOM no memory for this request");
        begin_closing(connection, CLOSED_FOR_MEMORY);
    }
}

/*
 * After a reply. False iff the connection ends at once: it leaves too much unread, its reply could
 * not be built, or it was killed, which is why the handle is looked at again.
 */
static bool may_go_on(struct worker *worker, struct connection *connection,
                      connections_handle handle)
{
    if (connection->reply.out.failed) {
        connection->reason = CLOSED_FOR_MEMORY;
        return false;
    }
    if (reply_pending(&connection->reply) > worker->server->options.max_output) {
        connection->reason = CLOSED_FOR_OUTPUT;
        return false;
    }
    return connections_contains(&worker->server->connections, handle);
}

/* Executes the commands that are whole, up to one that parks it. False iff it ends at once. */
static bool execute_commands(struct worker *worker, struct connection *connection,
                             connections_handle handle)
{
    struct command_context context = {worker, connection, handle};
    enum request_state state = REQUEST_INCOMPLETE;
    enum command_result result = COMMAND_DONE;
    while (result == COMMAND_DONE &&
           (state = request_next(&connection->request)) == REQUEST_READY) {
        result = command_execute(&context);
        count(&worker->counters, COUNT_COMMANDS);
        vbuf_u64_owner_add_relaxed(&connection->commands, 1);
        vbuf_u64_store_relaxed(&connection->active, (uint64_t)worker->now);
        if (!may_go_on(worker, connection, handle))
            return false;
    }
    if (result == COMMAND_QUIT)
        begin_closing(connection, CLOSED_ON_REQUEST);
    else if (result == COMMAND_DONE)
        end_of_input(worker, connection, state);
    return true;
}

/* Sends what it can and waits for what is left. False iff the connection ends now. */
static bool send_replies(struct worker *worker, struct connection *connection,
                         connections_handle handle)
{
    size_t before = reply_pending(&connection->reply);
    if (!reply_flush(&connection->reply, connection->fd))
        return false;
    size_t left = reply_pending(&connection->reply);
    if (left < before)
        vbuf_u64_store_relaxed(&connection->active, (uint64_t)worker->now);
    if (connection->closing && left == 0)
        return false;
    bool parked = connection->parked != NULL;
    /* Release: `active` came before. Pairs with check_idle. */
    vbuf_u32_store_release(&connection->quiet, parked && left == 0);
    uint32_t interest = 0;
    if (parked)
        interest |= EPOLLRDHUP; /* what it sends it may go on sending: it is read later */
    else if (!connection->closing)
        interest |= EPOLLIN;
    if (left > 0)
        interest |= EPOLLOUT;
    return connection_watch(connection, handle, interest);
}

static void serve(struct worker *worker, struct connection *connection, connections_handle handle,
                  uint32_t events)
{
    bool lives = true;
    if (connection->parked != NULL)
        lives = (events & ~(uint32_t)EPOLLOUT) == 0; /* else it has hung up */
    else if (!connection->closing && (events & ~(uint32_t)EPOLLOUT))
        lives = receive(worker, connection) && execute_commands(worker, connection, handle);
    if (lives)
        lives = send_replies(worker, connection, handle);
    if (!lives)
        connection_close(worker->server, &worker->counters, handle, connection->reason);
}

void worker_resume(struct worker *worker, struct connection *connection, connections_handle handle)
{
    vbuf_u64_store_relaxed(&connection->active, (uint64_t)worker->now);
    if (!may_go_on(worker, connection, handle) || !execute_commands(worker, connection, handle) ||
        !send_replies(worker, connection, handle))
        connection_close(worker->server, &worker->counters, handle, connection->reason);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void handle_event(struct worker *worker, const struct epoll_event *event)
{
    connections_handle handle = {event->data.u64};
    if (handle.bits == 0) { /* no handle: it is the eventfd */
        uint64_t ignored;
        (void)!read(worker->wake, &ignored, sizeof(ignored));
        return;
    }
    struct connection *connection = connection_resolve(worker->server, &worker->counters, handle);
    if (connection != NULL)
        serve(worker, connection, handle, event->events);
}

bool reclaim_connections(struct server *server, struct counters *counters, int64_t now,
                         int64_t *collected)
{
    uint64_t lingering = vbuf_u64_load_relaxed(&counters->lingering);
    if (lingering == 0)
        return false;
    if (lingering >= LINGERING_AT_ONCE || now - *collected >= LOGD_LINGER_MS * INT64_C(1000000)) {
        *collected = now;
        slotmap_collect(server->connections.map);
        lingering = vbuf_u64_load_relaxed(&counters->lingering);
    }
    return lingering > 0;
}

static bool is_stopping(const struct server *server)
{
    /* Pairs with the release in server_stop; nothing hangs on the order, and it costs nothing. */
    return vbuf_u32_load_acquire(&server->stopping) != 0;
}

/* How long to sleep, ms; -1: until something happens. */
static int patience(const struct worker *worker, bool lingering)
{
    int ms = btail_patience(worker);
    if (lingering && (ms < 0 || ms > LOGD_LINGER_MS))
        ms = LOGD_LINGER_MS;
    return ms;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct server *server = worker->server;
    struct epoll_event events[EVENTS_A_TURN];
    bool lingering = false;
    while (!is_stopping(server)) {
        int n = epoll_wait(worker->epoll, events, EVENTS_A_TURN, patience(worker, lingering));
        worker->now = now_ns();
        connections_pin(&server->connections);
        for (int i = 0; i < n && !is_stopping(server); i++)
            handle_event(worker, &events[i]);
        btail_turn(worker);
        connections_unpin(&server->connections);
        lingering = reclaim_connections(server, &worker->counters, worker->now, &worker->collected);
    }
    return NULL;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static bool open_descriptors(struct worker *worker)
{
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    return worker->epoll >= 0 && worker->wake >= 0 &&
           epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event) == 0;
}

bool worker_start(struct worker *worker, struct server *server, size_t number)
{
    worker->server = server;
    worker->number = number;
    worker->epoll = worker->wake = -1;
    worker->now = now_ns();
    size_t max_clients = server->options.max_clients;
    if (appender_init(&worker->appender, &server->store, server->options.max_store) == VBUF_OK &&
        deadlines_open(&worker->deadlines, max_clients + connections_max_limbo(max_clients)) ==
            VBUF_OK &&
        open_descriptors(worker))
        worker->started = pthread_create(&worker->thread, NULL, work, worker) == 0;
    return worker->started;
}

void worker_wake(const struct worker *worker)
{
    uint64_t one = 1;
    if (worker->started)
        (void)!write(worker->wake, &one, sizeof(one));
}

void worker_join(struct worker *worker)
{
    if (worker->started)
        pthread_join(worker->thread, NULL);
    worker->started = false;
}

void worker_destroy(struct worker *worker)
{
    if (worker->server == NULL)
        return; /* never got so far */
    if (worker->epoll >= 0)
        close(worker->epoll);
    if (worker->wake >= 0)
        close(worker->wake);
    parked_heap_destroy(&worker->deadlines);
    appender_destroy(&worker->appender);
}
