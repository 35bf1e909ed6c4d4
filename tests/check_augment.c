/* check_augment.c - augment-*.safetensors: each group of the augmentation at given percentiles of its distributions, the filters,
 * and the gradient to the picture.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/stylegan2/augment.h"
#include "tests/check_graph.h"

#define TOLERANCE 1e-4

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "const.Hz_geom") && safetensors_find(s, "const.Hz_fbank") && safetensors_find(s, "in.img");
}

static void check_filters(const struct safetensors *s, struct report *r) {
    double geom[AUGMENT_GEOM_TAPS], bank[AUGMENT_BANDS][AUGMENT_BAND_TAPS];
    float got[AUGMENT_BANDS * AUGMENT_BAND_TAPS];
    const char *const names[] = {"const.Hz_geom", "const.Hz_fbank"};
    const double *const values[] = {geom, &bank[0][0]};
    const int64_t counts[] = {AUGMENT_GEOM_TAPS, AUGMENT_BANDS * AUGMENT_BAND_TAPS};
    augment_constants(geom, bank);
    for (int k = 0; k < 2; k++) {
        int64_t n;
        float *want = check_load(s, names[k], &n);
        for (int64_t i = 0; i < counts[k]; i++)
            got[i] = (float)values[k][i];
        if (n == counts[k])
            report_tensor(r, names[k], got, want, n, 1e-6);
        else
            report_verdict(r, names[k], false, "%lld taps, the reference has %lld", (long long)counts[k], (long long)n);
        free(want);
    }
}

/* out.GROUP.pX or out.dx.GROUP.pX */
static void check_group(const struct safetensors *s, struct report *r, const char *name) {
    char group[16];
    double percentile;
    bool gradient = !strncmp(name, "out.dx.", 7);
    if (sscanf(name + (gradient ? 7 : 4), "%15[^.].p%lf", group, &percentile) != 2 || !augment_by_name(group)) {
        report_verdict(r, name, false, "what it holds is unknown");
        return;
    }
    struct check_graph c;
    check_graph_begin(&c, s, r, "augment");
    tensor *img = check_input(&c, "in.img");
    struct augment *a = augment_create(check_device(), augment_by_name(group), (int)img->dim[0], (int)img->dim[1], (int)img->dim[3]);
    augment_draw(a, 0, 0, 0, 1, percentile);
    tensor *out = augment_graph(a, c.g, img);
    if (gradient)
        graph_vjp(c.g, out, check_input(&c, "in.dy"), &img, 1, &out, false);
    check_expect(&c, name, out, TOLERANCE);
    check_graph_run(&c);
    augment_free(a);
}

static void run(const struct safetensors *s, struct report *r) {
    check_filters(s, r);
    for (int i = 0; i < safetensors_count(s); i++)
        if (!strncmp(safetensors_at(s, i)->name, "out.", 4))
            check_group(s, r, safetensors_at(s, i)->name);
}

const struct check check_augment = {"augment", recognises, run};
