/* exif.c - the one number we take from EXIF: the orientation (tag 0x0112 of the first directory).
 *
 * The block is a TIFF file of either byte order whose offsets come from outside: each is compared with the block's end before
 * it is followed, and only one directory is ever read, so no chain can loop.
 */
#include <string.h>

#include "common/image/image_internal.h"

int exif_orientation(const uint8_t *b, size_t n) {
    if (n >= 6 && !memcmp(b, "Exif\0\0", 6))
        b += 6, n -= 6;
    if (n < 14)
        return 1;
    bool little = !memcmp(b, "II*\0", 4);
    if (!little && memcmp(b, "MM\0*", 4))
        return 1;
#define U16(p) (little ? le16(p) : be16(p))
#define U32(p) (little ? le32(p) : be32(p))
    size_t at = U32(b + 4);
    if (at > n - 2)
        return 1;
    size_t entries = U16(b + at), room = (n - at - 2) / 12; /* 12 bytes each: tag, type, count, value or offset */
    for (size_t i = 0; i < entries && i < room; i++) {
        const uint8_t *entry = b + at + 2 + 12 * i;
        if (U16(entry) != 0x0112)
            continue;
        uint32_t type = U16(entry + 2), value = type == 3 ? U16(entry + 8) : type == 4 ? U32(entry + 8) : 0;
        return value >= 1 && value <= 8 && U32(entry + 4) == 1 ? (int)value : 1;
    }
    return 1;
#undef U16
#undef U32
}
