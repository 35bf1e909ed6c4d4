/* input.h - samples from whatever a user names: a sample stream (stdin, or a tar file), folders, picture files, and the zip
 * archives of dataset tools (pictures and a dataset.json), and stores, ours or of other programs, whose largest pictures are taken. One after the other, in the order given; folders in the order of
 * their names. Memory: one sample, and what labels.h keeps.
 */
#ifndef FACEMILL_INPUT_H
#define FACEMILL_INPUT_H

#include "common/store/labels.h"
#include "common/stream/sample.h"

enum input_labels {
    INPUT_LABELS_AUTO,  /* the sample's own, or the dataset.json that lies in the folder or zip */
    INPUT_LABELS_NONE,
    INPUT_LABELS_FOLDER, /* name of the first folder below the input; of the input itself for what lies in it directly */
    INPUT_LABELS_TABLE
};
/* "auto", "none", "folder"; anything else is the name of a table's file. */
enum input_labels input_labels_by_name(const char *name);

struct input_item {
    char *source; /* what to call it in messages and in its JSON; owned */
    struct sample sample;
    int label; /* LABEL_NONE when it has none */
    bool file; /* a picture file, of which nobody has written down the SHA-256 yet */
};
void input_item_free(struct input_item *item); /* leaves {0} */

struct input;

/* operands: "-" is a sample stream on stdin. table (for INPUT_LABELS_TABLE) and names (classes known so far; grows by
 * INPUT_LABELS_FOLDER) stay the caller's. */
enum status input_open(struct input **in, char **operands, int n, enum input_labels labels, const struct label_table *table,
                       struct label_names *names, struct error *e);
/* ST_BAD: this one is unusable, item->source says which; ST_FAIL: an input cannot be read (further). */
enum status input_next(struct input *in, struct input_item *item, struct error *e);
int input_close(struct input *in); /* number of folders that could not be read */

#endif
