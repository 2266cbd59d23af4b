/*
 * logd_command.c - the commands on logs, and the table of all commands.
 *
 * A reply to RPUSH acknowledges: the records are in the log, at the indices that end where the
 * reply says, when it is written. LLEN, LRANGE and negative indices see the published prefix (C3),
 * which may stop short of a record whose predecessor is being written at that moment; LINDEX with
 * the index that RPUSH gave finds the record at once (C4).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_command.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "logd_btail.h"
#include "logd_range.h"

#define SHOWN 64 /* bytes of a user's word in an error */

/* ---- arguments ------------------------------------------------------------------------------- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool text_is(struct text text, const char *word)
{
    for (size_t i = 0; i < text.len; i++) {
        if (word[i] == '\0' || lower(text.data[i]) != word[i])
            return false;
    }
    return word[text.len] == '\0';
}

bool text_integer(struct text text, int64_t *value)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == text.len)
        return false;
    int64_t sum = 0; /* below zero: there is one more of those */
    for (; i < text.len; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_sub_overflow(sum, digit, &sum))
            return false;
    }
    if (!negative && __builtin_sub_overflow(0, sum, &sum))
        return false;
    *value = sum;
    return true;
}

void reply_not_integer(struct reply *reply)
{
    reply_error(reply, "ERR value is not an integer or out of range");
}

void reply_unknown(struct reply *reply, const char *what, struct text name)
{
    struct bytes shown = {0};
    if (bytes_append_printable(&shown, name, SHOWN))
        reply_error(reply, "ERR unknown %s '%.*s'", what, (int)shown.len, shown.data);
    else
        reply_error(reply, "ERR unknown %s", what);
    bytes_free(&shown);
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* The log that argument 1 names, or NULL. */
static struct log *named_log(const struct command_context *context)
{
    return store_find(&context->worker->server->store, argument_at(context, 1));
}

/* Checks the values of an RPUSH and lists them; replies and returns false if one is too long. */
static bool list_values(const struct command_context *context, struct text *values)
{
    size_t max_record = context->worker->server->options.max_record;
    for (size_t i = 2; i < argument_count(context); i++) {
        values[i - 2] = argument_at(context, i);
        if (values[i - 2].len > max_record) {
            reply_error(reply_to(context), "ERR record exceeds max-record (%zu bytes)", max_record);
            return false;
        }
    }
    return true;
}

static void reply_not_stored(const struct command_context *context, enum append_result result)
{
    const struct options *options = &context->worker->server->options;
    if (result == APPEND_NO_KEY)
        reply_error(reply_to(context), "ERR max number of keys reached (%zu)", options->max_keys);
    else if (result == APPEND_NO_ROOM)
        reply_error(reply_to(context), "ERR log reached max-log-len (%zu)", options->max_log_len);
    else
        reply_error(reply_to(context), "OOM no memory left to store this");
}

static enum command_result command_rpush(const struct command_context *context)
{
    struct worker *worker = context->worker;
    struct text name = argument_at(context, 1);
    if (name.len > LOGD_MAX_KEY) {
        reply_error(reply_to(context), "ERR key exceeds %d bytes", LOGD_MAX_KEY);
        return COMMAND_DONE;
    }
    if (!list_values(context, worker->values))
        return COMMAND_DONE;
    size_t n = argument_count(context) - 2;
    struct appended appended;
    enum append_result result = store_append(&worker->appender, name, worker->values, n, &appended);
    if (result == APPENDED) {
        reply_integer(reply_to(context), (int64_t)(appended.first + n));
        btail_wake(worker, appended.log, appended.made);
    } else {
        reply_not_stored(context, result);
    }
    return COMMAND_DONE;
}

static enum command_result command_llen(const struct command_context *context)
{
    struct log *log = named_log(context);
    reply_integer(reply_to(context), log == NULL ? 0 : (int64_t)records_len(&log->records));
    return COMMAND_DONE;
}

static enum command_result command_lindex(const struct command_context *context)
{
    struct log *log = named_log(context);
    int64_t index;
    if (!text_integer(argument_at(context, 2), &index)) {
        reply_not_integer(reply_to(context));
        return COMMAND_DONE;
    }
    const struct text *record = NULL;
    if (log != NULL && index < 0)
        index += (int64_t)records_len(&log->records);
    if (log != NULL && index >= 0)
        record = records_get(&log->records, (size_t)index);
    if (record != NULL)
        reply_bulk(reply_to(context), record->data, record->len);
    else
        reply_nil(reply_to(context));
    return COMMAND_DONE;
}

/* The part of a slice that start and stop name, negative ones counted from its end. */
static struct records_slice part(struct records_slice slice, int64_t start, int64_t stop)
{
    int64_t count = (int64_t)slice.count;
    if (start < 0)
        start = start + count < 0 ? 0 : start + count;
    if (stop < 0)
        stop += count;
    if (stop >= count)
        stop = count - 1;
    if (start > stop)
        return (struct records_slice){slice.data, 0};
    return (struct records_slice){slice.data + start, (size_t)(stop - start + 1)};
}

static enum command_result command_lrange(const struct command_context *context)
{
    struct reply *reply = reply_to(context);
    size_t max_output = context->worker->server->options.max_output;
    struct log *log = named_log(context);
    int64_t start;
    int64_t stop;
    if (!text_integer(argument_at(context, 2), &start) ||
        !text_integer(argument_at(context, 3), &stop)) {
        reply_not_integer(reply);
        return COMMAND_DONE;
    }
    struct records_slice range = {NULL, 0};
    if (log != NULL)
        range = part(records_snapshot(&log->records), start, stop);
    if (!range_reply(reply, &range, max_output))
        range_reply_refused(reply, &range, max_output);
    return COMMAND_DONE;
}

static enum command_result command_dbsize(const struct command_context *context)
{
    /* Relaxed: a figure. */
    uint64_t keys = vbuf_u64_load_relaxed(&context->worker->server->store.keys);
    reply_integer(reply_to(context), (int64_t)keys);
    return COMMAND_DONE;
}

/* ---- the connection, the server -------------------------------------------------------------- */

static enum command_result command_ping(const struct command_context *context)
{
    if (argument_count(context) == 1) {
        reply_status(reply_to(context), "PONG");
    } else {
        struct text text = argument_at(context, 1);
        reply_bulk(reply_to(context), text.data, text.len);
    }
    return COMMAND_DONE;
}

static enum command_result command_echo(const struct command_context *context)
{
    struct text text = argument_at(context, 1);
    reply_bulk(reply_to(context), text.data, text.len);
    return COMMAND_DONE;
}

static enum command_result command_select(const struct command_context *context)
{
    int64_t database;
    if (!text_integer(argument_at(context, 1), &database))
        reply_not_integer(reply_to(context));
    else if (database != 0)
        reply_error(reply_to(context), "ERR DB index is out of range");
    else
        reply_ok(reply_to(context));
    return COMMAND_DONE;
}

static enum command_result command_quit(const struct command_context *context)
{
    reply_ok(reply_to(context));
    return COMMAND_QUIT;
}

/* As from outside. There is no reply: the connection ends with the server. */
static enum command_result command_shutdown(const struct command_context *context)
{
    (void)context;
    kill(getpid(), SIGTERM);
    return COMMAND_DONE;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define ANY SIZE_MAX

static const struct command {
    const char *name;
    size_t least; /* arguments, the name included */
    size_t most;
    command_function *execute;
} commands[] = {
    {"rpush", 3, ANY, command_rpush},       {"lindex", 3, 3, command_lindex},
    {"lrange", 4, 4, command_lrange},       {"llen", 2, 2, command_llen},
    {"btail", 4, 4, command_btail},         {"ping", 1, 2, command_ping},
    {"echo", 2, 2, command_echo},           {"info", 1, ANY, command_info},
    {"client", 2, ANY, command_client},     {"config", 2, ANY, command_config},
    {"command", 1, ANY, command_command},   {"dbsize", 1, 1, command_dbsize},
    {"select", 2, 2, command_select},       {"quit", 1, ANY, command_quit},
    {"shutdown", 1, ANY, command_shutdown},
};

static const struct command *find_command(struct text name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (text_is(name, commands[i].name))
            return &commands[i];
    }
    return NULL;
}

enum command_result command_execute(const struct command_context *context)
{
    const struct command *command = find_command(argument_at(context, 0));
    size_t given = argument_count(context);
    if (command == NULL) {
        reply_unknown(reply_to(context), "command", argument_at(context, 0));
        /*
         * A line that is no command was not typed: a web page that posts to us, say. Do not read
         * on.
         */
        return context->connection->request.is_inline ? COMMAND_QUIT : COMMAND_DONE;
    }
    if (given < command->least || given > command->most) {
        reply_error(reply_to(context), "ERR wrong number of arguments for '%s' command",
                    command->name);
        return COMMAND_DONE;
    }
    return command->execute(context);
}
