/*
 * client.c - logd as a child process, and clients of it on plain sockets.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE /* pipe2 */
#include "client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define MAX_OPTIONS 24
#define MAX_INFO 65536

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int64_t ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* ---- the server ------------------------------------------------------------------------------ */

static void set_limits(struct logd_limits limits)
{
    struct rlimit data = {limits.data, limits.data};
    struct rlimit descriptors = {limits.descriptors, limits.descriptors};
    if (limits.data > 0)
        setrlimit(RLIMIT_DATA, &data);
    if (limits.descriptors > 0)
        setrlimit(RLIMIT_NOFILE, &descriptors);
}

/* The child: never returns. */
static void become_logd(const char *const *options, int out, struct logd_limits limits)
{
    const char *program = getenv("VBUF_LOGD");
    const char *arguments[MAX_OPTIONS + 4] = {program, "--port", "0"};
    for (size_t i = 0; i < MAX_OPTIONS && options[i] != NULL; i++)
        arguments[3 + i] = options[i];
    set_limits(limits);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    if (program != NULL)
        execv(program, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

/* The port out of the line it prints first; 0 if there is none in time. */
static uint16_t read_port(int out)
{
    static const char expected[] = "logd: listening on 127.0.0.1:";
    char line[128];
    size_t len = 0;
    while (len < sizeof(line) - 1 && (len == 0 || line[len - 1] != '\n')) {
        struct pollfd polled = {.fd = out, .events = POLLIN};
        if (poll(&polled, 1, CLIENT_PATIENCE_S * 1000) != 1 || read(out, line + len, 1) != 1)
            return 0;
        len++;
    }
    line[len] = '\0';
    if (strncmp(line, expected, sizeof(expected) - 1) != 0)
        return 0;
    return (uint16_t)strtoul(line + sizeof(expected) - 1, NULL, 10);
}

bool logd_start(struct logd *logd, const char *const *options, uint64_t data_limit)
{
    return logd_start_limited(logd, options, (struct logd_limits){.data = data_limit});
}

bool logd_start_limited(struct logd *logd, const char *const *options, struct logd_limits limits)
{
    int ends[2];
    *logd = (struct logd){.out = -1};
    if (!CHECK(pipe2(ends, O_CLOEXEC) == 0))
        return false;
    fflush(NULL);
    logd->pid = fork();
    if (logd->pid == 0)
        become_logd(options, ends[1], limits);
    close(ends[1]);
    logd->out = ends[0];
    logd->port = logd->pid < 0 ? 0 : read_port(ends[0]);
    return CHECK(logd->port != 0); /* is $VBUF_LOGD the program? */
}

void logd_expect_end(struct logd *logd)
{
    int status = 0;
    int64_t started = now_ms();
    pid_t ended = 0;
    while (logd->pid > 0 && ended == 0 && now_ms() - started < END_MS + 10000) {
        ended = waitpid(logd->pid, &status, WNOHANG);
        if (ended == 0)
            sleep_ms(1);
    }
    int64_t took = now_ms() - started;
    if (CHECK(ended == logd->pid)) {
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
        CHECK(took <= END_MS);
    } else if (logd->pid > 0) {
        kill(logd->pid, SIGKILL);
        waitpid(logd->pid, &status, 0);
    }
    close(logd->out);
    logd->pid = 0;
}

void logd_stop(struct logd *logd, int signal)
{
    if (logd->pid > 0)
        kill(logd->pid, signal);
    logd_expect_end(logd);
}

size_t logd_descriptors(const struct logd *logd)
{
    char name[64];
    size_t count = 0;
    snprintf(name, sizeof(name), "/proc/%d/fd", (int)logd->pid);
    DIR *directory = opendir(name);
    if (!CHECK(directory != NULL))
        return 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

size_t logd_resident(const struct logd *logd)
{
    char name[64];
    size_t all = 0;
    size_t resident = 0;
    snprintf(name, sizeof(name), "/proc/%d/statm", (int)logd->pid);
    FILE *file = fopen(name, "r");
    if (!CHECK(file != NULL))
        return 0;
    CHECK(fscanf(file, "%zu %zu", &all, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- sending --------------------------------------------------------------------------------- */

bool client_open(struct client *client, const struct logd *logd)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(logd->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timeval patience = {.tv_sec = CLIENT_PATIENCE_S};
    int on = 1;
    client->start = client->end = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    bool connected = connect(client->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (!CHECK(connected))
        client_close(client);
    return connected;
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

bool client_send(struct client *client, const void *data, size_t len)
{
    const char *rest = data;
    while (len > 0) {
        ssize_t n = send(client->fd, rest, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        rest += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_command(struct client *client, va_list arguments)
{
    char *command = NULL;
    size_t len = 0;
    size_t count = 0;
    va_list again;
    va_copy(again, arguments);
    while (va_arg(again, const char *) != NULL)
        count++;
    va_end(again);
    FILE *stream = open_memstream(&command, &len);
    fprintf(stream, "*%zu\r\n", count);
    for (const char *word; (word = va_arg(arguments, const char *)) != NULL;)
        fprintf(stream, "$%zu\r\n%s\r\n", strlen(word), word);
    fclose(stream);
    bool sent = client_send(client, command, len);
    free(command);
    return sent;
}

bool client_command(struct client *client, ...)
{
    va_list arguments;
    va_start(arguments, client);
    bool sent = send_command(client, arguments);
    va_end(arguments);
    return sent;
}

int64_t client_ask(struct client *client, ...)
{
    va_list arguments;
    va_start(arguments, client);
    bool sent = send_command(client, arguments);
    va_end(arguments);
    return sent ? client_integer(client) : INT64_MIN;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Receives more, making room in front if need be; false at the end of the stream or of the room. */
static bool receive(struct client *client)
{
    if (client->start > 0) {
        memmove(client->buffer, client->buffer + client->start, client->end - client->start);
        client->end -= client->start;
        client->start = 0;
    }
    size_t room = sizeof(client->buffer) - client->end;
    ssize_t n = room == 0 ? 0 : recv(client->fd, client->buffer + client->end, room, 0);
    if (n <= 0)
        return false;
    client->end += (size_t)n;
    return true;
}

const char *client_line(struct client *client)
{
    size_t searched = 0;
    for (;;) {
        char *first = client->buffer + client->start;
        size_t len = client->end - client->start;
        char *newline = memchr(first + searched, '\n', len - searched);
        if (newline != NULL && newline > first && newline[-1] == '\r') {
            newline[-1] = '\0';
            client->start += (size_t)(newline + 1 - first);
            return first;
        }
        searched = newline == NULL ? len : (size_t)(newline + 1 - first);
        if (newline == NULL && !receive(client))
            return NULL;
    }
}

int64_t client_integer(struct client *client)
{
    const char *line = client_line(client);
    return line != NULL && line[0] == ':' ? strtoll(line + 1, NULL, 10) : INT64_MIN;
}

/* The next `len` bytes to `out`, which may be NULL. */
static bool take(struct client *client, char *out, size_t len)
{
    while (len > 0) {
        if (client->start == client->end && !receive(client))
            return false;
        size_t n = client->end - client->start;
        n = n < len ? n : len;
        if (out != NULL) {
            memcpy(out, client->buffer + client->start, n);
            out += n;
        }
        client->start += n;
        len -= n;
    }
    return true;
}

int64_t client_bulk(struct client *client, char *out, size_t size)
{
    char ending[2];
    const char *line = client_line(client);
    if (line == NULL || line[0] != '$')
        return -1;
    int64_t len = strtoll(line + 1, NULL, 10);
    if (len < 0 || (size_t)len >= size || !take(client, out, (size_t)len) ||
        !take(client, ending, 2) || memcmp(ending, "\r\n", 2) != 0)
        return -1;
    out[len] = '\0';
    return len;
}

bool client_expect(struct client *client, const char *bytes, size_t len, const char *file, int line)
{
    char got[4096] = "";
    char what[512];
    if (len > sizeof(got))
        return check_that(false, "EXPECT of that much", file, line);
    if (take(client, got, len) && memcmp(got, bytes, len) == 0)
        return true;
    snprintf(what, sizeof(what), "got \"%.200s\", not \"%.200s\"", got, bytes);
    return check_that(false, what, file, line);
}

bool client_expect_records(struct client *client, const char *prefix, int64_t first, int64_t count)
{
    char expected[64];
    char record[64];
    const char *head = client_line(client);
    if (!CHECK(head != NULL && head[0] == '*') || !CHECK_EQ(strtoll(head + 1, NULL, 10), count))
        return false;
    for (int64_t i = first; i < first + count; i++) {
        snprintf(expected, sizeof(expected), "%s%lld", prefix, (long long)i);
        if (!CHECK(client_bulk(client, record, sizeof(record)) >= 0) ||
            !CHECK_STR(expected, record))
            return false;
    }
    return true;
}

bool client_is_silent(struct client *client, int64_t ms)
{
    struct pollfd polled = {.fd = client->fd, .events = POLLIN};
    return client->start == client->end && poll(&polled, 1, (int)ms) == 0;
}

bool client_id(struct client *client, char *id, size_t size)
{
    int64_t number = client_ask(client, "CLIENT", "ID", NULL);
    snprintf(id, size, "%lld", (long long)number);
    return CHECK(number != INT64_MIN);
}

bool client_ends(struct client *client)
{
    int64_t started = now_ms();
    ssize_t n;
    do {
        n = recv(client->fd, client->buffer, sizeof(client->buffer), 0);
    } while (n > 0 && now_ms() - started < CLIENT_PATIENCE_S * 1000);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

uint64_t client_info(struct client *client, const char *name)
{
    char *text = malloc(MAX_INFO);
    uint64_t value = UINT64_MAX;
    size_t len = strlen(name);
    if (text != NULL && client_command(client, "INFO", NULL) &&
        client_bulk(client, text, MAX_INFO) >= 0) {
        for (char *line = strtok(text, "\r\n"); line != NULL; line = strtok(NULL, "\r\n")) {
            if (strncmp(line, name, len) == 0 && line[len] == ':')
                value = strtoull(line + len + 1, NULL, 10);
        }
    }
    free(text);
    return value;
}

uint64_t client_await_info(struct client *client, const char *name, uint64_t wanted)
{
    int64_t started = now_ms();
    uint64_t value = client_info(client, name);
    while (value != wanted && now_ms() - started < CLIENT_PATIENCE_S * 1000) {
        sleep_ms(2);
        value = client_info(client, name);
    }
    return value;
}

/* ---- witnesses ------------------------------------------------------------------------------- */

bool witnesses_open(struct witnesses *witnesses, const struct logd *logd)
{
    witnesses->logd = logd;
    witnesses->stored = 0;
    witnesses->clients[1].fd = -1;
    return client_open(&witnesses->clients[0], logd) && client_open(&witnesses->clients[1], logd);
}

/* Stores a record and finds it again. */
static bool still_served(struct witnesses *witnesses, struct client *client)
{
    char sent[32];
    char found[32];
    char index[32];
    snprintf(sent, sizeof(sent), "record %lld", (long long)witnesses->stored);
    snprintf(index, sizeof(index), "%lld", (long long)witnesses->stored);
    witnesses->stored++;
    return client_ask(client, "RPUSH", "witnesses", sent, NULL) == witnesses->stored &&
           client_ask(client, "LLEN", "witnesses", NULL) == witnesses->stored &&
           client_command(client, "LINDEX", "witnesses", index, NULL) &&
           client_bulk(client, found, sizeof(found)) >= 0 && strcmp(found, sent) == 0;
}

void witnesses_check(struct witnesses *witnesses, const char *what)
{
    char complaint[128];
    static struct client newcomer;
    bool served = still_served(witnesses, &witnesses->clients[0]) &&
                  still_served(witnesses, &witnesses->clients[1]) &&
                  client_open(&newcomer, witnesses->logd) && still_served(witnesses, &newcomer);
    client_close(&newcomer);
    snprintf(complaint, sizeof(complaint), "others are served after: %s", what);
    check_that(served, complaint, __FILE__, __LINE__);
}

size_t witnesses_settle(struct witnesses *witnesses)
{
    CHECK_EQ(client_await_info(&witnesses->clients[0], "connected_clients", 2), 2);
    CHECK_EQ(client_await_info(&witnesses->clients[0], "slotmap_limbo", 0), 0);
    return logd_descriptors(witnesses->logd);
}

void witnesses_close(struct witnesses *witnesses)
{
    client_close(&witnesses->clients[0]);
    client_close(&witnesses->clients[1]);
}
