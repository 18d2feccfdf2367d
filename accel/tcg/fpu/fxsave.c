/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FXSAVE image, which is also the legacy region of XSAVE (Intel SDM vol. 1,
 * 10.5.1, table 10-2).  Bytes 464 to 511 belong to software and, like the
 * reserved ones before them, are never written.
 */
#include "accel/tcg/fpu/x87-internal.h"

enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FCS = 12,
    FX_FDP = 16,
    FX_FDS = 20,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_ST = 32,
    FX_XMM = 160,
    FX_SLOT = 16, /* bytes of a register */
};

static void fx_put(uint8_t *image, unsigned offset, uint64_t val, unsigned bytes)
{
    memcpy(image + offset, &val, bytes);
}

static uint64_t fx_get(const uint8_t *image, unsigned offset, unsigned bytes)
{
    uint64_t val = 0;

    memcpy(&val, image + offset, bytes);
    return val;
}

void x86_fpu_fxsave(const X86Fpu *fpu, uint8_t *image, bool rex_w, unsigned xmm_count)
{
    fx_put(image, FX_FCW, fpu->fcw, 2);
    fx_put(image, FX_FSW, fpu->fsw | (uint64_t)fpu->top << X86_FSW_TOP_SHIFT, 2);
    fx_put(image, FX_FTW, fpu->ftw, 2);
    fx_put(image, FX_FOP, fpu->fop, 2);
    if (rex_w) {
        fx_put(image, FX_FIP, fpu->fip, 8);
        fx_put(image, FX_FDP, fpu->fdp, 8);
    } else {
        fx_put(image, FX_FIP, fpu->fip, 4);
        fx_put(image, FX_FCS, fpu->fcs, 4);
        fx_put(image, FX_FDP, fpu->fdp, 4);
        fx_put(image, FX_FDS, fpu->fds, 4);
    }
    fx_put(image, FX_MXCSR, fpu->mxcsr, 4);
    fx_put(image, FX_MXCSR_MASK, X86_MXCSR_MASK, 4);
    for (unsigned i = 0; i < 8; i++) {
        const X86Fp80 *st = &fpu->st[(fpu->top + i) & 7];
        memset(image + FX_ST + i * FX_SLOT, 0, FX_SLOT);
        memcpy(image + FX_ST + i * FX_SLOT, st, 10);
    }
    for (unsigned i = 0; i < xmm_count; i++) {
        memcpy(image + FX_XMM + i * FX_SLOT, &fpu->xmm[i], FX_SLOT);
    }
}

X86SimdFault x86_fpu_fxrstor(X86Fpu *fpu, const uint8_t *image, bool rex_w, unsigned xmm_count)
{
    const uint32_t mxcsr = (uint32_t)fx_get(image, FX_MXCSR, 4);

    if (mxcsr & ~X86_MXCSR_MASK) {
        return X86_SIMD_GP;
    }
    fpu->mxcsr = mxcsr;
    fpu->fcw = x87_valid_fcw((uint16_t)fx_get(image, FX_FCW, 2));
    fpu->fsw = (uint16_t)fx_get(image, FX_FSW, 2);
    fpu->top = fpu->fsw >> X86_FSW_TOP_SHIFT & 7;
    x86_fpu_update_es(fpu);
    fpu->ftw = (uint8_t)fx_get(image, FX_FTW, 1);
    fpu->fop = fx_get(image, FX_FOP, 2) & 0x7ff;
    fpu->fip = fx_get(image, FX_FIP, rex_w ? 8 : 4);
    fpu->fdp = fx_get(image, FX_FDP, rex_w ? 8 : 4);
    fpu->fcs = rex_w ? 0 : (uint16_t)fx_get(image, FX_FCS, 2);
    fpu->fds = rex_w ? 0 : (uint16_t)fx_get(image, FX_FDS, 2);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(&fpu->st[(fpu->top + i) & 7], image + FX_ST + i * FX_SLOT, 10);
    }
    for (unsigned i = 0; i < xmm_count; i++) {
        memcpy(&fpu->xmm[i], image + FX_XMM + i * FX_SLOT, FX_SLOT);
    }
    return X86_SIMD_OK;
}
