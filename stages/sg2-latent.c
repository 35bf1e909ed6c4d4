/* sg2-latent.c - makes and changes latents: a filter on latent streams (NumPy arrays). sg2-latent.1 is the manual. One function a
 * command; what is computed lies in common/latent. Rows go through a few at a time, so that memory does not grow with their number.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/latent/filters.h"
#include "common/latent/find.h"
#include "common/latent/model.h"
#include "common/latent/seeds.h"
#include "common/latent/walk.h"
#include "common/latent/whole.h"

#define MAX_ROWS 100000000 /* in --rows: 800 MB of numbers */
#define MAX_NUMBERS 4096   /* in --trunc and --amounts */

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

static struct error e; /* of the library call that failed */

static void must(enum status st) {
    if (st != ST_OK)
        cli_die("%s", e.text);
}

/* "-1,0,2.5" -> numbers; the caller frees. */
static double *numbers(const char *option, const char *text, double low, double high, int *n) {
    double *v;
    if (!cli_parse_floats(text, low, high, &v, n, MAX_NUMBERS))
        cli_usage("--%s takes numbers from %g to %g such as 0,0.5,1, not \"%s\"", option, low, high, text);
    return v;
}

/* A latent stream as the command line names it; "-" may be named once. */
static const char *source(const char *name) {
    static bool taken;
    if (!strcmp(name, "-")) {
        if (taken)
            cli_usage("standard input can be read for one thing only");
        taken = true;
        cli_need_stream_stdin("a latent stream (NumPy arrays)");
    }
    return name;
}

/* The one operand of a command: a file, or standard input. */
static const char *only(const char *command, char **operand, int n) {
    if (n && o.seeds)
        cli_usage("%s takes --seeds or latents, not both", command);
    if (n > 1)
        cli_usage("%s takes one file of latents, or reads standard input", command);
    cli_need_binary_stdout("a latent stream");
    return n ? operand[0] : "-";
}

static void filter(const char *name, struct latent_filter f) { must(latent_filter(source(name), stdout, &f, &e)); }

typedef enum status loader(const char *path, struct latent_set *s, struct error *e);
static struct latent_set load(loader *how, const char *name) {
    struct latent_set s;
    must(how(source(name), &s, &e));
    return s;
}

/* ---- seeds and networks ---- */

static struct latent_model open_model(void) {
    struct latent_model m;
    if (!o.network)
        cli_usage("--network FILE is needed");
    must(latent_model_open(&m, o.network, (int)o.threads, &e));
    return m;
}

static void start_mapping(struct latent_model *m, double psi, int cutoff, bool plus) {
    const struct latent_mapping how = {.psi = psi, .cutoff = cutoff, .class = (int)o.class, .plus = plus};
    if (o.class != LONG_MIN && sg2_config_class(&m->config, o.class, &e) != ST_OK)
        cli_usage("--class %ld: %s", o.class, e.text);
    if (m->config.c_dim > 0 && o.class == LONG_MIN)
        cli_usage("the network has %d classes: say which with --class", m->config.c_dim);
    must(latent_model_map(m, &how, &e));
}

/* Of latents. Without a network nobody says how many layers w+ has: 0. */
static struct latent_sizes sizes(void) {
    struct latent_sizes s = {.z_dim = (int)o.dim};
    if (o.network)
        must(latent_model_sizes(o.network, &s, &e));
    return s;
}

/* --seeds; the caller frees them. */
static uint64_t *parse_seeds(int64_t *n) {
    uint64_t *seeds;
    size_t count;
    if (seeds_parse("seeds", o.seeds, o.rng == 1, false, &seeds, &count, &e) != ST_OK)
        cli_usage("%s", e.text);
    if (o.network && cli_given("dim"))
        cli_usage("--dim and --network exclude each other");
    *n = (int64_t)count;
    return seeds;
}

/* ---- sample, map, mean, truncate ---- */

static void sample(char **operand, int n) {
    (void)operand;
    if (n || !o.seeds)
        cli_usage("sample takes --seeds LIST and no file");
    int64_t count;
    uint64_t *seeds = parse_seeds(&count);
    cli_need_binary_stdout("a latent stream");
    must(latent_write_seeds(stdout, seeds, count, o.rng == 1, sizes().z_dim, &e));
    free(seeds);
}

static void map(char **operand, int n) {
    int n_psi;
    const char *name = only("map", operand, n);
    double *psi = numbers("trunc", o.trunc, -10, 10, &n_psi);
    if (n_psi != 1)
        cli_usage("map takes one --trunc; several are for truncate");
    if (o.space == SPACE_W && o.cutoff >= 0)
        cli_usage("--cutoff makes layers differ, which --space w cannot hold");
    struct latent_model m = open_model();
    start_mapping(&m, psi[0], (int)o.cutoff, o.space == SPACE_PLUS);
    filter(name, latent_map_filter(&m));
    latent_model_close(&m);
    free(psi);
}

static void mean(char **operand, int n) {
    const char *name = only("mean", operand, n);
    if (o.network && n)
        cli_usage("mean takes --network or latents, not both");
    if (o.network) {
        struct latent_model m = open_model();
        must(latent_save(stdout, &(struct latent_set){{0, m.config.w_dim}, 1, m.mean}, &e));
        latent_model_close(&m);
    } else {
        struct latent_set s = load(latent_mean, name);
        must(latent_save(stdout, &s, &e));
        latent_set_free(&s);
    }
}

static void truncate_latents(char **operand, int n) {
    const char *name = only("truncate", operand, n);
    struct latent_truncation t = {.cutoff = (int)o.cutoff};
    double *psi = numbers("trunc", o.trunc, -10, 10, &t.n_psi);
    struct latent_model m = open_model();
    t.psi = psi, t.mean = m.mean, t.dim = m.config.w_dim, t.num_ws = sg2_num_ws(&m.config);
    filter(name, latent_truncation_filter(&t));
    latent_model_close(&m);
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
    struct latent_walk *w;
    struct latent_set keys = {0};
    const char *name = only("walk", operand, n);
    if (o.origin && o.path != LATENT_SPHERICAL && o.path != LATENT_CIRCULAR)
        cli_usage("--origin is for spherical and circular walks");
    if (o.path == LATENT_CIRCULAR && cli_given("loop") && !o.loop)
        cli_usage("a circular walk is a loop");
    if (!o.seeds && (o.network || cli_given("dim") || cli_given("rng")))
        cli_usage("--network, --dim and --rng are for --seeds");
    if (o.seeds) {
        uint64_t *seeds = parse_seeds(&keys.n);
        keys.shape.dim = sizes().z_dim;
        keys.data = xmalloc((size_t)(keys.n * keys.shape.dim) * sizeof *keys.data);
        latent_of_seeds(seeds, keys.n, o.rng == 1, keys.data, keys.shape.dim);
        free(seeds);
    } else {
        keys = load(latent_load, name);
    }
    struct latent_set origin = load_origin();
    if (o.origin && !latent_fits(origin.shape, keys.shape))
        cli_die("%s: the origin is of another shape than the latents", o.origin);
    must(latent_walk_create(&w, (enum latent_path)o.path, &keys, latent_vector_of(&origin, 0), o.frames, o.loop, &e));
    must(latent_walk_write(w, stdout, &e));
    latent_walk_free(w);
    latent_set_free(&origin);
    latent_set_free(&keys);
}

static void mix(char **operand, int n) {
    if (n != 2 || !o.layers)
        cli_usage("mix takes --layers LIST, the latents of the rows and those of the columns (one of them may be -)");
    cli_need_binary_stdout("a latent stream");
    struct latent_mixture m = {.columns = load(latent_load, operand[1]), .layers = o.layers, .num_ws = sizes().num_ws};
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
    m.num_ws = sizes().num_ws;
    m.directions = load(latent_load_vectors, o.direction);
    m.origin = load_origin();
    filter(name, latent_movement_filter(&m));
    latent_set_free(&m.directions);
    latent_set_free(&m.origin);
    free(amount);
}

/* ---- directions ---- */

static void sefa(int n, struct latent_found *f) {
    if (n)
        cli_usage("sefa takes no latents");
    struct latent_model m = open_model();
    uint64_t mask = LATENT_ALL;
    enum status st = o.layers ? latent_layers_parse(o.layers, sg2_num_ws(&m.config), &mask, &e) : ST_OK;
    if (st == ST_OK)
        st = latent_find_in_weights(m.net, mask, (int)o.count, f, &e);
    if (st == ST_BAD)
        cli_usage("--layers: %s", e.text);
    must(st);
    latent_model_close(&m);
}

/* Of seeds sent through the mapping network, or of given latents. */
static void pca(char **operand, int n, struct latent_found *f) {
    struct latent_moments moments;
    const char *name = only("pca", operand, n);
    if (!o.seeds && (o.network || cli_given("rng") || cli_given("class")))
        cli_usage("--network, --rng and --class are for --seeds");
    if (o.seeds) {
        int64_t count;
        struct latent_model m = open_model();
        uint64_t *seeds = parse_seeds(&count);
        start_mapping(&m, 1, -1, false);
        latent_map_moments(&m, seeds, count, o.rng == 1, &moments);
        latent_model_close(&m);
        free(seeds);
    } else {
        must(latent_add_moments(source(name), &moments, &e));
    }
    must(latent_find_in_moments(&moments, (int)o.count, f, &e));
    latent_moments_free(&moments);
}

/* Of two groups: from two files, or one and --labels. */
static void groups(char **operand, int n, struct latent_found *f) {
    struct latent_groups g;
    if (n != 2 - (o.labels != NULL) && !(o.labels && n == 0))
        cli_usage("%s takes the latents with the attribute and those without, or --labels FILE and the latents", method_name[o.method]);
    if (o.labels)
        must(latent_groups_label(&g, source(n ? operand[0] : "-"), o.labels, &e));
    else
        must(latent_groups_join(&g, source(operand[0]), source(operand[1]), &e));
    must(o.method == DIFFERENCE ? latent_find_difference(&g, f, &e) : latent_find_logistic(&g, !cli_quiet, f, &e));
    latent_groups_free(&g);
}

static void directions(char **operand, int n) {
    static const char *const takes[] = {" method network layers count threads ", " method network seeds rng class count threads ",
                                        " method labels ", " method labels "};
    struct latent_found f;
    cli_takes(method_name[o.method], takes[o.method]);
    cli_need_binary_stdout("a latent stream");
    if (o.method == SEFA)
        sefa(n, &f);
    else if (o.method == PCA)
        pca(operand, n, &f);
    else
        groups(operand, n, &f);
    if (*f.worth)
        cli_info("%s", f.worth);
    must(latent_save(stdout, &f.directions, &e));
    latent_set_free(&f.directions);
}

/* ---- cat, info ---- */

static void cat(char **operand, int n) {
    struct latent_spool *spool;
    uint64_t *rows = NULL;
    size_t n_rows = 0;
    if (o.rows && !cli_parse_ranges(o.rows, &rows, &n_rows, MAX_ROWS))
        cli_usage("--rows takes numbers and ranges such as 0-9,5, not \"%s\"", o.rows);
    cli_need_binary_stdout("a latent stream");
    must(latent_spool_open(&spool, &e));
    for (int i = 0; i < (n ? n : 1); i++)
        must(latent_spool_add(spool, source(n ? operand[i] : "-"), &e));
    must(latent_spool_write(spool, stdout, rows, n_rows, &e));
    latent_spool_close(spool);
    free(rows);
}

static void info(char **operand, int n) {
    for (int i = 0; i < (n ? n : 1); i++)
        must(latent_describe(source(n ? operand[i] : "-"), n > 1 && !o.json, o.json, stdout, &e));
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
