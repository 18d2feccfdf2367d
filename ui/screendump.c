/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pictures of a display as files: PPM (netpbm's P6) and PNG (ISO/IEC 15948, by libpng). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_PNG
#include <png.h>
#endif

#include "ui/display.h"

typedef bool DumpFn(FILE *f, const DisplaySurface *s);

static void line_to_rgb(const DisplaySurface *s, unsigned y, uint8_t *rgb)
{
    const uint32_t *pixel = s->pixels + (size_t)y * s->width;

    for (unsigned x = 0; x < s->width; x++, pixel++, rgb += 3) {
        rgb[0] = (uint8_t)(*pixel >> 16);
        rgb[1] = (uint8_t)(*pixel >> 8);
        rgb[2] = (uint8_t)*pixel;
    }
}

static bool dump_ppm(FILE *f, const DisplaySurface *s)
{
    g_autofree uint8_t *rgb = g_malloc(3 * (size_t)s->width);
    bool ok = fprintf(f, "P6\n%u %u\n255\n", s->width, s->height) > 0;

    for (unsigned y = 0; ok && y < s->height; y++) {
        line_to_rgb(s, y, rgb);
        ok = fwrite(rgb, 3, s->width, f) == s->width;
    }
    return ok;
}

#ifdef HAVE_PNG
static bool dump_png(FILE *f, const DisplaySurface *s)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .width = s->width, .height = s->height, .format = PNG_FORMAT_RGB,
                       .flags = PNG_IMAGE_FLAG_FAST};
    g_autofree uint8_t *rgb = g_malloc(3 * (size_t)s->width * s->height);

    for (unsigned y = 0; y < s->height; y++) {
        line_to_rgb(s, y, rgb + 3 * (size_t)y * s->width);
    }
    return png_image_write_to_stdio(&image, f, 0, rgb, 0, NULL);
}
#endif

static const struct {
    const char *name;
    DumpFn *dump;
} dump_formats[] = {
    {"ppm", dump_ppm},
#ifdef HAVE_PNG
    {"png", dump_png},
#endif
};

static DumpFn *dump_find(const char *format, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(dump_formats); i++) {
        if (strcmp(dump_formats[i].name, format) == 0) {
            return dump_formats[i].dump;
        }
        g_string_append_printf(names, "%s%s", i ? ", " : "", dump_formats[i].name);
    }
    error_set(error, "screendump: unknown format (%s, allowed %s)", format, names->str);
    return NULL;
}

bool display_dump(Display *display, const char *path, const char *format, GError **error)
{
    DumpFn *dump = dump_find(format, error);
    const DisplaySurface *surface;
    DisplayLines changed;
    FILE *f;
    bool ok;

    if (!dump) {
        return false;
    }
    surface = display_update(display, &changed);
    if (!surface->width || !surface->height) {
        error_set(error, "screendump: the display shows no picture yet");
        return false;
    }
    f = fopen(path, "we");
    if (!f) {
        error_set_errno(error, errno, "screendump: cannot write '%s'", path);
        return false;
    }
    errno = 0;
    ok = dump(f, surface);
    ok = fclose(f) == 0 && ok;
    if (!ok) {
        error_set_errno(error, errno ? errno : EIO, "screendump: cannot write '%s'", path);
        unlink(path);
    }
    return ok;
}
