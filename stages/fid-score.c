/* fid-score - how far one set of pictures is from another: FID and its relatives.
 *
 * FID alone streams: float64 sums in constant memory. KID, precision/recall/density/coverage and the Inception score need the
 * features of both sides at once (8 kB a picture with Inception, 4 more for its logits).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/metrics/frechet.h"
#include "common/metrics/inception_score.h"
#include "common/metrics/kid.h"
#include "common/metrics/manifold.h"
#include "common/metrics/side.h"
#include "common/stream/npy.h"

enum { FID = 1, KID = 2, PRDC = 4, IS = 8 };

static struct {
    const char *ref, *metrics, *inception, *save, *save_features, *cache, *device, *rejects;
    int features, covariance;
    long size, batch, jobs, kid_subsets, kid_size, seed, splits;
    double max_fid, max_kid, max_reject;
    bool no_cache, no_graph, json;
} o = {.metrics = "fid", .device = "auto", .kid_subsets = 100, .kid_size = 1000, .seed = 2020, .splits = 10,
       .max_fid = NAN, .max_kid = NAN}; /* NAN: no gate, every comparison with it is false */

static const struct cli_option options[] = {
    {'r', "ref", "SIDE", CLI_STRING, &o.ref, 0, 0, "the reference side (the real pictures); may also be the first operand"},
    {'m', "metrics", "LIST", CLI_STRING, &o.metrics, 0, 0, "of fid,kid,prdc,is; all but fid keep features in memory"},
    {0, "features", EXTRACTORS, CLI_CHOICE, &o.features, 0, 0, "what describes a picture"},
    {0, "inception", "FILE", CLI_STRING, &o.inception, 0, 0, "Inception's weights, .pth or safetensors (else found in models/)"},
    {0, "size", "N", CLI_INT, &o.size, 0, 65500, "pictures of this height from stores with several sizes; 0 = largest"},
    {0, "covariance", "n-1|n", CLI_CHOICE, &o.covariance, 0, 0, "divisor of the covariance"},
    {0, "save-stats", "FILE", CLI_STRING, &o.save, 0, 0, "write the statistics of SIDE as .npz (mu, sigma, count, ...)"},
    {0, "save-features", "FILE", CLI_STRING, &o.save_features, 0, 0, "write the features of SIDE as .npy, a row a picture"},
    {0, "cache", "DIR", CLI_STRING, &o.cache, 0, 0, "keep statistics of folders and stores there (~/.cache/facemill)"},
    {0, "no-cache", NULL, CLI_FLAG, &o.no_cache, 0, 0, "neither look up nor keep statistics"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Other metrics"},
    {0, "kid-subsets", "N", CLI_INT, &o.kid_subsets, 1, 100000, "draws; 1 with --kid-size 0 takes one block of all"},
    {0, "kid-size", "N", CLI_INT, &o.kid_size, 0, 1e6, "pictures a draw (at most the smaller side); 0 = all"},
    {0, "seed", "N", CLI_INT, &o.seed, 0, 4294967295.0, "of KID's draws (NumPy's generator)"},
    {0, "splits", "N", CLI_INT, &o.splits, 1, 1000, "of the Inception score"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Running"},
    {'d', "device", "NAME", CLI_STRING, &o.device, 0, 0, "cpu, cuda or auto"},
    {'j', "jobs", "N", CLI_INT, &o.jobs, 0, 1024, "threads; 0 = all processors"},
    {0, "no-graph", NULL, CLI_FLAG, &o.no_graph, 0, 0, "on a GPU, launch kernels one by one instead of replaying captured graphs"},
    {'b', "batch", "N", CLI_INT, &o.batch, 0, 1024, "pictures at once; 0 = what suits the device"},
    {0, "json", NULL, CLI_FLAG, &o.json, 0, 0, "one JSON object instead of the table"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "JSON lines about pictures that could not be read"},
    {0, "max-reject", "X", CLI_FLOAT, &o.max_reject, 0, 1e18, "rejects allowed before exit status 3: a share below 1, else a count"},
    {0, "max-fid", "X", CLI_FLOAT, &o.max_fid, 0, 1e18, "exit status 4 when FID is above"},
    {0, "max-kid", "X", CLI_FLOAT, &o.max_kid, -1e18, 1e18, "exit status 4 when KID is above"},
    {0}};

static const struct cli_program program = {
    .name = "fid-score",
    .synopsis = "[options] --ref SIDE SIDE | --save-stats FILE SIDE",
    .purpose = "Compares two sets of pictures by their features: FID, KID, precision and recall, density and coverage, Inception score. "
               "A SIDE is a sample stream (- is stdin), a folder, a store, or a statistics file (.npz).",
    .options = options,
    .examples = "sg2-gen --network faces.safetensors --seeds 0-9999 | fid-score --ref faces.lmdb -\n"
                "fid-score --features dlib-face --ref real/ fake/ --json\n",
    .exit_note = "4  a score is above its --max-... limit\n"};

struct scores {
    unsigned wanted;
    struct frechet fid;
    struct kid kid;
    struct manifold prdc;
    struct inception_score is;
    char doubts[2048];
};

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

static void measure(struct side *s, const char *operand, const struct side_options *so) {
    struct error e;
    if (side_measure(s, operand, so, &e) != ST_OK)
        cli_die("%s", e.text);
    if (s->from_cache)
        cli_info("%s: statistics of %lld pictures from the cache", operand, (long long)s->statistics.count);
    if (s->write_failed)
        cli_warn("%s: its statistics could not be kept in %s", operand, so->cache);
}

static void save_features(const struct side *s) {
    const int64_t dim[2] = {s->statistics.count, s->statistics.dim};
    struct error e = {"no room"};
    char *temporary = xasprintf("%s.tmp-%ld", o.save_features, (long)getpid());
    FILE *f = fopen(temporary, "wb");
    if (!f)
        cli_die("%s: %m", o.save_features);
    enum status st = npy_write(f, "<f4", 2, dim, s->features, &e);
    if (fclose(f) != 0 && st == ST_OK)
        st = st_fail(&e, "%m");
    if (st == ST_OK && rename(temporary, o.save_features) != 0)
        st = st_fail(&e, "%m");
    if (st != ST_OK) {
        unlink(temporary);
        cli_die("%s: %s", o.save_features, e.text);
    }
    free(temporary);
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
    if (st == ST_OK && r->wanted & PRDC)
        st = manifold_scores(ref->features, a->count, made->features, b->count, a->dim, 3, 5, &r->prdc, &e);
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

/* ---- reports ---- */

static void print_side(const char *role, const struct side *s) {
    const struct statistics *t = &s->statistics;
    if (t->count)
        printf("%-11s %s (%s): %lld pictures", role, s->operand, source_kind_name(s->kind), (long long)t->count);
    else
        printf("%-11s %s (%s): an unknown number of pictures", role, s->operand, source_kind_name(s->kind));
    if (*t->pictures)
        printf(", %s", t->pictures);
    if (s->rejected)
        printf("; %lld more rejected", (long long)s->rejected);
    printf("%s\n", s->from_cache ? " [cached]" : "");
}

static void print_rank(const char *what, int rank, int dim) {
    if (rank < dim)
        printf("            the %s covariance has rank %d of %d: too few pictures to fill it, so the score is biased upwards\n", what,
               rank, dim);
}

static void print_text(const struct side *ref, const struct side *made, const struct scores *r) {
    const struct statistics *t = &made->statistics;
    if (ref)
        print_side("reference", ref);
    print_side("scored", made);
    printf("features    %s, %d numbers; weights SHA-256 %s\n", *t->features ? t->features : "unknown", t->dim,
           *t->extractor_hash ? t->extractor_hash : "unknown");
    printf("prepared    %s\n", *t->preprocessing ? t->preprocessing : "unknown");
    printf("covariance  divided by %s\n\n", t->biased ? "n" : "n - 1");
    if (ref && r->wanted & FID) {
        printf("FID         %.6g   (means %.6g, covariances %.6g)\n", r->fid.distance, r->fid.mean_term,
               r->fid.distance - r->fid.mean_term);
        print_rank("reference", r->fid.rank1, t->dim);
        print_rank("scored", r->fid.rank2, t->dim);
    }
    if (ref && r->wanted & KID)
        printf("KID         %.6g +- %.6g   (%d subsets of %lld)\n", r->kid.mean, r->kid.std, r->kid.subsets, (long long)r->kid.subset_size);
    if (ref && r->wanted & PRDC) {
        printf("precision   %.4f   recall   %.4f   F %.4f   (k = %d)\n", r->prdc.precision, r->prdc.recall, r->prdc.f_score, r->prdc.k_pr);
        printf("density     %.4f   coverage %.4f            (k = %d)\n", r->prdc.density, r->prdc.coverage, r->prdc.k_dc);
    }
    if (r->wanted & IS)
        printf("IS          %.6g +- %.6g   (%d splits)\n", r->is.mean, r->is.std, r->is.splits);
    for (const char *line = r->doubts; *line;) {
        size_t n = strcspn(line, "\n");
        printf("note        %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void json_side(cJSON *to, const char *role, const struct side *s, int rank) {
    const struct statistics *t = &s->statistics;
    cJSON *j = cJSON_AddObjectToObject(to, role);
    cJSON_AddStringToObject(j, "source", s->operand);
    cJSON_AddStringToObject(j, "kind", source_kind_name(s->kind));
    cJSON_AddNumberToObject(j, "count", (double)t->count);
    cJSON_AddNumberToObject(j, "read", (double)s->read);
    cJSON_AddNumberToObject(j, "rejected", (double)s->rejected);
    cJSON_AddStringToObject(j, "pictures", t->pictures);
    cJSON_AddStringToObject(j, "content_sha256", t->content_hash);
    cJSON_AddBoolToObject(j, "cached", s->from_cache);
    cJSON_AddNumberToObject(j, "covariance_rank", rank);
}

static void print_json(const struct side *ref, const struct side *made, const struct scores *r) {
    const struct statistics *t = &made->statistics;
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "program", cli_version());
    if (ref && r->wanted & FID) {
        cJSON_AddNumberToObject(j, "fid", r->fid.distance);
        cJSON_AddNumberToObject(j, "fid_mean_term", r->fid.mean_term);
    }
    if (ref && r->wanted & KID) {
        cJSON_AddNumberToObject(j, "kid", r->kid.mean);
        cJSON_AddNumberToObject(j, "kid_std", r->kid.std);
        cJSON_AddNumberToObject(j, "kid_subsets", r->kid.subsets);
        cJSON_AddNumberToObject(j, "kid_subset_size", (double)r->kid.subset_size);
    }
    if (ref && r->wanted & PRDC) {
        cJSON_AddNumberToObject(j, "precision", r->prdc.precision);
        cJSON_AddNumberToObject(j, "recall", r->prdc.recall);
        cJSON_AddNumberToObject(j, "f_score", r->prdc.f_score);
        cJSON_AddNumberToObject(j, "density", r->prdc.density);
        cJSON_AddNumberToObject(j, "coverage", r->prdc.coverage);
    }
    if (r->wanted & IS) {
        cJSON_AddNumberToObject(j, "inception_score", r->is.mean);
        cJSON_AddNumberToObject(j, "inception_score_std", r->is.std);
        cJSON_AddNumberToObject(j, "inception_score_splits", r->is.splits);
    }
    if (ref)
        json_side(j, "reference", ref, r->fid.rank1);
    json_side(j, "scored", made, r->fid.rank2);
    cJSON *f = cJSON_AddObjectToObject(j, "features");
    cJSON_AddStringToObject(f, "name", t->features);
    cJSON_AddNumberToObject(f, "dim", t->dim);
    cJSON_AddStringToObject(f, "sha256", t->extractor_hash);
    cJSON_AddStringToObject(f, "preprocessing", t->preprocessing);
    cJSON_AddStringToObject(j, "covariance", t->biased ? "n" : "n-1");
    cJSON *notes = cJSON_AddArrayToObject(j, "notes");
    for (const char *line = r->doubts; *line;) {
        char text[1024];
        size_t n = strcspn(line, "\n");
        snprintf(text, sizeof text, "%.*s", (int)n, line);
        cJSON_AddItemToArray(notes, cJSON_CreateString(text));
        line += n + (line[n] == '\n');
    }
    char *text = cJSON_PrintUnformatted(j); /* one line: object after object makes JSON lines */
    puts(text);
    cJSON_free(text);
    cJSON_Delete(j);
}

/* ---- */

static bool is_statistics(const char *operand) {
    struct error e;
    enum source_kind kind;
    if (source_detect(operand, &kind, &e) != ST_OK)
        cli_die("%s", e.text);
    return kind == SOURCE_STATISTICS;
}

int main(int argc, char **argv) {
    cli_patient_threads(argv);
    int first = cli_start(&program, argc, argv), n = argc - first;
    const char *reference = o.ref, *scored = n ? argv[argc - 1] : NULL;
    unsigned wanted = parse_metrics(o.metrics);
    if (n == 2 && !reference)
        reference = argv[first];
    else if (n != 1)
        cli_usage(n ? "one SIDE to score and one --ref, there are %d operands" : "no SIDE to score", n);
    if (!reference && !o.save && !o.save_features && wanted & ~(unsigned)IS)
        cli_usage("a second side to compare with is missing: --ref SIDE");
    if (reference && !strcmp(reference, "-") && !strcmp(scored, "-"))
        cli_usage("only one side can be stdin");
    if (!strcmp(scored, "-") || (reference && !strcmp(reference, "-")))
        cli_need_stream_stdin("a sample stream");
    bool made_file = is_statistics(scored), ref_file = reference && is_statistics(reference);
    if ((made_file || ref_file) && wanted & ~(unsigned)FID)
        cli_usage("a statistics file has no features: only FID can be computed from it");
    if (made_file && o.save_features)
        cli_usage("a statistics file has no features to save");
    if (wanted & IS && o.features != EXTRACT_INCEPTION)
        cli_usage("the Inception score needs --features inception");

    struct error e;
    struct extractor *extractor = NULL;
    int threads = (int)(o.jobs ? o.jobs : cli_processors());
    if (!made_file || (reference && !ref_file)) {
        struct extractor_options x = {.kind = o.features, .weights = o.inception, .device = o.device, .no_graph = o.no_graph, .threads = threads,
                                      .batch = (int)o.batch};
        if (extractor_open(&extractor, &x, &e) != ST_OK)
            cli_die("%s", e.text);
        cli_info("%s, weights SHA-256 %s, on %s", extractor_name(extractor), extractor_hash(extractor), extractor_device(extractor));
    }
    struct cli_rejects rejects;
    cli_rejects_open(&rejects, o.rejects);
    char *cache = cache_folder();
    struct side_options so = {.extractor = extractor, .size = (int)o.size, .threads = threads, .biased = o.covariance == 1,
                              .keep_features = (wanted & (KID | PRDC)) && reference, .cache = cache, .rejects = &rejects};
    struct side ref = {0}, made = {0};
    struct scores r = {.wanted = wanted};
    if (reference)
        measure(&ref, reference, &so);
    so.keep_logits = wanted & IS;
    so.keep_features = so.keep_features || o.save_features;
    measure(&made, scored, &so);
    if (o.save && statistics_write(&made.statistics, o.save, &e) != ST_OK)
        cli_die("%s", e.text);
    if (o.save_features)
        save_features(&made);
    if (reference)
        compare(&ref, &made, &r);
    if (wanted & IS)
        inception_scores(&made, extractor_classes(extractor), &r);

    if (o.json)
        print_json(reference ? &ref : NULL, &made, &r);
    else
        print_text(reference ? &ref : NULL, &made, &r);
    int code = cli_rejects_close(&rejects, o.max_reject);
    if (reference && wanted & FID && r.fid.distance > o.max_fid) {
        cli_error("FID %.6g is above --max-fid %g", r.fid.distance, o.max_fid);
        code = code ? code : EXIT_LIMIT;
    }
    if (reference && wanted & KID && r.kid.mean > o.max_kid) {
        cli_error("KID %.6g is above --max-kid %g", r.kid.mean, o.max_kid);
        code = code ? code : EXIT_LIMIT;
    }
    side_free(&ref);
    side_free(&made);
    extractor_close(extractor);
    free(cache);
    return cli_finish(code);
}
