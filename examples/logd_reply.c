/*
 * logd_reply.c - what a connection has still to send, in the Redis protocol (RESP2).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "logd_reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define KEEP_CAPACITY 65536 /* an idle connection keeps no more than this */

static void append_head(struct reply *reply, char type, int64_t value)
{
    bytes_append(&reply->out, &type, 1);
    bytes_append_decimal(&reply->out, value);
    bytes_append(&reply->out, "\r\n", 2);
}

void reply_ok(struct reply *reply)
{
    bytes_append(&reply->out, "+OK\r\n", 5);
}

void reply_status(struct reply *reply, const char *status)
{
    bytes_printf(&reply->out, "+%s\r\n", status);
}

void reply_integer(struct reply *reply, int64_t value)
{
    append_head(reply, ':', value);
}

bool reply_reserve(struct reply *reply, size_t size)
{
    bool failed = reply->out.failed;
    bool reserved = bytes_reserve(&reply->out, size);
    reply->out.failed = failed;
    return reserved;
}

void reply_bulk(struct reply *reply, const void *data, size_t len)
{
    if (!reply_reserve(reply, reply_bulk_size(len))) {
        reply_error(reply, "OOM no memory for this reply");
        return;
    }
    append_head(reply, '$', (int64_t)len);
    bytes_append(&reply->out, data, len);
    bytes_append(&reply->out, "\r\n", 2);
}

void reply_bulk_string(struct reply *reply, const char *string)
{
    reply_bulk(reply, string, strlen(string));
}

void reply_nil(struct reply *reply)
{
    bytes_append(&reply->out, "$-1\r\n", 5);
}

void reply_nil_array(struct reply *reply)
{
    bytes_append(&reply->out, "*-1\r\n", 5);
}

void reply_array(struct reply *reply, size_t count)
{
    append_head(reply, '*', (int64_t)count);
}

void reply_error(struct reply *reply, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    bytes_printf(&reply->out, "-%s\r\n", text);
}

size_t reply_bulk_size(size_t len)
{
    size_t digits = 1;
    for (size_t rest = len; rest >= 10; rest /= 10)
        digits++;
    return 1 + digits + 2 + len + 2;
}

/*
 * Drops what was sent, once that is the larger part: a slow reader must not make the buffer grow.
 */
static void compact(struct reply *reply)
{
    size_t pending = reply_pending(reply);
    if (reply->sent < KEEP_CAPACITY || reply->sent < pending)
        return;
    memmove(reply->out.data, reply->out.data + reply->sent, pending);
    reply->out.len = pending;
    reply->sent = 0;
}

bool reply_flush(struct reply *reply, int fd)
{
    while (reply_pending(reply) > 0) {
        ssize_t n = send(fd, reply->out.data + reply->sent, reply_pending(reply),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            bool full = errno == EAGAIN || errno == EWOULDBLOCK;
            compact(reply);
            return full;
        }
        reply->sent += (size_t)n;
    }
    bytes_reset(&reply->out, KEEP_CAPACITY);
    reply->sent = 0;
    return true;
}

void reply_free(struct reply *reply)
{
    bytes_free(&reply->out);
    reply->sent = 0;
}
