/*
 * logd_protocol_test.c - what logd answers, and what it does with input that makes no sense: that
 * costs its sender the connection, and nobody else anything.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "client.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const no_options[] = {NULL};

static struct logd server;
static struct witnesses witnesses;
static struct client client;

/* ---- good input ------------------------------------------------------------------------------ */

TEST(logd_protocol, answers_each_command)
{
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    client_command(&client, "PING", NULL);
    EXPECT(&client, "+PONG\r\n");
    client_command(&client, "ping", "hello", NULL);
    EXPECT(&client, "$5\r\nhello\r\n");
    client_command(&client, "ECHO", "", NULL);
    EXPECT(&client, "$0\r\n\r\n");
    client_command(&client, "SELECT", "0", NULL);
    EXPECT(&client, "+OK\r\n");
    client_command(&client, "SELECT", "1", NULL);
    EXPECT(&client, "-ERR DB index is out of range\r\n");
    client_command(&client, "CONFIG", "GET", "save", NULL);
    EXPECT(&client, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    client_command(&client, "CONFIG", "GET", "appendonly", NULL);
    EXPECT(&client, "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    client_command(&client, "CONFIG", "GET", "anything", NULL);
    EXPECT(&client, "*0\r\n");
    client_command(&client, "COMMAND", "DOCS", NULL);
    EXPECT(&client, "*0\r\n");
    client_command(&client, "NONSENSE\r\n", NULL);
    EXPECT(&client, "-ERR unknown command 'NONSENSE?\?'\r\n");
    client_command(&client, "", NULL);
    EXPECT(&client, "-ERR unknown command ''\r\n");
    client_command(&client, "PINGPONG", NULL);
    EXPECT(&client, "-ERR unknown command 'PINGPONG'\r\n");
    client_command(&client, "RPUSH", "key", NULL);
    EXPECT(&client, "-ERR wrong number of arguments for 'rpush' command\r\n");
    client_command(&client, "LLEN", "a", "b", NULL);
    EXPECT(&client, "-ERR wrong number of arguments for 'llen' command\r\n");
    client_command(&client, "QUIT", NULL);
    EXPECT(&client, "+OK\r\n");
    CHECK(client_ends(&client));
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, reads_back_what_was_pushed)
{
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), 0);
    client_command(&client, "LRANGE", "log", "0", "-1", NULL);
    EXPECT(&client, "*0\r\n");
    client_command(&client, "LINDEX", "log", "0", NULL);
    EXPECT(&client, "$-1\r\n");
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 0);
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "a", NULL), 1);
    CHECK_EQ(client_ask(&client, "RPUSH", "log", "", "cc", "ddd", NULL), 4);
    CHECK_EQ(client_ask(&client, "RPUSH", "other", "x", NULL), 1);
    CHECK_EQ(client_ask(&client, "LLEN", "log", NULL), 4);
    CHECK_EQ(client_ask(&client, "DBSIZE", NULL), 2);
    client_command(&client, "LRANGE", "log", "0", "-1", NULL);
    EXPECT(&client, "*4\r\n$1\r\na\r\n$0\r\n\r\n$2\r\ncc\r\n$3\r\nddd\r\n");
    client_command(&client, "LRANGE", "log", "-2", "100", NULL);
    EXPECT(&client, "*2\r\n$2\r\ncc\r\n$3\r\nddd\r\n");
    client_command(&client, "LRANGE", "log", "-100", "0", NULL);
    EXPECT(&client, "*1\r\n$1\r\na\r\n");
    client_command(&client, "LRANGE", "log", "2", "1", NULL);
    EXPECT(&client, "*0\r\n");
    client_command(&client, "LRANGE", "log", "9223372036854775807", "-9223372036854775808", NULL);
    EXPECT(&client, "*0\r\n");
    client_command(&client, "LRANGE", "log", "-9223372036854775808", "9223372036854775807", NULL);
    EXPECT(&client, "*4\r\n$1\r\na\r\n$0\r\n\r\n$2\r\ncc\r\n$3\r\nddd\r\n");
    client_command(&client, "LRANGE", "log", "0", "9223372036854775808", NULL);
    EXPECT(&client, "-ERR value is not an integer or out of range\r\n");
    client_command(&client, "LINDEX", "log", "3", NULL);
    EXPECT(&client, "$3\r\nddd\r\n");
    client_command(&client, "LINDEX", "log", "-4", NULL);
    EXPECT(&client, "$1\r\na\r\n");
    client_command(&client, "LINDEX", "log", "-5", NULL);
    EXPECT(&client, "$-1\r\n");
    client_command(&client, "LINDEX", "log", "4", NULL);
    EXPECT(&client, "$-1\r\n");
    client_command(&client, "LINDEX", "log", "one", NULL);
    EXPECT(&client, "-ERR value is not an integer or out of range\r\n");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, keeps_any_bytes)
{
    static const char push[] = "*3\r\n$5\r\nRPUSH\r\n$3\r\n\0\r\n\r\n$8\r\n\r\n\0\xff*1\r\n\r\n";
    static const char range[] = "*4\r\n$6\r\nLRANGE\r\n$3\r\n\0\r\n\r\n$1\r\n0\r\n$2\r\n-1\r\n";
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    client_send(&client, push, sizeof(push) - 1);
    EXPECT(&client, ":1\r\n");
    client_send(&client, range, sizeof(range) - 1);
    EXPECT(&client, "*1\r\n$8\r\n\r\n\0\xff*1\r\n\r\n");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, takes_commands_byte_by_byte)
{
    static const char text[] = "*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$12\r\nbyte by byte\r\n"
                               "PING\r\n"
                               "*3\r\n$6\r\nLINDEX\r\n$1\r\nk\r\n$1\r\n0\r\n";
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        client_send(&client, text + i, 1);
        if (i % 8 == 0)
            sleep_ms(1); /* so that they arrive alone */
    }
    EXPECT(&client, ":1\r\n+PONG\r\n$12\r\nbyte by byte\r\n");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

#define PIPELINED 5000

/* Thousands of commands, each shape among them, in one write. */
static char *pipeline(size_t *len)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, len);
    for (int i = 0; i < PIPELINED; i++) {
        char record[32];
        snprintf(record, sizeof(record), "record %d", i);
        fprintf(stream, "*3\r\n$5\r\nRPUSH\r\n$4\r\npipe\r\n$%zu\r\n%s\r\n", strlen(record),
                record);
        if (i % 7 == 0)
            fprintf(stream, "LINDEX pipe %d\r\n", i);
    }
    fclose(stream);
    return text;
}

TEST(logd_protocol, answers_thousands_of_pipelined_commands_in_order)
{
    size_t len;
    char *text = pipeline(&len);
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    CHECK(client_send(&client, text, len));
    free(text);
    for (int i = 0; i < PIPELINED && check_failures() == 0; i++) {
        char expected[32];
        char found[32];
        CHECK_EQ(client_integer(&client), i + 1);
        if (i % 7 != 0)
            continue;
        snprintf(expected, sizeof(expected), "record %d", i);
        CHECK(client_bulk(&client, found, sizeof(found)) > 0);
        CHECK_STR(expected, found);
    }
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, reads_lines_of_words)
{
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    for (int i = 0; i < 3000; i++) /* more than the reader's buffer holds without being renewed */
        client_send(&client, "rpush words  one\ttwo three \r\n", 29);
    for (int i = 0; i < 3000 && check_failures() == 0; i++)
        CHECK_EQ(client_integer(&client), 3 * (i + 1));
    client_send(&client, "\r\n\nPING\nPING\r\n", 14);
    EXPECT(&client, "+PONG\r\n+PONG\r\n");
    client_command(&client, "LRANGE", "words", "0", "2", NULL);
    EXPECT(&client, "*3\r\n$3\r\none\r\n$3\r\ntwo\r\n$5\r\nthree\r\n");
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/*
 * hiredis does not drop lines that it has not parsed itself. Here one is always unfinished, so that
 * the parser never sees an empty input.
 */
TEST(logd_protocol, does_not_keep_lines_it_has_answered)
{
    static char lines[7 * 2000];
    if (SANITIZED)
        SKIP("a sanitizer delays the reuse of memory");
    for (size_t i = 0; i < sizeof(lines); i++)
        lines[i] = "G \r\nPIN"[i % 7];
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    size_t before = logd_resident(&server);
    client_send(&client, "PIN", 3);
    for (int round = 0; round < 300 && check_failures() == 0; round++) {
        client_send(&client, lines, sizeof(lines));
        for (size_t i = 0; i < sizeof(lines) / 7; i++)
            REQUIRE(client_line(&client) != NULL);
    }
    CHECK(logd_resident(&server) < before + (1 << 20)); /* 4 MiB went through */
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- bad input ------------------------------------------------------------------------------- */

struct input {
    const char *what;
    const char *bytes;
    size_t len;
};

#define INPUT(what, bytes)                                                                         \
    {                                                                                              \
        what, bytes, sizeof(bytes) - 1                                                             \
    }

static const struct input malformed[] = {
    INPUT("a bad type byte", "?1\r\n"),
    INPUT("a NUL first", "\0*1\r\n$4\r\nPING\r\n"),
    INPUT("a bulk string alone", "$4\r\nPING\r\n"),
    INPUT("an integer", ":1\r\n"),
    INPUT("a status", "+OK\r\n"),
    INPUT("an error", "-ERR\r\n"),
    INPUT("a nil bulk string", "$-1\r\n"),
    INPUT("RESP3's map", "%1\r\n+a\r\n+b\r\n"),
    INPUT("an array of -2", "*-2\r\n"),
    INPUT("an array of 16385", "*16385\r\n"),
    INPUT("an array of 2^31", "*2147483648\r\n"),
    INPUT("an array of 2^31 - 1", "*2147483647\r\n"),
    INPUT("an array past 64 bits", "*18446744073709551617\r\n"),
    INPUT("an array of nothing", "*\r\n"),
    INPUT("an array of letters", "*one\r\n"),
    INPUT("an array of spaces", "* 1\r\n"),
    INPUT("an array of 1.5", "*1.5\r\n"),
    INPUT("a length with a NUL", "*1\0\r\n"),
    INPUT("a nested array", "*1\r\n*1\r\n$4\r\nPING\r\n"),
    INPUT("deeply nested arrays",
          "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"),
    INPUT("an integer in an array", "*1\r\n:1\r\n"),
    INPUT("a status in an array", "*1\r\n+PING\r\n"),
    INPUT("a nil in an array", "*2\r\n$4\r\nECHO\r\n$-1\r\n"),
    INPUT("a nil array in an array", "*1\r\n*-1\r\n"),
    INPUT("a bad byte in an array", "*1\r\nPING\r\n"),
    INPUT("a bulk string of -2", "*1\r\n$-2\r\n"),
    INPUT("a bulk string of 2^30", "*1\r\n$1073741824\r\n"),
    INPUT("a bulk string of 2^63 - 1", "*1\r\n$9223372036854775807\r\n"),
    INPUT("a bulk string of 2^64 + 4", "*1\r\n$18446744073709551620\r\nPING\r\n"),
    INPUT("a bulk string of letters", "*1\r\n$four\r\nPING\r\n"),
    INPUT("a bulk string without its end", "*1\r\n$4\r\nPINGxx*1\r\n"),
    INPUT("too short a length", "*1\r\n$3\r\nPING\r\n"),
    INPUT("newlines alone", "*1\n$4\nPING\n*1\n$4\nPING\n*1\n$4\nPING\n"),
    INPUT("a length without end", "*0000000000000000000000000000000000000000"),
    INPUT("a line with a control character", "PING \001\r\n"),
    INPUT("a line of UTF-8", "PING \xc3\xa9\r\n"),
    INPUT("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
};

/*
 * The input, after a command that is fine: that one is answered, then comes the error and the end.
 */
static void check_refused(const struct input *input)
{
    static const char prefix[] = "-ERR Protocol error: ";
    char complaint[128];
    if (!client_open(&client, &server))
        return;
    client_command(&client, "ECHO", "fine", NULL);
    EXPECT(&client, "$4\r\nfine\r\n");
    client_send(&client, input->bytes, input->len);
    const char *line = client_line(&client);
    snprintf(complaint, sizeof(complaint), "a protocol error after %s", input->what);
    check_that(line != NULL && strncmp(line, prefix, sizeof(prefix) - 1) == 0, complaint, __FILE__,
               __LINE__);
    snprintf(complaint, sizeof(complaint), "the connection ends after %s", input->what);
    check_that(client_ends(&client), complaint, __FILE__, __LINE__);
    client_close(&client);
    witnesses_check(&witnesses, input->what);
}

TEST(logd_protocol, malformed_input_costs_its_sender_the_connection)
{
    size_t count = sizeof(malformed) / sizeof(malformed[0]);
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    for (size_t i = 0; i < count; i++)
        check_refused(&malformed[i]);
    CHECK_EQ(client_info(&witnesses.clients[0], "protocol_errors"), count);
    CHECK_EQ(client_info(&witnesses.clients[0], "closed_for_protocol"), count);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

/*
 * A lot of one byte, behind a beginning. The error may come, or be lost in the reset of the rest.
 */
static void check_flood(const char *what, const char *beginning, char byte)
{
    static char flood[1 << 20];
    memset(flood, byte, sizeof(flood));
    if (!client_open(&client, &server))
        return;
    client_send(&client, beginning, strlen(beginning));
    client_send(&client, flood, sizeof(flood));
    CHECK(client_ends(&client));
    client_close(&client);
    witnesses_check(&witnesses, what);
}

TEST(logd_protocol, floods_are_not_kept)
{
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    check_flood("a line that does not end", "PING ", 'x');
    check_flood("a megabyte of NULs", "", '\0');
    check_flood("a length that does not end", "*", '1');
    check_flood("a length ended by a newline alone", "*1\n", 'x');
    check_flood("a bulk length ended by a newline alone", "*1\r\n$4\n", 'x');
    CHECK_EQ(client_info(&witnesses.clients[0], "protocol_errors"), 5);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, a_web_page_cannot_post_commands)
{
    static const char post[] = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nRPUSH web page\r\n";
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    client_send(&client, post, sizeof(post) - 1);
    EXPECT(&client, "-ERR unknown command 'POST'\r\n");
    CHECK(client_ends(&client));
    client_close(&client);
    REQUIRE(client_open(&client, &server));
    CHECK_EQ(client_ask(&client, "LLEN", "web", NULL), 0);
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, half_written_commands_vanish_with_their_clients)
{
    static const char text[] = "*3\r\n$5\r\nRPUSH\r\n$4\r\nhalf\r\n$12\r\na record\r\n..\r\n";
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        REQUIRE(client_open(&client, &server));
        client_send(&client, text, len);
        client_close(&client);
    }
    witnesses_check(&witnesses, "half-written commands");
    CHECK_EQ(client_await_info(&witnesses.clients[0], "connected_clients", 2), 2);
    CHECK_EQ(client_ask(&witnesses.clients[1], "LLEN", "half", NULL), 0);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}

TEST(logd_protocol, answers_what_came_before_a_half_closed_connection)
{
    REQUIRE(logd_start(&server, no_options, 0) && client_open(&client, &server));
    client_command(&client, "RPUSH", "key", "value", NULL);
    client_command(&client, "LRANGE", "key", "0", "-1", NULL);
    shutdown(client.fd, SHUT_WR);
    EXPECT(&client, ":1\r\n*1\r\n$5\r\nvalue\r\n");
    CHECK(client_ends(&client));
    client_close(&client);
    logd_stop(&server, SIGTERM);
}

/* ---- any input ------------------------------------------------------------------------------- */

#define FUZZ_ROUNDS (SANITIZED ? 150 : 500)

/* A few commands, with a few bytes of them changed, dropped or doubled. */
static size_t mutate(struct check_rng *rng, char *out)
{
    static const char text[] = "*3\r\n$5\r\nRPUSH\r\n$4\r\nfuzz\r\n$5\r\nvalue\r\n"
                               "*4\r\n$6\r\nLRANGE\r\n$4\r\nfuzz\r\n$1\r\n0\r\n$2\r\n-1\r\n"
                               "PING\r\n*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n*1\r\n$4\r\nINFO\r\n";
    static const char odd[] = "*$:+-%\r\n0129 \0\xffPQ";
    size_t len = 0;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        uint64_t dice = check_rng_next(rng);
        if (dice % 40 == 0)
            continue;
        out[len++] = dice % 40 == 1 ? odd[dice / 40 % (sizeof(odd) - 1)] : text[i];
        if (dice % 40 == 2)
            out[len++] = text[i];
    }
    return len;
}

TEST(logd_protocol, survives_mutated_commands)
{
    char input[512];
    struct check_rng rng = {check_seed()};
    REQUIRE(logd_start(&server, no_options, 0) && witnesses_open(&witnesses, &server));
    for (int i = 0; i < FUZZ_ROUNDS && check_failures() == 0; i++) {
        REQUIRE(client_open(&client, &server));
        client_send(&client, input, mutate(&rng, input));
        shutdown(client.fd, SHUT_WR);
        CHECK(client_ends(&client));
        client_close(&client);
        if (i % 50 == 0)
            witnesses_check(&witnesses, "mutated commands");
    }
    CHECK(client_info(&witnesses.clients[0], "protocol_errors") > FUZZ_ROUNDS / 4);
    witnesses_close(&witnesses);
    logd_stop(&server, SIGTERM);
}
