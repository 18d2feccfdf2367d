/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the VNC server share.  Context: main loop, with its lock. */
#ifndef UI_VNC_INTERNAL_H
#define UI_VNC_INTERNAL_H

#include <zlib.h>

#include "ui/display.h"
#include "ui/input.h"
#include "ui/vnc.h"

#define VNC_CHALLENGE 16
#define VNC_PASSWORD  8
#define VNC_STREAMS   4

/* Encodings and pseudo-encodings, as RFC 6143 and the RFB community's list number them. */
enum {
    VNC_ENCODING_RAW = 0,
    VNC_ENCODING_ZLIB = 6,
    VNC_ENCODING_TIGHT = 7,
    VNC_ENCODING_DESKTOP_SIZE = -223,
    VNC_ENCODING_LEVEL_0 = -256, /* to -247: compression 0 to 9 */
    VNC_ENCODING_EXTENDED_KEY = -258,
};

typedef struct VncRect {
    unsigned x, y, w, h;
} VncRect;

/* How a client wants its pixels. */
typedef struct VncFormat {
    unsigned bytes; /* 1, 2, 4 */
    bool big_endian, rgb; /* rgb: Tight sends three bytes */
    uint32_t red[256], green[256], blue[256]; /* what 8 bits of each become */
} VncFormat;

/* Compression of one client. */
typedef struct VncEncoder {
    int encoding, level;
    z_stream zlib, tight[VNC_STREAMS];
    bool zlib_open, tight_open[VNC_STREAMS];
} VncEncoder;

/* Columns of a line that a client has yet to see; x0 >= x1: none. */
typedef struct VncSpan {
    uint16_t x0, x1;
} VncSpan;

typedef struct VncClient VncClient;
/* A message, or part of one, is there. */
typedef void VncHandler(VncClient *c, const uint8_t *in);

struct VncServer {
    Object obj;
    char *address, *host, *service; /* as given; as query-vnc shows */
    char *unix_path;                /* to unlink; NULL: TCP */
    char *device;                   /* whose display; NULL: the machine's first */
    const char *family;
    bool with_password, exclusive;
    char password[VNC_PASSWORD + 1];
    int64_t expires; /* seconds since 1970 */
    int listen_fd;
    LoopFd *watch;
    Timer *refresh;
    int64_t interval; /* between looks at the display, ns */
    GPtrArray *clients; /* of VncClient * */
    LoopBh *reaper;     /* frees clients that are gone */
    DisplayViewer *viewer;
    DisplaySurface screen; /* what clients are shown */
};

struct VncClient {
    VncServer *server;
    int fd;
    LoopFd *watch;
    LoopBh *pump;   /* encodes on */
    Timer *patience; /* until it has said who it is */
    char *host, *service;
    bool gone, ready; /* ready: past ClientInit */

    uint8_t in[64];
    size_t in_len, need;
    VncHandler *handler;
    uint64_t skip; /* bytes to come that nobody wants */
    unsigned encodings_left;
    GByteArray *out;
    size_t out_at;

    unsigned minor; /* of the protocol: 3, 7, 8 */
    uint8_t challenge[VNC_CHALLENGE];
    VncFormat format;
    VncEncoder encoder;
    unsigned width, height; /* of the screen, as the client knows it */
    bool can_resize, can_extended_keys, told_extended_keys;
    bool wants; /* an update, of area */
    VncRect area;
    VncSpan *dirty;   /* a line each */
    GArray *rects;    /* of VncRect: promised, and not yet sent from `next_rect` on */
    guint next_rect;
    uint8_t buttons;
    unsigned x, y;
    bool placed; /* x, y are known */
    uint8_t keys[(INPUT_KEY_COUNT + 7) / 8];
};

/* --- vnc-client.c --- */
/* Takes fd. */
VncClient *vnc_client_new(VncServer *server, int fd);
/* Only the server's reaper, and its end. */
void vnc_client_free(VncClient *c);
/* It is closed, and freed later. */
void vnc_client_drop(VncClient *c);
/* The present screen's columns are new. */
void vnc_client_mark(VncClient *c, unsigned y, unsigned x0, unsigned x1);
/* The screen has another size; all is new. */
void vnc_client_resized(VncClient *c);
/* Sends what it waits for, if there is something. */
void vnc_client_update(VncClient *c);

/* --- vnc.c --- */
void vnc_server_client_ready(VncServer *s, VncClient *c, bool shared);
void vnc_server_client_gone(VncServer *s, VncClient *c);
/* Somebody waits for the display's next picture; `soon`: because something is about to happen. */
void vnc_server_wake(VncServer *s, bool soon);
bool vnc_server_check(const VncServer *s, const uint8_t challenge[VNC_CHALLENGE], const uint8_t response[VNC_CHALLENGE]);

/* --- vnc-encode.c --- */
/* The 16 bytes of a PIXEL_FORMAT.  False: it makes no sense. */
bool vnc_format_set(VncFormat *f, const uint8_t *pixel_format);
/* The colour map of clients that want one, 8 bits a pixel: a message. */
void vnc_format_map(GByteArray *out);
/* A rectangle with its header; what lies outside of the screen is black. */
void vnc_encode_rect(VncEncoder *e, const VncFormat *f, const DisplaySurface *screen, const VncRect *r, GByteArray *out);
void vnc_encoder_close(VncEncoder *e);

static inline void vnc_put(GByteArray *out, uint32_t val, unsigned bytes)
{
    uint8_t big[4] = {(uint8_t)(val >> 24), (uint8_t)(val >> 16), (uint8_t)(val >> 8), (uint8_t)val};

    g_byte_array_append(out, big + 4 - bytes, bytes);
}

/* --- vnc-keys.c --- */
/* The key that has the X11 keysym on a US keyboard.  False: none. */
bool vnc_key_find(uint32_t keysym, InputKey *key);

/* --- vnc-des.c --- */
/* Can passwords be checked?  Loads the library that does. */
bool vnc_des_load(GError **error);
/* What a client that knows the password answers to a challenge (RFC 6143, 7.2.2). */
void vnc_des_answer(const char *password, const uint8_t challenge[VNC_CHALLENGE], uint8_t answer[VNC_CHALLENGE]);

#endif
