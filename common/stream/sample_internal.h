/* sample_internal.h - shared by the reader and the writer of sample streams. */
#ifndef FACEMILL_SAMPLE_INTERNAL_H
#define FACEMILL_SAMPLE_INTERNAL_H

#include <cjson/cJSON.h>

/* NULL when the key may stand in a stream and name a file below a folder, else what is wrong with it. */
const char *sample__key_problem(const char *key);

/* Compact and in UTF-8 whatever the strings hold. Caller frees. */
char *sample__json_text(const cJSON *json);

/* Asks for a pipe buffer of 1 MiB, so that stages with uneven steps wait less for each other; anything but a pipe is left alone. */
void sample__widen_pipe(int fd);

#endif
