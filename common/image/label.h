/* label.h - short texts on pictures, in a font of our own: 5x7 pixels, digits, letters (small ones are shown as capitals) and the
 * marks that numbers need. No dependency, no files, the same pixels everywhere.
 */
#ifndef FACEMILL_LABEL_H
#define FACEMILL_LABEL_H

#include "common/image/image.h"

#define LABEL_HEIGHT 7
#define LABEL_ADVANCE 6 /* pixels from one character to the next */

/* Width of a text in pixels at scale 1; 0 when empty. */
int label_width(const char *text);
/* Draws with the upper left corner at (x, y), `scale` pixels for one of the font, in grey `level` (alpha 255). What lies outside the picture
 * is left out; a character that the font has not is a box. */
void label_draw(struct image *im, int x, int y, const char *text, int scale, uint8_t level);

#endif
