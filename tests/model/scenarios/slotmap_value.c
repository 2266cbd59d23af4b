/*
 * slotmap_value.c - values that are written in place: read whole (S4), and not changed in a remover's hands.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "explore.h"
#include "slotmap/slotmap.h"

struct pair {
    uint64_t left, right; /* equal, in every value that was ever inserted or written */
};

SLOTMAP_DEFINE_UPDATABLE(pairs, struct pair)

static struct slotmap *map;
static slotmap_handle handle;
static struct vbuf_atomic_u32 destroyed; /* destructors run on any thread */

static void destroy_pair(void *context, void *value)
{
    (void)context;
    const struct pair *pair = value;
    EXPLORE(pair->left == pair->right && pair->left >= 10); /* 0 is a copy that was never written */
    vbuf_u32_fetch_add_relaxed(&destroyed, 1);
}

static void set_up(void)
{
    struct slotmap_options options = {.value_size = sizeof(struct pair),
                                      .max_len = 4,
                                      .max_limbo = 4,
                                      .max_threads = 5,
                                      .updatable = true,
                                      .destroy = destroy_pair};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &(struct pair){10, 10}, &handle) == VBUF_OK);
}

static void finish(void)
{
    slotmap_destroy(map);
    EXPLORE(vbuf_u32_load_relaxed(&destroyed) == 1);
}

static void write_value(uint64_t number)
{
    enum vbuf_status status = slotmap_write(map, handle, &(struct pair){number, number});
    EXPLORE(status == VBUF_OK || status == VBUF_BUSY || status == VBUF_STALE);
}

static void write_three(void)
{
    for (uint64_t i = 0; i < 3; i++)
        write_value(20 + i);
}

static void write_one(void)
{
    write_value(30);
}

static void read_value(void)
{
    struct pair pair;
    enum vbuf_status status = slotmap_read(map, handle, &pair);
    EXPLORE(status == VBUF_OK || status == VBUF_STALE);
    EXPLORE(status != VBUF_OK || pair.left == pair.right);
}

/* What it is handed does not change, nor is it half of something. */
static void remove_and_look(void)
{
    void *value = NULL;
    slotmap_pin(map);
    EXPLORE(slotmap_remove(map, handle, &value) == VBUF_OK);
    const struct pair *pair = value;
    struct pair first = *pair;
    explore_yield();
    EXPLORE(first.left == first.right && pair->left == first.left && pair->right == first.left);
    slotmap_unpin(map);
}

/* After its own write, a thread reads that value, or one written since. */
static void write_and_read(void)
{
    struct pair pair;
    enum vbuf_status status = slotmap_write(map, handle, &(struct pair){40, 40});
    EXPLORE(slotmap_read(map, handle, &pair) == VBUF_OK);
    EXPLORE(status != VBUF_OK || pair.left == 40 || pair.left == 30);
}

const struct explore_scenario slotmap_value_read = {
    .name = "slotmap.value-read",
    .checks = "S4",
    .set_up = set_up,
    .threads = {write_three, read_value},
    .finish = finish,
    .bounds = {.together = 4, .stale = 3},
};

const struct explore_scenario slotmap_value_writers = {
    .name = "slotmap.value-writers",
    .checks = "S4",
    .set_up = set_up,
    .threads = {write_one, write_and_read, read_value},
    .finish = finish,
};

const struct explore_scenario slotmap_value_removed = {
    .name = "slotmap.value-removed",
    .checks = "S3 S4",
    .set_up = set_up,
    .threads = {write_three, write_one, remove_and_look},
    .finish = finish,
};

/* ---- as a typed map inlines it: from a thread that is attached, and from one that is not ---- */

static void read_typed(bool attached)
{
    struct pairs typed = pairs_of(map);
    struct pair pair = {7, 7};
    pairs_handle of_pair = {handle.bits};
    if (attached)
        ebr_attach(map->domain_);
    enum vbuf_status status = pairs_read(&typed, of_pair, &pair);
    EXPLORE(status == VBUF_OK || status == VBUF_STALE);
    EXPLORE(pair.left == pair.right && (pair.left == 7) == (status != VBUF_OK));
    EXPLORE(ebr_synchronize(map->domain_) == VBUF_OK); /* not pinned any more */
}

static void read_attached(void)
{
    read_typed(true);
}

static void read_unattached(void)
{
    read_typed(false);
}

const struct explore_scenario slotmap_value_typed = {
    .name = "slotmap.value-typed",
    .checks = "S4",
    .set_up = set_up,
    .threads = {write_three, read_attached},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE, .together = 4, .stale = 3},
};

const struct explore_scenario slotmap_value_typed_first = {
    .name = "slotmap.value-typed-first",
    .checks = "S4",
    .set_up = set_up,
    .threads = {write_three, read_unattached},
    .finish = finish,
    .bounds = {.together = 4, .stale = 3},
};

/* Inside another pin, which goes on. */
static void read_pinned(void)
{
    struct pairs typed = pairs_of(map);
    struct pair pair;
    pairs_handle of_pair = {handle.bits};
    pairs_pin(&typed);
    EXPLORE(pairs_read(&typed, of_pair, &pair) == VBUF_OK && pair.left == pair.right);
    EXPLORE(ebr_synchronize(map->domain_) == VBUF_BUSY);
    pairs_unpin(&typed);
    EXPLORE(ebr_synchronize(map->domain_) == VBUF_OK);
}

const struct explore_scenario slotmap_value_typed_nested = {
    .name = "slotmap.value-typed-nested",
    .checks = "S4 E1",
    .set_up = set_up,
    .threads = {write_one, read_pinned},
    .finish = finish,
    .bounds = {.failures = EXPLORE_NONE},
};

const struct explore_scenario slotmap_value_typed_full_fence = {
    .name = "slotmap.value-typed-full-fence",
    .checks = "S4 E1",
    .set_up = set_up,
    .threads = {write_one, read_pinned},
    .finish = finish,
    .full_fence = true,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- a life after another ---- */

static void remove_and_insert(void)
{
    EXPLORE(slotmap_remove(map, handle, NULL) == VBUF_OK);
    slotmap_collect(map);
    slotmap_handle other;
    struct pair pair = {0, 0};
    enum vbuf_status status = slotmap_insert(map, &(struct pair){50, 50}, &other);
    EXPLORE(status == VBUF_OK || status == VBUF_NOMEM);
    if (status != VBUF_OK)
        return;
    EXPLORE(slotmap_read(map, other, &pair) == VBUF_OK);
    EXPLORE(pair.left == 50 && pair.right == 50);
    slotmap_remove(map, other, NULL);
}

static void finish_lives(void)
{
    slotmap_destroy(map);
    EXPLORE(vbuf_u32_load_relaxed(&destroyed) >= 1);
}

const struct explore_scenario slotmap_value_lives = {
    .name = "slotmap.value-lives",
    .checks = "S1 S4",
    .set_up = set_up,
    .threads = {write_three, read_value, remove_and_insert},
    .finish = finish_lives,
    .bounds = {.together = 2},
};

const struct explore_scenario slotmap_value_lives_typed = {
    .name = "slotmap.value-lives-typed",
    .checks = "S1 S4",
    .set_up = set_up,
    .threads = {read_attached, remove_and_insert},
    .finish = finish_lives,
    .bounds = {.failures = EXPLORE_NONE},
};

/* ---- a write that says it was done is in the remover's hands, and its destructor's ---- */

static uint64_t last; /* what the remover was handed, and the destructor must be */
static enum vbuf_status written, written_too;

static void destroy_last(void *context, void *value)
{
    EXPLORE(((struct pair *)value)->left == last);
    destroy_pair(context, value);
}

static void set_up_last(void)
{
    struct slotmap_options options = {.value_size = sizeof(struct pair),
                                      .max_len = 4,
                                      .max_limbo = 4,
                                      .max_threads = 5,
                                      .updatable = true,
                                      .destroy = destroy_last};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
    EXPLORE(slotmap_insert(map, &(struct pair){10, 10}, &handle) == VBUF_OK);
}

static void write_last(void)
{
    written = slotmap_write(map, handle, &(struct pair){30, 30});
}

static void remove_last(void)
{
    void *value = NULL;
    slotmap_pin(map);
    EXPLORE(slotmap_remove(map, handle, &value) == VBUF_OK);
    last = ((struct pair *)value)->left;
    slotmap_unpin(map);
}

static void write_too(void)
{
    written_too = slotmap_write(map, handle, &(struct pair){20, 20});
}

static void finish_last(void)
{
    EXPLORE(written == VBUF_OK || written == VBUF_STALE);
    EXPLORE(last == (written == VBUF_OK ? 30 : 10));
    finish();
}

const struct explore_scenario slotmap_value_last = {
    .name = "slotmap.value-last",
    .checks = "S4",
    .set_up = set_up_last,
    .threads = {write_last, remove_last},
    .finish = finish_last,
};

static void finish_last_of_two(void)
{
    bool first = written == VBUF_OK, second = written_too == VBUF_OK;
    EXPLORE((last == 30 && first) || (last == 20 && second) || (last == 10 && !first && !second));
    finish();
}

const struct explore_scenario slotmap_value_last_of_two = {
    .name = "slotmap.value-last-of-two",
    .checks = "S4",
    .set_up = set_up_last,
    .threads = {write_last, write_too, remove_last},
    .finish = finish_last_of_two,
    .bounds = {.preemptions = 3, .stale = EXPLORE_NONE, .reorders = EXPLORE_NONE},
};

/* ---- values that are no whole number of words; the last one written is what is handed out, and destroyed ---- */

struct triple {
    uint32_t first, second, third; /* equal */
};

static slotmap_handle handles[3];
static uint32_t newest[3];

static void destroy_triple(void *context, void *value)
{
    (void)context;
    const struct triple *triple = value;
    EXPLORE(triple->first == triple->second && triple->second == triple->third);
    EXPLORE(triple->first == newest[triple->first % 3]);
    newest[triple->first % 3] = 0;
}

static void set_up_triples(void)
{
    struct slotmap_options options = {.value_size = sizeof(struct triple),
                                      .max_len = 4,
                                      .max_limbo = 4,
                                      .max_threads = 5,
                                      .updatable = true,
                                      .destroy = destroy_triple};
    EXPLORE(slotmap_create(&map, &options) == VBUF_OK);
    for (uint32_t i = 0; i < 3; i++) {
        newest[i] = 30 + i;
        struct triple triple = {newest[i], newest[i], newest[i]};
        EXPLORE(slotmap_insert(map, &triple, &handles[i]) == VBUF_OK);
    }
}

/* One write of two of them, and three of the first. */
static void write_triples(void)
{
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t number = 60 + 3 * i + (i < 2 ? 0 : i - 2);
        EXPLORE(slotmap_write(map, handles[number % 3], &(struct triple){number, number, number}) ==
                VBUF_OK);
        newest[number % 3] = number;
    }
}

static void read_triple(void)
{
    struct triple triple;
    EXPLORE(slotmap_read(map, handles[0], &triple) == VBUF_OK);
    EXPLORE(triple.first == triple.second && triple.second == triple.third);
}

static void finish_triples(void)
{
    void *value;
    slotmap_pin(map);
    EXPLORE(slotmap_remove(map, handles[1], &value) == VBUF_OK);
    EXPLORE(((struct triple *)value)->third == newest[1]);
    slotmap_unpin(map);
    slotmap_collect(map);
    EXPLORE(newest[1] == 0);
    slotmap_destroy(map);
    EXPLORE(newest[0] == 0 && newest[2] == 0);
}

const struct explore_scenario slotmap_value_triples = {
    .name = "slotmap.value-triples",
    .checks = "S4 S6",
    .set_up = set_up_triples,
    .threads = {write_triples, read_triple},
    .finish = finish_triples,
    .bounds = {.failures = EXPLORE_NONE, .together = 4, .stale = 3},
};
