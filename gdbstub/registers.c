/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers as gdb numbers and names them (GDB manual, appendix G.5.2 and the features it knows for i386:x86-64), out
 * of the architectural state.  One table gives the description and both directions.
 */
#include <string.h>

#include "gdb-internal.h"

/* Inside X86CpuState.xsave (SDM vol. 1, table 10-2). */
enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_FOP = 6, FX_FIP = 8, FX_FDP = 16, FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160,
       FX_BV = 512 };

typedef enum GdbRegKind { REG_PLAIN, REG_SELECTOR, REG_FPU_WORD, REG_TAGS, REG_ZERO } GdbRegKind;

typedef struct GdbReg {
    const char *name, *type;
    uint8_t bits;
    GdbRegKind kind;
    size_t offset; /* in X86CpuState */
} GdbReg;

#define AT(field)         offsetof(X86CpuState, field)
#define XS(byte)          (offsetof(X86CpuState, xsave) + (byte))
#define GPR(n, i)         {n, "int64", 64, REG_PLAIN, AT(gpr) + 8 * (i)}
#define SEGMENT(n, i)     {n, "int32", 32, REG_SELECTOR, AT(seg) + (i) * sizeof(X86SegState) + offsetof(X86SegState, selector)}
#define BASE(n, i)        {n, "int", 64, REG_PLAIN, AT(seg) + (i) * sizeof(X86SegState) + offsetof(X86SegState, base)}
#define ST(n, i)          {n, "i387_ext", 80, REG_PLAIN, XS(FX_ST + 16 * (i))}
#define XMM(n, i)         {n, "vec128", 128, REG_PLAIN, XS(FX_XMM + 16 * (i))}
#define FPU(n, byte)      {n, "int", 32, REG_FPU_WORD, XS(byte)}
#define SYSTEM(n, field)  {n, "uint64", 64, REG_PLAIN, AT(field)}

static const GdbReg core_regs[] = {
    GPR("rax", X86_RAX), GPR("rbx", X86_RBX), GPR("rcx", X86_RCX), GPR("rdx", X86_RDX), GPR("rsi", X86_RSI),
    GPR("rdi", X86_RDI), {"rbp", "data_ptr", 64, REG_PLAIN, AT(gpr) + 8 * X86_RBP},
    {"rsp", "data_ptr", 64, REG_PLAIN, AT(gpr) + 8 * X86_RSP}, GPR("r8", 8), GPR("r9", 9), GPR("r10", 10),
    GPR("r11", 11), GPR("r12", 12), GPR("r13", 13), GPR("r14", 14), GPR("r15", 15),
    {"rip", "code_ptr", 64, REG_PLAIN, AT(rip)}, {"eflags", "x64_eflags", 32, REG_PLAIN, AT(rflags)},
    SEGMENT("cs", X86_SEG_CS), SEGMENT("ss", X86_SEG_SS), SEGMENT("ds", X86_SEG_DS), SEGMENT("es", X86_SEG_ES),
    SEGMENT("fs", X86_SEG_FS), SEGMENT("gs", X86_SEG_GS), ST("st0", 0), ST("st1", 1), ST("st2", 2), ST("st3", 3),
    ST("st4", 4), ST("st5", 5), ST("st6", 6), ST("st7", 7), FPU("fctrl", FX_FCW), FPU("fstat", FX_FSW),
    {"ftag", "int", 32, REG_TAGS, XS(FX_FTW)}, {"fiseg", "int", 32, REG_ZERO, 0},
    {"fioff", "int", 32, REG_PLAIN, XS(FX_FIP)}, {"foseg", "int", 32, REG_ZERO, 0},
    {"fooff", "int", 32, REG_PLAIN, XS(FX_FDP)}, FPU("fop", FX_FOP),
};
static const GdbReg sse_regs[] = {
    XMM("xmm0", 0), XMM("xmm1", 1), XMM("xmm2", 2), XMM("xmm3", 3), XMM("xmm4", 4), XMM("xmm5", 5), XMM("xmm6", 6),
    XMM("xmm7", 7), XMM("xmm8", 8), XMM("xmm9", 9), XMM("xmm10", 10), XMM("xmm11", 11), XMM("xmm12", 12),
    XMM("xmm13", 13), XMM("xmm14", 14), XMM("xmm15", 15), {"mxcsr", "x64_mxcsr", 32, REG_PLAIN, XS(FX_MXCSR)},
};
static const GdbReg base_regs[] = {BASE("fs_base", X86_SEG_FS), BASE("gs_base", X86_SEG_GS)};
static const GdbReg system_regs[] = {
    SYSTEM("k_gs_base", kernel_gs_base), SYSTEM("cr0", cr0), SYSTEM("cr2", cr2), SYSTEM("cr3", cr3), SYSTEM("cr4", cr4),
    SYSTEM("efer", efer), BASE("cs_base", X86_SEG_CS), BASE("ss_base", X86_SEG_SS), BASE("ds_base", X86_SEG_DS),
    BASE("es_base", X86_SEG_ES), SEGMENT("ldtr", X86_SEG_LDTR), BASE("ldtr_base", X86_SEG_LDTR),
    SEGMENT("tr", X86_SEG_TR), BASE("tr_base", X86_SEG_TR), SYSTEM("gdtr_base", gdtr.base), SYSTEM("idtr_base", idtr.base),
    SYSTEM("dr6", dr[6]), SYSTEM("dr7", dr[7]),
};

static const struct {
    const char *name, *types;
    const GdbReg *regs;
    unsigned count;
} features[] = {
    {"org.gnu.gdb.i386.core",
     "<flags id=\"x64_eflags\" size=\"4\">"
     "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
     "<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
     "<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"TF\" start=\"8\" end=\"8\"/>"
     "<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
     "<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
     "<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"VM\" start=\"17\" end=\"17\"/>"
     "<field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"ID\" start=\"21\" end=\"21\"/></flags>",
     core_regs, G_N_ELEMENTS(core_regs)},
    {"org.gnu.gdb.i386.sse",
     "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
     "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
     "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
     "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
     "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
     "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
     "<field name=\"uint128\" type=\"uint128\"/></union>"
     "<flags id=\"x64_mxcsr\" size=\"4\">"
     "<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
     "<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
     "<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
     "<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"FZ\" start=\"15\" end=\"15\"/></flags>",
     sse_regs, G_N_ELEMENTS(sse_regs)},
    {"org.gnu.gdb.i386.segments", "", base_regs, G_N_ELEMENTS(base_regs)},
    {"org.mpqemu.x86-64.system", "", system_regs, G_N_ELEMENTS(system_regs)},
};

char *gdb_target_xml(void)
{
    GString *xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                                "<target><architecture>i386:x86-64</architecture>");

    for (size_t f = 0; f < G_N_ELEMENTS(features); f++) {
        g_string_append_printf(xml, "<feature name=\"%s\">%s", features[f].name, features[f].types);
        for (unsigned i = 0; i < features[f].count; i++) {
            const GdbReg *reg = &features[f].regs[i];

            g_string_append_printf(xml, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", reg->name, reg->bits, reg->type);
        }
        g_string_append(xml, "</feature>");
    }
    g_string_append(xml, "</target>");
    return g_string_free(xml, FALSE);
}

static const GdbReg *gdb_register(unsigned n)
{
    for (size_t f = 0; f < G_N_ELEMENTS(features); f++) {
        if (n < features[f].count) {
            return &features[f].regs[n];
        }
        n -= features[f].count;
    }
    return NULL;
}

unsigned gdb_general_count(void)
{
    return G_N_ELEMENTS(core_regs) + G_N_ELEMENTS(sse_regs) + G_N_ELEMENTS(base_regs);
}

unsigned gdb_register_count(void)
{
    return gdb_general_count() + G_N_ELEMENTS(system_regs);
}

/* --- tag word: two bits a register here, one in the save area (SDM vol. 1, 8.1.7 and 10.5.1) --- */

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned tag_of(const uint8_t *st)
{
    uint64_t mantissa;
    unsigned exponent = (unsigned)(st[9] & 0x7f) << 8 | st[8];

    memcpy(&mantissa, st, sizeof(mantissa));
    if (!exponent && !mantissa) {
        return TAG_ZERO;
    }
    return exponent == 0x7fff || !(mantissa >> 63) ? TAG_SPECIAL : TAG_VALID;
}

static uint32_t tags_full(const X86CpuState *state)
{
    const uint8_t *x = state->xsave;
    unsigned top = x[FX_FSW + 1] >> 3 & 7;
    uint32_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        tags |= (x[FX_FTW] >> i & 1 ? tag_of(x + FX_ST + 16 * ((i - top) & 7)) : TAG_EMPTY) << (2 * i);
    }
    return tags;
}

static uint8_t tags_short(uint32_t tags)
{
    uint8_t val = 0;

    for (unsigned i = 0; i < 8; i++) {
        val |= (uint8_t)(((tags >> (2 * i) & 3) != TAG_EMPTY) << i);
    }
    return val;
}

bool gdb_register_read(const X86CpuState *state, unsigned n, GString *out)
{
    const GdbReg *reg = gdb_register(n);
    uint8_t bytes[16] = {0};
    uint32_t tags;

    if (!reg) {
        return false;
    }
    switch (reg->kind) {
    case REG_PLAIN:
        memcpy(bytes, (const char *)state + reg->offset, reg->bits / 8);
        break;
    case REG_SELECTOR:
    case REG_FPU_WORD:
        memcpy(bytes, (const char *)state + reg->offset, 2);
        break;
    case REG_TAGS:
        tags = tags_full(state);
        memcpy(bytes, &tags, sizeof(tags));
        break;
    case REG_ZERO:
        break;
    }
    gdb_append_hex(out, bytes, reg->bits / 8);
    return true;
}

bool gdb_register_write(X86CpuState *state, unsigned n, const char **text)
{
    const uint64_t in_use = 3; /* XSTATE_BV: x87 and SSE */
    const GdbReg *reg = gdb_register(n);
    uint8_t bytes[16];
    uint32_t tags;

    if (!reg || !gdb_parse_hex(*text, bytes, reg->bits / 8)) {
        return false;
    }
    *text += reg->bits / 4;
    switch (reg->kind) {
    case REG_PLAIN:
        memcpy((char *)state + reg->offset, bytes, reg->bits / 8);
        break;
    case REG_SELECTOR:
    case REG_FPU_WORD:
        memcpy((char *)state + reg->offset, bytes, 2);
        break;
    case REG_TAGS:
        memcpy(&tags, bytes, sizeof(tags));
        state->xsave[FX_FTW] = tags_short(tags);
        break;
    case REG_ZERO:
        break;
    }
    memcpy(state->xsave + FX_BV, &in_use, sizeof(in_use));
    return true;
}
