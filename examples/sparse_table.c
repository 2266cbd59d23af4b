/*
 * sparse_table.c - a table of 2^40 bytes of which a few pages are committed.
 *
 * 256 bytes of account for every IPv4 address there is: 2^32 of them, 1 TiB. The address is the index.
 * Nothing is hashed, nothing collides, nothing is ever moved, and a pointer to an account stays good for as long
 * as the page is kept. What is paid for is the pages with accounts in use, and a bit for each page of
 * the table, themselves in a buffer of which only touched pages exist.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <inttypes.h>
#include <stdio.h>
#include <vbuf/vbuf.h>

#define ADDRESSES (UINT64_C(1) << 32)
#define BUDGET ((size_t)16 << 20)

struct account {
    uint64_t packets, bytes;
    char rest[240];
};

struct table {
    struct vbuf accounts;  /* struct account by address; a layout of our own, so vbuf_commit */
    struct vbuf committed; /* a bit for each page of it */
    size_t in_use;         /* bytes that the two hooks know about */
};

/* A table has a budget; what exceeds it is refused, and the caller sees VBUF_NOMEM. */
static bool spend(void *context, size_t bytes)
{
    struct table *table = context;
    if (bytes > BUDGET - table->in_use)
        return false;
    table->in_use += bytes;
    return true;
}

static void save(void *context, size_t bytes)
{
    struct table *table = context;
    table->in_use -= bytes;
}

static enum vbuf_status table_init(struct table *table)
{
    *table = (struct table){.in_use = 0};
    enum vbuf_status status =
        vbuf_init(&table->accounts, &(struct vbuf_options){
                                        .max = ADDRESSES * sizeof(struct account),
                                        .on_commit = spend,
                                        .on_decommit = save,
                                        .context = table,
                                    });
    if (status != VBUF_OK)
        return status;
    size_t bits = table->accounts.max / vmem_page_size();
    status = vbuf_init(&table->committed, &(struct vbuf_options){.max = bits / 8});
    if (status == VBUF_OK)
        status = vbuf_resize(&table->committed, bits / 8); /* zeros, none of them touched yet */
    if (status != VBUF_OK) {
        vbuf_destroy(&table->committed);
        vbuf_destroy(&table->accounts);
    }
    return status;
}

static void table_destroy(struct table *table)
{
    vbuf_destroy(&table->committed);
    vbuf_destroy(&table->accounts);
}

static unsigned char *bits_of(struct table *table, uint32_t address, unsigned char *bit)
{
    size_t page = address * sizeof(struct account) / vmem_page_size();
    *bit = (unsigned char)(1u << page % 8);
    return table->committed.data + page / 8;
}

/* The account of an address, or NULL while no address near it was ever seen. */
static struct account *table_find(struct table *table, uint32_t address)
{
    unsigned char bit, *bits = bits_of(table, address, &bit);
    if (!(*bits & bit))
        return NULL;
    return (struct account *)(void *)table->accounts.data + address;
}

/* The account of an address, new ones zeroed, or NULL when memory is refused. */
static struct account *table_open(struct table *table, uint32_t address)
{
    unsigned char bit, *bits = bits_of(table, address, &bit);
    size_t offset = address * sizeof(struct account);
    if (!(*bits & bit)) {
        if (vbuf_commit(&table->accounts, offset, sizeof(struct account)) != VBUF_OK)
            return NULL;
        *bits |= bit;
    }
    return (struct account *)(void *)table->accounts.data + address;
}

/* Forgets the accounts that share a page with this one. */
static enum vbuf_status table_forget(struct table *table, uint32_t address)
{
    unsigned char bit, *bits = bits_of(table, address, &bit);
    if (!(*bits & bit))
        return VBUF_OK;
    size_t page = vmem_page_size(), offset = address * sizeof(struct account);
    enum vbuf_status status = vbuf_decommit(&table->accounts, vmem_align_down(offset, page), page);
    if (status == VBUF_OK)
        *bits = (unsigned char)(*bits & ~bit);
    return status;
}

/* Some traffic: each packet from one of 200 hosts spread over the whole address space. */
static uint32_t host(unsigned number)
{
    return number * UINT32_C(21474836) + 7;
}

static bool count_packets(struct table *table, unsigned packets)
{
    for (unsigned i = 0; i < packets; i++) {
        struct account *account = table_open(table, host(i % 200));
        if (account == NULL)
            return false;
        account->packets++;
        account->bytes += 40 + i % 1400;
    }
    return true;
}

static bool check_table(struct table *table)
{
    uint64_t packets = 0;
    for (unsigned i = 0; i < 200; i++) {
        struct account *account = table_find(table, host(i));
        packets += account != NULL ? account->packets : 0;
    }
    struct account *first = table_find(table, host(0)), *never = table_find(table, 0x80000000);
    if (packets != 100000 || first == NULL || first->packets != 500 || never != NULL)
        return false;
    enum vbuf_status status = table_forget(table, host(0));
    struct account *again = table_open(table, host(0));
    return status == VBUF_OK && again == first && again->packets == 0; /* the same place, zeroed */
}

int main(void)
{
    struct table table;
    if (table_init(&table) != VBUF_OK) {
        fputs("no address space for the table\n", stderr);
        return 1;
    }
    bool right = count_packets(&table, 100000) && check_table(&table);
    size_t resident = 0;
    printf("reserved %zu bytes for %" PRIu64 " accounts, committed %zu", table.accounts.memory.size,
           ADDRESSES, table.in_use);
    if (vmem_resident(&table.committed.memory, 0, table.committed.len, &resident) == VBUF_OK)
        printf("; the bits of its pages: %zu bytes, %zu of them there", table.committed.len,
               resident);
    puts(right ? "" : "; WRONG");
    table_destroy(&table);
    return right ? 0 : 1;
}
