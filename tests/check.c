/* check.c - see check.h. */
#include "tests/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static void line(struct report *r, const char *name, bool ok, double error, double tolerance, const char *note) {
    if (!r->silent)
        printf("%-4s %-52s %10.2e  (%.0e)%s\n", ok ? "ok" : "FAIL", name, error, tolerance, note);
    r->checked++;
    r->failed += !ok;
}

/* max |got - want|, infinite when anything is not finite; *largest = max |want|. */
static double distance(const float *got, const float *want, int64_t n, double *largest) {
    double difference = 0;
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]), w = fabs((double)want[i]);
        if (!isfinite(d))
            return INFINITY;
        difference = d > difference ? d : difference;
        *largest = w > *largest ? w : *largest;
    }
    return difference;
}

void report_tensor(struct report *r, const char *name, const float *got, const float *want, int64_t n, double tolerance) {
    double largest, d = distance(got, want, n, &largest), error = d / (largest > 0 ? largest : 1);
    line(r, name, error <= tolerance, error, tolerance, "");
}

void report_tensor_scaled(struct report *r, const char *name, const float *got, const float *want, int64_t n, double scale,
                          double tolerance) {
    double largest, d = distance(got, want, n, &largest), error = d / (scale > 0 ? scale : 1);
    char note[96];
    snprintf(note, sizeof note, " of %.2g, its siblings' largest (of its own value: %.1e)", scale, d / (largest > 0 ? largest : 1));
    line(r, name, error <= tolerance, error, tolerance, note);
}

void report_norm(struct report *r, const char *name, const float *got, const float *want, int64_t n, double tolerance) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        size += (double)want[i] * (double)want[i];
    }
    double error = sqrt(difference / (size > 0 ? size : 1));
    if (!isfinite(error))
        error = INFINITY;
    line(r, name, error <= tolerance, error, tolerance, " by norms");
}

void report_value(struct report *r, const char *name, double got, double want, double tolerance) {
    double error = fabs(got - want) / (want != 0 ? fabs(want) : 1);
    if (!isfinite(error))
        error = INFINITY;
    line(r, name, error <= tolerance, error, tolerance, "");
}

void report_verdict(struct report *r, const char *name, bool ok, const char *format, ...) {
    if (!r->silent) {
        va_list args;
        printf("%-4s %-52s ", ok ? "ok" : "FAIL", name);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
    }
    r->checked++;
    r->failed += !ok;
}
