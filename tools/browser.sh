#!/usr/bin/env bash
# Installs Chromium for the tests of the pages where there is none and it can: as root on Debian and its like. Elsewhere the test says what it needs.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
	command -v "$name" >/dev/null && exit 0
done
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
	echo 'browser.sh: there is no Chromium, and it can be installed by root with apt-get alone: the test in a browser is skipped' >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update -qq || ! apt-get install -y -qq --no-install-recommends chromium; then
	echo 'browser.sh: Chromium could not be installed: the test in a browser is skipped' >&2
fi
