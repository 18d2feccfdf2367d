/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys of a US keyboard by X11 keysym (X Window System Protocol, appendix A: KEYSYM Encoding), which RFB sends.  Letters
 * and signs stand for the key they are on: shift is an event of its own.
 */
#include <string.h>

#include "vnc-internal.h"

/* Printable ASCII: letters and digits are keys of their names. */
static const struct {
    char sign, shifted;
    InputKey key;
} signs[] = {
    {'1', '!', INPUT_KEY_1},          {'2', '@', INPUT_KEY_2},           {'3', '#', INPUT_KEY_3},
    {'4', '$', INPUT_KEY_4},          {'5', '%', INPUT_KEY_5},           {'6', '^', INPUT_KEY_6},
    {'7', '&', INPUT_KEY_7},          {'8', '*', INPUT_KEY_8},           {'9', '(', INPUT_KEY_9},
    {'0', ')', INPUT_KEY_0},          {'-', '_', INPUT_KEY_MINUS},       {'=', '+', INPUT_KEY_EQUAL},
    {'[', '{', INPUT_KEY_BRACKET_LEFT}, {']', '}', INPUT_KEY_BRACKET_RIGHT}, {';', ':', INPUT_KEY_SEMICOLON},
    {'\'', '"', INPUT_KEY_APOSTROPHE}, {'`', '~', INPUT_KEY_GRAVE_ACCENT}, {'\\', '|', INPUT_KEY_BACKSLASH},
    {',', '<', INPUT_KEY_COMMA},      {'.', '>', INPUT_KEY_DOT},         {'/', '?', INPUT_KEY_SLASH},
    {' ', ' ', INPUT_KEY_SPC},
};

static const struct {
    uint32_t keysym;
    InputKey key;
} keysyms[] = {
    {0xff08, INPUT_KEY_BACKSPACE}, {0xff09, INPUT_KEY_TAB}, {0xfe20, INPUT_KEY_TAB}, {0xff0a, INPUT_KEY_LF},
    {0xff0d, INPUT_KEY_RET}, {0xff13, INPUT_KEY_PAUSE}, {0xff14, INPUT_KEY_SCROLL_LOCK}, {0xff15, INPUT_KEY_SYSRQ},
    {0xff1b, INPUT_KEY_ESC}, {0xff50, INPUT_KEY_HOME}, {0xff51, INPUT_KEY_LEFT}, {0xff52, INPUT_KEY_UP},
    {0xff53, INPUT_KEY_RIGHT}, {0xff54, INPUT_KEY_DOWN}, {0xff55, INPUT_KEY_PGUP}, {0xff56, INPUT_KEY_PGDN},
    {0xff57, INPUT_KEY_END}, {0xff61, INPUT_KEY_PRINT}, {0xff63, INPUT_KEY_INSERT}, {0xff67, INPUT_KEY_MENU},
    {0xff7f, INPUT_KEY_NUM_LOCK}, {0xff8d, INPUT_KEY_KP_ENTER}, {0xff95, INPUT_KEY_KP_7}, {0xff96, INPUT_KEY_KP_4},
    {0xff97, INPUT_KEY_KP_8}, {0xff98, INPUT_KEY_KP_6}, {0xff99, INPUT_KEY_KP_2}, {0xff9a, INPUT_KEY_KP_9},
    {0xff9b, INPUT_KEY_KP_3}, {0xff9c, INPUT_KEY_KP_1}, {0xff9d, INPUT_KEY_KP_5}, {0xff9e, INPUT_KEY_KP_0},
    {0xff9f, INPUT_KEY_KP_DECIMAL}, {0xffaa, INPUT_KEY_KP_MULTIPLY}, {0xffab, INPUT_KEY_KP_ADD}, {0xffac, INPUT_KEY_KP_COMMA},
    {0xffad, INPUT_KEY_KP_SUBTRACT}, {0xffae, INPUT_KEY_KP_DECIMAL}, {0xffaf, INPUT_KEY_KP_DIVIDE},
    {0xffb0, INPUT_KEY_KP_0}, {0xffb1, INPUT_KEY_KP_1}, {0xffb2, INPUT_KEY_KP_2}, {0xffb3, INPUT_KEY_KP_3},
    {0xffb4, INPUT_KEY_KP_4}, {0xffb5, INPUT_KEY_KP_5}, {0xffb6, INPUT_KEY_KP_6}, {0xffb7, INPUT_KEY_KP_7},
    {0xffb8, INPUT_KEY_KP_8}, {0xffb9, INPUT_KEY_KP_9}, {0xffbd, INPUT_KEY_KP_EQUALS}, {0xffe1, INPUT_KEY_SHIFT},
    {0xffe2, INPUT_KEY_SHIFT_R}, {0xffe3, INPUT_KEY_CTRL}, {0xffe4, INPUT_KEY_CTRL_R}, {0xffe5, INPUT_KEY_CAPS_LOCK},
    {0xffe7, INPUT_KEY_META_L}, {0xffe8, INPUT_KEY_META_R}, {0xffe9, INPUT_KEY_ALT}, {0xffea, INPUT_KEY_ALT_R},
    {0xfe03, INPUT_KEY_ALT_R}, {0xffeb, INPUT_KEY_META_L}, {0xffec, INPUT_KEY_META_R}, {0xffff, INPUT_KEY_DELETE},
};

bool input_key_of_char(unsigned c, InputKey *key, bool *shift)
{
    if (c < 0x80 && g_ascii_isalpha((char)c)) {
        char name[2] = {g_ascii_tolower((char)c), 0};

        *shift = g_ascii_isupper((char)c);
        return input_key_find(name, key);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(signs); i++) {
        if (c == (unsigned)signs[i].sign || c == (unsigned)signs[i].shifted) {
            *key = signs[i].key;
            *shift = c != (unsigned)signs[i].sign;
            return true;
        }
    }
    return false;
}

bool vnc_key_find(uint32_t keysym, InputKey *key)
{
    bool shift;

    if (input_key_of_char(keysym, key, &shift)) {
        return true;
    }
    if (keysym >= 0xffbe && keysym <= 0xffc9) { /* F1 to F12 */
        g_autofree char *name = g_strdup_printf("f%u", keysym - 0xffbe + 1);

        return input_key_find(name, key);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keysyms); i++) {
        if (keysym == keysyms[i].keysym) {
            *key = keysyms[i].key;
            return true;
        }
    }
    return false;
}
