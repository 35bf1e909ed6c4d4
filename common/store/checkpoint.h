/* checkpoint.h - networks and training states in files.
 *
 * They are written as safetensors; networks are read from what tensor_file.h reads: safetensors, NVIDIA's .pkl, rosinality's .pt.
 * Two kinds of file, told apart by what they hold:
 *   network     G_ema only, for generation: "G_ema.synthesis.b4.const" ... Also accepted: the prefix "G." or none at all, as
 *               a state dict of NVIDIA's PyTorch networks saves it.
 *   checkpoint  the whole state of a trainer, for exact resume: G, D, G_ema, both Adam states, counters (trainer_items), and
 *               "sampler.position".
 * __metadata__ holds text: "format" (facemill-network or facemill-checkpoint), "version", "program", "config" (JSON of
 * sg2_config), "trainer" (JSON of trainer_config, checkpoints only), "data" (JSON: what it was trained on), "images". There are
 * no times and no paths in it: equal states are equal bytes. Files are written to a temporary name, synced, renamed.
 *
 * Reading trusts nothing: the sizes of the network are worked out from the shapes of its tensors, and a configuration in the
 * metadata must agree with them; only what shapes cannot tell (clamp, minibatch group) is taken from it, or from the attributes of
 * NVIDIA's modules.
 */
#ifndef FACEMILL_CHECKPOINT_H
#define FACEMILL_CHECKPOINT_H

#include "common/store/safetensors.h"
#include "common/store/tensor_file.h"
#include "common/stylegan2/network.h"
#include "common/stylegan2/trainer.h"

/* ---- writing ---- */
/* tc: what the trainer was made with. data: JSON text put into the metadata, or NULL. */
enum status checkpoint_write(const char *path, struct trainer *t, const struct trainer_config *tc, int64_t sampler_position,
                             const char *data, struct error *e);
/* images: how many the trainer had shown. */
enum status checkpoint_write_network(const char *path, const struct sg2_net *g, int64_t images, const char *data,
                                     struct error *e);

/* ---- reading ---- */
struct checkpoint;
/* ST_BAD when the file holds no StyleGAN2 generator we can run, with the reason; the path is in the message. */
enum status checkpoint_open(struct checkpoint **c, const char *path, struct error *e);
/* The same for a file in memory, which must outlive *c. */
enum status checkpoint_parse(struct checkpoint **c, const void *bytes, uint64_t size, const char *name, struct error *e);
void checkpoint_close(struct checkpoint *c); /* NULL is fine */

const struct sg2_config *checkpoint_config(const struct checkpoint *c);
bool checkpoint_is_full(const struct checkpoint *c);               /* has a trainer's state */
int64_t checkpoint_images(const struct checkpoint *c);             /* -1 when the file does not say */
const char *checkpoint_metadata(const struct checkpoint *c, const char *key); /* text or NULL; owned by c */

/* The tensors of the file, under NVIDIA's names; those of the generator that is used begin with the prefix ("G_ema.", "G." or ""). */
const struct tensor_file *checkpoint_tensors(const struct checkpoint *c);
const char *checkpoint_prefix(const struct checkpoint *c);

/* A generator with the file's weights (G_ema where there is one). What other programs leave out is filled in: the resampling filter,
 * which is the same in every StyleGAN2, and, from rosinality's layout, the mean of w and the noise inputs. The caller frees it. */
enum status checkpoint_generator(const struct checkpoint *c, struct device *d, struct sg2_net **g, struct error *e);

/* The discriminator of a checkpoint; ST_END when the file has none. */
enum status checkpoint_discriminator(const struct checkpoint *c, struct device *dev, struct sg2_net **d, struct error *e);

/* Exact resume: every item of the trainer, with its type and shape, and the sampler position. ST_BAD names the first that is
 * missing or different; the trainer is then unchanged. */
enum status checkpoint_restore(const struct checkpoint *c, struct trainer *t, int64_t *sampler_position, struct error *e);

/* Transfer: networks only, tensor by tensor, whatever fits. What does not keeps its present value. Where the file has no G
 * (or G_ema), the other one is taken. report is called for every tensor of G, D and G_ema. */
enum transfer { TRANSFER_COPIED, TRANSFER_SHAPE, TRANSFER_MISSING };
typedef void transfer_report(void *context, const char *name, enum transfer what, const char *detail);
void checkpoint_transfer(const struct checkpoint *c, struct trainer *t, transfer_report *report, void *context);

#endif
