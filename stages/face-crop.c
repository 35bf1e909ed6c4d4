/* face-crop.c - crops and resizes samples without turning them, and keeps those that pass its filters. See face-crop(1). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli/cli.h"
#include "common/face/face_json.h"
#include "common/face/quality.h"
#include "common/stream/mapper.h"

enum { MODE_CENTER, MODE_WIDE, MODE_FACE };
enum { FLIP_NONE, FLIP_ALL, FLIP_BOTH };

static struct {
    const char *size, *out, *rejects;
    long jobs, quality;
    double share, min_face, min_sharpness, max_yaw, max_pitch, max_roll, max_reject;
    int mode, filter, flip, format;
    bool null;
    int width, height; /* of --size; 0 = as cropped */
} o = {.quality = 95, .share = NAN, .max_reject = 0.5, .min_face = NAN, .min_sharpness = NAN, .max_yaw = NAN, .max_pitch = NAN,
       .max_roll = NAN};

static const enum image_format formats[] = {IMAGE_PPM, IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP};

static const struct cli_option options[] = {
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "The crop"},
    {'m', "mode", "center|wide|face", CLI_CHOICE, &o.mode, 0, 0, "largest crop at the centre; full width with bars; around the face"},
    {'s', "size", "N|WxH", CLI_STRING, &o.size, 0, 0, "resize to this; without it the crop keeps its pixels"},
    {0, "share", "X", CLI_FLOAT, &o.share, 0.05, 1, "the face box's share of the crop's height (face: 0.5), the crop's of the largest (center: 1)"},
    {0, "filter", IMAGE_FILTERS, CLI_CHOICE, &o.filter, 0, 0, "of the resizing; antialiased, as Pillow's"},
    {0, "flip", "none|all|both", CLI_CHOICE, &o.flip, 0, 0, "mirror the pictures, or write each twice (KEY and KEY_flip)"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Filters (a sample that fails one is rejected)"},
    {0, "min-face", "PX", CLI_FLOAT, &o.min_face, 0, 1e5, "shorter side of the face box, in pixels of the original picture if known"},
    {0, "min-sharpness", "X", CLI_FLOAT, &o.min_sharpness, 0, 1000, "deviation of the Laplacian in the face, in levels, after resizing"},
    {0, "max-yaw", "DEG", CLI_FLOAT, &o.max_yaw, 0, 180, "head turned left or right, from the landmarks"},
    {0, "max-pitch", "DEG", CLI_FLOAT, &o.max_pitch, 0, 180, "head raised or lowered"},
    {0, "max-roll", "DEG", CLI_FLOAT, &o.max_roll, 0, 180, "head tilted, in the picture as it comes"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Input and output"},
    {'0', "null", NULL, CLI_FLAG, &o.null, 0, 0, "names on stdin end with NUL instead of a newline"},
    {'o', "out", "DIR", CLI_STRING, &o.out, 0, 0, "write files into this folder (PNG by default) instead of a stream"},
    {0, "format", "ppm|png|jpg|webp", CLI_CHOICE, &o.format, 0, 0, "of the pictures written"},
    {0, "quality", "N", CLI_INT, &o.quality, 1, 100, "of jpg and webp"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "a JSON line for each sample rejected, with the reason"},
    {0, "max-reject", "N", CLI_FLOAT, &o.max_reject, 0, 1e15, "exit 3 when more are rejected: a number, or a share below 1"},
    {'j', "jobs", "N", CLI_INT, &o.jobs, 0, 1024, "threads; 0 = one for each processor"},
    {0}};

static const struct cli_program program = {
    .name = "face-crop",
    .synopsis = "[options] < samples > samples   (or PICTURE|FOLDER..., or names on stdin: -)",
    .purpose = "Crops and resizes samples without turning them, and keeps those whose face is large, sharp and frontal enough.",
    .options = options,
    .examples = "face-align photos/ | face-crop --size 128 --max-yaw 30 --min-face 80 | pack-lmdb faces.lmdb\n"
                "face-crop --mode face --share 0.6 --size 96x128 --out crops/ < detected.tar\n",
};

/* The rectangle to take, in pixels counted from the picture's corner; it may stick out only in mode wide. */
struct window {
    double x, y, width, height;
};

/* Of the given aspect (width / height), as large as fits, times share, about the middle. */
static struct window centred(const struct image *im, double aspect, double share) {
    double width = fmin(im->width, im->height * aspect), height = width / aspect;
    width = fmax(rint(width * share), 1);
    height = fmax(rint(height * share), 1);
    return (struct window){floor((im->width - width) / 2), floor((im->height - height) / 2), width, height};
}

/* Where the face is: its box, or else the box around its landmarks. */
static bool face_of(const cJSON *json, struct face_box *box) {
    struct face_landmarks lm;
    if (face_json_get_box(json, "box", box))
        return true;
    if (!face_json_get_landmarks(json, "landmarks", &lm))
        return false;
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < lm.n; i++)
        for (int k = 0; k < 2; k++) {
            low[k] = fmin(low[k], lm.xy[i][k]);
            high[k] = fmax(high[k], lm.xy[i][k]);
        }
    *box = (struct face_box){low[0], low[1], high[0] - low[0] + 1, high[1] - low[1] + 1, 0};
    return true;
}

/* The face in the middle with its share of the height; moved, then made smaller, until it lies in the picture. */
static enum status around_face(const struct image *im, const cJSON *json, double aspect, double share, struct window *w,
                               struct error *e) {
    struct face_box box;
    if (!face_of(json, &box))
        return st_bad(e, "its JSON has neither \"box\" nor \"landmarks\" (run face-align first, or use --mode center)");
    double cx = box.x - 0.5 + box.width / 2, cy = box.y - 0.5 + box.height / 2;
    if (cx < 0 || cy < 0 || cx > im->width || cy > im->height)
        return st_bad(e, "the face lies outside the picture (%dx%d)", im->width, im->height);
    double height = box.height / share, width = height * aspect, fit = fmin(1, fmin(im->width / width, im->height / height));
    width = fmax(rint(width * fit), 1);
    height = fmax(rint(height * fit), 1);
    w->width = fmin(width, im->width);
    w->height = fmin(height, im->height);
    w->x = fmin(fmax(rint(cx - width / 2), 0), im->width - w->width);
    w->y = fmin(fmax(rint(cy - height / 2), 0), im->height - w->height);
    return ST_OK;
}

/* Takes the window out of im and resizes it; *scale: output pixels per input pixel. */
static void cut(const struct image *im, const struct window *w, struct image *out, double scale[2]) {
    struct image part;
    image_crop(im, (int)w->x, (int)w->y, (int)w->width, (int)w->height, &part);
    int width = o.width ? o.width : part.width, height = o.height ? o.height : part.height;
    scale[0] = (double)width / part.width;
    scale[1] = (double)height / part.height;
    if (width == part.width && height == part.height) {
        *out = part;
        return;
    }
    image_resize(&part, width, height, (enum image_filter)o.filter, out);
    image_free(&part);
}

static enum status pose_filter(const cJSON *json, struct error *e) {
    if (isnan(o.max_yaw) && isnan(o.max_pitch) && isnan(o.max_roll))
        return ST_OK;
    struct face_landmarks lm;
    struct face_pose pose;
    if (!face_json_get_landmarks(json, "landmarks", &lm))
        return st_bad(e, "its JSON has no \"landmarks\" to tell the pose from");
    if (!face_pose(&lm, &pose))
        return st_bad(e, "the landmarks give no pose");
    const struct { const char *name; double value, limit; } checks[] = {
        {"yaw", pose.yaw, o.max_yaw}, {"pitch", pose.pitch, o.max_pitch}, {"roll", pose.roll, o.max_roll}};
    for (int i = 0; i < 3; i++)
        if (isnan(checks[i].value) && !isnan(checks[i].limit))
            return st_bad(e, "%s cannot be told from dlib's 5 landmarks", checks[i].name);
        else if (fabs(checks[i].value) > checks[i].limit) /* never for NAN */
            return st_bad(e, "%s of %.1f degrees is over %g", checks[i].name, checks[i].value, checks[i].limit);
    return ST_OK;
}

static enum status size_filter(const cJSON *json, struct error *e) {
    struct face_box box;
    if (isnan(o.min_face))
        return ST_OK;
    if (!face_json_get_box(json, "source_box", &box) && !face_of(json, &box))
        return st_bad(e, "its JSON has no face box to tell the size from");
    double side = fmin(box.width, box.height);
    return side < o.min_face ? st_bad(e, "face of %.0f pixels is under %g", side, o.min_face) : ST_OK;
}

/* json: of the sample before the crop; scale and shift: from its pixels to those of im. */
static enum status sharpness_filter(const cJSON *json, const struct image *im, const double scale[2], const double shift[2],
                                    struct error *e) {
    struct face_box box;
    if (isnan(o.min_sharpness))
        return ST_OK;
    if (face_of(json, &box))
        box = (struct face_box){(box.x - 0.5) * scale[0] + shift[0] + 0.5, (box.y - 0.5) * scale[1] + shift[1] + 0.5,
                                box.width * scale[0], box.height * scale[1], 0};
    else
        box = (struct face_box){0, 0, im->width, im->height, 0};
    double sharpness = face_sharpness(im, &box);
    return sharpness < o.min_sharpness ? st_bad(e, "sharpness of %.2f is under %g", sharpness, o.min_sharpness) : ST_OK;
}

/* Writes the picture under `ending` with its geometry and this step in the JSON. */
static enum status add_result(const struct sample *in, struct sample_list *out, const char *ending, const struct window *w,
                              const struct image *im, const double scale[2], const double shift[2], bool mirrored,
                              struct error *e) {
    static const char *const modes[] = {"center", "wide", "face"};
    struct sample *s = mapper_add(out, in, ending);
    face_json_transform(sample_json(s), scale, shift, mirrored ? im->width : 0);
    cJSON *step = cJSON_CreateObject(), *window = cJSON_AddArrayToObject(step, "window");
    const double numbers[4] = {w->x, w->y, w->width, w->height};
    for (int i = 0; i < 4; i++)
        cJSON_AddItemToArray(window, cJSON_CreateNumber(numbers[i]));
    cJSON_AddStringToObject(step, "mode", modes[o.mode]);
    cJSON_AddNumberToObject(step, "width", im->width);
    cJSON_AddNumberToObject(step, "height", im->height);
    cJSON_AddStringToObject(step, "filter", image_filter_name((enum image_filter)o.filter));
    cJSON_AddBoolToObject(step, "flip", mirrored);
    sample_add_step(s, "face-crop", step);
    return sample_set_picture(s, im, formats[o.format], (int)o.quality, e);
}

static enum status crop_picture(const struct sample *in, const struct image *im, struct sample_list *out, struct error *e) {
    double aspect = o.width ? (double)o.width / o.height : o.mode == MODE_FACE || o.mode == MODE_CENTER ? 1 : 0, scale[2];
    struct window w;
    enum status st = ST_OK;
    if (o.mode == MODE_FACE) {
        st = around_face(im, in->json, aspect, isnan(o.share) ? 0.5 : o.share, &w, e);
    } else if (o.mode == MODE_CENTER) {
        w = centred(im, aspect, isnan(o.share) ? 1 : o.share);
    } else { /* the whole width; the height cut or filled up with black */
        double height = aspect ? fmax(rint(im->width / aspect), 1) : im->width;
        w = (struct window){0, floor((im->height - height) / 2), im->width, height};
    }
    if (st || (st = size_filter(in->json, e)) || (st = pose_filter(in->json, e)))
        return st;
    if (w.width * w.height > IMAGE_MAX_PIXELS || w.height > IMAGE_MAX_SIDE)
        return st_bad(e, "the crop of %.0fx%.0f pixels is too large", w.width, w.height);
    struct image cropped;
    cut(im, &w, &cropped, scale);
    const double shift[2] = {(0.5 - w.x) * scale[0] - 0.5, (0.5 - w.y) * scale[1] - 0.5};
    st = sharpness_filter(in->json, &cropped, scale, shift, e);
    if (!st && o.flip != FLIP_ALL)
        st = add_result(in, out, "", &w, &cropped, scale, shift, false, e);
    if (!st && o.flip != FLIP_NONE) {
        image_flip_horizontal(&cropped);
        st = add_result(in, out, o.flip == FLIP_BOTH ? "_flip" : "", &w, &cropped, scale, shift, true, e);
    }
    image_free(&cropped);
    return st;
}

static enum status work(void *context, const struct sample *in, struct sample_list *out, struct error *e) {
    (void)context;
    struct image im;
    enum status st = image_decode_upright(in->picture.data, in->picture.size, 3, &im, NULL, e);
    if (st)
        return st;
    st = crop_picture(in, &im, out, e);
    image_free(&im);
    return st;
}

static void parse_size(void) {
    if (!o.size)
        return;
    long width, height;
    char *copy = xstrdup(o.size), *x = strchr(copy, 'x');
    if (x)
        *x = '\0';
    if (!cli_parse_int(copy, 1, 16384, &width) || !cli_parse_int(x ? x + 1 : copy, 1, 16384, &height))
        cli_usage("--size %s: a side of 1 to 16384 pixels, or WxH", o.size);
    free(copy);
    o.width = (int)width;
    o.height = (int)height;
}

int main(int argc, char **argv) {
    int first = cli_start(&program, argc, argv);
    parse_size();
    if (o.out && !cli_given("format"))
        o.format = 1;
    if (cli_given("share") && o.mode == MODE_WIDE)
        cli_usage("--share has no meaning with --mode wide");
    return cli_finish(mapper_run(&(struct mapper){.operands = argv + first, .n = argc - first, .null = o.null, .jobs = o.jobs,
                                                  .out = o.out, .rejects = o.rejects, .max_reject = o.max_reject, .unit = "pictures",
                                                  .work = work},
                                 NULL));
}
