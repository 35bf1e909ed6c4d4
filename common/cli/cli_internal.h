/* cli_internal.h - what the files of common/cli share and nobody else sees. */
#ifndef FACEMILL_CLI_INTERNAL_H
#define FACEMILL_CLI_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cli/cli.h"

/* From now on signals that end the program, and exit(), remove what target.h began and nobody kept. */
void cli__end_tidily(void);

extern const struct cli_program *cli__program; /* NULL before cli_start */
const char *cli__name(void);                   /* the program's name for messages; "facemill" before cli_start */

/* Writes one redrawn line to the terminal (text without newline), or removes it (NULL). Serialised with the messages. */
void cli__redraw(const char *text);

void cli__print_help(FILE *out, const struct cli_program *program);
void cli__print_usage(FILE *out, const struct cli_program *program);
void cli__print_version(FILE *out);

/* The defaults as they stood before parsing: one text an option of the table, NULL for headings and empty strings. */
extern char **cli__defaults;

#endif
