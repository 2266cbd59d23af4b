/*
 * textbook_pages.c - pages: used before they are committed, beyond them, after they were given back; and what
 * was in them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "vbuf/atomic.h"
#include "vbuf/vmem.h"

static struct vmem pages;
static struct vbuf_atomic_u32 flag;
static uint64_t seen;

static uint64_t *word(size_t page)
{
    return (uint64_t *)((char *)pages.base + page * vmem_page_size());
}

static void reserve(void)
{
    EXPLORE(vmem_reserve(&pages, 4 * vmem_page_size(), NULL) == VBUF_OK);
}

static void reserve_commit(void)
{
    reserve();
    EXPLORE(vmem_commit(&pages, 0, vmem_page_size()) == VBUF_OK);
    *word(0) = 7;
}

static void release(void)
{
    vmem_release(&pages);
    explore_outcome("%u", (unsigned)seen);
}

static void nothing_more(void)
{
}

/* ---- commit ---- */

static void write_beyond(void)
{
    *word(0) = 1;
    *word(1) = 1;
}

const struct explore_scenario textbook_beyond_committed = {
    .name = "textbook.beyond-committed",
    .checks = "explorer",
    .set_up = reserve_commit,
    .threads = {write_beyond},
    .finish = release,
    .must_fail = "use of memory that is not committed",
};

static void commit_unchecked(void)
{
    vmem_commit(&pages, 0, vmem_page_size()); /* it may fail */
    *word(0) = 1;
}

static void commit_checked(void)
{
    if (vmem_commit(&pages, 0, vmem_page_size()) == VBUF_OK)
        *word(0) = seen = 1;
}

const struct explore_scenario textbook_commit_unchecked = {
    .name = "textbook.commit-unchecked",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {commit_unchecked},
    .finish = release,
    .must_fail = "use of memory that is not committed",
};

const struct explore_scenario textbook_commit_checked = {
    .name = "textbook.commit-checked",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {commit_checked},
    .finish = release,
    .outcomes = {"0", "1"},
};

const struct explore_scenario textbook_never_released = {
    .name = "textbook.never-released",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {nothing_more},
    .must_fail = "leak: memory is still reserved",
};

static void commit_send_relaxed(void)
{
    if (vmem_commit(&pages, 0, vmem_page_size()) == VBUF_OK)
        vbuf_u32_store_relaxed(&flag, 1);
}

static void receive_read(void)
{
    if (vbuf_u32_load_acquire(&flag) == 1)
        seen = *word(0) + 1;
}

/* The system makes good for a missing order: space.c. Zero is all there is to read. */
const struct explore_scenario textbook_commit_send_relaxed = {
    .name = "textbook.commit-send-relaxed",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {commit_send_relaxed, receive_read},
    .finish = release,
    .outcomes = {"0", "1"},
};

static void read_unasked(void)
{
    seen = *word(0) + 1;
}

const struct explore_scenario textbook_read_unasked = {
    .name = "textbook.read-unasked",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {commit_send_relaxed, read_unasked},
    .finish = release,
    .must_fail = "use of memory that is not committed",
};

static void commit_again_read(void)
{
    if (vmem_commit(&pages, 0, vmem_page_size()) == VBUF_OK)
        seen = *word(0) + 1;
}

/* Two commit the same page. */
const struct explore_scenario textbook_commit_twice = {
    .name = "textbook.commit-twice",
    .checks = "explorer",
    .set_up = reserve,
    .threads = {commit_send_relaxed, commit_again_read},
    .finish = release,
    .outcomes = {"0", "1"},
};

/* ---- decommit ---- */

static void decommit(void)
{
    vmem_decommit(&pages, 0, vmem_page_size()); /* that it may fail does not matter here */
}

static void read_send_relaxed(void)
{
    seen = *word(0);
    vbuf_u32_store_relaxed(&flag, 1);
}

static void read_send(void)
{
    seen = *word(0);
    vbuf_u32_store_release(&flag, 1);
}

static void receive_decommit(void)
{
    if (vbuf_u32_load_acquire(&flag) == 1)
        decommit();
}

/* The read came first, in every run; but nothing keeps it from coming late. */
const struct explore_scenario textbook_decommit_beside_use = {
    .name = "textbook.decommit-beside-use",
    .checks = "explorer",
    .set_up = reserve_commit,
    .threads = {read_send_relaxed, receive_decommit},
    .finish = release,
    .must_fail = "data race: a plain read by thread 1",
};

const struct explore_scenario textbook_decommit_after_use = {
    .name = "textbook.decommit-after-use",
    .checks = "explorer",
    .set_up = reserve_commit,
    .threads = {read_send, receive_decommit},
    .finish = release,
    .outcomes = {"7"},
};

static void decommit_send(void)
{
    if (vmem_decommit(&pages, 0, vmem_page_size()) == VBUF_OK)
        vbuf_u32_store_release(&flag, 1);
}

const struct explore_scenario textbook_use_after_decommit = {
    .name = "textbook.use-after-decommit",
    .checks = "explorer",
    .set_up = reserve_commit,
    .threads = {decommit_send, receive_read},
    .finish = release,
    .must_fail = "use of memory that is not committed",
};

static struct vbuf_atomic_u32 *counter(void)
{
    return (struct vbuf_atomic_u32 *)(void *)word(0);
}

static void commit_fresh(void)
{
    vbuf_u32_store_relaxed(counter(), 5);
    if (vmem_decommit(&pages, 0, vmem_page_size()) == VBUF_OK &&
        vmem_commit(&pages, 0, vmem_page_size()) == VBUF_OK)
        vbuf_u32_store_release(&flag, 1);
}

static void receive_get(void)
{
    seen = 9;
    if (vbuf_u32_load_acquire(&flag) == 1)
        seen = vbuf_u32_load_relaxed(counter());
}

static void reserve_commit_zero(void)
{
    reserve_commit();
    *word(0) = 0;
}

/* What is committed again is zero: neither 5 nor what was before it is ever seen. */
const struct explore_scenario textbook_commit_fresh = {
    .name = "textbook.commit-fresh",
    .checks = "explorer",
    .set_up = reserve_commit_zero,
    .threads = {commit_fresh, receive_get},
    .finish = release,
    .outcomes = {"0", "9"},
};
