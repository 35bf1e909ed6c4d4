/* sg2-project - aligned pictures to the latents with which a network draws them. sg2-project.1 is the manual; the search is
 * common/stylegan2/projector.c.
 *
 * Pictures are taken a batch at a time, and their latents written when the batch is done: a run that is stopped keeps what it has
 * finished, and memory does not grow with their number (noise maps and a picture file apart, which are written at the end).
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/metrics/inception.h"
#include "common/projection/film.h"
#include "common/projection/finding.h"
#include "common/projection/noise_maps.h"
#include "common/store/checkpoint.h"
#include "common/stream/npy.h"
#include "common/stream/sink.h"
#include "common/stream/source.h"

#define SYNC_EVERY 25 /* steps between waits for the device, so that the progress line tells the truth */

enum { DISTANCE_AUTO, DISTANCE_PIXEL, DISTANCE_DISCRIMINATOR, DISTANCE_INCEPTION };
enum { NOISE_CONST, NOISE_OPTIMISE };
static struct {
    const char *network, *pictures, *save_video, *save_noise, *report, *rejects, *inception;
    double lr, w_noise, contrast, features, prior, rows, w_first, max_reject;
    long steps, guesses, class, batch, seed, threads, every;
    int space, distance, noise, format, device;
    bool fp32, no_graph, plan, profile, null;
} o = {.space = PROJECT_W_PLUS, .class = LONG_MIN, .batch = LONG_MIN, .max_reject = 0.5, .every = 10};
static const char *const distance_name[] = {"auto", "pixel", "discriminator", "inception"}, *const noise_name[] = {"const", "optimise"},
                  *const space_name[] = {"w", "w+"};

static const struct cli_option options[] = {
    {'n', "network", "FILE", CLI_STRING, &o.network, 0, 0, "network, snapshot or checkpoint: safetensors, NVIDIA's .pkl, rosinality's .pt"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "The search"},
    {0, "space", "w|w+", CLI_CHOICE, &o.space, 0, 0, "one w for all layers, or one a layer (closer, and less like the network's own)"},
    {0, "distance", "auto|pixel|discriminator|inception", CLI_CHOICE, &o.distance, 0, 0, "likeness; auto: discriminator if the file has one, else pixel"},
    {0, "inception", "FILE", CLI_STRING, &o.inception, 0, 0, "Inception's weights for that, else as fid-score finds them"},
    {0, "contrast", "X", CLI_FLOAT, &o.contrast, 0, 1e6, "weight of how much goes on where, beside the pixels"},
    {0, "features", "X", CLI_FLOAT, &o.features, 0, 1e6, "weight of the discriminator's or Inception's features"},
    {0, "prior", "X", CLI_FLOAT, &o.prior, 0, 1e6, "how hard w is held where the network's w are"},
    {0, "rows", "X", CLI_FLOAT, &o.rows, 0, 1e6, "w+: how hard the layers' w are held together"},
    {0, "guesses", "N", CLI_INT, &o.guesses, 0, 4096, "pictures drawn for a first guess; 0: start from the middle of w"},
    {0, "w-first", "X", CLI_FLOAT, &o.w_first, 0, 1, "w+: share of the steps that search a single w first"},
    {0, "steps", "N", CLI_INT, &o.steps, 1, 1000000, "steps of Adam"},
    {0, "lr", "X", CLI_FLOAT, &o.lr, 0, 10, "largest learning rate"},
    {0, "w-noise", "X", CLI_FLOAT, &o.w_noise, 0, 10, "random moves of w at first, as a share of its length"},
    {0, "noise", "const|optimise", CLI_CHOICE, &o.noise, 0, 0, "noise maps: the network's own, or sought along with w (see --save-noise)"},
    {'c', "class", "K", CLI_INT, &o.class, 0, 1e6, "class to look among, for conditional networks; default all"},
    {0, "seed", "N", CLI_INT, &o.seed, 0, 9007199254740992.0, "of the random moves, and of the 10,000 w that say where w lie"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Input and output"},
    {0, "format", "w+|w", CLI_CHOICE, &o.format, 0, 0, "of the latents written: [N,num_ws,w], or [N,w] with --space w"},
    {0, "pictures", "DIR|FILE", CLI_STRING, &o.pictures, 0, 0, "also write the projections: a folder, or one picture of targets beside projections"},
    {0, "save-video", "FILE", CLI_STRING, &o.save_video, 0, 0, "film the first picture's search: .y4m, .apng, .png or .webp"},
    {0, "video-every", "N", CLI_INT, &o.every, 1, 1000000, "steps between frames of that video"},
    {0, "save-noise", "FILE", CLI_STRING, &o.save_noise, 0, 0, "with --noise optimise: write the noise maps (safetensors)"},
    {0, "report", "FILE", CLI_STRING, &o.report, 0, 0, "write a JSON line a picture: PSNR, losses, distance used"},
    {'0', "null", NULL, CLI_FLAG, &o.null, 0, 0, "names on stdin end with NUL instead of a newline"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "a JSON line for each picture that cannot be used, with the reason"},
    {0, "max-reject", "N", CLI_FLOAT, &o.max_reject, 0, 1e15, "exit 3 when more are rejected: a number, or a share below 1"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Computing"},
    {'b', "batch", "N", CLI_INT, &o.batch, 1, SG2_MAX_PROJECT, "pictures at once; default 1 on the CPU, 8 on a GPU"},
    {0, "device", DEVICES, CLI_CHOICE, &o.device, 0, 0, "where to compute"},
    {0, "fp32", NULL, CLI_FLAG, &o.fp32, 0, 0, "float32 throughout on a GPU, where bfloat16 convolutions are the default"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {0, "plan", NULL, CLI_FLAG, &o.plan, 0, 0, "print launches, FLOPs and memory of a step and exit"},
    {0, "profile", NULL, CLI_FLAG, &o.profile, 0, 0, "run one step, print the time of each operation and exit"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-project",
    .synopsis = "--network FILE [options] [PICTURE|FOLDER...] [< samples] > latents",
    .purpose = "Finds the latents with which a StyleGAN2 network draws given, aligned pictures: a latent stream of w+ (or w) on stdout.",
    .options = options,
    .examples = "face-align --size 128 me.jpg | sg2-project --network N.safetensors | sg2-gen --network N.safetensors --out again.png\n"
                "sg2-project --network faces.safetensors aligned/ --pictures pairs.png --report report.jsonl > latents.npy\n"};

/* ---- state ---- */

struct work {
    struct sg2_config config;
    struct device *device;
    struct sg2_net *g, *d;
    struct inception_judge *judge;
    char network[SHA256_HEX];
    struct projector *projector;
    struct search search;   /* what is said of it */
    int distance, batch;
    struct sample *samples; /* [batch]: key, source and label; their pictures are in targets */
    uint8_t *targets;       /* [batch,res,res,C] */
    int n;                  /* of them filled */
    int64_t done;
    FILE *report;
    struct sink *sink;
    struct film *film;      /* of the first picture; ends after its batch */
    struct noise_maps *maps;
    struct cli_rejects rejects;
};

static int64_t pixels(const struct work *w) { return (int64_t)w->config.res * w->config.res * w->config.img_channels; }

static void open_networks(struct work *w) {
    struct error e;
    struct checkpoint *file;
    if (checkpoint_open(&file, o.network, &e) != ST_OK || sha256_file(o.network, w->network, &e) != ST_OK ||
        device_open(&w->device, device_choice(o.device), (int)o.threads, &e) != ST_OK || checkpoint_generator(file, w->device, &w->g, &e) != ST_OK)
        cli_die("%s", e.text);
    device_use_graphs(w->device, !o.no_graph);
    w->config = *checkpoint_config(file);
    w->distance = o.distance;
    if (o.distance == DISTANCE_INCEPTION) {
        char path[4096];
        if (inception_find(o.inception, path, sizeof path, &e) != ST_OK || inception_judge_open(&w->judge, path, w->device, &e) != ST_OK)
            cli_die("%s", e.text);
    } else if (o.distance != DISTANCE_PIXEL) {
        enum status st = checkpoint_discriminator(file, w->device, &w->d, &e);
        if (st == ST_END && o.distance == DISTANCE_DISCRIMINATOR)
            cli_die("%s: has no discriminator for --distance discriminator; checkpoints of sg2-train have one", o.network);
        if (st != ST_OK && st != ST_END)
            cli_die("%s", e.text);
        w->distance = w->d ? DISTANCE_DISCRIMINATOR : DISTANCE_PIXEL;
    }
    checkpoint_close(file);
    if (o.class != LONG_MIN && sg2_config_class(&w->config, o.class, &e) != ST_OK)
        cli_usage("--class %ld: %s", o.class, e.text);
}

static void make_projector(struct work *w) {
    struct error e;
    struct projector_config c = projector_defaults(o.space);
    c.batch = w->batch;
    c.steps = (int)o.steps;
    c.guesses = o.plan || o.profile ? 0 : (int)o.guesses;
    c.lr = o.lr;
    c.w_noise = o.w_noise;
    c.optimise_noise = o.noise == NOISE_OPTIMISE;
    c.feature_weight = o.features;
    c.contrast_weight = o.contrast;
    c.prior_weight = o.prior;
    c.row_weight = o.rows;
    c.w_first = o.w_first;
    c.seed = (uint64_t)o.seed;
    c.class_number = o.class == LONG_MIN ? -1 : (int)o.class;
    c.half = !o.fp32;
    c.discriminator = w->d;
    if (w->judge) {
        c.judge = inception_judge_build;
        c.judge_context = w->judge;
    }
    w->search = (struct search){.space = space_name[o.space], .distance = distance_name[w->distance], .noise = noise_name[o.noise],
                                .inception = w->judge ? inception_judge_hash(w->judge) : NULL, .network = w->network, .steps = o.steps,
                                .seed = o.seed};
    cli_info("distance %s, space %s, noise %s, %ld steps, %s", distance_name[w->distance], space_name[o.space], noise_name[o.noise],
             o.steps, device_description(w->device));
    if (projector_create(&w->projector, w->device, w->g, &c, &e) != ST_OK)
        cli_die("%s", e.text);
}

/* ---- pictures in ---- */

/* A sample's picture at the network's size. */
static enum status fit(struct work *w, const struct sample *s, uint8_t *to, struct error *e) {
    const struct sg2_config *k = &w->config;
    struct image im;
    if (!s->picture.size)
        return st_bad(e, "has no picture");
    enum status st = image_decode_upright(s->picture.data, s->picture.size, k->img_channels, &im, NULL, e);
    if (st != ST_OK)
        return ST_BAD;
    if (im.width == im.height) {
        struct image fitting;
        image_resize(&im, k->res, k->res, FILTER_LANCZOS, &fitting);
        memcpy(to, fitting.data, (size_t)pixels(w));
        image_free(&fitting);
    } else {
        st = st_bad(e, "%dx%d pixels: only square, aligned pictures can be projected (face-align makes them)", im.width, im.height);
    }
    image_free(&im);
    return st;
}

/* ---- results out ---- */

static void report(struct work *w, const struct finding *f) {
    char *line = finding_line(f, &w->search);
    if (fprintf(w->report, "%s\n", line) < 0 || fflush(w->report) != 0)
        cli_die("%s: %s", o.report, strerror(errno));
    free(line);
}

/* Into the folder, or beside its target into the one picture. */
static void put_picture(struct work *w, const struct sample *of, const uint8_t *data) {
    struct error e;
    struct sample s = finding_sample(of, &w->search);
    struct image im, from = {w->config.res, w->config.res, w->config.img_channels, (uint8_t *)data};
    image_copy(&im, &from);
    if (sink_put(w->sink, &s, &im, &e) != ST_OK)
        cli_die("%s", e.text);
}

static void write_latents(struct work *w) {
    const struct sg2_config *k = &w->config;
    struct error e;
    int64_t rows = sg2_num_ws(k), D = k->w_dim;
    float *ws = xmalloc((size_t)(w->n * rows * D) * sizeof *ws);
    projector_latents(w->projector, ws);
    enum status st;
    if (o.format == 1) {
        for (int i = 1; i < w->n; i++)
            memmove(ws + i * D, ws + i * rows * D, (size_t)D * sizeof *ws);
        st = npy_write(stdout, "<f4", 2, (int64_t[]){w->n, D}, ws, &e);
    } else {
        st = npy_write(stdout, "<f4", 3, (int64_t[]){w->n, rows, D}, ws, &e);
    }
    if (st != ST_OK || fflush(stdout) != 0)
        cli_die("write latents: %s", st != ST_OK ? e.text : strerror(errno));
    free(ws);
}

static void film_search(struct work *w, bool ended) {
    struct error e;
    struct film *f = w->film;
    if (ended)
        w->film = NULL;
    if (f && (ended ? film_end : film_frame)(f, w->projector, w->targets, w->n, &e) != ST_OK)
        cli_die("%s: %s", o.save_video, e.text);
}

static void project(struct work *w) {
    struct cli_progress progress;
    size_t size = (size_t)pixels(w);
    if (!w->projector)
        make_projector(w);
    projector_begin(w->projector, w->targets, w->n);
    struct projector_loss *loss = xcalloc((size_t)w->n, sizeof *loss);
    cli_progress_start(&progress, "steps", o.steps);
    film_search(w, false);
    while (projector_step(w->projector)) {
        int step = projector_steps_done(w->projector);
        if (step % o.every == 0)
            film_search(w, false);
        if (step % SYNC_EVERY == 0)
            device_sync(w->device);
        if (cli_verbose && (step % 50 == 0 || step == 1)) {
            projector_losses(w->projector, loss);
            cli_debug("step %d: pixel %.5f, contrast %.5f, features %.5f, noise %.5f, prior %.5f, rows %.5f", step, loss->pixel, loss->contrast,
                      loss->feature, loss->noise, loss->prior, loss->row);
        }
        cli_progress_add(&progress, 1);
    }
    cli_progress_end(&progress);
    film_search(w, true);
    projector_losses(w->projector, loss);
    uint8_t *own = xmalloc((size_t)w->n * size), *plain = xmalloc((size_t)w->n * size);
    projector_pictures(w->projector, own, plain);
    write_latents(w);
    if (w->maps)
        noise_maps_add(w->maps, w->projector, w->n);
    for (int i = 0; i < w->n; i++, w->done++) {
        const uint8_t *target = w->targets + (size_t)i * size;
        const struct finding f = {.index = w->done, .key = w->samples[i].key, .loss = loss[i],
                                  .psnr = image_psnr(own + (size_t)i * size, target, (int64_t)size),
                                  .network_psnr = image_psnr(plain + (size_t)i * size, target, (int64_t)size)};
        if (o.noise == NOISE_OPTIMISE)
            cli_info("%s: PSNR %.2f dB, with the network's own noise %.2f dB", f.key, f.psnr, f.network_psnr);
        else
            cli_info("%s: PSNR %.2f dB", f.key, f.psnr);
        if (w->report)
            report(w, &f);
        if (w->sink && sink_is_grid(o.pictures))
            put_picture(w, &w->samples[i], target);
        if (w->sink)
            put_picture(w, &w->samples[i], own + (size_t)i * size);
        sample_free(&w->samples[i]);
    }
    w->rejects.out += w->n;
    w->n = 0;
    free(own);
    free(plain);
    free(loss);
}

static void project_all(struct work *w, char **operands, int n) {
    struct error e;
    struct sample_source *in;
    struct sample s = {0};
    enum status st;
    if (sample_source_open(&in, operands, n, o.null, &e) != ST_OK)
        cli_die("%s", e.text);
    while ((st = sample_source_next(in, &s, &e)) != ST_END) {
        if (st == ST_FAIL)
            cli_die("%s", e.text);
        w->rejects.in++;
        if (st == ST_OK)
            st = fit(w, &s, w->targets + w->n * pixels(w), &e);
        if (st != ST_OK) {
            cli_reject(&w->rejects, s.key, e.text);
            continue;
        }
        bytes_free(&s.picture);
        w->samples[w->n++] = s;
        s = (struct sample){0};
        if (w->n == w->batch)
            project(w);
    }
    if (w->n) {
        if (!w->projector)
            w->batch = w->n; /* fewer pictures than fit: no need to compute more */
        project(w);
    }
    sample_free(&s);
    w->rejects.rejected += sample_source_close(in);
}

static enum video_kind kind;

static void check_usage(void) {
    if (!o.network)
        cli_usage("--network FILE is needed");
    if (o.save_noise && o.noise != NOISE_OPTIMISE)
        cli_usage("--save-noise needs --noise optimise; without it the noise maps are the network's own");
    if (o.save_video && !video_kind_by_name(o.save_video, &kind))
        cli_usage("--save-video %s: the name should end in .y4m, .apng, .png or .webp", o.save_video);
    if (cli_given("video-every") && !o.save_video)
        cli_usage("--video-every needs --save-video FILE");
    if (o.format == 1 && o.space != 0)
        cli_usage("--format w needs --space w");
    if (o.distance == DISTANCE_PIXEL && cli_given("features"))
        cli_usage("--features is the weight of a network's features; --distance pixel has none");
    if (o.inception && o.distance != DISTANCE_INCEPTION)
        cli_usage("--inception is for --distance inception");
    if (o.space == 0 && (cli_given("rows") || cli_given("w-first")))
        cli_usage("--rows and --w-first are about the layers' w of w+; --space w has one");
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    const struct projector_config d = projector_defaults(PROJECT_W_PLUS);
    o.steps = d.steps, o.guesses = d.guesses, o.lr = d.lr, o.w_noise = d.w_noise;
    o.contrast = d.contrast_weight, o.features = d.feature_weight, o.prior = d.prior_weight, o.rows = d.row_weight, o.w_first = d.w_first;
    int first = cli_start(&program, argc, argv);
    check_usage();
    bool only_look = o.plan || o.profile;
    if (!only_look)
        cli_need_binary_stdout("a latent stream (NumPy arrays)");
    struct error e;
    struct work w = {0};
    int code = EXIT_OK;
    open_networks(&w);
    w.batch = o.batch != LONG_MIN ? (int)o.batch : strcmp(device_name(w.device), "cpu") ? 8 : 1;
    if (only_look) {
        make_projector(&w);
        if (o.plan)
            program_print(projector_program(w.projector), stdout);
        else
            program_profile(projector_program(w.projector), stdout);
    } else {
        w.samples = xcalloc((size_t)w.batch, sizeof *w.samples);
        w.targets = xmalloc((size_t)(w.batch * pixels(&w)));
        w.maps = o.save_noise ? noise_maps_create(&w.config) : NULL;
        const struct sink_options so = {.path = o.pictures, .quality = 95, .columns = 2, .depth = 2 * w.batch};
        if (o.pictures && sink_open(&w.sink, &so, &e) != ST_OK)
            cli_die("%s", e.text);
        if (o.report && !(w.report = fopen(o.report, "w")))
            cli_die("%s: %s", o.report, strerror(errno));
        if (o.save_video && film_open(&w.film, o.save_video, kind, &w.config, &e) != ST_OK)
            cli_die("%s", e.text);
        cli_rejects_open(&w.rejects, o.rejects);
        project_all(&w, argv + first, argc - first);
        if (w.maps && noise_maps_write(w.maps, o.save_noise, w.network, &e) != ST_OK)
            cli_die("%s", e.text);
        if (sink_close(w.sink, &e) != ST_OK)
            cli_die("%s", e.text);
        if (w.report && fclose(w.report) != 0)
            cli_die("%s: %s", o.report, strerror(errno));
        code = cli_rejects_close(&w.rejects, o.max_reject);
    }
    projector_free(w.projector);
    sg2_net_free(w.g);
    sg2_net_free(w.d);
    inception_judge_close(w.judge);
    device_close(w.device);
    free(w.samples);
    free(w.targets);
    film_cancel(w.film);
    noise_maps_free(w.maps);
    return cli_finish(code);
}
