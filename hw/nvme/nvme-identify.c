/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Identify (NVMe 1.4, 5.15): controller, namespace, lists. */
#include <string.h>

#include "hw/nvme/nvme.h"

/* Byte offsets in the Identify Controller data structure (figure 247). */
enum {
    CTRL_VID = 0,
    CTRL_SSVID = 2,
    CTRL_SN = 4,
    CTRL_MN = 24,
    CTRL_FR = 64,
    CTRL_RAB = 72,
    CTRL_IEEE = 73,
    CTRL_MDTS = 77,
    CTRL_VER = 80,
    CTRL_OAES = 92,
    CTRL_CNTRLTYPE = 111,
    CTRL_OACS = 256,
    CTRL_ACL = 258,
    CTRL_AERL = 259,
    CTRL_FRMW = 260,
    CTRL_LPA = 261,
    CTRL_ELPE = 262,
    CTRL_NPSS = 263,
    CTRL_WCTEMP = 266,
    CTRL_CCTEMP = 268,
    CTRL_SQES = 512,
    CTRL_CQES = 513,
    CTRL_NN = 516,
    CTRL_ONCS = 520,
    CTRL_FNA = 524,
    CTRL_VWC = 525,
    CTRL_SGLS = 536,
    CTRL_SUBNQN = 768,
    CTRL_PSD0 = 2048,
};

/* In the Identify Namespace data structure (figure 245). */
enum {
    NS_NSZE = 0,
    NS_NCAP = 8,
    NS_NUSE = 16,
    NS_NSFEAT = 24,
    NS_NLBAF = 25,
    NS_FLBAS = 26,
    NS_DLFEAT = 33,
    NS_NPWG = 64,
    NS_NPWA = 66,
    NS_NPDG = 68,
    NS_NPDA = 70,
    NS_NOWS = 72,
    NS_NSATTR = 99,
    NS_EUI64 = 120,
    NS_LBAF0 = 128,
};

#define OACS_FORMAT            (1u << 1)
#define OACS_DOORBELL_BUFFER   (1u << 8)
#define ONCS_COMPARE           0x01
#define ONCS_DSM               0x04
#define ONCS_WRITE_ZEROES      0x08
#define ONCS_FEATURE_SELECT    0x10
#define VWC_PRESENT            0x07 /* and Flush takes the broadcast NSID */
#define LPA_EFFECTS            0x02
#define LPA_EXTENDED           0x04
#define FRMW_ONE_SLOT_RO       0x03
#define NSATTR_WRITE_PROTECTED 0x01
#define NSFEAT_OPTPERF         0x10
#define DLFEAT_DEAC            0x09 /* deallocated blocks read zeroes; Write Zeroes may deallocate */
#define OAES_NS_ATTRIBUTE      (1u << 8)
#define SGLS_SUPPORTED         0x1 /* of any alignment; no bit buckets, no excess length */
#define IDT_EUI64              1
#define IDT_UUID               3
#define TEMPERATURE_WARNING    343
#define TEMPERATURE_CRITICAL   373

static void put_text(uint8_t *field, size_t len, const char *text)
{
    memset(field, ' ', len);
    memcpy(field, text, MIN(len, strlen(text)));
}

static void identify_controller(const Nvme *n, uint8_t *id)
{
    g_autofree char *nqn = g_strdup_printf("nqn.2019-08.org.qemu:%s", n->serial);

    pci_set16(id + CTRL_VID, pci_get16(n->pci.config + PCI_VENDOR_ID));
    pci_set16(id + CTRL_SSVID, pci_get16(n->pci.config + PCI_SUBSYSTEM_VENDOR_ID));
    put_text(id + CTRL_SN, 20, n->serial);
    put_text(id + CTRL_MN, 40, "QEMU NVMe Ctrl");
    put_text(id + CTRL_FR, 8, "1.0");
    id[CTRL_RAB] = 6;
    id[CTRL_IEEE + 1] = 0x54; /* 52-54-00, least significant byte first */
    id[CTRL_IEEE + 2] = 0x52;
    id[CTRL_MDTS] = n->mdts;
    pci_set32(id + CTRL_VER, NVME_VERSION_1_4);
    pci_set32(id + CTRL_OAES, OAES_NS_ATTRIBUTE);
    id[CTRL_CNTRLTYPE] = 1; /* I/O controller */
    pci_set16(id + CTRL_OACS, OACS_FORMAT | OACS_DOORBELL_BUFFER);
    id[CTRL_ACL] = 3;
    id[CTRL_AERL] = n->aerl;
    id[CTRL_FRMW] = FRMW_ONE_SLOT_RO;
    id[CTRL_LPA] = LPA_EFFECTS | LPA_EXTENDED;
    id[CTRL_ELPE] = NVME_ERROR_LOG_ENTRIES - 1;
    pci_set16(id + CTRL_WCTEMP, TEMPERATURE_WARNING);
    pci_set16(id + CTRL_CCTEMP, TEMPERATURE_CRITICAL);
    id[CTRL_SQES] = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
    id[CTRL_CQES] = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
    pci_set32(id + CTRL_NN, NVME_MAX_NS);
    pci_set16(id + CTRL_ONCS, ONCS_COMPARE | ONCS_DSM | ONCS_WRITE_ZEROES | ONCS_FEATURE_SELECT);
    id[CTRL_VWC] = VWC_PRESENT;
    pci_set32(id + CTRL_SGLS, SGLS_SUPPORTED);
    memcpy(id + CTRL_SUBNQN, nqn, MIN(strlen(nqn), 255));
    pci_set16(id + CTRL_PSD0, 2500); /* 25 W, in centiwatts */
}

static void identify_namespace(const NvmeNs *ns, uint8_t *id)
{
    uint16_t granularity = (uint16_t)(MAX(ns->physical_block_size >> ns->lba_shift, 1) - 1);
    uint64_t eui64 = GUINT64_TO_BE(ns->eui64);
    uint8_t shifts[NVME_LBA_FORMATS];
    unsigned count;

    pci_set64(id + NS_NSZE, ns->blocks);
    pci_set64(id + NS_NCAP, ns->blocks);
    pci_set64(id + NS_NUSE, ns->blocks);
    id[NS_NSFEAT] = NSFEAT_OPTPERF;
    id[NS_DLFEAT] = DLFEAT_DEAC;
    pci_set16(id + NS_NPWG, granularity);
    pci_set16(id + NS_NPWA, granularity);
    pci_set16(id + NS_NPDG, granularity);
    pci_set16(id + NS_NPDA, granularity);
    memcpy(id + NS_EUI64, &eui64, 8);
    id[NS_NSATTR] = block_readonly(ns->drive) ? NSATTR_WRITE_PROTECTED : 0;
    count = nvme_ns_formats(ns, shifts);
    id[NS_NLBAF] = (uint8_t)(count - 1);
    for (unsigned i = 0; i < count; i++) {
        id[NS_LBAF0 + 4 * i + 2] = shifts[i];
        id[NS_FLBAS] = shifts[i] == ns->lba_shift ? (uint8_t)i : id[NS_FLBAS];
    }
}

static uint16_t identify_one_namespace(const Nvme *n, uint32_t nsid, uint8_t *id)
{
    NvmeNs *ns;
    uint16_t status;

    if (nsid == NVME_NSID_ALL) {
        /* What is common to all namespaces has no size. */
        if (n->ns_count) {
            identify_namespace(n->ns[n->ns_count - 1], id);
            memset(id, 0, NS_NSFEAT);
        }
        return NVME_SC_SUCCESS;
    }
    status = nvme_ns_find(n, nsid, &ns);
    if (!status) {
        identify_namespace(ns, id);
    }
    /* An inactive one is all zeroes. */
    return status == (NVME_SC_INVALID_FIELD | NVME_DNR) ? NVME_SC_SUCCESS : status;
}

static uint16_t active_list(const Nvme *n, uint32_t after, uint8_t *id)
{
    if (after >= NVME_NSID_ALL - 1) {
        return NVME_SC_INVALID_NSID | NVME_DNR;
    }
    for (uint32_t i = after; i < n->ns_count; i++) {
        if (n->ns[i]) {
            pci_set32(id, i + 1);
            id += sizeof(uint32_t);
        }
    }
    return NVME_SC_SUCCESS;
}

static uint16_t descriptors(const Nvme *n, uint32_t nsid, uint8_t *id)
{
    NvmeNs *ns;
    uint16_t status = nvme_ns_find(n, nsid, &ns);

    if (!status) {
        id[0] = IDT_UUID;
        id[1] = 16;
        nvme_ns_uuid(ns, id + 4);
        if (ns->eui64) {
            uint64_t big = GUINT64_TO_BE(ns->eui64);

            id[20] = IDT_EUI64;
            id[21] = 8;
            memcpy(id + 24, &big, 8);
        }
    }
    return status;
}

uint16_t nvme_identify(NvmeReq *req)
{
    Nvme *n = req->n;
    uint32_t nsid = req->cmd.nsid;
    uint8_t id[NVME_IDENTIFY_LEN] = {0};
    uint16_t status = NVME_SC_SUCCESS;

    switch (req->cmd.cdw10 & 0xff) {
    case NVME_CNS_NAMESPACE:
        status = identify_one_namespace(n, nsid, id);
        break;
    case NVME_CNS_CONTROLLER:
        identify_controller(n, id);
        break;
    case NVME_CNS_ACTIVE_LIST:
        status = active_list(n, nsid, id);
        break;
    case NVME_CNS_DESCRIPTORS:
        status = descriptors(n, nsid, id);
        break;
    default:
        status = NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    return status ? status : nvme_data_to_host(req, id, sizeof(id));
}
