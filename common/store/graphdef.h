/* graphdef.h - reading the constants of a frozen TensorFlow graph (a GraphDef in Protocol Buffers' wire format), executing nothing.
 *
 * Two kinds of node are kept: Const with a float32 value, and BatchNormWithGlobalNormalization, whose two attributes say how the
 * constants beside it are meant. Everything else is walked over: a graph is no program here. What a file may make this reader do is
 * bounded by the file: values stay where they are in it and must lie inside it whole (a short value that TensorFlow would repeat
 * is not kept), nesting is that of the format and no deeper, and more nodes than GRAPHDEF_MAX_NODES are refused.
 *
 *     struct graphdef *g;
 *     if (graphdef_open(&g, "classify_image_graph_def.pb", &e) != ST_OK) ...
 *     const struct st_tensor *t = graphdef_find(g, "conv/conv2d_params");     // [3,3,3,32], height, width, in, out
 *     graphdef_close(g);
 */
#ifndef FACEMILL_GRAPHDEF_H
#define FACEMILL_GRAPHDEF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/store/safetensors.h"

#define GRAPHDEF_MAX_NODES 100000

struct graphdef;

/* ST_BAD when the content is no GraphDef, damaged or over the limits, ST_FAIL when it cannot be read. */
enum status graphdef_open(struct graphdef **g, const char *path, struct error *e);
/* The same from memory, which must outlive *g. */
enum status graphdef_parse(struct graphdef **g, const void *bytes, uint64_t size, const char *name, struct error *e);
void graphdef_close(struct graphdef *g); /* NULL is fine */
/* True when the first bytes look like a GraphDef's: for choosing a reader. */
bool graphdef_detect(const void *bytes, uint64_t size);

int graphdef_count(const struct graphdef *g); /* float constants, sorted by name */
const struct st_tensor *graphdef_at(const struct graphdef *g, int i);
const struct st_tensor *graphdef_find(const struct graphdef *g, const char *name); /* NULL when absent */
/* Attributes of the batch normalisation NAME: what is added to the variance, and whether gamma is applied. False when there is
 * no such node. */
bool graphdef_batchnorm(const struct graphdef *g, const char *name, float *epsilon, bool *scaled);

#endif
