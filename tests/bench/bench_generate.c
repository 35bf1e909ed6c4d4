/* bench_generate.c - generation at 128x128 (fmaps 0.5) against the machine's own sgemm rate.
 *
 *     bench_generate SGEMM_GFLOPS [BATCH]
 *
 * Prints lines "what<TAB>value<TAB>goal" for bench.sh. Floating-point operations are those of the plan (multiply-adds count 2, a
 * convolution as its sum is written down), so an algorithm that needs fewer, such as Winograd's, can exceed the sgemm rate. Weights
 * are fresh ones: the time does not depend on them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/cli/cli.h"
#include "common/rng/philox.h"
#include "common/stylegan2/generator.h"
#include "common/stylegan2/trainer.h"

int main(int argc, char **argv) {
    struct error e;
    struct device *device;
    struct trainer_config c;
    struct sg2_generator *generator;
    double sgemm = 0;
    long batch = 16;
    if (argc < 2 || !cli_parse_float(argv[1], 1e-3, 1e9, &sgemm) || (argc > 2 && !cli_parse_int(argv[2], 1, SG2_MAX_BATCH, &batch))) {
        fprintf(stderr, "usage: bench_generate SGEMM_GFLOPS [BATCH]\n");
        return 2;
    }
    if (trainer_preset(&c, "auto", 128, 1, &e) != ST_OK || device_open(&device, "cpu", 0, &e) != ST_OK)
        goto failed;
    struct sg2_net *net = sg2_net_create(device, SG2_G, &c.net);
    sg2_net_init(net, 1);
    const struct sg2_generator_opt o = {.batch = (int)batch, .noise = SG2_NOISE_CONST, .psi = 0.7f, .cutoff = -1};
    if (sg2_generator_create(&generator, device, net, &o, &e) != ST_OK)
        goto failed;
    float *z = xmalloc((size_t)batch * (size_t)c.net.z_dim * sizeof *z);
    uint8_t *pixels = xmalloc((size_t)batch * 128 * 128 * 3);
    philox_fill_normal(1, 0, 0, z, batch * c.net.z_dim);
    const struct sg2_latents l = {.n = batch, .z = z};
    sg2_generate(generator, &l, pixels); /* what depends on the weights alone is computed here */
    double best = 1e30;
    for (int i = 0; i < 5; i++) {
        double start = cli_seconds();
        sg2_generate(generator, &l, pixels);
        double spent = cli_seconds() - start;
        best = spent < best ? spent : best;
    }
    double rate = program_get_info(sg2_generator_program(generator)).flops / sg2_generator_batch(generator) * (double)batch / best * 1e-9;
    printf("sg2-gen, 128x128, fmaps 0.5, batch %ld, pictures/s\t%.2f\t-\n", batch, (double)batch / best);
    printf("sg2-gen, share of the sgemm rate (%.0f of %.0f GFLOP/s)\t%.0f %%\t>= 60 %%\n", rate, sgemm, 100 * rate / sgemm);
    sg2_generator_free(generator);
    sg2_net_free(net);
    device_close(device);
    free(z);
    free(pixels);
    return 0;
failed:
    fprintf(stderr, "bench_generate: %s\n", e.text);
    return 1;
}
