#!/bin/sh
# Builds dist/flumen-VERSION-linux-ARCH.tar.gz, laid out as Flume's own archive:
#
#   flumen-VERSION-linux-ARCH/
#     bin/flumen bin/flume-ng    the program, and Flume's launcher for it
#     bin/flumen-crash           the tool that looks whether anything gets lost
#     conf/                      templates
#     examples/ docs/ LICENSE README.md CHANGELOG.md
#
# PROFILE=dev builds without optimisation, to try the layout. BINARY=path packs a `flumen` that is built already, with the
# flumen-crash beside it (or CRASH_BINARY=path) if there is one. DIST=directory puts the archive there instead of into dist/.

set -eu

cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
name=flumen-$version-linux-$(uname -m)

# What `flumen version` prints. A build outside a repository says so instead of failing.
FLUMEN_REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
FLUMEN_SOURCE_CHECKSUM=$(git rev-parse 'HEAD^{tree}' 2>/dev/null || echo unknown)
FLUMEN_BUILT_BY=${FLUMEN_BUILT_BY:-$(id -un)}
FLUMEN_BUILT_ON=$(date -u +%Y-%m-%dT%H:%M:%SZ)
export FLUMEN_REVISION FLUMEN_SOURCE_CHECKSUM FLUMEN_BUILT_BY FLUMEN_BUILT_ON

case ${BINARY:-} in
  '')
    cargo build --locked --profile "$profile" -p flumen --bin flumen
    cargo build --locked --profile "$profile" -p flumen-crash --bin flumen-crash
    ;;
esac
case $profile in
  dev) built=${BINARY:-${CARGO_TARGET_DIR:-target}/debug/flumen} ;;
  *) built=${BINARY:-${CARGO_TARGET_DIR:-target}/$profile/flumen} ;;
esac

crash=${CRASH_BINARY:-$(dirname "$built")/flumen-crash}

dist=${DIST:-dist}
mkdir -p "$dist"
stage=$(mktemp -d "$dist/stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
top=$stage/$name
mkdir -p "$top/bin" "$top/conf"
install -m 0755 "$built" "$top/bin/flumen"
if [ -x "$crash" ]; then
  install -m 0755 "$crash" "$top/bin/flumen-crash"
else
  echo "$0: no $crash: the archive is without it" >&2
fi
install -m 0755 bin/flume-ng "$top/bin/flume-ng"
install -m 0644 conf/*.template "$top/conf/"
cp -R examples docs "$top/"
for file in LICENSE README.md CHANGELOG.md; do
  install -m 0644 "$file" "$top/$file"
done

# The same source gives the same order, owners and times, whoever builds.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="$FLUMEN_BUILT_ON" -C "$stage" -czf "$dist/$name.tar.gz" "$name"
echo "$dist/$name.tar.gz"
