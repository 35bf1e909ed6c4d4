/* quality.c - see quality.h. */
#include "common/face/quality.h"

#include <math.h>
#include <string.h>

/* A mean face in millimetres from common anthropometric breadths: x to the picture's right, y down, z towards the viewer; the
 * origin is between the eyes. Eye fissures 90 and 33 apart, mouth 50. It is turned so that the median pitch of 1,434 official
 * portraits is about zero: what a picture calls level. */
struct model_point {
    int index; /* of the landmark */
    double at[3];
};
static const struct model_point model_68[] = {
    {36, {-45, 2, -12}}, {39, {-16.5, 0, 0}}, {42, {16.5, 0, 0}}, {45, {45, 2, -12}},
    {30, {0, 34, 29}},   {48, {-25, 67, 11}}, {54, {25, 67, 11}}, {8, {0, 112, 11}}};
static const struct model_point model_5[] = {
    {2, {-45, 2, -12}}, {3, {-16.5, 0, 0}}, {1, {16.5, 0, 0}}, {0, {45, 2, -12}}, {4, {0, 47, 20}}};
static const struct model_point model_5m[] = {
    {0, {-31, 1, -6}}, {1, {31, 1, -6}}, {2, {0, 34, 29}}, {3, {-25, 67, 11}}, {4, {25, 67, 11}}};

/* Solves the symmetric 4x4 system a x = b for two right sides by elimination with pivots; false when singular. */
static bool solve4(double a[4][4], double b[4][2]) {
    for (int i = 0; i < 4; i++) {
        int p = i;
        for (int r = i + 1; r < 4; r++)
            if (fabs(a[r][i]) > fabs(a[p][i]))
                p = r;
        if (fabs(a[p][i]) < 1e-9)
            return false;
        for (int c = 0; c < 4; c++) {
            double t = a[i][c];
            a[i][c] = a[p][c];
            a[p][c] = t;
        }
        for (int c = 0; c < 2; c++) {
            double t = b[i][c];
            b[i][c] = b[p][c];
            b[p][c] = t;
        }
        for (int r = 0; r < 4; r++) {
            if (r == i)
                continue;
            double f = a[r][i] / a[i][i];
            for (int c = 0; c < 4; c++)
                a[r][c] -= f * a[i][c];
            for (int c = 0; c < 2; c++)
                b[r][c] -= f * b[i][c];
        }
    }
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 2; c++)
            b[i][c] /= a[i][i];
    return true;
}

/* The affine map from model to picture by least squares; its two rows, made orthonormal, are two axes of the head's rotation. */
bool face_pose(const struct face_landmarks *lm, struct face_pose *pose) {
    const struct model_point *m = lm->scheme == FACE_68 ? model_68 : lm->scheme == FACE_5 ? model_5 : model_5m;
    int n = lm->scheme == FACE_68 ? 8 : 5;
    double a[4][4] = {{0}}, b[4][2] = {{0}};
    for (int i = 0; i < n; i++) {
        const double v[4] = {m[i].at[0], m[i].at[1], m[i].at[2], 1};
        for (int r = 0; r < 4; r++) {
            for (int c = 0; c < 4; c++)
                a[r][c] += v[r] * v[c];
            for (int c = 0; c < 2; c++)
                b[r][c] += v[r] * lm->xy[m[i].index][c];
        }
    }
    if (!solve4(a, b))
        return false;
    double u[3], v[3], lu = 0, lv = 0, dot = 0;
    for (int i = 0; i < 3; i++) {
        u[i] = b[i][0];
        v[i] = b[i][1];
        lu += u[i] * u[i];
        lv += v[i] * v[i];
    }
    if (!(lu > 1e-12 && lv > 1e-12))
        return false;
    for (int i = 0; i < 3; i++) {
        u[i] /= sqrt(lu);
        v[i] /= sqrt(lv);
        dot += u[i] * v[i];
    }
    if (fabs(dot) > 0.99)
        return false;
    double p[3], q[3], lp = 0, lq = 0; /* share the error of the angle between the rows evenly */
    for (int i = 0; i < 3; i++) {
        p[i] = u[i] - dot / 2 * v[i];
        q[i] = v[i] - dot / 2 * u[i];
        lp += p[i] * p[i];
        lq += q[i] * q[i];
    }
    for (int i = 0; i < 3; i++) {
        p[i] /= sqrt(lp);
        q[i] /= sqrt(lq);
    }
    /* p and q are picture x and y of the head's axes: its z axis (nose) is seen at (p[2], q[2]), its x axis at (p[0], q[0]). Roll
     * is the turn of the latter; yaw and pitch are told after turning it back. */
    const double degrees = 180 / M_PI, roll = atan2(q[0], p[0]), z = p[0] * q[1] - p[1] * q[0];
    pose->yaw = atan2(p[2] * cos(roll) + q[2] * sin(roll), z) * degrees;
    pose->pitch = asin(fmin(fmax(q[2] * cos(roll) - p[2] * sin(roll), -1), 1)) * degrees;
    pose->roll = roll * degrees;
    bool ok = isfinite(pose->yaw) && isfinite(pose->pitch) && isfinite(pose->roll);
    if (lm->scheme == FACE_5)
        pose->pitch = NAN; /* only the nose has height: it could as well be long */
    return ok;
}

double face_sharpness(const struct image *im, const struct face_box *box) {
    int x0 = (int)fmax(rint(box->x), 0), y0 = (int)fmax(rint(box->y), 0);
    int x1 = (int)fmin(rint(box->x + box->width), im->width), y1 = (int)fmin(rint(box->y + box->height), im->height);
    if (x1 - x0 < 3 || y1 - y0 < 3)
        return 0;
    struct image grey;
    image_crop(im, x0, y0, x1 - x0, y1 - y0, &grey);
    image_to_channels(&grey, 1);
    int64_t sum = 0, square = 0, w = grey.width;
    for (int y = 1; y < grey.height - 1; y++)
        for (int x = 1; x < grey.width - 1; x++) {
            const uint8_t *p = grey.data + y * w + x;
            int l = 4 * p[0] - p[-1] - p[1] - p[-w] - p[w];
            sum += l;
            square += (int64_t)l * l;
        }
    double n = (double)(grey.width - 2) * (grey.height - 2), mean = (double)sum / n;
    image_free(&grey);
    return sqrt(fmax((double)square / n - mean * mean, 0));
}
