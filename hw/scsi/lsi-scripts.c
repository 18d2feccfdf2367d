/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SCRIPTS processor (53C895A technical manual, chapter 5): block move, I/O, read/write, transfer control, memory
 * move, load and store.  It executes for a bounded time, then lets others have the loop: a script that never ends costs
 * what a busy CPU costs, no more.
 */
#include <string.h>

#include "lsi.h"

#define BURST          4096 /* what may be executed at once: instructions, and 64-byte pieces of data */
#define COST_OF(bytes) (1 + (bytes) / 64)
#define MOVE_PIECE     4096u

/* First dword (5.2 to 5.8). */
#define INSN_TYPE(w)       ((w) >> 30)
#define INSN_OPCODE(w)     ((w) >> 27 & 7)
#define INSN_PHASE(w)      ((w) >> 24 & 7)
#define INSN_COUNT(w)      ((w)&0xffffff)
#define MOVE_INDIRECT      (1u << 29)
#define MOVE_TABLE         (1u << 28)
#define IO_RELATIVE        (1u << 26)
#define IO_TABLE           (1u << 25)
#define IO_ATN             (1u << 24)
#define IO_CARRY           (1u << 10)
#define IO_TARGET          (1u << 9)
#define IO_SET_ACK         (1u << 6)
#define IO_SET_ATN         (1u << 3)
#define RW_USE_SFBR        (1u << 23)
#define TC_RELATIVE        (1u << 23)
#define TC_CARRY           (1u << 21)
#define TC_ON_THE_FLY      (1u << 20)
#define TC_IF_TRUE         (1u << 19)
#define TC_DATA            (1u << 18)
#define TC_PHASE           (1u << 17)
#define TC_WAIT            (1u << 16)
#define LS_MEMORY_MOVE     (1u << 29) /* clear: memory move */
#define LS_DSA_RELATIVE    (1u << 28)
#define LS_LOAD            (1u << 24)

enum { IO_SELECT, IO_WAIT_DISCONNECT, IO_WAIT_RESELECT, IO_SET, IO_CLEAR, RW_FROM_SFBR, RW_TO_SFBR, RW_MODIFY };
enum { TC_JUMP, TC_CALL, TC_RETURN, TC_INT };
enum { ALU_MOVE, ALU_SHL, ALU_OR, ALU_XOR, ALU_AND, ALU_SHR, ALU_ADD, ALU_ADC };

static int32_t sign_extend24(uint32_t v)
{
    return (int32_t)(v << 8) >> 8;
}

/* --- memory --- */

static bool fetch(Lsi *s, uint64_t addr, uint32_t *words, unsigned n)
{
    if (lsi_mem_read(s, addr, words, n * 4)) {
        return true; /* little endian, as x86-64 hosts */
    }
    guest_error(&s->pci.dev, "SCRIPTS at 0x%08x: no memory at 0x%" G_GINT64_MODIFIER "x", s->dsp, addr);
    lsi_dma_interrupt(s, LSI_DSTAT_BF);
    return false;
}

static uint64_t with_upper(uint32_t upper, uint32_t low)
{
    return (uint64_t)upper << 32 | low;
}

static void illegal(Lsi *s, const char *why)
{
    guest_error(&s->pci.dev, "SCRIPTS before 0x%08x: instruction 0x%08x: %s", s->dsp, s->dbc, why);
    lsi_dma_interrupt(s, LSI_DSTAT_IID);
}

/* Comes back to the instruction at s->ia when the target has chosen a phase. */
static void wait_for_target(Lsi *s)
{
    s->state = LSI_WAIT_TARGET;
}

/* --- block move (5.3) --- */

/* The address of a table entry's second dword and the upper byte of its first (4.5, CCNTL1). */
static uint64_t table_address(Lsi *s, const uint32_t entry[2])
{
    const uint32_t upper[] = {s->mmrs, s->mmws, s->sfs, s->drs, s->sbms, s->dbms};
    unsigned selector = entry[0] >> 24 & 0x1f;

    if (!(s->ccntl1 & LSI_CCNTL1_EN64TIBMV)) {
        return with_upper(s->dbms, entry[1]);
    }
    if (!(s->ccntl1 & LSI_CCNTL1_64TIMOD)) {
        return with_upper(entry[0] >> 24, entry[1]);
    }
    if (selector < LSI_SCRATCH_COUNT) {
        return with_upper(s->scratch[selector], entry[1]);
    }
    selector -= LSI_SCRATCH_COUNT;
    return with_upper(selector < G_N_ELEMENTS(upper) ? upper[selector] : 0, entry[1]);
}

static void move_decode(Lsi *s)
{
    LsiMove *m = &s->move;
    uint32_t insn = s->dbc, entry[2];

    *m = (LsiMove){.insn = s->dsp - 8, .phase = (uint8_t)INSN_PHASE(insn), .high = (uint8_t)(insn >> 24)};
    m->entry = m->insn;
    m->left = INSN_COUNT(insn);
    if (insn & MOVE_TABLE) {
        m->table = true;
        m->entry = s->dsa + (uint32_t)sign_extend24(s->dsps);
        if (!fetch(s, m->entry, entry, 2)) {
            return;
        }
        m->high = (uint8_t)(entry[0] >> 24);
        m->left = INSN_COUNT(entry[0]);
        m->addr = table_address(s, entry);
    } else if (insn & MOVE_INDIRECT) {
        if (!fetch(s, s->dsps, entry, 1)) {
            return;
        }
        m->addr = with_upper(s->dbms, entry[0]);
    } else {
        m->addr = with_upper(s->dbms, s->dsps);
        if (s->ccntl1 & LSI_CCNTL1_EN64DBMV) {
            if (!fetch(s, with_upper(s->sfs, s->dsp), entry, 1)) {
                return;
            }
            s->dsp += 4;
            m->addr = with_upper(entry[0], s->dsps);
        }
    }
    if (!m->left) {
        illegal(s, "moves no bytes");
        return;
    }
    m->active = true;
}

static void move_show(Lsi *s)
{
    const LsiMove *m = &s->move;

    s->dbc = (s->dbc & 0xff000000u) | m->left;
    s->dnad = (uint32_t)m->addr;
    s->dnad64 = (uint32_t)(m->addr >> 32);
}

/* The target is in another phase than the move is for (4.5, PMJAD1; 4.2, SIST0 M/A). */
static void phase_mismatch(Lsi *s)
{
    LsiMove *m = &s->move;
    bool data = m->phase <= LSI_PHASE_DATA_IN;
    bool second;

    m->active = false;
    move_show(s);
    if (!(s->ccntl0 & LSI_CCNTL0_ENPMJ) || (!data && !(s->ccntl0 & LSI_CCNTL0_ENNDJ))) {
        lsi_scsi_interrupt(s, LSI_SIST0_MA, 0);
        return;
    }
    s->rbc = (uint32_t)m->high << 24 | m->left;
    s->ua = (uint32_t)m->addr;
    s->esa = m->entry;
    s->ia = m->insn;
    s->sbc = m->done;
    second = s->ccntl0 & LSI_CCNTL0_PMJCTL ? m->phase & 1 : s->scntl2 & LSI_SCNTL2_WSR;
    s->dsp = second ? s->pmjad2 : s->pmjad1;
}

/* What can be moved now.  Its cost. */
static unsigned move_go_on(Lsi *s)
{
    LsiMove *m = &s->move;
    int64_t n;

    if (s->socl & LSI_SOCL_ACK) {
        lsi_acknowledge(s);
    }
    if (!s->connected) {
        m->active = false;
        move_show(s);
        lsi_scsi_interrupt(s, LSI_SIST0_UDC, 0);
        return 1;
    }
    if (s->phase == LSI_PHASE_NONE) {
        wait_for_target(s);
        return 1;
    }
    if (m->phase == LSI_PHASE_MSG_OUT) {
        lsi_offer_message(s);
    }
    if (s->phase != m->phase) {
        phase_mismatch(s);
        return 1;
    }
    n = lsi_bus_transfer(s, m->addr, m->left);
    if (n < 0) {
        m->active = false;
        lsi_dma_interrupt(s, LSI_DSTAT_BF);
        return 1;
    }
    m->addr += (uint64_t)n;
    m->left -= (uint32_t)n;
    m->done += (uint32_t)n;
    s->csbc += m->phase <= LSI_PHASE_DATA_IN ? (uint32_t)n : 0;
    m->active = m->left != 0;
    move_show(s);
    return COST_OF((unsigned)n);
}

/* --- I/O instructions (5.4) --- */

static uint32_t jump_address(const Lsi *s, bool relative)
{
    return relative ? s->dsp + (uint32_t)sign_extend24(s->dsps) : s->dsps;
}

static void io_select(Lsi *s)
{
    uint32_t insn = s->dbc, entry, id = insn >> 16 & 0xf;
    uint32_t alternate = jump_address(s, insn & IO_RELATIVE);

    if (insn & IO_TABLE) {
        if (!fetch(s, s->dsa + (uint32_t)sign_extend24(insn), &entry, 1)) {
            return;
        }
        id = entry >> 16 & 0xf;
        s->scntl3 = (uint8_t)(entry >> 24);
        s->sxfer = (uint8_t)(entry >> 8);
    }
    s->sstat0 &= (uint8_t)~LSI_SSTAT0_WOA;
    if (s->socl & LSI_SOCL_ACK) {
        lsi_acknowledge(s); /* SeaBIOS takes the last message in and never waits for the bus to be free */
    }
    if (s->connected) { /* somebody has reselected first */
        s->dsp = alternate;
    } else {
        s->unanswered = !lsi_select(s, id, insn & IO_ATN);
    }
}

static void io_wait_disconnect(Lsi *s)
{
    if (s->socl & LSI_SOCL_ACK) {
        lsi_acknowledge(s);
    }
    if (s->connected) {
        s->state = LSI_WAIT_DISCONNECT;
    }
}

static void io_wait_reselect(Lsi *s)
{
    if (s->istat0 & LSI_ISTAT0_SIGP) {
        s->dsp = jump_address(s, s->dbc & IO_RELATIVE);
    } else if (!s->connected && !lsi_reselect(s)) {
        s->state = LSI_WAIT_RESELECT;
    }
}

static void io_set(Lsi *s, bool on)
{
    uint32_t insn = s->dbc;

    if (insn & IO_CARRY) {
        s->carry = on;
    }
    if (insn & IO_SET_ATN) {
        lsi_set_atn(s, on);
    }
    if (insn & IO_SET_ACK) {
        if (on) {
            s->socl |= LSI_SOCL_ACK;
        } else {
            lsi_acknowledge(s);
        }
    }
    if (insn & IO_TARGET) {
        s->scntl0 = (uint8_t)((s->scntl0 & ~LSI_SCNTL0_TRG) | (on ? LSI_SCNTL0_TRG : 0));
    }
}

/* --- read/write instructions (5.5) --- */

static uint8_t alu(Lsi *s, unsigned op, uint8_t a, uint8_t b)
{
    unsigned sum;

    switch (op) {
    case ALU_MOVE:
        return b;
    case ALU_SHL:
        sum = (unsigned)a << 1 | s->carry;
        s->carry = a >> 7;
        return (uint8_t)sum;
    case ALU_OR:
        return a | b;
    case ALU_XOR:
        return a ^ b;
    case ALU_AND:
        return a & b;
    case ALU_SHR:
        sum = a >> 1 | (unsigned)s->carry << 7;
        s->carry = a & 1;
        return (uint8_t)sum;
    default:
        sum = a + b + (op == ALU_ADC ? s->carry : 0u);
        s->carry = sum > 0xff;
        return (uint8_t)sum;
    }
}

static uint8_t reg_get(Lsi *s, unsigned reg)
{
    uint64_t val = 0;

    reg_read(lsi_regs, s, reg, 1, &val);
    return (uint8_t)val;
}

static void read_write(Lsi *s)
{
    uint32_t insn = s->dbc;
    unsigned reg = (insn >> 16 & 0x7f) | (insn & 0x80), op = INSN_PHASE(insn);
    uint8_t operand = insn & RW_USE_SFBR ? s->sfbr : (uint8_t)(insn >> 8);

    switch (INSN_OPCODE(insn)) {
    case RW_FROM_SFBR:
        reg_write(lsi_regs, s, reg, 1, alu(s, op, s->sfbr, operand));
        break;
    case RW_TO_SFBR:
        s->sfbr = alu(s, op, reg_get(s, reg), operand);
        break;
    default:
        reg_write(lsi_regs, s, reg, 1, alu(s, op, reg_get(s, reg), operand));
        break;
    }
}

static void io_instruction(Lsi *s)
{
    switch (INSN_OPCODE(s->dbc)) {
    case IO_SELECT:
        io_select(s);
        break;
    case IO_WAIT_DISCONNECT:
        io_wait_disconnect(s);
        break;
    case IO_WAIT_RESELECT:
        io_wait_reselect(s);
        break;
    case IO_SET:
        io_set(s, true);
        break;
    case IO_CLEAR:
        io_set(s, false);
        break;
    default:
        read_write(s);
        break;
    }
}

/* --- transfer control (5.6) --- */

/* 1: the condition holds, 0: it does not, -1: the target has yet to say. */
static int condition(Lsi *s)
{
    uint32_t insn = s->dbc;
    bool holds = true;

    if (insn & TC_CARRY) {
        return s->carry == !!(insn & TC_IF_TRUE);
    }
    if (insn & TC_WAIT && insn & TC_PHASE) {
        if (s->socl & LSI_SOCL_ACK) {
            lsi_acknowledge(s);
        }
        if (s->connected && s->phase == LSI_PHASE_NONE) {
            return -1;
        }
    }
    if (insn & TC_PHASE) {
        holds = s->phase == INSN_PHASE(insn);
    }
    if (insn & TC_DATA) {
        uint8_t mask = (uint8_t) ~(insn >> 8);

        holds = holds && (s->sfbr & mask) == (insn & mask);
    }
    return holds == !!(insn & TC_IF_TRUE);
}

static void transfer_control(Lsi *s)
{
    uint32_t insn = s->dbc, target = jump_address(s, insn & TC_RELATIVE);
    int holds;

    /* WHEN on a bus that nobody is connected to: the target has left unexpectedly. */
    if (insn & TC_WAIT && insn & TC_PHASE && !s->connected) {
        lsi_scsi_interrupt(s, LSI_SIST0_UDC, 0);
        return;
    }
    holds = condition(s);
    if (holds < 0) {
        s->dsp -= 8;
        wait_for_target(s);
        return;
    }
    if (!holds) {
        return;
    }
    switch (INSN_OPCODE(insn)) {
    case TC_CALL:
        s->temp = s->dsp;
        s->dsp = target;
        break;
    case TC_JUMP:
        s->dsp = target;
        break;
    case TC_RETURN:
        s->dsp = s->temp;
        break;
    case TC_INT:
        if (insn & TC_ON_THE_FLY) {
            s->istat0 |= LSI_ISTAT0_INTF;
            lsi_update_irq(s);
        } else {
            lsi_dma_interrupt(s, LSI_DSTAT_SIR);
        }
        break;
    default:
        illegal(s, "no such transfer control");
        break;
    }
}

/* --- memory move, load and store (5.7, 5.8) --- */

static unsigned memory_move(Lsi *s)
{
    uint8_t piece[MOVE_PIECE];
    uint32_t target, len = INSN_COUNT(s->dbc), done = 0;

    if (!fetch(s, with_upper(s->sfs, s->dsp), &target, 1)) {
        return 1;
    }
    s->dsp += 4;
    s->temp = target;
    if (!len || (s->dsps ^ target) & 3) {
        illegal(s, len ? "source and destination are not aligned to each other" : "moves no bytes");
        return 1;
    }
    while (done < len) {
        uint32_t n = MIN(len - done, (uint32_t)sizeof(piece));

        if (!(s->dmode & LSI_DMODE_SIOM ? lsi_io_read : lsi_mem_read)(s, with_upper(s->mmrs, s->dsps + done), piece, n) ||
            !(s->dmode & LSI_DMODE_DIOM ? lsi_io_write : lsi_mem_write)(s, with_upper(s->mmws, target + done), piece, n)) {
            lsi_dma_interrupt(s, LSI_DSTAT_BF);
            return COST_OF(done);
        }
        done += n;
    }
    return COST_OF(len);
}

static void load_store(Lsi *s)
{
    uint32_t insn = s->dbc, len = insn & 7, reg = insn >> 16 & 0xff;
    uint64_t val = 0, addr;

    if (!len || len > 4 || (reg & 3) + len > 4) {
        illegal(s, "loads or stores beyond one register");
        return;
    }
    addr = insn & LS_DSA_RELATIVE ? with_upper(s->drs, s->dsa + (uint32_t)sign_extend24(s->dsps))
                                  : with_upper(insn & LS_LOAD ? s->mmrs : s->mmws, s->dsps);
    if (insn & LS_LOAD) {
        if (!lsi_mem_read(s, addr, &val, len)) {
            lsi_dma_interrupt(s, LSI_DSTAT_BF);
            return;
        }
        reg_write(lsi_regs, s, reg, len, val);
    } else {
        reg_read(lsi_regs, s, reg, len, &val);
        if (!lsi_mem_write(s, addr, &val, len)) {
            lsi_dma_interrupt(s, LSI_DSTAT_BF);
        }
    }
}

/* --- the loop --- */

/* SCRIPTS go on while a selection is under way, until they need its outcome. */
static bool needs_target(uint32_t insn)
{
    switch (INSN_TYPE(insn)) {
    case 0:
        return true;
    case 1:
        return INSN_OPCODE(insn) <= IO_WAIT_RESELECT;
    case 2:
        return insn & TC_WAIT || INSN_OPCODE(insn) == TC_INT;
    default:
        return false;
    }
}

static unsigned execute(Lsi *s)
{
    uint32_t words[2];

    if (!fetch(s, with_upper(s->sfs, s->dsp), words, 2)) {
        return 1;
    }
    s->dbc = words[0];
    s->dsps = words[1];
    s->dsp += 8;
    if (!words[0] && !words[1]) {
        return 1; /* by the data book illegal; SeaBIOS leaves it where a command has no data, and it does nothing */
    }
    if (s->unanswered && needs_target(words[0])) {
        lsi_scsi_interrupt(s, 0, LSI_SIST1_STO);
        return 1;
    }
    switch (INSN_TYPE(words[0])) {
    case 0:
        move_decode(s);
        return 1;
    case 1:
        io_instruction(s);
        return 1;
    case 2:
        transfer_control(s);
        return 1;
    default:
        if (!(words[0] & LS_MEMORY_MOVE)) {
            return memory_move(s);
        }
        load_store(s);
        return 1;
    }
}

/* Whether what was waited for is there. */
static void wake(Lsi *s)
{
    if (s->state == LSI_WAIT_TARGET && (!s->connected || s->phase != LSI_PHASE_NONE)) {
        s->state = LSI_RUNNING;
    } else if (s->state == LSI_WAIT_DISCONNECT && !s->connected) {
        s->state = LSI_RUNNING;
    } else if (s->state == LSI_WAIT_RESELECT && !s->connected && lsi_reselect(s)) {
        s->state = LSI_RUNNING;
    }
}

void lsi_run(Lsi *s)
{
    unsigned spent = 0;

    if (s->in_run) {
        return;
    }
    if (s->saving || device_rests(&s->pci.dev)) {
        loop_bh_schedule(s->bh);
        return;
    }
    s->in_run = true;
    wake(s);
    while (s->state == LSI_RUNNING && spent < BURST) {
        spent += s->move.active ? move_go_on(s) : execute(s);
        lsi_take_pending(s);
        if (s->state == LSI_RUNNING && !s->move.active && s->dcntl & LSI_DCNTL_SSM) {
            lsi_dma_interrupt(s, LSI_DSTAT_SSI);
        }
        wake(s);
    }
    if (s->unanswered && spent >= BURST) {
        lsi_scsi_interrupt(s, 0, LSI_SIST1_STO); /* its time is over too */
    }
    s->in_run = false;
    if (s->state == LSI_RUNNING) {
        loop_bh_schedule(s->bh);
    }
}

void lsi_start(Lsi *s)
{
    s->move.active = false;
    s->state = LSI_RUNNING;
    lsi_run(s);
}

void lsi_signalled(Lsi *s)
{
    if (s->state == LSI_WAIT_RESELECT) {
        s->dsp = jump_address(s, s->dbc & IO_RELATIVE);
        s->state = LSI_RUNNING;
        lsi_run(s);
    }
}
