/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI Express capability, version 2 (PCI Express Base section 7.5.3). */
#ifndef LIB_VFIO_USER_PCI_CAPS_PX_H
#define LIB_VFIO_USER_PCI_CAPS_PX_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pxcaps {
    unsigned int ver : 4;
    unsigned int dpt : 4;
    unsigned int si : 1;
    unsigned int imn : 5;
    unsigned int res1 : 2;
} __attribute__((packed));

struct pxdcap {
    unsigned int mps : 3;
    unsigned int pfs : 2;
    unsigned int etfs : 1;
    unsigned int l0sl : 3;
    unsigned int l1sl : 3;
    unsigned int res1 : 3;
    unsigned int rer : 1;
    unsigned int res2 : 2;
    unsigned int csplv : 8;
    unsigned int cspls : 2;
    unsigned int flrc : 1;
    unsigned int res3 : 3;
} __attribute__((packed));

union pxdc {
    uint16_t raw;
    struct {
        unsigned int cere : 1;
        unsigned int nfere : 1;
        unsigned int fere : 1;
        unsigned int urre : 1;
        unsigned int ero : 1;
        unsigned int mps : 3;
        unsigned int ete : 1;
        unsigned int pfe : 1;
        unsigned int appme : 1;
        unsigned int ens : 1;
        unsigned int mrrs : 3;
        unsigned int iflr : 1;
    } __attribute__((packed));
} __attribute__((packed));

struct pxds {
    unsigned int ced : 1;
    unsigned int nfed : 1;
    unsigned int fed : 1;
    unsigned int urd : 1;
    unsigned int apd : 1;
    unsigned int tp : 1;
    unsigned int res1 : 10;
} __attribute__((packed));

struct pxlcap {
    unsigned int sls : 4;
    unsigned int mlw : 6;
    unsigned int aspms : 2;
    unsigned int l0sel : 3;
    unsigned int l1el : 3;
    unsigned int cpm : 1;
    unsigned int sderc : 1;
    unsigned int dllla : 1;
    unsigned int lbnc : 1;
    unsigned int aoc : 1;
    unsigned int res1 : 1;
    unsigned int pn : 8;
} __attribute__((packed));

union pxlc {
    uint16_t raw;
    struct {
        unsigned int aspmc : 2;
        unsigned int res1 : 1;
        unsigned int rcb : 1;
        unsigned int res2 : 2;
        unsigned int ccc : 1;
        unsigned int es : 1;
        unsigned int ecpm : 1;
        unsigned int hawd : 1;
        unsigned int res3 : 6;
    } __attribute__((packed));
} __attribute__((packed));

struct pxls {
    unsigned int cls : 4;
    unsigned int nlw : 6;
    unsigned int res1 : 2;
    unsigned int scc : 1;
    unsigned int res2 : 3;
} __attribute__((packed));

struct pxdcap2 {
    unsigned int ctrs : 4;
    unsigned int ctds : 1;
    unsigned int arifs : 1;
    unsigned int aors : 1;
    unsigned int aocs32 : 1;
    unsigned int aocs64 : 1;
    unsigned int ccs128 : 1;
    unsigned int nprpr : 1;
    unsigned int ltrs : 1;
    unsigned int tphcs : 2;
    unsigned int res1 : 4;
    unsigned int obffs : 2;
    unsigned int effs : 1;
    unsigned int eetps : 1;
    unsigned int meetp : 2;
    unsigned int res2 : 8;
} __attribute__((packed));

union pxdc2 {
    uint16_t raw;
    struct {
        unsigned int ctv : 4;
        unsigned int ctd : 1;
        unsigned int arife : 1;
        unsigned int aore : 1;
        unsigned int aoeb : 1;
        unsigned int idore : 1;
        unsigned int idoce : 1;
        unsigned int ltrme : 1;
        unsigned int res1 : 2;
        unsigned int obffe : 2;
        unsigned int eetpb : 1;
    } __attribute__((packed));
} __attribute__((packed));

struct pxcap {
    struct cap_hdr hdr;
    struct pxcaps pxcaps;
    struct pxdcap pxdcap;
    union pxdc pxdc;
    struct pxds pxds;
    struct pxlcap pxlcap;
    union pxlc pxlc;
    struct pxls pxls;
    uint32_t sltcap;
    uint16_t sltctl;
    uint16_t sltsts;
    uint16_t rtctl;
    uint16_t rtcap;
    uint32_t rtsts;
    struct pxdcap2 pxdcap2;
    union pxdc2 pxdc2;
    uint16_t pxds2;
    uint32_t lnkcap2;
    uint16_t lnkctl2;
    uint16_t lnksts2;
    uint32_t sltcap2;
    uint16_t sltctl2;
    uint16_t sltsts2;
} __attribute__((packed));

#ifdef __cplusplus
}
#endif

#endif
