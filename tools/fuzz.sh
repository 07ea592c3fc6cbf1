#!/usr/bin/env bash
# Runs every fuzz target of the module in turn, FUZZTIME each (a time such as 5m, or a number of runs such as 1000000x).
# Go can fuzz only one target of one package at a time. What it finds is left in that package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-1000000x}

# All of them first: a package whose tests do not compile ends the run here instead of being passed over.
# The names of a package's targets come before the line that names the package.
listed=$(go test -list '^Fuzz' ./...) || { printf '%s\n' "$listed" >&2; exit 1; }
targets=$(awk '/^Fuzz/ {names[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print $2, names[i]; n = 0}' <<<"$listed")
[ -n "$targets" ] || { echo "tools/fuzz.sh: there is no fuzz target" >&2; exit 1; }

failed=0
while read -r package target; do
	echo "== $package $target ($fuzztime)"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package" </dev/null || failed=1
done <<<"$targets"
exit "$failed"
