/*
 * proc.h - what the kernel says about this process and its mappings. Wants _GNU_SOURCE.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PROC_H
#define PROC_H

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* A field of /proc/self/statm, in pages: 0 the size of the process, 1 what is resident. */
static inline uint64_t proc_statm(unsigned field)
{
    char text[256];
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[length > 0 ? length : 0] = '\0';
    char *rest = text;
    uint64_t value = 0;
    for (unsigned i = 0; i <= field; i++)
        value = strtoull(rest, &rest, 10);
    return value;
}

/* Address space in use, in bytes: exact, and the same again once everything is given back. */
static inline uint64_t proc_virtual_size(void)
{
    return proc_statm(0) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static inline uint64_t proc_resident_size(void)
{
    return proc_statm(1) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The commit charge of the whole system, in bytes. Others change it too. */
static inline uint64_t proc_committed_as(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    uint64_t kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Committed_AS: %" SCNu64, &kib) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

/*
 * Whether the mapping that holds `address` has a flag of smaps' VmFlags line, such as "ac": its pages
 * are charged. False, too, when no mapping holds it.
 */
static inline bool proc_mapping_has_flag(const void *address, const char *flag)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[1024];
    bool inside = false, found = false;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            for (char *word = strtok(line + 8, " \n"); word != NULL; word = strtok(NULL, " \n"))
                found = found || strcmp(word, flag) == 0;
            break;
        }
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* Page faults of the calling thread so far that needed no disk. */
static inline long proc_minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt;
}

/* Whether touching `address` would work; asks the kernel, so nothing faults. */
static inline bool proc_is_readable(const void *address)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    bool readable = syscall(SYS_write, ends[1], address, 1) == 1; /* else EFAULT */
    close(ends[0]);
    close(ends[1]);
    return readable;
}

/* Runs the body in a forked child; its failed checks, or its death, are a failure here. */
static inline void proc_in_child(void (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(check_failures() > 0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Sets the soft limit, as far as the hard one allows. */
static inline bool proc_limit_address_space(uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0)
        return false;
    limit.rlim_cur = bytes < limit.rlim_max ? (rlim_t)bytes : limit.rlim_max;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

/* Private writable memory: what commit adds to. */
static inline bool proc_limit_data(uint64_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return false;
    limit.rlim_cur = bytes < limit.rlim_max ? (rlim_t)bytes : limit.rlim_max;
    return setrlimit(RLIMIT_DATA, &limit) == 0;
}

/* What RLIMIT_DATA is held against now, in bytes. */
static inline uint64_t proc_data_size(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmData: %" SCNu64, &kib) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

#endif
