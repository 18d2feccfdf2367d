/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NVMe controller on a bare PCI bus, and a driver of its registers and queues (NVMe 1.4, 7.6.1), for cmocka; with RAM
 * at 0 and, at REMOTE, memory that can only be reached by calls.
 */
#ifndef TESTS_UNIT_NVME_RIG_H
#define TESTS_UNIT_NVME_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/trace.h"
#include "hw/nvme/nvme.h"

#define RAM_SIZE      (16u << 20)
#define REMOTE        0x40000000u
#define REMOTE_SIZE   (1u << 20)
#define BAR           0xe0000000u
#define DISK_SIZE     (8u << 20)
#define ASQ           0x10000u
#define ACQ           0x11000u
#define IOSQ          0x12000u
#define IOCQ          0x14000u
#define BUF           0x100000u
#define ADMIN_ENTRIES 8
#define IO_ENTRIES    16

#define DNR(status) ((status) | NVME_DNR)

extern const PciModel nvme_model;

typedef struct Queue {
    uint16_t qid, entries, tail, head;
    uint64_t sq, cq;
    bool phase;
} Queue;

typedef struct Fixture {
    Machine *m;
    uint8_t *ram, *remote;
    MemRegion *ram_region, *remote_region, *io;
    PciBus *bus;
    PciDevice *dev;
    char *path;
    Queue admin, io1;
    uint16_t cid;
    unsigned messages[8]; /* MSI-X by vector */
    int pin;
} Fixture;

typedef struct Completion {
    uint32_t result;
    uint16_t sqhd, sqid, cid, status;
} Completion;

void config_write(Fixture *f, uint16_t offset, uint32_t val, unsigned size);
void add_controller(Fixture *f);
/* A controller with 8 MiB of disk; read-only; on the engine of threads. */
int setup(void **state);
int setup_readonly(void **state);
int setup_threads(void **state);
int teardown(void **state);
uint64_t reg_get(Fixture *f, unsigned offset, unsigned size);
void reg_set(Fixture *f, unsigned offset, unsigned size, uint64_t val);
void enable(Fixture *f);
/* Puts a command into a queue without telling; its identifier. */
uint16_t push(Fixture *f, Queue *q, NvmeCmd cmd);
void ring(Fixture *f, Queue *q);
/* False: there is no completion yet. */
bool poll_cqe(Fixture *f, Queue *q, Completion *c);
/* Runs the loop until there is one. */
Completion wait_cqe(Fixture *f, Queue *q);
void ack(Fixture *f, Queue *q);
/* All of push, ring, wait_cqe, ack. */
Completion run(Fixture *f, Queue *q, NvmeCmd cmd);
/* The same in the admin queue; the status. */
uint16_t admin(Fixture *f, NvmeCmd cmd);
uint16_t create_cq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t vector, uint32_t flags);
uint16_t create_sq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t cqid);
/* Queue pair 1, with that vector. */
void create_io(Fixture *f, uint32_t vector);
void enable_msix(Fixture *f);
/* Read or Write of blocks of namespace 1. */
NvmeCmd rw(uint8_t opcode, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2);
/* A command in queue pair 1; the status. */
uint16_t io(Fixture *f, NvmeCmd cmd);
/* Bytes that depend on the seed. */
void fill(uint8_t *buf, size_t len, unsigned seed);
/* Writes at that address of memory, of which `host` is the pointer, and reads it back. */
void check_rw(Fixture *f, uint64_t buf, uint8_t *host);

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
