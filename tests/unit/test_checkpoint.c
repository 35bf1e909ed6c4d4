/* test_checkpoint.c - networks and training states in files: exact round trips, configurations worked out from shapes, transfer,
 * and files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/image/image.h"
#include "common/store/checkpoint.h"

static char folder[] = "/tmp/test_checkpoint-XXXXXX";
static char *path, *other;
static struct device *device;

static struct trainer_config tiny(uint64_t seed) {
    struct trainer_config c;
    assert_int_equal(trainer_preset(&c, "auto", 8, 1, NULL), ST_OK);
    c.seed = seed;
    c.batch = 4;
    c.net.channel_base = 64;
    c.net.channel_max = 8;
    c.net.z_dim = 8;
    c.net.w_dim = 12;
    c.augment_p = 0.5;
    return c;
}

static struct trainer *make(const struct trainer_config *c) {
    struct error e;
    struct trainer *t;
    assert_int_equal(trainer_create(&t, device, c, &e), ST_OK);
    trainer_init(t);
    return t;
}

static void steps(struct trainer *t, int n) {
    uint8_t pixels[4 * 8 * 8 * 3];
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof pixels; k++)
            pixels[k] = (uint8_t)(trainer_images(t) * 31 + (int)k * 7);
        trainer_step(t, pixels, NULL, NULL);
    }
}

static struct bytes content(const char *file) {
    struct bytes b = {0};
    assert_int_equal(file_read(file, 1 << 24, &b, NULL), ST_OK);
    return b;
}

static void assert_same_file(const char *a, const char *b) {
    struct bytes x = content(a), y = content(b);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    bytes_free(&x);
    bytes_free(&y);
}

/* 5 + 6 steps through a file = 11 steps, in every byte: all phases, moments, counters, statistics and the sampler are in it. */
static void resumes_exactly(void **state) {
    (void)state;
    struct error e;
    struct trainer_config c = tiny(1);
    struct trainer *t = make(&c);
    steps(t, 5);
    assert_int_equal(checkpoint_write(path, t, &c, 20, "{\"length\":3}", &e), ST_OK);
    steps(t, 6);
    assert_int_equal(checkpoint_write(other, t, &c, 44, NULL, &e), ST_OK);
    trainer_free(t);

    t = make(&c);
    struct checkpoint *file;
    int64_t position = 0;
    assert_int_equal(checkpoint_open(&file, path, &e), ST_OK);
    assert_true(checkpoint_is_full(file));
    assert_int_equal(checkpoint_images(file), 20);
    assert_string_equal(checkpoint_metadata(file, "data"), "{\"length\":3}");
    assert_int_equal(checkpoint_restore(file, t, &position, &e), ST_OK);
    assert_int_equal(position, 20);
    assert_int_equal(trainer_images(t), 20);
    checkpoint_close(file);
    steps(t, 6);
    assert_int_equal(checkpoint_write(path, t, &c, 44, NULL, &e), ST_OK);
    trainer_free(t);
    assert_same_file(path, other);
}

static void other_shapes_are_no_resume(void **state) {
    (void)state;
    struct error e;
    struct trainer_config c = tiny(1), wide = tiny(2);
    wide.net.channel_max = 10;
    struct trainer *t = make(&c);
    assert_int_equal(checkpoint_write(path, t, &c, 0, NULL, &e), ST_OK);
    trainer_free(t);
    t = make(&wide);
    assert_int_equal(checkpoint_write(other, t, &wide, 0, NULL, &e), ST_OK);
    struct checkpoint *file;
    int64_t position;
    assert_int_equal(checkpoint_open(&file, path, &e), ST_OK);
    assert_int_equal(checkpoint_restore(file, t, &position, &e), ST_BAD);
    assert_non_null(strstr(e.text, "tensor G."));
    checkpoint_close(file);
    char *unchanged = xasprintf("%s/unchanged", folder);
    assert_int_equal(checkpoint_write(unchanged, t, &wide, 0, NULL, &e), ST_OK);
    assert_same_file(other, unchanged);
    free(unchanged);
    /* a network is no training state */
    assert_int_equal(checkpoint_write_network(path, trainer_g_ema(t), 7, NULL, &e), ST_OK);
    assert_int_equal(checkpoint_open(&file, path, &e), ST_OK);
    assert_false(checkpoint_is_full(file));
    assert_int_equal(checkpoint_images(file), 7);
    assert_int_equal(checkpoint_restore(file, t, &position, &e), ST_BAD);
    checkpoint_close(file);
    trainer_free(t);
}

static void count(void *context, const char *name, enum transfer what, const char *detail) {
    int *n = context;
    (void)name;
    assert_true((what == TRANSFER_SHAPE) == (*detail != 0));
    n[what]++;
}

static void transfers_what_fits(void **state) {
    (void)state;
    struct error e;
    struct trainer_config c = tiny(1), wide = tiny(2);
    wide.net.channel_max = 10;
    struct trainer *from = make(&c), *to = make(&wide);
    steps(from, 3);
    assert_int_equal(checkpoint_write(path, from, &c, 12, NULL, &e), ST_OK);
    struct checkpoint *file;
    int n[3] = {0};
    assert_int_equal(checkpoint_open(&file, path, &e), ST_OK);
    checkpoint_transfer(file, to, count, n);
    checkpoint_close(file);
    assert_true(n[TRANSFER_COPIED] > 10 && n[TRANSFER_SHAPE] > 10 && n[TRANSFER_MISSING] == 0);
    assert_int_equal(trainer_images(to), 0);
    float a[12], b[12];
    const struct sg2_tensor *t = sg2_net_find(trainer_g(from), "mapping.w_avg");
    sg2_tensor_get(t, trainer_g(from)->state, a);
    sg2_tensor_get(t, trainer_g(to)->state, b);
    assert_memory_equal(a, b, sizeof a);
    trainer_free(from);
    trainer_free(to);
}

static void configuration_from_shapes(void **state) {
    (void)state;
    static const struct sg2_config cases[] = {
        {.res = 8, .img_channels = 3, .z_dim = 8, .w_dim = 8, .channel_base = 64, .channel_max = 8, .map_layers = 2},
        {.res = 32, .img_channels = 1, .z_dim = 5, .w_dim = 9, .channel_base = 100, .channel_max = 20, .map_layers = 3},
        {.res = 16, .img_channels = 4, .z_dim = 4, .w_dim = 6, .c_dim = 3, .channel_base = 50, .channel_max = 99, .map_layers = 1},
        {.res = 64, .img_channels = 3, .z_dim = 16, .w_dim = 16, .channel_base = 4096, .channel_max = 6, .map_layers = 8}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct error e;
        struct sg2_config c = cases[k];
        c.d_map_layers = 8, c.mbstd_group = 4, c.mbstd_channels = 1, c.conv_clamp = 7;
        struct sg2_net *net = sg2_net_create(device, SG2_G, &c), *again;
        sg2_net_init(net, 3);
        /* without metadata, without prefix, without filters: as another program might write it */
        struct st_entry *entry = xcalloc((size_t)net->n_tensors, sizeof *entry);
        int n = 0;
        for (int i = 0; i < net->n_tensors; i++) {
            const struct sg2_tensor *t = &net->tensors[i];
            if (strstr(t->name, "resample_filter"))
                continue;
            int64_t elements = 1;
            entry[n] = (struct st_entry){.name = t->name, .dtype = DT_F32, .ndim = t->ndim};
            for (int d = 0; d < t->ndim; d++)
                elements *= entry[n].dim[d] = t->dim[d];
            float *data = xmalloc((size_t)elements * sizeof *data);
            sg2_tensor_get(t, t->trained ? net->params : net->state, data);
            entry[n++].data = data;
        }
        assert_int_equal(safetensors_write(path, entry, n, NULL, 0, &e), ST_OK);
        struct checkpoint *file;
        assert_int_equal(checkpoint_open(&file, path, &e), ST_OK);
        const struct sg2_config *got = checkpoint_config(file);
        assert_int_equal(got->res, c.res);
        assert_int_equal(got->img_channels, c.img_channels);
        assert_int_equal(got->z_dim, c.z_dim);
        assert_int_equal(got->w_dim, c.w_dim);
        assert_int_equal(got->c_dim, c.c_dim);
        assert_int_equal(got->map_layers, c.map_layers);
        for (int r = 4; r <= c.res; r *= 2)
            assert_int_equal(sg2_channels(got, r), sg2_channels(&c, r));
        assert_int_equal(checkpoint_generator(file, device, &again, &e), ST_OK);
        checkpoint_close(file);
        /* the same network, filters included */
        assert_int_equal(again->n_params, net->n_params);
        assert_int_equal(again->n_state, net->n_state);
        struct buffer *pairs[2][2] = {{net->params, again->params}, {net->state, again->state}};
        for (int p = 0; p < 2; p++) {
            size_t bytes = (size_t)(p ? net->n_state : net->n_params) * 4;
            void *a = xmalloc(bytes), *b = xmalloc(bytes);
            buffer_read(pairs[p][0], 0, a, (int64_t)bytes);
            buffer_read(pairs[p][1], 0, b, (int64_t)bytes);
            assert_memory_equal(a, b, bytes);
            free(a);
            free(b);
        }
        for (int i = 0; i < n; i++)
            free((void *)entry[i].data);
        free(entry);
        sg2_net_free(net);
        sg2_net_free(again);
    }
}

/* Every single byte of the header set to something else, and every length cut: opening and loading refuse or accept, nothing else. */
static void damaged_headers(void **state) {
    (void)state;
    struct error e;
    struct trainer_config c = tiny(1);
    struct trainer *t = make(&c);
    assert_int_equal(checkpoint_write_network(path, trainer_g_ema(t), 0, NULL, &e), ST_OK);
    trainer_free(t);
    struct bytes b = content(path);
    uint64_t header;
    memcpy(&header, b.data, 8);
    int accepted = 0, refused = 0;
    for (uint64_t i = 0; i < header + 8; i += 3) {
        uint8_t was = b.data[i];
        b.data[i] = "0917[]{}\",:x\\"[i / 3 % 13];
        struct checkpoint *file;
        struct sg2_net *net = NULL;
        enum status st = checkpoint_parse(&file, b.data, b.size, "memory", &e);
        if (st == ST_OK) {
            st = checkpoint_generator(file, device, &net, &e);
            sg2_net_free(net);
            checkpoint_close(file);
        }
        *(st == ST_OK ? &accepted : &refused) += 1;
        b.data[i] = was;
    }
    assert_true(refused > accepted);
    for (size_t size = 0; size < b.size; size += 97) {
        struct checkpoint *file;
        assert_int_not_equal(checkpoint_parse(&file, b.data, size, "memory", &e), ST_OK);
        assert_null(file);
    }
    bytes_free(&b);
    checkpoint_close(NULL);
}

/* The reference networks of another implementation open as they are. */
static void reference_networks(void **state) {
    (void)state;
    static const char *const names[] = {"tests/reference/stylegan2-r16.safetensors", "tests/reference/stylegan2-r32-cond5.safetensors"};
    for (int i = 0; i < 2; i++) {
        struct error e;
        struct checkpoint *file;
        struct sg2_net *net;
        if (access(names[i], R_OK) != 0)
            skip(); /* started outside the repository */
        assert_int_equal(checkpoint_open(&file, names[i], &e), ST_OK);
        assert_int_equal(checkpoint_config(file)->res, i ? 32 : 16);
        assert_int_equal(checkpoint_config(file)->c_dim, i ? 5 : 0);
        assert_int_equal(checkpoint_config(file)->map_layers, i ? 3 : 2);
        assert_int_equal(checkpoint_generator(file, device, &net, &e), ST_OK);
        sg2_net_free(net);
        checkpoint_close(file);
    }
}

static void places_that_cannot_be_written(void **state) {
    (void)state;
    struct error e;
    struct trainer_config c = tiny(1);
    struct trainer *t = make(&c);
    assert_int_equal(checkpoint_write("/nonexistent/x", t, &c, 0, NULL, &e), ST_FAIL);
    assert_non_null(strstr(e.text, "/nonexistent/x"));
    assert_int_equal(checkpoint_write_network("/dev/full/x", trainer_g(t), 0, NULL, &e), ST_FAIL);
    trainer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumes_exactly), cmocka_unit_test(other_shapes_are_no_resume), cmocka_unit_test(transfers_what_fits),
        cmocka_unit_test(configuration_from_shapes), cmocka_unit_test(damaged_headers), cmocka_unit_test(reference_networks),
        cmocka_unit_test(places_that_cannot_be_written)};
    struct error e;
    if (!mkdtemp(folder) || device_open(&device, "cpu", 1, &e) != ST_OK)
        return 1;
    path = xasprintf("%s/a.safetensors", folder);
    other = xasprintf("%s/b.safetensors", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *remove = xasprintf("rm -rf %s", folder);
    failed += system(remove) != 0;
    free(remove);
    free(path);
    free(other);
    device_close(device);
    return failed;
}
