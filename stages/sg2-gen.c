/* sg2-gen - pictures from a StyleGAN2 generator: from seeds, or from a latent stream on stdin. sg2-gen.1 is the manual.
 *
 * Pictures are made a batch at a time; a second thread encodes and writes one batch while the next is computed, so memory
 * does not grow with their number (a grid apart). A picture depends on its seed or latent, not on its batch.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/rng/numpy_rng.h"
#include "common/rng/philox.h"
#include "common/store/checkpoint.h"
#include "common/stream/npy.h"
#include "common/stream/sink.h"
#include "common/stylegan2/generator.h"

#define USE_Z 0x5au           /* `use` of Philox for z of --rng philox: key = seed, index 0 */
#define MAX_SEEDS 100000000   /* 800 MB of numbers */
#define BATCH_PIXELS (1 << 18) /* pixels in a batch by default: 16 pictures of 128x128 */

enum { LATENT_AUTO, LATENT_W };
static struct {
    const char *network, *seeds, *out, *grid, *device, *save_w;
    double trunc;
    long cutoff, class, batch, quality, threads;
    int noise, rng, format, latent;
    bool fp32, no_graph, plan, profile;
} o = {.trunc = 1, .cutoff = -1, .class = LONG_MIN, .batch = LONG_MIN, .quality = 95, .noise = 1, .device = "auto"};
static const enum sg2_noise noise_kind[] = {SG2_NOISE_RANDOM, SG2_NOISE_CONST, SG2_NOISE_NONE};
static const char *const noise_name[] = {"random", "const", "none"}, *const rng_name[] = {"numpy", "philox"};
static const enum image_format format_kind[] = {IMAGE_UNKNOWN, IMAGE_PPM, IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP};

static const struct cli_option options[] = {
    {'n', "network", "FILE", CLI_STRING, &o.network, 0, 0, "network, snapshot or checkpoint: safetensors, NVIDIA's .pkl, rosinality's .pt"},
    {'s', "seeds", "LIST", CLI_STRING, &o.seeds, 0, 0, "seeds such as 0-99,150; without it latents are read from stdin"},
    {'o', "out", "DIR|FILE", CLI_STRING, &o.out, 0, 0, "folder, or one picture file (a grid when there are several); default a sample stream on stdout"},
    {'t', "trunc", "PSI", CLI_FLOAT, &o.trunc, -10, 10, "truncation: w moves to this share of its distance from the mean"},
    {0, "cutoff", "N", CLI_INT, &o.cutoff, -1, 64, "truncate the first N layers only; -1 = all"},
    {0, "noise", "random|const|none", CLI_CHOICE, &o.noise, 0, 0, "noise inputs; random is keyed by the seed"},
    {'c', "class", "K", CLI_INT, &o.class, 0, 1e6, "class, for conditional networks"},
    {0, "rng", "numpy|philox", CLI_CHOICE, &o.rng, 0, 0, "how a seed becomes z; numpy = RandomState(seed).randn, as everywhere"},
    {0, "latent", "auto|w", CLI_CHOICE, &o.latent, 0, 0, "what [N,D] arrays on stdin are when z and w have one size: auto = z"},
    {'b', "batch", "N", CLI_INT, &o.batch, 1, SG2_MAX_BATCH, "pictures computed at a time; default by size"},
    {'f', "format", "auto|ppm|png|jpg|webp", CLI_CHOICE, &o.format, 0, 0, "auto: ppm in a stream, png in a folder, by name in a file"},
    {0, "quality", "N", CLI_INT, &o.quality, 1, 100, "of jpg and webp"},
    {0, "grid", "WxH", CLI_STRING, &o.grid, 0, 0, "columns and rows of a grid written to --out FILE; default about square"},
    {0, "save-w", "FILE", CLI_STRING, &o.save_w, 0, 0, "also write w+ after truncation, float32 [N,num_ws,w], as .npy"},
    {0, "device", "auto|cpu|cuda", CLI_STRING, &o.device, 0, 0, "where to compute"},
    {0, "fp32", NULL, CLI_FLAG, &o.fp32, 0, 0, "float32 throughout on a GPU, where bfloat16 convolutions are the default"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {0, "plan", NULL, CLI_FLAG, &o.plan, 0, 0, "print launches, FLOPs and memory of a batch and exit"},
    {0, "profile", NULL, CLI_FLAG, &o.profile, 0, 0, "run one batch, print the time of each operation and exit"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-gen",
    .synopsis = "--network FILE [--seeds LIST] [options] [< latents] > samples",
    .purpose = "Generates pictures with a StyleGAN2 network, from seeds or from a latent stream (NumPy arrays: z [N,z], w [N,w], w+ [N,num_ws,w]).",
    .options = options,
    .examples = "sg2-gen --network runs/faces/checkpoint.safetensors --seeds 0-9999 --trunc 0.7 | fid-score --ref faces.lmdb -\n"
                "sg2-gen --network faces.safetensors --seeds 0-31 --grid 8x4 --out faces.png\n"};

/* ---- computing ---- */

struct work {
    struct sg2_config config;
    struct sg2_generator *generator;
    char network[SHA256_HEX];
    int64_t images;    /* the network has seen; -1 = unknown */
    bool half;         /* convolutions in 16 bit */
    int batch;
    int *labels;       /* [batch] or NULL */
    float *z;          /* [batch,...] seeds' z, or what was read */
    uint64_t *names;   /* [batch] positions in the latent stream */
    uint8_t *pixels;   /* [batch,res,res,C] */
    FILE *save_w;
    float *ws;         /* [batch,num_ws,w_dim] with --save-w */
    struct sink *sink;
    struct cli_progress progress;
};

/* Where the picture comes from, for the next stage and for the shelf. */
static void describe(const struct work *w, struct sample *s, uint64_t seed) {
    cJSON *j = sample_json(s), *step = cJSON_CreateObject();
    if (o.seeds) {
        snprintf(s->key, sizeof s->key, "seed%04llu", (unsigned long long)seed);
        char digits[24]; /* 64 bits, which a JSON library's double would round */
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
        cJSON_AddRawToObject(j, "seed", digits);
        cJSON_AddStringToObject(step, "rng", rng_name[o.rng]);
    } else {
        snprintf(s->key, sizeof s->key, "%06llu", (unsigned long long)seed);
        cJSON_AddNumberToObject(j, "latent", (double)seed);
    }
    cJSON_AddNumberToObject(j, "truncation", o.trunc);
    cJSON_AddStringToObject(j, "network", w->network);
    cJSON_AddNumberToObject(j, "width", w->config.res);
    cJSON_AddNumberToObject(j, "height", w->config.res);
    if (o.class != LONG_MIN)
        cJSON_AddNumberToObject(j, "label", (double)o.class);
    cJSON_AddNumberToObject(step, "truncation", o.trunc);
    cJSON_AddNumberToObject(step, "cutoff", (double)o.cutoff);
    cJSON_AddStringToObject(step, "noise", noise_name[o.noise]);
    cJSON_AddStringToObject(step, "precision", w->half ? "bfloat16" : "float32");
    cJSON_AddStringToObject(step, "network", w->network);
    if (w->images >= 0)
        cJSON_AddNumberToObject(step, "network_images", (double)w->images);
    sample_add_step(s, "sg2-gen", step);
}

static char *save_w_name; /* until it is whole */

static void remove_unfinished(void) {
    unlink(save_w_name); /* fails when it was renamed */
    free(save_w_name);
}

/* One batch: l->n <= batch pictures named by `seeds`. */
static void generate(struct work *w, struct sg2_latents *l, const uint64_t *seeds) {
    const struct sg2_config *c = &w->config;
    struct sg2_latents plus = *l;
    l->labels = w->labels;
    l->noise_seeds = plus.noise_seeds = seeds;
    if (w->save_w) {
        if (!l->ws) {
            sg2_generate_ws(w->generator, l, w->ws);
            plus.z = plus.w = NULL;
            plus.ws = w->ws;
            l = &plus;
        }
        if (fwrite(l->ws, (size_t)sg2_num_ws(c) * (size_t)c->w_dim * sizeof(float), (size_t)l->n, w->save_w) != (size_t)l->n)
            cli_die("%s: %s", o.save_w, strerror(errno));
    }
    sg2_generate(w->generator, l, w->pixels);
    size_t picture = (size_t)c->res * (size_t)c->res * (size_t)c->img_channels;
    for (int64_t i = 0; i < l->n; i++) {
        struct error e;
        struct sample s = {0};
        struct image im;
        describe(w, &s, seeds[i]);
        image_alloc(&im, c->res, c->res, c->img_channels);
        memcpy(im.data, w->pixels + (size_t)i * picture, picture);
        if (sink_put(w->sink, &s, &im, &e) != ST_OK)
            cli_die("%s", e.text);
    }
    cli_progress_add(&w->progress, l->n);
}

static void begin_w(struct work *w, int64_t n) {
    const struct sg2_config *c = &w->config;
    struct error e;
    if (w->save_w && npy_write_header(w->save_w, "<f4", 3, (int64_t[]){n, sg2_num_ws(c), c->w_dim}, &e) != ST_OK)
        cli_die("%s: %s", o.save_w, e.text);
}

static void from_seeds(struct work *w, const uint64_t *seeds, int64_t n) {
    int z_dim = w->config.z_dim;
    float *z = w->z = xmalloc((size_t)w->batch * (size_t)z_dim * sizeof *z);
    begin_w(w, n);
    for (int64_t at = 0; at < n; at += w->batch) {
        int64_t m = n - at < w->batch ? n - at : w->batch;
        for (int64_t i = 0; i < m; i++)
            if (o.rng == 0)
                numpy_randn((uint32_t)seeds[at + i], z + i * z_dim, z_dim);
            else
                philox_fill_normal(seeds[at + i], 0, USE_Z, z + i * z_dim, z_dim);
        generate(w, &(struct sg2_latents){.n = m, .z = z}, seeds + at);
    }
}

/* Which kind of latent an array is: 'z', 'w', '+' for w+, or 0 when none. */
static char latent_kind(const struct sg2_config *c, const struct npy_rows *a) {
    if (a->ndim == 3 && a->dim[1] == sg2_num_ws(c) && a->dim[2] == c->w_dim)
        return '+';
    if (a->ndim == 2 && a->dim[1] == c->w_dim && (o.latent == LATENT_W || c->w_dim != c->z_dim))
        return 'w';
    return a->ndim == 2 && a->dim[1] == c->z_dim && o.latent == LATENT_AUTO ? 'z' : 0;
}

static void from_stream(struct work *w) {
    const struct sg2_config *c = &w->config;
    struct npy_rows a;
    struct error e;
    enum status st;
    int largest = sg2_num_ws(c) * c->w_dim > c->z_dim ? sg2_num_ws(c) * c->w_dim : c->z_dim;
    float *rows = w->z = xmalloc((size_t)w->batch * (size_t)largest * sizeof *rows);
    uint64_t position = 0, *names = w->names = xmalloc((size_t)w->batch * sizeof *names);
    while ((st = npy_rows_open(stdin, "stdin", &a, &e)) == ST_OK) {
        char kind = latent_kind(c, &a);
        if (!kind) {
            char shape[128] = "";
            for (int i = 0, at = 0; i < a.ndim; i++)
                at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%lld", i ? "," : "", (long long)a.dim[i]);
            cli_die("stdin: an array of shape [%s] is no latent of this network: z is [N,%d], w [N,%d], w+ [N,%d,%d]", shape, c->z_dim,
                    c->w_dim, sg2_num_ws(c), c->w_dim);
        }
        if (kind == 'z' && c->c_dim > 0 && !w->labels)
            cli_usage("the network has %d classes: say which with --class", c->c_dim);
        begin_w(w, a.rows);
        while (a.left) {
            int64_t m = a.left < w->batch ? a.left : w->batch, first = a.rows - a.left;
            if (npy_rows_read(&a, rows, m, &e) != ST_OK)
                cli_die("%s", e.text);
            for (int64_t i = 0; i < m * a.row; i++)
                if (!isfinite(rows[i]))
                    cli_die("stdin: row %lld of an array holds a value that is not finite", (long long)(first + i / a.row));
            for (int64_t i = 0; i < m; i++)
                names[i] = position++;
            generate(w, &(struct sg2_latents){.n = m, .z = kind == 'z' ? rows : NULL, .w = kind == 'w' ? rows : NULL,
                                              .ws = kind == '+' ? rows : NULL}, names);
        }
        npy_rows_close(&a);
    }
    if (st != ST_END)
        cli_die("%s", e.text);
    if (position == 0)
        cli_die("stdin: no latents; give --seeds, or arrays as np.save writes them");
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Seeds name the samples of a stream or folder, and names must differ. */
static void check_seeds(const uint64_t *seeds, size_t n) {
    uint64_t *sorted = xmalloc(n * sizeof *sorted);
    memcpy(sorted, seeds, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 0; i < n; i++) {
        if (o.rng == 0 && sorted[i] > UINT32_MAX)
            cli_usage("seed %llu is over 2^32-1, NumPy's limit; --rng philox takes it", (unsigned long long)sorted[i]);
        if (i && sorted[i] == sorted[i - 1] && !(o.out && sink_is_grid(o.out)))
            cli_usage("seed %llu is given twice", (unsigned long long)sorted[i]);
    }
    free(sorted);
}

static void check_usage(int operands, char **argv) {
    if (operands > 1 || (operands == 1 && strcmp(argv[0], "-")))
        cli_usage("takes no operand but \"-\" (latents on stdin), not \"%s\"", argv[0]);
    if (!o.network)
        cli_usage("--network FILE is needed");
    if (o.seeds && operands)
        cli_usage("--seeds and latents on stdin exclude each other");
    if (o.grid && (!o.out || !sink_is_grid(o.out)))
        cli_usage("--grid needs --out FILE.png");
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv);
    check_usage(argc - first, argv + first);
    uint64_t *seeds = NULL;
    size_t n = 0;
    if (o.seeds && !cli_parse_ranges(o.seeds, &seeds, &n, MAX_SEEDS))
        cli_usage("--seeds takes numbers and ranges such as 0-99,150, not \"%s\"", o.seeds);
    if (n)
        check_seeds(seeds, n);
    int columns = 0, rows = 0;
    if (o.grid && !cli_parse_size(o.grid, 65500, &columns, &rows))
        cli_usage("--grid takes columns x rows such as 8x4, not \"%s\"", o.grid);
    bool only_look = o.plan || o.profile;
    if (!o.seeds && !only_look)
        cli_need_stream_stdin("latents (NumPy arrays)");
    if (!o.out && !only_look)
        cli_need_binary_stdout("a sample stream (tar)");

    struct error e;
    struct checkpoint *file;
    struct device *device;
    struct sg2_net *net;
    struct work w = {0};
    if (checkpoint_open(&file, o.network, &e) != ST_OK || sha256_file(o.network, w.network, &e) != ST_OK ||
        device_open(&device, o.device, (int)o.threads, &e) != ST_OK || checkpoint_generator(file, device, &net, &e) != ST_OK)
        cli_die("%s", e.text);
    device_use_graphs(device, !o.no_graph);
    w.config = *checkpoint_config(file);
    w.images = checkpoint_images(file);
    w.half = !o.fp32 && !strcmp(device_name(device), "cuda");
    checkpoint_close(file);
    if (o.class != LONG_MIN && o.class >= w.config.c_dim)
        cli_usage(w.config.c_dim ? "--class %ld: the network has classes 0-%d" : "--class %ld: the network has no classes", o.class,
                  w.config.c_dim - 1);
    if (o.seeds && w.config.c_dim > 0 && o.class == LONG_MIN)
        cli_usage("the network has %d classes: say which with --class", w.config.c_dim);

    int pixels = w.config.res * w.config.res;
    w.batch = o.batch != LONG_MIN ? (int)o.batch : pixels > BATCH_PIXELS ? 1 : BATCH_PIXELS / pixels > 32 ? 32 : BATCH_PIXELS / pixels;
    if (n && (size_t)w.batch > n)
        w.batch = (int)n;
    struct sg2_generator_opt go = {.batch = w.batch, .noise = noise_kind[o.noise], .psi = (float)o.trunc, .cutoff = (int)o.cutoff,
                                   .half = !o.fp32};
    if (sg2_generator_create(&w.generator, device, net, &go, &e) != ST_OK)
        cli_die("%s", e.text);
    if (only_look) {
        if (o.plan)
            program_print(sg2_generator_program(w.generator), stdout);
        else
            program_profile(sg2_generator_program(w.generator), stdout);
    } else {
        if (o.class != LONG_MIN) {
            w.labels = xmalloc((size_t)w.batch * sizeof *w.labels);
            for (int i = 0; i < w.batch; i++)
                w.labels[i] = (int)o.class;
        }
        if (o.save_w) {
            w.ws = xmalloc((size_t)w.batch * (size_t)sg2_num_ws(&w.config) * (size_t)w.config.w_dim * sizeof *w.ws);
            save_w_name = xasprintf("%s.tmp-%ld", o.save_w, (long)getpid());
            atexit(remove_unfinished);
            if (!(w.save_w = fopen(save_w_name, "wb")))
                cli_die("%s: %s", o.save_w, strerror(errno));
        }
        w.pixels = xmalloc((size_t)w.batch * (size_t)pixels * (size_t)w.config.img_channels);
        const struct sink_options so = {.path = o.out, .format = format_kind[o.format], .quality = (int)o.quality, .columns = columns,
                                        .rows = rows, .depth = 2 * w.batch};
        if (sink_open(&w.sink, &so, &e) != ST_OK)
            cli_die("%s", e.text);
        cli_progress_start(&w.progress, "pictures", (int64_t)n);
        double started = cli_seconds();
        if (o.seeds)
            from_seeds(&w, seeds, (int64_t)n);
        else
            from_stream(&w);
        double spent = cli_seconds() - started;
        if (sink_close(w.sink, &e) != ST_OK)
            cli_die("%s", e.text);
        cli_progress_end(&w.progress);
        if (w.save_w && (fclose(w.save_w) != 0 || rename(save_w_name, o.save_w) != 0))
            cli_die("%s: %s", o.save_w, strerror(errno));
        double flops = program_get_info(sg2_generator_program(w.generator)).flops / sg2_generator_batch(w.generator);
        cli_info("%lld pictures in %.1f s: %.1f a second, %.1f GFLOP/s", (long long)w.progress.done, spent,
                 (double)w.progress.done / spent, (double)w.progress.done * flops / spent * 1e-9);
    }
    sg2_generator_free(w.generator);
    sg2_net_free(net);
    device_close(device);
    free(seeds);
    free(w.labels);
    free(w.ws);
    free(w.pixels);
    free(w.z);
    free(w.names);
    return cli_finish(EXIT_OK);
}
