/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening and closing of nodes: the options of -drive, locks against a second
 * writer (open file description locks), direct I/O alignment, choice of the engine, and the `drive=`
 * property.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block-internal.h"

/* --- the node in the object tree --- */

static bool node_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s.%s: is read-only", obj->model->name, prop->name);
    return false;
}

static struct json_object *node_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(((BlockBackend *)obj)->engine_ops->name);
}

static void node_clear(Object *obj, const Prop *prop)
{
    block_node_close((BlockBackend *)obj);
}

/* The engine; with the object goes what the node holds of the system. */
static const PropType node_engine_type = {"str", node_parse, node_format, node_clear, sizeof(void *)};

static const Prop node_props[] = {
    {.name = "file",
     .type = &prop_string,
     .offset = offsetof(BlockBackend, file),
     .flags = PROP_READONLY,
     .doc = "path of the image"},
    {.name = "size",
     .type = &prop_size,
     .offset = offsetof(BlockBackend, size),
     .flags = PROP_READONLY,
     .doc = "bytes"},
    {.name = "readonly",
     .type = &prop_bool,
     .offset = offsetof(BlockBackend, readonly),
     .flags = PROP_READONLY,
     .doc = "writes are refused"},
    {.name = "aio",
     .type = &node_engine_type,
     .offset = offsetof(BlockBackend, engine_ops),
     .flags = PROP_READONLY,
     .doc = "how requests reach the kernel"},
    PROP_END,
};

static const ObjectModel node_model = {
    .model = {.name = "block-node",
              .doc = "A -drive.",
              .kind = MODEL_OBJECT,
              .size = sizeof(BlockBackend),
              .props = node_props,
              .internal = true},
};

/* --- options --- */

typedef struct CacheMode {
    const char *name;
    bool direct, sync, no_flush;
} CacheMode;

static const CacheMode cache_modes[] = {
    {"writeback", false, false, false}, {"none", true, false, false},   {"writethrough", false, true, false},
    {"directsync", true, true, false},  {"unsafe", false, false, true},
};

typedef struct DriveOpts {
    const char *id, *file, *format, *interface, *cache, *aio, *discard;
    bool readonly;
    const CacheMode *cache_mode;
} DriveOpts;

typedef struct DriveOptDef {
    const char *name;
    size_t offset;              /* in DriveOpts */
    const char *const *allowed; /* NULL: any text */
} DriveOptDef;

static const char *const format_words[] = {"raw", NULL};
static const char *const if_words[] = {"none", NULL};
static const char *const cache_words[] = {"writeback", "none", "writethrough", "directsync", "unsafe", NULL};
static const char *const aio_words[] = {"io_uring", "threads", NULL};
static const char *const discard_words[] = {"ignore", "off", "unmap", "on", NULL};

static const DriveOptDef drive_opts[] = {
    {"id", offsetof(DriveOpts, id), NULL},
    {"file", offsetof(DriveOpts, file), NULL},
    {"format", offsetof(DriveOpts, format), format_words},
    {"if", offsetof(DriveOpts, interface), if_words},
    {"cache", offsetof(DriveOpts, cache), cache_words},
    {"aio", offsetof(DriveOpts, aio), aio_words},
    {"discard", offsetof(DriveOpts, discard), discard_words},
};

static bool parse_flag(const char *name, struct json_object *value, bool *out, GError **error)
{
    const char *text = json_object_get_string(value);

    if (!g_strcmp0(text, "on") || !g_strcmp0(text, "true") || !g_strcmp0(text, "yes")) {
        *out = true;
    } else if (!g_strcmp0(text, "off") || !g_strcmp0(text, "false") || !g_strcmp0(text, "no")) {
        *out = false;
    } else {
        error_set(error, "-drive %s=%s: not a switch (allowed on, off)", name, text);
        return false;
    }
    return true;
}

static bool parse_opt(DriveOpts *o, const char *name, struct json_object *value, GError **error)
{
    const char *text = json_object_get_string(value);

    if (!strcmp(name, "readonly") || !strcmp(name, "read-only")) {
        return parse_flag(name, value, &o->readonly, error);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(drive_opts); i++) {
        const DriveOptDef *def = &drive_opts[i];

        if (strcmp(def->name, name)) {
            continue;
        }
        if (def->allowed && (!text || !g_strv_contains(def->allowed, text))) {
            g_autofree char *words = g_strjoinv(", ", (char **)def->allowed);

            error_set(error, "-drive %s=%s: not supported (allowed %s)", name, text, words);
            return false;
        }
        *(const char **)((char *)o + def->offset) = text;
        return true;
    }
    error_set(error,
              "-drive %s: unknown option (allowed id, file, format, if, readonly, cache, aio, discard)",
              name);
    return false;
}

static bool parse_opts(DriveOpts *o, struct json_object *opts, GError **error)
{
    json_object_object_foreach(opts, name, value)
    {
        if (!parse_opt(o, name, value, error)) {
            return false;
        }
    }
    if (!o->file || !*o->file) {
        error_set(error, "-drive: file is missing; add file=PATH");
        return false;
    }
    if (!o->id) {
        error_set(error,
                  "-drive file=%s: id is missing; add id=NAME, which a device then takes as drive=NAME",
                  o->file);
        return false;
    }
    o->cache_mode = &cache_modes[0];
    for (size_t i = 0; o->cache && i < G_N_ELEMENTS(cache_modes); i++) {
        if (!strcmp(cache_modes[i].name, o->cache)) {
            o->cache_mode = &cache_modes[i];
        }
    }
    return true;
}

/* --- files --- */

static bool open_file(BlockBackend *blk, const DriveOpts *o, GError **error)
{
    int mode = o->readonly ? O_RDONLY : O_RDWR;
    struct stat st;

    /* The type first: opening a FIFO would wait, and a directory gives a poor errno. */
    if (stat(o->file, &st) < 0) {
        error_set_errno(error, errno, "-drive file=%s: cannot open", o->file);
        return false;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        error_set(error, "-drive file=%s: is %s (allowed regular files and block devices)", o->file,
                  S_ISDIR(st.st_mode) ? "a directory" : "not a disk image");
        return false;
    }
    blk->fd = open(o->file, mode | O_CLOEXEC | O_NONBLOCK | (o->cache_mode->direct ? O_DIRECT : 0));
    if (blk->fd < 0 && errno == EINVAL && o->cache_mode->direct) {
        error_set(error, "-drive file=%s: the file system has no direct I/O; use another mode than cache=%s",
                  o->file, o->cache);
        return false;
    }
    if (blk->fd < 0) {
        bool denied = (errno == EACCES || errno == EROFS || errno == EPERM) && !o->readonly;

        error_set_errno(error, errno, "-drive file=%s: cannot open%s", o->file,
                        denied ? " for writing (readonly=on would open it for reading)" : "");
        return false;
    }
    if (o->cache_mode->direct) {
        blk->buffered_fd = open(o->file, mode | O_CLOEXEC | O_NONBLOCK);
        if (blk->buffered_fd < 0) {
            error_set_errno(error, errno, "-drive file=%s: cannot open", o->file);
            return false;
        }
    }
    return true;
}

static bool lock_file(BlockBackend *blk, GError **error)
{
    struct flock lock = {.l_type = blk->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(blk->fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES)) {
        return true; /* a file system without locks is used without */
    }
    error_set(error, "-drive file=%s: is in use by another drive or process%s; end that one first", blk->file,
              blk->readonly ? ", which writes to it" : " (a writer needs it alone)");
    return false;
}

static bool probe_size(BlockBackend *blk, GError **error)
{
    off_t end = lseek(blk->fd, 0, SEEK_END);

    if (end < 0) {
        error_set_errno(error, errno, "-drive file=%s: cannot find out the size", blk->file);
        return false;
    }
    /* Bytes after the last whole sector are not part of the disk. */
    blk->size = (uint64_t)end & ~(uint64_t)(BLOCK_SECTOR_SIZE - 1);
    if (!blk->size) {
        error_set(error, "-drive file=%s: is too small (%lld bytes, allowed at least %d)", blk->file,
                  (long long)end, BLOCK_SECTOR_SIZE);
        return false;
    }
    return true;
}

typedef struct FormatMagic {
    const char *name, *magic;
} FormatMagic;

static bool probe_format(BlockBackend *blk, const DriveOpts *o, GError **error)
{
    static const FormatMagic known[] = {
        {"qcow2", "QFI\xfb"}, {"VMDK", "KDMV"}, {"VHDX", "vhdx"}, {"VHD", "cone"}, {"QED", "QED"}};
    uint8_t head[4] = {0};
    int fd = blk->buffered_fd >= 0 ? blk->buffered_fd : blk->fd;

    if (o->format || pread(fd, head, sizeof(head), 0) != sizeof(head)) {
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        char magic[4] = {0};

        memcpy(magic, known[i].magic, strlen(known[i].magic));
        if (!memcmp(head, magic, sizeof(head))) {
            error_set(
                error,
                "-drive file=%s: is a %s image (allowed raw); convert it with `qemu-img convert -O raw`, "
                "or add format=raw to use its bytes as they are",
                blk->file, known[i].name);
            return false;
        }
    }
    return true;
}

/* What O_DIRECT asks of addresses and offsets: as the kernel says, or the cautious page. */
static void probe_alignment(BlockBackend *blk)
{
    struct stat st;

    blk->mem_align = blk->offset_align = 1;
    if (blk->buffered_fd < 0) {
        return;
    }
    blk->mem_align = blk->offset_align = 4096;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (!statx(blk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) && (stx.stx_mask & STATX_DIOALIGN) &&
        stx.stx_dio_mem_align && stx.stx_dio_offset_align) {
        blk->mem_align = stx.stx_dio_mem_align;
        blk->offset_align = stx.stx_dio_offset_align;
        return;
    }
#endif
    if (!fstat(blk->fd, &st) && S_ISBLK(st.st_mode)) {
        int sector;

        if (!ioctl(blk->fd, BLKSSZGET, &sector) && sector >= BLOCK_SECTOR_SIZE) {
            blk->mem_align = blk->offset_align = (uint32_t)sector;
        }
    }
}

/* --- engines --- */

static bool start_engine(BlockBackend *blk, const DriveOpts *o, GError **error)
{
#ifdef CONFIG_IO_URING
    if (g_strcmp0(o->aio, "threads")) {
        g_autoptr(GError) refused = NULL;

        blk->engine_ops = &block_engine_uring;
        if (blk->engine_ops->start(blk, &refused)) {
            return true;
        }
        if (o->aio) {
            g_propagate_prefixed_error(error, g_steal_pointer(&refused), "-drive file=%s: ", o->file);
            return false;
        }
        TRACE(&block_trace[BLOCK_TRACE_FALLBACK], "%s: %s; using threads", blk->obj.id, refused->message);
    }
#else
    if (!g_strcmp0(o->aio, "io_uring")) {
        error_set(error, "-drive aio=io_uring: not in this build (allowed threads)");
        return false;
    }
#endif
    blk->engine_ops = &block_engine_threads;
    return blk->engine_ops->start(blk, error);
}

/* --- open and close --- */

static bool node_open(BlockBackend *blk, const DriveOpts *o, GError **error)
{
    void *zeroes;

    blk->file = g_strdup(o->file);
    blk->readonly = o->readonly;
    blk->sync = o->cache_mode->sync;
    blk->no_flush = o->cache_mode->no_flush;
    blk->discard = o->discard && (!strcmp(o->discard, "unmap") || !strcmp(o->discard, "on"));
    if (!open_file(blk, o, error) || !lock_file(blk, error) || !probe_size(blk, error) ||
        !probe_format(blk, o, error)) {
        return false;
    }
    probe_alignment(blk);
    zeroes = mmap(NULL, BLOCK_ZEROES_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zeroes == MAP_FAILED) {
        error_set_errno(error, errno, "-drive file=%s: no memory", o->file);
        return false;
    }
    blk->zeroes = zeroes;
    if (!start_engine(blk, o, error)) {
        return false;
    }
    TRACE(&block_trace[BLOCK_TRACE_OPEN], "%s: %s, %" G_GUINT64_FORMAT " bytes, cache=%s, aio=%s",
          blk->obj.id, blk->file, blk->size, o->cache_mode->name, blk->engine_ops->name);
    return true;
}

BlockBackend *block_open(Machine *machine, struct json_object *opts, GError **error)
{
    DriveOpts o = {NULL};
    Object *obj;
    BlockBackend *blk;

    if (!parse_opts(&o, opts, error)) {
        return NULL;
    }
    obj = object_new(&node_model.model, machine, object_container(machine->root, "drives"), o.id, error);
    if (!obj) {
        g_prefix_error(error, "-drive id=%s: ", o.id);
        return NULL;
    }
    blk = (BlockBackend *)obj;
    blk->fd = blk->buffered_fd = -1;
    blk->engine_ops = &block_engine_threads;
    if (!node_open(blk, &o, error)) {
        object_free(obj);
        return NULL;
    }
    return blk;
}

BlockBackend *block_find(Machine *machine, const char *id)
{
    Object *nodes = object_child(machine->root, "drives");

    return nodes ? (BlockBackend *)object_child(nodes, id) : NULL;
}

void block_node_close(BlockBackend *blk)
{
    if (blk->closed) {
        return;
    }
    if (blk->user) {
        block_drain(blk);
        blk->engine_ops->detach(blk);
    }
    blk->closed = true;
    if (blk->engine) {
        blk->engine_ops->stop(blk);
    }
    if (blk->zeroes) {
        munmap(blk->zeroes, BLOCK_ZEROES_LEN);
    }
    if (blk->buffered_fd >= 0) {
        close(blk->buffered_fd);
    }
    if (blk->fd >= 0) {
        close(blk->fd);
    }
    blk->fd = blk->buffered_fd = -1;
    block_free_reqs(blk);
}

void block_close_all(Machine *machine)
{
    Object *nodes = object_child(machine->root, "drives");

    for (guint i = nodes ? nodes->children->len : 0; i-- > 0;) {
        BlockBackend *blk = nodes->children->pdata[i];

        block_node_close(blk); /* one that a device still holds stays in the tree, and refuses requests */
        if (!blk->user) {
            object_free(&blk->obj);
        }
    }
}

/* --- drive= --- */

static bool drive_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *id = json_object_get_string(value);
    BlockBackend *blk = id ? block_find(obj->machine, id) : NULL;

    if (!blk) {
        error_set(error, "%s.%s: no such drive ('%s'); add -drive id=%s,file=PATH,format=raw,if=none",
                  obj->model->name, prop->name, id ? id : "null", id ? id : "NAME");
        return false;
    }
    *(BlockBackend **)((char *)obj + prop->offset) = blk;
    return true;
}

static struct json_object *drive_format(Object *obj, const Prop *prop)
{
    BlockBackend *blk = *(BlockBackend **)((char *)obj + prop->offset);

    return json_object_new_string(blk ? blk->obj.id : "");
}

const PropType prop_drive = {"str", drive_parse, drive_format, NULL, sizeof(BlockBackend *)};
