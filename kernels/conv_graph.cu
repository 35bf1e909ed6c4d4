/* conv_graph.cu - see conv_graph.h.
 *
 * A way is an engine's number and its knobs: small enough to write down, and enough to make the plan again. Whatever cuDNN refuses on the
 * way from a way to a plan that ran is left out silently: refusing is how it says that it has no such kernel.
 */
#include "kernels/conv_graph.h"

#include <string.h>

#define MOST_WAYS 64  /* of each list of the heuristics */
#define MOST_KNOBS 12
#define MOST_VALUES 16 /* of a knob, that are tried */
#define FINALISTS 4

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
    float ms;
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
    for (int i = 0; i < n; i++) {
        bool winograd = note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD || note[i] == CUDNN_NUMERICAL_NOTE_FFT;
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || (winograd && !wide) ||
            (wide && (note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS || (note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && !s->tensor_cores))))
            return false;
    }
    for (int i = 0; i < m; i++)
        if (behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return false;
    return true;
}

static void write_way(const struct way *w, char text[CONV_PLAN_TEXT]) {
    int at = snprintf(text, CONV_PLAN_TEXT, "e%lld", (long long)w->engine);
    for (int i = 0; i < w->n && at < CONV_PLAN_TEXT; i++) /* one cut off is not read back, and measured again */
        at += snprintf(text + at, (size_t)(CONV_PLAN_TEXT - at), ",%lld=%lld", (long long)w->knob[i], (long long)w->value[i]);
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

/* Appends at most `most` of one list that are not there yet; they come in the order of cuDNN's liking. */
static int named(const struct conv_graph *g, cudnnBackendHeurMode_t mode, struct way *list, int n, int most) {
    const int room = n + most;
    desc heuristics = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), config[MOST_WAYS] = {NULL};
    int64_t count = 0;
    bool ok = set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->graph) &&
              set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) && finish(heuristics);
    for (int i = 0; i < MOST_WAYS; i++)
        config[i] = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    ok = ok && get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_WAYS, &count, config);
    for (int i = 0; ok && i < count && i < MOST_WAYS && n < room; i++) {
        bool known = !way_of(config[i], &list[n]);
        for (int k = 0; k < n && !known; k++)
            known = same_way(&list[k], &list[n]);
        n += !known;
    }
    for (int i = 0; i < MOST_WAYS; i++)
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

struct measuring {
    struct cuda_context *c;
    const struct conv_graph *g;
    const struct conv_spec *s;
    const void *x, *w, *y;
    void *work;
    size_t room;
    cudaEvent_t start, stop;
};

/* Milliseconds of a run, the least of `runs` after one that loads the kernel; infinite where it cannot. */
static float time_way(const struct measuring *m, const struct way *w, int runs, float worth) {
    size_t bytes;
    float least = INFINITY;
    desc plan = plan_of(m->c, m->g, m->s, w, m->room, &bytes);
    for (int i = 0; plan && i <= runs; i++) {
        float ms = 0;
        CUDA_CHECK(cudaEventRecord(m->start, m->c->stream));
        if (execute(m->c, plan, m->x, m->w, m->y, m->work) != CUDNN_STATUS_SUCCESS) {
            least = INFINITY;
            break;
        }
        CUDA_CHECK(cudaEventRecord(m->stop, m->c->stream));
        CUDA_CHECK(cudaEventSynchronize(m->stop));
        CUDA_CHECK(cudaEventElapsedTime(&ms, m->start, m->stop));
        if (i && ms < least)
            least = ms;
        if (i && least > worth)
            break;
    }
    destroy(&plan);
    return least;
}

/* Every value of every knob, the others as they are; keeps what is faster. */
static void turn_knobs(const struct measuring *m, struct way *best, float *least) {
    for (int i = 0; i < best->n; i++) {
        desc engine = engine_of(m->g, best->engine), info[2 * MOST_KNOBS] = {NULL};
        int64_t n = 0, got, low = 0, high = -1, step = 1;
        for (int k = 0; k < 2 * MOST_KNOBS; k++)
            info[k] = create(CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR);
        bool ok = get(engine, CUDNN_ATTR_ENGINE_KNOB_INFO, CUDNN_TYPE_BACKEND_DESCRIPTOR, 2 * MOST_KNOBS, &n, info);
        for (int k = 0; ok && k < n && k < 2 * MOST_KNOBS; k++) {
            cudnnBackendKnobType_t type;
            if (!get(info[k], CUDNN_ATTR_KNOB_INFO_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &got, &type) || (int64_t)type != best->knob[i])
                continue;
            get(info[k], CUDNN_ATTR_KNOB_INFO_MINIMUM_VALUE, CUDNN_TYPE_INT64, 1, &got, &low);
            get(info[k], CUDNN_ATTR_KNOB_INFO_MAXIMUM_VALUE, CUDNN_TYPE_INT64, 1, &got, &high);
            get(info[k], CUDNN_ATTR_KNOB_INFO_STRIDE, CUDNN_TYPE_INT64, 1, &got, &step);
        }
        for (int k = 0; k < 2 * MOST_KNOBS; k++)
            destroy(&info[k]);
        destroy(&engine);
        if (step < 1)
            step = 1;
        struct way winner = *best;
        int tried = 0;
        for (int64_t v = low; v <= high && tried < MOST_VALUES; v += step, tried++) {
            struct way w = *best;
            w.value[i] = v;
            if (same_way(&w, best))
                continue;
            float ms = time_way(m, &w, 3, *least);
            if (ms < *least * 0.98f) /* more than noise */
                *least = ms, winner = w;
        }
        *best = winner;
    }
}

static struct conv_plan *keep(struct cuda_context *c, const struct conv_spec *s, const struct conv_graph *g, const struct way *w, size_t room) {
    struct conv_plan *p = (struct conv_plan *)calloc(1, sizeof *p);
    if (!p)
        abort();
    p->g = *g;
    p->plan = plan_of(c, g, s, w, room, &p->workspace);
    write_way(w, p->text);
    if (!p->plan) {
        conv_plan_free(p);
        return NULL;
    }
    return p;
}

struct conv_plan *conv_plan_best(struct cuda_context *c, const struct conv_spec *s, void *x, void *w, void *y, void *work, size_t room) {
    static const struct {
        cudnnBackendHeurMode_t mode;
        int most, most_weight_grad; /* of 30 to 40, as many more, and a few: each takes about 5 ms to try */
    } lists[] = {{CUDNN_HEUR_MODE_A, 12, 16}, {CUDNN_HEUR_MODE_B, 6, 12}, {CUDNN_HEUR_MODE_FALLBACK, 4, 4}};
    const char *wish = getenv("FACEMILL_CUDA_CONV");
    bool all = wish && !strcmp(wish, "all");
    struct conv_graph g;
    if (!graph_make(c, s, &g))
        return NULL;
    struct measuring m = {c, &g, s, x, w, y, work, room, NULL, NULL};
    struct way *way = (struct way *)calloc(3 * MOST_WAYS + 1, sizeof *way);
    float ms[3 * MOST_WAYS + 1], least = INFINITY;
    int n = 0, best = -1;
    if (!way)
        abort();
    CUDA_CHECK(cudaEventCreate(&m.start));
    CUDA_CHECK(cudaEventCreate(&m.stop));
    for (int i = 0; i < 3; i++)
        n = named(&g, lists[i].mode, way, n, all ? MOST_WAYS : s->kind == CONV_WEIGHT_GRAD ? lists[i].most_weight_grad : lists[i].most);
    for (int i = 0; i < n; i++) {
        ms[i] = time_way(&m, &way[i], 2, least * 1.1f);
        if (ms[i] < least)
            least = ms[i];
    }
    least = INFINITY;
    for (int f = 0; f < FINALISTS; f++) { /* the fastest again, longer */
        int next = -1;
        for (int i = 0; i < n; i++)
            if (ms[i] < INFINITY && (next < 0 || ms[i] < ms[next]))
                next = i;
        if (next < 0)
            break;
        float again = time_way(&m, &way[next], 6, INFINITY);
        ms[next] = INFINITY;
        if (again < least)
            least = again, best = next;
    }
    if (best >= 0 && s->kind == CONV_WEIGHT_GRAD)
        turn_knobs(&m, &way[best], &least);
    struct conv_plan *p = best >= 0 ? keep(c, s, &g, &way[best], room) : NULL;
    if (p)
        p->ms = least;
    if (p && getenv("FACEMILL_CUDA_CONV_TALK"))
        fprintf(stderr, "cuDNN: %d ways, best %s, %.3f ms, %zu bytes\n", n, p->text, least, p->workspace);
    if (best < 0)
        graph_free(&g);
    cudaEventDestroy(m.start);
    cudaEventDestroy(m.stop);
    free(way);
    return p;
}

struct conv_plan *conv_plan_make(struct cuda_context *c, const struct conv_spec *s, const char *text, size_t room) {
    struct conv_graph g;
    struct way w;
    return read_way(text, &w) && graph_make(c, s, &g) ? keep(c, s, &g, &w, room) : NULL;
}

float conv_plan_ms(const struct conv_plan *p) { return p->ms; }
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
