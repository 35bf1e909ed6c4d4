/* pickle_make.c - all that a pickle may name, and what each name makes: tensors, storages, dictionaries, modules of NVIDIA's networks,
 * NumPy's numbers and arrays. A name is looked up in one table; nothing is imported or called, and the source code that NVIDIA's files
 * carry along ("module_src") is text like any other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/pickle_impl.h"

#define MAX_TENSORS 100000
#define MAX_ATTRIBUTES 256 /* of a module, looked up one by one: NVIDIA's have about 40 */

enum constructor {
    MAKE_DICT, MAKE_RECORD, MAKE_LIST, MAKE_FIRST, MAKE_TENSOR, MAKE_PARAMETER, MAKE_MODULE, MAKE_BLOB, MAKE_BYTES,
    MAKE_DTYPE, MAKE_ARRAY, MAKE_SCALAR, MAKE_FROM_BUFFER, STORAGE_TYPE, PLAIN_TYPE
};

static const struct known {
    const char *module, *name;
    enum constructor what;
    enum dtype dtype;
} known[] = {
    {"collections", "OrderedDict", MAKE_DICT, 0},
    {"dnnlib.util", "EasyDict", MAKE_DICT, 0},
    {"argparse", "Namespace", MAKE_RECORD, 0},
    {"builtins", "set", MAKE_LIST, 0},
    {"__builtin__", "set", MAKE_LIST, 0},
    {"torch", "Size", MAKE_FIRST, 0},
    {"torch", "device", MAKE_FIRST, 0},
    {"torch._utils", "_rebuild_tensor", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", MAKE_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", MAKE_PARAMETER, 0},
    {"torch_utils.persistence", "_reconstruct_persistent_obj", MAKE_MODULE, 0},
    {"torch.storage", "_load_from_bytes", MAKE_BLOB, 0},
    {"_codecs", "encode", MAKE_BYTES, 0},
    {"numpy", "dtype", MAKE_DTYPE, 0},
    {"numpy", "ndarray", PLAIN_TYPE, 0},
    {"numpy.core.multiarray", "_reconstruct", MAKE_ARRAY, 0},
    {"numpy._core.multiarray", "_reconstruct", MAKE_ARRAY, 0},
    {"numpy.core.multiarray", "scalar", MAKE_SCALAR, 0},
    {"numpy._core.multiarray", "scalar", MAKE_SCALAR, 0},
    {"numpy.core.numeric", "_frombuffer", MAKE_FROM_BUFFER, 0},
    {"numpy._core.numeric", "_frombuffer", MAKE_FROM_BUFFER, 0},
    {"torch", "FloatStorage", STORAGE_TYPE, DT_F32},
    {"torch", "HalfStorage", STORAGE_TYPE, DT_F16},
    {"torch", "BFloat16Storage", STORAGE_TYPE, DT_BF16},
    {"torch", "DoubleStorage", STORAGE_TYPE, DT_F64},
    {"torch", "ByteStorage", STORAGE_TYPE, DT_U8},
    {"torch", "BoolStorage", STORAGE_TYPE, DT_U8},
    {"torch", "IntStorage", STORAGE_TYPE, DT_I32},
    {"torch", "LongStorage", STORAGE_TYPE, DT_I64},
    {"torch", "float32", PLAIN_TYPE, 0},
    {"torch", "float16", PLAIN_TYPE, 0},
    {"torch", "bfloat16", PLAIN_TYPE, 0},
    {"torch", "float64", PLAIN_TYPE, 0},
    {"torch", "uint8", PLAIN_TYPE, 0},
    {"torch", "int32", PLAIN_TYPE, 0},
    {"torch", "int64", PLAIN_TYPE, 0},
};

bool pickle_push_global(struct pickle *p, const char *module, const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(module, known[i].module) && !strcmp(name, known[i].name))
            return pickle_push_int(p, PICKLE_GLOBAL, (int64_t)i);
    return pickle_refuse(p, "it asks for %.128s.%.128s, which is not among the constructors of tensors; refused%s", module, name,
                         !strncmp(module, "dnnlib.tflib", 12) ? " (a TensorFlow network; NVIDIA's PyTorch programs can convert it)" : "");
}

static bool all_of(const struct torch_value *tuple, int type) {
    for (int64_t i = 0; i < tuple->n; i++)
        if (tuple->item[i]->type != type)
            return false;
    return true;
}

static bool is(const struct torch_value *args, int64_t i, int type) { return args->n > i && args->item[i]->type == type; }

static void *no(struct pickle *p, const char *what) {
    pickle_refuse(p, "%s", what);
    return NULL;
}

/* ---- storages ---- */

static struct pickle_storage *add_storage(struct pickle *p, const char *key) {
    if (p->n_storages == PICKLE_MAX_STORAGES) {
        pickle_refuse(p, "more than %d storages", PICKLE_MAX_STORAGES);
        return NULL;
    }
    struct pickle_storage *s = xcalloc(1, sizeof *s);
    s->key = xstrdup(key);
    p->storages = pickle_grow(p->storages, p->n_storages, sizeof *p->storages);
    return p->storages[p->n_storages++] = s;
}

/* Where the number (plus one) of the storage of that key stands, or would. */
static int *find_slot(struct pickle *p, const char *key) {
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *c = key; *c; c++)
        h = (h ^ (uint8_t)*c) * 0x100000001b3u;
    if (!p->slots)
        p->slots = xcalloc(2 * PICKLE_MAX_STORAGES, sizeof *p->slots);
    unsigned at = (unsigned)(h ^ h >> 32) & (2 * PICKLE_MAX_STORAGES - 1);
    while (p->slots[at] && strcmp(p->storages[p->slots[at] - 1]->key, key))
        at = (at + 1) & (2 * PICKLE_MAX_STORAGES - 1);
    return &p->slots[at];
}

struct pickle_storage *pickle_find_storage(struct pickle *p, const char *key) {
    int *slot = find_slot(p, key);
    return *slot ? p->storages[*slot - 1] : NULL;
}

/* ("storage", type, key, location, count[, view]) -> STORAGE */
bool pickle_persistent(struct pickle *p) {
    const struct torch_value *id = pickle_pop(p);
    if (!id)
        return false;
    if (id->type != TORCH_TUPLE || id->n < 5 || id->n > 6 || id->item[0]->type != TORCH_TEXT || strcmp(id->item[0]->text, "storage") ||
        id->item[1]->type != PICKLE_GLOBAL || known[id->item[1]->integer].what != STORAGE_TYPE || id->item[2]->type != TORCH_TEXT ||
        id->item[4]->type != TORCH_INT || (id->n == 6 && id->item[5]->type != TORCH_NONE))
        return pickle_refuse(p, "a persistent reference is no plain storage; refused");
    const char *key = id->item[2]->text;
    enum dtype dtype = known[id->item[1]->integer].dtype;
    int64_t count = id->item[4]->integer;
    if (count < 0 || (uint64_t)count > p->file_size / (uint64_t)dtype_size(dtype))
        return pickle_refuse(p, "storage \"%.64s\" of %lld elements is larger than the file", key, (long long)count);
    int *slot = find_slot(p, key);
    if (*slot) {
        const struct pickle_storage *known_one = p->storages[*slot - 1];
        if (known_one->dtype != dtype || known_one->count != count)
            return pickle_refuse(p, "storage \"%.64s\" is described in two ways", key);
        return pickle_push_int(p, PICKLE_STORAGE, *slot - 1);
    }
    struct pickle_storage *s = add_storage(p, key);
    if (!s)
        return false;
    s->dtype = dtype;
    s->count = count;
    *slot = p->n_storages;
    return pickle_push_int(p, PICKLE_STORAGE, p->n_storages - 1);
}

/* (bytes of a torch.save file) -> STORAGE. Each byte of the file may be read this way once. */
static struct torch_value *make_blob(struct pickle *p, const struct torch_value *args) {
    if (!is(args, 0, TORCH_BYTES) || !p->read_blob)
        return no(p, "torch.storage._load_from_bytes of something else than the bytes of one storage");
    const struct torch_value *b = args->item[0];
    if ((p->blobs += (uint64_t)b->n) > p->file_size)
        return no(p, "storages inside the pickle take more room than the file");
    struct pickle_storage *s = add_storage(p, "inline");
    struct error inner = {""};
    if (!s)
        return NULL;
    if (p->read_blob(p->context, (const uint8_t *)b->text, (uint64_t)b->n, s, &inner) != ST_OK) {
        pickle_refuse(p, "a storage inside it: %.400s", inner.text);
        return NULL;
    }
    struct torch_value *v = pickle_make(p, PICKLE_STORAGE);
    if (v)
        v->integer = p->n_storages - 1;
    return v;
}

/* ---- tensors ---- */

/* Whether every element lies inside the storage. Counts t->count; nothing overflows, because every product stays below the storage's
 * count, itself below the file's size. */
static bool inside(struct pickle_tensor *t) {
    const struct pickle_storage *s = t->storage;
    int64_t last = t->offset;
    bool good = t->offset >= 0 && t->offset <= s->count;
    t->count = 1;
    for (int i = 0; i < t->ndim; i++) {
        good = good && t->dim[i] >= 0 && t->stride[i] >= 0;
        if (good && t->dim[i] == 0)
            t->count = 0;
    }
    for (int i = 0; good && t->count && i < t->ndim; i++) {
        good = t->dim[i] <= s->count / t->count;
        if (good)
            t->count *= t->dim[i];
        if (good && t->dim[i] > 1) {
            good = t->stride[i] <= (s->count - last) / (t->dim[i] - 1);
            if (good)
                last += (t->dim[i] - 1) * t->stride[i];
        }
    }
    return good && (!t->count || last < s->count);
}

/* Makes `v` the tensor t. */
static bool become_tensor(struct pickle *p, struct torch_value *v, struct pickle_tensor *t) {
    if (!inside(t))
        return pickle_refuse(p, "a tensor reaches outside its storage \"%.64s\" of %lld elements", t->storage->key,
                             (long long)t->storage->count);
    if (p->n_tensors == MAX_TENSORS)
        return pickle_refuse(p, "more than %d tensors", MAX_TENSORS);
    v->type = TORCH_TENSOR;
    v->tensor = xcalloc(1, sizeof *v->tensor);
    t->value = v;
    p->tensors = pickle_grow(p->tensors, p->n_tensors, sizeof *p->tensors);
    p->tensors[p->n_tensors] = xmalloc(sizeof *t);
    *p->tensors[p->n_tensors++] = *t;
    return true;
}

/* (storage, offset, size, stride, ...) */
static struct torch_value *make_tensor(struct pickle *p, const struct torch_value *a) {
    if (!is(a, 0, PICKLE_STORAGE) || !is(a, 1, TORCH_INT) || !is(a, 2, TORCH_TUPLE) || !is(a, 3, TORCH_TUPLE) ||
        a->item[2]->n != a->item[3]->n || a->item[2]->n > ST_MAX_DIM || !all_of(a->item[2], TORCH_INT) ||
        !all_of(a->item[3], TORCH_INT)) {
        pickle_refuse(p, "a tensor's description is not (storage, offset, size, stride) of at most %d dimensions", ST_MAX_DIM);
        return NULL;
    }
    struct pickle_tensor t = {.storage = p->storages[a->item[0]->integer], .offset = a->item[1]->integer, .ndim = (int)a->item[2]->n};
    for (int i = 0; i < t.ndim; i++) {
        t.dim[i] = a->item[2]->item[i]->integer;
        t.stride[i] = a->item[3]->item[i]->integer;
    }
    struct torch_value *v = pickle_make(p, TORCH_NONE);
    return v && become_tensor(p, v, &t) ? v : NULL;
}

/* ---- dictionaries and modules ---- */

/* OrderedDict() or OrderedDict([(key, value), ...]) */
static struct torch_value *make_dict(struct pickle *p, const struct torch_value *args) {
    struct torch_value *d = pickle_make(p, TORCH_DICT);
    if (!d || args->n == 0)
        return d;
    const struct torch_value *pairs = args->item[0];
    if (args->n != 1 || pairs->type != TORCH_LIST)
        return no(p, "OrderedDict is made of something that is no list");
    for (int64_t i = 0; i < pairs->n; i++) {
        const struct torch_value *pair = pairs->item[i];
        if ((pair->type != TORCH_LIST && pair->type != TORCH_TUPLE) || pair->n != 2)
            return no(p, "OrderedDict is made of something that is no pair");
        if (!pickle_put_items(p, d, 2 * d->n, pair->item, 2))
            return NULL;
        d->n++;
    }
    return d;
}

/* set([item, ...]) */
static struct torch_value *make_list(struct pickle *p, const struct torch_value *args) {
    struct torch_value *l = pickle_make(p, TORCH_LIST);
    if (!l || args->n == 0)
        return l;
    if (args->n != 1 || (args->item[0]->type != TORCH_LIST && args->item[0]->type != TORCH_TUPLE))
        return no(p, "a set is made of something that is no list");
    if (!pickle_put_items(p, l, 0, args->item[0]->item, args->item[0]->n))
        return NULL;
    l->n = args->item[0]->n;
    return l;
}

/* ({"class_name": text, "state": dictionary of attributes, ...}) -> an object with those attributes */
static struct torch_value *make_module(struct pickle *p, const struct torch_value *args) {
    if (args->n != 1 || !is(args, 0, TORCH_DICT) || args->item[0]->n > MAX_ATTRIBUTES)
        return no(p, "a module's description is no small dictionary");
    const struct torch_value *name = torch_item(args->item[0], "class_name"), *state = torch_item(args->item[0], "state");
    if (!name || name->type != TORCH_TEXT || !state || (state->type != TORCH_DICT && state->type != TORCH_NONE))
        return no(p, "a module's description has no class_name and no state");
    if (state->type == TORCH_DICT && state->n > MAX_ATTRIBUTES)
        return no(p, "a module with too many attributes");
    struct torch_value *v = pickle_make(p, TORCH_OBJECT);
    if (!v || (state->type == TORCH_DICT && !pickle_put_items(p, v, 0, state->item, 2 * state->n)))
        return NULL;
    v->n = state->type == TORCH_DICT ? state->n : 0;
    v->text = name->text;
    return v;
}

/* ---- NumPy ---- */

/* dtype("f4", ...). Byte order comes with BUILD. */
static struct torch_value *make_dtype(struct pickle *p, const struct torch_value *args) {
    static const struct {
        const char *name;
        enum dtype dtype;
    } numpy[] = {{"f4", DT_F32}, {"f2", DT_F16}, {"f8", DT_F64}, {"u1", DT_U8}, {"b1", DT_U8}, {"i4", DT_I32}, {"i8", DT_I64}, {"u8", DT_U64}};
    if (!is(args, 0, TORCH_TEXT))
        return no(p, "numpy.dtype of something that is no text");
    struct torch_value *v = pickle_make(p, PICKLE_DTYPE);
    if (!v)
        return NULL;
    v->integer = -1;
    v->text = args->item[0]->text;
    for (size_t i = 0; i < sizeof numpy / sizeof *numpy; i++)
        if (!strcmp(v->text, numpy[i].name))
            v->integer = numpy[i].dtype;
    return v;
}

/* Makes v the array of that type and shape whose numbers are in `bytes`. */
static bool become_array(struct pickle *p, struct torch_value *v, const struct torch_value *type, const struct torch_value *shape,
                         bool fortran, const struct torch_value *bytes) {
    if (type->type != PICKLE_DTYPE || type->integer < 0)
        return pickle_refuse(p, "a NumPy array of type %.40s; refused", type->type == PICKLE_DTYPE ? type->text : "?");
    if (shape->type != TORCH_TUPLE || shape->n > ST_MAX_DIM || !all_of(shape, TORCH_INT) || bytes->type != TORCH_BYTES)
        return pickle_refuse(p, "a NumPy array's description is not (shape, type, bytes) of at most %d dimensions", ST_MAX_DIM);
    struct pickle_storage *s = add_storage(p, "array");
    if (!s)
        return false;
    s->dtype = (enum dtype)type->integer;
    s->count = bytes->n / dtype_size(s->dtype);
    s->data = (const uint8_t *)bytes->text;
    struct pickle_tensor t = {.storage = s, .ndim = (int)shape->n};
    int64_t stride = 1;
    for (int k = 0; k < t.ndim; k++) {
        int i = fortran ? k : t.ndim - 1 - k;
        t.dim[i] = shape->item[i]->integer;
        t.stride[i] = stride;
        if (t.dim[i] > 0 && stride <= s->count) /* beyond it the check refuses whatever the stride is */
            stride = t.dim[i] <= s->count / stride + 1 ? stride * t.dim[i] : s->count + 1;
    }
    return become_tensor(p, v, &t);
}

/* (bytes or bytearray, type, shape, "C" or "F"): protocol 5 */
static struct torch_value *make_from_buffer(struct pickle *p, const struct torch_value *a) {
    if (a->n != 4 || !is(a, 3, TORCH_TEXT))
        return no(p, "a NumPy array's description is not (bytes, type, shape, order)");
    struct torch_value *v = pickle_make(p, PICKLE_ARRAY);
    return v && become_array(p, v, a->item[1], a->item[2], a->item[3]->text[0] == 'F', a->item[0]) ? v : NULL;
}

/* (type, bytes) -> a number */
static struct torch_value *make_scalar(struct pickle *p, const struct torch_value *a) {
    if (a->n != 2 || !is(a, 0, PICKLE_DTYPE) || !is(a, 1, TORCH_BYTES))
        return no(p, "a NumPy number's description is not (type, bytes)");
    if (a->item[0]->integer < 0) /* of a type that no tensor has: a short text, a small integer */
        return pickle_make(p, TORCH_NONE);
    if (a->item[1]->n != dtype_size((enum dtype)a->item[0]->integer))
        return no(p, "a NumPy number of another size than its type");
    enum dtype dtype = (enum dtype)a->item[0]->integer;
    struct torch_value *v = pickle_make(p, dtype == DT_F32 || dtype == DT_F16 || dtype == DT_F64 ? TORCH_FLOAT : TORCH_INT);
    union {
        double f64;
        float f32;
        int64_t i64;
        int32_t i32;
        uint16_t u16;
        uint8_t u8;
    } x;
    if (!v)
        return NULL;
    memcpy(&x, a->item[1]->text, (size_t)a->item[1]->n);
    switch (dtype) {
    case DT_F64: v->number = x.f64; break;
    case DT_F32: v->number = x.f32; break;
    case DT_F16: v->number = f32_from_f16(x.u16); break;
    case DT_U8: v->integer = x.u8; break;
    case DT_I32: v->integer = x.i32; break;
    default: v->integer = x.i64; break;
    }
    return v;
}

/* _codecs.encode(text, "latin1"): how protocol 2 writes bytes */
static struct torch_value *make_bytes(struct pickle *p, const struct torch_value *args) {
    if (!is(args, 0, TORCH_TEXT) || !is(args, 1, TORCH_TEXT) ||
        (strcmp(args->item[1]->text, "latin1") && strcmp(args->item[1]->text, "latin-1")))
        return no(p, "_codecs.encode of something else than text to latin1; refused");
    const struct torch_value *text = args->item[0];
    if ((p->encoded += (uint64_t)text->n) / 4 > p->file_size) /* a shared text may count more than once */
        return no(p, "bytes made of text take more room than the file");
    struct torch_value *v = pickle_make(p, TORCH_BYTES);
    if (!v)
        return NULL;
    char *out = (char *)pickle_keep_text(p, text->text, (size_t)text->n);
    v->text = out;
    for (int64_t i = 0; i < text->n; i++) {
        uint8_t c = (uint8_t)text->text[i];
        if (c < 0x80)
            out[v->n++] = (char)c;
        else if ((c == 0xc2 || c == 0xc3) && i + 1 < text->n && ((uint8_t)text->text[i + 1] & 0xc0) == 0x80)
            out[v->n++] = (char)((c & 3) << 6 | ((uint8_t)text->text[++i] & 0x3f));
        else
            return no(p, "text that is not latin1 as bytes");
    }
    return v;
}

/* ---- constructor, arguments -> value ---- */

bool pickle_construct(struct pickle *p) {
    struct torch_value *args = pickle_pop(p), *callable = args ? pickle_pop(p) : NULL, *v = NULL;
    if (!callable)
        return false;
    if (callable->type != PICKLE_GLOBAL || args->type != TORCH_TUPLE)
        return pickle_refuse(p, "it calls something that is no constructor; refused");
    const struct known *k = &known[callable->integer];
    switch (k->what) {
    case MAKE_DICT: v = make_dict(p, args); break;
    case MAKE_LIST: v = make_list(p, args); break;
    case MAKE_TENSOR: v = make_tensor(p, args); break;
    case MAKE_MODULE: v = make_module(p, args); break;
    case MAKE_BLOB: v = make_blob(p, args); break;
    case MAKE_BYTES: v = make_bytes(p, args); break;
    case MAKE_DTYPE: v = make_dtype(p, args); break;
    case MAKE_ARRAY: v = pickle_make(p, PICKLE_ARRAY); break;
    case MAKE_SCALAR: v = make_scalar(p, args); break;
    case MAKE_FROM_BUFFER: v = make_from_buffer(p, args); break;
    case MAKE_RECORD:
        if ((v = pickle_make(p, TORCH_DICT)))
            v->integer = PICKLE_RECORD;
        break;
    case MAKE_FIRST:
    case MAKE_PARAMETER:
        if (args->n < 1 || (k->what == MAKE_PARAMETER ? !is(args, 0, TORCH_TENSOR) : !is(args, 0, TORCH_TUPLE) && !is(args, 0, TORCH_TEXT)))
            return pickle_refuse(p, "%s.%s of something else", k->module, k->name);
        v = args->item[0];
        break;
    case STORAGE_TYPE:
    case PLAIN_TYPE: return pickle_refuse(p, "it calls %s.%s; refused", k->module, k->name);
    }
    return pickle_push(p, v);
}

/* ---- BUILD: an object and its state ---- */

bool pickle_build(struct pickle *p) {
    struct torch_value *state = pickle_pop(p), *v = state ? pickle_pop(p) : NULL;
    if (!v)
        return false;
    switch (v->type) {
    case TORCH_DICT: /* attributes of an OrderedDict (PyTorch's _metadata) are of no use here */
        if (v->integer == PICKLE_RECORD && state->type == TORCH_DICT) {
            if (!pickle_put_items(p, v, 2 * v->n, state->item, 2 * state->n))
                return false;
            v->n += state->n;
        }
        break;
    case PICKLE_DTYPE: /* (version, byte order, ...) */
        if (state->type != TORCH_TUPLE || !is(state, 1, TORCH_TEXT) || !strchr("<|=", state->item[1]->text[0]))
            return pickle_refuse(p, "a NumPy type that is not little-endian");
        break;
    case PICKLE_ARRAY: /* (version, shape, type, fortran order, bytes) */
        if (state->type != TORCH_TUPLE || state->n != 5)
            return pickle_refuse(p, "a NumPy array's description is not (version, shape, type, order, bytes)");
        if (!become_array(p, v, state->item[2], state->item[1], state->item[3]->integer != 0, state->item[4]))
            return false;
        break;
    default: return pickle_refuse(p, "attributes of something that is no dictionary");
    }
    return pickle_push(p, v);
}
