/* affine_gather.cuh - the adjoint of sampling at affine positions, in gather form: no atomics, and the order is fixed. Pixel (h,w) was
 * read by the outputs whose position lies within one pixel of it, a parallelogram in (p,q) found by inverting the affine map. Its
 * bounding box, widened by half a pixel against rounding, is looked through by two multiply-adds an output, and those that are near (four
 * of nine to sixteen) are placed by the very function that sampled.
 *
 * A map without area (all zeros, say) has no inverse: pixels that its image comes near search everything. */
#ifndef FACEMILL_KERNELS_AFFINE_GATHER_CUH
#define FACEMILL_KERNELS_AFFINE_GATHER_CUH

#include "kernels/affine_position.h"
#include "kernels/cuda.h"

struct affine_map { /* column = a00 q + a01 p + b0, row = a10 q + a11 p + b1 */
    float t[6];
    float a00, a01, a10, a11, b0, b1, inverse;
    float near_column, near_row; /* one pixel, and what positions by multiply-adds may be off */
    bool invertible;
    int H, W, P, Q;
};

struct outputs { /* a box of them */
    int p0, p1, q0, q1;
};

__device__ static inline affine_map affine_map_of(const float *theta, int H, int W, int P, int Q) {
    affine_map m;
    float *t = m.t;
#pragma unroll
    for (int i = 0; i < 6; i++)
        t[i] = theta[i];
    m.a00 = t[0] * (float)W / (float)Q, m.a01 = t[1] * (float)W / (float)P, m.a10 = t[3] * (float)H / (float)Q, m.a11 = t[4] * (float)H / (float)P;
    m.b0 = ((t[0] * (1.0f / (float)Q - 1) + t[1] * (1.0f / (float)P - 1) + t[2] + 1) * (float)W - 1) * 0.5f;
    m.b1 = ((t[3] * (1.0f / (float)Q - 1) + t[4] * (1.0f / (float)P - 1) + t[5] + 1) * (float)H - 1) * 0.5f;
    float det = m.a00 * m.a11 - m.a01 * m.a10;
    m.invertible = fabsf(det) > 1e-6f && fabsf(det) < 1e30f;
    m.inverse = 1.0f / det;
    m.near_column = 1.005f + 1e-6f * (fabsf(m.a00) * (float)Q + fabsf(m.a01) * (float)P + fabsf(m.b0) + (float)W);
    m.near_row = 1.005f + 1e-6f * (fabsf(m.a10) * (float)Q + fabsf(m.a11) * (float)P + fabsf(m.b1) + (float)H);
    m.H = H, m.W = W, m.P = P, m.Q = Q;
    return m;
}

/* May b + s q + t p come within `reach` of v, for q in 0 .. Q-1 and p in 0 .. P-1? */
__device__ static inline bool comes_near(float b, float s, float t, int Q, int P, float v, float reach) {
    float low = b + fminf(s * (float)(Q - 1), 0.0f) + fminf(t * (float)(P - 1), 0.0f);
    float high = b + fmaxf(s * (float)(Q - 1), 0.0f) + fmaxf(t * (float)(P - 1), 0.0f);
    return v > low - reach - 0.5f && v < high + reach + 0.5f;
}
__device__ static inline bool image_comes_near(const affine_map &m, float row, float column, float reach) {
    return comes_near(m.b0, m.a00, m.a01, m.Q, m.P, column, reach) && comes_near(m.b1, m.a10, m.a11, m.Q, m.P, row, reach);
}

/* The outputs that may read within `reach` of a point; false where there are none. */
__device__ static inline bool affine_outputs(const affine_map &m, float row, float column, float reach, outputs *o) {
    if (!m.invertible) {
        o->p0 = o->q0 = 0, o->p1 = m.P - 1, o->q1 = m.Q - 1;
        return image_comes_near(m, row, column, reach);
    }
    float dc = column - m.b0, dr = row - m.b1, q = (m.a11 * dc - m.a01 * dr) * m.inverse, p = (m.a00 * dr - m.a10 * dc) * m.inverse;
    float wide = reach * fabsf(m.inverse), eq = (fabsf(m.a11) + fabsf(m.a01)) * wide + 0.5f, ep = (fabsf(m.a00) + fabsf(m.a10)) * wide + 0.5f;
    o->p0 = (int)ceilf(fminf(fmaxf(p - ep, 0.0f), (float)m.P)), o->p1 = (int)floorf(fmaxf(fminf(p + ep, (float)(m.P - 1)), -1.0f));
    o->q0 = (int)ceilf(fminf(fmaxf(q - eq, 0.0f), (float)m.Q)), o->q1 = (int)floorf(fmaxf(fminf(q + eq, (float)(m.Q - 1)), -1.0f));
    return o->p0 <= o->p1 && o->q0 <= o->q1;
}

/* The weight of pixel (h,w) in output (p,q), as affine_corners has it. */
__device__ static inline float affine_weight(const affine_map &m, int p, int q, int h, int w) {
    float column, row;
    affine_place(m.t, p, q, m.P, m.Q, m.H, m.W, &column, &row);
    float left = floorf(column), top = floorf(row), fx = column - left, fy = row - top;
    float x = left == (float)w ? 1.0f - fx : left + 1.0f == (float)w ? fx : 0.0f;
    float y = top == (float)h ? 1.0f - fy : top + 1.0f == (float)h ? fy : 0.0f;
    return x * y;
}
__device__ static inline bool affine_near(const affine_map &m, int p, int q, int h, int w) {
    float fq = (float)q, fp = (float)p;
    return fabsf(fmaf(m.a00, fq, fmaf(m.a01, fp, m.b0 - (float)w))) < m.near_column &&
           fabsf(fmaf(m.a10, fq, fmaf(m.a11, fp, m.b1 - (float)h))) < m.near_row;
}

/* sum[c] += weight * dy[p,q,c0+c] over the outputs that read pixel (h,w), for at most CHANNELS channels from c0 on. */
template <int CHANNELS, typename T>
__device__ static inline void affine_gather(const affine_map &m, const outputs &o, int h, int w, const T *dy, int c0, int C,
                                            float (&sum)[CHANNELS]) {
    auto add = [&](int p, int q) {
        float weight = affine_weight(m, p, q, h, w);
        if (weight == 0) /* what was not read does not count, whatever it is */
            return;
        const T *from = dy + ((int64_t)p * m.Q + q) * C + c0;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            if (c0 + c < C)
                sum[c] = fmaf(weight, to_float(from[c]), sum[c]);
    };
    if (o.p1 - o.p0 < 8 && o.q1 - o.q0 < 8) { /* first which are near, then only those, so that a warp's threads are all at one of theirs */
        unsigned long long near = 0;
        for (int p = o.p0; p <= o.p1; p++)
            for (int q = o.q0; q <= o.q1; q++)
                near |= (unsigned long long)affine_near(m, p, q, h, w) << ((p - o.p0) * 8 + q - o.q0);
        for (; near; near &= near - 1) {
            int at = __ffsll((long long)near) - 1;
            add(o.p0 + at / 8, o.q0 + at % 8);
        }
    } else
        for (int p = o.p0; p <= o.p1; p++)
            for (int q = o.q0; q <= o.q1; q++)
                if (affine_near(m, p, q, h, w))
                    add(p, q);
}

#endif
