/* labels.h - which class is a picture of? From the sample itself, its folder, or a table in a file.
 *
 * A table is either two columns of text, "NAME<tab or spaces>CLASS" a line ('#' begins a comment line), or ADA's dataset.json,
 * {"labels": [[NAME, CLASS], ...]}. Classes that are all whole numbers are taken as they are; otherwise they are names and are
 * numbered in the order of the bytes of their names. NAME is looked for as the whole path below the input, the path without
 * suffix, the base name, and the base name without suffix.
 *
 * Folder names are numbered in the order in which they appear, which for a folder is the order of their names.
 */
#ifndef FACEMILL_LABELS_H
#define FACEMILL_LABELS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/stream/sample.h"

#define LABEL_NONE (-1)
#define LABEL_MAX 999999

struct label_table;

/* Two columns, or JSON when the text begins with '{'. name is for messages. *table is NULL when a dataset.json has no labels. */
enum status label_table_parse(struct label_table **table, const void *text, size_t size, const char *name, struct error *e);
enum status label_table_read(struct label_table **table, const char *path, struct error *e);
void label_table_free(struct label_table *table); /* NULL is fine */
int label_table_find(const struct label_table *table, const char *path); /* LABEL_NONE when it is not there */

/* Names of classes in the order of their numbers. {0} is an empty list. */
struct label_names {
    char **name; /* owned */
    int n;
};
const struct label_names *label_table_names(const struct label_table *table); /* n = 0 when classes are numbers */
/* The number of a name, which is added when it is new; LABEL_NONE when there are too many. */
int label_names_number(struct label_names *names, const char *name);
/* Adds the names of a store's meta, "classes": an array of texts; NULL and what is no text is passed over. */
void label_names_add(struct label_names *names, const cJSON *classes);
/* Adds other's names; false when they have not the same numbers here that they have there. */
bool label_names_join(struct label_names *names, const struct label_names *other);
void label_names_free(struct label_names *names);

/* The sample's own label: its .cls member, or "label" in its JSON. LABEL_NONE when it has none; ST_BAD when it is no class
 * number. */
enum status label_of_sample(const struct sample *s, int *label, struct error *e);

#endif
