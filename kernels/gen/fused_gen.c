/* fused_gen.c - writes the fused CUDA kernels that are compiled ahead: fused_gen FOLDER makes FOLDER/fused_0.cu .. fused_7.cu.
 *
 * Plans what everyday use runs (common/stylegan2/standard.h, and the few launches of Inception) on a dry device and writes one kernel
 * for each distinct pattern (kernels/fused_pattern.h): straight-line code with all registers in registers, 16-byte accesses, sizes and
 * numbers as arguments. Programs that occur nowhere here are interpreted by fused.cu: right, but at a quarter of the speed.
 *
 * A file whose content would not change is not touched, so that nothing is compiled again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/engine/graph.h"
#include "common/stylegan2/standard.h"
#include "kernels/fused_pattern.h"

#define PARTS 8 /* FUSED_PARTS */

struct found {
    struct fused_pattern pattern;
    struct fused_program f;
    char in_type[MAX_IN], out_type[MAX_OUT];
};

struct table {
    struct found *found;
    int n, room, launches, missed;
};

static void see(void *arg, const struct kernel_call *c) {
    struct table *t = arg;
    struct fused_pattern p;
    if (c->op != OP_fused)
        return;
    t->launches++;
    memset(&p, 0, sizeof p);
    if (!fused_pattern_of(c, &p)) {
        t->missed++;
        return;
    }
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->found[i].pattern.text, p.text))
            return;
    if (t->n == t->room)
        t->found = xrealloc(t->found, sizeof *t->found * (size_t)(t->room = t->room ? 2 * t->room : 256));
    struct found *f = &t->found[t->n++];
    f->pattern = p;
    f->f = *c->fused;
    for (int i = 0; i < c->n_in; i++)
        f->in_type[i] = fused_type_letter(c->in[i].dtype);
    for (int k = 0; k < c->n_out; k++)
        f->out_type[k] = fused_type_letter(c->out[k].dtype);
}

static const char *type(char letter) {
    return letter == 'f' ? "float" : letter == 'h' ? "__half" : letter == 'b' ? "__nv_bfloat16" : "uint8_t";
}

static void write_loads(FILE *out, const struct found *f) {
    const struct fused_pattern *p = &f->pattern;
    bool position = false;
    for (int i = 0; i < f->f.n_in; i++)
        position |= p->walk[i] == WALK_ROW || p->walk[i] == WALK_COLUMN;
    if (position)
        fprintf(out, "    uint32_t i[%d];\n    fused_position<%d>(a, at, i);\n", p->ndim, p->ndim);
    for (int i = 0; i < f->f.n_in; i++) {
        const char *t = type(f->in_type[i]);
        switch ((enum walk)p->walk[i]) {
        case WALK_DENSE:
            fprintf(out, "    fused_load<%s>(x%d, a.in[%d], at);\n", t, i, i);
            break;
        case WALK_UNIFORM:
            fprintf(out, "    fused_load_one<%s>(x%d, a.in[%d], 0);\n", t, i, i);
            break;
        case WALK_ROW:
            fprintf(out, "    fused_load<%s>(x%d, a.in[%d], fused_offset<%d>(a, %d, i));\n", t, i, i, p->ndim, i);
            break;
        case WALK_COLUMN:
            fprintf(out, "    fused_load_one<%s>(x%d, a.in[%d], fused_offset<%d>(a, %d, i));\n", t, i, i, p->ndim, i);
            break;
        case WALK_EACH:
            fprintf(out, "    fused_load_each<%s, %d>(x%d, a, %d, at);\n", t, p->ndim, i, i);
            break;
        }
    }
}

static void write_operations(FILE *out, const struct found *f) {
    int n_reg = f->f.n_in, number = 0;
    for (int i = 0; i < f->f.n_ops; i++)
        n_reg = f->f.ops[i].out >= n_reg ? f->f.ops[i].out + 1 : n_reg;
    for (int r = 0; r < n_reg; r++)
        if (r < f->f.n_in)
            fprintf(out, "%s r%d = x%d[j]", r ? "," : "        float", r, r);
        else
            fprintf(out, "%s r%d", r ? "," : "        float", r);
    fprintf(out, ";\n");
    for (int i = 0; i < f->f.n_ops; i++) {
        const struct micro_op *m = &f->f.ops[i];
        int numbers = fused_numbers(m->op), operands = fused_operands(m->op);
        fprintf(out, "        r%d = operate(OP_%s", m->out, op_name((enum op)m->op));
        for (int k = 0; k < 2; k++)
            if (k < numbers)
                fprintf(out, ", a.number[%d]", number++);
            else
                fprintf(out, ", %d", m->op == OP_cast && !k ? (int)m->f[0] : 0);
        for (int k = 0; k < 3; k++)
            if (k < operands)
                fprintf(out, ", r%d", m->in[k]);
            else
                fprintf(out, ", 0");
        fprintf(out, ");\n");
    }
}

static void write_kernel(FILE *out, const struct found *f, int number) {
    int w = f->pattern.width, n_in = f->f.n_in, n_out = f->f.n_out;
    fprintf(out, "\n/* %s */\n", f->pattern.text);
    fprintf(out, "__global__ static void __launch_bounds__(FUSED_BLOCK) fused_%d(const __grid_constant__ fused_args a) {\n", number);
    if (!f->pattern.sums) {
        fprintf(out, "    const uint32_t group = blockIdx.x * FUSED_BLOCK + threadIdx.x;\n    if (group >= a.groups)\n        return;\n");
        fprintf(out, "    const uint32_t at = group * %d;\n", w);
    } else {
        for (int k = 0; k < n_out; k++)
            if (f->f.sum[k])
                fprintf(out, "    float s%d[%d] = {0};\n", k, w);
        fprintf(out, "    const uint32_t column = threadIdx.x %% a.threads_x * %d, start = blockIdx.x * a.slice;\n", w);
        fprintf(out, "    const uint32_t end = min(start + a.slice, a.rows), step = FUSED_BLOCK / a.threads_x;\n");
        fprintf(out, "    for (uint32_t row = start + threadIdx.x / a.threads_x; row < end; row += step) {\n");
        fprintf(out, "    const uint32_t at = (blockIdx.y * a.rows + row) * a.channels + column;\n");
    }
    fprintf(out, "    float ");
    for (int i = 0; i < n_in; i++)
        fprintf(out, "%sx%d[%d]", i ? ", " : "", i, w);
    for (int k = 0, some = n_in; k < n_out; k++)
        if (!f->f.sum[k])
            fprintf(out, "%sy%d[%d]", some++ ? ", " : "", k, w);
    fprintf(out, ";\n");
    write_loads(out, f);
    fprintf(out, "#pragma unroll\n    for (int j = 0; j < %d; j++) {\n", w);
    write_operations(out, f);
    for (int k = 0; k < n_out; k++)
        if (f->f.sum[k])
            fprintf(out, "        s%d[j] += r%d;\n", k, f->f.out_reg[k]);
        else
            fprintf(out, "        y%d[j] = r%d;\n", k, f->f.out_reg[k]);
    fprintf(out, "    }\n");
    for (int k = 0; k < n_out; k++)
        if (!f->f.sum[k])
            fprintf(out, "    fused_store<%s>(a.out[%d], at, y%d);\n", type(f->out_type[k]), k, k);
    if (f->pattern.sums)
        fprintf(out, "    }\n");
    for (int k = 0; k < n_out; k++)
        if (f->f.sum[k])
            fprintf(out, "    fused_sum_block<%d>(a, a.partial[%d], s%d);\n", w, k, k);
    fprintf(out, "}\n");
}

static void write_part(FILE *out, const struct table *t, int part) {
    fprintf(out, "/* Made by kernels/gen/fused_gen.c; do not edit. */\n#include \"kernels/fused.cuh\"\n");
    for (int i = part; i < t->n; i += PARTS)
        write_kernel(out, &t->found[i], i);
    fprintf(out, "\nextern const struct fused_entry fused_part_%d[];\nconst struct fused_entry fused_part_%d[] = {\n", part, part);
    for (int i = part; i < t->n; i += PARTS)
        fprintf(out, "    {\"%s\", (const void *)fused_%d},\n", t->found[i].pattern.text, i);
    fprintf(out, "    {NULL, NULL}};\n");
}

/* Writes the file unless it holds this already. */
static bool replace(const char *path, const char *text, size_t bytes) {
    FILE *f = fopen(path, "rb");
    if (f) {
        char *old = xmalloc(bytes + 1);
        bool same = fread(old, 1, bytes + 1, f) == bytes && !memcmp(old, text, bytes);
        free(old);
        fclose(f);
        if (same)
            return true;
    }
    f = fopen(path, "wb");
    bool ok = f && fwrite(text, 1, bytes, f) == bytes;
    return f ? fclose(f) == 0 && ok : false;
}

/* Inception's launches, in float32 and float16: a convolution's bias and ReLU (in float16 with a factor, and the sum of two of them), its
 * pools' means and the last bias; pictures widened from bytes, scaled, and narrowed for the first convolution. */
static enum status plan_inception(struct device *d, struct error *e) {
    static const int shape[][3] = {{35, 64, 8}, {17, 192, 8}, {8, 2048, 8}, {1, 1008, 8}, {149, 32, 32}};
    enum status st = ST_OK;
    for (size_t i = 0; i < 2 * sizeof shape / sizeof *shape && st == ST_OK; i++) {
        int side = shape[i / 2][0], C = shape[i / 2][1], N = shape[i / 2][2];
        enum dtype type = i % 2 ? DT_F16 : DT_F32;
        struct buffer *b = buffer_create(d, (int64_t)4 * N * side * side * C, "x");
        struct graph *g = graph_create("inception");
        tensor *x = graph_input(g, b, 0, type, "x", 4, N, side, side, C);
        tensor *offset = graph_input(g, b, 0, DT_F32, "offset", 1, C);
        struct program *p;
        assign(g, x, lrelu(g, add(g, x, offset), 0));
        assign(g, x, add(g, x, offset));
        if (type == DT_F16) {
            tensor *rest = graph_input(g, b, (int64_t)2 * N * side * side * C, type, "rest", 4, N, side, side, C);
            assign(g, x, lrelu(g, add(g, scale(g, x, 2, 0), offset), 0));
            assign(g, x, lrelu(g, add(g, scale(g, add(g, x, scale(g, rest, 0.5f, 0)), 2, 0), offset), 0));
            tensor *wide = graph_input(g, b, 0, DT_F32, "wide", 4, N, side, side, C);
            assign(g, wide, cast(g, graph_input(g, b, 0, DT_U8, "bytes", 4, N, side, side, C), DT_F32));
            assign(g, wide, scale(g, wide, 1 / 128.0f, -1));
            assign(g, x, cast(g, wide, DT_F16));
        }
        tensor *mean = mean_axes(g, x, 1u << 1 | 1u << 2);
        assign(g, graph_input_shape(g, b, 0, DT_F32, "mean", mean->ndim, mean->dim), mean);
        if ((st = program_create(&p, g, d, e)) == ST_OK)
            program_free(p);
        graph_free(g);
        buffer_free(b);
    }
    return st;
}

int main(int argc, char **argv) {
    struct table t = {0};
    struct error e;
    if (argc != 2) {
        fprintf(stderr, "usage: fused_gen FOLDER\n");
        return 2;
    }
    struct device *d = device_dry(see, &t);
    enum status st = sg2_plan_standard(d, &e);
    if (st == ST_OK)
        st = plan_inception(d, &e);
    device_close(d);
    for (int part = 0; part < PARTS && st == ST_OK; part++) {
        char *text = NULL, *path = xasprintf("%s/fused_%d.cu", argv[1], part);
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);
        write_part(out, &t, part);
        if (fclose(out) || !replace(path, text, bytes))
            st = st_fail(&e, "%s: %m", path);
        free(text);
        free(path);
    }
    if (st != ST_OK)
        fprintf(stderr, "fused_gen: %s\n", e.text);
    else
        printf("fused_gen: %d kernels for %d launches of the standard programs, %d left to the interpreter\n", t.n, t.launches,
               t.missed);
    free(t.found);
    return st == ST_OK ? 0 : 1;
}
