/*
 * client.h - logd as a child process, and clients of it on plain sockets.
 *
 * No call waits for ever: a read or a connection that takes longer than CLIENT_PATIENCE_S has
 * failed. Every function here belongs to the thread that calls it; a struct client to one thread at
 * a time.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if !defined(SANITIZED)
#define SANITIZED 0
#endif

#define CLIENT_PATIENCE_S 10
/* How long logd may take to end, ms. A sanitizer has work of its own at the end. */
#define END_MS (SANITIZED ? 5000 : 1000)

/* ---- the server ------------------------------------------------------------------------------ */

struct logd {
    pid_t pid; /* 0: not running */
    uint16_t port;
    int out; /* what it prints */
};

/*
 * Starts $VBUF_LOGD with `--port 0` and the options, a NULL-terminated list; `data_limit`, unless
 * 0, is its RLIMIT_DATA. Checks that it says where it listens. It dies with the calling process.
 */
bool logd_start(struct logd *logd, const char *const *options, uint64_t data_limit);

/* The same, under more than one limit; 0: none. */
struct logd_limits {
    uint64_t data;        /* RLIMIT_DATA */
    uint64_t descriptors; /* RLIMIT_NOFILE, both of it */
};

bool logd_start_limited(struct logd *logd, const char *const *options, struct logd_limits limits);

/* Waits for its end, END_MS at most, and checks that it is in time and the exit status 0. */
void logd_expect_end(struct logd *logd);

/* Sends the signal, then as above. */
void logd_stop(struct logd *logd, int signal);

/* How many descriptors it has open. */
size_t logd_descriptors(const struct logd *logd);

/* How many bytes of physical memory it uses. */
size_t logd_resident(const struct logd *logd);

/* ---- a client -------------------------------------------------------------------------------- */

struct client {
    int fd; /* -1: none */
    size_t start;
    size_t end;
    char buffer[65536]; /* received, not yet taken: from start to end */
};

/* Checks that it connects. */
bool client_open(struct client *client, const struct logd *logd);
void client_close(struct client *client);

/* False iff the peer is gone, or takes nothing for CLIENT_PATIENCE_S. */
bool client_send(struct client *client, const void *data, size_t len);

/* A command as an array of bulk strings. The arguments end with NULL. */
bool client_command(struct client *client, ...) __attribute__((sentinel));

/* As above, and waits for an integer: INT64_MIN if there is another reply or none. */
int64_t client_ask(struct client *client, ...) __attribute__((sentinel));

/* The next line, without its end: at most sizeof(buffer) bytes. NULL at the end of the stream. */
const char *client_line(struct client *client);

/* The next integer reply; INT64_MIN if it is something else. */
int64_t client_integer(struct client *client);

/* The next bulk reply, terminated, into `out`; its length, or -1 if it is something else. */
int64_t client_bulk(struct client *client, char *out, size_t size);

/* Checks that exactly these bytes come next. */
#define EXPECT(client, bytes)                                                                      \
    client_expect((client), (bytes), sizeof(bytes) - 1, __FILE__, __LINE__)
bool client_expect(struct client *client, const char *bytes, size_t len, const char *file,
                   int line);

/* Checks that an array of `count` bulk strings comes next, the i-th being "<prefix><first + i>". */
bool client_expect_records(struct client *client, const char *prefix, int64_t first, int64_t count);

/* Whether nothing has come, and nothing comes within `ms`. */
bool client_is_silent(struct client *client, int64_t ms);

/* The client's id, as text. */
bool client_id(struct client *client, char *id, size_t size);

/* Whether the stream ends, after anything else that is still in it, within CLIENT_PATIENCE_S. */
bool client_ends(struct client *client);

/* A figure of INFO; UINT64_MAX if there is none of that name. */
uint64_t client_info(struct client *client, const char *name);

/* Asks until the figure is as wanted, for CLIENT_PATIENCE_S at most; what it was last. */
uint64_t client_await_info(struct client *client, const char *name, uint64_t wanted);

/* ---- witnesses ------------------------------------------------------------------------------- */

/* Clients that must go on being served, one on each of two workers, whatever others do. */
struct witnesses {
    const struct logd *logd;
    struct client clients[2];
    int64_t stored; /* records in their log */
};

bool witnesses_open(struct witnesses *witnesses, const struct logd *logd);

/*
 * Checks that both, and a new client, still get right answers. `what` names what happened before.
 */
void witnesses_check(struct witnesses *witnesses, const char *what);
void witnesses_close(struct witnesses *witnesses);

/* Waits until nobody else is connected, and gives the number of descriptors logd then has open. */
size_t witnesses_settle(struct witnesses *witnesses);

/* Monotonic, ms. */
int64_t now_ms(void);
void sleep_ms(int64_t ms);

#endif
