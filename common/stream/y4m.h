/* y4m.h - pictures as YUV4MPEG2, the raw video that ffmpeg, ffplay, mpv and x264 read from a pipe without being told a size.
 *
 * R'G'B' becomes Y'CbCr by ITU-R BT.601 in the narrow range (Y' 16..235, C 16..240): what those programs assume of a stream that
 * does not say otherwise, so the colours come back. Rounded to nearest. With 4:2:0 a chroma sample is that of the mean of its four pixels (centred siting, "420jpeg");
 * at an odd edge, of the pixels there are. Grey is sent as equal R'G'B', alpha is composited over white.
 */
#ifndef FACEMILL_Y4M_H
#define FACEMILL_Y4M_H

#include "common/image/image.h"

enum y4m_chroma { Y4M_420, Y4M_444 };

/* Appends the stream's head: "YUV4MPEG2 W128 H128 F24:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n". */
void y4m_head(struct bytes *out, int width, int height, int fps_num, int fps_den, enum y4m_chroma chroma);
/* Appends "FRAME\n" and the three planes. */
void y4m_frame(struct bytes *out, const struct image *im, enum y4m_chroma chroma);

#endif
