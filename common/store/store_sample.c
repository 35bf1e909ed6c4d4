/* store_sample.c - see store_tools.h: describing a store, and samples out of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/record.h"
#include "common/store/store_tools.h"

cJSON *store_describe(const struct store *s) {
    const struct store_meta *m = store_get_meta(s);
    cJSON *json = store_meta_json(s) ? cJSON_Duplicate(store_meta_json(s), true) : cJSON_CreateObject();
    if (m->foreign) {
        cJSON_AddStringToObject(json, "format", "foreign");
        cJSON *sizes = cJSON_AddArrayToObject(json, "sizes");
        for (int i = 0; i < m->n_sizes; i++) {
            cJSON *size = cJSON_CreateObject();
            cJSON_AddNumberToObject(size, "width", m->width[i]);
            cJSON_AddNumberToObject(size, "height", m->height[i]);
            cJSON_AddItemToArray(sizes, size);
        }
        cJSON_AddNumberToObject(json, "channels", m->channels);
        cJSON_AddStringToObject(json, "codec", image_format_name(m->codec));
        cJSON_AddNumberToObject(json, "length", (double)m->length);
        cJSON_AddNumberToObject(json, "label_dim", 0);
    }
    cJSON_AddNumberToObject(json, "bytes", (double)store_bytes(s));
    return json;
}

enum status store_pick_size(const struct store_meta *m, const char *text, int *size, struct error *e) {
    struct store_format f = {0};
    enum status st = recipe_parse_sizes(text, &f, e);
    if (st != ST_OK)
        return st;
    for (int i = 0; i < m->n_sizes && f.n_sizes == 1; i++)
        if (m->height[i] == f.height[0] && (m->width[i] == f.width[0] || f.width[0] == f.height[0])) {
            *size = i;
            return ST_OK;
        }
    return st_bad(e, "no size %s in it (pack-lmdb ls shows the sizes)", text);
}

enum status store_sample(struct store *s, int size, int64_t i, struct sample *sample, struct error *e) {
    const void *data;
    const char *text;
    size_t bytes;
    int label;
    sample_free(sample);
    store_text(s, "key", i, &text, &bytes);
    if (text && bytes && bytes < SAMPLE_KEY_MAX && !memchr(text, 0, bytes))
        memcpy(sample->key, text, bytes); /* the sample is zeroed: the key ends there */
    else
        snprintf(sample->key, sizeof sample->key, "%05lld", (long long)i);
    enum status st = store_picture(s, size, i, &data, &bytes, e);
    if (st != ST_OK)
        return st;
    sample->format = image_detect(data, bytes);
    if (sample->format == IMAGE_UNKNOWN)
        return st_bad(e, "sample %lld is no picture (pack-lmdb check)", (long long)i);
    bytes_append(&sample->picture, data, bytes);
    store_text(s, "json", i, &text, &bytes);
    sample->json = text && bytes <= SAMPLE_JSON_MAX ? cJSON_ParseWithLength(text, bytes) : NULL;
    if (text && !cJSON_IsObject(sample->json)) {
        cJSON_Delete(sample->json);
        sample->json = NULL;
        return st_bad(e, "sample %lld: its JSON is broken (pack-lmdb check)", (long long)i);
    }
    store_text(s, "label", i, &text, &bytes);
    if (text && store_label(s, i, &label, e) == ST_OK) {
        sample->extras = xcalloc(1, sizeof *sample->extras);
        sample->n_extras = 1;
        sample->extras[0].suffix = xstrdup(".cls");
        bytes_append(&sample->extras[0].bytes, text, bytes);
    }
    return ST_OK;
}
