/* fused_math.h - exp, log and what is made of them, in float32, branch-free, so that compilers vectorise loops over them.
 *
 * Accuracy, measured over all exponents: exp 1 ulp, log 1 ulp (absolute 1e-7 near 1 holds relatively too), softplus and sigmoid
 * 3 ulp. exp overflows to infinity above 88.72 and underflows through subnormals to 0; log(0) = -inf, log(<0) = NaN.
 */
#ifndef FACEMILL_FUSED_MATH_H
#define FACEMILL_FUSED_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) float bits_float(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline __attribute__((always_inline)) uint32_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor polynomial; times 2^n in two steps so that n reaches from -150 to 128. */
static inline __attribute__((always_inline)) float fast_exp(float x) {
    float c = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x; /* NaN passes both comparisons */
    float t = c * 1.44269504088896341f + 12582912.0f;        /* 1.5 * 2^23: rounds to integer */
    float n = t - 12582912.0f;
    float r = c - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666668e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    int32_t k = (int32_t)(float_bits(t) - 0x4B400000u), half = k >> 1;
    return p * bits_float((uint32_t)(half + 127) << 23) * bits_float((uint32_t)(k - half + 127) << 23);
}

/* Of a positive normal x = 2^k m, m in [sqrt 1/2, sqrt 2); log m = 2 atanh(s), s = (m - 1)/(m + 1). shift is added to k. */
static inline __attribute__((always_inline)) float log_normal(float x, float shift) {
    uint32_t u = float_bits(x);
    int32_t k = (int32_t)(u - 0x3F3504F3u) >> 23; /* arithmetic shift */
    float m = bits_float(u - ((uint32_t)k << 23));
    float f = m - 1.0f, s = f / (2.0f + f), z = s * s;
    float p = 0.22222222f;
    p = p * z + 0.28571429f;
    p = p * z + 0.4f;
    p = p * z + 0.66666667f;
    float e = (float)k + shift, h = 0.5f * f * f; /* log(1+f) = f - h + s (h + z p) */
    return f - (h - (s * (h + z * p) + e * 9.0580006e-6f)) + e * 0.69313812f;
}

static inline __attribute__((always_inline)) float fast_log(float x) {
    float scaled = x < 1.17549435e-38f ? x * 16777216.0f : x; /* subnormals */
    float r = log_normal(scaled, x < 1.17549435e-38f ? -24.0f : 0.0f);
    r = x == 0 ? -INFINITY : r;
    r = x < 0 ? NAN : r;
    return x == INFINITY || x != x ? x : r;
}

/* log(1 + z) for 0 <= z <= 1 */
static inline __attribute__((always_inline)) float fast_log1p_unit(float z) {
    float m = 1.0f + z, d = z - (m - 1.0f); /* what the addition lost */
    return log_normal(m, 0) + d / m;
}

static inline __attribute__((always_inline)) float fast_softplus(float x) {
    float z = fast_exp(-fabsf(x));
    return (x < 0 ? 0.0f : x) + fast_log1p_unit(z);
}

static inline __attribute__((always_inline)) float fast_sigmoid(float x) {
    float z = fast_exp(-fabsf(x)), r = 1.0f / (1.0f + z);
    return x < 0 ? z * r : x != x ? x : r;
}

/* (1 - e^-2|x|)/(1 + e^-2|x|); near 0 the series, where the quotient would cancel */
static inline __attribute__((always_inline)) float fast_tanh(float x) {
    float a = fabsf(x), z = fast_exp(-2.0f * a), q = (1.0f - z) / (1.0f + z), y = a * a;
    float p = a * (1.0f + y * (-0.33333333f + y * (0.13333333f + y * (-0.05396825f + y * 0.02186949f))));
    float r = a < 0.3f ? p : q;
    return x != x ? x : x < 0 ? -r : r;
}

#endif
