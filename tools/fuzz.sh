#!/usr/bin/env bash
# Runs every fuzz target of the module in turn, FUZZTIME each (a time such as 5m, or a number of runs such as 1000000x).
# Go can fuzz only one target of one package at a time. What it finds is left in that package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-1000000x}

failed=0
while read -r package target; do
	echo "== $package $target ($fuzztime)"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package" || failed=1
done < <(go list -f '{{.ImportPath}}' ./... | while read -r package; do
	go test -list '^Fuzz' "$package" | awk -v p="$package" '/^Fuzz/ {print p, $1}'
done)
exit "$failed"
