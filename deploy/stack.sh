#!/usr/bin/env bash
# What docker-compose.yml starts, as plain processes on this machine: Apache Kafka from its jars, the simulator, and the three binaries with the configurations
# of deploy/compose. Stays until it is interrupted; everything that it wrote goes with it. Arguments go to the simulator: make stack SIM="-records 100000"
set -euo pipefail
cd "$(dirname "$0")/.."
.ci/build
go build -o bin/testkit-kafka ./internal/testkit/cmd/kafka
dir=$(mktemp -d "${TMPDIR:-/tmp}/millrace-stack-XXXXXX")
pids=()
stop() {
  trap - EXIT INT TERM
  echo "stopping"
  # Last started, first stopped; each of them ends gracefully on SIGTERM.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND… runs a process whose output goes to a file of its name.
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.log" 2>&1 &
  pids+=($!)
}

# await NAME COMMAND… waits until a command succeeds, for as long as the process that was started last lives.
await() {
  local name=$1 pid=${pids[-1]}
  shift
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null; then
      echo "$name ended:" >&2
      tail -n 20 "$dir/$name.log" >&2
      exit 1
    fi
    sleep 0.2
  done
  echo "$name is ready"
}

start kafka bin/testkit-kafka -addr-file "$dir/kafka.addr"
await kafka test -s "$dir/kafka.addr"
brokers=$(cat "$dir/kafka.addr")

start m365sim bin/m365sim -addr 127.0.0.1:8443 -dir "$dir/simulator" -subscribed "$@"
await m365sim grep -q ready "$dir/m365sim.log"

common=(-set "kafka.brokers=$brokers" -set log.format=text)
ingester=(-config deploy/compose/ingester.yaml "${common[@]}" -set admin.listen=127.0.0.1:9101
  -set "tenants.0.client_secret=file:$PWD/deploy/compose/simulator-client-secret.txt" -set "tenants.0.ca_file=$dir/simulator/ca.pem"
  -set tenants.0.hosts.authority=https://127.0.0.1:8443 -set tenants.0.hosts.api=https://127.0.0.1:8443 -set tenants.0.hosts.graph=https://127.0.0.1:8443)
normalizer=(-config deploy/compose/normalizer.yaml "${common[@]}" -set admin.listen=127.0.0.1:9102)
enricher=(-config deploy/compose/enricher.yaml "${common[@]}" -set admin.listen=127.0.0.1:9103)
start ingester bin/ingester "${ingester[@]}"
await ingester bin/ingester "${ingester[@]}" -probe
start normalizer bin/normalizer "${normalizer[@]}"
await normalizer bin/normalizer "${normalizer[@]}" -probe
start enricher bin/enricher "${enricher[@]}"
await enricher bin/enricher "${enricher[@]}" -probe

cat <<END

Kafka listens on $brokers. Read a topic:
  kcat -b ${brokers%%,*} -C -t m365.enriched.entra.v1 -c 3 -X isolation.level=read_committed -f '%k %h %s\n'
Metrics: http://127.0.0.1:9101/metrics (ingester), 9102 (normalizer), 9103 (enricher)
Logs:    $dir/*.log
Ctrl-C ends all of it.
END
wait -n "${pids[@]}" || true
echo "a process ended:" >&2
tail -n 5 "$dir"/*.log >&2
exit 1
