/*
 * logd_btail.h - BTAIL: clients that wait for records, parked at their worker.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LOGD_BTAIL_H
#define LOGD_BTAIL_H

#include "logd_command.h"

command_function command_btail;

/* After an append: wakes who waits for it. `made`: the key is new. */
void btail_wake(struct worker *worker, struct log *log, bool made);

/*
 * Answers whoever has what it waited for, or whose time is over, and forgets who has gone. At the end
 * of each turn of the worker, pinned.
 */
void btail_turn(struct worker *worker);

/* For how long the worker may sleep on account of its parked clients, ms; -1: as long as it likes. */
int btail_patience(const struct worker *worker);

/* Frees them. When no thread runs any more, and before the store is destroyed. */
void btail_drop_all(struct worker *worker);

#endif
