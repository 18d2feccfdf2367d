/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device behind every back end of the contract test: BAR 0 is memory, BAR 2 is I/O, BAR 4 has the MSI-X
 * table. Functions take its lock; results are 0 or a negative errno as in hw/vfio/vfio.h.
 */
#ifndef TESTS_CONTRACT_DEVICE_H
#define TESTS_CONTRACT_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTRACT_VECTORS  20
#define CONTRACT_MSI_VECTORS 4
#define CONTRACT_BAR_SIZE 4096
#define CONTRACT_IO_SIZE  64
#define CONTRACT_CONFIG   7
#define CONTRACT_MAX_MAPS 16384
#define CONTRACT_ROM_SIZE 3000
#define CONTRACT_ROM_PIECE 1000 /* a read of it gives no more */
#define CONTRACT_PAGED_SIZE 16384

/* What the device says about itself that is not true of any. */
typedef enum ContractLie { CONTRACT_NO_LIE, CONTRACT_SHORT_CONFIG, CONTRACT_HUGE_BAR, CONTRACT_HUGE_ROM, CONTRACT_AREA_OUTSIDE } ContractLie;

/* What is said about a region, as VFIO_DEVICE_GET_REGION_INFO. */
typedef struct ContractRegion {
    uint32_t flags;
    uint64_t size;
    int fd; /* to map; borrowed; -1: none */
    uint64_t fd_offset;
    unsigned area_count;
    uint64_t areas[2][2]; /* offset, size */
} ContractRegion;

typedef struct ContractDevice {
    GMutex lock;
    uint8_t config[256], bar0[CONTRACT_BAR_SIZE], bar2[CONTRACT_IO_SIZE], bar4[CONTRACT_BAR_SIZE];
    int msix_fds[CONTRACT_VECTORS], intx_fd; /* owned; -1: none; MSI has the first of the former */
    bool intx_masked, intx_level;
    unsigned resets, unmasks, map_count;
    uint64_t maps[CONTRACT_MAX_MAPS][2]; /* address, size */
    int access[CONTRACT_MAX_MAPS];       /* of them: PROT_* */
    void *hosts[CONTRACT_MAX_MAPS];      /* of them: where that memory is for the device; NULL: it has to ask for it */
    bool fixed_bar;                      /* BAR 1 is there: one page that is only read */
    uint8_t *paged;                      /* BAR 3: pages 0 and 2 may be mapped; NULL: not there */
    int paged_fd;
    bool paged_whole;                    /* all of it may be mapped, and has the MSI-X table at its start */
    bool rom;                            /* there is one */
    uint8_t fixed[CONTRACT_BAR_SIZE], rom_image[CONTRACT_ROM_SIZE];
    ContractLie lie;
    unsigned reads[9], writes[9];        /* of each region, that were carried out or refused here */
    unsigned posted[9];                  /* of the latter: that nobody waited for */
    unsigned most_fds;                   /* in one request for interrupts */
    bool mixed_fds;                      /* one had some and some not */
    uint64_t refused_map;                /* a map that holds this address fails with ENOSPC */
    uint64_t refused_from;               /* so does every map from this address on; 0: none */
    bool write_multiple;                 /* over a socket: takes REGION_WRITE_MULTI */
    bool twin;                           /* over a socket: offers a twin socket, and never uses it */
    int doorbell;                        /* over a socket: eventfd for BAR 0, borrowed; -1: none */
    unsigned hold_maps;                  /* over a socket: no map is answered before that many came */
    bool quirk_fails;                    /* in memory: one with quirks, and what became of them */
    unsigned quirk_starts, quirk_stops;
    uint32_t state;                      /* of migration */
    uint8_t data[64];
    uint32_t data_len;
    uint64_t log_page, log_start, log_end; /* what it remembers writes of; page 0: nothing */
    uint64_t written[8];                 /* addresses, not reported yet */
    unsigned written_count;
    uint8_t order[256];                  /* low bytes of writes to BAR 0 offset 0x20 */
    unsigned order_count;
} ContractDevice;

void contract_device_init(ContractDevice *d);
void contract_device_cleanup(ContractDevice *d);
/* Gives it BAR 3, before it is plugged. */
void contract_add_paged_bar(ContractDevice *d);
/* BAR 3 again, see paged_whole. */
void contract_map_whole_bar(ContractDevice *d);
void contract_region(ContractDevice *d, unsigned index, ContractRegion *region);
uint64_t contract_region_size(ContractDevice *d, unsigned index);
unsigned contract_irq_count(unsigned index);
ssize_t contract_read(ContractDevice *d, unsigned region, uint64_t offset, uint32_t size, void *data);
ssize_t contract_write(ContractDevice *d, unsigned region, uint64_t offset, uint32_t size, const void *data);
/* As VFIO_DEVICE_SET_IRQS; fds are duplicated. */
int contract_set_irqs(ContractDevice *d, uint32_t flags, unsigned index, unsigned start, unsigned count,
                      const int *fds);
int contract_reset(ContractDevice *d);
/* access: PROT_READ, PROT_WRITE.  host: see `hosts`. */
int contract_map(ContractDevice *d, uint64_t address, uint64_t size, int access, void *host);
/* The access of the map of just this range; -1: there is none. */
int contract_map_access(ContractDevice *d, uint64_t address, uint64_t size);
int contract_unmap(ContractDevice *d, uint64_t address, uint64_t size);
/* Remembers what is written in [start, end) from now on; page_size 0: no longer. */
int contract_log(ContractDevice *d, uint64_t page_size, uint64_t start, uint64_t end);
/* Or-s a bit for each page of [iova, iova+size) that was written, and forgets that. */
int contract_report(ContractDevice *d, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
/* What the device does of its own. */
/* A DMA write. */
void contract_write_dma(ContractDevice *d, uint64_t iova);
/* DMA of what is mapped.  -EFAULT: it is not; -EPERM: not for that; -ENODATA: only the other side can reach it. */
int contract_dma(ContractDevice *d, uint64_t iova, void *data, size_t size, bool write);
bool contract_raise(ContractDevice *d, unsigned vector);
void contract_set_intx(ContractDevice *d, bool level);

/* contract-server.c: serves the device on a UNIX socket to one client at a time, in a thread. */
typedef struct ContractServer ContractServer;
ContractServer *contract_server_new(ContractDevice *d, const char *path);
/* From the next message on reads of 4 bytes, writes and maps are answered, with hardly more than the system calls, and nothing
 * else may come: for benchmarks of the client.  poll_ns: how long it looks for a message at most before it sleeps. */
void contract_server_go_bare(ContractServer *s, int64_t poll_ns);
/* DMA by message: 0 or -errno, the client's. */
int contract_server_dma(ContractServer *s, uint64_t iova, void *data, size_t size, bool write);
/* Breaks the connection. */
void contract_server_hang_up(ContractServer *s);
void contract_server_free(ContractServer *s);

/* contract-memory.c: the back end in memory, as a model like vfio-user-pci. */
struct PciModel;
extern const struct PciModel contract_memory_model;
struct VfioPciDevice;
/* What it maps its memory with. */
struct VfioContainer;
struct VfioContainer *contract_memory_container(struct VfioPciDevice *dev);
/* The far side goes away. */
void contract_memory_lose(struct VfioPciDevice *dev);

#endif
