/* inception_formula.h - FID's Inception with the weights of the formula in the reference folder's README, as a file. Names and shapes
 * come from inception-shapes.json in $FACEMILL_REFERENCE or tests/reference. For the one program that includes it. */
#ifndef FACEMILL_INCEPTION_FORMULA_H
#define FACEMILL_INCEPTION_FORMULA_H

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/image/image.h"
#include "common/store/safetensors.h"

static bool ends(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static uint64_t splitmix(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void formula(const char *name, float *out, int64_t n, int64_t fan_in) {
    uint64_t state = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++)
        state = (state ^ (uint8_t)*c) * 0x100000001b3u;
    for (int64_t i = 0; i < n; i++) {
        double u = (double)(splitmix(&state) >> 40) / 16777216.0, v = 2 * u - 1;
        if (ends(name, ".conv.weight"))
            v *= sqrt(6.0 / (double)fan_in);
        else if (!strcmp(name, "fc.weight"))
            v *= sqrt(3.0 / 2048.0);
        else if (!strcmp(name, "fc.bias"))
            v *= 0.1;
        else if (ends(name, ".bn.weight") || ends(name, ".bn.running_var"))
            v = 0.75 + 0.5 * u;
        else
            v *= 0.2;
        out[i] = (float)v;
    }
}

/* Writes the whole state dictionary to path. */
static enum status inception_formula_write(const char *path, struct error *e) {
    const char *folder = getenv("FACEMILL_REFERENCE");
    char *list = xasprintf("%s/inception-shapes.json", folder ? folder : "tests/reference");
    struct bytes text = {0};
    enum status st = file_read(list, 1 << 20, &text, e);
    cJSON *shapes = st == ST_OK ? cJSON_ParseWithLength((const char *)text.data, text.size) : NULL, *shape;
    int n = shapes ? cJSON_GetArraySize(shapes) : 0, i = 0;
    struct st_entry *entry = xcalloc(n + 1, sizeof *entry);
    cJSON_ArrayForEach(shape, shapes) {
        int64_t count = 1;
        const cJSON *dim;
        cJSON_ArrayForEach(dim, shape) {
            entry[i].dim[entry[i].ndim++] = (int64_t)dim->valuedouble;
            count *= (int64_t)dim->valuedouble;
        }
        if (ends(shape->string, "num_batches_tracked"))
            continue; /* never read; entry[i] has no dimensions and is used again */
        float *data = xmalloc((size_t)count * sizeof *data);
        formula(shape->string, data, count, count / entry[i].dim[0]);
        entry[i].name = shape->string;
        entry[i].dtype = DT_F32;
        entry[i++].data = data;
    }
    if (st == ST_OK)
        st = i ? safetensors_write(path, entry, i, NULL, 0, e) : st_bad(e, "%s: no list of shapes", list);
    for (int k = 0; k < i; k++)
        free((void *)entry[k].data);
    free(entry);
    cJSON_Delete(shapes);
    bytes_free(&text);
    free(list);
    return st;
}

#endif
