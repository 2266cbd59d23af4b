/*
 * threads.c - dense thread numbers.
 *
 * The numbers are bits of a static map: taking is a CAS that sets the lowest clear bit, giving back
 * clears it. Both are acq_rel read-modify-writes of the same word, so whoever takes a number sees
 * everything its last holder did under it; nothing else orders one holder after another.
 *
 *      taken[0]: 1 1 0 1 ...        bit i of word w is number 64 w + i; number 0 is never free
 *
 * A thread's exit is noticed by the destructor of a pthread key. Destructors of other keys may run
 * later and use the library again: the thread then takes a number again, and the system calls us
 * again. Without a key, or without memory for its value, threads get no number: exits could not be
 * noticed.
 *
 * After fork the child has one thread and a copy of the map. The numbers of the threads that are
 * not there any more stay taken for good: what they kept may be half-updated.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "threads.h"

#include <pthread.h>

#define WORDS (VBUF_THREAD_NUMBERS / 64)

__thread struct vbuf_thread_ vbuf_self_;

static struct vbuf_atomic_u64 taken[WORDS] = {{1}};
static struct vbuf_atomic_u32 used = {1};
static struct vbuf_atomic_pointer exit_hook;

static pthread_key_t exit_key;
static bool exit_key_works;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

static bool take(uint32_t number)
{
    struct vbuf_atomic_u64 *word = &taken[number / 64];
    uint64_t bit = UINT64_C(1) << number % 64;
    uint64_t seen = vbuf_u64_load_relaxed(word); /* the CAS decides */
    while (!(seen & bit)) {
        if (vbuf_u64_cas_acq_rel(word, &seen, seen | bit)) /* pairs with give_back_number */
            return true;
    }
    return false;
}

static uint32_t take_lowest(void)
{
    for (uint32_t w = 0; w < WORDS; w++) {
        uint64_t seen = vbuf_u64_load_relaxed(&taken[w]); /* a hint; take() decides */
        while (~seen != 0) {
            uint32_t number = w * 64 + (uint32_t)__builtin_ctzll(~seen);
            if (take(number))
                return number;
            seen = vbuf_u64_load_relaxed(&taken[w]); /* likewise */
        }
    }
    return 0;
}

static void give_back_number(uint32_t number)
{
    uint64_t bit = UINT64_C(1) << number % 64;
    /* The bit is set and ours, so subtracting clears it. Pairs with the CAS in take(). */
    vbuf_u64_fetch_add_acq_rel(&taken[number / 64], UINT64_C(0) - bit);
}

static void give_back(void *value)
{
    (void)value;
    uint32_t number = vbuf_self_.id;
    /* Acquire pairs with the release in vbuf_thread_on_exit. */
    void (*hook)(uint32_t) = (void (*)(uint32_t))vbuf_pointer_load_acquire(&exit_hook);
    if (hook != NULL)
        hook(number);
    vbuf_thread_set_number(0);
    /* It may exit inside a callback. */
    vbuf_self_.reclaiming = 0;
    vbuf_self_.hooked = 0;
    vbuf_self_.at_shared = NULL;
    give_back_number(number);
}

static void make_exit_key(void)
{
    exit_key_works = pthread_key_create(&exit_key, give_back) == 0;
}

/* Before main: a thread that makes it while another forks would not go on in the child, and not everywhere does the child. */
__attribute__((constructor(101))) static void make_exit_key_early(void)
{
    pthread_once(&exit_key_once, make_exit_key);
}

uint32_t vbuf_thread_number(void)
{
    if (vbuf_self_.id != 0)
        return vbuf_self_.id;
    pthread_once(&exit_key_once, make_exit_key);
    uint32_t number = exit_key_works ? take_lowest() : 0;
    if (number == 0)
        return 0;
    if (pthread_setspecific(exit_key, &vbuf_self_) != 0) {
        give_back_number(number);
        return 0;
    }
    /* Before the number is used for anything: a scan that must see us reads `used` after. */
    vbuf_u32_max_release(&used, number + 1);
    vbuf_thread_set_number(number);
    return number;
}

uint32_t vbuf_thread_numbers_used(void)
{
    return vbuf_u32_load_acquire(&used); /* pairs with max_release above */
}

void vbuf_thread_on_exit(void (*hook)(uint32_t number))
{
    vbuf_pointer_store_release(&exit_hook, (void *)hook);
}
