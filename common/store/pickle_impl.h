/* pickle_impl.h - what pickle_machine.c (opcodes, stack, memo) and pickle_make.c (the constructors) share. */
#ifndef FACEMILL_PICKLE_IMPL_H
#define FACEMILL_PICKLE_IMPL_H

#include "common/base/mem.h"
#include "common/store/pickle_machine.h"

/* torch_value types that never leave. A name, a storage (integer = its number), a NumPy type (integer = enum dtype or -1), a
 * NumPy array that has not been told its contents. */
enum { PICKLE_MARK = 100, PICKLE_GLOBAL, PICKLE_STORAGE, PICKLE_DTYPE, PICKLE_ARRAY };

#define PICKLE_MAX_STORAGES 8192 /* a power of two; a training state of the largest networks has about 1,500 */
#define PICKLE_RECORD 1 /* `integer` of a dictionary whose attributes are items (argparse.Namespace) */

struct pickle {
    uint64_t file_size;
    pickle_blob_reader *read_blob; /* NULL inside such a blob */
    void *context;
    const uint8_t *at, *end, *start;
    struct error *e;
    struct torch_value **stack;
    int64_t depth, stack_room;
    struct torch_value **memo;
    int64_t memo_size, memo_next;
    struct torch_value **values; /* all ever made, for freeing */
    int64_t n_values;
    int64_t items;   /* room given to containers so far */
    uint64_t blobs;  /* bytes of files inside the file that were read */
    uint64_t encoded; /* bytes made of text */
    struct pickle_storage **storages;
    int n_storages;
    int *slots; /* hash table of the storages with keys: number + 1, or 0 */
    struct pickle_tensor **tensors;
    int n_tensors;
    char **chunks; /* text, in runs of CHUNK bytes or one longer text each */
    int n_chunks;
    size_t chunk_left;
    char *chunk_at;
};

/* Failing: the first message stands; every helper returns false or NULL. */
__attribute__((format(printf, 2, 3))) bool pickle_refuse(struct pickle *p, const char *format, ...);

void *pickle_grow(void *array, int64_t n, size_t size); /* room for one more than n; doubles */
struct torch_value *pickle_make(struct pickle *p, int type);
bool pickle_push(struct pickle *p, struct torch_value *v);
bool pickle_push_int(struct pickle *p, int type, int64_t integer);
struct torch_value *pickle_pop(struct pickle *p);
/* Appends n pointers to a container's item array of `used` entries. */
bool pickle_put_items(struct pickle *p, struct torch_value *c, int64_t used, struct torch_value **from, int64_t n);

/* pickle_make.c */
bool pickle_push_global(struct pickle *p, const char *module, const char *name); /* GLOBAL, STACK_GLOBAL */
bool pickle_construct(struct pickle *p);                                         /* REDUCE, NEWOBJ */
bool pickle_build(struct pickle *p);                                             /* BUILD */
bool pickle_persistent(struct pickle *p);                                        /* BINPERSID */

#endif
