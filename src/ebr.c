/*
 * ebr.c - epoch-based reclamation with free read-side pins.
 *
 * A domain has a global epoch G and a record for every attached thread. G steps by 2; its bit 0
 * never changes and says that pins must issue a full fence, because the system has no process-wide
 * barrier. A record is then never IDLE, which is what an inlined pin looks for, and nests otherwise than an inlined
 * unpin expects: both go the slow way, and the fast one does not ask.
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
 * Readers are records that belong to no thread: taken from the domain by CAS, registered, scanned and pinned as
 * threads' are. Who uses one may change; what orders one user after another orders its pins too.
 *
 * A thread finds its record at a fixed place, its number's, without asking whether there is one: a domain's memory
 * reads as zeros where it is not committed (vmem.h), and zeros are nobody's record. Measured, a pin and a get of a
 * value in the cache: 1.73 times indexing the slots before, 1.37 after (bit 0, the limit and two pointers
 * asked for nothing any more).
 *
 * The scan covers vbuf_thread_numbers_used() records, read after the heavy fence. A thread raises
 * that figure before it attaches, so whoever has seen it registered, has seen it raised.
 *
 * Pacing. A barrier costs 1 to 30 us, and the scans a cache line for every thread. The next try is due
 * 32 times their measured cost later, so they take about 3 % of one processor whatever they cost; who
 * needs memory now (collect, a full limbo) does not wait. Who is alone pays neither, and has no pace.
 *
 * How threads and domains come and go is in ebr_domain.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <assert.h>

#include "ebr_domain.h"
#include "system.h"

#define BATCH 64
#define RECLAIMS_A_CALL 128 /* more than a batch, so that what waited for a stalled pin drains */
#define BARRIER_INTERVAL 32 /* times its cost */
#define BARRIER_OUTLIER 4

#if defined(VBUF_DEBUG)
#define DEBUG_ASSERT(condition) assert(condition)
#else
#define DEBUG_ASSERT(condition) ((void)0)
#endif

/* ---- advance ---- */

static bool is_behind(const struct ebr_record_ *record, uint64_t epoch)
{
    /* Pairs with the releases in unpin and repin. */
    uint64_t pinned = vbuf_u64_load_acquire(&record->epoch);
    return pinned > EBR_IDLE_ && pinned != epoch;
}

static bool somebody_is_behind(const struct ebr_domain *domain, uint64_t epoch)
{
    uint32_t count = records_to_scan(domain);
    for (uint32_t i = 1; i < count; i++) {
        if (is_behind(&record_at(domain, i)->head, epoch))
            return true;
    }
    count = readers_to_scan(domain);
    for (uint32_t i = 0; i < count; i++) {
        if (is_behind(&reader_at(domain, i)->record_, epoch))
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

bool ebr_may_be_pinned(const struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    return (record != NULL && is_pinned(&record->head)) || vbuf_self_.shared_pins != 0 ||
           readers_to_scan(domain) != 0;
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

/*
 * The epoch is this, or more, by now. Both only go up, the time first: so the time that is found with an epoch is not
 * from before it, however long who notes it was stopped.
 */
static void note_epoch(struct ebr_domain *domain, uint64_t epoch)
{
    vbuf_u64_max_release(&domain->held_since, (uint64_t)vbuf_sys_now());
    /* Pairs with the acquires in note_hold and ebr_stats. */
    vbuf_u64_max_release(&domain->held_epoch, epoch);
}

/* The step itself, at `epoch`. */
static enum ebr_advance try_to_advance(struct ebr_domain *domain, uint64_t epoch, bool pressing)
{
    struct record *self = own_record(domain);
    if (self != NULL) {
        uint64_t pinned = vbuf_u64_load_relaxed(&self->head.epoch); /* our own */
        if (pinned > EBR_IDLE_ && pinned != epoch)
            return EBR_HELD;
    }
    bool alone = is_alone(domain);
    if (!alone) {
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
    if (vbuf_u64_cas_acq_rel(&domain->head.epoch, &epoch, epoch + 2)) {
        vbuf_u64_fetch_add_relaxed(&domain->advances, 1); /* figures */
        if (!alone) /* who is, does not look at the clock for it: the first hold does */
            note_epoch(domain, epoch + 2);
    }
    return EBR_ADVANCED;
}

/* Somebody holds the epoch back. Relaxed: figures, and a pace. */
static void note_hold(struct ebr_domain *domain, uint64_t epoch)
{
    uint64_t noted = vbuf_u64_load_acquire(&domain->held_epoch); /* pairs with note_epoch */
    if (noted < epoch)
        note_epoch(domain, epoch);
    if (noted != epoch || domain->on_stall == NULL)
        return;
    uint64_t since = vbuf_u64_load_relaxed(&domain->held_since);
    uint64_t now = (uint64_t)vbuf_sys_now();
    uint64_t told = vbuf_u64_load_relaxed(&domain->stall_told);
    uint64_t from = told > since ? told : since;
    if (now - from < (uint64_t)domain->stall_limit || now < from ||
        !vbuf_u64_cas_acquire(&domain->stall_told, &told, now))
        return;
    struct ebr_report stats;
    ebr_stats(domain, &stats);
    if (stats.stalled_ns == 0)
        return;
    vbuf_self_.hooked++;
    domain->on_stall(domain->context, &stats);
    vbuf_self_.hooked--;
}

enum ebr_advance ebr_advance(struct ebr_domain *domain, bool pressing)
{
    uint64_t epoch = ebr_epoch(domain);
    enum ebr_advance result = try_to_advance(domain, epoch, pressing);
    if (VBUF_LIKELY(result != EBR_HELD))
        return result;
    if (ebr_epoch(domain) != epoch) /* another was faster, and what looked behind may be ahead */
        return EBR_ADVANCED;
    note_hold(domain, epoch);
    return EBR_HELD;
}

/* ---- retire and reclaim ---- */

static void push_entry(struct limbo_chain *chain, struct ebr_entry *entry)
{
    entry->next = (struct ebr_entry *)(uintptr_t)chain->first;
    if (chain->first == 0)
        chain->last = (uintptr_t)entry;
    chain->first = (uintptr_t)entry;
    chain->count++;
}

void ebr_push_orphans(struct ebr_domain *domain, struct limbo_chain *chain)
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

void ebr_adopt_orphans(struct ebr_domain *domain, struct limbo_chain *open)
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

size_t ebr_reclaim_ready(struct record *record, size_t most)
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

/* Seals, takes up to `steps` steps of the epoch, reclaims. The record is the caller's. */
static size_t collect_into(struct ebr_domain *domain, struct record *record, int steps, size_t most)
{
    seal(domain, record);
    /* At their pace, unless all is to be reclaimed. */
    while (steps-- > 0 && ebr_advance(domain, most == SIZE_MAX) == EBR_ADVANCED) {
    }
    limbo_settle(&record->limbo, ebr_epoch(domain), link_entries, NULL);
    return ebr_reclaim_ready(record, most);
}

/* The same for record 0, with the orphans, unless another thread is at it. */
static size_t collect_into_shared(struct ebr_domain *domain, int steps, size_t most)
{
    struct record *shared = record_at(domain, 0);
    /* Acquire and release: the record goes from thread to thread. */
    if (vbuf_u32_exchange_acq_rel(&shared->taken, 1) != 0)
        return 0;
    const struct ebr_domain *outer = vbuf_self_.at_shared; /* of which we may be in on_stall */
    vbuf_self_.at_shared = domain;
    ebr_adopt_orphans(domain, &shared->open); /* here, where anybody finds them who collects */
    size_t count = collect_into(domain, shared, steps, most);
    vbuf_u32_store_relaxed(&domain->shared_waiting, !limbo_is_empty(&shared->limbo)); /* a hint */
    vbuf_self_.at_shared = outer;
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
        ebr_push_orphans(domain, &alone);
        batch_is_full = count % BATCH == BATCH - 1;
    }
    if (!batch_is_full || vbuf_self_.reclaiming != 0)
        return;
    size_t count = 0;
    if (record != NULL)
        count = collect_into(domain, record, 1, RECLAIMS_A_CALL);
    if (record == NULL || vbuf_u32_load_relaxed(&domain->shared_waiting) != 0 || /* hints, both */
        vbuf_pointer_load_relaxed(&domain->orphans) != NULL)
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

/* ---- pins, the slow way ---- */

/* A record that has its outermost pin, and is not IDLE: the fence is a full one. */
static void announce(const struct ebr_domain *domain, struct ebr_record_ *record)
{
    ebr_announce_(domain, record);
    if (is_full_fenced(domain))
        vbuf_fence_full();
}

void ebr_pin_on_slow_(struct ebr_domain *domain, struct ebr_record_ *record)
{
    if (is_pinned(record))
        record->nest++;
    else
        announce(domain, record);
}

void ebr_unpin_on_slow_(struct ebr_record_ *record)
{
    DEBUG_ASSERT(is_pinned(record)); /* else: unpin without pin */
    if (record->nest == (EBR_FULL_ | 1))
        vbuf_u64_store_release(&record->epoch, EBR_AWAY_); /* pairs with the scan in advance */
    else
        record->nest--;
}

void ebr_pin_slow_(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record == NULL && ebr_attach(domain) == VBUF_OK)
        record = own_record(domain);
    if (record != NULL) {
        ebr_pin_on_slow_(domain, &record->head);
        return;
    }
    vbuf_self_.shared_pins++;
    if (vbuf_self_.inherits)
        domain->inherited_pins++;
    /* Pairs with the RMW in ebr_advance: it sees us, or we see all that was unlinked before it. */
    vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, 1);
}

void ebr_unpin_slow_(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record != NULL) {
        ebr_unpin_on_slow_(&record->head);
        return;
    }
    if (vbuf_self_.shared_pins == 0) /* a destructor at thread exit: the exit has ended its pin */
        return;
    vbuf_self_.shared_pins--;
    /* Release: what was read under the pin is done; pairs with the RMW in ebr_advance. */
    vbuf_u32_fetch_add_acq_rel(&domain->shared_pins, UINT32_MAX); /* minus 1 */
    if (!vbuf_self_.inherits)
        return;
    domain->inherited_pins--;
    if (vbuf_self_.shared_pins == 0)
        ebr_drop_inherited_pins();
}

void ebr_repin_slow_(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (record != NULL && record->head.nest == (EBR_FULL_ | 1) && is_pinned(&record->head))
        announce(domain, &record->head);
}

/* ---- public ---- */

enum vbuf_status ebr_synchronize(struct ebr_domain *domain)
{
    struct record *record = own_record(domain);
    if (vbuf_self_.shared_pins != 0 || vbuf_self_.reclaiming != 0 ||
        (record != NULL && is_pinned(&record->head)))
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

/* Whether the record holds the epoch back more than those before it; noted if so. */
static bool is_furthest_behind(const struct ebr_record_ *record, struct ebr_report *stats)
{
    uint64_t pinned = vbuf_u64_load_acquire(&record->epoch);
    if (pinned <= EBR_IDLE_ || pinned >= stats->epoch ||
        (stats->stalled_epoch != 0 && pinned >= stats->stalled_epoch))
        return false;
    stats->stalled_epoch = pinned;
    return true;
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
        .overflow_pins = vbuf_u32_load_relaxed(&domain->shared_pins),
    };
    stats->fence = stats->epoch & 1 ? VBUF_FENCE_FULL : VBUF_FENCE_PROCESS_WIDE;
    uint32_t count = records_to_scan(domain);
    for (uint32_t i = 0; i < count; i++) {
        struct record *record = record_at(domain, i);
        stats->reclaimed +=
            vbuf_u64_load_acquire(&record->reclaimed); /* pairs with reclaim_ready */
        if (is_furthest_behind(&record->head, stats))
            stats->stalled_thread = vbuf_u64_load_relaxed(&record->system_id);
    }
    count = readers_to_scan(domain);
    for (uint32_t i = 0; i < count; i++) {
        const struct ebr_reader *reader = reader_at(domain, i);
        stats->readers += vbuf_u32_load_relaxed(&reader->taken_);
        if (is_furthest_behind(&reader->record_, stats)) {
            stats->stalled_thread = 0;
            stats->stalled_reader = reader;
        }
    }
    if ((stats->stalled_epoch != 0 || stats->overflow_pins != 0) &&
        vbuf_u64_load_acquire(&domain->held_epoch) == stats->epoch) { /* pairs with note_epoch */
        int64_t since = (int64_t)vbuf_u64_load_relaxed(&domain->held_since);
        stats->stalled_ns = vbuf_sys_now() - since;
    }
    /* Last, and of all that there are by now: never less than what was counted as reclaimed. */
    count = records_to_scan(domain);
    for (uint32_t i = 0; i < count; i++)
        stats->retired += vbuf_u64_load_relaxed(&record_at(domain, i)->retired);
    uint32_t registered = vbuf_u32_load_relaxed(&domain->registered); /* with readers */
    stats->threads = registered > stats->readers ? registered - stats->readers : 0;
    return VBUF_OK;
}
