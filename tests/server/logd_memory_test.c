/*
 * logd_memory_test.c - the limit on total memory: what would go past it is refused and changes
 * nothing, what was acknowledged stays, and reading goes on.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "client.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LIMIT "8388608"
#define LIMIT_BYTES 8388608
#define STORE_BYTES (LIMIT_BYTES / 8 * 7)
#define BULK 50000

static struct logd server;
static struct client client;
static char bulk[BULK + 1];

static bool begin(const char *const *options)
{
    memset(bulk, 'b', BULK);
    return logd_start(&server, options, 0) && client_open(&client, &server);
}

static void end(void)
{
    CHECK(client_info(&client, "used_memory_stored") <= STORE_BYTES);
    CHECK(client_info(&client, "used_memory") <= LIMIT_BYTES);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* A large record until there is no room for one; how many are stored. */
static int64_t fill(const char *key)
{
    int64_t stored = 0;
    int64_t reply;
    while ((reply = client_ask(&client, "RPUSH", key, bulk, NULL)) > 0) {
        CHECK_EQ(reply, stored + 1);
        stored = reply;
    }
    return stored;
}

/* All of them are there, and whole. */
static void check_stored(const char *key, int64_t stored)
{
    static char found[BULK + 1];
    char index[32];
    CHECK_EQ(client_ask(&client, "LLEN", key, NULL), stored);
    for (int64_t i = 0; i < stored && check_failures() == 0; i++) {
        snprintf(index, sizeof(index), "%lld", (long long)i);
        client_command(&client, "LINDEX", key, index, NULL);
        CHECK_EQ(client_bulk(&client, found, sizeof(found)), BULK);
        CHECK_STR(bulk, found);
    }
}

static void expect_refusal(void)
{
    EXPECT(&client, "-OOM no memory left to store this\r\n");
}

TEST(logd_memory, no_limit_unless_asked_for)
{
    REQUIRE(begin(OPTIONS("--workers", "1")));
    CHECK_EQ(client_info(&client, "maxmemory"), 0);
    uint64_t before = client_info(&client, "used_memory");
    for (int i = 1; i <= 100; i++)
        CHECK_EQ(client_ask(&client, "RPUSH", "log", bulk, NULL), i);
    CHECK(client_info(&client, "used_memory") >= before + 100 * BULK);
    CHECK_EQ(client_info(&client, "memory_refused"), 0);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_memory, a_full_store_refuses_and_can_be_read)
{
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT)));
    CHECK_EQ(client_info(&client, "maxmemory"), LIMIT_BYTES);
    int64_t stored = fill("log");
    CHECK(stored > 100 && stored < STORE_BYTES / BULK); /* nearly all of it is for records */
    CHECK(client_info(&client, "memory_refused") > 0);
    for (int i = 0; i < 10; i++) { /* and it stays refused, in whatever company */
        client_command(&client, "RPUSH", "log", "small", bulk, NULL);
        expect_refusal();
    }
    check_stored("log", stored);
    client_command(&client, "LRANGE", "log", "0", "9", NULL);
    EXPECT(&client, "*10\r\n$50000\r\nbbbb");
    client_close(&client);
    REQUIRE(client_open(&client, &server));
    end();
}

TEST(logd_memory, smaller_commands_still_fit)
{
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT)));
    int64_t stored = fill("log");
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "small", NULL), stored + 1);
    client_command(&client, "BTAIL", "log", "0", "0.01", NULL); /* waiting and reading, too */
    const char *head = client_line(&client);
    CHECK(head != NULL && head[0] == '*' && head[1] != '-');
    client_close(&client);
    REQUIRE(client_open(&client, &server)); /* so do new clients */
    client_command(&client, "LINDEX", "log", "-1", NULL);
    EXPECT(&client, "$5\r\nsmall\r\n");
    client_command(&client, "BTAIL", "none", "0", "0.01", NULL);
    EXPECT(&client, "*-1\r\n");
    end();
}

/* A key that cannot be given its first records is not made. */
TEST(logd_memory, a_refused_key_does_not_exist)
{
    char key[32];
    int64_t keys = 1;
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT, "--max-keys", "100000")));
    fill("log");
    client_command(&client, "RPUSH", "new", bulk, NULL);
    expect_refusal();
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 1);
    CHECK_EQ(client_info(&client, "logs"), 1);
    for (;; keys++) { /* small ones, until there is no room for a log */
        snprintf(key, sizeof(key), "key%lld", (long long)keys);
        if (client_ask(&client, "RPUSH", key, "record", NULL) != 1)
            break;
    }
    CHECK(keys < 2000);
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), keys);
    CHECK_EQ(client_info(&client, "logs"), keys);
    CHECK_EQ(client_ask(&client, "LLEN", key, NULL), 0);
    client_command(&client, "LINDEX", "key1", "0", NULL);
    if (keys > 1)
        EXPECT(&client, "$6\r\nrecord\r\n");
    else
        EXPECT(&client, "$-1\r\n");
    end();
}

/* RPUSH of so many empty values: no bytes, but records. */
static void push_empties(const char *key, int count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    fprintf(stream, "*%d\r\n$5\r\nRPUSH\r\n$%zu\r\n%s\r\n", count + 2, strlen(key), key);
    for (int i = 0; i < count; i++)
        fprintf(stream, "$0\r\n\r\n");
    fclose(stream);
    client_send(&client, text, len);
    free(text);
}

/* The same where it is not the bytes for which there is no room, but the records. */
TEST(logd_memory, a_refused_key_does_not_exist_for_want_of_records)
{
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT)));
    int64_t stored = fill("log");
    uint64_t used = client_info(&client, "used_memory_stored");
    push_empties("new", 16000);
    expect_refusal();
    push_empties("log", 16000);
    expect_refusal();
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 1);
    CHECK_EQ(client_ask(&client, "LLEN", "new", NULL), 0);
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), stored);
    CHECK_EQ(client_info(&client, "used_memory_stored"), used);
    end();
}

/* What is refused for another reason takes nothing either, however often. */
TEST(logd_memory, refused_pushes_give_back_what_they_took)
{
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT, "--max-log-len", "10",
                          "--max-keys", "1")));
    for (int i = 1; i <= 10; i++)
        CHECK_EQ(client_ask(&client, "RPUSH", "log", bulk, NULL), i);
    for (int i = 0; i < 200; i++) {
        client_command(&client, "RPUSH", "log", bulk, bulk, bulk, bulk, bulk, bulk, bulk, bulk,
                       bulk, bulk, bulk, bulk, bulk, bulk, bulk, bulk, NULL);
        EXPECT(&client, "-ERR log reached max-log-len (10)\r\n");
        client_command(&client, "RPUSH", "new", bulk, bulk, bulk, bulk, NULL);
        EXPECT(&client, "-ERR max number of keys reached (1)\r\n");
    }
    CHECK(client_info(&client, "used_memory_stored") < 3000000);
    client_close(&client);
    logd_stop(&server, SIGTERM);
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-log-len", "10")));
    uint64_t used = client_info(&client, "used_memory_stored");
    for (int i = 0; i < 100; i++) { /* a log that was made, and taken back */
        push_empties("new", 11);
        EXPECT(&client, "-ERR log reached max-log-len (10)\r\n");
    }
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 0);
    CHECK(client_info(&client, "used_memory_stored") <= used + 65536);
    end();
}

/* A reply that is too large for what is left is an error; asking for less is not. */
TEST(logd_memory, a_range_that_does_not_fit)
{
    char index[32];
    static char found[BULK + 1];
    REQUIRE(begin(OPTIONS("--workers", "1", "--max-memory", LIMIT)));
    int64_t stored = fill("log");
    client_command(&client, "LRANGE", "log", "0", "-1", NULL);
    EXPECT(&client, "-OOM no memory for this reply\r\n");
    client_command(&client, "LRANGE", "log", "0", "0", NULL);
    EXPECT(&client, "*1\r\n");
    CHECK_EQ(client_bulk(&client, found, sizeof(found)), BULK);
    for (int64_t next = 0, parts = 0; next < stored;
         parts++) { /* by BTAIL in what parts there are */
        snprintf(index, sizeof(index), "%lld", (long long)next);
        client_command(&client, "BTAIL", "log", index, "1", NULL);
        const char *head = client_line(&client);
        REQUIRE(head != NULL && head[0] == '*' && parts < 100);
        int64_t count = strtoll(head + 1, NULL, 10);
        REQUIRE(count > 0);
        for (int64_t i = 0; i < count; i++)
            CHECK_EQ(client_bulk(&client, found, sizeof(found)), BULK);
        next += count;
    }
    end();
}

/* A request that is too large for what is left is answered, and its connection ends. */
TEST(logd_memory, a_request_that_does_not_fit)
{
    static struct client large;
    char *request = calloc(1, (4 << 20) + 1);
    REQUIRE(request != NULL);
    memset(request, 'r', 4 << 20);
    REQUIRE(begin(OPTIONS("--max-memory", LIMIT, "--max-request", "8000000")));
    int64_t stored = fill("log");
    REQUIRE(client_open(&large, &server));
    client_command(&large, "ECHO", request, NULL); /* its end may find the connection closed */
    EXPECT(&large, "-OOM no memory for this request\r\n");
    CHECK(client_ends(&large));
    client_close(&large);
    CHECK_EQ(client_info(&client, "closed_for_memory"), 1);
    check_stored("log", stored);
    free(request);
    end();
}

/* What clients leave unread counts, and is given back when they go. */
TEST(logd_memory, unread_replies_count)
{
    static struct client unread;
    REQUIRE(begin(OPTIONS("--workers", "2", "--max-memory", "67108864")));
    for (int i = 1; i <= 40; i++)
        CHECK_EQ(client_ask(&client, "RPUSH", "log", bulk, NULL), i);
    uint64_t before = client_info(&client, "used_memory_clients");
    REQUIRE(client_open(&unread, &server));
    for (int i = 0; i < 10; i++)
        client_command(&unread, "LRANGE", "log", "0", "-1", NULL);
    int64_t started = now_ms();
    while (client_info(&client, "used_memory_clients") < before + 4000000 &&
           now_ms() - started < CLIENT_PATIENCE_S * 1000)
        sleep_ms(2);
    CHECK(client_info(&client, "used_memory_clients") >= before + 4000000);
    CHECK(client_info(&client, "used_memory") <= 67108864);
    client_close(&unread);
    client_await_info(&client, "slotmap_limbo", 0);
    CHECK_EQ(client_await_info(&client, "connected_clients", 1), 1);
    CHECK_EQ(client_await_info(&client, "slotmap_limbo", 0), 0);
    CHECK(client_info(&client, "used_memory_clients") <= before + 100000);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* One that reads nothing, with all the memory that it can get: others are served. */
TEST(logd_memory, a_client_that_never_reads_does_not_starve_others)
{
    static struct client greedy;
    static struct witnesses witnesses;
    REQUIRE(begin(OPTIONS("--max-memory", LIMIT, "--workers", "2")));
    REQUIRE(witnesses_open(&witnesses, &server));
    for (int i = 1; i <= 20; i++)
        CHECK_EQ(client_ask(&client, "RPUSH", "log", bulk, NULL), i);
    witnesses_check(&witnesses, "nothing"); /* their log has its room from now on */
    REQUIRE(client_open(&greedy, &server));
    bool sent = true;
    for (int i = 0; i < 100 && sent; i++)
        sent = client_command(&greedy, "LRANGE", "log", "0", "-1", NULL);
    for (int i = 0; i < 20; i++)
        witnesses_check(&witnesses, "replies that nobody reads");
    client_close(&greedy);
    witnesses_close(&witnesses);
    end();
}

/* ---- at the same time ------------------------------------------------------------------------ */

#define FILLERS 4

struct filler {
    struct client client;
    char key[32];
    int64_t stored;
};

/* Pushes small and large until each size is refused many times. */
static void *push_all_sizes(void *argument)
{
    struct filler *filler = argument;
    int refusals = 0;
    char record[5001];
    for (int i = 0; refusals < 50 && i < 100000; i++) {
        size_t len = (size_t)(i * 997 % 5000);
        memset(record, 'a' + i % 26, len);
        record[len] = '\0';
        int64_t reply = client_ask(&filler->client, "RPUSH", filler->key, record, NULL);
        if (reply < 0)
            refusals++;
        else
            CHECK_EQ(reply, ++filler->stored);
    }
    CHECK(refusals >= 50);
    return NULL;
}

TEST(logd_memory, the_limit_holds_under_racing_pushes)
{
    static struct filler fillers[FILLERS];
    pthread_t threads[FILLERS];
    REQUIRE(begin(OPTIONS("--max-memory", LIMIT, "--workers", "4")));
    for (int i = 0; i < FILLERS; i++) {
        snprintf(fillers[i].key, sizeof(fillers[i].key), "filler%d", i);
        REQUIRE(client_open(&fillers[i].client, &server));
        REQUIRE(pthread_create(&threads[i], NULL, push_all_sizes, &fillers[i]) == 0);
    }
    for (int i = 0; i < 200; i++)
        CHECK(client_info(&client, "used_memory_stored") <= STORE_BYTES);
    for (int i = 0; i < FILLERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < FILLERS; i++) {
        char *record = malloc(5001);
        CHECK(fillers[i].stored > 100);
        CHECK_EQ(client_ask(&client, "LLEN", fillers[i].key, NULL), fillers[i].stored);
        client_command(&client, "LINDEX", fillers[i].key, "-1", NULL);
        CHECK(client_bulk(&client, record, 5001) >= 0);
        free(record);
        client_close(&fillers[i].client);
    }
    end();
}
