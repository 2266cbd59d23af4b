/*
 * seam_libc.h - included in front of every source under the explorer: what of the C library and of POSIX the
 * library uses and the explorer must see.
 *
 * The includes come first, so that the names below replace uses only, not declarations.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SEAM_LIBC_H
#define SEAM_LIBC_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <string.h>
#include <unistd.h>

int seam_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int seam_mutex_lock(pthread_mutex_t *mutex);
int seam_mutex_unlock(pthread_mutex_t *mutex);
int seam_once(pthread_once_t *control, void (*function)(void));
int seam_key_create(pthread_key_t *key, void (*destructor)(void *));
int seam_setspecific(pthread_key_t key, const void *value);
int seam_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
long seam_sysconf(int name);
void *seam_memcpy(void *to, const void *from, size_t size);
void *seam_memmove(void *to, const void *from, size_t size);
int seam_memcmp(const void *a, const void *b, size_t size);
void *seam_memset(void *to, int value, size_t size);

#define pthread_mutex_init seam_mutex_init
#define pthread_mutex_lock seam_mutex_lock
#define pthread_mutex_unlock seam_mutex_unlock
#define pthread_once seam_once
#define pthread_key_create seam_key_create
#define pthread_setspecific seam_setspecific
#define pthread_atfork seam_atfork
#define sysconf seam_sysconf
#define memcpy seam_memcpy
#define memmove seam_memmove
#define memcmp seam_memcmp
#define memset seam_memset

#endif
