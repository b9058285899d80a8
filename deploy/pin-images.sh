#!/usr/bin/env bash
# Adds to every image that deploy/ names the digest that its registry gives now, as name:tag@sha256:…; a digest that is there is replaced. Look
# at `git diff` and commit it. Needs `docker buildx`, perl and the registries. A pinned image of several architectures stays one.
#   deploy/pin-images.sh [FILE]…        all files of deploy/ if none is named
set -euo pipefail
cd "$(dirname "$0")"
files=("$@")
[ $# -gt 0 ] || files=(*.yml kubernetes.yaml Dockerfile)
# name:tag or name:${VARIABLE:-tag}, with or without a digest.
images=$(sed -nE 's/^[[:space:]]*(-[[:space:]]*)?(image:|FROM)[[:space:]]+(&[^[:space:]]+[[:space:]]+)?([a-z][^[:space:]]*:[^[:space:]]+).*/\4/p' "${files[@]}" | grep -v '^batchagent/' | sort -u)
for image in $images; do
  bare=${image%@sha256:*}
  case $image in *@sha256:*\}) bare=$bare\} ;; esac
  asked=$(sed -E 's/\$\{[A-Z_]+:-([^}]*)\}/\1/' <<<"$bare")
  digest=$(docker buildx imagetools inspect "$asked" --format '{{.Manifest.Digest}}')
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "pin-images.sh: the registry gave no digest of $asked: $digest" >&2; exit 1; }
  case $bare in
  *\}) pinned=${bare%\}}@$digest\} ;;
  *) pinned=$bare@$digest ;;
  esac
  FROM=$image TO=$pinned perl -pi -e 's/\Q$ENV{FROM}\E(?=\s|$)/$ENV{TO}/g' "${files[@]}"
  echo "$pinned"
done
