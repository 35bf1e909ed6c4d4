#!/bin/sh
# balanced.sh NETWORK DIRECTION.npy STORE - a dataset of faces that do not exist, balanced by an attribute, for training recognisers.
#
# Each of PEOPLE seeds is one person. Where its face lies along the direction is replaced: it is drawn once at each of PLACES
# (measured from the mean face), so that all people have the same share of every place. The store's labels are the people.
# attribute.sh makes directions; how well the attribute itself is balanced depends on how well the direction tells it, which
# attribute.sh says. Of 40 people of the network in examples/, mouths are 1.9 deviations wider at the last place than at the first.
set -eu
[ $# -ge 3 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 direction=$2 store=$3 people=${PEOPLE:-100} places=${PLACES:--2,-1,0,1,2} psi=${TRUNC:-0.7}
each=$(echo "$places" | tr , '\n' | wc -l)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sg2-latent mean --network "$network" >"$work/mean.npy"
# the faces come out as 000000, 000001, ..., each person's one after another
awk -v n="$((people * each))" -v each="$each" 'BEGIN { for (i = 0; i < n; i++) printf "%06d\t%d\n", i, int(i / each) }' >"$work/people.txt"

sg2-latent sample --network "$network" --seeds "0-$((people - 1))" |
    sg2-latent map --network "$network" --trunc "$psi" |
    sg2-latent move --directions "$direction" --absolute --origin "$work/mean.npy" --amounts "$places" |
    sg2-gen --quiet --network "$network" - |
    pack-lmdb --quiet --labels "$work/people.txt" "$store"
echo "Done. $people people, $each faces each: $store"
