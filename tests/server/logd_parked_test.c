/*
 * logd_parked_test.c - clients that wait in BTAIL: many of them, and every way in which one ends.
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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const no_options[] = {NULL};
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

#define CROWD 200

static struct logd server;
static struct witnesses witnesses;
static struct client crowd[CROWD];
#define asker (&witnesses.clients[0])

static bool begin(const char *const *options)
{
    return logd_start(&server, options, 0) && witnesses_open(&witnesses, &server);
}

static void park(struct client *client, const char *key, const char *index, const char *timeout)
{
    REQUIRE(client_open(client, &server));
    client_command(client, "BTAIL", key, index, timeout, NULL);
}

static void await_parked(uint64_t count)
{
    CHECK_EQ(client_await_info(asker, "blocked_clients", count), count);
}

/* What clients cost, but for the table that they are in, which never shrinks. */
static uint64_t client_memory(void)
{
    return client_info(asker, "used_memory_clients") -
           client_info(asker, "slotmap_committed_bytes");
}

/*
 * No timers: their table grows too. One client has been parked at each worker already, and the
 * witnesses' buffers have grown as far as they will.
 */
static bool begin_counting(size_t *descriptors, uint64_t *memory)
{
    if (!begin(OPTIONS("--idle-timeout", "0")))
        return false;
    park(&crowd[0], "log", "0", "0");
    park(&crowd[1], "log", "0", "0");
    await_parked(2);
    client_close(&crowd[0]);
    client_close(&crowd[1]);
    await_parked(0);
    for (int i = 0; i < 300; i++)
        client_ask(&witnesses.clients[i % 2], "CLIENT", "KILL", "ID", "100000000000", NULL);
    *descriptors = witnesses_settle(&witnesses);
    *memory = client_memory();
    return true;
}

/* Nothing of those who waited is left. */
static void end_counting(size_t descriptors, uint64_t memory)
{
    await_parked(0);
    CHECK_EQ(witnesses_settle(&witnesses), descriptors);
    CHECK_EQ(client_memory(), memory);
    witnesses_check(&witnesses, "clients that waited");
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* ---- many ------------------------------------------------------------------------------------ */

TEST(logd_parked, one_push_wakes_all)
{
    REQUIRE(begin(no_options));
    for (int round = 0; round < 3; round++) {
        char index[32];
        snprintf(index, sizeof(index), "%d", round);
        for (int i = 0; i < CROWD; i++)
            park(&crowd[i], "log", index, i % 2 == 0 ? "0" : "1000");
        await_parked(CROWD);
        uint64_t wakes = client_info(asker, "tail_wakes");
        CHECK_EQ(client_ask(asker, "RPUSH", "log", "record", NULL), round + 1);
        for (int i = 0; i < CROWD; i++) {
            EXPECT(&crowd[i], "*1\r\n$6\r\nrecord\r\n");
            client_close(&crowd[i]);
        }
        CHECK(client_info(asker, "tail_wakes") <=
              wakes + 2); /* one for a worker, not for a client */
        await_parked(0);
    }
    witnesses_check(&witnesses, "a crowd that was woken");
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* Each at a log of its own, and at different distances. */
TEST(logd_parked, each_is_woken_by_its_own)
{
    char key[32];
    char index[32];
    REQUIRE(begin(no_options));
    for (int i = 0; i < CROWD; i++) {
        snprintf(key, sizeof(key), "key%d", i % 50);
        snprintf(index, sizeof(index), "%d", i / 50);
        park(&crowd[i], key, index, "0");
    }
    await_parked(CROWD);
    for (int i = 0; i < CROWD; i++) {
        snprintf(key, sizeof(key), "key%d", i % 50);
        CHECK_EQ(client_ask(asker, "RPUSH", key, key, NULL), i / 50 + 1);
        const char *head = client_line(&crowd[i]);
        CHECK_STR("*1", head);
        EXPECT(&crowd[i], "$");
        client_close(&crowd[i]);
        if (i % 50 == 49)
            await_parked((uint64_t)(CROWD - i - 1));
    }
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* Workers with parked clients serve others as ever. */
TEST(logd_parked, others_are_served)
{
    REQUIRE(begin(OPTIONS("--workers", "1")));
    for (int i = 0; i < CROWD; i++)
        park(&crowd[i], "log", "0", "0");
    await_parked(CROWD);
    witnesses_check(&witnesses, "parking a crowd at the only worker");
    for (int i = 0; i < CROWD; i++)
        client_close(&crowd[i]);
    await_parked(0);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* ---- ends ------------------------------------------------------------------------------------ */

TEST(logd_parked, a_client_that_goes_leaves_nothing)
{
    size_t descriptors;
    uint64_t memory;
    REQUIRE(begin_counting(&descriptors, &memory));
    for (int i = 0; i < CROWD; i++)
        park(&crowd[i], i % 2 == 0 ? "log" : "none", "5", i % 3 == 0 ? "1000" : "0");
    await_parked(CROWD);
    for (int i = 0; i < CROWD; i++) {
        struct linger reset = {1, 0};
        if (i % 3 == 1) /* by a reset, for a change */
            setsockopt(crowd[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (i % 3 == 2)
            client_send(&crowd[i], "PING\r\n", 6); /* with something unread on its way */
        client_close(&crowd[i]);
    }
    end_counting(descriptors, memory);
}

/* A process that dies with all of its connections parked. */
TEST(logd_parked, kill_9_of_parked_clients_leaves_nothing)
{
    size_t descriptors;
    uint64_t memory;
    REQUIRE(begin_counting(&descriptors, &memory));
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < CROWD; i++)
            park(&crowd[i], "log", "0", "0");
        for (;;)
            pause();
    }
    REQUIRE(child > 0);
    await_parked(CROWD);
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    end_counting(descriptors, memory);
}

/* CLIENT LIST shows who is blocked. */
static void check_flags(void)
{
    static char list[65536];
    static struct client lister;
    size_t blocked = 0;
    REQUIRE(client_open(&lister, &server));
    client_command(&lister, "CLIENT", "LIST", NULL);
    CHECK(client_bulk(&lister, list, sizeof(list)) > 0);
    client_close(&lister);
    for (const char *at = list; (at = strstr(at, " flags=b ")) != NULL; at++)
        blocked++;
    CHECK_EQ(blocked, CROWD);
}

TEST(logd_parked, client_kill_ends_parked_clients)
{
    static char ids[CROWD][32];
    size_t descriptors;
    uint64_t memory;
    REQUIRE(begin_counting(&descriptors, &memory));
    for (int i = 0; i < CROWD; i++) {
        REQUIRE(client_open(&crowd[i], &server) && client_id(&crowd[i], ids[i], sizeof(ids[i])));
        client_command(&crowd[i], "BTAIL", i % 2 == 0 ? "log" : "none", "0", "0", NULL);
    }
    await_parked(CROWD);
    check_flags();
    for (int i = 0; i < CROWD; i++) { /* by clients of either worker */
        struct client *killer = &witnesses.clients[i / 2 % 2];
        CHECK_EQ(client_ask(killer, "CLIENT", "KILL", "ID", ids[i], NULL), 1);
        CHECK_EQ(client_ask(killer, "CLIENT", "KILL", "ID", ids[i], NULL), 0);
        CHECK(client_ends(&crowd[i]));
        client_close(&crowd[i]);
    }
    CHECK_EQ(client_info(asker, "closed_by_kill"), CROWD);
    end_counting(descriptors, memory);
}

#define RACES (SANITIZED ? 100 : 500)

struct racer {
    struct client client;
    pthread_barrier_t *start;
    const char *volatile id; /* the barrier orders it */
};

static void *kill_in_races(void *argument)
{
    struct racer *racer = argument;
    for (int i = 0; i < RACES; i++) {
        pthread_barrier_wait(racer->start);
        client_ask(&racer->client, "CLIENT", "KILL", "ID", racer->id, NULL);
        pthread_barrier_wait(racer->start);
    }
    return NULL;
}

/* Parked, answered, timed out, and killed, all at the same moment: one of them, and no trace. */
TEST(logd_parked, an_answer_and_a_kill_race)
{
    static struct racer racer;
    static pthread_barrier_t start;
    char id[32];
    char key[32];
    char index[32];
    pthread_t thread;
    REQUIRE(begin(no_options) && client_open(&racer.client, &server));
    (void)client_info(&racer.client, "workers");
    pthread_barrier_init(&start, NULL, 2);
    racer.start = &start;
    racer.id = id;
    REQUIRE(pthread_create(&thread, NULL, kill_in_races, &racer) == 0);
    for (int i = 0; i < RACES; i++) {
        struct client *victim = &crowd[0];
        snprintf(key, sizeof(key), "key%d", i % 20);
        bool opened = client_open(victim, &server) && client_id(victim, id, sizeof(id));
        snprintf(index, sizeof(index), "%d", i / 20 + (i % 5 == 0)); /* mostly of the next record */
        client_command(victim, "BTAIL", key, index, i % 3 == 0 ? "0.0005" : "0", NULL);
        client_send(victim, "PING\r\n", i % 2 == 0 ? 6 : 0);
        pthread_barrier_wait(&start);
        if (i % 3 == 1)
            client_close(victim);
        CHECK(client_ask(asker, "RPUSH", key, "record", NULL) > 0);
        if (opened && i % 3 != 1) {
            CHECK(client_ends(victim));
            client_close(victim);
        }
        pthread_barrier_wait(&start);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    client_close(&racer.client);
    await_parked(0);
    witnesses_settle(&witnesses);
    CHECK_EQ(client_info(asker, "closed_by_kill") + client_info(asker, "closed_by_client") - 1,
             RACES);
    witnesses_check(&witnesses, "races of kills and answers");
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* Who waits is not idle; who has waited is, in time. */
TEST(logd_parked, waiting_is_not_idling)
{
    REQUIRE(begin(OPTIONS("--idle-timeout", "0.3")));
    park(&crowd[0], "log", "0", "1");
    park(&crowd[1], "log", "0", "0");
    int64_t started = now_ms();
    while (now_ms() - started < 700) {
        for (int i = 0; i < 2; i++) {
            client_command(&witnesses.clients[i], "PING", NULL);
            EXPECT(&witnesses.clients[i], "+PONG\r\n");
        }
        sleep_ms(20);
    }
    CHECK_EQ(client_info(asker, "blocked_clients"), 2);
    CHECK_EQ(client_info(asker, "closed_idle"), 0);
    EXPECT(&crowd[0], "*-1\r\n");
    CHECK(client_ends(&crowd[0]));
    CHECK(now_ms() - started >= 1000);
    REQUIRE(client_open(&crowd[2], &server)); /* the witnesses may be gone by now */
    CHECK_EQ(client_info(&crowd[2], "blocked_clients"), 1);
    for (int i = 0; i < 3; i++)
        client_close(&crowd[i]);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* One that is parked and does not read what it is owed is idle after all. */
TEST(logd_parked, waiting_does_not_excuse_from_reading)
{
    static char record[60001];
    memset(record, 'r', 60000);
    REQUIRE(begin(OPTIONS("--idle-timeout", "0.5", "--workers", "1")));
    for (int i = 1; i <= 16; i++)
        CHECK_EQ(client_ask(asker, "RPUSH", "log", record, NULL), i);
    REQUIRE(client_open(&crowd[0], &server));
    for (int i = 0; i < 12; i++)
        client_command(&crowd[0], "LRANGE", "log", "0", "-1", NULL);
    client_command(&crowd[0], "BTAIL", "log", "16", "0", NULL);
    REQUIRE(client_open(&crowd[1], &server));
    int64_t started = now_ms();
    while (client_info(&crowd[1], "closed_idle") == 0 && now_ms() - started < 10000)
        sleep_ms(10);
    CHECK(client_info(&crowd[1], "closed_idle") > 0);
    CHECK_EQ(client_await_info(&crowd[1], "blocked_clients", 0), 0);
    client_close(&crowd[0]);
    client_close(&crowd[1]);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

static void end_with_a_crowd(const char *how)
{
    REQUIRE(begin(no_options));
    for (int i = 0; i < CROWD; i++)
        park(&crowd[i], i % 2 == 0 ? "log" : "none", "0", i % 3 == 0 ? "1000" : "0");
    await_parked(CROWD);
    if (how == NULL) {
        logd_stop(&server, SIGTERM);
    } else {
        client_command(asker, how, NULL);
        logd_expect_end(&server);
    }
    for (int i = 0; i < CROWD; i++) {
        CHECK(client_ends(&crowd[i]));
        client_close(&crowd[i]);
    }
    witnesses_close(&witnesses);
}

TEST(logd_parked, shutdown_ends_them)
{
    end_with_a_crowd("SHUTDOWN");
}

TEST(logd_parked, sigterm_ends_them)
{
    end_with_a_crowd(NULL);
}
