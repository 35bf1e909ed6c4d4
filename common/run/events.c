/* events.c - see events.h. A few hundred bytes a tick: nothing here needs to be fast. */
#include "common/run/events.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

#define RECORD_MAX (1 << 20) /* ours are below 2 kB; a larger length means damage */

struct events {
    FILE *file;
    char *path;
};

uint32_t crc32c(const void *data, size_t size) {
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0); /* the Castagnoli polynomial, reflected */
    }
    return ~crc;
}

uint32_t crc32c_masked(const void *data, size_t size) {
    uint32_t crc = crc32c(data, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- protobuf: fields are (number << 3 | wire type), then a varint (0), 8 bytes (1), length and bytes (2) or 4 bytes (5) ---- */
static void put_varint(struct bytes *b, uint64_t v) {
    for (; v >= 128; v >>= 7)
        bytes_append(b, &(uint8_t){(uint8_t)(v | 128)}, 1);
    bytes_append(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_fixed(struct bytes *b, int field, const void *value, size_t size) { /* little-endian host, as everywhere here */
    put_varint(b, (uint64_t)field << 3 | (size == 8 ? 1 : 5));
    bytes_append(b, value, size);
}

static void put_bytes(struct bytes *b, int field, const void *data, size_t size) {
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, size);
    bytes_append(b, data, size);
}

static enum status put_record(struct events *v, const struct bytes *data, struct error *e) {
    uint64_t length = data->size;
    uint32_t head = crc32c_masked(&length, sizeof length), tail = crc32c_masked(data->data, data->size);
    if (fwrite(&length, sizeof length, 1, v->file) != 1 || fwrite(&head, sizeof head, 1, v->file) != 1 ||
        fwrite(data->data, 1, data->size, v->file) != data->size || fwrite(&tail, sizeof tail, 1, v->file) != 1 ||
        fflush(v->file) != 0)
        return st_fail(e, "write %s: %s", v->path, strerror(errno));
    return ST_OK;
}

/* Bytes up to the end of the last record to keep: the version record and `keep` more. */
static long good_bytes(FILE *f, int64_t keep) {
    long good = 0;
    uint8_t *data = xmalloc(RECORD_MAX);
    for (int64_t n = 0; n < keep + 1; n++) {
        uint64_t length;
        uint32_t head, tail;
        if (fread(&length, sizeof length, 1, f) != 1 || fread(&head, sizeof head, 1, f) != 1 ||
            head != crc32c_masked(&length, sizeof length) || length > RECORD_MAX || fread(data, 1, length, f) != length ||
            fread(&tail, sizeof tail, 1, f) != 1 || tail != crc32c_masked(data, length))
            break;
        good = ftell(f);
    }
    free(data);
    return good;
}

enum status events_open(struct events **out, const char *path, int64_t keep, struct error *e) {
    *out = NULL;
    struct events *v = xcalloc(1, sizeof *v);
    v->path = xstrdup(path);
    struct bytes b = {0};
    enum status st = ST_OK;
    long good = 0;
    v->file = fopen(path, keep > 0 ? "r+b" : "w+b");
    if (!v->file && keep > 0 && errno == ENOENT)
        v->file = fopen(path, "w+b");
    if (!v->file) {
        st = st_fail(e, "open %s: %s", path, strerror(errno));
        goto done;
    }
    if (keep > 0)
        good = good_bytes(v->file, keep);
    if (fseek(v->file, good, SEEK_SET) != 0 || ftruncate(fileno(v->file), good) != 0) {
        st = st_fail(e, "cut back %s: %s", path, strerror(errno));
        goto done;
    }
    if (good == 0) {
        double zero = 0;
        put_fixed(&b, 1, &zero, sizeof zero);
        put_bytes(&b, 3, "brain.Event:2", 13);
        st = put_record(v, &b, e);
    }
done:
    bytes_free(&b);
    if (st != ST_OK)
        events_close(v, NULL);
    else
        *out = v;
    return st;
}

enum status events_write(struct events *v, double wall_time, int64_t step, const struct event_scalar *scalars, int n,
                         struct error *e) {
    struct bytes event = {0}, summary = {0}, value = {0};
    for (int i = 0; i < n; i++) {
        float f = (float)scalars[i].value;
        if (isnan(f))
            continue;
        value.size = 0;
        put_bytes(&value, 1, scalars[i].tag, strlen(scalars[i].tag));
        put_fixed(&value, 2, &f, sizeof f);
        put_bytes(&summary, 1, value.data, value.size);
    }
    put_fixed(&event, 1, &wall_time, sizeof wall_time);
    put_varint(&event, 2 << 3 | 0);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, summary.data, summary.size);
    enum status st = put_record(v, &event, e);
    bytes_free(&event);
    bytes_free(&summary);
    bytes_free(&value);
    return st;
}

enum status events_close(struct events *v, struct error *e) {
    if (!v)
        return ST_OK;
    enum status st = ST_OK;
    if (v->file && fclose(v->file) != 0)
        st = st_fail(e, "write %s: %s", v->path, strerror(errno));
    free(v->path);
    free(v);
    return st;
}
