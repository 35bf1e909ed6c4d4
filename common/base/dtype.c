/* dtype.c - see dtype.h. */
#include "common/base/dtype.h"

#include <string.h>

static const char *const names[] = {
#define X(name, text, bytes) text,
    DTYPES(X)
#undef X
};
static const int sizes[] = {
#define X(name, text, bytes) bytes,
    DTYPES(X)
#undef X
};

int dtype_size(enum dtype d) { return sizes[d]; }
const char *dtype_name(enum dtype d) { return names[d]; }

bool dtype_by_name(const char *name, enum dtype *d) {
    for (int i = 0; i < DT_COUNT; i++)
        if (!strcmp(name, names[i])) {
            *d = (enum dtype)i;
            return true;
        }
    return false;
}

uint16_t bf16_from_f32(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40); /* quiet NaN */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float f32_from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, 4);
    return x;
}

uint16_t f16_from_f32(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return sign | 0x7e00;
    if (u >= 0x477ff000) /* 65520 and up round to infinity */
        return sign | 0x7c00;
    if (u < 0x38800000) { /* subnormal half: let the float adder round at the right bit */
        float magic = 0.5f, y;
        memcpy(&y, &u, 4);
        y += magic;
        memcpy(&u, &y, 4);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000) >> 13);
}

float f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff, u;
    if (e == 31)
        u = sign | 0x7f800000 | m << 13;
    else if (e)
        u = sign | (e + 112) << 23 | m << 13;
    else {
        float x = (float)m * (1.0f / 16777216.0f); /* m * 2^-24, exact */
        memcpy(&u, &x, 4);
        u |= sign;
    }
    float x;
    memcpy(&x, &u, 4);
    return x;
}
