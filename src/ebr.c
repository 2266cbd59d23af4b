/*
 * ebr.c - epoch-based reclamation with free read-side pins.
 *
 * A domain has a global epoch G and a record for every attached thread. G steps by 2; its bit 0
 * never changes and says that pins must issue a full fence, because the system has no process-wide
 * barrier.
 *
 *      G = 10        record 1: epoch 10   pinned, up to date
 *                    record 2: epoch 1    attached, not pinned: idle
 *                    record 3: epoch 8    pinned, behind: G stays until it unpins or repins
 *                    record 4: epoch 0    nobody's
 *
 *   pin       e = G, acquire; record = e; light fence.
 *   unpin     record = idle, release.
 *   retire    after the unlink: onto the thread's open batch. Every 64: seal.
 *   seal      tag = G by a read-modify-write, after the batch's last unlink.
 *   advance   unless alone: heavy fence. Then, unless some record is pinned, not at G: CAS G to G + 2.
 *   reclaim   a batch once G >= tag + 4.
 *
 * Why what is reclaimed cannot be in a reader's hands (E1). A section is pinned at e and holds X; X
 * was unlinked by U, and t tags the batch that X is in.
 *
 *   1. e > t. All writes of G are read-modify-writes, so they form one release sequence: U happens before
 *      the seal, before the CAS that made e, before the pin's acquire load, before the section's reads.
 *      They see U, and cannot find X. (A tag read by a plain load, or a relaxed load in the pin, would
 *      break this. A tag taken before the last unlink would too: the prototype did that.)
 *   2. e <= t, and the section's light fence comes after the heavy fence of the step t+2 -> t+4 in the
 *      thread's own order. U happens before the seal, before the CAS that made t+2, before that heavy
 *      fence, so the section's reads see U. (The tag may equal the epoch at which the step to t+2 is
 *      already under way, past its fence: that is why one step is not enough.)
 *   3. e <= t, and the light fence comes before that heavy fence. Then the section's store to its record
 *      is visible to the scan behind the heavy fence. It reads e != t+2 and refuses; or it reads what a
 *      later store left, and that store comes after the release in unpin (or repin), so the section's
 *      reads happen before the scan, the CAS, and the reclaim.
 *
 * The heavy fence may be skipped by who is alone. `registered` counts attached threads and is
 * changed and tested by read-modify-writes only: a thread that attaches before the test in the
 * word's order is seen by it; one that attaches after it reads from the test, and so sees U. The
 * same holds for the shared word in which threads without a record count their pins, which
 * therefore need no fence either. (A thread that holds a shared pin attaches to nothing before it
 * ends, so that unpin knows which kind it ends.)
 *
 * The scan covers vbuf_thread_numbers_used() records, read after the heavy fence. A thread raises
 * that figure before it attaches, so whoever has seen it registered, has seen it raised.
 *
 * Pacing. A barrier costs 1 to 30 us, and the scans a cache line for every thread. The next try is due
 * 32 times their measured cost later, so they take about 3 % of one processor whatever they cost; who
 * needs memory now (collect, a full limbo) does not wait. Who is alone pays neither, and has no pace.
 *
 * Exit. A thread's records in all domains are found through the list of domains, under a lock that
 * only create, destroy and exit take. What it had retired goes to the domain's orphans, a stack
 * that is pushed to by CAS and emptied by exchange, so it has no ABA; whoever collects next adopts
 * them into a batch of its own, which is sealed later than their unlink, as a tag must be.
 *
 * Threads without a record share record 0, which nobody pins: what they retire goes to the orphans, and
 * one of them at a time, by a try-lock, adopts, seals and reclaims there.
 *
 * fork. The child keeps the calling thread's record. The others' are cleared; what they had retired
 * is abandoned: it may be half-updated.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/ebr.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "ebr_internal.h"
#include "limbo.h"
#include "system.h"
#include "threads.h"
#include "vbuf/vbuf.h"

#define DEFAULT_MAX_THREADS 1024
#define BATCH 64
#define RECLAIMS_A_CALL 128 /* more than a batch, so that what waited for a stalled pin drains */
#define FIRST_EPOCH 2
#define BARRIER_INTERVAL 32 /* times its cost */
#define BARRIER_OUTLIER 4

#if defined(VBUF_DEBUG)
#define DEBUG_ASSERT(condition) assert(condition)
#else
#define DEBUG_ASSERT(condition) ((void)0)
#endif

/* A thread's record; the part that pins touch comes first. */
struct record {
    struct ebr_record_ head;
    /* Written by the owner, read by stats. */
    struct vbuf_atomic_u64 system_id;
    struct vbuf_atomic_u64 retired;
    struct vbuf_atomic_u64 reclaimed;
    /* Owner only; of record 0, which serves all threads without one, whoever has set `taken`. */
    struct limbo_chain open;
    struct limbo limbo;
    struct vbuf_atomic_u32 taken; /* record 0's try-lock; the others have their owner */
};
_Static_assert(sizeof(struct record) <= EBR_RECORD_STRIDE_, "a record fits its stride");

struct ebr_domain {
    /* Read by every pin; written by advance and attach. */
    struct ebr_domain_head_ head;
    /* Written by attach, detach and pins without a record. */
    struct vbuf_atomic_u32 registered __attribute__((aligned(VBUF_CACHE_LINE_PAIR)));
    struct vbuf_atomic_u32 shared_pins;
    struct vbuf_atomic_u32 shared_waiting; /* record 0 has something in limbo: a hint */
    struct vbuf_atomic_pointer orphans; /* struct ebr_entry: retired by threads without a record */
    /* Written by advance. */
    struct vbuf_atomic_u64 next_barrier; /* the time the next is due, ns */
    struct vbuf_atomic_u64 barrier_cost; /* a moving average, ns */
    struct vbuf_atomic_u64 advances;
    struct vbuf_atomic_u64 barriers;
    struct vbuf_atomic_u64 barriers_failed;
    struct vbuf_atomic_u64 barrier_ns;
    /* Fixed at creation, but for the list, which has its lock. */
    uint32_t max_threads;
    size_t records_offset;
    struct vbuf memory;
    struct ebr_domain *next;
    struct ebr_domain **back; /* the pointer that points here */
};

/* All domains of the process. Taken by create, destroy, exit and fork only. */
static pthread_mutex_t domains_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ebr_domain *domains;
static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

/* ---- helpers ---- */

static struct record *record_at(const struct ebr_domain *domain, uint32_t number)
{
    return (struct record *)(void *)(domain->head.records + (size_t)number * EBR_RECORD_STRIDE_);
}

/* The calling thread's record if it is attached. */
static struct record *own_record(const struct ebr_domain *domain)
{
    struct ebr_record_ *record;
    if (!ebr_self_(domain, &record) || record->nest == 0)
        return NULL;
    return (struct record *)(void *)record;
}

/* Whether the calling thread, whose record it is, is pinned. */
static bool is_pinned(const struct record *own)
{
    return vbuf_u64_load_relaxed(&own->head.epoch) > EBR_IDLE_;
}

static uint32_t records_to_scan(const struct ebr_domain *domain)
{
    uint32_t limit = vbuf_u32_load_acquire(&domain->head.record_limit); /* pairs with attach */
    uint32_t used = vbuf_thread_numbers_used();
    return limit < used ? limit : used;
}

static void link_entries(const void *context, uint64_t node, uint64_t next)
{
    (void)context;
    ((struct ebr_entry *)(uintptr_t)node)->next = (struct ebr_entry *)(uintptr_t)next;
}

static void push_entry(struct limbo_chain *chain, struct ebr_entry *entry)
{
    entry->next = (struct ebr_entry *)(uintptr_t)chain->first;
    if (chain->first == 0)
        chain->last = (uintptr_t)entry;
    chain->first = (uintptr_t)entry;
    chain->count++;
}

/* ---- advance ---- */

static bool somebody_is_behind(const struct ebr_domain *domain, uint64_t epoch)
{
    uint32_t count = records_to_scan(domain);
    for (uint32_t i = 1; i < count; i++) {
        /* Pairs with the releases in unpin and repin. */
        uint64_t pinned = vbuf_u64_load_acquire(&record_at(domain, i)->head.epoch);
        if (pinned > EBR_IDLE_ && pinned != epoch)
            return true;
    }
    return false;
}

/* Whether the calling thread is the only one that can be pinned. */
static bool is_alone(struct ebr_domain *domain)
{
    uint32_t self = own_record(domain) != NULL;
    /* Relaxed: a look, to spare the line; being wrong this way only costs a barrier. */
    if (vbuf_u32_load_relaxed(&domain->registered) > self)
        return false;
    /* An RMW: a thread that registers after it in the word's order reads from it, and sees U. */
    return vbuf_u32_fetch_add_acq_rel(&domain->registered, 0) == self;
}

bool ebr_is_crowded(struct ebr_domain *domain)
{
    return vbuf_u32_load_relaxed(&domain->registered) > 1; /* a hint */
}

/* Takes the turn to try the next step, if it is due. Relaxed: pace only, nothing relies on it. */
static bool take_turn(struct ebr_domain *domain, int64_t now)
{
    uint64_t due = vbuf_u64_load_relaxed(&domain->next_barrier);
    uint64_t cost = vbuf_u64_load_relaxed(&domain->barrier_cost);
    return (int64_t)due <= now &&
           vbuf_u64_cas_acquire(&domain->next_barrier, &due,
                                (uint64_t)now + (cost + 1) * BARRIER_INTERVAL);
}

static void note_barrier(struct ebr_domain *domain, int64_t begin, int64_t end)
{
    uint64_t cost = (uint64_t)(end - begin);
    vbuf_u64_fetch_add_relaxed(&domain->barriers, 1); /* figures only */
    vbuf_u64_fetch_add_relaxed(&domain->barrier_ns, cost);
    uint64_t average = vbuf_u64_load_relaxed(&domain->barrier_cost);
    if (average != 0 && cost > BARRIER_OUTLIER * average) /* preempted, rather than dear */
        cost = BARRIER_OUTLIER * average;
    average = average == 0 ? cost : (average * 7 + cost) / 8;
    vbuf_u64_store_relaxed(&domain->barrier_cost, average);
    vbuf_u64_store_relaxed(&domain->next_barrier, (uint64_t)end + average * BARRIER_INTERVAL);
}

/* The heavy fence, at its pace, after a look whether it is worth its price. */
static enum ebr_advance issue_barrier(struct ebr_domain *domain, uint64_t epoch, bool pressing)
{
    int64_t begin = vbuf_sys_now();
    if (!take_turn(domain, begin) && !pressing)
        return EBR_HELD;
    if (somebody_is_behind(domain, epoch))
        return EBR_HELD;
    if (!vbuf_fence_heavy()) {
        vbuf_u64_fetch_add_relaxed(&domain->barriers_failed, 1); /* a figure */
        return EBR_REFUSED;
    }
    note_barrier(domain, begin, vbuf_sys_now());
    return EBR_ADVANCED;
}

enum ebr_advance ebr_advance(struct ebr_domain *domain, bool pressing)
{
    uint64_t epoch = ebr_epoch(domain);
    struct record *self = own_record(domain);
    if (self != NULL) {
        uint64_t pinned = vbuf_u64_load_relaxed(&self->head.epoch); /* our own */
        if (pinned > EBR_IDLE_ && pinned != epoch)
            return EBR_HELD;
    }
    if (!is_alone(domain)) {
        enum ebr_advance paid = issue_barrier(domain, epoch, pressing);
        if (paid != EBR_ADVANCED)
            return paid;
    }
    if (somebody_is_behind(domain, epoch))
        return EBR_HELD;
    /* An RMW, as in is_alone: a shared pin counted after it sees U. */
    if (vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 0) != 0)
        return EBR_HELD;
    /* Passes on what the scan acquired; pairs with the acquires of the epoch everywhere. */
    if (vbuf_u64_cas_acq_rel(&domain->head.epoch, &epoch, epoch + 2))
        vbuf_u64_fetch_add_relaxed(&domain->advances, 1); /* a figure */
    return EBR_ADVANCED;
}

/* ---- retire and reclaim ---- */

/* Gives a chain to whoever collects next. */
static void push_orphans(struct ebr_domain *domain, struct limbo_chain *chain)
{
    if (chain->first == 0)
        return;
    struct ebr_entry *last = (struct ebr_entry *)(uintptr_t)chain->last;
    void *seen = vbuf_pointer_load_relaxed(&domain->orphans); /* the CAS decides */
    do {
        last->next = seen;
        /* Release: the entries are written; pairs with the exchange in adopt_orphans. */
    } while (!vbuf_pointer_cas_acq_rel(&domain->orphans, &seen, (void *)(uintptr_t)chain->first));
    *chain = (struct limbo_chain){0, 0, 0};
}

/* Takes all orphans onto an open batch, which is sealed after this. */
static void adopt_orphans(struct ebr_domain *domain, struct limbo_chain *open)
{
    if (vbuf_pointer_load_relaxed(&domain->orphans) == NULL) /* a look, to spare the exchange */
        return;
    struct ebr_entry *entry = vbuf_pointer_exchange_acq_rel(&domain->orphans, NULL);
    while (entry != NULL) {
        struct ebr_entry *next = entry->next;
        push_entry(open, entry);
        entry = next;
    }
}

/* Runs up to `most` reclaim functions of what is ready. They may retire more. */
static size_t reclaim_ready(struct record *record, size_t most)
{
    struct limbo_chain *ready = &record->limbo.ready;
    size_t count = 0;
    for (; count < most && ready->first != 0; count++) {
        struct ebr_entry *entry = (struct ebr_entry *)(uintptr_t)ready->first;
        ready->first = (uintptr_t)entry->next;
        if (--ready->count == 0)
            ready->first = ready->last = 0;
        vbuf_self_.reclaiming++;
        entry->reclaim(entry);
        vbuf_self_.reclaiming--;
        /* Release: it was retired before; pairs with ebr_stats. Record 0 is ours for the moment. */
        vbuf_u64_owner_add_release(&record->reclaimed, 1);
    }
    return count;
}

static void seal(struct ebr_domain *domain, struct record *record)
{
    if (record->open.first != 0)
        limbo_seal(&record->limbo, &record->open, ebr_seal_tag(domain), link_entries, NULL);
}

/* Adopts, seals, takes up to `steps` steps of the epoch, reclaims. The record is the caller's. */
static size_t collect_into(struct ebr_domain *domain, struct record *record, int steps, size_t most)
{
    adopt_orphans(domain, &record->open);
    seal(domain, record);
    /* At their pace, unless all is to be reclaimed. */
    while (steps-- > 0 && ebr_advance(domain, most == SIZE_MAX) == EBR_ADVANCED) {
    }
    limbo_settle(&record->limbo, ebr_epoch(domain), link_entries, NULL);
    return reclaim_ready(record, most);
}

/* The same for record 0, unless another thread is at it. */
static size_t collect_into_shared(struct ebr_domain *domain, int steps, size_t most)
{
    struct record *shared = record_at(domain, 0);
    /* Acquire and release: the record goes from thread to thread. */
    if (vbuf_u32_exchange_acq_rel(&shared->taken, 1) != 0)
        return 0;
    size_t count = collect_into(domain, shared, steps, most);
    vbuf_u32_store_relaxed(&domain->shared_waiting, !limbo_is_empty(&shared->limbo)); /* a hint */
    vbuf_u32_store_release(&shared->taken, 0);
    return count;
}

void ebr_retire(struct ebr_domain *domain, struct ebr_entry *entry,
                void (*reclaim)(struct ebr_entry *entry))
{
    entry->reclaim = reclaim;
    struct record *record = own_record(domain);
    if (record == NULL && ebr_attach(domain) == VBUF_OK)
        record = own_record(domain);
    bool batch_is_full;
    if (record != NULL) {
        push_entry(&record->open, entry);
        vbuf_u64_owner_add_relaxed(&record->retired, 1); /* a figure */
        batch_is_full = record->open.count >= BATCH;
    } else {
        struct limbo_chain alone = {0, 0, 0};
        push_entry(&alone, entry);
        /* Relaxed: a figure, and a pace. Before the push: counted before it can be reclaimed. */
        uint64_t count = vbuf_u64_fetch_add_relaxed(&record_at(domain, 0)->retired, 1);
        push_orphans(domain, &alone);
        batch_is_full = count % BATCH == BATCH - 1;
    }
    if (!batch_is_full || vbuf_self_.reclaiming != 0)
        return;
    size_t count = 0;
    if (record != NULL)
        count = collect_into(domain, record, 1, RECLAIMS_A_CALL);
    if (record == NULL || vbuf_u32_load_relaxed(&domain->shared_waiting) != 0) /* a hint */
        collect_into_shared(domain, record == NULL, RECLAIMS_A_CALL - count);
}

size_t ebr_collect(struct ebr_domain *domain)
{
    const int all = LIMBO_GRACE / 2;
    if (vbuf_self_.reclaiming != 0)
        return 0;
    struct record *own = own_record(domain);
    if (own == NULL)
        return collect_into_shared(domain, all, SIZE_MAX);
    /* The shared record's batch is sealed before the steps are taken, and looked at after. */
    size_t count = collect_into_shared(domain, 0, SIZE_MAX);
    count += collect_into(domain, own, all, SIZE_MAX);
    return count + collect_into_shared(domain, 0, SIZE_MAX);
}

/* ---- attach, detach, exit, fork ---- */

static enum vbuf_status commit_record(struct ebr_domain *domain, uint32_t number)
{
    /* Relaxed: a stale figure only makes us commit again. */
    if (number < vbuf_u32_load_relaxed(&domain->head.record_limit))
        return VBUF_OK;
    size_t end = vmem_align_up(((size_t)number + 1) * EBR_RECORD_STRIDE_, vmem_page_size());
    enum vbuf_status status = vbuf_commit(&domain->memory, domain->records_offset, end);
    if (status != VBUF_OK)
        return status;
    size_t limit = end / EBR_RECORD_STRIDE_;
    if (limit > (size_t)domain->max_threads + 1)
        limit = (size_t)domain->max_threads + 1;
    /* Pairs with the acquire in records_to_scan. */
    vbuf_u32_max_release(&domain->head.record_limit, (uint32_t)limit);
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
    vbuf_u64_store_relaxed(&record->head.epoch, EBR_IDLE_);           /* a scan skips both */
    record->head.nest = 1;
    vbuf_u32_fetch_add_acq_rel(&domain->registered, 1); /* before any pin; pairs with is_alone */
    return VBUF_OK;
}

static void detach_record(struct ebr_domain *domain, struct record *record)
{
    struct limbo_chain all = limbo_take_all(&record->limbo, link_entries, NULL);
    limbo_join(&all, &record->open, link_entries, NULL);
    push_orphans(domain, &all);
    vbuf_u64_store_release(&record->head.epoch, EBR_UNATTACHED_); /* ends its pins */
    record->head.nest = 0;
    vbuf_u32_fetch_add_acq_rel(&domain->registered, UINT32_MAX); /* minus 1 */
}

enum vbuf_status ebr_detach(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record == NULL)
        return vbuf_self_.shared_pins == 0 ? VBUF_OK : VBUF_BUSY;
    if (is_pinned(record) || vbuf_self_.reclaiming != 0)
        return VBUF_BUSY;
    detach_record(domain, record);
    return VBUF_OK;
}

static void detach_everywhere(uint32_t number)
{
    (void)number;
    pthread_mutex_lock(&domains_lock);
    for (struct ebr_domain *domain = domains; domain != NULL; domain = domain->next) {
        struct record *record = own_record(domain);
        if (record != NULL)
            detach_record(domain, record);
    }
    pthread_mutex_unlock(&domains_lock);
}

static void lock_domains(void)
{
    pthread_mutex_lock(&domains_lock);
}

static void unlock_domains(void)
{
    pthread_mutex_unlock(&domains_lock);
}

static void forget_other_threads(void)
{
    for (struct ebr_domain *domain = domains; domain != NULL; domain = domain->next) {
        struct record *self = own_record(domain);
        /* Relaxed: the child has one thread. */
        uint32_t limit = vbuf_u32_load_relaxed(&domain->head.record_limit);
        for (uint32_t i = 0; i < limit; i++) {
            if (record_at(domain, i) != self)
                memset(record_at(domain, i), 0, sizeof(struct record));
        }
        if (self != NULL)
            vbuf_u64_store_relaxed(&self->system_id, vbuf_sys_thread_id());
        vbuf_u32_store_relaxed(&domain->registered, self != NULL);
        if (vbuf_self_.shared_pins == 0)
            vbuf_u32_store_relaxed(&domain->shared_pins, 0);
    }
    pthread_mutex_unlock(&domains_lock);
}

static void install_hooks(void)
{
    vbuf_thread_on_exit(detach_everywhere);
    pthread_atfork(lock_domains, unlock_domains, forget_other_threads);
}

/* Before main, so that no fork can come in between. */
__attribute__((constructor)) static void install_hooks_early(void)
{
    pthread_once(&hooks_once, install_hooks);
}

/* ---- pins, the slow way ---- */

void ebr_pin_slow_(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record == NULL && ebr_attach(domain) == VBUF_OK)
        record = own_record(domain);
    if (record != NULL) {
        if (is_pinned(record))
            record->head.nest++;
        else
            ebr_announce_(domain, &record->head);
        return;
    }
    vbuf_self_.shared_pins++;
    /* Pairs with the RMW in ebr_advance: it sees us, or we see all that was unlinked before it. */
    vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 1);
}

void ebr_unpin_slow_(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record != NULL) {                    /* its outermost pin is ended inline */
        DEBUG_ASSERT(record->head.nest > 1); /* else: unpin without pin */
        record->head.nest--;
        return;
    }
    if (vbuf_self_.shared_pins == 0) /* a destructor at thread exit: the exit has ended its pin */
        return;
    vbuf_self_.shared_pins--;
    /* Release: what was read under the pin is done; pairs with the RMW in ebr_advance. */
    vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, UINT32_MAX); /* minus 1 */
}

/* ---- public ---- */

enum vbuf_status ebr_domain_create(struct ebr_domain **result, const struct ebr_options *options)
{
    uint32_t max_threads = options != NULL ? options->max_threads : 0;
    if (max_threads == 0)
        max_threads = DEFAULT_MAX_THREADS;
    if (result == NULL || max_threads >= VBUF_THREAD_NUMBERS)
        return VBUF_INVALID;
    pthread_once(&hooks_once, install_hooks);
    size_t header = vmem_align_up(sizeof(struct ebr_domain), vmem_page_size());
    struct vbuf memory;
    enum vbuf_status status =
        vbuf_init(&memory, &(struct vbuf_options){.max = header + ((size_t)max_threads + 1) *
                                                                      EBR_RECORD_STRIDE_});
    if (status != VBUF_OK)
        return status;
    status = vbuf_commit(&memory, 0, header + EBR_RECORD_STRIDE_); /* with record 0 */
    if (status != VBUF_OK) {
        vbuf_destroy(&memory);
        return status;
    }
    struct ebr_domain *domain = (struct ebr_domain *)(void *)memory.data;
    uint64_t full = vbuf_fence_kind() == VBUF_FENCE_FULL;
    vbuf_u64_store_relaxed(&domain->head.epoch, FIRST_EPOCH | full); /* not yet shared */
    domain->head.records = memory.data + header;
    domain->records_offset = header;
    vbuf_u32_store_relaxed(&domain->head.record_limit, 1); /* likewise */
    domain->max_threads = max_threads;
    domain->memory = memory;
    pthread_mutex_lock(&domains_lock);
    domain->next = domains;
    domain->back = &domains;
    if (domains != NULL)
        domains->back = &domain->next;
    domains = domain;
    pthread_mutex_unlock(&domains_lock);
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
    return vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 0) != 0;
}

/* Makes all that is still retired ready in record 0: the caller has exclusive access. */
static void take_everything(struct ebr_domain *domain)
{
    struct record *all = record_at(domain, 0);
    adopt_orphans(domain, &all->limbo.ready);
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
    pthread_mutex_lock(&domains_lock);
    *domain->back = domain->next;
    if (domain->next != NULL)
        domain->next->back = domain->back;
    pthread_mutex_unlock(&domains_lock);
    do {
        take_everything(domain);
    } while (reclaim_ready(record_at(domain, 0), SIZE_MAX) != 0); /* they may retire more */
    struct vbuf memory = domain->memory;
    vbuf_destroy(&memory);
    return VBUF_OK;
}

enum vbuf_status ebr_synchronize(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (vbuf_self_.shared_pins != 0 || vbuf_self_.reclaiming != 0 ||
        (record != NULL && is_pinned(record)))
        return VBUF_BUSY;
    if (record != NULL)
        seal(domain, record); /* what the caller retired before is reclaimed as well */
    uint64_t target = ebr_seal_tag(domain) + LIMBO_GRACE;
    for (unsigned round = 0; ebr_epoch(domain) < target; round++) {
        enum ebr_advance step = ebr_advance(domain, true);
        if (step == EBR_REFUSED)
            return VBUF_BUSY;
        if (step == EBR_HELD)
            vbuf_sys_relax(round);
    }
    ebr_collect(domain);
    return VBUF_OK;
}

enum vbuf_status ebr_stats(struct ebr_domain *domain, struct ebr_report *stats)
{
    if (stats == NULL)
        return VBUF_INVALID;
    /* Relaxed, but for the epochs: figures order nothing. */
    *stats = (struct ebr_report){
        .epoch = ebr_epoch(domain),
        .advances = vbuf_u64_load_relaxed(&domain->advances),
        .barriers = vbuf_u64_load_relaxed(&domain->barriers),
        .barriers_failed = vbuf_u64_load_relaxed(&domain->barriers_failed),
        .barrier_ns = vbuf_u64_load_relaxed(&domain->barrier_ns),
        .threads = vbuf_u32_load_relaxed(&domain->registered),
        .overflow_pins = vbuf_u32_load_relaxed(&domain->shared_pins),
    };
    stats->fence = stats->epoch & 1 ? VBUF_FENCE_FULL : VBUF_FENCE_PROCESS_WIDE;
    uint32_t count = records_to_scan(domain);
    for (uint32_t i = 0; i < count; i++) {
        struct record *record = record_at(domain, i);
        stats->reclaimed +=
            vbuf_u64_load_acquire(&record->reclaimed); /* pairs with reclaim_ready */
        uint64_t pinned = vbuf_u64_load_acquire(&record->head.epoch);
        if (pinned > EBR_IDLE_ && pinned < stats->epoch &&
            (stats->stalled_thread == 0 || pinned < stats->stalled_epoch)) {
            stats->stalled_thread = vbuf_u64_load_relaxed(&record->system_id);
            stats->stalled_epoch = pinned;
        }
    }
    /* Last, and of all that there are by now: never less than what was counted as reclaimed. */
    count = records_to_scan(domain);
    for (uint32_t i = 0; i < count; i++)
        stats->retired += vbuf_u64_load_relaxed(&record_at(domain, i)->retired);
    return VBUF_OK;
}
