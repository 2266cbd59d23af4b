/*
 * logd_btail_test.c - BTAIL: what it answers, and when.
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

static const char *const no_options[] = {NULL};
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct logd server;
static struct client pusher;
static struct client tailer;

static bool begin(const char *const *options)
{
    return logd_start(&server, options, 0) && client_open(&pusher, &server) &&
           client_open(&tailer, &server);
}

static void end(void)
{
    client_close(&pusher);
    client_close(&tailer);
    logd_stop(&server, SIGTERM);
}

/* Waits until so many clients are parked. */
static void await_parked(uint64_t count)
{
    CHECK_EQ(client_await_info(&pusher, "blocked_clients", count), count);
}

/* ---- one client ------------------------------------------------------------------------------ */

TEST(logd_btail, answers_at_once_with_what_is_there)
{
    REQUIRE(begin(no_options));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", "r1", "r2", NULL), 3);
    client_command(&tailer, "BTAIL", "log", "0", "10", NULL);
    client_expect_records(&tailer, "r", 0, 3);
    client_command(&tailer, "btail", "log", "2", "0", NULL);
    client_expect_records(&tailer, "r", 2, 1);
    CHECK_EQ(client_info(&pusher, "tail_wakes"), 0);
    end();
}

TEST(logd_btail, waits_for_the_next_record)
{
    REQUIRE(begin(no_options));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    client_command(&tailer, "BTAIL", "log", "1", "0", NULL);
    await_parked(1);
    CHECK(client_is_silent(&tailer, 50));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r1", "r2", NULL), 3);
    client_expect_records(&tailer, "r", 1, 2);
    await_parked(0);
    end();
}

/* Records that are there, but not yet the one that is waited for, wake nobody. */
TEST(logd_btail, waits_for_a_record_beyond_the_next)
{
    char record[32];
    REQUIRE(begin(no_options));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    client_command(&tailer, "BTAIL", "log", "10", "0", NULL);
    await_parked(1);
    for (int i = 1; i <= 10; i++) {
        CHECK(client_is_silent(&tailer, 5));
        snprintf(record, sizeof(record), "r%d", i);
        CHECK_EQ(client_ask(&pusher, "RPUSH", "log", record, NULL), i + 1);
    }
    client_expect_records(&tailer, "r", 10, 1);
    CHECK_EQ(client_info(&pusher, "tail_wakes"), 1); /* the two are at two workers */
    end();
}

TEST(logd_btail, waits_for_a_key_that_does_not_exist)
{
    REQUIRE(begin(OPTIONS("--max-keys", "2")));
    client_command(&tailer, "BTAIL", "log", "1", "0", NULL);
    await_parked(1);
    CHECK_EQ(client_ask(&pusher, "DBSIZE", NULL), 0); /* waiting makes none */
    CHECK_EQ(client_ask(&pusher, "RPUSH", "other", "r0", "r1", NULL), 2);
    CHECK(client_is_silent(&tailer, 50));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    CHECK(client_is_silent(&tailer, 50)); /* by now at the log itself */
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r1", NULL), 2);
    client_expect_records(&tailer, "r", 1, 1);
    client_command(&tailer, "BTAIL", "never", "0", "0.05", NULL); /* no key left for it */
    EXPECT(&tailer, "*-1\r\n");
    end();
}

TEST(logd_btail, follows_a_log_to_its_end)
{
    char index[32];
    int64_t next = 0;
    REQUIRE(begin(OPTIONS("--max-log-len", "30")));
    for (int64_t i = 1; next < 30 && check_failures() == 0; i++) {
        snprintf(index, sizeof(index), "%lld", (long long)next);
        client_command(&tailer, "BTAIL", "log", index, "0", NULL);
        if (i <= 10) /* the answer may hold one or two of the three: then more answers than pushes */
            CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "same", "same", "same", NULL), i * 3);
        const char *head = client_line(&tailer);
        REQUIRE(head != NULL && head[0] == '*' && strtoll(head + 1, NULL, 10) > 0);
        int64_t count = strtoll(head + 1, NULL, 10);
        for (int64_t k = 0; k < count; k++)
            EXPECT(&tailer, "$4\r\nsame\r\n");
        next += count;
    }
    CHECK_EQ(next, 30);
    client_command(&tailer, "BTAIL", "log", "30", "0", NULL);
    EXPECT(&tailer, "-ERR index exceeds max-log-len (30)\r\n");
    end();
}

TEST(logd_btail, refuses_what_makes_no_sense)
{
    static const struct {
        const char *index;
        const char *timeout;
    } bad[] = {{"0", "-1"},    {"0", "x"}, {"0", ""},    {"0", "1e3"}, {"0", "nan"},
               {"0", "1.2.3"}, {"0", "."}, {"0", "inf"}, {"0", "0x1"}, {"0", "99999999999"}};
    REQUIRE(begin(no_options));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        client_command(&tailer, "BTAIL", "log", bad[i].index, bad[i].timeout, NULL);
        EXPECT(&tailer, "-ERR timeout is not a number of seconds or out of range\r\n");
    }
    client_command(&tailer, "BTAIL", "log", "-1", "0", NULL);
    EXPECT(&tailer, "-ERR value is not an integer or out of range\r\n");
    client_command(&tailer, "BTAIL", "log", "one", "0", NULL);
    EXPECT(&tailer, "-ERR value is not an integer or out of range\r\n");
    client_command(&tailer, "BTAIL", "log", "9223372036854775807", "0", NULL);
    EXPECT(&tailer, "-ERR index exceeds max-log-len (4194304)\r\n");
    client_command(&tailer, "BTAIL", "log", "0", NULL);
    EXPECT(&tailer, "-ERR wrong number of arguments for 'btail' command\r\n");
    CHECK_EQ(client_info(&pusher, "blocked_clients"), 0);
    end();
}

/* What is more than a client may leave unread comes in parts. */
TEST(logd_btail, answers_in_parts_that_fit)
{
    static char record[1001];
    char index[32];
    int64_t next = 0;
    memset(record, 'r', 1000);
    REQUIRE(begin(OPTIONS("--max-output", "10000")));
    for (int64_t i = 1; i <= 100; i++)
        CHECK_EQ(client_ask(&pusher, "RPUSH", "log", record, NULL), i);
    for (int parts = 0; next < 100 && parts < 20; parts++) {
        snprintf(index, sizeof(index), "%lld", (long long)next);
        client_command(&tailer, "BTAIL", "log", index, "0", NULL);
        const char *head = client_line(&tailer);
        REQUIRE(head != NULL && head[0] == '*');
        int64_t count = strtoll(head + 1, NULL, 10);
        CHECK(count == 9 || next + count == 100);
        for (int64_t k = 0; k < count; k++)
            CHECK_EQ(client_bulk(&tailer, record, sizeof(record)), 1000);
        next += count;
    }
    CHECK_EQ(next, 100);
    end();
}

/* ---- time-outs ------------------------------------------------------------------------------- */

/* Not before its time; not much later, though a busy machine may take its own. */
TEST(logd_btail, gives_up_in_time)
{
    REQUIRE(begin(no_options));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    int64_t started = now_ms();
    client_command(&tailer, "BTAIL", "log", "1", "0.2", NULL);
    EXPECT(&tailer, "*-1\r\n");
    int64_t took = now_ms() - started;
    CHECK(took >= 199 && took < 5000);
    client_command(&tailer, "BTAIL", "log", "1", "0.0000000001", NULL);
    EXPECT(&tailer, "*-1\r\n");
    await_parked(0);
    CHECK_EQ(client_ask(&tailer, "LLEN", "log", NULL), 1);
    end();
}

#define SLEEPERS 40

struct sleeper {
    struct client client;
    int64_t earliest; /* its time is over between these, ms */
    int64_t latest;
};

/*
 * They say by themselves in which order they are woken: each is followed by a push of its number. Only
 * those count whose times surely differ, however long the machine took between two of them.
 */
TEST(logd_btail, gives_up_in_the_order_of_the_times)
{
    static struct sleeper sleepers[SLEEPERS];
    char line[96];
    char number[32];
    int woken[SLEEPERS];
    REQUIRE(begin(OPTIONS("--workers", "1")));
    for (int i = 0; i < SLEEPERS; i++) { /* 17 is prime to 40: every time once, in disorder */
        int64_t ms = 500 + i * 17 % SLEEPERS * 10;
        REQUIRE(client_open(&sleepers[i].client, &server));
        REQUIRE(client_ask(&sleepers[i].client, "DBSIZE", NULL) >= 0); /* its worker knows it */
        snprintf(line, sizeof(line), "BTAIL none%d 0 0.%03d\r\nRPUSH order %d\r\n", i % 3, (int)ms,
                 i);
        sleepers[i].earliest = now_ms() + ms;
        client_send(&sleepers[i].client, line, strlen(line));
        CHECK(client_ask(&pusher, "LLEN", "order", NULL) >= 0); /* served after it */
        sleepers[i].latest = now_ms() + ms;
    }
    for (int i = 0; i < SLEEPERS; i++) {
        EXPECT(&sleepers[i].client, "*-1\r\n:");
        CHECK(now_ms() >= sleepers[i].earliest);
        client_close(&sleepers[i].client);
    }
    client_command(&pusher, "LRANGE", "order", "0", "-1", NULL);
    EXPECT(&pusher, "*40\r\n");
    for (int i = 0; i < SLEEPERS; i++) {
        REQUIRE(client_bulk(&pusher, number, sizeof(number)) > 0);
        woken[i] = atoi(number);
        for (int k = 0; k < i; k++)
            CHECK(sleepers[woken[k]].earliest <= sleepers[woken[i]].latest);
    }
    await_parked(0);
    end();
}

/* ---- the order of things --------------------------------------------------------------------- */

TEST(logd_btail, later_commands_wait_for_the_answer)
{
    static const char pipelined[] = "PING before\r\nBTAIL log 0 0\r\nPING after\r\n"
                                    "RPUSH log r1\r\nBTAIL log 2 0\r\nBTAIL log 9 0.05\r\n"
                                    "PING last\r\n";
    REQUIRE(begin(no_options));
    client_send(&tailer, pipelined, sizeof(pipelined) - 1);
    EXPECT(&tailer, "$6\r\nbefore\r\n");
    await_parked(1);
    client_send(&tailer, "PING late\r\n", 11); /* while it is parked */
    CHECK(client_is_silent(&tailer, 50));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    client_expect_records(&tailer, "r", 0, 1);
    EXPECT(&tailer, "$5\r\nafter\r\n:2\r\n");
    await_parked(1);
    CHECK(client_is_silent(&tailer, 50));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r2", NULL), 3);
    client_expect_records(&tailer, "r", 2, 1);
    EXPECT(&tailer, "*-1\r\n$4\r\nlast\r\n$4\r\nlate\r\n");
    end();
}

#define STREAMED (SANITIZED ? 3000 : 20000)

static void *push_numbers(void *argument)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    (void)argument;
    for (int i = 0; i < STREAMED; i++)
        fprintf(stream, "RPUSH log r%d\r\n", i);
    fclose(stream);
    CHECK(client_send(&pusher, text, len));
    for (int i = 0; i < STREAMED && check_failures() == 0; i++)
        CHECK_EQ(client_integer(&pusher), i + 1);
    free(text);
    return NULL;
}

#define TAILERS 4

/* Every record once and in order: none is missed, however the pushes and the parking interleave. */
static void *tail_numbers(void *argument)
{
    struct client *follower = argument;
    char index[32];
    char record[32];
    char expected[32];
    int64_t next = 0;
    while (next < STREAMED && check_failures() == 0) {
        snprintf(index, sizeof(index), "%lld", (long long)next);
        client_command(follower, "BTAIL", "log", index, "0", NULL);
        const char *head = client_line(follower);
        if (!CHECK(head != NULL && head[0] == '*'))
            break;
        for (int64_t left = strtoll(head + 1, NULL, 10); left > 0; left--) {
            snprintf(expected, sizeof(expected), "r%lld", (long long)next++);
            CHECK(client_bulk(follower, record, sizeof(record)) > 0);
            CHECK_STR(expected, record);
        }
    }
    return NULL;
}

static void stream(const char *const *options)
{
    static struct client followers[TAILERS];
    pthread_t threads[TAILERS + 1];
    REQUIRE(begin(options));
    for (int i = 0; i < TAILERS; i++) {
        REQUIRE(client_open(&followers[i], &server));
        REQUIRE(pthread_create(&threads[i], NULL, tail_numbers, &followers[i]) == 0);
    }
    REQUIRE(pthread_create(&threads[TAILERS], NULL, push_numbers, NULL) == 0);
    for (int i = 0; i <= TAILERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < TAILERS; i++)
        client_close(&followers[i]);
    await_parked(0);
    end();
}

TEST(logd_btail, no_record_is_missed)
{
    stream(no_options);
}

TEST(logd_btail, no_record_is_missed_by_one_worker)
{
    stream(OPTIONS("--workers", "1"));
}

TEST(logd_btail, no_record_is_missed_by_many_workers)
{
    stream(OPTIONS("--workers", "7"));
}

/* One at a time, so that each is waited for: a wake that were lost would show as a hang. */
TEST(logd_btail, each_record_is_answered_by_the_next)
{
    char text[32];
    REQUIRE(begin(no_options));
    for (int i = 0; i < (SANITIZED ? 300 : 3000) && check_failures() == 0; i++) {
        snprintf(text, sizeof(text), "%d", i);
        client_command(&tailer, "BTAIL", "log", text, "0", NULL);
        CHECK_EQ(client_ask(&pusher, "RPUSH", "log", text, NULL), i + 1);
        client_expect_records(&tailer, "", i, 1);
    }
    end();
}

/* Pushes wake nobody who does not wait: no system call for them. */
TEST(logd_btail, pushes_that_nobody_waits_for_wake_nobody)
{
    REQUIRE(begin(OPTIONS("--workers", "2")));
    CHECK_EQ(client_ask(&pusher, "RPUSH", "other", "r0", NULL), 1);
    CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "r0", NULL), 1);
    client_command(&tailer, "BTAIL", "other", "1", "0", NULL);
    await_parked(1);
    for (int i = 2; i <= 100; i++)
        CHECK_EQ(client_ask(&pusher, "RPUSH", "log", "more", NULL), i);
    CHECK_EQ(client_info(&pusher, "tail_wakes"), 0);
    CHECK_EQ(client_ask(&pusher, "RPUSH", "other", "r1", NULL), 2);
    client_expect_records(&tailer, "r", 1, 1);
    CHECK_EQ(client_info(&pusher, "tail_wakes"), 1); /* the two are at two workers */
    end();
}
