/*
 * status.h - the status codes and the conventions of every vbuf header.
 *
 * Conventions
 *   Arguments    the object first, then inputs, then outputs. Outputs are written only when the call
 *                returns VBUF_OK, unless its contract says otherwise.
 *   NULL         an object pointer must be valid. A pointer marked "may be NULL" may; any other NULL
 *                returns VBUF_INVALID where a status is returned.
 *   Status       VBUF_OK is 0. Every other status leaves the object, and everything in it, as it was.
 *                No call aborts, exits or prints. Misuse that is cheap to see returns VBUF_INVALID;
 *                the rest asserts in a library built with VBUF_DEBUG and is undefined otherwise.
 *   Reason       after VBUF_NOMEM, errno holds what the system said. Otherwise errno is unspecified.
 *                Of what was refused, part may stay committed, and is used by a later try.
 *   Options      an options struct is zero-initialisable: 0 or NULL in a field means its default.
 *   Sizes        bytes, unless the name says elements, slots or values.
 *   Time         int64_t nanoseconds; -1 is for ever.
 *   Exclusive    "exclusive access" means: no other thread is inside, or can enter, any call on the
 *                same object, and whatever gave the caller that knowledge synchronises with it.
 *   Progress     wait-free: returns after a bounded number of its own steps. Lock-free: some caller
 *                always does. System calls that commit memory are outside both.
 *   Signals      nothing may be called from a signal handler but cvec_get and cvec_snapshot.
 *   Cancelling   no call is a cancellation point, so deferred cancellation finds nothing half done. Asynchronous
 *                cancellation inside a call is undefined.
 *   Names        identifiers that end in an underscore are private, even where a header must show them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_STATUS_H
#define VBUF_STATUS_H

#if defined(__cplusplus)
#define VBUF_BEGIN_DECLS extern "C" {
#define VBUF_END_DECLS }
#else
#define VBUF_BEGIN_DECLS
#define VBUF_END_DECLS
#endif

/* The library is compiled with hidden visibility; what is public says so. */
#define VBUF_API __attribute__((visibility("default")))

/* What the typed macros define in a user's file need not all be used there. */
#define VBUF_UNUSED __attribute__((unused))

/* For measured hot paths that compilers leave outlined, at a price. */
#define VBUF_ALWAYS_INLINE static inline __attribute__((always_inline))

#define VBUF_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define VBUF_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Fields with different writers stand this far apart: two lines, because processors fetch pairs. */
#define VBUF_CACHE_LINE_PAIR 128

VBUF_BEGIN_DECLS

enum vbuf_status {
    VBUF_OK = 0,      /* done */
    VBUF_INVALID,     /* an argument cannot be right */
    VBUF_FULL,        /* the limit the user set at creation is reached */
    VBUF_NOMEM,       /* the system, or the user's on_commit hook, refused memory; see errno */
    VBUF_STALE,       /* the handle names nothing that lives */
    VBUF_BUSY,        /* others hold what the call needs; trying again later can succeed */
    VBUF_TIMEDOUT,    /* the time given ran out first */
    VBUF_UNSUPPORTED, /* this system cannot do that */
    VBUF_CLOSED,      /* the object takes no more, for good: its user closed it */
};

/* The status's name without its prefix, in lower case, such as "nomem". Never NULL; static storage. */
VBUF_API const char *vbuf_status_string(enum vbuf_status status);

VBUF_END_DECLS

#endif
