/* graphdef.c - see graphdef.h. Field numbers are those of tensorflow/core/framework's graph, node_def, attr_value and tensor. */
#include "common/store/graphdef.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/image/image.h"

#define MAX_FILE ((size_t)1 << 30)
#define MAX_NAME 1024

struct node {
    struct st_tensor tensor; /* name NULL-terminated, owned; data NULL: a batch normalisation */
    float epsilon;
    bool scaled;
};

struct graphdef {
    struct bytes file; /* empty when the memory is the caller's */
    struct node *node;
    int n, room, constants; /* sorted: constants first, each part by name */
};

/* ---- the wire format ---- */

struct span {
    const uint8_t *p, *end;
};
enum wire { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
struct field {
    uint64_t number, value; /* value: of VARINT and the fixed ones */
    enum wire wire;
    struct span body;       /* of LENGTH */
};

static bool take_varint(struct span *s, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && s->p < s->end; shift += 7) {
        uint8_t byte = *s->p++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool take_fixed(struct span *s, int n, uint64_t *value) {
    if (s->end - s->p < n)
        return false;
    *value = 0;
    for (int i = 0; i < n; i++)
        *value |= (uint64_t)s->p[i] << 8 * i;
    s->p += n;
    return true;
}

/* The next field of a message. False at its end (*broken false) or when the bytes are no such thing (*broken true). */
static bool take_field(struct span *s, struct field *f, bool *broken) {
    uint64_t key;
    if (s->p == s->end)
        return false;
    *broken = true;
    *f = (struct field){0};
    if (!take_varint(s, &key) || key >> 3 == 0)
        return false;
    f->number = key >> 3;
    f->wire = (enum wire)(key & 7);
    bool ok = false;
    if (f->wire == VARINT)
        ok = take_varint(s, &f->value);
    else if (f->wire == FIXED64)
        ok = take_fixed(s, 8, &f->value);
    else if (f->wire == FIXED32)
        ok = take_fixed(s, 4, &f->value);
    else if (f->wire == LENGTH && take_varint(s, &f->value) && f->value <= (uint64_t)(s->end - s->p)) {
        f->body = (struct span){s->p, s->p + f->value};
        s->p += f->value;
        ok = true;
    }
    *broken = !ok;
    return ok;
}

static bool is_text(struct span s, const char *text) {
    return (size_t)(s.end - s.p) == strlen(text) && !memcmp(s.p, text, strlen(text));
}

/* ---- messages ---- */

/* TensorShapeProto. Sets ndim to -1 when it is none we could hold. */
static bool read_shape(struct span s, struct st_tensor *t) {
    struct field f, d;
    bool broken = false;
    while (take_field(&s, &f, &broken)) {
        if (f.number == 3 && f.value)
            t->ndim = -1; /* unknown rank */
        if (f.number != 2 || f.wire != LENGTH)
            continue;
        int64_t size = 0;
        bool bad = false;
        while (take_field(&f.body, &d, &bad))
            if (d.number == 1 && d.wire == VARINT)
                size = (int64_t)d.value;
        if (bad)
            return false;
        if (t->ndim < 0 || t->ndim == ST_MAX_DIM || size < 1 || size > INT32_MAX || t->count > INT64_MAX / 8 / size)
            t->ndim = -1;
        else {
            t->dim[t->ndim++] = size;
            t->count *= size;
        }
    }
    return !broken;
}

/* TensorProto of a float32 value that lies whole in the file; else t->data stays NULL. */
static bool read_tensor(struct span s, struct st_tensor *t) {
    struct field f;
    struct span shape = {0}, content = {0};
    uint64_t dtype = 0;
    int pieces = 0;
    bool broken = false;
    while (take_field(&s, &f, &broken))
        if (f.number == 1 && f.wire == VARINT)
            dtype = f.value;
        else if (f.number == 2 && f.wire == LENGTH)
            shape = f.body;
        else if ((f.number == 4 || f.number == 5) && f.wire == LENGTH && f.body.p < f.body.end) { /* raw bytes, or packed floats */
            content = f.body;
            pieces++;
        } else if (f.number == 5 && f.wire == FIXED32) {
            content = (struct span){s.p - 4, s.p};
            pieces++;
        }
    *t = (struct st_tensor){.name = t->name, .dtype = DT_F32, .count = 1};
    if (broken || !read_shape(shape, t))
        return false;
    if (dtype == 1 && pieces == 1 && t->ndim >= 0 && (uint64_t)(content.end - content.p) == (uint64_t)t->count * 4)
        t->data = content.p;
    return true;
}

/* One entry of NodeDef.attr. */
static bool read_attr(struct span s, struct node *n) {
    struct field f;
    struct span key = {0}, value = {0};
    bool broken = false;
    while (take_field(&s, &f, &broken))
        if (f.number == 1 && f.wire == LENGTH)
            key = f.body;
        else if (f.number == 2 && f.wire == LENGTH)
            value = f.body;
    if (broken)
        return false;
    while (take_field(&value, &f, &broken))
        if (f.number == 8 && f.wire == LENGTH && is_text(key, "value")) {
            if (!read_tensor(f.body, &n->tensor))
                return false;
        } else if (f.number == 4 && f.wire == FIXED32 && is_text(key, "variance_epsilon")) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&n->epsilon, &bits, sizeof bits);
        } else if (f.number == 5 && f.wire == VARINT && is_text(key, "scale_after_normalization"))
            n->scaled = f.value != 0;
    return !broken;
}

/* A NodeDef, kept when it is one of our two kinds. */
static bool read_node(struct graphdef *g, struct span s) {
    struct node n = {0};
    struct field f;
    struct span name = {0}, op = {0};
    bool broken = false, good = true;
    while (good && take_field(&s, &f, &broken))
        if (f.wire == LENGTH && f.number == 1)
            name = f.body;
        else if (f.wire == LENGTH && f.number == 2)
            op = f.body;
        else if (f.wire == LENGTH && f.number == 5)
            good = read_attr(f.body, &n);
    if (broken || !good)
        return false;
    bool constant = is_text(op, "Const");
    size_t length = (size_t)(name.end - name.p);
    if ((constant ? !n.tensor.data : !is_text(op, "BatchNormWithGlobalNormalization")) || !length)
        return true;
    if (length > MAX_NAME || memchr(name.p, 0, length))
        return false;
    if (!constant)
        n.tensor.data = NULL;
    if (g->n == g->room)
        g->node = xrealloc(g->node, (size_t)(g->room = g->room ? 2 * g->room : 512) * sizeof *g->node);
    char *text = xmalloc(length + 1);
    memcpy(text, name.p, length);
    text[length] = 0;
    n.tensor.name = text;
    g->node[g->n++] = n;
    g->constants += constant;
    return true;
}

static int compare(const void *a, const void *b) {
    const struct node *x = a, *y = b;
    if (!x->tensor.data != !y->tensor.data)
        return x->tensor.data ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static enum status parse(struct graphdef *g, struct span s, const char *name, struct error *e) {
    struct field f;
    bool broken = false;
    int nodes = 0;
    while (take_field(&s, &f, &broken)) {
        if (f.number != 1 || f.wire != LENGTH)
            continue;
        if (++nodes > GRAPHDEF_MAX_NODES)
            return st_bad(e, "%s: a TensorFlow graph of more than %d nodes", name, GRAPHDEF_MAX_NODES);
        if (!read_node(g, f.body))
            return st_bad(e, "%s: node %d of the TensorFlow graph is damaged", name, nodes);
    }
    if (broken)
        return st_bad(e, "%s: no TensorFlow graph, or damaged behind its node %d", name, nodes);
    if (!g->constants)
        return st_bad(e, "%s: no TensorFlow graph with constants in it", name);
    qsort(g->node, (size_t)g->n, sizeof *g->node, compare);
    for (int i = 1; i < g->n; i++)
        if (!compare(&g->node[i - 1], &g->node[i]))
            return st_bad(e, "%s: node %s occurs twice", name, g->node[i].tensor.name);
    return ST_OK;
}

/* ---- outside ---- */

enum status graphdef_parse(struct graphdef **out, const void *bytes, uint64_t size, const char *name, struct error *e) {
    struct graphdef *g = xcalloc(1, sizeof *g);
    const uint8_t *p = bytes;
    enum status st = parse(g, (struct span){p, p + size}, name, e);
    if (st != ST_OK) {
        graphdef_close(g);
        g = NULL;
    }
    *out = g;
    return st;
}

enum status graphdef_open(struct graphdef **g, const char *path, struct error *e) {
    struct bytes file = {0};
    *g = NULL;
    enum status st = file_read(path, MAX_FILE, &file, e);
    if (st == ST_OK)
        st = graphdef_parse(g, file.data, file.size, path, e);
    if (st == ST_OK)
        (*g)->file = file;
    else
        bytes_free(&file);
    return st;
}

void graphdef_close(struct graphdef *g) {
    if (!g)
        return;
    for (int i = 0; i < g->n; i++)
        free((void *)g->node[i].tensor.name);
    free(g->node);
    bytes_free(&g->file);
    free(g);
}

/* A first node whose first field is its name, as every writer orders them. */
bool graphdef_detect(const void *bytes, uint64_t size) {
    struct span s = {bytes, (const uint8_t *)bytes + size};
    uint64_t key, length, inner;
    return take_varint(&s, &key) && key == (1 << 3 | LENGTH) && take_varint(&s, &length) && length > 2 && take_varint(&s, &inner) &&
           inner == (1 << 3 | LENGTH) && take_varint(&s, &inner) && inner > 0 && inner < length;
}

int graphdef_count(const struct graphdef *g) {
    return g->constants;
}

const struct st_tensor *graphdef_at(const struct graphdef *g, int i) {
    return &g->node[i].tensor;
}

static const struct node *find(const struct graphdef *g, const char *name, bool constant) {
    struct node want = {.tensor = {.name = name, .data = constant ? "" : NULL}};
    return g->n ? bsearch(&want, g->node, (size_t)g->n, sizeof *g->node, compare) : NULL;
}

const struct st_tensor *graphdef_find(const struct graphdef *g, const char *name) {
    const struct node *n = find(g, name, true);
    return n ? &n->tensor : NULL;
}

bool graphdef_batchnorm(const struct graphdef *g, const char *name, float *epsilon, bool *scaled) {
    const struct node *n = find(g, name, false);
    if (n) {
        *epsilon = n->epsilon;
        *scaled = n->scaled;
    }
    return n != NULL;
}
