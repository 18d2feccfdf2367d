/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine of the contract test: a bare bus with one device, over one of the back ends, and what its guest does.  setup
 * leaves the main loop locked and the device plugged.
 */
#ifndef TESTS_CONTRACT_FIXTURE_H
#define TESTS_CONTRACT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract-device.h"
#include "fake-kernel.h"
#include "hw/vfio/vfio-pci-device.h"

#define RAM_SIZE (1u << 20)
#define BAR0     0xe0000000u
#define BAR1     0xe0200000u
#define BAR2     0xc000u
#define BAR3     0xe0300000u
#define BAR4     0xe0100000u
#define ROM      0xe0400000u
#define LINE_ROUTE 10

/* Sockets last but for the kernels. */
typedef enum BackEnd { MEMORY, SOCKET, SOCKET_QUEUED, SOCKET_UNPOSTED, KERNEL_GROUP, KERNEL_IOMMUFD } BackEnd;

typedef struct Fixture {
    BackEnd back_end;
    bool sockets;
    FakeKernel kernel;
    ContractDevice device;
    ContractServer *server;
    char *dir, *path;
    Machine *m;
    void *ram;
    MemRegion *ram_region, *io;
    AddressSpace *io_space;
    PciBus *bus;
    PciDevice *pci;
    unsigned messages[CONTRACT_VECTORS];
    int pin;
    const char *option;      /* of the device, switched on; NULL: none */
    unsigned lines, vectors; /* eventfds an accelerator has: of INTx, of messages */
    unsigned route_commits;
} Fixture;

int contract_setup(void **state, BackEnd back_end);
int contract_setup_memory(void **state);
int contract_setup_socket(void **state);
int contract_setup_queued(void **state);
int contract_setup_unposted(void **state);
int contract_setup_group(void **state);
int contract_setup_iommufd(void **state);
int contract_teardown(void **state);

/* Plugs the device; NULL in f->pci: it could not be. */
void plug(Fixture *f, GError **error);
/* The same, where nobody is.  NULL: without saying where. */
void plug_elsewhere(Fixture *f, const char *where, GError **error);
void unplug(Fixture *f);
/* Unplugs it, and plugs it as it is now; what it had mapped is forgotten, as a server does after a hang-up. */
void replug(Fixture *f, GError **error);

void map_bars(Fixture *f);
uint64_t load(Fixture *f, uint64_t addr, unsigned size);
void store(Fixture *f, uint64_t addr, unsigned size, uint64_t val);
/* What was sent before is carried out when a read of the device's own config space is answered. */
void settle(Fixture *f);
void vector_program(Fixture *f, unsigned vector, bool masked);
void run_loop(Fixture *f);
/* The device reads or writes the guest's memory; 0 or -errno. */
int device_dma(Fixture *f, uint64_t iova, void *data, size_t size, bool write);
unsigned open_files(void);
/* Waits until that many are open: a server closes its own when it notices. */
void expect_open_files(unsigned count);

/* A case over every back end; the socket's also with each option that changes how requests travel. */
#define CASE_OUTSIDE(fn)                                                                                      \
    {#fn " over a group", fn, contract_setup_group, contract_teardown, NULL},                                 \
        {#fn " over an iommufd", fn, contract_setup_iommufd, contract_teardown, NULL},                        \
        {#fn " over a socket", fn, contract_setup_socket, contract_teardown, NULL},                           \
        {#fn " over a socket, x-send-queued", fn, contract_setup_queued, contract_teardown, NULL},            \
        {#fn " over a socket, x-no-posted-writes", fn, contract_setup_unposted, contract_teardown, NULL}
#define CASE(fn) {#fn " in memory", fn, contract_setup_memory, contract_teardown, NULL}, CASE_OUTSIDE(fn)

/* contract-checks.c */
int contract_run_checks(void);

#endif
