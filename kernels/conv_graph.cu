/* conv_graph.cu - see conv_graph.h.
 *
 * A way is an engine's number and its knobs: small enough to write down, and enough to make the plan again. Whatever cuDNN refuses on the
 * way from a way to a plan that ran is left out silently: refusing is how it says that it has no such kernel.
 */
#include "kernels/conv_graph.h"

#include <math.h>
#include <string.h>

#define MOST_KNOBS 12
#define NAMED 4   /* of the heuristics' list that are tried; asking for the list takes 1.5 ms, trying one about 12, nearly all of it loading */
#define PROVEN 4  /* that have won before */

typedef cudnnBackendDescriptor_t desc;

struct way {
    int64_t engine;
    int n;
    int64_t knob[MOST_KNOBS], value[MOST_KNOBS];
};

/* The graph of one convolution, and of it a plan: descriptors refer to each other, so all are kept. */
struct conv_graph {
    desc x, w, y, conv, operation, graph;
};
struct conv_plan {
    struct conv_graph g;
    desc plan;
    size_t workspace;
    char text[CONV_PLAN_TEXT];
};

/* ---- descriptors ---- */
static desc create(cudnnBackendDescriptorType_t type) {
    desc d = NULL;
    return cudnnBackendCreateDescriptor(type, &d) == CUDNN_STATUS_SUCCESS ? d : NULL;
}
static void destroy(desc *d) {
    if (*d)
        cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}
static bool set(desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *values) {
    return d && cudnnBackendSetAttribute(d, name, type, n, values) == CUDNN_STATUS_SUCCESS;
}
static bool finish(desc d) { return d && cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS; }
static bool get(desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room, int64_t *n, void *values) {
    return d && cudnnBackendGetAttribute(d, name, type, room, n, values) == CUDNN_STATUS_SUCCESS;
}

/* dim: N,H,W,C; cuDNN wants N,C,H,W with strides. */
static desc tensor_of(cudnnDataType_t type, const int64_t dim[4], int64_t id) {
    const int64_t order[4] = {dim[0], dim[3], dim[1], dim[2]}, stride[4] = {dim[1] * dim[2] * dim[3], 1, dim[2] * dim[3], dim[3]}, alignment = 16;
    desc d = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    bool ok = set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
              set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, order) && set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride) &&
              set(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id) &&
              set(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment) && finish(d);
    if (!ok)
        destroy(&d);
    return d;
}

static void graph_free(struct conv_graph *g) {
    destroy(&g->graph);
    destroy(&g->operation);
    destroy(&g->conv);
    destroy(&g->x);
    destroy(&g->w);
    destroy(&g->y);
}

static bool graph_make(struct cuda_context *c, const struct conv_spec *s, struct conv_graph *g) {
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
    } kinds[3] = {{CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
                  {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
                  {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    const auto *k = &kinds[s->kind];
    const int64_t stride[2] = {s->stride, s->stride}, dilation[2] = {1, 1}, spatial = 2;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const float one = 1, zero = 0;
    memset(g, 0, sizeof *g);
    g->x = tensor_of(s->type, s->x, 'x');
    g->w = tensor_of(s->type, s->w, 'w');
    g->y = tensor_of(s->type, s->y, 'y');
    g->conv = create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    bool ok = g->x && g->w && g->y && set(g->conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, s->pad) &&
              set(g->conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, s->pad) && finish(g->conv);
    g->operation = ok ? create(k->type) : NULL;
    ok = ok && set(g->operation, k->conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->conv) && set(g->operation, k->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->x) &&
         set(g->operation, k->w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->w) && set(g->operation, k->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->y) &&
         set(g->operation, k->alpha, CUDNN_TYPE_FLOAT, 1, &one) && set(g->operation, k->beta, CUDNN_TYPE_FLOAT, 1, &zero) && finish(g->operation);
    g->graph = ok ? create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) : NULL;
    ok = ok && set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->operation) &&
         set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->dnn) && finish(g->graph);
    if (!ok)
        graph_free(g);
    return ok;
}

/* ---- ways ---- */
static desc engine_of(const struct conv_graph *g, int64_t number) {
    desc d = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (!(set(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->graph) &&
          set(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &number) && finish(d)))
        destroy(&d);
    return d;
}

static bool welcome(desc engine, const struct conv_spec *s) {
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behaviour[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t n = 0, m = 0;
    if (!get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, note) ||
        !get(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &m, behaviour))
        return false;
    const bool wide = s->type == CUDNN_DATA_FLOAT;
    bool tensor_cores = false;
    for (int i = 0; i < n; i++) {
        tensor_cores |= note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        bool winograd = note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD || note[i] == CUDNN_NUMERICAL_NOTE_FFT;
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || (winograd && !wide) ||
            (wide && (note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS || (note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && !s->tensor_cores))))
            return false;
    }
    for (int i = 0; i < m; i++)
        if (behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return false;
    return tensor_cores || !s->tensor_cores; /* three products without them would be three times too many */
}

static void write_way(const struct way *w, char text[CONV_PLAN_TEXT]) {
    int at = snprintf(text, CONV_PLAN_TEXT, "e%lld", (long long)w->engine);
    for (int i = 0; i < w->n && at < CONV_PLAN_TEXT; i++)
        at += snprintf(text + at, (size_t)(CONV_PLAN_TEXT - at), ",%lld=%lld", (long long)w->knob[i], (long long)w->value[i]);
    if (at >= CONV_PLAN_TEXT) /* one cut off would be another way: it is not read back, and measured again */
        *text = '?';
}

static bool read_way(const char *text, struct way *w) {
    char *end;
    memset(w, 0, sizeof *w);
    if (*text != 'e')
        return false;
    w->engine = strtoll(text + 1, &end, 10);
    while (*end == ',' && w->n < MOST_KNOBS) {
        w->knob[w->n] = strtoll(end + 1, &end, 10);
        if (*end != '=')
            return false;
        w->value[w->n++] = strtoll(end + 1, &end, 10);
    }
    return *end == 0 && w->engine >= 0;
}

/* What the heuristics made: its engine's number and its knobs. */
static bool way_of(desc config, struct way *w) {
    desc engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR), knob[MOST_KNOBS] = {NULL};
    int64_t n = 0, got = 0;
    bool ok = engine && get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got, &engine) &&
              get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got, &w->engine);
    for (int i = 0; i < MOST_KNOBS; i++)
        knob[i] = create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    ok = ok && get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_KNOBS, &n, knob) && n <= MOST_KNOBS;
    w->n = ok ? (int)n : 0;
    for (int i = 0; i < w->n && ok; i++) {
        cudnnBackendKnobType_t type;
        ok = get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &got, &type) &&
             get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &got, &w->value[i]);
        w->knob[i] = (int64_t)type;
    }
    for (int i = 0; i < MOST_KNOBS; i++)
        destroy(&knob[i]);
    destroy(&engine);
    return ok;
}

static bool same_way(const struct way *a, const struct way *b) {
    return a->engine == b->engine && a->n == b->n && !memcmp(a->knob, b->knob, sizeof a->knob[0] * (size_t)a->n) &&
           !memcmp(a->value, b->value, sizeof a->value[0] * (size_t)a->n);
}

static int append(struct way *list, int n, const struct way *w) {
    for (int i = 0; i < n; i++)
        if (same_way(&list[i], w))
            return n;
    list[n] = *w;
    return n + 1;
}

/* Appends the first of the heuristics' list, which comes in the order of cuDNN's liking. */
static int named(const struct conv_graph *g, struct way *list, int n) {
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    desc heuristics = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), config[NAMED] = {NULL};
    int64_t count = 0;
    bool ok = set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->graph) &&
              set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) && finish(heuristics);
    for (int i = 0; i < NAMED; i++)
        config[i] = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    ok = ok && get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, NAMED, &count, config);
    for (int i = 0; ok && i < count && i < NAMED; i++) {
        struct way w;
        memset(&w, 0, sizeof w);
        if (way_of(config[i], &w))
            n = append(list, n, &w);
    }
    for (int i = 0; i < NAMED; i++)
        destroy(&config[i]);
    destroy(&heuristics);
    return n;
}

/* ---- plans ---- */
/* The plan of a way; NULL when cuDNN or we do not want it. */
static desc plan_of(struct cuda_context *c, const struct conv_graph *g, const struct conv_spec *s, const struct way *w, size_t room, size_t *bytes) {
    desc engine = engine_of(g, w->engine), config = NULL, plan = NULL, knob[MOST_KNOBS] = {NULL};
    int64_t got = 0, need = 0;
    bool ok = engine && welcome(engine, s);
    for (int i = 0; i < w->n && ok; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)w->knob[i];
        knob[i] = create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        ok = set(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type) &&
             set(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &w->value[i]) && finish(knob[i]);
    }
    config = ok ? create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) : NULL;
    ok = ok && set(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine) &&
         (w->n == 0 || set(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, w->n, knob)) && finish(config);
    plan = ok ? create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) : NULL;
    ok = ok && set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->dnn) &&
         set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config) && finish(plan) &&
         get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got, &need) && need >= 0 && (size_t)need <= room;
    if (!ok)
        destroy(&plan);
    for (int i = 0; i < w->n; i++)
        destroy(&knob[i]);
    destroy(&config);
    destroy(&engine);
    *bytes = (size_t)need;
    return plan;
}

static cudnnStatus_t execute(struct cuda_context *c, desc plan, const void *x, const void *w, const void *y, void *work) {
    const int64_t id[3] = {'x', 'w', 'y'};
    const void *at[3] = {x, w, y};
    desc pack = create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    bool ok = set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, id) &&
              set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, at) &&
              set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &work) && finish(pack);
    cudnnStatus_t st = ok ? cudnnBackendExecute(c->dnn, plan, pack) : CUDNN_STATUS_BAD_PARAM;
    destroy(&pack);
    return st;
}

static struct conv_plan *make(struct cuda_context *c, const struct conv_spec *s, const struct way *w, size_t room) {
    struct conv_plan *p = (struct conv_plan *)calloc(1, sizeof *p);
    if (!p)
        abort();
    if (graph_make(c, s, &p->g))
        p->plan = plan_of(c, &p->g, s, w, room, &p->workspace);
    write_way(w, p->text);
    if (p->plan)
        return p;
    conv_plan_free(p);
    return NULL;
}

struct conv_plan *conv_plan_best(struct cuda_context *c, const struct conv_spec *s, int n_before, const char *const *before, size_t room,
                                 conv_plan_time *time, void *arg, float *least) {
    /* What won on an H200 with cuDNN 9.14, for want of anything that won here; elsewhere these are ways like others, or refused. */
    static const char *const won[3][PROVEN] = {
        {"e62,2=0,13=1,18=0,25=0,27=1,28=2", "e62,2=0,13=1,18=0,25=0,27=1,28=1", "e62,2=3,13=1,18=0,25=1,27=1,28=2", "e62,2=7,13=1,18=0,25=1,27=1,28=2"},
        {"e67,2=3,13=1,18=0,25=0,27=1,28=2", "e67,2=0,13=1,18=0,25=0,27=1,28=1", "e73,2=3,13=1,18=1,27=2,28=1", "e67,2=7,13=1,18=0,25=0,27=4,28=2"},
        {"e65,2=0,13=1,18=1,25=0,27=1,28=4", "e65,2=0,13=1,18=1,25=0,27=4,28=2", "e65,2=3,13=1,18=1,25=0,27=1,28=2", "e65,2=5,13=1,18=1,25=0,27=1,28=3"}};
    struct conv_graph g;
    struct way way[2 * PROVEN + NAMED];
    struct conv_plan *best = NULL;
    int n = 0;
    if (!graph_make(c, s, &g))
        return NULL;
    n = named(&g, way, n);
    graph_free(&g);
    for (int i = 0; i < n_before && i < PROVEN; i++) {
        struct way w;
        if (read_way(before[i], &w))
            n = append(way, n, &w);
    }
    for (int i = 0; i + n_before < PROVEN && s->type != CUDNN_DATA_FLOAT; i++) {
        struct way w;
        if (read_way(won[s->kind][i], &w))
            n = append(way, n, &w);
    }
    for (int i = 0; i < n; i++) {
        struct conv_plan *p = make(c, s, &way[i], room);
        float ms = p ? time(arg, p, *least) : INFINITY;
        if (ms < *least) {
            struct conv_plan *slower = best;
            best = p, p = slower, *least = ms;
        }
        conv_plan_free(p);
    }
    return best;
}

struct conv_plan *conv_plan_make(struct cuda_context *c, const struct conv_spec *s, const char *text, size_t room) {
    struct way w;
    return read_way(text, &w) ? make(c, s, &w, room) : NULL;
}

const char *conv_plan_text(const struct conv_plan *p) { return p->text; }
size_t conv_plan_workspace(const struct conv_plan *p) { return p->workspace; }

cudnnStatus_t conv_plan_run(struct cuda_context *c, const struct conv_plan *p, const void *x, const void *w, const void *y, void *work) {
    return execute(c, p->plan, x, w, y, work);
}

void conv_plan_free(struct conv_plan *p) {
    if (!p)
        return;
    destroy(&p->plan);
    graph_free(&p->g);
    free(p);
}
