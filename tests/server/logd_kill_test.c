/*
 * logd_kill_test.c - CLIENT: names, lists, and connections that others end, in the middle of
 * whatever they are doing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "client.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const no_options[] = {NULL};

static struct logd server;
static struct witnesses witnesses;
static struct client client;

/* The client's id, as text. */
static bool read_id(struct client *of, char *id, size_t size)
{
    int64_t number = client_ask(of, "CLIENT", "ID", NULL);
    snprintf(id, size, "%" PRId64, number);
    return CHECK(number != INT64_MIN);
}

/* ---- CLIENT ---------------------------------------------------------------------------------- */

TEST(logd_kill, names_and_lists_clients)
{
    static struct client other;
    char list[4096];
    char id[32];
    REQUIRE(logd_start(&server, no_options, 0));
    REQUIRE(client_open(&client, &server) && client_open(&other, &server));
    client_command(&client, "CLIENT", "GETNAME", NULL);
    EXPECT(&client, "$0\r\n\r\n");
    client_command(&client, "CLIENT", "SETNAME", "with space", NULL);
    EXPECT(&client, "-ERR Client names are up to 63 printable characters\r\n");
    client_command(&client, "CLIENT", "SETNAME", "odd", NULL);
    EXPECT(&client, "+OK\r\n");
    client_command(&client, "CLIENT", "GETNAME", NULL);
    EXPECT(&client, "$3\r\nodd\r\n");
    REQUIRE(read_id(&client, id, sizeof(id)));
    client_command(&other, "CLIENT", "LIST", NULL);
    REQUIRE(client_bulk(&other, list, sizeof(list)) > 0);
    CHECK(strstr(list, " name=odd ") != NULL);
    CHECK(strstr(list, id) != NULL);
    client_command(&client, "CLIENT", "SETINFO", "lib-name", "test", NULL);
    EXPECT(&client, "+OK\r\n");
    client_command(&client, "CLIENT", "SETNAME", "", NULL);
    EXPECT(&client, "+OK\r\n");
    client_command(&client, "CLIENT", "GETNAME", NULL);
    EXPECT(&client, "$0\r\n\r\n");
    client_command(&client, "CLIENT", "KILL", "ID", NULL);
    EXPECT(&client, "-ERR No such client\r\n");
    client_command(&client, "CLIENT", "KILL", "ID", "x", NULL);
    EXPECT(&client, "-ERR syntax error\r\n");
    client_close(&client);
    client_close(&other);
    logd_stop(&server, SIGTERM);
}

#define RENAMES 20000

/* Sends RENAMES names, pipelined: each replaces the one before, which others may be listing. */
static void *rename_again_and_again(void *argument)
{
    struct client *renamed = argument;
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    for (int i = 0; i < RENAMES; i++)
        fprintf(stream, "CLIENT SETNAME %s\r\n", i % 2 == 0 ? "even--even--even" : "odd-odd-odd");
    fclose(stream);
    CHECK(client_send(renamed, text, len));
    free(text);
    for (int i = 0; i < RENAMES && check_failures() == 0; i++)
        EXPECT(renamed, "+OK\r\n");
    return NULL;
}

TEST(logd_kill, lists_names_that_are_being_replaced)
{
    static struct client renamed;
    char list[4096];
    pthread_t thread;
    REQUIRE(logd_start(&server, no_options, 0));
    REQUIRE(client_open(&client, &server) && client_open(&renamed, &server));
    client_command(&renamed, "CLIENT", "SETNAME", "odd-odd-odd", NULL);
    EXPECT(&renamed, "+OK\r\n"); /* from now on every list shows one of the two */
    REQUIRE(pthread_create(&thread, NULL, rename_again_and_again, &renamed) == 0);
    uint64_t commands = 0;
    while (commands < RENAMES && check_failures() == 0) {
        for (int i = 0; i < 200; i++)
            client_send(&client, "CLIENT LIST\r\n", 13);
        for (int i = 0; i < 200; i++) {
            REQUIRE(client_bulk(&client, list, sizeof(list)) > 0);
            CHECK(strstr(list, "name=even--even--even ") != NULL ||
                  strstr(list, "name=odd-odd-odd ") != NULL);
        }
        commands = client_info(&client, "total_commands_processed");
    }
    pthread_join(thread, NULL);
    client_close(&client);
    client_close(&renamed);
    logd_stop(&server, SIGTERM);
}

/* The address that CLIENT LIST shows for the only client of that name. */
static bool read_address(struct client *asker, const char *name, char *address, size_t size)
{
    char list[4096];
    char wanted[64];
    client_command(asker, "CLIENT", "LIST", NULL);
    if (!CHECK(client_bulk(asker, list, sizeof(list)) > 0))
        return false;
    snprintf(wanted, sizeof(wanted), " name=%s ", name);
    char *line = strtok(list, "\n");
    while (line != NULL && strstr(line, wanted) == NULL)
        line = strtok(NULL, "\n");
    char *from = line == NULL ? NULL : strstr(line, "addr=");
    if (!CHECK(from != NULL))
        return false;
    snprintf(address, size, "%.*s", (int)strcspn(from + 5, " "), from + 5);
    return true;
}

TEST(logd_kill, kills_by_address_and_by_id)
{
    static struct client victim;
    char address[64];
    char id[32];
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    REQUIRE(client_open(&client, &server) && client_open(&victim, &server));
    client_command(&victim, "CLIENT", "SETNAME", "victim", NULL);
    EXPECT(&victim, "+OK\r\n");
    REQUIRE(read_address(&client, "victim", address, sizeof(address)));
    client_command(&client, "CLIENT", "KILL", address, NULL);
    EXPECT(&client, "+OK\r\n");
    CHECK(client_ends(&victim));
    client_close(&victim);
    client_command(&client, "CLIENT", "KILL", address, NULL);
    EXPECT(&client, "-ERR No such client\r\n");

    REQUIRE(client_open(&victim, &server) && read_id(&victim, id, sizeof(id)));
    uint64_t stale = client_info(&client, "stale_handles_refused");
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", id, NULL), 1);
    CHECK(client_ends(&victim));
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", id, NULL), 0);
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", "0", NULL), 0);
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", "-1", NULL), 0);
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", "81985529216486895", NULL), 0);
    CHECK(client_info(&client, "stale_handles_refused") >= stale + 4);
    CHECK_EQ(client_info(&client, "closed_by_kill"), 2);
    client_close(&victim);

    REQUIRE(read_id(&client, id, sizeof(id))); /* itself: spared, unless it asks for it */
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", id, NULL), 0);
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", id, "SKIPME", "no", NULL), 1);
    CHECK(client_ends(&client));
    client_close(&client);
    witnesses_check(&witnesses, "kills");
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* ---- kills under load ------------------------------------------------------------------------ */

#define VICTIMS 12

/* Streams numbered records, several in flight, until its connection ends; counts the replies. */
struct victim {
    struct client client;
    char key[32];
    char id[32];
    int64_t acknowledged;
    int64_t progress; /* relaxed: a hint for the killer */
};

static void *stream_records(void *argument)
{
    struct victim *victim = argument;
    char record[32];
    for (int64_t sent = 0;; sent++) {
        snprintf(record, sizeof(record), "%" PRId64, sent);
        if (!client_command(&victim->client, "RPUSH", victim->key, record, NULL))
            break;
        if (sent < 8)
            continue;
        if (client_integer(&victim->client) != victim->acknowledged + 1)
            break;
        victim->acknowledged++;
        __atomic_store_n(&victim->progress, victim->acknowledged, __ATOMIC_RELAXED);
    }
    while (client_integer(&victim->client) == victim->acknowledged + 1)
        victim->acknowledged++;
    return NULL;
}

/*
 * What the victim pushed, up to its end, is there once and in order: at least what was
 * acknowledged.
 */
static void check_records(struct client *reader, const struct victim *victim)
{
    char record[32];
    int64_t stored = client_ask(reader, "LLEN", victim->key, NULL);
    CHECK(stored >= victim->acknowledged);
    client_command(reader, "LRANGE", victim->key, "0", "-1", NULL);
    const char *head = client_line(reader);
    REQUIRE(head != NULL && head[0] == '*' && strtoll(head + 1, NULL, 10) == stored);
    for (int64_t i = 0; i < stored; i++) {
        REQUIRE(client_bulk(reader, record, sizeof(record)) > 0);
        REQUIRE(strtoll(record, NULL, 10) == i);
    }
}

static void kill_one_victim(struct victim *victim, int number)
{
    pthread_t thread;
    snprintf(victim->key, sizeof(victim->key), "victim %d", number);
    victim->acknowledged = victim->progress = 0;
    REQUIRE(client_open(&victim->client, &server) &&
            read_id(&victim->client, victim->id, sizeof(victim->id)));
    REQUIRE(pthread_create(&thread, NULL, stream_records, victim) == 0);
    for (int64_t started = now_ms(); now_ms() - started < CLIENT_PATIENCE_S * 1000;) {
        if (__atomic_load_n(&victim->progress, __ATOMIC_RELAXED) > 100 + 37 * number)
            break;
    }
    CHECK_EQ(client_ask(&client, "CLIENT", "KILL", "ID", victim->id, NULL), 1);
    pthread_join(thread, NULL);
    CHECK(victim->acknowledged > 100);
    client_close(&victim->client);
    check_records(&client, victim);
}

TEST(logd_kill, a_kill_in_mid_stream_loses_nothing_acknowledged)
{
    static struct victim victim;
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    REQUIRE(client_open(&client, &server));
    for (int i = 0; i < VICTIMS && check_failures() == 0; i++) {
        kill_one_victim(&victim, i);
        witnesses_check(&witnesses, "a kill in mid-stream");
    }
    CHECK_EQ(client_info(&client, "closed_by_kill"), VICTIMS);
    client_close(&client);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

#define KILLERS 4
#define CONDEMNED 40
#define DUELS (SANITIZED ? 8 : 40)

/* In each duel all killers go through the same list of victims, at the same time and pipelined. */
struct duels {
    pthread_barrier_t start;
    pthread_barrier_t end;
    struct client victims[CONDEMNED];
    char *commands;
    size_t len;
    int64_t
        kills[CONDEMNED]; /* how many killers are told that it was them; the barriers order it */
};

struct killer {
    struct duels *duels;
    struct client client;
};

static void *kill_repeatedly(void *argument)
{
    struct killer *killer = argument;
    struct duels *duels = killer->duels;
    for (int i = 0; i < DUELS; i++) {
        pthread_barrier_wait(&duels->start);
        client_send(&killer->client, duels->commands, duels->len);
        for (int k = 0; k < CONDEMNED; k++) {
            int64_t kills = client_integer(&killer->client);
            CHECK(kills == 0 || kills == 1);
            __atomic_fetch_add(&duels->kills[k], kills, __ATOMIC_RELAXED);
        }
        pthread_barrier_wait(&duels->end);
    }
    return NULL;
}

static void fight(struct duels *duels)
{
    FILE *stream = open_memstream(&duels->commands, &duels->len);
    for (int i = 0; i < CONDEMNED; i++) {
        char id[32] = "0";
        if (client_open(&duels->victims[i], &server))
            read_id(&duels->victims[i], id, sizeof(id));
        fprintf(stream, "CLIENT KILL ID %s\r\n", id);
        duels->kills[i] = 0;
    }
    fclose(stream);
    pthread_barrier_wait(&duels->start);
    pthread_barrier_wait(&duels->end);
    free(duels->commands);
    for (int i = 0; i < CONDEMNED; i++) {
        CHECK_EQ(duels->kills[i], 1);
        CHECK(client_ends(&duels->victims[i]));
        client_close(&duels->victims[i]);
    }
}

TEST(logd_kill, of_racing_kills_one_wins)
{
    static struct duels duels;
    static struct killer killers[KILLERS];
    pthread_t threads[KILLERS];
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    size_t descriptors = witnesses_settle(&witnesses);
    pthread_barrier_init(&duels.start, NULL, KILLERS + 1);
    pthread_barrier_init(&duels.end, NULL, KILLERS + 1);
    for (int i = 0; i < KILLERS; i++) {
        killers[i].duels = &duels;
        REQUIRE(client_open(&killers[i].client, &server));
    }
    for (int i = 0; i < KILLERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, kill_repeatedly, &killers[i]) == 0);
    for (int i = 0; i < DUELS; i++)
        fight(&duels);
    for (int i = 0; i < KILLERS; i++) {
        pthread_join(threads[i], NULL);
        client_close(&killers[i].client);
    }
    CHECK_EQ(client_info(&witnesses.clients[0], "closed_by_kill"), DUELS * CONDEMNED);
    /*
     * Each killer but one met a stale handle, and at most one event for each victim was on its way.
     */
    uint64_t stale = client_info(&witnesses.clients[0], "stale_handles_refused");
    CHECK(stale >= DUELS * CONDEMNED * (KILLERS - 1));
    CHECK(stale <= DUELS * CONDEMNED * KILLERS);
    CHECK_EQ(witnesses_settle(&witnesses), descriptors);
    witnesses_check(&witnesses, "racing kills");
    witnesses_close(&witnesses);
    pthread_barrier_destroy(&duels.start);
    pthread_barrier_destroy(&duels.end);
    logd_stop(&server, SIGTERM);
}
