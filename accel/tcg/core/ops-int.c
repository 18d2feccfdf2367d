/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integer instructions that are less frequent than those of the interpreter's own handlers. */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_INC, ALU_DEC, ALU_NOT, ALU_NEG };

/* Result of an ALU operation on sign-extended operands; *flags receives what it would set. */
static int64_t alu_compute(X86Cpu *cpu, unsigned kind, int64_t a, int64_t b, unsigned size, bool carry)
{
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    int64_t r;

    switch (kind) {
    case ALU_ADD:
    case ALU_ADC:
        carry = carry && kind == ALU_ADC;
        r = insn_sext(ua + ub + carry, size);
        cc_set(cpu, carry ? CC_ADC1 : CC_ADD, a, b, r);
        return r;
    case ALU_SUB:
    case ALU_SBB:
    case ALU_CMP:
        carry = carry && kind == ALU_SBB;
        r = insn_sext(ua - ub - carry, size);
        cc_set(cpu, carry ? CC_SBB1 : CC_SUB, a, b, r);
        return r;
    case ALU_INC:
    case ALU_DEC:
        r = insn_sext(kind == ALU_INC ? ua + 1 : ua - 1, size);
        cc_set(cpu, kind == ALU_INC ? CC_INC : CC_DEC, a, 1, r);
        cpu->cc_c = carry;
        return r;
    case ALU_NOT:
        return ~a;
    case ALU_NEG:
        r = insn_sext(0 - ua, size);
        cc_set(cpu, CC_SUB, 0, a, r);
        return r;
    default:
        r = kind == ALU_AND ? a & b : kind == ALU_OR ? a | b : a ^ b;
        cc_logic(cpu, r);
        return r;
    }
}

static bool host_cas(void *p, unsigned size, uint64_t *old, uint64_t val)
{
    switch (size) {
    case 1: {
        uint8_t expected = (uint8_t)*old;
        bool ok = __atomic_compare_exchange_n((uint8_t *)p, &expected, (uint8_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

        *old = expected;
        return ok;
    }
    case 2: {
        uint16_t expected = (uint16_t)*old;
        bool ok = __atomic_compare_exchange_n((uint16_t *)p, &expected, (uint16_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

        *old = expected;
        return ok;
    }
    case 4: {
        uint32_t expected = (uint32_t)*old;
        bool ok = __atomic_compare_exchange_n((uint32_t *)p, &expected, (uint32_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

        *old = expected;
        return ok;
    }
    default:
        return __atomic_compare_exchange_n((uint64_t *)p, old, val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

void x86_exclusive_begin(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    if (x86_has_other_cpus(cpu) && cpu->bus->exclusive && x86_is_ram(cpu, linear, size)) {
        cpu->exclusive = true;
        cpu->bus->exclusive(cpu->opaque, true);
    }
}

void x86_exclusive_end(X86Cpu *cpu)
{
    if (cpu->exclusive) {
        cpu->exclusive = false;
        cpu->bus->exclusive(cpu->opaque, false);
    }
}

typedef uint64_t ModifyFn(X86Cpu *cpu, const Op *op, uint64_t old);

/* Read-modify-write of ModRM.rm by fn, which sets the flags; atomic with LOCK.  Returns the old value. */
static uint64_t modify_rm(X86Cpu *cpu, const Op *op, unsigned size, bool lock, ModifyFn *fn)
{
    uint64_t linear, old;
    void *host;

    if (!op->mem) {
        old = insn_reg(cpu, op->r2, size);
        insn_set_reg(cpu, op->r2, size, fn(cpu, op, old));
        return old;
    }
    linear = insn_ea(cpu, op);
    host = x86_host_ptr(cpu, linear, size, ACCESS_RMW);
    if (!host) {
        /* In two pages, or no plain memory. */
        if (lock) {
            x86_exclusive_begin(cpu, linear, size);
        }
        x86_probe_write(cpu, linear, size);
        old = x86_load_slow(cpu, linear, size);
        x86_store_slow(cpu, linear, fn(cpu, op, old), size);
        x86_exclusive_end(cpu);
        return old;
    }
    old = x86_ram_load(host, size);
    if (!lock) {
        x86_ram_store(host, fn(cpu, op, old), size);
        return old;
    }
    for (;;) {
        uint32_t cc_op = cpu->cc_op, cc_c = cpu->cc_c;
        int64_t a = cpu->cc_a, b = cpu->cc_b, res = cpu->cc_res;
        uint64_t seen = old;

        if (host_cas(host, size, &seen, fn(cpu, op, old))) {
            return old;
        }
        old = seen;
        cc_set(cpu, (CcOp)cc_op, a, b, res);
        cpu->cc_c = cc_c;
    }
}

static uint64_t alu_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    uint64_t src = op->aux2 ? op->imm : insn_reg(cpu, op->r1, op->osize);

    return (uint64_t)alu_compute(cpu, op->aux, insn_sext(old, op->osize), insn_sext(src, op->osize), op->osize, flag_cf(cpu));
}

void x86_fn_alu_slow(X86Cpu *cpu, const Op *op)
{
    modify_rm(cpu, op, op->osize, op->lock, alu_modify);
}

void x86_fn_unary(X86Cpu *cpu, const Op *op)
{
    modify_rm(cpu, op, op->osize, op->lock, alu_modify);
}

/* --- shifts and rotates --- */

static uint64_t rotate(X86Cpu *cpu, unsigned kind, uint64_t v, unsigned size, unsigned n)
{
    unsigned bits = size * 8, r = n % bits;
    uint32_t flags = x86_flags_arith(cpu);
    bool cf, of;

    v &= insn_mask(size);
    if (kind == 0) { /* ROL */
        v = r ? (v << r | v >> (bits - r)) & insn_mask(size) : v;
        cf = v & 1;
        of = cf != (v >> (bits - 1) & 1);
    } else {
        v = r ? (v >> r | v << (bits - r)) & insn_mask(size) : v;
        cf = v >> (bits - 1) & 1;
        of = cf != (v >> (bits - 2) & 1);
    }
    cc_raw(cpu, (flags & ~(X86_FLAG_CF | X86_FLAG_OF)) | (cf ? X86_FLAG_CF : 0) | (of ? X86_FLAG_OF : 0));
    return v;
}

static uint64_t rotate_carry(X86Cpu *cpu, unsigned kind, uint64_t v, unsigned size, unsigned n)
{
    unsigned bits = size * 8;
    uint32_t flags = x86_flags_arith(cpu);
    bool cf = flags & X86_FLAG_CF, of;

    v &= insn_mask(size);
    for (n %= bits + 1; n; n--) {
        bool out = kind == 2 ? v >> (bits - 1) & 1 : v & 1;

        v = kind == 2 ? (v << 1 | cf) & insn_mask(size) : v >> 1 | (uint64_t)cf << (bits - 1);
        cf = out;
    }
    of = kind == 2 ? cf != (v >> (bits - 1) & 1) : (v >> (bits - 1) & 1) != (v >> (bits - 2) & 1);
    cc_raw(cpu, (flags & ~(X86_FLAG_CF | X86_FLAG_OF)) | (cf ? X86_FLAG_CF : 0) | (of ? X86_FLAG_OF : 0));
    return v;
}

static uint64_t shift_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    unsigned size = op->osize, bits = size * 8, kind = op->aux;
    unsigned n = (op->aux2 ? (unsigned)cpu->gpr[X86_RCX] : (unsigned)op->imm) & (size == 8 ? 63 : 31);
    int64_t r, s = insn_sext(old, size);
    bool cf;

    old &= insn_mask(size);
    if (!n) {
        return old;
    }
    switch (kind) {
    case 0:
    case 1:
        return rotate(cpu, kind, old, size, n);
    case 2:
    case 3:
        return rotate_carry(cpu, kind, old, size, n);
    case 5:
        r = n >= bits ? 0 : insn_sext(old >> n, size);
        cf = n <= bits && (old >> (n - 1) & 1);
        cc_explicit(cpu, r, cf, old >> (bits - 1) & 1, false);
        return (uint64_t)r;
    case 7:
        r = s >> (n > 63 ? 63 : n);
        cf = s >> (n - 1) & 1;
        cc_explicit(cpu, r, cf, false, false);
        return (uint64_t)r;
    default:
        r = n >= bits ? 0 : insn_sext(old << n, size);
        cf = n <= bits && (old >> (bits - n) & 1);
        cc_explicit(cpu, r, cf, (r < 0) != cf, false);
        return (uint64_t)r;
    }
}

void x86_fn_shift(X86Cpu *cpu, const Op *op)
{
    modify_rm(cpu, op, op->osize, false, shift_modify);
}

static uint64_t shiftd_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    unsigned size = op->osize, bits = size * 8;
    unsigned n = (op->aux & 1 ? (unsigned)cpu->gpr[X86_RCX] : (unsigned)op->imm) & (size == 8 ? 63 : 31);
    uint64_t src = insn_reg(cpu, op->r1, size), mask = insn_mask(size), r;
    bool left = op->aux < 0xa8, cf, of;

    old &= mask;
    if (!n) {
        return old;
    }
    if (n > bits) { /* 16-bit operands only: undefined; the operands rotate */
        n -= bits;
        uint64_t t = old;

        old = src;
        src = t;
    }
    if (left) {
        r = n == bits ? src : (old << n | src >> (bits - n)) & mask;
        cf = old >> (bits - n) & 1;
    } else {
        r = n == bits ? src : (old >> n | src << (bits - n)) & mask;
        cf = old >> (n - 1) & 1;
    }
    of = (r ^ old) >> (bits - 1) & 1;
    cc_explicit(cpu, insn_sext(r, size), cf, of, false);
    return r;
}

void x86_fn_shiftd(X86Cpu *cpu, const Op *op)
{
    modify_rm(cpu, op, op->osize, false, shiftd_modify);
}

/* --- multiplication and division --- */

void x86_fn_imul3(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->osize;
    int64_t a = insn_sext(insn_rm(cpu, op, size), size);
    int64_t b = op->aux == 0xaf ? insn_sext(insn_reg(cpu, op->r1, size), size) : (int64_t)op->imm;
    __int128 p = (__int128)a * b;
    int64_t r = insn_sext((uint64_t)p, size);

    cc_explicit(cpu, r, p != r, p != r, false);
    insn_set_reg(cpu, op->r1, size, (uint64_t)r);
}

static void divide_error(X86Cpu *cpu)
{
    x86_raise(cpu, X86_EXC_DE, -1);
}

static void mul_wide(X86Cpu *cpu, unsigned size, bool sign, uint64_t src)
{
    uint64_t a = insn_reg(cpu, 0, size), low, high;
    bool over;

    if (sign) {
        __int128 p = (__int128)insn_sext(a, size) * insn_sext(src, size);

        low = (uint64_t)p;
        high = (uint64_t)(p >> (8 * size));
        over = p != insn_sext(low, size);
    } else {
        unsigned __int128 p = (unsigned __int128)(a & insn_mask(size)) * (src & insn_mask(size));

        low = (uint64_t)p;
        high = (uint64_t)(p >> (8 * size));
        over = (high & insn_mask(size)) != 0;
    }
    if (size == 1) {
        insn_set_reg(cpu, 0, 2, (low & 0xff) | (high & 0xff) << 8);
    } else {
        insn_set_reg(cpu, 0, size, low);
        insn_set_reg(cpu, X86_RDX * 8, size, high);
    }
    cc_explicit(cpu, insn_sext(low, size), over, over, false);
}

static void div_unsigned(X86Cpu *cpu, unsigned size, uint64_t src)
{
    unsigned __int128 n, q;
    uint64_t d = src & insn_mask(size), r;

    n = size == 1 ? insn_reg(cpu, 0, 2)
                  : (unsigned __int128)(insn_reg(cpu, X86_RDX * 8, size)) << (8 * size) | insn_reg(cpu, 0, size);
    if (!d) {
        divide_error(cpu);
    }
    q = n / d;
    r = (uint64_t)(n % d);
    if (q > insn_mask(size)) {
        divide_error(cpu);
    }
    if (size == 1) {
        insn_set_reg(cpu, 0, 2, (uint64_t)q | r << 8);
    } else {
        insn_set_reg(cpu, 0, size, (uint64_t)q);
        insn_set_reg(cpu, X86_RDX * 8, size, r);
    }
}

static void div_signed(X86Cpu *cpu, unsigned size, uint64_t src)
{
    __int128 n, q;
    int64_t d = insn_sext(src, size), r;

    n = size == 1 ? (__int128)insn_sext(insn_reg(cpu, 0, 2), 2)
                  : (__int128)((unsigned __int128)(__int128)insn_sext(insn_reg(cpu, X86_RDX * 8, size), size) << (8 * size) |
                               (insn_reg(cpu, 0, size) & insn_mask(size)));
    if (!d || (d == -1 && n == (__int128)((unsigned __int128)1 << 127))) {
        divide_error(cpu);
    }
    q = n / d;
    r = (int64_t)(n % d);
    if (q != insn_sext((uint64_t)q, size)) {
        divide_error(cpu);
    }
    if (size == 1) {
        insn_set_reg(cpu, 0, 2, ((uint64_t)q & 0xff) | ((uint64_t)r & 0xff) << 8);
    } else {
        insn_set_reg(cpu, 0, size, (uint64_t)q);
        insn_set_reg(cpu, X86_RDX * 8, size, (uint64_t)r);
    }
}

void x86_fn_mul(X86Cpu *cpu, const Op *op)
{
    uint64_t src = insn_rm(cpu, op, op->osize);

    if (op->aux < 6) {
        mul_wide(cpu, op->osize, op->aux == 5, src);
    } else if (op->aux == 6) {
        div_unsigned(cpu, op->osize, src);
    } else {
        div_signed(cpu, op->osize, src);
    }
}

/* --- exchanges --- */

static uint64_t xchg_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    return insn_reg(cpu, op->r1, op->osize);
}

void x86_fn_xchg(X86Cpu *cpu, const Op *op)
{
    uint64_t old;

    if (!op->mem) {
        old = insn_reg(cpu, op->r2, op->osize);
        uint64_t other = insn_reg(cpu, op->r1, op->osize);

        insn_set_reg(cpu, op->r2, op->osize, other);
    } else {
        old = modify_rm(cpu, op, op->osize, true, xchg_modify); /* XCHG with memory is always locked */
    }
    insn_set_reg(cpu, op->r1, op->osize, old);
}

static uint64_t xadd_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    return (uint64_t)alu_compute(cpu, ALU_ADD, insn_sext(old, op->osize),
                                 insn_sext(insn_reg(cpu, op->r1, op->osize), op->osize), op->osize, false);
}

void x86_fn_xadd(X86Cpu *cpu, const Op *op)
{
    uint64_t old;

    if (op->mem) {
        old = modify_rm(cpu, op, op->osize, op->lock, xadd_modify);
        insn_set_reg(cpu, op->r1, op->osize, old);
        return;
    }
    old = insn_reg(cpu, op->r2, op->osize);
    uint64_t sum = xadd_modify(cpu, op, old);

    insn_set_reg(cpu, op->r1, op->osize, old);
    insn_set_reg(cpu, op->r2, op->osize, sum);
}

static uint64_t cmpxchg_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    int64_t acc = insn_sext(insn_reg(cpu, 0, op->osize), op->osize), mem = insn_sext(old, op->osize);

    alu_compute(cpu, ALU_CMP, acc, mem, op->osize, false);
    return acc == mem ? insn_reg(cpu, op->r1, op->osize) : old;
}

void x86_fn_cmpxchg(X86Cpu *cpu, const Op *op)
{
    uint64_t acc = insn_reg(cpu, 0, op->osize), old;

    if (op->mem) {
        old = modify_rm(cpu, op, op->osize, op->lock, cmpxchg_modify);
    } else {
        old = insn_reg(cpu, op->r2, op->osize);
        uint64_t val = cmpxchg_modify(cpu, op, old);

        if (val != old || flag_zf(cpu)) {
            insn_set_reg(cpu, op->r2, op->osize, val);
        }
    }
    if (acc != old) {
        insn_set_reg(cpu, 0, op->osize, old);
    }
}

/* CMPXCHG8B and CMPXCHG16B: the second is only atomic against this process's other CPUs by the host's own instruction. */
void x86_fn_cmpxchg8b(X86Cpu *cpu, const Op *op)
{
    unsigned half = op->rexw ? 8 : 4;
    uint64_t linear = insn_ea(cpu, op);
    uint32_t flags = x86_flags_arith(cpu) & ~X86_FLAG_ZF;
    unsigned __int128 expected, desired, seen;
    void *host;

    if (half == 8 && !x86_has_feature(cpu, X86_F_1_ECX, 13)) {
        x86_raise_ud(cpu);
    }
    if (half == 8 && (linear & 15)) {
        x86_raise_gp(cpu, 0);
    }
    expected = (unsigned __int128)insn_reg(cpu, X86_RDX * 8, half) << (8 * half) | insn_reg(cpu, 0, half);
    desired = (unsigned __int128)insn_reg(cpu, X86_RCX * 8, half) << (8 * half) | insn_reg(cpu, X86_RBX * 8, half);
    host = x86_host_ptr(cpu, linear, 2 * half, ACCESS_RMW);
    if (!host) {
        if (op->lock) {
            x86_exclusive_begin(cpu, linear, 2 * half);
        }
        x86_probe_write(cpu, linear, 2 * half);
        seen = (unsigned __int128)x86_load_slow(cpu, linear + half, half) << (8 * half) | x86_load_slow(cpu, linear, half);
        if (seen == expected) {
            x86_store_slow(cpu, linear, (uint64_t)desired & insn_mask(half), half);
            x86_store_slow(cpu, linear + half, (uint64_t)(desired >> (8 * half)) & insn_mask(half), half);
        }
        x86_exclusive_end(cpu);
    } else if (half == 4) {
        uint64_t old = (uint64_t)expected;

        host_cas(host, 8, &old, (uint64_t)desired);
        seen = old;
    } else {
        uint64_t lo = (uint64_t)expected, hi = (uint64_t)(expected >> 64);

        __asm__ volatile("lock cmpxchg16b %2"
                         : "+a"(lo), "+d"(hi), "+m"(*(unsigned __int128 *)host)
                         : "b"((uint64_t)desired), "c"((uint64_t)(desired >> 64))
                         : "cc", "memory");
        seen = (unsigned __int128)hi << 64 | lo;
    }
    if (seen == expected) {
        flags |= X86_FLAG_ZF;
    } else {
        insn_set_reg(cpu, 0, half, (uint64_t)seen);
        insn_set_reg(cpu, X86_RDX * 8, half, (uint64_t)(seen >> (8 * half)));
    }
    cc_raw(cpu, flags);
}

/* --- bits --- */

static uint64_t bt_modify(X86Cpu *cpu, const Op *op, uint64_t old)
{
    unsigned bits = op->osize * 8u;
    uint64_t index = op->aux == 0xba ? op->imm : insn_reg(cpu, op->r1, op->osize);
    unsigned kind = op->aux == 0xba ? insn_digit(op) - 4 : (op->aux >> 3 & 3); /* 0 BT, 1 BTS, 2 BTR, 3 BTC */
    uint64_t bit = UINT64_C(1) << (index & (bits - 1));
    uint32_t flags = x86_flags_arith(cpu) & ~X86_FLAG_CF;

    if (op->aux != 0xba) {
        kind = op->aux == 0xa3 ? 0 : op->aux == 0xab ? 1 : op->aux == 0xb3 ? 2 : 3;
    }
    cc_raw(cpu, flags | (old & bit ? X86_FLAG_CF : 0));
    return kind == 1 ? old | bit : kind == 2 ? old & ~bit : kind == 3 ? old ^ bit : old;
}

void x86_fn_bt(X86Cpu *cpu, const Op *op)
{
    bool read_only = op->aux == 0xa3 || (op->aux == 0xba && insn_digit(op) == 4);

    if (op->aux == 0xba && insn_digit(op) < 4) {
        x86_raise_ud(cpu);
    }
    if (op->mem && op->aux != 0xba) {
        /* The register is a signed bit offset that reaches other words. */
        int64_t index = insn_sext(insn_reg(cpu, op->r1, op->osize), op->osize);
        int64_t word = index >> (op->osize == 8 ? 6 : op->osize == 4 ? 5 : 4);
        uint64_t offset = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->disp +
                          (uint64_t)(word * op->osize);

        uint64_t linear = insn_linear(cpu, op->seg, offset & insn_addr_mask(op));

        if (read_only) {
            bt_modify(cpu, op, x86_load_slow(cpu, linear, op->osize));
            return;
        }
        void *host = x86_host_ptr(cpu, linear, op->osize, ACCESS_RMW);

        if (!host) {
            if (op->lock) {
                x86_exclusive_begin(cpu, linear, op->osize);
            }
            x86_probe_write(cpu, linear, op->osize);
            x86_store_slow(cpu, linear, bt_modify(cpu, op, x86_load_slow(cpu, linear, op->osize)), op->osize);
            x86_exclusive_end(cpu);
            return;
        }
        uint64_t old = x86_ram_load(host, op->osize);

        while (!host_cas(host, op->osize, &old, bt_modify(cpu, op, old))) {
        }
        return;
    }
    if (read_only) {
        bt_modify(cpu, op, insn_rm(cpu, op, op->osize));
    } else {
        modify_rm(cpu, op, op->osize, op->lock, bt_modify);
    }
}

/* BSF BSR TZCNT LZCNT POPCNT; imm is the mandatory prefix. */
void x86_fn_bitscan(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->osize, bits = size * 8u;
    uint64_t val = insn_rm(cpu, op, size) & insn_mask(size), r;
    /* LZCNT and TZCNT decode as BSR and BSF without the feature. */
    bool lzcnt = op->aux == 0xbd && op->imm == 0xf3 && x86_has_feature(cpu, X86_F_8_ECX, 5);
    bool tzcnt = op->aux == 0xbc && op->imm == 0xf3 && x86_has_feature(cpu, X86_F_7_EBX, 3);

    if (op->aux == 0xb8 && !x86_has_feature(cpu, X86_F_1_ECX, 23)) {
        x86_raise_ud(cpu);
    }
    if (op->aux == 0xb8) {
        r = (uint64_t)__builtin_popcountll(val);
        cc_raw(cpu, val ? 0 : X86_FLAG_ZF);
    } else if (lzcnt || tzcnt) {
        r = !val ? bits : lzcnt ? (uint64_t)__builtin_clzll(val) - (64 - bits) : (uint64_t)__builtin_ctzll(val);
        cc_raw(cpu, (val ? 0 : X86_FLAG_CF) | (r ? 0 : X86_FLAG_ZF));
    } else {
        /* With a zero source BSF and BSR leave the destination alone. */
        cc_raw(cpu, val ? 0 : X86_FLAG_ZF);
        if (!val) {
            return;
        }
        r = op->aux == 0xbc ? (uint64_t)__builtin_ctzll(val) : 63u - (unsigned)__builtin_clzll(val);
    }
    insn_set_reg(cpu, op->r1, size, r);
}

void x86_fn_bswap(X86Cpu *cpu, const Op *op)
{
    if (op->osize == 8) {
        insn_set_reg(cpu, op->r1, 8, __builtin_bswap64(insn_reg(cpu, op->r1, 8)));
    } else {
        insn_set_reg(cpu, op->r1, 4, op->osize == 2 ? insn_reg(cpu, op->r1, 4) & 0xffff0000
                                                    : __builtin_bswap32((uint32_t)insn_reg(cpu, op->r1, 4)));
    }
}

/* CBW CWDE CDQE (98), CWD CDQ CQO (99) */
void x86_fn_convert(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->osize;

    if (op->aux == 0x98) {
        insn_set_reg(cpu, 0, size, (uint64_t)insn_sext(insn_reg(cpu, 0, size / 2), size / 2));
    } else {
        insn_set_reg(cpu, X86_RDX * 8, size, (uint64_t)(insn_sext(insn_reg(cpu, 0, size), size) >> 63));
    }
}

/* MOVZX, MOVSX to 16 bits. */
void x86_fn_movsx16(X86Cpu *cpu, const Op *op)
{
    unsigned from = op->aux & 1 ? 2 : 1;
    uint64_t val = insn_rm(cpu, op, from);

    insn_set_reg(cpu, op->r1, 2, op->aux >= 0xbe ? (uint64_t)insn_sext(val, from) : val);
}

void x86_fn_cmov16(X86Cpu *cpu, const Op *op)
{
    uint64_t val = insn_rm(cpu, op, 2);

    if (cc_test(cpu, op->aux)) {
        insn_set_reg(cpu, op->r1, 2, val);
    }
}

void x86_fn_movbe(X86Cpu *cpu, const Op *op)
{
    uint64_t val;

    if (!x86_has_feature(cpu, 1, 22)) {
        x86_raise_ud(cpu);
    }
    val = op->aux == 0xf0 ? insn_rm(cpu, op, op->osize) : insn_reg(cpu, op->r1, op->osize);
    val = __builtin_bswap64(val) >> (64 - 8 * op->osize);
    if (op->aux == 0xf0) {
        insn_set_reg(cpu, op->r1, op->osize, val);
    } else {
        insn_set_rm(cpu, op, op->osize, val);
    }
}

/* CRC-32C, reflected polynomial 0x82f63b78 (SDM vol. 2, CRC32). */
void x86_fn_crc32(X86Cpu *cpu, const Op *op)
{
    uint32_t crc = (uint32_t)insn_reg(cpu, op->r1 & ~7u, 4);
    uint64_t val = insn_rm(cpu, op, op->osize);

    if (!x86_has_feature(cpu, 1, 20)) {
        x86_raise_ud(cpu);
    }
    for (unsigned i = 0; i < op->osize; i++, val >>= 8) {
        crc ^= (uint8_t)val;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    insn_set_reg(cpu, op->r1 & ~7u, 8, crc);
}

void x86_fn_adx(X86Cpu *cpu, const Op *op)
{
    bool overflow = op->imm == 0xf3; /* ADOX */
    unsigned size = op->rexw ? 8 : 4;
    uint32_t flags = x86_flags_arith(cpu), bit = overflow ? X86_FLAG_OF : X86_FLAG_CF;
    unsigned __int128 sum;

    if ((op->imm != 0x66 && op->imm != 0xf3) || !x86_has_feature(cpu, 2, 19)) {
        x86_raise_ud(cpu);
    }
    sum = (unsigned __int128)insn_rm(cpu, op, size) + insn_reg(cpu, op->r1, size) + (flags & bit ? 1 : 0);
    insn_set_reg(cpu, op->r1, size, (uint64_t)sum);
    cc_raw(cpu, (flags & ~bit) | (sum >> (8 * size) ? bit : 0));
}

void x86_fn_random(X86Cpu *cpu, const Op *op)
{
    uint64_t val = 0;
    bool seed = insn_digit(op) == 7, have = seed ? x86_has_feature(cpu, 2, 18) : x86_has_feature(cpu, 1, 30);

    if (op->imm == 0xf3 || !have) {
        x86_raise_ud(cpu);
    }
    for (unsigned i = 0; i < 8; i++) {
        cpu->random = cpu->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        val = val << 8 | (cpu->random >> 56 ^ (x86_tsc(cpu) & 0xff));
    }
    insn_set_reg(cpu, op->r2, op->osize, val);
    cc_raw(cpu, X86_FLAG_CF);
}

void x86_fn_xlat(X86Cpu *cpu, const Op *op)
{
    uint64_t offset = (cpu->gpr[X86_RBX] + (cpu->gpr[X86_RAX] & 0xff)) & insn_addr_mask(op);

    insn_set_reg(cpu, 0, 1, x86_load_slow(cpu, insn_linear(cpu, op->seg, offset), 1));
}

/* SAHF LAHF CMC CLC STC CLD STD */
void x86_fn_flags_op(X86Cpu *cpu, const Op *op)
{
    uint32_t flags = x86_flags_arith(cpu);

    switch (op->aux) {
    case 0x9e:
        cc_raw(cpu, (flags & X86_FLAG_OF) | (cpu->gpr[X86_RAX] >> 8 & 0xd5));
        break;
    case 0x9f:
        insn_set_reg(cpu, 1, 1, (flags & 0xd5) | 2);
        break;
    case 0xf5:
        cc_raw(cpu, flags ^ X86_FLAG_CF);
        break;
    case 0xf8:
        cc_raw(cpu, flags & ~X86_FLAG_CF);
        break;
    case 0xf9:
        cc_raw(cpu, flags | X86_FLAG_CF);
        break;
    default:
        cpu->rflags = op->aux == 0xfd ? cpu->rflags | X86_FLAG_DF : cpu->rflags & ~X86_FLAG_DF;
        break;
    }
}

/* Decimal adjustments (SDM vol. 2: DAA DAS AAA AAS AAM AAD). */
void x86_fn_bcd(X86Cpu *cpu, const Op *op)
{
    uint8_t al = (uint8_t)cpu->gpr[X86_RAX], ah = (uint8_t)(cpu->gpr[X86_RAX] >> 8), old = al;
    bool cf = flag_cf(cpu), af = flag_af(cpu), low = (al & 15) > 9 || af, minus = op->aux & 8;

    switch (op->aux) {
    case 0x27:
    case 0x2f: {
        bool high = old > 0x99 || cf, carry = false;

        if (low) {
            carry = cf || (minus ? al < 6 : al > 0xf9);
            al = (uint8_t)(minus ? al - 6 : al + 6);
        }
        if (high) {
            al = (uint8_t)(minus ? al - 0x60 : al + 0x60);
            carry = true;
        }
        cc_explicit(cpu, (int8_t)al, carry, false, low);
        break;
    }
    case 0x37:
    case 0x3f:
        if (low) {
            uint16_t ax = (uint16_t)(ah << 8 | al);

            ax = (uint16_t)(minus ? ax - 0x106 : ax + 0x106);
            al = (uint8_t)ax;
            ah = (uint8_t)(ax >> 8);
        }
        al &= 15;
        cc_explicit(cpu, (int8_t)al, low, false, low);
        break;
    case 0xd4:
        if (!(uint8_t)op->imm) {
            divide_error(cpu);
        }
        ah = (uint8_t)(al / (uint8_t)op->imm);
        al = (uint8_t)(al % (uint8_t)op->imm);
        cc_explicit(cpu, (int8_t)al, false, false, false);
        break;
    default:
        al = (uint8_t)(al + ah * (uint8_t)op->imm);
        ah = 0;
        cc_explicit(cpu, (int8_t)al, false, false, false);
        break;
    }
    insn_set_reg(cpu, 0, 2, (uint64_t)(ah << 8 | al));
}
