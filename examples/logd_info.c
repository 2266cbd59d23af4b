/*
 * logd_info.c - INFO, and the questions that clients ask before they do anything: CONFIG, COMMAND.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <inttypes.h>
#include <unistd.h>

#include "logd_command.h"
#include "logd_memory.h"

#define LOGS_SHOWN 32 /* logs with a line of their own */
#define NAME_SHOWN 32 /* bytes of a log's name */

static void put(struct bytes *text, const char *name, uint64_t value)
{
    bytes_printf(text, "%s:%" PRIu64 "\r\n", name, value);
}

/* The sum of a counter over all threads. Relaxed: a figure. */
static uint64_t total(const struct server *server, enum counter which)
{
    uint64_t sum = vbuf_u64_load_relaxed(&server->counters.of[which]);
    for (size_t i = 0; i < server->options.workers; i++)
        sum += vbuf_u64_load_relaxed(&server->workers[i].counters.of[which]);
    return sum;
}

/* ---- the sections ---------------------------------------------------------------------------- */

static void info_server(struct server *server, struct bytes *text)
{
    bytes_printf(text, "logd_version:%s\r\n", LOGD_VERSION);
    put(text, "process_id", (uint64_t)getpid());
    put(text, "tcp_port", server->port);
    put(text, "workers", server->options.workers);
    put(text, "uptime_in_seconds", (uint64_t)(now_ns() - server->started) / 1000000000);
}

static void info_clients(struct server *server, struct bytes *text)
{
    put(text, "connected_clients", slotmap_len(server->connections.map));
    put(text, "maxclients", server->options.max_clients);
    uint64_t parked = 0;
    for (size_t i = 0; i < server->options.workers; i++)
        parked += vbuf_u64_load_relaxed(&server->workers[i].parked);
    put(text, "blocked_clients", parked); /* by BTAIL */
}

static void info_memory(struct server *server, struct bytes *text)
{
    struct memory_report report = memory_figures();
    size_t clients = slotmap_len(server->connections.map);
    put(text, "used_memory", report.used[MEMORY_STORED] + report.used[MEMORY_CLIENTS]);
    put(text, "used_memory_stored", report.used[MEMORY_STORED]);
    put(text, "used_memory_clients", report.used[MEMORY_CLIENTS]);
    put(text, "used_memory_each_client", report.used[MEMORY_CLIENTS] / (clients > 0 ? clients : 1));
    put(text, "maxmemory", report.limit);
    put(text, "memory_refused", report.refused);
}

static void info_stats(struct server *server, struct bytes *text)
{
    static const char *const reasons[CLOSE_REASONS] = {
        [CLOSED_BY_CLIENT] = "closed_by_client",       [CLOSED_ON_REQUEST] = "closed_on_request",
        [CLOSED_BY_KILL] = "closed_by_kill",           [CLOSED_IDLE] = "closed_idle",
        [CLOSED_FOR_PROTOCOL] = "closed_for_protocol", [CLOSED_FOR_OUTPUT] = "closed_for_output",
        [CLOSED_FOR_MEMORY] = "closed_for_memory",
    };
    uint64_t closed = 0;
    for (enum counter i = COUNT_CLOSED; i < COUNTERS; i++)
        closed += total(server, i);
    put(text, "connections_opened", total(server, COUNT_OPENED));
    put(text, "connections_closed", closed);
    put(text, "connections_refused", total(server, COUNT_REFUSED));
    for (enum counter i = COUNT_CLOSED; i < COUNTERS; i++)
        put(text, reasons[i - COUNT_CLOSED], total(server, i));
    put(text, "stale_handles_refused", total(server, COUNT_STALE));
    put(text, "total_commands_processed", total(server, COUNT_COMMANDS));
    put(text, "protocol_errors", total(server, COUNT_PROTOCOL_ERRORS));
    put(text, "tail_wakes", total(server, COUNT_TAIL_WAKES));
}

/* Sums over all logs, and a line for each of the first ones. */
struct logs_summary {
    struct bytes *lines;
    size_t logs;
    struct cvec_report sum;
};

static void summarise_log(void *context, struct log *log)
{
    struct logs_summary *summary = context;
    struct cvec_report report;
    if (cvec_stats(log->records.vector, &report) != VBUF_OK)
        return;
    summary->sum.len += report.len;
    summary->sum.claimed += report.claimed;
    summary->sum.capacity += report.capacity;
    summary->sum.committed_bytes += report.committed_bytes;
    summary->sum.growths += report.growths;
    size_t number = summary->logs++;
    if (number >= LOGS_SHOWN)
        return;
    struct text name = {log->name, log->name_len};
    bytes_printf(summary->lines, "log%zu:name=", number);
    bytes_append_printable(summary->lines, name, NAME_SHOWN);
    bytes_printf(summary->lines, ",len=%zu,capacity=%zu,committed_bytes=%zu,growths=%zu\r\n",
                 report.len, report.capacity, report.committed_bytes, report.growths);
}

static void info_cvec(struct server *server, struct bytes *text)
{
    struct bytes lines = {0};
    struct logs_summary summary = {.lines = &lines};
    store_each(&server->store, summarise_log, &summary);
    uint64_t stored = 0;
    for (size_t i = 0; i < server->options.workers; i++)
        stored += vbuf_u64_load_relaxed(&server->workers[i].appender.stored);
    put(text, "logs", summary.logs);
    put(text, "records", summary.sum.len);
    put(text, "records_claimed", summary.sum.claimed);
    put(text, "records_capacity", summary.sum.capacity);
    put(text, "records_committed_bytes", summary.sum.committed_bytes);
    put(text, "records_growths", summary.sum.growths);
    put(text, "stored_bytes", stored);
    bytes_append(text, lines.data, lines.len);
    text->failed |= lines.failed;
    bytes_free(&lines);
}

static void info_slotmap(struct server *server, struct bytes *text)
{
    struct slotmap_report report;
    if (slotmap_stats(server->connections.map, &report) != VBUF_OK)
        return;
    put(text, "slotmap_len", report.len);
    put(text, "slotmap_max_len", report.max_len);
    put(text, "slotmap_slots", report.slots);
    put(text, "slotmap_capacity", report.capacity);
    put(text, "slotmap_limbo", report.limbo);
    put(text, "slotmap_max_limbo", report.max_limbo);
    put(text, "slotmap_exhausted", report.exhausted);
    put(text, "slotmap_committed_bytes", report.committed_bytes);
    put(text, "slotmap_inserted", report.inserted);
    put(text, "slotmap_removed", report.removed);
    put(text, "slotmap_destroyed", report.destroyed);
}

static void info_ebr(struct server *server, struct bytes *text)
{
    struct ebr_report report;
    if (ebr_stats(slotmap_domain(server->connections.map), &report) != VBUF_OK)
        return;
    bool wide = report.fence == VBUF_FENCE_PROCESS_WIDE;
    bytes_printf(text, "ebr_fence:%s\r\n", wide ? "process-wide" : "full");
    put(text, "ebr_epoch", report.epoch);
    put(text, "ebr_advances", report.advances);
    put(text, "ebr_barriers", report.barriers);
    put(text, "ebr_barriers_failed", report.barriers_failed);
    put(text, "ebr_barrier_ns", report.barrier_ns);
    put(text, "ebr_retired", report.retired);
    put(text, "ebr_reclaimed", report.reclaimed);
    put(text, "ebr_threads", report.threads);
    put(text, "ebr_stalled_thread", report.stalled_thread);
}

static const struct section {
    const char *name; /* as a user asks for it */
    const char *title;
    void (*put)(struct server *server, struct bytes *text);
} sections[] = {
    {"server", "Server", info_server}, {"clients", "Clients", info_clients},
    {"memory", "Memory", info_memory}, {"stats", "Stats", info_stats},
    {"cvec", "Cvec", info_cvec},       {"slotmap", "Slotmap", info_slotmap},
    {"ebr", "Ebr", info_ebr},
};

static bool is_wanted(const struct command_context *context, const struct section *section)
{
    for (size_t i = 1; i < argument_count(context); i++) {
        struct text name = argument_at(context, i);
        if (text_is(name, section->name) || text_is(name, "all") || text_is(name, "default") ||
            text_is(name, "everything"))
            return true;
    }
    return argument_count(context) == 1;
}

enum command_result command_info(const struct command_context *context)
{
    struct bytes text = {0};
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (!is_wanted(context, &sections[i]))
            continue;
        bytes_printf(&text, "%s# %s\r\n", text.len > 0 ? "\r\n" : "", sections[i].title);
        sections[i].put(context->worker->server, &text);
    }
    if (text.failed)
        reply_error(reply_to(context), "OOM no memory for the answer");
    else
        reply_bulk(reply_to(context), text.data, text.len);
    bytes_free(&text);
    return COMMAND_DONE;
}

/* ---- what clients ask first ------------------------------------------------------------------ */

/* redis-benchmark asks for these two. Nothing is written to disk. */
enum command_result command_config(const struct command_context *context)
{
    struct reply *reply = reply_to(context);
    if (!text_is(argument_at(context, 1), "get") || argument_count(context) < 3) {
        reply_unknown(reply, "subcommand or wrong number of arguments for",
                      argument_at(context, 1));
        return COMMAND_DONE;
    }
    bool save = text_is(argument_at(context, 2), "save");
    bool appendonly = text_is(argument_at(context, 2), "appendonly");
    reply_array(reply, save || appendonly ? 2 : 0);
    if (save || appendonly) {
        reply_bulk_string(reply, save ? "save" : "appendonly");
        reply_bulk_string(reply, save ? "" : "no");
    }
    return COMMAND_DONE;
}

/* redis-cli asks for COMMAND DOCS, for its hints. */
enum command_result command_command(const struct command_context *context)
{
    reply_array(reply_to(context), 0);
    return COMMAND_DONE;
}
