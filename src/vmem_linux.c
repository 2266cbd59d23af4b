/*
 * vmem_linux.c - vmem on Linux.
 *
 *   reserve    mmap PROT_NONE, or PROT_READ where it is to be readable (the one page of zeros everywhere):
 *              a private mapping that cannot be written is not charged (V1).
 *   commit     mprotect read-write: charges, and fails cleanly when the limit is reached. The mapping is
 *              made without MAP_NORESERVE on purpose: with it mprotect would not charge, and running out
 *              would be a kill instead of a status. Who asks for uncharged memory gets MAP_NORESERVE.
 *   decommit   a fresh such mapping over the range. madvise and mprotect would give back the pages
 *              but not the charge (V2).
 *   prefault   MADV_POPULATE_WRITE (5.14); MADV_WILLNEED does nothing for anonymous memory (V3). On older
 *              kernels a CAS of a byte with itself in every page, which keeps the content whoever
 *              else writes. (Adding 0 would do, but compilers make a load of it.)
 *
 * Uncharged memory could be decommitted by mprotect and MADV_DONTNEED. It is not: that was measured at
 * 2.6 us against 6.5 us for a page, 7.4 against 9.9 for 64 KiB, and slower from 1 MiB on; and it
 * leaves page tables and an anon_vma, which make a core dump walk, and write, what is not there.
 *
 * Holes. mmap with MAP_FIXED may fail with the old mapping already gone. The hole would be open to
 * anybody's next mmap, so decommit closes it with a mapping that replaces nothing; when that works,
 * the decommit worked. When it is refused because something lies there, that is the old mapping, if
 * the whole range is mapped, and nothing has changed; with a gap in the range it is lost. (A foreign
 * mapping that came between two of our calls and filled the hole exactly would be taken for the old
 * one: no call tells them apart.)
 *
 * Mappings. The kernel joins neighbours with the same protection, charge, advice and name, so a
 * reservation has a mapping for each run of committed and each run of uncommitted pages, which is the
 * least. Fresh mappings come without advice and name; they are joined once they have both again. One
 * thing the kernel does not join: two runs that were written before they met, each of which has
 * then a page owner (anon_vma) of its own; filling the gap joins it to one of them, to neither in a
 * forked child, where what the parent wrote has two owners.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "system.h"
#include "vmem_os.h"

#if !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif
#if !defined(MAP_FIXED_NOREPLACE)
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/"

/* What does not need a file to be read. */
static struct vmem_facts facts;
static pthread_once_t facts_once = PTHREAD_ONCE_INIT;

/* What does: 0 until it is known, then the huge page size (below 4 KiB no bit of it is set), the overcommit
 * mode from bit 1 on, and bit 0. */
static struct vbuf_atomic_u64 file_facts;

/* ---- facts ---- */

/*
 * The beginning of a short file, as a string; "" when it cannot be read. False: only for now, because
 * file descriptors or memory are short.
 */
static bool read_text(const char *path, char *text, size_t size)
{
    text[0] = '\0';
    int file = vbuf_sys_open(path);
    if (file < 0)
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    long length = vbuf_sys_read(file, text, size - 1);
    vbuf_sys_close(file);
    text[length > 0 ? length : 0] = '\0';
    return true;
}

static bool read_overcommit(enum vmem_overcommit *mode)
{
    static const enum vmem_overcommit modes[] = {VMEM_OVERCOMMIT_HEURISTIC, VMEM_OVERCOMMIT_ALWAYS,
                                                 VMEM_OVERCOMMIT_NEVER};
    char text[32];
    if (!read_text("/proc/sys/vm/overcommit_memory", text, sizeof text))
        return false;
    *mode = text[0] >= '0' && text[0] <= '2' ? modes[text[0] - '0'] : VMEM_OVERCOMMIT_UNKNOWN;
    return true;
}

/* (The settings by size that newer kernels have beside these are not looked at.) */
static bool read_huge_page_size(size_t *number)
{
    char text[64];
    *number = 0;
    if (!read_text(HUGE_PAGES "enabled", text, sizeof text))
        return false;
    if (strstr(text, "[never]") != NULL)
        return true;
    if (!read_text(HUGE_PAGES "hpage_pmd_size", text, sizeof text))
        return false;
    for (const char *digit = text; *digit >= '0' && *digit <= '9'; digit++)
        *number = *number * 10 + (size_t)(*digit - '0');
    return true;
}

static void find_facts(void)
{
    facts.page_size = (size_t)sysconf(_SC_PAGESIZE);
    facts.granularity = facts.page_size;
    /* Of no bytes: they say whether the kernel knows the advice, and names. */
    facts.populate = vbuf_sys_madvise(NULL, 0, MADV_POPULATE_WRITE) == 0;
    facts.names = vbuf_sys_set_name(NULL, 0, NULL) == 0;
    /* The first stack lies at the top of what a program may use. */
    uintptr_t high = getauxval(AT_RANDOM);
    if (high == 0)
        high = (uintptr_t)&high;
    facts.address_bits = 64 - (unsigned)__builtin_clzll(high);
}

size_t vmem_os_page_size(void)
{
    pthread_once(&facts_once, find_facts);
    return facts.page_size;
}

struct vmem_facts vmem_os_facts(void)
{
    pthread_once(&facts_once, find_facts);
    struct vmem_facts all = facts;
    uint64_t known = vbuf_u64_load_relaxed(&file_facts); /* one word, whole */
    if (known == 0) {
        enum vmem_overcommit mode;
        size_t huge;
        if (!read_overcommit(&mode) || !read_huge_page_size(&huge))
            return all; /* for now */
        known = huge | (uint64_t)mode << 1 | 1;
        vbuf_u64_store_relaxed(&file_facts, known); /* whoever is last: they found the same */
    }
    all.huge_page_size = (size_t)(known & ~UINT64_C(4095));
    all.overcommit = (enum vmem_overcommit)((known & 4095) >> 1);
    return all;
}

/* ---- reserve and release ---- */

/* Of what is not committed. */
static int protection(const struct vmem_options *options)
{
    return options->readable ? PROT_READ : PROT_NONE;
}

static int map_flags(const struct vmem_options *options)
{
    return options->charge == VMEM_UNCHARGED ? MAP_NORESERVE : 0;
}

enum vbuf_status vmem_os_supports(const struct vmem_options *options)
{
    if (options->name != NULL && !vmem_os_facts().names)
        return VBUF_UNSUPPORTED;
    size_t huge = 1;
    if (options->huge_pages == VMEM_HUGE_PAGES_ON && !read_huge_page_size(&huge))
        return VBUF_NOMEM;
    if (options->huge_pages == VMEM_HUGE_PAGES_ON && vmem_os_facts().huge_page_size == 0)
        huge = 0; /* there were none at first: what vmem_caps said stays said */
    enum vmem_overcommit mode = VMEM_OVERCOMMIT_ALWAYS; /* now: it can be changed while we run */
    if (options->charge == VMEM_UNCHARGED && !read_overcommit(&mode))
        return VBUF_NOMEM;
    if (mode == VMEM_OVERCOMMIT_UNKNOWN || mode == VMEM_OVERCOMMIT_NEVER || huge == 0)
        return VBUF_UNSUPPORTED;
    return VBUF_OK;
}

/* Advises and names; a mapping that was made anew needs both again. */
static bool dress(void *address, size_t size, const struct vmem_options *options)
{
    bool advised = true;
    if (options->huge_pages == VMEM_HUGE_PAGES_ON)
        advised = vbuf_sys_madvise(address, size, MADV_HUGEPAGE) == 0;
    else if (options->huge_pages == VMEM_HUGE_PAGES_OFF) /* EINVAL: there are none at all */
        advised = vbuf_sys_madvise(address, size, MADV_NOHUGEPAGE) == 0 || errno == EINVAL;
    bool named = options->name == NULL || vbuf_sys_set_name(address, size, options->name) == 0;
    return advised && named;
}

/* Cuts [start, start + size + slack) down to an aligned range of `size` bytes, or gives it all back. */
static void *trim(char *start, size_t size, size_t slack, size_t alignment)
{
    size_t before = (size_t)(-(uintptr_t)start & (alignment - 1)), after = slack - before;
    if ((before == 0 || vbuf_sys_munmap(start, before) == 0) &&
        (after == 0 || vbuf_sys_munmap(start + before + size, after) == 0))
        return start + before;
    int reason = errno; /* it would have to split a mapping that the system joined with another */
    vbuf_sys_munmap(start, size + slack);
    errno = reason;
    return NULL;
}

enum vbuf_status vmem_os_reserve(size_t size, size_t alignment, const struct vmem_options *options,
                                 void **base)
{
    size_t slack = alignment - facts.page_size;
    char *start = vbuf_sys_mmap(NULL, size + slack, protection(options), map_flags(options));
    if (start == MAP_FAILED)
        return VBUF_NOMEM;
    *base = trim(start, size, slack, alignment);
    if (*base == NULL)
        return VBUF_NOMEM;
    if (dress(*base, size, options))
        return VBUF_OK;
    int reason = errno;
    vbuf_sys_munmap(*base, size);
    errno = reason;
    return VBUF_NOMEM;
}

void vmem_os_release(void *address, size_t size)
{
    /* It may have to split a mapping that the kernel joined, and find no room for another. */
    static const struct vmem_options plain = {.alignment = 0};
    bool lost = false;
    if (vbuf_sys_munmap(address, size) != 0 &&
        vmem_os_decommit(address, size, &plain, &lost) != VBUF_OK && !lost)
        vbuf_sys_madvise(address, size, MADV_DONTNEED); /* the pages at least: it splits nothing */
}

/* ---- commit and decommit ---- */

enum vbuf_status vmem_os_commit(void *address, size_t size)
{
    return vbuf_sys_mprotect(address, size, PROT_READ | PROT_WRITE) == 0 ? VBUF_OK : VBUF_NOMEM;
}

/* Maps the range afresh where nothing is mapped. */
static bool close_hole(void *address, size_t size, const struct vmem_options *options)
{
    void *closed =
        vbuf_sys_mmap(address, size, protection(options), map_flags(options) | MAP_FIXED_NOREPLACE);
    if (closed != MAP_FAILED && closed != address) /* a kernel for which the address is a hint */
        vbuf_sys_munmap(closed, size);
    return closed == address;
}

enum vbuf_status vmem_os_decommit(void *address, size_t size, const struct vmem_options *options,
                                  bool *lost)
{
    if (vbuf_sys_mmap(address, size, protection(options), map_flags(options) | MAP_FIXED) ==
        MAP_FAILED) {
        int reason = errno;
        if (!close_hole(address, size, options)) {
            *lost =
                vbuf_sys_msync(address, size, MS_ASYNC) != 0; /* ENOMEM: not mapped throughout */
            errno = reason;
            return VBUF_NOMEM;
        }
    }
    dress(address, size, options);
    return VBUF_OK;
}

/* ---- prefault ---- */

enum vbuf_status vmem_os_prefault(void *address, size_t size)
{
    if (!facts.populate) {
        vmem_touch(address, size, facts.page_size);
        return VBUF_OK;
    }
    while (vbuf_sys_madvise(address, size, MADV_POPULATE_WRITE) != 0) {
        if (errno == EAGAIN || errno == EINTR)
            continue;
        return errno == ENOMEM || errno == EHWPOISON ? VBUF_NOMEM : VBUF_INVALID;
    }
    return VBUF_OK;
}

void vmem_os_populate(void *address, size_t size)
{
    if (facts.populate)
        vbuf_sys_madvise(address, size, MADV_POPULATE_WRITE);
}

/* ---- the system's books ---- */

enum vbuf_status vmem_os_resident(void *address, size_t size, size_t *resident)
{
    unsigned char pages[1024];
    size_t count = 0;
    for (size_t offset = 0; offset < size; offset += sizeof pages * facts.page_size) {
        size_t part = size - offset;
        if (part > sizeof pages * facts.page_size)
            part = sizeof pages * facts.page_size;
        if (vbuf_sys_mincore((char *)address + offset, part, pages) != 0)
            return errno == ENOSYS || errno == EPERM ? VBUF_UNSUPPORTED : VBUF_NOMEM;
        for (size_t i = 0; i < part / facts.page_size; i++)
            count += pages[i] & 1;
    }
    *resident = count * facts.page_size;
    return VBUF_OK;
}

/* A line of /proc/self/maps, `from-to rw-p …`, read character by character. */
struct maps_line {
    uintptr_t bound[2];
    unsigned field;  /* 0 and 1: the bounds; 2: the protection; 3: the rest */
    unsigned column; /* in the protection */
    bool readable, writable;
};

static void read_character(struct maps_line *line, char c)
{
    if (line->field <= 1 && (c == '-' || c == ' ')) {
        line->field++;
    } else if (line->field <= 1) {
        unsigned digit = (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        line->bound[line->field] = line->bound[line->field] * 16 + digit;
    } else if (line->field == 2) {
        line->readable = line->readable || (line->column == 0 && c == 'r');
        line->writable = line->writable || (line->column == 1 && c == 'w');
        line->field += ++line->column == 2;
    }
}

static size_t bytes_in_both(const struct maps_line *line, uintptr_t from, uintptr_t to)
{
    from = from > line->bound[0] ? from : line->bound[0];
    to = to < line->bound[1] ? to : line->bound[1];
    return line->readable && line->writable && from < to ? to - from : 0;
}

enum vbuf_status vmem_os_committed(void *address, size_t size, size_t *committed)
{
    int file = vbuf_sys_open("/proc/self/maps");
    if (file < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? VBUF_NOMEM
                                                                     : VBUF_UNSUPPORTED;
    char text[4096];
    struct maps_line line = {.field = 0};
    size_t bytes = 0;
    long length;
    while ((length = vbuf_sys_read(file, text, sizeof text)) > 0) {
        for (long i = 0; i < length; i++) {
            if (text[i] != '\n') {
                read_character(&line, text[i]);
                continue;
            }
            bytes += bytes_in_both(&line, (uintptr_t)address, (uintptr_t)address + size);
            line = (struct maps_line){.field = 0};
        }
    }
    vbuf_sys_close(file);
    if (length < 0)
        return VBUF_UNSUPPORTED;
    *committed = bytes;
    return VBUF_OK;
}
