/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's text screen in a terminal.  ncurses knows terminals; it is loaded when it is asked for.  Its characters are
 * those of code page 437, its keys are pressed on a US keyboard: shift and control are pressed for the characters that
 * need them, alt for what follows an ESC at once.
 */
#define NCURSES_NOMACROS
#define NCURSES_WIDECHAR 1
#include "ui/curses.h"

#include <curses.h>
#include <dlfcn.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "core/error.h"
#include "ui/display.h"
#include "ui/input.h"

#define CURSES_LIBRARY "libncursesw.so.6"
#define LOOK_NS        (40 * INT64_C(1000000))
#define HOLD_MS        20
#define KEYS_AT_ONCE   64 /* read in one turn */

/* What is used of the library. */
#define CURSES_FUNCTIONS(X)                                                                                            \
    X(newterm) X(endwin) X(delscreen) X(raw) X(noecho) X(nonl) X(keypad) X(nodelay) X(start_color) X(init_pair) X(wmove)   \
    X(waddnwstr) X(wattr_set) X(wrefresh) X(wclear) X(wget_wch) X(getmaxx) X(getmaxy) X(curs_set) X(set_escdelay)

typedef struct Curses {
#define CURSES_POINTER(name) __typeof__(name) *name;
    CURSES_FUNCTIONS(CURSES_POINTER)
#undef CURSES_POINTER
    WINDOW **stdscr;
} Curses;

typedef struct CursesScreen {
    Object obj;
    Curses lib;
    SCREEN *screen;
    WINDOW *window;
    Timer *timer;
    DisplayText text; /* as drawn */
    int height, width; /* of the terminal, then */
} CursesScreen;

const ObjectModel curses_screen_model = {
    .model = {.name = "curses-screen",
              .doc = "Shows a text screen in the terminal.",
              .kind = MODEL_OBJECT,
              .size = sizeof(CursesScreen),
              .internal = true},
};

static CursesScreen *curses_find(Machine *m)
{
    GPtrArray *all = object_container(m->root, "curses")->children;

    return all->len ? all->pdata[0] : NULL;
}

static bool curses_load(Curses *lib, GError **error)
{
    static const struct {
        const char *name;
        size_t at;
    } functions[] = {
#define CURSES_ENTRY(name) {#name, offsetof(Curses, name)},
        CURSES_FUNCTIONS(CURSES_ENTRY)
#undef CURSES_ENTRY
            {"stdscr", offsetof(Curses, stdscr)},
    };
    void *handle = dlopen(CURSES_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    for (size_t i = 0; i < G_N_ELEMENTS(functions); i++) {
        void *found = handle ? dlsym(handle, functions[i].name) : NULL;

        if (!found) {
            error_set(error, "curses: cannot load %s; install libncursesw6", CURSES_LIBRARY);
            return false;
        }
        *(void **)(void *)((char *)lib + functions[i].at) = found;
    }
    return true;
}

/* --- the picture --- */

/* Code page 437 in Unicode. */
static const wchar_t cp437[257] =
    L" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼ !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~⌂"
    L"ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/* Blue and red have changed places. */
static short curses_colour(unsigned vga)
{
    return (short)((vga & 1) << 2 | (vga & 2) | (vga >> 2 & 1));
}

/* Pair 0 is the terminal's own: the others are numbered by paper and ink. */
static short curses_pair(unsigned attribute)
{
    return (short)(1 + (attribute >> 4 & 7) * 8 + (attribute & 7));
}

static void curses_line(CursesScreen *s, const uint16_t *cells, unsigned columns)
{
    for (unsigned x = 0, end; x < columns; x = end) {
        unsigned attribute = cells[x] >> 8;
        wchar_t run[DISPLAY_TEXT_COLUMNS];

        for (end = x; end < columns && (unsigned)(cells[end] >> 8) == attribute; end++) {
            run[end - x] = cp437[cells[end] & 0xff];
        }
        s->lib.wattr_set(s->window, attribute & 8 ? A_BOLD : A_NORMAL, curses_pair(attribute), NULL);
        s->lib.waddnwstr(s->window, run, (int)(end - x));
    }
}

static void curses_draw(CursesScreen *s, const DisplayText *text)
{
    s->lib.wclear(s->window);
    for (unsigned y = 0; y < MIN(text->rows, (unsigned)s->height); y++) {
        s->lib.wmove(s->window, (int)y, 0);
        curses_line(s, text->cells + y * text->columns, MIN(text->columns, (unsigned)s->width));
    }
    if (!text->columns) {
        static const wchar_t words[] = L"The guest's screen shows graphics.";

        s->lib.wattr_set(s->window, A_NORMAL, 0, NULL);
        s->lib.wmove(s->window, 0, 0);
        s->lib.waddnwstr(s->window, words, -1);
    }
    if (text->cursor_x >= 0 && text->cursor_x < s->width && text->cursor_y < s->height) {
        s->lib.wmove(s->window, text->cursor_y, text->cursor_x);
    }
    s->lib.curs_set(text->cursor_x >= 0);
    s->lib.wrefresh(s->window);
}

static void curses_look(CursesScreen *s)
{
    Display *display = display_find(s->obj.machine, NULL, NULL);
    int height = s->lib.getmaxy(s->window), width = s->lib.getmaxx(s->window);
    DisplayText text;

    if (!display || !display_text(display, &text)) {
        memset(&text, 0, sizeof(text));
        text.cursor_x = text.cursor_y = -1;
    }
    if (memcmp(&text, &s->text, sizeof(text)) != 0 || height != s->height || width != s->width) {
        s->text = text;
        s->height = height;
        s->width = width;
        curses_draw(s, &s->text);
    }
}

/* --- keys --- */

static const struct {
    int code;
    InputKey key;
    bool shift;
} curses_keys[] = {
    {KEY_UP, INPUT_KEY_UP, false},         {KEY_DOWN, INPUT_KEY_DOWN, false},     {KEY_LEFT, INPUT_KEY_LEFT, false},
    {KEY_RIGHT, INPUT_KEY_RIGHT, false},   {KEY_HOME, INPUT_KEY_HOME, false},     {KEY_END, INPUT_KEY_END, false},
    {KEY_NPAGE, INPUT_KEY_PGDN, false},    {KEY_PPAGE, INPUT_KEY_PGUP, false},    {KEY_IC, INPUT_KEY_INSERT, false},
    {KEY_DC, INPUT_KEY_DELETE, false},     {KEY_BTAB, INPUT_KEY_TAB, true},       {KEY_BACKSPACE, INPUT_KEY_BACKSPACE, false},
    {KEY_ENTER, INPUT_KEY_KP_ENTER, false}, {KEY_F(1), INPUT_KEY_F1, false},      {KEY_F(2), INPUT_KEY_F2, false},
    {KEY_F(3), INPUT_KEY_F3, false},       {KEY_F(4), INPUT_KEY_F4, false},       {KEY_F(5), INPUT_KEY_F5, false},
    {KEY_F(6), INPUT_KEY_F6, false},       {KEY_F(7), INPUT_KEY_F7, false},       {KEY_F(8), INPUT_KEY_F8, false},
    {KEY_F(9), INPUT_KEY_F9, false},       {KEY_F(10), INPUT_KEY_F10, false},     {KEY_F(11), INPUT_KEY_F11, false},
    {KEY_F(12), INPUT_KEY_F12, false},
};

/* Characters that are keys of their own, not control and a letter. */
static const struct {
    wint_t c;
    InputKey key;
} curses_controls[] = {
    {'\r', INPUT_KEY_RET}, {'\t', INPUT_KEY_TAB}, {27, INPUT_KEY_ESC}, {127, INPUT_KEY_BACKSPACE}, {8, INPUT_KEY_BACKSPACE},
};

/* The keys of a character; their number. */
static unsigned curses_char_keys(wint_t c, InputKey *keys)
{
    bool shift;

    for (size_t i = 0; i < G_N_ELEMENTS(curses_controls); i++) {
        if (curses_controls[i].c == c) {
            keys[0] = curses_controls[i].key;
            return 1;
        }
    }
    if (c >= 1 && c <= 26) {
        keys[0] = INPUT_KEY_CTRL;
        return input_key_of_char('a' + c - 1, &keys[1], &shift) ? 2 : 0;
    }
    if (!input_key_of_char(c, &keys[0], &shift)) {
        return 0;
    }
    if (shift) {
        keys[1] = keys[0];
        keys[0] = INPUT_KEY_SHIFT;
    }
    return shift ? 2 : 1;
}

static unsigned curses_code_keys(wint_t code, InputKey *keys)
{
    for (size_t i = 0; i < G_N_ELEMENTS(curses_keys); i++) {
        if ((wint_t)curses_keys[i].code == code) {
            keys[0] = INPUT_KEY_SHIFT;
            keys[curses_keys[i].shift] = curses_keys[i].key;
            return 1u + curses_keys[i].shift;
        }
    }
    return 0;
}

static void curses_read(CursesScreen *s)
{
    for (unsigned i = 0; i < KEYS_AT_ONCE; i++) {
        InputKey keys[4] = {INPUT_KEY_ALT};
        wint_t c = 0, next = 0;
        int kind = s->lib.wget_wch(s->window, &c), next_kind;
        unsigned alt = 0, n;

        if (kind == ERR) {
            return;
        }
        if (kind == OK && c == 27 && (next_kind = s->lib.wget_wch(s->window, &next)) != ERR) {
            kind = next_kind;
            c = next;
            alt = 1;
        }
        n = kind == KEY_CODE_YES ? curses_code_keys(c, keys + alt) : curses_char_keys(c, keys + alt);
        if (n) {
            input_press_group(s->obj.machine, keys, n + alt, HOLD_MS, NULL); /* too many are lost, as on any keyboard */
        }
    }
}

static void curses_tick(void *opaque)
{
    CursesScreen *s = opaque;
    Machine *m = s->obj.machine;

    curses_read(s);
    curses_look(s);
    timer_set(s->timer, clock_now(m->clocks, CLOCK_KIND_REALTIME) + LOOK_NS);
}

/* --- life --- */

static void curses_setup(CursesScreen *s)
{
    s->window = *s->lib.stdscr;
    s->lib.raw();
    s->lib.noecho();
    s->lib.nonl();
    s->lib.set_escdelay(25);
    s->lib.keypad(s->window, TRUE);
    s->lib.nodelay(s->window, TRUE);
    s->lib.start_color();
    for (unsigned attribute = 0; attribute < 0x80; attribute++) {
        s->lib.init_pair(curses_pair(attribute), curses_colour(attribute), curses_colour(attribute >> 4));
    }
}

bool curses_open(Machine *machine, GError **error)
{
    CursesScreen *s;
    Curses lib;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        error_set(error, "curses: standard input and output must be a terminal");
        return false;
    }
    if (!curses_load(&lib, error)) {
        return false;
    }
    s = (CursesScreen *)object_new(&curses_screen_model.model, machine, object_container(machine->root, "curses"), NULL, error);
    if (!s) {
        return false;
    }
    setlocale(LC_CTYPE, "");
    s->lib = lib;
    s->screen = lib.newterm(NULL, stdout, stdin);
    if (!s->screen) {
        const char *term = g_getenv("TERM");

        error_set(error, "curses: cannot use this terminal (TERM=%s)", term ? term : "");
        object_free(&s->obj);
        return false;
    }
    curses_setup(s);
    s->timer = timer_new(machine->main_loop, CLOCK_KIND_REALTIME, curses_tick, s);
    curses_tick(s);
    return true;
}

void curses_close(Machine *machine)
{
    CursesScreen *s = curses_find(machine);

    if (s) {
        timer_free(s->timer);
        s->lib.endwin();
        s->lib.delscreen(s->screen);
        object_free(&s->obj);
    }
}
