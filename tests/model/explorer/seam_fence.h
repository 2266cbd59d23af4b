/*
 * seam_fence.h - fence.h's light fences, redirected to the explorer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SEAM_FENCE_H
#define SEAM_FENCE_H

void seam_fence_light(void);
void seam_fence_full(void);

static inline void vbuf_fence_light(void)
{
    seam_fence_light();
}

static inline void vbuf_fence_full(void)
{
    seam_fence_full();
}

#endif
