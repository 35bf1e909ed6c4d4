// dlib_nets.cpp - the mmod face detector and the face embedding: dlib's two networks behind face.h.
//
// Apart from dlib_shim.cpp because these types take five times as long to compile. The types restate the layer sequence that the
// model files store, which is what reading them requires.
#include <dlib/dnn.h>

#include "common/face/dlib_shim.hpp"

using namespace dlib;

namespace {

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

const char *const file_cnn = "mmod_human_face_detector.dat";
const char *const file_embed = "dlib_face_recognition_resnet_model_v1.dat";

} // namespace

struct face_cnn {
    mmod::network net;
};
struct face_embedder {
    embed::network net;
};
void face_cnn_free::operator()(face_cnn *p) const { delete p; }
void face_embedder_free::operator()(face_embedder *p) const { delete p; }

// Reads the shared copy unless it is there, then gives the caller its own.
template <typename T, typename F>
static enum status own_copy(face_weights &w, std::unique_ptr<T, F> &shared, std::unique_ptr<T, F> &own, const char *name,
                            struct ::error *e) {
    if (own)
        return ST_OK;
    std::lock_guard<std::mutex> hold(w.loading);
    std::string path;
    try {
        if (!shared) {
            if (enum status st = face_model_path(w, name, path, e))
                return st;
            std::unique_ptr<T, F> loaded(new T);
            deserialize(path) >> loaded->net;
            shared = std::move(loaded);
        }
        own.reset(new T(*shared));
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "%s: not a usable dlib model: %s", path.c_str(), x.what());
    }
}

enum status face_load_cnn(struct face_models *m, struct ::error *e) {
    return own_copy(*m->shared, m->shared->cnn, m->cnn, file_cnn, e);
}

enum status face_detect_cnn(struct face_models *m, double threshold, std::vector<rect_detection> &found, struct ::error *e) {
    if (enum status st = face_load_cnn(m, e))
        return st;
    const std::vector<std::vector<mmod_rect>> all = m->cnn->net.process_batch(std::vector<picture>{m->scratch}, 1, threshold);
    for (const mmod_rect &r : all.at(0)) {
        rect_detection d;
        d.detection_confidence = r.detection_confidence;
        d.rect = r.rect;
        found.push_back(d);
    }
    return ST_OK;
}

extern "C" {

enum status face_embed(struct face_models *m, const struct image *faces150, int n, float *out, struct ::error *e) {
    if (enum status st = own_copy(*m->shared, m->shared->embedder, m->embedder, file_embed, e))
        return st;
    try {
        std::vector<picture> pictures(n);
        for (int i = 0; i < n; i++) {
            assert(faces150[i].width == 150 && faces150[i].height == 150);
            face_to_dlib(&faces150[i], pictures[i]);
        }
        std::vector<matrix<float, 0, 1>> vectors = m->embedder->net(pictures, 16);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < FACE_EMBEDDING; k++)
                out[(size_t)i * FACE_EMBEDDING + k] = vectors.at(i)(k);
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "face embedding: %s", x.what());
    }
}

enum status face_embed_float(struct face_models *m, const float *faces150, int n, float *out, struct ::error *e) {
    if (enum status st = own_copy(*m->shared, m->shared->embedder, m->embedder, file_embed, e))
        return st;
    try {
        const int pixels = 150 * 150;
        auto &net = m->embedder->net;
        const float average[3] = {input_layer(net).get_avg_red(), input_layer(net).get_avg_green(), input_layer(net).get_avg_blue()};
        picture blank(150, 150);
        assign_all_pixels(blank, rgb_pixel(0, 0, 0));
        for (int first = 0; first < n; first += 16) {
            const int count = n - first < 16 ? n - first : 16;
            std::vector<picture> shape(count, blank);
            resizable_tensor input;
            net.to_tensor(shape.begin(), shape.end(), input); // the network learns the batch from this; its values are replaced
            float *to = input.host();
            for (int i = 0; i < count; i++)
                for (int c = 0; c < 3; c++)
                    for (int p = 0; p < pixels; p++)
                        *to++ = (faces150[((size_t)(first + i) * pixels + p) * 3 + c] - average[c]) / 256;
            const tensor &vectors = net.subnet().forward(input);
            memcpy(out + (size_t)first * FACE_EMBEDDING, vectors.host(), (size_t)count * FACE_EMBEDDING * sizeof *out);
        }
        return ST_OK;
    } catch (const std::exception &x) {
        return st_fail(e, "face embedding: %s", x.what());
    }
}

enum status face_embed_hash(struct face_models *m, char hex[65], struct ::error *e) {
    std::string path;
    if (enum status st = face_model_path(*m->shared, file_embed, path, e))
        return st;
    return sha256_file(path.c_str(), hex, e);
}

} // extern "C"
