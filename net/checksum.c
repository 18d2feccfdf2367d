/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Internet checksum (RFC 1071) and the pseudo headers of TCP and UDP (RFC 9293 section 3.1, RFC 8200
 * section 8.1). */
#include <string.h>

#include "net/net.h"

#define IPV4_ADDRESSES     12 /* offset of the source address; the destination follows */
#define IPV4_ADDRESSES_LEN 8
#define IPV6_ADDRESSES     8
#define IPV6_ADDRESSES_LEN 32

uint32_t net_checksum_add(uint32_t sum, const uint8_t *data, size_t len)
{
    uint64_t wide = 0;
    uint32_t word;
    uint16_t half = 0;
    size_t at = 0;

    /* The sum of words in the host's order is that in the network's order, its bytes exchanged (RFC 1071, 2). */
    for (; at + sizeof(word) <= len; at += sizeof(word)) {
        memcpy(&word, data + at, sizeof(word));
        wide += word;
    }
    if (len - at >= 2) {
        memcpy(&half, data + at, 2);
        wide += half;
        at += 2;
    }
    if (at < len) {
        half = 0;
        memcpy(&half, data + at, 1);
        wide += half;
    }
    while (wide >> 16) {
        wide = (wide & 0xffff) + (wide >> 16);
    }
    return sum + GUINT16_FROM_BE((uint16_t)wide);
}

uint16_t net_checksum_finish(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

uint32_t net_checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t len)
{
    bool v6 = ip[0] >> 4 == 6;
    uint32_t sum = net_checksum_add(0, ip + (v6 ? IPV6_ADDRESSES : IPV4_ADDRESSES),
                                    v6 ? IPV6_ADDRESSES_LEN : IPV4_ADDRESSES_LEN);

    return sum + protocol + (uint32_t)(len & 0xffff) + (uint32_t)(len >> 16 & 0xffff);
}

bool net_checksum_complete(uint8_t *frame, size_t len, const NetOffload *offload)
{
    size_t start = offload->csum_start, at = start + offload->csum_offset;
    uint16_t sum;

    if (start >= len || at + 2 > len) {
        return false;
    }
    sum = net_checksum_finish(net_checksum_add(0, frame + start, len - start));
    sum = sum ? sum : UINT16_MAX; /* the same, and in UDP 0 says that there is none (RFC 768) */
    frame[at] = (uint8_t)(sum >> 8);
    frame[at + 1] = (uint8_t)sum;
    return true;
}
