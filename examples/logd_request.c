/*
 * logd_request.c - commands out of the bytes that a client sends.
 *
 * hiredis' reader was written for clients, which trust their server. It takes arrays of any length
 * and nested ones, does not look at the line end behind a bulk string, and keeps everything it is
 * fed until the item it waits for is whole, however long. So:
 *
 *   The table of functions through which it builds its results refuses what no command holds:
 *   arrays in arrays, more than REQUEST_MAX_ARGUMENTS, anything but bulk strings, more than
 *   max_bytes.
 *
 *   When it asks for more input, check_waiting looks at the length it is waiting for: one that
 *   would be refused later is refused before its bytes are there.
 *
 * The reader's buffer moves while a command is still incomplete, hence the copies and the offsets.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE /* memmem */
#include "logd_request.h"

#include <hiredis/read.h>
#include <hiredis/sds.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "logd_memory.h"

#define MAX_LENGTH_LINE 32 /* "-9223372036854775808\r\n" fits */
#define MAX_INLINE 16384   /* bytes of a line of words */
#define KEEP_BYTES 65536   /* capacity that stays with an idle connection */
#define KEEP_ARGUMENTS 1024
#define READER_SIZE 1024 /* bytes of a reader without its buffer, or nearly */
#define LARGEST_FEED 16384
#define READER_LAG 16384 /* consumed lines the reader may still hold */

/* ---- what the reader calls ------------------------------------------------------------------- */

/* Returning NULL makes the reader give up: its error says "out of memory", ours what it was. */
static void *refuse(struct request *request, const char *why)
{
    request->error = why;
    return NULL;
}

static bool add_argument(struct request *request, const char *data, size_t len)
{
    if (request->count == request->capacity) {
        size_t capacity = request->capacity == 0 ? 8 : request->capacity * 2;
        struct argument *grown = memory_resize(
            request->arguments, request->capacity * sizeof(*grown), capacity * sizeof(*grown));
        if (grown == NULL)
            return false;
        request->arguments = grown;
        request->capacity = capacity;
    }
    struct argument argument = {request->bytes.len, len};
    if (!bytes_reserve(&request->bytes, len + 1)) /* + 1: an empty argument has an address too */
        return false;
    bytes_append(&request->bytes, data, len);
    request->arguments[request->count++] = argument;
    return true;
}

static void *take_array(const redisReadTask *task, int count)
{
    struct request *request = task->privdata;
    if (task->parent != NULL)
        return refuse(request, "expected '$', got '*'");
    if (count > REQUEST_MAX_ARGUMENTS)
        return refuse(request, "invalid multibulk length");
    return request;
}

static void *take_string(const redisReadTask *task, char *data, size_t len)
{
    struct request *request = task->privdata;
    if (task->type != REDIS_REPLY_STRING)
        return refuse(request, "expected '$'");
    if (task->parent == NULL)
        return refuse(request, "expected '*'");
    /* The reader has made sure that two more bytes are there, not what they are. */
    if (data[len] != '\r' || data[len + 1] != '\n')
        return refuse(request, "bulk string without a line end");
    if (len > request->max_bytes - request->bytes.len)
        return refuse(request, "invalid bulk length");
    if (!add_argument(request, data, len)) {
        request->nomem = true;
        return NULL;
    }
    return request;
}

static void *take_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return refuse(task->privdata, "expected '$', got ':'");
}

static void *take_nil(const redisReadTask *task)
{
    struct request *request = task->privdata;
    if (task->parent != NULL || task->type != REDIS_REPLY_ARRAY)
        return refuse(request, "invalid bulk length");
    return request; /* "*-1": no command at all */
}

static void forget(void *object)
{
    (void)object; /* it is the request itself */
}

static redisReplyObjectFunctions functions = {
    .createString = take_string,
    .createArray = take_array,
    .createInteger = take_integer,
    .createNil = take_nil,
    .freeObject = forget,
};

/* ---- the reader's buffer --------------------------------------------------------------------- */

static size_t unread(const redisReader *reader)
{
    return reader->len - reader->pos;
}

/* Whether the next unread byte begins a command. */
static bool between_commands(const redisReader *reader)
{
    return reader->ridx < 0 || (reader->ridx == 0 && reader->rstack[0].type < 0);
}

/*
 * A reader with only the unread bytes. hiredis drops what was consumed while it parses, and lines
 * of words it does not parse: without this, they would stay for ever.
 */
static bool renew_reader(struct request *request)
{
    redisReader *old = request->reader;
    redisReader *reader = redisReaderCreateWithFunctions(&functions);
    if (reader == NULL)
        return false;
    if (old != NULL && unread(old) > 0 &&
        redisReaderFeed(reader, old->buf + old->pos, unread(old)) != REDIS_OK) {
        redisReaderFree(reader);
        return false;
    }
    if (old != NULL)
        redisReaderFree(old);
    request->reader = reader;
    return true;
}

/* What the reader holds: its buffer, and about as much as hiredis allocates around it. */
static size_t reader_size(const redisReader *reader)
{
    return reader == NULL ? 0 : READER_SIZE + sdsalloc(reader->buf);
}

/* hiredis allocates by itself: this brings the account up to date afterwards. */
static void account_for_reader(struct request *request)
{
    size_t size = reader_size(request->reader);
    if (size < request->reader_counted)
        memory_give(MEMORY_CLIENTS, request->reader_counted - size);
    else
        memory_take_anyway(size - request->reader_counted);
    request->reader_counted = size;
}

/* Whether there is memory for what the reader's buffer, which doubles, would grow to. */
static bool may_feed(struct request *request, size_t len)
{
    const redisReader *reader = request->reader;
    size_t grown = 2 * (sdslen(reader->buf) + len);
    size_t size = sdsalloc(reader->buf);
    if (len <= sdsavail(reader->buf) || grown <= MEMORY_SMALL + 2 * LARGEST_FEED)
        return true;
    if (!memory_take(MEMORY_CLIENTS, grown - size))
        return false;
    request->reader_counted += grown - size;
    return true;
}

bool request_feed(struct request *request, const char *data, size_t len)
{
    const redisReader *reader = request->reader;
    bool stale = reader == NULL || (between_commands(reader) && reader->pos >= READER_LAG);
    if (stale && !renew_reader(request))
        return false;
    bool fed = may_feed(request, len) && redisReaderFeed(request->reader, data, len) == REDIS_OK;
    account_for_reader(request);
    return fed;
}

/* ---- malformed input ------------------------------------------------------------------------- */

static enum request_state malformed(struct request *request, const char *why)
{
    request->error = why;
    return REQUEST_MALFORMED;
}

/* Why the reader gave up: our reason if it was us. */
static enum request_state reader_failed(struct request *request)
{
    static const char prefix[] = "Protocol error, ";
    redisReader *reader = request->reader;
    if (request->nomem || (reader->err == REDIS_ERR_OOM && request->error == NULL))
        return REQUEST_NOMEM;
    if (request->error == NULL) {
        bool prefixed = strncmp(reader->errstr, prefix, sizeof(prefix) - 1) == 0;
        request->error = reader->errstr + (prefixed ? sizeof(prefix) - 1 : 0);
    }
    return REQUEST_MALFORMED;
}

/* The reader waits for more: for something that it can get? */
static enum request_state check_waiting(struct request *request)
{
    const redisReader *reader = request->reader;
    size_t len = unread(reader);
    if (between_commands(reader) || len == 0)
        return REQUEST_INCOMPLETE;
    const char *line = reader->buf + reader->pos;
    size_t seen = len < MAX_LENGTH_LINE ? len : MAX_LENGTH_LINE;
    if (memmem(line, seen, "\r\n", 2) == NULL) /* a lone newline ends no line for the reader */
        return seen < MAX_LENGTH_LINE ? REQUEST_INCOMPLETE : malformed(request, "length too long");
    /* A whole line and still waiting: for the bytes of a bulk string. The buffer is terminated. */
    if (reader->rstack[reader->ridx].type == REDIS_REPLY_STRING) {
        unsigned long long wanted = strtoull(line, NULL, 10);
        if (wanted > request->max_bytes - request->bytes.len)
            return malformed(request, "invalid bulk length");
    }
    return REQUEST_INCOMPLETE;
}

/* ---- a line of words ------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Splits a line at blanks; false when there is no memory. */
static bool split_words(struct request *request, const char *line, size_t len)
{
    size_t i = 0;
    while (i < len) {
        size_t first = i;
        while (i < len && !is_blank(line[i]))
            i++;
        if (i > first && !add_argument(request, line + first, i - first))
            return false;
        while (i < len && is_blank(line[i]))
            i++;
    }
    return true;
}

/* Anything but text that starts with a letter is not somebody typing, but a client gone astray. */
static bool is_typed(const char *line, size_t len)
{
    if (len > 0 && !((line[0] >= 'a' && line[0] <= 'z') || (line[0] >= 'A' && line[0] <= 'Z')))
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((line[i] < ' ' || line[i] > '~') && line[i] != '\t')
            return false;
    }
    return true;
}

static enum request_state next_line(struct request *request)
{
    redisReader *reader = request->reader;
    const char *line = reader->buf + reader->pos;
    size_t available = unread(reader);
    const char *end = memchr(line, '\n', available);
    size_t len = end != NULL ? (size_t)(end - line) : available;
    size_t shown = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
    if (!is_typed(line, shown))
        return malformed(request, "expected '*'");
    if (len > MAX_INLINE || len > request->max_bytes)
        return malformed(request, "too big inline request");
    if (end == NULL)
        return REQUEST_INCOMPLETE;
    request->is_inline = true;
    bool split = split_words(request, line, shown);
    reader->pos += len + 1;
    return split ? REQUEST_READY : REQUEST_NOMEM;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void free_arguments(struct request *request)
{
    memory_free(request->arguments, request->capacity * sizeof(*request->arguments));
    request->arguments = NULL;
    request->capacity = 0;
}

/* Forgets the command that was ready. */
static void reset(struct request *request)
{
    bytes_reset(&request->bytes, KEEP_BYTES);
    if (request->capacity > KEEP_ARGUMENTS)
        free_arguments(request);
    request->count = 0;
    request->is_inline = false;
}

static enum request_state next_item(struct request *request)
{
    redisReader *reader = request->reader;
    bool fresh = between_commands(reader);
    if (fresh)
        reset(request);
    if (fresh && unread(reader) > 0 && reader->buf[reader->pos] != '*')
        return next_line(request);
    reader->privdata = request; /* here, because a connection is copied into its slot */
    void *whole;
    if (redisReaderGetReply(reader, &whole) != REDIS_OK)
        return reader_failed(request);
    return whole != NULL ? REQUEST_READY : check_waiting(request);
}

enum request_state request_next(struct request *request)
{
    if (request->reader == NULL)
        return REQUEST_INCOMPLETE;
    if (request->error != NULL)
        return REQUEST_MALFORMED;
    for (;;) {
        enum request_state state = next_item(request);
        if (state != REQUEST_READY || request->count > 0)
            return state; /* an empty command is skipped */
    }
}

void request_free(struct request *request)
{
    if (request->reader != NULL)
        redisReaderFree(request->reader);
    request->reader = NULL;
    account_for_reader(request);
    free_arguments(request);
    bytes_free(&request->bytes);
    request->count = 0;
}
