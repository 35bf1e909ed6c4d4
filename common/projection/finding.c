/* finding.c - see finding.h. */
#include "common/projection/finding.h"

#include <math.h>
#include <stdio.h>

static void add_search(const struct search *s, cJSON *j) {
    cJSON_AddStringToObject(j, "space", s->space);
    cJSON_AddStringToObject(j, "distance", s->distance);
    if (s->inception)
        cJSON_AddStringToObject(j, "inception", s->inception);
    cJSON_AddStringToObject(j, "noise", s->noise);
    cJSON_AddNumberToObject(j, "steps", (double)s->steps);
    char digits[24]; /* 64 bits, which a JSON library's double would round */
    snprintf(digits, sizeof digits, "%lld", (long long)s->seed);
    cJSON_AddRawToObject(j, "seed", digits);
    cJSON_AddStringToObject(j, "network", s->network);
}

static void add_rounded(cJSON *j, const char *name, double x) { cJSON_AddNumberToObject(j, name, round(x * 1e6) / 1e6); }

char *finding_line(const struct finding *f, const struct search *s) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddNumberToObject(j, "index", (double)f->index);
    cJSON_AddStringToObject(j, "key", f->key);
    add_rounded(j, "psnr", f->psnr);
    add_rounded(j, "psnr_network_noise", f->network_psnr);
    cJSON *loss = cJSON_AddObjectToObject(j, "loss");
    add_rounded(loss, "pixel", f->loss.pixel);
    add_rounded(loss, "contrast", f->loss.contrast);
    add_rounded(loss, "features", f->loss.feature);
    add_rounded(loss, "noise", f->loss.noise);
    add_rounded(loss, "prior", f->loss.prior);
    add_rounded(loss, "rows", f->loss.row);
    add_search(s, j);
    char *text = cJSON_PrintUnformatted(j);
    cJSON_Delete(j);
    return text;
}

struct sample finding_sample(const struct sample *of, const struct search *s) {
    struct sample made = {0};
    snprintf(made.key, sizeof made.key, "%s", of->key);
    made.json = of->json ? cJSON_Duplicate(of->json, true) : NULL;
    cJSON *step = cJSON_CreateObject();
    add_search(s, step);
    sample_add_step(&made, "sg2-project", step);
    return made;
}
