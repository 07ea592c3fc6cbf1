#!/usr/bin/env bash
# Starts Gatehouse and fills it with one simulated month of a company "Demo", once for each data directory.
# Usage: tools/demo.sh DATA [HOST:PORT]
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 listen=${2-}
mkdir -p "$data"
started=$(mktemp)

bin/gatehouse --data "$data" serve ${listen:+--listen "$listen"} &
server=$!
stop() {
	rm -f "$started"
	kill -TERM "$server" 2>/dev/null || true
	wait "$server" || true
}
trap stop EXIT
trap 'exit 130' INT TERM

# The server writes serve.json when it listens; one from before does not count.
until [[ "$data/serve.json" -nt "$started" ]]; do
	kill -0 "$server" 2>/dev/null || { wait "$server"; exit 1; }
	sleep 0.2
done

if [[ ! -e "$data/demo.done" ]]; then
	bin/gatehouse --data "$data" simulate --name Demo --users 60 --days 30
	touch "$data/demo.done"
fi
cat <<EOF

The company "Demo" has a month of events. In another terminal:
  bin/gatehouse --data $data report time-spent --company Demo
Ctrl-C ends the server; its data stays in $data.
EOF
wait "$server"
