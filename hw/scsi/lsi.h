/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lsi53c895a: what its files share.  lsi53c895a.c has registers, interrupts, life and state; lsi-scripts.c executes
 * SCRIPTS; lsi-bus.c is the SCSI bus as the chip sees it: connections, phases, messages, and the targets' side of them.
 *
 * Context: the home lock, all of it.
 */
#ifndef HW_SCSI_LSI_H
#define HW_SCSI_LSI_H

#include "hw/pci/pci.h"
#include "hw/scsi/scsi.h"
#include "lsi-regs.h"

#define LSI_OWN_ID      7
#define LSI_MAX_REQS    256
#define LSI_MSG_LEN     16
#define LSI_SCRATCH_COUNT 16 /* C to R */

typedef struct Lsi Lsi;

typedef enum LsiState {
    LSI_STOPPED,
    LSI_RUNNING,
    LSI_WAIT_RESELECT, /* at a WAIT RESELECT */
    LSI_WAIT_TARGET,   /* at an instruction that needs the target's next phase */
    LSI_WAIT_DISCONNECT,
} LsiState;

/* What must not happen in the middle of an instruction. */
enum { LSI_PENDING_CHIP_RESET = 1, LSI_PENDING_BUS_RESET = 2, LSI_PENDING_ABORT = 4 };

/* What the target does when its last message was taken. */
typedef enum LsiLeaving { LSI_STAYS, LSI_DISCONNECTS, LSI_COMPLETES } LsiLeaving;

typedef enum LsiReqState {
    LSI_REQ_BUSY, /* at the disk */
    LSI_REQ_DATA, /* req->len - pos bytes are to be transferred */
    LSI_REQ_DONE, /* status is to be sent */
} LsiReqState;

/* A command between its CDB and COMMAND COMPLETE. */
typedef struct LsiReq {
    Lsi *s;
    ScsiReq *req; /* NULL: refused by the target with `status` */
    uint8_t id, lun, tag, status;
    bool tagged, may_disconnect;
    LsiReqState state;
    uint32_t pos;
} LsiReq;

/* A block move that has begun. */
typedef struct LsiMove {
    bool active, table;
    uint8_t phase, high; /* the phase it is for; upper byte of its count as it was fetched */
    uint32_t left, done; /* bytes */
    uint32_t insn, entry; /* addresses: of the instruction, of the table's entry */
    uint64_t addr;
} LsiMove;

struct Lsi {
    PciDevice pci;
    ScsiBus *bus;
    MemRegion *ram_region;
    uint8_t *ram;
    int ram_fd;

    uint8_t scntl0, scntl1, scntl2, scntl3, scid, sxfer, sdid, gpreg, sfbr, socl, ssid;
    uint8_t dstat, sstat0, sstat2, istat0, istat1, mbox0, mbox1;
    uint8_t ctest0, ctest2, ctest3, ctest4, ctest5, ctest6, dfifo;
    uint8_t dmode, dien, sbr, dcntl, sien0, sien1, sist0, sist1, slpar, swide, macntl, gpcntl, stime0, stime1;
    uint8_t respid0, respid1, stest0, stest1, stest2, stest3, ccntl0, ccntl1;
    uint16_t sidl, sodl;
    uint32_t dsa, temp, dbc, dnad, dsp, dsps, scratcha, scratchb, adder; /* dbc: DCMD is its upper byte */
    uint32_t scratch[LSI_SCRATCH_COUNT];
    uint32_t mmrs, mmws, sfs, drs, sbms, dbms, dnad64, pmjad1, pmjad2, rbc, ua, esa, ia, sbc, csbc;

    /* SCRIPTS */
    uint8_t state; /* LsiState */
    bool carry;
    bool unanswered; /* a selection: found out while the next instruction is executed */
    LsiMove move;
    bool in_run; /* inside the loop that executes: what changes is seen by it */
    bool saving; /* SCRIPTS do not see what disks say now */
    uint8_t pending; /* LSI_PENDING_*: asked for by a transfer of our own */
    LoopBh *bh;
    Timer *general; /* SIST1 GEN */
    uint64_t general_deadline; /* guest ns; 0: not set */

    /* the bus */
    bool connected;
    uint8_t phase;   /* LSI_PHASE_* */
    uint8_t leaving; /* LsiLeaving */
    uint8_t nexus_id, nexus_lun, nexus_tag;
    bool nexus_tagged, nexus_disconnect;
    uint8_t msg_in[LSI_MSG_LEN], msg_in_len, msg_in_pos;
    uint8_t msg_out[LSI_MSG_LEN], msg_out_len;
    LsiReq *current;   /* of the present connection; NULL: none or no command yet */
    GPtrArray *reqs;   /* of LsiReq *, oldest first */
    bool starting;     /* inside scsi_req_start or _continue for the present connection */

    /* saved */
    uint8_t *saved_reqs, *saved_ram;
    uint32_t saved_reqs_len, saved_ram_len;
};

/* --- lsi53c895a.c --- */
extern const RegDef lsi_regs[];
void lsi_update_irq(Lsi *s);
/* Carries out what was asked for while an instruction was executed. */
void lsi_take_pending(Lsi *s);
/* Interrupt conditions; those that are fatal stop SCRIPTS. */
void lsi_dma_interrupt(Lsi *s, uint8_t dstat);
void lsi_scsi_interrupt(Lsi *s, uint8_t sist0, uint8_t sist1);
/* Memory as SCRIPTS see it: the chip's own RAM and registers at their addresses, else the bus.  False: bus fault. */
bool lsi_mem_read(Lsi *s, uint64_t addr, void *buf, uint32_t len);
bool lsi_mem_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len);
/* I/O space, of which the chip reaches its own registers only.  False: bus fault. */
bool lsi_io_read(Lsi *s, uint64_t addr, void *buf, uint32_t len);
bool lsi_io_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len);

/* --- lsi-scripts.c --- */
/* Begins at s->dsp. */
void lsi_start(Lsi *s);
/* Executes for a bounded time; the rest is done by the bottom half. */
void lsi_run(Lsi *s);
/* The signal bit was set. */
void lsi_signalled(Lsi *s);

/* --- lsi-bus.c --- */
extern const ScsiHostOps lsi_host_ops;
/* False: nobody answers. */
bool lsi_select(Lsi *s, unsigned id, bool atn);
/*
 * The initiator begins to send a message.  A target that waits for its command takes one although there is no attention:
 * SeaBIOS selects without, and sends IDENTIFY.
 */
void lsi_offer_message(Lsi *s);
/* A target that waits for it gets the bus.  False: there is none. */
bool lsi_reselect(Lsi *s);
void lsi_set_atn(Lsi *s, bool on);
/* The initiator has acknowledged the last byte: the target goes on. */
void lsi_acknowledge(Lsi *s);
/* Moves what the present phase has, up to `len` bytes, at most what it can at once.  Bytes, or -1 after a bus fault. */
int64_t lsi_bus_transfer(Lsi *s, uint64_t addr, uint32_t len);
/* SCSI reset: every target forgets its commands. */
void lsi_bus_reset(Lsi *s);
void lsi_reqs_save(Lsi *s, GByteArray *out);
bool lsi_reqs_load(Lsi *s, const uint8_t *data, size_t len);

#endif
