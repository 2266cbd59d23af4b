/*
 * logd_command.h - what a client can ask for.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_COMMAND_H
#define LOGD_COMMAND_H

#include "logd.h"

/* Who executes a command, for whom. The worker is pinned. */
struct command_context {
    struct worker *worker;
    struct connection *connection;
    connections_handle self; /* the connection's handle */
};

enum command_result {
    COMMAND_DONE,
    COMMAND_QUIT,   /* the connection ends when its reply is out */
    COMMAND_PARKED, /* it waits; the worker takes it up again by worker_resume */
};

typedef enum command_result command_function(const struct command_context *context);

/* Executes the connection's request and appends to its reply. */
enum command_result command_execute(const struct command_context *context);

/* ---- for the commands ------------------------------------------------------------------------ */

static inline size_t argument_count(const struct command_context *context)
{
    return context->connection->request.count;
}

static inline struct text argument_at(const struct command_context *context, size_t i)
{
    return request_argument(&context->connection->request, i);
}

static inline struct reply *reply_to(const struct command_context *context)
{
    return &context->connection->reply;
}

/* ASCII letters compare without case. */
bool text_is(struct text text, const char *word);

/* A whole decimal number, a sign allowed; false for anything else. */
bool text_integer(struct text text, int64_t *value);

/* Replies that a number should be one. */
void reply_not_integer(struct reply *reply);

/* For a command or subcommand that is not known. */
void reply_unknown(struct reply *reply, const char *what, struct text name);

/* ---- logd_client.c, logd_info.c -------------------------------------------------------------- */

command_function command_client;
command_function command_info;
command_function command_config;
command_function command_command;

#endif
