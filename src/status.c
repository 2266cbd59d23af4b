/*
 * status.c - the statuses' names.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/status.h"

const char *vbuf_status_string(enum vbuf_status status)
{
    switch (status) {
    case VBUF_OK:
        return "ok";
    case VBUF_INVALID:
        return "invalid";
    case VBUF_FULL:
        return "full";
    case VBUF_NOMEM:
        return "nomem";
    case VBUF_STALE:
        return "stale";
    case VBUF_BUSY:
        return "busy";
    case VBUF_TIMEDOUT:
        return "timedout";
    case VBUF_UNSUPPORTED:
        return "unsupported";
    case VBUF_CLOSED:
        return "closed";
    }
    return "unknown";
}
