/*
 * schedule.h - the search, for the program.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stdio.h>

#include "explore.h"

struct search_limits {
    double seconds;
    uint64_t seed;
    uint64_t random_runs; /* at most */
    bool only_random;
};

struct search_result {
    bool failed, exhausted; /* every run within the bounds was seen */
    uint64_t runs, random_runs, most_steps;
    unsigned rounds; /* complete ones: that many odd choices together, less one */
    uint64_t seed;   /* of the last random run */
    double seconds;
    char message[512];
    unsigned outcome_count;
    char outcomes[EXPLORE_MOST_OUTCOMES + 1][128]; /* one more than can be listed: that is enough */
};

void search_start(void);

void search(const struct explore_scenario *scenario, const struct search_limits *limits,
            struct search_result *result);

/* What is under way, for whoever must say so in a hurry. */
const struct explore_scenario *search_scenario(void);

/* The trail of the last run, on a line. */
void trail_print(FILE *to);

/* Runs a printed trail, to be told by trace_print. False: it is not one. */
bool trail_replay(const struct explore_scenario *scenario, const char *trail);

/* Runs the trail of the last run again, and tells it step by step. */
void trail_tell(void);

#endif
