/* fid-score - how far one set of pictures is from another: FID and its relatives.
 *
 * FID alone streams: float64 sums in constant memory. KID, precision/recall/density/coverage and the Inception score need the
 * features of both sides at once (8 kB a picture with Inception, 4 more for its logits).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/target.h"
#include "common/cli/cli.h"
#include "common/metrics/report.h"
#include "common/stream/npy.h"

enum { FID = METRIC_FID, KID = METRIC_KID, PRDC = METRIC_PRDC, IS = METRIC_IS, PPL = METRIC_PPL };

static struct {
    const char *ref, *metrics, *features, *inception, *save, *save_features, *cache, *rejects, *ppl;
    int resize, covariance, ppl_sampling, ppl_space, device;
    long size, batch, jobs, kid_subsets, kid_size, seed, splits, neighbours, bootstrap, ppl_samples;
    double ppl_epsilon, max_fid, max_kid, max_ppl, max_reject;
    bool ppl_crop, no_cache, no_graph, json, fp32;
} o = {.metrics = "fid", .features = "inception", .kid_subsets = 100, .kid_size = 1000, .seed = 2020, .splits = 10, .neighbours = 3,
       .ppl_samples = 1000, .ppl_epsilon = 1e-4, .max_fid = NAN, .max_kid = NAN, .max_ppl = NAN}; /* NAN: no gate, every comparison with it is false */

static const struct cli_option options[] = {
    {'r', "ref", "SIDE", CLI_STRING, &o.ref, 0, 0, "the reference side (the real pictures); may also be the first operand"},
    {'m', "metrics", "LIST", CLI_STRING, &o.metrics, 0, 0, "of fid,kid,prdc,is; all but fid keep features in memory"},
    {0, "features", "NAME|FILE", CLI_STRING, &o.features, 0, 0, "inception (or -64, -192, -768: earlier layers), dlib-face, or a checkpoint's discriminator"},
    {0, "inception", "FILE", CLI_STRING, &o.inception, 0, 0, "Inception's weights: .pth, .pb or safetensors (else from models/)"},
    {0, "resize", RESIZE_RULES, CLI_CHOICE, &o.resize, 0, 0, "how pictures become the network's size: as which FID program"},
    {0, "size", "N", CLI_INT, &o.size, 0, 65500, "pictures of this height from stores with several sizes; 0 = largest"},
    {0, "covariance", "n-1|n", CLI_CHOICE, &o.covariance, 0, 0, "divisor of the covariance"},
    {0, "save-stats", "FILE", CLI_STRING, &o.save, 0, 0, "write the statistics of SIDE as .npz (mu, sigma, count, ...)"},
    {0, "save-features", "FILE", CLI_STRING, &o.save_features, 0, 0, "write the features of SIDE as .npy, a row a picture"},
    {0, "cache", "DIR", CLI_STRING, &o.cache, 0, 0, "keep statistics of folders and stores there (~/.cache/facemill)"},
    {0, "no-cache", NULL, CLI_FLAG, &o.no_cache, 0, 0, "neither look up nor keep statistics"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Other metrics"},
    {0, "kid-subsets", "N", CLI_INT, &o.kid_subsets, 1, 100000, "draws; 1 with --kid-size 0 takes one block of all"},
    {0, "kid-size", "N", CLI_INT, &o.kid_size, 0, 1e6, "pictures a draw (at most the smaller side); 0 = all"},
    {0, "bootstrap", "N", CLI_INT, &o.bootstrap, 0, 100000, "95 % intervals of FID and KID from N resamples; 0 = none"},
    {0, "seed", "N", CLI_INT, &o.seed, 0, 4294967295.0, "of KID's draws, resamples and PPL (NumPy's generator)"},
    {0, "neighbours", "K", CLI_INT, &o.neighbours, 1, 64, "of precision and recall"},
    {0, "splits", "N", CLI_INT, &o.splits, 1, 1000, "of the Inception score"},
    {0, "ppl", "NETWORK", CLI_STRING, &o.ppl, 0, 0, "path length of that generator, with distances of --features"},
    {0, "ppl-samples", "N", CLI_INT, &o.ppl_samples, 1, 10000000, "pairs of latents"},
    {0, "ppl-sampling", "end|full", CLI_CHOICE, &o.ppl_sampling, 0, 0, "steps at the path's beginning, or anywhere on it"},
    {0, "ppl-space", "w|z", CLI_CHOICE, &o.ppl_space, 0, 0, "paths are straight lines in w, or arcs in z"},
    {0, "ppl-epsilon", "X", CLI_FLOAT, &o.ppl_epsilon, 1e-6, 1, "length of a step, as a share of the path"},
    {0, "ppl-crop", NULL, CLI_FLAG, &o.ppl_crop, 0, 0, "compare the middles of the pictures: faces, where they are aligned"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Running"},
    {'d', "device", DEVICES, CLI_CHOICE, &o.device, 0, 0, "where to compute"},
    {0, "fp32", NULL, CLI_FLAG, &o.fp32, 0, 0, "float32 throughout on a GPU, where 16-bit convolutions are the default"},
    {'j', "jobs", "N", CLI_INT, &o.jobs, 0, 1024, "threads; 0 = all processors"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'b', "batch", "N", CLI_INT, &o.batch, 0, 1024, "pictures at once; 0 = what suits the device"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "one JSON object instead of the table"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "JSON lines about pictures that could not be read"},
    {0, "max-reject", "X", CLI_FLOAT, &o.max_reject, 0, 1e18, "rejects allowed before exit status 3: a share below 1, else a count"},
    {0, "max-fid", "X", CLI_FLOAT, &o.max_fid, 0, 1e18, "exit status 4 when FID is above"},
    {0, "max-kid", "X", CLI_FLOAT, &o.max_kid, -1e18, 1e18, "exit status 4 when KID is above"},
    {0, "max-ppl", "X", CLI_FLOAT, &o.max_ppl, 0, 1e18, "exit status 4 when PPL is above"},
    {0}};

static const struct cli_program program = {
    .name = "fid-score",
    .synopsis = "[options] --ref SIDE SIDE | --save-stats FILE SIDE | --ppl NETWORK",
    .purpose = "Compares two sets of pictures by their features: FID, KID, precision and recall, density and coverage, Inception score. "
               "A SIDE is a sample stream (- is stdin), a folder, a store, a dataset zip, saved features (.npy) or statistics (.npz).",
    .options = options,
    .examples = "sg2-gen --network faces.safetensors --seeds 0-9999 | fid-score --ref faces.lmdb -\n"
                "fid-score --features dlib-face --ref real/ fake/ --json\n",
    .exit_note = "4  a score is above its --max-... limit\n"};

static unsigned parse_metrics(const char *list) {
    static const char *const name[] = {"fid", "kid", "prdc", "is"};
    unsigned wanted = 0;
    while (*list) {
        size_t n = strcspn(list, ",");
        int i = 0;
        while (i < 4 && (strlen(name[i]) != n || strncmp(list, name[i], n)))
            i++;
        if (i == 4)
            cli_usage("--metrics: \"%.*s\" is none of fid, kid, prdc, is", (int)n, list);
        wanted |= 1u << i;
        list += n + (list[n] == ',');
    }
    if (!wanted)
        cli_usage("--metrics names no metric");
    return wanted;
}

/* --cache, $FACEMILL_CACHE, $XDG_CACHE_HOME/facemill, ~/.cache/facemill; NULL when there is no home. Caller frees. */
static char *cache_folder(void) {
    const char *own = o.cache ? o.cache : getenv("FACEMILL_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (o.no_cache)
        return NULL;
    if (own && *own)
        return xstrdup(own);
    if (xdg && *xdg)
        return xasprintf("%s/facemill", xdg);
    return home && *home ? xasprintf("%s/.cache/facemill", home) : NULL;
}

/* --save-features: rows are written as they come, and the header, whose size does not depend on the count, again at the end.
 * It gets its name then; where the program ends before, target.h sees to it. */
static char *features_temporary;

static FILE *open_features(int dim) {
    const int64_t none[2] = {0, dim};
    struct error e = {"no room"};
    if (target_check(o.save_features, &e) != ST_OK)
        cli_die("%s", e.text);
    features_temporary = target_begin(o.save_features);
    FILE *f = fopen(features_temporary, "wb");
    if (!f)
        cli_die("%s: %m", o.save_features);
    if (npy_write_header(f, "<f4", 2, none, &e) != ST_OK)
        cli_die("%s: %s", o.save_features, e.text);
    return f;
}

static void close_features(FILE *f, int64_t count, int dim) {
    const int64_t shape[2] = {count, dim};
    struct error e = {"no room"};
    enum status st = fseek(f, 0, SEEK_SET) ? st_fail(&e, "%m") : npy_write_header(f, "<f4", 2, shape, &e);
    if (fclose(f) != 0 && st == ST_OK)
        st = st_fail(&e, "%m");
    if (st == ST_OK && !target_keep(features_temporary, o.save_features))
        st = st_fail(&e, "%m");
    if (st != ST_OK)
        cli_die("%s: %s", o.save_features, e.text);
}

static void measure(struct side *s, const char *operand, const struct side_options *so) {
    struct error e;
    if (side_measure(s, operand, so, &e) != ST_OK)
        cli_die("%s", e.text);
    if (s->from_cache)
        cli_info("%s: statistics of %lld pictures from the cache", operand, (long long)s->statistics.count);
    if (s->write_failed)
        cli_warn("%s: its statistics could not be kept in %s", operand, so->cache);
}

static void compare(const struct side *ref, const struct side *made, struct scores *r) {
    const struct statistics *a = &ref->statistics, *b = &made->statistics;
    struct error e;
    enum status st = side_compatible(ref, made, r->doubts, sizeof r->doubts, &e);
    if (st == ST_OK && r->wanted & FID)
        st = frechet_distance(a->dim, a->mu, a->sigma, a->count, b->mu, b->sigma, b->count, &r->fid, &e);
    if (st == ST_OK && r->wanted & KID) {
        long smaller = (long)(a->count < b->count ? a->count : b->count), size = o.kid_size && o.kid_size < smaller ? o.kid_size : smaller;
        if ((o.kid_subsets == 1 && o.kid_size == 0) || (size == a->count && size == b->count)) /* every draw would be everything */
            r->kid = (struct kid){.mean = kid_block(ref->features, a->count, made->features, b->count, a->dim), .subsets = 1,
                                  .subset_size = smaller};
        else
            st = kid_subsets(ref->features, a->count, made->features, b->count, a->dim, (int)o.kid_subsets, size, (uint32_t)o.seed,
                             &r->kid, &e);
    }
    r->both_resampled = ref->features != NULL;
    if (st == ST_OK && r->wanted & FID && r->resamples)
        st = bootstrap_fid(a, ref->features, b, made->features, r->fid.distance, r->resamples, (uint32_t)r->seed, &r->fid_interval, &e);
    if (st == ST_OK && r->wanted & KID && r->resamples)
        bootstrap_kid(ref->features, a->count, made->features, b->count, a->dim, r->kid.mean, r->resamples, (uint32_t)r->seed,
                      &r->kid_interval);
    if (st == ST_OK && r->wanted & PRDC)
        st = manifold_scores(ref->features, a->count, made->features, b->count, a->dim, (int)o.neighbours, 5, &r->prdc, &e);
    if (st != ST_OK)
        cli_die("%s", e.text);
}

static void inception_scores(const struct side *s, int classes, struct scores *r) {
    struct error e;
    double *logits = xmalloc((size_t)s->statistics.count * classes * sizeof *logits);
    for (int64_t i = 0; i < s->statistics.count * classes; i++)
        logits[i] = s->logits[i];
    if (inception_score(logits, s->statistics.count, classes, (int)o.splits, &r->is, &e) != ST_OK)
        cli_die("%s", e.text);
    free(logits);
}

static enum source_kind kind_of(const char *operand) {
    struct error e;
    enum source_kind kind = SOURCE_STREAM;
    if (operand && source_detect(operand, &kind, &e) != ST_OK)
        cli_die("%s", e.text);
    return kind;
}

static bool is_pictures(enum source_kind kind) { return kind != SOURCE_STATISTICS && kind != SOURCE_FEATURES; }

static void path_length(struct extractor *x, int threads, struct scores *r) {
    struct ppl_options po = {.device = device_choice(o.device), .threads = threads, .samples = (int)o.ppl_samples,
                             .epsilon = o.ppl_epsilon, .z = o.ppl_space == 1, .crop = o.ppl_crop,
                             .full = o.ppl_sampling == 1, .seed = (uint32_t)o.seed};
    struct error e;
    if (ppl_measure(o.ppl, x, &po, &r->ppl, &e) != ST_OK)
        cli_die("%s", e.text);
    r->wanted |= PPL;
    r->ppl_network = o.ppl;
    r->ppl_epsilon = po.epsilon;
    r->ppl_full = po.full;
    r->ppl_z = po.z;
    r->ppl_crop = po.crop;
}

static void check_usage(int operands, const char *reference, const char *scored, unsigned wanted) {
    if (operands > 2 || (operands == 2 && o.ref))
        cli_usage("one SIDE to score and one --ref, there are %d operands", operands);
    if (!scored && (!o.ppl || o.ref || o.save || o.save_features))
        cli_usage("no SIDE to score");
    if (scored && !reference && !o.save && !o.save_features && wanted & ~(unsigned)IS)
        cli_usage("a second side to compare with is missing: --ref SIDE");
    if (o.bootstrap && (!reference || !(wanted & (FID | KID))))
        cli_usage("--bootstrap is for FID or KID of two sides");
    if (o.no_cache && o.cache)
        cli_usage("--cache and --no-cache exclude each other");
    if (reference && !strcmp(reference, "-") && !strcmp(scored, "-"))
        cli_usage("only one side can be stdin");
    if (!*o.features)
        cli_usage("--features: inception, dlib-face, or the file of a checkpoint");
}

static int gate(const char *name, bool measured, double value, double limit, int code) {
    if (!measured || !(value > limit))
        return code;
    cli_error("%s %.6g is above --max-%s %g", name, value, !strcmp(name, "FID") ? "fid" : !strcmp(name, "KID") ? "kid" : "ppl", limit);
    return code ? code : EXIT_LIMIT;
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), n = argc - first;
    const char *reference = n == 2 && !o.ref ? argv[first] : o.ref, *scored = n ? argv[argc - 1] : NULL;
    unsigned wanted = scored ? parse_metrics(o.metrics) : 0;
    check_usage(n, reference, scored, wanted);
    if ((scored && !strcmp(scored, "-")) || (reference && !strcmp(reference, "-")))
        cli_need_stream_stdin("a sample stream");
    enum source_kind made_kind = kind_of(scored), ref_kind = kind_of(reference);
    bool made_file = made_kind == SOURCE_STATISTICS;
    if ((made_file || ref_kind == SOURCE_STATISTICS) && wanted & ~(unsigned)FID)
        cli_usage("a statistics file has no features: only FID can be computed from it");
    if (made_file && (o.save_features || o.bootstrap))
        cli_usage("a statistics file has no features to %s", o.bootstrap ? "resample" : "save");
    if (made_kind == SOURCE_FEATURES && (o.save_features || wanted & IS))
        cli_usage(o.save_features ? "%s: features are what it has already" : "%s: the Inception score is made of other numbers than features", scored);
    if (wanted & IS && strcmp(o.features, "inception"))
        cli_usage("the Inception score needs --features inception");

    struct error e;
    struct extractor *extractor = NULL;
    struct features_used used = {"", "", "", "", 0};
    int threads = (int)(o.jobs ? o.jobs : cli_processors());
    if ((scored && is_pictures(made_kind)) || (reference && is_pictures(ref_kind)) || o.ppl) {
        struct extractor_options x = {.features = o.features, .weights = o.inception, .device = device_choice(o.device),
                                      .no_graph = o.no_graph,
                                      .threads = threads, .resize = (enum resize_rule)o.resize, .fp32 = o.fp32 || o.ppl, .batch = (int)o.batch};
        if (extractor_open(&extractor, &x, &e) != ST_OK)
            cli_die("%s", e.text);
        cli_info("%s, weights SHA-256 %s, on %s", extractor_name(extractor), extractor_hash(extractor), extractor_device(extractor));
        used = (struct features_used){extractor_name(extractor), extractor_hash(extractor), extractor_preprocessing(extractor),
                                      extractor_precision(extractor), extractor_dim(extractor)};
    }
    struct cli_rejects rejects;
    cli_rejects_open(&rejects, o.rejects);
    char *cache = cache_folder();
    struct side_options so = {.extractor = extractor, .size = (int)o.size, .threads = threads, .biased = o.covariance == 1,
                              .keep_features = (wanted & (KID | PRDC) || o.bootstrap) && reference, .cache = cache, .rejects = &rejects};
    struct side ref = {0}, made = {0};
    struct scores r = {.wanted = wanted, .resamples = (int)o.bootstrap, .seed = o.seed};
    if (reference)
        measure(&ref, reference, &so);
    so.keep_logits = wanted & IS;
    so.features_to = o.save_features ? open_features(extractor_dim(extractor)) : NULL;
    if (scored) {
        measure(&made, scored, &so);
        const struct statistics *t = &made.statistics;
        if (!extractor)
            used = (struct features_used){t->features, t->extractor_hash, t->preprocessing, t->precision, t->dim};
    }
    if (o.save && statistics_write(&made.statistics, o.save, &e) != ST_OK)
        cli_die("%s", e.text);
    if (so.features_to)
        close_features(so.features_to, made.statistics.count, made.statistics.dim);
    if (reference)
        compare(&ref, &made, &r);
    if (wanted & IS)
        inception_scores(&made, extractor_classes(extractor), &r);
    if (o.ppl)
        path_length(extractor, threads, &r);

    (o.json ? report_json : report_text)(reference ? &ref : NULL, scored ? &made : NULL, &used, &r);
    int code = scored ? cli_rejects_close(&rejects, o.max_reject) : EXIT_OK;
    code = gate("FID", reference && wanted & FID, r.fid.distance, o.max_fid, code);
    code = gate("KID", reference && wanted & KID, r.kid.mean, o.max_kid, code);
    code = gate("PPL", o.ppl != NULL, r.ppl.mean, o.max_ppl, code);
    side_free(&ref);
    side_free(&made);
    extractor_close(extractor);
    free(cache);
    return cli_finish(code);
}
