/*
 * quickstart.c - the README's code, from the first #include on; tests/readme_test.sh compares them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <cvec/cvec.h>
#include <pthread.h>
#include <slotmap/slotmap.h>
#include <stdio.h>

struct session {
    uint64_t user;
    uint64_t requests;
};

CVEC_DEFINE(events, uint64_t)            /* a concurrent vector of uint64_t */
SLOTMAP_DEFINE(sessions, struct session) /* a handle table of struct session */

static struct events log_of_users;
static struct sessions table;

/* Four of these run at once. Any thread may push, insert, get and remove at any time. */
static void *serve(void *unused)
{
    (void)unused;
    for (uint64_t user = 0; user < 1000; user++) {
        sessions_handle handle;
        if (sessions_insert(&table, (struct session){.user = user}, &handle) != VBUF_OK)
            return NULL;

        sessions_pin(&table); /* what we get below stays intact until we unpin */
        struct session *session = sessions_get(&table, handle);
        if (session != NULL)
            (void)events_push(&log_of_users, session->user, NULL);
        sessions_unpin(&table);

        sessions_remove(&table, handle);       /* from here on the handle is stale: */
        if (sessions_contains(&table, handle)) /* it never resolves again */
            puts("never printed");
    }
    return NULL;
}

int main(void)
{
    if (events_create(&log_of_users, NULL) != VBUF_OK || sessions_create(&table, NULL) != VBUF_OK)
        return 1;

    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, serve, NULL);

    /* While they push: what is published so far, as a plain array that will never move. */
    struct events_slice early = events_snapshot(&log_of_users);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct events_slice all = events_snapshot(&log_of_users);

    uint64_t sum = 0;
    for (size_t i = 0; i < all.count; i++)
        sum += all.data[i];
    printf("%zu events, sum %llu, first element moved: %s, live sessions: %zu\n", all.count,
           (unsigned long long)sum, all.data == early.data ? "no" : "yes", slotmap_len(table.map));

    sessions_destroy(&table);
    events_destroy(&log_of_users);
    return all.count == 4000 ? 0 : 1;
}
