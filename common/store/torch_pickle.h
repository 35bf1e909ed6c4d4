/* torch_pickle.h - reading what torch.save and NVIDIA's StyleGAN programs write, without executing anything.
 *
 * A pickle is a program for a stack machine that may call any function it names. This reader runs the part of that machine that
 * builds data (numbers, text, tuples, lists, dictionaries) and knows a fixed list of constructors (the table in pickle_make.c):
 * OrderedDict and its likes, tensors and storages of PyTorch, numbers and arrays of NumPy, modules of NVIDIA's programs. Any other
 * name is refused with that name in the message, as are opcodes that no tensor file needs. Nothing is imported, looked up or called.
 *
 * Three layouts are read, told apart by their bytes: torch.save's zip archive, its legacy form (before PyTorch 1.6: five pickles,
 * then the storages one after another), and a plain pickle of protocol 2 to 5 as stylegan2-ada-pytorch and stylegan3 write (.pkl).
 * Such a file is a dictionary of modules; a module is recorded as its class's name, its class's source code (text that nobody
 * reads) and its attributes, and each storage lies inside as the bytes of a legacy file. Values a file may make and the bytes it
 * may occupy are bounded by the size of the file itself: a storage must lie inside it, a tensor inside its storage. Files are
 * little-endian.
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
    TORCH_TUPLE, TORCH_LIST, TORCH_DICT, TORCH_TENSOR,
    TORCH_OBJECT /* a module of NVIDIA's programs: a dictionary of its attributes */
};

/* One value of the pickled object. Containers may refer to one value many times, even to themselves: a walk over them has to
 * bound its depth. Owned by the file. */
struct torch_value {
    int type;                   /* enum torch_type; anything larger is the reader's own: skip it */
    int64_t integer;            /* TORCH_BOOL, TORCH_INT (saturated when it has more than 64 bits) */
    double number;              /* TORCH_FLOAT */
    const char *text;           /* TORCH_TEXT: NUL-terminated copy of n bytes; TORCH_BYTES: n bytes; TORCH_OBJECT: class name */
    int64_t n;                  /* bytes of text; items of a tuple or list (a set is a list); pairs of a dictionary or object */
    struct torch_value **item;  /* n items; for a dictionary or object key, value, key, value ... */
    struct st_tensor *tensor;   /* TORCH_TENSOR: contiguous; its name is "", see torch_at */
};

struct torch_file;

/* ST_BAD when the content is not such a file or asks for something refused, ST_FAIL when it cannot be read. */
enum status torch_open(struct torch_file **f, const char *path, struct error *e);
/* The same from memory, which must outlive *f. */
enum status torch_parse(struct torch_file **f, const void *bytes, uint64_t size, const char *name, struct error *e);
void torch_close(struct torch_file *f); /* NULL is fine */
/* True when the first bytes look like one of the layouts: for choosing a reader. */
bool torch_detect(const void *bytes, uint64_t size);

const struct torch_value *torch_root(const struct torch_file *f); /* the pickled object itself */

const struct torch_value *torch_item(const struct torch_value *dict, const char *key); /* NULL when absent, or dict is no dictionary */
/* The module of that name below `from` ("synthesis.b4.conv1"), or NULL; "" is `from` itself. */
const struct torch_value *torch_module(const struct torch_value *from, const char *name);

/* All tensors found under dictionaries with text keys, in the order of the file; lists and tuples count as keys "0", "1", ... The
 * parameters, buffers and submodules of a module are named as in its state_dict ("G_ema.synthesis.b4.const"). */
int torch_count(const struct torch_file *f);
const struct st_tensor *torch_at(const struct torch_file *f, int i);
const struct st_tensor *torch_find(const struct torch_file *f, const char *name); /* NULL when absent */

#endif
