/*
 * vmem_os.h - what vmem.c asks of an operating system: one file a system implements it.
 *
 * Addresses and sizes are multiples of the page size, sizes are not 0, options are valid, and ranges
 * lie inside one reservation: vmem.c has seen to that. With VBUF_NOMEM errno says why.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VBUF_VMEM_OS_H
#define VBUF_VMEM_OS_H

#include "vbuf/vmem.h"

size_t vmem_os_page_size(void);

struct vmem_facts vmem_os_facts(void);

/* Whether there are such reservations. VBUF_OK, VBUF_UNSUPPORTED, or VBUF_NOMEM: it cannot tell now. */
enum vbuf_status vmem_os_supports(const struct vmem_options *options);

/*
 * Address space without access, or readable, and without charge, with the advice and the name, aligned to
 * `alignment`, at least a page. VBUF_OK or VBUF_NOMEM.
 */
enum vbuf_status vmem_os_reserve(size_t size, size_t alignment, const struct vmem_options *options,
                                 void **base);

/* Readable, writable, charged unless the reservation is uncharged. VBUF_OK or VBUF_NOMEM. */
enum vbuf_status vmem_os_commit(void *address, size_t size);

/*
 * As it was reserved, without pages or charge. VBUF_OK or VBUF_NOMEM: all is as before, unless *lost, false at
 * the call, became true: the range may hold foreign mappings.
 */
enum vbuf_status vmem_os_decommit(void *address, size_t size, const struct vmem_options *options,
                                  bool *lost);

/* VBUF_OK, VBUF_INVALID when part of it is not committed, or VBUF_NOMEM. */
enum vbuf_status vmem_os_prefault(void *address, size_t size);

/* The same as advice: once, never by touching, and nothing where the system has no call for it. */
void vmem_os_populate(void *address, size_t size);

/* The bytes of it that are in physical memory. VBUF_OK, VBUF_UNSUPPORTED or VBUF_NOMEM. */
enum vbuf_status vmem_os_resident(void *address, size_t size, size_t *resident);

/* The bytes of it that are committed. VBUF_OK, VBUF_UNSUPPORTED or VBUF_NOMEM. */
enum vbuf_status vmem_os_committed(void *address, size_t size, size_t *committed);

/* The address space is gone; or, where the system refuses that, what it held, as far as it lets us. */
void vmem_os_release(void *address, size_t size);

/* In vmem.c, for a system that cannot prefault: writes to each page, changing nothing. */
void vmem_touch(void *address, size_t size, size_t page);

#endif
