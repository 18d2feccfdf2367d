/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a card left to others, done in software for back ends that cannot: completing a checksum, and cutting
 * a long TCP segment into such as fit (VIRTIO 1.1, 5.1.6.2; RFC 9293; RFC 3168 for ECN).  The guest wrote all
 * of it, so offsets are checked before anything is sent.
 */
#include <string.h>

#include "net-internal.h"

#define ETH_LEN        14
#define ETHERTYPE_AT   12
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define VLAN_LEN       4
#define VLAN_TAGS_MAX  2
#define IPV4_LEN       20
#define IPV4_TOTAL     2
#define IPV4_ID        4
#define IPV4_CHECKSUM  10
#define IPV6_LEN       40
#define IPV6_PAYLOAD   4
#define IP_PROTO_TCP   6
#define TCP_LEN        20
#define TCP_SEQ        4
#define TCP_OFFSET     12
#define TCP_FLAGS      13
#define TCP_FIN_PSH    0x09 /* of the last segment only */
#define TCP_CWR        0x80 /* of the first segment only */
#define TCP_CHECKSUM   16
#define TCP_MSS_MIN    48 /* bounds how many frames come of one */

typedef struct Segmenter {
    size_t ip, tcp, header; /* offsets in the frame; header: length of all headers */
    bool v6;
    uint8_t buf[NET_FRAME_MAX];
} Segmenter;

static uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void be16_put(uint8_t *p, size_t val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static bool is_vlan(uint16_t ethertype)
{
    return ethertype == 0x8100 || ethertype == 0x88a8;
}

/* Where the headers are. */
static bool find_headers(Segmenter *s, const uint8_t *frame, size_t len, const NetOffload *offload)
{
    uint8_t type = (uint8_t)(offload->gso_type & ~NET_GSO_ECN);
    size_t at = ETHERTYPE_AT, ip_len;

    for (int i = 0; i < VLAN_TAGS_MAX && at + 2 <= len && is_vlan(be16_get(frame + at)); i++) {
        at += VLAN_LEN;
    }
    s->ip = at + 2;
    s->v6 = type == NET_GSO_TCPV6;
    s->tcp = offload->csum_start;
    ip_len = s->v6 ? IPV6_LEN : IPV4_LEN;
    if ((type != NET_GSO_TCPV4 && !s->v6) || !(offload->flags & NET_OFFLOAD_NEEDS_CSUM) ||
        offload->csum_offset != TCP_CHECKSUM || offload->gso_size < TCP_MSS_MIN || s->tcp < s->ip + ip_len ||
        s->tcp + TCP_LEN > len || be16_get(frame + at) != (s->v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4) ||
        frame[s->ip] >> 4 != (s->v6 ? 6 : 4)) {
        return false;
    }
    s->header = s->tcp + (frame[s->tcp + TCP_OFFSET] >> 4) * 4u;
    return s->header >= s->tcp + TCP_LEN && s->header <= len && len - s->ip <= UINT16_MAX;
}

/* Lengths and checksums of the segment of len bytes in buf; `index` counts segments from 0. */
static void finish_segment(Segmenter *s, size_t len, unsigned index)
{
    uint8_t *ip = s->buf + s->ip, *tcp = s->buf + s->tcp;
    size_t tcp_len = len - s->tcp;

    if (s->v6) {
        be16_put(ip + IPV6_PAYLOAD, len - s->ip - IPV6_LEN);
    } else {
        be16_put(ip + IPV4_TOTAL, len - s->ip);
        be16_put(ip + IPV4_ID, be16_get(ip + IPV4_ID) + index);
        be16_put(ip + IPV4_CHECKSUM, 0);
        be16_put(ip + IPV4_CHECKSUM, net_checksum_finish(net_checksum_add(0, ip, s->tcp - s->ip)));
    }
    be16_put(tcp + TCP_CHECKSUM, 0);
    be16_put(tcp + TCP_CHECKSUM, net_checksum_finish(net_checksum_add(
                                     net_checksum_pseudo(ip, IP_PROTO_TCP, tcp_len), tcp, tcp_len)));
}

static void segment_tcp(Segmenter *s, const uint8_t *frame, size_t len, size_t mss, NetSegmentFn *fn,
                        void *opaque)
{
    uint32_t seq =
        (uint32_t)be16_get(frame + s->tcp + TCP_SEQ) << 16 | be16_get(frame + s->tcp + TCP_SEQ + 2);
    size_t at = s->header;
    unsigned index = 0;

    do {
        size_t n = MIN(mss, len - at);
        uint8_t *tcp = s->buf + s->tcp;
        uint32_t now = seq + (uint32_t)(at - s->header);

        memcpy(s->buf, frame, s->header);
        memcpy(s->buf + s->header, frame + at, n);
        be16_put(tcp + TCP_SEQ, now >> 16);
        be16_put(tcp + TCP_SEQ + 2, now & 0xffff);
        tcp[TCP_FLAGS] &= (uint8_t) ~((at + n < len ? TCP_FIN_PSH : 0) | (index ? TCP_CWR : 0));
        finish_segment(s, s->header + n, index++);
        fn(opaque, s->buf, s->header + n);
        at += n;
    } while (at < len);
}

bool net_segment(const uint8_t *frame, size_t len, const NetOffload *offload, bool whole, NetSegmentFn *fn,
                 void *opaque)
{
    Segmenter s;

    if (len < ETH_LEN || len > sizeof(s.buf)) {
        return false;
    }
    if (offload->gso_type == NET_GSO_NONE) {
        memcpy(s.buf, frame, len);
        if (net_checksum_complete(s.buf, len, offload)) {
            fn(opaque, s.buf, len);
            return true;
        }
        return false;
    }
    if (!find_headers(&s, frame, len, offload)) {
        return false;
    }
    segment_tcp(&s, frame, len, whole ? len : offload->gso_size, fn, opaque);
    return true;
}
