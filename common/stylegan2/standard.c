/* standard.c - see standard.h. Planning all of it takes about three seconds. */
#include "common/stylegan2/standard.h"

#include <string.h>

#include "common/stylegan2/generator.h"
#include "common/stylegan2/projector.h"
#include "common/stylegan2/trainer.h"

static enum status plan_training(struct device *d, const struct trainer_config *c, struct error *e) {
    struct trainer *t;
    enum status st = trainer_create(&t, d, c, e);
    if (st == ST_OK)
        trainer_free(t);
    return st;
}

static enum status plan_generator(struct device *d, const struct sg2_config *c, int batch, bool half, struct error *e) {
    static const struct sg2_generator_opt options[] = {
        {.noise = SG2_NOISE_CONST, .psi = 1, .cutoff = -1}, {.noise = SG2_NOISE_CONST, .psi = 0.7f, .cutoff = -1},
        {.noise = SG2_NOISE_RANDOM, .psi = 0.7f, .cutoff = 8}, {.noise = SG2_NOISE_NONE, .psi = 0.7f, .cutoff = -1}};
    struct sg2_net *net = sg2_net_create(d, SG2_G, c);
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof options / sizeof *options && st == ST_OK; i++) {
        struct sg2_generator_opt o = options[i];
        struct sg2_generator *g;
        o.batch = batch;
        o.half = half;
        if ((st = sg2_generator_create(&g, d, net, &o, e)) == ST_OK)
            sg2_generator_free(g);
    }
    sg2_net_free(net);
    return st;
}

/* By pixels or by D, with noise maps or without. Latents are short here: their statistics are computed, and patterns do not depend on it. */
static enum status plan_projector(struct device *d, const struct sg2_config *config, int batch, struct error *e) {
    struct sg2_config c = *config;
    c.z_dim = c.w_dim = 64;
    struct sg2_net *g = sg2_net_create(d, SG2_G, &c), *judge = sg2_net_create(d, SG2_D, &c);
    enum status st = ST_OK;
    for (int way = 0; way < 4 && st == ST_OK; way++) {
        struct projector_config o = projector_defaults(PROJECT_W_PLUS);
        struct projector *p;
        o.batch = batch;
        o.half = true;
        o.discriminator = way & 1 ? judge : NULL;
        o.optimise_noise = way & 2;
        if ((st = projector_create(&p, d, g, &o, e)) == ST_OK)
            projector_free(p);
    }
    sg2_net_free(g);
    sg2_net_free(judge);
    return st;
}

enum status sg2_plan_standard(struct device *d, struct error *e) {
    static const struct {
        const char *cfg;
        int res, batch, classes; /* batch 0: the preset's */
        const char *augment;     /* NULL: none */
        bool projected;          /* pictures are sought with it, too: resolution changes few patterns */
        int channels;            /* 0: three */
    } standard[] = {
        {"auto", 32, 0, 0, "bgc"},      {"auto", 64, 0, 0, "bgc"},        {"auto", 128, 0, 0, "bgc"},        {"auto", 128, 64, 0, "bgc"},
        {"auto", 128, 0, 0, NULL, true}, {"auto", 128, 0, 0, "bgcfnc"},   {"auto", 128, 0, 10, "bgc"},       {"auto", 256, 0, 0, "bgc"},
        {"auto", 256, 0, 10, "bgcfnc"}, {"auto", 256, 64, 0, "bgc"},      {"auto", 512, 0, 0, "bgc"},        {"auto", 1024, 0, 0, "bgc"},
        {"stylegan2", 128, 0, 0, NULL}, {"stylegan2", 256, 0, 0, "bgc"},  {"stylegan2", 1024, 0, 0, "bgc"},  {"stylegan2", 1024, 8, 0, "bgc"},
        {"paper256", 256, 0, 0, "bgc"}, {"paper256", 256, 0, 10, "bgc"},  {"paper512", 512, 0, 0, "bgc"},    {"paper1024", 1024, 0, 0, "bgc"},
        {"auto", 128, 0, 0, "bgc", false, 1}, {"auto", 128, 0, 0, "bgc", false, 4}};
    static const int batches[] = {1, 2, 8, 32};
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++)
        for (int half = 0; half < 2 && st == ST_OK; half++) {
            struct trainer_config c;
            if ((st = trainer_preset(&c, standard[i].cfg, standard[i].res, 1, e)))
                return st;
            if (standard[i].batch)
                c.batch = standard[i].batch;
            c.net.c_dim = standard[i].classes;
            c.net.img_channels = standard[i].channels ? standard[i].channels : 3;
            c.augment = standard[i].augment ? *augment_by_name(standard[i].augment) : (struct augment_config){0};
            c.half = half;
            st = plan_training(d, &c, e);
            for (size_t b = 0; b < sizeof batches / sizeof *batches && st == ST_OK; b++)
                for (int clamp = 0; clamp < 2 && st == ST_OK; clamp++) { /* networks trained elsewhere in fp16 have one */
                    c.net.conv_clamp = clamp ? 256 : 0;
                    st = plan_generator(d, &c.net, batches[b], half, e);
                    if (st == ST_OK && standard[i].projected && half && !clamp && (batches[b] == 1 || batches[b] == 8))
                        st = plan_projector(d, &c.net, batches[b], e);
                }
        }
    return st;
}
