/*
 * overrun.c - a canary for AddressSanitizer: a byte past the end of a buffer, but inside what is committed.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "vbuf/vbuf.h"

TEST(canary, overrun)
{
    struct vbuf buffer;
    REQUIRE(vbuf_init(&buffer, &(struct vbuf_options){.max = 4096}) == VBUF_OK);
    CHECK_STATUS(VBUF_OK, vbuf_append(&buffer, "0123456789", 10));
    volatile unsigned char *data = buffer.data;
    data[10] = 1;
    vbuf_destroy(&buffer);
}
