/*
 * logd_client.c - CLIENT: who is connected, and the end of others' connections.
 *
 * A client's id is its handle. CLIENT KILL ID takes a number from a user and simply looks it up: an
 * id of a connection that has ended, or one made up, resolves to nothing. The id is stable, never
 * given twice (S1), and costs no table of its own.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <inttypes.h>
#include <string.h>

#include "logd_command.h"

/* ---- LIST ------------------------------------------------------------------------------------ */

static void describe(struct bytes *text, const struct connection *connection,
                     connections_handle handle, int64_t now)
{
    /* Relaxed: figures that are changing anyway. */
    int64_t active = (int64_t)vbuf_u64_load_relaxed(&connection->active);
    int64_t idle = now > active ? now - active : 0;
    bytes_printf(text, "id=%" PRId64 " addr=%s fd=%d name=%s age=%" PRId64 " idle=%" PRId64,
                 connection_id(handle), connection->address, connection->fd,
                 connection_name(connection), (now - connection->opened) / 1000000000,
                 idle / 1000000000);
    bool parked = vbuf_u32_load_relaxed(&connection->tie) == TIE_PARKED;
    bytes_printf(text, " flags=%c", parked ? 'b' : 'N');
    bytes_printf(text, " db=0 worker=%zu cmds=%" PRIu64 "\n", connection->worker->number,
                 vbuf_u64_load_relaxed(&connection->commands));
}

static void client_list(const struct command_context *context)
{
    struct server *server = context->worker->server;
    struct bytes text = {0};
    struct slotmap_iter iter = slotmap_iter_begin(server->connections.map);
    connections_handle handle;
    const struct connection *connection;
    while ((connection = connections_next(&iter, &handle)) != NULL)
        describe(&text, connection, handle, context->worker->now);
    if (text.failed)
        reply_error(reply_to(context), "OOM no memory for the list");
    else
        reply_bulk(reply_to(context), text.data, text.len);
    bytes_free(&text);
}

/* ---- KILL ------------------------------------------------------------------------------------ */

/* Whom to kill. Every condition given must hold. */
struct victims {
    bool by_id;
    connections_handle id;
    struct text address; /* data NULL: any */
    bool spare_self;
};

struct kill_count {
    int64_t others;
    bool self;
};

static bool address_matches(const struct connection *connection, struct text address)
{
    return strlen(connection->address) == address.len &&
           memcmp(connection->address, address.data, address.len) == 0;
}

static void kill_one(const struct command_context *context, const struct victims *victims,
                     const struct connection *connection, connections_handle handle,
                     struct kill_count *killed)
{
    struct worker *worker = context->worker;
    if (victims->address.data != NULL && !address_matches(connection, victims->address))
        return;
    if (handle.bits == context->self.bits)
        killed->self = !victims->spare_self; /* ends when its reply is out */
    else if (connection_close(worker->server, &worker->counters, handle, CLOSED_BY_KILL))
        killed->others++;
}

static struct kill_count kill_victims(const struct command_context *context,
                                      const struct victims *victims)
{
    struct worker *worker = context->worker;
    struct server *server = worker->server;
    struct kill_count killed = {0, false};
    connections_handle handle = victims->id;
    const struct connection *connection;
    if (victims->by_id) {
        connection = connection_resolve(server, &worker->counters, handle);
        if (connection != NULL)
            kill_one(context, victims, connection, handle, &killed);
        return killed;
    }
    struct slotmap_iter iter = slotmap_iter_begin(server->connections.map);
    while ((connection = connections_next(&iter, &handle)) != NULL)
        kill_one(context, victims, connection, handle, &killed);
    return killed;
}

/* One pair of CLIENT KILL's conditions; false if it makes no sense. */
static bool read_condition(struct text name, struct text value, struct victims *victims)
{
    int64_t id;
    if (text_is(name, "id") && text_integer(value, &id)) {
        victims->by_id = true;
        victims->id = connection_of_id(id);
    } else if (text_is(name, "addr")) {
        victims->address = value;
    } else if (text_is(name, "skipme") && (text_is(value, "yes") || text_is(value, "no"))) {
        victims->spare_self = text_is(value, "yes");
    } else {
        return false;
    }
    return true;
}

/* CLIENT KILL addr:port */
static enum command_result kill_by_address(const struct command_context *context)
{
    struct victims victims = {.address = argument_at(context, 2)};
    struct kill_count killed = kill_victims(context, &victims);
    if (killed.others == 0 && !killed.self)
        reply_error(reply_to(context), "ERR No such client");
    else
        reply_ok(reply_to(context));
    return killed.self ? COMMAND_QUIT : COMMAND_DONE;
}

/* CLIENT KILL [ID id] [ADDR addr:port] [SKIPME yes|no] */
static enum command_result client_kill(const struct command_context *context)
{
    size_t given = argument_count(context);
    if (given == 3)
        return kill_by_address(context);
    struct victims victims = {.spare_self = true};
    bool understood = given >= 4 && given % 2 == 0;
    for (size_t i = 2; understood && i < given; i += 2)
        understood = read_condition(argument_at(context, i), argument_at(context, i + 1), &victims);
    if (!understood) {
        reply_error(reply_to(context), "ERR syntax error");
        return COMMAND_DONE;
    }
    struct kill_count killed = kill_victims(context, &victims);
    reply_integer(reply_to(context), killed.others + killed.self);
    return killed.self ? COMMAND_QUIT : COMMAND_DONE;
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* It stands in CLIENT LIST: no spaces or line ends. */
static bool is_name(struct text name)
{
    if (name.len >= LOGD_NAME)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < '!' || name.data[i] > '~')
            return false;
    }
    return true;
}

static void client_setname(const struct command_context *context)
{
    struct text name = argument_at(context, 2);
    if (!is_name(name))
        reply_error(reply_to(context), "ERR Client names are up to %d printable characters",
                    LOGD_NAME - 1);
    else if (!connection_rename(context->worker->server, context->connection, name))
        reply_error(reply_to(context), "OOM no memory for the name");
    else
        reply_ok(reply_to(context));
}

enum command_result command_client(const struct command_context *context)
{
    struct reply *reply = reply_to(context);
    struct text what = argument_at(context, 1);
    size_t given = argument_count(context);
    if (text_is(what, "kill") && given >= 3)
        return client_kill(context);
    if (text_is(what, "list") && given == 2)
        client_list(context);
    else if (text_is(what, "id") && given == 2)
        reply_integer(reply, connection_id(context->self));
    else if (text_is(what, "getname") && given == 2)
        reply_bulk_string(reply, connection_name(context->connection));
    else if (text_is(what, "setname") && given == 3)
        client_setname(context);
    else if (text_is(what, "setinfo") && given == 4)
        reply_ok(reply); /* libraries announce themselves; nobody asks */
    else
        reply_unknown(reply, "subcommand or wrong number of arguments for", what);
    return COMMAND_DONE;
}
