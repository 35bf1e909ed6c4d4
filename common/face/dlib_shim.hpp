// dlib_shim.hpp - what the two C++ files of this folder share; no one else includes it.
#pragma once

#include <cassert>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <dlib/image_processing.h>
#include <dlib/image_processing/frontal_face_detector.h>

#include "common/base/hash.h"
#include "common/face/face.h"

using picture = dlib::matrix<dlib::rgb_pixel>; // row major, one pixel after another

// The networks, whose types take a minute to compile: dlib_nets.cpp. Opaque here.
struct face_cnn;
struct face_embedder;
struct face_cnn_free { void operator()(face_cnn *p) const; };
struct face_embedder_free { void operator()(face_embedder *p) const; };

// What all clones share; everything in it is read-only once loaded.
struct face_weights {
    std::string folder; // empty: the search path
    std::mutex loading;
    std::unique_ptr<const dlib::frontal_face_detector> hog;
    std::unique_ptr<const dlib::shape_predictor> points68, points5;
    std::unique_ptr<face_cnn, face_cnn_free> cnn;
    std::unique_ptr<face_embedder, face_embedder_free> embedder;
};

struct face_models {
    std::shared_ptr<face_weights> shared;
    std::unique_ptr<dlib::frontal_face_detector> hog; // calls change these three: one each
    std::unique_ptr<face_cnn, face_cnn_free> cnn;
    std::unique_ptr<face_embedder, face_embedder_free> embedder;
    picture scratch;
};

// Path of a model file, or ST_FAIL saying where it was looked for and which command brings it.
enum status face_model_path(const face_weights &w, const char *name, std::string &path, struct ::error *e);

void face_to_dlib(const struct image *im, picture &p);

enum status face_load_cnn(struct face_models *m, struct ::error *e);
// On m->scratch.
enum status face_detect_cnn(struct face_models *m, double threshold, std::vector<dlib::rect_detection> &found, struct ::error *e);
