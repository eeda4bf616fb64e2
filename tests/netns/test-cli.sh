#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The command line against a real agent: every verb, tables for people, JSON for machines, and exit
# codes that CI can branch on.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

# exits NAME CODE WORDS...: the command's output is in $out.
exits() {
	local name=$1 want=$2 status
	shift 2
	out=$(zddlb "$@" 2>&1)
	status=$?
	if [ "$status" -eq "$want" ]; then
		pass "$name"
	else
		fail "$name" "zddlb $*" "exit code $status, wanted $want" "$out"
	fi
}

says() { matches "$1" "$out" "$2"; }

# prints_json NAME FILTER WORDS...
prints_json() {
	local name=$1 filter=$2 status
	shift 2
	out=$(zddlb -o json "$@" 2> "$RUN/cli.err")
	status=$?
	if [ "$status" -eq 0 ] && jq -e "$filter" <<< "$out" >/dev/null 2>&1; then
		pass "$name"
	else
		fail "$name" "zddlb -o json $*: exit code $status" "wanted: $filter" "$out" "$(cat "$RUN/cli.err")"
	fi
}

help_everywhere() {
	local noun path

	exits "--help" 0 --help
	says "--help lists the verbs" 'deploy start'
	exits "no words are a usage error" 2
	exits "an unknown command is a usage error" 2 frobnicate
	exits "a near miss is a usage error" 2 statsu
	says "with the nearest command" 'did you mean "status"'
	exits "an unknown option is a usage error" 2 status --frob
	exits "a word too many is a usage error" 2 status web more
	exits "an output nobody knows is a usage error" 2 status -o xml
	for path in status 'service list' 'version show' 'backend drain' 'weight set' 'deploy start' \
		'deploy watch' pause rollback 'config check' metrics events top; do
		# shellcheck disable=SC2086 # words of a command
		exits "$path --help" 0 $path --help
	done
	for noun in service version backend weight deploy config; do
		exits "$noun --help lists its verbs" 0 "$noun" --help
	done
}

no_agent() {
	exits "without an agent: exit code 5" 5 status
	says "without an agent: it says what to look at" 'zddlb.sock'
	exits "version without an agent: exit code 5" 5 version
}

looking() {
	exits "status" 0 status
	says "status is a table of versions" 'v1 .*100'
	exits "status of one service" 0 status web
	exits "status of a service that is not there" 1 status nosuch
	says "with its name" 'nosuch'
	prints_json "status -o json" '.services | length == 2' status
	exits "service list" 0 service list
	says "service list names both" 'web6'
	prints_json "service list -o json" '(.services? // .) | map(.name) | sort == ["web", "web6"]' service list
	exits "service show" 0 service show web
	says "service show has the VIP" '10.10.0.100:80'
	prints_json "service show -o json" '.name == "web"' service show web
	exits "version list" 0 version list web
	exits "version show" 0 version show web v1
	exits "version show of one that is not there" 1 version show web v9
	exits "backend list" 0 backend list
	says "backend list has addresses" '10.20.0.11:8080'
	exits "backend list of a service" 0 backend list --service web6
	if [[ $out == *'10.20.0.'* ]]; then fail "of that service alone" "$out"; else pass "of that service alone"; fi
	exits "backend show" 0 backend show 10.20.0.11:8080
	says "backend show has its health" 'healthy'
	exits "backend list -o wide" 0 -o wide backend list
	exits "metrics" 0 metrics
	prints_json "metrics -o json" '.events | has("request_forwarded")' metrics
	exits "events" 0 events
	exits "version" 0 version
	says "version tells both" 'agent'
}

weights() {
	exits "weight get" 0 weight get web
	exits "weight set" 0 weight set web v2=2.5
	prints_json "weight get -o json" '[.. | numbers] | any(. == 2.5)' weight get web
	check "the agent has it" weight_is web v2 2.5
	exits "the version it takes from is rescaled" 0 status web
	says "to the rest" '97\.50'
	exits "a weight over 100 is refused" 1 weight set web v2=101
	exits "a weight that is no number is refused" 2 weight set web v2=lots
	exits "a version that is not there is refused" 1 weight set web v9=1
	check "none of them changed it" weight_is web v2 2.5
	exits "weight reset" 0 weight reset web
	check "back to the file" weight_is web v2 0
	exits "switch" 0 switch web v2
	check "all to v2" weight_is web v2 100
	exits "switch back" 0 switch web v1
	check "the events tell of it" test "$(zddlb -o json events | grep -c weight)" -gt 0
}

draining() {
	local holder

	flows one 40 --target "$VIP4" --interval 100
	holder=$SPAWNED
	wait_for 5 flows_alive one 40
	exits "backend drain --wait with a timeout that is too short: exit code 3" 3 \
		backend drain 10.20.0.11:8080 --wait --timeout 2s
	says "and prints what remains" '[0-9]+'
	exits "backend undrain" 0 backend undrain 10.20.0.11:8080
	stop "$holder"
	holds "no connection was broken" "$(report one)" '.broken == 0'
	exits "drain --wait without connections ends by itself" 0 backend drain 10.20.0.11:8080 --wait --timeout 20s
	prints_json "the backend is draining" '.admin != "active"' backend show 10.20.0.11:8080
	exits "undrain again" 0 backend undrain 10.20.0.11:8080
	exits "maint" 0 backend maint 10.20.0.12:8080
	prints_json "the backend is in maintenance" '.admin == "maintenance"' backend show 10.20.0.12:8080
	exits "undrain from maintenance" 0 backend undrain 10.20.0.12:8080
	exits "a backend that is not there" 1 backend drain 10.20.0.99:8080
}

deploying() {
	local load id

	conns_bg load --target "$VIP4" --rate 300 --concurrency 200
	load=$SPAWNED
	exits "deploy start --dry-run" 0 deploy start web --to v2 --strategy canary --dry-run
	check "changes nothing" weight_is web v2 0
	exits "deploy start --wait of a good version: exit code 0" 0 \
		deploy start web --to v2 --strategy canary --wait --timeout 30s
	check "it has everything" weight_is web v2 100
	exits "deploy list" 0 deploy list
	says "has it" 'completed'
	exits "deploy show" 0 deploy show web
	exits "rollback of a finished one" 0 rollback web
	check "takes it back" weight_is web v1 100

	tell 3 mode reset
	exits "deploy start --wait of a bad version: exit code 4" 4 \
		deploy start web --to v2 --strategy canary --wait --timeout 30s
	says "with the reason" '[Rr]olled.back'
	exits "deploy watch of one that was rolled back: exit code 4" 4 deploy watch web
	tell 3 mode ok

	exits "deploy start" 0 deploy start web --to v2 --steps 10,100 --pause 60s
	id=$(zddlb -o json deploy list | jq '(.deployments? // .)[0].id')
	exits "pause" 0 pause "$id" --reason "a look at the logs"
	prints_json "it is paused" '.phase == "paused"' deploy show "$id"
	exits "resume" 0 resume "$id"
	exits "a second deployment is an error" 1 deploy start web --to v2 --strategy canary
	exits "abort" 0 abort "$id"
	prints_json "it is rolled back" '.status == "rolled_back"' deploy show "$id"
	exits "pause of one that is over is an error" 1 pause "$id"
	exits "promote --full" 0 deploy start web --to v2 --steps 10,100 --pause 60s
	check "it rolls" wait_for 3 deploy_is web status rolling
	exits "promote" 0 promote web --full
	check "everything is on it" wait_for 3 weight_is web v2 100
	exits "deploy show of one that is not there" 1 deploy show 4711
	stop "$load"
	exits "switch back" 0 switch web v1
}

config_verbs() {
	exits "config check of a good file" 0 config check "$RUN/zddlb.json"
	jq '.services[0].wieght = 1' "$RUN/zddlb.json" > "$RUN/bad.json"
	exits "config check of a bad file" 1 config check "$RUN/bad.json"
	says "names the place" '/services/0/wieght'
	exits "config diff" 0 config diff
	exits "config show" 0 config show
	config "${options[@]}" version=v1:80:1,2 version=v2:20:3
	exits "config reload --dry-run" 0 config reload --dry-run
	check "changes nothing" weight_is web v2 0
	exits "config reload" 0 config reload
	exits "version add" 0 version add web v3 --backend 10.20.0.15:8080
	prints_json "it is listed" '[.. | strings] | any(. == "v3")' version list web
	exits "version add without a backend is refused" 2 version add web v4
	exits "version rm" 0 version rm web v3
}

top_runs() {
	out=$(timeout 2 script -qec "$BUILD/zddlb --socket $RUN/zddlb.sock top" /dev/null < <(sleep 1; printf q) 2>&1)
	says "top draws a screen" 'web'
}

bench_init
topology 3
for i in 1 2; do backend "$i" "v1-$i"; done
backend 3 v2-3
options=(samples=5 steps='10:300ms,50:300ms,100:300ms' drain=3s established=5s)
config "${options[@]}" version=v1:100:1,2 version=v2:0:3
help_everywhere
no_agent
must_start "the agent starts"
looking
weights
draining
deploying
config_verbs
top_runs
done_testing
