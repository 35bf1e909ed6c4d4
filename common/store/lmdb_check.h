/* lmdb_check.h - is an LMDB data file whole?
 *
 * LMDB believes its file: a truncated one ends in SIGBUS, a damaged page in reads anywhere. This walks both trees of a snapshot
 * (the data and the list of free pages) as LMDB would and checks every page number, offset, length and key order, so that
 * afterwards LMDB can only meet well-formed pages. It reads branch and leaf pages, not the pictures themselves (values over
 * 2 KB lie on pages of their own, of which only the numbers are checked): about 20 ms for 70,000 samples in the page cache.
 *
 * Leaves out: what the values mean; and a file that is changed by something other than LMDB while it is open.
 */
#ifndef FACEMILL_LMDB_CHECK_H
#define FACEMILL_LMDB_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"

/* The file's two first pages: must be called before LMDB opens it. ST_FAIL with the reason when it is no LMDB file or is
 * shorter than it says. */
enum status lmdb_check_header(const char *file, struct error *e);

/* The whole snapshot of transaction number `txn` (mdb_txn_id of an open transaction). ST_END when the file holds no such
 * snapshot any more: a writer has committed twice since; begin a new transaction and try again. */
enum status lmdb_check_tree(const char *file, uint64_t txn, struct error *e);

/* Was the writer of this file stopped before its first commit? Then nothing was ever in it. */
bool lmdb_is_unborn(const char *file);

#endif
