/* tensor_file.c - see tensor_file.h. */
#include "common/store/tensor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/rosinality.h"
#include "common/store/torch_pickle.h"

struct tensor_file {
    struct safetensors *safe; /* one of the two */
    struct torch_file *torch;
    enum tensor_layout layout;
    struct tensor_hints hints;
    struct st_tensor *tensors; /* rosinality's, renamed; names and rescaled data are owned */
    float **scaled;
    int n, n_scaled;
};

/* ---- rosinality's layout ---- */

struct rename {
    struct tensor_file *f;
    const char *prefix, *ours; /* "g_ema." -> "G_ema." */
    struct error *e;
    enum status st;
};

static void add(struct tensor_file *f, const struct st_tensor *t, char *name) {
    f->tensors = xrealloc(f->tensors, ((size_t)f->n + 1) * sizeof *f->tensors);
    f->tensors[f->n] = *t;
    f->tensors[f->n++].name = name;
}

/* Adds theirs under our name and with our shape. What is absent here is missed later, by our name. */
static void rename_one(void *context, const struct rosinality_pair *p) {
    struct rename *r = context;
    char theirs[96];
    snprintf(theirs, sizeof theirs, "%s%s", r->prefix, p->theirs);
    const struct st_tensor *have = torch_find(r->f->torch, theirs);
    if (!have || r->st != ST_OK)
        return;
    struct st_tensor t = *have;
    bool fits = t.ndim == p->lead + p->ndim + p->trail;
    for (int i = 0; i < t.ndim; i++)
        fits &= (i >= p->lead && i < p->lead + p->ndim) || t.dim[i] == 1;
    if (!fits) {
        r->st = st_bad(r->e, "tensor %s has another shape than in rosinality's layout", theirs);
        return;
    }
    t.ndim = p->ndim;
    memset(t.dim, 0, sizeof t.dim);
    memcpy(t.dim, have->dim + p->lead, (size_t)p->ndim * sizeof *t.dim);
    if (p->scale != 1) {
        float *x = xmalloc((size_t)t.count * sizeof *x + 1);
        st_to_f32(&t, x);
        for (int64_t i = 0; i < t.count; i++)
            x[i] /= p->scale;
        r->f->scaled = xrealloc(r->f->scaled, ((size_t)r->f->n_scaled + 1) * sizeof *r->f->scaled);
        r->f->scaled[r->f->n_scaled++] = x;
        t.dtype = DT_F32;
        t.data = x;
    }
    add(r->f, &t, xasprintf("%s%s", r->ours, p->ours));
}

static const struct st_tensor *find(const struct tensor_file *f, const char *prefix, const char *format, int number) {
    char part[64], whole[96];
    snprintf(part, sizeof part, format, number);
    snprintf(whole, sizeof whole, "%s%s", prefix, part);
    return torch_find(f->torch, whole);
}

/* The generator and discriminator under each name they may have. Does nothing when there is none of this layout. */
static enum status read_rosinality(struct tensor_file *f, struct error *e) {
    static const char *const names[][2] = {{"g_ema.", "G_ema."}, {"g.", "G."}, {"", "G_ema."}};
    int found = 0;
    for (int i = 0; i < 3 && !(i == 2 && found); i++) {
        struct rename r = {.f = f, .prefix = names[i][0], .ours = names[i][1], .e = e};
        int res = 4, layers = 0;
        if (!find(f, r.prefix, "conv1.conv.modulation.weight", 0) || !find(f, r.prefix, "input.input", 0))
            continue;
        for (int k = 0; res < 1024 && find(f, r.prefix, "to_rgbs.%d.conv.weight", k); k++)
            res *= 2;
        while (layers < 64 && find(f, r.prefix, "style.%d.weight", layers + 1))
            layers++;
        rosinality_generator(res, layers, rename_one, &r);
        if (r.st != ST_OK)
            return r.st;
        const struct st_tensor *average = torch_find(f->torch, "latent_avg");
        if (average && average->count > 1) {
            struct st_tensor t = *average; /* [w], or [1,w] of some writers */
            t.ndim = 1;
            t.dim[0] = t.count;
            add(f, &t, xasprintf("%smapping.w_avg", r.ours));
        }
        found = res;
    }
    if (!found)
        return ST_OK;
    struct rename r = {.f = f, .prefix = "d.", .ours = "D.", .e = e};
    rosinality_discriminator(found, rename_one, &r);
    f->layout = TENSORS_ROSINALITY;
    f->hints = (struct tensor_hints){.known = true, .mbstd_group = 4};
    return r.st;
}

/* ---- NVIDIA's modules: attributes that change what the network computes ---- */

static bool number(const struct torch_value *module, const char *name, double *out) {
    const struct torch_value *v = torch_item(module, name);
    if (!v || (v->type != TORCH_INT && v->type != TORCH_FLOAT && v->type != TORCH_BOOL))
        return false;
    *out = v->type == TORCH_FLOAT ? v->number : (double)v->integer;
    return true;
}

static bool other_text(const struct torch_value *module, const char *name, const char *expected) {
    const struct torch_value *v = torch_item(module, name);
    return v && v->type == TORCH_TEXT && strcmp(v->text, expected);
}

static enum status read_generator(struct tensor_file *f, const struct torch_value *g, struct error *e) {
    const struct torch_value *conv = torch_module(g, "synthesis.b4.conv1"), *fc = torch_module(g, "mapping.fc0");
    double clamp = 0, rate = 0.01;
    if (!conv)
        return ST_OK; /* another architecture: said later, by the tensors it lacks */
    if (other_text(torch_module(g, "synthesis.b4"), "architecture", "skip"))
        return st_bad(e, "its synthesis network is no \"skip\" architecture");
    if (other_text(conv, "activation", "lrelu") || other_text(fc, "activation", "lrelu"))
        return st_bad(e, "its activation is not \"lrelu\"");
    if (number(fc, "bias_gain", &rate) && fabs(rate - 0.01) > 1e-6)
        return st_bad(e, "its mapping network has the learning rate multiplier %g, not 0.01", rate);
    if (number(conv, "conv_clamp", &clamp) && !(clamp >= 0 && clamp < 1e9))
        return st_bad(e, "its conv_clamp is %g", clamp);
    f->hints.conv_clamp = (float)clamp;
    f->hints.known = true;
    return ST_OK;
}

static enum status read_modules(struct tensor_file *f, struct error *e) {
    static const char *const names[] = {"", "G", "G_ema"};
    const struct torch_value *root = torch_root(f->torch);
    double group = 0;
    for (int i = 0; i < 3; i++) {
        const struct torch_value *g = torch_module(root, names[i]);
        enum status st = g ? read_generator(f, g, e) : ST_OK;
        if (st != ST_OK)
            return st;
        if (g)
            f->layout = TENSORS_NVIDIA;
    }
    const struct torch_value *mbstd = torch_module(root, "D.b4.mbstd");
    bool counted = number(mbstd, "group_size", &group) && group >= 1 && group <= 4096;
    f->hints.mbstd_group = counted ? (int)group : mbstd ? 0 : 4;
    return ST_OK;
}

/* ---- opening ---- */

static enum status finish(struct tensor_file **out, struct tensor_file *f, const char *name, enum status st, struct error *e) {
    if (st == ST_OK && f->torch) {
        f->layout = TENSORS_TORCH;
        st = read_modules(f, e);
        if (st == ST_OK && f->layout == TENSORS_TORCH)
            st = read_rosinality(f, e);
        if (st != ST_OK)
            st_prefix(st, e, "%s", name);
    }
    if (st != ST_OK) {
        tensor_file_close(f);
        f = NULL;
    }
    *out = f;
    return st;
}

enum status tensor_file_parse(struct tensor_file **out, const void *bytes, uint64_t size, const char *name, struct error *e) {
    struct tensor_file *f = xcalloc(1, sizeof *f);
    enum status st = torch_detect(bytes, size) ? torch_parse(&f->torch, bytes, size, name, e)
                                               : safetensors_parse(&f->safe, bytes, size, name, e);
    return finish(out, f, name, st, e);
}

/* The first bytes of a regular file; none of anything else, whose reader then says what is wrong. */
static ssize_t look(const char *path, uint8_t head[16]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? 0 : pread(fd, head, 16, 0);
    if (fd >= 0)
        close(fd);
    return n > 0 ? n : 0;
}

enum status tensor_file_open(struct tensor_file **out, const char *path, struct error *e) {
    struct tensor_file *f = xcalloc(1, sizeof *f);
    uint8_t head[16];
    ssize_t n = look(path, head);
    enum status st = torch_detect(head, (uint64_t)n) ? torch_open(&f->torch, path, e) : safetensors_open(&f->safe, path, e);
    return finish(out, f, path, st, e);
}

void tensor_file_close(struct tensor_file *f) {
    if (!f)
        return;
    for (int i = 0; i < f->n; i++)
        free((char *)f->tensors[i].name);
    for (int i = 0; i < f->n_scaled; i++)
        free(f->scaled[i]);
    free(f->tensors);
    free(f->scaled);
    safetensors_close(f->safe);
    torch_close(f->torch);
    free(f);
}

/* ---- asking ---- */

enum tensor_layout tensor_file_layout(const struct tensor_file *f) { return f->layout; }

const char *tensor_layout_name(enum tensor_layout layout) {
    static const char *const names[] = {"safetensors", "torch.save", "NVIDIA pickle", "torch.save, rosinality's layout"};
    return names[layout];
}

int tensor_file_count(const struct tensor_file *f) {
    return f->safe ? safetensors_count(f->safe) : f->layout == TENSORS_ROSINALITY ? f->n : torch_count(f->torch);
}

const struct st_tensor *tensor_file_at(const struct tensor_file *f, int i) {
    return f->safe ? safetensors_at(f->safe, i) : f->layout == TENSORS_ROSINALITY ? &f->tensors[i] : torch_at(f->torch, i);
}

const struct st_tensor *tensor_file_find(const struct tensor_file *f, const char *name) {
    if (f->safe)
        return safetensors_find(f->safe, name);
    if (f->layout != TENSORS_ROSINALITY)
        return torch_find(f->torch, name);
    for (int i = 0; i < f->n; i++) /* a few hundred */
        if (!strcmp(f->tensors[i].name, name))
            return &f->tensors[i];
    return NULL;
}

const char *tensor_file_metadata(const struct tensor_file *f, const char *key) {
    return f->safe ? safetensors_metadata(f->safe, key) : NULL;
}

struct tensor_hints tensor_file_hints(const struct tensor_file *f) { return f->hints; }
