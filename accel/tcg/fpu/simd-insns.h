/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of vector instructions (Intel SDM vol. 2, appendix A, opcode maps
 * 0F, 0F38, 0F3A).  Included several times with
 *   X86_INSN(map, prefix, opcode, name, function, dst, src, memory bytes, flags, feature)
 *   X86_SHIFT_INSN(opcode, prefix, /digit, name, function, dst, feature)
 * defined to what the includer makes of an entry.
 */

/* xmm, xmm/m128 (aligned) */
#define X86_I128(map, pfx, op, name, feat)                                                                     \
    X86_INSN(map, pfx, op, #name, x86_simd_##name, XMM, XMM_RM, 16, X86_SIMD_ALIGNED, feat)
/* xmm, xmm/m128 (aligned), imm8 */
#define X86_I128_IMM(map, pfx, op, name, feat)                                                                 \
    X86_INSN(map, pfx, op, #name, x86_simd_##name, XMM, XMM_RM, 16, X86_SIMD_ALIGNED | X86_SIMD_IMM8, feat)
/* xmm, xmm/m(bytes) without alignment */
#define X86_ISUB(map, pfx, op, name, bytes, feat)                                                              \
    X86_INSN(map, pfx, op, #name, x86_simd_##name, XMM, XMM_RM, bytes, 0, feat)
#define X86_ISUB_IMM(map, pfx, op, name, bytes, feat)                                                          \
    X86_INSN(map, pfx, op, #name, x86_simd_##name, XMM, XMM_RM, bytes, X86_SIMD_IMM8, feat)
/* mm, mm/m(bytes) */
#define X86_IMMX(map, op, name, bytes, feat)                                                                   \
    X86_INSN(map, NONE, op, #name, x86_mmx_##name, MMX, MMX_RM, bytes, X86_SIMD_MMX_STATE, feat)
/* The MMX form without prefix and the XMM form with 66. */
#define X86_IBOTH(map, op, name, mmx_feat, xmm_feat)                                                           \
    X86_IMMX(map, op, name, 8, mmx_feat)                                                                       \
    X86_I128(map, 66, op, name, xmm_feat)
/* ps, pd, ss, sd forms of one opcode */
#define X86_IPACKED(op, name)                                                                                  \
    X86_I128(0F, NONE, op, name##ps, SSE)                                                                      \
    X86_I128(0F, 66, op, name##pd, SSE2)
#define X86_IFLOAT(op, name)                                                                                   \
    X86_IPACKED(op, name)                                                                                      \
    X86_ISUB(0F, F3, op, name##ss, 4, SSE)                                                                     \
    X86_ISUB(0F, F2, op, name##sd, 8, SSE2)

/* Moves. */
X86_INSN(0F, NONE, 0x10, "movups", x86_simd_mov128, XMM, XMM_RM, 16, 0, SSE)
X86_INSN(0F, 66, 0x10, "movupd", x86_simd_mov128, XMM, XMM_RM, 16, 0, SSE2)
X86_INSN(0F, F3, 0x10, "movss", x86_simd_movss_load, XMM, XMM_RM, 4, 0, SSE)
X86_INSN(0F, F2, 0x10, "movsd", x86_simd_movsd_load, XMM, XMM_RM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x11, "movups", x86_simd_mov128, XMM_RM, XMM, 16, 0, SSE)
X86_INSN(0F, 66, 0x11, "movupd", x86_simd_mov128, XMM_RM, XMM, 16, 0, SSE2)
X86_INSN(0F, F3, 0x11, "movss", x86_simd_mov_low32, XMM_RM, XMM, 4, 0, SSE)
X86_INSN(0F, F2, 0x11, "movsd", x86_simd_mov_low64, XMM_RM, XMM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x12, "movlps", x86_simd_movlps_load, XMM, XMM_RM, 8, 0, SSE)
X86_INSN(0F, 66, 0x12, "movlpd", x86_simd_mov_low64, XMM, MEM_ONLY, 8, 0, SSE2)
X86_I128(0F, F3, 0x12, movsldup, SSE3)
X86_ISUB(0F, F2, 0x12, movddup, 8, SSE3)
X86_INSN(0F, NONE, 0x13, "movlps", x86_simd_mov_low64, MEM_ONLY, XMM, 8, 0, SSE)
X86_INSN(0F, 66, 0x13, "movlpd", x86_simd_mov_low64, MEM_ONLY, XMM, 8, 0, SSE2)
X86_IPACKED(0x14, unpckl)
X86_IPACKED(0x15, unpckh)
X86_INSN(0F, NONE, 0x16, "movhps", x86_simd_movhps_load, XMM, XMM_RM, 8, 0, SSE)
X86_INSN(0F, 66, 0x16, "movhpd", x86_simd_movhps_load, XMM, MEM_ONLY, 8, 0, SSE2)
X86_I128(0F, F3, 0x16, movshdup, SSE3)
X86_INSN(0F, NONE, 0x17, "movhps", x86_simd_movhps_store, MEM_ONLY, XMM, 8, 0, SSE)
X86_INSN(0F, 66, 0x17, "movhpd", x86_simd_movhps_store, MEM_ONLY, XMM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x28, "movaps", x86_simd_mov128, XMM, XMM_RM, 16, X86_SIMD_ALIGNED, SSE)
X86_INSN(0F, 66, 0x28, "movapd", x86_simd_mov128, XMM, XMM_RM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, NONE, 0x29, "movaps", x86_simd_mov128, XMM_RM, XMM, 16, X86_SIMD_ALIGNED, SSE)
X86_INSN(0F, 66, 0x29, "movapd", x86_simd_mov128, XMM_RM, XMM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, NONE, 0x6f, "movq", x86_mmx_movq, MMX, MMX_RM, 8, X86_SIMD_MMX_STATE, MMX)
X86_INSN(0F, 66, 0x6f, "movdqa", x86_simd_mov128, XMM, XMM_RM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, F3, 0x6f, "movdqu", x86_simd_mov128, XMM, XMM_RM, 16, 0, SSE2)
X86_INSN(0F, F3, 0x7e, "movq", x86_simd_movq, XMM, XMM_RM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x7f, "movq", x86_mmx_movq, MMX_RM, MMX, 8, X86_SIMD_MMX_STATE, MMX)
X86_INSN(0F, 66, 0x7f, "movdqa", x86_simd_mov128, XMM_RM, XMM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, F3, 0x7f, "movdqu", x86_simd_mov128, XMM_RM, XMM, 16, 0, SSE2)
X86_INSN(0F, 66, 0xd6, "movq", x86_simd_movq, XMM_RM, XMM, 8, 0, SSE2)

/* Floating point. */
X86_IFLOAT(0x51, sqrt)
X86_I128(0F, NONE, 0x52, rsqrtps, SSE)
X86_ISUB(0F, F3, 0x52, rsqrtss, 4, SSE)
X86_I128(0F, NONE, 0x53, rcpps, SSE)
X86_ISUB(0F, F3, 0x53, rcpss, 4, SSE)
X86_IPACKED(0x54, and)
X86_IPACKED(0x55, andn)
X86_IPACKED(0x56, or)
X86_IPACKED(0x57, xor)
X86_IFLOAT(0x58, add)
X86_IFLOAT(0x59, mul)
X86_IFLOAT(0x5c, sub)
X86_IFLOAT(0x5d, min)
X86_IFLOAT(0x5e, div)
X86_IFLOAT(0x5f, max)
X86_I128_IMM(0F, NONE, 0xc2, cmpps, SSE)
X86_I128_IMM(0F, 66, 0xc2, cmppd, SSE2)
X86_ISUB_IMM(0F, F3, 0xc2, cmpss, 4, SSE)
X86_ISUB_IMM(0F, F2, 0xc2, cmpsd, 8, SSE2)
X86_I128_IMM(0F, NONE, 0xc6, shufps, SSE)
X86_I128_IMM(0F, 66, 0xc6, shufpd, SSE2)
X86_I128(0F, 66, 0x7c, haddpd, SSE3)
X86_I128(0F, F2, 0x7c, haddps, SSE3)
X86_I128(0F, 66, 0x7d, hsubpd, SSE3)
X86_I128(0F, F2, 0x7d, hsubps, SSE3)
X86_I128(0F, 66, 0xd0, addsubpd, SSE3)
X86_I128(0F, F2, 0xd0, addsubps, SSE3)

/* Conversions between vector registers. */
X86_INSN(0F, NONE, 0x2a, "cvtpi2ps", x86_simd_cvtpi2ps, XMM, MMX_RM, 8, 0, SSE)
X86_INSN(0F, 66, 0x2a, "cvtpi2pd", x86_simd_cvtpi2pd, XMM, MMX_RM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x2c, "cvttps2pi", x86_simd_cvttps2pi, MMX, XMM_RM, 8, X86_SIMD_MMX_STATE, SSE)
X86_INSN(0F, 66, 0x2c, "cvttpd2pi", x86_simd_cvttpd2pi, MMX, XMM_RM, 16, X86_SIMD_MMX_STATE | X86_SIMD_ALIGNED,
         SSE2)
X86_INSN(0F, NONE, 0x2d, "cvtps2pi", x86_simd_cvtps2pi, MMX, XMM_RM, 8, X86_SIMD_MMX_STATE, SSE)
X86_INSN(0F, 66, 0x2d, "cvtpd2pi", x86_simd_cvtpd2pi, MMX, XMM_RM, 16, X86_SIMD_MMX_STATE | X86_SIMD_ALIGNED,
         SSE2)
X86_ISUB(0F, NONE, 0x5a, cvtps2pd, 8, SSE2)
X86_I128(0F, 66, 0x5a, cvtpd2ps, SSE2)
X86_ISUB(0F, F3, 0x5a, cvtss2sd, 4, SSE2)
X86_ISUB(0F, F2, 0x5a, cvtsd2ss, 8, SSE2)
X86_I128(0F, NONE, 0x5b, cvtdq2ps, SSE2)
X86_I128(0F, 66, 0x5b, cvtps2dq, SSE2)
X86_I128(0F, F3, 0x5b, cvttps2dq, SSE2)
X86_I128(0F, 66, 0xe6, cvttpd2dq, SSE2)
X86_ISUB(0F, F3, 0xe6, cvtdq2pd, 8, SSE2)
X86_I128(0F, F2, 0xe6, cvtpd2dq, SSE2)

/* Integers: MMX and SSE2. */
X86_IMMX(0F, 0x60, punpcklbw, 4, MMX)
X86_IMMX(0F, 0x61, punpcklwd, 4, MMX)
X86_IMMX(0F, 0x62, punpckldq, 4, MMX)
X86_I128(0F, 66, 0x60, punpcklbw, SSE2)
X86_I128(0F, 66, 0x61, punpcklwd, SSE2)
X86_I128(0F, 66, 0x62, punpckldq, SSE2)
X86_IBOTH(0F, 0x63, packsswb, MMX, SSE2)
X86_IBOTH(0F, 0x64, pcmpgtb, MMX, SSE2)
X86_IBOTH(0F, 0x65, pcmpgtw, MMX, SSE2)
X86_IBOTH(0F, 0x66, pcmpgtd, MMX, SSE2)
X86_IBOTH(0F, 0x67, packuswb, MMX, SSE2)
X86_IBOTH(0F, 0x68, punpckhbw, MMX, SSE2)
X86_IBOTH(0F, 0x69, punpckhwd, MMX, SSE2)
X86_IBOTH(0F, 0x6a, punpckhdq, MMX, SSE2)
X86_IBOTH(0F, 0x6b, packssdw, MMX, SSE2)
X86_I128(0F, 66, 0x6c, punpcklqdq, SSE2)
X86_I128(0F, 66, 0x6d, punpckhqdq, SSE2)
X86_INSN(0F, NONE, 0x70, "pshufw", x86_mmx_pshufw, MMX, MMX_RM, 8, X86_SIMD_MMX_STATE | X86_SIMD_IMM8, SSE)
X86_I128_IMM(0F, 66, 0x70, pshufd, SSE2)
X86_I128_IMM(0F, F3, 0x70, pshufhw, SSE2)
X86_I128_IMM(0F, F2, 0x70, pshuflw, SSE2)
X86_IBOTH(0F, 0x74, pcmpeqb, MMX, SSE2)
X86_IBOTH(0F, 0x75, pcmpeqw, MMX, SSE2)
X86_IBOTH(0F, 0x76, pcmpeqd, MMX, SSE2)
X86_IBOTH(0F, 0xd1, psrlw, MMX, SSE2)
X86_IBOTH(0F, 0xd2, psrld, MMX, SSE2)
X86_IBOTH(0F, 0xd3, psrlq, MMX, SSE2)
X86_IBOTH(0F, 0xd4, paddq, SSE2, SSE2)
X86_IBOTH(0F, 0xd5, pmullw, MMX, SSE2)
X86_IBOTH(0F, 0xd8, psubusb, MMX, SSE2)
X86_IBOTH(0F, 0xd9, psubusw, MMX, SSE2)
X86_IBOTH(0F, 0xda, pminub, SSE, SSE2)
X86_IBOTH(0F, 0xdb, pand, MMX, SSE2)
X86_IBOTH(0F, 0xdc, paddusb, MMX, SSE2)
X86_IBOTH(0F, 0xdd, paddusw, MMX, SSE2)
X86_IBOTH(0F, 0xde, pmaxub, SSE, SSE2)
X86_IBOTH(0F, 0xdf, pandn, MMX, SSE2)
X86_IBOTH(0F, 0xe0, pavgb, SSE, SSE2)
X86_IBOTH(0F, 0xe1, psraw, MMX, SSE2)
X86_IBOTH(0F, 0xe2, psrad, MMX, SSE2)
X86_IBOTH(0F, 0xe3, pavgw, SSE, SSE2)
X86_IBOTH(0F, 0xe4, pmulhuw, SSE, SSE2)
X86_IBOTH(0F, 0xe5, pmulhw, MMX, SSE2)
X86_IBOTH(0F, 0xe8, psubsb, MMX, SSE2)
X86_IBOTH(0F, 0xe9, psubsw, MMX, SSE2)
X86_IBOTH(0F, 0xea, pminsw, SSE, SSE2)
X86_IBOTH(0F, 0xeb, por, MMX, SSE2)
X86_IBOTH(0F, 0xec, paddsb, MMX, SSE2)
X86_IBOTH(0F, 0xed, paddsw, MMX, SSE2)
X86_IBOTH(0F, 0xee, pmaxsw, SSE, SSE2)
X86_IBOTH(0F, 0xef, pxor, MMX, SSE2)
X86_IBOTH(0F, 0xf1, psllw, MMX, SSE2)
X86_IBOTH(0F, 0xf2, pslld, MMX, SSE2)
X86_IBOTH(0F, 0xf3, psllq, MMX, SSE2)
X86_IBOTH(0F, 0xf4, pmuludq, SSE2, SSE2)
X86_IBOTH(0F, 0xf5, pmaddwd, MMX, SSE2)
X86_IBOTH(0F, 0xf6, psadbw, SSE, SSE2)
X86_IBOTH(0F, 0xf8, psubb, MMX, SSE2)
X86_IBOTH(0F, 0xf9, psubw, MMX, SSE2)
X86_IBOTH(0F, 0xfa, psubd, MMX, SSE2)
X86_IBOTH(0F, 0xfb, psubq, SSE2, SSE2)
X86_IBOTH(0F, 0xfc, paddb, MMX, SSE2)
X86_IBOTH(0F, 0xfd, paddw, MMX, SSE2)
X86_IBOTH(0F, 0xfe, paddd, MMX, SSE2)

/* SSSE3. */
X86_IBOTH(0F38, 0x00, pshufb, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x01, phaddw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x02, phaddd, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x03, phaddsw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x04, pmaddubsw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x05, phsubw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x06, phsubd, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x07, phsubsw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x08, psignb, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x09, psignw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x0a, psignd, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x0b, pmulhrsw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x1c, pabsb, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x1d, pabsw, SSSE3, SSSE3)
X86_IBOTH(0F38, 0x1e, pabsd, SSSE3, SSSE3)
X86_INSN(0F3A, NONE, 0x0f, "palignr", x86_mmx_palignr, MMX, MMX_RM, 8, X86_SIMD_MMX_STATE | X86_SIMD_IMM8, SSSE3)
X86_I128_IMM(0F3A, 66, 0x0f, palignr, SSSE3)

/* SSE4.1 and SSE4.2. */
X86_INSN(0F38, 66, 0x10, "pblendvb", x86_simd_pblendvb, XMM, XMM_RM, 16,
         X86_SIMD_ALIGNED | X86_SIMD_IMPLICIT_XMM0, SSE41)
X86_INSN(0F38, 66, 0x14, "blendvps", x86_simd_blendvps, XMM, XMM_RM, 16,
         X86_SIMD_ALIGNED | X86_SIMD_IMPLICIT_XMM0, SSE41)
X86_INSN(0F38, 66, 0x15, "blendvpd", x86_simd_blendvpd, XMM, XMM_RM, 16,
         X86_SIMD_ALIGNED | X86_SIMD_IMPLICIT_XMM0, SSE41)
X86_INSN(0F38, 66, 0x17, "ptest", x86_simd_ptest, XMM, XMM_RM, 16,
         X86_SIMD_ALIGNED | X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE, SSE41)
X86_ISUB(0F38, 66, 0x20, pmovsxbw, 8, SSE41)
X86_ISUB(0F38, 66, 0x21, pmovsxbd, 4, SSE41)
X86_ISUB(0F38, 66, 0x22, pmovsxbq, 2, SSE41)
X86_ISUB(0F38, 66, 0x23, pmovsxwd, 8, SSE41)
X86_ISUB(0F38, 66, 0x24, pmovsxwq, 4, SSE41)
X86_ISUB(0F38, 66, 0x25, pmovsxdq, 8, SSE41)
X86_I128(0F38, 66, 0x28, pmuldq, SSE41)
X86_I128(0F38, 66, 0x29, pcmpeqq, SSE41)
X86_I128(0F38, 66, 0x2b, packusdw, SSE41)
X86_ISUB(0F38, 66, 0x30, pmovzxbw, 8, SSE41)
X86_ISUB(0F38, 66, 0x31, pmovzxbd, 4, SSE41)
X86_ISUB(0F38, 66, 0x32, pmovzxbq, 2, SSE41)
X86_ISUB(0F38, 66, 0x33, pmovzxwd, 8, SSE41)
X86_ISUB(0F38, 66, 0x34, pmovzxwq, 4, SSE41)
X86_ISUB(0F38, 66, 0x35, pmovzxdq, 8, SSE41)
X86_I128(0F38, 66, 0x37, pcmpgtq, SSE42)
X86_I128(0F38, 66, 0x38, pminsb, SSE41)
X86_I128(0F38, 66, 0x39, pminsd, SSE41)
X86_I128(0F38, 66, 0x3a, pminuw, SSE41)
X86_I128(0F38, 66, 0x3b, pminud, SSE41)
X86_I128(0F38, 66, 0x3c, pmaxsb, SSE41)
X86_I128(0F38, 66, 0x3d, pmaxsd, SSE41)
X86_I128(0F38, 66, 0x3e, pmaxuw, SSE41)
X86_I128(0F38, 66, 0x3f, pmaxud, SSE41)
X86_I128(0F38, 66, 0x40, pmulld, SSE41)
X86_I128(0F38, 66, 0x41, phminposuw, SSE41)
X86_I128_IMM(0F3A, 66, 0x08, roundps, SSE41)
X86_I128_IMM(0F3A, 66, 0x09, roundpd, SSE41)
X86_ISUB_IMM(0F3A, 66, 0x0a, roundss, 4, SSE41)
X86_ISUB_IMM(0F3A, 66, 0x0b, roundsd, 8, SSE41)
X86_I128_IMM(0F3A, 66, 0x0c, blendps, SSE41)
X86_I128_IMM(0F3A, 66, 0x0d, blendpd, SSE41)
X86_I128_IMM(0F3A, 66, 0x0e, pblendw, SSE41)
X86_ISUB_IMM(0F3A, 66, 0x21, insertps, 4, SSE41)
X86_I128_IMM(0F3A, 66, 0x40, dpps, SSE41)
X86_I128_IMM(0F3A, 66, 0x41, dppd, SSE41)
X86_I128_IMM(0F3A, 66, 0x42, mpsadbw, SSE41)

/* AES-NI and PCLMULQDQ. */
X86_I128(0F38, 66, 0xdb, aesimc, AES)
X86_I128(0F38, 66, 0xdc, aesenc, AES)
X86_I128(0F38, 66, 0xdd, aesenclast, AES)
X86_I128(0F38, 66, 0xde, aesdec, AES)
X86_I128(0F38, 66, 0xdf, aesdeclast, AES)
X86_I128_IMM(0F3A, 66, 0xdf, aeskeygenassist, AES)
X86_I128_IMM(0F3A, 66, 0x44, pclmulqdq, PCLMUL)

/* General registers, flags and special memory accesses. */
#define X86_IGPR(map, pfx, op, name, fn, dst, src, mem, flags, feat)                                           \
    X86_INSN(map, pfx, op, name, fn, dst, src, mem, X86_SIMD_USES_REXW | (flags), feat)
X86_IGPR(0F, F3, 0x2a, "cvtsi2ss", x86_simd_cvtsi2ss, XMM, GPR_RM, 0, 0, SSE)
X86_IGPR(0F, F2, 0x2a, "cvtsi2sd", x86_simd_cvtsi2sd, XMM, GPR_RM, 0, 0, SSE2)
X86_IGPR(0F, F3, 0x2c, "cvttss2si", x86_simd_cvttss2si, GPR, XMM_RM, 4, 0, SSE)
X86_IGPR(0F, F2, 0x2c, "cvttsd2si", x86_simd_cvttsd2si, GPR, XMM_RM, 8, 0, SSE2)
X86_IGPR(0F, F3, 0x2d, "cvtss2si", x86_simd_cvtss2si, GPR, XMM_RM, 4, 0, SSE)
X86_IGPR(0F, F2, 0x2d, "cvtsd2si", x86_simd_cvtsd2si, GPR, XMM_RM, 8, 0, SSE2)
X86_INSN(0F, NONE, 0x2e, "ucomiss", x86_simd_ucomiss, XMM, XMM_RM, 4, X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE, SSE)
X86_INSN(0F, 66, 0x2e, "ucomisd", x86_simd_ucomisd, XMM, XMM_RM, 8, X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE, SSE2)
X86_INSN(0F, NONE, 0x2f, "comiss", x86_simd_comiss, XMM, XMM_RM, 4, X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE, SSE)
X86_INSN(0F, 66, 0x2f, "comisd", x86_simd_comisd, XMM, XMM_RM, 8, X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE, SSE2)
X86_IGPR(0F, NONE, 0x50, "movmskps", x86_simd_movmskps, GPR, XMM_ONLY, 0, 0, SSE)
X86_IGPR(0F, 66, 0x50, "movmskpd", x86_simd_movmskpd, GPR, XMM_ONLY, 0, 0, SSE2)
X86_IGPR(0F, NONE, 0x6e, "movd", x86_mmx_movd_load, MMX, GPR_RM, 0, X86_SIMD_MMX_STATE, MMX)
X86_IGPR(0F, 66, 0x6e, "movd", x86_simd_movd_load, XMM, GPR_RM, 0, 0, SSE2)
X86_IGPR(0F, NONE, 0x7e, "movd", x86_simd_movd_store, GPR_RM, MMX, 0, X86_SIMD_MMX_STATE, MMX)
X86_IGPR(0F, 66, 0x7e, "movd", x86_simd_movd_store, GPR_RM, XMM, 0, 0, SSE2)
X86_IGPR(0F, NONE, 0xc4, "pinsrw", x86_mmx_pinsrw, MMX, GPR_RM, 2, X86_SIMD_MMX_STATE | X86_SIMD_IMM8, SSE)
X86_IGPR(0F, 66, 0xc4, "pinsrw", x86_simd_pinsrw, XMM, GPR_RM, 2, X86_SIMD_IMM8, SSE2)
X86_IGPR(0F, NONE, 0xc5, "pextrw", x86_mmx_pextrw, GPR, MMX_ONLY, 0, X86_SIMD_MMX_STATE | X86_SIMD_IMM8, SSE)
X86_IGPR(0F, 66, 0xc5, "pextrw", x86_simd_pextrw, GPR, XMM_ONLY, 0, X86_SIMD_IMM8, SSE2)
X86_IGPR(0F, NONE, 0xd7, "pmovmskb", x86_mmx_pmovmskb, GPR, MMX_ONLY, 0, X86_SIMD_MMX_STATE, SSE)
X86_IGPR(0F, 66, 0xd7, "pmovmskb", x86_simd_pmovmskb, GPR, XMM_ONLY, 0, 0, SSE2)
X86_IGPR(0F3A, 66, 0x14, "pextrb", x86_simd_pextrb, GPR_RM, XMM, 1, X86_SIMD_IMM8, SSE41)
X86_IGPR(0F3A, 66, 0x15, "pextrw", x86_simd_pextrw, GPR_RM, XMM, 2, X86_SIMD_IMM8, SSE41)
X86_IGPR(0F3A, 66, 0x16, "pextrd", x86_simd_pextrd, GPR_RM, XMM, 0, X86_SIMD_IMM8, SSE41)
X86_IGPR(0F3A, 66, 0x17, "extractps", x86_simd_extractps, GPR_RM, XMM, 4, X86_SIMD_IMM8, SSE41)
X86_IGPR(0F3A, 66, 0x20, "pinsrb", x86_simd_pinsrb, XMM, GPR_RM, 1, X86_SIMD_IMM8, SSE41)
X86_IGPR(0F3A, 66, 0x22, "pinsrd", x86_simd_pinsrd, XMM, GPR_RM, 0, X86_SIMD_IMM8, SSE41)
X86_INSN(0F, NONE, 0x2b, "movntps", x86_simd_mov128, MEM_ONLY, XMM, 16, X86_SIMD_ALIGNED, SSE)
X86_INSN(0F, 66, 0x2b, "movntpd", x86_simd_mov128, MEM_ONLY, XMM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, 66, 0xe7, "movntdq", x86_simd_mov128, MEM_ONLY, XMM, 16, X86_SIMD_ALIGNED, SSE2)
X86_INSN(0F, NONE, 0xe7, "movntq", x86_simd_mov_low64, MEM_ONLY, MMX, 8, X86_SIMD_MMX_STATE, SSE)
X86_INSN(0F38, 66, 0x2a, "movntdqa", x86_simd_mov128, XMM, MEM_ONLY, 16, X86_SIMD_ALIGNED, SSE41)
X86_INSN(0F, F2, 0xf0, "lddqu", x86_simd_mov128, XMM, MEM_ONLY, 16, 0, SSE3)
X86_INSN(0F, F3, 0xd6, "movq2dq", x86_simd_movq2dq, XMM, MMX_ONLY, 0, X86_SIMD_MMX_STATE, SSE2)
X86_INSN(0F, F2, 0xd6, "movdq2q", x86_mmx_movq, MMX, XMM_ONLY, 0, X86_SIMD_MMX_STATE, SSE2)
/* The core itself stores the selected bytes of dst at DS:rDI. */
X86_INSN(0F, NONE, 0xf7, "maskmovq", x86_simd_mov128, MMX, MMX_ONLY, 8, X86_SIMD_MMX_STATE | X86_SIMD_MASKMOV, SSE)
X86_INSN(0F, 66, 0xf7, "maskmovdqu", x86_simd_mov128, XMM, XMM_ONLY, 16, X86_SIMD_MASKMOV, SSE2)

/* SSE4.2 strings. */
#define X86_ISTRING(op, name)                                                                                  \
    X86_INSN(0F3A, 66, op, #name, x86_simd_##name, XMM, XMM_RM, 16,                                            \
             X86_SIMD_IMM8 | X86_SIMD_EFLAGS | X86_SIMD_NO_WRITE | X86_SIMD_USES_REXW, SSE42)
X86_ISTRING(0x60, pcmpestrm)
X86_ISTRING(0x61, pcmpestri)
X86_ISTRING(0x62, pcmpistrm)
X86_ISTRING(0x63, pcmpistri)

/* Shifts by an immediate: groups 12, 13 and 14. */
#define X86_ISHIFT(op, reg, name)                                                                              \
    X86_SHIFT_INSN(op, NONE, reg, #name, x86_mmx_##name##_imm, MMX_ONLY, MMX)                                  \
    X86_SHIFT_INSN(op, 66, reg, #name, x86_simd_##name##_imm, XMM_ONLY, SSE2)
X86_ISHIFT(0x71, 2, psrlw)
X86_ISHIFT(0x71, 4, psraw)
X86_ISHIFT(0x71, 6, psllw)
X86_ISHIFT(0x72, 2, psrld)
X86_ISHIFT(0x72, 4, psrad)
X86_ISHIFT(0x72, 6, pslld)
X86_ISHIFT(0x73, 2, psrlq)
X86_ISHIFT(0x73, 6, psllq)
X86_SHIFT_INSN(0x73, 66, 3, "psrldq", x86_simd_psrldq, XMM_ONLY, SSE2)
X86_SHIFT_INSN(0x73, 66, 7, "pslldq", x86_simd_pslldq, XMM_ONLY, SSE2)

#undef X86_I128
#undef X86_I128_IMM
#undef X86_ISUB
#undef X86_ISUB_IMM
#undef X86_IMMX
#undef X86_IBOTH
#undef X86_IPACKED
#undef X86_IFLOAT
#undef X86_ISHIFT
#undef X86_IGPR
#undef X86_ISTRING
