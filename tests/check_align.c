/* check_align.c - the FFHQ crop against the published script's pictures (align-synthetic.safetensors): for each case the quad's
 * corners against the formulas written out here once more, and the pixels: mean absolute difference <= 1.5 levels, PSNR >= 38 dB
 * (the script supersamples and rounds several times; a good antialiased resampler differs by about that). */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/face/ffhq.h"
#include "tests/check.h"

static const struct st_tensor *tensor(const struct safetensors *s, const char *kind, const char *name, const char *field) {
    char key[256];
    snprintf(key, sizeof key, "%s.%s.%s", kind, name, field);
    return safetensors_find(s, key);
}

static bool recognises(const struct safetensors *s) {
    for (int i = 0; i < safetensors_count(s); i++)
        if (strstr(safetensors_at(s, i)->name, ".landmarks") && safetensors_metadata(s, "cases"))
            return true;
    return false;
}

/* The formulas of the dataset's description with complex numbers in place of vectors: rot90(v) = i*v. */
static double corner_error(const struct face_landmarks *lm, bool rotate, const struct ffhq_quad *q) {
    _Complex double p[68], left = 0, right = 0;
    for (int i = 0; i < 68; i++)
        p[i] = lm->xy[i][0] + 1i * lm->xy[i][1];
    for (int i = 0; i < 6; i++) {
        left += p[36 + i] / 6;
        right += p[42 + i] / 6;
    }
    _Complex double mouth = (p[48] + p[54]) / 2, e = right - left, m = mouth - (left + right) / 2, x = rotate ? e - 1i * m : 1;
    x *= fmax(2 * __builtin_cabs(e), 1.8 * __builtin_cabs(m)) / __builtin_cabs(x);
    _Complex double y = 1i * x, c = (left + right) / 2 + 0.1 * m, want[4] = {c - x - y, c - x + y, c + x + y, c + x - y};
    double worst = fabs(q->size - 2 * __builtin_cabs(x));
    for (int i = 0; i < 4; i++)
        worst = fmax(worst, __builtin_cabs(want[i] - (q->corner[i][0] + 1i * q->corner[i][1])));
    return worst;
}

static void run_case(const struct safetensors *s, const cJSON *c, struct report *r) {
    const struct st_tensor *picture = tensor(s, "in", c->string, "image_hwc"), *points = tensor(s, "in", c->string, "landmarks"),
                           *want = tensor(s, "out", c->string, "image_hwc");
    int size = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(c, "size"));
    bool rotate = !cJSON_IsFalse(cJSON_GetObjectItem(c, "rotate")), padding = !cJSON_IsFalse(cJSON_GetObjectItem(c, "padding"));
    if (!picture || !points || !want || points->dtype != DT_F64 || points->count != 136 || picture->ndim != 3 ||
        picture->dtype != DT_U8 || want->dtype != DT_U8 || want->count != 3LL * size * size) {
        report_verdict(r, c->string, false, "a tensor of this case is missing or misshapen");
        return;
    }
    struct face_landmarks lm = {.scheme = FACE_68, .n = 68};
    memcpy(lm.xy, points->data, sizeof lm.xy);
    struct ffhq_anchors a;
    struct ffhq_quad q;
    ffhq_anchors(&lm, &a);
    ffhq_quad(&a, rotate, 1.0, &q);
    char name[128];
    snprintf(name, sizeof name, "align.%s.quad", c->string);
    double off = corner_error(&lm, rotate, &q);
    report_verdict(r, name, off <= 1e-6, "corners within %.1e pixels", off);

    struct image im, out = {0};
    image_alloc(&im, (int)picture->dim[1], (int)picture->dim[0], 3);
    memcpy(im.data, picture->data, (size_t)picture->count);
    ffhq_cut(&im, 8, &q, size, padding, &out);
    double absolute = 0, square = 0;
    for (int64_t i = 0; i < want->count; i++) {
        double d = (double)out.data[i] - ((const uint8_t *)want->data)[i];
        absolute += fabs(d);
        square += d * d;
    }
    absolute /= (double)want->count;
    double psnr = 10 * log10(255.0 * 255.0 * (double)want->count / fmax(square, 1e-9));
    snprintf(name, sizeof name, "align.%s.pixels", c->string);
    report_verdict(r, name, absolute <= 1.5 && psnr >= 38, "mean difference %.3f levels, PSNR %.1f dB", absolute, psnr);
    image_free(&im);
    image_free(&out);
}

static void run(const struct safetensors *s, struct report *r) {
    cJSON *cases = cJSON_Parse(safetensors_metadata(s, "cases"));
    if (!cJSON_GetArraySize(cases))
        report_verdict(r, "align", false, "the file's list of cases is no JSON object");
    for (const cJSON *c = cases ? cases->child : NULL; c; c = c->next)
        run_case(s, c, r);
    cJSON_Delete(cases);
}

const struct check check_align = {"align", recognises, run};
