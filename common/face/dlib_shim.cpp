// dlib_shim.cpp - dlib behind the C of face.h: the HOG face detector and the landmark predictors; dlib_nets.cpp has the networks.
//
// The detector runs on 0.05-0.5 megapixel pictures (about 110 ns a pixel on one core), a predictor on one box each (68 points:
// 2.7 ms, mostly waiting for its 65 MB of leaves). Both are templates of dlib's headers, so this file is compiled with -O3 and the
// machine's vector instructions.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "common/face/dlib_shim.hpp"

#include "common/base/installed.h"

using namespace dlib;

namespace {

const char *const file_68 = "shape_predictor_68_face_landmarks.dat";
const char *const file_5 = "shape_predictor_5_face_landmarks.dat";

bool readable(const std::string &path) {
    FILE *f = fopen(path.c_str(), "rb");
    if (f)
        fclose(f);
    return f != nullptr;
}

} // namespace

enum status face_model_path(const face_weights &w, const char *name, std::string &path, struct ::error *e) {
    std::vector<std::string> folders;
    if (!w.folder.empty()) {
        folders.push_back(w.folder);
    } else {
        if (const char *env = getenv("FACEMILL_MODELS"))
            folders.push_back(env);
        folders.push_back("models");
        for (const char *beside : {"share/facemill/models", "../models"}) { /* installed; build/bin of a source tree */
            char *at = installed_path(beside);
            folders.push_back(at);
            free(at);
        }
        folders.push_back("/usr/share/dlib");
    }
    std::string tried;
    for (const std::string &f : folders) {
        path = f + "/" + name;
        if (readable(path))
            return ST_OK;
        tried += (tried.empty() ? "" : ", ") + f;
    }
    return st_fail(e, "%s is not in %s: %s", name, tried.c_str(),
                   !strcmp(name, file_68) ? "install Debian's libdlib-data (make deps), or point FACEMILL_MODELS at its folder"
                                   : "run `make models`, or point FACEMILL_MODELS at its folder");
}

void face_to_dlib(const struct image *im, picture &p) {
    static_assert(sizeof(rgb_pixel) == 3, "pixels are copied whole");
    assert(im->channels == 3);
    p.set_size(im->height, im->width);
    memcpy(static_cast<void *>(&p(0, 0)), im->data, (size_t)im->width * im->height * 3);
}

// Reads a model file into *slot unless it is there already.
template <typename T> static enum status load(face_weights &w, std::unique_ptr<const T> &slot, const char *name, struct ::error *e) {
    std::lock_guard<std::mutex> hold(w.loading);
    if (slot)
        return ST_OK;
    std::string path;
    if (enum status st = face_model_path(w, name, path, e))
        return st;
    try {
        auto model = std::make_unique<T>();
        deserialize(path) >> *model;
        slot = std::move(model);
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "%s: not a usable dlib model: %s", path.c_str(), x.what());
    }
}

extern "C" {

enum status face_models_open(struct face_models **m, const char *folder, struct ::error *e) {
    *m = nullptr;
    try {
        auto made = std::make_unique<face_models>();
        made->shared = std::make_shared<face_weights>();
        made->shared->folder = folder ? folder : "";
        *m = made.release();
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "face models: %s", x.what());
    }
}

enum status face_models_clone(struct face_models **copy, struct face_models *m, struct ::error *e) {
    *copy = nullptr;
    try {
        auto made = std::make_unique<face_models>();
        made->shared = m->shared;
        *copy = made.release();
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "face models: %s", x.what());
    }
}

void face_models_close(struct face_models *m) { delete m; }

static enum status detect_hog(struct face_models *m, double threshold, std::vector<rect_detection> &found) {
    if (!m->hog) {
        face_weights &w = *m->shared;
        std::lock_guard<std::mutex> hold(w.loading);
        if (!w.hog)
            w.hog = std::make_unique<const frontal_face_detector>(get_frontal_face_detector());
        m->hog = std::make_unique<frontal_face_detector>(*w.hog);
    }
    (*m->hog)(m->scratch, found, threshold);
    return ST_OK;
}

enum status face_detect(struct face_models *m, enum face_detector d, const struct image *im, double threshold,
                        struct face_box *boxes, int *n, struct ::error *e) {
    *n = 0;
    try {
        face_to_dlib(im, m->scratch);
        std::vector<rect_detection> found;
        if (enum status st = d == FACE_HOG ? detect_hog(m, threshold, found) : face_detect_cnn(m, threshold, found, e))
            return st;
        std::stable_sort(found.begin(), found.end(), [](const rect_detection &a, const rect_detection &b) {
            return a.detection_confidence > b.detection_confidence;
        });
        for (const rect_detection &f : found) {
            if (*n == FACE_MAX)
                break;
            boxes[(*n)++] = {(double)f.rect.left(), (double)f.rect.top(), (double)f.rect.width(), (double)f.rect.height(),
                             f.detection_confidence};
        }
        return ST_OK;
    } catch (const std::bad_alloc &) {
        return st_bad(e, "face detection on %dx%d pixels: out of memory", im->width, im->height);
    } catch (const std::exception &x) {
        return st_bad(e, "face detection: %s", x.what());
    }
}

static enum status load_points(face_weights &w, int n_points, struct ::error *e) {
    assert(n_points == 68 || n_points == 5);
    auto &slot = n_points == 68 ? w.points68 : w.points5;
    const char *file = n_points == 68 ? file_68 : file_5;
    enum status st = load(w, slot, file, e);
    if (st == ST_OK && (int)slot->num_parts() != n_points)
        return st_fail(e, "%s has %lu points instead of %d", file, slot->num_parts(), n_points);
    return st;
}

enum status face_models_load(struct face_models *m, enum face_detector d, int n_points, struct ::error *e) {
    if (d == FACE_CNN)
        if (enum status st = face_load_cnn(m, e))
            return st;
    return n_points ? load_points(*m->shared, n_points, e) : ST_OK;
}

enum status face_find_landmarks(struct face_models *m, const struct image *im, const struct face_box *box, int n_points,
                                struct face_landmarks *lm, struct ::error *e) {
    face_weights &w = *m->shared;
    if (enum status st = load_points(w, n_points, e))
        return st;
    auto &slot = n_points == 68 ? w.points68 : w.points5;
    try {
        face_to_dlib(im, m->scratch);
        rectangle r(std::lround(box->x), std::lround(box->y), std::lround(box->x + box->width) - 1,
                    std::lround(box->y + box->height) - 1);
        full_object_detection shape = (*slot)(m->scratch, r);
        lm->scheme = n_points == 68 ? FACE_68 : FACE_5;
        lm->n = n_points;
        for (int i = 0; i < n_points; i++) {
            lm->xy[i][0] = (double)shape.part(i).x();
            lm->xy[i][1] = (double)shape.part(i).y();
        }
        return ST_OK;
    } catch (const std::exception &x) {
        return st_bad(e, "landmarks: %s", x.what());
    }
}

} // extern "C"
