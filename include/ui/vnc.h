/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A remote screen: shows the machine's display to RFB clients (RFC 6143) and takes their keys and pointers.
 * Context: main loop, with its lock.
 */
#ifndef UI_VNC_H
#define UI_VNC_H

#include "core/machine.h"

typedef struct VncServer VncServer;

/*
 * text: "[HOST]:DISPLAY[,to=DISPLAY]" (TCP port 5900 and up) or "unix:PATH", then ",password=on", ",share=POLICY",
 * ",display=DEVICE", ",id=NAME".  One for a machine.  False with *error; nothing is left behind then.
 */
bool vnc_open(Machine *machine, const char *text, GError **error);
void vnc_close(Machine *machine);

/* {"enabled": ..., "host": ..., "clients": [...]}, a new reference. */
struct json_object *vnc_query(Machine *machine);
/* For -vnc ...,password=on; at most 8 bytes count.  "": nobody gets in.  False with *error: no server, or without passwords. */
bool vnc_set_password(Machine *machine, const char *password, GError **error);
/* From that moment (seconds since 1970) on nobody gets in; INT64_MAX: never. */
bool vnc_expire_password(Machine *machine, int64_t when, GError **error);

extern const ObjectModel vnc_server_model;

#endif
