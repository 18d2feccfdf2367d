/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pixels as a VNC client wants them: RFC 6143, 7.4 (pixel formats) and 7.7.1 (raw), and of the RFB community's
 * specification "Zlib Encoding" and "Tight Encoding" (fill, palette and copy filters; no JPEG).
 */
#include <string.h>

#include "vnc-internal.h"

#define TIGHT_FILL      0x80
#define TIGHT_FILTER    0x40 /* a filter's number follows */
#define TIGHT_PALETTE   1
#define TIGHT_MIN       12 /* fewer bytes are not compressed */
#define PALETTE_MAX     256u
#define STREAM_FULL     0
#define STREAM_MONO     1
#define STREAM_INDEXED  2
#define LEVEL_DEFAULT   3 /* not much slower than 1, and a fifth smaller */

/* --- formats --- */

static void format_table(uint32_t table[256], unsigned max, unsigned shift)
{
    for (unsigned i = 0; i < 256; i++) {
        table[i] = (i * max + 127) / 255 << shift;
    }
}

bool vnc_format_set(VncFormat *f, const uint8_t *p)
{
    static const uint8_t mapped[16] = {8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6};
    unsigned bits, max[3];

    if (p[0] == 8 && !p[3]) {
        p = mapped; /* RFC 6143: a colour map, which the server sets */
    }
    bits = p[0];
    if ((bits != 8 && bits != 16 && bits != 32) || !p[3]) {
        return false;
    }
    for (unsigned i = 0; i < 3; i++) {
        max[i] = (unsigned)p[4 + 2 * i] << 8 | p[5 + 2 * i];
        if (p[10 + i] >= bits || !max[i] || (uint64_t)max[i] << p[10 + i] > (UINT64_C(1) << bits) - 1) {
            return false;
        }
    }
    f->bytes = bits / 8;
    f->big_endian = p[2];
    f->rgb = bits == 32 && p[1] == 24 && max[0] == 255 && max[1] == 255 && max[2] == 255;
    format_table(f->red, max[0], p[10]);
    format_table(f->green, max[1], p[11]);
    format_table(f->blue, max[2], p[12]);
    return true;
}

void vnc_format_map(GByteArray *out)
{
    vnc_put(out, 1, 1);
    vnc_put(out, 0, 3);
    vnc_put(out, 256, 2);
    for (unsigned i = 0; i < 256; i++) {
        vnc_put(out, (i & 7) * 65535 / 7, 2);
        vnc_put(out, (i >> 3 & 7) * 65535 / 7, 2);
        vnc_put(out, (i >> 6) * 65535 / 3, 2);
    }
}

static uint8_t *put_pixel(const VncFormat *f, uint32_t rgb, uint8_t *to)
{
    uint32_t pixel = f->red[rgb >> 16 & 255] | f->green[rgb >> 8 & 255] | f->blue[rgb & 255];

    for (unsigned i = 0; i < f->bytes; i++) {
        *to++ = (uint8_t)(pixel >> 8 * (f->big_endian ? f->bytes - 1 - i : i));
    }
    return to;
}

/* Tight's TPIXEL. */
static uint8_t *put_tpixel(const VncFormat *f, uint32_t rgb, uint8_t *to)
{
    if (!f->rgb) {
        return put_pixel(f, rgb, to);
    }
    *to++ = (uint8_t)(rgb >> 16);
    *to++ = (uint8_t)(rgb >> 8);
    *to++ = (uint8_t)rgb;
    return to;
}

/* The rectangle's pixels, line by line; g_free. */
static uint32_t *take_pixels(const DisplaySurface *screen, const VncRect *r)
{
    uint32_t *pixels = g_new0(uint32_t, (size_t)r->w * r->h);

    for (unsigned y = 0; y < r->h && r->y + y < screen->height && r->x < screen->width; y++) {
        memcpy(pixels + (size_t)y * r->w, screen->pixels + (size_t)(r->y + y) * screen->width + r->x,
               MIN(r->w, screen->width - r->x) * sizeof(*pixels));
    }
    return pixels;
}

/* --- compression --- */

/* Appends `data` as the next piece of the stream, flushed. */
static void stream_deflate(z_stream *z, bool *open, int level, const uint8_t *data, size_t len, GByteArray *out)
{
    guint at = out->len;
    size_t room;

    if (!*open) {
        *z = (z_stream){0};
        if (deflateInit(z, level) != Z_OK) {
            g_error("deflateInit: no memory"); /* as g_malloc() */
        }
        *open = true;
    }
    room = deflateBound(z, len) + 64;
    g_byte_array_set_size(out, (guint)(at + room));
    z->next_in = (Bytef *)data;
    z->avail_in = (uInt)len;
    z->next_out = out->data + at;
    z->avail_out = (uInt)room;
    deflate(z, Z_SYNC_FLUSH);
    g_assert(!z->avail_in && z->avail_out);
    g_byte_array_set_size(out, (guint)(at + room - z->avail_out));
}

static void encode_raw(const VncFormat *f, const uint32_t *pixels, size_t n, GByteArray *out)
{
    guint at = out->len;
    uint8_t *to;

    g_byte_array_set_size(out, (guint)(at + n * f->bytes));
    to = out->data + at;
    for (size_t i = 0; i < n; i++) {
        to = put_pixel(f, pixels[i], to);
    }
}

static void encode_zlib(VncEncoder *e, const VncFormat *f, const uint32_t *pixels, size_t n, GByteArray *out)
{
    g_autoptr(GByteArray) raw = g_byte_array_new();
    guint at = out->len, size;

    encode_raw(f, pixels, n, raw);
    vnc_put(out, 0, 4);
    stream_deflate(&e->zlib, &e->zlib_open, e->level, raw->data, raw->len, out);
    size = GUINT32_TO_BE(out->len - at - 4);
    memcpy(out->data + at, &size, 4);
}

/* --- Tight --- */

/* The colours of the rectangle, at most PALETTE_MAX, and each pixel's number; 0: there are more. */
static unsigned find_palette(const uint32_t *pixels, size_t n, uint32_t palette[PALETTE_MAX], uint8_t *numbers)
{
    uint16_t slots[1024]; /* a hash table of numbers + 1 */
    unsigned count = 0;

    memset(slots, 0, sizeof(slots));
    for (size_t i = 0; i < n; i++) {
        unsigned slot = (pixels[i] * 2654435761u) >> 22;

        while (slots[slot] && palette[slots[slot] - 1] != pixels[i]) {
            slot = (slot + 1) % G_N_ELEMENTS(slots);
        }
        if (!slots[slot]) {
            if (count == PALETTE_MAX) {
                return 0;
            }
            palette[count++] = pixels[i];
            slots[slot] = (uint16_t)count;
        }
        numbers[i] = (uint8_t)(slots[slot] - 1);
    }
    return count;
}

static void tight_data(VncEncoder *e, unsigned stream, const uint8_t *data, size_t len, GByteArray *out)
{
    g_autoptr(GByteArray) packed = g_byte_array_new();
    uint32_t left;

    if (len < TIGHT_MIN) {
        g_byte_array_append(out, data, (guint)len);
        return;
    }
    stream_deflate(&e->tight[stream], &e->tight_open[stream], e->level, data, len, packed);
    for (left = packed->len; left > 0x7f; left >>= 7) { /* three bytes hold 22 bits: rectangles are small enough */
        vnc_put(out, (left & 0x7f) | 0x80, 1);
    }
    vnc_put(out, left, 1);
    g_byte_array_append(out, packed->data, packed->len);
}

static void tight_palette(VncEncoder *e, const VncFormat *f, const uint32_t *palette, unsigned count, const uint8_t *numbers,
                          const VncRect *r, GByteArray *out)
{
    unsigned stream = count == 2 ? STREAM_MONO : STREAM_INDEXED;
    uint8_t colours[PALETTE_MAX * 4], *end = colours;

    vnc_put(out, TIGHT_FILTER | stream << 4, 1);
    vnc_put(out, TIGHT_PALETTE, 1);
    vnc_put(out, count - 1, 1);
    for (unsigned i = 0; i < count; i++) {
        end = put_tpixel(f, palette[i], end);
    }
    g_byte_array_append(out, colours, (guint)(end - colours));
    if (count > 2) {
        tight_data(e, stream, numbers, (size_t)r->w * r->h, out);
    } else {
        size_t pitch = (r->w + 7) / 8;
        g_autofree uint8_t *bits = g_malloc0(pitch * r->h);

        for (unsigned y = 0; y < r->h; y++) {
            for (unsigned x = 0; x < r->w; x++) {
                bits[y * pitch + x / 8] |= (uint8_t)(numbers[(size_t)y * r->w + x] << (7 - x % 8));
            }
        }
        tight_data(e, stream, bits, pitch * r->h, out);
    }
}

static void encode_tight(VncEncoder *e, const VncFormat *f, const uint32_t *pixels, const VncRect *r, GByteArray *out)
{
    size_t n = (size_t)r->w * r->h;
    g_autofree uint8_t *numbers = g_malloc(n);
    uint32_t palette[PALETTE_MAX];
    unsigned count = find_palette(pixels, n, palette, numbers);

    if (count == 1) {
        uint8_t colour[4];

        vnc_put(out, TIGHT_FILL, 1);
        g_byte_array_append(out, colour, (guint)(put_tpixel(f, palette[0], colour) - colour));
    } else if (count && (f->bytes > 1 || count == 2)) {
        tight_palette(e, f, palette, count, numbers, r, out);
    } else {
        g_autofree uint8_t *data = g_malloc(n * 4);
        uint8_t *end = data;

        for (size_t i = 0; i < n; i++) {
            end = put_tpixel(f, pixels[i], end);
        }
        vnc_put(out, STREAM_FULL << 4, 1);
        tight_data(e, STREAM_FULL, data, (size_t)(end - data), out);
    }
}

void vnc_encode_rect(VncEncoder *e, const VncFormat *f, const DisplaySurface *screen, const VncRect *r, GByteArray *out)
{
    g_autofree uint32_t *pixels = take_pixels(screen, r);
    const unsigned header[4] = {r->x, r->y, r->w, r->h};

    for (unsigned i = 0; i < 4; i++) {
        vnc_put(out, header[i], 2);
    }
    vnc_put(out, (uint32_t)e->encoding, 4);
    if (!e->level) {
        e->level = LEVEL_DEFAULT;
    }
    if (e->encoding == VNC_ENCODING_TIGHT) {
        encode_tight(e, f, pixels, r, out);
    } else if (e->encoding == VNC_ENCODING_ZLIB) {
        encode_zlib(e, f, pixels, (size_t)r->w * r->h, out);
    } else {
        encode_raw(f, pixels, (size_t)r->w * r->h, out);
    }
}

void vnc_encoder_close(VncEncoder *e)
{
    if (e->zlib_open) {
        deflateEnd(&e->zlib);
    }
    for (unsigned i = 0; i < VNC_STREAMS; i++) {
        if (e->tight_open[i]) {
            deflateEnd(&e->tight[i]);
        }
    }
}
