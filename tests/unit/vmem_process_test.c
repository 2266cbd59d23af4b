/*
 * vmem_process_test.c - reservations when the process forks, and when it dumps core.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "proc.h"
#include "team.h"
#include "vmem_pages.h"

#define PAGES 32

/* ---- fork ---- */

/* Pages 0 to 15 are committed and filled, 16 to 23 were and are not any more, the rest never was. */
static struct vmem vm;

static void prepare(void)
{
    size_t page = vmem_page_size();
    vm = reserve_pages(PAGES);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 24 * page));
    memset(vm.base, 0x5a, 24 * page);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 16 * page, 8 * page));
}

static void check_prepared(void)
{
    CHECK(pages_hold(&vm, 0, 16, 0x5a));
    for (size_t p = 16; p < PAGES; p++)
        CHECK(!proc_is_readable(page_at(&vm, p)));
}

/* Everything that vmem does, so that nothing is as before. */
static void change_all(unsigned char byte)
{
    size_t page = vmem_page_size();
    memset(vm.base, byte, 4 * page);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 4 * page, 8 * page));
    CHECK(!proc_is_readable(page_at(&vm, 4)) && !proc_is_readable(page_at(&vm, 11)));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 6 * page, 2 * page));
    CHECK(pages_hold(&vm, 6, 2, 0));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 16 * page, 16 * page));
    CHECK(pages_hold(&vm, 16, 16, 0));
    memset(page_at(&vm, 16), byte, 16 * page);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 12 * page, 20 * page));
    CHECK(pages_hold(&vm, 0, 4, byte) && pages_hold(&vm, 12, 4, 0x5a) &&
          pages_hold(&vm, 16, 16, byte));
}

static void change_in_child(void)
{
    check_prepared();
    change_all(0xc1);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    CHECK_EQ(pages_readable(&vm), 0);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK(pages_hold(&vm, 0, PAGES, 0));
    void *base = vm.base;
    vmem_release(&vm);
    CHECK(!proc_is_readable(base));
}

TEST(vmem_process, what_a_child_does_is_its_own_affair)
{
    prepare();
    proc_in_child(change_in_child);
    check_prepared();
    proc_in_child(change_in_child); /* and again: the parent's is still whole */
    check_prepared();
    change_all(0xa1);
    vmem_release(&vm);
}

/* The child looks when the parent is done: when the pipe ends. */
static int parent_is_done[2];

static void look_when_the_parent_is_done(void)
{
    char ignored;
    close(parent_is_done[1]);
    CHECK_EQ(read(parent_is_done[0], &ignored, 1), 0);
    check_prepared();
    change_all(0xc2);
    vmem_release(&vm);
}

static void fork_and_wait(void (*meanwhile)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        look_when_the_parent_is_done();
        _exit(check_failures() > 0);
    }
    close(parent_is_done[0]);
    meanwhile();
    close(parent_is_done[1]);
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void change_in_parent(void)
{
    change_all(0xa2);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    vmem_release(&vm);
}

TEST(vmem_process, what_the_parent_does_is_not_the_childs_affair)
{
    prepare();
    REQUIRE(CHECK_EQ(pipe(parent_is_done), 0));
    fork_and_wait(change_in_parent);
}

TEST(vmem_process, a_childs_child_has_it_too)
{
    prepare();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        proc_in_child(change_in_child);
        check_prepared();
        _exit(check_failures() > 0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_prepared();
    vmem_release(&vm);
}

/* One thread forks; the others commit and decommit pages of another reservation all the while. */
struct busy {
    struct vmem vm;
    struct gate done;
};

static void fork_or_churn(void *context, unsigned index)
{
    struct busy *busy = context;
    size_t page = vmem_page_size();
    if (index == 0) {
        for (int round = 0; round < BUILD_COUNT(20, 5); round++)
            proc_in_child(change_in_child);
        gate_open(&busy->done);
        return;
    }
    for (unsigned round = 0; !gate_is_open(&busy->done); round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&busy->vm, index * page, page));
        CHECK_EQ(*page_at(&busy->vm, index), 0);
        *page_at(&busy->vm, index) = (unsigned char)index;
        CHECK_STATUS(VBUF_OK, vmem_decommit(&busy->vm, index * page, page));
    }
}

TEST(vmem_process, a_child_of_a_process_with_threads_has_it_too)
{
    if (running_in_valgrind())
        SKIP("it takes the threads that the child has not for leaks");
    struct busy busy = {.vm = reserve_pages(4)};
    prepare();
    team_run(4, fork_or_churn, &busy);
    check_prepared();
    CHECK_EQ(pages_readable(&busy.vm), 0);
    vmem_release(&busy.vm);
    vmem_release(&vm);
}

/* ---- core dump ---- */

#define DUMPED (8 * MIB) /* written, and to be found in the dump */

/*
 * 1 TiB with 8 MiB in use. As much again was in use and was given back, and a GiB had a page written
 * here and there: nothing of this may be walked by the kernel as it writes the dump. The limit only
 * keeps a failing test from filling the disk.
 */
static void die_with_a_large_reservation(const char *directory)
{
    struct rlimit limit;
    struct vmem large;
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || chdir(directory) != 0)
        _exit(1);
    limit.rlim_cur = 512 * MIB < limit.rlim_max ? 512 * MIB : limit.rlim_max;
    if (setrlimit(RLIMIT_CORE, &limit) != 0 || vmem_reserve(&large, TIB, NULL) != VBUF_OK)
        _exit(2);
    for (size_t part = 0; part < 8; part++) {
        size_t offset = part * (TIB / 8);
        if (vmem_commit(&large, offset, GIB) != VBUF_OK)
            _exit(3);
        memset(at(&large, offset), 0xd0, 2 * MIB);
        *at(&large, offset + GIB - 1) = 1;
        if (vmem_decommit(&large, offset + DUMPED / 8, GIB - DUMPED / 8) != VBUF_OK)
            _exit(4);
    }
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* The dump's size, by its length and by its blocks. False when there is none. Removes it. */
static bool take_dump(const char *directory, uint64_t *length, uint64_t *blocks)
{
    bool found = false;
    DIR *entries = opendir(directory);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        struct stat about;
        if (fstatat(dirfd(entries), entry->d_name, &about, 0) != 0 || !S_ISREG(about.st_mode))
            continue;
        found = true;
        *length = (uint64_t)about.st_size;
        *blocks = (uint64_t)about.st_blocks * 512;
        unlinkat(dirfd(entries), entry->d_name, 0);
    }
    if (entries != NULL)
        closedir(entries);
    rmdir(directory);
    return found;
}

/* NULL when a dump would be a file in the working directory. */
static const char *why_there_is_no_dump(void)
{
    char pattern[256];
    struct rlimit limit;
    proc_read_text("/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
    if (!running_plain())
        return "the dump would be of more than the program's memory";
    if (pattern[0] == '\0' || strchr("|/", pattern[0]) != NULL || strchr(pattern, '/') != NULL)
        return "the system puts dumps elsewhere";
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max < 512 * MIB)
        return "dumps are not allowed";
    return NULL;
}

TEST(vmem_process, a_dump_has_what_is_committed_and_no_more)
{
    char directory[256];
    const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    uint64_t length = 0, blocks = 0;
    const char *reason = why_there_is_no_dump();
    if (reason != NULL)
        SKIP(reason);
    snprintf(directory, sizeof directory, "%s/vmem_process_test.XXXXXX", folder);
    if (mkdtemp(directory) == NULL)
        SKIP("no folder to put it into");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        die_with_a_large_reservation(directory);
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    bool found = take_dump(directory, &length, &blocks);
    if (!found)
        SKIP("the system wrote none");
    CHECK(length >= DUMPED && length < 64 * MIB);
    CHECK(blocks < 64 * MIB);
}
