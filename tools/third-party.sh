#!/usr/bin/env bash
# Writes THIRD_PARTY_LICENSES and NOTICE for the modules that are linked into the programs. `make licenses` runs it.
# go-licenses finds the licence of each package and refuses those that forbid to distribute a program. Equal texts are written once.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS=-tags=sql GOOS=linux GOARCH=amd64 CGO_ENABLED=0
packages=(./cmd/... ./deploy/probe)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(export GOOS="$(go env GOHOSTOS)" GOARCH="$(go env GOHOSTARCH)"; go build -modfile=tools/go.mod -o "$work/go-licenses" github.com/google/go-licenses/v2)
"$work/go-licenses" check "${packages[@]}" --ignore github.com/batchagent/batchagent --disallowed_types=forbidden,restricted,unknown 2> "$work/said" ||
  { cat "$work/said" >&2; exit 1; }
printf '{{range .}}{{.Name}}\t{{.LicenseName}}\t{{.LicensePath}}\n{{end}}' > "$work/template"
"$work/go-licenses" report "${packages[@]}" --ignore github.com/batchagent/batchagent --template "$work/template" 2> "$work/said" > "$work/report" ||
  { cat "$work/said" >&2; exit 1; }
go list -deps -f '{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{end}}{{end}}' "${packages[@]}" | sort -u > "$work/modules"
printf 'The Go standard library\tBSD-3-Clause\t%s\n' "$(go env GOROOT)/LICENSE" >> "$work/report"

{
  echo "The programs of batchagent contain these modules. Made by make licenses; the texts of their licences follow."
  echo
  cat "$work/modules"
  sort -u "$work/report" | while IFS=$'\t' read -r name kind path; do
    [ -s "$path" ] || { echo "third-party.sh: no licence of $name" >&2; exit 1; }
    sum=$(sha256sum < "$path" | cut -c1-64)
    printf '%s (%s)\n' "$name" "$kind" >> "$work/names-$sum"
    cp -f "$path" "$work/text-$sum"
    echo "$sum" >> "$work/order"
  done
  awk '!seen[$0]++' "$work/order" | while read -r sum; do
    printf '\n%s\n' "================================================================================"
    sort -u "$work/names-$sum"
    echo
    tr -d '\r' < "$work/text-$sum" | sed 's/[[:space:]]*$//'
  done
} > THIRD_PARTY_LICENSES

{
  echo "batchagent"
  echo
  echo "This product contains the modules that THIRD_PARTY_LICENSES lists. Some of them ask for the following notices."
  cut -f3 "$work/report" | sort -u | while read -r path; do
    for notice in "$(dirname "$path")"/NOTICE*; do
      [ -s "$notice" ] || continue
      sha256sum < "$notice" | cut -c1-64 | grep -qxFf - "$work/noticed" 2>/dev/null && continue
      sha256sum < "$notice" | cut -c1-64 >> "$work/noticed"
      printf '\n%s\n' "--------------------------------------------------------------------------------"
      tr -d '\r' < "$notice" | sed 's/[[:space:]]*$//'
    done
  done
} > NOTICE
echo "THIRD_PARTY_LICENSES: $(wc -l < "$work/modules") modules, $(grep -c '^====' THIRD_PARTY_LICENSES) texts" >&2
