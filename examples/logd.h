/*
 * logd.h - what the parts of logd share: options, counters, workers, the server.
 *
 * logd.c says how they fit together.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_H
#define LOGD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <vbuf/atomic.h>

#include "logd_conn.h"
#include "logd_deadline.h"
#include "logd_store.h"

#define LOGD_VERSION "0.1.0"
#define LOGD_MAX_KEY 512 /* bytes of a key */
#define LOGD_INPUT 16384 /* bytes read from one connection at a time */

struct options {
    uint16_t port;         /* 0: a free one */
    const char *port_file; /* may be NULL */
    size_t workers;
    size_t max_clients;
    size_t max_keys;
    size_t max_record;    /* bytes of a value */
    size_t max_log_len;   /* records of a log */
    size_t max_request;   /* bytes of all arguments of a command */
    size_t max_output;    /* bytes a client may leave unread */
    size_t max_store;     /* bytes stored by each worker */
    size_t max_memory;    /* bytes in all; 0: no limit */
    int64_t idle_timeout; /* ns; 0: none */
};

/*
 * True iff the command line was understood. Otherwise *status is what to exit with: 0 after --help.
 */
bool options_parse(struct options *options, int argc, char **argv, int *status);

enum counter {
    COUNT_OPENED,
    COUNT_REFUSED, /* clients beyond the limit */
    COUNT_COMMANDS,
    COUNT_PROTOCOL_ERRORS,
    COUNT_TAIL_WAKES, /* system calls to wake another worker for parked clients */
    COUNT_STALE,      /* handles that named no connection any more */
    COUNT_CLOSED,     /* and behind it one for each further reason */
    COUNTERS = COUNT_CLOSED + CLOSE_REASONS
};

/* What one thread has counted: written by that thread, read by INFO. */
struct counters {
    struct vbuf_atomic_u64 of[COUNTERS];
    /* Connections it removed that are not yet destroyed: + by this thread, - by the destructor. */
    struct vbuf_atomic_u64 lingering;
} __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));

static inline void count(struct counters *counters, enum counter which)
{
    vbuf_u64_owner_add_relaxed(&counters->of[which], 1); /* relaxed: figures, they order nothing */
}

struct worker {
    struct server *server;
    size_t number;
    pthread_t thread;
    bool started;
    int epoll;
    int wake; /* an eventfd: something other than a connection wants attention */
    int64_t now;
    int64_t collected; /* when it last collected, ns */
    struct appender appender;
    struct counters counters;
    /* Parked clients. */
    struct vbuf_atomic_pointer notes; /* struct tail_note: sent by others, taken by the worker */
    struct vbuf_atomic_u64 parked;    /* how many; its own, read by INFO */
    struct parked_heap deadlines;
    struct tail_watcher *fresh; /* to be looked at once more, after a fence */
    bool unsure;                /* which there was none: look every LOGD_LOOK_MS */
    struct text values[REQUEST_MAX_ARGUMENTS];
    char input[LOGD_INPUT];
};

struct server {
    struct options options;
    int64_t started;
    struct connections connections;
    struct store store;
    struct worker *workers;
    struct counters counters;        /* the main thread's */
    struct vbuf_atomic_u32 stopping; /* set by the main thread, read by the workers */
    uint16_t port;                   /* the one it listens at */
};

/* Monotonic time, ns. */
static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- logd_worker.c --------------------------------------------------------------------------- */

/* False, and everything is as before, when the system refuses. */
bool worker_start(struct worker *worker, struct server *server, size_t number);

/* Makes the worker look at its notes, and at server->stopping. */
void worker_wake(const struct worker *worker);

/* Goes on with a client that has been parked, and has been answered. Its worker only, pinned. */
void worker_resume(struct worker *worker, struct connection *connection, connections_handle handle);

/* Waits for its end. Does nothing to one that was not started. */
void worker_join(struct worker *worker);

/* After the store and the connections are gone. */
void worker_destroy(struct worker *worker);

/*
 * Destroys what this thread removed and no pin protects, when that is worth its price. Not under a
 * pin. Returns true iff something lingers on: then call again within LOGD_LINGER_MS.
 */
bool reclaim_connections(struct server *server, struct counters *counters, int64_t now,
                         int64_t *collected);

#define LOGD_LINGER_MS 5
#define LOGD_LOOK_MS 2

/* ---- logd_accept.c --------------------------------------------------------------------------- */

/* A socket that listens on loopback, or -1; the port it got goes to *port. */
int listen_loopback(uint16_t port, uint16_t *got);

/*
 * Accepts clients and ends idle ones until `signals`, a signalfd, is readable. False iff it could not
 * begin.
 */
bool accept_clients(struct server *server, int listener, int signals);

#endif
