/* pickle_machine.h - internal to torch_pickle.c: the stack machine that turns pickle opcodes into torch_values. What it accepts and
 * refuses is said in torch_pickle.h. Values, texts, storages and tensors belong to the machine and die with it.
 */
#ifndef FACEMILL_PICKLE_MACHINE_H
#define FACEMILL_PICKLE_MACHINE_H

#include <stddef.h>

#include "common/store/torch_pickle.h"

struct pickle;

/* A storage that some tensor refers to; its owner fills in data, unless it came with the pickle. */
struct pickle_storage {
    char *key;
    enum dtype dtype;
    int64_t count;       /* elements */
    const uint8_t *data; /* NULL until placed */
};

struct pickle_tensor {
    struct pickle_storage *storage;
    int64_t offset, count; /* elements; checked: every element lies inside the storage */
    int ndim;
    int64_t dim[ST_MAX_DIM], stride[ST_MAX_DIM];
    struct torch_value *value; /* of type TORCH_TENSOR; value->tensor is allocated, not filled */
};

/* Reads a whole torch.save file that lies inside the pickle and holds one storage (torch.storage._load_from_bytes): fills in dtype,
 * count and data, which lives at least as long as the machine. */
typedef enum status pickle_blob_reader(void *context, const uint8_t *bytes, uint64_t size, struct pickle_storage *s, struct error *e);

/* file_size bounds what storages may claim. read_blob NULL: this is such a file itself, which may be a bare storage and have no
 * further files inside it. */
struct pickle *pickle_create(uint64_t file_size, pickle_blob_reader *read_blob, void *context);
void pickle_free(struct pickle *p); /* NULL is fine */

/* Runs one pickle, up to and including its STOP. May be called again for a following pickle. Bytes of TORCH_BYTES stay in `bytes`. */
enum status pickle_run(struct pickle *p, const uint8_t *bytes, uint64_t size, const struct torch_value **result, struct error *e);
uint64_t pickle_consumed(const struct pickle *p); /* bytes the last run read */

int pickle_storage_count(const struct pickle *p);
struct pickle_storage *pickle_find_storage(struct pickle *p, const char *key); /* NULL when absent */
struct pickle_storage *pickle_storage_of(struct pickle *p, const struct torch_value *v); /* NULL when v is no bare storage */
int pickle_tensor_count(const struct pickle *p);
struct pickle_tensor *pickle_tensor_at(struct pickle *p, int i);
const char *pickle_keep_text(struct pickle *p, const char *text, size_t n); /* a copy that lives as long as p */

#endif
