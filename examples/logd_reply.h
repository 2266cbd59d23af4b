/*
 * logd_reply.h - what a connection has still to send, in the Redis protocol (RESP2).
 *
 * Every reply_* appends one reply, or the head of one. A bulk string for which there is no memory
 * becomes an error. When there is none even for that, the reply is marked failed and what follows is
 * left out; the connection then ends: half a reply would desynchronise its client.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_REPLY_H
#define LOGD_REPLY_H

#include "logd_bytes.h"

struct reply {
    struct bytes out;
    size_t sent; /* of out */
};

static inline size_t reply_pending(const struct reply *reply)
{
    return reply->out.len - reply->sent;
}

void reply_ok(struct reply *reply);
void reply_status(struct reply *reply, const char *status);
void reply_integer(struct reply *reply, int64_t value);
void reply_bulk(struct reply *reply, const void *data, size_t len);
void reply_bulk_string(struct reply *reply, const char *string);
void reply_nil(struct reply *reply);
void reply_nil_array(struct reply *reply);

/* The head of an array; `count` replies must follow. */
void reply_array(struct reply *reply, size_t count);

/* `format` begins with the error's kind, such as "ERR"; the text must hold no line ends. */
__attribute__((format(printf, 2, 3))) void reply_error(struct reply *reply, const char *format,
                                                       ...);

/* Makes sure of memory for `size` bytes; false if there is none, and nothing has changed. */
bool reply_reserve(struct reply *reply, size_t size);

/* How many bytes reply_bulk makes of `len`. */
size_t reply_bulk_size(size_t len);

/* Sends what the socket takes now; false when the peer is gone. */
bool reply_flush(struct reply *reply, int fd);

void reply_free(struct reply *reply);

#endif
