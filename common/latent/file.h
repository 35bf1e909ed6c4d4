/* file.h - files of latents and directions, opened for the readers of NumPy streams (npy.h, stream.h).
 *
 * A .npy is what it is. Of a NumPy archive (.npz, told by its content), as projectors of other programs write them, it is the array `w`,
 * or the only one there is: unpacked into a temporary file without a name, at most NPY_MAX_BYTES.
 */
#ifndef FACEMILL_LATENT_FILE_H
#define FACEMILL_LATENT_FILE_H

#include <stdio.h>

#include "common/base/status.h"

/* *f: at the beginning of an array stream; the caller closes it. ST_FAIL names the file. */
enum status latent_open(FILE **f, const char *path, struct error *e);

/* Streams as a command line names them: the same, and "-" is standard input, which messages call stdin. */
enum status latent_open_stream(FILE **f, const char *path, struct error *e);
const char *latent_stream_name(const char *path);
void latent_close_stream(FILE *f); /* but not stdin; NULL is fine */

#endif
