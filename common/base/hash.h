/* hash.h - SHA-256 (nettle), for dedupe, provenance and cache keys. Thread-safe, nothing to free. */
#ifndef FACEMILL_HASH_H
#define FACEMILL_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define SHA256_SIZE 32
#define SHA256_HEX 65 /* 64 lower-case hexadecimal digits and the final NUL */

#ifdef __cplusplus
extern "C" {
#endif

void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE]);
void sha256_hex(const void *data, size_t size, char hex[SHA256_HEX]);
void sha256_to_hex(const uint8_t digest[SHA256_SIZE], char hex[SHA256_HEX]);

/* Of a whole file, read in pieces. ST_FAIL when it cannot be read. */
enum status sha256_file(const char *path, char hex[SHA256_HEX], struct error *e);

#ifdef __cplusplus
}
#endif
#endif
