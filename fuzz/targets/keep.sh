#!/bin/sh
# Takes the inputs that reach most into the committed corpora: keep.sh TARGET..., after run.sh.
# At most 40 of at most 2 KiB each, so that all corpora stay small; what they lack is found again in minutes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
for name in "$@"; do
    corpus=$here/corpus/$name
    small=$target/small/$name
    best=$target/best/$name
    rm -rf "$small" "$best"
    mkdir -p "$small" "$best"
    find "$corpus" "$target/grown/$name" -type f -size -5 -exec cp {} "$small" \;
    "$target/$host/release/fuzz_$name" -set_cover_merge=1 "$best" "$small" >/dev/null 2>&1
    find "$corpus" -type f ! -name 'seed-*' ! -name 'found-*' -delete
    # Of a cover the largest reach most.
    find "$best" -type f -printf '%s %f\n' | sort -rn | head -40 | while read -r _ file; do
        cp "$best/$file" "$corpus/"
    done
    echo "$name: $(find "$corpus" -type f | wc -l) files, $(du -sb "$corpus" | cut -f1) bytes"
done
