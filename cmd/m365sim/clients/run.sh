#!/usr/bin/env bash
# Runs clients that nobody of this project wrote, each against a simulator of its own, and fails if one of them fails. A client whose tools
# cannot be had on this machine is passed over with a line that says so.
#   run.sh [curl | msal | graph | collect | go_office365]…      default: all
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
sim=""
stop() {
  [ -z "$sim" ] || kill "$sim" 2>/dev/null || true
  [ -z "$sim" ] || wait "$sim" 2>/dev/null || true
  sim=""
}
trap 'stop; rm -rf "$tmp"' EXIT

go build -o "$tmp/m365sim" ..

# start FOLDER FLAG… starts a simulator and sets url, ca and tenant.
start() {
  local dir=$1
  shift
  stop
  "$tmp/m365sim" -addr 127.0.0.1:0 -dir "$tmp/$dir" "$@" >"$tmp/banner" 2>&1 &
  sim=$!
  for _ in $(seq 300); do
    grep -q '_sim/ledger' "$tmp/banner" && break
    kill -0 "$sim" 2>/dev/null || break
    sleep 0.1
  done
  url=$(sed -n 's/^ *all three services *//p' "$tmp/banner")
  ca=$(sed -n 's/^ *CA to trust *//p' "$tmp/banner")
  tenant=$(sed -n 's/^ *tenant  *\([0-9a-f-]*\) .*/\1/p' "$tmp/banner" | head -1)
  [ -n "$url" ] || {
    cat "$tmp/banner" >&2
    return 1
  }
}

# python sets py to an interpreter that has the clients' packages.
python() {
  py=$tmp/venv/bin/python
  [ -x "$py" ] && return
  python3 -m venv "$tmp/venv" >/dev/null 2>&1 && "$tmp/venv/bin/pip" install -q -r requirements.txt >"$tmp/pip.log" 2>&1 || {
    rm -rf "$tmp/venv"
    echo "passed over: no Python with the packages of requirements.txt" >&2
    return 77
  }
}

# Each client returns 77 where its tools are missing. Commands are chained, because set -e is off where the result is looked at.
run_curl() {
  command -v curl >/dev/null || return 77
  start curl -live-rate -1 -page-size 20 && ./curl.sh "$url" "$ca" "$tenant"
}

run_msal() {
  python && "$py" msal_client.py make-certificate "$tmp/cert.pem" "$tmp/key.pem" &&
    start msal -subscribed -live-rate -1 -quota -1 -certificate "$tmp/cert.pem" &&
    "$py" msal_client.py check "$url" "$ca" "$tenant" "$tmp/cert.pem" "$tmp/key.pem"
}

run_graph() {
  python && start graph -live-rate -1 -records 1000 -speed 600 &&
    "$py" graph_delta.py follow "$url" "$ca" "$tenant" "$tmp/link" &&
    start graph -live-rate -1 -records 1000 -speed 70000 &&
    "$py" graph_delta.py expired "$url" "$ca" "$tenant" "$tmp/link"
}

run_collect() {
  local fault faults=()
  for fault in throttle403 throttle429 internal gateway unauthorized drop lost cut truncated; do faults+=(-fault "$fault=0.05"); done
  python && start collect -records 2000 -live-rate 0.002 -speed 5000 "${faults[@]}" && "$py" collect.py "$url" "$ca" "$tenant"
}

run_go_office365() {
  start go_office365 -subscribed -live-rate -1 -quota -1 && ./go_office365.sh "$url" "$ca" "$tenant"
}

failed=""
[ $# -gt 0 ] || set -- curl msal graph collect go_office365
for client in "$@"; do
  printf '\n--- %s\n' "$client"
  code=0
  "run_$client" || code=$?
  stop
  case $code in
  0) ;;
  77) echo "passed over: $client" ;;
  *) failed="$failed $client" ;;
  esac
done
[ -z "$failed" ] || {
  echo "FAILED:$failed" >&2
  exit 1
}
