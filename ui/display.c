/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The displays of a machine: objects below /displays. */
#include "ui/display.h"

#include <string.h>

struct Display {
    Object obj;
    Device *dev;
    const DisplayOps *ops;
    DisplaySurface surface;
    GPtrArray *viewers; /* of DisplayViewer *, borrowed */
};

struct DisplayViewer {
    Display *display; /* NULL: gone */
    DisplayLines unseen;
};

const ObjectModel display_model = {
    .model = {.name = "display",
              .doc = "What a graphics device shows.",
              .kind = MODEL_OBJECT,
              .size = sizeof(Display),
              .internal = true},
};

Display *display_new(Device *dev, const DisplayOps *ops, GError **error)
{
    Machine *machine = dev->obj.machine;
    Display *display = (Display *)object_new(&display_model.model, machine, object_container(machine->root, "displays"),
                                             NULL, error); /* the device's id means the device */

    if (display) {
        display->dev = dev;
        display->ops = ops;
        display->viewers = g_ptr_array_new();
    }
    return display;
}

void display_free(Display *display)
{
    for (guint i = 0; i < display->viewers->len; i++) {
        ((DisplayViewer *)display->viewers->pdata[i])->display = NULL;
    }
    g_ptr_array_unref(display->viewers);
    g_free(display->surface.pixels);
    object_free(&display->obj);
}

Display *display_find(Machine *machine, const char *device, GError **error)
{
    GPtrArray *all = object_container(machine->root, "displays")->children;
    Object *wanted = device ? object_resolve(machine, device) : NULL;

    if (device && !wanted) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
        return NULL;
    }
    for (guint i = 0; i < all->len; i++) {
        Display *display = all->pdata[i];

        if (!wanted || &display->dev->obj == wanted) {
            return display;
        }
    }
    error_set(error, device ? "device '%s' shows nothing" : "this machine has no display%s; add -device VGA",
              device ? device : "");
    return NULL;
}

static void lines_add(DisplayLines *to, DisplayLines more)
{
    unsigned end = MAX(to->count ? to->first + to->count : 0, more.first + more.count);

    if (more.count) {
        to->first = to->count ? MIN(to->first, more.first) : more.first;
        to->count = end - to->first;
    }
}

static EventLoop *display_enter(Display *display)
{
    EventLoop *main_loop = display->obj.machine->main_loop, *home = display->dev->home;
    /* An iothread's lock comes before the main loop's. */
    unsigned depth = home == main_loop ? 0 : loop_release(main_loop);

    loop_lock(home);
    loop_reacquire(main_loop, depth);
    return home;
}

bool display_text(Display *display, DisplayText *text)
{
    EventLoop *home;
    bool is_text;

    memset(text, 0, sizeof(*text));
    if (!display->ops->text) {
        return false;
    }
    home = display_enter(display);
    is_text = display->ops->text(display->dev, text);
    loop_unlock(home);
    return is_text;
}

const DisplaySurface *display_update(Display *display, DisplayLines *changed)
{
    EventLoop *home = display_enter(display);

    *changed = display->ops->update(display->dev, &display->surface);
    loop_unlock(home);
    for (guint i = 0; i < display->viewers->len; i++) {
        lines_add(&((DisplayViewer *)display->viewers->pdata[i])->unseen, *changed);
    }
    return &display->surface;
}

DisplayViewer *display_viewer_new(Display *display)
{
    DisplayViewer *viewer = g_new0(DisplayViewer, 1);

    viewer->display = display;
    viewer->unseen = (DisplayLines){0, display->surface.height};
    g_ptr_array_add(display->viewers, viewer);
    return viewer;
}

void display_viewer_free(DisplayViewer *viewer)
{
    if (viewer->display) {
        g_ptr_array_remove_fast(viewer->display->viewers, viewer);
    }
    g_free(viewer);
}

bool display_viewer_sees(const DisplayViewer *viewer, const Display *display)
{
    return viewer->display == display;
}

const DisplaySurface *display_viewer_look(DisplayViewer *viewer, DisplayLines *changed)
{
    const DisplaySurface *surface;

    if (!viewer->display) {
        return NULL;
    }
    surface = display_update(viewer->display, changed);
    *changed = viewer->unseen;
    viewer->unseen = (DisplayLines){0};
    changed->first = MIN(changed->first, surface->height);
    changed->count = MIN(changed->count, surface->height - changed->first);
    return surface;
}

bool display_surface_resize(DisplaySurface *surface, unsigned width, unsigned height)
{
    width = MIN(width, DISPLAY_MAX_WIDTH);
    height = MIN(height, DISPLAY_MAX_HEIGHT);
    if (surface->width == width && surface->height == height) {
        return false;
    }
    g_free(surface->pixels);
    *surface = (DisplaySurface){width, height, g_new0(uint32_t, (size_t)width * height)};
    return true;
}
