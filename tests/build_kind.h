/*
 * build_kind.h - which sanitizer this build runs under, so that tests can choose their sizes.
 *
 * ThreadSanitizer takes reservations up to about 512 GiB; RLIMIT_AS, fault counts and the size of the
 * process mean nothing under either, because shadow memory is part of them. Valgrind takes up to
 * 32 GiB, and has the same effect on the figures; whether a program runs under it, it learns as it runs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BUILD_KIND_H
#define BUILD_KIND_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BUILD_ADDRESS_SANITIZER 0
#define BUILD_THREAD_SANITIZER 0

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#undef BUILD_ADDRESS_SANITIZER
#define BUILD_ADDRESS_SANITIZER 1
#endif
#if __has_feature(thread_sanitizer)
#undef BUILD_THREAD_SANITIZER
#define BUILD_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#undef BUILD_ADDRESS_SANITIZER
#define BUILD_ADDRESS_SANITIZER 1
#endif

#define BUILD_PLAIN (!BUILD_ADDRESS_SANITIZER && !BUILD_THREAD_SANITIZER)

/* One number for a plain build, a smaller one where everything is ten times slower. */
#define BUILD_COUNT(plain, sanitized) (BUILD_PLAIN ? (plain) : (sanitized))

static inline bool running_in_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

/* What the system says of this process, it says of the program alone. */
static inline bool running_plain(void)
{
    return BUILD_PLAIN && !running_in_valgrind();
}

#endif
