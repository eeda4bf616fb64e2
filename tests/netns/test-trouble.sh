#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What goes wrong on real hosts: each trouble gets a message that says what and how to cure it, and
# what runs goes on running.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

# refused NAME REGEX [VERB]: the agent must end with status 1 and say why.
refused() {
	local out status

	out=$(in_ns lb timeout 5 "$BUILD/zddlbd" "${3:-run}" --config "$RUN/zddlb.json" 2>&1)
	status=$?
	if [ "$status" -eq 1 ] && grep -qiE -- "$2" <<< "$out"; then
		pass "$1"
	else
		fail "$1" "exit status $status, output: $out" "wanted status 1 and: $2"
	fi
}

serves() { # NAME
	holds "$1" "$(conns --target "$VIP4" --count 200 --timeout 2000)" '.answered == 200 and .failed == 0'
}
serves_now() { conns --target "$VIP4" --count 50 --timeout 1000 | jq -e '.answered == 50'; }
plain() { config v6=0 "$@" version=v1:100:1,2 version=v2:0:3; }
attached() { api /api/v1/status | jq -e --arg n "$1" '.interfaces[] | select(.name == $n) | .attached == true'; }

is_gone() { api /api/v1/status | jq -e --arg n "$1" '.interfaces[] | select(.name == $n) | .present == false'; }

port_in_use() {
	local other

	plain
	spawn other.log lb "$HELPERS/backend" --name other --listen 127.0.0.1:9090
	other=$SPAWNED
	sleep 0.2
	refused "a port in use is refused" '9090'
	stop "$other"
	must_start "the agent starts once the port is free"
	serves "and it serves"
}

two_agents() {
	config v6=0 listen=127.0.0.1:9091 socket="$RUN/second.sock" pins="$RUN/bpf/second" \
		version=v1:100:1,2 version=v2:0:3
	refused "a second agent on one state directory is refused" 'another|held|lock|in use|running'
	plain
	refused "unload under a running agent is refused" 'another|held|lock|in use|running' unload
	serves "the first one goes on"
}

# bad_reload NAME POINTER JQ-EDIT: the file is changed, refused, and nothing else happened.
bad_reload() {
	local code before after

	plain
	before=$(api /api/v1/services/web | jq -c '[.revision, .versions]')
	jq "$3" "$RUN/zddlb.json" > "$RUN/bad.json" && mv "$RUN/bad.json" "$RUN/zddlb.json"
	code=$(api /api/v1/config/reload -X POST -o "$RUN/answer" -w '%{http_code}')
	is "$1: refused" "$code $(jq -r .error.pointer "$RUN/answer")" "400 $2"
	kill -HUP "$AGENT"
	sleep 0.15
	after=$(api /api/v1/services/web | jq -c '[.revision, .versions]')
	is "$1: nothing changed" "$(jq -c 'del(..|.measured?, .connections?, .connectionsSinceChange?, .pinned?)' <<< "$after")" \
		"$(jq -c 'del(..|.measured?, .connections?, .connectionsSinceChange?, .pinned?)' <<< "$before")"
}

bad_reloads() {
	local code

	bad_reload "an unknown key" /services/0/versons '.services[0].versons = []'
	bad_reload "a weight over 100" /services/0/versions/0/weight '.services[0].versions[0].weight = 101'
	bad_reload "a negative weight" /services/0/versions/1/weight '.services[0].versions[1].weight = -1'
	bad_reload "a port that is a word" /services/0/versions/0/backends/0/port \
		'.services[0].versions[0].backends[0].port = "http"'
	bad_reload "no address" /services/0/versions/0/backends/1/address \
		'.services[0].versions[0].backends[1].address = "10.20.0.999"'
	plain
	echo '{ "apiVersion": "zddlb/v1", ' > "$RUN/zddlb.json"
	code=$(api /api/v1/config/reload -X POST -o "$RUN/answer" -w '%{http_code}')
	is "a file cut short is refused" "$code" 400
	matches "with its line" "$(cat "$RUN/answer")" '[Ll]ine'
	rm "$RUN/zddlb.json"
	code=$(api /api/v1/config/reload -X POST -o "$RUN/answer" -w '%{http_code}')
	matches "a file that is not there is refused" "$code" '^[45]'
	plain
	serves "after all of them it serves"
}

interface_missing() {
	plain iface=eth7
	check "reload to an interface that is not there" api /api/v1/config/reload -X POST -f -o /dev/null
	matches "status names it" "$(api /api/v1/status | jq -c '.interfaces[] | select(.name == "eth7")')" \
		'"problem":"[^"]+'
	plain
	check "reload back" api /api/v1/config/reload -X POST -f -o /dev/null
	check "eth0 is attached" wait_for 5 attached eth0
	check "it serves" wait_for 5 serves_now
}

interface_gone_and_back() {
	local i

	ip -n "$ZD-lb" link del eth0
	check "the loss of an interface is noticed within 2 s" wait_for 2 is_gone eth0
	check "the agent survives the loss of an interface" api /healthz -f -o /dev/null
	matches "status says that it is gone" "$(api /api/v1/status | jq -c '.interfaces[] | select(.name == "eth0")')" \
		'"problem":"[^"]+'
	link client eth0 lb eth0
	addr lb eth0 10.10.0.1/24
	addr lb eth0 fd10::1/64
	for i in 2 3 4 5 6 7 8 9; do addr client eth0 "10.10.0.$i/24"; done
	addr client eth0 fd10::2/64
	addr client eth0 fd10::3/64
	ip -n "$ZD-client" route add default via 10.10.0.1
	check "the interface comes back and is attached" wait_for 5 attached eth0
	check "with its VIP, and it serves" wait_for 5 serves_now
	serves "every connection"
}

unreachable_backend() {
	plain
	jq '.services[0].versions[0].backends += [{"address":"10.99.0.5","port":8080}]' \
		"$RUN/zddlb.json" > "$RUN/x" && mv "$RUN/x" "$RUN/zddlb.json"
	check "a backend without a route is accepted" api /api/v1/config/reload -X POST -f -o /dev/null
	check "it becomes unhealthy" wait_for 5 health_is web 10.99.0.5:8080 unhealthy
	matches "status says that there is no way to it" \
		"$(api /api/v1/backends | jq -c '(.backends? // .)[] | select(.address == "10.99.0.5:8080")')" \
		'[Uu]nreachable|no route|No route'
	serves "the others serve"

	ip -n "$ZD-lb" route add 10.99.0.0/24 via 10.20.0.77
	check "with a route by a gateway that is not there it stays unhealthy" \
		health_is web 10.99.0.5:8080 unhealthy
	serves "the others still serve"
	ip -n "$ZD-lb" route del 10.99.0.0/24
	plain
	check "reload back" api /api/v1/config/reload -X POST -f -o /dev/null
}

backend_dies() {
	local report

	conns_bg dying --target "$VIP4" --rate 200 --concurrency 200 --timeout 2000
	sleep 0.5
	stop "${BACKEND[1]}" KILL
	sleep 2
	report=$(conns --target "$VIP4" --count 200)
	holds "a dead backend is out after its checks failed" "$report" '.answered == 200 and (.backends | has("b1") | not)'
	stop "$SPAWNED"
	holds "few connections met it" "$(report dying)" '.failed < 150'
	backend 1 b1
	check "it is in again once it answers" wait_for 5 health_is web 10.20.0.11:8080 healthy
	holds "and gets connections" "$(conns --target "$VIP4" --count 200)" '.backends["b1"] > 50'
	tell 1 health 500
	tell 2 health 500
	sleep 1.5
	serves "when all of a service fail their checks, the panic rule keeps them in"
	tell 1 health ok
	tell 2 health ok
	wait_for 5 health_is web 10.20.0.12:8080 healthy
}

full_disk() {
	local code

	stop_agent
	mv "$RUN/state" "$RUN/state.kept"
	mkdir "$RUN/state"
	mount -t tmpfs -o size=2m tmpfs "$RUN/state"
	cp -a "$RUN/state.kept/." "$RUN/state/"
	check "the agent starts on a small disk" start_agent
	head -c 4000000 /dev/zero > "$RUN/state/filler" 2>/dev/null
	code=$(api /api/v1/services/web/weights -o "$RUN/answer" -w '%{http_code}' -X PUT -d '{"weights":{"v2":20}}')
	is "a weight that cannot be stored is refused" "$code" 503
	matches "with the cause" "$(cat "$RUN/answer")" 'full|space|write'
	check "the old weight holds" weight_is web v1 100
	serves "on a full disk it serves"
	holds "v2 gets nothing" "$(conns --target "$VIP4" --count 200)" '.backends | has("b3") | not'
	rm "$RUN/state/filler"
	check "with space again the weight is taken" api /api/v1/services/web/weights -f -X PUT -d '{"weights":{"v2":20}}'
	check "and counts" weight_is web v2 20
	check "and back" api /api/v1/services/web/weights -f -X PUT -d '{"weights":{"v2":0}}'
	stop_agent
	umount "$RUN/state"
	rmdir "$RUN/state"
	mv "$RUN/state.kept" "$RUN/state"
}

bad_state_file() {
	local sum

	cp -a "$RUN/state" "$RUN/state.good"
	rm -f "$RUN"/state/state.db-*
	sqlite3 "$RUN/state/state.db" 'PRAGMA user_version = 999'
	sum=$(md5sum < "$RUN/state/state.db")
	refused "a state file of a newer version is refused" 'newer'
	is "and left as it is" "$(md5sum < "$RUN/state/state.db")" "$sum"

	rm -f "$RUN"/state/state.db*
	head -c 20000 /dev/urandom > "$RUN/state/state.db"
	sum=$(md5sum < "$RUN/state/state.db")
	refused "a state file of noise is refused" 'corrupt|not a database|damaged'
	is "and left as it is too" "$(md5sum < "$RUN/state/state.db")" "$sum"

	rm -rf "$RUN/state"
	cp -a "$RUN/state.good" "$RUN/state"
	dd if=/dev/urandom of="$RUN/state/state.db" bs=1 seek=4096 count=6000 conv=notrunc status=none
	refused "a state file with a hole in it is refused" 'corrupt|malformed|damaged|not a database'
	serves "the data plane goes on through all of it"
	rm -rf "$RUN/state"
	mv "$RUN/state.good" "$RUN/state"
	check "with the good file the agent starts" start_agent
	check "and knows its weights" weight_is web v1 100
}

wrong_usage() {
	local status

	"$BUILD/zddlbd" frobnicate > /dev/null 2>&1
	status=$?
	is "an unknown command is a usage error" "$status" 2
	"$BUILD/zddlbd" run --config "$RUN/nowhere.json" > "$RUN/answer" 2>&1
	status=$?
	is "a config that is not there is an error" "$status" 1
	matches "that names the file" "$(cat "$RUN/answer")" 'nowhere.json'
}

bench_init
topology 3
for i in 1 2 3; do backend "$i" "b$i"; done
wrong_usage
port_in_use
two_agents
bad_reloads
unreachable_backend
backend_dies
interface_missing
interface_gone_and_back
full_disk
bad_state_file
done_testing
