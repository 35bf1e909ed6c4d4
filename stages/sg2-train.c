/* sg2-train - trains StyleGAN2 with adaptive discriminator augmentation on a store of pictures. sg2-train.1 is the manual.
 *
 * A run is a function of the store, the settings and the seed. What is left here is wiring: settings from preset and options,
 * then a loop over batches with ticks (statistics), snapshots (network, grid) and checkpoints, all placed by image count, so
 * that a run killed anywhere and started again ends with the same bytes.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli/cli.h"
#include "common/image/image.h"
#include "common/run/feed.h"
#include "common/run/provenance.h"
#include "common/run/resume.h"
#include "common/run/snapshot.h"
#include "common/run/tick.h"
#include "common/store/loader.h"

#define CFGS "auto|stylegan2|paper256|paper512|paper1024"
#define PIPES "blit|geom|color|filter|noise|cutout|bg|bgc|bgcf|bgcfn|bgcfnc"
enum { AUG_NONE, AUG_ADA, AUG_FIXED };
enum { PICTURES_AUTO, PICTURES_DEVICE, PICTURES_HOST };
static const char *const cfg_name[] = {"auto", "stylegan2", "paper256", "paper512", "paper1024"};
static const char *const pipe_name[] = {"blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"};

static struct {
    const char *data, *out, *resume, *grid;
    long size, subset, batch, channel_max, map_depth, mbstd, z_dim, w_dim, r1_interval, pl_interval, epochs, snap, keep, freezed, seed, threads;
    double gamma, glr, dlr, fmaps, ema_kimg, ema_rampup, pl_weight, mix, p, target, ada_kimg, kimg, tick, checkpoint;
    int cfg, noise, aug, pipe, pictures, device;
    bool cond, mirror, full, fp32, no_graph, dry_run, plan, profile;
} o = {.size = LONG_MIN, .batch = LONG_MIN, .channel_max = LONG_MIN, .map_depth = LONG_MIN, .mbstd = LONG_MIN,
       .z_dim = LONG_MIN, .w_dim = LONG_MIN, .r1_interval = LONG_MIN, .pl_interval = LONG_MIN, .epochs = LONG_MIN, .snap = 50,
       .gamma = NAN, .glr = NAN, .dlr = NAN, .fmaps = NAN, .ema_kimg = NAN, .ema_rampup = NAN, .pl_weight = NAN, .mix = NAN, .p = NAN,
       .target = NAN, .ada_kimg = NAN, .kimg = 25000, .tick = 4, .checkpoint = 300, .aug = AUG_ADA, .pipe = 7};

static const struct cli_option options[] = {
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "What and where"},
    {'d', "data", "STORE", CLI_STRING, &o.data, 0, 0, "store of square pictures (pack-lmdb makes it)"},
    {'o', "out", "DIR", CLI_STRING, &o.out, 0, 0, "run folder; one with a checkpoint is continued exactly"},
    {0, "size", "N", CLI_INT, &o.size, 8, 1024, "which size of the store; default the largest"},
    {0, "subset", "N", CLI_INT, &o.subset, 0, 4294967295.0, "train on N pictures of the store, drawn with --seed; 0 = all"},
    {0, "cond", NULL, CLI_FLAG, &o.cond, 0, 0, "conditional on the store's class labels"},
    {0, "mirror", NULL, CLI_FLAG, &o.mirror, 0, 0, "show pictures flipped half of the time"},
    {0, "resume", "FILE|DIR", CLI_STRING, &o.resume, 0, 0, "start from the networks of a checkpoint, network or run; auto = only continue"},
    {0, "kimg", "N", CLI_FLOAT, &o.kimg, 0, 1e9, "length in thousands of real pictures shown"},
    {0, "epochs", "N", CLI_INT, &o.epochs, 1, 1e9, "length in passes over the data instead"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Settings (default by --cfg)"},
    {0, "cfg", CFGS, CLI_CHOICE, &o.cfg, 0, 0, "preset"},
    {0, "batch", "N", CLI_INT, &o.batch, 1, 4096, "batch size"},
    {0, "gamma", "X", CLI_FLOAT, &o.gamma, 0, 1e6, "weight of R1 regularisation"},
    {0, "glr", "X", CLI_FLOAT, &o.glr, 0, 1, "learning rate of the generator"},
    {0, "dlr", "X", CLI_FLOAT, &o.dlr, 0, 1, "learning rate of the discriminator"},
    {0, "fmaps", "X", CLI_FLOAT, &o.fmaps, 1e-4, 16, "channels at resolution r = 32768 X / r"},
    {0, "channel-max", "N", CLI_INT, &o.channel_max, 1, 4096, "but at most this many"},
    {0, "map-depth", "N", CLI_INT, &o.map_depth, 1, 32, "layers of the mapping network"},
    {0, "mbstd", "N", CLI_INT, &o.mbstd, 1, 4096, "group size of minibatch standard deviation"},
    {0, "z-dim", "N", CLI_INT, &o.z_dim, 1, 4096, "size of z"},
    {0, "w-dim", "N", CLI_INT, &o.w_dim, 1, 4096, "size of w"},
    {0, "ema-kimg", "X", CLI_FLOAT, &o.ema_kimg, 0, 1e6, "half-life of the weight average"},
    {0, "ema-rampup", "X", CLI_FLOAT, &o.ema_rampup, 0, 1e3, "its growth as a share of the pictures shown; 0 = none"},
    {0, "r1-interval", "N", CLI_INT, &o.r1_interval, 0, 1e6, "iterations from R1 to R1; 0 = never"},
    {0, "pl-interval", "N", CLI_INT, &o.pl_interval, 0, 1e6, "iterations between path length regularisations; 0 = never"},
    {0, "pl-weight", "X", CLI_FLOAT, &o.pl_weight, 0, 1e6, "weight of path length regularisation"},
    {0, "mix", "P", CLI_FLOAT, &o.mix, 0, 1, "probability of style mixing"},
    {0, "noise", "random|const|none", CLI_CHOICE, &o.noise, 0, 0, "noise inputs of the generator"},
    {0, "freezed", "N", CLI_INT, &o.freezed, 0, 32, "freeze the first N layers of the discriminator"},
    {0, "seed", "N", CLI_INT, &o.seed, 0, 9e18, "seed of everything random"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Augmentation"},
    {0, "aug", "noaug|ada|fixed", CLI_CHOICE, &o.aug, 0, 0, "none, adaptive, or at a fixed probability"},
    {0, "augpipe", PIPES, CLI_CHOICE, &o.pipe, 0, 0, "which transformations"},
    {0, "p", "P", CLI_FLOAT, &o.p, 0, 1, "probability for --aug fixed, start for ada"},
    {0, "target", "X", CLI_FLOAT, &o.target, 0.001, 1, "ADA: wanted mean sign of D(real) (0.6)"},
    {0, "ada-kimg", "N", CLI_FLOAT, &o.ada_kimg, 0.001, 1e6, "ADA: thousands of pictures in which p may go from 0 to 1 (500)"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Running"},
    {0, "tick", "KIMG", CLI_FLOAT, &o.tick, 0.001, 1e6, "thousands of pictures between statistics"},
    {0, "snap", "TICKS", CLI_INT, &o.snap, 0, 1e6, "ticks between snapshots of network and grid; 0 = at the end only"},
    {0, "snap-full", NULL, CLI_FLAG, &o.full, 0, 0, "make snapshots whole checkpoints (about seven times as large)"},
    {0, "keep", "K", CLI_INT, &o.keep, 0, 1e6, "keep the newest K snapshots; 0 = all"},
    {0, "checkpoint", "SECONDS", CLI_FLOAT, &o.checkpoint, 0, 1e6, "rewrite the checkpoint at the first tick after so long"},
    {0, "grid", "WxH", CLI_STRING, &o.grid, 0, 0, "tiles of the grids; default by size of the pictures"},
    {0, "device", DEVICES, CLI_CHOICE, &o.device, 0, 0, "where to compute"},
    {0, "pictures", "auto|device|host", CLI_CHOICE, &o.pictures, 0, 0, "where decoded pictures are kept; auto = on a GPU when they fit half of its free memory"},
    {0, "fp32", NULL, CLI_FLAG, &o.fp32, 0, 0, "float32 throughout on a GPU, where bfloat16 convolutions are the default"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'j', "threads", "N", CLI_INT, &o.threads, 0, 1024, "CPU threads; 0 = as many as processors"},
    {'n', "dry-run", NULL, CLI_FLAG, &o.dry_run, 0, 0, "check everything, print the settings as JSON, write nothing"},
    {0, "plan", NULL, CLI_FLAG, &o.plan, 0, 0, "print launches, FLOPs and memory of each phase, write nothing"},
    {0, "profile", NULL, CLI_FLAG, &o.profile, 0, 0, "run each phase once, print the time of each operation, write nothing"},
    {0}};

static const struct cli_program program = {
    .name = "sg2-train",
    .synopsis = "--data STORE --out DIR [options]",
    .purpose = "Trains StyleGAN2-ADA on a store of pictures. The run folder gets snapshots, grids, logs and a checkpoint; the same "
               "command again continues it.",
    .options = options,
    .examples = "sg2-train --data faces.lmdb --out runs/faces --mirror --kimg 1000\n"
                "sg2-train --data faces.lmdb --out runs/small --size 32 --fmaps 0.0625 --batch 16 --tick 1 --snap 10\n",
    .exit_note = "SIGINT and SIGTERM end with a snapshot and exit code 0; SIGUSR1 makes one and goes on.\n"};

/* Everything a run is made of, in order of creation. */
struct training {
    struct store *store;
    int size; /* index of the store's size */
    struct trainer_config config;
    struct tick_plan plan;
    int columns, rows;   /* of the grids */
    char *data;          /* JSON about the store, for artefacts */
    struct device *device;
    struct run *run;
    struct trainer *trainer;
    struct feed *feed;
    struct grid *grid;
    struct snapshot snapshot;
    int64_t position;    /* of the sampler */
    double seconds;      /* trained before this process */
};

/* ---- settings ---- */

static void choose_pictures(struct training *t) {
    struct error e;
    const struct store_meta *m = store_get_meta(t->store);
    if (feed_choose_size(t->store, o.size == LONG_MIN ? 0 : (int)o.size, &t->size, &e) != ST_OK)
        cli_die("%s: %s", o.data, e.text);
    if (o.subset > m->length)
        cli_die("%s: --subset %ld of %lld pictures", o.data, o.subset, (long long)m->length);
    if (o.subset)
        loader_subset(t->store, o.subset, (uint64_t)o.seed);
    if (o.cond && m->label_dim < 1)
        cli_die("%s: has no class labels; leave out --cond", o.data);
}

static void set_int(int *value, long option) {
    if (option != LONG_MIN)
        *value = (int)option;
}
static void set_double(double *value, double option) {
    if (!isnan(option))
        *value = option;
}

static void make_config(struct training *t) {
    struct error e;
    const struct store_meta *m = store_get_meta(t->store);
    struct trainer_config *c = &t->config;
    if (trainer_preset(c, cfg_name[o.cfg], m->height[t->size], 1, &e) != ST_OK)
        cli_die("%s", e.text);
    c->seed = (uint64_t)o.seed;
    c->net.img_channels = m->channels;
    c->net.c_dim = o.cond ? m->label_dim : 0;
    set_int(&c->batch, o.batch);
    if (o.batch != LONG_MIN && o.mbstd == LONG_MIN && c->net.mbstd_group > 0)
        while (c->batch % c->net.mbstd_group)
            c->net.mbstd_group--;
    set_int(&c->net.mbstd_group, o.mbstd);
    set_double(&c->r1_gamma, o.gamma);
    set_double(&c->g_lr, o.glr);
    set_double(&c->d_lr, o.dlr);
    if (!isnan(o.fmaps))
        c->net.channel_base = (int)(32768 * o.fmaps + 0.5);
    set_int(&c->net.channel_max, o.channel_max);
    set_int(&c->net.map_layers, o.map_depth);
    set_int(&c->net.z_dim, o.z_dim);
    set_int(&c->net.w_dim, o.w_dim);
    set_double(&c->ema_kimg, o.ema_kimg);
    set_double(&c->ema_rampup, o.ema_rampup);
    set_int(&c->d_reg_interval, o.r1_interval);
    set_int(&c->g_reg_interval, o.pl_interval);
    set_double(&c->pl_weight, o.pl_weight);
    set_double(&c->style_mixing, o.mix);
    c->noise = (enum sg2_noise)o.noise;
    c->freeze_d = (int)o.freezed;
    c->mirror = o.mirror;
    c->augment = o.aug == AUG_NONE ? (struct augment_config){0} : *augment_by_name(pipe_name[o.pipe]);
    c->augment_p = 0;
    set_double(&c->augment_p, o.p);
    c->ada_target = o.aug == AUG_ADA ? 0.6 : 0;
    set_double(&c->ada_target, o.target);
    set_double(&c->ada_kimg, o.ada_kimg);
    c->half = !o.fp32 && !strcmp(device_name(t->device), "cuda");
    if (c->batch % (c->net.mbstd_group > 0 ? c->net.mbstd_group : 1))
        cli_usage("--batch %d is no multiple of the minibatch group of %d (--mbstd)", c->batch, c->net.mbstd_group);
    if (sg2_config_check(&c->net, &e) != ST_OK)
        cli_usage("%s", e.text);
}

static void check_usage(int operands) {
    if (operands)
        cli_usage("takes no operands; the store goes behind --data");
    if (!o.data)
        cli_usage("--data STORE is needed");
    if (!o.out && !o.dry_run && !o.plan && !o.profile)
        cli_usage("--out DIR is needed");
    if (o.epochs != LONG_MIN && cli_given("kimg"))
        cli_usage("--kimg and --epochs exclude each other");
    if (o.aug == AUG_NONE && (cli_given("p") || cli_given("augpipe")))
        cli_usage("--p and --augpipe mean nothing with --aug noaug");
    if (o.aug == AUG_FIXED && !cli_given("p"))
        cli_usage("--aug fixed needs --p P");
    if (o.aug != AUG_ADA && (cli_given("target") || cli_given("ada-kimg")))
        cli_usage("--target and --ada-kimg need --aug ada");
}

/* ---- writing ---- */

static double kimg(const struct training *t) { return (double)trainer_images(t->trainer) / 1000; }

/* The checkpoint, alone or with a snapshot. */
static void write_state(struct training *t, bool snapshot) {
    struct error e;
    if ((snapshot ? snapshot_write : snapshot_checkpoint)(&t->snapshot, t->position, &e) != ST_OK)
        cli_die("%s", e.text);
}

static void write_tick(struct training *t, int64_t number, int64_t from, double spent, double maintenance, double all) {
    struct trainer_stats s = trainer_read_stats(t->trainer);
    int64_t now = trainer_images(t->trainer);
    bool cuda = !strcmp(device_name(t->device), "cuda");
    struct tick tick = {.number = (double)number, .from = from, .to = now, .total = t->plan.total, .seconds = spent,
                        .maintenance = maintenance, .all_seconds = all,
                        .peak_gpu_bytes = cuda ? (double)device_peak_bytes(t->device) : 0};
    struct error e;
    char line[512];
    if (tick_write(t->run, &tick, &s, line, sizeof line, &e) != ST_OK)
        cli_die("%s", e.text);
    cli_info("%s", line);
    if (s.nonfinite_grads)
        cli_warn("%lld gradients were not finite and were replaced", (long long)s.nonfinite_grads);
}

/* ---- the run ---- */

/* Fresh, transferred, or continued. */
static void start_state(struct training *t) {
    struct error e;
    trainer_init(t->trainer);
    if (t->config.net.c_dim && feed_count_labels(t->store, t->trainer, &t->config, &e) != ST_OK)
        cli_die("%s: %s", o.data, e.text);
    if (t->run && run_has_checkpoint(t->run)) {
        char *path = run_path(t->run, RUN_CHECKPOINT), *data;
        if (resume_exactly(path, t->trainer, &t->config, &t->position, &data, &e) != ST_OK)
            cli_die("%s", e.text);
        char *differ = resume_differences(data, t->data);
        if (differ)
            cli_warn("the store is not the one this training began with (%s)", differ);
        cli_info("%s: continues at %.2f kimg", o.out, kimg(t));
        run_prune_snapshots(t->run, (int)o.keep); /* it may have been killed before it did that */
        free(differ);
        free(data);
        free(path);
        return;
    }
    if (!o.resume || !strcmp(o.resume, "auto"))
        return;
    struct resume_count n;
    char *report = t->run ? run_path(t->run, "transfer.txt") : NULL;
    if (resume_transfer(o.resume, t->trainer, report, &n, &e) != ST_OK)
        cli_die("%s", e.text);
    cli_info("%s: %d tensors copied, %d of another shape, %d missing%s%s", o.resume, n.copied, n.shape, n.missing, report ? "; see " : "",
             report ? report : "");
    free(report);
}

static void train(struct training *t) {
    struct error e;
    int64_t images = trainer_images(t->trainer), last = images;
    if (images == 0)
        write_state(t, true); /* what it starts from */
    double started = cli_seconds(), tick_started = started, checkpointed = started, maintenance = 0;
    struct cli_progress progress;
    cli_progress_start(&progress, "pictures", t->plan.total - images);
    while (images < t->plan.total) {
        if (feed_step(t->feed, &e) != ST_OK)
            cli_die("%s: %s", o.data, e.text);
        t->position = feed_position(t->feed);
        images = trainer_images(t->trainer);
        cli_progress_add(&progress, t->config.batch);

        struct tick_due due = tick_crossed(&t->plan, images - t->config.batch, images);
        bool stop = cli_stop > 0, snap = due.snap || stop;
        if (cli_snapshot) {
            cli_snapshot = 0;
            snap = true;
        }
        if (due.tick || due.end) {
            double now = cli_seconds();
            write_tick(t, due.number, last, now - tick_started, maintenance, t->seconds + now - started);
            last = images;
            tick_started = now;
            maintenance = 0;
        }
        double writing = cli_seconds();
        if (!snap && !(due.tick && writing - checkpointed >= o.checkpoint))
            continue;
        write_state(t, snap);
        checkpointed = cli_seconds();
        maintenance += checkpointed - writing;
        tick_started += checkpointed - writing; /* sec/tick is time spent training */
        if (stop && !due.end) {
            cli_progress_end(&progress);
            cli_info("stopped at %.2f kimg; the same command continues", kimg(t));
            return;
        }
    }
    cli_progress_end(&progress);
    cli_info("%s: done at %.2f kimg", o.out, kimg(t));
}

static void open_all(struct training *t) {
    struct error e;
    if (store_open(&t->store, o.data, &e) != ST_OK || device_open(&t->device, device_choice(o.device), (int)o.threads, &e) != ST_OK)
        cli_die("%s", e.text);
    device_use_graphs(t->device, !o.no_graph);
    choose_pictures(t);
    make_config(t);
    grid_default_size(t->config.net.res, &t->columns, &t->rows);
    if (o.grid && !cli_parse_size(o.grid, 256, &t->columns, &t->rows))
        cli_usage("--grid takes columns x rows such as 8x4, not \"%s\"", o.grid);
    double length = o.epochs != LONG_MIN ? (double)o.epochs * (double)store_get_meta(t->store)->length : o.kimg * 1000;
    t->plan = (struct tick_plan){.total = (int64_t)(length + 0.5), .length = (int64_t)(o.tick * 1000 + 0.5), .snap = o.snap};
    t->data = provenance_data(t->store, t->size, t->config.net.c_dim);
    struct image first;
    if (store_decode(t->store, t->size, 0, &first, &e) != ST_OK)
        cli_die("%s: %s", o.data, e.text);
    image_free(&first);
}

/* On a GPU a picture is uploaded when it is first shown and stays, if all of them fit beside the training. */
static void place_pictures(struct training *t) {
    struct error e;
    t->feed = feed_create(t->store, t->size, t->trainer, &t->config);
    bool hold = o.pictures == PICTURES_DEVICE || (o.pictures == PICTURES_AUTO && feed_fits(t->feed, t->device));
    if (o.plan)
        printf("pictures: %lld, %.1f MiB, %s\n", (long long)feed_pictures(t->feed), (double)feed_bytes(t->feed) / 1048576.0,
               hold ? "kept on the device once shown" : "uploaded batch by batch");
    else if (hold && !o.dry_run && !o.profile && feed_hold(t->feed, &e) != ST_OK)
        cli_die("%s: %s (--pictures host uploads them batch by batch)", o.data, e.text);
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv);
    check_usage(argc - first);
    struct training t = {0};
    struct error e;
    open_all(&t);
    bool only_look = o.dry_run || o.plan || o.profile;
    if (!only_look)
        cli_catch_stop();
    if (only_look && o.out && run_check_writable(o.out, &e) != ST_OK)
        cli_die("%s", e.text);
    if (!only_look && run_open(&t.run, o.out, &e) != ST_OK)
        cli_die("%s", e.text);
    if (trainer_create(&t.trainer, t.device, &t.config, &e) != ST_OK)
        cli_die("%s", e.text);
    start_state(&t);
    place_pictures(&t);

    char *settings = provenance_settings(&t.config, t.device, t.plan.total, t.data);
    if (only_look) {
        if (o.dry_run)
            fputs(settings, stdout);
        if (o.plan)
            trainer_print_plan(t.trainer, stdout);
        if (o.profile)
            trainer_profile(t.trainer, stdout);
    } else {
        char *config = run_path(t.run, "config.json"), *reals = run_path(t.run, "reals.png");
        if (file_write_atomic(config, settings, strlen(settings), &e) != ST_OK ||
            run_start_logs(t.run, trainer_images(t.trainer), &t.seconds, &e) != ST_OK ||
            grid_create(&t.grid, t.device, trainer_g_ema(t.trainer), t.store, t.size, t.columns, t.rows, t.config.seed,
                        t.config.batch, &e) != ST_OK ||
            feed_open(t.feed, t.position, (int)o.threads, &e) != ST_OK)
            cli_die("%s", e.text);
        if (trainer_images(t.trainer) == 0 && grid_write_reals(t.grid, reals, &e) != ST_OK)
            cli_die("%s: %s", o.data, e.text);
        free(config);
        free(reals);
        t.snapshot = (struct snapshot){.run = t.run, .trainer = t.trainer, .config = &t.config, .grid = t.grid, .data = t.data,
                                       .total = t.plan.total, .fraction = t.plan.length % 1000 != 0, .full = o.full, .keep = (int)o.keep};
        train(&t);
    }
    free(settings);
    feed_close(t.feed);
    grid_free(t.grid);
    trainer_free(t.trainer);
    int code = run_close(t.run, &e) == ST_OK ? EXIT_OK : (cli_error("%s", e.text), EXIT_FAILED);
    device_close(t.device);
    store_close(t.store);
    free(t.data);
    return cli_finish(code);
}
