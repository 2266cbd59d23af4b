/*
 * vmem_fault_test.c - V4: every refusal by the system is a status, errno says why, what was committed
 * stays usable, nothing leaks. One test makes each system call of each call of vmem fail, and each pair
 * of them; the others look closer. The system is one with names, or pretends to be.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <string.h>

#include "build_kind.h"
#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vmem_pages.h"

__attribute__((constructor)) static void pretend_before_the_library_asks(void)
{
    fault_pretend_names();
}

/* ---- every call made to fail at every call ---- */

#define SIZE (8 * MIB)

static const struct vmem_options kinds[] = {
    {.alignment = 0},
    {.alignment = 4 * MIB},
    {.min_size = MIB},
    {.huge_pages = VMEM_HUGE_PAGES_ON},
    {.huge_pages = VMEM_HUGE_PAGES_OFF},
    {.charge = VMEM_UNCHARGED},
    {.name = "faulty"},
    {.readable = true},
    {4 * MIB, 0, VMEM_HUGE_PAGES_ON, VMEM_UNCHARGED, false, "faulty"},
    {4 * MIB, MIB, VMEM_HUGE_PAGES_OFF, VMEM_UNCHARGED, true, "faulty"},
};

/* What is called, on a reservation whose pages 4 to 9 are committed, 4 to 7 filled. */
enum act { RESERVE, COMMIT, DECOMMIT, PREFAULT, RESIDENT, COMMITTED, RELEASE, ACTS };

static const char *const act_names[ACTS] = {"reserve",  "commit",    "decommit", "prefault",
                                            "resident", "committed", "release"};

static const char *const call_names[FAULT_CALLS] = {"mmap",       "munmap", "mprotect", "madvise",
                                                    "membarrier", "msync",  "mincore",  "set_name",
                                                    "open",       "read"};

static enum vbuf_status do_act(enum act act, struct vmem *vm, const struct vmem_options *options)
{
    size_t page = vmem_page_size(), bytes;
    switch (act) {
    case RESERVE:
        return vmem_reserve(vm, SIZE, options);
    case COMMIT:
        return vmem_commit(vm, 6 * page, 14 * page);
    case DECOMMIT:
        return vmem_decommit(vm, 5 * page, 4 * page);
    case PREFAULT:
        return vmem_prefault(vm, 4 * page, 6 * page);
    case RESIDENT:
        return vmem_resident(vm, 0, SIZE, &bytes);
    case COMMITTED:
        return vmem_committed(vm, 0, SIZE, &bytes);
    default:
        vmem_release(vm);
        return VBUF_OK;
    }
}

struct fault {
    enum fault_call call;
    uint64_t nth; /* 0: none */
    int error;
    bool for_good;
};

static void arm(const struct fault *fault)
{
    if (fault->nth != 0)
        (fault->for_good ? fault_fail_from : fault_fail_at)(fault->call, fault->nth, fault->error);
}

/* What the contract says of one system call that fails in an act. */
static enum vbuf_status contract(enum act act, const struct vmem_options *options,
                                 const struct fault *fault)
{
    bool advice_or_name = fault->call == FAULT_MADVISE || fault->call == FAULT_SET_NAME;
    if (fault->nth == 0 || act == RELEASE)
        return VBUF_OK;
    if (fault->call == FAULT_OPEN && fault->error == ENOMEM)
        return VBUF_NOMEM; /* it cannot be told for now */
    if (fault->call == FAULT_OPEN || fault->call == FAULT_READ) {
        bool other_file_tells = act == RESERVE && options->huge_pages == VMEM_HUGE_PAGES_ON &&
                                fault->nth == 1 && !fault->for_good;
        return other_file_tells ? VBUF_OK : VBUF_UNSUPPORTED;
    }
    if (act == RESERVE && fault->call == FAULT_MADVISE && fault->error == EINVAL &&
        options->huge_pages == VMEM_HUGE_PAGES_OFF)
        return VBUF_OK; /* there are none at all */
    if (act == RESERVE && options->min_size != 0 && !fault->for_good)
        return VBUF_OK; /* a smaller one */
    if (act == DECOMMIT && advice_or_name)
        return VBUF_OK; /* without them */
    if (act == PREFAULT && fault->error != ENOMEM)
        return fault->error == EAGAIN ? VBUF_OK : VBUF_INVALID;
    return VBUF_NOMEM;
}

static void prepare(enum act act, struct vmem *vm, const struct vmem_options *options)
{
    size_t page = vmem_page_size();
    *vm = (struct vmem){.size = 0};
    if (act == RESERVE)
        return;
    CHECK_STATUS(VBUF_OK, vmem_reserve(vm, SIZE, options));
    CHECK_STATUS(VBUF_OK, vmem_commit(vm, 4 * page, 6 * page));
    memset(page_at(vm, 4), 0x5a, 4 * page);
}

/* What was committed before still is, with its content, but for what was decommitted. */
static void check_pages(enum act act, enum vbuf_status status, const struct vmem *vm)
{
    for (size_t p = 4; p < 10; p++) {
        bool gone = act == DECOMMIT && status == VBUF_OK && p >= 5 && p < 9;
        bool readable = !gone || vm->options.readable;
        CHECK_EQ(proc_is_readable(page_at(vm, p)), readable);
        if (readable)
            CHECK(pages_hold(vm, p, 1, p < 8 && !gone ? 0x5a : 0));
    }
}

static void check_after(enum act act, enum vbuf_status status, struct vmem *vm,
                        const struct vmem_options *options)
{
    if (act == RESERVE && status == VBUF_OK) {
        CHECK(vm->size <= SIZE && vm->size >= (options->min_size != 0 ? MIB : SIZE));
        CHECK_STATUS(VBUF_OK, vmem_commit(vm, 0, vm->size));
        *at(vm, vm->size - 1) = 1;
    } else if (act == RESERVE || act == RELEASE) {
        CHECK(vm->base == NULL && vm->size == 0);
    } else {
        check_pages(act, status, vm);
    }
    if (act != RESERVE || status != VBUF_OK)
        CHECK_STATUS(VBUF_OK, do_act(act, vm, options)); /* the system is well again */
    if (act != RESERVE && act != RELEASE)
        check_pages(act, VBUF_OK, vm);
}

struct books {
    uint64_t size;
    size_t mappings;
    int next_file;
};

static struct books read_books(void)
{
    return (struct books){proc_virtual_size(), proc_count_mappings(NULL, SIZE_MAX),
                          proc_next_file()};
}

/* What munmap does not take is decommitted; if mmap fails as well, Linux gets at least the pages. */
static void sweep(char *base, bool decommitted)
{
    for (size_t p = 4; p < 10; p++)
        CHECK(!decommitted || !proc_is_readable(base + p * vmem_page_size()));
    CHECK(proc_resident_bytes(base, SIZE) == 0 || (!decommitted && !on_linux()));
    munmap(base, SIZE);
}

/* Runs an act with up to two faults; counts[] become the calls it made. */
static void run_act(enum act act, const struct vmem_options *options, const struct fault *one,
                    const struct fault *two, uint64_t counts[FAULT_CALLS])
{
    struct vmem vm;
    struct books before = read_books();
    unsigned failures = check_failures();
    fault_clear();
    fault_forget_namings();
    prepare(act, &vm, options);
    void *base = vm.base;
    fault_clear();
    arm(one);
    arm(two);
    errno = 0;
    enum vbuf_status status = do_act(act, &vm, options);
    int reason = errno;
    for (int c = 0; c < FAULT_CALLS; c++)
        counts[c] = fault_count((enum fault_call)c);
    fault_clear();
    enum vbuf_status by_one = contract(act, options, one), by_two = contract(act, options, two);
    CHECK(status == by_one || status == by_two ||
          (status == VBUF_UNSUPPORTED && two->call == FAULT_READ)); /* of another file then */
    if (status == VBUF_NOMEM)
        CHECK(reason == one->error || (two->nth != 0 && reason == two->error));
    CHECK_EQ(vmem_lost(&vm), 0);
    check_after(act, status, &vm, options);
    vmem_release(&vm);
    if (act == RELEASE)
        sweep(base, one->call != FAULT_MMAP && (two->nth == 0 || two->call != FAULT_MMAP));
    struct books after = read_books();
    CHECK_EQ(after.next_file, before.next_file);
    bool munmap_fails = one->call == FAULT_MUNMAP || two->call == FAULT_MUNMAP;
    bool leaks = munmap_fails && (one->for_good || (two->nth != 0 && act != RELEASE));
    if (running_plain() && !leaks) {
        CHECK_EQ(after.size, before.size);
        CHECK_EQ(after.mappings, before.mappings);
    }
    if (check_failures() != failures)
        fprintf(stderr, "  in %s, options %zu, %s %" PRIu64 " %s, %s %" PRIu64 ", errno %d\n",
                act_names[act], (size_t)(options - kinds), call_names[one->call], one->nth,
                one->for_good ? "and later" : "alone", call_names[two->call], two->nth, reason);
}

/* With the first fault in force, each call of another kind that the act then makes fails too. */
static void fail_second_calls(enum act act, const struct vmem_options *options,
                              const struct fault *one, const uint64_t counts[FAULT_CALLS])
{
    uint64_t ignored[FAULT_CALLS];
    for (int c = 0; c < FAULT_CALLS; c++) {
        struct fault two = {(enum fault_call)c, 0, ENOMEM, false};
        bool loses = act == DECOMMIT && c == FAULT_MSYNC; /* vmem_hole_test.c */
        if (c == (int)one->call || loses)
            continue;
        while (two.nth++ < counts[c])
            run_act(act, options, one, &two, ignored);
    }
}

static void fail_every_call(enum act act, const struct vmem_options *options)
{
    static const struct fault none = {FAULT_MMAP, 0, 0, false};
    static const int errors[] = {ENOMEM, EAGAIN, EINVAL};
    uint64_t counts[FAULT_CALLS], then[FAULT_CALLS];
    run_act(act, options, &none, &none, counts);
    for (int c = 0; c < FAULT_CALLS; c++) {
        for (uint64_t nth = 1; nth <= counts[c]; nth++) {
            for (int e = 0; e < 6; e++) {
                struct fault one = {(enum fault_call)c, nth, errors[e / 2], e % 2 == 1};
                if (act == PREFAULT && one.error == EAGAIN && one.for_good)
                    continue; /* it asks again, for as long as that is the answer */
                run_act(act, options, &one, &none, then);
                fail_second_calls(act, options, &one, then);
            }
        }
    }
}

TEST(vmem_fault, V4_every_system_call_made_to_fail_at_every_call)
{
    bool books = on_linux();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct vmem vm;
        fault_clear();
        enum vbuf_status status = vmem_reserve(&vm, SIZE, &kinds[k]);
        if (status == VBUF_UNSUPPORTED)
            continue; /* vmem_options_test.c tells whether rightly */
        REQUIRE(CHECK_STATUS(VBUF_OK, status));
        vmem_release(&vm);
        for (int act = 0; act < ACTS; act++) {
            if (books || (act != RESIDENT && act != COMMITTED))
                fail_every_call((enum act)act, &kinds[k]);
        }
    }
    fault_clear();
}

/* ---- a closer look ---- */

TEST(vmem_fault, V4_reserve_nomem_when_mmap_fails)
{
    struct vmem vm = {.base = &vm, .size = 77};
    struct vmem_options options = {.alignment = 2 * MIB};
    fault_clear();
    uint64_t before = proc_virtual_size();
    fault_fail_at(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, NULL));
    CHECK_EQ(errno, ENOMEM);
    fault_fail_at(FAULT_MMAP, 1, EAGAIN);
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, &options));
    CHECK_EQ(errno, EAGAIN);
    CHECK(vm.base == &vm);
    CHECK_EQ(vm.size, 77);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, NULL));
    vmem_release(&vm);
}

TEST(vmem_fault, V4_reserve_nomem_when_the_slack_cannot_be_given_back)
{
    struct vmem_options options = {.alignment = 64 * MIB};
    struct vmem vm = {.size = 77};
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, &options));
    uint64_t trims = fault_count(FAULT_MUNMAP);
    vmem_release(&vm);
    vm.size = 77;
    uint64_t before = proc_virtual_size();
    for (uint64_t nth = 1; nth <= trims; nth++) {
        fault_fail_at(FAULT_MUNMAP, nth, ENOMEM);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, &options));
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(vm.size, 77);
        fault_clear();
        if (running_plain())
            CHECK_EQ(proc_virtual_size(), before);
    }
}

TEST(vmem_fault, V4_commit_nomem_keeps_what_was_committed)
{
    struct vmem vm = reserve_pages(8);
    size_t page = vmem_page_size();
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 2 * page));
    memset(vm.base, 0x77, 2 * page);
    int errors[] = {ENOMEM, EAGAIN};
    for (size_t i = 0; i < 2; i++) {
        fault_fail_at(FAULT_MPROTECT, 1, errors[i]);
        errno = 0;
        CHECK_STATUS(VBUF_NOMEM, vmem_commit(&vm, page, 4 * page));
        CHECK_EQ(errno, errors[i]);
        CHECK_EQ(pages_readable(&vm), 2);
        for (size_t b = 0; b < 2 * page; b++)
            REQUIRE(*at(&vm, b) == 0x77);
        *at(&vm, 2 * page - 1) = 0x77; /* still writable */
    }
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, page, 4 * page));
    CHECK_EQ(pages_readable(&vm), 5);
    CHECK_EQ(*at(&vm, 2 * page - 1), 0x77);
    CHECK_EQ(*at(&vm, 2 * page), 0);
    vmem_release(&vm);
}

TEST(vmem_fault, V4_decommit_nomem_leaves_the_pages_as_they_were)
{
    struct vmem vm = reserve_pages(8);
    size_t page = vmem_page_size();
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 0x66, vm.size);
    fault_fail_from(FAULT_MMAP, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(errno, ENOMEM);
    fault_clear();
    fault_fail_at(FAULT_MMAP, 1, EAGAIN); /* the retry finds the old mapping in its place */
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(errno, EAGAIN);
    fault_clear();
    for (size_t i = 0; i < vm.size; i++)
        REQUIRE(*at(&vm, i) == 0x66);
    memset(vm.base, 0x55, vm.size); /* still writable */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, page, 2 * page));
    CHECK_EQ(pages_readable(&vm), 6);
    vmem_release(&vm);
}

TEST(vmem_fault, V4_prefault_statuses)
{
    if (!vmem_caps().populate)
        SKIP("this kernel has no call to fail");
    struct vmem vm = reserve_pages(8);
    fault_clear();
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    memset(vm.base, 3, vmem_page_size());
    fault_fail_at(FAULT_MADVISE, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(*at(&vm, 0), 3);
    fault_fail_at(FAULT_MADVISE, 1, EINVAL); /* how the system says: not committed */
    CHECK_STATUS(VBUF_INVALID, vmem_prefault(&vm, 0, vm.size));
    fault_fail_at(FAULT_MADVISE, 1, EHWPOISON);
    CHECK_STATUS(VBUF_NOMEM, vmem_prefault(&vm, 0, vm.size));
    fault_fail_at(FAULT_MADVISE, 1, EINTR); /* not refusals: tried again */
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vmem_page_size()));
    fault_fail_at(FAULT_MADVISE, 1, EAGAIN);
    CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, 0, vm.size));
    CHECK_EQ(resident(&vm, 0, vm.size), vm.size);
    CHECK_EQ(*at(&vm, 0), 3);
    vmem_release(&vm);
}

TEST(vmem_fault, populate_is_refused_in_silence_and_once)
{
    if (!vmem_caps().populate)
        SKIP("this kernel has no call to fail");
    const int errors[] = {ENOMEM, EINVAL, EFAULT, EHWPOISON, EINTR, EAGAIN};
    struct vmem vm = reserve_pages(8);
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        fault_clear();
        fault_fail_from(FAULT_MADVISE, 1, errors[i]);
        errno = 4242;
        vmem_populate(&vm, 0, vm.size);
        CHECK_EQ(errno, 4242);
        CHECK_EQ(fault_count(FAULT_MADVISE), 1);
        CHECK_EQ(resident(&vm, 0, vm.size), 0);
    }
    fault_clear();
    vmem_release(&vm);
}

TEST(vmem_fault, release_keeps_errno)
{
    struct vmem vm = reserve_pages(1);
    void *base = vm.base;
    size_t size = vm.size;
    fault_clear();
    fault_fail_at(FAULT_MUNMAP, 1, EINVAL);
    errno = ENOMEM;
    vmem_release(&vm); /* as an error path does */
    CHECK_EQ(errno, ENOMEM);
    CHECK(vm.base == NULL);
    CHECK_EQ(vm.size, 0);
    munmap(base, size);
    fault_clear();
}
