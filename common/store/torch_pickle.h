/* torch_pickle.h - reading what torch.save writes, without executing anything.
 *
 * A pickle is a program for a stack machine that may call any function it names. This reader runs the part of that machine that
 * builds data (numbers, text, tuples, lists, dictionaries) and knows a fixed list of constructors: collections.OrderedDict,
 * torch.Size, torch._utils._rebuild_tensor, _rebuild_tensor_v2, _rebuild_parameter, and the torch.*Storage types. Any other name
 * is refused with that name in the message, as are opcodes that no tensor file needs. Nothing is imported, looked up or called.
 *
 * Both layouts are read: the legacy one (before PyTorch 1.6: five pickles, then the storages one after another) and the zip
 * archive. Values a file may make and the bytes it may occupy are bounded by the size of the file itself: a storage must lie
 * inside it, a tensor inside its storage. Files are little-endian.
 *
 *     struct torch_file *f;
 *     if (torch_open(&f, "model.pth", &e) != ST_OK) ...
 *     const struct st_tensor *t = torch_find(f, "fc.weight");          // names of nested dictionaries joined by dots
 *     torch_close(f);
 */
#ifndef FACEMILL_TORCH_PICKLE_H
#define FACEMILL_TORCH_PICKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/store/safetensors.h"

enum torch_type {
    TORCH_NONE, TORCH_BOOL, TORCH_INT, TORCH_FLOAT, TORCH_TEXT, TORCH_BYTES,
    TORCH_TUPLE, TORCH_LIST, TORCH_DICT, TORCH_TENSOR
};

/* One value of the pickled object. Containers may refer to one value many times, even to themselves: a walk over them has to
 * bound its depth. Owned by the file. */
struct torch_value {
    int type;                   /* enum torch_type; anything larger is the reader's own: skip it */
    int64_t integer;            /* TORCH_BOOL, TORCH_INT (saturated when it has more than 64 bits) */
    double number;              /* TORCH_FLOAT */
    const char *text;           /* TORCH_TEXT, TORCH_BYTES: NUL-terminated copy of n bytes */
    int64_t n;                  /* bytes of text; items of a tuple or list; pairs of a dictionary */
    struct torch_value **item;  /* n items; for a dictionary key, value, key, value ... */
    struct st_tensor *tensor;   /* TORCH_TENSOR: contiguous; its name is "", see torch_at */
};

struct torch_file;

/* ST_BAD when the content is not such a file or asks for something refused, ST_FAIL when it cannot be read. */
enum status torch_open(struct torch_file **f, const char *path, struct error *e);
/* The same from memory, which must outlive *f. */
enum status torch_parse(struct torch_file **f, const void *bytes, uint64_t size, const char *name, struct error *e);
void torch_close(struct torch_file *f); /* NULL is fine */
/* True when the first bytes look like torch.save's: for choosing a reader. */
bool torch_detect(const void *bytes, uint64_t size);

const struct torch_value *torch_root(const struct torch_file *f); /* the pickled object itself */

/* All tensors found under dictionaries with text keys, in the order of the file; lists and tuples count as keys "0", "1", ... */
int torch_count(const struct torch_file *f);
const struct st_tensor *torch_at(const struct torch_file *f, int i);
const struct st_tensor *torch_find(const struct torch_file *f, const char *name); /* NULL when absent */

#endif
