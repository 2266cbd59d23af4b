/*
 * logd_conn.h - connections, and the table in which they live.
 *
 * A connection is known by its handle. epoll, the idle timer, CLIENT KILL, and users, to whom it is
 * the client's id, hold handles; a pointer is held only under a pin. So nobody needs to know who
 * else knows the connection when it ends: the others' handles just stop resolving.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_CONN_H
#define LOGD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include <slotmap/slotmap.h>
#include <vbuf/atomic.h>
#include <vbuf/ebr.h>

#include "logd_reply.h"
#include "logd_request.h"

struct counters;
struct parked;
struct server;
struct worker;

#define LOGD_ADDRESS 24 /* "127.0.0.1:65535" */
#define LOGD_NAME 64
#define LOGD_LEAST_LIMBO 256

enum close_reason {
    CLOSED_BY_CLIENT,    /* it hung up */
    CLOSED_ON_REQUEST,   /* QUIT, or it killed itself */
    CLOSED_BY_KILL,      /* another client killed it */
    CLOSED_IDLE,         /* by the idle timer */
    CLOSED_FOR_PROTOCOL, /* malformed input */
    CLOSED_FOR_OUTPUT,   /* it does not read its replies */
    CLOSED_FOR_MEMORY,
    CLOSE_REASONS
};

/* Who settles the account of a parked client: see logd_btail.c. */
enum connection_tie { TIE_SERVED, TIE_PARKED, TIE_ENDED };

/* Replaced as a whole: readers under a pin keep the old one until they unpin (E1). */
struct client_name {
    struct ebr_entry retired;
    char text[LOGD_NAME];
};

struct connection {
    /* Fixed when it is published. */
    int fd; /* open until the destructor: its number cannot be reused while anybody is pinned */
    struct worker *worker;
    int64_t opened;
    char address[LOGD_ADDRESS];
    /* Written by its worker; read by CLIENT LIST and the idle timer. */
    struct vbuf_atomic_u64 active; /* ns: its last whole command, or progress in sending */
    struct vbuf_atomic_u64 commands;
    struct vbuf_atomic_pointer name; /* struct client_name, or NULL */
    struct vbuf_atomic_u32 quiet; /* parked, and owed nothing that it does not read: never idle */
    struct vbuf_atomic_u32 tie;   /* enum connection_tie; its worker's and of who ends it */
    /* Written by the one who removed it, for the destructor. */
    struct counters *closer;
    /* Its worker only; then, if that parked it, of who ends it. */
    struct parked *parked; /* NULL: it is not waiting */
    /* Its worker only. */
    struct request request;
    struct reply reply;
    uint32_t interest; /* the events epoll waits for */
    bool closing;      /* reads nothing more, ends when the reply is out */
    enum close_reason reason;
};

SLOTMAP_DEFINE(connections, struct connection)

static inline slotmap_handle connections_untyped(connections_handle handle)
{
    return (slotmap_handle){handle.bits};
}

/* A client's id is its handle: any number a user sends is safe to look up. */
static inline int64_t connection_id(connections_handle handle)
{
    return (int64_t)handle.bits;
}

static inline connections_handle connection_of_id(int64_t id)
{
    return (connections_handle){(uint64_t)id};
}

enum vbuf_status connections_open_table(struct connections *connections, size_t max_clients);

/* How many removed connections may wait for their destructor; each still holds its descriptor. */
static inline size_t connections_max_limbo(size_t max_clients)
{
    return max_clients < LOGD_LEAST_LIMBO ? LOGD_LEAST_LIMBO : max_clients;
}

/*
 * The connection under this handle; NULL, and counted as stale, if it has ended. The caller is
 * pinned.
 */
struct connection *connection_resolve(struct server *server, struct counters *counters,
                                      connections_handle handle);

/*
 * Ends a connection: returns true for exactly one of any number of callers (S2). The socket is shut
 * down at once, and the connection's worker hears no more of it; the destructor closes the
 * descriptor and frees the buffers when the worker, which may be in the middle of a command, has
 * let go of them. Any thread; the caller is pinned.
 */
bool connection_close(struct server *server, struct counters *counters, connections_handle handle,
                      enum close_reason reason);

/*
 * Makes its worker hear of the connection's `interest`, under its handle: first from the thread
 * that accepted it, then, whenever the interest is another, from the worker. False if the system
 * refuses.
 */
bool connection_register(const struct connection *connection, connections_handle handle);
bool connection_watch(struct connection *connection, connections_handle handle, uint32_t interest);

/* Sets the client's name, "" for none; its worker only, pinned. False when there is no memory. */
bool connection_rename(struct server *server, struct connection *connection, struct text name);

/* The client's name. The caller is pinned and keeps it no longer than that. */
const char *connection_name(const struct connection *connection);

#endif
