/* align.c - see align.h.
 *
 * Where the time goes, on one core: a 225x275 portrait takes 0.4 ms to decode, 7 to search, 3 for 68 landmarks, 4 to cut 128x128
 * with padding. Of a 12-megapixel JPEG nine tenths are its entropy decoding, twice: once at the DCT scale that suits the
 * detector, once at the one that suits the crop (when the first does not).
 */
#include "common/face/align.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* The picture as far as it has been decoded: upright, at eighths/8 of its size. */
struct view {
    const void *bytes;
    size_t size;
    const struct image_info *info;
    int width, height; /* of the source, upright */
    struct image im;
    int eighths;
    double offset[2]; /* upright decoded pixel = source * eighths/8 + offset, in coordinates that count from the corner */
};

static int longer(int a, int b) { return a > b ? a : b; }
static int scaled(int length, int eighths) { return (int)(((int64_t)length * eighths + 7) / 8); } /* as libjpeg rounds */

/* Makes v->im hold at least eighths/8 of the resolution. */
static enum status view_at(struct view *v, int eighths, struct error *e) {
    if (v->eighths >= eighths)
        return ST_OK;
    image_free(&v->im);
    int long_side = longer(v->width, v->height);
    double scale;
    enum status st = image_decode_scaled(v->bytes, v->size, 3, scaled(long_side, eighths), &v->im, &scale, e);
    if (st)
        return st;
    image_orient(&v->im, v->info->orientation);
    v->eighths = 8;
    for (int n = 7; n >= 1; n--)
        if (scaled(v->width, n) == v->im.width && scaled(v->height, n) == v->im.height)
            v->eighths = n;
    /* A side that is no multiple of 8/eighths ends in part of a pixel; a flip puts that part first. */
    int o = v->info->orientation;
    bool flip[2] = {o == 2 || o == 3 || o == 6 || o == 7, o == 3 || o == 4 || o == 7 || o == 8};
    v->offset[0] = flip[0] ? v->im.width - v->width * v->eighths / 8.0 : 0;
    v->offset[1] = flip[1] ? v->im.height - v->height * v->eighths / 8.0 : 0;
    return ST_OK;
}

/* Pixel of a picture that is `ratio` times v->im -> source. */
static double to_source(const struct view *v, int axis, double pixel, double ratio) {
    return ((pixel + 0.5) / ratio - v->offset[axis]) * 8.0 / v->eighths - 0.5;
}

/* Searches at a longer side of `side`; boxes come in pixels of v->im. */
static enum status search(struct face_models *models, const struct align_options *o, struct view *v, int side,
                          struct face_box *boxes, int *n, struct error *e) {
    int long_side = longer(v->width, v->height);
    int eighths = side >= long_side ? 8 : (int)(((int64_t)side * 8 + long_side - 1) / long_side);
    enum status st = view_at(v, eighths, e);
    if (st)
        return st;
    int have = longer(v->im.width, v->im.height);
    double ratio = (double)side / have;
    if (fabs(ratio - 1) < 0.1) /* near enough: resizing costs more than it saves */
        return face_detect(models, o->detector, &v->im, o->threshold, boxes, n, e);
    struct image small;
    int width = longer((int)lround(v->im.width * ratio), 1), height = longer((int)lround(v->im.height * ratio), 1);
    image_resize(&v->im, width, height, FILTER_BILINEAR, &small);
    st = face_detect(models, o->detector, &small, o->threshold, boxes, n, e);
    image_free(&small);
    for (int i = 0; st == ST_OK && i < *n; i++) {
        boxes[i].x = (boxes[i].x + 0.5) / ratio - 0.5;
        boxes[i].y = (boxes[i].y + 0.5) / ratio - 0.5;
        boxes[i].width /= ratio;
        boxes[i].height /= ratio;
    }
    return st;
}

static enum status detect(struct face_models *models, const struct align_options *o, struct view *v, struct aligned *a,
                          struct face_box *boxes, int *n, struct error *e) {
    int long_side = longer(v->width, v->height);
    a->detect_size = o->detect_size ? o->detect_size : long_side < ALIGN_DETECT_SIZE ? long_side : ALIGN_DETECT_SIZE;
    enum status st = search(models, o, v, a->detect_size, boxes, n, e);
    if (st == ST_OK && !*n && !o->detect_size) {
        a->detect_size *= 2;
        st = search(models, o, v, a->detect_size, boxes, n, e);
    }
    if (st == ST_OK && !*n)
        st = st_bad(e, "no face found");
    return st;
}

/* Leaves the wanted boxes. They come best score first, so when all are doubtful the largest is the best. */
static void choose(enum align_faces faces, struct face_box *boxes, int *n) {
    int best = 0;
    if (faces == ALIGN_ALL)
        return;
    for (int i = 1; faces == ALIGN_LARGEST && i < *n && boxes[i].score >= ALIGN_DOUBTFUL; i++)
        if (boxes[i].width * boxes[i].height > boxes[best].width * boxes[best].height)
            best = i;
    boxes[0] = boxes[best];
    *n = 1;
}

static enum status find_faces(struct face_models *models, const struct align_options *o, struct view *v, struct aligned *a,
                              struct error *e) {
    struct face_box boxes[FACE_MAX];
    int n;
    enum status st = detect(models, o, v, a, boxes, &n, e);
    if (st)
        return st;
    choose(o->faces, boxes, &n);
    a->face = xcalloc((size_t)n, sizeof *a->face);
    for (a->n = 0; a->n < n; a->n++) {
        struct aligned_face *f = &a->face[a->n];
        const struct face_box *b = &boxes[a->n];
        st = face_find_landmarks(models, &v->im, b, o->points, &f->landmarks, e);
        if (st)
            return st;
        for (int i = 0; i < f->landmarks.n; i++)
            for (int k = 0; k < 2; k++)
                f->landmarks.xy[i][k] = to_source(v, k, f->landmarks.xy[i][k], 1);
        double step = 8.0 / v->eighths;
        f->box = (struct face_box){to_source(v, 0, b->x, 1), to_source(v, 1, b->y, 1), b->width * step, b->height * step, b->score};
    }
    return ST_OK;
}

/* A box around given landmarks, for what asks for a face box later. */
static void given_face(const struct face_landmarks *lm, struct aligned *a) {
    a->face = xcalloc(1, sizeof *a->face);
    a->n = 1;
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < lm->n; i++)
        for (int k = 0; k < 2; k++) {
            low[k] = fmin(low[k], lm->xy[i][k]);
            high[k] = fmax(high[k], lm->xy[i][k]);
        }
    a->face->landmarks = *lm;
    a->face->box = (struct face_box){low[0], low[1], high[0] - low[0], high[1] - low[1], 0};
}

static enum status cut_faces(const struct align_options *o, struct view *v, struct aligned *a, struct error *e) {
    int eighths = 1, kept = 0;
    for (int i = 0; i < a->n; i++) {
        struct aligned_face f = a->face[i];
        struct ffhq_anchors anchors;
        ffhq_anchors(&f.landmarks, &anchors);
        ffhq_quad(&anchors, o->rotate, o->scale, &f.quad);
        if (ffhq_quad_check(&f.quad, a->width, a->height, e))
            continue;
        int need = ffhq_eighths(&f.quad, o->size);
        eighths = longer(eighths, need > 4 ? 8 : need); /* the odd scales above a half take libjpeg longer than the whole */
        a->face[kept++] = f;
    }
    a->n = kept;
    if (!kept)
        return ST_BAD; /* e says why the last one failed */
    enum status st = view_at(v, eighths, e);
    if (st)
        return st;
    a->cut_eighths = v->eighths;
    for (int i = 0; i < a->n; i++) {
        struct ffhq_quad q = a->face[i].quad;
        for (int c = 0; c < 4; c++)
            for (int k = 0; k < 2; k++)
                q.corner[c][k] += v->offset[k] * 8 / v->eighths;
        ffhq_cut(&v->im, v->eighths, &q, o->size, o->padding, &a->face[i].crop);
    }
    return ST_OK;
}

enum status align_picture(struct face_models *models, const struct align_options *o, const void *bytes, size_t size,
                          const struct face_landmarks *given, struct aligned *a, struct error *e) {
    *a = (struct aligned){0};
    enum status st = image_probe(bytes, size, &a->info, e);
    if (st)
        return st;
    bool turned = a->info.orientation >= 5;
    a->width = turned ? a->info.height : a->info.width;
    a->height = turned ? a->info.width : a->info.height;
    struct view v = {.bytes = bytes, .size = size, .info = &a->info, .width = a->width, .height = a->height};
    if (o->points)
        st = find_faces(models, o, &v, a, e);
    else
        given_face(given, a);
    if (st == ST_OK)
        st = cut_faces(o, &v, a, e);
    image_free(&v.im);
    if (st)
        aligned_free(a);
    return st;
}

void aligned_free(struct aligned *a) {
    for (int i = 0; i < a->n; i++)
        image_free(&a->face[i].crop);
    free(a->face);
    *a = (struct aligned){0};
}
