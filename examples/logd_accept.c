/*
 * logd_accept.c - the main thread's work: it accepts clients, and ends those that have gone idle.
 *
 * The timer of a connection stands in a side array, at the number of the connection's slot: two
 * live handles never share one. It holds the handle, so a timer that outlives its connection needs
 * no cancelling: when it is due the handle does not resolve, or the slot's next connection has long
 * overwritten it. The array is a vbuf: it grows in place, as far as slots are in use.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "logd.h"
#include "logd_memory.h"

#define BACKLOG 511
#define ACCEPTS_A_TURN 64
#define TIMERS_MOST ((size_t)1 << 32) /* bytes of address space: more slots than descriptors */
#define TICK_LEAST_MS 5
#define TICK_MOST_MS 1000
#define PAUSE_MS 20 /* when the system has no descriptor to give */

struct timer {
    connections_handle handle;
    int64_t due;
};

struct acceptor {
    struct server *server;
    int listener;
    size_t next_worker;
    struct vbuf timers; /* struct timer, by slot number */
    int64_t next_tick;  /* ns */
    int64_t collected;  /* ns */
    bool paused;        /* not accepting for a moment */
};

/* ---- idle connections ------------------------------------------------------------------------ */

static bool set_timer(struct acceptor *acceptor, connections_handle handle, int64_t due)
{
    size_t index = slotmap_handle_index(connections_untyped(handle));
    size_t end = (index + 1) * sizeof(struct timer);
    if (end > acceptor->timers.len && vbuf_resize(&acceptor->timers, end) != VBUF_OK)
        return false;
    struct timer *timers = (struct timer *)(void *)acceptor->timers.data;
    timers[index] = (struct timer){handle, due};
    return true;
}

/* A timer is due: the connection has ended, or ends now, or has been active since. */
static void check_idle(struct acceptor *acceptor, struct timer *timer, int64_t now)
{
    struct server *server = acceptor->server;
    struct connection *connection = connection_resolve(server, &server->counters, timer->handle);
    if (connection == NULL) {
        timer->handle.bits = 0;
        return;
    }
    /* Acquire pairs with send_replies: who is no longer quiet has been active since. */
    bool quiet = vbuf_u32_load_acquire(&connection->quiet) != 0;
    /* Relaxed: a time that is just being replaced will do. */
    int64_t active = quiet ? now : (int64_t)vbuf_u64_load_relaxed(&connection->active);
    timer->due = active + server->options.idle_timeout;
    if (timer->due > now)
        return;
    connection_close(server, &server->counters, timer->handle, CLOSED_IDLE);
    timer->handle.bits = 0;
}

static void check_timers(struct acceptor *acceptor, int64_t now)
{
    struct timer *timers = (struct timer *)(void *)acceptor->timers.data;
    size_t count = acceptor->timers.len / sizeof(*timers);
    connections_pin(&acceptor->server->connections);
    for (size_t i = 0; i < count; i++) {
        if (timers[i].handle.bits != 0 && timers[i].due <= now)
            check_idle(acceptor, &timers[i], now);
    }
    connections_unpin(&acceptor->server->connections);
}

/* How often to look at the timers, ms: a connection lives on for up to that much longer. */
static int tick_ms(const struct options *options)
{
    int64_t ms = options->idle_timeout / 1000000 / 10;
    return ms < TICK_LEAST_MS ? TICK_LEAST_MS : ms > TICK_MOST_MS ? TICK_MOST_MS : (int)ms;
}

/* ---- new connections ------------------------------------------------------------------------- */

/* Says why and hangs up. If the socket cannot take a line this early, the client goes without. */
static void turn_away(struct acceptor *acceptor, int fd, const char *line)
{
    count(&acceptor->server->counters, COUNT_REFUSED); /* before the client can know, and ask */
    (void)!send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static struct connection describe(struct acceptor *acceptor, int fd, const struct sockaddr_in *peer,
                                  int64_t now)
{
    struct server *server = acceptor->server;
    struct connection connection = {
        .fd = fd,
        .worker = &server->workers[acceptor->next_worker++ % server->options.workers],
        .opened = now,
        .active = {(uint64_t)now},
        .request.max_bytes = server->options.max_request,
        .interest = EPOLLIN,
        .reason = CLOSED_BY_CLIENT,
    };
    char host[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, &peer->sin_addr, host, sizeof(host));
    snprintf(connection.address, sizeof(connection.address), "%s:%u", host, ntohs(peer->sin_port));
    return connection;
}

/*
 * Sets the new connection's timer and gives it to its worker. From the insert on it may be killed,
 * and its killer's deregistration may have come before our registration: hence the second look.
 * Pinned.
 */
static void hand_over(struct acceptor *acceptor, connections_handle handle, int64_t now)
{
    struct server *server = acceptor->server;
    struct connection *connection = connections_get(&server->connections, handle);
    if (connection == NULL)
        return;
    int64_t timeout = server->options.idle_timeout;
    if ((timeout > 0 && !set_timer(acceptor, handle, now + timeout)) ||
        !connection_register(connection, handle))
        connection_close(server, &server->counters, handle, CLOSED_FOR_MEMORY);
    else if (!connections_contains(&server->connections, handle))
        epoll_ctl(connection->worker->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
}

static void admit(struct acceptor *acceptor, int fd, const struct sockaddr_in *peer, int64_t now)
{
    struct server *server = acceptor->server;
    struct connection connection = describe(acceptor, fd, peer, now);
    connections_handle handle;
    connections_pin(&server->connections);
    enum vbuf_status status = connections_insert(&server->connections, connection, &handle);
    if (status == VBUF_OK) {
        count(&server->counters, COUNT_OPENED);
        hand_over(acceptor, handle, now);
    }
    connections_unpin(&server->connections);
    if (status == VBUF_FULL || status == VBUF_BUSY)
        turn_away(acceptor, fd, "-ERR max number of clients reached\r\n");
    else if (status != VBUF_OK)
        turn_away(acceptor, fd, "-OOM no memory for another client\r\n");
}

/* Accepts what waits, up to a bound. False iff the system has nothing to give: try again later. */
static bool accept_some(struct acceptor *acceptor, int64_t now)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(acceptor->listener, (struct sockaddr *)&peer, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ||
                   errno == ECONNABORTED;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        admit(acceptor, fd, &peer, now);
    }
    return true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* The time until the next thing to do unasked, ms; -1 if there is none. */
static int patience(const struct acceptor *acceptor, bool lingering)
{
    if (lingering)
        return LOGD_LINGER_MS;
    if (acceptor->paused)
        return PAUSE_MS;
    const struct options *options = &acceptor->server->options;
    return options->idle_timeout > 0 ? tick_ms(options) : -1;
}

/* One turn: waits, accepts, ticks, collects. False iff a signal has come. */
static bool turn(struct acceptor *acceptor, int signals, bool *lingering)
{
    struct server *server = acceptor->server;
    struct pollfd polled[2] = {
        {.fd = signals, .events = POLLIN},
        {.fd = acceptor->paused ? -1 : acceptor->listener, .events = POLLIN},
    };
    poll(polled, 2, patience(acceptor, *lingering));
    if (polled[0].revents != 0)
        return false;
    int64_t now = now_ns();
    acceptor->paused = polled[1].revents != 0 && !accept_some(acceptor, now);
    if (server->options.idle_timeout > 0 && now >= acceptor->next_tick) {
        check_timers(acceptor, now);
        acceptor->next_tick = now + tick_ms(&server->options) * INT64_C(1000000);
    }
    *lingering = reclaim_connections(server, &server->counters, now, &acceptor->collected);
    return true;
}

bool accept_clients(struct server *server, int listener, int signals)
{
    struct acceptor acceptor = {.server = server, .listener = listener};
    struct vbuf_options options = {
        .max = TIMERS_MOST,
        .on_commit = memory_commit_clients,
        .on_decommit = memory_decommit_clients,
    };
    if (vbuf_init(&acceptor.timers, &options) != VBUF_OK) {
        fprintf(stderr, "logd: no address space for timers\n");
        return false;
    }
    bool lingering = false;
    while (turn(&acceptor, signals, &lingering)) {
    }
    vbuf_destroy(&acceptor.timers);
    return true;
}

/* Loopback only: whoever reaches the port can do everything. */
int listen_loopback(uint16_t port, uint16_t *got)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(address);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        close(fd);
        return -1;
    }
    *got = ntohs(address.sin_port);
    return fd;
}
