/*
 * textbook_memory.c - memory that is not there: freed, freed twice, never freed, not committed, given back.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <string.h>

#include "explore.h"
#include "vbuf/atomic.h"
#include "vbuf/vmem.h"

static struct vbuf_atomic_u32 flag;
static uint64_t *object;

static void print_fine(void)
{
    explore_outcome("fine");
}

static void send(void)
{
    vbuf_u32_store_release(&flag, 1);
}

static bool received(void)
{
    return vbuf_u32_load_acquire(&flag) == 1;
}

/* ---- objects ---- */

static void allocate(void)
{
    object = explore_alloc(2 * sizeof *object);
    object[0] = object[1] = 7;
}

static void free_object(void)
{
    explore_free(object);
}

static void free_and_send(void)
{
    explore_free(object);
    send();
}

static void use_when_received(void)
{
    if (received())
        EXPLORE(object[0] == 7);
}

static void free_when_received(void)
{
    if (received())
        explore_free(object);
}

static void use_and_send(void)
{
    EXPLORE(object[1] == 7);
    send();
}

static void free_if_not_freed(void)
{
    if (!received())
        explore_free(object);
    print_fine();
}

const struct explore_scenario textbook_freed_twice = {
    .name = "textbook.freed-twice",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {free_and_send, free_when_received},
    .must_fail = "freed twice",
};

const struct explore_scenario textbook_freed_by_both = {
    .name = "textbook.freed-by-both",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {free_object, free_object},
    .must_fail = "freed twice",
};

const struct explore_scenario textbook_use_after_free = {
    .name = "textbook.use-after-free",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {free_and_send, use_when_received},
    .must_fail = "use after free",
};

/* The use came first, in this run: nothing made it. */
const struct explore_scenario textbook_use_beside_free = {
    .name = "textbook.use-beside-free",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {use_and_send, free_object},
    .must_fail = "data race",
};

const struct explore_scenario textbook_free_after_use = {
    .name = "textbook.free-after-use",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {use_and_send, free_when_received},
    .finish = print_fine,
    .must_fail = "leak: an object was never freed",
};

static void forget_flag(void)
{
    if (vbuf_u32_exchange_acq_rel(&flag, 2) == 1)
        explore_free(object);
}

static void free_if_forgotten(void)
{
    if (vbuf_u32_exchange_acq_rel(&flag, 1) == 2)
        explore_free(object);
}

/* Whoever comes second frees. */
const struct explore_scenario textbook_last_frees = {
    .name = "textbook.last-frees",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {forget_flag, free_if_forgotten},
    .finish = print_fine,
    .outcomes = {"fine"},
};

static void use_then_free_later(void)
{
    EXPLORE(object[0] == 7);
    vbuf_u32_exchange_acq_rel(&flag, 1);
}

static void free_once_used(void)
{
    if (vbuf_u32_load_acquire(&flag) == 1) {
        explore_free(object);
        vbuf_u32_store_relaxed(&flag, 2);
    }
}

static void free_what_is_left(void)
{
    if (vbuf_u32_load_relaxed(&flag) != 2)
        explore_free(object);
    print_fine();
}

const struct explore_scenario textbook_free_in_order = {
    .name = "textbook.free-in-order",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {use_then_free_later, free_once_used},
    .finish = free_what_is_left,
    .outcomes = {"fine"},
};

static void write_behind_object(void)
{
    explore_write(object + 2, sizeof *object); /* the compiler would know better */
}

const struct explore_scenario textbook_behind_object = {
    .name = "textbook.behind-object",
    .checks = "explorer",
    .set_up = allocate,
    .threads = {write_behind_object},
    .finish = free_if_not_freed,
    .must_fail = "beyond",
};

/* ---- poison ---- */

static struct {
    struct vbuf_atomic_u32 count;
    uint32_t plain;
} destroyed;

static void destroy(void)
{
    explore_poison(&destroyed, sizeof destroyed);
}

static void read_destroyed(void)
{
    explore_read(&destroyed.plain, sizeof destroyed.plain);
}

static void get_destroyed(void)
{
    vbuf_u32_load_relaxed(&destroyed.count);
}

static void make_again(void)
{
    vbuf_u32_store_relaxed(&destroyed.count, 1);
    destroyed.plain = 1;
    get_destroyed();
    read_destroyed();
}

const struct explore_scenario textbook_read_destroyed = {
    .name = "textbook.read-destroyed",
    .checks = "explorer",
    .set_up = destroy,
    .threads = {read_destroyed},
    .must_fail = "use of what was destroyed",
};

const struct explore_scenario textbook_get_destroyed = {
    .name = "textbook.get-destroyed",
    .checks = "explorer",
    .set_up = destroy,
    .threads = {get_destroyed},
    .must_fail = "use of what was destroyed",
};

const struct explore_scenario textbook_made_again = {
    .name = "textbook.made-again",
    .checks = "explorer",
    .set_up = destroy,
    .threads = {make_again},
    .finish = print_fine,
    .outcomes = {"fine"},
};
