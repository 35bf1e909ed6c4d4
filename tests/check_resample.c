/* check_resample.c - 8-bit resizing against Pillow's: at most 1 level off, and that on 0.1 % of the values at most. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/image/image.h"
#include "tests/check.h"

static bool recognises(const struct safetensors *s) {
    return safetensors_find(s, "in.image_hwc") && safetensors_find(s, "out.lanczos.128x128_hwc");
}

static bool is_picture(const struct st_tensor *t) { return t && t->dtype == DT_U8 && t->ndim == 3 && (t->dim[2] == 1 || t->dim[2] == 3 || t->dim[2] == 4); }

static void run(const struct safetensors *s, struct report *r) {
    static const char *const names[] = {"lanczos", "bicubic", "bilinear", "box"};
    const struct st_tensor *t = safetensors_find(s, "in.image_hwc");
    if (!is_picture(t)) {
        report_verdict(r, "in.image_hwc", false, "not a U8 picture");
        return;
    }
    struct image in;
    image_alloc(&in, (int)t->dim[1], (int)t->dim[0], (int)t->dim[2]);
    memcpy(in.data, t->data, (size_t)t->count);
    for (int i = 0; i < safetensors_count(s); i++) {
        const struct st_tensor *want = safetensors_at(s, i);
        char filter[32];
        int width, height, f = 0;
        if (sscanf(want->name, "out.%31[a-z].%dx%d_hwc", filter, &width, &height) != 3)
            continue;
        while (f < 4 && strcmp(filter, names[f]))
            f++;
        if (f == 4 || !is_picture(want) || want->dim[0] != height || want->dim[1] != width || want->dim[2] != in.channels) {
            report_verdict(r, want->name, false, "unknown filter or shape");
            continue;
        }
        struct image got;
        image_resize(&in, width, height, (enum image_filter)f, &got);
        const uint8_t *w = want->data;
        int64_t differ = 0, far = 0;
        for (int64_t k = 0; k < want->count; k++) {
            int d = abs(got.data[k] - w[k]);
            differ += d > 0;
            far += d > 1;
        }
        report_verdict(r, want->name, far * 1000 <= want->count, "%lld of %lld values differ, %lld by more than 1", (long long)differ,
                       (long long)want->count, (long long)far);
        image_free(&got);
    }
    image_free(&in);
}

const struct check check_resample = {"resampling", recognises, run};
