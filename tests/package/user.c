/*
 * user.c - the smallest program that needs both the headers and the library.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdio.h>

#include <vbuf/status.h>

int main(void)
{
    return puts(vbuf_status_string(VBUF_OK)) < 0;
}
