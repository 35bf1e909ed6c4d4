/* tensor_file.h - a file of named tensors whatever its format, told by its content: this is where networks of others become ours.
 *
 *   safetensors        names as they are
 *   torch.save         names as they are, when they are those of NVIDIA's PyTorch networks ("G_ema.synthesis.b4.const")
 *   NVIDIA's .pkl      names of the modules' state dicts, which are the same
 *   torch.save in rosinality's layout ("g_ema", "g", "d", or one network by itself): renamed and reshaped to NVIDIA's, see
 *                      rosinality.h; optimisers and the like are left out
 *
 * Nothing in such a file is executed (torch_pickle.h). Tensors are in memory or in a mapping of the file, owned by the tensor_file.
 */
#ifndef FACEMILL_TENSOR_FILE_H
#define FACEMILL_TENSOR_FILE_H

#include "common/store/safetensors.h"

struct tensor_file;

/* ST_BAD when the content is wrong or is a network that StyleGAN2's code here cannot run, ST_FAIL when it cannot be read. */
enum status tensor_file_open(struct tensor_file **f, const char *path, struct error *e);
/* The same for a file in memory, which must outlive *f. */
enum status tensor_file_parse(struct tensor_file **f, const void *bytes, uint64_t size, const char *name, struct error *e);
void tensor_file_close(struct tensor_file *f); /* NULL is fine */

enum tensor_layout { TENSORS_SAFETENSORS, TENSORS_TORCH, TENSORS_NVIDIA, TENSORS_ROSINALITY };
enum tensor_layout tensor_file_layout(const struct tensor_file *f);
const char *tensor_layout_name(enum tensor_layout layout); /* "NVIDIA pickle" ... */

int tensor_file_count(const struct tensor_file *f);
const struct st_tensor *tensor_file_at(const struct tensor_file *f, int i);
const struct st_tensor *tensor_file_find(const struct tensor_file *f, const char *name);     /* NULL when absent */
const char *tensor_file_metadata(const struct tensor_file *f, const char *key);              /* NULL when absent */

/* What the shapes do not tell and metadata need not: from the attributes of NVIDIA's modules, or what rosinality's code does. */
struct tensor_hints {
    bool known;
    float conv_clamp; /* 0 = none */
    int mbstd_group;  /* 0 = the batch */
};
struct tensor_hints tensor_file_hints(const struct tensor_file *f);

#endif
