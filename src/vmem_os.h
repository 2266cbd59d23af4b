/*
 * vmem_os.h - what vmem.c asks of an operating system: one file a system implements it.
 *
 * Addresses and sizes are multiples of the page size, sizes are not 0, and ranges lie inside one
 * reservation: vmem.c has seen to that. On failure errno says why.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_VMEM_OS_H
#define VBUF_VMEM_OS_H

#include "vbuf/vmem.h"

struct vmem_facts vmem_os_facts(void);

/* Address space without access and without charge, or NULL. */
void *vmem_os_reserve(size_t size, size_t alignment);

/* Readable, writable, charged. False: as before. */
bool vmem_os_commit(void *address, size_t size);

/* Without access, pages or charge. False: as before. */
bool vmem_os_decommit(void *address, size_t size);

/* VBUF_OK, VBUF_INVALID when part of it is not committed, or VBUF_NOMEM. */
enum vbuf_status vmem_os_prefault(void *address, size_t size);

/* The bytes of it that are in physical memory. */
bool vmem_os_resident(void *address, size_t size, size_t *resident);

void vmem_os_release(void *address, size_t size);

#endif
