/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoder: bytes of one page to the ops of a block (SDM vol. 2, chapter 2 and
 * appendix A).  One decoder serves every mode; what differs is the default
 * operand and address size and whether REX prefixes exist.
 */
#include "accel/tcg/core/decode-private.h"

static bool decode_prefix(Decoder *d, uint8_t byte)
{
    static const int8_t segs[256] = {
        [0x26] = X86_SEG_ES + 1, [0x2e] = X86_SEG_CS + 1, [0x36] = X86_SEG_SS + 1, [0x3e] = X86_SEG_DS + 1,
        [0x64] = X86_SEG_FS + 1, [0x65] = X86_SEG_GS + 1,
    };

    if (segs[byte]) {
        /* ES, CS, SS, DS overrides mean nothing in 64-bit mode. */
        if (!d->long64 || byte >= 0x64) {
            d->seg = segs[byte] - 1;
        }
    } else if (byte == 0x66) {
        d->opsize = true;
    } else if (byte == 0x67) {
        d->addrsize = true;
    } else if (byte == 0xf0) {
        d->lock = true;
    } else if (byte == 0xf2 || byte == 0xf3) {
        d->rep = byte;
    } else {
        return false;
    }
    return true;
}

static void set_sizes(Decoder *d)
{
    bool big = d->cpu->mode & MODE_CS32;

    if (d->long64) {
        d->osize = d->rex & 8 ? 8 : d->opsize ? 2 : 4;
        d->op.asize = d->addrsize ? 2 : 3;
    } else {
        d->osize = big != d->opsize ? 4 : 2;
        d->op.asize = big != d->addrsize ? 2 : 1;
    }
    d->op.osize = (uint8_t)d->osize;
    d->op.rexw = d->rex >> 3 & 1;
    d->op.seg = 0xf & (unsigned)(d->seg >= 0 ? d->seg : X86_SEG_DS);
}

static bool lock_allowed(const Decoder *d)
{
    static const unsigned lockable[] = {OP_call_alu_slow, OP_call_xchg, OP_call_cmpxchg, OP_call_cmpxchg8b, OP_call_xadd, OP_call_bt};

    for (unsigned i = 0; i < sizeof(lockable) / sizeof(lockable[0]); i++) {
        if (d->op.id == lockable[i]) {
            return d->op.mem && !(lockable[i] == OP_call_bt && (d->op.aux == 0xa3 || (d->op.aux == 0xba && (d->op.aux2 >> 3 & 7) == 4)));
        }
    }
    return false;
}

static void decode_one(Decoder *d)
{
    uint8_t byte;

    d->pos = 0;
    d->opsize = d->addrsize = d->lock = d->has_rex = false;
    d->rep = d->rex = 0;
    d->seg = -1;
    d->modrm = 0xc0;
    d->op.base = d->op.index = SLOT_ZERO;
    while (decode_prefix(d, byte = dec_get8(d))) {
    }
    if (d->long64 && (byte & 0xf0) == 0x40) {
        d->rex = byte;
        d->has_rex = true;
        byte = dec_get8(d);
    }
    set_sizes(d);
    d->op.lock = d->lock;
    if (byte == 0x0f) {
        decode_two_byte(d);
    } else {
        decode_one_byte(d, byte);
    }
    if (d->lock && !lock_allowed(d)) {
        dec_emit_ud(d);
    }
    if (d->op.mem && d->op.base == SLOT_RIP) {
        d->op.disp += (int32_t)(d->op.off + d->pos);
    }
}

Block *x86_decode_block(X86Cpu *cpu, uint64_t rip)
{
    static const Op at_start;
    Block *volatile block = cpu->scratch;
    Decoder d = {.cpu = cpu, .block = block, .rip = rip, .long64 = cpu->mode & MODE_LONG64};
    volatile unsigned off = 0;
    unsigned start;
    FetchEntry *fetch;

    cpu->gpr[SLOT_RIP] = rip;
    cpu->op = &at_start;
    fetch = x86_fetch_page(cpu, x86_code_linear(cpu, rip));
    start = x86_code_linear(cpu, rip) & 0xfff;
    *block = (Block){.phys = fetch->phys | start, .mode = cpu->mode};
    d.page = fetch->host + start;
    d.room = X86_PAGE_SIZE - start;
    if (!setjmp(d.stop)) {
        /* An op may have two checks in front of it. */
        while (!d.ends && block->count < ((cpu->mode & MODE_TF) ? 1 : BLOCK_MAX_OPS - 2) && !block->phys2 &&
               off < d.room) {
            d.first = block->count == 0;
            d.bytes = d.page + off;
            d.avail = d.room - off;
            memset(&d.op, 0, sizeof(d.op));
            d.op.off = (uint16_t)off;
            decode_one(&d);
            if (cpu->point_count && x86_breakpoint_op(cpu, start + off, &d.op, &block->ops[block->count])) {
                block->count++;
            }
            if (x86_segcheck_op(cpu, &d.op, &block->ops[block->count])) {
                block->count++;
            }
            block->ops[block->count++] = d.op;
            off += d.pos;
        }
    }
    block->ops[block->count] = (Op){.handler = x86_handler(OP_END), .id = OP_END, .off = (uint16_t)off};
    block->bytes = (uint16_t)off;
    if (block->phys2) {
        memcpy(block->source, d.crossing, sizeof(block->source));
    }
    return block;
}
