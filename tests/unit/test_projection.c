/* test_projection.c - what a projection leaves: its report, the history of its pictures, noise maps, the film of its search. The search
 * itself is tested in test_projector.c, whole runs in tests/programs/sg2-project.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cli/cli.h"
#include "common/projection/film.h"
#include "common/projection/finding.h"
#include "common/projection/noise_maps.h"
#include "common/store/safetensors.h"

#define RES 8
#define OK(call) do { if ((call) != ST_OK) fail_msg("%s", e.text); } while (0)

static char folder[] = "/tmp/test_projection-XXXXXX";
static struct device *device;
static struct error e;

/* ---- in words ---- */

static const struct search by_pixels = {.space = "w+", .distance = "pixel", .noise = "const", .network = "abc", .steps = 400, .seed = 9007199254740993};

static void lines(void **state) {
    (void)state;
    struct finding f = {.index = 3, .key = "a \"b\"", .psnr = 24.12345649, .network_psnr = 99,
                        .loss = {.pixel = 0.5, .contrast = 1.0000004, .feature = 0, .noise = 1e-9, .row = 2, .prior = 0.25}};
    char *line = finding_line(&f, &by_pixels);
    assert_string_equal(line, "{\"index\":3,\"key\":\"a \\\"b\\\"\",\"psnr\":24.123456,\"psnr_network_noise\":99,\"loss\":{\"pixel\":0.5,\"contrast\":1,"
                              "\"features\":0,\"noise\":0,\"prior\":0.25,\"rows\":2},\"space\":\"w+\",\"distance\":\"pixel\",\"noise\":\"const\","
                              "\"steps\":400,\"seed\":9007199254740993,\"network\":\"abc\"}");
    free(line);
    struct search s = by_pixels;
    s.distance = "inception", s.inception = "def";
    line = finding_line(&f, &s);
    assert_non_null(strstr(line, "\"distance\":\"inception\",\"inception\":\"def\",\"noise\""));
    free(line);
}

static void history(void **state) {
    (void)state;
    struct sample of = {.key = "folder/me"};
    struct sample s = finding_sample(&of, &by_pixels);
    assert_string_equal(s.key, "folder/me");
    assert_null(of.json); /* untouched */
    sample_free(&s);
    of.json = cJSON_Parse("{\"source\":\"me.jpg\",\"steps\":[{\"tool\":\"face-align\"}]}");
    s = finding_sample(&of, &by_pixels);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(of.json, "steps")), 1);
    assert_string_equal(cJSON_GetObjectItem(s.json, "source")->valuestring, "me.jpg");
    const cJSON *steps = cJSON_GetObjectItem(s.json, "steps"), *step = cJSON_GetArrayItem(steps, 1);
    assert_int_equal(cJSON_GetArraySize(steps), 2);
    assert_string_equal(cJSON_GetObjectItem(step, "tool")->valuestring, "sg2-project");
    assert_string_equal(cJSON_GetObjectItem(step, "space")->valuestring, "w+");
    assert_true(s.format == IMAGE_UNKNOWN && !s.picture.size);
    sample_free(&s);
    sample_free(&of);
}

/* ---- with a network ---- */

static const struct sg2_config config = {.res = RES, .img_channels = 1, .z_dim = 8, .w_dim = 8, .channel_base = 64, .channel_max = 8,
                                         .map_layers = 2, .d_map_layers = 2, .mbstd_group = 4, .mbstd_channels = 1};
static struct sg2_net *net;
static struct projector *projector;
static uint8_t targets[2 * RES * RES];

static int set_up(void **unused) {
    (void)unused;
    if (!mkdtemp(folder) || chdir(folder) || device_open(&device, "cpu", 1, &e) != ST_OK)
        return -1;
    net = sg2_net_create(device, SG2_G, &config);
    sg2_net_init(net, 3);
    for (size_t i = 0; i < sizeof targets; i++)
        targets[i] = (uint8_t)(i * 37);
    struct projector_config c = projector_defaults(PROJECT_W_PLUS);
    c.batch = 2, c.steps = 4, c.guesses = 0, c.optimise_noise = true;
    return projector_create(&projector, device, net, &c, &e) == ST_OK ? 0 : -1;
}

static int tear_down(void **unused) {
    (void)unused;
    projector_free(projector);
    sg2_net_free(net);
    device_close(device);
    return chdir("/") || rmdir(folder); /* every test has taken away its files */
}

/* Layer k of one picture, as the file has it. */
static void check_map(const struct safetensors *s, int k, int several, int64_t picture, const float *want) {
    char name[64];
    int r = sg2_noise_res(k);
    sg2_noise_name(k, name);
    const struct st_tensor *t = safetensors_find(s, name);
    assert_non_null(t);
    assert_non_null(sg2_net_find(net, name)); /* the network has one of that name, and of that size */
    assert_int_equal(sg2_net_find(net, name)->dim[0], r);
    assert_int_equal(t->ndim, 2 + several);
    assert_true(t->dim[several] == r && t->dim[several + 1] == r);
    assert_memory_equal((const float *)t->data + picture * r * r, want, (size_t)(r * r) * sizeof(float));
}

static void maps(void **state) {
    (void)state;
    enum { LAYERS = 3 };
    static float found[LAYERS][2 * RES * RES];
    struct safetensors *s;
    assert_int_equal(sg2_noise_layers(&config), LAYERS);
    struct noise_maps *m = noise_maps_create(&config);
    OK(noise_maps_write(m, "none.safetensors", "abc", &e));
    assert_int_equal(access("none.safetensors", F_OK), -1);
    projector_begin(projector, targets, 1);
    while (projector_step(projector))
        ;
    noise_maps_add(m, projector, 1);
    for (int k = 0; k < LAYERS; k++)
        projector_noise(projector, k, found[k]);
    OK(noise_maps_write(m, "maps.safetensors", "abc", &e));
    OK(safetensors_open(&s, "maps.safetensors", &e));
    assert_int_equal(safetensors_count(s), LAYERS);
    assert_string_equal(safetensors_metadata(s, "format"), "facemill-noise");
    assert_string_equal(safetensors_metadata(s, "program"), cli_version());
    assert_string_equal(safetensors_metadata(s, "network"), "abc");
    for (int k = 0; k < LAYERS; k++)
        check_map(s, k, 0, 0, found[k]);
    safetensors_close(s);

    projector_begin(projector, targets + RES * RES, 1); /* two more pictures, the first one alone again the last of three */
    for (int i = 0; i < 2; i++)
        projector_step(projector);
    noise_maps_add(m, projector, 1);
    projector_begin(projector, targets, 2);
    while (projector_step(projector))
        ;
    noise_maps_add(m, projector, 2);
    OK(noise_maps_write(m, "maps.safetensors", "abc", &e));
    OK(safetensors_open(&s, "maps.safetensors", &e));
    for (int k = 0; k < LAYERS; k++) {
        int size = sg2_noise_res(k) * sg2_noise_res(k);
        check_map(s, k, 1, 0, found[k]);
        projector_noise(projector, k, found[k]);
        check_map(s, k, 1, 2, found[k]);
        check_map(s, k, 1, 3, found[k] + size);
        assert_int_equal(safetensors_at(s, k)->dim[0], 4);
    }
    safetensors_close(s);
    assert_int_equal(noise_maps_write(m, "no/such/folder", "abc", &e), ST_FAIL);
    noise_maps_free(m);
    noise_maps_free(NULL);
    unlink("maps.safetensors");
}

static void films(void **state) {
    (void)state;
    struct film *f;
    struct bytes b = {0};
    projector_begin(projector, targets, 2);
    OK(film_open(&f, "film.y4m", VIDEO_Y4M, &config, &e));
    OK(film_frame(f, projector, targets, 2, &e));
    projector_step(projector);
    OK(film_frame(f, projector, targets, 2, &e));
    assert_int_equal(access("film.y4m", F_OK), -1); /* not before it is whole */
    OK(film_end(f, projector, targets, 2, &e));
    OK(file_read("film.y4m", 1 << 24, &b, &e));
    const char head[] = "YUV4MPEG2 W16 H8 F24:1";
    assert_memory_equal(b.data, head, sizeof head - 1);
    int frames = 0;
    for (size_t i = 0; i + 5 < b.size; i++)
        frames += !memcmp(b.data + i, "FRAME", 5);
    assert_int_equal(frames, 2 + 24); /* the last one for a second */
    bytes_free(&b);
    unlink("film.y4m");

    OK(film_open(&f, "film.y4m", VIDEO_Y4M, &config, &e)); /* given up: tear_down finds nothing of it */
    OK(film_frame(f, projector, targets, 2, &e));
    film_cancel(f);
    film_cancel(NULL);
    assert_int_equal(film_open(&f, "no/such/film.y4m", VIDEO_Y4M, &config, &e), ST_FAIL);
    assert_null(f);
    OK(film_open(&f, "film.y4m", VIDEO_Y4M, &config, &e)); /* cannot get its name: gone, too */
    assert_int_equal(mkdir("film.y4m", 0777), 0);
    assert_int_equal(film_end(f, projector, targets, 2, &e), ST_FAIL);
    rmdir("film.y4m");
}

/* The target on the left, what is drawn by then on the right. */
static void frames(void **state) {
    (void)state;
    struct film *f;
    struct bytes b = {0};
    struct image im;
    uint8_t own[2 * RES * RES];
    projector_begin(projector, targets, 2);
    OK(film_open(&f, "film.png", VIDEO_PNG, &config, &e));
    OK(film_frame(f, projector, targets, 2, &e));
    projector_pictures(projector, own, NULL);
    projector_step(projector);
    OK(film_end(f, projector, targets, 2, &e));
    OK(file_read("film.png", 1 << 24, &b, &e));
    OK(image_decode(b.data, b.size, 0, &im, &e)); /* the first frame */
    assert_true(im.width == 2 * RES && im.height == RES && im.channels == 3);
    for (int y = 0; y < RES; y++)
        for (int x = 0; x < 2 * RES; x++)
            assert_int_equal(im.data[(y * 2 * RES + x) * 3], x < RES ? targets[y * RES + x] : own[y * RES + x - RES]);
    image_free(&im);
    bytes_free(&b);
    unlink("film.png");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(history), cmocka_unit_test(maps), cmocka_unit_test(films),
                                       cmocka_unit_test(frames)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
