/* dtype.h - element types of tensors, in memory, in files and on devices: one list for all. */
#ifndef FACEMILL_DTYPE_H
#define FACEMILL_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

/* name in code, name in safetensors, bytes */
#define DTYPES(X) \
    X(F32, "F32", 4) X(F16, "F16", 2) X(BF16, "BF16", 2) X(F64, "F64", 8) X(U8, "U8", 1) X(I32, "I32", 4) X(I64, "I64", 8) X(U64, "U64", 8)

enum dtype {
#define X(name, text, bytes) DT_##name,
    DTYPES(X)
#undef X
    DT_COUNT
};

#ifdef __cplusplus
extern "C" {
#endif

int dtype_size(enum dtype d);
const char *dtype_name(enum dtype d);
bool dtype_by_name(const char *name, enum dtype *d);

/* Scalar conversions, round to nearest even; NaN stays NaN, overflow becomes infinity. */
uint16_t f16_from_f32(float x);
float f32_from_f16(uint16_t h);
uint16_t bf16_from_f32(float x);
float f32_from_bf16(uint16_t h);

#ifdef __cplusplus
}
#endif
#endif
