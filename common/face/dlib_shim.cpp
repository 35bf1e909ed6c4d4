// dlib_shim.cpp - dlib behind the C of face.h; the only file that includes dlib.
//
// The HOG detector runs on 0.05-0.5 megapixel pictures (about 100 ns a pixel), the shape predictors on one box each (1-2 ms).
// Both are templates of dlib's headers, so this file is compiled with -O3 and the machine's vector instructions; the library
// itself brings BLAS for the two networks. Nothing here is transcribed from dlib's examples: the two network types restate the
// layer sequence stored in the model files, which is what reading them requires.
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <dlib/dnn.h>
#include <dlib/image_processing.h>
#include <dlib/image_processing/frontal_face_detector.h>

#include "common/base/hash.h"
#include "common/face/face.h"

namespace {

using namespace dlib;
using picture = matrix<rgb_pixel>; // row major, one pixel after another

// ---- the two networks, as their files store them ----
namespace mmod {
template <long n, typename S> using down = con<n, 5, 5, 2, 2, S>;
template <typename S> using body = relu<affine<con<45, 5, 5, 1, 1, S>>>;
template <typename S> using head = relu<affine<down<32, relu<affine<down<32, relu<affine<down<16, S>>>>>>>>>;
using network = loss_mmod<con<1, 9, 9, 1, 1, body<body<body<head<input_rgb_image_pyramid<pyramid_down<6>>>>>>>>;
} // namespace mmod

namespace embed {
template <int n, int stride, typename S> using two = affine<con<n, 3, 3, 1, 1, relu<affine<con<n, 3, 3, stride, stride, S>>>>>;
template <int n, typename S> using same = relu<add_prev1<two<n, 1, tag1<S>>>>;
template <int n, typename S> using half = relu<add_prev2<avg_pool<2, 2, 2, 2, skip1<tag2<two<n, 2, tag1<S>>>>>>>;
template <typename S> using stage1 = same<32, same<32, same<32, S>>>;
template <typename S> using stage2 = same<64, same<64, same<64, half<64, S>>>>;
template <typename S> using stage3 = same<128, same<128, half<128, S>>>;
template <typename S> using stage4 = same<256, same<256, half<256, S>>>;
template <typename S> using stem = max_pool<3, 3, 2, 2, relu<affine<con<32, 7, 7, 2, 2, S>>>>;
using network = loss_metric<fc_no_bias<
    FACE_EMBEDDING, avg_pool_everything<half<256, stage4<stage3<stage2<stage1<stem<input_rgb_image_sized<150>>>>>>>>>>;
} // namespace embed

const char *const file_68 = "shape_predictor_68_face_landmarks.dat";
const char *const file_5 = "shape_predictor_5_face_landmarks.dat";
const char *const file_cnn = "mmod_human_face_detector.dat";
const char *const file_embed = "dlib_face_recognition_resnet_model_v1.dat";

// What all clones share; everything in it is read-only once loaded.
struct weights {
    std::string folder; // empty: the search path
    std::mutex loading;
    std::unique_ptr<const frontal_face_detector> hog;
    std::unique_ptr<const shape_predictor> points68, points5;
    std::unique_ptr<const mmod::network> cnn;
    std::unique_ptr<const embed::network> embedder;
};

bool readable(const std::string &path) {
    FILE *f = fopen(path.c_str(), "rb");
    if (f)
        fclose(f);
    return f != nullptr;
}

enum status find_model(const weights &w, const char *name, std::string &path, struct ::error *e) {
    std::vector<std::string> folders;
    if (!w.folder.empty()) {
        folders.push_back(w.folder);
    } else {
        if (const char *env = getenv("FACEMILL_MODELS"))
            folders.push_back(env);
#ifdef FACEMILL_MODELS_DIR
        folders.push_back(FACEMILL_MODELS_DIR);
#endif
        folders.push_back("models");
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
                   name == file_68 ? "install Debian's libdlib-data (make deps), or point FACEMILL_MODELS at its folder"
                                   : "run `make models`, or point FACEMILL_MODELS at its folder");
}

// Reads a model file into *slot unless it is there already.
template <typename T> enum status load(weights &w, std::unique_ptr<const T> &slot, const char *name, struct ::error *e) {
    std::lock_guard<std::mutex> hold(w.loading);
    if (slot)
        return ST_OK;
    std::string path;
    if (enum status st = find_model(w, name, path, e))
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

void to_dlib(const struct image *im, picture &p) {
    static_assert(sizeof(rgb_pixel) == 3, "pixels are copied whole");
    assert(im->channels == 3);
    p.set_size(im->height, im->width);
    memcpy(static_cast<void *>(&p(0, 0)), im->data, (size_t)im->width * im->height * 3);
}

} // namespace

struct face_models {
    std::shared_ptr<weights> shared;
    std::unique_ptr<frontal_face_detector> hog; // calls change these three: one each
    std::unique_ptr<mmod::network> cnn;
    std::unique_ptr<embed::network> embedder;
    picture scratch;
};

extern "C" {

enum status face_models_open(struct face_models **m, const char *folder, struct ::error *e) {
    *m = nullptr;
    try {
        auto made = std::make_unique<face_models>();
        made->shared = std::make_shared<weights>();
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
        weights &w = *m->shared;
        std::lock_guard<std::mutex> hold(w.loading);
        if (!w.hog)
            w.hog = std::make_unique<const frontal_face_detector>(get_frontal_face_detector());
        m->hog = std::make_unique<frontal_face_detector>(*w.hog);
    }
    (*m->hog)(m->scratch, found, threshold);
    return ST_OK;
}

static enum status detect_cnn(struct face_models *m, double threshold, std::vector<rect_detection> &found, struct ::error *e) {
    if (!m->cnn) {
        if (enum status st = load(*m->shared, m->shared->cnn, file_cnn, e))
            return st;
        m->cnn = std::make_unique<mmod::network>(*m->shared->cnn);
    }
    std::vector<std::vector<mmod_rect>> all = m->cnn->process_batch(std::vector<picture>{m->scratch}, 1, threshold);
    for (const mmod_rect &r : all.at(0)) {
        rect_detection d;
        d.detection_confidence = r.detection_confidence;
        d.rect = r.rect;
        found.push_back(d);
    }
    return ST_OK;
}

enum status face_detect(struct face_models *m, enum face_detector d, const struct image *im, double threshold,
                        struct face_box *boxes, int *n, struct ::error *e) {
    *n = 0;
    try {
        to_dlib(im, m->scratch);
        std::vector<rect_detection> found;
        if (enum status st = d == FACE_HOG ? detect_hog(m, threshold, found) : detect_cnn(m, threshold, found, e))
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

enum status face_find_landmarks(struct face_models *m, const struct image *im, const struct face_box *box, int n_points,
                                struct face_landmarks *lm, struct ::error *e) {
    assert(n_points == 68 || n_points == 5);
    weights &w = *m->shared;
    auto &slot = n_points == 68 ? w.points68 : w.points5;
    if (enum status st = load(w, slot, n_points == 68 ? file_68 : file_5, e))
        return st;
    if ((int)slot->num_parts() != n_points)
        return st_fail(e, "%s has %lu points instead of %d", n_points == 68 ? file_68 : file_5, slot->num_parts(), n_points);
    try {
        to_dlib(im, m->scratch);
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

enum status face_embed(struct face_models *m, const struct image *faces150, int n, float *out, struct ::error *e) {
    if (!m->embedder) {
        if (enum status st = load(*m->shared, m->shared->embedder, file_embed, e))
            return st;
        m->embedder = std::make_unique<embed::network>(*m->shared->embedder);
    }
    try {
        std::vector<picture> pictures(n);
        for (int i = 0; i < n; i++) {
            assert(faces150[i].width == 150 && faces150[i].height == 150);
            to_dlib(&faces150[i], pictures[i]);
        }
        std::vector<matrix<float, 0, 1>> vectors = (*m->embedder)(pictures, 16);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < FACE_EMBEDDING; k++)
                out[(size_t)i * FACE_EMBEDDING + k] = vectors.at(i)(k);
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "face embedding: %s", x.what());
    }
}

enum status face_embed_hash(struct face_models *m, char hex[65], struct ::error *e) {
    std::string path;
    if (enum status st = find_model(*m->shared, file_embed, path, e))
        return st;
    return sha256_file(path.c_str(), hex, e);
}

} // extern "C"
