/* face-align.c - photographs in, aligned faces out. See face-align(1); the work on one picture is common/face/align.c. */
#include <pthread.h>
#include <stdlib.h>

#include "common/base/hash.h"
#include "common/cli/cli.h"
#include "common/face/align.h"
#include "common/face/face_json.h"
#include "common/stream/mapper.h"

enum { POINTS_68, POINTS_5, POINTS_JSON };

static struct {
    long size, jobs, detect_size, quality;
    double threshold, scale, max_reject;
    int faces, detector, landmarks, format;
    bool no_rotation, no_padding, null;
    const char *out, *rejects, *models;
} o = {.size = 256, .scale = 1, .max_reject = 0.5, .quality = 95};

static const enum image_format formats[] = {IMAGE_PPM, IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP};

static const struct cli_option options[] = {
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "The crop"},
    {'s', "size", "N", CLI_INT, &o.size, 8, 4096, "side of the aligned picture in pixels"},
    {0, "scale", "X", CLI_FLOAT, &o.scale, 0.2, 5, "how much of the surroundings: 1 is FFHQ's crop, 1.2 takes in a fifth more"},
    {0, "no-rotation", NULL, CLI_FLAG, &o.no_rotation, 0, 0, "keep the crop upright instead of levelling the eyes"},
    {0, "no-padding", NULL, CLI_FLAG, &o.no_padding, 0, 0, "black instead of mirrored and blurred where the crop leaves the picture"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Finding faces"},
    {0, "faces", "largest|all|first", CLI_CHOICE, &o.faces, 0, 0, "which: the largest, all by score, the one with the best score"},
    {0, "detector", "hog|cnn", CLI_CHOICE, &o.detector, 0, 0, "dlib's HOG detector or its network (slow, more poses; make models)"},
    {0, "landmarks", "68|5|json", CLI_CHOICE, &o.landmarks, 0, 0, "dlib's points, or those in each sample's JSON (no search)"},
    {0, "threshold", "X", CLI_FLOAT, &o.threshold, -2, 5, "score a face must have; lower finds more, and more that are none"},
    {0, "detect-size", "N", CLI_INT, &o.detect_size, 0, 8192, "longer side searched; 0: up to 800, twice that if nothing is there"},
    {0, "models", "DIR", CLI_STRING, &o.models, 0, 0, "folder of dlib's models (else $FACEMILL_MODELS, models, /usr/share/dlib)"},
    {0, NULL, NULL, CLI_HEADING, NULL, 0, 0, "Input and output"},
    {'0', "null", NULL, CLI_FLAG, &o.null, 0, 0, "names on stdin end with NUL instead of a newline"},
    {'o', "out", "DIR", CLI_STRING, &o.out, 0, 0, "write files into this folder (PNG by default) instead of a stream"},
    {0, "format", "ppm|png|jpg|webp", CLI_CHOICE, &o.format, 0, 0, "of the pictures written"},
    {0, "quality", "N", CLI_INT, &o.quality, 1, 100, "of jpg and webp"},
    {0, "rejects", "FILE", CLI_STRING, &o.rejects, 0, 0, "a JSON line for each picture that gave no face, with the reason"},
    {0, "max-reject", "N", CLI_FLOAT, &o.max_reject, 0, 1e15, "exit 3 when more are rejected: a number, or a share below 1"},
    {'j', "jobs", "N", CLI_INT, &o.jobs, 0, 1024, "threads; 0 = one for each processor"},
    {0}};

static const struct cli_program program = {
    .name = "face-align",
    .synopsis = "[options] PICTURE|FOLDER...   (or names on stdin: -, or a sample stream on stdin)",
    .purpose = "Finds faces in photographs and cuts them out the way the FFHQ dataset did: eyes level, face centred, one size.",
    .options = options,
    .examples = "face-align --size 128 photos/ | pack-lmdb faces.lmdb\n"
                "find . -name '*.jpg' -print0 | face-align -0 - --faces all --out aligned/ --rejects rejects.jsonl\n",
};

static struct align_options align;

/* The models, one set for each thread; those not in use are the first n_free. */
static struct {
    struct face_models **all;
    long n_free;
    pthread_mutex_t lock;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void record(struct sample *s, const struct aligned *a, int number, const char *sha256_of_source) {
    const struct aligned_face *f = &a->face[number];
    cJSON *json = sample_json(s);
    if (!cJSON_GetObjectItemCaseSensitive(json, "source"))
        face_json_set_text(json, "source", s->key);
    face_json_set_text(json, "source_sha256", sha256_of_source);
    const double size[2] = {a->width, a->height};
    cJSON_DeleteItemFromObjectCaseSensitive(json, "source_size");
    cJSON_AddItemToObject(json, "source_size", cJSON_CreateDoubleArray(size, 2));
    face_json_set_number(json, "orientation", a->info.orientation, 1);
    face_json_set_number(json, "face", number, 1);
    if (align.points)
        face_json_set_number(json, "score", f->box.score, 1e-4);
    face_json_set_box(json, "source_box", &f->box);
    face_json_set_landmarks(json, "source_landmarks", &f->landmarks);
    face_json_set_points(json, "quad", f->quad.corner, 4, 1e-6);

    struct face_landmarks lm = f->landmarks;
    for (int i = 0; i < lm.n; i++)
        ffhq_to_crop(&f->quad, align.size, f->landmarks.xy[i], lm.xy[i]);
    face_json_set_landmarks(json, "landmarks", &lm);
    /* The box stays a box: its centre moves, its sides scale, the turn is not applied to them. */
    double ratio = align.size / f->quad.size, centre[2] = {f->box.x + (f->box.width - 1) / 2, f->box.y + (f->box.height - 1) / 2};
    ffhq_to_crop(&f->quad, align.size, centre, centre);
    struct face_box box = {.width = f->box.width * ratio, .height = f->box.height * ratio};
    box.x = centre[0] - (box.width - 1) / 2;
    box.y = centre[1] - (box.height - 1) / 2;
    face_json_set_box(json, "box", &box);

    static const char *const landmarks[] = {"68", "5", "json"}, *const detectors[] = {"hog", "cnn"};
    cJSON *step = cJSON_CreateObject();
    cJSON_AddNumberToObject(step, "size", align.size);
    cJSON_AddNumberToObject(step, "scale", align.scale);
    cJSON_AddBoolToObject(step, "rotation", align.rotate);
    cJSON_AddBoolToObject(step, "padding", align.padding);
    cJSON_AddStringToObject(step, "landmarks", landmarks[o.landmarks]);
    if (align.points) {
        cJSON_AddStringToObject(step, "detector", detectors[align.detector]);
        cJSON_AddNumberToObject(step, "threshold", align.threshold);
        cJSON_AddNumberToObject(step, "detect_size", a->detect_size);
    }
    cJSON_AddNumberToObject(step, "cut_scale", a->cut_eighths / 8.0);
    sample_add_step(s, "face-align", step);
}

static enum status align_sample(struct face_models *models, const struct sample *in, struct sample_list *out, struct error *e) {
    struct face_landmarks given;
    if (!align.points && (!in->json || !face_json_get_landmarks(in->json, "landmarks", &given)))
        return st_bad(e, "its JSON has no \"landmarks\" of 68 or 5 points [x, y]");
    struct aligned a;
    enum status st = align_picture(models, &align, in->picture.data, in->picture.size, &given, &a, e);
    if (st)
        return st;
    char hex[SHA256_HEX];
    sha256_hex(in->picture.data, in->picture.size, hex);
    for (int i = 0; !st && i < a.n; i++) {
        char ending[16] = "";
        if (i)
            snprintf(ending, sizeof ending, "_%d", i);
        struct sample *s = mapper_add(out, in, ending);
        record(s, &a, i, hex);
        st = sample_set_picture(s, &a.face[i].crop, formats[o.format], (int)o.quality, e);
    }
    aligned_free(&a);
    return st;
}

static enum status work(void *context, const struct sample *in, struct sample_list *out, struct error *e) {
    (void)context;
    pthread_mutex_lock(&pool.lock);
    struct face_models *models = pool.all[--pool.n_free];
    pthread_mutex_unlock(&pool.lock);
    enum status st = align_sample(models, in, out, e);
    pthread_mutex_lock(&pool.lock);
    pool.all[pool.n_free++] = models;
    pthread_mutex_unlock(&pool.lock);
    return st;
}

static void open_models(void) {
    struct error e;
    pool.all = xcalloc((size_t)o.jobs, sizeof(struct face_models *));
    pool.n_free = o.jobs; /* NULL will do when none is wanted */
    if (!align.points)
        return;
    if (face_models_open(&pool.all[0], o.models, &e) || face_models_load(pool.all[0], align.detector, align.points, &e))
        cli_die("%s", e.text);
    for (long i = 1; i < o.jobs; i++)
        if (face_models_clone(&pool.all[i], pool.all[0], &e))
            cli_die("%s", e.text);
}

int main(int argc, char **argv) {
    int first = cli_start(&program, argc, argv);
    if (!o.jobs)
        o.jobs = cli_processors();
    if (o.out && !cli_given("format"))
        o.format = 1;
    static const int points[] = {68, 5, 0};
    align = (struct align_options){.size = (int)o.size, .faces = o.faces, .detector = o.detector, .points = points[o.landmarks],
                                   .detect_size = (int)o.detect_size, .threshold = o.threshold, .scale = o.scale,
                                   .rotate = !o.no_rotation, .padding = !o.no_padding};
    open_models();
    int64_t faces;
    int code = mapper_run(&(struct mapper){.operands = argv + first, .n = argc - first, .null = o.null, .jobs = o.jobs, .out = o.out,
                                           .rejects = o.rejects, .max_reject = o.max_reject, .unit = "pictures", .work = work},
                          &faces);
    if (align.faces == ALIGN_ALL)
        cli_info("%lld faces", (long long)faces);
    for (long i = 0; i < o.jobs; i++)
        face_models_close(pool.all[i]);
    free(pool.all);
    return cli_finish(code);
}
