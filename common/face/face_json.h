/* face_json.h - faces in a sample's JSON.
 *
 * Two coordinate systems, both with the centre of the first pixel at (0, 0):
 *   "box" [x,y,width,height], "landmarks" [[x,y],...]      pixels of the picture in this very sample; every stage that changes the
 *                                                           picture's geometry changes these along (face_json_transform)
 *   "source_box", "source_landmarks", "quad"               pixels of the original upright picture; never changed after alignment
 * "landmark_scheme" names the points of both: "dlib-68", "dlib-5" or "eyes-nose-mouth". Absent, 68 points are dlib-68 and 5 points
 * eyes-nose-mouth, what most detectors give.
 */
#ifndef FACEMILL_FACE_JSON_H
#define FACEMILL_FACE_JSON_H

#include <cjson/cJSON.h>

#include "common/face/face.h"

/* A new object {..} is not made: members are set (replaced) in `json`. Numbers are rounded to 1/1000 pixel. */
void face_json_set_box(cJSON *json, const char *name, const struct face_box *box);
void face_json_set_landmarks(cJSON *json, const char *name, const struct face_landmarks *lm); /* and landmark_scheme */
void face_json_set_points(cJSON *json, const char *name, const double (*xy)[2], int n, double unit); /* rounded to `unit` */
void face_json_set_number(cJSON *json, const char *name, double value, double unit);
void face_json_set_text(cJSON *json, const char *name, const char *text);

/* false when absent or malformed (finite numbers only; 68 or 5 points). */
bool face_json_get_box(const cJSON *json, const char *name, struct face_box *box);
bool face_json_get_landmarks(const cJSON *json, const char *name, struct face_landmarks *lm);

/* "box" and "landmarks" after the picture's geometry changed: x' = x*scale[0] + shift[0], then mirrored in a picture of
 * mirror_width pixels unless that is 0 (68-point landmarks are renumbered so that left stays the picture's left). */
void face_json_transform(cJSON *json, const double scale[2], const double shift[2], int mirror_width);

#endif
