/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System management RAM: the two views of memory that a PC's processors have, outside system management mode (the
 * machine's own, which devices have too) and inside it (Machine.smm_memory).  The host bridge says what is where.
 * Context: topology changes (main loop's lock).
 */
#ifndef HW_I386_SMRAM_H
#define HW_I386_SMRAM_H

#include "core/machine.h"

typedef struct Smram Smram;

/* What the host bridge's registers ask for; all zero: there is no SMRAM. */
typedef struct SmramMap {
    bool open;           /* D_OPEN: the window below is seen outside SMM too */
    bool low;            /* RAM at A0000h..BFFFFh in SMM */
    bool high;           /* the same RAM, but at FEDA0000h..FEDBFFFFh */
    uint64_t tseg_base;  /* top segment: seen in SMM alone, reads as ones outside; bytes, multiples of 4 KiB */
    uint64_t tseg_size;  /* 0: none */
} SmramMap;

/* For a board's start, before its CPUs: machine_smm_setup().  Offsets in m->ram are physical addresses below tseg's end. */
Smram *smram_new(Machine *m);
void smram_set(Smram *s, const SmramMap *map);
/* NULL is allowed. */
void smram_free(Smram *s);

#endif
