/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block cache: blocks by physical address and mode, and the pages they came
 * from.  A page with blocks is kept out of the write TLB, so a store to it comes
 * by x86_code_invalidate_page(); writers that are not seen (another process
 * that shares guest RAM) are found by comparing the page with the bytes it was
 * decoded from when it enters the fetch TLB.
 */
#include <stdlib.h>

#include "accel/tcg/core/ops.h"
#include "accel/tcg/core/state.h"
#include "accel/tcg/jit/jit.h"

#define BLOCK_BYTES_MAX (128u << 20)

static unsigned block_hash(uint64_t phys, uint32_t mode)
{
    uint64_t h = (phys ^ mode * UINT64_C(0x9e3779b9)) * UINT64_C(0x9e3779b97f4a7c15);

    return (unsigned)(h >> (64 - BLOCK_HASH_BITS));
}

CodePage *x86_code_page(X86Cpu *cpu, uint64_t phys)
{
    CodePage *page = cpu->pages[(phys >> X86_PAGE_BITS) % PAGE_HASH_SIZE];

    while (page && page->phys != phys) {
        page = page->next;
    }
    return page;
}

static void block_unhash(X86Cpu *cpu, Block *block)
{
    Block **link = &cpu->hash[block_hash(block->phys, block->mode)];

    while (*link != block) {
        link = &(*link)->hash_next;
    }
    *link = block->hash_next;
}

/* What is left of a running block leads out of it. */
static void block_kill(X86Cpu *cpu, Block *block)
{
    if (block->mode == MODE_DEAD) {
        return;
    }
    block_unhash(cpu, block);
    block->mode = MODE_DEAD;
    if (block->code) {
        x86_jit_kill(cpu, block);
    }
    if (block == cpu->block && cpu->op >= block->ops && cpu->op < block->ops + block->count) {
        for (const Op *op = cpu->op + 1; op <= block->ops + block->count; op++) {
            ((Op *)op)->handler = x86_handler(op == block->ops + block->count ? OP_END : OP_DEAD);
        }
    }
    block->hash_next = cpu->graveyard;
    cpu->graveyard = block;
}

void x86_code_invalidate_page(X86Cpu *cpu, uint64_t phys)
{
    CodePage *page = x86_code_page(cpu, phys);

    for (Block *block = page ? page->blocks : NULL, *next; block; block = next) {
        next = block->page_next;
        block_kill(cpu, block);
    }
    if (page) {
        page->blocks = NULL;
    }
}

bool x86_code_allows_write(X86Cpu *cpu, uint64_t phys, TlbEntry *place)
{
    CodePage *page = x86_code_page(cpu, phys);

    if (page && !page->blocks) {
        page->many_writers |= page->writer && page->writer != place;
        page->writer = place;
    }
    return !page || !page->blocks;
}

void x86_code_page_check(X86Cpu *cpu, uint64_t phys, const uint8_t *host)
{
    CodePage *page = x86_code_page(cpu, phys);

    if (page && page->blocks && memcmp(page->copy, host, X86_PAGE_SIZE)) {
        x86_code_invalidate_page(cpu, phys);
    }
}

static CodePage *code_page_new(X86Cpu *cpu, uint64_t phys)
{
    CodePage *page = calloc(1, sizeof(*page)), **head = &cpu->pages[(phys >> X86_PAGE_BITS) % PAGE_HASH_SIZE];

    page->phys = phys;
    page->copy = malloc(X86_PAGE_SIZE);
    page->many_writers = true; /* nobody has looked yet */
    page->next = *head;
    *head = page;
    cpu->block_bytes += sizeof(*page) + X86_PAGE_SIZE;
    return page;
}

static bool entry_writes(const TlbEntry *e, const uint8_t *host)
{
    return e->wr != TLB_NONE && e->wr + e->addend == (uintptr_t)host;
}

/* Takes a page, whose linear aliases may be many, out of the write TLB. */
static void code_page_protect(X86Cpu *cpu, CodePage *page, const uint8_t *host)
{
    TlbEntry *writer = page->writer;

    page->writer = NULL;
    if (!page->many_writers && (!writer || entry_writes(writer, host))) {
        if (writer) {
            writer->wr = TLB_NONE;
        }
        return;
    }
    page->many_writers = false;
    for (unsigned i = 0; i < TLB_EMPTY; i++) {
        for (unsigned n = 0; n < TLB_ALL; n++) {
            if (entry_writes(&cpu->tlbs[i][n], host)) {
                cpu->tlbs[i][n].wr = TLB_NONE;
            }
        }
    }
}

/* The page of a block that is about to be added. */
static CodePage *code_page_get(X86Cpu *cpu, uint64_t phys, const uint8_t *host)
{
    CodePage *page = x86_code_page(cpu, phys);

    if (!page) {
        page = code_page_new(cpu, phys);
    }
    if (!page->blocks) {
        memcpy(page->copy, host, X86_PAGE_SIZE);
        code_page_protect(cpu, page, host);
    }
    return page;
}

/* An instruction in two pages: the second may have changed alone, so its bytes are compared at each entry. */
static bool tail_valid(X86Cpu *cpu, const Block *block, uint64_t linear)
{
    unsigned head = X86_PAGE_SIZE - (unsigned)(linear & 0xfff);
    const uint8_t *first;

    if (!block->phys2) {
        return true;
    }
    first = x86_fetch_page(cpu, linear)->host + (linear & 0xfff);
    return !memcmp(block->source, first, head) &&
           !memcmp(block->source + head, x86_fetch_page(cpu, (linear & X86_PAGE_MASK) + X86_PAGE_SIZE)->host,
                   block->bytes - head);
}

static Block *block_insert(X86Cpu *cpu, uint64_t linear)
{
    const Block *from = cpu->scratch;
    size_t size = sizeof(Block) + (from->count + 1u) * sizeof(Op);
    Block *block = malloc(size);
    FetchEntry *f = x86_fetch_page(cpu, linear);
    CodePage *page = code_page_get(cpu, f->phys, f->host);
    unsigned h = block_hash(from->phys, from->mode);

    memcpy(block, from, size);
    block->heat = cpu->jit && !cpu->watches ? cpu->config.jit_heat : 0;
    block->hash_next = cpu->hash[h];
    cpu->hash[h] = block;
    block->page_next = page->blocks;
    page->blocks = block;
    cpu->block_bytes += size;
    return block;
}

/* The decoded block at a linear address, if it still holds what it was decoded from. */
static Block *block_lookup(X86Cpu *cpu, uint64_t linear, const FetchEntry *f)
{
    uint64_t phys = f->phys | (linear & 0xfff);
    Block *block = cpu->hash[block_hash(phys, cpu->mode)];

    while (block && (block->phys != phys || block->mode != cpu->mode)) {
        block = block->hash_next;
    }
    if (block && !tail_valid(cpu, block, linear)) {
        x86_code_invalidate_page(cpu, phys & X86_PAGE_MASK);
        return NULL;
    }
    return block;
}

Block *x86_block_find(X86Cpu *cpu, uint64_t rip)
{
    static const Op at_start;
    uint64_t linear = x86_code_linear(cpu, rip), key = x86_jump_key(cpu, rip);
    Block *block;

    cpu->gpr[SLOT_RIP] = rip;
    cpu->rip = rip;
    cpu->op = &at_start;
    block = block_lookup(cpu, linear, x86_fetch_page(cpu, linear));
    if (!block) {
        x86_decode_block(cpu, rip);
        block = block_insert(cpu, linear);
    }
    /* A block with a tail is compared at each entry, so it is looked up each time. */
    if (!block->phys2) {
        *x86_jump_slot(cpu, key) = (JumpEntry){key, block, cpu->gen[cpu->cpl == 3]};
        x86_jump_page_add(cpu, x86_fetch_page(cpu, linear));
    }
    return block;
}

void x86_blocks_flush(X86Cpu *cpu)
{
    for (unsigned i = 0; i < PAGE_HASH_SIZE; i++) {
        while (cpu->pages[i]) {
            CodePage *page = cpu->pages[i];

            x86_code_invalidate_page(cpu, page->phys);
            cpu->pages[i] = page->next;
            free(page->copy);
            free(page);
        }
    }
    while (cpu->graveyard) {
        Block *block = cpu->graveyard;

        cpu->graveyard = block->hash_next;
        free(block);
    }
    cpu->block = NULL;
    cpu->block_bytes = 0;
    if (cpu->jit) {
        x86_jit_flush(cpu);
    }
    memset(cpu->jump, 0, sizeof(cpu->jump));
    x86_tlb_flush(cpu);
}

void x86_blocks_reap(X86Cpu *cpu)
{
    if (cpu->block_bytes > BLOCK_BYTES_MAX || (cpu->jit && x86_jit_is_full(cpu))) {
        x86_blocks_flush(cpu);
    }
}

X86BlockStats x86_cpu_block_stats(const X86Cpu *cpu)
{
    X86BlockStats stats = {.bytes = cpu->block_bytes};

    for (size_t i = 0; i < BLOCK_HASH_SIZE; i++) {
        for (const Block *block = cpu->hash[i]; block; block = block->hash_next) {
            stats.blocks++;
            stats.compiled += block->code != NULL;
        }
    }
    if (cpu->jit) {
        x86_jit_usage(cpu, &stats.code_used, &stats.code_size);
    }
    return stats;
}
