/*
 * logd_range.h - records as replies, within what a client may leave unread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_RANGE_H
#define LOGD_RANGE_H

#include "logd_reply.h"
#include "logd_store.h"

/* How many of the first records make a reply of at most `most` bytes. */
size_t range_fitting(const struct records_slice *range, size_t most);

/*
 * Replies with all of them. False, and nothing is appended, if that takes more than `most` bytes or
 * there is no memory for it.
 */
bool range_reply(struct reply *reply, const struct records_slice *range, size_t most);

/* The error for a range that range_reply does not take. */
void range_reply_refused(struct reply *reply, const struct records_slice *range, size_t most);

#endif
