/*
 * vmem_worlds_test.c - vmem on systems that this one is not: names, or no names; strict overcommit; no
 * transparent huge pages; no /proc.
 *
 * The library asks for most facts once in a process. So each test lives in a child, which pretends
 * before it asks; the parent asks nothing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include "vbuf/vmem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "fault.h"
#include "proc.h"
#include "vmem_pages.h"

#define HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/"
#define OVERCOMMIT "/proc/sys/vm/overcommit_memory"

#if !defined(MAP_32BIT)
#define MAP_32BIT 0 /* other processors have no such thing */
#endif

static const struct vmem_options on = {.huge_pages = VMEM_HUGE_PAGES_ON};
static const struct vmem_options off = {.huge_pages = VMEM_HUGE_PAGES_OFF};
static const struct vmem_options uncharged = {.charge = VMEM_UNCHARGED};
static const struct vmem_options named = {.name = "a name"};

/* Reserves, and if that works, sees to it that the reservation works. */
static enum vbuf_status try(const struct vmem_options *options)
{
    struct vmem vm = {.size = 77};
    enum vbuf_status status = vmem_reserve(&vm, 8 * MIB, options);
    if (status != VBUF_OK) {
        CHECK_EQ(vm.size, 77);
        return status;
    }
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(VBUF_OK, vmem_commit(&vm, MIB, MIB));
        CHECK(*at(&vm, MIB) == 0 && *at(&vm, 2 * MIB - 1) == 0);
        memset(at(&vm, MIB), 1, MIB);
        CHECK_STATUS(VBUF_OK, vmem_prefault(&vm, MIB, MIB));
        CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
        CHECK(!proc_is_readable(at(&vm, MIB)));
    }
    vmem_release(&vm);
    return VBUF_OK;
}

/* ---- names ---- */

/* Takes the namings noted: there is one, of this range. */
static void check_named(const void *address, size_t length, const char *name)
{
    if (CHECK_EQ(fault_naming_count(), 1)) {
        struct fault_naming naming = fault_naming(0);
        CHECK(naming.address == address);
        CHECK_EQ(naming.length, length);
        CHECK_STR(name, naming.name);
    }
    fault_forget_namings();
}

static void name_all(void)
{
    struct vmem_options options = {.alignment = 4 * MIB, .name = "orders"};
    struct vmem vm;
    fault_pretend_names();
    size_t page = vmem_page_size();
    CHECK(vmem_caps().names);
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 3 * MIB + 1, &options)));
    check_named(vm.base, vm.size, "orders");
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, 16 * page));
    CHECK_EQ(fault_naming_count(), 0);                                 /* the mapping is the same */
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 4 * page - 1, 3 * page)); /* pages 4 and 5 */
    check_named(page_at(&vm, 4), 2 * page, "orders");
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 4 * page, page));
    check_named(page_at(&vm, 4), page, "orders");
    fault_leave_hole_at(1, ENOMEM, NULL, NULL);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 6 * page, 2 * page));
    check_named(page_at(&vm, 6), 2 * page, "orders");
    fault_clear();
    /* To be refused a name is no failure of a decommit. */
    memset(vm.base, 7, 4 * page);
    fault_fail_at(FAULT_SET_NAME, 1, ENOMEM);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 2 * page, page));
    CHECK_EQ(fault_count(FAULT_SET_NAME), 1);
    CHECK(!proc_is_readable(page_at(&vm, 2)));
    CHECK(pages_hold(&vm, 0, 2, 7) && pages_hold(&vm, 3, 1, 7));
    vmem_release(&vm);
    CHECK_STATUS(VBUF_OK, try(NULL));
    CHECK_EQ(fault_naming_count(), 0); /* no name, no naming */
}

static void name_is_refused(void)
{
    struct vmem vm = {.size = 77};
    fault_pretend_names();
    CHECK(vmem_caps().names);
    uint64_t before = proc_virtual_size();
    fault_fail_at(FAULT_SET_NAME, 1, ENOMEM);
    errno = 0;
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, MIB, &named));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(vm.size, 77);
    if (running_plain())
        CHECK_EQ(proc_virtual_size(), before);
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, &named));
    vmem_release(&vm);
}

TEST(vmem_worlds, a_system_with_names)
{
    if (!on_linux())
        SKIP("POSIX has no names");
    proc_in_child(name_all);
    proc_in_child(name_is_refused);
}

static void have_no_names(void)
{
    fault_fail_from(FAULT_SET_NAME, 1, EINVAL);
    CHECK(!vmem_caps().names);
    struct vmem vm;
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&named));
    CHECK_STATUS(VBUF_UNSUPPORTED, vmem_reserve(&vm, 0, &named)); /* of nothing, all the same */
    CHECK_STATUS(VBUF_OK, try(NULL));
    struct vmem_options wrong = {.name = "`"};
    CHECK_STATUS(VBUF_INVALID, try(&wrong));
}

TEST(vmem_worlds, a_system_without_names)
{
    proc_in_child(have_no_names);
}

/* ---- charge ---- */

static void never_overcommit(void)
{
    fault_pretend_file(OVERCOMMIT, "2\n");
    CHECK_EQ(vmem_caps().overcommit, VMEM_OVERCOMMIT_NEVER);
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&uncharged));
    CHECK_STATUS(VBUF_OK, try(NULL));
    fault_pretend_file(OVERCOMMIT, "1\n"); /* the mode can be changed while we run */
    CHECK_STATUS(VBUF_OK, try(&uncharged));
    CHECK_EQ(vmem_caps().overcommit, VMEM_OVERCOMMIT_NEVER); /* as found at first */
}

static void always_overcommit(void)
{
    fault_pretend_file(OVERCOMMIT, "1\n");
    CHECK_EQ(vmem_caps().overcommit, VMEM_OVERCOMMIT_ALWAYS);
    CHECK_STATUS(VBUF_OK, try(&uncharged));
    fault_pretend_file(OVERCOMMIT, "2\n");
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&uncharged));
}

static void overcommit_somehow(void)
{
    const char *strange[] = {"", "\n", "3\n", "x\n", NULL};
    fault_pretend_file(OVERCOMMIT, "9\n");
    CHECK_EQ(vmem_caps().overcommit, VMEM_OVERCOMMIT_UNKNOWN);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        fault_pretend_file(OVERCOMMIT, strange[i]);
        CHECK_STATUS(VBUF_UNSUPPORTED, try(&uncharged));
    }
    fault_pretend_file(OVERCOMMIT, "0\n");
    fault_fail_at(FAULT_READ, 1, EIO);
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&uncharged));
    CHECK_STATUS(VBUF_OK, try(&uncharged));
}

TEST(vmem_worlds, modes_of_overcommit)
{
    if (!on_linux())
        SKIP("POSIX has no uncharged memory");
    proc_in_child(never_overcommit);
    proc_in_child(always_overcommit);
    proc_in_child(overcommit_somehow);
}

/* ---- huge pages ---- */

static void have_huge_pages_never(void)
{
    fault_pretend_file(HUGE_PAGES "enabled", "always madvise [never]\n");
    fault_pretend_file(HUGE_PAGES "hpage_pmd_size", "2097152\n");
    CHECK_EQ(vmem_caps().huge_page_size, 0);
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&on));
    CHECK_STATUS(VBUF_OK, try(&off));
}

static void have_no_huge_pages(void)
{
    fault_pretend_file("/sys/kernel/mm/", NULL);
    CHECK_EQ(vmem_caps().huge_page_size, 0);
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&on));
    fault_fail_from(FAULT_MADVISE, 1, EINVAL); /* such a kernel knows no advice about them */
    struct vmem vm;
    CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, &off));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, vm.size));
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, vm.size));
    vmem_release(&vm);
    CHECK(fault_count(FAULT_MADVISE) >= 2);
}

/* A size that only a pretence gives: larger ones align more. */
static void have_large_huge_pages(void)
{
    fault_pretend_file(HUGE_PAGES "enabled", "[always] madvise never\n");
    fault_pretend_file(HUGE_PAGES "hpage_pmd_size", "67108864\n");
    struct vmem vm;
    CHECK_EQ(vmem_caps().huge_page_size, 64 * MIB);
    fault_fail_from(FAULT_MADVISE, 1, EINVAL);
    CHECK_STATUS(VBUF_NOMEM, vmem_reserve(&vm, 64 * MIB, &on)); /* the advice is the option */
    CHECK_EQ(errno, EINVAL);
    fault_clear();
    for (int i = 0; i < 4; i++) { /* not by chance */
        struct vmem between;
        CHECK_STATUS(VBUF_OK, vmem_reserve(&between, MIB, NULL));
        if (CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, 64 * MIB, &on)))
            CHECK_EQ((uintptr_t)vm.base % (64 * MIB), 0);
        vmem_release(&vm);
        vmem_release(&between);
    }
}

TEST(vmem_worlds, huge_pages_of_all_sizes)
{
    if (!on_linux())
        SKIP("POSIX has no huge pages");
    proc_in_child(have_huge_pages_never);
    proc_in_child(have_no_huge_pages);
    proc_in_child(have_large_huge_pages);
}

/* ---- nothing ---- */

static void have_no_files(void)
{
    size_t bytes = 77;
    struct vmem vm;
    fault_pretend_file("/", NULL);
    CHECK_EQ(vmem_caps().overcommit, VMEM_OVERCOMMIT_UNKNOWN);
    CHECK_EQ(vmem_caps().huge_page_size, 0);
    CHECK_EQ(vmem_caps().page_size, sysconf(_SC_PAGESIZE));
    CHECK_STATUS(VBUF_OK, try(NULL));
    CHECK_STATUS(VBUF_OK, try(&off));
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&on));
    CHECK_STATUS(VBUF_UNSUPPORTED, try(&uncharged));
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, NULL)));
    CHECK_STATUS(VBUF_UNSUPPORTED, vmem_committed(&vm, 0, MIB, &bytes));
    CHECK_EQ(bytes, 77);
    CHECK_STATUS(VBUF_OK, vmem_committed(&vm, MIB, 0, &bytes)); /* of nothing it can be told */
    CHECK_EQ(bytes, 0);
    vmem_release(&vm);
}

TEST(vmem_worlds, without_files_it_is_a_poor_system)
{
    proc_in_child(have_no_files);
}

/* The same as the system says it, by other means. */
static void check_facts(const struct vmem_facts *facts)
{
    struct vmem vm;
    CHECK_EQ(facts->page_size, sysconf(_SC_PAGESIZE));
    CHECK(facts->huge_page_size == 0 || facts->huge_page_size > facts->page_size);
    CHECK((uintptr_t)&vm >> facts->address_bits == 0);
    CHECK_STATUS(VBUF_OK, try(NULL));
    CHECK_STATUS(VBUF_OK, try(&off));
    CHECK_STATUS(facts->names ? VBUF_OK : VBUF_UNSUPPORTED, try(&named));
    CHECK_STATUS(facts->huge_page_size != 0 ? VBUF_OK : VBUF_UNSUPPORTED, try(&on));
    bool has_uncharged = facts->overcommit == VMEM_OVERCOMMIT_HEURISTIC ||
                         facts->overcommit == VMEM_OVERCOMMIT_ALWAYS;
    CHECK_STATUS(has_uncharged ? VBUF_OK : VBUF_UNSUPPORTED, try(&uncharged));
}

static bool limit_files(rlim_t most)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* Short of file descriptors when it is asked first: what it cannot tell now, it can later. */
static void run_short_of_files(void)
{
    struct vmem vm = {.size = 77};
    size_t bytes = 77;
    enum vbuf_status short_of = on_linux() ? VBUF_NOMEM : VBUF_UNSUPPORTED;
    REQUIRE(limit_files(0));
    struct vmem_facts facts = vmem_caps();
    CHECK_EQ(facts.overcommit, VMEM_OVERCOMMIT_UNKNOWN);
    CHECK_EQ(facts.huge_page_size, 0);
    errno = EMFILE;
    CHECK_STATUS(short_of, vmem_reserve(&vm, MIB, &on));
    CHECK_EQ(errno, EMFILE);
    errno = EMFILE;
    CHECK_STATUS(short_of, vmem_reserve(&vm, MIB, &uncharged));
    CHECK_EQ(errno, EMFILE);
    CHECK_EQ(vm.size, 77);
    REQUIRE(CHECK_STATUS(VBUF_OK, vmem_reserve(&vm, MIB, NULL)));
    CHECK_STATUS(VBUF_OK, vmem_commit(&vm, 0, MIB));
    *at(&vm, 0) = 1;
    CHECK_STATUS(short_of, vmem_committed(&vm, 0, MIB, &bytes));
    CHECK_EQ(bytes, 77);
    CHECK_STATUS(VBUF_OK, vmem_decommit(&vm, 0, MIB));
    vmem_release(&vm);
    REQUIRE(limit_files(1024));
    facts = vmem_caps();
    char text[8];
    proc_read_text("/proc/sys/vm/overcommit_memory", text, sizeof text);
    CHECK(!on_linux() || text[0] == '\0' || facts.overcommit != VMEM_OVERCOMMIT_UNKNOWN);
    check_facts(&facts);
}

TEST(vmem_worlds, V4_short_of_files_at_first)
{
    proc_in_child(run_short_of_files);
}

/* Each question fails once, at first, as if it could not be asked now: then it is asked again. */
static void ask_twice(void)
{
    vmem_caps();
    fault_clear();
    struct vmem_facts facts = vmem_caps();
    check_facts(&facts);
}

TEST(vmem_worlds, facts_that_cannot_be_had_are_asked_for_again)
{
    const int errors[] = {EMFILE, ENFILE, ENOMEM};
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (uint64_t nth = 1; nth <= 3; nth++) {
            fault_clear();
            fault_fail_at(FAULT_OPEN, nth, errors[e]);
            proc_in_child(ask_twice);
        }
    }
    fault_clear();
    fault_fail_from(FAULT_SET_NAME, 1, EINVAL);
    fault_fail_from(FAULT_MADVISE, 1, EINVAL);
    proc_in_child(ask_twice);
    fault_clear();
}

/* ---- address space ---- */

static void *ask_for_bits(void *bits)
{
    *(unsigned *)bits = vmem_caps().address_bits;
    return NULL;
}

/* Asked first on a stack that lies low, as a fibre's may. */
static void ask_on_a_low_stack(void)
{
    size_t size = MIB;
    pthread_attr_t attributes;
    pthread_t thread;
    unsigned bits = 0;
    void *low =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED || pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setstack(&attributes, low, size);
    REQUIRE(CHECK_EQ(pthread_create(&thread, &attributes, ask_for_bits, &bits), 0));
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    CHECK((uintptr_t)&bits >> bits == 0);
    munmap(low, size);
}

TEST(vmem_worlds, address_bits_are_those_of_the_process)
{
    if (!on_linux() || MAP_32BIT == 0)
        SKIP("POSIX tells nothing of the address space");
    proc_in_child(ask_on_a_low_stack);
}
