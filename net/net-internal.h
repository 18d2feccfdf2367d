/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of net share: the back end object and what each type of it does. */
#ifndef NET_NET_INTERNAL_H
#define NET_NET_INTERNAL_H

#include <json-c/json.h>

#include "net/net.h"

typedef enum NetSendResult { NET_SENT, NET_BUSY } NetSendResult;

typedef struct NetType {
    const char *name;
    const char *const *keys; /* its options besides type and id; NULL-terminated */
    size_t size;             /* of its own state */
    bool big_frames;         /* takes TCP segments of any size, their checksum complete */
    /* opts were checked for unknown keys.  Sets net->info.  On false nothing is left behind. */
    bool (*open)(NetBackend *net, struct json_object *opts, GError **error);
    void (*close)(NetBackend *net);
    /* From here on frames are wanted, in net->loop; until stop. */
    void (*start)(NetBackend *net);
    void (*stop)(NetBackend *net);
    /* NET_BUSY: not taken; net_tx_ready() follows when it can be.  The offload is zero unless net->offloads. */
    NetSendResult (*send)(NetBackend *net, unsigned queue, const uint8_t *frame, size_t len, const NetOffload *offload);
    /* The receive queue has room again after net_rx_full() was true. */
    void (*resume)(NetBackend *net, unsigned queue);
    /* net->rx_offloads or net->queues_used changed; NULL: there is nothing to change. */
    void (*configure)(NetBackend *net);
} NetType;

extern const NetType net_type_user, net_type_tap, net_type_socket, net_type_stream, net_type_dgram;

typedef struct NetFrame {
    NetOffload offload;
    size_t len;
    uint8_t data[];
} NetFrame;

typedef struct NetQueue {
    NetBackend *net;
    unsigned index;
    GQueue rx, tx;   /* of NetFrame * */
    bool rx_stopped; /* the type was told that the queue is full */
    LoopBh *rx_bh;
} NetQueue;

struct NetBackend {
    Object obj;
    const NetType *type;
    void *own;       /* type->size bytes */
    char *info;      /* "type=...,...": g_free */
    EventLoop *loop; /* of the card; NULL: no card */
    Device *user;
    DeviceWake wake; /* of the user */
    const NetFrontend *frontend;
    void *opaque;
    const uint8_t *mac;
    bool link_down; /* by set_link */
    bool offloads;  /* the type takes and gives NetOffload */
    bool busy;      /* in a call of the type or of the card: neither is called again from there */
    unsigned queues, queues_used, rx_offloads;
    NetQueue queue[NET_QUEUES_MAX];
    NetStats stats;
};

/* A frame for the card, copied.  offload may be NULL. */
void net_deliver(NetBackend *net, unsigned queue, const void *frame, size_t len, const NetOffload *offload);
/* True: stop reading the source until `resume`. */
bool net_rx_full(NetBackend *net, unsigned queue);
/* The source takes frames again. */
void net_tx_ready(NetBackend *net, unsigned queue);

/* --- segment.c --- */
typedef void NetSegmentFn(void *opaque, const uint8_t *frame, size_t len);
/*
 * Does what offload asks for and calls fn with each frame that comes of it; with whole, TCP stays in one piece.  False:
 * it cannot be done, and fn was not called.
 */
bool net_segment(const uint8_t *frame, size_t len, const NetOffload *offload, bool whole, NetSegmentFn *fn, void *opaque);

/* Options; NULL and def when not given.  False: *error says what is allowed. */
const char *net_opt_str(struct json_object *opts, const char *key);
bool net_opt_bool(struct json_object *opts, const char *key, bool def, bool *val, GError **error);
/* "host:port"; host may be empty.  Both are to be freed; port 0..65535. */
bool net_split_host_port(const char *key, const char *text, char **host, uint16_t *port, GError **error);

#endif
