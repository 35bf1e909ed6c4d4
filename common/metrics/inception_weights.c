/* inception_weights.c - see inception_weights.h. */
#include "common/metrics/inception_weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/installed.h"
#include "common/base/mem.h"
#include "common/store/graphdef.h"
#include "common/store/safetensors.h"
#include "common/store/torch_pickle.h"

#define WEIGHTS_NAME "pt_inception-2015-12-05-6726825d"
#define NAME_ROOM 128

struct inception_weights { /* one of the three */
    struct safetensors *safe;
    struct torch_file *torch;
    struct graphdef *graph;
};

enum status inception_find(const char *given, char *path, size_t room, struct error *e) {
    const char *named = given ? given : getenv("FACEMILL_INCEPTION");
    if (named && *named) {
        snprintf(path, room, "%s", named);
        return access(path, R_OK) == 0 ? ST_OK : st_fail(e, "%s: %m", path);
    }
    static const char *const files[] = {WEIGHTS_NAME ".pth", WEIGHTS_NAME ".safetensors", "classify_image_graph_def.pb"};
    const char *folder = getenv("FACEMILL_MODELS");
    char *share = installed_path("share/facemill/models"), *tree = installed_path("../models");
    const char *const folders[] = {folder ? folder : "models", "models", share, tree};
    bool found = false;
    for (int i = 0; i < 12 && !found; i++) {
        snprintf(path, room, "%s/%s", folders[i / 3], files[i % 3]);
        found = access(path, R_OK) == 0;
    }
    free(share);
    free(tree);
    if (found)
        return ST_OK;
    return st_fail(e, "Inception's weights %s.pth are not in ./models; they are published with the GitHub releases of "
                      "mseitzer/pytorch-fid (fid_weights): put the file there or name it with --inception", WEIGHTS_NAME);
}

enum status inception_weights_open(struct inception_weights **out, const char *path, struct error *e) {
    uint8_t head[32] = {0};
    *out = NULL;
    FILE *f = fopen(path, "rb");
    if (!f)
        return st_fail(e, "%s: %m", path);
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    struct inception_weights *w = xcalloc(1, sizeof *w);
    enum status st = torch_detect(head, n)                        ? torch_open(&w->torch, path, e)
                     : head[8] != '{' && graphdef_detect(head, n) ? graphdef_open(&w->graph, path, e)
                                                                  : safetensors_open(&w->safe, path, e);
    if (st == ST_OK)
        *out = w;
    else
        free(w);
    return st;
}

void inception_weights_close(struct inception_weights *w) {
    if (!w)
        return;
    safetensors_close(w->safe);
    torch_close(w->torch);
    graphdef_close(w->graph);
    free(w);
}

/* ---- names of the graph ---- */

/* "Mixed_6b.branch7x7dbl_3" -> "mixed_4/tower_1/conv_2". False for a layer that is not in the network. The graph numbers the blocks
 * through; within one, a branch of several convolutions is a tower and pairs side by side are a block inside it. */
static bool graph_layer(const char *layer, char *out, size_t room) {
    static const char *const stem[] = {"Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"};
    static const char *const block[] = {"5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"};
    char number[16];
    for (int i = 0; i < 5; i++)
        if (!strcmp(layer, stem[i])) {
            snprintf(number, sizeof number, i ? "_%d" : "", i);
            return snprintf(out, room, "conv%s", number) < (int)room;
        }
    int at = 0;
    while (at < 11 && (strncmp(layer, "Mixed_", 6) || strncmp(layer + 6, block[at], 2) || strncmp(layer + 8, ".branch", 7)))
        at++;
    if (at == 11)
        return false;
    const char *branch = layer + 15, *step = strrchr(branch, '_');
    snprintf(number, sizeof number, at ? "_%d" : "", at);
    if (!strcmp(branch, "1x1") || !strcmp(branch, "3x3"))
        return snprintf(out, room, "mixed%s/conv", number) < (int)room;
    if (!strcmp(branch, "_pool"))
        return snprintf(out, room, "mixed%s/tower_2/conv", number) < (int)room;
    if (!step || step[1] < '1' || step[1] > '5')
        return false;
    bool second = (strstr(branch, "dbl") && strncmp(layer + 6, "6a", 2)) || !strncmp(branch, "7x7x3", 5);
    int within = step[2] ? step[2] - 'a' : step[1] - '1';
    char conv[16];
    snprintf(conv, sizeof conv, within ? "_%d" : "", within);
    return snprintf(out, room, "mixed%s/tower%s/%sconv%s", number, second ? "_1" : "", step[2] ? "mixed/" : "", conv) < (int)room;
}

static const struct st_tensor *graph_find(const struct graphdef *g, const char *name, struct error *e) {
    static const struct { const char *ending, *node; } kinds[] = {
        {".conv.weight", "conv2d_params"}, {".bn.weight", "batchnorm/gamma"}, {".bn.bias", "batchnorm/beta"},
        {".bn.running_mean", "batchnorm/moving_mean"}, {".bn.running_var", "batchnorm/moving_variance"}};
    if (!strcmp(name, "fc.weight") || !strcmp(name, "fc.bias"))
        return graphdef_find(g, name[3] == 'w' ? "softmax/weights" : "softmax/biases");
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(name), m = strlen(kinds[i].ending);
        char layer[NAME_ROOM], node[NAME_ROOM], full[NAME_ROOM + 40];
        if (n <= m || strcmp(name + n - m, kinds[i].ending))
            continue;
        snprintf(layer, sizeof layer, "%.*s", (int)(n - m), name);
        if (!graph_layer(layer, node, sizeof node))
            return NULL;
        float epsilon = 0;
        bool scaled = false;
        snprintf(full, sizeof full, "%s/batchnorm", node);
        if (i && (!graphdef_batchnorm(g, full, &epsilon, &scaled) || fabsf(epsilon - 1e-3f) > 1e-6f)) {
            st_bad(e, "%s is no batch normalisation with epsilon 0.001: not the Inception graph of 2015-12-05", full);
            return NULL;
        }
        snprintf(full, sizeof full, "%s/%s", node, kinds[i].node);
        return graphdef_find(g, full);
    }
    return NULL;
}

/* True when the graph's normalisation of NAME ("....bn.weight") leaves gamma out. */
static bool gamma_unused(const struct graphdef *g, const char *name) {
    size_t n = strlen(name);
    char layer[NAME_ROOM], node[NAME_ROOM], full[NAME_ROOM + 16];
    float epsilon;
    bool scaled = true;
    if (n <= 10 || strcmp(name + n - 10, ".bn.weight"))
        return false;
    snprintf(layer, sizeof layer, "%.*s", (int)(n - 10), name);
    if (!graph_layer(layer, node, sizeof node))
        return false;
    snprintf(full, sizeof full, "%s/batchnorm", node);
    return graphdef_batchnorm(g, full, &epsilon, &scaled) && !scaled;
}

/* The graph's order of dimensions into ours: [R,S,C,K] -> [K,C,R,S], [C,K] -> [K,C]. */
static float *turn(const struct st_tensor *t, float *data) {
    int64_t R = t->ndim == 4 ? t->dim[0] : 1, S = t->ndim == 4 ? t->dim[1] : 1, C = t->dim[t->ndim - 2], K = t->dim[t->ndim - 1];
    float *out = xmalloc((size_t)t->count * sizeof *out);
    for (int64_t rs = 0; rs < R * S; rs++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t k = 0; k < K; k++)
                out[(k * C + c) * R * S + rs] = data[(rs * C + c) * K + k];
    free(data);
    return out;
}

/* ---- tensors ---- */

float *inception_weights_get(const struct inception_weights *w, int64_t dim[4], struct error *e, const char *format, ...) {
    char name[NAME_ROOM];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    st_bad(e, "tensor %s is missing: not the weights of FID's Inception", name);
    const struct st_tensor *t = w->safe    ? safetensors_find(w->safe, name)
                                : w->torch ? torch_find(w->torch, name)
                                           : graph_find(w->graph, name, e);
    if (!t)
        return NULL;
    int ndim = 0;
    while (ndim < 4 && dim[ndim] >= 0)
        ndim++;
    bool ok = t->ndim == ndim;
    for (int i = 0; ok && i < ndim; i++) {
        static const int graph4[] = {3, 2, 0, 1};
        int64_t have = t->dim[!w->graph || ndim == 1 ? i : ndim == 2 ? 1 - i : graph4[i]];
        ok = dim[i] == 0 ? have >= 1 && have <= 8 : have == dim[i];
        dim[i] = have;
    }
    if (!ok) {
        st_bad(e, "tensor %s has another shape than in FID's Inception", name);
        return NULL;
    }
    float *data = xmalloc((size_t)t->count * sizeof *data);
    st_to_f32(t, data);
    for (int64_t i = 0; w->graph && gamma_unused(w->graph, name) && i < t->count; i++)
        data[i] = 1;
    return w->graph && ndim > 1 ? turn(t, data) : data;
}
