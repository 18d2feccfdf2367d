/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network back ends: where a network card's frames go and come from.  A back end is made by -netdev or
 * netdev_add, named by its id, and has at most one card.  Frames are Ethernet frames without preamble and
 * checksum.
 *
 * Flow control: frames for a card that cannot take them wait in a queue of bounded length; the back end stops
 * reading its source when the queue is full.  Frames a source cannot take wait likewise; more are dropped, as
 * on a wire.
 *
 * Context: the home loop of the card (its lock held), where all of a back end's work is done; the main loop while there
 * is no card, and where a function says so.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "core/machine.h"

typedef struct NetBackend NetBackend;

#define NET_MAC_LEN   6
#define NET_FRAME_MAX 65550 /* bytes: 64 KiB and a header, as cards that segment hand over */

/* A card. */
typedef struct NetFrontend {
    bool (*can_receive)(void *opaque);                               /* may take one more frame now */
    void (*receive)(void *opaque, const uint8_t *frame, size_t len); /* never from inside net_send() */
    void (*link_changed)(void *opaque, bool up);                     /* set_link; may be NULL */
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

/* A frame from the card: copied, never waits.  Nothing happens while the link is down. */
void net_send(NetBackend *net, const void *frame, size_t len);
/* The card can receive again: frames that waited follow, from the loop. */
void net_can_receive(NetBackend *net);

bool net_link_up(const NetBackend *net);
/* set_link: pulls or plugs the cable.  Main loop. */
void net_set_link(NetBackend *net, bool up);

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
/* The sum over a TCP/UDP pseudo header of IPv4 or IPv6 (as the IP header at `ip` says) for a payload of len
 * bytes. */
uint32_t net_checksum_pseudo(const uint8_t *ip, uint8_t protocol, size_t len);

#endif
