/* describe.c - see describe.h. */
#include "common/latent/describe.h"

#include <stdio.h>

void picture_describe(const struct picture_origin *o, uint64_t name, struct sample *s) {
    cJSON *j = sample_json(s), *step = cJSON_CreateObject();
    unsigned long long number = name;
    if (o->rng) {
        snprintf(s->key, sizeof s->key, "seed%04llu", number);
        char digits[24]; /* 64 bits, which a JSON library's double would round */
        snprintf(digits, sizeof digits, "%llu", number);
        cJSON_AddRawToObject(j, "seed", digits);
        cJSON_AddStringToObject(step, "rng", o->rng);
    } else {
        snprintf(s->key, sizeof s->key, "%06llu", number);
        cJSON_AddNumberToObject(j, "latent", (double)name);
    }
    cJSON_AddNumberToObject(j, "truncation", o->psi);
    cJSON_AddStringToObject(j, "network", o->network);
    cJSON_AddNumberToObject(j, "width", o->res);
    cJSON_AddNumberToObject(j, "height", o->res);
    if (o->class_number >= 0)
        cJSON_AddNumberToObject(j, "label", o->class_number);
    cJSON_AddNumberToObject(step, "truncation", o->psi);
    cJSON_AddNumberToObject(step, "cutoff", o->cutoff);
    cJSON_AddStringToObject(step, "noise", o->noise);
    if (o->noise_scale)
        cJSON_AddStringToObject(step, "noise_scale", o->noise_scale);
    cJSON_AddStringToObject(step, "precision", o->precision);
    cJSON_AddStringToObject(step, "network", o->network);
    if (o->images >= 0)
        cJSON_AddNumberToObject(step, "network_images", (double)o->images);
    sample_add_step(s, "sg2-gen", step);
}
