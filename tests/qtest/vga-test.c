/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA as a guest driver and as a viewer see it, in process and behind a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#ifdef HAVE_PNG
#include <png.h>
#endif

#include "libqtest/libqpci.h"

/* BAR 2 */
enum { EDID = 0, PORTS = 0x400, DISPI = 0x500, EXT = 0x600, EXT_ORDER = 0x604 };
enum { ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY_64K };
enum { ENABLED = 1, GETCAPS = 2, LFB = 0x40, NOCLEARMEM = 0x80 };

typedef struct Picture {
    unsigned width, height;
    uint8_t *rgb;
} Picture;

static QtestState *start(QpciDevice **dev)
{
    QtestState *qts = qtest_start_device("", "VGA,xres=1024,yres=768", "");

    *dev = qpci_find(qts, 0x1234, 0x1111);
    assert_non_null(*dev);
    qpci_enable(*dev);
    return qts;
}

static void end(QtestState *qts, QpciDevice *dev)
{
    g_free(dev);
    qtest_end(qts);
}

/* A VGA port, through BAR 2. */
static void vga_out(QpciDevice *dev, uint16_t port, uint8_t val)
{
    qpci_writeb(dev, 2, PORTS + port - 0x3c0, val);
}

static uint8_t vga_in(QpciDevice *dev, uint16_t port)
{
    return qpci_readb(dev, 2, PORTS + port - 0x3c0);
}

static void dispi_out(QpciDevice *dev, unsigned index, uint16_t val)
{
    qpci_writew(dev, 2, DISPI + 2 * index, val);
}

static uint16_t dispi_in(QpciDevice *dev, unsigned index)
{
    return qpci_readw(dev, 2, DISPI + 2 * index);
}

static void set_attribute(QpciDevice *dev, uint8_t index, uint8_t val)
{
    vga_in(dev, 0x3da);
    vga_out(dev, 0x3c0, index);
    vga_out(dev, 0x3c0, val);
}

static void screen_on(QpciDevice *dev)
{
    vga_out(dev, 0x3c2, 0x67);
    vga_in(dev, 0x3da);
    vga_out(dev, 0x3c0, 0x20);
}

static void set_indexed(QpciDevice *dev, uint16_t port, uint8_t index, uint8_t val)
{
    vga_out(dev, port, index);
    vga_out(dev, (uint16_t)(port + 1), val);
}

static void set_dac(QpciDevice *dev, uint8_t index, uint8_t r, uint8_t g, uint8_t b)
{
    vga_out(dev, 0x3c8, index);
    vga_out(dev, 0x3c9, r);
    vga_out(dev, 0x3c9, g);
    vga_out(dev, 0x3c9, b);
}

static void set_mode(QpciDevice *dev, uint16_t width, uint16_t height, uint16_t bpp, uint16_t flags)
{
    screen_on(dev);
    dispi_out(dev, ENABLE, 0);
    dispi_out(dev, XRES, width);
    dispi_out(dev, YRES, height);
    dispi_out(dev, BPP, bpp);
    dispi_out(dev, ENABLE, ENABLED | LFB | flags);
}

/* The process that has the device writes the picture. */
static Picture screendump(QtestState *qts, const char *format)
{
    QtestState *owner = qtest_server(qts) ? qtest_server(qts) : qts;
    g_autofree char *path = g_strdup_printf("%s/vga-test-%d.%s", g_get_tmp_dir(), (int)getpid(), format);
    g_autofree char *data = NULL;
    Picture p;
    gsize len;
    int at;

    qtest_qmp_ok(owner, "{'execute': 'screendump', 'arguments': {'filename': '%s', 'format': '%s'}}",
                 path, format);
#ifdef HAVE_PNG
    if (strcmp(format, "png") == 0) {
        png_image image = {.version = PNG_IMAGE_VERSION};

        assert_true(png_image_begin_read_from_file(&image, path));
        image.format = PNG_FORMAT_RGB;
        p = (Picture){image.width, image.height, g_malloc(PNG_IMAGE_SIZE(image))};
        assert_true(png_image_finish_read(&image, NULL, p.rgb, 0, NULL));
        unlink(path);
        return p;
    }
#endif
    assert_true(g_file_get_contents(path, &data, &len, NULL));
    unlink(path);
    assert_int_equal(sscanf(data, "P6\n%u %u\n255\n%n", &p.width, &p.height, &at), 2);
    assert_int_equal(len, (gsize)at + 3 * (gsize)p.width * p.height);
    p.rgb = g_memdup2(data + at, len - (gsize)at);
    return p;
}

static uint32_t pixel(const Picture *p, unsigned x, unsigned y)
{
    const uint8_t *c = p->rgb + 3 * ((size_t)y * p->width + x);

    assert_true(x < p->width && y < p->height);
    return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
}

/* --- tests --- */

static void test_identity(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);
    uint8_t sum = 0;

    assert_int_equal(qpci_config_readl(dev, QPCI_REVISION) >> 8, 0x030000);
    assert_int_equal(dev->bars[0].size, 16 << 20);
    assert_int_equal(dev->bars[2].size, 4096);
    assert_int_equal(dispi_in(dev, ID), 0xb0c5);
    assert_int_equal(dispi_in(dev, MEMORY_64K), 256);
    assert_int_equal(qpci_readl(dev, 2, EXT), 8);
    assert_int_equal(qpci_readl(dev, 2, EXT_ORDER), 0x1e1e1e1e);
    qpci_writel(dev, 2, EXT_ORDER, 0xbebebebe);
    assert_int_equal(qpci_readl(dev, 2, EXT_ORDER), 0xbebebebe);
    for (unsigned i = 0; i < 128; i++) {
        sum = (uint8_t)(sum + qpci_readb(dev, 2, EDID + i));
    }
    assert_int_equal(sum, 0);
    assert_int_equal(qpci_readl(dev, 2, EDID), 0xffffff00);
    /* The preferred timing: 1024 x 768. */
    assert_int_equal(qpci_readb(dev, 2, 54 + 2) | (qpci_readb(dev, 2, 54 + 4) & 0xf0) << 4, 1024);
    assert_int_equal(qpci_readb(dev, 2, 54 + 5) | (qpci_readb(dev, 2, 54 + 7) & 0xf0) << 4, 768);
    end(qts, dev);
}

static void test_modes(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);

    dispi_out(dev, ENABLE, GETCAPS);
    assert_true(dispi_in(dev, XRES) >= 4096 && dispi_in(dev, YRES) >= 4096 && dispi_in(dev, BPP) == 32);
    set_mode(dev, 640, 480, 32, 0);
    assert_int_equal(dispi_in(dev, VIRT_WIDTH), 640);
    assert_int_equal(dispi_in(dev, VIRT_HEIGHT), (16 << 20) / (640 * 4));
    /* A mode is set while it is off; nonsense becomes something that fits. */
    dispi_out(dev, XRES, 800);
    assert_int_equal(dispi_in(dev, XRES), 640);
    set_mode(dev, 16000, 12000, 32, 0);
    assert_true((uint64_t)dispi_in(dev, VIRT_WIDTH) * dispi_in(dev, YRES) * 4 <= 16 << 20);
    set_mode(dev, 0, 0, 7, 0);
    assert_true(dispi_in(dev, XRES) >= 8 && dispi_in(dev, YRES) >= 1 && dispi_in(dev, BPP) == 8);
    dispi_out(dev, BANK, 0xffff);
    assert_int_equal(dispi_in(dev, BANK), 255);
    dispi_out(dev, X_OFFSET, 0xffff);
    dispi_out(dev, Y_OFFSET, 0xffff);
    assert_int_equal(dispi_in(dev, X_OFFSET), 0);
    end(qts, dev);
}

/* A pixel of a linear mode at (3, 2), seen where the virtual screen's offset puts it. */
static void check_linear(QtestState *qts, QpciDevice *dev, uint16_t bpp, uint32_t val, uint32_t want)
{
    unsigned bytes = (bpp + 7u) / 8;
    Picture p;

    set_mode(dev, 64, 48, bpp, 0);
    dispi_out(dev, VIRT_WIDTH, 128);
    dispi_out(dev, X_OFFSET, 1);
    dispi_out(dev, Y_OFFSET, 2);
    for (unsigned i = 0; i < bytes; i++) {
        qpci_writeb(dev, 0, (4 * 128 + 4) * bytes + i, (uint8_t)(val >> (8 * i)));
    }
    p = screendump(qts, "ppm");
    assert_int_equal(p.width, 64);
    assert_int_equal(p.height, 48);
    assert_int_equal(pixel(&p, 3, 2), want);
    assert_int_equal(pixel(&p, 2, 2), 0);
    assert_int_equal(pixel(&p, 3, 1), 0);
    g_free(p.rgb);
}

static void test_linear(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);

    set_dac(dev, 0x42, 0x3f, 0x20, 0x01);
    check_linear(qts, dev, 8, 0x42, 0xff8204);
    check_linear(qts, dev, 15, 0x7c1f, 0xff00ff);
    check_linear(qts, dev, 16, 0x07e0, 0x00ff00);
    check_linear(qts, dev, 24, 0x123456, 0x123456);
    check_linear(qts, dev, 32, 0xff654321, 0x654321);
    end(qts, dev);
}

/* What is shown follows single writes, and a mode that keeps the memory's contents. */
static void test_changes(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);
    Picture p;

    set_mode(dev, 640, 480, 32, 0);
    for (unsigned i = 0; i < 20; i++) {
        qpci_writel(dev, 0, (i * 23u * 640 + i * 31) * 4, 0x010203 * i);
        p = screendump(qts, "ppm");
        assert_int_equal(pixel(&p, i * 31, i * 23), 0x010203 * i);
        g_free(p.rgb);
    }
    set_mode(dev, 640, 480, 32, NOCLEARMEM);
    p = screendump(qts, "ppm");
    assert_int_equal(pixel(&p, 31, 23), 0x010203);
    g_free(p.rgb);
    set_mode(dev, 640, 480, 32, 0);
    p = screendump(qts, "ppm");
    assert_int_equal(pixel(&p, 31, 23), 0);
    g_free(p.rgb);
    end(qts, dev);
}

static void test_png(void **state)
{
#ifdef HAVE_PNG
    QpciDevice *dev;
    QtestState *qts = start(&dev);
    Picture ppm, png;

    set_mode(dev, 320, 200, 32, 0);
    for (unsigned i = 0; i < 320; i++) {
        qpci_writel(dev, 0, i * 4 + (i % 200) * 320 * 4, i * 0x010307);
    }
    ppm = screendump(qts, "ppm");
    png = screendump(qts, "png");
    assert_int_equal(png.width, 320);
    assert_int_equal(png.height, 200);
    assert_memory_equal(ppm.rgb, png.rgb, 3 * 320 * 200);
    g_free(ppm.rgb);
    g_free(png.rgb);
    end(qts, dev);
#else
    skip();
#endif
}

static void text_mode(QpciDevice *dev)
{
    static const uint8_t cr[][2] = {{0x11, 0},    {0x01, 79},   {0x07, 0x1f}, {0x09, 0x4f}, {0x0a, 0x20}, {0x12, 0x8f},
                                    {0x13, 0x28}, {0x17, 0xa3}, {0x18, 0xff}};

    screen_on(dev);
    for (unsigned i = 0; i < G_N_ELEMENTS(cr); i++) {
        set_indexed(dev, 0x3d4, cr[i][0], cr[i][1]);
    }
    set_indexed(dev, 0x3c4, 2, 0x03);
    set_indexed(dev, 0x3c4, 4, 0x02);
    set_indexed(dev, 0x3ce, 5, 0x10);
    set_indexed(dev, 0x3ce, 6, 0x0e);
    set_indexed(dev, 0x3ce, 8, 0xff);
    for (uint8_t i = 0; i < 16; i++) {
        set_attribute(dev, i, i);
        set_dac(dev, i, i, (uint8_t)(2 * i), (uint8_t)(3 * i));
    }
    set_attribute(dev, 0x10, 0x04);
    set_attribute(dev, 0x12, 0x0f);
    vga_in(dev, 0x3da);
    vga_out(dev, 0x3c0, 0x20);
}

static uint32_t dac_rgb(uint8_t i)
{
    uint32_t rgb = 0;

    for (unsigned k = 1; k <= 3; k++) {
        uint32_t c = k * i;

        rgb = rgb << 8 | c << 2 | c >> 4;
    }
    return rgb;
}

/* A character with the guest's font: through the frame buffer, so it works wherever the card is. */
static void test_text(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);
    Picture p;

    text_mode(dev);
    qpci_writeb(dev, 0, ('A' * 32 + 5) * 4 + 2, 0x81); /* line 5 of the glyph: leftmost and rightmost dot */
    qpci_writeb(dev, 0, (0xc4 * 32 + 5) * 4 + 2, 0x81);
    qpci_writeb(dev, 0, (80 * 1 + 2) * 4, 'A');
    qpci_writeb(dev, 0, (80 * 1 + 2) * 4 + 1, 0x4f); /* 15 on 4 */
    qpci_writeb(dev, 0, (80 * 1 + 3) * 4, 0xc4);
    qpci_writeb(dev, 0, (80 * 1 + 3) * 4 + 1, 0x07);
    p = screendump(qts, "ppm");
    assert_int_equal(p.width, 720);
    assert_int_equal(p.height, 400);
    assert_int_equal(pixel(&p, 18, 21), dac_rgb(15));
    assert_int_equal(pixel(&p, 19, 21), dac_rgb(4));
    assert_int_equal(pixel(&p, 25, 21), dac_rgb(15));
    assert_int_equal(pixel(&p, 26, 21), dac_rgb(4));  /* the ninth dot is paper */
    assert_int_equal(pixel(&p, 35, 21), dac_rgb(7));  /* but for line graphics */
    assert_int_equal(pixel(&p, 18, 20), dac_rgb(4));
    g_free(p.rgb);
    set_indexed(dev, 0x3d4, 0x0a, 0x0d); /* the cursor, on character 82 */
    set_indexed(dev, 0x3d4, 0x0b, 0x0e);
    set_indexed(dev, 0x3d4, 0x0f, 82);
    p = screendump(qts, "ppm");
    assert_int_equal(pixel(&p, 20, 16 + 13), dac_rgb(15));
    assert_int_equal(pixel(&p, 20, 16 + 12), dac_rgb(4));
    g_free(p.rgb);
    vga_in(dev, 0x3da);
    vga_out(dev, 0x3c0, 0);
    p = screendump(qts, "ppm");
    assert_int_equal(pixel(&p, 18, 21), 0); /* the screen is off */
    g_free(p.rgb);
    end(qts, dev);
}

/* Ports and the window at 0xa0000, where the board decodes them: what a boot program uses. */
static void test_legacy(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);
    Picture p;

    if (qtest_is_split(qts)) {
        end(qts, dev); /* vfio-user has no VGA region */
        return;
    }
    qtest_outw(qts, 0x1ce, ID);
    assert_int_equal(qtest_inw(qts, 0x1cf), 0xb0c5);
    assert_int_equal(qtest_inw(qts, 0x1d0), 0xb0c5);
    text_mode(dev);
    qtest_outw(qts, 0x3c4, 0x0402); /* the font: plane 2, one byte after the other */
    qtest_outw(qts, 0x3c4, 0x0704);
    qtest_outw(qts, 0x3ce, 0x0005);
    qtest_outw(qts, 0x3ce, 0x0406);
    qtest_writeb(qts, 0xa0000 + 'B' * 32, 0xf0);
    assert_int_equal(qpci_readb(dev, 0, 'B' * 32 * 4 + 2), 0xf0);
    qtest_outw(qts, 0x3c4, 0x0302);
    qtest_outw(qts, 0x3c4, 0x0204);
    qtest_outw(qts, 0x3ce, 0x1005);
    qtest_outw(qts, 0x3ce, 0x0e06);
    qtest_writew(qts, 0xb8000, 0x1742);
    assert_int_equal(qtest_readw(qts, 0xb8000), 0x1742);
    p = screendump(qts, "ppm");
    assert_int_equal(pixel(&p, 3, 0), dac_rgb(7));
    assert_int_equal(pixel(&p, 4, 0), dac_rgb(1));
    g_free(p.rgb);
    /* Without memory space the window goes, without I/O space the ports. */
    qpci_config_writew(dev, QPCI_COMMAND, QPCI_COMMAND_IO);
    assert_int_equal(qtest_readw(qts, 0xb8000), 0xffff);
    qpci_config_writew(dev, QPCI_COMMAND, QPCI_COMMAND_MEMORY);
    assert_int_equal(qtest_readw(qts, 0xb8000), 0x1742);
    assert_int_equal(qtest_inb(qts, 0x3c6), 0xff);
    assert_int_equal(qtest_inb(qts, 0x3cc), 0xff);
    end(qts, dev);
}

/* Planes behind latches: all four in one access, write modes, and the 256-colour mode that chains them. */
static void test_planes(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev);

    if (qtest_is_split(qts)) {
        end(qts, dev);
        return;
    }
    text_mode(dev);
    qtest_outw(qts, 0x3c4, 0x0f02);
    qtest_outw(qts, 0x3c4, 0x0604);
    qtest_outw(qts, 0x3ce, 0x0005);
    qtest_outw(qts, 0x3ce, 0x0506);
    qtest_outw(qts, 0x3ce, 0x0500); /* set/reset: planes 0 and 2 */
    qtest_outw(qts, 0x3ce, 0x0f01);
    qtest_outw(qts, 0x3ce, 0xf008); /* the left four dots */
    qtest_readb(qts, 0xa0000);
    qtest_writeb(qts, 0xa0000, 0);
    assert_int_equal(qpci_readl(dev, 0, 0), 0x00f000f0);
    qtest_outw(qts, 0x3ce, 0x0105); /* write mode 1 copies the latches */
    qtest_readb(qts, 0xa0000);
    qtest_writeb(qts, 0xa0010, 0);
    assert_int_equal(qpci_readl(dev, 0, 0x40), 0x00f000f0);
    qtest_outw(qts, 0x3ce, 0x0805); /* read mode 1: where is colour 5? */
    qtest_outw(qts, 0x3ce, 0x0502);
    qtest_outw(qts, 0x3ce, 0x0f07);
    assert_int_equal(qtest_readb(qts, 0xa0000), 0xf0);
    qtest_outw(qts, 0x3c4, 0x0e04);
    qtest_writeb(qts, 0xa0123, 0x55);
    assert_int_equal(qpci_readb(dev, 0, 0x123), 0x55);
    end(qts, dev);
}

static void test_errors(void **state)
{
    QpciDevice *dev;
    QtestState *qts = start(&dev), *owner = qtest_server(qts) ? qtest_server(qts) : qts;
    g_autofree char *format = qtest_qmp_error(
        owner, "{'execute': 'screendump', 'arguments': {'filename': '/tmp/x', 'format': 'gif'}}");
    g_autofree char *path =
        qtest_qmp_error(owner, "{'execute': 'screendump', 'arguments': {'filename': '/no/such/dir/x'}}");
    g_autofree char *device =
        qtest_qmp_error(owner, "{'execute': 'screendump', 'arguments': {'filename': '/tmp/x', 'device': 'x'}}");
    g_autofree char *help = qtest_hmp(owner, "screendump");

    assert_non_null(strstr(format, "does not accept value 'gif' (allowed ppm, png)"));
    assert_non_null(strstr(path, "No such file or directory"));
    assert_non_null(strstr(device, "Device 'x' not found"));
    assert_non_null(strstr(help, "FILE [-f ppm|png] [DEVICE]"));
    end(qts, dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity), cmocka_unit_test(test_modes),  cmocka_unit_test(test_linear),
        cmocka_unit_test(test_changes),  cmocka_unit_test(test_png),    cmocka_unit_test(test_text),
        cmocka_unit_test(test_legacy),   cmocka_unit_test(test_planes), cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
