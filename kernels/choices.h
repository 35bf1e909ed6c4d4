/* choices.h - what was found by measuring, remembered: which algorithm serves a convolution or a product on this device.
 *
 *     struct choices *m = choices_open(version, device);     what the file knows; version: of the library that does the work
 *     choices_recall(m, key, &c) || (measure, choices_remember(m, key, &c));
 *     choices_close(m);
 *
 * The file is $XDG_CACHE_HOME/facemill/cudnn-VERSION-DEVICE-FORMAT.txt (~/.cache by default), one line a choice; it is rewritten under
 * a temporary name and renamed. Where it cannot be read or written everything is measured at every start, which is all that is lost. A
 * line that is damaged or cut off counts for nothing. One that is well-formed and wrong is for the caller to notice: a choice is a wish, not
 * a fact. Left out: locking; of two programs that measure at once the later one's file stays.
 */
#ifndef FACEMILL_KERNELS_CHOICES_H
#define FACEMILL_KERNELS_CHOICES_H

#include <stdbool.h>

#define CHOICE_PLAN 128
#define CHOICE_KEY 160
/* All fields are 0..1000; plan is one word, or "" where there is none. */
struct choice {
    int method, algo, math;
    char plan[CHOICE_PLAN];
};

struct choices;
struct choices *choices_open(long version, const char *device); /* never NULL */
/* key: one line, shorter than CHOICE_KEY, that says everything the choice depends on but device and version. */
bool choices_recall(const struct choices *m, const char *key, struct choice *found);
void choices_remember(struct choices *m, const char *key, const struct choice *choice);
/* Different plans of keys that begin with `prefix`, the newest first: what won for similar work. Returns how many, at most `most`; they
 * live until the next choices_remember. */
int choices_plans(const struct choices *m, const char *prefix, int most, const char **plans);
void choices_close(struct choices *m); /* NULL is fine */

#endif
