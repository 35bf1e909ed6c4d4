/* check.h - how reference files are checked: each subject has one check_*.c that recognises its files by their tensors and
 * compares what we compute with every `out.*` (or named result) in them. build/tests/check-reference runs them.
 */
#ifndef FACEMILL_CHECK_H
#define FACEMILL_CHECK_H

#include <stdbool.h>

#include "common/store/safetensors.h"

struct report {
    int checked, failed;
    bool silent; /* count only */
};

/* Prints "ok|FAIL name  max relative error  tolerance" and counts. Relative error of a tensor: max |got - want| / max |want|
 * (1 when the reference is all zero). */
void report_tensor(struct report *r, const char *name, const float *got, const float *want, int64_t n, double tolerance);
/* The same relative to `scale` instead of max |want|, for values that are sums cancelling to less than their terms' rounding. The
 * line says so and gives the plain relative error too. */
void report_tensor_scaled(struct report *r, const char *name, const float *got, const float *want, int64_t n, double scale,
                          double tolerance);
/* By norms: |got - want| / |want| (Euclidean). For 16-bit arithmetic, whose largest single error says little. */
void report_norm(struct report *r, const char *name, const float *got, const float *want, int64_t n, double tolerance);
void report_value(struct report *r, const char *name, double got, double want, double tolerance);
/* For criteria of other kinds: text says what was measured. */
void report_verdict(struct report *r, const char *name, bool ok, const char *format, ...) __attribute__((format(printf, 4, 5)));

struct check {
    const char *subject;
    bool (*recognises)(const struct safetensors *s);
    void (*run)(const struct safetensors *s, struct report *r);
};
extern const struct check check_ops, check_stylegan2, check_trace, check_augment, check_inception, check_metrics, check_align,
    check_resample;

#endif
