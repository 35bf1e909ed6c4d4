/* report.c - see report.h. */
#include "common/metrics/report.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "common/cli/cli.h"

/* ---- for people ---- */

static const char *known(const char *text) {
    return *text ? text : "unknown";
}

static void print_side(const char *role, const struct side *s) {
    const struct statistics *t = &s->statistics;
    if (t->count)
        printf("%-11s %s (%s): %lld pictures", role, s->operand, source_kind_name(s->kind), (long long)t->count);
    else
        printf("%-11s %s (%s): an unknown number of pictures", role, s->operand, source_kind_name(s->kind));
    if (*t->pictures)
        printf(", %s", t->pictures);
    if (*t->codecs)
        printf("; %s", t->codecs);
    if (*t->filters)
        printf("; resized with %s", t->filters);
    if (s->rejected)
        printf("; %lld more rejected", (long long)s->rejected);
    printf("%s\n", s->from_cache ? " [cached]" : "");
}

static void print_rank(const char *what, int rank, int dim) {
    if (rank < dim)
        printf("            the %s covariance has rank %d of %d: too few pictures to fill it, so the score is biased upwards\n", what,
               rank, dim);
}

/* The bias of the distance goes with features over pictures; below five times as many it is plain to see. */
static void print_bias(const struct side *ref, const struct side *made, const struct frechet *f) {
    int64_t n = ref->statistics.count, m = made->statistics.count, wanted = 5 * (int64_t)made->statistics.dim;
    if (f->rank1 == made->statistics.dim && f->rank2 == made->statistics.dim && ((n && n < wanted) || (m && m < wanted)))
        printf("            biased upwards, as with any side of fewer than %lld pictures: compare scores of the same counts only\n", (long long)wanted);
}

static void print_interval(const struct scores *r, const struct interval *i) {
    if (r->resamples)
        printf("            95 %% of %d resamples of %s (seed %ld) within %.6g .. %.6g; their bias is left out\n", r->resamples,
               r->both_resampled ? "both sides" : "the scored side", r->seed, i->low, i->high);
}

static void print_comparison(const struct side *ref, const struct side *made, const struct scores *r) {
    char counts[64], n[24];
    snprintf(n, sizeof n, ref->statistics.count ? "%lld" : "unknown", (long long)ref->statistics.count);
    snprintf(counts, sizeof counts, "%s against %lld", n, (long long)made->statistics.count);
    if (r->wanted & METRIC_FID) {
        printf("FID         %.6g   (means %.6g, covariances %.6g; %s)\n", r->fid.distance, r->fid.mean_term,
               r->fid.distance - r->fid.mean_term, counts);
        print_interval(r, &r->fid_interval);
        print_rank("reference", r->fid.rank1, made->statistics.dim);
        print_rank("scored", r->fid.rank2, made->statistics.dim);
        print_bias(ref, made, &r->fid);
    }
    if (r->wanted & METRIC_KID) {
        printf("KID         %.6g +- %.6g   (%d subset%s of %lld; %s)\n", r->kid.mean, r->kid.std, r->kid.subsets,
               r->kid.subsets == 1 ? "" : "s", (long long)r->kid.subset_size, counts);
        print_interval(r, &r->kid_interval);
    }
    if (r->wanted & METRIC_PRDC) {
        printf("precision   %.4f   recall   %.4f   F %.4f   (k = %d; %s)\n", r->prdc.precision, r->prdc.recall, r->prdc.f_score, r->prdc.k_pr,
               counts);
        printf("density     %.4f   coverage %.4f            (k = %d; %s)\n", r->prdc.density, r->prdc.coverage, r->prdc.k_dc, counts);
    }
}

void report_text(const struct side *ref, const struct side *made, const struct features_used *f, const struct scores *r) {
    if (ref)
        print_side("reference", ref);
    if (made)
        print_side("scored", made);
    printf("features    %s, %d numbers; weights SHA-256 %s\n", known(f->name), f->dim, known(f->hash));
    printf("prepared    %s; computed in %s\n", known(f->preprocessing), known(f->precision));
    if (made)
        printf("covariance  divided by %s\n", made->statistics.biased ? "n" : "n - 1");
    putchar('\n');
    if (ref && made)
        print_comparison(ref, made, r);
    if (r->wanted & METRIC_IS)
        printf("IS          %.6g +- %.6g   (%d splits of %lld pictures)\n", r->is.mean, r->is.std, r->is.splits,
               (long long)made->statistics.count);
    if (r->wanted & METRIC_PPL) {
        printf("PPL         %.6g   (in %s, at %s%s; %d pairs, %d within percentiles 1..99; epsilon %g; seed %ld)\n", r->ppl.mean,
               r->ppl_z ? "z" : "w", r->ppl_full ? "any point of the path" : "the path's beginning", r->ppl_crop ? ", of the pictures' middles" : "", r->ppl.samples, r->ppl.kept, r->ppl_epsilon, r->seed);
        printf("            of %s, SHA-256 %.12s...; distance: squared difference of %s features, not LPIPS\n", r->ppl_network, r->ppl.network,
               f->name);
    }
    for (const char *line = r->doubts; *line;) {
        size_t n = strcspn(line, "\n");
        printf("note        %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

/* ---- for programs ---- */

static void json_side(cJSON *to, const char *role, const struct side *s, int rank) {
    const struct statistics *t = &s->statistics;
    cJSON *j = cJSON_AddObjectToObject(to, role);
    cJSON_AddStringToObject(j, "source", s->operand);
    cJSON_AddStringToObject(j, "kind", source_kind_name(s->kind));
    cJSON_AddNumberToObject(j, "count", (double)t->count);
    cJSON_AddNumberToObject(j, "read", (double)s->read);
    cJSON_AddNumberToObject(j, "rejected", (double)s->rejected);
    cJSON_AddStringToObject(j, "pictures", t->pictures);
    cJSON_AddStringToObject(j, "sizes", t->sizes);
    cJSON_AddStringToObject(j, "codecs", t->codecs);
    cJSON_AddStringToObject(j, "filters", t->filters);
    if (s->tally.pictures) {
        cJSON_AddNumberToObject(j, "other_sizes", (double)s->tally.other_sizes);
        cJSON_AddNumberToObject(j, "grey", (double)s->tally.grey);
        cJSON_AddNumberToObject(j, "alpha", (double)s->tally.alpha);
        cJSON_AddNumberToObject(j, "rotated", (double)s->tally.rotated);
    }
    cJSON_AddStringToObject(j, "content_sha256", t->content_hash);
    cJSON_AddBoolToObject(j, "cached", s->from_cache);
    cJSON_AddNumberToObject(j, "covariance_rank", rank);
}

static void json_interval(cJSON *j, const char *low, const char *high, const struct interval *i) {
    cJSON_AddNumberToObject(j, low, i->low);
    cJSON_AddNumberToObject(j, high, i->high);
}

static void json_scores(cJSON *j, const struct scores *r, bool compared) {
    if (compared && r->wanted & METRIC_FID) {
        cJSON_AddNumberToObject(j, "fid", r->fid.distance);
        cJSON_AddNumberToObject(j, "fid_mean_term", r->fid.mean_term);
        if (r->resamples)
            json_interval(j, "fid_low", "fid_high", &r->fid_interval);
    }
    if (compared && r->wanted & METRIC_KID) {
        cJSON_AddNumberToObject(j, "kid", r->kid.mean);
        cJSON_AddNumberToObject(j, "kid_std", r->kid.std);
        cJSON_AddNumberToObject(j, "kid_subsets", r->kid.subsets);
        cJSON_AddNumberToObject(j, "kid_subset_size", (double)r->kid.subset_size);
        if (r->resamples)
            json_interval(j, "kid_low", "kid_high", &r->kid_interval);
    }
    if (r->resamples) {
        cJSON_AddNumberToObject(j, "resamples", r->resamples);
        cJSON_AddStringToObject(j, "resampled", r->both_resampled ? "both" : "scored");
    }
    if (compared && r->wanted & METRIC_PRDC) {
        cJSON_AddNumberToObject(j, "precision", r->prdc.precision);
        cJSON_AddNumberToObject(j, "recall", r->prdc.recall);
        cJSON_AddNumberToObject(j, "f_score", r->prdc.f_score);
        cJSON_AddNumberToObject(j, "precision_neighbours", r->prdc.k_pr);
        cJSON_AddNumberToObject(j, "density", r->prdc.density);
        cJSON_AddNumberToObject(j, "coverage", r->prdc.coverage);
    }
    if (r->wanted & METRIC_IS) {
        cJSON_AddNumberToObject(j, "inception_score", r->is.mean);
        cJSON_AddNumberToObject(j, "inception_score_std", r->is.std);
        cJSON_AddNumberToObject(j, "inception_score_splits", r->is.splits);
    }
    if (r->wanted & METRIC_PPL) {
        cJSON_AddNumberToObject(j, "ppl", r->ppl.mean);
        cJSON_AddNumberToObject(j, "ppl_samples", r->ppl.samples);
        cJSON_AddNumberToObject(j, "ppl_kept", r->ppl.kept);
        cJSON_AddNumberToObject(j, "ppl_epsilon", r->ppl_epsilon);
        cJSON_AddStringToObject(j, "ppl_sampling", r->ppl_full ? "full" : "end");
        cJSON_AddStringToObject(j, "ppl_space", r->ppl_z ? "z" : "w");
        cJSON_AddBoolToObject(j, "ppl_crop", r->ppl_crop);
        cJSON_AddStringToObject(j, "ppl_network_sha256", r->ppl.network);
    }
}

void report_json(const struct side *ref, const struct side *made, const struct features_used *used, const struct scores *r) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "program", cli_version());
    json_scores(j, r, ref && made);
    if (ref)
        json_side(j, "reference", ref, r->fid.rank1);
    if (made)
        json_side(j, "scored", made, r->fid.rank2);
    cJSON *f = cJSON_AddObjectToObject(j, "features");
    cJSON_AddStringToObject(f, "name", used->name);
    cJSON_AddNumberToObject(f, "dim", used->dim);
    cJSON_AddStringToObject(f, "sha256", used->hash);
    cJSON_AddStringToObject(f, "preprocessing", used->preprocessing);
    cJSON_AddStringToObject(f, "precision", used->precision);
    if (made)
        cJSON_AddStringToObject(j, "covariance", made->statistics.biased ? "n" : "n-1");
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
