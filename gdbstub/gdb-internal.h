/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the stub share: framing (packet.c), registers (registers.c), commands (commands.c), run control. */
#ifndef GDBSTUB_GDB_INTERNAL_H
#define GDBSTUB_GDB_INTERNAL_H

#include "accel/accel.h"
#include "chardev/chardev.h"
#include "gdbstub/gdbstub.h"

/* Bytes of a packet, either way; "PacketSize=" says so. */
#define GDB_PACKET_MAX 16384u
/* Points of all kinds together. */
#define GDB_POINTS_MAX 256u

enum { GDB_SIGINT = 2, GDB_SIGTRAP = 5 };
/* Numbers of E packets. */
enum { GDB_EINVAL = 22, GDB_EFAULT = 14, GDB_ESRCH = 3, GDB_ENOSPC = 28 };

/* Where the reader is in a packet. */
typedef enum GdbFrame { GDB_IDLE, GDB_BODY, GDB_ESCAPED, GDB_SUM_HIGH, GDB_SUM_LOW } GdbFrame;

typedef struct GdbStop {
    unsigned vcpu;
    X86DebugPoint why;
} GdbStop;

typedef struct GdbStub {
    Machine *m;
    Chardev *chr;
    bool own_chr;       /* made for the stub */
    bool has_points;    /* the accelerator has points and single steps; else the debugger only looks and stops */
    /* packets */
    GdbFrame frame;
    GString *in;        /* body so far; longer than GDB_PACKET_MAX: dropped */
    uint8_t sum;        /* of the body, and what the other side says it is */
    uint8_t sum_said;
    GString *last;      /* the last packet sent, as it went out */
    bool acks;
    /* the machine */
    bool attached;      /* the debugger has spoken */
    bool stopped_here;  /* this stub has stopped the machine: detaching lets it run */
    bool expects_stop;  /* the debugger waits for the next stop */
    unsigned current;   /* vCPU of g, m and so on */
    unsigned listed;    /* next vCPU of qsThreadInfo */
    GArray *points;     /* of X86DebugPoint; EXEC ones have len 0 for software, 1 for hardware breakpoints */
    GMutex stops_lock;
    GArray *stops;      /* of GdbStop: not told yet */
    LoopBh *stopped_bh;
} GdbStub;

/* --- packet.c --- */
/* Takes bytes from the other side; whole packets go to gdb_command(). */
void gdb_receive(GdbStub *s, const uint8_t *buf, size_t len);
void gdb_send(GdbStub *s, const char *body, size_t len);
void gdb_send_text(GdbStub *s, const char *text);
/* "E" and two digits. */
void gdb_send_error(GdbStub *s, int number);
void gdb_append_hex(GString *out, const void *bytes, size_t len);
/* Hex digits to bytes; false when there are not 2 * len of them. */
bool gdb_parse_hex(const char *text, void *bytes, size_t len);
/* A hex number, most significant digit first, and behind it `end` (0: anything); false when it is none or has over 64 bits. */
bool gdb_parse_number(const char **text, char end, uint64_t *val);

/* --- registers.c --- */
/* The description the debugger gets: target.xml.  g_free. */
char *gdb_target_xml(void);
unsigned gdb_register_count(void);
/* Appends the register in hex; false: no such register. */
bool gdb_register_read(const X86CpuState *state, unsigned n, GString *out);
/* Takes the register's hex digits from *text and steps over them; false: too few, or no such register. */
bool gdb_register_write(X86CpuState *state, unsigned n, const char **text);
/* How many registers "g" holds: the core ones, SSE's and segment bases. */
unsigned gdb_general_count(void);

/* --- commands.c --- */
void gdb_command(GdbStub *s, const char *body, size_t len);

/* --- gdbstub.c --- */
Vcpu *gdb_vcpu(GdbStub *s, unsigned index); /* NULL: there is none */
void gdb_stop_machine(GdbStub *s);
/* All run, or those of a list of VcpuDebug (points are filled in), one for each vCPU; NULL: all. */
void gdb_resume(GdbStub *s, VcpuDebug *actions);
void gdb_send_stop(GdbStub *s, const GdbStop *stop, int signal);
/* All points go, and the machine runs if this stub had stopped it. */
void gdb_let_go(GdbStub *s);

#endif
