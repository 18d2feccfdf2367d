/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encodes instructions with random operands (Intel SDM vol. 2, chapter 2) and
 * chooses register values so that every memory access stays in or next to the
 * data pages, which both processors have at the same address.
 */
#include "tests/tcg/case.h"

#include <string.h>

#include "accel/tcg/simd.h"
#include "tests/tcg/guest.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8, NO_REG = 16 };

/* What is being encoded; pieces are put together by encode_finish(). */
typedef struct Encoder {
    TestCase *test;
    TestRandom *random;
    uint8_t *data;
    unsigned opsize; /* 2, 4 or 8 */
    unsigned rex;
    bool use_rex, prefix66, addr32, lock, rip_relative;
    uint8_t repeat;
    uint8_t modrm[6]; /* ModRM, SIB, displacement */
    unsigned modrm_len;
    unsigned reg; /* ModRM.reg with REX.R */
    uint8_t imm[8];
    unsigned imm_len;
} Encoder;

static unsigned below(Encoder *e, unsigned limit)
{
    return test_random_below(e->random, limit);
}

static uint64_t *gpr(Encoder *e, unsigned reg)
{
    return &e->test->state.gpr[reg];
}

/* A data address for an access of up to 16 bytes, sometimes across pages or into the page that is not there.
 */
static uint64_t choose_address(Encoder *e)
{
    const bool align = e->test->form->flags & FORM_ALIGN16;
    uint64_t address;

    switch (below(e, 16)) {
    case 0:
        address = GUEST_DATA + GUEST_PAGE - 1 - below(e, 16);
        break;
    case 1:
        address = GUEST_DATA + GUEST_BYTES - 1 - below(e, 32);
        break;
    case 2:
        address = GUEST_DATA + below(e, 8) - 4;
        break;
    default:
        address = GUEST_DATA + 512 + below(e, GUEST_BYTES - 1024);
        break;
    }
    return align && below(e, 8) ? address & ~UINT64_C(15) : address;
}

/* Writes fresh operand bytes at a data address, as far as they are in the pages. */
static void put_data(Encoder *e, uint64_t address, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const uint64_t offset = address + i - GUEST_DATA;
        if (offset < GUEST_BYTES) {
            e->data[offset] = ((const uint8_t *)bytes)[i];
        }
    }
}

/* A code address away from the instruction, so that a breakpoint is there. */
static uint64_t code_address(Encoder *e)
{
    return GUEST_CODE + (below(e, 2) ? below(e, 200) : GUEST_PAGE + 64 + below(e, 3000));
}

/* A relative distance that does not lead back into the instruction. */
static uint64_t branch_distance(Encoder *e, unsigned range)
{
    const uint64_t distance = below(e, range);

    return below(e, 2) ? distance : -(distance + FORM_MAX_BYTES);
}

/* The value of the memory operand. */
static void fill_operand(Encoder *e, uint64_t address)
{
    const Form *form = e->test->form;
    uint8_t bytes[128];
    uint64_t val;

    for (unsigned i = 0; i < sizeof(bytes); i += 16) {
        test_random_vector(e->random, bytes + i);
    }
    if (form->flags & FORM_X87) {
        test_random_x87_operand(e->random, bytes, form->mem_bytes);
        put_data(e, address, bytes, form->mem_bytes);
        return;
    }
    val = test_random_int(e->random);
    if (form->flags & FORM_JUMP) {
        val = code_address(e);
    } else if (form->flags & FORM_MXCSR) {
        /* Bit 17 exists on some processors. */
        val = below(e, 8) ? test_random_mxcsr(e->random) : val & ~UINT64_C(0x20000);
    } else if (form->mem_bytes) {
        put_data(e, address, bytes, 16);
        return;
    }
    memcpy(bytes, &val, sizeof(val));
    put_data(e, address, bytes, 16);
}

static void put_displacement(Encoder *e, uint64_t displacement, unsigned bytes)
{
    memcpy(e->modrm + e->modrm_len, &displacement, bytes);
    e->modrm_len += bytes;
}

/* Base register (not NO_REG) without or with an index; the base register gets the value that is needed. */
static void encode_based(Encoder *e, uint64_t address, unsigned base, unsigned index)
{
    const bool sib = index != NO_REG || (base & 7) == RSP;
    const unsigned scale = below(e, 4);
    static const uint8_t disp_bytes[] = {0, 1, 4};
    unsigned mod = below(e, 3);
    int64_t disp;

    if (mod == 0 && (base & 7) == RBP) {
        mod = 1;
    }
    const bool fixed_base = base == RSP && (e->test->form->flags & FORM_STACK);
    if (fixed_base) {
        mod = 2;
    }
    disp = mod == 0 ? 0 : mod == 1 ? (int8_t)test_random(e->random) : (int32_t)test_random(e->random);
    uint64_t indexed = 0;
    if (index != NO_REG) {
        indexed = *gpr(e, index) << scale;
    }
    if (fixed_base) {
        disp = (int32_t)(address - *gpr(e, RSP) - indexed);
    } else {
        *gpr(e, base) = address - (uint64_t)disp - indexed;
        if (e->addr32 && below(e, 2)) {
            *gpr(e, base) ^= test_random(e->random) << 32;
        }
    }
    e->rex |= (base & 8 ? REX_B : 0) | (index != NO_REG && (index & 8) ? REX_X : 0);
    e->modrm[0] = (uint8_t)(mod << 6 | (sib ? RSP : base & 7));
    e->modrm_len = 1;
    if (sib) {
        e->modrm[e->modrm_len++] =
            (uint8_t)(scale << 6 | (index == NO_REG ? RSP : index & 7) << 3 | (base & 7));
    }
    put_displacement(e, (uint64_t)disp, disp_bytes[mod]);
}

/* A register that may change: not one whose value matters already. */
static unsigned choose_register(Encoder *e, unsigned not_this)
{
    const uint32_t flags = e->test->form->flags;
    unsigned reg;

    do {
        reg = below(e, 16);
    } while (reg == not_this || (reg == RSP && (flags & FORM_STACK)) || (reg == RBP && (flags & FORM_FRAME)));
    return reg;
}

static void encode_memory(Encoder *e)
{
    TestCase *test = e->test;
    const uint32_t flags = test->form->flags;
    const unsigned avoid = flags & FORM_BIT ? e->reg : NO_REG;
    const uint64_t address = choose_address(e);
    unsigned base, index = NO_REG;

    test->operand = address;
    fill_operand(e, address);
    e->addr32 = below(e, 12) == 0;
    switch (below(e, 5)) {
    case 0: /* RIP-relative; encode_finish() knows the displacement */
        e->rip_relative = true;
        e->modrm[0] = RBP;
        e->modrm_len = 1;
        put_displacement(e, 0, 4);
        return;
    case 1: /* absolute */
        e->modrm[0] = RSP;
        e->modrm[1] = RSP << 3 | RBP;
        e->modrm_len = 2;
        put_displacement(e, address, 4);
        return;
    case 2:
        do {
            index = choose_register(e, avoid);
        } while (index == RSP);
        *gpr(e, index) = test_random_int(e->random);
        break;
    default:
        break;
    }
    do {
        base = flags & FORM_STACK && below(e, 4) == 0 ? (unsigned)RSP : choose_register(e, avoid);
    } while (base == index || base == avoid);
    if (base == RSP && index != NO_REG && (flags & FORM_STACK)) {
        *gpr(e, index) &= 0xff;
    }
    if (e->addr32 && base == RSP && (flags & FORM_STACK)) {
        e->addr32 = false;
    }
    encode_based(e, address, base, index);
}

static void encode_modrm(Encoder *e)
{
    const Form *form = e->test->form;
    const bool memory = !(form->flags & FORM_REG) && ((form->flags & FORM_MEM) || below(e, 2));

    e->reg = form->digit == FORM_ANY_REG ? below(e, 16) : (unsigned)form->digit;
    if (form->flags & FORM_BIT) {
        while (e->reg == RSP) {
            e->reg = below(e, 16);
        }
        *gpr(e, e->reg) = (uint64_t)((int64_t)below(e, 4096) - 2048);
    }
    if (memory) {
        encode_memory(e);
        e->lock = (form->flags & FORM_LOCK) && below(e, 3) == 0;
    } else {
        unsigned rm = form->flags & FORM_X87 ? form->mem_bytes : below(e, 16);
        if ((form->flags & FORM_JUMP)) {
            rm = choose_register(e, NO_REG);
            *gpr(e, rm) = code_address(e);
        }
        e->rex |= rm & 8 ? REX_B : 0;
        e->modrm[0] = (uint8_t)(0xc0 | (rm & 7));
        e->modrm_len = 1;
    }
    e->rex |= form->digit == FORM_ANY_REG && (e->reg & 8) ? REX_R : 0;
    e->modrm[0] |= (uint8_t)((e->reg & 7) << 3);
}

static void encode_sizes(Encoder *e)
{
    const uint32_t flags = e->test->form->flags;

    e->opsize = 4;
    if (flags & (FORM_SIZES | FORM_W)) {
        const unsigned choice = below(e, 4);
        if (choice == 0 && (flags & FORM_SIZES)) {
            e->prefix66 = true;
            e->opsize = 2;
        } else if (choice >= 2) {
            e->rex |= REX_W;
            e->opsize = 8;
        }
    }
}

static void put_immediate(Encoder *e, uint64_t val, unsigned bytes)
{
    memcpy(e->imm + e->imm_len, &val, bytes);
    e->imm_len += bytes;
}

static void encode_immediate(Encoder *e)
{
    const uint32_t flags = e->test->form->flags;

    if (flags & FORM_MOFFS) {
        e->test->operand = choose_address(e);
        fill_operand(e, e->test->operand);
        put_immediate(e, e->test->operand, 8);
        return;
    }
    const uint64_t val = test_random_int(e->random);

    if (flags & FORM_IMM8) {
        put_immediate(e, val, 1);
    }
    if (flags & FORM_IMMZ) {
        put_immediate(e, val, e->opsize == 2 ? 2 : 4);
    }
    if (flags & FORM_IMMV) {
        put_immediate(e, val, e->opsize);
    }
    if (flags & FORM_IMM16) {
        put_immediate(e, val & 0x3f, 2);
    }
    if (flags & FORM_ENTER) {
        put_immediate(e, val & 0x3f, 2);
        put_immediate(e, below(e, 3) ? 0 : below(e, 4), 1);
    }
    if (flags & FORM_REL8) {
        put_immediate(e, branch_distance(e, 112), 1);
    }
    if (flags & FORM_REL32) {
        put_immediate(e, branch_distance(e, 200), 4);
    }
}

/* Registers with a fixed part in the instruction. */
static void prepare_registers(Encoder *e)
{
    const uint32_t flags = e->test->form->flags;
    const uint64_t middle = GUEST_DATA + GUEST_BYTES / 2;

    if (flags & FORM_STACK) {
        *gpr(e, RSP) = below(e, 16) ? middle + below(e, 1024) : choose_address(e);
    }
    if (flags & FORM_FRAME) {
        *gpr(e, RBP) = middle + below(e, 1024);
    }
    if (flags & FORM_STRING) {
        *gpr(e, RSI) = middle + below(e, 1024);
        *gpr(e, RDI) = below(e, 3) ? middle + below(e, 1024) : *gpr(e, RSI) + below(e, 16) - 8;
        if (below(e, 4) == 0) {
            /* Only one of them may fault: which comes first is up to the processor. */
            *gpr(e, below(e, 2) ? RSI : RDI) = choose_address(e);
        }
        *gpr(e, RCX) = below(e, 4) ? below(e, 24) : below(e, 200);
        e->repeat = (const uint8_t[]){0, 0xf2, 0xf3}[below(e, 3)];
        e->addr32 = below(e, 8) == 0;
    }
    if (flags & FORM_TABLE) {
        *gpr(e, RBX) = choose_address(e);
    }
    if (flags & FORM_MASKMOV) {
        /* Whether bytes that are not selected fault is up to the processor. */
        *gpr(e, RDI) = middle + below(e, 1024);
    }
    if (flags & FORM_DIVIDE) {
        switch (below(e, 4)) {
        case 0:
            *gpr(e, RDX) = 0;
            *gpr(e, RAX) &= 0xffffffffffff00ffu;
            break;
        case 1:
            *gpr(e, RDX) = (uint64_t)((int64_t)*gpr(e, RAX) >> 63);
            break;
        case 2:
            *gpr(e, RDX) &= 0xff;
            break;
        default:
            break;
        }
    }
}

/* What lies on top of the stack. */
static void prepare_stack(Encoder *e)
{
    const uint32_t flags = e->test->form->flags;
    uint64_t val = test_random_int(e->random);

    if (flags & FORM_RETURN) {
        val = code_address(e);
    } else if (flags & FORM_FLAGS_TOP) {
        val = (val & 0xcd5) | 0x202;
    }
    if (flags & FORM_STACK) {
        put_data(e, *gpr(e, RSP), &val, sizeof(val));
    }
}

static void put(TestCase *test, unsigned byte)
{
    test->code[test->len++] = (uint8_t)byte;
}

/* The three-byte VEX prefix holds what REX, the mandatory prefix and the map bytes say elsewhere. */
static void encode_vex(Encoder *e)
{
    const Form *form = e->test->form;
    const unsigned pp = form->prefix == 0x66 ? 1 : form->prefix == 0xf3 ? 2 : form->prefix == 0xf2 ? 3 : 0;
    const unsigned vvvv = form->flags & FORM_VEX_NO_V ? 0 : below(e, 16);

    put(e->test, 0xc4);
    put(e->test, (~e->rex & (REX_R | REX_X | REX_B)) << 5 | form->map);
    put(e->test, (e->rex & REX_W ? 0x80 : 0) | (~vvvv & 15) << 3 | pp);
}

static void encode_finish(Encoder *e)
{
    TestCase *test = e->test;
    const Form *form = test->form;
    unsigned opcode = form->opcode;

    if (form->flags & FORM_CC) {
        opcode += below(e, 16);
    }
    if (form->flags & FORM_OPREG) {
        const unsigned reg = below(e, 16);
        opcode += reg & 7;
        e->rex |= reg & 8 ? REX_B : 0;
    }
    if (e->lock) {
        put(test, 0xf0);
    }
    if (e->addr32) {
        put(test, 0x67);
    }
    if (e->prefix66) {
        put(test, 0x66);
    }
    if (e->repeat) {
        put(test, e->repeat);
    }
    if (form->flags & FORM_VEX) {
        encode_vex(e);
    } else if (form->prefix) {
        put(test, form->prefix);
    }
    if (!(form->flags & FORM_VEX) && (e->rex || below(e, 4) == 0)) {
        put(test, 0x40 | e->rex);
    }
    if (form->map && !(form->flags & FORM_VEX)) {
        put(test, 0x0f);
        if (form->map > 1) {
            put(test, form->map == 2 ? 0x38 : 0x3a);
        }
    }
    put(test, opcode);
    if (form->flags & FORM_MODRM) {
        if (e->rip_relative) {
            const uint64_t next = test->state.rip + test->len + e->modrm_len + e->imm_len;
            const uint32_t disp = (uint32_t)(test->operand - next);
            memcpy(e->modrm + 1, &disp, sizeof(disp));
        }
        memcpy(test->code + test->len, e->modrm, e->modrm_len);
        test->len += e->modrm_len;
    }
    memcpy(test->code + test->len, e->imm, e->imm_len);
    test->len += e->imm_len;
}

/*
 * Instructions behind the one under test that read its flags and make new ones,
 * as processors that compute flags late are easily wrong about them.  All their
 * results are defined.
 */
static void append_followers(Encoder *e, unsigned count)
{
    static const struct {
        uint8_t map, opcode;
        int8_t digit; /* or FORM_ANY_REG */
        uint8_t conditions;
    } followers[] = {
        {0, 0x11, FORM_ANY_REG, 1},
        {0, 0x19, FORM_ANY_REG, 1},
        {0, 0x01, FORM_ANY_REG, 1},
        {0, 0x39, FORM_ANY_REG, 1},
        {0, 0xff, 0, 1},
        {0, 0xff, 1, 1},
        {0, 0xf7, 3, 1},
        {0, 0xd1, 2, 1},
        {0, 0xd1, 3, 1},
        {1, 0x90, 0, 16},
        {1, 0x40, FORM_ANY_REG, 16},
        {0, 0x10, FORM_ANY_REG, 1},
    };

    for (unsigned i = 0; i < count; i++) {
        const unsigned n = below(e, sizeof(followers) / sizeof(followers[0]));
        const unsigned reg = followers[n].digit == FORM_ANY_REG ? below(e, 8) : (unsigned)followers[n].digit;
        if (below(e, 4) == 0) {
            put(e->test, 0x66);
        }
        put(e->test, 0x40 | below(e, 16));
        if (followers[n].digit != FORM_ANY_REG) {
            e->test->code[e->test->len - 1] &= (uint8_t)~REX_R;
        }
        if (followers[n].map) {
            put(e->test, 0x0f);
        }
        put(e->test, followers[n].opcode + below(e, followers[n].conditions));
        put(e->test, 0xc0 | reg << 3 | below(e, 8));
    }
}

static void make_fpu(TestRandom *random, uint8_t *image)
{
    X86Fpu fpu;

    memset(&fpu, 0, sizeof(fpu));
    fpu.fcw = test_random_fcw(random);
    fpu.fsw = test_random_fsw(random, fpu.fcw);
    fpu.top = test_random(random) & 7;
    fpu.ftw = test_random_below(random, 3) ? 0xff : (uint8_t)test_random(random);
    fpu.mxcsr = test_random_mxcsr(random);
    for (unsigned i = 0; i < 8; i++) {
        test_random_fp80(random, fpu.st[i].u8);
    }
    for (unsigned i = 0; i < 16; i++) {
        test_random_vector(random, fpu.xmm[i].u8);
    }
    x86_fpu_fxsave(&fpu, image, true, 16);
}

void case_make(TestCase *test, const Form *form, TestRandom *random, uint8_t *data)
{
    Encoder e = {.test = test, .random = random, .data = data};
    const bool waits = (form->flags & FORM_X87) && test_random_below(random, 4) == 0;

    memset(test, 0, sizeof(*test));
    test->form = form;
    for (unsigned i = 0; i < 16; i++) {
        test->state.gpr[i] = test_random_int(random);
    }
    test->state.rflags = (test_random(random) & 0x8d5) | 0x202 | (below(&e, 4) ? 0 : 0x400);
    /* Sometimes across the boundary of the two code pages. */
    test->state.rip = GUEST_CODE + (below(&e, 8) ? 256 + below(&e, 3000) : GUEST_PAGE - 1 - below(&e, 14));
    make_fpu(random, test->state.fx);
    encode_sizes(&e);
    prepare_registers(&e);
    if (form->flags & FORM_MODRM) {
        encode_modrm(&e);
    }
    encode_immediate(&e);
    prepare_stack(&e);
    encode_finish(&e);
    if (waits) {
        put(test, 0x9b);
    }
    test->undefined = form->undefined;
    const bool branch = form->flags & (FORM_REL8 | FORM_REL32 | FORM_RETURN | FORM_JUMP);
    if (!test->undefined && !branch && below(&e, 2)) {
        append_followers(&e, 1 + below(&e, 3));
    }
}
