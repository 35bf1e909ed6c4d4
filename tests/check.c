/* check.c - see check.h. */
#include "tests/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static void line(struct report *r, const char *name, bool ok, double error, double tolerance) {
    printf("%-4s %-52s %10.2e  (%.0e)\n", ok ? "ok" : "FAIL", name, error, tolerance);
    r->checked++;
    r->failed += !ok;
}

void report_tensor(struct report *r, const char *name, const float *got, const float *want, int64_t n, double tolerance) {
    double largest = 0, difference = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        finite = finite && isfinite(d);
        difference = d > difference ? d : difference;
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    double error = difference / (largest > 0 ? largest : 1);
    if (!finite)
        error = INFINITY;
    line(r, name, error <= tolerance, error, tolerance);
}

void report_value(struct report *r, const char *name, double got, double want, double tolerance) {
    double error = fabs(got - want) / (want != 0 ? fabs(want) : 1);
    if (!isfinite(error))
        error = INFINITY;
    line(r, name, error <= tolerance, error, tolerance);
}

void report_verdict(struct report *r, const char *name, bool ok, const char *format, ...) {
    va_list args;
    printf("%-4s %-52s ", ok ? "ok" : "FAIL", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    r->checked++;
    r->failed += !ok;
}
