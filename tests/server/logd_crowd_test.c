/*
 * logd_crowd_test.c - thousands of connections at once, nearly all of them idle.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define CROWD (SANITIZED ? 1000 : 5000)
#define LEAST_CROWD (SANITIZED ? 200 : 1000)
#define SPARE 64        /* descriptors for everything else */
#define CONTEMPT_KIB 16 /* memory that an idle client may cost, on logd's account */

static struct logd server;
static struct witnesses witnesses;
static struct client visitor;
static int sockets[CROWD];

/* How many this process and logd, which needs twice as many descriptors as clients, may have. */
static size_t crowd_size(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    size_t most = limit.rlim_max > 2 * (CROWD + SPARE) ? CROWD : (size_t)limit.rlim_max / 2 - SPARE;
    return most < CROWD ? most : CROWD;
}

/* One more, which is reset when it is closed: thousands must not occupy ports afterwards. */
static bool join(size_t i)
{
    struct linger reset = {1, 0};
    if (!client_open(&visitor, &server))
        return false;
    setsockopt(visitor.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    sockets[i] = visitor.fd;
    return true;
}

static void leave(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        visitor.fd = sockets[i];
        client_close(&visitor);
    }
}

/* A descriptor limit that a shell would give: logd must raise it by itself. */
static bool start_with_few_descriptors(const char *const *options)
{
    struct rlimit limit;
    struct rlimit few;
    getrlimit(RLIMIT_NOFILE, &limit);
    few = limit;
    few.rlim_cur = 256;
    setrlimit(RLIMIT_NOFILE, &few);
    bool started = logd_start(&server, options, 0);
    setrlimit(RLIMIT_NOFILE, &limit);
    return started && witnesses_open(&witnesses, &server);
}

TEST(logd_crowd, idle_thousands_disturb_nobody)
{
    const char *const options[] = {"--idle-timeout", "0", NULL};
    size_t count = crowd_size();
    if (count < LEAST_CROWD)
        SKIP("too few descriptors");
    REQUIRE(start_with_few_descriptors(options));
    uint64_t before = client_info(&witnesses.clients[0], "used_memory_clients");
    for (size_t i = 0; i < count; i++) {
        REQUIRE(join(i));
        if (i % 500 == 0)
            witnesses_check(&witnesses, "more and more clients");
    }
    CHECK_EQ(client_await_info(&witnesses.clients[0], "connected_clients", count + 2), count + 2);
    uint64_t each = (client_info(&witnesses.clients[0], "used_memory_clients") - before) / count;
    CHECK(each < 1024); /* they have said nothing yet */
    CHECK(client_info(&witnesses.clients[0], "used_memory_each_client") < 2048);
    for (size_t i = 0; i < count; i++) { /* all of them are connected, and served */
        visitor.fd = sockets[i];
        visitor.start = visitor.end = 0;
        client_command(&visitor, "PING", NULL);
        EXPECT(&visitor, "+PONG\r\n");
    }
    each = (client_info(&witnesses.clients[0], "used_memory_clients") - before) / count;
    CHECK(each < CONTEMPT_KIB * 1024);
    witnesses_check(&witnesses, "thousands of idle clients");
    leave(count);
    CHECK_EQ(client_await_info(&witnesses.clients[0], "connected_clients", 2), 2);
    witnesses_settle(&witnesses);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* As many that wait for the same record: one push answers them all. */
TEST(logd_crowd, parked_thousands_are_answered)
{
    const char *const options[] = {"--idle-timeout", "0", NULL};
    size_t count = crowd_size();
    if (count < LEAST_CROWD)
        SKIP("too few descriptors");
    REQUIRE(start_with_few_descriptors(options));
    for (size_t i = 0; i < count; i++) {
        REQUIRE(join(i));
        client_command(&visitor, "BTAIL", "log", "0", "0", NULL);
    }
    CHECK_EQ(client_await_info(&witnesses.clients[0], "blocked_clients", count), count);
    witnesses_check(&witnesses, "thousands of parked clients");
    CHECK_EQ(client_ask(&witnesses.clients[0], "RPUSH", "log", "record", NULL), 1);
    for (size_t i = 0; i < count; i++) {
        visitor.fd = sockets[i];
        visitor.start = visitor.end = 0;
        EXPECT(&visitor, "*1\r\n$6\r\nrecord\r\n");
    }
    CHECK_EQ(client_await_info(&witnesses.clients[0], "blocked_clients", 0), 0);
    leave(count);
    witnesses_settle(&witnesses);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* With too few descriptors for all that may come, it takes fewer, and says so to those it turns away. */
TEST(logd_crowd, no_more_clients_than_descriptors)
{
    const char *const options[] = {"--max-clients", "1000", NULL};
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max < 400)
        SKIP("too few descriptors");
    REQUIRE(logd_start_limited(&server, options, (struct logd_limits){.descriptors = 400}));
    REQUIRE(witnesses_open(&witnesses, &server));
    uint64_t most = client_info(&witnesses.clients[0], "maxclients");
    CHECK(most > 50 && most < 200); /* the rest is for those that are just ending */
    for (size_t i = 0; i + 2 < most; i++)
        REQUIRE(join(i));
    CHECK_EQ(client_await_info(&witnesses.clients[0], "connected_clients", most), most);
    REQUIRE(join((size_t)most - 2));
    EXPECT(&visitor, "-ERR max number of clients reached\r\n");
    leave((size_t)most - 1);
    CHECK_EQ(client_await_info(&witnesses.clients[0], "connected_clients", 2), 2);
    witnesses_check(&witnesses, "more clients than descriptors");
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}
