/*
 * logd.c - a log server that speaks the Redis protocol on loopback.
 *
 * An example of how the containers are embedded in a multithreaded server: no mutex anywhere, and
 * no pointer that outlives its pin. RPUSH appends records to a log; LLEN, LINDEX and LRANGE read
 * it; BTAIL waits for its next records.
 *
 *      clients ──▶ main thread: accepts, ends idle connections
 *                     │ handle                     connections   a slotmap: who is connected
 *         ┌───────────┴───────────┐                keys          a fixed table of lists
 *         ▼                       ▼                each log      a cvec of records
 *      worker 0                worker 1            the bytes     a vbuf for each worker
 *      epoll, parser, bytes    epoll, parser, bytes
 *
 * Threads. The main thread accepts; it gives each connection to a worker, in turn, for life. A
 * worker waits in its own epoll and is the only one to read, parse, execute and send for its
 * connections. What goes wrong on a connection ends that connection and touches nothing else.
 *
 * Handles. What epoll keeps in data.u64, what the idle timer keeps, what CLIENT LIST shows as the
 * id and CLIENT KILL takes, is the connection's handle. It is turned into a pointer by a lookup,
 * under a pin, at the moment of use. If the connection has ended in the meantime, whoever ended it,
 * the lookup says so: "stale handles refused" in INFO counts how often that happened. Nobody has to
 * be told of an end, and an id that a user made up is as harmless as one that is out of date.
 *
 * Pins. A worker is pinned while it serves a batch of events and unpinned while it sleeps; the main
 * thread while it hands a connection over or checks the timers. Under the pin what was looked up
 * stays: when another thread kills the connection that a worker is just serving, the worker goes on
 * with memory that is intact and a socket that fails, and finds the handle stale when it next
 * looks.
 *
 * Ends. Any thread may end any connection: hang-up, QUIT, CLIENT KILL, idle time-out. It removes
 * the handle, and of several that try exactly one succeeds (S2); that one shuts the socket down.
 * The descriptor is closed and the buffers are freed by the slotmap's destructor, after the last
 * pin that could see them, so a descriptor's number is never reused under somebody's hands. Each
 * thread collects what it removed, a few milliseconds later at most: while it sleeps, nothing of
 * its own lingers.
 *
 * Logs. A worker copies the values of an RPUSH into its vbuf, to which only it appends, and then
 * extends the log by records that point there, all at once. Neither ever moves, nor is anything
 * deleted, so readers of any thread go from snapshot to record to bytes without a pin. The reply
 * comes after the append: what has been acknowledged is stored. What cannot be stored is not, not
 * even in part; a new key appears together with its first records.
 *
 * Waiting. BTAIL at the end of a log parks its client: the worker writes down what the client waits
 * for, as a cursor into the log, and goes on (logd_btail.c). Who appends does not know whether
 * anybody waits, and pays a load to find that nobody does; if somebody does, it sends a note to that
 * somebody's worker, and wakes it (logd_tail.c). A parked client is not idle, and not in the way of
 * anything: it may be killed, hang up, or be shut down like any other.
 *
 * Memory. --max-memory bounds what logd commits and allocates, records, tables and buffers together
 * (logd_memory.c): the containers ask before they grow. What would go past it is answered with an
 * error and changes nothing. The last eighth is not for records, so what is stored can be read.
 *
 * Bounds. Clients, keys, record, log, request, unread output, stored bytes, and memory have limits,
 * which are options; a client past one gets an error, or, where it cannot be served any further,
 * loses its connection. A request that stays half-written, and a reply that stays unread, end with the
 * idle time-out. Signals: SIGINT and SIGTERM end it in order; so does SHUTDOWN, which sends
 * SIGTERM.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "logd_btail.h"
#include "logd_memory.h"

static bool complain(const char *what)
{
    fprintf(stderr, "logd: %s: %s\n", what, strerror(errno));
    return false;
}

/* ---- before anything starts ------------------------------------------------------------------ */

/* A descriptor that becomes readable when the process should end. All threads inherit the mask. */
static int watch_signals(void)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &ends, NULL) != 0)
        return -1;
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Live connections, and removed ones whose destructor is still to come, each hold a descriptor. */
static size_t descriptors_for(const struct options *options, size_t clients)
{
    return clients + connections_max_limbo(clients) + 2 * options->workers + 32;
}

/* As many descriptors as the system gives; no more clients than there are descriptors for. */
static void allow_descriptors(struct options *options)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = before;
    size_t clients = options->max_clients;
    while (clients > 1 && descriptors_for(options, clients) > limit.rlim_cur)
        clients -= (clients + 63) / 64;
    if (clients < options->max_clients)
        fprintf(stderr, "logd: descriptors for %zu clients only, not %zu\n", clients,
                options->max_clients);
    options->max_clients = clients;
}

/* ---- the server ------------------------------------------------------------------------------ */

static bool server_start(struct server *server)
{
    const struct options *options = &server->options;
    server->started = now_ns();
    if (connections_open_table(&server->connections, options->max_clients) != VBUF_OK)
        return complain("the table of connections");
    if (store_init(&server->store, options->max_keys, options->max_log_len, options->workers) !=
        VBUF_OK)
        return complain("the table of keys");
    size_t size = options->workers * sizeof(*server->workers);
    if (!memory_take(MEMORY_STORED, size))
        return complain("workers");
    server->workers = aligned_alloc(_Alignof(struct worker), size);
    if (server->workers == NULL)
        return complain("workers");
    memset(server->workers, 0, size);
    for (size_t i = 0; i < options->workers; i++) {
        if (!worker_start(&server->workers[i], server, i))
            return complain("a worker");
    }
    return true;
}

/* Joins the threads, then frees what they shared: first what points, then what is pointed to. */
static void server_stop(struct server *server)
{
    size_t workers = server->workers == NULL ? 0 : server->options.workers;
    vbuf_u32_store_release(&server->stopping, 1); /* pairs with is_stopping */
    for (size_t i = 0; i < workers; i++)
        worker_wake(&server->workers[i]);
    for (size_t i = 0; i < workers; i++)
        worker_join(&server->workers[i]);
    for (size_t i = 0; i < workers; i++)
        btail_drop_all(&server->workers[i]);
    connections_destroy(&server->connections);
    store_destroy(&server->store);
    for (size_t i = 0; i < workers; i++)
        worker_destroy(&server->workers[i]);
    free(server->workers);
}

/* ---- telling the port ------------------------------------------------------------------------ */

/* By way of a second name, so that whoever finds the file finds it whole. */
static bool write_port_file(const char *name, uint16_t port)
{
    char part[4096];
    if ((size_t)snprintf(part, sizeof(part), "%s.part", name) >= sizeof(part))
        return complain(name);
    FILE *file = fopen(part, "w");
    if (file == NULL)
        return complain(part);
    fprintf(file, "%u\n", port);
    if (fclose(file) != 0 || rename(part, name) != 0)
        return complain(name);
    return true;
}

static bool announce(const struct server *server)
{
    const char *file = server->options.port_file;
    if (file != NULL && !write_port_file(file, server->port))
        return false;
    printf("logd: listening on 127.0.0.1:%u\n", server->port);
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    static struct server server;
    int status = EXIT_FAILURE;
    if (!options_parse(&server.options, argc, argv, &status))
        return status;
    allow_descriptors(&server.options);
    memory_set_limit(server.options.max_memory);
    int signals = watch_signals();
    int listener = listen_loopback(server.options.port, &server.port);
    if (signals < 0)
        complain("signals");
    else if (listener < 0)
        complain("the port");
    else if (server_start(&server) && announce(&server)) {
        status = accept_clients(&server, listener, signals) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (listener >= 0)
        close(listener);
    server_stop(&server);
    if (signals >= 0)
        close(signals);
    return status;
}
