#!/bin/sh
# Builds flumen-crash with each fault that wal/src/broken.rs knows, one at a time, and demands that the mode that can see
# it finds it within a minute; what only a real disk can show is found by a test of the log. Fails if one is not caught, or if
# the sound build is not clean.
#
#   fuzz/broken-builds.sh [FEATURE]...      only these; without any all, and the sound build
#
# The builds are in a target directory of their own: no broken program ever lies where the sound one is looked for. Only
# the log and the tool are built anew for each, and for mode `kill` the agent.

set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/broken
seed=${SEED:-1}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The fault and the mode that can see it, or the log's test.
modes='
broken-skip-sync power
broken-ack-early power
broken-trim-early power
broken-ignore-crc corrupt
broken-continue-segment power
broken-snapshot-early power
broken-first-frame-first power
broken-sync-one-lane power
broken-skip-late-sync power
broken-ignore-write-error eio
broken-ignore-no-space enospc
broken-forget-progress kill
broken-skip-disk-syncs test:syscalls
'
failed=0

# try "cargo options" mode cycles: builds and runs for a minute at most; sets `status` and `seconds`.
try() {
  agent=
  [ "$2" != kill ] || agent='-p flumen'
  # The options are words, or none.
  # shellcheck disable=SC2086
  cargo build --quiet --locked --target-dir "$target" -p flumen-crash $agent $1
  begun=$(date +%s)
  status=0
  timeout 60 "$target/debug/flumen-crash" --mode "$2" --cycles "$3" --seed "$seed" --dir "$scratch" \
    >"$scratch/report" 2>"$scratch/said" || status=$?
  seconds=$(($(date +%s) - begun))
}

wanted=${*:-$(echo "$modes" | cut -d ' ' -f 1)}
for feature in $wanted; do
  mode=$(echo "$modes" | sed -n "s/^$feature //p")
  if [ -z "$mode" ]; then
    echo "$feature: no such fault" >&2
    exit 2
  fi
  case "$mode" in
  test:*)
    # strace must be there: a test that is skipped finds nothing.
    FLUMEN_REQUIRE_PEERS=1 cargo test --quiet --locked --target-dir "$target" -p flumen-wal \
      --features "$feature" --test "${mode#test:}" >"$scratch/report" 2>&1 || true
    if grep -q 'that is not durable when it is written' "$scratch/report"; then
      echo "caught      $feature by $mode"
    else
      failed=1
      echo "NOT CAUGHT  $feature by $mode"
      cat "$scratch/report"
    fi
    continue
    ;;
  esac
  try "--features flumen-crash/$feature" "$mode" 1000000
  if [ "$status" -eq 1 ]; then
    cycles=$(sed -n 's/^cycles  *\([0-9]*\) .*/\1/p' "$scratch/report")
    echo "caught      $feature by $mode after $cycles cycles, $seconds s:$(sed -n 's/^result *VIOLATION//p' "$scratch/report" | cut -c 1-160)"
  else
    failed=1
    echo "NOT CAUGHT  $feature by $mode in $seconds s (exit code $status)"
    cat "$scratch/said" "$scratch/report"
  fi
done

# The same, of a log that is not broken: else all of that would show nothing.
if [ $# -eq 0 ]; then
  for mode in power eio enospc corrupt; do
    try "" "$mode" 2000
    if [ "$status" -eq 0 ]; then
      echo "sound       $mode, 2000 cycles, $seconds s"
    else
      failed=1
      echo "NOT SOUND   $mode (exit code $status)"
      cat "$scratch/said" "$scratch/report"
    fi
  done
fi
exit $failed
