/* onnx.c - see onnx.h. Protocol buffers are written directly: a message is a run of (field number, type, value), and the few that a model
 * needs are ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and ValueInfoProto. Field numbers are those of onnx.proto.
 */
#include "common/store/onnx.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/image/image.h"
#include "common/store/export.h"

#define IR_VERSION 8
#define HALF_FROM 1024 /* elements of a tensor worth writing as float16 */
#define SLOPE 0.2f

enum onnx_type { ONNX_FLOAT = 1, ONNX_INT64 = 7, ONNX_FLOAT16 = 10 };
enum attribute_type { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };

/* ---- protocol buffers ---- */

static void put_varint(struct bytes *b, uint64_t v) {
    do {
        uint8_t byte = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
        bytes_append(b, &byte, 1);
    } while (v >>= 7);
}

static void put_int(struct bytes *b, int field, int64_t v) {
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, (uint64_t)v);
}

static void put_float(struct bytes *b, int field, float v) {
    put_varint(b, (uint64_t)field << 3 | 5);
    bytes_append(b, &v, 4);
}

static void put_bytes(struct bytes *b, int field, const void *data, size_t size) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, size);
    bytes_append(b, data, size);
}

static void put_text(struct bytes *b, int field, const char *text) { put_bytes(b, field, text, strlen(text)); }

static void put_message(struct bytes *b, int field, struct bytes *message) {
    put_bytes(b, field, message->data, message->size);
    bytes_free(message);
}

/* ---- a graph ---- */

struct model {
    const struct sg2_config *c;
    const struct st_entry *t;
    int n;
    const char *prefix;
    bool half;
    struct bytes nodes, constants; /* fields of GraphProto */
    int made; /* results so far: their names are numbers */
    enum status st;
    struct error *e;
};

/* Name of a value. */
typedef struct {
    char text[80];
} name;

/* A constant [dim..] of the model: float32, or float16 and a Cast to float32. */
static name constant(struct model *m, const char *label, int ndim, const int64_t *dim, const float *x) {
    struct bytes proto = {0}, numbers = {0};
    struct st_entry entry = {.name = label, .dtype = DT_F32, .ndim = ndim, .data = x};
    int64_t count = 1;
    name out, stored;
    for (int i = 0; i < ndim; i++) {
        put_int(&proto, 1, dim[i]);
        entry.dim[i] = dim[i];
        count *= dim[i];
    }
    bool half = m->half && count >= HALF_FROM;
    snprintf(out.text, sizeof out.text, "%s", label);
    snprintf(stored.text, sizeof stored.text, "%s%s", label, half ? ".f16" : "");
    if (m->st == ST_OK)
        m->st = export_numbers(&entry, half ? DT_F16 : DT_F32, 1, &numbers, m->e);
    put_int(&proto, 2, half ? ONNX_FLOAT16 : ONNX_FLOAT);
    put_text(&proto, 8, stored.text);
    put_bytes(&proto, 9, numbers.data, numbers.size);
    put_message(&m->constants, 5, &proto);
    bytes_free(&numbers);
    if (half) {
        struct bytes node = {0}, attribute = {0};
        put_text(&node, 1, stored.text);
        put_text(&node, 2, out.text);
        put_text(&node, 4, "Cast");
        put_text(&attribute, 1, "to");
        put_int(&attribute, 3, ONNX_FLOAT);
        put_int(&attribute, 20, ATTRIBUTE_INT);
        put_message(&node, 5, &attribute);
        put_message(&m->nodes, 1, &node);
    }
    return out;
}

static name constant_scalar(struct model *m, const char *label, float x) { return constant(m, label, 0, NULL, &x); }

static name integers(struct model *m, const char *label, int ndim, int n, const int64_t *x) {
    struct bytes proto = {0};
    name out;
    snprintf(out.text, sizeof out.text, "%s", label);
    if (ndim)
        put_int(&proto, 1, n);
    put_int(&proto, 2, ONNX_INT64);
    put_text(&proto, 8, label);
    put_bytes(&proto, 9, x, (size_t)n * sizeof *x);
    put_message(&m->constants, 5, &proto);
    return out;
}

/* A tensor of the network; NULL, and the first message, when it is missing. */
static const struct st_entry *weight_of(struct model *m, const char *label) {
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", m->prefix, label);
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->t[i].name, whole))
            return &m->t[i];
    if (m->st == ST_OK)
        m->st = st_bad(m->e, "tensor %s is missing", whole);
    return NULL;
}

/* The tensor of that name in another shape (ndim < 0: its own), its numbers times scale. */
static name weight(struct model *m, const char *label, float scale, int ndim, const int64_t *dim) {
    const struct st_entry *t = weight_of(m, label);
    if (!t)
        return (name){"missing"};
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++)
        count *= t->dim[i];
    float *x = xmalloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = ((const float *)t->data)[i] * scale;
    name out = constant(m, label, ndim < 0 ? t->ndim : ndim, ndim < 0 ? t->dim : dim, x);
    free(x);
    return out;
}

/* Begins a node, whose inputs are n names, and names its result; attributes follow; end() ends it. */
static name begin(struct model *m, struct bytes *node, const char *op, int n, ...) {
    name out;
    va_list args;
    snprintf(out.text, sizeof out.text, "v%d", m->made++);
    va_start(args, n);
    for (int i = 0; i < n; i++)
        put_text(node, 1, va_arg(args, const char *));
    va_end(args);
    put_text(node, 2, out.text);
    put_text(node, 4, op);
    return out;
}

static void with_int(struct bytes *node, const char *label, int64_t v) {
    struct bytes a = {0};
    put_text(&a, 1, label);
    put_int(&a, 3, v);
    put_int(&a, 20, ATTRIBUTE_INT);
    put_message(node, 5, &a);
}

static void with_float(struct bytes *node, const char *label, float v) {
    struct bytes a = {0};
    put_text(&a, 1, label);
    put_float(&a, 2, v);
    put_int(&a, 20, ATTRIBUTE_FLOAT);
    put_message(node, 5, &a);
}

static void with_ints(struct bytes *node, const char *label, int n, int64_t v) { /* the same number n times */
    struct bytes a = {0};
    put_text(&a, 1, label);
    for (int i = 0; i < n; i++)
        put_int(&a, 8, v);
    put_int(&a, 20, ATTRIBUTE_INTS);
    put_message(node, 5, &a);
}

static void end(struct model *m, struct bytes *node) { put_message(&m->nodes, 1, node); }

static name binary(struct model *m, const char *op, name a, name b) {
    struct bytes node = {0};
    name out = begin(m, &node, op, 2, a.text, b.text);
    end(m, &node);
    return out;
}

static name unary(struct model *m, const char *op, name a) {
    struct bytes node = {0};
    name out = begin(m, &node, op, 1, a.text);
    end(m, &node);
    return out;
}

/* ---- layers; formulas and constants are those of common/stylegan2/layers.c ---- */

static const name tiny = {"epsilon"}, root2 = {"sqrt2"}, two_axes = {"axes"}, low = {"clamp.low"}, high = {"clamp.high"};

static name rsqrt_of(struct model *m, name x) { return unary(m, "Reciprocal", unary(m, "Sqrt", binary(m, "Add", x, tiny))); }

/* x [N,C] times rsqrt(mean over C of x^2 + 1e-8) */
static name normalise(struct model *m, name x) {
    struct bytes node = {0};
    name mean = binary(m, "Mul", x, x), out = begin(m, &node, "ReduceMean", 1, mean.text);
    with_ints(&node, "axes", 1, 1);
    with_int(&node, "keepdims", 1);
    end(m, &node);
    return binary(m, "Mul", x, rsqrt_of(m, out));
}

/* x [N,in] -> [N,out]: (x w^T lr / sqrt(in) + b lr) times gain */
static name linear(struct model *m, const char *layer, name x, float rate, float gain) {
    char w[64], b[64];
    struct bytes node = {0};
    snprintf(w, sizeof w, "%s.weight", layer);
    snprintf(b, sizeof b, "%s.bias", layer);
    const struct st_entry *t = weight_of(m, w);
    name weights = weight(m, w, 1, -1, NULL), bias = weight(m, b, 1, -1, NULL), out = begin(m, &node, "Gemm", 3, x.text, weights.text, bias.text);
    with_float(&node, "alpha", t ? gain * rate / sqrtf((float)t->dim[1]) : 0);
    with_float(&node, "beta", gain * rate);
    with_int(&node, "transB", 1);
    end(m, &node);
    return out;
}

static name leaky(struct model *m, name x) {
    struct bytes node = {0};
    name out = begin(m, &node, "LeakyRelu", 1, x.text);
    with_float(&node, "alpha", SLOPE);
    end(m, &node);
    return binary(m, "Mul", out, root2);
}

static name clip(struct model *m, name x) {
    if (!(m->c->conv_clamp > 0))
        return x;
    struct bytes node = {0};
    name out = begin(m, &node, "Clip", 3, x.text, low.text, high.text);
    end(m, &node);
    return out;
}

static name as_picture(struct model *m, name x) { return binary(m, "Unsqueeze", x, two_axes); } /* [N,C] -> [N,C,1,1] */

/* The 4x4 filter for each of C channels, [C,1,4,4], times 4; turned by half a turn for Conv, which correlates. */
static name filters(struct model *m, const char *label, const char *as, int channels, bool turned) {
    const struct st_entry *t = weight_of(m, label);
    float *x = xcalloc((size_t)channels * 16, sizeof *x);
    if (t && t->ndim == 2 && t->dim[0] == 4 && t->dim[1] == 4)
        for (int i = 0; i < channels * 16; i++)
            x[i] = 4 * ((const float *)t->data)[turned ? 15 - i % 16 : i % 16];
    else if (m->st == ST_OK)
        m->st = st_bad(m->e, "tensor %s%s is no 4x4 filter", m->prefix, label);
    name out = constant(m, as, 4, (int64_t[]){channels, 1, 4, 4}, x);
    free(x);
    return out;
}

/* x [N,I,H,W], style [N,I] -> [N,O,H,W], or twice the size */
static name modulated(struct model *m, const char *layer, name x, name style, bool demodulate, bool up) {
    char label[64], as[80];
    snprintf(label, sizeof label, "%s.weight", layer);
    const struct st_entry *t = weight_of(m, label);
    if (!t)
        return x;
    int64_t out = t->dim[0], in = t->dim[1], k = t->dim[2];
    const float *w = t->data;
    struct bytes node = {0};
    x = binary(m, "Mul", x, as_picture(m, style));
    float *q = xcalloc((size_t)(in * out), sizeof *q), *swapped = xmalloc((size_t)(in * out * k * k) * sizeof *swapped);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t j = 0; j < k * k; j++) {
                float v = w[(o * in + i) * k * k + j];
                q[i * out + o] += v * v;
                swapped[(i * out + o) * k * k + j] = v;
            }
    if (up) {
        name weights = constant(m, label, 4, (int64_t[]){in, out, k, k}, swapped);
        x = begin(m, &node, "ConvTranspose", 2, x.text, weights.text);
        with_ints(&node, "strides", 2, 2);
        end(m, &node);
        snprintf(label, sizeof label, "%s.resample_filter", layer);
        name f = filters(m, label, label, (int)out, true);
        x = begin(m, &node, "Conv", 2, x.text, f.text);
        with_ints(&node, "pads", 4, 1);
        with_int(&node, "group", out);
        end(m, &node);
    } else {
        name weights = weight(m, label, 1, -1, NULL);
        x = begin(m, &node, "Conv", 2, x.text, weights.text);
        with_ints(&node, "pads", 4, k / 2);
        end(m, &node);
    }
    if (demodulate) {
        snprintf(as, sizeof as, "%s.squares", layer);
        name sum = binary(m, "MatMul", binary(m, "Mul", style, style), constant(m, as, 2, (int64_t[]){in, out}, q));
        x = binary(m, "Mul", x, as_picture(m, rsqrt_of(m, sum)));
    }
    free(q);
    free(swapped);
    return x;
}

/* A convolution of the synthesis network, with noise, bias and activation. */
static name layer(struct model *m, const char *prefix, name x, name w, int res, bool up) {
    char label[64];
    snprintf(label, sizeof label, "%s.affine", prefix);
    x = modulated(m, prefix, x, linear(m, label, w, 1, 1), true, up);
    snprintf(label, sizeof label, "%s.noise_strength", prefix);
    const struct st_entry *strength = weight_of(m, label);
    snprintf(label, sizeof label, "%s.noise_const", prefix);
    name noise = weight(m, label, strength ? *(const float *)strength->data : 0, 4, (int64_t[]){1, 1, res, res});
    x = binary(m, "Add", x, noise);
    snprintf(label, sizeof label, "%s.bias", prefix);
    x = binary(m, "Add", x, weight(m, label, 1, 4, (int64_t[]){1, sg2_channels(m->c, res), 1, 1}));
    return clip(m, leaky(m, x));
}

static name to_rgb(struct model *m, const char *prefix, name x, name w, int res) {
    char label[64];
    snprintf(label, sizeof label, "%s.affine", prefix);
    name style = linear(m, label, w, 1, 1 / sqrtf((float)sg2_channels(m->c, res)));
    x = modulated(m, prefix, x, style, false, false);
    snprintf(label, sizeof label, "%s.bias", prefix);
    return clip(m, binary(m, "Add", x, weight(m, label, 1, 4, (int64_t[]){1, m->c->img_channels, 1, 1})));
}

/* A picture at twice the size: zeros between its pixels, then the filter, in one transposed convolution a channel. */
static name enlarged(struct model *m, int res, name img) {
    char label[64];
    struct bytes node = {0};
    snprintf(label, sizeof label, "synthesis.b%d.resample_filter", res);
    name f = filters(m, label, label, m->c->img_channels, false), out = begin(m, &node, "ConvTranspose", 2, img.text, f.text);
    with_ints(&node, "strides", 2, 2);
    with_ints(&node, "pads", 4, 1);
    with_int(&node, "group", m->c->img_channels);
    end(m, &node);
    return out;
}

static name mapping(struct model *m) {
    const struct sg2_config *c = m->c;
    name x = normalise(m, (name){"z"});
    if (c->c_dim) {
        struct bytes node = {0};
        name depth = integers(m, "classes", 0, 1, (int64_t[]){c->c_dim}), values = constant(m, "off_on", 1, (int64_t[]){2}, (float[]){0, 1});
        name hot = begin(m, &node, "OneHot", 3, "class", depth.text, values.text);
        end(m, &node);
        name y = normalise(m, linear(m, "mapping.embed", hot, 1, 1)), both = begin(m, &node, "Concat", 2, x.text, y.text);
        with_int(&node, "axis", 1);
        end(m, &node);
        x = both;
    }
    for (int i = 0; i < c->map_layers; i++) {
        char label[32];
        snprintf(label, sizeof label, "mapping.fc%d", i);
        x = leaky(m, linear(m, label, x, 0.01f, 1));
    }
    name mean = weight(m, "mapping.w_avg", 1, -1, NULL);
    return binary(m, "Add", mean, binary(m, "Mul", binary(m, "Sub", x, mean), (name){"psi"}));
}

static name synthesis(struct model *m, name w) {
    const struct sg2_config *c = m->c;
    name x = weight(m, "synthesis.b4.const", 1, 4, (int64_t[]){1, sg2_channels(c, 4), 4, 4}), img = {""};
    char label[48];
    for (int res = 4; res <= c->res; res *= 2) {
        for (int conv = res == 4; conv < 2; conv++) {
            snprintf(label, sizeof label, "synthesis.b%d.conv%d", res, conv);
            x = layer(m, label, x, w, res, !conv);
        }
        snprintf(label, sizeof label, "synthesis.b%d.torgb", res);
        name rgb = to_rgb(m, label, x, w, res);
        img = res > 4 ? binary(m, "Add", enlarged(m, res, img), rgb) : rgb;
    }
    return img;
}

/* ---- the file ---- */

/* An input or output: name, type and shape; a dimension of 0 is the free "N". */
static void put_value(struct bytes *graph, int field, const char *label, enum onnx_type type, int ndim, const int64_t *dim) {
    struct bytes value = {0}, kind = {0}, proto = {0}, shape = {0};
    for (int i = 0; i < ndim; i++) {
        struct bytes d = {0};
        if (dim[i])
            put_int(&d, 1, dim[i]);
        else
            put_text(&d, 2, "N");
        put_message(&shape, 1, &d);
    }
    put_int(&proto, 1, type);
    put_message(&proto, 2, &shape);
    put_message(&kind, 1, &proto);
    put_text(&value, 1, label);
    put_message(&value, 2, &kind);
    put_message(graph, field, &value);
}

enum status onnx_write_generator(const char *path, const struct sg2_config *c, const struct st_entry *t, int n, const char *prefix, float psi,
                                 bool half, const char *producer, struct error *e) {
    struct model m = {.c = c, .t = t, .n = n, .prefix = prefix, .half = half, .e = e};
    struct bytes graph = {0}, model = {0}, opset = {0}, node = {0}, property = {0};
    char *config = sg2_config_json(c);
    constant_scalar(&m, tiny.text, 1e-8f);
    constant_scalar(&m, root2.text, sqrtf(2));
    if (!isnan(psi))
        constant_scalar(&m, "psi", psi);
    if (c->conv_clamp > 0) {
        constant_scalar(&m, low.text, -c->conv_clamp);
        constant_scalar(&m, high.text, c->conv_clamp);
    }
    integers(&m, two_axes.text, 1, 2, (int64_t[]){2, 3});
    name img = synthesis(&m, mapping(&m));
    put_text(&node, 1, img.text);
    put_text(&node, 2, "image");
    put_text(&node, 4, "Identity");
    end(&m, &node);

    bytes_append(&graph, m.nodes.data, m.nodes.size);
    put_text(&graph, 2, "StyleGAN2 generator");
    bytes_append(&graph, m.constants.data, m.constants.size);
    put_value(&graph, 11, "z", ONNX_FLOAT, 2, (int64_t[]){0, c->z_dim});
    if (c->c_dim)
        put_value(&graph, 11, "class", ONNX_INT64, 1, (int64_t[]){0});
    if (isnan(psi))
        put_value(&graph, 11, "psi", ONNX_FLOAT, 0, NULL);
    put_value(&graph, 12, "image", ONNX_FLOAT, 4, (int64_t[]){0, c->img_channels, c->res, c->res});
    put_int(&model, 1, IR_VERSION);
    put_text(&model, 2, producer);
    put_message(&model, 7, &graph);
    put_int(&opset, 2, ONNX_OPSET);
    put_message(&model, 8, &opset);
    put_text(&property, 1, "config");
    put_text(&property, 2, config);
    put_message(&model, 14, &property);
    free(config);
    enum status st = m.st == ST_OK ? file_write_atomic(path, model.data, model.size, e) : st_prefix(m.st, e, "%s", path);
    bytes_free(&model);
    bytes_free(&m.nodes);
    bytes_free(&m.constants);
    return st;
}
