/* store_impl.h - what store.c and store_write.c share, and nobody else needs. */
#ifndef FACEMILL_STORE_IMPL_H
#define FACEMILL_STORE_IMPL_H

#include <lmdb.h>
#include <stdio.h>

#include "common/store/store.h"

#define STORE_FORMAT "facemill-store"
#define STORE_VERSION 1
#define STORE_MAX_SIZES 8
#define STORE_MAX_LENGTH 2000000000LL
#define STORE_MAX_LABEL 1000000
#define STORE_KEY_ROOM 96
#define STORE_LOCK_BYTES 8192 /* what LMDB makes of lock.mdb with its 126 reader slots */

/* An LMDB database as a file system sees it. */
struct store_place {
    char *file, *lock; /* owned */
    unsigned flags;    /* 0, or MDB_NOSUBDIR for a store that is a single file */
};
enum status store_find_place(struct store_place *p, const char *path, struct error *e); /* an existing store */
void store_free_place(struct store_place *p);

/* Makes the lock file in its full size when it is not there: on a full disk LMDB would die of SIGBUS. False: no lock file can
 * be had here (read-only medium, no permission, no room). */
bool store_prepare_lock(const struct store_place *p);

/* A read transaction whose snapshot has been checked. */
enum status store_begin_checked(MDB_env *env, const char *file, MDB_txn **txn, MDB_dbi *dbi, struct error *e);

/* Reads "length" and "meta" (or, without meta, looks at the keys) into *m, which is zeroed first. *json gets the parsed meta or
 * NULL; m->content_hash points into it. key_size[i] is the SIZE of the keys of size i. */
enum status store_load_meta(MDB_txn *txn, MDB_dbi dbi, struct store_meta *m, int key_size[STORE_MAX_SIZES], cJSON **json,
                            struct error *e);

/* Keys; each returns the MDB_val over `room`. */
MDB_val store_picture_key(char room[STORE_KEY_ROOM], int size, int64_t index);
MDB_val store_text_key(char room[STORE_KEY_ROOM], const char *prefix, int64_t index);
MDB_val store_hash_key(char room[STORE_KEY_ROOM], const uint8_t digest[32]);
bool store_parse_decimal(const MDB_val *v, int64_t max, int64_t *value);

#endif
