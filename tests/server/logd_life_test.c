/*
 * logd_life_test.c - clients that come and go, clients that share logs, and the end of logd itself.
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

/* ---- coming and going ------------------------------------------------------------------------ */

#define VISITORS 4
#define VISITS (SANITIZED ? 200 : 500)

/* Comes and goes in every way there is. */
static void *visit(void *argument)
{
    struct client *visitor = argument;
    for (int i = 0; i < VISITS; i++) {
        if (!client_open(visitor, &server))
            break;
        switch (i % 5) {
        case 0: /* says nothing */
            break;
        case 1: /* does not wait for the answer */
            client_command(visitor, "PING", NULL);
            break;
        case 2:
            client_command(visitor, "PING", NULL);
            EXPECT(visitor, "+PONG\r\n");
            break;
        case 3: /* leaves in the middle of a command */
            client_send(visitor, "*2\r\n$4\r\nECHO\r\n$7\r\n", 18);
            break;
        default:
            client_command(visitor, "QUIT", NULL);
            CHECK(client_ends(visitor));
            break;
        }
        client_close(visitor);
    }
    return NULL;
}

TEST(logd_life, serves_on_while_thousands_come_and_go)
{
    static struct client visitors[VISITORS];
    pthread_t threads[VISITORS];
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    size_t descriptors = witnesses_settle(&witnesses);
    for (int i = 0; i < VISITORS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, visit, &visitors[i]) == 0);
    uint64_t opened = 0;
    for (int i = 0; opened < VISITORS * VISITS && check_failures() == 0; i++) {
        witnesses_check(&witnesses, "some of thousands of visits");
        opened = client_info(&witnesses.clients[0], "connections_opened") - 3 - (uint64_t)i;
    }
    for (int i = 0; i < VISITORS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(witnesses_settle(&witnesses), descriptors);
    CHECK_EQ(client_info(&witnesses.clients[0], "slotmap_destroyed") + 2,
             client_info(&witnesses.clients[0], "connections_opened"));
    CHECK_EQ(client_info(&witnesses.clients[0], "connections_closed") + 2,
             client_info(&witnesses.clients[0], "connections_opened"));
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/* ---- one log, many clients ------------------------------------------------------------------- */

#define WRITERS 4
#define PUSHES (SANITIZED ? 500 : 3000)

struct writer {
    struct client client;
    char name;
};

/* Each acknowledgement names the record's place: it must be found there, at once. */
static void *push_and_look(void *argument)
{
    struct writer *writer = argument;
    for (int i = 0; i < PUSHES && check_failures() == 0; i++) {
        char records[3][32];
        char index[32];
        char found[32];
        for (int k = 0; k < 3; k++)
            snprintf(records[k], sizeof(records[k]), "%c%d.%d", writer->name, i, k);
        int64_t len = client_ask(&writer->client, "RPUSH", "shared", records[0], records[1],
                                 records[2], NULL);
        CHECK(len >= 3);
        for (int k = 0; k < 3; k++) {
            snprintf(index, sizeof(index), "%" PRId64, len - 3 + k);
            client_command(&writer->client, "LINDEX", "shared", index, NULL);
            CHECK(client_bulk(&writer->client, found, sizeof(found)) > 0);
            CHECK_STR(records[k], found);
        }
    }
    return NULL;
}

TEST(logd_life, every_acknowledged_record_is_where_the_reply_says)
{
    static struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    int next[WRITERS] = {0};
    char record[32];
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    for (int i = 0; i < WRITERS; i++) {
        writers[i].name = (char)('a' + i);
        REQUIRE(client_open(&writers[i].client, &server));
        REQUIRE(pthread_create(&threads[i], NULL, push_and_look, &writers[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        client_close(&writers[i].client);
    }
    client_command(&client, "LRANGE", "shared", "0", "-1", NULL);
    const char *head = client_line(&client);
    REQUIRE(head != NULL && strtoll(head + 1, NULL, 10) == (int64_t)WRITERS * PUSHES * 3);
    for (int i = 0; i < WRITERS * PUSHES * 3; i++) {
        REQUIRE(client_bulk(&client, record, sizeof(record)) > 0);
        int writer = record[0] - 'a';
        REQUIRE(writer >= 0 && writer < WRITERS);
        char expected[32];
        snprintf(expected, sizeof(expected), "%c%d.%d", record[0], next[writer] / 3,
                 next[writer] % 3);
        CHECK_STR(expected, record);
        next[writer]++;
    }
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

#define CREATORS 4
#define KEYS 1000

static pthread_barrier_t creation;

/* All creators make the same keys in the same order, pipelined, at the same time. */
static void *create_keys(void *argument)
{
    struct client *creator = argument;
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    for (int i = 0; i < KEYS; i++)
        fprintf(stream, "RPUSH key%d record\r\n", i);
    fclose(stream);
    pthread_barrier_wait(&creation);
    CHECK(client_send(creator, text, len));
    free(text);
    for (int i = 0; i < KEYS && check_failures() == 0; i++) {
        int64_t records = client_integer(creator);
        CHECK(records >= 1 && records <= CREATORS);
    }
    return NULL;
}

TEST(logd_life, racing_creators_of_a_key_share_it)
{
    static struct client creators[CREATORS];
    pthread_t threads[CREATORS];
    char key[32];
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    pthread_barrier_init(&creation, NULL, CREATORS);
    for (int i = 0; i < CREATORS; i++) {
        REQUIRE(client_open(&creators[i], &server));
        REQUIRE(pthread_create(&threads[i], NULL, create_keys, &creators[i]) == 0);
    }
    for (int i = 0; i < CREATORS; i++) {
        pthread_join(threads[i], NULL);
        client_close(&creators[i]);
    }
    pthread_barrier_destroy(&creation);
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), KEYS);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        CHECK_EQ(client_ask(&client, "LLEN", key, NULL), CREATORS);
    }
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- INFO ------------------------------------------------------------------------------------ */

/* "# Title", "name:value", or empty. */
static bool is_info_line(const char *line)
{
    const char *colon = strchr(line, ':');
    return line[0] == '\0' || strncmp(line, "# ", 2) == 0 || (colon != NULL && colon > line);
}

TEST(logd_life, info_tells_of_everything)
{
    static const char *const figures[] = {
        "workers:2",
        "connected_clients:1",
        "connections_opened:1",
        "connections_closed:0",
        "stale_handles_refused:0",
        "total_commands_processed:1",
        "logs:1",
        "records:2",
        "log0:name=a?b,len=2,",
        "slotmap_len:1",
        "slotmap_inserted:1",
        "slotmap_exhausted:0",
        "ebr_fence:",
        "ebr_epoch:",
        "ebr_stalled_thread:0",
    };
    static char text[16384];
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "RPUSH", "a\nb", "1", "2", NULL), 2);
    client_command(&client, "INFO", NULL);
    REQUIRE(client_bulk(&client, text, sizeof(text)) > 0);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        if (strstr(text, figures[i]) == NULL)
            check_that(false, figures[i], __FILE__, __LINE__);
    }
    size_t lines = 0;
    for (char *line = text, *end; (end = strstr(line, "\r\n")) != NULL; line = end + 2) {
        *end = '\0';
        CHECK(is_info_line(line));
        lines++;
    }
    CHECK(lines > 40);
    client_command(&client, "INFO", "ebr", NULL);
    REQUIRE(client_bulk(&client, text, sizeof(text)) > 0);
    CHECK(strstr(text, "ebr_fence:") != NULL && strstr(text, "slotmap_len:") == NULL);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- the end --------------------------------------------------------------------------------- */

TEST(logd_life, shutdown_ends_it)
{
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    client_command(&client, "SHUTDOWN", "NOSAVE", NULL);
    CHECK(client_ends(&client));
    client_close(&client);
    logd_expect_end(&server);
}

#define LOADERS 6

struct loader {
    struct client client;
    int64_t rounds;
};

/* Takes the reply to an RPUSH and an LRANGE; false when the stream ends. */
static bool take_replies(struct client *loader)
{
    if (client_integer(loader) < 0)
        return false;
    const char *line = client_line(loader);
    for (int64_t left = line == NULL ? 0 : 2 * strtoll(line + 1, NULL, 10); left > 0; left--)
        line = client_line(loader);
    return line != NULL;
}

/* Counts its rounds until logd is gone. */
static void *load(void *argument)
{
    struct loader *loader = argument;
    while (client_command(&loader->client, "RPUSH", "load", "a record", "another", NULL) &&
           client_command(&loader->client, "LRANGE", "load", "-100", "-1", NULL) &&
           take_replies(&loader->client))
        loader->rounds++;
    return NULL;
}

static void end_under_load(int signal)
{
    static struct loader loaders[LOADERS];
    pthread_t threads[LOADERS];
    REQUIRE(logd_start(&server, no_options, 0));
    for (int i = 0; i < LOADERS; i++) {
        loaders[i].rounds = 0;
        REQUIRE(client_open(&loaders[i].client, &server));
        REQUIRE(pthread_create(&threads[i], NULL, load, &loaders[i]) == 0);
    }
    sleep_ms(200);
    logd_stop(&server, signal);
    for (int i = 0; i < LOADERS; i++) {
        pthread_join(threads[i], NULL);
        client_close(&loaders[i].client);
        CHECK(loaders[i].rounds > 10);
    }
}

TEST(logd_life, sigterm_under_load_ends_it)
{
    end_under_load(SIGTERM);
}

TEST(logd_life, sigint_under_load_ends_it)
{
    end_under_load(SIGINT);
}
