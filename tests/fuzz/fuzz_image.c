/* fuzz_image.c - picture decoders: whatever the bytes, a picture of the size its header says, or one line of error. */
#include <stdlib.h>
#include <string.h>

#include "common/image/image.h"

#define PIXELS_MAX (1 << 20) /* larger claims are within our limits but would make the run slow */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct image_info info;
    struct error e = {""};
    struct image im;
    enum status st = image_probe(data, size, &info, &e);
    check(st == ST_OK || (st == ST_BAD && *e.text));
    check(*image_looks_like(data, size));
    if (st || (long long)info.width * info.height > PIXELS_MAX)
        return 0;
    check(info.orientation >= 1 && info.orientation <= 8 && info.width > 0 && info.height > 0);
    *e.text = '\0';
    st = image_decode(data, size, 0, &im, &e);
    check(st == ST_OK ? im.width == info.width && im.height == info.height && im.channels == info.channels
                      : st == ST_BAD && *e.text && !im.data);
    if (st)
        return 0;
    uint8_t sum = 0; /* every byte must be there to be read */
    for (size_t i = 0; i < (size_t)im.width * (size_t)im.height * (size_t)im.channels; i++)
        sum ^= im.data[i];
    volatile uint8_t keep = sum;
    (void)keep;
    image_orient(&im, info.orientation);
    image_to_channels(&im, 3);
    image_free(&im);
    double scale;
    if (!image_decode_scaled(data, size, 1, 16, &im, &scale, &e)) {
        check(im.channels == 1 && scale > 0 && scale <= 1);
        image_free(&im);
    }
    return 0;
}
