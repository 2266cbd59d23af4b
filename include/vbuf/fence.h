/*
 * fence.h - the asymmetric fence: light on the side that runs often, heavy on the side that can
 * wait.
 *
 * One thread stores A, issues the light fence and loads B; another stores B, issues the heavy fence
 * and loads A. At least one of the two loads sees the other's store, as if both had issued a full
 * fence between. Light is a compiler barrier; heavy has the system run a full fence on every other
 * running thread of the process.
 *
 * Where the system offers no such barrier the process is in *full-fence mode*: the light side must
 * use vbuf_fence_full. The mode is chosen once per process, before main, and never changes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_FENCE_H
#define VBUF_FENCE_H

#include <stdbool.h>

#include "status.h"

VBUF_BEGIN_DECLS

enum vbuf_fence_kind {
    VBUF_FENCE_PROCESS_WIDE = 1, /* light = compiler barrier, heavy = the system's barrier */
    VBUF_FENCE_FULL = 2,         /* light = heavy = a full fence of the calling thread */
};

/* Which fence this process uses. Any thread, any time; wait-free. */
VBUF_API enum vbuf_fence_kind vbuf_fence_kind(void);

/*
 * The heavy side. Returns true iff the barrier was issued; false means it orders nothing (the
 * system refused it later than at start, by a filter installed at run time, say), and the caller
 * must not rely on it. Any thread; costs 1 to 30 microseconds, or a full fence in full-fence mode.
 */
VBUF_API bool vbuf_fence_heavy(void);

#if defined(VBUF_FENCE_SEAM)
#include VBUF_FENCE_SEAM
#else
/* The light side of a process-wide fence: stops the compiler, costs nothing. */
static inline void vbuf_fence_light(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * The light side in full-fence mode. ThreadSanitizer does not model stand-alone fences; every
 * happens-before that data relies on stands on the accesses, so it loses nothing here. gcc warns
 * all the same, which is why the ThreadSanitizer build is clang's.
 */
static inline void vbuf_fence_full(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

VBUF_END_DECLS

#endif
