/*
 * cvec_void_test.c - C5 in the middle of things: what others see and get while a push that found no room
 * waits for memory, its void ticket out.
 *
 * The hook is the place to stop a grower: it is called after the ticket was taken, and before the next
 * capacity is decided.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "cvec/cvec.h"
#include "cvec_fixture.h"
#include "team.h"

#define MOST 5000

struct scene {
    struct cvec *v;
    size_t len; /* the capacity: all of it is claimed */
    struct gate in_hook, go_on;
    bool grant; /* what the hook answers the grower that it stopped */
    enum vbuf_status pushed;
};

static _Thread_local bool stops_here; /* of the threads that grow, the one that is to be stopped */

static bool stop_in_hook(void *context, size_t bytes)
{
    struct scene *scene = context;
    (void)bytes;
    if (!stops_here)
        return true;
    gate_open(&scene->in_hook);
    gate_wait(&scene->go_on);
    return scene->grant;
}

/* A vector that is full up to its capacity. */
static void set_scene(struct scene *scene, bool grant)
{
    struct cvec_options options = {
        .element_size = 8, .max_len = MOST, .on_commit = stop_in_hook, .context = scene};
    *scene = (struct scene){.grant = grant};
    CHECK_STATUS(VBUF_OK, cvec_create(&scene->v, &options));
    CHECK_STATUS(VBUF_OK, cvec_reserve(scene->v, 1));
    scene->len = cvec_capacity(scene->v);
    push_numbers(scene->v, 0, scene->len);
}

static void push_and_stop(struct scene *scene)
{
    uint64_t value = 77;
    stops_here = true;
    scene->pushed = cvec_push(scene->v, &value, NULL);
    stops_here = false;
}

/* ---- nothing is claimed by a ticket that is void ---- */

static void look_meanwhile(void *context, unsigned thread)
{
    struct scene *scene = context;
    if (thread == 0) {
        push_and_stop(scene);
        return;
    }
    gate_wait(&scene->in_hook);
    struct cvec_report report = report_of(scene->v);
    CHECK_EQ(cvec_claimed(scene->v), scene->len);
    CHECK_EQ(report.claimed, scene->len);
    CHECK_EQ(cvec_len(scene->v), scene->len);
    CHECK_STATUS(VBUF_INVALID, cvec_publish(scene->v, scene->len, 1));
    gate_open(&scene->go_on);
}

TEST(cvec_void, C5_a_push_that_waits_for_memory_has_claimed_nothing)
{
    for (int grant = 0; grant < 2; grant++) {
        struct scene scene;
        set_scene(&scene, grant != 0);
        team_run(2, look_meanwhile, &scene);
        CHECK_STATUS(grant ? VBUF_OK : VBUF_NOMEM, scene.pushed);
        CHECK_EQ(cvec_claimed(scene.v), scene.len + (size_t)grant);
        cvec_destroy(scene.v);
    }
}

/* ---- nor does it take room from others ---- */

static void extend_meanwhile(void *context, unsigned thread)
{
    static const uint64_t values[MOST];
    struct scene *scene = context;
    if (thread == 0) {
        push_and_stop(scene);
        return;
    }
    gate_wait(&scene->in_hook);
    size_t first = SIZE_MAX;
    CHECK_STATUS(VBUF_OK,
                 cvec_extend(scene->v, values, MOST - scene->len, &first)); /* all there is */
    CHECK_EQ(first, scene->len);
    gate_open(&scene->go_on);
}

TEST(cvec_void, C5_C6_others_get_all_the_room_there_is)
{
    struct scene scene;
    set_scene(&scene, true);
    team_run(2, extend_meanwhile, &scene);
    CHECK_STATUS(VBUF_FULL, scene.pushed);
    CHECK_EQ(cvec_len(scene.v), MOST);
    cvec_destroy(scene.v);
}

/* ---- who is refused what another has got ---- */

static void reserve_meanwhile(void *context, unsigned thread)
{
    struct scene *scene = context;
    if (thread == 0) {
        push_and_stop(scene);
        return;
    }
    gate_wait(&scene->in_hook);
    CHECK_STATUS(VBUF_OK, cvec_reserve(scene->v, MOST));
    gate_open(&scene->go_on);
}

TEST(cvec_void, C5_nomem_only_iff_nobody_else_got_the_memory)
{
    struct scene scene;
    set_scene(&scene, false);
    team_run(2, reserve_meanwhile, &scene);
    CHECK_STATUS(VBUF_OK, scene.pushed);
    CHECK_EQ(cvec_len(scene.v), scene.len + 1);
    CHECK_EQ(*(uint64_t *)cvec_get(scene.v, scene.len), 77);
    cvec_destroy(scene.v);
}

/* ---- for how long ---- */

/* As if nearly 2^48 pushes were under way, all refused at the end, and then some more came. */
TEST(cvec_void, C5_void_tickets_do_not_count_up_for_ever)
{
    struct words v = make_words(100);
    push_numbers(v.vector, 0, 100);
    vbuf_u64_fetch_add_relaxed(&v.vector->len_, CVEC_INDEX_MASK_ - 100 - 2); /* three are left */
    for (int i = 0; i < 10; i++) {
        size_t index = 77;
        CHECK_STATUS(VBUF_FULL, words_push(&v, 1, &index));
        CHECK_EQ(index, 77);
        CHECK_EQ(words_claimed(&v), 100);
    }
    check_numbers(v.vector, 100);
    words_destroy(&v);
}
