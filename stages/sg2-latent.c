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
#include "common/latent/direction.h"
#include "common/latent/file.h"
#include "common/latent/filters.h"
#include "common/latent/groups.h"
#include "common/latent/seeds.h"
#include "common/latent/walk.h"
#include "common/latent/whole.h"
#include "common/store/checkpoint.h"

#define MAX_SEEDS 100000000 /* 800 MB of numbers */
#define MAX_NUMBERS 4096    /* in --trunc and --amounts */

enum { SPACE_PLUS, SPACE_W };
enum { SEFA, PCA, DIFFERENCE, LOGISTIC };
static const char *const method_name[] = {"sefa", "pca", "difference", "logistic"};
static struct {
    const char *network, *seeds, *trunc, *direction, *amount, *origin, *layers, *labels, *rows;
    long dim, cutoff, class, threads, frames, count;
    int rng, space, path, method;
    bool loop, absolute, json;
} o = {.trunc = "1", .amount = "1", .dim = 512, .cutoff = -1, .class = LONG_MIN, .frames = 240, .count = 10};

static const struct cli_option options[] = {
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Seeds and networks"},
    {'n', "network", "FILE", CLI_STRING, &o.network, 0, 0, "network, as sg2-gen takes it"},
    {'s', "seeds", "LIST", CLI_STRING, &o.seeds, 0, 0, "sample, walk, directions: seeds such as 0-99,150"},
    {0, "rng", "numpy|philox", CLI_CHOICE, &o.rng, 0, 0, "how a seed becomes z; numpy = RandomState(seed).randn, as everywhere"},
    {0, "dim", "N", CLI_INT, &o.dim, 1, 4096, "size of a seed's z; --network knows it"},
    {'c', "class", "K", CLI_INT, &o.class, 0, 1e6, "class, for conditional networks"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "map, truncate"},
    {'t', "trunc", "PSI,...", CLI_STRING, &o.trunc, 0, 0, "w moves to this share of its distance from the mean; several make a sweep"},
    {0, "cutoff", "N", CLI_INT, &o.cutoff, -1, 64, "truncate the first N layers only; -1 = all"},
    {0, "space", "w+|w", CLI_CHOICE, &o.space, 0, 0, "what map writes"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "walk"},
    {0, "path", LATENT_PATHS, CLI_CHOICE, &o.path, 0, 0, "how to go from one latent to the next"},
    {0, "frames", "N", CLI_INT, &o.frames, 1, 1000000000, "latents to write"},
    {0, "loop", NULL, CLI_FLAG, &o.loop, 0, 0, "come back to the first"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "mix, move"},
    {'l', "layers", "LIST", CLI_STRING, &o.layers, 0, 0, "layers such as 0-3,8: mix takes them from the columns; sefa looks at them"},
    {'d', "directions", "FILE", CLI_STRING, &o.direction, 0, 0, "directions to move along, one after another"},
    {'a', "amounts", "LIST", CLI_STRING, &o.amount, 0, 0, "how far, one after another"},
    {0, "absolute", NULL, CLI_FLAG, &o.absolute, 0, 0, "amounts are places along the direction, measured from the origin"},
    {0, "origin", "FILE", CLI_STRING, &o.origin, 0, 0, "a latent: origin of --absolute and of spherical and circular walks"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "directions"},
    {'m', "method", "sefa|pca|difference|logistic", CLI_CHOICE, &o.method, 0, 0, "where directions come from"},
    {0, "count", "N", CLI_INT, &o.count, 1, 4096, "how many; sefa, pca"},
    {0, "labels", "FILE", CLI_STRING, &o.labels, 0, 0, "a line for each latent: above 0 = has the attribute, 0 = has not, - = leave out"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "cat, info"},
    {0, "rows", "LIST", CLI_STRING, &o.rows, 0, 0, "these rows of the whole, in this order; the first is 0"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "a line of JSON for each array"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-latent",
    .synopsis = "COMMAND [options] [LATENTS...] [< latents] > latents",
    .purpose = "Makes and changes latents of StyleGAN2 networks: NumPy arrays, z [N,z], w [N,w] or w+ [N,num_ws,w], one after another. "
               "Commands: sample map mean truncate walk mix move directions cat info.",
    .options = options,
    .examples = "sg2-latent sample --seeds 0-99 | sg2-latent map -n net.safetensors --trunc 0.7 | sg2-gen -n net.safetensors -\n"
                "sg2-latent directions -n net.safetensors --method sefa --layers 0-5 >sefa.npy\n"
                "sg2-latent move --directions sefa.npy --amounts -3,0,3 w.npy | sg2-gen -n net.safetensors --out moved.png -\n"};

/* ---- the command line ---- */

static void must(enum status st, const struct error *e) {
    if (st != ST_OK)
        cli_die("%s", e->text);
}

/* "-1,0,2.5" -> numbers; the caller frees. */
static double *numbers(const char *option, const char *text, double low, double high, int *n) {
    double *v;
    if (!cli_parse_floats(text, low, high, &v, n, MAX_NUMBERS))
        cli_usage("--%s takes numbers from %g to %g such as 0,0.5,1, not \"%s\"", option, low, high, text);
    return v;
}

static FILE *open_latents(const char *name) {
    static bool taken;
    if (!strcmp(name, "-")) {
        if (taken)
            cli_usage("standard input can be read for one thing only");
        taken = true;
        cli_need_stream_stdin("a latent stream (NumPy arrays)");
        return stdin;
    }
    FILE *f;
    struct error e;
    must(latent_open(&f, name, &e), &e);
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

static void filter(const char *name, struct latent_filter f) {
    struct error e;
    FILE *in = open_latents(name);
    must(latent_filter(in, shown(name), stdout, &f, &e), &e);
    close_latents(in);
}

typedef enum status loader(FILE *f, const char *name, struct latent_set *s, struct error *e);
static struct latent_set load(loader *how, const char *name) {
    struct error e;
    struct latent_set s;
    FILE *in = open_latents(name);
    must(how(in, shown(name), &s, &e), &e);
    close_latents(in);
    return s;
}

static void write_rows(struct latent_shape s, const float *rows, int64_t n) {
    struct error e;
    must(latent_head(stdout, s, n, &e), &e);
    must(latent_write(stdout, s, rows, n, &e), &e);
}

/* ---- seeds and networks ---- */

struct model {
    struct device *device;
    struct sg2_net *net;
    struct sg2_config config;
    float *mean; /* [w_dim] */
};

static struct model load_model(bool weights) {
    struct error e;
    struct checkpoint *file;
    struct model m = {0};
    if (!o.network)
        cli_usage("--network FILE is needed");
    must(checkpoint_open(&file, o.network, &e), &e);
    m.config = *checkpoint_config(file);
    if (weights) {
        must(device_open(&m.device, "cpu", (int)o.threads, &e), &e);
        must(checkpoint_generator(file, m.device, &m.net, &e), &e);
        m.mean = xmalloc((size_t)m.config.w_dim * sizeof *m.mean);
        sg2_tensor_get(sg2_net_find(m.net, "mapping.w_avg"), m.net->state, m.mean);
    }
    checkpoint_close(file);
    return m;
}

static void free_model(struct model *m) {
    free(m->mean);
    sg2_net_free(m->net);
    if (m->device)
        device_close(m->device);
}

/* How many layers w+ has, for the commands that may have to know; 0 = nobody says. */
static int num_ws(void) {
    if (!o.network)
        return 0;
    struct model m = load_model(false);
    return sg2_num_ws(&m.config);
}

struct seeds {
    uint64_t *list;
    int64_t n;
    struct latent_shape shape; /* of their z */
};

static struct seeds parse_seeds(void) {
    struct seeds s = {.shape.dim = (int)o.dim};
    size_t n = 0;
    if (!cli_parse_ranges(o.seeds, &s.list, &n, MAX_SEEDS))
        cli_usage("--seeds takes numbers and ranges such as 0-99,150, not \"%s\"", o.seeds);
    for (size_t i = 0; i < n; i++)
        if (o.rng == 0 && s.list[i] > UINT32_MAX)
            cli_usage("seed %llu is over 2^32-1, NumPy's limit; --rng philox takes it", (unsigned long long)s.list[i]);
    if (o.network && cli_given("dim"))
        cli_usage("--dim and --network exclude each other");
    s.n = (int64_t)n;
    if (o.network)
        s.shape.dim = load_model(false).config.z_dim;
    return s;
}

static struct latent_map open_map(const struct model *model, double psi, int cutoff, bool plus) {
    struct error e;
    const struct sg2_config *c = &model->config;
    struct latent_map m = {.config = *c, .plus = plus};
    if (o.class != LONG_MIN && o.class >= c->c_dim)
        cli_usage(c->c_dim ? "--class %ld: the network has classes 0-%d" : "--class %ld: the network has no classes", o.class,
                  c->c_dim - 1);
    if (c->c_dim > 0 && o.class == LONG_MIN)
        cli_usage("the network has %d classes: say which with --class", c->c_dim);
    struct sg2_generator_opt go = {.batch = LATENT_MAP_BATCH, .noise = SG2_NOISE_NONE, .psi = (float)psi, .cutoff = cutoff,
                                   .mapping_only = true};
    must(sg2_generator_create(&m.generator, model->device, model->net, &go, &e), &e);
    m.ws = xmalloc(LATENT_MAP_BATCH * (size_t)sg2_num_ws(c) * (size_t)c->w_dim * sizeof *m.ws);
    int *labels = xcalloc(LATENT_MAP_BATCH, sizeof *labels);
    for (int i = 0; i < LATENT_MAP_BATCH && c->c_dim > 0; i++)
        labels[i] = (int)o.class;
    m.labels = labels;
    return m;
}

static void close_map(struct latent_map *m) {
    sg2_generator_free(m->generator);
    free((int *)m->labels);
    free(m->ws);
}

/* ---- sample, map, mean, truncate ---- */

static void sample(char **operand, int n) {
    struct error e;
    (void)operand;
    if (n || !o.seeds)
        cli_usage("sample takes --seeds LIST and no file");
    struct seeds s = parse_seeds();
    cli_need_binary_stdout("a latent stream");
    float *z = xmalloc((size_t)s.shape.dim * sizeof *z);
    must(latent_head(stdout, s.shape, s.n, &e), &e);
    for (int64_t i = 0; i < s.n; i++) {
        latent_of_seed(s.list[i], o.rng == 1, z, s.shape.dim);
        must(latent_write(stdout, s.shape, z, 1, &e), &e);
    }
    free(z);
    free(s.list);
}

static void map(char **operand, int n) {
    int n_psi;
    const char *name = only("map", operand, n);
    double *psi = numbers("trunc", o.trunc, -10, 10, &n_psi);
    if (n_psi != 1)
        cli_usage("map takes one --trunc; several are for truncate");
    if (o.space == SPACE_W && o.cutoff >= 0)
        cli_usage("--cutoff makes layers differ, which --space w cannot hold");
    struct model model = load_model(true);
    struct latent_map m = open_map(&model, psi[0], (int)o.cutoff, o.space == SPACE_PLUS);
    filter(name, latent_map_filter(&m));
    close_map(&m);
    free_model(&model);
    free(psi);
}

static void mean(char **operand, int n) {
    struct error e;
    const char *name = only("mean", operand, n);
    if (o.network) {
        if (n)
            cli_usage("mean takes --network or latents, not both");
        struct model m = load_model(true);
        write_rows((struct latent_shape){.dim = m.config.w_dim}, m.mean, 1);
        free_model(&m);
        return;
    }
    FILE *in = open_latents(name);
    struct latent_shape s;
    float *row;
    must(latent_mean(in, shown(name), &s, &row, &e), &e);
    close_latents(in);
    write_rows(s, row, 1);
    free(row);
}

static void truncate_latents(char **operand, int n) {
    const char *name = only("truncate", operand, n);
    struct latent_truncation t = {.cutoff = (int)o.cutoff};
    double *psi = numbers("trunc", o.trunc, -10, 10, &t.n_psi);
    struct model m = load_model(true);
    t.psi = psi, t.mean = m.mean, t.dim = m.config.w_dim, t.num_ws = sg2_num_ws(&m.config);
    filter(name, latent_truncation_filter(&t));
    free_model(&m);
    free(psi);
}

/* ---- walk, mix, move ---- */

/* --origin: one row, or {0}. */
static struct latent_set load_origin(void) {
    struct latent_set s = {0};
    if (o.origin)
        s = load(latent_load_vectors, o.origin);
    if (o.origin && s.n != 1)
        cli_die("%s: an origin is one latent, not %lld", o.origin, (long long)s.n);
    return s;
}

static void walk(char **operand, int n) {
    struct error e;
    struct latent_walk *w;
    struct latent_set keys = {0};
    if (o.seeds && n)
        cli_usage("walk takes --seeds or latents, not both");
    if (o.origin && o.path != LATENT_SPHERICAL && o.path != LATENT_CIRCULAR)
        cli_usage("--origin is for spherical and circular walks");
    if (o.path == LATENT_CIRCULAR && cli_given("loop") && !o.loop)
        cli_usage("a circular walk is a loop");
    if (!o.seeds && (o.network || cli_given("dim") || cli_given("rng")))
        cli_usage("--network, --dim and --rng are for --seeds");
    const char *name = only("walk", operand, n);
    if (o.seeds) {
        struct seeds s = parse_seeds();
        keys = (struct latent_set){s.shape, s.n, xmalloc((size_t)(s.n * s.shape.dim) * sizeof *keys.data)};
        for (int64_t i = 0; i < s.n; i++)
            latent_of_seed(s.list[i], o.rng == 1, keys.data + i * s.shape.dim, s.shape.dim);
        free(s.list);
    } else {
        keys = load(latent_load, name);
    }
    struct latent_set origin = load_origin();
    if (origin.data && (origin.shape.dim != keys.shape.dim || (origin.shape.layers && origin.shape.layers != keys.shape.layers)))
        cli_die("%s: the origin is of another shape than the latents", o.origin);
    struct latent_vector from = {origin.data, origin.shape.layers > 0};
    must(latent_walk_create(&w, (enum latent_path)o.path, &keys, from, o.frames, o.loop, &e), &e);
    float *row = xmalloc((size_t)latent_size(keys.shape) * sizeof *row);
    must(latent_head(stdout, keys.shape, o.frames, &e), &e);
    for (int64_t i = 0; i < o.frames; i++) {
        latent_walk_frame(w, i, row);
        must(latent_write(stdout, keys.shape, row, 1, &e), &e);
    }
    free(row);
    latent_walk_free(w);
    latent_set_free(&origin);
    latent_set_free(&keys);
}

static void mix(char **operand, int n) {
    if (n != 2 || !o.layers)
        cli_usage("mix takes --layers LIST, the latents of the rows and those of the columns (one of them may be -)");
    cli_need_binary_stdout("a latent stream");
    struct latent_mixture m = {.columns = load(latent_load, operand[1]), .layers = o.layers, .num_ws = num_ws()};
    filter(operand[0], latent_mixture_filter(&m));
    latent_set_free(&m.columns);
}

static void move(char **operand, int n) {
    struct latent_movement m = {.absolute = o.absolute, .layers = o.layers};
    if (!o.direction)
        cli_usage("--directions FILE is needed");
    if (o.origin && !o.absolute)
        cli_usage("--origin goes with --absolute");
    const char *name = only("move", operand, n);
    double *amount = numbers("amounts", o.amount, -1e6, 1e6, &m.n_amount);
    m.amount = amount;
    m.num_ws = num_ws();
    m.directions = load(latent_load_vectors, o.direction);
    m.origin = load_origin();
    filter(name, latent_movement_filter(&m));
    latent_set_free(&m.directions);
    latent_set_free(&m.origin);
    free(amount);
}

/* ---- directions ---- */

/* The eigenvectors of a matrix that hold most of it; total: the sum of all eigenvalues. */
static void write_eigenvectors(double *gram, int dim, double total, const char *of) {
    struct error e;
    int n = o.count < dim ? (int)o.count : dim;
    float *out = xmalloc((size_t)n * (size_t)dim * sizeof *out);
    double *value = xmalloc((size_t)n * sizeof *value), sum = 0;
    must(latent_eigen(gram, dim, n, out, value, &e), &e);
    for (int i = 0; i < n; i++)
        sum += value[i];
    cli_info("%d directions hold %.1f %% of %s, the first %.1f %%", n, 100 * sum / total, of, 100 * value[0] / total);
    write_rows((struct latent_shape){.dim = dim}, out, n);
    free(out);
    free(value);
}

static double trace(const double *gram, int dim) {
    double sum = 0;
    for (int i = 0; i < dim; i++)
        sum += gram[(size_t)i * (size_t)(dim + 1)];
    return sum;
}

static void sefa(void) {
    struct error e;
    struct model m = load_model(true);
    uint64_t mask = LATENT_ALL;
    int channels, dim = m.config.w_dim;
    if (o.layers && latent_layers_parse(o.layers, sg2_num_ws(&m.config), &mask, &e) != ST_OK)
        cli_usage("--layers: %s", e.text);
    double *gram = xmalloc((size_t)dim * (size_t)dim * sizeof *gram);
    if (latent_style_gram(m.net, mask, gram, &channels, &e) != ST_OK)
        cli_usage("--layers: %s", e.text);
    char of[64];
    snprintf(of, sizeof of, "the style weights of %d channels", channels);
    write_eigenvectors(gram, dim, trace(gram, dim), of);
    free(gram);
    free_model(&m);
}

/* Of seeds sent through the mapping network, or of given latents. */
static void pca(char **operand, int n) {
    struct error e;
    struct latent_moments moments;
    if (o.seeds) {
        if (n)
            cli_usage("pca takes --seeds or latents, not both");
        struct model model = load_model(true);
        struct seeds s = parse_seeds();
        struct latent_map m = open_map(&model, 1, -1, false);
        float *z = xmalloc(LATENT_MAP_BATCH * (size_t)s.shape.dim * sizeof *z);
        float *w = xmalloc(LATENT_MAP_BATCH * (size_t)model.config.w_dim * sizeof *w);
        latent_moments_start(&moments, model.config.w_dim);
        for (int64_t at = 0, k; at < s.n; at += k) {
            k = s.n - at < LATENT_MAP_BATCH ? s.n - at : LATENT_MAP_BATCH;
            for (int64_t i = 0; i < k; i++)
                latent_of_seed(s.list[at + i], o.rng == 1, z + i * s.shape.dim, s.shape.dim);
            latent_map_rows(&m, z, k, w);
            latent_moments_add(&moments, w, k);
        }
        close_map(&m);
        free_model(&model);
        free(s.list);
        free(z);
        free(w);
    } else {
        const char *name = only("pca", operand, n);
        FILE *in = open_latents(name);
        must(latent_add_moments(in, shown(name), &moments, &e), &e);
        close_latents(in);
    }
    if (moments.n < 2)
        cli_die("principal components need at least 2 latents");
    latent_moments_finish(&moments);
    write_eigenvectors(moments.gram, moments.dim, trace(moments.gram, moments.dim), "the variance");
    latent_moments_free(&moments);
}

/* The latents of two groups: from two files, or one and --labels. */
static struct latent_groups load_groups(char **operand, int n) {
    struct error e;
    struct latent_groups g;
    if (n != 2 - (o.labels != NULL) && !(o.labels && n == 0))
        cli_usage("%s takes the latents with the attribute and those without, or --labels FILE and the latents", method_name[o.method]);
    const char *name = n ? operand[0] : "-";
    struct latent_set with = load(latent_load, name);
    if (o.labels) {
        FILE *f = fopen(o.labels, "r");
        if (!f)
            cli_die("%s: %s", o.labels, strerror(errno));
        must(latent_groups_label(&g, &with, shown(name), f, o.labels, &e), &e);
        fclose(f);
    } else {
        struct latent_set without = load(latent_load, operand[1]);
        must(latent_groups_join(&g, &with, shown(name), &without, shown(operand[1]), &e), &e);
    }
    return g;
}

static void groups(char **operand, int n) {
    struct error e;
    struct latent_groups g = load_groups(operand, n);
    const float *x = g.latents.data;
    int64_t count = g.latents.n;
    int dim = g.latents.shape.dim;
    struct latent_boundary b = {.direction = xmalloc((size_t)dim * sizeof *b.direction)};
    if (o.method == DIFFERENCE) {
        double distance;
        must(latent_difference(x, count, dim, g.label, b.direction, &distance, &e), &e);
        cli_info("the means of the groups are %.4g apart", distance);
    } else {
        must(latent_logistic(x, count, dim, g.label, -1, &b, &e), &e);
        int64_t held_out = cli_quiet ? -1 : latent_held_out(x, count, dim, g.label);
        if (held_out >= 0)
            cli_info("the attribute is told from %.1f %% of %lld latents, and from %.1f %% of those not fitted to",
                     100.0 * (double)latent_right_side(x, count, dim, g.label, &b) / (double)count, (long long)count,
                     100.0 * (double)held_out / (double)count);
    }
    write_rows(g.latents.shape, b.direction, 1);
    free(b.direction);
    latent_groups_free(&g);
}

static void directions(char **operand, int n) {
    static const char *const takes[] = {" method network layers count threads ", " method network seeds rng class count threads ",
                                        " method labels ", " method labels "};
    cli_takes(method_name[o.method], takes[o.method]);
    cli_need_binary_stdout("a latent stream");
    if (o.method == PCA && !o.seeds && (o.network || cli_given("rng") || cli_given("class")))
        cli_usage("--network, --rng and --class are for --seeds");
    if (o.method == SEFA && n)
        cli_usage("sefa takes no latents");
    if (o.method == SEFA)
        sefa();
    else if (o.method == PCA)
        pca(operand, n);
    else
        groups(operand, n);
}

/* ---- cat, info ---- */

static void cat(char **operand, int n) {
    struct error e;
    static char *standard_input[] = {"-"};
    struct latent_spool *spool;
    uint64_t *rows = NULL;
    size_t n_rows = 0;
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
        if (!r.n)
            memset(&s, 0, sizeof s); /* nothing to average: JSON has no NaN */
        printf(o.json ? "{\"array\":%lld,\"shape\":[%s],\"mean\":%.6g,\"deviation\":%.6g,\"min\":%.6g,\"max\":%.6g,\"length\":%.6g}\n"
                      : "array %lld: [%s], mean %.4g, deviation %.4g, from %.4g to %.4g, length %.4g\n",
               (long long)r.arrays - 1, shape, s.mean, s.deviation, s.min, s.max, s.length);
    }
    latent_close(&r);
    if (st != ST_END)
        cli_die("%s", e.text);
}

static void info(char **operand, int n) {
    for (int i = 0; i < (n ? n : 1); i++) {
        const char *name = n ? operand[i] : "-";
        FILE *in = open_latents(name);
        if (n > 1 && !o.json)
            printf("%s\n", shown(name));
        info_file(in, shown(name));
        close_latents(in);
    }
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(char **operand, int n); const char *takes; } commands[] = {
        {"sample", sample, " seeds rng dim network "},
        {"map", map, " network trunc cutoff class space threads "},
        {"mean", mean, " network "},
        {"truncate", truncate_latents, " network trunc cutoff "},
        {"walk", walk, " seeds rng dim network path frames loop origin "},
        {"mix", mix, " network layers "},
        {"move", move, " network layers directions amounts absolute origin "},
        {"directions", directions, NULL}, /* by method */
        {"cat", cat, " rows "},
        {"info", info, " json "}};
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), n = argc - first;
    char **operand = argv + first;
    if (n < 1)
        cli_usage("name a command: sample, map, mean, truncate, walk, mix, move, directions, cat or info");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(operand[0], commands[i].name)) {
            if (commands[i].takes)
                cli_takes(operand[0], commands[i].takes);
            commands[i].run(operand + 1, n - 1);
            return cli_finish(EXIT_OK);
        }
    cli_usage("there is no command %s", operand[0]);
}
