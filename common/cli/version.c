/* version.c - what a program is made of: --version.
 *
 * Each library is asked through a weak symbol: one that this program does not need is not linked and not listed, and asking
 * does not make it needed.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#if __has_include(<dlib/revision.h>)
#include <dlib/revision.h>
#endif

#include "common/cli/cli_internal.h"

#define WEAK __attribute__((weak))
extern const char *archive_version_string(void) WEAK;
extern const char *png_get_libpng_ver(const void *png) WEAK;
extern const char *cJSON_Version(void) WEAK;
extern int WebPGetDecoderVersion(void) WEAK;
extern char *mdb_version(int *major, int *minor, int *patch) WEAK;
extern char *openblas_get_config(void) WEAK;
extern void *tjInitDecompress(void) WEAK;
extern void face_models_open(void) WEAK;
extern void device_print_version(FILE *out) WEAK; /* common/engine/device.h: programs that compute */
struct dnnl_version_numbers { /* the head of oneDNN's dnnl_version_t */
    int major, minor, patch;
};
extern const struct dnnl_version_numbers *dnnl_version(void) WEAK;

const char *cli_version(void) {
    static char text[128];
    snprintf(text, sizeof text, "facemill %s (%s)", FACEMILL_VERSION, cli__name());
    return text;
}

/* The first "model name" of /proc/cpuinfo, or "unknown". */
static void cpu_name(char *out, size_t room) {
    snprintf(out, room, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[512];
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, room, "%s", colon + 1 + (colon[1] == ' '));
        break;
    }
    fclose(f);
}

void cli__print_version(FILE *out) {
    fprintf(out, "%s\nlibraries:", cli_version());
    if (tjInitDecompress)
        fprintf(out, " TurboJPEG");
    if (png_get_libpng_ver)
        fprintf(out, " libpng/%s", png_get_libpng_ver(NULL));
    if (WebPGetDecoderVersion) {
        int v = WebPGetDecoderVersion();
        fprintf(out, " libwebp/%d.%d.%d", v >> 16, v >> 8 & 255, v & 255);
    }
    if (archive_version_string)
        fprintf(out, " %s", archive_version_string());
    if (cJSON_Version)
        fprintf(out, " cJSON/%s", cJSON_Version());
    if (mdb_version) {
        int major, minor, patch;
        mdb_version(&major, &minor, &patch);
        fprintf(out, " LMDB/%d.%d.%d", major, minor, patch);
    }
    if (face_models_open) {
#ifdef DLIB_MAJOR_VERSION
        fprintf(out, " dlib/%d.%d", DLIB_MAJOR_VERSION, DLIB_MINOR_VERSION);
#else
        fprintf(out, " dlib");
#endif
    }
    if (dnnl_version)
        fprintf(out, " oneDNN/%d.%d.%d", dnnl_version()->major, dnnl_version()->minor, dnnl_version()->patch);
    if (openblas_get_config)
        fprintf(out, " %s", openblas_get_config());
    char cpu[256];
    cpu_name(cpu, sizeof cpu);
    fprintf(out, "\nCPU: %s, %ld processors", cpu, cli_processors());
#if defined(__x86_64__)
    __builtin_cpu_init();
    fprintf(out, "%s%s%s", __builtin_cpu_supports("avx2") ? ", avx2" : "", __builtin_cpu_supports("fma") ? ", fma" : "",
            __builtin_cpu_supports("avx512f") ? ", avx512" : "");
#endif
    fputc('\n', out);
    if (device_print_version)
        device_print_version(out);
    fprintf(out, "compiler: gcc %s\n", __VERSION__);
}
