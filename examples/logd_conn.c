/*
 * logd_conn.c - connections, and the table in which they live.
 *
 * Who may touch what. The worker that a connection was given to owns its parser, its reply and its
 * place in the worker's epoll. Everybody else resolves the handle under a pin and then reads the
 * fixed and the atomic fields, or ends it: remove, deregister, shut down, in this order.
 *
 *   The remove decides: one caller wins, the rest find the handle stale, and do nothing.
 *   The deregistration keeps epoll from reporting the hang-up of a dead connection again and again.
 *   The shutdown is what the client sees, now. The descriptor stays open and its number taken.
 *
 * The worker may be serving the connection all the while: under its pin the memory stays, sends
 * fail, and an event that epoll had delivered before resolves to nothing. What could still go wrong
 * is a registration that comes after the winner's deregistration. The worker itself only modifies,
 * which fails on what is gone; the main thread, which registers, looks again afterwards (admit in
 * logd_accept.c).
 *
 * A client that is parked is also known to its worker's lists, which hold no pointer to it but its
 * handle. The winner tells the worker (logd_btail.c), for there may never be an event to tell it.
 *
 * The winner may be any thread; each collects what it removed (reclaim_connections), so that
 * descriptors of closed connections do not wait for a thread that sleeps.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_conn.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "logd.h"
#include "logd_deadline.h"
#include "logd_memory.h"

/* ---- names ----------------------------------------------------------------------------------- */

static void free_name(struct ebr_entry *retired)
{
    memory_free((char *)retired - offsetof(struct client_name, retired),
                sizeof(struct client_name));
}

bool connection_rename(struct server *server, struct connection *connection, struct text name)
{
    struct client_name *made = NULL;
    if (name.len > 0) {
        made = memory_resize(NULL, 0, sizeof(*made));
        if (made == NULL)
            return false;
        memset(made, 0, sizeof(*made));
        memcpy(made->text, name.data, name.len < LOGD_NAME ? name.len : LOGD_NAME - 1);
    }
    /* Pairs with the acquire in connection_name: who sees the pointer sees the text. */
    struct client_name *old = vbuf_pointer_exchange_acq_rel(&connection->name, made);
    if (old != NULL)
        ebr_retire(slotmap_domain(server->connections.map), &old->retired, free_name);
    return true;
}

const char *connection_name(const struct connection *connection)
{
    const struct client_name *name = vbuf_pointer_load_acquire(&connection->name);
    return name == NULL ? "" : name->text;
}

/* ---- the end of a connection ----------------------------------------------------------------- */

/* The slotmap's destructor: nobody can see the connection any more. Runs on any thread. */
static void destroy_connection(void *context, void *value)
{
    struct connection *connection = value;
    (void)context;
    close(connection->fd);
    /* Relaxed: ours alone by now. */
    memory_free(vbuf_pointer_load_relaxed(&connection->name), sizeof(struct client_name));
    request_free(&connection->request);
    reply_free(&connection->reply);
    if (connection->closer != NULL) /* NULL: still live when the table was destroyed */
        vbuf_u64_fetch_add_relaxed(&connection->closer->lingering, UINT64_MAX); /* - 1; a figure */
}

bool connection_close(struct server *server, struct counters *counters, connections_handle handle,
                      enum close_reason reason)
{
    struct connection *connection = connection_resolve(server, counters, handle);
    if (connection == NULL)
        return false;
    if (connections_remove(&server->connections, handle) != VBUF_OK) {
        count(counters, COUNT_STALE);
        return false;
    }
    /* We are the one. The caller's pin keeps the connection until we are through. */
    connection->closer = counters;
    vbuf_u64_fetch_add_relaxed(&counters->lingering, 1);
    count(counters, COUNT_CLOSED + reason);
    epoll_ctl(connection->worker->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
    shutdown(connection->fd, SHUT_RDWR);
    /* Acquire: `parked` is what its worker wrote. Pairs with the parking in logd_btail.c. */
    if (vbuf_u32_exchange_acq_rel(&connection->tie, TIE_ENDED) == TIE_PARKED) {
        struct worker *worker = connection->worker;
        struct worker *self = counters == &worker->counters ? worker : NULL;
        tail_send(worker, &connection->parked->end, self);
    }
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------- */

struct connection *connection_resolve(struct server *server, struct counters *counters,
                                      connections_handle handle)
{
    struct connection *connection = connections_get(&server->connections, handle);
    if (connection == NULL)
        count(counters, COUNT_STALE);
    return connection;
}

static bool control(const struct connection *connection, connections_handle handle, int operation)
{
    struct epoll_event event = {.events = connection->interest, .data.u64 = handle.bits};
    return epoll_ctl(connection->worker->epoll, operation, connection->fd, &event) == 0;
}

bool connection_register(const struct connection *connection, connections_handle handle)
{
    return control(connection, handle, EPOLL_CTL_ADD);
}

bool connection_watch(struct connection *connection, connections_handle handle, uint32_t interest)
{
    if (interest == connection->interest)
        return true;
    connection->interest = interest;
    return control(connection, handle, EPOLL_CTL_MOD);
}

enum vbuf_status connections_open_table(struct connections *connections, size_t max_clients)
{
    struct slotmap_options options = {
        .max_len = max_clients,
        .max_limbo = connections_max_limbo(max_clients),
        .destroy = destroy_connection,
        .on_commit = memory_commit_clients,
    };
    return connections_create(connections, &options);
}
