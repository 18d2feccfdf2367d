/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network back ends: where a network card's frames go and come from.  A back end is made by -netdev or
 * netdev_add, named by its id, and has at most one card.  Frames are Ethernet frames without preamble and
 * checksum.
 *
 * Flow control: frames for a card that cannot take them wait in a queue of bounded length; the back end stops
 * reading its source when the queue is full.  Frames a source cannot take wait likewise; more are dropped, as
 * on a wire.  A card that rests (device_rests()) takes none, and its source is not read.
 *
 * Context: the home loop of the card (its lock held), where all of a back end's work is done; the main loop while there
 * is no card, and where a function says so.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "core/machine.h"

typedef struct NetBackend NetBackend;

#define NET_MAC_LEN    6
#define NET_FRAME_MAX  65562 /* bytes: an IP packet of 64 KiB, and headers */
#define NET_QUEUES_MAX 16

/*
 * What the one who made a frame left to others: struct virtio_net_hdr of VIRTIO 1.1, 5.1.6, in host order.  All zero: a
 * frame as it is on the wire.
 */
typedef struct NetOffload {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size;         /* gso_size: payload bytes of a segment */
    uint16_t csum_start, csum_offset;   /* NEEDS_CSUM: the sum from csum_start on goes csum_offset behind it */
} NetOffload;

#define NET_OFFLOAD_NEEDS_CSUM 1u
#define NET_OFFLOAD_DATA_VALID 2u /* the checksum is known to be right */
#define NET_GSO_NONE           0u
#define NET_GSO_TCPV4          1u
#define NET_GSO_TCPV6          4u
#define NET_GSO_ECN            0x80u /* added to a TCP type */

/* What a card takes of such frames. */
#define NET_RX_CSUM 1u /* NEEDS_CSUM */
#define NET_RX_TSO4 2u
#define NET_RX_TSO6 4u
#define NET_RX_ECN  8u

/* A card.  Queues count from 0; a card that has only one is only asked about that. */
typedef struct NetFrontend {
    bool (*can_receive)(void *opaque, unsigned queue); /* may take one more frame now */
    /* Never from inside net_send().  False: not taken for want of room; it comes again after net_can_receive(). */
    bool (*receive)(void *opaque, unsigned queue, const uint8_t *frame, size_t len, const NetOffload *offload);
    void (*link_changed)(void *opaque, bool up); /* set_link; may be NULL */
} NetFrontend;

typedef struct NetStats {
    uint64_t tx_frames, tx_bytes, tx_dropped; /* from the card */
    uint64_t rx_frames, rx_bytes, rx_dropped; /* to the card */
} NetStats;

/* opts as -netdev: "type" (user, tap, socket, stream, dgram), "id" and the type's own.  Unknown keys are
 * refused. */
NetBackend *net_new(Machine *machine, struct json_object *opts, GError **error);
/* Text or JSON of -netdev to opts; keys that may be given many times (hostfwd) become arrays. */
struct json_object *net_opts_parse(const char *where, const char *text, GError **error);
NetBackend *net_find(Machine *machine, const char *id);
/* netdev_del: refused while a card uses it. */
bool net_del(Machine *machine, const char *id, GError **error);

/*
 * One card at a time; its callbacks run in `loop`.  frontend and mac (for people to see) are borrowed. False:
 * in use (by whom is in *error).
 */
bool net_attach(NetBackend *net, Device *user, EventLoop *loop, const NetFrontend *frontend, void *opaque,
                const uint8_t *mac, GError **error);
/* No callback of the card runs after it returned. */
void net_detach(NetBackend *net);

/*
 * A frame from the card: copied, never waits.  Nothing happens while the link is down.  What is left to others is done
 * here when the back end does not: the checksum is completed, TCP is cut in segments.  False: the offload says what
 * cannot be done to that frame, which is dropped.
 */
bool net_send(NetBackend *net, unsigned queue, const void *frame, size_t len, const NetOffload *offload);
/* The card can receive again: frames that waited follow, from the loop. */
void net_can_receive(NetBackend *net, unsigned queue);

/* Pairs of queues the back end has (1 but for tap), and how many the card uses (1 after net_attach). */
unsigned net_queues(const NetBackend *net);
void net_set_queues(NetBackend *net, unsigned queues);
/* NET_RX_*: what the back end may leave to its card; what the card takes of it (nothing after net_attach). */
unsigned net_rx_offloads(const NetBackend *net);
void net_set_rx_offloads(NetBackend *net, unsigned offloads);

bool net_link_up(const NetBackend *net);
/* set_link: pulls or plugs the cable.  Main loop. */
void net_set_link(NetBackend *net, bool up);
/* The cable as it was where the card was saved, of which the card knows.  From its post_load. */
void net_load_link(NetBackend *net, bool up);

const char *net_id(const NetBackend *net);
const NetStats *net_stats(const NetBackend *net);
/* Calls fn for each back end, in the order they were made; the text is what `info network` shows. */
void net_each(Machine *machine, void (*fn)(NetBackend *net, const char *text, void *opaque), void *opaque);

/* The property types of cards: `netdev=` is a NetBackend * found by id; `mac=` six bytes, xx:xx:xx:xx:xx:xx.
 */
extern const PropType prop_netdev;
extern const PropType prop_mac;
/* When mac is all zero: the next address of this machine's range 52:54:00:12:34:56... */
void net_default_mac(Machine *machine, uint8_t mac[NET_MAC_LEN]);

/* --- checksums (RFC 1071) --- */
/* Adds the 16-bit big-endian words of a piece that begins at an even offset. */
uint32_t net_checksum_add(uint32_t sum, const uint8_t *data, size_t len);
/* The checksum to store, in host order. */
uint16_t net_checksum_finish(uint32_t sum);
/* What NEEDS_CSUM asks for.  False: that is not within the frame. */
bool net_checksum_complete(uint8_t *frame, size_t len, const NetOffload *offload);
/* The sum over a TCP/UDP pseudo header of IPv4 or IPv6 (as the IP header at `ip` says) for a payload of len
 * bytes. */
uint32_t net_checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t len);

#endif
