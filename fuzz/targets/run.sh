#!/bin/sh
# Runs fuzz targets one after another: run.sh [SECONDS [TARGET...]], by default all of them for 600 seconds each.
# FLUMEN_FUZZ_SANITIZER is address, or none for more inputs a second. What they find is in target/artifacts, what their
# corpora grow to in target/grown. Exit code 1 if any found something.
set -u
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
seconds=${1:-600}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- $(cd "$here/corpus" && ls)
cargo +nightly fuzz build --sanitizer "${FLUMEN_FUZZ_SANITIZER:-address}" --fuzz-dir "$here" || exit 2
found=0
for name in "$@"; do
    grown=$target/grown/$name
    mkdir -p "$grown" "$target/artifacts"
    options="-max_total_time=$seconds -max_len=4096 -print_final_stats=1 -malloc_limit_mb=256 -rss_limit_mb=2048"
    # The targets bound an input's processor time themselves. This is for what never ends.
    options="$options -timeout=3600 -report_slow_units=3600 -artifact_prefix=$target/artifacts/$name-"
    [ -e "$here/dictionaries/$name" ] && options="$options -dict=$here/dictionaries/$name"
    log=$target/artifacts/$name.log
    echo "$name: $(date +%H:%M:%S), log $log"
    nice -n 19 "$target/$host/release/fuzz_$name" $options "$grown" "$here/corpus/$name" >"$log" 2>&1 || found=1
    grep -E '^stat::number_of_executed_units|DONE|panicked|SUMMARY' "$log" | sed "s/^/  /"
done
exit $found
