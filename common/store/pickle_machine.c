/* pickle_machine.c - see pickle_machine.h.
 *
 * Every opcode takes at least one byte and makes at most one value, so time and memory are linear in the pickle; limits below
 * cap them for files of any size. Numbers: FID's Inception is 566 tensors and about 20,000 values; pickled StyleGAN
 * networks have a few thousand.
 */
#include "common/store/pickle_machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define MAX_VALUES (2 << 20)
#define MAX_STACK (1 << 20)
#define MAX_ITEMS ((int64_t)8 << 20) /* room in all containers together, counted at every growth */
#define MAX_MEMO (1 << 20)
#define MAX_STORAGES 20000 /* looked up one by one: this keeps a hostile file below a second */
#define MAX_LINE 1024 /* text opcodes end in a newline */
#define CHUNK 65536

enum { MARK = 100, GLOBAL, STORAGE }; /* torch_value types that never leave */

enum constructor { MAKE_DICT, MAKE_SIZE, MAKE_TENSOR, MAKE_TENSOR_V2, MAKE_PARAMETER, STORAGE_TYPE };

/* All that a file may name. */
static const struct known {
    const char *module, *name;
    enum constructor what;
    enum dtype dtype;
} known[] = {
    {"collections", "OrderedDict", MAKE_DICT, 0},
    {"torch", "Size", MAKE_SIZE, 0},
    {"torch._utils", "_rebuild_tensor", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", MAKE_TENSOR_V2, 0},
    {"torch._utils", "_rebuild_parameter", MAKE_PARAMETER, 0},
    {"torch", "FloatStorage", STORAGE_TYPE, DT_F32},
    {"torch", "HalfStorage", STORAGE_TYPE, DT_F16},
    {"torch", "BFloat16Storage", STORAGE_TYPE, DT_BF16},
    {"torch", "DoubleStorage", STORAGE_TYPE, DT_F64},
    {"torch", "ByteStorage", STORAGE_TYPE, DT_U8},
    {"torch", "BoolStorage", STORAGE_TYPE, DT_U8},
    {"torch", "IntStorage", STORAGE_TYPE, DT_I32},
    {"torch", "LongStorage", STORAGE_TYPE, DT_I64},
};

struct pickle {
    uint64_t file_size;
    const uint8_t *at, *end, *start;
    struct error *e;
    struct torch_value **stack;
    int64_t depth, stack_room;
    struct torch_value **memo;
    int64_t memo_size, memo_next;
    struct torch_value **values; /* all ever made, for freeing */
    int64_t n_values;
    int64_t items;               /* room given to containers so far */
    struct pickle_storage **storages;
    int n_storages;
    struct pickle_tensor **tensors;
    int n_tensors;
    char **chunks; /* text, in runs of CHUNK bytes or one longer text each */
    int n_chunks;
    size_t chunk_left;
    char *chunk_at;
};

struct pickle *pickle_create(uint64_t file_size) {
    struct pickle *p = xcalloc(1, sizeof *p);
    p->file_size = file_size;
    return p;
}

void pickle_free(struct pickle *p) {
    if (!p)
        return;
    for (int64_t i = 0; i < p->n_values; i++) {
        free(p->values[i]->item);
        free(p->values[i]->tensor);
        free(p->values[i]);
    }
    for (int i = 0; i < p->n_storages; i++) {
        free(p->storages[i]->key);
        free(p->storages[i]);
    }
    for (int i = 0; i < p->n_tensors; i++)
        free(p->tensors[i]);
    for (int i = 0; i < p->n_chunks; i++)
        free(p->chunks[i]);
    free(p->values);
    free(p->storages);
    free(p->tensors);
    free(p->chunks);
    free(p->stack);
    free(p->memo);
    free(p);
}

/* Arrays that double: room needed when n is a power of two. */
static void *grow(void *array, int64_t n, size_t size) {
    return (n & (n - 1)) == 0 ? xrealloc(array, (size_t)(n ? 2 * n : 1) * size) : array;
}

const char *pickle_keep_text(struct pickle *p, const char *text, size_t n) {
    if (n + 1 > p->chunk_left) {
        size_t room = n + 1 > CHUNK ? n + 1 : CHUNK;
        p->chunks = grow(p->chunks, p->n_chunks, sizeof *p->chunks);
        p->chunks[p->n_chunks++] = p->chunk_at = xmalloc(room);
        p->chunk_left = room;
    }
    char *copy = p->chunk_at;
    memcpy(copy, text, n);
    copy[n] = 0;
    p->chunk_at += n + 1;
    p->chunk_left -= n + 1;
    return copy;
}

/* ---- failing: the first message stands; every helper returns false or NULL ---- */

__attribute__((format(printf, 2, 3))) static bool refuse(struct pickle *p, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    st_bad(p->e, "pickle, byte %lld: %s", (long long)(p->at - p->start), text);
    return false;
}

/* ---- bytes ---- */

static const uint8_t *take(struct pickle *p, uint64_t n) {
    if (n > (uint64_t)(p->end - p->at)) {
        refuse(p, "it ends early: %llu bytes wanted, %lld left", (unsigned long long)n, (long long)(p->end - p->at));
        return NULL;
    }
    const uint8_t *b = p->at;
    p->at += n;
    return b;
}

static bool take_uint(struct pickle *p, int bytes, uint64_t *v) {
    const uint8_t *b = take(p, bytes);
    if (!b)
        return false;
    *v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *v = *v << 8 | b[i];
    return true;
}

/* A line without its newline, NUL-terminated in `line`. */
static bool take_line(struct pickle *p, char line[MAX_LINE]) {
    for (int n = 0; n < MAX_LINE - 1; n++) {
        const uint8_t *b = take(p, 1);
        if (!b)
            return false;
        if (*b == '\n') {
            line[n] = 0;
            return true;
        }
        line[n] = (char)*b;
    }
    return refuse(p, "a line is longer than %d bytes", MAX_LINE);
}

/* ---- values and the stack ---- */

static struct torch_value *make(struct pickle *p, int type) {
    if (p->n_values == MAX_VALUES) {
        refuse(p, "more than %d values", MAX_VALUES);
        return NULL;
    }
    struct torch_value *v = xcalloc(1, sizeof *v);
    v->type = type;
    p->values = grow(p->values, p->n_values, sizeof *p->values);
    return p->values[p->n_values++] = v;
}

static bool push(struct pickle *p, struct torch_value *v) {
    if (!v)
        return false;
    if (p->depth == p->stack_room) {
        if (p->depth == MAX_STACK)
            return refuse(p, "the stack holds more than %d values", MAX_STACK);
        p->stack = xrealloc(p->stack, (size_t)(p->stack_room = p->stack_room ? 2 * p->stack_room : 64) * sizeof *p->stack);
    }
    p->stack[p->depth++] = v;
    return true;
}

static bool push_int(struct pickle *p, int type, int64_t integer) {
    struct torch_value *v = make(p, type);
    if (v)
        v->integer = integer;
    return push(p, v);
}

static bool push_text(struct pickle *p, int type, const void *text, uint64_t n) {
    struct torch_value *v = text ? make(p, type) : NULL;
    if (!v)
        return false;
    v->text = pickle_keep_text(p, text, n);
    v->n = (int64_t)n;
    return push(p, v);
}

static struct torch_value *pop(struct pickle *p) {
    if (p->depth == 0 || p->stack[p->depth - 1]->type == MARK) {
        refuse(p, "the stack is empty");
        return NULL;
    }
    return p->stack[--p->depth];
}

static struct torch_value *top(struct pickle *p, int type, const char *what) {
    if (p->depth == 0 || p->stack[p->depth - 1]->type != type) {
        refuse(p, "%s expected on the stack", what);
        return NULL;
    }
    return p->stack[p->depth - 1];
}

/* Position of the topmost MARK, or -1. */
static int64_t find_mark(struct pickle *p) {
    for (int64_t i = p->depth - 1; i >= 0; i--)
        if (p->stack[i]->type == MARK)
            return i;
    refuse(p, "no mark on the stack");
    return -1;
}

/* Appends n pointers to a container's item array of `used` entries. */
static bool put_items(struct pickle *p, struct torch_value *c, int64_t used, struct torch_value **from, int64_t n) {
    if (n == 0)
        return true;
    int64_t room = 1, had = 0;
    while (room < used + n)
        room *= 2;
    if (used) {
        had = 1;
        while (had < used)
            had *= 2;
    }
    if (room > had) {
        p->items += room;
        if (p->items > MAX_ITEMS)
            return refuse(p, "containers hold more than %lld items", (long long)MAX_ITEMS);
        c->item = xrealloc(c->item, (size_t)room * sizeof *c->item);
    }
    memcpy(c->item + used, from, (size_t)n * sizeof *from);
    return true;
}

/* Replaces everything from stack position `first` on by one container of it. */
static bool gather(struct pickle *p, int type, int64_t first, bool mark) {
    int64_t from = first + mark, n = p->depth - from;
    struct torch_value *c = make(p, type);
    if (!c)
        return false;
    if (type == TORCH_DICT && n % 2)
        return refuse(p, "a dictionary has a key without a value");
    if (!put_items(p, c, 0, p->stack + from, n))
        return false;
    c->n = type == TORCH_DICT ? n / 2 : n;
    p->depth = first;
    return push(p, c);
}

/* TUPLE1..3, APPEND(S), SETITEM(S): n values above a container or by themselves */
static bool gather_last(struct pickle *p, int n) {
    for (int i = 1; i <= n; i++)
        if (p->depth < n || p->stack[p->depth - i]->type == MARK)
            return refuse(p, "the stack is empty");
    return gather(p, TORCH_TUPLE, p->depth - n, false);
}

static bool extend(struct pickle *p, int type, int64_t first, bool mark) {
    int64_t from = first + mark, n = p->depth - from;
    if (first < 1 || n < 0)
        return refuse(p, "the stack is empty");
    for (int64_t i = from; i < p->depth; i++)
        if (p->stack[i]->type == MARK)
            return refuse(p, "the stack is empty");
    struct torch_value *c = p->stack[first - 1];
    if (c->type != type)
        return refuse(p, "items for something that is no %s", type == TORCH_DICT ? "dictionary" : "list");
    if (type == TORCH_DICT && n % 2)
        return refuse(p, "a dictionary has a key without a value");
    if (!put_items(p, c, type == TORCH_DICT ? 2 * c->n : c->n, p->stack + from, n))
        return false;
    c->n += type == TORCH_DICT ? n / 2 : n;
    p->depth = first;
    return true;
}

/* ---- memo ---- */

static bool memo_put(struct pickle *p, uint64_t index) {
    if (index >= MAX_MEMO)
        return refuse(p, "memo index %llu is over the limit of %d", (unsigned long long)index, MAX_MEMO);
    if (p->depth == 0 || p->stack[p->depth - 1]->type == MARK)
        return refuse(p, "nothing to memorise");
    if ((int64_t)index >= p->memo_size) {
        int64_t size = p->memo_size ? p->memo_size : 256;
        while (size <= (int64_t)index)
            size *= 2;
        p->memo = xrealloc(p->memo, (size_t)size * sizeof *p->memo);
        memset(p->memo + p->memo_size, 0, (size_t)(size - p->memo_size) * sizeof *p->memo);
        p->memo_size = size;
    }
    p->memo[index] = p->stack[p->depth - 1];
    return true;
}

static bool memo_get(struct pickle *p, uint64_t index) {
    if (index >= (uint64_t)p->memo_size || !p->memo[index])
        return refuse(p, "memo %llu was never set", (unsigned long long)index);
    return push(p, p->memo[index]);
}

/* ---- names, constructors, storages ---- */

static bool push_global(struct pickle *p, const char *module, const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(module, known[i].module) && !strcmp(name, known[i].name))
            return push_int(p, GLOBAL, (int64_t)i);
    return refuse(p, "it asks for %.128s.%.128s, which is not among the constructors of tensors; refused", module, name);
}

static bool all_of(const struct torch_value *tuple, int type) {
    for (int64_t i = 0; i < tuple->n; i++)
        if (tuple->item[i]->type != type)
            return false;
    return true;
}

/* (storage, offset, size, stride, ...) */
static struct torch_value *rebuild_tensor(struct pickle *p, const struct torch_value *a) {
    if (a->n < 4 || a->item[0]->type != STORAGE || a->item[1]->type != TORCH_INT || a->item[2]->type != TORCH_TUPLE ||
        a->item[3]->type != TORCH_TUPLE || a->item[2]->n != a->item[3]->n || a->item[2]->n > ST_MAX_DIM ||
        !all_of(a->item[2], TORCH_INT) || !all_of(a->item[3], TORCH_INT)) {
        refuse(p, "a tensor's description is not (storage, offset, size, stride) of at most %d dimensions", ST_MAX_DIM);
        return NULL;
    }
    struct pickle_storage *s = p->storages[a->item[0]->integer];
    struct pickle_tensor t = {.storage = s, .offset = a->item[1]->integer, .ndim = (int)a->item[2]->n, .count = 1};
    /* every product stays below the storage's count, itself below the file's size: nothing overflows */
    bool good = t.offset >= 0 && t.offset <= s->count;
    int64_t last = t.offset;
    for (int i = 0; i < t.ndim; i++) {
        t.dim[i] = a->item[2]->item[i]->integer;
        t.stride[i] = a->item[3]->item[i]->integer;
        good = good && t.dim[i] >= 0 && t.stride[i] >= 0;
        if (good && t.dim[i] == 0)
            t.count = 0;
    }
    for (int i = 0; good && t.count && i < t.ndim; i++) {
        good = t.dim[i] <= s->count / t.count;
        if (good)
            t.count *= t.dim[i];
        if (good && t.dim[i] > 1) {
            good = t.stride[i] <= (s->count - last) / (t.dim[i] - 1);
            if (good)
                last += (t.dim[i] - 1) * t.stride[i];
        }
    }
    if (good && t.count)
        good = last < s->count;
    if (!good) {
        refuse(p, "a tensor reaches outside its storage \"%.64s\" of %lld elements", s->key, (long long)s->count);
        return NULL;
    }
    struct torch_value *v = make(p, TORCH_TENSOR);
    if (!v)
        return NULL;
    v->tensor = xcalloc(1, sizeof *v->tensor);
    t.value = v;
    p->tensors = grow(p->tensors, p->n_tensors, sizeof *p->tensors);
    p->tensors[p->n_tensors] = xmalloc(sizeof t);
    *p->tensors[p->n_tensors++] = t;
    return v;
}

/* OrderedDict() or OrderedDict([(key, value), ...]) */
static struct torch_value *make_dict(struct pickle *p, const struct torch_value *args) {
    struct torch_value *d = make(p, TORCH_DICT);
    if (!d || args->n == 0)
        return d;
    const struct torch_value *pairs = args->item[0];
    if (args->n != 1 || pairs->type != TORCH_LIST) {
        refuse(p, "OrderedDict is made of something that is no list");
        return NULL;
    }
    for (int64_t i = 0; i < pairs->n; i++) {
        const struct torch_value *pair = pairs->item[i];
        if ((pair->type != TORCH_LIST && pair->type != TORCH_TUPLE) || pair->n != 2) {
            refuse(p, "OrderedDict is made of something that is no pair");
            return NULL;
        }
        if (!put_items(p, d, 2 * d->n, pair->item, 2))
            return NULL;
        d->n++;
    }
    return d;
}

/* REDUCE and NEWOBJ: constructor, arguments -> value */
static bool construct(struct pickle *p) {
    struct torch_value *args = pop(p), *callable = args ? pop(p) : NULL, *v = NULL;
    if (!callable)
        return false;
    if (callable->type != GLOBAL || args->type != TORCH_TUPLE)
        return refuse(p, "it calls something that is no constructor; refused");
    const struct known *k = &known[callable->integer];
    switch (k->what) {
    case MAKE_DICT:
        v = make_dict(p, args);
        break;
    case MAKE_SIZE:
    case MAKE_PARAMETER:
        if (args->n < 1 || args->item[0]->type != (k->what == MAKE_SIZE ? TORCH_TUPLE : TORCH_TENSOR))
            return refuse(p, "%s.%s of something else", k->module, k->name);
        v = args->item[0];
        break;
    case MAKE_TENSOR:
    case MAKE_TENSOR_V2:
        v = rebuild_tensor(p, args);
        break;
    case STORAGE_TYPE:
        return refuse(p, "it calls %s.%s; refused", k->module, k->name);
    }
    return push(p, v);
}

/* BINPERSID: ("storage", type, key, location, count[, view]) -> STORAGE */
static bool persistent(struct pickle *p) {
    const struct torch_value *id = pop(p);
    if (!id)
        return false;
    if (id->type != TORCH_TUPLE || id->n < 5 || id->n > 6 || id->item[0]->type != TORCH_TEXT || strcmp(id->item[0]->text, "storage") ||
        id->item[1]->type != GLOBAL || known[id->item[1]->integer].what != STORAGE_TYPE || id->item[2]->type != TORCH_TEXT ||
        id->item[4]->type != TORCH_INT || (id->n == 6 && id->item[5]->type != TORCH_NONE))
        return refuse(p, "a persistent reference is no plain storage; refused");
    const char *key = id->item[2]->text;
    enum dtype dtype = known[id->item[1]->integer].dtype;
    int64_t count = id->item[4]->integer;
    if (count < 0 || (uint64_t)count > p->file_size / dtype_size(dtype))
        return refuse(p, "storage \"%.64s\" of %lld elements is larger than the file", key, (long long)count);
    for (int i = p->n_storages - 1; i >= 0; i--) /* a shared one was mostly seen lately */
        if (!strcmp(p->storages[i]->key, key)) {
            if (p->storages[i]->dtype != dtype || p->storages[i]->count != count)
                return refuse(p, "storage \"%.64s\" is described in two ways", key);
            return push_int(p, STORAGE, i);
        }
    if (p->n_storages == MAX_STORAGES)
        return refuse(p, "more than %d storages", MAX_STORAGES);
    struct pickle_storage *s = xcalloc(1, sizeof *s);
    *s = (struct pickle_storage){.key = xstrdup(key), .dtype = dtype, .count = count};
    p->storages = grow(p->storages, p->n_storages, sizeof *p->storages);
    p->storages[p->n_storages++] = s;
    return push_int(p, STORAGE, p->n_storages - 1);
}

/* ---- numbers ---- */

static bool push_long(struct pickle *p, uint64_t bytes) {
    const uint8_t *b = take(p, bytes);
    if (!b)
        return false;
    if (bytes == 0)
        return push_int(p, TORCH_INT, 0);
    bool negative = b[bytes - 1] & 0x80;
    uint64_t v = negative ? UINT64_MAX : 0;
    bool fits = true;
    for (uint64_t i = bytes; i-- > 0;) {
        if (i >= 8)
            fits &= b[i] == (negative ? 0xff : 0);
        else
            v = v << 8 | b[i];
    }
    fits &= bytes < 8 || (v >> 63) == negative;
    return push_int(p, TORCH_INT, fits ? (int64_t)v : negative ? INT64_MIN : INT64_MAX);
}

static bool push_binary_float(struct pickle *p) {
    const uint8_t *b = take(p, 8);
    struct torch_value *v = b ? make(p, TORCH_FLOAT) : NULL;
    if (!v)
        return false;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | b[i];
    memcpy(&v->number, &bits, 8);
    return push(p, v);
}

static bool push_text_number(struct pickle *p, char op) {
    char line[MAX_LINE], *end;
    if (!take_line(p, line))
        return false;
    if (op == 'I' && (!strcmp(line, "00") || !strcmp(line, "01")))
        return push_int(p, TORCH_BOOL, line[1] == '1');
    struct torch_value *v = make(p, op == 'F' ? TORCH_FLOAT : TORCH_INT);
    if (!v)
        return false;
    if (op == 'F')
        v->number = strtod(line, &end);
    else
        v->integer = strtoll(line, &end, 10);
    if (op == 'L' && *end == 'L')
        end++;
    if (end == line || *end)
        return refuse(p, "\"%.40s\" is no number", line);
    return push(p, v);
}

/* 'text' in quotes, protocol 0; escapes are left as they are */
static bool push_quoted(struct pickle *p) {
    char line[MAX_LINE];
    if (!take_line(p, line))
        return false;
    size_t n = strlen(line);
    if (n < 2 || (line[0] != '\'' && line[0] != '"') || line[n - 1] != line[0])
        return refuse(p, "a text without quotes");
    return push_text(p, TORCH_TEXT, line + 1, n - 2);
}

static bool text_of(struct pickle *p, int type, int length_bytes) {
    uint64_t n;
    if (!take_uint(p, length_bytes, &n))
        return false;
    const uint8_t *b = take(p, n);
    return b && push_text(p, type, b, n);
}

/* ---- the machine ---- */

static const char *refused_name(uint8_t op) {
    switch (op) {
    case 'P': return "PERSID";
    case 'i': return "INST";
    case 'o': return "OBJ";
    case 0x82: case 0x83: case 0x84: return "EXT";
    case 0x92: return "NEWOBJ_EX";
    case 0x8f: return "EMPTY_SET";
    case 0x90: return "ADDITEMS";
    case 0x91: return "FROZENSET";
    case 0x96: return "BYTEARRAY8";
    case 0x97: return "NEXT_BUFFER";
    case 0x98: return "READONLY_BUFFER";
    default: return "unknown";
    }
}

static bool pop_to_mark(struct pickle *p) {
    int64_t mark = find_mark(p);
    if (mark >= 0)
        p->depth = mark;
    return mark >= 0;
}

static bool from_mark(struct pickle *p, int type, bool existing) {
    int64_t mark = find_mark(p);
    return mark >= 0 && (existing ? extend(p, type, mark, true) : gather(p, type, mark, true));
}

static bool step(struct pickle *p, uint8_t op) {
    uint64_t n;
    char line[MAX_LINE], name[MAX_LINE];
    struct torch_value *a, *b;
    switch (op) {
    case 0x80: /* PROTO */
        return take_uint(p, 1, &n) && (n <= 5 || refuse(p, "protocol %d is unknown", (int)n));
    case 0x95: /* FRAME: a hint about buffering */
        return take_uint(p, 8, &n);
    case '(': return push_int(p, MARK, 0);
    case '0':
        if (p->depth > 0 && p->stack[p->depth - 1]->type == MARK) {
            p->depth--;
            return true;
        }
        return pop(p) != NULL;
    case '1': return pop_to_mark(p);
    case '2': return (p->depth > 0 && p->stack[p->depth - 1]->type != MARK) ? push(p, p->stack[p->depth - 1])
                                                                           : refuse(p, "the stack is empty");
    case 'N': return push_int(p, TORCH_NONE, 0);
    case 0x88: return push_int(p, TORCH_BOOL, 1);
    case 0x89: return push_int(p, TORCH_BOOL, 0);
    case 'J': return take_uint(p, 4, &n) && push_int(p, TORCH_INT, (int32_t)n);
    case 'K': return take_uint(p, 1, &n) && push_int(p, TORCH_INT, (int64_t)n);
    case 'M': return take_uint(p, 2, &n) && push_int(p, TORCH_INT, (int64_t)n);
    case 0x8a: return take_uint(p, 1, &n) && push_long(p, n);
    case 0x8b: return take_uint(p, 4, &n) && push_long(p, n);
    case 'I': case 'L': case 'F': return push_text_number(p, (char)op);
    case 'G': return push_binary_float(p);
    case 'S': return push_quoted(p);
    case 'V': return take_line(p, line) && push_text(p, TORCH_TEXT, line, strlen(line));
    case 'U': return text_of(p, TORCH_TEXT, 1); /* SHORT_BINSTRING: Python 2 */
    case 'T': return text_of(p, TORCH_TEXT, 4);
    case 0x8c: return text_of(p, TORCH_TEXT, 1);
    case 'X': return text_of(p, TORCH_TEXT, 4);
    case 0x8d: return text_of(p, TORCH_TEXT, 8);
    case 'C': return text_of(p, TORCH_BYTES, 1);
    case 'B': return text_of(p, TORCH_BYTES, 4);
    case 0x8e: return text_of(p, TORCH_BYTES, 8);
    case ')': return push(p, make(p, TORCH_TUPLE));
    case ']': return push(p, make(p, TORCH_LIST));
    case '}': return push(p, make(p, TORCH_DICT));
    case 't': return from_mark(p, TORCH_TUPLE, false);
    case 'l': return from_mark(p, TORCH_LIST, false);
    case 'd': return from_mark(p, TORCH_DICT, false);
    case 0x85: return gather_last(p, 1);
    case 0x86: return gather_last(p, 2);
    case 0x87: return gather_last(p, 3);
    case 'a': return extend(p, TORCH_LIST, p->depth - 1, false);
    case 'e': return from_mark(p, TORCH_LIST, true);
    case 's': return extend(p, TORCH_DICT, p->depth - 2, false);
    case 'u': return from_mark(p, TORCH_DICT, true);
    case 'q': return take_uint(p, 1, &n) && memo_put(p, n);
    case 'r': return take_uint(p, 4, &n) && memo_put(p, n);
    case 0x94: return memo_put(p, (uint64_t)p->memo_next++);
    case 'h': return take_uint(p, 1, &n) && memo_get(p, n);
    case 'j': return take_uint(p, 4, &n) && memo_get(p, n);
    case 'p': return take_line(p, line) && memo_put(p, strtoull(line, NULL, 10));
    case 'g': return take_line(p, line) && memo_get(p, strtoull(line, NULL, 10));
    case 'c': return take_line(p, line) && take_line(p, name) && push_global(p, line, name);
    case 0x93: /* STACK_GLOBAL */
        b = pop(p);
        a = b ? pop(p) : NULL;
        if (!a)
            return false;
        if (a->type != TORCH_TEXT || b->type != TORCH_TEXT)
            return refuse(p, "a name that is no text");
        return push_global(p, a->text, b->text);
    case 'R': case 0x81: return construct(p);
    case 'b': /* BUILD: an OrderedDict's attributes (PyTorch's _metadata) are of no use here */
        return pop(p) && (top(p, TORCH_DICT, "a dictionary to set attributes of") != NULL);
    case 'Q': return persistent(p);
    default: return refuse(p, "opcode 0x%02x (%s) is refused", op, refused_name(op));
    }
}

enum status pickle_run(struct pickle *p, const uint8_t *bytes, uint64_t size, const struct torch_value **result, struct error *e) {
    p->start = p->at = bytes;
    p->end = bytes + size;
    p->e = e;
    p->depth = p->memo_next = 0;
    if (p->memo)
        memset(p->memo, 0, (size_t)p->memo_size * sizeof *p->memo);
    for (;;) {
        const uint8_t *op = take(p, 1);
        if (!op)
            return ST_BAD;
        if (*op == '.')
            break;
        if (!step(p, *op))
            return ST_BAD;
    }
    struct torch_value *v = pop(p);
    if (!v)
        return ST_BAD;
    if (v->type >= MARK)
        return st_bad(e, "the pickle's result is no data");
    *result = v;
    return ST_OK;
}

uint64_t pickle_consumed(const struct pickle *p) {
    return (uint64_t)(p->at - p->start);
}

int pickle_storage_count(const struct pickle *p) {
    return p->n_storages;
}

struct pickle_storage *pickle_storage_at(struct pickle *p, int i) {
    return p->storages[i];
}

struct pickle_storage *pickle_find_storage(struct pickle *p, const char *key) {
    for (int i = 0; i < p->n_storages; i++)
        if (!strcmp(p->storages[i]->key, key))
            return p->storages[i];
    return NULL;
}

int pickle_tensor_count(const struct pickle *p) {
    return p->n_tensors;
}

struct pickle_tensor *pickle_tensor_at(struct pickle *p, int i) {
    return p->tensors[i];
}
