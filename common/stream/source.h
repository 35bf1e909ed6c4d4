/* source.h - pictures from wherever a stage is pointed at: files, folders, lists of names, or a sample stream on stdin.
 *
 *     struct sample_source *in; struct sample s = {0}; struct error e;
 *     sample_source_open(&in, argv + first, argc - first, false, &e);
 *     while ((st = sample_source_next(in, &s, &e)) != ST_END) {
 *         if (st == ST_FAIL) ...; if (st == ST_BAD) { reject(s.key, e.text); continue; }
 *         ...
 *     }
 *     sample_free(&s); failed = sample_source_close(in);
 *
 * A file becomes a sample whose picture is the file's bytes, whose JSON is that of NAME.json beside NAME.jpg when there is one
 * (so that a folder written by --out reads back whole), and whose "source" is the path. Its key is the path below the folder
 * operand, or the path as given for single files and lists, without leading "/" and "..", without the suffix, dots of the base
 * name as "_" (in a stream the key ends at the first dot); a key equal to the one before it gets the suffix appended.
 */
#ifndef FACEMILL_SOURCE_H
#define FACEMILL_SOURCE_H

#include "common/stream/sample.h"

struct sample_source;

/* No operands and no list: the stream on stdin (exits with a usage message when that is a terminal). */
enum status sample_source_open(struct sample_source **in, char **operands, int n, bool nul_separated, struct error *e);
/* Next sample into *s, which is freed first. Results as sample_read. */
enum status sample_source_next(struct sample_source *in, struct sample *s, struct error *e);
/* Number of operands or folders that could not be read (each has been reported). */
int sample_source_close(struct sample_source *in);

#endif
