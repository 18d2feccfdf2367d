/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer to a VNC challenge (RFC 6143, 7.2.2): DES, by libnettle, which is loaded when there is a password to check.
 * The bits of each byte of the key are in the opposite order.
 */
#include <dlfcn.h>
#include <nettle/des.h>
#include <string.h>

#include "core/error.h"
#include "vnc-internal.h"

#define DES_LIBRARY "libnettle.so.8"

typedef int DesSetKey(struct des_ctx *ctx, const uint8_t *key);
typedef void DesEncrypt(const struct des_ctx *ctx, size_t length, uint8_t *dst, const uint8_t *src);

/* The library stays: dlopen() of one that is there is a lookup. */
static bool des_find(DesSetKey **set_key, DesEncrypt **encrypt)
{
    void *handle = dlopen(DES_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    *set_key = handle ? (DesSetKey *)dlsym(handle, "nettle_des_set_key") : NULL;
    *encrypt = handle ? (DesEncrypt *)dlsym(handle, "nettle_des_encrypt") : NULL;
    return *set_key && *encrypt;
}

bool vnc_des_load(GError **error)
{
    DesSetKey *set_key;
    DesEncrypt *encrypt;

    if (!des_find(&set_key, &encrypt)) {
        error_set(error, "password=on needs " DES_LIBRARY ", which cannot be loaded; install libnettle8");
        return false;
    }
    return true;
}

static uint8_t des_mirror(uint8_t byte)
{
    uint8_t mirrored = 0;

    for (unsigned i = 0; i < 8; i++) {
        mirrored |= (uint8_t)((byte >> i & 1) << (7 - i));
    }
    return mirrored;
}

void vnc_des_answer(const char *password, const uint8_t challenge[VNC_CHALLENGE], uint8_t answer[VNC_CHALLENGE])
{
    uint8_t key[DES_KEY_SIZE] = {0};
    DesSetKey *set_key;
    DesEncrypt *encrypt;
    struct des_ctx ctx;

    for (size_t i = 0; i < DES_KEY_SIZE && password[i]; i++) {
        key[i] = des_mirror((uint8_t)password[i]);
    }
    if (des_find(&set_key, &encrypt)) {
        set_key(&ctx, key); /* says 0 for weak keys and takes them all the same */
        encrypt(&ctx, VNC_CHALLENGE, answer, challenge);
    } else {
        memset(answer, 0, VNC_CHALLENGE);
    }
}
