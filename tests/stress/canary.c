/*
 * canary.c - cases that must fail: they break what the others rely on.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "stress.h"

static void destroy(void *context, void *value)
{
    (void)context;
    stress_value_poison(value);
}

/* Looks at a value after its unpin, when it has been removed and destroyed: nothing protects it. */
void stress_canary(void)
{
    struct slotmap *map;
    struct slotmap_options options = {
        .value_size = sizeof(struct stress_value), .max_len = 16, .destroy = destroy};
    if (!STRESS_CHECK(slotmap_create(&map, &options) == VBUF_OK, "create"))
        return;
    struct stress_value value;
    stress_value_make(&value, 7);
    slotmap_handle handle;
    STRESS_CHECK(slotmap_insert(map, &value, &handle) == VBUF_OK, "insert");
    slotmap_pin(map);
    const struct stress_value *kept = slotmap_get(map, handle);
    STRESS_CHECK(kept != NULL && stress_value_intact(kept, 7), "the canary died too early");
    slotmap_unpin(map);
    STRESS_CHECK(slotmap_remove(map, handle, NULL) == VBUF_OK, "remove");
    slotmap_collect(map);
    if (kept != NULL)
        STRESS_CHECK(stress_value_intact(kept, 7), "value 7 changed after its unpin");
    slotmap_destroy(map);
}

/* Makes no progress: the watchdog must say so. */
void stress_canary_hang(void)
{
    stress_patience(1);
    for (;;)
        stress_sleep(1000000000);
}
