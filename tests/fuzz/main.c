/* main.c - drives a fuzz target without a fuzzer: every file of a corpus folder as it is, then N mutations of each, from a fixed
 * seed, so that a plain sanitizer build runs the same inputs everywhere.
 *
 *     fuzz_NAME CORPUS [N]        N mutations a file, 400 unless told; prints how many inputs ran
 *     fuzz_NAME FILE              that one input, to look into a finding
 *
 * A finding ends the program by abort() or by the sanitizer, and its input is left in ./fuzz-crash-fuzz_NAME. With clang,
 * -fsanitize=fuzzer takes the place of this file.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes current; /* the input under test */
static char crash_name[256];

/* Leaves the input behind for the report: called by the sanitizers before they end the process, and on abort(). */
static void keep_input(void) {
    FILE *f = fopen(crash_name, "wb");
    if (f) {
        fwrite(current.data, 1, current.size, f);
        fclose(f);
        fprintf(stderr, "the input is in %s\n", crash_name);
    }
}

static void on_abort(int sig) {
    keep_input();
    signal(sig, SIG_DFL);
    raise(sig);
}

extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void run(const void *data, size_t size) {
    uint8_t *copy = xmalloc(size); /* exactly as large, so that reading one byte behind it is seen */
    if (size)
        memcpy(copy, data, size);
    current = (struct bytes){copy, size, size};
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    current = (struct bytes){0};
}

/* xorshift64*: the quality does not matter, being the same everywhere does. */
static uint64_t state = 0x9e3779b97f4a7c15u;
static uint32_t draw(uint32_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return below ? (uint32_t)((state * 0x2545f4914f6cdd1du) >> 32) % below : 0;
}

static const uint32_t interesting[] = {0, 1, 2, 3, 7, 8, 9, 16, 63, 64, 127, 128, 255, 256, 511, 512, 1024, 32767, 32768, 65535, 65536,
                                       0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff};

static void mutate(struct bytes *b, const struct bytes *other) {
    for (int times = 1 + (int)draw(4); times--;) {
        size_t n = b->size, at = draw((uint32_t)n), width = (size_t)1 << draw(3);
        uint32_t value = interesting[draw(sizeof interesting / sizeof *interesting)];
        switch (n ? draw(9) : 7) {
        case 0: b->data[at] ^= (uint8_t)(1u << draw(8)); break;
        case 1: b->data[at] = (uint8_t)draw(256); break;
        case 2: /* a number, little-endian */
            for (size_t i = 0; i < width && at + i < n; i++)
                b->data[at + i] = (uint8_t)(value >> 8 * i);
            break;
        case 3: /* big-endian */
            for (size_t i = 0; i < width && at + i < n; i++)
                b->data[at + i] = (uint8_t)(value >> 8 * (width - 1 - i));
            break;
        case 4: b->size = at; break; /* cut */
        case 5: { /* a piece out */
            size_t length = draw((uint32_t)(n - at) + 1);
            memmove(b->data + at, b->data + at + length, n - at - length);
            b->size -= length;
            break;
        }
        case 6: { /* a piece twice */
            size_t length = draw((uint32_t)(n - at < 4096 ? n - at : 4096) + 1);
            bytes_reserve(b, n + length);
            memmove(b->data + at + length, b->data + at, n - at);
            b->size += length;
            break;
        }
        case 7: /* noise behind */
            for (int i = 0; i < 16; i++)
                bytes_append(b, &(uint8_t){(uint8_t)draw(256)}, 1);
            break;
        case 8: /* another input's bytes over ours */
            if (other->size) {
                size_t from = draw((uint32_t)other->size), length = other->size - from < n - at ? other->size - from : n - at;
                memcpy(b->data + at, other->data + from, draw((uint32_t)length + 1));
            }
            break;
        }
    }
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER|FILE [MUTATIONS]\n", argv[0]);
        return 2;
    }
    const char *slash = strrchr(argv[0], '/');
    snprintf(crash_name, sizeof crash_name, "fuzz-crash-%s", slash ? slash + 1 : argv[0]);
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_input);
    int mutations = argc > 2 ? atoi(argv[2]) : 400, n = 0;
    struct error e;
    struct bytes *files = NULL;
    struct stat st;
    if (!stat(argv[1], &st) && S_ISREG(st.st_mode)) {
        struct bytes b = {0};
        if (file_read(argv[1], IMAGE_MAX_FILE, &b, &e)) {
            fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], e.text);
            return 1;
        }
        run(b.data, b.size);
        bytes_free(&b);
        return 0;
    }
    DIR *dir = opendir(argv[1]);
    if (!dir) {
        fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(errno));
        return 1;
    }
    char **names = NULL;
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            names = xrealloc(names, (size_t)(n + 1) * sizeof *names);
            names[n++] = xasprintf("%s/%s", argv[1], entry->d_name);
        }
    closedir(dir);
    if (!n) {
        fprintf(stderr, "%s: %s: no inputs\n", argv[0], argv[1]);
        return 1;
    }
    qsort(names, (size_t)n, sizeof *names, compare_names);
    files = xcalloc((size_t)n, sizeof *files);
    for (int i = 0; i < n; i++)
        if (file_read(names[i], IMAGE_MAX_FILE, &files[i], &e)) {
            fprintf(stderr, "%s: %s: %s\n", argv[0], names[i], e.text);
            return 1;
        }
    long runs = 1;
    run("", 0);
    for (int i = 0; i < n; i++) {
        run(files[i].data, files[i].size);
        runs++;
        for (int k = 0; k < mutations; k++, runs++) {
            struct bytes b = {0};
            bytes_append(&b, files[i].data, files[i].size);
            mutate(&b, &files[draw((uint32_t)n)]);
            run(b.data, b.size);
            bytes_free(&b);
        }
    }
    printf("%s: %ld inputs from %d files\n", argv[0], runs, n);
    for (int i = 0; i < n; i++) {
        free(names[i]);
        bytes_free(&files[i]);
    }
    free(names);
    free(files);
    return 0;
}
