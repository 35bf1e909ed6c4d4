/* sg2-gen - pictures from a StyleGAN2 generator: samples, a grid, a video, or a labelled table. sg2-gen.1 is the manual.
 *
 * Pictures are made a batch at a time; a second thread encodes and writes one batch while the next is computed, so memory
 * does not grow with their number (grids and tables apart). A picture depends on its seed or latent, not on its batch.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/latent/describe.h"
#include "common/latent/drawing.h"
#include "common/latent/seeds.h"
#include "common/store/checkpoint.h"
#include "common/stream/sink.h"

#define MAX_NUMBERS 256       /* columns of a table */
/* Pixels in a batch by default: 16 pictures of 128x128; a GPU wants more at a time (64, and 4 of 1024x1024). */
#define BATCH_PIXELS (1 << 18)
#define BATCH_PIXELS_GPU (1 << 22)

static struct {
    const char *network, *seeds, *out, *grid, *save_w, *trunc, *noise_scale, *mix, *directions, *amounts, *layers;
    double fps;
    long cutoff, class, batch, quality, threads;
    int noise, rng, format, latent, chroma, device;
    bool fp32, no_graph, plan, profile, animate, label;
} o = {.trunc = "1", .cutoff = -1, .class = LONG_MIN, .batch = LONG_MIN, .quality = 95, .noise = 1,
       .amounts = "-3,-1.5,0,1.5,3", .fps = 24};
enum { FORMAT_PPM = 1, FORMAT_Y4M = 5 };
static const enum sg2_noise noise_kind[] = {SG2_NOISE_RANDOM, SG2_NOISE_CONST, SG2_NOISE_NONE};
static const char *const noise_name[] = {"random", "const", "none"}, *const rng_name[] = {"numpy", "philox"};
static const enum image_format format_kind[] = {IMAGE_UNKNOWN, IMAGE_PPM, IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP, IMAGE_UNKNOWN};

static const struct cli_option options[] = {
    {.type = CLI_HEADING, .help = "What to draw"},
    {'n', "network", "FILE", CLI_STRING, &o.network, 0, 0, "network, snapshot or checkpoint: safetensors, NVIDIA's .pkl, rosinality's .pt"},
    {'s', "seeds", "LIST", CLI_STRING, &o.seeds, 0, 0, "seeds such as 0-99,150; without it latents are read from files or stdin"},
    {'t', "trunc", "PSI,...", CLI_STRING, &o.trunc, 0, 0, "truncation: w moves to this share of its distance from the mean; several make a table"},
    {0, "cutoff", "N", CLI_INT, &o.cutoff, -1, 64, "truncate the first N layers only; -1 = all"},
    {0, "noise", "random|const|none", CLI_CHOICE, &o.noise, 0, 0, "noise inputs; random is keyed by the seed"},
    {0, "noise-scale", "FACTORS", CLI_STRING, &o.noise_scale, 0, 0, "factor on the noise, of all layers (0.5) or by layer (4-7=0,8=2)"},
    {'c', "class", "K", CLI_INT, &o.class, 0, 1e6, "class, for conditional networks"},
    {0, "rng", "numpy|philox", CLI_CHOICE, &o.rng, 0, 0, "how a seed becomes z; numpy = RandomState(seed).randn, as everywhere"},
    {0, "latent", "auto|w", CLI_CHOICE, &o.latent, 0, 0, "what [N,D] arrays are when z and w have one size: auto = z"},
    {.type = CLI_HEADING, .help = "Where to"},
    {'o', "out", "DIR|FILE", CLI_STRING, &o.out, 0, 0, "folder, or one file (several pictures: a grid); default a sample stream on stdout"},
    {'f', "format", "auto|ppm|png|jpg|webp|y4m", CLI_CHOICE, &o.format, 0, 0, "auto: samples with ppm, png in a folder, by a file's name; "
     "y4m, and ppm on stdout: raw video"},
    {0, "quality", "N", CLI_INT, &o.quality, 1, 100, "of jpg and webp"},
    {0, "grid", "WxH", CLI_STRING, &o.grid, 0, 0, "columns and rows of a grid written to --out FILE; default about square"},
    {0, "label", NULL, CLI_FLAG, &o.label, 0, 0, "write the seed below each picture of a grid"},
    {0, "animate", NULL, CLI_FLAG, &o.animate, 0, 0, "--out FILE.png or .webp: an animation with a frame a picture, not a grid"},
    {0, "fps", "R", CLI_FLOAT, &o.fps, 0.01, 1000, "frames a second of a video"},
    {0, "chroma", "420|444", CLI_CHOICE, &o.chroma, 0, 0, "colour resolution of y4m: half, as players expect, or full"},
    {0, "save-w", "FILE", CLI_STRING, &o.save_w, 0, 0, "also write w+ after truncation, float32 [N,num_ws,w], as .npy"},
    {.type = CLI_HEADING, .help = "Labelled tables, to --out FILE.png (rows: the seeds or latents)"},
    {0, "mix", "LIST", CLI_STRING, &o.mix, 0, 0, "style mixing: a column for each of these seeds, which gives the styles of --layers"},
    {0, "directions", "FILE", CLI_STRING, &o.directions, 0, 0, "a row for each direction, .npy [K,w] or [K,num_ws,w]; columns: --amounts"},
    {0, "amounts", "LIST", CLI_STRING, &o.amounts, 0, 0, "how far along the directions"},
    {0, "layers", "LIST", CLI_STRING, &o.layers, 0, 0, "layers that are mixed (default the first 7 of 18) or moved (default all)"},
    {.type = CLI_HEADING, .help = "Computing"},
    {'b', "batch", "N", CLI_INT, &o.batch, 1, SG2_MAX_BATCH, "pictures computed at a time; default by size"},
    {0, "device", DEVICES, CLI_CHOICE, &o.device, 0, 0, "where to compute"},
    {0, "fp32", NULL, CLI_FLAG, &o.fp32, 0, 0, "float32 throughout on a GPU, where bfloat16 convolutions are the default"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {0, "plan", NULL, CLI_FLAG, &o.plan, 0, 0, "print launches, FLOPs and memory of a batch and exit"},
    {0, "profile", NULL, CLI_FLAG, &o.profile, 0, 0, "run one batch, print the time of each operation and exit"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-gen",
    .synopsis = "--network FILE --seeds LIST | [LATENTS.npy ...] | -  [options]  > samples",
    .purpose = "Generates pictures with a StyleGAN2 network, from seeds or from latents (NumPy arrays: z [N,z], w [N,w], w+ [N,num_ws,w]): "
               "samples, a grid, a video or a labelled table.",
    .options = options,
    .examples = "sg2-gen --network faces.safetensors --seeds 0-9999 --trunc 0.7 | fid-score --ref faces.lmdb -\n"
                "sg2-gen --network faces.safetensors --seeds 0-31 --grid 8x4 --out faces.png\n"
                "sg2-gen --network faces.safetensors --seeds 85,100,75 --mix 55,821,1789 --out mix.png\n"
                "sg2-gen --network faces.safetensors --format y4m walk.npy | ffmpeg -i - walk.mp4\n"};

/* ---- state ---- */

struct work {
    struct sg2_config config;
    struct device *device;
    struct sg2_net *net;
    struct sg2_generator *generator;
    struct drawing *drawing;
    struct picture_origin origin;
    int batch, n_psi, n_amount;
    double *psi, *amount; /* psi: one unless there is a table of them */
    uint64_t *seeds, *mix;
    size_t n_seeds, n_mix;
    struct sink *sink;    /* NULL for a table */
    struct cli_progress progress;
};

static bool is_table(const struct work *w) { return o.mix || o.directions || w->n_psi > 1; }

/* ST_BAD is what the caller of drawing.h may have got wrong: the command line. */
static void must(enum status st, const struct error *e) {
    if (st == ST_BAD)
        cli_usage("%s", e->text);
    if (st != ST_OK)
        cli_die("%s", e->text);
}

static struct latent_input *open_input(const struct work *w, const uint64_t *seeds, size_t n, char **files, int n_files) {
    struct latent_input *in;
    struct error e;
    const struct latent_input_options io = {.config = &w->config, .seeds = seeds, .n_seeds = (int64_t)n, .philox = o.rng, .files = files,
                                            .n_files = n_files, .as_w = o.latent, .batch = w->batch};
    if (latent_input_open(&in, &io, &e) != ST_OK)
        cli_die("%s", e.text);
    return in;
}

/* ---- pictures one by one: samples, a grid, a video ---- */

static struct sink *unfinished; /* what it writes in pieces has a temporary name until it is whole */
static void remove_unfinished(void) { sink_cancel(unfinished); }

static enum status put_picture(void *context, const struct image *picture, uint64_t name, struct error *e) {
    struct work *w = context;
    struct sample s = {0};
    struct image im;
    picture_describe(&w->origin, name, &s);
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)name);
    if (o.label)
        sheet_caption(picture, number, &im);
    else
        image_copy(&im, picture);
    return sink_put(w->sink, &s, &im, e);
}

static void draw_pictures(struct work *w, struct latent_input *in, const struct sink_options *so) {
    struct error e;
    if (sink_open(&w->sink, so, &e) != ST_OK)
        cli_die("%s", e.text);
    unfinished = w->sink;
    enum status st = drawing_pictures(w->drawing, in, !o.seeds, put_picture, w, &e);
    if (st != ST_OK)
        sink_flush(w->sink); /* latents that ended in the middle: what came whole is drawn and written */
    must(st, &e);
    unfinished = NULL;
    if (sink_close(w->sink, &e) != ST_OK)
        cli_die("%s", e.text);
}

/* ---- tables ---- */

static void write_table(struct work *w, const struct latent_table *t) {
    struct error e;
    struct sheet s;
    struct bytes encoded = {0};
    w->progress.total = table_cells(t);
    enum status st = drawing_table(w->drawing, t, &s, &e);
    if (st == ST_FAIL)
        cli_die("%s", e.text);
    if (st != ST_OK ||
        image_encode(&s.picture, o.format ? format_kind[o.format] : image_format_by_name(o.out), (int)o.quality, &encoded, &e) != ST_OK ||
        file_write_atomic(o.out, encoded.data, encoded.size, &e) != ST_OK)
        cli_die("%s: %s", o.out, e.text);
    bytes_free(&encoded);
    sheet_free(&s);
}

static void make_table(struct work *w, struct latent_input *in) {
    const struct sg2_config *c = &w->config;
    int num_ws = sg2_num_ws(c);
    struct latent_table t = {.kind = o.mix ? TABLE_MIX : o.directions ? TABLE_MOVE : TABLE_TRUNC, .shape = {num_ws, c->w_dim},
                             .mask = latent_first_layers(num_ws), .amount = w->amount, .n_amount = w->n_amount};
    struct error e;
    float *mean = NULL;
    if (o.mix)
        t.mask = latent_first_layers((7 * num_ws + 9) / 18); /* the field's 0-6 at 1024x1024 */
    if (o.layers && latent_layers_parse(o.layers, num_ws, &t.mask, &e) != ST_OK)
        cli_usage("--layers: %s", e.text);
    if (o.directions && table_read_directions(&t, o.directions, &e) != ST_OK)
        cli_die("%s", e.text);
    if (t.kind == TABLE_TRUNC) {
        t.mask = latent_first_layers((int)o.cutoff);
        t.amount = w->psi, t.n_amount = w->n_psi;
        mean = xmalloc((size_t)c->w_dim * sizeof *mean);
        sg2_tensor_get(sg2_net_find(w->net, "mapping.w_avg"), w->net->state, mean);
        t.mean.data = mean;
    }
    must(drawing_sources(w->drawing, in, &t.rows, &e), &e);
    if (o.mix) {
        struct latent_input *columns = open_input(w, w->mix, w->n_mix, NULL, 0);
        must(drawing_sources(w->drawing, columns, &t.columns, &e), &e);
        latent_input_close(columns);
    }
    write_table(w, &t);
    table_sources_free(&t.rows);
    table_sources_free(&t.columns);
    free(mean);
    free(t.direction);
}

/* ---- the command line ---- */

/* They name the samples of a stream or folder, where names must differ. */
static void parse_lists(struct work *w, bool differ) {
    struct error e;
    if (o.seeds && seeds_parse("seeds", o.seeds, o.rng, differ, &w->seeds, &w->n_seeds, &e) != ST_OK)
        cli_usage("%s", e.text);
    if (o.mix && seeds_parse("mix", o.mix, o.rng, false, &w->mix, &w->n_mix, &e) != ST_OK)
        cli_usage("%s", e.text);
}

/* Is the output a video, and of which kind? */
static bool is_video(struct video_options *v) {
    *v = (struct video_options){.path = o.out, .kind = VIDEO_Y4M, .fps = o.fps, .full_chroma = o.chroma, .quality = (int)o.quality};
    bool named = o.out && video_kind_by_name(o.out, &v->kind), picture = o.out && sink_is_grid(o.out);
    if (o.animate && !(named && v->kind != VIDEO_Y4M))
        cli_usage("--animate needs --out FILE.png, .apng or .webp");
    if (o.format == FORMAT_Y4M && named && v->kind != VIDEO_Y4M)
        cli_usage("--format y4m and --out %s contradict each other", o.out);
    if (o.format == FORMAT_PPM && !o.out)
        v->kind = VIDEO_PPM;
    else if (o.format == FORMAT_Y4M)
        v->kind = VIDEO_Y4M;
    else if (!named || (picture && !o.animate))
        return false;
    else if (o.format && !(o.animate && format_kind[o.format] == image_format_by_name(o.out)))
        cli_usage("--format and --out %s contradict each other", o.out);
    return true;
}

/* A name that promises a file of a kind that is not made here would become a folder: "faces.gif/". */
static void check_name(const char *path) {
    static const char *const others[] = {".gif", ".mp4", ".mkv", ".webm", ".mov", ".avi", ".bmp", ".tif", ".tiff", ".avif", ".svg", ".pdf", ".npy",
                                         ".npz", ".tar", ".zip"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof others / sizeof *others; i++)
        if (!strcasecmp(dot, others[i]))
            cli_usage(i < sizeof others / sizeof *others - 2 ? "--out %s: files end in .png, .jpg, .webp, .ppm, .y4m or .apng, and a folder in /"
                                                             : "--out %s: a stream goes to standard output (> FILE), a folder's name ends in /", path);
}

static void check_usage(const struct work *w, int operands, const struct video_options *video) {
    bool picture = o.out && sink_is_grid(o.out);
    const char *dot = o.save_w ? strrchr(o.save_w, '.') : NULL;
    if (dot && !strcasecmp(dot, ".npz"))
        cli_usage("--save-w %s: what is written is one array, .npy", o.save_w);
    if (!o.network)
        cli_usage("--network FILE is needed");
    if (picture && !video && o.format && format_kind[o.format] != image_format_by_name(o.out))
        cli_usage("--format and --out %s contradict each other", o.out);
    if (o.out && !picture && !video)
        check_name(o.out);
    if (o.seeds && operands)
        cli_usage("--seeds and latents exclude each other");
    if (o.grid && (!picture || video || is_table(w)))
        cli_usage("--grid needs --out FILE.png, and is for neither video nor tables");
    if (o.label && (!picture || video || is_table(w)))
        cli_usage("--label is for grids: it needs --out FILE.png");
    if (!!o.mix + !!o.directions + (w->n_psi > 1) > 1)
        cli_usage("--mix, --directions and several --trunc are three tables: choose one");
    if (is_table(w) && (!picture || video))
        cli_usage("%s makes a table, one picture: --out FILE.png is needed", o.mix ? "--mix" : o.directions ? "--directions" : "several --trunc");
    if (o.layers && !o.mix && !o.directions)
        cli_usage("--layers goes with --mix or --directions");
    if (cli_given("amounts") && !o.directions)
        cli_usage("--amounts goes with --directions");
    if (cli_given("fps") && (!video || video->kind == VIDEO_PPM))
        cli_usage(video ? "PPM frames do not say how fast they are: tell ffmpeg by -framerate" : "--fps is for video: --format y4m or --animate");
    if (cli_given("chroma") && (!video || video->kind != VIDEO_Y4M))
        cli_usage("--chroma is for --format y4m");
}

/* ---- the work ---- */

static void open_network(struct work *w) {
    struct error e;
    struct checkpoint *file;
    if (checkpoint_open(&file, o.network, &e) != ST_OK || sha256_file(o.network, w->origin.network, &e) != ST_OK ||
        device_open(&w->device, device_choice(o.device), (int)o.threads, &e) != ST_OK || checkpoint_generator(file, w->device, &w->net, &e) != ST_OK)
        cli_die("%s", e.text);
    device_use_graphs(w->device, !o.no_graph);
    w->config = *checkpoint_config(file);
    w->origin.images = checkpoint_images(file);
    checkpoint_close(file);
    if (o.class != LONG_MIN && sg2_config_class(&w->config, o.class, &e) != ST_OK)
        cli_usage("--class %ld: %s", o.class, e.text);
    if ((o.seeds || o.mix) && w->config.c_dim > 0 && o.class == LONG_MIN)
        cli_usage("the network has %d classes: say which with --class", w->config.c_dim);
}

static void make_generator(struct work *w) {
    struct error e;
    bool gpu = strcmp(device_name(w->device), "cpu") != 0;
    int fit = (gpu ? BATCH_PIXELS_GPU : BATCH_PIXELS) / (w->config.res * w->config.res), most = gpu ? 64 : 32;
    w->batch = o.batch != LONG_MIN ? (int)o.batch : fit > most ? most : fit > 1 ? fit : 1;
    if (w->n_seeds && (size_t)w->batch > w->n_seeds && !is_table(w))
        w->batch = (int)w->n_seeds;
    float factors[64];
    if (o.noise_scale && latent_factors_parse(o.noise_scale, sg2_num_ws(&w->config), factors, &e) != ST_OK)
        cli_usage("--noise-scale: %s", e.text);
    struct sg2_generator_opt go = {.batch = w->batch, .noise = noise_kind[o.noise], .psi = w->n_psi > 1 ? 1 : (float)w->psi[0],
                                   .cutoff = (int)o.cutoff, .noise_scale = o.noise_scale ? factors : NULL, .half = !o.fp32};
    if (sg2_generator_create(&w->generator, w->device, w->net, &go, &e) != ST_OK)
        cli_die("%s", e.text);
    w->origin.rng = o.seeds ? rng_name[o.rng] : NULL;
    w->origin.res = w->config.res;
    w->origin.psi = w->psi[0];
    w->origin.cutoff = (int)o.cutoff;
    w->origin.class_number = o.class == LONG_MIN ? -1 : (int)o.class;
    w->origin.noise = noise_name[o.noise];
    w->origin.noise_scale = o.noise_scale;
    w->origin.precision = !o.fp32 && !strcmp(device_name(w->device), "cuda") ? "bfloat16" : "float32";
}

static void on_drawn(int64_t n, void *progress) { cli_progress_add(progress, n); }

static void draw(struct work *w, char **files, int n_files, const struct sink_options *so) {
    struct error e;
    atexit(remove_unfinished);
    const struct drawing_options d = {.generator = w->generator, .config = &w->config, .batch = w->batch, .class_number = w->origin.class_number,
                                      .save_w = o.save_w, .tick = on_drawn, .data = &w->progress};
    if (drawing_open(&w->drawing, &d, &e) != ST_OK)
        cli_die("%s", e.text);
    struct latent_input *in = open_input(w, w->seeds, w->n_seeds, files, n_files);
    cli_progress_start(&w->progress, "pictures", (int64_t)w->n_seeds);
    double started = cli_seconds();
    if (is_table(w))
        make_table(w, in);
    else
        draw_pictures(w, in, so);
    latent_input_close(in);
    double spent = cli_seconds() - started;
    cli_progress_end(&w->progress);
    if (drawing_close(w->drawing, true, &e) != ST_OK)
        cli_die("%s", e.text);
    double flops = program_get_info(sg2_generator_program(w->generator)).flops / sg2_generator_batch(w->generator);
    cli_info("%lld pictures in %.1f s: %.1f a second, %.1f GFLOP/s", (long long)w->progress.done, spent, (double)w->progress.done / spent,
             (double)w->progress.done * flops / spent * 1e-9);
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), operands = argc - first, columns = 0, rows = 0;
    struct work w = {0};
    struct video_options video;
    if (!cli_parse_floats(o.trunc, -10, 10, &w.psi, &w.n_psi, MAX_NUMBERS))
        cli_usage("--trunc takes numbers from -10 to 10 such as 0.7, or 0,0.5,1 for a table, not \"%s\"", o.trunc);
    if (!cli_parse_floats(o.amounts, -1e6, 1e6, &w.amount, &w.n_amount, MAX_NUMBERS))
        cli_usage("--amounts takes numbers such as -2,0,2, not \"%s\"", o.amounts);
    bool moving = is_video(&video), only_look = o.plan || o.profile;
    check_usage(&w, operands, moving ? &video : NULL);
    parse_lists(&w, !moving && !(o.out && sink_is_grid(o.out)));
    if (o.grid && !cli_parse_size(o.grid, 65500, &columns, &rows))
        cli_usage("--grid takes columns x rows such as 8x4, not \"%s\"", o.grid);
    for (int i = 0; !o.seeds && !only_look && i < (operands ? operands : 1); i++)
        if (!operands || !strcmp(argv[first + i], "-"))
            cli_need_stream_stdin("latents (NumPy arrays)");
    if (!o.out && !only_look)
        cli_need_binary_stdout(moving ? "raw video" : "a sample stream (tar)");

    open_network(&w);
    make_generator(&w);
    const struct sink_options so = {.path = o.out, .format = format_kind[o.format], .quality = (int)o.quality, .video = moving ? &video : NULL,
                                    .columns = columns, .rows = rows, .depth = 2 * w.batch,
                                    .jobs = o.threads ? (int)o.threads : (int)cli_processors()};
    if (o.plan)
        program_print(sg2_generator_program(w.generator), stdout);
    else if (o.profile)
        program_profile(sg2_generator_program(w.generator), stdout);
    else
        draw(&w, argv + first, operands, &so);
    sg2_generator_free(w.generator);
    sg2_net_free(w.net);
    device_close(w.device);
    free(w.seeds);
    free(w.mix);
    free(w.amount);
    free(w.psi);
    return cli_finish(EXIT_OK);
}
