/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x87 environment in memory: FNSTENV, FLDENV, FNSAVE and FRSTOR in the
 * 16-bit and 32-bit layouts of real and protected mode (Intel SDM vol. 1,
 * 8.1.10, figures 8-9 to 8-12).
 */
#include "accel/tcg/fpu/x87-internal.h"

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

enum { ENV_WORDS = 7, ENV_REGISTER_BYTES = 10 };

/* Index of a field in both layouts. */
enum { ENV_FCW, ENV_FSW, ENV_FTW, ENV_FIP, ENV_FCS, ENV_FDP, ENV_FDS };

static unsigned env_tag(const X86Fpu *fpu, unsigned n)
{
    const X86Fp80 *st = &fpu->st[n];
    const unsigned exp = st->f.sign_exp & 0x7fff;

    if (!(fpu->ftw >> n & 1)) {
        return TAG_EMPTY;
    }
    if (exp == 0) {
        return st->f.mantissa ? TAG_SPECIAL : TAG_ZERO;
    }
    return exp == 0x7fff || !(st->f.mantissa >> 63) ? TAG_SPECIAL : TAG_VALID;
}

static uint16_t env_full_tags(const X86Fpu *fpu)
{
    unsigned tags = 0;

    for (unsigned n = 0; n < 8; n++) {
        tags |= env_tag(fpu, n) << (2 * n);
    }
    return (uint16_t)tags;
}

static uint8_t env_abridged_tags(uint16_t tags)
{
    unsigned ftw = 0;

    for (unsigned n = 0; n < 8; n++) {
        if ((tags >> (2 * n) & 3) != TAG_EMPTY) {
            ftw |= 1u << n;
        }
    }
    return (uint8_t)ftw;
}

/* Bytes of the environment and of one of its fields. */
static unsigned env_field_bytes(const X86FpuCtx *ctx)
{
    return ctx->opsize == 2 ? 2 : 4;
}

static void env_store(const X86FpuCtx *ctx, uint8_t *mem)
{
    const X86Fpu *fpu = ctx->fpu;
    const unsigned bytes = env_field_bytes(ctx);
    const unsigned fop = fpu->fop & 0x7ff;
    const uint32_t reserved = 0xffff0000u;
    uint32_t field[ENV_WORDS] = {
        [ENV_FCW] = reserved | fpu->fcw,
        [ENV_FSW] = reserved | fpu->fsw | (uint32_t)fpu->top << X86_FSW_TOP_SHIFT,
        [ENV_FTW] = reserved | env_full_tags(fpu),
    };

    if (ctx->protected_mode) {
        field[ENV_FIP] = (uint32_t)fpu->fip;
        field[ENV_FCS] = fpu->fcs | (bytes == 4 ? fop << 16 : 0);
        field[ENV_FDP] = (uint32_t)fpu->fdp;
        field[ENV_FDS] = reserved | fpu->fds;
    } else {
        const uint32_t ip = (uint32_t)(fpu->fip + fpu->fcs * 16u);
        const uint32_t dp = (uint32_t)(fpu->fdp + fpu->fds * 16u);
        field[ENV_FIP] = (bytes == 4 ? reserved : 0) | (ip & 0xffff);
        field[ENV_FCS] = (bytes == 4 ? ip >> 16 << 12 & 0x0ffff000 : ip >> 16 << 12 & 0xf000) | fop;
        field[ENV_FDP] = (bytes == 4 ? reserved : 0) | (dp & 0xffff);
        field[ENV_FDS] = bytes == 4 ? dp >> 16 << 12 & 0x0ffff000 : dp >> 16 << 12 & 0xf000;
    }
    for (unsigned i = 0; i < ENV_WORDS; i++) {
        memcpy(mem + i * bytes, &field[i], bytes);
    }
}

static void env_load(X86FpuCtx *ctx, const uint8_t *mem)
{
    X86Fpu *fpu = ctx->fpu;
    const unsigned bytes = env_field_bytes(ctx);
    uint32_t field[ENV_WORDS] = {0};

    for (unsigned i = 0; i < ENV_WORDS; i++) {
        memcpy(&field[i], mem + i * bytes, bytes);
    }
    fpu->fcw = x87_valid_fcw((uint16_t)field[ENV_FCW]);
    fpu->top = field[ENV_FSW] >> X86_FSW_TOP_SHIFT & 7;
    fpu->fsw = (uint16_t)field[ENV_FSW];
    x86_fpu_update_es(fpu);
    fpu->ftw = env_abridged_tags((uint16_t)field[ENV_FTW]);
    if (ctx->protected_mode) {
        fpu->fip = field[ENV_FIP];
        fpu->fcs = (uint16_t)field[ENV_FCS];
        fpu->fdp = field[ENV_FDP];
        fpu->fds = (uint16_t)field[ENV_FDS];
        if (bytes == 4) {
            fpu->fop = field[ENV_FCS] >> 16 & 0x7ff;
        }
    } else {
        fpu->fip = (field[ENV_FIP] & 0xffff) | (field[ENV_FCS] >> 12 << 16);
        fpu->fop = field[ENV_FCS] & 0x7ff;
        fpu->fdp = (field[ENV_FDP] & 0xffff) | (field[ENV_FDS] >> 12 << 16);
        fpu->fcs = fpu->fds = 0;
    }
}

X86SimdFault x87_fnstenv(X86FpuCtx *ctx, void *mem)
{
    env_store(ctx, mem);
    ctx->fpu->fcw |= X86_FSW_FLAGS;
    x86_fpu_update_es(ctx->fpu);
    return X86_SIMD_OK;
}

X86SimdFault x87_fldenv(X86FpuCtx *ctx, void *mem)
{
    env_load(ctx, mem);
    return X86_SIMD_OK;
}

X86SimdFault x87_fnsave(X86FpuCtx *ctx, void *mem)
{
    uint8_t *regs = (uint8_t *)mem + ENV_WORDS * env_field_bytes(ctx);

    env_store(ctx, mem);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(regs + i * ENV_REGISTER_BYTES, x87_st(ctx->fpu, i), ENV_REGISTER_BYTES);
    }
    x86_fpu_init(ctx->fpu);
    return X86_SIMD_OK;
}

X86SimdFault x87_frstor(X86FpuCtx *ctx, void *mem)
{
    const uint8_t *regs = (const uint8_t *)mem + ENV_WORDS * env_field_bytes(ctx);

    env_load(ctx, mem);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(x87_st(ctx->fpu, i), regs + i * ENV_REGISTER_BYTES, ENV_REGISTER_BYTES);
    }
    return X86_SIMD_OK;
}
