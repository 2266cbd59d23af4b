/*
 * logd_limits_test.c - every limit of logd's, reached: the answer is an error, what was stored
 * stays as it was, and others are served as before.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct logd server;
static struct witnesses witnesses;
static struct client client;

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* `len` times the same letter, terminated. */
static const char *letters(char letter, size_t len)
{
    static char text[4 << 20];
    memset(text, letter, len);
    text[len] = '\0';
    return text;
}

/* ---- what is stored -------------------------------------------------------------------------- */

TEST(logd_limits, keys)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-keys", "3"), 0));
    REQUIRE(witnesses_open(&witnesses, &server) && client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", "one", "x", NULL), 1);
    CHECK_EQ(client_ask(&client, "RPUSH", "two", "x", NULL), 1);
    CHECK_EQ(client_ask(&client, "RPUSH", "witnesses", "record 0", NULL), 1);
    for (int i = 0; i < 10; i++) {
        client_command(&client, "RPUSH", "four", "x", NULL);
        EXPECT(&client, "-ERR max number of keys reached (3)\r\n");
    }
    CHECK_EQ(client_ask(&client, "LLEN", "four", NULL), 0);
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 3);
    CHECK_EQ(client_ask(&client, "RPUSH", "two", "y", NULL), 2);
    witnesses.stored = 1;
    witnesses_check(&witnesses, "too many keys");
    client_close(&client);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

TEST(logd_limits, key_length)
{
    REQUIRE(logd_start(&server, OPTIONS("--workers", "1"), 0) && client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", letters('k', 512), "x", NULL), 1);
    client_command(&client, "RPUSH", letters('k', 513), "x", NULL);
    EXPECT(&client, "-ERR key exceeds 512 bytes\r\n");
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 1);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_limits, record_size)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-record", "100"), 0));
    REQUIRE(client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", "log", letters('r', 100), NULL), 1);
    client_command(&client, "RPUSH", "log", "short", letters('r', 101), NULL);
    EXPECT(&client, "-ERR record exceeds max-record (100 bytes)\r\n");
    client_command(&client, "RPUSH", "new", letters('r', 101), NULL);
    EXPECT(&client, "-ERR record exceeds max-record (100 bytes)\r\n");
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), 1);
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 1);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_limits, request_size)
{
    static const char announced[] = "*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$2000\r\n";
    REQUIRE(logd_start(&server, OPTIONS("--max-request", "2000"), 0));
    REQUIRE(witnesses_open(&witnesses, &server) && client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", "k", letters('r', 2000 - 6), NULL), 1);
    client_command(&client, "RPUSH", "k", letters('r', 1000), letters('r', 1000), NULL);
    EXPECT(&client, "-ERR Protocol error: invalid bulk length\r\n");
    CHECK(client_ends(&client));
    client_close(&client);
    /* Refused by its length alone, before it is sent. */
    REQUIRE(client_open(&client, &server));
    client_send(&client, announced, sizeof(announced) - 1);
    EXPECT(&client, "-ERR Protocol error: invalid bulk length\r\n");
    CHECK(client_ends(&client));
    client_close(&client);
    witnesses_check(&witnesses, "too large a request");
    CHECK_EQ(client_ask(&witnesses.clients[0], "LLEN", "k", NULL), 1);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

TEST(logd_limits, log_length)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-log-len", "10"), 0));
    REQUIRE(client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "1", "2", "3", "4", "5", "6", "7", "8", NULL), 8);
    uint64_t bytes = client_info(&client, "stored_bytes");
    client_command(&client, "RPUSH", "log", "9", "10", "11", NULL);
    EXPECT(&client, "-ERR log reached max-log-len (10)\r\n");
    CHECK_EQ(client_info(&client, "stored_bytes"), bytes);
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), 8);
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "9", "10", NULL), 10);
    client_command(&client, "RPUSH", "log", "11", NULL);
    EXPECT(&client, "-ERR log reached max-log-len (10)\r\n");
    client_command(&client, "LRANGE", "log", "7", "-1", NULL);
    EXPECT(&client, "*3\r\n$1\r\n8\r\n$1\r\n9\r\n$2\r\n10\r\n");
    CHECK_EQ(client_ask(&client, "RPUSH", "other", "1", NULL), 1);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* Pushes until memory is out, and one byte more; returns the number stored. */
static int64_t fill(struct client *pusher, const char *log, size_t size)
{
    int64_t stored = 0;
    int64_t reply;
    while ((reply = client_ask(pusher, "RPUSH", log, letters('a', size), NULL)) > 0) {
        CHECK_EQ(reply, stored + 1);
        stored = reply;
    }
    return stored;
}

TEST(logd_limits, stored_bytes)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-store", "65536"), 0));
    REQUIRE(client_open(&client, &server) && witnesses_open(&witnesses, &server));
    int64_t stored = fill(&client, "log", 1000);
    CHECK(stored > 60 && stored < 66);
    client_command(&client, "RPUSH", "log", "fits", letters('a', 1000), NULL);
    EXPECT(&client, "-OOM no memory left to store this\r\n");
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), stored); /* not even "fits" */
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "fits", NULL), stored + 1);
    client_command(&client, "LINDEX", "log", "-1", NULL);
    EXPECT(&client, "$4\r\nfits\r\n");
    /* The witnesses are at the other worker, and at this one, which has some bytes left. */
    witnesses_check(&witnesses, "a full store");
    client_close(&client);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/*
 * The system refuses memory. What is acknowledged is stored, the rest is not, and reading goes on.
 */
TEST(logd_limits, memory)
{
    if (SANITIZED)
        SKIP("a sanitizer needs memory of its own");
    REQUIRE(logd_start(&server, OPTIONS("--workers", "1"), 100 << 20));
    REQUIRE(client_open(&client, &server));
    int64_t stored = fill(&client, "log", 60000);
    CHECK(stored > 300);
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), stored);
    client_command(&client, "RPUSH", "log", letters('a', 60000), NULL);
    EXPECT(&client, "-OOM no memory left to store this\r\n");
    client_command(&client, "LRANGE", "log", "-1", "-1", NULL);
    EXPECT(&client, "*1\r\n$60000\r\naaaaaaaa");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- clients --------------------------------------------------------------------------------- */

#define MAX_CLIENTS 20

TEST(logd_limits, clients)
{
    static struct client clients[MAX_CLIENTS];
    REQUIRE(logd_start(&server, OPTIONS("--max-clients", "20"), 0));
    for (int round = 0; round < 20 && check_failures() == 0; round++) {
        for (int i = 0; i < MAX_CLIENTS; i++) {
            REQUIRE(client_open(&clients[i], &server));
            client_command(&clients[i], "PING", NULL);
            EXPECT(&clients[i], "+PONG\r\n");
        }
        for (int i = 0; i < 3; i++) {
            REQUIRE(client_open(&client, &server));
            EXPECT(&client, "-ERR max number of clients reached\r\n");
            CHECK(client_ends(&client));
            client_close(&client);
        }
        for (int i = 1; i < MAX_CLIENTS; i++)
            client_close(&clients[i]);
        CHECK_EQ(client_await_info(&clients[0], "connected_clients", 1), 1);
        CHECK_EQ(client_info(&clients[0], "connections_refused"), 3 * (round + 1));
        CHECK_EQ(client_await_info(&clients[0], "slotmap_limbo", 0), 0);
        client_command(&clients[0], "QUIT", NULL);
        EXPECT(&clients[0], "+OK\r\n");
        CHECK(client_ends(&clients[0]));
        client_close(&clients[0]);
    }
    logd_stop(&server, SIGTERM);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Fills a log with a megabyte. */
static void push_megabyte(struct client *pusher)
{
    for (int i = 0; i < 32; i++)
        client_ask(pusher, "RPUSH", "megabyte", letters('m', 32768), NULL);
}

TEST(logd_limits, a_client_that_never_reads)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-output", "2000000"), 0));
    REQUIRE(witnesses_open(&witnesses, &server) && client_open(&client, &server));
    push_megabyte(&client);
    int64_t started = now_ms();
    bool sent = true;
    for (int i = 0; sent && now_ms() - started < CLIENT_PATIENCE_S * 1000; i++) {
        sent = client_command(&client, "LRANGE", "megabyte", "0", "-1", NULL);
        if (i % 10 == 0)
            witnesses_check(&witnesses, "replies that nobody reads");
    }
    CHECK(!sent);
    CHECK(client_ends(&client));
    CHECK_EQ(client_await_info(&witnesses.clients[0], "closed_for_output", 1), 1);
    witnesses_check(&witnesses, "the end of a client that never reads");
    client_close(&client);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

TEST(logd_limits, a_range_larger_than_the_output)
{
    REQUIRE(logd_start(&server, OPTIONS("--max-output", "500000"), 0));
    REQUIRE(client_open(&client, &server));
    push_megabyte(&client);
    client_command(&client, "LRANGE", "megabyte", "0", "-1", NULL);
    EXPECT(&client, "-ERR range exceeds max-output (500000 bytes): ask for less\r\n");
    client_command(&client, "LRANGE", "megabyte", "0", "2", NULL);
    EXPECT(&client, "*3\r\n$32768\r\nmmmm");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/*
 * One that reads late, but reads, gets everything, whole and in order, even with its own half
 * closed.
 */
TEST(logd_limits, a_client_that_reads_late)
{
    char *text = malloc(1 << 16);
    REQUIRE(text != NULL && logd_start(&server, OPTIONS("--workers", "1"), 0));
    REQUIRE(client_open(&client, &server));
    for (int i = 0; i < 16; i++)
        client_ask(&client, "RPUSH", "log", letters((char)('a' + i), 32768), NULL);
    for (int i = 0; i < 40; i++) /* 20 MiB of replies: more than the sockets hold */
        client_command(&client, "LRANGE", "log", "0", "-1", NULL);
    shutdown(client.fd, SHUT_WR);
    sleep_ms(100);
    for (int i = 0; i < 40 && check_failures() == 0; i++) {
        EXPECT(&client, "*16\r\n");
        for (int k = 0; k < 16; k++) {
            CHECK_EQ(client_bulk(&client, text, 1 << 16), 32768);
            CHECK_STR(letters((char)('a' + k), 32768), text);
        }
    }
    free(text);
    CHECK(client_ends(&client));
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- idle time-out --------------------------------------------------------------------------- */

#define IDLE_MS 300

/* Keeps the witness active for `ms`. */
static void stay_active(struct client *active, int64_t ms)
{
    for (int64_t started = now_ms(); now_ms() - started < ms;) {
        client_command(active, "PING", NULL);
        EXPECT(active, "+PONG\r\n");
        sleep_ms(IDLE_MS / 10);
    }
}

TEST(logd_limits, idle_time)
{
    static struct client silent;
    static struct client half;
    static struct client active;
    REQUIRE(logd_start(&server, OPTIONS("--idle-timeout", "0.3"), 0));
    int64_t started = now_ms();
    REQUIRE(client_open(&active, &server) && client_open(&half, &server));
    client_send(&half, "*2\r\n$4\r\nECHO\r\n$1000000\r\n", 25);
    REQUIRE(client_open(&silent, &server));
    stay_active(&active, IDLE_MS / 2);
    CHECK_EQ(client_info(&active, "connected_clients"), 3);
    stay_active(&active, IDLE_MS);
    CHECK(client_ends(&silent));
    CHECK(client_ends(&half));
    CHECK(now_ms() - started >= IDLE_MS);
    CHECK_EQ(client_await_info(&active, "closed_idle", 2), 2);
    client_close(&silent);
    client_close(&half);
    stay_active(&active, IDLE_MS); /* longer than the time-out, yet never idle */
    client_close(&active);
    logd_stop(&server, SIGTERM);
}

/* Bytes alone do not keep a connection: who never finishes a command is idle. */
TEST(logd_limits, idle_time_of_a_client_that_drips)
{
    int64_t started = now_ms();
    bool sent;
    REQUIRE(logd_start(&server, OPTIONS("--idle-timeout", "0.3"), 0));
    REQUIRE(client_open(&client, &server));
    client_send(&client, "*2\r\n$4\r\nECHO\r\n$1000\r\n", 22);
    do {
        sent = client_send(&client, "x", 1);
        sleep_ms(IDLE_MS / 20);
    } while (sent && now_ms() - started < 10 * IDLE_MS);
    CHECK(!sent);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}
