/* pickle_machine.c - see pickle_machine.h.
 *
 * Every opcode takes at least one byte and makes at most one value, so time and memory are linear in the pickle; limits below
 * cap them at about 150 MB for files of any size. Numbers: FID's Inception is 566 tensors and about 20,000 values; a pickled StyleGAN2
 * at 1024x1024 with its discriminator is about 400 tensors and 30,000 values.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/pickle_impl.h"

#define MAX_VALUES (1 << 20)
#define MAX_STACK (1 << 20)
#define MAX_ITEMS ((int64_t)4 << 20) /* room in all containers together, counted at every growth */
#define MAX_MEMO (1 << 20)
#define MAX_LINE 1024 /* text opcodes end in a newline */
#define CHUNK 65536

struct pickle *pickle_create(uint64_t file_size, pickle_blob_reader *read_blob, void *context) {
    struct pickle *p = xcalloc(1, sizeof *p);
    p->file_size = file_size;
    p->read_blob = read_blob;
    p->context = context;
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
    free(p->slots);
    free(p->tensors);
    free(p->chunks);
    free(p->stack);
    free(p->memo);
    free(p);
}

/* Room is needed when n is a power of two. */
void *pickle_grow(void *array, int64_t n, size_t size) {
    return (n & (n - 1)) == 0 ? xrealloc(array, (size_t)(n ? 2 * n : 1) * size) : array;
}

const char *pickle_keep_text(struct pickle *p, const char *text, size_t n) {
    if (n + 1 > p->chunk_left) {
        size_t room = n + 1 > CHUNK ? n + 1 : CHUNK;
        p->chunks = pickle_grow(p->chunks, p->n_chunks, sizeof *p->chunks);
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

bool pickle_refuse(struct pickle *p, const char *format, ...) {
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
        pickle_refuse(p, "it ends early: %llu bytes wanted, %lld left", (unsigned long long)n, (long long)(p->end - p->at));
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
    return pickle_refuse(p, "a line is longer than %d bytes", MAX_LINE);
}

/* ---- values and the stack ---- */

struct torch_value *pickle_make(struct pickle *p, int type) {
    if (p->n_values == MAX_VALUES) {
        pickle_refuse(p, "more than %d values", MAX_VALUES);
        return NULL;
    }
    struct torch_value *v = xcalloc(1, sizeof *v);
    v->type = type;
    p->values = pickle_grow(p->values, p->n_values, sizeof *p->values);
    return p->values[p->n_values++] = v;
}

bool pickle_push(struct pickle *p, struct torch_value *v) {
    if (!v)
        return false;
    if (p->depth == p->stack_room) {
        if (p->depth == MAX_STACK)
            return pickle_refuse(p, "the stack holds more than %d values", MAX_STACK);
        p->stack = xrealloc(p->stack, (size_t)(p->stack_room = p->stack_room ? 2 * p->stack_room : 64) * sizeof *p->stack);
    }
    p->stack[p->depth++] = v;
    return true;
}

bool pickle_push_int(struct pickle *p, int type, int64_t integer) {
    struct torch_value *v = pickle_make(p, type);
    if (v)
        v->integer = integer;
    return pickle_push(p, v);
}

static bool push_text(struct pickle *p, int type, const void *text, uint64_t n) {
    struct torch_value *v = text ? pickle_make(p, type) : NULL;
    if (!v)
        return false;
    v->text = type == TORCH_BYTES ? text : pickle_keep_text(p, text, n); /* bytes stay where they are in the file */
    v->n = (int64_t)n;
    return pickle_push(p, v);
}

struct torch_value *pickle_pop(struct pickle *p) {
    if (p->depth == 0 || p->stack[p->depth - 1]->type == PICKLE_MARK) {
        pickle_refuse(p, "the stack is empty");
        return NULL;
    }
    return p->stack[--p->depth];
}

/* Position of the topmost MARK, or -1. */
static int64_t find_mark(struct pickle *p) {
    for (int64_t i = p->depth - 1; i >= 0; i--)
        if (p->stack[i]->type == PICKLE_MARK)
            return i;
    pickle_refuse(p, "no mark on the stack");
    return -1;
}

bool pickle_put_items(struct pickle *p, struct torch_value *c, int64_t used, struct torch_value **from, int64_t n) {
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
            return pickle_refuse(p, "containers hold more than %lld items", (long long)MAX_ITEMS);
        c->item = xrealloc(c->item, (size_t)room * sizeof *c->item);
    }
    memcpy(c->item + used, from, (size_t)n * sizeof *from);
    return true;
}

/* Replaces everything from stack position `first` on by one container of it. */
static bool gather(struct pickle *p, int type, int64_t first, bool mark) {
    int64_t from = first + mark, n = p->depth - from;
    struct torch_value *c = pickle_make(p, type);
    if (!c)
        return false;
    if (type == TORCH_DICT && n % 2)
        return pickle_refuse(p, "a dictionary has a key without a value");
    if (!pickle_put_items(p, c, 0, p->stack + from, n))
        return false;
    c->n = type == TORCH_DICT ? n / 2 : n;
    p->depth = first;
    return pickle_push(p, c);
}

/* TUPLE1..3, APPEND(S), SETITEM(S): n values above a container or by themselves */
static bool gather_last(struct pickle *p, int n) {
    for (int i = 1; i <= n; i++)
        if (p->depth < n || p->stack[p->depth - i]->type == PICKLE_MARK)
            return pickle_refuse(p, "the stack is empty");
    return gather(p, TORCH_TUPLE, p->depth - n, false);
}

static bool extend(struct pickle *p, int type, int64_t first, bool mark) {
    int64_t from = first + mark, n = p->depth - from;
    if (first < 1 || n < 0)
        return pickle_refuse(p, "the stack is empty");
    for (int64_t i = from; i < p->depth; i++)
        if (p->stack[i]->type == PICKLE_MARK)
            return pickle_refuse(p, "the stack is empty");
    struct torch_value *c = p->stack[first - 1];
    if (c->type != type)
        return pickle_refuse(p, "items for something that is no %s", type == TORCH_DICT ? "dictionary" : "list");
    if (type == TORCH_DICT && n % 2)
        return pickle_refuse(p, "a dictionary has a key without a value");
    if (!pickle_put_items(p, c, type == TORCH_DICT ? 2 * c->n : c->n, p->stack + from, n))
        return false;
    c->n += type == TORCH_DICT ? n / 2 : n;
    p->depth = first;
    return true;
}

/* ---- memo ---- */

static bool memo_put(struct pickle *p, uint64_t index) {
    if (index >= MAX_MEMO)
        return pickle_refuse(p, "memo index %llu is over the limit of %d", (unsigned long long)index, MAX_MEMO);
    if (p->depth == 0 || p->stack[p->depth - 1]->type == PICKLE_MARK)
        return pickle_refuse(p, "nothing to memorise");
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
        return pickle_refuse(p, "memo %llu was never set", (unsigned long long)index);
    return pickle_push(p, p->memo[index]);
}

/* ---- numbers ---- */

static bool push_long(struct pickle *p, uint64_t bytes) {
    const uint8_t *b = take(p, bytes);
    if (!b)
        return false;
    if (bytes == 0)
        return pickle_push_int(p, TORCH_INT, 0);
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
    return pickle_push_int(p, TORCH_INT, fits ? (int64_t)v : negative ? INT64_MIN : INT64_MAX);
}

static bool push_binary_float(struct pickle *p) {
    const uint8_t *b = take(p, 8);
    struct torch_value *v = b ? pickle_make(p, TORCH_FLOAT) : NULL;
    if (!v)
        return false;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | b[i];
    memcpy(&v->number, &bits, 8);
    return pickle_push(p, v);
}

static bool push_text_number(struct pickle *p, char op) {
    char line[MAX_LINE], *end;
    if (!take_line(p, line))
        return false;
    if (op == 'I' && (!strcmp(line, "00") || !strcmp(line, "01")))
        return pickle_push_int(p, TORCH_BOOL, line[1] == '1');
    struct torch_value *v = pickle_make(p, op == 'F' ? TORCH_FLOAT : TORCH_INT);
    if (!v)
        return false;
    if (op == 'F')
        v->number = strtod(line, &end);
    else
        v->integer = strtoll(line, &end, 10);
    if (op == 'L' && *end == 'L')
        end++;
    if (end == line || *end)
        return pickle_refuse(p, "\"%.40s\" is no number", line);
    return pickle_push(p, v);
}

/* 'text' in quotes, protocol 0; escapes are left as they are */
static bool push_quoted(struct pickle *p) {
    char line[MAX_LINE];
    if (!take_line(p, line))
        return false;
    size_t n = strlen(line);
    if (n < 2 || (line[0] != '\'' && line[0] != '"') || line[n - 1] != line[0])
        return pickle_refuse(p, "a text without quotes");
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
        return take_uint(p, 1, &n) && (n <= 5 || pickle_refuse(p, "protocol %d is unknown", (int)n));
    case 0x95: /* FRAME: a hint about buffering */
        return take_uint(p, 8, &n);
    case '(': return pickle_push_int(p, PICKLE_MARK, 0);
    case '0':
        if (p->depth > 0 && p->stack[p->depth - 1]->type == PICKLE_MARK) {
            p->depth--;
            return true;
        }
        return pickle_pop(p) != NULL;
    case '1': return pop_to_mark(p);
    case '2': return (p->depth > 0 && p->stack[p->depth - 1]->type != PICKLE_MARK) ? pickle_push(p, p->stack[p->depth - 1])
                                                                           : pickle_refuse(p, "the stack is empty");
    case 'N': return pickle_push_int(p, TORCH_NONE, 0);
    case 0x88: return pickle_push_int(p, TORCH_BOOL, 1);
    case 0x89: return pickle_push_int(p, TORCH_BOOL, 0);
    case 'J': return take_uint(p, 4, &n) && pickle_push_int(p, TORCH_INT, (int32_t)n);
    case 'K': return take_uint(p, 1, &n) && pickle_push_int(p, TORCH_INT, (int64_t)n);
    case 'M': return take_uint(p, 2, &n) && pickle_push_int(p, TORCH_INT, (int64_t)n);
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
    case 0x96: return text_of(p, TORCH_BYTES, 8); /* BYTEARRAY8 */
    case ')': return pickle_push(p, pickle_make(p, TORCH_TUPLE));
    case ']': case 0x8f: return pickle_push(p, pickle_make(p, TORCH_LIST)); /* a set is a list here */
    case '}': return pickle_push(p, pickle_make(p, TORCH_DICT));
    case 't': return from_mark(p, TORCH_TUPLE, false);
    case 'l': case 0x91: return from_mark(p, TORCH_LIST, false);
    case 'd': return from_mark(p, TORCH_DICT, false);
    case 0x85: return gather_last(p, 1);
    case 0x86: return gather_last(p, 2);
    case 0x87: return gather_last(p, 3);
    case 'a': return extend(p, TORCH_LIST, p->depth - 1, false);
    case 'e': case 0x90: return from_mark(p, TORCH_LIST, true);
    case 's': return extend(p, TORCH_DICT, p->depth - 2, false);
    case 'u': return from_mark(p, TORCH_DICT, true);
    case 'q': return take_uint(p, 1, &n) && memo_put(p, n);
    case 'r': return take_uint(p, 4, &n) && memo_put(p, n);
    case 0x94: return memo_put(p, (uint64_t)p->memo_next++);
    case 'h': return take_uint(p, 1, &n) && memo_get(p, n);
    case 'j': return take_uint(p, 4, &n) && memo_get(p, n);
    case 'p': return take_line(p, line) && memo_put(p, strtoull(line, NULL, 10));
    case 'g': return take_line(p, line) && memo_get(p, strtoull(line, NULL, 10));
    case 'c': return take_line(p, line) && take_line(p, name) && pickle_push_global(p, line, name);
    case 0x93: /* STACK_GLOBAL */
        b = pickle_pop(p);
        a = b ? pickle_pop(p) : NULL;
        if (!a)
            return false;
        if (a->type != TORCH_TEXT || b->type != TORCH_TEXT)
            return pickle_refuse(p, "a name that is no text");
        return pickle_push_global(p, a->text, b->text);
    case 'R': case 0x81: return pickle_construct(p);
    case 'b': return pickle_build(p);
    case 'Q': return pickle_persistent(p);
    default: return pickle_refuse(p, "opcode 0x%02x (%s) is refused", op, refused_name(op));
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
    struct torch_value *v = pickle_pop(p);
    if (!v)
        return ST_BAD;
    if (v->type >= PICKLE_MARK && (p->read_blob || v->type != PICKLE_STORAGE))
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

struct pickle_storage *pickle_storage_of(struct pickle *p, const struct torch_value *v) {
    return v->type == PICKLE_STORAGE ? p->storages[v->integer] : NULL;
}

int pickle_tensor_count(const struct pickle *p) {
    return p->n_tensors;
}

struct pickle_tensor *pickle_tensor_at(struct pickle *p, int i) {
    return p->tensors[i];
}
