/* ffhq.c - see ffhq.h: the geometry. Cutting is in ffhq_cut.c. The steps are DESIGN section 6's. */
#include "common/face/ffhq.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void mean(const struct face_landmarks *lm, int first, int last, double out[2]) {
    out[0] = out[1] = 0;
    for (int i = first; i <= last; i++)
        for (int k = 0; k < 2; k++)
            out[k] += lm->xy[i][k] / (last - first + 1);
}

/* The estimate that ffhq.h describes. */
static void mouth_from_nose(const double nose[2], struct ffhq_anchors *a) {
    double mid[2], along[2], n[2];
    for (int k = 0; k < 2; k++) {
        mid[k] = (a->left_eye[k] + a->right_eye[k]) / 2;
        along[k] = a->right_eye[k] - a->left_eye[k];
        n[k] = nose[k] - mid[k];
    }
    double d = hypot(along[0], along[1]);
    if (d > 0)
        along[0] /= d, along[1] /= d;
    double down[2] = {-along[1], along[0]}; /* y grows downwards: a quarter turn from "right" is "down" */
    double n_along = n[0] * along[0] + n[1] * along[1], n_across = n[0] * down[0] + n[1] * down[1];
    for (int k = 0; k < 2; k++)
        a->mouth[k] = mid[k] + FFHQ_ALONG * n_along * along[k] + (FFHQ_ACROSS * n_across + FFHQ_DOWN * d) * down[k];
}

void ffhq_anchors(const struct face_landmarks *lm, struct ffhq_anchors *a) {
    switch (lm->scheme) {
    case FACE_68:
        assert(lm->n == 68);
        mean(lm, 36, 41, a->left_eye);
        mean(lm, 42, 47, a->right_eye);
        for (int k = 0; k < 2; k++)
            a->mouth[k] = (lm->xy[48][k] + lm->xy[54][k]) / 2;
        break;
    case FACE_5:
        assert(lm->n == 5);
        mean(lm, 2, 3, a->left_eye);
        mean(lm, 0, 1, a->right_eye);
        mouth_from_nose(lm->xy[4], a);
        break;
    case FACE_5M:
        assert(lm->n == 5);
        memcpy(a->left_eye, lm->xy[0], sizeof a->left_eye);
        memcpy(a->right_eye, lm->xy[1], sizeof a->right_eye);
        mean(lm, 3, 4, a->mouth);
        break;
    }
}

void ffhq_quad(const struct ffhq_anchors *a, bool rotate, double scale, struct ffhq_quad *q) {
    double mid[2], e[2], m[2];
    for (int k = 0; k < 2; k++) {
        mid[k] = (a->left_eye[k] + a->right_eye[k]) / 2;
        e[k] = a->right_eye[k] - a->left_eye[k];
        m[k] = a->mouth[k] - mid[k];
    }
    double x[2] = {1, 0}; /* half the crop's horizontal side, as a vector */
    if (rotate) {
        x[0] = e[0] + m[1]; /* e - rot90(m): eye line and face axis vote together */
        x[1] = e[1] - m[0];
        double length = hypot(x[0], x[1]);
        x[0] /= length; /* 0/0 when all anchors coincide: ffhq_quad_check refuses NaN */
        x[1] /= length;
    }
    double half = fmax(2.0 * hypot(e[0], e[1]), 1.8 * hypot(m[0], m[1])) * scale;
    x[0] *= half;
    x[1] *= half;
    double y[2] = {-x[1], x[0]};
    static const int sign[4][2] = {{-1, -1}, {-1, 1}, {1, 1}, {1, -1}};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++)
            q->corner[i][k] = mid[k] + 0.1 * m[k] + sign[i][0] * x[k] + sign[i][1] * y[k];
    q->size = 2 * hypot(x[0], x[1]);
}

enum status ffhq_quad_check(const struct ffhq_quad *q, int width, int height, struct error *e) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    if (!isfinite(q->size))
        return st_bad(e, "the landmarks give no crop (they coincide or are not finite)");
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            if (!isfinite(q->corner[i][k]))
                return st_bad(e, "the landmarks give no crop (they coincide or are not finite)");
            low[k] = fmin(low[k], q->corner[i][k]);
            high[k] = fmax(high[k], q->corner[i][k]);
        }
    if (q->size < 4)
        return st_bad(e, "the face crop is only %.1f pixels wide", q->size);
    if (q->size > 8.0 * (width > height ? width : height))
        return st_bad(e, "the face crop of %.0f pixels is over 8 times the picture (%dx%d)", q->size, width, height);
    if (high[0] < 0 || high[1] < 0 || low[0] > width - 1 || low[1] > height - 1)
        return st_bad(e, "the face crop lies outside the picture (%dx%d)", width, height);
    return ST_OK;
}

int ffhq_eighths(const struct ffhq_quad *q, int size) {
    double n = ceil(8 * 2.0 * size / q->size);
    return n < 1 ? 1 : n > 8 ? 8 : (int)n;
}

void ffhq_to_crop(const struct ffhq_quad *q, int size, const double source[2], double crop[2]) {
    const double *c = q->corner[0];
    double right[2] = {q->corner[3][0] - c[0], q->corner[3][1] - c[1]}, down[2] = {q->corner[1][0] - c[0], q->corner[1][1] - c[1]};
    double v[2] = {source[0] - c[0], source[1] - c[1]}, square = q->size * q->size;
    crop[0] = (v[0] * right[0] + v[1] * right[1]) / square * size - 0.5;
    crop[1] = (v[0] * down[0] + v[1] * down[1]) / square * size - 0.5;
}
