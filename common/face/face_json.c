/* face_json.c - see face_json.h. */
#include "common/face/face_json.h"

#include <math.h>
#include <string.h>

static const char *const schemes[] = {[FACE_68] = "dlib-68", [FACE_5] = "dlib-5", [FACE_5M] = "eyes-nose-mouth"};

static void set(cJSON *json, const char *name, cJSON *item) {
    cJSON_DeleteItemFromObjectCaseSensitive(json, name);
    cJSON_AddItemToObject(json, name, item);
}

static cJSON *number(double value, double unit) {
    return cJSON_CreateNumber(unit > 0 ? rint(value / unit) / rint(1 / unit) : value);
}

void face_json_set_number(cJSON *json, const char *name, double value, double unit) { set(json, name, number(value, unit)); }
void face_json_set_text(cJSON *json, const char *name, const char *text) { set(json, name, cJSON_CreateString(text)); }

void face_json_set_points(cJSON *json, const char *name, const double (*xy)[2], int n, double unit) {
    cJSON *points = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        cJSON *point = cJSON_CreateArray();
        cJSON_AddItemToArray(point, number(xy[i][0], unit));
        cJSON_AddItemToArray(point, number(xy[i][1], unit));
        cJSON_AddItemToArray(points, point);
    }
    set(json, name, points);
}

void face_json_set_box(cJSON *json, const char *name, const struct face_box *box) {
    const double v[4] = {box->x, box->y, box->width, box->height};
    cJSON *array = cJSON_CreateArray();
    for (int i = 0; i < 4; i++)
        cJSON_AddItemToArray(array, number(v[i], 1e-3));
    set(json, name, array);
}

void face_json_set_landmarks(cJSON *json, const char *name, const struct face_landmarks *lm) {
    face_json_set_points(json, name, lm->xy, lm->n, 1e-3);
    face_json_set_text(json, "landmark_scheme", schemes[lm->scheme]);
}

static bool numbers(const cJSON *array, int n, double *out) {
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) != n)
        return false;
    int i = 0;
    for (const cJSON *c = array->child; c; c = c->next) {
        if (!cJSON_IsNumber(c) || !isfinite(c->valuedouble) || fabs(c->valuedouble) > 1e6)
            return false;
        out[i++] = c->valuedouble;
    }
    return true;
}

bool face_json_get_box(const cJSON *json, const char *name, struct face_box *box) {
    double v[4];
    if (!numbers(cJSON_GetObjectItemCaseSensitive(json, name), 4, v) || v[2] <= 0 || v[3] <= 0)
        return false;
    *box = (struct face_box){v[0], v[1], v[2], v[3], 0};
    return true;
}

bool face_json_get_landmarks(const cJSON *json, const char *name, struct face_landmarks *lm) {
    const cJSON *points = cJSON_GetObjectItemCaseSensitive(json, name), *p;
    int n = cJSON_IsArray(points) ? cJSON_GetArraySize(points) : 0;
    if (n != 68 && n != 5)
        return false;
    *lm = (struct face_landmarks){.scheme = n == 68 ? FACE_68 : FACE_5M, .n = n};
    const char *scheme = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "landmark_scheme"));
    if (n == 5 && scheme && !strcmp(scheme, schemes[FACE_5]))
        lm->scheme = FACE_5;
    int i = 0;
    cJSON_ArrayForEach(p, points) if (!numbers(p, 2, lm->xy[i++])) return false;
    return true;
}

/* Which point of the mirrored face takes whose place. */
static int mirrored_point(enum face_scheme scheme, int i) {
    static const int five[] = {2, 3, 0, 1, 4}, mouth[] = {1, 0, 2, 4, 3};
    static const int rest[] = {/* 36 */ 45, 44, 43, 42, 47, 46, /* 42 */ 39, 38, 37, 36, 41, 40, /* 48 */ 54, 53, 52, 51, 50, 49, 48,
                               /* 55 */ 59, 58, 57, 56, 55, /* 60 */ 64, 63, 62, 61, 60, /* 65 */ 67, 66, 65};
    if (scheme != FACE_68)
        return scheme == FACE_5 ? five[i] : mouth[i];
    if (i < 17) /* jaw */
        return 16 - i;
    if (i < 27) /* brows */
        return 43 - i;
    if (i < 31) /* bridge of the nose */
        return i;
    return i < 36 ? 66 - i : rest[i - 36];
}

void face_json_transform(cJSON *json, const double scale[2], const double shift[2], int mirror_width) {
    struct face_box box;
    struct face_landmarks lm, to;
    if (face_json_get_box(json, "box", &box)) {
        /* A box is a pair of corners half a pixel before its first and after its last pixel's centre. */
        box.x = (box.x - 0.5) * scale[0] + shift[0] + 0.5;
        box.y = (box.y - 0.5) * scale[1] + shift[1] + 0.5;
        box.width *= scale[0];
        box.height *= scale[1];
        if (mirror_width)
            box.x = mirror_width - box.x - box.width;
        face_json_set_box(json, "box", &box);
    }
    if (face_json_get_landmarks(json, "landmarks", &lm)) {
        to = lm;
        for (int i = 0; i < lm.n; i++) {
            const double *from = lm.xy[mirror_width ? mirrored_point(lm.scheme, i) : i];
            double x = from[0] * scale[0] + shift[0], y = from[1] * scale[1] + shift[1];
            to.xy[i][0] = mirror_width ? mirror_width - 1 - x : x;
            to.xy[i][1] = y;
        }
        face_json_set_landmarks(json, "landmarks", &to);
    }
}
