/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parallel NOR flash, 8 bits wide, with the Intel command set (JEDEC JESD68.01 and JEP137: common flash interface,
 * command set 0001h; Intel StrataFlash 28FxxxJ3 data sheet: commands, status register, identifier codes).  While it is
 * read as an array it is memory, of which writes alone reach the model; in any other view its registers lie over that.
 * Operations take no time.  Where firmware relies on what QEMU's device does, it is so here: "clear status register"
 * clears the ready bit too (until the next operation) and goes back to the array.
 */
#include "hw/nvram/pflash-cfi01.h"

#include <string.h>
#include <sys/mman.h>

typedef enum PflashView { VIEW_ARRAY, VIEW_STATUS, VIEW_IDENTIFIER, VIEW_QUERY, VIEW_COUNT } PflashView;

/* What the next write is: a command, or part of the one before. */
typedef enum PflashStep {
    STEP_COMMAND,
    STEP_PROGRAM,
    STEP_ERASE_CONFIRM,
    STEP_LOCK,
    STEP_BUFFER_COUNT,
    STEP_BUFFER_DATA,
    STEP_BUFFER_CONFIRM,
    STEP_COUNT,
} PflashStep;

#define SR_READY         0x80
#define SR_ERASE_ERROR   0x20
#define SR_PROGRAM_ERROR 0x10
#define SR_LOCKED        0x02
#define SR_SEQUENCE      (SR_ERASE_ERROR | SR_PROGRAM_ERROR)

#define CMD_READ_ARRAY   0xff
#define CMD_CLEAR_STATUS 0x50
#define CMD_CONFIRM      0xd0
#define CMD_LOCK_SET     0x01

#define ID_MANUFACTURER  0x89
#define ID_DEVICE        0x18
#define ID_LOCK_OFFSET   2 /* in each block */

#define QUERY_FIRST      0x10
#define QUERY_SIZE_LOG2  0x27
#define QUERY_BLOCKS     0x2d

/* --- the back end: blocks that changed are written in the background, in runs --- */

static void pflash_written(void *opaque, int result);

static void pflash_write_back(Pflash *s)
{
    uint32_t blocks = s->size / PFLASH_BLOCK, first = 0, end;
    struct iovec iov;

    while (first < blocks && !s->dirty[first]) {
        first++;
    }
    if (s->writing || first == blocks) {
        return;
    }
    for (end = first; end < blocks && s->dirty[end]; end++) {
        s->dirty[end] = 0;
    }
    s->writing = true;
    /* What changes while it is being written is written again. */
    iov = (struct iovec){s->storage + (size_t)first * PFLASH_BLOCK, (size_t)(end - first) * PFLASH_BLOCK};
    block_write(s->blk, (uint64_t)first * PFLASH_BLOCK, &iov, 1, true, pflash_written, s);
}

static void pflash_written(void *opaque, int result)
{
    Pflash *s = opaque;

    s->writing = false;
    if (result < 0) {
        s->status |= SR_SEQUENCE;
        g_printerr("%s: cannot write to %s: %s; changes are lost with the machine\n", s->dev.obj.id, block_id(s->blk),
                   g_strerror(-result));
    }
    pflash_write_back(s);
}

/* The bytes in storage have changed. */
static void pflash_changed(Pflash *s, uint32_t addr, uint32_t len)
{
    mem_region_changed(s->array, addr, len);
    if (s->shadow && addr + len > s->size - s->shadow_size) {
        mem_region_changed(s->shadow, 0, s->shadow_size);
    }
    for (uint32_t block = addr / PFLASH_BLOCK; block <= (addr + len - 1) / PFLASH_BLOCK; block++) {
        s->dirty[block] = 1;
    }
    pflash_write_back(s);
}

/* --- operations --- */

static bool pflash_locked(const Pflash *s, uint32_t addr)
{
    uint32_t block = addr / PFLASH_BLOCK;
    return s->locks[block / 8] >> block % 8 & 1;
}

/* Ends an operation on [addr, addr + len): may it be carried out, and what does the status register say if not? */
static bool pflash_may_change(Pflash *s, uint32_t addr, uint32_t len, uint8_t failure)
{
    s->status |= SR_READY;
    if (block_readonly(s->blk)) {
        s->status |= failure;
        return false;
    }
    if (pflash_locked(s, addr) || pflash_locked(s, addr + len - 1)) {
        s->status |= failure | SR_LOCKED;
        return false;
    }
    return true;
}

/* Bits go from 1 to 0; only erasing brings them back. */
static void pflash_program(Pflash *s, uint32_t addr, const uint8_t *data, uint32_t len)
{
    if (!pflash_may_change(s, addr, len, SR_PROGRAM_ERROR)) {
        return;
    }
    for (uint32_t i = 0; i < len; i++) {
        s->storage[addr + i] &= data[i];
    }
    pflash_changed(s, addr, len);
}

static void pflash_erase(Pflash *s, uint32_t addr)
{
    addr -= addr % PFLASH_BLOCK;
    if (pflash_may_change(s, addr, PFLASH_BLOCK, SR_ERASE_ERROR)) {
        memset(s->storage + addr, 0xff, PFLASH_BLOCK);
        pflash_changed(s, addr, PFLASH_BLOCK);
    }
}

static void pflash_bad_sequence(Pflash *s, const char *what, uint64_t val)
{
    guest_error(&s->dev, "%s 0x%x", what, (unsigned)val);
    s->status |= SR_READY | SR_SEQUENCE;
}

/* --- commands, and the writes that follow them: each returns the step that is next --- */

static const struct {
    uint8_t code;
    uint8_t view, step;
} pflash_commands[] = {
    {CMD_READ_ARRAY, VIEW_ARRAY, STEP_COMMAND},
    {0x00, VIEW_ARRAY, STEP_COMMAND}, /* as QEMU has it */
    {CMD_CLEAR_STATUS, VIEW_ARRAY, STEP_COMMAND},
    {0x70, VIEW_STATUS, STEP_COMMAND},
    {0x90, VIEW_IDENTIFIER, STEP_COMMAND},
    {0x98, VIEW_QUERY, STEP_COMMAND},
    {0x10, VIEW_STATUS, STEP_PROGRAM},
    {0x40, VIEW_STATUS, STEP_PROGRAM},
    {0x20, VIEW_STATUS, STEP_ERASE_CONFIRM},
    {0x60, VIEW_STATUS, STEP_LOCK},
    {0xe8, VIEW_STATUS, STEP_BUFFER_COUNT},
    {0xb0, VIEW_STATUS, STEP_COMMAND}, /* suspend and resume: nothing is ever in progress */
    {CMD_CONFIRM, VIEW_STATUS, STEP_COMMAND},
};

static PflashStep step_command(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    uint8_t code = (uint8_t)val;

    for (unsigned i = 0; i < G_N_ELEMENTS(pflash_commands); i++) {
        if (pflash_commands[i].code == code) {
            s->view = pflash_commands[i].view;
            s->status = code == CMD_CLEAR_STATUS ? 0 : s->status;
            s->status |= pflash_commands[i].step == STEP_BUFFER_COUNT ? SR_READY : 0;
            return pflash_commands[i].step;
        }
    }
    guest_error(&s->dev, "unknown command 0x%02x", code);
    s->view = VIEW_ARRAY;
    return STEP_COMMAND;
}

static PflashStep step_program(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    uint64_t data = GUINT64_TO_LE(val);

    pflash_program(s, addr, (const uint8_t *)&data, size);
    return STEP_COMMAND;
}

static PflashStep step_erase_confirm(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    if ((uint8_t)val == CMD_CONFIRM) {
        pflash_erase(s, addr);
    } else {
        pflash_bad_sequence(s, "erase is not confirmed but followed by", val);
    }
    return STEP_COMMAND;
}

static PflashStep step_lock(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    uint32_t block = addr / PFLASH_BLOCK;

    s->status |= SR_READY;
    if ((uint8_t)val == CMD_LOCK_SET) {
        s->locks[block / 8] |= (uint8_t)(1u << block % 8);
    } else if ((uint8_t)val == CMD_CONFIRM) {
        memset(s->locks, 0, sizeof(s->locks)); /* there is no unlocking of one */
    } else {
        pflash_bad_sequence(s, "lock setup is followed by", val);
    }
    return STEP_COMMAND;
}

static PflashStep step_buffer_count(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    s->buffer_count = s->buffer_left = (uint8_t)val + 1u;
    s->buffer_base = UINT32_MAX;
    memset(s->buffer, 0xff, sizeof(s->buffer));
    return STEP_BUFFER_DATA;
}

/* The first address is where the buffer goes; the others follow in any order. */
static PflashStep step_buffer_data(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    uint64_t data = GUINT64_TO_LE(val);
    uint32_t at;

    if (s->buffer_base == UINT32_MAX && addr % PFLASH_BLOCK + s->buffer_count <= PFLASH_BLOCK) {
        s->buffer_base = addr;
    }
    at = addr - s->buffer_base;
    if (addr < s->buffer_base || size > s->buffer_left || at + size > s->buffer_count) {
        pflash_bad_sequence(s, "write to the buffer outside of its range, at", addr);
        return STEP_COMMAND;
    }
    memcpy(s->buffer + at, &data, size);
    s->buffer_left -= size;
    return s->buffer_left ? STEP_BUFFER_DATA : STEP_BUFFER_CONFIRM;
}

static PflashStep step_buffer_confirm(Pflash *s, uint32_t addr, unsigned size, uint64_t val)
{
    if ((uint8_t)val == CMD_CONFIRM) {
        pflash_program(s, s->buffer_base, s->buffer, s->buffer_count);
    } else {
        pflash_bad_sequence(s, "write to the buffer is not confirmed but followed by", val);
    }
    return STEP_COMMAND;
}

typedef PflashStep PflashStepFn(Pflash *s, uint32_t addr, unsigned size, uint64_t val);
static PflashStepFn *const pflash_steps[STEP_COUNT] = {
    [STEP_COMMAND] = step_command,
    [STEP_PROGRAM] = step_program,
    [STEP_ERASE_CONFIRM] = step_erase_confirm,
    [STEP_LOCK] = step_lock,
    [STEP_BUFFER_COUNT] = step_buffer_count,
    [STEP_BUFFER_DATA] = step_buffer_data,
    [STEP_BUFFER_CONFIRM] = step_buffer_confirm,
};

/* --- the bus --- */

static bool pflash_refuses(const Pflash *s, MemAttrs attrs)
{
    return s->secure && !attrs.secure;
}

static MemResult pflash_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Pflash *s = opaque;

    if (pflash_refuses(s, attrs)) {
        guest_error(&s->dev, "write outside of system management mode at 0x%x", (unsigned)addr);
        return MEM_OK;
    }
    s->step = pflash_steps[s->step](s, (uint32_t)addr, size, val);
    mem_region_set_enabled(s->command, s->view != VIEW_ARRAY);
    return MEM_OK;
}

static unsigned log2_above(uint32_t val)
{
    return val > 1 ? 32 - (unsigned)__builtin_clz(val - 1) : 0;
}

static uint8_t pflash_query(const Pflash *s, uint32_t addr)
{
    static const uint8_t table[] = {
        'Q', 'R', 'Y', 0x01, 0x00, 0x31, 0x00, 0, 0, 0, 0, /* command set 0001h, its table at 31h */
        0x45, 0x55, 0, 0,                                  /* 1Bh: volts */
        7, 7, 10, 0, 4, 4, 4, 0,                           /* 1Fh: typical and longest times, as powers of 2 */
        0, 0, 0,                                           /* 27h: size; 8 bits wide */
        8, 0, 1,                                           /* 2Ah: buffer of 2^8 bytes, one kind of blocks: */
        0, 0, PFLASH_BLOCK >> 8 & 0xff, PFLASH_BLOCK >> 16, /* 2Dh: how many less one, how long */
        'P', 'R', 'I', '1', '1',                           /* 31h */
        0x08, 0, 0, 0, 0, 1, 0,                            /* 36h: blocks can be locked, all are unlocked at once */
        0x50, 0, 0,
    };
    uint32_t blocks = s->size / PFLASH_BLOCK - 1;

    if (addr == QUERY_SIZE_LOG2) {
        return (uint8_t)log2_above(s->size);
    }
    if (addr == QUERY_BLOCKS || addr == QUERY_BLOCKS + 1) {
        return (uint8_t)(blocks >> 8 * (addr - QUERY_BLOCKS));
    }
    return addr >= QUERY_FIRST && addr - QUERY_FIRST < sizeof(table) ? table[addr - QUERY_FIRST] : 0;
}

static uint8_t pflash_identifier(const Pflash *s, uint32_t addr)
{
    static const uint8_t codes[] = {ID_MANUFACTURER, ID_DEVICE};

    if (addr % PFLASH_BLOCK == ID_LOCK_OFFSET) {
        return pflash_locked(s, addr);
    }
    return addr < sizeof(codes) ? codes[addr] : 0;
}

static uint8_t pflash_read_byte(const Pflash *s, uint32_t addr, MemAttrs attrs)
{
    switch (pflash_refuses(s, attrs) ? VIEW_ARRAY : (PflashView)s->view) {
    case VIEW_STATUS:
        return s->status;
    case VIEW_IDENTIFIER:
        return pflash_identifier(s, addr);
    case VIEW_QUERY:
        return pflash_query(s, addr);
    default:
        return s->storage[addr];
    }
}

static MemResult pflash_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    const Pflash *s = opaque;

    *val = 0;
    for (unsigned i = 0; i < size; i++) {
        *val |= (uint64_t)pflash_read_byte(s, (uint32_t)addr + i, attrs) << 8 * i;
    }
    return MEM_OK;
}

static const MemOps pflash_ops = {.read = pflash_read, .write = pflash_write, .min_size = 1, .max_size = 8, .unaligned = true};

/* --- life --- */

static void pflash_reset(Device *dev)
{
    Pflash *s = (Pflash *)dev;

    s->view = VIEW_ARRAY;
    s->step = STEP_COMMAND;
    s->status = SR_READY;
    mem_region_set_enabled(s->command, false);
}

static void pflash_was_read(void *opaque, int result)
{
    *(int *)opaque = result;
}

static bool pflash_fill(Pflash *s, GError **error)
{
    struct iovec iov = {s->storage, s->size};
    int result = 0;

    /* The contents come with the guest. */
    if (s->dev.obj.machine->incoming) {
        return true;
    }
    block_read(s->blk, 0, &iov, 1, pflash_was_read, &result);
    block_drain(s->blk);
    if (result < 0) {
        error_set_errno(error, -result, "%s: cannot read %s", s->dev.obj.id, block_id(s->blk));
    }
    return result == 0;
}

static bool pflash_open(Pflash *s, GError **error)
{
    uint64_t size = s->blk ? block_size(s->blk) : 0;

    if (!s->blk) {
        error_set(error, "%s: property 'drive' is missing", s->dev.obj.model->name);
        return false;
    }
    if (!size || size % PFLASH_BLOCK || size > PFLASH_MAX) {
        error_set(error, "%s: bad size of %s (%" G_GUINT64_FORMAT " bytes, allowed multiples of %u up to %u)", s->dev.obj.id,
                  block_id(s->blk), size, PFLASH_BLOCK, PFLASH_MAX);
        return false;
    }
    if (!block_attach(s->blk, &s->dev, s->dev.home, error)) {
        return false;
    }
    s->size = (uint32_t)size;
    s->storage = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->storage == MAP_FAILED) {
        error_set(error, "%s: no memory for the contents (%u bytes)", s->dev.obj.id, s->size);
    } else if (pflash_fill(s, error)) {
        return true;
    } else {
        munmap(s->storage, s->size);
    }
    block_detach(s->blk);
    return false;
}

static bool pflash_start(Device *dev, GError **error)
{
    Pflash *s = (Pflash *)dev;
    MemTopology *topo = dev->obj.machine->topo;

    if (!pflash_open(s, error)) {
        return false;
    }
    mem_begin(topo);
    s->container = mem_region_new_container(topo, dev->obj.id, s->size);
    s->array = mem_region_new_rom(topo, dev->obj.id, s->size, s->storage, &pflash_ops, s);
    s->command = mem_region_new_io(topo, "pflash-registers", s->size, &pflash_ops, s, dev->home);
    mem_region_set_enabled(s->command, false);
    mem_region_add(s->container, 0, s->array);
    mem_region_add_overlap(s->container, 0, s->command, 1);
    mem_region_add(s->parent, s->base, s->container);
    if (s->shadow_size) {
        s->shadow = mem_region_new_rom(topo, "isa-bios", s->shadow_size, s->storage + s->size - s->shadow_size, NULL, NULL);
        mem_region_add_overlap(s->parent, s->shadow_base, s->shadow, 1);
    }
    mem_commit(topo, NULL);
    return true;
}

static void pflash_drop(MemRegion *parent, MemRegion **region)
{
    mem_region_del(parent, *region);
    if (mem_region_kind(*region) != MEM_CONTAINER) {
        mem_region_retire(*region);
    }
    mem_region_unref(*region);
    *region = NULL;
}

static void pflash_stop(Device *dev)
{
    Pflash *s = (Pflash *)dev;

    if (s->shadow) {
        pflash_drop(s->parent, &s->shadow);
    }
    pflash_drop(s->container, &s->command);
    pflash_drop(s->container, &s->array);
    pflash_drop(s->parent, &s->container);
    block_drain(s->blk);
    block_detach(s->blk);
    munmap(s->storage, s->size);
    g_clear_pointer(&s->saved, g_free);
}

static void pflash_pre_save(void *instance)
{
    Pflash *s = instance;

    g_free(s->saved);
    s->saved = g_memdup2(s->storage, s->size);
    s->saved_size = s->size;
}

static bool pflash_post_load(void *instance, uint32_t version, GError **error)
{
    Pflash *s = instance;

    if (s->saved_size != s->size) {
        error_set(error, "%s: the guest's flash has %u bytes, the one here %u; use an image of that size", s->dev.obj.id,
                  s->saved_size, s->size);
        return false;
    }
    if (s->view >= VIEW_COUNT || s->step >= STEP_COUNT || (s->view == VIEW_ARRAY && s->step != STEP_COMMAND) ||
        s->buffer_count > PFLASH_BUFFER_SIZE || s->buffer_left > s->buffer_count ||
        (s->step == STEP_BUFFER_DATA && !s->buffer_left) ||
        (s->buffer_base != UINT32_MAX && (s->buffer_base >= s->size || s->buffer_count > s->size - s->buffer_base)) ||
        (s->step == STEP_BUFFER_CONFIRM && s->buffer_base == UINT32_MAX)) {
        error_set(error, "%s: the command in progress makes no sense (view %u, step %u, %u of %u bytes at 0x%x)", s->dev.obj.id,
                  s->view, s->step, s->buffer_left, s->buffer_count, s->buffer_base);
        return false;
    }
    memcpy(s->storage, s->saved, s->size);
    g_clear_pointer(&s->saved, g_free);
    mem_region_changed(s->array, 0, s->size);
    mem_region_set_enabled(s->command, s->view != VIEW_ARRAY);
    if (!block_readonly(s->blk)) {
        memset(s->dirty, 1, s->size / PFLASH_BLOCK);
        pflash_write_back(s);
    }
    return true;
}

static const StateField pflash_fields[] = {
    STATE_FIELD_UINT(Pflash, view),
    STATE_FIELD_UINT(Pflash, step),
    STATE_FIELD_UINT(Pflash, status),
    STATE_FIELD_UINT(Pflash, buffer_base),
    STATE_FIELD_UINT(Pflash, buffer_count),
    STATE_FIELD_UINT(Pflash, buffer_left),
    STATE_FIELD_BYTES(Pflash, buffer),
    STATE_FIELD_BYTES(Pflash, locks),
    {.name = "contents", .kind = STATE_BUFFER, .offset = offsetof(Pflash, saved), .count = PFLASH_MAX,
     .len_offset = offsetof(Pflash, saved_size)},
    STATE_END,
};
static const StateTable pflash_state = {
    .name = "pflash_cfi01", .version = 1, .fields = pflash_fields, .pre_save = pflash_pre_save, .post_load = pflash_post_load};

static const Prop pflash_props[] = {
    {.name = "drive", .type = &prop_drive, .offset = offsetof(Pflash, blk), .doc = "id of a drive or node with the contents"},
    PROP_BOOL("secure", Pflash, secure, false, "only CPUs in system management mode can change it"),
    PROP_END,
};

const DeviceModel pflash_cfi01_model = {
    .model = {.name = "cfi.pflash01",
              .doc = "Parallel NOR flash with the Intel command set, for firmware and its variables.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Pflash),
              .props = pflash_props,
              .state = &pflash_state,
              .internal = true},
    .start = pflash_start,
    .reset = pflash_reset,
    .stop = pflash_stop,
};
