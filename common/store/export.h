/* export.h - networks for other programs: the same tensors as .npz or as PyTorch's .pt in rosinality's layout.
 *
 * All take tensors of float32 under our names, "G_ema.synthesis.b4.const", and write their numbers as float32, or as float16 or
 * bfloat16 rounded to nearest even. A number that is too large for float16 is an error that names its tensor.
 */
#ifndef FACEMILL_EXPORT_H
#define FACEMILL_EXPORT_H

#include "common/base/mem.h"
#include "common/store/safetensors.h"
#include "common/stylegan2/network.h"

/* Appends the numbers of t, times scale, as `dtype` (DT_F32, DT_F16 or DT_BF16). */
enum status export_numbers(const struct st_entry *t, enum dtype dtype, float scale, struct bytes *out, struct error *e);

/* np.load(path)["G_ema.synthesis.b4.const"]; NumPy has no bfloat16. config: JSON text for the array "config". */
enum status export_npz(const char *path, const struct st_entry *t, int n, enum dtype dtype, const char *config, struct error *e);

/* torch.load(path, weights_only=True): {"g_ema": {"input.input": ...}, "g": ..., "d": ..., "latent_avg": the mean of w}, each only where
 * the tensors are there. ST_BAD when the layout cannot express the network: it has no classes, 3 channels, z as large as w. */
enum status export_rosinality(const char *path, const struct st_entry *t, int n, enum dtype dtype, const struct sg2_config *c,
                              struct error *e);

#endif
