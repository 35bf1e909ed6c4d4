/* lmdb_check.c - see lmdb_check.h. The layout is that of LMDB 0.9 (data version 1) on 64-bit little-endian machines:
 *
 *   page   0 number u64 | 8 pad u16 | 10 flags u16 | 12 lower u16 | 14 upper u16 (overflow: 12 pages u32) | 16 offsets u16[]
 *   node   0 size low u16 | 2 size high u16 | 4 flags u16 | 6 key size u16 | 8 key | value   (branch: bytes 0..5 = page number)
 *   meta   in pages 0 and 1: 16 magic u32 | 20 version u32 | 24 address u64 | 32 map size u64 | 40 free tree | 88 main tree |
 *          136 last page u64 | 144 transaction u64
 *   tree   0 page size (free tree) u32 | 4 flags u16 | 6 depth u16 | 8 branch, leaf, overflow pages, entries u64 | 40 root u64
 */
#include "common/store/lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

#define MAGIC 0xBEEFC0DEu
#define VERSION 1
#define PAGE_HEADER 16
#define NODE_HEADER 8
#define META_END 152
#define MAX_KEY 511
#define MAX_DEPTH 32
#define NO_PAGE UINT64_MAX

enum { BRANCH = 0x01, LEAF = 0x02, META = 0x08, PAGE_KIND = 0x6f }; /* page flags; 0x10 (dirty) says nothing on disk */
enum { BIG = 0x01, SUBTREE = 0x02 };                                  /* node flags */
enum { INTEGER_KEY = 0x08, TREE_FLAGS = 0x3fff };                     /* tree flags */

struct tree {
    uint16_t flags, depth;
    uint64_t root;
};

struct meta {
    uint32_t page_size;
    uint64_t last_page, txn;
    struct tree free_tree, main_tree;
};

struct walk {
    const uint8_t *map;
    uint64_t size;
    struct meta meta;
    uint8_t *used; /* one bit a page */
    bool freelist; /* which of the two trees */
    const uint8_t *previous_key;
    size_t previous_size;
    struct error *e;
};

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) | (uint32_t)u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32; }

static enum status damaged(struct walk *w, uint64_t page, const char *what) {
    return st_fail(w->e, "damaged database: page %llu: %s", (unsigned long long)page, what);
}

/* ---- the meta pages ---- */

static struct tree read_tree(const uint8_t *p) {
    return (struct tree){.flags = u16(p + 4), .depth = u16(p + 6), .root = u64(p + 40)};
}

static bool read_meta(const uint8_t *p, struct meta *m) {
    if (!(u16(p + 10) & META) || u32(p + 16) != MAGIC || u32(p + 20) != VERSION)
        return false;
    *m = (struct meta){.page_size = u32(p + 40), .last_page = u64(p + 136), .txn = u64(p + 144),
                       .free_tree = read_tree(p + 40), .main_tree = read_tree(p + 88)};
    return m->page_size >= 512 && m->page_size <= 65536 && !(m->page_size & (m->page_size - 1));
}

/* The header of the file into both[0..1]. A meta page is written in one piece behind a sync, so both are always valid, and
 * LMDB relies on it. */
static enum status read_metas(const uint8_t *map, uint64_t size, struct meta both[2], struct error *e) {
    if (size < 2 * 512)
        return st_fail(e, size ? "too short for an LMDB database" : "the file is empty");
    if (u32(map + 16) != MAGIC || !(u16(map + 10) & META))
        return st_fail(e, "not an LMDB database (pack-lmdb makes one of pictures, folders and zips)");
    if (u32(map + 20) != VERSION)
        return st_fail(e, "an LMDB database of another version (%u)", u32(map + 20));
    if (!read_meta(map, &both[0]) || size < both[0].page_size + (uint64_t)META_END ||
        !read_meta(map + both[0].page_size, &both[1]) || both[1].page_size != both[0].page_size)
        return st_fail(e, "damaged database: its first two pages disagree");
    uint64_t pages = size / both[0].page_size;
    for (int i = 0; i < 2; i++) {
        /* (bits from 0x4000 on are options of whoever made it; 1 would map the file at an address it names) */
        if ((both[i].free_tree.flags & TREE_FLAGS) != INTEGER_KEY || both[i].main_tree.flags & TREE_FLAGS)
            return st_fail(e, "an LMDB database with special keys or mapping: not a picture store");
        if (both[i].last_page < 1 || both[i].last_page >= pages)
            return st_fail(e, "truncated database: %llu pages of %llu are there (copy it again)", (unsigned long long)pages,
                           (unsigned long long)both[i].last_page + 1);
    }
    return ST_OK;
}

/* ---- the trees ---- */

static enum status use_pages(struct walk *w, uint64_t first, uint64_t n, uint64_t from) {
    if (first < 2 || first > w->meta.last_page || n > w->meta.last_page + 1 - first)
        return damaged(w, from, "points outside the file");
    for (uint64_t p = first; p < first + n; p++) {
        if (w->used[p / 8] >> (p % 8) & 1)
            return damaged(w, p, "is used twice");
        w->used[p / 8] |= (uint8_t)(1 << (p % 8));
    }
    return ST_OK;
}

/* A record of the free list: count, then page numbers in descending order. */
static enum status check_free_record(struct walk *w, uint64_t page, const uint8_t *value, uint64_t size) {
    uint64_t n = size >= 8 ? u64(value) : 0, last = NO_PAGE;
    if (size < 8 || n > size / 8 - 1)
        return damaged(w, page, "free list of a wrong length");
    for (uint64_t i = 1; i <= n; i++) {
        uint64_t p = u64(value + 8 * i);
        if (p >= last)
            return damaged(w, page, "free list out of order");
        last = p;
        enum status st = use_pages(w, p, 1, page);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status check_leaf_node(struct walk *w, uint64_t page, const uint8_t *node, uint64_t room, uint64_t *taken) {
    uint64_t value_size = u32(node), key_size = u16(node + 6), inside;
    unsigned flags = u16(node + 4);
    const uint8_t *key = node + NODE_HEADER, *value = key + key_size;
    bool big = flags & BIG;
    if (key_size < 1 || key_size > MAX_KEY || flags & ~(unsigned)(BIG | SUBTREE) || (w->freelist && key_size != 8))
        return damaged(w, page, "a key of a wrong length or kind");
    inside = NODE_HEADER + key_size + (big ? 8 : value_size);
    if (inside > room)
        return damaged(w, page, "a record reaches over its end");
    *taken += (inside + 1) & ~(uint64_t)1;
    if (big) {
        uint64_t first = u64(value), n = (PAGE_HEADER + value_size + w->meta.page_size - 1) / w->meta.page_size;
        enum status st = use_pages(w, first, n, page);
        if (st != ST_OK)
            return st;
        value = w->map + first * w->meta.page_size + PAGE_HEADER;
        if (w->freelist && u32(value - 4) != n)
            return damaged(w, first, "a run of another length");
    }
    if (w->freelist)
        return check_free_record(w, page, value, value_size);

    size_t common = w->previous_size < key_size ? w->previous_size : key_size;
    int order = w->previous_key ? memcmp(w->previous_key, key, common) : -1;
    if (order > 0 || (order == 0 && w->previous_size >= key_size))
        return damaged(w, page, "keys out of order");
    w->previous_key = key;
    w->previous_size = key_size;
    return ST_OK;
}

/* Each page is visited once (use_pages sees to it), so this ends however the pages point at each other. */
static enum status check_page(struct walk *w, uint64_t page, int depth, uint64_t from) {
    enum status st = use_pages(w, page, 1, from);
    if (st != ST_OK)
        return st;
    uint64_t size = w->meta.page_size;
    const uint8_t *p = w->map + page * size;
    unsigned lower = u16(p + 12), upper = u16(p + 14);
    if (u64(p) != page || (u16(p + 10) & PAGE_KIND) != (depth == 1 ? LEAF : BRANCH))
        return damaged(w, page, "is not of the kind it should be");
    /* (upper of an empty 65536-byte page would not fit its 16 bits: such pages do not occur in a tree) */
    if (lower < PAGE_HEADER + 2 || lower % 2 || lower > upper || upper > size)
        return damaged(w, page, "wrong bounds");
    unsigned n = (lower - PAGE_HEADER) / 2;
    if (depth > 1 && n < 2)
        return damaged(w, page, "a branch with one arm");
    uint64_t taken = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = u16(p + PAGE_HEADER + 2 * i);
        if (at < upper || at > size - NODE_HEADER || at % 2)
            return damaged(w, page, "a record outside of it");
        const uint8_t *node = p + at;
        if (depth == 1) {
            st = check_leaf_node(w, page, node, size - at, &taken);
        } else {
            uint64_t key_size = u16(node + 6), child = (uint64_t)u32(node) | (uint64_t)u16(node + 4) << 32;
            if (key_size > MAX_KEY || NODE_HEADER + key_size > size - at || (w->freelist && i && key_size != 8))
                return damaged(w, page, "a key of a wrong length");
            taken += (NODE_HEADER + key_size + 1) & ~(uint64_t)1;
            st = check_page(w, child, depth - 1, page);
        }
        if (st != ST_OK)
            return st;
    }
    if (taken > size - upper)
        return damaged(w, page, "records overlap");
    return ST_OK;
}

static enum status check_tree(struct walk *w, const struct tree *t, bool freelist) {
    w->freelist = freelist;
    w->previous_key = NULL;
    w->previous_size = 0;
    if (t->root == NO_PAGE)
        return t->depth ? damaged(w, 0, "a tree without a root") : ST_OK;
    if (t->depth < 1 || t->depth > MAX_DEPTH)
        return damaged(w, t->root, "a tree of impossible depth");
    return check_page(w, t->root, t->depth, 0);
}

static enum status map_file(const char *file, uint8_t **map, uint64_t *size, struct error *e) {
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return st_fail(e, "%s", strerror(errno));
    struct stat sb;
    enum status st = ST_OK;
    if (fstat(fd, &sb))
        st = st_fail(e, "%s", strerror(errno));
    else if (!S_ISREG(sb.st_mode))
        st = st_fail(e, "not a regular file");
    else if (sb.st_size == 0)
        st = st_fail(e, "the file is empty");
    else {
        *size = (uint64_t)sb.st_size;
        *map = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
        if (*map == MAP_FAILED)
            st = st_fail(e, "cannot map: %s", strerror(errno));
    }
    close(fd);
    return st;
}

enum status lmdb_check_header(const char *file, struct error *e) {
    uint8_t *map;
    uint64_t size;
    struct meta both[2];
    enum status st = map_file(file, &map, &size, e);
    if (st != ST_OK)
        return st;
    st = read_metas(map, size, both, e);
    munmap(map, size);
    return st;
}

enum status lmdb_check_tree(const char *file, uint64_t txn, struct error *e) {
    uint8_t *map;
    struct walk w = {.e = e};
    struct meta both[2];
    enum status st = map_file(file, &map, &w.size, e);
    if (st != ST_OK)
        return st;
    w.map = map;
    st = read_metas(map, w.size, both, e);
    if (st == ST_OK) {
        w.meta = both[txn & 1]; /* as LMDB chooses */
        if (w.meta.txn != txn)
            st = ST_END;
    }
    if (st == ST_OK) {
        w.used = xcalloc((size_t)(w.meta.last_page / 8 + 1), 1);
        st = check_tree(&w, &w.meta.main_tree, false);
        if (st == ST_OK)
            st = check_tree(&w, &w.meta.free_tree, true);
        free(w.used);
    }
    munmap(map, w.size);
    return st;
}

bool lmdb_is_unborn(const char *file) {
    struct stat sb;
    if (stat(file, &sb) || !S_ISREG(sb.st_mode))
        return false;
    if (sb.st_size == 0 || sb.st_size == sysconf(_SC_PAGESIZE)) /* LMDB begins with two pages in one write */
        return true;
    uint8_t *map;
    uint64_t size;
    struct meta both[2];
    if (map_file(file, &map, &size, NULL) != ST_OK)
        return false;
    bool unborn = read_metas(map, size, both, NULL) == ST_OK && both[0].main_tree.root == NO_PAGE && both[1].main_tree.root == NO_PAGE;
    munmap(map, size);
    return unborn;
}
