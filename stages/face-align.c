/* face-align.c - photographs in, aligned faces out. See face-align(1); the work on one picture is common/face/align.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/base/ordered.h"
#include "common/cli/cli.h"
#include "common/face/align.h"
#include "common/face/face_json.h"
#include "common/stream/source.h"

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

/* One picture in flight. */
struct item {
    enum status status;   /* of reading it, then of working on it */
    struct sample in;     /* key, bytes and JSON as they came */
    struct sample *out;   /* one for each face; owned */
    int n_out;
    struct error error;
};

static struct {
    struct sample_source *source;
    struct sample_writer *writer;
    struct face_models **models; /* one for each thread; the first n_free are not in use */
    long n_free;
    pthread_mutex_t lock; /* guards the two above */
    struct align_options align;
    struct cli_rejects rejects;
    struct cli_progress progress;
    int64_t faces;
    enum status failed; /* ST_FAIL with `error` when the whole cannot go on */
    struct error error;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void copy_sample(struct sample *to, const struct sample *from) { /* all but the picture */
    *to = (struct sample){0};
    memcpy(to->key, from->key, sizeof to->key);
    to->json = from->json ? cJSON_Duplicate(from->json, true) : NULL;
    to->n_extras = from->n_extras;
    to->extras = xcalloc((size_t)from->n_extras, sizeof *to->extras);
    for (int i = 0; i < from->n_extras; i++) {
        to->extras[i].suffix = xstrdup(from->extras[i].suffix);
        bytes_append(&to->extras[i].bytes, from->extras[i].bytes.data, from->extras[i].bytes.size);
    }
}

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
    if (run.align.points)
        face_json_set_number(json, "score", f->box.score, 1e-4);
    face_json_set_box(json, "source_box", &f->box);
    face_json_set_landmarks(json, "source_landmarks", &f->landmarks);
    face_json_set_points(json, "quad", f->quad.corner, 4, 1e-6);

    struct face_landmarks lm = f->landmarks;
    for (int i = 0; i < lm.n; i++)
        ffhq_to_crop(&f->quad, run.align.size, f->landmarks.xy[i], lm.xy[i]);
    face_json_set_landmarks(json, "landmarks", &lm);
    /* The box stays a box: its centre moves, its sides scale, the turn is not applied to them. */
    double ratio = run.align.size / f->quad.size, centre[2] = {f->box.x + (f->box.width - 1) / 2, f->box.y + (f->box.height - 1) / 2};
    ffhq_to_crop(&f->quad, run.align.size, centre, centre);
    struct face_box box = {.width = f->box.width * ratio, .height = f->box.height * ratio};
    box.x = centre[0] - (box.width - 1) / 2;
    box.y = centre[1] - (box.height - 1) / 2;
    face_json_set_box(json, "box", &box);

    static const char *const landmarks[] = {"68", "5", "json"}, *const detectors[] = {"hog", "cnn"};
    cJSON *step = cJSON_CreateObject();
    cJSON_AddNumberToObject(step, "size", run.align.size);
    cJSON_AddNumberToObject(step, "scale", run.align.scale);
    cJSON_AddBoolToObject(step, "rotation", run.align.rotate);
    cJSON_AddBoolToObject(step, "padding", run.align.padding);
    cJSON_AddStringToObject(step, "landmarks", landmarks[o.landmarks]);
    if (run.align.points) {
        cJSON_AddStringToObject(step, "detector", detectors[run.align.detector]);
        cJSON_AddNumberToObject(step, "threshold", run.align.threshold);
        cJSON_AddNumberToObject(step, "detect_size", a->detect_size);
    }
    cJSON_AddNumberToObject(step, "cut_scale", a->cut_eighths / 8.0);
    sample_add_step(s, "face-align", step);
}

static enum status align_item(struct face_models *models, struct item *it) {
    struct face_landmarks given;
    if (it->in.format == IMAGE_UNKNOWN && !it->in.picture.size)
        return st_bad(&it->error, "the sample has no picture");
    if (!run.align.points && (!it->in.json || !face_json_get_landmarks(it->in.json, "landmarks", &given)))
        return st_bad(&it->error, "its JSON has no \"landmarks\" of 68 or 5 points [x, y]");
    struct aligned a;
    enum status st = align_picture(models, &run.align, it->in.picture.data, it->in.picture.size, &given, &a, &it->error);
    if (st)
        return st;
    char hex[SHA256_HEX];
    sha256_hex(it->in.picture.data, it->in.picture.size, hex);
    it->out = xcalloc((size_t)a.n, sizeof *it->out);
    for (it->n_out = 0; !st && it->n_out < a.n;) {
        struct sample *s = &it->out[it->n_out];
        copy_sample(s, &it->in);
        if (it->n_out)
            snprintf(s->key + strlen(s->key), sizeof s->key - strlen(s->key), "_%d", it->n_out);
        record(s, &a, it->n_out, hex);
        st = sample_set_picture(s, &a.face[it->n_out++].crop, formats[o.format], (int)o.quality, &it->error);
    }
    aligned_free(&a);
    return st;
}

static void work_item(void *slot, void *context) {
    (void)context;
    struct item *it = slot;
    if (it->status)
        return;
    pthread_mutex_lock(&run.lock);
    struct face_models *models = run.models[--run.n_free];
    pthread_mutex_unlock(&run.lock);
    it->status = align_item(models, it);
    pthread_mutex_lock(&run.lock);
    run.models[run.n_free++] = models;
    pthread_mutex_unlock(&run.lock);
}

static void free_item(void *slot) {
    struct item *it = slot;
    sample_free(&it->in);
    for (int i = 0; i < it->n_out; i++)
        sample_free(&it->out[i]);
    free(it->out);
    it->out = NULL;
    it->n_out = 0;
}

/* What a message calls the picture: the file's path, or the sample's key. */
static const char *name_of(const struct item *it) {
    const char *source = it->in.json ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(it->in.json, "source")) : NULL;
    return source ? source : it->in.key;
}

/* Counts and writes what came of one picture. */
static void write_item(struct item *it) {
    if (it->status == ST_FAIL) {
        run.failed = ST_FAIL;
        run.error = it->error;
        return;
    }
    run.rejects.in++;
    if (it->status == ST_BAD) {
        cli_reject(&run.rejects, name_of(it), it->error.text);
    } else {
        run.rejects.out++;
        run.faces += it->n_out;
        for (int i = 0; !run.failed && i < it->n_out; i++)
            run.failed = o.out ? sample_write_folder(o.out, &it->out[i], IMAGE_UNKNOWN, 0, &run.error)
                               : sample_write(run.writer, &it->out[i], &run.error);
    }
    cli_progress_add(&run.progress, 1);
}

static void align_all(void) {
    struct ordered *ring = ordered_start((int)o.jobs, 4 * (int)o.jobs, sizeof(struct item), work_item, NULL);
    struct item *it;
    bool more = true;
    do {
        while (more && (it = ordered_room(ring))) {
            it->status = sample_source_next(run.source, &it->in, &it->error);
            more = it->status == ST_OK || it->status == ST_BAD; /* what was read before a failure is still written */
            if (it->status != ST_END)
                ordered_give(ring);
        }
        if ((it = ordered_take(ring))) {
            write_item(it);
            free_item(it);
            ordered_done(ring);
        }
    } while (it && !run.failed);
    ordered_stop(ring, free_item);
}

static void open_models(void) {
    struct error e;
    run.models = xcalloc((size_t)o.jobs, sizeof *run.models);
    run.n_free = o.jobs; /* NULL will do when no model is wanted */
    if (!run.align.points)
        return;
    if (face_models_open(&run.models[0], o.models, &e) ||
        face_models_load(run.models[0], run.align.detector, run.align.points, &e))
        cli_die("%s", e.text);
    for (long i = 1; i < o.jobs; i++)
        if (face_models_clone(&run.models[i], run.models[0], &e))
            cli_die("%s", e.text);
}

int main(int argc, char **argv) {
    int first = cli_start(&program, argc, argv);
    struct error e;
    if (!o.jobs)
        o.jobs = cli_processors();
    if (o.out && !cli_given("format"))
        o.format = 1;
    if (!o.out)
        cli_need_binary_stdout("A sample stream");
    static const int points[] = {68, 5, 0};
    run.align = (struct align_options){.size = (int)o.size, .faces = o.faces, .detector = o.detector, .points = points[o.landmarks],
                                       .detect_size = (int)o.detect_size, .threshold = o.threshold, .scale = o.scale,
                                       .rotate = !o.no_rotation, .padding = !o.no_padding};
    if (sample_source_open(&run.source, argv + first, argc - first, o.null, &e))
        cli_die("%s", e.text);
    open_models();
    cli_rejects_open(&run.rejects, o.rejects);
    if (!o.out && sample_writer_open(&run.writer, STDOUT_FILENO, &e))
        cli_die("%s", e.text);

    cli_progress_start(&run.progress, "pictures", 0);
    align_all();
    cli_progress_end(&run.progress);

    int code = EXIT_OK;
    if (run.failed) {
        cli_error("%s", run.error.text);
        code = EXIT_FAILED;
    }
    /* After a failed read the stream stays without its end mark: whoever reads it must not take it for whole. */
    if (run.writer && !code && sample_writer_close(run.writer, &e)) {
        cli_error("%s", e.text);
        code = EXIT_FAILED;
    }
    if (run.align.faces == ALIGN_ALL)
        cli_info("%lld faces in %lld pictures", (long long)run.faces, (long long)run.rejects.out);
    int rejected = cli_rejects_close(&run.rejects, o.max_reject);
    if (sample_source_close(run.source))
        code = EXIT_FAILED;
    for (long i = 0; i < o.jobs; i++)
        face_models_close(run.models[i]);
    free(run.models);
    return cli_finish(code ? code : rejected);
}
