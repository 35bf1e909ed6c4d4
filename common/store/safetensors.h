/* safetensors.h - named tensors in one file that executes nothing when opened.
 *
 * Layout: 8-byte little-endian length of the header, JSON header {"name":{"dtype":"F32","shape":[..],"data_offsets":[b,e]}, ...,
 * "__metadata__":{"key":"text"}}, then raw little-endian data. Reading maps the file; every offset, shape product and overlap is
 * checked on opening, so a pointer handed out is always good for its whole tensor.
 */
#ifndef FACEMILL_SAFETENSORS_H
#define FACEMILL_SAFETENSORS_H

#include <stdint.h>

#include "common/base/dtype.h"
#include "common/base/status.h"

#define ST_MAX_DIM 8
#define ST_MAX_HEADER ((uint64_t)100 << 20)

struct st_tensor {
    const char *name;
    enum dtype dtype;
    int ndim;
    int64_t dim[ST_MAX_DIM];
    int64_t count;    /* elements */
    const void *data; /* inside the mapping; aligned for its type only if the writer did so: copy with memcpy or st_to_f32 */
};

struct safetensors;

/* Opens and checks. ST_BAD when the content is wrong, ST_FAIL when the file cannot be read. */
enum status safetensors_open(struct safetensors **s, const char *path, struct error *e);
/* The same from memory, which must outlive *s. */
enum status safetensors_parse(struct safetensors **s, const void *bytes, uint64_t size, const char *name, struct error *e);
void safetensors_close(struct safetensors *s); /* NULL is fine */

int safetensors_count(const struct safetensors *s);
const struct st_tensor *safetensors_at(const struct safetensors *s, int i); /* in the order of the data; owned by s */
const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name); /* NULL when absent; log n */
const char *safetensors_metadata(const struct safetensors *s, const char *key); /* NULL when absent; owned by s */

/* Copies with conversion from F16, BF16, F32, F64, U8, I32, I64 to float. */
void st_to_f32(const struct st_tensor *t, float *out);

/* Writing: describe all tensors, then one call writes PATH atomically (temporary name, fsync, rename). */
struct st_entry {
    const char *name;
    enum dtype dtype;
    int ndim;
    int64_t dim[ST_MAX_DIM];
    const void *data;
};
struct st_meta {
    const char *key, *value;
};
enum status safetensors_write(const char *path, const struct st_entry *tensors, int n, const struct st_meta *meta, int n_meta,
                              struct error *e);

#endif
