/* sg2-latent.c - makes and changes latents: a filter on latent streams (NumPy arrays). sg2-latent.1 is the manual. One function a
 * command; what is computed lies in common/latent. Rows go through a few at a time, so that memory does not grow with their number.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/latent/edit.h"
#include "common/latent/stream.h"
#include "common/latent/whole.h"
#include "common/rng/numpy_rng.h"
#include "common/rng/philox.h"
#include "common/store/checkpoint.h"
#include "common/stylegan2/generator.h"

#define USE_Z 0x5au         /* as sg2-gen: `use` of Philox for z, key = seed, index 0 */
#define MAX_SEEDS 100000000 /* 800 MB of numbers */
#define MAX_NUMBERS 4096    /* in --trunc */
#define MAP_BATCH 32        /* latents mapped at a time */

enum { SPACE_PLUS, SPACE_W };
static struct {
    const char *network, *seeds, *trunc, *rows;
    long dim, cutoff, class, threads;
    int rng, space;
    bool json;
} o = {.trunc = "1", .dim = 512, .cutoff = -1, .class = LONG_MIN};

static const struct cli_option options[] = {
    {'n', "network", "FILE", CLI_STRING, &o.network, 0, 0, "network, snapshot or checkpoint (safetensors)"},
    {'s', "seeds", "LIST", CLI_STRING, &o.seeds, 0, 0, "sample: seeds such as 0-99,150"},
    {0, "rng", "numpy|philox", CLI_CHOICE, &o.rng, 0, 0, "how a seed becomes z; numpy = RandomState(seed).randn, as everywhere"},
    {0, "dim", "N", CLI_INT, &o.dim, 1, 4096, "sample: size of z; --network knows it"},
    {'t', "trunc", "PSI,...", CLI_STRING, &o.trunc, 0, 0, "map, truncate: w moves to this share of its distance from the mean"},
    {0, "cutoff", "N", CLI_INT, &o.cutoff, -1, 64, "truncate the first N layers only; -1 = all"},
    {'c', "class", "K", CLI_INT, &o.class, 0, 1e6, "map: class, for conditional networks"},
    {0, "space", "w+|w", CLI_CHOICE, &o.space, 0, 0, "map: what to write"},
    {0, "rows", "LIST", CLI_STRING, &o.rows, 0, 0, "cat: these rows of the whole, in this order; the first is 0"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "info: a line of JSON for each array"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-latent",
    .synopsis = "sample|map|mean|truncate|cat|info [options] [FILE...] [< latents] > latents",
    .purpose = "Makes and changes latents of StyleGAN2 networks: NumPy arrays, z [N,z], w [N,w] or w+ [N,num_ws,w], one after another.",
    .options = options,
    .examples = "sg2-latent sample --seeds 0-99 | sg2-latent map -n net.safetensors --trunc 0.7 | sg2-gen -n net.safetensors -\n"
                "sg2-latent map -n net.safetensors <z.npy | sg2-latent truncate -n net.safetensors --trunc 0,0.5,1 >sweep.npy\n"};

/* ---- the command line ---- */

static void refuse_options(const char *command, const char *allowed) {
    for (const struct cli_option *x = options; x->name || x->type == CLI_HEADING; x++) {
        char word[40];
        if (!x->name || !cli_given(x->name))
            continue;
        snprintf(word, sizeof word, " %s ", x->name);
        if (!strstr(allowed, word))
            cli_usage("%s takes no --%s", command, x->name);
    }
}

static void must(enum status st, const struct error *e) {
    if (st != ST_OK)
        cli_die("%s", e->text);
}

/* "-1,0,2.5" -> numbers; the caller frees. */
static double *numbers(const char *option, const char *text, double low, double high, int *n) {
    double *v = NULL;
    char word[64];
    *n = 0;
    for (const char *p = text;; p++) {
        size_t size = strcspn(p, ",");
        v = xrealloc(v, (size_t)(*n + 1) * sizeof *v);
        snprintf(word, sizeof word, "%.*s", (int)(size < 63 ? size : 63), p);
        if (*n == MAX_NUMBERS || size > 62 || !cli_parse_float(word, low, high, &v[*n]))
            cli_usage("--%s takes numbers from %g to %g such as 0,0.5,1, not \"%s\"", option, low, high, text);
        ++*n;
        p += size;
        if (!*p)
            return v;
    }
}

static FILE *open_latents(const char *name) {
    if (!strcmp(name, "-")) {
        cli_need_stream_stdin("a latent stream (NumPy arrays)");
        return stdin;
    }
    FILE *f = fopen(name, "rb");
    if (!f)
        cli_die("%s: %s", name, strerror(errno));
    return f;
}

static const char *shown(const char *name) { return strcmp(name, "-") ? name : "stdin"; }

static void close_latents(FILE *f) {
    if (f != stdin)
        fclose(f);
}

/* The one operand of a filter: a file, or standard input. */
static const char *only(const char *command, char **operand, int n) {
    if (n > 1)
        cli_usage("%s takes one file of latents, or reads standard input", command);
    cli_need_binary_stdout("a latent stream");
    return n ? operand[0] : "-";
}

static int filter(const char *name, const struct latent_filter *f) {
    struct error e;
    FILE *in = open_latents(name);
    must(latent_filter(in, shown(name), stdout, f, &e), &e);
    close_latents(in);
    return EXIT_OK;
}

/* ---- seeds and networks ---- */

static uint64_t *parse_seeds(size_t *n) {
    uint64_t *seeds;
    if (!cli_parse_ranges(o.seeds, &seeds, n, MAX_SEEDS))
        cli_usage("--seeds takes numbers and ranges such as 0-99,150, not \"%s\"", o.seeds);
    for (size_t i = 0; i < *n; i++)
        if (o.rng == 0 && seeds[i] > UINT32_MAX)
            cli_usage("seed %llu is over 2^32-1, NumPy's limit; --rng philox takes it", (unsigned long long)seeds[i]);
    return seeds;
}

static void make_z(uint64_t seed, float *z, int dim) {
    if (o.rng == 0)
        numpy_randn((uint32_t)seed, z, dim);
    else
        philox_fill_normal(seed, 0, USE_Z, z, dim);
}

struct model {
    struct device *device;
    struct sg2_net *net;
    struct sg2_config config;
    float *mean; /* [w_dim] */
};

static void load_model(struct model *m, bool weights) {
    struct error e;
    struct checkpoint *file;
    *m = (struct model){0};
    if (!o.network)
        cli_usage("--network FILE is needed");
    must(checkpoint_open(&file, o.network, &e), &e);
    m->config = *checkpoint_config(file);
    if (weights) {
        must(device_open(&m->device, "cpu", (int)o.threads, &e), &e);
        must(checkpoint_generator(file, m->device, &m->net, &e), &e);
        m->mean = xmalloc((size_t)m->config.w_dim * sizeof *m->mean);
        sg2_tensor_get(sg2_net_find(m->net, "mapping.w_avg"), m->net->state, m->mean);
    }
    checkpoint_close(file);
}

static void free_model(struct model *m) {
    free(m->mean);
    sg2_net_free(m->net);
    if (m->device)
        device_close(m->device);
}

/* ---- sample, mean, map, truncate ---- */

static int sample(char **operand, int n) {
    struct error e;
    struct model m;
    size_t count;
    (void)operand;
    refuse_options("sample", " seeds rng dim network quiet ");
    if (n || !o.seeds)
        cli_usage("sample takes --seeds LIST and no file");
    if (o.network && cli_given("dim"))
        cli_usage("--dim and --network exclude each other");
    uint64_t *seeds = parse_seeds(&count);
    cli_need_binary_stdout("a latent stream");
    struct latent_shape s = {.dim = (int)o.dim};
    if (o.network) {
        load_model(&m, false);
        s.dim = m.config.z_dim;
    }
    float *z = xmalloc((size_t)s.dim * sizeof *z);
    must(latent_head(stdout, s, (int64_t)count, &e), &e);
    for (size_t i = 0; i < count; i++) {
        make_z(seeds[i], z, s.dim);
        must(latent_write(stdout, s, z, 1, &e), &e);
    }
    free(z);
    free(seeds);
    return EXIT_OK;
}

static int mean(char **operand, int n) {
    struct error e;
    refuse_options("mean", " network quiet ");
    const char *name = only("mean", operand, n);
    if (o.network) {
        struct model m;
        if (n)
            cli_usage("mean takes --network or latents, not both");
        load_model(&m, true);
        struct latent_shape s = {.dim = m.config.w_dim};
        must(latent_head(stdout, s, 1, &e), &e);
        must(latent_write(stdout, s, m.mean, 1, &e), &e);
        free_model(&m);
        return EXIT_OK;
    }
    FILE *in = open_latents(name);
    struct latent_shape s;
    float *out = NULL;
    must(latent_mean(in, shown(name), &s, &out, &e), &e);
    close_latents(in);
    must(latent_head(stdout, s, 1, &e), &e);
    must(latent_write(stdout, s, out, 1, &e), &e);
    free(out);
    return EXIT_OK;
}

struct mapper {
    struct sg2_generator *generator;
    int *labels;
    float *ws; /* [MAP_BATCH,num_ws,w_dim] */
    struct sg2_config config;
    bool plus;
};

static enum status map_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    const struct mapper *m = context;
    char shape[32];
    (void)factor;
    if (in.layers || in.dim != m->config.z_dim)
        return st_bad(e, "an array of %s is no z of this network, which is [N,%d]", latent_text(in, shape), m->config.z_dim);
    *out = (struct latent_shape){m->plus ? sg2_num_ws(&m->config) : 0, m->config.w_dim};
    return ST_OK;
}

static void map_rows(void *context, const float *in, int64_t n, float *out) {
    const struct mapper *m = context;
    const struct sg2_latents l = {.n = n, .z = in, .labels = m->labels};
    size_t w = (size_t)m->config.w_dim, layers = (size_t)sg2_num_ws(&m->config);
    sg2_generate_ws(m->generator, &l, m->plus ? out : m->ws);
    for (size_t i = 0; i < (size_t)n && !m->plus; i++)
        memcpy(out + i * w, m->ws + i * layers * w, w * sizeof *out);
}

static struct mapper open_mapper(const struct model *model, double psi, int cutoff, bool plus) {
    struct error e;
    const struct sg2_config *c = &model->config;
    struct mapper m = {.config = *c, .plus = plus};
    if (o.class != LONG_MIN && o.class >= c->c_dim)
        cli_usage(c->c_dim ? "--class %ld: the network has classes 0-%d" : "--class %ld: the network has no classes", o.class,
                  c->c_dim - 1);
    if (c->c_dim > 0 && o.class == LONG_MIN)
        cli_usage("the network has %d classes: say which with --class", c->c_dim);
    struct sg2_generator_opt go = {.batch = MAP_BATCH, .noise = SG2_NOISE_NONE, .psi = (float)psi, .cutoff = cutoff, .mapping_only = true};
    must(sg2_generator_create(&m.generator, model->device, model->net, &go, &e), &e);
    m.ws = xmalloc(MAP_BATCH * (size_t)sg2_num_ws(c) * (size_t)c->w_dim * sizeof *m.ws);
    m.labels = xcalloc(MAP_BATCH, sizeof *m.labels);
    for (int i = 0; i < MAP_BATCH && c->c_dim > 0; i++)
        m.labels[i] = (int)o.class;
    return m;
}

static void close_mapper(struct mapper *m) {
    sg2_generator_free(m->generator);
    free(m->labels);
    free(m->ws);
}

static int map(char **operand, int n) {
    struct model model;
    int n_psi;
    refuse_options("map", " network trunc cutoff class space threads quiet ");
    const char *name = only("map", operand, n);
    double *psi = numbers("trunc", o.trunc, -10, 10, &n_psi);
    if (n_psi != 1)
        cli_usage("map takes one --trunc; several are for truncate");
    if (o.space == SPACE_W && o.cutoff >= 0)
        cli_usage("--cutoff makes layers differ, which --space w cannot hold");
    load_model(&model, true);
    struct mapper m = open_mapper(&model, psi[0], (int)o.cutoff, o.space == SPACE_PLUS);
    filter(name, &(struct latent_filter){map_shape, map_rows, &m, MAP_BATCH});
    close_mapper(&m);
    free_model(&model);
    free(psi);
    return EXIT_OK;
}

struct truncation {
    struct model model;
    struct latent_shape in, out; /* of the array at hand */
    double *psi;
    int n;
    uint64_t layers;
    float *wide; /* [num_ws,w_dim] */
};

/* An array of w or w+ of the network. */
static enum status check_w(const struct model *m, struct latent_shape in, struct error *e) {
    char shape[32];
    if (in.dim != m->config.w_dim || (in.layers && in.layers != sg2_num_ws(&m->config)))
        return st_bad(e, "an array of %s is neither w nor w+ of this network: [N,%d], [N,%d,%d]", latent_text(in, shape),
                      m->config.w_dim, sg2_num_ws(&m->config), m->config.w_dim);
    return ST_OK;
}

static enum status truncate_shape(void *context, struct latent_shape in, struct latent_shape *out, int64_t *factor, struct error *e) {
    struct truncation *t = context;
    t->in = t->out = in;
    if (o.cutoff >= 0)
        t->out.layers = sg2_num_ws(&t->model.config);
    *out = t->out;
    *factor = t->n;
    return check_w(&t->model, in, e);
}

static void truncate_rows(void *context, const float *in, int64_t n, float *out) {
    struct truncation *t = context;
    for (int64_t i = 0; i < n; i++, in += latent_size(t->in)) {
        const float *row = in;
        if (t->out.layers != t->in.layers) {
            latent_broadcast(in, t->out.layers, t->in.dim, t->wide);
            row = t->wide;
        }
        for (int k = 0; k < t->n; k++, out += latent_size(t->out))
            latent_truncate(row, t->out, (struct latent_vector){t->model.mean, false}, t->psi[k], t->layers, out);
    }
}

static int truncate_latents(char **operand, int n) {
    struct truncation t = {.layers = LATENT_ALL};
    refuse_options("truncate", " network trunc cutoff quiet ");
    const char *name = only("truncate", operand, n);
    t.psi = numbers("trunc", o.trunc, -10, 10, &t.n);
    if (o.cutoff >= 0)
        t.layers = o.cutoff < 64 ? ((uint64_t)1 << o.cutoff) - 1 : LATENT_ALL;
    load_model(&t.model, true);
    t.wide = xmalloc((size_t)sg2_num_ws(&t.model.config) * (size_t)t.model.config.w_dim * sizeof *t.wide);
    filter(name, &(struct latent_filter){truncate_shape, truncate_rows, &t, 0});
    free(t.wide);
    free(t.psi);
    free_model(&t.model);
    return EXIT_OK;
}

/* ---- cat, info ---- */

static int cat(char **operand, int n) {
    struct error e;
    static char *standard_input[] = {"-"};
    struct latent_spool *spool;
    uint64_t *rows = NULL;
    size_t n_rows = 0;
    refuse_options("cat", " rows quiet ");
    if (o.rows && !cli_parse_ranges(o.rows, &rows, &n_rows, MAX_SEEDS))
        cli_usage("--rows takes numbers and ranges such as 0-9,5, not \"%s\"", o.rows);
    cli_need_binary_stdout("a latent stream");
    must(latent_spool_open(&spool, &e), &e);
    for (int i = 0; i < (n ? n : 1); i++) {
        const char *name = n ? operand[i] : standard_input[0];
        FILE *in = open_latents(name);
        must(latent_spool_add(spool, in, shown(name), &e), &e);
        close_latents(in);
    }
    must(latent_spool_write(spool, stdout, rows, n_rows, &e), &e);
    latent_spool_close(spool);
    free(rows);
    return EXIT_OK;
}

static void info_file(FILE *in, const char *name) {
    struct error e;
    struct latent_reader r = latent_reader(in, name);
    struct latent_statistics s;
    enum status st;
    while ((st = latent_next(&r, &e)) == ST_OK) {
        must(latent_describe(&r, &s, &e), &e);
        char shape[64];
        if (r.shape.layers)
            snprintf(shape, sizeof shape, "%lld,%d,%d", (long long)r.n, r.shape.layers, r.shape.dim);
        else
            snprintf(shape, sizeof shape, "%lld,%d", (long long)r.n, r.shape.dim);
        printf(o.json ? "{\"array\":%lld,\"shape\":[%s],\"mean\":%.6g,\"deviation\":%.6g,\"min\":%.6g,\"max\":%.6g,\"length\":%.6g}\n"
                      : "array %lld: [%s], mean %.4g, deviation %.4g, from %.4g to %.4g, length %.4g\n",
               (long long)r.arrays - 1, shape, s.mean, s.deviation, s.min, s.max, s.length);
    }
    latent_close(&r);
    if (st != ST_END)
        cli_die("%s", e.text);
}

static int info(char **operand, int n) {
    refuse_options("info", " json quiet ");
    for (int i = 0; i < (n ? n : 1); i++) {
        const char *name = n ? operand[i] : "-";
        FILE *in = open_latents(name);
        if (n > 1 && !o.json)
            printf("%s\n", shown(name));
        info_file(in, shown(name));
        close_latents(in);
    }
    return EXIT_OK;
}

int main(int argc, char **argv) {
    static const struct { const char *name; int (*run)(char **operand, int n); } commands[] = {
        {"sample", sample}, {"map", map}, {"mean", mean}, {"truncate", truncate_latents}, {"cat", cat}, {"info", info}};
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), n = argc - first;
    char **operand = argv + first;
    if (n < 1)
        cli_usage("name a command");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(operand[0], commands[i].name))
            return cli_finish(commands[i].run(operand + 1, n - 1));
    cli_usage("there is no command %s", operand[0]);
}
