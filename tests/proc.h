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
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build_kind.h"
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
    if (running_in_valgrind()) { /* it reports bad arguments of write, but not of this */
        char byte;
        struct iovec to = {&byte, 1}, from = {(void *)(uintptr_t)address, 1};
        return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
    }
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

/*
 * A file of /proc, line by line. Nothing is allocated, so that reading the books does not change
 * them.
 */
struct proc_lines {
    int file;
    size_t next, end;
    char text[4096];
};

static inline bool proc_open_lines(struct proc_lines *lines, const char *path)
{
    lines->file = open(path, O_RDONLY | O_CLOEXEC);
    lines->next = lines->end = 0;
    return lines->file >= 0;
}

/* The next line without its end, cut to `size`. False at the end of the file, which is closed then. */
static inline bool proc_next_line(struct proc_lines *lines, char *line, size_t size)
{
    for (size_t length = 0;;) {
        if (lines->next == lines->end) {
            ssize_t got = read(lines->file, lines->text, sizeof lines->text);
            if (got <= 0) {
                close(lines->file);
                return false;
            }
            lines->next = 0;
            lines->end = (size_t)got;
        }
        char c = lines->text[lines->next++];
        if (c == '\n') {
            line[length] = '\0';
            return true;
        }
        if (length < size - 1)
            line[length++] = c;
    }
}

/* How many mappings lie in or reach into the range; for (NULL, SIZE_MAX), in the whole process. */
static inline size_t proc_count_mappings(const void *address, size_t size)
{
    struct proc_lines lines;
    char line[256];
    size_t count = 0;
    uintptr_t begin = (uintptr_t)address, from, to;
    if (!proc_open_lines(&lines, "/proc/self/maps"))
        return 0;
    while (proc_next_line(&lines, line, sizeof line)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            count += from < begin + size && begin < to;
    }
    return count;
}

/* How many bytes of the range lie in mappings whose name, such as "[heap]", is `name`. */
static inline size_t proc_named_bytes(const void *address, size_t size, const char *name)
{
    struct proc_lines lines;
    char line[256];
    size_t bytes = 0;
    uintptr_t begin = (uintptr_t)address, end = begin + size, from, to;
    if (!proc_open_lines(&lines, "/proc/self/maps"))
        return 0;
    while (proc_next_line(&lines, line, sizeof line)) {
        int rest = 0; /* where the name is */
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %n", &from, &to, &rest) < 2 ||
            rest == 0 || strcmp(line + rest, name) != 0)
            continue;
        from = from > begin ? from : begin;
        to = to < end ? to : end;
        bytes += from < to ? to - from : 0;
    }
    return bytes;
}

/* A figure of smaps, such as "AnonHugePages:", of the mapping that holds `address`, in bytes. */
static inline size_t proc_mapping_figure(const void *address, const char *figure)
{
    struct proc_lines lines;
    char line[256];
    bool inside = false;
    size_t kib = 0;
    if (!proc_open_lines(&lines, "/proc/self/smaps"))
        return 0;
    while (proc_next_line(&lines, line, sizeof line)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (inside && strncmp(line, figure, strlen(figure)) == 0)
            kib = strtoull(line + strlen(figure), NULL, 10);
    }
    return kib * 1024;
}

/* Bytes of whole pages that are in memory; SIZE_MAX when the kernel does not tell. */
static inline size_t proc_resident_bytes(const void *address, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 0;
    int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (size_t offset = 0; offset < size; offset += page) {
        uint64_t entry;
        off_t place = (off_t)(((uintptr_t)address + offset) / page * sizeof entry);
        if (pread(file, &entry, sizeof entry, place) != (ssize_t)sizeof entry) {
            bytes = SIZE_MAX;
            break;
        }
        bytes += entry >> 63 != 0 ? page : 0;
    }
    if (file >= 0)
        close(file);
    return file < 0 ? SIZE_MAX : bytes;
}

/* The number the next opened file will get: the same again once all that were opened are closed. */
static inline int proc_next_file(void)
{
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (file >= 0)
        close(file);
    return file;
}

/* The beginning of a short file, without the last line's end; "" when it cannot be read. */
static inline void proc_read_text(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, size - 1);
    if (file >= 0)
        close(file);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

#endif
