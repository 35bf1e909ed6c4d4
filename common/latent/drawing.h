/* drawing.h - a latent input drawn by a generator, batch by batch: pictures one by one, or a labelled table. On the way the w+ that are
 * drawn can be saved: float32 [N,num_ws,w] after truncation, one .npy array for each array of the input (for all seeds, for a table).
 *
 *     struct drawing *d;
 *     drawing_open(&d, &(struct drawing_options){.generator = g, .config = c, .batch = 16, .class_number = -1}, &e);
 *     drawing_pictures(d, in, false, put, context, &e);     // or drawing_sources, then drawing_table
 *     drawing_close(d, true, &e);
 *
 * Memory is that of three batches. Functions return ST_BAD for what the caller asked for and cannot have, ST_FAIL for everything that
 * went wrong; the text names the file. The network's pictures are u8 [res,res,C].
 */
#ifndef FACEMILL_LATENT_DRAWING_H
#define FACEMILL_LATENT_DRAWING_H

#include "common/latent/input.h"
#include "common/latent/table.h"
#include "common/stylegan2/generator.h"

struct drawing_options {
    struct sg2_generator *generator;
    const struct sg2_config *config; /* of its network; both must live on */
    int batch;                       /* pictures at a time; at least those of the input's batches */
    int class_number;                /* of every picture; -1: none, and z of a network with classes are refused */
    const char *save_w;              /* file for the w+, or NULL; must live on */
    void (*tick)(int64_t n, void *data); /* n more pictures are drawn */
    void *data;
};

struct drawing;
/* ST_FAIL when save_w cannot be made. */
enum status drawing_open(struct drawing **d, const struct drawing_options *o, struct error *e);

/* Takes a picture, whose pixels are borrowed for the call, and its seed or place in the input. */
typedef enum status drawing_put_fn(void *context, const struct image *picture, uint64_t name, struct error *e);
/* Draws all of the input in its order. While a GPU draws a batch, `put` is called for the one before and the next is read: 25 microseconds a
 * picture of 128x128, where drawing takes 80. live: the next rows may be long in coming, so each batch is put as soon as it is drawn.
 * ST_BAD: z without the class that the network needs. What `put` returns ends it as ST_FAIL. */
enum status drawing_pictures(struct drawing *d, struct latent_input *in, bool live, drawing_put_fn *put, void *context, struct error *e);

/* Appends all of the input to a table's rows or columns, as w+, truncated as the generator truncates. ST_BAD as above. */
enum status drawing_sources(struct drawing *d, struct latent_input *in, struct table_sources *s, struct error *e);
/* Draws a table on a sheet whose tile size is not yet set; sheet_free afterwards. ST_BAD when the sheet would be too large. */
enum status drawing_table(struct drawing *d, const struct latent_table *t, struct sheet *s, struct error *e);

/* keep: save_w gets its name; else nothing remains of it. Frees d either way; NULL is fine. */
enum status drawing_close(struct drawing *d, bool keep, struct error *e);

#endif
