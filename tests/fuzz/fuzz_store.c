/* fuzz_store.c - any bytes as the data file of a store: opening, reading and appending end in order. LMDB would crash on most of
 * what is wrong with such a file; lmdb_check.c must have refused it before.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/store/store_tools.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char memory[] = "/dev/shm/fuzz_store.XXXXXX", disk[] = "/tmp/fuzz_store.XXXXXX", *folder; /* syncs cost nothing in memory */
static char file[64], lock[64];

static void clean_up(void) {
    unlink(file);
    unlink(lock);
    rmdir(folder);
}

static void nothing(void *data) { (void)data; }
static void ignore(const char *line, void *data) { (void)line, (void)data; }

static void read_all(void) {
    struct store *s;
    struct error e = {""};
    if (store_open(&s, folder, &e) != ST_OK) {
        if (!*e.text || s)
            abort();
        return;
    }
    struct sample sample = {0};
    if (store_get_meta(s)->length <= 1000) {
        store_check(s, 1, ignore, nothing, NULL);
        for (int64_t i = 0; i < store_get_meta(s)->length; i++)
            store_sample(s, 0, i, &sample, &e);
    }
    sample_free(&sample);
    cJSON_Delete(store_describe(s));
    store_close(s);
}

static void append_one(void) {
    struct store_writer *w;
    struct error e = {""};
    if (store_extend(&w, folder, &e) != ST_OK) {
        if (!*e.text || w)
            abort();
        return;
    }
    struct store_record r = {.label = -1, .key = strdup("new")};
    for (int i = 0; i < store_writer_format(w)->n_sizes; i++)
        bytes_append(&r.picture[i], "P6 1 1 255\nabc", 14);
    store_writer_start_session(w, cJSON_CreateObject());
    if (store_put(w, &r, &e) == ST_OK && store_flush(w, &e) == ST_OK)
        free(store_writer_key(w, store_writer_length(w) - 1));
    store_writer_close(w, true, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*file) {
        folder = mkdtemp(memory);
        if (!folder && !(folder = mkdtemp(disk)))
            abort();
        snprintf(file, sizeof file, "%s/data.mdb", folder);
        snprintf(lock, sizeof lock, "%s/lock.mdb", folder);
        atexit(clean_up);
    }
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    read_all();
    append_one();
    return 0;
}
