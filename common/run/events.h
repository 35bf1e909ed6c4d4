/* events.h - TensorBoard event files: scalars by tag and step, written by hand.
 *
 * The file is a run of TFRecords (u64 length, masked CRC-32C of it, data, masked CRC-32C of the data; little-endian), each an
 * Event protobuf: {1: wall time f64, 2: step i64, 3: file version text | 5: Summary {1: Value {1: tag text, 2: value f32}}}.
 * The first record names the version. One events_write makes one record, whatever the number of scalars, so that a run that
 * goes back to a checkpoint can cut the file by counting records.
 */
#ifndef FACEMILL_EVENTS_H
#define FACEMILL_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct events;

struct event_scalar {
    const char *tag;
    double value; /* NaN: left out */
};

/* Opens or makes PATH and keeps only the first `keep` records of scalars (and whatever precedes a damaged record, if that is
 * less). keep = 0 starts afresh. TensorBoard finds files whose name contains "tfevents". */
enum status events_open(struct events **v, const char *path, int64_t keep, struct error *e);
enum status events_write(struct events *v, double wall_time, int64_t step, const struct event_scalar *scalars, int n,
                         struct error *e);
enum status events_close(struct events *v, struct error *e); /* NULL is fine */

uint32_t crc32c(const void *data, size_t size);
uint32_t crc32c_masked(const void *data, size_t size); /* rotated right by 15, plus 0xa282ead8 */

#endif
