/*
 * logd_request.h - commands out of the bytes that a client sends.
 *
 * A command is a flat array of bulk strings. hiredis' reader finds the pieces; what is copied, and
 * what is refused, is decided here. For people with netcat a line of words is a command as well.
 *
 * Whatever a client sends, a request holds at most about twice max_bytes, and finds out about a
 * broken or absurd length as soon as it stands in the input.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_REQUEST_H
#define LOGD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "logd_bytes.h"

struct redisReader;

#define REQUEST_MAX_ARGUMENTS 16384

enum request_state {
    REQUEST_INCOMPLETE, /* nothing more to be had from the input so far */
    REQUEST_READY,      /* a command; it stays until the next call */
    REQUEST_MALFORMED,  /* error says why; the stream cannot be understood any further */
    REQUEST_NOMEM,
};

/* A piece of a command, as a place in the copied bytes: those may still move. */
struct argument {
    size_t offset;
    size_t len;
};

/* One connection's parser, used by one thread. {0} and max_bytes set is a valid, empty one. */
struct request {
    size_t max_bytes; /* of all arguments of a command together */
    struct redisReader *reader;
    size_t reader_counted; /* bytes that are counted for it */
    /* The command read last, or read so far. */
    struct bytes bytes;
    struct argument *arguments;
    size_t count;
    size_t capacity; /* of arguments */
    bool is_inline;  /* it came as a line of words */
    bool nomem;
    const char *error;
};

/* Adds input; false when there is no memory for it. */
bool request_feed(struct request *request, const char *data, size_t len);

/* The next command, if the input holds one whole. Once malformed, always malformed. */
enum request_state request_next(struct request *request);

/*
 * An argument of a command that is ready; 0 is its name. Valid until the next call of request_next.
 */
static inline struct text request_argument(const struct request *request, size_t i)
{
    const struct argument *argument = &request->arguments[i];
    return (struct text){request->bytes.data + argument->offset, argument->len};
}

void request_free(struct request *request);

#endif
