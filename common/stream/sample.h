/* sample.h - the sample stream: a POSIX tar stream in the WebDataset convention (DESIGN section 3).
 *
 * A sample is a run of members with one key, the member's path up to the first dot of its base name:
 *     00000.ppm  00000.json
 * The picture is one of .ppm .pgm .png .jpg .jpeg .webp (told by magic bytes); .json is an object; .cls is a decimal label.
 * Other members pass through untouched. Written in pax/ustar form by libarchive, so tar, split and WebDataset read it.
 *
 * Reading: dots in folder names belong to the key ("v1.2/a.jpg" has the key "v1.2/a"), a leading "./" does not. Folders and hidden
 * files (base name begins with a dot: file managers' own) are no samples. Streams one behind the other (cat a.tar b.tar) are
 * one stream. A stream that stops without its end mark is ST_FAIL even between two members: its writer was killed; the sample
 * it stops in is not handed out. JSON passes untouched except that numbers are doubles (15 to 17 digits; integers up to 2^53)
 * and that bytes that are no UTF-8 become U+FFFD.
 *
 *     struct sample_reader *r; struct sample s = {0};
 *     sample_reader_open(&r, 0, "stdin", &e);
 *     while ((st = sample_read(r, &s, &e)) != ST_END) {
 *         if (st == ST_FAIL) ...; if (st == ST_BAD) { reject(s.key, e.text); continue; }
 *         ...
 *     }
 *     sample_free(&s); sample_reader_close(r);
 */
#ifndef FACEMILL_SAMPLE_H
#define FACEMILL_SAMPLE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "common/base/mem.h"
#include "common/base/status.h"
#include "common/image/image.h"

#define SAMPLE_KEY_MAX 512
#define SAMPLE_JSON_MAX ((size_t)16 << 20) /* bytes of one JSON member */
#define SAMPLE_EXTRAS_MAX 64               /* other members of one sample */

struct sample_member {
    char *suffix;       /* without the key, with the dot: ".txt"; owned */
    struct bytes bytes; /* owned */
};

struct sample {
    char key[SAMPLE_KEY_MAX];  /* never empty, no leading '/', no ".." component */
    enum image_format format;  /* IMAGE_UNKNOWN: no picture member */
    struct bytes picture;      /* encoded bytes as they stood in the stream */
    cJSON *json;               /* object, or NULL when there was no .json member; owned */
    struct sample_member *extras; /* owned array */
    int n_extras;
};

void sample_free(struct sample *s); /* leaves {0} */

/* The sample's JSON object, made empty when there is none. Owned by the sample. */
cJSON *sample_json(struct sample *s);
/* Appends to the "steps" array: {"tool": name, "version": ..., ...fields}. Takes ownership of fields (an object or NULL). */
void sample_add_step(struct sample *s, const char *tool, cJSON *fields);
/* Encodes and puts in place of the current picture. */
enum status sample_set_picture(struct sample *s, const struct image *im, enum image_format format, int quality, struct error *e);

struct sample_reader;
/* From a file descriptor, not closed by the reader. name is for messages. Reads tar (ustar, pax, GNU), also gzip- or
 * zstd-compressed. */
enum status sample_reader_open(struct sample_reader **r, int fd, const char *name, struct error *e);
/* Next sample into *s, which is freed first. ST_END at the end of the stream. ST_BAD: this sample is unusable (key is set, reading
 * can go on): a member twice, two pictures, a link, a broken or huge JSON, a key that is absolute or leads out (..). ST_FAIL: the
 * stream is broken (damaged or truncated tar). Empty input is ST_FAIL "no tar stream". */
enum status sample_read(struct sample_reader *r, struct sample *s, struct error *e);
void sample_reader_close(struct sample_reader *r);

struct sample_writer;
/* To a file descriptor, not closed by the writer. Member times are 0 and owners empty, so equal samples give equal bytes. */
enum status sample_writer_open(struct sample_writer **w, int fd, struct error *e);
enum status sample_write(struct sample_writer *w, const struct sample *s, struct error *e);
/* Writes the end-of-archive mark; must be called for a whole stream. Frees w either way. */
enum status sample_writer_close(struct sample_writer *w, struct error *e);
/* Frees w without the mark: the stream is not whole, and its reader is to know. NULL is fine. */
void sample_writer_cancel(struct sample_writer *w);

/* As files DIR/KEY.suffix (pictures re-encoded as `format` unless IMAGE_UNKNOWN = as they are), each written atomically. */
enum status sample_write_folder(const char *dir, const struct sample *s, enum image_format format, int quality, struct error *e);

#endif
