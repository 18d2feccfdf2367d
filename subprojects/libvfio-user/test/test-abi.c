/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of every public struct, as programs were compiled with it: sizes, offsets, and the bits of each bit field.  A
 * line that fails is a change of the ABI; additions have lines of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "libvfio-user.h"

typedef struct Layout {
    const char *name;
    size_t offset, size;                /* in bytes; in bits for a bit field */
    size_t expected_offset, expected_size;
} Layout;

#define TYPE(t, size, align) { #t, _Alignof(t), sizeof(t), align, size }
#define FIELD(t, path, offset, size) { #t "." #path, offsetof(t, path), sizeof(((t *)0)->path), offset, size }
#define TAIL(t, path, offset) { #t "." #path, offsetof(t, path), 0, offset, 0 }

static const Layout layouts[] = {
    TYPE(vfu_command_stats_t, 296, 8),
    FIELD(vfu_command_stats_t, count, 0, 8),
    FIELD(vfu_command_stats_t, errors, 8, 8),
    FIELD(vfu_command_stats_t, bytes, 16, 8),
    FIELD(vfu_command_stats_t, total_ns, 24, 8),
    FIELD(vfu_command_stats_t, max_ns, 32, 8),
    FIELD(vfu_command_stats_t, histogram, 40, 256),
    TYPE(vfu_bar_t, 4, 1),
    FIELD(vfu_bar_t, raw, 0, 4),
    FIELD(vfu_bar_t, mem, 0, 4),
    FIELD(vfu_bar_t, io, 0, 4),
    TYPE(vfu_ctx_stats_t, 5672, 8),
    FIELD(vfu_ctx_stats_t, connections, 0, 8),
    FIELD(vfu_ctx_stats_t, messages_received, 8, 8),
    FIELD(vfu_ctx_stats_t, messages_sent, 16, 8),
    FIELD(vfu_ctx_stats_t, bytes_received, 24, 8),
    FIELD(vfu_ctx_stats_t, bytes_sent, 32, 8),
    FIELD(vfu_ctx_stats_t, irqs, 40, 8),
    FIELD(vfu_ctx_stats_t, commands, 48, 5624),
    TYPE(vfu_dma_info_t, 56, 8),
    FIELD(vfu_dma_info_t, iova, 0, 16),
    FIELD(vfu_dma_info_t, vaddr, 16, 8),
    FIELD(vfu_dma_info_t, mapping, 24, 16),
    FIELD(vfu_dma_info_t, page_size, 40, 8),
    FIELD(vfu_dma_info_t, prot, 48, 4),
    TYPE(vfu_migration_callbacks_t, 32, 8),
    FIELD(vfu_migration_callbacks_t, version, 0, 4),
    FIELD(vfu_migration_callbacks_t, transition, 8, 8),
    FIELD(vfu_migration_callbacks_t, read_data, 16, 8),
    FIELD(vfu_migration_callbacks_t, write_data, 24, 8),
    TYPE(vfu_pci_config_space_t, 256, 1),
    FIELD(vfu_pci_config_space_t, raw, 0, 256),
    FIELD(vfu_pci_config_space_t, hdr, 0, 64),
    FIELD(vfu_pci_config_space_t, hdr.raw, 0, 64),
    FIELD(vfu_pci_config_space_t, hdr.id, 0, 4),
    FIELD(vfu_pci_config_space_t, hdr.id.raw, 0, 4),
    FIELD(vfu_pci_config_space_t, hdr.id.vid, 0, 2),
    FIELD(vfu_pci_config_space_t, hdr.id.did, 2, 2),
    FIELD(vfu_pci_config_space_t, hdr.cmd, 4, 2),
    FIELD(vfu_pci_config_space_t, hdr.cmd.raw, 4, 2),
    FIELD(vfu_pci_config_space_t, hdr.sts, 6, 2),
    FIELD(vfu_pci_config_space_t, hdr.sts.raw, 6, 2),
    FIELD(vfu_pci_config_space_t, hdr.rid, 8, 1),
    FIELD(vfu_pci_config_space_t, hdr.cc, 9, 3),
    FIELD(vfu_pci_config_space_t, hdr.cc.pi, 9, 1),
    FIELD(vfu_pci_config_space_t, hdr.cc.scc, 10, 1),
    FIELD(vfu_pci_config_space_t, hdr.cc.bcc, 11, 1),
    FIELD(vfu_pci_config_space_t, hdr.cls, 12, 1),
    FIELD(vfu_pci_config_space_t, hdr.mlt, 13, 1),
    FIELD(vfu_pci_config_space_t, hdr.htype, 14, 1),
    FIELD(vfu_pci_config_space_t, hdr.htype.raw, 14, 1),
    FIELD(vfu_pci_config_space_t, hdr.bist, 15, 1),
    FIELD(vfu_pci_config_space_t, hdr.bist.raw, 15, 1),
    FIELD(vfu_pci_config_space_t, hdr.bars, 16, 24),
    FIELD(vfu_pci_config_space_t, hdr.ccptr, 40, 4),
    FIELD(vfu_pci_config_space_t, hdr.ss, 44, 4),
    FIELD(vfu_pci_config_space_t, hdr.ss.raw, 44, 4),
    FIELD(vfu_pci_config_space_t, hdr.ss.vid, 44, 2),
    FIELD(vfu_pci_config_space_t, hdr.ss.sid, 46, 2),
    FIELD(vfu_pci_config_space_t, hdr.erom, 48, 4),
    FIELD(vfu_pci_config_space_t, hdr.cap, 52, 1),
    FIELD(vfu_pci_config_space_t, hdr.res1, 53, 7),
    FIELD(vfu_pci_config_space_t, hdr.intr, 60, 2),
    FIELD(vfu_pci_config_space_t, hdr.intr.raw, 60, 2),
    FIELD(vfu_pci_config_space_t, hdr.intr.iline, 60, 1),
    FIELD(vfu_pci_config_space_t, hdr.intr.ipin, 61, 1),
    FIELD(vfu_pci_config_space_t, hdr.mgnt, 62, 1),
    FIELD(vfu_pci_config_space_t, hdr.mlat, 63, 1),
    FIELD(vfu_pci_config_space_t, non_std, 64, 192),
    FIELD(vfu_pci_config_space_t, non_std.raw, 64, 192),
    TAIL(vfu_pci_config_space_t, extended, 256),
    TYPE(struct msicap, 24, 1),
    FIELD(struct msicap, hdr, 0, 2),
    FIELD(struct msicap, hdr.id, 0, 1),
    FIELD(struct msicap, hdr.next, 1, 1),
    FIELD(struct msicap, mc, 2, 2),
    FIELD(struct msicap, ma, 4, 4),
    FIELD(struct msicap, mua, 8, 4),
    FIELD(struct msicap, md, 12, 2),
    FIELD(struct msicap, padding, 14, 2),
    FIELD(struct msicap, mmask, 16, 4),
    FIELD(struct msicap, mpend, 20, 4),
    TYPE(struct vsc, 3, 1),
    FIELD(struct vsc, hdr, 0, 2),
    FIELD(struct vsc, hdr.id, 0, 1),
    FIELD(struct vsc, hdr.next, 1, 1),
    FIELD(struct vsc, size, 2, 1),
    TAIL(struct vsc, data, 3),
    TYPE(struct pcie_ext_cap_vsc_hdr, 8, 1),
    FIELD(struct pcie_ext_cap_vsc_hdr, hdr, 0, 4),
    TAIL(struct pcie_ext_cap_vsc_hdr, data, 8),
    TYPE(struct pxcap, 60, 1),
    FIELD(struct pxcap, hdr, 0, 2),
    FIELD(struct pxcap, hdr.id, 0, 1),
    FIELD(struct pxcap, hdr.next, 1, 1),
    FIELD(struct pxcap, pxcaps, 2, 2),
    FIELD(struct pxcap, pxdcap, 4, 4),
    FIELD(struct pxcap, pxdc, 8, 2),
    FIELD(struct pxcap, pxdc.raw, 8, 2),
    FIELD(struct pxcap, pxds, 10, 2),
    FIELD(struct pxcap, pxlcap, 12, 4),
    FIELD(struct pxcap, pxlc, 16, 2),
    FIELD(struct pxcap, pxlc.raw, 16, 2),
    FIELD(struct pxcap, pxls, 18, 2),
    FIELD(struct pxcap, sltcap, 20, 4),
    FIELD(struct pxcap, sltctl, 24, 2),
    FIELD(struct pxcap, sltsts, 26, 2),
    FIELD(struct pxcap, rtctl, 28, 2),
    FIELD(struct pxcap, rtcap, 30, 2),
    FIELD(struct pxcap, rtsts, 32, 4),
    FIELD(struct pxcap, pxdcap2, 36, 4),
    FIELD(struct pxcap, pxdc2, 40, 2),
    FIELD(struct pxcap, pxdc2.raw, 40, 2),
    FIELD(struct pxcap, pxds2, 42, 2),
    FIELD(struct pxcap, lnkcap2, 44, 4),
    FIELD(struct pxcap, lnkctl2, 48, 2),
    FIELD(struct pxcap, lnksts2, 50, 2),
    FIELD(struct pxcap, sltcap2, 52, 4),
    FIELD(struct pxcap, sltctl2, 56, 2),
    FIELD(struct pxcap, sltsts2, 58, 2),
    TYPE(struct pmcap, 8, 8),
    FIELD(struct pmcap, hdr, 0, 2),
    FIELD(struct pmcap, hdr.id, 0, 1),
    FIELD(struct pmcap, hdr.next, 1, 1),
    FIELD(struct pmcap, pc, 2, 2),
    FIELD(struct pmcap, pmcs, 4, 2),
    FIELD(struct pmcap, pmcs.raw, 4, 2),
    FIELD(struct pmcap, pmcsr_se, 6, 1),
    FIELD(struct pmcap, data, 7, 1),
    TYPE(struct dsncap, 12, 1),
    FIELD(struct dsncap, hdr, 0, 4),
    FIELD(struct dsncap, sn_lo, 4, 4),
    FIELD(struct dsncap, sn_hi, 8, 4),
    TYPE(struct msixcap, 12, 1),
    FIELD(struct msixcap, hdr, 0, 2),
    FIELD(struct msixcap, hdr.id, 0, 1),
    FIELD(struct msixcap, hdr.next, 1, 1),
    FIELD(struct msixcap, mxc, 2, 2),
    FIELD(struct msixcap, mtab, 4, 4),
    FIELD(struct msixcap, mpba, 8, 4),
    TYPE(struct vfio_user_header, 16, 1),
    FIELD(struct vfio_user_header, msg_id, 0, 2),
    FIELD(struct vfio_user_header, cmd, 2, 2),
    FIELD(struct vfio_user_header, msg_size, 4, 4),
    FIELD(struct vfio_user_header, flags, 8, 4),
    FIELD(struct vfio_user_header, error_no, 12, 4),
    TYPE(struct vfio_user_version, 4, 1),
    FIELD(struct vfio_user_version, major, 0, 2),
    FIELD(struct vfio_user_version, minor, 2, 2),
    TAIL(struct vfio_user_version, data, 4),
    TYPE(struct vfio_user_dma_map, 32, 1),
    FIELD(struct vfio_user_dma_map, argsz, 0, 4),
    FIELD(struct vfio_user_dma_map, flags, 4, 4),
    FIELD(struct vfio_user_dma_map, offset, 8, 8),
    FIELD(struct vfio_user_dma_map, addr, 16, 8),
    FIELD(struct vfio_user_dma_map, size, 24, 8),
    TYPE(struct vfio_user_bitmap, 16, 1),
    FIELD(struct vfio_user_bitmap, pgsize, 0, 8),
    FIELD(struct vfio_user_bitmap, size, 8, 8),
    TAIL(struct vfio_user_bitmap, data, 16),
    TYPE(struct vfio_user_dma_unmap, 24, 1),
    FIELD(struct vfio_user_dma_unmap, argsz, 0, 4),
    FIELD(struct vfio_user_dma_unmap, flags, 4, 4),
    FIELD(struct vfio_user_dma_unmap, addr, 8, 8),
    FIELD(struct vfio_user_dma_unmap, size, 16, 8),
    TYPE(struct vfio_user_device_info, 16, 1),
    FIELD(struct vfio_user_device_info, argsz, 0, 4),
    FIELD(struct vfio_user_device_info, flags, 4, 4),
    FIELD(struct vfio_user_device_info, num_regions, 8, 4),
    FIELD(struct vfio_user_device_info, num_irqs, 12, 4),
    TYPE(struct vfio_user_region_access, 16, 1),
    FIELD(struct vfio_user_region_access, offset, 0, 8),
    FIELD(struct vfio_user_region_access, region, 8, 4),
    FIELD(struct vfio_user_region_access, count, 12, 4),
    TAIL(struct vfio_user_region_access, data, 16),
    TYPE(struct vfio_user_dma_region_access, 16, 1),
    FIELD(struct vfio_user_dma_region_access, addr, 0, 8),
    FIELD(struct vfio_user_dma_region_access, count, 8, 8),
    TAIL(struct vfio_user_dma_region_access, data, 16),
    TYPE(struct vfio_user_sub_region_ioeventfd, 48, 1),
    FIELD(struct vfio_user_sub_region_ioeventfd, gpa_offset, 0, 8),
    FIELD(struct vfio_user_sub_region_ioeventfd, size, 8, 8),
    FIELD(struct vfio_user_sub_region_ioeventfd, fd_index, 16, 4),
    FIELD(struct vfio_user_sub_region_ioeventfd, type, 20, 4),
    FIELD(struct vfio_user_sub_region_ioeventfd, flags, 24, 4),
    FIELD(struct vfio_user_sub_region_ioeventfd, shadow_mem_fd_index, 28, 4),
    FIELD(struct vfio_user_sub_region_ioeventfd, shadow_offset, 32, 8),
    FIELD(struct vfio_user_sub_region_ioeventfd, datamatch, 40, 8),
    TYPE(struct vfio_user_region_io_fds_request, 16, 1),
    FIELD(struct vfio_user_region_io_fds_request, argsz, 0, 4),
    FIELD(struct vfio_user_region_io_fds_request, flags, 4, 4),
    FIELD(struct vfio_user_region_io_fds_request, index, 8, 4),
    FIELD(struct vfio_user_region_io_fds_request, count, 12, 4),
    TYPE(struct vfio_user_device_feature, 8, 1),
    FIELD(struct vfio_user_device_feature, argsz, 0, 4),
    FIELD(struct vfio_user_device_feature, flags, 4, 4),
    TAIL(struct vfio_user_device_feature, data, 8),
    TYPE(struct vfio_user_device_feature_migration, 8, 1),
    FIELD(struct vfio_user_device_feature_migration, flags, 0, 8),
    TYPE(struct vfio_user_device_feature_mig_state, 8, 1),
    FIELD(struct vfio_user_device_feature_mig_state, device_state, 0, 4),
    FIELD(struct vfio_user_device_feature_mig_state, data_fd, 4, 4),
    TYPE(struct vfio_user_device_feature_dma_logging_range, 16, 1),
    FIELD(struct vfio_user_device_feature_dma_logging_range, iova, 0, 8),
    FIELD(struct vfio_user_device_feature_dma_logging_range, length, 8, 8),
    TYPE(struct vfio_user_device_feature_dma_logging_control, 16, 1),
    FIELD(struct vfio_user_device_feature_dma_logging_control, page_size, 0, 8),
    FIELD(struct vfio_user_device_feature_dma_logging_control, num_ranges, 8, 4),
    FIELD(struct vfio_user_device_feature_dma_logging_control, reserved, 12, 4),
    TAIL(struct vfio_user_device_feature_dma_logging_control, ranges, 16),
    TYPE(struct vfio_user_device_feature_dma_logging_report, 24, 1),
    FIELD(struct vfio_user_device_feature_dma_logging_report, iova, 0, 8),
    FIELD(struct vfio_user_device_feature_dma_logging_report, length, 8, 8),
    FIELD(struct vfio_user_device_feature_dma_logging_report, page_size, 16, 8),
    TAIL(struct vfio_user_device_feature_dma_logging_report, bitmap, 24),
    TYPE(struct vfio_user_mig_data, 8, 1),
    FIELD(struct vfio_user_mig_data, argsz, 0, 4),
    FIELD(struct vfio_user_mig_data, size, 4, 4),
    TAIL(struct vfio_user_mig_data, data, 8),
};

/* Fills a bit field with ones and looks where they are. */
typedef struct Bits {
    const char *name;
    void (*fill)(void *object);
    size_t object_size;
    size_t first, width;
} Bits;

#define BITS(n, t, path)                                                                                               \
    static void fill_##n(void *object)                                                                                 \
    {                                                                                                                  \
        t *o = object;                                                                                                 \
                                                                                                                       \
        o->path--;                                                                                                     \
    }
BITS(0, vfu_bar_t, mem.region_type)
BITS(1, vfu_bar_t, mem.locatable)
BITS(2, vfu_bar_t, mem.prefetchable)
BITS(3, vfu_bar_t, mem.base_address)
BITS(4, vfu_bar_t, io.region_type)
BITS(5, vfu_bar_t, io.reserved)
BITS(6, vfu_bar_t, io.base_address)
BITS(7, vfu_pci_config_space_t, hdr.cmd.iose)
BITS(8, vfu_pci_config_space_t, hdr.cmd.mse)
BITS(9, vfu_pci_config_space_t, hdr.cmd.bme)
BITS(10, vfu_pci_config_space_t, hdr.cmd.sce)
BITS(11, vfu_pci_config_space_t, hdr.cmd.mwie)
BITS(12, vfu_pci_config_space_t, hdr.cmd.vga)
BITS(13, vfu_pci_config_space_t, hdr.cmd.pee)
BITS(14, vfu_pci_config_space_t, hdr.cmd.zero)
BITS(15, vfu_pci_config_space_t, hdr.cmd.see)
BITS(16, vfu_pci_config_space_t, hdr.cmd.fbe)
BITS(17, vfu_pci_config_space_t, hdr.cmd.id)
BITS(18, vfu_pci_config_space_t, hdr.cmd.res1)
BITS(19, vfu_pci_config_space_t, hdr.sts.res1)
BITS(20, vfu_pci_config_space_t, hdr.sts.is)
BITS(21, vfu_pci_config_space_t, hdr.sts.cl)
BITS(22, vfu_pci_config_space_t, hdr.sts.c66)
BITS(23, vfu_pci_config_space_t, hdr.sts.res2)
BITS(24, vfu_pci_config_space_t, hdr.sts.fbc)
BITS(25, vfu_pci_config_space_t, hdr.sts.dpd)
BITS(26, vfu_pci_config_space_t, hdr.sts.devt)
BITS(27, vfu_pci_config_space_t, hdr.sts.sta)
BITS(28, vfu_pci_config_space_t, hdr.sts.rta)
BITS(29, vfu_pci_config_space_t, hdr.sts.rma)
BITS(30, vfu_pci_config_space_t, hdr.sts.sse)
BITS(31, vfu_pci_config_space_t, hdr.sts.dpe)
BITS(32, vfu_pci_config_space_t, hdr.htype.hl)
BITS(33, vfu_pci_config_space_t, hdr.htype.mfd)
BITS(34, vfu_pci_config_space_t, hdr.bist.cc)
BITS(35, vfu_pci_config_space_t, hdr.bist.res1)
BITS(36, vfu_pci_config_space_t, hdr.bist.sb)
BITS(37, vfu_pci_config_space_t, hdr.bist.bc)
BITS(38, struct msicap, mc.msie)
BITS(39, struct msicap, mc.mmc)
BITS(40, struct msicap, mc.mme)
BITS(41, struct msicap, mc.c64)
BITS(42, struct msicap, mc.pvm)
BITS(43, struct msicap, mc.res1)
BITS(44, struct msicap, ma.res1)
BITS(45, struct msicap, ma.addr)
BITS(46, struct pcie_ext_cap_vsc_hdr, hdr.id)
BITS(47, struct pcie_ext_cap_vsc_hdr, hdr.version)
BITS(48, struct pcie_ext_cap_vsc_hdr, hdr.next)
BITS(49, struct pcie_ext_cap_vsc_hdr, id)
BITS(50, struct pcie_ext_cap_vsc_hdr, rev)
BITS(51, struct pcie_ext_cap_vsc_hdr, len)
BITS(52, struct pxcap, pxcaps.ver)
BITS(53, struct pxcap, pxcaps.dpt)
BITS(54, struct pxcap, pxcaps.si)
BITS(55, struct pxcap, pxcaps.imn)
BITS(56, struct pxcap, pxcaps.res1)
BITS(57, struct pxcap, pxdcap.mps)
BITS(58, struct pxcap, pxdcap.pfs)
BITS(59, struct pxcap, pxdcap.etfs)
BITS(60, struct pxcap, pxdcap.l0sl)
BITS(61, struct pxcap, pxdcap.l1sl)
BITS(62, struct pxcap, pxdcap.res1)
BITS(63, struct pxcap, pxdcap.rer)
BITS(64, struct pxcap, pxdcap.res2)
BITS(65, struct pxcap, pxdcap.csplv)
BITS(66, struct pxcap, pxdcap.cspls)
BITS(67, struct pxcap, pxdcap.flrc)
BITS(68, struct pxcap, pxdcap.res3)
BITS(69, struct pxcap, pxdc.cere)
BITS(70, struct pxcap, pxdc.nfere)
BITS(71, struct pxcap, pxdc.fere)
BITS(72, struct pxcap, pxdc.urre)
BITS(73, struct pxcap, pxdc.ero)
BITS(74, struct pxcap, pxdc.mps)
BITS(75, struct pxcap, pxdc.ete)
BITS(76, struct pxcap, pxdc.pfe)
BITS(77, struct pxcap, pxdc.appme)
BITS(78, struct pxcap, pxdc.ens)
BITS(79, struct pxcap, pxdc.mrrs)
BITS(80, struct pxcap, pxdc.iflr)
BITS(81, struct pxcap, pxds.ced)
BITS(82, struct pxcap, pxds.nfed)
BITS(83, struct pxcap, pxds.fed)
BITS(84, struct pxcap, pxds.urd)
BITS(85, struct pxcap, pxds.apd)
BITS(86, struct pxcap, pxds.tp)
BITS(87, struct pxcap, pxds.res1)
BITS(88, struct pxcap, pxlcap.sls)
BITS(89, struct pxcap, pxlcap.mlw)
BITS(90, struct pxcap, pxlcap.aspms)
BITS(91, struct pxcap, pxlcap.l0sel)
BITS(92, struct pxcap, pxlcap.l1el)
BITS(93, struct pxcap, pxlcap.cpm)
BITS(94, struct pxcap, pxlcap.sderc)
BITS(95, struct pxcap, pxlcap.dllla)
BITS(96, struct pxcap, pxlcap.lbnc)
BITS(97, struct pxcap, pxlcap.aoc)
BITS(98, struct pxcap, pxlcap.res1)
BITS(99, struct pxcap, pxlcap.pn)
BITS(100, struct pxcap, pxlc.aspmc)
BITS(101, struct pxcap, pxlc.res1)
BITS(102, struct pxcap, pxlc.rcb)
BITS(103, struct pxcap, pxlc.res2)
BITS(104, struct pxcap, pxlc.ccc)
BITS(105, struct pxcap, pxlc.es)
BITS(106, struct pxcap, pxlc.ecpm)
BITS(107, struct pxcap, pxlc.hawd)
BITS(108, struct pxcap, pxlc.res3)
BITS(109, struct pxcap, pxls.cls)
BITS(110, struct pxcap, pxls.nlw)
BITS(111, struct pxcap, pxls.res1)
BITS(112, struct pxcap, pxls.scc)
BITS(113, struct pxcap, pxls.res2)
BITS(114, struct pxcap, pxdcap2.ctrs)
BITS(115, struct pxcap, pxdcap2.ctds)
BITS(116, struct pxcap, pxdcap2.arifs)
BITS(117, struct pxcap, pxdcap2.aors)
BITS(118, struct pxcap, pxdcap2.aocs32)
BITS(119, struct pxcap, pxdcap2.aocs64)
BITS(120, struct pxcap, pxdcap2.ccs128)
BITS(121, struct pxcap, pxdcap2.nprpr)
BITS(122, struct pxcap, pxdcap2.ltrs)
BITS(123, struct pxcap, pxdcap2.tphcs)
BITS(124, struct pxcap, pxdcap2.res1)
BITS(125, struct pxcap, pxdcap2.obffs)
BITS(126, struct pxcap, pxdcap2.effs)
BITS(127, struct pxcap, pxdcap2.eetps)
BITS(128, struct pxcap, pxdcap2.meetp)
BITS(129, struct pxcap, pxdcap2.res2)
BITS(130, struct pxcap, pxdc2.ctv)
BITS(131, struct pxcap, pxdc2.ctd)
BITS(132, struct pxcap, pxdc2.arife)
BITS(133, struct pxcap, pxdc2.aore)
BITS(134, struct pxcap, pxdc2.aoeb)
BITS(135, struct pxcap, pxdc2.idore)
BITS(136, struct pxcap, pxdc2.idoce)
BITS(137, struct pxcap, pxdc2.ltrme)
BITS(138, struct pxcap, pxdc2.res1)
BITS(139, struct pxcap, pxdc2.obffe)
BITS(140, struct pxcap, pxdc2.eetpb)
BITS(141, struct pmcap, pc.vs)
BITS(142, struct pmcap, pc.pmec)
BITS(143, struct pmcap, pc.res)
BITS(144, struct pmcap, pc.dsi)
BITS(145, struct pmcap, pc.auxc)
BITS(146, struct pmcap, pc.d1s)
BITS(147, struct pmcap, pc.d2s)
BITS(148, struct pmcap, pc.psup)
BITS(149, struct pmcap, pmcs.ps)
BITS(150, struct pmcap, pmcs.res1)
BITS(151, struct pmcap, pmcs.nsfrst)
BITS(152, struct pmcap, pmcs.res2)
BITS(153, struct pmcap, pmcs.pmee)
BITS(154, struct pmcap, pmcs.dse)
BITS(155, struct pmcap, pmcs.dsc)
BITS(156, struct pmcap, pmcs.pmes)
BITS(157, struct dsncap, hdr.id)
BITS(158, struct dsncap, hdr.version)
BITS(159, struct dsncap, hdr.next)
BITS(160, struct msixcap, mxc.ts)
BITS(161, struct msixcap, mxc.res1)
BITS(162, struct msixcap, mxc.fm)
BITS(163, struct msixcap, mxc.mxe)
BITS(164, struct msixcap, mtab.tbir)
BITS(165, struct msixcap, mtab.to)
BITS(166, struct msixcap, mpba.pbir)
BITS(167, struct msixcap, mpba.pbao)
BITS(168, struct vfio_user_header, flags.type)
BITS(169, struct vfio_user_header, flags.no_reply)
BITS(170, struct vfio_user_header, flags.error)
BITS(171, struct vfio_user_header, flags.resvd)
#undef BITS

#define BITS(n, t, path, first, width) { #t "." #path, fill_##n, sizeof(t), first, width }

static const Bits bits[] = {
    BITS(0, vfu_bar_t, mem.region_type, 0, 1),
    BITS(1, vfu_bar_t, mem.locatable, 1, 2),
    BITS(2, vfu_bar_t, mem.prefetchable, 3, 1),
    BITS(3, vfu_bar_t, mem.base_address, 4, 28),
    BITS(4, vfu_bar_t, io.region_type, 0, 1),
    BITS(5, vfu_bar_t, io.reserved, 1, 1),
    BITS(6, vfu_bar_t, io.base_address, 2, 30),
    BITS(7, vfu_pci_config_space_t, hdr.cmd.iose, 32, 1),
    BITS(8, vfu_pci_config_space_t, hdr.cmd.mse, 33, 1),
    BITS(9, vfu_pci_config_space_t, hdr.cmd.bme, 34, 1),
    BITS(10, vfu_pci_config_space_t, hdr.cmd.sce, 35, 1),
    BITS(11, vfu_pci_config_space_t, hdr.cmd.mwie, 36, 1),
    BITS(12, vfu_pci_config_space_t, hdr.cmd.vga, 37, 1),
    BITS(13, vfu_pci_config_space_t, hdr.cmd.pee, 38, 1),
    BITS(14, vfu_pci_config_space_t, hdr.cmd.zero, 39, 1),
    BITS(15, vfu_pci_config_space_t, hdr.cmd.see, 40, 1),
    BITS(16, vfu_pci_config_space_t, hdr.cmd.fbe, 41, 1),
    BITS(17, vfu_pci_config_space_t, hdr.cmd.id, 42, 1),
    BITS(18, vfu_pci_config_space_t, hdr.cmd.res1, 43, 5),
    BITS(19, vfu_pci_config_space_t, hdr.sts.res1, 48, 3),
    BITS(20, vfu_pci_config_space_t, hdr.sts.is, 51, 1),
    BITS(21, vfu_pci_config_space_t, hdr.sts.cl, 52, 1),
    BITS(22, vfu_pci_config_space_t, hdr.sts.c66, 53, 1),
    BITS(23, vfu_pci_config_space_t, hdr.sts.res2, 54, 1),
    BITS(24, vfu_pci_config_space_t, hdr.sts.fbc, 55, 1),
    BITS(25, vfu_pci_config_space_t, hdr.sts.dpd, 56, 1),
    BITS(26, vfu_pci_config_space_t, hdr.sts.devt, 57, 2),
    BITS(27, vfu_pci_config_space_t, hdr.sts.sta, 59, 1),
    BITS(28, vfu_pci_config_space_t, hdr.sts.rta, 60, 1),
    BITS(29, vfu_pci_config_space_t, hdr.sts.rma, 61, 1),
    BITS(30, vfu_pci_config_space_t, hdr.sts.sse, 62, 1),
    BITS(31, vfu_pci_config_space_t, hdr.sts.dpe, 63, 1),
    BITS(32, vfu_pci_config_space_t, hdr.htype.hl, 112, 7),
    BITS(33, vfu_pci_config_space_t, hdr.htype.mfd, 119, 1),
    BITS(34, vfu_pci_config_space_t, hdr.bist.cc, 120, 4),
    BITS(35, vfu_pci_config_space_t, hdr.bist.res1, 124, 2),
    BITS(36, vfu_pci_config_space_t, hdr.bist.sb, 126, 1),
    BITS(37, vfu_pci_config_space_t, hdr.bist.bc, 127, 1),
    BITS(38, struct msicap, mc.msie, 16, 1),
    BITS(39, struct msicap, mc.mmc, 17, 3),
    BITS(40, struct msicap, mc.mme, 20, 3),
    BITS(41, struct msicap, mc.c64, 23, 1),
    BITS(42, struct msicap, mc.pvm, 24, 1),
    BITS(43, struct msicap, mc.res1, 25, 7),
    BITS(44, struct msicap, ma.res1, 32, 2),
    BITS(45, struct msicap, ma.addr, 34, 30),
    BITS(46, struct pcie_ext_cap_vsc_hdr, hdr.id, 0, 16),
    BITS(47, struct pcie_ext_cap_vsc_hdr, hdr.version, 16, 4),
    BITS(48, struct pcie_ext_cap_vsc_hdr, hdr.next, 20, 12),
    BITS(49, struct pcie_ext_cap_vsc_hdr, id, 32, 16),
    BITS(50, struct pcie_ext_cap_vsc_hdr, rev, 48, 4),
    BITS(51, struct pcie_ext_cap_vsc_hdr, len, 52, 12),
    BITS(52, struct pxcap, pxcaps.ver, 16, 4),
    BITS(53, struct pxcap, pxcaps.dpt, 20, 4),
    BITS(54, struct pxcap, pxcaps.si, 24, 1),
    BITS(55, struct pxcap, pxcaps.imn, 25, 5),
    BITS(56, struct pxcap, pxcaps.res1, 30, 2),
    BITS(57, struct pxcap, pxdcap.mps, 32, 3),
    BITS(58, struct pxcap, pxdcap.pfs, 35, 2),
    BITS(59, struct pxcap, pxdcap.etfs, 37, 1),
    BITS(60, struct pxcap, pxdcap.l0sl, 38, 3),
    BITS(61, struct pxcap, pxdcap.l1sl, 41, 3),
    BITS(62, struct pxcap, pxdcap.res1, 44, 3),
    BITS(63, struct pxcap, pxdcap.rer, 47, 1),
    BITS(64, struct pxcap, pxdcap.res2, 48, 2),
    BITS(65, struct pxcap, pxdcap.csplv, 50, 8),
    BITS(66, struct pxcap, pxdcap.cspls, 58, 2),
    BITS(67, struct pxcap, pxdcap.flrc, 60, 1),
    BITS(68, struct pxcap, pxdcap.res3, 61, 3),
    BITS(69, struct pxcap, pxdc.cere, 64, 1),
    BITS(70, struct pxcap, pxdc.nfere, 65, 1),
    BITS(71, struct pxcap, pxdc.fere, 66, 1),
    BITS(72, struct pxcap, pxdc.urre, 67, 1),
    BITS(73, struct pxcap, pxdc.ero, 68, 1),
    BITS(74, struct pxcap, pxdc.mps, 69, 3),
    BITS(75, struct pxcap, pxdc.ete, 72, 1),
    BITS(76, struct pxcap, pxdc.pfe, 73, 1),
    BITS(77, struct pxcap, pxdc.appme, 74, 1),
    BITS(78, struct pxcap, pxdc.ens, 75, 1),
    BITS(79, struct pxcap, pxdc.mrrs, 76, 3),
    BITS(80, struct pxcap, pxdc.iflr, 79, 1),
    BITS(81, struct pxcap, pxds.ced, 80, 1),
    BITS(82, struct pxcap, pxds.nfed, 81, 1),
    BITS(83, struct pxcap, pxds.fed, 82, 1),
    BITS(84, struct pxcap, pxds.urd, 83, 1),
    BITS(85, struct pxcap, pxds.apd, 84, 1),
    BITS(86, struct pxcap, pxds.tp, 85, 1),
    BITS(87, struct pxcap, pxds.res1, 86, 10),
    BITS(88, struct pxcap, pxlcap.sls, 96, 4),
    BITS(89, struct pxcap, pxlcap.mlw, 100, 6),
    BITS(90, struct pxcap, pxlcap.aspms, 106, 2),
    BITS(91, struct pxcap, pxlcap.l0sel, 108, 3),
    BITS(92, struct pxcap, pxlcap.l1el, 111, 3),
    BITS(93, struct pxcap, pxlcap.cpm, 114, 1),
    BITS(94, struct pxcap, pxlcap.sderc, 115, 1),
    BITS(95, struct pxcap, pxlcap.dllla, 116, 1),
    BITS(96, struct pxcap, pxlcap.lbnc, 117, 1),
    BITS(97, struct pxcap, pxlcap.aoc, 118, 1),
    BITS(98, struct pxcap, pxlcap.res1, 119, 1),
    BITS(99, struct pxcap, pxlcap.pn, 120, 8),
    BITS(100, struct pxcap, pxlc.aspmc, 128, 2),
    BITS(101, struct pxcap, pxlc.res1, 130, 1),
    BITS(102, struct pxcap, pxlc.rcb, 131, 1),
    BITS(103, struct pxcap, pxlc.res2, 132, 2),
    BITS(104, struct pxcap, pxlc.ccc, 134, 1),
    BITS(105, struct pxcap, pxlc.es, 135, 1),
    BITS(106, struct pxcap, pxlc.ecpm, 136, 1),
    BITS(107, struct pxcap, pxlc.hawd, 137, 1),
    BITS(108, struct pxcap, pxlc.res3, 138, 6),
    BITS(109, struct pxcap, pxls.cls, 144, 4),
    BITS(110, struct pxcap, pxls.nlw, 148, 6),
    BITS(111, struct pxcap, pxls.res1, 154, 2),
    BITS(112, struct pxcap, pxls.scc, 156, 1),
    BITS(113, struct pxcap, pxls.res2, 157, 3),
    BITS(114, struct pxcap, pxdcap2.ctrs, 288, 4),
    BITS(115, struct pxcap, pxdcap2.ctds, 292, 1),
    BITS(116, struct pxcap, pxdcap2.arifs, 293, 1),
    BITS(117, struct pxcap, pxdcap2.aors, 294, 1),
    BITS(118, struct pxcap, pxdcap2.aocs32, 295, 1),
    BITS(119, struct pxcap, pxdcap2.aocs64, 296, 1),
    BITS(120, struct pxcap, pxdcap2.ccs128, 297, 1),
    BITS(121, struct pxcap, pxdcap2.nprpr, 298, 1),
    BITS(122, struct pxcap, pxdcap2.ltrs, 299, 1),
    BITS(123, struct pxcap, pxdcap2.tphcs, 300, 2),
    BITS(124, struct pxcap, pxdcap2.res1, 302, 4),
    BITS(125, struct pxcap, pxdcap2.obffs, 306, 2),
    BITS(126, struct pxcap, pxdcap2.effs, 308, 1),
    BITS(127, struct pxcap, pxdcap2.eetps, 309, 1),
    BITS(128, struct pxcap, pxdcap2.meetp, 310, 2),
    BITS(129, struct pxcap, pxdcap2.res2, 312, 8),
    BITS(130, struct pxcap, pxdc2.ctv, 320, 4),
    BITS(131, struct pxcap, pxdc2.ctd, 324, 1),
    BITS(132, struct pxcap, pxdc2.arife, 325, 1),
    BITS(133, struct pxcap, pxdc2.aore, 326, 1),
    BITS(134, struct pxcap, pxdc2.aoeb, 327, 1),
    BITS(135, struct pxcap, pxdc2.idore, 328, 1),
    BITS(136, struct pxcap, pxdc2.idoce, 329, 1),
    BITS(137, struct pxcap, pxdc2.ltrme, 330, 1),
    BITS(138, struct pxcap, pxdc2.res1, 331, 2),
    BITS(139, struct pxcap, pxdc2.obffe, 333, 2),
    BITS(140, struct pxcap, pxdc2.eetpb, 335, 1),
    BITS(141, struct pmcap, pc.vs, 16, 3),
    BITS(142, struct pmcap, pc.pmec, 19, 1),
    BITS(143, struct pmcap, pc.res, 20, 1),
    BITS(144, struct pmcap, pc.dsi, 21, 1),
    BITS(145, struct pmcap, pc.auxc, 22, 3),
    BITS(146, struct pmcap, pc.d1s, 25, 1),
    BITS(147, struct pmcap, pc.d2s, 26, 1),
    BITS(148, struct pmcap, pc.psup, 27, 5),
    BITS(149, struct pmcap, pmcs.ps, 32, 2),
    BITS(150, struct pmcap, pmcs.res1, 34, 1),
    BITS(151, struct pmcap, pmcs.nsfrst, 35, 1),
    BITS(152, struct pmcap, pmcs.res2, 36, 4),
    BITS(153, struct pmcap, pmcs.pmee, 40, 1),
    BITS(154, struct pmcap, pmcs.dse, 41, 4),
    BITS(155, struct pmcap, pmcs.dsc, 45, 2),
    BITS(156, struct pmcap, pmcs.pmes, 47, 1),
    BITS(157, struct dsncap, hdr.id, 0, 16),
    BITS(158, struct dsncap, hdr.version, 16, 4),
    BITS(159, struct dsncap, hdr.next, 20, 12),
    BITS(160, struct msixcap, mxc.ts, 16, 11),
    BITS(161, struct msixcap, mxc.res1, 27, 3),
    BITS(162, struct msixcap, mxc.fm, 30, 1),
    BITS(163, struct msixcap, mxc.mxe, 31, 1),
    BITS(164, struct msixcap, mtab.tbir, 32, 3),
    BITS(165, struct msixcap, mtab.to, 35, 29),
    BITS(166, struct msixcap, mpba.pbir, 64, 3),
    BITS(167, struct msixcap, mpba.pbao, 67, 29),
    BITS(168, struct vfio_user_header, flags.type, 64, 4),
    BITS(169, struct vfio_user_header, flags.no_reply, 68, 1),
    BITS(170, struct vfio_user_header, flags.error, 69, 1),
    BITS(171, struct vfio_user_header, flags.resvd, 70, 26),
};

static void test_layouts(void **state)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        const Layout *l = &layouts[i];

        if (l->offset != l->expected_offset || l->size != l->expected_size) {
            fail_msg("%s: at %zu, size %zu; was at %zu, size %zu", l->name, l->offset, l->size, l->expected_offset,
                     l->expected_size);
        }
    }
}

static void test_bit_fields(void **state)
{
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        uint8_t object[sizeof(vfu_pci_config_space_t)] __attribute__((aligned(8))) = { 0 };

        bits[i].fill(object);
        for (size_t bit = 0; bit < bits[i].object_size * 8; bit++) {
            bool set = object[bit / 8] & (1u << (bit % 8));

            if (set != (bit >= bits[i].first && bit < bits[i].first + bits[i].width)) {
                fail_msg("%s: bit %zu", bits[i].name, bit);
            }
        }
    }
}

/* Values that are compiled into programs. */
static void test_constants(void **state)
{
    assert_int_equal(VFU_TRANS_SOCK, 0);
    assert_int_equal(VFU_TRANS_PIPE, 1);
    assert_int_equal(VFU_TRANS_TCP, 2);
    assert_int_equal(VFU_TRANS_VSOCK, 3);
    assert_int_equal(LIBVFIO_USER_FLAG_ATTACH_NB, 1);
    assert_int_equal(VFU_PCI_DEV_ROM_REGION_IDX, 6);
    assert_int_equal(VFU_PCI_DEV_CFG_REGION_IDX, 7);
    assert_int_equal(VFU_PCI_DEV_NUM_REGIONS, 9);
    assert_int_equal(VFU_REGION_FLAG_MASK, 0x3f);
    assert_int_equal(VFU_DEV_REQ_IRQ, 4);
    assert_int_equal(VFU_DEV_NUM_IRQS, 5);
    assert_int_equal(VFU_CAP_FLAG_MASK, 7);
    assert_int_equal(VFU_SGL_DIRECT_ACCESS, 1);
    assert_int_equal(VFU_RESET_PCI_FLR, 2);
    assert_int_equal(VFU_MIGR_STATE_RESUME, 4);
    assert_int_equal(VFU_MIGR_CALLBACKS_VERS, 2);
    assert_int_equal(VFU_PCI_TYPE_EXPRESS, 3);
    assert_int_equal(LIBVFIO_USER_MAX_DMA_REGIONS, 1000000);
    assert_int_equal(dma_sg_size(), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_bit_fields),
        cmocka_unit_test(test_constants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
