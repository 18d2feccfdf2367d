/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access to device registers through a table. */
#include "core/internal.h"

static uint64_t low_bytes(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
}

/* The entry that holds byte addr, or NULL. */
static const RegDef *reg_at(const RegDef *table, HwAddr addr)
{
    for (const RegDef *r = table; r->name && r->offset <= addr; r++) {
        if (addr - r->offset < r->size) {
            return r;
        }
    }
    return NULL;
}

const RegDef *reg_find(const RegDef *table, HwAddr addr, unsigned size)
{
    const RegDef *r = reg_at(table, addr);

    return r && addr - r->offset + size <= r->size ? r : NULL;
}

static uint64_t reg_value(const RegDef *r, void *dev)
{
    if (r->read) {
        return r->read(dev) & low_bytes(r->size);
    }
    return r->field == SIZE_MAX ? r->reset : prop_load_uint((uint8_t *)dev + r->field, r->size);
}

/* The bytes of an access that fall into one register. */
typedef struct RegPart {
    unsigned in_reg;    /* first byte in the register */
    unsigned in_access; /* first byte in the access */
    unsigned len;
} RegPart;

static RegPart reg_part(const RegDef *r, HwAddr addr, unsigned done, unsigned size)
{
    unsigned in_reg = (unsigned)(addr + done - r->offset);

    return (RegPart){in_reg, done, MIN(r->size - in_reg, size - done)};
}

MemResult reg_read(const RegDef *table, void *dev, HwAddr addr, unsigned size, uint64_t *val)
{
    MemResult result = MEM_DECODE_ERROR;
    uint64_t whole = 0;

    for (unsigned done = 0; done < size;) {
        const RegDef *r = reg_at(table, addr + done);
        RegPart part;

        if (!r) {
            done++; /* reserved bytes read as zero beside a register */
            continue;
        }
        part = reg_part(r, addr, done, size);
        whole |= (reg_value(r, dev) >> (part.in_reg * 8) & low_bytes(part.len)) << (part.in_access * 8);
        result = MEM_OK;
        done += part.len;
    }
    *val = result == MEM_OK ? whole : low_bytes(size);
    return result;
}

static void reg_write_part(const RegDef *r, void *dev, const RegPart *part, uint64_t val)
{
    uint64_t lanes = low_bytes(part->len) << (part->in_reg * 8);
    uint64_t bits = (val >> (part->in_access * 8) & low_bytes(part->len)) << (part->in_reg * 8);
    uint64_t old_val = 0, writable = r->writable & lanes, new_val;

    if (r->field != SIZE_MAX) {
        old_val = prop_load_uint((uint8_t *)dev + r->field, r->size);
    }
    new_val = (old_val & ~writable) | (bits & writable);
    new_val &= ~(bits & r->w1c);
    if (r->field != SIZE_MAX) {
        prop_store_uint((uint8_t *)dev + r->field, r->size, new_val);
    }
    if (r->written) {
        r->written(dev, old_val, new_val);
    }
}

MemResult reg_write(const RegDef *table, void *dev, HwAddr addr, unsigned size, uint64_t val)
{
    MemResult result = MEM_DECODE_ERROR;

    for (unsigned done = 0; done < size;) {
        const RegDef *r = reg_at(table, addr + done);
        RegPart part;

        if (!r) {
            done++;
            continue;
        }
        part = reg_part(r, addr, done, size);
        reg_write_part(r, dev, &part, val);
        result = MEM_OK;
        done += part.len;
    }
    return result;
}

void reg_reset(const RegDef *table, void *dev)
{
    for (const RegDef *r = table; r->name; r++) {
        if (r->field != SIZE_MAX) {
            prop_store_uint((uint8_t *)dev + r->field, r->size, r->reset);
        }
    }
}
