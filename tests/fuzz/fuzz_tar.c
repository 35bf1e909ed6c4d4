/* fuzz_tar.c - the sample reader: any bytes end in ST_END or ST_FAIL, and every sample handed out can be written again. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/stream/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int in = -1, out = -1;
    if (in < 0) {
        in = memfd_create("fuzz", MFD_CLOEXEC);
        out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    check(ftruncate(in, 0) == 0 && pwrite(in, data, size, 0) == (ssize_t)size && lseek(in, 0, SEEK_SET) == 0);
    struct sample_reader *r;
    struct sample_writer *w;
    struct sample s = {0};
    struct error e = {""}, ignored;
    enum status st;
    check(sample_reader_open(&r, in, "fuzz", &e) == ST_OK && sample_writer_open(&w, out, &e) == ST_OK);
    while ((st = sample_read(r, &s, &e)) == ST_OK || st == ST_BAD) {
        check(st == ST_OK || *e.text);
        if (st == ST_BAD)
            continue;
        check(*s.key && *s.key != '/' && strlen(s.key) < SAMPLE_KEY_MAX && s.n_extras <= SAMPLE_EXTRAS_MAX);
        check((s.format == IMAGE_UNKNOWN) == (s.picture.size == 0 && !s.picture.data) || s.format != IMAGE_UNKNOWN);
        sample_add_step(&s, "fuzz", NULL);
        check(sample_write(w, &s, &ignored) == ST_OK);
    }
    check(st == ST_END || (st == ST_FAIL && *e.text));
    check(sample_read(r, &s, &ignored) == st);
    sample_free(&s);
    sample_reader_close(r);
    check(sample_writer_close(w, &ignored) == ST_OK);
    return 0;
}
