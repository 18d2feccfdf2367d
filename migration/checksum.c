/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C: RFC 3720, section 12.1 and appendix B.4.  With SSE 4.2's instruction where the host has it. */
#include "migration/checksum.h"

#include <stdbool.h>
#include <string.h>

#define LANES 4u

/* Half a byte at a time: hosts without the instruction are rare. */
static uint32_t add_bytes_plain(uint32_t crc, const uint8_t *p, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (; len; len--, p++) {
        crc ^= *p;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

static void add_lanes_plain(uint32_t crc[LANES], const uint8_t *p)
{
    for (unsigned i = 0; i < LANES; i++) {
        crc[i] = ~add_bytes_plain(~0u, p + (size_t)i * MIG_CHECKSUM_BLOCK, MIG_CHECKSUM_BLOCK);
    }
}

static void copy_lanes_plain(uint32_t crc[LANES], uint8_t *to, const uint8_t *from)
{
    memcpy(to, from, (size_t)LANES * MIG_CHECKSUM_BLOCK);
    add_lanes_plain(crc, to);
}

#ifdef __x86_64__
static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

static inline uint64_t word_at(const uint8_t *p, size_t at)
{
    uint64_t word;

    memcpy(&word, p + at, sizeof(word));
    return word;
}

__attribute__((target("sse4.2"))) static uint32_t add_bytes_fast(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;

    for (; len >= 8; len -= 8, p += 8) {
        wide = __builtin_ia32_crc32di(wide, word_at(p, 0));
    }
    crc = (uint32_t)wide;
    for (; len; len--, p++) {
        crc = __builtin_ia32_crc32qi(crc, *p);
    }
    return crc;
}

__attribute__((target("sse4.2"))) static void add_lanes_fast(uint32_t crc[LANES], const uint8_t *p)
{
    uint64_t a = ~0u, b = ~0u, c = ~0u, d = ~0u;

    for (size_t at = 0; at < MIG_CHECKSUM_BLOCK; at += 8) {
        a = __builtin_ia32_crc32di(a, word_at(p, at));
        b = __builtin_ia32_crc32di(b, word_at(p, at + MIG_CHECKSUM_BLOCK));
        c = __builtin_ia32_crc32di(c, word_at(p, at + 2 * MIG_CHECKSUM_BLOCK));
        d = __builtin_ia32_crc32di(d, word_at(p, at + 3 * MIG_CHECKSUM_BLOCK));
    }
    crc[0] = ~(uint32_t)a;
    crc[1] = ~(uint32_t)b;
    crc[2] = ~(uint32_t)c;
    crc[3] = ~(uint32_t)d;
}

typedef uint64_t __attribute__((may_alias)) Word;

/* Each word is read once: somebody may be writing to `from`, and what is summed has to be what is stored. */
__attribute__((target("sse4.2"))) static inline uint64_t copy_word(uint64_t crc, uint8_t *to, const uint8_t *from, size_t at)
{
    uint64_t word = __atomic_load_n((const Word *)(const void *)(from + at), __ATOMIC_RELAXED);

    memcpy(to + at, &word, sizeof(word));
    return __builtin_ia32_crc32di(crc, word);
}

/* Four streams of reads keep more of the memory's latency busy than one does, and the sums come for nothing. */
__attribute__((target("sse4.2"))) static void copy_lanes_fast(uint32_t crc[LANES], uint8_t *to, const uint8_t *from)
{
    uint64_t a = ~0u, b = ~0u, c = ~0u, d = ~0u;

    for (size_t at = 0; at < MIG_CHECKSUM_BLOCK; at += 8) {
        a = copy_word(a, to, from, at);
        b = copy_word(b, to, from, at + MIG_CHECKSUM_BLOCK);
        c = copy_word(c, to, from, at + 2 * MIG_CHECKSUM_BLOCK);
        d = copy_word(d, to, from, at + 3 * MIG_CHECKSUM_BLOCK);
    }
    crc[0] = ~(uint32_t)a;
    crc[1] = ~(uint32_t)b;
    crc[2] = ~(uint32_t)c;
    crc[3] = ~(uint32_t)d;
}
#else
static bool has_instruction(void)
{
    return false;
}

#define add_bytes_fast add_bytes_plain
#define add_lanes_fast add_lanes_plain
#define copy_lanes_fast copy_lanes_plain
#endif

uint32_t mig_crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~(has_instruction() ? add_bytes_fast : add_bytes_plain)(~crc, data, len);
}

static uint32_t add_sum(uint32_t crc, uint32_t sum)
{
    const uint8_t bytes[4] = {(uint8_t)sum, (uint8_t)(sum >> 8), (uint8_t)(sum >> 16), (uint8_t)(sum >> 24)};

    return mig_crc32c(crc, bytes, sizeof(bytes));
}

static uint32_t add_sums(uint32_t crc, const uint32_t sums[LANES])
{
    for (unsigned i = 0; i < LANES; i++) {
        crc = add_sum(crc, sums[i]);
    }
    return crc;
}

uint32_t mig_crc32c_blocks(uint32_t crc, const void *data, size_t blocks)
{
    const uint8_t *p = data;
    uint32_t sums[LANES];

    for (; blocks >= LANES; blocks -= LANES, p += (size_t)LANES * MIG_CHECKSUM_BLOCK) {
        (has_instruction() ? add_lanes_fast : add_lanes_plain)(sums, p);
        crc = add_sums(crc, sums);
    }
    for (; blocks; blocks--, p += MIG_CHECKSUM_BLOCK) {
        crc = add_sum(crc, mig_crc32c(0, p, MIG_CHECKSUM_BLOCK));
    }
    return crc;
}

uint32_t mig_crc32c_copy(uint32_t crc, void *to, const void *from, size_t blocks)
{
    const uint8_t *in = from;
    uint8_t *out = to;
    uint32_t sums[LANES];

    for (; blocks >= LANES; blocks -= LANES) {
        (has_instruction() ? copy_lanes_fast : copy_lanes_plain)(sums, out, in);
        crc = add_sums(crc, sums);
        in += (size_t)LANES * MIG_CHECKSUM_BLOCK;
        out += (size_t)LANES * MIG_CHECKSUM_BLOCK;
    }
    memcpy(out, in, blocks * MIG_CHECKSUM_BLOCK);
    return mig_crc32c_blocks(crc, out, blocks);
}
