/* label.c - see label.h. The glyphs are drawn below as they look: each group of seven lines holds one row of the font a line. */
#include "common/image/label.h"

#include <ctype.h>
#include <string.h>

static const struct {
    const char *characters;
    const char *row[LABEL_HEIGHT]; /* LABEL_ADVANCE columns a character */
} groups[] = {
    {"0123456789",
     {" ###    #    ###  #####    #  #####   ##  #####  ###   ###  ",
      "#   #  ##   #   #     #   ##  #      #        # #   # #   # ",
      "#  ##   #       #    #   # #  ####  #        #  #   # #   # ",
      "# # #   #      #    ##  #  #      # ####    #    ###   #### ",
      "##  #   #     #       # #####     # #   #  #    #   #     # ",
      "#   #   #    #    #   #    #  #   # #   #  #    #   #    #  ",
      " ###   ###  #####  ###     #   ###   ###   #     ###   ##   "}},
    {"ABCDEFGHI",
     {" ###  ####   ###  ####  ##### #####  ###  #   #  ###  ",
      "#   # #   # #   # #   # #     #     #   # #   #   #   ",
      "#   # #   # #     #   # #     #     #     #   #   #   ",
      "##### ####  #     #   # ####  ####  # ### #####   #   ",
      "#   # #   # #     #   # #     #     #   # #   #   #   ",
      "#   # #   # #   # #   # #     #     #   # #   #   #   ",
      "#   # ####   ###  ####  ##### #      #### #   #  ###  "}},
    {"JKLMNOPQR",
     {"  ### #   # #     #   # #   #  ###  ####   ###  ####  ",
      "   #  #  #  #     ## ## ##  # #   # #   # #   # #   # ",
      "   #  # #   #     # # # # # # #   # #   # #   # #   # ",
      "   #  ##    #     # # # #  ## #   # ####  #   # ####  ",
      "   #  # #   #     #   # #   # #   # #     # # # # #   ",
      "#  #  #  #  #     #   # #   # #   # #     #  #  #  #  ",
      " ##   #   # ##### #   # #   #  ###  #      ## # #   # "}},
    {"STUVWXYZ",
     {" #### ##### #   # #   # #   # #   # #   # ##### ",
      "#       #   #   # #   # #   # #   # #   #     # ",
      "#       #   #   # #   # #   #  # #   # #     #  ",
      " ###    #   #   # #   # # # #   #     #     #   ",
      "    #   #   #   # #   # # # #  # #    #    #    ",
      "    #   #   #   #  # #  ## ## #   #   #   #     ",
      "####    #    ###    #   #   # #   #   #   ##### "}},
    {" .,:+-=/%#_()>",
     {"                                                ##     # #           #   #     #    ",
      "                   ##     #                   # ##  #  # #          #     #     #   ",
      "                   ##     #         #####    #     #  #####        #       #     #  ",
      "                        ##### #####         #     #    # #         #       #      # ",
      "             ##    ##     #         #####  #     #    #####        #       #     #  ",
      "       ##    ##    ##     #               #     #  ##  # #          #     #     #   ",
      "       ##   #                                      ##  # #  #####    #   #     #    "}},
};

int label_width(const char *text) {
    size_t n = strlen(text);
    return n ? (int)n * LABEL_ADVANCE - 1 : 0;
}

/* Is the pixel (x, y) of a character's 5x7 set? */
static bool is_set(char c, int x, int y) {
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        const char *at = strchr(groups[g].characters, toupper((unsigned char)c));
        if (at)
            return groups[g].row[y][(at - groups[g].characters) * LABEL_ADVANCE + x] == '#';
    }
    return x == 0 || x == LABEL_ADVANCE - 2 || y == 0 || y == LABEL_HEIGHT - 1;
}

void label_draw(struct image *im, int x, int y, const char *text, int scale, uint8_t level) {
    for (; *text; text++, x += LABEL_ADVANCE * scale)
        for (int i = 0; i < LABEL_HEIGHT * scale; i++)
            for (int j = 0; j < (LABEL_ADVANCE - 1) * scale; j++) {
                if (x + j < 0 || x + j >= im->width || y + i < 0 || y + i >= im->height || !is_set(*text, j / scale, i / scale))
                    continue;
                uint8_t *p = im->data + ((size_t)(y + i) * (size_t)im->width + (size_t)(x + j)) * (size_t)im->channels;
                memset(p, level, im->channels == 1 ? 1 : 3);
                if (im->channels == 4)
                    p[3] = 255;
            }
}
