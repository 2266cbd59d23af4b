/*
 * ebr_domain.c - how threads and domains come and go.
 *
 * Exit. A thread's records in all domains are found through the list of domains, under a lock that
 * only create, destroy and exit take. What it had retired goes to the domain's orphans, a stack
 * that is pushed to by CAS and emptied by exchange, so it has no ABA; whoever collects next, or fills a batch, adopts
 * them into a batch of record 0, which is sealed later than their unlink, as a tag must be. Not into one of its own:
 * it may sleep from then on, and others could not collect what it has.
 *
 * Threads without a record share record 0, which nobody pins: what they retire goes to the orphans. One
 * thread at a time, by a try-lock, adopts, seals and reclaims there.
 *
 * fork. The child keeps the calling thread's record, and record 0 unless another was at it. The others' are
 * cleared; what they had retired is abandoned: it may be half-updated. The word of shared pins does not tell whose they
 * are, nor does the thread know in which domains it has its own. So the child counts on: when its thread has none
 * left at all, what is left in each domain's count, but for pins that came later, is of threads that it has not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "ebr_domain.h"
#include "system.h"

#define DEFAULT_MAX_THREADS 1024
#define DEFAULT_MAX_READERS 1024
#define MOST_READERS (UINT32_C(1) << 20)
#define DEFAULT_STALL_LIMIT INT64_C(1000000000)
#define FIRST_EPOCH 2

/* All domains of the process. Locked by create, destroy and exit only. */
static struct registry domains = REGISTRY_EMPTY;
static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

/* ---- attach, detach, exit, fork ---- */

static enum vbuf_status commit_record(struct ebr_domain *domain, uint32_t number)
{
    /* Acquire pairs with the max below: the record, zeros as yet, is ours to write. */
    if (number < vbuf_u32_load_acquire(&domain->record_limit))
        return VBUF_OK;
    size_t end = vmem_align_up(EBR_RECORDS_OFFSET_ + ((size_t)number + 1) * EBR_RECORD_STRIDE_,
                               vmem_page_size());
    enum vbuf_status status = vbuf_commit(&domain->memory, 0, end);
    if (status != VBUF_OK)
        return status;
    size_t limit = (end - EBR_RECORDS_OFFSET_) / EBR_RECORD_STRIDE_;
    if (limit > (size_t)domain->max_threads + 1)
        limit = (size_t)domain->max_threads + 1;
    /* Pairs with the acquire in records_to_scan. */
    vbuf_u32_max_release(&domain->record_limit, (uint32_t)limit);
    return VBUF_OK;
}

enum vbuf_status ebr_attach(struct ebr_domain *domain)
{
    if (own_record(domain) != NULL)
        return VBUF_OK;
    if (vbuf_self_.shared_pins != 0)
        return VBUF_BUSY;
    uint32_t number = vbuf_thread_number();
    if (number == 0 || number > domain->max_threads)
        return VBUF_FULL;
    enum vbuf_status status = commit_record(domain, number);
    if (status != VBUF_OK)
        return status;
    struct record *record = record_at(domain, number);
    vbuf_u64_store_relaxed(&record->system_id, vbuf_sys_thread_id()); /* a figure */
    make_idle(domain, &record->head);
    vbuf_u32_fetch_add_acq_rel(&domain->registered, 1); /* before any pin; pairs with is_alone */
    return VBUF_OK;
}

static void detach_record(struct ebr_domain *domain, struct record *record)
{
    struct limbo_chain all = limbo_take_all(&record->limbo, link_entries, NULL);
    limbo_join(&all, &record->open, link_entries, NULL);
    ebr_push_orphans(domain, &all);
    vbuf_u64_store_release(&record->head.epoch, EBR_AWAY_); /* ends its pins */
    record->head.nest = 0;
    vbuf_u32_fetch_add_acq_rel(&domain->registered, UINT32_MAX); /* minus 1 */
}

enum vbuf_status ebr_detach(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record == NULL)
        return vbuf_self_.shared_pins == 0 ? VBUF_OK : VBUF_BUSY;
    if (is_pinned(&record->head) || vbuf_self_.reclaiming != 0)
        return VBUF_BUSY;
    detach_record(domain, record);
    return VBUF_OK;
}

static struct ebr_domain *domain_of_link(struct registry_link *link)
{
    return link == NULL ? NULL
                        : (struct ebr_domain *)(void *)((unsigned char *)link -
                                                        offsetof(struct ebr_domain, link));
}

static struct ebr_domain *first_domain(void)
{
    return domain_of_link(registry_first(&domains));
}

static struct ebr_domain *next_domain(const struct ebr_domain *domain)
{
    return domain_of_link(registry_next(&domain->link));
}

static void detach_everywhere(uint32_t number)
{
    (void)number;
    pthread_mutex_lock(&domains.lock);
    for (struct ebr_domain *domain = first_domain(); domain != NULL; domain = next_domain(domain)) {
        struct record *record = own_record(domain);
        if (record != NULL)
            detach_record(domain, record);
    }
    pthread_mutex_unlock(&domains.lock);
}

static uint32_t count_readers(const struct ebr_domain *domain)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < readers_to_scan(domain); i++)
        count += vbuf_u32_load_relaxed(&reader_at(domain, i)->taken_); /* of whoever is left */
    return count;
}

/* Clears a record, but for its figures: what one thread retired, another may have reclaimed. */
static void abandon(struct record *record)
{
    uint64_t retired = vbuf_u64_load_relaxed(&record->retired); /* the child has one thread */
    uint64_t reclaimed = vbuf_u64_load_relaxed(&record->reclaimed);
    memset(record, 0, sizeof *record);
    vbuf_u64_store_relaxed(&record->retired, retired);
    vbuf_u64_store_relaxed(&record->reclaimed, reclaimed);
}

void ebr_drop_inherited_pins(void)
{
    vbuf_self_.inherits = 0;
    pthread_mutex_lock(&domains.lock);
    for (struct ebr_domain *domain = first_domain(); domain != NULL; domain = next_domain(domain)) {
        /* Release: as if they had unpinned. */
        vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 0 - domain->inherited_pins);
        domain->inherited_pins = 0;
    }
    pthread_mutex_unlock(&domains.lock);
}

static void forget_other_threads(void)
{
    registry_heal(&domains);
    for (struct ebr_domain *domain = first_domain(); domain != NULL; domain = next_domain(domain)) {
        struct record *self = own_record(domain);
        /* Relaxed: the child has one thread. */
        uint32_t limit = vbuf_u32_load_relaxed(&domain->record_limit);
        for (uint32_t i = 0; i < limit; i++) {
            struct record *record = record_at(domain, i);
            bool whole = i == 0 && (vbuf_u32_load_relaxed(&record->taken) == 0 ||
                                    vbuf_self_.at_shared == domain);
            if (record != self && !whole)
                abandon(record);
        }
        if (self != NULL)
            vbuf_u64_store_relaxed(&self->system_id, vbuf_sys_thread_id());
        /* Readers are the fibres', and the fibres may all be here. */
        uint32_t readers = count_readers(domain);
        vbuf_u32_store_relaxed(&domain->readers, readers);
        vbuf_u32_store_relaxed(&domain->registered, (self != NULL) + readers);
        domain->inherited_pins = vbuf_u32_load_relaxed(&domain->shared_pins);
    }
    vbuf_self_.inherits = 1;
    if (vbuf_self_.shared_pins == 0)
        ebr_drop_inherited_pins();
}

static void install_hooks(void)
{
    vbuf_thread_on_exit(detach_everywhere);
    pthread_atfork(NULL, NULL, forget_other_threads);
}

/* Before main, so that no fork can come in between, and before others: their handlers find domains whole. */
__attribute__((constructor(101))) static void install_hooks_early(void)
{
    pthread_once(&hooks_once, install_hooks);
}

/* ---- readers ---- */

struct ebr_reader *ebr_thread_reader(struct ebr_domain *domain)
{
    if (ebr_attach(domain) != VBUF_OK)
        return NULL;
    return (struct ebr_reader *)(void *)ebr_self_(domain);
}

static enum vbuf_status commit_reader(struct ebr_domain *domain, uint32_t number)
{
    /* Acquire pairs with the max below: the reader, zeros as yet, may be written. */
    if (number < vbuf_u32_load_acquire(&domain->reader_limit))
        return VBUF_OK;
    size_t end = vmem_align_up(((size_t)number + 1) * READER_STRIDE, vmem_page_size());
    enum vbuf_status status = vbuf_commit(&domain->memory, domain->readers_offset, end);
    if (status != VBUF_OK)
        return status;
    size_t limit = end / READER_STRIDE;
    if (limit > domain->max_readers)
        limit = domain->max_readers;
    /* Pairs with the acquire in readers_to_scan. */
    vbuf_u32_max_release(&domain->reader_limit, (uint32_t)limit);
    return VBUF_OK;
}

/* Takes a reader that nobody has. There is one, below the limit: see ebr_reader_create. */
static struct ebr_reader *take_reader(struct ebr_domain *domain)
{
    uint32_t number = vbuf_u32_load_relaxed(&domain->reader_hint); /* a hint */
    for (;; number++) {
        uint32_t free = 0;
        number %= readers_to_scan(domain);
        struct ebr_reader *reader = reader_at(domain, number);
        /* A look first. The CAS acquires what the last holder did with it; pairs with the release in destroy. */
        if (vbuf_u32_load_relaxed(&reader->taken_) != 0 ||
            !vbuf_u32_cas_acq_rel(&reader->taken_, &free, 1))
            continue;
        vbuf_u32_store_relaxed(&domain->reader_hint, number + 1);
        return reader;
    }
}

enum vbuf_status ebr_reader_create(struct ebr_domain *domain, struct ebr_reader **reader)
{
    if (reader == NULL)
        return VBUF_INVALID;
    /*
     * Counted, then committed, then taken; given back in the opposite order. So of those that are committed more are
     * counted than taken, or somebody commits more: one is free, though others may take it, and leave another.
     */
    uint32_t count = vbuf_u32_load_relaxed(&domain->readers); /* the CAS decides */
    do {
        if (count == domain->max_readers)
            return VBUF_FULL;
    } while (!vbuf_u32_cas_acq_rel(&domain->readers, &count, count + 1)); /* pairs with destroy */
    enum vbuf_status status = commit_reader(domain, count);
    if (status != VBUF_OK) {
        vbuf_u32_fetch_add_acq_rel(&domain->readers, UINT32_MAX); /* minus 1 */
        return status;
    }
    struct ebr_reader *taken = take_reader(domain);
    make_idle(domain, &taken->record_);
    vbuf_u32_fetch_add_acq_rel(&domain->registered, 1); /* before any pin; pairs with is_alone */
    *reader = taken;
    return VBUF_OK;
}

void ebr_reader_destroy(struct ebr_domain *domain, struct ebr_reader *reader)
{
    if (reader == NULL)
        return;
    vbuf_u64_store_release(&reader->record_.epoch, EBR_AWAY_); /* ends its pins */
    reader->record_.nest = 0;
    vbuf_u32_fetch_add_acq_rel(&domain->registered, UINT32_MAX); /* minus 1 */
    size_t offset = (size_t)((unsigned char *)reader - (unsigned char *)reader_at(domain, 0));
    vbuf_u32_store_relaxed(&domain->reader_hint, (uint32_t)(offset / READER_STRIDE)); /* a hint */
    vbuf_u32_store_release(&reader->taken_, 0); /* pairs with the CAS in take_reader */
    vbuf_u32_fetch_add_acq_rel(&domain->readers, UINT32_MAX); /* minus 1; pairs with create */
}

/* ---- domains ---- */

/* Fills in defaults; false iff the options cannot be right. */
static bool complete_options(struct ebr_options *options)
{
    if (options->max_threads == 0)
        options->max_threads = DEFAULT_MAX_THREADS;
    if (options->max_readers == 0)
        options->max_readers = DEFAULT_MAX_READERS;
    if (options->stall_limit == 0)
        options->stall_limit = DEFAULT_STALL_LIMIT;
    return options->max_threads < VBUF_THREAD_NUMBERS && options->max_readers <= MOST_READERS &&
           options->stall_limit > 0;
}

enum vbuf_status ebr_domain_create(struct ebr_domain **result, const struct ebr_options *given)
{
    struct ebr_options options = {.max_threads = 0};
    if (given != NULL)
        options = *given;
    if (result == NULL || !complete_options(&options))
        return VBUF_INVALID;
    pthread_once(&hooks_once, install_hooks);
    /* A record for every number there can be: threads look at theirs, and find zeros. */
    size_t readers = vmem_align_up(
        EBR_RECORDS_OFFSET_ + (size_t)VBUF_THREAD_NUMBERS * EBR_RECORD_STRIDE_, vmem_page_size());
    struct vbuf memory;
    enum vbuf_status status =
        vbuf_init(&memory, &(struct vbuf_options){
                               .max = readers + (size_t)options.max_readers * READER_STRIDE,
                               .readable = true,
                           });
    if (status != VBUF_OK)
        return status;
    status = vbuf_commit(&memory, 0, EBR_RECORDS_OFFSET_ + EBR_RECORD_STRIDE_); /* with record 0 */
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    struct ebr_domain *domain = (struct ebr_domain *)(void *)memory.data;
    uint64_t full = vbuf_fence_kind() == VBUF_FENCE_FULL;
    vbuf_u64_store_relaxed(&domain->head.epoch, FIRST_EPOCH | full); /* not yet shared */
    vbuf_u32_store_relaxed(&domain->record_limit, 1);                /* likewise */
    domain->readers_offset = readers;
    domain->max_threads = options.max_threads;
    domain->max_readers = options.max_readers;
    domain->on_stall = options.on_stall;
    domain->context = options.context;
    domain->stall_limit = options.stall_limit;
    domain->memory = memory;
    registry_add(&domains, &domain->link);
    *result = domain;
    return VBUF_OK;
}

static bool somebody_is_pinned(struct ebr_domain *domain)
{
    uint32_t count = records_to_scan(domain);
    for (uint32_t i = 1; i < count; i++) {
        if (vbuf_u64_load_acquire(&record_at(domain, i)->head.epoch) > EBR_IDLE_) /* unpin */
            return true;
    }
    count = readers_to_scan(domain);
    for (uint32_t i = 0; i < count; i++) {
        if (vbuf_u64_load_acquire(&reader_at(domain, i)->record_.epoch) > EBR_IDLE_) /* likewise */
            return true;
    }
    return vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 0) != 0;
}

/* Makes all that is still retired ready in record 0: the caller has exclusive access. */
static void take_everything(struct ebr_domain *domain)
{
    struct record *all = record_at(domain, 0);
    ebr_adopt_orphans(domain, &all->limbo.ready);
    for (uint32_t i = 0; i < records_to_scan(domain); i++) {
        struct record *record = record_at(domain, i);
        struct limbo_chain part = limbo_take_all(&record->limbo, link_entries, NULL);
        limbo_join(&all->limbo.ready, &part, link_entries, NULL);
        limbo_join(&all->limbo.ready, &record->open, link_entries, NULL);
    }
}

enum vbuf_status ebr_domain_destroy(struct ebr_domain *domain)
{
    if (domain == NULL)
        return VBUF_OK;
    if (somebody_is_pinned(domain))
        return VBUF_BUSY;
    /* First: a thread that exits from here on must not find the domain, and its record, any more. */
    registry_remove(&domains, &domain->link);
    do {
        take_everything(domain);
    } while (ebr_reclaim_ready(record_at(domain, 0), SIZE_MAX) != 0); /* they may retire more */
    struct vbuf memory = domain->memory;
    vbuf_destroy(&memory);
    return VBUF_OK;
}
