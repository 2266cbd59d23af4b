/*
 * logd_options.c - logd's command line.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logd.h"

#define MIB ((size_t)1 << 20)

static const struct options defaults = {
    .port = 7711,
    .workers = 2,
    .max_clients = 8192,
    .max_keys = 1024,
    .max_record = 65536,
    .max_log_len = 4 * MIB,
    .max_request = 1 * MIB,
    .max_output = 32 * MIB,
    .max_store = 4096 * MIB,
    .idle_timeout = 300 * INT64_C(1000000000),
};

static const char usage[] =
    "usage: logd [OPTION VALUE]...\n"
    "A log server that speaks the Redis protocol on 127.0.0.1.\n"
    "\n"
    "  --port N              the port to listen at; 0: a free one (7711)\n"
    "  --port-file FILE      write the port to FILE\n"
    "  --workers N           threads that serve clients (2)\n"
    "  --max-clients N       connected clients, if there are descriptors for them (8192)\n"
    "  --max-keys N          logs (1024)\n"
    "  --max-record BYTES    of one record (65536)\n"
    "  --max-log-len N       records in one log (4194304)\n"
    "  --max-request BYTES   of all arguments of one command (1048576)\n"
    "  --max-output BYTES    of replies that a client leaves unread (33554432)\n"
    "  --max-store BYTES     stored by each worker (4294967296)\n"
    "  --max-memory BYTES    in all; 0: no limit (0)\n"
    "  --idle-timeout SECS   without a command ends a connection, such as 0.5; 0: none does (300)\n"
    "  --help\n";

/* A number option: where it goes and what it may be. */
struct number {
    const char *name;
    size_t offset; /* of a size_t in struct options */
    size_t least;
    size_t most;
};

static const struct number numbers[] = {
    {"--workers", offsetof(struct options, workers), 1, 256},
    {"--max-clients", offsetof(struct options, max_clients), 1, 100000},
    {"--max-keys", offsetof(struct options, max_keys), 1, 1000000},
    {"--max-record", offsetof(struct options, max_record), 1, 512 * MIB},
    {"--max-log-len", offsetof(struct options, max_log_len), 1, (size_t)1 << 32},
    {"--max-request", offsetof(struct options, max_request), 1024, 1024 * MIB},
    {"--max-output", offsetof(struct options, max_output), 1024, 1024 * MIB},
    {"--max-memory", offsetof(struct options, max_memory), 0, SIZE_MAX / 2},
    {"--max-store", offsetof(struct options, max_store), 4096, (size_t)1 << 38},
};

static bool read_number(const char *text, size_t least, size_t most, size_t *number)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < least || value > most)
        return false;
    *number = (size_t)value;
    return true;
}

static bool read_seconds(const char *text, int64_t *ns)
{
    char *end;
    double value = strtod(text, &end);
    if (*text < '0' || *text > '9' || *end != '\0' || !(value >= 0 && value <= 1e8))
        return false;
    *ns = (int64_t)(value * 1e9);
    return true;
}

static bool set_option(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--port-file") == 0) {
        options->port_file = value;
        return true;
    }
    if (strcmp(name, "--idle-timeout") == 0)
        return read_seconds(value, &options->idle_timeout);
    if (strcmp(name, "--port") == 0) {
        size_t port;
        if (!read_number(value, 0, UINT16_MAX, &port))
            return false;
        options->port = (uint16_t)port;
        return true;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *number = &numbers[i];
        if (strcmp(name, number->name) == 0)
            return read_number(value, number->least, number->most,
                               (size_t *)(void *)((char *)options + number->offset));
    }
    return false;
}

bool options_parse(struct options *options, int argc, char **argv, int *status)
{
    *options = defaults;
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            *status = EXIT_SUCCESS;
            return false;
        }
        if (i + 1 == argc || !set_option(options, argv[i], argv[i + 1])) {
            fprintf(stderr, "logd: cannot make sense of %s %s\n%s", argv[i],
                    i + 1 < argc ? argv[i + 1] : "", usage);
            *status = EXIT_FAILURE;
            return false;
        }
    }
    return true;
}
