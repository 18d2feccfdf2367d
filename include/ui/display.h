/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What graphics devices show, for whoever looks: screendump, a remote screen.  A device draws when it is asked
 * to, and says which lines changed since it was asked last; without anybody who looks it costs nothing.
 *
 * Context: main loop, unless something else is said.
 */
#ifndef UI_DISPLAY_H
#define UI_DISPLAY_H

#include "core/device.h"
#include "core/machine.h"

#define DISPLAY_MAX_WIDTH  16384u
#define DISPLAY_MAX_HEIGHT 16384u

/* Pixels as 0x00RRGGBB, line by line. */
typedef struct DisplaySurface {
    unsigned width, height;
    uint32_t *pixels;
} DisplaySurface;

/* Lines that changed; count 0: none. */
typedef struct DisplayLines {
    unsigned first, count;
} DisplayLines;

/* What a text screen shows: a character (code page 437), its attribute in the upper byte. */
#define DISPLAY_TEXT_COLUMNS 256u
#define DISPLAY_TEXT_CELLS   (DISPLAY_TEXT_COLUMNS * 64u)
typedef struct DisplayText {
    unsigned columns, rows;
    int cursor_x, cursor_y; /* -1: none */
    uint16_t cells[DISPLAY_TEXT_CELLS]; /* rows * columns of them; the others are 0 */
} DisplayText;

typedef struct Display Display;

typedef struct DisplayOps {
    /*
     * Brings *surface up to date (display_surface_resize() when the picture has another size) and says what changed.
     * With the lock of the device's home loop.
     */
    DisplayLines (*update)(Device *dev, DisplaySurface *surface);
    /* Fills *text, which is zero.  False: it shows graphics.  NULL: it always does.  With the same lock. */
    bool (*text)(Device *dev, DisplayText *text);
} DisplayOps;

/* From a device's start and stop.  NULL with *error. */
Display *display_new(Device *dev, const DisplayOps *ops, GError **error);
void display_free(Display *display);

/* The display of the device with this id or path; device NULL: the machine's first.  NULL with *error. */
Display *display_find(Machine *machine, const char *device, GError **error);
/* Has the device draw; the surface is borrowed until the next call. */
const DisplaySurface *display_update(Display *display, DisplayLines *changed);

/* The characters on the display.  False: it shows graphics. */
bool display_text(Display *display, DisplayText *text);

/*
 * Somebody who looks again and again: display_update() by anybody counts for all.  The display may go before its viewer
 * does, which then sees nothing more.
 */
typedef struct DisplayViewer DisplayViewer;
DisplayViewer *display_viewer_new(Display *display);
void display_viewer_free(DisplayViewer *viewer);
bool display_viewer_sees(const DisplayViewer *viewer, const Display *display);
/* Has the device draw; the lines that changed since the last look.  NULL: the display is gone. */
const DisplaySurface *display_viewer_look(DisplayViewer *viewer, DisplayLines *changed);

/* Bytes of new pixels are black.  False: it had that size already.  Sizes are cut to the maximum. */
bool display_surface_resize(DisplaySurface *surface, unsigned width, unsigned height);

/* Writes a picture of the display to a file: "ppm" or "png".  On failure no file is left. */
bool display_dump(Display *display, const char *path, const char *format, GError **error);

extern const ObjectModel display_model;

#endif
