#!/bin/sh
# interpolate.sh NETWORK VIDEO [SEEDS] - a video that wanders smoothly through the faces of some seeds and ends where it began.
#
# The seeds become w, a spline passes through them, and each frame is drawn and written as it comes, so a long video needs no more memory
# than a short one. VIDEO may end in .webp or .png (animations that browsers show) or .y4m; anything else, such as walk.mp4, is
# made by ffmpeg. FRAMES for the whole loop, FPS, TRUNC and FFMPEG (options for the encoder) change the rest.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 video=$2 seeds=${3:-11,5,22,9,16} fps=${FPS:-24} psi=${TRUNC:-0.7}

walk() {
    sg2-latent sample --network "$network" --seeds "$seeds" |
        sg2-latent map --network "$network" --trunc "$psi" |
        sg2-latent walk --path cubic --loop --frames "${FRAMES:-240}"
}
case $video in
*.webp | *.png) walk | sg2-gen --network "$network" --animate --fps "$fps" --quality 85 --out "$video" - ;;
*.y4m) walk | sg2-gen --network "$network" --fps "$fps" --out "$video" - ;;
*) # shellcheck disable=SC2086 # the options are words
    walk | sg2-gen --network "$network" --format y4m --fps "$fps" - | ffmpeg -v error -y -i - ${FFMPEG:--crf 18} "$video" ;;
esac
