/* hash.c - see hash.h. */
#include "common/base/hash.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE]) {
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, size, data);
    sha256_digest(&ctx, SHA256_SIZE, digest);
}

void sha256_to_hex(const uint8_t digest[SHA256_SIZE], char hex[SHA256_HEX]) {
    for (int i = 0; i < SHA256_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void sha256_hex(const void *data, size_t size, char hex[SHA256_HEX]) {
    uint8_t digest[SHA256_SIZE];
    sha256(data, size, digest);
    sha256_to_hex(digest, hex);
}

enum status sha256_file(const char *path, char hex[SHA256_HEX], struct error *e) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return st_fail(e, "%s: %s", path, strerror(errno));
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    static _Thread_local uint8_t piece[1 << 16];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        sha256_update(&ctx, n, piece);
    int failed = ferror(f);
    fclose(f);
    if (failed)
        return st_fail(e, "%s: read error", path);
    uint8_t digest[SHA256_SIZE];
    sha256_digest(&ctx, SHA256_SIZE, digest);
    sha256_to_hex(digest, hex);
    return ST_OK;
}
