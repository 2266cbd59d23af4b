/*
 * ambush.c - takes the processor away from threads at any instruction.
 *
 * stress_disturb stops a thread between two calls of the library; this stops it inside one, between
 * a load and its compare-and-swap for instance, long enough for others to do everything in between.
 * Each thread of a crew has a timer of its own, whose signal arrives after a random time; the
 * handler sleeps, or yields, and sets the timer again.
 *
 * ThreadSanitizer holds signals back until the next system call, so there it is left out; as it is
 * under strace, which stops the whole thread for each signal.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Not in every C library's headers. */
#if !defined(sigev_notify_thread_id)
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { SHORTEST = 50000, LONGEST = 2000000, LONGEST_STOP = 1000000 }; /* nanoseconds */

static __thread struct ambush {
    bool armed;
    timer_t timer;
    struct check_rng rng;
} own
    __attribute__((tls_model("initial-exec"))); /* the handler must not be the one to allocate it */

static void set_timer(void)
{
    struct itimerspec next = {.it_value = {0, SHORTEST + (long)stress_below(&own.rng, LONGEST)}};
    timer_settime(own.timer, 0, &next, NULL);
}

static void stop_here(int signal)
{
    (void)signal;
    int error = errno;
    if (own.armed) {
        if (stress_chance(&own.rng, 2))
            sched_yield();
        else
            stress_sleep((int64_t)stress_below(&own.rng, LONGEST_STOP));
        set_timer();
    }
    errno = error;
}

static void install_handler(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = stop_here;
    action.sa_flags = SA_RESTART;
    sigaction(SIGURG, &action, NULL);
}

void stress_ambush_begin(uint64_t seed)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!stress_ambushes)
        return;
    pthread_once(&once, install_handler);
    own.rng.state = seed;
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGURG; /* a late one does no harm: by default it is ignored */
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &own.timer) != 0)
        return; /* no timers left: then without */
    own.armed = true;
    set_timer();
}

void stress_ambush_end(void)
{
    if (!own.armed)
        return;
    own.armed = false;
    timer_delete(own.timer);
}
